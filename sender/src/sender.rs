//! The handle on the caller's thread, and the start and end of the other one.

use std::io;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::outbox::Outbox;
use crate::outcome::Outcome;
use crate::request::Request;
use crate::signals::Blocked;
use crate::worker::{self, Job, Worker};

/// Limits and identity of a [`Sender`].
#[derive(Debug, Clone)]
pub struct Config {
    /// Requests that do I/O at once.
    pub max_in_flight: usize,
    /// Requests that may wait beyond those.
    pub queue: usize,
    /// HTTP requests to one scheme, host and port at once.
    pub per_host: usize,
    /// How much of an answer's body is kept, unless the request says otherwise.
    pub max_response_bytes: usize,
    /// Certificates to trust, PEM; `None` takes the system's, or Mozilla's when it has none.
    pub ca_file: Option<PathBuf>,
    /// The User-Agent header.
    pub user_agent: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_in_flight: 256,
            queue: 4096,
            per_host: 32,
            max_response_bytes: 64 * 1024,
            ca_file: None,
            user_agent: concat!("pg_automate/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// Why a [`Sender`] did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A thread, an event loop or a descriptor could not be had.
    #[error("could not start the network thread: {0}")]
    System(#[from] io::Error),
    /// The file of certificates is of no use.
    #[error("could not read certificates from \"{}\": {reason}", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The TLS library refused its configuration.
    #[error("could not set up TLS: {0}")]
    Tls(String),
}

/// A request that was not accepted, given back.
pub struct Full {
    /// Unchanged.
    pub request: Box<Request>,
    /// Not for want of room: the thread has ended, and only a new [`Sender`] helps.
    pub stopped: bool,
}

impl std::fmt::Debug for Full {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Full").field("stopped", &self.stopped).finish_non_exhaustive()
    }
}

impl std::fmt::Display for Full {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.stopped { "the sender has stopped" } else { "the sender is full" })
    }
}

impl std::error::Error for Full {}

/// The handle. Dropping it cuts off what is running.
pub struct Sender {
    /// Gone once the end was asked for: that is how the thread hears of it.
    jobs: Option<UnboundedSender<Job>>,
    outbox: Arc<Outbox>,
    thread: Option<JoinHandle<()>>,
    limit: usize,
}

impl Sender {
    /// Starts the thread. All signals are blocked around the start, so that the thread and those
    /// it starts for name look-ups never take one; the caller's own mask is restored.
    pub fn start(config: Config) -> Result<Sender, StartError> {
        let limit = config.max_in_flight.max(1).saturating_add(config.queue);
        let outbox = Arc::new(Outbox::new()?);
        let worker = Worker::new(config)?;
        // Bounded by `limit`, which also counts what runs and what waits to be drained.
        let (jobs, inbox) = unbounded_channel();
        let blocked = Blocked::all()?;
        let runtime = worker::runtime()?;
        let bell = outbox.clone();
        let thread = std::thread::Builder::new()
            .name("automate_net".to_owned())
            .spawn(move || worker::main(runtime, worker, inbox, &bell))?;
        drop(blocked);
        Ok(Sender { jobs: Some(jobs), outbox, thread: Some(thread), limit })
    }

    /// Hands a request over. Never blocks; gives it back when as many are open (waiting, running
    /// or not yet drained) as [`Config::queue`] and [`Config::max_in_flight`] together allow.
    pub fn submit(&self, request: Request) -> Result<(), Full> {
        let Some(ticket) = self.outbox.admit(request.id, self.limit) else {
            return Err(Full { request: Box::new(request), stopped: false });
        };
        let job = Job { request: Box::new(request), ticket };
        let refused = match &self.jobs {
            Some(jobs) => jobs.send(job).map_err(|error| error.0),
            None => Err(job),
        };
        refused.map_err(|job| {
            job.ticket.withdraw();
            Full { request: job.request, stopped: true }
        })
    }

    /// A descriptor that is readable while outcomes wait (or once the thread has ended). It is
    /// the sender's: do not read, write or close it.
    pub fn wake_fd(&self) -> RawFd {
        self.outbox.fd()
    }

    /// Takes all outcomes and clears [`Sender::wake_fd`].
    pub fn drain(&self) -> Vec<Outcome> {
        self.outbox.drain()
    }

    /// Requests that were accepted and have no outcome yet.
    pub fn in_flight(&self) -> usize {
        self.outbox.running()
    }

    /// Whether the thread still runs. It ends only by [`Sender::stop`] or by a defect.
    pub fn is_alive(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// As [`Sender::finish`], for a caller that has no use for the last outcomes: returns how many
    /// requests were abandoned.
    pub fn stop(self, grace: Duration) -> usize {
        self.finish(grace).0
    }

    /// Accepts nothing more, waits up to `grace` for what is open, ends the thread. Returns how
    /// many requests were abandoned and all outcomes that were not drained, those of the
    /// abandoned ones included.
    pub fn finish(mut self, grace: Duration) -> (usize, Vec<Outcome>) {
        self.end(grace);
        (self.outbox.abandoned(), self.outbox.drain())
    }

    fn end(&mut self, grace: Duration) {
        self.outbox.set_grace(grace);
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic was already turned into outcomes by the tickets.
            let _ = thread.join();
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.end(Duration::ZERO);
    }
}
