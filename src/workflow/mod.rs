//! Workflows: definitions, runs, and the shell around the pure interpreter.
//!
//! A run is a row of `automate.run`; while there is something to do for it here, a job of kind
//! `run` with the same id is in the queue. An executor of the owner takes runs through their steps
//! in rounds ([`Round`]): each round does at most one step of each run and commits the steps'
//! effects together with where the runs stand then. What is in memory between two rounds is a
//! cache: the revision of the row guards every checkpoint.

mod answer;
mod cancel;
mod capability;
mod check;
mod define;
pub mod draw;
mod effect;
mod failure;
mod known;
mod load;
mod round;
mod run;
mod save;
mod start;
mod steps;

pub use check::problems;
pub use define::{create, drop, set_status};
pub use round::{Cache, Round, give_up};
pub use run::Mode;
pub use save::{fault_quarantined, forget_old};
pub use start::{Start, ask_to_cancel, cancel, resume, start};
