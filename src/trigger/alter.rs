//! Changing a trigger: what is given replaces what was, and all of it is looked at anew.

use super::define::{self, Definition};
use super::store::{self, tell_table};
use crate::audit;
use crate::error::{Error, Result};
use crate::noun::TRIGGER;
use crate::spi::own::as_role;
use crate::spi::{Own, as_extension};
use automate_core::trigger::Kind;
use pgrx::prelude::*;
use serde_json::Value;
use uuid::Uuid;

/// What is to be another way; None stays as it is.
pub struct Changes {
    pub conditions: Option<Value>,
    pub condition: Option<String>,
    pub on_table: Option<pg_sys::Oid>,
    pub operations: Option<Vec<String>>,
    pub columns: Option<Vec<String>>,
    pub event: Option<String>,
    pub schedule: Option<String>,
    pub source: Option<String>,
    pub options: Option<Value>,
    pub description: Option<String>,
}

/// Changes a trigger; returns its version. A broken one that is good now works again.
pub fn alter(user: pg_sys::Oid, name: &str, changes: Changes) -> Result<i32> {
    let (id, owner, mut definition) = as_extension(|own| read(own, user, name))?;
    let before = definition.on_table;
    changes.apply(&mut definition);
    let checked = as_role(owner, || define::check(owner, &definition))?;
    as_extension(|own| {
        let version = audit::around(own, &audit::TRIGGER, (user, "alter"), id, || {
            store::store(own, id, owner, &definition, &checked)
        })?;
        if let Some(before) = before.filter(|before| definition.on_table != Some(*before)) {
            tell_table(own, before)?;
        }
        Ok(version)
    })
}

impl Changes {
    fn apply(self, d: &mut Definition) {
        if d.kind == Kind::Time && self.schedule.is_none() {
            match &self.conditions {
                Some(_) => d.schedule = None,
                None => keep_schedule(d, self.options.as_ref()),
            }
        }
        // One of the two forms of a condition replaces the other; both at once are refused later.
        if self.condition.is_some() || self.conditions.is_some() {
            d.condition = self.condition;
            d.conditions = self.conditions;
        }
        d.on_table = self.on_table.or(d.on_table);
        d.operations = self.operations.or_else(|| d.operations.take());
        d.columns = self.columns.or_else(|| d.columns.take()).filter(|all| !all.is_empty());
        d.event = self.event.or_else(|| d.event.take());
        d.schedule = self.schedule.or_else(|| d.schedule.take());
        d.source = self.source.or_else(|| d.source.take());
        if let Some(options) = self.options {
            d.options = options;
        }
        d.description = self.description.or_else(|| d.description.take());
        d.read_short_form();
    }
}

/// A kept schedule has its time zone in it; another zone among the options replaces that.
fn keep_schedule(d: &mut Definition, options: Option<&Value>) {
    if options.and_then(|options| options.get("time_zone")).is_none() {
        return;
    }
    let kept = d.schedule.as_deref().and_then(|kept| serde_json::from_str::<Value>(kept).ok());
    if let Some(Value::Object(mut kept)) = kept {
        kept.remove("time_zone");
        d.schedule = Some(Value::Object(kept).to_string());
    }
}

/// A trigger as it is, locked: the user's own first, then those of roles whose privileges it has.
fn read(own: &Own, user: pg_sys::Oid, name: &str) -> Result<(Uuid, pg_sys::Oid, Definition)> {
    let rows = own.run(
        "SELECT id, owner::pg_catalog.oid, trigger_type, on_table::pg_catalog.oid, operations, columns, event,
                schedule::pg_catalog.text, source, condition, conditions::pg_catalog.text,
                options::pg_catalog.text, description, status <> 'disabled'
         FROM automate.trigger WHERE name = $1 AND pg_has_role($2, owner, 'USAGE')
         ORDER BY owner = $2 DESC, owner LIMIT 1 FOR NO KEY UPDATE",
        &[name.into(), user.into()],
    )?;
    let (Some(id), Some(owner)) = (rows.get::<pgrx::Uuid>(0, 1), rows.get(0, 2)) else {
        return Err(TRIGGER.missing(own, user, name));
    };
    let json = |column| match rows.get::<String>(0, column) {
        None => Ok(None),
        Some(text) => serde_json::from_str(&text).map_err(|e| Error::Internal(e.to_string())),
    };
    let definition = Definition {
        name: name.to_owned(),
        kind: define::kind(&rows.get::<String>(0, 3).unwrap_or_default())?,
        on_table: rows.get(0, 4),
        operations: rows.get(0, 5),
        columns: rows.get(0, 6),
        event: rows.get(0, 7),
        schedule: rows.get(0, 8),
        source: rows.get(0, 9),
        condition: rows.get(0, 10),
        conditions: json(11)?,
        options: json(12)?.unwrap_or_default(),
        description: rows.get(0, 13),
        enabled: rows.get(0, 14).unwrap_or(true),
    };
    Ok((Uuid::from_bytes(*id.as_bytes()), owner, definition))
}
