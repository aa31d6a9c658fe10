//! What a task does, by its type: what can be wrong with it is said when it is defined.

use super::define::NewTask;
use super::routine::{self, Verb};
use super::{arguments, request, toplevel};
use crate::error::{Error, Result, shown, shown_json};
use crate::notify::{address, channel};
use crate::noun::{TEMPLATE, WORKFLOW};
use crate::report;
use crate::spi::{Own, script, statement};
use crate::worker::toplevel::is_needed_checked;
use automate_core::object::kind;
use pgrx::prelude::*;
use serde_json::{Map, Value};

/// The types there are.
pub(super) const TYPES: [&str; 7] =
    ["sql", "procedure", "function", "workflow", "report", "notification", "http"];

impl NewTask {
    /// What can be checked as the owner; true when the statement must run at top level.
    pub(super) fn check_command(&self) -> Result<bool> {
        arguments::check(&self.args)?;
        let (command, args) = (self.command.as_str(), &self.args);
        match self.task_type.as_str() {
            "sql" => return self.check_sql(),
            "procedure" => return toplevel::check(command, args).map(|()| true),
            "function" => routine::check(command, args, Verb::Select)?,
            "report" => check_report_args(args)?,
            "notification" => check_notification_args(args)?,
            "http" => request::check(command, args)?,
            _ => {}
        }
        Ok(false)
    }

    fn check_sql(&self) -> Result<bool> {
        if self.command.contains("${") {
            return Err(Error::invalid("there are no ${ } expressions in a statement")
                .with_detail(statement::beginning("command", &self.command))
                .with_hint("Write $1, $2, ... in the command, and the expressions, or a text that has ${ in it, in args: {\"params\": [\"${ .scheduled_at }\"]}."));
        }
        let params = self.sql_params()?;
        let top_level = is_needed_checked("command", &self.command)
            .map_err(|e| e.or_detail(statement::beginning("command", &self.command)))?;
        if top_level {
            return match params {
                Some(0) => Ok(true),
                given => {
                    let given = given.unwrap_or(1);
                    Err(statement::no_parameters("command", &self.command, given))
                }
            };
        }
        let wanted = script::check("command", &self.command)?;
        let wrong = |given: usize| wanted.most > given || wanted.exact && wanted.most < given;
        if let Some(given) = params.filter(|given| wrong(*given)) {
            let wanted = wanted.most;
            return Err(Error::invalid(format!(
                "the command takes {wanted} parameters, but params has {given}"
            ))
            .with_detail(statement::beginning("command", &self.command))
            .with_hint("Give one value in params for each of $1, $2, ..."));
        }
        Ok(false)
    }

    /// How many parameters are given; None when an expression makes them.
    fn sql_params(&self) -> Result<Option<usize>> {
        match &self.args {
            Value::Array(items) => Ok(Some(items.len())),
            Value::Object(map) => {
                known_keys(map, &["params"])?;
                match map.get("params") {
                    None => Ok(Some(0)),
                    Some(Value::Array(items)) => Ok(Some(items.len())),
                    Some(made) if arguments::is_expression(made) => Ok(None),
                    Some(other) => Err(params_wanted("params", other)),
                }
            }
            other => Err(params_wanted("args", other)),
        }
    }

    /// The workflow, report, template and channels that it names are there.
    pub(super) fn check_target(&self, own: &Own, owner: pg_sys::Oid) -> Result<()> {
        let template = |key: &str| self.args.get(key).and_then(Value::as_str);
        match self.task_type.as_str() {
            "workflow" => WORKFLOW.require(own, owner, &self.command),
            "report" => {
                report::find(own, owner, &self.command)?;
                template("template").map_or(Ok(()), |name| TEMPLATE.require(own, owner, name))
            }
            "notification" => {
                TEMPLATE.require(own, owner, &self.command)?;
                let recipients = self.args["recipients"].as_array().into_iter().flatten();
                let constant = recipients.filter(|to| !arguments::is_expression(to));
                constant
                    .filter_map(Value::as_str)
                    .try_for_each(|to| channel::find(own, owner, address::split(to).0).map(|_| ()))
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

pub(super) fn known_keys(map: &Map<String, Value>, known: &[&str]) -> Result<()> {
    match map.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => {
            Err(Error::unknown_word(format!("unknown key {} in args", shown(key)), key, known))
        }
    }
}

/// The args of a type, which are an object with these keys.
fn object<'a>(
    what: &str,
    args: &'a Value,
    known: &[&str],
    example: &str,
) -> Result<&'a Map<String, Value>> {
    let Value::Object(map) = args else {
        return Err(Error::invalid(format!("args of a task of type {what} must be a JSON object"))
            .with_detail(format!("The value of args is {}.", kind(args)))
            .with_hint(format!("Write for example {example}.")));
    };
    known_keys(map, known)?;
    if let Some(params) =
        map.get("params").filter(|params| !params.is_object() && !arguments::is_expression(params))
    {
        return Err(Error::invalid(format!("params of a {what} must be a JSON object"))
            .with_detail(format!("The value of params in args is {}.", kind(params)))
            .with_hint("Write for example {\"params\": {\"from\": \"2026-01-31\"}}."));
    }
    Ok(map)
}

/// The array of strings at a key, if there is one.
fn strings(map: &Map<String, Value>, key: &str) -> Result<Option<Vec<String>>> {
    let Some(value) = map.get(key) else { return Ok(None) };
    let texts: Option<Vec<String>> =
        value.as_array().and_then(|a| a.iter().map(|v| v.as_str().map(str::to_string)).collect());
    texts.map(Some).ok_or_else(|| {
        Error::invalid(format!("{key} must be an array of strings"))
            .with_detail(format!("The value of {key} in args is {}.", shown_json(value)))
            .with_hint(format!("Write for example {{\"{key}\": [\"...\"]}}."))
    })
}

/// `{"recipients", "params"}`.
fn check_notification_args(args: &Value) -> Result<()> {
    let example = "{\"recipients\": [\"mail:ops@example.com\"], \"params\": {}}";
    let map = object("notification", args, &["recipients", "params"], example)?;
    if map.get("recipients").is_some_and(arguments::is_expression) {
        return Ok(());
    }
    match strings(map, "recipients")? {
        Some(recipients) if !recipients.is_empty() => Ok(()),
        _ => Err(Error::invalid("a notification needs recipients")
            .with_detail("There are no \"recipients\" in args.")
            .with_hint("Write for example \"recipients\": [\"mail:ops@example.com\"].")),
    }
}

/// `{"params", "formats", "template", "recipients"}`, the last two together.
fn check_report_args(args: &Value) -> Result<()> {
    let known = ["params", "formats", "template", "recipients"];
    let map = object("report", args, &known, "{\"params\": {}, \"formats\": [\"html\"]}")?;
    if let Some(formats) = strings(map, "formats")? {
        report::read_formats(&formats)?;
    }
    let recipients = strings(map, "recipients")?.unwrap_or_default();
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
