//! The audit: who changed which definition, written in the transaction that changes it.

use crate::error::{Error, Result};
use crate::spi::Own;
use crate::{guc, pg};
use pgrx::prelude::*;
use serde_json::{Map, Value};
use uuid::Uuid;

/// Entries removed by one statement.
const BATCH: i64 = 10_000;

/// A definition as JSON.
type Definition = Map<String, Value>;

/// A change of a definition.
pub struct Entry<'a> {
    /// The table of the thing in the schema automate, such as rule.
    pub kind: &'static str,
    pub object: Uuid,
    pub name: &'a str,
    pub owner: pg_sys::Oid,
    pub action: &'static str,
    /// The role that does it; None for the server itself.
    pub by: Option<pg_sys::Oid>,
    pub old: Option<Value>,
    pub new: Option<Value>,
}

/// Writes an entry.
pub fn record(own: &Own, entry: &Entry) -> Result<()> {
    let key = |id: Uuid| pgrx::Uuid::from_bytes(*id.as_bytes());
    let text = |value: &Option<Value>| value.as_ref().map(Value::to_string);
    own.run(
        "INSERT INTO automate.audit (id, kind, object, name, owner, action, by_role, by_session, application, client, old, new)
         VALUES ($1, $2, $3, $4, $5, $6, $7, CASE WHEN $7 IS NOT NULL THEN session_user END,
                 CASE WHEN $7 IS NOT NULL THEN nullif(current_setting('application_name'), '') END,
                 CASE WHEN $7 IS NOT NULL THEN inet_client_addr() END, $8::jsonb, $9::jsonb)",
        &[
            key(Uuid::now_v7()).into(),
            entry.kind.into(),
            key(entry.object).into(),
            entry.name.into(),
            entry.owner.into(),
            entry.action.into(),
            entry.by.and_then(pg::role_name).into(),
            text(&entry.old).into(),
            text(&entry.new).into(),
        ],
    )?;
    Ok(())
}

/// A kind of thing whose rows are its definitions: reads the name, the owner and the definition of
/// one of them.
pub struct Kind {
    pub word: &'static str,
    read: &'static str,
}

macro_rules! kind {
    ($word:literal, $more:literal) => {
        Kind {
            word: $word,
            read: concat!(
                "SELECT t.name, t.owner::oid, (to_jsonb(t) - '{id,owner,status,state,next_at,event_like,version,
                        errors,last_error,last_error_at,created_by,created_at,updated_at}'::text[]",
                $more,
                ")::text FROM automate.",
                $word,
                " AS t WHERE t.id = $1"
            ),
        }
    };
}

pub static CALENDAR: Kind = kind!("calendar", "");
pub static DECISION_TABLE: Kind = kind!(
    "decision_table",
    " || (SELECT jsonb_build_object('inputs', v.inputs, 'outputs', v.outputs, 'rows', v.rows, 'hit_policy', v.hit_policy)
          FROM automate.decision_version AS v WHERE v.decision_table = t.id AND v.version = t.version)"
);
pub static RULESET: Kind = kind!("ruleset", "");
pub static TASK: Kind = kind!(
    "task",
    " - '{next_run_at,last_run_at,run_count,status_reason,on_trigger}'::text[] || jsonb_build_object('depends_on',
        (SELECT jsonb_agg(u.name ORDER BY u.name) FROM automate.task_dependency AS d
         JOIN automate.task AS u ON u.id = d.upstream WHERE d.task = t.id))"
);
pub static TRIGGER: Kind = kind!("trigger", "");

/// Makes a change of one thing and writes an entry of it: what there was, and what there is.
pub fn around<R>(
    own: &Own,
    kind: &Kind,
    (by, action): (pg_sys::Oid, &'static str),
    object: Uuid,
    change: impl FnOnce() -> Result<R>,
) -> Result<R> {
    let before = kind.find(own, object)?;
    let result = change()?;
    let after = kind.find(own, object)?;
    let Some((name, owner, _)) = after.as_ref().or(before.as_ref()) else { return Ok(result) };
    let written = |definition: Definition| {
        Value::Object(definition.into_iter().filter(|(_, value)| !value.is_null()).collect())
    };
    let (old, new) = match (&before, &after) {
        (Some((.., old)), Some((.., new))) => {
            let (old, new) = differing(old, new);
            (Some(Value::Object(old)), Some(Value::Object(new)))
        }
        (old, new) => (
            old.as_ref().map(|(.., old)| written(old.clone())),
            new.as_ref().map(|(.., new)| written(new.clone())),
        ),
    };
    let (kind, name, owner) = (kind.word, name.as_str(), *owner);
    record(own, &Entry { kind, object, name, owner, action, by: Some(by), old, new })?;
    Ok(result)
}

impl Kind {
    fn find(&self, own: &Own, id: Uuid) -> Result<Option<(String, pg_sys::Oid, Definition)>> {
        let rows = own.run(self.read, &[pgrx::Uuid::from_bytes(*id.as_bytes()).into()])?;
        let (Some(name), Some(owner)) = (rows.get(0, 1), rows.get(0, 2)) else { return Ok(None) };
        let text: String = rows.get(0, 3).unwrap_or_default();
        let definition = serde_json::from_str(&text).map_err(|e| Error::Internal(e.to_string()))?;
        Ok(Some((name, owner, definition)))
    }
}

/// The keys of two definitions that differ, with the old and the new values.
pub fn differing(old: &Definition, new: &Definition) -> (Definition, Definition) {
    let only = |of: &Definition, other: &Definition| {
        let unlike = |(key, value): &(&String, &Value)| other.get(key.as_str()) != Some(value);
        of.iter().filter(unlike).map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    (only(old, new), only(new, old))
}

/// Removes entries older than their retention, some at a time.
pub fn forget_old(own: &Own) -> Result<()> {
    own.run(
        "DELETE FROM automate.audit WHERE id IN
            (SELECT id FROM automate.audit WHERE id < $1 ORDER BY id LIMIT $2)",
        &[pg::oldest_id(guc::audit_retention_s()).into(), BATCH.into()],
    )?;
    Ok(())
}
