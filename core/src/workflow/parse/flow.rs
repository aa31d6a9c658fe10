//! `for` and `fork`.

use super::{Walk, escape};
use crate::jq::Template;
use crate::workflow::definition::{ForLoop, Fork, Kind, Parallel};
use crate::workflow::feature::Feature;
use serde_json::{Map, Value};

impl<'a> Walk<'a> {
    pub(super) fn for_loop(&mut self, map: &'a Map<String, Value>, at: &str) -> Option<Kind> {
        let place = format!("{at}/for");
        let head = self.object(map.get("for")?, &place)?;
        self.keys(head, &place, &["each", "in", "at"], &[]);
        let Some(source) = head.get("in") else {
            let hint = "Add an expression that gives an array.";
            self.problem(&place, "missing_key", "\"for\" needs \"in\"", hint);
            return None;
        };
        let source_at = format!("{place}/in");
        let items = match source {
            Value::Array(_) => self.template(source, &source_at, &["output"]),
            _ => self.bare(source, &source_at, &["output"]).map(Template::from_filter),
        };
        let each = self.variable(head.get("each"), &format!("{place}/each"), "item");
        let index = self.variable(head.get("at"), &format!("{place}/at"), "index");
        let outer = self.vars.len();
        self.vars.extend([each, index]);
        let keep_going =
            map.get("while").and_then(|v| self.bare(v, &format!("{at}/while"), &["output"]));
        let body = match map.get("do") {
            Some(list) => self.list(list, &format!("{at}/do")),
            None => {
                self.problem(at, "missing_key", "\"for\" needs \"do\"", "Add a list of tasks.");
                None
            }
        };
        let parallel = map.get("metadata").and_then(|m| self.parallel(m, map, at));
        self.vars.truncate(outer);
        let (items, body) = (items?, body?);
        Some(Kind::For(Box::new(ForLoop { items, keep_going, body, parallel })))
    }

    /// `metadata.maxParallel` and what goes with it.
    fn parallel(&mut self, meta: &Value, task: &Map<String, Value>, at: &str) -> Option<Parallel> {
        let at = format!("{at}/metadata");
        let Some(max) = meta.get("maxParallel") else {
            for key in ["onItemError", "collect"].iter().filter(|k| meta.get(**k).is_some()) {
                let message = format!("\"{key}\" belongs to \"maxParallel\"");
                let place = format!("{at}/{key}");
                self.problem(&place, "wrong_key", message, "Add \"maxParallel\".");
            }
            return None;
        };
        let place = format!("{at}/maxParallel");
        self.feature(Feature::ParallelFor, &place);
        let most = self.limits.max_branches as u64;
        let Some(max) = max.as_u64().filter(|n| (1..=most).contains(n)) else {
            let message = format!("\"maxParallel\" must be a whole number from 1 to {most}");
            self.problem(&place, "wrong_type", message, "Write how many turns go on at once.");
            return None;
        };
        if task.contains_key("while") {
            let message = "\"while\" does not go with \"maxParallel\"";
            let hint = "Let the expression of \"in\" select the items.";
            self.problem(&format!("{at}/maxParallel"), "wrong_key", message, hint);
        }
        let meta = self.object(meta, &at)?;
        let choices = [("fail", false), ("continue", true)];
        let go_on = self.choice(meta, &at, "onItemError", false, &choices)?;
        let collect = match meta.get("collect") {
            None | Some(Value::Bool(false)) => None,
            Some(Value::Bool(true)) => self.bare(&Value::from("."), &at, &[]),
            Some(text) if text == "true" => self.bare(&Value::from("."), &at, &[]),
            Some(text) => self.bare(text, &format!("{at}/collect"), &["output"]),
        };
        Some(Parallel { max, go_on, collect })
    }

    pub(super) fn fork(&mut self, value: &'a Value, at: &str) -> Option<Kind> {
        let map = self.object(value, at)?;
        self.keys(map, at, &["branches", "compete"], &[]);
        self.feature(Feature::Fork, at);
        let compete = match map.get("compete") {
            None => false,
            Some(Value::Bool(compete)) => *compete,
            Some(_) => {
                let place = format!("{at}/compete");
                self.problem(&place, "wrong_type", "\"compete\" must be true or false", "");
                false
            }
        };
        let place = format!("{at}/branches");
        let Some(items) = map.get("branches").and_then(Value::as_array) else {
            let hint = "Write [{\"name\": {task}}, ...].";
            self.problem(&place, "wrong_type", "\"branches\" must be an array of tasks", hint);
            return None;
        };
        if items.is_empty() {
            self.problem(&place, "empty_list", "a fork needs a branch", "Add a task.");
        }
        if items.len() > self.limits.max_branches {
            let message = format!("more than {} branches", self.limits.max_branches);
            let hint = "Use \"for\" with \"metadata.maxParallel\".";
            self.problem(&place, "too_many_branches", message, hint);
            return None;
        }
        let mut branches = Vec::with_capacity(items.len());
        let mut names: Vec<&str> = Vec::with_capacity(items.len());
        for (i, item) in items.iter().enumerate() {
            let place = format!("{place}/{i}");
            let (name, task) = self.one_task(item, &place, &names)?;
            names.push(name);
            let place = format!("{place}/{}", escape(name));
            branches.push(self.lone_task(name, task, place)?);
        }
        Some(Kind::Fork(Fork { branches, compete }))
    }
}
