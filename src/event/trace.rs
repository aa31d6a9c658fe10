//! What an event says of the session that caused it, and the trace that goes on in its jobs.
//!
//! The trace that is in force is the setting `automate.traceparent`. Whoever queues a job puts it
//! into the job's payload, and an executor sets it again for the length of the job: so what a rule's
//! action writes, emits, sends or starts belongs to the same trace.

use crate::{guc, pg};
use automate_core::trace;
use pgrx::prelude::*;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::ffi::{CStr, CString};

/// The header by which a request carries its trace.
pub const HEADER: &str = "traceparent";

/// The `traceparent` in force.
pub fn current() -> Option<String> {
    guc::traceparent().and_then(|text| text.into_string().ok()).filter(|text| !text.is_empty())
}

/// Says in an event where it comes from: `application`, `session` (the settings that
/// `automate.session_vars` lists, as far as they are set) and `trace`.
pub fn stamp(event: &mut Map<String, Value>) {
    if let Some(name) = application() {
        event.insert("application".into(), name.into());
    }
    if let Some(names) = guc::session_vars()
        && let Some(session) = session(&names)
    {
        event.insert("session".into(), Value::Object(session));
    }
    if let Some(traceparent) = current() {
        event.insert("trace".into(), json!({ "traceparent": traceparent }));
    }
}

/// The same by itself, as it is kept with the event; None: there is nothing to say.
pub fn context() -> Option<Map<String, Value>> {
    let mut context = Map::new();
    stamp(&mut context);
    (!context.is_empty()).then_some(context)
}

/// The trace that a payload or an event names.
pub fn of(payload: &Value) -> Option<&str> {
    let named = |value: &Value| value.is_string();
    [&payload["trace"]["traceparent"], &payload["event"]["trace"]["traceparent"]]
        .into_iter()
        .find(|value| named(value))
        .and_then(Value::as_str)
        .filter(|text| trace::check(text).is_ok())
}

/// Goes on with a trace until the enclosing nest level ends.
pub fn go_on(traceparent: Option<&str>) {
    let Some(text) = traceparent.and_then(|text| CString::new(text).ok()) else { return };
    pg::set_local(c"automate.traceparent", &text);
}

/// A job's payload with the trace in force, unless it names one itself.
pub fn stamped(payload: &Value) -> Cow<'_, Value> {
    match (current(), payload) {
        (Some(traceparent), Value::Object(map)) if of(payload).is_none() => {
            let mut map = map.clone();
            map.insert("trace".into(), json!({ "traceparent": traceparent }));
            Cow::Owned(Value::Object(map))
        }
        _ => Cow::Borrowed(payload),
    }
}

fn application() -> Option<String> {
    // SAFETY: the setting's value is a C string or null, and we copy it at once.
    let name = unsafe {
        let name = pg_sys::application_name;
        (!name.is_null()).then(|| CStr::from_ptr(name).to_string_lossy().into_owned())
    };
    name.filter(|name| !name.is_empty())
}

/// The listed settings that are set. A setting that does not exist is not set.
fn session(names: &CStr) -> Option<Map<String, Value>> {
    let names = names.to_str().ok()?;
    let mut found = Map::new();
    for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let Ok(text) = CString::new(name) else { continue };
        // SAFETY: with missing_ok an unknown name answers null; the value is copied at once. A
        // superuser chose the list, so settings for superusers are shown, too.
        let value = unsafe {
            let value = pg_sys::GetConfigOption(text.as_ptr(), true, false);
            (!value.is_null()).then(|| CStr::from_ptr(value).to_string_lossy().into_owned())
        };
        // What SET LOCAL made is empty after the transaction.
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            found.insert(name.to_owned(), value.into());
        }
    }
    (!found.is_empty()).then_some(found)
}
