//! Limits on JSON from outside: checked on the text, before a tree is built.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_size_counts_nesting_outside_strings_only() {
        assert_eq!(check_size(r#"{"a":"[[[[\"[["}"#, 100), Ok(()));
        let deep = "[".repeat(10_000) + &"]".repeat(10_000);
        assert_eq!(check_size(&deep, 1 << 20), Err(TooBig::Depth { limit: MAX_DEPTH }));
        assert_eq!(check_size("[1,2]", 3), Err(TooBig::Bytes { bytes: 5, limit: 3 }));
    }
}
