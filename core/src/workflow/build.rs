//! Tasks from named arguments, for the builders of SQL: short to write, and what is wrong with one
//! is said at once. A built step is a list item, `{"name": {task}}`, as the language has it.

mod options;
mod tasks;

use super::limits::Limits;
use super::parse;
use crate::problem::Problem;
use serde_json::{Map, Value, json};

pub use options::iso_duration;

/// Arguments of a builder by name; what was left out is not there. Values are as the language has
/// them: expressions in `${ }`, durations in ISO 8601.
pub type Given = Map<String, Value>;

/// A step of a kind with everything that was given for it.
pub fn step(kind: &str, given: &Given) -> Result<Value, Vec<Problem>> {
    let name = given.get("name").and_then(Value::as_str).unwrap_or_default();
    let task = tasks::task(kind, given).map_err(|p| vec![p])?;
    let task = options::apply(name, task, given).map_err(|p| vec![p])?;
    let built = json!({ name: task });
    check(&built)?;
    Ok(built)
}

/// A whole document, or a list of tasks for another step.
pub fn document(steps: Vec<Value>) -> Result<Value, Vec<Problem>> {
    let list = json!({ "do": steps });
    check_list(&list)?;
    Ok(list)
}

/// A step with the steps that undo it.
pub fn compensate(step: &Value, steps: &Value) -> Result<Value, Vec<Problem>> {
    let steps = tasks::list(steps, "steps").map_err(|p| vec![p])?;
    let mut built = step.clone();
    let tasks = built.as_object_mut().filter(|m| m.len() == 1);
    let Some(task) = tasks.and_then(|m| m.values_mut().next()).and_then(Value::as_object_mut)
    else {
        let message = "what is compensated must be one step";
        return Err(vec![
            Problem::error("", "wrong_type", message)
                .with_hint("Give what a builder such as automate.sql_step(...) returns."),
        ]);
    };
    options::metadata(task).insert("compensate".into(), steps);
    check(&built)?;
    Ok(built)
}

/// A case of a switch: where to go when a condition holds, or, without one, in any other case.
pub fn case(when: Option<Value>, then: &str) -> Value {
    match when {
        Some(when) => json!({ "when": when, "then": then }),
        None => json!({ "then": then }),
    }
}

fn check(built: &Value) -> Result<(), Vec<Problem>> {
    check_list(&json!({ "do": [built] }))
}

/// What is wrong whatever stands around it: variables of loops and catch clauses may come from
/// there, and so may what is referred to by name.
fn check_list(list: &Value) -> Result<(), Vec<Problem>> {
    let mut vars = Vec::new();
    variables(list, &mut vars);
    let found = match parse::fragment(list, &Limits::default(), vars) {
        Ok(_) => return Ok(()),
        Err(found) => found,
    };
    let told: Vec<Problem> = found.into_iter().filter(|p| !of_the_whole(p)).collect();
    if told.is_empty() { Ok(()) } else { Err(told) }
}

/// What only the whole document can tell: the targets of jumps, and what is under `use`.
fn of_the_whole(problem: &Problem) -> bool {
    let jump = problem.code == "unknown_task" && problem.pointer.ends_with("/then");
    jump || problem.code == "unknown_name"
}

/// Every `$name` that stands in the texts.
fn variables(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => {
            for (at, _) in text.match_indices('$') {
                let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
                let name: String = text[at + 1..].chars().take_while(|c| word(*c)).collect();
                let is_name = name.starts_with(|c: char| !c.is_ascii_digit());
                // Secrets are no variables.
                if is_name && name != "secrets" && name != "__loc__" && !found.contains(&name) {
                    found.push(name);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| variables(item, found)),
        Value::Object(map) => map.values().for_each(|item| variables(item, found)),
        _ => {}
    }
}
