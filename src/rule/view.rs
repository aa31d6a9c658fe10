//! Views: what their INSTEAD OF triggers agreed to write. Ours is the last of them by its name, and
//! hands on what it was given.

use super::cache::{self, DELETE, INSERT, Timing, UPDATE};
use super::capture::{self, Change};
use super::family::place;
use crate::error::{Error, Result};
use pgrx::prelude::*;

/// What an INSTEAD OF trigger was called with.
pub struct Row<'a>(&'a pg_sys::TriggerData);

/// None if it was called as another kind of trigger.
///
/// # Safety
/// `context` is null or the context of a function call that runs.
pub unsafe fn row<'a>(context: *mut pg_sys::Node) -> Option<Row<'a>> {
    // SAFETY: the tag says that it is TriggerData, which lives during the call.
    unsafe {
        if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_TriggerData {
            return None;
        }
        let data = &*context.cast::<pg_sys::TriggerData>();
        let is_instead =
            data.tg_event & pg_sys::TRIGGER_EVENT_TIMINGMASK == pg_sys::TRIGGER_EVENT_INSTEAD;
        is_instead.then_some(Row(data))
    }
}

/// Captures a row of a view; the answer lets the write count as done.
pub fn capture(row: Row) -> Result<pg_sys::Datum> {
    let data = row.0;
    let none = std::ptr::null_mut();
    let (operation, new, old) = match data.tg_event & pg_sys::TRIGGER_EVENT_OPMASK {
        pg_sys::TRIGGER_EVENT_INSERT => (INSERT, data.tg_trigtuple, none),
        pg_sys::TRIGGER_EVENT_UPDATE => (UPDATE, data.tg_newtuple, data.tg_trigtuple),
        _ => (DELETE, none, data.tg_trigtuple),
    };
    // SAFETY: the view is open while its trigger runs.
    unsafe { check_others(data.tg_relation, operation)? };
    // SAFETY: as above. The slots of a view may be of a query's row type and not of the view's.
    let rules = unsafe { cache::rules_of(data.tg_relation, Timing::After)? };
    let [new_row, old_row] = [new, old].map(|tuple| {
        if tuple.is_null() {
            return std::ptr::null_mut();
        }
        let slot = place(&rules);
        // SAFETY: a tuple of the view, which lives during the call.
        unsafe { pg_sys::ExecForceStoreHeapTuple(tuple, slot, false) };
        slot
    });
    let relation = data.tg_relation;
    capture::capture(&Change { relation, operation, new: new_row, old: old_row, part: None })?;
    Ok(pg_sys::Datum::from(if operation == DELETE { old } else { new }))
}

/// Without a trigger that does the work, ours would let a write pass that nobody did.
unsafe fn check_others(relation: pg_sys::Relation, operation: u8) -> Result<()> {
    // SAFETY: the relation is open, and has a trigger; its triggers are an array.
    unsafe {
        let triggers = &*(*relation).trigdesc;
        let all = std::slice::from_raw_parts(triggers.triggers, triggers.numtriggers as usize);
        let own = pg_sys::get_namespace_oid(c"automate".as_ptr(), true);
        let does = |t: &&pg_sys::Trigger| {
            let wanted = match operation {
                INSERT => pg_sys::TRIGGER_TYPE_INSERT,
                UPDATE => pg_sys::TRIGGER_TYPE_UPDATE,
                _ => pg_sys::TRIGGER_TYPE_DELETE,
            };
            let bits = t.tgtype as u32;
            bits & pg_sys::TRIGGER_TYPE_INSTEAD != 0
                && bits & wanted != 0
                && t.tgenabled as u8 != b'D'
                && pg_sys::get_func_namespace(t.tgfoid) != own
        };
        if all.iter().find(does).is_some() {
            return Ok(());
        }
        let name = std::ffi::CStr::from_ptr((*(*relation).rd_rel).relname.data.as_ptr());
        Err(Error::refused(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("nothing does the write to view \"{}\"", name.to_string_lossy()),
        )
        .with_detail("Its INSTEAD OF trigger was dropped or disabled; only that of pg_automate is left, which writes nothing.")
        .with_hint("Make the trigger again, or drop the rules and triggers on the view."))
    }
}
