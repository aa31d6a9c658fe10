//! From a JSON document to a [`Definition`]: one walk that reports every problem with its place.

mod auth;
mod calls;
mod catch;
mod data;
mod flow;
mod http;
mod listen;
mod lists;
mod problems;
mod reuse;
mod root;
mod run;
mod sql;
mod tasks;

pub(crate) use http::METHODS;
pub(in crate::workflow) use problems::escape;

use super::definition::{Data, Definition, EffectRef, List, Start, Task};
use super::feature::Feature;
use super::limits::Limits;
use super::scope;
use crate::problem::Problem;
use serde_json::{Map, Value};

/// The walk: what it has built, what it has found wrong, and where it is.
pub(super) struct Walk<'a> {
    limits: Limits,
    problems: Vec<Problem>,
    tasks: Vec<Option<Task>>,
    lists: Vec<List>,
    effects: Vec<EffectRef>,
    features: Vec<(Feature, String)>,
    /// Names of the variables an expression may use here: the fixed ones, then those of the
    /// enclosing loops and catch clauses.
    vars: Vec<String>,
    depth: usize,
    /// `use`, for what is referred to by name.
    shared: Option<&'a Map<String, Value>>,
    /// Places of functions that are written once and stand at their calls, and the names of those
    /// the walk is in.
    aliases: Vec<(String, String)>,
    functions: Vec<String>,
    /// Within a compensation, which has none itself.
    compensating: bool,
    /// Expressions ask for the document, and for the definitions of tasks.
    wants_document: bool,
    wants_tasks: bool,
}

/// What the top of a document gives.
pub(super) struct Root {
    list: usize,
    data: Data,
    timeout_ms: Option<u64>,
    schedule: Option<Start>,
}

/// See [`Definition::parse`].
pub(super) fn definition(document: &Value, limits: &Limits) -> Result<Definition, Vec<Problem>> {
    let mut walk = Walk {
        limits: limits.clone(),
        problems: Vec::new(),
        tasks: Vec::new(),
        lists: Vec::new(),
        effects: Vec::new(),
        features: Vec::new(),
        vars: scope::FIXED.map(str::to_owned).to_vec(),
        depth: 0,
        shared: None,
        aliases: Vec::new(),
        functions: Vec::new(),
        compensating: false,
        wants_document: false,
        wants_tasks: false,
    };
    let built = walk.root(document);
    let Walk { problems, tasks, lists, effects, features, limits, .. } = walk;
    let (keep, show) = (walk.wants_document, walk.wants_tasks);
    let tasks: Option<Vec<Task>> = tasks.into_iter().collect();
    match (built, tasks) {
        (Some(root), Some(mut tasks)) if problems.is_empty() => {
            if show {
                for task in &mut tasks {
                    task.document = document.pointer(&task.pointer).cloned();
                }
            }
            Ok(Definition {
                limits,
                tasks,
                lists,
                root: root.list,
                data: root.data,
                timeout_ms: root.timeout_ms,
                schedule: root.schedule,
                effects,
                features,
                document: keep.then(|| document.clone()),
            })
        }
        _ if problems.is_empty() => {
            Err(vec![Problem::error("", "invalid", "the definition could not be read")])
        }
        _ => Err(problems),
    }
}
