//! A match becomes a job: what changed as JSON, in the queue, in the writer's transaction.

use super::cache::{DELETE, INSERT, Rule, Rules, TRUNCATE};
use super::capture::{self, Change};
use super::cause;
use crate::error::Result;
use crate::spi::own::as_role;
use crate::spi::{Own, as_extension, step};
use crate::{guc, pg, wake};
use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use serde_json::{Map, Value, json};
use std::ffi::{CStr, CString};
use uuid::Uuid;

/// The rows of a change as JSON texts; `null` where there is none.
pub(super) struct Documents {
    pub new: String,
    pub old: String,
    /// Only the primary key: the row is too large, or has no JSON.
    pub truncated: bool,
}

/// A jsonb that is a datum already.
struct Made(pg_sys::Datum);

impl IntoDatum for Made {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        Some(self.0)
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::JSONBOID
    }
}

/// Queues a job for each rule that matched.
pub fn put(rules: &Rules, hits: &[u32], change: &Change) -> Result<()> {
    let Some(first) = hits.first().map(|hit| &rules.rules[*hit as usize]) else { return Ok(()) };
    let writer = pg::role_name(pg::current_user());
    let (mut documents, failure) = documents(rules, first, change);
    if let Some(failure) = failure {
        capture::pass_over(rules, hits[0], failure)?;
    }
    let mut payloads = Vec::with_capacity(hits.len());
    for hit in hits {
        let rule = &rules.rules[*hit as usize];
        let mut text = payload(rules, rule, change, writer.as_deref(), &documents);
        if text.len() > guc::max_payload_bytes() && !documents.truncated {
            documents = key_only(change);
            text = payload(rules, rule, change, writer.as_deref(), &documents);
        }
        let (datum, truncated) = to_jsonb(rules, rule, change, writer.as_deref(), text)?;
        documents.truncated |= truncated;
        payloads.push((rule, datum));
    }
    as_extension(|own| payloads.iter().try_for_each(|(rule, datum)| put_one(own, rule, *datum)))
}

fn put_one(own: &Own, rule: &Rule, payload: pg_sys::Datum) -> Result<()> {
    // SAFETY: the datum is a jsonb made in this transaction's memory.
    let payload = unsafe { DatumWithOid::new(Made(payload), pg_sys::JSONBOID) };
    own.run(
        "INSERT INTO automate.job (id, kind, status, owner, priority, run_at, max_attempts, lane,
                                   source, search_path, payload)
         VALUES ($1, 'rule', 'ready', $2, $3, pg_catalog.now(), $4, 's', $5, $6, $7)",
        &[
            pgrx::Uuid::from_bytes(*Uuid::now_v7().as_bytes()).into(),
            rule.owner.into(),
            rule.priority.into(),
            super::ATTEMPTS.into(),
            format!("rule:{}", rule.name).into(),
            rule.search_path.to_string_lossy().into_owned().into(),
            payload,
        ],
    )?;
    wake::arm_role(rule.owner);
    Ok(())
}

/// The rows as JSON, or only their keys with the reason why.
pub(super) fn documents(
    rules: &Rules,
    rule: &Rule,
    change: &Change,
) -> (Documents, Option<crate::error::Failure>) {
    let limit = guc::max_payload_bytes();
    if raw_size(change.new) + raw_size(change.old) > limit {
        return (key_only(change), None);
    }
    let make = || Documents {
        new: row_to_json(change.new),
        old: row_to_json(change.old),
        truncated: false,
    };
    if !rules.delicate {
        return (make(), None);
    }
    // A type's cast to json is somebody's function: never with more rights than the rule's owner.
    match as_role(rule.owner, || step::in_subtransaction(make)) {
        Ok(made) => (made, None),
        Err(failure) => (key_only(change), Some(failure)),
    }
}

/// Bytes of a row's columns when nothing is compressed.
fn raw_size(slot: *mut pg_sys::TupleTableSlot) -> usize {
    if slot.is_null() {
        return 0;
    }
    // SAFETY: after deforming, values and nulls have natts entries; variable-length values are varlenas.
    unsafe {
        let descriptor = (*slot).tts_tupleDescriptor;
        let count = (*descriptor).natts as usize;
        if ((*slot).tts_nvalid as usize) < count {
            pg_sys::slot_getsomeattrs_int(slot, count as i32);
        }
        let attributes = (*descriptor).attrs.as_slice(count);
        (0..count)
            .filter(|i| attributes[*i].attlen == -1 && !*(*slot).tts_isnull.add(*i))
            .map(|i| pg_sys::toast_raw_datum_size(*(*slot).tts_values.add(i)))
            .sum()
    }
}

fn row_to_json(slot: *mut pg_sys::TupleTableSlot) -> String {
    if slot.is_null() {
        return "null".into();
    }
    // SAFETY: the slot holds a row; its descriptor is that of a relation's row type.
    unsafe {
        let row = pg_sys::ExecFetchSlotHeapTupleDatum(slot);
        pgrx::direct_function_call::<String>(pg_sys::row_to_json, &[Some(row)])
            .unwrap_or_else(|| "null".into())
    }
}

/// The primary keys of the rows, or null where that fails too.
pub(super) fn key_only(change: &Change) -> Documents {
    let of = |slot| {
        step::in_subtransaction(|| key_of(change.relation, slot)).unwrap_or(Value::Null).to_string()
    };
    Documents { new: of(change.new), old: of(change.old), truncated: true }
}

pub(super) fn key_of(relation: pg_sys::Relation, slot: *mut pg_sys::TupleTableSlot) -> Value {
    if slot.is_null() {
        return Value::Null;
    }
    let mut key = Map::new();
    // SAFETY: the relation is open; the bitmap's members are attribute numbers with PostgreSQL's
    // offset; the type's own output function prints its value.
    unsafe {
        let members = pg_sys::RelationGetIndexAttrBitmap(
            relation,
            pg_sys::IndexAttrBitmapKind::INDEX_ATTR_BITMAP_PRIMARY_KEY,
        );
        let descriptor = (*slot).tts_tupleDescriptor;
        let attributes = (*descriptor).attrs.as_slice((*descriptor).natts as usize);
        let mut member = pg_sys::bms_next_member(members, -1);
        while member >= 0 {
            let number = member + pg_sys::FirstLowInvalidHeapAttributeNumber;
            member = pg_sys::bms_next_member(members, member);
            let Some(attribute) = usize::try_from(number - 1).ok().and_then(|i| attributes.get(i))
            else {
                continue;
            };
            if ((*slot).tts_nvalid as i32) < number {
                pg_sys::slot_getsomeattrs_int(slot, number);
            }
            let datum = *(*slot).tts_values.add(number as usize - 1);
            let (mut output, mut is_varlena) = (pg_sys::InvalidOid, false);
            pg_sys::getTypeOutputInfo(attribute.atttypid, &mut output, &mut is_varlena);
            let text = pg_sys::OidOutputFunctionCall(output, datum);
            let text = CStr::from_ptr(text).to_string_lossy().into_owned();
            let name = CStr::from_ptr(attribute.attname.data.as_ptr()).to_string_lossy();
            let value = match attribute.atttypid {
                pg_sys::INT2OID | pg_sys::INT4OID | pg_sys::INT8OID => {
                    serde_json::from_str(&text).unwrap_or(Value::String(text))
                }
                _ => Value::String(text),
            };
            key.insert(name.into_owned(), value);
        }
    }
    Value::Object(key)
}

/// What the executor is given.
fn payload(
    rules: &Rules,
    rule: &Rule,
    change: &Change,
    writer: Option<&str>,
    documents: &Documents,
) -> String {
    let mut event = envelope(rules, change.operation, change.partition(rules), writer);
    if documents.truncated {
        event.insert("truncated".into(), json!(true));
    }
    let event = Value::Object(event);
    format!(
        "{{\"rule\":\"{}\",\"depth\":{},\"event\":{event},\"new\":{},\"old\":{}}}",
        rule.id,
        cause::depth() + 1,
        documents.new,
        documents.old
    )
}

/// What is said of a change beside its rows.
pub(super) fn envelope(
    rules: &Rules,
    operation: u8,
    partition: Option<String>,
    writer: Option<&str>,
) -> Map<String, Value> {
    let operation = match operation {
        INSERT => "insert",
        DELETE => "delete",
        TRUNCATE => "truncate",
        _ => "update",
    };
    // SAFETY: the writer's transaction has an id by now, or gets one for what we write.
    let transaction = unsafe { pg_sys::GetTopFullTransactionId().value };
    let mut event = Map::new();
    for (key, value) in [
        ("op", json!(operation)),
        ("schema", json!(rules.schema)),
        ("table", json!(rules.table)),
        ("txid", json!(transaction)),
        ("at", json!(pg::iso(pg::now()))),
        ("user", json!(writer)),
        ("depth", json!(cause::depth())),
    ] {
        event.insert(key.into(), value);
    }
    if let Some(partition) = partition {
        event.insert("partition".into(), json!(partition));
    }
    event
}

/// The payload as jsonb. Rows with json in them may hold what jsonb refuses: then their keys.
fn to_jsonb(
    rules: &Rules,
    rule: &Rule,
    change: &Change,
    writer: Option<&str>,
    text: String,
) -> Result<(pg_sys::Datum, bool)> {
    if !rules.delicate {
        return Ok((jsonb(text), false));
    }
    match step::in_subtransaction(|| jsonb(text)) {
        Ok(datum) => Ok((datum, false)),
        Err(failure) => {
            let index = rules.rules.iter().position(|r| r.id == rule.id).unwrap_or(0);
            capture::pass_over(rules, index as u32, failure)?;
            let text = payload(rules, rule, change, writer, &key_only(change));
            Ok((jsonb(text), true))
        }
    }
}

fn jsonb(text: String) -> pg_sys::Datum {
    let text = CString::new(text).unwrap_or_default();
    // SAFETY: jsonb_in reads a C string and answers a palloc'd datum.
    unsafe {
        pgrx::direct_function_call_as_datum(
            pg_sys::jsonb_in,
            &[Some(pg_sys::Datum::from(text.as_ptr()))],
        )
        .unwrap_or(pg_sys::Datum::from(0))
    }
}
