//! The SQL of single comparisons: how columns, places inside json, literals and expressions meet.

use serde_json::Value;

use crate::rule::operand::{Operand, Path};
use crate::rule::sql;

/// The other side of a comparison with null.
pub fn against_null<'o>(left: &'o Operand, right: &'o Operand) -> Option<&'o Operand> {
    match (left, right) {
        (other, Operand::Literal(Value::Null)) | (Operand::Literal(Value::Null), other) => {
            Some(other)
        }
        _ => None,
    }
}

pub fn two_valued(text: String, total: bool) -> String {
    if total && text != "false" { format!("coalesce({text}, false)") } else { text }
}

/// The operator that says the same with its sides exchanged.
pub fn mirrored(operator: &str) -> &str {
    match operator {
        "<" => ">",
        "<=" => ">=",
        ">" => "<",
        ">=" => "<=",
        same => same,
    }
}

/// A value standing alone as a condition. Only PostgreSQL knows whether a column is boolean, and
/// says so; inside json, JsonLogic's idea of truth holds: not null, false, 0, "" or [].
pub fn truth(operand: &Operand, total: bool) -> String {
    let text = match operand {
        Operand::Path(path) => {
            format!("({} OPERATOR(pg_catalog.<>) ALL (ARRAY['false','0','','[]']))", path.text())
        }
        other => plain(other),
    };
    two_valued(text, total)
}

/// A literal in quotes, so that PostgreSQL gives it the type of the other side.
pub fn quoted(operand: &Operand) -> Option<String> {
    match operand {
        Operand::Literal(Value::String(text)) => Some(sql::literal(text)),
        Operand::Literal(Value::Null) => Some("NULL".into()),
        Operand::Literal(other) => Some(sql::literal(&other.to_string())),
        _ => None,
    }
}

/// The operand with a type of its own.
pub fn plain(operand: &Operand) -> String {
    match operand {
        Operand::Column(text) | Operand::Expression(text) => text.clone(),
        Operand::Path(path) => path.text(),
        Operand::Literal(Value::String(text)) => sql::literal(text),
        Operand::Literal(Value::Null) => "NULL".into(),
        Operand::Literal(Value::Number(number)) => {
            let text = number.to_string();
            if text.starts_with('-') { format!("({text})") } else { text }
        }
        Operand::Literal(other) => other.to_string(),
    }
}

/// The operand where text, or a test for NULL, is wanted.
pub fn text_of(operand: &Operand) -> String {
    match operand {
        Operand::Literal(_) => quoted(operand).unwrap_or_default(),
        other => plain(other),
    }
}

/// The operand where any change of it counts. json has no equality, its text has.
pub fn whole(operand: &Operand) -> String {
    match operand {
        Operand::Path(path) if path.is_jsonb() => path.value(),
        other => plain(other),
    }
}

/// The operand as jsonb, if it can be had without risking an error.
pub fn as_jsonb(operand: &Operand) -> Option<String> {
    match operand {
        Operand::Path(path) => path.is_jsonb().then(|| path.value()),
        Operand::Literal(_) => None,
        other => Some(format!("pg_catalog.to_jsonb({})", plain(other))),
    }
}

/// Built-in operators under the name nobody can shadow.
fn builtin(operator: &str) -> String {
    if operator.starts_with("IS") {
        operator.to_owned()
    } else {
        format!("OPERATOR(pg_catalog.{operator})")
    }
}

/// A place inside json against a literal: numbers meet numbers only, nothing raises an error.
pub fn path_literal(path: &Path, operator: &str, value: &Value) -> String {
    match value {
        Value::Number(number) => {
            let otherwise = operator == "IS DISTINCT FROM";
            let number = sql::literal(&number.to_string());
            format!(
                "(CASE WHEN {} THEN {}::pg_catalog.numeric {} {number} ELSE {otherwise} END)",
                path.is_number(),
                path.text(),
                builtin(operator),
            )
        }
        other => {
            let other = quoted(&Operand::Literal(other.clone())).unwrap_or_default();
            format!("({} {} {other})", path.text(), builtin(operator))
        }
    }
}

/// Two jsonb values: of one JSON type or no match, since jsonb would also order the types.
pub fn jsonb_pair(left: &str, operator: &str, right: &str) -> String {
    let operator_text = builtin(operator);
    if operator.starts_with("IS") || operator == "=" {
        return format!("({left} {operator_text} {right})");
    }
    format!(
        "(CASE WHEN pg_catalog.jsonb_typeof({left}) OPERATOR(pg_catalog.=) \
         pg_catalog.jsonb_typeof({right}) THEN {left} {operator_text} {right} ELSE false END)"
    )
}

/// `needle IN (...)`, inside json once for the numbers and once for the rest.
pub fn grouped(needle: &Operand, list: &[Operand]) -> Vec<String> {
    if list.is_empty() {
        return Vec::new();
    }
    let join = |items: Vec<String>| items.join(", ");
    match needle {
        Operand::Path(path) => {
            let (numbers, others): (Vec<&Operand>, Vec<&Operand>) =
                list.iter().partition(|item| matches!(item, Operand::Literal(Value::Number(_))));
            let listed =
                |items: &[&Operand]| join(items.iter().filter_map(|i| quoted(i)).collect());
            let mut parts = Vec::new();
            if !others.is_empty() {
                parts.push(format!("({} IN ({}))", path.text(), listed(&others)));
            }
            if !numbers.is_empty() {
                parts.push(format!(
                    "(CASE WHEN {} THEN {}::pg_catalog.numeric IN ({}) ELSE false END)",
                    path.is_number(),
                    path.text(),
                    listed(&numbers)
                ));
            }
            parts
        }
        Operand::Literal(_) => {
            vec![format!("({} IN ({}))", plain(needle), join(list.iter().map(plain).collect()))]
        }
        other => {
            let items = list.iter().filter_map(quoted).collect();
            vec![format!("({} IN ({}))", plain(other), join(items))]
        }
    }
}

/// `needle` in a string, or in a jsonb array.
pub fn contains(needle: &Operand, haystack: &Operand) -> String {
    let position = |text: String| {
        format!("pg_catalog.strpos({text}, {}) OPERATOR(pg_catalog.>) 0", text_of(needle))
    };
    match (haystack, needle) {
        (Operand::Path(path), Operand::Literal(value)) if path.is_jsonb() => {
            let element = sql::literal(&value.to_string());
            format!(
                "(CASE pg_catalog.jsonb_typeof({place}) WHEN 'array' THEN {place} \
                 OPERATOR(pg_catalog.@>) {element} WHEN 'string' THEN {} ELSE false END)",
                position(path.text()),
                place = path.value(),
            )
        }
        (other, _) => format!("({})", position(text_of(other))),
    }
}
