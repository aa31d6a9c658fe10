//! What a rule does when it matches: the `actions` array of its definition.
//!
//! A string that is wholly `${ ... }` is jq over `{event, new, old, rule}`, evaluated for each
//! match; everything else stands as it is written.

use serde_json::Value;

use crate::jq::{self, Template};
use crate::object::{Object, below, wrong_kind};
use crate::problem::Problem;
use crate::rule::before::{self, Assignment, Rejected, Rejection};
use crate::rule::request;
pub use crate::rule::request::Request;
use crate::suggest;

/// Most actions of one rule.
pub const MAX_ACTIONS: usize = 32;

/// The verbs and the keys that go with each.
const VERBS: [(&str, &[&str]); 9] = [
    ("set", &["set"]),
    ("reject", &["reject", "sqlstate", "detail", "hint"]),
    ("sql", &["sql", "params", "timing"]),
    ("workflow", &["workflow", "input"]),
    ("notify", &["notify", "recipients", "data"]),
    ("http", &["http"]),
    ("emit", &["emit", "payload"]),
    ("report", &["report", "params"]),
    ("task", &["task"]),
];

/// When an action is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the row is written.
    Before,
    /// After the row is written, in the writer's transaction.
    Transaction,
    /// After the commit.
    Commit,
}

/// The moments that a statement may name.
const TIMINGS: [(&str, Moment); 2] =
    [("commit", Moment::Commit), ("transaction", Moment::Transaction)];

/// One action as defined.
pub enum Action {
    /// Gives columns of the row values.
    Set { values: Vec<Assignment> },
    /// Refuses the row.
    Reject(Box<Rejection>),
    /// A statement with its parameters, an array.
    Sql { statement: String, params: Template, moment: Moment },
    /// Starts a run of a workflow.
    Workflow { name: String, input: Template },
    /// Sends a message made of a template to recipients, an array of `channel:address`.
    Notify { template: String, recipients: Template, data: Template },
    /// Sends a request.
    Http(Box<Request>),
    /// Emits an event.
    Emit { name: String, payload: Template },
    /// Renders a report.
    Report { name: String, params: Template },
    /// Runs a task now.
    Task { name: String },
}

/// One action with its values, for one match.
#[derive(Clone, Debug, PartialEq)]
pub enum Rendered {
    Set {
        values: Vec<Assignment>,
    },
    Reject(Rejected),
    Sql {
        statement: String,
        params: Value,
        moment: Moment,
    },
    Workflow {
        name: String,
        input: Value,
    },
    Notify {
        template: String,
        recipients: Value,
        data: Value,
    },
    /// As the courier reads it.
    Http(Value),
    Emit {
        name: String,
        payload: Value,
    },
    Report {
        name: String,
        params: Value,
    },
    Task {
        name: String,
    },
}

/// Reads all actions, or says all that is wrong with them.
pub fn parse(actions: &Value) -> Result<Vec<Action>, Vec<Problem>> {
    let mut problems = Vec::new();
    let Value::Array(list) = actions else {
        wrong_kind(&mut problems, "", "an array of actions", actions);
        return Err(problems);
    };
    if list.is_empty() {
        let hint = "For example [{\"emit\": \"order.paid\"}].";
        problems.push(Problem::error("", "empty", "a rule needs an action").with_hint(hint));
    }
    if list.len() > MAX_ACTIONS {
        let message = format!("a rule has at most {MAX_ACTIONS} actions, not {}", list.len());
        let hint = "Start a workflow that does the rest.";
        problems.push(Problem::error("", "too_many", message).with_hint(hint));
        return Err(problems);
    }
    let mut found = Vec::with_capacity(list.len());
    for (index, item) in list.iter().enumerate() {
        found.extend(parse_one(item, &below("", index), &mut problems));
    }
    if problems.is_empty() { Ok(found) } else { Err(problems) }
}

fn parse_one(item: &Value, pointer: &str, problems: &mut Vec<Problem>) -> Option<Action> {
    let mut object = Object::open(item, pointer, problems)?;
    let verbs: Vec<_> = VERBS.iter().filter(|(verb, _)| object.get(verb).is_some()).collect();
    let [(verb, keys)] = verbs.as_slice() else {
        if verbs.is_empty() {
            // A mistyped verb is an unknown key: name it rather than the missing verb.
            let before = object.problems().len();
            let all: Vec<&str> = VERBS.iter().flat_map(|(_, keys)| keys.iter().copied()).collect();
            object.allow(&all);
            if object.problems().len() > before {
                return None;
            }
        }
        let verbs: Vec<&str> = VERBS.iter().map(|(verb, _)| *verb).collect();
        let message = format!("an action has exactly one of {}", verbs.join(", "));
        let problem = Problem::error(pointer, "one_verb", message);
        object.problems().push(problem.with_hint("Make each an object of its own."));
        return None;
    };
    object.allow(keys);
    match *verb {
        "set" => return Some(Action::Set { values: before::assignments(&mut object)? }),
        "http" => {
            let at = object.pointer("http");
            let request = request::parse(object.get("http")?, &at, object.problems())?;
            return Some(Action::Http(Box::new(request)));
        }
        _ => {}
    }
    let name = object.required_string(verb)?.to_owned();
    if name.contains('\0') {
        let problem = crate::rule::operand::nul(&object.pointer(verb));
        object.problems().push(problem);
        return None;
    }
    let action = match *verb {
        "reject" => Action::Reject(Box::new(before::rejection(&mut object, &name)?)),
        "sql" => {
            let (params, moment) = (list(&mut object, "params", false), moment(&mut object));
            Action::Sql { statement: name, params: params?, moment: moment? }
        }
        "workflow" => Action::Workflow { name, input: tree(&mut object, "input")? },
        "notify" => {
            let recipients = list(&mut object, "recipients", true);
            let data = tree(&mut object, "data");
            Action::Notify { template: name, recipients: recipients?, data: data? }
        }
        "emit" => Action::Emit { name, payload: tree(&mut object, "payload")? },
        "report" => Action::Report { name, params: tree(&mut object, "params")? },
        _ => Action::Task { name },
    };
    Some(action)
}

/// When a statement is run: after the commit, unless it says otherwise.
fn moment(object: &mut Object<'_, '_>) -> Option<Moment> {
    if object.get("timing").is_none() {
        return Some(Moment::Commit);
    }
    let word = object.string("timing")?;
    let found = TIMINGS.iter().find(|(name, _)| *name == word).map(|(_, moment)| *moment);
    if found.is_none() {
        let known: Vec<&str> = TIMINGS.iter().map(|(name, _)| *name).collect();
        let message = format!("unknown timing \"{}\"", word.escape_debug());
        let problem = Problem::error(object.pointer("timing"), "unknown_timing", message);
        object.problems().push(problem.with_hint(suggest::hint(word, &known)));
    }
    found
}

/// The array at `key`, or one expression that makes an array.
fn list(object: &mut Object<'_, '_>, key: &str, required: bool) -> Option<Template> {
    let pointer = object.pointer(key);
    let value = match object.get(key) {
        None if required => {
            object.missing(key);
            return None;
        }
        None => Value::Array(Vec::new()),
        Some(Value::Array(items)) if items.is_empty() && required => {
            let message = format!("\"{key}\" must not be empty");
            object.problems().push(Problem::error(pointer, "empty", message));
            return None;
        }
        Some(value) if value.is_array() || is_expression(value) => value.clone(),
        Some(other) => {
            wrong_kind(object.problems(), &pointer, "an array", other);
            return None;
        }
    };
    compile(object, &pointer, &value)
}

/// The object at `key`, or one expression that makes a value.
pub(super) fn tree(object: &mut Object<'_, '_>, key: &str) -> Option<Template> {
    let pointer = object.pointer(key);
    let value = match object.get(key) {
        None => Value::Object(serde_json::Map::new()),
        Some(value) if value.is_object() || is_expression(value) => value.clone(),
        Some(other) => {
            wrong_kind(object.problems(), &pointer, "an object", other);
            return None;
        }
    };
    compile(object, &pointer, &value)
}

fn is_expression(value: &Value) -> bool {
    value.as_str().and_then(jq::expression).is_some()
}

pub(super) fn compile(
    object: &mut Object<'_, '_>,
    pointer: &str,
    value: &Value,
) -> Option<Template> {
    match Template::compile(value, &[]) {
        Ok(template) => Some(template),
        Err((place, error)) => {
            let at = format!("{pointer}{place}");
            let mut problem = Problem::error(at, "invalid_expression", error.to_string());
            problem.hint = error.hint();
            object.problems().push(problem);
            None
        }
    }
}

impl Action {
    pub fn moment(&self) -> Moment {
        match self {
            Action::Set { .. } | Action::Reject(_) => Moment::Before,
            Action::Sql { moment, .. } => *moment,
            _ => Moment::Commit,
        }
    }

    /// Its verb.
    pub fn verb(&self) -> &'static str {
        match self {
            Action::Set { .. } => "set",
            Action::Reject(_) => "reject",
            Action::Sql { .. } => "sql",
            Action::Workflow { .. } => "workflow",
            Action::Notify { .. } => "notify",
            Action::Http(_) => "http",
            Action::Emit { .. } => "emit",
            Action::Report { .. } => "report",
            Action::Task { .. } => "task",
        }
    }

    /// The action's values for one match; `context` holds `event`, `new`, `old` and `rule`.
    pub fn render(&self, context: &Value) -> Result<Rendered, jq::Error> {
        let value = |template: &Template| template.render(context, &[]);
        Ok(match self {
            Action::Set { values } => Rendered::Set { values: values.clone() },
            Action::Reject(rejection) => Rendered::Reject(rejection.render(context)?),
            Action::Sql { statement, params, moment } => Rendered::Sql {
                statement: statement.clone(),
                params: array("params", value(params)?)?,
                moment: *moment,
            },
            Action::Workflow { name, input } => {
                Rendered::Workflow { name: name.clone(), input: value(input)? }
            }
            Action::Notify { template, recipients, data } => Rendered::Notify {
                template: template.clone(),
                recipients: array("recipients", value(recipients)?)?,
                data: value(data)?,
            },
            Action::Http(request) => Rendered::Http(request.render(context)?),
            Action::Emit { name, payload } => {
                Rendered::Emit { name: name.clone(), payload: value(payload)? }
            }
            Action::Report { name, params } => {
                Rendered::Report { name: name.clone(), params: value(params)? }
            }
            Action::Task { name } => Rendered::Task { name: name.clone() },
        })
    }
}

/// An expression may have made something else than the array that is needed.
fn array(key: &str, value: Value) -> Result<Value, jq::Error> {
    if value.is_array() {
        return Ok(value);
    }
    let message = format!("\"{key}\" must be an array, not {}", crate::object::kind(&value));
    Err(jq::Error::Run(message))
}

#[cfg(test)]
#[path = "action_tests.rs"]
mod tests;
