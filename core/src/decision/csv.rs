//! Decision tables as CSV, for spreadsheets. The first line has the hit policy and the names of the
//! columns, the second what each is (`input number`, or `output {"type": "text", ...}` if there is
//! more to say), and each line behind these is a row, with its number.

use super::policy::Policy;
use super::table::{Source, Table};
use super::value::{KINDS, Kind, Val};
use crate::problem::Problem;
use csv::{ReaderBuilder, Terminator, WriterBuilder};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

type Raw<'a> = BTreeMap<String, &'a RawValue>;

/// A definition as CSV. It must be sound.
pub fn export(source: &Source, table: &Table) -> Result<String, String> {
    let raws = |text| serde_json::from_str::<Vec<&RawValue>>(text).map_err(|e| e.to_string());
    let mut names = vec![Policy::of(&source.hit_policy).unwrap_or(table.policy).word().to_owned()];
    let mut sides = vec![String::new()];
    for (side, text) in [("input", &source.inputs), ("output", &source.outputs)] {
        for raw in raws(text)? {
            let mut column: Raw = serde_json::from_str(raw.get()).map_err(|e| e.to_string())?;
            let name = column.remove("name").map_or("null", |name| name.get());
            names.push(serde_json::from_str(name).map_err(|e| e.to_string())?);
            let kind = column.get("type").map_or("\"text\"", |kind| kind.get());
            let kind: String = serde_json::from_str(kind).map_err(|e| e.to_string())?;
            column.retain(|_, value| value.get() != "null");
            column.remove("type");
            sides.push(match column.is_empty() {
                true => format!("{side} {kind}"),
                false => {
                    let rest: Vec<String> = column
                        .iter()
                        .map(|(key, value)| {
                            format!(", {}: {}", Value::String(key.clone()), value.get())
                        })
                        .collect();
                    format!("{side} {{\"type\": {}{}}}", Value::String(kind), rest.concat())
                }
            });
        }
    }
    let mut writer = WriterBuilder::new().terminator(Terminator::CRLF).from_writer(Vec::new());
    let failed = |e: ::csv::Error| e.to_string();
    writer.write_record(&names).map_err(failed)?;
    writer.write_record(&sides).map_err(failed)?;
    for (number, raw) in raws(&source.rows)?.iter().enumerate() {
        let mut record = vec![(number + 1).to_string()];
        record.extend(cells(raw.get(), &names[1..], table)?);
        writer.write_record(&record).map_err(failed)?;
    }
    let bytes = writer.into_inner().map_err(|e| e.to_string())?;
    String::from_utf8(bytes).map_err(|e| e.to_string())
}

/// The cells of a row as they are written.
fn cells(json: &str, names: &[String], table: &Table) -> Result<Vec<String>, String> {
    let list: Vec<&str> = match serde_json::from_str::<Vec<&RawValue>>(json) {
        Ok(list) => list.iter().map(|raw| raw.get()).collect(),
        Err(_) => {
            let map: Raw = serde_json::from_str(json).map_err(|e| e.to_string())?;
            names.iter().map(|name| map.get(name).map_or("null", |raw| raw.get())).collect()
        }
    };
    let cell = |(index, json): (usize, &&str)| {
        let text = || serde_json::from_str::<String>(json).map_err(|e| e.to_string());
        match (index.checked_sub(table.inputs.len()), *json) {
            (None, "null") => Ok("-".to_owned()),
            (Some(_), "null") => Ok(String::new()),
            (None, json) if json.starts_with('"') => text(),
            (Some(output), json) if json.starts_with('"') => {
                let (kind, text) = (table.outputs[output].kind, text()?);
                // What would be read as something else keeps its quotes.
                let plain = kind != Kind::Json && !text.trim().is_empty() && !text.starts_with('"');
                Ok(if plain && text.trim() == text { text } else { json.to_owned() })
            }
            (_, json) => Ok(json.to_owned()),
        }
    };
    list.iter().enumerate().map(cell).collect()
}

/// Reads a definition from CSV, or says what is wrong with it.
pub fn import(text: &str) -> Result<Source, Vec<Problem>> {
    let one = |code, message: String| vec![Problem::error("", code, message)];
    let mut reader =
        ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    let mut records = Vec::new();
    for record in reader.records() {
        records.push(record.map_err(|e| one("invalid_csv", e.to_string()))?);
    }
    let [names, sides, rest @ ..] = records.as_slice() else {
        return Err(one("too_short", "a decision table has at least two lines".into()));
    };
    let hit_policy = names.get(0).unwrap_or_default().trim_start_matches('\u{feff}').to_owned();
    let mut problems = Vec::new();
    let (mut inputs, mut outputs, mut columns) = (Vec::new(), Vec::new(), Vec::new());
    for (index, name) in names.iter().enumerate().skip(1) {
        match column(name, sides.get(index).unwrap_or_default()) {
            Ok((true, column, _)) if outputs.is_empty() => {
                columns.push(None);
                inputs.push(column);
            }
            Ok((false, column, kind)) => {
                columns.push(Some(kind));
                outputs.push(column);
            }
            Ok(_) => problems.push(
                Problem::error("", "wrong_order", format!("input \"{name}\" stands behind an output"))
                    .with_hint("Inputs are on the left, outputs on the right."),
            ),
            Err(message) => problems.push(
                Problem::error("", "wrong_column", format!("column \"{name}\": {message}")).with_hint(
                    "The second line says what each column is, such as \"input number\" or \"output text\".",
                ),
            ),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut rows = Vec::with_capacity(rest.len());
    for (number, record) in rest.iter().enumerate() {
        if record.len() != columns.len() + 1 {
            let message =
                format!("row {} has {} cells, not {}", number + 1, record.len() - 1, columns.len());
            return Err(one("wrong_count", message));
        }
        let cells = columns.iter().zip(record.iter().skip(1)).map(|(column, text)| match column {
            None => Value::String(text.to_owned()).to_string(),
            Some(kind) => output_json(*kind, text),
        });
        rows.push(format!("[{}]", cells.collect::<Vec<_>>().join(", ")));
    }
    let list = |columns: Vec<String>| format!("[{}]", columns.join(", "));
    Ok(Source { inputs: list(inputs), outputs: list(outputs), rows: list(rows), hit_policy })
}

/// Whether a column is an input, its definition, and its type.
fn column(name: &str, side: &str) -> Result<(bool, String, Kind), String> {
    let (word, rest) = side.trim().split_once(char::is_whitespace).unwrap_or((side.trim(), "text"));
    let is_input = match word {
        "input" => true,
        "output" => false,
        other => return Err(format!("\"{other}\" is neither input nor output")),
    };
    let rest = rest.trim();
    let kind = |word: &str| {
        Kind::of(word)
            .ok_or_else(|| format!("unknown type \"{word}\"; known are {}", KINDS.join(", ")))
    };
    if !rest.starts_with('{') {
        let definition = json!({"name": name, "type": rest}).to_string();
        return Ok((is_input, definition, kind(rest)?));
    }
    let raw: Raw = serde_json::from_str(rest).map_err(|e| e.to_string())?;
    let word = raw.get("type").and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
    let kind = word.map_or(Ok(Kind::Text), |word| kind(&word))?;
    let mut definition = Map::new();
    definition.insert("name".into(), json!(name));
    let more: Vec<String> = raw
        .iter()
        .filter(|(key, _)| *key != "name")
        .map(|(key, value)| format!(", {}: {}", Value::String(key.clone()), value.get()))
        .collect();
    let head = Value::Object(definition).to_string();
    Ok((is_input, format!("{}{}}}", &head[..head.len() - 1], more.concat()), kind))
}

/// What is written in a cell of an output, as JSON; what is wrong is found when the table is read.
fn output_json(kind: Kind, text: &str) -> String {
    let text = text.trim();
    if text.is_empty() {
        return "null".into();
    }
    let as_string = || Value::String(text.to_owned()).to_string();
    let is_json = serde_json::from_str::<&RawValue>(text).is_ok();
    match kind {
        Kind::Json if is_json => text.to_owned(),
        _ if text.starts_with('"') && is_json => text.to_owned(),
        Kind::Number | Kind::Integer | Kind::Boolean => {
            Val::from_text(kind, text).map_or_else(as_string, |value| value.json())
        }
        _ => as_string(),
    }
}
