//! Writing a trigger into its table.

use super::define::{Checked, Definition};
use super::watch;
use crate::error::{Error, Result};
use crate::noun::TRIGGER;
use crate::rule::cache;
use crate::spi::Own;
use crate::task::when;
use crate::wake;
use automate_core::trigger::Kind;
use pgrx::prelude::*;
use serde_json::Value;
use uuid::Uuid;

pub(super) fn refuse_duplicate(own: &Own, owner: pg_sys::Oid, name: &str) -> Result<()> {
    let there: Option<bool> = own.one(
        "SELECT true FROM automate.trigger WHERE owner = $1 AND name = $2",
        &[owner.into(), name.into()],
    )?;
    match there {
        None => Ok(()),
        Some(_) => Err(TRIGGER
            .duplicate(owner, name)
            .with_hint("Change it with automate.alter_trigger, or choose another name.")),
    }
}

const STORE: &str = "INSERT INTO automate.trigger AS t (id, name, description, owner, status, trigger_type, on_table,
            operations, columns, event, schedule, source, condition, conditions, condition_sql, options,
            search_path, next_at, created_by)
     VALUES ($1, $2, $3, $4, CASE WHEN $5 THEN 'active' ELSE 'disabled' END, $6, $7::pg_catalog.oid, $8, $9, $10,
            $11::pg_catalog.text::pg_catalog.jsonb, $12, $13, $14::pg_catalog.text::pg_catalog.jsonb, $15,
            $16::pg_catalog.text::pg_catalog.jsonb, $17, $18, $19)
     ON CONFLICT (id) DO UPDATE SET (description, status, on_table, operations, columns, event, schedule, source,
            condition, conditions, condition_sql, options, search_path, next_at, state,
            version, errors, last_error, last_error_at, updated_at)
          = (EXCLUDED.description, EXCLUDED.status, EXCLUDED.on_table, EXCLUDED.operations, EXCLUDED.columns,
            EXCLUDED.event, EXCLUDED.schedule, EXCLUDED.source, EXCLUDED.condition, EXCLUDED.conditions,
            EXCLUDED.condition_sql, EXCLUDED.options, EXCLUDED.search_path, EXCLUDED.next_at,
            -- What it remembers is the answer to the same question only.
            CASE WHEN (t.source, t.condition, t.options -> 'clear') IS NOT DISTINCT FROM
                (EXCLUDED.source, EXCLUDED.condition, EXCLUDED.options -> 'clear') THEN t.state - 'failures' ELSE '{}' END,
            t.version + 1, 0, NULL, NULL, pg_catalog.now())
     RETURNING version";

/// Writes a trigger, or the next version of it, and tells everybody who must know; returns the
/// version.
pub(super) fn store(
    own: &Own,
    id: Uuid,
    owner: pg_sys::Oid,
    d: &Definition,
    checked: &Checked,
) -> Result<i32> {
    // SAFETY: reads a process-local variable.
    let session = unsafe { pg_sys::GetSessionUserId() };
    let next = checked.next.filter(|_| d.enabled).map(when::to_datum).transpose()?;
    let version: Option<i32> = own.one(
        STORE,
        &[
            pgrx::Uuid::from_bytes(*id.as_bytes()).into(),
            d.name.as_str().into(),
            d.description.as_deref().into(),
            owner.into(),
            d.enabled.into(),
            d.kind.word().into(),
            d.on_table.into(),
            checked.operations.clone().into(),
            d.columns.clone().into(),
            checked.event.as_str().into(),
            checked.schedule.as_ref().map(Value::to_string).into(),
            d.source.as_deref().into(),
            d.condition.as_deref().into(),
            d.conditions.as_ref().map(Value::to_string).into(),
            checked.generated.as_deref().into(),
            d.options.to_string().into(),
            checked.path.as_str().into(),
            next.into(),
            session.into(),
        ],
    )?;
    if let Some(table) = d.on_table {
        tell_table(own, table)?;
    }
    if d.kind == Kind::Custom {
        watch::keep(own, id, owner, &checked.tables)?;
    }
    if next.is_some() {
        wake::arm_coordinator();
    }
    version.ok_or_else(|| Error::Internal("a trigger was not written".into()))
}

/// Gives a table the trigger of PostgreSQL that it needs now, and tells every session.
pub(super) fn tell_table(own: &Own, table: pg_sys::Oid) -> Result<()> {
    own.run("SELECT automate.keep_capture($1::pg_catalog.oid)", &[table.into()])?;
    cache::announce(own, table)
}
