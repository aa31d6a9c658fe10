//! An event as its listeners see it.

use crate::pg;
use pgrx::prelude::*;
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// What there is to tell of an event.
pub struct Envelope<'a> {
    pub id: Uuid,
    pub name: &'a str,
    pub payload: &'a Value,
    /// As ISO 8601.
    pub at: String,
    pub owner: pg_sys::Oid,
    pub source: Option<&'a str>,
    pub depth: i32,
    pub order_key: Option<&'a str>,
    /// What the session that caused it said of itself (`trace::context`).
    pub context: Option<Map<String, Value>>,
}

impl Envelope<'_> {
    pub fn into_json(self) -> Value {
        let mut event = json!({
            "id": self.id, "name": self.name, "payload": self.payload, "at": self.at,
            "user": pg::role_name(self.owner), "source": self.source, "depth": self.depth,
        });
        if let Some(map) = event.as_object_mut() {
            map.extend(self.context.into_iter().flatten());
            if let Some(key) = self.order_key {
                map.insert("order_key".into(), key.into());
            }
        }
        event
    }
}
