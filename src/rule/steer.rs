//! Removing rules and switching them on and off.

use super::look::sides;
use super::rights::{check_rights, check_table};
use super::{before, cache, document, evaluate, expression, fault, inline, read, store};
use crate::audit::{self, Entry};
use crate::error::{Error, Result, shown};
use crate::noun::RULE;
use crate::spi::own::as_role;
use crate::spi::{Own, as_extension};
use pgrx::prelude::*;
use serde_json::Value;
use std::ffi::CString;
use uuid::Uuid;

/// A rule that was found by its name.
struct Found {
    id: pgrx::Uuid,
    owner: pg_sys::Oid,
    table: Option<pg_sys::Oid>,
    condition: Option<String>,
    operations: Vec<String>,
    search_path: String,
    name: String,
    status: String,
    is_before: bool,
    actions: String,
}

/// The rule of a name: the user's own first, then those of roles whose privileges it has.
fn find(own: &Own, user: pg_sys::Oid, name: &str) -> Result<Found> {
    let rows = own.run(
        "SELECT id, owner::pg_catalog.oid, on_table::pg_catalog.oid, coalesce(condition_sql, condition),
                operations, search_path, status, timing = 'before', actions::pg_catalog.text
         FROM automate.rule WHERE name = $1 AND pg_has_role($2, owner, 'USAGE')
         ORDER BY owner = $2 DESC, owner LIMIT 1 FOR UPDATE",
        &[name.into(), user.into()],
    )?;
    let (Some(id), Some(owner)) = (rows.get(0, 1), rows.get(0, 2)) else {
        return Err(RULE.missing(own, user, name));
    };
    Ok(Found {
        id,
        owner,
        table: rows.get(0, 3),
        condition: rows.get(0, 4),
        operations: rows.get(0, 5).unwrap_or_default(),
        search_path: rows.get(0, 6).unwrap_or_default(),
        name: name.to_owned(),
        status: rows.get(0, 7).unwrap_or_default(),
        is_before: rows.get(0, 8).unwrap_or(false),
        actions: rows.get(0, 9).unwrap_or_default(),
    })
}

/// Removes a rule.
pub fn remove(user: pg_sys::Oid, name: &str) -> Result<()> {
    as_extension(|own| {
        let found = find(own, user, name)?;
        let definition = read::owned(own, found.owner, name, true)?.map(|rule| rule.definition);
        let old = definition.map(|d| Value::Object(document::sparse(document::write(&d))));
        own.run("DELETE FROM automate.rule WHERE id = $1", &[found.id.into()])?;
        note(own, &found, (Some(user), "drop"), old)?;
        let Some(table) = found.table else {
            evaluate::announce();
            return Ok(());
        };
        cache::announce(own, table)?;
        store::keep_trigger(own, table, found.is_before)
    })
}

/// Lets a rule rest.
pub fn disable(user: pg_sys::Oid, name: &str) -> Result<()> {
    as_extension(|own| {
        let found = find(own, user, name)?;
        refuse_draft(&found)?;
        set_status(own, &found, "disabled")?;
        note(own, &found, (Some(user), "disable"), None)
    })
}

/// Puts a rule back to work, if its condition still makes sense.
pub fn enable(user: pg_sys::Oid, name: &str) -> Result<()> {
    let found = as_extension(|own| find(own, user, name))?;
    refuse_draft(&found)?;
    if let Some(table) = found.table {
        check_table(table, &found.operations, false)?;
        check_rights(table, found.owner)?;
        let sides = sides(&found.operations);
        let path =
            CString::new(found.search_path.as_str()).map_err(|e| Error::Internal(e.to_string()))?;
        if let Some(text) = &found.condition {
            as_role(found.owner, || expression::check(table, text, sides, &path))?;
        }
        if found.is_before {
            let operations = before::bits(&found.operations);
            let place = before::Place { relid: table, owner: found.owner, operations };
            let actions = inline::parse(&found.actions)?;
            let condition = found.condition.as_deref();
            as_role(found.owner, || before::check(&place, condition, &actions, &path))?;
        }
    }
    as_extension(|own| {
        set_status(own, &found, "active")?;
        if let Some(table) = found.table {
            store::keep_trigger(own, table, found.is_before)?;
        }
        note(own, &found, (Some(user), "enable"), None)
    })
}

fn set_status(own: &Own, found: &Found, status: &str) -> Result<()> {
    own.run(
        "UPDATE automate.rule SET status = $2, updated_at = pg_catalog.now()
         WHERE id = $1",
        &[found.id.into(), status.into()],
    )?;
    match found.table {
        Some(table) => cache::announce(own, table),
        None => {
            evaluate::announce();
            Ok(())
        }
    }
}

/// A draft is neither on nor off.
fn refuse_draft(found: &Found) -> Result<()> {
    if found.status != "draft" {
        return Ok(());
    }
    Err(Error::refused(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("rule {} is a draft", shown(&found.name)),
    )
    .with_detail("It is not evaluated before it is published.")
    .with_hint("SELECT automate.publish_rule(name) puts it in force."))
}

/// Notes in the audit what was done to a rule.
fn note(
    own: &Own,
    found: &Found,
    (by, action): (Option<pg_sys::Oid>, &'static str),
    old: Option<Value>,
) -> Result<()> {
    let (object, owner) = (Uuid::from_bytes(*found.id.as_bytes()), found.owner);
    let name = found.name.as_str();
    audit::record(own, &Entry { kind: "rule", object, name, owner, action, by, old, new: None })
}

const TABLE_DROPPED: &str = "its table was dropped";

macro_rules! disown {
    ($noun:literal) => {
        concat!(
            "UPDATE automate.",
            $noun,
            " SET status = 'broken', last_error = $1,
                  last_error_at = pg_catalog.now(), updated_at = pg_catalog.now()
             WHERE on_table IS NOT NULL AND status = 'active'
               AND NOT EXISTS (SELECT FROM pg_catalog.pg_class AS c WHERE c.oid = on_table)
             RETURNING id, owner::pg_catalog.oid, name"
        )
    };
}

/// Says of rules and data triggers whose table was dropped that they are broken.
pub fn disown_dropped_tables(own: &Own) -> Result<()> {
    let rules = own.run(disown!("rule"), &[TABLE_DROPPED.into()])?;
    fault::note_broken(own, "rule", &rules, TABLE_DROPPED)?;
    let triggers = own.run(disown!("trigger"), &[TABLE_DROPPED.into()])?;
    fault::note_broken(own, "trigger", &triggers, TABLE_DROPPED)
}
