//! Several schedules as one: it runs whenever one of them does, at an instant of several once.

use chrono::{DateTime, Duration, Utc};

use super::Schedule;

/// The parts of a joined schedule; each has its own zone and its own exclusions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Joined(pub(super) Vec<Schedule>);

impl Joined {
    /// The first run of any part after `after`, and not after `until`.
    pub(super) fn next(&self, after: DateTime<Utc>, until: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.0.iter().fold(None, |found, part| {
            // Nothing later than what another part has is of use.
            part.next_until(after, found.unwrap_or(until)).or(found)
        })
    }

    /// The parts that run at an instant.
    pub(super) fn running(&self, instant: DateTime<Utc>) -> impl Iterator<Item = &Schedule> {
        let before = instant - Duration::nanoseconds(1);
        self.0.iter().filter(move |part| part.next_until(before, instant) == Some(instant))
    }
}
