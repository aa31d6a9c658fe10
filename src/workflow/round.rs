//! A round: one turn of many runs, committed together.

use super::load::{self, Loaded, now_text};
use super::news::{self, News};
use super::run::{Happened, Mode, Run, Stand, Turn};
use super::save::{self, run_id};
use super::step_job;
use crate::error::{Error, Failure, Result};
use crate::pg;
use crate::queue::finish::{Finished, Outcome};
use crate::queue::{Job, claim};
use crate::spi::{Own, as_extension};
use automate_core::workflow::{Event, WorkflowError};
use std::collections::HashMap;
use uuid::Uuid;

/// Runs that a session knows from its last round.
#[derive(Default)]
pub struct Cache(HashMap<Uuid, Run>);

impl Cache {
    /// The runs that stand before a step of their own.
    pub fn ready(&self) -> Vec<Uuid> {
        self.0.values().filter(|run| run.is_ready()).map(|run| run.id).collect()
    }

    /// After an error: nothing is known any more.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// A run with its job and what became of it in this round.
pub(super) struct Entry {
    pub job: Job,
    /// Its job was not ready: the run is here because it was told something.
    pub asleep: bool,
    pub run: Option<Run>,
    /// What it was told since its last turn, with the jobs that told it.
    news: Vec<News>,
    tellers: Vec<Job>,
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
    /// Jobs that told runs something which others go on with, or which have ended.
    told: Vec<Job>,
    now: String,
}

impl Round {
    /// Takes the runs of locked jobs, and those that other locked jobs tell something, as far as
    /// nobody else has them.
    pub fn open(own: &Own, jobs: Vec<Job>, cache: &mut Cache) -> Result<Round> {
        let (own_jobs, tellers): (Vec<Job>, Vec<Job>) =
            jobs.into_iter().partition(|job| run_id(job) == Some(job.id));
        let mut taken: Vec<(Job, bool)> = own_jobs.into_iter().map(|job| (job, false)).collect();
        let mut missing: Vec<Uuid> = tellers.iter().filter_map(run_id).collect();
        missing.retain(|id| taken.iter().all(|(job, _)| job.id != *id));
        missing.sort();
        missing.dedup();
        taken.extend(claim_asleep(own, &missing)?);
        let (here, elsewhere): (Vec<Job>, Vec<Job>) = tellers.into_iter().partition(|teller| {
            let run = run_id(teller);
            taken.iter().any(|(job, _)| Some(job.id) == run)
        });
        news::put_down(own, &elsewhere)?;
        let ids: Vec<Uuid> = taken.iter().map(|(job, _)| job.id).collect();
        let loaded = load::load(own, &ids, &mut cache.0)?;
        cache.0.clear();
        let mut entries = Vec::with_capacity(taken.len());
        for ((job, asleep), loaded) in taken.into_iter().zip(loaded) {
            let mut entry = Entry::new(job, asleep);
            match loaded {
                Loaded::Run(run) => entry.run = Some(*run),
                Loaded::Broken(revision, error) => entry.broken = Some((revision, error)),
                Loaded::Ended => entry.gone = true,
                Loaded::Later => continue,
            }
            entries.push(entry);
        }
        let mut round = Round { entries, told: elsewhere, now: now_text() };
        round.gather(own, here)?;
        Ok(round)
    }

    /// Brings together what each run is told: first what was put down for it.
    fn gather(&mut self, own: &Own, tellers: Vec<Job>) -> Result<()> {
        let places = self.entries.iter().enumerate().map(|(i, e)| (e.job.id, i));
        let places: HashMap<Uuid, usize> = places.collect();
        let behind: Vec<Uuid> = self
            .entries
            .iter()
            .filter(|e| e.run.as_ref().is_some_and(|run| run.told > run.heard))
            .map(|e| e.job.id)
            .collect();
        if !behind.is_empty() {
            for (run, one) in news::stored(own, &behind)? {
                if let Some(entry) = places.get(&run).and_then(|i| self.entries.get_mut(*i)) {
                    entry.news.push(one);
                }
            }
        }
        for entry in &mut self.entries {
            entry.news.extend(news::of_job(&entry.job));
        }
        for teller in tellers {
            let place = run_id(&teller).and_then(|run| places.get(&run));
            // Not loaded this time: the job that tells stays, too.
            let Some(entry) = place.and_then(|i| self.entries.get_mut(*i)) else { continue };
            entry.news.extend(news::of_job(&teller));
            entry.tellers.push(teller);
        }
        self.drop_known(own)
    }

    /// Drops what a run has been told before, if it is told once.
    fn drop_known(&mut self, own: &Own) -> Result<()> {
        let new = |one: &News| match one {
            News::Signal(signal) if signal.once && !signal.stored => Some(signal.id),
            _ => None,
        };
        let of = |e: &Entry| -> Vec<(Uuid, Uuid)> {
            e.news.iter().filter_map(new).map(|id| (e.job.id, id)).collect()
        };
        let told: Vec<(Uuid, Uuid)> = self.entries.iter().flat_map(of).collect();
        if told.is_empty() {
            return Ok(());
        }
        let known = news::known(own, &told)?;
        for entry in &mut self.entries {
            let run = entry.job.id;
            entry.news.retain(|one| new(one).is_none_or(|id| !known.contains(&(run, id))));
        }
        Ok(())
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
            None => Happened::News(std::mem::take(&mut entry.news)),
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
        let done = |job| Finished { job, outcome: Outcome::Gone, started_us: pg::now() };
        let mut finished: Vec<Finished> = self.told.into_iter().map(done).collect();
        for entry in self.entries {
            let Entry { job, run, turn, began_us, gone, tellers, .. } = entry;
            if gone || turn.is_some() {
                finished.extend(tellers.into_iter().map(done));
            }
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
    fn new(job: Job, asleep: bool) -> Entry {
        Entry {
            job,
            asleep,
            run: None,
            news: Vec::new(),
            tellers: Vec::new(),
            turn: None,
            broken: None,
            began_us: pg::now(),
            gone: false,
        }
    }
}

/// Locks the jobs of runs that wait, if nobody else has them; the answers say whether they were
/// asleep. A run from before runs kept their jobs gets one.
fn claim_asleep(own: &Own, runs: &[Uuid]) -> Result<Vec<(Job, bool)>> {
    if runs.is_empty() {
        return Ok(Vec::new());
    }
    let ids = claim::to_uuids(runs);
    let mut found = claim::claim_any(own, &ids)?;
    if found.len() < runs.len() {
        let made = own.run(
            "INSERT INTO automate.job (id, kind, owner, lane, payload, source, run_at, status)
             SELECT id, 'run', owner, 's', json_build_object('run', id), 'workflow:' || workflow, now(), 'waiting'
             FROM automate.run WHERE id = ANY ($1) AND finished_at IS NULL
               AND NOT EXISTS (SELECT FROM automate.job AS j WHERE j.id = run.id)
             ON CONFLICT (id) DO NOTHING RETURNING id",
            &[ids.clone().into()],
        )?;
        if !made.is_empty() {
            found = claim::claim_any(own, &ids)?;
        }
    }
    Ok(found)
}

/// Tells a run what became of a step that had a job of its own, and lets it take its turn. In the
/// transaction that did the step, with its job locked.
pub fn step_done(job: Job, event: &Event) -> Result<Vec<Finished>> {
    let mut teller = job;
    teller.payload["news"] = news::of_event(event);
    take_alone(teller, Mode::Shared, None)
}

/// The transaction of a run's turn, or of one of its steps, failed as a whole: the step fails, or
/// else the run. In a new transaction, with the job locked.
pub fn give_up(job: Job, failure: Failure) -> Result<Vec<Finished>> {
    if failure.lost_race() && job.attempts < 4 {
        let outcome = Outcome::Failed(failure);
        return Ok(vec![Finished { job, outcome, started_us: pg::now() }]);
    }
    if step_job::step(&job).is_some() {
        let event = step_job::broke(&job, &failure);
        return step_done(job, &event);
    }
    take_alone(job, Mode::Still, Some(failure))
}

fn take_alone(job: Job, mode: Mode, broke: Option<Failure>) -> Result<Vec<Finished>> {
    let mut cache = Cache::default();
    let mut round = as_extension(|own| {
        own.plan_for_queue();
        Round::open(own, vec![job], &mut cache)
    })?;
    round.take(0, mode, broke);
    as_extension(|own| {
        own.plan_for_queue();
        round.save(own, &mut cache, &mut Vec::new())
    })
    .map_err(|e| Error::Internal(format!("a run cannot be gone on with: {e}")))
}
