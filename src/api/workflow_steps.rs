//! The builders of workflows: their arguments by position, told to the pure half by name.

use super::args::{Answer, Args};
use crate::error::{Error, Result, shown};
use crate::sql_function;
use automate_core::problem::Problem;
use automate_core::workflow::build;
use serde_json::{Value, json};

/// How an argument is read.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    /// jq, put in `${ }` unless it stands there already.
    Jq,
    /// Several of them.
    Jqs,
    Int,
    Bool,
    /// An interval, as the language writes it.
    Time,
    Json,
    /// An array of jsonb.
    Jsons,
}
use Kind::{Bool, Int, Jq, Jqs, Json, Jsons, Text, Time};

/// An argument: its name, how it is read, and whether it must be given.
type Param = (&'static str, Kind, bool);

sql_function!(automate_sql_step, pg_finfo_automate_sql_step, |args| {
    step(
        args,
        "sql",
        &[
            ("name", Text, true),
            ("query", Text, true),
            ("params", Jqs, false),
            ("result", Text, false),
            ("expect", Text, false),
            ("timeout", Time, false),
            ("retry", Int, false),
            ("retry_delay", Time, false),
            ("compensate", Json, false),
            ("output", Jq, false),
            ("export", Jq, false),
            ("condition", Jq, false),
            ("next", Text, false),
        ],
    )
});

sql_function!(automate_http_step, pg_finfo_automate_http_step, |args| {
    step(
        args,
        "http",
        &[
            ("name", Text, true),
            ("method", Text, true),
            ("url", Text, true),
            ("body", Jq, false),
            ("headers", Json, false),
            ("query", Json, false),
            ("result", Text, false),
            ("authentication", Json, false),
            ("redirect", Bool, false),
            ("timeout", Time, false),
            ("retry", Int, false),
            ("retry_delay", Time, false),
            ("compensate", Json, false),
            ("output", Jq, false),
            ("export", Jq, false),
            ("condition", Jq, false),
            ("next", Text, false),
        ],
    )
});

sql_function!(automate_notify_step, pg_finfo_automate_notify_step, |args| {
    step(
        args,
        "notify",
        &[
            ("name", Text, true),
            ("template", Text, true),
            ("recipient", Text, true),
            ("data", Jq, false),
            ("timeout", Time, false),
            ("retry", Int, false),
            ("retry_delay", Time, false),
            ("compensate", Json, false),
            ("output", Jq, false),
            ("export", Jq, false),
            ("condition", Jq, false),
            ("next", Text, false),
        ],
    )
});

sql_function!(automate_report_step, pg_finfo_automate_report_step, |args| {
    step(
        args,
        "report",
        &[
            ("name", Text, true),
            ("report", Text, true),
            ("format", Text, false),
            ("params", Jq, false),
            ("timeout", Time, false),
            ("retry", Int, false),
            ("retry_delay", Time, false),
            ("compensate", Json, false),
            ("output", Jq, false),
            ("export", Jq, false),
            ("condition", Jq, false),
            ("next", Text, false),
        ],
    )
});

sql_function!(automate_wait_step, pg_finfo_automate_wait_step, |args| {
    step(
        args,
        "wait",
        &[
            ("name", Text, true),
            ("duration", Time, true),
            ("output", Jq, false),
            ("export", Jq, false),
            ("condition", Jq, false),
            ("next", Text, false),
        ],
    )
});

sql_function!(automate_approval_step, pg_finfo_automate_approval_step, |args| {
    step(
        args,
        "approval",
        &[
            ("name", Text, true),
            ("role", Text, true),
            ("subject", Text, true),
            ("data", Jq, false),
            ("quorum", Int, false),
            ("escalate_after", Time, false),
            ("escalate_to", Text, false),
            ("timeout", Time, false),
            ("retry", Int, false),
            ("retry_delay", Time, false),
            ("compensate", Json, false),
            ("output", Jq, false),
            ("export", Jq, false),
            ("condition", Jq, false),
            ("next", Text, false),
        ],
    )
});

sql_function!(automate_listen_step, pg_finfo_automate_listen_step, |args| {
    step(
        args,
        "listen",
        &[
            ("name", Text, true),
            ("event", Text, true),
            ("matching", Jq, false),
            ("timeout", Time, false),
            ("retry", Int, false),
            ("retry_delay", Time, false),
            ("compensate", Json, false),
            ("output", Jq, false),
            ("export", Jq, false),
            ("condition", Jq, false),
            ("next", Text, false),
        ],
    )
});

sql_function!(automate_emit_step, pg_finfo_automate_emit_step, |args| {
    step(
        args,
        "emit",
        &[
            ("name", Text, true),
            ("event", Text, true),
            ("data", Jq, false),
            ("source", Text, false),
            ("output", Jq, false),
            ("export", Jq, false),
            ("condition", Jq, false),
            ("next", Text, false),
        ],
    )
});

sql_function!(automate_set_step, pg_finfo_automate_set_step, |args| {
    step(
        args,
        "set",
        &[
            ("name", Text, true),
            ("value", Jq, true),
            ("output", Jq, false),
            ("export", Jq, false),
            ("condition", Jq, false),
            ("next", Text, false),
        ],
    )
});

sql_function!(automate_do_step, pg_finfo_automate_do_step, |args| {
    step(
        args,
        "do",
        &[
            ("name", Text, true),
            ("steps", Json, true),
            ("timeout", Time, false),
            ("retry", Int, false),
            ("retry_delay", Time, false),
            ("compensate", Json, false),
            ("output", Jq, false),
            ("export", Jq, false),
            ("condition", Jq, false),
            ("next", Text, false),
        ],
    )
});

sql_function!(automate_switch_step, pg_finfo_automate_switch_step, |args| {
    step(args, "switch", &[("name", Text, true), ("cases", Jsons, true)])
});

sql_function!(automate_fork_step, pg_finfo_automate_fork_step, |args| {
    step(
        args,
        "fork",
        &[
            ("name", Text, true),
            ("branches", Jsons, true),
            ("compete", Bool, false),
            ("timeout", Time, false),
            ("retry", Int, false),
            ("retry_delay", Time, false),
            ("compensate", Json, false),
            ("output", Jq, false),
            ("export", Jq, false),
            ("condition", Jq, false),
            ("next", Text, false),
        ],
    )
});

sql_function!(automate_for_each_step, pg_finfo_automate_for_each_step, |args| {
    step(
        args,
        "for",
        &[
            ("name", Text, true),
            ("items", Jq, true),
            ("steps", Json, true),
            ("item", Text, false),
            ("max_parallel", Int, false),
            ("on_item_error", Text, false),
            ("collect", Jq, false),
            ("timeout", Time, false),
            ("retry", Int, false),
            ("retry_delay", Time, false),
            ("compensate", Json, false),
            ("output", Jq, false),
            ("export", Jq, false),
            ("condition", Jq, false),
            ("next", Text, false),
        ],
    )
});

sql_function!(automate_try_step, pg_finfo_automate_try_step, |args| {
    step(
        args,
        "try",
        &[
            ("name", Text, true),
            ("steps", Json, true),
            ("catch_steps", Json, false),
            ("error_type", Text, false),
            ("error_status", Int, false),
            ("retry", Int, false),
            ("retry_delay", Time, false),
            ("timeout", Time, false),
            ("compensate", Json, false),
            ("output", Jq, false),
            ("export", Jq, false),
            ("condition", Jq, false),
            ("next", Text, false),
        ],
    )
});

sql_function!(automate_raise_step, pg_finfo_automate_raise_step, |args| {
    step(
        args,
        "raise",
        &[
            ("name", Text, true),
            ("type", Text, true),
            ("status", Int, true),
            ("title", Text, false),
            ("detail", Text, false),
            ("condition", Jq, false),
        ],
    )
});

sql_function!(automate_run_workflow_step, pg_finfo_automate_run_workflow_step, |args| {
    step(
        args,
        "run",
        &[
            ("name", Text, true),
            ("workflow", Text, true),
            ("data", Jq, false),
            ("version", Text, false),
            ("wait", Bool, false),
            ("timeout", Time, false),
            ("retry", Int, false),
            ("retry_delay", Time, false),
            ("compensate", Json, false),
            ("output", Jq, false),
            ("export", Jq, false),
            ("condition", Jq, false),
            ("next", Text, false),
        ],
    )
});

sql_function!(automate_case_when, pg_finfo_automate_case_when, |args| {
    let condition = build_jq(&args.text(0, "condition")?);
    Ok(Answer::Json(build::case(Some(condition), &args.text(1, "next")?)))
});

sql_function!(automate_case_else, pg_finfo_automate_case_else, |args| {
    Ok(Answer::Json(build::case(None, &args.text(0, "next")?)))
});

sql_function!(automate_compensate, pg_finfo_automate_compensate, |args| {
    let (step, steps) = (args.json(0, "step")?, args.json(1, "steps")?);
    build::compensate(&step, &steps).map(Answer::Json).map_err(|p| refuse("compensate", &p))
});

sql_function!(automate_steps, pg_finfo_automate_steps, |args| {
    let steps = args.jsons(0, "steps")?.unwrap_or_default();
    build::document(steps).map(Answer::Json).map_err(|p| refuse("steps", &p))
});

/// Builds a step of a kind; an error says which step it is.
fn step(args: &Args, kind: &str, params: &[Param]) -> Result<Answer> {
    let mut given = build::Given::new();
    for (index, (name, how, needed)) in params.iter().enumerate() {
        match read(args, index, name, *how)? {
            Some(value) => drop(given.insert((*name).to_owned(), value)),
            None if *needed => return Err(args.missing(index, name)),
            None => {}
        }
    }
    let what = || {
        let name = given.get("name").and_then(Value::as_str).unwrap_or_default();
        format!("step {}", shown(name))
    };
    build::step(kind, &given).map(Answer::Json).map_err(|problems| refuse(&what(), &problems))
}

fn read(args: &Args, index: usize, name: &str, how: Kind) -> Result<Option<Value>> {
    Ok(match how {
        Text => args.opt_text(index).map(Value::from),
        Jq => args.opt_text(index).map(|text| build_jq(&text)),
        Jqs => {
            let texts = args.opt_texts(index, name)?;
            texts.map(|texts| texts.iter().map(|text| build_jq(text)).collect())
        }
        Int => args.opt_int(index).map(Value::from),
        Bool => args.opt_bool(index).map(Value::from),
        Time => args.iso_duration(index, name)?.map(Value::from),
        Json => args.opt_json(index, name)?,
        Jsons => args.jsons(index, name)?.map(Value::Array),
    })
}

fn build_jq(text: &str) -> Value {
    match automate_core::jq::expression(text) {
        Some(_) => json!(text),
        None => json!(format!("${{ {} }}", text.trim())),
    }
}

fn refuse(what: &str, problems: &[Problem]) -> Error {
    Error::problems(
        what,
        problems,
        "docs/workflow-steps.md tells which argument is jq and which is text.",
    )
}
