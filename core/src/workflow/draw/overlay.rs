//! What a run has done with the tasks of its definition.

use super::label;
use super::outline::Node;
use std::collections::HashMap;

/// What the steps of one task have come to, each counted by its last attempt.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The step id without the suffix that tells turns apart.
    pub base: String,
    pub completed: i64,
    pub faulted: i64,
    pub skipped: i64,
    pub cancelled: i64,
    pub running: i64,
    pub waiting: i64,
    /// The most attempts of a step.
    pub attempts: i32,
    /// Microseconds since 1970.
    pub started_us: i64,
    pub finished_us: Option<i64>,
}

/// A run, over its definition.
#[derive(Debug)]
pub struct Overlay {
    pub run: String,
    pub status: String,
    pub error: Option<String>,
    pub started_us: Option<i64>,
    pub finished_us: Option<i64>,
    pub now_us: i64,
    seen: HashMap<String, Seen>,
}

impl Overlay {
    pub fn new(run: String, status: String, now_us: i64, seen: Vec<Seen>) -> Overlay {
        let seen = seen.into_iter().map(|s| (s.base.clone(), s)).collect();
        Overlay { run, status, error: None, started_us: None, finished_us: None, now_us, seen }
    }

    pub(super) fn of(&self, node: &Node) -> Option<&Seen> {
        self.seen.get(base(&node.pointer))
    }

    /// Status, and how long it took, of the whole run.
    pub(super) fn headline(&self) -> String {
        let mut line = format!("run {}: {}", self.run, self.status);
        if let Some(started) = self.started_us {
            let end = self.finished_us.unwrap_or(self.now_us);
            line.push_str(&format!(", {}", label::time((end - started).max(0))));
        }
        if let Some(error) = &self.error {
            line.push_str(&format!(", {}", label::one_line(error)));
        }
        line
    }
}

impl Seen {
    /// One word for all its turns: what goes on now comes before what went wrong.
    pub(super) fn status(&self) -> &'static str {
        let counts = [
            (self.running, "running"),
            (self.waiting, "waiting"),
            (self.faulted, "faulted"),
            (self.cancelled, "cancelled"),
            (self.completed, "completed"),
        ];
        counts.iter().find(|(count, _)| *count > 0).map_or("skipped", |(_, word)| word)
    }

    pub(super) fn turns(&self) -> i64 {
        let ended = self.completed + self.faulted + self.skipped + self.cancelled;
        ended + self.running + self.waiting
    }

    /// How long, in microseconds, from the first turn to the last.
    pub(super) fn took_us(&self, now_us: i64) -> i64 {
        let open = self.running + self.waiting > 0;
        let end = if open { now_us } else { self.finished_us.unwrap_or(now_us) };
        (end - self.started_us).max(0)
    }

    /// Turns and attempts, where there is more than one.
    pub(super) fn counts(&self) -> String {
        let mut parts = Vec::new();
        if self.turns() > 1 {
            for (count, word) in [
                (self.completed, "done"),
                (self.faulted, "failed"),
                (self.skipped, "skipped"),
                (self.cancelled, "cancelled"),
                (self.running + self.waiting, "open"),
            ] {
                if count > 0 {
                    parts.push(format!("{count} {word}"));
                }
            }
        }
        if self.attempts > 1 {
            parts.push(format!("{} attempts", self.attempts));
        }
        parts.join(", ")
    }
}

pub(super) fn mark(status: &str) -> char {
    match status {
        "completed" => '✓',
        "faulted" => '✗',
        "running" => '▶',
        "waiting" => '…',
        "skipped" => '-',
        "cancelled" => '×',
        _ => ' ',
    }
}

/// A step id without the suffix that tells turns, jumps and attempts apart.
pub(super) fn base(step: &str) -> &str {
    let mut rest = step;
    loop {
        let digits = rest.trim_end_matches(|c: char| c.is_ascii_digit());
        match digits.strip_suffix(['#', '@', '^']) {
            Some(shorter) if digits.len() < rest.len() => rest = shorter,
            _ => return rest,
        }
    }
}
