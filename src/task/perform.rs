//! Doing what a task says, in a session of its owner. A statement that must run at top level never
//! comes here.

use super::routine::{self, Verb};
use super::{arguments, fire, request};
use crate::error::{Error, Failure, Result, shown_json};
use crate::notify::{self, Notification};
use crate::queue::Job;
use crate::queue::finish::Outcome;
use crate::spi::head::Head;
use crate::spi::{as_extension, script, statement};
use crate::{pg, report, workflow};
use pgrx::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

/// Does what a task says. A task whose function, workflow, report, template or channel is gone can
/// never run again: it is disabled.
pub fn perform(job: &Job) -> Result<Outcome> {
    match attempt(job) {
        Err(error) if error.is_missing() && job.payload["type"] != "sql" => give_up(job, error),
        Err(error) if is_function(job) && routine::is_gone(command(job), Verb::Select)? => {
            give_up(job, error)
        }
        other => other,
    }
}

fn command(job: &Job) -> &str {
    job.payload["command"].as_str().unwrap_or_default()
}

fn is_function(job: &Job) -> bool {
    job.payload["type"] == "function"
}

/// Ends a run that no attempt can mend, and disables its task.
pub(super) fn give_up(job: &Job, error: Error) -> Result<Outcome> {
    let failure = Failure::from(error);
    let task = job.payload["task"].as_str().and_then(|id| Uuid::parse_str(id).ok());
    if let Some(task) = task {
        as_extension(|own| fire::disable(own, task, &failure.message))?;
    }
    Ok(Outcome::GivenUp(failure))
}

fn attempt(job: &Job) -> Result<Outcome> {
    if job.payload["type"] == "http" {
        return Ok(Outcome::Request(request::of(job, command(job))?));
    }
    let args = arguments::of(job)?;
    let (owner, name) = (pg::current_user(), command(job));
    match job.payload["type"].as_str().unwrap_or_default() {
        "sql" => {
            let mut head = Head::default();
            let rows = script::execute(name, params(&args)?, &mut head)?;
            Ok(answer(rows, &head))
        }
        "function" => {
            let (text, values) = routine::select(name, &args)?;
            let values: Vec<Value> = values.into_iter().cloned().collect();
            let mut head = Head::default();
            let rows = statement::execute_into(&text, &values, &mut head)?;
            Ok(answer(rows, &head))
        }
        "workflow" => {
            let run = workflow::start(&workflow::Start {
                owner,
                name,
                input: &args,
                version: None,
                idempotency_key: None,
                source: job.source.as_deref(),
            })?;
            Ok(Outcome::Away(json!({ "run": run })))
        }
        "report" => {
            let run = start_report(job, owner, name, &args)?;
            Ok(Outcome::Away(json!({ "report_run": run })))
        }
        "notification" => {
            let notification = notify::notify(&Notification {
                owner,
                template: name,
                recipients: &recipients(&args["recipients"])?,
                data: args.get("params").unwrap_or(&json!({})),
                attachments: &[],
                priority: 100,
                source: job.source.as_deref(),
            })?;
            Ok(Outcome::Succeeded(json!({ "notification": notification })))
        }
        other => Err(Error::Internal(format!("no task is of the type \"{other}\""))),
    }
}

fn answer(rows: u64, head: &Head) -> Outcome {
    let mut answer = json!({ "rows": rows });
    if let Some(text) = head.text() {
        answer["output"] = text.into();
    }
    Outcome::Succeeded(answer)
}

fn start_report(job: &Job, owner: pg_sys::Oid, name: &str, args: &Value) -> Result<Uuid> {
    let formats = texts(&args["formats"]);
    let deliver = args
        .get("template")
        .is_some()
        .then(|| json!({ "template": args["template"], "recipients": args["recipients"] }));
    report::start(&report::Start {
        owner,
        name,
        params: args.get("params").unwrap_or(&json!({})),
        formats: formats.as_deref(),
        deliver: deliver.as_ref(),
        source: job.source.as_deref(),
        asker: None,
    })
}

/// What fills $1, $2, ...: args is the array itself, {"params": [...]}, or {}.
fn params(args: &Value) -> Result<&[Value]> {
    let params = if args.is_array() { args } else { &args["params"] };
    match params {
        Value::Null => Ok(&[]),
        Value::Array(items) => Ok(items),
        other => Err(Error::invalid("params must be an array")
            .with_detail(format!("The expression has made {}.", shown_json(other)))
            .with_hint("Write for example \"${ [.scheduled_at] }\".")),
    }
}

/// Recipients must have become texts.
fn recipients(value: &Value) -> Result<Vec<String>> {
    let found = texts(value).filter(|texts| value.as_array().map(Vec::len) == Some(texts.len()));
    found.ok_or_else(|| {
        Error::invalid("recipients must be an array of strings")
            .with_detail(format!("They have become {}.", shown_json(value)))
            .with_hint("Write for example [\"mail:ops@example.com\"].")
    })
}

/// An array of strings; None when it is not there.
fn texts(value: &Value) -> Option<Vec<String>> {
    let items = value.as_array()?;
    Some(items.iter().filter_map(Value::as_str).map(str::to_string).collect())
}
