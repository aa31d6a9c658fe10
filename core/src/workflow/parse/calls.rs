//! `call: sql`, `call: notify` and `call: http`.

use super::{Walk, escape};
use crate::jq::expression;
use crate::suggest;
use crate::workflow::definition::{EffectRef, Http, Kind, Sql};
use crate::workflow::state::{Expect, HttpOutput, ResultShape};
use serde_json::{Map, Value, json};

const CALLS: [&str; 3] = ["sql", "notify", "http"];
/// Calls the language or this project's plan knows, with what to use instead.
const REFUSED: [(&str, &str); 8] = [
    ("grpc", "Use call: http."),
    ("openapi", "Use call: http with the operation's URL."),
    ("asyncapi", "Use emit, or call: http."),
    ("a2a", "Use call: http."),
    ("mcp", "Use call: http."),
    ("report", "Use call: sql with run_report."),
    ("approval", "Use call: notify, and poll for the answer with call: sql and wait."),
    ("workflow", "Put the tasks here with do."),
];
pub(crate) const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
/// Parameters a statement may have.
const MAX_PARAMS: usize = 1_000;

impl Walk<'_> {
    pub(super) fn call(&mut self, map: &Map<String, Value>, at: &str) -> Option<Kind> {
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
        if !CALLS.contains(&name) {
            let hint = suggest::hint(name, &CALLS);
            self.problem(&place, "unknown_call", format!("there is no call \"{name}\""), hint);
            return None;
        }
        let place = format!("{at}/with");
        let with = self.object(map.get("with").unwrap_or(&Value::Null), &place)?;
        match name {
            "sql" => self.sql(with, at, &place),
            "notify" => self.notify(with, at, &place),
            _ => self.http(with, at, &place),
        }
    }

    fn sql(&mut self, with: &Map<String, Value>, task: &str, at: &str) -> Option<Kind> {
        let known = ["query", "function", "params", "args", "result", "expect"];
        self.keys(with, at, &known, &[]);
        let result = self.choice(
            with,
            at,
            "result",
            ResultShape::Rows,
            &[
                ("rows", ResultShape::Rows),
                ("one", ResultShape::One),
                ("scalar", ResultShape::Scalar),
                ("none", ResultShape::None),
            ],
        );
        let expects = [("any", Expect::Any), ("one", Expect::One), ("none", Expect::None)];
        let expect = self.choice(with, at, "expect", Expect::Any, &expects);
        let (statement, params, place) = match (with.get("query"), with.get("function")) {
            (Some(query), None) => self.query(query, with, at)?,
            (None, Some(function)) => self.function(function, with, at)?,
            _ => {
                let message = "\"call: sql\" needs either \"query\" or \"function\"";
                self.problem(at, "missing_key", message, "Write one of them.");
                return None;
            }
        };
        let count = params.as_array().map_or(0, Vec::len);
        if count > MAX_PARAMS {
            let message = format!("more than {MAX_PARAMS} parameters");
            self.problem(&place, "too_many_params", message, "Pass an array as one parameter.");
        }
        let pointer = task.to_owned();
        let effect = EffectRef::Sql { pointer, statement: statement.clone(), params: count };
        self.effects.push(effect);
        let params = self.template(&params, &place, &["output"])?;
        Some(Kind::Sql(Sql { statement, params, result: result?, expect: expect? }))
    }

    fn query(
        &mut self,
        query: &Value,
        with: &Map<String, Value>,
        at: &str,
    ) -> Option<(String, Value, String)> {
        if with.contains_key("args") {
            let hint = "Use \"params\" with \"query\", or \"function\" with \"args\".";
            self.problem(
                &format!("{at}/args"),
                "wrong_key",
                "\"args\" belongs to a function",
                hint,
            );
        }
        let statement = self.constant_text(query, &format!("{at}/query"))?;
        let place = format!("{at}/params");
        let params = with.get("params").cloned().unwrap_or_else(|| json!([]));
        if !params.is_array() {
            self.problem(
                &place,
                "wrong_type",
                "\"params\" must be an array",
                "Write [\"${ .id }\"].",
            );
            return None;
        }
        Some((statement, params, place))
    }

    /// `SELECT "schema"."name"("arg" => $1, ...)`: nothing but identifiers gets into the text.
    fn function(
        &mut self,
        function: &Value,
        with: &Map<String, Value>,
        at: &str,
    ) -> Option<(String, Value, String)> {
        if with.contains_key("params") {
            let hint = "Use \"args\": {\"name\": value}.";
            self.problem(
                &format!("{at}/params"),
                "wrong_key",
                "\"params\" belongs to a query",
                hint,
            );
        }
        let place = format!("{at}/function");
        let name = self.constant_text(function, &place)?;
        let parts: Vec<&str> = name.split('.').collect();
        if parts.len() > 2 || !parts.iter().all(|p| is_identifier(p)) {
            let message = format!("\"{name}\" is not the name of a function");
            self.problem(&place, "invalid_name", message, "Write \"schema.name\".");
            return None;
        }
        let quoted: Vec<String> = parts.iter().map(|p| quote(p)).collect();
        let place = format!("{at}/args");
        let empty = json!({});
        let args = self.object(with.get("args").unwrap_or(&empty), &place).cloned()?;
        let (mut call, mut params) = (Vec::new(), Vec::new());
        for (i, (arg, value)) in args.into_iter().enumerate() {
            if !is_identifier(&arg) {
                let message = format!("\"{arg}\" is not the name of an argument");
                let place = format!("{place}/{}", escape(&arg));
                self.problem(&place, "invalid_name", message, "Use letters, digits and _.");
            }
            call.push(format!("{} => ${}", quote(&arg), i + 1));
            params.push(value);
        }
        let statement = format!("SELECT {}({})", quoted.join("."), call.join(", "));
        Some((statement, Value::Array(params), place))
    }

    fn notify(&mut self, with: &Map<String, Value>, task: &str, at: &str) -> Option<Kind> {
        self.keys(with, at, &["template", "recipients", "to", "data"], &[]);
        let place = format!("{at}/template");
        match with.get("template") {
            Some(template) => {
                let name = self.constant_text(template, &place)?;
                self.effects.push(EffectRef::Template { pointer: task.to_owned(), name });
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
        self.template(&Value::Object(with.clone()), at, &["output"]).map(Kind::Notify)
    }

    fn http(&mut self, with: &Map<String, Value>, task: &str, at: &str) -> Option<Kind> {
        let known = ["method", "endpoint", "headers", "query", "body", "output", "redirect"];
        self.keys(with, at, &known, &[]);
        if with.get("redirect").is_some_and(|v| v != &Value::Bool(false)) {
            let hint = "Redirects are not followed; call the final address.";
            self.unsupported(&format!("{at}/redirect"), "\"redirect\"", hint);
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
        let (headers, query, body) = (part("headers"), part("query"), part("body"));
        for (key, template) in [("headers", &headers), ("query", &query)] {
            let constant = template.as_ref().and_then(|t| t.constant());
            if constant.is_some_and(|v| !v.is_object()) {
                let place = format!("{at}/{key}");
                let message = format!("\"{key}\" must be an object");
                self.problem(&place, "wrong_type", message, "Write {\"name\": \"value\"}.");
            }
        }
        let http =
            Http { method: method?, endpoint: endpoint?, headers, query, body, output: output? };
        Some(Kind::Http(Box::new(http)))
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

    fn endpoint(
        &mut self,
        with: &Map<String, Value>,
        task: &str,
        at: &str,
    ) -> Option<crate::jq::Template> {
        let mut place = format!("{at}/endpoint");
        let uri = match with.get("endpoint") {
            Some(text @ Value::String(_)) => text,
            Some(Value::Object(map)) => {
                if map.contains_key("authentication") {
                    let hint = "Send an Authorization header.";
                    let what = "\"endpoint.authentication\"";
                    self.unsupported(&format!("{place}/authentication"), what, hint);
                }
                self.keys(map, &place, &["uri"], &["authentication"]);
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
        self.effects.push(EffectRef::Http { pointer: task.to_owned(), endpoint });
        self.template(uri, &place, &["output"])
    }

    /// Text that must be known when the workflow is defined.
    fn constant_text(&mut self, value: &Value, at: &str) -> Option<String> {
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

    fn choice<T: Copy>(
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

/// A name PostgreSQL would take without quotes, within its 63 bytes.
fn is_identifier(name: &str) -> bool {
    name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '$')
}

fn quote(name: &str) -> String {
    format!("\"{name}\"")
}
