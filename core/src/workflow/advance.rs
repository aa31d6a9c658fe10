//! The interpreter: one event in, a new state and commands out.

mod begin;
mod branches;
mod ends;
mod fault;
mod finish;
mod joins;
mod listen;
mod lists;
mod pages;
mod retry;
mod saga;
mod size;
mod timers;

use super::command::{Advanced, Command, Ignored, StepRecord};
use super::definition::{Definition, Kind, Task};
use super::event::Event;
use super::scope::{Place, Scope};
use super::state::{Branch, Frame, Frozen, State, Status, WaitsFor};
use super::{Runtime, WorkflowError};
pub use retry::NoRetry;
use serde_json::Value;

/// What the run does next, in answer to `event`; `now` is RFC 3339.
///
/// It goes on through tasks that need nothing from outside until all branches wait, or the run
/// ends. An event the state does not wait for changes nothing, which [`Advanced::ignored`] says.
/// `Err` means that the call itself is wrong: no state and no [`Event::Start`], or a state of
/// another definition.
pub fn advance(
    definition: &Definition,
    runtime: &Runtime,
    state: Option<State>,
    event: Event,
    now: &str,
) -> Result<Advanced, WorkflowError> {
    let started = state.is_some();
    let mut run = Run::new(definition, runtime, state.unwrap_or_else(State::new), now);
    match (event, started) {
        (Event::Start { input }, false) => run.start(input),
        (_, false) => return Err(foreign("a run begins with the event start")),
        (event, true) => run.take(event)?,
    }
    run.go_on()?;
    run.check_size()?;
    run.settle_timers();
    run.settle_status();
    let Run { state, commands, records, ignored, .. } = run;
    Ok(Advanced { state, commands, records, ignored })
}

/// The commands that a stored run waits for the answers to, as [`advance`] gave them: for a shell
/// that comes back to the run with nothing but its state. There are none once it has ended.
pub fn pending_commands(
    definition: &Definition,
    runtime: &Runtime,
    state: &State,
    now: &str,
) -> Result<Vec<Command>, WorkflowError> {
    let mut run = Run::new(definition, runtime, state.clone(), now);
    for here in 0..run.state.branches.len() {
        run.here = here;
        let asked = run.ask_again()?;
        run.commands.extend(asked);
        let timer = run.timer_again();
        run.commands.extend(timer);
    }
    Ok(run.commands)
}

/// The command of one step that a stored run waits for the answer to; none if it does not.
pub fn pending_command(
    definition: &Definition,
    runtime: &Runtime,
    state: &State,
    step: &str,
    now: &str,
) -> Result<Option<Command>, WorkflowError> {
    let waits = |b: &Branch| b.pending.as_ref().is_some_and(|p| p.step == step);
    let Some(here) = state.branches.iter().position(waits) else { return Ok(None) };
    let mut run = Run::new(definition, runtime, state.clone(), now);
    run.here = here;
    run.ask_again()
}

fn foreign(detail: &str) -> WorkflowError {
    WorkflowError::standard("configuration", "Invalid call", detail)
}

/// One call of [`advance`].
struct Run<'a> {
    definition: &'a Definition,
    runtime: &'a Runtime,
    now: &'a str,
    now_ms: i64,
    state: State,
    /// The place of the branch that is gone on with, in the state's list.
    here: usize,
    commands: Vec<Command>,
    records: Vec<StepRecord>,
    ignored: Option<Ignored>,
    /// Where the run stood when the error that is on its way out came.
    frozen: Option<Box<Frozen>>,
}

/// What a task's run needs on its way to its end.
struct Doing<'a> {
    task: &'a Task,
    step: String,
    attempt: u32,
    began_ms: i64,
}

impl<'a> Run<'a> {
    fn new(definition: &'a Definition, runtime: &'a Runtime, state: State, now: &'a str) -> Self {
        let now_ms = millis(now);
        let (commands, records) = (Vec::new(), Vec::new());
        Run {
            definition,
            runtime,
            now,
            now_ms,
            state,
            here: 0,
            commands,
            records,
            ignored: None,
            frozen: None,
        }
    }

    /// Lets the run take an event.
    fn take(&mut self, event: Event) -> Result<(), WorkflowError> {
        if self.state.is_terminal() {
            self.ignored = Some(Ignored::Ended);
            return Ok(());
        }
        match event {
            Event::Start { .. } => self.ignored = Some(Ignored::Started),
            Event::Cancelled { compensate } => self.cancel(compensate),
            Event::TimedOut => self.time_is_over(),
            Event::Suspended if !self.state.suspended => self.state.suspended = true,
            Event::Suspended => self.ignored = Some(Ignored::Suspended),
            Event::Resumed if self.state.suspended => {
                self.state.suspended = false;
                for event in std::mem::take(&mut self.state.parked) {
                    self.take_for_step(event)?;
                    self.ignored = None;
                }
            }
            Event::Resumed => self.ignored = Some(Ignored::NotSuspended),
            event if self.state.suspended => self.park(event),
            event => self.take_for_step(event)?,
        }
        Ok(())
    }

    fn take_for_step(&mut self, event: Event) -> Result<(), WorkflowError> {
        let taken = match event {
            Event::Done { step, output } => match self.waiting(&step, &[WaitsFor::Result]) {
                true => self.answered(Ok(output))?,
                false => false,
            },
            Event::Failed { step, error } => self.step_failed(&step, error)?,
            Event::TimerFired { step } => self.timer_fired(&step)?,
            Event::Heard { step, event } => match self.waiting(&step, &[WaitsFor::Events]) {
                true => {
                    self.heard(&event)?;
                    true
                }
                false => false,
            },
            Event::Page { step, from, items } => self.page_came(&step, from, items)?,
            _ => false,
        };
        if !taken {
            self.ignored = Some(Ignored::NotAwaited);
        }
        Ok(())
    }

    fn step_failed(&mut self, step: &str, error: WorkflowError) -> Result<bool, WorkflowError> {
        if self.waiting(step, &[WaitsFor::Page, WaitsFor::Branches]) {
            return self.page_failed(error);
        }
        if !self.waiting(step, &[WaitsFor::Result, WaitsFor::Timer, WaitsFor::Events]) {
            return Ok(false);
        }
        let id = self.branch().id;
        self.close_children(id);
        self.answered(Err(error))
    }

    /// Keeps what a suspended run waits for until it goes on, once for each step.
    fn park(&mut self, event: Event) {
        let known =
            event.step().is_some_and(|step| {
                self.state.pending_steps().any(|s| s == step)
                    || self.state.timers().any(|s| s == step)
                    || self.state.branches.iter().any(|b| {
                        b.pending.as_ref().is_some_and(|p| p.step == step && p.join.is_some())
                    })
            });
        self.ignored = Some(match event {
            // Whoever has the event keeps it.
            Event::Heard { .. } => Ignored::Suspended,
            _ if !known || self.state.parked.iter().any(|p| p.step() == event.step()) => {
                Ignored::NotAwaited
            }
            event => {
                self.state.parked.push(event);
                Ignored::Parked
            }
        });
    }

    /// Goes to the branch that waits for this of this step.
    fn waiting(&mut self, step: &str, kinds: &[WaitsFor]) -> bool {
        let found = self.state.branches.iter().position(|b| {
            b.pending.as_ref().is_some_and(|p| p.step == step && kinds.contains(&p.waits_for))
        });
        self.here = found.unwrap_or(self.here);
        found.is_some()
    }

    /// The step that the branch waits for has an output or an error.
    fn answered(&mut self, result: Result<Value, WorkflowError>) -> Result<bool, WorkflowError> {
        let task = self.current()?;
        let Some(pending) = self.branch_mut().pending.take() else { return Ok(false) };
        let (step, attempt, began_ms) = (pending.step, pending.attempt, pending.began_ms);
        let doing = Doing { task, step, attempt, began_ms };
        let finished = match result {
            Ok(output) => {
                let output = match &task.kind {
                    Kind::Run(run) if !run.returns => Value::Null,
                    _ => output,
                };
                self.finish(&doing, pending.input, output, None)
            }
            Err(error) => Err(self.failed(&doing, pending.input, error)),
        };
        if let Err(error) = finished {
            self.raise(error);
        }
        Ok(true)
    }

    /// Runs tasks until every branch waits or the run ends.
    fn go_on(&mut self) -> Result<(), WorkflowError> {
        while !self.state.is_terminal() && !self.state.suspended {
            let free = self.state.branches.iter().position(|b| b.pending.is_none());
            let Some(here) = free else { break };
            self.here = here;
            self.go_one_on()?;
        }
        Ok(())
    }

    /// One task of the branch, or the end of one of its lists.
    fn go_one_on(&mut self) -> Result<(), WorkflowError> {
        let frame = self.branch().frames.last().ok_or_else(|| foreign("no task list is open"))?;
        let list = self.definition.lists.get(frame.list);
        let list = list.ok_or_else(|| foreign("the state is of another definition"))?;
        if frame.index >= list.items.len() {
            return self.end_list();
        }
        let limit = self.definition.limits.max_executed;
        let executed = match &mut self.state.undo {
            Some(undo) => &mut undo.executed,
            None => &mut self.state.executed,
        };
        if *executed >= limit {
            let detail =
                format!("the run started more than {limit} tasks; look for a loop without an end");
            let error = WorkflowError::standard("runtime", "Too many tasks", detail);
            self.fault(error);
            return Ok(());
        }
        *executed += 1;
        let task = self.current()?;
        if let Err(error) = self.begin(task) {
            self.raise(error);
        }
        Ok(())
    }

    fn branch(&self) -> &Branch {
        &self.state.branches[self.here]
    }

    fn branch_mut(&mut self) -> &mut Branch {
        &mut self.state.branches[self.here]
    }

    /// The task the branch's innermost list is at.
    fn current(&self) -> Result<&'a Task, WorkflowError> {
        let frame = self.branch().frames.last();
        let list = frame.and_then(|f| self.definition.lists.get(f.list));
        let id = frame.zip(list).and_then(|(f, list)| list.items.get(f.index));
        let task = id.and_then(|id| self.definition.tasks.get(*id));
        task.ok_or_else(|| foreign("the state is of another definition"))
    }

    fn owner(&self, frame: &Frame) -> Option<&'a Task> {
        frame.owner.and_then(|id| self.definition.tasks.get(id))
    }

    fn scope<'s>(&'s self, place: Place<'s>) -> Scope<'s> {
        let branch = self.state.branches.get(self.here);
        Scope::new(self.definition, self.runtime, &self.state, branch, place)
    }

    fn task_scope<'s>(&'s self, doing: &'s Doing<'a>, input: &'s Value) -> Scope<'s> {
        self.scope(place(doing, input))
    }

    /// Notes the failure of a step and says where the error comes from.
    fn failed(&mut self, doing: &Doing<'a>, input: Value, error: WorkflowError) -> WorkflowError {
        let error = error.at(&doing.step);
        self.record(doing, "faulted", input, None, Some(error.to_value()));
        error
    }

    fn record(
        &mut self,
        doing: &Doing<'a>,
        status: &'static str,
        input: Value,
        output: Option<Value>,
        error: Option<Value>,
    ) {
        self.records.push(StepRecord {
            step: doing.step.clone(),
            name: doing.task.name.clone(),
            attempt: doing.attempt,
            status,
            input,
            output,
            error,
        });
    }

    fn settle_status(&mut self) {
        if self.state.is_terminal() {
            return;
        }
        let busy = |b: &Branch| {
            let waits_for = b.pending.as_ref().map(|p| p.waits_for);
            matches!(waits_for, None | Some(WaitsFor::Result | WaitsFor::Page))
        };
        self.state.status = match self.state.suspended {
            true => Status::Suspended,
            false if self.state.branches.iter().any(busy) => Status::Running,
            false => Status::Waiting,
        };
    }
}

fn place<'p>(doing: &'p Doing<'_>, input: &'p Value) -> Place<'p> {
    Place {
        task: Some(doing.task),
        step: &doing.step,
        raw_input: Some(input),
        input: Some(input),
        began_ms: doing.began_ms,
        ..Place::default()
    }
}

/// The id of a task in the list below these.
pub(super) fn step_id(task: &Task, suffix: &str, frames: &[Frame]) -> String {
    let mut id = String::with_capacity(task.pointer.len() + suffix.len() + 8);
    id.push_str(&task.pointer);
    id.push_str(suffix);
    push_turns(&mut id, frames);
    id
}

/// What tells the turns of lists apart.
pub(super) fn push_turns(id: &mut String, frames: &[Frame]) {
    use std::fmt::Write;
    for frame in frames {
        // Writing to a String cannot fail.
        if let Some(turn) = &frame.turn {
            let _ = write!(id, "#{}", turn.at);
        }
        if frame.round > 0 {
            let _ = write!(id, "@{}", frame.round);
        }
    }
}

fn millis(rfc3339: &str) -> i64 {
    chrono::DateTime::parse_from_rfc3339(rfc3339).map_or(0, |at| at.timestamp_millis())
}

/// Milliseconds from now.
fn after(now_ms: i64, ms: u64) -> i64 {
    now_ms.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX))
}
