//! Removing rules and switching them on and off.

use super::cache;
use super::expression;
use super::look::sides;
use super::rights::{check_rights, check_table};
use crate::error::{Error, Result};
use crate::noun::RULE;
use crate::spi::own::as_role;
use crate::spi::{Own, as_extension};
use pgrx::prelude::*;
use std::ffi::CString;

/// A rule that was found by its name.
struct Found {
    id: pgrx::Uuid,
    owner: pg_sys::Oid,
    table: Option<pg_sys::Oid>,
    condition: Option<String>,
    operations: Vec<String>,
    search_path: String,
}

/// The rule of a name: the user's own first, then those of roles whose privileges it has.
fn find(own: &Own, user: pg_sys::Oid, name: &str) -> Result<Found> {
    let rows = own.run(
        "SELECT id, owner::pg_catalog.oid, on_table::pg_catalog.oid, coalesce(condition_sql, condition),
                operations, search_path
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
    })
}

/// Removes a rule.
pub fn remove(user: pg_sys::Oid, name: &str) -> Result<()> {
    as_extension(|own| {
        let found = find(own, user, name)?;
        own.run("DELETE FROM automate.rule WHERE id = $1", &[found.id.into()])?;
        let Some(table) = found.table else { return Ok(()) };
        cache::announce(own, table)?;
        own.run("SELECT automate.keep_capture($1::pg_catalog.oid)", &[table.into()])?;
        Ok(())
    })
}

/// Lets a rule rest.
pub fn disable(user: pg_sys::Oid, name: &str) -> Result<()> {
    as_extension(|own| {
        let found = find(own, user, name)?;
        set_status(own, &found, "disabled")
    })
}

/// Puts a rule back to work, if its condition still makes sense.
pub fn enable(user: pg_sys::Oid, name: &str) -> Result<()> {
    let found = as_extension(|own| find(own, user, name))?;
    if let Some(table) = found.table {
        check_table(table, &found.operations, false)?;
        check_rights(table, found.owner)?;
        let sides = sides(&found.operations);
        let path =
            CString::new(found.search_path.as_str()).map_err(|e| Error::Internal(e.to_string()))?;
        if let Some(text) = &found.condition {
            as_role(found.owner, || expression::check(table, text, sides, &path))?;
        }
    }
    as_extension(|own| {
        set_status(own, &found, "active")?;
        if let Some(table) = found.table {
            own.run("SELECT automate.keep_capture($1::pg_catalog.oid)", &[table.into()])?;
        }
        Ok(())
    })
}

fn set_status(own: &Own, found: &Found, status: &str) -> Result<()> {
    own.run(
        "UPDATE automate.rule SET status = $2, version = version + 1, updated_at = pg_catalog.now()
         WHERE id = $1",
        &[found.id.into(), status.into()],
    )?;
    match found.table {
        Some(table) => cache::announce(own, table),
        None => Ok(()),
    }
}

macro_rules! disown {
    ($noun:literal) => {
        concat!(
            "UPDATE automate.",
            $noun,
            " SET status = 'broken', last_error = 'its table was dropped',
                  last_error_at = pg_catalog.now(), updated_at = pg_catalog.now()
             WHERE on_table IS NOT NULL AND status = 'active'
               AND NOT EXISTS (SELECT FROM pg_catalog.pg_class AS c WHERE c.oid = on_table)"
        )
    };
}

/// Says of rules and data triggers whose table was dropped that they are broken.
pub fn disown_dropped_tables(own: &Own) -> Result<()> {
    own.run(disown!("rule"), &[])?;
    own.run(disown!("trigger"), &[])?;
    Ok(())
}
