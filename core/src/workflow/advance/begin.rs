//! Tasks as they begin.

use super::super::command::{Command, Wanted};
use super::super::definition::{Kind, Task, Then};
use super::super::schema;
use super::super::scope::Place;
use super::super::state::{Pending, WaitsFor};
use super::super::{WorkflowError, call, duration};
use super::{Doing, Run, after, step_id};
use serde_json::{Value, json};

/// What a task comes to when it begins.
enum Work {
    /// It is done: its raw output, and where a switch goes.
    Output(Value, Option<Then>),
    /// A task list, and its data.
    List(usize, Value),
    Loop(Vec<Value>),
    Fork,
    /// Something outside does it.
    Ask(Command),
    /// The same without an answer: the raw output is known.
    Tell(Command, Value),
    Sleep(u64),
    Listen(Vec<Wanted>),
}

impl<'a> Run<'a> {
    pub(super) fn start(&mut self, input: Value) {
        let prepared = self.root_data(&input);
        self.state.input = input;
        match prepared {
            Ok(data) => {
                self.state.context = data.clone();
                self.open_root(self.definition.root, data);
            }
            Err(error) => self.fault(error),
        }
    }

    fn root_data(&mut self, input: &Value) -> Result<Value, WorkflowError> {
        let data = &self.definition.data;
        schema::check(data.input_shape.as_ref(), "input", input)?;
        let Some(from) = &data.input_from else { return Ok(input.clone()) };
        self.state.input = input.clone();
        self.scope(Place::default()).render(from, input)
    }

    pub(super) fn begin(&mut self, task: &'a Task) -> Result<(), WorkflowError> {
        let branch = self.branch_mut();
        let raw = match branch.frames.last_mut() {
            Some(frame) => std::mem::take(&mut frame.data),
            None => Value::Null,
        };
        let step = step_id(task, &branch.suffix, &branch.frames);
        let (attempt, began_ms) = (self.attempt(), self.now_ms);
        let doing = Doing { task, step, attempt, began_ms };
        let (runs, input) = match self.branch_mut().resume.take() {
            // It has begun before, with this input.
            Some(input) => (true, input),
            None => match self.prepare(&doing, &raw) {
                Ok((runs, input)) => (runs, input.unwrap_or(raw)),
                Err(error) => return Err(self.failed(&doing, raw, error)),
            },
        };
        if !runs {
            self.record(&doing, "skipped", input.clone(), None, None);
            self.flow(Then::Continue, input);
            return Ok(());
        }
        match self.work(&doing, &input) {
            Ok(Work::Output(raw, then)) => self.finish(&doing, input, raw, then),
            Ok(Work::List(list, data)) => {
                self.open(&doing, list, input, data);
                Ok(())
            }
            Ok(Work::Loop(items)) => self.open_loop(&doing, input, items),
            Ok(Work::Fork) => {
                self.open_fork(&doing, input);
                Ok(())
            }
            Ok(Work::Ask(command)) => {
                self.commands.push(command);
                self.wait(&doing, input, WaitsFor::Result, |_| {});
                Ok(())
            }
            Ok(Work::Tell(command, output)) => {
                self.commands.push(command);
                self.finish(&doing, input, output, None)
            }
            Ok(Work::Sleep(for_ms)) => {
                let wake_ms = after(self.now_ms, for_ms);
                self.wait(&doing, input, WaitsFor::Timer, |p| p.wake_ms = Some(wake_ms));
                Ok(())
            }
            Ok(Work::Listen(wants)) => {
                self.begin_listening(&doing, input, wants);
                Ok(())
            }
            Err(error) => Err(self.failed(&doing, input, error)),
        }
    }

    /// Whether the task runs, and its input where `input.from` makes one.
    fn prepare(
        &self,
        doing: &Doing<'a>,
        raw: &Value,
    ) -> Result<(bool, Option<Value>), WorkflowError> {
        let task = doing.task;
        if task.condition.is_none()
            && task.data.input_shape.is_none()
            && task.data.input_from.is_none()
        {
            return Ok((true, None));
        }
        let place = Place {
            task: Some(task),
            step: &doing.step,
            raw_input: Some(raw),
            began_ms: doing.began_ms,
            ..Place::default()
        };
        let scope = self.scope(place);
        if let Some(condition) = &task.condition
            && !scope.holds(condition, raw)?
        {
            return Ok((false, None));
        }
        schema::check(task.data.input_shape.as_ref(), "input", raw)?;
        let from = task.data.input_from.as_ref();
        Ok((true, from.map(|from| scope.render(from, raw)).transpose()?))
    }

    fn work(&self, doing: &Doing<'a>, input: &Value) -> Result<Work, WorkflowError> {
        let scope = self.task_scope(doing, input);
        Ok(match &doing.task.kind {
            Kind::Set(tree) => Work::Output(scope.render(tree, input)?, None),
            Kind::Switch(cases) => {
                let mut then = None;
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
                Work::Output(input.clone(), then)
            }
            Kind::Raise(error) => return Err(raised(scope.render(error, input)?)),
            Kind::Emit(with) => self.event(doing, scope.render(with, input)?),
            Kind::Do(list) => Work::List(*list, input.clone()),
            Kind::Function(with, list) => Work::List(*list, scope.render(with, input)?),
            Kind::Try(clause) => Work::List(clause.body, input.clone()),
            Kind::For(head) => match scope.render(&head.items, input)? {
                Value::Array(items) => Work::Loop(items),
                _ => {
                    let detail = "\"for.in\" must give an array";
                    return Err(WorkflowError::standard("expression", "Not an array", detail));
                }
            },
            Kind::Fork(_) => Work::Fork,
            Kind::Wait(length) => {
                let length = scope.render(length, input)?;
                let wrong = |e| WorkflowError::standard("validation", "Invalid duration", e);
                Work::Sleep(duration::millis(&length).map_err(wrong)?)
            }
            Kind::Listen(listen) => {
                Work::Listen(listen.to.wants(&Default::default(), &scope, input)?)
            }
            Kind::Run(run) if !run.wait => match self.command(doing, input)? {
                Some(command) => Work::Tell(command, input.clone()),
                None => Work::Output(input.clone(), None),
            },
            _ => match self.command(doing, input)? {
                Some(command) => Work::Ask(command),
                None => Work::Output(input.clone(), None),
            },
        })
    }

    /// The command of a task that something outside does.
    pub(super) fn command(
        &self,
        doing: &Doing<'a>,
        input: &Value,
    ) -> Result<Option<Command>, WorkflowError> {
        let scope = self.task_scope(doing, input);
        call::command(doing.task, &scope, &doing.step, doing.attempt, input)
    }

    /// A CloudEvent with what the author left out filled in; its id is the same if the step is
    /// done again.
    fn event(&self, doing: &Doing<'a>, event: Value) -> Work {
        let mut event = event;
        if let Some(map) = event.as_object_mut() {
            let id = format!("{}{}", self.runtime.run_id, doing.step);
            map.entry("specversion").or_insert_with(|| json!("1.0"));
            map.entry("id").or_insert_with(|| Value::from(id));
            map.entry("time").or_insert_with(|| Value::from(self.now));
        }
        let (step, name) = (doing.step.clone(), doing.task.name.clone());
        let command = Command::Emit { step, name, attempt: doing.attempt, event: event.clone() };
        Work::Tell(command, event)
    }

    /// The branch waits for something.
    pub(super) fn wait(
        &mut self,
        doing: &Doing<'a>,
        input: Value,
        waits_for: WaitsFor,
        more: impl FnOnce(&mut Pending),
    ) {
        let task = doing.task;
        // What is done as one step has its time within the command.
        let whole =
            matches!(task.kind, Kind::Sql(_) | Kind::Notify(_) | Kind::Http(_) | Kind::Report(_));
        let timeout_ms = task.timeout_ms.filter(|_| !whole);
        let mut pending = Pending {
            step: doing.step.clone(),
            waits_for,
            attempt: doing.attempt,
            input: input.clone(),
            began_ms: doing.began_ms,
            wake_ms: None,
            deadline_ms: timeout_ms.map(|ms| after(self.now_ms, ms)),
            join: None,
            listening: None,
        };
        more(&mut pending);
        self.branch_mut().pending = Some(pending);
        let waiting = matches!(waits_for, WaitsFor::Timer | WaitsFor::Events);
        let status = if waiting { "waiting" } else { "running" };
        self.record(doing, status, input, None, None);
    }
}

/// The error a raise task gives; what is not an error object is one of validation.
fn raised(value: Value) -> WorkflowError {
    let problem = |e: String| WorkflowError::standard("validation", "Invalid error", e);
    serde_json::from_value(value).unwrap_or_else(|e| problem(format!("cannot raise it: {e}")))
}
