//! Reports: definitions (`define`), runs in the background (`run`), and reading their datasets in
//! one snapshot (`read`). What is rendered, and how, is the core's affair.

pub mod define;
pub mod read;
pub mod run;

pub use run::{Start, perform, start};

use crate::error::{Error, Result, shown};
use crate::noun::REPORT;
use crate::spi::Own;
use automate_core::report::{Definition, Format, RenderError};
use pgrx::prelude::*;
use serde_json::Value;

/// A report as it is defined now.
pub struct Found {
    pub id: pgrx::Uuid,
    pub owner: pg_sys::Oid,
    pub version: i32,
    pub definition: Definition,
    pub search_path: String,
}

/// The report of that name that the role owns, or that a role owns whose privileges it has.
pub fn find(own: &Own, user: pg_sys::Oid, name: &str) -> Result<Found> {
    let rows = own.run(
        "SELECT r.id, r.owner::oid, r.version, v.definition::pg_catalog.text, v.search_path
         FROM automate.report AS r
         JOIN automate.report_version AS v ON v.report = r.id AND v.version = r.version
         WHERE r.name = $2 AND (r.owner = $1 OR pg_has_role($1, r.owner, 'USAGE'))
         ORDER BY r.owner <> $1, r.owner LIMIT 1",
        &[user.into(), name.into()],
    )?;
    if let (Some(id), Some(owner)) = (rows.get(0, 1), rows.get(0, 2)) {
        return Ok(Found {
            id,
            owner,
            version: rows.get(0, 3).unwrap_or(1),
            definition: read_kept(&rows.get::<String>(0, 4).unwrap_or_default())?,
            search_path: rows.get(0, 5).unwrap_or_default(),
        });
    }
    Err(REPORT.missing(own, user, name))
}

/// Reads a definition as we keep it.
fn read_kept(text: &str) -> Result<Definition> {
    let value: Value =
        serde_json::from_str(text).map_err(|e| Error::Internal(format!("kept report: {e}")))?;
    automate_core::report::parse(&value).map_err(|p| Error::problems("definition", &p, REPORT.help))
}

/// Formats by their names, each once.
pub fn read_formats(names: &[String]) -> Result<Vec<Format>> {
    if names.is_empty() {
        return Err(Error::invalid("formats must not be empty")
            .with_detail("The array of formats has no members.")
            .with_hint(format!("Known here: {}.", Format::NAMES.join(", "))));
    }
    let mut formats = Vec::new();
    for name in names {
        let format = Format::parse(name).map_err(|_| {
            let message = format!("format {} is not supported", shown(name));
            Error::unknown_word(message, name, &Format::NAMES)
        })?;
        if !formats.contains(&format) {
            formats.push(format);
        }
    }
    Ok(formats)
}

impl From<RenderError> for Error {
    fn from(error: RenderError) -> Error {
        let hint = error.hint();
        Error::invalid(error.to_string())
            .with_detail("The rows were read, and could not be put into the layout.")
            .with_hint(hint.unwrap_or_else(|| REPORT.help.into()))
    }
}

/// Forgets runs and their files after so many seconds; runs whose job was given up have failed.
pub fn forget(own: &Own, retention_s: i64) -> Result<()> {
    own.run(
        "UPDATE automate.report_run AS r SET status = 'failed', error = h.error, finished_at = h.finished_at
         FROM automate.job_history AS h
         WHERE r.status = 'pending' AND h.id = r.job AND h.status <> 'succeeded'",
        &[],
    )?;
    own.run(
        "WITH gone AS (DELETE FROM automate.report_run
                       WHERE created_at < now() - $1 * interval '1 second' AND status <> 'pending' RETURNING id)
         DELETE FROM automate.report_file USING gone WHERE run = gone.id",
        &[retention_s.into()],
    )?;
    Ok(())
}
