//! Task lists within a run: opened, turned over item by item, and closed.

use super::super::WorkflowError;
use super::super::definition::{ForLoop, Kind};
use super::super::scope::Place;
use super::super::state::Turn;
use super::{Doing, Run, foreign, frame, millis};
use serde_json::Value;

impl<'a> Run<'a> {
    pub(super) fn open(&mut self, doing: &Doing<'a>, list: usize, input: &Value) {
        self.record(doing, "running", input.clone(), None, None);
        let owner = self.definition.tasks.iter().position(|t| std::ptr::eq(t, doing.task));
        let mut frame = frame(list, owner, input.clone());
        frame.began_ms = millis(self.now);
        self.state.frames.push(frame);
    }

    pub(super) fn open_loop(
        &mut self,
        doing: &Doing<'a>,
        head: &ForLoop,
        input: &Value,
    ) -> Result<(), WorkflowError> {
        let items = match self.task_scope(doing, input).render(&head.items, input)? {
            Value::Array(items) => items,
            _ => {
                let detail = "\"for.in\" must give an array";
                return Err(WorkflowError::standard("expression", "Not an array", detail));
            }
        };
        if items.is_empty() {
            return self.finish(doing, input, input.clone(), None);
        }
        self.open(doing, head.body, input);
        if let Some(frame) = self.state.frames.last_mut() {
            frame.turn = Some(Turn { items, at: 0 });
        }
        match self.keeps_going(head, input) {
            Ok(true) => Ok(()),
            stop => {
                self.state.frames.pop();
                stop?;
                self.finish(doing, input, input.clone(), None)
            }
        }
    }

    /// Whether the loop's `while` holds on `data`, for the turn it is at.
    pub(super) fn keeps_going(&self, head: &ForLoop, data: &Value) -> Result<bool, WorkflowError> {
        match &head.keep_going {
            Some(condition) => self.scope(Place::default()).holds(condition, data),
            None => Ok(true),
        }
    }

    /// The innermost list is through. The inner error is the workflow's.
    #[allow(clippy::type_complexity)]
    pub(super) fn end_list(&mut self) -> Result<Result<(), WorkflowError>, WorkflowError> {
        let Some(owner) = self.state.frames.last().and_then(|f| f.owner) else {
            let data = self.state.frames.pop().map(|f| f.data).unwrap_or_default();
            self.complete(data);
            return Ok(Ok(()));
        };
        let task = self.definition.tasks.get(owner);
        let task = task.ok_or_else(|| foreign("the state is of another definition"))?;
        let more = match &task.kind {
            Kind::For(head) => self.next_turn(head),
            _ => Ok(false),
        };
        if let Ok(true) = more {
            return Ok(Ok(()));
        }
        let Some(frame) = self.state.frames.pop() else { return Ok(Ok(())) };
        let then = match &task.kind {
            Kind::Try(clause) if frame.caught.is_some() => clause.then,
            _ => None,
        };
        let step = self.step_id(task);
        let attempt = self.state.attempts.get(&step).copied().unwrap_or(1);
        let doing = Doing { task, step, attempt };
        self.forget_attempts();
        let finished = more.and_then(|_| self.finish(&doing, &frame.input, frame.data, then));
        Ok(finished.map_err(|error| self.failed(&doing, frame.input, error)))
    }

    /// On to the next item; false when there is none or `while` says stop.
    pub(super) fn next_turn(&mut self, head: &ForLoop) -> Result<bool, WorkflowError> {
        let Some(frame) = self.state.frames.last_mut() else { return Ok(false) };
        let Some(turn) = frame.turn.as_mut() else { return Ok(false) };
        if turn.at + 1 >= turn.items.len() {
            return Ok(false);
        }
        turn.at += 1;
        frame.index = 0;
        frame.round = 0;
        let frame = self.state.frames.last();
        frame.map_or(Ok(false), |frame| self.keeps_going(head, &frame.data))
    }
}
