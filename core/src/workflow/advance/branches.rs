//! Branches: opened, closed, and taken away with all that hangs on them.

use super::super::command::Command;
use super::super::definition::Kind;
use super::super::state::{Branch, Frame, Pending, WaitsFor};
use super::{Doing, Run, push_turns, step_id};
use serde_json::Value;

impl<'a> Run<'a> {
    /// The run's own branch.
    pub(super) fn open_root(&mut self, list: usize, data: Value) {
        let frames = vec![Frame { list, data, ..Frame::default() }];
        self.state.branches.push(Branch { frames, ..Branch::default() });
        self.here = self.state.branches.len().saturating_sub(1);
    }

    /// A branch of the current one; `end` tells its step ids from its brothers'.
    pub(super) fn open_branch(
        &mut self,
        list: usize,
        data: Value,
        place: u64,
        vars: Vec<Value>,
        end: &str,
    ) {
        let parent = self.branch();
        let mut suffix = parent.suffix.clone();
        push_turns(&mut suffix, &parent.frames);
        suffix.push_str(end);
        let retried = self.under_retry();
        let spins = if retried { self.attempt().saturating_sub(1) } else { 0 };
        let branch = Branch {
            id: self.state.next_branch,
            parent: Some(parent.id),
            place,
            suffix,
            vars,
            frames: vec![Frame { list, data, ..Frame::default() }],
            pending: None,
            timer: None,
            spins,
            retried,
            resume: None,
        };
        self.state.next_branch += 1;
        self.state.branches.push(branch);
    }

    /// The variables of the current branch, for branches that it opens.
    pub(super) fn locals(&self) -> Vec<Value> {
        self.scope(super::Place::default()).locals()
    }

    /// The current branch has gone all its way: it is no more, and the branch that waits for it is
    /// the current one. `None`: it is nobody's branch.
    pub(super) fn leave_branch(&mut self) -> Option<Branch> {
        self.branch().parent?;
        let branch = self.state.branches.remove(self.here);
        if let Some(timer) = &branch.timer {
            self.commands.push(Command::ClearTimer { step: timer.step.clone() });
        }
        let parent = branch.parent.unwrap_or_default();
        self.here = self.state.branches.iter().position(|b| b.id == parent)?;
        if branch.retried {
            // Its attempts count for whatever is tried again after it.
            let base = self.retry_base();
            let parent = self.branch_mut();
            parent.spins = parent.spins.max(base.saturating_add(branch.spins));
        }
        Some(branch)
    }

    /// What the current branch waits for is not wanted any more.
    pub(super) fn close_pending(&mut self) {
        let Some(pending) = self.drop_pending() else { return };
        if let Ok(task) = self.current() {
            let Pending { step, attempt, began_ms, input, .. } = pending;
            let doing = Doing { task, step, attempt, began_ms };
            self.record(&doing, "cancelled", input, None, None);
        }
    }

    /// The same, for a step that has another end.
    pub(super) fn drop_pending(&mut self) -> Option<Pending> {
        let pending = self.branch_mut().pending.take()?;
        let id = self.branch().id;
        self.close_children(id);
        self.withdraw(&pending);
        Some(pending)
    }

    /// The shell need not go on with what a step has asked for. What it has not even been told is
    /// taken back.
    fn withdraw(&mut self, pending: &Pending) {
        let step = &pending.step;
        let kept = pending.join.as_ref().is_some_and(|j| j.kept);
        let before = self.commands.len();
        self.commands.retain(|c| c.asks() != Some(step.as_str()));
        let untold = self.commands.len() < before;
        let asked =
            matches!(pending.waits_for, WaitsFor::Result | WaitsFor::Events | WaitsFor::Page);
        if asked && !untold {
            self.commands.push(Command::Withdraw { step: step.clone() });
        }
        if kept {
            self.commands.push(Command::Forget { step: step.clone() });
        }
    }

    /// Closes the branches of a branch, the last first.
    pub(super) fn close_children(&mut self, id: u64) {
        let here = self.here;
        while let Some(at) = self.state.branches.iter().rposition(|b| b.parent == Some(id)) {
            self.here = at;
            self.close_branch();
        }
        self.here = here;
    }

    /// Takes the current branch away, whatever it does.
    pub(super) fn close_branch(&mut self) {
        self.close_pending();
        while self.close_frame().is_some() {}
        // Branches that it opened stand behind it, and are gone.
        let branch = self.state.branches.remove(self.here);
        if let Some(timer) = branch.timer {
            self.commands.push(Command::ClearTimer { step: timer.step });
        }
    }

    /// Drops the innermost list of the current branch, whose task ends without an outcome.
    pub(super) fn close_frame(&mut self) -> Option<()> {
        let (frame, doing) = self.pop_frame()?;
        if let Some(doing) = doing {
            self.record(&doing, "cancelled", frame.input, None, None);
        }
        Some(())
    }

    /// The innermost list of the current branch, with the task whose list it was.
    pub(super) fn pop_frame(&mut self) -> Option<(Frame, Option<Doing<'a>>)> {
        let branch = self.branch_mut();
        let frame = branch.frames.pop()?;
        let Some(task) = self.owner(&frame) else { return Some((frame, None)) };
        let branch = self.branch();
        let step = step_id(task, &branch.suffix, &branch.frames);
        if frame.turn.as_ref().is_some_and(|t| t.total > 0) {
            self.commands.push(Command::Forget { step: step.clone() });
        }
        let attempt = frame.attempt.max(1);
        let doing = Doing { task, step, attempt, began_ms: frame.began_ms };
        Some((frame, Some(doing)))
    }

    /// Which attempt at the next step of the current branch this is: it counts the retries of
    /// whatever may start the step again.
    pub(super) fn attempt(&self) -> u32 {
        if !self.under_retry() {
            return 1;
        }
        self.branch().spins.saturating_sub(self.retry_base()).saturating_add(1)
    }

    pub(super) fn under_retry(&self) -> bool {
        let branch = self.branch();
        branch.retried || branch.frames.iter().any(|frame| self.retries(frame))
    }

    /// Retries of the branch before the outermost try was begun that may start its steps again.
    fn retry_base(&self) -> u32 {
        let branch = self.branch();
        if branch.retried {
            return 0;
        }
        branch.frames.iter().find(|f| self.retries(f)).map_or(0, |f| f.spins)
    }

    fn retries(&self, frame: &Frame) -> bool {
        let owner = self.owner(frame).map(|task| &task.kind);
        matches!(owner, Some(Kind::Try(clause)) if clause.retry.is_some())
    }
}
