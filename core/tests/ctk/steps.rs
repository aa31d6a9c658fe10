//! The phrases of scenarios: those of the kit, and those about what the kit leaves out.

use super::gherkin::{Scenario, Step};
use super::world::{self, End, Outcome, World};
use automate_core::workflow::{Definition, Limits, Runtime, Start};
use serde_json::Value;

/// Why a scenario did not pass.
pub enum Verdict {
    Skipped(String),
    Failed(String),
}

pub fn run(scenario: &Scenario) -> Result<(), Verdict> {
    let mut definition = Value::Null;
    let mut input = Value::Object(serde_json::Map::new());
    let mut world = World::default();
    let mut outcome: Option<Outcome> = None;
    let mut schedule = String::new();
    for step in &scenario.steps {
        let text = step.text.as_str();
        if text.starts_with("a workflow with definition") {
            definition = step.yaml();
        } else if text.starts_with("given the workflow input is")
            || text.starts_with("the workflow input is")
        {
            input = step.yaml();
        } else if text.starts_with("the workflow is executed")
            || text.starts_with("the workflow is started by the event")
        {
            let built = Definition::parse(&definition, &Limits::default()).map_err(|problems| {
                let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
                match problems.iter().all(|p| p.code == "unsupported_task") {
                    true => Verdict::Skipped(lines.join("; ")),
                    false => Verdict::Failed(lines.join("; ")),
                }
            })?;
            let world = std::mem::take(&mut world);
            if text.contains("started by") {
                let runtime = Runtime::default();
                let started =
                    built.schedule().and_then(|s| s.starts_on(&built, &runtime, &step.yaml()));
                input = started.ok_or(Verdict::Failed("the event starts nothing".into()))?;
            }
            outcome = Some(world::execute(&built, input.clone(), world));
            schedule = built.schedule().map_or(String::new(), when);
        } else if let Some(wanted) = text.strip_prefix("the workflow should start ") {
            if wanted != schedule {
                return Err(Verdict::Failed(format!("it starts {schedule}")));
            }
        } else if !arrange(step, &mut world) {
            let outcome = outcome.as_ref().ok_or(Verdict::Failed("not executed".into()))?;
            check(step, outcome).map_err(|why| Verdict::Failed(format!("{text}: {why}")))?;
        }
    }
    outcome.map(|_| ()).ok_or(Verdict::Failed("nothing was executed".into()))
}

/// When a workflow starts, as scenarios say it.
fn when(start: &Start) -> String {
    match (&start.cron, start.every_ms, start.after_ms) {
        (Some(cron), ..) => format!("by cron '{cron}'"),
        (_, Some(ms), _) => format!("every {} seconds", ms / 1000),
        (_, _, Some(ms)) => format!("after {} seconds", ms / 1000),
        _ => "on an event".to_owned(),
    }
}

/// Phrases about the world outside; false: it is none.
fn arrange(step: &Step, world: &mut World) -> bool {
    let words: Vec<&str> = step.text.trim_end_matches(':').split_whitespace().collect();
    match words.as_slice() {
        ["given", "the", "event", "arrives"] => world.events.push(step.yaml()),
        ["given", task, "answers"] => drop(world.answers.insert((*task).into(), step.yaml())),
        ["given", task, "fails", times, "times", "with", "status", status] => {
            let number = |text: &str| text.parse::<u32>().expect("a number");
            let failures = (number(times), number(status).into());
            world.failures.insert((*task).into(), failures);
        }
        ["given", task, "never", "answers"] => world.silent.push((*task).into()),
        ["given", "the", "workflow", "is", "cancelled"] => world.cancel = true,
        _ => return false,
    }
    true
}

fn check(step: &Step, outcome: &Outcome) -> Result<(), String> {
    let text = step.text.trim_end_matches(':');
    let quoted = step.quoted();
    let words: Vec<&str> = text.split_whitespace().collect();
    match words.as_slice() {
        ["the", "workflow", "should", "complete"] => outcome.output().map(|_| ()),
        ["the", "workflow", "should", "complete", "with", "output"] => {
            same(outcome.output()?, &step.yaml())
        }
        ["the", "workflow", "should", "fault"] => outcome.error().map(|_| ()),
        ["the", "workflow", "should", "fault", "with", "error"] => {
            same_error(outcome.error()?, &step.yaml())
        }
        ["the", "workflow", "should", "cancel"] => match &outcome.end {
            End::Cancelled => Ok(()),
            _ => Err("it did not".into()),
        },
        ["the", "workflow", "should", "take", seconds, "seconds"] => {
            let found = outcome.took_ms as f64 / 1000.0;
            match seconds.parse() == Ok(found) {
                true => Ok(()),
                false => Err(format!("it took {found}")),
            }
        }
        ["the", "workflow", "should", "emit"] => {
            let wanted = step.yaml();
            let emitted = |event: &Value| {
                wanted.as_object().into_iter().flatten().all(|(k, v)| event.get(k) == Some(v))
            };
            match outcome.emitted.iter().any(emitted) {
                true => Ok(()),
                false => Err(format!("emitted was {:?}", outcome.emitted)),
            }
        }
        ["the", "workflow", "output", "should", "have", "properties", ..] => {
            let output = outcome.output()?;
            quoted.iter().try_for_each(|path| property(output, path).map(|_| ()))
        }
        ["the", "workflow", "output", "should", "have", "a", _, "property", "with", "value"] => {
            same(property(outcome.output()?, first(&quoted)?)?, &step.yaml())
        }
        ["the", "workflow", "output", "should", "have", "a", _, "property", "containing", n, _] => {
            let found = property(outcome.output()?, first(&quoted)?)?.as_array().map(Vec::len);
            match found == n.parse().ok() {
                true => Ok(()),
                false => Err(format!("{found:?} items")),
            }
        }
        words => of_task(words, step, outcome),
    }
}

/// Phrases about a task.
fn of_task(words: &[&str], step: &Step, outcome: &Outcome) -> Result<(), String> {
    let place = |task: &str| outcome.started.iter().position(|name| name == task);
    match words {
        [task, "should", "run", "first"] => ran(outcome.started.first(), task),
        [task, "should", "run", "last"] => ran(outcome.started.last(), task),
        [one, "should", "run", "before", other] | [other, "should", "run", "after", one] => {
            match (place(one), place(other)) {
                (Some(a), Some(b)) if a < b => Ok(()),
                found => Err(format!("they ran at {found:?}")),
            }
        }
        [task, "should", "run", times, "times"] => {
            let ended = |r: &&world::Record| r.name == *task && r.status == "completed";
            let found = outcome.records.iter().filter(ended).count();
            match times.parse() == Ok(found) {
                true => Ok(()),
                false => Err(format!("it ran {found} times")),
            }
        }
        [task, "should", "not", "run"] => match place(task) {
            None => Ok(()),
            Some(_) => Err("it did".into()),
        },
        [task, "should", "cancel"] => became(outcome, task, "cancelled").map(|_| ()),
        [task, "should", "skip"] => became(outcome, task, "skipped").map(|_| ()),
        [task, "should", "complete"] => became(outcome, task, "completed").map(|_| ()),
        [task, "should", "fault"] => became(outcome, task, "faulted").map(|_| ()),
        [task, "should", "complete", "with", "output"] => {
            let record = became(outcome, task, "completed")?;
            same(record.output.as_ref().unwrap_or(&Value::Null), &step.yaml())
        }
        [task, "should", "fault", "with", "error"] => {
            let record = became(outcome, task, "faulted")?;
            same_error(record.error.as_ref().unwrap_or(&Value::Null), &step.yaml())
        }
        _ => Err("the runner does not know this step".into()),
    }
}

fn became<'o>(outcome: &'o Outcome, task: &str, status: &str) -> Result<&'o world::Record, String> {
    let of_task = || outcome.records.iter().filter(|r| r.name == task);
    of_task().find(|r| r.status == status).ok_or_else(|| {
        let seen: Vec<&str> = of_task().map(|r| r.status).collect();
        format!("it was {seen:?}")
    })
}

fn ran(found: Option<&String>, task: &str) -> Result<(), String> {
    match found.is_some_and(|name| name == task) {
        true => Ok(()),
        false => Err(format!("it was {found:?}")),
    }
}

fn first(quoted: &[String]) -> Result<&str, String> {
    quoted.first().map(String::as_str).ok_or_else(|| "no property is named".into())
}

fn property<'v>(value: &'v Value, path: &str) -> Result<&'v Value, String> {
    path.split('.').try_fold(value, |v, key| {
        v.get(key).ok_or_else(|| format!("no property {path} in {value}"))
    })
}

fn same(found: &Value, wanted: &Value) -> Result<(), String> {
    match found == wanted {
        true => Ok(()),
        false => Err(format!("{found} instead of {wanted}")),
    }
}

/// Every field that is asked for, and no other field of its own.
fn same_error(found: &Value, wanted: &Value) -> Result<(), String> {
    let fields = wanted.as_object().ok_or("the error asked for is not an object")?;
    for (key, value) in fields {
        same(found.get(key).unwrap_or(&Value::Null), value)?;
    }
    Ok(())
}

impl Outcome {
    fn output(&self) -> Result<&Value, String> {
        match &self.end {
            End::Completed(output) => Ok(output),
            End::Faulted(error) => Err(format!("it faulted: {error}")),
            End::Cancelled => Err("it was cancelled".into()),
        }
    }

    fn error(&self) -> Result<&Value, String> {
        match &self.end {
            End::Faulted(error) => Ok(error),
            End::Completed(output) => Err(format!("it completed: {output}")),
            End::Cancelled => Err("it was cancelled".into()),
        }
    }
}
