//! Between wall time and instants: what is missing from a day and what comes twice.

use chrono::{DateTime, Duration, LocalResult, NaiveDateTime, Offset, TimeZone, Utc};
use chrono_tz::{GapInfo, Tz};

/// What a wall time means in a zone.
pub(super) enum Wall {
    Once(DateTime<Utc>),
    /// Both passes of an overlap, and the instant at which the clock is put back.
    Twice {
        first: DateTime<Utc>,
        second: DateTime<Utc>,
        back: DateTime<Utc>,
    },
    /// The first instant after the gap, and how long the gap is.
    Never {
        end: DateTime<Utc>,
        length: Duration,
    },
}

/// The wall time of an instant, whole seconds as everywhere in this module.
pub(super) fn local(zone: Tz, instant: DateTime<Utc>) -> NaiveDateTime {
    instant.with_timezone(&zone).naive_local()
}

/// What `time` means in `zone`; `None` outside of what the calendar can do.
pub(super) fn resolve(zone: Tz, time: NaiveDateTime) -> Option<Wall> {
    match zone.from_local_datetime(&time) {
        LocalResult::Single(instant) => Some(Wall::Once(instant.to_utc())),
        LocalResult::Ambiguous(first, second) => {
            let (first, second) = (first.to_utc(), second.to_utc());
            Some(Wall::Twice { first, second, back: change(zone, first, second) })
        }
        LocalResult::None => {
            let gap = GapInfo::new(&time, &zone)?;
            let (begin, before) = gap.begin?;
            let end = zone.from_utc_datetime(&begin.checked_sub_offset(before.fix())?);
            let length = end.naive_local() - begin;
            Some(Wall::Never { end: end.to_utc(), length })
        }
    }
}

/// The instant of a wall time: after a gap, and before the clock is put back.
pub(super) fn first_instant(zone: Tz, time: NaiveDateTime) -> Option<DateTime<Utc>> {
    Some(match resolve(zone, time)? {
        Wall::Once(instant) | Wall::Twice { first: instant, .. } => instant,
        Wall::Never { end, .. } => end,
    })
}

/// The instant between `low` and `high` at which the offset changes.
fn change(zone: Tz, mut low: DateTime<Utc>, mut high: DateTime<Utc>) -> DateTime<Utc> {
    let offset = |instant: DateTime<Utc>| zone.offset_from_utc_datetime(&instant.naive_utc()).fix();
    let before = offset(low);
    while high - low > Duration::seconds(1) {
        let middle = low + Duration::seconds((high - low).num_seconds() / 2);
        if offset(middle) == before {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}
