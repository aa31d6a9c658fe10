//! The courier: the process that sends, over one I/O thread; it holds no transaction while it waits.
//!
//! A turn is one transaction: it records what became of earlier requests and claims the next ones
//! under a lease. Between two turns the claimed work is handed to the I/O thread, and the process
//! sleeps until its latch is set or an outcome arrives. Commits are asynchronous: what a crash
//! forgets is sent once more under the same id.

mod call;
mod claim;
mod message;
mod record;

use crate::queue::Job;
use crate::shmem::{Kind, State, registry};
use crate::spi::as_extension;
use crate::worker::process::{self, Process};
use crate::{guc, pg};
use automate_core::net::Allow;
use automate_sender::{Config, Request, Sender};
use claim::Room;
use pgrx::prelude::*;
use record::Done;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Requests that do I/O at once.
const IN_FLIGHT: usize = 512;
/// Requests that wait in the I/O thread beyond those.
const WAITING: usize = 2048;
/// Open requests of one role: others always find room.
const PER_OWNER: usize = 512;
/// Bytes of messages in memory at once; one larger message alone is taken as well.
const BYTES: usize = 8 << 20;
/// Longest sleep: a lost hint costs no more than this.
const SAFETY_WAKE_MS: i64 = 30_000;
/// From this many open requests on, outcomes are gathered for a moment before they are recorded.
const MANY: usize = 64;
/// That moment.
const GATHER_MS: i64 = 2;
/// How long open requests may go on when the courier is to leave.
const GRACE: Duration = Duration::from_millis(150);

/// What a claimed job sends.
pub enum Errand {
    /// A delivery of a notification.
    Delivery,
    /// A request, perhaps of a run's step.
    Call(Option<call::Asker>),
    /// The request of a task, with the statuses that it expects.
    Task(Vec<u16>),
}

/// A job under our lease.
pub struct Flight {
    pub job: Job,
    pub owner: pg_sys::Oid,
    pub errand: Errand,
    pub bytes: usize,
    pub started_us: i64,
    /// Texts that must not appear in what is recorded.
    pub secrets: Rc<Vec<String>>,
}

struct Courier {
    me: Process,
    sender: Option<Sender>,
    flights: HashMap<Uuid, Flight>,
    /// What became of jobs and is not recorded yet.
    done: Vec<Done>,
    /// The setting as it was read last, and what it means; None while it cannot be read.
    allow_text: String,
    allow: Option<Arc<Allow>>,
}

#[doc(hidden)]
#[unsafe(no_mangle)]
#[pg_guard]
pub extern "C-unwind" fn automate_courier_main(index: pg_sys::Datum) {
    process::take_signals();
    let mut me = Process::enter(index.value(), Kind::Courier);
    me.slot.set_state(State::Starting);
    // SAFETY: the bootstrap superuser; only our own tables are touched.
    unsafe { pg_sys::BackgroundWorkerInitializeConnectionByOid(me.db, pg_sys::InvalidOid, 0) };
    me.bind_to_extension();
    process::set(c"synchronous_commit", c"off");
    let sender = start_sender();
    let mut courier = Courier {
        me,
        sender: Some(sender),
        flights: HashMap::new(),
        done: Vec::new(),
        allow_text: String::new(),
        allow: Some(Arc::new(Allow::default())),
    };
    courier.work()
}

fn start_sender() -> Sender {
    let config =
        Config { max_in_flight: IN_FLIGHT, queue: WAITING, per_host: 64, ..Config::default() };
    Sender::start(config)
        .unwrap_or_else(|e| process::fail(&format!("pg_automate courier cannot start: {e}")))
}

impl Courier {
    fn work(&mut self) -> ! {
        let mut idle_since = pg::now();
        loop {
            if self.me.is_asked_to_leave() {
                self.leave();
            }
            // Idle is said before looking: a commit from here on sets our latch.
            self.me.slot.set_state(State::Idle);
            self.read_allow();
            self.collect();
            if self.flights.len() >= MANY && self.done.len() < self.flights.len() / 4 {
                // More outcomes are about to come: a transaction for a handful would cost more
                // than it gains.
                process::wait(GATHER_MS);
                self.collect();
            }
            let claimed = self.turn();
            if claimed > 0 || !self.flights.is_empty() || !self.done.is_empty() {
                idle_since = pg::now();
            }
            if !self.done.is_empty() {
                // Not recorded for want of a working transaction: it is tried again.
                process::wait(1000);
                continue;
            }
            if claimed == 0 {
                self.sleep(idle_since);
            }
        }
    }

    /// Sleeps until there may be something to do; ends the process when it has long had nothing.
    fn sleep(&mut self, idle_since: i64) {
        process::report(None);
        process::report_statistics();
        let Some(fd) = self.sender.as_ref().map(Sender::wake_fd) else { process::leave() };
        let mut wait_ms = SAFETY_WAKE_MS;
        if self.flights.is_empty() {
            wait_ms = guc::executor_idle_timeout_ms() - (pg::now() - idle_since) / 1000;
            if wait_ms <= 0 {
                self.leave();
            }
        }
        process::wait_for(fd, wait_ms);
    }

    /// Reads the setting that says what may be reached, when it has changed.
    fn read_allow(&mut self) {
        let text = guc::network_allow();
        if text == self.allow_text {
            return;
        }
        self.allow = match Allow::parse(&text) {
            Ok(allow) => Some(Arc::new(allow)),
            Err(e) => {
                log!("pg_automate courier sends nothing: automate.network_allow: {e}");
                None
            }
        };
        self.allow_text = text;
    }

    /// Takes the outcomes that have arrived.
    fn collect(&mut self) {
        let Some(sender) = &self.sender else { return };
        let outcomes = sender.drain();
        for outcome in outcomes {
            if let Some(flight) = self.flights.remove(&outcome.id) {
                self.done.push(Done::of(flight, outcome));
            }
        }
        if !self.sender.as_ref().is_some_and(Sender::is_alive) {
            log!("pg_automate courier: the network thread has ended, another is started");
            self.sender = Some(start_sender());
        }
    }

    /// Records and claims in one transaction, then hands over what was claimed; returns how much.
    fn turn(&mut self) -> usize {
        let paused = guc::paused() || registry().is_none_or(|r| r.is_paused(self.me.db));
        let room = if paused || self.allow.is_none() { None } else { Some(self.room()) };
        if self.done.is_empty() && room.is_none() {
            return 0;
        }
        let lease = self.me.lease();
        if !self.done.is_empty() {
            self.me.slot.set_state(State::Busy);
        }
        let result = process::transaction(|| {
            if !self.me.extension_is_ours() {
                process::leave();
            }
            as_extension(|own| {
                own.plan_for_queue();
                record::record(own, &self.done)?;
                match &room {
                    Some(room) => claim::claim(own, room, lease),
                    None => Ok(Vec::new()),
                }
            })
            .unwrap_or_else(|e| e.raise())
        });
        match result {
            Ok(claimed) => {
                self.done.clear();
                let count = claimed.len();
                self.hand_over(claimed);
                count
            }
            Err(failure) => {
                log!("pg_automate courier: {}", failure.text());
                process::wait(1000);
                0
            }
        }
    }

    /// How much of whose work may still be claimed.
    fn room(&self) -> Room {
        let mut owners: HashMap<pg_sys::Oid, usize> = HashMap::new();
        let mut bytes = 0;
        for flight in self.flights.values() {
            *owners.entry(flight.owner).or_default() += 1;
            bytes += flight.bytes;
        }
        Room {
            total: (IN_FLIGHT + WAITING).saturating_sub(self.flights.len()),
            per_owner: PER_OWNER,
            open: owners,
            bytes: BYTES.saturating_sub(bytes),
            empty: self.flights.is_empty(),
        }
    }

    /// Gives claimed work to the I/O thread. What cannot be sent at all is done at once.
    fn hand_over(&mut self, claimed: Vec<(Flight, claim::Prepared)>) {
        let Some(allow) = self.allow.clone() else { return };
        for (flight, prepared) in claimed {
            let id = flight.job.id;
            let built = prepared.and_then(|outgoing| outgoing.build(&allow));
            let (deadline, kind) = match built {
                Ok(built) => built,
                Err(trouble) => {
                    self.done.push(Done::unsent(flight, trouble));
                    continue;
                }
            };
            let allowed_ms = flight.job.timeout_ms.and_then(|ms| u64::try_from(ms).ok());
            let deadline = allowed_ms.map_or(deadline, Duration::from_millis);
            let request = Request { id, allow: allow.clone(), deadline, kind };
            match self.sender.as_ref().map(|s| s.submit(request)) {
                Some(Ok(())) => {
                    self.flights.insert(id, flight);
                }
                _ => self.done.push(Done::untouched(flight)),
            }
        }
    }

    /// Ends the process: what is done by now is recorded, the rest is ready for the next courier.
    fn leave(&mut self) -> ! {
        if let Some(sender) = self.sender.take() {
            let (_, outcomes) =
                sender.finish(if self.flights.is_empty() { Duration::ZERO } else { GRACE });
            for outcome in outcomes {
                if let Some(flight) = self.flights.remove(&outcome.id) {
                    self.done.push(Done::at_the_end(flight, outcome));
                }
            }
        }
        if !self.done.is_empty() {
            // Whoever drops the extension may hold the locks already; then there is no one to tell.
            process::set(c"lock_timeout", c"300ms");
            let recorded = process::transaction(|| {
                if self.me.extension_is_ours() {
                    as_extension(|own| {
                        own.plan_for_queue();
                        record::record(own, &self.done)
                    })
                    .unwrap_or_else(|e| e.raise());
                }
            });
            if let Err(failure) = recorded {
                log!("pg_automate courier leaves: {}", failure.text());
            }
        }
        process::leave()
    }
}
