//! Doing what a task says, in a session of its owner. A statement that must run at top level never
//! comes here.

use crate::error::{Error, Result};
use crate::queue::Job;
use crate::queue::finish::Outcome;
use crate::spi::statement;
use crate::{pg, report, workflow};
use serde_json::{Value, json};

/// Does what a task says.
pub fn perform(job: &Job) -> Result<Outcome> {
    let text = |key: &str| job.payload[key].as_str().unwrap_or_default();
    let (owner, name, args) = (pg::current_user(), text("command"), &job.payload["args"]);
    match text("type") {
        "sql" => {
            let answer = statement::execute(name, params(args), false)?;
            Ok(Outcome::Succeeded(json!({ "rows": answer.processed })))
        }
        "workflow" => {
            // Another attempt at the instant, asked for by a backfill, is another run.
            let key = format!("{}@{} {}", text("name"), text("scheduled_at"), text("backfill"));
            let key = key.trim_end();
            let run = workflow::start(&workflow::Start {
                owner,
                name,
                input: args,
                version: None,
                idempotency_key: Some(key),
                source: job.source.as_deref(),
            })?;
            Ok(Outcome::Succeeded(json!({ "run": run })))
        }
        "report" => {
            let formats = texts(&args["formats"]);
            let deliver = args
                .get("template")
                .is_some()
                .then(|| json!({ "template": args["template"], "recipients": args["recipients"] }));
            let run = report::start(&report::Start {
                owner,
                name,
                params: args.get("params").unwrap_or(&json!({})),
                formats: formats.as_deref(),
                deliver: deliver.as_ref(),
                source: job.source.as_deref(),
            })?;
            Ok(Outcome::Succeeded(json!({ "report_run": run })))
        }
        other => Err(Error::Internal(format!("no task is of the type \"{other}\""))),
    }
}

/// What fills $1, $2, ...: args is the array itself, {"params": [...]}, or {}.
fn params(args: &Value) -> &[Value] {
    let params = if args.is_array() { args } else { &args["params"] };
    params.as_array().map_or(&[], Vec::as_slice)
}

/// An array of strings; None when it is not there.
fn texts(value: &Value) -> Option<Vec<String>> {
    let items = value.as_array()?;
    Some(items.iter().filter_map(Value::as_str).map(str::to_string).collect())
}
