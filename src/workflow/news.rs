//! What a run is told by others: answers, events, decisions, the wish that it end.
//!
//! Whoever has news puts a job in the queue and locks nothing, so that no open transaction holds
//! up a run. The executor that takes the job takes the run's turn with it. If another executor has
//! the run just then, the news is put down in `automate.run_news`, and the run's count `told`
//! makes the other look again.

use super::save::run_id;
use crate::error::Result;
use crate::queue::claim::to_uuids;
use crate::queue::{Job, Lane, NewJob};
use crate::spi::Own;
use automate_core::workflow::Event;
use pgrx::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

/// One thing that a run is told.
pub enum News {
    /// An event for the interpreter, and its row in automate.run_news if it has one.
    Event(Event, Option<Uuid>),
    /// What the courier brings for a step.
    Answer {
        step: String,
        attempt: Option<u32>,
        answer: Value,
        stored: Option<Uuid>,
    },
    Signal(Signal),
}

/// An event that any of the run's listening steps may take.
pub struct Signal {
    pub id: Uuid,
    pub event: Value,
    /// It may come again, so that its id is kept after it was taken.
    pub once: bool,
    /// It has a row in automate.run_news.
    pub stored: bool,
    pub used: bool,
}

impl Signal {
    /// As it is stored.
    pub fn text(&self) -> String {
        json!({ "kind": "signal", "id": self.id, "event": self.event, "once": self.once })
            .to_string()
    }
}

/// Tells a run something in the current transaction: an [`Event`] as it is stored,
/// `{"kind": "answer", "step", "attempt", "answer"}`, or `{"kind": "signal", "id", "event"}`, with
/// `"once": true` if the same may be told again.
pub fn tell(own: &Own, run: Uuid, owner: pg_sys::Oid, news: &Value) -> Result<()> {
    let priority = if news["kind"] == "cancelled" { 0 } else { 100 };
    let payload = json!({ "run": run, "news": news });
    NewJob { priority, ..NewJob::new("run", owner, Lane::Sql, &payload) }.put(own)?;
    Ok(())
}

/// An event as news.
pub fn of_event(event: &Event) -> Value {
    serde_json::to_value(event).unwrap_or_default()
}

/// The news in the payload of a run's job, if there is one that can be read.
pub fn of_job(job: &Job) -> Option<News> {
    let payload = &job.payload;
    if let Some(news) = payload.get("news") {
        return read(news, job.id, false);
    }
    // As earlier versions had them.
    if payload["cancel"] == Value::Bool(true) {
        return Some(News::Event(Event::Cancelled { compensate: false }, None));
    }
    let step = payload["step"].as_str()?.to_owned();
    let answer = payload.get("answer")?.clone();
    Some(News::Answer { step, attempt: None, answer, stored: None })
}

fn read(news: &Value, id: Uuid, is_stored: bool) -> Option<News> {
    let stored = is_stored.then_some(id);
    match news["kind"].as_str()? {
        "answer" => Some(News::Answer {
            step: news["step"].as_str()?.to_owned(),
            attempt: news["attempt"].as_u64().and_then(|n| u32::try_from(n).ok()),
            answer: news.get("answer")?.clone(),
            stored,
        }),
        "signal" => Some(News::Signal(Signal {
            id: news["id"].as_str().and_then(|id| Uuid::parse_str(id).ok()).unwrap_or(id),
            event: news.get("event")?.clone(),
            once: news["once"] == Value::Bool(true),
            stored: is_stored,
            used: false,
        })),
        _ => serde_json::from_value(news.clone()).ok().map(|event| News::Event(event, stored)),
    }
}

/// Puts news down for runs that another executor has just now.
pub fn put_down(own: &Own, jobs: &[Job]) -> Result<()> {
    let (mut runs, mut ids, mut texts) = (Vec::new(), Vec::new(), Vec::new());
    let mut ends = Vec::new();
    for job in jobs {
        let (Some(run), Some(news)) = (run_id(job), of_job(job)) else { continue };
        runs.push(run);
        ends.push(matches!(&news, News::Event(Event::Cancelled { .. }, _)));
        let (id, text) = match news {
            News::Signal(signal) => (signal.id, signal.text()),
            News::Event(event, _) => (job.id, serde_json::to_string(&event).unwrap_or_default()),
            News::Answer { step, attempt, answer, .. } => {
                let news =
                    json!({ "kind": "answer", "step": step, "attempt": attempt, "answer": answer });
                (job.id, news.to_string())
            }
        };
        ids.push(id);
        texts.push(text);
    }
    if runs.is_empty() {
        return Ok(());
    }
    own.run(
        "INSERT INTO automate.run_news (run, id, news, owner)
         SELECT r.id, n.id, n.news::json, r.owner
         FROM unnest($1, $2, $3) AS n(run, id, news)
         JOIN automate.run AS r ON r.id = n.run AND r.finished_at IS NULL
         ON CONFLICT (run, id) DO NOTHING",
        &[to_uuids(&runs).into(), to_uuids(&ids).into(), texts.into()],
    )?;
    // Whoever has the run sees this when it writes the run's row, or finds its job ready.
    own.run(
        "UPDATE automate.run AS r SET told = r.told + 1, cancelling = r.cancelling OR n.ends
         FROM (SELECT run, bool_or(ends) AS ends FROM unnest($1, $2) AS n(run, ends) GROUP BY run) AS n
         WHERE r.id = n.run AND r.finished_at IS NULL",
        &[to_uuids(&runs).into(), ends.into()],
    )?;
    own.run(
        "UPDATE automate.job SET status = 'ready'
         WHERE id IN (SELECT id FROM automate.job WHERE id = ANY ($1) AND status <> 'ready'
                      FOR UPDATE SKIP LOCKED)",
        &[to_uuids(&runs).into()],
    )?;
    Ok(())
}

/// What was put down for these runs, each with its run, in the order in which it was told.
pub fn stored(own: &Own, runs: &[Uuid]) -> Result<Vec<(Uuid, News)>> {
    let rows = own.run(
        "SELECT run, id, news::text FROM automate.run_news
         WHERE run = ANY ($1) AND news::text <> 'null' ORDER BY run, id",
        &[to_uuids(runs).into()],
    )?;
    let uuid = |row, column| -> Option<Uuid> {
        rows.get::<pgrx::Uuid>(row, column).map(|id| Uuid::from_bytes(*id.as_bytes()))
    };
    let one = |row| {
        let news: Value = serde_json::from_str(&rows.get::<String>(row, 3)?).ok()?;
        Some((uuid(row, 1)?, read(&news, uuid(row, 2)?, true)?))
    };
    Ok((0..rows.len()).filter_map(one).collect())
}

/// The signals that were put down for a run and are not taken yet.
pub fn signals(own: &Own, run: Uuid) -> Result<Vec<Signal>> {
    let stored = stored(own, &[run])?.into_iter();
    Ok(stored
        .filter_map(|(_, news)| match news {
            News::Signal(signal) => Some(signal),
            _ => None,
        })
        .collect())
}

/// Which of these signals a run has been told before: run and id.
pub fn known(own: &Own, told: &[(Uuid, Uuid)]) -> Result<Vec<(Uuid, Uuid)>> {
    let (runs, ids): (Vec<Uuid>, Vec<Uuid>) = told.iter().copied().unzip();
    let rows = own.run(
        "SELECT n.run, n.id FROM automate.run_news AS n
         JOIN unnest($1, $2) AS t(run, id) ON n.run = t.run AND n.id = t.id",
        &[to_uuids(&runs).into(), to_uuids(&ids).into()],
    )?;
    let uuid = |row, column| -> Option<Uuid> {
        rows.get::<pgrx::Uuid>(row, column).map(|id| Uuid::from_bytes(*id.as_bytes()))
    };
    Ok((0..rows.len()).filter_map(|row| Some((uuid(row, 1)?, uuid(row, 2)?))).collect())
}
