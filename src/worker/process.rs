//! What all our processes have in common: signals, connecting, transactions, waiting, leaving.

use crate::error::Failure;
use crate::pg;
use crate::shmem::registry::Slot;
use crate::shmem::{Kind, inflight, registry};
use crate::spi::step;
use pgrx::prelude::*;
use std::ffi::{CStr, CString, c_int};

/// A process of ours that has entered the registry.
pub struct Process {
    pub slot: &'static Slot,
    pub index: usize,
    pub db: pg_sys::Oid,
    /// The extension's OID when we came: when it changes, it is another extension and we leave.
    epoch: pg_sys::Oid,
}

/// Sets the signal handlers and lets signals in. SIGTERM is `die`, as in a client backend, so
/// that a running statement ends at once.
pub fn take_signals() {
    // SAFETY: the handlers are PostgreSQL's own C functions; installed before signals are let in.
    unsafe {
        pg_sys::pqsignal(pg_sys::SIGHUP as c_int, Some(pg::c::SignalHandlerForConfigReload));
        pg_sys::pqsignal(pg_sys::SIGTERM as c_int, Some(pg::c::die));
        pg_sys::BackgroundWorkerUnblockSignals();
    }
}

/// Ends the process without a word; the supervisor decides whether another comes. The launcher
/// leaves with 1, since the postmaster never restarts a worker that ended with 0.
pub fn leave() -> ! {
    // SAFETY: the normal way for a background worker to end; runs the exit callbacks.
    let code = if unsafe { pg_sys::MyDatabaseId } == pg_sys::InvalidOid { 1 } else { 0 };
    // SAFETY: as above.
    unsafe { pg_sys::proc_exit(code) }
}

/// Says in the log why the process cannot go on, and ends it.
pub fn fail(reason: &str) -> ! {
    log!("{reason}");
    leave()
}

#[pg_guard]
unsafe extern "C-unwind" fn free_slot(_code: c_int, index: pg_sys::Datum) {
    if let Some(slot) = registry().and_then(|r| r.slot(index.value())) {
        let (kind, db) = (slot.kind(), slot.db());
        if slot.job().is_some() {
            if slot.asked_to_leave() { inflight::forget() } else { inflight::interrupted() }
        }
        slot.free_it();
        let Some(registry) = registry() else { return };
        match kind {
            Kind::Executor | Kind::Courier => registry.wake_kind(db, Kind::Coordinator),
            Kind::Coordinator => registry.ask_launcher(db),
            _ => {}
        }
    }
}

impl Process {
    /// Takes the slot that the parent reserved, or ends when the parent has given it up.
    pub fn enter(index: usize, kind: Kind) -> Process {
        let slot = registry().and_then(|r| r.slot(index)).filter(|s| s.kind() == kind);
        let Some(slot) = slot else { leave() };
        // SAFETY: the callback and its argument are plain values; it runs while shared memory is there.
        unsafe { pg_sys::before_shmem_exit(Some(free_slot), pg_sys::Datum::from(index)) };
        slot.enter();
        Process { slot, index, db: slot.db(), epoch: pg_sys::InvalidOid }
    }

    /// Remembers which extension we serve; ends if it is not installed here.
    pub fn bind_to_extension(&mut self) {
        match transaction(extension_oid) {
            Ok(oid) if oid != pg_sys::InvalidOid => self.epoch = oid,
            _ => leave(),
        }
    }

    /// Ends the process when it is to leave: asked to, kept out, or the extension is another.
    /// Call it between transactions.
    pub fn leave_if_asked(&self) {
        if self.is_asked_to_leave() {
            leave();
        }
    }

    /// True when the process is to leave. Call it between transactions.
    pub fn is_asked_to_leave(&self) -> bool {
        pg::check_interrupts();
        self.slot.asked_to_leave() || registry().is_none_or(|r| r.is_blocked(self.db))
    }

    /// What marks a job as running here; see [`lease_is_held`].
    pub fn lease(&self) -> i64 {
        let incarnation = registry().map_or(0, |r| r.incarnation());
        ((incarnation & 0x7fff_ffff) << 32) as i64 | i64::from(self.slot.pid())
    }

    /// Inside a transaction: ends the process when the extension it serves is gone.
    pub fn extension_is_ours(&self) -> bool {
        extension_oid() == self.epoch
    }
}

/// True while the process that made a lease lives.
pub fn lease_is_held(lease: i64) -> bool {
    let Some(registry) = registry() else { return false };
    let same_server = (lease >> 32) as u64 == registry.incarnation() & 0x7fff_ffff;
    same_server && registry.slots().any(|(_, s)| i64::from(s.pid()) == lease & 0xffff_ffff)
}

/// OID of the installed extension, or invalid.
pub fn extension_oid() -> pg_sys::Oid {
    // SAFETY: a catalog look-up in a transaction.
    unsafe { pg_sys::get_extension_oid(c"pg_automate".as_ptr(), true) }
}

/// Runs `f` in a transaction of its own. On an error everything in it is undone.
pub fn transaction<R>(f: impl FnOnce() -> R) -> Result<R, Failure> {
    bare_transaction(|| with_snapshot(f))
}

/// The same, without waiting until the log is on disk. For what only others of our transactions
/// build upon: theirs are later in the log and wait for all of it, so that after a crash either
/// both are there or this one was never seen.
pub fn hasty_transaction<R>(f: impl FnOnce() -> R) -> Result<R, Failure> {
    transaction(|| {
        pg::set_local(c"synchronous_commit", c"off");
        f()
    })
}

/// Runs `f` under a snapshot of the current transaction.
pub fn with_snapshot<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: pushed and popped in pairs; an error ends the transaction, which pops it.
    unsafe {
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        let value = f();
        pg_sys::PopActiveSnapshot();
        value
    }
}

/// The same without a snapshot: `f` may commit and begin anew, as VACUUM does.
pub fn bare_transaction<R>(f: impl FnOnce() -> R) -> Result<R, Failure> {
    // SAFETY: the pattern of PostgreSQL's own workers; `catch` turns errors into values, after
    // which the transaction is aborted as a whole.
    let result = step::catch(|| unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::StartTransactionCommand();
        // Whatever the role's defaults are: our own statements write, and must not lose races.
        pg_sys::XactReadOnly = false;
        pg_sys::XactIsoLevel = pg_sys::XACT_READ_COMMITTED as c_int;
        pg_sys::XactDeferrable = false;
        let value = f();
        pg_sys::CommitTransactionCommand();
        value
    });
    if result.is_err() {
        abort();
    }
    result
}

/// Undoes the current transaction, whatever state it is in.
pub fn abort() {
    // SAFETY: always allowed; does nothing outside of a transaction.
    unsafe {
        pg::c::disable_all_timeouts(false);
        pg_sys::QueryCancelPending = 0;
        pg_sys::AbortCurrentTransaction();
    }
}

/// Sets a setting for the life of the process, or until it is reset.
pub fn set(name: &CStr, value: &CStr) {
    // SAFETY: both are NUL-terminated and known to be valid.
    unsafe {
        pg_sys::SetConfigOption(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_USERSET,
            pg_sys::GucSource::PGC_S_SESSION,
        );
    }
}

/// Sleeps until the latch is set or the time is over; handles a changed configuration.
pub fn wait(timeout_ms: i64) {
    // SAFETY: the process's own latch.
    unsafe {
        let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
        pg_sys::WaitLatch(
            pg_sys::MyLatch,
            events as c_int,
            timeout_ms.max(0),
            pg_sys::PG_WAIT_EXTENSION,
        );
        pg_sys::ResetLatch(pg_sys::MyLatch);
    }
    pg::check_interrupts();
    reload_if_asked();
}

/// Sleeps until an instant, at most 2 ms ahead and unless it has passed: [`wait`] counts whole
/// milliseconds.
pub fn wait_exactly(until_us: i64) {
    let left = until_us - pg::now();
    if (1..=2_000).contains(&left) {
        // SAFETY: sleeps; a signal ends it early, which the caller takes for a wake-up.
        unsafe { pg_sys::pg_usleep(left) };
    }
}

/// The same as [`wait`], and until the descriptor has something to read.
pub fn wait_for(descriptor: std::os::fd::RawFd, timeout_ms: i64) {
    // SAFETY: the process's own latch, and a descriptor that its owner keeps open meanwhile.
    unsafe {
        let events = pg_sys::WL_LATCH_SET
            | pg_sys::WL_SOCKET_READABLE
            | pg_sys::WL_TIMEOUT
            | pg_sys::WL_EXIT_ON_PM_DEATH;
        pg_sys::WaitLatchOrSocket(
            pg_sys::MyLatch,
            events as c_int,
            descriptor,
            timeout_ms.max(0),
            pg_sys::PG_WAIT_EXTENSION,
        );
        pg_sys::ResetLatch(pg_sys::MyLatch);
    }
    pg::check_interrupts();
    reload_if_asked();
}

fn reload_if_asked() {
    // SAFETY: the flag is set by the SIGHUP handler; reading the files is what main loops do then.
    unsafe {
        if pg_sys::ConfigReloadPending != 0 {
            pg_sys::ConfigReloadPending = 0;
            pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP);
        }
    }
}

/// Shows in pg_stat_activity what the process does; None: idle.
pub fn report(activity: Option<&str>) {
    use pg_sys::BackendState::{STATE_IDLE, STATE_RUNNING};
    let text = activity.map(|a| CString::new(a).unwrap_or_default());
    // SAFETY: the text is copied.
    unsafe {
        match text {
            Some(text) => pg_sys::pgstat_report_activity(STATE_RUNNING, text.as_ptr()),
            None => pg_sys::pgstat_report_activity(STATE_IDLE, std::ptr::null()),
        }
    }
}

/// Hands the collected statistics over; call it when there is nothing else to do.
pub fn report_statistics() {
    // SAFETY: outside of a transaction.
    unsafe {
        pg_sys::pgstat_report_stat(true);
    }
}
