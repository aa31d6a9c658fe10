//! The blocks of a report.

use serde_json::Value;

use crate::object::{Object, below, wrong_kind};
use crate::problem::Problem;
use crate::suggest;

use super::format::NumberFormat;
use super::placeholder::{self, Text};

/// One block, in the order of the page.
#[derive(Clone, Debug, PartialEq)]
pub enum Block {
    /// A heading.
    Title(Text),
    /// Paragraphs, apart by an empty line.
    Text(Text),
    Table(TableBlock),
    Chart(ChartBlock),
}

/// The rows of a dataset.
#[derive(Clone, Debug, PartialEq)]
pub struct TableBlock {
    pub data: String,
    pub title: Option<Text>,
    /// Only the columns that are written differently than they come.
    pub columns: Vec<(String, ColumnStyle)>,
    /// The columns whose sum stands below the table.
    pub totals: Vec<String>,
    /// Most rows shown in text and HTML; CSV has all.
    pub limit: usize,
}

/// How one column is written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ColumnStyle {
    pub label: Option<String>,
    pub format: Option<NumberFormat>,
    pub align: Option<Align>,
    pub hidden: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    Left,
    Center,
    Right,
}

/// Grouped bars: one group per row, one bar per column of `y`.
#[derive(Clone, Debug, PartialEq)]
pub struct ChartBlock {
    pub data: String,
    pub title: Option<Text>,
    pub x: String,
    pub y: Vec<String>,
    pub format: Option<NumberFormat>,
}

/// Rows of a table shown unless `limit` says otherwise.
const DEFAULT_LIMIT: u64 = 1_000;
/// Most rows of a table in text and HTML.
const MAX_LIMIT: u64 = 5_000;
/// Most blocks of a report.
const MAX_BLOCKS: usize = 100;
/// Most bars in a group: beyond, colours can no longer be told apart.
pub const MAX_SERIES: usize = 6;

const BLOCKS: &[&str] = &["title", "text", "table", "chart"];

/// The names the blocks may refer to.
pub struct Names<'a> {
    pub params: &'a [&'a str],
    pub datasets: &'a [&'a str],
}

/// Reads the layout.
pub fn parse(value: &Value, names: &Names<'_>, problems: &mut Vec<Problem>) -> Vec<Block> {
    let Value::Array(list) = value else {
        wrong_kind(problems, "/layout", "an array of blocks", value);
        return Vec::new();
    };
    if list.is_empty() || list.len() > MAX_BLOCKS {
        let message = format!("a layout has 1 to {MAX_BLOCKS} blocks, not {}", list.len());
        problems.push(Problem::error("/layout", "out_of_range", message));
        return Vec::new();
    }
    let parse = |(i, item)| block(item, &below("/layout", i), names, problems);
    list.iter().enumerate().filter_map(parse).collect()
}

fn block(
    item: &Value,
    pointer: &str,
    names: &Names<'_>,
    problems: &mut Vec<Problem>,
) -> Option<Block> {
    let object = Object::open(item, pointer, problems)?;
    let mut entries = object.entries();
    let (Some((key, value)), None) = (entries.next(), entries.next()) else {
        let problem = Problem::error(pointer, "one_block", "a block is an object with one key");
        problems.push(problem.with_hint(suggest::hint("", BLOCKS)));
        return None;
    };
    let at = below(pointer, key);
    match key.as_str() {
        "title" | "text" => {
            let Some(text) = value.as_str() else {
                wrong_kind(problems, &at, "a string", value);
                return None;
            };
            let text = placeholder::parse(text, names.params, names.datasets, &at, problems);
            Some(if key == "title" { Block::Title(text) } else { Block::Text(text) })
        }
        "table" => table(Object::open(value, &at, problems)?, names).map(Block::Table),
        "chart" => chart(Object::open(value, &at, problems)?, names).map(Block::Chart),
        _ => {
            let message = format!("block \"{key}\" is not supported");
            let problem = Problem::error(at, "unknown_block", message);
            problems.push(problem.with_hint(suggest::hint(key, BLOCKS)));
            None
        }
    }
}

/// The dataset a block shows.
fn dataset(object: &mut Object<'_, '_>, names: &Names<'_>) -> Option<String> {
    let name = object.required_string("data")?;
    if !names.datasets.contains(&name) {
        let message = format!("dataset \"{name}\" does not exist");
        let problem = Problem::error(object.pointer("data"), "unknown_dataset", message);
        object.problems().push(problem.with_hint(suggest::hint(name, names.datasets)));
        return None;
    }
    Some(name.to_owned())
}

fn heading(object: &mut Object<'_, '_>, names: &Names<'_>) -> Option<Text> {
    let text = object.string("title")?;
    let at = object.pointer("title");
    Some(placeholder::parse(text, names.params, names.datasets, &at, object.problems()))
}

fn table(mut object: Object<'_, '_>, names: &Names<'_>) -> Option<TableBlock> {
    object.allow(&["data", "title", "columns", "totals", "limit"]);
    let data = dataset(&mut object, names);
    let title = heading(&mut object, names);
    let totals = object.strings("totals").unwrap_or_default();
    let limit = object.integer("limit", 1, MAX_LIMIT).unwrap_or(DEFAULT_LIMIT) as usize;
    let mut columns = Vec::new();
    if let Some(value) = object.get("columns") {
        let at = object.pointer("columns");
        match value {
            Value::Object(map) => {
                for (name, style) in map {
                    let style = column_style(style, &below(&at, name), object.problems());
                    columns.push((name.clone(), style));
                }
            }
            other => wrong_kind(object.problems(), &at, "an object", other),
        }
    }
    Some(TableBlock { data: data?, title, columns, totals, limit })
}

fn column_style(value: &Value, pointer: &str, problems: &mut Vec<Problem>) -> ColumnStyle {
    let Some(mut object) = Object::open(value, pointer, problems) else {
        return ColumnStyle::default();
    };
    object.allow(&["label", "format", "align", "hidden"]);
    let align = match object.string("align") {
        Some("left") => Some(Align::Left),
        Some("center") => Some(Align::Center),
        Some("right") => Some(Align::Right),
        Some(other) => {
            let message = format!("alignment \"{other}\" does not exist");
            let problem = Problem::error(object.pointer("align"), "unknown_value", message);
            let hint = suggest::hint(other, &["left", "center", "right"]);
            object.problems().push(problem.with_hint(hint));
            None
        }
        None => None,
    };
    ColumnStyle {
        label: object.string("label").map(str::to_owned),
        format: number_format(&mut object),
        align,
        hidden: object.boolean("hidden").unwrap_or(false),
    }
}

fn number_format(object: &mut Object<'_, '_>) -> Option<NumberFormat> {
    let pattern = object.string("format")?;
    let format = NumberFormat::parse(pattern);
    if format.is_none() {
        let message = format!("\"{pattern}\" is not a number format");
        let problem = Problem::error(object.pointer("format"), "invalid_format", message);
        let hint = "Write for example \"#,##0\", \"#,##0.00\", \"0.0%\" or \"#,##0.0 ms\".";
        object.problems().push(problem.with_hint(hint));
    }
    format
}

fn chart(mut object: Object<'_, '_>, names: &Names<'_>) -> Option<ChartBlock> {
    object.allow(&["type", "data", "title", "x", "y", "format"]);
    if let Some(other) = object.required_string("type").filter(|t| *t != "bar") {
        let message = format!("chart type \"{other}\" is not supported");
        let problem = Problem::error(object.pointer("type"), "unknown_value", message);
        object.problems().push(problem.with_hint(suggest::hint(other, &["bar"])));
    }
    let data = dataset(&mut object, names);
    let title = heading(&mut object, names);
    let x = object.required_string("x").map(str::to_owned);
    let format = number_format(&mut object);
    if object.get("y").is_none() {
        object.missing("y");
    }
    let y = object.strings("y")?;
    if y.is_empty() || y.len() > MAX_SERIES {
        let message = format!("a chart shows 1 to {MAX_SERIES} columns, not {}", y.len());
        let problem = Problem::error(object.pointer("y"), "out_of_range", message);
        object.problems().push(problem);
    }
    Some(ChartBlock { data: data?, title, x: x?, y, format })
}

impl Block {
    /// The dataset the block shows, if it shows one.
    pub fn dataset(&self) -> Option<&str> {
        match self {
            Block::Table(table) => Some(&table.data),
            Block::Chart(chart) => Some(&chart.data),
            Block::Title(_) | Block::Text(_) => None,
        }
    }

    /// The columns the block names, with what it names them for.
    pub fn columns(&self) -> Vec<&str> {
        match self {
            Block::Table(table) => {
                let styled = table.columns.iter().map(|(name, _)| name);
                styled.chain(&table.totals).map(String::as_str).collect()
            }
            Block::Chart(chart) => {
                std::iter::once(&chart.x).chain(&chart.y).map(String::as_str).collect()
            }
            Block::Title(_) | Block::Text(_) => Vec::new(),
        }
    }
}
