//! Jobs whose session is being ended because they would not stop: nobody takes one again before it
//! is recorded what became of it.

use pgrx::pg_sys;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};
use uuid::Uuid;

/// Most such jobs of one server at a time; there is one for each executor at most.
const PLACES: usize = super::registry::SLOTS;

struct Place {
    db: AtomicU32,
    job: [AtomicU64; 2],
}

/// All of them.
pub struct Doomed {
    places: [Place; PLACES],
    /// How many there are: usually none, so that looking costs nothing.
    count: AtomicU32,
}

impl Doomed {
    pub const fn none() -> Doomed {
        Doomed {
            places: [const { Place { db: AtomicU32::new(0), job: [const { AtomicU64::new(0) }; 2] } };
                PLACES],
            count: AtomicU32::new(0),
        }
    }

    /// Adds a job; false when there is no room.
    pub fn add(&self, db: pg_sys::Oid, job: Uuid) -> bool {
        let taken = self
            .places
            .iter()
            .find(|p| p.db.compare_exchange(0, db.to_u32(), AcqRel, Relaxed).is_ok());
        let Some(place) = taken else { return false };
        let (high, low) = job.as_u64_pair();
        place.job[0].store(high, Relaxed);
        place.job[1].store(low, Release);
        self.count.fetch_add(1, AcqRel);
        true
    }

    pub fn has(&self, job: Uuid) -> bool {
        self.count.load(Acquire) > 0 && self.places.iter().any(|p| p.holds(job))
    }

    pub fn remove(&self, job: Uuid) {
        self.places.iter().filter(|p| p.holds(job)).for_each(|p| self.free(p));
    }

    /// Removes those of a database.
    pub fn clear(&self, db: pg_sys::Oid) {
        let mine = |p: &&Place| p.db.load(Acquire) == db.to_u32();
        self.places.iter().filter(mine).for_each(|p| self.free(p));
    }

    fn free(&self, place: &Place) {
        place.job[1].store(0, Relaxed);
        place.job[0].store(0, Relaxed);
        place.db.store(0, Release);
        self.count.fetch_sub(1, AcqRel);
    }
}

impl Place {
    fn holds(&self, job: Uuid) -> bool {
        let (high, low) = job.as_u64_pair();
        self.db.load(Acquire) != 0
            && self.job[1].load(Acquire) == low
            && self.job[0].load(Relaxed) == high
    }
}
