//! Forks and parallel loops: branches begun, and their outcomes joined.

use super::super::WorkflowError;
use super::super::command::Command;
use super::super::definition::{Kind, Parallel, Task};
use super::super::state::{Branch, Join, Pending, WaitsFor};
use super::{Doing, Run};
use serde_json::{Value, json};

impl<'a> Run<'a> {
    pub(super) fn open_fork(&mut self, doing: &Doing<'a>, input: Value) {
        let Kind::Fork(fork) = &doing.task.kind else { return };
        let count = fork.branches.len() as u64;
        let join = Join { open: count, total: count, ..Join::default() };
        let vars = self.locals();
        for (place, list) in (0..).zip(&fork.branches) {
            self.open_branch(*list, input.clone(), place, vars.clone(), "");
        }
        self.wait(doing, input, WaitsFor::Branches, |p| p.join = Some(Box::new(join)));
    }

    /// The turns of a parallel loop. Each begins with its item as its data.
    pub(super) fn open_turns(&mut self, doing: &Doing<'a>, input: Value, items: Vec<Value>) {
        let total = items.len() as u64;
        let (items, kept) = self.keep(doing, items);
        let join = Join { total, items, kept: kept > 0, ..Join::default() };
        // The input of a loop over many items is as large as they are.
        let input = if kept > 0 { Value::Null } else { input };
        self.wait(doing, input, WaitsFor::Branches, |p| p.join = Some(Box::new(join)));
        self.go_on_joining(doing.task);
    }

    /// Begins as many turns as may go on at once, and ends the loop after the last.
    pub(super) fn go_on_joining(&mut self, task: &'a Task) {
        let Kind::For(head) = &task.kind else { return };
        let Some(parallel) = &head.parallel else { return };
        let vars = self.locals();
        let limit = self.definition.limits.page_items as u64;
        let Some(pending) = self.branch_mut().pending.as_mut() else { return };
        let step = pending.step.clone();
        let Some(join) = pending.join.as_mut() else { return };
        let room = parallel.max.saturating_sub(join.open).min(join.items.len() as u64);
        let begun: Vec<Value> = join.items.drain(..usize::try_from(room).unwrap_or(0)).collect();
        let first = join.next;
        join.next += room;
        join.open += room;
        let known = join.next + join.items.len() as u64;
        let ask = join.kept && !join.asked && known < join.total && join.items.is_empty();
        join.asked |= ask;
        let over = join.open == 0 && join.next >= join.total;
        if ask {
            self.commands.push(Command::Page { step, from: known, limit });
        }
        for (place, item) in (first..).zip(begun) {
            let mut vars = vars.clone();
            vars.extend([item.clone(), Value::from(place)]);
            self.open_branch(head.body, item, place, vars, &format!("#{place}"));
        }
        if over {
            self.joined(task, None);
        }
    }

    /// A branch of the current one is through.
    pub(super) fn branch_joins(&mut self, branch: &Branch, output: Value) {
        let Ok(task) = self.current() else { return };
        let collected = match &task.kind {
            Kind::For(head) => self.collect(head.parallel.as_ref(), branch, &output),
            _ => Ok(Some(output.clone())),
        };
        let collected = match collected {
            Ok(collected) => collected,
            Err(error) => return self.branch_fails(branch, error),
        };
        let Some(join) = self.join_mut() else { return };
        join.open = join.open.saturating_sub(1);
        match &task.kind {
            Kind::Fork(fork) if fork.compete => self.joined(task, Some(output)),
            Kind::Fork(_) => {
                join.outputs.insert(branch.place, output);
                if join.open == 0 {
                    self.joined(task, None);
                }
            }
            _ => {
                if let Some(value) = collected {
                    join.outputs.insert(branch.place, value);
                }
                self.go_on_joining(task);
            }
        }
    }

    /// What is kept of a turn's output.
    fn collect(
        &self,
        parallel: Option<&Parallel>,
        branch: &Branch,
        output: &Value,
    ) -> Result<Option<Value>, WorkflowError> {
        let Some(filter) = parallel.and_then(|p| p.collect.as_ref()) else { return Ok(None) };
        let place = super::Place { output: Some(output), ..super::Place::default() };
        let scope =
            super::Scope::new(self.definition, self.runtime, &self.state, Some(branch), place);
        let out = filter.run_with(output, &|i| scope.get(i));
        out.map(Some).map_err(|e| WorkflowError::expression(&e))
    }

    /// A branch of the current one has failed.
    pub(super) fn branch_fails(&mut self, branch: &Branch, error: WorkflowError) {
        let Ok(task) = self.current() else { return };
        let parallel = match &task.kind {
            Kind::For(head) => head.parallel.as_ref(),
            _ => None,
        };
        let compete = matches!(&task.kind, Kind::Fork(fork) if fork.compete);
        if let Some(join) = self.join_mut() {
            join.open = join.open.saturating_sub(1);
            join.failed += 1;
            if compete && join.open > 0 {
                return;
            }
            if let Some(parallel) = parallel.filter(|p| p.go_on) {
                if parallel.collect.is_some() {
                    join.outputs.insert(branch.place, json!({"error": error.to_value()}));
                }
                self.go_on_joining(task);
                return;
            }
        }
        if let Some((doing, input)) = self.stop_joining(task) {
            let error = self.failed(&doing, input, error);
            self.raise(error);
        }
    }

    /// The branches are through, or one has won: the task has its output.
    fn joined(&mut self, task: &'a Task, winner: Option<Value>) {
        let join = self.join_mut().map(std::mem::take).unwrap_or_default();
        let kept = join.kept;
        let output = match (winner, &task.kind) {
            (Some(output), _) => output,
            (None, Kind::For(head))
                if head.parallel.as_ref().is_none_or(|p| p.collect.is_none()) =>
            {
                let done = join.total.saturating_sub(join.failed);
                json!({"count": join.total, "completed": done, "failed": join.failed})
            }
            _ => Value::Array(join.outputs.into_values().collect()),
        };
        let Some((doing, input)) = self.stop_joining(task) else { return };
        if kept {
            self.commands.push(Command::Forget { step: doing.step.clone() });
        }
        if let Err(error) = self.finish(&doing, input, output, None) {
            self.raise(error);
        }
    }

    /// The current branch waits no longer; what is left of its branches is closed.
    pub(super) fn stop_joining(&mut self, task: &'a Task) -> Option<(Doing<'a>, Value)> {
        let id = self.branch().id;
        self.close_children(id);
        let pending = self.branch_mut().pending.take()?;
        if pending.join.as_ref().is_some_and(|j| j.kept) {
            self.commands.push(Command::Forget { step: pending.step.clone() });
        }
        if pending.waits_for == WaitsFor::Events {
            self.commands.push(Command::Withdraw { step: pending.step.clone() });
        }
        let Pending { step, attempt, began_ms, input, .. } = pending;
        Some((Doing { task, step, attempt, began_ms }, input))
    }

    pub(super) fn join_mut(&mut self) -> Option<&mut Join> {
        self.branch_mut().pending.as_mut()?.join.as_deref_mut()
    }
}
