//! A run in memory, and where it stands.

use super::known::{Known, unreadable};
use super::news::{News, Signal};
use super::steps::{self, Row};
use super::turn::Play;
use crate::error::Failure;
use crate::pg;
use crate::rule::cause;
use automate_core::workflow::{Command, Runtime, State, WorkflowError};
use pgrx::prelude::*;
use serde_json::Value;
use std::collections::VecDeque;
use std::rc::Rc;
use uuid::Uuid;

/// Which steps a turn may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Those known to be short.
    Shared,
    /// Any.
    Alone,
    /// None: the run is only taken to its next step or its end.
    Still,
}

/// What has happened to a run since its last turn.
pub enum Happened {
    /// It was told this, in this order.
    News(Vec<News>),
    /// The transaction of its last turn failed as a whole.
    Broke(Failure),
}

/// Where a run stands after a turn.
pub enum Stand {
    /// Before a step that it does itself.
    Ready,
    /// Before a step that wants a transaction of its own.
    Alone,
    /// Until it is told something, or until a timer in so many milliseconds.
    Resting(Option<u64>),
    Completed(Value),
    Faulted(WorkflowError),
    Cancelled,
    /// Its step is to be tried again soon.
    LostRace(Failure),
}

impl Stand {
    pub fn is_end(&self) -> bool {
        matches!(self, Stand::Completed(_) | Stand::Faulted(_) | Stand::Cancelled)
    }
}

/// What a turn led to.
pub struct Turn {
    pub stand: Stand,
    pub rows: Vec<Row>,
    /// Whether the run's row must be written.
    pub moved: bool,
    /// Signals to be kept: that no step wants so far, or that may come again.
    pub unheard: Vec<Signal>,
    /// Rows of automate.run_news that have been taken.
    pub taken: Vec<Uuid>,
}

/// A run as an executor holds it.
pub struct Run {
    pub id: Uuid,
    pub revision: i64,
    /// Somebody asked for its end.
    pub cancelling: bool,
    /// What was put down for it, and how much of that it has looked at.
    pub told: i64,
    pub heard: i64,
    pub deadline_us: Option<i64>,
    /// The trace that it belongs to.
    pub traceparent: Option<String>,
    pub(super) owner: pg_sys::Oid,
    pub(super) workflow: Uuid,
    /// Rules and triggers that led to it.
    pub(super) depth: i32,
    pub(super) known: Rc<Known>,
    pub(super) runtime: Runtime,
    /// Until it starts.
    pub(super) input: Option<Value>,
    pub(super) state: Option<State>,
    /// The steps that it does itself next; none: not known in this session.
    pub(super) todo: Option<VecDeque<Command>>,
    /// Their names as they are stored; none: all that wait for a session.
    pub(super) named: Option<Vec<String>>,
}

impl Run {
    /// Does something for the run, which counts in the chain of causes that led to it.
    pub(super) fn caused<R>(&self, work: impl FnOnce() -> R) -> R {
        if self.depth == 0 { work() } else { cause::within(self.workflow, self.depth, work) }
    }

    /// Lets the run take what has happened and goes on as far as `mode` says; `lost` counts the
    /// races that its step has lost. `now` is RFC 3339.
    pub fn turn(&mut self, happened: Happened, mode: Mode, lost: i32, now: &str) -> Turn {
        let mut play = Play::new(self, now);
        let stand = play.play(happened, mode, lost);
        let (rows, moved) = (std::mem::take(&mut play.rows), play.moved || stand.is_end());
        let (unheard, taken) = play.signals();
        self.heard = self.told;
        Turn { stand, rows, moved, unheard, taken }
    }

    /// Whether it has a step of its own to do, as far as this session knows.
    pub(super) fn is_ready(&self) -> bool {
        self.todo.as_ref().is_some_and(|todo| !todo.is_empty())
    }

    /// What wakes and events of this run say about their cause.
    pub fn source(&self) -> String {
        format!("workflow:{}", self.runtime.workflow)
    }

    /// The state as JSON text; the inner error is what the run faults with instead.
    pub fn state_text(&self) -> Result<Option<String>, WorkflowError> {
        let Some(state) = &self.state else { return Ok(None) };
        let text = serde_json::to_string(state).map_err(|e| unreadable(&e.to_string()))?;
        if steps::has_nul(&text) { Err(nul()) } else { Ok(Some(text)) }
    }

    /// The steps that it does itself next, where branches go on side by side.
    pub fn todo_text(&self) -> Option<Vec<String>> {
        self.state.as_ref().filter(|state| state.branches() > 1)?;
        let todo = self.todo.iter().flatten();
        Some(todo.filter_map(|command| command.step().map(str::to_owned)).collect())
    }

    /// How long a step of it may take at most, in milliseconds: until the time of a task around it,
    /// or that of the run, is over; 1 when it is.
    pub(super) fn left_ms(&self, step: &str) -> Option<u64> {
        let timer = self.state.as_ref().and_then(|state| state.time_of(step));
        let timer = timer.map(|at_ms| at_ms - now_ms());
        let end = self.deadline_us.map(|us| (us - pg::now()) / 1000 + 1);
        let left = timer.into_iter().chain(end).min()?;
        Some(u64::try_from(left).unwrap_or(0).max(1))
    }
}

/// Milliseconds since 1970.
pub fn now_ms() -> i64 {
    /// From 1970 to 2000, where PostgreSQL begins to count.
    const EPOCH_MS: i64 = 946_684_800_000;
    pg::now() / 1000 + EPOCH_MS
}

/// PostgreSQL cannot store it.
pub fn nul() -> WorkflowError {
    let detail = "the character \\u0000 cannot be stored; remove it with jq, such as \
                  gsub(\"\\u0000\"; \"\")";
    WorkflowError::standard("validation", "NUL in the data", detail)
}
