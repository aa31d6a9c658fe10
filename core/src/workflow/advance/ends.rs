//! The ends of a run.

use super::super::WorkflowError;
use super::super::command::{Command, Ignored};
use super::super::schema;
use super::super::scope::Place;
use super::super::state::{Pending, Status, Undo};
use super::{Doing, Run};
use serde_json::Value;

impl<'a> Run<'a> {
    /// The run has its output; what other branches do is not wanted any more.
    pub(super) fn complete(&mut self, data: Value) {
        self.complete_lists(&data);
        self.close_all();
        match self.output(data) {
            Ok(output) => self.end(Status::Completed, Command::Complete { output }),
            Err(error) => self.fault(error),
        }
    }

    /// Lists that `then: end` leaves open are done, too, up to the run's own.
    fn complete_lists(&mut self, data: &Value) {
        loop {
            while let Some((frame, doing)) = self.pop_frame() {
                if let Some(doing) = doing {
                    self.record(&doing, "completed", frame.input, Some(data.clone()), None);
                }
            }
            if self.leave_branch().is_none() {
                return;
            }
            let Ok(task) = self.current() else { return };
            let Some(pending) = self.drop_pending() else { return };
            let Pending { step, attempt, began_ms, input, .. } = pending;
            let doing = Doing { task, step, attempt, began_ms };
            self.record(&doing, "completed", input, Some(data.clone()), None);
        }
    }

    fn output(&self, data: Value) -> Result<Value, WorkflowError> {
        let rules = &self.definition.data;
        let output = match &rules.output_as {
            Some(transform) => self.scope(Place::default()).render(transform, &data)?,
            None => data,
        };
        schema::check(rules.output_shape.as_ref(), "output", &output)?;
        Ok(output)
    }

    /// The run has failed: it undoes what it has done, if there is a way, and faults.
    pub(super) fn fault(&mut self, error: WorkflowError) {
        if let Some(undo) = &self.state.undo {
            // Not even that ends well.
            let error = undo.error.clone().unwrap_or(error);
            return self.give_up_undoing(Some(error));
        }
        self.freeze(false);
        self.close_all();
        if self.state.saga.is_empty() {
            self.state.frozen = self.frozen.take();
            return self.end(Status::Faulted, Command::Fault { error });
        }
        self.state.undo = Some(Undo { error: Some(error), ..Undo::default() });
        self.compensate_next();
    }

    pub(super) fn time_is_over(&mut self) {
        if self.state.undo.is_some() {
            self.ignored = Some(Ignored::NotAwaited);
            return;
        }
        self.state.suspended = false;
        let detail = "the run took longer than the timeout of its workflow";
        self.fault(WorkflowError::standard("timeout", "Timeout", detail));
    }

    pub(super) fn cancel(&mut self, compensate: bool) {
        if self.state.undo.is_some() {
            match compensate {
                true => self.ignored = Some(Ignored::NotAwaited),
                false => self.give_up_undoing(None),
            }
            return;
        }
        self.state.suspended = false;
        self.freeze(false);
        self.close_all();
        if !compensate || self.state.saga.is_empty() {
            self.state.frozen = self.frozen.take();
            return self.end(Status::Cancelled, Command::Cancel);
        }
        self.state.undo = Some(Undo::default());
        self.compensate_next();
    }

    /// Closes every branch, the last first.
    pub(super) fn close_all(&mut self) {
        while let Some(last) = self.state.branches.len().checked_sub(1) {
            self.here = last;
            self.close_branch();
        }
        self.here = 0;
    }

    pub(super) fn end(&mut self, status: Status, command: Command) {
        self.state.branches.clear();
        self.state.saga.clear();
        self.state.undo = None;
        self.state.parked.clear();
        self.state.suspended = false;
        self.state.status = status;
        // Whatever else was asked for is of no use any more.
        self.commands
            .retain(|c| matches!(c, Command::Emit { .. } | Command::Run { wait: false, .. }));
        self.commands.push(command);
    }
}
