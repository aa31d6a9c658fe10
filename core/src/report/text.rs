//! Reports for a terminal, in psql's style.

use unicode_width::UnicodeWidthStr;

use super::chart::{Point, value_format};
use super::definition::Definition;
use super::format::NumberFormat;
use super::layout::{Align, Block, ChartBlock};
use super::render::{Data, RenderError, check_size};
use super::view::{self, Cell, TableView, cut};

/// Longest cell in characters: the rest is cut, so that a row fits a line.
const MAX_CELL: usize = 80;
/// Length of the longest bar in characters.
const BAR: usize = 40;
/// Most bars' labels take of a line.
const MAX_LABEL: usize = 30;
/// Most groups of bars drawn.
const MAX_POINTS: usize = 200;

/// Renders the whole report.
pub fn render(def: &Definition, data: &Data) -> Result<String, RenderError> {
    let mut out = String::new();
    heading(&mut out, &def.title.fill(data), '=');
    out.push_str(&format!("As of {}\n", view::clean(&data.as_of)));
    for block in &def.layout {
        out.push('\n');
        match block {
            Block::Title(text) => heading(&mut out, &text.fill(data), '-'),
            Block::Text(text) => {
                for line in text.fill(data).lines() {
                    out.push_str(&view::clean(line));
                    out.push('\n');
                }
            }
            Block::Table(table) => {
                if let Some(title) = &table.title {
                    heading(&mut out, &title.fill(data), '-');
                }
                write_table(&mut out, &view::table(def, table, data)?)?;
            }
            Block::Chart(chart) => {
                if let Some(title) = &chart.title {
                    heading(&mut out, &title.fill(data), '-');
                }
                write_chart(&mut out, def, chart, &view::points(chart, data)?);
            }
        }
        check_size(out.len())?;
    }
    Ok(out)
}

/// A line, underlined.
fn heading(out: &mut String, text: &str, underline: char) {
    let text = view::clean(text);
    let line: String = std::iter::repeat_n(underline, text.width()).collect();
    out.push_str(&format!("{text}\n{line}\n"));
}

/// Fills a text up to `width` columns of the terminal.
fn pad(text: &str, width: usize, align: Align) -> String {
    let free = width.saturating_sub(text.width());
    let before = match align {
        Align::Left => 0,
        Align::Center => free / 2,
        Align::Right => free,
    };
    format!("{}{text}{}", " ".repeat(before), " ".repeat(free - before))
}

fn write_table(out: &mut String, table: &TableView) -> Result<(), RenderError> {
    let show = |cell: &Cell| cut(&cell.text, MAX_CELL);
    let heads: Vec<String> = table.heads.iter().map(|head| cut(&head.label, MAX_CELL)).collect();
    let mut widths: Vec<usize> = heads.iter().map(|head| head.width()).collect();
    for row in table.rows.iter().chain(&table.totals) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(show(cell).width());
        }
    }
    let line = |cells: Vec<String>| format!(" {}", cells.join(" | ")).trim_end().to_owned() + "\n";
    let dashes: Vec<String> = widths.iter().map(|width| "-".repeat(width + 2)).collect();
    let rule = dashes.join("+") + "\n";
    let centred = heads.iter().zip(&widths).map(|(head, w)| pad(head, *w, Align::Center));
    out.push_str(&line(centred.collect()));
    out.push_str(&rule);
    let cells = |row: &[Cell]| {
        let padded = row.iter().zip(&table.heads).zip(&widths);
        line(padded.map(|((cell, head), w)| pad(&show(cell), *w, head.align)).collect())
    };
    for row in &table.rows {
        out.push_str(&cells(row));
        check_size(out.len())?;
    }
    if let Some(totals) = &table.totals {
        out.push_str(&rule);
        out.push_str(&cells(totals));
    }
    let rows = table.rows.len();
    let counted = if rows == 1 { "1 row".to_owned() } else { format!("{rows} rows") };
    out.push_str(&format!("({})\n", table.note.as_ref().unwrap_or(&counted)));
    Ok(())
}

fn write_chart(out: &mut String, def: &Definition, chart: &ChartBlock, points: &[Point]) {
    let shown = &points[..points.len().min(MAX_POINTS)];
    let values = || shown.iter().flat_map(|p| p.values.iter().flatten().copied());
    let (low, high) = values().fold((0f64, 0f64), |(low, high), v| (low.min(v), high.max(v)));
    let format = chart.format.clone().unwrap_or_else(|| value_format(values()));
    let label = |text: &str| cut(text, MAX_LABEL);
    let widest = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or(0);
    let x_width = widest(&mut shown.iter().map(|p| label(&p.label).width()));
    let several = chart.y.len() > 1;
    let y_width = widest(&mut chart.y.iter().map(|name| label(&view::clean(name)).width()));
    for point in shown {
        for (index, (value, name)) in point.values.iter().zip(&chart.y).enumerate() {
            let x = if index == 0 { label(&point.label) } else { String::new() };
            let mut line = format!(" {}", pad(&x, x_width, Align::Left));
            if several {
                let name = label(&view::clean(name));
                line.push_str(&format!("  {}", pad(&name, y_width, Align::Left)));
            }
            line.push_str(&format!("  {}", bar(*value, low, high, &format, def)));
            out.push_str(line.trim_end());
            out.push('\n');
        }
    }
    if shown.len() < points.len() {
        out.push_str(&format!("(showing {} of {} rows)\n", shown.len(), points.len()));
    } else if points.is_empty() {
        out.push_str("(0 rows)\n");
    }
}

/// One bar with its value; below zero it grows to the left of the line.
fn bar(value: Option<f64>, low: f64, high: f64, format: &NumberFormat, def: &Definition) -> String {
    let span = high / 2.0 - low / 2.0;
    let share = |v: f64| if span > 0.0 { (v / 2.0 / span).clamp(0.0, 1.0) } else { 0.0 };
    let left = (share(-low) * BAR as f64).round() as usize;
    let right = BAR - left;
    let axis = if low < 0.0 { "│" } else { "" };
    let Some(value) = value else { return format!("{}{axis}", " ".repeat(left)) };
    let number = super::chart::show(value, format, def.separators);
    if value < 0.0 {
        let cells = ((share(-value) * BAR as f64).round() as usize).min(left);
        return format!("{}{axis} {number}", pad(&"█".repeat(cells), left, Align::Right));
    }
    // Eighths of a character, so that small differences show.
    let eighths = ((share(value) * BAR as f64 * 8.0).round() as usize).min(right * 8);
    let rest = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"].get(eighths % 8).copied().unwrap_or("");
    let before = " ".repeat(left);
    let space = if eighths == 0 && axis.is_empty() { "" } else { " " };
    format!("{before}{axis}{}{rest}{space}{number}", "█".repeat(eighths / 8))
}
