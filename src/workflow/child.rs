//! `run: workflow`: runs that a step of another run starts, and mostly waits for.
//!
//! A child is started in the transaction of its parent's checkpoint, and tells its parent how it
//! ended in the transaction in which it does: neither is done twice or lost. Nobody but a child
//! writes its row, so that parents and children never wait for each other.

use super::news;
use super::run::Run;
use super::start::{self, Parent, Start, ask_to_cancel, start_own};
use crate::error::{Error, Result};
use crate::queue::claim::to_uuids;
use crate::spi::Own;
use crate::spi::own::Rows;
use automate_core::workflow::{Command, WorkflowError};
use pgrx::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

/// Most runs within one another.
const MAX_NESTING: i32 = 16;

/// Starts the child that a step asks for.
pub fn start(own: &Own, run: &Run, command: &Command) -> Result<()> {
    let Command::Run { step, attempt, namespace, workflow, version, input, wait, .. } = command
    else {
        return Ok(());
    };
    let nesting = nesting(own, run.id, workflow)?;
    let version = find_version(own, run.owner, namespace, workflow, version)?;
    let attempt = wait.then_some(i32::try_from(*attempt).unwrap_or(i32::MAX));
    let traceparent = run.traceparent.as_deref();
    let parent = Parent { run: run.id, step, attempt, nesting, traceparent };
    let child = Start {
        owner: run.owner,
        name: workflow,
        input,
        version: Some(version),
        idempotency_key: None,
        source: Some(&run.source()),
    };
    start_own(own, &child, Some(&parent))?;
    Ok(())
}

/// How deep a child of the run is.
fn nesting(own: &Own, run: Uuid, workflow: &str) -> Result<i32> {
    let of: Option<i32> =
        own.one("SELECT nesting FROM automate.run WHERE id = $1", &[key(run).into()])?;
    let of = of.unwrap_or(0);
    if of < MAX_NESTING {
        return Ok(of + 1);
    }
    let code = PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED;
    let message =
        format!("workflow \"{workflow}\" would be started within {} others", MAX_NESTING + 1);
    Err(Error::refused(code, message)
        .with_detail(format!("Runs within at most {MAX_NESTING} others are allowed."))
        .with_hint(
            "The workflows start each other: let one of them end the chain with if or switch.",
        ))
}

/// The version that is meant by `latest`, by its number, or by the version that its document gives.
fn find_version(
    own: &Own,
    owner: pg_sys::Oid,
    namespace: &str,
    name: &str,
    version: &str,
) -> Result<i32> {
    let found = start::find(own, owner, name)?;
    let number: Option<i32> = own.one(
        "SELECT max(version) FROM automate.workflow_version
         WHERE workflow = $1 AND ($2 = 'default' OR $2 = definition #>> '{document,namespace}')
           AND (CASE $3 WHEN 'latest' THEN version = $4
                ELSE version::text = $3 OR $3 = definition #>> '{document,version}' END)",
        &[key(found.id).into(), namespace.into(), version.into(), found.version.into()],
    )?;
    number.ok_or_else(|| {
        let message = format!("workflow \"{name}\" has no version {version} in namespace {namespace}");
        Error::missing(message)
            .with_detail(format!("Its current version is {}.", found.version))
            .with_hint(
                "Write latest, a number of automate.workflow_version or the version in its document; \
                 leave namespace out for any.",
            )
    })
}

/// A step waits no more: what it has started and still goes on is to end.
pub fn close(own: &Own, run: Uuid, step: &str) -> Result<()> {
    let rows = own.run(
        "SELECT id FROM automate.run
         WHERE parent = $1 AND parent_step = $2 AND parent_attempt IS NOT NULL AND finished_at IS NULL",
        &[key(run).into(), step.into()],
    )?;
    end_all(own, &rows)
}

/// Ends what runs wait for that have ended without taking a turn.
pub fn abandon(own: &Own, runs: &[Uuid]) -> Result<()> {
    let rows = own.run(
        "SELECT c.id FROM automate.run AS c JOIN automate.run AS p ON p.id = c.parent
         WHERE p.id = ANY ($1) AND p.finished_at IS NOT NULL
           AND c.parent_attempt IS NOT NULL AND c.finished_at IS NULL",
        &[to_uuids(runs).into()],
    )?;
    end_all(own, &rows)
}

fn end_all(own: &Own, rows: &Rows) -> Result<()> {
    let ids = (0..rows.len()).filter_map(|row| uuid(rows, row, 1));
    ask_to_cancel(own, &ids.collect::<Vec<_>>())
}

/// Tells the parents of these runs, as far as they have ended, how they did; of several children
/// of one step the newest counts.
pub fn ended(own: &Own, runs: &[Uuid]) -> Result<()> {
    if runs.is_empty() {
        return Ok(());
    }
    let rows = own.run(
        "SELECT c.parent, c.parent_step, c.parent_attempt, c.status, c.output::text, c.error::text,
                p.owner::oid, c.workflow
         FROM automate.run AS c JOIN automate.run AS p ON p.id = c.parent
         WHERE c.id = ANY ($1) AND c.parent_attempt IS NOT NULL AND c.finished_at IS NOT NULL
           AND p.finished_at IS NULL
           AND NOT EXISTS (SELECT FROM automate.run AS o
                           WHERE o.parent = c.parent AND o.parent_step = c.parent_step AND o.id > c.id)",
        &[to_uuids(runs).into()],
    )?;
    for row in 0..rows.len() {
        let (Some(parent), Some(owner)) = (uuid(&rows, row, 1), rows.get(row, 7)) else { continue };
        let news = json!({
            "kind": "answer",
            "step": rows.get::<String>(row, 2),
            "attempt": rows.get::<i32>(row, 3),
            "answer": answer(&rows, row),
        });
        news::tell(own, parent, owner, &news)?;
    }
    Ok(())
}

fn answer(rows: &Rows, row: usize) -> Value {
    let json = |column| rows.get::<String>(row, column).and_then(|t| serde_json::from_str(&t).ok());
    match rows.get::<String>(row, 4).as_deref() {
        Some("completed") => json!({ "done": json(5).unwrap_or(Value::Null) }),
        Some("faulted") => {
            let mut error: Value = json(6).unwrap_or_default();
            // A pointer into another document; the parent says which of its steps it was.
            if let Some(error) = error.as_object_mut() {
                error.remove("instance");
            }
            json!({ "failed": error })
        }
        _ => {
            let name: String = rows.get(row, 8).unwrap_or_default();
            let detail = format!("the run of workflow \"{name}\" was cancelled");
            let error = WorkflowError::standard("runtime", "Cancelled", detail);
            json!({ "failed": error.to_value() })
        }
    }
}

fn key(id: Uuid) -> pgrx::Uuid {
    pgrx::Uuid::from_bytes(*id.as_bytes())
}

fn uuid(rows: &Rows, row: usize, column: usize) -> Option<Uuid> {
    rows.get::<pgrx::Uuid>(row, column).map(|id| Uuid::from_bytes(*id.as_bytes()))
}
