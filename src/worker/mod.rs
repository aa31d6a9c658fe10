//! Our processes: one launcher a server, one coordinator and one courier a database, executors by role.

pub mod coordinator;
pub mod deadline;
pub mod executor;
pub mod interrupt;
pub mod launcher;
pub mod pool;
pub mod process;
pub mod spawn;
pub mod toplevel;
