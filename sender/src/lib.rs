//! Bytes out: HTTP and SMTP on one thread of its own. No PostgreSQL.
//!
//! [`Sender`] is the handle that stays on the caller's thread. Requests go in as owned values and
//! never block; outcomes come back as owned values, announced by an eventfd that the caller waits
//! on together with whatever else wakes it. Every accepted request has exactly one [`Outcome`].
//!
//! What holds for every request: a deadline over all of it (waiting in the queue included), an
//! address check on the very address that is connected to, TLS by rustls, a cap on what is read,
//! and no secret in an error's text.

mod http;
mod lane;
mod outbox;
mod outcome;
mod progress;
mod request;
mod resolve;
mod sender;
mod signals;
mod smtp;
mod tls;
mod worker;

pub use outcome::{Class, Failure, Outcome, Response};
pub use request::{Attachment, HttpRequest, Kind, Mail, Request, SmtpRequest, SmtpServer, Tls};
pub use sender::{Config, Full, Sender, StartError};
