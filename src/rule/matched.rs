//! A match becomes a job: what changed as JSON, for the queue, in the writer's transaction.

use super::cache::{DELETE, INSERT, Rule, Rules, TRUNCATE};
use super::capture::{self, Change};
use super::row_json::raw_datum_size;
use super::{cause, pending};
use crate::error::Result;
use crate::event::trace;
use crate::spi::own::as_role;
use crate::spi::step;
use crate::{guc, pg};
use pgrx::prelude::*;
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::fmt::Write;
use std::rc::Rc;

/// The rows of a change as JSON texts; `null` where there is none.
pub(super) struct Documents {
    pub new: String,
    pub old: String,
    /// Only the primary key: the row is too large, or has no JSON.
    pub truncated: bool,
}

/// Both rows, in the words of `Kept`.
pub const ALL: &str = r#"["new","old"]"#;

/// The part of a payload that the matches of a statement have in common, and what it is good for.
struct Common {
    round: u64,
    rules: usize,
    operation: u8,
    part: Option<pg_sys::Oid>,
    writer: pg_sys::Oid,
    truncated: bool,
    told: Rc<Told>,
}

/// What all events of a statement say of it.
pub(super) struct Told {
    pub map: Map<String, Value>,
    /// The same as JSON.
    pub text: String,
}

thread_local! {
    static COMMON: RefCell<Option<Common>> = const { RefCell::new(None) };
}

/// Gathers a job for each rule that matched.
pub fn put(rules: &Rc<Rules>, hits: &[u32], change: &Change) -> Result<()> {
    let mut whole = None;
    for hit in hits {
        let rule = &rules.rules[*hit as usize];
        let text = match part(rules, rule, change) {
            Some(text) => text,
            None => all(rules, *hit, change, &mut whole)?,
        };
        pending::add(rules, *hit, text.into())?;
    }
    Ok(())
}

/// What is done when only a part of the rows is needed, and not too large.
fn part(rules: &Rc<Rules>, rule: &Rule, change: &Change) -> Option<String> {
    let limit = guc::max_payload_bytes();
    let kept = rule.kept(rules)?;
    let [new, old] = kept.rows(change, limit)?;
    let event = common(rules, change, false);
    let text = payload(rule, &kept.words, &event.text, &new, &old);
    (text.len() <= limit).then_some(text)
}

/// The same with the rows as they are, which the rules that match have in common.
fn all(
    rules: &Rc<Rules>,
    hit: u32,
    change: &Change,
    whole: &mut Option<Documents>,
) -> Result<String> {
    let rule = &rules.rules[hit as usize];
    let mut documents = match whole.take() {
        Some(documents) => documents,
        None => {
            let (documents, failure) = documents(rules, rule, change);
            failure.map_or(Ok(()), |failure| capture::pass_over(rules, hit, failure))?;
            documents
        }
    };
    let make = |documents: &Documents| {
        let event = common(rules, change, documents.truncated);
        payload(rule, ALL, &event.text, &documents.new, &documents.old)
    };
    let mut text = make(&documents);
    if text.len() > guc::max_payload_bytes() && !documents.truncated {
        documents = key_only(change);
        text = make(&documents);
    }
    if rules.delicate && !documents.truncated {
        // Rows with json in them may hold what jsonb refuses: then their keys.
        if let Err(failure) = step::in_subtransaction(|| check_jsonb(&text)) {
            capture::pass_over(rules, hit, failure)?;
            documents = key_only(change);
            text = make(&documents);
        }
    }
    *whole = Some(documents);
    Ok(text)
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
    let make =
        || Documents { new: row(rules, change.new), old: row(rules, change.old), truncated: false };
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
            .map(|i| raw_datum_size(*(*slot).tts_values.add(i)))
            .sum()
    }
}

fn row(rules: &Rules, slot: *mut pg_sys::TupleTableSlot) -> String {
    match &rules.writer {
        // SAFETY: the slot holds a row of the table for which the writer was made.
        Some(writer) if !slot.is_null() => unsafe { writer.write(slot) },
        _ => row_to_json(slot),
    }
}

pub(super) fn row_to_json(slot: *mut pg_sys::TupleTableSlot) -> String {
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

/// What the executor is given. `kept` says how much of the rows is there, and is asked when another
/// version of the rule is in force by then.
fn payload(rule: &Rule, kept: &str, event: &str, new: &str, old: &str) -> String {
    let mut text = String::with_capacity(new.len() + old.len() + event.len() + kept.len() + 128);
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "{{\"rule\":\"{}\",\"version\":{},\"kept\":{kept},\"depth\":{},\"event\":{event},\"new\":{new},\"old\":{old}}}",
        rule.id,
        rule.version,
        cause::depth() + 1,
    );
    text
}

/// The change as rules' actions see it in `event`; the same for all rows of a statement.
pub(super) fn common(rules: &Rc<Rules>, change: &Change, truncated: bool) -> Rc<Told> {
    let (round, writer) = (pending::round(), pg::current_user());
    let set = Rc::as_ptr(rules) as usize;
    let Change { operation, part, .. } = *change;
    COMMON.with_borrow_mut(|kept| {
        if let Some(kept) = kept
            && kept.round == round
            && kept.rules == set
            && kept.operation == operation
            && kept.part == part
            && kept.writer == writer
            && kept.truncated == truncated
        {
            return kept.told.clone();
        }
        let name = pg::role_name(writer);
        let mut event = envelope(rules, operation, change.partition(rules), name.as_deref());
        if truncated {
            event.insert("truncated".into(), json!(true));
        }
        let mut map = Value::Object(event);
        let text = map.to_string();
        let map = map.as_object_mut().map(std::mem::take).unwrap_or_default();
        let told = Rc::new(Told { map, text });
        let rules = set;
        *kept =
            Some(Common { round, rules, operation, part, writer, truncated, told: told.clone() });
        told
    })
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
    trace::stamp(&mut event);
    event
}

/// Raises PostgreSQL's error for what jsonb refuses.
fn check_jsonb(text: &str) {
    let text = CString::new(text).unwrap_or_default();
    // SAFETY: jsonb_in reads a C string and answers a palloc'd datum.
    unsafe {
        pgrx::direct_function_call_as_datum(
            pg_sys::jsonb_in,
            &[Some(pg_sys::Datum::from(text.as_ptr()))],
        );
    }
}
