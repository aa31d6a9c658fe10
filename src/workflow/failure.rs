//! PostgreSQL's errors as errors of the Open Workflow Specification.

use crate::error::Failure;
use automate_core::workflow::WorkflowError;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::*;

/// The error of a step whose statement failed. `detail` begins with the SQLSTATE; the type and the
/// status are by its class, so that a catch clause can tell one from the other.
pub fn of_sql(failure: &Failure, timed_out: bool) -> WorkflowError {
    let state = failure.sqlstate();
    let (kind, status) = match (timed_out, failure.code, &state[..2]) {
        (true, ..) => ("timeout", 408),
        // A result that is not what the step expects.
        (_, ERRCODE_NO_DATA_FOUND | ERRCODE_TOO_MANY_ROWS, _) => ("validation", 400),
        (_, ERRCODE_INSUFFICIENT_PRIVILEGE, _) => ("authorization", 403),
        (_, _, "28") => ("authentication", 401),
        (_, _, "42" | "3D" | "3F") => ("configuration", 400),
        // The data are at fault: division by zero, a bad date, a value that is too long.
        (_, _, "22") => ("runtime", 400),
        // What is there stands in the way: constraints, lost races, locks that are not to be had.
        (_, _, "23" | "40" | "55") => ("runtime", 409),
        (_, _, "53" | "57" | "58" | "08") => ("runtime", 503),
        _ => ("runtime", 500),
    };
    let title = if timed_out { "Timeout".to_string() } else { format!("SQL error {state}") };
    let mut error = WorkflowError::standard(kind, title, failure.text());
    error.status = status;
    error
}
