//! Rules: conditions on data changes and events, and the actions that follow.

pub mod alter;
pub mod asks;
pub mod backtest;
pub mod before;
pub mod cache;
pub mod capture;
pub mod case;
pub mod cause;
pub mod columns;
pub mod condition;
pub mod conflict;
pub mod context;
pub mod ddl;
pub mod decide;
pub mod define;
pub mod document;
pub mod evaluate;
pub mod explain;
pub mod expression;
pub mod fault;
pub mod follow;
pub mod index;
pub mod inline;
pub mod look;
pub mod matched;
pub mod mentioned;
pub mod never;
pub mod pending;
pub mod perform;
pub mod preview;
pub mod print;
pub mod progress;
pub mod publish;
pub mod range;
pub mod read;
pub mod request;
pub mod rewrite;
pub mod rights;
pub mod ruleset;
pub mod steer;
pub mod store;
pub mod tally;
pub mod terms;
pub mod transfer;
pub mod trial;
pub mod validate;
pub mod version;
pub mod within;

pub use perform::perform;

/// Attempts of a match's actions before it is a dead letter.
pub const ATTEMPTS: i32 = 3;
