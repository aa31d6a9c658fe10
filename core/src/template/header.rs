//! What may stand in a header of a message.

use super::error::TemplateError;

/// Refuses line breaks and all other control characters in a value that will stand in a header
/// (a subject, an address, a URL), where a line break would start a header of its own. Reports
/// the first one and its place, in characters from 1.
pub fn check_header_value(value: &str) -> Result<(), TemplateError> {
    // U+2028 and U+2029 end a line too, though Unicode does not call them control characters.
    let bad = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    match value.chars().enumerate().find(|(_, c)| bad(*c)) {
        None => Ok(()),
        Some((at, found)) => {
            let what = match found {
                '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}' => "line break",
                '\t' => "tab",
                _ => "control character",
            };
            Err(TemplateError::new(
                "",
                format!("{what} (U+{:04X}) at character {}", u32::from(found), at + 1),
            )
            .with_hint("A header is a single line without control characters."))
        }
    }
}
