//! JsonLogic compiled to one SQL boolean expression.
//!
//! Differences from JavaScript, on purpose and those of SQL: a comparison with NULL matches
//! nothing (JavaScript takes `null < 5` for true), literals take the type of the column they are
//! compared with, and inside json a number compares with numbers only: text is no match, and no
//! error. NULL counts as "no match"; below a negation every part is two-valued, elsewhere plain
//! `=` stays plain, so that an index over rules can see it.

use serde_json::Value;

use crate::object::{below, kind};
use crate::problem::Problem;
use crate::rule::compare::{
    against_null, as_jsonb, contains, grouped, jsonb_pair, mirrored, path_literal, plain, quoted,
    text_of, truth, two_valued, whole,
};
use crate::rule::operand::{Columns, Operand, Scope, nul};
use crate::rule::sql;
use crate::suggest;

/// Deepest nesting of operators.
const MAX_DEPTH: usize = 50;
/// Most operators, operands and list elements of one condition.
const MAX_NODES: usize = 10_000;
/// Longest SQL made of one condition, in bytes.
const MAX_SQL: usize = 1 << 20;

/// All operators, for hints.
const OPERATORS: &[&str] = &[
    "var",
    "==",
    "===",
    "!=",
    "!==",
    "<",
    "<=",
    ">",
    ">=",
    "and",
    "or",
    "!",
    "!!",
    "if",
    "?:",
    "in",
    "between",
    "changed",
    "changed_to",
    "changed_from",
    "matches",
    "like",
    "now",
];

/// The condition of a rule on a table, as SQL over `new` and `old`.
///
/// The text must be analysed with `standard_conforming_strings` on.
pub fn to_sql(logic: &Value, columns: &dyn Columns) -> Result<String, Vec<Problem>> {
    compile(logic, Scope::Row(columns))
}

/// The condition of a rule on events, as SQL over the jsonb value `event`.
pub fn event_to_sql(logic: &Value) -> Result<String, Vec<Problem>> {
    compile(logic, Scope::Event)
}

fn compile(logic: &Value, scope: Scope<'_>) -> Result<String, Vec<Problem>> {
    let mut compiler = Compiler { scope, problems: Vec::new(), nodes: 0 };
    let sql = compiler.predicate(logic, "", false, 0);
    if sql.len() > MAX_SQL && compiler.problems.is_empty() {
        let message = format!("the condition makes more than {MAX_SQL} bytes of SQL");
        compiler.problems.push(Problem::error("", "too_long", message));
    }
    if compiler.problems.is_empty() { Ok(sql) } else { Err(compiler.problems) }
}

/// Goes on after a problem, so that all are found; its SQL is then thrown away.
struct Compiler<'a> {
    scope: Scope<'a>,
    problems: Vec<Problem>,
    nodes: usize,
}

/// The one operator of an object, its arguments, and where they stand.
struct Call<'v> {
    name: &'v str,
    args: &'v [Value],
    at: String,
    /// Whether the arguments are an array: a lone argument may stand without.
    listed: bool,
}

impl Call<'_> {
    fn pointer(&self, index: usize) -> String {
        if self.listed { below(&self.at, index) } else { self.at.clone() }
    }
}

impl Compiler<'_> {
    fn fail(&mut self, problem: Problem) -> String {
        // One hundred problems are more than anybody mends at once.
        if self.problems.len() < 100 {
            self.problems.push(problem);
        }
        "false".into()
    }

    /// Whether another node at this depth is within the limits; says so once if not.
    fn enter(&mut self, pointer: &str, depth: usize) -> bool {
        self.nodes += 1;
        if depth > MAX_DEPTH {
            let message = format!("conditions nested more than {MAX_DEPTH} levels are not allowed");
            self.fail(Problem::error(pointer, "too_deep", message));
            return false;
        }
        if self.nodes == MAX_NODES + 1 {
            let message = format!("conditions of more than {MAX_NODES} parts are not allowed");
            self.fail(Problem::error(pointer, "too_many", message));
        }
        self.nodes <= MAX_NODES
    }

    /// The operator of an object with exactly one key.
    fn call<'v>(&mut self, node: &'v Value, pointer: &str) -> Option<Call<'v>> {
        let map = node.as_object()?;
        let mut entries = map.iter();
        let (Some((name, args)), None) = (entries.next(), entries.next()) else {
            let message = format!("an object with one operator is expected, not {}", map.len());
            let hint = "Join several conditions with {\"and\": [...]}.";
            self.fail(Problem::error(pointer, "one_operator", message).with_hint(hint));
            return None;
        };
        if !OPERATORS.contains(&name.as_str()) {
            let message = format!("operator \"{name}\" is not supported");
            self.fail(
                Problem::error(below(pointer, name), "unsupported_operator", message)
                    .with_hint(suggest::hint(name, OPERATORS)),
            );
            return None;
        }
        let at = below(pointer, name);
        Some(match args {
            Value::Array(list) => Call { name, args: list, at, listed: true },
            lone => Call { name, args: std::slice::from_ref(lone), at, listed: false },
        })
    }

    /// A condition. `total` asks for one that is never NULL.
    fn predicate(&mut self, node: &Value, pointer: &str, total: bool, depth: usize) -> String {
        if !self.enter(pointer, depth) {
            return "false".into();
        }
        match node {
            Value::Bool(known) => known.to_string(),
            Value::Object(_) => match self.call(node, pointer) {
                Some(call) => self.condition(&call, total, depth),
                None => "false".into(),
            },
            other => {
                let message = format!("a condition is expected here, not {}", kind(other));
                self.fail(Problem::error(pointer, "no_condition", message))
            }
        }
    }

    fn condition(&mut self, call: &Call<'_>, total: bool, depth: usize) -> String {
        match call.name {
            "and" => self.junction(call, " AND ", total, depth),
            "or" => self.junction(call, " OR ", total, depth),
            "!" | "!!" => {
                if !self.arity(call, 1, 1) {
                    return "false".into();
                }
                let inner = self.predicate(&call.args[0], &call.pointer(0), true, depth + 1);
                if call.name == "!" { format!("(NOT {inner})") } else { inner }
            }
            "if" | "?:" => self.choice(call, total, depth),
            "==" | "===" | "!=" | "!==" => self.equality(call, total, depth),
            "<" | "<=" | ">" | ">=" | "between" => self.order(call, total, depth),
            "in" => self.inclusion(call, total, depth),
            "matches" | "like" => self.pattern(call, total, depth),
            "changed" | "changed_to" | "changed_from" => self.change(call, depth),
            "var" => match self.variable(call, depth) {
                Some(operand) => truth(&operand, total),
                None => "false".into(),
            },
            _ => {
                let message = format!("operator \"{}\" is not a condition", call.name);
                let hint = "Compare its result with something, for example with \"<\".";
                self.fail(Problem::error(&call.at, "no_condition", message).with_hint(hint))
            }
        }
    }

    /// Whether the operator has as many arguments as it takes.
    fn arity(&mut self, call: &Call<'_>, low: usize, high: usize) -> bool {
        let found = call.args.len();
        if (low..=high).contains(&found) {
            return true;
        }
        let wanted = match (low, high) {
            (1, 1) => "1 argument".to_owned(),
            (low, high) if low == high => format!("{low} arguments"),
            (low, usize::MAX) => format!("{low} or more arguments"),
            (low, high) => format!("{low} to {high} arguments"),
        };
        let message = format!("operator \"{}\" takes {wanted}, not {found}", call.name);
        self.fail(Problem::error(&call.at, "wrong_arguments", message));
        false
    }

    fn junction(&mut self, call: &Call<'_>, word: &str, total: bool, depth: usize) -> String {
        if !self.arity(call, 1, usize::MAX) {
            return "false".into();
        }
        let parts: Vec<String> = (0..call.args.len())
            .map(|i| self.predicate(&call.args[i], &call.pointer(i), total, depth + 1))
            .collect();
        format!("({})", parts.join(word))
    }

    /// `if` with any number of branches; without an else, nothing matches.
    fn choice(&mut self, call: &Call<'_>, total: bool, depth: usize) -> String {
        if !self.arity(call, 2, usize::MAX) {
            return "false".into();
        }
        let mut text = String::from("CASE");
        let branches = call.args.len() / 2;
        for branch in 0..branches {
            let (test, then) = (branch * 2, branch * 2 + 1);
            let test = self.predicate(&call.args[test], &call.pointer(test), false, depth + 1);
            let then = self.predicate(&call.args[then], &call.pointer(then), total, depth + 1);
            text.push_str(&format!(" WHEN {test} THEN {then}"));
        }
        let last = match call.args.get(branches * 2) {
            Some(node) => self.predicate(node, &call.pointer(branches * 2), total, depth + 1),
            None => "false".into(),
        };
        format!("({text} ELSE {last} END)")
    }

    /// A value that is compared.
    fn operand(&mut self, node: &Value, pointer: &str, depth: usize) -> Option<Operand> {
        if !self.enter(pointer, depth) {
            return None;
        }
        match node {
            Value::Object(_) => {
                let call = self.call(node, pointer)?;
                match call.name {
                    "var" => self.variable(&call, depth),
                    "now" => self.now(&call),
                    _ => Some(Operand::Expression(self.condition(&call, true, depth))),
                }
            }
            Value::Array(_) => {
                let problem = Problem::error(pointer, "wrong_kind", "a list cannot be compared");
                self.fail(problem.with_hint("Use \"in\" to look for a value in a list."));
                None
            }
            Value::String(text) if text.contains('\0') => {
                self.fail(nul(pointer));
                None
            }
            scalar => Some(Operand::Literal(scalar.clone())),
        }
    }

    fn operands(&mut self, call: &Call<'_>, depth: usize) -> Option<Vec<Operand>> {
        let found: Vec<Option<Operand>> = (0..call.args.len())
            .map(|i| self.operand(&call.args[i], &call.pointer(i), depth + 1))
            .collect();
        found.into_iter().collect()
    }

    fn variable(&mut self, call: &Call<'_>, depth: usize) -> Option<Operand> {
        if !self.arity(call, 1, 2) {
            return None;
        }
        let pointer = call.pointer(0);
        let Value::String(name) = &call.args[0] else {
            let message = format!("\"var\" takes a name, not {}", kind(&call.args[0]));
            self.fail(Problem::error(pointer, "wrong_kind", message));
            return None;
        };
        let found = match self.scope.resolve(name, &pointer) {
            Ok(operand) => operand,
            Err(problem) => {
                self.fail(problem);
                return None;
            }
        };
        let Some(default) = call.args.get(1).filter(|v| !v.is_null()) else { return Some(found) };
        let default = self.operand(default, &call.pointer(1), depth + 1)?;
        match found {
            Operand::Column(column) => Some(Operand::Expression(format!(
                "coalesce({column}, {})",
                quoted(&default).unwrap_or_else(|| plain(&default))
            ))),
            _ => {
                let problem = Problem::error(
                    call.pointer(1),
                    "unsupported_default",
                    "a default is not supported for a value inside json",
                );
                self.fail(
                    problem.with_hint("Test for null with {\"==\": [{\"var\": ...}, null]}."),
                );
                None
            }
        }
    }

    /// The start of the transaction, or an interval away from it.
    fn now(&mut self, call: &Call<'_>) -> Option<Operand> {
        let shift = match call.args {
            [] | [Value::Null] => None,
            [Value::String(shift)] if !shift.contains('\0') => Some(shift),
            _ => {
                let message = "\"now\" takes nothing, or one interval such as \"-7 days\"";
                self.fail(Problem::error(&call.at, "wrong_arguments", message));
                return None;
            }
        };
        Some(Operand::Expression(match shift {
            None => "pg_catalog.now()".into(),
            Some(shift) => format!(
                "(pg_catalog.now() OPERATOR(pg_catalog.+) {}::pg_catalog.interval)",
                sql::literal(shift)
            ),
        }))
    }

    fn equality(&mut self, call: &Call<'_>, total: bool, depth: usize) -> String {
        if !self.arity(call, 2, 2) {
            return "false".into();
        }
        let Some(sides) = self.operands(call, depth) else { return "false".into() };
        let (left, right) = (&sides[0], &sides[1]);
        let unequal = call.name.starts_with('!');
        if let Some(other) = against_null(left, right) {
            let word = if unequal { "IS NOT NULL" } else { "IS NULL" };
            return format!("({} {word})", text_of(other));
        }
        let operator = match (unequal, total) {
            (true, _) => "IS DISTINCT FROM",
            (false, true) => "IS NOT DISTINCT FROM",
            (false, false) => "=",
        };
        match self.comparison(left, operator, right, &call.at) {
            Some(text) => text,
            None => "false".into(),
        }
    }

    fn order(&mut self, call: &Call<'_>, total: bool, depth: usize) -> String {
        // As in JsonLogic, "<" and "<=" with three arguments mean "between".
        let between = call.name == "between";
        let most = if call.name.starts_with('<') || between { 3 } else { 2 };
        if !self.arity(call, if between { 3 } else { 2 }, most) {
            return "false".into();
        }
        let Some(mut sides) = self.operands(call, depth) else { return "false".into() };
        let operator = if between { "<=" } else { call.name };
        if between {
            sides.swap(0, 1);
        }
        let pairs: Option<Vec<String>> = sides
            .windows(2)
            .map(|pair| self.comparison(&pair[0], operator, &pair[1], &call.at))
            .collect();
        let Some(pairs) = pairs else { return "false".into() };
        let text = match pairs.as_slice() {
            [one] => one.clone(),
            several => format!("({})", several.join(" AND ")),
        };
        two_valued(text, total)
    }

    /// `left operator right`, typed by what the two sides are.
    fn comparison(
        &mut self,
        left: &Operand,
        operator: &str,
        right: &Operand,
        pointer: &str,
    ) -> Option<String> {
        match (left, right) {
            (Operand::Path(path), Operand::Literal(value)) => {
                Some(path_literal(path, operator, value))
            }
            (Operand::Literal(value), Operand::Path(path)) => {
                Some(path_literal(path, mirrored(operator), value))
            }
            (Operand::Path(_), _) | (_, Operand::Path(_)) => {
                let (Some(l), Some(r)) = (as_jsonb(left), as_jsonb(right)) else {
                    let message = "values inside json compare with literals only";
                    let hint = "Change the column's type to jsonb.";
                    let problem = Problem::error(pointer, "json_comparison", message);
                    self.fail(problem.with_hint(hint));
                    return None;
                };
                Some(jsonb_pair(&l, operator, &r))
            }
            (Operand::Literal(_), Operand::Literal(_)) => {
                Some(format!("({} {operator} {})", plain(left), plain(right)))
            }
            _ => {
                let side = |operand| quoted(operand).unwrap_or_else(|| plain(operand));
                Some(format!("({} {operator} {})", side(left), side(right)))
            }
        }
    }

    fn inclusion(&mut self, call: &Call<'_>, total: bool, depth: usize) -> String {
        if !self.arity(call, 2, 2) {
            return "false".into();
        }
        let Some(needle) = self.operand(&call.args[0], &call.pointer(0), depth + 1) else {
            return "false".into();
        };
        let text = match &call.args[1] {
            Value::Array(list) => self.membership(&needle, list, &call.pointer(1), depth),
            other => match self.operand(other, &call.pointer(1), depth + 1) {
                Some(haystack) => contains(&needle, &haystack),
                None => "false".into(),
            },
        };
        two_valued(text, total)
    }

    /// `needle` in a list of literals.
    fn membership(
        &mut self,
        needle: &Operand,
        list: &[Value],
        pointer: &str,
        depth: usize,
    ) -> String {
        let mut alternatives = Vec::new();
        let mut found = Vec::with_capacity(list.len().min(MAX_NODES));
        for (index, item) in list.iter().enumerate() {
            let at = below(pointer, index);
            if self.nodes > MAX_NODES {
                break;
            }
            match item {
                Value::Null => alternatives.push(format!("({} IS NULL)", text_of(needle))),
                Value::Object(_) => {
                    let problem = Problem::error(at, "wrong_kind", "a list holds literals only");
                    self.fail(problem.with_hint("Write {\"or\": [{\"==\": ...}, ...]} instead."));
                }
                other => found.extend(self.operand(other, &at, depth + 1)),
            }
        }
        alternatives.dedup();
        alternatives.splice(0..0, grouped(needle, &found));
        match alternatives.len() {
            0 => "false".into(),
            1 => alternatives.swap_remove(0),
            _ => format!("({})", alternatives.join(" OR ")),
        }
    }

    fn pattern(&mut self, call: &Call<'_>, total: bool, depth: usize) -> String {
        if !self.arity(call, 2, 2) {
            return "false".into();
        }
        let Some(subject) = self.operand(&call.args[0], &call.pointer(0), depth + 1) else {
            return "false".into();
        };
        let Some(pattern) = call.args[1].as_str() else {
            let message = format!("a pattern must be a string, not {}", kind(&call.args[1]));
            return self.fail(Problem::error(call.pointer(1), "wrong_kind", message));
        };
        if pattern.contains('\0') {
            return self.fail(nul(&call.pointer(1)));
        }
        let operator = if call.name == "like" { "LIKE" } else { "~" };
        let subject = match &subject {
            Operand::Literal(_) => plain(&subject),
            other => text_of(other),
        };
        two_valued(format!("({subject} {operator} {})", sql::literal(pattern)), total)
    }

    fn change(&mut self, call: &Call<'_>, depth: usize) -> String {
        let wanted = if call.name == "changed" { 1 } else { 2 };
        if !self.arity(call, wanted, wanted) {
            return "false".into();
        }
        let pointer = call.pointer(0);
        let named = &call.args[0];
        let Some(name) = named.as_str().or_else(|| named.get("var")?.as_str()) else {
            let message = format!("\"{}\" takes the name of a column", call.name);
            return self.fail(Problem::error(pointer, "wrong_kind", message));
        };
        let (new, old) = match self.scope.resolve_both(name, &pointer) {
            Ok(both) => both,
            Err(problem) => return self.fail(problem),
        };
        let differs = format!("({} IS DISTINCT FROM {})", whole(&new), whole(&old));
        if call.name == "changed" {
            return differs;
        }
        let Some(value) = self.operand(&call.args[1], &call.pointer(1), depth + 1) else {
            return "false".into();
        };
        let row = if call.name == "changed_to" { &new } else { &old };
        let same = match against_null(row, &value) {
            Some(_) => Some(format!("({} IS NULL)", text_of(row))),
            None => self.comparison(row, "IS NOT DISTINCT FROM", &value, &call.at),
        };
        format!("({differs} AND {})", same.unwrap_or_else(|| "false".into()))
    }
}

#[cfg(test)]
#[path = "jsonlogic_tests.rs"]
mod tests;
