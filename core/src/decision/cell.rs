//! Reading cells: literals, comparisons, ranges, lists, negation and the wildcard.

use super::test::{Cut, Test};
use super::value::{Kind, Val};
use serde_json::value::RawValue;

/// Most values of one cell.
const MAX_PIECES: usize = 10_000;

/// The test that a cell of a JSON definition says; null is the wildcard.
pub fn of_json(kind: Kind, json: &str) -> Result<Test, String> {
    match json.as_bytes().first() {
        Some(b'n') => Ok(Test::any()),
        Some(b'"') => {
            let text: String = serde_json::from_str(json).map_err(|e| e.to_string())?;
            of_text(kind, &text)
        }
        Some(b'[') => of_list(kind, json),
        Some(b'{') => Err("an object cannot stand in a cell".into()),
        _ => literal_json(kind, json).map(|value| point(kind, &value)),
    }
}

/// A JSON array: any of its members.
fn of_list(kind: Kind, json: &str) -> Result<Test, String> {
    let items: Vec<&RawValue> = serde_json::from_str(json).map_err(|e| e.to_string())?;
    check_count(items.len())?;
    let mut null = false;
    let mut ranges = Vec::with_capacity(items.len());
    for item in items {
        match item.get() {
            "null" => null = true,
            json => ranges.extend(point(kind, &literal_json(kind, json)?).ranges),
        }
    }
    Ok(Test::of(kind, ranges, null))
}

fn check_count(count: usize) -> Result<(), String> {
    match count {
        0 => Err("the list is empty: no value would match".into()),
        count if count > MAX_PIECES => Err(format!("a cell has at most {MAX_PIECES} values")),
        _ => Ok(()),
    }
}

/// The test that a cell says as text.
pub fn of_text(kind: Kind, text: &str) -> Result<Test, String> {
    let text = text.trim();
    if text.is_empty() || text == "-" {
        return Ok(Test::any());
    }
    if text.starts_with('[') && serde_json::from_str::<Vec<&RawValue>>(text).is_ok() {
        return of_list(kind, text);
    }
    if let Some(inner) = text.strip_prefix("not(").and_then(|rest| rest.strip_suffix(')')) {
        return of_pieces(kind, inner).map(|test| test.negated());
    }
    of_pieces(kind, text)
}

fn of_pieces(kind: Kind, text: &str) -> Result<Test, String> {
    let pieces = split(text);
    check_count(pieces.len())?;
    let mut null = false;
    let mut ranges = Vec::with_capacity(pieces.len());
    for piece in &pieces {
        if kind == Kind::Text && pieces.len() > 1 && is_bare(piece) {
            return Err(format!("several texts stand in quotes: \"{piece}\", ..."));
        }
        if *piece == "null" {
            null = true;
        } else {
            ranges.extend(of_piece(kind, piece)?);
        }
    }
    let test = Test::of(kind, ranges, null);
    match test.ranges.is_empty() && !null {
        true => Err("no value would match".into()),
        false => Ok(test),
    }
}

/// A text without quotes that is no comparison and no range.
fn is_bare(piece: &str) -> bool {
    piece != "null" && !piece.starts_with(['"', '<', '>', '=', '!', '[', '(', ']'])
}

/// The parts between commas that are not in quotes.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut from) = (Vec::new(), 0);
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                parts.push(text[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[from..].trim());
    parts
}

fn of_piece(kind: Kind, piece: &str) -> Result<Vec<(Cut, Cut)>, String> {
    const COMPARISONS: [&str; 6] = [">=", "<=", "!=", ">", "<", "="];
    for operator in COMPARISONS {
        let Some(rest) = piece.strip_prefix(operator) else { continue };
        let value = literal(kind, rest.trim())?;
        let (below, above) = (Cut::below(&value), Cut::above(&value));
        return Ok(match operator {
            ">=" => vec![(below, Cut::Max)],
            "<=" => vec![(Cut::Min, above)],
            ">" => vec![(above, Cut::Max)],
            "<" => vec![(Cut::Min, below)],
            "=" => vec![(below, above)],
            _ => point(kind, &value).negated().ranges,
        });
    }
    match range(kind, piece)? {
        Some(range) => Ok(vec![range]),
        None => {
            let value = literal(kind, piece)?;
            Ok(point(kind, &value).ranges)
        }
    }
}

/// `[a..b]`, `(a..b)`, `]a..b[` and mixtures; `a..b` is closed.
fn range(kind: Kind, piece: &str) -> Result<Option<(Cut, Cut)>, String> {
    let opening = piece.chars().next().filter(|c| ['[', '(', ']'].contains(c));
    let closing = piece.chars().last().filter(|c| [']', ')', '['].contains(c));
    let inner = match (opening, closing) {
        (Some(_), Some(_)) if piece.len() >= 2 => &piece[1..piece.len() - 1],
        (None, None) if kind != Kind::Text || piece.starts_with('"') => piece,
        (None, _) => return Ok(None),
        _ => return Err("a range is such as [10..20), with a bracket at each end".into()),
    };
    let Some((low, high)) = inner.split_once("..") else {
        return match opening {
            None => Ok(None),
            Some(_) => Err("a range is such as [10..20)".into()),
        };
    };
    let (low, high) = (literal(kind, low.trim())?, literal(kind, high.trim())?);
    if low > high {
        return Err(format!("the range from {} to {} is empty", low.json(), high.json()));
    }
    let low = Cut::At(low, matches!(opening, Some('(' | ']')));
    let high = Cut::At(high, !matches!(closing, Some(')' | '[')));
    match low < high {
        true => Ok(Some((low, high))),
        false => Err("the range has no value in it".into()),
    }
}

fn point(kind: Kind, value: &Val) -> Test {
    Test::of(kind, vec![(Cut::below(value), Cut::above(value))], false)
}

fn literal_json(kind: Kind, json: &str) -> Result<Val, String> {
    Val::from_json(kind, json)
        .ok_or_else(|| format!("{} is expected, not {}", kind.article(), cut(json)))
}

/// A literal as it is written: text and dates may stand in quotes, dates also in date("...").
fn literal(kind: Kind, text: &str) -> Result<Val, String> {
    let refuse = || format!("{} is expected, not {}", kind.article(), cut(text));
    let inner = match kind {
        Kind::Date => text.strip_prefix("date(").and_then(|rest| rest.strip_suffix(')')),
        _ => None,
    };
    let inner = inner.unwrap_or(text).trim();
    if inner.starts_with('"') {
        return Val::from_json(kind, inner).ok_or_else(refuse);
    }
    if inner.is_empty() {
        return Err(refuse());
    }
    Val::from_text(kind, inner).ok_or_else(refuse)
}

fn cut(text: &str) -> String {
    text.chars().take(60).collect()
}
