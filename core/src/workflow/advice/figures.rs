//! What is known of the runs of a workflow.

use serde::Deserialize;
use std::collections::HashMap;

/// Figures of the runs that are over, and of their steps by JSON Pointer.
#[derive(Debug, Default)]
pub struct Figures {
    pub runs: u64,
    /// Mean length of a run, in milliseconds.
    pub run_ms: f64,
    pub steps: HashMap<String, Step>,
}

/// Figures of a step over all its turns.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Step {
    /// Runs that came to it.
    pub runs: u64,
    pub attempts: u64,
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    /// Its part of the time of all runs.
    pub share: Option<f64>,
    #[serde(default)]
    pub errors: Vec<Errors>,
}

/// Failures of one kind.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Errors {
    /// SQLSTATE, HTTP status or `timeout`.
    pub code: String,
    pub count: u64,
    /// Retries that ended the same way.
    pub wasted: u64,
    /// Times that a retry helped.
    pub mended: u64,
}

impl Figures {
    /// How long a step takes in a run, on average over all runs, in milliseconds.
    pub(super) fn per_run_ms(&self, pointer: &str) -> f64 {
        self.steps.get(pointer).and_then(|step| step.share).unwrap_or(0.0) * self.run_ms
    }
}
