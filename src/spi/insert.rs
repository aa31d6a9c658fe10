//! Rows straight into one of our own tables: for what comes with somebody's write, where planning
//! and starting a statement would cost more than the row.

use crate::error::{Error, Result};
use crate::pg;
use crate::spi::Own;
use pgrx::prelude::*;
use std::ffi::CStr;

/// A table that is open for rows with values for some of its columns; the others are NULL.
///
/// There is no destructor: after an error the end of the (sub)transaction closes all of it.
pub struct Inserter {
    relation: pg_sys::Relation,
    info: *mut pg_sys::ResultRelInfo,
    state: *mut pg_sys::EState,
    slot: *mut pg_sys::TupleTableSlot,
    /// Where in the table each of the given columns is, from 0.
    places: Vec<usize>,
}

impl Inserter {
    /// Opens a table of the schema automate.
    pub fn open(_own: &Own, table: &CStr, columns: &[&str]) -> Result<Inserter> {
        // SAFETY: what a worker of logical replication does to apply a row.
        unsafe {
            let schema = pg_sys::get_namespace_oid(c"automate".as_ptr(), true);
            let relid = pg_sys::get_relname_relid(table.as_ptr(), schema);
            if relid == pg_sys::InvalidOid {
                return Err(Error::NotInstalled);
            }
            let relation = pg_sys::table_open(relid, pg_sys::RowExclusiveLock as i32);
            let places = places((*relation).rd_att, columns)?;
            let state = pg_sys::CreateExecutorState();
            let info = pg_sys::palloc0(size_of::<pg_sys::ResultRelInfo>()).cast();
            pg_sys::InitResultRelInfo(info, relation, 0, std::ptr::null_mut(), 0);
            pg_sys::ExecOpenIndices(info, false);
            pg_sys::AfterTriggerBeginQuery();
            let slot = pg_sys::table_slot_create(relation, std::ptr::null_mut());
            Ok(Inserter { relation, info, state, slot, places })
        }
    }

    /// Inserts a row: a value for each of the columns; None is NULL.
    ///
    /// # Safety
    /// The values are of the columns' types.
    pub unsafe fn put(&self, values: &[Option<pg_sys::Datum>]) {
        // SAFETY: the slot is of the table, and the arrays have an entry for each of its columns.
        unsafe {
            let slot = self.slot;
            if let Some(clear) = (*(*slot).tts_ops).clear {
                pg::guarded(|| clear(slot));
            }
            let count = (*(*slot).tts_tupleDescriptor).natts as usize;
            std::slice::from_raw_parts_mut((*slot).tts_isnull, count).fill(true);
            for (place, value) in self.places.iter().zip(values) {
                if let Some(value) = value {
                    *(*slot).tts_values.add(*place) = *value;
                    *(*slot).tts_isnull.add(*place) = false;
                }
            }
            pg_sys::ExecStoreVirtualTuple(slot);
            pg_sys::ExecSimpleRelationInsert(self.info, self.state, slot);
            let context = (*self.state).es_per_tuple_exprcontext;
            if !context.is_null() {
                pg_sys::MemoryContextReset((*context).ecxt_per_tuple_memory);
            }
        }
    }

    /// Ends it; the rows can be seen from now on.
    pub fn close(self) {
        // SAFETY: opened by us, in this order; the lock stays until the transaction ends.
        unsafe {
            pg_sys::AfterTriggerEndQuery(self.state);
            pg_sys::ExecDropSingleTupleTableSlot(self.slot);
            pg_sys::ExecCloseIndices(self.info);
            pg_sys::FreeExecutorState(self.state);
            pg_sys::pfree(self.info.cast());
            pg_sys::table_close(self.relation, pg_sys::NoLock as i32);
            pg_sys::CommandCounterIncrement();
        }
    }
}

/// Where columns are in a table.
unsafe fn places(descriptor: pg_sys::TupleDesc, columns: &[&str]) -> Result<Vec<usize>> {
    // SAFETY: the descriptor of an open table.
    let attributes = unsafe { (*descriptor).attrs.as_slice((*descriptor).natts as usize) };
    columns
        .iter()
        .map(|column| {
            let is_it = |attribute: &pg_sys::FormData_pg_attribute| {
                // SAFETY: a name is a C string.
                let name = unsafe { CStr::from_ptr(attribute.attname.data.as_ptr()) };
                !attribute.attisdropped && name.to_bytes() == column.as_bytes()
            };
            attributes
                .iter()
                .position(is_it)
                .ok_or_else(|| Error::Internal(format!("our own table lacks the column {column}")))
        })
        .collect()
}
