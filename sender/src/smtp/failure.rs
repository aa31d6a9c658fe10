//! What goes wrong in the dialogue with a mail server, and what it means.

use std::error::Error as _;

use lettre::transport::smtp::Error;

use crate::outcome::{Class, Failure};
use crate::request::SmtpServer;

/// An error and the place where it happened.
#[derive(Debug)]
pub(crate) struct Broken {
    pub error: Error,
    /// The command that it answers, as errors name it.
    pub step: String,
    /// The message's content had been sent, without an answer that refuses it.
    pub content: bool,
}

/// A failure, and whether the connection went with it.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub failure: Failure,
    pub dead: bool,
}

/// Longest text of a server that goes into an error.
const EXCERPT: usize = 500;

/// The meaning of an error: a reply 4yz is transient, 5yz permanent, anything else is the
/// connection's end.
pub(crate) fn of(broken: &Broken, server: &SmtpServer) -> Trouble {
    let text = broken.error.source().map(ToString::to_string).unwrap_or_default();
    let text = one_line(&text, server);
    let peer = peer(server);
    let step = &broken.step;
    let Some(code) = broken.error.status().map(u16::from) else {
        // lettre's own refusals (no AUTH offered, no SMTPUTF8) are made before anything is sent.
        if broken.error.is_client() {
            let failure = Failure::permanent(format!("mail to {peer} failed at {step}: {text}"));
            return Trouble { failure, dead: false };
        }
        let failure = Failure::transient(format!("connection to {peer} failed at {step}: {text}"));
        return Trouble { failure: failure.sent(broken.content), dead: true };
    };
    let class = if code >= 500 { Class::Permanent } else { Class::Transient };
    let failure = Failure::new(class, format!("{peer} answered {code} to {step}: {text}"));
    // 421: the server closes the connection.
    Trouble { failure: failure.code(code).sent(broken.content), dead: code == 421 }
}

/// How errors name the server.
pub(crate) fn peer(server: &SmtpServer) -> String {
    format!("{}:{}", server.host, server.port)
}

/// A server's text on one line, cut, and without the password should the server repeat it.
pub(crate) fn one_line(text: &str, server: &SmtpServer) -> String {
    let mut line = text.split(char::is_control).filter(|part| !part.is_empty()).fold(
        String::new(),
        |mut line, part| {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(part.trim());
            line
        },
    );
    if let Some(password) = server.password.as_deref().filter(|password| !password.is_empty()) {
        line = line.replace(password, "***");
    }
    if let Some((end, _)) = line.char_indices().nth(EXCERPT) {
        line.truncate(end);
    }
    line
}
