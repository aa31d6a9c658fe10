//! What happens to a run from outside.

use super::WorkflowError;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What happened outside. Events name the id of the step they are for; what the run does not wait
/// for changes nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
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
    /// The time of a [`super::Command::SetTimer`] has come.
    TimerFired {
        step: String,
    },
    /// An event that a listening step may want: a CloudEvent, whose `data` is its payload. It is
    /// consumed unless [`super::Advanced::ignored`] says otherwise.
    Heard {
        step: String,
        event: Value,
    },
    /// The items of [`super::Command::Page`], from number `from` on.
    Page {
        step: String,
        from: u64,
        items: Vec<Value>,
    },
    /// Nothing more shall begin until the run is resumed.
    Suspended,
    Resumed,
    Cancelled {
        /// What the run has done is undone first.
        compensate: bool,
    },
    /// The time of the whole run is over.
    TimedOut,
}

impl Event {
    /// The step it is for.
    pub fn step(&self) -> Option<&str> {
        match self {
            Event::Done { step, .. }
            | Event::Failed { step, .. }
            | Event::TimerFired { step }
            | Event::Heard { step, .. }
            | Event::Page { step, .. } => Some(step),
            _ => None,
        }
    }

    /// The same to be changed.
    pub(super) fn step_mut(&mut self) -> Option<&mut String> {
        match self {
            Event::Done { step, .. }
            | Event::Failed { step, .. }
            | Event::TimerFired { step }
            | Event::Heard { step, .. }
            | Event::Page { step, .. } => Some(step),
            _ => None,
        }
    }
}
