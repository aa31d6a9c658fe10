//! Timeouts beside what steps really take.

use super::figures::{Figures, Step};
use super::tree::Task;
use super::{Advice, Severity, shown_ms};
use crate::workflow::duration;
use serde_json::{Value, json};

/// Attempts that it takes to say something of the slowest ones.
const ENOUGH: u64 = 20;
/// A timeout is low when the slowest attempts take so much of it.
const NEAR: f64 = 0.8;
/// A timeout is high when it is so many times what the slowest attempts take,
const FAR: f64 = 20.0;
/// and longer than so many milliseconds.
const LONG: f64 = 10_000.0;

/// Looks at the timeout of a task.
pub(super) fn advise(task: &Task, document: &Value, figures: &Figures) -> Option<Advice> {
    let timeout = match task.body.get("timeout")? {
        Value::String(name) => &document["use"]["timeouts"][name],
        other => other,
    };
    let timeout_ms = duration::millis(&timeout["after"]).ok()? as f64;
    let step = figures.steps.get(&task.pointer).filter(|step| step.attempts >= ENOUGH)?;
    let p99_ms = step.p99_ms?;
    let ended: u64 =
        step.errors.iter().filter(|error| error.code == "timeout").map(|error| error.count).sum();
    let waits = ["wait", "listen"].iter().any(|key| task.body.contains_key(*key));
    let is_low = ended * 100 >= step.attempts || p99_ms >= NEAR * timeout_ms;
    let is_high = timeout_ms > LONG && timeout_ms > FAR * p99_ms && ended == 0;
    match (is_low, is_high && !waits) {
        (true, _) => {
            let better = (2.0 * timeout_ms).max(2.0 * p99_ms);
            Some(advice(task, step, ("timeout_low", Severity::Warning), timeout_ms, better, ended))
        }
        (_, true) => {
            let better = (5.0 * p99_ms).max(1_000.0);
            Some(advice(task, step, ("timeout_high", Severity::Info), timeout_ms, better, ended))
        }
        _ => None,
    }
}

fn advice(
    task: &Task,
    step: &Step,
    (advice, severity): (&'static str, Severity),
    timeout_ms: f64,
    better_ms: f64,
    ended: u64,
) -> Advice {
    let evidence = format!(
        "{} may take {}; 99 % of its {} attempts took at most {}, and {ended} ended by the timeout",
        task.name,
        shown_ms(timeout_ms),
        step.attempts,
        shown_ms(step.p99_ms.unwrap_or(0.0)),
    );
    let after = json!({ "seconds": (better_ms / 1000.0).ceil() as u64 });
    let path = format!("{}/timeout", task.pointer);
    let change = json!([{ "op": "replace", "path": path, "value": { "after": after } }]);
    Advice { advice, step: Some(task.pointer.clone()), severity, evidence, change: Some(change) }
}
