//! What is wrong with a definition: in itself, and with the database as its owner sees it.

use super::{approval, capability};
use crate::error::{Error, Result};
use crate::noun::{TEMPLATE, WORKFLOW};
use crate::spi::{as_extension, statement};
use crate::worker::toplevel;
use automate_core::problem::Problem;
use automate_core::workflow::{Definition, EffectRef};
use pgrx::prelude::*;
use serde_json::Value;

/// A problem, and PostgreSQL's own code for it where it has one.
type Finding = (Problem, Option<PgSqlErrorCode>);

/// Everything that is wrong with the document, checked as `owner`; call it outside of our own
/// statements.
pub fn problems(document: &Value, owner: pg_sys::Oid) -> Result<Vec<Problem>> {
    Ok(findings(document, owner)?.into_iter().map(|(problem, _)| problem).collect())
}

/// The same as an error that names them all, with the SQLSTATE of the first.
pub fn refuse(what: &str, document: &Value, owner: pg_sys::Oid) -> Result<()> {
    let (problems, codes): (Vec<_>, Vec<_>) = findings(document, owner)?.into_iter().unzip();
    let Some(first) = codes.first() else { return Ok(()) };
    let mut error = Error::problems(what, &problems, WORKFLOW.help);
    if let (Error::Refused { code, .. }, Some(known)) = (&mut error, first) {
        *code = *known;
    }
    Err(error)
}

fn findings(document: &Value, owner: pg_sys::Oid) -> Result<Vec<Finding>> {
    let definition = match Definition::parse(document, &capability::limits()) {
        Ok(definition) => definition,
        Err(problems) => return Ok(problems.into_iter().map(|p| (p, None)).collect()),
    };
    let refused = capability::refused(&definition);
    let mut found: Vec<Finding> = refused.into_iter().map(|p| (p, None)).collect();
    found.extend(statements(&definition));
    found.extend(roles(&definition)?.into_iter().map(|p| (p, None)));
    found.extend(templates(&definition, owner)?.into_iter().map(|p| (p, None)));
    Ok(found)
}

/// Statements that PostgreSQL does not take.
fn statements(definition: &Definition) -> Vec<Finding> {
    let mut found = Vec::new();
    for effect in definition.effects() {
        if let EffectRef::Sql { pointer, statement, params } = effect
            && let Err(error) = check_statement(pointer, statement, *params)
        {
            found.push(error);
        }
    }
    found
}

fn check_statement(pointer: &str, text: &str, params: usize) -> std::result::Result<(), Finding> {
    let at = format!("{pointer}/with");
    let refuse = |error: Error| problem(&at, "invalid_statement", error);
    if toplevel::is_needed_checked("statement", text).map_err(refuse)? {
        let message = "the statement wants no transaction around it, so it cannot be a step";
        let hint = "Put it in a task, or SELECT automate.enqueue_sql(...) in the step.";
        return Err((Problem::error(at, "top_level_statement", message).with_hint(hint), None));
    }
    statement::check("statement", text).map_err(refuse)?;
    let wanted = statement::parameter_count(text).map_err(refuse)?;
    if wanted > params {
        let message = format!("the statement has ${wanted}, but params has {params} members");
        let hint = "Give one value in params for each of $1, $2, ...";
        return Err((Problem::error(at, "missing_params", message).with_hint(hint), None));
    }
    Ok(())
}

/// An error of PostgreSQL with its place in the document.
fn problem(at: &str, code: &'static str, error: Error) -> Finding {
    let Error::Refused { code: sqlstate, message, detail, hint } = error else {
        return (Problem::error(at, code, error.to_string()), None);
    };
    let message = match detail {
        Some(detail) => format!("{message} ({})", detail.trim_end_matches('.')),
        None => message,
    };
    let problem = Problem::error(at, code, message);
    match hint {
        Some(hint) => (problem.with_hint(hint), Some(sqlstate)),
        None => (problem, Some(sqlstate)),
    }
}

/// Roles that are to decide and do not exist.
fn roles(definition: &Definition) -> Result<Vec<Problem>> {
    let roles: Vec<(&str, &str)> = definition
        .effects()
        .filter_map(|effect| match effect {
            EffectRef::Role { pointer, name } => Some((pointer.as_str(), name.as_str())),
            _ => None,
        })
        .collect();
    if roles.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<&str> = roles.iter().map(|(_, name)| *name).collect();
    let hints = as_extension(|own| approval::unknown_roles(own, &names))?;
    let problem = |((pointer, name), hint): ((&str, &str), Option<String>)| {
        let message = format!("role \"{name}\" does not exist");
        Some(Problem::error(format!("{pointer}/with"), "unknown_role", message).with_hint(hint?))
    };
    Ok(roles.into_iter().zip(hints).filter_map(problem).collect())
}

/// Templates of notifications that the owner does not have.
fn templates(definition: &Definition, owner: pg_sys::Oid) -> Result<Vec<Problem>> {
    let mut found = Vec::new();
    for effect in definition.effects() {
        let EffectRef::Template { pointer, name } = effect else { continue };
        let known = as_extension(|own| TEMPLATE.known(own, owner, name))?;
        if known.first() != Some(name) {
            let at = format!("{pointer}/with/template");
            let message = format!("template \"{name}\" does not exist");
            found.push(
                Problem::error(at, "unknown_template", message)
                    .with_hint(TEMPLATE.way_out(name, &known)),
            );
        }
    }
    Ok(found)
}
