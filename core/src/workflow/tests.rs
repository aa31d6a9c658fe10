mod complexity;
mod data;
mod diff;
mod each;
mod flow;
mod fork;
mod import;
mod language;
mod listen;
mod migrate;
mod problems;
mod random;
mod retry;
mod saga;
mod steps;
mod stored;
mod timers;
mod unreached;

use super::*;
use serde_json::{Value, json};

const NOW: &str = "2026-01-02T03:04:05Z";

fn define(document: Value) -> Definition {
    Definition::parse(&document, &Limits::default()).unwrap()
}

fn runtime() -> Runtime {
    Runtime {
        run_id: "r1".into(),
        workflow: "w".into(),
        started_at: NOW.into(),
        ..Runtime::default()
    }
}

fn step(definition: &Definition, state: Option<State>, event: Event) -> Advanced {
    let advanced = advance(definition, &runtime(), state, event, NOW).unwrap();
    // What is stored must come back the same.
    let text = serde_json::to_string(&advanced.state).unwrap();
    assert_eq!(serde_json::from_str::<State>(&text).unwrap(), advanced.state);
    advanced
}

fn start(definition: &Definition, input: Value) -> Advanced {
    step(definition, None, Event::Start { input })
}

/// The output of a workflow that needs nothing from outside.
fn output(tasks: Value, input: Value) -> Value {
    match start(&define(json!({"do": tasks})), input).commands.pop() {
        Some(Command::Complete { output }) => output,
        other => panic!("{other:?}"),
    }
}

fn fault(tasks: Value, input: Value) -> WorkflowError {
    match start(&define(json!({"do": tasks})), input).commands.pop() {
        Some(Command::Fault { error }) => error,
        other => panic!("{other:?}"),
    }
}

fn problems(document: Value) -> Vec<(String, &'static str, String)> {
    let found = Definition::parse(&document, &Limits::default()).unwrap_err();
    found.into_iter().map(|p| (p.pointer, p.code, p.hint.unwrap_or_default())).collect()
}

fn done(step: &str, output: Value) -> Event {
    Event::Done { step: step.into(), output }
}

fn failed(step: &str, kind: &str) -> Event {
    Event::Failed { step: step.into(), error: WorkflowError::standard(kind, "t", "d") }
}

fn fired(step: &str) -> Event {
    Event::TimerFired { step: step.into() }
}

/// The steps that the commands ask for.
fn asked(advanced: &Advanced) -> Vec<&str> {
    advanced.commands.iter().filter_map(Command::asks).collect()
}

fn completed(advanced: &Advanced) -> &Value {
    match advanced.commands.last() {
        Some(Command::Complete { output }) => output,
        other => panic!("{other:?}"),
    }
}

fn faulted(advanced: &Advanced) -> &WorkflowError {
    match advanced.commands.last() {
        Some(Command::Fault { error }) => error,
        other => panic!("{other:?}"),
    }
}

/// Steps with their status, as they were recorded.
fn records(advanced: &Advanced) -> Vec<(&str, &str)> {
    advanced.records.iter().map(|r| (r.step.as_str(), r.status)).collect()
}

fn sql(query: &str) -> Value {
    json!({"call": "sql", "with": {"query": query}})
}

/// The run after these events.
fn after_events(definition: &Definition, input: Value, events: Vec<Event>) -> Advanced {
    let begun = start(definition, input);
    events.into_iter().fold(begun, |now, event| step(definition, Some(now.state), event))
}
