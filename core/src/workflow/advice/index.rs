//! Statements that read a whole table for a few rows.

use super::{Advice, Severity};
use serde_json::json;

/// Rows from which on a table is large.
const LARGE: f64 = 10_000.0;
/// The part of them that a statement wants, at most.
const FEW: f64 = 0.1;
/// Columns of an index.
const MOST: usize = 3;

/// A table that a plan reads from its begin to its end. Names are quoted where SQL wants it.
#[derive(Clone, Debug, PartialEq)]
pub struct Scan {
    /// With its schema.
    pub table: String,
    pub rows: f64,
    /// Rows that the planner expects to be left.
    pub left: f64,
    /// An index on it cannot be made beside those who write.
    pub partitioned: bool,
    pub filters: Vec<Filter>,
}

/// A condition on a column that an index can answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    pub column: String,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Equal,
    Range,
}

/// The index that a step's statement lacks.
pub fn index(pointer: &str, scan: &Scan) -> Option<Advice> {
    if scan.rows < LARGE || scan.left > FEW * scan.rows {
        return None;
    }
    // Those that must be equal come first; behind a range nothing helps.
    let of = |kind| scan.filters.iter().filter(move |f| f.kind == kind).map(|f| &*f.column);
    let mut columns: Vec<&str> = Vec::new();
    for column in of(Kind::Equal).chain(of(Kind::Range).take(1)) {
        if !columns.contains(&column) && columns.len() < MOST {
            columns.push(column);
        }
    }
    if columns.is_empty() {
        return None;
    }
    let how = if scan.partitioned { "" } else { "CONCURRENTLY " };
    let sql = format!("CREATE INDEX {how}ON {} ({})", scan.table, columns.join(", "));
    let evidence = format!(
        "its statement reads all {:.0} rows of {} for about {:.0} of them, by {}",
        scan.rows,
        scan.table,
        scan.left.max(1.0),
        columns.join(", ")
    );
    Some(Advice {
        advice: "missing_index",
        step: Some(pointer.to_owned()),
        severity: Severity::Warning,
        evidence,
        change: Some(json!({ "sql": sql })),
    })
}
