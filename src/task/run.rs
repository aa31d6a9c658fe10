//! Runs of tasks and the instants that pass without one: written a set at a time, each run with its
//! job in the same statement.

use super::row::Task;
use super::{news, upstream, when};
use crate::error::{Error, Result};
use crate::event::trace;
use crate::queue::claim::to_uuids;
use crate::rule::cause;
use crate::spi::Own;
use crate::wake;
use automate_core::task::{Missed, Overlap, jitter};
use chrono::{DateTime, Utc};
use pgrx::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

/// Why a run is made.
#[derive(Clone, Copy)]
pub enum Cause<'a> {
    Schedule,
    Manual,
    Trigger(&'a Firing<'a>),
    /// The automate.backfill_task that makes it.
    Backfill(Uuid),
}

/// The runs of a backfill come after those of the schedule.
const BEHIND: i32 = 100;

impl Cause<'_> {
    fn word(self) -> &'static str {
        match self {
            Cause::Schedule => "schedule",
            Cause::Manual => "manual",
            Cause::Trigger(_) => "trigger",
            Cause::Backfill(_) => "backfill",
        }
    }
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

/// A run to be.
pub struct NewRun<'a> {
    pub task: &'a Task,
    pub instant: DateTime<Utc>,
    pub cause: Cause<'a>,
    /// It waits until the earlier runs of its task are over.
    pub in_turn: bool,
}

impl<'a> NewRun<'a> {
    /// A run for an instant, by the task's own policy of overlap.
    pub fn new(task: &'a Task, instant: DateTime<Utc>, cause: Cause<'a>) -> NewRun<'a> {
        let in_turn = match (cause, task.overlap) {
            (_, Overlap::Queue | Overlap::Replace) => true,
            // The runs for a trigger's firings, and those for the past, come one after the other;
            // none is left out.
            (Cause::Trigger(_) | Cause::Backfill(_), overlap) => overlap != Overlap::Allow,
            _ => false,
        };
        NewRun { task, instant, cause, in_turn }
    }

    /// When it is due: a run of a schedule may be spread by jitter.
    fn due(&self) -> DateTime<Utc> {
        match self.cause {
            Cause::Schedule => self.instant + jitter(self.task.id, self.instant, self.task.jitter),
            Cause::Backfill(_) => when::now(),
            _ => self.instant,
        }
    }

    /// Those of a backfill have a queue of their own: the schedule's do not wait behind them.
    fn order_key(&self) -> Option<String> {
        let queue = if let Cause::Backfill(_) = self.cause { "backfill" } else { "task" };
        self.in_turn.then(|| format!("{queue}:{}", self.task.id))
    }

    fn priority(&self) -> i32 {
        match self.cause {
            Cause::Backfill(_) => self.task.priority.saturating_add(BEHIND),
            _ => self.task.priority,
        }
    }

    /// It begins when the tasks that its own depends on have succeeded; who runs a task by hand
    /// wants it now.
    fn waits(&self) -> bool {
        self.task.has_upstream && !matches!(self.cause, Cause::Manual)
    }

    fn source(&self) -> String {
        match self.cause {
            Cause::Trigger(firing) => firing.source.to_owned(),
            _ => format!("task:{}", self.task.name),
        }
    }

    /// What the executor is given.
    fn payload(&self) -> Result<Value> {
        let task = self.task;
        let mut args: Value = serde_json::from_str(&task.args)
            .map_err(|e| Error::Internal(format!("kept args: {e}")))?;
        if let (Cause::Trigger(firing), "workflow", Value::Object(input)) =
            (self.cause, task.task_type.as_str(), &mut args)
        {
            input.insert("event".into(), firing.event.clone());
        }
        let mut payload = json!({ "task": task.id, "scheduled_at": self.instant.to_rfc3339(), "name": task.name,
                                  "type": task.task_type, "command": task.command, "args": args,
                                  "made_by": self.cause.word() });
        if let Cause::Trigger(firing) = self.cause {
            payload["cause"] = cause::to_json(firing.cause, firing.depth() + 1);
        }
        if let Cause::Backfill(id) = self.cause {
            payload["backfill"] = id.to_string().into();
        }
        Ok(trace::stamped(&payload).into_owned())
    }
}

/// Makes runs and their jobs; answers the jobs of those whose instant had no run yet.
pub fn put(own: &Own, runs: &[NewRun]) -> Result<Vec<Uuid>> {
    if runs.is_empty() {
        return Ok(Vec::new());
    }
    let now = when::now();
    let mut jobs = Jobs::default();
    for run in runs {
        jobs.push(run)?;
        if run.due() > now {
            wake::arm_coordinator();
        } else {
            wake::arm_role(run.task.owner);
        }
    }
    jobs.insert(own)
}

/// The columns of runs and their jobs.
#[derive(Default)]
struct Jobs {
    ids: Vec<Uuid>,
    tasks: Vec<Uuid>,
    instants: Vec<TimestampWithTimeZone>,
    due: Vec<TimestampWithTimeZone>,
    causes: Vec<&'static str>,
    owners: Vec<pg_sys::Oid>,
    payloads: Vec<String>,
    sources: Vec<String>,
    waits: Vec<bool>,
    priorities: Vec<i32>,
    attempts: Vec<i32>,
    timeouts: Vec<Option<i32>>,
    backoffs: Vec<i64>,
    concurrency: Vec<Option<String>>,
    search_paths: Vec<String>,
    top_level: Vec<bool>,
    order_keys: Vec<Option<String>>,
    backfills: Vec<Option<pgrx::Uuid>>,
}

impl Jobs {
    fn push(&mut self, run: &NewRun) -> Result<()> {
        let task = run.task;
        self.ids.push(Uuid::now_v7());
        self.tasks.push(task.id);
        self.instants.push(when::to_datum(run.instant)?);
        self.due.push(when::to_datum(run.due())?);
        self.causes.push(run.cause.word());
        self.owners.push(task.owner);
        self.payloads.push(run.payload()?.to_string());
        self.sources.push(run.source());
        self.waits.push(run.waits());
        self.priorities.push(run.priority());
        self.attempts.push(task.retries + 1);
        self.timeouts.push(task.timeout_ms);
        self.backoffs.push(task.backoff_ms);
        self.concurrency.push(task.concurrency_key.clone());
        self.search_paths.push(task.search_path.clone());
        self.top_level.push(task.top_level);
        self.order_keys.push(run.order_key());
        self.backfills.push(match run.cause {
            Cause::Backfill(id) => Some(pgrx::Uuid::from_bytes(*id.as_bytes())),
            _ => None,
        });
        Ok(())
    }

    /// (IS TRUE keeps IN a look-up in a hash: as a join, each run would be compared with each.)
    fn insert(self, own: &Own) -> Result<Vec<Uuid>> {
        let waiting: Vec<_> = (0..self.ids.len())
            .filter(|run| self.waits[*run])
            .map(|run| (self.tasks[run], self.instants[run], self.ids[run]))
            .collect();
        let made = own.run(
            "WITH d AS MATERIALIZED (
                SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
                    AS d(job, task, scheduled_at, due_at, cause, owner, payload, source, priority, max_attempts,
                         timeout_ms, backoff_ms, concurrency_key, search_path, top_level, order_key, backfill, waits)),
             r AS (INSERT INTO automate.task_run (task, scheduled_at, status, due_at, cause, job, backfill, owner)
                SELECT task, scheduled_at, CASE WHEN waits THEN 'waiting' ELSE 'queued' END, due_at, cause, job,
                    backfill, owner FROM d
                ON CONFLICT (task, scheduled_at) DO NOTHING RETURNING job)
             INSERT INTO automate.job (id, kind, owner, lane, payload, source, run_at, status, priority, max_attempts,
                timeout_ms, backoff_ms, concurrency_key, search_path, top_level, order_key, order_seq)
             SELECT d.job, 'task', d.owner, 's', d.payload::pg_catalog.json, d.source, d.due_at,
                CASE WHEN d.waits THEN 'held' WHEN d.due_at > clock_timestamp() THEN 'scheduled' ELSE 'ready' END, d.priority, d.max_attempts,
                d.timeout_ms, d.backoff_ms, d.concurrency_key, d.search_path, d.top_level, d.order_key,
                CASE WHEN d.order_key IS NOT NULL THEN (extract(epoch FROM d.scheduled_at) * 1000000)::int8 END
             FROM d WHERE (d.job IN (SELECT job FROM r)) IS TRUE
             RETURNING id",
            &[
                to_uuids(&self.ids).into(),
                to_uuids(&self.tasks).into(),
                self.instants.into(),
                self.due.into(),
                self.causes.into(),
                self.owners.into(),
                self.payloads.into(),
                self.sources.into(),
                self.priorities.into(),
                self.attempts.into(),
                self.timeouts.into(),
                self.backoffs.into(),
                self.concurrency.into(),
                self.search_paths.into(),
                self.top_level.into(),
                self.order_keys.into(),
                self.backfills.into(),
                self.waits.into(),
            ],
        )?;
        upstream::wait(own, &waiting)?;
        Ok((0..made.len())
            .filter_map(|row| made.get::<pgrx::Uuid>(row, 1))
            .map(|id| Uuid::from_bytes(*id.as_bytes()))
            .collect())
    }
}

/// Instants of a task that pass without a run, and why.
pub struct Skipped<'a> {
    pub task: &'a Task,
    pub missed: Missed,
    pub reason: &'a str,
}

/// Records instants that pass without a run.
pub fn skip(own: &Own, skipped: &[Skipped]) -> Result<()> {
    for one in skipped {
        own.run(
            "INSERT INTO automate.task_run (task, scheduled_at, due_at, status, finished_at, owner, error, through, instants)
             VALUES ($1, $2, $2, 'skipped', clock_timestamp(), $3, $4, $5, $6) ON CONFLICT (task, scheduled_at) DO NOTHING",
            &[
                one.task.key().into(),
                when::to_datum(one.missed.first)?.into(),
                one.task.owner.into(),
                one.reason.into(),
                when::to_datum(one.missed.last)?.into(),
                i32::try_from(one.missed.count).unwrap_or(i32::MAX).into(),
            ],
        )?;
    }
    let tasks: Vec<Uuid> = skipped.iter().map(|one| one.task.id).collect();
    news::rouse(own, &tasks)
}
