//! Errors: what went wrong, with SQLSTATE, DETAIL and HINT. No secret is ever in a text.

use automate_core::problem::Problem;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::*;
use pgrx::pg_sys::panic::{CaughtError, ErrorReport};
use pgrx::prelude::*;

/// What our own code refuses or cannot do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{message}")]
    Refused { code: PgSqlErrorCode, message: String, detail: Option<String>, hint: Option<String> },
    #[error("extension \"pg_automate\" is not installed in this database")]
    NotInstalled,
    #[error("internal error of pg_automate: {0}")]
    Internal(String),
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A refusal with its SQLSTATE.
    pub fn refused(code: PgSqlErrorCode, message: impl Into<String>) -> Error {
        Error::Refused { code, message: message.into(), detail: None, hint: None }
    }

    /// A parameter that is not acceptable.
    pub fn invalid(message: impl Into<String>) -> Error {
        Error::refused(ERRCODE_INVALID_PARAMETER_VALUE, message)
    }

    /// A name that is not there.
    pub fn missing(message: impl Into<String>) -> Error {
        Error::refused(ERRCODE_UNDEFINED_OBJECT, message)
    }

    /// Something the role may not do.
    pub fn forbidden(message: impl Into<String>) -> Error {
        Error::refused(ERRCODE_INSUFFICIENT_PRIVILEGE, message)
    }

    /// The first problem of a definition, the others in the DETAIL.
    pub fn problems(what: &str, problems: &[Problem]) -> Error {
        let Some(first) = problems.first() else {
            return Error::Internal(format!("{what} was refused without a reason"));
        };
        let others: Vec<String> = problems[1..].iter().take(9).map(Problem::to_string).collect();
        let error = Error::invalid(format!("{what}: {first}"));
        let error = if others.is_empty() {
            error
        } else {
            error.with_detail(format!("Also: {}.", others.join("; ")))
        };
        match &first.hint {
            Some(hint) => error.with_hint(hint.clone()),
            None => error,
        }
    }

    pub fn with_detail(mut self, text: impl Into<String>) -> Error {
        if let Error::Refused { detail, .. } = &mut self {
            *detail = Some(text.into());
        }
        self
    }

    pub fn with_hint(mut self, text: impl Into<String>) -> Error {
        if let Error::Refused { hint, .. } = &mut self {
            *hint = Some(text.into());
        }
        self
    }

    /// Raises it as PostgreSQL's ERROR.
    pub fn raise(self) -> ! {
        let message = self.to_string();
        let report = match self {
            Error::Refused { code, detail, hint, .. } => {
                let mut report = ErrorReport::new(code, message, "pg_automate");
                if let Some(detail) = detail {
                    report = report.set_detail(detail);
                }
                if let Some(hint) = hint {
                    report = report.set_hint(hint);
                }
                report
            }
            Error::NotInstalled => {
                ErrorReport::new(ERRCODE_UNDEFINED_OBJECT, message, "pg_automate")
                    .set_hint("Run CREATE EXTENSION pg_automate.")
            }
            Error::Internal(_) => ErrorReport::new(ERRCODE_INTERNAL_ERROR, message, "pg_automate"),
        };
        report.report(PgLogLevel::ERROR);
        unreachable!("an ERROR does not return")
    }
}

/// An error of a user's statement, caught: plain values that outlive the transaction.
#[derive(Clone, Debug)]
pub struct Failure {
    pub code: PgSqlErrorCode,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
}

impl Failure {
    pub fn internal(message: impl Into<String>) -> Failure {
        Failure { code: ERRCODE_INTERNAL_ERROR, message: message.into(), detail: None, hint: None }
    }

    /// The five characters of the SQLSTATE.
    pub fn sqlstate(&self) -> String {
        let mut code = self.code as i32;
        (0..5)
            .map(|_| {
                let c = char::from((code & 0x3F) as u8 + b'0');
                code >>= 6;
                c
            })
            .collect()
    }

    /// Worth another attempt without being asked: it lost a race.
    pub fn lost_race(&self) -> bool {
        matches!(self.code, ERRCODE_T_R_SERIALIZATION_FAILURE | ERRCODE_T_R_DEADLOCK_DETECTED)
    }

    /// As it is kept in `automate.job_history.error`.
    pub fn text(&self) -> String {
        let mut text = format!("{}: {}", self.sqlstate(), self.message);
        for (name, part) in [("DETAIL", &self.detail), ("HINT", &self.hint)] {
            if let Some(part) = part {
                text.push_str(&format!("\n{name}:  {part}"));
            }
        }
        text.truncate(text.floor_char_boundary(8 * 1024));
        text
    }
}

impl From<CaughtError> for Failure {
    fn from(caught: CaughtError) -> Failure {
        let report = match &caught {
            CaughtError::PostgresError(e) | CaughtError::ErrorReport(e) => e,
            CaughtError::RustPanic { ereport, .. } => ereport,
        };
        Failure {
            code: report.sql_error_code(),
            message: report.message().to_string(),
            detail: report.detail().map(str::to_string),
            hint: report.hint().map(str::to_string),
        }
    }
}

impl From<Failure> for Error {
    fn from(f: Failure) -> Error {
        Error::Refused { code: f.code, message: f.message, detail: f.detail, hint: f.hint }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let message = error.to_string();
        match error {
            Error::Refused { code, detail, hint, .. } => Failure { code, message, detail, hint },
            _ => Failure::internal(message),
        }
    }
}
