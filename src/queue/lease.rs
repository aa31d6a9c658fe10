//! Jobs whose worker is gone: freed, charged, and quarantined when it dies under them again and
//! again; jobs whose owner is gone: ended.

use super::claim::to_uuids;
use crate::error::Result;
use crate::spi::Own;
use crate::spi::own::Rows;
use crate::worker::process;
use crate::{task, wake};
use uuid::Uuid;

/// Crashes after which a job is not tried again.
const MAX_CRASHES: i32 = 3;

/// Frees the jobs that run under a lease whose holder is gone. Network work is simply ready
/// again; a top-level statement was interrupted, which counts as an attempt.
pub fn free_orphans(own: &Own) -> Result<()> {
    let rows = own.run("SELECT DISTINCT lease FROM automate.job WHERE status = 'running'", &[])?;
    let dead: Vec<i64> = (0..rows.len())
        .filter_map(|i| rows.get::<i64>(i, 1))
        .filter(|lease| !process::lease_is_held(*lease))
        .collect();
    if dead.is_empty() {
        return Ok(());
    }
    let ended = own.run(
        "WITH gone AS (
            DELETE FROM automate.job
            WHERE status = 'running' AND lease = ANY ($1) AND lane = 's' AND attempts + 1 >= max_attempts
            RETURNING *, automate.redrive(job) AS retry)
         INSERT INTO automate.job_history
            (id, kind, owner, status, attempts, enqueued_at, finished_at, error, source, retry)
         SELECT id, kind, owner, 'failed', attempts + 1, enqueued_at, clock_timestamp(),
                '57P01: interrupted: its worker ended while it ran at top level', source,
                retry
         FROM gone RETURNING id",
        &[dead.clone().into()],
    )?;
    task::ended::note_from_history(own, &ids(&ended))?;
    own.run(
        "UPDATE automate.job SET status = 'ready', lease = NULL,
                attempts = attempts + CASE WHEN lane = 's' THEN 1 ELSE 0 END
         WHERE status = 'running' AND lease = ANY ($1)",
        &[dead.into()],
    )?;
    wake::arm_courier();
    Ok(())
}

/// Charges jobs with the death of their process; at the third they are quarantined. Answers those
/// that somebody runs now: they are to be charged later.
pub fn charge(own: &Own, ids: &[Uuid]) -> Result<Vec<Uuid>> {
    let mut left = Vec::new();
    for id in ids {
        let done: Option<bool> = own.one(
            "WITH c AS (SELECT id FROM automate.job WHERE id = $1 FOR UPDATE SKIP LOCKED),
             u AS (UPDATE automate.job SET crashes = crashes + 1 FROM c WHERE job.id = c.id RETURNING 1)
             SELECT EXISTS (SELECT FROM u) OR NOT EXISTS (SELECT FROM automate.job WHERE id = $1)",
            &[pgrx::Uuid::from_bytes(*id.as_bytes()).into()],
        )?;
        if done != Some(true) {
            left.push(*id);
        }
    }
    own.run(
        "WITH c AS (SELECT id FROM automate.job WHERE id = ANY ($1) AND crashes >= $2 FOR UPDATE SKIP LOCKED),
         bad AS (DELETE FROM automate.job USING c WHERE job.id = c.id
                 RETURNING job.*, automate.redrive(job) AS retry)
         INSERT INTO automate.job_history
            (id, kind, owner, status, attempts, enqueued_at, finished_at, error, source, retry)
         SELECT id, kind, owner, 'quarantined', crashes, enqueued_at, clock_timestamp(),
                'XX000: its process died ' || crashes || ' times while it ran', source,
                retry
         FROM bad",
        &[to_uuids(ids).into(), MAX_CRASHES.into()],
    )?;
    task::ended::note_from_history(own, ids)?;
    crate::workflow::fault_quarantined(own, ids)?;
    Ok(left)
}

/// Ends the jobs for executors of roles that were dropped: a role of the same name is another role.
/// The courier looks at the owners of its own. A job that runs now is passed over; it ends by itself.
pub fn end_ownerless(own: &Own) -> Result<()> {
    own.run(
        "WITH c AS (SELECT id FROM automate.job
                    WHERE lane = 's' AND NOT EXISTS (SELECT FROM pg_authid AS r WHERE r.oid = job.owner)
                    FOR UPDATE SKIP LOCKED),
         gone AS (DELETE FROM automate.job USING c WHERE job.id = c.id RETURNING job.*)
         INSERT INTO automate.job_history
            (id, kind, owner, status, attempts, enqueued_at, finished_at, error, source)
         SELECT id, kind, owner, 'failed', attempts, enqueued_at, clock_timestamp(),
                '42704: the role with OID ' || owner::oid || ', which owned it, was dropped', source
         FROM gone",
        &[],
    )?;
    task::ended::end_ownerless(own)
}

fn ids(rows: &Rows) -> Vec<Uuid> {
    (0..rows.len())
        .filter_map(|row| rows.get::<pgrx::Uuid>(row, 1))
        .map(|id| Uuid::from_bytes(*id.as_bytes()))
        .collect()
}
