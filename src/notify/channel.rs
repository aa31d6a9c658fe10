//! Channels: making, changing and finding them.

use super::secret::{self, Keeper};
use super::settings::{self, Settings};
use crate::error::{Error, Result, shown};
use crate::noun::CHANNEL;
use crate::spi::{Own, as_extension};
use crate::{access, guc};
use automate_core::net::Allow;
use automate_core::problem::Problem;
use pgrx::prelude::*;
use serde_json::Value;
use uuid::Uuid;

pub static KEEPER: Keeper =
    Keeper { what: "channel", table: "automate.channel_secret", again: "automate.alter_channel" };

/// A channel to be.
pub struct NewChannel<'a> {
    pub owner: pg_sys::Oid,
    pub name: &'a str,
    pub kind: &'a str,
    pub config: &'a Value,
    pub secrets: &'a Value,
    pub description: Option<&'a str>,
}

/// A channel as `notify` needs it.
#[derive(Clone)]
pub struct Channel {
    pub id: Uuid,
    pub name: String,
    pub kind: String,
    pub settings: Settings,
}

/// Makes a channel; returns its id.
pub fn create(new: &NewChannel) -> Result<Uuid> {
    check_name(new.name)?;
    check_config(new.name, new.kind, new.config)?;
    check_secrets(new.name, new.kind, new.secrets)?;
    let id = Uuid::now_v7();
    as_extension(|own| {
        let made = own.run(
            "INSERT INTO automate.channel (id, name, kind, owner, config, secret_names, description)
             VALUES ($1, $2, $3, $4, $5::text::jsonb, $6, $7)
             ON CONFLICT (owner, name) DO NOTHING RETURNING id",
            &[
                to_pg(id).into(),
                new.name.into(),
                new.kind.into(),
                new.owner.into(),
                new.config.to_string().into(),
                names_of(new.secrets).into(),
                new.description.into(),
            ],
        )?;
        if made.is_empty() {
            return Err(CHANNEL.duplicate(new.owner, new.name).with_hint("Change it with automate.alter_channel(), or drop it first with automate.drop_channel()."));
        }
        keep_secrets(own, id, new.secrets)?;
        Ok(id)
    })
}

/// Replaces what is given; returns the channel's id.
pub fn alter(
    user: pg_sys::Oid,
    name: &str,
    config: Option<&Value>,
    secrets: Option<&Value>,
    description: Option<&str>,
) -> Result<Uuid> {
    let found = as_extension(|own| find(own, user, name))?;
    if let Some(config) = config {
        check_config(name, &found.kind, config)?;
    }
    if let Some(secrets) = secrets {
        check_secrets(name, &found.kind, secrets)?;
    }
    as_extension(|own| {
        own.run(
            "UPDATE automate.channel
             SET config = coalesce($2::text::jsonb, config), secret_names = coalesce($3, secret_names),
                 description = coalesce($4, description), version = version + 1, updated_at = now()
             WHERE id = $1",
            &[
                to_pg(found.id).into(),
                config.map(Value::to_string).into(),
                secrets.map(names_of).into(),
                description.into(),
            ],
        )?;
        if let Some(secrets) = secrets {
            keep_secrets(own, found.id, secrets)?;
        }
        Ok(found.id)
    })
}

fn keep_secrets(own: &Own, id: Uuid, secrets: &Value) -> Result<()> {
    if names_of(secrets).is_empty() {
        own.run("DELETE FROM automate.channel_secret WHERE channel = $1", &[to_pg(id).into()])?;
        return Ok(());
    }
    let sealed = secret::seal(id, &secrets.to_string())?;
    own.run(
        "INSERT INTO automate.channel_secret (channel, sealed) VALUES ($1, $2)
         ON CONFLICT (channel) DO UPDATE SET sealed = excluded.sealed",
        &[to_pg(id).into(), sealed.into()],
    )?;
    Ok(())
}

fn names_of(secrets: &Value) -> Vec<String> {
    secrets.as_object().map(|map| map.keys().cloned().collect()).unwrap_or_default()
}

/// Removes a channel.
pub fn drop(user: pg_sys::Oid, name: &str) -> Result<()> {
    as_extension(|own| {
        let channel = find_any(own, user, name)?;
        own.run("DELETE FROM automate.channel WHERE id = $1", &[to_pg(channel).into()])?;
        Ok(())
    })
}

/// Enables or disables a channel.
pub fn set_status(user: pg_sys::Oid, name: &str, status: &str) -> Result<()> {
    as_extension(|own| {
        let channel = find_any(own, user, name)?;
        own.run(
            "UPDATE automate.channel SET status = $2, updated_at = now() WHERE id = $1",
            &[to_pg(channel).into(), status.into()],
        )?;
        Ok(())
    })
}

/// The channel of a name that a role may use, active and readable.
pub fn find(own: &Own, user: pg_sys::Oid, name: &str) -> Result<Channel> {
    let rows = own.run(
        "SELECT id, kind, config::text, status FROM automate.channel
         WHERE name = $1 AND pg_has_role($2, owner, 'USAGE')
         ORDER BY owner = $2 DESC, owner LIMIT 1",
        &[name.into(), user.into()],
    )?;
    let Some(id) = rows.get::<pgrx::Uuid>(0, 1) else {
        return Err(CHANNEL.missing(own, user, name));
    };
    if rows.get::<String>(0, 4).as_deref() != Some("active") {
        return Err(disabled(name));
    }
    let kind: String = rows.get(0, 2).unwrap_or_default();
    let config = parse(&rows.get::<String>(0, 3).unwrap_or_default());
    let mut problems = Vec::new();
    match settings::read(&kind, &config, None, &mut problems) {
        Some(settings) if problems.is_empty() => {
            Ok(Channel { id: of_pg(id), name: name.to_owned(), kind, settings })
        }
        _ => Err(Error::problems(&format!("channel \"{name}\""), &problems, CHANNEL.help)),
    }
}

/// Says that nothing can be sent through a channel now.
pub fn disabled(name: &str) -> Error {
    Error::refused(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("channel \"{name}\" is disabled"),
    )
    .with_detail("Nothing is sent through it while its status in automate.channel is so.")
    .with_hint("Enable it with automate.enable_channel().")
}

/// The same, whatever state it is in: for dropping and enabling.
fn find_any(own: &Own, user: pg_sys::Oid, name: &str) -> Result<Uuid> {
    let id: Option<pgrx::Uuid> = own.one(
        "SELECT id FROM automate.channel WHERE name = $1 AND pg_has_role($2, owner, 'USAGE')
         ORDER BY owner = $2 DESC, owner LIMIT 1",
        &[name.into(), user.into()],
    )?;
    id.map(of_pg).ok_or_else(|| CHANNEL.missing(own, user, name))
}

fn check_name(name: &str) -> Result<()> {
    let fine = !name.trim().is_empty()
        && name.len() <= 200
        && !name.contains(|c: char| c == ':' || c.is_control());
    if fine {
        return Ok(());
    }
    Err(Error::invalid(format!("channel name {} is not acceptable", shown(name)))
        .with_detail(access::given(name))
        .with_hint(
            "It has 1 to 200 bytes without a colon: a recipient is written channel:address.",
        ))
}

fn check_config(name: &str, kind: &str, config: &Value) -> Result<()> {
    let allow = Allow::parse(&guc::network_allow()).map_err(|e| {
        let error = Error::refused(
            PgSqlErrorCode::ERRCODE_CONFIG_FILE_ERROR,
            format!("automate.network_allow is not valid: {e}"),
        );
        let error = error.with_detail(format!("Its value is {}.", shown(&guc::network_allow())));
        error.with_hint(e.hint.unwrap_or_else(|| "A superuser can mend it.".into()))
    })?;
    let mut problems = Vec::new();
    settings::read(kind, config, Some(&allow), &mut problems);
    refuse_any("channel", name, &problems)
}

fn check_secrets(name: &str, kind: &str, secrets: &Value) -> Result<()> {
    let mut problems = Vec::new();
    settings::read_secrets(kind, secrets, &mut problems);
    refuse_any("secrets of channel", name, &problems)
}

fn refuse_any(what: &str, name: &str, problems: &[Problem]) -> Result<()> {
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Error::problems(&format!("{what} {}", shown(name)), problems, CHANNEL.help)),
    }
}

/// JSON that PostgreSQL printed; Null should it ever not be JSON.
pub fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}

pub fn to_pg(id: Uuid) -> pgrx::Uuid {
    pgrx::Uuid::from_bytes(*id.as_bytes())
}

pub fn of_pg(id: pgrx::Uuid) -> Uuid {
    Uuid::from_bytes(*id.as_bytes())
}
