//! Writing back where runs stand: sets of rows, in the transaction that did the steps.

use super::known::unreadable;
use super::round::Entry;
use super::run::{Run, Stand, nul};
use super::steps::{self, Row};
use crate::error::{Error, Result};
use crate::queue::claim::to_uuids;
use crate::queue::{Lane, NewJob};
use crate::spi::Own;
use crate::task::away;
use crate::wake;
use automate_core::workflow::{Command, HttpOutput, WorkflowError};
use pgrx::prelude::*;
use serde_json::json;
use std::collections::HashSet;
use uuid::Uuid;

/// Longest wait of a network step without a timeout of its own, in milliseconds.
const HTTP_TIMEOUT_MS: u64 = 30_000;

/// Writes the turns of a round: runs, steps, and the jobs of the runs that stay.
pub fn save(own: &Own, entries: &mut [Entry]) -> Result<()> {
    let (cancelling, over) = save_runs(own, entries)?;
    away::ended(own, &over)?;
    let rows: Vec<Row> =
        entries.iter_mut().filter_map(|e| e.turn.as_mut()).flat_map(|t| t.rows.drain(..)).collect();
    save_steps(own, entries, rows)?;
    let mut jobs = Jobs::default();
    for entry in entries.iter_mut() {
        settle(own, entry, &cancelling, &mut jobs)?;
    }
    jobs.save(own)
}

/// The runs' rows; returns the runs that somebody wants cancelled, and those that have ended.
fn save_runs(own: &Own, entries: &mut [Entry]) -> Result<(HashSet<Uuid>, Vec<Uuid>)> {
    let mut ids: Vec<Uuid> = Vec::new();
    let (mut revisions, mut deadlines) = (Vec::new(), Vec::new());
    let (mut statuses, mut states) = (Vec::new(), Vec::new());
    let (mut outputs, mut errors) = (Vec::new(), Vec::new());
    let mut over = Vec::new();
    for entry in entries.iter_mut() {
        let Some(checkpoint) = Checkpoint::of(entry) else { continue };
        over.extend(checkpoint.state.is_none().then_some(checkpoint.id));
        ids.push(checkpoint.id);
        revisions.push(checkpoint.revision);
        statuses.push(checkpoint.status);
        states.push(checkpoint.state);
        outputs.push(checkpoint.output);
        errors.push(checkpoint.error);
        deadlines.push(checkpoint.deadline_us);
    }
    if ids.is_empty() {
        return Ok((HashSet::new(), over));
    }
    let count = ids.len();
    let rows = own.run(
        "UPDATE automate.run AS r
         SET status = d.status, state = d.state::jsonb, output = d.output::jsonb, error = d.error::jsonb,
             revision = r.revision + 1, started_at = coalesce(r.started_at, clock_timestamp()),
             deadline = timestamptz '2000-01-01 00:00:00+00' + d.deadline * interval '1 microsecond',
             finished_at = CASE WHEN d.state IS NULL THEN clock_timestamp() END
         FROM unnest($1, $2, $3, $4, $5, $6, $7) AS d(id, revision, status, state, output, error, deadline)
         WHERE r.id = d.id AND r.revision = d.revision
         RETURNING r.id, r.cancelling",
        &[
            to_uuids(&ids).into(),
            revisions.into(),
            statuses.into(),
            states.into(),
            outputs.into(),
            errors.into(),
            deadlines.into(),
        ],
    )?;
    if rows.len() != count {
        // Nothing of this round counts: somebody else went on with one of these runs.
        let code = PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE;
        return Err(Error::refused(code, "a run was gone on with elsewhere meanwhile")
            .with_detail("Its revision in automate.run is not the one that was read.")
            .with_hint("It is tried again by itself."));
    }
    let wanted = (0..count).filter(|i| rows.get(*i, 2) == Some(true));
    let wanted = wanted.filter_map(|i| rows.get::<pgrx::Uuid>(i, 1));
    Ok((wanted.map(|id| Uuid::from_bytes(*id.as_bytes())).collect(), over))
}

/// What the row of a run becomes. No state: it has ended.
struct Checkpoint {
    id: Uuid,
    revision: i64,
    status: &'static str,
    state: Option<String>,
    output: Option<String>,
    error: Option<String>,
    deadline_us: Option<i64>,
}

impl Checkpoint {
    /// None when there is nothing to write. A run that cannot be stored as it is faults here.
    fn of(entry: &mut Entry) -> Option<Checkpoint> {
        if let Some((revision, error)) = entry.broken.take() {
            entry.gone = true;
            return Some(Self::end(entry.job.id, revision, Err(&error), None));
        }
        let (run, turn) = (entry.run.as_mut()?, entry.turn.as_mut()?);
        if !turn.moved {
            return None;
        }
        let (id, revision, deadline) = (run.id, run.revision, run.deadline_us);
        run.revision += 1;
        let mut text = None;
        if let Stand::Completed(output) = &turn.stand {
            let output = output.to_string();
            match steps::has_nul(&output) {
                true => turn.stand = Stand::Faulted(nul()),
                false => text = Some(output),
            }
        } else if !turn.stand.is_end() {
            match run.state_text() {
                Ok(Some(state)) => text = Some(state),
                Ok(None) => turn.stand = Stand::Faulted(unreadable("it has no state")),
                Err(error) => turn.stand = Stand::Faulted(error),
            }
        }
        Some(match &turn.stand {
            Stand::Completed(_) => Self::end(id, revision, Ok(text), deadline),
            Stand::Faulted(error) => Self::end(id, revision, Err(error), deadline),
            Stand::Cancelled => {
                Checkpoint { status: "cancelled", ..Self::end(id, revision, Ok(None), deadline) }
            }
            stand => Checkpoint {
                id,
                revision,
                status: if matches!(stand, Stand::Waiting(..)) { "waiting" } else { "running" },
                state: text,
                output: None,
                error: None,
                deadline_us: deadline,
            },
        })
    }

    fn end(
        id: Uuid,
        revision: i64,
        result: std::result::Result<Option<String>, &WorkflowError>,
        deadline_us: Option<i64>,
    ) -> Checkpoint {
        let status = if result.is_ok() { "completed" } else { "faulted" };
        let error = result.as_ref().err().map(|e| {
            let text = e.to_value().to_string();
            if steps::has_nul(&text) { text.replace("\\u0000", "\\ufffd") } else { text }
        });
        let output = result.unwrap_or(None);
        Checkpoint { id, revision, status, state: None, output, error, deadline_us }
    }
}

fn save_steps(own: &Own, entries: &[Entry], rows: Vec<Row>) -> Result<()> {
    let Some(owner) = entries.iter().find_map(|e| e.run.as_ref()).map(|run| run.owner) else {
        return Ok(());
    };
    if rows.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = rows.iter().map(|r| r.run).collect();
    let attempts: Vec<i32> = rows.iter().map(|r| r.attempt).collect();
    let statuses: Vec<&str> = rows.iter().map(|r| r.status).collect();
    let started: Vec<i64> = rows.iter().map(|r| r.started_us).collect();
    let finished: Vec<Option<i64>> = rows.iter().map(|r| r.finished_us).collect();
    let (mut paths, mut names) = (Vec::new(), Vec::new());
    let (mut inputs, mut outputs, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    for row in rows {
        paths.push(row.step);
        names.push(row.name);
        inputs.push(row.input);
        outputs.push(row.output);
        errors.push(row.error);
    }
    own.run(
        "INSERT INTO automate.run_step AS s
            (run, step, name, attempt, status, input, output, error, started_at, finished_at, owner)
         SELECT run, step, name, attempt, status, input::jsonb, output::jsonb, error::jsonb,
                timestamptz '2000-01-01 00:00:00+00' + started * interval '1 microsecond',
                timestamptz '2000-01-01 00:00:00+00' + finished * interval '1 microsecond', $11
         FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
              AS d(run, step, name, attempt, status, input, output, error, started, finished)
         ON CONFLICT (run, step, attempt) DO UPDATE
         SET status = EXCLUDED.status, output = EXCLUDED.output, error = EXCLUDED.error,
             started_at = least(s.started_at, EXCLUDED.started_at), finished_at = EXCLUDED.finished_at",
        &[
            to_uuids(&ids).into(),
            paths.into(),
            names.into(),
            attempts.into(),
            statuses.into(),
            inputs.into(),
            outputs.into(),
            errors.into(),
            started.into(),
            finished.into(),
            owner.into(),
        ],
    )?;
    Ok(())
}

/// What changes in the jobs of runs that stay.
#[derive(Default)]
struct Jobs {
    ids: Vec<Uuid>,
    waits_ms: Vec<i64>,
    payloads: Vec<String>,
}

/// Decides what becomes of the job of a run.
fn settle(own: &Own, entry: &mut Entry, cancelling: &HashSet<Uuid>, jobs: &mut Jobs) -> Result<()> {
    let (Some(run), Some(turn)) = (&entry.run, &entry.turn) else { return Ok(()) };
    let told = entry.job.payload.as_object().is_some_and(|p| p.len() > 1);
    let wanted = cancelling.contains(&run.id);
    let plain = || json!({ "run": run.id }).to_string();
    match &turn.stand {
        stand if stand.is_end() => {
            entry.gone = true;
            if run.cancelling {
                forget_request(own, run)?;
            }
        }
        Stand::Waiting(step, for_ms) if !wanted => {
            let for_ms = i64::try_from(*for_ms).unwrap_or(i64::MAX);
            let left_ms = run.deadline_us.map(|d| (d - crate::pg::now()) / 1000 + 1);
            let for_ms = for_ms.min(left_ms.unwrap_or(i64::MAX)).max(0);
            jobs.put(run.id, for_ms, json!({ "run": run.id, "timer": step }).to_string());
        }
        Stand::Away(command) => {
            request(own, run, command)?;
            entry.gone = !wanted;
            if wanted {
                jobs.put(run.id, -1, plain());
            }
        }
        Stand::LostRace(_) if !told => {}
        // What was told has been taken in, and lost races are forgotten with the step.
        _ if told || entry.job.attempts > 0 => jobs.put(run.id, -1, plain()),
        _ => {}
    }
    Ok(())
}

impl Jobs {
    /// `for_ms` below zero: at once.
    fn put(&mut self, id: Uuid, for_ms: i64, payload: String) {
        self.ids.push(id);
        self.waits_ms.push(for_ms);
        self.payloads.push(payload);
    }

    fn save(self, own: &Own) -> Result<()> {
        if self.ids.is_empty() {
            return Ok(());
        }
        if self.waits_ms.iter().any(|ms| *ms >= 0) {
            wake::arm_coordinator();
        }
        own.run(
            "UPDATE automate.job AS j
             SET status = CASE WHEN d.for_ms < 0 THEN 'ready' ELSE 'scheduled' END,
                 run_at = clock_timestamp() + greatest(d.for_ms, 0) * interval '1 millisecond',
                 payload = d.payload::jsonb, attempts = 0
             FROM unnest($1, $2, $3) AS d(id, for_ms, payload) WHERE j.id = d.id",
            &[to_uuids(&self.ids).into(), self.waits_ms.into(), self.payloads.into()],
        )?;
        Ok(())
    }
}

/// Hands a request to the courier.
fn request(own: &Own, run: &Run, command: &Command) -> Result<()> {
    let Command::Http {
        step, attempt, method, url, headers, query, body, timeout_ms, output, ..
    } = command
    else {
        return Ok(());
    };
    let output = match output {
        HttpOutput::Content => "content",
        HttpOutput::Response => "response",
        HttpOutput::Raw => "raw",
    };
    let mut payload = json!({
        "run": run.id,
        "step": step,
        "attempt": attempt,
        "method": method,
        "url": url,
        "headers": headers,
        "query": query,
        "body": body,
        "timeout_ms": timeout_ms.unwrap_or(HTTP_TIMEOUT_MS),
        "output": output,
        "idempotency_key": format!("{}:{step}", run.id),
    });
    if let Some(traceparent) = &run.traceparent {
        payload["trace"] = json!({ "traceparent": traceparent });
    }
    let (key, source) = (request_key(run.id), run.source());
    NewJob {
        dedupe_key: Some(&key),
        source: Some(&source),
        ..NewJob::new("http", run.owner, Lane::Network, &payload)
    }
    .put(own)?;
    Ok(())
}

/// At most one request of a run is under way.
fn request_key(run: Uuid) -> String {
    format!("run:{run}")
}

/// The request of a cancelled run is not sent any more, unless the courier has it already.
fn forget_request(own: &Own, run: &Run) -> Result<()> {
    own.run(
        "DELETE FROM automate.job WHERE id IN (
            SELECT id FROM automate.job
            WHERE owner = $1 AND dedupe_key = $2 AND kind = 'http' AND status <> 'running'
            FOR UPDATE SKIP LOCKED)",
        &[run.owner.into(), request_key(run.id).into()],
    )?;
    Ok(())
}

/// Faults the runs whose jobs have been given up because the server crashed under them.
pub fn fault_quarantined(own: &Own, jobs: &[Uuid]) -> Result<()> {
    let detail = "XX000: the server crashed three times while a step of the run was being done";
    let error = WorkflowError::standard("runtime", "Quarantined", detail).to_value().to_string();
    own.run(
        "UPDATE automate.run AS r
         SET status = 'faulted', error = $2::jsonb, state = NULL, revision = revision + 1,
             finished_at = clock_timestamp()
         WHERE id = ANY ($1) AND finished_at IS NULL
           AND NOT EXISTS (SELECT FROM automate.job AS j WHERE j.id = r.id)",
        &[to_uuids(jobs).into(), error.into()],
    )?;
    away::ended(own, jobs)
}

/// Deletes runs that ended longer ago than the retention, some thousands at a time.
pub fn forget_old(own: &Own, retention_s: i64) -> Result<()> {
    loop {
        let gone: Option<i64> = own.one(
            "WITH old AS (
                DELETE FROM automate.run WHERE id IN (
                    SELECT id FROM automate.run
                    WHERE finished_at < now() - $1 * interval '1 second' LIMIT 5000)
                RETURNING id),
             steps AS (DELETE FROM automate.run_step USING old WHERE run_step.run = old.id)
             SELECT count(*) FROM old",
            &[retention_s.into()],
        )?;
        if gone.unwrap_or(0) == 0 {
            return Ok(());
        }
        crate::pg::check_interrupts();
    }
}
