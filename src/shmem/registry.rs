//! The registry of our processes in shared memory. Only atomics: it is read and written in
//! commit callbacks and exit callbacks, where nothing may wait or fail.

use super::changed::Changed;
use super::counter::Counters;
use super::doomed::Doomed;
use super::trouble::Troubles;
use super::usage::Usage;
use pgrx::prelude::*;
use pgrx::{PGRXSharedMemory, PgAtomic, pg_shmem_init};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU32, AtomicU64, Ordering::*};

/// Most processes of ours in one server.
pub const SLOTS: usize = 160;
const NOTES: usize = 64;

/// What a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Kind {
    Free = 0,
    /// Being filled in by whoever reserved it.
    Reserved = 1,
    Launcher = 2,
    Coordinator = 3,
    Executor = 4,
    Courier = 5,
}

impl Kind {
    pub(super) fn of(value: u32) -> Kind {
        [
            Kind::Free,
            Kind::Reserved,
            Kind::Launcher,
            Kind::Coordinator,
            Kind::Executor,
            Kind::Courier,
        ]
        .into_iter()
        .find(|k| *k as u32 == value)
        .unwrap_or(Kind::Reserved)
    }

    pub fn name(self) -> &'static str {
        match self {
            Kind::Free => "free",
            Kind::Reserved => "reserved",
            Kind::Launcher => "launcher",
            Kind::Coordinator => "coordinator",
            Kind::Executor => "executor",
            Kind::Courier => "courier",
        }
    }
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum State {
    Starting = 0,
    Idle = 1,
    Busy = 2,
}

impl State {
    fn of(value: u32) -> State {
        match value {
            1 => State::Idle,
            2 => State::Busy,
            _ => State::Starting,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Idle => "idle",
            State::Busy => "busy",
        }
    }
}

/// One process.
pub struct Slot {
    kind: AtomicU32,
    db: AtomicU32,
    role: AtomicU32,
    pid: AtomicI32,
    procno: AtomicI32,
    state: AtomicU32,
    leave: AtomicBool,
    since: AtomicI64,
    entered: AtomicI64,
    job: [AtomicU64; 2],
    /// The job that somebody wants to be cancelled.
    cancel: [AtomicU64; 2],
    /// When the timeout of its job passes; 0: never.
    deadline: AtomicI64,
    /// Coordinators only: the last bit is set while nothing is to be claimed in the database, the
    /// others count how often it was paused.
    paused: AtomicU64,
    /// Why the last process of this slot left; kept until the slot is taken again.
    absent: AtomicBool,
}

impl Slot {
    const fn free() -> Slot {
        Slot {
            kind: AtomicU32::new(0),
            db: AtomicU32::new(0),
            role: AtomicU32::new(0),
            pid: AtomicI32::new(0),
            procno: AtomicI32::new(-1),
            state: AtomicU32::new(0),
            leave: AtomicBool::new(false),
            since: AtomicI64::new(0),
            entered: AtomicI64::new(0),
            job: [const { AtomicU64::new(0) }; 2],
            cancel: [const { AtomicU64::new(0) }; 2],
            deadline: AtomicI64::new(0),
            paused: AtomicU64::new(1),
            absent: AtomicBool::new(false),
        }
    }

    pub fn kind(&self) -> Kind {
        Kind::of(self.kind.load(Acquire))
    }

    pub fn db(&self) -> pg_sys::Oid {
        pg_sys::Oid::from(self.db.load(Relaxed))
    }

    pub fn role(&self) -> pg_sys::Oid {
        pg_sys::Oid::from(self.role.load(Relaxed))
    }

    pub fn pid(&self) -> i32 {
        self.pid.load(Relaxed)
    }

    pub fn state(&self) -> State {
        State::of(self.state.load(Acquire))
    }

    /// Since when it is in its state, in PostgreSQL's microseconds.
    pub fn since(&self) -> i64 {
        self.since.load(Relaxed)
    }

    /// When the process came, or was sent for.
    pub fn entered(&self) -> i64 {
        self.entered.load(Relaxed)
    }

    /// The job it does now.
    pub fn job(&self) -> Option<uuid::Uuid> {
        let (high, low) = (self.job[0].load(Relaxed), self.job[1].load(Relaxed));
        (high != 0 || low != 0).then(|| uuid::Uuid::from_u64_pair(high, low))
    }

    pub fn set_job(&self, job: Option<uuid::Uuid>) {
        let (high, low) = job.map_or((0, 0), |j| j.as_u64_pair());
        self.job[0].store(high, Relaxed);
        self.job[1].store(low, Relaxed);
    }

    /// Names the job that is to be cancelled, if it is still being done.
    pub fn ask_to_cancel(&self, job: uuid::Uuid) {
        let (high, low) = job.as_u64_pair();
        self.cancel[0].store(high, Relaxed);
        self.cancel[1].store(low, Release);
    }

    /// True when the job it does now is to be cancelled. In signal handlers, too.
    pub fn is_asked_to_cancel(&self) -> bool {
        let same = |part: usize| self.cancel[part].load(Acquire) == self.job[part].load(Acquire);
        same(0) && same(1)
    }

    /// When the timeout of its job passes, in PostgreSQL's microseconds; 0: never.
    pub fn deadline(&self) -> i64 {
        self.deadline.load(Relaxed)
    }

    pub fn set_deadline(&self, at: i64) {
        self.deadline.store(at, Relaxed);
    }

    pub fn set_state(&self, state: State) {
        self.since.store(crate::pg::now(), Relaxed);
        self.state.store(state as u32, Release);
    }

    /// Asks the process to leave as soon as it can.
    pub fn ask_to_leave(&self) {
        self.leave.store(true, Release);
        self.wake();
    }

    pub fn asked_to_leave(&self) -> bool {
        self.leave.load(Acquire)
    }

    /// Sets the latch of the process. The slot holds an index, not a pointer: a stale one costs
    /// a spurious wake-up of somebody else, never a crash.
    pub fn wake(&self) {
        let procno = self.procno.load(Acquire);
        if procno < 0 {
            return;
        }
        // SAFETY: allProcs has allProcCount members for the life of the server, and the index is
        // checked against it; SetLatch cannot fail.
        unsafe {
            let all = &*pg_sys::ProcGlobal;
            if (procno as u32) < all.allProcCount {
                pg_sys::SetLatch(&raw mut (*all.allProcs.add(procno as usize)).procLatch);
            }
        }
    }

    /// How things stand before a look, for [`Slot::set_paused`].
    pub fn paused_mark(&self) -> u64 {
        self.paused.load(Acquire)
    }

    /// Says what a look found, unless somebody has paused the database since it began.
    pub fn set_paused(&self, mark: u64, paused: bool) {
        let found = mark & !1 | u64::from(paused);
        // A failure means just that; whoever paused has woken us to look again.
        let _ = self.paused.compare_exchange(mark, found, AcqRel, Acquire);
    }

    /// Says on leaving that the extension is not installed in the database.
    pub fn set_absent(&self) {
        self.absent.store(true, Release);
    }

    /// True when the last process here left because the extension is not installed.
    pub fn was_absent(&self) -> bool {
        self.absent.load(Acquire)
    }

    /// Fills the slot for the process that calls.
    pub fn enter(&self) {
        // SAFETY: MyProc and MyProcPid are set in every attached process.
        unsafe {
            self.procno.store((*pg_sys::MyProc).pgprocno, Release);
            self.pid.store(pg_sys::MyProcPid, Relaxed);
        }
        self.entered.store(crate::pg::now(), Relaxed);
        self.set_state(State::Idle);
    }

    pub fn free_it(&self) {
        self.procno.store(-1, Release);
        self.pid.store(0, Relaxed);
        self.set_job(None);
        self.set_deadline(0);
        self.kind.store(Kind::Free as u32, Release);
    }
}

/// A database whose workers shall stay away, while somebody drops or copies it.
struct Blocked {
    db: AtomicU32,
    pid: AtomicI32,
}

/// All that is shared.
pub struct Registry {
    slots: [Slot; SLOTS],
    attention: [AtomicU32; NOTES],
    rescan: AtomicBool,
    blocked: [Blocked; NOTES],
    /// Changes with every start of the server and every crash restart.
    incarnation: AtomicU64,
    /// Counts the changes to roles: who could not log in may be able to now.
    roles: AtomicU64,
    pub troubles: Troubles,
    pub usage: Usage,
    pub counters: Counters,
    pub changed: Changed,
    pub doomed: Doomed,
}

// SAFETY: atomics only, no pointers: any process may read and write at any time.
unsafe impl PGRXSharedMemory for Registry {}

// SAFETY: the name is ours alone.
static REGISTRY: PgAtomic<Registry> = unsafe { PgAtomic::new(c"pg_automate registry") };

impl Registry {
    fn empty() -> Registry {
        Registry {
            slots: [const { Slot::free() }; SLOTS],
            attention: [const { AtomicU32::new(0) }; NOTES],
            rescan: AtomicBool::new(true),
            blocked: [const { Blocked { db: AtomicU32::new(0), pid: AtomicI32::new(0) } }; NOTES],
            incarnation: AtomicU64::new(uuid::Uuid::now_v7().as_u64_pair().0 | 1),
            roles: AtomicU64::new(0),
            troubles: Troubles::none(),
            usage: Usage::none(),
            counters: Counters::none(),
            changed: Changed::none(),
            doomed: Doomed::none(),
        }
    }

    pub fn slot(&self, index: usize) -> Option<&Slot> {
        self.slots.get(index)
    }

    pub fn incarnation(&self) -> u64 {
        self.incarnation.load(Relaxed)
    }

    /// The processes there are.
    pub fn slots(&self) -> impl Iterator<Item = (usize, &Slot)> {
        self.slots.iter().enumerate().filter(|(_, s)| s.kind() as u32 > Kind::Reserved as u32)
    }

    /// The processes of one database.
    pub fn of_database(&self, db: pg_sys::Oid) -> impl Iterator<Item = (usize, &Slot)> {
        self.slots().filter(move |(_, s)| s.db() == db)
    }

    /// Takes a free slot; None when all are taken.
    pub fn reserve(&self, kind: Kind, db: pg_sys::Oid, role: pg_sys::Oid) -> Option<usize> {
        let index = self.slots.iter().position(|s| {
            s.kind.compare_exchange(0, Kind::Reserved as u32, AcqRel, Relaxed).is_ok()
        })?;
        let slot = &self.slots[index];
        slot.db.store(db.to_u32(), Relaxed);
        slot.role.store(role.to_u32(), Relaxed);
        slot.leave.store(false, Relaxed);
        slot.paused.store(1, Relaxed);
        slot.absent.store(false, Relaxed);
        slot.set_job(None);
        slot.entered.store(crate::pg::now(), Relaxed);
        slot.set_state(State::Starting);
        slot.kind.store(kind as u32, Release);
        Some(index)
    }

    /// True while nothing is to be claimed in a database: it is paused, or nobody coordinates it.
    pub fn is_paused(&self, db: pg_sys::Oid) -> bool {
        self.of_database(db)
            .find(|(_, s)| s.kind() == Kind::Coordinator)
            .is_none_or(|(_, s)| s.paused.load(Acquire) & 1 == 1)
    }

    /// A database is paused from now on: before its coordinator has looked.
    pub fn pause(&self, db: pg_sys::Oid) {
        let coordinator = self.of_database(db).find(|(_, s)| s.kind() == Kind::Coordinator);
        if let Some((_, slot)) = coordinator {
            // Cannot fail: the new value is always given.
            let _ = slot.paused.fetch_update(AcqRel, Acquire, |was| Some((was & !1) + 3));
        }
    }

    /// How often roles have changed.
    pub fn role_changes(&self) -> u64 {
        self.roles.load(Acquire)
    }

    /// Roles were altered or dropped: every coordinator looks at its jobs' owners again.
    pub fn roles_changed(&self) {
        self.roles.fetch_add(1, AcqRel);
        self.slots().filter(|(_, s)| s.kind() == Kind::Coordinator).for_each(|(_, s)| s.wake());
    }

    /// Frees the slots that were reserved for processes which never came.
    pub fn sweep(&self, patience_us: i64) {
        let now = crate::pg::now();
        for (_, slot) in self.slots() {
            if slot.pid() == 0 && now - slot.entered() > patience_us {
                slot.free_it();
            }
        }
    }

    /// Asks the launcher to look at all databases.
    pub fn ask_rescan(&self) {
        self.rescan.store(true, Release);
        self.wake_launcher();
    }

    fn wake_launcher(&self) {
        if let Some((_, slot)) = self.slots().find(|(_, s)| s.kind() == Kind::Launcher) {
            slot.wake();
        }
    }

    /// Wakes whoever can do work of this role at once: an idle executor, else the coordinator.
    pub fn wake_for(&self, db: pg_sys::Oid, role: pg_sys::Oid) {
        let idle = self.of_database(db).find(|(_, s)| {
            s.kind() == Kind::Executor && s.role() == role && s.state() == State::Idle
        });
        match idle {
            Some((_, slot)) => slot.wake(),
            None => self.wake_kind(db, Kind::Coordinator),
        }
    }

    /// Wakes the one process of a kind in a database; the launcher is asked to look if there is none.
    pub fn wake_kind(&self, db: pg_sys::Oid, kind: Kind) {
        match self.of_database(db).find(|(_, s)| s.kind() == kind) {
            Some((_, slot)) => slot.wake(),
            None if kind == Kind::Coordinator => self.ask_launcher(db),
            None => self.wake_kind(db, Kind::Coordinator),
        }
    }

    /// Asks the launcher to look at a database: the extension may have come or gone.
    pub fn ask_launcher(&self, db: pg_sys::Oid) {
        let noted = self.attention.iter().any(|a| {
            a.load(Relaxed) == db.to_u32()
                || a.compare_exchange(0, db.to_u32(), AcqRel, Relaxed).is_ok()
        });
        if !noted {
            self.rescan.store(true, Release);
        }
        self.wake_launcher();
    }

    /// For the launcher: the databases to look at; None when it shall look at all.
    pub fn take_attention(&self) -> Option<Vec<pg_sys::Oid>> {
        let noted: Vec<pg_sys::Oid> = self
            .attention
            .iter()
            .map(|a| a.swap(0, AcqRel))
            .filter(|db| *db != 0)
            .map(pg_sys::Oid::from)
            .collect();
        if self.rescan.swap(false, AcqRel) { None } else { Some(noted) }
    }

    /// Keeps our workers out of a database until [`Registry::unblock`] or the end of the asking process.
    pub fn block(&self, db: pg_sys::Oid, pid: i32) {
        for entry in &self.blocked {
            if entry.db.compare_exchange(0, db.to_u32(), AcqRel, Relaxed).is_ok() {
                entry.pid.store(pid, Release);
                return;
            }
        }
    }

    pub fn unblock(&self, pid: i32) {
        for entry in &self.blocked {
            if entry.db.load(Acquire) != 0 && entry.pid.load(Acquire) == pid {
                let db = entry.db.load(Acquire);
                entry.pid.store(0, Relaxed);
                entry.db.store(0, Release);
                self.ask_launcher(pg_sys::Oid::from(db));
            }
        }
    }

    /// True while somebody alive keeps our workers out of the database.
    pub fn is_blocked(&self, db: pg_sys::Oid) -> bool {
        for entry in &self.blocked {
            if db != pg_sys::InvalidOid && entry.db.load(Acquire) == db.to_u32() {
                let pid = entry.pid.load(Acquire);
                // SAFETY: looks the pid up in the process array; null when it is gone.
                if pid == 0 || unsafe { !pg_sys::BackendPidGetProc(pid).is_null() } {
                    return true;
                }
                self.unblock(pid);
            }
        }
        false
    }
}

/// The registry; None when the library was not preloaded.
pub fn registry() -> Option<&'static Registry> {
    // SAFETY: a process-local flag written in `_PG_init` only.
    if unsafe { PRELOADED } { Some(REGISTRY.get()) } else { None }
}

static mut PRELOADED: bool = false;

/// Asks for the shared memory; called from `_PG_init` while the server starts.
pub fn init() {
    pg_shmem_init!(REGISTRY = Registry::empty());
    // SAFETY: still single-threaded and before any reader.
    unsafe { PRELOADED = true };
}
