//! Task lists, tasks, and where a run goes after them.

use super::{Walk, escape};
use crate::suggest;
use crate::workflow::definition::{Kind, List, Task, Then};
use crate::workflow::feature::Feature;
use serde_json::{Map, Value};

impl<'a> Walk<'a> {
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
        let mut named: Vec<(&'a str, &'a Value, String)> = Vec::with_capacity(items.len());
        for (i, item) in items.iter().enumerate() {
            let place = format!("{at}/{i}");
            let names: Vec<&str> = named.iter().map(|(name, ..)| *name).collect();
            if let Some((name, task)) = self.one_task(item, &place, &names) {
                named.push((name, task, format!("{place}/{}", escape(name))));
            }
        }
        if items.is_empty() {
            self.problem(at, "empty_list", "a task list must not be empty", "Add a task.");
        }
        Some(self.build_list(&named))
    }

    /// The name and the task of a list's item; `names` are those before it.
    pub(super) fn one_task(
        &mut self,
        item: &'a Value,
        place: &str,
        names: &[&str],
    ) -> Option<(&'a str, &'a Value)> {
        let map = item.as_object();
        let mut entries = map.into_iter().flatten();
        let (Some((name, task)), None) = (entries.next(), entries.next()) else {
            let hint = "Write {\"name\": {task}}.";
            self.problem(place, "wrong_type", "a list item names exactly one task", hint);
            return None;
        };
        if names.contains(&name.as_str()) {
            let message = format!("the name \"{name}\" is used twice in this list");
            self.problem(place, "duplicate_name", message, "Give each task its own name.");
        }
        if ["continue", "exit", "end"].contains(&name.as_str()) || name.is_empty() {
            let message = format!("a task cannot be called \"{name}\"");
            self.problem(place, "reserved_name", message, "Choose another name.");
        }
        Some((name, task))
    }

    /// A list of one task that is not written as a list.
    pub(super) fn lone_task(
        &mut self,
        name: &'a str,
        task: &'a Value,
        place: String,
    ) -> Option<usize> {
        if self.depth >= self.limits.max_depth {
            let message = format!("more than {} task lists within one another", self.depth);
            let hint = "Move the inner tasks to a workflow of their own.";
            self.problem(&place, "too_deep", message, hint);
            return None;
        }
        self.depth += 1;
        let list = self.build_list(&[(name, task, place)]);
        self.depth -= 1;
        Some(list)
    }

    fn build_list(&mut self, named: &[(&'a str, &'a Value, String)]) -> usize {
        let names: Vec<&str> = named.iter().map(|(name, ..)| *name).collect();
        let list = self.lists.len();
        self.lists.push(List::default());
        for (name, task, pointer) in named {
            if self.tasks.len() >= self.limits.max_steps {
                let message = format!("more than {} tasks", self.limits.max_steps);
                let hint = "Split the workflow, or raise the limit.";
                self.problem(pointer, "too_many_steps", message, hint);
                break;
            }
            let id = self.tasks.len();
            self.tasks.push(None);
            let built = self.task(id, name, task, pointer, &names);
            if let Some(slot) = self.tasks.get_mut(id) {
                *slot = built;
            }
            if let Some(list) = self.lists.get_mut(list) {
                list.items.push(id);
            }
        }
        list
    }

    fn task(
        &mut self,
        id: usize,
        name: &str,
        value: &'a Value,
        at: &str,
        names: &[&str],
    ) -> Option<Task> {
        let map = self.object(value, at)?;
        let kind = self.kind(map, at, names);
        let part = |key: &str| format!("{at}/{key}");
        let condition = map.get("if").and_then(|v| self.bare(v, &part("if"), &["input", "output"]));
        let data = self.data(map, at);
        let then = match map.get("then") {
            Some(v) => self.then(v, &part("then"), names)?,
            None => Then::Continue,
        };
        let timeout_ms = map.get("timeout").and_then(|v| self.timeout(v, &part("timeout")));
        let compensate = self.compensation(map, at);
        let kind = kind?;
        // Sets and the like take no time; the others' time is kept by the shell's timers.
        let by_timer = !matches!(
            kind,
            Kind::Sql(_)
                | Kind::Notify(_)
                | Kind::Http(_)
                | Kind::Report(_)
                | Kind::Set(_)
                | Kind::Switch(_)
                | Kind::Raise(_)
                | Kind::Emit(_)
        );
        if timeout_ms.is_some() && by_timer {
            self.feature(Feature::TaskTimeout, &part("timeout"));
        }
        Some(Task {
            id,
            name: name.to_owned(),
            pointer: at.to_owned(),
            condition,
            data,
            then,
            timeout_ms,
            compensate,
            document: None,
            kind,
        })
    }

    /// The tasks of `metadata.compensate`.
    fn compensation(&mut self, map: &'a Map<String, Value>, at: &str) -> Option<usize> {
        let list = map.get("metadata")?.get("compensate")?;
        let at = format!("{at}/metadata/compensate");
        if self.compensating {
            let message = "a compensation cannot have one itself";
            self.problem(&at, "nested_compensation", message, "Remove the inner one.");
            return None;
        }
        self.feature(Feature::Compensation, &at);
        self.compensating = true;
        let list = self.list(list, &at);
        self.compensating = false;
        list
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
}
