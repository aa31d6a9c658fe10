//! What became of a request.

use std::time::Duration;

use automate_core::net::NetError;
use uuid::Uuid;

/// The end of one request.
#[derive(Debug)]
pub struct Outcome {
    /// The request's id.
    pub id: Uuid,
    /// The answer, or why there is none that counts.
    pub result: Result<Response, Failure>,
    /// From the moment it was its turn, or from `submit` when that never came.
    pub latency: Duration,
}

/// An answer that means success: HTTP 2xx, SMTP 2xx to the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// HTTP status or SMTP reply code.
    pub status: u16,
    /// HTTP headers, names in lower case; empty for SMTP.
    pub headers: Vec<(String, String)>,
    /// HTTP body up to the cap, or the SMTP reply's text (which usually names the queue id).
    pub body: Vec<u8>,
    /// There was more than was kept.
    pub truncated: bool,
}

/// What a failure means for a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The same request would fail again.
    Permanent,
    /// Trying later may help.
    Transient,
    /// The host or its address may not be reached: permanent until the setting changes.
    Refused,
}

/// Why a request did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Whether a retry makes sense.
    pub class: Class,
    /// HTTP status or SMTP reply code, when the peer answered.
    pub code: Option<u16>,
    /// One line in PostgreSQL's style, without secrets and without the URL's path.
    pub message: String,
    /// The way out, where there is one, for a HINT.
    pub hint: Option<String>,
    /// The peer's wish, at most a week.
    pub retry_after: Option<Duration>,
    /// It may have reached the peer, so that a retry may be a repetition.
    pub sent: bool,
    /// HTTP headers of the answer, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The answer's body up to the cap.
    pub body: Vec<u8>,
    /// There was more body than was kept.
    pub truncated: bool,
}

impl From<NetError> for Failure {
    fn from(error: NetError) -> Self {
        Self { hint: error.hint, ..Self::new(Class::Refused, error.message) }
    }
}

impl Failure {
    /// A failure without an answer, before anything was sent.
    pub(crate) fn new(class: Class, message: impl Into<String>) -> Self {
        Self {
            class,
            code: None,
            message: message.into(),
            hint: None,
            retry_after: None,
            sent: false,
            headers: Vec::new(),
            body: Vec::new(),
            truncated: false,
        }
    }

    pub(crate) fn permanent(message: impl Into<String>) -> Self {
        Self::new(Class::Permanent, message)
    }

    pub(crate) fn transient(message: impl Into<String>) -> Self {
        Self::new(Class::Transient, message)
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn code(mut self, code: u16) -> Self {
        self.code = Some(code);
        self
    }

    pub(crate) fn sent(mut self, sent: bool) -> Self {
        self.sent = sent;
        self
    }
}
