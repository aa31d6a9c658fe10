//! Patterns of names, in which `*` stands for any characters.

/// True when a name fits a pattern.
pub fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        // The earliest place leaves the most for what follows.
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name) in [
            ("order.*", "order.paid"),
            ("order.*", "order."),
            ("*", ""),
            ("*.paid", "order.paid"),
            ("a*b*c", "a-b-b-c"),
            ("a**", "a"),
            ("exact", "exact"),
            ("aé*é", "aéé"),
        ] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("order.*", "orders.paid"),
            ("a*a", "a"),
            ("a*b*c", "acb"),
            ("exact", "exact "),
            ("", "x"),
            ("*.paid", "order.Paid"),
        ] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }
}
