//! Jitter: runs of many tasks that are due together are spread, each by the same amount whenever
//! and wherever it is asked.

use chrono::{DateTime, Duration, Utc};
use uuid::Uuid;

/// How much later than its instant a run begins: 0 to just under `most`, the same for the same task
/// and instant.
pub fn jitter(task: Uuid, instant: DateTime<Utc>, most: Duration) -> Duration {
    let most_us = most.num_microseconds().and_then(|us| u64::try_from(us).ok()).unwrap_or(0);
    if most_us == 0 {
        return Duration::zero();
    }
    let instant = instant.timestamp_micros().to_le_bytes();
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for byte in task.as_bytes().iter().chain(&instant) {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    }
    // The high bits of this hash are poor: they are mixed into the low ones.
    hash = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^= hash >> 29;
    Duration::microseconds(i64::try_from(hash % most_us).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_is_stable_and_spreads() {
        let at: DateTime<Utc> = "2026-03-01T10:00:00Z".parse().unwrap();
        let most = Duration::seconds(60);
        let ids: Vec<Uuid> = (0..1000).map(Uuid::from_u128).collect();
        let delays: Vec<i64> =
            ids.iter().map(|id| jitter(*id, at, most).num_milliseconds()).collect();
        assert!(delays.iter().all(|ms| (0..60_000).contains(ms)));
        assert_eq!(jitter(ids[7], at, most).num_milliseconds(), delays[7]);
        for tenth in 0..10 {
            let inside = |ms: &&i64| **ms / 6_000 == tenth;
            let count = delays.iter().filter(inside).count();
            assert!((60..150).contains(&count), "{count} of 1000 in tenth {tenth}");
        }
        assert_eq!(jitter(ids[7], at, Duration::zero()), Duration::zero());
        assert_ne!(jitter(ids[7], at + Duration::days(1), most).num_milliseconds(), delays[7]);
    }
}
