//! A data trigger that fired: its event is recorded in the writer's transaction, and told to those
//! who listen.

use super::cache::{DELETE, Rule, Rules, UPDATE};
use super::capture::{self, Change};
use super::data_trigger::{Firing, Form};
use super::matched::{self, Documents, Told};
use super::pending::{self, Payload};
use super::terms;
use crate::error::{Failure, Result};
use crate::event::{self, Emission};
use crate::guc;
use crate::spi::step;
use automate_core::json::members;
use automate_core::jsonb;
use automate_core::rule::reads::SIDES;
use pgrx::prelude::*;
use serde_json::{Map, Value, json};
use std::ffi::CStr;
use std::fmt::Write;
use std::ops::Range;
use std::rc::Rc;

/// Records an event for each data trigger that fired.
pub fn put(rules: &Rc<Rules>, fires: &[u32], change: &Change) -> Result<()> {
    let Some(first) = fires.first().map(|fire| &rules.rules[*fire as usize]) else { return Ok(()) };
    let (documents, failure) = matched::documents(rules, first, change);
    if let Some(failure) = failure {
        capture::pass_over(rules, fires[0], failure)?;
    }
    let common = matched::common(rules, change, documents.truncated);
    let rows = rows_as_jsonb(rules, change, &documents);
    let seen = Seen { common, key: key(rules, change), changed: changed(change), documents, rows };
    for fire in fires {
        let rule = &rules.rules[*fire as usize];
        let Some(firing) = &rule.firing else { continue };
        let mut payload = seen.payload(firing.form);
        if payload.text.len() > guc::max_payload_bytes() {
            payload = seen.keys(rules, change).payload(firing.form);
        }
        if !rules.delicate {
            pending::add(rules, *fire, payload)?;
            continue;
        }
        let Err(failure) = record(rules, rule, firing, &payload.text) else { continue };
        capture::pass_over(rules, *fire, failure)?;
        // What jsonb refuses is in the rows: their keys are told at least.
        let keys = seen.keys(rules, change).payload(firing.form);
        if let Err(again) = record(rules, rule, firing, &keys.text) {
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
    /// What all events of the statement have in common, an object.
    common: Rc<Told>,
    key: Value,
    /// Of an update the columns that it changed.
    changed: Option<Vec<String>>,
    documents: Documents,
    /// The rows as jsonb, where we can write that.
    rows: Option<[Vec<u8>; 2]>,
}

impl Seen {
    /// The payload, in which the rows stand as PostgreSQL wrote them: our numbers are coarser.
    fn payload(&self, form: Form) -> Payload {
        let mut text = String::with_capacity(
            self.common.text.len() + self.documents.new.len() + self.documents.old.len() + 200,
        );
        text.push_str(self.common.text.strip_suffix('}').unwrap_or_default());
        // Writing to a String cannot fail.
        let _ = write!(text, ",\"key\":{}", self.key);
        if let Some(changed) = &self.changed {
            let _ = write!(text, ",\"changed\":{}", json!(changed));
        }
        let mut rows: [Range<usize>; 2] = Default::default();
        if form != Form::Key {
            let sides = [("new", &self.documents.new), ("old", &self.documents.old)];
            for (range, (side, row)) in rows.iter_mut().zip(sides) {
                let reduced = match (form, &self.changed) {
                    (Form::Changed, Some(changed)) => self.reduced(row, changed),
                    _ => None,
                };
                let _ = write!(text, ",\"{side}\":");
                let began = text.len();
                text.push_str(reduced.as_ref().unwrap_or(row));
                *range = began..text.len();
            }
        }
        text.push('}');
        let jsonb = if form == Form::Full { self.jsonb() } else { None };
        let has_rows = form != Form::Key;
        Payload { text, rows: has_rows.then_some(rows), jsonb }
    }

    /// The payload with whole rows as the inside of a jsonb value.
    fn jsonb(&self) -> Option<Vec<u8>> {
        let rows = self.rows.as_ref()?;
        let changed = self.changed.as_ref().map(|columns| json!(columns));
        let bytes = self.common.text.len() + rows.iter().map(Vec::len).sum::<usize>() + 200;
        let mut members: Vec<(&str, Member)> = self
            .common
            .map
            .iter()
            .map(|(key, value)| (key.as_str(), Member::Value(value)))
            .collect();
        members.push(("key", Member::Value(&self.key)));
        members.extend(changed.iter().map(|columns| ("changed", Member::Value(columns))));
        members.extend(SIDES.into_iter().zip(rows).map(|(side, row)| (side, Member::Row(row))));
        members.sort_unstable_by(|a, b| jsonb::key_order(a.0, b.0));
        let mut object = jsonb::Builder::with_capacity(2 * members.len(), bytes);
        members.iter().for_each(|(key, _)| object.text(key.as_bytes()));
        let is_written = members.iter().all(|(_, member)| match member {
            Member::Value(value) => object.value(value),
            Member::Row([]) => {
                object.null();
                true
            }
            Member::Row(row) => {
                object.container(row);
                true
            }
        });
        is_written.then(|| object.object())
    }

    /// The columns of a row that changed, and those of the key.
    fn reduced(&self, row: &str, changed: &[String]) -> Option<String> {
        let columns = members(row)?;
        let is_key = |name: &String| self.key.get(name).is_some();
        let kept = columns.into_iter().filter(|(name, _)| changed.contains(name) || is_key(name));
        let parts: Vec<String> =
            kept.map(|(name, value)| format!("{}:{value}", Value::String(name))).collect();
        Some(format!("{{{}}}", parts.join(",")))
    }

    /// The same with the keys of the rows in their places.
    fn keys(&self, rules: &Rc<Rules>, change: &Change) -> Seen {
        let common = matched::common(rules, change, true);
        let documents = matched::key_only(change);
        Seen { common, key: self.key.clone(), changed: None, documents, rows: None }
    }
}

/// What stands in an event.
enum Member<'a> {
    Value(&'a Value),
    /// A row as jsonb; empty: there is none.
    Row(&'a [u8]),
}

/// The rows as jsonb; None where it is left to PostgreSQL to read their text.
fn rows_as_jsonb(rules: &Rules, change: &Change, documents: &Documents) -> Option<[Vec<u8>; 2]> {
    let is_ours = cfg!(target_endian = "little") && !rules.delicate && !documents.truncated;
    let writer = rules.writer.as_ref().filter(|_| is_ours)?;
    Some([change.new, change.old].map(|slot| match slot.is_null() {
        true => Vec::new(),
        // SAFETY: the slot holds a row of the table for which the writer was made.
        false => unsafe { writer.write_jsonb(slot) },
    }))
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
