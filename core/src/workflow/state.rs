//! Where a run stands between two events: data, and small.

use super::WorkflowError;
use super::event::Event;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Where a run stands between two events. Stored as jsonb; readers of a later version fill what an
/// earlier one did not write. It does not grow with the turns of loops.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Stored")]
pub struct State {
    pub status: Status,
    /// The input of the run before `input.from`.
    pub(super) input: Value,
    pub(super) context: Value,
    /// What goes on side by side, by their numbers; the run's own task list is number 0.
    pub(super) branches: Vec<Branch>,
    /// The number of the next branch.
    pub(super) next_branch: u64,
    /// Tasks started so far.
    pub(super) executed: u64,
    /// Steps to be compensated if the run faults, in the order of their completion.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) saga: Vec<Done>,
    /// The run has failed or was cancelled, and compensates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) undo: Option<Undo>,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) suspended: bool,
    /// What happened while the run was suspended.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) parked: Vec<Event>,
    /// Where the run stood when it ended without success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) frozen: Option<Box<Frozen>>,
}

/// Every form a stored state has had.
#[derive(Deserialize)]
struct Stored {
    status: Status,
    #[serde(default)]
    input: Value,
    #[serde(default)]
    context: Value,
    #[serde(default)]
    branches: Vec<Branch>,
    #[serde(default)]
    next_branch: u64,
    #[serde(default)]
    executed: u64,
    #[serde(default)]
    saga: Vec<Done>,
    #[serde(default)]
    undo: Option<Undo>,
    #[serde(default)]
    suspended: bool,
    #[serde(default)]
    parked: Vec<Event>,
    #[serde(default)]
    frozen: Option<Box<Frozen>>,
    /// Before there were branches: the only one's.
    #[serde(default)]
    frames: Vec<Frame>,
    #[serde(default)]
    pending: Option<Pending>,
    #[serde(default)]
    attempts: BTreeMap<String, u32>,
}

impl From<Stored> for State {
    fn from(s: Stored) -> State {
        let mut branches = s.branches;
        if branches.is_empty() && !s.frames.is_empty() {
            let spins = s.attempts.values().max().map_or(0, |n| n.saturating_sub(1));
            let (frames, pending) = (s.frames, s.pending);
            branches.push(Branch { frames, pending, spins, ..Branch::default() });
        }
        // A branch comes after the one it is of; anything else is no state of ours.
        branches.retain(|b| b.parent.is_none_or(|parent| parent < b.id));
        branches.sort_by_key(|b| b.id);
        branches.dedup_by_key(|b| b.id);
        let next_branch = branches.last().map_or(1, |b| b.id + 1).max(s.next_branch);
        State {
            status: s.status,
            input: s.input,
            context: s.context,
            branches,
            next_branch,
            executed: s.executed,
            saga: s.saga,
            undo: s.undo,
            suspended: s.suspended,
            parked: s.parked,
            frozen: s.frozen,
        }
    }
}

impl State {
    pub(super) fn new() -> State {
        State {
            status: Status::Running,
            input: Value::Null,
            context: Value::Null,
            branches: Vec::new(),
            next_branch: 1,
            executed: 0,
            saga: Vec::new(),
            undo: None,
            suspended: false,
            parked: Vec::new(),
            frozen: None,
        }
    }

    /// Whether nothing can happen to the run any more.
    pub fn is_terminal(&self) -> bool {
        matches!(self.status, Status::Completed | Status::Faulted | Status::Cancelled)
    }

    /// The ids of the steps the run waits for.
    pub fn pending_steps(&self) -> impl Iterator<Item = &str> {
        let pending = self.branches.iter().filter_map(|b| b.pending.as_ref());
        pending.filter(|p| p.waits_for != WaitsFor::Branches).map(|p| p.step.as_str())
    }

    /// The first of them.
    pub fn pending_step(&self) -> Option<&str> {
        self.pending_steps().next()
    }

    /// The ids of the steps or tasks whose timers are set.
    pub fn timers(&self) -> impl Iterator<Item = &str> {
        self.branches.iter().filter_map(|b| b.timer.as_ref()).map(|t| t.step.as_str())
    }

    /// The same with the number of the attempt that each is at.
    pub fn pending_attempts(&self) -> impl Iterator<Item = (&str, u32)> {
        let pending = self.branches.iter().filter_map(|b| b.pending.as_ref());
        let pending = pending.filter(|p| p.waits_for != WaitsFor::Branches);
        pending.map(|p| (p.step.as_str(), p.attempt))
    }

    /// The ids of the steps that listen for events.
    pub fn listening_steps(&self) -> impl Iterator<Item = &str> {
        let pending = self.branches.iter().filter_map(|b| b.pending.as_ref());
        pending.filter(|p| p.waits_for == WaitsFor::Events).map(|p| p.step.as_str())
    }

    /// The steps or tasks whose time has come, the earliest first.
    pub fn due_timers(&self, now_ms: i64) -> Vec<String> {
        let timers = self.branches.iter().filter_map(|b| b.timer.as_ref());
        let mut due: Vec<&Timer> = timers.filter(|t| t.at_ms <= now_ms).collect();
        due.sort_by_key(|t| t.at_ms);
        due.into_iter().map(|t| t.step.clone()).collect()
    }

    /// When the next timer is due, in milliseconds since 1970.
    pub fn next_timer_ms(&self) -> Option<i64> {
        self.branches.iter().filter_map(|b| b.timer.as_ref()).map(|t| t.at_ms).min()
    }

    /// When the time of a step that is waited for is over at the latest, in milliseconds since 1970:
    /// by a timer of its branch, or of one that waits for it.
    pub fn time_of(&self, step: &str) -> Option<i64> {
        let waits = |b: &&Branch| b.pending.as_ref().is_some_and(|p| p.step == step);
        let mut branch = self.branches.iter().find(waits);
        let mut first: Option<i64> = None;
        while let Some(here) = branch {
            first = here.timer.as_ref().map(|t| t.at_ms).into_iter().chain(first).min();
            branch = here.parent.and_then(|id| self.branches.iter().find(|b| b.id == id));
        }
        first
    }

    /// The branches that do not wait for others of their own.
    pub fn leaves(&self) -> usize {
        let joins =
            |b: &&Branch| b.pending.as_ref().is_some_and(|p| p.waits_for == WaitsFor::Branches);
        self.branches.len() - self.branches.iter().filter(joins).count()
    }

    /// Tasks started so far.
    pub fn executed(&self) -> u64 {
        self.executed
    }

    /// Branches that are open.
    pub fn branches(&self) -> usize {
        self.branches.len()
    }

    /// Whether the run undoes what it has done.
    pub fn is_compensating(&self) -> bool {
        self.undo.is_some()
    }
}

/// Status phases of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// A step is being done outside.
    Running,
    /// Until a time or an event.
    Waiting,
    Suspended,
    Completed,
    Faulted,
    Cancelled,
}

/// Tasks that run one after another, beside others.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Branch {
    #[serde(default)]
    pub id: u64,
    /// The branch whose step waits for this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<u64>,
    /// Its place among its brothers: that of a fork's branch, or of an item.
    #[serde(default, skip_serializing_if = "is_default")]
    pub place: u64,
    /// The end of its step ids, as its parent's lists and its own place make it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub suffix: String,
    /// Variables from outside, such as an item of a loop.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vars: Vec<Value>,
    /// The task lists that are open, outermost first.
    #[serde(default)]
    pub frames: Vec<Frame>,
    /// What it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
    /// The timer that the shell keeps for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timer: Option<Timer>,
    /// Retries so far: attempts are counted by them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub spins: u32,
    /// Something outside may start its steps again.
    #[serde(default, skip_serializing_if = "is_default")]
    pub retried: bool,
    /// The input of the step that it begins anew, as the step had it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<Value>,
}

/// An open task list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Frame {
    pub list: usize,
    /// The task whose list it is; none for a branch's own.
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
    #[serde(default, skip_serializing_if = "is_default")]
    pub round: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<Turn>,
    /// Retries so far, of a try.
    #[serde(default, skip_serializing_if = "is_default")]
    pub retries: u64,
    /// Which attempt at the owner this is; 0 is the first, too.
    #[serde(default, skip_serializing_if = "is_default")]
    pub attempt: u32,
    /// The branch's retries when the list was opened.
    #[serde(default, skip_serializing_if = "is_default")]
    pub spins: u32,
    /// When the list was opened, in milliseconds since 1970.
    #[serde(default)]
    pub began_ms: i64,
    /// When the owner's time is over, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<i64>,
    /// When the time of this attempt is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt_deadline_ms: Option<i64>,
    /// The error that is being handled: the list is the catch clause's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caught: Option<Value>,
}

/// Where a `for` is: at one item of a window over all of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Turn {
    pub items: Vec<Value>,
    pub at: usize,
    /// The place of the window's first item.
    #[serde(default, skip_serializing_if = "is_default")]
    pub from: usize,
    /// How many there are in all; zero: as many as in the window.
    #[serde(default, skip_serializing_if = "is_default")]
    pub total: usize,
}

impl Turn {
    pub fn item(&self) -> Option<&Value> {
        self.at.checked_sub(self.from).and_then(|i| self.items.get(i))
    }

    pub fn total(&self) -> usize {
        if self.total == 0 { self.items.len() } else { self.total }
    }
}

/// What a branch waits for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Pending {
    pub step: String,
    pub waits_for: WaitsFor,
    pub attempt: u32,
    /// The task's input after `input.from`.
    #[serde(default)]
    pub input: Value,
    /// When the step began, in milliseconds since 1970.
    #[serde(default)]
    pub began_ms: i64,
    /// When the wait is over, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake_ms: Option<i64>,
    /// When the task's time is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join: Option<Box<Join>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listening: Option<Box<Listening>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum WaitsFor {
    /// The answer to a command.
    Result,
    Timer,
    Retry,
    /// Its branches.
    Branches,
    /// Events, and with `foreach` the branch that handles one.
    Events,
    /// The next items of a loop.
    Page,
}

/// What a fork or a parallel loop knows of its branches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Join {
    /// Branches that are open.
    pub open: u64,
    /// How many there are in all.
    pub total: u64,
    /// The first item that has not begun.
    #[serde(default, skip_serializing_if = "is_default")]
    pub next: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    pub failed: u64,
    /// What is kept of their outputs, by place.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<u64, Value>,
    /// Items that have not begun, from `next` on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<Value>,
    /// More items are on their way.
    #[serde(default, skip_serializing_if = "is_default")]
    pub asked: bool,
    /// The items are with the shell.
    #[serde(default, skip_serializing_if = "is_default")]
    pub kept: bool,
}

/// What a listening step has heard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Listening {
    /// What becomes the output.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub heard: Vec<Value>,
    /// Filters that have had their event, of `all`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub met: Vec<usize>,
    /// The same of `until`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub until_met: Vec<usize>,
    /// Values that events of one correlation share.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub correlated: BTreeMap<String, Value>,
    /// Events that `foreach` is not through with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queue: Vec<Value>,
    /// Events that `foreach` has begun.
    #[serde(default, skip_serializing_if = "is_default")]
    pub begun: u64,
    /// No more events are wanted.
    #[serde(default, skip_serializing_if = "is_default")]
    pub over: bool,
}

/// The timer of a branch, as the shell was told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Timer {
    /// The step or task it is for.
    pub step: String,
    pub at_ms: i64,
    pub why: Why,
}

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// A wait task.
    Wait,
    /// The back-off of a try.
    Retry,
    /// The time of a task.
    Timeout,
    /// The time of one attempt of a try.
    AttemptTimeout,
}

/// A completed step that has a compensation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Done {
    pub task: usize,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub suffix: String,
    #[serde(default)]
    pub output: Value,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vars: Vec<Value>,
}

/// Where a run stood when it ended without success, so that it can be tried again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Frozen {
    pub branches: Vec<Branch>,
    pub context: Value,
    pub executed: u64,
    /// The branch whose step failed, and the input of that step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<(u64, Value)>,
    /// When that was, in milliseconds since 1970.
    pub at_ms: i64,
}

/// A run on its way back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Undo {
    /// What it faults with at the end; none: it was cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<WorkflowError>,
    /// Steps whose compensation was given up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dead_ends: Vec<String>,
    /// Attempts at the compensation that is being done, after the first.
    #[serde(default, skip_serializing_if = "is_default")]
    pub retries: u32,
    /// Tasks started on the way.
    #[serde(default, skip_serializing_if = "is_default")]
    pub executed: u64,
}

/// What is not written.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
