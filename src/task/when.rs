//! From schedules to PostgreSQL's instants and back.

use crate::calendar::known;
use crate::error::{Error, Result, shown};
use crate::pg;
use automate_core::schedule::{Around, MAX_JSON, Schedule, ScheduleError, calendars, parse_zone};
use chrono::{DateTime, Utc};
use pgrx::datum::TimestampWithTimeZone;
use serde_json::Value;
use std::ffi::CStr;

/// Microseconds from 1970 to 2000, where PostgreSQL's clock begins.
const EPOCH_US: i64 = 946_684_800_000_000;

impl From<ScheduleError> for Error {
    fn from(error: ScheduleError) -> Error {
        Error::invalid(error.message).with_hint(error.hint.unwrap_or_else(|| {
            "Write for example \"*/5 * * * *\", \"every 90 s\" or {\"every\": \"8 hours\", \"from\": \"...\"}."
                .into()
        }))
    }
}

/// PostgreSQL's microseconds as an instant; None for infinity and years beyond the calendar's.
pub fn from_us(us: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros(us.checked_add(EPOCH_US)?)
}

/// An instant in PostgreSQL's microseconds.
pub fn to_us(instant: DateTime<Utc>) -> i64 {
    instant.timestamp_micros() - EPOCH_US
}

/// An instant as an argument of our statements.
pub fn to_datum(instant: DateTime<Utc>) -> Result<TimestampWithTimeZone> {
    TimestampWithTimeZone::try_from(to_us(instant)).map_err(|_| {
        Error::invalid("schedule leads beyond PostgreSQL's calendar")
            .with_detail(format!("It leads to {}.", instant.to_rfc3339()))
            .with_hint("Choose an instant before the year 294276.")
    })
}

/// The instant now, in whole microseconds.
pub fn now() -> DateTime<Utc> {
    from_us(crate::pg::now()).unwrap_or_default()
}

/// The zone asked for, or the session's if it has an IANA name, or UTC; by its IANA name.
pub fn zone_name(asked: Option<&str>) -> Result<String> {
    if let Some(name) = asked {
        let zone = parse_zone(name).map_err(|e| {
            Error::from(e).with_detail(format!(
                "The time zone was given as {}; zones have the names of the IANA database.",
                shown(name)
            ))
        })?;
        return Ok(zone.name().to_string());
    }
    Ok(parse_zone(&session_zone()).map_or("UTC", |zone| zone.name()).to_string())
}

fn session_zone() -> String {
    // SAFETY: the setting always has a value, which is copied at once.
    unsafe {
        let value = pgrx::pg_sys::GetConfigOption(c"TimeZone".as_ptr(), true, false);
        if value.is_null() {
            return String::new();
        }
        CStr::from_ptr(value).to_string_lossy().into_owned()
    }
}

/// Reads a schedule as its author writes it: text, or JSON as text. It may name the calendars of
/// the current user and of roles whose privileges it has; these do not change until the
/// transaction ends.
pub fn read(text: &str, zone: &str) -> Result<Schedule> {
    read_written(text, zone, true)
}

/// The same for those who only look at it.
pub fn look(text: &str, zone: &str) -> Result<Schedule> {
    read_written(text, zone, false)
}

fn read_written(text: &str, zone: &str, lock: bool) -> Result<Schedule> {
    read_text(text, zone, lock).map_err(|e| {
        e.or_detail(format!(
            "The schedule was given as {}, to be read in time zone {zone}.",
            shown(text)
        ))
    })
}

fn read_text(text: &str, zone: &str, lock: bool) -> Result<Schedule> {
    let zone = parse_zone(zone)?;
    if !text.trim_start().starts_with('{') {
        return Ok(Schedule::parse(text, zone)?);
    }
    if text.len() > MAX_JSON {
        return Err(Error::invalid("schedule is too long").with_hint(format!(
            "It has at most {MAX_JSON} bytes; automate.create_calendar keeps long lists of days."
        )));
    }
    let value: Value = serde_json::from_str(text).map_err(|e| {
        Error::invalid(format!("schedule is not JSON: {e}"))
            .with_hint("Write for example {\"cron\": \"*/5 * * * *\"}, or just */5 * * * *.")
    })?;
    // The id beside a name is what we kept: others may not choose a calendar by it.
    let named = known::by_name(pg::current_user(), &calendars(&value), lock)?;
    let find = |name: &str, _: Option<&str>| named.get(name).cloned();
    let around = Around { now: Some(now()), calendar: &find };
    Ok(Schedule::from_json_in(&value, zone, &around)?)
}

/// The trigger that is named in the place of a schedule, as `{"on_trigger": "name"}`; None for
/// schedules.
pub fn trigger_name(text: &str) -> Result<Option<String>> {
    let Ok(Value::Object(given)) = serde_json::from_str(text) else { return Ok(None) };
    match (given.get("on_trigger"), given.len()) {
        (None, _) => Ok(None),
        (Some(Value::String(name)), 1) => Ok(Some(name.clone())),
        (Some(_), _) => {
            Err(Error::invalid("on_trigger is the name of a trigger, and stands alone")
                .with_detail(format!("The schedule was given as {}.", shown(text)))
                .with_hint("Write schedule => '{\"on_trigger\": \"big_order\"}'."))
        }
    }
}

/// Reads a schedule as we keep it.
pub fn read_kept(text: &str, zone: &str) -> Result<Schedule> {
    let value: Value =
        serde_json::from_str(text).map_err(|e| Error::Internal(format!("kept schedule: {e}")))?;
    let named = known::by_id(&calendars(&value))?;
    let find = |_: &str, id: Option<&str>| named.get(id?).cloned();
    Ok(Schedule::from_json_in(&value, parse_zone(zone)?, &Around { now: None, calendar: &find })?)
}
