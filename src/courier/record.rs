//! Recording what became of claimed work, a set at a time.

use super::{Errand, Flight, call, claim};
use crate::error::{Error, Failure, Result};
use crate::notify::channel::to_pg;
use crate::queue::Job;
use crate::queue::finish::{Finished, Outcome, finish, may_retry};
use crate::spi::{Own, step};
use crate::{wake, workflow};
use automate_sender::{Class, Response};
use pgrx::prelude::*;
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

/// Bytes of an answer that are kept with a delivery, or with a task's run.
const EXCERPT: usize = 2000;
const EXCERPT_OF_TASK: usize = 8000;
/// Attempts at a request whose connection could not be made.
const CONNECT_ATTEMPTS: i32 = 3;

/// A job's end, or its return to the queue.
pub struct Done {
    flight: Flight,
    end: End,
}

enum End {
    Sent {
        response: Response,
        latency_ms: i32,
    },
    Failed {
        failure: Failure,
        again: Again,
        answer: Value,
        response: Option<String>,
        latency_ms: i32,
    },
    Untouched,
}

/// Whether another attempt makes sense.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    No,
    Later(Duration),
}

impl Done {
    /// The outcome of a request.
    pub fn of(flight: Flight, outcome: automate_sender::Outcome) -> Done {
        let latency_ms = i32::try_from(outcome.latency.as_millis()).unwrap_or(i32::MAX);
        let end = match expected(&flight, outcome.result) {
            Ok(response) => End::Sent { response, latency_ms },
            Err(failure) => End::Failed {
                again: again(&flight, &failure),
                answer: call::answer_failed(&failure),
                response: failure
                    .code
                    .map(|code| excerpt(code, &failure.body, &flight.secrets, kept(&flight))),
                failure: plain(&failure, &flight.secrets),
                latency_ms,
            },
        };
        Done { flight, end }
    }

    /// It could not be sent at all.
    pub fn unsent(flight: Flight, failure: Failure) -> Done {
        let waits = failure.code == PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
        let again = if waits { Again::Later(Duration::ZERO) } else { Again::No };
        let answer = call::answer_unsent(&failure);
        Done { flight, end: End::Failed { failure, again, answer, response: None, latency_ms: 0 } }
    }

    /// There was no room for it: it is ready again, as if nothing had been.
    pub fn untouched(flight: Flight) -> Done {
        Done { flight, end: End::Untouched }
    }

    /// The outcome of a request that may have been cut off because the courier leaves: then it is
    /// ready again for the next courier.
    pub fn at_the_end(flight: Flight, outcome: automate_sender::Outcome) -> Done {
        match &outcome.result {
            Err(failure) if failure.class == Class::Transient && failure.code.is_none() => {
                Done::untouched(flight)
            }
            _ => Done::of(flight, outcome),
        }
    }
}

/// What a task makes of an answer that is or is not among those that it expects.
fn expected(
    flight: &Flight,
    result: std::result::Result<Response, automate_sender::Failure>,
) -> std::result::Result<Response, automate_sender::Failure> {
    let Errand::Task(expect) = &flight.errand else { return result };
    let wanted = |status: u16| expect.contains(&status);
    match result {
        Ok(response) if !expect.is_empty() && !wanted(response.status) => {
            Err(automate_sender::Failure {
                class: Class::Permanent,
                code: Some(response.status),
                message: format!("the peer answered {}, which is not expected", response.status),
                hint: Some("The task's args say in \"expect\" which statuses are good.".into()),
                retry_after: None,
                sent: true,
                headers: response.headers,
                body: response.body,
                truncated: response.truncated,
            })
        }
        Err(failure) if failure.code.is_some_and(wanted) => Ok(Response {
            status: failure.code.unwrap_or_default(),
            headers: failure.headers,
            body: failure.body,
            truncated: failure.truncated,
        }),
        result => result,
    }
}

/// A delivery is tried again while that may help. A step's own retry decides about an answer; the
/// queue repeats only what never reached the peer.
fn again(flight: &Flight, failure: &automate_sender::Failure) -> Again {
    let later = Again::Later(failure.retry_after.unwrap_or_default());
    match (&flight.errand, failure.class) {
        (_, Class::Permanent | Class::Refused) => Again::No,
        (Errand::Delivery | Errand::Call(None) | Errand::Task(_), Class::Transient) => later,
        (Errand::Call(Some(_)), Class::Transient) => {
            let unreached = failure.code.is_none() && !failure.sent;
            if unreached && flight.job.attempts + 1 < CONNECT_ATTEMPTS { later } else { Again::No }
        }
    }
}

/// The sender's failure as one of ours.
fn plain(failure: &automate_sender::Failure, secrets: &[String]) -> Failure {
    let code = match (failure.class, failure.code) {
        (Class::Refused, _) => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        (Class::Permanent, None) => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
        (Class::Transient, None) => PgSqlErrorCode::ERRCODE_CONNECTION_FAILURE,
        (_, Some(_)) => PgSqlErrorCode::ERRCODE_EXTERNAL_ROUTINE_EXCEPTION,
    };
    let clean = |text: &str| hide(&text.replace('\0', "\u{fffd}"), secrets);
    Failure {
        code,
        message: clean(&failure.message),
        detail: None,
        hint: failure.hint.as_deref().or_else(|| way_out(failure)).map(clean),
    }
}

/// What can be done about a failure that does not say so itself. Codes from 500 on are permanent
/// with mail only.
fn way_out(failure: &automate_sender::Failure) -> Option<&'static str> {
    Some(match (failure.class, failure.code) {
        (_, Some(401 | 403 | 407 | 530 | 534 | 535)) => {
            "Check the user, the password, the signing secret or the headers that are sent."
        }
        (_, Some(300..=399 | 404 | 405 | 410)) => "Check the URL.",
        (Class::Permanent, Some(500..)) => "Check the recipient's address, and that of the sender.",
        (Class::Permanent, _) => {
            "It would fail again as it is: change what is sent, or the channel."
        }
        (Class::Transient, None) => {
            "Check that the peer is up, and that the database server can reach it."
        }
        (Class::Transient, Some(_)) => "The peer may take it later.",
        (Class::Refused, _) => return None,
    })
}

/// How much of an answer is kept.
fn kept(flight: &Flight) -> usize {
    if matches!(flight.errand, Errand::Task(_)) { EXCERPT_OF_TASK } else { EXCERPT }
}

/// Code and beginning of an answer.
fn excerpt(code: u16, body: &[u8], secrets: &[String], most: usize) -> String {
    let text = hide(&call::text(&body[..body.len().min(4 * most)]), secrets);
    let mut text = format!("{code} {}", text.trim());
    text.truncate(text.floor_char_boundary(most));
    text.trim_end().to_owned()
}

fn hide(text: &str, secrets: &[String]) -> String {
    secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "***"))
}

/// Records all ends. If one of them spoils the set, each is recorded by itself, and the one that
/// cannot be fails alone.
pub fn record(own: &Own, done: &[Done]) -> Result<()> {
    if done.is_empty() || attempt(own, done).is_ok() {
        return Ok(());
    }
    for one in done {
        let Err(failure) = attempt(own, std::slice::from_ref(one)) else { continue };
        let job = one.flight.job.clone();
        log!("pg_automate courier cannot record the end of job {}: {}", job.id, failure.text());
        let outcome = Outcome::GivenUp(failure.clone());
        let ended = step::in_subtransaction(|| {
            finish(own, vec![Finished { job, outcome, started_us: one.flight.started_us }])
                .unwrap_or_else(|e| e.raise());
        });
        if let Err(failure) = ended {
            return Err(Error::from(failure));
        }
    }
    Ok(())
}

fn attempt(own: &Own, done: &[Done]) -> std::result::Result<(), Failure> {
    step::in_subtransaction(|| set_down(own, done).unwrap_or_else(|e| e.raise()))
}

fn set_down(own: &Own, done: &[Done]) -> Result<()> {
    let untouched: Vec<Uuid> =
        done.iter().filter(|d| matches!(d.end, End::Untouched)).map(|d| d.flight.job.id).collect();
    if !untouched.is_empty() {
        claim::give_back(own, &untouched)?;
    }
    update_deliveries(own, done)?;
    if done.iter().any(|d| matches!(d.flight.errand, Errand::Task(_))) {
        // Later runs may have waited for their turn.
        wake::arm_coordinator();
    }
    let mut finished = Vec::with_capacity(done.len());
    for one in done {
        let outcome = match outcome_of(one) {
            Some(outcome) => outcome,
            None => continue,
        };
        let outcome = tell_run(own, one, outcome);
        let job = job_of(one);
        finished.push(Finished { job, outcome, started_us: one.flight.started_us });
    }
    finish(own, finished)
}

/// The job as the queue shall count it: an unreached peer gets its attempts whatever was asked.
fn job_of(done: &Done) -> Job {
    let mut job = done.flight.job.clone();
    if matches!(done.flight.errand, Errand::Call(Some(_))) {
        job.max_attempts = job.max_attempts.max(CONNECT_ATTEMPTS);
    }
    if let (Errand::Task(_), End::Failed { response, .. }) = (&done.flight.errand, &done.end) {
        job.said = response.clone();
    }
    job
}

fn outcome_of(done: &Done) -> Option<Outcome> {
    match &done.end {
        End::Untouched => None,
        End::Sent { response, .. } => {
            let mut answer = json!({ "status": response.status });
            if let Errand::Task(_) = done.flight.errand {
                let (status, body) = (response.status, &response.body);
                answer["output"] = excerpt(status, body, &[], EXCERPT_OF_TASK).into();
            }
            Some(Outcome::Succeeded(answer))
        }
        End::Failed { failure, again: Again::Later(pause), .. } => {
            Some(Outcome::Later(failure.clone(), *pause))
        }
        End::Failed { failure, again: Again::No, .. } => Some(Outcome::GivenUp(failure.clone())),
    }
}

/// True when the job goes back to the queue for another attempt.
fn is_put_off(done: &Done) -> bool {
    match &done.end {
        End::Failed { failure, again: Again::Later(_), .. } => may_retry(&job_of(done), failure),
        _ => false,
    }
}

/// Hands an answer to the run that waits for it. A run that cannot take it fails this job alone.
fn tell_run(own: &Own, done: &Done, outcome: Outcome) -> Outcome {
    let Errand::Call(Some(asker)) = &done.flight.errand else { return outcome };
    if is_put_off(done) {
        return outcome;
    }
    let answer = match &done.end {
        End::Sent { response, .. } => call::answer_ok(response),
        End::Failed { answer, .. } => answer.clone(),
        End::Untouched => return outcome,
    };
    let told = step::in_subtransaction(|| {
        workflow::resume(own, asker.run, &asker.step, asker.attempt, &answer)
            .unwrap_or_else(|e| e.raise());
    });
    match told {
        Ok(()) => outcome,
        Err(failure) => Outcome::GivenUp(failure),
    }
}

fn update_deliveries(own: &Own, done: &[Done]) -> Result<()> {
    let mut ids: Vec<pgrx::Uuid> = Vec::new();
    let mut states: Vec<&str> = Vec::new();
    let mut errors: Vec<Option<String>> = Vec::new();
    let mut responses: Vec<Option<String>> = Vec::new();
    let mut latencies: Vec<i32> = Vec::new();
    for one in done.iter().filter(|d| matches!(d.flight.errand, Errand::Delivery)) {
        let (state, error, response, latency_ms) = match &one.end {
            End::Untouched => continue,
            End::Sent { response, latency_ms } => {
                let text = excerpt(response.status, &response.body, &one.flight.secrets, EXCERPT);
                ("sent", None, Some(text), *latency_ms)
            }
            End::Failed { failure, response, latency_ms, .. } => {
                let state = if is_put_off(one) { "retrying" } else { "failed" };
                (state, Some(failure.text()), response.clone(), *latency_ms)
            }
        };
        ids.push(to_pg(one.flight.job.id));
        states.push(state);
        errors.push(error);
        responses.push(response);
        latencies.push(latency_ms);
    }
    if ids.is_empty() {
        return Ok(());
    }
    own.run(
        "UPDATE automate.delivery AS d
         SET state = u.state, attempts = d.attempts + 1, last_error = u.error,
             response = coalesce(u.response, d.response), latency_ms = u.latency_ms,
             sent_at = CASE WHEN u.state = 'sent' THEN clock_timestamp() END
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::int[])
              AS u(id, state, error, response, latency_ms)
         WHERE d.id = u.id",
        &[ids.into(), states.into(), errors.into(), responses.into(), latencies.into()],
    )?;
    Ok(())
}
