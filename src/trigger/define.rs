//! Making triggers: everything that can be wrong with one is said now.

use super::{custom, store, watch};
use crate::audit;
use crate::error::{Error, Result, shown};
use crate::noun::TRIGGER;
use crate::rule::columns::TableColumns;
use crate::rule::condition::check_event_condition;
use crate::rule::expression::{self, Sides};
use crate::rule::membership::{self, Crossing};
use crate::rule::rights::{check_rights, check_table};
use crate::rule::{look, terms};
use crate::spi::as_extension;
use crate::task::when;
use crate::{access, event, pg};
use automate_core::rule::{event_to_sql, to_sql};
use automate_core::trigger::{self, Kind, Level, Options, Time, When};
use chrono::{DateTime, Utc};
use pgrx::prelude::*;
use serde_json::Value;
use std::ffi::CString;
use uuid::Uuid;

/// Longest name of a trigger, in bytes.
const MAX_NAME: usize = 128;
const OPERATIONS: [&str; 4] = ["insert", "update", "delete", "truncate"];
/// What is not a row's.
const TRUNCATE: &str = "truncate";

/// A trigger as its author says it.
pub struct Definition {
    pub name: String,
    pub kind: Kind,
    pub on_table: Option<pg_sys::Oid>,
    pub operations: Option<Vec<String>>,
    pub columns: Option<Vec<String>>,
    pub event: Option<String>,
    pub schedule: Option<String>,
    pub source: Option<String>,
    pub condition: Option<String>,
    pub conditions: Option<Value>,
    pub options: Value,
    pub description: Option<String>,
    pub enabled: bool,
}

/// A definition that was found good, with what was made of it.
pub(super) struct Checked {
    pub operations: Option<Vec<String>>,
    pub event: String,
    /// As it is kept.
    pub schedule: Option<Value>,
    /// The SQL that its JsonLogic means.
    pub generated: Option<String>,
    pub path: String,
    pub next: Option<DateTime<Utc>>,
    /// The tables after whose changes it looks.
    pub tables: Vec<pg_sys::Oid>,
}

/// The type that a word names.
pub fn kind(word: &str) -> Result<Kind> {
    Kind::of(word).ok_or_else(|| {
        let message = format!("unknown type of trigger {}", shown(word));
        Error::unknown_word(message, word, &Kind::WORDS)
    })
}

/// Makes a trigger; returns its id.
pub fn create(owner: pg_sys::Oid, mut definition: Definition) -> Result<Uuid> {
    definition.read_short_form();
    let checked = check(owner, &definition)?;
    let id = Uuid::now_v7();
    as_extension(|own| {
        store::refuse_duplicate(own, owner, &definition.name)?;
        audit::around(own, &audit::TRIGGER, (owner, "create"), id, || {
            store::store(own, id, owner, &definition, &checked).map(|_| id)
        })
    })
}

/// Looks at a definition with the rights in force, which are the owner's.
pub(super) fn check(owner: pg_sys::Oid, d: &Definition) -> Result<Checked> {
    let advice = "Name what happens, such as big_order.";
    access::check_length("a trigger", &d.name, MAX_NAME, advice)?;
    d.check_arguments()?;
    if let (Some(condition), Some(_)) = (&d.condition, &d.conditions) {
        return Err(Error::invalid("a trigger has a condition or conditions, not both")
            .with_detail(format!("Beside conditions, condition is {}.", shown(condition)))
            .with_hint("condition is SQL, conditions is JsonLogic."));
    }
    let options = Options::parse(d.kind, &d.options)
        .map_err(|problems| Error::problems("options", &problems, TRIGGER.help))?;
    let path = pg::search_path();
    // Temporary objects come last, so that no writer's can stand in.
    let path = if path.trim().is_empty() { "pg_temp".into() } else { format!("{path}, pg_temp") };
    let mut checked = Checked {
        operations: None,
        event: event_name(d)?,
        schedule: None,
        generated: None,
        path,
        next: None,
        tables: Vec::new(),
    };
    match &options {
        Options::Data(options) => check_data(owner, d, options, &mut checked)?,
        Options::Event { .. } => check_event(d, &mut checked)?,
        Options::Time(options) => check_time(d, options, &mut checked)?,
        Options::Custom(options) => {
            custom::check(d, options)?;
            checked.tables = watch::resolve(&options.tables, owner)?;
            // The first look is at once.
            checked.next = Some(when::now());
        }
    }
    Ok(checked)
}

/// The name of the event: which it hears, or which it records.
fn event_name(d: &Definition) -> Result<String> {
    if d.kind == Kind::Event {
        let pattern = d.event.as_deref().unwrap_or("*");
        return event::check_pattern(pattern).map(|()| pattern.to_owned());
    }
    let name = d.event.as_deref().unwrap_or(&d.name);
    event::check_name(name).map(|()| name.to_owned())
}

fn check_data(
    owner: pg_sys::Oid,
    d: &Definition,
    options: &trigger::Data,
    checked: &mut Checked,
) -> Result<()> {
    let relid = d.on_table.unwrap_or(pg_sys::InvalidOid);
    let operations = operations(d, options)?;
    check_table(relid, &operations, options.level == Level::Statement)?;
    check_rights(relid, owner)?;
    let crossing = crossing(options.when);
    if let Some(crossing) = crossing {
        membership::check_operations(crossing, &operations)?;
    }
    check_rows(d, options, &operations)?;
    if let Some(columns) = &d.columns {
        if !operations.iter().any(|o| o == "update") {
            return Err(Error::invalid("columns are for updates")
                .with_detail("An update counts only if one of the columns changed.")
                .with_hint("Have update among the operations, or leave columns out."));
        }
        terms::attribute_numbers(relid, columns)?;
    }
    let sides = sides(&operations, options.when);
    if let Some(logic) = &d.conditions {
        let made = to_sql(logic, &TableColumns::of(relid, sides));
        checked.generated =
            Some(made.map_err(|p| Error::problems("conditions", &p, TRIGGER.help))?);
    }
    if let Some(text) = checked.generated.as_deref().or(d.condition.as_deref()) {
        let path =
            CString::new(checked.path.as_str()).map_err(|e| Error::Internal(e.to_string()))?;
        match crossing {
            Some(_) => membership::check(relid, text, &path)?,
            None => expression::check(relid, text, sides, &path)?,
        }
    }
    checked.operations = Some(operations);
    Ok(())
}

/// The way in which rows cross the condition, if that is what counts.
fn crossing(when: When) -> Option<Crossing> {
    match when {
        When::Matches => None,
        When::Enters => Some(Crossing::Enters),
        When::Leaves => Some(Crossing::Leaves),
    }
}

/// The rows that a condition sees. One that a row enters or leaves is asked of a row by itself.
pub(super) fn sides(operations: &[String], when: When) -> Sides {
    match when {
        When::Matches => look::sides(operations),
        When::Enters | When::Leaves => Sides { new: true, old: false },
    }
}

/// The operations asked for, or those that are usual.
fn operations(d: &Definition, options: &trigger::Data) -> Result<Vec<String>> {
    let Some(given) = &d.operations else {
        let usual: &[&str] = match options.when {
            When::Matches => &["insert", "update", "delete"],
            When::Enters => &["insert", "update"],
            When::Leaves => &["update", "delete"],
        };
        return Ok(usual.iter().map(|o| (*o).to_owned()).collect());
    };
    look::operations("a trigger of type data", given, &OPERATIONS)
}

/// What speaks of rows must meet rows.
fn check_rows(d: &Definition, options: &trigger::Data, operations: &[String]) -> Result<()> {
    let asks = d.condition.is_some() || d.conditions.is_some();
    let wanted = match (asks, d.columns.is_some()) {
        (true, _) => "a condition",
        (_, true) => "columns",
        _ if options.when != When::Matches => {
            let word = if options.when == When::Enters { "enters" } else { "leaves" };
            return Err(Error::invalid(format!("a row {word} nothing without a condition"))
                .with_detail(format!("The option \"when\" is \"{word}\"."))
                .with_hint("Give the condition, such as condition => 'amount > 100'."));
        }
        _ => return Ok(()),
    };
    let refuse = |why: &str, hint: &str| {
        Err(Error::invalid(format!("{wanted} needs rows, and {why}"))
            .with_detail("A condition and columns are looked at for each changed row.")
            .with_hint(hint))
    };
    if options.level == Level::Statement {
        let hint = "Leave the option \"level\" out, or the condition and the columns.";
        return refuse("a trigger of level statement sees none", hint);
    }
    if operations.iter().any(|o| o == TRUNCATE) {
        return refuse("a truncate has none", "Make a trigger of its own for truncate.");
    }
    Ok(())
}

fn check_event(d: &Definition, checked: &mut Checked) -> Result<()> {
    if let Some(logic) = &d.conditions {
        let made = event_to_sql(logic);
        checked.generated =
            Some(made.map_err(|p| Error::problems("conditions", &p, TRIGGER.help))?);
    }
    let Some(text) = checked.generated.as_deref().or(d.condition.as_deref()) else {
        return Ok(());
    };
    expression::check_shape(text)?;
    let hint = "The condition sees event, a jsonb: (event ->> 'amount')::numeric > 100.";
    check_event_condition(text).map_err(|error| error.or_hint(hint))
}

fn check_time(d: &Definition, options: &Time, checked: &mut Checked) -> Result<()> {
    let zone = when::zone_name(options.time_zone.as_deref())?;
    let text = d.schedule.as_deref().unwrap_or_default();
    let schedule = when::read(text, &zone)?;
    let next = schedule.next(when::now());
    if next.is_none() && d.enabled {
        return Err(Error::invalid(format!("schedule {} has no instant to come", shown(text)))
            .with_detail(format!("Looked for after {}.", when::now().to_rfc3339()))
            .with_hint("automate.next_runs(schedule) shows what a schedule means."));
    }
    checked.schedule = Some(schedule.to_json());
    checked.next = next;
    Ok(())
}
