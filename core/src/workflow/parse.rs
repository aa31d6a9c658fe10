//! From a JSON document to a [`Definition`]: one walk that reports every problem with its place.

mod calls;
mod catch;
mod tasks;

pub(crate) use calls::METHODS;

use super::definition::{Definition, EffectRef, Kind, Limits, List, Task, Then};
use super::{duration, scope};
use crate::jq::{self, Filter, Template};
use crate::problem::Problem;
use crate::suggest;
use serde_json::{Map, Value};

/// Problems after which the walk no longer adds any.
const MAX_PROBLEMS: usize = 100;
const ROOT_KEYS: [&str; 6] = ["document", "input", "use", "do", "timeout", "output"];
const DOCUMENT_KEYS: [&str; 8] =
    ["dsl", "namespace", "name", "version", "title", "summary", "tags", "metadata"];

/// The walk: what it has built, what it has found wrong, and where it is.
pub(super) struct Walk<'a> {
    limits: &'a Limits,
    problems: Vec<Problem>,
    tasks: Vec<Option<Task>>,
    lists: Vec<List>,
    effects: Vec<EffectRef>,
    /// Names of the variables an expression may use here: the fixed ones, then those of the
    /// enclosing loops and catch clauses.
    vars: Vec<String>,
    depth: usize,
    /// `use`, for what is referred to by name.
    shared: Option<&'a Map<String, Value>>,
}

/// See [`Definition::parse`].
pub(super) fn definition(document: &Value, limits: &Limits) -> Result<Definition, Vec<Problem>> {
    let mut walk = Walk {
        limits,
        problems: Vec::new(),
        tasks: Vec::new(),
        lists: Vec::new(),
        effects: Vec::new(),
        vars: scope::FIXED.map(str::to_owned).to_vec(),
        depth: 0,
        shared: None,
    };
    let built = walk.root(document);
    let Walk { problems, tasks, lists, effects, .. } = walk;
    let tasks: Option<Vec<Task>> = tasks.into_iter().collect();
    match (built, tasks) {
        (Some((root, input_from, output_as, timeout_ms)), Some(tasks)) if problems.is_empty() => {
            let limits = limits.clone();
            Ok(Definition {
                limits,
                tasks,
                lists,
                root,
                input_from,
                output_as,
                timeout_ms,
                effects,
            })
        }
        _ if problems.is_empty() => {
            Err(vec![Problem::error("", "invalid", "the definition could not be read")])
        }
        _ => Err(problems),
    }
}

type Root = (usize, Option<Template>, Option<Template>, Option<u64>);

impl<'a> Walk<'a> {
    fn root(&mut self, document: &'a Value) -> Option<Root> {
        let map = self.object(document, "")?;
        for (key, name) in [("schedule", "schedule_task"), ("evaluate", "jq, the default")] {
            if let Some(value) = map.get(key)
                && !(key == "evaluate" && is_default_evaluate(value))
            {
                let hint = format!("Use {name} instead.");
                self.unsupported(&format!("/{key}"), &format!("\"{key}\""), &hint);
            }
        }
        self.keys(map, "", &ROOT_KEYS, &["schedule", "evaluate"]);
        if let Some(head) = map.get("document") {
            self.document(head);
        }
        if let Some(shared) = map.get("use") {
            self.shared = self.reusable(shared);
        }
        let input_from = map.get("input").and_then(|v| self.transform(v, "/input", "from"));
        let output_as = map.get("output").and_then(|v| self.transform(v, "/output", "as"));
        let timeout_ms = map.get("timeout").and_then(|v| self.timeout(v, "/timeout"));
        let list = match map.get("do") {
            Some(list) => self.list(list, "/do"),
            None => {
                self.problem("", "missing_key", "a workflow needs \"do\"", "Add a list of tasks.");
                None
            }
        };
        Some((list?, input_from, output_as, timeout_ms))
    }

    fn document(&mut self, head: &Value) {
        let Some(map) = self.object(head, "/document") else { return };
        self.keys(map, "/document", &DOCUMENT_KEYS, &[]);
        for key in ["dsl", "namespace", "name", "version", "title", "summary"] {
            if map.get(key).is_some_and(|v| !v.is_string()) {
                let at = format!("/document/{key}");
                self.problem(&at, "wrong_type", format!("\"{key}\" must be text"), "");
            }
        }
        if let Some(dsl) = map.get("dsl").and_then(Value::as_str)
            && !dsl.starts_with("1.0.")
        {
            let message = format!("version {dsl} of the language is not supported");
            self.problem("/document/dsl", "unsupported_dsl", message, "Write \"1.0.3\".");
        }
    }

    fn reusable(&mut self, shared: &'a Value) -> Option<&'a Map<String, Value>> {
        let map = self.object(shared, "/use")?;
        const REFUSED: [&str; 5] =
            ["authentications", "catalogs", "extensions", "functions", "secrets"];
        for key in REFUSED.iter().filter(|k| map.contains_key(**k)) {
            let hint = "Supported under \"use\": errors, retries, timeouts.";
            self.unsupported(&format!("/use/{key}"), &format!("\"use.{key}\""), hint);
        }
        self.keys(map, "/use", &["errors", "retries", "timeouts"], &REFUSED);
        Some(map)
    }

    /// What `use.<group>.<name>` holds, with its pointer.
    pub(super) fn shared(
        &mut self,
        group: &str,
        name: &str,
        at: &str,
    ) -> Option<(&'a Value, String)> {
        let found = self.shared.and_then(|s| s.get(group)).and_then(Value::as_object);
        if let Some(value) = found.and_then(|g| g.get(name)) {
            return Some((value, format!("/use/{group}/{}", escape(name))));
        }
        let known: Vec<&str> = found.into_iter().flat_map(|g| g.keys()).map(|k| &**k).collect();
        let hint = match known.is_empty() {
            true => format!("Define it under \"use.{group}\"."),
            false => suggest::hint(name, &known),
        };
        self.problem(at, "unknown_name", format!("there is no \"{name}\" in use.{group}"), hint);
        None
    }

    /// A task list: an array of objects with one key each.
    pub(super) fn list(&mut self, value: &'a Value, at: &str) -> Option<usize> {
        let Some(items) = value.as_array() else {
            let hint = "Write [{\"name\": {task}}, ...].";
            self.problem(at, "wrong_type", "a task list must be an array", hint);
            return None;
        };
        if self.depth >= self.limits.max_depth {
            let message = format!("more than {} task lists within one another", self.depth);
            self.problem(
                at,
                "too_deep",
                message,
                "Move the inner tasks to a workflow of their own.",
            );
            return None;
        }
        self.depth += 1;
        let built = self.list_items(items, at);
        self.depth -= 1;
        built
    }

    fn list_items(&mut self, items: &'a [Value], at: &str) -> Option<usize> {
        let mut named: Vec<(&str, &Value, String)> = Vec::with_capacity(items.len());
        for (i, item) in items.iter().enumerate() {
            let place = format!("{at}/{i}");
            let Some(map) = self.object(item, &place) else { continue };
            let mut entries = map.iter();
            let (Some((name, task)), None) = (entries.next(), entries.next()) else {
                let hint = "Write {\"name\": {task}}.";
                self.problem(&place, "wrong_type", "a list item names exactly one task", hint);
                continue;
            };
            if named.iter().any(|(other, ..)| other == name) {
                let message = format!("the name \"{name}\" is used twice in this list");
                self.problem(&place, "duplicate_name", message, "Give each task its own name.");
            }
            if ["continue", "exit", "end"].contains(&name.as_str()) || name.is_empty() {
                let message = format!("a task cannot be called \"{name}\"");
                self.problem(&place, "reserved_name", message, "Choose another name.");
            }
            named.push((name, task, format!("{place}/{}", escape(name))));
        }
        if items.is_empty() {
            self.problem(at, "empty_list", "a task list must not be empty", "Add a task.");
        }
        let names: Vec<&str> = named.iter().map(|(name, ..)| *name).collect();
        let list = self.lists.len();
        self.lists.push(List::default());
        for (name, task, pointer) in &named {
            if self.tasks.len() >= self.limits.max_steps {
                let message = format!("more than {} tasks", self.limits.max_steps);
                let hint = "Split the workflow, or raise the limit.";
                self.problem(pointer, "too_many_steps", message, hint);
                break;
            }
            let id = self.tasks.len();
            self.tasks.push(None);
            let built = self.task(name, task, pointer, &names);
            if let Some(slot) = self.tasks.get_mut(id) {
                *slot = built;
            }
            if let Some(list) = self.lists.get_mut(list) {
                list.items.push(id);
            }
        }
        Some(list)
    }

    fn task(&mut self, name: &str, value: &'a Value, at: &str, names: &[&str]) -> Option<Task> {
        let map = self.object(value, at)?;
        let kind = self.kind(map, at, names);
        let part = |key: &str| format!("{at}/{key}");
        let condition = map.get("if").and_then(|v| self.bare(v, &part("if"), &["input", "output"]));
        let input_from = map.get("input").and_then(|v| self.transform(v, &part("input"), "from"));
        let output_as = map.get("output").and_then(|v| self.transform(v, &part("output"), "as"));
        let export_as = map.get("export").and_then(|v| self.transform(v, &part("export"), "as"));
        let then = match map.get("then") {
            Some(v) => self.then(v, &part("then"), names)?,
            None => Then::Continue,
        };
        let timeout_ms = map.get("timeout").and_then(|v| self.timeout(v, &part("timeout")));
        let kind = kind?;
        let clocked = matches!(kind, Kind::Sql(_) | Kind::Notify(_) | Kind::Http(_));
        if map.contains_key("timeout") && !clocked {
            let hint = "Set it on the sql, notify and http steps, or on the whole workflow.";
            self.unsupported(&part("timeout"), "a timeout on this kind of task", hint);
        }
        Some(Task {
            name: name.to_owned(),
            pointer: at.to_owned(),
            condition,
            input_from,
            output_as,
            export_as,
            then,
            timeout_ms,
            kind,
        })
    }

    /// `continue`, `exit`, `end` or a task of the same list.
    pub(super) fn then(&mut self, value: &Value, at: &str, names: &[&str]) -> Option<Then> {
        let Some(text) = value.as_str() else {
            let hint = "Write \"continue\", \"exit\", \"end\" or the name of a task of this list.";
            self.problem(at, "wrong_type", "\"then\" must be text", hint);
            return None;
        };
        match text {
            "continue" => return Some(Then::Continue),
            "exit" => return Some(Then::Exit),
            "end" => return Some(Then::End),
            _ => {}
        }
        if let Some(index) = names.iter().position(|n| *n == text) {
            return Some(Then::Goto(index));
        }
        let mut known = names.to_vec();
        known.extend(["continue", "exit", "end"]);
        let message = format!("there is no task \"{text}\" in this list");
        self.problem(at, "unknown_task", message, suggest::hint(text, &known));
        None
    }

    /// The `from` of an input or the `as` of an output or export.
    fn transform(&mut self, value: &Value, at: &str, key: &str) -> Option<Template> {
        let map = self.object(value, at)?;
        if map.contains_key("schema") {
            let hint = "Check the data with a switch and raise an error of type validation.";
            self.unsupported(&format!("{at}/schema"), "\"schema\"", hint);
        }
        self.keys(map, at, &[key], &["schema"]);
        let missing: &[&str] = match (at.rsplit('/').next(), key) {
            (Some("input"), _) => &["input", "output"],
            (Some("output"), _) => &["output"],
            _ => &[],
        };
        let at = format!("{at}/{key}");
        match map.get(key)? {
            text @ Value::String(_) => self.bare(text, &at, missing).map(Template::from_filter),
            tree => self.template(tree, &at, missing),
        }
    }

    fn timeout(&mut self, value: &'a Value, at: &str) -> Option<u64> {
        let (value, at) = match value.as_str() {
            Some(name) => self.shared("timeouts", name, at)?,
            None => (value, at.to_owned()),
        };
        let map = self.object(value, &at)?;
        self.keys(map, &at, &["after"], &[]);
        let Some(after) = map.get("after") else {
            self.problem(&at, "missing_key", "a timeout needs \"after\"", "Add a duration.");
            return None;
        };
        self.duration(after, &format!("{at}/after"))
    }

    /// A duration that is known beforehand.
    pub(super) fn duration(&mut self, value: &Value, at: &str) -> Option<u64> {
        match duration::millis(value) {
            Ok(ms) => Some(ms),
            Err(message) => {
                let hint = "Write {\"minutes\": 5} or \"PT5M\".";
                self.problem(at, "invalid_duration", message, hint);
                None
            }
        }
    }

    /// An expression where `${ }` may be left out; `missing` are the variables not there yet.
    pub(super) fn bare(&mut self, value: &Value, at: &str, missing: &[&str]) -> Option<Filter> {
        let Some(text) = value.as_str() else {
            self.problem(
                at,
                "wrong_type",
                "an expression must be text",
                "Write jq, as \".a > 1\".",
            );
            return None;
        };
        let source = jq::expression(text).unwrap_or(text);
        let vars: Vec<&str> = self.vars.iter().map(|v| &**v).collect();
        let compiled = Filter::compile(source, &vars);
        self.forbidden(source, at, missing);
        compiled.map_err(|e| self.expression_error(at, &e)).ok()
    }

    /// A tree with `${ }` in its leaves.
    pub(super) fn template(
        &mut self,
        tree: &Value,
        at: &str,
        missing: &[&str],
    ) -> Option<Template> {
        let vars: Vec<&str> = self.vars.iter().map(|v| &**v).collect();
        match Template::compile(tree, &vars) {
            Ok(template) => {
                self.check_leaves(tree, at, missing);
                Some(template)
            }
            Err((place, e)) => {
                self.expression_error(&format!("{at}{place}"), &e);
                None
            }
        }
    }

    /// Every text of the tree: variables that are not there, and `${ }` amid other text.
    fn check_leaves(&mut self, tree: &Value, at: &str, missing: &[&str]) {
        match tree {
            Value::String(text) => match jq::expression(text) {
                Some(source) => self.forbidden(source, at, missing),
                None if text.contains("${") => {
                    let message = "\"${ }\" must be the whole text";
                    let hint = "Build the text in jq: ${ \"Hello \\(.name)\" }.";
                    self.problem(at, "partial_expression", message, hint);
                }
                None => {}
            },
            Value::Array(items) => {
                for (i, item) in items.iter().enumerate() {
                    self.check_leaves(item, &format!("{at}/{i}"), missing);
                }
            }
            Value::Object(map) => {
                for (key, item) in map {
                    self.check_leaves(item, &format!("{at}/{}", escape(key)), missing);
                }
            }
            _ => {}
        }
    }

    fn forbidden(&mut self, source: &str, at: &str, missing: &[&str]) {
        for name in missing.iter().filter(|n| jq::source::mentions(source, n)) {
            let message = format!("${name} is not known yet at this place");
            self.problem(at, "unknown_variable", message, "Use \".\", the data that arrives here.");
        }
    }

    fn expression_error(&mut self, at: &str, error: &jq::Error) {
        self.problem(at, "invalid_expression", error.to_string(), error.hint().unwrap_or_default());
    }

    pub(super) fn object<'v>(
        &mut self,
        value: &'v Value,
        at: &str,
    ) -> Option<&'v Map<String, Value>> {
        if value.as_object().is_none() {
            self.problem(at, "wrong_type", "an object is expected here", "");
        }
        value.as_object()
    }

    /// Reports keys that are neither `known` nor `handled` elsewhere.
    pub(super) fn keys(
        &mut self,
        map: &Map<String, Value>,
        at: &str,
        known: &[&str],
        handled: &[&str],
    ) {
        for key in map.keys() {
            if known.contains(&&**key) || handled.contains(&&**key) {
                continue;
            }
            let hint = suggest::hint(key, known);
            let place = format!("{at}/{}", escape(key));
            self.problem(&place, "unknown_key", format!("unknown key \"{key}\""), hint);
        }
    }

    pub(super) fn unsupported(&mut self, at: &str, what: &str, instead: &str) {
        self.problem(at, "unsupported_task", format!("{what} is not supported"), instead);
    }

    pub(super) fn problem(
        &mut self,
        at: &str,
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        if self.problems.len() >= MAX_PROBLEMS {
            return;
        }
        let hint = hint.into();
        let problem = Problem::error(at, code, message);
        self.problems.push(if hint.is_empty() { problem } else { problem.with_hint(hint) });
    }
}

fn is_default_evaluate(value: &Value) -> bool {
    let Some(map) = value.as_object() else { return false };
    map.iter().all(|(k, v)| {
        matches!((k.as_str(), v.as_str()), ("language", Some("jq")) | ("mode", Some("strict")))
    })
}

/// A key as a part of a JSON Pointer.
pub(super) fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
