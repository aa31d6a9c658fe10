//! L, W, # and ? in the two day fields.

use super::*;

/// The next days of the two day fields, from the start of 2026.
fn days(of_month: &str, of_week: &str, count: usize) -> Vec<String> {
    let text = format!("0 0 {of_month} * {of_week}");
    let runs = runs(&text, chrono_tz::UTC, "2025-12-31T12:00:00Z", count);
    runs.iter().map(|run| run.split(' ').next().unwrap().to_string()).collect()
}

#[test]
fn days_are_counted_from_the_end_of_the_month() {
    assert_eq!(days("L", "*", 4), ["01-31", "02-28", "03-31", "04-30"]);
    assert_eq!(days("L-3", "*", 3), ["01-28", "02-25", "03-28"]);
    assert_eq!(days("l-30", "?", 3), ["01-01", "03-01", "05-01"]);
    assert_eq!(days("1,15,L", "*", 5), ["01-01", "01-15", "01-31", "02-01", "02-15"]);
    let leap = runs("0 0 L 2 *", chrono_tz::UTC, "2027-12-31T00:00:00Z", 2);
    assert_eq!(leap, ["02-29 00:00:00", "02-28 00:00:00"]);
}

#[test]
fn the_nearest_weekday_stays_in_the_month() {
    // 15 February and 15 March 2026 are Sundays, 15 August is a Saturday.
    assert_eq!(days("15W", "*", 4), ["01-15", "02-16", "03-16", "04-15"]);
    assert_eq!(runs("0 0 15W 8 *", ZURICH, "2026-01-01T00:00:00Z", 1), ["08-13 22:00:00"]);
    // 1 August is a Saturday: not the Friday before, which is July's.
    assert_eq!(runs("0 0 1W 8 *", chrono_tz::UTC, "2026-01-01T00:00:00Z", 1), ["08-03 00:00:00"]);
    // 31 May is a Sunday, 31 October a Saturday; what has no 31st has no run.
    assert_eq!(days("31W", "*", 5), ["01-30", "03-31", "05-29", "07-31", "08-31"]);
    assert_eq!(days("LW", "*", 5), ["01-30", "02-27", "03-31", "04-30", "05-29"]);
    assert_eq!(days("L-1W", "*", 3), ["01-30", "02-27", "03-30"]);
}

#[test]
fn weekdays_are_counted_within_the_month() {
    assert_eq!(days("*", "friL", 3), ["01-30", "02-27", "03-27"]);
    assert_eq!(days("?", "FRIDAYl", 3), ["01-30", "02-27", "03-27"]);
    assert_eq!(days("*", "5#3", 3), ["01-16", "02-20", "03-20"]);
    assert_eq!(days("*", "fri#5", 3), ["01-30", "05-29", "07-31"]);
    for sunday in ["0L", "7L", "sunL"] {
        assert_eq!(days("*", sunday, 2), ["01-25", "02-22"]);
    }
    assert_eq!(days("*", "7#1,mon", 3), ["01-04", "01-05", "01-12"]);
    // Both restricted: either.
    assert_eq!(days("L", "mon#1", 4), ["01-05", "01-31", "02-02", "02-28"]);
    // 29 February 2036 is the fifth Friday of its month.
    let text = "0 0 * 2 fri#5";
    let next = Schedule::parse(text, chrono_tz::UTC).unwrap().next(utc("2026-01-01T00:00:00Z"));
    assert_eq!(next, Some(utc("2036-02-29T00:00:00Z")));
}

#[test]
fn errors_name_the_field_the_part_and_the_way_out() {
    for (text, message, hint) in [
        ("0 0 1,32W * *", "day of month \"32\" is out of range (field 3 of 5, part 2 of 2)", "31"),
        ("0 0 15W-17 * *", "cannot read day of month \"15W-17\" (field 3 of 5)", "no range"),
        ("0 0 1-L * *", "cannot read day of month \"1-L\" (field 3 of 5)", "no range"),
        ("0 0 L/2 * *", "cannot read day of month \"L/2\" (field 3 of 5)", "no step"),
        ("0 0 W * *", "cannot read day of month \"W\" (field 3 of 5)", "\"15W\""),
        ("0 0 L-31 * *", "day of month \"L-31\" is out of range (field 3 of 5)", "L-0 to L-30"),
        ("0 0 0 5#3 * *", "cannot read day of month \"5#3\" (field 4 of 6)", "day of week"),
        ("0 0 * * L", "cannot read day of week \"L\" (field 5 of 5)", "\"friL\""),
        ("0 0 * * mon-friL", "cannot read day of week \"mon-friL\" (field 5 of 5)", "one day"),
        ("0 0 * * 15W", "cannot read day of week \"15W\" (field 5 of 5)", "day of month"),
        ("0 0 * * LW", "cannot read day of week \"LW\" (field 5 of 5)", "day of month"),
        ("0 0 * * fri#6", "cannot read day of week \"fri#6\" (field 5 of 5)", "1 to 5"),
        ("0 0 * * fri#L", "cannot read day of week \"fri#L\" (field 5 of 5)", "\"friL\""),
        ("0 0 * * 9#1", "day of week \"9\" is out of range (field 5 of 5)", "from 0 to 7"),
        ("0 0 * * 1,fry#2", "cannot read day of week \"fry\" (field 5 of 5, part 2", "\"fri\""),
        ("? 0 * * *", "cannot read minute \"?\" (field 1 of 5)", "two day fields only"),
        ("0 0 ?/2 * *", "cannot read day of month \"?\" (field 3 of 5)", "\"*\""),
        ("5 1,2,61 0 * * *", "minute \"61\" is out of range (field 2 of 6, part 3 of 3)", "59"),
        ("0 0 * jan,*/x *", "step \"x\" of the month field is not a number (field 4", "\"*/2\""),
    ] {
        let error = match Schedule::parse(text, ZURICH) {
            Err(error) => error,
            Ok(_) => panic!("{text} was accepted"),
        };
        assert!(error.message.contains(message), "{text}: {}", error.message);
        let given = error.hint.unwrap_or_default();
        assert!(given.contains(hint), "{text}: {given}");
    }
}

#[test]
fn text_round_trips() {
    for (text, normal) in [
        ("0 0 l,15w,LW * FRIl,Mon#2", "0 0 L,15W,LW * friL,mon#2"),
        ("0 0 0 L-3 JUL,april wednesday", "0 0 0 L-3 jul,april wednesday"),
    ] {
        let schedule = Schedule::parse(text, ZURICH).unwrap();
        assert_eq!(schedule.to_string(), normal);
        assert_eq!(Schedule::parse(normal, ZURICH).unwrap(), schedule);
        assert_eq!(Schedule::from_json(&schedule.to_json(), chrono_tz::UTC).unwrap(), schedule);
    }
}
