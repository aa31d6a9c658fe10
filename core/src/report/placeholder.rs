//! Titles and texts with placeholders: `Delays since {{ params.from }}`.
//!
//! Only look-ups, no expressions: what a report computes it computes in SQL.

use serde_json::Value;

use crate::problem::Problem;
use crate::suggest;

use super::render::Data;

/// Longest title or text, in bytes.
const MAX_TEXT: usize = 64 * 1024;

/// A text, taken apart at its placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    AsOf,
    Param(String),
    /// The number of rows of a dataset.
    Rows(String),
}

/// Reads a text; `params` and `datasets` are the names a placeholder may use.
pub fn parse(
    text: &str,
    params: &[&str],
    datasets: &[&str],
    pointer: &str,
    problems: &mut Vec<Problem>,
) -> Text {
    let mut pieces = Vec::new();
    if text.len() > MAX_TEXT {
        let message = format!("a text of more than {MAX_TEXT} bytes is not allowed");
        problems.push(Problem::error(pointer, "too_long", message));
        return Text(pieces);
    }
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((name, behind)) = after.split_once("}}") else {
            let problem = Problem::error(pointer, "unterminated", "\"{{\" without \"}}\"");
            problems.push(problem);
            break;
        };
        pieces.push(Piece::Literal(before.to_owned()));
        match piece(name.trim(), params, datasets) {
            Ok(found) => pieces.push(found),
            Err(hint) => {
                let message = format!("placeholder \"{}\" does not exist", name.trim());
                problems
                    .push(Problem::error(pointer, "unknown_placeholder", message).with_hint(hint));
            }
        }
        rest = behind;
    }
    pieces.push(Piece::Literal(rest.to_owned()));
    Text(pieces)
}

/// What a placeholder stands for, or the hint.
fn piece(name: &str, params: &[&str], datasets: &[&str]) -> Result<Piece, String> {
    match name.split_once('.') {
        None if name == "as_of" => return Ok(Piece::AsOf),
        Some(("params", key)) if params.contains(&key) => return Ok(Piece::Param(key.to_owned())),
        Some(("rows", key)) if datasets.contains(&key) => return Ok(Piece::Rows(key.to_owned())),
        _ => {}
    }
    let known: Vec<String> = std::iter::once("as_of".to_owned())
        .chain(params.iter().map(|p| format!("params.{p}")))
        .chain(datasets.iter().map(|d| format!("rows.{d}")))
        .collect();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    Err(suggest::hint(name, &known))
}

impl Text {
    /// The text with the values of one run.
    pub fn fill(&self, data: &Data) -> String {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Literal(text) => out.push_str(text),
                Piece::AsOf => out.push_str(&data.as_of),
                Piece::Rows(name) => {
                    let rows = data.datasets.get(name).map_or(0, |table| table.rows.len() as u64);
                    let all = data.datasets.get(name).and_then(|table| table.truncated_of);
                    out.push_str(&all.unwrap_or(rows).to_string());
                }
                Piece::Param(name) => match data.params.get(name) {
                    Some(Value::String(text)) => out.push_str(text),
                    Some(Value::Null) | None => {}
                    Some(other) => out.push_str(&other.to_string()),
                },
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn placeholders_are_filled_and_checked() {
        let mut problems = Vec::new();
        let text = "Since {{ params.from }}: {{rows.wf}} rows ({{ as_of }})";
        let found = parse(text, &["from"], &["wf"], "/title", &mut problems);
        assert!(problems.is_empty());
        let data = Data {
            params: json!({"from": "{{ as_of }}"}),
            as_of: "now".into(),
            datasets: Default::default(),
        };
        assert_eq!(found.fill(&data), "Since {{ as_of }}: 0 rows (now)");
        parse("{{ params.form }} {{ as_of", &["from"], &[], "/title", &mut problems);
        let codes: Vec<_> = problems.iter().map(|p| p.code).collect();
        assert_eq!(codes, ["unknown_placeholder", "unterminated"]);
        assert_eq!(problems[0].hint.as_deref(), Some("Did you mean \"params.from\"?"));
    }
}
