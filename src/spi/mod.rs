//! The two ways in which we run SQL: our own statements under the extension's id, and the users'
//! statements in their owner's session.

pub mod head;
pub mod insert;
pub mod own;
pub mod query;
mod rights;
pub mod scan;
pub mod script;
pub mod statement;
pub mod step;

pub use own::{Own, as_extension};
