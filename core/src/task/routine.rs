//! A function or procedure as the command of a task names it, and the text of the call.

use serde_json::{Map, Value};

/// A function or procedure by its name, perhaps with the types that tell it from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routine {
    schema: Option<String>,
    name: String,
    types: Option<Vec<String>>,
}

/// What it is given: values one after the other, or by the names of its parameters.
#[derive(Clone, Copy, Debug)]
pub enum Given<'a> {
    Positions(&'a [Value]),
    Names(&'a Map<String, Value>),
}

impl<'a> Given<'a> {
    /// The values in the order in which [`Routine::call`] has them.
    pub fn values(self) -> Vec<&'a Value> {
        match self {
            Given::Positions(items) => items.iter().collect(),
            Given::Names(map) => map.values().collect(),
        }
    }
}

impl Routine {
    /// Reads `name`, `schema.name` or either with `(types)`; an error says what is wrong.
    pub fn parse(text: &str) -> Result<Routine, String> {
        let mut rest = text.trim();
        let mut parts = vec![identifier(&mut rest)?];
        while let Some(after) = rest.strip_prefix('.') {
            rest = after.trim_start();
            parts.push(identifier(&mut rest)?);
        }
        let types = match rest.strip_prefix('(') {
            Some(inside) => Some(types(inside)?),
            None if rest.is_empty() => None,
            None => return Err(format!("there is something behind the name: {}", start(rest))),
        };
        let name = parts.pop().unwrap_or_default();
        match parts.len() {
            0 => Ok(Routine { schema: None, name, types }),
            1 => Ok(Routine { schema: parts.pop(), name, types }),
            _ => Err("a name has at most two parts, schema and name".into()),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    /// The types that were written behind the name.
    pub fn types(&self) -> Option<&[String]> {
        self.types.as_deref()
    }

    /// `"schema"."name"(...)`, with what `value` writes for each of the values.
    pub fn call(&self, given: Given<'_>, value: impl Fn(usize) -> String) -> String {
        let typed = |index: usize| match self.types.as_ref().and_then(|types| types.get(index)) {
            Some(kind) => format!("{}::{kind}", value(index)),
            None => value(index),
        };
        let arguments: Vec<String> = match given {
            Given::Positions(items) => (0..items.len()).map(typed).collect(),
            Given::Names(map) => map
                .keys()
                .enumerate()
                .map(|(index, key)| format!("{} => {}", quoted(key), value(index)))
                .collect(),
        };
        let schema = self.schema.as_ref().map(|schema| quoted(schema) + ".").unwrap_or_default();
        format!("{schema}{}({})", quoted(&self.name), arguments.join(", "))
    }
}

/// A text as a literal of SQL, however the server reads backslashes.
pub fn literal(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('\'', "''");
    match text.contains('\\') {
        true => format!(" E'{escaped}'"),
        false => format!("'{escaped}'"),
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn start(text: &str) -> String {
    text.chars().take(20).collect::<String>().escape_debug().to_string()
}

/// An identifier, as PostgreSQL reads one; what follows it stays in `rest`.
fn identifier(rest: &mut &str) -> Result<String, String> {
    if let Some(inside) = rest.strip_prefix('"') {
        let mut name = String::new();
        let mut chars = inside.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            if c != '"' {
                name.push(c);
            } else if chars.next_if(|(_, next)| *next == '"').is_some() {
                name.push('"');
            } else if name.is_empty() {
                return Err("a name in quotes is empty".into());
            } else {
                *rest = inside[at + 1..].trim_start();
                return Ok(name);
            }
        }
        return Err("a quote is not closed".into());
    }
    let is_first = |c: char| c.is_alphabetic() || c == '_' || !c.is_ascii();
    let is_later = |c: char| is_first(c) || c.is_ascii_digit() || c == '$';
    if !rest.starts_with(is_first) {
        return Err(match rest.is_empty() {
            true => "a name is missing".into(),
            false => format!("{} is not the beginning of a name", start(rest)),
        });
    }
    let end = rest.find(|c| !is_later(c)).unwrap_or(rest.len());
    let name = rest[..end].to_lowercase();
    *rest = rest[end..].trim_start();
    Ok(name)
}

/// The types of a signature, behind its opening bracket.
fn types(inside: &str) -> Result<Vec<String>, String> {
    let Some(list) = inside.trim_end().strip_suffix(')') else {
        return Err("the list of types is not closed".into());
    };
    if let Some(bad) = list.find(|c: char| !(c.is_alphanumeric() || " _.,\"[]()".contains(c))) {
        return Err(format!("{} cannot be in a list of types", start(&list[bad..])));
    }
    if list.trim().is_empty() {
        return Ok(Vec::new());
    }
    let (mut found, mut depth, mut in_quotes) = (vec![String::new()], 0i32, false);
    for c in list.chars() {
        match c {
            '"' => in_quotes = !in_quotes,
            '(' if !in_quotes => depth += 1,
            ')' if !in_quotes => depth -= 1,
            _ => {}
        }
        match (c, found.last_mut()) {
            (',', _) if depth == 0 && !in_quotes => found.push(String::new()),
            (_, Some(last)) => last.push(c),
            _ => {}
        }
    }
    if depth != 0 || in_quotes || found.iter().any(|kind| kind.trim().is_empty()) {
        return Err("the list of types is not complete".into());
    }
    Ok(found.iter().map(|kind| kind.trim().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn call(text: &str, args: &Value) -> Result<String, String> {
        let given = match args {
            Value::Object(map) => Given::Names(map),
            other => Given::Positions(other.as_array().map_or(&[], Vec::as_slice)),
        };
        Ok(Routine::parse(text)?.call(given, |index| format!("${}", index + 1)))
    }

    #[test]
    fn calls_are_quoted() {
        let two = json!([1, 2]);
        assert_eq!(call("Nightly", &json!([])).as_deref(), Ok("\"nightly\"()"));
        assert_eq!(call(" app . f ", &two).as_deref(), Ok("\"app\".\"f\"($1, $2)"));
        assert_eq!(
            call("\"A\"\"b\".\"select\"", &json!([1])).as_deref(),
            Ok("\"A\"\"b\".\"select\"($1)")
        );
        let named = json!({"from": 1, "a\"; DROP": 2});
        assert_eq!(
            call("f", &named).as_deref(),
            Ok("\"f\"(\"from\" => $1, \"a\"\"; DROP\" => $2)")
        );
        assert_eq!(
            call("f(int, numeric(10, 2))", &two).as_deref(),
            Ok("\"f\"($1::int, $2::numeric(10, 2))")
        );
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let bad = [
            "",
            "a.",
            "1a",
            "a b",
            "a.b.c",
            "\"a",
            "\"\"",
            "f(int",
            "f(int,)",
            "f(int; x)",
            "f(a) b",
            "f((a)",
        ];
        for text in bad {
            assert!(Routine::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn literals_hold_what_they_are_given() {
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\' OR"), " E'a\\\\'' OR'");
    }
}
