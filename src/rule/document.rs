//! A rule's definition as JSON: in its versions, in the audit, and in documents for version control.

use super::define::Definition;
use super::look::{quoted_name, tried};
use crate::pg;
use automate_core::object::{Object, below, wrong_kind};
use automate_core::problem::Problem;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use serde_json::{Map, Value, json};
use std::ffi::CString;

/// The keys, which are the arguments of create_rule.
pub const KEYS: [&str; 19] = [
    "name",
    "description",
    "on_table",
    "on_event",
    "on_trigger",
    "operations",
    "columns",
    "condition",
    "conditions",
    "actions",
    "timing",
    "ruleset",
    "priority",
    "stop",
    "valid_from",
    "valid_until",
    "on_error",
    "draft",
    "enabled",
];
/// Those that say what it listens to.
pub const SOURCES: [&str; 3] = ["on_table", "on_event", "on_trigger"];

/// The values that create_rule takes for what is not given; null for those not named here.
fn defaults() -> Map<String, Value> {
    let Value::Object(map) = json!({
        "operations": ["insert", "update"], "timing": "after", "priority": 100, "stop": false,
        "on_error": "skip", "draft": false, "enabled": true,
    }) else {
        return Map::new();
    };
    map
}

/// A definition with all its keys.
pub fn write(d: &Definition) -> Map<String, Value> {
    let on_table = d.on_table.map(quoted_name);
    let operations = on_table.as_ref().map(|_| &d.operations);
    let value = json!({
        "name": d.name, "description": d.description, "on_table": on_table, "on_event": d.on_event,
        "on_trigger": d.on_trigger, "operations": operations, "columns": d.columns,
        "condition": d.condition, "conditions": d.conditions, "actions": d.actions,
        "timing": d.timing, "ruleset": d.ruleset, "priority": d.priority, "stop": d.stop,
        "valid_from": d.valid_from.map(instant_text), "valid_until": d.valid_until.map(instant_text),
        "on_error": d.on_error, "draft": d.draft, "enabled": d.enabled,
    });
    let Value::Object(map) = value else { return Map::new() };
    map
}

/// The same without what create_rule would take by itself.
pub fn sparse(mut all: Map<String, Value>) -> Map<String, Value> {
    let defaults = defaults();
    all.retain(|key, value| !value.is_null() && defaults.get(key) != Some(value));
    all
}

/// Reads a definition; None if there are problems, which are noted. Other keys are the caller's.
pub fn read(item: &Value, pointer: &str, problems: &mut Vec<Problem>) -> Option<Definition> {
    let before = problems.len();
    let mut object = Object::open(item, pointer, problems)?;
    let name = object.required_string("name").unwrap_or_default().to_owned();
    if object.get("actions").is_none() {
        object.missing("actions");
    }
    let text = |object: &mut Object, key| object.string(key).map(str::to_owned);
    let definition = Definition {
        name,
        actions: object.get("actions").cloned().unwrap_or_default(),
        on_table: table(&mut object),
        on_event: text(&mut object, "on_event"),
        on_trigger: text(&mut object, "on_trigger"),
        operations: object
            .strings("operations")
            .unwrap_or_else(|| vec!["insert".into(), "update".into()]),
        condition: text(&mut object, "condition"),
        conditions: object.get("conditions").cloned(),
        columns: object.strings("columns"),
        timing: text(&mut object, "timing").unwrap_or_else(|| "after".into()),
        ruleset: text(&mut object, "ruleset"),
        priority: priority(&mut object),
        stop: object.boolean("stop").unwrap_or(false),
        valid_from: instant(&mut object, "valid_from"),
        valid_until: instant(&mut object, "valid_until"),
        on_error: text(&mut object, "on_error").unwrap_or_else(|| "skip".into()),
        draft: object.boolean("draft").unwrap_or(false),
        enabled: object.boolean("enabled").unwrap_or(true),
        description: text(&mut object, "description"),
    };
    (problems.len() == before).then_some(definition)
}

fn priority(object: &mut Object) -> i32 {
    let Some(value) = object.get("priority") else { return 100 };
    let number = value.as_i64().and_then(|n| i32::try_from(n).ok());
    number.unwrap_or_else(|| {
        let pointer = object.pointer("priority");
        wrong_kind(object.problems(), &pointer, "a whole number", value);
        100
    })
}

/// The table of a name, as the role in force sees it.
fn table(object: &mut Object) -> Option<pg_sys::Oid> {
    let name = object.string("on_table")?;
    // SAFETY: the function takes a text, and answers a regclass or NULL.
    let found = tried(|| unsafe {
        pgrx::direct_function_call::<pg_sys::Oid>(pg_sys::to_regclass, &[name.into_datum()])
    });
    let problem = match found {
        Ok(Some(table)) => return Some(table),
        Ok(None) => (
            "undefined_table",
            format!("table \"{name}\" does not exist"),
            "Write it with its schema, such as public.orders.".into(),
        ),
        Err(failure) => (
            "invalid_name",
            failure.message,
            failure.hint.unwrap_or("Write a name such as public.orders.".into()),
        ),
    };
    note(object, "on_table", problem);
    None
}

fn note(object: &mut Object, key: &str, (code, message, hint): (&'static str, String, String)) {
    let pointer = object.pointer(key);
    object.problems().push(Problem::error(pointer, code, message).with_hint(hint));
}

fn instant(object: &mut Object, key: &str) -> Option<TimestampWithTimeZone> {
    let text = CString::new(object.string(key)?).unwrap_or_default();
    // SAFETY: the input function takes a C string, an OID that it ignores, and a precision.
    let read = tried(|| unsafe {
        let arguments = [
            Some(pg_sys::Datum::from(text.as_ptr())),
            pg_sys::InvalidOid.into_datum(),
            (-1i32).into_datum(),
        ];
        pgrx::direct_function_call::<TimestampWithTimeZone>(pg_sys::timestamptz_in, &arguments)
    });
    match read {
        Ok(instant) => instant,
        Err(failure) => {
            let hint = "Write an instant such as 2026-05-01T00:00:00Z.".to_owned();
            note(object, key, ("invalid_datetime_format", failure.message, hint));
            None
        }
    }
}

/// An instant in UTC, which reads the same in every session.
fn instant_text(at: TimestampWithTimeZone) -> String {
    match i64::from(at) {
        i64::MAX => "infinity".into(),
        i64::MIN => "-infinity".into(),
        at => pg::iso(at),
    }
}

/// The pointer of a rule in a document.
pub fn place(index: usize) -> String {
    below("/rules", index)
}
