//! Limits of a role, so that one tenant's flood is its own affair: how many of its jobs may wait
//! (calls are refused beyond that) and how many may run at once (the coordinator keeps to it).

use crate::error::{Error, Result};
use crate::pg;
use crate::spi::{Own, as_extension};
use pgrx::prelude::*;
use std::cell::Cell;

/// How long a session trusts what it counted, in microseconds.
const TRUST_US: i64 = 1_000_000;

/// What a session knows of a role: how many more jobs it may put in before it counts again.
#[derive(Clone, Copy)]
struct Room {
    role: pg_sys::Oid,
    left: i64,
    counted: i64,
}

thread_local! {
    static ROOM: Cell<Option<Room>> = const { Cell::new(None) };
}

/// Refuses a call that would make a role's queue longer than its limit. What rules, schedules and
/// runs cause is never refused: somebody's write, or a due instant, is at stake there.
pub fn admit(role: pg_sys::Oid) -> Result<()> {
    let now = pg::now();
    let known = ROOM.get().filter(|r| r.role == role && now - r.counted < TRUST_US);
    if let Some(room) = known.filter(|r| r.left > 0) {
        ROOM.set(Some(Room { left: room.left - 1, ..room }));
        return Ok(());
    }
    ROOM.set(None);
    let left = as_extension(|own| match queued(own, role)? {
        None => Ok(i64::MAX),
        Some((limit, count)) if count < limit => Ok(limit - count),
        Some((limit, _)) => Err(full(role, limit)),
    })?;
    // Other sessions of the role fill the queue meanwhile: a quarter of the room is taken on trust.
    ROOM.set(Some(Room { role, left: left / 4, counted: now }));
    Ok(())
}

/// The limit of a role, if it has one, and how many of its jobs wait (counted as far as matters).
fn queued(own: &Own, role: pg_sys::Oid) -> Result<Option<(i64, i64)>> {
    let rows = own.run(
        "SELECT l.queued::int8,
                (SELECT count(*) FROM (SELECT FROM automate.job AS j
                 WHERE j.lane IN ('s', 'n') AND j.owner = l.role AND j.status = 'ready' LIMIT l.queued) AS few)
         FROM automate.role_limit AS l WHERE l.role = $1 AND l.queued IS NOT NULL",
        &[role.into()],
    )?;
    Ok(rows.get(0, 1).zip(rows.get(0, 2)))
}

fn full(role: pg_sys::Oid, limit: i64) -> Error {
    let name = pg::role_name(role).unwrap_or_default();
    Error::refused(
        PgSqlErrorCode::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
        format!("role \"{name}\" has as many jobs waiting as it may have"),
    )
    .with_detail(format!("Its limit in automate.role_limit is {limit} waiting jobs."))
    .with_hint(
        "Wait until some are done, or let an admin raise it with automate.limit_role(role, queued => ...).",
    )
}

/// Sets the limits of a role; without any, the role has none.
pub fn set(own: &Own, role: pg_sys::Oid, running: Option<i32>, queued: Option<i32>) -> Result<()> {
    for (what, value) in [("running", running), ("queued", queued)] {
        if value.is_some_and(|n| n < 1) {
            return Err(Error::invalid(format!("{what} must be at least 1"))
                .with_detail(format!("It was given as {}.", value.unwrap_or(0)))
                .with_hint("NULL means no limit; a role without LOGIN runs nothing."));
        }
    }
    if running.is_none() && queued.is_none() {
        own.run("DELETE FROM automate.role_limit WHERE role = $1", &[role.into()])?;
        return Ok(());
    }
    own.run(
        "INSERT INTO automate.role_limit (role, running, queued) VALUES ($1, $2, $3)
         ON CONFLICT (role) DO UPDATE SET running = EXCLUDED.running, queued = EXCLUDED.queued",
        &[role.into(), running.into(), queued.into()],
    )?;
    Ok(())
}

/// Removes the limits of dropped roles.
pub fn forget_dropped(own: &Own) -> Result<()> {
    own.run(
        "DELETE FROM automate.role_limit AS l
         WHERE NOT EXISTS (SELECT FROM pg_authid AS r WHERE r.oid = l.role)",
        &[],
    )?;
    Ok(())
}
