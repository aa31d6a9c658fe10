//! Limits of a role, so that one tenant's flood is its own affair: how many of its jobs may wait and
//! how much it may put in a day (calls are refused beyond that), and how many may run at once (the
//! coordinator keeps to it).

use crate::error::{Error, Result};
use crate::pg;
use crate::shmem::registry;
use crate::spi::{Own, as_extension};
use pgrx::prelude::*;
use std::cell::Cell;

/// How long a session trusts what it read and counted, in microseconds.
const TRUST_US: i64 = 1_000_000;
const DAY_US: i64 = 24 * 3600 * 1_000_000;

/// What a session knows of a role.
#[derive(Clone, Copy)]
struct Known {
    role: pg_sys::Oid,
    /// How many more jobs it may put in before it counts those that wait again.
    left: i64,
    per_day: Option<i64>,
    bytes_per_day: Option<i64>,
    read: i64,
}

thread_local! {
    static KNOWN: Cell<Option<Known>> = const { Cell::new(None) };
}

/// The limits that [`set`] sets; None: none.
#[derive(Default)]
pub struct Limits {
    pub running: Option<i32>,
    pub queued: Option<i32>,
    pub per_day: Option<i64>,
    pub bytes_per_day: Option<i64>,
}

/// Refuses a call that would take a role beyond its limits; `bytes` is what the call brings. What
/// rules, schedules and runs cause is never refused: somebody's write, or a due instant, is at
/// stake there.
pub fn admit(role: pg_sys::Oid, bytes: usize) -> Result<()> {
    let now = pg::now();
    let known = KNOWN.get().filter(|k| k.role == role && now - k.read < TRUST_US && k.left > 0);
    let known = match known {
        Some(known) => known,
        None => {
            KNOWN.set(None);
            as_extension(|own| read(own, role, now))?
        }
    };
    KNOWN.set(Some(Known { left: known.left - 1, ..known }));
    if known.per_day.is_none() && known.bytes_per_day.is_none() {
        return Ok(());
    }
    let (Some(registry), db) = (registry(), pg::my_database()) else { return Ok(()) };
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    let Some(today) = registry.usage.add(db, role, now / DAY_US, bytes) else { return Ok(()) };
    let over = |limit: Option<i64>, used: i64| limit.filter(|limit| used > *limit);
    let refused = match (over(known.per_day, today.jobs), over(known.bytes_per_day, today.bytes)) {
        (Some(limit), _) => spent(role, &format!("{limit} jobs")),
        (None, Some(limit)) => spent(role, &format!("{limit} bytes")),
        (None, None) => return Ok(()),
    };
    registry.usage.take_back(db, role, bytes);
    Err(refused)
}

/// The limits of a role, and how many of its jobs wait (counted as far as matters).
fn read(own: &Own, role: pg_sys::Oid, now: i64) -> Result<Known> {
    let rows = own.run(
        "SELECT l.queued::int8, l.per_day, l.bytes_per_day,
                (SELECT count(*) FROM (SELECT FROM automate.job AS j
                 WHERE j.lane IN ('s', 'n') AND j.owner = l.role AND j.status = 'ready' LIMIT l.queued) AS few)
         FROM automate.role_limit AS l WHERE l.role = $1",
        &[role.into()],
    )?;
    let left = match (rows.get::<i64>(0, 1), rows.get::<i64>(0, 4)) {
        (Some(limit), Some(count)) if count >= limit => return Err(full(role, limit)),
        // Other sessions of the role fill the queue meanwhile: a quarter of the room is taken on trust.
        (Some(limit), Some(count)) => ((limit - count) / 4).max(1),
        _ => i64::MAX,
    };
    let (per_day, bytes_per_day) = (rows.get(0, 2), rows.get(0, 3));
    Ok(Known { role, left, per_day, bytes_per_day, read: now })
}

fn full(role: pg_sys::Oid, limit: i64) -> Error {
    over(role, "has as many jobs waiting as it may have")
        .with_detail(format!("Its limit in automate.role_limit is {limit} waiting jobs."))
        .with_hint("Wait until some are done, or let an admin raise it with automate.limit_role.")
}

fn spent(role: pg_sys::Oid, limit: &str) -> Error {
    over(role, "has put in as much today as it may")
        .with_detail(format!("Its limit in automate.role_limit is {limit} a day (UTC)."))
        .with_hint("Go on tomorrow, or let an admin raise it with automate.limit_role.")
}

fn over(role: pg_sys::Oid, what: &str) -> Error {
    let name = pg::role_name(role).unwrap_or_default();
    let code = PgSqlErrorCode::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED;
    Error::refused(code, format!("role \"{name}\" {what}"))
}

/// Sets the limits of a role; without any, the role has none.
pub fn set(own: &Own, role: pg_sys::Oid, limits: &Limits) -> Result<()> {
    let all = [
        ("running", limits.running.map(i64::from)),
        ("queued", limits.queued.map(i64::from)),
        ("per_day", limits.per_day),
        ("bytes_per_day", limits.bytes_per_day),
    ];
    if let Some((what, Some(value))) = all.iter().find(|(_, value)| value.is_some_and(|n| n < 1)) {
        return Err(Error::invalid(format!("{what} must be at least 1"))
            .with_detail(format!("It was given as {value}."))
            .with_hint("NULL means no limit; a role without LOGIN runs nothing."));
    }
    if all.iter().all(|(_, value)| value.is_none()) {
        own.run("DELETE FROM automate.role_limit WHERE role = $1", &[role.into()])?;
        return Ok(());
    }
    own.run(
        "INSERT INTO automate.role_limit (role, running, queued, per_day, bytes_per_day)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (role) DO UPDATE SET (running, queued, per_day, bytes_per_day)
            = (EXCLUDED.running, EXCLUDED.queued, EXCLUDED.per_day, EXCLUDED.bytes_per_day)",
        &[
            role.into(),
            limits.running.into(),
            limits.queued.into(),
            limits.per_day.into(),
            limits.bytes_per_day.into(),
        ],
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
