//! Reports as one self-contained HTML page, which is also the body of an e-mail.
//!
//! What must survive a mail client that drops style sheets (alignment, spacing, lines) stands in
//! attributes and inline styles; colours for dark screens and paper stand in the sheet.

use super::chart::{ChartOptions, bar_chart_svg};
use super::definition::Definition;
use super::layout::{Align, Block, ChartBlock};
use super::render::{Data, RenderError, check_size};
use super::view::{self, Cell, TableView};

/// The sheet: light, dark, and paper.
const STYLE: &str = include_str!("report.css");

/// Text as it stands in HTML, XML and their attributes.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Not allowed in XML, not wanted in HTML.
            '\u{0}'..='\u{8}'
            | '\u{b}'
            | '\u{c}'
            | '\u{e}'..='\u{1f}'
            | '\u{fffe}'
            | '\u{ffff}' => {
                out.push('\u{fffd}');
            }
            c => out.push(c),
        }
    }
    out
}

/// Renders the whole page.
pub fn render(def: &Definition, data: &Data) -> Result<String, RenderError> {
    let title = escape(&view::clean(&def.title.fill(data)));
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<header>\n<h1>{title}</h1>\n\
         <p class=\"asof\">As of {}</p>\n</header>\n",
        escape(&view::clean(&data.as_of))
    );
    for block in &def.layout {
        match block {
            Block::Title(text) => heading(&mut out, &text.fill(data)),
            Block::Text(text) => paragraphs(&mut out, &text.fill(data)),
            Block::Table(table) => {
                if let Some(title) = &table.title {
                    heading(&mut out, &title.fill(data));
                }
                write_table(&mut out, &view::table(def, table, data)?)?;
            }
            Block::Chart(chart) => write_chart(&mut out, def, chart, data)?,
        }
        check_size(out.len())?;
    }
    out.push_str("</main>\n</body>\n</html>\n");
    Ok(out)
}

fn heading(out: &mut String, text: &str) {
    out.push_str(&format!("<h2>{}</h2>\n", escape(&view::clean(text))));
}

/// Paragraphs are apart by an empty line; single line ends stay.
fn paragraphs(out: &mut String, text: &str) {
    for paragraph in text.replace("\r\n", "\n").split("\n\n").filter(|p| !p.trim().is_empty()) {
        out.push_str(&format!("<p>{}</p>\n", escape(paragraph.trim()).replace('\n', "<br>\n")));
    }
}

fn write_chart(
    out: &mut String,
    def: &Definition,
    chart: &ChartBlock,
    data: &Data,
) -> Result<(), RenderError> {
    let options = ChartOptions {
        title: chart.title.as_ref().map(|title| view::clean(&title.fill(data))),
        series: chart.y.iter().map(|name| view::clean(name)).collect(),
        format: chart.format.clone(),
        separators: def.separators,
        ..ChartOptions::default()
    };
    let picture = bar_chart_svg(&options, &view::points(chart, data)?);
    out.push_str(&format!("<figure>{picture}</figure>\n"));
    Ok(())
}

fn align(align: Align) -> &'static str {
    match align {
        Align::Left => "left",
        Align::Center => "center",
        Align::Right => "right",
    }
}

fn write_table(out: &mut String, table: &TableView) -> Result<(), RenderError> {
    out.push_str(
        "<div class=\"scroll\"><table border=\"0\" cellspacing=\"0\" cellpadding=\"6\" \
         style=\"border-collapse:collapse\">\n<thead><tr>",
    );
    for head in &table.heads {
        let side = align(head.align);
        out.push_str(&format!(
            "<th scope=\"col\" align=\"{side}\" style=\"text-align:{side};\
             border-bottom:2px solid #9ca3af\">{}</th>",
            escape(&head.label)
        ));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in &table.rows {
        write_row(out, row, table, "td", "border-bottom:1px solid #9ca3af55");
        check_size(out.len())?;
    }
    out.push_str("</tbody>\n");
    if let Some(totals) = &table.totals {
        out.push_str("<tfoot>");
        write_row(out, totals, table, "td", "font-weight:600;border-top:2px solid #9ca3af");
        out.push_str("</tfoot>\n");
    }
    out.push_str("</table></div>\n");
    let note = match (&table.note, table.rows.is_empty()) {
        (Some(note), _) => note.as_str(),
        (None, true) => "no rows",
        (None, false) => return Ok(()),
    };
    out.push_str(&format!("<p class=\"note\">{}</p>\n", escape(note)));
    Ok(())
}

fn write_row(out: &mut String, row: &[Cell], table: &TableView, tag: &str, style: &str) {
    out.push_str("<tr>");
    for (cell, head) in row.iter().zip(&table.heads) {
        let side = align(head.align);
        let tight = if side == "right" { ";white-space:nowrap" } else { "" };
        let text =
            if cell.null { "<span class=\"null\">–</span>".into() } else { escape(&cell.text) };
        out.push_str(&format!(
            "<{tag} align=\"{side}\" valign=\"top\" style=\"text-align:{side};{style}{tight}\">\
             {text}</{tag}>"
        ));
    }
    out.push_str("</tr>\n");
}
