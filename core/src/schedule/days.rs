//! The two day fields of a cron expression: which days of a month are meant, as a set of bits.
//!
//! Beside the values of any field there are, alone or in a list:
//! - day of month: `L` the last day, `L-3` three days before it, `15W` the weekday (Monday to
//!   Friday) nearest to the 15th within the month, `LW` the last weekday. A day that a month does
//!   not have, as in `31W`, is not replaced by another one;
//! - day of week: `friL` or `5L` the last Friday, `fri#3` or `5#3` the third one;
//! - `?`, which is `*`.

use chrono::{Datelike, NaiveDate};

use super::error::{ScheduleError, quoted};
use super::field::{self, DAY_OF_MONTH, DAY_OF_WEEK, Word};

/// The same weekday in each week, from the first day on.
const EACH_WEEK: u64 = 1 | 1 << 7 | 1 << 14 | 1 << 21 | 1 << 28;

/// Bits are days of the month, days before its last one, or weekdays from Sunday on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Days {
    dates: u64,
    from_end: u64,
    near_dates: u64,
    near_from_end: u64,
    weekdays: u64,
    /// One set of weekdays for each of the first to the fifth of a month.
    nth: [u64; 5],
    last: u64,
    /// Both fields are restricted, which cron joins by OR.
    either: bool,
}

impl Days {
    pub(super) fn parse(of_month: Word, of_week: Word) -> Result<Days, ScheduleError> {
        let star = |word: Word| word.text.starts_with(['*', '?']);
        let mut days = Days { either: !star(of_month) && !star(of_week), ..Days::default() };
        of_month.each_part(|part| days.add_dates(part))?;
        of_week.each_part(|part| days.add_weekdays(part))?;
        days.weekdays = field::sunday_first(days.weekdays);
        Ok(days)
    }

    /// The days of that month, bits 1 to 31; `None` outside of the calendar.
    pub(super) fn in_month(&self, year: i32, month: u32) -> Option<u64> {
        let first = NaiveDate::from_ymd_opt(year, month, 1)?;
        let length = u32::from(first.num_days_in_month());
        let by_month = self.by_month(first.weekday().num_days_from_sunday(), length);
        let by_week = self.by_week(first.weekday().num_days_from_sunday(), length);
        let days = if self.either { by_month | by_week } else { by_month & by_week };
        // Day 0 is none, and neither is what lies beyond the month's end.
        Some(days & ((1 << (length + 1)) - 2))
    }

    fn by_month(&self, first_weekday: u32, length: u32) -> u64 {
        let counted_back =
            bits(self.from_end).filter(|n| *n < length).fold(0, |set, n| set | 1 << (length - n));
        let near_back = bits(self.near_from_end).filter(|n| *n < length).map(|n| length - n);
        bits(self.near_dates)
            .filter(|day| *day <= length)
            .chain(near_back)
            .map(|day| nearest_weekday(day, first_weekday, length))
            .fold(self.dates | counted_back, |set, day| set | 1 << day)
    }

    fn by_week(&self, first_weekday: u32, length: u32) -> u64 {
        let first = |weekday: u32| 1 + (weekday + 7 - first_weekday) % 7;
        let mut set = bits(self.weekdays).fold(0, |set, day| set | EACH_WEEK << first(day));
        for (week, weekdays) in (0u32..).zip(self.nth) {
            set = bits(weekdays).fold(set, |set, day| set | 1 << (first(day) + 7 * week));
        }
        bits(self.last).fold(set, |set, day| {
            let fifth = first(day) + 28;
            set | 1 << if fifth <= length { fifth } else { fifth - 7 }
        })
    }

    fn add_dates(&mut self, part: &str) -> Result<(), ScheduleError> {
        let upper = part.to_ascii_uppercase();
        if upper == "?" {
            return self.add_dates("*");
        }
        if upper.contains('#') {
            return Err(unreadable(&DAY_OF_MONTH, part).with_hint(
                "\"#\" belongs to the day of week: \"fri#3\" is the third Friday of a month.",
            ));
        }
        if !upper.contains(['L', 'W']) {
            self.dates |= field::parse_part(part, &DAY_OF_MONTH)?;
            return Ok(());
        }
        let (day, near) = match upper.strip_suffix('W') {
            Some(day) => (day, true),
            None => (upper.as_str(), false),
        };
        let back = match day.strip_prefix('L') {
            Some("") => Some(0),
            Some(back) => match back.strip_prefix('-').and_then(field::number) {
                Some(back @ 0..=30) => Some(back),
                Some(_) => {
                    return Err(ScheduleError::new(format!(
                        "day of month {} is out of range",
                        quoted(part)
                    ))
                    .with_hint("Days before the last one go from L-0 to L-30."));
                }
                None => return Err(unreadable_date(part)),
            },
            None => None,
        };
        let (set, bit) = match (back, near) {
            (Some(back), true) => (&mut self.near_from_end, back),
            (Some(back), false) => (&mut self.from_end, back),
            (None, true) if field::number(day).is_some() => {
                (&mut self.near_dates, field::parse_value(day, &DAY_OF_MONTH)?)
            }
            (None, _) => return Err(unreadable_date(part)),
        };
        *set |= 1 << bit;
        Ok(())
    }

    fn add_weekdays(&mut self, part: &str) -> Result<(), ScheduleError> {
        if part == "?" {
            return self.add_weekdays("*");
        }
        if let Some((day, count)) = part.split_once('#') {
            let day = field::parse_value(day, &DAY_OF_WEEK)?;
            let Some(nth @ 1..=5) = field::number(count) else {
                return Err(unreadable(&DAY_OF_WEEK, part).with_hint(
                    "After \"#\" stands 1 to 5: \"fri#3\" is the third Friday of a month, \"friL\" \
                     the last one.",
                ));
            };
            if let Some(set) = self.nth.get_mut(nth as usize - 1) {
                *set |= 1 << (day % 7);
            }
            return Ok(());
        }
        let Some(day) = part.strip_suffix(['L', 'l']) else {
            let stem = part.strip_suffix(['W', 'w']).unwrap_or("");
            if field::number(stem).is_some() || stem.eq_ignore_ascii_case("l") {
                return Err(unreadable(&DAY_OF_WEEK, part)
                    .with_hint("\"W\" belongs to the day of month: \"15W\" or \"LW\"."));
            }
            self.weekdays |= field::parse_part(part, &DAY_OF_WEEK)?;
            return Ok(());
        };
        if day.is_empty() || day.contains(['-', '/', '*']) {
            return Err(unreadable(&DAY_OF_WEEK, part).with_hint(
                "\"L\" follows one day here: \"friL\" is the last Friday of a month. The month's \
                 last day is \"L\" in the day of month.",
            ));
        }
        self.last |= 1 << (field::parse_value(day, &DAY_OF_WEEK)? % 7);
        Ok(())
    }
}

/// How the author's text is written in the normal form: small letters, but for `L` and `W`, which
/// could be taken for digits.
pub(super) fn normal(of_month: &str, of_week: &str) -> (String, String) {
    let week: Vec<String> = of_week
        .to_ascii_lowercase()
        .split(',')
        .map(|part| match part.strip_suffix('l') {
            Some(day) => format!("{day}L"),
            None => part.to_string(),
        })
        .collect();
    (of_month.to_ascii_uppercase(), week.join(","))
}

/// Saturdays and Sundays give way to the nearest weekday of the same month.
fn nearest_weekday(day: u32, first_weekday: u32, length: u32) -> u32 {
    match (first_weekday + day - 1) % 7 {
        6 if day == 1 => 3,
        6 => day - 1,
        0 if day == length => day - 2,
        0 => day + 1,
        _ => day,
    }
}

fn bits(set: u64) -> impl Iterator<Item = u32> {
    let mut rest = set;
    std::iter::from_fn(move || {
        let bit = rest.trailing_zeros();
        (rest != 0).then(|| {
            rest &= rest - 1;
            bit
        })
    })
}

fn unreadable(range: &field::Range, part: &str) -> ScheduleError {
    ScheduleError::new(format!("cannot read {} {}", range.name, quoted(part)))
}

fn unreadable_date(part: &str) -> ScheduleError {
    unreadable(&DAY_OF_MONTH, part).with_hint(
        "\"L\" and \"W\" stand in no range and no step: \"L\" is the last day, \"L-3\" three days \
         before it, \"15W\" the weekday nearest to the 15th, \"LW\" the last weekday.",
    )
}
