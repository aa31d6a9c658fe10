//! The network thread: one event loop, one task for each request.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout_at;

use crate::http::Http;
use crate::lane::Lanes;
use crate::outbox::{Outbox, Ticket};
use crate::outcome::{Failure, Response};
use crate::progress::{Progress, Step};
use crate::request::{Kind, Request};
use crate::sender::{Config, StartError};
use crate::smtp::Smtp;
use crate::tls::Trust;

/// No deadline is longer: a day.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Threads that wait for the system's name look-up; they start when needed and end when idle.
const LOOKUP_THREADS: usize = 4;

/// An accepted request on its way to the thread.
pub(crate) struct Job {
    pub request: Box<Request>,
    pub ticket: Ticket,
}

/// What all tasks share.
pub(crate) struct Worker {
    http: Http,
    smtp: Arc<Smtp>,
    lanes: Lanes,
    turns: Semaphore,
}

impl Worker {
    pub fn new(config: Config) -> Result<Self, StartError> {
        let trust = Trust::load(config.ca_file.as_deref())?;
        let width = |n: usize| n.clamp(1, Semaphore::MAX_PERMITS);
        Ok(Self {
            lanes: Lanes::new(width(config.per_host)),
            turns: Semaphore::new(width(config.max_in_flight)),
            smtp: Arc::new(Smtp::new(&trust)),
            http: Http::new(&trust, &config),
        })
    }

    async fn serve(&self, request: Request, progress: &Progress) -> Result<Response, Failure> {
        let Some(_lane) = self.lanes.enter(&request.kind).await else {
            return Err(Failure::transient("the sender is stopping"));
        };
        let Ok(_turn) = self.turns.acquire().await else {
            return Err(Failure::transient("the sender is stopping"));
        };
        // Its turn may come in the very moment in which its time is over: then nothing is begun.
        if progress.accepted().elapsed() + LEAST >= request.deadline {
            return Err(late(request.deadline, progress));
        }
        progress.at(Step::Connecting);
        // On the heap only now: thousands may be waiting, and the state of a dialogue is large.
        match request.kind {
            Kind::Http(http) => Box::pin(self.http.send(http, &request.allow, progress)).await,
            Kind::Smtp(smtp) => Box::pin(self.smtp.send(smtp, &request.allow, progress)).await,
        }
    }
}

/// A request that has less time left is not begun: timers are no finer.
const LEAST: Duration = Duration::from_millis(1);

/// The event loop, made on the caller's thread so that its failure can be reported there.
pub(crate) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(LOOKUP_THREADS)
        .thread_name("automate_name")
        .build()
}

/// The thread's whole life.
pub(crate) fn main(
    runtime: Runtime,
    worker: Worker,
    inbox: UnboundedReceiver<Job>,
    outbox: &Arc<Outbox>,
) {
    let life = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(run(Arc::new(worker), inbox, outbox));
        // Cuts off what is left; a name look-up that hangs must not hold up the end.
        runtime.shutdown_background();
    }));
    // Ended by request or by a defect: in both cases the tickets have spoken, and the owner of
    // the handle learns it by waking up and finding `is_alive` false.
    drop(life);
    outbox.ring();
}

async fn run(worker: Arc<Worker>, mut inbox: UnboundedReceiver<Job>, outbox: &Outbox) {
    while let Some(job) = inbox.recv().await {
        tokio::spawn(answer(worker.clone(), job));
    }
    let end = instant_after(Instant::now(), outbox.grace());
    while outbox.running() > 0 {
        if timeout_at(end, outbox.idle.notified()).await.is_err() {
            break;
        }
    }
    worker.smtp.close(end).await;
}

/// One request from its turn in the queue to its outcome.
async fn answer(worker: Arc<Worker>, job: Job) {
    let Job { request, ticket } = job;
    let progress = ticket.progress.clone();
    let deadline = request.deadline;
    let result = guarded(worker.serve(*request, &progress), deadline, &progress).await;
    ticket.finish(result);
}

/// What may take for ever, or panic, ends in time and with a value.
async fn guarded(
    work: impl Future<Output = Result<Response, Failure>>,
    deadline: Duration,
    progress: &Progress,
) -> Result<Response, Failure> {
    let end = instant_after(progress.accepted(), deadline);
    match timeout_at(end, AssertUnwindSafe(work).catch_unwind()).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => {
            let failure = Failure::transient("internal error while sending: a task panicked");
            Err(failure.sent(progress.sent()))
        }
        Err(_) => Err(late(deadline, progress)),
    }
}

fn late(allowed: Duration, progress: &Progress) -> Failure {
    let doing = match progress.step() {
        Step::Waiting => "waiting for its turn",
        Step::Connecting => "connecting",
        Step::Sending => "waiting for the answer",
        Step::Reading => "reading the answer",
    };
    Failure::transient(format!("deadline of {allowed:?} passed while {doing}"))
        .sent(progress.sent())
}

fn instant_after(start: Instant, wait: Duration) -> tokio::time::Instant {
    tokio::time::Instant::from_std(start) + wait.min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Class;

    fn end_of(work: impl Future<Output = Result<Response, Failure>>, wait: Duration) -> Failure {
        let progress = Progress::new();
        runtime().unwrap().block_on(guarded(work, wait, &progress)).unwrap_err()
    }

    #[test]
    fn a_panic_is_a_failure() {
        let failure = end_of(async { panic!("on purpose") }, LONGEST);
        assert_eq!(failure.class, Class::Transient);
        assert_eq!(failure.message, "internal error while sending: a task panicked");
    }

    #[test]
    fn no_deadline_is_too_long_to_be_counted() {
        let failure = end_of(async { Err(Failure::permanent("done")) }, Duration::MAX);
        assert_eq!(failure.message, "done");
    }

    #[test]
    fn a_deadline_that_is_over_is_over() {
        let failure = end_of(std::future::pending(), Duration::ZERO);
        assert_eq!(failure.message, "deadline of 0ns passed while waiting for its turn");
    }

    /// A thread that dies with requests in its hands still answers each of them.
    #[test]
    fn a_ticket_that_is_lost_speaks() {
        let outbox = Arc::new(Outbox::new().unwrap());
        let ticket = outbox.admit(uuid::Uuid::nil(), 1).unwrap();
        assert!(outbox.admit(uuid::Uuid::nil(), 1).is_none());
        drop(ticket);
        let outcomes = outbox.drain();
        assert_eq!((outcomes.len(), outbox.running(), outbox.abandoned()), (1, 0, 1));
        assert!(outcomes[0].result.is_err());
        assert!(outbox.admit(uuid::Uuid::nil(), 1).is_some());
    }
}
