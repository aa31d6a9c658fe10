//! Decision tables: stored by version, kept ready by each session that decides.

pub mod define;
pub mod run;
