//! Rules: conditions on data changes and events, and the actions that follow.

pub mod alter;
pub mod backtest;
pub mod cache;
pub mod capture;
pub mod case;
pub mod cause;
pub mod columns;
pub mod conflict;
pub mod data_trigger;
pub mod define;
pub mod explain;
pub mod expression;
pub mod family;
pub mod fault;
pub mod fired;
pub mod index;
pub mod look;
pub mod matched;
pub mod membership;
pub mod perform;
pub mod print;
pub mod rights;
pub mod spread;
pub mod statement_level;
pub mod steer;
pub mod store;
pub mod terms;
pub mod trial;
pub mod view;

pub use perform::perform;

/// Attempts of a match's actions before it is a dead letter.
pub const ATTEMPTS: i32 = 3;
