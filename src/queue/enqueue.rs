//! Putting work in the queue, in the caller's transaction.

use crate::error::Result;
use crate::event::trace;
use crate::spi::Own;
use crate::{pg, wake};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use serde_json::Value;
use uuid::Uuid;

/// Who does a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// An executor, in a session of the owner.
    Sql,
    /// The courier: network work.
    Network,
}

impl Lane {
    /// As it stands in automate.job.lane.
    pub fn letter(self) -> i8 {
        match self {
            Lane::Sql => b's' as i8,
            Lane::Network => b'n' as i8,
        }
    }
}

/// A job to be.
pub struct NewJob<'a> {
    pub kind: &'static str,
    pub owner: pg_sys::Oid,
    pub lane: Lane,
    pub payload: &'a Value,
    pub source: Option<&'a str>,
    pub run_at: Option<TimestampWithTimeZone>,
    pub priority: i32,
    pub max_attempts: i32,
    pub timeout_ms: Option<i32>,
    pub dedupe_key: Option<&'a str>,
    pub concurrency_key: Option<&'a str>,
    pub search_path: Option<&'a str>,
    /// Its chain, and its place in it.
    pub order: Option<(&'a str, i64)>,
    pub top_level: bool,
}

impl<'a> NewJob<'a> {
    /// A job with the usual settings: now, once, priority 100.
    pub fn new(kind: &'static str, owner: pg_sys::Oid, lane: Lane, payload: &'a Value) -> Self {
        NewJob {
            kind,
            owner,
            lane,
            payload,
            source: None,
            run_at: None,
            priority: 100,
            max_attempts: 1,
            timeout_ms: None,
            dedupe_key: None,
            concurrency_key: None,
            search_path: None,
            order: None,
            top_level: false,
        }
    }

    /// Puts it in the queue; returns its id, or that of the job to do with the same dedupe key.
    pub fn put(&self, own: &Own) -> Result<Uuid> {
        let id = Uuid::now_v7();
        let inserted = own.run(
            "INSERT INTO automate.job (id, kind, owner, lane, payload, source, run_at, priority,
                    max_attempts, timeout_ms, dedupe_key, concurrency_key, search_path, top_level, order_key, order_seq, status)
             VALUES ($1, $2, $3, $4, $5::pg_catalog.text::pg_catalog.jsonb, $6, coalesce($7, pg_catalog.now()), $8, $9, $10, $11, $12, $13, $14, $15, $16,
                    CASE WHEN $7 > pg_catalog.clock_timestamp() THEN 'scheduled' ELSE 'ready' END)
             ON CONFLICT (owner, dedupe_key) WHERE dedupe_key IS NOT NULL DO NOTHING
             RETURNING id",
            &[
                pgrx::Uuid::from_bytes(*id.as_bytes()).into(),
                self.kind.into(),
                self.owner.into(),
                self.lane.letter().into(),
                trace::stamped(self.payload).to_string().into(),
                self.source.into(),
                self.run_at.into(),
                self.priority.into(),
                self.max_attempts.into(),
                self.timeout_ms.into(),
                self.dedupe_key.into(),
                self.concurrency_key.into(),
                self.search_path.into(),
                self.top_level.into(),
                self.order.map(|(key, _)| key).into(),
                self.order.map(|(_, seq)| seq).into(),
            ],
        )?;
        if inserted.len() == 1 {
            match self.lane {
                Lane::Sql if self.run_at.is_none() => wake::arm_role(self.owner),
                Lane::Sql => wake::arm_coordinator(),
                Lane::Network => wake::arm_courier(),
            }
            return Ok(id);
        }
        let found: Option<pgrx::Uuid> = own.one(
            "SELECT id FROM automate.job WHERE owner = $1 AND dedupe_key = $2",
            &[self.owner.into(), self.dedupe_key.into()],
        )?;
        // The other job may have been finished meanwhile: then this one is not needed either way
        // by the reader of a dedupe key, but it must exist, so try again.
        match found {
            Some(id) => Ok(Uuid::from_bytes(*id.as_bytes())),
            None => {
                pg::check_interrupts();
                self.put(own)
            }
        }
    }
}
