//! Rules: conditions on data changes and events, and the actions that follow.

pub mod alter;
pub mod cache;
pub mod capture;
pub mod cause;
pub mod columns;
pub mod define;
pub mod expression;
pub mod fault;
pub mod index;
pub mod matched;
pub mod perform;
pub mod terms;

pub use perform::perform;

/// Attempts of a match's actions before it is a dead letter.
pub const ATTEMPTS: i32 = 3;
