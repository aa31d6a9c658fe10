//! Defining a task: everything that can be wrong with it is said now.

use super::when;
use crate::error::{Error, Result, shown, shown_json};
use crate::noun::{TASK, TEMPLATE, TRIGGER, WORKFLOW};
use crate::report;
use crate::spi::{Own, as_extension, statement};
use crate::worker::toplevel;
use crate::{access, wake};
use automate_core::object::kind;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use serde_json::{Value, json};
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

/// When a task runs.
struct Due {
    schedule: Value,
    zone: String,
    next: Option<TimestampWithTimeZone>,
    trigger: Option<Uuid>,
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
            let meaning = "It counts the attempts after the first one that fails.";
            return Err(Error::out_of_range("retries", self.retries, 0, 99, meaning));
        }
        let due = self.due(owner)?;
        let top_level = self.check_command()?;
        as_extension(|own| {
            self.check_target(own, owner)?;
            self.store(own, owner, &due, top_level)
        })
    }

    /// When it runs: by the clock, or when a trigger fires.
    fn due(&self, owner: pg_sys::Oid) -> Result<Due> {
        let zone = when::zone_name(self.time_zone.as_deref())?;
        if let Some(name) = when::trigger_name(&self.schedule)? {
            let trigger = as_extension(|own| TRIGGER.id(own, owner, &name))?;
            let schedule = json!({"on_trigger": name});
            return Ok(Due { schedule, zone, next: None, trigger: Some(trigger) });
        }
        let schedule = when::read(&self.schedule, &zone)?;
        let next = schedule.next(when::now()).ok_or_else(|| {
            Error::invalid(format!("schedule \"{}\" has no run to come", self.schedule.trim()))
                .with_detail(format!(
                    "Looked for after {} in time zone {zone}.",
                    when::now().to_rfc3339()
                ))
                .with_hint("automate.next_runs(schedule) shows when a schedule runs.")
        })?;
        let next = Some(when::to_datum(next)?);
        Ok(Due { schedule: schedule.to_json(), zone, next, trigger: None })
    }

    fn store(&self, own: &Own, owner: pg_sys::Oid, due: &Due, top_level: bool) -> Result<Uuid> {
        let id = Uuid::now_v7();
        let made = own.run(
            "INSERT INTO automate.task (id, name, description, owner, status, task_type, schedule, time_zone,
                    command, args, search_path, top_level, misfire, overlap, timeout_ms, retries, priority,
                    next_run_at, on_trigger, created_by)
             VALUES ($1, $2, $3, $4, CASE WHEN $5 THEN 'active' ELSE 'disabled' END, $6,
                    $7::pg_catalog.text::pg_catalog.jsonb, $8, $9, $10::pg_catalog.text::pg_catalog.jsonb,
                    $11, $12, $13, $14, $15, $16, $17, $18, $19, $4)
             ON CONFLICT (owner, name) DO NOTHING",
            &[
                pgrx::Uuid::from_bytes(*id.as_bytes()).into(),
                self.name.as_str().into(),
                self.description.as_deref().into(),
                owner.into(),
                self.enabled.into(),
                self.task_type.as_str().into(),
                due.schedule.to_string().into(),
                due.zone.as_str().into(),
                self.command.as_str().into(),
                self.args.to_string().into(),
                self.search_path.as_str().into(),
                top_level.into(),
                self.misfire.as_str().into(),
                self.overlap.as_str().into(),
                self.timeout_ms.into(),
                self.retries.into(),
                self.priority.into(),
                due.next.into(),
                due.trigger.map(|id| pgrx::Uuid::from_bytes(*id.as_bytes())).into(),
            ],
        )?;
        if made.processed == 0 {
            return Err(TASK.duplicate(owner, &self.name).with_hint(
                "Remove it with automate.unschedule_task first, or choose another name.",
            ));
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
                    Some(other) => return Err(params_wanted("params", other)),
                }
            }
            other => return Err(params_wanted("args", other)),
        };
        let top_level = toplevel::is_needed_checked("command", &self.command)
            .map_err(|e| e.or_detail(statement::beginning("command", &self.command)))?;
        if top_level && !params.is_empty() {
            return Err(statement::no_parameters("command", &self.command, params.len()));
        }
        if !top_level {
            let wanted = statement::check_and_count("command", &self.command)?;
            if wanted.is_some_and(|wanted| wanted != params.len()) {
                let (wanted, given) = (wanted.unwrap_or_default(), params.len());
                return Err(Error::invalid(format!(
                    "the command takes {wanted} parameters, but params has {given}"
                ))
                .with_detail(statement::beginning("command", &self.command))
                .with_hint("Give one value in params for each of $1, $2, ..."));
            }
        }
        Ok(top_level)
    }

    /// The workflow, report and template that it names are there.
    fn check_target(&self, own: &Own, owner: pg_sys::Oid) -> Result<()> {
        match self.task_type.as_str() {
            "workflow" => WORKFLOW.require(own, owner, &self.command),
            "report" => {
                report::find(own, owner, &self.command)?;
                match self.args.get("template").and_then(Value::as_str) {
                    Some(template) => TEMPLATE.require(own, owner, template),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

fn params_wanted(what: &str, found: &Value) -> Error {
    Error::invalid("args of a task of type sql must be {\"params\": [...]}")
        .with_detail(format!("The value of {what} is {}.", kind(found)))
        .with_hint("The members of params fill $1, $2, ...: '{\"params\": [42, \"Zurich\"]}'.")
}

fn one_of(what: &str, value: &str, known: &[&str]) -> Result<()> {
    if known.contains(&value) {
        return Ok(());
    }
    Err(Error::unknown_word(format!("{what} cannot be {}", shown(value)), value, known))
}

fn known_keys(map: &serde_json::Map<String, Value>, known: &[&str]) -> Result<()> {
    match map.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => {
            Err(Error::unknown_word(format!("unknown key {} in args", shown(key)), key, known))
        }
    }
}

/// `{"params", "formats", "template", "recipients"}`, the last two together.
fn check_report_args(args: &Value) -> Result<()> {
    let Value::Object(map) = args else {
        return Err(Error::invalid("args of a task of type report must be a JSON object")
            .with_detail(format!("The value of args is {}.", kind(args)))
            .with_hint("Write for example {\"params\": {}, \"formats\": [\"html\"]}."));
    };
    known_keys(map, &["params", "formats", "template", "recipients"])?;
    if let Some(params) = map.get("params").filter(|params| !params.is_object()) {
        return Err(Error::invalid("params of a report must be a JSON object")
            .with_detail(format!("The value of params in args is {}.", kind(params)))
            .with_hint("Write for example {\"params\": {\"from\": \"2026-01-31\"}}."));
    }
    let strings = |key: &str| -> Result<Option<Vec<String>>> {
        let Some(value) = map.get(key) else { return Ok(None) };
        let texts: Option<Vec<String>> = value
            .as_array()
            .and_then(|a| a.iter().map(|v| v.as_str().map(str::to_string)).collect());
        texts.map(Some).ok_or_else(|| {
            Error::invalid(format!("{key} must be an array of strings"))
                .with_detail(format!("The value of {key} in args is {}.", shown_json(value)))
                .with_hint(format!("Write for example {{\"{key}\": [\"...\"]}}."))
        })
    };
    if let Some(formats) = strings("formats")? {
        report::read_formats(&formats)?;
    }
    let recipients = strings("recipients")?.unwrap_or_default();
    match map.get("template") {
        None if recipients.is_empty() => Ok(()),
        None => Err(Error::invalid("a report that is sent needs a template")
            .with_detail("There are \"recipients\" in args, but no \"template\".")
            .with_hint(
                "Make one with automate.create_template, and name it as \"template\" beside \"recipients\".",
            )),
        Some(Value::String(_)) if !recipients.is_empty() => Ok(()),
        Some(Value::String(_)) => Err(Error::invalid("a report that is sent needs recipients")
            .with_detail("There is a \"template\" in args, but no \"recipients\".")
            .with_hint("Write for example \"recipients\": [\"mail:ops@example.com\"].")),
        Some(other) => Err(Error::invalid("template must be a string")
            .with_detail(format!("The value of template in args is {}.", kind(other)))
            .with_hint("Name a template that automate.create_template has made.")),
    }
}
