//! Defining a task: everything that can be wrong with it is said now.

use super::command::TYPES;
use super::{alert, upstream, when};
use crate::error::{Error, Result, shown};
use crate::noun::{TASK, TRIGGER};
use crate::spi::{Own, as_extension};
use crate::{access, audit, wake};
use automate_core::task::{Misfire, OnFailure, Overlap};
use chrono::{DateTime, Duration, Utc};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

/// A task to be.
pub struct NewTask {
    pub name: String,
    pub task_type: String,
    pub schedule: String,
    pub command: String,
    pub args: Value,
    pub time_zone: Option<String>,
    pub misfire: String,
    pub overlap: String,
    pub jitter_ms: i64,
    pub timeout_ms: Option<i32>,
    pub retries: i32,
    pub backoff_ms: i64,
    pub priority: i32,
    pub depends_on: Vec<String>,
    pub valid_from: Option<TimestampWithTimeZone>,
    pub valid_until: Option<TimestampWithTimeZone>,
    pub concurrency_key: Option<String>,
    pub on_upstream_failure: String,
    pub alert: Option<Value>,
    pub enabled: bool,
    pub description: Option<String>,
    /// The one in force where it is defined.
    pub search_path: String,
}

/// When a task runs.
pub(super) struct Due {
    pub schedule: Value,
    pub zone: String,
    pub next: Option<TimestampWithTimeZone>,
    pub trigger: Option<Uuid>,
}

/// What the checks of a definition found out.
pub(super) struct Checked {
    due: Due,
    top_level: bool,
}

impl NewTask {
    /// Checks and stores it; returns its id.
    pub fn create(&self) -> Result<Uuid> {
        let owner = access::require_owner()?;
        let checked = self.check(owner)?;
        as_extension(|own| self.put(own, owner, (owner, "create"), &checked))
    }

    /// Says what is wrong with it, with the rights in force, which are those of the owner.
    pub(super) fn check(&self, owner: pg_sys::Oid) -> Result<Checked> {
        self.check_words()?;
        Ok(Checked { due: self.due(owner)?, top_level: self.check_command()? })
    }

    /// What can be said of it without looking at the database.
    pub(super) fn check_words(&self) -> Result<()> {
        access::check_name("task", &self.name)?;
        one_of("task_type", &self.task_type, &TYPES)?;
        if Misfire::parse(&self.misfire).is_none() {
            one_of("misfire", &self.misfire, &Misfire::FORMS)?;
        }
        one_of("overlap", &self.overlap, &Overlap::NAMES)?;
        one_of("on_upstream_failure", &self.on_upstream_failure, &OnFailure::NAMES)?;
        if !(0..100).contains(&self.retries) {
            let meaning = "It counts the attempts after the first one that fails.";
            return Err(Error::out_of_range("retries", self.retries, 0, 99, meaning));
        }
        Ok(())
    }

    /// Stores it as the task of an owner; returns its id.
    pub(super) fn put(
        &self,
        own: &Own,
        owner: pg_sys::Oid,
        by: (pg_sys::Oid, &'static str),
        checked: &Checked,
    ) -> Result<Uuid> {
        self.check_target(own, owner)?;
        let id = Uuid::now_v7();
        audit::around(own, &audit::TASK, by, id, || {
            self.store(own, (id, owner), by.0, checked)?;
            upstream::set(own, id, owner, &self.depends_on)?;
            alert::set(own, id, owner, self.alert.as_ref())
        })?;
        Ok(id)
    }

    /// When it runs: by the clock, or when a trigger fires.
    pub(super) fn due(&self, owner: pg_sys::Oid) -> Result<Due> {
        let zone = when::zone_name(self.time_zone.as_deref())?;
        if let Some(name) = when::trigger_name(&self.schedule)? {
            let trigger = as_extension(|own| TRIGGER.id(own, owner, &name))?;
            let schedule = json!({"on_trigger": name});
            return Ok(Due { schedule, zone, next: None, trigger: Some(trigger) });
        }
        let schedule = when::read(&self.schedule, &zone)?;
        let (after, until) = self.validity()?;
        let in_time = |next: &DateTime<Utc>| until.is_none_or(|until| *next <= until);
        let next = schedule.next(after).filter(in_time).ok_or_else(|| {
            let end = until.map(|until| format!(" until {}", until.to_rfc3339()));
            Error::invalid(format!("schedule \"{}\" has no run to come", self.schedule.trim()))
                .with_detail(format!(
                    "Looked for after {}{} in time zone {zone}.",
                    after.to_rfc3339(),
                    end.unwrap_or_default()
                ))
                .with_hint("automate.next_runs(schedule) shows when a schedule runs.")
        })?;
        let next = Some(when::to_datum(next)?);
        Ok(Due { schedule: schedule.to_json(), zone, next, trigger: None })
    }

    /// After which instant the first run may come, and the last instant at which one may.
    fn validity(&self) -> Result<(DateTime<Utc>, Option<DateTime<Utc>>)> {
        let finite = |at: Option<TimestampWithTimeZone>, name: &str| match at {
            None => Ok(None),
            Some(at) => when::from_us(at.into()).map(Some).ok_or_else(|| {
                Error::invalid(format!("{name} must be a finite instant"))
                    .with_detail("It is infinite, or beyond the years that can be counted here.")
                    .with_hint("Leave it out for no limit.")
            }),
        };
        let (from, until) =
            (finite(self.valid_from, "valid_from")?, finite(self.valid_until, "valid_until")?);
        if let (Some(from), Some(until)) = (from, until)
            && until < from
        {
            return Err(Error::invalid("valid_until is before valid_from")
                .with_detail(format!("They are {} and {}.", until.to_rfc3339(), from.to_rfc3339()))
                .with_hint("Exchange them, or leave one of them out."));
        }
        let now = when::now();
        Ok((from.map_or(now, |from| now.max(from - Duration::microseconds(1))), until))
    }

    fn store(
        &self,
        own: &Own,
        (id, owner): (Uuid, pg_sys::Oid),
        by: pg_sys::Oid,
        Checked { due, top_level }: &Checked,
    ) -> Result<()> {
        let made = own.run(
            "INSERT INTO automate.task (id, name, description, owner, status, task_type, schedule, time_zone,
                    command, args, search_path, top_level, misfire, overlap, timeout_ms, retries, priority,
                    next_run_at, on_trigger, created_by, jitter_ms, backoff_ms, valid_from, valid_until,
                    concurrency_key, on_upstream_failure, alert)
             VALUES ($1, $2, $3, $4, CASE WHEN $5 THEN 'active' ELSE 'disabled' END, $6,
                    $7::pg_catalog.text::pg_catalog.jsonb, $8, $9, $10::pg_catalog.text::pg_catalog.jsonb,
                    $11, $12, $13, $14, $15, $16, $17, $18, $19, $27, $20, $21, $22, $23, $24, $25,
                    $26::pg_catalog.text::pg_catalog.jsonb)
             ON CONFLICT (owner, name) DO NOTHING",
            &[
                pgrx::Uuid::from_bytes(*id.as_bytes()).into(),
                self.name.as_str().into(),
                self.description.as_deref().into(),
                owner.into(),
                self.enabled.into(),
                self.task_type.as_str().into(),
                due.schedule.to_string().into(),
                due.zone.as_str().into(),
                self.command.as_str().into(),
                self.args.to_string().into(),
                self.search_path.as_str().into(),
                (*top_level).into(),
                self.misfire.as_str().into(),
                self.overlap.as_str().into(),
                self.timeout_ms.into(),
                self.retries.into(),
                self.priority.into(),
                due.next.into(),
                due.trigger.map(|id| pgrx::Uuid::from_bytes(*id.as_bytes())).into(),
                self.jitter_ms.into(),
                self.backoff_ms.into(),
                self.valid_from.into(),
                self.valid_until.into(),
                self.concurrency_key.as_deref().into(),
                self.on_upstream_failure.as_str().into(),
                self.alert.as_ref().map(Value::to_string).into(),
                by.into(),
            ],
        )?;
        if made.processed == 0 {
            return Err(TASK.duplicate(owner, &self.name).with_hint(
                "Change it with automate.alter_task, or choose another name; automate.unschedule_task removes it.",
            ));
        }
        wake::arm_coordinator();
        Ok(())
    }
}

fn one_of(what: &str, value: &str, known: &[&str]) -> Result<()> {
    if known.contains(&value) {
        return Ok(());
    }
    Err(Error::unknown_word(format!("{what} cannot be {}", shown(value)), value, known))
}
