//! `call: http`.

use super::{Walk, escape};
use crate::jq::{Template, expression};
use crate::suggest;
use crate::workflow::command::{HttpOutput, SecretRef};
use crate::workflow::definition::{EffectRef, Http, Kind};
use crate::workflow::feature::Feature;
use serde_json::{Map, Value};

pub(crate) const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];

impl Walk<'_> {
    pub(super) fn http(&mut self, with: &Map<String, Value>, task: &str, at: &str) -> Option<Kind> {
        let known = ["method", "endpoint", "headers", "query", "body", "output", "redirect"];
        self.keys(with, at, &known, &[]);
        let redirect = with.get("redirect").is_some_and(|v| v != &Value::Bool(false));
        if redirect {
            self.feature(Feature::Redirect, &format!("{at}/redirect"));
        }
        let method = self.method(with, at);
        let endpoint = self.endpoint(with, task, at);
        let outputs = [
            ("content", HttpOutput::Content),
            ("response", HttpOutput::Response),
            ("raw", HttpOutput::Raw),
        ];
        let output = self.choice(with, at, "output", HttpOutput::Content, &outputs);
        let mut part = |key: &str| {
            let place = format!("{at}/{key}");
            with.get(key).and_then(|v| self.template(v, &place, &["output"]))
        };
        let (query, body) = (part("query"), part("body"));
        let (headers, secret_headers) = self.headers(with, at);
        for (key, template) in [("headers", &headers), ("query", &query)] {
            let constant = template.as_ref().and_then(|t| t.constant());
            if constant.is_some_and(|v| !v.is_object()) {
                let place = format!("{at}/{key}");
                let message = format!("\"{key}\" must be an object");
                self.problem(&place, "wrong_type", message, "Write {\"name\": \"value\"}.");
            }
        }
        let authentication = match with.get("endpoint").and_then(|e| e.get("authentication")) {
            Some(auth) => {
                let place = format!("{at}/endpoint/authentication");
                self.feature(Feature::Authentication, &place);
                Some(self.authentication(auth, &place)?)
            }
            None => None,
        };
        Some(Kind::Http(Box::new(Http {
            method: method?,
            endpoint: endpoint?,
            headers,
            secret_headers,
            authentication,
            query,
            body,
            output: output?,
            redirect,
        })))
    }

    /// Headers, those apart whose whole value is a secret.
    fn headers(
        &mut self,
        with: &Map<String, Value>,
        at: &str,
    ) -> (Option<Template>, Vec<(String, SecretRef)>) {
        let place = format!("{at}/headers");
        let (mut secrets, mut others) = (Vec::new(), Map::new());
        let Some(headers) = with.get("headers") else { return (None, secrets) };
        let Some(map) = headers.as_object() else {
            return (self.template(headers, &place, &["output"]), secrets);
        };
        for (name, value) in map {
            match self.secret_of(value, &format!("{place}/{}", escape(name))) {
                Some(secret) => secrets.extend(secret.map(|s| (name.clone(), s))),
                None => drop(others.insert(name.clone(), value.clone())),
            }
        }
        (self.template(&Value::Object(others), &place, &["output"]), secrets)
    }

    fn method(&mut self, with: &Map<String, Value>, at: &str) -> Option<String> {
        let place = format!("{at}/method");
        let text = match with.get("method") {
            Some(v) => self.constant_text(v, &place)?.to_uppercase(),
            None => {
                let hint = "Write \"get\", \"post\", ...";
                self.problem(at, "missing_key", "\"call: http\" needs \"method\"", hint);
                return None;
            }
        };
        if !METHODS.contains(&text.as_str()) {
            let hint = suggest::hint(&text, &METHODS);
            self.problem(&place, "unknown_method", format!("unknown method \"{text}\""), hint);
            return None;
        }
        Some(text)
    }

    fn endpoint(&mut self, with: &Map<String, Value>, task: &str, at: &str) -> Option<Template> {
        let mut place = format!("{at}/endpoint");
        let uri = match with.get("endpoint") {
            Some(text @ Value::String(_)) => text,
            Some(Value::Object(map)) => {
                self.keys(map, &place, &["uri", "authentication"], &[]);
                place.push_str("/uri");
                map.get("uri").unwrap_or(&Value::Null)
            }
            _ => &Value::Null,
        };
        let Some(text) = uri.as_str() else {
            let hint = "Write \"https://host/path\" or {\"uri\": \"https://host/path\"}.";
            self.problem(&place, "missing_key", "\"call: http\" needs an endpoint", hint);
            return None;
        };
        let constant = expression(text).is_none();
        let http = text.starts_with("https://") || text.starts_with("http://");
        if constant && !http {
            let message = "an endpoint must start with https:// or http://";
            self.problem(&place, "invalid_endpoint", message, "Write the whole address.");
        }
        let endpoint = constant.then(|| text.to_owned());
        self.effects.push(EffectRef::Http { pointer: self.real(task), endpoint });
        self.template(uri, &place, &["output"])
    }
}
