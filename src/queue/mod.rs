//! The queue: putting work in, taking it out, recording what became of it.

pub mod bulk;
pub mod claim;
pub mod due;
pub mod enqueue;
pub mod finish;
pub mod job;
pub mod lease;
pub mod limit;

pub use enqueue::{Lane, NewJob};
pub use job::Job;
