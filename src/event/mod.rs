//! Events: what was told to the database by `emit_event`, rules and workflows.

pub mod bulk;
mod envelope;
pub mod order;
pub mod receive;
pub mod replay;
pub mod schema;
pub mod trace;
pub mod webhook;

use crate::error::{Error, Result};
use crate::queue::{Lane, NewJob};
use crate::rule::{cause, kept};
use crate::spi::own::Rows;
use crate::spi::{Own, as_extension};
use crate::trigger::{hear, tell};
use crate::workflow::listen;
use crate::{access, guc, pg};
use automate_core::rule::reads::Reads;
use envelope::Envelope;
use order::Place;
use pgrx::prelude::*;
use serde_json::{Value, json};
use std::collections::HashMap;
use uuid::Uuid;

/// Longest name of an event, in bytes.
const MAX_NAME: usize = 256;
/// Rows removed by one statement.
const BATCH: i64 = 10_000;

/// A rule that hears an event.
#[derive(Clone)]
pub struct Listener {
    rule: Uuid,
    name: String,
    owner: pg_sys::Oid,
    priority: i32,
    search_path: String,
    /// The set in which it is decided together with others.
    set: Option<Uuid>,
    version: i32,
    /// What it reads of the rows in an event.
    reads: Reads,
}

/// Checks what a rule listens to: a name, or a pattern of names with `*` for any characters.
pub fn check_pattern(name: &str) -> Result<()> {
    access::check_length("an event", name, MAX_NAME, "Name what happened, such as order.paid.")
}

/// Checks the name of an event.
pub fn check_name(name: &str) -> Result<()> {
    check_pattern(name)?;
    if !name.contains('*') {
        return Ok(());
    }
    Err(Error::invalid("the name of an event must not contain *")
        .with_detail(access::given(name))
        .with_hint("Name what happened, such as order.paid; patterns are for rules that listen."))
}

fn check_size(name: &str, payload: &str) -> Result<()> {
    let limit = guc::max_payload_bytes();
    if payload.len() > limit {
        return Err(Error::refused(
            PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            format!("the payload of event \"{name}\" has more than {limit} bytes"),
        )
        .with_detail(format!("It has {} bytes as JSON.", payload.len()))
        .with_hint("Refer to a row by its key; automate.max_payload_bytes is the limit."));
    }
    Ok(())
}

/// Rules that feed each other are ended some time.
fn check_depth(name: &str, depth: i32) -> Result<()> {
    if depth < cause::MAX_DEPTH {
        return Ok(());
    }
    let message =
        format!("event \"{name}\" ends a chain of {depth} rules, each caused by the one before");
    Err(Error::refused(PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED, message)
        .with_detail(format!("Chains of at most {} are allowed.", cause::MAX_DEPTH))
        .with_hint("The rules feed each other: give one of them a condition that ends the loop."))
}

/// An event to be.
pub struct Emission<'a> {
    pub owner: pg_sys::Oid,
    pub name: &'a str,
    pub payload: &'a Value,
    /// The payload as it is kept, where its numbers are finer than ours.
    pub text: Option<&'a str>,
    /// What emits it, such as rule:late.
    pub source: Option<&'a str>,
    /// The trigger that records it.
    pub trigger: Option<Uuid>,
    /// Each listener takes the events of one owner and key in order.
    pub order_key: Option<&'a str>,
}

impl<'a> Emission<'a> {
    /// An event that nobody's trigger records, in no order.
    pub fn new(owner: pg_sys::Oid, name: &'a str, payload: &'a Value) -> Self {
        Emission { owner, name, payload, text: None, source: None, trigger: None, order_key: None }
    }
}

/// Records an event in the current transaction and queues a job for each rule that hears it.
pub fn emit(emission: &Emission) -> Result<Uuid> {
    let Emission { owner, name, payload, text, source, trigger, order_key } = *emission;
    check_name(name)?;
    order_key.map(order::check_key).transpose()?;
    let depth = cause::depth();
    check_depth(name, depth)?;
    let text = text.map_or_else(|| payload.to_string(), str::to_owned);
    check_size(name, &text)?;
    let id = Uuid::now_v7();
    let (context, traceparent) = (trace::context(), trace::current());
    as_extension(|own| {
        // What a trigger says of a write is ours, and the write must not fail for it.
        if trigger.is_none() {
            schema::check(own, owner, name, payload)?;
        }
        let place = order_key.map(|key| order::take(own, owner, key)).transpose()?;
        own.run(
            "INSERT INTO automate.event (id, name, payload, owner, source, depth, cause, trigger_id, order_key,
                                         order_seq, trace_id, context)
             VALUES ($1, $2, $3::pg_catalog.text::pg_catalog.jsonb, $4, $5, $6, $7, $8, $9, $10, $11,
                     $12::pg_catalog.text::pg_catalog.jsonb)",
            &[
                key(id).into(),
                name.into(),
                text.into(),
                owner.into(),
                source.into(),
                depth.into(),
                cause::rule().map(key).into(),
                trigger.map(key).into(),
                order_key.into(),
                place.map(|place| place.seq).into(),
                traceparent.as_deref().and_then(automate_core::trace::trace_id).into(),
                context.as_ref().map(|map| json!(map).to_string()).into(),
            ],
        )?;
        let mut rules = listeners(own, owner, Some(name), trigger)?;
        // What a rule's own action changes is no news to it, also by way of a trigger.
        rules.retain(|one| trigger.is_none() || cause::rule() != Some(one.rule));
        let hearers = hear::hearers(own, emission)?;
        listen::emitted(own, owner, name, &[id])?;
        if rules.is_empty() && hearers.is_empty() && trigger.is_none() {
            return Ok(id);
        }
        let at = pg::iso(pg::now());
        let envelope = Envelope { id, name, payload, at, owner, source, depth, order_key, context };
        let event = envelope.into_json();
        tell_rules(own, rules, &event, place)?;
        if let Some(id) = trigger {
            let name = source.and_then(|source| source.strip_prefix("trigger:"));
            let teller = tell::Teller { id, name: name.unwrap_or_default(), owner };
            tell::tell_followers(own, &teller, &event, place)?;
        }
        hearers.iter().try_for_each(|hearer| hearer.hear(own, &event, place))?;
        Ok(id)
    })
}

/// Queues what the rules that hear an event do, or are to decide.
pub fn tell_rules(
    own: &Own,
    rules: Vec<Listener>,
    event: &Value,
    place: Option<Place>,
) -> Result<()> {
    let depth = event["depth"].as_i64().and_then(|depth| i32::try_from(depth).ok()).unwrap_or(0);
    jobs(rules)
        .iter()
        .try_for_each(|(rule, together)| rule.tell(own, event, depth, place, together))
}

impl Listener {
    /// From its row: id, name, owner, priority, search_path, set, version, reads.
    fn read(rows: &Rows, row: usize) -> Option<Listener> {
        let id =
            |column| rows.get::<pgrx::Uuid>(row, column).map(|id| Uuid::from_bytes(*id.as_bytes()));
        Some(Listener {
            rule: id(1)?,
            name: rows.get(row, 2).unwrap_or_default(),
            owner: rows.get(row, 3)?,
            priority: rows.get(row, 4).unwrap_or(100),
            search_path: rows.get(row, 5).unwrap_or_default(),
            set: id(6),
            version: rows.get(row, 7).unwrap_or(1),
            reads: kept::reads(rows.get(row, 8)),
        })
    }

    /// Queues the job that does what the rule says of an event, or that decides which of the
    /// rules of its set act.
    fn tell(
        &self,
        own: &Own,
        event: &Value,
        depth: i32,
        place: Option<Place>,
        together: &[Uuid],
    ) -> Result<()> {
        let (who, source) = match together {
            [] => (("rule", json!(self.rule)), format!("rule:{}", self.name)),
            _ => (("rules", json!(together)), "ruleset".to_owned()),
        };
        let payload = json!({who.0: who.1, "depth": depth + 1, "event": event});
        let chain = place.map(|place| place.chain(&format!("rule:{}", self.rule)));
        NewJob {
            source: Some(&source),
            priority: self.priority,
            max_attempts: crate::rule::ATTEMPTS,
            search_path: Some(&self.search_path),
            order: chain.as_deref().zip(place.map(|place| place.seq)),
            ..NewJob::new("rule", self.owner, Lane::Sql, &payload)
        }
        .put(own)?;
        Ok(())
    }
}

/// The rules on events of a name, and those subscribed to a trigger, whose owner may know what a
/// role says.
pub fn listeners(
    own: &Own,
    emitter: pg_sys::Oid,
    name: Option<&str>,
    trigger: Option<Uuid>,
) -> Result<Vec<Listener>> {
    let rows = own.run(
        "SELECT id, name, owner::oid, priority, search_path,
                (SELECT s.id FROM automate.ruleset AS s WHERE s.id = ruleset AND s.hit_policy IN ('first', 'unique')),
                version, reads
         FROM (SELECT * FROM automate.rule WHERE on_event = $1
               UNION ALL
               SELECT * FROM automate.rule WHERE event_like IS NOT NULL AND $1 LIKE event_like
               UNION ALL
               SELECT * FROM automate.rule WHERE on_trigger = $2) AS r
         WHERE status = 'active'
           AND (valid_from IS NULL OR valid_from <= clock_timestamp())
           AND (valid_until IS NULL OR clock_timestamp() < valid_until)
         ORDER BY priority, name",
        &[name.into(), trigger.map(key).into()],
    )?;
    let mut found = Vec::new();
    for i in 0..rows.len() {
        let Some(listener) = Listener::read(&rows, i) else { continue };
        if !tell::may_know(listener.owner, emitter) {
            continue;
        }
        found.push(listener);
    }
    Ok(found)
}

/// One job for each listener, or for all of a set of which not all may act: with their ids.
fn jobs(listeners: Vec<Listener>) -> Vec<(Listener, Vec<Uuid>)> {
    let mut jobs: Vec<(Listener, Vec<Uuid>)> = Vec::with_capacity(listeners.len());
    let mut sets: HashMap<Uuid, usize> = HashMap::new();
    for listener in listeners {
        let Some(set) = listener.set else {
            jobs.push((listener, Vec::new()));
            continue;
        };
        match sets.get(&set) {
            Some(place) => jobs[*place].1.push(listener.rule),
            None => {
                sets.insert(set, jobs.len());
                let rules = vec![listener.rule];
                jobs.push((listener, rules));
            }
        }
    }
    jobs
}

/// Removes events older than the retention, some at a time.
pub fn forget_old(own: &Own) -> Result<()> {
    own.run(
        "DELETE FROM automate.event WHERE id IN
            (SELECT id FROM automate.event WHERE id < $1 ORDER BY id LIMIT $2)",
        &[pg::oldest_id(guc::event_retention_s()).into(), BATCH.into()],
    )?;
    Ok(())
}

fn key(id: Uuid) -> pgrx::Uuid {
    pgrx::Uuid::from_bytes(*id.as_bytes())
}
