//! What a rule asks beyond its condition: that it is valid now, and that certain columns changed;
//! and what a match of it means for the rules behind it.

use super::cache::UPDATE;
use super::capture::Change;
use super::columns::TableColumns;
use super::expression::Sides;
use crate::error::{Error, Result};
use crate::pg;
use automate_core::rule::Columns;
use pgrx::prelude::*;
use std::ffi::CString;

/// What an error in a condition means for the write.
pub const ON_ERROR: [&str; 2] = ["skip", "fail"];

/// The terms of a rule on a table, ready for its changes.
pub struct Terms {
    /// Attribute numbers: an update counts only if one of these columns changed. Empty: any.
    pub columns: Vec<i16>,
    /// Also what a replica applies counts.
    pub on_replica: bool,
    /// The rules behind it do not see a change that it matches.
    pub stop: bool,
    /// An error in the condition is the writer's.
    pub fails: bool,
    pub valid_from: Option<pg_sys::TimestampTz>,
    pub valid_until: Option<pg_sys::TimestampTz>,
}

impl Terms {
    /// True when a change that matches the condition counts.
    pub fn hold(&self, change: &Change) -> bool {
        self.is_due()
            && (change.operation != UPDATE
                || self.columns.is_empty()
                || self.columns.iter().any(|column| has_changed(change, *column)))
    }

    /// True when anything counts now: it is valid, and the session does not apply what another
    /// server has done, or that counts, too.
    pub fn is_due(&self) -> bool {
        self.is_valid() && (self.on_replica || !is_replica())
    }

    fn is_valid(&self) -> bool {
        if self.valid_from.is_none() && self.valid_until.is_none() {
            return true;
        }
        let now = pg::now();
        self.valid_from.is_none_or(|from| from <= now)
            && self.valid_until.is_none_or(|until| now < until)
    }
}

/// True while the session applies what another server has done.
fn is_replica() -> bool {
    // SAFETY: reads a process-local variable.
    unsafe { pg_sys::SessionReplicationRole == pg_sys::SESSION_REPLICATION_ROLE_REPLICA as i32 }
}

/// True when an update changed the value of a column, byte for byte.
pub(super) fn has_changed(change: &Change, number: i16) -> bool {
    let index = number as usize - 1;
    // SAFETY: both slots hold a row of the relation, which has the column: its number was looked
    // up when the rules were loaded, and a change of the table loads them anew.
    unsafe {
        for slot in [change.new, change.old] {
            if (*slot).tts_nvalid < number {
                pg_sys::slot_getsomeattrs_int(slot, i32::from(number));
            }
        }
        let (new, old) = (&*change.new, &*change.old);
        match (*new.tts_isnull.add(index), *old.tts_isnull.add(index)) {
            (true, true) => false,
            (false, false) => {
                let descriptor = new.tts_tupleDescriptor;
                let attribute = &(*descriptor).attrs.as_slice((*descriptor).natts as usize)[index];
                let (one, other) = (*new.tts_values.add(index), *old.tts_values.add(index));
                let (by_value, length) = (attribute.attbyval, i32::from(attribute.attlen));
                !pg::guarded(|| pg::c::datum_image_eq(one, other, by_value, length))
            }
            _ => true,
        }
    }
}

/// The numbers of named columns in a table, or in a part of it.
pub fn attribute_numbers(relid: pg_sys::Oid, names: &[String]) -> Result<Vec<i16>> {
    names.iter().map(|name| attribute_number("columns", relid, name)).collect()
}

/// The number of a named column; `what` is where it is named.
pub fn attribute_number(what: &str, relid: pg_sys::Oid, name: &str) -> Result<i16> {
    let text = CString::new(name).unwrap_or_default();
    // SAFETY: a catalog look-up; 0 for a column that is not there.
    match unsafe { pg_sys::get_attnum(relid, text.as_ptr()) } {
        number if number > 0 => Ok(number),
        _ => Err(no_such_column(what, relid, name)),
    }
}

fn no_such_column(what: &str, relid: pg_sys::Oid, name: &str) -> Error {
    let names = TableColumns::of(relid, Sides { new: true, old: true }).names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let message = format!("{what}: column \"{name}\" does not exist");
    Error::unknown_word(message, name, &names).with_code(PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN)
}
