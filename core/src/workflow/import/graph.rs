//! The drawing: its nodes, its edges, and who can be reached from where.

use super::template;
use crate::problem::Problem;
use crate::suggest;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Nodes of a drawing.
const MAX_NODES: usize = 500;

pub(super) struct Node {
    pub id: String,
    pub kind: String,
    pub data: Map<String, Value>,
    /// Others refer to its output.
    pub wanted: bool,
}

pub(super) struct Edge {
    pub source: usize,
    pub target: usize,
    /// jq in `${ }`.
    pub when: Option<Value>,
}

pub(super) struct Graph {
    pub nodes: Vec<Node>,
    edges: Vec<Edge>,
}

impl Graph {
    pub(super) fn read(drawing: &Value) -> Result<Graph, Vec<Problem>> {
        let list = if drawing.is_array() { Some(drawing) } else { drawing.get("nodes") };
        let Some(items) = list.and_then(Value::as_array).filter(|items| !items.is_empty()) else {
            return Err(vec![
                Problem::error("", "wrong_type", "a drawing needs nodes").with_hint(
                    "Write {\"nodes\": [{\"id\": ..., \"type\": \"sql\", \"data\": {...}}], \"edges\": [{\"source\": ..., \"target\": ...}]}.",
                ),
            ]);
        };
        if items.len() > MAX_NODES {
            let message = format!("a drawing has at most {MAX_NODES} nodes");
            return Err(vec![Problem::error("/nodes", "too_many_steps", message)]);
        }
        let mut problems = Vec::new();
        let mut graph = Graph { nodes: Vec::new(), edges: Vec::new() };
        for (i, item) in items.iter().enumerate() {
            match graph.node(item) {
                Ok(node) => graph.nodes.push(node),
                Err((code, message, hint)) => problems
                    .push(Problem::error(format!("/nodes/{i}"), code, message).with_hint(hint)),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        match drawing.get("edges").and_then(Value::as_array) {
            None => graph.chain(),
            Some(edges) => {
                for (i, edge) in edges.iter().enumerate() {
                    match graph.edge(edge) {
                        Ok(edge) => graph.edges.push(edge),
                        Err(p) => problems
                            .push(Problem { pointer: format!("/edges/{i}{}", p.pointer), ..p }),
                    }
                }
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        graph.mark();
        Ok(graph)
    }

    fn node(&self, item: &Value) -> Result<Node, (&'static str, String, &'static str)> {
        let id = item.get("id").map(|id| match id {
            Value::String(id) => id.clone(),
            other => other.to_string(),
        });
        let Some(id) = id.filter(|id| !id.is_empty()) else {
            let hint = "Write {\"id\": \"reserve\", \"type\": \"sql\", \"data\": {...}}.";
            return Err(("missing_key", "a node needs an id".into(), hint));
        };
        if self.nodes.iter().any(|n| n.id == id) {
            let message = format!("there are two nodes \"{id}\"");
            return Err(("duplicate_name", message, "Give each node its own id."));
        }
        let Some(kind) = item.get("type").and_then(Value::as_str) else {
            let message = format!("node \"{id}\" has no type");
            return Err(("missing_key", message, "Write \"type\": \"sql\" or another kind."));
        };
        let data = item.get("data").and_then(Value::as_object).cloned().unwrap_or_default();
        Ok(Node { id, kind: kind.to_owned(), data, wanted: false })
    }

    fn chain(&mut self) {
        let pairs = 1..self.nodes.len();
        self.edges = pairs.map(|i| Edge { source: i - 1, target: i, when: None }).collect();
    }

    fn edge(&self, edge: &Value) -> Result<Edge, Problem> {
        let end = |key: &str| {
            let id = match edge.get(key) {
                Some(Value::String(id)) => id.clone(),
                Some(other) => other.to_string(),
                None => String::new(),
            };
            let ids: Vec<&str> = self.nodes.iter().map(|n| n.id.as_str()).collect();
            ids.iter().position(|known| *known == id).ok_or_else(|| {
                let message = format!("the {key} of the edge, \"{id}\", is no node");
                Problem::error(format!("/{key}"), "unknown_node", message)
                    .with_hint(suggest::hint(&id, &ids))
            })
        };
        let (source, target) = (end("source")?, end("target")?);
        let given = edge.get("condition").or_else(|| edge.get("data")?.get("condition"));
        let when = match given.and_then(Value::as_str).filter(|text| !text.trim().is_empty()) {
            Some(text) => Some(text.to_owned()),
            None => self.answer(source, edge),
        };
        let when = match when {
            Some(text) => Some(Value::from(template::condition(&text, self)?)),
            None => None,
        };
        Ok(Edge { source, target, when })
    }

    /// The condition of an edge that leaves a node with a question: its handle says true or false.
    fn answer(&self, source: usize, edge: &Value) -> Option<String> {
        let question = self.nodes[source].data.get("condition")?.as_str()?;
        let handle = edge.get("sourceHandle").or_else(|| edge.get("label"))?.as_str()?;
        matches!(handle, "true" | "yes").then(|| question.to_owned())
    }

    /// Notes whose outputs the templates of others want.
    fn mark(&mut self) {
        let mut text = String::new();
        for node in &self.nodes {
            text.push_str(&Value::Object(node.data.clone()).to_string());
        }
        for edge in &self.edges {
            text.push_str(edge.when.as_ref().and_then(Value::as_str).unwrap_or_default());
        }
        for node in &mut self.nodes {
            let wanted = template::mentions(&text, &node.id);
            node.wanted = wanted;
        }
    }

    pub(super) fn out(&self, node: usize) -> impl Iterator<Item = &Edge> {
        self.edges.iter().filter(move |e| e.source == node)
    }

    pub(super) fn sources(&self, node: usize) -> impl Iterator<Item = usize> + '_ {
        self.edges.iter().filter(move |e| e.target == node).map(|e| e.source)
    }

    /// Refuses all but one node that nothing leads to.
    pub(super) fn start(&self) -> Result<(), Problem> {
        let free = |node: &usize| self.sources(*node).next().is_none();
        let starts: Vec<usize> = (0..self.nodes.len()).filter(free).collect();
        match starts[..] {
            [_] => Ok(()),
            [] => Err(self.cycle(&(0..self.nodes.len()).collect::<Vec<_>>())),
            _ => {
                let message = format!("several nodes could be the first: {}", self.names(&starts));
                Err(Problem::error("/nodes", "several_starts", message)
                    .with_hint("Lead an edge to all but one, or remove what is not used."))
            }
        }
    }

    /// Each node after all that lead to it, in the order of the drawing where that leaves a choice.
    pub(super) fn order(&self) -> Result<Vec<usize>, Problem> {
        let mut order: Vec<usize> = Vec::with_capacity(self.nodes.len());
        let mut left: BTreeSet<usize> = (0..self.nodes.len()).collect();
        while !left.is_empty() {
            let ready =
                left.iter().find(|n| self.sources(**n).all(|s| !left.contains(&s))).copied();
            let Some(node) = ready else {
                return Err(self.cycle(&left.into_iter().collect::<Vec<_>>()));
            };
            left.remove(&node);
            order.push(node);
        }
        Ok(order)
    }

    /// Names the nodes that lead back to themselves.
    fn cycle(&self, among: &[usize]) -> Problem {
        let back = |node: &&usize| {
            self.out(**node)
                .any(|e| e.target == **node || self.reach(e.target, None).contains(*node))
        };
        let nodes: Vec<usize> = among.iter().filter(back).copied().collect();
        let message = format!("the edges lead in a circle: {}", self.names(&nodes));
        Problem::error("/edges", "cycle", message)
            .with_hint("Write a loop with for, or try with retry, in a definition.")
    }

    fn names(&self, nodes: &[usize]) -> String {
        let quoted: Vec<String> =
            nodes.iter().take(20).map(|n| format!("\"{}\"", self.nodes[*n].id)).collect();
        quoted.join(", ")
    }

    /// What can be reached from a node, itself with it, without going through `stop`.
    pub(super) fn reach(&self, from: usize, stop: Option<usize>) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let mut open = vec![from];
        while let Some(node) = open.pop() {
            if Some(node) != stop && found.insert(node) {
                open.extend(self.out(node).map(|e| e.target));
            }
        }
        found
    }

    /// The first node through which every way from `node` goes; none: they end apart.
    pub(super) fn meeting(&self, node: usize, order: &[usize]) -> Option<usize> {
        let after = self.reach(node, None);
        let mut candidates = order.iter().filter(|n| **n != node && after.contains(n));
        candidates
            .find(|c| {
                // Without it, no end is reached.
                let around = self.reach(node, Some(**c));
                around.iter().all(|n| self.out(*n).next().is_some())
            })
            .copied()
    }
}
