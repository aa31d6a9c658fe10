//! Changing a task: what is given replaces what was, and is looked at anew.

use super::define::{Due, NewTask};
use super::row::Task;
use super::run::{self, Skipped};
use super::{alert, news, steer, upstream, when};
use crate::error::{Error, Result};
use crate::noun::TASK;
use crate::spi::own::as_role;
use crate::spi::{Own, as_extension};
use crate::{access, audit, pg, wake};
use automate_core::task::Missed;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use serde_json::Value;

/// What is to be another way; None stays as it is. Where something can be taken away, the inner
/// None does so.
#[derive(Default)]
pub struct Changes {
    pub schedule: Option<String>,
    pub command: Option<String>,
    pub args: Option<Value>,
    pub time_zone: Option<String>,
    pub misfire: Option<String>,
    pub overlap: Option<String>,
    pub jitter_ms: Option<i64>,
    pub timeout_ms: Option<Option<i32>>,
    pub retries: Option<i32>,
    pub backoff_ms: Option<i64>,
    pub priority: Option<i32>,
    pub depends_on: Option<Vec<String>>,
    pub valid_from: Option<TimestampWithTimeZone>,
    pub valid_until: Option<TimestampWithTimeZone>,
    pub enabled: Option<bool>,
    /// Empty: none.
    pub description: Option<String>,
    /// Empty: none.
    pub concurrency_key: Option<String>,
    pub on_upstream_failure: Option<String>,
    pub alert: Option<Value>,
    pub new_name: Option<String>,
}

/// A task as it is, locked.
struct Known {
    task: Task,
    definition: NewTask,
    /// It was disabled since it could not go on.
    broken: bool,
}

/// Changes a task.
pub fn alter(user: pg_sys::Oid, name: &str, changes: Changes) -> Result<()> {
    let known = as_extension(|own| read(own, user, name))?;
    change(user, known, changes, "alter")
}

/// Lets a task that is paused or disabled go on with its next instant.
pub fn resume(user: pg_sys::Oid, name: &str) -> Result<()> {
    let known = as_extension(|own| read(own, user, name))?;
    if known.task.active {
        return Ok(());
    }
    change(user, known, Changes { enabled: Some(true), ..Changes::default() }, "resume")
}

fn change(user: pg_sys::Oid, known: Known, changes: Changes, action: &'static str) -> Result<()> {
    let Known { task, definition: mut d, broken } = known;
    let owner = task.owner;
    let retimed = changes.schedule.is_some()
        || changes.time_zone.is_some()
        || changes.valid_from.is_some()
        || changes.valid_until.is_some();
    let recommanded = changes.command.is_some() || changes.args.is_some();
    let depends_on = changes.depends_on.clone();
    let alerts = changes.alert.is_some();
    let status = match changes.enabled {
        Some(true) => Some("active"),
        Some(false) => Some("disabled"),
        None => (retimed && broken).then_some("active"),
    };
    let starts = status == Some("active") && !task.active;
    if starts {
        require_login(&task)?;
    }
    changes.apply(&mut d);
    d.check_words()?;
    let due = (retimed || starts).then(|| d.due(owner)).transpose()?;
    let top_level = match recommanded {
        true => as_role(owner, || pg::under_path(&d.search_path, || d.check_command()))?,
        false => task.top_level,
    };
    as_extension(|own| {
        if recommanded {
            d.check_target(own, owner)?;
        }
        refuse_duplicate(own, &task, &d.name)?;
        if due.is_some() {
            skip_what_is_due(own, &task)?;
        }
        audit::around(own, &audit::TASK, (user, action), task.id, || {
            write(own, &task, &d, (top_level, status), due.as_ref())?;
            if let Some(names) = &depends_on {
                upstream::set(own, task.id, owner, names)?;
            }
            if alerts {
                alert::set(own, task.id, owner, d.alert.as_ref())?;
            }
            Ok(())
        })?;
        if starts {
            alert::resume(own, task.key())?;
        }
        news::rouse(own, &[task.id])?;
        wake::arm_coordinator();
        Ok(())
    })
}

/// Refuses a task whose owner cannot run anything.
pub(super) fn require_login(task: &Task) -> Result<()> {
    if access::can_log_in(task.owner) {
        return Ok(());
    }
    Err(Error::refused(
        PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
        format!("task \"{}\" cannot run: its owner was dropped or may not log in", task.name),
    )
    .with_detail(format!("Its owner is the role with OID {}.", task.owner.to_u32()))
    .with_hint("Let the role log in with ALTER ROLE, or schedule the task as another."))
}

impl Changes {
    fn apply(self, d: &mut NewTask) {
        // A kept schedule has its time zone in it: another one replaces that.
        if let (None, Some(_)) = (&self.schedule, &self.time_zone) {
            d.schedule = without_zone(&d.schedule);
        }
        replace(&mut d.schedule, self.schedule);
        if let Some(command) = self.command {
            d.command = command;
            d.search_path = pg::search_path();
        }
        replace(&mut d.args, self.args);
        d.time_zone = self.time_zone.or_else(|| d.time_zone.take());
        replace(&mut d.misfire, self.misfire);
        replace(&mut d.overlap, self.overlap);
        replace(&mut d.jitter_ms, self.jitter_ms);
        replace(&mut d.timeout_ms, self.timeout_ms);
        replace(&mut d.retries, self.retries);
        replace(&mut d.backoff_ms, self.backoff_ms);
        replace(&mut d.priority, self.priority);
        let infinite = |at: &TimestampWithTimeZone, end| i64::from(*at) == end;
        d.valid_from = self.valid_from.or(d.valid_from).filter(|at| !infinite(at, i64::MIN));
        d.valid_until = self.valid_until.or(d.valid_until).filter(|at| !infinite(at, i64::MAX));
        let text = |new: Option<String>, old: &mut Option<String>| {
            new.or_else(|| old.take()).filter(|text| !text.is_empty())
        };
        d.description = text(self.description, &mut d.description);
        d.concurrency_key = text(self.concurrency_key, &mut d.concurrency_key);
        replace(&mut d.on_upstream_failure, self.on_upstream_failure);
        d.alert = self.alert.or_else(|| d.alert.take()).filter(|alert| !alert.is_null());
        replace(&mut d.name, self.new_name);
    }
}

fn replace<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

fn without_zone(schedule: &str) -> String {
    match serde_json::from_str::<Value>(schedule) {
        Ok(Value::Object(mut kept)) => {
            kept.remove("time_zone");
            Value::Object(kept).to_string()
        }
        _ => schedule.to_owned(),
    }
}

/// A task as it is, locked: the user's own first, then those of roles whose privileges it has.
fn read(own: &Own, user: pg_sys::Oid, name: &str) -> Result<Known> {
    let task = steer::find(own, user, name)?;
    let rows = own.run(
        "SELECT description, misfire, overlap, backoff_ms, jitter_ms, valid_from, valid_until,
                on_upstream_failure, alert::pg_catalog.text, status = 'disabled' AND status_reason IS NOT NULL
         FROM automate.task WHERE id = $1",
        &[task.key().into()],
    )?;
    let text = |column| rows.get::<String>(0, column).unwrap_or_default();
    let json = |text: &str| {
        serde_json::from_str(text).map_err(|e| Error::Internal(format!("a kept task: {e}")))
    };
    let definition = NewTask {
        name: task.name.clone(),
        task_type: task.task_type.clone(),
        schedule: task.schedule.clone(),
        command: task.command.clone(),
        args: json(&task.args)?,
        time_zone: Some(task.time_zone.clone()),
        misfire: text(2),
        overlap: text(3),
        jitter_ms: rows.get(0, 5).unwrap_or(0),
        timeout_ms: task.timeout_ms,
        retries: task.retries,
        backoff_ms: rows.get(0, 4).unwrap_or(0),
        priority: task.priority,
        depends_on: Vec::new(),
        valid_from: rows.get(0, 6),
        valid_until: rows.get(0, 7),
        concurrency_key: task.concurrency_key.clone(),
        on_upstream_failure: text(8),
        alert: rows.get::<String>(0, 9).map(|text| json(&text)).transpose()?,
        enabled: task.active,
        description: rows.get(0, 1),
        search_path: task.search_path.clone(),
    };
    Ok(Known { broken: rows.get(0, 10).unwrap_or(false), task, definition })
}

fn refuse_duplicate(own: &Own, task: &Task, name: &str) -> Result<()> {
    let there: Option<bool> = own.one(
        "SELECT true FROM automate.task WHERE owner = $1 AND name = $2 AND id <> $3",
        &[task.owner.into(), name.into(), task.key().into()],
    )?;
    match there {
        None => Ok(()),
        Some(_) => Err(TASK.duplicate(task.owner, name).with_hint("Choose another name.")),
    }
}

/// What was due by the old schedule and has not run does not run any more: that is recorded.
fn skip_what_is_due(own: &Own, task: &Task) -> Result<()> {
    let now = when::now();
    let Some(first) = task.next_run.filter(|first| *first <= now) else { return Ok(()) };
    let schedule = when::read_kept(&task.schedule, &task.time_zone)?;
    let missed = Missed::between(&schedule, first, now);
    let reason = if task.active { "altered" } else { "paused" };
    run::skip(own, &[Skipped { task, missed, reason }])
}

/// Writes it; when it runs only if that has changed.
fn write(
    own: &Own,
    task: &Task,
    d: &NewTask,
    (top_level, status): (bool, Option<&str>),
    due: Option<&Due>,
) -> Result<()> {
    own.run(
        "UPDATE automate.task
         SET name = $2, description = $3, command = $4, args = $5::pg_catalog.text::pg_catalog.jsonb, search_path = $6,
             top_level = $7, misfire = $8, overlap = $9, jitter_ms = $10, timeout_ms = $11, retries = $12, backoff_ms = $13,
             priority = $14, concurrency_key = $15, on_upstream_failure = $16, valid_from = $17, valid_until = $18,
             alert = $19::pg_catalog.text::pg_catalog.jsonb, status = coalesce($20, status),
             status_reason = CASE WHEN $20 IS NULL THEN status_reason END,
             schedule = coalesce($21::pg_catalog.text::pg_catalog.jsonb, schedule), time_zone = coalesce($22, time_zone),
             next_run_at = CASE WHEN $21 IS NULL THEN next_run_at ELSE $23 END,
             on_trigger = CASE WHEN $21 IS NULL THEN on_trigger ELSE $24 END, updated_at = now()
         WHERE id = $1",
        &[
            task.key().into(),
            d.name.as_str().into(),
            d.description.as_deref().into(),
            d.command.as_str().into(),
            d.args.to_string().into(),
            d.search_path.as_str().into(),
            top_level.into(),
            d.misfire.as_str().into(),
            d.overlap.as_str().into(),
            d.jitter_ms.into(),
            d.timeout_ms.into(),
            d.retries.into(),
            d.backoff_ms.into(),
            d.priority.into(),
            d.concurrency_key.as_deref().into(),
            d.on_upstream_failure.as_str().into(),
            d.valid_from.into(),
            d.valid_until.into(),
            d.alert.as_ref().map(Value::to_string).into(),
            status.into(),
            due.map(|due| due.schedule.to_string()).into(),
            due.map(|due| due.zone.clone()).into(),
            due.and_then(|due| due.next).into(),
            due.and_then(|due| due.trigger)
                .map(|id| pgrx::Uuid::from_bytes(*id.as_bytes()))
                .into(),
        ],
    )?;
    Ok(())
}
