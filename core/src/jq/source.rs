//! The text of an expression: its size, what it mentions, and where it is wrong.

use super::Error;
use crate::suggest;
use jaq_core::compile::{self, Undefined};
use jaq_core::load;

/// Bytes of one expression.
const MAX_BYTES: usize = 8 * 1024;
/// Brackets within brackets.
const MAX_NESTING: usize = 32;
/// Operators in one expression; chains of them nest.
const MAX_SIGNS: usize = 100;

/// Things on which parser and compiler recurse: pipes, minus signs, `if`, `try`, `def` and such.
const MAX_JOINTS: usize = 100;
/// Words that open a nested term.
const OPENING: [&str; 10] =
    ["if", "elif", "try", "def", "label", "reduce", "foreach", "as", "and", "or"];

/// Refuses what would make the recursive parser and compiler go too deep.
pub(super) fn check_size(source: &str) -> Result<(), Error> {
    if source.len() > MAX_BYTES {
        return Err(Error::TooLarge("more than 8 kB of text"));
    }
    // The functions behind the guards are not for expressions.
    for (_, behind) in super::natives::GUARDED {
        if let Some(at) = source.find(behind) {
            let message = format!("there is no jq function {behind}");
            return Err(error(source, &source[at..], message, None));
        }
    }
    let (mut depth, mut signs, mut joints) = (0usize, 0usize, 0usize);
    for c in source.chars() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            '|' | '-' => joints += 1,
            _ => {}
        }
        if depth > MAX_NESTING {
            return Err(Error::TooLarge("more than 32 brackets within one another"));
        }
        signs += usize::from(",+*/=<>%?!".contains(c));
    }
    let words = source.split(|c: char| !c.is_alphanumeric() && c != '_');
    joints += words.filter(|w| OPENING.contains(w)).count();
    if signs > MAX_SIGNS {
        return Err(Error::TooLarge("more than 100 operators"));
    }
    if joints > MAX_JOINTS {
        return Err(Error::TooLarge("more than 100 pipes, minus signs and opening words"));
    }
    Ok(())
}

/// Words by which an expression can call itself at will; `reduce` and `foreach` nest only values,
/// whose depth is bounded.
const LOOPING: [&str; 6] = ["def", "recurse", "repeat", "while", "until", "walk"];

/// Whether one of them stands in the text.
pub(super) fn loops(source: &str) -> bool {
    let mut words = source.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.any(|w| LOOPING.contains(&w))
}

/// Whether `$name` stands in the text; a mention in a string costs a conversion, nothing more.
pub(crate) fn mentions(source: &str, name: &str) -> bool {
    source.match_indices('$').any(|(i, _)| {
        let rest = &source[i + 1..];
        rest.strip_prefix(name)
            .is_some_and(|r| !r.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    })
}

/// The place of `part`, a slice of `source`, counted in characters from 1.
fn position(source: &str, part: &str) -> usize {
    let offset = part.as_ptr().addr().wrapping_sub(source.as_ptr().addr());
    match source.get(..offset) {
        Some(before) => before.chars().count() + 1,
        None => 1,
    }
}

/// For what is not jq at all.
fn syntax() -> Option<String> {
    Some("Expressions are jq, such as .order.total > 10.".to_owned())
}

fn error(source: &str, part: &str, message: String, hint: Option<String>) -> Error {
    let at = position(source, part);
    Error::Compile { message, at, source_text: super::value::clip(source), hint }
}

/// The first thing the lexer or the parser did not like.
pub(super) fn load_error(source: &str, errors: &load::Errors<&str, ()>) -> Error {
    let first = errors.first().map(|(_, e)| e);
    match first {
        Some(load::Error::Lex(found)) => match found.first() {
            Some((expected, at)) => {
                error(source, at, format!("expected {}", expected.as_str()), syntax())
            }
            None => error(source, source, "syntax error".into(), syntax()),
        },
        Some(load::Error::Parse(found)) => match found.first() {
            Some((expected, at)) => {
                error(source, at, format!("expected {}", expected.as_str()), syntax())
            }
            None => error(source, source, "syntax error".into(), syntax()),
        },
        _ => error(source, source, "modules cannot be imported here".into(), syntax()),
    }
}

/// The first name that means nothing.
pub(super) fn compile_error(
    source: &str,
    vars: &[&str],
    errors: &compile::Errors<&str, ()>,
) -> Error {
    let Some((name, undefined)) = errors.first().and_then(|(_, found)| found.first()) else {
        return error(source, source, "syntax error".into(), syntax());
    };
    match undefined {
        Undefined::Filter(arity) => {
            let hint = match *name {
                "now" | "localtime" | "strflocaltime" => {
                    Some("An expression cannot see the clock; read the time in a SQL step.".into())
                }
                "env" | "input" | "inputs" | "debug" | "stderr" | "halt" | "halt_error" => {
                    Some("An expression sees only its input and its variables.".into())
                }
                _ => nearest_function(name),
            };
            let message = format!("there is no jq function {name}/{arity}");
            error(source, name, message, hint)
        }
        Undefined::Var => {
            let bare = name.trim_start_matches('$');
            let hint = match suggest::nearest(bare, vars.iter().copied()) {
                Some(found) => format!("Did you mean \"${found}\"?"),
                None if vars.is_empty() => "There are no variables here.".to_owned(),
                None => format!("Known here: ${}.", vars.join(", $")),
            };
            error(source, name, format!("there is no variable {name}"), Some(hint))
        }
        other => error(source, name, format!("there is no {} {name}", other.as_str()), None),
    }
}

fn nearest_function(name: &str) -> Option<String> {
    let defined: Vec<&str> = super::meter::definitions().map(|d| d.name).collect();
    let native: Vec<&str> = super::meter::natives().map(|f| f.0).collect();
    let found = suggest::nearest(name, defined.into_iter().chain(native))?;
    Some(format!("Did you mean \"{found}\"?"))
}
