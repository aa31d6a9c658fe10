//! Webhook sources: who sends to us, by which keys that is checked, and which event it becomes.

use super::key;
use crate::error::{Error, Result, shown};
use crate::notify::secret::{self, Keeper};
use crate::notify::sign::CheckingKey;
use crate::noun::WEBHOOK_SOURCE;
use crate::spi::{Own, as_extension};
use crate::{access, pg};
use automate_core::event::webhook::{Options, read_options};
use automate_core::problem::Problem;
use pgrx::prelude::*;
use serde_json::Value;
use uuid::Uuid;

/// Most keys of a source: the one in use, and those that are being replaced.
const MAX_KEYS: usize = 10;

pub static KEEPER: Keeper = Keeper {
    what: "webhook source",
    table: "automate.webhook_secret",
    again: "automate.alter_webhook_source",
};

/// What is asked of a new source, or of one that is changed: None stays as it is.
pub struct Wanted {
    pub secrets: Option<Vec<String>>,
    pub event: Option<String>,
    pub options: Option<Value>,
    pub description: Option<String>,
}

/// Makes a source; returns its id.
pub fn create(owner: pg_sys::Oid, name: &str, wanted: &Wanted) -> Result<Uuid> {
    access::check_name("webhook source", name)?;
    let event = wanted.event.as_deref().unwrap_or_default();
    let options = wanted.options.clone().unwrap_or_else(|| serde_json::json!({}));
    let options = check_options(name, event, &options)?;
    let secrets = wanted.secrets.as_deref().unwrap_or_default();
    check_keys(name, secrets)?;
    let id = Uuid::now_v7();
    as_extension(|own| {
        let made = own.run(
            "INSERT INTO automate.webhook_source (id, name, description, owner, event, event_from, tolerance)
             VALUES ($1, $2, $3, $4, $5, $6, $7 * interval '1 second')
             ON CONFLICT (owner, name) DO NOTHING RETURNING id",
            &[
                key(id).into(),
                name.into(),
                wanted.description.as_deref().into(),
                owner.into(),
                event.into(),
                options.event_from.as_deref().into(),
                options.tolerance_s.into(),
            ],
        )?;
        if made.is_empty() {
            return Err(WEBHOOK_SOURCE.duplicate(owner, name).with_hint(
                "Change it with automate.alter_webhook_source(), or drop it first with automate.drop_webhook_source().",
            ));
        }
        keep(own, id, secrets)?;
        Ok(id)
    })
}

/// Replaces what is given; returns the version.
pub fn alter(user: pg_sys::Oid, name: &str, wanted: &Wanted) -> Result<i32> {
    let (id, event, event_from, tolerance_s) = as_extension(|own| {
        let id = WEBHOOK_SOURCE.id(own, user, name)?;
        let row = own.run(
            "SELECT event, event_from, extract(epoch FROM tolerance)::int8
             FROM automate.webhook_source WHERE id = $1 FOR UPDATE",
            &[key(id).into()],
        )?;
        let event = row.get::<String>(0, 1).unwrap_or_default();
        Ok((id, event, row.get::<String>(0, 2), row.get::<i64>(0, 3).unwrap_or(0)))
    })?;
    let event = wanted.event.clone().unwrap_or(event);
    let options = wanted.options.clone().unwrap_or_else(|| {
        let mut kept = serde_json::json!({ "tolerance": format!("{tolerance_s} s") });
        if let Some(from) = event_from {
            kept["event_from"] = from.into();
        }
        kept
    });
    let options = check_options(name, &event, &options)?;
    if let Some(secrets) = &wanted.secrets {
        check_keys(name, secrets)?;
    }
    as_extension(|own| {
        let version: Option<i32> = own.one(
            "UPDATE automate.webhook_source
             SET event = $2, event_from = $3, tolerance = $4 * interval '1 second',
                 description = coalesce($5, description), version = version + 1, updated_at = now()
             WHERE id = $1 RETURNING version",
            &[
                key(id).into(),
                event.as_str().into(),
                options.event_from.as_deref().into(),
                options.tolerance_s.into(),
                wanted.description.as_deref().into(),
            ],
        )?;
        if let Some(secrets) = &wanted.secrets {
            keep(own, id, secrets)?;
        }
        version.ok_or_else(|| WEBHOOK_SOURCE.missing(own, user, name))
    })
}

fn check_options(name: &str, event: &str, options: &Value) -> Result<Options> {
    super::check_pattern(event)?;
    let mut problems = Vec::new();
    let read = read_options(options, event, &mut problems);
    match problems.is_empty() {
        true => Ok(read),
        false => {
            let what = format!("options of webhook source {}", shown(name));
            Err(Error::problems(&what, &problems, WEBHOOK_SOURCE.help))
        }
    }
}

/// Refuses what is no key; nothing of a key is shown.
fn check_keys(name: &str, secrets: &[String]) -> Result<()> {
    let what = format!("secrets of webhook source {}", shown(name));
    if secrets.is_empty() || secrets.len() > MAX_KEYS {
        return Err(Error::invalid(format!("{what} must be 1 to {MAX_KEYS} keys"))
            .with_detail(format!("Their number is {}.", secrets.len()))
            .with_hint("Give the key that the sender shows, such as ARRAY['whsec_...']; while it is replaced, both."));
    }
    let hint = "It is what the sender shows: \"whsec_\" and 24 to 64 bytes in base64, or \"whpk_\" and an Ed25519 public key.";
    let problems: Vec<Problem> = secrets
        .iter()
        .enumerate()
        .filter_map(|(i, text)| CheckingKey::parse(text).err().map(|reason| (i, reason)))
        .map(|(i, reason)| Problem::error(format!("/{i}"), "bad_secret", reason).with_hint(hint))
        .collect();
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Error::problems(&what, &problems, hint)),
    }
}

fn keep(own: &Own, id: Uuid, secrets: &[String]) -> Result<()> {
    let sealed = secret::seal(id, &serde_json::json!(secrets).to_string())?;
    own.run(
        "INSERT INTO automate.webhook_secret (source, sealed) VALUES ($1, $2)
         ON CONFLICT (source) DO UPDATE SET sealed = excluded.sealed",
        &[key(id).into(), sealed.into()],
    )?;
    Ok(())
}

/// The keys of a source.
pub(super) fn keys(id: Uuid, sealed: Option<&[u8]>) -> Result<Vec<CheckingKey>> {
    let Some(sealed) = sealed else {
        return Err(Error::refused(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "secrets of the webhook source are not in this database",
        )
        .with_detail("A dump holds no secrets, and this database was made from one.")
        .with_hint("Give them again with automate.alter_webhook_source()."));
    };
    let plain = secret::open(&KEEPER, id, sealed)?;
    let texts: Vec<String> = serde_json::from_str(&plain).unwrap_or_default();
    Ok(texts.iter().filter_map(|text| CheckingKey::parse(text).ok()).collect())
}

/// Removes a source with its secrets.
pub fn drop(user: pg_sys::Oid, name: &str) -> Result<()> {
    as_extension(|own| {
        let id = WEBHOOK_SOURCE.id(own, user, name)?;
        own.run("DELETE FROM automate.webhook_source WHERE id = $1", &[key(id).into()])?;
        Ok(())
    })
}

/// Enables or disables a source.
pub fn set_status(user: pg_sys::Oid, name: &str, status: &str) -> Result<()> {
    as_extension(|own| {
        let id = WEBHOOK_SOURCE.id(own, user, name)?;
        own.run(
            "UPDATE automate.webhook_source SET status = $2, updated_at = now() WHERE id = $1",
            &[key(id).into(), status.into()],
        )?;
        Ok(())
    })
}

/// Lets a role hand in what came for a source; it can neither read nor change the source's secrets.
pub fn grant(user: pg_sys::Oid, name: &str, role: pg_sys::Oid) -> Result<()> {
    if pg::role_name(role).is_none() {
        return Err(Error::missing(format!("there is no role with OID {}", role.to_u32()))
            .with_detail("The role was dropped meanwhile, or given as a number or as \"-\".")
            .with_hint("Name a role, such as 'gateway'::regrole."));
    }
    as_extension(|own| {
        let id = WEBHOOK_SOURCE.id(own, user, name)?;
        own.run(
            "INSERT INTO automate.webhook_grant (source, role, owner)
             SELECT id, $2, owner FROM automate.webhook_source WHERE id = $1
             ON CONFLICT (source, role) DO NOTHING",
            &[key(id).into(), role.into()],
        )?;
        Ok(())
    })
}

/// Takes that back.
pub fn revoke(user: pg_sys::Oid, name: &str, role: pg_sys::Oid) -> Result<()> {
    as_extension(|own| {
        let id = WEBHOOK_SOURCE.id(own, user, name)?;
        own.run(
            "DELETE FROM automate.webhook_grant WHERE source = $1 AND role = $2",
            &[key(id).into(), role.into()],
        )?;
        Ok(())
    })
}
