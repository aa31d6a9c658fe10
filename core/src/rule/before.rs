//! What a rule does to a row before it is written: `set` gives columns values, `reject` refuses it.

use serde_json::{Map, Value};

use crate::jq::{self, Template};
use crate::object::{Object, below, wrong_kind};
use crate::problem::Problem;
use crate::rule::operand::nul;

/// The SQLSTATE of a rejection that names none: that of PL/pgSQL's RAISE EXCEPTION.
const SQLSTATE: &str = "P0001";

/// A column, and the SQL of its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    pub column: String,
    pub sql: String,
}

/// How a row is refused.
pub struct Rejection {
    pub sqlstate: String,
    message: Template,
    detail: Option<Template>,
    hint: Option<Template>,
}

/// A rejection with its texts, for one row.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejected {
    pub sqlstate: String,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
}

/// Reads `{"set": {"column": "SQL"}}`. A number, true, false and null mean the same in SQL.
pub(super) fn assignments(object: &mut Object<'_, '_>) -> Option<Vec<Assignment>> {
    let pointer = object.pointer("set");
    let Value::Object(map) = object.get("set")? else {
        let value = object.get("set")?;
        wrong_kind(object.problems(), &pointer, "an object of columns", value);
        return None;
    };
    if map.is_empty() {
        let problem = Problem::error(pointer, "empty", "\"set\" must not be empty");
        object.problems().push(problem.with_hint("Write {\"set\": {\"column\": \"SQL\"}}."));
        return None;
    }
    let before = object.problems().len();
    let mut found = Vec::with_capacity(map.len());
    for (column, value) in map {
        let place = below(&pointer, column);
        match assigned(value) {
            Some(sql) if sql.contains('\0') || column.contains('\0') => {
                object.problems().push(nul(&place));
            }
            Some(sql) => found.push(Assignment { column: column.clone(), sql }),
            None => wrong_kind(object.problems(), &place, "the text of an SQL expression", value),
        }
    }
    (object.problems().len() == before).then_some(found)
}

fn assigned(value: &Value) -> Option<String> {
    match value {
        Value::String(sql) => Some(sql.clone()),
        Value::Null => Some("NULL".into()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Array(_) | Value::Object(_) => None,
    }
}

/// Reads `{"reject": "message", "sqlstate": ..., "detail": ..., "hint": ...}`.
pub(super) fn rejection(object: &mut Object<'_, '_>, message: &str) -> Option<Rejection> {
    let place = object.pointer("reject");
    let message = super::action::compile(object, &place, &Value::from(message));
    let mut part = |key: &str| match object.string(key).map(Value::from) {
        None => Some(None),
        Some(text) => {
            let place = object.pointer(key);
            super::action::compile(object, &place, &text).map(Some)
        }
    };
    let (detail, hint) = (part("detail"), part("hint"));
    let sqlstate = sqlstate(object);
    Some(Rejection { sqlstate: sqlstate?, message: message?, detail: detail?, hint: hint? })
}

fn sqlstate(object: &mut Object<'_, '_>) -> Option<String> {
    if object.get("sqlstate").is_none() {
        return Some(SQLSTATE.into());
    }
    let text = object.string("sqlstate")?;
    let is_code = text.len() == 5
        && text.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase())
        // Success, a warning and "no data" are no errors.
        && !["00", "01", "02"].contains(&&text[..2]);
    if !is_code {
        let message = format!("\"{}\" is not the SQLSTATE of an error", text.escape_debug());
        let problem = Problem::error(object.pointer("sqlstate"), "invalid_sqlstate", message);
        let hint = "Five digits and capital letters, such as \"23514\", or leave it out: P0001.";
        object.problems().push(problem.with_hint(hint));
        return None;
    }
    Some(text.to_owned())
}

impl Rejection {
    /// Whether its texts depend on the row.
    pub fn is_constant(&self) -> bool {
        let parts = [Some(&self.message), self.detail.as_ref(), self.hint.as_ref()];
        parts.into_iter().flatten().all(Template::is_constant)
    }

    /// The texts for one row; `context` holds `event`, `new`, `old` and `rule`.
    pub fn render(&self, context: &Value) -> Result<Rejected, jq::Error> {
        let text = |template: &Template| template.render(context, &[]).map(text);
        let optional = |template: &Option<Template>| match template {
            None => Ok(None),
            Some(template) => text(template),
        };
        Ok(Rejected {
            sqlstate: self.sqlstate.clone(),
            message: text(&self.message)?.unwrap_or_else(|| "the row is not acceptable".into()),
            detail: optional(&self.detail)?,
            hint: optional(&self.hint)?,
        })
    }
}

/// A value as people read it; NULL says nothing.
fn text(value: Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    }
}

impl Rejected {
    /// In the shape in which it is defined.
    pub fn as_defined(&self) -> Value {
        let mut map = Map::new();
        map.insert("reject".into(), self.message.as_str().into());
        map.insert("sqlstate".into(), self.sqlstate.as_str().into());
        for (key, part) in [("detail", &self.detail), ("hint", &self.hint)] {
            if let Some(part) = part {
                map.insert(key.into(), part.as_str().into());
            }
        }
        Value::Object(map)
    }
}
