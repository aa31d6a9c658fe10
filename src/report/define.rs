//! Defining a report: its SQL is planned and its layout checked with the rights of its owner.

use super::read::{param_kind, types_of};
use crate::error::{Error, Result};
use crate::noun::REPORT;
use crate::spi::{as_extension, query};
use crate::{access, pg};
use automate_core::report::Definition;
use serde_json::Value;
use uuid::Uuid;

/// Defines a report or its next version; returns the version.
pub fn create(name: &str, definition: &Value, description: Option<&str>) -> Result<i32> {
    let owner = access::require_owner()?;
    access::check_name("report", name)?;
    let parsed = automate_core::report::parse(definition)
        .map_err(|problems| Error::problems("definition", &problems, REPORT.help))?;
    check_sql(&parsed)?;
    let path = pg::search_path();
    let id = pgrx::Uuid::from_bytes(*Uuid::now_v7().as_bytes());
    as_extension(|own| {
        let rows = own.run(
            "INSERT INTO automate.report AS r (id, name, description, owner, created_by) VALUES ($1, $2, $3, $4, $4)
             ON CONFLICT (owner, name) DO UPDATE
             SET version = r.version + 1, description = coalesce($3, r.description), updated_at = now()
             RETURNING id, version",
            &[id.into(), name.into(), description.into(), owner.into()],
        )?;
        let (id, version) = (rows.get::<pgrx::Uuid>(0, 1), rows.get::<i32>(0, 2).unwrap_or(1));
        own.run(
            "INSERT INTO automate.report_version (report, version, owner, definition, search_path, created_by)
             VALUES ($1, $2, $3, $4::pg_catalog.text::pg_catalog.jsonb, $5, $3)",
            &[id.into(), version.into(), owner.into(), definition.to_string().into(), path.into()],
        )?;
        Ok(version)
    })
}

/// Plans each default and dataset, and compares the layout with the datasets' columns.
fn check_sql(definition: &Definition) -> Result<()> {
    for param in &definition.params {
        if let Some(default) = &param.default {
            let what = format!("default of parameter \"{}\"", param.name);
            let text = default_query(&default.sql, param_kind(param).0);
            query::describe(&what, &text, &types_of(definition, &default.param_names))?;
        }
    }
    let mut problems = Vec::new();
    for dataset in &definition.datasets {
        let what = format!("dataset \"{}\"", dataset.name);
        let types = types_of(definition, &dataset.param_names);
        let columns = query::describe(&what, &dataset.sql, &types)?;
        let names: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
        problems.extend(definition.check_columns(&dataset.name, &names));
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Error::problems("definition", &problems, REPORT.help)),
    }
}

/// The query that computes a default. The expression has a line of its own, as it may end in a comment.
pub fn default_query(expression: &str, sql_type: &str) -> String {
    format!("SELECT CAST((\n{expression}\n) AS {sql_type})")
}

/// Removes a report and its versions.
pub fn drop(name: &str) -> Result<()> {
    let user = pg::current_user();
    as_extension(|own| {
        let found = super::find(own, user, name)?;
        own.run(
            "WITH gone AS (DELETE FROM automate.report_version WHERE report = $1)
             DELETE FROM automate.report WHERE id = $1",
            &[found.id.into()],
        )?;
        Ok(())
    })
}
