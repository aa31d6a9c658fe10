//! `next` against a walk over every second, with the meaning of the fields said once more and
//! differently: by trying a value against the text.

use chrono::{NaiveDate, Offset, TimeZone};

use super::random::Random;
use super::*;

/// An expression of six fields and its options.
struct Meaning {
    fields: [String; 6],
    gap: Option<&'static str>,
    overlap_hour: Option<&'static str>,
}

impl Meaning {
    fn json(&self) -> serde_json::Value {
        json!({"cron": self.fields.join(" "), "gap": self.gap, "overlap_hour": self.overlap_hour})
    }

    fn has_day(&self, day: NaiveDate) -> bool {
        let date = self.fields[3].split(',').any(|part| has_date(part, day));
        let week = self.fields[5].split(',').any(|part| has_weekday(part, day));
        let star = self.fields[3].starts_with('*') || self.fields[5].starts_with('*');
        matches(&self.fields[4], day.month(), 12) && if star { date && week } else { date || week }
    }

    /// All runs of `from..until`, by looking at every second from two days before.
    fn walk(&self, zone: Tz, from: DateTime<Utc>, until: DateTime<Utc>) -> Vec<DateTime<Utc>> {
        let [seconds, minutes, hours] = [(0, 59), (1, 59), (2, 23)].map(|(at, max)| {
            (0..=max).map(|value| matches(&self.fields[at], value, max)).collect::<Vec<bool>>()
        });
        let every_hour = hours.iter().all(|has| *has);
        let both = match self.overlap_hour {
            Some(passes) => passes == "twice",
            None => every_hour || self.fields[2].starts_with('*'),
        };
        let (mut cached_day, mut cached) = (i64::MIN, false);
        let mut has = |local: i64| {
            let (day, second) = (local.div_euclid(86_400), local.rem_euclid(86_400) as usize);
            if !(seconds[second % 60] && minutes[second / 60 % 60] && hours[second / 3600]) {
                return false;
            }
            if cached_day != day {
                let date = DateTime::from_timestamp(day * 86_400, 0).unwrap().date_naive();
                (cached_day, cached) = (day, self.has_day(date));
            }
            cached
        };
        let offset = |at: i64| {
            let utc = DateTime::from_timestamp(at, 0).unwrap().naive_utc();
            i64::from(zone.offset_from_utc_datetime(&utc).fix().local_minus_utc())
        };
        let (first, last) = (from.timestamp() - 2 * 86_400, until.timestamp());
        let mut before = offset(first);
        let mut seen_until = first + before;
        let mut found = Vec::new();
        for at in first..last {
            // Offsets change at full minutes in all the years that are walked.
            let now = if at % 60 == 0 { offset(at) } else { before };
            let (local, jump) = (at + now, now - before);
            let mut run = has(local) && (both || local >= seen_until);
            if jump > 0 && self.gap != Some("skip") && (!every_hour || jump % 3600 != 0) {
                run |= (local - jump..local).any(&mut has);
            }
            if run && at >= from.timestamp() {
                found.push(DateTime::from_timestamp(at, 0).unwrap());
            }
            seen_until = seen_until.max(local + 1);
            before = now;
        }
        found
    }
}

fn matches(field: &str, value: u32, max: u32) -> bool {
    field.split(',').any(|part| {
        let (span, step) = part.split_once('/').unwrap_or((part, "1"));
        let step: u32 = step.parse().unwrap();
        let (low, high) = match span.split_once('-') {
            Some((low, high)) => (low.parse().unwrap(), high.parse().unwrap()),
            None if span == "*" => (if max == 31 || max == 12 { 1 } else { 0 }, max),
            None => (span.parse().unwrap(), span.parse().unwrap()),
        };
        low <= value && value <= high && (value - low).is_multiple_of(step)
    })
}

fn is_weekday(day: &NaiveDate) -> bool {
    day.weekday().num_days_from_monday() < 5
}

fn has_date(part: &str, day: NaiveDate) -> bool {
    let month: Vec<NaiveDate> = day
        .with_day(1)
        .unwrap()
        .iter_days()
        .take_while(|other| other.month() == day.month())
        .collect();
    if let Some(back) = part.strip_prefix("L-") {
        let back: usize = back.parse().unwrap();
        return month.iter().rev().nth(back) == Some(&day);
    }
    match part.strip_suffix('W') {
        None if part == "L" => month.last() == Some(&day),
        None => matches(part, day.day(), 31),
        Some("L") => month.iter().rfind(|day| is_weekday(day)) == Some(&day),
        Some(wanted) => month.get(wanted.parse::<usize>().unwrap() - 1).is_some_and(|wanted| {
            let weekdays = month.iter().filter(|day| is_weekday(day));
            weekdays.min_by_key(|other| (**other - *wanted).num_days().abs()) == Some(&day)
        }),
    }
}

fn has_weekday(part: &str, day: NaiveDate) -> bool {
    let number = day.weekday().num_days_from_sunday();
    let is = |text: &str| text.parse::<u32>().unwrap() % 7 == number;
    if let Some(wanted) = part.strip_suffix('L') {
        return is(wanted) && (day + Duration::days(7)).month() != day.month();
    }
    if let Some((wanted, count)) = part.split_once('#') {
        let so_far = (0..5).filter(|weeks| {
            let earlier = day - Duration::days(7 * weeks);
            earlier.month() == day.month()
        });
        return is(wanted) && so_far.count() == count.parse::<usize>().unwrap();
    }
    matches(part, number, 6) || (number == 0 && !part.starts_with('*') && matches(part, 7, 7))
}

/// Zones with a first day: ordinary ones, and those on which the clock is moved.
const DAYS: [(&str, &[&str]); 13] = [
    ("Europe/Zurich", &["2026-03-29", "2026-10-25", "2026-12-31", "2028-02-28", "2100-02-28"]),
    ("America/New_York", &["2026-03-08", "2026-11-01", "2027-01-31"]),
    ("Australia/Lord_Howe", &["2026-04-05", "2026-10-04"]),
    ("Asia/Tehran", &["2022-03-22", "2022-09-21", "2022-09-22"]),
    ("America/Sao_Paulo", &["2018-02-17", "2018-11-04"]),
    ("Africa/Casablanca", &["2026-02-15", "2026-03-22"]),
    ("Pacific/Apia", &["2011-12-29", "2012-04-01", "2012-09-30"]),
    ("Asia/Beirut", &["2026-03-29", "2026-10-24"]),
    ("Asia/Kolkata", &["2026-05-31"]),
    ("Asia/Kathmandu", &["1985-12-31", "2026-06-30"]),
    ("Australia/Eucla", &["2008-10-26", "2009-03-29", "2026-07-31"]),
    // The rules themselves change: half an hour forward for good, and summer time that stays.
    ("America/Caracas", &["2016-05-01"]),
    ("Europe/Istanbul", &["2016-03-27", "2016-10-30"]),
];

#[test]
fn next_finds_what_a_look_at_every_second_finds() {
    let mut random = Random(20_261_122);
    let mut total = 0;
    for round in 0..260_usize {
        let (name, days) = DAYS[round % DAYS.len()];
        let zone = parse_zone(name).unwrap();
        let seconds = random.pick(&[0, 0, 5]);
        let star = random.below(10);
        let (minutes, hours) = (random.field(0, 59, star), random.below(10));
        let meaning = Meaning {
            fields: [
                if seconds == 0 { random.below(60).to_string() } else { random.field(0, 59, 5) },
                minutes,
                random.field(0, 23, hours),
                if random.below(2) == 0 { "*".into() } else { random.dates() },
                random.field(1, 12, 9),
                if random.below(2) == 0 { "*".into() } else { random.weekdays() },
            ],
            gap: random.pick(&[None, None, Some("run"), Some("skip")]),
            overlap_hour: random.pick(&[None, None, Some("once"), Some("twice")]),
        };
        let from = utc(&format!("{}T00:00:00Z", random.pick(days))) - Duration::hours(18);
        let until = from + Duration::hours(48);
        let expected = meaning.walk(zone, from, until);
        let json = meaning.json();
        let schedule = Schedule::from_json(&json, zone).unwrap_or_else(|e| panic!("{json}: {e}"));
        let mut found = Vec::new();
        let mut at = from - Duration::nanoseconds(1);
        while let Some(next) = schedule.next(at).filter(|next| *next < until) {
            assert!(next > at, "{json} in {zone}: {next} is not after {at}");
            found.push(next);
            at = next;
        }
        assert_eq!(found, expected, "round {round}: {json} in {zone} from {from}");
        // From any instant, not only from the last run.
        for _ in 0..20 {
            let at = from + Duration::seconds(random.below(48 * 3600).into());
            let next = schedule.next(at).filter(|next| *next < until);
            assert_eq!(next, expected.iter().copied().find(|run| *run > at), "{json} {zone} {at}");
        }
        total += found.len();
    }
    assert!(total > 50_000, "only {total} runs were compared");
}

#[test]
fn next_finds_the_days_that_a_look_at_every_day_finds() {
    let mut random = Random(29);
    let mut total = 0;
    for _ in 0..400 {
        let fields = ["0", "0", "0"].map(String::from);
        let [second, minute, hour] = fields;
        let month = random.field(1, 12, 8);
        let fields = [second, minute, hour, random.dates(), month, random.weekdays()];
        let meaning = Meaning { fields, gap: None, overlap_hour: None };
        // Leap days, and a century without one.
        let first = random.pick(&["2023-12-30", "2098-12-30", "1999-12-30"]);
        let first: NaiveDate = first.parse().unwrap();
        let schedule = Schedule::from_json(&meaning.json(), chrono_tz::UTC).unwrap();
        let midnight = |day: NaiveDate| day.and_hms_opt(0, 0, 0).unwrap().and_utc();
        let mut at = midnight(first) - Duration::seconds(1);
        for day in first.iter_days().take(1500).filter(|day| meaning.has_day(*day)) {
            let next = schedule.next(at);
            assert_eq!(next, Some(midnight(day)), "{} after {at}", meaning.json());
            at = midnight(day);
            total += 1;
        }
        let end = midnight(first + Duration::days(1500));
        assert!(schedule.next(at).is_none_or(|next| next >= end), "{} after {at}", meaning.json());
    }
    assert!(total > 50_000, "only {total} days were compared");
}
