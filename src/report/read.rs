//! Reading the datasets of a report: read only, in one snapshot, with the rights of its owner.

use super::define::default_query;
use crate::error::{Error, Result, shown};
use crate::pg;
use crate::spi::own::as_role;
use crate::spi::query::{self, Limits, ReadOnly};
use crate::worker::process::with_snapshot;
use automate_core::object::kind;
use automate_core::report::{Data, Definition, Param, ParamKind, Table};
use pgrx::prelude::*;
use serde_json::{Map, Value};
use std::ffi::{CStr, CString};

/// Most bytes of the rows of all datasets.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// Longest time to compute a default.
const DEFAULT_TIMEOUT_MS: u64 = 60_000;
/// The parameter that every statement has: the instant of the run.
const NOW: &str = "now";

/// The rows of one reading.
pub struct Reading {
    pub data: Data,
    /// Rows of all datasets, also those that were not kept.
    pub rows: i64,
    /// The instant of the snapshot, in PostgreSQL's microseconds.
    pub as_of_us: i64,
}

/// A parameter's type: its name in SQL and its OID.
pub fn param_kind(param: &Param) -> (&'static str, pg_sys::Oid) {
    let oid = match param.kind {
        ParamKind::Text => pg_sys::TEXTOID,
        ParamKind::Int => pg_sys::INT4OID,
        ParamKind::Bigint => pg_sys::INT8OID,
        ParamKind::Numeric => pg_sys::NUMERICOID,
        ParamKind::Date => pg_sys::DATEOID,
        ParamKind::Timestamp => pg_sys::TIMESTAMPOID,
        ParamKind::Timestamptz => pg_sys::TIMESTAMPTZOID,
        ParamKind::Interval => pg_sys::INTERVALOID,
        ParamKind::Boolean => pg_sys::BOOLOID,
        ParamKind::Uuid => pg_sys::UUIDOID,
        ParamKind::Jsonb => pg_sys::JSONBOID,
    };
    (param.kind.sql_type(), oid)
}

/// The types of the parameters that a statement uses, in the order of their numbers.
pub fn types_of(definition: &Definition, names: &[String]) -> Vec<pg_sys::Oid> {
    let declared = |name: &String| definition.params.iter().find(|p| p.name == *name);
    names
        .iter()
        .map(|name| declared(name).map_or(pg_sys::TIMESTAMPTZOID, |param| param_kind(param).1))
        .collect()
}

/// Says what is wrong with the parameters of a call, before anything is run.
pub fn check_params(definition: &Definition, given: &Value) -> Result<()> {
    let Value::Object(given) = given else {
        return Err(Error::invalid("params must be a JSON object")
            .with_detail(format!("The value of params is {}.", kind(given)))
            .with_hint("Write for example '{\"from\": \"2026-01-31\"}'."));
    };
    let names: Vec<&str> = definition.params.iter().map(|p| p.name.as_str()).collect();
    if let Some(name) = given.keys().find(|name| !names.contains(&name.as_str())) {
        let message = format!("the report has no parameter {}", shown(name));
        return Err(match names.is_empty() {
            true => Error::invalid(message)
                .with_detail("Its definition declares no parameters.")
                .with_hint("Leave params out."),
            false => Error::unknown_word(message, name, &names),
        });
    }
    for param in &definition.params {
        match given.get(&param.name) {
            Some(value) => {
                let what = format!("parameter \"{}\"", param.name);
                query::check_value(&what, value, param_kind(param))?;
            }
            None if param.default.is_none() => {
                return Err(Error::invalid(format!("parameter \"{}\" is missing", param.name))
                    .with_detail("The report declares it without a default.")
                    .with_hint("Give it in params, or declare a \"default\" for it."));
            }
            None => {}
        }
    }
    Ok(())
}

/// Reads all datasets. The caller has checked the parameters.
pub fn read(
    definition: &Definition,
    owner: pg_sys::Oid,
    search_path: &str,
    given: &Value,
) -> Result<Reading> {
    let nest = pg::GucNest::open();
    let text = |text: &str| CString::new(text).unwrap_or_default();
    pg::set_local(c"search_path", &text(search_path));
    // What is shown does not depend on who asks for it.
    pg::set_local(c"DateStyle", c"ISO, YMD");
    pg::set_local(c"IntervalStyle", c"postgres");
    if let Some(zone) = &definition.time_zone {
        pg::set_local(c"TimeZone", &text(zone));
    }
    let result = as_role(owner, || {
        with_snapshot(|| {
            let _read_only = ReadOnly::start();
            read_all(definition, given)
        })
    });
    nest.undo();
    result
}

fn read_all(definition: &Definition, given: &Value) -> Result<Reading> {
    let as_of_us = pg::now();
    let now = Value::String(instant_text(as_of_us));
    let params = fill_params(definition, given, &now)?;
    let value = |name: &String| match name.as_str() {
        NOW => now.clone(),
        name => params.get(name).cloned().unwrap_or(Value::Null),
    };
    let mut data = Data { as_of: instant_text(as_of_us - as_of_us % 1_000_000), ..Data::default() };
    let (mut rows, mut left) = (0u64, MAX_BYTES);
    for dataset in &definition.datasets {
        let limits =
            Limits { max_rows: dataset.max_rows, max_bytes: left, timeout_ms: dataset.timeout_ms };
        let values: Vec<Value> = dataset.param_names.iter().map(value).collect();
        let types = types_of(definition, &dataset.param_names);
        let what = format!("dataset \"{}\"", dataset.name);
        let table = query::fetch(&what, &dataset.sql, &types, &values, &limits)?;
        rows += table.truncated_of.unwrap_or(table.rows.len() as u64);
        left = left.saturating_sub(size(&table));
        data.datasets.insert(dataset.name.clone(), table);
    }
    data.params = Value::Object(params);
    Ok(Reading { data, rows: i64::try_from(rows).unwrap_or(i64::MAX), as_of_us })
}

fn size(table: &Table) -> usize {
    table.rows.iter().flatten().map(|cell| cell.as_ref().map_or(0, String::len)).sum()
}

/// The given values, and the defaults of the others.
fn fill_params(definition: &Definition, given: &Value, now: &Value) -> Result<Map<String, Value>> {
    let mut params = Map::new();
    for param in &definition.params {
        let value = match (given.get(&param.name), &param.default) {
            (Some(value), _) => value.clone(),
            (None, None) => Value::Null,
            (None, Some(default)) => {
                let what = format!("default of parameter \"{}\"", param.name);
                let text = default_query(&default.sql, param_kind(param).0);
                let types = types_of(definition, &default.param_names);
                let values = vec![now.clone(); types.len()];
                let limits =
                    Limits { max_rows: 2, max_bytes: MAX_BYTES, timeout_ms: DEFAULT_TIMEOUT_MS };
                let table = query::fetch(&what, &text, &types, &values, &limits)?;
                let cell = table.rows.into_iter().next().and_then(|row| row.into_iter().next());
                match cell.flatten() {
                    None => Value::Null,
                    Some(text) if param.kind == ParamKind::Jsonb => {
                        serde_json::from_str(&text).map_err(|e| Error::Internal(e.to_string()))?
                    }
                    Some(text) => Value::String(text),
                }
            }
        };
        params.insert(param.name.clone(), value);
    }
    Ok(params)
}

/// An instant as PostgreSQL prints it in the session's time zone.
fn instant_text(us: i64) -> String {
    // SAFETY: the argument is a timestamptz; the text is copied.
    let text =
        unsafe { pgrx::direct_function_call::<&CStr>(pg_sys::timestamptz_out, &[Some(us.into())]) };
    text.map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
}
