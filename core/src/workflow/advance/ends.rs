//! Errors on their way out, and the ends of a run.

use super::super::definition::{Kind, Task, Try};
use super::super::scope::Place;
use super::super::state::{Command, State, Status, WaitsFor};
use super::super::{WorkflowError, catch};
use super::{Doing, Run, millis};
use serde_json::Value;

impl<'a> Run<'a> {
    /// Looks for a catch clause that takes the error, from the inside out; else the run faults.
    pub(super) fn raise(&mut self, error: WorkflowError) {
        let mut error = error;
        while let Some(frame) = self.state.frames.last() {
            let owner = frame.owner.and_then(|id| self.definition.tasks.get(id));
            if let Some(task) = owner
                && let Kind::Try(clause) = &task.kind
                && frame.caught.is_none()
            {
                match self.handle(task, clause, &error) {
                    Ok(true) => return,
                    Ok(false) => {}
                    Err(other) => error = other,
                }
            }
            let Some(frame) = self.state.frames.pop() else { break };
            if let Some(task) = owner {
                let step = self.step_id(task);
                let attempt = self.state.attempts.get(&step).copied().unwrap_or(1);
                error = self.failed(&Doing { task, step, attempt }, frame.input, error);
            }
        }
        self.fault(error);
    }

    /// What the innermost list's catch clause does with the error: retry, handle, swallow, or
    /// (false) leave it.
    pub(super) fn handle(
        &mut self,
        task: &'a Task,
        clause: &Try,
        error: &WorkflowError,
    ) -> Result<bool, WorkflowError> {
        let value = error.to_value();
        let step = self.owner_step_id(task);
        let Some(frame) = self.state.frames.last() else { return Ok(false) };
        let place = Place {
            task: Some(task),
            step: &step,
            input: Some(&frame.input),
            error: Some(&value),
            ..Place::default()
        };
        let scope = self.scope(place);
        let at_step = |e: WorkflowError| e.at(&step);
        if !catch::takes(clause, &value, &scope, &frame.input).map_err(at_step)? {
            return Ok(false);
        }
        if let Some(retry) = &clause.retry {
            let elapsed = millis(self.now).saturating_sub(frame.began_ms);
            let elapsed = u64::try_from(elapsed).unwrap_or(0);
            let seed = format!("{}{step}", self.runtime.run_id);
            let delay =
                catch::next_delay(retry, frame.retries, elapsed, &seed, &scope, &frame.input);
            if let Some(for_ms) = delay.map_err(at_step)? {
                self.retry(task, step, for_ms, value);
                return Ok(true);
            }
        }
        let Some(frame) = self.state.frames.last_mut() else { return Ok(false) };
        if let Some(handler) = clause.handler {
            frame.list = handler;
            frame.index = 0;
            frame.round = 0;
            frame.data = frame.input.clone();
            frame.caught = Some(value);
            return Ok(true);
        }
        if clause.retry.is_some() {
            return Ok(false);
        }
        // Swallowed: the list ends here, with the try's input as its output.
        frame.data = frame.input.clone();
        frame.index = usize::MAX;
        frame.caught = Some(value);
        Ok(true)
    }

    pub(super) fn retry(&mut self, task: &'a Task, step: String, for_ms: u64, error: Value) {
        let Some(frame) = self.state.frames.last_mut() else { return };
        frame.retries = frame.retries.saturating_add(1);
        let input = frame.input.clone();
        if for_ms == 0 {
            self.again();
            return;
        }
        let attempt = self.state.attempts.get(&step).copied().unwrap_or(1);
        let doing = Doing { task, step, attempt };
        self.record(&doing, "waiting", input, None, Some(error));
        self.wait_for(&doing, WaitsFor::Retry, Value::Null);
        let (step, name) = (doing.step, task.name.clone());
        self.commands.push(Command::Wait { step, name, for_ms, retry: true });
    }

    pub(super) fn complete(&mut self, data: Value) {
        // Lists that `then: end` leaves open are done, too.
        while let Some(frame) = self.state.frames.pop() {
            let owner = frame.owner.and_then(|id| self.definition.tasks.get(id));
            if let Some(task) = owner {
                let step = self.step_id(task);
                let attempt = self.state.attempts.get(&step).copied().unwrap_or(1);
                let doing = Doing { task, step, attempt };
                self.record(&doing, "completed", frame.input, Some(data.clone()), None);
            }
        }
        let output = match &self.definition.output_as {
            Some(transform) => self.scope(Place::default()).render(transform, &data),
            None => Ok(data),
        };
        match output {
            Ok(output) => {
                self.state.status = Status::Completed;
                self.state.attempts.clear();
                self.commands.push(Command::Complete { output });
            }
            Err(error) => self.fault(error),
        }
    }

    pub(super) fn fault(&mut self, error: WorkflowError) {
        self.state.frames.clear();
        self.state.attempts.clear();
        self.state.pending = None;
        self.state.status = Status::Faulted;
        self.commands.push(Command::Fault { error });
    }

    pub(super) fn cancel(&mut self) {
        if let Some(pending) = self.state.pending.take()
            && let Ok(task) = self.current()
        {
            let doing = Doing { task, step: pending.step, attempt: pending.attempt };
            self.record(&doing, "cancelled", pending.input, None, None);
        }
        self.state.frames.clear();
        self.state.attempts.clear();
        self.state.status = Status::Cancelled;
        self.commands.push(Command::Cancel);
    }

    /// A run whose state would no longer fit faults instead of growing on.
    pub(super) fn check_size(&mut self) {
        let limit = self.definition.limits.max_state_bytes;
        if self.state.is_terminal() || size(&self.state) <= limit {
            return;
        }
        let detail = format!("the state of the run would exceed {limit} bytes");
        // Nothing of this round is carried out but its end.
        self.commands.clear();
        self.fault(WorkflowError::standard("runtime", "State too large", detail));
    }
}

/// About the length of the state as JSON text.
fn size(state: &State) -> usize {
    let mut bytes = weight(&state.input) + weight(&state.context);
    bytes += state.pending.as_ref().map_or(0, |p| weight(&p.input) + p.step.len());
    bytes += state.attempts.keys().map(|k| k.len() + 8).sum::<usize>();
    for frame in &state.frames {
        bytes += 100 + weight(&frame.data) + weight(&frame.input);
        bytes += frame.caught.as_ref().map_or(0, weight);
        bytes += frame.turn.iter().flat_map(|t| &t.items).map(weight).sum::<usize>();
    }
    bytes
}

fn weight(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 5,
        Value::Number(_) => 8,
        Value::String(s) => s.len() + 3,
        Value::Array(items) => 2 + items.iter().map(weight).sum::<usize>(),
        Value::Object(map) => 2 + map.iter().map(|(k, v)| k.len() + 4 + weight(v)).sum::<usize>(),
    }
}
