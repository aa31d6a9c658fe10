//! Rules and data triggers that mention something, with their expressions as PostgreSQL reads them.

use super::before::{self, Place};
use super::ddl::Change;
use super::expression::{self, Sides};
use super::{look, terms};
use crate::error::{Error, Failure, Result};
use crate::pg;
use crate::spi::own::as_role;
use crate::spi::{Own, step};
use automate_core::rule::before::Assignment;
use pgrx::prelude::*;
use serde_json::Value;
use std::ffi::CString;

/// A rule or a trigger.
pub struct Mentioned {
    pub is_trigger: bool,
    pub id: pgrx::Uuid,
    pub name: String,
    pub owner: pg_sys::Oid,
    pub table: Option<pg_sys::Oid>,
    pub operations: Vec<String>,
    pub condition: Option<String>,
    pub conditions: Option<Value>,
    pub condition_sql: Option<String>,
    pub columns: Option<Vec<String>>,
    /// Of a rule before the write.
    pub actions: Option<Value>,
    pub search_path: String,
    /// Its expressions, if all of them could be read.
    pub trees: Vec<Tree>,
}

/// An expression of a rule.
pub struct Tree {
    pub place: Text,
    pub node: *mut pg_sys::Node,
}

/// Where an expression stands in a rule.
#[derive(Clone, PartialEq)]
pub enum Text {
    Condition,
    /// The value of a column, by the number of its action.
    Set(usize, String),
}

macro_rules! mentioned {
    ($where:literal) => {
        concat!(
            "SELECT false, r.id, r.name, r.owner::pg_catalog.oid, r.on_table::pg_catalog.oid, r.operations, r.condition,
                    r.conditions::pg_catalog.text, r.condition_sql, r.columns,
                    CASE WHEN r.timing = 'before' THEN r.actions::pg_catalog.text END, r.search_path
             FROM automate.rule AS r WHERE r.status <> 'broken' AND ",
            $where,
            " AND (r.search_path ILIKE ANY ($2) OR pg_catalog.concat_ws(' ', r.condition, r.condition_sql,
                    r.actions::pg_catalog.text, pg_catalog.array_to_string(r.columns, ' ')) ILIKE ANY ($2))
             UNION ALL
             SELECT true, r.id, r.name, r.owner::pg_catalog.oid, r.on_table::pg_catalog.oid, r.operations, r.condition,
                    r.conditions::pg_catalog.text, r.condition_sql, r.columns, NULL, r.search_path
             FROM automate.trigger AS r WHERE r.status <> 'broken' AND r.trigger_type = 'data' AND ",
            $where,
            " AND (r.search_path ILIKE ANY ($2) OR pg_catalog.concat_ws(' ', r.condition, r.condition_sql,
                    pg_catalog.array_to_string(r.columns, ' ')) ILIKE ANY ($2))"
        )
    };
}

/// A table, its partitions and its children, as far as they have rules or triggers.
const TABLES: &str = "WITH RECURSIVE t(id) AS (
        SELECT $1::pg_catalog.oid
        UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i JOIN t ON i.inhparent = t.id)
     SELECT pg_catalog.array_agg(t.id) FROM t
     WHERE EXISTS (SELECT FROM automate.rule AS r WHERE r.on_table = t.id::pg_catalog.regclass)
        OR EXISTS (SELECT FROM automate.trigger AS r WHERE r.on_table = t.id::pg_catalog.regclass)";
const OF_TABLES: &str = mentioned!("r.on_table = ANY ($1::pg_catalog.regclass[])");
const OF_ALL: &str = mentioned!("$1::pg_catalog.regclass[] IS NULL");

/// The rules and triggers whose texts hold one of the words of a change.
pub fn find(own: &Own, change: &Change) -> Result<Vec<Mentioned>> {
    let words: Vec<String> = change.words().iter().map(|word| pattern(word)).collect();
    if words.is_empty() {
        return Ok(Vec::new());
    }
    own.plan_for_queue();
    let rows = match change.table() {
        None => own.run(OF_ALL, &[None::<Vec<pg_sys::Oid>>.into(), words.into()])?,
        Some(table) => match own.one::<Vec<pg_sys::Oid>>(TABLES, &[table.into()])? {
            None => return Ok(Vec::new()),
            Some(tables) => own.run(OF_TABLES, &[tables.into(), words.into()])?,
        },
    };
    let json = |row, column| {
        rows.get::<String>(row, column).and_then(|text| serde_json::from_str(&text).ok())
    };
    let mut found = Vec::with_capacity(rows.len());
    for row in 0..rows.len() {
        let (Some(id), Some(owner)) = (rows.get(row, 2), rows.get(row, 4)) else { continue };
        found.push(Mentioned {
            is_trigger: rows.get(row, 1).unwrap_or(false),
            id,
            name: rows.get(row, 3).unwrap_or_default(),
            owner,
            table: rows.get(row, 5),
            operations: rows.get(row, 6).unwrap_or_default(),
            condition: rows.get(row, 7),
            conditions: json(row, 8),
            condition_sql: rows.get(row, 9),
            columns: rows.get(row, 10),
            actions: json(row, 11),
            search_path: rows.get(row, 12).unwrap_or_default(),
            trees: Vec::new(),
        });
    }
    Ok(found)
}

/// A pattern for ILIKE that finds a word anywhere.
fn pattern(word: &str) -> String {
    let word = word.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    format!("%{word}%")
}

impl Mentioned {
    /// The condition as SQL.
    pub fn condition_text(&self) -> Option<&str> {
        self.condition_sql.as_deref().or(self.condition.as_deref())
    }

    pub fn sides(&self) -> Sides {
        look::sides(&self.operations)
    }

    pub fn place(&self, table: pg_sys::Oid) -> Place {
        let operations = before::bits(&self.operations);
        Place { relid: table, owner: self.owner, operations }
    }

    /// The values that its actions set, with their places.
    pub fn values(&self) -> Vec<(Text, Assignment)> {
        let actions =
            self.actions.as_ref().and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let sets =
            actions.iter().enumerate().filter_map(|(at, a)| Some((at, a["set"].as_object()?)));
        sets.flat_map(|(at, values)| {
            values.iter().filter_map(move |(column, sql)| {
                let assignment =
                    Assignment { column: column.clone(), sql: sql.as_str()?.to_owned() };
                Some((Text::Set(at, column.clone()), assignment))
            })
        })
        .collect()
    }

    /// Reads its expressions as its owner. Nothing stays of that but the trees, no lock either.
    pub fn read(&self) -> std::result::Result<Vec<Tree>, Failure> {
        let Some(table) = self.table else { return Ok(Vec::new()) };
        let path = CString::new(self.search_path.as_str()).unwrap_or_default();
        let mut trees = Vec::new();
        let found = &mut trees;
        as_role(self.owner, || {
            step::tentatively(|| {
                let nest = pg::GucNest::open();
                expression::fix_settings(&path);
                *found = self.read_all(table).unwrap_or_else(|e| e.raise());
                nest.undo();
            })
        })?;
        Ok(trees)
    }

    fn read_all(&self, table: pg_sys::Oid) -> Result<Vec<Tree>> {
        terms::attribute_numbers(table, self.columns.as_deref().unwrap_or_default())?;
        let mut trees = Vec::new();
        if let Some(text) = self.condition_text() {
            // SAFETY: within `tentatively`; the text outlives the call.
            let node = unsafe { read_condition(table, text, self.sides())? };
            trees.push(Tree { place: Text::Condition, node });
        }
        for (place, value) in self.values() {
            // SAFETY: as above.
            let node = unsafe { before::read_value(&self.place(table), &value)? };
            trees.push(Tree { place, node });
        }
        Ok(trees)
    }
}

/// Reads the text of a condition.
///
/// # Safety
/// As for [`expression::analyse`].
pub unsafe fn read_condition(
    table: pg_sys::Oid,
    text: &str,
    sides: Sides,
) -> Result<*mut pg_sys::Node> {
    let source = CString::new(text).map_err(|e| Error::Internal(e.to_string()))?;
    // SAFETY: as the caller promises.
    unsafe { expression::read("condition", table, &source, sides) }
}
