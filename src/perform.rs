//! Doing a job, by its kind, in an executor: in a session of the owner, inside a subtransaction.
//! Runs of workflows are not among them: an executor takes many of them through their steps at once
//! (`workflow::Round`).

use crate::error::{Error, Result};
use crate::queue::Job;
use crate::queue::finish::Outcome;
use crate::spi::statement;
use crate::{report, rule, task, trigger, workflow};
use pgrx::prelude::*;
use serde_json::{Value, json};

/// True when a job may share its commit with others: it is known to be short here.
pub fn may_share(job: &Job) -> bool {
    if job.top_level {
        return false;
    }
    match job.kind.as_str() {
        "sql" => statement::is_known_short(text_of(job)),
        "task" => task::may_share(job),
        "report" => false,
        // A query of which nobody knows how long it takes.
        "trigger" => job.payload.get("look").is_none(),
        _ => true,
    }
}

/// Does the job.
pub fn perform(job: &Job) -> Result<Outcome> {
    if let Some(reason) = &job.broken {
        return Err(unreadable(reason));
    }
    rule::cause::of_job(&job.payload, || perform_kind(job))
}

fn perform_kind(job: &Job) -> Result<Outcome> {
    match job.kind.as_str() {
        "alert" => task::tell::perform(job),
        "sql" => match (job.payload["sql"].as_str(), job.payload["params"].as_array()) {
            (Some(text), Some(params)) => run_sql(text, params),
            _ => Err(unreadable("it needs sql, a text, and params, an array")),
        },
        "approval" => workflow::approval::perform(job),
        "hear" => workflow::listen::perform(job),
        "report" => report::perform(job),
        "rule" => rule::perform(job),
        "task" => task::perform(job),
        "trigger" => trigger::perform(job),
        other => Err(Error::Internal(format!("no executor knows the kind of job \"{other}\""))),
    }
}

fn unreadable(reason: &str) -> Error {
    Error::refused(
        PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
        format!("the payload of the job cannot be read: {reason}"),
    )
    .with_detail("What pg_automate itself puts into the queue can be read.")
    .with_hint("Somebody has changed automate.job by hand: enqueue the job again.")
}

fn text_of(job: &Job) -> &str {
    job.payload["sql"].as_str().unwrap_or_default()
}

fn run_sql(text: &str, params: &[Value]) -> Result<Outcome> {
    let answer = statement::execute(text, params, false)?;
    Ok(Outcome::Succeeded(json!({ "rows": answer.processed })))
}
