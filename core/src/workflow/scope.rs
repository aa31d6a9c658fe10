//! The variables an expression sees.

use super::definition::{Kind, Task};
use super::state::{Branch, Frame, State};
use super::{Definition, Runtime, WorkflowError};
use crate::jq::{Filter, Template};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::cell::OnceCell;

/// The variables that are there everywhere, in the order expressions are compiled with.
pub(super) const FIXED: [&str; 6] = ["context", "input", "output", "task", "workflow", "runtime"];

/// Where an expression stands; what is left out is null there.
#[derive(Clone, Copy, Default)]
pub(super) struct Place<'p> {
    pub task: Option<&'p Task>,
    pub step: &'p str,
    pub raw_input: Option<&'p Value>,
    pub raw_output: Option<&'p Value>,
    /// When the task began, in milliseconds since 1970.
    pub began_ms: i64,
    pub input: Option<&'p Value>,
    pub output: Option<&'p Value>,
    /// The error, in the conditions of a catch clause.
    pub error: Option<&'p Value>,
}

/// The values of all variables at one place, made when an expression asks for them.
pub(super) struct Scope<'s> {
    definition: &'s Definition,
    runtime: &'s Runtime,
    state: &'s State,
    branch: Option<&'s Branch>,
    place: Place<'s>,
    locals: OnceCell<Vec<Cow<'s, Value>>>,
    task: OnceCell<Value>,
    workflow: OnceCell<Value>,
    itself: OnceCell<Value>,
}

impl<'s> Scope<'s> {
    /// The variables at `place` in a branch; `None` before there is one.
    pub fn new(
        definition: &'s Definition,
        runtime: &'s Runtime,
        state: &'s State,
        branch: Option<&'s Branch>,
        place: Place<'s>,
    ) -> Self {
        Scope {
            definition,
            runtime,
            state,
            branch,
            place,
            locals: OnceCell::new(),
            task: OnceCell::new(),
            workflow: OnceCell::new(),
            itself: OnceCell::new(),
        }
    }

    fn made(&self) -> &[Cow<'s, Value>] {
        self.locals.get_or_init(|| {
            let mut locals = Vec::new();
            if let Some(branch) = self.branch {
                locals.extend(branch.vars.iter().map(Cow::Borrowed));
                for frame in &branch.frames {
                    push_locals(self.definition, frame, &mut locals);
                }
            }
            locals.extend(self.place.error.map(Cow::Borrowed));
            locals
        })
    }

    /// The values of loops and catch clauses, for what happens after their ends.
    pub fn locals(&self) -> Vec<Value> {
        self.made().iter().map(|v| v.clone().into_owned()).collect()
    }

    /// The template's value on `data`.
    pub fn render(&self, template: &Template, data: &Value) -> Result<Value, WorkflowError> {
        let rendered = template.render_with(data, &|i| self.get(i));
        rendered.map_err(|e| WorkflowError::expression(&e))
    }

    /// Whether the condition holds on `data`: all but null and false do.
    pub fn holds(&self, condition: &Filter, data: &Value) -> Result<bool, WorkflowError> {
        let out = condition.run_with(data, &|i| self.get(i));
        out.map(|v| !matches!(v, Value::Null | Value::Bool(false)))
            .map_err(|e| WorkflowError::expression(&e))
    }

    /// The value of the variable at this place of the names.
    pub fn get(&self, index: usize) -> Option<&Value> {
        match index {
            0 => Some(&self.state.context),
            1 => self.place.input,
            2 => self.place.output,
            3 => Some(self.task.get_or_init(|| self.task_descriptor())),
            4 => Some(self.workflow.get_or_init(|| self.workflow_descriptor())),
            5 => Some(self.itself.get_or_init(
                || json!({"name": "pg_automate", "version": env!("CARGO_PKG_VERSION")}),
            )),
            _ => self.made().get(index.checked_sub(FIXED.len())?).map(|v| &**v),
        }
    }

    fn task_descriptor(&self) -> Value {
        let Some(task) = self.place.task else { return Value::Null };
        let mut value = json!({
            "name": task.name,
            "reference": self.place.step,
            "input": self.place.raw_input,
            "output": self.place.raw_output,
            "startedAt": from_millis(self.place.began_ms),
        });
        if let Some(document) = &task.document {
            value["definition"] = document.clone();
        }
        value
    }

    fn workflow_descriptor(&self) -> Value {
        let mut value = json!({
            "id": self.runtime.run_id,
            "name": self.runtime.workflow,
            "namespace": self.runtime.namespace,
            "version": self.runtime.version,
            "input": self.state.input,
            "startedAt": moment(&self.runtime.started_at),
        });
        if let Some(document) = &self.definition.document {
            value["definition"] = document.clone();
        }
        value
    }
}

/// What a frame brings: the item and index of a loop, or the error that is being handled.
fn push_locals<'s>(definition: &Definition, frame: &'s Frame, into: &mut Vec<Cow<'s, Value>>) {
    let kind = frame.owner.and_then(|id| definition.tasks.get(id)).map(|t| &t.kind);
    match (kind, &frame.turn, &frame.caught) {
        (Some(Kind::For(_)), Some(turn), _) => {
            into.push(turn.item().map_or(Cow::Owned(Value::Null), Cow::Borrowed));
            into.push(Cow::Owned(Value::from(turn.at)));
        }
        (Some(Kind::Try(_)), _, Some(error)) => into.push(Cow::Borrowed(error)),
        _ => {}
    }
}

/// The specification's date and time descriptor.
fn moment(rfc3339: &str) -> Value {
    match chrono::DateTime::parse_from_rfc3339(rfc3339) {
        Ok(at) => json!({
            "iso8601": rfc3339,
            "epoch": {"seconds": at.timestamp(), "milliseconds": at.timestamp_millis()},
        }),
        Err(_) => json!({"iso8601": rfc3339}),
    }
}

fn from_millis(ms: i64) -> Value {
    let at = chrono::DateTime::from_timestamp_millis(ms).unwrap_or_default();
    moment(&at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
}
