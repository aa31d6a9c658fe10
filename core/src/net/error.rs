//! Why a host, an address or a URL is refused.

/// A message in PostgreSQL's style, with the way out where there is one. It never holds a URL's
/// path or query, where secrets are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct NetError {
    /// Lower case, no full stop.
    pub message: String,
    /// For the HINT line.
    pub hint: Option<String>,
}

impl NetError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        NetError { message: message.into(), hint: None }
    }

    pub(super) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// A user's text for an error message: cut, and without control characters.
pub(super) fn quoted(text: &str) -> String {
    const MOST: usize = 80;
    let mut short: String = text.chars().take(MOST).flat_map(char::escape_debug).collect();
    if text.chars().nth(MOST).is_some() {
        short.push_str("...");
    }
    format!("\"{short}\"")
}
