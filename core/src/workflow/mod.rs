//! Workflows: a profile of the Open Workflow Specification DSL 1.0.3, and its interpreter.
//!
//! [`Definition::parse`] checks a document and compiles its expressions; [`advance()`] is a pure
//! function from a state and an event to a new state and commands. Nothing here reads a clock,
//! draws random numbers or touches a database: the shell stores the state, carries out the
//! commands and comes back with what happened.
//!
//! A step id is the JSON Pointer of the task in the definition, with a suffix for each open list
//! that runs more than once: `#n` for the turn of a `for`, `@n` for the n-th jump backwards. It is
//! unique within a run and the same over retries, which makes it fit for idempotency keys.

mod advance;
mod call;
mod catch;
mod definition;
mod duration;
mod error;
mod parse;
mod scope;
mod state;
#[cfg(test)]
mod tests;

pub use advance::{advance, pending_command};
pub use definition::{Definition, EffectRef, Limits};
pub use error::WorkflowError;
pub(crate) use parse::METHODS;
pub use state::{
    Advanced, Command, Event, Expect, HttpOutput, ResultShape, Runtime, State, Status, StepRecord,
};
