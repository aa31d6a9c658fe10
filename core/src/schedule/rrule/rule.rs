//! Which wall times a rule means.

use chrono::{
    DateTime, Datelike, Duration, NaiveDate, NaiveDateTime, NaiveTime, Timelike, Weekday,
};

use super::period;

/// The years in which runs are looked for.
const LAST_YEAR: i32 = 9999;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Freq {
    Secondly,
    Minutely,
    Hourly,
    Daily,
    Weekly,
    Monthly,
    Yearly,
}

/// A set of small numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bits(u64);

impl Bits {
    pub(super) fn only(value: u32) -> Bits {
        Bits::default().with(value)
    }

    pub(super) fn below(end: u32) -> Bits {
        Bits((1 << end) - 1)
    }

    pub(super) fn with(self, value: u32) -> Bits {
        Bits(self.0 | 1_u64.checked_shl(value).unwrap_or(0))
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn has(self, value: u32) -> bool {
        self.0.checked_shr(value).unwrap_or(0) & 1 == 1
    }

    fn at_least(self, from: u32) -> Option<u32> {
        let rest = self.0.checked_shr(from).unwrap_or(0);
        (rest != 0).then(|| from + rest.trailing_zeros())
    }

    fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    fn nth(self, index: usize) -> Option<u32> {
        let mut rest = self.0;
        for _ in 0..index {
            rest &= rest.wrapping_sub(1);
        }
        (rest != 0).then(|| rest.trailing_zeros())
    }
}

/// Times of day: every hour with every minute with every second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) hours: Bits,
    pub(super) minutes: Bits,
    pub(super) seconds: Bits,
}

impl Times {
    fn at_least(&self, from: NaiveTime) -> Option<NaiveTime> {
        let (hour, minute, second) = (from.hour(), from.minute(), from.second());
        let (first_minute, first_second) = (self.minutes.at_least(0)?, self.seconds.at_least(0)?);
        if self.hours.has(hour) {
            if self.minutes.has(minute)
                && let Some(second) = self.seconds.at_least(second)
            {
                return NaiveTime::from_hms_opt(hour, minute, second);
            }
            if let Some(minute) = self.minutes.at_least(minute + 1) {
                return NaiveTime::from_hms_opt(hour, minute, first_second);
            }
        }
        NaiveTime::from_hms_opt(self.hours.at_least(hour + 1)?, first_minute, first_second)
    }

    fn len(&self) -> usize {
        self.hours.len() * self.minutes.len() * self.seconds.len()
    }

    fn nth(&self, index: usize) -> Option<NaiveTime> {
        let (minutes, seconds) = (self.minutes.len(), self.seconds.len());
        NaiveTime::from_hms_opt(
            self.hours.nth(index / seconds / minutes)?,
            self.minutes.nth(index / seconds % minutes)?,
            self.seconds.nth(index % seconds)?,
        )
    }
}

/// A rule with what its start adds to it. Empty means any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) freq: Freq,
    pub(super) interval: i64,
    pub(super) week_start: Weekday,
    pub(super) months: Bits,
    pub(super) weeks: Vec<i32>,
    pub(super) year_days: Vec<i32>,
    pub(super) month_days: Vec<i32>,
    pub(super) weekdays: Bits,
    /// Such as the last Friday: of the month, or of the year in a yearly rule without BYMONTH.
    pub(super) nth: Vec<(i32, Weekday)>,
    pub(super) times: Times,
    /// Which of the runs of a period are meant, from 1, or from -1 backwards.
    pub(super) positions: Vec<i32>,
}

impl Rule {
    pub(super) fn is_of_days(&self) -> bool {
        self.freq >= Freq::Daily
    }

    /// The first wall time of the rule that is `from` or later, and not on a day after that of
    /// `limit`; `looks` is how many more periods may be looked at.
    pub(super) fn at_or_after(
        &self,
        start: NaiveDateTime,
        from: NaiveDateTime,
        limit: NaiveDateTime,
        looks: &mut u32,
    ) -> Option<NaiveDateTime> {
        let from = from.max(start);
        match (self.is_of_days(), self.positions.is_empty()) {
            (true, true) => self.on_days(start, from, limit, looks),
            (true, false) => self.in_periods(start, from, limit, looks),
            (false, _) => self.in_units(start, from, limit, looks),
        }
    }

    /// Day after day, the periods that are not meant and other months left out at once.
    fn on_days(
        &self,
        start: NaiveDateTime,
        from: NaiveDateTime,
        limit: NaiveDateTime,
        looks: &mut u32,
    ) -> Option<NaiveDateTime> {
        let (mut day, mut earliest) = (from.date(), from.time());
        loop {
            take(looks)?;
            if day > limit.date() || day.year() > LAST_YEAR {
                return None;
            }
            let mut next = period::meant(self, start.date(), day)?.0.max(day);
            if next == day {
                if !self.has_month(day) {
                    next = period::next_month(day)?;
                } else if self.has_day(day)
                    && let Some(time) = self.times.at_least(earliest)
                {
                    return Some(day.and_time(time));
                } else {
                    next = day.succ_opt()?;
                }
            }
            (day, earliest) = (next, NaiveTime::MIN);
        }
    }

    /// Period after period, for rules that count within each.
    fn in_periods(
        &self,
        start: NaiveDateTime,
        from: NaiveDateTime,
        limit: NaiveDateTime,
        looks: &mut u32,
    ) -> Option<NaiveDateTime> {
        let mut day = from.date();
        loop {
            let (first, end) = period::meant(self, start.date(), day)?;
            if first > limit.date() || first.year() > LAST_YEAR {
                return None;
            }
            let mut days = Vec::new();
            let mut day_of_it = first;
            while day_of_it < end {
                take(looks)?;
                if self.has_month(day_of_it) && self.has_day(day_of_it) {
                    days.push(day_of_it);
                }
                day_of_it = day_of_it.succ_opt()?;
            }
            if let Some(found) = self.at_positions(&days, &self.times, from) {
                return Some(found);
            }
            day = end;
        }
    }

    /// Hour after hour, minute after minute or second after second; what cannot hold a run is
    /// left out at once.
    fn in_units(
        &self,
        start: NaiveDateTime,
        from: NaiveDateTime,
        limit: NaiveDateTime,
        looks: &mut u32,
    ) -> Option<NaiveDateTime> {
        let unit = match self.freq {
            Freq::Hourly => 3600,
            Freq::Minutely => 60,
            _ => 1,
        };
        let number = |at: NaiveDateTime| at.and_utc().timestamp().div_euclid(unit);
        let first = number(start);
        let mut current = number(from);
        loop {
            take(looks)?;
            let past = (current - first).rem_euclid(self.interval);
            if past > 0 {
                current = current.checked_add(self.interval - past)?;
            }
            let at = DateTime::from_timestamp(current.checked_mul(unit)?, 0)?.naive_utc();
            if at.date() > limit.date() || at.year() > LAST_YEAR {
                return None;
            }
            current = match self.free_until(at)? {
                Some(later) => {
                    let later = number(later);
                    later.max(current + 1)
                }
                None => {
                    let times = self.times_in(at.time());
                    let found = match self.positions.is_empty() {
                        true => {
                            let earliest = from.max(at).time();
                            times.at_least(earliest).map(|time| at.date().and_time(time))
                        }
                        false => self.at_positions(&[at.date()], &times, from),
                    };
                    if found.is_some() {
                        return found;
                    }
                    current + 1
                }
            };
        }
    }

    /// When the month, day, hour or minute of `at` is not meant: the beginning of the next one.
    fn free_until(&self, at: NaiveDateTime) -> Option<Option<NaiveDateTime>> {
        let day = at.date();
        let midnight = |day: NaiveDate| Some(day.and_time(NaiveTime::MIN));
        Some(if !self.has_month(day) {
            midnight(period::next_month(day)?)
        } else if !self.has_day(day) {
            midnight(day.succ_opt()?)
        } else if !self.times.hours.has(at.hour()) {
            let hour = day.and_hms_opt(at.hour(), 0, 0)?;
            hour.checked_add_signed(Duration::hours(1))
        } else if self.freq < Freq::Hourly && !self.times.minutes.has(at.minute()) {
            let minute = day.and_hms_opt(at.hour(), at.minute(), 0)?;
            minute.checked_add_signed(Duration::minutes(1))
        } else if self.freq < Freq::Minutely && !self.times.seconds.has(at.second()) {
            at.checked_add_signed(Duration::seconds(1))
        } else {
            None
        })
    }

    /// The times of the period that begins at `at`.
    fn times_in(&self, at: NaiveTime) -> Times {
        let mut times = Times { hours: Bits::only(at.hour()), ..self.times };
        if self.freq < Freq::Hourly {
            times.minutes = Bits::only(at.minute());
        }
        if self.freq < Freq::Minutely {
            times.seconds = Bits::only(at.second());
        }
        times
    }

    /// Of a period's runs the first at one of the positions that is `from` or later.
    fn at_positions(
        &self,
        days: &[NaiveDate],
        times: &Times,
        from: NaiveDateTime,
    ) -> Option<NaiveDateTime> {
        let each = times.len();
        let all = days.len() * each;
        let run = |position: &i32| {
            let away = position.unsigned_abs() as usize;
            let index = if *position > 0 { away.checked_sub(1)? } else { all.checked_sub(away)? };
            Some(days.get(index / each)?.and_time(times.nth(index % each)?))
        };
        self.positions.iter().filter_map(run).filter(|run| *run >= from).min()
    }

    fn has_month(&self, day: NaiveDate) -> bool {
        self.months.is_empty() || self.months.has(day.month())
    }

    /// Whether a day of a month that is meant is meant itself.
    fn has_day(&self, day: NaiveDate) -> bool {
        let listed = |list: &[i32], number: u32, count: u32| {
            let (number, count) = (number as i32, count as i32);
            list.is_empty() || list.iter().any(|n| *n == number || *n == number - count - 1)
        };
        listed(&self.month_days, day.day(), period::days_in_month(day))
            && listed(&self.year_days, day.ordinal(), period::days_in_year(day))
            && self.has_weekday(day)
            && (self.weeks.is_empty() || {
                let (week, weeks) = period::week_of_year(day, self.week_start);
                listed(&self.weeks, week, weeks)
            })
    }

    fn has_weekday(&self, day: NaiveDate) -> bool {
        let weekday = day.weekday();
        if self.weekdays.is_empty() && self.nth.is_empty() {
            return true;
        }
        if self.weekdays.has(weekday.num_days_from_monday()) {
            return true;
        }
        let of_year = self.freq == Freq::Yearly && self.months.is_empty();
        let (number, count) = match of_year {
            true => (day.ordinal(), period::days_in_year(day)),
            false => (day.day(), period::days_in_month(day)),
        };
        let forward = (number as i32 - 1) / 7 + 1;
        let backward = -((count - number) as i32 / 7 + 1);
        self.nth.iter().any(|(n, of)| *of == weekday && (*n == forward || *n == backward))
    }
}

fn take(looks: &mut u32) -> Option<()> {
    *looks = looks.checked_sub(1)?;
    Some(())
}
