//! Cancelling the statement of one job and of no other: who asks names the job in the executor's
//! slot and sends a signal of our own; the executor heeds it only while it does that job. SIGINT
//! keeps the meaning that it has for every session, pg_cancel_backend's.

use super::process::Process;
use crate::pg;
use crate::shmem::registry::Slot;
use pgrx::prelude::*;
use std::ffi::c_int;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering::*};
use uuid::Uuid;

/// The slot of this process.
static SLOT: AtomicPtr<Slot> = AtomicPtr::new(null_mut());
/// A job's own code runs: nothing else of ours may be cancelled.
static RUNS: AtomicBool = AtomicBool::new(false);

/// For an executor: listens to requests from now on.
pub fn listen(me: &Process) {
    SLOT.store(std::ptr::from_ref(me.slot).cast_mut(), Release);
    // SAFETY: the handler does what a signal handler may.
    unsafe { pg_sys::pqsignal(pg_sys::SIGUSR2 as c_int, Some(on_request)) };
}

/// Only atomics, and PostgreSQL's own handler: nothing here allocates, waits or fails.
unsafe extern "C-unwind" fn on_request(signal: c_int) {
    // SAFETY: null, or a slot in shared memory, which outlives the process.
    let asked = unsafe { SLOT.load(Acquire).as_ref() }.is_some_and(Slot::is_asked_to_cancel);
    if asked && RUNS.load(Acquire) {
        // SAFETY: PostgreSQL's handler of SIGINT; it keeps errno.
        unsafe { pg::c::StatementCancelHandler(signal) };
    }
}

/// Runs a job's own code: while it runs, it can be cancelled.
pub fn during<R>(code: impl FnOnce() -> R) -> R {
    struct Ends;
    impl Drop for Ends {
        fn drop(&mut self) {
            RUNS.store(false, Release);
        }
    }
    let _ends = Ends;
    RUNS.store(true, Release);
    code()
}

/// Asks the executor of a slot to cancel a job; one that does something else now is not disturbed.
pub fn cancel(slot: &Slot, job: Uuid) {
    slot.ask_to_cancel(job);
    let pid = slot.pid();
    // SAFETY: the pid is looked up among the server's processes, as pg_cancel_backend() does; one
    // of another kind ignores the signal.
    unsafe {
        if pid > 0 && !pg_sys::BackendPidGetProc(pid).is_null() {
            pg::c::kill(pid, pg_sys::SIGUSR2 as c_int);
        }
    }
}
