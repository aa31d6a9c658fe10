//! Neighbours in a list that need nothing of one another.

use super::figures::Figures;
use super::flow;
use super::tree::{Holds, Task};
use super::{Advice, Severity, shown_ms};
use serde_json::{Value, json};

/// Most tasks that are put side by side.
const MOST: usize = 8;
/// What must be gained: a part of a run.
const GAIN: f64 = 0.05;

/// Looks through the list of these tasks and those within them.
pub(super) fn advise(tasks: &[Task], figures: &Figures, found: &mut Vec<Advice>) {
    let mut first = 0;
    while first < tasks.len() {
        let size = group(&tasks[first..]);
        found.extend(side_by_side(tasks, first, size, figures));
        first += size.max(1);
    }
    for task in tasks {
        match &task.holds {
            Holds::Nothing => {}
            Holds::List(inner) => advise(inner, figures, found),
            Holds::Branches(branches, _) => {
                branches.iter().for_each(|branch| advise(branch.inner(), figures, found));
            }
        }
    }
}

/// How many of the first of these could go on together.
fn group(tasks: &[Task]) -> usize {
    let could = |place: usize, task: &Task| {
        flow::stands_alone(task) && (place == 0 || !flow::reads_input(task))
    };
    tasks.iter().take(MOST).enumerate().take_while(|(place, task)| could(*place, task)).count()
}

fn side_by_side(tasks: &[Task], first: usize, size: usize, figures: &Figures) -> Option<Advice> {
    let group = tasks.get(first..first + size).filter(|group| group.len() > 1)?;
    if group.iter().any(|task| tasks.iter().any(|other| leads_to(other, task.name))) {
        return None;
    }
    let time = |task: &Task| figures.per_run_ms(&task.pointer);
    let before: f64 = group.iter().map(time).sum();
    // The statements of a run share a session.
    let statements: f64 = group.iter().filter(|task| flow::is_sql(task)).map(time).sum();
    let requests = group.iter().filter(|task| !flow::is_sql(task)).map(time);
    let after = requests.fold(statements, f64::max);
    if before - after < (GAIN * figures.run_ms).max(1.0) {
        return None;
    }
    let names: Vec<&str> = group.iter().map(|task| task.name).collect();
    let evidence = format!(
        "{} only read and need nothing of one another; one after the other they take {} of a run of {}, side by side about {}",
        names.join(", "),
        shown_ms(before),
        shown_ms(figures.run_ms),
        shown_ms(after),
    );
    Some(Advice {
        advice: "parallel",
        step: Some(group[0].pointer.clone()),
        severity: Severity::Info,
        evidence,
        change: change(tasks, first, group),
    })
}

/// Whether a task may jump to the one of this name.
fn leads_to(task: &Task, name: &str) -> bool {
    fn names(value: &Value, name: &str) -> bool {
        match value {
            Value::Object(map) => map
                .iter()
                .any(|(key, value)| (key == "then" && value == name) || names(value, name)),
            Value::Array(items) => items.iter().any(|item| names(item, name)),
            _ => false,
        }
    }
    task.body.iter().any(|(key, value)| (key == "then" && value == name) || names(value, name))
}

/// The group becomes a fork that answers what its last task did.
fn change(tasks: &[Task], first: usize, group: &[Task]) -> Option<Value> {
    let (list, _) = group[0].pointer.rsplit_once('/')?.0.rsplit_once('/')?;
    let is_taken = |name: &str| tasks.iter().any(|task| task.name == name);
    let name = (1..)
        .map(|n| if n == 1 { "together".to_owned() } else { format!("together{n}") })
        .find(|name| !is_taken(name))?;
    let branches: Vec<Value> = group
        .iter()
        .map(|task| {
            Value::Object([(task.name.to_owned(), task.body.clone().into())].into_iter().collect())
        })
        .collect();
    let last = group.len() - 1;
    let fork = json!({ "fork": { "branches": branches }, "output": { "as": format!("${{ .[{last}] }}") } });
    let value = Value::Object([(name, fork)].into_iter().collect());
    let mut patch: Vec<Value> = (first + 1..=first + last)
        .rev()
        .map(|place| json!({ "op": "remove", "path": format!("{list}/{place}") }))
        .collect();
    patch.push(json!({ "op": "replace", "path": format!("{list}/{first}"), "value": value }));
    Some(Value::Array(patch))
}
