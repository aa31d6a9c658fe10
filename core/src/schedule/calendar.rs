//! Named calendars: windows that many schedules share, such as the holidays of a place.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde_json::Value;

use super::error::ScheduleError;
use super::window::{Moment, Window, first_change};
use super::window_json::{self, Place};

/// Most entries of a calendar.
const MAX_ENTRIES: usize = 1000;

/// A calendar, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    id: String,
    name: String,
    /// The zone of its days; that of the schedule where it has none.
    pub(super) zone: Option<Tz>,
    entries: Vec<Window>,
}

impl Calendar {
    /// Reads the entries, an array of exclusions, or `{"days": ...}` alone; other calendars cannot
    /// be among them.
    pub fn read(
        id: impl Into<String>,
        name: impl Into<String>,
        entries: &Value,
        zone: Option<Tz>,
    ) -> Result<Calendar, ScheduleError> {
        let place = Place { zone: zone.unwrap_or(Tz::UTC), calendar: None };
        let entries = window_json::read_list("entries", entries, &place)?;
        if entries.len() > MAX_ENTRIES {
            return Err(ScheduleError::new(format!(
                "a calendar has at most {MAX_ENTRIES} entries"
            ))
            .with_hint("Put the days of several entries into one: {\"days\": [...]}."));
        }
        Ok(Calendar { id: id.into(), name: name.into(), zone, entries })
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The entries as they are kept.
    pub fn to_json(&self) -> Value {
        self.entries.iter().map(window_json::write).collect()
    }

    pub(super) fn covers(&self, at: Moment) -> bool {
        self.entries.iter().any(|entry| entry.covers(at))
    }

    pub(super) fn change(&self, at: Moment) -> Option<DateTime<Utc>> {
        first_change(&self.entries, at)
    }
}
