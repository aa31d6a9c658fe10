//! What is decided of a task without PostgreSQL: what is done about instants that were missed, runs
//! that would overlap or wait for others, when in its jitter a run begins, how a function is called,
//! and who is told how a task fares.

mod alert;
mod chain;
mod jitter;
mod missed;
mod pg_cron;
mod policy;
mod routine;
mod settle;

pub use alert::{Alert, News, Streak};
pub use chain::{OnFailure, Upstream, Verdict, ring, verdict};
pub use jitter::jitter;
pub use missed::Missed;
pub use pg_cron::schedule_of_pg_cron;
pub use policy::{Misfire, Overlap};
pub use routine::{Given, Routine, literal};
pub use settle::{LATE, Settled, settle};
