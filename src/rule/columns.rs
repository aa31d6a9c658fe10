//! The columns of a table, for the compiler of JsonLogic and for hints.

use super::expression::Sides;
use automate_core::rule::{ColumnKind, Columns};
use pgrx::prelude::*;
use std::ffi::CStr;

/// The columns of a table as a rule sees them.
pub struct TableColumns {
    columns: Vec<(String, ColumnKind)>,
    sides: Sides,
}

impl TableColumns {
    /// Reads the table's descriptor. The table must exist.
    pub fn of(relid: pg_sys::Oid, sides: Sides) -> TableColumns {
        let mut columns = Vec::new();
        // SAFETY: opened and closed in pairs; the names are copied. The lock is kept until the
        // transaction ends, as for any statement that uses the table.
        unsafe {
            let relation = pg_sys::table_open(relid, pg_sys::AccessShareLock as i32);
            let descriptor = (*relation).rd_att;
            for attribute in (*descriptor).attrs.as_slice((*descriptor).natts as usize).iter() {
                if attribute.attisdropped {
                    continue;
                }
                let name = CStr::from_ptr(attribute.attname.data.as_ptr());
                let kind = match pg_sys::getBaseType(attribute.atttypid) {
                    pg_sys::JSONOID => ColumnKind::Json,
                    pg_sys::JSONBOID => ColumnKind::Jsonb,
                    _ => ColumnKind::Plain,
                };
                columns.push((name.to_string_lossy().into_owned(), kind));
            }
            pg_sys::table_close(relation, pg_sys::NoLock as i32);
        }
        TableColumns { columns, sides }
    }
}

impl Columns for TableColumns {
    fn kind(&self, name: &str) -> Option<ColumnKind> {
        self.columns.iter().find(|(column, _)| column == name).map(|(_, kind)| *kind)
    }

    fn names(&self) -> Vec<String> {
        self.columns.iter().map(|(name, _)| name.clone()).collect()
    }

    fn has_old(&self) -> bool {
        self.sides.old
    }

    fn has_new(&self) -> bool {
        self.sides.new
    }
}
