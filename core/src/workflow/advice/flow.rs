//! What a task needs of those before it, as far as its text shows.

use super::tree::{Holds, Task};
use crate::jq::{expression, reads};
use serde_json::Value;

/// Parts of a task that make its place among the others matter.
const PLACED: [&str; 3] = ["if", "export", "metadata"];

/// Whether a task could go on beside others: it asks one thing, only reads, hands on nothing but
/// its output, and leads nowhere but to the next task.
pub(super) fn stands_alone(task: &Task) -> bool {
    let goes_on = task.body.get("then").is_none_or(|then| then == "continue");
    let is_placed = PLACED.iter().any(|key| task.body.contains_key(*key));
    matches!(task.holds, Holds::Nothing) && goes_on && !is_placed && only_reads(task)
}

/// A query or a GET. (What a query's functions do is not looked at.)
fn only_reads(task: &Task) -> bool {
    let with = &task.body.get("with").unwrap_or(&Value::Null);
    match task.body.get("call").and_then(Value::as_str) {
        Some("sql") => with["query"].as_str().is_some_and(is_plain_query),
        Some("http") => with["method"]
            .as_str()
            .is_some_and(|m| m.eq_ignore_ascii_case("get") || m.eq_ignore_ascii_case("head")),
        _ => false,
    }
}

fn is_plain_query(text: &str) -> bool {
    let text = text.to_lowercase();
    let mut words =
        text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty());
    let begins = words.next().is_some_and(|first| ["select", "values", "table"].contains(&first));
    // FOR UPDATE and SELECT INTO; and a text of several statements.
    begins
        && !words.any(|w| ["update", "share", "into", "insert", "delete", "merge"].contains(&w))
        && !text.trim_end().trim_end_matches(';').contains(';')
}

pub(super) fn is_sql(task: &Task) -> bool {
    task.body.get("call").is_some_and(|call| call == "sql")
}

/// Whether a task looks at its input, which is the output of the task before it.
pub(super) fn reads_input(task: &Task) -> bool {
    let input = task.body.get("input");
    if input.is_some_and(|input| input.get("schema").is_some()) {
        return true;
    }
    match input.and_then(|input| input.get("from")) {
        // The others see what it makes, but for $task.input.
        Some(Value::String(text)) => looks(expression(text).unwrap_or(text)),
        Some(from) => in_tree(from),
        None => task.body.get("with").is_some_and(in_tree),
    }
}

/// Whether a tree with `${ }` in its leaves looks at its input.
fn in_tree(tree: &Value) -> bool {
    match tree {
        Value::String(text) => match expression(text) {
            Some(source) => looks(source),
            // Members of the input in an address.
            None => text.contains("://") && text.contains('{'),
        },
        Value::Array(items) => items.iter().any(in_tree),
        Value::Object(map) => map.values().any(in_tree),
        _ => false,
    }
}

fn looks(source: &str) -> bool {
    !reads(source).is_empty() || ["$input", "$task"].iter().any(|name| source.contains(name))
}
