//! What can be asked of the sender: owned values only, since they cross to another thread.

use std::sync::Arc;
use std::time::Duration;

use automate_core::net::Allow;
use uuid::Uuid;

/// One thing to send. It carries secrets (headers, passwords), so it has no `Debug`.
pub struct Request {
    /// Comes back in the [`crate::Outcome`].
    pub id: Uuid,
    /// Which hosts and addresses may be reached. Requests that share one `Arc` share connections.
    pub allow: Arc<Allow>,
    /// From `submit` to the outcome, waiting in the queue included; at most a day.
    pub deadline: Duration,
    /// HTTP or mail.
    pub kind: Kind,
}

/// What is sent.
#[expect(clippy::large_enum_variant, reason = "moved once, into a task that lives on the heap")]
pub enum Kind {
    /// One HTTP request.
    Http(HttpRequest),
    /// One mail to one server.
    Smtp(SmtpRequest),
}

/// One HTTP request. Redirects are never followed.
pub struct HttpRequest {
    /// `GET`, `POST`, ...; `CONNECT` and `TRACE` are refused.
    pub method: String,
    /// `http` or `https`, checked against [`Request::allow`].
    pub url: String,
    /// Sent as they are; those that frame the message (Host, Content-Length, ...) are refused.
    pub headers: Vec<(String, String)>,
    /// Moved, never copied.
    pub body: Vec<u8>,
    /// How much of the answer's body is read; `None` takes [`crate::Config::max_response_bytes`].
    pub max_response_bytes: Option<usize>,
}

/// One mail and the server that takes it.
pub struct SmtpRequest {
    /// Where it is handed in.
    pub server: SmtpServer,
    /// Envelope recipients, as bare addresses or `Name <address>`.
    pub to: Vec<String>,
    /// What they get.
    pub message: Mail,
}

/// A mail server and how to log in.
#[derive(Clone)]
pub struct SmtpServer {
    /// Name or address.
    pub host: String,
    /// Usually 587 (STARTTLS), 465 (implicit TLS) or 25.
    pub port: u16,
    /// How the connection is protected.
    pub tls: Tls,
    /// With a user, AUTH PLAIN or LOGIN is done.
    pub user: Option<String>,
    /// Never shown in an error.
    pub password: Option<String>,
    /// Envelope sender: bounces go there.
    pub from: String,
    /// Connections to this server at once; 0 means 4.
    pub max_connections: usize,
}

/// How a mail connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tls {
    /// STARTTLS; a server that does not offer it gets no mail.
    Required,
    /// TLS from the first byte.
    Implicit,
    /// In clear, password included: only where the configuration says `insecure`.
    None,
}

/// A message. Header values with control characters are refused.
pub struct Mail {
    /// The From header; empty takes [`SmtpServer::from`].
    pub from: String,
    /// The To header; empty takes [`SmtpRequest::to`].
    pub to: Vec<String>,
    /// The Subject header.
    pub subject: String,
    /// The plain text part.
    pub text: String,
    /// An HTML alternative.
    pub html: Option<String>,
    /// Files that go with it.
    pub attachments: Vec<Attachment>,
    /// The Message-ID header, angle brackets included or not.
    pub message_id: String,
    /// Further headers.
    pub headers: Vec<(String, String)>,
}

/// A file that goes with a mail.
pub struct Attachment {
    /// File name.
    pub name: String,
    /// Media type, such as `text/csv`.
    pub mime: String,
    /// Contents.
    pub bytes: Vec<u8>,
}
