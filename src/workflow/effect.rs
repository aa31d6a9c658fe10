//! What a step does to the world: a statement, a notification, an event, a request.

use super::failure;
use super::known::Known;
use super::run::Run;
use crate::error::{Error, Failure};
use crate::event::{self, Emission, trace};
use crate::notify::{self, Notification};
use crate::pg;
use crate::spi::{statement, step};
use crate::worker::executor::TimeLimit;
use automate_core::object::kind;
use automate_core::workflow::{Command, Expect, ResultShape, WorkflowError};
use pgrx::prelude::*;
use serde_json::{Value, json};

/// Why a step did not succeed.
pub enum Trouble {
    /// A deadlock or a serialization failure: the same step may well succeed the next time.
    LostRace(Failure),
    /// It took longer than it may.
    TimedOut(WorkflowError),
    Failed(WorkflowError),
}

/// Whether the command is a step that a session of the owner does.
pub fn is_effect(command: &Command) -> bool {
    matches!(command, Command::Sql { .. } | Command::Notify { .. })
}

/// The name of its task.
pub fn name(command: &Command) -> &str {
    match command {
        Command::Sql { name, .. } | Command::Notify { name, .. } => name,
        _ => "",
    }
}

/// Which attempt at its step the command is.
pub fn attempt(command: &Command) -> u32 {
    match command {
        Command::Sql { attempt, .. } | Command::Notify { attempt, .. } => *attempt,
        _ => 1,
    }
}

/// True when the command may share its commit with others: it is known to be short here.
pub fn is_short(command: &Command, known: &Known) -> bool {
    match command {
        Command::Sql { statement, .. } => {
            statement::is_known_short_under(&known.search_path, statement)
        }
        _ => true,
    }
}

/// Carries out a command that [`is_effect`], in a subtransaction of its own. It may take as long as
/// it says itself, and no longer than until the run's next timer or its end.
pub fn carry_out(command: &Command, run: &Run) -> Result<Value, Trouble> {
    let timeout_ms = match command {
        Command::Sql { timeout_ms, .. } | Command::Notify { timeout_ms, .. } => *timeout_ms,
        _ => None,
    };
    let timeout_ms =
        timeout_ms.into_iter().chain(run.left_ms(command.step().unwrap_or_default())).min();
    let timeout_ms = timeout_ms.map(|ms| i32::try_from(ms.max(1)).unwrap_or(i32::MAX));
    let source = run.source();
    let limit_ms = TimeLimit::effective(timeout_ms);
    let began = pg::micros();
    let result = step::in_subtransaction(|| {
        let nest = pg::GucNest::open();
        let search_path = run.known.search_path.as_str();
        if search_path != pg::search_path() {
            let path = std::ffi::CString::new(search_path).unwrap_or_default();
            pg::set_local(c"search_path", &path);
        }
        trace::go_on(run.traceparent.as_deref());
        let _limit = TimeLimit::start(timeout_ms);
        let output = do_it(command, run.owner, &source).unwrap_or_else(|e| e.raise());
        // Deferred constraints are this step's affair, not the batch's.
        // SAFETY: no query is running at this level.
        unsafe { pg_sys::AfterTriggerFireDeferred() };
        nest.undo();
        output
    });
    TimeLimit::clear();
    result.map_err(|failure| {
        if failure.lost_race() {
            return Trouble::LostRace(failure);
        }
        let waited_ms = (pg::micros() - began) / 1000;
        let cancelled = failure.code == PgSqlErrorCode::ERRCODE_QUERY_CANCELED;
        let timed_out = cancelled && limit_ms > 0 && waited_ms >= i64::from(limit_ms);
        let error = failure::of_sql(&failure, timed_out);
        if timed_out { Trouble::TimedOut(error) } else { Trouble::Failed(error) }
    })
}

fn do_it(command: &Command, owner: pg_sys::Oid, source: &str) -> crate::error::Result<Value> {
    match command {
        Command::Sql { statement, params, result, expect, .. } => {
            let answer = statement::execute(statement, params, *result != ResultShape::None)?;
            check_count(*expect, answer.processed)?;
            Ok(shape(answer.rows, *result))
        }
        Command::Notify { arguments, .. } => {
            let recipients = recipients(arguments)?;
            let id = notify::notify(&Notification {
                owner,
                template: arguments["template"].as_str().unwrap_or_default(),
                recipients: &recipients,
                data: arguments.get("data").unwrap_or(&json!({})),
                attachments: &[],
                priority: 100,
                source: Some(source),
            })?;
            Ok(json!({ "notification": id }))
        }
        _ => Err(Error::Internal("the command is none for a session".into())),
    }
}

fn check_count(expect: Expect, found: u64) -> crate::error::Result<()> {
    let code = match (expect, found) {
        (Expect::One, 0) => PgSqlErrorCode::ERRCODE_NO_DATA_FOUND,
        (Expect::One, 2..) | (Expect::None, 1..) => PgSqlErrorCode::ERRCODE_TOO_MANY_ROWS,
        _ => return Ok(()),
    };
    let wanted = if expect == Expect::One { "exactly one row" } else { "no row" };
    Err(Error::refused(code, format!("the step expects {wanted}, the statement gave {found}"))
        .with_hint("Change \"expect\" of the step, or its statement."))
}

fn shape(rows: Vec<Value>, result: ResultShape) -> Value {
    match result {
        ResultShape::Rows => Value::Array(rows),
        ResultShape::One => rows.into_iter().next().unwrap_or(Value::Null),
        ResultShape::Scalar => match rows.into_iter().next() {
            Some(Value::Object(row)) => row.into_iter().next().map_or(Value::Null, |(_, v)| v),
            _ => Value::Null,
        },
        ResultShape::None => Value::Null,
    }
}

/// `recipients`, an array of texts, or `to`, a text or such an array.
fn recipients(arguments: &Value) -> crate::error::Result<Vec<String>> {
    let given = arguments.get("recipients").or_else(|| arguments.get("to"));
    let texts = match given {
        Some(Value::String(one)) => Some(vec![one.clone()]),
        Some(Value::Array(many)) => many.iter().map(|v| v.as_str().map(str::to_owned)).collect(),
        _ => None,
    };
    texts.filter(|t| !t.is_empty()).ok_or_else(|| {
        let found = given.map_or("not there", kind);
        Error::invalid("the recipients of a notification must be text or an array of texts")
            .with_detail(format!("What the step has as recipients is {found}."))
            .with_hint("Write \"recipients\": [\"email:a@example.com\"].")
    })
}

/// Emits a step's event, in a subtransaction.
pub fn emit(event: &Value, run: &Run) -> Result<(), WorkflowError> {
    let name = event["type"].as_str().unwrap_or_default();
    let payload = event.get("data").cloned().unwrap_or_else(|| json!({}));
    let source = run.source();
    step::in_subtransaction(|| {
        let nest = pg::GucNest::open();
        trace::go_on(run.traceparent.as_deref());
        let emission = Emission::new(run.owner, name, &payload);
        event::emit(&Emission { source: Some(&source), ..emission }).unwrap_or_else(|e| e.raise());
        nest.undo();
    })
    .map_err(|failure| failure::of_sql(&failure, false))
}
