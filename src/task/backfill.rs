//! Making up for the past: runs for the instants of a schedule that have none which succeeded. A
//! backfill is a row with a cursor; the coordinator moves it in the transaction that makes the
//! runs, so that each instant has one, also over crashes.

use super::alter::require_login;
use super::row::{Task, tasks};
use super::run::{self, Cause, NewRun, Skipped};
use super::{cancel, steer, when};
use crate::error::{Error, Failure, Result, shown};
use crate::noun::looked_for;
use crate::spi::{Own, as_extension, step};
use crate::{access, pg, wake};
use automate_core::schedule::Schedule;
use automate_core::task::{Missed, Overlap};
use chrono::{DateTime, Duration, Utc};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE;
use pgrx::prelude::*;
use uuid::Uuid;

/// Most instants of one backfill.
const MOST: usize = 100_000;
/// Instants looked at in one transaction.
const CHUNK: usize = 500;
/// Runs of a backfill in the queue at the same time, when they go one after the other.
const IN_TURN: usize = 100;
/// The same, when they may overlap.
const TOGETHER: usize = 1000;
/// Between two looks at backfills that go on.
const AGAIN_MS: i64 = 100;

/// Asks for runs; returns the id by which they are known.
pub fn start(
    user: pg_sys::Oid,
    name: &str,
    from: TimestampWithTimeZone,
    until: TimestampWithTimeZone,
) -> Result<Uuid> {
    let (from, until) = (finite(from, "from")?, finite(until, "until")?);
    as_extension(|own| {
        let task = steer::find(own, user, name)?;
        if task.on_trigger {
            return Err(Error::refused(
                PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("task {} runs when a trigger fires", shown(name)),
            )
            .with_detail("It has no schedule that says at which instants it should have run.")
            .with_hint("SELECT automate.execute_task(name) runs it once."));
        }
        require_login(&task)?;
        let valid_from: Option<TimestampWithTimeZone> =
            own.one("SELECT valid_from FROM automate.task WHERE id = $1", &[task.key().into()])?;
        let valid_from = valid_from.and_then(|at| when::from_us(at.into()));
        let from = valid_from.map_or(from, |valid| from.max(valid));
        let until = task.valid_until.map_or(until, |valid| until.min(valid)).min(when::now());
        let schedule = when::read_kept(&task.schedule, &task.time_zone)?;
        let before = from - Duration::microseconds(1);
        let total = schedule.count(before, until, MOST + 1);
        let first = schedule.next(before).filter(|_| total > 0 && total <= MOST);
        let Some(first) = first else { return Err(refuse_count(&task, from, until, total)) };
        let id = Uuid::now_v7();
        own.run(
            "INSERT INTO automate.task_backfill (id, task, owner, from_at, until_at, schedule, time_zone, next_at, total, created_by)
             SELECT $1, t.id, t.owner, $3, $4, t.schedule, t.time_zone, $5, $6, $7 FROM automate.task AS t WHERE t.id = $2",
            &[
                key(id).into(),
                task.key().into(),
                when::to_datum(from)?.into(),
                when::to_datum(until)?.into(),
                when::to_datum(first)?.into(),
                i32::try_from(total).unwrap_or(i32::MAX).into(),
                user.into(),
            ],
        )?;
        wake::arm_coordinator();
        Ok(id)
    })
}

fn finite(at: TimestampWithTimeZone, name: &str) -> Result<DateTime<Utc>> {
    when::from_us(at.into()).ok_or_else(|| {
        Error::invalid(format!("{name} must be a finite instant"))
            .with_detail("It is infinite, or beyond the years that can be counted here.")
            .with_hint("Give for example now() - interval '30 days' and now().")
    })
}

fn refuse_count(task: &Task, from: DateTime<Utc>, until: DateTime<Utc>, total: usize) -> Error {
    let between = format!(
        "Looked for from {} to {}, which is not after now nor beyond the task's validity.",
        from.to_rfc3339(),
        until.to_rfc3339()
    );
    match total {
        0 => Error::refused(
            PgSqlErrorCode::ERRCODE_NO_DATA_FOUND,
            format!("the schedule of task {} has no instant there", shown(&task.name)),
        )
        .with_detail(between)
        .with_hint("SELECT * FROM automate.next_runs(schedule, after => ...) shows its instants."),
        _ => Error::refused(
            PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            format!(
                "the schedule of task {} has more than {MOST} instants there",
                shown(&task.name)
            ),
        )
        .with_detail(between)
        .with_hint("Ask for a shorter time at once."),
    }
}

/// Makes no further run, and cancels those that are not over; false if it has ended.
pub fn cancel(user: pg_sys::Oid, id: Uuid) -> Result<bool> {
    as_extension(|own| {
        let rows = own.run(
            "SELECT finished_at IS NULL AND status = 'running' FROM automate.task_backfill
             WHERE id = $1 AND pg_has_role($2, owner, 'USAGE') FOR UPDATE",
            &[key(id).into(), user.into()],
        )?;
        let Some(goes_on) = rows.get::<bool>(0, 1) else {
            return Err(Error::missing(format!("backfill {id} does not exist"))
                .with_detail(looked_for("the backfills in automate.task_backfill", user))
                .with_hint("SELECT id, task, status FROM automate.task_backfill_progress shows those there are."));
        };
        if !goes_on {
            return Ok(false);
        }
        let reason = cancel::by_session(None);
        own.run(
            "UPDATE automate.task_backfill SET status = 'cancelled', next_at = NULL, error = 'cancelled: ' || $2 WHERE id = $1",
            &[key(id).into(), reason.as_str().into()],
        )?;
        cancel::backfill(own, id, &reason)?;
        wake::arm_coordinator();
        Ok(true)
    })
}

/// A backfill that goes on.
struct Open {
    id: Uuid,
    task: Uuid,
    next: Option<DateTime<Utc>>,
    until: DateTime<Utc>,
    schedule: String,
    time_zone: String,
    /// Its runs that are not over.
    open: usize,
}

/// For the coordinator: makes the next runs, and closes what is over; answers when to look again.
/// Nobody who has locked a task or a run holds it up for long.
pub fn go_on(own: &Own) -> Result<Option<i64>> {
    let rows = own.run(
        "SELECT b.id, b.task, b.next_at, b.until_at, b.schedule::text, b.time_zone,
                (SELECT count(*) FROM automate.task_run AS r
                 WHERE r.backfill = b.id AND r.status IN ('waiting', 'queued', 'running'))
         FROM automate.task_backfill AS b WHERE b.finished_at IS NULL
         ORDER BY b.id LIMIT 100 FOR UPDATE OF b SKIP LOCKED",
        &[],
    )?;
    if rows.is_empty() {
        return Ok(None);
    }
    pg::set_local(c"lock_timeout", c"100ms");
    let instant = |row, column| {
        rows.get::<TimestampWithTimeZone>(row, column).and_then(|at| when::from_us(at.into()))
    };
    let uuid = |row, column| {
        rows.get::<pgrx::Uuid>(row, column).map(|id| Uuid::from_bytes(*id.as_bytes()))
    };
    let open: Vec<Open> = (0..rows.len())
        .filter_map(|row| {
            Some(Open {
                id: uuid(row, 1)?,
                task: uuid(row, 2)?,
                next: instant(row, 3),
                until: instant(row, 4)?,
                schedule: rows.get(row, 5)?,
                time_zone: rows.get(row, 6)?,
                open: usize::try_from(rows.get::<i64>(row, 7)?).ok()?,
            })
        })
        .collect();
    for backfill in &open {
        let made = step::in_subtransaction(|| backfill.advance(own).unwrap_or_else(|e| e.raise()));
        match made {
            Ok(()) => {}
            Err(failure) if failure.stops() || failure.code == ERRCODE_LOCK_NOT_AVAILABLE => {}
            Err(failure) => backfill.fail(own, &failure)?,
        }
    }
    Ok(Some(AGAIN_MS))
}

impl Open {
    fn advance(&self, own: &Own) -> Result<()> {
        let Some(next) = self.next else {
            return if self.open == 0 { self.close(own) } else { Ok(()) };
        };
        let rows = own
            .run(tasks!("WHERE t.id = $1 FOR UPDATE OF t SKIP LOCKED"), &[key(self.task).into()])?;
        if rows.is_empty() {
            return Ok(());
        }
        let task = Task::read(&rows, 0)?;
        let most = if task.overlap == Overlap::Allow { TOGETHER } else { IN_TURN };
        // A few at a time cost as much to make as many.
        if self.open > most / 2 || !access::can_log_in(task.owner) {
            return match pg::role_name(task.owner) {
                Some(_) => Ok(()),
                None => Err(Error::missing("its owner was dropped")),
            };
        }
        let schedule = when::read_kept(&self.schedule, &self.time_zone)?;
        let mut instants = Vec::new();
        let mut at = Some(next);
        while let Some(instant) = at
            && instants.len() < CHUNK.min(most - self.open)
        {
            instants.push(instant);
            at = schedule.next(instant).filter(|next| *next <= self.until);
        }
        self.clear(own, &task, &schedule, &instants)?;
        let runs: Vec<NewRun> =
            instants.iter().map(|at| NewRun::new(&task, *at, Cause::Backfill(self.id))).collect();
        let made = run::put(own, &runs)?.len();
        own.run(
            "WITH t AS (UPDATE automate.task SET run_count = run_count + $4 WHERE id = $5)
             UPDATE automate.task_backfill SET next_at = $2, kept = kept + $3 WHERE id = $1",
            &[
                key(self.id).into(),
                at.map(when::to_datum).transpose()?.into(),
                i32::try_from(instants.len() - made).unwrap_or(i32::MAX).into(),
                i64::try_from(made).unwrap_or(i64::MAX).into(),
                task.key().into(),
            ],
        )?;
        Ok(())
    }

    /// Makes room for runs: those that did not succeed go, and rows of skipped instants are cut.
    fn clear(
        &self,
        own: &Own,
        task: &Task,
        schedule: &Schedule,
        instants: &[DateTime<Utc>],
    ) -> Result<()> {
        let (Some(first), Some(last)) = (instants.first(), instants.last()) else { return Ok(()) };
        let (from, to) = (when::to_datum(*first)?, when::to_datum(*last)?);
        let all: Result<Vec<TimestampWithTimeZone>> =
            instants.iter().map(|at| when::to_datum(*at)).collect();
        own.run(
            "DELETE FROM automate.task_run WHERE task = $1 AND scheduled_at = ANY ($2)
             AND status IN ('failed', 'interrupted', 'quarantined', 'cancelled')",
            &[task.key().into(), all?.into()],
        )?;
        let rows = own.run(
            "DELETE FROM automate.task_run WHERE task = $1 AND status = 'skipped' AND scheduled_at <= $3 AND through >= $2
             RETURNING scheduled_at, through, error",
            &[task.key().into(), from.into(), to.into()],
        )?;
        let mut left = Vec::new();
        for row in 0..rows.len() {
            let instant = |column| {
                rows.get::<TimestampWithTimeZone>(row, column)
                    .and_then(|at| when::from_us(at.into()))
            };
            let (Some(since), Some(through)) = (instant(1), instant(2)) else { continue };
            let reason: String = rows.get(row, 3).unwrap_or_default();
            if let Some(missed) = Missed::before(schedule, since, *first) {
                left.push((missed, reason.clone()));
            }
            if let Some(next) = schedule.next(*last).filter(|next| *next <= through) {
                left.push((Missed::between(schedule, next.max(since), through), reason));
            }
        }
        let left: Vec<Skipped> = left
            .iter()
            .map(|(missed, reason)| Skipped { task, missed: missed.clone(), reason })
            .collect();
        run::skip(own, &left)
    }

    /// All its runs are over.
    fn close(&self, own: &Own) -> Result<()> {
        own.run(
            "UPDATE automate.task_backfill AS b
             SET status = CASE WHEN b.status = 'running' THEN 'completed' ELSE b.status END, finished_at = clock_timestamp(),
                 succeeded = c.succeeded, failed = c.made - c.succeeded
             FROM (SELECT count(*)::int4 AS made, (count(*) FILTER (WHERE status = 'succeeded'))::int4 AS succeeded
                   FROM automate.task_run WHERE backfill = $1) AS c
             WHERE b.id = $1",
            &[key(self.id).into()],
        )?;
        Ok(())
    }

    fn fail(&self, own: &Own, failure: &Failure) -> Result<()> {
        log!("pg_automate ends backfill {}: {}", self.id, failure.text());
        own.run(
            "UPDATE automate.task_backfill SET status = 'failed', next_at = NULL, error = $2 WHERE id = $1",
            &[key(self.id).into(), failure.text().into()],
        )?;
        Ok(())
    }
}

/// Forgets those that ended so many seconds ago.
pub(super) fn forget(own: &Own, retention_s: i64) -> Result<()> {
    own.run(
        "DELETE FROM automate.task_backfill WHERE finished_at < now() - $1 * interval '1 second'",
        &[retention_s.into()],
    )?;
    Ok(())
}

fn key(id: Uuid) -> pgrx::Uuid {
    pgrx::Uuid::from_bytes(*id.as_bytes())
}
