//! What the parts of a schedule mean, case by case; the files of the folder hold what is tried
//! over many of them.

use chrono_tz::Tz;
use serde_json::json;

use super::*;

mod clock;
mod days;
mod oracles;
mod random;
mod walk;

const ZURICH: Tz = chrono_tz::Europe::Zurich;
const NEW_YORK: Tz = chrono_tz::America::New_York;
const LORD_HOWE: Tz = chrono_tz::Australia::Lord_Howe;

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
        ("*/0 * * * *", "step \"0\" of the minute field is out of range", "from 1 to 59"),
        ("*/x * * * *", "step \"x\" of the minute field is not a number", ""),
        ("5,, * * * *", "cannot read minute \"\"", "missing"),
        ("* 22-2 * * *", "hour range \"22-2\" runs backwards", "\"22-23,0-2\""),
        ("* * * * fri-mon", "day of week range \"fri-mon\" runs backwards", "\"5-6,0-1\""),
        ("* * * *", "has 4 fields", "It needs 5"),
        ("* * * * * * 2030", "has 7 fields", "no field for the year"),
        ("0 0 12 25 12 ? 2030-2032", "has 7 fields, the last one for the year", "\"at 2030-12-31"),
        ("0 12 25 12 ? 2030", "has 6 fields, the last one for the year", "no field for the year"),
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
