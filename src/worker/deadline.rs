//! Jobs that go on after their timeout: code can catch the cancel of its statement and go on, and
//! then only the end of its session stops it. The coordinator sees to that, records the attempt as
//! failed, and other jobs of the role go on in another executor.

use super::executor::TimeLimit;
use super::process;
use crate::error::{Error, Failure, Result};
use crate::queue::Job;
use crate::queue::claim;
use crate::queue::finish::{Finished, Outcome, finish};
use crate::shmem::{Kind, registry};
use crate::spi::{Own, as_extension};
use crate::{guc, pg};
use pgrx::prelude::*;
use std::time::Duration;
use uuid::Uuid;

/// Between two looks at a process that is to end.
const AGAIN_MS: i64 = 100;

/// When the timeout of a job passes that begins now, in PostgreSQL's microseconds; 0: it has none.
/// A turn of a workflow's run is none of these: its steps have timeouts of their own.
pub fn of(job: &Job) -> i64 {
    let limit_ms = match job.kind.as_str() {
        "sql" | "task" | "rule" => TimeLimit::effective(job.timeout_ms),
        _ => 0,
    };
    if limit_ms > 0 { pg::now() + i64::from(limit_ms) * 1000 } else { 0 }
}

/// A job whose session is being ended.
struct Ending {
    job: Uuid,
    pid: i32,
    /// When its timeout had passed.
    deadline: i64,
}

/// The jobs whose sessions are being ended.
pub struct Deadlines {
    db: pg_sys::Oid,
    ending: Vec<Ending>,
}

impl Deadlines {
    pub fn new(db: pg_sys::Oid) -> Deadlines {
        if let Some(registry) = registry() {
            registry.doomed.clear(db);
        }
        Deadlines { db, ending: Vec::new() }
    }

    /// Ends the sessions of jobs that are over their time, and records those that have ended;
    /// answers in how many milliseconds to look again.
    pub fn press(&mut self) -> i64 {
        self.settle();
        let Some(registry) = registry() else { return i64::MAX };
        let (now, mut next) = (pg::now(), i64::MAX);
        let grace_us = guc::kill_after_ms() * 1000;
        let executors = registry.of_database(self.db).filter(|(_, s)| s.kind() == Kind::Executor);
        for (_, slot) in executors {
            let (deadline, pid) = (slot.deadline(), slot.pid());
            if deadline == 0 || self.ending.iter().any(|e| e.pid == pid) {
                continue;
            }
            if now < deadline + grace_us {
                next = next.min((deadline + grace_us - now) / 1000 + 1);
                continue;
            }
            let Some(job) = slot.job() else { continue };
            if registry.doomed.add(self.db, job) {
                // Its job is not to blame for a crash: it is charged with an attempt below.
                slot.ask_to_leave();
                terminate(pid);
                self.ending.push(Ending { job, pid, deadline });
            }
        }
        if self.ending.is_empty() { next } else { next.min(AGAIN_MS) }
    }

    /// Records the jobs whose sessions are gone.
    fn settle(&mut self) {
        let Some(registry) = registry() else { return };
        let mut left = Vec::new();
        for ending in std::mem::take(&mut self.ending) {
            let alive = registry.slots().any(|(_, slot)| slot.pid() == ending.pid);
            let recorded = !alive
                && process::transaction(|| {
                    as_extension(|own| record(own, &ending)).unwrap_or_else(|e| e.raise())
                })
                .unwrap_or_else(|failure| {
                    log!(
                        "pg_automate cannot record the end of job {}: {}",
                        ending.job,
                        failure.text()
                    );
                    false
                });
            match recorded {
                true => registry.doomed.remove(ending.job),
                false => left.push(ending),
            }
        }
        self.ending = left;
    }
}

/// Records an attempt that was ended; false when somebody has the job locked.
fn record(own: &Own, ending: &Ending) -> Result<bool> {
    own.plan_for_queue();
    let key = || pgrx::Uuid::from_bytes(*ending.job.as_bytes());
    let rows = own.run(
        "SELECT id, kind, payload::pg_catalog.text, attempts, max_attempts, timeout_ms,
                concurrency_key, source, search_path, top_level
         FROM automate.job WHERE id = $1 AND status IN ('ready', 'running') FOR UPDATE SKIP LOCKED",
        &[key().into()],
    )?;
    let Some(job) = claim::read(&rows)?.pop() else {
        let locked: Option<bool> = own.one(
            "SELECT true FROM automate.job WHERE id = $1 AND status IN ('ready', 'running')",
            &[key().into()],
        )?;
        return Ok(locked.is_none());
    };
    let limit_ms = job.timeout_ms.and_then(|ms| u64::try_from(ms).ok());
    let outcome = Outcome::Failed(failure(limit_ms));
    let timeout_us = i64::try_from(limit_ms.unwrap_or(0)).unwrap_or(0) * 1000;
    finish(own, vec![Finished { job, outcome, started_us: ending.deadline - timeout_us }])?;
    Ok(true)
}

fn failure(limit_ms: Option<u64>) -> Failure {
    let grace = Duration::from_millis(guc::kill_after_ms().unsigned_abs());
    let limit = match limit_ms {
        Some(ms) => format!("its timeout of {:?}", Duration::from_millis(ms)),
        None => "the statement_timeout of its role".to_owned(),
    };
    Error::refused(
        PgSqlErrorCode::ERRCODE_QUERY_CANCELED,
        format!("it went on for {grace:?} after {limit}, so its session was ended"),
    )
    .with_detail("Its statement was cancelled at the timeout, and caught that or did not notice.")
    .with_hint("Let its code pass query_canceled on, or give it a longer timeout; automate.kill_after says how long is waited.")
    .into()
}

/// Ends a session as pg_terminate_backend() does.
fn terminate(pid: i32) {
    let sent = process::transaction(|| {
        // SAFETY: sends a signal to a process of ours; the coordinator is a superuser.
        unsafe {
            pgrx::direct_function_call::<bool>(
                pg_sys::pg_terminate_backend,
                &[pid.into_datum(), 0i64.into_datum()],
            );
        }
    });
    if let Err(failure) = sent {
        log!("pg_automate cannot end process {pid}: {}", failure.text());
    }
}
