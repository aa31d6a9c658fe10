//! Pictures of workflows and runs: what they are drawn from is read here, as far as the caller may
//! see it.

use super::start;
use crate::error::{Error, Result};
use crate::noun::looked_for;
use crate::pg;
use crate::spi::{Own, as_extension};
use automate_core::workflow::draw::{self, Attempt, Bar, DrawError, Outline, Overlay, Seen};
use pgrx::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

/// Attempts that a page or a time line shows, the first ones.
const MAX_ATTEMPTS: i64 = 1_000;
/// Columns of the bars of a time line.
const WIDTHS: std::ops::RangeInclusive<i32> = 10..=200;

/// What is drawn.
pub enum Subject {
    Workflow(String, Option<i32>),
    Run(Uuid),
    Definition(Value),
}

/// The forms of a picture.
const FORMS: [&str; 4] = ["text", "mermaid", "svg", "html"];

/// All that a picture needs.
#[derive(Default)]
struct Drawing {
    title: String,
    definition: Value,
    overlay: Option<Overlay>,
    attempts: Vec<Attempt>,
    left_out: i64,
}

/// A picture of a definition or a run, in one of its forms.
pub fn draw(form: &str, subject: Subject, direction: &str) -> Result<String> {
    if !FORMS.contains(&form) {
        return Err(Error::unknown_word("unknown form of a picture", form, &FORMS));
    }
    if !["TB", "LR"].contains(&direction) {
        return Err(Error::unknown_word("unknown direction of a chart", direction, &["TB", "LR"]));
    }
    let user = pg::current_user();
    let drawing = match subject {
        Subject::Definition(definition) => Drawing { definition, ..Drawing::default() },
        Subject::Workflow(name, version) => {
            as_extension(|own| of_name(own, user, &name, version, form))?
        }
        Subject::Run(run) => as_extension(|own| of_run(own, user, run, form))?,
    };
    let outline = Outline::of(&drawing.definition, &drawing.title).map_err(refuse)?;
    let overlay = drawing.overlay.as_ref();
    Ok(match form {
        "text" => draw::text(&outline, overlay),
        "mermaid" => draw::mermaid(&outline, overlay, direction),
        "svg" => draw::svg(&outline, overlay),
        _ => {
            let (attempts, left_out) = (&drawing.attempts, drawing.left_out);
            draw::html(&outline, overlay, attempts, left_out, &drawing.definition)
        }
    })
}

fn refuse(error: DrawError) -> Error {
    Error::invalid(error.to_string())
        .with_detail("A picture shows the tasks in the member \"do\" of a definition.")
        .with_hint("SELECT * FROM automate.validate_workflow(definition) lists every problem with its place.")
}

/// A workflow's definition; a text that names none and is the id of a run means the run.
fn of_name(
    own: &Own,
    user: pg_sys::Oid,
    name: &str,
    version: Option<i32>,
    form: &str,
) -> Result<Drawing> {
    let found = match start::find(own, user, name) {
        Ok(found) => found,
        Err(error) => match Uuid::parse_str(name) {
            Ok(run) if error.is_missing() && version.is_none() => {
                return of_run(own, user, run, form);
            }
            _ => return Err(error),
        },
    };
    let workflow = pgrx::Uuid::from_bytes(*found.id.as_bytes());
    let version = version.unwrap_or(found.version);
    start::check_version(own, name, workflow, version)?;
    let title = format!("{name}, version {version}");
    Ok(Drawing { title, definition: definition(own, workflow, version)?, ..Drawing::default() })
}

fn definition(own: &Own, workflow: pgrx::Uuid, version: i32) -> Result<Value> {
    let text: Option<String> = own.one(
        "SELECT definition::text FROM automate.workflow_version WHERE workflow = $1 AND version = $2",
        &[workflow.into(), version.into()],
    )?;
    let Some(text) = text else {
        return Err(Error::missing("the definition of the run is not there any more")
            .with_detail("Its workflow has been dropped.")
            .with_hint("automate.run_timeline and automate.run_step still show its steps."));
    };
    serde_json::from_str(&text).map_err(|e| Error::Internal(e.to_string()))
}

fn of_run(own: &Own, user: pg_sys::Oid, run: Uuid, form: &str) -> Result<Drawing> {
    let head = head(own, user, run)?;
    let mut overlay = Overlay::new(run.to_string(), head.status, head.now_us, seen(own, run)?);
    (overlay.started_us, overlay.finished_us) = (head.started_us, head.finished_us);
    overlay.error = head.error;
    let (attempts, left_out) = match form {
        "html" => attempts(own, run)?,
        _ => (Vec::new(), 0),
    };
    Ok(Drawing {
        title: head.title,
        definition: definition(own, head.workflow, head.version)?,
        overlay: Some(overlay),
        attempts,
        left_out,
    })
}

/// A run as a picture's title has it; times in microseconds since 1970.
struct Head {
    title: String,
    workflow: pgrx::Uuid,
    version: i32,
    status: String,
    error: Option<String>,
    started_us: Option<i64>,
    finished_us: Option<i64>,
    now_us: i64,
}

/// A run that the caller may see.
fn head(own: &Own, user: pg_sys::Oid, run: Uuid) -> Result<Head> {
    let rows = own.run(
        "SELECT workflow, workflow_id, version, status, concat_ws(': ', error->>'title', error->>'detail'),
                (extract(epoch FROM started_at) * 1000000)::int8,
                (extract(epoch FROM finished_at) * 1000000)::int8,
                (extract(epoch FROM clock_timestamp()) * 1000000)::int8
         FROM automate.run
         WHERE id = $1 AND (pg_has_role($2, owner, 'USAGE')
                            OR has_function_privilege($2, 'automate.see_all()', 'EXECUTE'))",
        &[pgrx::Uuid::from_bytes(*run.as_bytes()).into(), user.into()],
    )?;
    let (Some(workflow), Some(version)) = (rows.get::<pgrx::Uuid>(0, 2), rows.get::<i32>(0, 3))
    else {
        return Err(Error::missing(format!("run {run} does not exist"))
            .with_detail(looked_for("the runs in automate.run", user))
            .with_hint("SELECT id, workflow, status FROM automate.run shows those there are."));
    };
    let name: String = rows.get(0, 1).unwrap_or_default();
    Ok(Head {
        title: format!("{name}, version {version}"),
        workflow,
        version,
        status: rows.get(0, 4).unwrap_or_default(),
        error: rows.get::<String>(0, 5).filter(|text| !text.is_empty()),
        started_us: rows.get(0, 6),
        finished_us: rows.get(0, 7),
        now_us: rows.get(0, 8).unwrap_or_default(),
    })
}

/// What the steps of each task came to: counted by PostgreSQL, since a loop has many.
fn seen(own: &Own, run: Uuid) -> Result<Vec<Seen>> {
    let rows = own.run(
        "SELECT regexp_replace(step, '([#@^][0-9]+)+$', ''),
                count(*) FILTER (WHERE status = 'completed'), count(*) FILTER (WHERE status = 'faulted'),
                count(*) FILTER (WHERE status = 'skipped'), count(*) FILTER (WHERE status = 'cancelled'),
                count(*) FILTER (WHERE status = 'running'), count(*) FILTER (WHERE status = 'waiting'),
                max(attempt), (extract(epoch FROM min(began)) * 1000000)::int8,
                (extract(epoch FROM max(finished_at)) * 1000000)::int8
         FROM (SELECT DISTINCT ON (step) step, status, attempt, finished_at,
                      min(started_at) OVER (PARTITION BY step) AS began
               FROM automate.run_step WHERE run = $1 ORDER BY step, attempt DESC) AS s
         GROUP BY 1",
        &[pgrx::Uuid::from_bytes(*run.as_bytes()).into()],
    )?;
    let count = |row, column| rows.get::<i64>(row, column).unwrap_or(0);
    Ok((0..rows.len())
        .map(|row| Seen {
            base: rows.get(row, 1).unwrap_or_default(),
            completed: count(row, 2),
            faulted: count(row, 3),
            skipped: count(row, 4),
            cancelled: count(row, 5),
            running: count(row, 6),
            waiting: count(row, 7),
            attempts: rows.get(row, 8).unwrap_or(1),
            started_us: count(row, 9),
            finished_us: rows.get(row, 10),
        })
        .collect())
}

/// The first attempts of a run's steps, and how many more there are.
fn attempts(own: &Own, run: Uuid) -> Result<(Vec<Attempt>, i64)> {
    let rows = own.run(
        "SELECT step, name, attempt, status, to_char(started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS') || ' UTC',
                (extract(epoch FROM coalesce(finished_at, clock_timestamp()) - started_at) * 1000000)::int8,
                jsonb_pretty(input), jsonb_pretty(output), jsonb_pretty(error), count(*) OVER ()
         FROM automate.run_step WHERE run = $1 ORDER BY started_at, step, attempt LIMIT $2",
        &[pgrx::Uuid::from_bytes(*run.as_bytes()).into(), MAX_ATTEMPTS.into()],
    )?;
    let found: Vec<Attempt> = (0..rows.len())
        .map(|row| Attempt {
            step: rows.get(row, 1).unwrap_or_default(),
            name: rows.get(row, 2).unwrap_or_default(),
            attempt: rows.get(row, 3).unwrap_or_default(),
            status: rows.get(row, 4).unwrap_or_default(),
            started: rows.get(row, 5).unwrap_or_default(),
            took_us: rows.get(row, 6).unwrap_or_default(),
            input: rows.get(row, 7),
            output: rows.get(row, 8),
            error: rows.get(row, 9),
        })
        .collect();
    let all = rows.get::<i64>(0, 10).unwrap_or(0);
    Ok((found, all - rows.len() as i64))
}

/// The attempts of a run's steps in the order of their starts.
fn time_line(own: &Own, run: Uuid) -> Result<Vec<Bar>> {
    let rows = own.run(
        "SELECT step, name, attempt, status, (extract(epoch FROM started_at) * 1000000)::int8,
                (extract(epoch FROM greatest(started_at, coalesce(finished_at, clock_timestamp()))) * 1000000)::int8
         FROM automate.run_step WHERE run = $1 ORDER BY started_at, step, attempt LIMIT $2",
        &[pgrx::Uuid::from_bytes(*run.as_bytes()).into(), MAX_ATTEMPTS.into()],
    )?;
    Ok((0..rows.len())
        .map(|row| Bar {
            step: rows.get(row, 1).unwrap_or_default(),
            name: rows.get(row, 2).unwrap_or_default(),
            attempt: rows.get(row, 3).unwrap_or_default(),
            status: rows.get(row, 4).unwrap_or_default(),
            started_us: rows.get(row, 5).unwrap_or_default(),
            ended_us: rows.get(row, 6).unwrap_or_default(),
        })
        .collect())
}

/// The rows of automate.run_timeline.
pub fn timeline(run: Uuid, width: i32) -> Result<Value> {
    if !WIDTHS.contains(&width) {
        let (least, most) = WIDTHS.into_inner();
        let meaning = "It counts the columns of the bars.";
        return Err(Error::out_of_range("width", width, least, most, meaning));
    }
    let user = pg::current_user();
    let found = as_extension(|own| {
        head(own, user, run)?;
        time_line(own, run)
    })?;
    let texts = draw::bars(&found, width as usize);
    let rows = found.iter().zip(texts).map(|(bar, text)| {
        json!({
            "step": bar.step,
            "name": bar.name,
            "attempt": bar.attempt,
            "status": bar.status,
            "started_us": bar.started_us,
            "took_us": bar.ended_us - bar.started_us,
            "bar": text,
        })
    });
    Ok(Value::Array(rows.collect()))
}

/// The same as a picture.
pub fn timeline_svg(run: Uuid) -> Result<String> {
    let user = pg::current_user();
    let (head, found) = as_extension(|own| Ok((head(own, user, run)?, time_line(own, run)?)))?;
    Ok(draw::timeline_svg(&format!("{}: {}", head.title, head.status), &found))
}
