//! Mail against scripted servers on loopback.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
mod smtp_server;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use automate_sender::{Class, Config, Kind, Mail, Request, Sender, SmtpRequest, SmtpServer, Tls};
use common::{request, result, results, start};
use smtp_server::{Script, Server};

fn at(port: u16, tls: Tls) -> SmtpServer {
    SmtpServer {
        host: "127.0.0.1".to_owned(),
        port,
        tls,
        user: None,
        password: None,
        from: "bot@example.com".to_owned(),
        max_connections: 2,
    }
}

fn mail(server: SmtpServer) -> Request {
    request(Kind::Smtp(SmtpRequest {
        server,
        to: vec!["anna@example.com".to_owned()],
        message: Mail {
            from: "Bot <bot@example.com>".to_owned(),
            to: Vec::new(),
            subject: "Subject".to_owned(),
            text: "one\n.\n..two".to_owned(),
            html: None,
            attachments: Vec::new(),
            message_id: "id@example.com".to_owned(),
            headers: Vec::new(),
        },
    }))
}

fn plain(server: &Server) -> Request {
    mail(at(server.port(), Tls::None))
}

#[test]
fn a_mail_arrives_and_its_queue_id_comes_back() {
    let server = Server::start(Script::default());
    let response = result(&start(), plain(&server)).unwrap();
    assert_eq!((response.status, response.body.as_slice()), (250, b"queued as 42".as_slice()));
    let lines = server.lines();
    assert!(lines[0].starts_with("EHLO "), "{lines:?}");
    assert_eq!(lines[1..4], ["MAIL FROM:<bot@example.com>", "RCPT TO:<anna@example.com>", "DATA"]);
    let mail = server.mails().remove(0);
    assert!(mail.contains("Message-ID: <id@example.com>\r\n"), "{mail}");
    // A line with a single dot would end the mail, so dots are doubled on the wire.
    assert!(mail.contains("one\r\n..\r\n...two"), "{mail}");
}

#[test]
fn many_mails_share_few_connections() {
    let server = Server::start(Script::default());
    let sender = start();
    let all = results(&sender, (0..150).map(|_| plain(&server)).collect());
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(server.mails().len(), 150);
    assert!(server.most_open() <= 2, "{} at once", server.most_open());
    // 150 mails, at most 100 on each.
    assert!((2..=4).contains(&server.connections()), "{}", server.connections());
    assert_eq!((server.count("NOOP"), server.count("RSET")), (0, 0));
    assert_eq!(sender.stop(Duration::from_secs(5)), 0);
    assert!(server.count("QUIT") >= 1);
}

#[test]
fn replies_have_their_class() {
    for (word, answer, class, sent) in [
        ("GREETING", "554 no service", Class::Permanent, false),
        ("GREETING", "421 too busy", Class::Transient, false),
        ("EHLO", "502 no", Class::Permanent, false),
        ("MAIL", "451 later", Class::Transient, false),
        ("RCPT", "550 no such user", Class::Permanent, false),
        ("RCPT", "450 greylisted", Class::Transient, false),
        ("DATA", "452 full", Class::Transient, false),
        ("CONTENT", "554 spam", Class::Permanent, false),
        ("CONTENT", "451 later", Class::Transient, false),
    ] {
        let server = Server::start(Script::answer(word, answer));
        let failure = result(&start(), plain(&server)).unwrap_err();
        assert_eq!((failure.class, failure.sent), (class, sent), "{word} {answer}");
        assert_eq!(failure.code, answer[..3].parse().ok(), "{word}");
        let start = format!("127.0.0.1:{} answered {} to ", server.port(), &answer[..3]);
        assert!(failure.message.starts_with(&start), "{}", failure.message);
        assert!(failure.message.ends_with(&answer[4..]), "{}", failure.message);
        assert_eq!(server.connections(), 1, "{word} was repeated");
        assert!(server.mails().is_empty());
    }
}

#[test]
fn a_refused_mail_is_undone_before_the_next_one() {
    let server = Server::start(Script::answer("RCPT", "550 no such user"));
    let sender = start();
    for _ in 0..3 {
        assert_eq!(result(&sender, plain(&server)).unwrap_err().code, Some(550));
    }
    assert_eq!((server.connections(), server.count("RSET")), (1, 2));
}

#[test]
fn a_connection_that_breaks_says_whether_the_mail_may_have_arrived() {
    for (word, sent) in
        [("GREETING", false), ("EHLO", false), ("MAIL", false), ("DATA", false), ("CONTENT", true)]
    {
        let server = Server::start(Script::answer(word, ""));
        let failure = result(&start(), plain(&server)).unwrap_err();
        assert_eq!((failure.class, failure.sent), (Class::Transient, sent), "{word}");
        let start = format!("connection to 127.0.0.1:{} failed at ", server.port());
        assert!(failure.message.starts_with(&start), "{}", failure.message);
        assert_eq!(server.connections(), 1, "{word} was repeated");
    }
}

#[test]
fn a_kept_connection_that_died_costs_no_mail() {
    let script = Script { mails_per_connection: Some(1), ..Script::default() };
    let server = Server::start(script);
    let sender = start();
    for _ in 0..5 {
        assert!(result(&sender, plain(&server)).is_ok());
    }
    assert_eq!((server.connections(), server.mails().len()), (5, 5));
}

#[test]
fn a_silent_server_is_cut_off_by_the_deadline() {
    for (word, doing, sent) in [
        ("GREETING", "connecting", false),
        ("MAIL", "connecting", false),
        ("CONTENT", "waiting for the answer", true),
    ] {
        let server = Server::start(Script::answer(word, "hang"));
        let mut late = plain(&server);
        late.deadline = Duration::from_millis(300);
        let failure = result(&start(), late).unwrap_err();
        assert_eq!((failure.class, failure.sent), (Class::Transient, sent), "{word}");
        assert_eq!(failure.message, format!("deadline of 300ms passed while {doing}"));
    }
}

#[test]
fn nothing_is_sent_to_a_server_without_starttls() {
    let server = Server::start(Script { offers: vec!["AUTH PLAIN"], ..Script::default() });
    let mut secret = at(server.port(), Tls::Required);
    secret.user = Some("bot".to_owned());
    secret.password = Some("s3cret".to_owned());
    let failure = result(&start(), mail(secret)).unwrap_err();
    assert_eq!((failure.class, failure.sent), (Class::Permanent, false));
    assert!(failure.message.contains("does not offer STARTTLS"), "{}", failure.message);
    assert_eq!((server.count("AUTH"), server.count("MAIL")), (0, 0));
}

#[test]
fn data_in_clear_behind_starttls_ends_the_connection() {
    let answers = HashMap::from([("STARTTLS", "220 go on\r\n250 AUTH PLAIN".to_owned())]);
    let script = Script { answers, offers: vec!["STARTTLS"], ..Script::default() };
    let server = Server::start(script);
    let failure = result(&start(), mail(at(server.port(), Tls::Required))).unwrap_err();
    assert!(failure.message.contains("in clear after it agreed"), "{}", failure.message);
}

#[test]
fn a_password_never_shows_in_an_error() {
    let script = Script {
        offers: vec!["AUTH PLAIN"],
        ..Script::answer("AUTH", "535 wrong password hunter2xyz")
    };
    let server = Server::start(script);
    let mut login = at(server.port(), Tls::None);
    login.user = Some("bot".to_owned());
    login.password = Some("hunter2xyz".to_owned());
    let failure = result(&start(), mail(login)).unwrap_err();
    assert_eq!((failure.class, failure.code), (Class::Permanent, Some(535)));
    assert!(failure.message.ends_with("to AUTH: wrong password ***"), "{}", failure.message);
}

/// A server's TLS for 127.0.0.1, and a sender that trusts it.
fn tls() -> (Arc<rustls::ServerConfig>, Sender) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let file = std::env::temp_dir().join(format!("automate-ca-{}.pem", uuid::Uuid::now_v7()));
    std::fs::write(&file, made.cert.pem()).unwrap();
    let sender = Sender::start(Config { ca_file: Some(file.clone()), ..Config::default() });
    std::fs::remove_file(file).unwrap();
    (Arc::new(config), sender.unwrap())
}

#[test]
fn both_kinds_of_tls_log_in_and_deliver() {
    let (config, sender) = tls();
    for kind in [Tls::Required, Tls::Implicit] {
        let mut script = Script::default();
        match kind {
            Tls::Required => {
                script.offers = vec!["STARTTLS", "AUTH LOGIN PLAIN"];
                script.starttls = Some(config.clone());
            }
            _ => {
                script.offers = vec!["AUTH LOGIN PLAIN"];
                script.implicit = Some(config.clone());
            }
        }
        let server = Server::start(script);
        let mut login = at(server.port(), kind);
        login.user = Some("bot".to_owned());
        login.password = Some("pw".to_owned());
        let all = results(&sender, (0..5).map(|_| mail(login.clone())).collect());
        assert!(all.iter().all(Result::is_ok), "{kind:?}: {all:?}");
        assert_eq!(server.mails().len(), 5);
        assert_eq!(server.count("AUTH PLAIN AGJvdABwdw=="), server.connections());
    }
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused() {
    let (config, _) = tls();
    let script =
        Script { offers: vec!["STARTTLS"], starttls: Some(config.clone()), ..Script::default() };
    let server = Server::start(script);
    let failure = result(&start(), mail(at(server.port(), Tls::Required))).unwrap_err();
    let start = format!("TLS with 127.0.0.1:{} failed: invalid peer certificate", server.port());
    assert!(failure.message.starts_with(&start), "{}", failure.message);
    assert_eq!((failure.sent, server.count("MAIL")), (false, 0));
}

#[test]
fn another_password_is_another_connection() {
    let server = Server::start(Script { offers: vec!["AUTH PLAIN"], ..Script::default() });
    let sender = start();
    for password in ["a", "b", "a"] {
        let mut login = at(server.port(), Tls::None);
        login.user = Some("bot".to_owned());
        login.password = Some(password.to_owned());
        assert!(result(&sender, mail(login)).is_ok());
    }
    assert_eq!((server.connections(), server.count("AUTH")), (2, 2));
}
