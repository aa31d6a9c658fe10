//! Rule sets, rules asked about a context, and decision tables.

use super::args::{Answer, Args};
use crate::decision::{define, run};
use crate::error::{Error, Result};
use crate::queue::limit;
use crate::rule::{evaluate, ruleset};
use crate::{access, pg, sql_function};
use serde_json::Value;

sql_function!(automate_create_ruleset, pg_finfo_automate_create_ruleset, |args| {
    let owner = access::require_owner()?;
    let policy = args.opt_text(1).unwrap_or_else(|| "all".into());
    let description = args.opt_text(2);
    let name = args.text(0, "name")?;
    Ok(Answer::Uuid(ruleset::create(owner, &name, &policy, description.as_deref())?))
});

sql_function!(automate_alter_ruleset, pg_finfo_automate_alter_ruleset, |args| {
    let (name, policy, description) = (args.text(0, "name")?, args.opt_text(1), args.opt_text(2));
    ruleset::alter(pg::current_user(), &name, policy.as_deref(), description.as_deref())?;
    Ok(Answer::Void)
});

sql_function!(automate_drop_ruleset, pg_finfo_automate_drop_ruleset, |args| {
    ruleset::remove(pg::current_user(), &args.text(0, "name")?)?;
    Ok(Answer::Void)
});

/// The context, which must be an object, and its text.
fn context(args: &Args) -> Result<(Value, String)> {
    let context = args.json(0, "context")?;
    if !context.is_object() {
        let kind = automate_core::object::kind(&context);
        return Err(Error::invalid(format!("context must be a JSON object, not {kind}"))
            .with_detail("The conditions of the rules name its keys.")
            .with_hint("Give for example '{\"amount\": 5}', or to_jsonb(a_row)."));
    }
    Ok((context, args.json_text(0).unwrap_or_default()))
}

sql_function!(automate_evaluate_rules, pg_finfo_automate_evaluate_rules, |args| {
    let (context, text) = context(args)?;
    let set = args.opt_text(1);
    let all = args.bool(2, false);
    let found = evaluate::evaluate(pg::current_user(), &context, &text, set.as_deref(), all)?;
    Ok(Answer::Json(found))
});

sql_function!(automate_execute_rules, pg_finfo_automate_execute_rules, |args| {
    let owner = access::require_owner()?;
    let (context, text) = context(args)?;
    limit::admit(owner, args.size(0))?;
    let done = evaluate::execute(owner, &context, &text, args.opt_text(1).as_deref())?;
    Ok(Answer::Json(done))
});

/// A part of a table's definition, as its text.
fn part(args: &Args, index: usize, name: &str) -> Result<Option<String>> {
    args.json_text(index).map(|text| define::check_size(name, text)).transpose()
}

/// The same for a part that must be given.
fn needed(args: &Args, index: usize, name: &str) -> Result<String> {
    part(args, index, name)?.map_or_else(|| args.json(index, name).map(|v| v.to_string()), Ok)
}

sql_function!(automate_create_decision_table, pg_finfo_automate_create_decision_table, |args| {
    let owner = access::require_owner()?;
    let source = define::Source {
        inputs: needed(args, 1, "inputs")?,
        outputs: needed(args, 2, "outputs")?,
        rows: needed(args, 3, "rows")?,
        hit_policy: args.opt_text(4).unwrap_or_else(|| "first".into()),
    };
    let description = args.opt_text(5);
    let name = args.text(0, "name")?;
    Ok(Answer::Uuid(define::create(owner, &name, &source, description.as_deref())?))
});

sql_function!(automate_alter_decision_table, pg_finfo_automate_alter_decision_table, |args| {
    let changes = define::Changes {
        inputs: part(args, 1, "inputs")?,
        outputs: part(args, 2, "outputs")?,
        rows: part(args, 3, "rows")?,
        hit_policy: args.opt_text(4),
        description: args.opt_text(5),
    };
    Ok(Answer::Int(define::alter(pg::current_user(), &args.text(0, "name")?, changes)?))
});

sql_function!(automate_drop_decision_table, pg_finfo_automate_drop_decision_table, |args| {
    define::remove(pg::current_user(), &args.text(0, "name")?)?;
    Ok(Answer::Void)
});

sql_function!(automate_decide, pg_finfo_automate_decide, |args| {
    let name = args.text(0, "decision")?;
    let input = needed(args, 1, "input")?;
    let found = run::decide(pg::current_user(), &name, &input, args.opt_int(2))?;
    Ok(found.map_or(Answer::Null, Answer::Jsonb))
});

sql_function!(automate_decision_matches, pg_finfo_automate_decision_matches, |args| {
    let name = args.text(0, "decision")?;
    let input = needed(args, 1, "input")?;
    Ok(Answer::Jsonb(run::matches(pg::current_user(), &name, &input, args.opt_int(2))?))
});

sql_function!(automate_decision_table_csv, pg_finfo_automate_decision_table_csv, |args| {
    Ok(Answer::Text(run::csv(pg::current_user(), &args.text(0, "name")?, args.opt_int(1))?))
});

sql_function!(automate_import_decision_table, pg_finfo_automate_import_decision_table, |args| {
    let owner = access::require_owner()?;
    let (name, csv) = (args.text(0, "name")?, args.text(1, "csv")?);
    let description = args.opt_text(2);
    Ok(Answer::Int(define::import(owner, &name, &csv, description.as_deref())?))
});

sql_function!(
    automate_validate_decision_table,
    pg_finfo_automate_validate_decision_table,
    |args| {
        let source = define::Source {
            inputs: needed(args, 0, "inputs")?,
            outputs: needed(args, 1, "outputs")?,
            rows: needed(args, 2, "rows")?,
            hit_policy: args.opt_text(3).unwrap_or_else(|| "first".into()),
        };
        Ok(Answer::Json(define::validate(&source)?))
    }
);

sql_function!(
    automate_decision_table_problems,
    pg_finfo_automate_decision_table_problems,
    |args| {
        let name = args.text(0, "name")?;
        Ok(Answer::Json(run::problems(pg::current_user(), &name, args.opt_int(1))?))
    }
);
