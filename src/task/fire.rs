//! What is due: for the coordinator. A task's `next_run_at` moves in the transaction that makes its
//! runs, so that an instant fires once or is recorded as skipped.

use super::row::{Task, tasks};
use super::run::{self, Cause, NewRun, Skipped};
use super::{news, when};
use crate::error::{Error, Failure, Result};
use crate::queue::claim::to_uuids;
use crate::spi::own::Rows;
use crate::spi::{Own, step};
use crate::{access, pg};
use automate_core::task::{LATE, Missed, Overlap, Settled, settle};
use chrono::{DateTime, Utc};
use pgrx::prelude::*;
use uuid::Uuid;

/// Tasks settled in one transaction: the first of many that are due together begin while the others
/// are still looked at.
const CHUNK: i64 = 100;
/// Runs of one task that wait for their turn; one more is skipped.
const MOST_QUEUED: i64 = 1000;

/// Makes the runs of some of the tasks that are due; true when there may be more. A task that
/// cannot be run is disabled and stops no other.
pub fn fire_due(own: &Own) -> Result<bool> {
    let now = when::now();
    let rows = own.run(
        tasks!(
            "WHERE t.status = 'active' AND t.next_run_at <= $1
             ORDER BY t.next_run_at LIMIT $2 FOR UPDATE OF t SKIP LOCKED"
        ),
        &[when::to_datum(now)?.into(), CHUNK.into()],
    )?;
    let mut due = Vec::with_capacity(rows.len());
    for row in 0..rows.len() {
        match Task::read(&rows, row) {
            Ok(task) => due.push(task),
            Err(error) => give_up_row(own, &rows, row, Failure::from(error))?,
        }
    }
    let due: Vec<&Task> = due.iter().collect();
    // What one of them cannot have written would hold up all: then each is written by itself.
    if let Err(failure) = in_one(own, &due, now) {
        if !is_of_data(&failure) {
            return Err(failure.into());
        }
        for task in &due {
            match in_one(own, &[task], now) {
                Ok(()) => {}
                Err(failure) if is_of_data(&failure) => {
                    give_up(own, task.id, &task.name, &failure.text())?;
                }
                Err(failure) => return Err(failure.into()),
            }
        }
    }
    Ok(rows.len() as i64 == CHUNK)
}

/// Whether an error comes from what a row holds. All others, such as a full disk, pass: the tasks
/// are tried again.
fn is_of_data(failure: &Failure) -> bool {
    const DATA: [&str; 3] = ["22", "23", "54"];
    DATA.iter().any(|class| failure.sqlstate().starts_with(class))
}

/// Settles tasks in a subtransaction: all of them or, on an error, none.
fn in_one(own: &Own, due: &[&Task], now: DateTime<Utc>) -> std::result::Result<(), Failure> {
    step::in_subtransaction(|| settle_all(own, due, now).unwrap_or_else(|error| error.raise()))
}

fn settle_all(own: &Own, due: &[&Task], now: DateTime<Utc>) -> Result<()> {
    let mut round = Round::default();
    for task in due {
        match plan(task, now) {
            Ok(Some(settled)) => round.take(task, settled, now)?,
            Ok(None) => disable(own, task.id, "its owner was dropped")?,
            Err(error) => give_up(own, task.id, &task.name, &Failure::from(error).text())?,
        }
    }
    round.write(own)
}

/// Disables a task whose row makes no sense.
fn give_up_row(own: &Own, rows: &Rows, row: usize, failure: Failure) -> Result<()> {
    let id: pgrx::Uuid =
        rows.get(row, 1).ok_or_else(|| Error::Internal("a task without an id".into()))?;
    let name: String = rows.get(row, 2).unwrap_or_default();
    give_up(own, Uuid::from_bytes(*id.as_bytes()), &name, &failure.text())
}

fn give_up(own: &Own, id: Uuid, name: &str, why: &str) -> Result<()> {
    log!("pg_automate disables task \"{name}\": {why}");
    disable(own, id, why)
}

/// What becomes of a task's instants; None when its owner is gone.
fn plan(task: &Task, now: DateTime<Utc>) -> Result<Option<Settled>> {
    if pg::role_name(task.owner).is_none() {
        return Ok(None);
    }
    let schedule = when::read_kept(&task.schedule, &task.time_zone)?;
    let first = task.next_run.unwrap_or(now);
    Ok(Some(settle(&schedule, first, now, task.misfire, task.valid_until)))
}

/// What is to be written of the tasks of a chunk.
#[derive(Default)]
struct Round<'a> {
    runs: Vec<NewRun<'a>>,
    skipped: Vec<Skipped<'a>>,
    replaced: Vec<Uuid>,
    moved: Vec<Moved>,
}

impl<'a> Round<'a> {
    fn take(&mut self, task: &'a Task, settled: Settled, now: DateTime<Utc>) -> Result<()> {
        let Settled { missed, runs, next } = settled;
        if let Some(missed) = missed {
            self.skipped.push(Skipped { task, missed, reason: "missed" });
        }
        let (mut made, mut open, mut last) = (0, task.open_runs, None);
        for instant in &runs {
            // What is made up for waits for what was due before it; only a run that is on time
            // can be left out because of that.
            let late = runs.len() > 1 || now - *instant > LATE;
            if let Some(reason) = reason_to_skip(task, open, late) {
                self.skipped.push(Skipped { task, missed: Missed::one(*instant), reason });
                continue;
            }
            let mut run = NewRun::new(task, *instant, Cause::Schedule);
            run.in_turn |= late && task.overlap == Overlap::Skip && task.misfire.makes_up();
            self.runs.push(run);
            (made, open, last) = (made + 1, open + 1, Some(*instant));
        }
        if task.overlap == Overlap::Replace && made > 0 && task.open_runs > 0 {
            self.replaced.push(task.id);
        }
        self.moved.push((task.id, next, last, made));
        Ok(())
    }

    fn write(self, own: &Own) -> Result<()> {
        super::cancel::replace(own, &self.replaced)?;
        run::put(own, &self.runs)?;
        run::skip(own, &self.skipped)?;
        if self.moved.is_empty() {
            return Ok(());
        }
        own.plan_by_key();
        let ids: Vec<Uuid> = self.moved.iter().map(|moved| moved.0).collect();
        let instants = |of: fn(&Moved) -> Option<DateTime<Utc>>| {
            self.moved.iter().map(|m| of(m).map(when::to_datum).transpose()).collect()
        };
        let next: Result<Vec<Option<TimestampWithTimeZone>>> = instants(|moved| moved.1);
        let last: Result<Vec<Option<TimestampWithTimeZone>>> = instants(|moved| moved.2);
        let made: Vec<i64> = self.moved.iter().map(|moved| moved.3).collect();
        own.run(
            "UPDATE automate.task AS t
             SET next_run_at = d.next, run_count = t.run_count + d.made, last_run_at = coalesce(d.last, t.last_run_at),
                 status = CASE WHEN d.next IS NULL THEN 'disabled' ELSE t.status END,
                 status_reason = CASE WHEN d.next IS NOT NULL THEN t.status_reason
                    WHEN t.valid_until IS NOT NULL THEN 'its schedule has no further run until ' || t.valid_until
                    ELSE 'its schedule has no further run' END,
                 updated_at = CASE WHEN d.next IS NULL THEN now() ELSE t.updated_at END
             FROM unnest($1, $2, $3, $4) AS d(id, next, last, made) WHERE t.id = d.id",
            &[to_uuids(&ids).into(), next?.into(), last?.into(), made.into()],
        )?;
        let ended = self.moved.iter().filter(|moved| moved.1.is_none());
        news::rouse(own, &ended.map(|moved| moved.0).collect::<Vec<Uuid>>())
    }
}

type Moved = (Uuid, Option<DateTime<Utc>>, Option<DateTime<Utc>>, i64);

fn reason_to_skip(task: &Task, open: i64, late: bool) -> Option<&'static str> {
    let busy = match task.overlap {
        Overlap::Skip => open > 0 && !(late && task.misfire.makes_up()),
        Overlap::Queue => open >= MOST_QUEUED,
        Overlap::Replace | Overlap::Allow => false,
    };
    if busy {
        Some("overlap")
    } else if !access::can_log_in(task.owner) {
        Some("no login")
    } else {
        None
    }
}

pub(super) fn disable(own: &Own, id: Uuid, reason: &str) -> Result<()> {
    own.run(
        "UPDATE automate.task SET status = 'disabled', status_reason = $2, next_run_at = NULL,
                updated_at = now() WHERE id = $1",
        &[pgrx::Uuid::from_bytes(*id.as_bytes()).into(), reason.into()],
    )?;
    news::rouse(own, &[id])
}

/// When the first task that is to come is due, and whose it is.
pub fn first(own: &Own) -> Result<Option<(i64, pg_sys::Oid)>> {
    let rows = own.run(
        "SELECT next_run_at, owner::oid FROM automate.task WHERE status = 'active' AND next_run_at IS NOT NULL
         ORDER BY next_run_at LIMIT 1",
        &[],
    )?;
    Ok(rows.get::<TimestampWithTimeZone>(0, 1).map(i64::from).zip(rows.get(0, 2)))
}

/// Roles of the tasks that are due until an instant, some of them.
pub fn owners(own: &Own, until: i64) -> Result<Vec<pg_sys::Oid>> {
    let until = TimestampWithTimeZone::try_from(until)
        .map_err(|_| crate::error::Error::Internal("instant beyond the calendar".into()))?;
    let rows = own.run(
        "SELECT DISTINCT t.owner::oid FROM (SELECT owner FROM automate.task
            WHERE status = 'active' AND next_run_at <= $1 ORDER BY next_run_at LIMIT 100) AS t",
        &[until.into()],
    )?;
    Ok((0..rows.len()).filter_map(|row| rows.get(row, 1)).collect())
}
