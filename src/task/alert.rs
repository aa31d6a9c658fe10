//! How tasks fare, as those want to know who are named in their alerts. The coordinator keeps
//! count, and queues what there is to tell (`tell`), each once.

use super::tell::{describe, queue};
use crate::error::{Error, Result};
use crate::notify;
use crate::noun::TEMPLATE;
use crate::spi::Own;
use automate_core::task::{Alert, News, Streak};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use serde_json::Value;
use uuid::Uuid;

/// Tasks told of at once.
const CHUNK: i64 = 100;
/// Before another look at tasks that somebody has locked.
const LOCKED_MS: i64 = 250;

/// Sets or removes the alert of a task: checks whom it tells and how, and begins to count.
pub fn set(own: &Own, task: Uuid, owner: pg_sys::Oid, alert: Option<&Value>) -> Result<()> {
    let key = pgrx::Uuid::from_bytes(*task.as_bytes());
    let Some(alert) = alert else {
        own.run("DELETE FROM automate.task_alert WHERE task = $1", &[key.into()])?;
        return Ok(());
    };
    let alert = Alert::parse(alert).map_err(|problems| {
        let help = "Write for example {\"to\": [\"mail:ops@example.com\"], \"stale_after\": \"26 hours\"}.";
        Error::problems("the alert is not acceptable", &problems, help)
    })?;
    notify::check_recipients(own, owner, &alert.to)?;
    if let Some(template) = &alert.template {
        TEMPLATE.require(own, owner, template)?;
    }
    own.run(
        "INSERT INTO automate.task_alert (task, owner, stale_after_ms, stale_at)
         SELECT t.id, t.owner, $2, CASE WHEN t.status = 'active' THEN now() + $2 * interval '1 millisecond' END
         FROM automate.task AS t WHERE t.id = $1
         ON CONFLICT (task) DO UPDATE SET owner = excluded.owner, stale_after_ms = excluded.stale_after_ms,
            stale_at = excluded.stale_at, updated_at = now()",
        &[key.into(), alert.stale_after.map(|after| after.num_milliseconds()).into()],
    )?;
    Ok(())
}

/// A task that was paused or disabled has its whole time again.
pub fn resume(own: &Own, task: pgrx::Uuid) -> Result<()> {
    own.run(
        "UPDATE automate.task_alert SET stale_at = now() + stale_after_ms * interval '1 millisecond', updated_at = now()
         WHERE task = $1 AND stale_after_ms IS NOT NULL AND NOT stale",
        &[task.into()],
    )?;
    Ok(())
}

/// Counts the end of a run, and queues what there is to tell; false when the count is locked.
pub fn ended(own: &Own, task: pgrx::Uuid, at: TimestampWithTimeZone, status: &str) -> Result<bool> {
    let succeeded = status == "succeeded";
    // Who cancels a run knows; of a run left out because of another task, that task tells.
    if !succeeded && !["failed", "interrupted", "quarantined"].contains(&status) {
        return Ok(true);
    }
    let Some((alert, before)) = count_of(own, task)? else {
        let there: Option<bool> = own.one(
            "SELECT EXISTS (SELECT FROM automate.task_alert WHERE task = $1)",
            &[task.into()],
        )?;
        return Ok(there != Some(true));
    };
    let Some(alert) = alert else { return Ok(true) };
    let (after, news) = alert.ended(before, succeeded);
    let data = match news.filter(|news| alert.tells(*news)) {
        Some(news) => Some((news, describe(own, task, Some(at), news, after.failures)?)),
        None => None,
    };
    own.run(
        "UPDATE automate.task_alert
         SET failures = $2, failing = $3, stale = $4, updated_at = now(),
             failing_since = CASE WHEN $2 > 0 THEN coalesce(failing_since, r.finished_at) END,
             last_success_at = CASE WHEN $2 = 0 THEN r.finished_at ELSE last_success_at END,
             stale_at = CASE WHEN $2 = 0 THEN r.finished_at + stale_after_ms * interval '1 millisecond' ELSE stale_at END
         FROM automate.task_run AS r
         WHERE task_alert.task = $1 AND r.task = $1 AND r.scheduled_at = $5",
        &[task.into(), after.failures.into(), after.failing.into(), after.stale.into(), at.into()],
    )?;
    if let Some((news, data)) = data {
        queue(own, &alert, news, data)?;
    }
    Ok(true)
}

/// The alert and the count of a task, locked; None when there is none, or somebody has locked it.
fn count_of(own: &Own, task: pgrx::Uuid) -> Result<Option<(Option<Alert>, Streak)>> {
    let rows = own.run(
        "SELECT t.alert::text, a.failures, a.failing, a.stale
         FROM automate.task_alert AS a JOIN automate.task AS t ON t.id = a.task
         WHERE a.task = $1 FOR UPDATE OF a SKIP LOCKED",
        &[task.into()],
    )?;
    if rows.is_empty() {
        return Ok(None);
    }
    let alert = rows.get::<String>(0, 1).and_then(|text| serde_json::from_str(&text).ok());
    let alert = alert.and_then(|value: Value| Alert::parse(&value).ok());
    let streak = Streak {
        failures: rows.get(0, 2).unwrap_or(0),
        failing: rows.get(0, 3).unwrap_or(false),
        stale: rows.get(0, 4).unwrap_or(false),
    };
    Ok(Some((alert, streak)))
}

/// For the coordinator: tells of tasks that have not succeeded for too long, each once; answers
/// when the next one is due.
pub fn tell_stale(own: &Own) -> Result<Option<i64>> {
    let wait: Option<i64> = own.one(
        "SELECT greatest(0, ceil(extract(epoch FROM stale_at - clock_timestamp()) * 1000))::int8
         FROM automate.task_alert WHERE stale_at IS NOT NULL ORDER BY stale_at LIMIT 1",
        &[],
    )?;
    if wait != Some(0) {
        return Ok(wait);
    }
    // Nobody is told of a task that is paused, or whose schedule has come to its end.
    let rows = own.run(
        "UPDATE automate.task_alert AS a SET stale_at = NULL, updated_at = now(),
                stale = t.status = 'active' OR t.status = 'disabled' AND coalesce(t.status_reason NOT LIKE 'its schedule has no further run%', false)
         FROM automate.task AS t, (SELECT task FROM automate.task_alert WHERE stale_at <= clock_timestamp()
                                   ORDER BY stale_at LIMIT $1 FOR UPDATE SKIP LOCKED) AS due
         WHERE a.task = due.task AND t.id = a.task
         RETURNING a.task, a.stale, a.failures",
        &[CHUNK.into()],
    )?;
    for row in 0..rows.len() {
        let (Some(task), Some(true)) = (rows.get::<pgrx::Uuid>(row, 1), rows.get(row, 2)) else {
            continue;
        };
        let Some((Some(alert), streak)) = count_of(own, task)? else { continue };
        if alert.tells(News::Stale) {
            let data = describe(own, task, None, News::Stale, streak.failures)?;
            queue(own, &alert, News::Stale, data)?;
        }
    }
    Ok(Some(if rows.processed as i64 == CHUNK { 0 } else { LOCKED_MS }))
}
