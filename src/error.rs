//! Errors: what went wrong, with SQLSTATE, DETAIL and HINT. No secret is ever in a text.

use automate_core::problem::Problem;
use automate_core::suggest;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::*;
use pgrx::pg_sys::panic::{CaughtError, ErrorReport};
use pgrx::prelude::*;
use serde_json::Value;

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

/// The way out of what only we can mend.
const DEFECT: &str = "This is a defect of pg_automate: please report it, with the lines of the server's log around it.";

/// A user's text for an error: in quotes, cut and on one line.
pub fn shown(text: &str) -> String {
    format!("\"{}\"", cut(text))
}

/// A user's JSON for an error: the same, but for the quotes.
pub fn shown_json(value: &Value) -> String {
    cut(&value.to_string())
}

fn cut(text: &str) -> String {
    const MOST: usize = 80;
    let mut short = String::new();
    for c in text.chars().take(MOST) {
        match c {
            '"' | '\'' | '\\' => short.push(c),
            _ => short.extend(c.escape_debug()),
        }
    }
    if text.chars().nth(MOST).is_some() {
        short.push_str("...");
    }
    short
}

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

    /// True for a name that is not there.
    pub fn is_missing(&self) -> bool {
        matches!(self, Error::Refused { code: ERRCODE_UNDEFINED_OBJECT, .. })
    }

    /// Something the role may not do.
    pub fn forbidden(message: impl Into<String>) -> Error {
        Error::refused(ERRCODE_INSUFFICIENT_PRIVILEGE, message)
    }

    /// A word that is none of those known here.
    pub fn unknown_word(message: impl Into<String>, word: &str, known: &[&str]) -> Error {
        let list = known.join(", ");
        let error = Error::invalid(message).with_detail(format!("Known here: {list}."));
        match suggest::nearest(word, known.iter().copied()) {
            Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
            None => error.with_hint(format!("Use one of {list}.")),
        }
    }

    /// A number beyond its range; `meaning`, a sentence, says what the number counts.
    pub fn out_of_range(name: &str, given: i32, least: i32, most: i32, meaning: &str) -> Error {
        Error::invalid(format!("{name} must be {least} to {most}, not {given}"))
            .with_detail(format!("The value given for {name} is {given}. {meaning}"))
            .with_hint(format!("Give a number from {least} to {most}, or leave it out."))
    }

    /// The first problem of a definition, the others in the DETAIL. `help`, a sentence, is for a
    /// problem that does not say the way out.
    pub fn problems(what: &str, problems: &[Problem], help: &str) -> Error {
        let Some(first) = problems.first() else {
            return Error::Internal(format!("{what} was refused without a reason"));
        };
        let place = match first.pointer.as_str() {
            "" => "at the top level".to_string(),
            pointer => format!("at {pointer}"),
        };
        let others: Vec<String> = problems[1..].iter().take(9).map(Problem::to_string).collect();
        let detail = match others.is_empty() {
            true => format!("The only problem found is {place}."),
            false => format!(
                "There are {} problems, the first {place}. Also: {}.",
                problems.len(),
                others.join("; ")
            ),
        };
        Error::invalid(format!("{what}: {first}"))
            .with_detail(detail)
            .with_hint(first.hint.as_deref().unwrap_or(help))
    }

    /// The same with another SQLSTATE.
    pub fn with_code(mut self, sqlstate: PgSqlErrorCode) -> Error {
        if let Error::Refused { code, .. } = &mut self {
            *code = sqlstate;
        }
        self
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

    /// Adds a DETAIL where there is none yet.
    pub fn or_detail(self, text: impl Into<String>) -> Error {
        match self {
            Error::Refused { detail: None, .. } => self.with_detail(text),
            other => other,
        }
    }

    /// Adds a HINT where there is none yet.
    pub fn or_hint(self, text: impl Into<String>) -> Error {
        match self {
            Error::Refused { hint: None, .. } => self.with_hint(text),
            other => other,
        }
    }

    /// Raises it as PostgreSQL's ERROR.
    pub fn raise(self) -> ! {
        let failure = Failure::from(self);
        let mut report = ErrorReport::new(failure.code, failure.message, "pg_automate");
        if let Some(detail) = failure.detail {
            report = report.set_detail(detail);
        }
        if let Some(hint) = failure.hint {
            report = report.set_hint(hint);
        }
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
        Failure {
            code: ERRCODE_INTERNAL_ERROR,
            message: message.into(),
            detail: Some("Something that pg_automate takes for granted is not so.".into()),
            hint: Some(DEFECT.into()),
        }
    }

    /// What an error says, and the error itself.
    pub fn of(error: Error) -> (Failure, Error) {
        let (code, detail, hint) = match &error {
            Error::Refused { code, detail, hint, .. } => (*code, detail.clone(), hint.clone()),
            _ => (ERRCODE_INTERNAL_ERROR, None, None),
        };
        (Failure { code, message: error.to_string(), detail, hint }, error)
    }

    /// The name of the SQLSTATE, such as undefined_column.
    pub fn condition(&self) -> String {
        let name = format!("{:?}", self.code);
        name.strip_prefix("ERRCODE_").unwrap_or(&name).to_lowercase()
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

    /// Its statement was cancelled.
    pub fn is_cancel(&self) -> bool {
        self.code == ERRCODE_QUERY_CANCELED
    }

    /// It asks the session or the transaction to stop, whatever was being tried.
    pub fn stops(&self) -> bool {
        self.lost_race()
            || matches!(
                self.code,
                ERRCODE_QUERY_CANCELED
                    | ERRCODE_ADMIN_SHUTDOWN
                    | ERRCODE_CRASH_SHUTDOWN
                    | ERRCODE_OUT_OF_MEMORY
            )
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
            Error::NotInstalled => Failure {
                code: ERRCODE_UNDEFINED_OBJECT,
                message,
                detail: Some("There is no schema automate here.".into()),
                hint: Some("Run CREATE EXTENSION pg_automate.".into()),
            },
            Error::Internal(_) => Failure::internal(message),
        }
    }
}
