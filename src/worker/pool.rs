//! The coordinator's children: executors by role, and the courier. Few, fair, watched.

use super::spawn::{self, Child};
use crate::shmem::registry::Slot;
use crate::shmem::trouble::Reason;
use crate::shmem::{Kind, State, registry};
use crate::{access, guc, pg};
use pgrx::prelude::*;
use std::collections::HashMap;

/// An executor that has been at one batch for longer than this does not count as on its way.
const SLOW_US: i64 = 20_000;
/// How long an executor serves its role at least before it makes room for another.
const TENURE_US: i64 = 300_000;
/// How long it is remembered when a role without work was served.
const SERVED_US: i64 = 60_000_000;
/// Between two requests to make room.
const ROOM_PAUSE_US: i64 = 100_000;

/// A role with ready work, and how many jobs of it were counted (to a small limit).
pub struct Waiting {
    pub role: pg_sys::Oid,
    /// Those that run now are among them: an executor holds one of these.
    pub jobs: i64,
    /// Most executors that the role may have at once.
    pub limit: Option<usize>,
}

/// Why nothing was started lately, per key.
struct Trouble {
    failures: u32,
    next_try: i64,
}

/// The children and what is asked of them.
pub struct Pool {
    db: pg_sys::Oid,
    children: Vec<(Kind, pg_sys::Oid, Child, i64)>,
    trouble: HashMap<(Kind, pg_sys::Oid), Trouble>,
    waiting: Vec<Waiting>,
    /// Roles that will soon have work.
    soon: Vec<pg_sys::Oid>,
    network: bool,
    /// When each waiting role last got an executor: who waits longest is next.
    served: HashMap<pg_sys::Oid, i64>,
    room_asked: i64,
}

impl Pool {
    pub fn new(db: pg_sys::Oid) -> Pool {
        Pool {
            db,
            children: Vec::new(),
            trouble: HashMap::new(),
            waiting: Vec::new(),
            soon: Vec::new(),
            network: false,
            served: HashMap::new(),
            room_asked: 0,
        }
    }

    /// Says what work there is.
    ///
    /// `refused` are roles with jobs that cannot run, since the role may not log in.
    pub fn want(&mut self, waiting: Vec<Waiting>, refused: &[pg_sys::Oid], network: bool) {
        let wanted =
            |role: pg_sys::Oid| refused.contains(&role) || waiting.iter().any(|w| w.role == role);
        let over: Vec<_> = self
            .trouble
            .keys()
            .filter(|(kind, role)| *kind == Kind::Executor && !wanted(*role))
            .copied()
            .collect();
        for (kind, role) in over {
            self.trouble.remove(&(kind, role));
            self.clear_trouble(kind, role);
        }
        for role in refused {
            self.note_trouble(Kind::Executor, *role, Reason::NoLogin);
        }
        // Kept for a while: who was served and waits again comes after those who were not.
        let long_ago = pg::now() - SERVED_US;
        self.served.retain(|role, at| *at > long_ago || waiting.iter().any(|w| w.role == *role));
        self.waiting = waiting;
        self.network = network;
    }

    /// Roles have changed: what failed may work now.
    pub fn forgive(&mut self) {
        for (kind, role) in std::mem::take(&mut self.trouble).into_keys() {
            self.clear_trouble(kind, role);
        }
    }

    /// Starts and wakes who is wanted; returns after how many milliseconds to look again.
    pub fn supervise(&mut self) -> i64 {
        self.bury();
        let mut again = i64::MAX;
        if self.network {
            again = again.min(self.ensure(Kind::Courier, pg_sys::InvalidOid));
        }
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.sort_by_key(|w| (self.executors_of(w.role), self.served.get(&w.role).copied()));
        for w in &waiting {
            again = again.min(self.serve(w));
        }
        self.waiting = waiting;
        for role in std::mem::take(&mut self.soon) {
            self.warm(role);
        }
        again
    }

    /// Whether a role has an executor, or one on its way.
    pub fn has_executor(&self, role: pg_sys::Oid) -> bool {
        self.executors_of(role) > 0
    }

    /// Says which roles will soon have work.
    pub fn expect(&mut self, roles: Vec<pg_sys::Oid>) {
        self.soon = roles;
    }

    /// Starts an executor for a role that will soon have work, if it has none and nobody has to
    /// make room for it. What goes wrong is told when it is needed.
    fn warm(&mut self, role: pg_sys::Oid) {
        let executors = self.slots().filter(|s| s.kind() == Kind::Executor).count();
        let in_trouble = self.trouble.contains_key(&(Kind::Executor, role));
        if self.has_executor(role) || in_trouble || executors >= guc::max_executors() {
            return;
        }
        if let Ok(child) = spawn::start(Kind::Executor, self.db, role) {
            self.children.push((Kind::Executor, role, child, pg::now()));
        }
    }

    fn executors_of(&self, role: pg_sys::Oid) -> usize {
        self.slots().filter(|s| s.kind() == Kind::Executor && s.role() == role).count()
    }

    fn slots(&self) -> impl Iterator<Item = &'static Slot> {
        let db = self.db;
        registry().into_iter().flat_map(move |r| r.of_database(db).map(|(_, s)| s))
    }

    /// Sees to it that a role's ready jobs are worked at.
    fn serve(&mut self, wanting: &Waiting) -> i64 {
        let (role, now) = (wanting.role, pg::now());
        let most = wanting.limit.unwrap_or(usize::MAX);
        let mine = |s: &&'static Slot| s.kind() == Kind::Executor && s.role() == role;
        // The limit was lowered: the others leave when their job is done.
        self.slots().filter(mine).skip(most).for_each(Slot::ask_to_leave);
        let (mut idle, mut quick, mut slow) = (0, 0, 0usize);
        for slot in self.slots().filter(mine) {
            match slot.state() {
                State::Idle => {
                    idle += 1;
                    slot.wake();
                }
                State::Starting => quick += 1,
                State::Busy if now - slot.since() < SLOW_US => quick += 1,
                State::Busy => slow += 1,
            }
        }
        if idle > 0 {
            return i64::MAX;
        }
        if quick > 0 {
            // On its way; if it proves to be slow, another is started.
            return SLOW_US / 1000;
        }
        // Each slow executor holds one of the jobs that were counted as ready.
        if wanting.jobs > slow as i64 && slow < most {
            self.ensure(Kind::Executor, role)
        } else {
            i64::MAX
        }
    }

    /// Starts a process if there is room and no recent trouble.
    fn ensure(&mut self, kind: Kind, role: pg_sys::Oid) -> i64 {
        let now = pg::now();
        if kind == Kind::Courier
            && let Some(slot) = self.slots().find(|s| s.kind() == Kind::Courier)
        {
            slot.wake();
            return i64::MAX;
        }
        if let Some(trouble) = self.trouble.get(&(kind, role))
            && now < trouble.next_try
        {
            return ((trouble.next_try - now) / 1000).max(1);
        }
        if kind == Kind::Executor && !self.make_room(role) {
            return 50;
        }
        match spawn::start(kind, self.db, role) {
            Ok(child) => {
                self.children.push((kind, role, child, now));
                self.served.insert(role, now);
                self.started_well(kind, role);
                i64::MAX
            }
            Err(reason) => self.note_trouble(kind, role, reason),
        }
    }

    /// True when one more executor of a role may start; else another is asked to go: an idle one
    /// of another role at once, or a busy one of a role that has more than its share, which goes
    /// when its job is done.
    fn make_room(&mut self, role: pg_sys::Oid) -> bool {
        let executors: Vec<&Slot> = self.slots().filter(|s| s.kind() == Kind::Executor).collect();
        if executors.len() < guc::max_executors() {
            return true;
        }
        let now = pg::now();
        let others = executors.iter().filter(|s| s.role() != role && !s.asked_to_leave());
        let idle = others.clone().find(|s| s.state() == State::Idle);
        let mine = self.executors_of(role);
        let busy = || {
            let has_more = |s: &&&Slot| mine == 0 || self.executors_of(s.role()) > mine + 1;
            others
                .filter(|s| now - s.entered() > TENURE_US)
                .filter(has_more)
                .max_by_key(|s| (self.executors_of(s.role()), -s.entered()))
        };
        if now - self.room_asked > ROOM_PAUSE_US
            && let Some(slot) = idle.or_else(busy)
        {
            slot.ask_to_leave();
            self.room_asked = now;
        }
        false
    }

    /// Takes note of the children that ended.
    fn bury(&mut self) {
        let now = pg::now();
        let (alive, ended): (Vec<_>, Vec<_>) = std::mem::take(&mut self.children)
            .into_iter()
            .partition(|(_, _, child, _)| child.alive());
        self.children = alive;
        for (kind, role, child, started) in ended {
            // A process gives its slot back before the postmaster knows that it ended: the slot may
            // be that of a later one by now, which is on its way.
            let is_taken = self.children.iter().any(|(_, _, other, _)| other.index == child.index);
            let never_came = !is_taken && child.clean_up();
            // One that could not connect ends within moments of its start.
            let early = never_came || now - started < 1_000_000;
            let refused = early && !access_is_fine(role);
            if refused {
                self.note_trouble(kind, role, Reason::NoLogin);
            } else if never_came {
                self.note_trouble(kind, role, Reason::EndedEarly);
            } else if self.trouble.remove(&(kind, role)).is_some() {
                self.clear_trouble(kind, role);
            }
        }
    }

    /// Waits longer after each failure and keeps the reason for `status()`.
    fn note_trouble(&mut self, kind: Kind, role: pg_sys::Oid, reason: Reason) -> i64 {
        let now = pg::now();
        let trouble =
            self.trouble.entry((kind, role)).or_insert(Trouble { failures: 0, next_try: 0 });
        trouble.failures += 1;
        let pause_ms = 250i64 << trouble.failures.min(8);
        trouble.next_try = now + pause_ms * 1000;
        if let Some(registry) = registry() {
            registry.troubles.note(self.db, kind, role, reason, trouble.next_try);
        }
        if trouble.failures == 1 {
            let (kind, role, reason) = (kind.name(), role.to_u32(), reason.text());
            log!("pg_automate cannot start a {kind} for role {role}: {reason}");
        }
        pause_ms
    }

    /// A worker slot was found: that trouble is over. Others are over when the process works.
    fn started_well(&mut self, kind: Kind, role: pg_sys::Oid) {
        let Some(registry) = registry() else { return };
        let no_room = registry
            .troubles
            .of_database(self.db)
            .any(|t| t.kind == kind && t.role == role && t.reason != Reason::EndedEarly);
        if no_room {
            self.trouble.remove(&(kind, role));
            self.clear_trouble(kind, role);
        }
    }

    fn clear_trouble(&self, kind: Kind, role: pg_sys::Oid) {
        if let Some(registry) = registry() {
            registry.troubles.clear(self.db, kind, role);
        }
    }
}

fn access_is_fine(role: pg_sys::Oid) -> bool {
    role == pg_sys::InvalidOid
        || super::process::transaction(|| access::can_log_in(role)).unwrap_or(false)
}
