//! Runs from their rows.

use super::known::{self, unreadable};
use super::run::Run;
use crate::error::Result;
use crate::spi::Own;
use crate::spi::own::Rows;
use automate_core::workflow::{Runtime, WorkflowError};
use pgrx::prelude::*;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use uuid::Uuid;

/// Most bytes of stored inputs and states that one round reads; the first run always fits.
const MAX_BYTES: i64 = 8 << 20;

/// What loading a run gave.
pub enum Loaded {
    Run(Box<Run>),
    /// The row is there, but cannot be gone on with: its revision, and what to fault with.
    Broken(i64, WorkflowError),
    /// There is nothing to be done.
    Ended,
    /// Not this time: the others are large enough.
    Later,
}

/// The runs of `ids`, in that order; what `cache` holds is used where it is still true.
pub fn load(own: &Own, ids: &[Uuid], cache: &mut HashMap<Uuid, Run>) -> Result<Vec<Loaded>> {
    let keys: Vec<pgrx::Uuid> = crate::queue::claim::to_uuids(ids);
    let revisions: Vec<i64> =
        ids.iter().map(|id| cache.get(id).map_or(-1, |run| run.revision)).collect();
    let rows = own.run(
        "SELECT fits, revision, finished, cancelling,
                CASE WHEN fits AND NOT cached THEN workflow END,
                CASE WHEN fits AND NOT cached THEN version END,
                CASE WHEN fits AND NOT cached THEN workflow_id END,
                CASE WHEN fits AND NOT cached THEN owner END,
                CASE WHEN fits AND NOT cached AND state IS NULL THEN input::text END,
                CASE WHEN fits AND NOT cached THEN state::text END,
                CASE WHEN NOT cached THEN to_char(started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') END,
                (extract(epoch FROM deadline - timestamptz '2000-01-01 00:00:00+00') * 1000000)::int8, depth,
                CASE WHEN NOT cached THEN traceparent END, told, heard,
                CASE WHEN NOT cached THEN todo END
         FROM (
            SELECT k.at, r.revision, r.finished_at IS NOT NULL AS finished, r.cancelling,
                   r.workflow, r.version, r.workflow_id, r.owner::oid AS owner, r.input, r.state,
                   r.started_at, r.deadline, r.depth, r.traceparent, r.told, r.heard, r.todo, r.revision = k.revision AS cached,
                   k.at = 1 OR sum(CASE WHEN r.revision = k.revision THEN 0
                           ELSE pg_column_size(r.input) + coalesce(pg_column_size(r.state), 0) END)
                       OVER (ORDER BY k.at) <= $3 AS fits
            FROM unnest($1, $2) WITH ORDINALITY AS k(id, revision, at)
            LEFT JOIN automate.run AS r ON r.id = k.id) AS r
         ORDER BY at",
        &[keys.into(), revisions.into(), MAX_BYTES.into()],
    )?;
    (0..ids.len()).map(|i| one(own, &rows, i, ids[i], cache)).collect()
}

fn one(
    own: &Own,
    rows: &Rows,
    i: usize,
    id: Uuid,
    cache: &mut HashMap<Uuid, Run>,
) -> Result<Loaded> {
    let cached = cache.remove(&id);
    let Some(revision) = rows.get::<i64>(i, 2) else { return Ok(Loaded::Ended) };
    if rows.get(i, 3) == Some(true) {
        return Ok(Loaded::Ended);
    }
    let cancelling = rows.get(i, 4).unwrap_or(false);
    let (told, heard) = (rows.get(i, 15).unwrap_or(0), rows.get(i, 16).unwrap_or(0));
    if let Some(mut run) = cached.filter(|run| run.revision == revision) {
        run.cancelling = cancelling;
        (run.told, run.heard) = (told, heard);
        return Ok(Loaded::Run(Box::new(run)));
    }
    if rows.get(i, 1) != Some(true) {
        return Ok(Loaded::Later);
    }
    let (workflow_id, version) =
        (rows.get::<pgrx::Uuid>(i, 7), rows.get::<i32>(i, 6).unwrap_or_default());
    let workflow_id = workflow_id.map_or(Uuid::nil(), |id| Uuid::from_bytes(*id.as_bytes()));
    let known = match known::known(own, workflow_id, version)? {
        Ok(known) => known,
        Err(error) => return Ok(Loaded::Broken(revision, error)),
    };
    let (input, state) = match (json(rows, i, 9), json(rows, i, 10)) {
        (Ok(input), Ok(state)) => (input, state),
        (Err(error), _) | (_, Err(error)) => return Ok(Loaded::Broken(revision, error)),
    };
    let started: Option<String> = rows.get(i, 11);
    let runtime = Runtime {
        run_id: id.to_string(),
        workflow: rows.get(i, 5).unwrap_or_default(),
        namespace: known.namespace.clone(),
        version,
        started_at: started.unwrap_or_else(now_text),
    };
    Ok(Loaded::Run(Box::new(Run {
        id,
        revision,
        cancelling,
        told,
        heard,
        deadline_us: rows.get(i, 12),
        traceparent: rows.get(i, 14),
        owner: rows.get(i, 8).unwrap_or(pg_sys::InvalidOid),
        workflow: workflow_id,
        depth: rows.get(i, 13).unwrap_or(0),
        known,
        runtime,
        input,
        state,
        todo: None,
        named: rows.get(i, 17),
    })))
}

/// What a column of JSON text holds.
fn json<T: DeserializeOwned>(
    rows: &Rows,
    row: usize,
    column: usize,
) -> std::result::Result<Option<T>, WorkflowError> {
    let text: Option<String> = rows.get(row, column);
    text.map(|text| serde_json::from_str(&text))
        .transpose()
        .map_err(|e| unreadable(&format!("what is stored of it cannot be read: {e}")))
}

/// The instant now as RFC 3339.
pub fn now_text() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
}
