//! Runs that are to end: marked by whoever asks, seen to by the coordinator.

use super::{away, ended};
use crate::error::Result;
use crate::queue::Job;
use crate::queue::claim::to_uuids;
use crate::shmem::registry;
use crate::spi::Own;
use crate::{pg, wake};
use pgrx::prelude::*;
use uuid::Uuid;

/// Between two looks at runs that were told to end and have not.
const AGAIN_MS: i64 = 100;

/// Asks the open runs of tasks to end: later ones take their place.
pub fn replace(own: &Own, tasks: &[Uuid]) -> Result<()> {
    if tasks.is_empty() {
        return Ok(());
    }
    own.run(
        "UPDATE automate.task_run SET cancelling = 'replaced by a later run'
         WHERE task = ANY ($1) AND finished_at IS NULL AND cancelling IS NULL",
        &[to_uuids(tasks).into()],
    )?;
    wake::arm_coordinator();
    Ok(())
}

/// Why the run of a job is being cancelled, if it is.
pub fn reason(own: &Own, job: &Job) -> Result<Option<String>> {
    own.one(
        "SELECT cancelling FROM automate.task_run
         WHERE task = $1::text::uuid AND scheduled_at = $2::text::timestamptz AND finished_at IS NULL",
        &[job.payload["task"].as_str().into(), job.payload["scheduled_at"].as_str().into()],
    )
}

/// For the coordinator: takes the jobs of such runs out of the queue, and tells the executors that
/// do one to stop; answers when to look again.
pub fn press(own: &Own) -> Result<Option<i64>> {
    let asked = own.run(
        "SELECT job FROM automate.task_run WHERE cancelling IS NOT NULL AND finished_at IS NULL AND job IS NOT NULL",
        &[],
    )?;
    let jobs: Vec<Uuid> = (0..asked.len())
        .filter_map(|row| asked.get::<pgrx::Uuid>(row, 1))
        .map(|id| Uuid::from_bytes(*id.as_bytes()))
        .collect();
    if jobs.is_empty() {
        return Ok(None);
    }
    away::cancel(own, &jobs)?;
    own.run(
        "WITH c AS (SELECT id FROM automate.job AS j WHERE id = ANY ($1) AND status <> 'running'
                    AND NOT (status = 'waiting' AND EXISTS (
                        SELECT FROM automate.task_run AS t JOIN automate.run AS w ON w.id = t.started
                        WHERE t.job = j.id AND w.finished_at IS NULL))
                    FOR UPDATE SKIP LOCKED),
         j AS (DELETE FROM automate.job USING c WHERE job.id = c.id RETURNING job.*, automate.redrive(job) AS retry)
         INSERT INTO automate.job_history (id, kind, owner, status, attempts, enqueued_at, finished_at, error, source, retry)
         SELECT j.id, j.kind, j.owner, 'cancelled', j.attempts, j.enqueued_at, clock_timestamp(),
                'cancelled: ' || r.cancelling, j.source, j.retry
         FROM j JOIN automate.task_run AS r ON r.job = j.id",
        &[to_uuids(&jobs).into()],
    )?;
    ended::note_from_history(own, &jobs)?;
    let Some(registry) = registry() else { return Ok(Some(AGAIN_MS)) };
    for (_, slot) in registry.of_database(pg::my_database()) {
        if slot.job().is_some_and(|job| jobs.contains(&job)) {
            // SAFETY: sends a signal to a process of ours, whose handler only sets a flag.
            unsafe { cancel_statement(slot.pid()) };
        }
    }
    Ok(Some(AGAIN_MS))
}

/// Cancels the statement that runs in a process.
unsafe fn cancel_statement(pid: i32) {
    // SAFETY: what pg_cancel_backend() does.
    unsafe {
        pgrx::direct_function_call::<bool>(pg_sys::pg_cancel_backend, &[pid.into_datum()]);
    }
}
