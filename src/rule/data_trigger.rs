//! Data triggers as members of a table's set: what their rows say.

use super::cache::{DELETE, INSERT, Row, TRUNCATE, UPDATE};
use super::membership::Crossing;
use super::terms::Terms;
use crate::error::Result;
use crate::spi::as_extension;
use automate_core::rule::reads::Reads;
use pgrx::prelude::*;
use std::ffi::CString;
use uuid::Uuid;

/// What of the rows an event carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The whole rows.
    Full,
    /// Of an update the columns that changed, and the key.
    Changed,
    /// The key alone.
    Key,
}

/// What a trigger records.
pub struct Firing {
    /// The table that it is on, which may be above the one that changed.
    pub table: pg_sys::Oid,
    pub event: String,
    pub form: Form,
    /// The whole statements that it wants.
    pub statements: u8,
}

const OPERATIONS: [(&str, u8); 4] =
    [("insert", INSERT), ("update", UPDATE), ("delete", DELETE), ("truncate", TRUNCATE)];

fn bits(operations: &[String]) -> u8 {
    let bit = |word: &String| OPERATIONS.iter().find(|(known, _)| known == word).map(|(_, b)| *b);
    operations.iter().filter_map(bit).fold(0, |all, bit| all | bit)
}

/// Reads the active data triggers of some tables.
pub(super) fn read_rows(relations: &[pg_sys::Oid]) -> Result<Vec<Row>> {
    as_extension(|own| {
        let rows = own.run(
            "SELECT id, name, owner::pg_catalog.oid, on_table::pg_catalog.oid, operations,
                    coalesce(condition_sql, condition), search_path, columns, coalesce(event, name),
                    options ->> 'level', options ->> 'when', options ->> 'payload',
                    coalesce(options ->> 'fire_on_replica', '') = 'true'
             FROM automate.trigger
             WHERE on_table = ANY ($1::pg_catalog.regclass[]) AND status = 'active'
             ORDER BY name, id",
            &[relations.to_vec().into()],
        )?;
        let mut found = Vec::with_capacity(rows.len());
        for i in 0..rows.len() {
            let (Some(id), Some(owner), Some(table)) =
                (rows.get::<pgrx::Uuid>(i, 1), rows.get(i, 3), rows.get(i, 4))
            else {
                continue;
            };
            let text = |column| rows.get::<String>(i, column);
            let operations = bits(&rows.get::<Vec<String>>(i, 5).unwrap_or_default());
            let by_row = text(10).as_deref() != Some("statement");
            let row_operations = if by_row { operations & !TRUNCATE } else { 0 };
            let crossing = Crossing::of(text(11).as_deref());
            let statements = operations & !row_operations;
            for (operations, statements) in parts(crossing, row_operations, statements) {
                let event = text(9).unwrap_or_default();
                found.push(Row {
                    id: Uuid::from_bytes(*id.as_bytes()),
                    name: text(2).unwrap_or_default(),
                    owner,
                    table,
                    operations,
                    condition: text(6),
                    crossing,
                    search_path: CString::new(text(7).unwrap_or_default()).unwrap_or_default(),
                    priority: 100,
                    columns: rows.get(i, 8).unwrap_or_default(),
                    terms: Terms {
                        columns: Vec::new(),
                        on_replica: rows.get(i, 13).unwrap_or(false),
                        stop: false,
                        fails: false,
                        valid_from: None,
                        valid_until: None,
                    },
                    actions: None,
                    member: None,
                    version: 1,
                    reads: Reads::default(),
                    firing: Some(Firing { table, event, form: form(text(12)), statements }),
                });
            }
        }
        Ok(found)
    })
}

fn form(word: Option<String>) -> Form {
    match word.as_deref() {
        Some("changed") => Form::Changed,
        Some("key") => Form::Key,
        _ => Form::Full,
    }
}

/// A trigger on rows that cross a condition asks another thing of each operation, so that it is a
/// member for each of them.
fn parts(crossing: Option<Crossing>, rows: u8, statements: u8) -> Vec<(u8, u8)> {
    match crossing {
        None => vec![(rows, statements)],
        Some(crossing) => {
            let wanted = [INSERT, UPDATE, DELETE].map(|bit| bit & rows & crossing.operations());
            wanted.into_iter().filter(|bit| *bit != 0).map(|bit| (bit, 0)).collect()
        }
    }
}
