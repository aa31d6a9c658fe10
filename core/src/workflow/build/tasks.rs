//! What each kind of step does.

use super::{Given, options};
use crate::problem::Problem;
use crate::workflow::WorkflowError;
use serde_json::{Map, Value, json};

type Task = Map<String, Value>;

/// Where events come from that say nothing else.
const SOURCE: &str = "urn:pg_automate:workflow";

pub(super) fn task(kind: &str, given: &Given) -> Result<Task, Problem> {
    let built = match kind {
        "sql" => call("sql", given, &["query", "params", "result", "expect"]),
        "http" => http(given),
        "notify" => {
            let mut with = picked(given, &["template", "data"]);
            with.insert("to".into(), part(given, "recipient"));
            json!({ "call": "notify", "with": with })
        }
        "report" => {
            let mut with = picked(given, &["format", "params"]);
            with.insert("name".into(), part(given, "report"));
            json!({ "call": "report", "with": with })
        }
        "approval" => approval(given)?,
        "wait" => json!({ "wait": part(given, "duration") }),
        "listen" => {
            let mut with = Map::new();
            with.insert("type".into(), part(given, "event"));
            with.extend(given.get("matching").map(|m| ("data".to_owned(), m.clone())));
            json!({ "listen": { "to": { "one": { "with": with } } } })
        }
        "emit" => {
            let mut with = Map::new();
            with.insert("source".into(), given.get("source").cloned().unwrap_or(SOURCE.into()));
            with.insert("type".into(), part(given, "event"));
            with.extend(given.get("data").map(|d| ("data".to_owned(), d.clone())));
            json!({ "emit": { "event": { "with": with } } })
        }
        "set" => json!({ "set": part(given, "value") }),
        "switch" => switch(given)?,
        "do" => json!({ "do": list(&part(given, "steps"), "steps")? }),
        "fork" => fork(given)?,
        "for" => for_each(given)?,
        "try" => try_catch(given)?,
        "raise" => {
            let mut error = picked(given, &["status", "title", "detail"]);
            error.insert("type".into(), part(given, "type").as_str().map(full_type).into());
            json!({ "raise": { "error": error } })
        }
        "run" => run(given),
        _ => {
            let message = format!("there is no kind of step \"{kind}\"");
            return Err(Problem::error("", "unknown_kind", message));
        }
    };
    match built {
        Value::Object(task) => Ok(task),
        _ => Ok(Map::new()),
    }
}

fn part(given: &Given, key: &str) -> Value {
    given.get(key).cloned().unwrap_or_default()
}

fn picked(given: &Given, keys: &[&str]) -> Task {
    let found = keys.iter().filter_map(|k| given.get_key_value(*k));
    found.map(|(k, v)| (k.clone(), v.clone())).collect()
}

fn call(name: &str, given: &Given, keys: &[&str]) -> Value {
    json!({ "call": name, "with": picked(given, keys) })
}

fn http(given: &Given) -> Value {
    let mut with = picked(given, &["method", "headers", "query", "body", "redirect"]);
    let url = part(given, "url");
    with.insert(
        "endpoint".into(),
        match given.get("authentication") {
            Some(authentication) => json!({ "uri": url, "authentication": authentication }),
            None => url,
        },
    );
    with.extend(given.get("result").map(|r| ("output".to_owned(), r.clone())));
    json!({ "call": "http", "with": with })
}

fn approval(given: &Given) -> Result<Value, Problem> {
    let mut with = picked(given, &["role", "subject", "data", "quorum"]);
    match (given.get("escalate_after"), given.get("escalate_to")) {
        (None, None) => {}
        (Some(after), Some(role)) => {
            with.insert("escalate".into(), json!({ "after": after, "role": role }));
        }
        _ => {
            let message = "escalate_after and escalate_to go together";
            return Err(Problem::error("", "missing_key", message)
                .with_hint("Say after how long, and to which role."));
        }
    }
    Ok(json!({ "call": "approval", "with": with }))
}

fn switch(given: &Given) -> Result<Value, Problem> {
    let cases = part(given, "cases");
    let mut named = Vec::new();
    for (i, case) in cases.as_array().into_iter().flatten().enumerate() {
        if !case.as_object().is_some_and(|c| c.contains_key("then")) {
            let message = format!("case {} of a switch is none", i + 1);
            return Err(Problem::error("", "wrong_type", message)
                .with_hint("Give automate.case_when(condition, next) and case_else(next)."));
        }
        let name = match case.get("when") {
            Some(_) => format!("case{}", i + 1),
            None => "otherwise".to_owned(),
        };
        named.push(json!({ name: case }));
    }
    Ok(json!({ "switch": named }))
}

fn fork(given: &Given) -> Result<Value, Problem> {
    let mut fork = Map::new();
    fork.insert("branches".into(), list(&part(given, "branches"), "branches")?);
    if given.get("compete") == Some(&Value::Bool(true)) {
        fork.insert("compete".into(), true.into());
    }
    Ok(json!({ "fork": fork }))
}

fn for_each(given: &Given) -> Result<Value, Problem> {
    let mut head = Map::new();
    head.extend(given.get("item").map(|item| ("each".to_owned(), item.clone())));
    head.insert("in".into(), part(given, "items"));
    let mut task = Map::new();
    task.insert("for".into(), Value::Object(head));
    for (name, key) in
        [("max_parallel", "maxParallel"), ("on_item_error", "onItemError"), ("collect", "collect")]
    {
        if let Some(value) = given.get(name) {
            options::metadata(&mut task).insert(key.into(), value.clone());
        }
    }
    task.insert("do".into(), list(&part(given, "steps"), "steps")?);
    Ok(Value::Object(task))
}

fn try_catch(given: &Given) -> Result<Value, Problem> {
    let mut catch = Map::new();
    let mut with = Map::new();
    with.extend(
        given.get("error_type").map(|t| ("type".to_owned(), t.as_str().map(full_type).into())),
    );
    with.extend(given.get("error_status").map(|s| ("status".to_owned(), s.clone())));
    if !with.is_empty() {
        catch.insert("errors".into(), json!({ "with": with }));
    }
    catch.extend(options::retry(given)?.map(|retry| ("retry".to_owned(), retry)));
    if let Some(steps) = given.get("catch_steps") {
        catch.insert("do".into(), list(steps, "catch_steps")?);
    }
    Ok(json!({ "try": list(&part(given, "steps"), "steps")?, "catch": catch }))
}

/// A standard error by its word, such as timeout, or the whole type as it is.
fn full_type(text: &str) -> String {
    match text.chars().all(|c| c.is_ascii_alphanumeric()) {
        true => WorkflowError::standard(text, "", "").kind,
        false => text.to_owned(),
    }
}

fn run(given: &Given) -> Value {
    let mut workflow = Map::new();
    workflow.insert("name".into(), part(given, "workflow"));
    workflow.extend(given.get("data").map(|d| ("input".to_owned(), d.clone())));
    workflow.extend(given.get("version").map(|v| ("version".to_owned(), v.clone())));
    let mut run = Map::new();
    run.insert("workflow".into(), Value::Object(workflow));
    if given.get("wait") == Some(&Value::Bool(false)) {
        run.insert("await".into(), false.into());
    }
    json!({ "run": run })
}

/// A list of tasks, given as one, as what [`super::document`] makes, or as a single step.
pub(super) fn list(value: &Value, name: &str) -> Result<Value, Problem> {
    match value {
        Value::Array(_) => Ok(value.clone()),
        Value::Object(map) if map.get("do").is_some_and(Value::is_array) => {
            Ok(map.get("do").cloned().unwrap_or_default())
        }
        Value::Object(map) if map.len() == 1 => Ok(json!([value])),
        _ => Err(Problem::error("", "wrong_type", format!("{name} must be steps"))
            .with_hint("Give automate.steps(...), or one step.")),
    }
}
