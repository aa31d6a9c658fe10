//! What a data trigger saw of one statement: its events go straight into their table, and so do the
//! jobs of each rule that hears them.

use super::{Emission, Listener, listeners, tell_rules, trace};
use crate::error::Result;
use crate::pg;
use crate::queue::bulk::Bulk;
use crate::rule;
use crate::rule::matched::ALL;
use crate::rule::pending::Payload;
use crate::spi::Own;
use crate::spi::insert::{Inserter, varlena};
use crate::trigger::hear;
use crate::trigger::tell::{self, Teller};
use crate::workflow::listen;
use automate_core::json::members;
use automate_core::rule::reads::{Part, SIDES};
use pgrx::prelude::*;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::ffi::CString;
use std::fmt::Write;
use uuid::Uuid;

/// The columns that get values, the changing ones first.
const COLUMNS: [&str; 12] = [
    "id",
    "payload",
    "name",
    "owner",
    "source",
    "trigger_id",
    "txid",
    "trace_id",
    "depth",
    "cause",
    "context",
    "created_at",
];

/// A trigger that saw changes, and what led to them.
pub struct Seen<'a> {
    pub trigger: Teller<'a>,
    /// Name of the events.
    pub event: &'a str,
    pub cause: Option<Uuid>,
    pub depth: i32,
}

impl Seen<'_> {
    /// Records an event for each id, with the payload beside it; and tells all who listen.
    pub fn record(&self, own: &Own, ids: &[Uuid], payloads: &[Payload]) -> Result<()> {
        let source = crate::trigger::source(self.trigger.name);
        self.write(&source, ids, payloads)?;
        self.tell(own, &source, ids, payloads)
    }

    fn write(&self, source: &str, ids: &[Uuid], payloads: &[Payload]) -> Result<()> {
        let mut table = Inserter::open(c"event", &COLUMNS)?;
        let traceparent = trace::current();
        let trace_id = traceparent.as_deref().and_then(automate_core::trace::trace_id);
        let text = |text: &str| Some(varlena(text.as_bytes()));
        let uuid = |id: &Uuid| Some(pg_sys::Datum::from(id.as_bytes().as_ptr()));
        // SAFETY: the transaction has an id by now, or gets one; the other is a process-local
        // variable.
        let (transaction, began) = unsafe {
            let transaction = pg_sys::GetTopFullTransactionId().value;
            (transaction, pg_sys::GetCurrentTransactionStartTimestamp())
        };
        let same = [
            text(self.event),
            self.trigger.owner.into_datum(),
            text(source),
            uuid(&self.trigger.id),
            Some(pg_sys::Datum::from(transaction)),
            trace_id.and_then(text),
            self.depth.into_datum(),
            self.cause.as_ref().and_then(uuid),
            trace::context().and_then(|map| read_jsonb(&json!(map).to_string())),
            Some(pg_sys::Datum::from(began)),
        ];
        let mut row = [None; COLUMNS.len()];
        row[2..].copy_from_slice(&same);
        for (id, payload) in ids.iter().zip(payloads) {
            row[0] = uuid(id);
            row[1] = match &payload.jsonb {
                Some(inside) => Some(varlena(inside)),
                None => read_jsonb(&payload.text),
            };
            // SAFETY: the values are of the types of the columns, in their order.
            unsafe { table.put(&row) };
        }
        table.close();
        Ok(())
    }

    fn tell(&self, own: &Own, source: &str, ids: &[Uuid], payloads: &[Payload]) -> Result<()> {
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
        listen::emitted(own, owner, self.event, ids)?;
        if rules.is_empty() && hearers.is_empty() && followers.is_empty() {
            return Ok(());
        }
        let envelope = Envelope::of(self, source);
        // Those of a set of which not all may act are told together, event by event.
        let (together, alone): (Vec<Listener>, Vec<Listener>) =
            rules.into_iter().partition(|rule| rule.set.is_some());
        alone.iter().try_for_each(|rule| self.tell_rule(rule, &envelope, ids, payloads))?;
        if together.is_empty() && hearers.is_empty() && followers.is_empty() {
            return Ok(());
        }
        for (id, payload) in ids.iter().zip(payloads) {
            let event = envelope.around(id, &payload.text);
            let event: Value = serde_json::from_str(&event).unwrap_or_default();
            tell_rules(own, together.clone(), &event, None)?;
            followers.iter().try_for_each(|one| one.tell(own, &self.trigger, &event, None))?;
            hearers.iter().try_for_each(|hearer| hearer.hear(own, &event, None))?;
        }
        Ok(())
    }

    fn tell_rule(
        &self,
        listener: &Listener,
        envelope: &Envelope,
        ids: &[Uuid],
        payloads: &[Payload],
    ) -> Result<()> {
        let words = Value::from(listener.reads.words()).to_string();
        let head = |kept: &str| {
            let (rule, version, depth) = (listener.rule, listener.version, self.depth + 1);
            format!(
                "{{\"rule\":\"{rule}\",\"version\":{version},\"kept\":{kept},\"depth\":{depth},\"event\":"
            )
        };
        let (all, some) = (head(ALL), head(&words));
        let job = |(id, payload): (&Uuid, &Payload)| match part(listener, payload) {
            Some(part) => format!("{some}{}}}", envelope.around(id, &part)),
            None => format!("{all}{}}}", envelope.around(id, &payload.text)),
        };
        let jobs: Vec<String> = ids.iter().zip(payloads).map(job).collect();
        let ids = rule::pending::ids(jobs.len());
        Bulk {
            kind: "rule",
            owner: listener.owner,
            source: &format!("rule:{}", listener.name),
            priority: listener.priority,
            max_attempts: rule::ATTEMPTS,
            search_path: &listener.search_path,
        }
        .put(&ids, jobs.iter().map(String::as_str))
    }
}

/// The payload with those columns of the rows that a rule reads. None: it gets all, since its rows
/// are read as a whole or lack one of the columns, which somebody may mend later.
fn part(listener: &Listener, payload: &Payload) -> Option<String> {
    let rows = payload.rows.as_ref()?;
    let mut text = String::with_capacity(payload.text.len());
    let mut at = 0;
    for (side, range) in SIDES.into_iter().zip(rows) {
        text.push_str(&payload.text[at..range.start]);
        text.push_str(&columns(&payload.text[range.clone()], &listener.reads.part(side))?);
        at = range.end;
    }
    text.push_str(&payload.text[at..]);
    Some(text)
}

/// A part of a row.
fn columns<'a>(row: &'a str, part: &Part) -> Option<Cow<'a, str>> {
    let Part::Columns(columns) = part else { return Some(row.into()) };
    if row == "null" {
        return Some(row.into());
    }
    if columns.is_empty() {
        return Some("{}".into());
    }
    let mut kept = members(row)?;
    kept.retain(|(name, _)| columns.contains(&name.as_str()));
    let member = |(name, value): (String, &str)| format!("{}:{value}", Value::String(name));
    (kept.len() == columns.len()).then(|| {
        let kept: Vec<String> = kept.into_iter().map(member).collect();
        format!("{{{}}}", kept.join(",")).into()
    })
}

/// What the events of a statement say beside their payloads.
struct Envelope {
    name: String,
    /// What follows the payload, to the end.
    rest: String,
}

impl Envelope {
    fn of(seen: &Seen, source: &str) -> Envelope {
        let mut rest = json!({
            "at": pg::iso(pg::now()),
            "user": pg::role_name(seen.trigger.owner),
            "source": source,
            "depth": seen.depth,
        });
        if let Some(rest) = rest.as_object_mut() {
            trace::stamp(rest);
        }
        let rest = rest.to_string().trim_start_matches('{').to_owned();
        Envelope { name: Value::from(seen.event).to_string(), rest }
    }

    /// An event as listeners see it. Payloads stand as PostgreSQL wrote them: our numbers are
    /// coarser.
    fn around(&self, id: &Uuid, payload: &str) -> String {
        let Envelope { name, rest } = self;
        let mut text = String::with_capacity(payload.len() + name.len() + rest.len() + 80);
        // Writing to a String cannot fail.
        let _ = write!(text, "{{\"id\":\"{id}\",\"name\":{name},\"payload\":{payload},{rest}");
        text
    }
}

/// A JSON text as jsonb.
fn read_jsonb(text: &str) -> Option<pg_sys::Datum> {
    let text = CString::new(text).unwrap_or_default();
    let text = pg_sys::Datum::from(text.as_ptr());
    // SAFETY: jsonb_in reads a C string and answers a palloc'd datum.
    unsafe { pgrx::direct_function_call_as_datum(pg_sys::jsonb_in, &[Some(text)]) }
}
