//! A report's definition: read and checked as a whole.

use serde_json::Value;

use crate::object::{Object, below, wrong_kind};
use crate::problem::Problem;
use crate::suggest;

use super::format::{LOCALES, Separators, separators};
use super::layout::{self, Block, Names};
use super::placeholder::{self, Text};
use super::statement::{self, Statement};

/// A report, ready to be run and rendered.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    pub title: Text,
    pub params: Vec<Param>,
    pub datasets: Vec<Dataset>,
    pub layout: Vec<Block>,
    pub formats: Vec<Format>,
    pub on_empty: OnEmpty,
    /// How numbers are written in text and HTML.
    pub separators: Separators,
    /// The IANA zone the datasets run in; the owner's setting if none.
    pub time_zone: Option<String>,
    /// Which dataset the CSV holds: the first table's unless `csv.data` names another.
    pub csv_data: Option<String>,
    /// Whether CSV cells a spreadsheet would take for a formula are defused.
    pub csv_guard: bool,
}

/// A parameter of the report.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    pub name: String,
    pub kind: ParamKind,
    /// A SQL expression, which may use `$now` only.
    pub default: Option<Statement>,
}

/// The type a parameter is bound as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamKind {
    Text,
    Int,
    Bigint,
    Numeric,
    Date,
    Timestamp,
    Timestamptz,
    Interval,
    Boolean,
    Uuid,
    Jsonb,
}

/// One query of the report.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    pub name: String,
    pub sql: String,
    /// The parameters in the order of their numbers; `now` is the run's instant, a timestamptz.
    pub param_names: Vec<String>,
    /// Most rows fetched.
    pub max_rows: u64,
    pub timeout_ms: u64,
}

/// What a report is rendered as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Html,
    Csv,
}

/// What happens to a report whose datasets are all empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnEmpty {
    Send,
    Skip,
}

/// The name every statement may use for the instant of the run.
const NOW: &str = "now";
const DEFAULT_MAX_ROWS: u64 = 10_000;
const MAX_ROWS: u64 = 100_000;
const DEFAULT_TIMEOUT_MS: u64 = 60_000;
const MAX_TIMEOUT_MS: u64 = 3_600_000;
const MAX_PARAMS: usize = 50;
const MAX_DATASETS: usize = 50;
/// Longest name of a parameter or dataset, in bytes, as of PostgreSQL's identifiers.
const MAX_NAME: usize = 63;

const KEYS: &[&str] =
    &["title", "params", "datasets", "layout", "formats", "on_empty", "locale", "time_zone", "csv"];

impl ParamKind {
    const ALL: [(&'static str, ParamKind); 13] = [
        ("text", ParamKind::Text),
        ("int", ParamKind::Int),
        ("integer", ParamKind::Int),
        ("bigint", ParamKind::Bigint),
        ("numeric", ParamKind::Numeric),
        ("date", ParamKind::Date),
        ("timestamp", ParamKind::Timestamp),
        ("timestamptz", ParamKind::Timestamptz),
        ("interval", ParamKind::Interval),
        ("boolean", ParamKind::Boolean),
        ("bool", ParamKind::Boolean),
        ("uuid", ParamKind::Uuid),
        ("jsonb", ParamKind::Jsonb),
    ];

    /// The name of the type in SQL.
    pub fn sql_type(self) -> &'static str {
        match self {
            ParamKind::Int => "pg_catalog.int4",
            ParamKind::Text => "pg_catalog.text",
            ParamKind::Bigint => "pg_catalog.int8",
            ParamKind::Numeric => "pg_catalog.numeric",
            ParamKind::Date => "pg_catalog.date",
            ParamKind::Timestamp => "pg_catalog.timestamp",
            ParamKind::Timestamptz => "pg_catalog.timestamptz",
            ParamKind::Interval => "pg_catalog.interval",
            ParamKind::Boolean => "pg_catalog.bool",
            ParamKind::Uuid => "pg_catalog.uuid",
            ParamKind::Jsonb => "pg_catalog.jsonb",
        }
    }
}

impl Format {
    pub const ALL: [Format; 3] = [Format::Text, Format::Html, Format::Csv];
    pub const NAMES: [&'static str; 3] = ["text", "html", "csv"];

    /// The format of a name, or the hint that goes with its error.
    pub fn parse(name: &str) -> Result<Format, String> {
        let found = Format::ALL.into_iter().find(|format| format.name() == name);
        found.ok_or_else(|| suggest::hint(name, &Format::NAMES))
    }

    pub fn name(self) -> &'static str {
        match self {
            Format::Text => "text",
            Format::Html => "html",
            Format::Csv => "csv",
        }
    }

    pub fn media_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; charset=utf-8",
            Format::Html => "text/html; charset=utf-8",
            Format::Csv => "text/csv; charset=utf-8; header=present",
        }
    }

    /// The usual end of a file's name, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Format::Text => "txt",
            Format::Html => "html",
            Format::Csv => "csv",
        }
    }
}

/// Reads a definition, or says all that is wrong with it.
pub fn parse(definition: &Value) -> Result<Definition, Vec<Problem>> {
    let mut problems = Vec::new();
    let found = read(definition, &mut problems);
    match found {
        Some(found) if problems.is_empty() => Ok(found),
        _ => Err(problems),
    }
}

fn read(definition: &Value, problems: &mut Vec<Problem>) -> Option<Definition> {
    let mut object = Object::open(definition, "", problems)?;
    object.allow(KEYS);
    let params = params(&mut object);
    let mut known: Vec<&str> = params.iter().map(|p| p.name.as_str()).collect();
    let declared = known.clone();
    known.push(NOW);
    let datasets = datasets(&mut object, &known);
    let names: Vec<&str> = datasets.iter().map(|d| d.name.as_str()).collect();
    let title = object
        .required_string("title")
        .map(|text| placeholder::parse(text, &declared, &names, "/title", object.problems()));
    let layout = match object.get("layout") {
        Some(value) => {
            let names = Names { params: &declared, datasets: &names };
            layout::parse(value, &names, object.problems())
        }
        None => {
            object.missing("layout");
            Vec::new()
        }
    };
    let (csv_data, csv_guard) = csv(&mut object, &names);
    let (formats, on_empty) = (formats(&mut object), on_empty(&mut object));
    let (separators, time_zone) = (locale(&mut object), time_zone(&mut object));
    Some(Definition {
        title: title?,
        params,
        datasets,
        layout,
        formats,
        on_empty,
        separators,
        time_zone,
        csv_data,
        csv_guard,
    })
}

/// The named objects at `key`: a map from names that can stand behind a `$`.
fn named<'a>(object: &mut Object<'a, '_>, key: &str, most: usize) -> Vec<(&'a String, &'a Value)> {
    let at = object.pointer(key);
    let map = match object.get(key) {
        None => return Vec::new(),
        Some(Value::Object(map)) => map,
        Some(other) => {
            wrong_kind(object.problems(), &at, "an object", other);
            return Vec::new();
        }
    };
    if map.len() > most {
        let message = format!("at most {most} {key} are allowed, not {}", map.len());
        object.problems().push(Problem::error(at, "too_many", message));
        return Vec::new();
    }
    for name in map.keys() {
        let sound = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && name.len() <= MAX_NAME;
        let message = if !sound {
            format!("\"{name}\" is not a name: letters, digits and underscores are allowed")
        } else if name == NOW {
            "the name \"now\" is taken: $now is the instant of the run".to_owned()
        } else {
            continue;
        };
        object.problems().push(Problem::error(below(&at, name), "invalid_name", message));
    }
    map.iter().collect()
}

fn params(object: &mut Object<'_, '_>) -> Vec<Param> {
    let at = object.pointer("params");
    let mut found = Vec::new();
    for (name, value) in named(object, "params", MAX_PARAMS) {
        found.extend(param(name, value, &below(&at, name), object.problems()));
    }
    found
}

fn param(name: &str, value: &Value, pointer: &str, problems: &mut Vec<Problem>) -> Option<Param> {
    let mut object = Object::open(value, pointer, problems)?;
    object.allow(&["type", "default"]);
    let kind = match object.string("type") {
        None => ParamKind::Text,
        Some(name) => match ParamKind::ALL.iter().find(|(known, _)| *known == name) {
            Some((_, kind)) => *kind,
            None => {
                let known = ParamKind::ALL.map(|(known, _)| known);
                let message = format!("type \"{name}\" is not supported for parameters");
                let problem = Problem::error(object.pointer("type"), "unknown_type", message);
                object.problems().push(problem.with_hint(suggest::hint(name, &known)));
                ParamKind::Text
            }
        },
    };
    let at = object.pointer("default");
    let text = match object.get("default") {
        None => None,
        Some(Value::String(sql)) => Some(sql.clone()),
        Some(scalar @ (Value::Number(_) | Value::Bool(_))) => Some(scalar.to_string()),
        Some(other) => {
            let message =
                format!("a default is a SQL expression, not {}", crate::object::kind(other));
            object.problems().push(Problem::error(&at, "wrong_kind", message));
            None
        }
    };
    let default = text.and_then(|sql| accept(statement::parse(&sql, &[NOW], &at), &mut object));
    // A parameter whose default is wrong still exists, or its every use would be a problem too.
    Some(Param { name: name.to_owned(), kind, default })
}

/// The statement, or its problems among the others.
fn accept(
    found: Result<Statement, Vec<Problem>>,
    object: &mut Object<'_, '_>,
) -> Option<Statement> {
    found.map_err(|problems| object.problems().extend(problems)).ok()
}

fn datasets(object: &mut Object<'_, '_>, known: &[&str]) -> Vec<Dataset> {
    let at = object.pointer("datasets");
    let list = named(object, "datasets", MAX_DATASETS);
    if list.is_empty() && object.get("datasets").is_none() {
        object.missing("datasets");
    }
    let mut found = Vec::new();
    for (name, value) in list {
        found.extend(dataset(name, value, &below(&at, name), known, object.problems()));
    }
    found
}

fn dataset(
    name: &str,
    value: &Value,
    pointer: &str,
    known: &[&str],
    problems: &mut Vec<Problem>,
) -> Option<Dataset> {
    let empty = Statement { sql: String::new(), param_names: Vec::new() };
    let mut dataset = Dataset {
        name: name.to_owned(),
        sql: empty.sql,
        param_names: empty.param_names,
        max_rows: DEFAULT_MAX_ROWS,
        timeout_ms: DEFAULT_TIMEOUT_MS,
    };
    let mut object = Object::open(value, pointer, problems)?;
    object.allow(&["sql", "max_rows", "timeout"]);
    let at = object.pointer("sql");
    if let Some(sql) = object.required_string("sql")
        && let Some(found) = accept(statement::parse(sql, known, &at), &mut object)
    {
        (dataset.sql, dataset.param_names) = (found.sql, found.param_names);
    }
    dataset.max_rows = object.integer("max_rows", 1, MAX_ROWS).unwrap_or(DEFAULT_MAX_ROWS);
    dataset.timeout_ms = timeout(&mut object).unwrap_or(DEFAULT_TIMEOUT_MS);
    Some(dataset)
}

/// A time such as `30 s`; a bare number is milliseconds, as in PostgreSQL's settings.
fn timeout(object: &mut Object<'_, '_>) -> Option<u64> {
    let value = object.get("timeout")?;
    let found = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => milliseconds(text),
        _ => None,
    };
    let found = found.filter(|ms| (1..=MAX_TIMEOUT_MS).contains(ms));
    if found.is_none() {
        let message = "\"timeout\" must be a time from 1 ms to 1 h";
        let problem = Problem::error(object.pointer("timeout"), "out_of_range", message);
        object.problems().push(problem.with_hint("Write for example \"30 s\" or \"2 min\"."));
    }
    found
}

fn milliseconds(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = match unit.trim() {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

fn formats(object: &mut Object<'_, '_>) -> Vec<Format> {
    let Some(names) = object.strings("formats") else { return vec![Format::Html] };
    let at = object.pointer("formats");
    let mut found = Vec::new();
    for (index, name) in names.iter().enumerate() {
        match Format::parse(name) {
            Ok(format) if !found.contains(&format) => found.push(format),
            Ok(_) => {}
            Err(hint) => {
                let message = format!("format \"{name}\" is not supported");
                let problem = Problem::error(below(&at, index), "unknown_format", message);
                object.problems().push(problem.with_hint(hint));
            }
        }
    }
    if names.is_empty() {
        object.problems().push(Problem::error(at, "empty", "a report needs a format"));
    }
    found
}

fn on_empty(object: &mut Object<'_, '_>) -> OnEmpty {
    match object.string("on_empty") {
        None | Some("send") => OnEmpty::Send,
        Some("skip") => OnEmpty::Skip,
        Some(other) => {
            let message = format!("\"on_empty\" cannot be \"{other}\"");
            let problem = Problem::error("/on_empty", "unknown_value", message);
            object.problems().push(problem.with_hint(suggest::hint(other, &["send", "skip"])));
            OnEmpty::Send
        }
    }
}

fn locale(object: &mut Object<'_, '_>) -> Separators {
    let Some(name) = object.string("locale") else { return Separators::default() };
    separators(name).unwrap_or_else(|| {
        let message = format!("locale \"{name}\" is not supported");
        let problem = Problem::error("/locale", "unknown_value", message);
        object.problems().push(problem.with_hint(suggest::hint(name, LOCALES)));
        Separators::default()
    })
}

fn time_zone(object: &mut Object<'_, '_>) -> Option<String> {
    let name = object.string("time_zone")?;
    if name.parse::<chrono_tz::Tz>().is_err() {
        let message = format!("time zone \"{name}\" does not exist");
        let zones = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
        let hint = match suggest::nearest(name, zones) {
            Some(found) => format!("Did you mean \"{found}\"?"),
            None => "Write an IANA name such as \"Europe/Zurich\".".to_owned(),
        };
        let problem = Problem::error("/time_zone", "unknown_time_zone", message);
        object.problems().push(problem.with_hint(hint));
        return None;
    }
    Some(name.to_owned())
}

/// The options of CSV: which dataset, and whether formulas are defused.
fn csv(object: &mut Object<'_, '_>, datasets: &[&str]) -> (Option<String>, bool) {
    let Some(value) = object.get("csv") else { return (None, true) };
    let Some(mut csv) = Object::open(value, "/csv", object.problems()) else {
        return (None, true);
    };
    csv.allow(&["data", "guard_formulas"]);
    let data = csv.string("data");
    if let Some(name) = data.filter(|name| !datasets.contains(name)) {
        let message = format!("dataset \"{name}\" does not exist");
        let problem = Problem::error("/csv/data", "unknown_dataset", message);
        csv.problems().push(problem.with_hint(suggest::hint(name, datasets)));
    }
    (data.map(str::to_owned), csv.boolean("guard_formulas").unwrap_or(true))
}

impl Definition {
    /// What is wrong with the layout now that the columns of `dataset` are known.
    pub fn check_columns(&self, dataset: &str, columns: &[&str]) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (index, block) in self.layout.iter().enumerate() {
            if block.dataset() != Some(dataset) {
                continue;
            }
            for name in block.columns().into_iter().filter(|name| !columns.contains(name)) {
                let message = format!("dataset \"{dataset}\" has no column \"{name}\"");
                problems.push(
                    Problem::error(below("/layout", index), "unknown_column", message)
                        .with_hint(suggest::hint(name, columns)),
                );
            }
        }
        problems
    }

    /// The dataset CSV holds: the chosen one, the first table's, or the first there is.
    pub fn csv_dataset(&self) -> Option<&str> {
        let first_table = self.layout.iter().find_map(|block| match block {
            Block::Table(table) => Some(table.data.as_str()),
            _ => None,
        });
        let first = || self.datasets.first().map(|d| d.name.as_str());
        self.csv_data.as_deref().or(first_table).or_else(first)
    }
}

#[cfg(test)]
#[path = "definition_tests.rs"]
mod tests;
