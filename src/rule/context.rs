//! What jq sees of a change where it is evaluated within the write: `{event, new, old, rule}`.

use super::cache::{Rule, Rules};
use super::capture::Change;
use super::matched;
use crate::error::{Error, Result};
use serde_json::{Value, json};

/// The context of a rule's actions. Types of the table may have casts to json that are somebody's
/// function: with the rights of the rule's owner, where an error ends a subtransaction.
pub fn of(rules: &Rules, rule: &Rule, change: &Change, writer: Option<&str>) -> Result<Value> {
    let row = |slot| {
        serde_json::from_str::<Value>(&matched::row_to_json(slot))
            .map_err(|e| Error::Internal(e.to_string()))
    };
    Ok(json!({
        "event": matched::envelope(rules, change.operation, change.partition(rules), writer),
        "new": row(change.new)?,
        "old": row(change.old)?,
        "rule": rule.name,
    }))
}
