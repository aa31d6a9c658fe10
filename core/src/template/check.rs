//! What can be said about a template before there is data.

use super::error::{TemplateError, unknown_name};
use super::{MessageTemplate, Part, names};
use crate::problem::Problem;

/// All that is wrong with the parts of a template: syntax, and names of filters and tests, which
/// the engine itself would look up only when a rendering reaches them. Pointers are `/subject`,
/// `/body` and `/html`.
pub fn validate(subject: &str, body: &str, html: Option<&str>) -> Vec<Problem> {
    MessageTemplate::parse(subject, body, html).err().unwrap_or_default()
}

/// The filters and tests of a source that do not exist; the source is known to compile.
pub(super) fn names_used(part: Part, source: &str) -> Vec<TemplateError> {
    let mut found: Vec<TemplateError> = Vec::new();
    for (at, code) in code_blocks(source) {
        for (offset, kind, name) in uses(code) {
            let known = if kind == "filter" { names::FILTERS } else { names::TESTS };
            if known.contains(&name) {
                continue;
            }
            let say = |message: String| TemplateError::new(part.name(), message);
            let mut error = unknown_name(say, kind, name, known);
            error.line = source
                .get(..at + offset)
                .map(|before| 1 + before.bytes().filter(|b| *b == b'\n').count());
            found.push(error);
            // A template of nothing but mistakes does not need all of them listed.
            if found.len() == 20 {
                return found;
            }
        }
    }
    found
}

/// The insides of `{{ }}` and `{% %}` with their places; what is raw or a comment is left out.
fn code_blocks(source: &str) -> Vec<(usize, &str)> {
    let mut blocks = Vec::new();
    let mut at = 0;
    while let Some(open) = source.get(at..).and_then(|rest| rest.find('{')).map(|open| at + open) {
        let close = match source.as_bytes().get(open + 1) {
            Some(b'{') => "}}",
            Some(b'%') => "%}",
            Some(b'#') => {
                at = find_from(source, open + 2, "#}");
                continue;
            }
            _ => {
                at = open + 1;
                continue;
            }
        };
        let end = code_end(source, open + 2, close);
        let code = source.get(open + 2..end).unwrap_or("");
        at = end + 2;
        if close == "%}" && code.trim_matches(['-', '+', ' ', '\n']) == "raw" {
            at = find_from(source, at, "endraw");
            continue;
        }
        blocks.push((open + 2, code));
    }
    blocks
}

/// The place after the next `what`, or the end.
fn find_from(source: &str, from: usize, what: &str) -> usize {
    let found = source.get(from..).and_then(|rest| rest.find(what));
    found.map_or(source.len(), |found| from + found + what.len())
}

/// Where `close` stands first outside of a string.
fn code_end(source: &str, from: usize, close: &str) -> usize {
    let bytes = source.as_bytes();
    let mut at = from;
    while at < bytes.len() {
        match bytes[at] {
            quote @ (b'"' | b'\'') => at = string_end(bytes, at, quote),
            _ if bytes[at..].starts_with(close.as_bytes()) => return at,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The place after the string that starts at `at`.
fn string_end(bytes: &[u8], at: usize, quote: u8) -> usize {
    let mut at = at + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Each filter and test used in a piece of code: its place, kind and name.
fn uses(code: &str) -> Vec<(usize, &'static str, &str)> {
    let bytes = code.as_bytes();
    let mut found = Vec::new();
    // What the next word would be the name of.
    let mut next: Option<&'static str> = None;
    let (mut at, mut first, mut after_dot) = (0, true, false);
    while at < bytes.len() {
        match bytes[at] {
            quote @ (b'"' | b'\'') => {
                at = string_end(bytes, at, quote);
                next = None;
            }
            byte if byte.is_ascii_alphabetic() || byte == b'_' => {
                let start = at;
                let in_word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
                while bytes.get(at).is_some_and(in_word) {
                    at += 1;
                }
                let word = code.get(start..at).unwrap_or("");
                next = match (next, word) {
                    (Some("test"), "not") => Some("test"),
                    (Some(kind), _) => {
                        found.push((start, kind, word));
                        None
                    }
                    (None, "is") if !after_dot => Some("test"),
                    (None, "filter") if first => Some("filter"),
                    (None, _) => None,
                };
                first = false;
            }
            byte => {
                if byte == b'|' {
                    next = Some("filter");
                } else if !byte.is_ascii_whitespace() {
                    next = None;
                }
                at += 1;
            }
        }
        let last = bytes.get(at.wrapping_sub(1)).copied().unwrap_or(b' ');
        after_dot = last == b'.' || (after_dot && last.is_ascii_whitespace());
    }
    found
}
