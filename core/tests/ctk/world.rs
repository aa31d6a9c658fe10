//! The world outside a workflow: carries out its commands with made-up answers.

use automate_core::workflow::{Command, Definition, Event, Runtime, WorkflowError, advance};
use serde_json::{Value, json};

const NOW: &str = "2026-01-02T03:04:05Z";

pub enum End {
    Completed(Value),
    Faulted(Value),
}

pub struct Outcome {
    pub end: End,
    /// Names of the tasks that did something, in order.
    pub started: Vec<String>,
}

/// Runs the workflow to its end.
pub fn execute(definition: &Definition, input: Value) -> Outcome {
    let runtime = Runtime { run_id: "run".into(), started_at: NOW.into(), ..Runtime::default() };
    let (mut state, mut event, mut started) = (None, Event::Start { input }, Vec::new());
    for _ in 0..1_000 {
        let advanced = advance(definition, &runtime, state, event, NOW).expect("a valid call");
        for record in &advanced.records {
            let begins = record.status != "skipped" && started.last() != Some(&record.name);
            if begins {
                started.push(record.name.clone());
            }
        }
        let mut next = None;
        for command in advanced.commands {
            match command {
                Command::Complete { output } => {
                    return Outcome { end: End::Completed(output), started };
                }
                Command::Fault { error } => {
                    let error = serde_json::to_value(error).expect("an error is JSON");
                    return Outcome { end: End::Faulted(error), started };
                }
                Command::SetTimer { step, .. } => next = Some(Event::TimerFired { step }),
                Command::Http { step, method, url, output, .. } => {
                    next = Some(respond(step, &method, &url, output));
                }
                Command::Sql { step, .. } | Command::Notify { step, .. } => {
                    next = Some(Event::Done { step, output: Value::Null });
                }
                _ => {}
            }
        }
        event = next.expect("a run that goes on waits for something");
        state = Some(advanced.state);
    }
    panic!("the workflow does not end");
}

/// What the pet store that the kit names would answer.
fn respond(
    step: String,
    method: &str,
    url: &str,
    output: automate_core::workflow::HttpOutput,
) -> Event {
    let pet = json!({"id": 1, "name": "Rex", "status": "available"});
    let content = match url {
        "https://petstore.swagger.io/v2/pet/findByStatus?status=available" => json!([pet]),
        "https://petstore.swagger.io/v2/pet/1" => pet,
        _ => {
            let mut error =
                WorkflowError::standard("communication", "Not found", format!("no {url}"));
            error.status = 404;
            return Event::Failed { step, error };
        }
    };
    let output = match output {
        automate_core::workflow::HttpOutput::Response => json!({
            "request": {"method": method, "uri": url, "headers": {}},
            "headers": {}, "statusCode": 200, "content": content,
        }),
        _ => content,
    };
    Event::Done { step, output }
}
