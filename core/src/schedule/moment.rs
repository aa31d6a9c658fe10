//! Single moments: with an offset, or in the wall time of a zone.

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, SecondsFormat, Timelike, Utc};
use chrono_tz::Tz;

use super::error::{ScheduleError, quoted};
use super::wall;

/// RFC 3339, PostgreSQL's own `2026-03-01 10:00:00+01`, or a local date and time without an
/// offset. In the gap of a daylight saving change it is the first instant after it, in an
/// overlap the first of the two.
pub(super) fn parse(text: &str, zone: Tz) -> Result<DateTime<Utc>, ScheduleError> {
    let text = text.trim();
    let error = || {
        ScheduleError::new(format!("cannot read timestamp {}", quoted(text))).with_hint(
            "Write it as \"2026-03-01T10:00:00Z\", \"2026-03-01 10:00:00+01\" or, in the time \
             zone of the schedule, \"2026-03-01 10:00\".",
        )
    };
    if text.is_empty() {
        return Err(ScheduleError::new("the moment after \"at\" or \"from\" is missing")
            .with_hint("Write for example \"at 2026-03-01T10:00:00Z\"."));
    }
    let instant = match with_offset(text) {
        Some(instant) => instant,
        None => wall::first_instant(zone, local(text).ok_or_else(error)?).ok_or_else(error)?,
    };
    // What PostgreSQL and RFC 3339 can both write; also keeps later arithmetic in range.
    if !(1..=9999).contains(&instant.year()) {
        return Err(ScheduleError::new(format!(
            "year of timestamp {} is out of range",
            quoted(text)
        ))
        .with_hint("Years go from 1 to 9999."));
    }
    Ok(instant)
}

/// A wall time without an offset, in whole seconds.
pub(super) fn wall_time(text: &str) -> Option<NaiveDateTime> {
    local(text.trim()).filter(|at| at.nanosecond() == 0 && (1..=9999).contains(&at.year()))
}

/// The same for a text that may have an offset, which is then taken to the wall time of `zone`.
pub(super) fn wall_time_in(text: &str, zone: Tz) -> Result<NaiveDateTime, ScheduleError> {
    match wall_time(text) {
        Some(at) => Ok(at),
        None => {
            let at = wall::local(zone, parse(text, zone)?);
            at.with_nanosecond(0).ok_or_else(|| ScheduleError::new("timestamp is out of range"))
        }
    }
}

/// The text that [`wall_time`] reads back.
pub(super) fn format_wall(at: NaiveDateTime) -> String {
    let form = if at.time() == chrono::NaiveTime::MIN { "%Y-%m-%d" } else { "%Y-%m-%d %H:%M:%S" };
    at.format(form).to_string()
}

/// RFC 3339 in UTC, to the precision there is.
pub(super) fn format(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

fn with_offset(text: &str) -> Option<DateTime<Utc>> {
    if let Ok(instant) = DateTime::parse_from_rfc3339(text) {
        return Some(instant.to_utc());
    }
    let tidy = text.strip_suffix(['Z', 'z']).map(|head| format!("{head}+00"));
    let tidy = tidy.as_deref().unwrap_or(text).replacen(['T', 't'], " ", 1);
    ["%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%d %H:%M%#z", "%Y-%m-%d %H:%M:%S%.f %#z"]
        .iter()
        .find_map(|form| DateTime::parse_from_str(&tidy, form).ok())
        .map(|instant| instant.to_utc())
}

fn local(text: &str) -> Option<NaiveDateTime> {
    let tidy = text.replacen(['T', 't'], " ", 1);
    ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M"]
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(&tidy, form).ok())
        .or_else(|| NaiveDate::parse_from_str(&tidy, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_takes_offsets_and_local_times() {
        let zone = chrono_tz::Europe::Zurich;
        for (text, expected) in [
            ("2026-03-01T10:00:00Z", "2026-03-01T10:00:00Z"),
            ("2026-03-01T10:00:00+01:00", "2026-03-01T09:00:00Z"),
            ("2026-03-01 10:00:00+01", "2026-03-01T09:00:00Z"),
            ("2026-03-01 10:00:00.25+01", "2026-03-01T09:00:00.250Z"),
            ("2026-03-01 10:00Z", "2026-03-01T10:00:00Z"),
            ("2026-03-01 10:00-05:30", "2026-03-01T15:30:00Z"),
            ("2026-03-01T10:00", "2026-03-01T09:00:00Z"),
            ("2026-07-01 10:00:30", "2026-07-01T08:00:30Z"),
            ("2026-07-01", "2026-06-30T22:00:00Z"),
            // The gap and the overlap of 2026.
            ("2026-03-29 02:30", "2026-03-29T01:00:00Z"),
            ("2026-10-25 02:30", "2026-10-25T00:30:00Z"),
        ] {
            assert_eq!(parse(text, zone).map(format).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn parse_refuses_what_is_no_moment() {
        for text in [
            "",
            "tomorrow",
            "2026-02-30",
            "2026-13-01",
            "2026-03-01 25:00",
            "10:00",
            "2026-03-01 10:00 CET",
            "99999-01-01",
            "-2026-01-01",
            "262142-12-31 23:59:59",
            "2026-03-01T10:00:00+99:00",
        ] {
            assert!(parse(text, chrono_tz::UTC).is_err(), "{text}");
        }
    }
}
