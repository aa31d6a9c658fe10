//! The condition of a rule that is on no table: SQL over `event`, or JsonLogic that has no SQL form.

use super::expression;
use crate::error::{Error, Result};
use crate::noun::RULE;
use crate::spi::statement;
use automate_core::problem::Problem;
use automate_core::rule::event_to_sql;
use automate_core::rule::logic::{Facts, Logic};
use serde_json::Value;

/// A condition that is ready.
pub enum Condition {
    Sql(String),
    Logic(Logic),
}

impl Condition {
    /// What a rule's row says: its SQL, or else its JsonLogic as text.
    pub fn read(sql: Option<String>, logic: Option<&str>) -> Result<Option<Condition>> {
        match (sql, logic) {
            (Some(sql), _) => Ok(Some(Condition::Sql(sql))),
            (None, Some(text)) => {
                let logic: Value =
                    serde_json::from_str(text).map_err(|e| Error::Internal(e.to_string()))?;
                let logic = Logic::compile(&logic)
                    .map_err(|p| Error::problems("conditions", &p, RULE.help))?;
                Ok(Some(Condition::Logic(logic)))
            }
            (None, None) => Ok(None),
        }
    }

    /// True when an event matches; with the rights in force, which are the owner's.
    pub fn holds(&self, event: &Value) -> Result<bool> {
        match self {
            Condition::Sql(sql) => {
                let answer =
                    statement::execute(&event_statement(sql), std::slice::from_ref(event), false)?;
                Ok(answer.processed > 0)
            }
            Condition::Logic(logic) => Facts::read(&event.to_string())
                .and_then(|facts| logic.holds(&facts))
                .map_err(refuse),
        }
    }
}

/// An evaluation that failed.
pub fn refuse(reason: String) -> Error {
    Error::invalid(format!("conditions cannot be evaluated: {reason}"))
        .with_detail("It is JsonLogic without a SQL form, evaluated on the event.")
        .with_hint("Test what may be missing or of another type before it is used.")
}

/// The SQL that JsonLogic on an event means; None for sound JsonLogic that has no SQL form.
pub fn event_sql(logic: &Value) -> std::result::Result<Option<String>, Vec<Problem>> {
    /// What SQL cannot say and JsonLogic can.
    const ONLY_LOGIC: [&str; 6] = [
        "unsupported_operator",
        "no_condition",
        "unsupported_default",
        "empty_var",
        "json_comparison",
        "wrong_kind",
    ];
    match event_to_sql(logic) {
        Ok(sql) => Ok(Some(sql)),
        Err(problems)
            if logic.is_object() && problems.iter().all(|p| ONLY_LOGIC.contains(&p.code)) =>
        {
            let is_slip =
                |p: &Problem| p.hint.as_ref().is_some_and(|h| h.starts_with("Did you mean"));
            match Logic::compile(logic) {
                Ok(_) => Ok(None),
                // Each knows operators that the other does not.
                Err(others) if others.iter().any(is_slip) && !problems.iter().any(is_slip) => {
                    Err(others)
                }
                Err(_) => Err(problems),
            }
        }
        Err(problems) => Err(problems),
    }
}

/// What stands before the condition of a rule on an event.
const BEFORE: &str = "SELECT true FROM (SELECT $1::pg_catalog.jsonb AS event) AS event_ WHERE (\n";

/// The statement that has a row when the condition holds. The condition stands on a line of its
/// own, so that a comment at its end does no harm.
pub fn event_statement(condition: &str) -> String {
    format!("{BEFORE}{condition}\n)")
}

/// The statement that answers an array: for each condition whether it holds.
pub fn all_statement<'a>(conditions: impl Iterator<Item = &'a str>) -> String {
    let parts: Vec<String> = conditions.map(|c| format!("(\n{c}\n)")).collect();
    format!(
        "SELECT ARRAY[{}]::pg_catalog.bool[] AS hits FROM (SELECT $1::pg_catalog.jsonb AS event) AS event_",
        parts.join(",")
    )
}

/// Checks the condition of a rule on an event.
pub fn check_event_condition(condition: &str) -> Result<()> {
    check_over_event("condition", condition)
}

/// Checks what is asked of events, an expression over `event`; `what` names it.
pub fn check_over_event(what: &str, text: &str) -> Result<()> {
    expression::check_shape(text)?;
    let skipped = i32::try_from(BEFORE.len()).unwrap_or(0);
    statement::check_part(what, &event_statement(text), text, skipped).map(|_| ())
}
