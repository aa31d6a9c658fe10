//! Making, removing and switching rules.

use super::columns::TableColumns;
use super::expression::{self, Sides};
use super::perform::check_event_condition;
use super::rights::{check_rights, check_table};
use super::{look, store, terms};
use crate::error::{Error, Result, shown};
use crate::noun::{REPORT, RULE, RULESET, TASK, TEMPLATE, TRIGGER, WORKFLOW};
use crate::spi::{as_extension, statement};
use crate::{access, event, pg};
use automate_core::problem::Problem;
use automate_core::rule::action::{self, Action};
use automate_core::rule::{event_to_sql, to_sql};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use serde_json::Value;
use std::ffi::CString;
use uuid::Uuid;

/// Longest name of a rule, in bytes.
const MAX_NAME: usize = 128;
const OPERATIONS: [&str; 3] = ["insert", "update", "delete"];

/// A rule as its author says it.
pub struct Definition {
    pub name: String,
    pub actions: Value,
    pub on_table: Option<pg_sys::Oid>,
    pub on_event: Option<String>,
    /// Name of the trigger to which it is subscribed.
    pub on_trigger: Option<String>,
    pub operations: Vec<String>,
    pub condition: Option<String>,
    pub conditions: Option<Value>,
    pub columns: Option<Vec<String>>,
    pub timing: String,
    /// Name of the set that it is in.
    pub ruleset: Option<String>,
    pub priority: i32,
    pub stop: bool,
    pub valid_from: Option<TimestampWithTimeZone>,
    pub valid_until: Option<TimestampWithTimeZone>,
    pub on_error: String,
    pub draft: bool,
    pub enabled: bool,
    pub description: Option<String>,
}

/// What a rule listens to.
pub(super) enum Source<'a> {
    Table { relid: pg_sys::Oid, operations: Vec<String>, sides: Sides },
    Event(&'a str),
    Trigger(Uuid),
}

/// A definition that was found good, with what was made of it.
pub(super) struct Checked<'a> {
    pub source: Source<'a>,
    /// The SQL that its JsonLogic means.
    pub generated: Option<String>,
    pub path: String,
    /// Id of its rule set.
    pub ruleset: Option<Uuid>,
}

/// Makes a rule; returns its id.
pub fn create(owner: pg_sys::Oid, definition: &Definition) -> Result<Uuid> {
    let checked = check(owner, definition)?;
    let id = Uuid::now_v7();
    as_extension(|own| {
        store::refuse_duplicate(own, owner, &definition.name)?;
        store::store(own, id, owner, definition, &checked).map(|_| id)
    })
}

/// Looks at a definition with the rights in force, which are the owner's.
pub(super) fn check(owner: pg_sys::Oid, d: &Definition) -> Result<Checked<'_>> {
    access::check_length("a rule", &d.name, MAX_NAME, "Name what it is for, such as big_order.")?;
    let source = source(owner, d)?;
    if let (Some(condition), Some(_)) = (&d.condition, &d.conditions) {
        return Err(Error::invalid("a rule has a condition or conditions, not both")
            .with_detail(format!("Beside conditions, condition is {}.", shown(condition)))
            .with_hint("condition is SQL, conditions is JsonLogic."));
    }
    if let Source::Table { relid, operations, .. } = &source {
        check_table(*relid, operations, false)?;
        check_rights(*relid, owner)?;
    }
    check_terms(d, &source)?;
    let path = search_path();
    let generated = generate(d, &source)?;
    let condition = generated.as_deref().or(d.condition.as_deref());
    check_condition(condition, &source, &path)?;
    let actions =
        action::parse(&d.actions).map_err(|p| Error::problems("actions", &p, RULE.help))?;
    check_actions(owner, &actions)?;
    let set = |name: &String| as_extension(|own| RULESET.id(own, owner, name));
    let ruleset = d.ruleset.as_ref().map(set).transpose()?;
    Ok(Checked { source, generated, path, ruleset })
}

/// search_path as it is kept: temporary objects last, so that no writer's can stand in.
fn search_path() -> String {
    let path = pg::search_path();
    if path.trim().is_empty() { "pg_temp".into() } else { format!("{path}, pg_temp") }
}

fn source(owner: pg_sys::Oid, d: &Definition) -> Result<Source<'_>> {
    match (d.on_table, d.on_event.as_deref(), d.on_trigger.as_deref()) {
        (Some(relid), None, None) => {
            let operations = operations(&d.operations)?;
            let sides = look::sides(&operations);
            Ok(Source::Table { relid, operations, sides })
        }
        (None, Some(name), None) => {
            event::check_pattern(name)?;
            Ok(Source::Event(name))
        }
        (None, None, Some(name)) => {
            as_extension(|own| TRIGGER.id(own, owner, name)).map(Source::Trigger)
        }
        (None, None, None) => Err(Error::invalid(
            "a rule is on a table, on an event or on a trigger",
        )
        .with_detail("None of on_table, on_event and on_trigger was given.")
        .with_hint(
            "Give on_table => 'orders', on_event => 'order.paid' or on_trigger => 'big_order'.",
        )),
        (table, event, trigger) => {
            let given = [
                table.map(|_| "on_table".to_owned()),
                event.map(|name| format!("on_event {}", shown(name))),
                trigger.map(|name| format!("on_trigger {}", shown(name))),
            ];
            let given: Vec<String> = given.into_iter().flatten().collect();
            Err(Error::invalid("a rule is on one table, event or trigger")
                .with_detail(format!("Given are {}.", given.join(" and ")))
                .with_hint("Make a rule for each, with the same actions."))
        }
    }
}

fn operations(given: &[String]) -> Result<Vec<String>> {
    let mut found: Vec<String> = Vec::new();
    for operation in given {
        let lower = operation.to_lowercase();
        if lower == "truncate" {
            return Err(Error::invalid("a rule on a table looks at rows, and truncate has none")
                .with_detail(format!("The operations given are {}.", given.join(", ")))
                .with_hint("Make a trigger: SELECT automate.create_trigger('emptied', 'data', on_table => ..., operations => '{truncate}'), and the rule with on_trigger => 'emptied'."));
        }
        if !OPERATIONS.contains(&lower.as_str()) {
            let message = format!("unknown operation {}", shown(operation));
            return Err(Error::unknown_word(message, operation, &OPERATIONS));
        }
        if !found.contains(&lower) {
            found.push(lower);
        }
    }
    if found.is_empty() {
        return Err(Error::invalid("a rule on a table needs an operation")
            .with_detail("The array of operations has no members.")
            .with_hint("Known here: insert, update, delete."));
    }
    Ok(found)
}

/// The SQL that JsonLogic means.
fn generate(d: &Definition, source: &Source) -> Result<Option<String>> {
    let Some(logic) = &d.conditions else { return Ok(None) };
    let made = match source {
        Source::Table { relid, sides, .. } => to_sql(logic, &TableColumns::of(*relid, *sides)),
        Source::Event(_) | Source::Trigger(_) => event_to_sql(logic),
    };
    made.map(Some)
        .map_err(|problems: Vec<Problem>| Error::problems("conditions", &problems, RULE.help))
}

fn check_condition(condition: Option<&str>, source: &Source, path: &str) -> Result<()> {
    let Some(text) = condition else { return Ok(()) };
    match source {
        Source::Table { relid, sides, .. } => {
            let path = CString::new(path).map_err(|e| Error::Internal(e.to_string()))?;
            expression::check(*relid, text, *sides, &path)
        }
        Source::Event(_) | Source::Trigger(_) => {
            expression::check_shape(text)?;
            check_event_condition(text)
        }
    }
}

/// What is asked beyond the condition must make sense for the source.
fn check_terms(d: &Definition, source: &Source) -> Result<()> {
    if !terms::ON_ERROR.contains(&d.on_error.as_str()) {
        let message = format!("unknown policy {} for on_error", shown(&d.on_error));
        return Err(Error::unknown_word(message, &d.on_error, &terms::ON_ERROR));
    }
    if let (Some(from), Some(until)) = (d.valid_from, d.valid_until)
        && i64::from(from) >= i64::from(until)
    {
        return Err(Error::invalid("valid_from must be before valid_until")
            .with_detail("The rule would never be valid.")
            .with_hint("Exchange them, or leave one out."));
    }
    match source {
        Source::Table { relid, operations, .. } => {
            let Some(columns) = &d.columns else { return Ok(()) };
            if columns.is_empty() || !operations.iter().any(|o| o == "update") {
                return Err(Error::invalid("columns are for updates")
                    .with_detail("An update counts only if one of the columns changed.")
                    .with_hint("Name at least one, and have update among the operations."));
            }
            terms::attribute_numbers(*relid, columns).map(|_| ())
        }
        _ if d.columns.is_some() || d.stop || d.on_error != "skip" => {
            Err(Error::invalid("columns, stop and on_error are for rules on tables")
                .with_detail("Rules on events act each for itself, after the commit.")
                .with_hint("Leave them out; say in the condition what the rule is to pass over."))
        }
        _ => Ok(()),
    }
}

/// Statements must make sense, and what is named must be there.
fn check_actions(owner: pg_sys::Oid, actions: &[Action]) -> Result<()> {
    for (index, action) in actions.iter().enumerate() {
        match action {
            Action::Sql { statement, .. } => {
                statement::check(&format!("action {}: sql", index + 1), statement)?;
            }
            Action::Workflow { name, .. } => {
                as_extension(|own| WORKFLOW.require(own, owner, name))?;
            }
            Action::Notify { template, .. } => {
                as_extension(|own| TEMPLATE.require(own, owner, template))?;
            }
            Action::Emit { name, .. } => event::check_name(name)?,
            Action::Report { name, .. } => {
                as_extension(|own| REPORT.require(own, owner, name))?;
            }
            Action::Task { name } => {
                as_extension(|own| TASK.require(own, owner, name))?;
            }
        }
    }
    Ok(())
}
