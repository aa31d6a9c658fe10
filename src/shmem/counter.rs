//! What rules and triggers have done since the server started: counted in shared memory, so that
//! counting costs no write and nobody waits for it. When there is no place left, the rest is not
//! counted.

use pgrx::pg_sys;
use std::collections::HashSet;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering::*};
use uuid::Uuid;

/// Most rules and triggers that are counted, over all databases.
const PLACES: usize = 16_384;
/// Most triggers whose delays are counted.
const DELAY_PLACES: usize = 1_024;
/// How far from its first choice a key is looked for.
const PROBES: usize = 32;
/// Delays are counted in classes, two an octave, from 16 us to some 3 hours.
pub const CLASSES: usize = 60;

struct Place {
    /// Database and id, as one number; 0: free.
    key: AtomicU64,
    evaluated: AtomicU64,
    matched: AtomicU64,
    skipped: AtomicU64,
    /// When it last matched and was not skipped, in PostgreSQL's microseconds; 0: never.
    last: AtomicI64,
}

struct Delays {
    key: AtomicU64,
    classes: [AtomicU32; CLASSES],
}

/// All that is counted.
pub struct Counters {
    places: [Place; PLACES],
    delays: [Delays; DELAY_PLACES],
}

/// The counts of one rule or trigger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Conditions evaluated.
    pub evaluated: u64,
    /// Of these, true.
    pub matched: u64,
    /// Of these, passed over for another reason.
    pub skipped: u64,
    pub last: i64,
}

/// Something with a key among many.
trait Keyed {
    fn key(&self) -> &AtomicU64;
}

impl Keyed for Place {
    fn key(&self) -> &AtomicU64 {
        &self.key
    }
}

impl Keyed for Delays {
    fn key(&self) -> &AtomicU64 {
        &self.key
    }
}

/// Database and id as one number that is not 0.
fn key_of(db: pg_sys::Oid, id: Uuid) -> u64 {
    let (high, low) = id.as_u64_pair();
    let mixed = (high ^ low.rotate_left(32)).wrapping_add(u64::from(db.to_u32()) << 17);
    let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    (mixed ^ (mixed >> 32)) | 1
}

/// The places where a key may be.
fn probe<T: Keyed>(all: &[T], key: u64) -> impl Iterator<Item = &T> {
    let first = key as usize >> 1;
    (0..PROBES).map(move |step| &all[(first + step) % all.len()])
}

fn find<T: Keyed>(all: &[T], key: u64) -> Option<&T> {
    probe(all, key).find(|place| place.key().load(Acquire) == key)
}

/// The place of a key, which takes a free one if it has none.
fn take<T: Keyed>(all: &[T], key: u64) -> Option<&T> {
    find(all, key).or_else(|| {
        probe(all, key).find(|place| {
            place
                .key()
                .compare_exchange(0, key, AcqRel, Acquire)
                .map_or_else(|now| now == key, |_| true)
        })
    })
}

impl Counters {
    pub const fn none() -> Counters {
        Counters {
            places: [const {
                Place {
                    key: AtomicU64::new(0),
                    evaluated: AtomicU64::new(0),
                    matched: AtomicU64::new(0),
                    skipped: AtomicU64::new(0),
                    last: AtomicI64::new(0),
                }
            }; PLACES],
            delays: [const {
                Delays { key: AtomicU64::new(0), classes: [const { AtomicU32::new(0) }; CLASSES] }
            }; DELAY_PLACES],
        }
    }

    /// Adds to the counts of a rule or trigger; `last` of 0 says nothing.
    pub fn add(&self, db: pg_sys::Oid, id: Uuid, more: Counts) {
        let Some(place) = take(&self.places, key_of(db, id)) else { return };
        place.evaluated.fetch_add(more.evaluated, Relaxed);
        place.matched.fetch_add(more.matched, Relaxed);
        place.skipped.fetch_add(more.skipped, Relaxed);
        place.last.fetch_max(more.last, Relaxed);
    }

    /// The counts of a rule or trigger; None: nothing was counted.
    pub fn get(&self, db: pg_sys::Oid, id: Uuid) -> Option<Counts> {
        find(&self.places, key_of(db, id)).map(|place| Counts {
            evaluated: place.evaluated.load(Relaxed),
            matched: place.matched.load(Relaxed),
            skipped: place.skipped.load(Relaxed),
            last: place.last.load(Relaxed),
        })
    }

    /// Counts how long something took from its cause to its end.
    pub fn add_delay(&self, db: pg_sys::Oid, id: Uuid, us: i64) {
        if let Some(delays) = take(&self.delays, key_of(db, id)) {
            delays.classes[class_of(us)].fetch_add(1, Relaxed);
        }
    }

    /// The delays below which these shares of all lie, in microseconds; None: none were counted.
    pub fn delays<const N: usize>(
        &self,
        db: pg_sys::Oid,
        id: Uuid,
        shares: [f64; N],
    ) -> Option<[f64; N]> {
        let delays = find(&self.delays, key_of(db, id))?;
        let classes: Vec<u64> = delays.classes.iter().map(|c| c.load(Relaxed).into()).collect();
        let total: u64 = classes.iter().sum();
        (total > 0).then(|| shares.map(|share| quantile(&classes, total as f64 * share)))
    }

    /// Frees the places of a database's ids that are not among those that are there.
    pub fn forget_others(&self, db: pg_sys::Oid, known: &[Uuid], was: &mut HashSet<u64>) {
        let now: HashSet<u64> = known.iter().map(|id| key_of(db, *id)).collect();
        for key in was.difference(&now) {
            if let Some(place) = find(&self.places, *key) {
                for count in [&place.evaluated, &place.matched, &place.skipped] {
                    count.store(0, Relaxed);
                }
                place.last.store(0, Relaxed);
                place.key.store(0, Release);
            }
            if let Some(delays) = find(&self.delays, *key) {
                delays.classes.iter().for_each(|class| class.store(0, Relaxed));
                delays.key.store(0, Release);
            }
        }
        *was = now;
    }
}

/// The class of a delay: two for each doubling from 16 us on.
fn class_of(us: i64) -> usize {
    let octaves = (us.max(1) as f64 / 16.0).log2() * 2.0;
    (octaves.max(0.0) as usize).min(CLASSES - 1)
}

/// Where in the classes the n-th delay lies, in microseconds.
fn quantile(classes: &[u64], nth: f64) -> f64 {
    let mut before = 0.0;
    for (class, count) in classes.iter().enumerate() {
        let count = *count as f64;
        if count > 0.0 && before + count >= nth {
            let within = ((nth - before) / count).clamp(0.0, 1.0);
            return 16.0 * 2f64.powf((class as f64 + within) / 2.0);
        }
        before += count;
    }
    0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_told_to_within_a_class() {
        for us in [20, 300, 4_000, 50_000, 600_000, 7_000_000] {
            let mut classes = vec![0; CLASSES];
            classes[class_of(us)] = 100;
            let told = quantile(&classes, 50.0);
            assert!((told / us as f64).ln().abs() < 2f64.sqrt().ln(), "{us} told as {told}");
        }
    }
}
