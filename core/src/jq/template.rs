//! JSON trees with expressions in their leaves.

use super::{Error, Filter, expression};
use serde_json::{Map, Value};

/// A JSON tree whose string leaves that are wholly `${ ... }` are compiled.
#[derive(Debug)]
pub struct Template(Node);

#[derive(Debug)]
enum Node {
    Constant(Value),
    Expression(Filter),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
}

/// Levels of a template.
const MAX_DEPTH: usize = 128;

impl Template {
    /// Compiles every expression of the tree; an error names its JSON Pointer within the tree.
    pub fn compile(tree: &Value, vars: &[&str]) -> Result<Template, (String, Error)> {
        node(tree, vars, "", 0).map(Template)
    }

    /// One expression as a template, where the language allows it without `${ }`.
    pub fn from_filter(filter: Filter) -> Template {
        Template(Node::Expression(filter))
    }

    /// The tree with the first output of each expression in its place.
    pub fn render(&self, input: &Value, vars: &[Value]) -> Result<Value, Error> {
        self.render_with(input, &|i| vars.get(i))
    }

    /// The same with variables looked up only when an expression mentions them.
    pub fn render_with<'v>(
        &self,
        input: &Value,
        var: &dyn Fn(usize) -> Option<&'v Value>,
    ) -> Result<Value, Error> {
        render(&self.0, input, var)
    }

    /// Whether there is no expression in it.
    pub fn is_constant(&self) -> bool {
        matches!(self.0, Node::Constant(_))
    }

    /// The tree itself when there is no expression in it.
    pub fn constant(&self) -> Option<&Value> {
        match &self.0 {
            Node::Constant(value) => Some(value),
            _ => None,
        }
    }
}

fn node(tree: &Value, vars: &[&str], at: &str, depth: usize) -> Result<Node, (String, Error)> {
    if depth > MAX_DEPTH {
        return Err((at.to_owned(), Error::TooLarge("nested more than 128 levels deep")));
    }
    match tree {
        Value::String(s) => match expression(s) {
            Some(source) => {
                Filter::compile(source, vars).map(Node::Expression).map_err(|e| (at.to_owned(), e))
            }
            None => Ok(Node::Constant(tree.clone())),
        },
        Value::Array(items) => {
            let nodes = items
                .iter()
                .enumerate()
                .map(|(i, item)| node(item, vars, &format!("{at}/{i}"), depth + 1));
            let nodes = nodes.collect::<Result<Vec<_>, _>>()?;
            let constant = nodes.iter().all(|n| matches!(n, Node::Constant(_)));
            Ok(if constant { Node::Constant(tree.clone()) } else { Node::Array(nodes) })
        }
        Value::Object(map) => {
            let mut nodes = Vec::with_capacity(map.len());
            for (key, item) in map {
                let at = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
                nodes.push((key.clone(), node(item, vars, &at, depth + 1)?));
            }
            let constant = nodes.iter().all(|(_, n)| matches!(n, Node::Constant(_)));
            Ok(if constant { Node::Constant(tree.clone()) } else { Node::Object(nodes) })
        }
        _ => Ok(Node::Constant(tree.clone())),
    }
}

fn render<'v>(
    node: &Node,
    input: &Value,
    var: &dyn Fn(usize) -> Option<&'v Value>,
) -> Result<Value, Error> {
    match node {
        Node::Constant(value) => Ok(value.clone()),
        Node::Expression(filter) => filter.run_with(input, var),
        Node::Array(items) => {
            items.iter().map(|n| render(n, input, var)).collect::<Result<_, _>>().map(Value::Array)
        }
        Node::Object(fields) => {
            let mut map = Map::with_capacity(fields.len());
            for (key, n) in fields {
                map.insert(key.clone(), render(n, input, var)?);
            }
            Ok(Value::Object(map))
        }
    }
}
