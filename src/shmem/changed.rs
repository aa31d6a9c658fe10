//! Tables that somebody waits for and that a commit has changed. Written at commit, where nothing
//! may wait or fail; taken by the coordinator of the database.

use pgrx::pg_sys;
use std::sync::atomic::{AtomicU64, Ordering::*};

const PLACES: usize = 512;
/// Places that are tried for a table.
const REACH: usize = 16;

/// The tables, each once. What found no place is counted: then every table may have changed.
pub struct Changed {
    places: [AtomicU64; PLACES],
    lost: AtomicU64,
}

impl Changed {
    pub const fn none() -> Changed {
        Changed { places: [const { AtomicU64::new(0) }; PLACES], lost: AtomicU64::new(0) }
    }

    /// Notes that a table was changed; false when that was noted already and is not taken yet, so
    /// that whoever takes it sees this change as well.
    pub fn note(&self, db: pg_sys::Oid, table: pg_sys::Oid) -> bool {
        let key = u64::from(db.to_u32()) << 32 | u64::from(table.to_u32());
        let first = (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize;
        for step in 0..REACH {
            let place = &self.places[(first + step) % PLACES];
            match place.compare_exchange(0, key, SeqCst, SeqCst) {
                Ok(_) => return true,
                Err(there) if there == key => return false,
                Err(_) => {}
            }
        }
        self.lost.fetch_add(1, SeqCst);
        true
    }

    /// How often a change was lost.
    pub fn lost(&self) -> u64 {
        self.lost.load(SeqCst)
    }

    /// Takes the tables of a database.
    pub fn take(&self, db: pg_sys::Oid) -> Vec<pg_sys::Oid> {
        let mut taken = Vec::new();
        for place in &self.places {
            let key = place.load(SeqCst);
            if key != 0
                && (key >> 32) as u32 == db.to_u32()
                && place.compare_exchange(key, 0, SeqCst, SeqCst).is_ok()
            {
                taken.push(pg_sys::Oid::from(key as u32));
            }
        }
        taken
    }
}
