//! A claimed job.

use serde_json::Value;
use uuid::Uuid;

/// What an executor or the courier needs of a job.
#[derive(Clone, Debug)]
pub struct Job {
    pub id: Uuid,
    pub kind: String,
    pub payload: Value,
    /// Why the payload cannot be read, if it cannot: the job fails with this, and nobody else's.
    pub broken: Option<String>,
    pub attempts: i32,
    pub max_attempts: i32,
    pub timeout_ms: Option<i32>,
    pub concurrency_key: Option<String>,
    pub source: Option<String>,
    pub search_path: Option<String>,
    pub top_level: bool,
}
