//! Why a row matches a rule or not: the condition's tree, part by part.

use super::expression;
use super::look::{self, Looked};
use super::print::bare;
use super::trial::{Given, Trial, check_row};
use crate::error::{Error, Failure, Result};
use crate::pg;
use pgrx::pg_sys::BoolExprType;
use pgrx::prelude::*;
use serde_json::json;
use std::ffi::CString;

/// Most characters of an operand's value.
const SHOWN: usize = 1000;

/// What a part of the condition came to.
#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    True,
    False,
    Null,
    Error(String),
}

/// How a part is made of others.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Joint {
    And,
    Or,
    Not,
    Leaf,
}

/// A part of the condition.
struct Part {
    depth: usize,
    text: String,
    joint: Joint,
    outcome: Outcome,
    operands: Vec<(String, String)>,
    decided: bool,
    /// The parts it is made of.
    below: Vec<usize>,
}

/// The parts of a rule's condition on a change, as the text of a JSON array.
pub fn run(
    user: pg_sys::Oid,
    name: &str,
    new: Option<&Given>,
    old: Option<&Given>,
) -> Result<String> {
    parts(&look::find(user, name, "explain_rule")?, new, old)
}

/// The same of a rule that is at hand.
pub fn parts(rule: &Looked, new: Option<&Given>, old: Option<&Given>) -> Result<String> {
    if new.is_none() && old.is_none() {
        return Err(Error::invalid("explain_rule needs a row")
            .with_detail("Neither new nor old was given.")
            .with_hint("Give new => to_jsonb(a_row), and old as well for an update."));
    }
    for (side, row) in [("new", new), ("old", old)] {
        row.map_or(Ok(()), |row| check_row(rule, side, row))?;
    }
    let mut parts = match &rule.condition {
        None => vec![always()],
        Some(condition) => parts_of(rule, condition, new, old)?,
    };
    decide(&mut parts, 0);
    let rows: Vec<String> = parts.iter().map(Part::row).collect();
    Ok(format!("[{}]", rows.join(",")))
}

/// What a rule without a condition says.
fn always() -> Part {
    Part {
        depth: 0,
        text: "true".into(),
        joint: Joint::Leaf,
        outcome: Outcome::True,
        operands: Vec::new(),
        decided: false,
        below: Vec::new(),
    }
}

fn parts_of(
    rule: &Looked,
    condition: &str,
    new: Option<&Given>,
    old: Option<&Given>,
) -> Result<Vec<Part>> {
    let source = CString::new(condition).map_err(|e| Error::Internal(e.to_string()))?;
    let walked = rule.as_owner(|| -> Result<Vec<Part>> {
        // SAFETY: within `as_owner`; the text outlives the call.
        unsafe {
            let clause = expression::read("condition", rule.table, &source, rule.sides())?;
            let trial = Trial::of(rule, new, old)?;
            let mut parts = Vec::new();
            walk(&trial, clause, 0, &mut parts);
            Ok(parts)
        }
    });
    walked.map_err(Error::from)?
}

/// Adds a part and those below it, in reading order; tells its place.
unsafe fn walk(
    trial: &Trial,
    node: *mut pg_sys::Node,
    depth: usize,
    parts: &mut Vec<Part>,
) -> usize {
    // SAFETY: the caller passes an analysed boolean expression, whose tag says what it is.
    unsafe {
        pg_sys::check_stack_depth();
        pg::check_interrupts();
        let (joint, below) = match (*node).type_ {
            pg_sys::NodeTag::T_BoolExpr => {
                let joined = &*node.cast::<pg_sys::BoolExpr>();
                let joint = match joined.boolop {
                    BoolExprType::AND_EXPR => Joint::And,
                    BoolExprType::OR_EXPR => Joint::Or,
                    _ => Joint::Not,
                };
                (joint, pg::items::<pg_sys::Node>(joined.args).collect())
            }
            _ => (Joint::Leaf, Vec::new()),
        };
        let index = parts.len();
        parts.push(Part {
            depth,
            text: bare(&trial.printer.print(node)).to_owned(),
            joint,
            outcome: outcome(trial.truth(node)),
            operands: if joint == Joint::Leaf { operands(trial, node) } else { Vec::new() },
            decided: false,
            below: Vec::new(),
        });
        for child in below {
            let child = walk(trial, child, depth + 1, parts);
            parts[index].below.push(child);
        }
        index
    }
}

fn outcome(truth: std::result::Result<Option<bool>, Failure>) -> Outcome {
    match truth {
        Ok(Some(true)) => Outcome::True,
        Ok(Some(false)) => Outcome::False,
        Ok(None) => Outcome::Null,
        Err(failure) => Outcome::Error(format!("{}: {}", failure.sqlstate(), failure.message)),
    }
}

/// The values that a comparison compares, and the columns inside of them. Constants say their
/// values themselves; what fails is told by the part's own value.
unsafe fn operands(trial: &Trial, node: *mut pg_sys::Node) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    // SAFETY: the parts of an analysed expression.
    unsafe {
        let mut nodes = arguments(node);
        nodes.extend(pg::items::<pg_sys::Node>(pg_sys::pull_var_clause(node, 0)));
        for operand in nodes {
            let constant = pg_sys::pull_var_clause(operand, 0).is_null()
                && !pg_sys::contain_mutable_functions(operand);
            if constant {
                continue;
            }
            let name = bare(&trial.printer.print(operand)).to_owned();
            if found.iter().any(|(known, _)| *known == name) {
                continue;
            }
            if let Ok(value) = trial.json(operand) {
                found.push((name, short(value)));
            }
        }
    }
    found
}

/// A long value is shown by its beginning, as a text.
fn short(value: String) -> String {
    if value.chars().nth(SHOWN).is_none() {
        return value;
    }
    let start: String = value.chars().take(SHOWN).collect();
    json!(format!("{start}...")).to_string()
}

/// What a leaf of the tree is applied to.
unsafe fn arguments(node: *mut pg_sys::Node) -> Vec<*mut pg_sys::Node> {
    use pg_sys::NodeTag::*;
    // SAFETY: the tag says which struct the node is.
    unsafe {
        let list = |list: *mut pg_sys::List| pg::items::<pg_sys::Node>(list).collect();
        match (*node).type_ {
            T_OpExpr | T_DistinctExpr => list((*node.cast::<pg_sys::OpExpr>()).args),
            T_ScalarArrayOpExpr => list((*node.cast::<pg_sys::ScalarArrayOpExpr>()).args),
            T_FuncExpr => list((*node.cast::<pg_sys::FuncExpr>()).args),
            T_CoalesceExpr => list((*node.cast::<pg_sys::CoalesceExpr>()).args),
            T_NullTest => vec![(*node.cast::<pg_sys::NullTest>()).arg.cast()],
            T_BooleanTest => vec![(*node.cast::<pg_sys::BooleanTest>()).arg.cast()],
            _ => Vec::new(),
        }
    }
}

/// Marks the way from the outcome down to the parts that decided it.
fn decide(parts: &mut [Part], index: usize) {
    parts[index].decided = true;
    let (joint, outcome) = (parts[index].joint, parts[index].outcome.clone());
    // One part is enough for a false AND and a true OR, and an error ends the evaluation.
    let first = match (joint, &outcome) {
        (Joint::And, Outcome::False) | (Joint::Or, Outcome::True) | (_, Outcome::Error(_)) => 1,
        _ => usize::MAX,
    };
    let like = |child: &Outcome| {
        joint == Joint::Not || std::mem::discriminant(child) == std::mem::discriminant(&outcome)
    };
    let deciding: Vec<usize> = parts[index]
        .below
        .iter()
        .copied()
        .filter(|child| like(&parts[*child].outcome))
        .take(first)
        .collect();
    deciding.into_iter().for_each(|child| decide(parts, child));
}

impl Part {
    /// A row of the answer. The values stand as PostgreSQL wrote them.
    fn row(&self) -> String {
        let value = match &self.outcome {
            Outcome::True => "true",
            Outcome::False => "false",
            Outcome::Null => "null",
            Outcome::Error(text) => text,
        };
        let pairs: Vec<String> =
            self.operands.iter().map(|(name, value)| format!("{}:{value}", json!(name))).collect();
        let operands = match pairs.is_empty() {
            true => "null".into(),
            false => format!("{{{}}}", pairs.join(",")),
        };
        format!(
            "{{\"depth\":{},\"expression\":{},\"value\":{},\"operands\":{operands},\"decided\":{}}}",
            self.depth,
            json!(format!("{}{}", "  ".repeat(self.depth), self.text)),
            json!(value),
            self.decided
        )
    }
}
