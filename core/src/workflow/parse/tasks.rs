//! The kinds of tasks.

use super::{Walk, escape};
use crate::suggest;
use crate::workflow::definition::{Case, EffectRef, Kind, Then};
use crate::workflow::{duration, scope};
use serde_json::{Map, Value};

/// Keys that say what a task is; `for` before `do`, which a `for` has too.
const KINDS: [&str; 12] =
    ["for", "try", "do", "set", "switch", "wait", "raise", "call", "emit", "fork", "listen", "run"];
const COMMON: [&str; 7] = ["if", "input", "output", "export", "then", "timeout", "metadata"];

impl<'a> Walk<'a> {
    /// What the task does, by the one key that says so.
    pub(super) fn kind(
        &mut self,
        map: &'a Map<String, Value>,
        at: &str,
        names: &[&str],
    ) -> Option<Kind> {
        let Some((key, value)) = KINDS.iter().find_map(|k| map.get_key_value(*k)) else {
            return self.no_kind(map, at);
        };
        let own: &[&str] = match key.as_str() {
            "for" => &["for", "while", "do"],
            "try" => &["try", "catch"],
            "call" => &["call", "with"],
            "listen" => &["listen", "foreach"],
            _ => &[key],
        };
        let known: Vec<&str> = own.iter().chain(&COMMON).copied().collect();
        self.keys(map, at, &known, &[]);
        if let Some(meta) = map.get("metadata") {
            self.metadata(meta, &format!("{at}/metadata"), key == "for");
        }
        let place = format!("{at}/{key}");
        match key.as_str() {
            "for" => self.for_loop(map, at),
            "try" => self.try_catch(map, at, names),
            "do" => self.list(value, &place).map(Kind::Do),
            "set" => self.set(value, &place),
            "switch" => self.switch(value, &place, names),
            "wait" => self.wait(value, &place),
            "raise" => self.raise(value, &place),
            "emit" => self.emit(value, &place),
            "fork" => self.fork(value, &place),
            "listen" => self.listen(map, at),
            "run" => self.run(value, at, &place),
            _ => self.call(map, at),
        }
    }

    fn no_kind(&mut self, map: &Map<String, Value>, at: &str) -> Option<Kind> {
        let strange = map.keys().find(|k| !COMMON.contains(&k.as_str()));
        match strange {
            Some(key) => {
                let hint = suggest::hint(key, &KINDS);
                let place = format!("{at}/{}", escape(key));
                self.problem(&place, "unknown_task", format!("unknown task \"{key}\""), hint);
            }
            None => {
                let hint = suggest::hint("", &KINDS);
                self.problem(at, "missing_key", "the task does not say what to do", hint);
            }
        }
        None
    }

    fn metadata(&mut self, meta: &Value, at: &str, is_loop: bool) {
        let Some(map) = self.object(meta, at) else { return };
        for key in ["maxParallel", "onItemError", "collect"] {
            if map.contains_key(key) && !is_loop {
                let message = format!("\"{key}\" belongs to a \"for\"");
                self.problem(&format!("{at}/{key}"), "wrong_key", message, "Remove it.");
            }
        }
    }

    fn set(&mut self, value: &Value, at: &str) -> Option<Kind> {
        let whole = value.as_str().is_some_and(|s| crate::jq::expression(s).is_some());
        if !value.is_object() && !whole {
            let hint = "Write {\"key\": value} or \"${ expression }\".";
            self.problem(at, "wrong_type", "\"set\" must be an object or an expression", hint);
            return None;
        }
        self.template(value, at, &["output"]).map(Kind::Set)
    }

    fn wait(&mut self, value: &Value, at: &str) -> Option<Kind> {
        let template = self.template(value, at, &["output"])?;
        if let Some(constant) = template.constant() {
            self.duration(constant, at)?;
        } else if let Some(map) = value.as_object() {
            let units = duration::UNITS.map(|(name, _)| name);
            self.keys(map, at, &units, &[]);
        }
        Some(Kind::Wait(template))
    }

    /// The name of a variable that a loop or a catch clause brings.
    pub(super) fn variable(&mut self, value: Option<&Value>, at: &str, default: &str) -> String {
        let Some(value) = value else { return default.to_owned() };
        let name = value.as_str().unwrap_or_default();
        let word = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !word || scope::FIXED.contains(&name) {
            let message = "a variable needs a name of letters, digits and _ that is not taken";
            let hint = format!("Taken: {}.", scope::FIXED.join(", "));
            self.problem(at, "invalid_name", message, hint);
            return default.to_owned();
        }
        name.to_owned()
    }

    fn switch(&mut self, value: &'a Value, at: &str, names: &[&str]) -> Option<Kind> {
        let Some(items) = value.as_array().filter(|items| !items.is_empty()) else {
            let hint = "Write [{\"name\": {\"when\": \".a > 1\", \"then\": \"task\"}}, ...].";
            self.problem(at, "wrong_type", "\"switch\" must be an array of cases", hint);
            return None;
        };
        let mut cases = Vec::with_capacity(items.len());
        for (i, item) in items.iter().enumerate() {
            let place = format!("{at}/{i}");
            let Some(map) = self.object(item, &place) else { continue };
            let mut entries = map.iter();
            let (Some((name, case)), None) = (entries.next(), entries.next()) else {
                let hint = "Write {\"name\": {\"when\": ..., \"then\": ...}}.";
                self.problem(&place, "wrong_type", "an item names exactly one case", hint);
                continue;
            };
            let place = format!("{place}/{}", escape(name));
            let Some(case) = self.object(case, &place) else { continue };
            self.keys(case, &place, &["when", "then"], &[]);
            let when =
                case.get("when").and_then(|v| self.bare(v, &format!("{place}/when"), &["output"]));
            let then = match case.get("then") {
                Some(v) => self.then(v, &format!("{place}/then"), names),
                None => Some(Then::Continue),
            };
            cases.extend(then.map(|then| Case { when, then }));
        }
        Some(Kind::Switch(cases))
    }

    fn raise(&mut self, value: &'a Value, at: &str) -> Option<Kind> {
        let map = self.object(value, at)?;
        self.keys(map, at, &["error"], &[]);
        let place = format!("{at}/error");
        let (error, place) = match map.get("error") {
            Some(Value::String(name)) => self.shared("errors", name, &place)?,
            Some(error) => (error, place),
            None => {
                let hint = "Add {\"type\": ..., \"status\": ...}.";
                self.problem(at, "missing_key", "\"raise\" needs \"error\"", hint);
                return None;
            }
        };
        let fields = self.object(error, &place)?;
        self.keys(fields, &place, &["type", "status", "title", "detail", "instance"], &[]);
        for key in ["type", "status"].iter().filter(|k| !fields.contains_key(**k)) {
            let message = format!("an error needs \"{key}\"");
            self.problem(&place, "missing_key", message, "An error has a type and a status.");
        }
        self.template(error, &place, &["output"]).map(Kind::Raise)
    }

    fn emit(&mut self, value: &Value, at: &str) -> Option<Kind> {
        let map = self.object(value, at)?;
        self.keys(map, at, &["event"], &[]);
        let place = format!("{at}/event");
        let event = self.object(map.get("event").unwrap_or(&Value::Null), &place)?;
        self.keys(event, &place, &["with"], &[]);
        let place = format!("{place}/with");
        let with = event.get("with").unwrap_or(&Value::Null);
        let fields = self.object(with, &place)?;
        for key in ["type", "source"].iter().filter(|k| !fields.contains_key(**k)) {
            let message = format!("an event needs \"{key}\"");
            self.problem(&place, "missing_key", message, "CloudEvents have a source and a type.");
        }
        let event_type = fields.get("type").and_then(Value::as_str);
        let event_type = event_type.filter(|t| crate::jq::expression(t).is_none());
        let pointer = self.real(at.strip_suffix("/emit").unwrap_or(at));
        let event_type = event_type.map(str::to_owned);
        self.effects.push(EffectRef::Event { pointer, event_type });
        self.template(with, &place, &["output"]).map(Kind::Emit)
    }
}
