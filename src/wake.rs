//! Wake-up at commit: two permanent callbacks per backend, a few flags, nothing in them can fail.
//!
//! The first learns that the transaction commits; but that comes before other processes' caches
//! are told what changed, and whoever is woken then may still believe that a table or function made
//! in the very transaction is not there. So the wake-up waits for the second: the release of the
//! transaction's resources after its locks, when everybody has been told.

use crate::pg;
use crate::shmem::registry::Registry;
use crate::shmem::{Kind, registry};
use pgrx::prelude::*;
use std::cell::{Cell, RefCell};
use std::ffi::c_void;

/// Whom to wake when this transaction commits.
#[derive(Default)]
struct Armed {
    roles: Vec<pg_sys::Oid>,
    tables: Vec<pg_sys::Oid>,
    coordinator: bool,
    courier: bool,
    launcher: bool,
    databases: bool,
    pauses: bool,
    role_definitions: bool,
}

thread_local! {
    static ARMED: RefCell<Armed> = RefCell::new(Armed::default());
    /// What is left to do of a transaction that has ended.
    static ENDED: RefCell<Option<(Armed, bool)>> = const { RefCell::new(None) };
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
}

fn arm(f: impl FnOnce(&mut Armed)) {
    if !REGISTERED.replace(true) {
        // SAFETY: registered once per backend, for its life; the functions are ours and static.
        unsafe {
            pg_sys::RegisterXactCallback(Some(at_end), pg::NO_ARG);
            pg_sys::RegisterResourceReleaseCallback(Some(at_release), pg::NO_ARG);
        }
    }
    ARMED.with_borrow_mut(f);
}

/// There is work for an executor of a role.
pub fn arm_role(role: pg_sys::Oid) {
    arm(|a| {
        if !a.roles.contains(&role) {
            a.roles.push(role);
        }
    });
}

/// A table was changed for which a trigger waits.
pub fn arm_table(table: pg_sys::Oid) {
    arm(|a| {
        if !a.tables.contains(&table) {
            a.tables.push(table);
        }
    });
}

/// There is something new to wait for.
pub fn arm_coordinator() {
    arm(|a| a.coordinator = true);
}

/// There is network work.
pub fn arm_courier() {
    arm(|a| a.courier = true);
}

/// The extension came or goes.
pub fn arm_launcher() {
    arm(|a| a.launcher = true);
}

/// A database comes, goes or changes.
pub fn arm_databases() {
    arm(|a| a.databases = true);
}

/// The database is paused.
pub fn arm_pause() {
    arm(|a| (a.pauses, a.coordinator) = (true, true));
}

/// Roles are altered or dropped.
pub fn arm_role_definitions() {
    arm(|a| a.role_definitions = true);
}

#[pg_guard]
unsafe extern "C-unwind" fn at_end(event: pg_sys::XactEvent::Type, _arg: *mut c_void) {
    use pg_sys::XactEvent::*;
    // A prepared transaction commits elsewhere: the coordinator's safety wake finds its work.
    let committed = event == XACT_EVENT_COMMIT;
    if !committed && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE {
        return;
    }
    let armed = ARMED.with(|a| a.try_borrow_mut().map(|mut a| std::mem::take(&mut *a)));
    if let Ok(armed) = armed {
        ENDED.with(|e| e.try_borrow_mut().map(|mut e| *e = Some((armed, committed))).ok());
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn at_release(
    phase: pg_sys::ResourceReleasePhase::Type,
    _is_commit: bool,
    is_top_level: bool,
    _arg: *mut c_void,
) {
    if !is_top_level || phase != pg_sys::ResourceReleasePhase::RESOURCE_RELEASE_AFTER_LOCKS {
        return;
    }
    let ended = ENDED.with(|e| e.try_borrow_mut().ok().and_then(|mut e| e.take()));
    if let (Some((armed, committed)), Some(registry)) = (ended, registry()) {
        wake(registry, &armed, committed);
    }
}

fn wake(registry: &Registry, armed: &Armed, committed: bool) {
    let db = pg::my_database();
    if committed {
        armed.roles.iter().for_each(|role| registry.wake_for(db, *role));
        if armed.pauses {
            registry.pause(db);
        }
        // All of them are noted before the one that takes them is woken.
        let changed = |table: &&pg_sys::Oid| registry.changed.note(db, **table);
        let news = armed.tables.iter().filter(changed).count();
        if armed.coordinator || news > 0 {
            registry.wake_kind(db, Kind::Coordinator);
        }
        if armed.courier {
            registry.wake_kind(db, Kind::Courier);
        }
        if armed.role_definitions {
            registry.roles_changed();
        }
    }
    if armed.databases {
        // SAFETY: reads a process-local variable.
        registry.unblock(unsafe { pg_sys::MyProcPid });
        registry.ask_rescan();
    }
    if armed.launcher {
        // SAFETY: reads a process-local variable.
        registry.unblock(unsafe { pg_sys::MyProcPid });
        registry.ask_launcher(db);
    }
}
