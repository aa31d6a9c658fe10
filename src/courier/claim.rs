//! Taking network work out, under a lease, with all that is needed to send it.

use super::call::Call;
use super::message::{Channel, Delivery, Notification};
use super::{Errand, Flight};
use crate::error::{Error, Failure, Result};
use crate::event::trace;
use crate::notify::channel::{of_pg, parse, to_pg};
use crate::pg;
use crate::queue::claim::to_uuids;
use crate::queue::{Job, Lane, due};
use crate::spi::Own;
use automate_core::net::Allow;
use automate_sender::{Attachment, Kind};
use pgrx::prelude::*;
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::Duration;
use uuid::Uuid;

/// How much may be claimed.
pub struct Room {
    pub total: usize,
    pub per_owner: usize,
    /// Open requests by owner.
    pub open: HashMap<pg_sys::Oid, usize>,
    /// Bytes of messages.
    pub bytes: usize,
    /// Nothing is in flight: then one message of any size is taken.
    pub empty: bool,
}

/// Something to send, or why it cannot be sent.
pub type Prepared = std::result::Result<Outgoing, Failure>;

/// What a claimed job sends, as plain values.
pub enum Outgoing {
    Delivery(Box<Delivery>),
    Call(Box<Call>),
}

impl Outgoing {
    /// The request, and how long it may take unless the job says otherwise.
    pub fn build(self, allow: &Allow) -> std::result::Result<(Duration, Kind), Failure> {
        match self {
            Outgoing::Delivery(delivery) => delivery.build(),
            Outgoing::Call(call) => call.build(allow),
        }
    }
}

/// A ready job that may be taken.
struct Candidate {
    id: Uuid,
    bytes: usize,
}

/// Claims what there is room for; the caller commits before anything is sent.
pub fn claim(own: &Own, room: &Room, lease: i64) -> Result<Vec<(Flight, Prepared)>> {
    let mut left = room.total;
    let mut bytes = room.bytes;
    let mut taken: Vec<Candidate> = Vec::new();
    for owner in due::roles(own, Lane::Network)? {
        let open = room.open.get(&owner).copied().unwrap_or(0);
        let limit = room.per_owner.saturating_sub(open).min(left);
        // Small refills would make every outcome a transaction of its own.
        if limit == 0 || (open > 0 && limit < room.per_owner / 4) {
            continue;
        }
        let first = room.empty && taken.is_empty();
        let found = candidates(own, owner, limit, bytes, first)?;
        left -= found.len();
        bytes = found.iter().fold(bytes, |bytes, c| bytes.saturating_sub(c.bytes));
        taken.extend(found);
    }
    if taken.is_empty() {
        return Ok(Vec::new());
    }
    take(own, &taken, lease)
}

/// The best ready jobs of a role that fit, one for each concurrency key.
fn candidates(
    own: &Own,
    owner: pg_sys::Oid,
    limit: usize,
    bytes: usize,
    first: bool,
) -> Result<Vec<Candidate>> {
    let rows = own.run(
        "SELECT j.id, j.concurrency_key,
                CASE WHEN j.kind = 'delivery'
                     THEN (SELECT n.size FROM automate.delivery AS d
                           JOIN automate.notification AS n ON n.id = d.notification WHERE d.id = j.id)
                     ELSE octet_length(j.payload::text) END
         FROM automate.job AS j
         WHERE j.lane = 'n' AND j.owner = $1 AND j.status = 'ready'
           AND (j.concurrency_key IS NULL
                OR (NOT EXISTS (SELECT FROM automate.job AS r
                                WHERE r.status IN ('running', 'waiting') AND r.owner = j.owner
                                  AND r.concurrency_key = j.concurrency_key)
                    AND automate.try_key(j.owner, j.concurrency_key)))
         ORDER BY j.priority, j.id LIMIT $2 FOR UPDATE OF j SKIP LOCKED",
        &[owner.into(), i64::try_from(limit).unwrap_or(i64::MAX).into()],
    )?;
    let mut keys = HashSet::new();
    let mut used = 0usize;
    let mut found = Vec::with_capacity(rows.len());
    for i in 0..rows.len() {
        let Some(id) = rows.get::<pgrx::Uuid>(i, 1).map(of_pg) else { continue };
        if let Some(key) = rows.get::<String>(i, 2)
            && !keys.insert(key)
        {
            continue;
        }
        let size = rows.get::<i64>(i, 3).and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        if used + size > bytes && !(first && found.is_empty()) {
            break;
        }
        used += size;
        found.push(Candidate { id, bytes: size });
    }
    Ok(found)
}

/// Marks the jobs as ours and reads what they send.
fn take(own: &Own, taken: &[Candidate], lease: i64) -> Result<Vec<(Flight, Prepared)>> {
    let ids: Vec<Uuid> = taken.iter().map(|c| c.id).collect();
    let bytes: HashMap<Uuid, usize> = taken.iter().map(|c| (c.id, c.bytes)).collect();
    let mut jobs = mark(own, &ids, lease)?;
    // UPDATE answers in any order.
    let order: HashMap<Uuid, usize> = ids.iter().enumerate().map(|(at, id)| (*id, at)).collect();
    jobs.sort_by_key(|(job, _)| order.get(&job.id).copied().unwrap_or(usize::MAX));
    let deliveries: Vec<Uuid> =
        jobs.iter().filter(|(job, _)| job.kind == "delivery").map(|(job, _)| job.id).collect();
    let mut deliveries =
        if deliveries.is_empty() { HashMap::new() } else { read(own, &deliveries)? };
    let started_us = pg::now();
    let none = Rc::new(Vec::new());
    let claimed = jobs.into_iter().map(|(job, owner)| {
        let bytes = bytes.get(&job.id).copied().unwrap_or(0);
        let (errand, prepared) = match job.kind.as_str() {
            "delivery" => {
                let lost = || Failure::internal("its row in automate.delivery is not there");
                let found = deliveries.remove(&job.id).ok_or_else(lost);
                let traceparent = trace::of(&job.payload).map(str::to_owned);
                let traced = |d| Outgoing::Delivery(Box::new(Delivery { traceparent, ..d }));
                (Errand::Delivery, found.map(traced))
            }
            "http" => match Call::read(&job.payload) {
                Ok(call) => (Errand::Call(call.run.clone()), Ok(Outgoing::Call(Box::new(call)))),
                Err(failure) => (Errand::Call(Call::run_of(&job.payload)), Err(failure)),
            },
            "task" => {
                let request = &job.payload["request"];
                let call = Call::read(request).map(|call| Outgoing::Call(Box::new(call)));
                (Errand::Task(expected(request)), call)
            }
            other => {
                let message = format!("the courier knows no kind of job \"{other}\"");
                (Errand::Call(None), Err(Failure::internal(message)))
            }
        };
        let prepared = match pg::role_name(owner) {
            Some(_) => prepared,
            None => Err(Error::missing("role that owns the job no longer exists")
                .with_hint("Let a role that may log in do it again.")
                .into()),
        };
        let secrets = match &prepared {
            Ok(Outgoing::Delivery(delivery)) => delivery.channel.hidden.clone(),
            _ => none.clone(),
        };
        (Flight { job, owner, errand, bytes, started_us, secrets }, prepared)
    });
    Ok(claimed.collect())
}

/// The statuses that a task takes for good; none: those that every other request takes for good.
fn expected(request: &Value) -> Vec<u16> {
    let items = request["expect"].as_array().into_iter().flatten();
    items.filter_map(|item| item.as_u64().and_then(|n| u16::try_from(n).ok())).collect()
}

/// The rows are locked by us and ready. Not saying so again keeps the planner off the index of
/// ready jobs, which it would read whole for each batch.
fn mark(own: &Own, ids: &[Uuid], lease: i64) -> Result<Vec<(Job, pg_sys::Oid)>> {
    let rows = own.run(
        "UPDATE automate.job SET status = 'running', lease = $2
         WHERE id = ANY ($1)
         RETURNING id, kind, owner::oid, payload::text, attempts, max_attempts, timeout_ms,
                   concurrency_key, source",
        &[to_uuids(ids).into(), lease.into()],
    )?;
    (0..rows.len())
        .map(|i| {
            let id = rows.get::<pgrx::Uuid>(i, 1).map(of_pg);
            let job = Job {
                id: id.ok_or_else(|| Error::Internal("job without id".into()))?,
                kind: rows.get(i, 2).unwrap_or_default(),
                payload: parse(&rows.get::<String>(i, 4).unwrap_or_default()),
                attempts: rows.get(i, 5).unwrap_or(0),
                max_attempts: rows.get(i, 6).unwrap_or(1),
                timeout_ms: rows.get(i, 7),
                concurrency_key: rows.get(i, 8),
                source: rows.get(i, 9),
                search_path: None,
                top_level: false,
                said: None,
                broken: None,
            };
            Ok((job, rows.get(i, 3).unwrap_or(pg_sys::InvalidOid)))
        })
        .collect()
}

/// The deliveries with their messages and channels, each message and channel read once.
fn read(own: &Own, ids: &[Uuid]) -> Result<HashMap<Uuid, Delivery>> {
    let rows = own.run(
        "SELECT d.id, d.notification, d.channel_id, d.channel, d.recipient,
                coalesce((SELECT pg_has_role(d.owner, c.owner, 'USAGE')
                          FROM automate.channel AS c WHERE c.id = d.channel_id), false)
         FROM automate.delivery AS d WHERE d.id = ANY ($1)",
        &[to_uuids(ids).into()],
    )?;
    struct Row {
        id: Uuid,
        notification: Uuid,
        channel: Uuid,
        name: String,
        recipient: String,
        allowed: bool,
    }
    let found: Vec<Row> = (0..rows.len())
        .filter_map(|i| {
            Some(Row {
                id: of_pg(rows.get(i, 1)?),
                notification: of_pg(rows.get(i, 2)?),
                channel: of_pg(rows.get(i, 3)?),
                name: rows.get(i, 4)?,
                recipient: rows.get(i, 5)?,
                allowed: rows.get(i, 6)?,
            })
        })
        .collect();
    let distinct = |ids: &mut dyn Iterator<Item = Uuid>| {
        let set: HashSet<Uuid> = ids.collect();
        set.into_iter().collect::<Vec<Uuid>>()
    };
    let notifications =
        read_notifications(own, &distinct(&mut found.iter().map(|r| r.notification)))?;
    let channels = read_channels(own, &distinct(&mut found.iter().map(|r| r.channel)))?;
    Ok(found
        .into_iter()
        .filter_map(|row| {
            let notification = notifications.get(&row.notification)?.clone();
            let channel = match channels.get(&row.channel) {
                Some(channel) => channel.clone(),
                None => Rc::new(Channel::gone(&row.name)),
            };
            let delivery = Delivery {
                id: row.id,
                recipient: row.recipient,
                traceparent: None,
                allowed: row.allowed,
                notification,
                channel,
            };
            Some((row.id, delivery))
        })
        .collect())
}

fn read_notifications(own: &Own, ids: &[Uuid]) -> Result<HashMap<Uuid, Rc<Notification>>> {
    let rows = own.run(
        "SELECT id, template, subject, body, html, data::text,
                to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')
         FROM automate.notification WHERE id = ANY ($1)",
        &[to_uuids(ids).into()],
    )?;
    let mut found = HashMap::with_capacity(rows.len());
    for i in 0..rows.len() {
        let Some(id) = rows.get::<pgrx::Uuid>(i, 1).map(of_pg) else { continue };
        let text = |column| rows.get::<String>(i, column);
        found.insert(
            id,
            Notification {
                template: text(2).unwrap_or_default(),
                subject: text(3).unwrap_or_default(),
                body: text(4).unwrap_or_default(),
                html: text(5),
                data: parse(&text(6).unwrap_or_default()),
                at: text(7).unwrap_or_default(),
                attachments: Vec::new(),
            },
        );
    }
    let rows = own.run(
        "SELECT notification, name, mime, bytes FROM automate.attachment
         WHERE notification = ANY ($1) ORDER BY notification, number",
        &[to_uuids(ids).into()],
    )?;
    for i in 0..rows.len() {
        let id = rows.get::<pgrx::Uuid>(i, 1).map(of_pg);
        let Some(notification) = id.and_then(|id| found.get_mut(&id)) else { continue };
        notification.attachments.push(Attachment {
            name: rows.get(i, 2).unwrap_or_default(),
            mime: rows.get(i, 3).unwrap_or_default(),
            bytes: rows.get(i, 4).unwrap_or_default(),
        });
    }
    Ok(found.into_iter().map(|(id, notification)| (id, Rc::new(notification))).collect())
}

fn read_channels(own: &Own, ids: &[Uuid]) -> Result<HashMap<Uuid, Rc<Channel>>> {
    let rows = own.run(
        "SELECT c.id, c.name, c.kind, c.config::text, c.status = 'active', cardinality(c.secret_names) > 0,
                s.sealed
         FROM automate.channel AS c LEFT JOIN automate.channel_secret AS s ON s.channel = c.id
         WHERE c.id = ANY ($1)",
        &[to_uuids(ids).into()],
    )?;
    Ok((0..rows.len())
        .filter_map(|i| {
            let id = of_pg(rows.get::<pgrx::Uuid>(i, 1)?);
            let channel = Channel::read(
                id,
                rows.get(i, 2)?,
                &rows.get::<String>(i, 3)?,
                &parse(&rows.get::<String>(i, 4)?),
                rows.get(i, 5)?,
                rows.get(i, 6)?,
                rows.get::<Vec<u8>>(i, 7),
            );
            Some((id, Rc::new(channel)))
        })
        .collect())
}

/// Gives jobs back that were claimed and not begun.
pub fn give_back(own: &Own, ids: &[Uuid]) -> Result<()> {
    let ids: Vec<pgrx::Uuid> = ids.iter().map(|id| to_pg(*id)).collect();
    own.run(
        "UPDATE automate.job SET status = 'ready', lease = NULL WHERE id = ANY ($1) AND status = 'running'",
        &[ids.into()],
    )?;
    Ok(())
}
