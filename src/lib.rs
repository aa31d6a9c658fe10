//! pg_automate: PostgreSQL runs its own automation.

use pgrx::prelude::*;

pub mod access;
pub mod api;
pub mod audit;
pub mod bell;
pub mod calendar;
pub mod courier;
pub mod decision;
pub mod error;
pub mod event;
pub mod guc;
pub mod housekeep;
pub mod instance;
pub mod notify;
pub mod noun;
pub mod perform;
pub mod pg;
pub mod queue;
pub mod report;
pub mod rule;
pub mod schema;
pub mod shmem;
pub mod spi;
pub mod task;
pub mod trigger;
pub mod utility;
pub mod wake;
pub mod worker;
pub mod workflow;

::pgrx::pg_module_magic!();

/// Called once when the library is loaded: by the postmaster if it is preloaded, else by a session.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    guc::define();
    // SAFETY: flags that the server sets before it loads libraries.
    let (starting, upgrading) =
        unsafe { (pg_sys::process_shared_preload_libraries_in_progress, pg_sys::IsBinaryUpgrade) };
    if !starting || upgrading {
        return;
    }
    shmem::registry::init();
    utility::init();
    rule::pending::init();
    worker::spawn::register_launcher();
}
