//! Recording what became of jobs, a set at a time, in the transaction that did the work.

use super::Job;
use super::claim::to_uuids;
use crate::error::{Failure, Result};
use crate::spi::Own;
use crate::task::ended::{self, Ended};
use crate::task::{away, cancel};
use serde_json::Value;
use std::time::Duration;
use uuid::Uuid;

/// What became of a job.
#[derive(Debug)]
pub enum Outcome {
    /// Done; kept in the history with its answer.
    Succeeded(Value),
    /// Done; what it did is recorded elsewhere (a run's steps), so the history has no row.
    Gone,
    /// An attempt failed.
    Failed(Failure),
    /// An attempt failed, and the peer asks not to be tried again before this time has passed.
    Later(Failure, Duration),
    /// An attempt failed, and another would fail the same way.
    GivenUp(Failure),
    /// Not done yet: it stays as it is.
    Stays,
    /// What it has started goes on; it waits for its end (see `task::away`).
    Away(Value),
    /// The courier sends this request for it, and ends it.
    Request(Value),
    /// What it has started was cancelled.
    Cancelled(String),
}

/// A job with its outcome and when it began.
pub struct Finished {
    pub job: Job,
    pub outcome: Outcome,
    pub started_us: i64,
}

/// Id, status, error, result and start of a job that is over.
type Done = (Uuid, &'static str, Option<String>, Option<String>, i64);

/// Records the outcomes: successes and last failures move to the history, the others are put off.
pub fn finish(own: &Own, finished: Vec<Finished>) -> Result<()> {
    own.plan_by_key();
    let mut over = Over::default();
    for one in finished {
        over.take(own, one)?;
    }
    ended::note(own, &over.runs)?;
    if !over.gone.is_empty() {
        own.run("DELETE FROM automate.job WHERE id = ANY ($1)", &[to_uuids(&over.gone).into()])?;
    }
    if over.done.is_empty() { Ok(()) } else { move_to_history(own, &over.done) }
}

/// The jobs that are over.
#[derive(Default)]
struct Over {
    done: Vec<Done>,
    gone: Vec<Uuid>,
    /// The runs of tasks among them.
    runs: Vec<Ended>,
}

impl Over {
    /// Sorts a job in, or puts it off when it is to be tried again.
    fn take(&mut self, own: &Own, one: Finished) -> Result<()> {
        let Finished { mut job, outcome, started_us } = one;
        match outcome {
            Outcome::Stays => {}
            Outcome::Gone => self.gone.push(job.id),
            Outcome::Succeeded(mut answer) => {
                self.runs.extend(
                    job.run_ended(started_us, |payload| Ended::succeeded(payload, &mut answer)),
                );
                self.done.push((job.id, "succeeded", None, Some(answer.to_string()), started_us));
            }
            Outcome::Away(mut answer) => {
                let ended = job.run_ended(started_us, |payload| Ended::away(payload, &mut answer));
                self.runs.extend(ended);
                away::wait(own, job.id)?;
            }
            Outcome::Request(request) => away::send(own, job.id, &request)?,
            Outcome::Cancelled(error) => self.fail(job, "cancelled", error, started_us),
            Outcome::Failed(failure) | Outcome::GivenUp(failure)
                if failure.is_cancel()
                    && job.is_task()
                    && let Some(why) = cancel::reason(own, &job)? =>
            {
                let error = format!("{}: cancelled: {why}", failure.sqlstate());
                self.fail(job, "cancelled", error, started_us);
            }
            Outcome::Failed(failure) if may_retry(&job, &failure) => {
                put_off(own, &job, &failure, Duration::ZERO)?;
            }
            Outcome::Later(failure, pause) if may_retry(&job, &failure) => {
                put_off(own, &job, &failure, pause)?;
            }
            Outcome::Failed(failure) | Outcome::Later(failure, _) | Outcome::GivenUp(failure) => {
                self.fail(job, "failed", failure.text(), started_us);
            }
        }
        Ok(())
    }

    fn fail(&mut self, mut job: Job, status: &'static str, error: String, started_us: i64) {
        self.runs
            .extend(job.run_ended(started_us, |payload| Ended::failed(payload, status, &error)));
        self.done.push((job.id, status, Some(error), None, started_us));
    }
}

fn move_to_history(own: &Own, done: &[Done]) -> Result<()> {
    let ids: Vec<Uuid> = done.iter().map(|d| d.0).collect();
    let statuses: Vec<&str> = done.iter().map(|d| d.1).collect();
    let errors: Vec<Option<String>> = done.iter().map(|d| d.2.clone()).collect();
    let results: Vec<Option<String>> = done.iter().map(|d| d.3.clone()).collect();
    let started: Vec<i64> = done.iter().map(|d| d.4).collect();
    own.run(
        "WITH d AS (
            SELECT * FROM unnest($1::pg_catalog.uuid[], $2::pg_catalog.text[], $3::pg_catalog.text[],
                                 $4::pg_catalog.text[], $5::pg_catalog.int8[])
                          AS d(id, status, error, result, started)),
         j AS (DELETE FROM automate.job USING d WHERE job.id = d.id
               RETURNING job.id, job.kind, job.owner, job.attempts, job.enqueued_at, job.source,
                         d.status, d.error, d.result, d.started,
                         CASE WHEN d.status <> 'succeeded' THEN automate.redrive(job) END AS retry)
         INSERT INTO automate.job_history
            (id, kind, owner, status, attempts, enqueued_at, started_at, finished_at, error, result, source, retry)
         SELECT id, kind, owner, status, attempts + 1, enqueued_at,
                timestamptz '2000-01-01 00:00:00+00' + started * interval '1 microsecond',
                clock_timestamp(), error, result::jsonb, source, retry
         FROM j",
        &[to_uuids(&ids).into(), statuses.into(), errors.into(), results.into(), started.into()],
    )?;
    Ok(())
}

/// A lost race (deadlock, serialization) is tried again at least four times, whatever was asked.
pub fn may_retry(job: &Job, failure: &Failure) -> bool {
    let allowed = if failure.lost_race() { job.max_attempts.max(5) } else { job.max_attempts };
    job.attempts + 1 < allowed
}

/// Puts a job off: 1, 2, 4, ... times its back-off, at most an hour, each up to a quarter longer by chance;
/// but at least as long as the peer asked for.
fn put_off(own: &Own, job: &Job, failure: &Failure, pause: Duration) -> Result<()> {
    let lost_race = failure.lost_race();
    let pause_s = pause.as_secs_f64();
    own.run(
        "UPDATE automate.job
         SET attempts = attempts + 1, status = 'scheduled', lease = NULL, last_error = $2,
             run_at = clock_timestamp() + greatest($4 * interval '1 second',
                 (1 + random() / 4) * CASE WHEN $3 THEN interval '20 milliseconds'
                 ELSE least(interval '1 millisecond' * coalesce(backoff_ms, 1000) * power(2, least(attempts, 12)), interval '1 hour') END)
         WHERE id = $1",
        &[
            pgrx::Uuid::from_bytes(*job.id.as_bytes()).into(),
            failure.text().into(),
            lost_race.into(),
            pause_s.into(),
        ],
    )?;
    crate::wake::arm_coordinator();
    Ok(())
}
