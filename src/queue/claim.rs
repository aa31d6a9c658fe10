//! Taking work out: rows locked with SKIP LOCKED, so that a crash simply undoes the claim.

use super::Job;
use crate::error::{Error, Result};
use crate::spi::Own;
use crate::spi::own::Rows;
use pgrx::prelude::*;
use std::cell::Cell;
use uuid::Uuid;

/// Where the last claim ended, and since when claims have not begun at the start of the queue.
#[derive(Clone, Copy)]
struct Bookmark {
    priority: i32,
    id: pgrx::Uuid,
    since: i64,
}

/// How long a bookmark serves, in microseconds: a job that sorts before it waits no longer.
const BOOKMARK_US: i64 = 50_000;

thread_local! {
    static BOOKMARK: Cell<Option<Bookmark>> = const { Cell::new(None) };
}

/// Up to `limit` ready jobs of a role, best first, locked until the transaction ends. Jobs whose
/// concurrency key somebody else holds are passed over, and those of an order key before whose
/// turn others are still to be done. (A scalar subquery: EXISTS might be hashed, and read the
/// whole queue.)
///
/// The index entries of finished jobs stay until the next vacuum, and a claim from the start
/// walks over all of them. So while there is plenty to do, a claim begins where the last ended.
pub fn claim(own: &Own, role: pg_sys::Oid, limit: i64) -> Result<Vec<Job>> {
    let now = crate::pg::now();
    if let Some(mark) = BOOKMARK.get().filter(|m| now - m.since < BOOKMARK_US) {
        let rows = own.run(
            "SELECT id, kind, payload::pg_catalog.text, attempts, max_attempts, timeout_ms,
                    concurrency_key, source, search_path, top_level, priority
             FROM automate.job
             WHERE lane = 's' AND owner = $1 AND status = 'ready' AND (priority, id) > ($3, $4)
               AND (concurrency_key IS NULL OR ((SELECT count(*) FROM automate.job AS h WHERE h.owner = job.owner AND h.concurrency_key = job.concurrency_key
                    AND (h.status = 'waiting' OR (h.lane = 'n' AND h.status = 'running'))) = 0
                AND automate.try_key(owner, concurrency_key)))
               AND (order_key IS NULL OR (order_seq = (SELECT min(e.order_seq) FROM automate.job AS e
                        WHERE e.owner = job.owner AND e.order_key = job.order_key)
                    AND automate.try_key(owner, order_key)))
             ORDER BY priority, id LIMIT $2 FOR UPDATE SKIP LOCKED",
            &[role.into(), limit.into(), mark.priority.into(), mark.id.into()],
        )?;
        if rows.len() as i64 == limit {
            note_end(&rows, mark.since);
            return read(&rows);
        }
        // Too few: they are among what a claim from the start finds.
    }
    let rows = own.run(
        "SELECT id, kind, payload::pg_catalog.text, attempts, max_attempts, timeout_ms,
                concurrency_key, source, search_path, top_level, priority
         FROM automate.job
         WHERE lane = 's' AND owner = $1 AND status = 'ready'
           AND (concurrency_key IS NULL OR ((SELECT count(*) FROM automate.job AS h WHERE h.owner = job.owner AND h.concurrency_key = job.concurrency_key
                    AND (h.status = 'waiting' OR (h.lane = 'n' AND h.status = 'running'))) = 0
                AND automate.try_key(owner, concurrency_key)))
           AND (order_key IS NULL OR (order_seq = (SELECT min(e.order_seq) FROM automate.job AS e
                    WHERE e.owner = job.owner AND e.order_key = job.order_key)
                AND automate.try_key(owner, order_key)))
         ORDER BY priority, id LIMIT $2 FOR UPDATE SKIP LOCKED",
        &[role.into(), limit.into()],
    )?;
    note_end(&rows, now);
    read(&rows)
}

/// Remembers where a claim ended.
fn note_end(rows: &Rows, since: i64) {
    let last = rows.len().wrapping_sub(1);
    BOOKMARK.set(rows.get(last, 11).zip(rows.get(last, 1)).map(|(priority, id)| Bookmark {
        priority,
        id,
        since,
    }));
}

/// The named jobs, if they are still ready and nobody else has them.
pub fn claim_these(own: &Own, ids: &[Uuid]) -> Result<Vec<Job>> {
    let rows = own.run(
        "SELECT id, kind, payload::pg_catalog.text, attempts, max_attempts, timeout_ms,
                concurrency_key, source, search_path, top_level
         FROM automate.job
         WHERE id = ANY ($1) AND status = 'ready'
           AND (concurrency_key IS NULL OR ((SELECT count(*) FROM automate.job AS h WHERE h.owner = job.owner AND h.concurrency_key = job.concurrency_key
                    AND (h.status = 'waiting' OR (h.lane = 'n' AND h.status = 'running'))) = 0
                AND automate.try_key(owner, concurrency_key)))
           AND (order_key IS NULL OR (order_seq = (SELECT min(e.order_seq) FROM automate.job AS e
                    WHERE e.owner = job.owner AND e.order_key = job.order_key)
                AND automate.try_key(owner, order_key)))
         ORDER BY priority, id FOR UPDATE SKIP LOCKED",
        &[to_uuids(ids).into()],
    )?;
    read(&rows)
}

/// The named jobs whatever their status, if nobody else has them; with each whether it was not
/// ready.
pub fn claim_any(own: &Own, ids: &[pgrx::Uuid]) -> Result<Vec<(Job, bool)>> {
    let rows = own.run(
        "SELECT id, kind, payload::pg_catalog.text, attempts, max_attempts, timeout_ms,
                concurrency_key, source, search_path, top_level, status <> 'ready'
         FROM automate.job WHERE id = ANY ($1) ORDER BY id FOR UPDATE SKIP LOCKED",
        &[ids.to_vec().into()],
    )?;
    let asleep = (0..rows.len()).map(|row| rows.get(row, 11).unwrap_or(false));
    Ok(read(&rows)?.into_iter().zip(asleep).collect())
}

/// Uuids as pgrx wants them.
pub fn to_uuids(ids: &[Uuid]) -> Vec<pgrx::Uuid> {
    ids.iter().map(|id| pgrx::Uuid::from_bytes(*id.as_bytes())).collect()
}

/// Rows that begin with the ten columns of [`claim_these`].
pub fn read(rows: &Rows) -> Result<Vec<Job>> {
    (0..rows.len())
        .map(|i| {
            let id: pgrx::Uuid =
                rows.get(i, 1).ok_or_else(|| Error::Internal("job without id".into()))?;
            let payload: String = rows.get(i, 3).unwrap_or_default();
            let payload = serde_json::from_str(&payload);
            Ok(Job {
                id: Uuid::from_bytes(*id.as_bytes()),
                kind: rows.get(i, 2).unwrap_or_default(),
                broken: payload.as_ref().err().map(ToString::to_string),
                payload: payload.unwrap_or_default(),
                attempts: rows.get(i, 4).unwrap_or(0),
                max_attempts: rows.get(i, 5).unwrap_or(1),
                timeout_ms: rows.get(i, 6),
                concurrency_key: rows.get(i, 7),
                source: rows.get(i, 8),
                search_path: rows.get(i, 9),
                top_level: rows.get(i, 10).unwrap_or(false),
                said: None,
            })
        })
        .collect()
}

/// Tries to take the concurrency key of an owner until the transaction ends. The lock is of a
/// class of its own, so that no user's advisory lock can stand in its way.
pub fn try_key(owner: pg_sys::Oid, key: &str) -> bool {
    take_key(owner, key, false)
}

/// Keeps a key over the commits inside a top-level statement, until the session is reset.
pub fn keep_key(owner: pg_sys::Oid, key: &str) -> bool {
    take_key(owner, key, true)
}

fn take_key(owner: pg_sys::Oid, key: &str, for_session: bool) -> bool {
    /// `LOCKTAG.locktag_field4` of our keys; PostgreSQL's own advisory locks use 1 and 2.
    const CLASS: u16 = 0xA7;
    let tag = key_tag(CLASS, owner, key);
    // SAFETY: a well-formed tag; dontWait makes it answer at once.
    let result =
        unsafe { pg_sys::LockAcquire(&tag, pg_sys::ExclusiveLock as i32, for_session, true) };
    result != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
}

/// What PostgreSQL's lock manager calls a key of an owner.
pub fn key_tag(class: u16, owner: pg_sys::Oid, key: &str) -> pg_sys::LOCKTAG {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for byte in owner.to_u32().to_le_bytes().iter().chain(key.as_bytes()) {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    }
    pg_sys::LOCKTAG {
        locktag_field1: crate::pg::my_database().to_u32(),
        locktag_field2: (hash >> 32) as u32,
        locktag_field3: hash as u32,
        locktag_field4: class,
        locktag_type: pg_sys::LockTagType::LOCKTAG_ADVISORY as u8,
        locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
    }
}
