//! What a schedule in wall time does where the clock is put forward or back.

use chrono::Duration;
use serde_json::{Map, Value};

use super::error::{ScheduleError, quoted};
use crate::suggest;

/// A run that falls into the gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gap {
    /// At the first instant after it.
    Run,
    /// Not at all.
    Skip,
}

/// A run in the hour that comes twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OverlapHour {
    /// In the first pass.
    Once,
    /// In both passes.
    Twice,
}

const GAPS: [(&str, Gap); 2] = [("run", Gap::Run), ("skip", Gap::Skip)];
const OVERLAPS: [(&str, OverlapHour); 2] =
    [("once", OverlapHour::Once), ("twice", OverlapHour::Twice)];

/// What the author asked for; by default the hours of the schedule decide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Clock {
    gap: Option<Gap>,
    overlap_hour: Option<OverlapHour>,
}

impl Clock {
    /// From the values of the keys `gap` and `overlap_hour`.
    pub(super) fn read(
        gap: Option<&str>,
        overlap_hour: Option<&str>,
    ) -> Result<Clock, ScheduleError> {
        Ok(Clock {
            gap: gap.map(|word| choose("gap", word, &GAPS)).transpose()?,
            overlap_hour: overlap_hour
                .map(|word| choose("overlap_hour", word, &OVERLAPS))
                .transpose()?,
        })
    }

    /// Adds what was asked for, and nothing else.
    pub(super) fn write(self, object: &mut Map<String, Value>) {
        let name = |gap| GAPS.iter().find(|(_, known)| *known == gap).map(|(name, _)| *name);
        if let Some(name) = self.gap.and_then(name) {
            object.insert("gap".into(), name.into());
        }
        let name = |pass| OVERLAPS.iter().find(|(_, known)| *known == pass).map(|(name, _)| *name);
        if let Some(name) = self.overlap_hour.and_then(name) {
            object.insert("overlap_hour".into(), name.into());
        }
    }

    /// Whether a run in a gap of that length is moved to its end. A schedule that runs in every
    /// hour has a run of the next hour one real hour after its last, if whole hours are missing.
    pub(super) fn makes_up(self, every_hour: bool, gap: Duration) -> bool {
        self.gap != Some(Gap::Skip) && (!every_hour || gap.num_seconds() % 3600 != 0)
    }

    /// Whether both passes of an overlap have runs; `wild` is a schedule that does not name its
    /// hours.
    pub(super) fn both_passes(self, wild: bool) -> bool {
        self.overlap_hour.map_or(wild, |passes| passes == OverlapHour::Twice)
    }
}

fn choose<T: Copy>(key: &str, word: &str, known: &[(&str, T)]) -> Result<T, ScheduleError> {
    match known.iter().find(|(name, _)| *name == word) {
        Some((_, choice)) => Ok(*choice),
        None => {
            let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
            let short: String = word.chars().take(20).collect();
            Err(ScheduleError::new(format!("unknown {key} {} in the schedule", quoted(word)))
                .with_hint(suggest::hint(&short, &names)))
        }
    }
}
