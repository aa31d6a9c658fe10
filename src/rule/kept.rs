//! What a match keeps of the rows: the columns that the rule's actions read, where their text shows
//! which these are. The rest is not written, and writing was most of what a match cost.

use super::cache::{Rule, Rules};
use super::capture::Change;
use super::row_json::RowWriter;
use automate_core::rule::reads::{Part, Reads, SIDES};
use pgrx::prelude::*;
use std::collections::HashSet;
use std::ffi::CStr;

/// What the matches of a rule keep.
pub struct Kept {
    /// The writers of the parts of new and old that are kept.
    writers: [RowWriter; 2],
    /// The same in words, as a JSON array.
    pub words: String,
}

impl Kept {
    /// None: the rows are kept as they are. So it is where a column is read that is not there, since
    /// whoever mends that will want his matches to have the right one.
    pub fn of(rules: &Rules, rule: &Rule) -> Option<Kept> {
        // SAFETY: the set's own copy of the table's descriptor, which lives as long as the set.
        let descriptor = unsafe { (*rules.no_row).tts_tupleDescriptor };
        let there = names(descriptor);
        let writer = |side: &&str| {
            let part = rule.reads.part(side);
            if let Part::Columns(columns) = &part
                && columns.iter().any(|column| !there.contains(*column))
            {
                return None;
            }
            let is_kept = |name: &str| match &part {
                Part::Whole => true,
                Part::Columns(columns) => columns.contains(&name),
            };
            // SAFETY: as above; the set's context lives as long as the set.
            unsafe { RowWriter::of(descriptor, rules.context, is_kept) }
        };
        let is_whole = |side: &&str| rule.reads.part(side) == Part::Whole;
        if SIDES.iter().all(is_whole) {
            return None;
        }
        let [new, old] = SIDES.each_ref().map(writer);
        let words = serde_json::Value::from(rule.reads.words()).to_string();
        Some(Kept { writers: [new?, old?], words })
    }

    /// The parts of the rows, or None if they have more bytes than are allowed.
    pub fn rows(&self, change: &Change, limit: usize) -> Option<[String; 2]> {
        let slots = [change.new, change.old];
        // SAFETY: the slots hold rows of the table for which the writers were made.
        unsafe {
            let pairs = || self.writers.iter().zip(slots).filter(|(_, slot)| !slot.is_null());
            let bytes: usize = pairs().map(|(writer, slot)| writer.raw_size(slot)).sum();
            if bytes > limit {
                return None;
            }
            let [new, old] = &self.writers;
            Some([(new, slots[0]), (old, slots[1])].map(|(writer, slot)| match slot.is_null() {
                true => "null".into(),
                false => writer.write(slot),
            }))
        }
    }
}

/// What a rule's actions read, as it stands in automate.rule.
pub fn reads(words: Option<Vec<String>>) -> Reads {
    words.map_or_else(Reads::all, Reads::from_words)
}

/// The names of the columns.
fn names(descriptor: pg_sys::TupleDesc) -> HashSet<String> {
    // SAFETY: the caller passes a descriptor; its names are C strings.
    unsafe {
        let attributes = (*descriptor).attrs.as_slice((*descriptor).natts as usize).iter();
        let name = |a: &pg_sys::FormData_pg_attribute| {
            CStr::from_ptr(a.attname.data.as_ptr()).to_string_lossy().into_owned()
        };
        attributes.filter(|a| !a.attisdropped).map(name).collect()
    }
}
