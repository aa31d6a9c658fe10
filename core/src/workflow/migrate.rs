//! A run on its way to another version of its workflow.
//!
//! A state names tasks and task lists by their places in the definition. They are found again by
//! name: a task is the same if it has the same name, is of the same kind, and so are those around it.

use super::advance::{push_turns, step_id};
use super::definition::{Definition, Kind, Task};
use super::event::Event;
use super::state::{Branch, Done, Frame, Pending, State, WaitsFor};
use super::strategy::{Strategy, Until};
use crate::problem::Problem;
use std::collections::HashMap;
use std::mem::discriminant;

/// A run as the other definition has it.
#[derive(Debug)]
pub struct Migrated {
    pub state: State,
    /// The steps that it waits for.
    pub steps: Vec<Moved>,
    /// Loops whose items are with the shell: their steps in both definitions.
    pub loops: Vec<(String, String)>,
}

/// A step that a run waits for, in both definitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    pub from: String,
    pub to: String,
    pub name: String,
    pub attempt: u32,
    pub waits_for: Awaits,
}

/// Who ends the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaits {
    /// The session that does the run's statements.
    Session,
    /// Somebody who was told the step's id, and answers with that.
    Answer,
    /// Events.
    Events,
    /// The run itself: a time, a retry, its own branches.
    Nobody,
}

/// The state of a run of `from`, as a run of `to` that stands at the same place; else what there is
/// no place for, by the steps of `from`.
pub fn migrate(
    state: &State,
    from: &Definition,
    to: &Definition,
) -> Result<Migrated, Vec<Problem>> {
    let mut way = Way { from, to, lists: HashMap::new(), tasks: HashMap::new(), problems: vec![] };
    way.pair(from.root, to.root);
    let steps = way.steps(state);
    let mut moved = state.clone();
    moved.branches.iter_mut().for_each(|branch| way.branch(branch));
    moved.saga.iter_mut().for_each(|done| way.done(done));
    moved.parked.iter_mut().for_each(|event| way.event(event));
    way.forks(&state.branches, &mut moved.branches);
    if let (Some(before), Some(frozen)) = (&state.frozen, &mut moved.frozen) {
        frozen.branches.iter_mut().for_each(|branch| way.branch(branch));
        way.forks(&before.branches, &mut frozen.branches);
    }
    let loops = way.loops(state);
    match way.problems.is_empty() {
        true => Ok(Migrated { state: moved, steps, loops }),
        false => Err(way.problems),
    }
}

struct Way<'a> {
    from: &'a Definition,
    to: &'a Definition,
    /// What the lists and tasks of one definition are in the other.
    lists: HashMap<usize, usize>,
    tasks: HashMap<usize, usize>,
    problems: Vec<Problem>,
}

impl<'a> Way<'a> {
    /// Finds the tasks of a list, and all below, in a list of the other definition.
    fn pair(&mut self, from: usize, to: usize) {
        let (old, new) = (self.from, self.to);
        self.lists.insert(from, to);
        for task in old.tasks_of(from) {
            let twin = new.tasks_of(to).find(|t| t.name == task.name && same_kind(t, task));
            let Some(twin) = twin else { continue };
            self.tasks.insert(task.id, twin.id);
            for nested in task.nested() {
                let name = |d: &Definition, list| d.tasks_of(list).next().map(|t| t.name.clone());
                let branch = name(old, nested.list);
                let list = twin.nested().into_iter().find(|other| {
                    other.role == nested.role
                        && (nested.role != "fork" || name(new, other.list) == branch)
                });
                if let Some(list) = list {
                    self.pair(nested.list, list.list);
                }
            }
        }
    }

    fn task(&self, id: usize) -> Option<&'a Task> {
        self.tasks.get(&id).and_then(|id| self.to.tasks.get(*id))
    }

    /// The task that a step is of, and what comes after its pointer.
    fn step_task<'s>(&self, step: &'s str) -> Option<(&'a Task, &'s str)> {
        let ends = |rest: &str| rest.is_empty() || rest.starts_with(['#', '@', '^', '/']);
        let tasks = self.from.tasks.iter();
        tasks
            .filter_map(|task| Some((task, step.strip_prefix(task.pointer.as_str())?)))
            .filter(|(_, rest)| ends(rest))
            .max_by_key(|(task, _)| task.pointer.len())
    }

    /// The id of a step in the other definition.
    fn step(&self, step: &str) -> Option<String> {
        let (task, rest) = self.step_task(step)?;
        Some(format!("{}{rest}", self.task(task.id)?.pointer))
    }

    fn rename(&mut self, step: &mut String) {
        match self.step(step) {
            Some(new) => *step = new,
            None => self.missing(step),
        }
    }

    fn missing(&mut self, step: &str) {
        let kind = self.step_task(step).map_or("task", |(task, _)| kind_name(&task.kind));
        let message = format!("the other version has no such {kind} at this place");
        let hint = "A task is found by its name, and by the names of those around it.";
        self.refuse(step, "no_such_step", message, hint);
    }

    fn refuse(&mut self, step: &str, code: &'static str, message: impl Into<String>, hint: &str) {
        let problem = Problem::error(step, code, message).with_hint(hint);
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    fn branch(&mut self, branch: &mut Branch) {
        let found = self.problems.len();
        let mut suffix = branch.suffix.clone();
        for frame in &mut branch.frames {
            let outer = suffix.clone();
            push_turns(&mut suffix, std::slice::from_ref(frame));
            self.frame(frame, &outer, &suffix);
            if self.problems.len() > found {
                return;
            }
        }
        if let Some(pending) = &mut branch.pending {
            self.listening(pending);
            self.rename(&mut pending.step);
        }
        if let Some(timer) = &mut branch.timer {
            self.rename(&mut timer.step);
        }
    }

    /// `outer` ends the id of the owner's step, `inner` those of the list's steps.
    fn frame(&mut self, frame: &mut Frame, outer: &str, inner: &str) {
        let (old, new) = (self.from, self.to);
        let items: Vec<&Task> = old.tasks_of(frame.list).collect();
        let Some(list) = self.lists.get(&frame.list).copied() else {
            let owner = frame.owner.and_then(|id| old.tasks.get(id));
            let pointer = owner.or(items.first().copied()).map_or("", |task| &task.pointer);
            return self.missing(&format!("{pointer}{outer}"));
        };
        let place = |task: &Task| {
            let twin = self.tasks.get(&task.id);
            new.tasks_of(list).position(|t| Some(&t.id) == twin)
        };
        let index = match items.get(frame.index) {
            Some(task) => match place(task) {
                Some(index) => index,
                None => return self.missing(&format!("{}{inner}", task.pointer)),
            },
            // The list has been left.
            None if frame.index > items.len() => frame.index,
            // It is past its last task.
            None => items.last().and_then(|last| place(last)).map_or(usize::MAX, |at| at + 1),
        };
        frame.index = index;
        frame.list = list;
        frame.owner = frame.owner.map(|id| self.tasks.get(&id).copied().unwrap_or(id));
    }

    fn done(&mut self, done: &mut Done) {
        let Some(old) = self.from.tasks.get(done.task) else { return };
        match self.task(done.task) {
            Some(task) if task.compensate.is_some() => done.task = task.id,
            _ => {
                let step = format!("{}{}", old.pointer, done.suffix);
                let message = "the step is done, and the other version does not say how to undo it";
                let hint = "Keep the task there, with its metadata.compensate.";
                self.refuse(&step, "no_compensation", message, hint);
            }
        }
    }

    fn event(&mut self, event: &mut Event) {
        if let Some(step) = event.step_mut() {
            self.rename(step);
        }
    }

    /// What has been heard is counted by the places of the filters.
    fn listening(&mut self, pending: &Pending) {
        let Some(heard) = &pending.listening else { return };
        if heard.met.is_empty() && heard.until_met.is_empty() {
            return;
        }
        let Some((old, _)) = self.step_task(&pending.step) else { return };
        let Some(new) = self.task(old.id) else { return };
        if let (Kind::Listen(was), Kind::Listen(is)) = (&old.kind, &new.kind)
            && filters(&was.to) != filters(&is.to)
        {
            let message = "the step has heard some of its events, and wants others there";
            let hint = "Wait until it has heard all of them.";
            self.refuse(&pending.step, "other_events", message, hint);
        }
    }

    /// The branches of a fork, and their outputs, are known by their places.
    fn forks(&mut self, before: &[Branch], moved: &mut [Branch]) {
        for (at, branch) in before.iter().enumerate() {
            let Some(pending) = &branch.pending else { continue };
            let Some((task, _)) = self.step_task(&pending.step) else { continue };
            let (Kind::Fork(was), Some(twin)) = (&task.kind, self.task(task.id)) else { continue };
            let Kind::Fork(is) = &twin.kind else { continue };
            let place = |list: &usize| {
                let twin = self.lists.get(list)?;
                is.branches.iter().position(|list| list == twin).map(|at| at as u64)
            };
            let places: Option<Vec<u64>> = was.branches.iter().map(place).collect();
            let places = places.filter(|places| places.len() == is.branches.len());
            let Some(places) = places else {
                let message = "the other version has other branches in this fork";
                let hint = "Wait until the fork is over.";
                self.refuse(&pending.step, "other_branches", message, hint);
                continue;
            };
            let to = |place: u64| {
                let place = usize::try_from(place).ok().and_then(|at| places.get(at));
                place.copied().unwrap_or_default()
            };
            for child in moved.iter_mut().filter(|b| b.parent == Some(branch.id)) {
                child.place = to(child.place);
            }
            let pending = moved.get_mut(at).and_then(|b| b.pending.as_mut());
            if let Some(join) = pending.and_then(|p| p.join.as_mut()) {
                let outputs = std::mem::take(&mut join.outputs);
                join.outputs = outputs.into_iter().map(|(at, value)| (to(at), value)).collect();
            }
        }
    }

    fn steps(&self, state: &State) -> Vec<Moved> {
        let pending = state.branches.iter().filter_map(|b| b.pending.as_ref());
        let moved = pending.filter_map(|p| {
            let (task, _) = self.step_task(&p.step)?;
            let waits_for = match (p.waits_for, &task.kind) {
                (WaitsFor::Result, Kind::Sql(_) | Kind::Notify(_)) => Awaits::Session,
                (WaitsFor::Result, _) => Awaits::Answer,
                (WaitsFor::Events, _) => Awaits::Events,
                _ => Awaits::Nobody,
            };
            let (from, to) = (p.step.clone(), self.step(&p.step)?);
            Some(Moved { from, to, name: task.name.clone(), attempt: p.attempt, waits_for })
        });
        moved.collect()
    }

    fn loops(&self, state: &State) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for branch in &state.branches {
            for (at, frame) in branch.frames.iter().enumerate() {
                let owner = frame.owner.and_then(|id| self.from.tasks.get(id));
                if let (Some(task), Some(turn)) = (owner, &frame.turn)
                    && turn.total > 0
                {
                    found.push(step_id(
                        task,
                        &branch.suffix,
                        branch.frames.get(..at).unwrap_or(&[]),
                    ));
                }
            }
            let pending = branch.pending.as_ref();
            let kept = pending.filter(|p| p.join.as_ref().is_some_and(|join| join.kept));
            found.extend(kept.map(|p| p.step.clone()));
        }
        found.into_iter().filter_map(|step| Some((step.clone(), self.step(&step)?))).collect()
    }
}

/// Whether a run may be in one instead of the other.
fn same_kind(one: &Task, other: &Task) -> bool {
    match (&one.kind, &other.kind) {
        (Kind::For(one), Kind::For(other)) => one.parallel.is_some() == other.parallel.is_some(),
        (Kind::Fork(one), Kind::Fork(other)) => one.compete == other.compete,
        (one, other) => discriminant(one) == discriminant(other),
    }
}

/// How many filters a listening step has.
fn filters(strategy: &Strategy) -> (usize, usize) {
    let until = match &strategy.until {
        Until::Events(until) => until.filters.len(),
        _ => 0,
    };
    (strategy.filters.len(), until)
}

/// A kind of task as it is written.
fn kind_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::Do(_) => "do",
        Kind::Function(..) => "call of a function",
        Kind::For(_) => "for",
        Kind::Fork(_) => "fork",
        Kind::Try(_) => "try",
        Kind::Set(_) => "set",
        Kind::Switch(_) => "switch",
        Kind::Wait(_) => "wait",
        Kind::Raise(_) => "raise",
        Kind::Sql(_) => "call: sql",
        Kind::Notify(_) => "call: notify",
        Kind::Report(_) => "call: report",
        Kind::Approval(_) => "call: approval",
        Kind::Http(_) => "call: http",
        Kind::Emit(_) => "emit",
        Kind::Listen(_) => "listen",
        Kind::Run(_) => "run",
    }
}
