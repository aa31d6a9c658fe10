//! What text and HTML show of a table block: the same cells, only the ink differs.

use super::chart::Point;
use super::decimal::Decimal;
use super::definition::Definition;
use super::format::NumberFormat;
use super::layout::{Align, ChartBlock, ColumnStyle, TableBlock};
use super::render::{Data, RenderError, Table};

/// A table, formatted and cut to its limit.
pub struct TableView {
    pub heads: Vec<Head>,
    pub rows: Vec<Vec<Cell>>,
    /// The sums, if there are any: empty cells for the other columns.
    pub totals: Option<Vec<Cell>>,
    /// "showing 5 of 7 rows", if not all are shown.
    pub note: Option<String>,
}

pub struct Head {
    pub label: String,
    pub align: Align,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    pub text: String,
    pub null: bool,
}

/// Longest cell in characters that is shown in text and in HTML; CSV is never cut.
pub const MAX_CELL: usize = 500;

/// Formats a table block.
pub fn table(def: &Definition, block: &TableBlock, data: &Data) -> Result<TableView, RenderError> {
    let source = data.table(&block.data)?;
    for (name, _) in &block.columns {
        source.column(&block.data, name)?;
    }
    let plain = ColumnStyle::default();
    let style = |name: &str| block.columns.iter().find(|(n, _)| n == name).map(|(_, s)| s);
    let shown: Vec<(usize, &ColumnStyle)> = (source.columns.iter().enumerate())
        .map(|(i, column)| (i, style(&column.name).unwrap_or(&plain)))
        .filter(|(_, style)| !style.hidden)
        .collect();
    let head = |(i, style): &(usize, &ColumnStyle)| {
        let column = &source.columns[*i];
        let natural = if column.numeric { Align::Right } else { Align::Left };
        Head {
            label: clean(style.label.as_ref().unwrap_or(&column.name)),
            align: style.align.unwrap_or(natural),
        }
    };
    let rows = source.rows.iter().take(block.limit).map(|row| {
        let cell = |(i, style): &(usize, &ColumnStyle)| {
            cell(row.get(*i).and_then(Option::as_deref), style.format.as_ref(), def)
        };
        shown.iter().map(cell).collect()
    });
    Ok(TableView {
        heads: shown.iter().map(head).collect(),
        rows: rows.collect(),
        totals: totals(def, block, source, &shown)?,
        note: note(source, block.limit),
    })
}

/// One value as it is shown.
fn cell(value: Option<&str>, format: Option<&NumberFormat>, def: &Definition) -> Cell {
    let Some(value) = value else { return Cell { text: String::new(), null: true } };
    let number = format.and_then(|format| Some((format, Decimal::parse(value)?)));
    let text = match number {
        Some((format, number)) => format.apply(&number, def.separators),
        None => clean(value),
    };
    Cell { text, null: false }
}

/// Says how much of the rows is shown, when it is not all of them.
fn note(source: &Table, limit: usize) -> Option<String> {
    let fetched = source.rows.len() as u64;
    let all = source.truncated_of.unwrap_or(fetched).max(fetched);
    let shown = fetched.min(limit as u64);
    let totalled = if source.truncated_of.is_some() && fetched > shown {
        format!(", totals over the first {fetched}")
    } else {
        String::new()
    };
    (shown < all).then(|| format!("showing {shown} of {all} rows{totalled}"))
}

/// The sums over all rows that were fetched, also those beyond the limit.
fn totals(
    def: &Definition,
    block: &TableBlock,
    source: &Table,
    shown: &[(usize, &ColumnStyle)],
) -> Result<Option<Vec<Cell>>, RenderError> {
    if block.totals.is_empty() || source.rows.is_empty() {
        return Ok(None);
    }
    let mut cells = vec![Cell::default(); shown.len()];
    for name in &block.totals {
        let index = source.column(&block.data, name)?;
        let values = source.rows.iter().filter_map(|row| row.get(index)?.as_deref());
        let text = total(values, name)?;
        if let Some(place) = shown.iter().position(|(i, _)| *i == index) {
            cells[place] = cell(Some(&text), shown[place].1.format.as_ref(), def);
        }
    }
    if let Some(first) = cells.first_mut().filter(|cell| cell.text.is_empty()) {
        first.text = "Total".to_owned();
    }
    Ok(Some(cells))
}

/// The exact sum; not-a-number and infinity make the sum what PostgreSQL's `sum` would say.
fn total<'a>(values: impl Iterator<Item = &'a str>, column: &str) -> Result<String, RenderError> {
    let mut sum = Decimal::zero();
    let mut special: Option<&str> = None;
    for value in values {
        match (value, Decimal::parse(value)) {
            (_, Some(number)) => sum = sum.add(&number),
            ("NaN" | "Infinity" | "-Infinity", None) => {
                special = match special {
                    Some(before) if before != value => Some("NaN"),
                    _ => Some(value),
                };
            }
            (other, None) => {
                return Err(RenderError::NotANumber {
                    column: column.to_owned(),
                    value: cut(other, 40),
                });
            }
        }
    }
    Ok(special.map_or_else(|| sum.to_string(), str::to_owned))
}

/// The points of a chart block.
pub fn points(block: &ChartBlock, data: &Data) -> Result<Vec<Point>, RenderError> {
    let source = data.table(&block.data)?;
    let x = source.column(&block.data, &block.x)?;
    let y: Vec<usize> =
        block.y.iter().map(|name| source.column(&block.data, name)).collect::<Result<_, _>>()?;
    fn value(row: &[Option<String>], index: usize) -> Option<&str> {
        row.get(index).and_then(Option::as_deref)
    }
    let number = |text: &str| text.parse::<f64>().ok().filter(|n| n.is_finite());
    Ok(source
        .rows
        .iter()
        .map(|row| Point {
            label: clean(value(row, x).unwrap_or("-")),
            values: y.iter().map(|i| value(row, *i).and_then(number)).collect(),
        })
        .collect())
}

/// Makes a value one harmless line: no control characters, which terminals obey, and nothing that
/// changes the direction of the text around it.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(MAX_CELL * 4));
    let mut left = MAX_CELL;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if left == 1 && chars.peek().is_some() {
            out.push('…');
            break;
        }
        left -= 1;
        out.push(match c {
            '\r' if chars.peek() == Some(&'\n') => {
                left += 1;
                continue;
            }
            '\n' | '\r' => '↵',
            '\t' => ' ',
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
            c if c.is_control() => '\u{fffd}',
            c => c,
        });
    }
    out
}

/// The first `most` characters, with an ellipsis if there are more.
pub fn cut(text: &str, most: usize) -> String {
    if text.chars().nth(most).is_none() {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}
