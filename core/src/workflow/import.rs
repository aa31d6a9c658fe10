//! Workflows drawn as nodes and edges, brought into the language. A level of the drawing becomes a
//! list in topological order, with jumps (`then`) for edges that do not lead to the next task; a
//! node with several edges without condition opens a fork, which must come together again in one
//! node. What has no such form is refused with the names of its nodes.

mod graph;
mod node;
mod template;

use crate::problem::Problem;
use graph::{Edge, Graph};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Reads `{"nodes": [...], "edges": [...]}`, or an array of nodes that follow one another.
pub fn import(drawing: &Value) -> Result<Value, Vec<Problem>> {
    let graph = Graph::read(drawing)?;
    graph.start().map_err(|p| vec![p])?;
    let order = graph.order().map_err(|p| vec![p])?;
    let mut walk = Walk { graph: &graph, order: &order, problems: Vec::new() };
    let all: BTreeSet<usize> = (0..graph.nodes.len()).collect();
    let tasks = walk.level(&all, None);
    match walk.problems.is_empty() {
        true => Ok(json!({ "do": tasks })),
        false => Err(walk.problems),
    }
}

struct Walk<'g> {
    graph: &'g Graph,
    /// All nodes, each after those that lead to it.
    order: &'g [usize],
    problems: Vec<Problem>,
}

impl Walk<'_> {
    /// The list of the nodes of `within`; `stop` is where the enclosing list goes on.
    fn level(&mut self, within: &BTreeSet<usize>, stop: Option<usize>) -> Vec<Value> {
        let mut left = within.clone();
        let mut tasks: Vec<(String, Value, Value)> = Vec::new();
        for &node in self.order {
            if !left.remove(&node) {
                continue;
            }
            let name = self.graph.nodes[node].id.clone();
            let edges: Vec<&Edge> = self.graph.out(node).collect();
            let plain: Vec<&Edge> = edges.iter().filter(|e| e.when.is_none()).copied().collect();
            let task = node::task(self.graph, node).unwrap_or_else(|found| {
                self.problems.extend(found);
                None
            });
            if plain.len() > 1 {
                let join = self.fork(node, &edges, &mut left, stop, &mut tasks, task);
                if let Some((_, _, then)) = tasks.last_mut() {
                    *then = self.target(join, stop);
                }
                continue;
            }
            let then = self.target(plain.first().map(|e| e.target), stop);
            let cases = edges.len() > plain.len();
            let own = task.is_some() || !cases;
            if own {
                let task = task.unwrap_or_else(|| json!({ "set": "${ . }" }));
                let next = if cases { json!("continue") } else { then.clone() };
                tasks.push((name.clone(), task, next));
            }
            if cases {
                let name = if own { format!("{name}_next") } else { name };
                let cases = self.cases(&edges, then, stop);
                tasks.push((name, json!({ "switch": cases }), json!("continue")));
            }
        }
        finish(tasks)
    }

    fn cases(&self, edges: &[&Edge], otherwise: Value, stop: Option<usize>) -> Vec<Value> {
        let mut cases = Vec::new();
        for (i, edge) in edges.iter().enumerate() {
            if let Some(when) = &edge.when {
                let then = self.target(Some(edge.target), stop);
                let name = format!("case{}", i + 1);
                cases.push(json!({ name: { "when": when, "then": then } }));
            }
        }
        cases.push(json!({ "otherwise": { "then": otherwise } }));
        cases
    }

    /// Where an edge leads, seen from a list that `stop` follows.
    fn target(&self, node: Option<usize>, stop: Option<usize>) -> Value {
        match node {
            Some(node) if Some(node) != stop => json!(self.graph.nodes[node].id),
            _ => json!("exit"),
        }
    }

    /// The branches that a node opens, taken out of `left`; answers where they come together.
    fn fork(
        &mut self,
        node: usize,
        edges: &[&Edge],
        left: &mut BTreeSet<usize>,
        stop: Option<usize>,
        tasks: &mut Vec<(String, Value, Value)>,
        task: Option<Value>,
    ) -> Option<usize> {
        let name = &self.graph.nodes[node].id;
        if edges.iter().any(|e| e.when.is_some()) {
            let message =
                format!("node \"{name}\" has several edges without condition beside some with one");
            self.refuse(
                "mixed_edges",
                message,
                "Leave one edge without condition: the others' else.",
            );
            return stop;
        }
        let join = self.graph.meeting(node, self.order).or(stop);
        let mut branches = Vec::new();
        let mut taken = BTreeSet::from([node]);
        for edge in edges.iter().filter(|e| Some(e.target) != join) {
            let region = self.graph.reach(edge.target, join);
            if self.overlaps(node, edge.target, &region) {
                return stop;
            }
            taken.extend(&region);
            let list = self.level(&region, join);
            let branch = match <[Value; 1]>::try_from(list) {
                Ok([only]) => only,
                Err(list) => {
                    json!({ format!("{}_branch", self.graph.nodes[edge.target].id): { "do": list } })
                }
            };
            branches.push(branch);
        }
        left.retain(|n| !taken.contains(n));
        let fork = json!({ "fork": { "branches": branches } });
        match task {
            Some(task) => {
                tasks.push((name.clone(), task, json!("continue")));
                tasks.push((format!("{name}_branches"), fork, json!("exit")));
            }
            None => tasks.push((name.clone(), fork, json!("exit"))),
        }
        join
    }

    /// Refuses a branch into whose middle something else leads.
    fn overlaps(&mut self, node: usize, first: usize, region: &BTreeSet<usize>) -> bool {
        let nodes = &self.graph.nodes;
        for &inner in region {
            let foreign = |source: &usize| match inner == first {
                true => *source != node,
                false => !region.contains(source),
            };
            if let Some(source) = self.graph.sources(inner).find(foreign) {
                let message = format!(
                    "the branches that node \"{}\" opens overlap: \"{}\" leads into the middle of one, to \"{}\"",
                    nodes[node].id, nodes[source].id, nodes[inner].id
                );
                let hint = "Let all branches come together in one node, and lead into each only at its start.";
                self.refuse("overlap", message, hint);
                return true;
            }
        }
        false
    }

    fn refuse(&mut self, code: &'static str, message: String, hint: &str) {
        let problem = Problem::error("", code, message).with_hint(hint);
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}

/// Jumps to what comes next anyway are left out.
fn finish(tasks: Vec<(String, Value, Value)>) -> Vec<Value> {
    let names: Vec<String> = tasks.iter().map(|(name, ..)| name.clone()).collect();
    let mut list = Vec::with_capacity(tasks.len());
    for (i, (name, mut task, then)) in tasks.into_iter().enumerate() {
        let next = names.get(i + 1).map_or("exit", String::as_str);
        if then != "continue"
            && then != next
            && let Some(task) = task.as_object_mut()
        {
            task.insert("then".into(), then);
        }
        list.push(json!({ name: task }));
    }
    list
}
