//! Workflows by name: their versions, whether they may start runs, and their end.

use super::check;
use super::start::find;
use crate::error::{Error, Result};
use crate::noun::TRIGGER;
use crate::spi::{Own, as_extension};
use crate::{access, pg};
use pgrx::prelude::*;
use serde_json::Value;
use uuid::Uuid;

/// Longest name, in bytes.
pub(super) const MAX_NAME: usize = 200;

/// A workflow to be, or its next version.
pub struct New<'a> {
    pub owner: pg_sys::Oid,
    pub name: &'a str,
    pub document: &'a Value,
    pub description: Option<&'a str>,
    pub on_trigger: Option<&'a str>,
    /// New runs take it.
    pub activate: bool,
}

/// Creates a workflow or its next version; the same definition again gives the current version.
pub fn create(new: &New) -> Result<i32> {
    let advice = "Choose a short name, such as order-fulfilment.";
    access::check_length("a workflow", new.name, MAX_NAME, advice)?;
    let what = format!("workflow \"{}\"", new.name);
    check::refuse(&what, new.document, new.owner, new.name)?;
    let path = pg::search_path();
    as_extension(|own| {
        let version = store(own, new, &path)?;
        let trigger = new.on_trigger;
        trigger.map_or(Ok(()), |trigger| subscribe(own, new.owner, new.name, trigger))?;
        Ok(version)
    })
}

/// Lets the firings of a trigger start runs of a workflow; an empty name ends that.
pub(super) fn subscribe(own: &Own, owner: pg_sys::Oid, name: &str, trigger: &str) -> Result<()> {
    let trigger = match trigger {
        "" => None,
        trigger => Some(TRIGGER.id(own, owner, trigger)?),
    };
    own.run(
        "UPDATE automate.workflow SET on_trigger = $3, updated_at = now()
         WHERE owner = $1 AND name = $2 AND on_trigger IS DISTINCT FROM $3",
        &[
            owner.into(),
            name.into(),
            trigger.map(|id| pgrx::Uuid::from_bytes(*id.as_bytes())).into(),
        ],
    )?;
    Ok(())
}

fn store(own: &Own, new: &New, path: &str) -> Result<i32> {
    let (owner, name, description) = (new.owner, new.name, new.description);
    let document = new.document.to_string();
    let made = own.run(
        "INSERT INTO automate.workflow (id, name, description, owner, version, created_by)
         VALUES ($1, $2, $3, $4, 1, $5) ON CONFLICT (owner, name) DO NOTHING",
        &[
            pgrx::Uuid::from_bytes(*Uuid::now_v7().as_bytes()).into(),
            name.into(),
            description.into(),
            owner.into(),
            session_user().into(),
        ],
    )?;
    if made.processed == 1 && !new.activate {
        return Err(Error::invalid(format!("workflow \"{name}\" has no version yet"))
            .with_detail("New runs take the first version, whatever activate says.")
            .with_hint("Leave activate out, and disable the workflow if no run shall start."));
    }
    let (id, current) = locked(own, owner, name)?;
    let same: Option<i32> = own.one(
        "SELECT version FROM automate.workflow_version
         WHERE workflow = $1 AND definition = $3::jsonb AND search_path = $4
           AND version = CASE WHEN $5 THEN $2 ELSE (
                SELECT max(version) FROM automate.workflow_version WHERE workflow = $1) END",
        &[id.into(), current.into(), document.clone().into(), path.into(), new.activate.into()],
    )?;
    let version: i32 = match same {
        Some(same) => same,
        None => own
            .one(
                "INSERT INTO automate.workflow_version (workflow, version, owner, definition, search_path, created_by)
                 SELECT $1, coalesce(max(version), 0) + 1, $2, $3::jsonb, $4, $5
                 FROM automate.workflow_version WHERE workflow = $1
                 RETURNING version",
                &[id.into(), owner.into(), document.into(), path.into(), session_user().into()],
            )?
            .unwrap_or(current),
    };
    let active = if new.activate { version } else { current };
    own.run(
        "UPDATE automate.workflow
         SET version = $2, description = coalesce($3, description), updated_at = now(),
             canary_version = CASE WHEN version = $2 THEN canary_version END,
             canary_share = CASE WHEN version = $2 THEN canary_share END
         WHERE id = $1 AND (version <> $2 OR description IS DISTINCT FROM coalesce($3, description))",
        &[id.into(), active.into(), description.into()],
    )?;
    Ok(version)
}

/// The id and the current version. Whoever makes the next version at the same time waits here.
fn locked(own: &Own, owner: pg_sys::Oid, name: &str) -> Result<(pgrx::Uuid, i32)> {
    let rows = own.run(
        "SELECT id, version FROM automate.workflow WHERE owner = $1 AND name = $2 FOR UPDATE",
        &[owner.into(), name.into()],
    )?;
    if let (Some(id), Some(version)) = (rows.get(0, 1), rows.get(0, 2)) {
        return Ok((id, version));
    }
    let code = PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE;
    Err(Error::refused(code, format!("workflow \"{name}\" was dropped meanwhile"))
        .with_detail("Another session has dropped it since this call began.")
        .with_hint("Create it again."))
}

/// Lets a workflow start runs (`active`) or not (`disabled`).
pub fn set_status(role: pg_sys::Oid, name: &str, status: &str) -> Result<()> {
    as_extension(|own| {
        let found = find(own, role, name)?;
        own.run(
            "UPDATE automate.workflow SET status = $2, updated_at = now() WHERE id = $1 AND status <> $2",
            &[pgrx::Uuid::from_bytes(*found.id.as_bytes()).into(), status.into()],
        )?;
        Ok(())
    })
}

/// Drops a workflow that has no runs under way.
pub fn drop(role: pg_sys::Oid, name: &str) -> Result<()> {
    as_extension(|own| {
        let found = find(own, role, name)?;
        let id = pgrx::Uuid::from_bytes(*found.id.as_bytes());
        let open: Option<i64> = own.one(
            "SELECT count(*) FROM automate.run WHERE workflow_id = $1 AND finished_at IS NULL",
            &[id.into()],
        )?;
        let open = open.unwrap_or(0);
        if open > 0 {
            return Err(Error::refused(
                PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
                format!("workflow \"{name}\" has {open} runs under way"),
            )
            .with_detail("A run needs the definition until it has ended.")
            .with_hint("Disable it and wait for them, or end them with automate.cancel_run(id)."));
        }
        own.run("DELETE FROM automate.workflow WHERE id = $1", &[id.into()])?;
        Ok(())
    })
}

fn session_user() -> pg_sys::Oid {
    // SAFETY: reads a process-local variable.
    unsafe { pg_sys::GetSessionUserId() }
}
