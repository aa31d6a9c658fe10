//! Durations of the specification, in milliseconds: `{"minutes": 5}` or ISO 8601 `"PT5M"`.

use serde_json::Value;

/// The units of the object form, and their milliseconds.
pub(super) const UNITS: [(&str, u64); 5] = [
    ("days", 86_400_000),
    ("hours", 3_600_000),
    ("minutes", 60_000),
    ("seconds", 1_000),
    ("milliseconds", 1),
];

/// Ten years: nothing may wait longer.
pub(super) const LONGEST_MS: u64 = 3_653 * 86_400_000;

/// Milliseconds of a duration in either form; the error says what is wrong, in one phrase.
pub fn millis(value: &Value) -> Result<u64, String> {
    let ms = match value {
        Value::Object(map) => {
            let mut total = 0u64;
            for (key, amount) in map {
                let Some((_, unit)) = UNITS.iter().find(|(name, _)| name == key) else {
                    let names = UNITS.map(|(name, _)| name);
                    let hint = crate::suggest::hint(key, &names);
                    return Err(format!("unknown unit \"{key}\" of a duration: {hint}"));
                };
                let amount = amount.as_u64().ok_or_else(|| {
                    format!("\"{key}\" of a duration must be a whole number, not negative")
                })?;
                total = total.saturating_add(amount.saturating_mul(*unit));
            }
            if map.is_empty() {
                return Err("a duration needs at least one unit".into());
            }
            total
        }
        Value::String(text) => {
            iso8601(text).ok_or_else(|| format!("\"{text}\" is not an ISO 8601 duration"))?
        }
        _ => return Err("a duration is an object of units or an ISO 8601 text".into()),
    };
    match ms <= LONGEST_MS {
        true => Ok(ms),
        false => Err("a duration must not exceed ten years".into()),
    }
}

/// `PnWnDTnHnMnS`; years and months have no fixed length and are not accepted.
fn iso8601(text: &str) -> Option<u64> {
    let rest = text.strip_prefix('P')?;
    let (date, time) = match rest.split_once('T') {
        Some((_, "")) => return None,
        Some((date, time)) => (date, time),
        None => (rest, ""),
    };
    if date.is_empty() && time.is_empty() {
        return None;
    }
    let days = parts(date, &[('W', 604_800_000), ('D', 86_400_000)])?;
    let hours = parts(time, &[('H', 3_600_000), ('M', 60_000), ('S', 1_000)])?;
    Some(days.saturating_add(hours))
}

fn parts(mut text: &str, units: &[(char, u64)]) -> Option<u64> {
    let mut total = 0u64;
    let mut units = units.iter();
    while !text.is_empty() {
        let end = text.find(|c: char| c.is_ascii_alphabetic())?;
        let (number, rest) = text.split_at(end);
        let letter = rest.chars().next()?;
        // Units come in their order, each at most once.
        let (_, unit) = units.find(|(name, _)| *name == letter)?;
        total = total.saturating_add(amount(number, *unit)?);
        text = rest.get(1..)?;
    }
    Some(total)
}

fn amount(number: &str, unit: u64) -> Option<u64> {
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    match number.split_once('.') {
        None => digits(number).then(|| number.parse::<u64>().ok())??.checked_mul(unit),
        Some((whole, part)) => {
            if !digits(whole) || !digits(part) {
                return None;
            }
            let value: f64 = number.parse().ok()?;
            // Saturates for what is far above the longest duration.
            Some((value * unit as f64).round() as u64)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_forms() {
        assert_eq!(millis(&json!({"minutes": 5, "milliseconds": 1})), Ok(300_001));
        assert_eq!(millis(&json!("PT5M")), Ok(300_000));
        assert_eq!(millis(&json!("P1DT2H0.5S")), Ok(86_400_000 + 7_200_000 + 500));
        assert_eq!(millis(&json!("P2W")), Ok(1_209_600_000));
        for wrong in [
            json!("P"),
            json!("PT"),
            json!("5M"),
            json!("P1M"),
            json!("PT1S1H"),
            json!("PT-1S"),
            json!({}),
            json!({"minute": 1}),
            json!({"minutes": -1}),
            json!(5),
            json!({"days": u64::MAX}),
            json!("PTé1S"),
            json!("PT1é"),
        ] {
            assert!(millis(&wrong).is_err(), "{wrong}");
        }
    }
}
