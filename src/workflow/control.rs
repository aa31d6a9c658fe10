//! What people do to runs: signals, stopping, going on, trying again, waiting for the end.

use super::known::{self, Known};
use super::news;
use super::run::now_ms;
use super::start::find;
use crate::error::{Error, Result};
use crate::noun::looked_for;
use crate::spi::own::Rows;
use crate::spi::{Own, as_extension};
use crate::{pg, wake};
use automate_core::workflow::{NoRetry, State};
use pgrx::prelude::*;
use serde_json::{Value, json};
use std::rc::Rc;
use uuid::Uuid;

/// Most signals that a run keeps for later.
const MAX_UNHEARD: i64 = 1_000;
/// Runs that one call tries again.
const MAX_RETRIED: i64 = 10_000;
/// The pause before waiting looks again, in seconds: at first, and at most.
const PAUSES: (f64, f64) = (0.001, 0.05);

/// A run that a user may touch.
struct Found {
    owner: pg_sys::Oid,
    status: String,
    finished: bool,
}

fn key(id: Uuid) -> pgrx::Uuid {
    pgrx::Uuid::from_bytes(*id.as_bytes())
}

fn look(own: &Own, run: Uuid, user: pg_sys::Oid) -> Result<Found> {
    let rows = own.run(
        "SELECT owner::oid, status, finished_at IS NOT NULL FROM automate.run
         WHERE id = $1 AND pg_has_role($2, owner, 'USAGE')",
        &[key(run).into(), user.into()],
    )?;
    match rows.get(0, 1) {
        Some(owner) => Ok(Found {
            owner,
            status: rows.get(0, 2).unwrap_or_default(),
            finished: rows.get(0, 3).unwrap_or(false),
        }),
        None => Err(Error::missing(format!("run {run} does not exist"))
            .with_detail(looked_for("the runs in automate.run", user))
            .with_hint("SELECT id, workflow, status FROM automate.run shows those there are.")),
    }
}

/// Tells a run that has not ended something; false when it has.
pub fn tell(run: Uuid, user: pg_sys::Oid, event: &Value) -> Result<bool> {
    as_extension(|own| {
        let found = look(own, run, user)?;
        if !found.finished {
            news::tell(own, run, found.owner, event)?;
        }
        Ok(!found.finished)
    })
}

/// An event for one run; it is kept until a step of the run wants it. Returns its id.
pub fn signal(run: Uuid, user: pg_sys::Oid, name: &str, payload: &Value) -> Result<Uuid> {
    crate::event::check_name(name)?;
    as_extension(|own| {
        let found = look(own, run, user)?;
        if found.finished {
            return Err(over(run, &found, "it hears no signals any more"));
        }
        let kept: Option<i64> = own.one(
            "SELECT count(*) FROM automate.run_news WHERE run = $1 AND news::text <> 'null'",
            &[key(run).into()],
        )?;
        if kept.unwrap_or(0) >= MAX_UNHEARD {
            let code = PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED;
            let message = format!("run {run} keeps {MAX_UNHEARD} signals that no step wants");
            return Err(Error::refused(code, message)
                .with_detail("They are in automate.run_news until a step listens for them.")
                .with_hint(
                    "Look at what its steps listen for: the name must be the type that they want.",
                ));
        }
        let id = Uuid::now_v7();
        let event = json!({
            "specversion": "1.0", "id": id, "source": "signal_run", "type": name,
            "time": pg::iso(pg::now()), "data": payload,
        });
        news::tell(own, run, found.owner, &json!({ "kind": "signal", "id": id, "event": event }))?;
        Ok(id)
    })
}

fn over(run: Uuid, found: &Found, so: &str) -> Error {
    let code = PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
    Error::refused(code, format!("run {run} has ended: {so}"))
        .with_detail(format!("Its status is {}.", found.status))
        .with_hint("SELECT status, output, error FROM automate.run WHERE id = ... shows how.")
}

/// Lets a run that faulted or was cancelled go on from the step that failed, or from an earlier
/// one of the lists that were open, with a patch merged into the step's input.
pub fn retry(
    run: Uuid,
    user: pg_sys::Oid,
    from: Option<&str>,
    patch: Option<&Value>,
) -> Result<()> {
    as_extension(|own| {
        let found = look(own, run, user)?;
        let rows = own.run(
            "SELECT workflow_id, version, retry_state::text FROM automate.run WHERE id = $1 FOR UPDATE",
            &[key(run).into()],
        )?;
        if !matches!(found.status.as_str(), "faulted" | "cancelled") {
            let code = PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
            return Err(Error::refused(code, format!("run {run} has not failed"))
                .with_detail(format!("Its status is {}.", found.status))
                .with_hint("Only runs that faulted or were cancelled are tried again."));
        }
        let (known, state) = stored(own, run, &rows)?;
        let from =
            from.map(|step| Ok::<_, Error>((step, input_of(own, run, step)?))).transpose()?;
        let tried = state.retry(&known.definition, from, patch, now_ms());
        let state = tried.map_err(|why| refused(run, why))?;
        let text = serde_json::to_string(&state).map_err(|e| Error::Internal(e.to_string()))?;
        let timeout_ms = known.definition.timeout_ms().and_then(|ms| i64::try_from(ms).ok());
        own.run(
            "UPDATE automate.run
             SET status = 'suspended', state = $2::jsonb, retry_state = NULL, error = NULL, finished_at = NULL,
                 cancelling = false, todo = NULL, revision = revision + 1,
                 deadline = clock_timestamp() + $3 * interval '1 millisecond'
             WHERE id = $1",
            &[key(run).into(), text.into(), timeout_ms.into()],
        )?;
        own.run(
            "INSERT INTO automate.job (id, kind, owner, lane, payload, source, run_at, status)
             SELECT id, 'run', owner, 's', json_build_object('run', id, 'news', json_build_object('kind', 'resumed')),
                    'workflow:' || workflow, now(), 'ready'
             FROM automate.run WHERE id = $1",
            &[key(run).into()],
        )?;
        wake::arm_role(found.owner);
        Ok(())
    })
}

/// The definition of a run and the state in which it ended.
fn stored(own: &Own, run: Uuid, rows: &Rows) -> Result<(Rc<Known>, State)> {
    let workflow: pgrx::Uuid = rows.get(0, 1).unwrap_or(key(Uuid::nil()));
    let version = rows.get(0, 2).unwrap_or(0);
    let known = known::known(own, Uuid::from_bytes(*workflow.as_bytes()), version)?;
    let known = known.map_err(|error| {
        let code = PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
        Error::refused(code, format!("run {run} cannot be tried again"))
            .with_detail(error.detail.unwrap_or_default())
            .with_hint("Start a new run.")
    })?;
    let text: Option<String> = rows.get(0, 3);
    let text = text.ok_or_else(|| refused(run, NoRetry::NotKept))?;
    let state = serde_json::from_str(&text).map_err(|e| Error::Internal(e.to_string()))?;
    Ok((known, state))
}

fn refused(run: Uuid, why: NoRetry) -> Error {
    let code = PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
    let error = Error::refused(code, format!("run {run} cannot be tried again"));
    match why {
        NoRetry::NotKept => error
            .with_detail("It was ended before its first step, or what it had done was undone.")
            .with_hint("Start a new run with automate.execute_workflow."),
        NoRetry::NoSuchStep => error
            .with_detail(
                "from_step is none of the steps up to the failed one, in the lists that were open.",
            )
            .with_hint(
                "SELECT name, step, status FROM automate.run_step WHERE run = ... shows its steps.",
            ),
    }
}

/// What a step had as input when it was last done.
fn input_of(own: &Own, run: Uuid, step: &str) -> Result<Value> {
    let input: Option<String> = own.one(
        "SELECT input::text FROM automate.run_step
         WHERE run = $1 AND (name = $2 OR step = $2) AND status <> 'skipped'
         ORDER BY started_at DESC, attempt DESC LIMIT 1",
        &[key(run).into(), step.into()],
    )?;
    let input = input.ok_or_else(|| refused(run, NoRetry::NoSuchStep))?;
    let input: Value = serde_json::from_str(&input).map_err(|e| Error::Internal(e.to_string()))?;
    if input["truncated"] == Value::Bool(true) && input.get("bytes").is_some() {
        return Err(refused(run, NoRetry::NotKept)
            .with_detail("The input of that step was too large to be kept.")
            .with_hint("Leave from_step out: the failed step keeps its input."));
    }
    Ok(input)
}

/// Tries the faulted runs of a workflow again, all or those of an error type (its last segment
/// will do); returns how many.
pub fn retry_all(user: pg_sys::Oid, workflow: &str, error_type: Option<&str>) -> Result<i64> {
    let ids: Vec<Uuid> = as_extension(|own| {
        let found = find(own, user, workflow)?;
        let rows = own.run(
            "SELECT id FROM automate.run
             WHERE workflow_id = $1 AND status = 'faulted' AND retry_state IS NOT NULL
               AND ($2 IS NULL OR error ->> 'type' = $2 OR error ->> 'type' LIKE '%/' || $2)
             ORDER BY id LIMIT $3",
            &[key(found.id).into(), error_type.into(), MAX_RETRIED.into()],
        )?;
        let ids = (0..rows.len()).filter_map(|row| rows.get::<pgrx::Uuid>(row, 1));
        Ok(ids.map(|id| Uuid::from_bytes(*id.as_bytes())).collect())
    })?;
    ids.iter().try_for_each(|id| retry(*id, user, None, None))?;
    Ok(i64::try_from(ids.len()).unwrap_or(i64::MAX))
}

/// Waits for the end of a run: `{"status", "output", "error"}`.
pub fn wait(run: Uuid, user: pg_sys::Oid, timeout_ms: i32) -> Result<Value> {
    // SAFETY: reads a process-local variable.
    if unsafe { pg_sys::XactIsoLevel } >= pg_sys::XACT_REPEATABLE_READ as i32 {
        return Err(blind(run, "The transaction sees the database as it was when it began.")
            .with_hint("Wait in a transaction with the isolation level READ COMMITTED."));
    }
    let end = pg::now() + i64::from(timeout_ms) * 1000;
    let mut pause_s = PAUSES.0;
    loop {
        let ended = as_extension(|own| {
            look(own, run, user)?;
            let rows = own.run(
                "SELECT json_build_object('status', status, 'output', output, 'error', error)::text,
                        finished_at IS NOT NULL, created_at = now()
                 FROM automate.run WHERE id = $1",
                &[key(run).into()],
            )?;
            if rows.get(0, 2) == Some(true) {
                return Ok(rows.get::<String>(0, 1));
            }
            if rows.get(0, 3) == Some(true) {
                return Err(blind(run, "It starts when this transaction commits, not before.")
                    .with_hint("COMMIT first, then wait."));
            }
            Ok(None)
        })?;
        if let Some(text) = ended {
            return serde_json::from_str(&text).map_err(|e| Error::Internal(e.to_string()));
        }
        if pg::now() >= end {
            let code = PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE;
            return Err(Error::refused(
                code,
                format!("run {run} has not ended within the timeout"),
            )
            .with_detail(format!("It was waited for {timeout_ms} ms; the run goes on."))
            .with_hint("Wait again with a longer timeout, or look at automate.run_step."));
        }
        as_extension(|own| own.run("SELECT pg_sleep($1)", &[pause_s.into()]).map(|_| ()))?;
        pause_s = (pause_s * 1.5).min(PAUSES.1);
    }
}

fn blind(run: Uuid, detail: &str) -> Error {
    let code = PgSqlErrorCode::ERRCODE_INVALID_TRANSACTION_STATE;
    Error::refused(code, format!("this transaction cannot see run {run} end")).with_detail(detail)
}
