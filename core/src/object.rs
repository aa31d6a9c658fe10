//! Reading the JSON objects of a definition: every wrong kind and unknown key becomes a problem.

use serde_json::{Map, Value};

use crate::problem::Problem;
use crate::suggest;

/// One object of a definition, the place it stands at, and the problems found in it.
pub struct Object<'a, 'p> {
    map: &'a Map<String, Value>,
    pointer: String,
    problems: &'p mut Vec<Problem>,
}

/// What kind of JSON value this is, with its article, for messages.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The JSON Pointer of `key` below `pointer`.
pub fn below(pointer: &str, key: impl std::fmt::Display) -> String {
    let key = key.to_string().replace('~', "~0").replace('/', "~1");
    format!("{pointer}/{key}")
}

/// Records that `value` should have been `wanted`, such as "an object".
pub fn wrong_kind(problems: &mut Vec<Problem>, pointer: &str, wanted: &str, value: &Value) {
    let message = format!("{wanted} is expected here, not {}", kind(value));
    problems.push(Problem::error(pointer, "wrong_kind", message));
}

impl<'a, 'p> Object<'a, 'p> {
    /// Opens `value`; a problem and `None` if it is no object.
    pub fn open(value: &'a Value, pointer: &str, problems: &'p mut Vec<Problem>) -> Option<Self> {
        match value {
            Value::Object(map) => Some(Object { map, pointer: pointer.to_owned(), problems }),
            other => {
                wrong_kind(problems, pointer, "an object", other);
                None
            }
        }
    }

    /// Names every key that is not one of `known`.
    pub fn allow(&mut self, known: &[&str]) {
        for key in self.map.keys().filter(|key| !known.contains(&key.as_str())) {
            self.problems.push(
                Problem::error(
                    below(&self.pointer, key),
                    "unknown_key",
                    format!("unknown key \"{key}\""),
                )
                .with_hint(suggest::hint(key, known)),
            );
        }
    }

    /// The value of `key`, if it is there and not null.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// The keys and values, in the author's order.
    pub fn entries(&self) -> impl Iterator<Item = (&'a String, &'a Value)> + use<'a> {
        self.map.iter()
    }

    /// The JSON Pointer of `key`.
    pub fn pointer(&self, key: &str) -> String {
        below(&self.pointer, key)
    }

    /// Where problems go.
    pub fn problems(&mut self) -> &mut Vec<Problem> {
        self.problems
    }

    /// The string at `key`, if there is one.
    pub fn string(&mut self, key: &str) -> Option<&'a str> {
        let value = self.get(key)?;
        if value.as_str().is_none() {
            wrong_kind(self.problems, &below(&self.pointer, key), "a string", value);
        }
        value.as_str()
    }

    /// The string at `key`, which must be there and not blank.
    pub fn required_string(&mut self, key: &str) -> Option<&'a str> {
        if self.get(key).is_none() {
            self.missing(key);
            return None;
        }
        let text = self.string(key)?;
        if text.trim().is_empty() {
            let message = format!("\"{key}\" must not be empty");
            self.problems.push(Problem::error(below(&self.pointer, key), "empty", message));
            return None;
        }
        Some(text)
    }

    /// Records that `key` is needed and not there.
    pub fn missing(&mut self, key: &str) {
        let message = format!("\"{key}\" is missing");
        self.problems.push(Problem::error(self.pointer.clone(), "missing_key", message));
    }

    /// The whole number at `key`, between `low` and `high`.
    pub fn integer(&mut self, key: &str, low: u64, high: u64) -> Option<u64> {
        let value = self.get(key)?;
        let found = value.as_u64().filter(|n| (low..=high).contains(n));
        if found.is_none() {
            let message = format!("\"{key}\" must be a whole number from {low} to {high}");
            self.problems.push(Problem::error(below(&self.pointer, key), "out_of_range", message));
        }
        found
    }

    /// The boolean at `key`.
    pub fn boolean(&mut self, key: &str) -> Option<bool> {
        let value = self.get(key)?;
        if value.as_bool().is_none() {
            wrong_kind(self.problems, &below(&self.pointer, key), "a boolean", value);
        }
        value.as_bool()
    }

    /// The strings of the array at `key`; a lone string counts as an array of one.
    pub fn strings(&mut self, key: &str) -> Option<Vec<String>> {
        let pointer = below(&self.pointer, key);
        match self.get(key)? {
            Value::String(one) => Some(vec![one.clone()]),
            Value::Array(items) => {
                let mut found = Vec::with_capacity(items.len().min(1000));
                for (index, item) in items.iter().enumerate() {
                    match item.as_str() {
                        Some(text) => found.push(text.to_owned()),
                        None => {
                            wrong_kind(self.problems, &below(&pointer, index), "a string", item);
                        }
                    }
                }
                Some(found)
            }
            other => {
                wrong_kind(self.problems, &pointer, "an array of strings", other);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn open_and_allow_report_everything_with_pointers() {
        let mut problems = Vec::new();
        assert!(Object::open(&json!([1]), "/a", &mut problems).is_none());
        let value = json!({"tilte": 1, "a/b~": 2, "title": 3, "n": 0, "list": ["x", 1]});
        let mut object = Object::open(&value, "/r", &mut problems).unwrap();
        object.allow(&["title", "n", "list"]);
        assert_eq!(object.string("title"), None);
        assert_eq!(object.integer("n", 1, 5), None);
        assert_eq!(object.strings("list"), Some(vec!["x".to_owned()]));
        let found: Vec<_> = problems.iter().map(|p| (p.pointer.as_str(), p.code)).collect();
        let want = [
            ("/a", "wrong_kind"),
            ("/r/tilte", "unknown_key"),
            ("/r/a~1b~0", "unknown_key"),
            ("/r/title", "wrong_kind"),
            ("/r/n", "out_of_range"),
            ("/r/list/1", "wrong_kind"),
        ];
        assert_eq!(found, want);
        assert_eq!(problems[1].hint.as_deref(), Some("Did you mean \"title\"?"));
    }
}
