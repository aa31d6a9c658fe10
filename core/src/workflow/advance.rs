//! The interpreter: one event in, a new state and commands out.

mod ends;
mod lists;

use super::definition::{Kind, Task, Then};
use super::scope::{Place, Scope};
use super::state::{
    Advanced, Command, Event, Frame, Pending, Runtime, State, Status, StepRecord, WaitsFor,
};
use super::{Definition, WorkflowError, call};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What the run does next, in answer to `event`; `now` is RFC 3339.
///
/// It goes on through tasks that need nothing from outside until a command does, or the run ends.
/// An event the state does not wait for changes nothing. `Err` means that the call itself is
/// wrong: no state and no [`Event::Start`], or a state of another definition.
pub fn advance(
    definition: &Definition,
    runtime: &Runtime,
    state: Option<State>,
    event: Event,
    now: &str,
) -> Result<Advanced, WorkflowError> {
    let started = state.is_some();
    let state = state.unwrap_or_else(|| State {
        status: Status::Running,
        input: Value::Null,
        context: Value::Null,
        frames: Vec::new(),
        pending: None,
        executed: 0,
        attempts: BTreeMap::new(),
    });
    let mut run =
        Run { definition, runtime, now, state, commands: Vec::new(), records: Vec::new() };
    match (event, started) {
        (Event::Start { input }, false) => run.start(input)?,
        (_, false) => return Err(foreign("a run begins with the event start")),
        (Event::Start { .. }, true) => {}
        _ if run.state.is_terminal() => {}
        (Event::Cancelled, true) => run.cancel(),
        (Event::Done { step, output }, true) => {
            if let Some(pending) = run.take_pending(&step, &[WaitsFor::Result]) {
                run.answer(pending, Ok(output))?;
            }
        }
        (Event::Failed { step, error }, true) => {
            if let Some(pending) = run.take_pending(&step, &[WaitsFor::Result, WaitsFor::Timer]) {
                run.answer(pending, Err(error))?;
            }
        }
        (Event::TimerFired { step }, true) => {
            if let Some(pending) = run.take_pending(&step, &[WaitsFor::Timer, WaitsFor::Retry]) {
                run.timer(pending)?;
            }
        }
    }
    run.check_size();
    Ok(Advanced { state: run.state, commands: run.commands, records: run.records })
}

/// The command of the step that a stored run waits for, as [`advance`] gave it: for a shell that
/// comes back to the run with nothing but its state. `None` when there is none: the run has ended
/// or waits to try again.
pub fn pending_command(
    definition: &Definition,
    runtime: &Runtime,
    state: &State,
    now: &str,
) -> Result<Option<Command>, WorkflowError> {
    let Some(pending) = state.pending.as_ref().filter(|p| p.waits_for != WaitsFor::Retry) else {
        return Ok(None);
    };
    let state = state.clone();
    let run = Run { definition, runtime, now, state, commands: Vec::new(), records: Vec::new() };
    let task = run.current()?;
    let doing = Doing { task, step: pending.step.clone(), attempt: pending.attempt };
    let scope = run.task_scope(&doing, &pending.input);
    call::command(task, &scope, &doing.step, doing.attempt, &pending.input)
}

fn foreign(detail: &str) -> WorkflowError {
    WorkflowError::standard("configuration", "Invalid call", detail)
}

/// One call of [`advance`].
struct Run<'a> {
    definition: &'a Definition,
    runtime: &'a Runtime,
    now: &'a str,
    state: State,
    commands: Vec<Command>,
    records: Vec<StepRecord>,
}

/// What a task's run needs on its way to its end.
struct Doing<'a> {
    task: &'a Task,
    step: String,
    attempt: u32,
}

impl<'a> Run<'a> {
    fn start(&mut self, input: Value) -> Result<(), WorkflowError> {
        let data = match &self.definition.input_from {
            Some(from) => {
                self.state.input = input.clone();
                let scope = self.scope(Place::default());
                match scope.render(from, &input) {
                    Ok(data) => data,
                    Err(e) => {
                        self.fault(e);
                        return Ok(());
                    }
                }
            }
            None => input.clone(),
        };
        self.state.input = input;
        self.state.context = data.clone();
        self.state.frames.push(frame(self.definition.root, None, data));
        self.go_on()
    }

    /// Takes what the run waits for if it is this step and of this kind.
    fn take_pending(&mut self, step: &str, kinds: &[WaitsFor]) -> Option<Pending> {
        self.state.pending.take_if(|p| p.step == step && kinds.contains(&p.waits_for))
    }

    fn answer(
        &mut self,
        pending: Pending,
        result: Result<Value, WorkflowError>,
    ) -> Result<(), WorkflowError> {
        self.state.status = Status::Running;
        let doing = Doing { task: self.current()?, step: pending.step, attempt: pending.attempt };
        let finished = match result {
            Ok(output) => self.finish(&doing, &pending.input, output, None),
            Err(error) => Err(error),
        };
        if let Err(error) = finished {
            let error = self.failed(&doing, pending.input, error);
            self.raise(error);
        }
        self.go_on()
    }

    fn timer(&mut self, pending: Pending) -> Result<(), WorkflowError> {
        if pending.waits_for == WaitsFor::Timer {
            let output = pending.input.clone();
            return self.answer(pending, Ok(output));
        }
        self.state.status = Status::Running;
        self.again();
        self.go_on()
    }

    /// The try whose list is innermost begins anew.
    fn again(&mut self) {
        if let Some(frame) = self.state.frames.last_mut() {
            frame.index = 0;
            frame.round = 0;
            frame.data = frame.input.clone();
        }
    }

    /// Runs tasks until one waits or the run ends.
    fn go_on(&mut self) -> Result<(), WorkflowError> {
        while !self.state.is_terminal() && self.state.pending.is_none() {
            let frame = self.state.frames.last().ok_or_else(|| foreign("no task list is open"))?;
            let list = self.definition.lists.get(frame.list);
            let list = list.ok_or_else(|| foreign("the state is of another definition"))?;
            if frame.index >= list.items.len() {
                if let Err(error) = self.end_list()? {
                    self.raise(error);
                }
                continue;
            }
            if self.state.executed >= self.definition.limits.max_executed {
                let detail = format!(
                    "the run started more than {} tasks; look for a loop without an end",
                    self.definition.limits.max_executed
                );
                self.fault(WorkflowError::standard("runtime", "Too many tasks", detail));
                return Ok(());
            }
            self.state.executed += 1;
            let task = self.current()?;
            if let Err(error) = self.begin(task) {
                self.raise(error);
            }
        }
        Ok(())
    }

    /// The task the innermost list is at.
    fn current(&self) -> Result<&'a Task, WorkflowError> {
        let frame = self.state.frames.last();
        let list = frame.and_then(|f| self.definition.lists.get(f.list));
        let id = frame.zip(list).and_then(|(f, list)| list.items.get(f.index));
        let task = id.and_then(|id| self.definition.tasks.get(*id));
        task.ok_or_else(|| foreign("the state is of another definition"))
    }

    fn begin(&mut self, task: &'a Task) -> Result<(), WorkflowError> {
        let raw = match self.state.frames.last_mut() {
            Some(frame) => std::mem::take(&mut frame.data),
            None => Value::Null,
        };
        let step = self.step_id(task);
        let prepared = self.prepare(task, &step, &raw);
        let (runs, input) = match prepared {
            Ok((runs, input)) => (runs, input.unwrap_or(raw)),
            Err(error) => {
                let doing = Doing { task, step, attempt: 1 };
                return Err(self.failed(&doing, raw, error));
            }
        };
        if !runs {
            let doing = Doing { task, step, attempt: 1 };
            self.record(&doing, "skipped", input.clone(), None, None);
            return self.flow(Then::Continue, input);
        }
        let attempt = self.attempt(&step);
        let doing = Doing { task, step, attempt };
        self.perform(&doing, &input).map_err(|error| self.failed(&doing, input, error))
    }

    /// Whether the task runs, and its input where `input.from` makes one.
    fn prepare(
        &self,
        task: &'a Task,
        step: &str,
        raw: &Value,
    ) -> Result<(bool, Option<Value>), WorkflowError> {
        let place = Place { task: Some(task), step, raw_input: Some(raw), ..Place::default() };
        let scope = self.scope(place);
        if let Some(condition) = &task.condition
            && !scope.holds(condition, raw)?
        {
            return Ok((false, None));
        }
        let input = task.input_from.as_ref().map(|from| scope.render(from, raw)).transpose()?;
        Ok((true, input))
    }

    fn perform(&mut self, doing: &Doing<'a>, input: &Value) -> Result<(), WorkflowError> {
        match &doing.task.kind {
            Kind::Set(tree) => {
                let output = self.task_scope(doing, input).render(tree, input)?;
                self.finish(doing, input, output, None)
            }
            Kind::Switch(cases) => {
                let mut then = None;
                let scope = self.task_scope(doing, input);
                for case in cases {
                    let holds = match &case.when {
                        Some(when) => scope.holds(when, input)?,
                        None => true,
                    };
                    if holds {
                        then = Some(case.then);
                        break;
                    }
                }
                self.finish(doing, input, input.clone(), then)
            }
            Kind::Raise(error) => {
                let value = self.task_scope(doing, input).render(error, input)?;
                Err(raised(value))
            }
            Kind::Emit(with) => self.emit(doing, with, input),
            Kind::Do(list) => {
                self.open(doing, *list, input);
                Ok(())
            }
            Kind::Try(clause) => {
                self.open(doing, clause.body, input);
                Ok(())
            }
            Kind::For(head) => self.open_loop(doing, head, input),
            Kind::Sql(_) | Kind::Notify(_) | Kind::Http(_) | Kind::Wait(_) => {
                self.hand_over(doing, input)
            }
        }
    }

    /// Gives a command and waits for what becomes of it.
    fn hand_over(&mut self, doing: &Doing<'a>, input: &Value) -> Result<(), WorkflowError> {
        let scope = self.task_scope(doing, input);
        let command = call::command(doing.task, &scope, &doing.step, doing.attempt, input)?;
        let waits_for = match command {
            Some(Command::Wait { .. }) => WaitsFor::Timer,
            _ => WaitsFor::Result,
        };
        self.commands.extend(command);
        self.wait_for(doing, waits_for, input.clone());
        let status = if waits_for == WaitsFor::Timer { "waiting" } else { "running" };
        self.record(doing, status, input.clone(), None, None);
        Ok(())
    }

    fn wait_for(&mut self, doing: &Doing<'a>, waits_for: WaitsFor, input: Value) {
        let timed = waits_for != WaitsFor::Result;
        self.state.status = if timed { Status::Waiting } else { Status::Running };
        let (step, attempt) = (doing.step.clone(), doing.attempt);
        self.state.pending = Some(Pending { step, waits_for, attempt, input });
    }

    /// A CloudEvent with what the author left out filled in; its id is the same if the step is
    /// done again.
    fn emit(
        &mut self,
        doing: &Doing<'a>,
        with: &crate::jq::Template,
        input: &Value,
    ) -> Result<(), WorkflowError> {
        let mut event = self.task_scope(doing, input).render(with, input)?;
        if let Some(map) = event.as_object_mut() {
            let id = format!("{}{}", self.runtime.run_id, doing.step);
            map.entry("specversion").or_insert_with(|| json!("1.0"));
            map.entry("id").or_insert_with(|| Value::from(id));
            map.entry("time").or_insert_with(|| Value::from(self.now));
        }
        self.commands.push(Command::Emit {
            step: doing.step.clone(),
            name: doing.task.name.clone(),
            attempt: doing.attempt,
            event: event.clone(),
        });
        self.finish(doing, input, event, None)
    }

    /// A task has its raw output: transform, export, and go where it says.
    fn finish(
        &mut self,
        doing: &Doing<'a>,
        input: &Value,
        raw: Value,
        then: Option<Then>,
    ) -> Result<(), WorkflowError> {
        let task = doing.task;
        let output = match &task.output_as {
            Some(transform) => {
                let place = Place { raw_output: Some(&raw), ..place(doing, input) };
                self.scope(place).render(transform, &raw)?
            }
            None => raw,
        };
        if let Some(export) = &task.export_as {
            let place = Place { output: Some(&output), ..place(doing, input) };
            self.state.context = self.scope(place).render(export, &output)?;
        }
        self.record(doing, "completed", input.clone(), Some(output.clone()), None);
        self.flow(then.unwrap_or(task.then), output)
    }

    fn flow(&mut self, then: Then, data: Value) -> Result<(), WorkflowError> {
        if then == Then::End {
            self.complete(data);
            return Ok(());
        }
        let Some(frame) = self.state.frames.last_mut() else { return Ok(()) };
        frame.data = data;
        match then {
            Then::Goto(index) => {
                if index <= frame.index {
                    frame.round += 1;
                }
                frame.index = index;
            }
            Then::Exit => frame.index = usize::MAX,
            Then::Continue | Then::End => frame.index = frame.index.saturating_add(1),
        }
        Ok(())
    }

    /// How often the step was started; kept only where a retry can start it again.
    fn attempt(&mut self, step: &str) -> u32 {
        if !self.under_retry() {
            return 1;
        }
        let count = self.state.attempts.entry(step.to_owned()).or_insert(0);
        *count = count.saturating_add(1);
        *count
    }

    fn under_retry(&self) -> bool {
        self.state.frames.iter().any(|frame| {
            let owner = frame.owner.and_then(|id| self.definition.tasks.get(id));
            matches!(owner.map(|t| &t.kind), Some(Kind::Try(clause)) if clause.retry.is_some())
        })
    }

    fn forget_attempts(&mut self) {
        if !self.state.attempts.is_empty() && !self.under_retry() {
            self.state.attempts.clear();
        }
    }

    /// The id of a task of the innermost list.
    fn step_id(&self, task: &Task) -> String {
        step_id(task, &self.state.frames)
    }

    /// The id of the task whose list is innermost.
    fn owner_step_id(&self, task: &Task) -> String {
        let outer = self.state.frames.split_last().map_or(&[][..], |(_, outer)| outer);
        step_id(task, outer)
    }

    fn scope<'s>(&'s self, place: Place<'s>) -> Scope<'s> {
        Scope::new(self.definition, self.runtime, &self.state, place)
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
}

fn place<'p>(doing: &'p Doing<'_>, input: &'p Value) -> Place<'p> {
    Place {
        task: Some(doing.task),
        step: &doing.step,
        raw_input: Some(input),
        input: Some(input),
        ..Place::default()
    }
}

fn frame(list: usize, owner: Option<usize>, data: Value) -> Frame {
    Frame {
        list,
        owner,
        index: 0,
        input: if owner.is_some() { data.clone() } else { Value::Null },
        data,
        round: 0,
        turn: None,
        retries: 0,
        began_ms: 0,
        caught: None,
    }
}

fn step_id(task: &Task, frames: &[Frame]) -> String {
    let mut id = task.pointer.clone();
    for frame in frames {
        if let Some(turn) = &frame.turn {
            id.push_str(&format!("#{}", turn.at));
        }
        if frame.round > 0 {
            id.push_str(&format!("@{}", frame.round));
        }
    }
    id
}

/// The error a raise task gives; what is not an error object is one of validation.
fn raised(value: Value) -> WorkflowError {
    let problem = |e: String| WorkflowError::standard("validation", "Invalid error", e);
    serde_json::from_value(value).unwrap_or_else(|e| problem(format!("cannot raise it: {e}")))
}

fn millis(rfc3339: &str) -> i64 {
    chrono::DateTime::parse_from_rfc3339(rfc3339).map_or(0, |at| at.timestamp_millis())
}
