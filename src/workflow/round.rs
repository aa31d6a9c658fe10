//! A round: one turn of many runs, committed together.

use super::load::{self, Loaded, now_text};
use super::run::{Happened, Mode, Run, Stand, Turn};
use super::{cancel, save};
use crate::error::{Error, Failure, Result};
use crate::pg;
use crate::queue::Job;
use crate::queue::finish::{Finished, Outcome};
use crate::spi::{Own, as_extension};
use automate_core::workflow::WorkflowError;
use serde_json::Value;
use std::collections::HashMap;
use uuid::Uuid;

/// Runs that a session knows from its last round.
#[derive(Default)]
pub struct Cache(HashMap<Uuid, Run>);

impl Cache {
    /// After an error: nothing is known any more.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// A run with its job and what became of it in this round.
pub(super) struct Entry {
    pub job: Job,
    pub run: Option<Run>,
    pub turn: Option<Turn>,
    /// Faults without a turn: the revision and why.
    pub broken: Option<(i64, WorkflowError)>,
    pub began_us: i64,
    /// The job goes with this round.
    pub gone: bool,
}

/// Runs locked by the current transaction.
pub struct Round {
    entries: Vec<Entry>,
    now: String,
}

impl Round {
    /// Loads the runs of locked jobs; jobs that ask to cancel a run are done with at once.
    pub fn open(own: &Own, jobs: Vec<Job>, cache: &mut Cache) -> Result<Round> {
        let (asks, jobs): (Vec<Job>, Vec<Job>) =
            jobs.into_iter().partition(|job| job.payload["cancel"] == Value::Bool(true));
        cancel::mark(own, &asks)?;
        let ids: Vec<Uuid> = jobs.iter().map(|job| job.id).collect();
        let loaded = load::load(own, &ids, &mut cache.0)?;
        cache.0.clear();
        let mut entries: Vec<Entry> = asks.into_iter().map(|job| Entry::new(job, None)).collect();
        entries.iter_mut().for_each(|e| e.gone = true);
        for (job, loaded) in jobs.into_iter().zip(loaded) {
            match loaded {
                Loaded::Run(run) => entries.push(Entry::new(job, Some(*run))),
                Loaded::Broken(revision, error) => {
                    let mut entry = Entry::new(job, None);
                    entry.broken = Some((revision, error));
                    entries.push(entry);
                }
                Loaded::Ended => {
                    let mut entry = Entry::new(job, None);
                    entry.gone = true;
                    entries.push(entry);
                }
                Loaded::Later => {}
            }
        }
        Ok(Round { entries, now: now_text() })
    }

    /// How many entries there are.
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// The job of an entry that has a turn to take.
    pub fn job(&self, index: usize) -> Option<&Job> {
        self.entries.get(index).filter(|e| e.run.is_some()).map(|e| &e.job)
    }

    /// Lets a run take its turn; call it outside of our own statements.
    pub fn turn(&mut self, index: usize, mode: Mode) {
        self.take(index, mode, None);
    }

    fn take(&mut self, index: usize, mode: Mode, broke: Option<Failure>) {
        let Some(entry) = self.entries.get_mut(index) else { return };
        let Some(run) = entry.run.as_mut() else { return };
        entry.began_us = pg::now();
        let happened = match broke {
            Some(failure) => Happened::Broke(failure),
            None => happened(&entry.job.payload),
        };
        entry.turn = Some(run.turn(happened, mode, entry.job.attempts, &self.now));
    }

    /// Writes where the runs stand now, and hands out what became of their jobs. The runs that
    /// another step of this session may come to stay in the cache; `alone` gets those whose next
    /// step wants a transaction of its own.
    pub fn save(
        mut self,
        own: &Own,
        cache: &mut Cache,
        alone: &mut Vec<Uuid>,
    ) -> Result<Vec<Finished>> {
        save::save(own, &mut self.entries)?;
        let mut finished = Vec::with_capacity(self.entries.len());
        for entry in self.entries {
            let Entry { job, run, turn, began_us, gone, .. } = entry;
            if gone {
                finished.push(Finished { job, outcome: Outcome::Gone, started_us: began_us });
                continue;
            }
            let stand = turn.map(|turn| turn.stand);
            if matches!(stand, Some(Stand::Alone)) {
                alone.push(job.id);
            }
            if let Some(Stand::LostRace(failure)) = stand {
                let outcome = Outcome::Failed(failure);
                finished.push(Finished { job, outcome, started_us: began_us });
            }
            if let Some(run) = run {
                cache.0.insert(run.id, run);
            }
        }
        Ok(finished)
    }
}

impl Entry {
    fn new(job: Job, run: Option<Run>) -> Entry {
        Entry { job, run, turn: None, broken: None, began_us: pg::now(), gone: false }
    }
}

/// What the payload of a run's job tells.
fn happened(payload: &Value) -> Happened {
    if let Some(step) = payload["timer"].as_str() {
        return Happened::Timer(step.to_string());
    }
    match (payload["step"].as_str(), payload.get("answer")) {
        (Some(step), Some(answer)) => Happened::Answer(step.to_string(), answer.clone()),
        _ => Happened::Nothing,
    }
}

/// The transaction of a run's turn failed as a whole: its step fails, or else the run. In a new
/// transaction, with the job locked.
pub fn give_up(job: Job, failure: Failure) -> Result<Vec<Finished>> {
    if failure.lost_race() && job.attempts < 4 {
        let outcome = Outcome::Failed(failure);
        return Ok(vec![Finished { job, outcome, started_us: pg::now() }]);
    }
    let mut cache = Cache::default();
    let mut round = as_extension(|own| {
        own.plan_for_queue();
        Round::open(own, vec![job], &mut cache)
    })?;
    round.take(0, Mode::Still, Some(failure));
    as_extension(|own| {
        own.plan_for_queue();
        round.save(own, &mut cache, &mut Vec::new())
    })
    .map_err(|e| Error::Internal(format!("a run cannot be given up: {e}")))
}
