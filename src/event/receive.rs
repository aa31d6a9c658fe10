//! Taking in what a webhook brings: checked, once, and then an event of the source's owner.

use super::{Emission, emit, key, webhook};
use crate::api::args::parse_json;
use crate::error::{Error, Result, shown};
use crate::notify::sign;
use crate::noun::{WEBHOOK_SOURCE, looked_for};
use crate::queue::limit;
use crate::spi::{Own, as_extension};
use crate::{guc, pg};
use automate_core::event::webhook::{Message, event_name};
use pgrx::prelude::*;
use serde_json::Value;
use uuid::Uuid;

/// A source, as far as a message needs it.
struct Source {
    id: Uuid,
    name: String,
    owner: pg_sys::Oid,
    event: String,
    event_from: Option<String>,
    tolerance_s: i64,
    sealed: Option<Vec<u8>>,
}

/// Takes a message in, in the caller's transaction; returns the id of the event that it became, the
/// first time or before.
pub fn receive(user: pg_sys::Oid, source: &str, headers: &Value, body: &str) -> Result<Uuid> {
    check_size(body)?;
    let source = as_extension(|own| find(own, user, source))?;
    let message = Message::read(headers).map_err(|reason| {
        Error::refused(PgSqlErrorCode::ERRCODE_PROTOCOL_VIOLATION, format!("not a webhook: {reason}"))
            .with_detail(format!("It came for webhook source {}.", shown(&source.name)))
            .with_hint("Pass all headers of the request, as a JSON object: Standard Webhooks has webhook-id, webhook-timestamp and webhook-signature.")
    })?;
    check_age(&source, &message)?;
    let keys = webhook::keys(source.id, source.sealed.as_deref())?;
    let Message { id, timestamp, signatures, .. } = &message;
    if !sign::is_signed(&keys, id, timestamp, body.as_bytes(), signatures) {
        return Err(Error::refused(
            PgSqlErrorCode::ERRCODE_INVALID_PASSWORD,
            format!("no signature of the webhook is by a key of source {}", shown(&source.name)),
        )
        .with_detail("A signature covers webhook-id, webhook-timestamp and the body, byte by byte.")
        .with_hint("Pass the body as it came; if the sender's key was changed, give it to automate.alter_webhook_source()."));
    }
    if let Some(event) = as_extension(|own| remember(own, &source, id))? {
        return Ok(event);
    }
    limit::admit(source.owner, body.len())?;
    let event = become_event(&source, body)?;
    as_extension(|own| {
        own.run(
            "UPDATE automate.webhook_receipt SET event = $3 WHERE source = $1 AND webhook_id = $2",
            &[key(source.id).into(), id.as_str().into(), key(event).into()],
        )?;
        Ok(event)
    })
}

fn check_size(body: &str) -> Result<()> {
    let limit = guc::max_payload_bytes();
    if body.len() <= limit {
        return Ok(());
    }
    let code = PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED;
    Err(Error::refused(code, format!("the body has more than {limit} bytes"))
        .with_detail(format!("It has {} bytes.", body.len()))
        .with_hint("automate.max_payload_bytes is the limit."))
}

/// The source that a name, or an id, means to a role: one that it may use as its owner does, or that
/// was granted to it.
fn find(own: &Own, user: pg_sys::Oid, name: &str) -> Result<Source> {
    let rows = own.run(
        "SELECT s.id, s.name, s.owner::oid, s.status, s.event, s.event_from,
                extract(epoch FROM s.tolerance)::int8, x.sealed
         FROM automate.webhook_source AS s LEFT JOIN automate.webhook_secret AS x ON x.source = s.id
         WHERE (s.name = $1 OR s.id::text = $1)
           AND EXISTS (SELECT FROM pg_authid AS r WHERE r.oid = s.owner)
           AND (pg_has_role($2, s.owner, 'USAGE')
                OR EXISTS (SELECT FROM automate.webhook_grant AS g
                           WHERE g.source = s.id AND pg_has_role($2, g.role, 'USAGE')))
         ORDER BY s.owner = $2 DESC, s.owner LIMIT 2",
        &[name.into(), user.into()],
    )?;
    let (Some(id), Some(owner)) = (rows.get::<pgrx::Uuid>(0, 1), rows.get::<pg_sys::Oid>(0, 3))
    else {
        return Err(WEBHOOK_SOURCE.missing(own, user, name));
    };
    if rows.len() > 1 && owner != user {
        let message = format!("webhook source {} is ambiguous: several roles own one", shown(name));
        return Err(Error::refused(PgSqlErrorCode::ERRCODE_AMBIGUOUS_ALIAS, message)
            .with_detail(looked_for("the webhook sources", user))
            .with_hint("Give the source's id from automate.webhook_source instead of its name."));
    }
    if rows.get::<String>(0, 4).as_deref() != Some("active") {
        let message = format!("webhook source {} is disabled", shown(name));
        let state = PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
        return Err(Error::refused(state, message)
            .with_detail(
                "Nothing comes in by it while its status in automate.webhook_source is so.",
            )
            .with_hint("Enable it with automate.enable_webhook_source()."));
    }
    Ok(Source {
        id: Uuid::from_bytes(*id.as_bytes()),
        name: rows.get(0, 2).unwrap_or_default(),
        owner,
        event: rows.get(0, 5).unwrap_or_default(),
        event_from: rows.get(0, 6),
        tolerance_s: rows.get(0, 7).unwrap_or(0),
        sealed: rows.get(0, 8),
    })
}

/// Refuses what was sent too long ago, or is from a future too far: a copy that somebody kept.
fn check_age(source: &Source, message: &Message) -> Result<()> {
    let now = pg::now() / 1_000_000 + pg::EPOCH_S;
    let age = now.saturating_sub(message.sent_at);
    if age.saturating_abs() <= source.tolerance_s {
        return Ok(());
    }
    let when = if age < 0 { "in the future" } else { "too long ago" };
    let overflow = PgSqlErrorCode::ERRCODE_DATETIME_FIELD_OVERFLOW;
    Err(Error::refused(overflow, format!("the webhook was sent {when}"))
        .with_detail(format!(
            "Its webhook-timestamp is {} s from now; source {} allows {} s.",
            age.saturating_abs(),
            shown(&source.name),
            source.tolerance_s
        ))
        .with_hint("Hand webhooks in as they come, and set the clocks; {\"tolerance\": \"10 min\"} among the source's options allows more."))
}

/// Notes that a message has come; the event that it became if it had come before.
fn remember(own: &Own, source: &Source, id: &str) -> Result<Option<Uuid>> {
    let noted = own.run(
        "INSERT INTO automate.webhook_receipt (source, webhook_id, owner) VALUES ($1, $2, $3)
         ON CONFLICT (source, webhook_id) DO NOTHING",
        &[key(source.id).into(), id.into(), source.owner.into()],
    )?;
    if noted.processed == 1 {
        return Ok(None);
    }
    let event: Option<pgrx::Uuid> = own.one(
        "SELECT event FROM automate.webhook_receipt WHERE source = $1 AND webhook_id = $2",
        &[key(source.id).into(), id.into()],
    )?;
    match event {
        Some(event) => Ok(Some(Uuid::from_bytes(*event.as_bytes()))),
        None => Err(Error::refused(
            PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE,
            "the event of this webhook is not to be seen in this transaction",
        )
        .with_detail("The snapshot of this transaction is older than the event.")
        .with_hint(
            "Another session has just taken the webhook in: try again in a new transaction.",
        )),
    }
}

fn become_event(source: &Source, body: &str) -> Result<Uuid> {
    let payload = parse_json(body, "the body", crate::guc::max_payload_bytes())
        .map_err(|e| e.or_detail(format!("It came for webhook source {}.", shown(&source.name))))?;
    let name = event_name(&source.event, source.event_from.as_deref(), &payload);
    let name = name.map_err(|reason| {
        Error::invalid(format!("not an event of source {}: {reason}", shown(&source.name)))
            .with_detail(format!("The event of the source is {}.", shown(&source.event)))
            .with_hint("automate.alter_webhook_source() changes event and event_from.")
    })?;
    let from = format!("webhook:{}", source.name);
    let emission = Emission::new(source.owner, &name, &payload);
    emit(&Emission { source: Some(&from), ..emission })
}

/// Forgets what came long ago: at least twice the time for which a copy would be accepted, and as
/// long as events are kept, since senders that get no answer try again for days.
pub fn forget_old(own: &Own) -> Result<()> {
    own.run(
        "DELETE FROM automate.webhook_receipt AS r USING automate.webhook_source AS s
         WHERE s.id = r.source
           AND r.received_at < clock_timestamp() - greatest(2 * s.tolerance, $1 * interval '1 second')",
        &[guc::event_retention_s().into()],
    )?;
    Ok(())
}
