//! What is done where the clock is put forward or back, and the options for it.

use serde_json::Value;

use super::*;

/// The next runs of a schedule in JSON, in UTC.
fn next(schedule: &Value, zone: &str, after: &str, count: usize) -> Vec<String> {
    let schedule = Schedule::from_json(schedule, parse_zone(zone).unwrap()).unwrap();
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
fn gap_runs_at_its_end_or_not_at_all() {
    // Zone, the day before, a time within the gap, the gap's end and the run of the next day.
    for (zone, after, cron, end, later) in [
        ("Europe/Zurich", "2026-03-28T12:00:00Z", "30 2 * * *", "03-29 01:00:00", "03-30 00:30:00"),
        (
            "America/New_York",
            "2026-03-07T12:00:00Z",
            "30 2 * * *",
            "03-08 07:00:00",
            "03-09 06:30:00",
        ),
        (
            "Australia/Lord_Howe",
            "2026-10-02T16:00:00Z",
            "15 2 * * *",
            "10-03 15:30:00",
            "10-04 15:15:00",
        ),
        ("Asia/Tehran", "2022-03-21T00:00:00Z", "0 0 * * *", "03-21 20:30:00", "03-22 19:30:00"),
        (
            "Africa/Casablanca",
            "2026-03-21T12:00:00Z",
            "30 2 * * *",
            "03-22 02:00:00",
            "03-23 01:30:00",
        ),
        ("Pacific/Apia", "2011-12-29T23:00:00Z", "0 12 * * *", "12-30 10:00:00", "12-30 22:00:00"),
        (
            "America/Caracas",
            "2016-04-30T12:00:00Z",
            "45 2 * * *",
            "05-01 07:00:00",
            "05-02 06:45:00",
        ),
    ] {
        let run = json!({"cron": cron, "gap": "run"});
        assert_eq!(next(&run, zone, after, 2), [end, later], "{zone}");
        assert_eq!(next(&json!({ "cron": cron }), zone, after, 2), [end, later], "{zone}");
        let skip = json!({"cron": cron, "gap": "skip"});
        assert_eq!(next(&skip, zone, after, 1), [later], "{zone}");
    }
    // A step in the hours is made up too, unless it is to be skipped.
    let skip = json!({"cron": "30 */2 * * *", "gap": "skip"});
    let after = "2026-03-08T06:00:00Z";
    assert_eq!(next(&skip, "America/New_York", after, 1), ["03-08 08:30:00"]);
    let skip = json!({"cron": "15 * * * *", "gap": "skip"});
    let (zone, after) = ("Australia/Lord_Howe", "2026-10-03T15:20:00Z");
    assert_eq!(next(&json!("15 * * * *"), zone, after, 1), ["10-03 15:30:00"]);
    assert_eq!(next(&skip, zone, after, 1), ["10-03 16:15:00"]);
}

#[test]
fn overlap_runs_once_or_twice() {
    // Zone, the day before, a time that comes twice, its two instants and the next day's.
    for (zone, after, cron, both, later) in [
        (
            "Europe/Zurich",
            "2026-10-24T12:00:00Z",
            "30 2 * * *",
            ["10-25 00:30:00", "10-25 01:30:00"],
            "10-26 01:30:00",
        ),
        (
            "America/New_York",
            "2026-10-31T12:00:00Z",
            "30 1 * * *",
            ["11-01 05:30:00", "11-01 06:30:00"],
            "11-02 06:30:00",
        ),
        (
            "Australia/Lord_Howe",
            "2026-04-04T00:00:00Z",
            "45 1 * * *",
            ["04-04 14:45:00", "04-04 15:15:00"],
            "04-05 15:15:00",
        ),
        (
            "Asia/Tehran",
            "2022-09-21T00:00:00Z",
            "30 23 * * *",
            ["09-21 19:00:00", "09-21 20:00:00"],
            "09-22 20:00:00",
        ),
        (
            "America/Sao_Paulo",
            "2018-02-17T12:00:00Z",
            "30 23 * * *",
            ["02-18 01:30:00", "02-18 02:30:00"],
            "02-19 02:30:00",
        ),
        (
            "Africa/Casablanca",
            "2026-02-14T12:00:00Z",
            "30 2 * * *",
            ["02-15 01:30:00", "02-15 02:30:00"],
            "02-16 02:30:00",
        ),
    ] {
        let first = [both[0], later];
        assert_eq!(next(&json!({ "cron": cron }), zone, after, 2), first, "{zone}");
        let once = json!({"cron": cron, "overlap_hour": "once"});
        assert_eq!(next(&once, zone, after, 2), first, "{zone}");
        let twice = json!({"cron": cron, "overlap_hour": "twice"});
        assert_eq!(next(&twice, zone, after, 3), [both[0], both[1], later], "{zone}");
    }
    // Hours that are not named go through both passes, unless once is asked for.
    let (zone, after) = ("America/New_York", "2026-11-01T05:00:00Z");
    let half_past = json!({"cron": "30 * * * *", "overlap_hour": "once"});
    assert_eq!(next(&half_past, zone, after, 2), ["11-01 05:30:00", "11-01 07:30:00"]);
}

#[test]
fn options_are_kept_as_given() {
    for given in [
        json!({"cron": "30 2 * * *", "time_zone": "Europe/Zurich", "gap": "skip"}),
        json!({"cron": "30 2 * * *", "time_zone": "Europe/Zurich", "overlap_hour": "once"}),
        json!({"cron": "0 0 L * *", "time_zone": "UTC", "gap": "run", "overlap_hour": "twice"}),
    ] {
        let schedule = Schedule::from_json(&given, NEW_YORK).unwrap();
        assert_eq!(schedule.to_json(), given);
        assert_eq!(Schedule::from_json(&schedule.to_json(), ZURICH).unwrap(), schedule);
    }
    let null = json!({"cron": "* * * * *", "gap": null, "time_zone": "UTC"});
    let plain = Schedule::parse("* * * * *", chrono_tz::UTC).unwrap();
    assert_eq!(Schedule::from_json(&null, ZURICH).unwrap(), plain);
}

#[test]
fn options_are_refused_with_the_way_out() {
    for (given, message, hint) in [
        (
            json!({"cron": "@daily", "gap": "skpi"}),
            "unknown gap \"skpi\"",
            "Did you mean \"skip\"?",
        ),
        (json!({"cron": "@daily", "gap": "twice"}), "unknown gap \"twice\"", "run, skip"),
        (
            json!({"cron": "@daily", "overlap_hour": "twcie"}),
            "unknown overlap_hour \"twcie\"",
            "Did you mean \"twice\"?",
        ),
        (json!({"cron": "@daily", "overlap_hour": "both"}), "overlap_hour", "once, twice"),
        (json!({"cron": "@daily", "gap": true}), "\"gap\" of the schedule is not a string", ""),
        (json!({"cron": "@daily", "gaps": "run"}), "unknown key \"gaps\"", "\"gap\"?"),
        (json!({"every": "1 day", "gap": "skip"}), "belong to \"cron\" only", "Leave them out"),
        (json!({"at": "2030-01-01", "overlap_hour": "once"}), "belong to \"cron\" only", ""),
    ] {
        let error = Schedule::from_json(&given, ZURICH).unwrap_err();
        assert!(error.message.contains(message), "{given}: {}", error.message);
        let text = error.hint.unwrap_or_default();
        assert!(text.contains(hint), "{given}: {text}");
    }
}
