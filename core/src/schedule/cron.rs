//! Cron expressions: which wall times are meant, and the instants at which they happen.

use chrono::{DateTime, Datelike, Duration, NaiveDate, NaiveDateTime, Timelike, Utc};
use chrono_tz::Tz;

use super::FORMS;
use super::error::{ScheduleError, quoted};
use super::field::{DAY_OF_MONTH, DAY_OF_WEEK, Field, HOUR, MINUTE, MONTH, SECOND};
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
    second: Field,
    minute: Field,
    hour: Field,
    day_of_month: Field,
    month: Field,
    day_of_week: Field,
}

impl Cron {
    pub(super) fn parse(text: &str, zone: Tz) -> Result<Cron, ScheduleError> {
        let text = expand(text)?;
        let mut words: Vec<&str> = text.split_whitespace().collect();
        if words.iter().any(|word| word.contains('=')) {
            return Err(ScheduleError::new(format!("cannot read schedule {}", quoted(&text)))
                .with_hint("Give the time zone in time_zone, not in the expression."));
        }
        match words.len() {
            5 => words.insert(0, "0"),
            6 => {}
            count => return Err(wrong_count(&text, count)),
        }
        let field = |at: usize, range| Field::parse(words.get(at).copied().unwrap_or("*"), range);
        Ok(Cron {
            second: field(0, &SECOND)?,
            minute: field(1, &MINUTE)?,
            hour: field(2, &HOUR)?,
            day_of_month: field(3, &DAY_OF_MONTH)?,
            month: field(4, &MONTH)?,
            day_of_week: field(5, &DAY_OF_WEEK)?,
            text: text.split_whitespace().collect::<Vec<_>>().join(" ").to_ascii_lowercase(),
            zone,
        })
    }

    /// Normalised: macros expanded, single spaces, small letters.
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
        if !self.follows_clock() {
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
                Wall::Twice { second, .. } if self.follows_clock() => return Some(second),
                // The second pass of an overlap: it has had its run.
                Wall::Twice { first, second, back } => {
                    wall::local(self.zone, back + (second - first))
                }
                Wall::Never { end, length } if self.makes_up(length) && end >= start => {
                    return Some(end);
                }
                Wall::Never { end, .. } => {
                    wall::local(self.zone, end).max(found + Duration::seconds(1))
                }
            };
        }
    }

    /// Whether the hours are "any", so that an overlap has runs in both passes.
    fn follows_clock(&self) -> bool {
        self.hour.star || self.every_hour()
    }

    fn every_hour(&self) -> bool {
        self.hour.len() == 24
    }

    /// Whether a run in a gap of that length is moved to its end.
    fn makes_up(&self, gap: Duration) -> bool {
        !self.every_hour() || gap.num_seconds() % 3600 != 0
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

    /// The first day that is `from` or later; whole months are skipped at once.
    fn first_day(&self, from: NaiveDate) -> Option<NaiveDate> {
        let mut day = from;
        let last_year = from.year().checked_add(HORIZON)?;
        while day.year() <= last_year {
            if !self.month.has(day.month()) {
                day = first_of_next_month(day)?;
            } else if self.has_day(day) {
                return Some(day);
            } else {
                day = day.succ_opt()?;
            }
        }
        None
    }

    /// Day of month and day of week are joined by OR when both are restricted, as cron has it.
    fn has_day(&self, day: NaiveDate) -> bool {
        let by_month = self.day_of_month.has(day.day());
        let by_week = self.day_of_week.has(day.weekday().num_days_from_sunday());
        let either = !self.day_of_month.star && !self.day_of_week.star;
        self.month.has(day.month())
            && if either { by_month || by_week } else { by_month && by_week }
    }
}

fn first_of_next_month(day: NaiveDate) -> Option<NaiveDate> {
    match day.month() {
        12 => NaiveDate::from_ymd_opt(day.year().checked_add(1)?, 1, 1),
        month => NaiveDate::from_ymd_opt(day.year(), month + 1, 1),
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

fn wrong_count(text: &str, count: usize) -> ScheduleError {
    let error = |message: String| ScheduleError::new(message);
    let first = text.split_whitespace().next().unwrap_or("");
    if !first.starts_with(|c: char| c.is_ascii_digit() || c == '*') {
        let word: String = first.chars().take(20).collect();
        let hint = match suggest::nearest(&word, ["every", "at"]).filter(|_| word.len() > 2) {
            Some(word) => format!("Did you mean \"{word} ...\"?"),
            None => FORMS.to_string(),
        };
        return error(format!("cannot read schedule {}", quoted(text))).with_hint(hint);
    }
    if first.contains('-') && first.len() >= 10 {
        return error(format!("cannot read schedule {}", quoted(text)))
            .with_hint(format!("For a single moment write \"at {text}\"."));
    }
    let message = format!("cron expression {} has {count} fields", quoted(text));
    error(message).with_hint(
        "It needs 5 (minute, hour, day of month, month, day of week) or 6 (second first); there \
         is no field for the year.",
    )
}
