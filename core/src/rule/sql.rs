//! Writing SQL tokens: literals and identifiers nothing can break out of.
//!
//! Only `''` doubling is used, never `E''`: the text is right under `standard_conforming_strings`
//! (on by default), which whoever analyses it must have on.

/// A string as a quoted literal of unknown type. NUL must have been refused before.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A name as a quoted identifier. NUL must have been refused before.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A path into jsonb as a quoted literal of `text[]`.
pub fn path(segments: &[String]) -> String {
    let items: Vec<String> = segments.iter().map(|segment| element(segment)).collect();
    literal(&format!("{{{}}}", items.join(",")))
}

/// One element of an array literal, quoted unless it is plainly a word.
fn element(segment: &str) -> String {
    let plain = !segment.is_empty()
        && !segment.eq_ignore_ascii_case("null")
        && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if plain {
        return segment.to_owned();
    }
    format!("\"{}\"", segment.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_doubles_and_escapes() {
        assert_eq!(literal("a'b\\'"), "'a''b\\'''");
        assert_eq!(identifier("a\"b"), "\"a\"\"b\"");
        let segments = ["a", "0", "NULL", "", "b c", "q\"\\'"].map(str::to_owned);
        assert_eq!(path(&segments), r#"'{a,0,"NULL","","b c","q\"\\''"}'"#);
    }
}
