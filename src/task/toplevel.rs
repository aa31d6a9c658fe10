//! Tasks of type procedure: a statement at top level, or the name of a procedure that is called.

use super::perform::give_up;
use super::routine::{self, Verb};
use crate::error::{Error, Result};
use crate::pg;
use crate::queue::Job;
use crate::queue::finish::Outcome;
use crate::spi::{statement, step};
use automate_core::task::Routine;
use pgrx::prelude::*;
use serde_json::Value;

/// How a command is written.
#[derive(PartialEq)]
enum Form {
    Statement,
    Call,
    Name,
}

/// Tells a statement from a name: what PostgreSQL can read is a statement.
fn form(command: &str) -> Result<Form> {
    let source = statement::c_text("command", command)?;
    let read = step::in_subtransaction(|| {
        statement::with_position(|| {
            // SAFETY: the list comes from the parser and lives in the current context.
            unsafe {
                let parsed = pg_sys::pg_parse_query(source.as_ptr());
                pg::items::<pg_sys::RawStmt>(parsed).map(|raw| (*(*raw).stmt).type_).collect()
            }
        })
        .unwrap_or_else(|(failure, position)| {
            statement::refuse_text("command", command, failure, position).raise()
        })
    });
    let tags: Vec<pg_sys::NodeTag> = match read {
        Ok(tags) => tags,
        Err(_) if Routine::parse(command).is_ok() => return Ok(Form::Name),
        Err(failure) => return Err(failure.into()),
    };
    let refuse = |code, reason: &str, hint: &str| {
        let detail = statement::beginning("command", command);
        Err(Error::refused(code, format!("command: {reason}")).with_detail(detail).with_hint(hint))
    };
    match tags.as_slice() {
        [pg_sys::NodeTag::T_TransactionStmt] => refuse(
            PgSqlErrorCode::ERRCODE_INVALID_TRANSACTION_TERMINATION,
            "a transaction command cannot run by itself",
            "Put COMMIT and ROLLBACK into a procedure, and CALL it.",
        ),
        [pg_sys::NodeTag::T_CallStmt] => Ok(Form::Call),
        [_] => Ok(Form::Statement),
        _ => refuse(
            PgSqlErrorCode::ERRCODE_SYNTAX_ERROR,
            "a task of type procedure is one statement",
            "Give one statement or the name of a procedure; type sql takes several in one transaction.",
        ),
    }
}

/// Checks a command as the role in force.
pub(super) fn check(command: &str, args: &Value) -> Result<()> {
    let form = form(command)?;
    if form == Form::Name {
        return routine::check(command, args, Verb::Call);
    }
    let given = args.as_object().map(|map| map.len()).or(args.as_array().map(Vec::len));
    if given != Some(0) {
        return Err(Error::invalid("a statement that runs at top level takes no parameters")
            .with_detail(statement::beginning("command", command))
            .with_hint("Write the values into the statement, or give the name of a procedure alone, and {\"params\": [...]}."));
    }
    if form == Form::Call {
        return routine::check_call(command);
    }
    Ok(())
}

/// The statement of a run; or its end, when the procedure that it names is gone.
pub fn text(job: &Job) -> Result<std::result::Result<String, Outcome>> {
    match statement_of(job) {
        Err(error) if is_gone(job)? => give_up(job, error).map(Err),
        other => other.map(Ok),
    }
}

fn statement_of(job: &Job) -> Result<String> {
    let text = |key: &str| job.payload[key].as_str().unwrap_or_default().to_string();
    let command = text("command");
    match job.payload["type"].as_str() {
        Some("procedure") if form(&command)? == Form::Name => routine::call(job, &command),
        Some(_) => Ok(command),
        // A background statement.
        None => Ok(text("sql")),
    }
}

fn is_gone(job: &Job) -> Result<bool> {
    let command = job.payload["command"].as_str().unwrap_or_default();
    if job.payload["type"] != "procedure" || form(command)? != Form::Name {
        return Ok(false);
    }
    routine::is_gone(command, Verb::Call)
}
