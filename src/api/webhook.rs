//! create_webhook_source and its kin, receive_webhook.

use super::args::{Answer, Args};
use super::notify::in_secret;
use crate::error::Result;
use crate::event::receive;
use crate::event::webhook::{self, Wanted};
use crate::{access, pg, sql_function};

fn wanted(args: &Args) -> Result<Wanted> {
    Ok(Wanted {
        secrets: args.opt_texts(1, "secrets")?,
        event: args.opt_text(2),
        options: args.opt_json(3, "options")?,
        description: args.opt_text(4),
    })
}

sql_function!(automate_create_webhook_source, pg_finfo_automate_create_webhook_source, |args| {
    in_secret(args, |args| {
        let owner = access::require_owner()?;
        let name = args.text(0, "name")?;
        args.text(2, "event")?;
        Ok(Answer::Uuid(webhook::create(owner, &name, &wanted(args)?)?))
    })
});

sql_function!(automate_alter_webhook_source, pg_finfo_automate_alter_webhook_source, |args| {
    in_secret(args, |args| {
        let name = args.text(0, "name")?;
        Ok(Answer::Int(webhook::alter(access::require_owner()?, &name, &wanted(args)?)?))
    })
});

sql_function!(automate_drop_webhook_source, pg_finfo_automate_drop_webhook_source, |args| {
    webhook::drop(access::require_owner()?, &args.text(0, "name")?).map(|()| Answer::Void)
});

sql_function!(automate_enable_webhook_source, pg_finfo_automate_enable_webhook_source, |args| {
    let name = args.text(0, "name")?;
    webhook::set_status(access::require_owner()?, &name, "active").map(|()| Answer::Void)
});

sql_function!(automate_disable_webhook_source, pg_finfo_automate_disable_webhook_source, |args| {
    let name = args.text(0, "name")?;
    webhook::set_status(access::require_owner()?, &name, "disabled").map(|()| Answer::Void)
});

sql_function!(automate_grant_webhook_source, pg_finfo_automate_grant_webhook_source, |args| {
    let (name, role) = (args.text(0, "name")?, args.need_oid(1, "role")?);
    webhook::grant(access::require_owner()?, &name, role).map(|()| Answer::Void)
});

sql_function!(automate_revoke_webhook_source, pg_finfo_automate_revoke_webhook_source, |args| {
    let (name, role) = (args.text(0, "name")?, args.need_oid(1, "role")?);
    webhook::revoke(access::require_owner()?, &name, role).map(|()| Answer::Void)
});

// A gateway's role owns nothing that runs: it need not be able to log in by itself.
sql_function!(automate_receive_webhook, pg_finfo_automate_receive_webhook, |args| {
    let (source, headers) = (args.text(0, "source")?, args.json(1, "headers")?);
    let body = args.text(2, "body")?;
    Ok(Answer::Uuid(receive::receive(pg::current_user(), &source, &headers, &body)?))
});
