//! Timers: at most one for each branch, for whatever comes first.

use super::super::WorkflowError;
use super::super::command::Command;
use super::super::definition::Kind;
use super::super::state::{Pending, Timer, WaitsFor, Why};
use super::super::{call, duration};
use super::{Doing, Run, after, step_id};

impl<'a> Run<'a> {
    /// The time of a step or task has come; false if no branch has such a timer.
    pub(super) fn timer_fired(&mut self, step: &str) -> Result<bool, WorkflowError> {
        let timers = |b: &super::Branch| b.timer.as_ref().is_some_and(|t| t.step == step);
        // A state from before timers were noted has only what it waits for.
        let waits = |b: &super::Branch| {
            let pending = b.pending.as_ref().filter(|p| b.timer.is_none() && p.step == step);
            pending.is_some_and(|p| matches!(p.waits_for, WaitsFor::Timer | WaitsFor::Retry))
        };
        let branches = &self.state.branches;
        let found = branches.iter().position(timers).or_else(|| branches.iter().position(waits));
        let Some(here) = found else { return Ok(false) };
        self.here = here;
        let branch = self.branch_mut();
        let waits_for = branch.pending.as_ref().map(|p| p.waits_for);
        let why = match (branch.timer.take(), waits_for) {
            (Some(timer), _) => timer.why,
            (None, Some(WaitsFor::Timer)) => Why::Wait,
            (None, _) => Why::Retry,
        };
        match why {
            Why::Wait => {
                let input = self.branch().pending.as_ref().map(|p| p.input.clone());
                return self.answered(Ok(input.unwrap_or_default()));
            }
            Why::Retry => {
                self.branch_mut().pending = None;
                self.again();
            }
            Why::Timeout => self.task_times_out(step)?,
            Why::AttemptTimeout => self.list_times_out(step, true),
        }
        Ok(true)
    }

    fn task_times_out(&mut self, step: &str) -> Result<(), WorkflowError> {
        let waits = self
            .branch()
            .pending
            .as_ref()
            .is_some_and(|p| p.step == step && p.deadline_ms.is_some());
        if !waits {
            self.list_times_out(step, false);
            return Ok(());
        }
        let task = self.current()?;
        if let Some(Pending { step, attempt, began_ms, input, .. }) = self.drop_pending() {
            let doing = Doing { task, step, attempt, began_ms };
            let error = self.failed(&doing, input, late("the task took longer than its timeout"));
            self.raise(error);
        }
        Ok(())
    }

    /// The time of a task with a list is over, or (`attempt`) that of an attempt at the list.
    fn list_times_out(&mut self, step: &str, attempt: bool) {
        let branch = self.branch();
        let place = (0..branch.frames.len()).find(|i| {
            let owner = branch.frames.get(*i).and_then(|frame| self.owner(frame));
            let outer = branch.frames.get(..*i).unwrap_or_default();
            owner.is_some_and(|task| step_id(task, &branch.suffix, outer) == step)
        });
        let Some(place) = place else { return };
        self.close_pending();
        while self.branch().frames.len() > place + 1 {
            self.close_frame();
        }
        if attempt {
            if let Some(frame) = self.branch_mut().frames.last_mut() {
                frame.attempt_deadline_ms = None;
            }
            let error = late("the attempt took longer than the duration of its limit");
            return self.raise(error.at(step));
        }
        if let Some((frame, Some(doing))) = self.pop_frame() {
            let error = late("the task took longer than its timeout");
            let error = self.failed(&doing, frame.input, error);
            self.raise(error);
        }
    }

    /// Tells the shell where timers have changed.
    pub(super) fn settle_timers(&mut self) {
        for here in 0..self.state.branches.len() {
            self.here = here;
            let due = self.due();
            let old = &self.branch().timer;
            if old.as_ref() == due.as_ref().map(|(timer, _)| timer) {
                continue;
            }
            if let Some(old) = old
                && due.as_ref().is_none_or(|(timer, _)| timer.step != old.step)
            {
                let step = old.step.clone();
                self.commands.push(Command::ClearTimer { step });
            }
            let timer = due.map(|(timer, name)| {
                self.commands.push(self.set(&timer, name));
                timer
            });
            self.branch_mut().timer = timer;
        }
    }

    fn set(&self, timer: &Timer, name: &str) -> Command {
        let for_ms = timer.at_ms.saturating_sub(self.now_ms).max(0).unsigned_abs();
        Command::SetTimer {
            step: timer.step.clone(),
            name: name.to_owned(),
            for_ms,
            why: timer.why,
        }
    }

    /// What the current branch's timer is for, and the name of that task.
    fn due(&self) -> Option<(Timer, &'a str)> {
        let branch = self.branch();
        let pending = branch.pending.as_ref();
        let wake = pending.and_then(|p| p.wake_ms);
        let deadline = pending.and_then(|p| p.deadline_ms);
        let of_frames = branch.frames.iter().enumerate().flat_map(|(i, f)| {
            [f.deadline_ms.map(|at| (at, i, false)), f.attempt_deadline_ms.map(|at| (at, i, true))]
        });
        let frame = of_frames.flatten().min_by_key(|(at, ..)| *at);
        let first = wake.into_iter().chain(deadline).chain(frame.map(|(at, ..)| at)).min()?;
        if let Some(pending) = pending.filter(|_| wake == Some(first) || deadline == Some(first)) {
            let why = match (wake == Some(first), pending.waits_for) {
                (true, WaitsFor::Retry) => Why::Retry,
                (true, _) => Why::Wait,
                (false, _) => Why::Timeout,
            };
            let step = pending.step.clone();
            return Some((Timer { step, at_ms: first, why }, self.waiting_name()));
        }
        let (at_ms, place, attempt) = frame?;
        let owner = branch.frames.get(place).and_then(|frame| self.owner(frame))?;
        let step = step_id(owner, &branch.suffix, branch.frames.get(..place)?);
        let why = if attempt { Why::AttemptTimeout } else { Why::Timeout };
        Some((Timer { step, at_ms, why }, &owner.name))
    }

    /// The name of the task that the current branch waits in.
    fn waiting_name(&self) -> &'a str {
        let branch = self.branch();
        let retries = branch.pending.as_ref().is_some_and(|p| p.waits_for == WaitsFor::Retry);
        let task = match branch.frames.last().and_then(|frame| self.owner(frame)) {
            Some(task) if retries => Some(task),
            None if retries => {
                self.state.saga.last().and_then(|done| self.definition.tasks.get(done.task))
            }
            _ => self.current().ok(),
        };
        task.map_or("", |task| &task.name)
    }

    /// The timer of the current branch once more.
    pub(super) fn timer_again(&self) -> Option<Command> {
        let branch = self.branch();
        if let Some(timer) = &branch.timer {
            return Some(self.set(timer, self.waiting_name()));
        }
        let pending = branch.pending.as_ref()?;
        // A state from before timers were noted.
        let (for_ms, why) = match pending.waits_for {
            WaitsFor::Retry => (0, Why::Retry),
            WaitsFor::Timer => {
                let task = self.current().ok()?;
                let Kind::Wait(length) = &task.kind else { return None };
                let (step, attempt) = (pending.step.clone(), pending.attempt);
                let doing = Doing { task, step, attempt, began_ms: pending.began_ms };
                let scope = self.task_scope(&doing, &pending.input);
                let length = scope.render(length, &pending.input).ok()?;
                (duration::millis(&length).ok()?, Why::Wait)
            }
            _ => return None,
        };
        let at_ms = after(self.now_ms, for_ms);
        Some(self.set(&Timer { step: pending.step.clone(), at_ms, why }, self.waiting_name()))
    }

    /// What the current branch asks for, once more.
    pub(super) fn ask_again(&self) -> Result<Option<Command>, WorkflowError> {
        let Some(pending) = &self.branch().pending else { return Ok(None) };
        let step = pending.step.clone();
        let limit = self.definition.limits.page_items as u64;
        match (pending.waits_for, &pending.join) {
            (WaitsFor::Page, _) => {
                let turn = self.branch().frames.last().and_then(|f| f.turn.as_ref());
                let from = turn.map_or(0, |t| t.at as u64 + 1);
                return Ok(Some(Command::Page { step, from, limit }));
            }
            (WaitsFor::Branches, Some(join)) if join.asked => {
                let from = join.next + join.items.len() as u64;
                return Ok(Some(Command::Page { step, from, limit }));
            }
            (WaitsFor::Result | WaitsFor::Events, _) => {}
            _ => return Ok(None),
        }
        let task = self.current()?;
        let (attempt, began_ms) = (pending.attempt, pending.began_ms);
        let doing = Doing { task, step, attempt, began_ms };
        let scope = self.task_scope(&doing, &pending.input);
        if let Kind::Listen(listen) = &task.kind {
            let none = Default::default();
            let correlated = pending.listening.as_ref().map_or(&none, |l| &l.correlated);
            let wants = listen.to.wants(correlated, &scope, &pending.input)?;
            let (step, name) = (doing.step.clone(), task.name.clone());
            return Ok(Some(Command::Listen { step, name, attempt, wants }));
        }
        call::command(task, &scope, &doing.step, attempt, &pending.input)
    }
}

fn late(detail: &str) -> WorkflowError {
    WorkflowError::standard("timeout", "Timeout", detail)
}
