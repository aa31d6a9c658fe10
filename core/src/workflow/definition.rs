//! A validated workflow: all tasks in one table, all expressions compiled.

use super::parse;
use crate::jq::{Filter, Template};
use crate::problem::Problem;
use serde_json::Value;

/// How large a definition, a state and a run may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Tasks in a definition.
    pub max_steps: usize,
    /// Task lists within one another.
    pub max_depth: usize,
    /// Bytes of a run's state, about as its jsonb text would be long.
    pub max_state_bytes: usize,
    /// Tasks a run may start, counting each turn of a loop.
    pub max_executed: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { max_steps: 500, max_depth: 16, max_state_bytes: 1 << 20, max_executed: 100_000 }
    }
}

/// A validated workflow, immutable.
#[derive(Debug)]
pub struct Definition {
    pub(super) limits: Limits,
    pub(super) tasks: Vec<Task>,
    pub(super) lists: Vec<List>,
    /// The list the run starts with.
    pub(super) root: usize,
    pub(super) input_from: Option<Template>,
    pub(super) output_as: Option<Template>,
    pub(super) timeout_ms: Option<u64>,
    pub(super) effects: Vec<EffectRef>,
}

/// What a step does to the outside world, so that it can be checked before the first run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EffectRef {
    /// A statement as written, with `params` parameters.
    Sql { pointer: String, statement: String, params: usize },
    /// A notification template by name.
    Template { pointer: String, name: String },
    /// An HTTP endpoint; `None` when an expression gives it at run time.
    Http { pointer: String, endpoint: Option<String> },
    /// The type of an event that is emitted; `None` when an expression gives it.
    Event { pointer: String, event_type: Option<String> },
}

impl Definition {
    /// Reads and checks `document`; all problems are reported at once.
    pub fn parse(document: &Value, limits: &Limits) -> Result<Definition, Vec<Problem>> {
        parse::definition(document, limits)
    }

    /// Every statement, template, endpoint and event type with its place.
    pub fn effects(&self) -> impl Iterator<Item = &EffectRef> {
        self.effects.iter()
    }

    /// How long a run may take in all, in milliseconds; the shell keeps that clock.
    pub fn timeout_ms(&self) -> Option<u64> {
        self.timeout_ms
    }

    /// Tasks in the definition.
    pub fn steps(&self) -> usize {
        self.tasks.len()
    }
}

/// Tasks that run one after another.
#[derive(Debug, Default)]
pub(super) struct List {
    pub items: Vec<usize>,
}

#[derive(Debug)]
pub(super) struct Task {
    pub name: String,
    /// JSON Pointer into the definition.
    pub pointer: String,
    pub condition: Option<Filter>,
    pub input_from: Option<Template>,
    pub output_as: Option<Template>,
    pub export_as: Option<Template>,
    pub then: Then,
    pub timeout_ms: Option<u64>,
    pub kind: Kind,
}

/// Where a run goes after a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Continue,
    /// Leaves the list the task is in.
    Exit,
    /// Ends the run.
    End,
    /// To the task at this place of the same list.
    Goto(usize),
}

#[derive(Debug)]
pub(super) enum Kind {
    Do(usize),
    For(ForLoop),
    Try(Box<Try>),
    Set(Template),
    Switch(Vec<Case>),
    Wait(Template),
    Raise(Template),
    Sql(Sql),
    Notify(Template),
    Http(Box<Http>),
    Emit(Template),
}

#[derive(Debug)]
pub(super) struct ForLoop {
    pub items: Template,
    pub keep_going: Option<Filter>,
    pub body: usize,
}

#[derive(Debug)]
pub(super) struct Case {
    pub when: Option<Filter>,
    pub then: Then,
}

#[derive(Debug)]
pub(super) struct Try {
    pub body: usize,
    /// Fields an error must have, by name.
    pub with: Vec<(String, Value)>,
    pub when: Option<Filter>,
    pub except_when: Option<Filter>,
    pub retry: Option<Retry>,
    pub handler: Option<usize>,
    pub then: Option<Then>,
}

#[derive(Debug)]
pub(super) struct Retry {
    pub when: Option<Filter>,
    pub except_when: Option<Filter>,
    pub delay_ms: u64,
    pub backoff: Backoff,
    pub jitter_ms: Option<(u64, u64)>,
    /// Attempts after the first.
    pub count: Option<u64>,
    pub duration_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backoff {
    Constant,
    Linear,
    Exponential,
}

#[derive(Debug)]
pub(super) struct Sql {
    pub statement: String,
    /// An array.
    pub params: Template,
    pub result: super::state::ResultShape,
    pub expect: super::state::Expect,
}

#[derive(Debug)]
pub(super) struct Http {
    pub method: String,
    pub endpoint: Template,
    pub headers: Option<Template>,
    pub query: Option<Template>,
    pub body: Option<Template>,
    pub output: super::state::HttpOutput,
}
