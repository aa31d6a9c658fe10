//! The steps that make the length of a run.

use super::figures::Figures;
use super::tree::{self, Holds, Task};
use super::{Advice, Severity, shown_ms};

/// A part of a run's time from which on a step is named.
const NAMED: f64 = 0.01;
/// Steps that are named.
const MOST: usize = 12;
/// A part from which on a step is most of the run.
const MOST_OF_IT: f64 = 0.5;

/// The critical path: of branches side by side the one that takes longest.
pub(super) fn critical(tasks: &[Task], figures: &Figures) -> Option<Advice> {
    let (mut steps, total) = longest(tasks, figures);
    if steps.is_empty() || figures.run_ms <= 0.0 {
        return None;
    }
    steps.retain(|(_, ms)| *ms >= NAMED * figures.run_ms);
    let count = steps.len();
    let mut named: Vec<String> =
        steps.iter().take(MOST).map(|(name, ms)| format!("{name} {}", shown_ms(*ms))).collect();
    if count > MOST {
        named.push(format!("{} more", count - MOST));
    }
    let evidence = format!(
        "a run takes {} on average over {} runs, of which {} are those of the steps {}",
        shown_ms(figures.run_ms),
        figures.runs,
        shown_ms(total),
        named.join(", ")
    );
    let (advice, severity) = ("critical_path", Severity::Info);
    Some(Advice { advice, step: None, severity, evidence, change: None })
}

/// Steps that do something, in their order, with the time of each; and the time of all.
fn longest<'d>(tasks: &[Task<'d>], figures: &Figures) -> (Vec<(&'d str, f64)>, f64) {
    let mut found = (Vec::new(), 0.0);
    for task in tasks {
        let (steps, ms) = of_task(task, figures);
        found.0.extend(steps);
        found.1 += ms;
    }
    found
}

fn of_task<'d>(task: &Task<'d>, figures: &Figures) -> (Vec<(&'d str, f64)>, f64) {
    match &task.holds {
        Holds::Nothing => {
            let ms = figures.per_run_ms(&task.pointer);
            (vec![(task.name, ms)], ms)
        }
        // What its attempts and turns take may lie side by side, and pauses are between them.
        Holds::List(inner) => (longest(inner, figures).0, figures.per_run_ms(&task.pointer)),
        Holds::Branches(branches, compete) => {
            let ways = branches.iter().map(|branch| of_task(branch, figures));
            let chosen = match compete {
                false => ways.max_by(|a, b| a.1.total_cmp(&b.1)),
                true => ways.min_by(|a, b| a.1.total_cmp(&b.1)),
            };
            chosen.unwrap_or_default()
        }
    }
}

/// A step that is most of the run.
pub(super) fn dominant(tasks: &[Task], figures: &Figures) -> Option<Advice> {
    let share = |task: &Task| figures.steps.get(&task.pointer).and_then(|s| s.share).unwrap_or(0.0);
    let alone = tree::all(tasks).into_iter().filter(|task| task.inner().is_empty());
    // A wait is as long as it is meant to be.
    let works = alone.filter(|task| !task.body.contains_key("wait"));
    let task = works.max_by(|a, b| share(a).total_cmp(&share(b)))?;
    if share(task) < MOST_OF_IT || tree::all(tasks).len() < 2 {
        return None;
    }
    let step = figures.steps.get(&task.pointer)?;
    let evidence = format!(
        "{} takes {:.0} % of the time of {} runs: half of its {} attempts took at most {}, 99 % at most {}",
        task.name,
        share(task).min(1.0) * 100.0,
        figures.runs,
        step.attempts,
        shown_ms(step.p50_ms.unwrap_or(0.0)),
        shown_ms(step.p99_ms.unwrap_or(0.0)),
    );
    let (advice, severity) = ("dominant_step", Severity::Info);
    Some(Advice { advice, step: Some(task.pointer.clone()), severity, evidence, change: None })
}
