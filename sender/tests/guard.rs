//! No way of writing an address reaches a listener that is not allowed.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
mod http_server;
mod smtp_server;

use std::sync::Arc;

use automate_core::net::Allow;
use automate_sender::{Class, HttpRequest, Kind, Mail, Request, SmtpRequest, SmtpServer, Tls};
use common::{request, result, results, start};

/// Loopback, said in every way that a resolver or a URL parser understands.
const LOOPBACK: [&str; 22] = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0x7F.0x0.0x0.0x1",
    "017700000001",
    "0177.0.0.1",
    "127.0.0.1.",
    "0",
    "0.0.0.0",
    "127.255.255.254",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "[::1]",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "１２７.0.0.1",
];

fn get(url: String, allow: &str) -> Request {
    let http = HttpRequest {
        method: "GET".to_owned(),
        url,
        headers: Vec::new(),
        body: Vec::new(),
        max_response_bytes: None,
    };
    Request { allow: Arc::new(Allow::parse(allow).unwrap()), ..request(Kind::Http(http)) }
}

fn mail(host: &str, port: u16, allow: &str) -> Request {
    let server = SmtpServer {
        host: host.to_owned(),
        port,
        tls: Tls::None,
        user: None,
        password: None,
        from: "bot@example.com".to_owned(),
        max_connections: 1,
    };
    let message = Mail {
        from: String::new(),
        to: Vec::new(),
        subject: "x".to_owned(),
        text: "x".to_owned(),
        html: None,
        attachments: Vec::new(),
        message_id: "x@example.com".to_owned(),
        headers: Vec::new(),
    };
    let smtp = SmtpRequest { server, to: vec!["anna@example.com".to_owned()], message };
    Request { allow: Arc::new(Allow::parse(allow).unwrap()), ..request(Kind::Smtp(smtp)) }
}

#[test]
fn no_spelling_of_loopback_is_connected_to() {
    let http = http_server::Server::start(http_server::Reply::ok("secret"));
    let smtp = smtp_server::Server::start(smtp_server::Script::default());
    let sender = start();
    for host in LOOPBACK {
        for port in [http.address().port(), smtp.port()] {
            for failure in results(
                &sender,
                vec![
                    get(format!("http://{host}:{port}/"), "*"),
                    get(format!("https://{host}:{port}/"), "*"),
                    mail(host, port, "*"),
                    mail(host.trim_matches(['[', ']']), port, "*"),
                ],
            ) {
                let failure = failure.unwrap_err();
                assert_eq!(failure.class, Class::Refused, "{host}: {failure:?}");
                assert!(!failure.sent && failure.hint.is_some(), "{host}: {failure:?}");
            }
        }
    }
    assert_eq!((http.connections(), smtp.connections()), (0, 0));
}

#[test]
fn userinfo_and_other_schemes_are_refused() {
    let http = http_server::Server::start(http_server::Reply::ok("secret"));
    let address = http.address();
    for url in [
        format!("http://example.com@{address}/"),
        format!("http://user:pw@{address}/"),
        format!("ftp://{address}/"),
        "file:///etc/passwd".to_owned(),
        format!("http:\\\\{address}/"),
        "http://".to_owned(),
        String::new(),
    ] {
        let failure = result(&start(), get(url.clone(), "*,127.0.0.0/8")).unwrap_err();
        assert_eq!(failure.class, Class::Refused, "{url}");
    }
    assert_eq!(http.connections(), 0);
}

/// The resolver's own check: the name passes the first one (there are blocks in the list), and
/// its addresses do not.
#[test]
fn a_name_is_judged_by_the_addresses_it_resolves_to() {
    let http = http_server::Server::start(http_server::Reply::ok("x"));
    let smtp = smtp_server::Server::start(smtp_server::Script::default());
    let url = format!("http://localhost:{}/", http.address().port());
    let sender = start();
    let refused = "10.0.0.0/8";
    for failure in
        results(&sender, vec![get(url.clone(), refused), mail("localhost", smtp.port(), refused)])
    {
        let failure = failure.unwrap_err();
        assert_eq!(failure.class, Class::Refused, "{failure:?}");
        assert!(failure.message.contains("of host \"localhost\" is not allowed"), "{failure:?}");
        assert!(failure.hint.is_some());
    }
    assert_eq!((http.connections(), smtp.connections()), (0, 0));
    let allowed = "127.0.0.0/8";
    assert!(result(&sender, get(url, allowed)).is_ok());
    assert!(result(&sender, mail("localhost", smtp.port(), allowed)).is_ok());
}

/// A kept connection must not outlive the rule that let it be made.
#[test]
fn new_rules_hold_for_connections_that_are_open() {
    let http = http_server::Server::start(http_server::Reply::ok("x"));
    let smtp = smtp_server::Server::start(smtp_server::Script::default());
    let url = format!("http://localhost:{}/", http.address().port());
    let sender = start();
    assert!(result(&sender, get(url.clone(), "127.0.0.0/8")).is_ok());
    assert!(result(&sender, mail("localhost", smtp.port(), "127.0.0.0/8")).is_ok());
    let http_failure = result(&sender, get(url, "10.0.0.0/8")).unwrap_err();
    let smtp_failure = result(&sender, mail("localhost", smtp.port(), "10.0.0.0/8")).unwrap_err();
    assert_eq!((http_failure.class, smtp_failure.class), (Class::Refused, Class::Refused));
    assert_eq!((http.seen().len(), smtp.mails().len()), (1, 1));
}
