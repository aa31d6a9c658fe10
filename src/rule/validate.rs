//! Everything that is wrong with a rule at once. The checks are those of [`define`]: creating a rule
//! raises the first of the findings that are errors.

use super::define::{self, Checked, Definition};
use super::look::Looked;
use super::{conflict, never, store};
use crate::error::{Error, Failure, Result, shown};
use crate::noun::RULE;
use crate::pg;
use crate::spi::{as_extension, statement};
use automate_core::problem::{Problem, Severity};
use automate_core::rule::action;
use pgrx::prelude::*;
use serde_json::{Value, json};

/// Something that is wrong.
pub struct Finding {
    pub severity: Severity,
    /// JSON Pointer that begins with the argument.
    pub pointer: String,
    /// Where in the SQL there, counted in characters from 1.
    pub position: Option<i32>,
    pub code: String,
    pub message: String,
    pub hint: Option<String>,
}

/// What the checks find.
#[derive(Default)]
pub struct Findings {
    pub list: Vec<Finding>,
    first: Option<Error>,
}

impl Findings {
    pub fn new() -> Findings {
        statement::take_position();
        Findings::default()
    }

    /// Notes the error of a check, if it has one. What asks the session to stop is raised.
    pub fn keep<T>(&mut self, pointer: impl Into<String>, result: Result<T>) -> Option<T> {
        let position = statement::take_position();
        let error = match result {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        let (failure, error) = Failure::of(error);
        if failure.stops() || !matches!(error, Error::Refused { .. }) {
            error.raise();
        }
        self.list.push(Finding {
            severity: Severity::Error,
            pointer: pointer.into(),
            position,
            code: failure.condition(),
            message: failure.message,
            hint: failure.hint,
        });
        self.first.get_or_insert(error);
        None
    }

    /// Notes the problems of an argument that is JSON, if it has any.
    pub fn keep_all<T>(
        &mut self,
        argument: &str,
        result: std::result::Result<T, Vec<Problem>>,
    ) -> Option<T> {
        let problems = match result {
            Ok(value) => return Some(value),
            Err(problems) => problems,
        };
        let error = Error::problems(argument, &problems, RULE.help);
        self.first.get_or_insert(error);
        self.list.extend(problems.into_iter().map(|problem| Finding {
            severity: problem.severity,
            pointer: format!("/{argument}{}", problem.pointer),
            position: None,
            code: problem.code.to_owned(),
            message: problem.message,
            hint: problem.hint,
        }));
        None
    }

    fn warn(&mut self, pointer: &str, code: &str, message: String, hint: &str) {
        self.list.push(Finding {
            severity: Severity::Warning,
            pointer: pointer.to_owned(),
            position: None,
            code: code.to_owned(),
            message,
            hint: Some(hint.to_owned()),
        });
    }

    /// The first error, as a definition that is written raises it.
    pub fn into_error(self) -> Option<Error> {
        self.first
    }
}

impl Finding {
    fn row(&self) -> Value {
        json!({
            "severity": self.severity.to_string(), "pointer": self.pointer, "position": self.position,
            "code": self.code, "message": self.message, "hint": self.hint,
        })
    }
}

/// What there is to say of a definition; answers a JSON array. Without a name, that is not looked at.
pub fn run(owner: pg_sys::Oid, definition: &Definition, named: bool) -> Value {
    let mut findings = Findings::new();
    let checked = define::examine(owner, definition, named, &mut findings);
    if named {
        let there = as_extension(|own| store::refuse_duplicate(own, owner, &definition.name));
        findings.keep("/name", there);
    }
    if let Some(checked) = checked {
        warn(owner, definition, &checked, &mut findings);
    }
    Value::Array(findings.list.iter().map(Finding::row).collect())
}

/// What actions name may be another role's, which the owner can use as long as it is a member.
fn warn_of_others(owner: pg_sys::Oid, d: &Definition, findings: &mut Findings) {
    let actions = action::parse(&d.actions).unwrap_or_default();
    for (index, action) in actions.iter().enumerate() {
        let Some((verb, noun, name)) = define::named(action) else { continue };
        let found = as_extension(|own| noun.owner(own, owner, name)).ok().flatten();
        if let Some(other) = found.filter(|other| *other != owner) {
            let role = pg::role_name(other).unwrap_or_default();
            let message = format!("{} belongs to role \"{role}\"", shown(name));
            let hint = "It works as long as you have the privileges of that role; make one of your own, or keep the membership.";
            findings.warn(&format!("/actions/{index}/{verb}"), "other_owner", message, hint);
        }
    }
}

/// What create_rule takes, and what is perhaps not meant.
fn warn(owner: pg_sys::Oid, d: &Definition, checked: &Checked, findings: &mut Findings) {
    if d.valid_until.is_some_and(|until| i64::from(until) <= pg::now()) {
        let message = "valid_until is in the past: the rule sees nothing".to_owned();
        findings.warn("/valid_until", "over", message, "Give a later instant, or leave it out.");
    }
    warn_of_others(owner, d, findings);
    let Some(rule) = Looked::of(owner, d, checked) else { return };
    let argument = if d.conditions.is_some() { "/conditions" } else { "/condition" };
    if let Some(reason) = never::reason(&rule, d.timing == "after") {
        let hint = "No change can match it: look for a part that contradicts another.";
        findings.warn(argument, "never_matches", reason, hint);
    }
    let others = conflict::beside(d, &rule);
    for conflict::Beside { other, relation } in others.unwrap_or_default() {
        let (code, message, hint) = match relation {
            "equivalent" => (
                "duplicate",
                format!("it matches the same changes as rule \"{other}\""),
                "Give that rule the actions as well, or make the conditions different.",
            ),
            _ => (
                "never_reached",
                format!("rule \"{other}\" stops every change that it matches"),
                "Give this rule a smaller priority, or that rule a narrower condition.",
            ),
        };
        findings.warn(argument, code, message, hint);
    }
}
