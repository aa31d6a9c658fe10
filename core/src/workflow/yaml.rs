//! Definitions as YAML 1.2: `on` and `yes` are texts, keys are unique, aliases cannot explode.

use crate::problem::Problem;
use serde_json::{Map, Number, Value};
use serde_norway::Value as Yaml;

/// Values of a document once its aliases are written out.
const MAX_VALUES: usize = 100_000;

/// Reads a definition; the problem says line and column where the reader knows them.
pub fn read(text: &str) -> Result<Value, Problem> {
    let tree: Yaml = serde_norway::from_str(text).map_err(|e| {
        Problem::error("", "invalid_yaml", e.to_string())
            .with_hint("Each key stands once in its mapping; indent with spaces only.")
    })?;
    json(tree, "", &mut 0)
}

/// A definition as YAML.
pub fn write(definition: &Value) -> Result<String, Problem> {
    serde_norway::to_string(definition).map_err(|e| Problem::error("", "invalid", e.to_string()))
}

fn json(tree: Yaml, at: &str, count: &mut usize) -> Result<Value, Problem> {
    *count += 1;
    if *count > MAX_VALUES {
        let message = format!("the document has more than {MAX_VALUES} values");
        return Err(Problem::error("", "too_large", message).with_hint("Use fewer aliases."));
    }
    Ok(match tree {
        Yaml::Null => Value::Null,
        Yaml::Bool(value) => value.into(),
        Yaml::String(text) => text.into(),
        Yaml::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(n), ..) => n.into(),
            (_, Some(n), _) => n.into(),
            (.., n) => match n.and_then(Number::from_f64) {
                Some(n) => Value::Number(n),
                None => return Err(strange(at, "a number that JSON does not have")),
            },
        },
        Yaml::Sequence(items) => {
            let mut list = Vec::with_capacity(items.len());
            for (i, item) in items.into_iter().enumerate() {
                list.push(json(item, &format!("{at}/{i}"), count)?);
            }
            Value::Array(list)
        }
        Yaml::Mapping(entries) => {
            let mut map = Map::new();
            for (key, value) in entries {
                let Yaml::String(key) = key else {
                    return Err(strange(at, "a key that is no text"));
                };
                let value = json(value, &format!("{at}/{key}"), count)?;
                map.insert(key, value);
            }
            Value::Object(map)
        }
        Yaml::Tagged(tagged) => {
            return Err(strange(at, &format!("the tag {}", tagged.tag)));
        }
    })
}

fn strange(at: &str, what: &str) -> Problem {
    Problem::error(at, "invalid_yaml", format!("{what} has no place in a definition"))
        .with_hint("Write what JSON has: texts, numbers, true, false, null, lists and mappings.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn yaml_1_2() {
        let found = read("on: yes\na: [1, 2.5, true, null, 0o7]\nb: {c: '1'}\n").unwrap();
        assert_eq!(found, json!({"on": "yes", "a": [1, 2.5, true, null, 7], "b": {"c": "1"}}));
        assert_eq!(read(&write(&found).unwrap()).unwrap(), found);
    }

    #[test]
    fn what_is_wrong_has_a_place() {
        let line = |text: &str| read(text).unwrap_err().message;
        assert!(line("do:\n  - a: [1\n").contains("line"), "{}", line("do:\n  - a: [1\n"));
        let twice = line("do: 1\ndo: 2\n");
        assert!(twice.contains("duplicate entry") && twice.contains("\"do\""), "{twice}");
        assert!(line("a: !x 1").contains("tag"));
        assert!(line("a: .inf").contains("number"));
        assert!(line("1: a").contains("key"));
    }

    #[test]
    fn aliases_cannot_explode() {
        let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for i in 1..12 {
            let of = vec![format!("*a{}", i - 1); 10].join(",");
            text.push_str(&format!("a{i}: &a{i} [{of}]\n"));
        }
        assert!(read(&text).unwrap_err().message.contains("limit"));
        let same = read("a: &a {x: 1}\nb: *a\n").unwrap();
        assert_eq!(same["b"], json!({"x": 1}));
    }
}
