//! Steps that listen, and the events that are brought to them.
//!
//! Whoever emits an event for which a committed step listens puts a job in the queue, which tells
//! the runs after the commit. A step that begins to listen is put down in its turn's transaction;
//! another job looks, after that transaction, for events that came shortly before, and again as
//! long as transactions are under way that began before: their events were emitted when the step
//! could not be seen. So each event comes by one way or the other, and its id keeps it from being
//! taken twice.

use super::run::Run;
use crate::error::{Error, Result};
use crate::queue::claim::to_uuids;
use crate::queue::finish::Outcome;
use crate::queue::{Job, Lane, NewJob};
use crate::spi::own::Rows;
use crate::spi::{Own, as_extension};
use crate::{pg, wake};
use automate_core::workflow::Wanted;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use serde_json::{Value, json};
use std::collections::HashSet;
use uuid::Uuid;

/// How far back a step that begins to listen looks, in seconds.
const LOOK_BACK_S: i64 = 60;
/// Events that one look brings.
const MAX_EVENTS: i64 = 1_000;
/// Runs that are told by one statement.
const CHUNK: usize = 1_000;
/// The pause before looking again for transactions that were under way, in milliseconds: at first,
/// and at most.
const PAUSES_MS: (i64, i64) = (100, 5_000);

fn key(id: Uuid) -> pgrx::Uuid {
    pgrx::Uuid::from_bytes(*id.as_bytes())
}

/// The name that events must have to be wanted; none if it is a pattern, or any will do.
fn name(wanted: &Wanted) -> Option<&str> {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | ':' | '/');
    wanted.event_type.as_deref().filter(|name| name.chars().all(plain))
}

/// Lets a step listen from now on.
pub fn open(own: &Own, run: &Run, step: &str, wants: &[Wanted]) -> Result<()> {
    let names: Vec<Option<String>> = wants.iter().map(|w| name(w).map(str::to_owned)).collect();
    own.run(
        "INSERT INTO automate.run_listen (run, step, place, event_type, owner, since)
         SELECT r.id, $2, w.place - 1, w.name, r.owner,
                greatest(r.created_at, clock_timestamp() - $4 * interval '1 second')
         FROM automate.run AS r, unnest($3) WITH ORDINALITY AS w(name, place)
         WHERE r.id = $1
         ON CONFLICT (run, step, place) DO UPDATE
         SET event_type = EXCLUDED.event_type, since = EXCLUDED.since",
        &[key(run.id).into(), step.into(), names.into(), LOOK_BACK_S.into()],
    )?;
    let first = Look { run: run.id, step, after: None, horizon: None, pause_ms: 0 };
    first.later(own, run.owner)
}

/// Ends the listening of a step.
pub fn close(own: &Own, run: Uuid, step: &str) -> Result<()> {
    own.run(
        "DELETE FROM automate.run_listen WHERE run = $1 AND step = $2",
        &[key(run).into(), step.into()],
    )?;
    Ok(())
}

/// Ends the listening of runs that have ended.
pub fn clear(own: &Own, runs: &[Uuid]) -> Result<()> {
    own.run("DELETE FROM automate.run_listen WHERE run = ANY ($1)", &[to_uuids(runs).into()])?;
    Ok(())
}

/// A look for events that came before a step that listens could be seen.
struct Look<'a> {
    run: Uuid,
    step: &'a str,
    /// The last event of the look before, which had more than it could bring.
    after: Option<Uuid>,
    /// The first transaction that began after the step could be seen: until all before have ended,
    /// one of them may yet bring an event to light. None: this is the first look.
    horizon: Option<i64>,
    /// How long the look before has waited.
    pause_ms: i64,
}

impl Look<'_> {
    fn read(payload: &Value) -> Option<Look<'_>> {
        let id = |name: &str| payload[name].as_str().and_then(|id| Uuid::parse_str(id).ok());
        Some(Look {
            run: id("look")?,
            step: payload["step"].as_str()?,
            after: id("after"),
            horizon: payload["horizon"].as_i64(),
            pause_ms: payload["pause_ms"].as_i64().unwrap_or(0),
        })
    }

    /// Looks in a later transaction.
    fn later(&self, own: &Own, owner: pg_sys::Oid) -> Result<()> {
        let Look { run, step, after, horizon, pause_ms } = *self;
        let payload = json!({
            "look": run, "step": step, "after": after, "horizon": horizon, "pause_ms": pause_ms,
        });
        let at = pg::now().saturating_add(pause_ms.saturating_mul(1000));
        let at = TimestampWithTimeZone::try_from(at);
        let at = at.map_err(|e| Error::Internal(format!("{e:?}")))?;
        NewJob {
            run_at: (pause_ms > 0).then_some(at),
            source: Some("listen"),
            ..NewJob::new("hear", owner, Lane::Sql, &payload)
        }
        .put(own)?;
        Ok(())
    }

    /// Tells the run of the events, and looks again if there may be more.
    fn look(&self, own: &Own) -> Result<()> {
        let rows = own.run(
            "SELECT owner::oid, since, pg_snapshot_xmin(pg_current_snapshot())::text::int8,
                    pg_snapshot_xmax(pg_current_snapshot())::text::int8
             FROM automate.run_listen WHERE run = $1 AND step = $2 LIMIT 1",
            &[key(self.run).into(), self.step.into()],
        )?;
        let (Some(owner), Some(since)) =
            (rows.get::<pg_sys::Oid>(0, 1), rows.get::<TimestampWithTimeZone>(0, 2))
        else {
            return Ok(());
        };
        let (oldest, next) = (rows.get(0, 3).unwrap_or(i64::MAX), rows.get(0, 4).unwrap_or(0));
        let horizon = self.horizon.unwrap_or(next);
        let from = self.after.unwrap_or(first_id(since.into()));
        let rows = own.run(
            "SELECT DISTINCT l.run, l.owner::oid, e.id,
                    json_build_object('specversion', '1.0', 'id', e.id, 'source', coalesce(e.source, 'pg_automate'),
                        'type', e.name, 'time', e.created_at, 'data', e.payload)::text
             FROM automate.event AS e
             JOIN automate.run_listen AS l ON (l.event_type = e.name OR l.event_type IS NULL)
             WHERE l.run = $1 AND l.step = $2 AND e.id > $3 AND pg_has_role(l.owner, e.owner, 'USAGE')
             ORDER BY e.id LIMIT $4",
            &[key(self.run).into(), self.step.into(), key(from).into(), MAX_EVENTS.into()],
        )?;
        tell(own, &rows)?;
        if rows.len() as i64 == MAX_EVENTS {
            let last = rows.get::<pgrx::Uuid>(rows.len() - 1, 3);
            let after = last.map(|id| Uuid::from_bytes(*id.as_bytes()));
            return Look { after, horizon: Some(horizon), ..*self }.later(own, owner);
        }
        if oldest >= horizon {
            return Ok(());
        }
        let pause_ms = self.pause_ms.saturating_mul(2).clamp(PAUSES_MS.0, PAUSES_MS.1);
        Look { after: None, horizon: Some(horizon), pause_ms, ..*self }.later(own, owner)
    }
}

/// Has events brought to the steps that listen for them, if there are any, once the current
/// transaction has committed.
pub fn emitted(own: &Own, owner: pg_sys::Oid, event: &str, ids: &[Uuid]) -> Result<()> {
    let listens = own.run_latest(
        "SELECT EXISTS (SELECT FROM automate.run_listen WHERE event_type = $1)
             OR EXISTS (SELECT FROM automate.run_listen WHERE event_type IS NULL)",
        &[event.into()],
    )?;
    if listens.get(0, 1) != Some(true) {
        return Ok(());
    }
    for some in ids.chunks(CHUNK) {
        let payload = json!({ "events": some });
        let job = NewJob::new("hear", owner, Lane::Sql, &payload);
        NewJob { source: Some("listen"), ..job }.put(own)?;
    }
    Ok(())
}

/// Does a job of kind hear.
pub fn perform(job: &Job) -> Result<Outcome> {
    let id = |value: &Value| value.as_str().and_then(|id| Uuid::parse_str(id).ok());
    as_extension(|own| match Look::read(&job.payload) {
        Some(look) => look.look(own),
        None => {
            let events = job.payload["events"].as_array().into_iter().flatten().filter_map(id);
            bring(own, &events.collect::<Vec<Uuid>>())
        }
    })?;
    Ok(Outcome::Gone)
}

/// Tells the runs that listen for these events.
fn bring(own: &Own, events: &[Uuid]) -> Result<()> {
    let rows = own.run(
        "SELECT DISTINCT l.run, l.owner::oid, e.id,
                json_build_object('specversion', '1.0', 'id', e.id, 'source', coalesce(e.source, 'pg_automate'),
                    'type', e.name, 'time', e.created_at, 'data', e.payload)::text
         FROM automate.event AS e
         JOIN automate.run_listen AS l ON (l.event_type = e.name OR l.event_type IS NULL)
         WHERE e.id = ANY ($1) AND pg_has_role(l.owner, e.owner, 'USAGE')
         ORDER BY e.id",
        &[to_uuids(events).into()],
    )?;
    tell(own, &rows)
}

/// The first id that an event of an instant can have.
fn first_id(us: i64) -> Uuid {
    /// From 1970 to 2000, where PostgreSQL begins to count.
    const EPOCH_MS: i64 = 946_684_800_000;
    let ms = u128::try_from(us.div_euclid(1000) + EPOCH_MS).unwrap_or(0);
    Uuid::from_u128(ms << 80)
}

/// A job for each run and event.
fn tell(own: &Own, rows: &Rows) -> Result<()> {
    let (mut ids, mut owners, mut payloads) = (vec![], vec![], vec![]);
    for row in 0..rows.len() {
        let (Some(run), Some(owner)) = (rows.get::<pgrx::Uuid>(row, 1), rows.get(row, 2)) else {
            continue;
        };
        let id = rows.get::<pgrx::Uuid>(row, 3).map(|id| Uuid::from_bytes(*id.as_bytes()));
        let event: String = rows.get(row, 4).unwrap_or_default();
        let event: Value = serde_json::from_str(&event).unwrap_or_default();
        let run = Uuid::from_bytes(*run.as_bytes());
        let news = json!({ "kind": "signal", "once": true, "id": id, "event": event });
        ids.push(Uuid::now_v7());
        owners.push(owner);
        payloads.push(json!({ "run": run, "news": news }).to_string());
    }
    let owners: Vec<pg_sys::Oid> = owners;
    own.plan_by_key();
    let places: Vec<usize> = (0..ids.len()).collect();
    for some in places.chunks(CHUNK) {
        let (Some(first), Some(last)) = (some.first(), some.last()) else { continue };
        let part = *first..=*last;
        own.run(
            "INSERT INTO automate.job (id, kind, owner, lane, payload, source, run_at, status)
             SELECT id, 'run', owner, 's', payload::json, 'listen', now(), 'ready'
             FROM unnest($1, $2, $3) AS n(id, owner, payload)",
            &[
                to_uuids(ids.get(part.clone()).unwrap_or_default()).into(),
                owners.get(part.clone()).unwrap_or_default().to_vec().into(),
                payloads.get(part).unwrap_or_default().to_vec().into(),
            ],
        )?;
    }
    let roles: HashSet<u32> = owners.iter().map(|owner| owner.to_u32()).collect();
    roles.into_iter().for_each(|role| wake::arm_role(pg_sys::Oid::from(role)));
    Ok(())
}
