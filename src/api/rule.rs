//! create_rule, drop_rule, enable_rule, disable_rule.

use super::args::Answer;
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
        priority: args.int(7, 100),
        description: args.opt_text(8),
        enabled: args.bool(9, true),
    };
    Ok(Answer::Uuid(define::create(owner, &definition)?))
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
