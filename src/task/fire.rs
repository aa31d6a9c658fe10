//! What is due: for the coordinator. A task's `next_run_at` moves in the transaction that makes
//! the job, so that an instant fires once or is recorded as skipped.

use super::when::{self, Missed};
use crate::error::{Error, Result};
use crate::queue::{Lane, NewJob};
use crate::rule::cause;
use crate::spi::own::Rows;
use crate::spi::{Own, step};
use crate::{access, pg};
use automate_core::schedule::Schedule;
use chrono::{DateTime, Duration, Utc};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

/// With misfire `skip`, a run that is later than this is left out.
const LATE_S: i64 = 60;
/// Before another look at due tasks that somebody has locked.
const LOCKED_MS: i64 = 250;

/// A row of `automate.task`, as far as a run needs it.
pub struct Task {
    pub id: pgrx::Uuid,
    pub name: String,
    pub owner: pg_sys::Oid,
    task_type: String,
    command: String,
    args: String,
    search_path: String,
    top_level: bool,
    timeout_ms: Option<i32>,
    retries: i32,
    priority: i32,
    pub schedule: String,
    pub time_zone: String,
    misfire_once: bool,
    may_overlap: bool,
    /// Its last job is still to be done, and runs must not overlap.
    busy: bool,
    /// The first instant that is not settled; None when there is none to come.
    pub next_run: Option<DateTime<Utc>>,
    /// It runs when a trigger fires.
    pub on_trigger: bool,
}

/// The firing of a trigger for which a task runs.
pub struct Firing<'a> {
    /// Such as trigger:big_order.
    pub source: &'a str,
    /// The trigger.
    pub cause: Uuid,
    pub event: &'a Value,
}

impl Firing<'_> {
    /// Rules and triggers that led to the event.
    pub fn depth(&self) -> i32 {
        self.event["depth"].as_i64().and_then(|depth| i32::try_from(depth).ok()).unwrap_or(0)
    }
}

impl Task {
    /// Reads a row of the columns that all our queries of tasks list in the same order.
    pub fn read(rows: &Rows, row: usize) -> Result<Task> {
        let text = |column| rows.get::<String>(row, column).unwrap_or_default();
        let incomplete = || Error::Internal("task without id or owner".into());
        Ok(Task {
            id: rows.get(row, 1).ok_or_else(incomplete)?,
            name: text(2),
            owner: rows.get(row, 3).ok_or_else(incomplete)?,
            task_type: text(4),
            command: text(5),
            args: text(6),
            search_path: text(7),
            top_level: rows.get(row, 8).unwrap_or(false),
            timeout_ms: rows.get(row, 9),
            retries: rows.get(row, 10).unwrap_or(0),
            priority: rows.get(row, 11).unwrap_or(100),
            schedule: text(12),
            time_zone: text(13),
            misfire_once: text(14) == "once",
            may_overlap: rows.get(row, 18).unwrap_or(false),
            next_run: rows
                .get::<TimestampWithTimeZone>(row, 15)
                .and_then(|at| when::from_us(at.into())),
            busy: rows.get(row, 16).unwrap_or(false),
            on_trigger: rows.get(row, 17).unwrap_or(false),
        })
    }

    /// Makes the job of one instant; None when that instant has one already.
    pub fn put_job(
        &self,
        own: &Own,
        instant: DateTime<Utc>,
        firing: Option<&Firing>,
    ) -> Result<Option<Uuid>> {
        let payload = self.payload(instant, firing)?;
        let sql = self.task_type == "sql";
        let source = match firing {
            Some(firing) => firing.source.to_owned(),
            None => format!("task:{}", self.name),
        };
        // The runs for a trigger's firings come one after the other, none is left out.
        let in_turn = firing.filter(|_| !self.may_overlap).map(|_| format!("task:{}", self.id));
        let job = NewJob {
            source: Some(&source),
            concurrency_key: in_turn.as_deref(),
            priority: self.priority,
            max_attempts: self.retries + 1,
            timeout_ms: self.timeout_ms,
            search_path: Some(&self.search_path),
            top_level: self.top_level,
            ..NewJob::new(if sql { "sql" } else { "task" }, self.owner, Lane::Sql, &payload)
        }
        .put(own)?;
        let instant = when::to_datum(instant)?;
        let key = pgrx::Uuid::from_bytes(*job.as_bytes());
        let recorded = own.run(
            "INSERT INTO automate.task_instant (task, instant, owner, job) VALUES ($1, $2, $3, $4)
             ON CONFLICT (task, instant) DO NOTHING",
            &[self.id.into(), instant.into(), self.owner.into(), key.into()],
        )?;
        if recorded.processed == 0 {
            own.run("DELETE FROM automate.job WHERE id = $1", &[key.into()])?;
            return Ok(None);
        }
        own.run(
            "UPDATE automate.task SET last_run_at = $2, last_job = $3, run_count = run_count + 1 WHERE id = $1",
            &[self.id.into(), instant.into(), key.into()],
        )?;
        Ok(Some(job))
    }

    /// What the executor is given.
    fn payload(&self, instant: DateTime<Utc>, firing: Option<&Firing>) -> Result<Value> {
        let mut args: Value = serde_json::from_str(&self.args)
            .map_err(|e| Error::Internal(format!("kept args: {e}")))?;
        let mut payload = if self.task_type == "sql" {
            // args is the array itself, {"params": [...]}, or {}.
            let params = if args.is_array() { Some(&args) } else { args.get("params") };
            json!({ "sql": self.command, "params": params.unwrap_or(&json!([])) })
        } else {
            if let (Some(firing), "workflow", Value::Object(input)) =
                (firing, self.task_type.as_str(), &mut args)
            {
                input.insert("event".into(), firing.event.clone());
            }
            json!({ "task": self.name, "type": self.task_type, "command": self.command,
                    "args": args, "scheduled_at": instant.to_rfc3339() })
        };
        if let Some(firing) = firing {
            payload["cause"] = cause::to_json(firing.cause, firing.depth() + 1);
        }
        Ok(payload)
    }

    /// Records instants that pass without a run.
    pub fn record_skipped(&self, own: &Own, missed: &Missed, reason: &str) -> Result<()> {
        own.run(
            "INSERT INTO automate.task_instant (task, instant, owner, skipped, through, instants)
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (task, instant) DO NOTHING",
            &[
                self.id.into(),
                when::to_datum(missed.first)?.into(),
                self.owner.into(),
                reason.into(),
                when::to_datum(missed.last)?.into(),
                i32::try_from(missed.count).unwrap_or(i32::MAX).into(),
            ],
        )?;
        Ok(())
    }

    /// Settles what has come due up to `now`, and moves the task to its next instant.
    fn settle(&self, own: &Own, now: DateTime<Utc>) -> Result<()> {
        if pg::role_name(self.owner).is_none() {
            return disable(own, self.id, "its owner was dropped");
        }
        let schedule = when::read_kept(&self.schedule, &self.time_zone)?;
        let Some(first) = self.next_run else { return Ok(()) };
        let latest = schedule.last(first, now).unwrap_or(first);
        let reason = self.reason_to_skip(now, latest);
        // What was missed before the latest, or all of it when that is not run for being late.
        let missed = if reason == Some("missed") {
            Some(Missed::between(&schedule, first, latest))
        } else {
            Missed::before(&schedule, first, latest)
        };
        if let Some(missed) = missed {
            self.record_skipped(own, &missed, "missed")?;
        }
        match reason {
            None => {
                self.put_job(own, latest, None)?;
            }
            Some("missed") => {}
            Some(other) => {
                let one = Missed { first: latest, last: latest, count: 1 };
                self.record_skipped(own, &one, other)?;
            }
        }
        move_on(own, self.id, &schedule, now)
    }

    fn reason_to_skip(&self, now: DateTime<Utc>, latest: DateTime<Utc>) -> Option<&'static str> {
        if !self.misfire_once && now - latest > Duration::seconds(LATE_S) {
            Some("missed")
        } else if self.busy {
            Some("overlap")
        } else if !access::can_log_in(self.owner) {
            Some("no login")
        } else {
            None
        }
    }
}

/// Sets the next instant; a schedule that has none is done.
fn move_on(own: &Own, id: pgrx::Uuid, schedule: &Schedule, now: DateTime<Utc>) -> Result<()> {
    match schedule.next(now) {
        Some(next) => {
            own.run(
                "UPDATE automate.task SET next_run_at = $2 WHERE id = $1",
                &[id.into(), when::to_datum(next)?.into()],
            )?;
            Ok(())
        }
        None => disable(own, id, "its schedule has no further run"),
    }
}

fn disable(own: &Own, id: pgrx::Uuid, reason: &str) -> Result<()> {
    own.run(
        "UPDATE automate.task SET status = 'disabled', status_reason = $2, next_run_at = NULL,
                updated_at = now() WHERE id = $1",
        &[id.into(), reason.into()],
    )?;
    Ok(())
}

/// For the coordinator: queues a job for each task that is due; returns after how many
/// milliseconds the next one is. A task that cannot be run is disabled and stops no other.
pub fn fire_due(own: &Own) -> Result<Option<i64>> {
    let now = when::now();
    let rows = own.run(
        "SELECT id, name, owner::oid, task_type, command, args::pg_catalog.text, search_path, top_level,
                timeout_ms, retries, priority, schedule::pg_catalog.text, time_zone, misfire, next_run_at,
                overlap = 'skip' AND EXISTS (SELECT FROM automate.job AS j WHERE j.id = t.last_job),
                on_trigger IS NOT NULL, overlap = 'allow'
         FROM automate.task AS t
         WHERE status = 'active' AND next_run_at <= $1
         ORDER BY next_run_at LIMIT 1000 FOR UPDATE SKIP LOCKED",
        &[when::to_datum(now)?.into()],
    )?;
    let due = (0..rows.len()).map(|row| Task::read(&rows, row)).collect::<Result<Vec<Task>>>()?;
    for task in &due {
        let settled =
            step::in_subtransaction(|| task.settle(own, now).unwrap_or_else(|e| e.raise()));
        if let Err(failure) = settled {
            log!("pg_automate disables task \"{}\": {}", task.name, failure.text());
            disable(own, task.id, &failure.text())?;
        }
    }
    let wait: Option<i64> = own.one(
        "SELECT greatest(0, ceil(extract(epoch FROM next_run_at - clock_timestamp()) * 1000))::int8
         FROM automate.task WHERE status = 'active' AND next_run_at IS NOT NULL
         ORDER BY next_run_at LIMIT 1",
        &[],
    )?;
    // What is due and was not taken is locked: whoever has it says so when it commits, but not
    // when it is rolled back.
    Ok(if due.is_empty() {
        wait.map(|ms| ms.max(if ms == 0 { LOCKED_MS } else { 0 }))
    } else {
        wait
    })
}
