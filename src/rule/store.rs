//! Writing a rule into its table.

use super::define::{Checked, Definition, Source};
use super::{cache, evaluate};
use crate::error::Result;
use crate::noun::RULE;
use crate::spi::Own;
use automate_core::rule::reads::Reads;
use pgrx::prelude::*;
use serde_json::Value;
use uuid::Uuid;

pub fn refuse_duplicate(own: &Own, owner: pg_sys::Oid, name: &str) -> Result<()> {
    let there: Option<bool> = own.one(
        "SELECT true FROM automate.rule WHERE owner = $1 AND name = $2",
        &[owner.into(), name.into()],
    )?;
    match there {
        None => Ok(()),
        Some(_) => Err(RULE
            .duplicate(owner, name)
            .with_hint("Drop it first, in the same transaction: SELECT automate.drop_rule(name).")),
    }
}

const STORE: &str = "INSERT INTO automate.rule AS r (id, name, description, owner, status, on_table, on_event, operations,
            condition, conditions, condition_sql, actions, priority, search_path, created_by,
            columns, stop, valid_from, valid_until, on_error, on_trigger, timing, ruleset, version, reads)
     VALUES ($1, $2, $3, $4, $5, $6::pg_catalog.oid, $7, $8, $9,
            $10::pg_catalog.text::pg_catalog.jsonb, $11, $12::pg_catalog.text::pg_catalog.jsonb, $13, $14, $15,
            $16, $17, $18, $19, $20, $21, $22, $23, $24, $25)
     ON CONFLICT (id) DO UPDATE SET (description, status, operations, condition, conditions, condition_sql,
            actions, priority, search_path, columns, stop, valid_from, valid_until, on_error, timing, ruleset,
            version, reads, errors, last_error, last_error_at, updated_at)
          = (EXCLUDED.description, EXCLUDED.status, EXCLUDED.operations, EXCLUDED.condition,
            EXCLUDED.conditions, EXCLUDED.condition_sql, EXCLUDED.actions, EXCLUDED.priority,
            EXCLUDED.search_path, EXCLUDED.columns, EXCLUDED.stop, EXCLUDED.valid_from,
            EXCLUDED.valid_until, EXCLUDED.on_error, EXCLUDED.timing, EXCLUDED.ruleset, EXCLUDED.version,
            EXCLUDED.reads, 0, NULL, NULL, pg_catalog.now())";

/// Gives a table the trigger that rules of that timing want, or takes it away if none wants it. A
/// table that has it, and still has such rules, is not looked at again: there may be thousands.
pub fn keep_trigger(own: &Own, table: pg_sys::Oid, is_before: bool) -> Result<()> {
    let (timing, function) = match is_before {
        true => ("before", "automate.capture_before()"),
        false => ("after", "automate.capture()"),
    };
    own.run(
        "SELECT automate.keep_capture(c.oid) FROM pg_class AS c
         WHERE c.oid = $1 AND (c.relkind = 'v' OR
               EXISTS (SELECT FROM automate.rule AS r WHERE r.on_table = $1 AND r.timing = $2) <>
               EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgrelid = $1 AND t.tgfoid = $3::regprocedure))",
        &[table.into(), timing.into(), function.into()],
    )
    .map(|_| ())
}

fn status(d: &Definition) -> &'static str {
    match (d.draft, d.enabled) {
        (true, _) => "draft",
        (false, true) => "active",
        (false, false) => "disabled",
    }
}

/// What is to be kept of the rows for a rule.
fn reads(d: &Definition) -> Reads {
    match (d.on_table.is_some(), d.condition.is_some() || d.conditions.is_some()) {
        (true, _) => Reads::of_change(&d.actions),
        (false, false) => Reads::of_event(&d.actions),
        // The condition is asked then, and may look at anything.
        (false, true) => Reads::all(),
    }
}

/// Writes a rule, or another version of it, and tells every session.
pub(super) fn store(
    own: &Own,
    id: Uuid,
    owner: pg_sys::Oid,
    d: &Definition,
    checked: &Checked,
    version: i32,
) -> Result<()> {
    let key = |id: Uuid| pgrx::Uuid::from_bytes(*id.as_bytes());
    let (relid, operations, event, trigger) = match &checked.source {
        Source::Table { relid, operations, .. } => {
            (Some(*relid), Some(operations.clone()), None, None)
        }
        Source::Event(name) => (None, None, Some(*name), None),
        Source::Trigger(id) => (None, None, None, Some(key(*id))),
        Source::Call => (None, None, None, None),
    };
    let status = status(d);
    // SAFETY: reads a process-local variable.
    let session = unsafe { pg_sys::GetSessionUserId() };
    own.run(
        STORE,
        &[
            pgrx::Uuid::from_bytes(*id.as_bytes()).into(),
            d.name.as_str().into(),
            d.description.as_deref().into(),
            owner.into(),
            status.into(),
            relid.into(),
            event.into(),
            operations.into(),
            d.condition.as_deref().into(),
            d.conditions.as_ref().map(Value::to_string).into(),
            checked.generated.as_deref().into(),
            d.actions.to_string().into(),
            d.priority.into(),
            checked.path.as_str().into(),
            session.into(),
            d.columns.clone().into(),
            d.stop.into(),
            d.valid_from.into(),
            d.valid_until.into(),
            d.on_error.as_str().into(),
            trigger.into(),
            d.timing.as_str().into(),
            checked.ruleset.map(key).into(),
            version.into(),
            reads(d).words().into(),
        ],
    )?;
    if let Some(relid) = relid {
        keep_trigger(own, relid, d.timing == "before")?;
        cache::announce(own, relid)?;
    } else {
        evaluate::announce();
    }
    Ok(())
}
