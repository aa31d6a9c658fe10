//! Why a schedule, a time zone or a duration cannot be read.

/// A message in PostgreSQL's style, with the way out where there is one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ScheduleError {
    /// Lower case, no full stop.
    pub message: String,
    /// For the HINT line.
    pub hint: Option<String>,
}

impl ScheduleError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        ScheduleError { message: message.into(), hint: None }
    }

    pub(super) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says where in the text it is.
    pub(super) fn at(mut self, place: &str) -> Self {
        self.message.push_str(&format!(" ({place})"));
        self
    }

    /// The same of a part of a schedule.
    pub(super) fn within(mut self, place: &str) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }
}

/// A user's text, cut to a length fit for an error message.
pub(super) fn quoted(text: &str) -> String {
    const MOST: usize = 60;
    let mut short: String = text.chars().take(MOST).collect();
    if short.len() < text.len() {
        short.push_str("...");
    }
    format!("\"{short}\"")
}
