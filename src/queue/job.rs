//! A claimed job.

use crate::task::ended::Ended;
use crate::task::output;
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
    /// What it said while it was done, for the record of a task's run.
    pub said: Option<String>,
}

impl Job {
    /// It is a run of a task.
    pub fn is_task(&self) -> bool {
        self.kind == "task"
    }

    /// What became of the run of a task, if it is one.
    pub fn run_ended(
        &mut self,
        started_us: i64,
        read: impl FnOnce(&Value) -> Option<Ended>,
    ) -> Option<Ended> {
        let ended = if self.is_task() { read(&self.payload) } else { None };
        ended.map(|ended| Ended {
            attempts: self.attempts + 1,
            started_us: Some(started_us),
            output: output::join(self.said.take(), ended.output),
            ..ended
        })
    }
}
