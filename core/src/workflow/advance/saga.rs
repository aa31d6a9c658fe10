//! Compensation: what was done is undone in the reverse order of its completion.

use super::super::WorkflowError;
use super::super::command::Command;
use super::super::state::{Branch, Done, Frame, Status};
use super::{Doing, Run};
use serde_json::Value;

/// Between the first attempt at a compensation and the second, in milliseconds; then twice as long
/// each time.
const FIRST_DELAY_MS: u64 = 1_000;

impl<'a> Run<'a> {
    /// Notes that a step is done and how to undo it.
    pub(super) fn remember(
        &mut self,
        doing: &Doing<'a>,
        output: Value,
    ) -> Result<(), WorkflowError> {
        let most = self.definition.limits.max_compensations;
        if self.state.saga.len() >= most {
            let detail = format!(
                "the run has more than {most} steps to be compensated; \
                 let one step with a compensation do more"
            );
            return Err(WorkflowError::standard("runtime", "Too many compensations", detail));
        }
        let mut suffix = doing.step.get(doing.task.pointer.len()..).unwrap_or_default().to_owned();
        if doing.attempt > 1 {
            suffix.push_str(&format!("^{}", doing.attempt));
        }
        let vars = self.locals();
        self.state.saga.push(Done { task: doing.task.id, suffix, output, vars });
        Ok(())
    }

    /// Opens the branch that undoes the last step that is still done; at the end, the run ends.
    pub(super) fn compensate_next(&mut self) {
        loop {
            let Some(done) = self.state.saga.last() else { return self.undone() };
            let task = self.definition.tasks.get(done.task);
            let Some(list) = task.and_then(|task| task.compensate) else {
                // Of another definition: there is no way to undo it.
                self.dead_end();
                continue;
            };
            let retries = self.state.undo.as_ref().map_or(0, |u| u.retries);
            let (data, input) = (done.output.clone(), done.output.clone());
            let branch = Branch {
                id: self.state.next_branch,
                suffix: done.suffix.clone(),
                vars: done.vars.clone(),
                frames: vec![Frame { list, data, input, ..Frame::default() }],
                spins: retries,
                retried: true,
                ..Branch::default()
            };
            self.state.next_branch += 1;
            self.state.branches.push(branch);
            self.here = self.state.branches.len() - 1;
            return;
        }
    }

    /// The step is undone.
    pub(super) fn compensated(&mut self) {
        self.close_all();
        self.state.saga.pop();
        if let Some(undo) = &mut self.state.undo {
            undo.retries = 0;
        }
        self.compensate_next();
    }

    /// Undoing a step has failed: it is tried again some times, then left.
    pub(super) fn compensation_failed(&mut self, error: WorkflowError) {
        self.close_all();
        let most = self.definition.limits.compensation_retries;
        let Some(undo) = &mut self.state.undo else { return };
        let retries = undo.retries;
        let again = retries < most;
        undo.retries = if again { retries + 1 } else { 0 };
        let Some((doing, output)) = self.undoing(retries + 1) else {
            return self.compensate_next();
        };
        if !again {
            self.failed(&doing, output, error);
            self.dead_end();
            return self.compensate_next();
        }
        self.record(&doing, "waiting", output, None, Some(error.to_value()));
        let for_ms = FIRST_DELAY_MS.saturating_mul(1u64.checked_shl(retries).unwrap_or(u64::MAX));
        self.compensate_next();
        self.sleep_until_retry(doing.step, doing.attempt, for_ms.min(3_600_000));
    }

    /// The compensation that is being done, as a step of its own.
    fn undoing(&self, attempt: u32) -> Option<(Doing<'a>, Value)> {
        let done = self.state.saga.last()?;
        let task = self.definition.tasks.get(done.task)?;
        let step = format!("{}/metadata/compensate{}", task.pointer, done.suffix);
        Some((Doing { task, step, attempt, began_ms: self.now_ms }, done.output.clone()))
    }

    /// The last step that is done stays so.
    fn dead_end(&mut self) {
        let Some(done) = self.state.saga.pop() else { return };
        let task = self.definition.tasks.get(done.task);
        let step = task.map_or(String::new(), |t| format!("{}{}", t.pointer, done.suffix));
        if let Some(undo) = &mut self.state.undo {
            undo.dead_ends.push(step);
        }
    }

    /// Undoing ends here, whatever is left.
    pub(super) fn give_up_undoing(&mut self, error: Option<WorkflowError>) {
        self.close_all();
        while !self.state.saga.is_empty() {
            self.dead_end();
        }
        if let Some(undo) = &mut self.state.undo {
            undo.error = undo.error.take().or(error);
        }
        self.undone();
    }

    /// Nothing is left to undo: the run ends as it was going to.
    fn undone(&mut self) {
        let undo = self.state.undo.take().unwrap_or_default();
        let error = match (undo.error, undo.dead_ends.is_empty()) {
            (None, true) => return self.end(Status::Cancelled, Command::Cancel),
            (None, false) => {
                let detail = "the run was cancelled, and not all of it could be undone";
                WorkflowError::standard("runtime", "Compensation failed", detail)
            }
            (Some(error), _) => error,
        };
        let error = WorkflowError { uncompensated: undo.dead_ends.into(), ..error };
        self.end(Status::Faulted, Command::Fault { error });
    }
}
