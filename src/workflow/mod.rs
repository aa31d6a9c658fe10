//! Workflows: definitions, runs, and the shell around the pure interpreter.
//!
//! A run is a row of `automate.run`; from its start to its end a job of kind `run` with the same
//! id is in the queue, whose row lock is the right to take the run's turn. An executor of the owner
//! takes runs through their steps in rounds ([`Round`]): each round does a step of each run (of
//! branches side by side as many short ones as there is time for) and commits the steps' effects
//! together with where the runs stand then. Whoever has news for a run puts another job of that
//! kind into the queue (`news`). What is in memory between two rounds is a cache: the revision of
//! the row guards every checkpoint.

mod advice;
pub mod alter;
mod answer;
pub mod approval;
mod capability;
mod check;
mod child;
pub mod control;
mod cycle;
mod define;
pub mod draw;
mod effect;
mod failure;
mod items;
mod known;
pub mod listen;
mod load;
pub mod migrate;
mod names;
mod news;
mod outside;
mod report_step;
mod request;
mod round;
mod run;
mod save;
pub mod script;
mod start;
mod step_job;
mod steps;
mod turn;
pub mod uses;
pub mod versions;

pub use advice::advise;
pub use check::{complexity, problems};
pub use define::{New, create, drop, set_status};
pub use report_step::ended as report_ended;
pub use round::{Cache, Round, give_up, step_done};
pub use run::Mode;
pub use save::{fault_quarantined, forget_old};
pub use start::{Start, ask_to_cancel, resume, start};
pub use step_job::{Did, perform as perform_step, step as step_of};
