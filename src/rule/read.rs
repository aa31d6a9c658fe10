//! Rules as they are stored, read back into definitions.

use super::define::Definition;
use crate::error::{Error, Result};
use crate::noun::RULE;
use crate::spi::{Own, own::Rows};
use pgrx::prelude::*;
use uuid::Uuid;

/// A rule as it is stored.
pub struct Stored {
    pub id: Uuid,
    pub owner: pg_sys::Oid,
    pub version: i32,
    /// As it is kept: with pg_temp at its end.
    pub search_path: String,
    /// Its draft says whether the rule is one as a whole.
    pub definition: Definition,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT r.id, r.owner::pg_catalog.oid, r.actions::pg_catalog.text, r.on_table::pg_catalog.oid, r.on_event,
                    r.operations, r.condition, r.conditions::pg_catalog.text, r.columns, r.priority, r.stop, r.valid_from,
                    r.valid_until, r.on_error, r.status <> 'disabled', r.description, r.timing, r.status = 'draft',
                    (SELECT s.name FROM automate.ruleset AS s WHERE s.id = r.ruleset),
                    (SELECT t.name FROM automate.trigger AS t WHERE t.id = r.on_trigger),
                    r.name, r.version, r.search_path
             FROM automate.rule AS r ",
            $rest
        )
    };
}

/// The rule of a name, locked: the user's own first, then those of roles whose privileges it has.
pub fn find(own: &Own, user: pg_sys::Oid, name: &str) -> Result<Stored> {
    let rows = own.run(
        select!(
            "WHERE r.name = $1 AND pg_has_role($2, r.owner, 'USAGE')
             ORDER BY r.owner = $2 DESC, r.owner LIMIT 1 FOR UPDATE OF r"
        ),
        &[name.into(), user.into()],
    )?;
    match stored(&rows, 0)? {
        Some(found) => Ok(found),
        None => Err(RULE.missing(own, user, name)),
    }
}

/// The rule of a name that a role owns; `lock` keeps others from changing it until the transaction
/// ends.
pub fn owned(own: &Own, owner: pg_sys::Oid, name: &str, lock: bool) -> Result<Option<Stored>> {
    let sql = match lock {
        true => select!("WHERE r.owner = $1 AND r.name = $2 FOR UPDATE OF r"),
        false => select!("WHERE r.owner = $1 AND r.name = $2"),
    };
    stored(&own.run(sql, &[owner.into(), name.into()])?, 0)
}

/// The rules that a role owns, by name: those LIKE a pattern and, if one is given, in a set.
pub fn all(
    own: &Own,
    owner: pg_sys::Oid,
    pattern: &str,
    ruleset: Option<Uuid>,
) -> Result<Vec<Stored>> {
    let ruleset = ruleset.map(|id| pgrx::Uuid::from_bytes(*id.as_bytes()));
    let rows = own.run(
        select!(
            "WHERE r.owner = $1 AND r.name LIKE $2 AND ($3 IS NULL OR r.ruleset = $3)
             ORDER BY r.name COLLATE \"C\""
        ),
        &[owner.into(), pattern.into(), ruleset.into()],
    )?;
    let mut found = Vec::with_capacity(rows.len());
    for row in 0..rows.len() {
        found.extend(stored(&rows, row)?);
    }
    Ok(found)
}

fn stored(rows: &Rows, row: usize) -> Result<Option<Stored>> {
    let (Some(id), Some(owner)) = (rows.get::<pgrx::Uuid>(row, 1), rows.get(row, 2)) else {
        return Ok(None);
    };
    let json = |column| match rows.get::<String>(row, column) {
        None => Ok(None),
        Some(text) => serde_json::from_str(&text).map_err(|e| Error::Internal(e.to_string())),
    };
    let definition = Definition {
        name: rows.get(row, 21).unwrap_or_default(),
        actions: json(3)?.unwrap_or_default(),
        on_table: rows.get(row, 4),
        on_event: rows.get(row, 5),
        on_trigger: rows.get(row, 20),
        operations: rows.get(row, 6).unwrap_or_default(),
        condition: rows.get(row, 7),
        conditions: json(8)?,
        columns: rows.get(row, 9),
        timing: rows.get(row, 17).unwrap_or_default(),
        ruleset: rows.get(row, 19),
        priority: rows.get(row, 10).unwrap_or(100),
        stop: rows.get(row, 11).unwrap_or(false),
        valid_from: rows.get(row, 12),
        valid_until: rows.get(row, 13),
        on_error: rows.get(row, 14).unwrap_or_default(),
        draft: rows.get(row, 18).unwrap_or(false),
        enabled: rows.get(row, 15).unwrap_or(true),
        description: rows.get(row, 16),
    };
    Ok(Some(Stored {
        id: Uuid::from_bytes(*id.as_bytes()),
        owner,
        version: rows.get(row, 22).unwrap_or(1),
        search_path: rows.get(row, 23).unwrap_or_default(),
        definition,
    }))
}
