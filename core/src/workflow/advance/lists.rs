//! Task lists within a run: opened, turned over item by item, and closed.

use super::super::WorkflowError;
use super::super::command::Command;
use super::super::definition::{ForLoop, Kind};
use super::super::scope::Place;
use super::super::state::{Frame, Turn, WaitsFor};
use super::{Doing, Run, after};
use serde_json::Value;

/// Whether a loop goes on.
enum More {
    Yes,
    No,
    /// The next items are on their way.
    Later,
}

impl<'a> Run<'a> {
    /// Opens the list of a task; `data` go into its first task.
    pub(super) fn open(&mut self, doing: &Doing<'a>, list: usize, input: Value, data: Value) {
        self.record(doing, "running", input.clone(), None, None);
        let task = doing.task;
        let attempt_ms = match &task.kind {
            Kind::Try(clause) => clause.retry.as_ref().and_then(|retry| retry.attempt_ms),
            _ => None,
        };
        let frame = Frame {
            list,
            owner: Some(task.id),
            data,
            input,
            began_ms: self.now_ms,
            attempt: if doing.attempt > 1 { doing.attempt } else { 0 },
            spins: self.branch().spins,
            deadline_ms: task.timeout_ms.map(|ms| after(self.now_ms, ms)),
            attempt_deadline_ms: attempt_ms.map(|ms| after(self.now_ms, ms)),
            ..Frame::default()
        };
        self.branch_mut().frames.push(frame);
    }

    pub(super) fn open_loop(
        &mut self,
        doing: &Doing<'a>,
        input: Value,
        items: Vec<Value>,
    ) -> Result<(), WorkflowError> {
        let Kind::For(head) = &doing.task.kind else { return Ok(()) };
        let most = self.definition.limits.max_items;
        if items.len() > most {
            let detail = format!("the loop has {} items, more than {most}", items.len());
            let error = WorkflowError::standard("runtime", "Too many items", detail);
            return Err(self.failed(doing, input, error));
        }
        if head.parallel.is_some() {
            self.open_turns(doing, input, items);
            return Ok(());
        }
        if items.is_empty() {
            return self.finish(doing, input.clone(), input, None);
        }
        let (items, total) = self.keep(doing, items);
        self.open(doing, head.body, input.clone(), input.clone());
        if let Some(frame) = self.branch_mut().frames.last_mut() {
            frame.turn = Some(Turn { items, at: 0, from: 0, total });
        }
        match self.keeps_going(head, &input) {
            Ok(true) => Ok(()),
            stop => {
                self.pop_frame();
                match stop {
                    Ok(_) => self.finish(doing, input.clone(), input, None),
                    Err(error) => Err(self.failed(doing, input, error)),
                }
            }
        }
    }

    /// Hands items over to the shell if there are many; the first of them, and how many there are
    /// if they are not all.
    pub(super) fn keep(&mut self, doing: &Doing<'a>, items: Vec<Value>) -> (Vec<Value>, usize) {
        let limits = &self.definition.limits;
        let total = items.len();
        if total <= limits.max_items_in_state {
            return (items, 0);
        }
        let window = items.iter().take(limits.page_items.max(1)).cloned().collect();
        self.commands.push(Command::Keep { step: doing.step.clone(), items });
        (window, total)
    }

    /// Whether the loop's `while` holds on `data`, for the turn it is at.
    fn keeps_going(&self, head: &ForLoop, data: &Value) -> Result<bool, WorkflowError> {
        match &head.keep_going {
            Some(condition) => self.scope(Place::default()).holds(condition, data),
            None => Ok(true),
        }
    }

    /// The innermost list of the current branch is through.
    pub(super) fn end_list(&mut self) -> Result<(), WorkflowError> {
        let owner = self.branch().frames.last().and_then(|f| self.owner(f));
        let Some(task) = owner else {
            let data = self.branch_mut().frames.pop().map(|f| f.data).unwrap_or_default();
            self.branch_ended(data);
            return Ok(());
        };
        let more = match &task.kind {
            Kind::For(head) => self.next_turn(head),
            _ => Ok(More::No),
        };
        if let Ok(More::Yes | More::Later) = more {
            return Ok(());
        }
        let Some((frame, Some(doing))) = self.pop_frame() else { return Ok(()) };
        let then = match &task.kind {
            Kind::Try(clause) if frame.caught.is_some() => clause.then,
            _ => None,
        };
        let finished = match more {
            Ok(_) => self.finish(&doing, frame.input, frame.data, then),
            Err(error) => Err(self.failed(&doing, frame.input, error)),
        };
        if let Err(error) = finished {
            self.raise(error);
        }
        Ok(())
    }

    /// On to the next item; not if there is none or `while` says stop.
    fn next_turn(&mut self, head: &ForLoop) -> Result<More, WorkflowError> {
        let Some(frame) = self.branch_mut().frames.last_mut() else { return Ok(More::No) };
        let Some(turn) = frame.turn.as_mut() else { return Ok(More::No) };
        let next = turn.at + 1;
        if next >= turn.total() {
            return Ok(More::No);
        }
        if next >= turn.from + turn.items.len() {
            self.ask_for_page(next);
            return Ok(More::Later);
        }
        turn.at = next;
        frame.index = 0;
        frame.round = 0;
        let Some(frame) = self.branch().frames.last() else { return Ok(More::No) };
        Ok(if self.keeps_going(head, &frame.data)? { More::Yes } else { More::No })
    }

    /// The loop whose turn is over waits for its next items.
    fn ask_for_page(&mut self, from: usize) {
        let branch = self.branch();
        let Some((frame, outer)) = branch.frames.split_last() else { return };
        let Some(task) = self.owner(frame) else { return };
        let step = super::step_id(task, &branch.suffix, outer);
        let (attempt, began_ms) = (frame.attempt.max(1), frame.began_ms);
        let limit = self.definition.limits.page_items as u64;
        self.commands.push(Command::Page { step: step.clone(), from: from as u64, limit });
        let pending = super::super::state::Pending {
            step,
            waits_for: WaitsFor::Page,
            attempt,
            input: Value::Null,
            began_ms,
            wake_ms: None,
            deadline_ms: None,
            join: None,
            listening: None,
        };
        self.branch_mut().pending = Some(pending);
    }

    /// Lets all lists of the current branch end, with these data.
    pub(super) fn skip_to_the_end(&mut self, data: Value) {
        while self.branch().frames.len() > 1 {
            let Some((frame, doing)) = self.pop_frame() else { break };
            if let Some(doing) = doing {
                self.record(&doing, "completed", frame.input, Some(data.clone()), None);
            }
        }
        if let Some(frame) = self.branch_mut().frames.last_mut() {
            frame.data = data;
            frame.index = usize::MAX;
        }
    }
}
