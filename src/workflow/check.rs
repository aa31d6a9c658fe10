//! What is wrong with a definition: in itself, and with the database as its owner sees it.

use super::{capability, names};
use crate::error::{Error, Result};
use crate::noun::WORKFLOW;
use crate::spi::statement;
use crate::worker::toplevel;
use automate_core::problem::{Problem, Severity};
use automate_core::workflow::{Definition, EffectRef};
use pgrx::prelude::*;
use serde_json::{Value, json};

/// A problem, and PostgreSQL's own code for it where it has one.
type Finding = (Problem, Option<PgSqlErrorCode>);

/// Everything that is wrong with the document, checked as `owner`; call it outside of our own
/// statements. `name` is the workflow's, where that is known.
pub fn problems(document: &Value, owner: pg_sys::Oid, name: Option<&str>) -> Result<Vec<Problem>> {
    Ok(findings(document, owner, name)?.into_iter().map(|(problem, _)| problem).collect())
}

/// The errors as one error that names them all, with the SQLSTATE of the first.
pub fn refuse(what: &str, document: &Value, owner: pg_sys::Oid, name: &str) -> Result<()> {
    let found = findings(document, owner, Some(name))?;
    let errors = found.into_iter().filter(|(problem, _)| problem.severity == Severity::Error);
    let (problems, codes): (Vec<_>, Vec<_>) = errors.unzip();
    let Some(first) = codes.first() else { return Ok(()) };
    let mut error = Error::problems(what, &problems, WORKFLOW.help);
    if let (Error::Refused { code, .. }, Some(known)) = (&mut error, first) {
        *code = *known;
    }
    Err(error)
}

fn findings(document: &Value, owner: pg_sys::Oid, name: Option<&str>) -> Result<Vec<Finding>> {
    let definition = match Definition::parse(document, &capability::limits()) {
        Ok(definition) => definition,
        Err(problems) => return Ok(problems.into_iter().map(|p| (p, None)).collect()),
    };
    let refused = capability::refused(&definition);
    let mut found: Vec<Finding> = refused.into_iter().map(|p| (p, None)).collect();
    found.extend(statements(&definition));
    let name = name.or_else(|| document["document"]["name"].as_str());
    let named = names::problems(&definition, owner, name)?;
    found.extend(named.into_iter().chain(definition.unreached()).map(|p| (p, None)));
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

/// The row of how complex a definition is.
pub fn complexity(document: &Value) -> Result<Value> {
    let found = automate_core::workflow::complexity(document, &capability::limits())
        .map_err(|problems| Error::problems("definition", &problems, WORKFLOW.help))?;
    Ok(json!([{
        "tasks": found.tasks,
        "depth": found.depth,
        "max_parallel": found.max_parallel,
        "cyclomatic": found.cyclomatic,
        "within_limits": found.within_limits,
        "nearest_limit": found.nearest_limit,
        "used": (found.used * 1000.0).round() / 1000.0,
    }]))
}
