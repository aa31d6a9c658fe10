//! A version of a workflow as text: SQL that makes it again, and YAML.

use super::start::find;
use crate::error::{Error, Result};
use crate::spi::own::Rows;
use crate::spi::{Own, as_extension};
use automate_core::workflow::yaml;
use pgrx::prelude::*;
use std::fmt::Write;

/// Statements that create the version again; the same version always gives the same text.
pub fn sql(role: pg_sys::Oid, name: &str, version: Option<i32>) -> Result<String> {
    as_extension(|own| {
        let row = read(own, role, name, version)?;
        let definition: String = row.get(0, 1).unwrap_or_default();
        let quoted = |column| row.get::<String>(0, column);
        let tag = tag(&definition);
        let mut text = format!(
            "SELECT pg_catalog.set_config('search_path', {}, false);\nSELECT automate.create_workflow(\n    name => {},\n",
            quoted(2).unwrap_or_default(),
            quoted(3).unwrap_or_default(),
        );
        for (argument, column) in [("description", 4), ("on_trigger", 5)] {
            if let Some(value) = quoted(column) {
                let _ = writeln!(text, "    {argument} => {value},");
            }
        }
        let _ = writeln!(text, "    definition => ${tag}$\n{definition}\n${tag}$);");
        Ok(text)
    })
}

/// The definition as YAML.
pub fn as_yaml(role: pg_sys::Oid, name: &str, version: Option<i32>) -> Result<String> {
    as_extension(|own| {
        let row = read(own, role, name, version)?;
        let definition: String = row.get(0, 1).unwrap_or_default();
        let value =
            serde_json::from_str(&definition).map_err(|e| Error::Internal(e.to_string()))?;
        yaml::write(&value).map_err(|problem| Error::Internal(problem.message))
    })
}

/// The definition, indented, and what goes with it, in quotes.
fn read(own: &Own, role: pg_sys::Oid, name: &str, version: Option<i32>) -> Result<Rows> {
    let found = find(own, role, name)?;
    let id = pgrx::Uuid::from_bytes(*found.id.as_bytes());
    let rows = own.run(
        "SELECT jsonb_pretty(v.definition), quote_literal(v.search_path), quote_literal(w.name),
                quote_literal(w.description), quote_literal(t.name)
         FROM automate.workflow_version AS v
         JOIN automate.workflow AS w ON w.id = v.workflow
         LEFT JOIN automate.trigger AS t ON t.id = w.on_trigger
         WHERE v.workflow = $1 AND v.version = coalesce($2, w.version)",
        &[id.into(), version.into()],
    )?;
    if rows.is_empty() {
        let version = version.unwrap_or_default();
        return Err(Error::missing(format!("workflow \"{name}\" has no version {version}"))
            .with_detail("automate.workflow_version lists the versions that there are.")
            .with_hint("Leave version out for the current one."));
    }
    Ok(rows)
}

/// A tag for dollar quotes that does not stand in the text.
fn tag(text: &str) -> String {
    let mut tag = "workflow".to_owned();
    let mut number = 0;
    while text.contains(&format!("${tag}$")) {
        number += 1;
        tag = format!("workflow{number}");
    }
    tag
}
