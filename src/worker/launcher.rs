//! The launcher: finds the databases that have the extension and keeps one coordinator in each.

use super::process::{self, Process};
use super::spawn::{self, Child};
use crate::pg;
use crate::shmem::{Kind, registry};
use pgrx::prelude::*;
use std::collections::HashMap;

/// Longest sleep: a database made behind our back is found after it at the latest.
const SAFETY_WAKE_MS: i64 = 60_000;
/// A slot whose process has not come after this time is free again.
const SWEEP_US: i64 = 60_000_000;

/// What the launcher knows of a database.
#[derive(Default)]
struct Known {
    child: Option<Child>,
    /// The extension is not there: not looked at again before somebody asks.
    absent: bool,
    failures: u32,
    started: i64,
    next_try: i64,
}

#[doc(hidden)]
#[unsafe(no_mangle)]
#[pg_guard]
pub extern "C-unwind" fn automate_launcher_main(_arg: pg_sys::Datum) {
    process::take_signals();
    // SAFETY: no database: only shared catalogs are read.
    unsafe { pg_sys::BackgroundWorkerInitializeConnection(std::ptr::null(), std::ptr::null(), 0) };
    let Some(registry) = registry() else { process::leave() };
    let nowhere = pg_sys::InvalidOid;
    let Some(index) = registry.reserve(Kind::Launcher, nowhere, nowhere) else {
        process::fail("the registry of pg_automate is full")
    };
    let me = Process::enter(index, Kind::Launcher);
    registry.ask_rescan();
    adopt_orphans();
    let mut known: HashMap<pg_sys::Oid, Known> = HashMap::new();
    loop {
        me.leave_if_asked();
        notice_requests(&mut known);
        registry.sweep(SWEEP_US);
        let wait = supervise(&mut known);
        process::report(None);
        process::wait(wait);
    }
}

/// Coordinators of an earlier launcher are nobody's children: they are asked to leave, so that
/// each database has one that is watched.
fn adopt_orphans() {
    let Some(registry) = registry() else { return };
    for (_, slot) in registry.slots().filter(|(_, s)| s.kind() == Kind::Coordinator) {
        slot.ask_to_leave();
    }
}

/// Takes up what others noted: databases to look at, or all. A dropped one is forgotten.
fn notice_requests(known: &mut HashMap<pg_sys::Oid, Known>) {
    let Some(registry) = registry() else { return };
    let asked = registry.take_attention();
    if asked.as_ref().is_some_and(Vec::is_empty) {
        return;
    }
    let there = match process::transaction(connectable_databases) {
        Ok(there) => there,
        Err(failure) => {
            log!("pg_automate launcher cannot list the databases: {}", failure.text());
            registry.ask_rescan();
            process::wait(1000);
            return;
        }
    };
    known.retain(|db, _| there.contains(db));
    for db in there.into_iter().filter(|db| asked.as_ref().is_none_or(|a| a.contains(db))) {
        let entry = known.entry(db).or_default();
        entry.absent = false;
        if asked.is_some() && entry.failures == 0 {
            entry.next_try = 0;
        }
    }
}

/// Starts what is missing; returns how long to sleep, in milliseconds.
fn supervise(known: &mut HashMap<pg_sys::Oid, Known>) -> i64 {
    let Some(registry) = registry() else { return SAFETY_WAKE_MS };
    let now = pg::now();
    let mut wait = SAFETY_WAKE_MS;
    for (db, entry) in known.iter_mut() {
        if entry.child.as_ref().is_some_and(Child::alive) {
            continue;
        }
        if let Some(child) = entry.child.take() {
            child.clean_up();
            judge(entry, &child, now);
        }
        if entry.absent || registry.is_blocked(*db) {
            continue;
        }
        let there = registry.of_database(*db).any(|(_, s)| s.kind() == Kind::Coordinator);
        let due = !there && now >= entry.next_try;
        if due {
            match spawn::start(Kind::Coordinator, *db, pg_sys::InvalidOid) {
                Ok(child) => {
                    entry.child = Some(child);
                    entry.started = now;
                    registry.troubles.clear(*db, Kind::Coordinator, pg_sys::InvalidOid);
                }
                Err(reason) => {
                    entry.failures += 1;
                    entry.next_try = now + 5_000_000;
                    let nobody = pg_sys::InvalidOid;
                    let next = entry.next_try;
                    registry.troubles.note(*db, Kind::Coordinator, nobody, reason, next);
                    if entry.failures == 1 {
                        let (db, reason) = (db.to_u32(), reason.text());
                        log!("pg_automate cannot start a coordinator for database {db}: {reason}");
                    }
                }
            }
        }
        if entry.child.is_none() {
            wait = wait.min(((entry.next_try - now) / 1000).clamp(50, SAFETY_WAKE_MS));
        }
    }
    wait
}

/// A coordinator ended: decides when another is tried.
fn judge(entry: &mut Known, child: &Child, now: i64) {
    let absent = registry().and_then(|r| r.slot(child.index)).is_some_and(|s| s.was_absent());
    if absent {
        entry.absent = true;
        entry.failures = 0;
        return;
    }
    let lived_us = now - entry.started;
    entry.failures = if lived_us > 10_000_000 { 0 } else { entry.failures + 1 };
    let pause_ms = match entry.failures {
        0 | 1 => 0,
        n => 100i64 << n.min(9),
    };
    entry.next_try = now + pause_ms * 1000;
}

/// The databases that allow connections and are no templates.
fn connectable_databases() -> Vec<pg_sys::Oid> {
    let mut found = Vec::new();
    // SAFETY: a plain scan of a shared catalog with the catalog snapshot, closed at its end; the
    // tuples are read before the scan moves on.
    unsafe {
        let relation =
            pg_sys::table_open(pg_sys::DatabaseRelationId, pg_sys::AccessShareLock as i32);
        let scan = pg_sys::table_beginscan_catalog(relation, 0, std::ptr::null_mut());
        loop {
            let tuple = pg_sys::heap_getnext(scan, pg_sys::ScanDirection::ForwardScanDirection);
            if tuple.is_null() {
                break;
            }
            let form = &*(pg_sys::GETSTRUCT(tuple) as *mut pg_sys::FormData_pg_database);
            if form.datallowconn && !form.datistemplate {
                found.push(form.oid);
            }
        }
        let end = (*(*(*scan).rs_rd).rd_tableam).scan_end;
        if let Some(end) = end {
            end(scan);
        }
        pg_sys::table_close(relation, pg_sys::AccessShareLock as i32);
    }
    found
}
