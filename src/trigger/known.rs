//! A trigger as its row says, found by its name or its id.

use crate::error::{Error, Result};
use crate::noun::TRIGGER;
use crate::rule::look::path;
use crate::spi::Own;
use crate::spi::own::Rows;
use crate::task::when;
use automate_core::trigger::{Kind, Options};
use chrono::{DateTime, Utc};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use serde_json::Value;
use std::ffi::CString;
use uuid::Uuid;

/// A trigger, as far as those need it who look at what it would do.
pub struct Known {
    pub id: Uuid,
    pub name: String,
    pub owner: pg_sys::Oid,
    pub status: String,
    pub kind: Kind,
    pub table: Option<pg_sys::Oid>,
    pub operations: Vec<String>,
    pub columns: Vec<String>,
    /// What it hears, or what it records.
    pub event: String,
    pub condition: Option<String>,
    pub options: Options,
    pub search_path: CString,
    pub last_error: Option<String>,
    pub next: Option<DateTime<Utc>>,
    pub schedule: Option<String>,
    /// The query of a custom trigger.
    pub source: Option<String>,
    pub version: i32,
    pub state: Value,
}

macro_rules! known {
    ($rest:literal) => {
        concat!(
            "SELECT id, name, owner::pg_catalog.oid, status, trigger_type, on_table::pg_catalog.oid, operations,
                    columns, event, coalesce(condition_sql, condition), options::pg_catalog.text, search_path,
                    last_error, next_at, schedule::pg_catalog.text, source, version, state::pg_catalog.text
             FROM automate.trigger ",
            $rest
        )
    };
}

/// The trigger of a name that a role may use: its own first, then those of roles whose privileges
/// it has; locked.
pub fn find(own: &Own, user: pg_sys::Oid, name: &str) -> Result<Known> {
    let rows = own.run(
        known!(
            "WHERE name = $1 AND pg_has_role($2, owner, 'USAGE')
             ORDER BY owner = $2 DESC, owner LIMIT 1 FOR NO KEY UPDATE"
        ),
        &[name.into(), user.into()],
    )?;
    if rows.is_empty() {
        return Err(TRIGGER.missing(own, user, name));
    }
    Known::read(&rows, 0)
}

/// The same without a lock, for those who only look.
pub fn see(own: &Own, user: pg_sys::Oid, name: &str) -> Result<Known> {
    let rows = own.run(
        known!(
            "WHERE name = $1 AND pg_has_role($2, owner, 'USAGE')
             ORDER BY owner = $2 DESC, owner LIMIT 1"
        ),
        &[name.into(), user.into()],
    )?;
    if rows.is_empty() {
        return Err(TRIGGER.missing(own, user, name));
    }
    Known::read(&rows, 0)
}

/// The triggers that a role may use and that an event of a name could concern, or a change of one
/// of some tables.
pub fn concerned(
    own: &Own,
    user: pg_sys::Oid,
    event: &str,
    tables: Vec<pg_sys::Oid>,
) -> Result<Vec<Known>> {
    let rows = own.run(
        known!(
            "WHERE pg_has_role($1, owner, 'USAGE')
               AND (trigger_type = 'event' AND (event = $2 OR $2 LIKE event_like) OR on_table = ANY ($3))
             ORDER BY name, owner"
        ),
        &[user.into(), event.into(), tables.into()],
    )?;
    (0..rows.len()).map(|row| Known::read(&rows, row)).collect()
}

/// The time triggers that are due, by their ids: one that cannot be read keeps no other from being
/// so. What somebody has locked is left for the next look.
pub fn due(own: &Own, now: DateTime<Utc>) -> Result<Vec<(pgrx::Uuid, Result<Known>)>> {
    let rows = own.run(
        known!(
            "WHERE next_at <= $1 AND trigger_type = 'time' AND status = 'active'
             ORDER BY next_at LIMIT 1000 FOR NO KEY UPDATE SKIP LOCKED"
        ),
        &[when::to_datum(now)?.into()],
    )?;
    let read = |row| Some((rows.get::<pgrx::Uuid>(row, 1)?, Known::read(&rows, row)));
    Ok((0..rows.len()).filter_map(read).collect())
}

/// A trigger of a role by its id, if it works.
pub fn working(own: &Own, owner: pg_sys::Oid, id: Uuid) -> Result<Option<Known>> {
    let rows = own.run(
        known!("WHERE id = $1 AND owner = $2 AND status = 'active'"),
        &[pgrx::Uuid::from_bytes(*id.as_bytes()).into(), owner.into()],
    )?;
    (!rows.is_empty()).then(|| Known::read(&rows, 0)).transpose()
}

/// The same once more, locked, and as it was when it was first read.
pub fn locked(own: &Own, first: &Known) -> Result<Option<Known>> {
    let rows = own.run(
        known!("WHERE id = $1 AND status = 'active' AND version = $2 FOR NO KEY UPDATE"),
        &[first.key().into(), first.version.into()],
    )?;
    (!rows.is_empty()).then(|| Known::read(&rows, 0)).transpose()
}

/// The custom triggers that are due and whose last look is over, by their ids, as [`due`].
pub fn due_to_look(own: &Own, now: DateTime<Utc>) -> Result<Vec<(pgrx::Uuid, Result<Known>)>> {
    let rows = own.run(
        known!(
            "WHERE next_at <= $1 AND trigger_type = 'custom' AND status = 'active'
               AND NOT EXISTS (SELECT FROM automate.job AS j
                               WHERE j.owner = trigger.owner AND j.dedupe_key = 'look:' || trigger.id)
             ORDER BY next_at LIMIT 1000 FOR NO KEY UPDATE SKIP LOCKED"
        ),
        &[when::to_datum(now)?.into()],
    )?;
    let read = |row| Some((rows.get::<pgrx::Uuid>(row, 1)?, Known::read(&rows, row)));
    Ok((0..rows.len()).filter_map(read).collect())
}

impl Known {
    fn read(rows: &Rows, row: usize) -> Result<Known> {
        let incomplete = || Error::Internal("a trigger that cannot be read".into());
        let kind = rows.get::<String>(row, 5).and_then(|word| Kind::of(&word));
        let kind = kind.ok_or_else(incomplete)?;
        let options = rows.get::<String>(row, 11).unwrap_or_default();
        let options = serde_json::from_str(&options).map_err(|e| Error::Internal(e.to_string()))?;
        let id: pgrx::Uuid = rows.get(row, 1).ok_or_else(incomplete)?;
        Ok(Known {
            id: Uuid::from_bytes(*id.as_bytes()),
            name: rows.get(row, 2).unwrap_or_default(),
            owner: rows.get(row, 3).ok_or_else(incomplete)?,
            status: rows.get(row, 4).unwrap_or_default(),
            kind,
            table: rows.get(row, 6),
            operations: rows.get(row, 7).unwrap_or_default(),
            columns: rows.get(row, 8).unwrap_or_default(),
            event: rows.get(row, 9).unwrap_or_default(),
            condition: rows.get(row, 10),
            options: Options::parse(kind, &options)
                .map_err(|problems| Error::problems("options", &problems, TRIGGER.help))?,
            search_path: path(rows.get(row, 12)),
            last_error: rows.get(row, 13),
            next: rows
                .get::<TimestampWithTimeZone>(row, 14)
                .and_then(|at| when::from_us(at.into())),
            schedule: rows.get(row, 15),
            source: rows.get(row, 16),
            version: rows.get(row, 17).unwrap_or_default(),
            state: rows
                .get::<String>(row, 18)
                .and_then(|state| serde_json::from_str(&state).ok())
                .unwrap_or_default(),
        })
    }

    /// Its id as an argument of our statements.
    pub fn key(&self) -> pgrx::Uuid {
        pgrx::Uuid::from_bytes(*self.id.as_bytes())
    }
}
