//! Stretches of time by the wall clock: what a schedule leaves out, or keeps to.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Datelike, Duration, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use chrono_tz::Tz;

use super::calendar::Calendar;
use super::rrule::Rrule;
use super::wall::{self, Wall};

/// One or several conditions on a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Window {
    /// From one wall time to before another.
    Span {
        from: NaiveDateTime,
        until: NaiveDateTime,
    },
    /// Certain days, and days (month, day) of each year.
    Days {
        days: BTreeSet<NaiveDate>,
        yearly: BTreeSet<(u32, u32)>,
    },
    /// Days of the week, as bits from Monday.
    Weekdays(u8),
    /// Times of day, each from one to before another; one that ends first goes past midnight.
    Hours(Vec<(NaiveTime, NaiveTime)>),
    /// The days on which a rule has a run.
    Rule(Box<Rrule>),
    Calendar(Arc<Calendar>),
    /// All of these at once.
    All(Vec<Window>),
}

/// A moment as a zone's clocks show it.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    instant: DateTime<Utc>,
    zone: Tz,
    local: NaiveDateTime,
}

impl Moment {
    pub(super) fn new(instant: DateTime<Utc>, zone: Tz) -> Moment {
        Moment { instant, zone, local: wall::local(zone, instant) }
    }

    fn in_zone(self, zone: Option<Tz>) -> Moment {
        match zone {
            Some(zone) if zone != self.zone => Moment::new(self.instant, zone),
            _ => self,
        }
    }

    /// The first instant at which the clocks have gone on to `time`, or have been put back behind
    /// this moment.
    fn reach(self, time: NaiveDateTime) -> Option<DateTime<Utc>> {
        let reached = wall::first_instant(self.zone, time)?;
        match wall::resolve(self.zone, self.local)? {
            Wall::Twice { first, back, .. } if first == self.instant => Some(reached.min(back)),
            _ => Some(reached),
        }
    }
}

impl Window {
    pub(super) fn covers(&self, at: Moment) -> bool {
        let (day, time) = (at.local.date(), at.local.time());
        match self {
            Window::Span { from, until } => (*from..*until).contains(&at.local),
            Window::Days { days, yearly } => {
                days.contains(&day) || yearly.contains(&(day.month(), day.day()))
            }
            Window::Weekdays(bits) => bits >> day.weekday().num_days_from_monday() & 1 == 1,
            Window::Hours(spans) => spans.iter().any(|(from, until)| match from < until {
                true => (*from..*until).contains(&time),
                false => time >= *from || time < *until,
            }),
            Window::Rule(rule) => {
                let midnight = day.and_time(NaiveTime::MIN);
                rule_day(rule, midnight, midnight) == Some(day)
            }
            Window::Calendar(calendar) => calendar.covers(at.in_zone(calendar.zone)),
            Window::All(windows) => windows.iter().all(|window| window.covers(at)),
        }
    }

    /// An instant up to which [`Window::covers`] answers as it does at this moment; `None`: for
    /// ever.
    pub(super) fn change(&self, at: Moment) -> Option<DateTime<Utc>> {
        let day = at.local.date();
        let midnight = || Some(day.succ_opt()?.and_time(NaiveTime::MIN));
        let time = match self {
            Window::Span { from, until } => [*from, *until].into_iter().find(|t| *t > at.local),
            Window::Days { .. } | Window::Rule(_) if self.covers(at) => midnight(),
            Window::Days { days, yearly } => next_day(days, yearly, day),
            Window::Rule(rule) => rule_day(rule, midnight()?, NaiveDateTime::MAX)
                .map(|day| day.and_time(NaiveTime::MIN)),
            Window::Weekdays(_) => midnight(),
            Window::Hours(spans) => {
                let bounds = spans.iter().flat_map(|(from, until)| [*from, *until]);
                match bounds.filter(|bound| *bound > at.local.time()).min() {
                    Some(bound) => Some(day.and_time(bound)),
                    None => midnight(),
                }
            }
            Window::Calendar(calendar) => return calendar.change(at.in_zone(calendar.zone)),
            Window::All(windows) => return first_change(windows, at),
        };
        at.reach(time?)
    }
}

/// The first instant at which one of several windows may answer otherwise.
pub(super) fn first_change(windows: &[Window], at: Moment) -> Option<DateTime<Utc>> {
    windows.iter().filter_map(|window| window.change(at)).min()
}

/// The first day at `from` or later, and not after the day of `limit`, on which a rule has a run.
fn rule_day(rule: &Rrule, from: NaiveDateTime, limit: NaiveDateTime) -> Option<NaiveDate> {
    let before = from.checked_sub_signed(Duration::seconds(1))?;
    Some(rule.next_wall_time(before, limit)?.date())
}

/// The beginning of the first of the days after `day`.
fn next_day(
    days: &BTreeSet<NaiveDate>,
    yearly: &BTreeSet<(u32, u32)>,
    day: NaiveDate,
) -> Option<NaiveDateTime> {
    let tomorrow = day.succ_opt()?;
    let single = days.range(tomorrow..).next().copied();
    // 29 February comes back after at most 8 years.
    let of_year = |(month, number): &(u32, u32)| {
        (0..=8)
            .filter_map(|years| NaiveDate::from_ymd_opt(day.year() + years, *month, *number))
            .find(|found| *found >= tomorrow)
    };
    let each_year = yearly.iter().filter_map(of_year).min();
    let first = [single, each_year].into_iter().flatten().min()?;
    Some(first.and_time(NaiveTime::MIN))
}
