//! JsonLogic evaluated as it is, on a JSON context, by the crate datalogic-rs: for rules without a
//! table, and for what has no SQL form.
//!
//! Nothing here ends a rule that goes on too long, so the work is bounded beforehand: how deep
//! loops may stand inside each other for the size of the context, and how much memory one
//! evaluation may take.

use datalogic_rs::bumpalo::Bump;
use datalogic_rs::{Engine, ParsedData};
use serde_json::Value;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use crate::object::below;
use crate::problem::Problem;
use crate::suggest;

/// Deepest nesting of operators.
const MAX_DEPTH: usize = 50;
/// Most memory of one evaluation, in bytes.
const MAX_MEMORY: usize = 64 << 20;
/// Most rounds of loops in one evaluation, if every list is as long as the context allows.
const MAX_ROUNDS: f64 = 1e8;

/// The operators that go through a list.
const LOOPS: [&str; 6] = ["map", "filter", "reduce", "all", "some", "none"];

fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    // Folding would evaluate parts of a rule while it is compiled, without a bound.
    ENGINE.get_or_init(|| Engine::builder().with_constant_folding(false).build())
}

/// A rule that is ready to be evaluated.
pub struct Logic {
    compiled: datalogic_rs::Logic,
    /// How deep loops stand inside each other.
    loops: i32,
    /// How many elements its own lists may have together.
    elements: usize,
}

/// What rules are evaluated on: parsed once for all of them.
pub struct Facts {
    parsed: ParsedData,
    elements: usize,
}

impl Logic {
    /// Compiles a rule, or says what is wrong with it.
    pub fn compile(logic: &Value) -> Result<Logic, Vec<Problem>> {
        let mut problems = Vec::new();
        let loops = check(logic, "", 0, &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        let text = logic.to_string();
        let compiled = engine()
            .compile(text.as_str())
            .map_err(|e| vec![Problem::error("", "invalid_logic", e.to_string())])?;
        Ok(Logic { compiled, loops, elements: elements(&text) })
    }

    /// True when the rule's answer counts as true on these facts.
    pub fn holds(&self, facts: &Facts) -> Result<bool, String> {
        let most = (facts.elements + self.elements) as f64;
        if self.loops > 1 && most.powi(self.loops) > MAX_ROUNDS {
            return Err(format!(
                "{} loops inside each other over {most} elements would take too long",
                self.loops
            ));
        }
        // The arena panics when its limit is reached; nothing outside of it is touched.
        let answer = catch_unwind(AssertUnwindSafe(|| {
            let arena = Bump::new();
            arena.set_allocation_limit(Some(MAX_MEMORY));
            engine()
                .evaluate(&self.compiled, facts.parsed.value(), &arena)
                .map(|value| engine().truthy(value))
                .map_err(|e| e.to_string())
        }));
        answer.unwrap_or_else(|_| {
            Err(format!("it needs more than {} MB of memory", MAX_MEMORY >> 20))
        })
    }
}

impl Facts {
    /// Reads a context.
    pub fn read(json: &str) -> Result<Facts, String> {
        let parsed = ParsedData::from_json(json).map_err(|e| e.to_string())?;
        Ok(Facts { parsed, elements: elements(json) })
    }
}

/// At least as many as the longest list in a text has.
fn elements(json: &str) -> usize {
    1 + json.bytes().filter(|b| *b == b',').count()
}

/// Looks at every operator; answers how deep loops stand inside each other.
fn check(node: &Value, pointer: &str, depth: usize, problems: &mut Vec<Problem>) -> i32 {
    if depth > MAX_DEPTH {
        let message = format!("conditions nested more than {MAX_DEPTH} levels are not allowed");
        problems.push(Problem::error(pointer, "too_deep", message));
        return 0;
    }
    let list = |items: &[Value], at: &str, problems: &mut Vec<Problem>| -> Vec<i32> {
        let one = |(i, item)| check(item, &below(at, i), depth + 1, problems);
        items.iter().enumerate().map(one).collect()
    };
    match node {
        Value::Array(items) => list(items, pointer, problems).into_iter().max().unwrap_or(0),
        Value::Object(map) => {
            let mut entries = map.iter();
            let (Some((name, args)), None) = (entries.next(), entries.next()) else {
                if !map.is_empty() {
                    let message =
                        format!("an object with one operator is expected, not {}", map.len());
                    problems.push(Problem::error(pointer, "one_operator", message));
                }
                return 0;
            };
            let at = below(pointer, name);
            let known: Vec<&str> = engine().builtin_operator_names().collect();
            if !known.contains(&name.as_str()) {
                let message = format!("operator \"{name}\" is not supported");
                let problem = Problem::error(at, "unsupported_operator", message);
                problems.push(problem.with_hint(suggest::hint(name, &known)));
                return 0;
            }
            let lone = std::slice::from_ref(args);
            let loops = list(args.as_array().map_or(lone, Vec::as_slice), &at, problems);
            let is_loop = LOOPS.contains(&name.as_str());
            // Only what a loop does for each element is done more than once.
            let inside = |(i, n): (usize, &i32)| n + i32::from(is_loop && i == 1);
            loops.iter().enumerate().map(inside).max().unwrap_or(0)
        }
        _ => 0,
    }
}

#[cfg(test)]
#[path = "logic_tests.rs"]
mod tests;
