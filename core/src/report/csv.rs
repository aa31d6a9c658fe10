//! CSV as of RFC 4180: the rows of one dataset as they are, neither formatted nor cut.
//!
//! UTF-8 without a byte order mark, lines end in CR LF, everything but numbers is quoted. NULL and
//! the empty string look the same. Cells a spreadsheet would take for a formula get a leading `'`
//! unless the definition says `"csv": {"guard_formulas": false}`.

use csv::{QuoteStyle, Terminator, Writer, WriterBuilder};

use super::decimal::Decimal;
use super::definition::Definition;
use super::render::{Data, RenderError, check_size};

/// Renders the dataset the definition chooses.
pub fn render(def: &Definition, data: &Data) -> Result<Vec<u8>, RenderError> {
    let Some(name) = def.csv_dataset() else { return Ok(Vec::new()) };
    let table = data.table(name)?;
    let mut writer = WriterBuilder::new()
        .terminator(Terminator::CRLF)
        .quote_style(QuoteStyle::NonNumeric)
        .from_writer(Vec::new());
    let mut written = 0;
    let heads: Vec<Option<&str>> = table.columns.iter().map(|c| Some(c.name.as_str())).collect();
    record(&mut writer, &heads, def.csv_guard, &mut written)?;
    for row in &table.rows {
        let cells: Vec<Option<&str>> = row.iter().map(Option::as_deref).collect();
        record(&mut writer, &cells, def.csv_guard, &mut written)?;
    }
    let bytes = writer.into_inner().map_err(|e| RenderError::Csv(e.to_string()))?;
    check_size(bytes.len())?;
    Ok(bytes)
}

fn record(
    writer: &mut Writer<Vec<u8>>,
    cells: &[Option<&str>],
    guard: bool,
    written: &mut usize,
) -> Result<(), RenderError> {
    for cell in cells {
        let cell = cell.unwrap_or_default();
        *written += cell.len();
        let guarded = if guard && is_formula(cell) { Some(format!("'{cell}")) } else { None };
        let bytes = guarded.as_deref().unwrap_or(cell);
        writer.write_field(bytes).map_err(|e| RenderError::Csv(e.to_string()))?;
    }
    writer.write_record(None::<&[u8]>).map_err(|e| RenderError::Csv(e.to_string()))?;
    check_size(*written)
}

/// Whether a spreadsheet would calculate the cell. Plain numbers such as -5 are not formulas; the
/// full-width signs are what East Asian versions accept as well.
fn is_formula(cell: &str) -> bool {
    let signs = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];
    cell.starts_with(signs) && Decimal::parse(cell).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_formula_spares_numbers() {
        for cell in ["=1+1", "+cmd", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "-", "＝1", "-Infinity"] {
            assert!(is_formula(cell), "{cell}");
        }
        for cell in ["-5", "+3.20", "-1.5e-7", "", "a=1", "2026-01-01", "'=1"] {
            assert!(!is_formula(cell), "{cell}");
        }
    }
}
