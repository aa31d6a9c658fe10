//! The rows of `automate.run_step` that a round writes.

use automate_core::workflow::StepRecord;
use serde_json::{Value, json};
use uuid::Uuid;

/// Bytes of an input, output or error that a row holds; what is longer is cut.
const MAX_BYTES: usize = 8 * 1024;
/// Characters of the beginning that are left then.
const START: usize = 1_000;

/// A row to be: texts of JSON, instants in PostgreSQL's microseconds.
pub struct Row {
    pub run: Uuid,
    pub step: String,
    pub name: String,
    pub attempt: i32,
    pub status: &'static str,
    pub input: String,
    pub output: Option<String>,
    pub error: Option<String>,
    pub started_us: i64,
    pub finished_us: Option<i64>,
}

/// Adds a record to the rows of a run's turn; a row of the same step and attempt is replaced.
pub fn add(rows: &mut Vec<Row>, run: Uuid, record: StepRecord, began_us: i64, now_us: i64) {
    let attempt = i32::try_from(record.attempt).unwrap_or(i32::MAX);
    let ended = !matches!(record.status, "running" | "waiting");
    let known = rows.iter().position(|r| r.attempt == attempt && r.step == record.step);
    let row = Row {
        run,
        name: record.name,
        attempt,
        status: record.status,
        input: cut(&record.input),
        output: record.output.as_ref().map(cut),
        error: record.error.as_ref().map(cut),
        started_us: known.map_or(began_us, |i| rows[i].started_us),
        finished_us: ended.then_some(now_us),
        step: record.step,
    };
    match known {
        Some(i) => rows[i] = row,
        None => rows.push(row),
    }
}

fn cut(value: &Value) -> String {
    let text = value.to_string();
    let text = if has_nul(&text) { text.replace("\\u0000", "\\ufffd") } else { text };
    if text.len() <= MAX_BYTES {
        return text;
    }
    let start: String = text.chars().take(START).collect();
    json!({ "truncated": true, "bytes": text.len(), "start": start }).to_string()
}

/// Whether JSON text holds the character NUL, which PostgreSQL cannot store.
pub fn has_nul(json: &str) -> bool {
    json.match_indices("\\u0000").any(|(at, _)| {
        let before = json[..at].bytes().rev().take_while(|b| *b == b'\\').count();
        before % 2 == 0
    })
}
