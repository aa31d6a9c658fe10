//! What workflows use, and what of that is missing.

use super::known::{self, Known};
use super::names;
use super::start;
use crate::error::{Failure, Result};
use crate::noun::{CHANNEL, Noun, REPORT, TEMPLATE, WORKFLOW};
use crate::pg;
use crate::spi::own::as_role;
use crate::spi::{Own, as_extension, objects};
use automate_core::workflow::EffectRef;
use pgrx::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

/// A version that new runs take.
struct Taken {
    id: Uuid,
    name: String,
    owner: pg_sys::Oid,
    version: i32,
}

/// Something that it uses.
struct Use {
    kind: &'static str,
    object: String,
    missing: bool,
}

/// What the workflow of this name uses, or all workflows that the role may use: rows of the
/// workflow, its version, the kind and the name of what it uses, and whether that is missing.
pub fn of(role: pg_sys::Oid, name: Option<&str>) -> Result<Value> {
    let taken = as_extension(|own| taken(own, role, name))?;
    let mut rows = Vec::new();
    for one in taken {
        let known = as_extension(|own| known::read(own, one.id, one.version))?;
        let mut uses = match &known {
            Ok(known) => uses(known, one.owner)?,
            Err(error) => {
                vec![Use { kind: "definition", object: error.to_string(), missing: true }]
            }
        };
        uses.sort_by(|a, b| (a.kind, &a.object).cmp(&(b.kind, &b.object)));
        uses.dedup_by(|a, b| (a.kind, &a.object) == (b.kind, &b.object));
        rows.extend(uses.into_iter().map(|u| {
            json!({ "workflow": one.name, "version": one.version, "kind": u.kind, "object": u.object, "missing": u.missing })
        }));
    }
    Ok(Value::Array(rows))
}

fn taken(own: &Own, role: pg_sys::Oid, name: Option<&str>) -> Result<Vec<Taken>> {
    let only = name.map(|name| start::find(own, role, name)).transpose()?.map(|found| found.id);
    let rows = own.run(
        "SELECT w.id, w.name, w.owner::oid, v.version
         FROM automate.workflow AS w JOIN automate.workflow_version AS v ON v.workflow = w.id
         WHERE pg_has_role($1, w.owner, 'USAGE') AND ($2 IS NULL OR w.id = $2)
           AND v.version IN (w.version, w.canary_version)
         ORDER BY w.name, w.owner::text, v.version",
        &[role.into(), only.map(|id| pgrx::Uuid::from_bytes(*id.as_bytes())).into()],
    )?;
    let one = |row| {
        let id = Uuid::from_bytes(*rows.get::<pgrx::Uuid>(row, 1)?.as_bytes());
        let (name, owner, version) = (rows.get(row, 2)?, rows.get(row, 3)?, rows.get(row, 4)?);
        Some(Taken { id, name, owner, version })
    };
    Ok((0..rows.len()).filter_map(one).collect())
}

fn uses(known: &Known, owner: pg_sys::Oid) -> Result<Vec<Use>> {
    let mut found = Vec::new();
    let mut statements = Vec::new();
    as_extension(|own| {
        for effect in known.definition.effects() {
            match effect {
                EffectRef::Sql { statement, .. } => statements.push(statement.as_str()),
                other => found.extend(named(own, owner, other)?),
            }
        }
        Ok(())
    })?;
    for text in statements {
        let read = as_role(owner, || {
            pg::under_path(&known.search_path, || objects::of("statement", text))
        });
        match read? {
            Ok(used) => found.extend(as_extension(|own| of_oids(own, &used))?),
            Err((failure, place)) => found.push(missing(text, failure, place)),
        }
    }
    Ok(found)
}

/// What a statement lacks: the name at the place where PostgreSQL stops, else what it says.
fn missing(text: &str, failure: Failure, place: Option<i32>) -> Use {
    let kind = match failure.code {
        PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE => "table",
        PgSqlErrorCode::ERRCODE_UNDEFINED_FUNCTION => "function",
        _ => "statement",
    };
    let start = place.and_then(|place| usize::try_from(place - 1).ok());
    let part = |c: &char| c.is_alphanumeric() || matches!(c, '_' | '.' | '"' | '$');
    let name: String =
        start.into_iter().flat_map(|at| text.chars().skip(at).take_while(part)).collect();
    let object = if kind == "statement" || name.is_empty() { failure.message } else { name };
    Use { kind, object, missing: true }
}

fn of_oids(own: &Own, used: &objects::Objects) -> Result<Vec<Use>> {
    let rows = own.run(
        "SELECT true, c.oid::regclass::text FROM pg_class AS c
         WHERE c.oid = ANY ($1)
           AND c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
         UNION ALL
         SELECT false, p.oid::regprocedure::text FROM pg_proc AS p
         WHERE p.oid = ANY ($2) AND p.pronamespace <> 'pg_catalog'::regnamespace",
        &[used.tables.clone().into(), used.functions.clone().into()],
    )?;
    let one = |row| {
        let kind = if rows.get(row, 1)? { "table" } else { "function" };
        Some(Use { kind, object: rows.get(row, 2)?, missing: false })
    };
    Ok((0..rows.len()).filter_map(one).collect())
}

/// What is named beside the statements.
fn named(own: &Own, owner: pg_sys::Oid, effect: &EffectRef) -> Result<Option<Use>> {
    let noun = |kind, noun: &Noun, name: &str| -> Result<Option<Use>> {
        let known = noun.known(own, owner, name)?;
        let missing = known.first().is_none_or(|first| first != name);
        Ok(Some(Use { kind, object: name.to_owned(), missing }))
    };
    let there =
        |kind, object: Option<String>| object.map(|object| Use { kind, object, missing: false });
    Ok(match effect {
        EffectRef::Sql { .. } => None,
        EffectRef::Template { name, .. } => noun("template", &TEMPLATE, name)?,
        EffectRef::Channel { name, .. } => noun("channel", &CHANNEL, name)?,
        EffectRef::Report { name, .. } => noun("report", &REPORT, name)?,
        EffectRef::Workflow { name, .. } => noun("workflow", &WORKFLOW, name)?,
        EffectRef::Role { name, .. } => {
            let missing = !names::is_role(own, name)?;
            Some(Use { kind: "role", object: name.clone(), missing })
        }
        EffectRef::Secret { name, .. } => there("secret", Some(name.clone())),
        EffectRef::Event { event_type, .. } => there("emits", event_type.clone()),
        EffectRef::Listens { event_type, .. } => there("listens", event_type.clone()),
        EffectRef::Http { endpoint, .. } => there("host", endpoint.as_deref().and_then(host)),
    })
}

/// The host of an address that is written out.
fn host(endpoint: &str) -> Option<String> {
    let (_, rest) = endpoint.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next().filter(|host| !host.is_empty())?;
    Some(host.rsplit_once('@').map_or(host, |(_, host)| host).to_owned())
}
