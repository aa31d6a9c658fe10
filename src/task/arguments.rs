//! `${ jq }` in the args of a task: checked when it is defined, evaluated when a run begins.

use crate::error::{Error, Result};
use crate::guc;
use crate::queue::Job;
use automate_core::jq::{self, Template};
use pgrx::prelude::*;
use serde_json::{Value, json};

/// What an expression sees.
const SEES: &str = "An expression sees {task: {id, name, type}, run: {id, attempt, cause, scheduled_at}, scheduled_at}.";

/// The args with their expressions compiled.
fn compile(args: &Value) -> Result<Template> {
    Template::compile(args, &[]).map_err(|(place, error)| {
        let at = if place.is_empty() { "of args".into() } else { format!("at {place} of args") };
        refuse(&at, &error)
    })
}

fn refuse(at: &str, error: &jq::Error) -> Error {
    Error::invalid(format!("expression {at}: {error}")).with_detail(SEES).with_hint(
        error.hint().unwrap_or_else(|| {
            "A string that is wholly ${ ... } is jq; everything else stands as it is written."
                .into()
        }),
    )
}

/// Refuses args with an expression that is none.
pub(super) fn check(args: &Value) -> Result<()> {
    compile(args).map(|_| ())
}

/// True for a string that is wholly an expression.
pub(super) fn is_expression(value: &Value) -> bool {
    value.as_str().and_then(jq::expression).is_some()
}

/// What the expressions of a run see.
pub(super) fn context(job: &Job) -> Value {
    let payload = &job.payload;
    json!({
        "task": { "id": payload["task"], "name": payload["name"], "type": payload["type"] },
        "run": { "id": job.id, "attempt": job.attempts + 1, "cause": payload["made_by"],
                 "scheduled_at": payload["scheduled_at"] },
        "scheduled_at": payload["scheduled_at"],
    })
}

/// The args of a run, with the values of their expressions.
pub(super) fn of(job: &Job) -> Result<Value> {
    let template = compile(&job.payload["args"])?;
    if let Some(constant) = template.constant() {
        return Ok(constant.clone());
    }
    let filled = template.render(&context(job), &[]).map_err(|e| refuse("in args", &e))?;
    let (bytes, most) = (filled.to_string().len(), guc::max_payload_bytes());
    if bytes > most {
        return Err(Error::refused(
            PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            format!("args have become {bytes} bytes, more than the {most} that they may have"),
        )
        .with_detail(SEES)
        .with_hint("Let the expressions make less, or raise automate.max_payload_bytes."));
    }
    Ok(filled)
}
