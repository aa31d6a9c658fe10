//! What others do for a run: the courier, people, events, other runs.

use super::run::Run;
use super::{approval, child, listen, report_step, request};
use crate::error::{Error, Result};
use crate::queue::claim::to_uuids;
use crate::spi::Own;
use automate_core::workflow::Command;
use uuid::Uuid;

/// Hands out what a step asks for; the answer comes as news of the run.
pub fn issue(own: &Own, run: &Run, command: &Command) -> Result<()> {
    match command {
        Command::Http { .. } => request::send(own, run, command),
        Command::Listen { step, wants, .. } => listen::open(own, run, step, wants),
        Command::Approval { .. } => approval::open(own, run, command),
        Command::Run { .. } => child::start(own, run, command),
        Command::Report { .. } => report_step::start(run, command),
        // What cannot be handed out is refused when the workflow is created.
        _ => Err(Error::Internal("nobody carries out this command".into())),
    }
}

/// Takes back what a step has asked for, as far as it has not begun.
pub fn withdraw(own: &Own, run: &Run, step: &str, attempt: u32) -> Result<()> {
    own.run(
        "DELETE FROM automate.job WHERE id IN (
            SELECT id FROM automate.job
            WHERE owner = $1 AND dedupe_key = $2 AND status <> 'running' FOR UPDATE SKIP LOCKED)",
        &[run.owner.into(), key(run.id, step, attempt).into()],
    )?;
    approval::close(own, run.id, step)?;
    child::close(own, run.id, step)?;
    listen::close(own, run.id, step)
}

/// Drops what is kept for runs that have ended.
pub fn clear(own: &Own, runs: &[Uuid]) -> Result<()> {
    if runs.is_empty() {
        return Ok(());
    }
    own.run("DELETE FROM automate.run_news WHERE run = ANY ($1)", &[to_uuids(runs).into()])?;
    listen::clear(own, runs)?;
    // Those of a run that may be tried again are of use.
    own.run(
        "DELETE FROM automate.run_item AS i USING automate.run AS r
         WHERE i.run = ANY ($1) AND r.id = i.run AND r.retry_state IS NULL",
        &[to_uuids(runs).into()],
    )?;
    Ok(())
}

/// The dedupe key of the job that does something for a step.
pub fn key(run: Uuid, step: &str, attempt: u32) -> String {
    format!("run:{run}:{step}:{attempt}")
}
