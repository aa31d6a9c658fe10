//! What is due, and who waits for an executor: the coordinator's questions.

use super::Lane;
use crate::error::Result;
use crate::spi::Own;
use crate::worker::pool::Waiting;
use pgrx::prelude::*;

/// Makes the scheduled jobs that are due ready; returns in how many milliseconds the next one is.
pub fn promote(own: &Own) -> Result<Option<i64>> {
    own.run(
        "UPDATE automate.job SET status = 'ready'
         WHERE id IN (SELECT id FROM automate.job
                      WHERE status = 'scheduled' AND run_at <= clock_timestamp()
                      ORDER BY run_at LIMIT 10000 FOR UPDATE SKIP LOCKED)",
        &[],
    )?;
    own.one(
        "SELECT greatest(0, ceil(extract(epoch FROM run_at - clock_timestamp()) * 1000))::int8
         FROM automate.job WHERE status = 'scheduled' ORDER BY run_at LIMIT 1",
        &[],
    )
}

/// Most jobs counted of a role: enough to decide on another executor.
const COUNTED: i64 = 64;

/// The roles with ready jobs in a lane, by skipping from role to role in the index.
pub fn roles(own: &Own, lane: Lane) -> Result<Vec<pg_sys::Oid>> {
    let rows = own.run(
        "WITH RECURSIVE r(owner) AS (
            (SELECT owner::oid FROM automate.job WHERE lane = $1 AND status = 'ready'
             ORDER BY owner LIMIT 1)
            UNION ALL
            SELECT (SELECT j.owner::oid FROM automate.job AS j
                    WHERE j.lane = $1 AND j.status = 'ready' AND j.owner > r.owner
                    ORDER BY j.owner LIMIT 1)
            FROM r WHERE r.owner IS NOT NULL)
         SELECT owner FROM r WHERE owner IS NOT NULL",
        &[lane.letter().into()],
    )?;
    Ok((0..rows.len()).filter_map(|i| rows.get(i, 1)).collect())
}

/// The roles with ready jobs for executors, with what the pool wants to know of each.
pub fn waiting_roles(own: &Own) -> Result<Vec<Waiting>> {
    let roles = roles(own, Lane::Sql)?;
    if roles.is_empty() {
        return Ok(Vec::new());
    }
    let rows = own.run(
        "SELECT r.owner, (SELECT count(*) FROM (SELECT FROM automate.job AS j
                          WHERE j.lane = 's' AND j.status = 'ready' AND j.owner = r.owner
                          LIMIT $1) AS few)
                + (SELECT count(*) FROM automate.job AS j
                   WHERE j.status = 'running' AND j.lane = 's' AND j.owner = r.owner),
                (SELECT l.running FROM automate.role_limit AS l WHERE l.role = r.owner)
         FROM unnest($2) AS r(owner)",
        &[COUNTED.into(), roles.into()],
    )?;
    Ok((0..rows.len())
        .filter_map(|i| {
            let limit = rows.get::<i32>(i, 3).and_then(|n| usize::try_from(n).ok());
            Some(Waiting { role: rows.get::<pg_sys::Oid>(i, 1)?, jobs: rows.get(i, 2)?, limit })
        })
        .collect())
}

/// True when the courier has something to do.
pub fn network_is_waiting(own: &Own) -> Result<bool> {
    Ok(own
        .one::<bool>(
            "SELECT EXISTS (SELECT FROM automate.job WHERE lane = 'n' AND status = 'ready')",
            &[],
        )?
        .unwrap_or(false))
}
