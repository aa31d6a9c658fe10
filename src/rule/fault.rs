//! Conditions that fail: the writer is not disturbed, the rule's owner is told.

use crate::error::{Failure, Result};
use crate::queue::{Lane, NewJob};
use crate::spi::{Own, as_extension};
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
    let (id, statement) = match (id("rule"), id("trigger")) {
        (Some(id), _) => (id, RULE_FAILED),
        (None, Some(id)) => (id, TRIGGER_FAILED),
        (None, None) => return Ok(()),
    };
    let broken = fault["broken"].as_bool().unwrap_or(false);
    let changed = own.run(
        statement,
        &[
            pgrx::Uuid::from_bytes(*id.as_bytes()).into(),
            fault["error"].as_str().unwrap_or("unknown").into(),
            broken.into(),
        ],
    )?;
    if let (true, Some(table)) = (broken, changed.get::<pg_sys::Oid>(0, 1)) {
        super::cache::announce(own, table)?;
    }
    Ok(())
}

macro_rules! failed {
    ($noun:literal) => {
        concat!(
            "UPDATE automate.",
            $noun,
            " SET errors = errors + 1, last_error = $2, last_error_at = pg_catalog.clock_timestamp(),
                 status = CASE WHEN $3 AND status = 'active' THEN 'broken' ELSE status END
             WHERE id = $1 RETURNING on_table::oid"
        )
    };
}

const RULE_FAILED: &str = failed!("rule");
const TRIGGER_FAILED: &str = failed!("trigger");
