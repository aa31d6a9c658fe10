//! Durations as people, PostgreSQL and ISO 8601 write them.

use chrono::Duration;

use super::error::{ScheduleError, quoted};
use crate::suggest;

/// Units of fixed length: their length in microseconds, then all their names.
const UNITS: [(i64, &[&str]); 7] = [
    (604_800_000_000, &["week", "weeks", "w", "wk", "wks"]),
    (86_400_000_000, &["day", "days", "d"]),
    (3_600_000_000, &["hour", "hours", "h", "hr", "hrs"]),
    (60_000_000, &["min", "mins", "minute", "minutes", "m"]),
    (1_000_000, &["s", "sec", "secs", "second", "seconds"]),
    (1_000, &["ms", "msec", "msecs", "millisecond", "milliseconds"]),
    (1, &["us", "usec", "usecs", "microsecond", "microseconds"]),
];

/// Units whose length depends on the calendar.
const CALENDAR: [&str; 9] =
    ["month", "months", "mon", "mons", "year", "years", "yr", "yrs", "decade"];

/// A thousand years: nobody waits longer, and no arithmetic overflows.
const MOST: i64 = 365_250 * 86_400_000_000;

const FORMS: &str =
    "Write a number and a unit, such as \"90 s\", \"5 minutes\" or \"1 hour 30 min\".";

/// Reads `90 s`, `1 hour 30 min`, `1h30m`, `01:30:00` or `PT1H30M`, to the microsecond; a day
/// is 24 hours. Zero is a duration, a negative one is not.
pub fn parse_duration(text: &str) -> Result<Duration, ScheduleError> {
    let lower = text.trim().to_lowercase();
    let fail = |why: &str| {
        ScheduleError::new(format!("cannot read duration {}: {why}", quoted(text.trim())))
    };
    if lower.is_empty() {
        return Err(ScheduleError::new("duration is empty").with_hint(FORMS));
    }
    if lower.len() > 200 {
        return Err(fail("it is too long").with_hint(FORMS));
    }
    let mut total: i64 = 0;
    let mut rest = iso_to_words(&lower).unwrap_or(lower.clone());
    let mut parts = 0;
    while !rest.is_empty() {
        let (micros, tail) = part(&rest).map_err(|problem| match problem {
            Wrong::Unit(unit) => {
                wrong_unit(fail(&format!("unknown unit {}", quoted(&unit))), &unit)
            }
            Wrong::Why(why) => fail(why).with_hint(FORMS),
        })?;
        total = total
            .checked_add(micros)
            .filter(|total| *total <= MOST)
            .ok_or_else(|| fail("it is longer than 1000 years"))?;
        rest = tail.trim_start_matches(|c: char| c.is_whitespace() || c == ',').to_string();
        rest = rest.strip_prefix("and ").unwrap_or(&rest).trim_start().to_string();
        parts += 1;
    }
    if parts == 0 {
        return Err(fail("there is no number in it").with_hint(FORMS));
    }
    Ok(Duration::microseconds(total))
}

/// The shortest text that [`parse_duration`] reads back to the same duration.
pub fn format_duration(duration: Duration) -> String {
    let mut left = duration.num_microseconds().unwrap_or(0).max(0);
    if left == 0 {
        return "0 s".to_string();
    }
    // "90 s" stays "90 s": small counts of one unit read better than a mixture.
    if left % 1_000_000 == 0 && left < 120_000_000 {
        return format!("{} s", left / 1_000_000);
    }
    let names = ["", "day", "hour", "min", "s", "ms", "us"];
    let mut words = Vec::new();
    for ((length, _), name) in UNITS.iter().zip(names).skip(1) {
        let count = left / length;
        left %= length;
        if count > 0 {
            let plural = if count > 1 && matches!(name, "day" | "hour") { "s" } else { "" };
            words.push(format!("{count} {name}{plural}"));
        }
    }
    words.join(" ")
}

enum Wrong {
    Unit(String),
    Why(&'static str),
}

/// One number with its unit, or a clock time; what follows is handed back.
fn part(text: &str) -> Result<(i64, &str), Wrong> {
    let end =
        text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':')).unwrap_or(text.len());
    let (number, tail) = text.split_at(end);
    if number.is_empty() {
        return Err(Wrong::Why(match text.starts_with('-') {
            true => "it is negative",
            false => "a number is expected",
        }));
    }
    if number.contains(':') {
        return Ok((clock(number).ok_or(Wrong::Why("a clock time is hh:mm or hh:mm:ss"))?, tail));
    }
    let tail = tail.trim_start();
    let end = tail.find(|c: char| !c.is_alphabetic() && c != 'µ').unwrap_or(tail.len());
    let (unit, tail) = tail.split_at(end);
    if unit.is_empty() {
        return Err(Wrong::Why("a unit is missing"));
    }
    let length = UNITS
        .iter()
        .find(|(_, names)| names.contains(&unit))
        .map(|(length, _)| *length)
        .ok_or_else(|| Wrong::Unit(unit.to_string()))?;
    let micros = scale(number, length).ok_or(Wrong::Why("the number is out of range"))?;
    Ok((micros, tail))
}

/// `number` (digits, perhaps with a fraction) times `length`, exactly, rounded down.
fn scale(number: &str, length: i64) -> Option<i64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) || fraction.len() > 15 {
        return None;
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let part: i128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let part = part * i128::from(length) / 10i128.pow(u32::try_from(fraction.len()).ok()?);
    whole.checked_mul(length)?.checked_add(i64::try_from(part).ok()?)
}

/// `hh:mm` or `hh:mm:ss.ffffff`, as PostgreSQL prints intervals.
fn clock(text: &str) -> Option<i64> {
    let mut parts = text.split(':');
    let hours = scale(parts.next().filter(|hours| !hours.contains('.'))?, 3_600_000_000)?;
    let minutes = parts.next().filter(|minutes| !minutes.contains('.'))?;
    let minutes = scale(minutes, 60_000_000).filter(|micros| *micros < 3_600_000_000)?;
    let seconds = parts.next().map_or(Some(0), |seconds| scale(seconds, 1_000_000))?;
    if parts.next().is_some() || seconds >= 60_000_000 {
        return None;
    }
    hours.checked_add(minutes)?.checked_add(seconds)
}

/// `pt1h30m` as `1h 30m `; `None` if it is not ISO 8601 or counts years or months.
fn iso_to_words(lower: &str) -> Option<String> {
    let (days, time) = match lower.strip_prefix('p')?.split_once('t') {
        Some((days, time)) if !time.is_empty() => (days, time),
        Some(_) => return None,
        None => (lower.strip_prefix('p')?, ""),
    };
    let only = |text: &str, units: &str| {
        text.chars().all(|c| c.is_ascii_digit() || c == '.' || units.contains(c))
    };
    let fits = only(days, "wd") && only(time, "hms") && !(days.is_empty() && time.is_empty());
    fits.then(|| format!("{days}{time}"))
}

fn wrong_unit(error: ScheduleError, unit: &str) -> ScheduleError {
    if CALENDAR.contains(&unit) {
        return error.with_hint(
            "Months and years differ in length; use days, or a cron expression such as \
             \"0 0 1 * *\".",
        );
    }
    let near = suggest::nearest(unit, UNITS.iter().flat_map(|(_, names)| names.iter().copied()));
    match near.filter(|_| unit.len() > 2) {
        Some(found) => error.with_hint(format!("Did you mean \"{found}\"?")),
        None => error.with_hint("Units are us, ms, s, min, hours, days and weeks."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_duration_reads_what_people_write() {
        for (text, micros) in [
            ("90 s", 90_000_000),
            ("5 minutes", 300_000_000),
            ("1 hour 30 min", 5_400_000_000),
            ("1 hour, 30 minutes and 5 seconds", 5_405_000_000),
            ("1h30m", 5_400_000_000),
            ("1.5 h", 5_400_000_000),
            (".5s", 500_000),
            ("250 ms", 250_000),
            ("2 Weeks", 1_209_600_000_000),
            ("1 day 01:30:00", 91_800_000_000),
            ("00:00:01.5", 1_500_000),
            ("PT1H30M", 5_400_000_000),
            ("P1DT12H", 129_600_000_000),
            ("P2W", 1_209_600_000_000),
            ("0 s", 0),
        ] {
            assert_eq!(parse_duration(text).unwrap(), Duration::microseconds(micros), "{text}");
        }
    }

    #[test]
    fn parse_duration_refuses_and_says_why() {
        for (text, why) in [
            ("", "empty"),
            ("  ", "empty"),
            ("90", "a unit is missing"),
            ("s", "a number is expected"),
            ("-5 s", "it is negative"),
            ("5 secnods", "unknown unit \"secnods\""),
            ("1 month", "unknown unit \"month\""),
            ("P1M", "a number is expected"),
            ("PT", "a number is expected"),
            ("1.2.3 s", "out of range"),
            ("99999999999999999999 s", "out of range"),
            ("9999999999999 us 9000000000000 s", "longer than 1000 years"),
            ("1:75", "clock time"),
            ("1:2:3:4", "clock time"),
            ("5 s x", "a number is expected"),
            ("１ s", "a number is expected"),
        ] {
            let error = parse_duration(text).unwrap_err();
            assert!(error.message.contains(why), "{text}: {}", error.message);
        }
        assert_eq!(
            parse_duration("5 secnods").unwrap_err().hint.unwrap(),
            "Did you mean \"seconds\"?"
        );
        assert!(parse_duration(&"1 s ".repeat(1000)).is_err());
    }

    #[test]
    fn format_duration_is_read_back() {
        for text in ["90 s", "5 min", "1 hour 30 min", "2 days", "14 days", "1 s 500 ms", "7 us"] {
            let duration = parse_duration(text).unwrap();
            assert_eq!(format_duration(duration), text);
        }
        assert_eq!(format_duration(Duration::zero()), "0 s");
    }
}
