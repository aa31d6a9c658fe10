//! The versions of a workflow: which there are, how they differ, and which new runs take.

use super::check;
use super::start::find;
use crate::error::{Error, Result, shown};
use crate::pg;
use crate::spi::own::as_role;
use crate::spi::{Own, as_extension};
use automate_core::workflow::diff;
use pgrx::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

/// Rows of what there is to say of each version, the newest first.
pub fn list(role: pg_sys::Oid, name: &str) -> Result<Value> {
    as_extension(|own| {
        let found = find(own, role, name)?;
        let rows = own.run(
            "SELECT v.version, v.version = w.version,
                    (CASE WHEN v.version = w.canary_version THEN w.canary_share
                          WHEN v.version = w.version THEN 1 - coalesce(w.canary_share, 0) ELSE 0 END)::text,
                    v.created_by::text, v.created_at::text,
                    r.open, r.completed, r.faulted, r.cancelled, v.definition::text,
                    v.definition #>> '{document,summary}'
             FROM automate.workflow AS w JOIN automate.workflow_version AS v ON v.workflow = w.id
             LEFT JOIN (
                SELECT version, count(*) FILTER (WHERE finished_at IS NULL) AS open,
                       count(*) FILTER (WHERE status = 'completed') AS completed,
                       count(*) FILTER (WHERE status = 'faulted') AS faulted,
                       count(*) FILTER (WHERE status = 'cancelled') AS cancelled
                FROM automate.run WHERE workflow_id = $1 GROUP BY version) AS r ON r.version = v.version
             WHERE w.id = $1 ORDER BY v.version",
            &[key(found.id).into()],
        )?;
        let mut list = Vec::with_capacity(rows.len());
        let mut before = None;
        for row in 0..rows.len() {
            let document = parse(rows.get(row, 10))?;
            let changes = before.as_ref().map(|before| diff(before, &document).len());
            list.push(json!({
                "version": rows.get::<i32>(row, 1),
                "active": rows.get::<bool>(row, 2),
                "share": rows.get::<String>(row, 3),
                "created_by": rows.get::<String>(row, 4),
                "created_at": rows.get::<String>(row, 5),
                "open": rows.get::<i64>(row, 6).unwrap_or(0),
                "completed": rows.get::<i64>(row, 7).unwrap_or(0),
                "faulted": rows.get::<i64>(row, 8).unwrap_or(0),
                "cancelled": rows.get::<i64>(row, 9).unwrap_or(0),
                "changes": changes,
                "summary": rows.get::<String>(row, 11),
            }));
            before = Some(document);
        }
        list.reverse();
        Ok(Value::Array(list))
    })
}

/// Rows of the differences between two versions: without `to`, the one that new runs take; without
/// `from`, the one before that.
pub fn differences(
    role: pg_sys::Oid,
    name: &str,
    from: Option<i32>,
    to: Option<i32>,
) -> Result<Value> {
    as_extension(|own| {
        let found = find(own, role, name)?;
        let to = to.unwrap_or(found.version);
        let new = Version::read(own, name, found.id, to)?.document;
        let old = match from.unwrap_or(to - 1) {
            // Of the first version everything is new.
            0 if from.is_none() => json!({}),
            from => Version::read(own, name, found.id, from)?.document,
        };
        let rows = diff(&old, &new).into_iter().map(|d| {
            // NULL, and the JSON null, are not the same.
            let text = |value: Option<Value>| value.map(|value| value.to_string());
            json!({ "pointer": d.pointer, "op": d.op, "old": text(d.old), "new": text(d.new) })
        });
        Ok(Value::Array(rows.collect()))
    })
}

/// A version as it is stored.
pub(super) struct Version {
    pub document: Value,
    pub search_path: String,
}

impl Version {
    pub fn read(own: &Own, name: &str, workflow: Uuid, version: i32) -> Result<Version> {
        super::start::check_version(own, name, key(workflow), version)?;
        let rows = own.run(
            "SELECT definition::text, search_path FROM automate.workflow_version
             WHERE workflow = $1 AND version = $2",
            &[key(workflow).into(), version.into()],
        )?;
        let search_path = rows.get(0, 2).unwrap_or_default();
        Ok(Version { document: parse(rows.get(0, 1))?, search_path })
    }
}

fn parse(text: Option<String>) -> Result<Value> {
    serde_json::from_str(&text.unwrap_or_default()).map_err(|e| Error::Internal(e.to_string()))
}

/// Lets new runs take a version: all of them (`share` 1), that part of them, or none (0), which ends
/// a trial.
pub fn activate(role: pg_sys::Oid, name: &str, version: i32, share: f64) -> Result<()> {
    if !(0.0..=1.0).contains(&share) {
        return Err(Error::invalid(format!("share must be 0 to 1, not {share}"))
            .with_detail("It is the part of the new runs that take the version.")
            .with_hint("Give 0.1 for one start in ten, or leave it out for all."));
    }
    let (found, stored) = as_extension(|own| {
        let found = find(own, role, name)?;
        let stored = Version::read(own, name, found.id, version)?;
        Ok((found, stored))
    })?;
    if share > 0.0 {
        let what = format!("workflow {}, version {version}", shown(name));
        let check = || check::refuse(&what, &stored.document, found.owner, name);
        as_role(found.owner, || pg::under_path(&stored.search_path, check))?;
    }
    as_extension(|own| {
        let now: Option<i32> = own.one(
            "SELECT version FROM automate.workflow WHERE id = $1 FOR UPDATE",
            &[key(found.id).into()],
        )?;
        if now == Some(version) && share < 1.0 {
            return Err(Error::invalid(format!("version {version} is the one that runs take already"))
                .with_detail("A part of the runs can take a version beside the current one only.")
                .with_hint("Activate another version: runs that do not take its share take it as the current one does."));
        }
        if share >= 1.0 {
            own.run(
                "UPDATE automate.workflow
                 SET version = $2, canary_version = NULL, canary_share = NULL, updated_at = now()
                 WHERE id = $1 AND (version <> $2 OR canary_version IS NOT NULL)",
                &[key(found.id).into(), version.into()],
            )?;
        } else if share > 0.0 {
            own.run(
                "UPDATE automate.workflow SET canary_version = $2, canary_share = $3::numeric, updated_at = now()
                 WHERE id = $1",
                &[key(found.id).into(), version.into(), share.to_string().into()],
            )?;
        } else {
            own.run(
                "UPDATE automate.workflow SET canary_version = NULL, canary_share = NULL, updated_at = now()
                 WHERE id = $1 AND canary_version = $2",
                &[key(found.id).into(), version.into()],
            )?;
        }
        Ok(())
    })
}

/// Everything that is wrong by now with a version that is stored, checked as its owner.
pub fn problems(
    role: pg_sys::Oid,
    name: &str,
    version: Option<i32>,
) -> Result<Vec<automate_core::problem::Problem>> {
    let (owner, stored) = as_extension(|own| {
        let found = find(own, role, name)?;
        let version = version.unwrap_or(found.version);
        Ok((found.owner, Version::read(own, name, found.id, version)?))
    })?;
    let check = || check::problems(&stored.document, owner, Some(name));
    as_role(owner, || pg::under_path(&stored.search_path, check))
}

/// How complex the version is that new runs take.
pub fn document(role: pg_sys::Oid, name: &str) -> Result<Value> {
    as_extension(|own| {
        let found = find(own, role, name)?;
        Ok(Version::read(own, name, found.id, found.version)?.document)
    })
}

fn key(id: Uuid) -> pgrx::Uuid {
    pgrx::Uuid::from_bytes(*id.as_bytes())
}
