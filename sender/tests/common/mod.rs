//! What the tests share: a sender on loopback, and waiting for its outcomes with a deadline.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::HashMap;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use automate_core::net::Allow;
use automate_sender::{Config, Failure, Kind, Outcome, Request, Response, Sender};
use uuid::Uuid;

/// Nothing on loopback takes this long unless it is stuck.
pub const STUCK: Duration = Duration::from_secs(30);

pub fn loopback() -> Arc<Allow> {
    Arc::new(Allow::parse("127.0.0.0/8").unwrap())
}

pub fn start() -> Sender {
    Sender::start(Config::default()).unwrap()
}

pub fn request(kind: Kind) -> Request {
    Request { id: Uuid::now_v7(), allow: loopback(), deadline: STUCK, kind }
}

/// Waits until the descriptor is readable, as the main thread of a worker would.
pub fn readable(fd: RawFd, wait: Duration) -> bool {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let millis = i32::try_from(wait.as_millis()).unwrap();
    // SAFETY: one pollfd that lives here.
    unsafe { libc::poll(&raw mut poll, 1, millis) == 1 }
}

/// The next `count` outcomes, by the way that a worker takes them.
pub fn outcomes(sender: &Sender, count: usize) -> Vec<Outcome> {
    let end = Instant::now() + STUCK;
    let mut all = Vec::new();
    while all.len() < count {
        let left = end.saturating_duration_since(Instant::now());
        assert!(readable(sender.wake_fd(), left), "{} of {count} outcomes came", all.len());
        all.extend(sender.drain());
    }
    assert_eq!(all.len(), count);
    all
}

/// Sends all and returns the results in the order of the requests.
pub fn results(sender: &Sender, requests: Vec<Request>) -> Vec<Result<Response, Failure>> {
    let ids: Vec<Uuid> = requests.iter().map(|request| request.id).collect();
    for request in requests {
        sender.submit(request).unwrap();
    }
    let mut by_id: HashMap<Uuid, _> = HashMap::new();
    for outcome in outcomes(sender, ids.len()) {
        assert!(by_id.insert(outcome.id, outcome.result).is_none(), "an outcome came twice");
    }
    ids.iter().map(|id| by_id.remove(id).unwrap()).collect()
}

pub fn result(sender: &Sender, request: Request) -> Result<Response, Failure> {
    results(sender, vec![request]).remove(0)
}
