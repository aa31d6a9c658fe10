//! create_channel, create_template, notify and their kin.

use super::args::{Answer, Args};
use crate::error::Result;
use crate::notify::channel::{self, NewChannel};
use crate::notify::template::{self, NewTemplate};
use crate::notify::{self, Notification, secret};
use crate::queue::limit;
use crate::spi::as_extension;
use crate::{access, sql_function};
use serde_json::{Value, json};

/// Runs a call whose arguments hold secrets: should it fail, its text stays out of the log.
pub fn in_secret(args: &Args, call: fn(&Args) -> Result<Answer>) -> Result<Answer> {
    let answer = call(args);
    if answer.is_err() {
        secret::hide_statement();
    }
    answer
}

fn empty() -> Value {
    json!({})
}

sql_function!(automate_create_channel, pg_finfo_automate_create_channel, |args| {
    in_secret(args, |args| {
        let id = channel::create(&NewChannel {
            owner: access::require_owner()?,
            name: &args.text(0, "name")?,
            kind: &args.text(1, "kind")?,
            config: &args.opt_json(2, "config")?.unwrap_or_else(empty),
            secrets: &args.opt_json(3, "secrets")?.unwrap_or_else(empty),
            description: args.opt_text(4).as_deref(),
        })?;
        Ok(Answer::Uuid(id))
    })
});

sql_function!(automate_alter_channel, pg_finfo_automate_alter_channel, |args| {
    in_secret(args, |args| {
        let id = channel::alter(
            access::require_owner()?,
            &args.text(0, "name")?,
            args.opt_json(1, "config")?.as_ref(),
            args.opt_json(2, "secrets")?.as_ref(),
            args.opt_text(3).as_deref(),
        )?;
        Ok(Answer::Uuid(id))
    })
});

sql_function!(automate_drop_channel, pg_finfo_automate_drop_channel, |args| {
    channel::drop(access::require_owner()?, &args.text(0, "name")?).map(|()| Answer::Void)
});

sql_function!(automate_enable_channel, pg_finfo_automate_enable_channel, |args| {
    let name = args.text(0, "name")?;
    channel::set_status(access::require_owner()?, &name, "active").map(|()| Answer::Void)
});

sql_function!(automate_disable_channel, pg_finfo_automate_disable_channel, |args| {
    let name = args.text(0, "name")?;
    channel::set_status(access::require_owner()?, &name, "disabled").map(|()| Answer::Void)
});

sql_function!(automate_create_template, pg_finfo_automate_create_template, |args| {
    let version = template::create(&NewTemplate {
        owner: access::require_owner()?,
        name: &args.text(0, "name")?,
        subject: &args.text(1, "subject")?,
        body: &args.text(2, "body")?,
        html: args.opt_text(3).as_deref(),
        description: args.opt_text(4).as_deref(),
    })?;
    Ok(Answer::Int(version))
});

sql_function!(automate_drop_template, pg_finfo_automate_drop_template, |args| {
    template::drop(access::require_owner()?, &args.text(0, "name")?).map(|()| Answer::Void)
});

sql_function!(automate_preview_template, pg_finfo_automate_preview_template, |args| {
    let user = access::require_owner()?;
    let name = args.text(0, "name")?;
    let data = args.opt_json(1, "data")?.unwrap_or_else(empty);
    let template = as_extension(|own| template::find(own, user, &name))?;
    let message = template.render(&data)?;
    Ok(Answer::Json(json!({
        "template": name,
        "version": template.version,
        "subject": message.subject,
        "body": message.body,
        "html": message.html,
    })))
});

sql_function!(automate_notify, pg_finfo_automate_notify, |args| {
    let owner = access::require_owner()?;
    limit::admit(owner, args.size(2))?;
    let id = notify::notify(&Notification {
        owner,
        template: &args.text(0, "template")?,
        recipients: &args.opt_texts(1, "recipients")?.unwrap_or_default(),
        data: &args.opt_json(2, "data")?.unwrap_or_else(empty),
        attachments: &[],
        priority: args.int(3, 100),
        source: None,
    })?;
    Ok(Answer::Uuid(id))
});
