//! The task of a node.

use super::graph::{Graph, Node};
use super::template;
use crate::problem::Problem;
use crate::suggest;
use crate::workflow::build;
use crate::workflow::duration::UNITS;
use serde_json::{Value, json};

/// Nodes that only say where edges begin, part or meet.
const MARKS: [&str; 10] = [
    "start",
    "end",
    "fork",
    "parallel",
    "join",
    "condition",
    "switch",
    "gateway",
    "input",
    "output",
];
const KINDS: [&str; 11] = [
    "sql", "http", "wait", "notify", "report", "approval", "emit", "listen", "set", "raise",
    "workflow",
];

/// None: the node does nothing itself.
pub(super) fn task(graph: &Graph, node: usize) -> Result<Option<Value>, Vec<Problem>> {
    let node = &graph.nodes[node];
    let told = |p: Problem| {
        let message = format!("node \"{}\": {}", node.id, p.message);
        vec![Problem { message, pointer: String::new(), ..p }]
    };
    if MARKS.contains(&node.kind.as_str()) {
        return Ok(None);
    }
    if !KINDS.contains(&node.kind.as_str()) {
        let known: Vec<&str> = KINDS.iter().chain(&MARKS).copied().collect();
        let message = format!("there is no type \"{}\"", node.kind);
        return Err(told(
            Problem::error("", "unknown_type", message)
                .with_hint(suggest::hint(&node.kind, &known)),
        ));
    }
    let given = given(node, graph).map_err(told)?;
    let kind = if node.kind == "workflow" { "run" } else { node.kind.as_str() };
    let built = build::step(kind, &given)
        .map_err(|found| found.into_iter().flat_map(told).collect::<Vec<_>>())?;
    Ok(built.get(&node.id).cloned())
}

fn given(node: &Node, graph: &Graph) -> Result<build::Given, Problem> {
    let mut given = build::Given::new();
    given.insert("name".into(), json!(node.id));
    if node.wanted {
        given.insert("export".into(), json!(format!("$context + {{\"{}\": .}}", node.id)));
    }
    for (key, value) in &node.data {
        let value = template::tree(value, graph)?;
        match (key.as_str(), node.kind.as_str()) {
            // What the drawing shows.
            ("label" | "description" | "condition", _) => {}
            ("retry", _) if value.is_object() => retry(&value, &mut given),
            ("to", "notify") => drop(given.insert("recipient".into(), value)),
            ("name", "report") => drop(given.insert("report".into(), value)),
            ("name", "workflow") => drop(given.insert("workflow".into(), value)),
            ("input", "workflow") => drop(given.insert("data".into(), value)),
            ("type" | "event", "emit" | "listen") => drop(given.insert("event".into(), value)),
            (unit, "wait") if UNITS.iter().any(|(name, _)| *name == unit) => {
                let slot = given.entry("duration").or_insert_with(|| json!({}));
                slot[unit] = value;
            }
            (_, "set") if key != "value" => {
                let slot = given.entry("value").or_insert_with(|| json!({}));
                slot[key] = value;
            }
            ("name" | "next" | "export" | "compensate", _) => {
                let message = format!("\"{key}\" has no place in the data of a node");
                return Err(Problem::error("", "unknown_key", message)
                    .with_hint("Write a definition for that."));
            }
            _ => drop(given.insert(key.clone(), value)),
        }
    }
    Ok(given)
}

/// `{"max": 3, "delay_s": 2}`.
fn retry(value: &Value, given: &mut build::Given) {
    if let Some(max) = value.get("max") {
        given.insert("retry".into(), max.clone());
    }
    if let Some(seconds) = value.get("delay_s") {
        given.insert("retry_delay".into(), json!({ "seconds": seconds }));
    }
}
