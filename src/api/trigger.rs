//! create_trigger, alter_trigger, drop_trigger, enable_trigger, disable_trigger, evaluate_triggers,
//! test_trigger.

use super::args::Answer;
use super::insight::row;
use crate::trigger::alter::{self, Changes};
use crate::trigger::define::{self, Definition};
use crate::trigger::{evaluate, rehearse, steer};
use crate::{access, pg, sql_function};
use serde_json::json;

sql_function!(automate_create_trigger, pg_finfo_automate_create_trigger, |args| {
    let owner = access::require_owner()?;
    let definition = Definition {
        name: args.text(0, "name")?,
        kind: define::kind(&args.text(1, "trigger_type")?)?,
        conditions: args.opt_json(2, "conditions")?,
        condition: args.opt_text(3),
        on_table: args.oid(4),
        operations: args.opt_texts(5, "operations")?,
        columns: args.opt_texts(6, "columns")?.filter(|columns| !columns.is_empty()),
        event: args.opt_text(7),
        schedule: args.opt_text(8),
        source: args.opt_text(9),
        options: args.opt_json(10, "options")?.unwrap_or_else(|| json!({})),
        description: args.opt_text(11),
        enabled: true,
    };
    Ok(Answer::Uuid(define::create(owner, definition)?))
});

sql_function!(automate_alter_trigger, pg_finfo_automate_alter_trigger, |args| {
    let changes = Changes {
        conditions: args.opt_json(1, "conditions")?,
        condition: args.opt_text(2),
        on_table: args.oid(3),
        operations: args.opt_texts(4, "operations")?,
        columns: args.opt_texts(5, "columns")?,
        event: args.opt_text(6),
        schedule: args.opt_text(7),
        source: args.opt_text(8),
        options: args.opt_json(9, "options")?,
        description: args.opt_text(10),
    };
    let name = args.text(0, "name")?;
    Ok(Answer::Int(alter::alter(access::require_owner()?, &name, changes)?))
});

sql_function!(automate_drop_trigger, pg_finfo_automate_drop_trigger, |args| {
    steer::remove(access::require_owner()?, &args.text(0, "name")?)?;
    Ok(Answer::Void)
});

sql_function!(automate_enable_trigger, pg_finfo_automate_enable_trigger, |args| {
    steer::enable(access::require_owner()?, &args.text(0, "name")?)?;
    Ok(Answer::Void)
});

sql_function!(automate_disable_trigger, pg_finfo_automate_disable_trigger, |args| {
    steer::disable(access::require_owner()?, &args.text(0, "name")?)?;
    Ok(Answer::Void)
});

sql_function!(automate_evaluate_triggers, pg_finfo_automate_evaluate_triggers, |args| {
    let payload = args.opt_json(1, "payload")?.unwrap_or_else(|| json!({}));
    evaluate::run(pg::current_user(), &args.text(0, "event")?, &payload).map(Answer::Json)
});

sql_function!(automate_test_trigger, pg_finfo_automate_test_trigger, |args| {
    let name = args.text(0, "name")?;
    let trial = rehearse::Trial {
        new: row(args, 1, "new")?,
        old: row(args, 2, "old")?,
        payload: args.opt_json(3, "payload")?,
    };
    rehearse::run(pg::current_user(), &name, trial).map(Answer::Json)
});
