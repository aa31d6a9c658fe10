//! Reading a rule: its parts, and the lines that calendars put around it.

use std::collections::BTreeSet;

use chrono::{Datelike, NaiveDate, NaiveDateTime, NaiveTime, Timelike, Weekday};
use chrono_tz::Tz;

use super::rule::{Bits, Freq, Rule, Times};
use crate::schedule::error::{ScheduleError, quoted};
use crate::schedule::{parse_zone, wall};
use crate::suggest;

/// Most runs that COUNT may say, since they are counted whenever the rule is read.
const MAX_COUNT: i64 = 10_000;
const MAX_INTERVAL: i64 = 1_000_000;

const FREQS: [(&str, Freq); 7] = [
    ("SECONDLY", Freq::Secondly),
    ("MINUTELY", Freq::Minutely),
    ("HOURLY", Freq::Hourly),
    ("DAILY", Freq::Daily),
    ("WEEKLY", Freq::Weekly),
    ("MONTHLY", Freq::Monthly),
    ("YEARLY", Freq::Yearly),
];
const PARTS: [&str; 14] = [
    "FREQ",
    "INTERVAL",
    "COUNT",
    "UNTIL",
    "WKST",
    "BYMONTH",
    "BYWEEKNO",
    "BYYEARDAY",
    "BYMONTHDAY",
    "BYDAY",
    "BYHOUR",
    "BYMINUTE",
    "BYSECOND",
    "BYSETPOS",
];
const DAYS: [(&str, Weekday); 7] = [
    ("MO", Weekday::Mon),
    ("TU", Weekday::Tue),
    ("WE", Weekday::Wed),
    ("TH", Weekday::Thu),
    ("FR", Weekday::Fri),
    ("SA", Weekday::Sat),
    ("SU", Weekday::Sun),
];

/// What the lines of a text say.
pub(super) struct Lines {
    pub(super) rule: String,
    pub(super) zone: Tz,
    pub(super) start: Option<NaiveDateTime>,
    pub(super) left_out: BTreeSet<NaiveDateTime>,
}

/// Where a rule ends.
pub(super) struct End {
    pub(super) until: Option<NaiveDateTime>,
    pub(super) count: Option<u32>,
}

fn error(message: String, hint: impl Into<String>) -> ScheduleError {
    ScheduleError::new(message).with_hint(hint)
}

/// The lines DTSTART, RRULE: (or the bare rule) and EXDATE.
pub(super) fn lines(text: &str, given: Option<Tz>, zone: Tz) -> Result<Lines, ScheduleError> {
    let mut read = Lines {
        rule: String::new(),
        zone: given.unwrap_or(zone),
        start: None,
        left_out: BTreeSet::new(),
    };
    let mut own_zone = given;
    let mut left_out = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let line = line.to_ascii_uppercase();
        let (head, value) = line.split_once(':').unwrap_or(("RRULE", &line));
        let (word, options) = head.split_once(';').unwrap_or((head, ""));
        let of_zone = zone_of(word, options)?;
        if let Some(zone) = of_zone {
            if own_zone.is_some_and(|own| own != zone) {
                return Err(error(
                    format!(
                        "rrule is of more than one time zone: {} is another",
                        quoted(zone.name())
                    ),
                    "Write one time zone, in \"time_zone\" or as TZID.",
                ));
            }
            (own_zone, read.zone) = (Some(zone), zone);
        }
        match word {
            "RRULE" if read.rule.is_empty() => read.rule = value.to_string(),
            "RRULE" => {
                return Err(error(
                    "rrule has more than one rule".into(),
                    "Join them: {\"any\": [{\"rrule\": ...}, {\"rrule\": ...}]}.",
                ));
            }
            "DTSTART" if read.start.is_none() => read.start = Some(moment(value, read.zone)?),
            "EXDATE" => left_out.extend(value.split(',').map(str::to_string)),
            _ => return Err(unknown_line(word)),
        }
    }
    for time in left_out {
        read.left_out.insert(moment(&time, read.zone)?);
    }
    Ok(read)
}

fn unknown_line(word: &str) -> ScheduleError {
    let hint = match word {
        "DTSTART" => "One rule has one first moment.".into(),
        "RDATE" => "Join single moments: {\"any\": [{\"rrule\": ...}, {\"at\": [...]}]}.".into(),
        "EXRULE" => "Leave days out: \"except\": [{\"rrule\": ..., \"from\": ...}].".into(),
        _ => suggest::hint(
            word.get(..word.len().min(20)).unwrap_or(""),
            &["DTSTART", "RRULE", "EXDATE"],
        ),
    };
    error(format!("cannot read the line {} of rrule", quoted(word)), hint)
}

/// The zone of `DTSTART;TZID=Europe/Zurich`.
fn zone_of(word: &str, options: &str) -> Result<Option<Tz>, ScheduleError> {
    let mut zone = None;
    for option in options.split(';').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("TZID", name)) if word != "RRULE" => zone = Some(parse_zone(name)?),
            Some(("VALUE", "DATE" | "DATE-TIME")) if word != "RRULE" => {}
            _ => {
                return Err(error(
                    format!("cannot read {} in the line {word} of rrule", quoted(option)),
                    "Known here: TZID, VALUE.",
                ));
            }
        }
    }
    Ok(zone)
}

/// `20260130T080000`, `20260130T070000Z` or `20260130`, in wall time.
fn moment(text: &str, zone: Tz) -> Result<NaiveDateTime, ScheduleError> {
    let tidy = text.trim();
    let (local, is_utc) = tidy.strip_suffix('Z').map_or((tidy, false), |local| (local, true));
    let read = NaiveDateTime::parse_from_str(local, "%Y%m%dT%H%M%S")
        .ok()
        .or_else(|| date(local).map(|day| day.and_time(NaiveTime::MIN)))
        .filter(|at| (1..=9999).contains(&at.year()));
    match read {
        Some(at) if is_utc => Ok(wall::local(zone, at.and_utc())),
        Some(at) => Ok(at),
        None => Err(error(
            format!("cannot read the time {} in rrule", quoted(tidy)),
            "Write it as 20260130T080000, 20260130T070000Z (UTC) or 20260130.",
        )),
    }
}

fn date(text: &str) -> Option<NaiveDate> {
    NaiveDate::parse_from_str(text, "%Y%m%d").ok().filter(|_| text.len() == 8)
}

/// The parts as they are written, before the start adds what they leave open.
#[derive(Default)]
struct Parts {
    freq: Option<Freq>,
    interval: Option<i64>,
    week_start: Option<Weekday>,
    end: (Option<NaiveDateTime>, Option<u32>),
    months: Vec<i32>,
    weeks: Vec<i32>,
    year_days: Vec<i32>,
    month_days: Vec<i32>,
    days: Vec<(i32, Weekday)>,
    hours: Vec<i32>,
    minutes: Vec<i32>,
    seconds: Vec<i32>,
    positions: Vec<i32>,
}

/// Reads the parts of a rule.
fn parts(text: &str, zone: Tz) -> Result<Parts, ScheduleError> {
    let mut read = Parts::default();
    let mut seen: Vec<&str> = Vec::new();
    for part in text.split(';').filter(|part| !part.trim().is_empty()) {
        let (word, value) =
            part.split_once('=').map_or((part.trim(), ""), |(w, v)| (w.trim(), v.trim()));
        if !PARTS.contains(&word) {
            let word: String = word.chars().take(20).collect();
            return Err(error(
                format!("unknown part {} of rrule", quoted(&word)),
                suggest::hint(&word, &PARTS),
            ));
        }
        if seen.contains(&word) {
            return Err(error(
                format!("rrule has {word} twice"),
                "Write its values as a list: \"1,15\".",
            ));
        }
        seen.push(word);
        match word {
            "FREQ" => read.freq = Some(word_of(word, value, &FREQS)?),
            "INTERVAL" => read.interval = Some(number(word, value, 1, MAX_INTERVAL)?),
            "COUNT" => read.end.1 = u32::try_from(number(word, value, 1, MAX_COUNT)?).ok(),
            "UNTIL" => read.end.0 = Some(until(value, zone)?),
            "WKST" => read.week_start = Some(word_of(word, value, &DAYS)?),
            "BYMONTH" => read.months = numbers(word, value, 1, 12, false)?,
            "BYWEEKNO" => read.weeks = numbers(word, value, 1, 53, true)?,
            "BYYEARDAY" => read.year_days = numbers(word, value, 1, 366, true)?,
            "BYMONTHDAY" => read.month_days = numbers(word, value, 1, 31, true)?,
            "BYDAY" => {
                read.days =
                    value.split(',').map(|day| weekday(day.trim())).collect::<Result<_, _>>()?
            }
            "BYHOUR" => read.hours = numbers(word, value, 0, 23, false)?,
            "BYMINUTE" => read.minutes = numbers(word, value, 0, 59, false)?,
            "BYSECOND" => read.seconds = numbers(word, value, 0, 59, false)?,
            _ => read.positions = numbers(word, value, 1, 366, true)?,
        }
    }
    Ok(read)
}

/// Reads the parts of a rule and adds what its start says.
pub(super) fn rule(
    text: &str,
    start: NaiveDateTime,
    zone: Tz,
) -> Result<(Rule, End), ScheduleError> {
    let read = parts(text, zone)?;
    let freq = read.freq.ok_or_else(|| {
        error("rrule has no FREQ".into(), "Write for example \"FREQ=MONTHLY;BYDAY=-1FR\".")
    })?;
    check(&read, freq)?;
    let no_days = read.weeks.is_empty()
        && read.year_days.is_empty()
        && read.month_days.is_empty()
        && read.days.is_empty();
    let set = |list: &[i32]| list.iter().fold(Bits::default(), |bits, n| bits.with(*n as u32));
    // A unit finer than the frequency is the start's, one that is not finer is any.
    let time = |list: &[i32], of: Freq, own: u32, count: u32| match list.is_empty() {
        false => set(list),
        true if freq > of => Bits::only(own),
        true => Bits::below(count),
    };
    let mut rule = Rule {
        freq,
        interval: read.interval.unwrap_or(1),
        week_start: read.week_start.unwrap_or(Weekday::Mon),
        months: set(&read.months),
        weeks: read.weeks.clone(),
        year_days: read.year_days.clone(),
        month_days: read.month_days.clone(),
        weekdays: read
            .days
            .iter()
            .filter(|(nth, _)| *nth == 0)
            .fold(Bits::default(), |bits, (_, day)| bits.with(day.num_days_from_monday())),
        nth: read.days.iter().filter(|(nth, _)| *nth != 0).copied().collect(),
        times: Times {
            hours: time(&read.hours, Freq::Hourly, start.hour(), 24),
            minutes: time(&read.minutes, Freq::Minutely, start.minute(), 60),
            seconds: time(&read.seconds, Freq::Secondly, start.second(), 60),
        },
        positions: read.positions.clone(),
    };
    match freq {
        Freq::Yearly if no_days => {
            rule.month_days = vec![start.day() as i32];
            if rule.months.is_empty() {
                rule.months = Bits::only(start.month());
            }
        }
        Freq::Monthly if no_days => rule.month_days = vec![start.day() as i32],
        Freq::Weekly if no_days => {
            rule.weekdays = Bits::only(start.weekday().num_days_from_monday())
        }
        _ => {}
    }
    Ok((rule, End { until: read.end.0, count: read.end.1 }))
}

/// Whether a rule of days means the same days from whatever day it is counted.
pub(super) fn says_all(text: &str, start: NaiveDateTime) -> bool {
    let Ok(read) = parts(text, Tz::UTC) else { return true };
    let other = start + chrono::Duration::days(40);
    let days = |at| rule(text, at, Tz::UTC).ok().map(|(rule, _)| rule);
    read.interval.unwrap_or(1) == 1 && read.end.1.is_none() && days(start) == days(other)
}

/// What RFC 5545 does not allow together, or leaves to each reader.
fn check(read: &Parts, freq: Freq) -> Result<(), ScheduleError> {
    let name = FREQS.iter().find(|(_, of)| *of == freq).map_or("", |(name, _)| name);
    let by_time = [&read.hours, &read.minutes, &read.seconds];
    let by_days = [&read.months, &read.weeks, &read.year_days, &read.month_days];
    let others =
        by_time.iter().chain(&by_days).any(|list| !list.is_empty()) || !read.days.is_empty();
    let ordinal = read.days.iter().any(|(nth, _)| *nth != 0);
    let refusals = [
        (
            read.end.0.is_some() && read.end.1.is_some(),
            "UNTIL does not go with COUNT".into(),
            "Both end the rule: leave one of them out.",
        ),
        (
            !read.weeks.is_empty() && freq != Freq::Yearly,
            format!("BYWEEKNO does not go with FREQ={name}"),
            "Weeks are counted in a year: write FREQ=YEARLY.",
        ),
        (
            !read.weeks.is_empty() && read.days.is_empty(),
            "BYWEEKNO needs BYDAY".into(),
            "Say which days of the week are meant, such as BYDAY=MO.",
        ),
        (
            !read.year_days.is_empty() && (Freq::Daily..=Freq::Monthly).contains(&freq),
            format!("BYYEARDAY does not go with FREQ={name}"),
            "Days of a year are counted in one: write FREQ=YEARLY.",
        ),
        (
            !read.month_days.is_empty() && freq == Freq::Weekly,
            "BYMONTHDAY does not go with FREQ=WEEKLY".into(),
            "Write FREQ=MONTHLY or FREQ=DAILY.",
        ),
        (
            ordinal && (freq < Freq::Monthly || !read.weeks.is_empty()),
            format!(
                "a number before a day in BYDAY does not go with {}",
                if read.weeks.is_empty() { format!("FREQ={name}") } else { "BYWEEKNO".into() }
            ),
            "Such a day is counted in a month or a year: write FREQ=MONTHLY or FREQ=YEARLY.",
        ),
        (
            !read.positions.is_empty() && !others,
            "BYSETPOS needs another part that begins with BY".into(),
            "It chooses among what the other parts mean, such as BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1.",
        ),
    ];
    match refusals.into_iter().find(|(wrong, ..)| *wrong) {
        Some((_, message, hint)) => Err(error(message, hint)),
        None => Ok(()),
    }
}

fn word_of<T: Copy>(part: &str, value: &str, known: &[(&str, T)]) -> Result<T, ScheduleError> {
    let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    known.iter().find(|(name, _)| *name == value).map(|(_, found)| *found).ok_or_else(|| {
        let value: String = value.chars().take(20).collect();
        error(
            format!("{part} of rrule cannot be {}", quoted(&value)),
            suggest::hint(&value, &names),
        )
    })
}

fn number(part: &str, text: &str, min: i64, max: i64) -> Result<i64, ScheduleError> {
    let read = text.strip_prefix('+').unwrap_or(text).parse::<i64>().ok();
    read.filter(|n| (min..=max).contains(n)).ok_or_else(|| {
        error(
            format!("{part} {} of rrule is out of range", quoted(text)),
            format!("It goes from {min} to {max}."),
        )
    })
}

/// A list of numbers; with `backward` also from -max to -min.
fn numbers(
    part: &str,
    text: &str,
    min: i64,
    max: i64,
    backward: bool,
) -> Result<Vec<i32>, ScheduleError> {
    let read = |item: &str| {
        let item = item.trim();
        let n = match item.strip_prefix('-').filter(|_| backward) {
            Some(rest) if !rest.starts_with(['+', '-']) => number(part, rest, min, max).map(|n| -n),
            _ => number(part, item, min, max),
        };
        let n = n.map_err(|_| {
            let also = if backward {
                format!(", or from -{max} to -{min}, counted from the end")
            } else {
                String::new()
            };
            error(
                format!("{part} {} of rrule is out of range", quoted(item)),
                format!("It goes from {min} to {max}{also}."),
            )
        })?;
        i32::try_from(n).map_err(|_| ScheduleError::new(format!("{part} of rrule is out of range")))
    };
    text.split(',').map(read).collect()
}

/// `MO`, `2TU` or `-1FR`.
fn weekday(text: &str) -> Result<(i32, Weekday), ScheduleError> {
    let at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (nth, name) = text.split_at(at);
    let day = word_of("BYDAY", name, &DAYS)?;
    match nth.is_empty() {
        true => Ok((0, day)),
        false => Ok((numbers("BYDAY", nth, 1, 53, true)?.first().copied().unwrap_or(1), day)),
    }
}

/// The last moment that UNTIL allows: a day is meant as a whole.
fn until(text: &str, zone: Tz) -> Result<NaiveDateTime, ScheduleError> {
    match date(text) {
        Some(day) if (1..=9999).contains(&day.year()) => {
            Ok(day.and_hms_opt(23, 59, 59).unwrap_or_default())
        }
        _ => moment(text, zone),
    }
}
