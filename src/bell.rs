//! What a session keeps of definitions, and how it learns that they changed: a table of ours stands
//! for all definitions of a kind, and its entry in the relation cache is said to be stale. That is
//! transactional, reaches every session before its next statement, and costs a look at a counter.

use pgrx::prelude::*;
use std::cell::Cell;
use std::ffi::CStr;

/// The tables that stand for kinds of definitions.
const TABLES: [&CStr; 2] = [RULES, DECISIONS];
/// Rule sets, and rules that are on no table.
pub const RULES: &CStr = c"ruleset";
pub const DECISIONS: &CStr = c"decision_table";

thread_local! {
    /// Counts changes.
    static EPOCH: Cell<u64> = const { Cell::new(0) };
    static WATCHED: Cell<[pg_sys::Oid; 2]> = const { Cell::new([pg_sys::InvalidOid; 2]) };
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
}

/// What was true when something was read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Age {
    epoch: u64,
    /// Good for this transaction only: it was read under an old snapshot.
    only_in: Option<i64>,
}

impl Age {
    /// To be taken before reading.
    pub fn now() -> Age {
        register();
        // SAFETY: reads process-local variables.
        let (old_snapshot, transaction) = unsafe {
            (
                pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32,
                pg_sys::GetCurrentTransactionStartTimestamp(),
            )
        };
        Age { epoch: heard(), only_in: old_snapshot.then_some(transaction) }
    }

    /// True while nothing has changed that this session could see.
    pub fn is_current(self) -> bool {
        // SAFETY: reads a process-local variable.
        let now = || unsafe { pg_sys::GetCurrentTransactionStartTimestamp() };
        self.epoch == heard() && self.only_in.is_none_or(|transaction| transaction == now())
    }
}

/// The count, with what other sessions have said by now.
fn heard() -> u64 {
    // SAFETY: as before taking any lock on a table; errors leave as a panic.
    unsafe { pg_sys::AcceptInvalidationMessages() };
    EPOCH.get()
}

/// Tells every session, once this transaction commits, and this one at its next statement.
pub fn ring(table: &CStr) {
    // SAFETY: look-ups in the catalog; the relation exists, since the extension does.
    unsafe {
        let relid = oid(table);
        if relid != pg_sys::InvalidOid {
            pg_sys::CacheInvalidateRelcacheByRelid(relid);
            pg_sys::CommandCounterIncrement();
        }
    }
}

unsafe fn oid(table: &CStr) -> pg_sys::Oid {
    // SAFETY: look-ups in the catalog that answer 0 for what is not there.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"automate".as_ptr(), true);
        if schema == pg_sys::InvalidOid {
            return schema;
        }
        pg_sys::get_relname_relid(table.as_ptr(), schema)
    }
}

/// Looks the tables up anew: the extension may have been dropped and made again.
fn register() {
    // SAFETY: look-ups in the catalog.
    WATCHED.set(TABLES.map(|table| unsafe { oid(table) }));
    if !REGISTERED.replace(true) {
        use pg_sys::SysCacheIdentifier::*;
        let none = pg_sys::Datum::from(0);
        // SAFETY: registered once per session, for its life; the functions are static.
        unsafe {
            pg_sys::CacheRegisterRelcacheCallback(Some(relation_changed), none);
            // Rights may have come or gone.
            for cache in [AUTHOID, AUTHMEMROLEMEM] {
                pg_sys::CacheRegisterSyscacheCallback(cache as i32, Some(roles_changed), none);
            }
        }
    }
}

/// Only counts: it comes in the middle of anything.
#[pg_guard]
unsafe extern "C-unwind" fn relation_changed(_arg: pg_sys::Datum, relid: pg_sys::Oid) {
    if relid == pg_sys::InvalidOid || WATCHED.get().contains(&relid) {
        EPOCH.set(EPOCH.get().wrapping_add(1));
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn roles_changed(_arg: pg_sys::Datum, _cache: i32, _hash: u32) {
    EPOCH.set(EPOCH.get().wrapping_add(1));
}
