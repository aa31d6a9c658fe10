//! Asking the query of a custom trigger: with the rights of its owner, read only, within a time
//! limit. The answer and what the conditions say of it come from one statement.

use super::known::Known;
use crate::error::{Error, Failure, Result};
use crate::pg;
use crate::rule::expression;
use crate::spi::own::as_role;
use crate::spi::query::{ReadOnly, TimeLimit};
use crate::spi::{statement, step};
use automate_core::trigger::Options;
use automate_core::trigger::edge::{self, Patience, Seen};
use pgrx::prelude::*;
use serde_json::Value;
use std::borrow::Cow;

/// What stands before the source: its answer is a row with `value`, found once.
pub const BEFORE: &str = "WITH source_(value) AS MATERIALIZED (\n";
/// How long a query may take, in milliseconds, where its owner has no statement_timeout.
const LIMIT_MS: u64 = 30_000;

/// A source as a query: the bare call of a function is selected.
pub fn query(source: &str) -> Cow<'_, str> {
    let text = source.trim().trim_end_matches(';').trim_end();
    if edge::is_call(text) { Cow::Owned(format!("SELECT {text}")) } else { Cow::Borrowed(text) }
}

/// How long a trigger waits before it fires.
pub fn patience(trigger: &Known) -> Patience {
    match &trigger.options {
        Options::Custom(options) => Patience { hold: options.hold, cool_down: options.cool_down },
        _ => Patience::default(),
    }
}

/// Asks, and says what was found; an error of the query is a value. What asks the session to stop
/// is raised.
pub fn ask(trigger: &Known) -> std::result::Result<Seen, Failure> {
    let text = statement_of(trigger);
    // SAFETY: reads a process-local variable.
    let own_limit = u64::try_from(unsafe { pg_sys::StatementTimeout }).unwrap_or(0);
    let limit = if own_limit > 0 { own_limit } else { LIMIT_MS };
    let begun = pg::now();
    let asked = as_role(trigger.owner, || {
        let _read_only = ReadOnly::start();
        step::in_subtransaction(|| {
            let nest = pg::GucNest::open();
            expression::fix_settings(&trigger.search_path);
            let time_limit = TimeLimit::start(limit);
            let answer = statement::execute(&text, &[], true);
            pg::check_interrupts();
            drop(time_limit);
            nest.undo();
            answer
        })
    });
    match asked {
        Ok(Ok(answer)) => read(answer.rows),
        Ok(Err(error)) => Err(error.into()),
        Err(failure) if is_timeout(&failure, begun, limit) => Err(Failure {
            message: format!("the query took longer than {limit} ms"),
            detail: Some("That is the statement_timeout of its owner, or 30 s without one.".into()),
            hint: Some("Make it faster, or ALTER ROLE ... SET statement_timeout.".into()),
            ..failure
        }),
        Err(failure) if failure.stops() => Error::from(failure).raise(),
        Err(failure) => Err(failure),
    }
}

fn is_timeout(failure: &Failure, begun: i64, limit_ms: u64) -> bool {
    let took_ms = u64::try_from(pg::now() - begun).unwrap_or(0) / 1000;
    failure.code == PgSqlErrorCode::ERRCODE_QUERY_CANCELED && took_ms >= limit_ms
}

/// One statement for the value and both conditions.
fn statement_of(trigger: &Known) -> String {
    let source = query(trigger.source.as_deref().unwrap_or_default());
    let condition = trigger.condition.as_deref().unwrap_or("value");
    let clear = match &trigger.options {
        Options::Custom(options) => options.clear.as_deref(),
        _ => None,
    };
    let clears = match clear {
        Some(clear) => format!("(\n{clear}\n)"),
        None => format!("NOT (\n{condition}\n)"),
    };
    format!(
        "{BEFORE}{source}\n)\nSELECT value, (\n{condition}\n) AS holds, {clears} AS clears FROM source_ LIMIT 2"
    )
}

/// What the rows say. No row is NULL.
fn read(mut rows: Vec<Value>) -> std::result::Result<Seen, Failure> {
    if rows.len() > 1 {
        let error = Error::refused(
            PgSqlErrorCode::ERRCODE_CARDINALITY_VIOLATION,
            "source answers more than one row",
        )
        .with_detail("Its answer is one value, or no row, which is NULL.")
        .with_hint("Aggregate, such as SELECT count(*), or say which row is meant.");
        return Err(error.into());
    }
    let mut row = rows.pop().unwrap_or_default();
    Ok(Seen {
        holds: row["holds"].as_bool(),
        clears: row["clears"].as_bool(),
        value: row.get_mut("value").map(Value::take).unwrap_or_default(),
    })
}

/// Checks that the query still makes sense to its owner.
pub fn check(trigger: &Known) -> Result<()> {
    let Options::Custom(options) = &trigger.options else { return Ok(()) };
    let source = trigger.source.as_deref().unwrap_or_default();
    let path = trigger.search_path.to_string_lossy();
    as_role(trigger.owner, || {
        pg::under_path(&path, || {
            super::custom::check_query(
                source,
                trigger.condition.as_deref(),
                options.clear.as_deref(),
            )
        })
    })
}
