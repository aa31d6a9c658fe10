//! The tree of a document's tasks.

use super::label;
use serde_json::{Map, Value};

/// Tasks beyond which a picture is of no use; a definition has at most 500.
const MAX_TASKS: usize = 2_000;

/// Why a document cannot be drawn.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DrawError {
    #[error("the definition has no list of tasks")]
    NoTasks,
    #[error("the definition has more than {MAX_TASKS} tasks")]
    TooMany,
}

/// A workflow as its pictures show it.
#[derive(Debug)]
pub struct Outline {
    pub title: String,
    pub(super) tasks: Vec<Node>,
}

/// A task.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub pointer: String,
    pub name: String,
    pub kind: String,
    pub label: String,
    /// What qualifies it: a condition, a time limit, a policy for retries.
    pub notes: Vec<String>,
    pub cases: Vec<Case>,
    pub parts: Vec<Part>,
    /// Where it goes on, if not with the next task.
    pub then: Option<String>,
}

/// A case of a switch.
#[derive(Debug)]
pub(super) struct Case {
    pub name: String,
    pub when: String,
    pub then: Option<String>,
}

/// Tasks within a task.
#[derive(Debug)]
pub(super) struct Part {
    pub role: Role,
    pub title: String,
    pub tasks: Vec<Node>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Body,
    Branch,
    Catch,
    Compensate,
}

impl Outline {
    pub fn of(document: &Value, title: &str) -> Result<Outline, DrawError> {
        let mut walk = Walk { left: MAX_TASKS };
        let list = document.get("do").and_then(Value::as_array).ok_or(DrawError::NoTasks)?;
        let tasks = walk.list(list, "/do")?;
        let own = document.pointer("/document/name").and_then(Value::as_str).unwrap_or("workflow");
        let title = if title.is_empty() { own } else { title };
        Ok(Outline { title: label::one_line(title), tasks })
    }

    /// Every task, outer ones first.
    pub(super) fn each<'a>(&'a self, f: &mut dyn FnMut(&'a Node, usize)) {
        fn go<'a>(tasks: &'a [Node], depth: usize, f: &mut dyn FnMut(&'a Node, usize)) {
            for task in tasks {
                f(task, depth);
                task.parts.iter().for_each(|part| go(&part.tasks, depth + 1, f));
            }
        }
        go(&self.tasks, 0, f);
    }
}

struct Walk {
    left: usize,
}

impl Walk {
    fn list(&mut self, list: &[Value], at: &str) -> Result<Vec<Node>, DrawError> {
        let mut nodes = Vec::with_capacity(list.len());
        for (i, item) in list.iter().enumerate() {
            let Some((name, task)) = item.as_object().and_then(|m| m.iter().next()) else {
                continue;
            };
            let at = format!("{at}/{i}/{}", name.replace('~', "~0").replace('/', "~1"));
            nodes.push(self.task(name, task, at)?);
        }
        Ok(nodes)
    }

    fn task(&mut self, name: &str, task: &Value, at: String) -> Result<Node, DrawError> {
        self.left = self.left.checked_sub(1).ok_or(DrawError::TooMany)?;
        let empty = Map::new();
        let map = task.as_object().unwrap_or(&empty);
        let (kind, label) = label::of(map);
        let mut parts = Vec::new();
        match kind.as_str() {
            "try" => {
                self.part(&mut parts, Role::Body, "", map.get("try"), &at, "try")?;
                let catch = map.get("catch").and_then(|c| c.get("do"));
                let title = label::catch(map.get("catch"));
                self.part(&mut parts, Role::Catch, &title, catch, &at, "catch/do")?;
            }
            "for" | "do" => self.part(&mut parts, Role::Body, "", map.get("do"), &at, "do")?,
            "fork" => self.fork(&mut parts, map, &at)?,
            "listen" => {
                let body = map.get("foreach").and_then(|f| f.get("do"));
                self.part(&mut parts, Role::Body, "each event", body, &at, "foreach/do")?;
            }
            _ => {}
        }
        let undo = map.get("metadata").and_then(|m| m.get("compensate"));
        self.part(&mut parts, Role::Compensate, "undo", undo, &at, "metadata/compensate")?;
        Ok(Node {
            pointer: at,
            name: label::one_line(name),
            cases: cases(map.get("switch")),
            notes: label::notes(map),
            then: then(map.get("then")),
            kind,
            label,
            parts,
        })
    }

    fn part(
        &mut self,
        parts: &mut Vec<Part>,
        role: Role,
        title: &str,
        list: Option<&Value>,
        at: &str,
        key: &str,
    ) -> Result<(), DrawError> {
        if let Some(list) = list.and_then(Value::as_array).filter(|list| !list.is_empty()) {
            let tasks = self.list(list, &format!("{at}/{key}"))?;
            parts.push(Part { role, title: title.into(), tasks });
        }
        Ok(())
    }

    fn fork(
        &mut self,
        parts: &mut Vec<Part>,
        map: &Map<String, Value>,
        at: &str,
    ) -> Result<(), DrawError> {
        let branches = map.get("fork").and_then(|f| f.get("branches")).and_then(Value::as_array);
        for task in
            self.list(branches.map_or(&[], Vec::as_slice), &format!("{at}/fork/branches"))?
        {
            parts.push(Part { role: Role::Branch, title: String::new(), tasks: vec![task] });
        }
        Ok(())
    }
}

fn then(value: Option<&Value>) -> Option<String> {
    value.and_then(Value::as_str).filter(|then| *then != "continue").map(label::one_line)
}

fn cases(switch: Option<&Value>) -> Vec<Case> {
    let items = switch.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let named = items.iter().filter_map(|i| i.as_object().and_then(|m| m.iter().next()));
    named
        .map(|(name, case)| Case {
            name: label::one_line(name),
            when: label::text(case.get("when")),
            then: then(case.get("then")),
        })
        .collect()
}
