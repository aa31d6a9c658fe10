//! What a task does, by its type: what can be wrong with it is said when it is defined.

use super::define::NewTask;
use crate::error::{Error, Result, shown, shown_json};
use crate::noun::{TEMPLATE, WORKFLOW};
use crate::report;
use crate::spi::{Own, statement};
use crate::worker::toplevel;
use automate_core::object::kind;
use pgrx::prelude::*;
use serde_json::Value;

/// The types there are.
pub(super) const TYPES: [&str; 3] = ["sql", "workflow", "report"];

impl NewTask {
    /// What can be checked as the owner; true when the statement must run at top level.
    pub(super) fn check_command(&self) -> Result<bool> {
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
    pub(super) fn check_target(&self, own: &Own, owner: pg_sys::Oid) -> Result<()> {
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
