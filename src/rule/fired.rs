//! A data trigger that fired: its event is recorded in the writer's transaction, and told to those
//! who listen.

use super::cache::{DELETE, Rule, Rules, UPDATE};
use super::capture::{self, Change};
use super::data_trigger::{Firing, Form};
use super::matched::{self, Documents};
use super::terms;
use crate::error::{Failure, Result};
use crate::event::{self, Emission};
use crate::spi::step;
use crate::{guc, pg};
use automate_core::json::members;
use pgrx::prelude::*;
use serde_json::{Map, Value, json};
use std::ffi::CStr;

/// Records an event for each data trigger that fired.
pub fn put(rules: &Rules, fires: &[u32], change: &Change) -> Result<()> {
    let Some(first) = fires.first().map(|fire| &rules.rules[*fire as usize]) else { return Ok(()) };
    let writer = pg::role_name(pg::current_user());
    let mut event =
        matched::envelope(rules, change.operation, change.partition(rules), writer.as_deref());
    event.insert("key".into(), key(rules, change));
    let changed = changed(change);
    if let Some(changed) = &changed {
        event.insert("changed".into(), json!(changed));
    }
    let (documents, failure) = matched::documents(rules, first, change);
    if let Some(failure) = failure {
        capture::pass_over(rules, fires[0], failure)?;
    }
    let seen = Seen { event, changed, documents };
    for fire in fires {
        let rule = &rules.rules[*fire as usize];
        let Some(firing) = &rule.firing else { continue };
        let text = seen.payload(firing.form);
        let recorded = match text.len() > guc::max_payload_bytes() {
            true => record(rules, rule, firing, &seen.keys(change).payload(firing.form)),
            false => record(rules, rule, firing, &text),
        };
        let Err(failure) = recorded else { continue };
        capture::pass_over(rules, *fire, failure)?;
        // What jsonb refuses is in the rows: their keys are told at least.
        if rules.delicate
            && let Err(again) = record(rules, rule, firing, &seen.keys(change).payload(firing.form))
        {
            capture::pass_over(rules, *fire, again)?;
        }
    }
    Ok(())
}

/// Records one event. An error is a value; if PostgreSQL raises it, then in a subtransaction,
/// which only rows that it may refuse are worth.
pub fn record(
    rules: &Rules,
    rule: &Rule,
    firing: &Firing,
    text: &str,
) -> std::result::Result<(), Failure> {
    let emit = || {
        let payload: Value = serde_json::from_str(text).unwrap_or_default();
        let source = format!("trigger:{}", rule.name);
        event::emit(&Emission {
            source: Some(&source),
            trigger: Some(rule.id),
            text: Some(text),
            ..Emission::new(rule.owner, &firing.event, &payload)
        })
        .map(|_| ())
        .map_err(Failure::from)
    };
    if rules.delicate { step::in_subtransaction(emit).and_then(|done| done) } else { emit() }
}

/// A change as its events tell it.
struct Seen {
    event: Map<String, Value>,
    /// Of an update the columns that it changed.
    changed: Option<Vec<String>>,
    documents: Documents,
}

impl Seen {
    /// The payload, in which the rows stand as PostgreSQL wrote them: our numbers are coarser.
    fn payload(&self, form: Form) -> String {
        let mut event = self.event.clone();
        if self.documents.truncated {
            event.insert("truncated".into(), json!(true));
        }
        let mut text = Value::Object(event).to_string();
        if form != Form::Key {
            text.pop();
            let rows = [("new", &self.documents.new), ("old", &self.documents.old)];
            for (side, row) in rows {
                let row = match (form, &self.changed) {
                    (Form::Changed, Some(changed)) => self.reduced(row, changed),
                    _ => None,
                }
                .unwrap_or_else(|| row.clone());
                text.push_str(&format!(",\"{side}\":{row}"));
            }
            text.push('}');
        }
        text
    }

    /// The columns of a row that changed, and those of the key.
    fn reduced(&self, row: &str, changed: &[String]) -> Option<String> {
        let columns = members(row)?;
        let is_key = |name: &String| self.event["key"].get(name).is_some();
        let kept = columns.into_iter().filter(|(name, _)| changed.contains(name) || is_key(name));
        let parts: Vec<String> =
            kept.map(|(name, value)| format!("{}:{value}", Value::String(name))).collect();
        Some(format!("{{{}}}", parts.join(",")))
    }

    /// The same with the keys of the rows in their places.
    fn keys(&self, change: &Change) -> Seen {
        Seen { event: self.event.clone(), changed: None, documents: matched::key_only(change) }
    }
}

/// The primary key of the row, as it is after the change; null if the table has none.
fn key(rules: &Rules, change: &Change) -> Value {
    let row = if change.operation == DELETE { change.old } else { change.new };
    let make = || matched::key_of(change.relation, row);
    // Only somebody's own type can fail to be written.
    let key = match rules.delicate {
        true => step::in_subtransaction(make).unwrap_or(Value::Null),
        false => make(),
    };
    if key.as_object().is_some_and(Map::is_empty) { Value::Null } else { key }
}

/// The names of the columns that an update changed.
fn changed(change: &Change) -> Option<Vec<String>> {
    if change.operation != UPDATE {
        return None;
    }
    // SAFETY: the slot's descriptor lives as long as the slot; the names are copied.
    unsafe {
        let descriptor = (*change.new).tts_tupleDescriptor;
        let attributes = (*descriptor).attrs.as_slice((*descriptor).natts as usize);
        let columns = attributes.iter().zip(1i16..).filter(|(attribute, number)| {
            !attribute.attisdropped && terms::has_changed(change, *number)
        });
        let name = |attribute: &pg_sys::FormData_pg_attribute| {
            CStr::from_ptr(attribute.attname.data.as_ptr()).to_string_lossy().into_owned()
        };
        Some(columns.map(|(attribute, _)| name(attribute)).collect())
    }
}
