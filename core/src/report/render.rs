//! From a definition and the rows of one run to a file.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::suggest;

use super::definition::{Definition, Format};
use super::{csv, html, text};

/// Most bytes of one rendered report.
pub const MAX_BYTES: usize = 25 * 1024 * 1024;

/// The rows of one run.
#[derive(Clone, Debug, Default)]
pub struct Data {
    pub datasets: BTreeMap<String, Table>,
    /// The instant the datasets were read at, as people read it.
    pub as_of: String,
    /// The values of the parameters, an object.
    pub params: Value,
}

/// The result of one dataset.
#[derive(Clone, Debug, Default)]
pub struct Table {
    pub columns: Vec<Column>,
    /// PostgreSQL's text output of each value; NULL is `None`.
    pub rows: Vec<Vec<Option<String>>>,
    /// How many rows there are in all, if `max_rows` cut them.
    pub truncated_of: Option<u64>,
}

#[derive(Clone, Debug)]
pub struct Column {
    pub name: String,
    /// Whether the type is a number: such columns stand to the right.
    pub numeric: bool,
}

/// Why a report could not be rendered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    #[error("dataset \"{0}\" has no rows to render: it was not run")]
    MissingDataset(String),
    #[error("dataset \"{dataset}\" has no column \"{column}\"")]
    UnknownColumn { dataset: String, column: String, hint: String },
    #[error("column \"{column}\" cannot be totalled: \"{value}\" is not a number")]
    NotANumber { column: String, value: String },
    #[error("the report is larger than {MAX_BYTES} bytes")]
    TooLarge,
    #[error("could not write CSV: {0}")]
    Csv(String),
}

impl RenderError {
    /// The way out.
    pub fn hint(&self) -> Option<String> {
        match self {
            RenderError::UnknownColumn { hint, .. } => Some(hint.clone()),
            RenderError::NotANumber { .. } => {
                Some("Cast the column to numeric, or leave it out of \"totals\".".into())
            }
            RenderError::TooLarge => {
                Some("Lower \"max_rows\" or \"limit\", or select fewer columns.".into())
            }
            RenderError::MissingDataset(_) | RenderError::Csv(_) => None,
        }
    }
}

/// Renders a report.
pub fn render(def: &Definition, data: &Data, format: Format) -> Result<Vec<u8>, RenderError> {
    match format {
        Format::Text => text::render(def, data).map(String::into_bytes),
        Format::Html => html::render(def, data).map(String::into_bytes),
        Format::Csv => csv::render(def, data),
    }
}

impl Data {
    /// Whether no block that shows data has a row to show. Texts do not count.
    pub fn is_empty(&self, def: &Definition) -> bool {
        let mut shown = def.layout.iter().filter_map(|block| block.dataset());
        !shown.any(|name| self.datasets.get(name).is_some_and(|table| !table.rows.is_empty()))
    }

    pub(super) fn table(&self, name: &str) -> Result<&Table, RenderError> {
        self.datasets.get(name).ok_or_else(|| RenderError::MissingDataset(name.to_owned()))
    }
}

impl Table {
    /// The position of a column of the dataset `dataset`.
    pub(super) fn column(&self, dataset: &str, name: &str) -> Result<usize, RenderError> {
        self.columns.iter().position(|c| c.name == name).ok_or_else(|| {
            let known: Vec<&str> = self.columns.iter().map(|c| c.name.as_str()).collect();
            RenderError::UnknownColumn {
                dataset: dataset.to_owned(),
                column: name.to_owned(),
                hint: suggest::hint(name, &known),
            }
        })
    }
}

/// Fails once the output has grown too large; asked after every row.
pub fn check_size(bytes: usize) -> Result<(), RenderError> {
    if bytes > MAX_BYTES { Err(RenderError::TooLarge) } else { Ok(()) }
}
