//! The triggers of type event that an event concerns.

use super::tell;
use crate::error::Result;
use crate::event::Emission;
use crate::event::order::Place;
use crate::queue::{Lane, NewJob};
use crate::rule::{self, tally};
use crate::spi::Own;
use automate_core::trigger::fits;
use pgrx::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

/// A trigger that hears an event.
pub struct Hearer {
    id: Uuid,
    name: String,
    owner: pg_sys::Oid,
    has_condition: bool,
    search_path: String,
}

/// The triggers on an event whose owner may know what the emitter says.
pub fn hearers(own: &Own, emission: &Emission) -> Result<Vec<Hearer>> {
    let rows = own.run(
        "SELECT id, name, owner::oid, condition IS NOT NULL OR conditions IS NOT NULL,
                search_path, options ->> 'from'
         FROM (SELECT * FROM automate.trigger WHERE trigger_type = 'event' AND event = $1
               UNION ALL
               SELECT * FROM automate.trigger WHERE event_like IS NOT NULL AND $1 LIKE event_like) AS t
         WHERE status = 'active' ORDER BY name",
        &[emission.name.into()],
    )?;
    let mut found = Vec::new();
    for row in 0..rows.len() {
        let (Some(id), Some(owner)) = (rows.get::<pgrx::Uuid>(row, 1), rows.get(row, 3)) else {
            continue;
        };
        let from: Option<String> = rows.get(row, 6);
        if from.is_some_and(|from| !fits(&from, emission.source.unwrap_or_default()))
            || !tell::may_know(owner, emission.owner)
        {
            continue;
        }
        found.push(Hearer {
            id: Uuid::from_bytes(*id.as_bytes()),
            name: rows.get(row, 2).unwrap_or_default(),
            owner,
            has_condition: rows.get(row, 4).unwrap_or(false),
            search_path: rows.get(row, 5).unwrap_or_default(),
        });
    }
    Ok(found)
}

impl Hearer {
    /// Tells the subscribers at once, or has the condition looked at in a session of its owner.
    pub fn hear(&self, own: &Own, event: &Value, place: Option<Place>) -> Result<()> {
        let Hearer { id, ref name, owner, .. } = *self;
        if !self.has_condition {
            tally::count(id, true);
            return tell::subscribers(own, &tell::Teller { id, name, owner }, event, place);
        }
        let chain = place.map(|place| place.chain(&format!("trigger:{id}")));
        let payload = json!({"trigger": id, "event": event});
        NewJob {
            source: Some(&super::source(name)),
            max_attempts: rule::ATTEMPTS,
            search_path: Some(&self.search_path),
            order: chain.as_deref().zip(place.map(|place| place.seq)),
            ..NewJob::new("trigger", owner, Lane::Sql, &payload)
        }
        .put(own)
        .map(|_| ())
    }
}
