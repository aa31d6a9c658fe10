//! What a data trigger saw of one statement: its events are recorded by one INSERT, and each rule
//! that hears them gets its jobs by one more.

use super::{Emission, Listener, key, listeners, tell_rules, trace};
use crate::error::Result;
use crate::pg;
use crate::queue::bulk::Bulk;
use crate::queue::claim::to_uuids;
use crate::rule;
use crate::spi::Own;
use crate::trigger::hear;
use crate::trigger::tell::{self, Teller};
use serde_json::{Value, json};
use std::fmt::Write;
use uuid::Uuid;

/// A trigger that saw changes, and what led to them.
pub struct Seen<'a> {
    pub trigger: Teller<'a>,
    /// Name of the events.
    pub event: &'a str,
    pub cause: Option<Uuid>,
    pub depth: i32,
}

impl Seen<'_> {
    /// Records an event for each id, with the payload beside it, which is JSON; and tells all who
    /// listen.
    pub fn record(&self, own: &Own, ids: &[Uuid], payloads: &[String]) -> Result<()> {
        let source = crate::trigger::source(self.trigger.name);
        let traceparent = trace::current();
        own.run(
            "INSERT INTO automate.event (id, name, payload, owner, source, depth, cause, trigger_id, trace_id, context)
             SELECT m.id, $3, m.payload::pg_catalog.jsonb, $4, $5, $6, $7, $8, $9, $10::pg_catalog.text::pg_catalog.jsonb
             FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.uuid[]),
                             pg_catalog.unnest($2::pg_catalog.text[])) AS m(id, payload)",
            &[
                to_uuids(ids).into(),
                payloads.to_vec().into(),
                self.event.into(),
                self.trigger.owner.into(),
                source.as_str().into(),
                self.depth.into(),
                self.cause.map(key).into(),
                key(self.trigger.id).into(),
                traceparent.as_deref().and_then(automate_core::trace::trace_id).into(),
                trace::context().map(|map| json!(map).to_string()).into(),
            ],
        )?;
        self.tell(own, &source, ids, payloads)
    }

    fn tell(&self, own: &Own, source: &str, ids: &[Uuid], payloads: &[String]) -> Result<()> {
        let Teller { id, owner, .. } = self.trigger;
        let mut rules = listeners(own, owner, Some(self.event), Some(id))?;
        // What a rule's own action changes is no news to it, also by way of a trigger.
        rules.retain(|rule| self.cause != Some(rule.rule));
        let emission = Emission {
            source: Some(source),
            trigger: Some(id),
            ..Emission::new(owner, self.event, &Value::Null)
        };
        let hearers = hear::hearers(own, &emission)?;
        let followers = tell::followers(own, &self.trigger)?;
        if rules.is_empty() && hearers.is_empty() && followers.is_empty() {
            return Ok(());
        }
        let events = self.envelopes(source, ids, payloads);
        // Those of a set of which not all may act are told together, event by event.
        let (together, alone): (Vec<Listener>, Vec<Listener>) =
            rules.into_iter().partition(|rule| rule.set.is_some());
        alone.iter().try_for_each(|rule| self.tell_rule(own, rule, &events))?;
        if together.is_empty() && hearers.is_empty() && followers.is_empty() {
            return Ok(());
        }
        for event in &events {
            let event: Value = serde_json::from_str(event).unwrap_or_default();
            tell_rules(own, together.clone(), &event, None)?;
            followers.iter().try_for_each(|one| one.tell(own, &self.trigger, &event, None))?;
            hearers.iter().try_for_each(|hearer| hearer.hear(own, &event, None))?;
        }
        Ok(())
    }

    /// The events as listeners see them. Payloads stand as PostgreSQL wrote them: our numbers are
    /// coarser.
    fn envelopes(&self, source: &str, ids: &[Uuid], payloads: &[String]) -> Vec<String> {
        let mut rest = json!({
            "at": pg::iso(pg::now()),
            "user": pg::role_name(self.trigger.owner),
            "source": source,
            "depth": self.depth,
        });
        if let Some(rest) = rest.as_object_mut() {
            trace::stamp(rest);
        }
        let rest = rest.to_string();
        let rest = rest.trim_start_matches('{');
        let name = Value::from(self.event).to_string();
        let envelope = |(id, payload): (&Uuid, &String)| {
            format!("{{\"id\":\"{id}\",\"name\":{name},\"payload\":{payload},{rest}")
        };
        ids.iter().zip(payloads).map(envelope).collect()
    }

    fn tell_rule(&self, own: &Own, listener: &Listener, events: &[String]) -> Result<()> {
        let depth = self.depth + 1;
        let payload = |event: &String| {
            let mut text = String::with_capacity(event.len() + 80);
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "{{\"rule\":\"{}\",\"depth\":{depth},\"event\":{event}}}",
                listener.rule
            );
            text
        };
        let payloads: Vec<String> = events.iter().map(payload).collect();
        let ids: Vec<Uuid> = events.iter().map(|_| Uuid::now_v7()).collect();
        let jobs = Bulk {
            kind: "rule",
            owner: listener.owner,
            source: &format!("rule:{}", listener.name),
            priority: listener.priority,
            max_attempts: rule::ATTEMPTS,
            search_path: &listener.search_path,
        };
        jobs.put(own, &ids, &payloads)
    }
}
