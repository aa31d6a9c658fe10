//! `{{ input.x }}` of drawings as jq: `input` is the workflow's input, `previous` the output of the
//! node before, and the id of a node the output of that one.

use super::graph::Graph;
use crate::problem::Problem;
use crate::suggest;
use serde_json::{Map, Value};

/// A tree with templates in its texts as one with expressions.
pub(super) fn tree(value: &Value, graph: &Graph) -> Result<Value, Problem> {
    Ok(match value {
        Value::String(text) if text.contains("{{") => Value::from(text_of(text, graph)?),
        Value::Array(items) => {
            Value::Array(items.iter().map(|v| tree(v, graph)).collect::<Result<_, _>>()?)
        }
        Value::Object(map) => {
            let mut made = Map::new();
            for (key, value) in map {
                made.insert(key.clone(), tree(value, graph)?);
            }
            Value::Object(made)
        }
        other => other.clone(),
    })
}

/// A condition: jq, in which templates stand for values.
pub(super) fn condition(text: &str, graph: &Graph) -> Result<String, Problem> {
    let text = crate::jq::expression(text).unwrap_or(text);
    let mut jq = String::new();
    for part in parts(text)? {
        match part {
            Part::Text(text) => jq.push_str(text),
            Part::Path(path) => jq.push_str(&format!("({})", expression(path, graph)?)),
        }
    }
    Ok(format!("${{ {jq} }}"))
}

/// Whether a template somewhere in the text names the node.
pub(super) fn mentions(text: &str, id: &str) -> bool {
    let reads = format!("$context[\"{id}\"]");
    let named = |path: &str| split(path).is_some_and(|(head, _)| head == id);
    text.contains(&reads)
        || text
            .split("{{")
            .skip(1)
            .any(|rest| rest.split_once("}}").is_some_and(|(path, _)| named(path.trim())))
}

enum Part<'t> {
    Text(&'t str),
    Path(&'t str),
}

fn text_of(text: &str, graph: &Graph) -> Result<String, Problem> {
    let parts = parts(text)?;
    if let [Part::Path(path)] = parts[..] {
        return Ok(format!("${{ {} }}", expression(path, graph)?));
    }
    let mut jq = String::new();
    for part in parts {
        match part {
            Part::Text(text) => {
                let quoted = Value::from(text).to_string();
                jq.push_str(quoted.trim_start_matches('"').strip_suffix('"').unwrap_or(&quoted));
            }
            Part::Path(path) => jq.push_str(&format!("\\({})", expression(path, graph)?)),
        }
    }
    Ok(format!("${{ \"{jq}\" }}"))
}

fn parts(text: &str) -> Result<Vec<Part<'_>>, Problem> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((path, behind)) = after.split_once("}}") else {
            let message = format!("a template is not closed: {text}");
            return Err(Problem::error("", "invalid_template", message).with_hint("Add }}."));
        };
        if !before.is_empty() {
            found.push(Part::Text(before));
        }
        found.push(Part::Path(path.trim()));
        rest = behind;
    }
    if !rest.is_empty() {
        found.push(Part::Text(rest));
    }
    Ok(found)
}

/// The first name of a path, and what follows as jq.
fn split(path: &str) -> Option<(&str, String)> {
    let mut names = path.split('.');
    let (head, index) = bare(names.next()?)?;
    let mut jq = index.to_owned();
    for name in names {
        let (name, index) = bare(name)?;
        jq.push_str(&format!("[\"{name}\"]{index}"));
    }
    Some((head, jq))
}

/// A name and the `[n]` behind it.
fn bare(text: &str) -> Option<(&str, &str)> {
    let end = text.find('[').unwrap_or(text.len());
    let (name, index) = text.split_at(end);
    let word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let number = |t: &str| t.strip_suffix(']').is_some_and(|n| n.parse::<u32>().is_ok());
    let fine = !name.is_empty() && name.chars().all(word);
    (fine && index.split('[').skip(1).all(number)).then_some((name, index))
}

fn expression(path: &str, graph: &Graph) -> Result<String, Problem> {
    let Some((head, rest)) = split(path) else {
        let message = format!("{{{{ {path} }}}} is no path");
        return Err(Problem::error("", "invalid_template", message).with_hint(
            "Write {{ input.order_id }}; what is more than a path belongs in a definition.",
        ));
    };
    match head {
        "input" => Ok(format!("$workflow.input{rest}")),
        "previous" => Ok(if rest.is_empty() { ".".into() } else { format!(".{rest}") }),
        id if graph.nodes.iter().any(|n| n.id == id) => Ok(format!("$context[\"{id}\"]{rest}")),
        other => {
            let mut known = vec!["input", "previous"];
            known.extend(graph.nodes.iter().map(|n| n.id.as_str()));
            let message = format!("{{{{ {path} }}}}: there is no \"{other}\"");
            Err(Problem::error("", "invalid_template", message)
                .with_hint(suggest::hint(other, &known)))
        }
    }
}
