//! Telling an event to those who are subscribed to a trigger. For each a job of its owner is
//! queued, which does the rest: whoever causes the event waits for nobody, and no failure is theirs.

use crate::error::Result;
use crate::event;
use crate::event::order::Place;
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
pub fn subscribers(own: &Own, teller: &Teller, event: &Value, place: Option<Place>) -> Result<()> {
    let rules = event::listeners(own, teller.owner, None, Some(teller.id))?;
    event::tell_rules(own, rules, event, place)?;
    tell_followers(own, teller, event, place)
}

/// Tells the tasks and workflows that are subscribed.
pub fn tell_followers(
    own: &Own,
    teller: &Teller,
    event: &Value,
    place: Option<Place>,
) -> Result<()> {
    followers(own, teller)?.iter().try_for_each(|one| one.tell(own, teller, event, place))
}

/// A task or a workflow that is subscribed.
pub struct Follower {
    word: String,
    id: Uuid,
    owner: pg_sys::Oid,
    priority: i32,
}

/// The tasks and workflows that are subscribed and may know what the trigger says.
pub fn followers(own: &Own, teller: &Teller) -> Result<Vec<Follower>> {
    let rows = own.run(
        "SELECT 'task', id, owner::oid, priority FROM automate.task
         WHERE on_trigger = $1 AND status = 'active'
         UNION ALL
         SELECT 'workflow', id, owner::oid, 100 FROM automate.workflow
         WHERE on_trigger = $1 AND status = 'active'
         ORDER BY 4, 2",
        &[pgrx::Uuid::from_bytes(*teller.id.as_bytes()).into()],
    )?;
    let follower = |row| {
        let id = rows.get::<pgrx::Uuid>(row, 2)?;
        Some(Follower {
            word: rows.get(row, 1)?,
            id: Uuid::from_bytes(*id.as_bytes()),
            owner: rows.get(row, 3)?,
            priority: rows.get(row, 4).unwrap_or(100),
        })
    };
    let found = (0..rows.len()).filter_map(follower);
    Ok(found.filter(|one| may_know(one.owner, teller.owner)).collect())
}

impl Follower {
    /// Queues the job that runs the task or starts the workflow.
    pub fn tell(
        &self,
        own: &Own,
        teller: &Teller,
        event: &Value,
        place: Option<Place>,
    ) -> Result<()> {
        let Follower { word, id, owner, priority } = self;
        let chain = place.map(|place| place.chain(&format!("{word}:{id}")));
        let payload = json!({word.as_str(): id, "cause": teller.id, "event": event});
        NewJob {
            source: Some(&super::source(teller.name)),
            priority: *priority,
            max_attempts: rule::ATTEMPTS,
            order: chain.as_deref().zip(place.map(|place| place.seq)),
            ..NewJob::new("trigger", *owner, Lane::Sql, &payload)
        }
        .put(own)
        .map(|_| ())
    }
}
