//! Notifications: channels, templates, deliveries. What leaves is sent by the courier.

pub mod address;
pub mod channel;
pub mod secret;
pub mod settings;
pub mod sign;
pub mod template;

use crate::error::{Error, Result, shown};
use crate::event::trace;
use crate::spi::{Own, as_extension};
use crate::wake;
use automate_core::template::{Message, check_header_value};
use channel::{Channel, to_pg};
use pgrx::prelude::*;
use serde_json::{Value, json};
use settings::Settings;
use std::collections::{HashMap, HashSet};
use template::Template;
use uuid::Uuid;

/// Most recipients of one call.
const MAX_RECIPIENTS: usize = 100_000;
/// Most bytes of attachments of one message.
const MAX_ATTACHMENTS: usize = 25 << 20;
/// Attempts at a delivery, over some minutes with growing pauses.
const MAX_ATTEMPTS: i32 = 8;

/// A file that goes with a message.
pub struct Attachment {
    pub name: String,
    pub mime: String,
    pub bytes: Vec<u8>,
}

/// What is to be told, to whom.
pub struct Notification<'a> {
    pub owner: pg_sys::Oid,
    pub template: &'a str,
    /// Each is `channel:address`.
    pub recipients: &'a [String],
    pub data: &'a Value,
    pub attachments: &'a [Attachment],
    pub priority: i32,
    pub source: Option<&'a str>,
}

/// One recipient of a message.
struct To<'a> {
    id: Uuid,
    channel: usize,
    address: &'a str,
}

/// Renders a message and queues its deliveries in the current transaction; returns the notification's id.
pub fn notify(notification: &Notification) -> Result<Uuid> {
    let n = notification;
    check_count(n)?;
    send(n, &as_extension(|own| template::find(own, n.owner, n.template))?)
}

/// The same with a template that is at hand.
pub fn send(n: &Notification, template: &Template) -> Result<Uuid> {
    check_count(n)?;
    check_attachments(n.attachments)?;
    let id = Uuid::now_v7();
    as_extension(|own| {
        let (channels, to) = resolve(own, n.owner, n.recipients)?;
        let message = template.render(n.data)?;
        store(own, n, id, template.version, &message)?;
        queue(own, n, id, &channels, &to)?;
        tell_log(&channels, &to, id, &message.subject);
        Ok(id)
    })
}

/// Refuses recipients of a channel that the owner cannot use, or with an address that it cannot.
pub fn check_recipients(own: &Own, owner: pg_sys::Oid, recipients: &[String]) -> Result<()> {
    resolve(own, owner, recipients).map(|_| ())
}

fn check_count(n: &Notification) -> Result<()> {
    if n.recipients.is_empty() || n.recipients.len() > MAX_RECIPIENTS {
        return Err(Error::invalid(format!(
            "a notification takes 1 to {MAX_RECIPIENTS} recipients, not {}",
            n.recipients.len()
        ))
        .with_detail("The limit holds for one call.")
        .with_hint("A recipient is written channel:address, such as '{mail:anna@example.com}'."));
    }
    Ok(())
}

fn check_attachments(attachments: &[Attachment]) -> Result<()> {
    let total: usize = attachments.iter().map(|a| a.bytes.len()).sum();
    if total > MAX_ATTACHMENTS {
        return Err(Error::refused(
            PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            format!("attachments of {total} bytes are larger than the {MAX_ATTACHMENTS} allowed"),
        )
        .with_detail(format!("The message has {} of them.", attachments.len()))
        .with_hint("Send a link instead."));
    }
    for a in attachments {
        for (what, text) in [("name", &a.name), ("media type", &a.mime)] {
            check_header_value(text).map_err(|e| {
                Error::invalid(format!("{what} of an attachment holds a {}", e.message))
                    .with_detail(format!("It was given as {}.", shown(text)))
                    .with_hint("It is a single line without control characters.")
            })?;
        }
    }
    Ok(())
}

/// The channels that are used, and who is told through which; the same recipient counts once.
fn resolve<'a>(
    own: &Own,
    owner: pg_sys::Oid,
    recipients: &'a [String],
) -> Result<(Vec<Channel>, Vec<To<'a>>)> {
    let mut channels: Vec<Channel> = Vec::new();
    let mut by_name: HashMap<&str, usize> = HashMap::new();
    let mut seen: HashSet<&str> = HashSet::new();
    let mut to = Vec::with_capacity(recipients.len());
    for recipient in recipients {
        if !seen.insert(recipient) {
            continue;
        }
        let (name, address) = address::split(recipient);
        let channel = match by_name.get(name) {
            Some(index) => *index,
            None => {
                channels.push(channel::find(own, owner, name).map_err(|e| match recipient {
                    r if r.contains(':') || !e.is_missing() => e,
                    r => e.with_detail(format!(
                        "Recipient {} has no colon, so that all of it is the name of a channel.",
                        shown(r)
                    )),
                })?);
                by_name.insert(name, channels.len() - 1);
                channels.len() - 1
            }
        };
        check_address(&channels[channel], address)?;
        to.push(To { id: Uuid::now_v7(), channel, address });
    }
    Ok((channels, to))
}

fn check_address(channel: &Channel, address: &str) -> Result<()> {
    let reason = match channel.settings {
        Settings::Smtp(_) => address::check_mail(address),
        _ if address.len() > 1000 => Err(format!("address of {} bytes is too long", address.len())),
        _ => check_header_value(address).map_err(|e| format!("address holds a {}", e.message)),
    };
    reason.map_err(|reason| {
        let (wanted, example) = match channel.settings {
            Settings::Smtp(_) => ("one plain mail address", "anna@example.com"),
            _ => ("one line of at most 1000 bytes", "topic"),
        };
        Error::invalid(format!("recipient of channel \"{}\": {reason}", channel.name))
            .with_detail(format!(
                "The channel is of kind {}: what stands behind the colon is {wanted}.",
                channel.kind
            ))
            .with_hint(format!("Write it as \"{}:{example}\".", channel.name))
    })
}

fn store(own: &Own, n: &Notification, id: Uuid, version: i32, message: &Message) -> Result<()> {
    let size = message.subject.len()
        + message.body.len()
        + message.html.as_ref().map_or(0, String::len)
        + n.attachments.iter().map(|a| a.bytes.len()).sum::<usize>();
    own.run(
        "INSERT INTO automate.notification
            (id, owner, template, version, data, subject, body, html, size, source)
         VALUES ($1, $2, $3, $4, $5::text::jsonb, $6, $7, $8, $9, $10)",
        &[
            to_pg(id).into(),
            n.owner.into(),
            n.template.into(),
            version.into(),
            n.data.to_string().into(),
            message.subject.as_str().into(),
            message.body.as_str().into(),
            message.html.as_deref().into(),
            i64::try_from(size).unwrap_or(i64::MAX).into(),
            n.source.into(),
        ],
    )?;
    for (number, a) in (1i32..).zip(n.attachments) {
        own.run(
            "INSERT INTO automate.attachment (notification, number, owner, name, mime, bytes)
             VALUES ($1, $2, $3, $4, $5, $6)",
            &[
                to_pg(id).into(),
                number.into(),
                n.owner.into(),
                a.name.as_str().into(),
                a.mime.as_str().into(),
                a.bytes.as_slice().into(),
            ],
        )?;
    }
    Ok(())
}

/// One delivery for each recipient, and a job with the same id for each that goes over the network.
fn queue(own: &Own, n: &Notification, id: Uuid, channels: &[Channel], to: &[To]) -> Result<()> {
    let local = |t: &To| matches!(channels[t.channel].settings, Settings::Log { .. });
    let ids: Vec<pgrx::Uuid> = to.iter().map(|t| to_pg(t.id)).collect();
    let channel_ids: Vec<pgrx::Uuid> = to.iter().map(|t| to_pg(channels[t.channel].id)).collect();
    let names: Vec<&str> = to.iter().map(|t| channels[t.channel].name.as_str()).collect();
    let addresses: Vec<&str> = to.iter().map(|t| t.address).collect();
    let done: Vec<bool> = to.iter().map(local).collect();
    own.run(
        "INSERT INTO automate.delivery
            (id, notification, owner, channel_id, template, channel, recipient, state, attempts, sent_at, latency_ms)
         SELECT d.id, $1, $2, d.channel_id, $3, d.channel, d.recipient,
                CASE WHEN d.done THEN 'sent' ELSE 'queued' END, CASE WHEN d.done THEN 1 ELSE 0 END,
                CASE WHEN d.done THEN clock_timestamp() END, CASE WHEN d.done THEN 0 END
         FROM unnest($4::uuid[], $5::uuid[], $6::text[], $7::text[], $8::boolean[])
              AS d(id, channel_id, channel, recipient, done)",
        &[
            to_pg(id).into(),
            n.owner.into(),
            n.template.into(),
            ids.into(),
            channel_ids.into(),
            names.into(),
            addresses.into(),
            done.into(),
        ],
    )?;
    let remote: Vec<pgrx::Uuid> = to.iter().filter(|t| !local(t)).map(|t| to_pg(t.id)).collect();
    if remote.is_empty() {
        return Ok(());
    }
    let source = n.source.map_or_else(|| format!("notification:{}", n.template), str::to_owned);
    own.run(
        "INSERT INTO automate.job (id, kind, owner, lane, payload, source, run_at, priority, max_attempts, status)
         SELECT id, 'delivery', $1, 'n', jsonb_build_object('delivery', id) || $6::jsonb, $2, now(), $3, $4, 'ready'
         FROM unnest($5::uuid[]) AS id",
        &[
            n.owner.into(),
            source.into(),
            n.priority.into(),
            MAX_ATTEMPTS.into(),
            remote.into(),
            trace::stamped(&json!({})).to_string().into(),
        ],
    )?;
    wake::arm_courier();
    Ok(())
}

/// Channels of kind log that want a line in the server's log get it.
fn tell_log(channels: &[Channel], to: &[To], id: Uuid, subject: &str) {
    for t in to {
        let channel = &channels[t.channel];
        if let Settings::Log { server_log: true } = channel.settings {
            log!("notification {id} to {}:{}: {subject}", channel.name, t.address);
        }
    }
}

/// Forgets what was told longer ago than the retention, unless it is still to be sent.
pub fn forget_old(own: &Own, retention_s: i64) -> Result<()> {
    own.run(
        "DELETE FROM automate.notification AS n
         WHERE n.created_at < now() - $1 * interval '1 second'
           AND NOT EXISTS (SELECT FROM automate.delivery AS d
                           WHERE d.notification = n.id AND d.state IN ('queued', 'retrying'))",
        &[retention_s.into()],
    )?;
    Ok(())
}
