//! Days in their weeks, months and years.

use chrono::{Datelike, Duration, NaiveDate, Weekday};

use super::rule::{Freq, Rule};

/// The period of a rule that holds `day`, or the next one that its interval leaves in: its first
/// day and the day after its last.
pub(super) fn meant(
    rule: &Rule,
    start: NaiveDate,
    day: NaiveDate,
) -> Option<(NaiveDate, NaiveDate)> {
    let number = |day: NaiveDate| match rule.freq {
        Freq::Yearly => i64::from(day.year()),
        Freq::Monthly => i64::from(day.year()) * 12 + i64::from(day.month0()),
        Freq::Weekly => week_start(day, rule.week_start).num_days_from_ce().into(),
        _ => day.num_days_from_ce().into(),
    };
    let step = if rule.freq == Freq::Weekly { 7 } else { 1 };
    let (current, first) = (number(day), number(start));
    let past = (current - first).rem_euclid(rule.interval.checked_mul(step)?);
    let current = match past {
        0 => current,
        past => current + rule.interval * step - past,
    };
    let begin = |number: i64| match rule.freq {
        Freq::Yearly => NaiveDate::from_ymd_opt(i32::try_from(number).ok()?, 1, 1),
        Freq::Monthly => {
            let year = i32::try_from(number.div_euclid(12)).ok()?;
            NaiveDate::from_ymd_opt(year, u32::try_from(number.rem_euclid(12)).ok()? + 1, 1)
        }
        _ => NaiveDate::from_num_days_from_ce_opt(i32::try_from(number).ok()?),
    };
    Some((begin(current)?, begin(current + step)?))
}

pub(super) fn next_month(day: NaiveDate) -> Option<NaiveDate> {
    match day.month() {
        12 => NaiveDate::from_ymd_opt(day.year().checked_add(1)?, 1, 1),
        month => NaiveDate::from_ymd_opt(day.year(), month + 1, 1),
    }
}

pub(super) fn days_in_month(day: NaiveDate) -> u32 {
    match day.month() {
        4 | 6 | 9 | 11 => 30,
        2 if day.leap_year() => 29,
        2 => 28,
        _ => 31,
    }
}

pub(super) fn days_in_year(day: NaiveDate) -> u32 {
    if day.leap_year() { 366 } else { 365 }
}

/// The number of the week that holds a day, and how many weeks its year has: a week belongs to
/// the year that has four of its days.
pub(super) fn week_of_year(day: NaiveDate, begin: Weekday) -> (u32, u32) {
    let number = |day: NaiveDate| {
        let fourth = week_start(day, begin) + Duration::days(3);
        (fourth.ordinal0() / 7 + 1, fourth.year())
    };
    let (week, year) = number(day);
    // 28 December is in the last week of its year, whatever day weeks begin with.
    let last = NaiveDate::from_ymd_opt(year, 12, 28).map_or(week, |day| number(day).0);
    (week, last)
}

fn week_start(day: NaiveDate, begin: Weekday) -> NaiveDate {
    day - Duration::days(day.weekday().days_since(begin).into())
}
