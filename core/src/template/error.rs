//! Why a template cannot be compiled or rendered.

use minijinja::{Error, ErrorKind};

use super::{Part, names};
use crate::problem::Problem;
use crate::suggest;

/// A message in PostgreSQL's style. It holds names and text of the template, never values of the
/// data, which may be secret to whoever reads the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    /// `subject`, `body` or `html`; empty where it is the data that is wrong.
    pub part: &'static str,
    /// Line within the part, from 1.
    pub line: Option<usize>,
    /// Lower case, no full stop.
    pub message: String,
    /// For the HINT line.
    pub hint: Option<String>,
}

impl TemplateError {
    pub(super) fn new(part: &'static str, message: impl Into<String>) -> Self {
        TemplateError { part, line: None, message: message.into(), hint: None }
    }

    pub(super) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn into_problem(self) -> Problem {
        let pointer = if self.part.is_empty() { String::new() } else { format!("/{}", self.part) };
        let message = match self.line {
            Some(line) => format!("{} (line {line})", self.message),
            None => self.message,
        };
        Problem { hint: self.hint, ..Problem::error(pointer, "template", message) }
    }
}

/// Says an engine's error in our words; `source` is the text of the part.
pub(super) fn explain(part: Part, source: &str, error: &Error) -> TemplateError {
    let error = root(error);
    let code = error.range().and_then(|range| source.get(range)).map(tidy);
    let detail = error.detail().unwrap_or_default();
    let say = |message: String| TemplateError::new(part.name(), message);
    let mut found = match error.kind() {
        _ if undefined(detail).is_some() => missing(say, undefined(detail)),
        ErrorKind::UndefinedError => missing(say, code.as_deref()),
        ErrorKind::OutOfFuel => say(format!("template {} takes too much work", part.name()))
            .with_hint("Let the query or the data hold fewer items, or prepare them there."),
        ErrorKind::WriteFailure => {
            say(format!("message is longer than the {} bytes allowed", super::MAX_OUTPUT))
                .with_hint("Send long content as an attachment or a link.")
        }
        ErrorKind::SyntaxError => syntax(say, detail),
        ErrorKind::UnknownFilter => unknown(say, "filter", detail, names::FILTERS),
        ErrorKind::UnknownTest => unknown(say, "test", detail, names::TESTS),
        ErrorKind::UnknownFunction => unknown(say, "function", detail, names::FUNCTIONS),
        kind => {
            let at = code.map(|code| format!(" in \"{code}\"")).unwrap_or_default();
            match (kind, detail) {
                // These quote what is in the data.
                (ErrorKind::InvalidOperation, detail) if detail.starts_with("unable to calc") => {
                    say(format!("cannot calculate{at}"))
                }
                (kind, "") => say(format!("{kind}{at}")),
                (kind, detail) => say(format!("{kind}{at}: {}", tidy(detail))),
            }
        }
    };
    found.line = error.line();
    found
}

fn missing(say: impl Fn(String) -> TemplateError, path: Option<&str>) -> TemplateError {
    let Some(path) = path else {
        return say("a template variable is not in the data".to_string());
    };
    let name = tidy(path);
    say(format!("template variable \"{name}\" is not in the data")).with_hint(format!(
        "Give it a value in the data, or a default: {{{{ {name} | default('') }}}}."
    ))
}

/// The expression that the engine says is undefined, whatever the error it led to.
fn undefined(detail: &str) -> Option<&str> {
    let (before, _) = detail.split_once("` is undefined")?;
    Some(&before[before.rfind('`')? + 1..])
}

/// The innermost error of the engine: the others only say through which call it came.
fn root(error: &Error) -> &Error {
    let mut found = error;
    // A chain cannot be longer than the calls that made it.
    for _ in 0..100 {
        match std::error::Error::source(found).and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(inner) => found = inner,
            None => break,
        }
    }
    found
}

fn syntax(say: impl Fn(String) -> TemplateError, detail: &str) -> TemplateError {
    let error = say(format!("syntax error in the template: {}", tidy(detail)));
    let gone = ["include", "import", "from", "extends", "block"];
    match gone.iter().find(|word| detail.contains(&format!("unknown statement {word}"))) {
        Some(word) => error
            .with_hint(format!("A message template stands alone: \"{word}\" is not available.")),
        None => error,
    }
}

/// `detail` says, among other things, the name that is not known.
fn unknown(
    say: impl Fn(String) -> TemplateError,
    kind: &str,
    detail: &str,
    known: &[&str],
) -> TemplateError {
    let name = detail.split(' ').find(|word| !["filter", "test", "function"].contains(word));
    unknown_name(say, kind, name.unwrap_or_default(), known)
}

pub(super) fn unknown_name(
    say: impl Fn(String) -> TemplateError,
    kind: &str,
    name: &str,
    known: &[&str],
) -> TemplateError {
    let name: String = name.chars().take(40).collect();
    say(format!("unknown {kind} \"{name}\"")).with_hint(suggest::hint(&name, known))
}

/// A piece of the template on one line, of a length fit for a message.
fn tidy(text: &str) -> String {
    let mut short: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
    if short.len() < text.len() {
        short.push_str("...");
    }
    short.trim().to_string()
}
