//! What the HTTP client's errors mean, said without the URL.

use std::error::Error;
use std::io;

use crate::outcome::Failure;
use crate::resolve::ResolveError;

/// Classes an error of the client and describes it. `peer` is host and port.
pub(crate) fn of(error: &reqwest::Error, peer: &str) -> Failure {
    if let Some(refusal) = find::<ResolveError>(error) {
        return match refusal {
            ResolveError::Refused(refusal) => refusal.clone().into(),
            ResolveError::Unknown { .. } => Failure::transient(refusal.to_string()),
        };
    }
    let reason = reason(error);
    if error.is_builder() {
        return Failure::permanent(format!("HTTP request is not valid: {reason}"));
    }
    if error.is_connect() {
        return Failure::transient(format!("could not connect to {peer}: {reason}"));
    }
    Failure::transient(format!("connection to {peer} failed: {reason}")).sent(true)
}

/// The innermost cause: the outer ones only say which layer passed it on.
fn reason(error: &reqwest::Error) -> String {
    if let Some(io) = find::<io::Error>(error)
        && let Some(inner) = io.get_ref()
    {
        return inner.to_string();
    }
    match chain(error).last() {
        Some(last) => last.to_string(),
        None if error.is_timeout() => "no answer in time".to_owned(),
        None => "unknown error".to_owned(),
    }
}

/// The causes of an error, itself (whose text holds the URL) left out.
fn chain(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(error.source(), |cause: &&(dyn Error + 'static)| (*cause).source())
}

fn find<T: Error + 'static>(error: &reqwest::Error) -> Option<&T> {
    chain(error).find_map(|cause| cause.downcast_ref::<T>())
}
