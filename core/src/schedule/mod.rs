//! When something is due: cron expressions, intervals and single moments, in the wall time of a
//! zone.
//!
//! The `cron` crate is not used to run: its weekdays are 1 (Sunday) to 7, it wants a seconds
//! field, it joins day-of-month and day-of-week by AND where cron has OR, and it leaves out what
//! falls into the gap of a daylight saving change. Its users would lose a day where ours must
//! not. The crate `croner` has the days and makes up for the gap, but only where the time of day is
//! a single value: `0 2,14 * * *` loses a run there, and has one too many in the overlap. Both serve
//! as oracles in the tests, for the part that is ours, too.
//!
//! The rules on the two days of a daylight saving change:
//! - a run that falls into the gap happens at the first instant after it, once;
//! - a schedule that names its hours (`30 1 * * *`, `0 8-18 * * *`) runs once in an overlap, at
//!   the first of the two passes;
//! - a schedule whose hours are `*` or a step of it (`*/5 * * * *`, `0 */2 * * *`) follows the
//!   wall clock through both passes, so that `*/5` goes on every five real minutes. If it runs
//!   in every hour and the gap is of whole hours, no run is moved to the end of the gap: the
//!   clock's next hour has one of its own, one real hour after the last;
//! - in JSON, `"gap": "skip"` leaves out what falls into the gap, and `"overlap_hour"` says once
//!   or twice for any schedule.
//!
//! Day of month and day of week are joined by OR when both are restricted (`0 0 13 * fri` is each
//! 13th and each Friday), as cron has it; a field that begins with `*` or `?` is not restricted.

mod calendar;
mod clock;
mod cron;
mod days;
mod duration;
mod error;
mod except;
mod field;
mod joined;
mod json;
mod look;
mod moment;
mod rrule;
mod wall;
mod window;
mod window_json;
mod zone;

#[cfg(test)]
mod joined_tests;
#[cfg(test)]
mod tests;

use std::fmt;

use chrono::{DateTime, Datelike, Duration, Utc};

pub use self::calendar::Calendar;
use self::cron::Cron;
pub use self::duration::{format_duration, parse_duration};
pub use self::error::ScheduleError;
use self::except::Except;
use self::joined::Joined;
pub use self::json::{Around, calendars};
use self::rrule::Rrule;
pub use self::window_json::Lookup;
pub use self::zone::parse_zone;

/// Longest schedule text accepted, in bytes.
pub const MAX_TEXT: usize = 1000;

/// Longest schedule accepted as JSON, in bytes.
pub const MAX_JSON: usize = 100_000;

/// Years outside of -YEARS..YEARS are beyond what calendar arithmetic can do.
const YEARS: i32 = 200_000;

/// A parsed schedule: answers "when next?".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    kind: Kind,
    /// When it does not run.
    except: Option<Box<Except>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Cron(Cron),
    /// Runs at `from` (the Unix epoch where none is given) plus a whole number of steps.
    Every {
        step: Duration,
        from: Option<DateTime<Utc>>,
    },
    /// In their order, none twice.
    At(Vec<DateTime<Utc>>),
    Rrule(Box<Rrule>),
    Any(Joined),
}

impl From<Kind> for Schedule {
    fn from(kind: Kind) -> Schedule {
        Schedule { kind, except: None }
    }
}

impl Schedule {
    /// Reads a schedule:
    /// - `*/5 * * * *` (minute, hour, day of month, month, day of week), six fields with seconds
    ///   first, or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`; days may be `L`, `L-3`,
    ///   `LW`, `15W`, `friL` and `fri#3`;
    /// - `every 90 s`, `every 1 hour 30 min`, counted from the Unix epoch, or from the first run
    ///   in `every 8 hours from 2026-01-01 06:00`;
    /// - `at 2026-03-01T10:00:00Z` (RFC 3339), or `at 2026-03-01 10:00` in `zone`.
    ///
    /// The error says which part is wrong and what would be right.
    pub fn parse(text: &str, zone: chrono_tz::Tz) -> Result<Schedule, ScheduleError> {
        if text.len() > MAX_TEXT {
            return Err(ScheduleError::new(format!(
                "schedule of {} bytes is longer than the {MAX_TEXT} bytes allowed",
                text.len()
            )));
        }
        let text = text.trim();
        let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let kind = match word.to_ascii_lowercase().as_str() {
            "" => return Err(empty()),
            "every" | "@every" => every(rest, zone)?,
            "at" | "@at" => Kind::At(vec![moment::parse(rest, zone)?]),
            _ => Kind::Cron(Cron::parse(text, zone)?),
        };
        Ok(kind.into())
    }

    /// Whether it is a cron expression, rather than an interval or a moment.
    pub fn is_cron(&self) -> bool {
        matches!(self.kind, Kind::Cron(_))
    }

    /// The first instant strictly after `after`; `None` when there is none, as with an `at` that
    /// has passed or a 30 February, or when none is found that is not left out.
    pub fn next(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.next_until(after, DateTime::<Utc>::MAX_UTC)
    }

    /// The same for those who want none that is later than `until`: it is not looked for.
    fn next_until(&self, after: DateTime<Utc>, until: DateTime<Utc>) -> Option<DateTime<Utc>> {
        if after.year() >= YEARS {
            return None;
        }
        let after = if after.year() <= -YEARS {
            DateTime::UNIX_EPOCH.with_year(-YEARS + 1)?
        } else {
            after
        };
        match &self.except {
            None => self.kind.next(after, until).filter(|found| *found <= until),
            Some(except) => except.next(after, until, |after| self.kind.next(after, until)),
        }
    }
}

impl Kind {
    /// The first instant after `after`; one that is later than `until` is of no use.
    fn next(&self, after: DateTime<Utc>, until: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            Kind::Cron(cron) => cron.next(after),
            Kind::Every { step, from } => next_step(*step, *from, after),
            Kind::At(instants) => {
                instants.get(instants.partition_point(|instant| *instant <= after)).copied()
            }
            Kind::Rrule(rule) => rule.next(after, until),
            Kind::Any(parts) => parts.next(after, until),
        }
    }
}

impl fmt::Display for Schedule {
    /// The text that parses to the same schedule (in the same zone); the JSON of what has no other
    /// form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            _ if self.except.is_some() => write!(f, "{}", self.to_json()),
            Kind::Cron(cron) => f.write_str(cron.text()),
            Kind::Every { step, from } => {
                write!(f, "every {}", format_duration(*step))?;
                match from {
                    Some(from) => write!(f, " from {}", moment::format(*from)),
                    None => Ok(()),
                }
            }
            Kind::At(instants) => match instants.as_slice() {
                [instant] => write!(f, "at {}", moment::format(*instant)),
                _ => write!(f, "{}", self.to_json()),
            },
            Kind::Rrule(_) | Kind::Any(_) => write!(f, "{}", self.to_json()),
        }
    }
}

/// `90 s` or `8 hours from 2026-01-01 06:00`.
fn every(text: &str, zone: chrono_tz::Tz) -> Result<Kind, ScheduleError> {
    // Only ASCII changes its case, so byte positions stay the same.
    let (length, from) = match text.to_ascii_lowercase().find(" from ") {
        Some(at) => (&text[..at], Some(moment::parse(&text[at + 6..], zone)?)),
        None => (text, None),
    };
    Ok(Kind::Every { step: step(length)?, from })
}

/// An interval fit to be repeated.
fn step(text: &str) -> Result<Duration, ScheduleError> {
    let step = parse_duration(text)?;
    if step < Duration::seconds(1) {
        return Err(ScheduleError::new(format!("interval \"{}\" is too short", text.trim()))
            .with_hint("The shortest interval of a schedule is 1 second."));
    }
    Ok(step)
}

/// Counted from the anchor, never from the last run, so that it cannot drift.
fn next_step(
    step: Duration,
    from: Option<DateTime<Utc>>,
    after: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    if let Some(from) = from
        && after < from
    {
        return Some(from);
    }
    let anchor = i128::from(from.unwrap_or_default().timestamp_micros());
    let step = i128::from(step.num_microseconds()?).max(1);
    let past = i128::from(after.timestamp_micros()) - anchor;
    let next = anchor + (past.div_euclid(step) + 1) * step;
    DateTime::from_timestamp_micros(i64::try_from(next).ok()?)
}

fn empty() -> ScheduleError {
    ScheduleError::new("schedule is empty").with_hint(FORMS)
}

/// What a schedule can look like.
const FORMS: &str = "Write a cron expression such as \"*/5 * * * *\", an interval such as \
                     \"every 90 s\", or a moment such as \"at 2030-01-31T08:00:00Z\".";
