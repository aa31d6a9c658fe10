//! What is decided of a task without PostgreSQL: what is done about instants that were missed, runs
//! that would overlap, and when in its jitter a run begins.

mod jitter;
mod missed;
mod pg_cron;
mod policy;
mod settle;

pub use jitter::jitter;
pub use missed::Missed;
pub use pg_cron::schedule_of_pg_cron;
pub use policy::{Misfire, Overlap};
pub use settle::{LATE, Settled, settle};
