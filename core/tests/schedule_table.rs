//! A table of expressions and the instants that other programs, or a calendar, give for them.

use automate_core::schedule::{Schedule, parse_zone};
use chrono::{DateTime, Utc};

const TABLE: &str = include_str!("data/schedules.tsv");

#[test]
fn every_row_of_the_table_holds() {
    let mut rows = 0;
    let mut wrong = Vec::new();
    for line in TABLE.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let [text, zone, after, first, second, third, source, ..] =
            line.split('\t').collect::<Vec<_>>()[..]
        else {
            panic!("this line has too few columns: {line}");
        };
        assert!(["both", "croniter", "cronsim", "hand"].contains(&source), "{line}");
        let schedule = Schedule::parse(text, parse_zone(zone).unwrap())
            .unwrap_or_else(|error| panic!("{text}: {error}"));
        let mut at: DateTime<Utc> = after.parse().unwrap();
        for expected in [first, second, third] {
            let expected: DateTime<Utc> = expected.parse().unwrap();
            let next = schedule.next(at);
            if next != Some(expected) {
                wrong.push(format!("{text} in {zone} after {at}: {next:?}, not {expected}"));
            }
            at = expected;
        }
        rows += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(rows >= 200, "only {rows} rows");
}
