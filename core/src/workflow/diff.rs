//! What is different between two documents, with tasks by their names.

use super::parse::escape;
use serde_json::{Map, Value, json};

/// One difference. The pointer is a JSON Pointer with the names of tasks where their places would
/// be, such as `/do/charge/with/query`.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    pub pointer: String,
    /// add, remove, replace, rename (of a task that stays as it is otherwise) or move (among the
    /// tasks of its list; old and new are its places, from 0).
    pub op: &'static str,
    pub old: Option<Value>,
    pub new: Option<Value>,
}

/// The differences from one document to another, in the order of the new one.
pub fn diff(from: &Value, to: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    values(from, to, "", &mut found);
    found
}

fn values(from: &Value, to: &Value, at: &str, found: &mut Vec<Difference>) {
    if from == to {
        return;
    }
    match (from, to) {
        (Value::Object(from), Value::Object(to)) => objects(from, to, at, found),
        (Value::Array(from), Value::Array(to)) => match (named(from), named(to)) {
            (Some(from), Some(to)) => lists(&from, &to, at, found),
            _ => arrays(from, to, at, found),
        },
        _ => put(found, at.to_owned(), "replace", Some(from), Some(to)),
    }
}

fn put(
    found: &mut Vec<Difference>,
    pointer: String,
    op: &'static str,
    old: Option<&Value>,
    new: Option<&Value>,
) {
    found.push(Difference { pointer, op, old: old.cloned(), new: new.cloned() });
}

fn objects(
    from: &Map<String, Value>,
    to: &Map<String, Value>,
    at: &str,
    found: &mut Vec<Difference>,
) {
    for (key, new) in to {
        let place = format!("{at}/{}", escape(key));
        match from.get(key) {
            Some(old) => values(old, new, &place, found),
            None => put(found, place, "add", None, Some(new)),
        }
    }
    for (key, old) in from.iter().filter(|(key, _)| !to.contains_key(*key)) {
        put(found, format!("{at}/{}", escape(key)), "remove", Some(old), None);
    }
}

fn arrays(from: &[Value], to: &[Value], at: &str, found: &mut Vec<Difference>) {
    for i in 0..from.len().max(to.len()) {
        let place = format!("{at}/{i}");
        match (from.get(i), to.get(i)) {
            (Some(old), Some(new)) => values(old, new, &place, found),
            (old, new) => put(found, place, if old.is_some() { "remove" } else { "add" }, old, new),
        }
    }
}

/// A list of tasks, or of other things that have names: each an object with one key of its own.
fn named(items: &[Value]) -> Option<Vec<(&str, &Value)>> {
    let mut names: Vec<(&str, &Value)> = Vec::with_capacity(items.len());
    for item in items {
        let map = item.as_object().filter(|map| map.len() == 1 && !items.is_empty())?;
        let (name, value) = map.iter().next()?;
        if !value.is_object() || names.iter().any(|(known, _)| known == name) {
            return None;
        }
        names.push((name, value));
    }
    Some(names)
}

fn lists(from: &[(&str, &Value)], to: &[(&str, &Value)], at: &str, found: &mut Vec<Difference>) {
    let place = |list: &[(&str, &Value)], name: &str| list.iter().position(|(n, _)| *n == name);
    let mut gone: Vec<(&str, &Value)> =
        from.iter().copied().filter(|(name, _)| place(to, name).is_none()).collect();
    // Of those in both lists, as many as possible stay in their order; the others have moved.
    let common: Vec<usize> = to.iter().filter_map(|(name, _)| place(from, name)).collect();
    let still = longest_rise(&common);
    for (now, (name, new)) in to.iter().enumerate() {
        let pointer = format!("{at}/{}", escape(name));
        let Some(was) = place(from, name) else {
            match gone.iter().position(|(_, old)| old == new) {
                Some(twin) => {
                    let (old, _) = gone.remove(twin);
                    put(found, pointer, "rename", Some(&json!(old)), Some(&json!(name)));
                }
                None => put(found, pointer, "add", None, Some(new)),
            }
            continue;
        };
        if !still.contains(&was) {
            put(found, pointer.clone(), "move", Some(&json!(was)), Some(&json!(now)));
        }
        if let Some((_, old)) = from.get(was) {
            values(old, new, &pointer, found);
        }
    }
    for (name, old) in gone {
        put(found, format!("{at}/{}", escape(name)), "remove", Some(old), None);
    }
}

/// A longest part of these numbers that rises.
fn longest_rise(numbers: &[usize]) -> Vec<usize> {
    // For each length, the end of the rise with the smallest last number, and who comes before whom.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(numbers.len());
    for (i, number) in numbers.iter().enumerate() {
        let length = ends.partition_point(|end| numbers.get(*end) < Some(number));
        before.push(length.checked_sub(1).and_then(|last| ends.get(last).copied()));
        match ends.get_mut(length) {
            Some(end) => *end = i,
            None => ends.push(i),
        }
    }
    let mut rise = Vec::with_capacity(ends.len());
    let mut next = ends.last().copied();
    while let Some(i) = next {
        rise.extend(numbers.get(i));
        next = before.get(i).copied().flatten();
    }
    rise
}
