//! What a rule does when it matches: the `actions` array of its definition.
//!
//! A string that is wholly `${ ... }` is jq over `{event, new, old, rule}`, evaluated for each
//! match; everything else stands as it is written.

use serde_json::Value;

use crate::jq::{self, Template};
use crate::object::{Object, below, wrong_kind};
use crate::problem::Problem;

/// Most actions of one rule.
pub const MAX_ACTIONS: usize = 32;

/// The verbs and the keys that go with each.
const VERBS: [(&str, &[&str]); 6] = [
    ("sql", &["sql", "params"]),
    ("workflow", &["workflow", "input"]),
    ("notify", &["notify", "recipients", "data"]),
    ("emit", &["emit", "payload"]),
    ("report", &["report", "params"]),
    ("task", &["task"]),
];

/// One action as defined.
pub enum Action {
    /// A statement with its parameters, an array.
    Sql { statement: String, params: Template },
    /// Starts a run of a workflow.
    Workflow { name: String, input: Template },
    /// Sends a message made of a template to recipients, an array of `channel:address`.
    Notify { template: String, recipients: Template, data: Template },
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
    Sql { statement: String, params: Value },
    Workflow { name: String, input: Value },
    Notify { template: String, recipients: Value, data: Value },
    Emit { name: String, payload: Value },
    Report { name: String, params: Value },
    Task { name: String },
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
        let message = "an action has exactly one of sql, workflow, notify, emit, report and task";
        let problem = Problem::error(pointer, "one_verb", message);
        object.problems().push(problem.with_hint("Make each an object of its own."));
        return None;
    };
    object.allow(keys);
    let name = object.required_string(verb)?.to_owned();
    if name.contains('\0') {
        let problem = crate::rule::operand::nul(&object.pointer(verb));
        object.problems().push(problem);
        return None;
    }
    let action = match *verb {
        "sql" => Action::Sql { statement: name, params: list(&mut object, "params", false)? },
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
fn tree(object: &mut Object<'_, '_>, key: &str) -> Option<Template> {
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

fn compile(object: &mut Object<'_, '_>, pointer: &str, value: &Value) -> Option<Template> {
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
    /// The action's values for one match; `context` holds `event`, `new`, `old` and `rule`.
    pub fn render(&self, context: &Value) -> Result<Rendered, jq::Error> {
        let value = |template: &Template| template.render(context, &[]);
        Ok(match self {
            Action::Sql { statement, params } => Rendered::Sql {
                statement: statement.clone(),
                params: array("params", value(params)?)?,
            },
            Action::Workflow { name, input } => {
                Rendered::Workflow { name: name.clone(), input: value(input)? }
            }
            Action::Notify { template, recipients, data } => Rendered::Notify {
                template: template.clone(),
                recipients: array("recipients", value(recipients)?)?,
                data: value(data)?,
            },
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
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn actions_render_their_expressions() {
        let actions = parse(&json!([
            {"sql": "SELECT f($1, $2)", "params": ["${ .new.id }", "plain"]},
            {"workflow": "rebook", "input": {"flight": "${ .new }", "by": "${ .rule }"}},
            {"notify": "late", "recipients": ["mail:ops@example.com", "${ .new.mail }"]},
            {"emit": "late", "payload": "${ {minutes: (.new.delay - .old.delay)} }"},
            {"emit": "bare"},
            {"report": "daily", "params": {"from": "${ .new.id }"}},
            {"task": "rollup"}
        ]))
        .unwrap();
        let context = json!({"event": null, "rule": "r", "old": {"delay": 2},
            "new": {"id": 7, "delay": 9, "mail": "mail:a@example.com"}});
        let got: Vec<_> = actions.iter().map(|a| a.render(&context).unwrap()).collect();
        let want = [
            Rendered::Sql { statement: "SELECT f($1, $2)".into(), params: json!([7, "plain"]) },
            Rendered::Workflow {
                name: "rebook".into(),
                input: json!({"flight": context["new"], "by": "r"}),
            },
            Rendered::Notify {
                template: "late".into(),
                recipients: json!(["mail:ops@example.com", "mail:a@example.com"]),
                data: json!({}),
            },
            Rendered::Emit { name: "late".into(), payload: json!({"minutes": 7}) },
            Rendered::Emit { name: "bare".into(), payload: json!({}) },
            Rendered::Report { name: "daily".into(), params: json!({"from": 7}) },
            Rendered::Task { name: "rollup".into() },
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn render_refuses_what_is_no_array() {
        let actions = parse(&json!([{"sql": "SELECT 1", "params": "${ .new.id }"}])).unwrap();
        let error = actions[0].render(&json!({"new": {"id": 7}})).unwrap_err();
        assert_eq!(error.to_string(), "\"params\" must be an array, not a number");
    }

    #[test]
    fn parse_reports_every_problem() {
        let found = parse(&json!([
            {"sql": "SELECT 1", "parms": []},
            {"sqll": "SELECT 1"},
            {"emit": "a", "workflow": "b"},
            {},
            {"notify": "late"},
            {"workflow": " "},
            {"emit": "x", "payload": [1]},
            {"emit": "x", "payload": {"a": ["${ .new. }"]}},
            {"sql": 5},
            7,
            {"emit": "a\u{0}b"},
            {"report": "r", "params": []},
            {"task": "t", "params": {}}
        ]))
        .err()
        .unwrap();
        let places: Vec<_> = found.iter().map(|p| (p.pointer.as_str(), p.code)).collect();
        let want = [
            ("/0/parms", "unknown_key"),
            ("/1/sqll", "unknown_key"),
            ("/2", "one_verb"),
            ("/3", "one_verb"),
            ("/4", "missing_key"),
            ("/5/workflow", "empty"),
            ("/6/payload", "wrong_kind"),
            ("/7/payload/a/0", "invalid_expression"),
            ("/8/sql", "wrong_kind"),
            ("/9", "wrong_kind"),
            ("/10/emit", "nul_character"),
            ("/11/params", "wrong_kind"),
            ("/12/params", "unknown_key"),
        ];
        assert_eq!(places, want);
        assert_eq!(found[0].hint.as_deref(), Some("Did you mean \"params\"?"));
        assert_eq!(found[1].hint.as_deref(), Some("Did you mean \"sql\"?"));
    }

    #[test]
    fn the_list_itself_is_checked() {
        let code = |value| parse(&value).err().map(|p| p[0].code);
        assert_eq!(code(json!({"sql": "x"})), Some("wrong_kind"));
        assert_eq!(code(json!([])), Some("empty"));
        let many: Vec<Value> = (0..33).map(|_| json!({"emit": "x"})).collect();
        assert_eq!(code(Value::Array(many[..32].to_vec())), None);
        assert_eq!(code(Value::Array(many)), Some("too_many"));
    }
}
