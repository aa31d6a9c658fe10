//! Pausing, running and removing tasks.

use super::row::{Task, tasks};
use super::run::{self, Cause, Firing, NewRun};
use super::{news, upstream, when};
use crate::error::Result;
use crate::noun::TASK;
use crate::spi::{Own, as_extension};
use crate::{audit, pg, wake};
use pgrx::prelude::*;
use uuid::Uuid;

/// The task of that name that the role owns, or that a role owns whose privileges it has; locked.
pub(super) fn find(own: &Own, user: pg_sys::Oid, name: &str) -> Result<Task> {
    let rows = own.run(
        tasks!(
            "WHERE t.name = $2 AND (t.owner = $1 OR pg_has_role($1, t.owner, 'USAGE'))
             ORDER BY t.owner <> $1, t.owner LIMIT 1 FOR UPDATE OF t"
        ),
        &[user.into(), name.into()],
    )?;
    if rows.len() == 1 {
        return Task::read(&rows, 0);
    }
    Err(TASK.missing(own, user, name))
}

/// No more jobs until it is resumed.
pub fn pause(user: pg_sys::Oid, name: &str) -> Result<()> {
    as_extension(|own| {
        let task = find(own, user, name)?;
        if !task.active {
            return Ok(());
        }
        audit::around(own, &audit::TASK, (user, "pause"), task.id, || {
            own.run(
                "UPDATE automate.task SET status = 'paused', updated_at = now() WHERE id = $1",
                &[task.key().into()],
            )
        })?;
        wake::arm_coordinator();
        news::rouse(own, &[task.id])
    })
}

/// Runs it once, now; returns the job's id.
pub fn execute(name: &str) -> Result<Uuid> {
    let user = pg::current_user();
    as_extension(|own| put_now(own, &find(own, user, name)?, Cause::Manual))
}

/// Runs it once, now.
fn put_now(own: &Own, task: &Task, cause: Cause) -> Result<Uuid> {
    // Two calls in the same microsecond are two runs.
    let mut at = when::now();
    loop {
        let made = run::put(own, &[NewRun::new(task, at, cause)])?;
        if let Some(job) = made.first() {
            own.run(
                "UPDATE automate.task SET run_count = run_count + 1, last_run_at = $2 WHERE id = $1",
                &[task.key().into(), when::to_datum(at)?.into()],
            )?;
            return Ok(*job);
        }
        at += chrono::Duration::microseconds(1);
        pg::check_interrupts();
    }
}

/// Runs it for the firing of a trigger, in a session of its owner; a task that was paused or
/// dropped meanwhile does not run.
pub fn fire(own: &Own, owner: pg_sys::Oid, id: Uuid, firing: &Firing) -> Result<()> {
    let rows = own.run(
        tasks!("WHERE t.id = $1 AND t.owner = $2 AND t.status = 'active' FOR UPDATE OF t"),
        &[pgrx::Uuid::from_bytes(*id.as_bytes()).into(), owner.into()],
    )?;
    if !rows.is_empty() {
        put_now(own, &Task::read(&rows, 0)?, Cause::Trigger(firing))?;
    }
    Ok(())
}

/// Removes it and the list of its runs.
pub fn unschedule(user: pg_sys::Oid, name: &str) -> Result<()> {
    as_extension(|own| {
        let task = find(own, user, name)?;
        upstream::leave(own, task.id, name)?;
        audit::around(own, &audit::TASK, (user, "drop"), task.id, || {
            own.run(
                "WITH gone AS (DELETE FROM automate.task_run WHERE task = $1)
                 DELETE FROM automate.task WHERE id = $1",
                &[task.key().into()],
            )
        })?;
        wake::arm_coordinator();
        Ok(())
    })
}
