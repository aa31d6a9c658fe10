//! Outcomes on their way back, the eventfd that announces them, and the count of what is open.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use uuid::Uuid;

use crate::outcome::{Failure, Outcome, Response};
use crate::progress::Progress;

/// Shared by both threads.
pub(crate) struct Outbox {
    done: Mutex<Vec<Outcome>>,
    /// Readable exactly while `done` is not empty.
    wake: OwnedFd,
    /// Accepted and without an outcome.
    running: AtomicUsize,
    /// Accepted and not yet drained: what bounds memory.
    open: AtomicUsize,
    /// Told when `running` falls to zero.
    pub idle: Notify,
    /// Requests that were cut off by the end of the sender.
    abandoned: AtomicUsize,
    /// How long the thread may go on once no more requests can come, in milliseconds.
    grace: AtomicU64,
}

impl Outbox {
    pub fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and nobody else has it.
        let wake = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self {
            done: Mutex::new(Vec::new()),
            wake,
            running: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            idle: Notify::new(),
            abandoned: AtomicUsize::new(0),
            grace: AtomicU64::new(0),
        })
    }

    pub fn fd(&self) -> RawFd {
        self.wake.as_raw_fd()
    }

    pub fn running(&self) -> usize {
        self.running.load(Ordering::Acquire)
    }

    pub fn set_grace(&self, grace: Duration) {
        let millis = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        self.grace.store(millis, Ordering::Release);
    }

    pub fn grace(&self) -> Duration {
        Duration::from_millis(self.grace.load(Ordering::Acquire))
    }

    pub fn abandoned(&self) -> usize {
        self.abandoned.load(Ordering::Acquire)
    }

    /// A ticket for one more request, unless `limit` are open. Only the handle's thread calls it.
    pub fn admit(self: &Arc<Self>, id: Uuid, limit: usize) -> Option<Ticket> {
        if self.open.load(Ordering::Acquire) >= limit {
            return None;
        }
        self.open.fetch_add(1, Ordering::AcqRel);
        self.running.fetch_add(1, Ordering::AcqRel);
        Some(Ticket { id, progress: Arc::new(Progress::new()), outbox: self.clone(), done: false })
    }

    pub fn drain(&self) -> Vec<Outcome> {
        let mut done = self.lock();
        let mut count = 0_u64;
        // SAFETY: an eventfd is read as eight bytes into a u64 that lives here. That it is already
        // empty (EAGAIN) is no error: the point is that it is empty afterwards.
        unsafe { libc::read(self.fd(), (&raw mut count).cast(), 8) };
        let outcomes = std::mem::take(&mut *done);
        self.open.fetch_sub(outcomes.len(), Ordering::AcqRel);
        outcomes
    }

    /// Wakes the reader without an outcome: the thread has ended.
    pub fn ring(&self) {
        let one = 1_u64;
        // SAFETY: an eventfd is written as eight bytes from a u64 that lives here. It can only
        // fail when the counter is full, and then it is readable, which is what is wanted.
        unsafe { libc::write(self.fd(), (&raw const one).cast(), 8) };
    }

    fn post(&self, outcome: Outcome) {
        let last = {
            let mut done = self.lock();
            done.push(outcome);
            // Before the bell: who hears it must not find this request still running.
            let last = self.running.fetch_sub(1, Ordering::AcqRel) == 1;
            if done.len() == 1 {
                self.ring();
            }
            last
        };
        if last {
            self.idle.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Outcome>> {
        // A Vec of finished values is whole whatever panicked while it was held.
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Speaks for one accepted request: whatever happens to its task, one outcome is posted.
pub(crate) struct Ticket {
    id: Uuid,
    pub progress: Arc<Progress>,
    outbox: Arc<Outbox>,
    done: bool,
}

impl Ticket {
    pub fn finish(mut self, result: Result<Response, Failure>) {
        self.post(result);
    }

    /// The request goes back to its owner: it was never accepted.
    pub fn withdraw(mut self) {
        self.done = true;
        self.outbox.open.fetch_sub(1, Ordering::AcqRel);
        if self.outbox.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.outbox.idle.notify_one();
        }
    }

    fn post(&mut self, result: Result<Response, Failure>) {
        self.done = true;
        let latency = self.progress.latency();
        self.outbox.post(Outcome { id: self.id, result, latency });
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        self.outbox.abandoned.fetch_add(1, Ordering::AcqRel);
        let failure = Failure::transient("the sender stopped before the request was finished");
        self.post(Err(failure.sent(self.progress.sent())));
    }
}
