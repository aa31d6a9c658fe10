//! Cron expressions: which wall times are meant, and the instants at which they happen.

use chrono::{DateTime, Datelike, Duration, NaiveDate, NaiveDateTime, Timelike, Utc};
use chrono_tz::Tz;

use super::FORMS;
use super::clock::Clock;
use super::days::{self, Days};
use super::error::{ScheduleError, quoted};
use super::field::{Field, HOUR, MINUTE, MONTH, SECOND, Word};
use super::wall::{self, Wall};
use crate::suggest;

/// Years searched for the next run. 29 February comes back to a given weekday after at most 40
/// years (across a century that is no leap year).
const HORIZON: i32 = 60;

const MACROS: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

/// A parsed expression in its zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cron {
    text: String,
    zone: Tz,
    clock: Clock,
    second: Field,
    minute: Field,
    hour: Field,
    month: Field,
    days: Days,
}

impl Cron {
    pub(super) fn parse(text: &str, zone: Tz) -> Result<Cron, ScheduleError> {
        let text = expand(text)?;
        let words: Vec<&str> = text.split_whitespace().collect();
        if words.iter().any(|word| word.contains('=')) {
            return Err(ScheduleError::new(format!("cannot read schedule {}", quoted(&text)))
                .with_hint("Give the time zone in time_zone, not in the expression."));
        }
        let (second, [minute, hour, of_month, month, of_week]) = match words[..] {
            [a, b, c, d, e] => ("0", [a, b, c, d, e]),
            [second, a, b, c, d, e] if !is_year(e) => (second, [a, b, c, d, e]),
            _ => return Err(wrong_count(&text, &words)),
        };
        let of = words.len();
        let word = |text, back: usize| Word { text, place: of - back, of };
        let (normal_month, normal_week) = days::normal(of_month, of_week);
        let mut normal = words.iter().map(|word| word.to_ascii_lowercase()).collect::<Vec<_>>();
        normal[of - 3] = normal_month;
        normal[of - 1] = normal_week;
        Ok(Cron {
            second: Field::parse(word(second, of - 1), &SECOND)?,
            minute: Field::parse(word(minute, 4), &MINUTE)?,
            hour: Field::parse(word(hour, 3), &HOUR)?,
            days: Days::parse(word(of_month, 2), word(of_week, 0))?,
            month: Field::parse(word(month, 1), &MONTH)?,
            text: normal.join(" "),
            zone,
            clock: Clock::default(),
        })
    }

    /// The same, with what is to be done where the clock is put forward or back.
    pub(super) fn with_clock(self, clock: Clock) -> Cron {
        Cron { clock, ..self }
    }

    pub(super) fn clock(&self) -> Clock {
        self.clock
    }

    /// Normalised: macros expanded, single spaces, small letters but for `L` and `W`.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn zone(&self) -> Tz {
        self.zone
    }

    /// The first run strictly after `after`, by the rules of the module's head.
    pub(super) fn next(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let start = DateTime::from_timestamp(after.timestamp().checked_add(1)?, 0)?;
        let next = self.next_on_clock(start)?;
        if !self.both_passes() {
            return Some(next);
        }
        // In the first pass of an overlap the second may hold a run that comes sooner.
        match wall::resolve(self.zone, wall::local(self.zone, start))? {
            Wall::Twice { first, back, .. } if first == start && next >= back => {
                self.next_on_clock(back)
            }
            _ => Some(next),
        }
    }

    /// The first run at `start` or later, taking the clock to go on from `start` without being
    /// put back.
    fn next_on_clock(&self, start: DateTime<Utc>) -> Option<DateTime<Utc>> {
        // What lies in a gap that ends at `start` is still to come.
        let before = wall::local(self.zone, start.checked_sub_signed(Duration::seconds(1))?);
        let mut from = wall::local(self.zone, start).min(before + Duration::seconds(1));
        let last_year = from.year().checked_add(HORIZON)?;
        loop {
            let found = self.first_wall_time(from)?;
            if found.year() > last_year {
                return None;
            }
            from = match wall::resolve(self.zone, found)? {
                Wall::Once(instant) => return Some(instant),
                Wall::Twice { first, .. } if first >= start => return Some(first),
                Wall::Twice { second, .. } if self.both_passes() => return Some(second),
                // The second pass of an overlap: it has had its run.
                Wall::Twice { first, second, back } => {
                    wall::local(self.zone, back + (second - first))
                }
                Wall::Never { end, length }
                    if self.clock.makes_up(self.every_hour(), length) && end >= start =>
                {
                    return Some(end);
                }
                Wall::Never { end, .. } => {
                    wall::local(self.zone, end).max(found + Duration::seconds(1))
                }
            };
        }
    }

    /// Whether an overlap has runs in both passes: by default where the hours are "any".
    pub(super) fn both_passes(&self) -> bool {
        self.clock.both_passes(self.hour.star || self.every_hour())
    }

    fn every_hour(&self) -> bool {
        self.hour.len() == 24
    }

    /// The first wall time of the expression that is `from` or later.
    fn first_wall_time(&self, from: NaiveDateTime) -> Option<NaiveDateTime> {
        let today = from.date();
        if self.has_day(today)
            && let Some((hour, minute, second)) =
                self.first_time((from.hour(), from.minute(), from.second()))
        {
            return today.and_hms_opt(hour, minute, second);
        }
        let (hour, minute, second) = self.first_time((0, 0, 0))?;
        self.first_day(today.succ_opt()?)?.and_hms_opt(hour, minute, second)
    }

    /// The first time of day that is `from` or later.
    fn first_time(&self, (hour, minute, second): (u32, u32, u32)) -> Option<(u32, u32, u32)> {
        let (first_minute, first_second) = (self.minute.at_least(0)?, self.second.at_least(0)?);
        if self.hour.has(hour) {
            if self.minute.has(minute)
                && let Some(second) = self.second.at_least(second)
            {
                return Some((hour, minute, second));
            }
            if let Some(minute) = self.minute.at_least(minute + 1) {
                return Some((hour, minute, first_second));
            }
        }
        Some((self.hour.at_least(hour + 1)?, first_minute, first_second))
    }

    /// The first day that is `from` or later, looked for month by month.
    fn first_day(&self, from: NaiveDate) -> Option<NaiveDate> {
        let (mut year, mut month, mut least) = (from.year(), from.month(), from.day());
        let last_year = year.checked_add(HORIZON)?;
        while year <= last_year {
            if self.month.has(month) {
                let days = self.days.in_month(year, month)? >> least << least;
                if days != 0 {
                    return NaiveDate::from_ymd_opt(year, month, days.trailing_zeros());
                }
            }
            (year, month, least) = match self.month.at_least(month + 1) {
                Some(month) => (year, month, 1),
                None => (year + 1, self.month.at_least(1)?, 1),
            };
        }
        None
    }

    fn has_day(&self, day: NaiveDate) -> bool {
        let days = || self.days.in_month(day.year(), day.month()).unwrap_or(0);
        self.month.has(day.month()) && days() >> day.day() & 1 == 1
    }
}

fn expand(text: &str) -> Result<String, ScheduleError> {
    if !text.starts_with('@') {
        return Ok(text.to_string());
    }
    let lower = text.to_ascii_lowercase();
    if let Some((_, expression)) = MACROS.iter().find(|(name, _)| *name == lower) {
        return Ok((*expression).to_string());
    }
    let error = ScheduleError::new(format!("unknown schedule {}", quoted(text)));
    if lower == "@reboot" {
        return Err(error.with_hint("A schedule is about time; nothing runs at a server's start."));
    }
    let names = MACROS.map(|(name, _)| name);
    let word: String = lower.chars().take(20).collect();
    Err(error.with_hint(suggest::hint(&word, &names)))
}

fn wrong_count(text: &str, words: &[&str]) -> ScheduleError {
    let first = words.first().copied().unwrap_or("");
    if !first.starts_with(|c: char| c.is_ascii_digit() || c == '*') {
        let word: String = first.chars().take(20).collect();
        let hint = match suggest::nearest(&word, ["every", "at"]).filter(|_| word.len() > 2) {
            Some(word) => format!("Did you mean \"{word} ...\"?"),
            None => FORMS.to_string(),
        };
        return ScheduleError::new(format!("cannot read schedule {}", quoted(text)))
            .with_hint(hint);
    }
    if first.contains('-') && first.len() >= 10 {
        return ScheduleError::new(format!("cannot read schedule {}", quoted(text)))
            .with_hint(format!("For a single moment write \"at {text}\"."));
    }
    let message = format!("cron expression {} has {} fields", quoted(text), words.len());
    if matches!(words.len(), 6 | 7) {
        return ScheduleError::new(format!("{message}, the last one for the year")).with_hint(
            "There is no field for the year: leave it out, and for single moments write for \
             example \"at 2030-12-31 08:00\".",
        );
    }
    ScheduleError::new(message).with_hint(
        "It needs 5 (minute, hour, day of month, month, day of week) or 6 (second first).",
    )
}

/// Four digits, where some dialects have a year.
fn is_year(word: &str) -> bool {
    word.len() >= 4 && word.bytes().take(4).all(|b| b.is_ascii_digit())
}
