//! Triggers on a query whose answer becomes true: what they are asked to do is looked at here.

use super::define::Definition;
use crate::error::{Error, Result};
use crate::rule::expression;
use crate::spi::query::describe;
use crate::spi::statement;
use crate::task::when;
use automate_core::trigger::Custom;
use chrono::{DateTime, Utc};
use pgrx::prelude::*;

/// What stands before the source, and between it and a condition: the answer is a row with `value`.
const BEFORE: &str = "WITH source_(value) AS (\n";
const BETWEEN: &str = "\n)\nSELECT true FROM source_ WHERE (\n";

/// Looks at the query and the conditions with the rights in force, which are the owner's; answers
/// when it is first asked, if it is asked at an interval.
pub fn check(d: &Definition, options: &Custom) -> Result<Option<DateTime<Utc>>> {
    let source = d.source.as_deref().unwrap_or_default().trim_end().trim_end_matches(';');
    let columns = describe("source", source, &[])?;
    if columns.len() != 1 {
        return Err(Error::invalid(format!("source answers {} columns", columns.len()))
            .with_detail(statement::beginning("source", source))
            .with_hint("Select one value, such as SELECT count(*) FROM tickets."));
    }
    if d.condition.is_none() {
        // The answer itself says whether it is so.
        check_over(source, "source", "value").map_err(|_| {
            Error::refused(
                PgSqlErrorCode::ERRCODE_DATATYPE_MISMATCH,
                "source answers neither true nor false",
            )
            .with_detail(statement::beginning("source", source))
            .with_hint("Give a condition over the answer, such as condition => 'value > 100'.")
        })?;
    }
    for (what, text) in [("condition", &d.condition), ("clear", &options.clear)] {
        if let Some(text) = text {
            expression::check_shape(text)?;
            check_over(source, what, text)?;
        }
    }
    for table in &options.tables {
        check_table(table)?;
    }
    refuse_for_now()?;
    Ok(options.every.map(|every| when::now() + every))
}

/// Checks a condition over the answer, `value`.
fn check_over(source: &str, what: &str, text: &str) -> Result<()> {
    let before = format!("{BEFORE}{source}{BETWEEN}");
    let skipped = i32::try_from(before.chars().count()).unwrap_or(i32::MAX);
    statement::check_part(what, &format!("{before}{text}\n)"), text, skipped).map(|_| ())
}

/// The tables after whose changes it looks must be there.
fn check_table(name: &str) -> Result<()> {
    // SAFETY: answers NULL for a name that means nothing.
    let found: Option<pg_sys::Oid> =
        unsafe { pgrx::direct_function_call(pg_sys::to_regclass, &[name.into_datum()]) };
    if found.is_some() {
        return Ok(());
    }
    Err(Error::refused(
        PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
        format!("options: tables: table \"{name}\" does not exist"),
    )
    .with_detail("The query is asked again after each change of the tables named.")
    .with_hint("Look for it with \\d in psql, or name it with its schema, such as public.orders."))
}

/// Nobody asks the query yet.
fn refuse_for_now() -> Result<()> {
    Err(Error::refused(
        PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
        "triggers of type custom cannot be made yet",
    )
    .with_detail("Everything else about this one is right.")
    .with_hint("Let a task ask the query, and emit an event: automate.emit_event(name)."))
}
