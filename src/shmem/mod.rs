//! What our processes share: who is there, who shall look where, and which jobs were in flight.

pub mod changed;
pub mod counter;
pub mod doomed;
pub mod inflight;
pub mod registry;
pub mod trouble;
pub mod usage;

pub use registry::{Kind, State, registry};
