//! Test cases of a rule: rows that its condition must match, and rows that it must not.

use super::look::{self, Looked};
use super::read;
use super::trial::Given;
use super::{explain, publish};
use crate::access;
use crate::audit::{self, Entry};
use crate::error::{Error, Result};
use crate::noun::{RULE, looked_for};
use crate::spi::{Own, as_extension};
use automate_core::object::Object;
use automate_core::problem::Problem;
use automate_core::suggest;
use pgrx::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

/// Longest name of a test case, in bytes.
const MAX_NAME: usize = 200;

/// A test case as its author says it.
#[derive(PartialEq)]
pub struct Case {
    pub name: String,
    pub new: Option<Given>,
    pub old: Option<Given>,
    pub matches: bool,
}

impl Case {
    /// What the rule is to say of it.
    pub fn expected(&self) -> &'static str {
        if self.matches { "match" } else { "no match" }
    }

    /// What the rule says of it, or the error.
    pub fn got(&self, rule: &Looked) -> String {
        self.outcome(rule).unwrap_or_else(|e| e.to_string())
    }

    /// What the rule says of its rows; an error that evaluating the condition raises is told as it is.
    fn outcome(&self, rule: &Looked) -> Result<String> {
        let parts = explain::parts(rule, self.new.as_ref(), self.old.as_ref())?;
        let parts: Value =
            serde_json::from_str(&parts).map_err(|e| Error::Internal(e.to_string()))?;
        Ok(match parts[0]["value"].as_str() {
            Some("true") => "match".into(),
            Some("false" | "null") | None => "no match".into(),
            Some(error) => error.into(),
        })
    }

    pub fn document(&self) -> Value {
        let row = |given: &Option<Given>| given.as_ref().map(|given| given.value.clone());
        json!({
            "name": self.name, "new": row(&self.new), "old": row(&self.old), "matches": self.matches,
        })
    }
}

/// Adds a test case to a rule, or replaces the one of that name.
pub fn add(user: pg_sys::Oid, rule: &str, case: &Case) -> Result<()> {
    let advice = "Say what the case is about, such as 'exactly at the limit'.";
    access::check_length("a test case", &case.name, MAX_NAME, advice)?;
    let looked = look::find(user, rule, "add_rule_test")?;
    // Rows that cannot be the rule's are refused here, as they are when it is explained.
    case.outcome(&looked)?;
    as_extension(|own| {
        let Some(rule) = read::owned(own, looked.owner, rule, true)? else {
            return Err(RULE.missing(own, user, rule));
        };
        Of { user, id: rule.id, owner: rule.owner, name: &rule.definition.name }.put(own, case)
    })
}

/// The rule whose test cases are written, and who writes them.
pub(super) struct Of<'a> {
    pub user: pg_sys::Oid,
    pub id: Uuid,
    pub owner: pg_sys::Oid,
    pub name: &'a str,
}

impl Of<'_> {
    /// Writes a test case, in the place of the one of its name.
    pub fn put(&self, own: &Own, case: &Case) -> Result<()> {
        let text = |row: &Option<Given>| row.as_ref().map(|row| row.text.clone());
        own.run(
            "INSERT INTO automate.rule_test (rule, name, owner, new, old, matches)
             VALUES ($1, $2, $3, $4::pg_catalog.jsonb, $5::pg_catalog.jsonb, $6)
             ON CONFLICT (rule, name) DO UPDATE
             SET new = EXCLUDED.new, old = EXCLUDED.old, matches = EXCLUDED.matches, created_at = now()",
            &[
                key(self.id).into(),
                case.name.as_str().into(),
                self.owner.into(),
                text(&case.new).into(),
                text(&case.old).into(),
                case.matches.into(),
            ],
        )?;
        self.note(own, "add test", None, Some(case.document()))
    }

    /// Takes a test case away.
    pub fn take(&self, own: &Own, case: &Case) -> Result<()> {
        own.run(
            "DELETE FROM automate.rule_test WHERE rule = $1 AND name = $2",
            &[key(self.id).into(), case.name.as_str().into()],
        )?;
        self.note(own, "drop test", Some(case.document()), None)
    }

    fn note(
        &self,
        own: &Own,
        action: &'static str,
        old: Option<Value>,
        new: Option<Value>,
    ) -> Result<()> {
        let (object, owner, name, by) = (self.id, self.owner, self.name, Some(self.user));
        audit::record(own, &Entry { kind: "rule", object, name, owner, action, by, old, new })
    }
}

fn key(id: Uuid) -> pgrx::Uuid {
    pgrx::Uuid::from_bytes(*id.as_bytes())
}

/// Reads a test case of a document.
pub(super) fn parse(test: &Value, pointer: &str, problems: &mut Vec<Problem>) -> Option<Case> {
    let mut object = Object::open(test, pointer, problems)?;
    object.allow(&["name", "new", "old", "matches"]);
    let given = |value: Option<&Value>| {
        value.map(|value| Given { value: value.clone(), text: value.to_string() })
    };
    let case = Case {
        name: object.required_string("name").unwrap_or_default().to_owned(),
        new: given(object.get("new")),
        old: given(object.get("old")),
        matches: object.boolean("matches").unwrap_or(true),
    };
    if case.name.len() > MAX_NAME {
        let message = format!("the name of a test case has at most {MAX_NAME} bytes");
        let pointer = object.pointer("name");
        object.problems().push(Problem::error(pointer, "too_long", message));
    }
    Some(case)
}

/// Removes a test case.
pub fn remove(user: pg_sys::Oid, rule: &str, name: &str) -> Result<()> {
    let owner = look::find(user, rule, "drop_rule_test")?.owner;
    as_extension(|own| {
        let Some(stored) = read::owned(own, owner, rule, true)? else {
            return Err(RULE.missing(own, user, rule));
        };
        let cases = self::read(own, stored.id)?;
        if let Some(case) = cases.iter().find(|case| case.name == name) {
            return Of { user, id: stored.id, owner, name: rule }.take(own, case);
        }
        let known: Vec<String> = cases.into_iter().map(|case| case.name).collect();
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

/// Tries the test cases of a rule, on its condition as it is or was in a version; answers a JSON
/// array.
pub fn run(user: pg_sys::Oid, rule: &str, version: Option<i32>) -> Result<Value> {
    let looked = look::find(user, rule, "test_rule")?;
    let (stored, cases) = as_extension(|own| {
        let Some(stored) = read::owned(own, looked.owner, rule, false)? else {
            return Err(RULE.missing(own, user, rule));
        };
        let cases = self::read(own, stored.id)?;
        Ok((stored, cases))
    })?;
    let looked = match version {
        Some(version) => publish::look(&stored, version)?.unwrap_or(looked),
        None => looked,
    };
    let rows = cases.iter().map(|case| {
        let (expected, got) = (case.expected(), case.got(&looked));
        json!({ "name": case.name, "passed": got == expected, "expected": expected, "got": got })
    });
    Ok(Value::Array(rows.collect()))
}

/// The test cases of a rule, by name.
pub(super) fn read(own: &Own, rule: Uuid) -> Result<Vec<Case>> {
    let rows = own.run(
        "SELECT name, new::pg_catalog.text, old::pg_catalog.text, matches
         FROM automate.rule_test WHERE rule = $1 ORDER BY name COLLATE \"C\"",
        &[key(rule).into()],
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
