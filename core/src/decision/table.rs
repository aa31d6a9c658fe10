//! The definition of a decision table, read and checked.

use super::cell;
use super::index::Index;
use super::policy::{POLICIES, Policy};
use super::test::Test;
use super::value::{KINDS, Kind, Val};
use crate::object::{Object, below, wrong_kind};
use crate::problem::Problem;
use crate::suggest;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, HashSet};

const MAX_ROWS: usize = 100_000;
const MAX_COLUMNS: usize = 100;

/// A definition as it is stored: JSON texts.
#[derive(Clone, Debug)]
pub struct Source {
    pub inputs: String,
    pub outputs: String,
    pub rows: String,
    pub hit_policy: String,
}

pub struct Input {
    pub name: String,
    pub kind: Kind,
    /// Where its value is, from the whole input down.
    pub path: Vec<String>,
    /// The values that it may have.
    pub values: Option<Test>,
}

pub struct Output {
    pub name: String,
    pub kind: Kind,
    /// The values that it may have as JSON, the most important first.
    pub values: Vec<String>,
    /// Its value when no row matches, as JSON.
    pub default: Option<String>,
}

pub struct Row {
    pub tests: Vec<Test>,
    /// As JSON.
    pub outputs: Vec<String>,
}

/// A table that is ready to decide.
pub struct Table {
    pub inputs: Vec<Input>,
    pub outputs: Vec<Output>,
    pub rows: Vec<Row>,
    pub policy: Policy,
    pub(super) indexes: Vec<Index>,
}

type Raw<'a> = BTreeMap<String, &'a RawValue>;

impl Table {
    /// Reads a definition, or says all that is wrong with it.
    pub fn read(source: &Source) -> Result<Table, Vec<Problem>> {
        let mut problems = Vec::new();
        let policy = Policy::of(&source.hit_policy).unwrap_or_else(|| {
            let word = &source.hit_policy;
            let message = format!("unknown hit policy \"{word}\"");
            problems.push(
                Problem::error("/hit_policy", "unknown_policy", message)
                    .with_hint(suggest::hint(word, &POLICIES)),
            );
            Policy::First
        });
        let inputs = columns(&source.inputs, "/inputs", &mut problems, input);
        let outputs = columns(&source.outputs, "/outputs", &mut problems, output);
        check_names(&inputs, &outputs, &mut problems);
        check_policy(policy, &outputs, &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        let rows = rows(&source.rows, &inputs, &outputs, &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        let column = |i: usize| Index::of(rows.iter().map(move |row: &Row| &row.tests[i]));
        let indexes = (0..inputs.len()).map(column).collect();
        Ok(Table { inputs, outputs, rows, policy, indexes })
    }
}

/// The columns of one side.
fn columns<T>(
    text: &str,
    place: &str,
    problems: &mut Vec<Problem>,
    read: fn(&Value, &Raw, &str, &mut Vec<Problem>) -> Option<T>,
) -> Vec<T> {
    let (values, raws) =
        match (serde_json::from_str::<Value>(text), serde_json::from_str::<Vec<&RawValue>>(text)) {
            (Ok(Value::Array(values)), Ok(raws)) => (values, raws),
            (Ok(other), _) => {
                wrong_kind(problems, place, "an array of columns", &other);
                return Vec::new();
            }
            (Err(e), _) => {
                problems.push(Problem::error(place, "invalid_json", e.to_string()));
                return Vec::new();
            }
        };
    if values.is_empty() || values.len() > MAX_COLUMNS {
        let message = format!("1 to {MAX_COLUMNS} columns are needed, not {}", values.len());
        problems.push(
            Problem::error(place, "wrong_count", message)
                .with_hint("For example [{\"name\": \"amount\", \"type\": \"number\"}]."),
        );
    }
    let mut found = Vec::with_capacity(values.len().min(MAX_COLUMNS));
    for (index, (value, raw)) in values.iter().zip(raws).enumerate().take(MAX_COLUMNS) {
        // What is no object is a problem that `read` notes.
        let raw: Raw = serde_json::from_str(raw.get()).unwrap_or_default();
        found.extend(read(value, &raw, &below(place, index), problems));
    }
    found
}

fn kind(object: &mut Object<'_, '_>, output: bool) -> Kind {
    let known = if output { &KINDS[..] } else { &KINDS[..6] };
    let Some(word) = object.string("type") else { return Kind::Text };
    match Kind::of(word).filter(|kind| output || *kind != Kind::Json) {
        Some(kind) => kind,
        None => {
            let pointer = object.pointer("type");
            let problem =
                Problem::error(pointer, "unknown_type", format!("unknown type \"{word}\""));
            object.problems().push(problem.with_hint(suggest::hint(word, known)));
            Kind::Text
        }
    }
}

fn input(value: &Value, raw: &Raw, place: &str, problems: &mut Vec<Problem>) -> Option<Input> {
    let mut object = Object::open(value, place, problems)?;
    object.allow(&["name", "type", "expression", "values", "label"]);
    object.string("label");
    let name = object.required_string("name")?.to_owned();
    let kind = kind(&mut object, false);
    let path = match object.get("expression") {
        None => Some(vec![name.clone()]),
        Some(expression) => {
            let text = expression.as_str().or_else(|| match expression.as_object() {
                Some(map) if map.len() == 1 => map.get("var")?.as_str(),
                _ => None,
            });
            text.filter(|text| !text.is_empty()).map(|t| t.split('.').map(str::to_owned).collect())
        }
    };
    if path.is_none() {
        let pointer = object.pointer("expression");
        let message = "an expression names a place in the input";
        let problem = Problem::error(pointer, "invalid_expression", message);
        object.problems().push(problem.with_hint("Write {\"var\": \"customer.tier\"}."));
    }
    let mut values = None;
    if let Some(json) = raw.get("values").map(|raw| raw.get()).filter(|json| *json != "null") {
        match cell::of_json(kind, json) {
            Ok(test) => values = Some(test),
            Err(message) => {
                let problem = Problem::error(object.pointer("values"), "invalid_cell", message);
                object.problems().push(problem);
            }
        }
    }
    Some(Input { name, kind, path: path?, values })
}

fn output(value: &Value, raw: &Raw, place: &str, problems: &mut Vec<Problem>) -> Option<Output> {
    let mut object = Object::open(value, place, problems)?;
    object.allow(&["name", "type", "values", "default", "label"]);
    object.string("label");
    let name = object.required_string("name")?.to_owned();
    let kind = kind(&mut object, true);
    let mut problem_at = |key: &str, message: String| {
        let problem = Problem::error(below(place, key), "invalid_value", message);
        object.problems().push(problem);
    };
    let mut values = Vec::new();
    if let Some(json) = raw.get("values").map(|raw| raw.get()).filter(|json| *json != "null") {
        match serde_json::from_str::<Vec<&RawValue>>(json) {
            Ok(items) => {
                for item in items {
                    match output_value(kind, item.get()) {
                        Ok(value) => values.push(value),
                        Err(message) => problem_at("values", message),
                    }
                }
            }
            Err(_) => problem_at("values", "an array of values is expected here".into()),
        }
    }
    let mut default = None;
    if let Some(json) = raw.get("default") {
        match output_value(kind, json.get()) {
            Ok(value) => default = Some(value),
            Err(message) => problem_at("default", message),
        }
    }
    Some(Output { name, kind, values, default })
}

/// The value of an output, as JSON of its type.
pub(super) fn output_value(kind: Kind, json: &str) -> Result<String, String> {
    if json == "null" || kind == Kind::Json {
        return Ok(json.to_owned());
    }
    match Val::from_json(kind, json) {
        Some(_) => Ok(json.to_owned()),
        None => Err(format!("{} is expected, not {json:.60}", kind.article())),
    }
}

fn check_names(inputs: &[Input], outputs: &[Output], problems: &mut Vec<Problem>) {
    let mut seen = HashSet::new();
    let names = inputs.iter().map(|i| &i.name).chain(outputs.iter().map(|o| &o.name));
    for name in names {
        if !seen.insert(name) {
            let message = format!("there are two columns \"{name}\"");
            problems.push(Problem::error("", "duplicate_column", message));
        }
    }
}

fn check_policy(policy: Policy, outputs: &[Output], problems: &mut Vec<Problem>) {
    if policy.is_ordered() && outputs.iter().all(|output| output.values.is_empty()) {
        let message = format!("hit policy {} needs the order of the outputs", policy.word());
        problems.push(
            Problem::error("/outputs", "no_order", message)
                .with_hint("Give an output \"values\": [...], the most important first."),
        );
    }
    if policy == Policy::Sum {
        for (index, output) in outputs.iter().enumerate() {
            if !matches!(output.kind, Kind::Number | Kind::Integer) {
                let message = format!("a sum is of numbers, not of {}", output.kind.word());
                problems.push(Problem::error(below("/outputs", index), "wrong_type", message));
            }
        }
    }
}

fn rows(text: &str, inputs: &[Input], outputs: &[Output], problems: &mut Vec<Problem>) -> Vec<Row> {
    let Ok(raws) = serde_json::from_str::<Vec<&RawValue>>(text) else {
        problems.push(Problem::error("/rows", "wrong_kind", "an array of rows is expected here"));
        return Vec::new();
    };
    if raws.len() > MAX_ROWS {
        let message = format!("a table has at most {MAX_ROWS} rows, not {}", raws.len());
        problems.push(Problem::error("/rows", "too_many", message));
        return Vec::new();
    }
    let mut found = Vec::with_capacity(raws.len());
    for (index, raw) in raws.iter().enumerate() {
        found.extend(row(raw.get(), inputs, outputs, &below("/rows", index), problems));
        // One hundred problems are more than anybody mends at once.
        if problems.len() >= 100 {
            break;
        }
    }
    found
}

/// The cells of a row, an array or an object with them by name: the JSON of each, and its place.
fn cells<'a>(
    json: &'a str,
    inputs: &[Input],
    outputs: &[Output],
    place: &str,
    problems: &mut Vec<Problem>,
) -> Option<Vec<(&'a str, String)>> {
    let names =
        || inputs.iter().map(|i| i.name.as_str()).chain(outputs.iter().map(|o| o.name.as_str()));
    let width = inputs.len() + outputs.len();
    let mut cells: Vec<(&'a str, String)> = Vec::with_capacity(width);
    if let Ok(list) = serde_json::from_str::<Vec<&RawValue>>(json) {
        if list.len() != width {
            let message = format!("a row has {width} cells, not {}", list.len());
            let hint =
                format!("They are, in this order: {}.", names().collect::<Vec<_>>().join(", "));
            problems.push(Problem::error(place, "wrong_count", message).with_hint(hint));
            return None;
        }
        cells.extend(list.iter().enumerate().map(|(i, raw)| (raw.get(), below(place, i))));
    } else if let Ok(map) = serde_json::from_str::<Raw<'a>>(json) {
        let known: Vec<&str> = names().collect();
        for name in map.keys().filter(|name| !known.contains(&name.as_str())) {
            problems.push(
                Problem::error(
                    below(place, name),
                    "unknown_column",
                    format!("unknown column \"{name}\""),
                )
                .with_hint(suggest::hint(name, &known)),
            );
        }
        cells.extend(
            names().map(|name| (map.get(name).map_or("null", |raw| raw.get()), below(place, name))),
        );
    } else {
        problems.push(Problem::error(place, "wrong_kind", "a row is an array or an object"));
        return None;
    }
    Some(cells)
}

fn row(
    json: &str,
    inputs: &[Input],
    outputs: &[Output],
    place: &str,
    problems: &mut Vec<Problem>,
) -> Option<Row> {
    let before = problems.len();
    let cells = cells(json, inputs, outputs, place, problems)?;
    let mut row = Row { tests: Vec::with_capacity(inputs.len()), outputs: Vec::new() };
    for (input, (json, place)) in inputs.iter().zip(&cells) {
        match cell::of_json(input.kind, json) {
            Ok(test) => row.tests.push(test),
            Err(message) => problems.push(Problem::error(place, "invalid_cell", message)),
        }
    }
    for (output, (json, place)) in outputs.iter().zip(&cells[inputs.len()..]) {
        match output_value(output.kind, json) {
            Ok(value) if output.values.is_empty() || output.rank(&value).is_some() => {
                row.outputs.push(value);
            }
            Ok(value) => {
                let message = format!("{value} is not among the values of \"{}\"", output.name);
                let problem = Problem::error(place, "unknown_value", message);
                problems.push(problem.with_hint(format!("They are {}.", output.values.join(", "))));
            }
            Err(message) => problems.push(Problem::error(place, "invalid_value", message)),
        }
    }
    (problems.len() == before).then_some(row)
}

impl Output {
    /// The place of a value among those it may have; null is behind all.
    pub fn rank(&self, json: &str) -> Option<usize> {
        if json == "null" {
            return Some(self.values.len());
        }
        self.values.iter().position(|value| self.same(value, json))
    }

    /// Two values are the same: 1.0 is 1.
    pub fn same(&self, one: &str, other: &str) -> bool {
        one == other
            || match (Val::from_json(self.kind, one), Val::from_json(self.kind, other)) {
                (Some(one), Some(other)) => one == other,
                _ => false,
            }
    }
}
