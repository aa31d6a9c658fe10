//! The examples of RFC 5545, section 3.8.5.3, and what is ours beyond it.

use super::super::Schedule;
use super::*;
use serde_json::json;

const NEW_YORK: Tz = chrono_tz::America::New_York;

fn rule(text: &str, start: &str) -> Rrule {
    let start = NaiveDateTime::parse_from_str(start, "%Y-%m-%d %H:%M").unwrap();
    Rrule::parse(text, None, NEW_YORK, Some(start)).unwrap_or_else(|e| panic!("{text}: {e:?}"))
}

/// The first runs, in wall time.
fn walk(rule: &Rrule, count: usize) -> Vec<NaiveDateTime> {
    let mut at = rule.start - Duration::seconds(1);
    let mut found = Vec::new();
    while found.len() < count
        && let Some(next) = rule.next_wall_time(at, NaiveDateTime::MAX)
    {
        assert!(next > at);
        found.push(next);
        at = next;
    }
    found
}

/// DTSTART, the rule, its first runs, and whether these are all.
const EXAMPLES: [(&str, &str, &str, bool); 37] = [
    (
        "1997-09-02",
        "FREQ=DAILY;COUNT=10",
        "97-09-02 97-09-03 97-09-04 97-09-05 97-09-06 97-09-07 97-09-08 97-09-09 97-09-10 97-09-11",
        true,
    ),
    ("1997-09-02", "FREQ=DAILY;INTERVAL=2", "97-09-02 97-09-04 97-09-06 97-09-08", false),
    (
        "1997-09-02",
        "FREQ=DAILY;INTERVAL=10;COUNT=5",
        "97-09-02 97-09-12 97-09-22 97-10-02 97-10-12",
        true,
    ),
    (
        "1997-09-02",
        "FREQ=WEEKLY;COUNT=10",
        "97-09-02 97-09-09 97-09-16 97-09-23 97-09-30 97-10-07 97-10-14 97-10-21 97-10-28 97-11-04",
        true,
    ),
    (
        "1997-09-02",
        "FREQ=WEEKLY;UNTIL=19971224T000000Z",
        "97-09-02 97-09-09 97-09-16 97-09-23 97-09-30 97-10-07 97-10-14 97-10-21 97-10-28 97-11-04 97-11-11 97-11-18 97-11-25 97-12-02 97-12-09 97-12-16 97-12-23",
        true,
    ),
    ("1997-09-02", "FREQ=WEEKLY;INTERVAL=2;WKST=SU", "97-09-02 97-09-16 97-09-30 97-10-14", false),
    (
        "1997-09-02",
        "FREQ=WEEKLY;UNTIL=19971007T000000Z;WKST=SU;BYDAY=TU,TH",
        "97-09-02 97-09-04 97-09-09 97-09-11 97-09-16 97-09-18 97-09-23 97-09-25 97-09-30 97-10-02",
        true,
    ),
    (
        "1997-09-01",
        "FREQ=WEEKLY;INTERVAL=2;UNTIL=19971224T000000Z;WKST=SU;BYDAY=MO,WE,FR",
        "97-09-01 97-09-03 97-09-05 97-09-15 97-09-17 97-09-19 97-09-29 97-10-01 97-10-03",
        false,
    ),
    (
        "1997-09-02",
        "FREQ=WEEKLY;INTERVAL=2;COUNT=8;WKST=SU;BYDAY=TU,TH",
        "97-09-02 97-09-04 97-09-16 97-09-18 97-09-30 97-10-02 97-10-14 97-10-16",
        true,
    ),
    (
        "1997-09-05",
        "FREQ=MONTHLY;COUNT=10;BYDAY=1FR",
        "97-09-05 97-10-03 97-11-07 97-12-05 98-01-02 98-02-06 98-03-06 98-04-03 98-05-01 98-06-05",
        true,
    ),
    (
        "1997-09-07",
        "FREQ=MONTHLY;INTERVAL=2;COUNT=10;BYDAY=1SU,-1SU",
        "97-09-07 97-09-28 97-11-02 97-11-30 98-01-04 98-01-25 98-03-01 98-03-29 98-05-03 98-05-31",
        true,
    ),
    (
        "1997-09-22",
        "FREQ=MONTHLY;COUNT=6;BYDAY=-2MO",
        "97-09-22 97-10-20 97-11-17 97-12-22 98-01-19 98-02-16",
        true,
    ),
    (
        "1997-09-28",
        "FREQ=MONTHLY;BYMONTHDAY=-3",
        "97-09-28 97-10-29 97-11-28 97-12-29 98-01-29 98-02-26",
        false,
    ),
    (
        "1997-09-02",
        "FREQ=MONTHLY;COUNT=10;BYMONTHDAY=2,15",
        "97-09-02 97-09-15 97-10-02 97-10-15 97-11-02 97-11-15 97-12-02 97-12-15 98-01-02 98-01-15",
        true,
    ),
    (
        "1997-09-30",
        "FREQ=MONTHLY;COUNT=10;BYMONTHDAY=1,-1",
        "97-09-30 97-10-01 97-10-31 97-11-01 97-11-30 97-12-01 97-12-31 98-01-01 98-01-31 98-02-01",
        true,
    ),
    (
        "1997-09-10",
        "FREQ=MONTHLY;INTERVAL=18;COUNT=10;BYMONTHDAY=10,11,12,13,14,15",
        "97-09-10 97-09-11 97-09-12 97-09-13 97-09-14 97-09-15 99-03-10 99-03-11 99-03-12 99-03-13",
        false,
    ),
    (
        "1997-09-02",
        "FREQ=MONTHLY;INTERVAL=2;BYDAY=TU",
        "97-09-02 97-09-09 97-09-16 97-09-23 97-09-30 97-11-04",
        false,
    ),
    (
        "1997-06-10",
        "FREQ=YEARLY;COUNT=10;BYMONTH=6,7",
        "97-06-10 97-07-10 98-06-10 98-07-10 99-06-10 99-07-10 00-06-10 00-07-10 01-06-10 01-07-10",
        true,
    ),
    (
        "1997-03-10",
        "FREQ=YEARLY;INTERVAL=2;COUNT=10;BYMONTH=1,2,3",
        "97-03-10 99-01-10 99-02-10 99-03-10 01-01-10 01-02-10 01-03-10 03-01-10 03-02-10 03-03-10",
        true,
    ),
    (
        "1997-01-01",
        "FREQ=YEARLY;INTERVAL=3;COUNT=10;BYYEARDAY=1,100,200",
        "97-01-01 97-04-10 97-07-19 00-01-01 00-04-09 00-07-18 03-01-01 03-04-10 03-07-19 06-01-01",
        true,
    ),
    ("1997-05-19", "FREQ=YEARLY;BYDAY=20MO", "97-05-19 98-05-18 99-05-17", false),
    ("1997-05-12", "FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO", "97-05-12 98-05-11 99-05-17", false),
    ("1997-03-13", "FREQ=YEARLY;BYMONTH=3;BYDAY=TH", "97-03-13 97-03-20 97-03-27 98-03-05", false),
    (
        "1997-06-05",
        "FREQ=YEARLY;BYDAY=TH;BYMONTH=6,7,8",
        "97-06-05 97-06-12 97-06-19 97-06-26 97-07-03",
        false,
    ),
    (
        "1997-09-02",
        "FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13",
        "98-02-13 98-03-13 98-11-13 99-08-13 00-10-13",
        false,
    ),
    (
        "1997-09-13",
        "FREQ=MONTHLY;BYDAY=SA;BYMONTHDAY=7,8,9,10,11,12,13",
        "97-09-13 97-10-11 97-11-08 97-12-13 98-01-10",
        false,
    ),
    (
        "1996-11-05",
        "FREQ=YEARLY;INTERVAL=4;BYMONTH=11;BYDAY=TU;BYMONTHDAY=2,3,4,5,6,7,8",
        "96-11-05 00-11-07 04-11-02",
        false,
    ),
    (
        "1997-09-04",
        "FREQ=MONTHLY;COUNT=3;BYDAY=TU,WE,TH;BYSETPOS=3",
        "97-09-04 97-10-07 97-11-06",
        true,
    ),
    (
        "1997-09-29",
        "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-2",
        "97-09-29 97-10-30 97-11-27 97-12-30 98-01-29",
        false,
    ),
    (
        "1997-08-05",
        "FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=MO",
        "97-08-05 97-08-10 97-08-19 97-08-24",
        true,
    ),
    (
        "1997-08-05",
        "FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=SU",
        "97-08-05 97-08-17 97-08-19 97-08-31",
        true,
    ),
    (
        "2007-01-15",
        "FREQ=MONTHLY;BYMONTHDAY=15,30;COUNT=5",
        "07-01-15 07-01-30 07-02-15 07-03-15 07-03-30",
        true,
    ),
    // Beyond the examples: days that a month or a year lacks, and weeks of two years.
    ("2024-02-29", "FREQ=YEARLY;COUNT=3", "24-02-29 28-02-29 32-02-29", true),
    ("2026-01-31", "FREQ=MONTHLY;COUNT=4", "26-01-31 26-03-31 26-05-31 26-07-31", true),
    ("2026-01-30", "FREQ=YEARLY;BYWEEKNO=1;BYDAY=MO", "27-01-04 28-01-03 29-01-01 29-12-31", false),
    ("2026-01-30", "FREQ=YEARLY;BYWEEKNO=-1;BYDAY=SU", "27-01-03 28-01-02 28-12-31", false),
    ("2096-01-01", "FREQ=YEARLY;BYYEARDAY=366", "96-12-31 04-12-31", false),
];

#[test]
fn the_examples_of_the_rfc() {
    for (start, text, expected, all) in EXAMPLES {
        let rule = rule(text, &format!("{start} 09:00"));
        let expected: Vec<&str> = expected.split(' ').collect();
        let found = walk(&rule, expected.len() + usize::from(all));
        let shown: Vec<String> = found.iter().map(|at| at.format("%y-%m-%d").to_string()).collect();
        assert_eq!(shown, expected, "{text}");
        assert!(found.iter().all(|at| at.format("%H:%M:%S").to_string() == "09:00:00"), "{text}");
    }
}

#[test]
fn rules_of_hours_and_minutes() {
    let times = |text: &str, count: usize| -> Vec<String> {
        let shown = |at: &NaiveDateTime| at.format("%d %H:%M").to_string();
        walk(&rule(text, "1997-09-02 09:00"), count).iter().map(shown).collect()
    };
    let day = ["02 09:00", "02 12:00", "02 15:00"];
    assert_eq!(times("FREQ=HOURLY;INTERVAL=3;UNTIL=19970902T190000Z", 9), day);
    let six = ["02 09:00", "02 09:15", "02 09:30", "02 09:45", "02 10:00", "02 10:15"];
    assert_eq!(times("FREQ=MINUTELY;INTERVAL=15;COUNT=6", 9), six);
    let four = ["02 09:00", "02 10:30", "02 12:00", "02 13:30"];
    assert_eq!(times("FREQ=MINUTELY;INTERVAL=90;COUNT=4", 9), four);
    let (one, other) = (
        "FREQ=DAILY;BYHOUR=9,10,11,12,13,14,15,16;BYMINUTE=0,20,40",
        "FREQ=MINUTELY;INTERVAL=20;BYHOUR=9,10,11,12,13,14,15,16",
    );
    assert_eq!(times(one, 100), times(other, 100));
    assert_eq!(times(one, 25)[23..], ["02 16:40", "03 09:00"]);
    assert_eq!(
        times("FREQ=DAILY;BYHOUR=8,20;BYMINUTE=0,30;BYSETPOS=-1", 2),
        ["02 20:30", "03 20:30"]
    );
    assert_eq!(times("FREQ=HOURLY;BYMINUTE=10,20,30;BYSETPOS=2", 2), ["02 09:20", "02 10:20"]);
}

#[test]
fn the_two_days_of_a_clock_change() {
    let read = |rrule: &str, from: &str| {
        Schedule::from_json(&json!({"rrule": rrule, "from": from}), NEW_YORK).unwrap()
    };
    let runs = |schedule: &Schedule, after: &str, count: usize| -> Vec<String> {
        let mut at: DateTime<Utc> = after.parse().unwrap();
        (0..count)
            .map_while(|_| {
                at = schedule.next(at)?;
                Some(at.format("%d %H:%M").to_string())
            })
            .collect()
    };
    let half_past = read("FREQ=DAILY;BYHOUR=1,2;BYMINUTE=30", "2026-01-01");
    let gap = runs(&half_past, "2026-03-08T00:00:00Z", 3);
    assert_eq!(gap, ["08 06:30", "08 07:00", "09 05:30"]);
    let overlap = runs(&half_past, "2026-11-01T00:00:00Z", 3);
    assert_eq!(overlap, ["01 05:30", "01 07:30", "02 06:30"]);
    // Asked from within the second pass.
    assert_eq!(runs(&half_past, "2026-11-01T06:10:00Z", 1), ["01 07:30"]);
    let minutes = read("FREQ=MINUTELY;INTERVAL=20", "2026-01-01");
    assert_eq!(runs(&minutes, "2026-11-01T05:40:00Z", 1), ["01 07:00"]);
    assert_eq!(runs(&minutes, "2026-03-08T06:40:00Z", 2), ["08 07:00", "08 07:20"]);
    assert_eq!(
        half_past.note("2026-03-08T07:00:00Z".parse().unwrap()).as_deref(),
        Some("the clock goes forward from 02:00 to 03:00")
    );
}

#[test]
fn dense_rules_look_at_few_periods_after_years_and_empty_ones_end() {
    let after = NaiveDate::from_ymd_opt(2056, 1, 1).unwrap().and_time(<_>::default());
    for (text, most) in [
        ("FREQ=SECONDLY", 1),
        ("FREQ=MINUTELY;INTERVAL=7", 2),
        ("FREQ=HOURLY", 2),
        ("FREQ=DAILY", 2),
        ("FREQ=MONTHLY;BYDAY=-1FR", 40),
        ("FREQ=SECONDLY;BYMONTH=12;BYHOUR=23;BYMINUTE=59;BYSECOND=59", 160),
        ("FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO", 366),
    ] {
        let rule = rule(text, "2026-01-01 00:00");
        for second in 0..1000 {
            let from = after + Duration::seconds(second * 37);
            let mut looks = most;
            let found = rule.rule.at_or_after(rule.start, from, NaiveDateTime::MAX, &mut looks);
            assert!(found.is_some_and(|found| found >= from), "{text} from {from}");
        }
    }
    let after: DateTime<Utc> = "2056-01-01T00:00:00Z".parse().unwrap();
    for text in [
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=MONTHLY;BYMONTHDAY=31;BYMONTH=4,6",
        "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=HOURLY;INTERVAL=24;BYHOUR=5",
        "FREQ=SECONDLY;INTERVAL=3600;BYMINUTE=30",
        "FREQ=MINUTELY;BYMONTH=2;BYMONTHDAY=30;BYSETPOS=1",
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30;BYSETPOS=-1",
        "FREQ=MONTHLY;BYDAY=MO;BYSETPOS=6",
    ] {
        let rule = rule(text, "2026-01-01 00:00");
        assert_eq!(rule.next(after, DateTime::<Utc>::MAX_UTC), None, "{text}");
    }
}

#[test]
fn lines_of_calendars_are_understood() {
    let text = "DTSTART;TZID=Europe/Zurich:20260105T080000\nRRULE:FREQ=WEEKLY;BYDAY=MO\n\
                EXDATE;TZID=Europe/Zurich:20260112T080000,20260119T080000";
    let schedule = Schedule::from_json(&json!({ "rrule": text }), NEW_YORK).unwrap();
    let first = schedule.next("2026-01-01T00:00:00Z".parse().unwrap()).unwrap();
    assert_eq!(first.to_rfc3339(), "2026-01-05T07:00:00+00:00");
    assert_eq!(schedule.next(first).unwrap().to_rfc3339(), "2026-01-26T07:00:00+00:00");
    let kept = schedule.to_json();
    assert_eq!(kept["time_zone"], "Europe/Zurich");
    assert_eq!(Schedule::from_json(&kept, Tz::UTC).unwrap(), schedule, "{kept}");
    // UTC is taken to the wall time of the schedule; a day in UNTIL is meant as a whole.
    let rule =
        Rrule::parse("DTSTART:20260105T130000Z\nFREQ=DAILY;UNTIL=20260106", None, NEW_YORK, None)
            .unwrap();
    let found: Vec<String> = walk(&rule, 9).iter().map(ToString::to_string).collect();
    assert_eq!(found, ["2026-01-05 08:00:00", "2026-01-06 08:00:00"]);
}

#[test]
fn refusals_name_the_part() {
    let start = NaiveDate::from_ymd_opt(2026, 1, 30).map(|day| day.and_time(<_>::default()));
    for (text, message, hint) in [
        ("", "has no FREQ", "FREQ=MONTHLY"),
        ("BYDAY=MO", "has no FREQ", "FREQ=MONTHLY"),
        ("FREQ=MONTLY", "FREQ of rrule cannot be \"MONTLY\"", "Did you mean \"MONTHLY\"?"),
        ("FREQ=DAILY;BYDYA=MO", "unknown part \"BYDYA\" of rrule", "Did you mean \"BYDAY\"?"),
        ("FREQ=YEARLY;BYEASTER=1", "unknown part \"BYEASTER\"", ""),
        ("FREQ=DAILY;COUNT=0", "COUNT \"0\" of rrule is out of range", "from 1 to 10000"),
        ("FREQ=DAILY;INTERVAL=-1", "INTERVAL \"-1\" of rrule is out of range", "from 1"),
        ("FREQ=DAILY;BYHOUR=24", "BYHOUR \"24\" of rrule is out of range", "from 0 to 23"),
        ("FREQ=MONTHLY;BYMONTHDAY=0", "BYMONTHDAY \"0\"", "-31 to -1"),
        ("FREQ=MONTHLY;BYMONTHDAY=-32", "BYMONTHDAY \"-32\"", "1 to 31"),
        ("FREQ=MONTHLY;BYMONTHDAY=--1", "BYMONTHDAY \"--1\"", "1 to 31"),
        ("FREQ=MONTHLY;BYDAY=1XX", "BYDAY of rrule cannot be \"XX\"", "MO"),
        ("FREQ=MONTHLY;BYDAY=", "BYDAY of rrule cannot be", "MO"),
        ("FREQ=MONTHLY;BYDAY=54MO", "BYDAY \"54\"", "53"),
        ("FREQ=DAILY;FREQ=DAILY", "has FREQ twice", "list"),
        ("FREQ=DAILY;COUNT=2;UNTIL=20300101", "UNTIL does not go with COUNT", "leave one"),
        ("FREQ=DAILY;UNTIL=2030-01-01", "cannot read the time \"2030-01-01\"", "20260130"),
        ("FREQ=MONTHLY;BYWEEKNO=3;BYDAY=MO", "BYWEEKNO does not go with FREQ=MONTHLY", "YEARLY"),
        ("FREQ=YEARLY;BYWEEKNO=3", "BYWEEKNO needs BYDAY", "BYDAY=MO"),
        ("FREQ=YEARLY;BYWEEKNO=3;BYDAY=1MO", "does not go with BYWEEKNO", "FREQ=MONTHLY"),
        ("FREQ=DAILY;BYYEARDAY=3", "BYYEARDAY does not go with FREQ=DAILY", "YEARLY"),
        ("FREQ=WEEKLY;BYMONTHDAY=3", "BYMONTHDAY does not go with FREQ=WEEKLY", "MONTHLY"),
        ("FREQ=WEEKLY;BYDAY=1MO", "does not go with FREQ=WEEKLY", "MONTHLY"),
        ("FREQ=DAILY;BYSETPOS=1", "BYSETPOS needs another part", "BYDAY"),
        ("RDATE:20260101\nFREQ=DAILY", "cannot read the line \"RDATE\"", "\"any\""),
        ("EXRULE:FREQ=DAILY", "cannot read the line \"EXRULE\"", "except"),
        ("RRULE:FREQ=DAILY\nRRULE:FREQ=WEEKLY", "more than one rule", "\"any\""),
        ("DTSTART:20260101\nFREQ=DAILY", "both \"from\" and DTSTART", "one of them"),
        ("EXDATE;TZID=Asia/Tokio:20260101\nFREQ=DAILY", "unknown time zone", "Asia/Tokyo"),
        (
            "FREQ=SECONDLY;INTERVAL=3607;BYMINUTE=7;BYSECOND=11;BYHOUR=3;COUNT=10000",
            "leads too far",
            "UNTIL",
        ),
    ] {
        let error = match Rrule::parse(text, None, NEW_YORK, start) {
            Err(error) => error,
            Ok(rule) => panic!("{text} was accepted: {rule:?}"),
        };
        assert!(error.message.contains(message), "{text}: {}", error.message);
        assert!(error.hint.clone().unwrap_or_default().contains(hint), "{text}: {:?}", error.hint);
    }
    assert!(
        Rrule::parse("FREQ=DAILY", None, NEW_YORK, None)
            .unwrap_err()
            .message
            .contains("no \"from\"")
    );
}
