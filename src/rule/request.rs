//! The http action of a rule: the courier sends it after the commit, as it does a workflow's.

use crate::error::{Error, Result, shown};
use crate::guc;
use crate::queue::{Lane, NewJob};
use crate::spi::as_extension;
use automate_core::net::Allow;
use automate_core::rule::action::Request;
use pgrx::prelude::*;
use serde_json::Value;

/// Attempts at a request before it is a dead letter: the last some four minutes after the first.
const ATTEMPTS: i32 = 8;

/// Refuses an address that cannot be reached from here.
pub fn check(what: &str, request: &Request) -> Result<()> {
    let Some(url) = request.constant_url() else { return Ok(()) };
    let allow = Allow::parse(&guc::network_allow()).unwrap_or_default();
    match allow.check_url(url) {
        Ok(_) => Ok(()),
        Err(e) => Err(Error::forbidden(format!("{what}: {}", e.message))
            .with_detail(format!("The url given is {}.", shown(url)))
            .with_hint(e.hint.unwrap_or("automate.network_allow lists the hosts.".into()))),
    }
}

/// Queues a request. Every attempt carries the same key, so that the peer can tell that it is one.
pub fn queue(owner: pg_sys::Oid, request: &Value, source: &str, key: &str) -> Result<()> {
    let mut payload = request.clone();
    if let Some(payload) = payload.as_object_mut() {
        payload.insert("idempotency_key".into(), key.into());
    }
    as_extension(|own| {
        NewJob {
            source: Some(source),
            max_attempts: ATTEMPTS,
            ..NewJob::new("http", owner, Lane::Network, &payload)
        }
        .put(own)
        .map(|_| ())
    })
}
