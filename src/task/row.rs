//! A row of automate.task, as far as its runs need it.

use super::when;
use crate::error::{Error, Result};
use crate::spi::own::Rows;
use automate_core::task::{Misfire, Overlap};
use chrono::{DateTime, Duration, Utc};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use uuid::Uuid;

/// A query of the tasks `t` for [`Task::read`]: what follows FROM automate.task AS t.
macro_rules! tasks {
    ($rest:literal) => {
        concat!(
            "SELECT t.id, t.name, t.owner::oid, t.task_type, t.command, t.args::pg_catalog.text, t.search_path,
                    t.top_level, t.timeout_ms, t.retries, t.priority, t.schedule::pg_catalog.text, t.time_zone,
                    t.misfire, t.overlap, t.next_run_at, t.on_trigger IS NOT NULL, t.jitter_ms, t.backoff_ms,
                    t.concurrency_key, t.valid_until, t.status,
                    EXISTS (SELECT FROM automate.task_dependency AS d WHERE d.task = t.id),
                    (SELECT count(*) FROM (SELECT FROM automate.task_run AS r
                     WHERE r.task = t.id AND r.finished_at IS NULL AND r.backfill IS NULL LIMIT 1000) AS few)
             FROM automate.task AS t ",
            $rest
        )
    };
}
pub(super) use tasks;

/// A task.
pub struct Task {
    pub id: Uuid,
    pub name: String,
    pub owner: pg_sys::Oid,
    pub task_type: String,
    pub command: String,
    /// JSON.
    pub args: String,
    pub search_path: String,
    pub top_level: bool,
    pub timeout_ms: Option<i32>,
    pub retries: i32,
    pub priority: i32,
    pub schedule: String,
    pub time_zone: String,
    pub misfire: Misfire,
    pub overlap: Overlap,
    /// The first instant that is not settled; None when there is none to come.
    pub next_run: Option<DateTime<Utc>>,
    /// It runs when a trigger fires.
    pub on_trigger: bool,
    pub jitter: Duration,
    pub backoff_ms: i64,
    pub concurrency_key: Option<String>,
    pub valid_until: Option<DateTime<Utc>>,
    pub active: bool,
    /// Its runs wait for those of other tasks.
    pub has_upstream: bool,
    /// How many of its runs are not over, but for those of a backfill; counted to 1000.
    pub open_runs: i64,
}

impl Task {
    /// Reads a row of a query made by `tasks!`.
    pub fn read(rows: &Rows, row: usize) -> Result<Task> {
        let text = |column| rows.get::<String>(row, column).unwrap_or_default();
        let instant = |column| {
            rows.get::<TimestampWithTimeZone>(row, column).and_then(|at| when::from_us(at.into()))
        };
        let bad = |what: &str| Error::Internal(format!("task with no valid {what}"));
        let id: pgrx::Uuid = rows.get(row, 1).ok_or_else(|| bad("id"))?;
        Ok(Task {
            id: Uuid::from_bytes(*id.as_bytes()),
            name: text(2),
            owner: rows.get(row, 3).ok_or_else(|| bad("owner"))?,
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
            misfire: Misfire::parse(&text(14)).ok_or_else(|| bad("misfire"))?,
            overlap: Overlap::parse(&text(15)).ok_or_else(|| bad("overlap"))?,
            next_run: instant(16),
            on_trigger: rows.get(row, 17).unwrap_or(false),
            jitter: Duration::milliseconds(rows.get(row, 18).unwrap_or(0)),
            backoff_ms: rows.get(row, 19).unwrap_or(10_000),
            concurrency_key: rows.get(row, 20),
            valid_until: instant(21),
            active: text(22) == "active",
            has_upstream: rows.get(row, 23).unwrap_or(false),
            open_runs: rows.get(row, 24).unwrap_or(0),
        })
    }

    pub fn key(&self) -> pgrx::Uuid {
        pgrx::Uuid::from_bytes(*self.id.as_bytes())
    }
}
