//! Deciding: the tables of a session, ready, and what is asked of them.

use super::define;
use crate::bell::Age;
use crate::error::{Error, Result, shown};
use crate::noun::DECISION_TABLE;
use crate::spi::as_extension;
use automate_core::decision::{self, Failed, Source, Table};
use pgrx::pg_sys::errcodes::PgSqlErrorCode::*;
use pgrx::prelude::*;
use serde_json::Value;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use uuid::Uuid;

/// Most tables kept by a session, and most rows that they have together.
const KEPT: usize = 64;
const KEPT_ROWS: usize = 200_000;

/// A table that is ready.
struct Ready {
    source: Source,
    table: Table,
}

type Key = (pg_sys::Oid, String, Option<i32>);

thread_local! {
    static TABLES: RefCell<HashMap<Key, (Age, Rc<Ready>)>> = RefCell::new(HashMap::new());
}

/// The table of a name that a role may use, in a version or the current one.
fn ready(user: pg_sys::Oid, name: &str, version: Option<i32>) -> Result<Rc<Ready>> {
    let key = (user, name.to_owned(), version);
    let kept = TABLES.with_borrow(|tables| tables.get(&key).cloned());
    if let Some((age, ready)) = kept
        && age.is_current()
    {
        return Ok(ready);
    }
    let age = Age::now();
    let source = load(user, name, version)?;
    let table = Table::read(&source)
        .map_err(|p| Error::problems("decision table", &p, DECISION_TABLE.help))?;
    let made = Rc::new(Ready { source, table });
    TABLES.with_borrow_mut(|tables| {
        let rows: usize = tables.values().map(|(_, kept)| kept.table.rows.len()).sum();
        if tables.len() >= KEPT || rows + made.table.rows.len() > KEPT_ROWS {
            tables.clear();
        }
        tables.insert(key, (age, made.clone()));
    });
    Ok(made)
}

fn load(user: pg_sys::Oid, name: &str, version: Option<i32>) -> Result<Source> {
    as_extension(|own| {
        let id: Uuid = DECISION_TABLE.id(own, user, name)?;
        let rows = own.run(
            "SELECT v.inputs::pg_catalog.text, v.outputs::pg_catalog.text, v.rows::pg_catalog.text, v.hit_policy
             FROM automate.decision_table AS t JOIN automate.decision_version AS v ON v.decision_table = t.id
             WHERE t.id = $1 AND v.version = coalesce($2, t.version)",
            &[pgrx::Uuid::from_bytes(*id.as_bytes()).into(), version.into()],
        )?;
        if rows.is_empty() {
            let number = version.unwrap_or_default();
            let message = format!("decision table {} has no version {number}", shown(name));
            return Err(Error::missing(message)
                .with_detail("Versions count from 1; each change makes one.")
                .with_hint("automate.decision_version has them all; leave version out for the current one."));
        }
        let text = |column| rows.get::<String>(0, column).unwrap_or_default();
        Ok(Source { inputs: text(1), outputs: text(2), rows: text(3), hit_policy: text(4) })
    })
}

fn refuse(name: &str, failed: Failed) -> Error {
    let code = if failed.by_rows {
        ERRCODE_CARDINALITY_VIOLATION
    } else {
        ERRCODE_INVALID_PARAMETER_VALUE
    };
    let error = Error::refused(code, format!("decision {}: {}", shown(name), failed.message));
    let hint = failed.hint.unwrap_or_else(|| {
        "automate.decision_version has the types and values of its inputs.".into()
    });
    match failed.by_rows {
        true => error.with_detail("The rows that match do not agree with the table's hit policy."),
        false => error.with_detail("The input does not fit the table's columns."),
    }
    .with_hint(hint)
}

/// The decision of a table as JSON.
pub fn decide(
    user: pg_sys::Oid,
    name: &str,
    input: &str,
    version: Option<i32>,
) -> Result<Option<String>> {
    ready(user, name, version)?.table.decide(input).map_err(|failed| refuse(name, failed))
}

/// For each row whether it matches, as a JSON array.
pub fn matches(user: pg_sys::Oid, name: &str, input: &str, version: Option<i32>) -> Result<String> {
    let ready = ready(user, name, version)?;
    let values = ready.table.values(input).map_err(|failed| refuse(name, failed))?;
    let rows: Vec<String> = ready
        .table
        .explain(&values)
        .into_iter()
        .enumerate()
        .map(|(row, failed)| {
            format!(
                "{{\"number\": {}, \"matched\": {}, \"failed\": {}, \"outputs\": {}}}",
                row + 1,
                failed.is_none(),
                failed.map_or(Value::Null, Value::from),
                ready.table.outputs(row as u32)
            )
        })
        .collect();
    Ok(format!("[{}]", rows.join(", ")))
}

/// A table as CSV.
pub fn csv(user: pg_sys::Oid, name: &str, version: Option<i32>) -> Result<String> {
    let ready = ready(user, name, version)?;
    decision::export(&ready.source, &ready.table).map_err(Error::Internal)
}

/// What the author of a table should know, as a JSON array.
pub fn problems(user: pg_sys::Oid, name: &str, version: Option<i32>) -> Result<Value> {
    Ok(define::found(&ready(user, name, version)?.table))
}
