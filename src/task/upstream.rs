//! Which tasks depend on which, and what a run waits for. What it comes to is seen by the
//! coordinator (`release`).

use super::news;
use crate::error::{Error, Result, shown};
use crate::noun::TASK;
use crate::queue::claim::to_uuids;
use crate::spi::Own;
use crate::wake;
use automate_core::task::ring;
use pgrx::prelude::*;
use std::collections::HashMap;
use uuid::Uuid;

/// Makes the tasks of these names those that a task depends on, and no others; refused where tasks
/// would wait for each other.
pub fn set(own: &Own, task: Uuid, owner: pg_sys::Oid, names: &[String]) -> Result<()> {
    let upstream: Vec<Uuid> =
        names.iter().map(|name| TASK.id(own, owner, name)).collect::<Result<_>>()?;
    let key = pgrx::Uuid::from_bytes(*task.as_bytes());
    own.run(
        "DELETE FROM automate.task_dependency WHERE task = $1 AND upstream <> ALL ($2)",
        &[key.into(), to_uuids(&upstream).into()],
    )?;
    if !upstream.is_empty() {
        // Two who each make a half of a ring take turns: the later one sees both halves.
        own.run("SELECT pg_advisory_xact_lock(1635017060, hashtext('task_dependency'))", &[])?;
        refuse_ring(own, task, &upstream)?;
        own.run(
            "INSERT INTO automate.task_dependency (task, upstream, owner)
             SELECT $1, u, $3 FROM unnest($2) AS u ON CONFLICT DO NOTHING",
            &[key.into(), to_uuids(&upstream).into(), owner.into()],
        )?;
    }
    // Its runs may wait for a task on which it no longer depends.
    let rows = own.run("SELECT upstream FROM automate.task_wait WHERE task = $1", &[key.into()])?;
    let awaited: Vec<Uuid> = (0..rows.len())
        .filter_map(|row| rows.get::<pgrx::Uuid>(row, 1))
        .map(|id| Uuid::from_bytes(*id.as_bytes()))
        .collect();
    news::rouse(own, &awaited)
}

fn refuse_ring(own: &Own, task: Uuid, upstream: &[Uuid]) -> Result<()> {
    let rows = own.run_latest(
        "WITH RECURSIVE e AS (
            SELECT task, upstream FROM automate.task_dependency WHERE task = ANY ($1)
            UNION
            SELECT d.task, d.upstream FROM e JOIN automate.task_dependency AS d ON d.task = e.upstream)
         SELECT task, upstream FROM e",
        &[to_uuids(upstream).into()],
    )?;
    let id = |row, column| {
        rows.get::<pgrx::Uuid>(row, column).map(|id| Uuid::from_bytes(*id.as_bytes()))
    };
    let mut edges: Vec<(Uuid, Uuid)> = upstream.iter().map(|one| (task, *one)).collect();
    edges.extend((0..rows.len()).filter_map(|row| id(row, 1).zip(id(row, 2))));
    let Some(way) = ring(task, &edges) else { return Ok(()) };
    let names = names_of(own, &way)?;
    let way: Vec<&str> = way.iter().map(|id| names.get(id).map_or("?", String::as_str)).collect();
    Err(Error::invalid(format!("task {} would wait for itself", shown(way[0])))
        .with_detail(format!("Each of these depends on the next: {}.", way.join(" -> ")))
        .with_hint("Leave one of them out of another's depends_on."))
}

fn names_of(own: &Own, tasks: &[Uuid]) -> Result<HashMap<Uuid, String>> {
    let rows = own.run_latest(
        "SELECT id, name FROM automate.task WHERE id = ANY ($1)",
        &[to_uuids(tasks).into()],
    )?;
    Ok((0..rows.len())
        .filter_map(|row| {
            let id: pgrx::Uuid = rows.get(row, 1)?;
            Some((Uuid::from_bytes(*id.as_bytes()), rows.get(row, 2)?))
        })
        .collect())
}

/// Refuses to remove a task that others depend on; what it holds back itself goes with it.
pub fn leave(own: &Own, task: Uuid, name: &str) -> Result<()> {
    let key = pgrx::Uuid::from_bytes(*task.as_bytes());
    let rows = own.run(
        "SELECT t.name FROM automate.task_dependency AS d JOIN automate.task AS t ON t.id = d.task
         WHERE d.upstream = $1 ORDER BY t.name LIMIT 10",
        &[key.into()],
    )?;
    let names: Vec<String> = (0..rows.len()).filter_map(|row| rows.get(row, 1)).collect();
    if !names.is_empty() {
        let names: Vec<String> = names.iter().map(|name| shown(name)).collect();
        return Err(Error::refused(
            PgSqlErrorCode::ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST,
            format!("task {} cannot be removed, since others depend on it", shown(name)),
        )
        .with_detail(format!("These wait for it: {}.", names.join(", ")))
        .with_hint("Remove those first, or leave it out of their depends_on."));
    }
    own.run(
        "DELETE FROM automate.job WHERE status = 'held' AND id IN
            (SELECT job FROM automate.task_run WHERE task = $1 AND status = 'waiting')",
        &[key.into()],
    )?;
    Ok(())
}

/// Writes down what runs wait for that have just been made, each with its job.
pub fn wait(own: &Own, runs: &[(Uuid, TimestampWithTimeZone, Uuid)]) -> Result<()> {
    if runs.is_empty() {
        return Ok(());
    }
    let tasks: Vec<Uuid> = runs.iter().map(|run| run.0).collect();
    let instants: Vec<TimestampWithTimeZone> = runs.iter().map(|run| run.1).collect();
    let jobs: Vec<Uuid> = runs.iter().map(|run| run.2).collect();
    own.run(
        "INSERT INTO automate.task_wait (task, scheduled_at, upstream, owner)
         SELECT r.task, r.scheduled_at, d.upstream, r.owner
         FROM unnest($1, $2, $3) AS n(task, at, job)
         JOIN automate.task_run AS r ON r.task = n.task AND r.scheduled_at = n.at AND r.job = n.job
         JOIN automate.task_dependency AS d ON d.task = r.task",
        &[to_uuids(&tasks).into(), instants.into(), to_uuids(&jobs).into()],
    )?;
    wake::arm_coordinator();
    Ok(())
}

/// Runs that ended while they waited wait for nothing any more.
pub fn forget_over(own: &Own, tasks: &[Uuid]) -> Result<()> {
    own.run(
        "DELETE FROM automate.task_wait AS w WHERE w.task = ANY ($1) AND EXISTS (
            SELECT FROM automate.task_run AS r
            WHERE r.task = w.task AND r.scheduled_at = w.scheduled_at AND r.finished_at IS NOT NULL)",
        &[to_uuids(tasks).into()],
    )?;
    Ok(())
}
