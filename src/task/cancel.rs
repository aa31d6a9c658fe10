//! Runs that are to end: marked by whoever asks, in their transaction. What waits is over with it;
//! the coordinator sees to what runs.

use super::{away, ended};
use crate::error::{Error, Result};
use crate::noun::TASK;
use crate::queue::Job;
use crate::queue::claim::to_uuids;
use crate::shmem::registry;
use crate::spi::own::Rows;
use crate::spi::{Own, as_extension};
use crate::worker::interrupt;
use crate::{pg, wake, workflow};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use uuid::Uuid;

/// Between two looks at runs that were told to end and have not.
const AGAIN_MS: i64 = 100;
/// Longest reason.
const MAX_REASON: usize = 1000;

/// Ends the runs of a task, or the one of an instant; answers how many.
pub fn runs(
    user: pg_sys::Oid,
    name: &str,
    instant: Option<TimestampWithTimeZone>,
    reason: Option<&str>,
) -> Result<i32> {
    if let Some(reason) = reason.filter(|reason| reason.len() > MAX_REASON) {
        return Err(Error::invalid(format!("reason must have at most {MAX_REASON} bytes"))
            .with_detail(format!("It has {} bytes.", reason.len()))
            .with_hint("Keep it short: it stands in the error of each run."));
    }
    as_extension(|own| {
        let task = TASK.id(own, user, name)?;
        let marked = own.run(
            "UPDATE automate.task_run SET cancelling = $3
             WHERE task = $1 AND ($2 IS NULL OR scheduled_at = $2) AND finished_at IS NULL AND cancelling IS NULL
             RETURNING job",
            &[
                pgrx::Uuid::from_bytes(*task.as_bytes()).into(),
                instant.into(),
                by_session(reason).into(),
            ],
        )?;
        end(own, &marked)
    })
}

/// Ends the runs of a backfill.
pub(super) fn backfill(own: &Own, id: Uuid, reason: &str) -> Result<()> {
    let marked = own.run(
        "UPDATE automate.task_run SET cancelling = $2
         WHERE backfill = $1 AND status IN ('waiting', 'queued', 'running') AND cancelling IS NULL
         RETURNING job",
        &[pgrx::Uuid::from_bytes(*id.as_bytes()).into(), reason.into()],
    )?;
    end(own, &marked).map(drop)
}

/// Asks the open runs of tasks to end: later ones take their place.
pub fn replace(own: &Own, tasks: &[Uuid]) -> Result<()> {
    if tasks.is_empty() {
        return Ok(());
    }
    let marked = own.run(
        "UPDATE automate.task_run SET cancelling = 'replaced by a later run'
         WHERE task = ANY ($1) AND finished_at IS NULL AND cancelling IS NULL AND backfill IS NULL
         RETURNING job",
        &[to_uuids(tasks).into()],
    )?;
    end(own, &marked).map(drop)
}

/// Who cancels, and why.
pub(super) fn by_session(reason: Option<&str>) -> String {
    // SAFETY: reads a process-local variable.
    let session = unsafe { pg_sys::GetSessionUserId() };
    let by = format!("by {}", pg::role_name(session).unwrap_or_default());
    match reason.filter(|reason| !reason.trim().is_empty()) {
        Some(reason) => format!("{by}: {}", reason.trim()),
        None => by,
    }
}

/// Ends what waits of the runs that were marked, and has the coordinator see to the others.
fn end(own: &Own, marked: &Rows) -> Result<i32> {
    if marked.processed == 0 {
        return Ok(0);
    }
    end_queued(own, &uuids(marked, 1))?;
    wake::arm_coordinator();
    Ok(i32::try_from(marked.processed).unwrap_or(i32::MAX))
}

fn uuids(rows: &Rows, column: usize) -> Vec<Uuid> {
    (0..rows.len())
        .filter_map(|row| rows.get::<pgrx::Uuid>(row, column))
        .map(|id| Uuid::from_bytes(*id.as_bytes()))
        .collect()
}

/// Takes the jobs of such runs out of the queue; those that somebody does now, and those that wait
/// for the end of what they have started, are passed over.
fn end_queued(own: &Own, jobs: &[Uuid]) -> Result<()> {
    if jobs.is_empty() {
        return Ok(());
    }
    own.run(
        "WITH c AS (SELECT id FROM automate.job WHERE id = ANY ($1) AND status NOT IN ('running', 'waiting') FOR UPDATE SKIP LOCKED),
         j AS (DELETE FROM automate.job USING c WHERE job.id = c.id RETURNING job.*, automate.redrive(job) AS retry)
         INSERT INTO automate.job_history (id, kind, owner, status, attempts, enqueued_at, finished_at, error, source, retry)
         SELECT j.id, j.kind, j.owner, 'cancelled', j.attempts, j.enqueued_at, clock_timestamp(),
                'cancelled: ' || r.cancelling, j.source, j.retry
         FROM j JOIN automate.task_run AS r ON r.job = j.id",
        &[to_uuids(jobs).into()],
    )?;
    ended::note_from_history(own, jobs)
}

/// Why the run of a job is being cancelled, if it is.
pub fn reason(own: &Own, job: &Job) -> Result<Option<String>> {
    own.one(
        "SELECT cancelling FROM automate.task_run
         WHERE task = $1::text::uuid AND scheduled_at = $2::text::timestamptz AND finished_at IS NULL",
        &[job.payload["task"].as_str().into(), job.payload["scheduled_at"].as_str().into()],
    )
}

/// For the coordinator: ends what was not over when it was asked to; answers when to look again.
pub fn press(own: &Own) -> Result<Option<i64>> {
    let asked = own.run(
        "SELECT job, started FROM automate.task_run
         WHERE cancelling IS NOT NULL AND finished_at IS NULL AND job IS NOT NULL",
        &[],
    )?;
    if asked.is_empty() {
        return Ok(None);
    }
    let mut jobs = uuids(&asked, 1);
    end_queued(own, &jobs)?;
    let started = uuids(&asked, 2);
    if !started.is_empty() {
        workflow::ask_to_cancel(own, &started)?;
        jobs.extend(end_reports(own, &started)?);
        away::ended(own, &started)?;
    }
    let Some(registry) = registry() else { return Ok(Some(AGAIN_MS)) };
    for (_, slot) in registry.of_database(pg::my_database()) {
        if let Some(job) = slot.job().filter(|job| jobs.contains(job)) {
            interrupt::cancel(slot, job);
        }
    }
    Ok(Some(AGAIN_MS))
}

/// Reports that were started and are not rendered: those in the queue are over; answers the jobs
/// of the others.
fn end_reports(own: &Own, started: &[Uuid]) -> Result<Vec<Uuid>> {
    own.run(
        "WITH c AS (SELECT j.id, 'cancelled: ' || r.cancelling AS error, p.id AS run
                    FROM automate.report_run AS p JOIN automate.task_run AS r ON r.started = p.id
                    JOIN automate.job AS j ON j.id = p.job
                    WHERE p.id = ANY ($1) AND p.status = 'pending' FOR UPDATE OF j SKIP LOCKED),
         j AS (DELETE FROM automate.job USING c WHERE job.id = c.id
               RETURNING job.*, automate.redrive(job) AS retry, c.error, c.run),
         p AS (UPDATE automate.report_run AS p SET status = 'failed', finished_at = clock_timestamp(), error = j.error
               FROM j WHERE p.id = j.run)
         INSERT INTO automate.job_history (id, kind, owner, status, attempts, enqueued_at, finished_at, error, source, retry)
         SELECT id, kind, owner, 'cancelled', attempts, enqueued_at, clock_timestamp(), error, source, retry FROM j",
        &[to_uuids(started).into()],
    )?;
    let rows = own.run(
        "SELECT job FROM automate.report_run WHERE id = ANY ($1) AND status = 'pending'",
        &[to_uuids(started).into()],
    )?;
    Ok(uuids(&rows, 1))
}
