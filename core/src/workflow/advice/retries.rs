//! Retries of errors that stay as they are.

use super::figures::{Errors, Figures};
use super::tree::{self, Task};
use super::{Advice, Severity};
use serde_json::{Value, json};

/// Retries that it takes to say that they do not help.
const ENOUGH: u64 = 3;
/// Client errors of HTTP that may pass: timeout, conflict, too early, too many requests.
const PASSING: [&str; 4] = ["408", "409", "425", "429"];
/// Classes of SQLSTATE that another attempt meets again: data, constraints, names and rights, what
/// is not supported, and what functions raise.
const LASTING: [&str; 6] = ["22", "23", "42", "0A", "28", "P0"];

/// Looks at a `try` with a retry.
pub(super) fn advise(task: &Task, document: &Value, figures: &Figures) -> Vec<Advice> {
    let Some(catch) = task.body.get("catch").filter(|_| task.body.contains_key("try")) else {
        return Vec::new();
    };
    let retry = match &catch["retry"] {
        Value::String(name) => &document["use"]["retries"][name],
        other => other,
    };
    if !retry.is_object() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for step in tree::all(task.inner()) {
        let errors = figures.steps.get(&step.pointer).map(|step| &*step.errors).unwrap_or(&[]);
        for error in errors.iter().filter(|error| is_wasted(error)) {
            let evidence = format!(
                "{} failed {} times with {}; {} retries met it again, and none helped",
                step.name, error.count, error.code, error.wasted
            );
            found.push(Advice {
                advice: "wasted_retries",
                step: Some(step.pointer.clone()),
                severity: Severity::Warning,
                evidence,
                change: Some(change(task, catch, retry, &error.code)),
            });
        }
    }
    found
}

fn is_wasted(error: &Errors) -> bool {
    error.wasted >= ENOUGH && error.mended == 0 && lasts(&error.code)
}

/// Whether an error stays as it is.
fn lasts(code: &str) -> bool {
    match code.len() {
        3 => code.starts_with('4') && !PASSING.contains(&code),
        5 => LASTING.iter().any(|class| code.starts_with(class)),
        _ => false,
    }
}

/// The retry leaves that error out.
fn change(task: &Task, catch: &Value, retry: &Value, code: &str) -> Value {
    let error = catch["as"].as_str().unwrap_or("error");
    let meets = match code.len() {
        3 => format!("${error}.status == {code}"),
        _ => format!("(${error}.detail // \"\" | startswith(\"{code}\"))"),
    };
    let earlier = retry["exceptWhen"].as_str();
    let except = match earlier.map(|text| crate::jq::expression(text).unwrap_or(text).trim()) {
        Some(text) => format!("${{ ({text}) or {meets} }}"),
        None => format!("${{ {meets} }}"),
    };
    let mut retry = retry.clone();
    retry["exceptWhen"] = except.into();
    json!([{ "op": "replace", "path": format!("{}/catch/retry", task.pointer), "value": retry }])
}
