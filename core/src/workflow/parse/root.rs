//! The top of a document.

use super::{Root, Walk, escape};
use crate::workflow::definition::Start;
use crate::workflow::feature::Feature;
use crate::workflow::limits::Limits;
use serde_json::{Map, Value};

const ROOT_KEYS: [&str; 8] =
    ["document", "input", "use", "do", "timeout", "output", "schedule", "evaluate"];
const DOCUMENT_KEYS: [&str; 8] =
    ["dsl", "namespace", "name", "version", "title", "summary", "tags", "metadata"];
const SCHEDULE_KEYS: [&str; 5] = ["every", "cron", "after", "on", "read"];

impl<'a> Walk<'a> {
    pub(super) fn root(&mut self, document: &'a Value) -> Option<Root> {
        let map = self.object(document, "")?;
        self.keys(map, "", &ROOT_KEYS, &[]);
        if let Some(value) = map.get("evaluate").filter(|v| !is_default_evaluate(v)) {
            let what = match value.get("mode") {
                Some(mode) if mode == "loose" => "\"evaluate.mode: loose\"",
                _ => "another language than jq",
            };
            self.unsupported("/evaluate", what, "Write expressions in jq, as ${ .a > 1 }.");
        }
        if let Some(head) = map.get("document") {
            self.document(head);
        }
        if let Some(shared) = map.get("use") {
            self.shared = self.reusable(shared);
        }
        let data = self.data(map, "");
        let timeout_ms = map.get("timeout").and_then(|v| self.timeout(v, "/timeout"));
        let schedule = map.get("schedule").and_then(|v| self.schedule(v));
        let list = match map.get("do") {
            Some(list) => self.list(list, "/do"),
            None => {
                self.problem("", "missing_key", "a workflow needs \"do\"", "Add a list of tasks.");
                None
            }
        };
        Some(Root { list: list?, data, timeout_ms, schedule })
    }

    fn document(&mut self, head: &Value) {
        let Some(map) = self.object(head, "/document") else { return };
        self.keys(map, "/document", &DOCUMENT_KEYS, &[]);
        for key in ["dsl", "namespace", "name", "version", "title", "summary"] {
            if map.get(key).is_some_and(|v| !v.is_string()) {
                let at = format!("/document/{key}");
                self.problem(&at, "wrong_type", format!("\"{key}\" must be text"), "");
            }
        }
        if let Some(dsl) = map.get("dsl").and_then(Value::as_str)
            && !dsl.starts_with("1.0.")
        {
            let message = format!("version {dsl} of the language is not supported");
            self.problem("/document/dsl", "unsupported_dsl", message, "Write \"1.0.3\".");
        }
        let limits = map.get("metadata").and_then(|m| m.get("limits"));
        if let Some(limits) = limits {
            self.lower_limits(limits, "/document/metadata/limits");
        }
    }

    /// A document may set itself narrower limits.
    fn lower_limits(&mut self, value: &Value, at: &str) {
        let Some(map) = self.object(value, at) else { return };
        self.keys(map, at, &Limits::NAMES, &[]);
        for (name, value) in map.iter().filter(|(name, _)| Limits::NAMES.contains(&name.as_str())) {
            let place = format!("{at}/{}", escape(name));
            let Some(to) = value.as_u64().filter(|n| *n > 0) else {
                self.problem(&place, "wrong_type", "a limit must be a whole number above 0", "");
                continue;
            };
            if let Err(most) = self.limits.lower(name, to) {
                let message = format!("\"{name}\" can be {most} at most");
                self.problem(&place, "limit_too_high", message, "Lower it, or leave it out.");
            }
        }
    }

    fn schedule(&mut self, value: &'a Value) -> Option<Start> {
        let at = "/schedule";
        let map = self.object(value, at)?;
        self.keys(map, at, &SCHEDULE_KEYS, &[]);
        self.feature(Feature::Schedule, at);
        let mut start = Start {
            cron: map.get("cron").and_then(|v| self.cron(v)),
            every_ms: map.get("every").and_then(|v| self.duration(v, "/schedule/every")),
            after_ms: map.get("after").and_then(|v| self.duration(v, "/schedule/after")),
            ..Start::default()
        };
        if start.every_ms == Some(0) {
            let hint = "Write {\"minutes\": 5} or \"PT5M\".";
            self.problem("/schedule/every", "invalid_duration", "an interval must not be 0", hint);
        }
        let given = ["every", "cron", "after", "on"].iter().filter(|k| map.contains_key(**k));
        if given.count() != 1 {
            let message = "a schedule needs one of \"every\", \"cron\", \"after\" and \"on\"";
            self.problem(at, "missing_key", message, "Write {\"cron\": \"0 3 * * *\"}.");
        }
        if let Some(on) = map.get("on") {
            start.on = self.strategy(on, "/schedule/on", false);
        }
        start.read = self.read(map, at)?;
        if map.contains_key("read") && !map.contains_key("on") {
            let message = "\"read\" belongs to \"on\"";
            self.problem("/schedule/read", "wrong_key", message, "Remove it.");
        }
        Some(start)
    }

    fn cron(&mut self, value: &Value) -> Option<String> {
        let at = "/schedule/cron";
        let text = self.constant_text(value, at)?;
        match crate::schedule::Schedule::parse(&text, chrono_tz::UTC) {
            Ok(schedule) if schedule.is_cron() => Some(text),
            Ok(_) => {
                let hint = "Write \"0 3 * * *\", or \"every\" with a duration.";
                self.problem(at, "invalid_schedule", "it is not a cron expression", hint);
                None
            }
            Err(error) => {
                let hint = "Write minute, hour, day, month and weekday, such as \"0 3 * * *\".";
                self.problem(at, "invalid_schedule", error.to_string(), hint);
                None
            }
        }
    }

    fn reusable(&mut self, shared: &'a Value) -> Option<&'a Map<String, Value>> {
        let map = self.object(shared, "/use")?;
        for (key, hint) in [
            ("catalogs", "Write the functions under \"use.functions\"."),
            ("extensions", "Put the tasks before and after where they belong."),
        ] {
            if map.contains_key(key) {
                self.unsupported(&format!("/use/{key}"), &format!("\"use.{key}\""), hint);
            }
        }
        let known = ["authentications", "errors", "functions", "retries", "secrets", "timeouts"];
        self.keys(map, "/use", &known, &["catalogs", "extensions"]);
        for group in ["authentications", "errors", "functions", "retries", "timeouts"] {
            if let Some(value) = map.get(group) {
                self.object(value, &format!("/use/{group}"));
            }
        }
        if let Some(secrets) = map.get("secrets") {
            self.secrets(secrets);
        }
        Some(map)
    }
}

fn is_default_evaluate(value: &Value) -> bool {
    let Some(map) = value.as_object() else { return false };
    map.iter().all(|(k, v)| {
        matches!((k.as_str(), v.as_str()), ("language", Some("jq")) | ("mode", Some("strict")))
    })
}
