//! Names of time zones.

use chrono_tz::{TZ_VARIANTS, Tz};

use super::error::{ScheduleError, quoted};
use crate::suggest;

/// Longest name compared with all the known ones.
const LONGEST: usize = 64;

/// The IANA zone of that name, in any case of letters; the error names the nearest one.
pub fn parse_zone(name: &str) -> Result<Tz, ScheduleError> {
    let name = name.trim();
    if let Some(zone) = TZ_VARIANTS.iter().find(|zone| zone.name().eq_ignore_ascii_case(name)) {
        return Ok(*zone);
    }
    let hint = match near(name) {
        Some(zone) => format!("Did you mean \"{zone}\"?"),
        None => "Use a name of the IANA database such as \"Europe/Zurich\" or \"UTC\"; an offset \
                 such as \"+02\" knows no daylight saving time."
            .to_string(),
    };
    Err(ScheduleError::new(format!("unknown time zone {}", quoted(name))).with_hint(hint))
}

/// A slip of the fingers, a city without its continent, or both.
fn near(name: &str) -> Option<&'static str> {
    if name.is_empty() || name.len() > LONGEST {
        return None;
    }
    let tidy = name.replace(' ', "_");
    let city = |zone: &&'static Tz| {
        zone.name().rsplit('/').next().is_some_and(|city| city.eq_ignore_ascii_case(&tidy))
    };
    if let Some(zone) = TZ_VARIANTS.iter().find(city) {
        return Some(zone.name());
    }
    // Offsets and short codes are near to everything: no guess is better than a wrong one.
    if tidy.chars().filter(char::is_ascii_alphabetic).count() < 4 {
        return None;
    }
    suggest::nearest(&tidy, TZ_VARIANTS.iter().map(|zone| zone.name())).or_else(|| {
        let cities = || TZ_VARIANTS.iter().filter_map(|zone| zone.name().rsplit('/').next());
        let found = suggest::nearest(&tidy, cities())?;
        let zone = TZ_VARIANTS.iter().find(|zone| zone.name().ends_with(found))?;
        Some(zone.name())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_zone_ignores_case_and_suggests() {
        assert_eq!(parse_zone("europe/ZURICH").unwrap(), chrono_tz::Europe::Zurich);
        assert_eq!(parse_zone(" UTC ").unwrap().name(), "UTC");
        let hint = |name: &str| parse_zone(name).unwrap_err().hint.unwrap();
        assert_eq!(hint("Europe/Zürich"), "Did you mean \"Europe/Zurich\"?");
        assert_eq!(hint("Zurich"), "Did you mean \"Europe/Zurich\"?");
        assert_eq!(hint("Zurrich"), "Did you mean \"Europe/Zurich\"?");
        assert_eq!(hint("new york"), "Did you mean \"America/New_York\"?");
        assert_eq!(hint("America/NewYork"), "Did you mean \"America/New_York\"?");
        for useless in ["", "+02:00", "+0530", "x".repeat(1 << 20).as_str()] {
            assert!(hint(useless).starts_with("Use a name of the IANA"), "{useless:.20}");
        }
        let error = parse_zone(&"y".repeat(1 << 20)).unwrap_err();
        assert!(error.message.len() < 100, "{}", error.message.len());
    }
}
