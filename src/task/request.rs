//! Tasks of type http: the executor makes the request, and the courier sends it, as it does those
//! of rules and workflows.

use super::arguments;
use super::command::known_keys;
use crate::error::{Error, Result, shown, shown_json};
use crate::event::trace;
use crate::queue::Job;
use crate::rule;
use automate_core::object::kind;
use automate_core::rule::action::Request;
use serde_json::{Map, Value, json};

/// The request that a command and args make, and which answers count as good.
fn read(command: &str, args: &Value) -> Result<(Request, Option<Vec<u16>>)> {
    let Value::Object(map) = args else {
        return Err(Error::invalid("args of a task of type http must be a JSON object")
            .with_detail(format!("The value of args is {}.", kind(args)))
            .with_hint("Write for example {\"method\": \"POST\", \"body\": {\"a\": 1}}."));
    };
    known_keys(map, &["method", "headers", "query", "body", "expect"])?;
    let mut request: Map<String, Value> = map
        .iter()
        .filter(|(key, _)| *key != "expect")
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    request.insert("url".into(), command.trim().into());
    if map.get("method").is_none() && map.get("body").is_none() {
        request.insert("method".into(), "GET".into());
    }
    let request = Request::read(&Value::Object(request)).map_err(|problems| {
        Error::problems(
            "the request",
            &problems,
            "The command is the URL; see automate.schedule_task.",
        )
    })?;
    Ok((request, map.get("expect").map(statuses).transpose()?))
}

/// A status, or an array of them.
fn statuses(value: &Value) -> Result<Vec<u16>> {
    let one = std::slice::from_ref(value);
    let items = value.as_array().map_or(one, Vec::as_slice);
    let status = |item: &Value| {
        item.as_u64().and_then(|n| u16::try_from(n).ok()).filter(|n| (100..600).contains(n))
    };
    let found: Option<Vec<u16>> = items.iter().map(status).collect();
    found.filter(|all| !all.is_empty()).ok_or_else(|| {
        Error::invalid("expect must be a status of HTTP, or an array of them")
            .with_detail(format!("The value of expect in args is {}.", shown_json(value)))
            .with_hint("Write for example {\"expect\": [200, 204]}; left out, any from 200 to 299 will do.")
    })
}

/// Checks a request as far as it is the same for every run.
pub(super) fn check(command: &str, args: &Value) -> Result<()> {
    let (request, _) = read(command, args)?;
    rule::request::check("command", &request)
}

/// The request of a run, as the courier reads it. Every attempt carries the same key, so that the
/// peer can tell that it is one.
pub(super) fn of(job: &Job, command: &str) -> Result<Value> {
    let (request, expect) = read(command, &job.payload["args"])?;
    let mut made = request.render(&arguments::context(job)).map_err(|e| {
        Error::invalid(format!("the request cannot be made: {e}"))
            .with_detail(format!("The command is {}.", shown(command)))
            .with_hint("The url is a text that begins with https:// or http://; headers and query are objects.")
    })?;
    made["idempotency_key"] = job.id.to_string().into();
    if let Some(expect) = expect {
        made["expect"] = json!(expect);
    }
    if trace::of(&job.payload).is_some() {
        made["trace"] = job.payload["trace"].clone();
    }
    Ok(made)
}
