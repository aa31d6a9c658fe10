//! Tables that inherit: a row of a child is a row of each table above it, in the form of that one,
//! so that its rules see no more than they would by reading it.

use super::cache::{self, Rules, Timing, UPDATE};
use super::capture::{self, Change};
use super::terms;
use crate::error::Result;
use crate::spi::as_extension;
use pgrx::prelude::*;

/// A table above another one.
pub struct Parent(pg_sys::Oid);

/// The tables from which one inherits, at any distance. A partition has none in this sense: its
/// rows have the form of its root's, and its set holds the rules of those above it.
pub fn parents_of(relid: pg_sys::Oid) -> Result<Vec<Parent>> {
    // SAFETY: a look-up in the catalog.
    if unsafe { pg_sys::get_rel_relispartition(relid) } {
        return Ok(Vec::new());
    }
    as_extension(|own| {
        let rows = own.run(
            "WITH RECURSIVE above AS (
                 SELECT i.inhparent FROM pg_catalog.pg_inherits AS i WHERE i.inhrelid = $1
                 UNION SELECT i.inhparent FROM above AS a
                       JOIN pg_catalog.pg_inherits AS i ON i.inhrelid = a.inhparent)
             SELECT inhparent FROM above ORDER BY inhparent",
            &[relid.into()],
        )?;
        Ok((0..rows.len()).filter_map(|i| rows.get(i, 1)).map(Parent).collect())
    })
}

/// A table that is open under the lock of a reader. It is closed by [`Open::close`]; an error
/// leaves that to PostgreSQL.
struct Open(pg_sys::Relation);

impl Open {
    fn of(relid: pg_sys::Oid) -> Open {
        // SAFETY: as for a statement that reads the table; PostgreSQL does the same for the tables
        // above a partition.
        Open(unsafe { pg_sys::table_open(relid, pg_sys::AccessShareLock as i32) })
    }

    fn close(self) {
        // SAFETY: opened by us; the lock is kept to the end of the transaction.
        unsafe { pg_sys::table_close(self.0, pg_sys::NoLock as i32) }
    }
}

impl Parent {
    /// Lets the rules of this table see a change of a row of its child.
    pub fn capture(&self, change: &Change) -> Result<()> {
        let above = Open::of(self.0);
        // SAFETY: it is open.
        let rules = unsafe { cache::rules_of(above.0, Timing::After)? };
        if rules.operations & change.operation != 0 {
            // SAFETY: both relations are open.
            let [new, old] = unsafe {
                let map =
                    pg_sys::convert_tuples_by_name((*change.relation).rd_att, (*above.0).rd_att);
                [change.new, change.old].map(|row| convert(&rules, map, row))
            };
            // SAFETY: as above.
            let part = Some(unsafe { (*change.relation).rd_id });
            let seen = Change { relation: above.0, operation: change.operation, new, old, part };
            if seen.operation != UPDATE || has_changed(&seen) {
                capture::decide(&rules, &seen)?;
            }
        }
        above.close();
        Ok(())
    }

    /// Lets the triggers of this table see a statement on its child.
    pub fn on_statement(&self, see: impl FnOnce(&Rules) -> Result<()>) -> Result<()> {
        let above = Open::of(self.0);
        // SAFETY: it is open.
        let rules = unsafe { cache::rules_of(above.0, Timing::After)? };
        see(&rules)?;
        above.close();
        Ok(())
    }
}

/// An empty place for a row of the table, until the current memory context ends.
pub fn place(rules: &Rules) -> *mut pg_sys::TupleTableSlot {
    // SAFETY: the descriptor is the set's own copy, which lives as long as the set.
    unsafe {
        let descriptor = (*rules.no_row).tts_tupleDescriptor;
        pg_sys::MakeSingleTupleTableSlot(descriptor, &raw const pg_sys::TTSOpsVirtual)
    }
}

/// A row in the form of the table of a set; null stays null.
unsafe fn convert(
    rules: &Rules,
    map: *mut pg_sys::TupleConversionMap,
    row: *mut pg_sys::TupleTableSlot,
) -> *mut pg_sys::TupleTableSlot {
    if row.is_null() {
        return row;
    }
    let to = place(rules);
    // SAFETY: the map was made for the two descriptors. None is needed where they are alike: then
    // the values are taken over, and stay the other slot's.
    unsafe {
        if !map.is_null() {
            return pg_sys::execute_attr_map_slot((*map).attrMap, row, to);
        }
        let count = (*(*to).tts_tupleDescriptor).natts as usize;
        if ((*row).tts_nvalid as usize) < count {
            pg_sys::slot_getsomeattrs_int(row, count as i32);
        }
        std::ptr::copy_nonoverlapping((*row).tts_values, (*to).tts_values, count);
        std::ptr::copy_nonoverlapping((*row).tts_isnull, (*to).tts_isnull, count);
        pg_sys::ExecStoreVirtualTuple(to)
    }
}

/// True when any column of the row, as the table above has it, changed.
fn has_changed(change: &Change) -> bool {
    // SAFETY: the slot has a descriptor.
    let count = unsafe { (*(*change.new).tts_tupleDescriptor).natts };
    (1..=count as i16).any(|number| terms::has_changed(change, number))
}
