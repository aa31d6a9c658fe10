//! Changing a rule: what is given replaces what was, and all of it is looked at anew.

use super::define::{self, Definition};
use super::store;
use crate::error::{Error, Result};
use crate::noun::RULE;
use crate::spi::own::as_role;
use crate::spi::{Own, as_extension};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use serde_json::Value;
use uuid::Uuid;

/// What is to be another way; None stays as it is.
pub struct Changes {
    pub actions: Option<Value>,
    pub operations: Option<Vec<String>>,
    pub condition: Option<String>,
    pub conditions: Option<Value>,
    pub columns: Option<Vec<String>>,
    pub priority: Option<i32>,
    pub stop: Option<bool>,
    pub valid_from: Option<TimestampWithTimeZone>,
    pub valid_until: Option<TimestampWithTimeZone>,
    pub on_error: Option<String>,
    pub description: Option<String>,
}

/// Changes a rule; returns its version. A broken rule that is good now works again.
pub fn alter(user: pg_sys::Oid, name: &str, changes: Changes) -> Result<i32> {
    let (id, owner, mut definition) = as_extension(|own| read(own, user, name))?;
    changes.apply(&mut definition);
    let checked = as_role(owner, || define::check(owner, &definition))?;
    as_extension(|own| store::store(own, id, owner, &definition, &checked))
}

impl Changes {
    fn apply(self, d: &mut Definition) {
        // One of the two forms of a condition replaces the other; both at once are refused later.
        if self.condition.is_some() || self.conditions.is_some() {
            d.condition = self.condition;
            d.conditions = self.conditions;
        }
        replace(&mut d.actions, self.actions);
        replace(&mut d.operations, self.operations);
        replace(&mut d.priority, self.priority);
        replace(&mut d.stop, self.stop);
        replace(&mut d.on_error, self.on_error);
        d.columns = self.columns.or_else(|| d.columns.take());
        d.valid_from = self.valid_from.or(d.valid_from);
        d.valid_until = self.valid_until.or(d.valid_until);
        d.description = self.description.or_else(|| d.description.take());
    }
}

fn replace<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

/// A rule as it is, locked: the user's own first, then those of roles whose privileges it has.
fn read(own: &Own, user: pg_sys::Oid, name: &str) -> Result<(Uuid, pg_sys::Oid, Definition)> {
    let rows = own.run(
        "SELECT id, owner::pg_catalog.oid, actions::pg_catalog.text, on_table::pg_catalog.oid, on_event, operations,
                condition, conditions::pg_catalog.text, columns, priority, stop, valid_from, valid_until, on_error,
                status <> 'disabled', description, timing, status = 'draft',
                (SELECT s.name FROM automate.ruleset AS s WHERE s.id = ruleset),
                (SELECT t.name FROM automate.trigger AS t WHERE t.id = on_trigger)
         FROM automate.rule WHERE name = $1 AND pg_has_role($2, owner, 'USAGE')
         ORDER BY owner = $2 DESC, owner LIMIT 1 FOR UPDATE",
        &[name.into(), user.into()],
    )?;
    let (Some(id), Some(owner)) = (rows.get::<pgrx::Uuid>(0, 1), rows.get(0, 2)) else {
        return Err(RULE.missing(own, user, name));
    };
    let json = |column| match rows.get::<String>(0, column) {
        None => Ok(None),
        Some(text) => serde_json::from_str(&text).map_err(|e| Error::Internal(e.to_string())),
    };
    let definition = Definition {
        name: name.to_owned(),
        actions: json(3)?.unwrap_or_default(),
        on_table: rows.get(0, 4),
        on_event: rows.get(0, 5),
        on_trigger: rows.get(0, 20),
        operations: rows.get(0, 6).unwrap_or_default(),
        condition: rows.get(0, 7),
        conditions: json(8)?,
        columns: rows.get(0, 9),
        timing: rows.get(0, 17).unwrap_or_default(),
        ruleset: rows.get(0, 19),
        priority: rows.get(0, 10).unwrap_or(100),
        stop: rows.get(0, 11).unwrap_or(false),
        valid_from: rows.get(0, 12),
        valid_until: rows.get(0, 13),
        on_error: rows.get(0, 14).unwrap_or_default(),
        draft: rows.get(0, 18).unwrap_or(false),
        enabled: rows.get(0, 15).unwrap_or(true),
        description: rows.get(0, 16),
    };
    Ok((Uuid::from_bytes(*id.as_bytes()), owner, definition))
}
