//! Writing back where runs stand: sets of rows, in the transaction that did the steps.

use super::known::unreadable;
use super::round::Entry;
use super::run::{Run, Stand, nul};
use super::steps::{self, Row};
use super::{approval, child, outside};
use crate::error::{Error, Result};
use crate::queue::Job;
use crate::queue::claim::to_uuids;
use crate::spi::Own;
use crate::task::away;
use crate::wake;
use automate_core::workflow::{State, Status, WorkflowError};
use pgrx::prelude::*;
use serde_json::json;
use std::collections::HashSet;
use uuid::Uuid;

/// The run that a job is for.
pub fn run_id(job: &Job) -> Option<Uuid> {
    job.payload["run"].as_str().and_then(|id| Uuid::parse_str(id).ok())
}

/// Writes the turns of a round: steps, runs, what they were told, and the jobs of those that stay.
/// Steps come first: whoever has done a step that is withdrawn here holds its row.
pub fn save(own: &Own, entries: &mut [Entry]) -> Result<()> {
    let checkpoints: Vec<Checkpoint> = entries.iter_mut().filter_map(Checkpoint::of).collect();
    let rows: Vec<Row> =
        entries.iter_mut().filter_map(|e| e.turn.as_mut()).flat_map(|t| t.rows.drain(..)).collect();
    save_steps(own, entries, rows)?;
    let over: Vec<Uuid> = checkpoints.iter().filter(|c| c.state.is_none()).map(|c| c.id).collect();
    let wanted = save_runs(own, checkpoints)?;
    away::ended(own, &over)?;
    child::ended(own, &over)?;
    outside::clear(own, &over)?;
    keep_signals(own, entries)?;
    let mut jobs = Jobs::default();
    for entry in entries.iter_mut() {
        settle(entry, &wanted, &mut jobs);
    }
    jobs.save(own)
}

/// The runs' rows; returns the runs that were told something meanwhile.
fn save_runs(own: &Own, checkpoints: Vec<Checkpoint>) -> Result<HashSet<Uuid>> {
    if checkpoints.is_empty() {
        return Ok(HashSet::new());
    }
    let count = checkpoints.len();
    let mut ids: Vec<Uuid> = Vec::new();
    let (mut revisions, mut deadlines) = (Vec::new(), Vec::new());
    let (mut statuses, mut states) = (Vec::new(), Vec::new());
    let (mut outputs, mut errors) = (Vec::new(), Vec::new());
    let (mut cancelling, mut heard, mut kept) = (Vec::new(), Vec::new(), Vec::new());
    let (mut todos, mut retries): (Vec<Option<String>>, Vec<Option<String>>) = Default::default();
    for checkpoint in checkpoints {
        ids.push(checkpoint.id);
        revisions.push(checkpoint.revision);
        statuses.push(checkpoint.status);
        states.push(checkpoint.state);
        outputs.push(checkpoint.output);
        errors.push(checkpoint.error);
        deadlines.push(checkpoint.deadline_us);
        cancelling.push(checkpoint.cancelling);
        heard.push(checkpoint.heard);
        kept.push(checkpoint.kept);
        retries.push(checkpoint.retry);
        todos.push(checkpoint.todo.map(|steps| json!(steps).to_string()));
    }
    let rows = own.run(
        "UPDATE automate.run AS r
         SET status = d.status, state = d.state::jsonb, output = d.output::jsonb, error = d.error::jsonb,
             revision = r.revision + 1, started_at = coalesce(r.started_at, clock_timestamp()),
             deadline = timestamptz '2000-01-01 00:00:00+00' + d.deadline * interval '1 microsecond',
             cancelling = r.cancelling OR d.cancelling, told = r.told + d.kept, heard = d.heard + d.kept,
             todo = CASE WHEN d.todo IS NOT NULL THEN ARRAY(SELECT json_array_elements_text(d.todo::json)) END,
             retry_state = d.retry::jsonb,
             finished_at = CASE WHEN d.state IS NULL THEN clock_timestamp() END
         FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
              AS d(id, revision, status, state, output, error, deadline, cancelling, heard, kept, todo, retry)
         WHERE r.id = d.id AND r.revision = d.revision
         RETURNING r.id, r.told > r.heard",
        &[
            to_uuids(&ids).into(),
            revisions.into(),
            statuses.into(),
            states.into(),
            outputs.into(),
            errors.into(),
            deadlines.into(),
            cancelling.into(),
            heard.into(),
            kept.into(),
            todos.into(),
            retries.into(),
        ],
    )?;
    if rows.len() != count {
        return Err(overtaken());
    }
    let wanted = (0..count).filter(|i| rows.get(*i, 2) == Some(true));
    let wanted = wanted.filter_map(|i| rows.get::<pgrx::Uuid>(i, 1));
    Ok(wanted.map(|id| Uuid::from_bytes(*id.as_bytes())).collect())
}

/// Nothing of this round counts: somebody else went on with one of these runs.
fn overtaken() -> Error {
    let code = PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE;
    Error::refused(code, "a run was gone on with elsewhere meanwhile")
        .with_detail("What automate.run or automate.run_step has of it is not what was read.")
        .with_hint("It is tried again by itself.")
}

/// Signals that no step wants so far are kept; what was taken goes.
fn keep_signals(own: &Own, entries: &[Entry]) -> Result<()> {
    let (mut runs, mut ids, mut texts) = (Vec::new(), Vec::new(), Vec::new());
    let (mut of, mut taken) = (Vec::new(), Vec::new());
    for entry in entries.iter().filter(|e| !e.turn.as_ref().is_none_or(|t| t.stand.is_end())) {
        let Some(turn) = &entry.turn else { continue };
        for signal in &turn.unheard {
            runs.push(entry.job.id);
            ids.push(signal.id);
            texts.push(if signal.used { "null".to_owned() } else { signal.text() });
        }
        taken.extend(turn.taken.iter().copied());
        of.resize(taken.len(), entry.job.id);
    }
    if !taken.is_empty() {
        own.run(
            "DELETE FROM automate.run_news AS n USING unnest($1, $2) AS t(run, id)
             WHERE n.run = t.run AND n.id = t.id",
            &[to_uuids(&of).into(), to_uuids(&taken).into()],
        )?;
    }
    if !ids.is_empty() {
        own.run(
            "INSERT INTO automate.run_news AS n (run, id, news, owner)
             SELECT s.run, s.id, s.news::json, r.owner
             FROM unnest($1, $2, $3) AS s(run, id, news) JOIN automate.run AS r ON r.id = s.run
             ON CONFLICT (run, id) DO UPDATE SET news = EXCLUDED.news",
            &[to_uuids(&runs).into(), to_uuids(&ids).into(), texts.into()],
        )?;
    }
    Ok(())
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
    cancelling: bool,
    heard: i64,
    /// Signals that are kept.
    kept: i64,
    todo: Option<Vec<String>>,
    /// Where it stood, for another try.
    retry: Option<String>,
}

impl Checkpoint {
    /// None when there is nothing to write. A run that cannot be stored as it is faults here.
    fn of(entry: &mut Entry) -> Option<Checkpoint> {
        if let Some((revision, error)) = entry.broken.take() {
            entry.gone = true;
            return Some(Self::end(entry.job.id, revision, Err(&error)));
        }
        let (run, turn) = (entry.run.as_mut()?, entry.turn.as_mut()?);
        let kept = i64::try_from(turn.unheard.len()).unwrap_or(i64::MAX);
        if !turn.moved && kept == 0 && turn.taken.is_empty() {
            return None;
        }
        let (id, revision, heard) = (run.id, run.revision, run.heard);
        run.revision += 1;
        run.told += kept;
        run.heard += kept;
        let text = Self::text(run, &mut turn.stand);
        let ended = match &turn.stand {
            Stand::Completed(_) => Some(Self::end(id, revision, Ok(text.clone()))),
            Stand::Faulted(error) => Some(Self::end(id, revision, Err(error))),
            Stand::Cancelled => {
                Some(Checkpoint { status: "cancelled", ..Self::end(id, revision, Ok(None)) })
            }
            _ => None,
        };
        let (deadline_us, cancelling) = (run.deadline_us, run.cancelling);
        if let Some(end) = ended {
            let stood = run.state.as_ref().is_some_and(State::may_retry);
            let retry = if stood { run.state_text().unwrap_or(None) } else { None };
            return Some(Checkpoint { deadline_us, cancelling, heard, kept, retry, ..end });
        }
        let status = match run.state.as_ref().map(|state| state.status) {
            Some(Status::Waiting) => "waiting",
            Some(Status::Suspended) => "suspended",
            _ => "running",
        };
        let (output, error, todo) = (None, None, run.todo_text());
        let state = text;
        Some(Checkpoint {
            id,
            revision,
            status,
            state,
            output,
            error,
            deadline_us,
            cancelling,
            heard,
            kept,
            todo,
            retry: None,
        })
    }

    /// The output of a run that is through, or the state of one that goes on. One that cannot be
    /// stored faults.
    fn text(run: &Run, stand: &mut Stand) -> Option<String> {
        if let Stand::Completed(output) = stand {
            let output = output.to_string();
            if !steps::has_nul(&output) {
                return Some(output);
            }
            *stand = Stand::Faulted(nul());
        } else if !stand.is_end() {
            match run.state_text() {
                Ok(Some(state)) => return Some(state),
                Ok(None) => *stand = Stand::Faulted(unreadable("it has no state")),
                Err(error) => *stand = Stand::Faulted(error),
            }
        }
        None
    }

    fn end(
        id: Uuid,
        revision: i64,
        result: std::result::Result<Option<String>, &WorkflowError>,
    ) -> Checkpoint {
        let status = if result.is_ok() { "completed" } else { "faulted" };
        let error = result.as_ref().err().map(|e| {
            let text = e.to_value().to_string();
            if steps::has_nul(&text) { text.replace("\\u0000", "\\ufffd") } else { text }
        });
        let output = result.unwrap_or(None);
        Checkpoint {
            id,
            revision,
            status,
            state: None,
            output,
            error,
            deadline_us: None,
            cancelling: false,
            heard: 0,
            kept: 0,
            todo: None,
            retry: None,
        }
    }
}

fn save_steps(own: &Own, entries: &[Entry], rows: Vec<Row>) -> Result<()> {
    let Some(owner) = entries.iter().find_map(|e| e.run.as_ref()).map(|run| run.owner) else {
        return Ok(());
    };
    if rows.is_empty() {
        return Ok(());
    }
    let count = rows.len() as u64;
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
    let saved = own.run(
        "INSERT INTO automate.run_step AS s
            (run, step, name, attempt, status, input, output, error, started_at, finished_at, owner)
         SELECT run, step, name, attempt, status, input::jsonb, output::jsonb, error::jsonb,
                timestamptz '2000-01-01 00:00:00+00' + started * interval '1 microsecond',
                timestamptz '2000-01-01 00:00:00+00' + finished * interval '1 microsecond', $11
         FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
              AS d(run, step, name, attempt, status, input, output, error, started, finished)
         ON CONFLICT (run, step, attempt) DO UPDATE
         SET status = EXCLUDED.status, input = coalesce(s.input, EXCLUDED.input), output = EXCLUDED.output, error = EXCLUDED.error,
             started_at = least(s.started_at, EXCLUDED.started_at), finished_at = EXCLUDED.finished_at
         WHERE s.status <> 'completed' OR EXCLUDED.status <> 'cancelled'",
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
    // A step that is withdrawn here has just been done: the run hears of that first.
    if saved.processed == count { Ok(()) } else { Err(overtaken()) }
}

/// Decides what becomes of the job of a run.
fn settle(entry: &mut Entry, wanted: &HashSet<Uuid>, jobs: &mut Jobs) {
    let (Some(run), Some(turn)) = (&entry.run, &entry.turn) else { return };
    let told = entry.job.payload.as_object().is_some_and(|p| p.len() > 1);
    let rests = match &turn.stand {
        stand if stand.is_end() => {
            entry.gone = true;
            return;
        }
        Stand::Resting(for_ms) if !wanted.contains(&run.id) => Some(*for_ms),
        // It is put off as it is.
        Stand::LostRace(_) => return,
        _ => None,
    };
    let suspended = run.state.as_ref().is_some_and(|s: &State| s.status == Status::Suspended);
    match rests {
        Some(_) if suspended => jobs.put(run.id, "waiting", 0),
        Some(for_ms) => {
            let for_ms = for_ms.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX));
            let left_ms = run.deadline_us.map(|d| (d - crate::pg::now()) / 1000 + 1);
            match for_ms.into_iter().chain(left_ms).min() {
                Some(ms) => jobs.put(run.id, "scheduled", ms.max(0)),
                None => jobs.put(run.id, "waiting", 0),
            }
        }
        // What was told has been taken in, and lost races are forgotten with the step.
        None if told || entry.asleep || entry.job.attempts > 0 => jobs.put(run.id, "ready", 0),
        None => {}
    }
}

/// What changes in the jobs of runs that stay.
#[derive(Default)]
struct Jobs {
    ids: Vec<Uuid>,
    statuses: Vec<&'static str>,
    waits_ms: Vec<i64>,
}

impl Jobs {
    fn put(&mut self, id: Uuid, status: &'static str, for_ms: i64) {
        self.ids.push(id);
        self.statuses.push(status);
        self.waits_ms.push(for_ms);
    }

    fn save(self, own: &Own) -> Result<()> {
        if self.ids.is_empty() {
            return Ok(());
        }
        if self.statuses.contains(&"scheduled") {
            wake::arm_coordinator();
        }
        own.run(
            "UPDATE automate.job AS j
             SET status = d.status, run_at = clock_timestamp() + d.for_ms * interval '1 millisecond',
                 payload = json_build_object('run', j.id), attempts = 0
             FROM unnest($1, $2, $3) AS d(id, status, for_ms) WHERE j.id = d.id",
            &[to_uuids(&self.ids).into(), self.statuses.into(), self.waits_ms.into()],
        )?;
        Ok(())
    }
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
        &[to_uuids(jobs).into(), error.clone().into()],
    )?;
    // So does a step that had a job of its own, or that waits for a report.
    own.run(
        "INSERT INTO automate.job (id, kind, owner, lane, payload, source, run_at, status)
         SELECT gen_random_uuid(), 'run', r.owner, 's',
                json_build_object('run', r.id, 'news', json_build_object('kind', 'failed', 'error', $2::json,
                    'step', coalesce(h.retry #>> '{payload,do}', h.retry #>> '{payload,asker,step}'))),
                'workflow:' || r.workflow, now(), 'ready'
         FROM automate.job_history AS h
         JOIN automate.run AS r ON r.finished_at IS NULL AND r.id = (CASE
                WHEN h.retry #>> '{payload,do}' IS NOT NULL THEN h.retry #>> '{payload,run}'
                ELSE h.retry #>> '{payload,asker,run}' END)::uuid
         WHERE h.id = ANY ($1) AND h.status = 'quarantined'",
        &[to_uuids(jobs).into(), error.into()],
    )?;
    child::abandon(own, jobs)?;
    approval::abandon(own, jobs)?;
    child::ended(own, jobs)?;
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
             items AS (DELETE FROM automate.run_item USING old WHERE run_item.run = old.id),
             asked AS (DELETE FROM automate.approval USING old WHERE approval.run = old.id),
             steps AS (DELETE FROM automate.run_step USING old WHERE run_step.run = old.id)
             SELECT count(*) FROM old",
            &[retention_s.into()],
        )?;
        if gone.unwrap_or(0) == 0 {
            break;
        }
        crate::pg::check_interrupts();
    }
    // That an event was taken is of no use any more when no step can look back so far.
    own.run(
        "DELETE FROM automate.run_news
         WHERE news::text = 'null' AND created_at < now() - interval '1 day'",
        &[],
    )?;
    Ok(())
}
