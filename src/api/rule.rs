//! create_rule, alter_rule, drop_rule, enable_rule, disable_rule.

use super::args::{Answer, Args};
use crate::error::Result;
use crate::rule::alter::{self, Changes};
use crate::rule::define::{self, Definition};
use crate::rule::steer;
use crate::{access, sql_function};

/// The arguments of create_rule; validate_rule takes the same.
pub(super) fn definition(args: &Args, name: String) -> Result<Definition> {
    Ok(Definition {
        name,
        actions: args.json(1, "actions")?,
        on_table: args.oid(2),
        on_event: args.opt_text(3),
        on_trigger: args.opt_text(4),
        operations: args.opt_texts(5, "operations")?.unwrap_or_default(),
        condition: args.opt_text(6),
        conditions: args.opt_json(7, "conditions")?,
        columns: args.opt_texts(8, "columns")?,
        timing: args.opt_text(9).unwrap_or_else(|| "after".into()),
        ruleset: args.opt_text(10),
        priority: args.int(11, 100),
        stop: args.bool(12, false),
        valid_from: args.timestamp(13),
        valid_until: args.timestamp(14),
        on_error: args.opt_text(15).unwrap_or_else(|| "skip".into()),
        draft: args.bool(16, false),
        enabled: args.bool(17, true),
        description: args.opt_text(18),
    })
}

sql_function!(automate_create_rule, pg_finfo_automate_create_rule, |args| {
    let owner = access::require_owner()?;
    let definition = definition(args, args.text(0, "name")?)?;
    Ok(Answer::Uuid(define::create(owner, &definition)?))
});

sql_function!(automate_alter_rule, pg_finfo_automate_alter_rule, |args| {
    let changes = Changes {
        actions: args.opt_json(1, "actions")?,
        operations: args.opt_texts(2, "operations")?,
        condition: args.opt_text(3),
        conditions: args.opt_json(4, "conditions")?,
        columns: args.opt_texts(5, "columns")?,
        priority: args.opt_int(6),
        stop: args.opt_bool(7),
        valid_from: args.timestamp(8),
        valid_until: args.timestamp(9),
        on_error: args.opt_text(10),
        description: args.opt_text(11),
        timing: args.opt_text(12),
        ruleset: args.opt_text(13),
    };
    let (name, draft) = (args.text(0, "name")?, args.bool(14, false));
    Ok(Answer::Int(alter::alter(access::require_owner()?, &name, changes, draft)?))
});

sql_function!(automate_drop_rule, pg_finfo_automate_drop_rule, |args| {
    steer::remove(access::require_owner()?, &args.text(0, "name")?)?;
    Ok(Answer::Void)
});

sql_function!(automate_enable_rule, pg_finfo_automate_enable_rule, |args| {
    steer::enable(access::require_owner()?, &args.text(0, "name")?)?;
    Ok(Answer::Void)
});

sql_function!(automate_disable_rule, pg_finfo_automate_disable_rule, |args| {
    steer::disable(access::require_owner()?, &args.text(0, "name")?)?;
    Ok(Answer::Void)
});
