//! The tasks of a document with their places, as they lie within one another.

use crate::workflow::parse::escape;
use serde_json::{Map, Value};

pub(super) struct Task<'d> {
    pub name: &'d str,
    pub pointer: String,
    pub body: &'d Map<String, Value>,
    pub holds: Holds<'d>,
}

/// The tasks within a task.
pub(super) enum Holds<'d> {
    Nothing,
    /// One after the other: `do`, `for` and `try`.
    List(Vec<Task<'d>>),
    /// Side by side; true: the first to complete wins.
    Branches(Vec<Task<'d>>, bool),
}

/// The tasks of a task list.
pub(super) fn list<'d>(value: &'d Value, at: &str) -> Vec<Task<'d>> {
    let items = value.as_array().into_iter().flatten().enumerate();
    items
        .filter_map(|(place, item)| {
            let (name, body) = item.as_object()?.iter().next()?;
            let pointer = format!("{at}/{place}/{}", escape(name));
            let body = body.as_object()?;
            let holds = holds(body, &pointer);
            Some(Task { name, pointer, body, holds })
        })
        .collect()
}

fn holds<'d>(body: &'d Map<String, Value>, at: &str) -> Holds<'d> {
    if let Some(tried) = body.get("try") {
        Holds::List(list(tried, &format!("{at}/try")))
    } else if let Some(fork) = body.get("fork") {
        let branches = list(&fork["branches"], &format!("{at}/fork/branches"));
        Holds::Branches(branches, fork["compete"] == true)
    } else if let Some(inner) = body.get("do") {
        Holds::List(list(inner, &format!("{at}/do")))
    } else {
        Holds::Nothing
    }
}

impl<'d> Task<'d> {
    pub fn inner(&self) -> &[Task<'d>] {
        match &self.holds {
            Holds::Nothing => &[],
            Holds::List(tasks) | Holds::Branches(tasks, _) => tasks,
        }
    }
}

/// These tasks and all within them.
pub(super) fn all<'t, 'd>(tasks: &'t [Task<'d>]) -> Vec<&'t Task<'d>> {
    tasks.iter().flat_map(|task| std::iter::once(task).chain(all(task.inner()))).collect()
}
