//! Instants of a schedule that pass without a run.

use crate::schedule::Schedule;
use chrono::{DateTime, Duration, Utc};

/// Instants in a row that passed without a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    pub first: DateTime<Utc>,
    pub last: DateTime<Utc>,
    /// Counted one by one, to 100,000.
    pub count: usize,
}

/// Most instants that are counted one by one.
const MOST: usize = 100_000;

impl Missed {
    /// One instant alone.
    pub fn one(instant: DateTime<Utc>) -> Missed {
        Missed { first: instant, last: instant, count: 1 }
    }

    /// The instants from `first`, which is one, to `until`.
    pub fn between(schedule: &Schedule, first: DateTime<Utc>, until: DateTime<Utc>) -> Missed {
        let last = schedule.last(first, until).unwrap_or(first);
        let count = 1 + schedule.count(first, last, MOST - 1);
        Missed { first, last, count }
    }

    /// The instants from `first` to the one before `end`; None when `first` is `end`.
    pub fn before(schedule: &Schedule, first: DateTime<Utc>, end: DateTime<Utc>) -> Option<Missed> {
        let until = end - Duration::microseconds(1);
        (first < end).then(|| Missed::between(schedule, first, until))
    }
}
