//! "Did you mean": the nearest known name to a mistyped one.

/// The candidate nearest to `name`, if one is near enough to be a slip of the fingers.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    candidates
        .into_iter()
        .map(|c| (strsim::damerau_levenshtein(&lower, &c.to_lowercase()), c))
        .filter(|(distance, c)| *distance <= 1 + c.chars().count() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, c)| c)
}

/// A hint for an unknown key or name: the nearest one, or all there are.
pub fn hint(name: &str, candidates: &[&str]) -> String {
    match nearest(name, candidates.iter().copied()) {
        Some(found) => format!("Did you mean \"{found}\"?"),
        None => format!("Known here: {}.", candidates.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_finds_a_slip_and_no_more() {
        assert_eq!(nearest("inter", ["interval", "cron"]), Some("interval"));
        assert_eq!(nearest("intervall", ["interval", "cron"]), Some("interval"));
        assert_eq!(nearest("swich", ["switch", "set"]), Some("switch"));
        assert_eq!(nearest("zebra", ["switch", "set"]), None);
    }

    #[test]
    fn hint_lists_everything_when_nothing_is_near() {
        assert_eq!(hint("zebra", &["set", "do"]), "Known here: set, do.");
    }
}
