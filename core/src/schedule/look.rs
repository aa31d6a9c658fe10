//! Looking at a schedule from outside: what was missed, and what the clock does on a day.

use chrono::{DateTime, Duration, Offset, TimeZone, Utc};

use super::wall::{self, Wall};
use super::{Kind, Schedule};

impl Schedule {
    /// The latest instant after `after` and not after `until`; `None` when there is none. Takes
    /// some tens of steps, however long the time between.
    pub fn last(&self, after: DateTime<Utc>, until: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let due = |from| self.next_until(from, until);
        let mut found = due(after)?;
        // No instant is later than `high`, but for `high` itself.
        let mut high = until;
        while high - found > Duration::microseconds(1) {
            let middle = found + (high - found) / 2;
            match due(middle) {
                Some(later) => found = later,
                None => high = middle,
            }
        }
        Some(due(found).unwrap_or(found))
    }

    /// How many instants there are after `after` and not after `until`; counted to `most`.
    pub fn count(&self, after: DateTime<Utc>, until: DateTime<Utc>, most: usize) -> usize {
        let mut at = after;
        (0..most)
            .take_while(|_| match self.next_until(at, until) {
                Some(next) => {
                    at = next;
                    true
                }
                None => false,
            })
            .count()
    }

    /// What the clocks do at an instant of a schedule in local time: it lies in an hour that
    /// comes twice (and runs in both passes or not), or the clock is put forward to it. What is
    /// left out has no instant and so no note.
    pub fn note(&self, instant: DateTime<Utc>) -> Option<String> {
        let (zone, in_both) = match &self.kind {
            Kind::Cron(cron) => (cron.zone(), cron.both_passes()),
            Kind::Rrule(rule) => (rule.zone(), false),
            Kind::Any(parts) => return parts.running(instant).find_map(|part| part.note(instant)),
            Kind::Every { .. } | Kind::At(_) => return None,
        };
        let local = wall::local(zone, instant);
        if let Some(Wall::Twice { first, .. }) = wall::resolve(zone, local) {
            let pass = if instant == first { "first" } else { "second" };
            let both = if in_both { " of both passes" } else { "" };
            return Some(format!("{} comes twice: the {pass}{both}", local.format("%H:%M")));
        }
        let offset = |at: DateTime<Utc>| {
            zone.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc()
        };
        let before = instant.checked_sub_signed(Duration::seconds(1))?;
        let jump = offset(instant) - offset(before);
        (jump > 0).then(|| {
            let from = local - Duration::seconds(jump.into());
            let (from, to) = (from.format("%H:%M"), local.format("%H:%M"));
            format!("the clock goes forward from {from} to {to}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn read(text: &str, zone: &str) -> Schedule {
        Schedule::parse(text, super::super::parse_zone(zone).unwrap()).unwrap()
    }

    #[test]
    fn last_is_what_walking_finds() {
        let from = utc("2026-03-28T00:00:00Z");
        for text in ["* * * * * *", "*/7 * * * *", "30 2 * * *", "every 90 s", "0 0 1 1 *"] {
            let schedule = read(text, "Europe/Zurich");
            for seconds in [0, 1, 59, 60, 61, 90, 420, 5_000, 90_000, 200_000] {
                let until = from + Duration::seconds(seconds);
                let mut walked = None;
                let mut count = 0;
                let mut at = from;
                while let Some(next) = schedule.next(at).filter(|n| *n <= until) {
                    (walked, at, count) = (Some(next), next, count + 1);
                }
                assert_eq!(schedule.last(from, until), walked, "{text} for {seconds} s");
                assert_eq!(schedule.count(from, until, usize::MAX), count, "{text}");
            }
        }
        let second = read("* * * * * *", "UTC");
        let year = utc("2027-03-28T00:00:00Z");
        assert_eq!(second.last(from, year), Some(year));
        assert_eq!(second.count(from, year, 1000), 1000);
        assert_eq!(read("at 2026-01-01T00:00:00Z", "UTC").last(from, year), None);
    }

    #[test]
    fn note_tells_what_the_clock_does() {
        let zurich = read("30 2 * * *", "Europe/Zurich");
        let note = |text: &str| zurich.note(utc(text));
        assert_eq!(
            note("2026-03-29T01:00:00Z").as_deref(),
            Some("the clock goes forward from 02:00 to 03:00")
        );
        assert_eq!(note("2026-10-25T00:30:00Z").as_deref(), Some("02:30 comes twice: the first"));
        assert_eq!(note("2026-10-25T01:30:00Z").as_deref(), Some("02:30 comes twice: the second"));
        assert_eq!(note("2026-10-26T01:30:00Z"), None);
        let half_past = read("30 * * * *", "Europe/Zurich");
        assert_eq!(
            half_past.note(utc("2026-10-25T01:30:00Z")).as_deref(),
            Some("02:30 comes twice: the second of both passes")
        );
        assert_eq!(read("every 1 s", "Europe/Zurich").note(utc("2026-10-25T00:30:00Z")), None);
    }
}
