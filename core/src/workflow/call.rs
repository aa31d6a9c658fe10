//! From a task and its data to the command that carries it out.

use super::command::Command;
use super::definition::{Http, Kind, Task};
use super::scope::Scope;
use super::{WorkflowError, auth};
use serde_json::{Map, Value};

/// The command of a task that something outside does. Task kinds that need nothing from outside give none.
pub(super) fn command(
    task: &Task,
    scope: &Scope<'_>,
    step: &str,
    attempt: u32,
    input: &Value,
) -> Result<Option<Command>, WorkflowError> {
    let (step, name) = (step.to_owned(), task.name.clone());
    let timeout_ms = task.timeout_ms;
    Ok(Some(match &task.kind {
        Kind::Sql(sql) => {
            let params = match scope.render(&sql.params, input)? {
                Value::Array(params) => params,
                other => vec![other],
            };
            let (statement, result, expect) = (sql.statement.clone(), sql.result, sql.expect);
            Command::Sql { step, name, attempt, statement, params, result, expect, timeout_ms }
        }
        Kind::Notify(with) => {
            let arguments = scope.render(with, input)?;
            Command::Notify { step, name, attempt, arguments, timeout_ms }
        }
        Kind::Report(with) => {
            let arguments = scope.render(with, input)?;
            Command::Report { step, name, attempt, arguments, timeout_ms }
        }
        Kind::Approval(with) => {
            let arguments = scope.render(with, input)?;
            Command::Approval { step, name, attempt, arguments }
        }
        Kind::Run(run) => {
            let input = match &run.input {
                Some(template) => scope.render(template, input)?,
                None => input.clone(),
            };
            Command::Run {
                step,
                name,
                attempt,
                namespace: run.namespace.clone(),
                workflow: run.name.clone(),
                version: run.version.clone(),
                input,
                wait: run.wait,
            }
        }
        Kind::Http(http) => request(http, scope, input, step, name, attempt, timeout_ms)?,
        _ => return Ok(None),
    }))
}

fn request(
    http: &Http,
    scope: &Scope<'_>,
    input: &Value,
    step: String,
    name: String,
    attempt: u32,
    timeout_ms: Option<u64>,
) -> Result<Command, WorkflowError> {
    let url = match http.endpoint.constant().and_then(Value::as_str) {
        Some(text) => expand(text, input)?,
        None => match scope.render(&http.endpoint, input)? {
            Value::String(url) if url.starts_with("https://") || url.starts_with("http://") => url,
            _ => return Err(invalid("the endpoint must be text that starts with https://")),
        },
    };
    let object = |template: &Option<crate::jq::Template>, what: &str| match template {
        None => Ok(Value::Object(Map::new())),
        Some(template) => match scope.render(template, input)? {
            map @ Value::Object(_) => Ok(map),
            Value::Null => Ok(Value::Object(Map::new())),
            _ => Err(invalid(&format!("the {what} of a request must be an object"))),
        },
    };
    let headers = object(&http.headers, "headers")?;
    let query = object(&http.query, "query")?;
    let authentication = match &http.authentication {
        Some(auth) => Some(Box::new(auth::render(auth, scope, input)?)),
        None => None,
    };
    let body = http.body.as_ref().map(|t| scope.render(t, input)).transpose()?;
    Ok(Command::Http {
        step,
        name,
        attempt,
        method: http.method.clone(),
        url,
        headers,
        secret_headers: http.secret_headers.clone(),
        authentication,
        query,
        body,
        timeout_ms,
        output: http.output,
        redirect: http.redirect,
    })
}

pub(super) fn invalid(detail: &str) -> WorkflowError {
    WorkflowError::standard("validation", "Invalid request", detail)
}

/// Fills `{name}` in a constant endpoint from the task's input. Values are encoded so that they
/// cannot leave their place in the address.
pub(super) fn expand(text: &str, input: &Value) -> Result<String, WorkflowError> {
    let mut url = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, tail)) = after.split_once('}') else { break };
        url.push_str(before);
        match input.get(name) {
            Some(Value::String(value)) => encode(value, &mut url)?,
            Some(value @ (Value::Number(_) | Value::Bool(_))) => {
                encode(&value.to_string(), &mut url)?;
            }
            _ => return Err(invalid(&format!("the input has no text or number \"{name}\""))),
        }
        rest = tail;
    }
    url.push_str(rest);
    Ok(url)
}

fn encode(value: &str, into: &mut String) -> Result<(), WorkflowError> {
    // Even encoded, a part of dots would be read as a step up.
    if value == "." || value == ".." {
        return Err(invalid("a part of the endpoint must not be . or .."));
    }
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                into.push(char::from(byte));
            }
            _ => into.push_str(&format!("%{byte:02X}")),
        }
    }
    Ok(())
}
