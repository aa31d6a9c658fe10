//! Joined schedules, and what is left out of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{Datelike, NaiveTime};
use chrono_tz::Tz;
use serde_json::{Value, json};

use super::*;

const ZURICH: Tz = chrono_tz::Europe::Zurich;

fn utc(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn read(value: &Value) -> Schedule {
    let holidays =
        Calendar::read("1", "holidays", &json!([{"days": ["2026-12-25", "08-01"]}]), None).unwrap();
    let holidays = Arc::new(holidays);
    let find = |name: &str, _: Option<&str>| (name == "holidays").then(|| holidays.clone());
    let around = Around { now: Some(utc("2026-11-25T10:00:00Z")), calendar: &find };
    let schedule =
        Schedule::from_json_in(value, ZURICH, &around).unwrap_or_else(|e| panic!("{value}: {e:?}"));
    // It is kept as it is meant.
    let kept = schedule.to_json();
    assert_eq!(Schedule::from_json_in(&kept, Tz::UTC, &around).unwrap(), schedule, "{kept}");
    schedule
}

fn refusal(value: &Value) -> ScheduleError {
    match Schedule::from_json(value, ZURICH) {
        Err(error) => error,
        Ok(_) => panic!("{value} was accepted"),
    }
}

fn walk(schedule: &Schedule, from: DateTime<Utc>, until: DateTime<Utc>) -> Vec<DateTime<Utc>> {
    let mut at = from;
    let mut found = Vec::new();
    while let Some(next) = schedule.next(at).filter(|next| *next <= until) {
        assert!(next > at);
        found.push(next);
        at = next;
    }
    found
}

fn local(schedule: &Schedule, after: &str, count: usize) -> Vec<String> {
    let mut at = utc(after);
    (0..count)
        .map_while(|_| {
            at = schedule.next(at)?;
            Some(at.with_timezone(&ZURICH).format("%m-%d %H:%M").to_string())
        })
        .collect()
}

#[test]
fn several_moments_are_sorted_and_happen_once() {
    let schedule =
        read(&json!({"at": ["2026-12-24 18:00", "2026-12-01 08:00", "2026-12-24T17:00:00Z"]}));
    assert_eq!(local(&schedule, "2026-01-01T00:00:00Z", 9), ["12-01 08:00", "12-24 18:00"]);
    assert_eq!(schedule.to_json()["at"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        read(&json!({"at": ["2026-12-24 18:00"]})).to_json(),
        json!({"at": "2026-12-24T17:00:00Z"})
    );
    assert!(refusal(&json!({"at": []})).message.contains("has 0 moments"));
    assert!(refusal(&json!({"at": ["2026-12-24", 5]})).message.contains("not a string"));
}

#[test]
fn an_rrule_without_a_start_begins_with_the_day() {
    let schedule = read(&json!({"rrule": "freq=monthly;byday=-1fr"}));
    let kept = json!({"rrule": "FREQ=MONTHLY;BYDAY=-1FR", "from": "2026-11-25", "time_zone": "Europe/Zurich"});
    assert_eq!(schedule.to_json(), kept);
    assert_eq!(local(&schedule, "2026-01-01T00:00:00Z", 2), ["11-27 00:00", "12-25 00:00"]);
    let eight = read(&json!({"rrule": "FREQ=MONTHLY;BYDAY=-1FR", "from": "2026-01-30 08:00"}));
    assert_eq!(local(&eight, "2026-01-01T00:00:00Z", 2), ["01-30 08:00", "02-27 08:00"]);
    assert!(refusal(&json!({"rrule": "FREQ=DAILY"})).message.contains("no \"from\""));
}

#[test]
fn windows_take_runs_away() {
    let runs = |value: Value, count| local(&read(&value), "2026-12-22T00:00:00Z", count);
    let daily = |except: Value| json!({"cron": "0 8 * * *", "except": except});
    assert_eq!(
        runs(daily(json!([{"calendar": "holidays"}, {"weekdays": "sat,sun"}])), 5),
        ["12-22 08:00", "12-23 08:00", "12-24 08:00", "12-28 08:00", "12-29 08:00"]
    );
    assert_eq!(
        runs(daily(json!({"from": "2026-12-23", "until": "2027-01-02 08:00"})), 2),
        ["12-22 08:00", "01-02 08:00"]
    );
    assert_eq!(runs(daily(json!([{"days": ["2026-12-22", "12-23"]}])), 1), ["12-24 08:00"]);
    let night = json!({"cron": "0 */3 * * *", "except": [{"hours": "22:00-06:00"}]});
    assert_eq!(runs(night, 3), ["12-22 06:00", "12-22 09:00", "12-22 12:00"]);
    let every = json!({"every": "1 s", "only": [{"weekdays": "wed", "hours": "09:00-09:01"}]});
    let found = runs(every, 61);
    assert_eq!(
        (found[0].as_str(), found[59].as_str(), found[60].as_str()),
        ("12-23 09:00", "12-23 09:00", "12-30 09:00")
    );
    let rule = json!([{"rrule": "FREQ=MONTHLY;BYMONTHDAY=-1"}]);
    assert_eq!(runs(json!({"cron": "0 8 28-31 12 *", "except": rule}), 4)[3], "12-28 08:00");
    assert_eq!(runs(json!({"cron": "0 8 * * *", "only": rule}), 2), ["12-31 08:00", "01-31 08:00"]);
    // Each of the joined has its own, and all have those of the whole.
    let joined = json!({"any": [
        {"cron": "0 8 * * *", "except": [{"days": ["12-22"]}]}, {"every": "12 hours", "time_zone": "UTC"},
    ], "except": [{"days": ["12-23"]}]});
    assert_eq!(runs(joined, 4), ["12-22 13:00", "12-24 01:00", "12-24 08:00", "12-24 13:00"]);
}

#[test]
fn what_is_left_out_for_ever_ends() {
    for value in [
        json!({"cron": "* * * * * *", "except": [{"weekdays": "mon-sun"}]}),
        json!({"every": "1 s", "except": [{"weekdays": "mon-fri"}, {"weekdays": "sat-sun"}]}),
        json!({"cron": "* * * * *", "except": [{"hours": "00:00-12:00,12:00-24:00"}]}),
        json!({"cron": "* * * * * *", "only": [{"days": ["2020-01-01"]}]}),
        json!({"cron": "0 0 29 2 *", "only": [{"days": ["02-28"]}]}),
        json!({"rrule": "FREQ=SECONDLY", "from": "2026-01-01", "only": [{"hours": "08:00-09:00"}],
               "except": [{"hours": "07:00-10:00"}]}),
        json!({"any": [{"cron": "* * * * *"}, "every 5 s"], "except": [{"rrule": "FREQ=DAILY"}]}),
    ] {
        let schedule = read(&value);
        assert_eq!(schedule.next(utc("2026-11-25T10:00:00Z")), None, "{value}");
        assert_eq!(schedule.last(utc("2026-11-25T10:00:00Z"), utc("2027-11-25T10:00:00Z")), None);
    }
}

#[test]
fn windows_hold_on_both_days_of_a_clock_change() {
    // In the overlap 02:30 to 03:00 comes twice, with 02:00 to 02:30 in between.
    let schedule = read(&json!({"every": "15 min", "except": [{"hours": "02:30-03:00"}]}));
    let found = walk(&schedule, utc("2026-10-24T23:59:00Z"), utc("2026-10-25T02:30:00Z"));
    let times: Vec<String> = found.iter().map(|at| at.format("%H:%M").to_string()).collect();
    assert_eq!(times, ["00:00", "00:15", "01:00", "01:15", "02:00", "02:15", "02:30"]);
    let schedule = read(&json!({"every": "15 min", "except": [{"hours": "02:30-03:15"}]}));
    let found = walk(&schedule, utc("2026-03-29T00:31:00Z"), utc("2026-03-29T01:30:00Z"));
    let times: Vec<String> = found.iter().map(|at| at.format("%H:%M").to_string()).collect();
    assert_eq!(times, ["00:45", "01:15", "01:30"]);
}

#[test]
fn a_run_that_is_moved_to_the_end_of_a_gap_is_found_from_just_before_it() {
    let cron = read(&json!({"cron": "30 2 * * *"}));
    let rule = read(&json!({"rrule": "FREQ=DAILY", "from": "2026-01-01 02:30"}));
    let end = utc("2026-03-29T01:00:00Z");
    for nanoseconds in [1, 500_000_000, 1_000_000_000, 1_000_000_001] {
        let before = end - Duration::nanoseconds(nanoseconds);
        assert_eq!(cron.next(before), Some(end));
        assert_eq!(rule.next(before), Some(end));
    }
}

/// A small generator of random numbers, so that a failure can be repeated from its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn pick(&mut self, list: &[Value]) -> Value {
        list[self.below(list.len() as u64) as usize].clone()
    }
}

/// What a window means, said once more: by the fields of a wall time.
fn in_window(window: &Value, at: DateTime<Utc>) -> bool {
    let time = at.with_timezone(&ZURICH).naive_local();
    let says = |key: &str| window.get(key).and_then(Value::as_str);
    let names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let today = names[time.weekday().num_days_from_monday() as usize];
    let clock = |text: &str| NaiveTime::parse_from_str(text, "%H:%M").unwrap();
    let hours = |text: &str| {
        let (from, until) = text.split_once('-').unwrap();
        let (from, until) = (clock(from), clock(until));
        if from < until {
            time.time() >= from && time.time() < until
        } else {
            time.time() >= from || time.time() < until
        }
    };
    says("weekdays").is_none_or(|days| days.split(',').any(|day| day == today))
        && says("hours").is_none_or(hours)
        && says("from").is_none_or(|from| {
            let day = time.date().to_string();
            day.as_str() >= from && day.as_str() < says("until").unwrap()
        })
        && window.get("days").is_none_or(|days| {
            let day = time.date().to_string();
            days.as_array().unwrap().iter().any(|d| day.ends_with(d.as_str().unwrap()))
        })
        && window.get("calendar").is_none_or(|_| {
            let day = time.date().to_string();
            day == "2026-12-25" || day.ends_with("08-01")
        })
}

#[test]
fn joined_is_the_union_of_the_parts_without_what_is_left_out() {
    let parts = [
        json!({"cron": "0 */4 * * *"}),
        json!({"cron": "30 1-3 * * *"}),
        json!({"cron": "*/20 2 * * sun"}),
        json!({"every": "90 min"}),
        json!({"every": "5 hours", "from": "2026-10-01 02:30"}),
        json!({"at": ["2026-10-25 02:30", "2026-10-26 08:00", "2027-03-28 02:30"]}),
        json!({"rrule": "FREQ=DAILY;BYHOUR=2,14;BYMINUTE=0,30", "from": "2026-01-01"}),
        json!({"rrule": "FREQ=HOURLY;INTERVAL=5", "from": "2026-10-20 01:00"}),
    ];
    let windows = [
        json!({"weekdays": "sat,sun"}),
        json!({"weekdays": "mon", "hours": "08:00-20:00"}),
        json!({"hours": "22:00-02:30"}),
        json!({"hours": "02:00-03:00"}),
        json!({"from": "2026-10-24", "until": "2026-10-26"}),
        json!({"days": ["2026-10-27", "03-28", "12-24"]}),
        json!({"calendar": "holidays"}),
    ];
    let spans =
        [("2026-10-22T00:00:00Z", 8), ("2027-03-25T00:00:00Z", 6), ("2026-12-22T00:00:00Z", 12)];
    let mut random = Random(20_261_125);
    let (mut total, mut left_out) = (0, 0);
    for _ in 0..100 {
        let mut choose = |from: &[Value], least: u64| -> Vec<Value> {
            (0..least + random.below(3)).map(|_| random.pick(from)).collect()
        };
        let (any, except, only) = (choose(&parts, 1), choose(&windows, 0), choose(&windows, 0));
        let only = if random.below(2) == 0 { only } else { Vec::new() };
        let mut value = json!({ "any": any });
        for (key, list) in [("except", &except), ("only", &only)] {
            if !list.is_empty() {
                value[key] = json!(list);
            }
        }
        let (from, days) = spans[random.below(3) as usize];
        let (from, until) = (utc(from), utc(from) + Duration::days(days));
        let union: BTreeSet<_> =
            any.iter().flat_map(|part| walk(&read(part), from, until)).collect();
        let expected: Vec<_> = union
            .iter()
            .copied()
            .filter(|at| !except.iter().any(|w| in_window(w, *at)))
            .filter(|at| only.is_empty() || only.iter().any(|w| in_window(w, *at)))
            .collect();
        let schedule = read(&value);
        assert_eq!(walk(&schedule, from, until), expected, "{value}");
        assert_eq!(schedule.last(from, until), expected.last().copied(), "{value}");
        assert_eq!(schedule.count(from, until, usize::MAX), expected.len(), "{value}");
        for _ in 0..10 {
            let at = from + Duration::seconds(random.below(days as u64 * 86_400) as i64);
            let next = schedule.next(at).filter(|next| *next <= until);
            assert_eq!(next, expected.iter().copied().find(|run| *run > at), "{value} {at}");
        }
        total += expected.len();
        left_out += union.len() - expected.len();
    }
    assert!(total > 1000 && left_out > 1000, "only {total} runs, {left_out} left out");
}

#[test]
fn refusals_name_the_place() {
    let with = |except: Value| json!({"cron": "* * * * *", "except": except});
    for (value, message, hint) in [
        (json!({"any": []}), "has 0 members", "1 to 100"),
        (json!({"any": "* * * * *"}), "is not an array", "\"any\""),
        (
            json!({"any": ["* * * * *", "61 * * * *"]}),
            "member 2 of \"any\": minute \"61\"",
            "0 to 59",
        ),
        (
            json!({"any": [{"any": [{"any": [{"any": [{"any": ["@daily"]}]}]}]}]}),
            "nested",
            "one array",
        ),
        (json!({"any": ["@daily"], "cron": "@daily"}), "exactly one of", "\"any\""),
        (json!({"any": ["@daily"], "from": "2026-01-01"}), "\"from\" belongs", "except"),
        (json!({"exept": [], "cron": "@daily"}), "unknown key \"exept\"", "\"except\""),
        (with(json!([])), "\"except\" is empty", "weekdays"),
        (with(json!([5])), "\"except\": it is not a JSON object", "weekdays"),
        (with(json!([{}])), "nothing is said", "weekdays"),
        (
            with(json!([{"weekdays": "sat"}, {"day": ["12-25"]}])),
            "member 2 of \"except\": unknown key \"day\"",
            "\"days\"",
        ),
        (with(json!({"weekdays": "sut"})), "unknown day of the week \"sut\"", "\"sat\""),
        (with(json!({"days": "25.12."})), "cannot read the day \"25.12.\"", "12-25"),
        (with(json!({"days": ["02-30"]})), "cannot read the day \"02-30\"", "12-25"),
        (with(json!({"days": []})), "\"days\" has 0 members", "1 to"),
        (with(json!({"hours": "22-6"})), "cannot read the hours \"22-6\"", "22:00-06:00"),
        (with(json!({"hours": "08:00-08:00"})), "cannot read the hours", "22:00"),
        (with(json!({"from": "2026-12-24"})), "belong together", "until"),
        (
            with(json!({"from": "2026-12-24", "until": "2026-12-24"})),
            "before it begins",
            "after from",
        ),
        (
            with(json!({"from": "2026-12-24T00:00Z", "until": "2026-12-25"})),
            "cannot read",
            "without an offset",
        ),
        (
            with(json!({"calendar": "nowhere"})),
            "calendar \"nowhere\" does not exist",
            "create_calendar",
        ),
        (with(json!({"rrule": "FREQ=HOURLY"})), "which days are meant", "hours"),
        (with(json!({"rrule": "FREQ=WEEKLY"})), "has no \"from\"", "from"),
        (with(json!({"rrule": "FREQ=DAILY", "until": "2026-01-01"})), "does not go with", "UNTIL"),
    ] {
        let error = refusal(&value);
        assert!(error.message.contains(message), "{value}: {}", error.message);
        assert!(error.hint.clone().unwrap_or_default().contains(hint), "{value}: {:?}", error.hint);
    }
    let nested = Calendar::read("1", "x", &json!([{"calendar": "y"}]), None).unwrap_err();
    assert_eq!(nested.message, "\"entries\": a calendar cannot name another");
}

#[test]
fn calendars_have_a_zone_of_their_own_and_are_found_by_name() {
    let tokyo = Calendar::read(
        "7",
        "tokyo",
        &json!([{"days": ["2026-12-25"]}]),
        Some(chrono_tz::Asia::Tokyo),
    );
    let tokyo = Arc::new(tokyo.unwrap());
    let find = |_: &str, id: Option<&str>| (id == Some("7")).then(|| tokyo.clone());
    let around = Around { now: None, calendar: &find };
    let value = json!({"any": [{"cron": "0 16,20 * * *", "except": [{"calendar": " old name ", "id": "7"}]}]});
    assert_eq!(calendars(&value), [("old name", Some("7"))]);
    let schedule = Schedule::from_json_in(&value, ZURICH, &around).unwrap();
    let expected = ["12-24 20:00", "12-25 16:00", "12-25 20:00"];
    // 16:00 of the 24th in Zurich is the 25th in Tokyo, as is 20:00; so is nothing of the 25th.
    assert_eq!(local(&schedule, "2026-12-24T15:30:00Z", 3)[..2], expected[1..]);
    assert_eq!(calendars(&schedule.to_json()), [("tokyo", Some("7"))]);
}
