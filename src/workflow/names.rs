//! What a definition names beside its statements: whether its owner has it.

use super::cycle;
use crate::error::Result;
use crate::noun::{CHANNEL, Noun, REPORT, TEMPLATE, WORKFLOW};
use crate::spi::{Own, as_extension};
use automate_core::problem::Problem;
use automate_core::suggest;
use automate_core::workflow::{Definition, EffectRef};
use pgrx::prelude::*;
use uuid::Uuid;

/// What the definition names and its owner does not have. `name` is the workflow's own, which it may
/// run before it is there.
pub fn problems(
    definition: &Definition,
    owner: pg_sys::Oid,
    name: Option<&str>,
) -> Result<Vec<Problem>> {
    as_extension(|own| {
        let mut found = Vec::new();
        for effect in definition.effects() {
            found.extend(match effect {
                EffectRef::Template { pointer, name } => {
                    let at = format!("{pointer}/with/template");
                    unknown(own, owner, (&TEMPLATE, "template", "unknown_template"), name, at)?
                }
                EffectRef::Report { pointer, name } => {
                    let at = format!("{pointer}/with/name");
                    unknown(own, owner, (&REPORT, "report", "unknown_report"), name, at)?
                }
                EffectRef::Channel { pointer, name } => {
                    let at = pointer.clone();
                    unknown(own, owner, (&CHANNEL, "channel", "unknown_channel"), name, at)?
                }
                EffectRef::Role { pointer, name } => role(own, pointer, name)?,
                EffectRef::Workflow { pointer, name: run, version, .. } => {
                    workflow(own, owner, name, pointer, run, version)?
                }
                _ => None,
            });
        }
        if let Some(name) = name {
            found.extend(cycle::warnings(own, owner, name, definition)?);
        }
        Ok(found)
    })
}

type Kind = (&'static Noun, &'static str, &'static str);

fn unknown(
    own: &Own,
    owner: pg_sys::Oid,
    (noun, word, code): Kind,
    name: &str,
    at: String,
) -> Result<Option<Problem>> {
    let known = noun.known(own, owner, name)?;
    if known.first().is_some_and(|first| first == name) {
        return Ok(None);
    }
    let problem = Problem::error(at, code, format!("{word} \"{name}\" does not exist"));
    Ok(Some(problem.with_hint(noun.way_out(name, &known))))
}

/// Whether a role is there.
pub fn is_role(own: &Own, name: &str) -> Result<bool> {
    let sql = "SELECT true FROM pg_roles WHERE rolname = $1";
    Ok(own.one::<bool>(sql, &[name.into()])?.is_some())
}

fn role(own: &Own, pointer: &str, name: &str) -> Result<Option<Problem>> {
    if is_role(own, name)? {
        return Ok(None);
    }
    let rows = own.run(
        "SELECT rolname::text FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY 1 LIMIT 1000",
        &[],
    )?;
    let known: Vec<String> = (0..rows.len()).filter_map(|row| rows.get(row, 1)).collect();
    let hint = match suggest::nearest(name, known.iter().map(String::as_str)) {
        Some(near) => format!("Did you mean \"{near}\"?"),
        None => "CREATE ROLE makes one; its members decide.".to_owned(),
    };
    let message = format!("role \"{name}\" does not exist");
    Ok(Some(Problem::error(format!("{pointer}/with"), "unknown_role", message).with_hint(hint)))
}

fn workflow(
    own: &Own,
    owner: pg_sys::Oid,
    me: Option<&str>,
    pointer: &str,
    name: &str,
    version: &str,
) -> Result<Option<Problem>> {
    let at = format!("{pointer}/run/workflow");
    let problem =
        unknown(own, owner, (&WORKFLOW, "workflow", "unknown_workflow"), name, at.clone());
    match problem? {
        // It will be there when it runs.
        Some(_) if me == Some(name) && version == LATEST => return Ok(None),
        Some(problem) => return Ok(Some(problem)),
        None => {}
    }
    let id = WORKFLOW.id(own, owner, name)?;
    if version_of(own, id, version)?.is_some() {
        return Ok(None);
    }
    let newest: Option<i32> = own.one(
        "SELECT max(version) FROM automate.workflow_version WHERE workflow = $1",
        &[pgrx::Uuid::from_bytes(*id.as_bytes()).into()],
    )?;
    let message = format!("workflow \"{name}\" has no version \"{version}\"");
    let hint = format!(
        "Write a number from 1 to {}, or leave it out for the current one.",
        newest.unwrap_or(1)
    );
    let at = format!("{at}/version");
    Ok(Some(Problem::error(at, "unknown_version", message).with_hint(hint)))
}

/// The word for the version that new runs take.
const LATEST: &str = "latest";

/// The version of a workflow that a definition means: its number, or what its document calls it.
pub fn version_of(own: &Own, workflow: Uuid, version: &str) -> Result<Option<i32>> {
    own.one(
        "SELECT v.version
         FROM automate.workflow_version AS v JOIN automate.workflow AS w ON w.id = v.workflow
         WHERE v.workflow = $1
           AND (($2 = 'latest' AND v.version = w.version) OR v.version::text = $2
                OR v.definition #>> '{document,version}' = $2)
         ORDER BY v.version::text = $2 DESC, v.version DESC LIMIT 1",
        &[pgrx::Uuid::from_bytes(*workflow.as_bytes()).into(), version.into()],
    )
}
