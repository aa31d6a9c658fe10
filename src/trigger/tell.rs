//! Telling an event to those who are subscribed to a trigger. For each a job of its owner is
//! queued, which does the rest: whoever causes the event waits for nobody, and no failure is theirs.

use crate::error::Result;
use crate::event;
use crate::queue::{Lane, NewJob};
use crate::rule;
use crate::spi::Own;
use pgrx::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

/// The trigger that fires.
pub struct Teller<'a> {
    pub id: Uuid,
    pub name: &'a str,
    pub owner: pg_sys::Oid,
}

/// True when a role has the privileges of the one that knows something.
pub fn may_know(role: pg_sys::Oid, of: pg_sys::Oid) -> bool {
    // SAFETY: look-ups in the catalog of role memberships.
    role == of || unsafe { pg_sys::has_privs_of_role(role, of) }
}

/// Tells all subscribers of a trigger.
pub fn subscribers(own: &Own, teller: &Teller, event: &Value) -> Result<()> {
    let rules = event::listeners(own, teller.owner, None, Some(teller.id))?;
    event::tell_rules(own, &rules, event)?;
    followers(own, teller, event)
}

/// Tells the tasks and workflows that are subscribed.
pub fn followers(own: &Own, teller: &Teller, event: &Value) -> Result<()> {
    let rows = own.run(
        "SELECT 'task', id, owner::oid, priority FROM automate.task
         WHERE on_trigger = $1 AND status = 'active'
         UNION ALL
         SELECT 'workflow', id, owner::oid, 100 FROM automate.workflow
         WHERE on_trigger = $1 AND status = 'active'
         ORDER BY 4, 2",
        &[pgrx::Uuid::from_bytes(*teller.id.as_bytes()).into()],
    )?;
    for row in 0..rows.len() {
        let (Some(word), Some(id), Some(owner)) =
            (rows.get::<String>(row, 1), rows.get::<pgrx::Uuid>(row, 2), rows.get(row, 3))
        else {
            continue;
        };
        if !may_know(owner, teller.owner) {
            continue;
        }
        let payload = json!({
            word: Uuid::from_bytes(*id.as_bytes()), "cause": teller.id, "event": event,
        });
        NewJob {
            source: Some(&super::source(teller.name)),
            priority: rows.get(row, 4).unwrap_or(100),
            max_attempts: rule::ATTEMPTS,
            ..NewJob::new("trigger", owner, Lane::Sql, &payload)
        }
        .put(own)?;
    }
    Ok(())
}
