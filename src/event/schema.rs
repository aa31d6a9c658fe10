//! Schemas of events: what an owner says its events are like, kept and looked at when one is emitted.

use crate::error::{Error, Result, shown};
use crate::noun::looked_for;
use crate::spi::{Own, as_extension};
use automate_core::event::schema::Schema;
use automate_core::suggest;
use pgrx::prelude::*;
use serde_json::Value;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// Most bytes of a schema as JSON.
const MAX_BYTES: usize = 256 * 1024;
/// Most schemas, and bytes of their texts, kept ready by a session.
const CACHE: usize = 64;
const CACHE_BYTES: usize = 1 << 20;

const HELP: &str =
    "Write it as json-schema.org says, such as {\"type\": \"object\", \"required\": [\"id\"]}.";

/// A schema that is ready. Each version has an id of its own, also one that is rolled back.
struct Ready {
    bytes: usize,
    schema: Rc<Schema>,
}

thread_local! {
    static READY: RefCell<HashMap<pgrx::Uuid, Ready>> = RefCell::new(HashMap::new());
}

/// Says what events of a name, or of a pattern of names, are like; returns the version.
pub fn set(
    owner: pg_sys::Oid,
    event: &str,
    document: &Value,
    description: Option<&str>,
) -> Result<i32> {
    super::check_pattern(event)?;
    let what = format!("schema of event {}", shown(event));
    let text = document.to_string();
    if text.len() > MAX_BYTES {
        let limit = PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED;
        return Err(Error::refused(limit, format!("the {what} is too large"))
            .with_detail(format!("It has {} bytes; {MAX_BYTES} are possible.", text.len()))
            .with_hint("Put what is said more than once below $defs."));
    }
    Schema::compile(document).map_err(|problems| Error::problems(&what, &problems, HELP))?;
    as_extension(|own| {
        let version: Option<i32> = own.one(
            "INSERT INTO automate.event_schema AS s (id, event, owner, schema, description)
             VALUES ($1, $2, $3, $4::pg_catalog.text::pg_catalog.jsonb, $5)
             ON CONFLICT (owner, event) DO UPDATE
                SET id = EXCLUDED.id, schema = EXCLUDED.schema, description = coalesce(EXCLUDED.description, s.description),
                    version = s.version + 1, updated_at = pg_catalog.now()
             RETURNING version",
            &[
                super::key(uuid::Uuid::now_v7()).into(),
                event.into(),
                owner.into(),
                text.into(),
                description.into(),
            ],
        )?;
        version.ok_or_else(|| Error::Internal("a schema was not written".into()))
    })
}

/// Removes a schema: events of that name may be anything again.
pub fn drop(user: pg_sys::Oid, event: &str) -> Result<()> {
    as_extension(|own| {
        let dropped = own.run(
            "DELETE FROM automate.event_schema WHERE id =
                (SELECT id FROM automate.event_schema
                 WHERE event = $2 AND pg_has_role($1, owner, 'USAGE')
                 ORDER BY owner = $1 DESC, owner LIMIT 1)",
            &[user.into(), event.into()],
        )?;
        if dropped.processed == 1 {
            return Ok(());
        }
        let rows = own.run(
            "SELECT event FROM automate.event_schema WHERE pg_has_role($1, owner, 'USAGE')
             ORDER BY 1 LIMIT 1000",
            &[user.into()],
        )?;
        let known: Vec<String> = (0..rows.len()).filter_map(|i| rows.get(i, 1)).collect();
        let hint = match suggest::nearest(event, known.iter().map(String::as_str)) {
            Some(near) => format!("Did you mean \"{near}\"?"),
            None => "SELECT event FROM automate.event_schema shows those there are.".into(),
        };
        Err(Error::missing(format!("event {} has no schema", shown(event)))
            .with_detail(looked_for("the schemas", user))
            .with_hint(hint))
    })
}

/// Refuses a payload that does not fit what the emitter says its events are like: by its name, and
/// by each pattern that the name fits.
pub fn check(own: &Own, emitter: pg_sys::Oid, name: &str, payload: &Value) -> Result<()> {
    let rows = own.run(
        "SELECT id, event FROM automate.event_schema
         WHERE owner = $1 AND (event = $2 OR $2 LIKE event_like) ORDER BY event",
        &[emitter.into(), name.into()],
    )?;
    for i in 0..rows.len() {
        let Some(id) = rows.get(i, 1) else { continue };
        let event: String = rows.get(i, 2).unwrap_or_default();
        let schema = ready(own, id, &event)?;
        let problems = schema.problems(payload);
        if !problems.is_empty() {
            let hint =
                format!("The schema of {} in automate.event_schema says what fits.", shown(&event));
            return Err(Error::problems(
                &format!("payload of event {}", shown(name)),
                &problems,
                &hint,
            )
            .with_code(PgSqlErrorCode::ERRCODE_CHECK_VIOLATION));
        }
    }
    Ok(())
}

fn ready(own: &Own, id: pgrx::Uuid, event: &str) -> Result<Rc<Schema>> {
    if let Some(known) = READY.with_borrow(|all| all.get(&id).map(|r| r.schema.clone())) {
        return Ok(known);
    }
    let text: Option<String> = own.one(
        "SELECT schema::pg_catalog.text FROM automate.event_schema WHERE id = $1",
        &[id.into()],
    )?;
    let text = text.unwrap_or_default();
    let document: Value =
        serde_json::from_str(&text).map_err(|e| Error::Internal(format!("a kept schema: {e}")))?;
    let what = format!("schema of event {}", shown(event));
    let schema = Schema::compile(&document).map_err(|p| Error::problems(&what, &p, HELP))?;
    let made = Ready { bytes: text.len(), schema: Rc::new(schema) };
    let schema = made.schema.clone();
    READY.with_borrow_mut(|all| {
        let bytes: usize = all.values().map(|r| r.bytes).sum();
        if all.len() >= CACHE || bytes + made.bytes > CACHE_BYTES {
            all.clear();
        }
        all.insert(id, made);
    });
    Ok(schema)
}
