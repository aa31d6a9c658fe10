//! Tasks that no run comes to.

use super::definition::{Definition, Kind, Task, Then};
use crate::problem::Problem;

impl Definition {
    /// Warnings about tasks that are never reached; those within them are not named.
    pub fn unreached(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        self.look_through(self.root, &mut found);
        found
    }

    fn look_through(&self, list: usize, found: &mut Vec<Problem>) {
        let tasks: Vec<&Task> = self.tasks_of(list).collect();
        let reached = reached(&tasks);
        for (task, reached) in tasks.iter().zip(reached) {
            if reached {
                task.nested().iter().for_each(|nested| self.look_through(nested.list, found));
                continue;
            }
            let message = format!("the task \"{}\" is never reached", task.name);
            let hint =
                "Every way ends or goes elsewhere before it: remove it, or name it in a \"then\".";
            found.push(
                Problem::warning(task.pointer.clone(), "unreachable_task", message).with_hint(hint),
            );
        }
    }
}

/// Which tasks of a list a run that begins it may come to.
fn reached(tasks: &[&Task]) -> Vec<bool> {
    let mut seen = vec![false; tasks.len()];
    let mut open = vec![0];
    while let Some(at) = open.pop() {
        let (Some(task), Some(seen)) = (tasks.get(at), seen.get_mut(at)) else { continue };
        if std::mem::replace(seen, true) {
            continue;
        }
        let next = ways(task).into_iter().filter_map(|then| match then {
            Then::Continue => Some(at + 1),
            Then::Goto(to) => Some(to),
            Then::Exit | Then::End => None,
        });
        open.extend(next);
    }
    seen
}

/// Where a run may go after a task.
fn ways(task: &Task) -> Vec<Then> {
    let mut ways = match &task.kind {
        Kind::Raise(_) => Vec::new(),
        Kind::Switch(cases) => {
            let mut ways: Vec<Then> = cases.iter().map(|case| case.then).collect();
            if cases.iter().all(|case| case.when.is_some()) {
                ways.push(task.then);
            }
            ways
        }
        Kind::Try(clause) => clause.then.into_iter().chain([task.then]).collect(),
        _ => vec![task.then],
    };
    if task.condition.is_some() {
        // It is left out, and the run goes on.
        ways.push(Then::Continue);
    }
    ways
}
