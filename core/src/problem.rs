//! What is wrong with a definition, said so that its author can mend it.

use std::fmt;

/// Whether a definition with this problem may still be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Error,
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        })
    }
}

/// One finding of a validator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub severity: Severity,
    /// JSON Pointer to the place, empty for the whole document.
    pub pointer: String,
    /// Stable, machine-readable name such as `unknown_key`.
    pub code: &'static str,
    /// In PostgreSQL's style: lower case, no full stop.
    pub message: String,
    /// The way out, where there is one to tell.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem that forbids storing the definition.
    pub fn error(
        pointer: impl Into<String>,
        code: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Problem {
            severity: Severity::Error,
            pointer: pointer.into(),
            code,
            message: message.into(),
            hint: None,
        }
    }

    /// A problem that does not: what is written is perhaps not what was meant.
    pub fn warning(
        pointer: impl Into<String>,
        code: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Problem { severity: Severity::Warning, ..Problem::error(pointer, code, message) }
    }

    /// The same with the way out.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pointer.is_empty() {
            write!(f, "{}", self.message)
        } else {
            write!(f, "{}: {}", self.pointer, self.message)
        }
    }
}
