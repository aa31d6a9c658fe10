//! Requests to cancel runs.

use crate::error::Result;
use crate::queue::Job;
use crate::queue::claim::to_uuids;
use crate::spi::Own;
use uuid::Uuid;

/// Marks the runs that these jobs ask to cancel, and sees to it that each has a job in the queue
/// by which it ends. A run in the middle of a step finds the mark when it is through with it.
pub fn mark(own: &Own, asks: &[Job]) -> Result<()> {
    let runs: Vec<Uuid> = asks
        .iter()
        .filter_map(|job| job.payload["run"].as_str().and_then(|id| Uuid::parse_str(id).ok()))
        .collect();
    if runs.is_empty() {
        return Ok(());
    }
    let ids = to_uuids(&runs);
    own.run(
        "UPDATE automate.run SET cancelling = true WHERE id = ANY ($1) AND finished_at IS NULL",
        &[ids.clone().into()],
    )?;
    own.run(
        "UPDATE automate.job SET status = 'ready', payload = jsonb_build_object('run', id)
         WHERE id IN (SELECT id FROM automate.job WHERE id = ANY ($1) AND status = 'scheduled'
                      FOR UPDATE SKIP LOCKED)",
        &[ids.clone().into()],
    )?;
    own.run(
        "INSERT INTO automate.job (id, kind, owner, lane, payload, source, run_at, status)
         SELECT id, 'run', owner, 's', jsonb_build_object('run', id), 'workflow:' || workflow, now(), 'ready'
         FROM automate.run WHERE id = ANY ($1) AND finished_at IS NULL
         ON CONFLICT (id) DO NOTHING",
        &[ids.into()],
    )?;
    Ok(())
}
