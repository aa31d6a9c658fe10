//! Making, changing and removing decision tables.

use crate::access;
use crate::audit;
use crate::bell;
use crate::error::{Error, Result};
use crate::noun::DECISION_TABLE;
use crate::spi::{Own, as_extension};
use automate_core::decision::{self, Finding, Policy, Table};
use automate_core::problem::Problem;
use pgrx::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

pub use automate_core::decision::Source;

/// Longest part of a definition, in bytes.
const MAX_BYTES: usize = 16 << 20;

/// What is to be another way; None stays as it is.
pub struct Changes {
    pub inputs: Option<String>,
    pub outputs: Option<String>,
    pub rows: Option<String>,
    pub hit_policy: Option<String>,
    pub description: Option<String>,
}

/// Refuses a part of a definition that is too long or too deep.
pub fn check_size(name: &str, text: String) -> Result<String> {
    match automate_core::json::check_size(&text, MAX_BYTES) {
        Ok(()) => Ok(text),
        Err(e) => Err(Error::refused(
            PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            format!("{name} is not acceptable: {e}"),
        )
        .with_detail(format!("It has {} bytes.", text.len()))
        .with_hint("Split the table into several, by one of its inputs.")),
    }
}

/// A sound definition, with DMN's letters for hit policies made words.
fn read(source: &Source) -> Result<(Table, Source)> {
    let table = Table::read(source).map_err(refuse)?;
    let hit_policy = table.policy.word().to_owned();
    Ok((table, Source { hit_policy, ..source.clone() }))
}

fn refuse(problems: Vec<Problem>) -> Error {
    Error::problems("decision table", &problems, DECISION_TABLE.help)
}

/// Makes a table; returns its id.
pub fn create(
    owner: pg_sys::Oid,
    name: &str,
    source: &Source,
    description: Option<&str>,
) -> Result<Uuid> {
    access::check_name("decision table", name)?;
    let (_, source) = read(source)?;
    let id = Uuid::now_v7();
    as_extension(|own| {
        audit::around(own, &audit::DECISION_TABLE, (owner, "create"), id, || {
            match insert(own, id, owner, name, description)? {
                true => store(own, id, owner, 1, &source).map(|_| id),
                false => Err(DECISION_TABLE.duplicate(owner, name).with_hint(
                    "automate.alter_decision_table makes its next version; automate.drop_decision_table removes it.",
                )),
            }
        })
    })
}

fn insert(
    own: &Own,
    id: Uuid,
    owner: pg_sys::Oid,
    name: &str,
    description: Option<&str>,
) -> Result<bool> {
    let made = own.run(
        "INSERT INTO automate.decision_table (id, name, description, owner, created_by)
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (owner, name) DO NOTHING RETURNING id",
        &[key(id).into(), name.into(), description.into(), owner.into(), session_user().into()],
    )?;
    Ok(!made.is_empty())
}

/// Writes a version and tells every session.
fn store(own: &Own, id: Uuid, owner: pg_sys::Oid, version: i32, source: &Source) -> Result<i32> {
    own.run(
        "INSERT INTO automate.decision_version (decision_table, version, owner, hit_policy, inputs, outputs, rows, created_by)
         VALUES ($1, $2, $3, $4, $5::pg_catalog.text::pg_catalog.jsonb, $6::pg_catalog.text::pg_catalog.jsonb,
                 $7::pg_catalog.text::pg_catalog.jsonb, $8)",
        &[
            key(id).into(),
            version.into(),
            owner.into(),
            source.hit_policy.as_str().into(),
            source.inputs.as_str().into(),
            source.outputs.as_str().into(),
            source.rows.as_str().into(),
            session_user().into(),
        ],
    )?;
    bell::ring(bell::DECISIONS);
    Ok(version)
}

/// Makes the next version of a table; returns its number. A new description alone makes none.
pub fn alter(user: pg_sys::Oid, name: &str, changes: Changes) -> Result<i32> {
    as_extension(|own| {
        let id = DECISION_TABLE.id(own, user, name)?;
        audit::around(own, &audit::DECISION_TABLE, (user, "alter"), id, || change(own, id, changes))
    })
}

fn change(own: &Own, id: Uuid, changes: Changes) -> Result<i32> {
    let (owner, version, known) = current(own, id)?;
    describe(own, id, changes.description.as_deref())?;
    let parts = [&changes.inputs, &changes.outputs, &changes.rows, &changes.hit_policy];
    if parts.iter().all(|part| part.is_none()) {
        return Ok(version);
    }
    let source = Source {
        inputs: changes.inputs.unwrap_or(known.inputs),
        outputs: changes.outputs.unwrap_or(known.outputs),
        rows: changes.rows.unwrap_or(known.rows),
        hit_policy: changes.hit_policy.unwrap_or(known.hit_policy),
    };
    next(own, id, owner, &source)
}

fn next(own: &Own, id: Uuid, owner: pg_sys::Oid, source: &Source) -> Result<i32> {
    let (_, source) = read(source)?;
    let version: Option<i32> = own.one(
        "UPDATE automate.decision_table SET version = version + 1, updated_at = pg_catalog.now()
         WHERE id = $1 RETURNING version",
        &[key(id).into()],
    )?;
    store(own, id, owner, version.unwrap_or(1), &source)
}

fn describe(own: &Own, id: Uuid, description: Option<&str>) -> Result<()> {
    if description.is_some() {
        own.run(
            "UPDATE automate.decision_table SET description = $2, updated_at = pg_catalog.now() WHERE id = $1",
            &[key(id).into(), description.into()],
        )?;
    }
    Ok(())
}

/// The owner, the number and the definition of the current version, locked.
fn current(own: &Own, id: Uuid) -> Result<(pg_sys::Oid, i32, Source)> {
    let rows = own.run(
        "SELECT t.owner::pg_catalog.oid, t.version, v.inputs::pg_catalog.text, v.outputs::pg_catalog.text,
                v.rows::pg_catalog.text, v.hit_policy
         FROM automate.decision_table AS t
         JOIN automate.decision_version AS v ON v.decision_table = t.id AND v.version = t.version
         WHERE t.id = $1 FOR UPDATE OF t",
        &[key(id).into()],
    )?;
    let text = |column| rows.get::<String>(0, column).unwrap_or_default();
    match (rows.get(0, 1), rows.get(0, 2)) {
        (Some(owner), Some(version)) => Ok((
            owner,
            version,
            Source { inputs: text(3), outputs: text(4), rows: text(5), hit_policy: text(6) },
        )),
        _ => Err(Error::Internal("a decision table without its version".into())),
    }
}

/// Removes a table with its versions.
pub fn remove(user: pg_sys::Oid, name: &str) -> Result<()> {
    as_extension(|own| {
        let id = DECISION_TABLE.id(own, user, name)?;
        audit::around(own, &audit::DECISION_TABLE, (user, "drop"), id, || {
            own.run(
                "DELETE FROM automate.decision_version WHERE decision_table = $1",
                &[key(id).into()],
            )?;
            own.run("DELETE FROM automate.decision_table WHERE id = $1", &[key(id).into()])
        })?;
        bell::ring(bell::DECISIONS);
        Ok(())
    })
}

/// Makes a table, or the next version of one, from CSV; returns the version.
pub fn import(owner: pg_sys::Oid, name: &str, csv: &str, description: Option<&str>) -> Result<i32> {
    access::check_name("decision table", name)?;
    let csv = check_size("csv", csv.to_owned())?;
    let source = decision::import(&csv).map_err(refuse)?;
    let (_, source) = read(&source)?;
    as_extension(|own| {
        let id = Uuid::now_v7();
        let made = audit::around(own, &audit::DECISION_TABLE, (owner, "create"), id, || {
            match insert(own, id, owner, name, description)? {
                true => store(own, id, owner, 1, &source).map(Some),
                false => Ok(None),
            }
        })?;
        if let Some(version) = made {
            return Ok(version);
        }
        let (user, id) = (owner, DECISION_TABLE.id(own, owner, name)?);
        audit::around(own, &audit::DECISION_TABLE, (user, "alter"), id, || {
            let (owner, _, _) = current(own, id)?;
            describe(own, id, description)?;
            next(own, id, owner, &source)
        })
    })
}

/// Everything that is wrong with a definition, or that its author should know, as a JSON array.
pub fn validate(source: &Source) -> Result<Value> {
    let table = match Table::read(source) {
        Ok(table) => table,
        Err(problems) => {
            let row = |p: &Problem| json!({"kind": "error", "rows": row_of(&p.pointer), "message": p.to_string(), "hint": p.hint});
            return Ok(problems.iter().map(row).collect());
        }
    };
    Ok(found(&table))
}

/// The findings of a sound table, as a JSON array.
pub fn found(table: &Table) -> Value {
    let row = |finding: Finding| {
        json!({
            "kind": finding.kind, "rows": finding.rows, "message": finding.message,
            "example": finding.example.and_then(|e| serde_json::from_str::<Value>(&e).ok()),
            "hint": hint(finding.kind, table.policy),
        })
    };
    decision::findings(table).into_iter().map(row).collect()
}

fn hint(kind: &str, policy: Policy) -> &'static str {
    match (kind, policy) {
        ("gap", _) => "Add a row for it, or a default to the outputs.",
        ("overlap", Policy::First) => "The first of them decides: nothing to do if that is meant.",
        ("overlap", Policy::Priority) => {
            "The order of the outputs decides: nothing to do if that is meant."
        }
        ("overlap", _) => "Such an input is an error: make the rows exclude each other.",
        ("shadowed", _) => "Move the row up, or drop it.",
        _ => "Use fewer rows or simpler cells, or look at parts of the table.",
    }
}

/// The row that a pointer such as /rows/3/0 names, from 1.
fn row_of(pointer: &str) -> Vec<usize> {
    let number = pointer.strip_prefix("/rows/").and_then(|rest| rest.split('/').next());
    number.and_then(|n| n.parse::<usize>().ok()).map(|n| n + 1).into_iter().collect()
}

fn session_user() -> pg_sys::Oid {
    // SAFETY: reads a process-local variable.
    unsafe { pg_sys::GetSessionUserId() }
}

fn key(id: Uuid) -> pgrx::Uuid {
    pgrx::Uuid::from_bytes(*id.as_bytes())
}
