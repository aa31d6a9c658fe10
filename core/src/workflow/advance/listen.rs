//! Steps that listen: events let in, and handled one after another.

use super::super::WorkflowError;
use super::super::command::{Command, Ignored, Wanted};
use super::super::definition::{Kind, Read};
use super::super::schema;
use super::super::scope::Place;
use super::super::state::{Branch, Listening, WaitsFor};
use super::super::strategy::{Listen, Mode, Taken, Until};
use super::{Doing, Run, place};
use serde_json::Value;

impl<'a> Run<'a> {
    pub(super) fn begin_listening(&mut self, doing: &Doing<'a>, input: Value, wants: Vec<Wanted>) {
        let (step, name) = (doing.step.clone(), doing.task.name.clone());
        self.commands.push(Command::Listen { step, name, attempt: doing.attempt, wants });
        let listening = Some(Box::new(Listening::default()));
        self.wait(doing, input, WaitsFor::Events, |p| p.listening = listening);
    }

    /// The current branch listens, and this is what comes.
    pub(super) fn heard(&mut self, event: &Value) -> Result<(), WorkflowError> {
        let task = self.current()?;
        let Kind::Listen(listen) = &task.kind else { return Ok(()) };
        let Some(pending) = self.branch_mut().pending.as_mut() else { return Ok(()) };
        let mut listening = pending.listening.take().unwrap_or_default();
        let (step, attempt, began_ms) = (pending.step.clone(), pending.attempt, pending.began_ms);
        let input = std::mem::take(&mut pending.input);
        let doing = Doing { task, step, attempt, began_ms };
        let taken = self.listen_to(listen, event, &mut listening, &doing, &input);
        if let Some(pending) = self.branch_mut().pending.as_mut() {
            pending.input = input;
            pending.listening = Some(listening);
        }
        match taken {
            Ok(true) => self.handle_events(&doing, listen),
            Ok(false) => self.ignored = Some(Ignored::NotWanted),
            Err(error) => self.listening_fails(error),
        }
        Ok(())
    }

    /// Whether the event is consumed.
    fn listen_to(
        &self,
        listen: &Listen,
        event: &Value,
        listening: &mut Listening,
        doing: &Doing<'a>,
        input: &Value,
    ) -> Result<bool, WorkflowError> {
        if listening.over {
            return Ok(false);
        }
        let scope = self.task_scope(doing, input);
        let Listening { met, until_met, correlated, .. } = listening;
        if let Until::Events(until) = &listen.to.until {
            let taken = until.take(event, until_met, correlated, &scope, input)?;
            if taken != Taken::Not {
                listening.over = taken == Taken::Enough;
                return Ok(true);
            }
        }
        let taken = listen.to.take(event, met, correlated, &scope, input)?;
        if taken == Taken::Not {
            return Ok(false);
        }
        let value = match listen.read {
            Read::Data => event.get("data").cloned().unwrap_or_default(),
            Read::Envelope => event.clone(),
        };
        match listen.each {
            Some(_) => listening.queue.push(value),
            None => listening.heard.push(value),
        }
        listening.over = match (&listen.to.mode, &listen.to.until) {
            (Mode::Any, Until::Never | Until::Events(_)) => false,
            (Mode::Any, Until::Condition(condition)) => {
                let so_far = listening.heard.iter().chain(&listening.queue).cloned().collect();
                scope.holds(condition, &Value::Array(so_far))?
            }
            _ => taken == Taken::Enough,
        };
        Ok(true)
    }

    /// Begins with the next event, or ends the step if there will be none.
    fn handle_events(&mut self, doing: &Doing<'a>, listen: &'a Listen) {
        let id = self.branch().id;
        if self.state.branches.iter().any(|b| b.parent == Some(id)) {
            return;
        }
        while let Some((event, index)) = self.next_event() {
            let Some(each) = &listen.each else { break };
            let mut vars = self.locals();
            vars.extend([event.clone(), Value::from(index)]);
            let Some(body) = each.body else {
                let branch = Branch { vars, ..Branch::default() };
                if let Err(error) = self.event_output(doing, listen, &branch, event) {
                    return self.listening_fails(error);
                }
                continue;
            };
            return self.open_branch(body, event, index, vars, &format!("#{index}"));
        }
        let listening = self.branch_mut().pending.as_mut().and_then(|p| p.listening.as_mut());
        let Some(listening) = listening.filter(|l| l.over) else { return };
        let output = Value::Array(std::mem::take(&mut listening.heard));
        let Some((doing, input)) = self.stop_joining(doing.task) else { return };
        if let Err(error) = self.finish(&doing, input, output, None) {
            self.raise(error);
        }
    }

    fn next_event(&mut self) -> Option<(Value, u64)> {
        let listening = self.branch_mut().pending.as_mut()?.listening.as_mut()?;
        // It stays in the queue until it is through.
        let event = listening.queue.first()?.clone();
        let index = listening.begun;
        listening.begun += 1;
        Some((event, index))
    }

    /// The tasks for an event are through.
    pub(super) fn event_handled(&mut self, branch: &Branch, data: Value) {
        let Ok(task) = self.current() else { return };
        let Kind::Listen(listen) = &task.kind else { return };
        let Some(pending) = self.branch().pending.as_ref() else { return };
        let (step, attempt, began_ms) = (pending.step.clone(), pending.attempt, pending.began_ms);
        let doing = Doing { task, step, attempt, began_ms };
        match self.event_output(&doing, listen, branch, data) {
            Ok(()) => self.handle_events(&doing, listen),
            Err(error) => self.listening_fails(error),
        }
    }

    /// Transforms and keeps what became of an event.
    fn event_output(
        &mut self,
        doing: &Doing<'a>,
        listen: &Listen,
        branch: &Branch,
        data: Value,
    ) -> Result<(), WorkflowError> {
        let Some(each) = &listen.each else { return Ok(()) };
        let scope_at = |place| {
            super::Scope::new(self.definition, self.runtime, &self.state, Some(branch), place)
        };
        let output = match &each.data.output_as {
            Some(transform) => {
                let place = Place { raw_output: Some(&data), ..place(doing, &data) };
                scope_at(place).render(transform, &data)?
            }
            None => data,
        };
        schema::check(each.data.output_shape.as_ref(), "output", &output)?;
        let context = match &each.data.export_as {
            Some(export) => {
                let place = Place { output: Some(&output), ..place(doing, &output) };
                Some(scope_at(place).render(export, &output)?)
            }
            None => None,
        };
        if let Some(context) = context {
            schema::check(each.data.export_shape.as_ref(), "context", &context)?;
            self.state.context = context;
        }
        let listening = self.branch_mut().pending.as_mut().and_then(|p| p.listening.as_mut());
        let Some(listening) = listening.filter(|l| !l.queue.is_empty()) else { return Ok(()) };
        listening.queue.remove(0);
        // What never ends has no output.
        if !matches!(listen.to.until, Until::Never) {
            listening.heard.push(output);
        }
        Ok(())
    }

    fn listening_fails(&mut self, error: WorkflowError) {
        let Ok(task) = self.current() else { return };
        if let Some((doing, input)) = self.stop_joining(task) {
            let error = self.failed(&doing, input, error);
            self.raise(error);
        }
    }
}
