//! Runs of reports: in the background with files and delivery, or at once.

use super::read::{self, Reading};
use super::{find, read_formats, read_kept};
use crate::error::{Error, Result};
use crate::notify::{self, Attachment, Notification};
use crate::noun::looked_for;
use crate::queue::finish::{Outcome, may_retry};
use crate::queue::{Job, Lane, NewJob};
use crate::spi::{Own, as_extension, step};
use crate::task::away;
use crate::{access, pg, workflow};
use automate_core::report::{Definition, Format, OnEmpty, render};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

/// Largest part of a file in one row.
const PART: usize = 1024 * 1024;
/// Most bytes of the text rendering that the message's template is given.
const MAX_TEXT: usize = 64 * 1024;

/// What is to be rendered, and perhaps sent.
pub struct Start<'a> {
    pub owner: pg_sys::Oid,
    pub name: &'a str,
    pub params: &'a Value,
    pub formats: Option<&'a [String]>,
    /// `{"template": ..., "recipients": [...]}`: where the files go once they are rendered.
    pub deliver: Option<&'a Value>,
    pub source: Option<&'a str>,
    /// `{"run": ..., "step": ...}`: the step of a workflow's run that waits for its end.
    pub asker: Option<&'a Value>,
}

/// Queues a run of a report in the current transaction; returns its id. It runs in a session of
/// the report's owner.
pub fn start(start: &Start) -> Result<Uuid> {
    let found = as_extension(|own| find(own, start.owner, start.name))?;
    if !access::can_log_in(found.owner) {
        return Err(Error::refused(
            PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
            format!("the owner of report \"{}\" is not permitted to log in", start.name),
        )
        .with_detail(format!("It is the role with OID {}.", found.owner.to_u32()))
        .with_hint("Reports are rendered in a session of their owner: ALTER ROLE ... LOGIN."));
    }
    read::check_params(&found.definition, start.params)?;
    let formats = match start.formats {
        Some(names) => read_formats(names)?,
        None => found.definition.formats.clone(),
    };
    let formats: Vec<&str> = formats.into_iter().map(Format::name).collect();
    let id = Uuid::now_v7();
    let mut payload = json!({ "run": id });
    if let Some(asker) = start.asker {
        payload["asker"] = asker.clone();
    }
    as_extension(|own| {
        let job = NewJob {
            source: start.source,
            search_path: Some(&found.search_path),
            ..NewJob::new("report", found.owner, Lane::Sql, &payload)
        }
        .put(own)?;
        own.run(
            "INSERT INTO automate.report_run (id, report, report_id, version, owner, params, formats, deliver, job, source)
             VALUES ($1, $2, $3, $4, $5, $6::pg_catalog.text::pg_catalog.jsonb, $7,
                     $8::pg_catalog.text::pg_catalog.jsonb, $9, $10)",
            &[
                uuid(id).into(),
                start.name.into(),
                found.id.into(),
                found.version.into(),
                found.owner.into(),
                start.params.to_string().into(),
                formats.into(),
                start.deliver.map(Value::to_string).into(),
                uuid(job).into(),
                start.source.into(),
            ],
        )?;
        Ok(id)
    })
}

fn uuid(id: Uuid) -> pgrx::Uuid {
    pgrx::Uuid::from_bytes(*id.as_bytes())
}

/// Renders at once, with the rights of the report's owner, whose privileges the caller must have.
pub fn at_once(name: &str, params: &Value, format: Format) -> Result<String> {
    let user = pg::current_user();
    let found = as_extension(|own| find(own, user, name))?;
    read::check_params(&found.definition, params)?;
    let reading = read::read(&found.definition, found.owner, &found.search_path, params)?;
    let bytes = render(&found.definition, &reading.data, format)?;
    String::from_utf8(bytes).map_err(|e| Error::Internal(e.to_string()))
}

/// A run that is to be rendered.
struct Run {
    id: pgrx::Uuid,
    report: String,
    owner: pg_sys::Oid,
    definition: Definition,
    search_path: String,
    params: Value,
    formats: Vec<Format>,
    deliver: Option<Value>,
    source: Option<String>,
}

/// Renders, in a session of the owner.
pub fn perform(job: &Job) -> Result<Outcome> {
    let started_us = pg::now();
    let id = job.payload["run"].as_str().and_then(|id| Uuid::parse_str(id).ok());
    let id = id.ok_or_else(|| Error::Internal("a report job names no run".into()))?;
    let done = step::in_subtransaction(|| {
        load(id).and_then(|run| work(&run, started_us)).unwrap_or_else(|e| e.raise())
    });
    match done {
        Ok(rows) => {
            as_extension(|own| {
                workflow::report_ended(
                    own,
                    &job.payload,
                    Ok(json!({ "report_run": id, "rows": rows })),
                )?;
                away::ended(own, &[id])
            })?;
            Ok(Outcome::Succeeded(json!({ "report_run": id, "rows": rows })))
        }
        Err(failure) => {
            // Stays so unless another attempt succeeds.
            as_extension(|own| {
                own.run(
                    "UPDATE automate.report_run SET status = 'failed', error = $2, started_at = $3,
                            finished_at = clock_timestamp() WHERE id = $1",
                    &[uuid(id).into(), failure.text().into(), instant(started_us)?.into()],
                )?;
                if may_retry(job, &failure) {
                    return Ok(());
                }
                workflow::report_ended(own, &job.payload, Err(&failure))?;
                away::ended(own, &[id])
            })?;
            Ok(Outcome::Failed(failure))
        }
    }
}

fn instant(us: i64) -> Result<TimestampWithTimeZone> {
    TimestampWithTimeZone::try_from(us).map_err(|e| Error::Internal(format!("{e:?}")))
}

fn load(id: Uuid) -> Result<Run> {
    as_extension(|own| {
        let rows = own.run(
            "SELECT r.report, r.owner::oid, v.definition::pg_catalog.text, v.search_path,
                    r.params::pg_catalog.text, r.formats, r.deliver::pg_catalog.text, r.source
             FROM automate.report_run AS r
             LEFT JOIN automate.report_version AS v ON v.report = r.report_id AND v.version = r.version
             WHERE r.id = $1",
            &[uuid(id).into()],
        )?;
        let Some(report) = rows.get::<String>(0, 1) else {
            return Err(Error::missing(format!("report run {id} is not in automate.report_run"))
                .with_detail("It was removed before it was rendered.")
                .with_hint("Run the report anew with automate.run_report."));
        };
        let Some(definition) = rows.get::<String>(0, 3) else {
            return Err(Error::missing(format!(
                "report \"{report}\" was dropped before it was rendered"
            ))
            .with_detail(format!("The run is {id}."))
            .with_hint("Define it with automate.create_report and run it anew."));
        };
        let json = |column| -> Result<Option<Value>> {
            let text: Option<String> = rows.get(0, column);
            text.map(|text| serde_json::from_str(&text))
                .transpose()
                .map_err(|e| Error::Internal(e.to_string()))
        };
        Ok(Run {
            id: uuid(id),
            owner: rows.get(0, 2).ok_or_else(|| Error::Internal("run without owner".into()))?,
            definition: read_kept(&definition)?,
            search_path: rows.get(0, 4).unwrap_or_default(),
            params: json(5)?.unwrap_or(json!({})),
            formats: read_formats(&rows.get::<Vec<String>>(0, 6).unwrap_or_default())?,
            deliver: json(7)?,
            source: rows.get(0, 8),
            report,
        })
    })
}

/// Reads, renders, stores and sends; returns the number of rows.
fn work(run: &Run, started_us: i64) -> Result<i64> {
    let reading = read::read(&run.definition, run.owner, &run.search_path, &run.params)?;
    let mut files = Vec::with_capacity(run.formats.len());
    for format in &run.formats {
        files.push((*format, render(&run.definition, &reading.data, *format)?));
    }
    as_extension(|own| {
        for (format, bytes) in &files {
            store(own, run, *format, bytes)?;
        }
        Ok(())
    })?;
    let notification = deliver(run, &reading, files)?;
    as_extension(|own| {
        own.run(
            "UPDATE automate.report_run SET status = 'completed', error = NULL, rows = $2, notification = $3,
                    as_of = $4, params = $5::pg_catalog.text::pg_catalog.jsonb, started_at = $6,
                    finished_at = clock_timestamp() WHERE id = $1",
            &[
                run.id.into(),
                reading.rows.into(),
                notification.map(uuid).into(),
                instant(reading.as_of_us)?.into(),
                reading.data.params.to_string().into(),
                instant(started_us)?.into(),
            ],
        )
    })?;
    Ok(reading.rows)
}

fn store(own: &Own, run: &Run, format: Format, bytes: &[u8]) -> Result<()> {
    // An empty file is a file too.
    let parts = if bytes.is_empty() { vec![bytes] } else { bytes.chunks(PART).collect() };
    for (number, part) in parts.into_iter().enumerate() {
        own.run(
            "INSERT INTO automate.report_file (run, format, part, owner, bytes) VALUES ($1, $2, $3, $4, $5)",
            &[
                run.id.into(),
                format.name().into(),
                (number as i32).into(),
                run.owner.into(),
                part.into(),
            ],
        )?;
    }
    Ok(())
}

/// Sends the files to whom they were asked for; None when they are to stay here.
fn deliver(run: &Run, reading: &Reading, files: Vec<(Format, Vec<u8>)>) -> Result<Option<Uuid>> {
    let Some(deliver) = &run.deliver else { return Ok(None) };
    if run.definition.on_empty == OnEmpty::Skip && reading.data.is_empty(&run.definition) {
        return Ok(None);
    }
    let data = &reading.data;
    let mut text = String::from_utf8(render(&run.definition, data, Format::Text)?)
        .map_err(|e| Error::Internal(e.to_string()))?;
    if text.len() > MAX_TEXT {
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        text.push_str("\n... the rest is in the attachment\n");
    }
    let day = data.as_of.get(..10).unwrap_or_default();
    let stem: String = (run.report.chars())
        .map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' })
        .collect();
    let attachments: Vec<Attachment> = files
        .into_iter()
        .map(|(format, bytes)| Attachment {
            name: format!("{stem}-{day}.{}", format.extension()),
            mime: format.media_type().to_string(),
            bytes,
        })
        .collect();
    let recipients: Vec<String> = (deliver["recipients"].as_array().into_iter().flatten())
        .filter_map(Value::as_str)
        .map(str::to_string)
        .collect();
    let content = json!({ "report": run.report, "title": run.definition.title.fill(data),
        "as_of": data.as_of, "params": data.params, "rows": reading.rows, "text": text });
    let source = format!("report:{}", run.report);
    notify::notify(&Notification {
        owner: run.owner,
        template: deliver["template"].as_str().unwrap_or_default(),
        recipients: &recipients,
        data: &content,
        attachments: &attachments,
        priority: 100,
        source: Some(run.source.as_deref().unwrap_or(&source)),
    })
    .map(Some)
}

/// The file of a run, for a role that has the owner's privileges.
pub fn file(id: Uuid, format: &str) -> Result<Vec<u8>> {
    let user = pg::current_user();
    let format = read_formats(&[format.to_string()])?[0];
    as_extension(|own| {
        let rows = own.run(
            "SELECT status, error, formats FROM automate.report_run
             WHERE id = $1 AND pg_has_role($2, owner, 'USAGE')",
            &[uuid(id).into(), user.into()],
        )?;
        let Some(status) = rows.get::<String>(0, 1) else {
            return Err(Error::missing(format!("report run {id} does not exist"))
                .with_detail(looked_for("the runs in automate.report_run", user))
                .with_hint("Runs are kept for automate.history_retention, then run it anew."));
        };
        if status != "completed" {
            let error = Error::refused(
                PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("report run {id} is not completed but {status}"),
            );
            return Err(match rows.get::<String>(0, 2) {
                Some(reason) => error
                    .with_detail(format!("It ended with {}.", reason.lines().next().unwrap_or("")))
                    .with_hint(
                        "See error in automate.report_run, and run it anew when it is mended.",
                    ),
                None => error
                    .with_detail("Its files are made in the background.")
                    .with_hint("Wait until its status in automate.report_run is completed."),
            });
        }
        let bytes: Option<Vec<u8>> = own.one(
            "SELECT string_agg(bytes, ''::pg_catalog.bytea ORDER BY part) FROM automate.report_file
             WHERE run = $1 AND format = $2",
            &[uuid(id).into(), format.name().into()],
        )?;
        bytes.ok_or_else(|| {
            let made = rows.get::<Vec<String>>(0, 3).unwrap_or_default().join(", ");
            Error::missing(format!("report run {id} has no file of format \"{}\"", format.name()))
                .with_detail(format!("It was rendered as {made}."))
                .with_hint(format!("Take {made}, or run it anew with this format in formats."))
        })
    })
}
