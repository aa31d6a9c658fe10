//! `try`: what is caught, retried and handled.

use super::Walk;
use crate::workflow::definition::{Backoff, Kind, Retry, Try};
use crate::workflow::feature::Feature;
use serde_json::{Map, Value};

const CATCH_KEYS: [&str; 7] = ["errors", "as", "when", "exceptWhen", "retry", "do", "then"];
const ERROR_KEYS: [&str; 5] = ["type", "status", "title", "detail", "instance"];

impl<'a> Walk<'a> {
    pub(super) fn try_catch(
        &mut self,
        map: &'a Map<String, Value>,
        at: &str,
        names: &[&str],
    ) -> Option<Kind> {
        let body = self.list(map.get("try")?, &format!("{at}/try"));
        let place = format!("{at}/catch");
        let Some(catch) = map.get("catch") else {
            let hint = "Add what to do with the error; {} swallows every error.";
            self.problem(at, "missing_key", "\"try\" needs \"catch\"", hint);
            return None;
        };
        let catch = self.object(catch, &place)?;
        self.keys(catch, &place, &CATCH_KEYS, &[]);
        let with = self.error_filter(catch, &place);
        let name = self.variable(catch.get("as"), &format!("{place}/as"), "error");
        let outer = self.vars.len();
        self.vars.push(name);
        let condition = |walk: &mut Self, key: &str| {
            catch.get(key).and_then(|v| walk.bare(v, &format!("{place}/{key}"), &["output"]))
        };
        let when = condition(self, "when");
        let except_when = condition(self, "exceptWhen");
        let retry = catch.get("retry").and_then(|v| self.retry(v, &format!("{place}/retry")));
        let handler = catch.get("do").and_then(|v| self.list(v, &format!("{place}/do")));
        self.vars.truncate(outer);
        let then = catch.get("then").and_then(|v| self.then(v, &format!("{place}/then"), names));
        let body = body?;
        Some(Kind::Try(Box::new(Try { body, with, when, except_when, retry, handler, then })))
    }

    fn error_filter(&mut self, catch: &Map<String, Value>, at: &str) -> Vec<(String, Value)> {
        let at = format!("{at}/errors");
        let Some(errors) = catch.get("errors").and_then(|v| self.object(v, &at)) else {
            return Vec::new();
        };
        self.keys(errors, &at, &["with"], &[]);
        let at = format!("{at}/with");
        let Some(with) = errors.get("with").and_then(|v| self.object(v, &at)) else {
            return Vec::new();
        };
        self.keys(with, &at, &ERROR_KEYS, &[]);
        with.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
    }

    fn retry(&mut self, value: &'a Value, at: &str) -> Option<Retry> {
        let (value, at) = match value.as_str() {
            Some(name) => self.shared("retries", name, at)?,
            None => (value, at.to_owned()),
        };
        let map = self.object(value, &at)?;
        let known = ["when", "exceptWhen", "delay", "backoff", "jitter", "limit"];
        self.keys(map, &at, &known, &[]);
        let when = map.get("when").and_then(|v| self.bare(v, &format!("{at}/when"), &["output"]));
        let except_when = map
            .get("exceptWhen")
            .and_then(|v| self.bare(v, &format!("{at}/exceptWhen"), &["output"]));
        let delay_ms =
            map.get("delay").and_then(|v| self.duration(v, &format!("{at}/delay"))).unwrap_or(0);
        let backoff = match map.get("backoff") {
            Some(v) => self.backoff(v, &format!("{at}/backoff")),
            None => Backoff::Constant,
        };
        let jitter_ms = map.get("jitter").and_then(|v| self.jitter(v, &format!("{at}/jitter")));
        let mut retry = Retry {
            when,
            except_when,
            delay_ms,
            backoff,
            jitter_ms,
            count: None,
            duration_ms: None,
            attempt_ms: None,
        };
        if let Some(limit) = map.get("limit") {
            self.limit(limit, &format!("{at}/limit"), &mut retry);
        }
        Some(retry)
    }

    fn backoff(&mut self, value: &Value, at: &str) -> Backoff {
        let Some(map) = self.object(value, at) else { return Backoff::Constant };
        self.keys(map, at, &["constant", "linear", "exponential"], &[]);
        for (key, detail) in map {
            if detail.as_object().is_some_and(|d| !d.is_empty()) {
                let hint = format!("Write {{\"{key}\": {{}}}}.");
                self.unsupported(&format!("{at}/{key}"), "a parameter of a back-off", &hint);
            }
        }
        match () {
            () if map.contains_key("exponential") => Backoff::Exponential,
            () if map.contains_key("linear") => Backoff::Linear,
            () => Backoff::Constant,
        }
    }

    fn jitter(&mut self, value: &Value, at: &str) -> Option<(u64, u64)> {
        let map = self.object(value, at)?;
        self.keys(map, at, &["from", "to"], &[]);
        let mut side = |key: &str| {
            let value = map.get(key).unwrap_or(&Value::Null);
            self.duration(value, &format!("{at}/{key}"))
        };
        let (from, to) = (side("from")?, side("to")?);
        if from > to {
            let hint = "Swap them.";
            self.problem(at, "invalid_range", "\"from\" is longer than \"to\"", hint);
        }
        Some((from, to))
    }

    fn limit(&mut self, value: &Value, at: &str, retry: &mut Retry) {
        let Some(map) = self.object(value, at) else { return };
        self.keys(map, at, &["attempt", "duration"], &[]);
        retry.duration_ms =
            map.get("duration").and_then(|v| self.duration(v, &format!("{at}/duration")));
        let at = format!("{at}/attempt");
        let Some(attempt) = map.get("attempt").and_then(|v| self.object(v, &at)) else { return };
        self.keys(attempt, &at, &["count", "duration"], &[]);
        if let Some(duration) = attempt.get("duration") {
            let at = format!("{at}/duration");
            self.feature(Feature::TaskTimeout, &at);
            retry.attempt_ms = self.duration(duration, &at);
        }
        retry.count = attempt.get("count").and_then(Value::as_u64);
        if attempt.contains_key("count") && retry.count.is_none() {
            let message = "\"count\" must be a whole number, not negative";
            self.problem(&format!("{at}/count"), "wrong_type", message, "");
        }
    }
}
