//! HTTP against scripted servers on loopback.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
mod http_server;

use std::time::Duration;

use automate_sender::{Class, Config, HttpRequest, Kind, Sender};
use common::{request, result, results, start};
use http_server::{Reply, Server};

fn post(url: String) -> HttpRequest {
    HttpRequest {
        method: "POST".to_owned(),
        url,
        headers: vec![("webhook-id".to_owned(), "msg_1".to_owned())],
        body: b"{\"a\":1}".to_vec(),
        max_response_bytes: None,
    }
}

fn to(url: String) -> automate_sender::Request {
    request(Kind::Http(post(url)))
}

#[test]
fn a_request_arrives_whole_and_its_answer_comes_back() {
    let server = Server::start(Reply::ok("hello"));
    let response = result(&start(), to(server.url("/hook?x=1"))).unwrap();
    assert_eq!((response.status, response.body.as_slice()), (200, b"hello".as_slice()));
    assert!(!response.truncated);
    assert!(response.headers.contains(&("x-test".to_owned(), "yes".to_owned())));
    let seen = server.seen().remove(0);
    assert!(seen.starts_with("POST /hook?x=1 HTTP/1.1\r\n"), "{seen}");
    for line in ["webhook-id: msg_1\r\n", "content-length: 7\r\n", "user-agent: pg_automate/"] {
        assert!(seen.to_ascii_lowercase().contains(line), "{line} in {seen}");
    }
    assert!(seen.ends_with("\r\n\r\n{\"a\":1}"), "{seen}");
}

#[test]
fn one_connection_serves_many_requests() {
    let server = Server::start(Reply::ok("x"));
    let sender = Sender::start(Config { per_host: 2, ..Config::default() }).unwrap();
    let allow = common::loopback();
    let requests = (0..200).map(|_| {
        let mut request = to(server.url("/"));
        request.allow = allow.clone();
        request
    });
    assert!(results(&sender, requests.collect()).iter().all(Result::is_ok));
    assert_eq!(server.seen().len(), 200);
    assert!(server.connections() <= 4, "{} connections", server.connections());
}

#[test]
fn each_status_has_its_class_and_keeps_its_body() {
    let sender = start();
    let cases = [
        ("500 Internal Server Error", Class::Transient),
        ("503 Service Unavailable", Class::Transient),
        ("408 Request Timeout", Class::Transient),
        ("425 Too Early", Class::Transient),
        ("429 Too Many Requests", Class::Transient),
        ("400 Bad Request", Class::Permanent),
        ("404 Not Found", Class::Permanent),
        ("410 Gone", Class::Permanent),
    ];
    for (status, class) in cases {
        let server = Server::start(Reply::status(status, "why"));
        let failure = result(&sender, to(server.url("/secret-token"))).unwrap_err();
        assert_eq!(failure.class, class, "{status}");
        assert_eq!(failure.code, status[..3].parse().ok());
        assert_eq!(failure.body, b"why");
        assert!(failure.sent);
        assert_eq!(failure.message, format!("{} answered {status}", server.address()));
        assert_eq!(server.seen().len(), 1, "{status} was repeated");
    }
}

#[test]
fn retry_after_is_passed_on() {
    let sender = start();
    for (status, seconds) in [("429 Too Many Requests", 120), ("503 Service Unavailable", 7)] {
        let head =
            format!("HTTP/1.1 {status}\r\nRetry-After: {seconds}\r\nContent-Length: 0\r\n\r\n");
        let server = Server::start(Reply::Raw(head.into_bytes()));
        let failure = result(&sender, to(server.url("/"))).unwrap_err();
        assert_eq!(failure.retry_after, Some(Duration::from_secs(seconds)));
    }
    let date = httpdate::fmt_http_date(std::time::SystemTime::now() + Duration::from_secs(3600));
    let head =
        format!("HTTP/1.1 429 Slow Down\r\nRetry-After: {date}\r\nContent-Length: 0\r\n\r\n");
    let server = Server::start(Reply::Raw(head.into_bytes()));
    let wait = result(&sender, to(server.url("/"))).unwrap_err().retry_after.unwrap();
    assert!((3500..=3600).contains(&wait.as_secs()), "{wait:?}");
}

#[test]
fn a_redirect_is_a_failure_and_is_not_followed() {
    let target = Server::start(Reply::ok("got you"));
    let sender = start();
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect"] {
        let head = format!(
            "HTTP/1.1 {status}\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n",
            target.url("/")
        );
        let server = Server::start(Reply::Raw(head.into_bytes()));
        let failure = result(&sender, to(server.url("/"))).unwrap_err();
        assert_eq!(failure.class, Class::Permanent);
        assert!(failure.message.ends_with("redirects are not followed"), "{}", failure.message);
        assert_eq!(target.connections(), 0);
    }
}

#[test]
fn a_huge_answer_is_cut_at_the_cap_and_not_read_further() {
    const HUGE: usize = 100 << 20;
    let server = Server::start(Reply::Huge(HUGE));
    let sender = start();
    let response = result(&sender, to(server.url("/"))).unwrap();
    assert!(response.truncated);
    assert_eq!(response.body.len(), 64 * 1024);
    let small = HttpRequest { max_response_bytes: Some(10), ..post(server.url("/")) };
    let response = result(&sender, request(Kind::Http(small))).unwrap();
    assert_eq!((response.body.len(), response.truncated), (10, true));
    for _ in 0..2 {
        let written = server.written();
        // What the two sockets hold is beyond our reach.
        assert!(written < HUGE / 4, "the server could write {written} bytes");
    }
}

#[test]
fn a_body_of_exactly_the_cap_is_whole() {
    let server = Server::start(Reply::ok("0123456789"));
    let sender = start();
    for (cap, kept, truncated) in [(10, 10, false), (9, 9, true), (0, 0, true)] {
        let http = HttpRequest { max_response_bytes: Some(cap), ..post(server.url("/")) };
        let response = result(&sender, request(Kind::Http(http))).unwrap();
        assert_eq!((response.body.len(), response.truncated), (kept, truncated));
    }
}

#[test]
fn the_deadline_is_over_everything() {
    let sender = start();
    for (reply, doing, code) in
        [(Reply::Hang, "waiting for the answer", None), (Reply::Drip, "reading the answer", None)]
    {
        let server = Server::start(reply);
        let mut late = to(server.url("/"));
        late.deadline = Duration::from_millis(300);
        let failure = result(&sender, late).unwrap_err();
        assert_eq!((failure.class, failure.code, failure.sent), (Class::Transient, code, true));
        assert_eq!(failure.message, format!("deadline of 300ms passed while {doing}"));
    }
}

#[test]
fn waiting_in_the_queue_counts_and_is_not_sent() {
    let server = Server::start(Reply::Hang);
    let sender = Sender::start(Config { per_host: 1, ..Config::default() }).unwrap();
    let both = (0..2).map(|_| {
        let mut request = to(server.url("/"));
        request.deadline = Duration::from_millis(300);
        request
    });
    let mut sent: Vec<bool> =
        results(&sender, both.collect()).into_iter().map(|r| r.unwrap_err().sent).collect();
    sent.sort_unstable();
    // The second one's turn may come in the very moment its time is over.
    assert!(sent[1], "{sent:?}");
    assert!(!sent[0] || server.connections() == 2, "{sent:?}");
}

#[test]
fn a_slow_host_does_not_hold_up_another() {
    let slow = Server::start(Reply::Hang);
    let fast = Server::start(Reply::ok("x"));
    let config = Config { per_host: 2, max_in_flight: 4, ..Config::default() };
    let sender = Sender::start(config).unwrap();
    for _ in 0..50 {
        sender.submit(to(slow.url("/"))).unwrap();
    }
    for _ in 0..20 {
        assert!(result(&sender, to(fast.url("/"))).is_ok());
    }
    assert_eq!(sender.in_flight(), 50);
    assert_eq!(sender.stop(Duration::ZERO), 50);
}

#[test]
fn a_reset_after_reading_is_transient_and_may_have_been_sent() {
    let server = Server::start(Reply::Reset);
    let failure = result(&start(), to(server.url("/token"))).unwrap_err();
    assert_eq!((failure.class, failure.sent), (Class::Transient, true));
    let start = format!("connection to {} failed: ", server.address());
    assert!(failure.message.starts_with(&start), "{}", failure.message);
    assert!(!failure.message.contains("token"), "{}", failure.message);
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn nobody_listening_is_transient_and_was_not_sent() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let failure = result(&start(), to(format!("http://{address}/x"))).unwrap_err();
    assert_eq!((failure.class, failure.sent), (Class::Transient, false));
    assert_eq!(
        failure.message,
        format!("could not connect to {address}: Connection refused (os error 111)")
    );
}

#[test]
fn what_is_not_http_is_an_error() {
    let server = Server::start(Reply::Raw(b"220 mail.example.com ESMTP\r\n".to_vec()));
    let failure = result(&start(), to(server.url("/"))).unwrap_err();
    assert_eq!(failure.class, Class::Transient);
    assert!(failure.message.contains("failed: "), "{}", failure.message);
}

#[test]
fn a_request_that_is_not_valid_never_leaves() {
    let server = Server::start(Reply::ok("x"));
    let sender = start();
    let header = |name: &str, value: &str| HttpRequest {
        headers: vec![(name.to_owned(), value.to_owned())],
        ..post(server.url("/"))
    };
    for bad in [
        header("Host", "internal"),
        header("Transfer-Encoding", "chunked"),
        header("X-A", "1\r\nX-B: 2"),
        header("X A", "1"),
        HttpRequest { method: "CONNECT".to_owned(), ..post(server.url("/")) },
        HttpRequest { method: "GET / HTTP/1.1\r\n".to_owned(), ..post(server.url("/")) },
    ] {
        let failure = result(&sender, request(Kind::Http(bad))).unwrap_err();
        assert_eq!((failure.class, failure.sent), (Class::Permanent, false));
    }
    assert_eq!(server.connections(), 0);
}
