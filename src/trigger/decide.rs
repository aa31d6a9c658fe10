//! Whether a trigger fires, and why or why not: asked with the rights of its owner, read only.

use super::known::Known;
use super::{define, perform, tell};
use crate::error::{Error, Failure, Result};
use crate::pg;
use crate::rule::expression;
use crate::rule::look::{self, Looked};
use crate::rule::rights::check_rights;
use crate::rule::trial::{Given, Trial, check_row};
use automate_core::trigger::{Level, Options, When, fits};
use pgrx::prelude::*;
use serde_json::Value;
use std::ffi::CString;

/// What a trigger says.
pub struct Verdict {
    pub fires: bool,
    pub reason: String,
}

impl Verdict {
    pub fn yes(reason: impl Into<String>) -> Verdict {
        Verdict { fires: true, reason: reason.into() }
    }

    pub fn no(reason: impl Into<String>) -> Verdict {
        Verdict { fires: false, reason: reason.into() }
    }
}

/// A change of a table.
pub struct Change {
    pub operation: String,
    pub new: Option<Given>,
    pub old: Option<Given>,
}

/// The verdict on whatever happens, of a trigger that does not look now.
pub fn at_rest(trigger: &Known) -> Option<Verdict> {
    match trigger.status.as_str() {
        "active" => None,
        "broken" => {
            let why = trigger.last_error.as_deref().unwrap_or_default();
            Some(Verdict::no(format!("it is broken: {why}")))
        }
        other => Some(Verdict::no(format!("it is {other}"))),
    }
}

/// The verdict on an event of a role.
pub fn on_event(trigger: &Known, emitter: pg_sys::Oid, event: &Value) -> Verdict {
    if let Some(rest) = at_rest(trigger) {
        return rest;
    }
    if !tell::may_know(trigger.owner, emitter) {
        let name = |role| pg::role_name(role).unwrap_or_default();
        let (owner, emitter) = (name(trigger.owner), name(emitter));
        return Verdict::no(format!("its owner {owner} may not know what {emitter} emits"));
    }
    if let Options::Event { from: Some(from) } = &trigger.options
        && !fits(from, event["source"].as_str().unwrap_or_default())
    {
        return Verdict::no(format!("it hears only what comes from {from}"));
    }
    let Some(condition) = &trigger.condition else {
        return Verdict::yes(format!("it hears {}", trigger.event));
    };
    let held =
        look::as_owner(trigger.owner, &trigger.search_path, || perform::holds(condition, event));
    match held.and_then(|held| held) {
        Ok(true) => Verdict::yes("its condition holds"),
        Ok(false) => Verdict::no("its condition does not hold"),
        Err(failure) => failed(&failure),
    }
}

fn failed(failure: &Failure) -> Verdict {
    Verdict::no(format!("its condition fails: {}: {}", failure.sqlstate(), failure.message))
}

/// The verdict on a change of its table. A row that cannot be one of the table's is an error.
pub fn on_change(trigger: &Known, change: &Change) -> Result<Verdict> {
    if let Some(rest) = at_rest(trigger) {
        return Ok(rest);
    }
    let (Some(table), Options::Data(options)) = (trigger.table, &trigger.options) else {
        return Ok(Verdict::no("it is not on a table"));
    };
    if let Err(error) = check_rights(table, trigger.owner) {
        return Ok(Verdict::no(error.to_string()));
    }
    let operation = change.operation.as_str();
    if !trigger.operations.iter().any(|o| o == operation) {
        let seen = trigger.operations.join(" and ");
        return Ok(Verdict::no(format!("it sees {seen}, and not {operation}")));
    }
    if options.level == Level::Statement {
        return Ok(Verdict::yes(format!("it sees {operation}, once a statement")));
    }
    if let (Some(new), Some(old)) = (&change.new, &change.old) {
        let differs = |column: &String| new.value.get(column) != old.value.get(column);
        if new.value == old.value {
            return Ok(Verdict::no("the update leaves the row as it was"));
        }
        if !trigger.columns.is_empty() && !trigger.columns.iter().any(differs) {
            let columns = trigger.columns.join(" and ");
            return Ok(Verdict::no(format!("the update does not change {columns}")));
        }
    }
    let looked = looked(trigger, table);
    for (side, row) in [("new", &change.new), ("old", &change.old)] {
        row.as_ref().map_or(Ok(()), |row| check_row(&looked, side, row))?;
    }
    match &trigger.condition {
        None => Ok(Verdict::yes(format!("it sees {operation}"))),
        Some(condition) => on_rows(&looked, condition, options.when, change),
    }
}

fn looked(trigger: &Known, table: pg_sys::Oid) -> Looked {
    Looked {
        name: trigger.name.clone(),
        owner: trigger.owner,
        table,
        operations: trigger.operations.clone(),
        condition: trigger.condition.clone(),
        actions: String::new(),
        search_path: trigger.search_path.clone(),
    }
}

/// What the condition says of the rows.
fn on_rows(looked: &Looked, condition: &str, when: When, change: &Change) -> Result<Verdict> {
    let (new, old) = (change.new.as_ref(), change.old.as_ref());
    let ask = |new: Option<&Given>, old: Option<&Given>| truth(looked, condition, when, new, old);
    if when == When::Matches {
        return Ok(match ask(new, old)? {
            Ok(Some(true)) => Verdict::yes("its condition holds"),
            Ok(Some(false)) => Verdict::no("its condition does not hold"),
            Ok(None) => Verdict::no("its condition is NULL"),
            Err(failure) => failed(&failure),
        });
    }
    // A row that is not there does not match.
    let alone = |row: Option<&Given>| match row {
        None => Ok(Ok(Some(false))),
        Some(_) => ask(row, None),
    };
    let (after, before) = match (alone(new)?, alone(old)?) {
        (Ok(after), Ok(before)) => (after == Some(true), before == Some(true)),
        (Err(failure), _) | (_, Err(failure)) => return Ok(failed(&failure)),
    };
    let says = |matches| if matches { "matches" } else { "does not match" };
    let reason = format!("the row {} before and {} after", says(before), says(after));
    let fires = if when == When::Enters { after && !before } else { before && !after };
    Ok(Verdict { fires, reason })
}

/// The value of a condition on two rows. An error in the condition is a verdict, one in the rows
/// is the caller's.
fn truth(
    looked: &Looked,
    condition: &str,
    when: When,
    new: Option<&Given>,
    old: Option<&Given>,
) -> Result<std::result::Result<Option<bool>, Failure>> {
    let source = CString::new(condition).map_err(|e| Error::Internal(e.to_string()))?;
    let sides = define::sides(&looked.operations, when);
    let tried = looked.as_owner(|| -> Result<_> {
        // SAFETY: within `as_owner`; the text outlives the call.
        unsafe {
            let clause = expression::read("condition", looked.table, &source, sides)?;
            Ok(Trial::of(looked, new, old)?.truth(clause))
        }
    });
    match tried {
        Ok(answer) => answer,
        Err(failure) => Ok(Err(failure)),
    }
}
