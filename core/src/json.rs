//! Limits on JSON from outside, checked on the text before a tree is built; and patches.

use serde_json::{Map, Value};

/// Why a JSON text is refused before it is parsed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooBig {
    #[error("JSON nesting of more than {limit} levels is not allowed")]
    Depth { limit: usize },
    #[error("JSON of {bytes} bytes is longer than the {limit} bytes allowed")]
    Bytes { bytes: usize, limit: usize },
}

/// Deepest nesting accepted anywhere (serde_json itself gives up at 128).
pub const MAX_DEPTH: usize = 100;

/// Refuses texts that are too long or too deep, in one pass and without recursion.
pub fn check_size(text: &str, max_bytes: usize) -> Result<(), TooBig> {
    if text.len() > max_bytes {
        return Err(TooBig::Bytes { bytes: text.len(), limit: max_bytes });
    }
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(TooBig::Depth { limit: MAX_DEPTH });
                }
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// The members of a JSON object with their values as they are written, so that no digit of a number
/// is lost. None for other values. The text is known to be JSON.
pub fn members(text: &str) -> Option<Vec<(String, &str)>> {
    let inside = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    if inside.trim().is_empty() {
        return Some(Vec::new());
    }
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    let (mut found, mut start, mut colon) = (Vec::new(), 0, None);
    for (at, byte) in inside.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b':' if depth == 0 => colon = Some(at),
            b',' if depth == 0 => {
                found.push((start, colon.take()?, at));
                start = at + 1;
            }
            _ => {}
        }
    }
    found.push((start, colon?, inside.len()));
    let member = |(start, colon, end): (usize, usize, usize)| {
        let name = serde_json::from_str(inside[start..colon].trim()).ok()?;
        Some((name, inside[colon + 1..end].trim()))
    };
    found.into_iter().map(member).collect()
}

/// Merges a patch into a value as RFC 7396 has it: members of objects are replaced one by one, and
/// null removes one.
pub fn merge_patch(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(members) = target else { return };
    for (name, change) in changes {
        if change.is_null() {
            members.shift_remove(name);
        } else {
            merge_patch(members.entry(name.clone()).or_insert(Value::Null), change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_as_they_are_written() {
        let found = members(
            r#"{"a":1.20000000000000000001, "b\"c":"x,\"}:" ,"d":{"e":[1,{"f":2}]},"g":null}"#,
        );
        let names = ["a", "b\"c", "d", "g"].map(String::from);
        let values = ["1.20000000000000000001", r#""x,\"}:""#, r#"{"e":[1,{"f":2}]}"#, "null"];
        assert_eq!(found, Some(names.into_iter().zip(values).collect()));
        assert_eq!(members("{}"), Some(Vec::new()));
        assert_eq!(members("null"), None);
    }

    #[test]
    fn check_size_counts_nesting_outside_strings_only() {
        assert_eq!(check_size(r#"{"a":"[[[[\"[["}"#, 100), Ok(()));
        let deep = "[".repeat(10_000) + &"]".repeat(10_000);
        assert_eq!(check_size(&deep, 1 << 20), Err(TooBig::Depth { limit: MAX_DEPTH }));
        assert_eq!(check_size("[1,2]", 3), Err(TooBig::Bytes { bytes: 5, limit: 3 }));
    }
}
