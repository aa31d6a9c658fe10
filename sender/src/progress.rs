//! How far a request has come, readable from outside when it is cut off.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

/// Steps in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Step {
    /// For other requests to the same host, or for all the others.
    Waiting = 0,
    /// Name, address, connection, TLS, greeting.
    Connecting = 1,
    /// From here on the peer may have it.
    Sending = 2,
    /// The answer's head is there.
    Reading = 3,
}

/// Shared between a request's task and the ticket that speaks for it.
#[derive(Debug)]
pub(crate) struct Progress {
    accepted: Instant,
    started: OnceLock<Instant>,
    step: AtomicU8,
}

impl Progress {
    pub fn new() -> Self {
        Self { accepted: Instant::now(), started: OnceLock::new(), step: AtomicU8::new(0) }
    }

    pub fn accepted(&self) -> Instant {
        self.accepted
    }

    /// The first call also starts the clock of the latency.
    pub fn at(&self, step: Step) {
        self.started.get_or_init(Instant::now);
        self.step.store(step as u8, Ordering::Relaxed);
    }

    pub fn step(&self) -> Step {
        match self.step.load(Ordering::Relaxed) {
            0 => Step::Waiting,
            1 => Step::Connecting,
            2 => Step::Sending,
            _ => Step::Reading,
        }
    }

    /// The peer may have it.
    pub fn sent(&self) -> bool {
        self.step() >= Step::Sending
    }

    pub fn latency(&self) -> std::time::Duration {
        self.started.get().unwrap_or(&self.accepted).elapsed()
    }
}
