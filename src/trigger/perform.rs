//! What a trigger asks of an executor, in a session of the owner: to ask its query, to look at its
//! condition, to run a task, or to start a workflow.

use super::{fault, look, tell};
use crate::error::{Error, Failure, Result};
use crate::event::order;
use crate::pg;
use crate::queue::Job;
use crate::queue::finish::Outcome;
use crate::rule::condition::event_statement;
use crate::rule::look::tried;
use crate::rule::perform::event_of;
use crate::rule::{cause, tally};
use crate::spi::{as_extension, statement};
use crate::task::run::Firing;
use crate::task::steer;
use crate::workflow;
use serde_json::{Value, json};
use uuid::Uuid;

/// Does it.
pub fn perform(job: &Job) -> Result<Outcome> {
    if let Some(trigger) = id(&job.payload, "look") {
        return look::perform(trigger);
    }
    let event = &job.payload["event"];
    if let Some(trigger) = id(&job.payload, "trigger") {
        return decide(trigger, event);
    }
    let firing = Firing {
        source: job.source.as_deref().unwrap_or_default(),
        cause: id(&job.payload, "cause").ok_or_else(incomplete)?,
        event,
    };
    if let Some(task) = id(&job.payload, "task") {
        let me = pg::current_user();
        as_extension(|own| steer::fire(own, me, task, &firing))?;
        tally::delay(firing.cause, event);
        return Ok(Outcome::Gone);
    }
    let workflow = id(&job.payload, "workflow").ok_or_else(incomplete)?;
    start(workflow, &firing)?;
    tally::delay(firing.cause, event);
    Ok(Outcome::Gone)
}

fn id(payload: &Value, key: &str) -> Option<Uuid> {
    Uuid::parse_str(payload[key].as_str()?).ok()
}

fn incomplete() -> Error {
    Error::Internal("a firing of a trigger without its trigger or subscriber".into())
}

/// Looks at a trigger's condition on an event, and tells the subscribers if it holds.
fn decide(id: Uuid, event: &Value) -> Result<Outcome> {
    let me = pg::current_user();
    let key = pgrx::Uuid::from_bytes(*id.as_bytes());
    let found = as_extension(|own| {
        let rows = own.run(
            "SELECT name, coalesce(condition_sql, condition) FROM automate.trigger
             WHERE id = $1 AND owner = $2",
            &[key.into(), me.into()],
        )?;
        Ok(rows.get::<String>(0, 1).map(|name| (name, rows.get::<String>(0, 2))))
    })?;
    let Some((name, condition)) = found else {
        return Ok(Outcome::Succeeded(json!({"skipped": "the trigger was dropped"})));
    };
    let holds = match condition {
        None => Ok(true),
        Some(condition) => holds(&condition, event),
    };
    tally::count(id, matches!(holds, Ok(true)));
    match holds {
        Ok(false) => Ok(Outcome::Succeeded(json!({"fired": false}))),
        Ok(true) => {
            let teller = tell::Teller { id, name: &name, owner: me };
            as_extension(|own| {
                let key = event["order_key"].as_str();
                let place = key.map(|key| order::again(own, me, key)).transpose()?;
                tell::subscribers(own, &teller, event, place)
            })?;
            Ok(Outcome::Succeeded(json!({"fired": true})))
        }
        Err(failure) => {
            as_extension(|own| fault::note(own, key, &failure.text(), false))?;
            Ok(Outcome::GivenUp(failure))
        }
    }
}

/// What a condition says of an event, with the rights in force.
pub(super) fn holds(condition: &str, event: &Value) -> std::result::Result<bool, Failure> {
    let seen = event_of(event);
    let statement = event_statement(condition);
    tried(|| statement::execute(&statement, std::slice::from_ref(&seen), false))
        .and_then(|answer| answer.map_err(Failure::from))
        .map(|answer| answer.processed > 0)
}

/// Starts a run of a workflow, once for each event.
fn start(id: Uuid, firing: &Firing) -> Result<()> {
    let me = pg::current_user();
    let name: Option<String> = as_extension(|own| {
        own.one(
            "SELECT name FROM automate.workflow WHERE id = $1 AND owner = $2 AND status = 'active'",
            &[pgrx::Uuid::from_bytes(*id.as_bytes()).into(), me.into()],
        )
    })?;
    let Some(name) = name else { return Ok(()) };
    cause::within(firing.cause, firing.depth() + 1, || {
        workflow::start(&workflow::Start {
            owner: me,
            name: &name,
            input: &json!({"event": firing.event}),
            version: None,
            idempotency_key: firing.event["id"].as_str(),
            source: Some(firing.source),
        })
    })
    .map(|_| ())
}
