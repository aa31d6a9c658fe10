//! How much of a workflow there is, and how near it comes to the limits.

use super::definition::{Definition, Kind, Task};
use super::limits::Limits;
use crate::problem::Problem;
use serde_json::Value;

/// What a document may have at most to be measured at all.
const MEASURED: usize = 100_000;
const MEASURED_DEPTH: usize = 128;

/// The measures of a definition.
#[derive(Clone, Debug, PartialEq)]
pub struct Complexity {
    /// Tasks; one in a function counts at each call of that.
    pub tasks: usize,
    /// Task lists within one another.
    pub depth: usize,
    /// Branches that may go on at the same time.
    pub max_parallel: usize,
    /// Ways through it that do not follow from one another: 1, and 1 for each decision.
    pub cyclomatic: usize,
    pub within_limits: bool,
    /// The limit that it comes nearest to, as a document can lower it, and the part of that which
    /// is used up.
    pub nearest_limit: &'static str,
    pub used: f64,
}

/// Measures a document, also one that is larger than `limits` let it be.
pub fn complexity(document: &Value, limits: &Limits) -> Result<Complexity, Vec<Problem>> {
    let wide = Limits {
        max_steps: MEASURED.max(limits.max_steps),
        max_depth: MEASURED_DEPTH.max(limits.max_depth),
        max_branches: MEASURED.max(limits.max_branches),
        ..limits.clone()
    };
    let definition = Definition::parse(document, &wide)?;
    Ok(measure(&definition, limits))
}

fn measure(definition: &Definition, limits: &Limits) -> Complexity {
    let own = &definition.limits;
    let mut widest = 1;
    let (depth, max_parallel) = list(definition, definition.root, &mut widest);
    let tasks = definition.tasks.len();
    // A fork or a loop is held against the limit by itself, not with those around it.
    let uses = [
        ("maxSteps", tasks, limits.max_steps.min(own.max_steps)),
        ("maxDepth", depth, limits.max_depth.min(own.max_depth)),
        ("maxBranches", widest, limits.max_branches.min(own.max_branches)),
    ];
    let part = |(name, is, most): (&'static str, usize, usize)| (name, is as f64 / most as f64);
    let nearest = uses.map(part).into_iter().max_by(|a, b| a.1.total_cmp(&b.1));
    let (nearest_limit, used) = nearest.unwrap_or(("maxSteps", 0.0));
    Complexity {
        tasks,
        depth,
        max_parallel,
        cyclomatic: 1 + definition.tasks.iter().map(decisions).sum::<usize>(),
        within_limits: used <= 1.0,
        nearest_limit,
        used,
    }
}

/// The lists within one another from here on, and the branches side by side; `widest` is the most
/// that one task opens.
fn list(definition: &Definition, id: usize, widest: &mut usize) -> (usize, usize) {
    let (mut depth, mut parallel) = (0, 1);
    for task in definition.tasks_of(id) {
        let below: Vec<(&str, (usize, usize))> = task
            .nested()
            .iter()
            .map(|nested| (nested.role, list(definition, nested.list, widest)))
            .collect();
        depth = below.iter().map(|(_, (depth, _))| *depth).max().unwrap_or(0).max(depth);
        let most = below.iter().map(|(_, (_, n))| *n).max().unwrap_or(1);
        let here = match &task.kind {
            Kind::Fork(fork) => {
                *widest = fork.branches.len().max(*widest);
                let branches = below.iter().filter(|(role, _)| *role == "fork");
                branches.map(|(_, (_, n))| *n).fold(0, usize::saturating_add)
            }
            Kind::For(head) => match &head.parallel {
                Some(parallel) => {
                    let turns = usize::try_from(parallel.max).unwrap_or(usize::MAX);
                    *widest = turns.max(*widest);
                    turns.saturating_mul(most)
                }
                None => most,
            },
            _ => most,
        };
        parallel = here.max(parallel);
    }
    (depth + 1, parallel)
}

/// Places of a task where a run may go one way or the other.
fn decisions(task: &Task) -> usize {
    let of_kind = match &task.kind {
        Kind::For(head) => 1 + usize::from(head.keep_going.is_some()),
        Kind::Switch(cases) => cases.iter().filter(|case| case.when.is_some()).count(),
        Kind::Try(clause) => 1 + usize::from(clause.retry.is_some()),
        _ => 0,
    };
    of_kind + usize::from(task.condition.is_some())
}
