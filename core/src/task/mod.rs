//! What is decided of a task without PostgreSQL: what is done about instants that were missed, runs
//! that would overlap or wait for others, when in its jitter a run begins, and who is told how it fares.

mod alert;
mod chain;
mod jitter;
mod missed;
mod policy;
mod settle;

pub use alert::{Alert, News, Streak};
pub use chain::{OnFailure, Upstream, Verdict, ring, verdict};
pub use jitter::jitter;
pub use missed::Missed;
pub use policy::{Misfire, Overlap};
pub use settle::{LATE, Settled, settle};
