//! What a rule before the write would make of a row, without writing it.

use super::before::{self, Place};
use super::look::Looked;
use super::trial::{Given, Trial};
use crate::error::Result;
use automate_core::rule::before::Assignment;
use serde_json::{Map, Value, json};

/// The values that columns would get, as `{"set": {...}}`; the row has them afterwards.
pub fn set(rule: &Looked, row: &mut Value, values: &[Assignment]) -> Value {
    match computed(rule, row, values) {
        Ok(found) => {
            if let Some(row) = row.as_object_mut() {
                row.extend(found.clone());
            }
            json!({ "set": found })
        }
        Err(error) => json!({"error": error.to_string()}),
    }
}

fn computed(rule: &Looked, row: &Value, values: &[Assignment]) -> Result<Map<String, Value>> {
    let given = Given { value: row.clone(), text: row.to_string() };
    let operations = before::bits(&rule.operations);
    let place = Place { relid: rule.table, owner: rule.owner, operations };
    rule.as_owner(|| -> Result<Map<String, Value>> {
        let mut found = Map::new();
        // SAFETY: within `as_owner`; the nodes live as long as the trial.
        unsafe {
            let trial = Trial::of(rule, Some(&given), None)?;
            for value in values {
                let text = trial.json(before::read_value(&place, value)?)?;
                let text = serde_json::from_str(&text).unwrap_or(Value::String(text));
                found.insert(value.column.clone(), text);
            }
        }
        Ok(found)
    })?
}
