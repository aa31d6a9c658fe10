//! Another try at a run that ended without success: from the step that failed, or an earlier one.

use super::super::definition::Definition;
use super::super::state::{Branch, Frozen, State, Status, WaitsFor};
use super::Run;
use crate::json::merge_patch;
use serde_json::Value;

/// Why a run cannot be gone on with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoRetry {
    /// Nothing is kept of where it stood: it has completed, or what it did was undone.
    NotKept,
    /// The step is not among those that come before the failed one in the lists that are open.
    NoSuchStep,
}

impl Run<'_> {
    /// Notes where the run stands, before an error takes it apart.
    pub(super) fn freeze(&mut self, failed: bool) {
        if self.frozen.is_some() || self.state.undo.is_some() {
            return;
        }
        let record = self.records.last().filter(|record| failed && record.status == "faulted");
        let input = record.map(|record| record.input.clone());
        self.frozen = Some(Box::new(Frozen {
            branches: self.state.branches.clone(),
            context: self.state.context.clone(),
            executed: self.state.executed,
            failing: input.map(|input| (self.branch().id, input)),
            at_ms: self.now_ms,
        }));
    }
}

impl State {
    /// Whether there is something to go on with.
    pub fn may_retry(&self) -> bool {
        self.frozen.is_some()
    }

    /// The state, suspended, in which the run tries again what failed. `from` names an earlier step
    /// of the lists that are open, by its name or pointer, and gives its input; `patch` is merged
    /// into the input. What other branches waited for begins anew.
    pub fn retry(
        mut self,
        definition: &Definition,
        from: Option<(&str, Value)>,
        patch: Option<&Value>,
        now_ms: i64,
    ) -> Result<State, NoRetry> {
        let frozen = *self.frozen.take().ok_or(NoRetry::NotKept)?;
        let passed_ms = now_ms.saturating_sub(frozen.at_ms);
        self.branches = frozen.branches;
        self.context = frozen.context;
        self.executed = frozen.executed;
        for branch in &mut self.branches {
            branch.begin_anew(passed_ms);
        }
        let (id, input) = match frozen.failing {
            Some((id, input)) => (id, Some(input)),
            None => (self.branches.last().map_or(0, |b| b.id), None),
        };
        let branch = self.branches.iter_mut().find(|b| b.id == id).ok_or(NoRetry::NotKept)?;
        let mut input = input.or(branch.resume.take());
        if let Some((step, given)) = from {
            branch.go_back(definition, step)?;
            input = Some(given);
        }
        let mut input = input.ok_or(NoRetry::NotKept)?;
        if let Some(patch) = patch {
            merge_patch(&mut input, patch);
        }
        branch.resume = Some(input);
        branch.spins = branch.spins.saturating_add(1);
        branch.retried = true;
        self.status = Status::Suspended;
        self.suspended = true;
        Ok(self)
    }
}

impl Branch {
    /// What it waited for is asked for once more; its time begins where it stood.
    fn begin_anew(&mut self, passed_ms: i64) {
        self.timer = None;
        for frame in &mut self.frames {
            for deadline in [&mut frame.deadline_ms, &mut frame.attempt_deadline_ms] {
                *deadline = deadline.map(|at| at.saturating_add(passed_ms));
            }
        }
        let joins = |p: &super::super::state::Pending| p.waits_for == WaitsFor::Branches;
        if let Some(pending) = self.pending.take_if(|p| !joins(p))
            && pending.waits_for != WaitsFor::Retry
        {
            self.resume = Some(pending.input);
            self.spins = self.spins.saturating_add(1);
            self.retried = true;
        }
    }

    /// Goes back to an earlier step of a list that is open.
    fn go_back(&mut self, definition: &Definition, step: &str) -> Result<(), NoRetry> {
        for depth in (0..self.frames.len()).rev() {
            let Some(frame) = self.frames.get(depth) else { continue };
            let Some(list) = definition.lists.get(frame.list) else { continue };
            let named = |id: &usize| {
                definition.tasks.get(*id).is_some_and(|t| t.name == step || t.pointer == step)
            };
            let found = list.items.iter().take(frame.index.saturating_add(1)).position(named);
            let Some(index) = found else { continue };
            self.frames.truncate(depth + 1);
            if let Some(frame) = self.frames.last_mut() {
                frame.index = index;
            }
            return Ok(());
        }
        Err(NoRetry::NoSuchStep)
    }
}
