//! Starting and cancelling runs, in the caller's transaction.

use crate::error::{Error, Result};
use crate::event::trace;
use crate::noun::{WORKFLOW, looked_for};
use crate::queue::claim::to_uuids;
use crate::queue::{Lane, NewJob};
use crate::rule::cause;
use crate::spi::own::Rows;
use crate::spi::{Own, as_extension};
use crate::wake;
use pgrx::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

/// What is to be started.
pub struct Start<'a> {
    /// Who starts it: the workflow is looked for among its own, then among those of roles whose
    /// privileges it has.
    pub owner: pg_sys::Oid,
    pub name: &'a str,
    pub input: &'a Value,
    pub version: Option<i32>,
    pub idempotency_key: Option<&'a str>,
    pub source: Option<&'a str>,
}

/// A workflow by its name.
pub(super) struct Found {
    pub id: Uuid,
    pub owner: pg_sys::Oid,
    pub status: String,
    pub version: i32,
    /// The version that a part of the new runs takes.
    pub canary: Option<i32>,
}

/// The step that starts a run.
pub(super) struct Parent<'a> {
    pub run: Uuid,
    pub step: &'a str,
    /// The attempt that waits for the end of the run; none: it does not.
    pub attempt: Option<i32>,
    pub nesting: i32,
    pub traceparent: Option<&'a str>,
}

/// Starts a run in the current transaction; returns its id.
pub fn start(start: &Start) -> Result<Uuid> {
    as_extension(|own| start_own(own, start, None))
}

pub(super) fn start_own(own: &Own, start: &Start, parent: Option<&Parent>) -> Result<Uuid> {
    let found = find(own, start.owner, start.name)?;
    require_active(&found, start.name)?;
    let id = Uuid::now_v7();
    let version = match start.version {
        Some(version) => version,
        None => choose(own, &found, start.idempotency_key.unwrap_or(&id.to_string()))?,
    };
    let workflow = pgrx::Uuid::from_bytes(*found.id.as_bytes());
    if start.version.is_some() {
        check_version(own, start.name, workflow, version)?;
    }
    let traceparent = parent.and_then(|p| p.traceparent.map(str::to_owned)).or_else(trace::current);
    let put = own.run(
        "WITH r AS (
            INSERT INTO automate.run (id, workflow, version, input, owner, workflow_id, source, idempotency_key, depth, traceparent,
                parent, parent_step, parent_attempt, nesting)
            VALUES ($1, $2, $3, $4::jsonb, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
            ON CONFLICT (workflow_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
            RETURNING id)
         INSERT INTO automate.job (id, kind, owner, lane, payload, source, run_at, status)
         SELECT id, 'run', $5, 's', jsonb_build_object('run', id), 'workflow:' || $2, now(), 'ready' FROM r",
        &[
            pgrx::Uuid::from_bytes(*id.as_bytes()).into(),
            start.name.into(),
            version.into(),
            start.input.to_string().into(),
            found.owner.into(),
            workflow.into(),
            start.source.into(),
            start.idempotency_key.into(),
            cause::depth().into(),
            traceparent.into(),
            parent.map(|p| pgrx::Uuid::from_bytes(*p.run.as_bytes())).into(),
            parent.map(|p| p.step).into(),
            parent.and_then(|p| p.attempt).into(),
            parent.map_or(0, |p| p.nesting).into(),
        ],
    )?;
    if put.processed == 1 {
        wake::arm_role(found.owner);
        return Ok(id);
    }
    let earlier: Option<pgrx::Uuid> = own.one(
        "SELECT id FROM automate.run WHERE workflow_id = $1 AND idempotency_key = $2",
        &[workflow.into(), start.idempotency_key.into()],
    )?;
    earlier.map(|id| Uuid::from_bytes(*id.as_bytes())).ok_or_else(|| {
        Error::refused(
            PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE,
            "the run with this idempotency_key is not to be seen in this transaction",
        )
        .with_detail("The snapshot of this transaction is older than the run.")
        .with_hint("Another session has just started it: try again in a new transaction.")
    })
}

fn require_active(found: &Found, name: &str) -> Result<()> {
    if found.status == "active" {
        return Ok(());
    }
    Err(Error::refused(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("workflow \"{name}\" is disabled"),
    )
    .with_detail("It starts no runs while its status in automate.workflow is so.")
    .with_hint("SELECT automate.enable_workflow(...) lets it start runs again."))
}

/// The version that a new run takes. Its key decides where a part of the runs tries another one, so
/// that the same start always takes the same.
fn choose(own: &Own, found: &Found, key: &str) -> Result<i32> {
    let Some(canary) = found.canary else { return Ok(found.version) };
    let hit: Option<bool> = own.one(
        "SELECT (hashtextextended($2, 0) & 1048575) < canary_share * 1048576
         FROM automate.workflow WHERE id = $1",
        &[pgrx::Uuid::from_bytes(*found.id.as_bytes()).into(), key.into()],
    )?;
    Ok(if hit == Some(true) { canary } else { found.version })
}

pub(super) fn check_version(
    own: &Own,
    name: &str,
    workflow: pgrx::Uuid,
    version: i32,
) -> Result<()> {
    let known: Option<bool> = own.one(
        "SELECT true FROM automate.workflow_version WHERE workflow = $1 AND version = $2",
        &[workflow.into(), version.into()],
    )?;
    if known.is_some() {
        return Ok(());
    }
    let newest: Option<i32> = own.one(
        "SELECT max(version) FROM automate.workflow_version WHERE workflow = $1",
        &[workflow.into()],
    )?;
    Err(Error::missing(format!("workflow \"{name}\" has no version {version}"))
        .with_detail(format!("Its versions are 1 to {}.", newest.unwrap_or(1)))
        .with_hint("Leave version out for the current one."))
}

/// The workflow that a role means by a name: its own, or else one of a role whose privileges it has.
pub(super) fn find(own: &Own, role: pg_sys::Oid, name: &str) -> Result<Found> {
    let mine = own.run(
        "SELECT id, owner::oid, status, version, canary_version FROM automate.workflow WHERE owner = $1 AND name = $2",
        &[role.into(), name.into()],
    )?;
    if let Some(found) = read(&mine) {
        return Ok(found);
    }
    let others = own.run(
        "SELECT id, owner::oid, status, version, canary_version FROM automate.workflow
         WHERE name = $2 AND pg_has_role($1, owner, 'USAGE') LIMIT 2",
        &[role.into(), name.into()],
    )?;
    if others.len() > 1 {
        return Err(Error::refused(
            PgSqlErrorCode::ERRCODE_AMBIGUOUS_ALIAS,
            format!("workflow \"{name}\" is ambiguous: several roles own one of that name"),
        )
        .with_detail(looked_for("the workflows", role))
        .with_hint("SET ROLE to the owner of the one you mean."));
    }
    match read(&others) {
        Some(found) => Ok(found),
        None => Err(WORKFLOW.missing(own, role, name)),
    }
}

fn read(rows: &Rows) -> Option<Found> {
    Some(Found {
        id: Uuid::from_bytes(*rows.get::<pgrx::Uuid>(0, 1)?.as_bytes()),
        owner: rows.get(0, 2)?,
        status: rows.get(0, 3)?,
        version: rows.get(0, 4)?,
        canary: rows.get(0, 5),
    })
}

/// Asks those of the runs to end that go on and were not asked before.
pub fn ask_to_cancel(own: &Own, runs: &[Uuid]) -> Result<()> {
    let rows = own.run(
        "SELECT id, owner::oid FROM automate.run WHERE id = ANY ($1) AND finished_at IS NULL AND NOT cancelling",
        &[to_uuids(runs).into()],
    )?;
    for row in 0..rows.len() {
        if let (Some(id), Some(owner)) = (rows.get::<pgrx::Uuid>(row, 1), rows.get(row, 2)) {
            put_ask(own, Uuid::from_bytes(*id.as_bytes()), owner)?;
        }
    }
    Ok(())
}

/// Queues the request that a run end.
fn put_ask(own: &Own, run: Uuid, owner: pg_sys::Oid) -> Result<Uuid> {
    let payload = json!({ "run": run, "news": { "kind": "cancelled", "compensate": false } });
    let key = format!("cancel:{run}");
    let job = NewJob {
        priority: 0,
        dedupe_key: Some(&key),
        source: Some("cancel_run"),
        ..NewJob::new("run", owner, Lane::Sql, &payload)
    };
    job.put(own)
}

/// Brings a run the courier's answer to the request of a step, in the current transaction:
/// `{"ok": {status, headers, body_text, truncated}}` or
/// `{"error": {status, title, detail, class, body_text}}`. A run that has ended does not hear it.
pub fn resume(
    own: &Own,
    run: Uuid,
    step: &str,
    attempt: Option<u64>,
    answer: &Value,
) -> Result<()> {
    let news = json!({ "kind": "answer", "step": step, "attempt": attempt, "answer": answer });
    let news = news.to_string();
    // PostgreSQL cannot store the character NUL.
    let news = match super::steps::has_nul(&news) {
        true => news.replace("\\u0000", "\\ufffd"),
        false => news,
    };
    let rows = own.run(
        "INSERT INTO automate.job (id, kind, owner, lane, payload, source, run_at, status)
         SELECT $3, 'run', owner, 's', json_build_object('run', id, 'news', $2::json), 'workflow:' || workflow, now(), 'ready'
         FROM automate.run WHERE id = $1 AND finished_at IS NULL RETURNING owner::oid",
        &[
            pgrx::Uuid::from_bytes(*run.as_bytes()).into(),
            news.into(),
            pgrx::Uuid::from_bytes(*Uuid::now_v7().as_bytes()).into(),
        ],
    )?;
    if let Some(owner) = rows.get::<pg_sys::Oid>(0, 1) {
        wake::arm_role(owner);
    }
    Ok(())
}
