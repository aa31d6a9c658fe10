//! Test cases of a rule: rows that its condition must match, and rows that it must not.

use super::explain;
use super::look;
use super::trial::Given;
use crate::access;
use crate::error::{Error, Result};
use crate::noun::looked_for;
use crate::spi::{Own, as_extension};
use automate_core::suggest;
use pgrx::prelude::*;
use serde_json::{Value, json};

/// Longest name of a test case, in bytes.
const MAX_NAME: usize = 200;

/// A test case as its author says it.
pub struct Case {
    pub name: String,
    pub new: Option<Given>,
    pub old: Option<Given>,
    pub matches: bool,
}

/// Adds a test case to a rule, or replaces the one of that name.
pub fn add(user: pg_sys::Oid, rule: &str, case: &Case) -> Result<()> {
    let advice = "Say what the case is about, such as 'exactly at the limit'.";
    access::check_length("a test case", &case.name, MAX_NAME, advice)?;
    let owner = look::find(user, rule, "add_rule_test")?.owner;
    // Rows that cannot be the rule's are refused here, as they are when it is explained.
    outcome(user, rule, case)?;
    let text = |row: &Option<Given>| row.as_ref().map(|row| row.text.clone());
    as_extension(|own| {
        own.run(
            "INSERT INTO automate.rule_test (rule, name, owner, new, old, matches)
             SELECT id, $3, owner, $4::pg_catalog.jsonb, $5::pg_catalog.jsonb, $6
             FROM automate.rule WHERE owner = $1 AND name = $2
             ON CONFLICT (rule, name) DO UPDATE
             SET new = EXCLUDED.new, old = EXCLUDED.old, matches = EXCLUDED.matches, created_at = now()",
            &[
                owner.into(),
                rule.into(),
                case.name.as_str().into(),
                text(&case.new).into(),
                text(&case.old).into(),
                case.matches.into(),
            ],
        )?;
        Ok(())
    })
}

/// Removes a test case.
pub fn remove(user: pg_sys::Oid, rule: &str, name: &str) -> Result<()> {
    let owner = look::find(user, rule, "drop_rule_test")?.owner;
    as_extension(|own| {
        let gone = own.run(
            "DELETE FROM automate.rule_test AS t USING automate.rule AS r
             WHERE r.id = t.rule AND r.owner = $1 AND r.name = $2 AND t.name = $3",
            &[owner.into(), rule.into(), name.into()],
        )?;
        if gone.processed == 1 {
            return Ok(());
        }
        let known: Vec<String> = read(own, owner, rule)?.into_iter().map(|c| c.name).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let hint = match suggest::nearest(name, known.iter().copied()) {
            Some(near) => format!("Did you mean \"{near}\"?"),
            None => format!("SELECT * FROM automate.test_rule('{rule}') lists those there are."),
        };
        Err(Error::missing(format!("rule \"{rule}\" has no test case \"{name}\""))
            .with_detail(looked_for("the rules", user))
            .with_hint(hint))
    })
}

/// Tries the test cases of a rule; answers a JSON array.
pub fn run(user: pg_sys::Oid, rule: &str) -> Result<Value> {
    let owner = look::find(user, rule, "test_rule")?.owner;
    let cases = as_extension(|own| read(own, owner, rule))?;
    let rows = cases.iter().map(|case| {
        let expected = if case.matches { "match" } else { "no match" };
        let got = outcome(user, rule, case).unwrap_or_else(|e| e.to_string());
        Ok(json!({ "name": case.name, "passed": got == expected, "expected": expected, "got": got }))
    });
    rows.collect::<Result<Vec<Value>>>().map(Value::Array)
}

/// What the rule says of a case's rows; an error that evaluating the condition raises is told as it is.
fn outcome(user: pg_sys::Oid, rule: &str, case: &Case) -> Result<String> {
    let parts = explain::run(user, rule, case.new.as_ref(), case.old.as_ref())?;
    let parts: Value = serde_json::from_str(&parts).map_err(|e| Error::Internal(e.to_string()))?;
    Ok(match parts[0]["value"].as_str() {
        Some("true") => "match".into(),
        Some("false" | "null") | None => "no match".into(),
        Some(error) => error.into(),
    })
}

fn read(own: &Own, owner: pg_sys::Oid, rule: &str) -> Result<Vec<Case>> {
    let rows = own.run(
        "SELECT t.name, t.new::pg_catalog.text, t.old::pg_catalog.text, t.matches
         FROM automate.rule_test AS t JOIN automate.rule AS r ON r.id = t.rule
         WHERE r.owner = $1 AND r.name = $2 ORDER BY t.name",
        &[owner.into(), rule.into()],
    )?;
    let given = |row: usize, column| match rows.get::<String>(row, column) {
        None => Ok(None),
        Some(text) => match serde_json::from_str(&text) {
            Ok(value) => Ok(Some(Given { value, text })),
            Err(e) => Err(Error::Internal(e.to_string())),
        },
    };
    (0..rows.len())
        .map(|row| {
            Ok(Case {
                name: rows.get(row, 1).unwrap_or_default(),
                new: given(row, 2)?,
                old: given(row, 3)?,
                matches: rows.get(row, 4).unwrap_or(true),
            })
        })
        .collect()
}
