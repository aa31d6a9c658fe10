//! Events in order: what is emitted with a key is taken in the order in which it was committed.
//!
//! Transactions that emit under one key of an owner come one after the other: each holds a lock
//! until its end, so that places are handed out in the order of the commits. Each listener has a
//! chain of its own for a key, and a job of a chain is claimed only when those before it are done
//! or given up (`queue::claim`): a listener in trouble does not hold up the others.

use crate::access;
use crate::error::Result;
use crate::pg;
use crate::queue::claim::key_tag;
use crate::spi::Own;
use pgrx::prelude::*;

/// Longest key, in bytes.
const MAX_KEY: usize = 256;
/// `LOCKTAG.locktag_field4` of these locks; the queue's own keys use another.
const CLASS: u16 = 0xA8;

/// Where an event stands among those of its key.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    emitter: pg_sys::Oid,
    key: &'a str,
    pub seq: i64,
}

impl Place<'_> {
    /// The chain of a listener, such as rule:id.
    pub fn chain(&self, listener: &str) -> String {
        format!("{listener}:{}:{}", self.emitter.to_u32(), self.key)
    }
}

/// Checks a key.
pub fn check_key(key: &str) -> Result<()> {
    let advice = "Name what the events are about, such as the order's number.";
    access::check_length("an order_key", key, MAX_KEY, advice)
}

/// The next place of a key. Waits until other transactions that have emitted under it have ended;
/// nobody gets one before this transaction ends.
pub fn take<'a>(own: &Own, emitter: pg_sys::Oid, key: &'a str) -> Result<Place<'a>> {
    let tag = key_tag(CLASS, emitter, key);
    // SAFETY: a well-formed tag; the lock is the transaction's, and goes with it.
    unsafe { pg_sys::LockAcquire(&tag, pg_sys::ExclusiveLock as i32, false, false) };
    pg::check_interrupts();
    again(own, emitter, key)
}

/// A place after all that are taken, for an event that is kept already.
pub fn again<'a>(own: &Own, emitter: pg_sys::Oid, key: &'a str) -> Result<Place<'a>> {
    let seq: Option<i64> = own.one("SELECT nextval('automate.event_order')", &[])?;
    Ok(Place { emitter, key, seq: seq.unwrap_or(0) })
}
