//! Workflows: a profile of the Open Workflow Specification DSL 1.0.3, and its interpreter.
//!
//! [`Definition::parse`] checks a document and compiles its expressions; [`advance()`] is a pure
//! function from a state and an event to a new state and commands. Nothing here reads a clock,
//! draws random numbers or touches a database: the shell stores the state, carries out the
//! commands and comes back with what happened.
//!
//! A state is a set of branches. A branch has its open task lists and waits for one thing, or for
//! the branches that its step has opened: those of a fork, the turns of a parallel loop, the event
//! that a listening step handles. Each branch has at most one timer.
//!
//! A step id is the JSON Pointer of the task in the definition, with a suffix for each open list
//! that runs more than once: `#n` for the turn of a `for` or the n-th event of a `foreach`, `@n`
//! for the n-th jump backwards, `^n` for the compensation of the n-th attempt. It is unique within
//! a run and the same over retries, which makes it fit for idempotency keys. (A task of
//! `use.functions` has the pointer of its call, `/call/` and the name of the function.)

mod advance;
pub mod advice;
mod auth;
pub mod build;
mod call;
mod catch;
mod command;
mod complexity;
mod definition;
mod diff;
pub mod draw;
mod duration;
mod error;
mod event;
mod feature;
pub mod import;
mod limits;
mod migrate;
mod nested;
mod parse;
mod runtime;
mod schema;
mod scope;
mod state;
mod strategy;
#[cfg(test)]
mod tests;
mod unreached;
pub mod yaml;

pub use advance::{NoRetry, advance, pending_command, pending_commands};
pub use command::{
    Advanced, Authentication, Command, Expect, HttpOutput, Ignored, ResultShape, SecretRef,
    StepRecord, Text, Wanted,
};
pub use complexity::{Complexity, complexity};
pub use definition::{Definition, EffectRef, Start};
pub use diff::{Difference, diff};
pub use duration::millis as duration_ms;
pub use error::WorkflowError;
pub use event::Event;
pub use feature::Feature;
pub use limits::Limits;
pub use migrate::{Awaits, Migrated, Moved, migrate};
pub(crate) use parse::METHODS;
pub use runtime::Runtime;
pub use state::{State, Status, Why};
