use chrono::{NaiveDateTime, Timelike};
use chrono_tz::Tz;
use serde_json::json;

use super::*;

const ZURICH: Tz = chrono_tz::Europe::Zurich;
const NEW_YORK: Tz = chrono_tz::America::New_York;
const LORD_HOWE: Tz = chrono_tz::Australia::Lord_Howe;
const KATHMANDU: Tz = chrono_tz::Asia::Kathmandu;

fn utc(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// The next runs after a moment, in UTC.
fn runs(schedule: &str, zone: Tz, after: &str, count: usize) -> Vec<String> {
    let schedule = Schedule::parse(schedule, zone).unwrap();
    let mut at = utc(after);
    let mut found = Vec::new();
    while found.len() < count
        && let Some(next) = schedule.next(at)
    {
        found.push(next.format("%m-%d %H:%M:%S").to_string());
        at = next;
    }
    found
}

#[test]
fn gap_moves_a_run_to_its_end_once() {
    let after = "2026-03-07T12:00:00Z";
    let expected = ["03-08 07:00:00", "03-09 06:30:00"];
    assert_eq!(runs("30 2 * * *", NEW_YORK, after, 2), expected);
    // Many runs in the gap are one; a run at its end is not doubled.
    let expected = ["03-08 07:00:00", "03-09 06:00:00"];
    assert_eq!(runs("*/5 2 * * *", NEW_YORK, after, 2), expected);
    let expected = ["03-08 07:00:00", "03-09 06:30:00", "03-09 07:00:00"];
    assert_eq!(runs("30,0 2,3 8,9 3 *", NEW_YORK, after, 4)[0], expected[0]);
    assert_eq!(runs("30 2 * * *", ZURICH, "2026-03-28T12:00:00Z", 1), ["03-29 01:00:00"]);
    assert_eq!(runs("15 2 * * *", LORD_HOWE, "2026-10-03T00:00:00Z", 1), ["10-03 15:30:00"]);
    // Midnight itself is missing.
    let beirut = chrono_tz::Asia::Beirut;
    assert_eq!(runs("@daily", beirut, "2026-03-28T12:00:00Z", 1), ["03-28 22:00:00"]);
}

#[test]
fn overlap_has_one_run_for_fixed_hours() {
    let after = "2026-10-31T12:00:00Z";
    assert_eq!(runs("30 1 * * *", NEW_YORK, after, 2), ["11-01 05:30:00", "11-02 06:30:00"]);
    // Asked from within the second pass.
    let second = "2026-11-01T06:10:00Z";
    assert_eq!(runs("30 1 * * *", NEW_YORK, second, 1), ["11-02 06:30:00"]);
    assert_eq!(runs("30 1,2 * * *", NEW_YORK, second, 1), ["11-01 07:30:00"]);
    assert_eq!(runs("* * 1 * * *", NEW_YORK, second, 1), ["11-02 06:00:00"]);
    let after = "2026-04-04T12:00:00Z";
    assert_eq!(runs("45 1 * * *", LORD_HOWE, after, 2), ["04-04 14:45:00", "04-05 15:15:00"]);
}

#[test]
fn stepped_hours_follow_the_clock_through_both_days() {
    for (zone, day) in [(NEW_YORK, "2026-03-08"), (NEW_YORK, "2026-11-01"), (ZURICH, "2026-10-25")]
    {
        let schedule = Schedule::parse("*/5 * * * *", zone).unwrap();
        let mut at = utc(&format!("{day}T00:00:00Z"));
        for _ in 0..288 {
            let next = schedule.next(at).unwrap();
            assert_eq!(next - at, Duration::minutes(5), "{zone} {at}");
            at = next;
        }
    }
    let after = "2026-03-08T06:00:00Z";
    assert_eq!(runs("30 * * * *", NEW_YORK, after, 2), ["03-08 06:30:00", "03-08 07:30:00"]);
    let after = "2026-11-01T05:00:00Z";
    let expected = ["11-01 05:30:00", "11-01 06:30:00", "11-01 07:30:00"];
    assert_eq!(runs("30 * * * *", NEW_YORK, after, 3), expected);
    // A step that has its run in the gap keeps it.
    let expected = ["03-08 07:00:00", "03-08 08:00:00"];
    assert_eq!(runs("30 */2 * * *", NEW_YORK, "2026-03-08T06:00:00Z", 1), expected[..1]);
    // Half an hour is missing: the hour still has its run.
    let expected = ["10-03 14:45:00", "10-03 15:30:00", "10-03 16:15:00"];
    assert_eq!(runs("15 * * * *", LORD_HOWE, "2026-10-03T14:00:00Z", 3), expected);
}

#[test]
fn a_day_that_was_left_out_is_not_lost() {
    let apia = chrono_tz::Pacific::Apia;
    let schedule = Schedule::parse("0 2,12 * * *", apia).unwrap();
    let mut at = utc("2011-12-29T11:00:00Z");
    for expected in ["2011-12-29T12:00:00Z", "2011-12-29T22:00:00Z", "2011-12-30T10:00:00Z"] {
        at = schedule.next(at).unwrap();
        assert_eq!(at, utc(expected));
    }
}

#[test]
fn rare_days_are_found_and_missing_ones_end() {
    let next =
        |text: &str, after: &str| Schedule::parse(text, chrono_tz::UTC).unwrap().next(utc(after));
    assert_eq!(next("0 0 30 2 *", "2026-01-01T00:00:00Z"), None);
    assert_eq!(next("0 0 31 4,6,9,11 *", "2026-01-01T00:00:00Z"), None);
    assert_eq!(next("0 0 29 2 *", "2096-03-01T00:00:00Z"), Some(utc("2104-02-29T00:00:00Z")));
    // "*/7" is an unrestricted field to cron, so this is 29 February AND Sunday.
    assert_eq!(next("0 0 29 2 */7", "2032-03-01T00:00:00Z"), Some(utc("2060-02-29T00:00:00Z")));
    // Both restricted: either.
    assert_eq!(next("0 0 13 * 5", "2026-11-01T00:00:00Z"), Some(utc("2026-11-06T00:00:00Z")));
    assert_eq!(next("0 0 13 * 5", "2026-10-09T12:00:00Z"), Some(utc("2026-10-13T00:00:00Z")));
    assert_eq!(next("59 59 23 31 12 *", "2026-12-31T23:59:59Z"), Some(utc("2027-12-31T23:59:59Z")));
}

#[test]
fn extremes_of_time_do_not_panic() {
    for text in ["* * * * *", "0 0 29 2 *", "every 90 s", "at 9999-12-31 03:00", "0 0 30 2 *"] {
        for zone in [chrono_tz::UTC, NEW_YORK, chrono_tz::Pacific::Kiritimati] {
            let schedule = Schedule::parse(text, zone).unwrap();
            for after in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
                let next = schedule.next(after);
                assert!(next.is_none_or(|next| next > after), "{text}");
            }
        }
    }
    let last = Schedule::parse("* * * * *", NEW_YORK).unwrap();
    assert_eq!(last.next(DateTime::<Utc>::MAX_UTC), None);
}

#[test]
fn every_counts_from_its_anchor() {
    assert_eq!(
        runs("every 90 s", ZURICH, "1970-01-01T00:00:00Z", 2),
        ["01-01 00:01:30", "01-01 00:03:00"]
    );
    assert_eq!(runs("every 90 s", ZURICH, "2026-11-22T10:00:01.5Z", 1), ["11-22 10:01:30"]);
    assert_eq!(runs("EVERY 1 hour 30 min", ZURICH, "1969-12-31T23:00:00Z", 1), ["01-01 00:00:00"]);
    let text = "every 8 hours from 2026-01-01 06:00";
    let expected = ["01-01 05:00:00", "01-01 13:00:00"];
    assert_eq!(runs(text, ZURICH, "2020-01-01T00:00:00Z", 2), expected);
    assert_eq!(runs(text, ZURICH, "2026-01-01T05:00:00Z", 1), expected[1..]);
}

#[test]
fn at_happens_once() {
    let text = "at 2026-03-01 10:00";
    assert_eq!(runs(text, ZURICH, "2026-01-01T00:00:00Z", 5), ["03-01 09:00:00"]);
    assert_eq!(runs(text, ZURICH, "2026-03-01T09:00:00Z", 5), Vec::<String>::new());
}

#[test]
fn names_and_macros() {
    for (one, other) in [
        ("@hourly", "0 * * * *"),
        ("@Daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@weekly", "0 0 * * sun"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 jan *"),
        ("0 0 * * 7", "0 0 * * 0"),
        ("0 0 * * fri-sun", "0 0 * * 5,6,0"),
        ("0 0 * * 5-7", "0 0 * * fri,sat,sun"),
        ("0 0 1 JAN-mar,December *", "0 0 1 1-3,12 *"),
        ("0 0 * * Monday", "0 0 * * 1"),
        ("5/20 * * * *", "5,25,45 * * * *"),
        ("0 10-20/5 * * *", "0 10,15,20 * * *"),
        ("  0   5 * * *\t", "0 0 5 * * *"),
    ] {
        let after = "2026-02-03T04:05:06Z";
        assert_eq!(runs(one, ZURICH, after, 50), runs(other, ZURICH, after, 50), "{one}");
    }
}

#[test]
fn errors_name_the_field_and_the_way_out() {
    for (text, message, hint) in [
        ("", "schedule is empty", "Write a cron"),
        ("61 * * * *", "minute \"61\" is out of range", "from 0 to 59"),
        ("* 24 * * *", "hour \"24\" is out of range", "from 0 to 23"),
        ("* * 0 * *", "day of month \"0\" is out of range", "from 1 to 31"),
        ("* * * 13 *", "month \"13\" is out of range", "from 1 to 12"),
        ("* * * * 8", "day of week \"8\" is out of range", "from 0 to 7"),
        ("99 * * * * *", "second \"99\" is out of range", "from 0 to 59"),
        ("* * * jna *", "cannot read month \"jna\"", "Did you mean \"jan\"?"),
        ("* * * * mno", "cannot read day of week \"mno\"", "Did you mean \"mon\"?"),
        ("* * ? * *", "cannot read day of month \"?\"", "Write \"*\""),
        ("* * 15W * *", "cannot read day of month \"15W\"", "not part of this dialect"),
        ("*/0 * * * *", "step \"0\" of the minute field is out of range", "from 1 to 59"),
        ("*/x * * * *", "step \"x\" of the minute field is not a number", ""),
        ("5,, * * * *", "cannot read minute \"\"", "missing"),
        ("* 22-2 * * *", "hour range \"22-2\" runs backwards", "\"22-23,0-2\""),
        ("* * * * fri-mon", "day of week range \"fri-mon\" runs backwards", "\"5-6,0-1\""),
        ("* * * *", "has 4 fields", "It needs 5"),
        ("* * * * * * 2030", "has 7 fields", "no field for the year"),
        ("@dayly", "unknown schedule \"@dayly\"", "Did you mean \"@daily\"?"),
        ("@reboot", "unknown schedule \"@reboot\"", "server's start"),
        ("evry 5 min", "cannot read schedule \"evry 5 min\"", "Did you mean \"every ...\"?"),
        ("tomorrow", "cannot read schedule \"tomorrow\"", "Write a cron"),
        ("2030-01-01 10:00", "cannot read schedule", "\"at 2030-01-01 10:00\""),
        ("CRON_TZ=UTC * * * * *", "cannot read schedule", "time_zone"),
        ("TZ=UTC 0 0 * * * 5 5", "cannot read schedule", "time_zone"),
        ("every", "duration is empty", "number and a unit"),
        ("every 0 s", "interval \"0 s\" is too short", "1 second"),
        ("every 1 month", "unknown unit \"month\"", "differ in length"),
        ("every 5 min from soon", "cannot read timestamp \"soon\"", "2026-03-01"),
        ("at", "is missing", "at 2026"),
        ("at 2026-02-30", "cannot read timestamp", "2026-03-01"),
    ] {
        let error = match Schedule::parse(text, ZURICH) {
            Err(error) => error,
            Ok(_) => panic!("{text} was accepted"),
        };
        assert!(error.message.contains(message), "{text}: {}", error.message);
        let given = error.hint.unwrap_or_default();
        assert!(given.contains(hint), "{text}: {given}");
    }
    assert!(Schedule::parse(&"1,".repeat(1 << 20), ZURICH).is_err());
}

#[test]
fn json_and_text_round_trip() {
    for text in [
        "*/5 * * * *",
        "0 30 2 * * MON-fri",
        "@daily",
        "every 90 s",
        "every 1 hour 30 min",
        "every 8 hours from 2026-01-01 06:00",
        "at 2026-03-01 10:00",
        "at 2026-03-01T10:00:00.5Z",
    ] {
        let schedule = Schedule::parse(text, ZURICH).unwrap();
        let json = schedule.to_json();
        assert_eq!(Schedule::from_json(&json, chrono_tz::UTC).unwrap(), schedule, "{json}");
        assert_eq!(Schedule::parse(&schedule.to_string(), ZURICH).unwrap(), schedule, "{schedule}");
    }
    let daily = Schedule::parse("@daily", ZURICH).unwrap();
    assert_eq!(daily.to_json(), json!({"cron": "0 0 * * *", "time_zone": "Europe/Zurich"}));
    assert_eq!(Schedule::from_json(&json!("@daily"), ZURICH).unwrap(), daily);
    assert_eq!(Schedule::from_json(&json!({"cron": "@daily"}), ZURICH).unwrap(), daily);
}

#[test]
fn from_json_refuses_what_it_does_not_know() {
    for (value, message) in [
        (json!(5), "neither a string nor a JSON object"),
        (json!({}), "exactly one of"),
        (json!({"cron": "* * * * *", "every": "5 s"}), "exactly one of"),
        (json!({"corn": "* * * * *"}), "unknown key \"corn\""),
        (json!({"cron": 5}), "\"cron\" of the schedule is not a string"),
        (json!({"cron": "* * * * *", "time_zone": "Europe/Zurrich"}), "unknown time zone"),
        (
            json!({"at": "2026-01-01", "from": "2026-01-01"}),
            "belongs to \"every\" and \"rrule\" only",
        ),
        (json!({"every": "x".repeat(5000)}), "longer than the 1000 bytes"),
    ] {
        let error = Schedule::from_json(&value, ZURICH).unwrap_err();
        assert!(error.message.contains(message), "{value}: {}", error.message);
    }
}

/// A small generator of random numbers, so that a failure can be repeated from its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) % u64::from(limit)) as u32
    }

    fn field(&mut self, min: u32, max: u32, star: u32) -> String {
        if self.below(10) < star {
            return if self.below(3) == 0 {
                format!("*/{}", 1 + self.below(max))
            } else {
                "*".into()
            };
        }
        let items: Vec<String> = (0..=self.below(3))
            .map(|_| {
                let low = min + self.below(max - min + 1);
                let high = low + self.below(max - low + 1);
                match self.below(4) {
                    0 => format!("{low}-{high}"),
                    1 => format!("{low}-{high}/{}", 1 + self.below(5)),
                    _ => low.to_string(),
                }
            })
            .collect();
        items.join(",")
    }
}

/// What a field means, said once more and differently: by trying a value against the text.
fn matches(field: &str, value: u32, max: u32) -> bool {
    field.split(',').any(|item| {
        let (span, step) = item.split_once('/').unwrap_or((item, "1"));
        let step: u32 = step.parse().unwrap();
        let (low, high) = match span.split_once('-') {
            Some((low, high)) => (low.parse().unwrap(), high.parse().unwrap()),
            None if span == "*" => (if max == 31 || max == 12 { 1 } else { 0 }, max),
            None => (span.parse().unwrap(), span.parse().unwrap()),
        };
        low <= value && value <= high && (value - low).is_multiple_of(step)
    })
}

/// The allowed values of each field, one table a field, and whether either day field is a star.
struct Tables {
    fields: [Vec<bool>; 5],
    star: bool,
}

impl Tables {
    fn new(fields: &[String; 5]) -> Tables {
        let most = [59, 23, 31, 12, 6];
        let table = |at: usize| {
            let sunday = |value| at == 4 && value == 0 && matches(&fields[4], 7, 6);
            (0..=most[at]).map(|v| matches(&fields[at], v, most[at]) || sunday(v)).collect()
        };
        let star = fields[2].starts_with('*') || fields[4].starts_with('*');
        Tables { fields: std::array::from_fn(table), star }
    }

    fn has(&self, time: NaiveDateTime) -> bool {
        let [minute, hour, day, month, weekday] = &self.fields;
        let day = day[time.day() as usize];
        let week = weekday[time.weekday().num_days_from_sunday() as usize];
        minute[time.minute() as usize]
            && hour[time.hour() as usize]
            && month[time.month() as usize]
            && if self.star { day && week } else { day || week }
    }
}

/// All runs of `from..until`, by looking at every minute.
fn scan(
    fields: &[String; 5],
    zone: Tz,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Vec<DateTime<Utc>> {
    let local = |at: DateTime<Utc>| at.with_timezone(&zone).naive_local();
    let tables = Tables::new(fields);
    let every_hour = tables.fields[1].iter().all(|has| *has);
    let wild = every_hour || fields[1].starts_with('*');
    let minute = Duration::minutes(1);
    let mut seen_until = local(from - Duration::days(2));
    let mut before = from - Duration::days(2);
    let mut found = Vec::new();
    let mut at = before;
    while at < until {
        let time = local(at);
        let repeated = time < seen_until;
        let jump = time - local(before) - (at - before);
        let mut run = tables.has(time) && (wild || !repeated);
        if jump > Duration::zero() && (!every_hour || jump.num_minutes() % 60 != 0) {
            let mut missing = time - jump;
            while missing < time {
                run |= tables.has(missing);
                missing += minute;
            }
        }
        if run && at >= from {
            found.push(at);
        }
        seen_until = seen_until.max(time + minute);
        before = at;
        at += minute;
    }
    found
}

#[test]
fn next_finds_what_a_look_at_every_minute_finds() {
    let zones = [ZURICH, NEW_YORK, LORD_HOWE, KATHMANDU, chrono_tz::UTC, chrono_tz::Asia::Beirut];
    let spans = [
        ("2026-03-06T00:00:00Z", 4),
        ("2026-10-30T00:00:00Z", 4),
        ("2026-03-27T00:00:00Z", 4),
        ("2026-10-23T00:00:00Z", 4),
        ("2026-04-03T00:00:00Z", 3),
        ("2026-10-02T00:00:00Z", 3),
        ("2026-12-30T00:00:00Z", 4),
        ("2028-02-27T00:00:00Z", 4),
        ("2100-02-27T00:00:00Z", 3),
    ];
    let mut random = Random(20_261_122);
    let mut total = 0;
    for round in 0..250 {
        let star = random.below(10);
        let fields = [
            random.field(0, 59, star),
            random.field(0, 23, random.0 as u32 % 10),
            random.field(1, 31, 7),
            random.field(1, 12, 9),
            random.field(0, 7, 7),
        ];
        let zone = zones[random.below(6) as usize];
        let (from, days) = spans[random.below(9) as usize];
        let (from, text) = (utc(from), fields.join(" "));
        let until = from + Duration::days(days);
        let expected = scan(&fields, zone, from, until);
        let schedule = Schedule::parse(&text, zone).unwrap_or_else(|e| panic!("{text}: {e}"));
        let mut found = Vec::new();
        let mut at = from - Duration::nanoseconds(1);
        while let Some(next) = schedule.next(at).filter(|next| *next < until) {
            assert!(next > at, "{text} in {zone}: {next} is not after {at}");
            found.push(next);
            at = next;
        }
        assert_eq!(found, expected, "round {round}: \"{text}\" in {zone} from {from}");
        // From any instant, not only from the last run.
        for _ in 0..20 {
            let at = from + Duration::seconds(i64::from(random.below(days as u32 * 86_400)));
            let next = schedule.next(at).filter(|next| *next < until);
            assert_eq!(next, expected.iter().copied().find(|run| *run > at), "{text} {zone} {at}");
        }
        total += found.len();
    }
    assert!(total > 15_000, "only {total} runs were compared");
}

#[test]
fn next_agrees_with_the_cron_crate_where_the_dialects_meet() {
    use std::str::FromStr;
    let mut random = Random(7);
    for _ in 0..500 {
        let fields = [
            random.field(0, 59, 3),
            random.field(0, 59, 3),
            random.field(0, 23, 5),
            random.field(1, 31, 5),
            random.field(1, 12, 5),
        ]
        .join(" ");
        let ours = Schedule::parse(&format!("{fields} *"), chrono_tz::UTC).unwrap();
        let theirs = ::cron::Schedule::from_str(&format!("{fields} *")).unwrap();
        let from =
            utc("2026-11-22T00:00:00Z") + Duration::seconds(random.below(86_400 * 900).into());
        let mut at = from;
        for expected in theirs.after(&from).take(20) {
            let next = ours.next(at);
            assert_eq!(next, Some(expected), "{fields} after {at}");
            at = expected;
        }
    }
}
