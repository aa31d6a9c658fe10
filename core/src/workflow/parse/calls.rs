//! `call`: what is called, and the calls that take arguments as they are.

use super::Walk;
use crate::jq::expression;
use crate::suggest;
use crate::workflow::definition::{EffectRef, Kind};
use crate::workflow::feature::Feature;
use serde_json::{Map, Value};

const CALLS: [&str; 5] = ["sql", "notify", "http", "report", "approval"];
/// Calls the language knows and this project does not run, with what to use instead.
const REFUSED: [(&str, &str); 6] = [
    ("grpc", "Use call: http."),
    ("openapi", "Use call: http with the operation's URL."),
    ("asyncapi", "Use emit and listen, or call: http."),
    ("a2a", "Use call: http."),
    ("mcp", "Use call: http."),
    ("workflow", "Use run: workflow."),
];
const FORMATS: [&str; 6] = ["html", "pdf", "csv", "xlsx", "json", "text"];

impl<'a> Walk<'a> {
    pub(super) fn call(&mut self, map: &'a Map<String, Value>, at: &str) -> Option<Kind> {
        let place = format!("{at}/call");
        let name = match map.get("call").and_then(Value::as_str) {
            Some(name) => name,
            None => {
                let hint = suggest::hint("", &CALLS);
                self.problem(&place, "wrong_type", "\"call\" must be text", hint);
                return None;
            }
        };
        if let Some((_, instead)) = REFUSED.iter().find(|(n, _)| *n == name) {
            self.unsupported(&place, &format!("\"call: {name}\""), instead);
            return None;
        }
        if !CALLS.contains(&name) && self.has_function(name) {
            return self.function_call(name, map, at);
        }
        if name.contains('@') || name.contains("://") {
            let hint = "Write the function under \"use.functions\".";
            self.unsupported(&place, "a function from a catalog", hint);
            return None;
        }
        if !CALLS.contains(&name) {
            let mut known = CALLS.to_vec();
            known.extend(self.function_names());
            let hint = suggest::hint(name, &known);
            self.problem(&place, "unknown_call", format!("there is no call \"{name}\""), hint);
            return None;
        }
        let place = format!("{at}/with");
        let with = self.object(map.get("with").unwrap_or(&Value::Null), &place)?;
        match name {
            "sql" => self.sql(with, at, &place),
            "notify" => self.notify(with, at, &place),
            "report" => self.report(with, at, &place),
            "approval" => self.approval(with, at, &place),
            _ => self.http(with, at, &place),
        }
    }

    fn notify(&mut self, with: &Map<String, Value>, task: &str, at: &str) -> Option<Kind> {
        self.keys(with, at, &["template", "recipients", "to", "data"], &[]);
        let place = format!("{at}/template");
        match with.get("template") {
            Some(template) => {
                let name = self.constant_text(template, &place)?;
                self.effects.push(EffectRef::Template { pointer: self.real(task), name });
            }
            None => {
                let hint = "Name a template made with create_template.";
                self.problem(at, "missing_key", "\"call: notify\" needs \"template\"", hint);
            }
        }
        if with.contains_key("recipients") == with.contains_key("to") {
            let message = "\"call: notify\" needs either \"recipients\" or \"to\"";
            let hint = "Write \"recipients\": [\"email:a@example.com\"].";
            self.problem(at, "missing_key", message, hint);
        }
        for key in ["recipients", "to"] {
            self.channels(with.get(key), &format!("{at}/{key}"));
        }
        self.template(&Value::Object(with.clone()), at, &["output"]).map(Kind::Notify)
    }

    /// The channels of recipients that are written out: one, or an array of them.
    fn channels(&mut self, recipients: Option<&Value>, at: &str) {
        let Some(recipients) = recipients else { return };
        let each = match recipients.as_array() {
            Some(items) => {
                items.iter().enumerate().map(|(i, v)| (format!("{at}/{i}"), v)).collect()
            }
            None => vec![(at.to_owned(), recipients)],
        };
        for (place, recipient) in each {
            let text = recipient.as_str().filter(|text| !text.contains("${"));
            let Some(text) = text else { continue };
            let name = text.split_once(':').map_or(text, |(channel, _)| channel).to_owned();
            let pointer = self.real(&place);
            self.effects.push(EffectRef::Channel { pointer, name });
        }
    }

    fn report(&mut self, with: &Map<String, Value>, task: &str, at: &str) -> Option<Kind> {
        self.feature(Feature::Report, &format!("{task}/call"));
        self.keys(with, at, &["name", "format", "params"], &[]);
        let Some(name) = with.get("name") else {
            let hint = "Name a report made with create_report.";
            self.problem(at, "missing_key", "\"call: report\" needs \"name\"", hint);
            return None;
        };
        let name = self.constant_text(name, &format!("{at}/name"))?;
        self.effects.push(EffectRef::Report { pointer: self.real(task), name });
        let formats = FORMATS.map(|f| (f, ()));
        self.choice(with, at, "format", (), &formats)?;
        self.template(&Value::Object(with.clone()), at, &["output"]).map(Kind::Report)
    }

    fn approval(&mut self, with: &Map<String, Value>, task: &str, at: &str) -> Option<Kind> {
        self.feature(Feature::Approval, &format!("{task}/call"));
        let known = ["role", "subject", "data", "quorum", "escalate"];
        self.keys(with, at, &known, &[]);
        for key in ["role", "subject"].iter().filter(|k| !with.contains_key(**k)) {
            let message = format!("\"call: approval\" needs \"{key}\"");
            let hint = "Write {\"role\": \"shop_manager\", \"subject\": \"What to decide\"}.";
            self.problem(at, "missing_key", message, hint);
        }
        if let Some(role) = with.get("role") {
            let name = self.constant_text(role, &format!("{at}/role"))?;
            self.effects.push(EffectRef::Role { pointer: self.real(task), name });
        }
        if with.get("quorum").is_some_and(|q| q.as_u64().is_none_or(|n| n == 0)) {
            let message = "\"quorum\" must be a whole number above 0";
            self.problem(&format!("{at}/quorum"), "wrong_type", message, "Leave it out for 1.");
        }
        if let Some(escalate) = with.get("escalate") {
            let place = format!("{at}/escalate");
            let map = self.object(escalate, &place)?;
            self.keys(map, &place, &["after", "role"], &[]);
            let after = map.get("after").unwrap_or(&Value::Null);
            self.duration(after, &format!("{place}/after"));
            let role = map.get("role").unwrap_or(&Value::Null);
            let name = self.constant_text(role, &format!("{place}/role"))?;
            self.effects.push(EffectRef::Role { pointer: self.real(task), name });
        }
        self.template(&Value::Object(with.clone()), at, &["output"]).map(Kind::Approval)
    }

    /// Text that must be known when the workflow is defined.
    pub(super) fn constant_text(&mut self, value: &Value, at: &str) -> Option<String> {
        let text = value.as_str().filter(|t| !t.trim().is_empty() && !t.contains('\0'));
        let Some(text) = text else {
            self.problem(at, "wrong_type", "text is expected here", "");
            return None;
        };
        if expression(text).is_some() {
            let message = "an expression is not allowed here";
            let hint = "Write it out; values go into params, args or data.";
            self.problem(at, "not_constant", message, hint);
            return None;
        }
        Some(text.to_owned())
    }

    pub(super) fn choice<T: Copy>(
        &mut self,
        with: &Map<String, Value>,
        at: &str,
        key: &str,
        default: T,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let Some(value) = with.get(key) else { return Some(default) };
        let text = value.as_str().unwrap_or_default();
        if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == text) {
            return Some(*choice);
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let hint = suggest::hint(text, &names);
        self.problem(
            &format!("{at}/{key}"),
            "unknown_value",
            format!("unknown {key} {value}"),
            hint,
        );
        None
    }
}
