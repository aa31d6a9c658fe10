//! Telling people, and rules, how a task fares: an executor of the owner does it, as a job of its
//! own, so that nothing that is wrong with a channel or a template undoes anything else.

use super::when;
use crate::error::{Error, Failure, Result};
use crate::event::{self, Emission};
use crate::notify::template::{self, Template};
use crate::notify::{self, Notification};
use crate::pg;
use crate::queue::finish::Outcome;
use crate::queue::{Job, Lane, NewJob};
use crate::spi::own::Rows;
use crate::spi::{Own, as_extension, step};
use automate_core::schedule::parse_zone;
use automate_core::task::{Alert, News};
use chrono::{SecondsFormat, TimeZone};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use serde_json::{Value, json};
use std::fmt::Display;
use uuid::Uuid;

/// Attempts at telling something, should it lose a race.
const ATTEMPTS: i32 = 3;
/// What is said where no template is named.
const SUBJECT: &str = "\
{% if alert == 'failure' %}Task {{ task.name }} failed{% if failures > 1 %} {{ failures }} times in a row{% endif %}\
{% elif alert == 'recovery' %}Task {{ task.name }} works again\
{% else %}Task {{ task.name }} has not succeeded for too long{% endif %}";
const BODY: &str = "\
Task:         {{ task.name }} of {{ task.owner }} in database {{ database }}\
{% if task.description %} ({{ task.description }}){% endif %}
{% if run %}Run:          {{ run.scheduled_at }}, {{ run.status }}{% if run.attempts > 1 %} after {{ run.attempts }} attempts{% endif %}
{% endif %}{% if error %}Error:        {{ error }}
{% endif %}{% if failing_since %}Failing since {{ failing_since }}
{% endif %}Last success: {{ last_success_at or 'none since the alert was set' }}
Next run:     {{ next_run_at or 'none' }}
";

/// What a template sees. Instants are told in the zone of the task.
pub(super) fn describe(
    own: &Own,
    task: pgrx::Uuid,
    at: Option<TimestampWithTimeZone>,
    news: News,
    failures: i32,
) -> Result<Described> {
    let rows = own.run(
        "SELECT t.owner::oid, t.owner::text, t.name, t.description, t.task_type, t.time_zone, current_database()::text,
                t.next_run_at, coalesce(a.failing_since, CASE WHEN r.status <> 'succeeded' AND $2 IS NOT NULL THEN r.finished_at END),
                CASE WHEN r.status = 'succeeded' AND $2 IS NOT NULL THEN r.finished_at ELSE a.last_success_at END,
                r.scheduled_at, r.started_at, r.finished_at, r.status, r.attempts, r.job, r.error,
                t.status, t.status_reason
         FROM automate.task AS t
         JOIN automate.task_alert AS a ON a.task = t.id
         LEFT JOIN LATERAL (SELECT * FROM automate.task_run AS r WHERE r.task = t.id AND ($2 IS NULL OR r.scheduled_at = $2)
                            ORDER BY r.scheduled_at DESC LIMIT 1) AS r ON true
         WHERE t.id = $1",
        &[task.into(), at.into()],
    )?;
    let text = |column| rows.get::<String>(0, column);
    let zone = parse_zone(&text(6).unwrap_or_default()).ok();
    let instant = |column| told(&rows, column, zone.as_ref());
    let job = rows.get::<pgrx::Uuid>(0, 16).map(|id| Uuid::from_bytes(*id.as_bytes()));
    let run = text(14).map(|status| {
        json!({ "scheduled_at": instant(11), "started_at": instant(12), "finished_at": instant(13),
                "status": status, "attempts": rows.get::<i32>(0, 15), "job": job })
    });
    let data = json!({
        "alert": news.to_string(),
        "task": { "name": text(3), "owner": text(2), "description": text(4), "task_type": text(5),
                  "status": text(18), "status_reason": text(19) },
        "run": run,
        "error": text(17),
        "failures": failures,
        "failing_since": instant(9),
        "last_success_at": instant(10),
        "next_run_at": instant(8),
        "database": text(7),
    });
    let owner = rows.get(0, 1).ok_or_else(|| Error::Internal("task without owner".into()))?;
    Ok(Described { owner, name: text(3).unwrap_or_default(), task, data })
}

/// What there is to tell, of whom.
pub(super) struct Described {
    owner: pg_sys::Oid,
    name: String,
    task: pgrx::Uuid,
    data: Value,
}

fn told<Z>(rows: &Rows, column: usize, zone: Option<&Z>) -> Option<String>
where
    Z: TimeZone,
    Z::Offset: Display,
{
    let at = rows.get::<TimestampWithTimeZone>(0, column)?;
    let at = when::from_us(at.into())?.with_timezone(zone?);
    Some(at.to_rfc3339_opts(SecondsFormat::Secs, true))
}

/// One job for the people and one for the rules: what is wrong with either is not the other's affair.
pub(super) fn queue(own: &Own, alert: &Alert, news: News, described: Described) -> Result<()> {
    let source = format!("alert:{}", described.name);
    let task = Uuid::from_bytes(*described.task.as_bytes());
    let put = |how: Value| -> Result<()> {
        let mut payload = how;
        payload["task"] = json!(task);
        payload["data"] = described.data.clone();
        let job = NewJob {
            source: Some(&source),
            max_attempts: ATTEMPTS,
            ..NewJob::new("alert", described.owner, Lane::Sql, &payload)
        };
        job.put(own).map(|_| ())
    };
    if !alert.to.is_empty() {
        put(json!({ "to": alert.to, "template": alert.template }))?;
    }
    if alert.event {
        put(json!({ "event": news.event() }))?;
    }
    Ok(())
}

/// Tells it, in a session of the owner.
pub fn perform(job: &Job) -> Result<Outcome> {
    let done = step::in_subtransaction(|| tell(job).unwrap_or_else(|e| e.raise()));
    match done {
        Ok(id) => {
            problem(job, None)?;
            Ok(Outcome::Succeeded(id))
        }
        Err(failure) if failure.stops() => Ok(Outcome::Failed(failure)),
        Err(failure) => {
            problem(job, Some(&failure))?;
            Ok(Outcome::GivenUp(failure))
        }
    }
}

fn tell(job: &Job) -> Result<Value> {
    let (payload, owner, source) = (&job.payload, pg::current_user(), job.source.as_deref());
    let data = &payload["data"];
    if let Some(name) = payload["event"].as_str() {
        let id = event::emit(&Emission { source, ..Emission::new(owner, name, data) })?;
        return Ok(json!({ "event": id }));
    }
    let to = payload["to"].as_array().map_or(&[][..], Vec::as_slice);
    let recipients: Vec<String> =
        to.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect();
    let named = payload["template"].as_str();
    let template = match named {
        Some(name) => as_extension(|own| template::find(own, owner, name))?,
        None => Template::built_in("task alert", SUBJECT, BODY)?,
    };
    let notification = Notification {
        owner,
        template: &template.name,
        recipients: &recipients,
        data,
        attachments: &[],
        priority: 100,
        source,
    };
    Ok(json!({ "notification": notify::send(&notification, &template)? }))
}

/// Writes down why something could not be told, or that it was after all.
fn problem(job: &Job, failure: Option<&Failure>) -> Result<()> {
    as_extension(|own| {
        own.run(
            "UPDATE automate.task_alert
             SET problem = $2, problem_job = CASE WHEN $2 IS NOT NULL THEN $3 END, updated_at = now()
             WHERE task = $1::text::uuid AND ($2 IS NOT NULL OR problem_job = $3)",
            &[
                job.payload["task"].as_str().into(),
                failure.map(Failure::text).into(),
                pgrx::Uuid::from_bytes(*job.id.as_bytes()).into(),
            ],
        )?;
        Ok(())
    })
}
