//! The calendars that schedules name, kept in each session until they are changed.

use crate::error::{Error, Result, shown};
use crate::noun::CALENDAR;
use crate::spi::{Own, as_extension};
use automate_core::schedule::{Calendar, parse_zone};
use pgrx::prelude::*;
use serde_json::Value;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use uuid::Uuid;

/// Calendars that a session keeps; beyond, it begins anew.
const MOST: usize = 1000;

/// What a schedule says of the calendars that it names: each name, and the id kept beside it.
type Named<'a> = [(&'a str, Option<&'a str>)];

thread_local! {
    /// By id, each with the state of its row in which it was read.
    static KEPT: RefCell<HashMap<Uuid, (String, Arc<Calendar>)>> = RefCell::new(HashMap::new());
}

/// The calendars of those names that a role may use. With `lock` they stay as they are until the
/// transaction ends, so that no change of them can miss what is defined by them now.
pub fn by_name(
    user: pg_sys::Oid,
    named: &Named,
    lock: bool,
) -> Result<HashMap<String, Arc<Calendar>>> {
    let mut found = HashMap::new();
    if named.is_empty() {
        return Ok(found);
    }
    as_extension(|own| {
        for (name, _) in named {
            let id = CALENDAR.id(own, user, name)?;
            if lock {
                own.run(
                    "SELECT id FROM automate.calendar WHERE id = $1 FOR SHARE",
                    &[key(id).into()],
                )?;
            }
            let calendar = of_id(own, id)?.ok_or_else(|| CALENDAR.missing(own, user, name))?;
            found.insert((*name).to_owned(), calendar);
        }
        Ok(found)
    })
}

/// The calendars whose ids a kept schedule has.
pub fn by_id(named: &Named) -> Result<HashMap<String, Arc<Calendar>>> {
    let mut found = HashMap::new();
    if named.is_empty() {
        return Ok(found);
    }
    as_extension(|own| {
        for (name, id) in named {
            let id = id.unwrap_or_default();
            let calendar = match Uuid::parse_str(id) {
                Ok(id) => of_id(own, id)?,
                Err(_) => None,
            };
            let calendar = calendar.ok_or_else(|| {
                Error::missing(format!("calendar {} does not exist", shown(name)))
                    .with_detail(format!("The schedule names it by the id {}.", shown(id)))
                    .with_hint("Give the task a new schedule.")
            })?;
            found.insert(id.to_owned(), calendar);
        }
        Ok(found)
    })
}

fn of_id(own: &Own, id: Uuid) -> Result<Option<Arc<Calendar>>> {
    // A version may come back with another content, after one that was rolled back: hence xmin.
    let state: Option<String> = own.one(
        "SELECT version::text || ':' || xmin::text FROM automate.calendar WHERE id = $1",
        &[key(id).into()],
    )?;
    let Some(state) = state else { return Ok(None) };
    let kept = KEPT.with_borrow(|kept| match kept.get(&id) {
        Some((of, calendar)) if *of == state => Some(calendar.clone()),
        _ => None,
    });
    if kept.is_some() {
        return Ok(kept);
    }
    let Some(calendar) = read(own, id)? else { return Ok(None) };
    let calendar = Arc::new(calendar);
    KEPT.with_borrow_mut(|kept| {
        if kept.len() >= MOST {
            kept.clear();
        }
        kept.insert(id, (state, calendar.clone()));
    });
    Ok(Some(calendar))
}

fn read(own: &Own, id: Uuid) -> Result<Option<Calendar>> {
    let rows = own.run(
        "SELECT name, entries::text, time_zone FROM automate.calendar WHERE id = $1",
        &[key(id).into()],
    )?;
    let (Some(name), Some(entries)) = (rows.get::<String>(0, 1), rows.get::<String>(0, 2)) else {
        return Ok(None);
    };
    let entries: Value = serde_json::from_str(&entries)
        .map_err(|e| Error::Internal(format!("kept calendar: {e}")))?;
    let zone = rows.get::<String>(0, 3).map(|zone| parse_zone(&zone)).transpose()?;
    Ok(Some(Calendar::read(id.to_string(), name, &entries, zone)?))
}

/// An id as an argument of our statements.
pub fn key(id: Uuid) -> pgrx::Uuid {
    pgrx::Uuid::from_bytes(*id.as_bytes())
}
