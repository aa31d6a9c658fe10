//! `call: approval`: a step waits until people have decided.
//!
//! Whoever decides holds the row of the approval until its transaction ends. Runs never wait for
//! that: what they cannot take back at once, a job of its own takes back later.

mod decide;
mod delegate;

pub use decide::decide;
pub use delegate::delegate;

use super::outside;
use super::run::Run;
use crate::error::{Error, Result};
use crate::event::{self, Emission};
use crate::queue::claim::to_uuids;
use crate::queue::finish::Outcome;
use crate::queue::{Job, Lane, NewJob};
use crate::spi::own::Rows;
use crate::spi::{Own, as_extension};
use automate_core::workflow::{Command, duration_ms};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

/// The pause before looking again at an approval that somebody is deciding, in milliseconds.
const PAUSE_MS: u64 = 1_000;

fn key(id: Uuid) -> pgrx::Uuid {
    pgrx::Uuid::from_bytes(*id.as_bytes())
}

fn uuid(rows: &Rows, row: usize, column: usize) -> Option<Uuid> {
    rows.get::<pgrx::Uuid>(row, column).map(|id| Uuid::from_bytes(*id.as_bytes()))
}

fn in_ms(ms: u64) -> Result<TimestampWithTimeZone> {
    let us = i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(1000);
    let at = crate::pg::now().saturating_add(us);
    TimestampWithTimeZone::try_from(at).map_err(|e| Error::Internal(format!("{e:?}")))
}

/// Puts the question of a step.
pub fn open(own: &Own, run: &Run, command: &Command) -> Result<()> {
    let Command::Approval { step, attempt, arguments, .. } = command else { return Ok(()) };
    let id = Uuid::now_v7();
    let decider = find_role(own, arguments["role"].as_str().unwrap_or_default())?;
    let subject = match &arguments["subject"] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let quorum = arguments["quorum"].as_i64().and_then(|n| i32::try_from(n).ok()).unwrap_or(1);
    let escalation = match &arguments["escalate"] {
        Value::Object(map) => {
            let after = duration_ms(&map["after"]).map_err(Error::invalid)?;
            let role = find_role(own, map["role"].as_str().unwrap_or_default())?;
            Some((in_ms(after)?, role))
        }
        _ => None,
    };
    own.run(
        "INSERT INTO automate.approval (id, run, step, attempt, owner, workflow, role, subject, data, quorum,
             escalate_at, escalate_role)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::jsonb, $10, $11, $12)",
        &[
            key(id).into(),
            key(run.id).into(),
            step.as_str().into(),
            i32::try_from(*attempt).unwrap_or(i32::MAX).into(),
            run.owner.into(),
            run.runtime.workflow.as_str().into(),
            decider.into(),
            subject.into(),
            arguments.get("data").map(Value::to_string).into(),
            quorum.into(),
            escalation.map(|(at, _)| at).into(),
            escalation.map(|(_, role)| role).into(),
        ],
    )?;
    if let Some((at, _)) = escalation {
        let dedupe = outside::key(run.id, step, *attempt);
        let payload = json!({ "approval": id, "do": "escalate" });
        put_job(own, run.owner, &payload, at, Some(&dedupe))?;
    }
    tell(own, id, "approval.requested", &json!({}))
}

fn put_job(
    own: &Own,
    owner: pg_sys::Oid,
    payload: &Value,
    at: TimestampWithTimeZone,
    dedupe_key: Option<&str>,
) -> Result<()> {
    NewJob {
        run_at: Some(at),
        dedupe_key,
        source: Some("approval"),
        ..NewJob::new("approval", owner, Lane::Sql, payload)
    }
    .put(own)?;
    Ok(())
}

fn find_role(own: &Own, name: &str) -> Result<pg_sys::Oid> {
    let found: Option<pg_sys::Oid> =
        own.one("SELECT oid FROM pg_catalog.pg_roles WHERE rolname = $1", &[name.into()])?;
    found.ok_or_else(|| {
        Error::missing(format!("role \"{name}\" does not exist"))
            .with_detail("The members of the role are to decide.")
            .with_hint("Create it, or name another role in the workflow.")
    })
}

/// Emits an event of the run's owner about an approval; `more` goes into its payload.
fn tell(own: &Own, id: Uuid, name: &str, more: &Value) -> Result<()> {
    let rows = own.run(
        "SELECT owner::oid, 'workflow:' || workflow,
                (jsonb_build_object('approval', id, 'run', run, 'step', step, 'workflow', workflow,
                    'role', role::text, 'subject', subject, 'data', data, 'quorum', quorum) || $2::jsonb)::text
         FROM automate.approval WHERE id = $1",
        &[key(id).into(), more.to_string().into()],
    )?;
    let Some(owner) = rows.get::<pg_sys::Oid>(0, 1) else { return Ok(()) };
    let text: String = rows.get(0, 3).unwrap_or_default();
    let payload = serde_json::from_str(&text).map_err(|e| Error::Internal(e.to_string()))?;
    let source: Option<String> = rows.get(0, 2);
    let emission = Emission::new(owner, name, &payload);
    event::emit(&Emission { source: source.as_deref(), ..emission })?;
    Ok(())
}

/// The step waits no more.
pub fn close(own: &Own, run: Uuid, step: &str) -> Result<()> {
    let rows = own.run(
        "SELECT id, owner::oid FROM automate.approval WHERE run = $1 AND step = $2 AND status = 'pending'",
        &[key(run).into(), step.into()],
    )?;
    (0..rows.len()).try_for_each(|row| close_row(own, &rows, row))
}

/// Closes those of runs that have ended without taking a turn.
pub fn abandon(own: &Own, runs: &[Uuid]) -> Result<()> {
    let rows = own.run(
        "SELECT a.id, a.owner::oid FROM automate.approval AS a JOIN automate.run AS r ON r.id = a.run
         WHERE r.id = ANY ($1) AND r.finished_at IS NOT NULL AND a.status = 'pending'",
        &[to_uuids(runs).into()],
    )?;
    (0..rows.len()).try_for_each(|row| close_row(own, &rows, row))
}

fn close_row(own: &Own, rows: &Rows, row: usize) -> Result<()> {
    let (Some(id), Some(owner)) = (uuid(rows, row, 1), rows.get(row, 2)) else { return Ok(()) };
    if withdraw(own, id)? {
        return Ok(());
    }
    let payload = json!({ "approval": id, "do": "withdraw" });
    put_job(own, owner, &payload, in_ms(PAUSE_MS)?, None)
}

/// False when somebody is deciding just now.
fn withdraw(own: &Own, id: Uuid) -> Result<bool> {
    let done = own.run(
        "UPDATE automate.approval SET status = 'withdrawn', decided_at = clock_timestamp()
         WHERE id IN (SELECT id FROM automate.approval WHERE id = $1 AND status = 'pending' FOR UPDATE SKIP LOCKED)",
        &[key(id).into()],
    )?;
    Ok(done.processed == 1 || !is_pending(own, id)?)
}

fn is_pending(own: &Own, id: Uuid) -> Result<bool> {
    let pending: Option<bool> = own
        .one("SELECT status = 'pending' FROM automate.approval WHERE id = $1", &[key(id).into()])?;
    Ok(pending == Some(true))
}

/// Lets the members of the other role decide, too. False when somebody is deciding just now.
fn escalate(own: &Own, id: Uuid) -> Result<bool> {
    let rows = own.run(
        "UPDATE automate.approval SET escalated_at = clock_timestamp()
         WHERE id IN (SELECT id FROM automate.approval
                      WHERE id = $1 AND status = 'pending' AND escalated_at IS NULL FOR UPDATE SKIP LOCKED)
         RETURNING escalate_role::text",
        &[key(id).into()],
    )?;
    if let Some(role) = rows.get::<String>(0, 1) {
        tell(own, id, "approval.escalated", &json!({ "escalate_role": role }))?;
        return Ok(true);
    }
    Ok(!is_pending(own, id)?)
}

/// Does a job of kind approval.
pub fn perform(job: &Job) -> Result<Outcome> {
    let id = job.payload["approval"].as_str().and_then(|id| Uuid::parse_str(id).ok());
    let Some(id) = id else {
        return Err(Error::Internal("the job names no approval".into()));
    };
    as_extension(|own| {
        let done = match job.payload["do"].as_str() {
            Some("escalate") => escalate(own, id)?,
            _ => withdraw(own, id)?,
        };
        if !done {
            put_job(own, crate::pg::current_user(), &job.payload, in_ms(PAUSE_MS)?, None)?;
        }
        Ok(Outcome::Succeeded(json!({ "done": done })))
    })
}
