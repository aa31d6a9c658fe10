//! What roles have put into queues today, for `automate.limit_role`: counted in shared memory, so
//! that no call waits for another. Begins anew with each day (UTC) and each start of the server.

use pgrx::pg_sys;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::*};

/// Most roles with daily limits that are counted, over all databases.
const PLACES: usize = 256;

/// What one role of one database has put in.
struct Place {
    /// Database and role; 0: free.
    key: AtomicU64,
    day: AtomicI64,
    jobs: AtomicI64,
    bytes: AtomicI64,
}

/// All that is counted.
pub struct Usage([Place; PLACES]);

/// What a role has put in today, the call that asks included.
#[derive(Clone, Copy, Debug)]
pub struct Today {
    pub jobs: i64,
    pub bytes: i64,
}

impl Usage {
    pub const fn none() -> Usage {
        Usage(
            [const {
                Place {
                    key: AtomicU64::new(0),
                    day: AtomicI64::new(0),
                    jobs: AtomicI64::new(0),
                    bytes: AtomicI64::new(0),
                }
            }; PLACES],
        )
    }

    /// Counts a call; None when there is no place left to count it.
    pub fn add(&self, db: pg_sys::Oid, role: pg_sys::Oid, day: i64, bytes: i64) -> Option<Today> {
        let key = u64::from(db.to_u32()) << 32 | u64::from(role.to_u32());
        let place = self.0.iter().find(|p| {
            let found = p.key.load(Acquire);
            found == key
                || (found == 0
                    && p.key
                        .compare_exchange(0, key, AcqRel, Acquire)
                        .map_or_else(|now| now == key, |_| true))
        })?;
        let counted = place.day.load(Acquire);
        if counted != day && place.day.compare_exchange(counted, day, AcqRel, Relaxed).is_ok() {
            place.jobs.store(0, Release);
            place.bytes.store(0, Release);
        }
        Some(Today {
            jobs: place.jobs.fetch_add(1, AcqRel) + 1,
            bytes: place.bytes.fetch_add(bytes, AcqRel) + bytes,
        })
    }

    /// Takes a call back that was refused.
    pub fn take_back(&self, db: pg_sys::Oid, role: pg_sys::Oid, bytes: i64) {
        let key = u64::from(db.to_u32()) << 32 | u64::from(role.to_u32());
        if let Some(place) = self.0.iter().find(|p| p.key.load(Acquire) == key) {
            place.jobs.fetch_sub(1, AcqRel);
            place.bytes.fetch_sub(bytes, AcqRel);
        }
    }
}
