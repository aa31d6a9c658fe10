//! What every step may have besides what it does: data in and out, condition, jump, time, retries.

use super::{Given, tasks};
use crate::problem::Problem;
use crate::workflow::duration::LONGEST_MS;
use serde_json::{Map, Value, json};

type Task = Map<String, Value>;

/// Adds the options; a step with retries is wrapped in a `try` of the same name.
pub(super) fn apply(name: &str, mut task: Task, given: &Given) -> Result<Value, Problem> {
    if let Some(after) = given.get("timeout") {
        task.insert("timeout".into(), json!({ "after": after }));
    }
    if let Some(steps) = given.get("compensate") {
        let steps = tasks::list(steps, "compensate")?;
        metadata(&mut task).insert("compensate".into(), steps);
    }
    // A try step says itself what it retries.
    if !task.contains_key("try")
        && let Some(retry) = retry(given)?
    {
        let body = json!([{ name: task }]);
        task = Map::new();
        task.insert("try".into(), body);
        task.insert("catch".into(), json!({ "retry": retry }));
    }
    for (option, key, part) in
        [("input", "input", "from"), ("output", "output", "as"), ("export", "export", "as")]
    {
        if let Some(value) = given.get(option) {
            task.insert(key.into(), json!({ part: value }));
        }
    }
    for (option, key) in [("condition", "if"), ("next", "then")] {
        if let Some(value) = given.get(option) {
            task.insert(key.into(), value.clone());
        }
    }
    Ok(Value::Object(task))
}

/// The retry policy of `retry`, attempts after the first, and `retry_delay`, the first pause.
pub(super) fn retry(given: &Given) -> Result<Option<Value>, Problem> {
    let Some(count) = given.get("retry") else {
        return match given.get("retry_delay") {
            None => Ok(None),
            Some(_) => Err(Problem::error("", "missing_key", "retry_delay needs retry")
                .with_hint("Say how often to try again: retry => 3.")),
        };
    };
    if count.as_u64().is_none_or(|n| n == 0) {
        let message = format!("retry must be a whole number above 0, not {count}");
        return Err(Problem::error("", "wrong_type", message)
            .with_hint("It counts the attempts after the first; leave it out for none."));
    }
    let pause = json!("PT1S");
    let delay = given.get("retry_delay").unwrap_or(&pause);
    Ok(Some(json!({
        "delay": delay,
        "backoff": { "exponential": {} },
        "limit": { "attempt": { "count": count } },
    })))
}

pub(super) fn metadata(task: &mut Task) -> &mut Task {
    let slot = task.entry("metadata").or_insert_with(|| json!({}));
    if !slot.is_object() {
        *slot = json!({});
    }
    match slot {
        Value::Object(map) => map,
        _ => unreachable!("it is an object"),
    }
}

/// An interval of PostgreSQL as the language writes it. Its months have no fixed length, and it
/// counts milliseconds.
pub fn iso_duration(months: i32, days: i32, micros: i64) -> Result<String, (String, &'static str)> {
    if months != 0 {
        let message = "an interval with months or years has no fixed length";
        return Err((message.into(), "Give it in days, such as interval '30 days'."));
    }
    let total = i128::from(days) * 86_400_000_000 + i128::from(micros);
    if total < 0 {
        return Err(("an interval must not be negative".into(), "Give interval '5 minutes'."));
    }
    if total % 1_000 != 0 {
        let message = "an interval must be a whole number of milliseconds";
        return Err((message.into(), "Round it: date_trunc('milliseconds', ...)."));
    }
    let ms = u64::try_from(total / 1_000).unwrap_or(u64::MAX);
    if ms > LONGEST_MS {
        return Err(("an interval must not exceed ten years".into(), "Shorten it."));
    }
    let (days, rest) = (ms / 86_400_000, ms % 86_400_000);
    let mut text = String::from("P");
    if days > 0 {
        text.push_str(&format!("{days}D"));
    }
    if rest > 0 || days == 0 {
        text.push('T');
        let (hours, minutes) = (rest / 3_600_000, rest / 60_000 % 60);
        let (seconds, ms) = (rest / 1_000 % 60, rest % 1_000);
        for (amount, unit) in [(hours, 'H'), (minutes, 'M')] {
            if amount > 0 {
                text.push_str(&format!("{amount}{unit}"));
            }
        }
        match ms {
            0 if seconds > 0 || rest == 0 => text.push_str(&format!("{seconds}S")),
            0 => {}
            _ => text.push_str(&format!("{seconds}.{ms:03}S")),
        }
    }
    Ok(text)
}
