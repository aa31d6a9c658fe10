//! The pure half of pg_automate: values in, values out. No PostgreSQL, no clock, no I/O.

pub mod decision;
pub mod event;
pub mod jq;
pub mod json;
pub mod jsonb;
pub mod net;
pub mod object;
pub mod problem;
pub mod report;
pub mod rule;
pub mod schedule;
pub mod suggest;
pub mod task;
pub mod template;
pub mod trace;
pub mod trigger;
pub mod workflow;
