//! Triggers on a query whose answer becomes true: what they are asked to do is looked at here.

use super::ask;
use super::define::Definition;
use crate::error::{Error, Result};
use crate::rule::expression;
use crate::spi::query::describe;
use crate::spi::statement;
use automate_core::trigger::Custom;
use pgrx::prelude::*;

/// Looks at the query and the conditions with the rights in force, which are the owner's.
pub fn check(d: &Definition, options: &Custom) -> Result<()> {
    check_query(
        d.source.as_deref().unwrap_or_default(),
        d.condition.as_deref(),
        options.clear.as_deref(),
    )
}

/// The same for one that was found good before.
pub fn check_query(source: &str, condition: Option<&str>, clear: Option<&str>) -> Result<()> {
    let source = ask::query(source);
    let columns = describe("source", &source, &[])?;
    if columns.len() != 1 {
        return Err(Error::invalid(format!("source answers {} columns", columns.len()))
            .with_detail(statement::beginning("source", &source))
            .with_hint("Select one value, such as SELECT count(*) FROM tickets."));
    }
    if condition.is_none() {
        // The answer itself says whether it is so.
        check_over(&source, "source", "value").map_err(|_| {
            Error::refused(
                PgSqlErrorCode::ERRCODE_DATATYPE_MISMATCH,
                "source answers neither true nor false",
            )
            .with_detail(statement::beginning("source", &source))
            .with_hint("Give a condition over the answer, such as condition => 'value > 100'.")
        })?;
    }
    for (what, text) in [("condition", condition), ("clear", clear)] {
        if let Some(text) = text {
            expression::check_shape(text)?;
            check_over(&source, what, text)?;
        }
    }
    Ok(())
}

/// Checks a condition over the answer, `value`.
fn check_over(source: &str, what: &str, text: &str) -> Result<()> {
    let before = format!("{}{source}\n)\nSELECT true FROM source_ WHERE (\n", ask::BEFORE);
    let skipped = i32::try_from(before.chars().count()).unwrap_or(i32::MAX);
    statement::check_part(what, &format!("{before}{text}\n)"), text, skipped).map(|_| ())
}
