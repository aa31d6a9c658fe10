//! `next` against two crates from the registry, each where its dialect and ours are the same.

use std::str::FromStr;

use super::random::Random;
use super::*;

#[test]
fn next_agrees_with_the_cron_crate() {
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

/// The day fields that croner has too. It does not know `L-3`, takes `L` beside `LW` for `LW`
/// alone, and a step of `*` for a restriction.
fn day_fields(random: &mut Random) -> String {
    let (date, weekday) = (1 + random.below(31), random.below(8));
    let dates = match random.below(7) {
        0 => "L".into(),
        1 => "LW".into(),
        2 => format!("{date}W"),
        3 => format!("{date}W,{},L", 1 + random.below(31)),
        4 => format!("{date}"),
        _ => "*".into(),
    };
    let weekdays = match random.below(7) {
        0 => format!("{weekday}L"),
        1 => format!("{weekday}#{}", 1 + random.below(5)),
        2 => format!("fri#{},monL", 1 + random.below(5)),
        3 => format!("{weekday}"),
        _ => "*".into(),
    };
    format!("{dates} {} {weekdays}", random.field(1, 12, 10).replace("*/", "1-12/"))
}

#[test]
fn next_agrees_with_croner() {
    let mut random = Random(11);
    for _ in 0..500 {
        let text = format!(
            "{} {} {} {}",
            random.below(60),
            random.field(0, 59, 0),
            random.field(0, 23, 0),
            day_fields(&mut random)
        );
        let ours = Schedule::parse(&text, chrono_tz::UTC).unwrap();
        let theirs = ::croner::Cron::from_str(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
        let mut at =
            utc("2026-11-22T00:00:00Z") + Duration::seconds(random.below(86_400 * 900).into());
        for _ in 0..20 {
            // It gives up where ours ends, or later.
            let Ok(expected) = theirs.find_next_occurrence(&at, false) else { break };
            assert_eq!(ours.next(at), Some(expected), "{text} after {at}");
            at = expected;
        }
    }
}
