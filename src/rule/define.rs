//! Making, removing and switching rules.

use super::columns::TableColumns;
use super::condition::check_event_condition;
use super::expression::{self, Sides};
use super::rights::{check_rights, check_table};
use super::validate::Findings;
use super::version::Change;
use super::{before, condition, look, request, ruleset, store, terms};
use crate::error::{Error, Result, shown};
use crate::noun::{Noun, REPORT, TASK, TEMPLATE, TRIGGER, WORKFLOW};
use crate::spi::{as_extension, statement};
use crate::{access, event, pg};
use automate_core::problem::Problem;
use automate_core::rule::action::{self, Action};
use automate_core::rule::logic::Logic;
use automate_core::rule::to_sql;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use serde_json::Value;
use std::ffi::CString;
use uuid::Uuid;

/// Longest name of a rule, in bytes.
const MAX_NAME: usize = 128;
const OPERATIONS: [&str; 3] = ["insert", "update", "delete"];

/// A rule as its author says it.
#[derive(Clone)]
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
    Table {
        relid: pg_sys::Oid,
        operations: Vec<String>,
        sides: Sides,
    },
    Event(&'a str),
    Trigger(Uuid),
    /// Nothing: it is evaluated when somebody asks.
    Call,
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
    let change = Change {
        user: owner,
        id,
        owner,
        definition,
        checked: &checked,
        before: None,
        action: "create",
        note: None,
    };
    as_extension(|own| {
        store::refuse_duplicate(own, owner, &definition.name)?;
        change.put(own, None).map(|_| id)
    })
}

/// Looks at a definition with the rights in force, which are the owner's.
pub(super) fn check(owner: pg_sys::Oid, d: &Definition) -> Result<Checked<'_>> {
    let mut findings = Findings::new();
    match examine(owner, d, true, &mut findings) {
        Some(checked) => Ok(checked),
        None => Err(findings
            .into_error()
            .unwrap_or_else(|| Error::Internal("a rule was refused without a reason".into()))),
    }
}

/// The same, but for all that is wrong; None if there is an error. Without `named` the name is not
/// looked at.
pub(super) fn examine<'a>(
    owner: pg_sys::Oid,
    d: &'a Definition,
    named: bool,
    findings: &mut Findings,
) -> Option<Checked<'a>> {
    if named {
        let advice = "Name what it is for, such as big_order.";
        findings.keep("/name", access::check_length("a rule", &d.name, MAX_NAME, advice));
    }
    let source = source(owner, d, findings);
    if let (Some(condition), Some(_)) = (&d.condition, &d.conditions) {
        let error = Error::invalid("a rule has a condition or conditions, not both")
            .with_detail(format!("Beside conditions, condition is {}.", shown(condition)))
            .with_hint("condition is SQL, conditions is JsonLogic.");
        findings.keep("/conditions", Err::<(), _>(error));
    }
    let path = search_path();
    let generated = match &source {
        Some(source) if is_usable(owner, source, findings) => {
            check_terms(d, source, findings);
            look_at_condition(d, source, &path, findings)
        }
        _ => None,
    };
    if let Some(actions) = findings.keep_all("actions", action::parse(&d.actions)) {
        if let Some(source) = &source
            && findings.keep("/timing", before::check_timing(d, source, &actions)).is_some()
            && findings.list.is_empty()
        {
            let condition = generated.as_deref().or(d.condition.as_deref());
            let result = look_at_deeds(owner, d, source, condition, &actions, &path);
            findings.keep("/actions", result);
        }
        check_actions(owner, &actions, findings);
    }
    let set = |name: &String| as_extension(|own| ruleset::of_owner(own, owner, name));
    let ruleset = findings.keep("/ruleset", d.ruleset.as_ref().map(set).transpose());
    if !findings.list.is_empty() {
        return None;
    }
    Some(Checked { source: source?, generated, path, ruleset: ruleset? })
}

/// Checks what a rule before the write does to its row.
fn look_at_deeds(
    owner: pg_sys::Oid,
    d: &Definition,
    source: &Source,
    condition: Option<&str>,
    actions: &[Action],
    path: &str,
) -> Result<()> {
    let Source::Table { relid, operations, .. } = source else { return Ok(()) };
    if d.timing != "before" {
        return Ok(());
    }
    let place = before::Place { relid: *relid, owner, operations: before::bits(operations) };
    let path = CString::new(path).map_err(|e| Error::Internal(e.to_string()))?;
    before::check(&place, condition, actions, &path)
}

/// Whether its table, if it has one, can have rules of the owner.
fn is_usable(owner: pg_sys::Oid, source: &Source, findings: &mut Findings) -> bool {
    let Source::Table { relid, operations, .. } = source else { return true };
    findings.keep("/on_table", check_table(*relid, operations, false)).is_some()
        && findings.keep("/on_table", check_rights(*relid, owner)).is_some()
}

/// Checks the condition; answers the SQL that was made of JsonLogic.
fn look_at_condition(
    d: &Definition,
    source: &Source,
    path: &str,
    findings: &mut Findings,
) -> Option<String> {
    let generated = findings.keep_all("conditions", generate(d, source))?;
    let (argument, condition) = match &generated {
        Some(made) => ("/conditions", Some(made.as_str())),
        None => ("/condition", d.condition.as_deref()),
    };
    let result = check_condition(condition, source, path);
    if generated.is_some() {
        // Its place would be one in the SQL that was made of it.
        statement::take_position();
    }
    findings.keep(argument, result);
    generated
}

/// search_path as it is kept: temporary objects last, so that no writer's can stand in.
fn search_path() -> String {
    let path = pg::search_path();
    match path.trim() {
        "" => "pg_temp".into(),
        // As it was kept.
        kept if kept == "pg_temp" || kept.ends_with(", pg_temp") => path,
        _ => format!("{path}, pg_temp"),
    }
}

fn source<'a>(
    owner: pg_sys::Oid,
    d: &'a Definition,
    findings: &mut Findings,
) -> Option<Source<'a>> {
    match (d.on_table, d.on_event.as_deref(), d.on_trigger.as_deref()) {
        (Some(relid), None, None) => {
            let operations = findings.keep("/operations", operations(&d.operations))?;
            let sides = look::sides(&operations);
            Some(Source::Table { relid, operations, sides })
        }
        (None, Some(name), None) => {
            findings.keep("/on_event", event::check_pattern(name)).map(|()| Source::Event(name))
        }
        (None, None, Some(name)) => {
            let found = as_extension(|own| TRIGGER.id(own, owner, name));
            findings.keep("/on_trigger", found).map(Source::Trigger)
        }
        (None, None, None) if d.ruleset.is_some() => Some(Source::Call),
        _ => findings.keep("", Err(not_one_source(d))),
    }
}

/// Says that a rule listens to nothing, or to more than one thing.
fn not_one_source(d: &Definition) -> Error {
    match (d.on_table, d.on_event.as_deref(), d.on_trigger.as_deref()) {
        (None, None, None) => Error::invalid("a rule is on a table, on an event or on a trigger")
            .with_detail("None of on_table, on_event and on_trigger was given.")
            .with_hint(
                "Give on_table => 'orders', on_event => 'order.paid' or on_trigger => 'big_order'; a rule without them is in a rule set and evaluated by automate.evaluate_rules.",
            ),
        (table, event, trigger) => {
            let given = [
                table.map(|_| "on_table".to_owned()),
                event.map(|name| format!("on_event {}", shown(name))),
                trigger.map(|name| format!("on_trigger {}", shown(name))),
            ];
            let given: Vec<String> = given.into_iter().flatten().collect();
            Error::invalid("a rule is on one table, event or trigger")
                .with_detail(format!("Given are {}.", given.join(" and ")))
                .with_hint("Make a rule for each, with the same actions.")
        }
    }
}

fn operations(given: &[String]) -> Result<Vec<String>> {
    if given.iter().any(|operation| operation.eq_ignore_ascii_case("truncate")) {
        return Err(Error::invalid("a rule on a table looks at rows, and truncate has none")
            .with_detail(format!("The operations given are {}.", given.join(", ")))
            .with_hint("Make a trigger: SELECT automate.create_trigger('emptied', 'data', on_table => ..., operations => '{truncate}'), and the rule with on_trigger => 'emptied'."));
    }
    look::operations("a rule on a table", given, &OPERATIONS)
}

/// The SQL that JsonLogic means.
fn generate(d: &Definition, source: &Source) -> std::result::Result<Option<String>, Vec<Problem>> {
    let Some(logic) = &d.conditions else { return Ok(None) };
    match source {
        Source::Table { relid, sides, .. } => {
            to_sql(logic, &TableColumns::of(*relid, *sides)).map(Some)
        }
        Source::Event(_) | Source::Trigger(_) => condition::event_sql(logic),
        Source::Call => Logic::compile(logic).map(|_| None),
    }
}

fn check_condition(condition: Option<&str>, source: &Source, path: &str) -> Result<()> {
    let Some(text) = condition else { return Ok(()) };
    match source {
        Source::Table { relid, sides, .. } => {
            let path = CString::new(path).map_err(|e| Error::Internal(e.to_string()))?;
            expression::check(*relid, text, *sides, &path)
        }
        Source::Event(_) | Source::Trigger(_) | Source::Call => check_event_condition(text),
    }
}

/// What is asked beyond the condition must make sense for the source.
fn check_terms(d: &Definition, source: &Source, findings: &mut Findings) {
    if !terms::ON_ERROR.contains(&d.on_error.as_str()) {
        let message = format!("unknown policy {} for on_error", shown(&d.on_error));
        let error = Error::unknown_word(message, &d.on_error, &terms::ON_ERROR);
        findings.keep("/on_error", Err::<(), _>(error));
    }
    if let (Some(from), Some(until)) = (d.valid_from, d.valid_until)
        && i64::from(from) >= i64::from(until)
    {
        let error = Error::invalid("valid_from must be before valid_until")
            .with_detail("The rule would never be valid.")
            .with_hint("Exchange them, or leave one out.");
        findings.keep("/valid_until", Err::<(), _>(error));
    }
    match source {
        Source::Table { relid, operations, .. } => {
            findings.keep("/columns", check_columns(d, *relid, operations));
        }
        _ if d.columns.is_some() || d.stop || d.on_error != "skip" => {
            let error = Error::invalid("columns, stop and on_error are for rules on tables")
                .with_detail("Other rules act each for itself, after the commit.")
                .with_hint("Leave them out; say in the condition what the rule is to pass over.");
            findings.keep("", Err::<(), _>(error));
        }
        _ => {}
    }
}

fn check_columns(d: &Definition, relid: pg_sys::Oid, operations: &[String]) -> Result<()> {
    let Some(columns) = &d.columns else { return Ok(()) };
    if columns.is_empty() || !operations.iter().any(|o| o == "update") {
        return Err(Error::invalid("columns are for updates")
            .with_detail("An update counts only if one of the columns changed.")
            .with_hint("Name at least one, and have update among the operations."));
    }
    terms::attribute_numbers(relid, columns).map(|_| ())
}

/// Statements must make sense, and what is named must be there.
fn check_actions(owner: pg_sys::Oid, actions: &[Action], findings: &mut Findings) {
    for (index, action) in actions.iter().enumerate() {
        if let Some((verb, noun, name)) = named(action) {
            let result = as_extension(|own| noun.require(own, owner, name));
            findings.keep(format!("/actions/{index}/{verb}"), result);
        }
        match action {
            Action::Sql { statement, .. } => {
                let result = statement::check(&format!("action {}: sql", index + 1), statement);
                findings.keep(format!("/actions/{index}/sql"), result);
            }
            Action::Http(http) => {
                let result = request::check(&format!("action {}: http", index + 1), http);
                findings.keep(format!("/actions/{index}/http"), result);
            }
            Action::Emit { name, .. } => {
                findings.keep(format!("/actions/{index}/emit"), event::check_name(name));
            }
            // Set and reject are looked at with the table, by `before::check`.
            _ => {}
        }
    }
}

/// What an action names: its verb, the kind of thing and the name.
pub(super) fn named(action: &Action) -> Option<(&'static str, &'static Noun, &str)> {
    match action {
        Action::Workflow { name, .. } => Some(("workflow", &WORKFLOW, name)),
        Action::Notify { template, .. } => Some(("notify", &TEMPLATE, template)),
        Action::Report { name, .. } => Some(("report", &REPORT, name)),
        Action::Task { name } => Some(("task", &TASK, name)),
        _ => None,
    }
}
