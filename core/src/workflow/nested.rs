//! How the task lists of a definition hang together.

use super::definition::{Definition, Kind, Task};

/// A task list of a task, and what it is to it.
pub(super) struct Nested {
    pub list: usize,
    pub role: &'static str,
}

impl Task {
    /// The task lists below this one, each with its role.
    pub(super) fn nested(&self) -> Vec<Nested> {
        let of = |role, list| Nested { list, role };
        let mut found = match &self.kind {
            Kind::Do(list) => vec![of("do", *list)],
            Kind::Function(_, list) => vec![of("call", *list)],
            Kind::For(head) => vec![of("for", head.body)],
            Kind::Fork(fork) => fork.branches.iter().map(|list| of("fork", *list)).collect(),
            Kind::Try(clause) => {
                let handler = clause.handler.map(|list| of("catch", list));
                [of("try", clause.body)].into_iter().chain(handler).collect()
            }
            Kind::Listen(listen) => {
                let body = listen.each.as_ref().and_then(|each| each.body);
                body.map(|list| of("foreach", list)).into_iter().collect()
            }
            _ => Vec::new(),
        };
        found.extend(self.compensate.map(|list| of("compensate", list)));
        found
    }
}

impl Definition {
    /// The tasks of a list.
    pub(super) fn tasks_of(&self, list: usize) -> impl Iterator<Item = &Task> {
        let items = self.lists.get(list).map_or(&[][..], |list| &list.items);
        items.iter().filter_map(|id| self.tasks.get(*id))
    }
}
