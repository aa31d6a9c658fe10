//! Conditions that fail: the writer is not disturbed, the rule's owner is told.

use crate::audit::{self, Entry};
use crate::error::{Failure, Result};
use crate::queue::{Lane, NewJob};
use crate::spi::{Own, as_extension, own::Rows};
use pgrx::prelude::*;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::HashMap;
use uuid::Uuid;

thread_local! {
    /// The rules that failed in this session, and the transaction in which that was last noted.
    static NOTED: RefCell<HashMap<Uuid, i64>> = RefCell::new(HashMap::new());
}

/// Most rules remembered.
const REMEMBERED: usize = 10_000;

/// Whose condition failed.
pub struct Culprit<'a> {
    /// rule or trigger.
    pub word: &'static str,
    pub id: Uuid,
    pub name: &'a str,
    pub owner: pg_sys::Oid,
}

/// Notes that the condition of a rule or a trigger failed: once a transaction, by a job of its owner, so that
/// writers never wait for each other on the rule's row. `broken`: it can no longer be evaluated.
pub fn note(culprit: &Culprit, failure: &Failure, broken: bool) -> Result<()> {
    // SAFETY: reads a process-local variable.
    let now = unsafe { pg_sys::GetCurrentTransactionStartTimestamp() };
    let before = NOTED.with_borrow_mut(|noted| {
        if noted.len() >= REMEMBERED {
            noted.clear();
        }
        noted.insert(culprit.id, now)
    });
    if before == Some(now) {
        return Ok(());
    }
    let text = failure.text();
    if before.is_none() {
        log!("pg_automate: {} \"{}\" was passed over: {text}", culprit.word, culprit.name);
    }
    let payload = json!({"fault": {culprit.word: culprit.id, "error": text, "broken": broken}});
    let source = format!("{}:{}", culprit.word, culprit.name);
    as_extension(|own| {
        NewJob { source: Some(&source), ..NewJob::new("rule", culprit.owner, Lane::Sql, &payload) }
            .put(own)?;
        Ok(())
    })
}

/// Writes a note into the row of the rule or the trigger.
pub fn record(own: &Own, fault: &Value) -> Result<()> {
    let id = |word: &str| fault[word].as_str().and_then(|id| Uuid::parse_str(id).ok());
    let (kind, id, statement) = match (id("rule"), id("trigger")) {
        (Some(id), _) => ("rule", id, RULE_FAILED),
        (None, Some(id)) => ("trigger", id, TRIGGER_FAILED),
        (None, None) => return Ok(()),
    };
    let broken = fault["broken"].as_bool().unwrap_or(false);
    let error = fault["error"].as_str().unwrap_or("unknown");
    let changed = own.run(
        statement,
        &[pgrx::Uuid::from_bytes(*id.as_bytes()).into(), error.into(), broken.into()],
    )?;
    if let (true, Some(table)) = (broken, changed.get::<pg_sys::Oid>(0, 4)) {
        super::cache::announce(own, table)?;
    }
    match changed.get(0, 5) {
        Some(true) => note_broken(own, kind, &changed, error),
        _ => Ok(()),
    }
}

/// Notes in the audit that the server found rules or triggers broken; the rows begin with id, owner
/// and name.
pub fn note_broken(own: &Own, kind: &'static str, rows: &Rows, reason: &str) -> Result<()> {
    for row in 0..rows.len() {
        let (Some(id), Some(owner)) = (rows.get::<pgrx::Uuid>(row, 1), rows.get(row, 2)) else {
            continue;
        };
        let name: String = rows.get(row, 3).unwrap_or_default();
        let entry = Entry {
            kind,
            object: Uuid::from_bytes(*id.as_bytes()),
            name: &name,
            owner,
            action: "broken",
            by: None,
            old: None,
            new: Some(json!({"last_error": reason})),
        };
        audit::record(own, &entry)?;
    }
    Ok(())
}

macro_rules! failed {
    ($noun:literal) => {
        concat!(
            "UPDATE automate.",
            $noun,
            " AS r
             SET errors = r.errors + 1, last_error = $2, last_error_at = pg_catalog.clock_timestamp(),
                 status = CASE WHEN $3 AND r.status = 'active' THEN 'broken' ELSE r.status END
             FROM (SELECT id, status FROM automate.",
            $noun,
            " WHERE id = $1 FOR UPDATE) AS was
             WHERE r.id = was.id
             RETURNING r.id, r.owner::oid, r.name, r.on_table::oid, r.status <> was.status"
        )
    };
}

const RULE_FAILED: &str = failed!("rule");
const TRIGGER_FAILED: &str = failed!("trigger");
