//! Starting processes.

use crate::shmem::trouble::Reason;
use crate::shmem::{Kind, registry};
use pgrx::bgworkers::{BackgroundWorkerBuilder, BgWorkerStartTime, DynamicBackgroundWorker};
use pgrx::prelude::*;
use std::time::Duration;

/// A process that was started, for its parent.
pub struct Child {
    pub index: usize,
    handle: DynamicBackgroundWorker,
}

impl Child {
    /// True while the process is there or on its way.
    pub fn alive(&self) -> bool {
        use pgrx::bgworkers::BackgroundWorkerStatus::{NotYetStarted, Started};
        match self.handle.pid() {
            Ok(_) => true,
            Err(status) => matches!(status, Started | NotYetStarted),
        }
    }

    /// Gives the slot back after the process ended before it could enter.
    pub fn clean_up(&self) -> bool {
        let Some(slot) = registry().and_then(|r| r.slot(self.index)) else { return false };
        let never_entered = slot.kind() != Kind::Free && slot.pid() == 0;
        if never_entered {
            slot.free_it();
        }
        never_entered
    }
}

/// The launcher, registered while the server starts; the postmaster starts it again after 1 s.
pub fn register_launcher() {
    BackgroundWorkerBuilder::new("pg_automate launcher")
        .set_type("pg_automate launcher")
        .set_library("pg_automate")
        .set_function("automate_launcher_main")
        .enable_shmem_access(None)
        .enable_spi_access()
        .set_start_time(BgWorkerStartTime::RecoveryFinished)
        .set_restart_time(Some(Duration::from_secs(1)))
        .load();
}

/// Starts a process of a kind for a database and a role.
pub fn start(kind: Kind, db: pg_sys::Oid, role: pg_sys::Oid) -> Result<Child, Reason> {
    let index = registry().and_then(|r| r.reserve(kind, db, role)).ok_or(Reason::Registry)?;
    let name = format!("pg_automate {}", kind.name());
    // SAFETY: reads a process-local variable.
    let me = unsafe { pg_sys::MyProcPid };
    let started = BackgroundWorkerBuilder::new(&name)
        .set_type(&name)
        .set_library("pg_automate")
        .set_function(match kind {
            Kind::Coordinator => "automate_coordinator_main",
            Kind::Courier => "automate_courier_main",
            _ => "automate_executor_main",
        })
        .set_argument(Some(pg_sys::Datum::from(index)))
        .enable_shmem_access(None)
        .enable_spi_access()
        .set_restart_time(None)
        .set_notify_pid(me)
        .load_dynamic();
    match started {
        Ok(handle) => Ok(Child { index, handle }),
        Err(_) => {
            if let Some(slot) = registry().and_then(|r| r.slot(index)) {
                slot.free_it();
            }
            Err(Reason::Workers)
        }
    }
}
