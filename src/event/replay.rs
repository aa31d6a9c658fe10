//! Replay: events that are kept are given again, to one rule or one workflow.

use super::envelope::Envelope;
use super::{Listener, key, order, trace};
use crate::error::{Error, Result, shown};
use crate::noun::{RULE, WORKFLOW};
use crate::queue::claim::to_uuids;
use crate::queue::limit;
use crate::rule::cause;
use crate::rule::condition::check_over_event;
use crate::spi::{Own, as_extension, statement};
use crate::{guc, pg, workflow};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use uuid::Uuid;

/// Events that one call gives unless it says otherwise, and most that it may.
pub const MAX_EVENTS: i32 = 10_000;
const MOST: i32 = 100_000;
/// Ids looked up, and events read, at a time.
const PAGE: usize = 1_000;
const CHUNK: usize = 100;

/// What is asked.
pub struct Replay {
    /// A name, or a pattern of names.
    pub name: String,
    pub rule: Option<String>,
    pub workflow: Option<String>,
    pub since: Option<TimestampWithTimeZone>,
    pub until: Option<TimestampWithTimeZone>,
    pub ids: Option<Vec<Uuid>>,
    pub where_sql: Option<String>,
    pub max_events: i32,
    pub dry_run: bool,
    /// A workflow gets no event that it got in this way before.
    pub once: bool,
}

/// Who gets the events.
enum Target {
    Rule(Listener),
    Workflow { name: String, owner: pg_sys::Oid },
}

impl Target {
    fn owner(&self) -> pg_sys::Oid {
        match self {
            Target::Rule(listener) => listener.owner,
            Target::Workflow { owner, .. } => *owner,
        }
    }
}

/// Gives events again; returns how many, or how many there would be.
pub fn run(user: pg_sys::Oid, replay: &Replay) -> Result<i64> {
    check(replay)?;
    let target = as_extension(|own| target(own, user, replay))?;
    let ids = find(replay, target.owner())?;
    if replay.dry_run {
        return Ok(ids.len() as i64);
    }
    if ids.is_empty() {
        return Err(nothing(replay));
    }
    let ids = as_extension(|own| in_order(own, ids))?;
    let number = Uuid::now_v7();
    for chunk in ids.chunks(CHUNK) {
        pg::check_interrupts();
        let mut kept = as_extension(|own| read(own, chunk))?;
        for id in chunk {
            let Some(kept) = kept.remove(id) else { continue };
            limit::admit(target.owner(), kept.bytes)?;
            kept.give(*id, user, &target, number, replay.once)?;
        }
    }
    Ok(ids.len() as i64)
}

fn check(replay: &Replay) -> Result<()> {
    super::check_pattern(&replay.name)?;
    if !(1..=MOST).contains(&replay.max_events) {
        let meaning = "More events than that are refused, not cut off.";
        return Err(Error::out_of_range("max_events", replay.max_events, 1, MOST, meaning));
    }
    if let (Some(since), Some(until)) = (replay.since, replay.until)
        && i64::from(since) >= i64::from(until)
    {
        return Err(Error::invalid("since must be before until")
            .with_detail("No event is at or after since and before until.")
            .with_hint("Exchange them, or leave one out."));
    }
    if let Some(text) = &replay.where_sql {
        check_over_event("where_sql", text)?;
    }
    if replay.once && replay.workflow.is_none() {
        return Err(Error::invalid("once is for workflows")
            .with_detail(
                "A run keeps the key of what started it; what a rule did is not remembered.",
            )
            .with_hint("Leave it out, and say in where_sql which events the rule is to get."));
    }
    let depth = cause::depth();
    if depth >= cause::MAX_DEPTH {
        let code = PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED;
        return Err(Error::refused(
            code,
            format!("a replay ends a chain of {depth} rules, each caused by the one before"),
        )
        .with_detail(format!("Chains of at most {} are allowed.", cause::MAX_DEPTH))
        .with_hint(
            "Replay from a session or a task, not from the action of a rule that gets the events.",
        ));
    }
    Ok(())
}

/// The rule or the workflow that a role means.
fn target(own: &Own, user: pg_sys::Oid, replay: &Replay) -> Result<Target> {
    match (&replay.rule, &replay.workflow) {
        (Some(name), None) => rule(own, user, name).map(Target::Rule),
        (None, Some(name)) => {
            let id = WORKFLOW.id(own, user, name)?;
            let owner: Option<pg_sys::Oid> = own
                .one("SELECT owner::oid FROM automate.workflow WHERE id = $1", &[key(id).into()])?;
            let owner = owner.ok_or_else(|| WORKFLOW.missing(own, user, name))?;
            Ok(Target::Workflow { name: name.clone(), owner })
        }
        (one, _) => {
            let given = if one.is_some() { "Both are given." } else { "Neither is given." };
            Err(Error::invalid("events are replayed into a rule or into a workflow")
                .with_detail(given)
                .with_hint("Give into_rule => 'name', or into_workflow => 'name'."))
        }
    }
}

fn rule(own: &Own, user: pg_sys::Oid, name: &str) -> Result<Listener> {
    let rows = own.run(
        "SELECT id, name, owner::oid, priority, search_path, NULL::pg_catalog.uuid, version, reads,
                status, on_table IS NOT NULL
         FROM automate.rule WHERE name = $1 AND pg_has_role($2, owner, 'USAGE')
         ORDER BY owner = $2 DESC, owner LIMIT 1",
        &[name.into(), user.into()],
    )?;
    let Some(listener) = Listener::read(&rows, 0) else {
        return Err(RULE.missing(own, user, name));
    };
    if rows.get(0, 10) == Some(true) {
        let code = PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE;
        return Err(Error::refused(code, format!("rule {} is on a table", shown(name)))
            .with_detail("Only rules on events and on triggers get events.")
            .with_hint("automate.backtest_rule says what it would do with the rows there are."));
    }
    let status: String = rows.get(0, 9).unwrap_or_default();
    if status != "active" {
        let state = PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
        return Err(Error::refused(state, format!("rule {} is not active", shown(name)))
            .with_detail(format!("Its status in automate.rule is {status}."))
            .with_hint("Enable it with automate.enable_rule() first."));
    }
    Ok(listener)
}

/// The events as a condition sees them; OFFSET keeps the condition from those that are not asked for.
/// It runs with the caller's rights, so that row security decides what is seen.
const EVENTS: &str = "SELECT e.id FROM (
    SELECT v.id, w.event OPERATOR(pg_catalog.||)
        CASE WHEN pg_catalog.jsonb_typeof(v.payload) OPERATOR(pg_catalog.=) 'object' THEN v.payload ELSE '{}' END
        OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object('payload', v.payload) AS event
    FROM automate.event AS v CROSS JOIN LATERAL (SELECT pg_catalog.jsonb_build_object(
        'id', v.id, 'name', v.name, 'at', v.created_at, 'user', pg_catalog.pg_get_userbyid(v.owner),
        'source', v.source, 'depth', v.depth) OPERATOR(pg_catalog.||) coalesce(v.context, '{}') AS event) AS w
    WHERE v.name OPERATOR(pg_catalog.~~) $1
      AND ($2::pg_catalog.timestamptz IS NULL OR v.created_at OPERATOR(pg_catalog.>=) $2)
      AND ($3::pg_catalog.timestamptz IS NULL OR v.created_at OPERATOR(pg_catalog.<) $3)
      AND ($4::pg_catalog.uuid[] IS NULL OR v.id OPERATOR(pg_catalog.=) ANY ($4))
      AND pg_catalog.pg_has_role($5::pg_catalog.oid, v.owner, 'USAGE')
      AND v.id OPERATOR(pg_catalog.>) $6::pg_catalog.uuid
    OFFSET 0) AS e WHERE (\n";

/// The ids of the events that are asked for, by age.
fn find(replay: &Replay, owner: pg_sys::Oid) -> Result<Vec<Uuid>> {
    let condition = replay.where_sql.as_deref().unwrap_or("true");
    let text = format!("{EVENTS}{condition}\n) ORDER BY e.id LIMIT {PAGE}");
    let most = usize::try_from(replay.max_events).unwrap_or(0);
    let instant = |at: Option<TimestampWithTimeZone>| at.map(|at| pg::iso(i64::from(at)));
    let ids = replay.ids.as_ref().map(|ids| {
        let texts: Vec<String> = ids.iter().map(Uuid::to_string).collect();
        format!("{{{}}}", texts.join(","))
    });
    let mut found: Vec<Uuid> = Vec::new();
    loop {
        let after = found.last().copied().unwrap_or(Uuid::nil());
        let params = [
            json!(like(&replay.name)),
            json!(instant(replay.since)),
            json!(instant(replay.until)),
            json!(ids),
            json!(owner.to_u32()),
            json!(after),
        ];
        let rows = statement::execute(&text, &params, true)?.rows;
        let count = rows.len();
        let page = rows.iter().filter_map(|row| row["id"].as_str());
        found.extend(page.filter_map(|id| Uuid::parse_str(id).ok()));
        if !replay.dry_run && found.len() > most {
            let code = PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED;
            return Err(Error::refused(code, format!("more than {most} events fit"))
                .with_detail("Nothing was replayed.")
                .with_hint("Raise max_events, or ask for fewer with since, until or where_sql; dry_run => true counts them."));
        }
        if count < PAGE {
            return Ok(found);
        }
    }
}

/// A pattern of names for LIKE.
fn like(name: &str) -> String {
    let escaped = name.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    escaped.replace('*', "%")
}

fn nothing(replay: &Replay) -> Error {
    let kept = guc::event_retention_s();
    Error::refused(
        PgSqlErrorCode::ERRCODE_NO_DATA_FOUND,
        format!("no event to replay is named {}", shown(&replay.name)),
    )
    .with_detail(format!(
        "Looked for among the events of the last {kept} s that you and the owner of the target may know{}.",
        match (&replay.where_sql, &replay.ids, replay.since.is_some() || replay.until.is_some()) {
            (None, None, false) => "",
            _ => ", with since, until, ids and where_sql as given",
        }
    ))
    .with_hint("SELECT name, count(*) FROM automate.event GROUP BY 1 shows those there are.")
}

/// By age, and those of a key by their places: ids of one millisecond say little.
fn in_order(own: &Own, mut ids: Vec<Uuid>) -> Result<Vec<Uuid>> {
    let rows = own.run(
        "SELECT id, owner::oid::text || ':' || order_key, order_seq FROM automate.event
         WHERE id = ANY ($1) AND order_key IS NOT NULL",
        &[to_uuids(&ids).into()],
    )?;
    let mut seqs: HashMap<Uuid, (String, i64)> = HashMap::new();
    for i in 0..rows.len() {
        if let (Some(id), Some(key), Some(seq)) =
            (rows.get::<pgrx::Uuid>(i, 1), rows.get(i, 2), rows.get(i, 3))
        {
            seqs.insert(Uuid::from_bytes(*id.as_bytes()), (key, seq));
        }
    }
    let mut chains: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, id) in ids.iter().enumerate() {
        if let Some((key, _)) = seqs.get(id) {
            chains.entry(key).or_default().push(at);
        }
    }
    for places in chains.values() {
        let mut members: Vec<Uuid> = places.iter().map(|at| ids[*at]).collect();
        members.sort_by_key(|id| seqs.get(id).map(|(_, seq)| *seq));
        for (at, id) in places.iter().zip(members) {
            ids[*at] = id;
        }
    }
    Ok(ids)
}

/// An event as it is kept.
struct Kept {
    name: String,
    payload: Value,
    bytes: usize,
    owner: pg_sys::Oid,
    source: Option<String>,
    depth: i32,
    order_key: Option<String>,
    context: Option<Map<String, Value>>,
    at: String,
}

fn read(own: &Own, ids: &[Uuid]) -> Result<HashMap<Uuid, Kept>> {
    let rows = own.run(
        "SELECT id, name, payload::text, owner::oid, source, depth, order_key, context::text,
                (extract(epoch FROM created_at - timestamptz '2000-01-01 00:00:00+00') * 1000000)::int8
         FROM automate.event WHERE id = ANY ($1)",
        &[to_uuids(ids).into()],
    )?;
    let mut all = HashMap::with_capacity(rows.len());
    for i in 0..rows.len() {
        let (Some(id), Some(owner)) = (rows.get::<pgrx::Uuid>(i, 1), rows.get(i, 4)) else {
            continue;
        };
        let payload: String = rows.get(i, 3).unwrap_or_default();
        let context = rows.get::<String>(i, 8).and_then(|text| serde_json::from_str(&text).ok());
        let kept = Kept {
            name: rows.get(i, 2).unwrap_or_default(),
            bytes: payload.len(),
            payload: serde_json::from_str(&payload)
                .map_err(|e| Error::Internal(format!("a kept event: {e}")))?,
            owner,
            source: rows.get(i, 5),
            depth: rows.get(i, 6).unwrap_or(0),
            order_key: rows.get(i, 7),
            context,
            at: pg::iso(rows.get(i, 9).unwrap_or(0)),
        };
        all.insert(Uuid::from_bytes(*id.as_bytes()), kept);
    }
    Ok(all)
}

impl Kept {
    /// Gives the event to the target, marked as replayed. What it causes is deeper than the event
    /// was, and than whoever replays it.
    fn give(
        self,
        id: Uuid,
        user: pg_sys::Oid,
        target: &Target,
        number: Uuid,
        once: bool,
    ) -> Result<()> {
        let Kept { name, payload, owner, source, order_key, context, at, .. } = self;
        let depth = self.depth.max(cause::depth());
        let order_key = order_key.as_deref();
        let (name, payload, source) = (name.as_str(), &payload, source.as_deref());
        let envelope = Envelope { id, name, payload, at, owner, source, depth, order_key, context };
        let mut event = envelope.into_json();
        event["replayed"] = true.into();
        match target {
            Target::Rule(listener) => as_extension(|own| {
                let place = order_key.map(|key| order::again(own, owner, key)).transpose()?;
                listener.tell(own, &event, depth, place, &[])
            }),
            Target::Workflow { name, .. } => {
                let traceparent = trace::of(&event).map(str::to_owned);
                let idempotency_key = match once {
                    true => format!("event:{id}"),
                    false => format!("replay:{number}:{id}"),
                };
                let nest = pg::GucNest::open();
                trace::go_on(traceparent.as_deref());
                workflow::start(&workflow::Start {
                    owner: user,
                    name,
                    input: &json!({ "event": event }),
                    version: None,
                    idempotency_key: Some(&idempotency_key),
                    source: Some(&format!("replay:{number}")),
                })?;
                nest.undo();
                Ok(())
            }
        }
    }
}
