//! What would make a workflow faster or surer: from its document and the figures of its runs.
//!
//! Advice says what was seen and the change in the document, as a JSON Patch. Nothing here knows
//! whether the change is wanted: a person decides.

mod figures;
mod flow;
mod index;
mod parallel;
mod path;
mod retries;
#[cfg(test)]
mod tests;
mod timeouts;
mod tree;

pub use figures::{Errors, Figures, Step};
pub use index::{Filter, Kind, Scan, index};

use serde_json::Value;

/// One piece of advice.
#[derive(Clone, Debug, PartialEq)]
pub struct Advice {
    /// Such as `parallel`.
    pub advice: &'static str,
    /// JSON Pointer of the task; none: the whole workflow.
    pub step: Option<String>,
    pub severity: Severity,
    pub evidence: String,
    /// A JSON Patch of the document, or `{"sql": ...}`.
    pub change: Option<Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Info,
    Warning,
}

impl Severity {
    pub fn word(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
        }
    }
}

/// Runs that it takes to say something of how long things take.
const ENOUGH: u64 = 5;

/// Everything that the document and its figures advise.
pub fn advise(document: &Value, figures: &Figures) -> Vec<Advice> {
    let tree = tree::list(&document["do"], "/do");
    let mut found = Vec::new();
    if figures.runs >= ENOUGH {
        found.extend(path::critical(&tree, figures));
        found.extend(path::dominant(&tree, figures));
        parallel::advise(&tree, figures, &mut found);
    }
    for task in tree::all(&tree) {
        found.extend(retries::advise(task, document, figures));
        found.extend(timeouts::advise(task, document, figures));
    }
    found
}

/// Milliseconds as people read them.
fn shown_ms(ms: f64) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms if ms < 10_000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.0} s", ms / 1000.0),
    }
}
