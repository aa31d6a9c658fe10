//! What goes into and comes out of [`super::advance()`]: the state of a run, events, commands.

use super::WorkflowError;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// What `$workflow` and `$runtime` show; the same in every call for one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runtime {
    pub run_id: String,
    pub workflow: String,
    pub namespace: String,
    pub version: i32,
    /// RFC 3339.
    pub started_at: String,
}

/// Where a run stands between two events. Small, and stored as jsonb; readers of a later version
/// fill what an earlier one did not write.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub status: Status,
    /// The input of the run before `input.from`.
    #[serde(default)]
    pub(super) input: Value,
    #[serde(default)]
    pub(super) context: Value,
    /// The task lists that are open, outermost first.
    #[serde(default)]
    pub(super) frames: Vec<Frame>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pending: Option<Pending>,
    /// Tasks started so far.
    #[serde(default)]
    pub(super) executed: u64,
    /// How often a step under a retry was started.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) attempts: BTreeMap<String, u32>,
}

impl State {
    /// Whether nothing can happen to the run any more.
    pub fn is_terminal(&self) -> bool {
        matches!(self.status, Status::Completed | Status::Faulted | Status::Cancelled)
    }

    /// The id of the step the run waits for.
    pub fn pending_step(&self) -> Option<&str> {
        self.pending.as_ref().map(|p| p.step.as_str())
    }

    /// Tasks started so far.
    pub fn executed(&self) -> u64 {
        self.executed
    }
}

/// Status phases of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// A step is being done outside.
    Running,
    /// Until a time.
    Waiting,
    Completed,
    Faulted,
    Cancelled,
}

/// An open task list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Frame {
    pub list: usize,
    /// The task whose list it is; none for the run's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<usize>,
    /// The place in the list.
    #[serde(default)]
    pub index: usize,
    /// Raw input of the next task.
    #[serde(default)]
    pub data: Value,
    /// The owner's input, after `input.from`.
    #[serde(default)]
    pub input: Value,
    /// Jumps backwards in this list; a part of the step ids, so that they stay unique.
    #[serde(default)]
    pub round: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<Turn>,
    /// Retries so far, of a try.
    #[serde(default)]
    pub retries: u64,
    /// When the try began, in milliseconds since 1970.
    #[serde(default)]
    pub began_ms: i64,
    /// The error that is being handled: the list is the catch clause's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caught: Option<Value>,
}

/// Where a `for` is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Turn {
    pub items: Vec<Value>,
    pub at: usize,
}

/// What the run waits for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Pending {
    pub step: String,
    pub waits_for: WaitsFor,
    pub attempt: u32,
    /// The task's input after `input.from`.
    #[serde(default)]
    pub input: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum WaitsFor {
    Result,
    Timer,
    Retry,
}

/// What happened outside.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// First of all, with no state.
    Start {
        input: Value,
    },
    /// A step succeeded; `step` is the id of its command.
    Done {
        step: String,
        output: Value,
    },
    /// A step failed.
    Failed {
        step: String,
        error: WorkflowError,
    },
    /// The time of a [`Command::Wait`] has come.
    TimerFired {
        step: String,
    },
    Cancelled,
}

/// What shall happen outside, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Run one statement; answer with its result in the given shape.
    Sql {
        step: String,
        name: String,
        attempt: u32,
        statement: String,
        params: Vec<Value>,
        result: ResultShape,
        expect: Expect,
        timeout_ms: Option<u64>,
    },
    /// Send a notification: `arguments` holds `template`, `recipients` or `to`, and `data`.
    Notify {
        step: String,
        name: String,
        attempt: u32,
        arguments: Value,
        timeout_ms: Option<u64>,
    },
    /// Do an HTTP request; redirects are not followed.
    Http {
        step: String,
        name: String,
        attempt: u32,
        method: String,
        url: String,
        headers: Value,
        query: Value,
        body: Option<Value>,
        timeout_ms: Option<u64>,
        output: HttpOutput,
        redirect: bool,
    },
    /// Emit an event in the same transaction as the checkpoint; no answer is expected.
    Emit {
        step: String,
        name: String,
        attempt: u32,
        event: Value,
    },
    /// Send [`Event::TimerFired`] after so many milliseconds; `retry` tells a back-off from a wait
    /// task.
    Wait {
        step: String,
        name: String,
        for_ms: u64,
        retry: bool,
    },
    Complete {
        output: Value,
    },
    Fault {
        error: WorkflowError,
    },
    Cancel,
}

/// What a SQL step's output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultShape {
    /// An array of row objects.
    Rows,
    /// The first row, an object, or null.
    One,
    /// The first column of the first row, or null.
    Scalar,
    /// Null.
    None,
}

/// How many rows a SQL step must give, else it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    Any,
    /// Exactly one.
    One,
    None,
}

/// What an HTTP step's output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpOutput {
    /// The body, parsed by its media type.
    Content,
    /// `{request, statusCode, headers, content}`.
    Response,
    /// The body in base64.
    Raw,
}

/// What happened to a step, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct StepRecord {
    pub step: String,
    pub name: String,
    pub attempt: u32,
    /// `running`, `waiting`, `completed`, `faulted`, `skipped` or `cancelled`.
    pub status: &'static str,
    pub input: Value,
    pub output: Option<Value>,
    pub error: Option<Value>,
}

/// What one event led to.
#[derive(Clone, Debug, PartialEq)]
pub struct Advanced {
    pub state: State,
    pub commands: Vec<Command>,
    pub records: Vec<StepRecord>,
}
