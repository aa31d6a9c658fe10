//! JsonLogic after a column got another name.

use serde_json::{Map, Value};

/// The operators whose first argument is the name of a column.
const CHANGES: [&str; 3] = ["changed", "changed_to", "changed_from"];

/// The condition with another name for a column of its table.
pub fn rename_column(logic: &Value, from: &str, to: &str) -> Value {
    match logic {
        Value::Array(items) => items.iter().map(|item| rename_column(item, from, to)).collect(),
        Value::Object(map) => {
            let renamed = map.iter().map(|(operator, args)| {
                let named = operator == "var" || CHANGES.contains(&operator.as_str());
                let args =
                    if named { first(args, from, to) } else { rename_column(args, from, to) };
                (operator.clone(), args)
            });
            Value::Object(renamed.collect::<Map<_, _>>())
        }
        other => other.clone(),
    }
}

/// Arguments of which the first is a name; the others are conditions and values.
fn first(args: &Value, from: &str, to: &str) -> Value {
    match args {
        Value::String(name) => Value::String(rename(name, from, to)),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(index, item)| match item {
                Value::String(name) if index == 0 => Value::String(rename(name, from, to)),
                other => rename_column(other, from, to),
            })
            .collect(),
        other => rename_column(other, from, to),
    }
}

/// `column`, `new.column` or `old.column`, perhaps with a path into it.
fn rename(name: &str, from: &str, to: &str) -> String {
    let (row, rest) = match name.split_once('.') {
        Some((row, rest)) if row.eq_ignore_ascii_case("new") || row.eq_ignore_ascii_case("old") => {
            (Some(row), rest)
        }
        _ => (None, name),
    };
    let Some(path) = rest.strip_prefix(from).filter(|p| p.is_empty() || p.starts_with('.')) else {
        return name.to_owned();
    };
    match row {
        Some(row) => format!("{row}.{to}{path}"),
        None => format!("{to}{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::rename_column;
    use serde_json::json;

    #[test]
    fn every_place_that_names_the_column_is_renamed() {
        let before = json!({"and": [
            {">": [{"var": "amount"}, 5]},
            {"==": [{"var": ["old.amount", 3]}, "amount"]},
            {"changed": "amount"},
            {"changed_to": [{"var": "new.amount"}, "amount"]},
            {"in": [{"var": "amount.a.b"}, ["amount"]]},
            {"!": {"var": "amounts"}}
        ]});
        let after = json!({"and": [
            {">": [{"var": "total"}, 5]},
            {"==": [{"var": ["old.total", 3]}, "amount"]},
            {"changed": "total"},
            {"changed_to": [{"var": "new.total"}, "amount"]},
            {"in": [{"var": "total.a.b"}, ["amount"]]},
            {"!": {"var": "amounts"}}
        ]});
        assert_eq!(rename_column(&before, "amount", "total"), after);
    }
}
