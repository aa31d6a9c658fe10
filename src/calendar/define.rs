//! Making, changing and removing calendars.

use super::known::key;
use super::retime;
use crate::error::{Error, Result, shown_json};
use crate::noun::CALENDAR;
use crate::spi::own::Rows;
use crate::spi::{Own, as_extension};
use crate::task::when;
use crate::{access, audit};
use automate_core::schedule::{Calendar, parse_zone};
use pgrx::prelude::*;
use serde_json::Value;
use uuid::Uuid;

/// What is to be another way; None stays as it is.
pub struct Changes {
    pub entries: Option<Value>,
    pub time_zone: Option<String>,
    pub description: Option<String>,
    pub new_name: Option<String>,
}

/// Sound entries, as they are kept.
fn check(name: &str, entries: &Value, zone: Option<&str>) -> Result<Value> {
    let zone = zone.map(parse_zone).transpose()?;
    match Calendar::read("", name, entries, zone) {
        Ok(calendar) => Ok(calendar.to_json()),
        Err(e) => {
            Err(Error::from(e)
                .or_detail(format!("The entries were given as {}.", shown_json(entries))))
        }
    }
}

/// Makes a calendar; returns its id.
pub fn create(
    owner: pg_sys::Oid,
    name: &str,
    entries: &Value,
    time_zone: Option<&str>,
    description: Option<&str>,
) -> Result<Uuid> {
    access::check_name("calendar", name)?;
    let zone = time_zone.map(|zone| when::zone_name(Some(zone))).transpose()?;
    let entries = check(name, entries, zone.as_deref())?;
    let id = Uuid::now_v7();
    as_extension(|own| {
        audit::around(own, &audit::CALENDAR, (owner, "create"), id, || {
            let made = own.run(
                "INSERT INTO automate.calendar (id, name, description, owner, entries, time_zone, created_by)
                 VALUES ($1, $2, $3, $4, $5::text::jsonb, $6, $4) ON CONFLICT (owner, name) DO NOTHING",
                &[
                    key(id).into(),
                    name.into(),
                    description.into(),
                    owner.into(),
                    entries.to_string().into(),
                    zone.into(),
                ],
            )?;
            match made.processed {
                0 => Err(CALENDAR
                    .duplicate(owner, name)
                    .with_hint("Change it with automate.alter_calendar, or choose another name.")),
                _ => Ok(id),
            }
        })
    })
}

/// Changes a calendar, and when the tasks that name it run; returns its version.
pub fn alter(user: pg_sys::Oid, name: &str, changes: &Changes) -> Result<i32> {
    as_extension(|own| {
        let id = CALENDAR.id(own, user, name)?;
        audit::around(own, &audit::CALENDAR, (user, "alter"), id, || change(own, id, changes))
    })
}

/// The row, locked: its owner, name, entries, zone and version.
fn locked(own: &Own, id: Uuid) -> Result<Rows> {
    own.run(
        "SELECT owner::oid, name, entries::text, time_zone, version FROM automate.calendar
         WHERE id = $1 FOR UPDATE",
        &[key(id).into()],
    )
}

fn change(own: &Own, id: Uuid, changes: &Changes) -> Result<i32> {
    let row = locked(own, id)?;
    let (Some(owner), Some(version)) = (row.get::<pg_sys::Oid>(0, 1), row.get::<i32>(0, 5)) else {
        return Err(Error::missing("the calendar has just been dropped")
            .with_detail("Another session dropped it while this one waited for it.")
            .with_hint("Make it anew with automate.create_calendar."));
    };
    let (name, kept): (String, String) =
        (row.get(0, 2).unwrap_or_default(), row.get(0, 3).unwrap_or_default());
    let zone = match &changes.time_zone {
        Some(zone) => Some(when::zone_name(Some(zone))?),
        None => row.get(0, 4),
    };
    let entries = match &changes.entries {
        Some(entries) => check(&name, entries, zone.as_deref())?.to_string(),
        None => kept,
    };
    if let Some(new) = changes.new_name.as_deref().filter(|new| *new != name) {
        access::check_name("calendar", new)?;
        let taken: Option<bool> = own.one(
            "SELECT true FROM automate.calendar WHERE owner = $1 AND name = $2",
            &[owner.into(), new.into()],
        )?;
        if taken.is_some() {
            return Err(CALENDAR.duplicate(owner, new).with_hint("Choose another name."));
        }
    }
    own.run(
        "UPDATE automate.calendar SET entries = $2::text::jsonb, time_zone = $3, name = coalesce($4, name),
                description = coalesce($5, description), version = version + 1, updated_at = now()
         WHERE id = $1",
        &[
            key(id).into(),
            entries.into(),
            zone.into(),
            changes.new_name.as_deref().into(),
            changes.description.as_deref().into(),
        ],
    )?;
    if changes.entries.is_some() || changes.time_zone.is_some() || changes.new_name.is_some() {
        retime::tasks_of(own, id)?;
    }
    Ok(version + 1)
}

/// Removes a calendar that no task names.
pub fn remove(user: pg_sys::Oid, name: &str) -> Result<()> {
    as_extension(|own| {
        let id = CALENDAR.id(own, user, name)?;
        locked(own, id)?;
        let (own_names, others) = retime::names_of_tasks(own, user, id)?;
        if !own_names.is_empty() || others > 0 {
            return Err(in_use(name, &own_names, others));
        }
        audit::around(own, &audit::CALENDAR, (user, "drop"), id, || {
            own.run("DELETE FROM automate.calendar WHERE id = $1", &[key(id).into()])
        })?;
        Ok(())
    })
}

fn in_use(name: &str, names: &[String], others: i64) -> Error {
    const SHOWN: usize = 10;
    let mut users: Vec<String> =
        names.iter().take(SHOWN).map(|n| format!("task \"{n}\"")).collect();
    if names.len() > SHOWN {
        users.push(format!("{} more", names.len() - SHOWN));
    }
    if others > 0 {
        users.push(format!("{others} of other roles"));
    }
    Error::refused(
        PgSqlErrorCode::ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST,
        format!("calendar \"{name}\" is named by schedules"),
    )
    .with_detail(format!("It is used by {}.", users.join(", ")))
    .with_hint(
        "Give these tasks another schedule first, or remove them with automate.unschedule_task.",
    )
}
