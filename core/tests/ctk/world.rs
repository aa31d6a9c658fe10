//! The world outside a workflow: carries out its commands with made-up answers, on a clock that
//! jumps to whatever comes next.

pub use automate_core::workflow::StepRecord as Record;
use automate_core::workflow::{
    Advanced, Authentication, Command, Definition, Event, HttpOutput, Runtime, State, StepRecord,
    Text, Why, WorkflowError, advance,
};
use chrono::{DateTime, Duration, Utc};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub enum End {
    Completed(Value),
    Faulted(Value),
    Cancelled,
}

pub struct Outcome {
    pub end: End,
    /// Names of the tasks that did something, in order.
    pub started: Vec<String>,
    /// What was recorded of steps, in order.
    pub records: Vec<StepRecord>,
    /// Events that were emitted.
    pub emitted: Vec<Value>,
    /// How long it took on the world's clock.
    pub took_ms: i64,
}

/// What a scenario says of the world.
#[derive(Default)]
pub struct World {
    /// Events that arrive one after another while somebody listens.
    pub events: Vec<Value>,
    /// What steps answer, by the names of their tasks; null otherwise.
    pub answers: BTreeMap<String, Value>,
    /// How often steps fail first, and with which status.
    pub failures: BTreeMap<String, (u32, i64)>,
    /// Steps that never answer.
    pub silent: Vec<String>,
    /// Cancel the run when nothing else happens, and undo what it has done.
    pub cancel: bool,
}

/// A run under way.
struct Run<'a> {
    definition: &'a Definition,
    world: World,
    runtime: Runtime,
    now: DateTime<Utc>,
    state: Option<State>,
    /// What happens next, in order.
    queue: Vec<Event>,
    timers: Vec<(DateTime<Utc>, String)>,
    listening: Vec<String>,
    outcome: Outcome,
    over: bool,
}

/// Runs the workflow to its end.
pub fn execute(definition: &Definition, input: Value, world: World) -> Outcome {
    let began = DateTime::parse_from_rfc3339("2026-01-02T03:04:05Z").expect("a time").to_utc();
    let runtime =
        Runtime { run_id: "run".into(), started_at: began.to_rfc3339(), ..Runtime::default() };
    let outcome = Outcome {
        end: End::Cancelled,
        started: Vec::new(),
        records: Vec::new(),
        emitted: Vec::new(),
        took_ms: 0,
    };
    let queue = vec![Event::Start { input }];
    let mut run = Run {
        definition,
        world,
        runtime,
        now: began,
        state: None,
        queue,
        timers: Vec::new(),
        listening: Vec::new(),
        outcome,
        over: false,
    };
    let limit = definition.timeout_ms().map(|ms| began + Duration::milliseconds(ms as i64));
    for _ in 0..10_000 {
        if run.over {
            run.outcome.took_ms = (run.now - began).num_milliseconds();
            return run.outcome;
        }
        let event = run.next(limit);
        run.advance(event);
    }
    panic!("the workflow does not end");
}

impl Run<'_> {
    fn next(&mut self, limit: Option<DateTime<Utc>>) -> Event {
        if !self.queue.is_empty() {
            return self.queue.remove(0);
        }
        if let Some(step) = self.listening.first().filter(|_| !self.world.events.is_empty()) {
            return Event::Heard { step: step.clone(), event: self.world.events.remove(0) };
        }
        if std::mem::take(&mut self.world.cancel) {
            return Event::Cancelled { compensate: true };
        }
        self.timers.sort();
        let first = self.timers.first().map(|(at, _)| *at);
        if let Some(limit) = limit.filter(|limit| first.is_none_or(|at| *limit < at)) {
            self.now = limit;
            return Event::TimedOut;
        }
        assert!(first.is_some(), "a run that goes on waits for something");
        let (at, step) = self.timers.remove(0);
        self.now = at;
        Event::TimerFired { step }
    }

    fn advance(&mut self, event: Event) {
        let heard = match &event {
            Event::Heard { event, .. } => Some(event.clone()),
            _ => None,
        };
        let now = self.now.to_rfc3339();
        let advanced = advance(self.definition, &self.runtime, self.state.take(), event, &now);
        let Advanced { state, commands, records, ignored } = advanced.expect("a valid call");
        if let (Some(event), Some(_)) = (heard, ignored) {
            // Another listener may want it.
            let first = self.listening.remove(0);
            self.listening.push(first);
            if self.listening.len() > 1 {
                self.world.events.insert(0, event);
            }
        }
        // What is stored comes back the same.
        let text = serde_json::to_string(&state).expect("a state is JSON");
        self.state = Some(serde_json::from_str(&text).expect("a state is read again"));
        for record in records {
            let begins =
                record.status != "skipped" && self.outcome.started.last() != Some(&record.name);
            if begins {
                self.outcome.started.push(record.name.clone());
            }
            self.outcome.records.push(record);
        }
        commands.into_iter().for_each(|command| self.carry_out(command));
        let pending: Vec<&str> = self.state.iter().flat_map(|s| s.pending_steps()).collect();
        self.listening.retain(|step| pending.contains(&step.as_str()));
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Complete { output } => self.end(End::Completed(output)),
            Command::Fault { error } => self.end(End::Faulted(error.to_value())),
            Command::Cancel => self.end(End::Cancelled),
            Command::SetTimer { step, for_ms, why, .. } => {
                let at = self.now + Duration::milliseconds(for_ms as i64);
                assert!(why != Why::Wait || for_ms > 0, "a wait of no length");
                self.timers.retain(|(_, other)| *other != step);
                self.timers.push((at, step));
            }
            Command::ClearTimer { step } => self.timers.retain(|(_, other)| *other != step),
            Command::Withdraw { step } => {
                self.queue.retain(|event| event.step() != Some(step.as_str()));
            }
            Command::Emit { event, .. } => self.outcome.emitted.push(event),
            Command::Listen { step, .. } => self.listening.push(step),
            Command::Http { step, name, method, url, output, authentication, .. } => {
                let answer = self.answer(step, &name);
                let answer = match answer {
                    Some(Event::Done { step, output: Value::Null }) => {
                        Some(respond(step, &method, &url, output, authentication.as_deref()))
                    }
                    answer => answer,
                };
                self.queue.extend(answer);
            }
            Command::Sql { step, name, .. }
            | Command::Notify { step, name, .. }
            | Command::Report { step, name, .. }
            | Command::Approval { step, name, .. }
            | Command::Run { step, name, wait: true, .. } => {
                let answer = self.answer(step, &name);
                self.queue.extend(answer);
            }
            _ => {}
        }
    }

    /// What a step answers, if it does.
    fn answer(&mut self, step: String, name: &str) -> Option<Event> {
        if self.world.silent.iter().any(|silent| silent == name) {
            return None;
        }
        if let Some((left, status)) = self.world.failures.get_mut(name).filter(|(n, _)| *n > 0) {
            *left -= 1;
            let mut error = WorkflowError::standard("communication", "Failed", "it was told to");
            error.status = *status;
            return Some(Event::Failed { step, error });
        }
        let output = self.world.answers.get(name).cloned().unwrap_or_default();
        Some(Event::Done { step, output })
    }

    fn end(&mut self, end: End) {
        self.outcome.end = end;
        self.over = true;
    }
}

/// What the pet store and the test server that the kit names would answer.
fn respond(
    step: String,
    method: &str,
    url: &str,
    output: HttpOutput,
    authentication: Option<&Authentication>,
) -> Event {
    let text = |text: &str| Text::Plain(text.into());
    let (username, password) = (text("serverless-workflow"), text("conformance-test"));
    let basic = Authentication::Basic { username, password };
    let basic_url = "https://httpbin.org/basic-auth/serverless-workflow/conformance-test";
    let pet = json!({"id": 1, "name": "Rex", "status": "available"});
    let content = match url {
        "https://petstore.swagger.io/v2/pet/findByStatus?status=available" => json!([pet]),
        "https://petstore.swagger.io/v2/pet/1" => pet,
        _ if authentication == Some(&basic) && url == basic_url => json!({"authenticated": true}),
        _ => {
            let mut error =
                WorkflowError::standard("communication", "Not found", format!("no {url}"));
            error.status = 404;
            return Event::Failed { step, error };
        }
    };
    let output = match output {
        HttpOutput::Response => json!({
            "request": {"method": method, "uri": url, "headers": {}},
            "headers": {}, "statusCode": 200, "content": content,
        }),
        _ => content,
    };
    Event::Done { step, output }
}
