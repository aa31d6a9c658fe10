//! What the runs that wait for other tasks come to: for the coordinator, which alone lets them go,
//! so that each goes once, whoever ends what it waits for.
//!
//! A wait falls asleep when its run is seen not to be over. Nobody's end of that run can be missed
//! between the look and the sleep: the look is made under locks that stand in the way of whoever
//! ends, makes or skips it, and where one of them is taken, the wait stays awake for another look.
//! The coordinator itself waits for no lock.

use super::news;
use super::when;
use crate::error::Result;
use crate::guc;
use crate::spi::Own;
use crate::wake;
use automate_core::task::{OnFailure, Upstream, Verdict, verdict};
use chrono::{DateTime, Duration, Utc};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use uuid::Uuid;

/// Runs looked at in one transaction.
const CHUNK: i64 = 200;

/// Looks at waiting runs that somebody has roused; true when there may be more to do at once.
pub fn release(own: &Own) -> Result<bool> {
    let rows = own.run(
        "SELECT task, scheduled_at FROM automate.task_wait WHERE NOT asleep
         GROUP BY task, scheduled_at ORDER BY task, scheduled_at LIMIT $1",
        &[CHUNK.into()],
    )?;
    let mut moved = 0;
    for row in 0..rows.len() {
        let (Some(task), Some(at)) = (rows.get(row, 1), rows.get(row, 2)) else { continue };
        if Waiting::look(own, task, at)? {
            moved += 1;
        }
    }
    Ok(moved > 0)
}

/// A run that waits.
struct Waiting<'a> {
    own: &'a Own,
    task: pgrx::Uuid,
    at: TimestampWithTimeZone,
    owner: pg_sys::Oid,
    policy: OnFailure,
}

/// The task waited for.
struct Awaited {
    name: String,
    status: String,
    next_run: Option<DateTime<Utc>>,
    /// The run waited for, as far as it can be told.
    at: Option<DateTime<Utc>>,
}

impl Waiting<'_> {
    /// Sees to a run; false when nothing has changed, since somebody is at it.
    fn look(own: &Own, task: pgrx::Uuid, at: TimestampWithTimeZone) -> Result<bool> {
        let rows = own.run(
            "SELECT r.owner::oid, t.on_upstream_failure FROM automate.task_run AS r
             JOIN automate.job AS j ON j.id = r.job
             JOIN automate.task AS t ON t.id = r.task
             WHERE r.task = $1 AND r.scheduled_at = $2 AND r.status = 'waiting' FOR UPDATE OF j, r SKIP LOCKED",
            &[task.into(), at.into()],
        )?;
        let Some(owner) = rows.get::<pg_sys::Oid>(0, 1) else {
            let over = own.run(
                "DELETE FROM automate.task_wait AS w WHERE w.task = $1 AND w.scheduled_at = $2
                 AND NOT EXISTS (SELECT FROM automate.task_run AS r WHERE r.task = w.task
                                 AND r.scheduled_at = w.scheduled_at AND r.status = 'waiting')",
                &[task.into(), at.into()],
            )?;
            return Ok(over.processed > 0);
        };
        let policy = OnFailure::parse(&rows.get::<String>(0, 2).unwrap_or_default());
        let policy = policy.unwrap_or(OnFailure::Skip);
        Waiting { own, task, at, owner, policy }.settle()
    }

    fn settle(&self) -> Result<bool> {
        let rows = self.own.run(
            "SELECT upstream, upstream_at FROM automate.task_wait
             WHERE task = $1 AND scheduled_at = $2 AND NOT asleep ORDER BY upstream FOR UPDATE SKIP LOCKED",
            &[self.task.into(), self.at.into()],
        )?;
        let mut moved = false;
        for row in 0..rows.len() {
            let Some(upstream) = rows.get::<pgrx::Uuid>(row, 1) else { continue };
            let (mut verdict, mut at) = self.judge(upstream, rows.get(row, 2))?;
            if matches!(verdict, Verdict::Waits(_)) {
                if !self.hold(upstream)? {
                    continue;
                }
                // What was decided before the locks may have changed until they were taken.
                (verdict, at) = self.judge(upstream, at)?;
            }
            moved = true;
            match verdict {
                Verdict::Met => self.met(upstream)?,
                Verdict::Waits(reason) => self.sleep(upstream, at, &reason)?,
                Verdict::GivenUp => {
                    self.give_up()?;
                    return Ok(true);
                }
            }
        }
        if moved {
            self.go_or_say_why()?;
        }
        Ok(moved)
    }

    /// What a wait comes to, and the instant of the run waited for.
    fn judge(
        &self,
        upstream: pgrx::Uuid,
        bound: Option<TimestampWithTimeZone>,
    ) -> Result<(Verdict, Option<TimestampWithTimeZone>)> {
        let Some(awaited) = self.awaited(upstream, bound)? else {
            return Ok((Verdict::Met, bound));
        };
        let (found, status) = self.run_of(upstream, awaited.at)?;
        let at = found.or(awaited.at);
        let stands = match &status {
            Some(status) if status == "succeeded" => Upstream::Succeeded,
            Some(status) if ["waiting", "queued", "running"].contains(&status.as_str()) => {
                Upstream::Open
            }
            Some(status) => Upstream::Failed(status),
            None => match awaited.status.as_str() {
                "paused" => Upstream::Paused,
                "disabled" => Upstream::Disabled,
                // An instant that was passed without a run.
                _ if at.zip(awaited.next_run).is_some_and(|(at, next)| next > at) => {
                    Upstream::Failed("skipped")
                }
                _ => Upstream::NotYet,
            },
        };
        let datum = at.map(when::to_datum).transpose()?;
        if self.policy == OnFailure::Wait
            && stands != Upstream::Succeeded
            && self.succeeded_since(upstream, datum)?
        {
            return Ok((Verdict::Met, datum));
        }
        Ok((verdict(self.policy, &awaited.name, stands), datum))
    }

    /// The task waited for; None when this one no longer depends on it.
    fn awaited(
        &self,
        upstream: pgrx::Uuid,
        bound: Option<TimestampWithTimeZone>,
    ) -> Result<Option<Awaited>> {
        let rows = self.own.run(
            "SELECT t.name, t.status, t.next_run_at, t.schedule::text, t.time_zone,
                    greatest(t.created_at, t.valid_from), t.valid_until, t.on_trigger IS NOT NULL
             FROM automate.task_dependency AS d JOIN automate.task AS t ON t.id = d.upstream
             WHERE d.task = $1 AND d.upstream = $2",
            &[self.task.into(), upstream.into()],
        )?;
        if rows.is_empty() {
            return Ok(None);
        }
        let text = |column| rows.get::<String>(0, column).unwrap_or_default();
        let instant = |column| {
            rows.get::<TimestampWithTimeZone>(0, column).and_then(|at| when::from_us(at.into()))
        };
        let bound = bound.and_then(|at| when::from_us(at.into()));
        let at = match (bound, rows.get(0, 8)) {
            (None, Some(false)) => self.latest(&text(4), &text(5), instant(6), instant(7)),
            _ => bound,
        };
        let (name, status) = (text(1), text(2));
        Ok(Some(Awaited { name, status, next_run: instant(3), at }))
    }

    /// The latest instant of a schedule not after ours, since the task is there.
    fn latest(
        &self,
        schedule: &str,
        zone: &str,
        from: Option<DateTime<Utc>>,
        until: Option<DateTime<Utc>>,
    ) -> Option<DateTime<Utc>> {
        let mine = when::from_us(self.at.into())?;
        let until = until.map_or(mine, |until| until.min(mine));
        let before = from? - Duration::microseconds(1);
        // A schedule that cannot be read has no instants; its task is disabled soon.
        when::read_kept(schedule, zone).ok()?.last(before, until)
    }

    /// The run for an instant of a task and its status; without an instant its latest run, or the
    /// first after ours.
    fn run_of(
        &self,
        upstream: pgrx::Uuid,
        at: Option<DateTime<Utc>>,
    ) -> Result<(Option<DateTime<Utc>>, Option<String>)> {
        if let Some(at) = at {
            let rows = self.own.run(
                "SELECT status FROM (
                    SELECT status, scheduled_at, through FROM automate.task_run
                    WHERE task = $1 AND scheduled_at <= $2 AND (scheduled_at = $2 OR cause = 'schedule')
                    ORDER BY scheduled_at DESC LIMIT 1) AS r
                 WHERE scheduled_at = $2 OR through >= $2",
                &[upstream.into(), when::to_datum(at)?.into()],
            )?;
            let forgotten = when::now() - Duration::seconds(guc::history_retention_s());
            if !rows.is_empty() || at >= forgotten {
                return Ok((Some(at), rows.get(0, 1)));
            }
        }
        let rows = self.own.run(
            "(SELECT scheduled_at, status FROM automate.task_run
              WHERE task = $1 AND scheduled_at <= $2 AND (status <> 'skipped' OR error = 'upstream')
              ORDER BY scheduled_at DESC LIMIT 1)
             UNION ALL
             (SELECT scheduled_at, status FROM automate.task_run
              WHERE task = $1 AND scheduled_at > $2 AND (status <> 'skipped' OR error = 'upstream')
              ORDER BY scheduled_at LIMIT 1)
             LIMIT 1",
            &[upstream.into(), self.at.into()],
        )?;
        let found = rows.get::<TimestampWithTimeZone>(0, 1).and_then(|at| when::from_us(at.into()));
        Ok((found, rows.get(0, 2)))
    }

    fn succeeded_since(
        &self,
        upstream: pgrx::Uuid,
        at: Option<TimestampWithTimeZone>,
    ) -> Result<bool> {
        let found: Option<bool> = self.own.one(
            "SELECT EXISTS (SELECT FROM automate.task_run
                            WHERE task = $1 AND scheduled_at >= $2 AND status = 'succeeded')",
            &[upstream.into(), at.into()],
        )?;
        Ok(found == Some(true))
    }

    /// Stands in the way of who makes, skips or ends runs of a task; false when somebody is at it.
    fn hold(&self, upstream: pgrx::Uuid) -> Result<bool> {
        let task = self.own.run(
            "SELECT FROM automate.task WHERE id = $1 FOR SHARE SKIP LOCKED",
            &[upstream.into()],
        )?;
        if task.processed == 0 {
            return Ok(false);
        }
        let open = self.own.run(
            "SELECT FROM automate.task_run WHERE task = $1 AND finished_at IS NULL",
            &[upstream.into()],
        )?;
        let held = self.own.run(
            "SELECT FROM automate.task_run WHERE task = $1 AND finished_at IS NULL FOR SHARE SKIP LOCKED",
            &[upstream.into()],
        )?;
        Ok(held.processed == open.processed)
    }

    fn met(&self, upstream: pgrx::Uuid) -> Result<()> {
        self.own.run(
            "DELETE FROM automate.task_wait WHERE task = $1 AND scheduled_at = $2 AND upstream = $3",
            &[self.task.into(), self.at.into(), upstream.into()],
        )?;
        Ok(())
    }

    fn sleep(
        &self,
        upstream: pgrx::Uuid,
        at: Option<TimestampWithTimeZone>,
        reason: &str,
    ) -> Result<()> {
        self.own.run(
            "UPDATE automate.task_wait SET asleep = true, upstream_at = $4, reason = $5
             WHERE task = $1 AND scheduled_at = $2 AND upstream = $3",
            &[self.task.into(), self.at.into(), upstream.into(), at.into(), reason.into()],
        )?;
        Ok(())
    }

    /// Lets the run begin if nothing is left to wait for.
    fn go_or_say_why(&self) -> Result<()> {
        let waits: Option<String> = self.own.one(
            "SELECT 'waits for ' || string_agg(coalesce(w.reason, t.name), ' and for ' ORDER BY t.name)
             FROM automate.task_wait AS w JOIN automate.task AS t ON t.id = w.upstream
             WHERE w.task = $1 AND w.scheduled_at = $2",
            &[self.task.into(), self.at.into()],
        )?;
        self.own.run(
            "UPDATE automate.task_run SET error = $3, status = CASE WHEN $3 IS NULL THEN 'queued' ELSE status END
             WHERE task = $1 AND scheduled_at = $2",
            &[self.task.into(), self.at.into(), waits.as_deref().into()],
        )?;
        if waits.is_none() {
            self.own.run(
                "UPDATE automate.job SET status = CASE WHEN run_at > clock_timestamp() THEN 'scheduled' ELSE 'ready' END,
                        run_at = greatest(run_at, clock_timestamp())
                 WHERE status = 'held' AND id = (SELECT job FROM automate.task_run WHERE task = $1 AND scheduled_at = $2)",
                &[self.task.into(), self.at.into()],
            )?;
            wake::arm_role(self.owner);
        }
        Ok(())
    }

    /// Leaves the run out, which those that wait for it take as a failure.
    fn give_up(&self) -> Result<()> {
        self.own.run(
            "WITH w AS (DELETE FROM automate.task_wait WHERE task = $1 AND scheduled_at = $2 AND upstream IN
                      (SELECT upstream FROM automate.task_wait WHERE task = $1 AND scheduled_at = $2
                       FOR UPDATE SKIP LOCKED)),
             j AS (DELETE FROM automate.job WHERE status = 'held' AND id =
                      (SELECT job FROM automate.task_run WHERE task = $1 AND scheduled_at = $2))
             UPDATE automate.task_run SET status = 'skipped', finished_at = clock_timestamp(),
                    through = scheduled_at, error = 'upstream', job = NULL
             WHERE task = $1 AND scheduled_at = $2",
            &[self.task.into(), self.at.into()],
        )?;
        news::rouse(self.own, &[Uuid::from_bytes(*self.task.as_bytes())])
    }
}
