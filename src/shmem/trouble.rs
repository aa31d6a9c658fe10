//! Why a process that is wanted is not there, and when it is tried again: for `automate.status()`.

use super::Kind;
use pgrx::pg_sys;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering::*};

/// Most troubles kept at a time; what does not fit is in the server's log only.
const PLACES: usize = 64;

/// Why a process could not be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Reason {
    /// All background worker slots of the server are taken.
    Workers = 1,
    /// Our registry is full.
    Registry = 2,
    /// The role may not log in.
    NoLogin = 3,
    /// It was started, and ended before it could work.
    EndedEarly = 4,
}

impl Reason {
    fn of(value: u32) -> Option<Reason> {
        [Reason::Workers, Reason::Registry, Reason::NoLogin, Reason::EndedEarly]
            .into_iter()
            .find(|r| *r as u32 == value)
    }

    /// For people, with the way out.
    pub fn text(self) -> &'static str {
        match self {
            Reason::Workers => "no background worker slot is free: raise max_worker_processes",
            Reason::Registry => "the registry of pg_automate is full (160 processes)",
            Reason::NoLogin => "the role is not permitted to log in: ALTER ROLE ... LOGIN",
            Reason::EndedEarly => "it ended before it could work: the server log says why",
        }
    }
}

/// One process that is wanted and not there. Written by one process (the launcher for
/// coordinators, the coordinator for its children), read by all.
struct Place {
    db: AtomicU32,
    kind: AtomicU32,
    role: AtomicU32,
    reason: AtomicU32,
    since: AtomicI64,
    next_try: AtomicI64,
}

/// A trouble as it was read; times in PostgreSQL's microseconds.
pub struct Trouble {
    pub kind: Kind,
    pub role: pg_sys::Oid,
    pub reason: Reason,
    pub since: i64,
    pub next_try: i64,
}

/// All troubles of the server.
pub struct Troubles([Place; PLACES]);

impl Troubles {
    pub const fn none() -> Troubles {
        Troubles(
            [const {
                Place {
                    db: AtomicU32::new(0),
                    kind: AtomicU32::new(0),
                    role: AtomicU32::new(0),
                    reason: AtomicU32::new(0),
                    since: AtomicI64::new(0),
                    next_try: AtomicI64::new(0),
                }
            }; PLACES],
        )
    }

    fn find(&self, db: pg_sys::Oid, kind: Kind, role: pg_sys::Oid) -> Option<&Place> {
        self.0.iter().find(|p| {
            p.db.load(Acquire) == db.to_u32()
                && p.kind.load(Relaxed) == kind as u32
                && p.role.load(Relaxed) == role.to_u32()
        })
    }

    /// Keeps the reason until [`Troubles::clear`].
    pub fn note(&self, db: pg_sys::Oid, kind: Kind, role: pg_sys::Oid, why: Reason, next_try: i64) {
        let place = self.find(db, kind, role).or_else(|| {
            let free = self
                .0
                .iter()
                .find(|p| p.db.compare_exchange(0, db.to_u32(), AcqRel, Relaxed).is_ok())?;
            free.kind.store(kind as u32, Relaxed);
            free.role.store(role.to_u32(), Relaxed);
            free.since.store(crate::pg::now(), Relaxed);
            Some(free)
        });
        if let Some(place) = place {
            place.next_try.store(next_try, Relaxed);
            place.reason.store(why as u32, Release);
        }
    }

    /// The process is there again, or no longer wanted.
    pub fn clear(&self, db: pg_sys::Oid, kind: Kind, role: pg_sys::Oid) {
        if let Some(place) = self.find(db, kind, role) {
            place.free();
        }
    }

    /// Forgets what a database's former coordinator noted of its children.
    pub fn clear_children(&self, db: pg_sys::Oid) {
        for place in &self.0 {
            let of_coordinator = place.kind.load(Relaxed) == Kind::Coordinator as u32;
            if place.db.load(Acquire) == db.to_u32() && !of_coordinator {
                place.free();
            }
        }
    }

    /// The troubles of a database.
    pub fn of_database(&self, db: pg_sys::Oid) -> impl Iterator<Item = Trouble> {
        self.0.iter().filter(move |p| p.db.load(Acquire) == db.to_u32()).filter_map(|p| {
            Some(Trouble {
                reason: Reason::of(p.reason.load(Acquire))?,
                kind: Kind::of(p.kind.load(Relaxed)),
                role: pg_sys::Oid::from(p.role.load(Relaxed)),
                since: p.since.load(Relaxed),
                next_try: p.next_try.load(Relaxed),
            })
        })
    }
}

impl Place {
    fn free(&self) {
        self.reason.store(0, Relaxed);
        self.kind.store(0, Relaxed);
        self.db.store(0, Release);
    }
}
