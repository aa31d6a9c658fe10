//! An executor: a session of one role that runs its jobs, many short ones to a commit.

use super::process::{self, Process};
use super::{deadline, interrupt, toplevel};
use crate::error::{Error, Failure};
use crate::event::trace;
use crate::pg;
use crate::queue::finish::{Finished, Outcome, finish};
use crate::queue::{Job, claim};
use crate::shmem::inflight::Inflight;
use crate::shmem::{Kind, State, registry};
use crate::spi::{as_extension, statement, step};
use crate::workflow::{self, Mode, Round};
use crate::{access, guc, perform, task, wake};
use pgrx::prelude::*;
use std::collections::VecDeque;
use uuid::Uuid;

/// A batch is closed when it has taken this long: its row locks are held no longer.
const BATCH_US: i64 = 5_000;
/// Jobs set aside to run alone are claimed anew after this time: a more urgent one may have come.
const STALE_US: i64 = 20_000;

/// Runs that went on are taken up again without a look at the queue for this long.
const CHAIN_US: i64 = 5_000;

/// The state of an executor.
struct Executor {
    me: Process,
    role: pg_sys::Oid,
    inflight: Inflight,
    /// How many jobs to claim next.
    batch: i64,
    /// Jobs that want a transaction of their own.
    alone: VecDeque<Uuid>,
    /// The runs of the last round, whose next steps come in the next.
    runs: workflow::Cache,
    /// Runs whose next steps come next, if nothing else was to be done when the queue was last
    /// looked at, and since when.
    chain: Vec<Uuid>,
    chain_since: i64,
    /// Batches so far: runs go first in every other one.
    batches: u64,
    /// When the batch that named them ended.
    alone_since: i64,
}

/// What a batch did.
#[derive(Default)]
struct Batch {
    claimed: Vec<Uuid>,
    /// Claimed jobs that want a transaction of their own.
    alone: Vec<Uuid>,
    /// How many were done.
    done: i64,
    /// Closed by time, with more to do.
    full: bool,
    /// Microseconds that it took, without its commit.
    took_us: i64,
}

#[doc(hidden)]
#[unsafe(no_mangle)]
#[pg_guard]
pub extern "C-unwind" fn automate_executor_main(index: pg_sys::Datum) {
    process::take_signals();
    let mut me = Process::enter(index.value(), Kind::Executor);
    let role = me.slot.role();
    me.slot.set_state(State::Starting);
    // SAFETY: the session user becomes the owner of the jobs; fails with FATAL if it may not log in.
    unsafe { pg_sys::BackgroundWorkerInitializeConnectionByOid(me.db, role, 0) };
    me.bind_to_extension();
    let inflight = Inflight::open().unwrap_or_else(|e| {
        process::fail(&format!("pg_automate cannot open pg_automate/inflight: {e}"))
    });
    inflight.belongs_to(me.index);
    interrupt::listen(&me);
    let (alone, runs) = (VecDeque::new(), workflow::Cache::default());
    let chain = Vec::new();
    let (alone_since, chain_since, batches) = (0, 0, 0);
    Executor { me, role, inflight, batch: 8, alone, alone_since, runs, chain, chain_since, batches }
        .work()
}

impl Executor {
    fn work(&mut self) -> ! {
        let mut idle_since = pg::now();
        loop {
            self.me.leave_if_asked();
            // Idle is said before looking: a commit from here on sets our latch.
            self.me.slot.set_state(State::Idle);
            if self.work_once() {
                idle_since = pg::now();
                continue;
            }
            process::report(None);
            process::report_statistics();
            let left_ms = guc::executor_idle_timeout_ms() - (pg::now() - idle_since) / 1000;
            if left_ms <= 0 {
                process::leave();
            }
            process::wait(left_ms);
        }
    }

    /// Does a batch or a job that wants to be alone; false when there was nothing to do.
    fn work_once(&mut self) -> bool {
        if guc::paused() || registry().is_none_or(|r| r.is_paused(self.me.db)) {
            return false;
        }
        if let Some(id) = self.alone.pop_front() {
            self.work_alone(id);
            if pg::now() - self.alone_since > STALE_US {
                self.alone.clear();
            }
            return true;
        }
        let mut batch = Batch::default();
        let begun = pg::now();
        let result = process::transaction(|| {
            self.run_batch(&mut batch);
            batch.took_us = pg::now() - begun;
        });
        self.begin_job(None);
        self.reset_session();
        self.alone_since = pg::now();
        match result {
            Ok(()) => {
                if batch.alone.is_empty() {
                    self.adapt(&batch);
                }
                self.alone.extend(batch.alone);
                !batch.claimed.is_empty()
            }
            Err(failure) => {
                // Somebody's job, or the commit itself, spoilt the batch: each alone tells whose.
                self.batch = 1;
                self.runs.clear();
                self.alone.extend(batch.claimed);
                if self.alone.is_empty() {
                    log!("pg_automate executor: {}", failure.text());
                    process::wait(1000);
                }
                !self.alone.is_empty()
            }
        }
    }

    /// Batches grow while jobs are short and shrink when they are not. A slow commit is no reason to
    /// shrink them: the more share it, the better.
    fn adapt(&mut self, batch: &Batch) {
        let took_us = batch.took_us;
        let found = batch.claimed.len() as i64;
        if batch.full {
            // What was claimed in vain need not be claimed the next time.
            self.batch = (batch.done + batch.done / 4).max(1);
        } else if took_us > 2 * BATCH_US {
            self.batch = (self.batch / 2).max(1);
        } else if found >= self.batch && took_us < BATCH_US {
            self.batch = (self.batch * 2).min(guc::batch_max());
        }
    }

    /// Claims, runs and records a batch in the current transaction.
    fn run_batch(&mut self, batch: &mut Batch) {
        if !self.me.extension_is_ours() || !access::can_log_in(self.role) {
            process::leave();
        }
        let mut jobs = self.claim().unwrap_or_else(|e| e.raise());
        jobs.retain(|job| !is_doomed(job.id));
        batch.claimed.extend(jobs.iter().map(|j| j.id));
        if jobs.is_empty() {
            return;
        }
        self.me.slot.set_state(State::Busy);
        let (runs, jobs): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(|j| j.kind == "run");
        // A step beside others may take long: that is why it has a job of its own.
        let (steps, runs): (Vec<Job>, Vec<Job>) =
            runs.into_iter().partition(|job| workflow::step_of(job).is_some());
        batch.alone.extend(steps.iter().map(|job| job.id));
        let mut round = self.open_round(runs);
        self.batches += 1;
        let mut finished = Vec::with_capacity(batch.claimed.len());
        if self.batches.is_multiple_of(2) {
            self.run_round(round.as_mut(), batch);
            self.run_jobs(jobs, &mut finished, batch);
        } else {
            self.run_jobs(jobs, &mut finished, batch);
            self.run_round(round.as_mut(), batch);
        }
        self.close(round, finished, &mut batch.alone);
        if (batch.claimed.len() as i64) < self.batch && !batch.full && batch.alone.is_empty() {
            self.chain = self.runs.ready();
        }
    }

    /// The next jobs: runs that go on at once, or else what the queue has.
    fn claim(&mut self) -> Result<Vec<Job>, Error> {
        let (chain, limit) = (std::mem::take(&mut self.chain), self.batch);
        as_extension(|own| {
            own.plan_for_queue();
            if !chain.is_empty() && pg::now() - self.chain_since < CHAIN_US {
                let jobs = claim::claim_these(own, &chain)?;
                if !jobs.is_empty() {
                    return Ok(jobs);
                }
            }
            self.chain_since = pg::now();
            claim::claim(own, self.role, limit)
        })
    }

    /// Loads the runs of claimed jobs.
    fn open_round(&mut self, jobs: Vec<Job>) -> Option<Round> {
        if jobs.is_empty() {
            return None;
        }
        let round = as_extension(|own| {
            own.plan_for_queue();
            Round::open(own, jobs, &mut self.runs)
        });
        Some(round.unwrap_or_else(|e| e.raise()))
    }

    /// A turn for each run, as long as there is time.
    fn run_round(&mut self, round: Option<&mut Round>, batch: &mut Batch) {
        let Some(round) = round else { return };
        let begun = pg::now();
        for index in 0..round.count() {
            let Some(job) = round.job(index) else { continue };
            self.note_job(job);
            round.turn(index, Mode::Shared);
            batch.done += 1;
            if session_is_touched() || pg::now() - begun > BATCH_US {
                batch.full = true;
                return;
            }
        }
    }

    /// The jobs that may share a commit, as long as there is time.
    fn run_jobs(&mut self, jobs: Vec<Job>, finished: &mut Vec<Finished>, batch: &mut Batch) {
        let begun = pg::now();
        let mut passed_keys = Vec::new();
        for job in jobs {
            let passed = job.concurrency_key.as_ref().is_some_and(|k| passed_keys.contains(k));
            if passed || !perform::may_share(&job) {
                batch.alone.push(job.id);
                // Later jobs of its key come after it, also when they are short.
                passed_keys.extend(job.concurrency_key);
                continue;
            }
            finished.push(self.run_job(job));
            reset_after_job();
            batch.done += 1;
            if session_is_touched() || pg::now() - begun > BATCH_US {
                batch.full = true;
                return;
            }
        }
    }

    /// Writes down what became of a batch.
    fn close(&mut self, round: Option<Round>, mut finished: Vec<Finished>, alone: &mut Vec<Uuid>) {
        if let Some(round) = round {
            let runs = as_extension(|own| {
                own.plan_for_queue();
                round.save(own, &mut self.runs, alone)
            });
            finished.extend(runs.unwrap_or_else(|e| e.raise()));
        }
        self.record(finished);
    }

    /// Runs a job in its own transaction.
    fn work_alone(&mut self, id: Uuid) {
        self.me.slot.set_state(State::Busy);
        let mut held: Option<Job> = None;
        let started_us = pg::now();
        let result = process::bare_transaction(|| {
            held = process::with_snapshot(|| self.claim_alone(id));
            let Some(job) = held.clone() else { return };
            // The coordinator, woken now, learns until when it may go on.
            self.me.slot.set_deadline(deadline::of(&job));
            // There may be more work than this one job: others shall look after it meanwhile.
            if let Some(registry) = registry() {
                registry.wake_kind(self.me.db, Kind::Coordinator);
            }
            if job.kind == "run" {
                process::with_snapshot(|| self.run_run(job));
                return;
            }
            let finished = if job.top_level {
                self.run_top_level(job, started_us)
            } else {
                process::with_snapshot(|| self.run_job(job))
            };
            process::with_snapshot(|| self.record(vec![finished]));
        });
        self.begin_job(None);
        let at_top_level = held.as_ref().is_some_and(|job| job.top_level);
        match (result, held) {
            (Ok(()), _) => {}
            (Err(failure), Some(job)) if job.kind == "run" => self.give_up_run(job, failure),
            (Err(failure), Some(job)) => self.record_failure(job, failure, started_us),
            (Err(failure), None) => {
                log!("pg_automate executor cannot claim job {id}: {}", failure.text());
                process::wait(1000);
            }
        }
        if at_top_level {
            reset_settings();
        }
        self.reset_session();
    }

    fn claim_alone(&self, id: Uuid) -> Option<Job> {
        if !self.me.extension_is_ours() || !access::can_log_in(self.role) {
            process::leave();
        }
        as_extension(|own| {
            own.plan_for_queue();
            claim::claim_these(own, &[id])
        })
        .unwrap_or_else(|e| e.raise())
        .pop()
        .filter(|job| !is_doomed(job.id))
    }

    /// A turn of a run whose next step wants a transaction of its own, or a step beside others.
    fn run_run(&mut self, job: Job) {
        self.note_job(&job);
        if workflow::step_of(&job).is_some() {
            let finished = run_step(job).unwrap_or_else(|e| e.raise());
            return self.record(finished);
        }
        let mut round = self.open_round(vec![job]);
        if let Some(round) = round.as_mut() {
            round.turn(0, Mode::Alone);
        }
        let mut alone = Vec::new();
        self.close(round, Vec::new(), &mut alone);
        self.alone.extend(alone);
    }

    /// The transaction of a run's turn failed as a whole: another says so.
    fn give_up_run(&mut self, job: Job, failure: Failure) {
        self.runs.clear();
        let id = job.id;
        let given_up = process::transaction(|| {
            let Some(job) = self.claim_alone(id) else { return };
            let finished = workflow::give_up(job, failure).unwrap_or_else(|e| e.raise());
            self.record(finished);
        });
        if let Err(failure) = given_up {
            log!("pg_automate executor cannot give up run {id}: {}", failure.text());
            process::wait(1000);
        }
    }

    fn run_top_level(&self, mut job: Job, started_us: i64) -> Finished {
        self.note_job(&job);
        if let Some(path) = &job.search_path {
            // Outlives commits in its middle; `reset_settings` undoes it.
            let path = std::ffi::CString::new(path.as_str()).unwrap_or_default();
            process::set(c"search_path", &path);
        }
        let text = || task::toplevel::text(&job).unwrap_or_else(|e| e.raise());
        let text = match process::with_snapshot(text) {
            Ok(text) => text,
            Err(outcome) => return Finished { job, outcome, started_us },
        };
        if let Some(key) = &job.concurrency_key {
            claim::keep_key(self.role, key);
        }
        if job.is_task() {
            task::output::listen();
        }
        process::with_snapshot(|| toplevel::mark(&job, self.me.lease()))
            .and_then(|()| interrupt::during(|| toplevel::run(&text, job.timeout_ms)))
            .unwrap_or_else(|e| e.raise());
        TimeLimit::clear();
        job.said = task::output::hush();
        Finished { job, outcome: Outcome::Succeeded(serde_json::json!({})), started_us }
    }

    /// The job's transaction failed as a whole: says so in another.
    fn record_failure(&self, mut job: Job, failure: Failure, started_us: i64) {
        job.said = task::output::hush();
        let finished = Finished { job, outcome: Outcome::Failed(failure), started_us };
        if let Err(failure) = process::transaction(|| self.record(vec![finished])) {
            log!("pg_automate executor cannot record a failure: {}", failure.text());
        }
    }

    fn record(&self, finished: Vec<Finished>) {
        if finished.is_empty() {
            return;
        }
        let keyed = finished.iter().any(|f| f.job.concurrency_key.is_some());
        as_extension(|own| finish(own, finished)).unwrap_or_else(|e: Error| e.raise());
        if keyed {
            wake::arm_coordinator();
        }
    }

    fn begin_job(&self, job: Option<Uuid>) {
        self.me.slot.set_job(job);
        if job.is_none() {
            self.me.slot.set_deadline(0);
        }
        let incarnation = registry().map_or(0, |r| r.incarnation());
        if let Err(e) = self.inflight.note(self.me.index, incarnation, self.me.db.to_u32(), job) {
            log!("pg_automate cannot write pg_automate/inflight: {e}");
        }
    }

    /// Says in shared memory, in the file of jobs in flight and in pg_stat_activity what runs now.
    fn note_job(&self, job: &Job) {
        self.me.slot.set_deadline(deadline::of(job));
        self.begin_job(Some(job.id));
        process::report(Some(job.source.as_deref().unwrap_or(&job.kind)));
    }

    /// Runs a job in a subtransaction, with settings and a time limit of its own.
    fn run_job(&self, mut job: Job) -> Finished {
        self.note_job(&job);
        let started_us = pg::now();
        if job.is_task() {
            task::output::listen();
        }
        let outcome = step::in_subtransaction(|| {
            let nest = pg::GucNest::open();
            if let Some(path) = job.search_path.as_deref().filter(|p| *p != pg::search_path()) {
                let path = std::ffi::CString::new(path).unwrap_or_default();
                pg::set_local(c"search_path", &path);
            }
            trace::go_on(trace::of(&job.payload));
            // SAFETY: reads a process-local variable. The job alone is read-only, our books are not.
            if matches!(job.kind.as_str(), "sql" | "task") && unsafe { pg_sys::DefaultXactReadOnly }
            {
                pg::set_local(c"transaction_read_only", c"on");
            }
            let _limit = TimeLimit::start(job.timeout_ms);
            let outcome = interrupt::during(|| {
                let outcome = perform::perform(&job).unwrap_or_else(|e| e.raise());
                // Deferred constraints are this job's affair, not the batch's.
                // SAFETY: no query is running at this level.
                unsafe { pg_sys::AfterTriggerFireDeferred() };
                outcome
            });
            nest.undo();
            outcome
        })
        .unwrap_or_else(Outcome::Failed);
        TimeLimit::clear();
        job.said = task::output::hush();
        Finished { job, outcome, started_us }
    }

    /// Nothing of a job's session reaches the next batch.
    fn reset_session(&self) {
        // SAFETY: what DISCARD ALL does, outside of a transaction except for the temporary tables,
        // whose own function wants one.
        unsafe {
            reset_after_job();
            pg_sys::LockReleaseAll(pg_sys::USER_LOCKMETHOD as u16, true);
            pg::guarded(|| pg::c::ResetSequenceCaches());
        }
        if session_has_temporary_tables() {
            let dropped = process::transaction(|| {
                // SAFETY: in a transaction of its own.
                unsafe { pg_sys::ResetTempTableNamespace() }
            });
            if let Err(failure) = dropped {
                log!("pg_automate executor leaves: {}", failure.text());
                process::leave();
            }
        }
    }
}

/// The statement's time limit, by PostgreSQL's own timer.
pub struct TimeLimit;

impl TimeLimit {
    /// The limit in force: that given, or else the role's statement_timeout; 0: none.
    pub fn effective(ms: Option<i32>) -> i32 {
        // SAFETY: reads a process-local variable.
        ms.unwrap_or(unsafe { pg_sys::StatementTimeout })
    }

    pub fn start(ms: Option<i32>) -> TimeLimit {
        let limit = Self::effective(ms);
        if limit > 0 {
            // SAFETY: the timeout is registered in every session by InitPostgres; it is cleared
            // when the job ends.
            pg::guarded(|| unsafe { pg::c::enable_timeout_after(pg::STATEMENT_TIMEOUT, limit) });
        }
        TimeLimit
    }

    pub fn clear() {
        // SAFETY: disabling what is not enabled does nothing; a cancel that came too late is dropped.
        unsafe {
            pg::c::disable_timeout(pg::STATEMENT_TIMEOUT, false);
            pg_sys::QueryCancelPending = 0;
        }
    }
}

/// A step that has a job of its own, and the turn of its run with what became of it.
fn run_step(job: Job) -> Result<Vec<Finished>, Error> {
    let started_us = pg::now();
    let outcome = match interrupt::during(|| workflow::perform_step(&job))? {
        workflow::Did::Event(event) => return workflow::step_done(job, &event),
        workflow::Did::Nothing => Outcome::Gone,
        workflow::Did::LostRace(failure) => Outcome::Failed(failure),
    };
    Ok(vec![Finished { job, outcome, started_us }])
}

/// True for a job whose last session was ended, until that is recorded.
fn is_doomed(job: Uuid) -> bool {
    registry().is_some_and(|registry| registry.doomed.has(job))
}

/// What a job did to the session without being seen: cursors, prepared statements, advisory locks
/// of the session. Cheap when there is none; allowed inside a transaction.
fn reset_after_job() {
    // SAFETY: what CLOSE ALL, DEALLOCATE ALL and pg_advisory_unlock_all() do, between statements.
    unsafe {
        pg_sys::PortalHashTableDeleteAll();
        pg_sys::DropAllPreparedStatements();
        pg_sys::LockReleaseSession(pg_sys::USER_LOCKMETHOD as u16);
    }
}

/// Undoes the settings that a top-level statement made for the session, SET ROLE included.
fn reset_settings() {
    let reset = process::transaction(|| {
        // SAFETY: what DISCARD ALL does, in a transaction, since roles are looked up.
        unsafe {
            let nothing = std::ptr::null_mut();
            pg_sys::SetPGVariable(c"session_authorization".as_ptr(), nothing, false);
            pg_sys::ResetAllOptions();
        }
    });
    if let Err(failure) = reset {
        log!("pg_automate executor leaves: {}", failure.text());
        process::leave();
    }
}

/// True when a job did something to the session that the next job must not see.
fn session_is_touched() -> bool {
    // SAFETY: reads a process-local variable.
    let flags = unsafe { pg_sys::MyXactFlags };
    let used_temporary = flags & pg_sys::XACT_FLAGS_ACCESSEDTEMPNAMESPACE as i32 != 0;
    statement::ran_utility() || used_temporary
}

fn session_has_temporary_tables() -> bool {
    let (mut schema, mut toast) = (pg_sys::InvalidOid, pg_sys::InvalidOid);
    // SAFETY: reads process-local variables.
    unsafe { pg_sys::GetTempNamespaceState(&mut schema, &mut toast) };
    schema != pg_sys::InvalidOid
}
