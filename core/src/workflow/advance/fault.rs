//! Errors on their way out: caught, tried again, or handed to whoever waits for the branch.

use super::super::definition::{Kind, Task, Try};
use super::super::scope::Place;
use super::super::state::{Pending, WaitsFor};
use super::super::{WorkflowError, catch};
use super::{Doing, Run, after, step_id};
use serde_json::Value;

impl<'a> Run<'a> {
    /// Looks for a catch clause that takes the error, from the inside out; else the branch fails.
    pub(super) fn raise(&mut self, error: WorkflowError) {
        self.freeze(true);
        let mut error = error;
        while let Some(frame) = self.branch().frames.last() {
            if let Some(task) = self.owner(frame)
                && let Kind::Try(clause) = &task.kind
                && frame.caught.is_none()
            {
                match self.handle(task, clause, &error) {
                    Ok(true) => {
                        self.frozen = None;
                        return;
                    }
                    Ok(false) => {}
                    Err(other) => error = other,
                }
            }
            let Some((frame, doing)) = self.pop_frame() else { break };
            if let Some(doing) = doing {
                error = self.failed(&doing, frame.input, error);
            }
        }
        self.branch_failed(error);
    }

    fn branch_failed(&mut self, error: WorkflowError) {
        if self.branch().parent.is_none() {
            match self.state.undo {
                Some(_) => self.compensation_failed(error),
                None => self.fault(error),
            }
            return;
        }
        if let Some(branch) = self.leave_branch() {
            self.branch_fails(&branch, error);
        }
    }

    /// The task list of the current branch is through.
    pub(super) fn branch_ended(&mut self, data: Value) {
        if self.branch().parent.is_none() {
            match self.state.undo {
                Some(_) => self.compensated(),
                None => self.complete(data),
            }
            return;
        }
        if let Some(branch) = self.leave_branch() {
            match self.branch().pending.as_ref().map(|p| p.waits_for) {
                Some(WaitsFor::Events) => self.event_handled(&branch, data),
                _ => self.branch_joins(&branch, data),
            }
        }
    }

    /// What the innermost list's catch clause does with the error: retry, handle, swallow, or
    /// (false) leave it.
    fn handle(
        &mut self,
        task: &'a Task,
        clause: &'a Try,
        error: &WorkflowError,
    ) -> Result<bool, WorkflowError> {
        let value = error.to_value();
        let branch = self.branch();
        let Some((frame, outer)) = branch.frames.split_last() else { return Ok(false) };
        let step = step_id(task, &branch.suffix, outer);
        let place = Place {
            task: Some(task),
            step: &step,
            input: Some(&frame.input),
            error: Some(&value),
            began_ms: frame.began_ms,
            ..Place::default()
        };
        let scope = self.scope(place);
        let at_step = |e: WorkflowError| e.at(&step);
        if !catch::takes(clause, &value, &scope, &frame.input).map_err(at_step)? {
            return Ok(false);
        }
        if let Some(retry) = &clause.retry {
            let elapsed = self.now_ms.saturating_sub(frame.began_ms);
            let elapsed = u64::try_from(elapsed).unwrap_or(0);
            let seed = format!("{}{step}", self.runtime.run_id);
            let delay =
                catch::next_delay(retry, frame.retries, elapsed, &seed, &scope, &frame.input);
            if let Some(for_ms) = delay.map_err(at_step)? {
                self.retry(task, step, for_ms, value);
                return Ok(true);
            }
        }
        let Some(frame) = self.branch_mut().frames.last_mut() else { return Ok(false) };
        frame.attempt_deadline_ms = None;
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

    fn retry(&mut self, task: &'a Task, step: String, for_ms: u64, error: Value) {
        let branch = self.branch_mut();
        branch.spins = branch.spins.saturating_add(1);
        let Some(frame) = branch.frames.last_mut() else { return };
        frame.retries = frame.retries.saturating_add(1);
        frame.attempt_deadline_ms = None;
        let (input, attempt) = (frame.input.clone(), frame.attempt.max(1));
        if for_ms == 0 {
            self.again();
            return;
        }
        let doing = Doing { task, step, attempt, began_ms: frame.began_ms };
        self.record(&doing, "waiting", input, None, Some(error));
        self.sleep_until_retry(doing.step, attempt, for_ms);
    }

    /// The current branch waits before its innermost list begins anew.
    pub(super) fn sleep_until_retry(&mut self, step: String, attempt: u32, for_ms: u64) {
        self.branch_mut().pending = Some(Pending {
            step,
            waits_for: WaitsFor::Retry,
            attempt,
            input: Value::Null,
            began_ms: self.now_ms,
            wake_ms: Some(after(self.now_ms, for_ms)),
            deadline_ms: None,
            join: None,
            listening: None,
        });
    }

    /// The list that is innermost begins anew.
    pub(super) fn again(&mut self) {
        let owner = self.branch().frames.last().and_then(|frame| self.owner(frame));
        let attempt_ms = match owner.map(|task| &task.kind) {
            Some(Kind::Try(clause)) => clause.retry.as_ref().and_then(|retry| retry.attempt_ms),
            _ => None,
        };
        let deadline = attempt_ms.map(|ms| after(self.now_ms, ms));
        if let Some(frame) = self.branch_mut().frames.last_mut() {
            frame.index = 0;
            frame.round = 0;
            frame.data = frame.input.clone();
            frame.attempt_deadline_ms = deadline;
        }
    }
}
