//! create_rule, alter_rule, drop_rule, enable_rule, disable_rule.

use super::args::Answer;
use crate::rule::alter::{self, Changes};
use crate::rule::define::{self, Definition};
use crate::{access, sql_function};

sql_function!(automate_create_rule, pg_finfo_automate_create_rule, |args| {
    let owner = access::require_owner()?;
    let definition = Definition {
        name: args.text(0, "name")?,
        actions: args.json(1, "actions")?,
        on_table: args.oid(2),
        on_event: args.opt_text(3),
        operations: args.opt_texts(4, "operations")?.unwrap_or_default(),
        condition: args.opt_text(5),
        conditions: args.opt_json(6, "conditions")?,
        columns: args.opt_texts(7, "columns")?,
        priority: args.int(8, 100),
        stop: args.bool(9, false),
        valid_from: args.timestamp(10),
        valid_until: args.timestamp(11),
        on_error: args.opt_text(12).unwrap_or_else(|| "skip".into()),
        enabled: args.bool(13, true),
        description: args.opt_text(14),
    };
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
    };
    let name = args.text(0, "name")?;
    Ok(Answer::Int(alter::alter(access::require_owner()?, &name, changes)?))
});

sql_function!(automate_drop_rule, pg_finfo_automate_drop_rule, |args| {
    define::remove(access::require_owner()?, &args.text(0, "name")?)?;
    Ok(Answer::Void)
});

sql_function!(automate_enable_rule, pg_finfo_automate_enable_rule, |args| {
    define::enable(access::require_owner()?, &args.text(0, "name")?)?;
    Ok(Answer::Void)
});

sql_function!(automate_disable_rule, pg_finfo_automate_disable_rule, |args| {
    define::disable(access::require_owner()?, &args.text(0, "name")?)?;
    Ok(Answer::Void)
});
