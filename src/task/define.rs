//! Defining a task: everything that can be wrong with it is said now.

use super::when;
use crate::error::{Error, Result};
use crate::report;
use crate::spi::{Own, as_extension, statement};
use crate::worker::toplevel;
use crate::{access, wake};
use automate_core::suggest;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use serde_json::Value;
use uuid::Uuid;

const TYPES: [&str; 3] = ["sql", "workflow", "report"];

/// A task to be.
pub struct NewTask {
    pub name: String,
    pub task_type: String,
    pub schedule: String,
    pub command: String,
    pub args: Value,
    pub time_zone: Option<String>,
    pub misfire: String,
    pub overlap: String,
    pub timeout_ms: Option<i32>,
    pub retries: i32,
    pub priority: i32,
    pub enabled: bool,
    pub description: Option<String>,
    /// The one in force where it is defined.
    pub search_path: String,
}

impl NewTask {
    /// Checks and stores it; returns its id.
    pub fn create(&self) -> Result<Uuid> {
        let owner = access::require_owner()?;
        access::check_name("task", &self.name)?;
        one_of("task_type", &self.task_type, &TYPES)?;
        one_of("misfire", &self.misfire, &["once", "skip"])?;
        one_of("overlap", &self.overlap, &["skip", "allow"])?;
        if !(0..100).contains(&self.retries) {
            return Err(Error::invalid(format!("retries must be 0 to 99, not {}", self.retries)));
        }
        let zone = when::zone_name(self.time_zone.as_deref())?;
        let schedule = when::read(&self.schedule, &zone)?;
        let next = schedule.next(when::now()).ok_or_else(|| {
            Error::invalid(format!("schedule \"{}\" has no run to come", self.schedule.trim()))
                .with_hint("automate.next_runs(schedule) shows when a schedule runs.")
        })?;
        let next = when::to_datum(next)?;
        let top_level = self.check_command()?;
        as_extension(|own| {
            self.check_target(own, owner)?;
            self.store(own, owner, &schedule.to_json(), &zone, top_level, next)
        })
    }

    fn store(
        &self,
        own: &Own,
        owner: pg_sys::Oid,
        schedule: &Value,
        zone: &str,
        top_level: bool,
        next: TimestampWithTimeZone,
    ) -> Result<Uuid> {
        let id = Uuid::now_v7();
        let made = own.run(
            "INSERT INTO automate.task (id, name, description, owner, status, task_type, schedule, time_zone,
                    command, args, search_path, top_level, misfire, overlap, timeout_ms, retries, priority,
                    next_run_at, created_by)
             VALUES ($1, $2, $3, $4, CASE WHEN $5 THEN 'active' ELSE 'disabled' END, $6,
                    $7::pg_catalog.text::pg_catalog.jsonb, $8, $9, $10::pg_catalog.text::pg_catalog.jsonb,
                    $11, $12, $13, $14, $15, $16, $17, $18, $4)
             ON CONFLICT (owner, name) DO NOTHING",
            &[
                pgrx::Uuid::from_bytes(*id.as_bytes()).into(),
                self.name.as_str().into(),
                self.description.as_deref().into(),
                owner.into(),
                self.enabled.into(),
                self.task_type.as_str().into(),
                schedule.to_string().into(),
                zone.into(),
                self.command.as_str().into(),
                self.args.to_string().into(),
                self.search_path.as_str().into(),
                top_level.into(),
                self.misfire.as_str().into(),
                self.overlap.as_str().into(),
                self.timeout_ms.into(),
                self.retries.into(),
                self.priority.into(),
                next.into(),
            ],
        )?;
        if made.processed == 0 {
            return Err(Error::refused(
                PgSqlErrorCode::ERRCODE_DUPLICATE_OBJECT,
                format!("task \"{}\" already exists", self.name),
            )
            .with_hint("Remove it with automate.unschedule_task first, or choose another name."));
        }
        wake::arm_coordinator();
        Ok(id)
    }

    /// What can be checked as the owner; true when the statement must run at top level.
    fn check_command(&self) -> Result<bool> {
        match self.task_type.as_str() {
            "sql" => self.check_sql(),
            "report" => check_report_args(&self.args).map(|()| false),
            _ => Ok(false),
        }
    }

    fn check_sql(&self) -> Result<bool> {
        let params = match &self.args {
            Value::Array(items) => items.as_slice(),
            Value::Object(map) => {
                known_keys(map, &["params"])?;
                match map.get("params") {
                    None => &[],
                    Some(Value::Array(items)) => items.as_slice(),
                    Some(_) => return Err(params_wanted()),
                }
            }
            _ => return Err(params_wanted()),
        };
        let top_level = toplevel::is_needed_checked("command", &self.command)?;
        if top_level && !params.is_empty() {
            return Err(Error::invalid("a statement that runs at top level takes no parameters")
                .with_hint("Write the values into the statement, with format() and %L."));
        }
        if !top_level {
            let wanted = statement::check_and_count("command", &self.command)?;
            if wanted.is_some_and(|wanted| wanted != params.len()) {
                let (wanted, given) = (wanted.unwrap_or_default(), params.len());
                return Err(Error::invalid(format!(
                    "the command takes {wanted} parameters, but params has {given}"
                ))
                .with_hint("Give one value in params for each of $1, $2, ..."));
            }
        }
        Ok(top_level)
    }

    /// The workflow, report and template that it names are there.
    fn check_target(&self, own: &Own, owner: pg_sys::Oid) -> Result<()> {
        match self.task_type.as_str() {
            "workflow" => require_workflow(own, owner, &self.command),
            "report" => {
                report::find(own, owner, &self.command)?;
                match self.args.get("template").and_then(Value::as_str) {
                    Some(template) => require_template(own, owner, template),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

fn params_wanted() -> Error {
    Error::invalid("args of a task of type sql must be {\"params\": [...]}")
        .with_hint("The members of params fill $1, $2, ...: '{\"params\": [42, \"Zurich\"]}'.")
}

fn one_of(what: &str, value: &str, known: &[&str]) -> Result<()> {
    if known.contains(&value) {
        return Ok(());
    }
    Err(Error::invalid(format!("{what} cannot be \"{value}\""))
        .with_hint(suggest::hint(value, known)))
}

fn known_keys(map: &serde_json::Map<String, Value>, known: &[&str]) -> Result<()> {
    match map.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(Error::invalid(format!("unknown key \"{key}\" in args"))
            .with_hint(suggest::hint(key, known))),
    }
}

/// `{"params", "formats", "template", "recipients"}`, the last two together.
fn check_report_args(args: &Value) -> Result<()> {
    let Value::Object(map) = args else {
        return Err(Error::invalid("args of a task of type report must be a JSON object")
            .with_hint("Write for example {\"params\": {}, \"formats\": [\"html\"]}."));
    };
    known_keys(map, &["params", "formats", "template", "recipients"])?;
    if map.get("params").is_some_and(|params| !params.is_object()) {
        return Err(Error::invalid("params of a report must be a JSON object"));
    }
    let strings = |key: &str| -> Result<Option<Vec<String>>> {
        let Some(value) = map.get(key) else { return Ok(None) };
        let texts: Option<Vec<String>> = value
            .as_array()
            .and_then(|a| a.iter().map(|v| v.as_str().map(str::to_string)).collect());
        texts.map(Some).ok_or_else(|| Error::invalid(format!("{key} must be an array of strings")))
    };
    if let Some(formats) = strings("formats")? {
        report::read_formats(&formats)?;
    }
    let recipients = strings("recipients")?.unwrap_or_default();
    match map.get("template") {
        None if recipients.is_empty() => Ok(()),
        None => Err(Error::invalid("a report that is sent needs a template").with_hint(
            "Make one with automate.create_template, and name it as \"template\" beside \"recipients\".",
        )),
        Some(Value::String(_)) if !recipients.is_empty() => Ok(()),
        Some(Value::String(_)) => Err(Error::invalid("a report that is sent needs recipients")
            .with_hint("Write for example \"recipients\": [\"mail:ops@example.com\"].")),
        Some(_) => Err(Error::invalid("template must be a string")),
    }
}

fn require_workflow(own: &Own, owner: pg_sys::Oid, name: &str) -> Result<()> {
    let rows = own.run(
        "SELECT name, name = $2 FROM automate.workflow
         WHERE owner = $1 OR pg_has_role($1, owner, 'USAGE') ORDER BY 2 DESC LIMIT 1000",
        &[owner.into(), name.into()],
    )?;
    require_among("workflow", name, "automate.create_workflow", &rows)
}

fn require_template(own: &Own, owner: pg_sys::Oid, name: &str) -> Result<()> {
    let rows = own.run(
        "SELECT name, name = $2 FROM automate.template
         WHERE owner = $1 OR pg_has_role($1, owner, 'USAGE') ORDER BY 2 DESC LIMIT 1000",
        &[owner.into(), name.into()],
    )?;
    require_among("template", name, "automate.create_template", &rows)
}

/// The rows are (name, is it the one), the one first.
fn require_among(what: &str, name: &str, maker: &str, rows: &crate::spi::own::Rows) -> Result<()> {
    if rows.get::<bool>(0, 2) == Some(true) {
        return Ok(());
    }
    let names: Vec<String> = (0..rows.len()).filter_map(|i| rows.get(i, 1)).collect();
    Err(access::no_such(what, name, &names, maker))
}
