//! Recurrence rules of RFC 5545: `FREQ=MONTHLY;BYDAY=-1FR` from a first day on.
//!
//! The crate `rrule` is not used: it has no way to begin in the middle and goes through all of
//! the past from DTSTART each time it is asked for what comes next (measured ten years after
//! DTSTART: 0.7 ms for a daily rule, 30 ms for an hourly one, 1.2 s for one of every minute; a
//! schedule is asked sixty times to find its latest run), and its runs in the gap of a daylight
//! saving change are not ours. Here a rule begins at the period that holds the instant asked for.
//!
//! Runs are found in wall time that knows no clock changes and made instants at the end: what
//! falls into a gap happens at the first instant after it, once; in an overlap there is one run,
//! in the first pass. That holds for `HOURLY` and finer rules as well: those who want each real
//! hour write `every 1 hour`, or cron.

mod period;
mod read;
mod rule;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use chrono::{DateTime, Duration, NaiveDate, NaiveDateTime, Utc};
use chrono_tz::Tz;

use super::error::{ScheduleError, quoted};
use super::wall::{self, Wall};
use rule::Rule;

/// Periods that are looked at for one run: more than the days after which the calendar repeats.
const LOOKS: u32 = 200_000;
/// Periods that are looked at to find the last run of a rule with COUNT.
const COUNT_LOOKS: u32 = 1_000_000;

/// A rule with its first moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rrule {
    /// As the author wrote it: parts in capitals, joined by semicolons.
    text: String,
    zone: Tz,
    /// DTSTART: nothing runs before it, and it says what the rule does not.
    start: NaiveDateTime,
    rule: Rule,
    /// The last run that UNTIL or COUNT allows.
    until: Option<NaiveDateTime>,
    /// EXDATE.
    left_out: BTreeSet<NaiveDateTime>,
}

impl Rrule {
    /// Reads a rule, perhaps with lines DTSTART, RRULE: and EXDATE. `given` is the zone that its
    /// author named, `zone` the one to be taken else; `from` is DTSTART where the text has none.
    pub(super) fn parse(
        text: &str,
        given: Option<Tz>,
        zone: Tz,
        from: Option<NaiveDateTime>,
    ) -> Result<Rrule, ScheduleError> {
        let lines = read::lines(text, given, zone)?;
        if lines.start.is_some() && from.is_some() {
            return Err(ScheduleError::new("rrule has both \"from\" and DTSTART")
                .with_hint("Leave one of them out: both say from when on the rule holds."));
        }
        let start = lines.start.or(from).ok_or_else(|| {
            ScheduleError::new("rrule has no \"from\"")
                .with_hint("Write for example \"from\": \"2026-01-30 08:00\" beside it.")
        })?;
        let (rule, end) = read::rule(&lines.rule, start, lines.zone)?;
        let mut read = Rrule {
            text: lines.rule,
            zone: lines.zone,
            start,
            rule,
            until: end.until,
            left_out: lines.left_out,
        };
        if let Some(count) = end.count {
            read.until = Some(read.end_of(count)?);
        }
        Ok(read)
    }

    /// The text that [`Rrule::parse`] reads back, together with the zone and the start.
    pub(super) fn text(&self) -> String {
        let mut text = self.text.clone();
        if !self.left_out.is_empty() {
            let times: Vec<String> =
                self.left_out.iter().map(|at| at.format("%Y%m%dT%H%M%S").to_string()).collect();
            text.push_str(&format!("\nEXDATE:{}", times.join(",")));
        }
        text
    }

    pub(super) fn zone(&self) -> Tz {
        self.zone
    }

    pub(super) fn start(&self) -> NaiveDateTime {
        self.start
    }

    /// Whether its runs are days, so that it can say which days are meant.
    pub(super) fn is_of_days(&self) -> bool {
        self.rule.is_of_days()
    }

    /// Whether it says all by itself, so that it means the same from any start on.
    pub(super) fn needs_no_start(text: &str) -> bool {
        let start =
            NaiveDate::from_ymd_opt(1970, 1, 1).unwrap_or_default().and_time(<_>::default());
        let Ok(lines) = read::lines(text, None, Tz::UTC) else { return true };
        lines.start.is_some() || read::says_all(&lines.rule, start)
    }

    /// The first run strictly after `after`; none that is later than `until` is looked for.
    pub(super) fn next(&self, after: DateTime<Utc>, until: DateTime<Utc>) -> Option<DateTime<Utc>> {
        // A wall time may be told of an instant up to a day before or after UTC.
        let limit = until
            .checked_add_signed(Duration::days(2))
            .map_or(NaiveDateTime::MAX, |until| wall::local(self.zone, until));
        let mut from = wall::local(self.zone, after);
        loop {
            let found = self.next_wall_time(from, limit)?;
            from = match wall::resolve(self.zone, found)? {
                Wall::Once(instant) => return Some(instant),
                Wall::Twice { first, .. } if first > after => return Some(first),
                // The second pass of an overlap: the rule has had its run.
                Wall::Twice { first, second, back } => {
                    wall::local(self.zone, back + (second - first)) - Duration::seconds(1)
                }
                Wall::Never { end, .. } if end > after => return Some(end),
                Wall::Never { end, .. } => wall::local(self.zone, end) - Duration::seconds(1),
            };
        }
    }

    /// The first wall time of the rule that is later than `after`.
    pub(super) fn next_wall_time(
        &self,
        after: NaiveDateTime,
        limit: NaiveDateTime,
    ) -> Option<NaiveDateTime> {
        let mut from = following_second(after)?;
        let mut looks = LOOKS;
        loop {
            let found = self.rule.at_or_after(self.start, from, limit, &mut looks)?;
            if self.until.is_some_and(|until| found > until) {
                return None;
            }
            if !self.left_out.contains(&found) {
                return Some(found);
            }
            from = following_second(found)?;
        }
    }

    /// The last of the first `count` runs.
    fn end_of(&self, count: u32) -> Result<NaiveDateTime, ScheduleError> {
        let mut looks = COUNT_LOOKS;
        let mut last = None;
        let mut from = self.start;
        for _ in 0..count {
            let found = self.rule.at_or_after(self.start, from, NaiveDateTime::MAX, &mut looks);
            if looks == 0 {
                return Err(ScheduleError::new(format!(
                    "COUNT={count} of rrule {} leads too far",
                    quoted(&self.text)
                ))
                .with_hint("Give the end as UNTIL, such as UNTIL=20301231."));
            }
            let Some(next) = found.and_then(|found| Some((found, following_second(found)?))) else {
                break;
            };
            (last, from) = (Some(next.0), next.1);
        }
        Ok(last.unwrap_or(self.start - Duration::seconds(1)))
    }
}

/// The whole second after a moment.
fn following_second(after: NaiveDateTime) -> Option<NaiveDateTime> {
    let next = after.and_utc().timestamp().checked_add(1)?;
    Some(DateTime::from_timestamp(next, 0)?.naive_utc())
}
