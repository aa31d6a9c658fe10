//! Start, bounds and end of a sender, and what it does to the process around it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
mod http_server;

use std::time::Duration;

use automate_sender::{Config, HttpRequest, Kind, Request, Sender, StartError};
use common::{STUCK, loopback, outcomes, readable, request, start};
use http_server::{Reply, Server};

fn to(server: &Server) -> Request {
    request(Kind::Http(HttpRequest {
        method: "POST".to_owned(),
        url: server.url("/"),
        headers: Vec::new(),
        body: b"body".to_vec(),
        max_response_bytes: None,
    }))
}

/// A line of a thread's status file, such as its mask of blocked signals.
fn status(path: &std::path::Path, field: &str) -> Option<String> {
    let text = std::fs::read_to_string(path.join("status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    Some(line.trim_start_matches(':').trim().to_owned())
}

#[test]
fn its_threads_block_every_signal_and_the_callers_mask_is_untouched() {
    let mine = std::path::Path::new("/proc/thread-self");
    let before = status(mine, "SigBlk").unwrap();
    let server = Server::start(Reply::ok("x"));
    let sender = start();
    // A name makes it start a thread for the look-up.
    let url = format!("http://localhost:{}/", server.address().port());
    let Kind::Http(http) = to(&server).kind else { unreachable!() };
    let kind = Kind::Http(HttpRequest { url, ..http });
    assert!(common::result(&sender, request(kind)).is_ok());
    assert_eq!(status(mine, "SigBlk").unwrap(), before);

    let mut names = Vec::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let path = task.unwrap().path();
        let Some(name) = status(&path, "Name").filter(|name| name.starts_with("automate_")) else {
            continue;
        };
        let mask = u64::from_str_radix(&status(&path, "SigBlk").unwrap(), 16).unwrap();
        for signal in (1..=31).filter(|signal| ![libc::SIGKILL, libc::SIGSTOP].contains(signal)) {
            assert!(mask & (1 << (signal - 1)) != 0, "{name} does not block signal {signal}");
        }
        names.push(name);
    }
    assert!(names.contains(&"automate_net".to_owned()), "{names:?}");
    assert!(names.contains(&"automate_name".to_owned()), "{names:?}");
}

#[test]
fn what_is_open_is_bounded_and_what_is_refused_comes_back() {
    let server = Server::start(Reply::ok("x"));
    let sender = Sender::start(Config { max_in_flight: 2, queue: 3, ..Config::default() }).unwrap();
    for _ in 0..5 {
        sender.submit(to(&server)).unwrap();
    }
    // Full also when all are done: it is what was not drained that takes memory.
    let full = sender.submit(to(&server)).unwrap_err();
    assert!(!full.stopped);
    let Kind::Http(http) = full.request.kind else { unreachable!() };
    assert_eq!(http.body, b"body");
    assert!(outcomes(&sender, 5).iter().all(|outcome| outcome.result.is_ok()));
    assert_eq!(sender.in_flight(), 0);
    sender.submit(to(&server)).unwrap();
    assert_eq!(outcomes(&sender, 1).len(), 1);
}

#[test]
fn the_bell_is_silent_when_there_is_nothing() {
    let server = Server::start(Reply::ok("x"));
    let sender = start();
    assert!(!readable(sender.wake_fd(), Duration::ZERO));
    sender.submit(to(&server)).unwrap();
    assert!(readable(sender.wake_fd(), STUCK));
    assert_eq!(sender.drain().len(), 1);
    assert!(!readable(sender.wake_fd(), Duration::ZERO));
    assert!(sender.drain().is_empty());
}

#[test]
fn stopping_waits_for_what_is_nearly_done() {
    let server = Server::start(Reply::ok("x"));
    let sender = start();
    for _ in 0..50 {
        sender.submit(to(&server)).unwrap();
    }
    let (abandoned, outcomes) = sender.finish(STUCK);
    assert_eq!((abandoned, outcomes.len()), (0, 50));
    assert!(outcomes.iter().all(|outcome| outcome.result.is_ok()));
}

#[test]
fn stopping_cuts_off_what_hangs_and_says_so() {
    let server = Server::start(Reply::Hang);
    let sender = start();
    for _ in 0..5 {
        sender.submit(to(&server)).unwrap();
    }
    let (abandoned, outcomes) = sender.finish(Duration::from_millis(50));
    assert_eq!((abandoned, outcomes.len()), (5, 5));
    for outcome in outcomes {
        let failure = outcome.result.unwrap_err();
        assert_eq!(failure.message, "the sender stopped before the request was finished");
    }
}

#[test]
fn dropping_the_handle_ends_the_thread() {
    let server = Server::start(Reply::Hang);
    for _ in 0..20 {
        let sender = start();
        sender.submit(to(&server)).unwrap();
        drop(sender);
    }
    // Nothing to assert but that each drop came back: it joins the thread.
}

#[test]
fn a_useless_file_of_certificates_is_said_at_the_start() {
    let config = Config { ca_file: Some("/nowhere/ca.pem".into()), ..Config::default() };
    let error = Sender::start(config).err().unwrap();
    assert!(matches!(error, StartError::Certificates { .. }), "{error}");
    assert!(error.to_string().starts_with("could not read certificates from \"/nowhere/ca.pem\""));
}

#[test]
fn every_request_has_one_outcome_whatever_happens() {
    let (good, bad) = (Server::start(Reply::ok("x")), Server::start(Reply::Reset));
    let sender = start();
    let allow = loopback();
    let mut ids = std::collections::HashSet::new();
    for place in 0..400 {
        let mut request = to(if place % 2 == 0 { &good } else { &bad });
        request.allow = allow.clone();
        request.deadline = Duration::from_micros(place * 100);
        assert!(ids.insert(request.id));
        sender.submit(request).unwrap();
    }
    for outcome in outcomes(&sender, 400) {
        assert!(ids.remove(&outcome.id));
    }
    assert!(ids.is_empty());
}
