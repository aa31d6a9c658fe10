//! Runs of tasks that are not over when their job has been done: a workflow or report goes on, or
//! the courier has a request to send. The job stays in the queue until then, so that those who wait
//! for their turn go on waiting, and a failure is tried again as any other.

use crate::error::{Error, Failure, Result};
use crate::queue::claim::{self, to_uuids};
use crate::queue::finish::{Finished, Outcome, finish};
use crate::spi::Own;
use crate::spi::own::Rows;
use crate::wake;
use pgrx::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

fn key(id: Uuid) -> pgrx::Uuid {
    pgrx::Uuid::from_bytes(*id.as_bytes())
}

fn id(rows: &Rows, row: usize, column: usize) -> Option<Uuid> {
    rows.get::<pgrx::Uuid>(row, column).map(|id| Uuid::from_bytes(*id.as_bytes()))
}

/// The job waits for the end of what it has started.
pub fn wait(own: &Own, job: Uuid) -> Result<()> {
    own.run(
        "UPDATE automate.job SET status = 'waiting', lease = NULL WHERE id = $1",
        &[key(job).into()],
    )?;
    Ok(())
}

/// Hands the job to the courier.
pub fn send(own: &Own, job: Uuid, request: &Value) -> Result<()> {
    own.run(
        "UPDATE automate.job
         SET lane = 'n', status = 'ready', lease = NULL,
             payload = (payload::jsonb || jsonb_build_object('request', $2::text::jsonb))::json
         WHERE id = $1",
        &[key(job).into(), request.to_string().into()],
    )?;
    wake::arm_courier();
    Ok(())
}

/// Ends the runs of tasks that wait for these runs of workflows and reports, as far as those have
/// ended; in the transaction in which they do.
pub fn ended(own: &Own, started: &[Uuid]) -> Result<()> {
    if started.is_empty() {
        return Ok(());
    }
    let rows = own.run(
        "SELECT j.id, j.kind, j.payload::text, j.attempts, j.max_attempts, j.timeout_ms, j.concurrency_key, j.source,
                j.search_path, j.top_level, j.owner::oid, r.started, r.cancelling,
                (extract(epoch FROM r.started_at - timestamptz '2000-01-01 00:00:00+00') * 1000000)::int8,
                coalesce(w.status, p.status), coalesce(w.error::text, p.error), p.rows, w.id IS NOT NULL
         FROM automate.task_run AS r
         JOIN automate.job AS j ON j.id = r.job AND j.status = 'waiting'
         LEFT JOIN automate.run AS w ON w.id = r.started
         LEFT JOIN automate.report_run AS p ON p.id = r.started
         WHERE r.started = ANY ($1) AND r.finished_at IS NULL
           AND (w.finished_at IS NOT NULL OR p.finished_at IS NOT NULL OR (w.id IS NULL AND p.id IS NULL))
         FOR UPDATE OF j",
        &[to_uuids(started).into()],
    )?;
    if rows.is_empty() {
        return Ok(());
    }
    let mut finished = Vec::with_capacity(rows.len());
    let mut over = Vec::with_capacity(rows.len());
    for (row, job) in claim::read(&rows)?.into_iter().enumerate() {
        if let Some(owner) = rows.get::<pg_sys::Oid>(row, 11) {
            wake::arm_role(owner);
        }
        over.push(job.id);
        let outcome = outcome(&rows, row);
        finished.push(Finished { job, outcome, started_us: rows.get(row, 14).unwrap_or(0) });
    }
    finish(own, finished)?;
    // Those that are tried again are to be done again.
    own.run(
        "UPDATE automate.task_run SET status = 'queued' WHERE job = ANY ($1) AND finished_at IS NULL AND status = 'running'",
        &[to_uuids(&over).into()],
    )?;
    // Others may have waited for their turn, or for a concurrency key.
    wake::arm_coordinator();
    Ok(())
}

/// What became of a run, by a row of [`ended`].
fn outcome(rows: &Rows, row: usize) -> Outcome {
    let started = id(rows, row, 12).unwrap_or_default();
    let is_workflow = rows.get(row, 18) == Some(true);
    let error: String = rows.get(row, 16).unwrap_or_default();
    let asked: Option<String> = rows.get(row, 13);
    let cancelled = |why: &str| Outcome::Cancelled(format!("57014: cancelled: {why}"));
    match rows.get::<String>(row, 15).as_deref() {
        Some("completed") if is_workflow => Outcome::Succeeded(json!({ "run": started })),
        Some("completed") => {
            let rows: Option<i64> = rows.get(row, 17);
            Outcome::Succeeded(json!({ "report_run": started, "rows": rows }))
        }
        Some("cancelled") => cancelled(asked.as_deref().unwrap_or("its workflow run was")),
        Some(_) if asked.is_some() => cancelled(asked.as_deref().unwrap_or_default()),
        Some("faulted") => Outcome::Failed(fault(started, &error)),
        Some(_) => Outcome::Failed(failure(
            format!("the report failed: {}", error.lines().next().unwrap_or_default()),
            format!("Its run is {started}."),
            "automate.report_run tells what it read; the report's queries run with the rights of its owner.",
        )),
        None => Outcome::GivenUp(failure(
            "what the task started is no longer there".into(),
            format!("Its id was {started}."),
            "Run the task again with automate.execute_task.",
        )),
    }
}

/// The error of a workflow's run.
fn fault(run: Uuid, error: &str) -> Failure {
    let error: Value = serde_json::from_str(error).unwrap_or_default();
    let text = |key: &str| error[key].as_str().filter(|text| !text.is_empty());
    let what = text("detail").or(text("title")).unwrap_or("it does not say why");
    let step = text("instance").map(|step| format!(" at step {step}")).unwrap_or_default();
    failure(
        format!("the workflow faulted: {}", what.lines().next().unwrap_or_default()),
        format!("Its run is {run}, which ended{step}."),
        "automate.run and automate.run_step tell what it did.",
    )
}

fn failure(message: String, detail: String, hint: &str) -> Failure {
    Error::refused(PgSqlErrorCode::ERRCODE_EXTERNAL_ROUTINE_EXCEPTION, message)
        .with_detail(detail)
        .with_hint(hint)
        .into()
}

/// Looks after those whose end was not told, such as a report whose process died.
pub fn catch_up(own: &Own) -> Result<()> {
    let rows = own.run(
        "SELECT r.started FROM automate.job AS j JOIN automate.task_run AS r ON r.job = j.id
         WHERE j.status = 'waiting' AND r.finished_at IS NULL AND r.started IS NOT NULL LIMIT 10000",
        &[],
    )?;
    let started: Vec<Uuid> = (0..rows.len()).filter_map(|row| id(&rows, row, 1)).collect();
    ended(own, &started)
}
