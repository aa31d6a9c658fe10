//! Triggers: when something happens. A trigger records its event, and tells it to the rules, tasks
//! and workflows that are subscribed to it. `define`, `alter` and `steer` keep them, `fire` knows
//! what is due, `due` and
//! `watch` when a custom one looks, `look` and `ask` what it finds, `hear` finds the triggers that an event concerns, `tell` queues what its
//! subscribers do, `perform` does that. `evaluate` and `rehearse` look without doing anything.

pub mod alter;
mod arguments;
mod ask;
mod custom;
mod decide;
pub mod define;
pub mod due;
pub mod evaluate;
mod fault;
pub mod fire;
pub mod hear;
mod known;
mod look;
mod perform;
mod recheck;
pub mod rehearse;
pub mod steer;
mod store;
pub mod tell;
pub mod watch;

pub use perform::perform;

/// The source of what a trigger causes.
pub fn source(name: &str) -> String {
    format!("trigger:{name}")
}
