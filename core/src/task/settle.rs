//! What becomes of the instants that have come due: which run, which were missed, which is next.

use super::missed::Missed;
use super::policy::Misfire;
use crate::schedule::Schedule;
use chrono::{DateTime, Duration, Utc};

/// With misfire skip, a run that is later than this is left out; with all and last n, later runs
/// wait for each other whatever the overlap policy says.
pub const LATE: Duration = Duration::seconds(60);

/// Every instant from the first open one to now, accounted for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// These pass without a run.
    pub missed: Option<Missed>,
    /// These run, in their order.
    pub runs: Vec<DateTime<Utc>>,
    /// The first instant that is still to come; None when there is none, or when it is after the
    /// end of the task's validity.
    pub next: Option<DateTime<Utc>>,
}

/// Settles the instants of a schedule from `first`, the first one that is open, to `now`; none
/// after `until` runs.
pub fn settle(
    schedule: &Schedule,
    first: DateTime<Utc>,
    now: DateTime<Utc>,
    misfire: Misfire,
    until: Option<DateTime<Utc>>,
) -> Settled {
    let valid = |instant: &DateTime<Utc>| until.is_none_or(|until| *instant <= until);
    let next = schedule.next(now.max(first - Duration::microseconds(1))).filter(valid);
    let horizon = until.map_or(now, |until| until.min(now));
    if first > horizon {
        return Settled { missed: None, runs: Vec::new(), next: Some(first).filter(valid) };
    }
    let latest = schedule.last(first, horizon).unwrap_or(first);
    let (most, late_too) = misfire.runs();
    if !late_too && now - latest > LATE {
        let missed = Some(Missed::between(schedule, first, latest));
        return Settled { missed, runs: Vec::new(), next };
    }
    let runs = latest_runs(schedule, first, latest, most);
    let missed = runs.first().and_then(|run| Missed::before(schedule, first, *run));
    Settled { missed, runs, next }
}

/// The last `most` instants from `first` to `latest`, both of which are instants, in their order.
fn latest_runs(
    schedule: &Schedule,
    first: DateTime<Utc>,
    latest: DateTime<Utc>,
    most: usize,
) -> Vec<DateTime<Utc>> {
    let mut runs = vec![latest];
    let mut run = latest;
    while runs.len() < most && run > first {
        run = schedule.last(first, run - Duration::microseconds(1)).unwrap_or(first);
        runs.push(run);
    }
    runs.reverse();
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn hourly() -> Schedule {
        Schedule::parse("0 * * * *", chrono_tz::UTC).unwrap()
    }

    fn hours(settled: &Settled) -> Vec<String> {
        settled.runs.iter().map(|run| run.format("%H").to_string()).collect()
    }

    #[test]
    fn misfire_says_what_runs_after_an_outage() {
        let (first, now) = (utc("2026-03-01T01:00:00Z"), utc("2026-03-01T05:30:00Z"));
        let settled = |misfire| settle(&hourly(), first, now, misfire, None);
        let missed = |from: &str, to: &str, count| {
            let at = |hour: &str| utc(&format!("2026-03-01T{hour}:00:00Z"));
            Some(Missed { first: at(from), last: at(to), count })
        };
        let next = Some(utc("2026-03-01T06:00:00Z"));
        let skip = settled(Misfire::Skip);
        assert_eq!(skip, Settled { missed: missed("01", "05", 5), runs: vec![], next });
        let once = settled(Misfire::Once);
        assert_eq!((hours(&once), &once.missed), (vec!["05".into()], &missed("01", "04", 4)));
        let all = settled(Misfire::All);
        assert_eq!((hours(&all).join(" "), &all.missed), ("01 02 03 04 05".into(), &None));
        let last = settled(Misfire::Last(2));
        assert_eq!(
            (hours(&last).join(" "), &last.missed),
            ("04 05".into(), &missed("01", "03", 3))
        );
        assert!([once, all, last].iter().all(|settled| settled.next == next));
    }

    #[test]
    fn what_is_on_time_runs_whatever_the_policy() {
        let first = utc("2026-03-01T01:00:00Z");
        for misfire in [Misfire::Skip, Misfire::Once, Misfire::All, Misfire::Last(3)] {
            let settled = settle(&hourly(), first, first + Duration::seconds(59), misfire, None);
            assert_eq!((settled.runs, settled.missed), (vec![first], None), "{misfire}");
        }
    }

    #[test]
    fn a_clock_that_is_set_back_makes_nothing_run_again() {
        // 02:00 is settled, then the clock goes back to 00:30: next stays 03:00.
        let first = utc("2026-03-01T03:00:00Z");
        let settled = settle(&hourly(), first, utc("2026-03-01T00:30:00Z"), Misfire::All, None);
        assert_eq!(settled, Settled { missed: None, runs: vec![], next: Some(first) });
    }

    #[test]
    fn a_clock_that_jumps_far_makes_no_storm() {
        let second = Schedule::parse("* * * * * *", chrono_tz::UTC).unwrap();
        let (first, now) = (utc("2026-03-01T00:00:00Z"), utc("2027-03-01T00:00:00Z"));
        let settled = settle(&second, first, now, Misfire::All, None);
        assert_eq!(settled.runs.len(), Misfire::MOST);
        assert_eq!(settled.runs.last(), Some(&now));
        let missed = settled.missed.unwrap();
        assert_eq!((missed.first, missed.count), (first, 100_000));
        assert_eq!(missed.last + Duration::seconds(1), settled.runs[0]);
    }

    #[test]
    fn nothing_runs_after_its_validity() {
        let (first, now) = (utc("2026-03-01T01:00:00Z"), utc("2026-03-01T05:30:00Z"));
        let until = Some(utc("2026-03-01T03:00:00Z"));
        let settled = settle(&hourly(), first, now, Misfire::All, until);
        assert_eq!((hours(&settled).join(" "), settled.next), ("01 02 03".into(), None));
        let over = settle(&hourly(), first, now, Misfire::All, Some(utc("2026-03-01T00:30:00Z")));
        assert_eq!(over, Settled { missed: None, runs: vec![], next: None });
    }
}
