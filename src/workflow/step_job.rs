//! Steps that may take long while other branches of their run go on: jobs of their own.
//!
//! Such a job does the step, locks the step's row in `automate.run_step`, and takes the run's turn
//! with the outcome, all in one transaction. A turn that withdraws the step in the meantime writes
//! the same row, so that one of the two comes first: either the step is done, and the run hears of
//! it, or its effects are undone.

use super::effect::{self, Trouble};
use super::load::{self, Loaded, now_text};
use super::run::Run;
use super::save::run_id;
use super::{failure, outside};
use crate::error::{Error, Failure, Result};
use crate::queue::{Job, Lane, NewJob};
use crate::spi::{Own, as_extension};
use automate_core::workflow::{Command, Event, pending_command};
use pgrx::Uuid as PgUuid;
use serde_json::json;
use std::collections::HashMap;

/// What became of the job of a step.
pub enum Did {
    /// The run is to be told.
    Event(Box<Event>),
    /// Nobody waits for the step any more; nothing was done.
    Nothing,
    /// Another attempt may well succeed.
    LostRace(Failure),
}

/// Puts the job of a step into the queue.
pub fn put(own: &Own, run: &Run, command: &Command) -> Result<()> {
    let (step, attempt) = (command.step().unwrap_or_default(), effect::attempt(command));
    // A step that was thought to be short has no row yet, and by its row it is withdrawn.
    own.run(
        "INSERT INTO automate.run_step (run, step, name, attempt, status, started_at, owner)
         VALUES ($1, $2, $3, $4, 'running', clock_timestamp(), $5)
         ON CONFLICT (run, step, attempt) DO UPDATE SET status = 'running', finished_at = NULL",
        &[
            PgUuid::from_bytes(*run.id.as_bytes()).into(),
            step.into(),
            effect::name(command).into(),
            i32::try_from(attempt).unwrap_or(i32::MAX).into(),
            run.owner.into(),
        ],
    )?;
    let payload = json!({ "run": run.id, "do": step, "attempt": attempt });
    let (key, source) = (outside::key(run.id, step, attempt), run.source());
    NewJob {
        dedupe_key: Some(&key),
        source: Some(&source),
        ..NewJob::new("run", run.owner, Lane::Sql, &payload)
    }
    .put(own)?;
    Ok(())
}

/// The step that a job is to do.
pub fn step(job: &Job) -> Option<&str> {
    job.payload["do"].as_str()
}

/// Does the step of a job; call it outside of our own statements.
pub fn perform(job: &Job) -> Result<Did> {
    let (Some(id), Some(step)) = (run_id(job), step(job)) else { return Ok(Did::Nothing) };
    let loaded = as_extension(|own| {
        own.plan_for_queue();
        load::load(own, &[id], &mut HashMap::new())
    })?;
    let Some(Loaded::Run(run)) = loaded.into_iter().next() else { return Ok(Did::Nothing) };
    let Some(state) = &run.state else { return Ok(Did::Nothing) };
    let now = now_text();
    let found = pending_command(&run.known.definition, &run.runtime, state, step, &now);
    let step = step.to_owned();
    let command = match found {
        Ok(Some(command)) if attempt(job) == effect::attempt(&command) => command,
        Ok(_) => return Ok(Did::Nothing),
        Err(error) => return Ok(Did::Event(Box::new(Event::Failed { step, error }))),
    };
    let event = match run.caused(|| effect::carry_out(&command, &run)) {
        Ok(output) => Event::Done { step, output },
        Err(Trouble::LostRace(failure)) if job.attempts < 4 => return Ok(Did::LostRace(failure)),
        Err(Trouble::LostRace(failure)) => {
            Event::Failed { step, error: failure::of_sql(&failure, false) }
        }
        Err(Trouble::TimedOut(error) | Trouble::Failed(error)) => Event::Failed { step, error },
    };
    as_extension(|own| claim_row(own, &run, &command))?;
    Ok(Did::Event(Box::new(event)))
}

/// The event that the step has failed with the transaction that did it.
pub fn broke(job: &Job, failure: &Failure) -> Event {
    let step = step(job).unwrap_or_default().to_owned();
    Event::Failed { step, error: failure::of_sql(failure, false) }
}

fn attempt(job: &Job) -> u32 {
    job.payload["attempt"].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(1)
}

/// From here on the step cannot be withdrawn; an error if it was.
fn claim_row(own: &Own, run: &Run, command: &Command) -> Result<()> {
    let (step, attempt) = (command.step().unwrap_or_default(), effect::attempt(command));
    let claimed: Option<bool> = own.one(
        "UPDATE automate.run_step SET status = 'completed', finished_at = clock_timestamp()
         WHERE run = $1 AND step = $2 AND attempt = $3 AND status = 'running' RETURNING true",
        &[
            PgUuid::from_bytes(*run.id.as_bytes()).into(),
            step.into(),
            i32::try_from(attempt).unwrap_or(i32::MAX).into(),
        ],
    )?;
    if claimed == Some(true) {
        return Ok(());
    }
    // Its transaction is undone; the next attempt finds that there is nothing to do.
    let code = pgrx::PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE;
    Err(Error::refused(code, "the step was withdrawn while it was done")
        .with_detail("Another branch of the run has failed, or its time is over.")
        .with_hint("Nothing of the step has been done."))
}
