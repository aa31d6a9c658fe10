//! Which triggers would fire for an event: nothing is recorded, and nobody is told.

use super::decide::{self, Change, Verdict};
use super::known;
use crate::error::Result;
use crate::rule::trial::Given;
use crate::spi::{Own, as_extension};
use crate::{event, pg};
use automate_core::trigger::Kind;
use pgrx::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

const OPERATIONS: [&str; 4] = ["insert", "update", "delete", "truncate"];

/// A change of a table, as an event tells it.
struct Told {
    operation: String,
    schema: String,
    table: String,
}

/// The triggers of a role that an event concerns, as a JSON array of what each says.
pub fn run(user: pg_sys::Oid, name: &str, payload: &Value) -> Result<Value> {
    event::check_name(name)?;
    let told = told(name, payload);
    let concerned = as_extension(|own| {
        let tables = told.as_ref().map_or(Ok(Vec::new()), |told| tables(own, told))?;
        known::concerned(own, user, name, tables)
    })?;
    let event = envelope(user, name, payload);
    let mut rows = Vec::with_capacity(concerned.len());
    for trigger in &concerned {
        let verdict = match (trigger.kind, &told) {
            (Kind::Event, _) => decide::on_event(trigger, user, &event),
            (_, Some(told)) => {
                let side = |key: &str| given(payload.get(key));
                let operation = told.operation.clone();
                let change = Change { operation, new: side("new"), old: side("old") };
                // Rows that cannot be the table's are the answer, not an error.
                decide::on_change(trigger, &change)
                    .unwrap_or_else(|error| Verdict::no(error.to_string()))
            }
            _ => continue,
        };
        rows.push(json!({
            "trigger": trigger.name, "trigger_type": trigger.kind.word(),
            "fires": verdict.fires, "reason": verdict.reason,
        }));
    }
    Ok(Value::Array(rows))
}

/// An event as its listeners would see it.
pub fn envelope(user: pg_sys::Oid, name: &str, payload: &Value) -> Value {
    json!({
        "id": Uuid::now_v7(), "name": name, "payload": payload, "at": pg::iso(pg::now()),
        "user": pg::role_name(user), "source": null, "depth": 0,
    })
}

/// A row in a payload.
fn given(row: Option<&Value>) -> Option<Given> {
    let value = row.filter(|row| !row.is_null())?.clone();
    let text = value.to_string();
    Some(Given { value, text })
}

/// The change that an event stands for: by its payload, or by a name such as public.orders.insert.
fn told(name: &str, payload: &Value) -> Option<Told> {
    let text = |key: &str| payload[key].as_str().map(str::to_owned);
    if let (Some(operation), Some(schema), Some(table)) =
        (text("op"), text("schema"), text("table"))
    {
        return Some(Told { operation, schema, table });
    }
    let (rest, operation) = name.rsplit_once('.')?;
    let (schema, table) = rest.split_once('.')?;
    OPERATIONS.contains(&operation).then(|| Told {
        operation: operation.into(),
        schema: schema.into(),
        table: table.into(),
    })
}

/// The table, and those of which it is a partition.
fn tables(own: &Own, told: &Told) -> Result<Vec<pg_sys::Oid>> {
    let rows = own.run(
        "SELECT a.relid::pg_catalog.oid
         FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace,
              LATERAL (SELECT c.oid AS relid UNION SELECT p.relid FROM pg_catalog.pg_partition_ancestors(c.oid) AS p) AS a
         WHERE n.nspname = $1 AND c.relname = $2",
        &[told.schema.as_str().into(), told.table.as_str().into()],
    )?;
    Ok((0..rows.len()).filter_map(|row| rows.get(row, 1)).collect())
}
