//! What jq sees of a change where it is evaluated within the write: `{event, new, old, rule}`.

use super::cache::{DELETE, INSERT, Rule, Rules};
use super::capture::Change;
use super::{cause, matched};
use crate::error::{Error, Result};
use crate::pg;
use pgrx::prelude::*;
use serde_json::{Value, json};

/// The context of a rule's actions. Types of the table may have casts to json that are somebody's
/// function: with the rights of the rule's owner, where an error ends a subtransaction.
pub fn of(rules: &Rules, rule: &Rule, change: &Change, writer: Option<&str>) -> Result<Value> {
    let row = |slot| {
        serde_json::from_str::<Value>(&matched::row_to_json(slot))
            .map_err(|e| Error::Internal(e.to_string()))
    };
    Ok(json!({
        "event": event(rules, change, writer),
        "new": row(change.new)?,
        "old": row(change.old)?,
        "rule": rule.name,
    }))
}

fn event(rules: &Rules, change: &Change, writer: Option<&str>) -> Value {
    let operation = match change.operation {
        INSERT => "insert",
        DELETE => "delete",
        _ => "update",
    };
    // SAFETY: reads the transaction's id; 0 as long as it has written nothing.
    let transaction = unsafe { pg_sys::GetTopFullTransactionIdIfAny().value };
    let mut event = json!({
        "op": operation,
        "schema": rules.schema,
        "table": rules.table,
        "txid": (transaction != 0).then_some(transaction),
        "at": pg::iso(pg::now()),
        "user": writer,
        "depth": cause::depth(),
    });
    if let (Some(partition), Some(event)) = (&rules.partition, event.as_object_mut()) {
        event.insert("partition".into(), json!(partition));
    }
    event
}
