//! What becomes of data: expressions, templates, schemas, durations.

use super::{Walk, escape};
use crate::event::schema::Schema;
use crate::jq::{self, Filter, Template};
use crate::workflow::definition::Data;
use crate::workflow::duration;
use crate::workflow::schema::Shape;
use serde_json::{Map, Value};

impl<'a> Walk<'a> {
    /// `input`, `output` and `export` of a task or of the workflow.
    pub(super) fn data(&mut self, map: &Map<String, Value>, at: &str) -> Data {
        let mut data = Data::default();
        for (key, part, missing) in [
            ("input", "from", &["input", "output"][..]),
            ("output", "as", &["output"][..]),
            ("export", "as", &[][..]),
        ] {
            let Some(value) = map.get(key) else { continue };
            let place = format!("{at}/{key}");
            let (transform, shape) = self.transform(value, &place, part, missing);
            match key {
                "input" => (data.input_from, data.input_shape) = (transform, shape),
                "output" => (data.output_as, data.output_shape) = (transform, shape),
                _ => (data.export_as, data.export_shape) = (transform, shape),
            }
        }
        data
    }

    /// The `from` of an input or the `as` of an output or export, and its schema.
    fn transform(
        &mut self,
        value: &Value,
        at: &str,
        key: &str,
        missing: &[&str],
    ) -> (Option<Template>, Option<Shape>) {
        let Some(map) = self.object(value, at) else { return (None, None) };
        self.keys(map, at, &[key, "schema"], &[]);
        let shape = map.get("schema").and_then(|v| self.shape(v, &format!("{at}/schema")));
        let at = format!("{at}/{key}");
        let transform = match map.get(key) {
            Some(text @ Value::String(_)) => {
                self.bare(text, &at, missing).map(Template::from_filter)
            }
            Some(tree) => self.template(tree, &at, missing),
            None => None,
        };
        (transform, shape)
    }

    fn shape(&mut self, value: &Value, at: &str) -> Option<Shape> {
        let map = self.object(value, at)?;
        self.keys(map, at, &["format", "document"], &["resource"]);
        if map.contains_key("resource") {
            let hint = "Write the schema out under \"document\".";
            self.unsupported(&format!("{at}/resource"), "\"schema.resource\"", hint);
            return None;
        }
        let format = map.get("format").map_or(Some("json"), Value::as_str).unwrap_or_default();
        if format != "json" && !format.starts_with("json:") {
            let hint = "Write \"json\", and a JSON Schema.";
            self.unsupported(&format!("{at}/format"), "another format than json", hint);
            return None;
        }
        let Some(document) = map.get("document") else {
            let hint = "Add a JSON Schema.";
            self.problem(at, "missing_key", "a schema needs \"document\"", hint);
            return None;
        };
        match Schema::compile(document) {
            Ok(schema) => Some(Shape(Box::new(schema))),
            Err(problems) => {
                for problem in problems {
                    let place = format!("{at}/document{}", problem.pointer);
                    self.problem(
                        &place,
                        problem.code,
                        problem.message,
                        problem.hint.unwrap_or_default(),
                    );
                }
                None
            }
        }
    }

    pub(super) fn timeout(&mut self, value: &'a Value, at: &str) -> Option<u64> {
        let (value, at) = match value.as_str() {
            Some(name) => self.shared("timeouts", name, at)?,
            None => (value, at.to_owned()),
        };
        let map = self.object(value, &at)?;
        self.keys(map, &at, &["after"], &[]);
        let Some(after) = map.get("after") else {
            self.problem(&at, "missing_key", "a timeout needs \"after\"", "Add a duration.");
            return None;
        };
        self.duration(after, &format!("{at}/after"))
    }

    /// A duration that is known beforehand.
    pub(super) fn duration(&mut self, value: &Value, at: &str) -> Option<u64> {
        match duration::millis(value) {
            Ok(ms) => Some(ms),
            Err(message) => {
                let hint = "Write {\"minutes\": 5} or \"PT5M\".";
                self.problem(at, "invalid_duration", message, hint);
                None
            }
        }
    }

    /// An expression where `${ }` may be left out; `missing` are the variables not there yet.
    pub(super) fn bare(&mut self, value: &Value, at: &str, missing: &[&str]) -> Option<Filter> {
        let Some(text) = value.as_str() else {
            self.problem(
                at,
                "wrong_type",
                "an expression must be text",
                "Write jq, as \".a > 1\".",
            );
            return None;
        };
        let source = jq::expression(text).unwrap_or(text);
        self.asks(source);
        if self.names_secret(source, at) {
            return None;
        }
        let vars: Vec<&str> = self.vars.iter().map(|v| &**v).collect();
        let compiled = Filter::compile(source, &vars);
        self.forbidden(source, at, missing);
        compiled.map_err(|e| self.expression_error(at, &e)).ok()
    }

    /// A tree with `${ }` in its leaves.
    pub(super) fn template(
        &mut self,
        tree: &Value,
        at: &str,
        missing: &[&str],
    ) -> Option<Template> {
        if self.leaf_names_secret(tree, at) {
            return None;
        }
        let vars: Vec<&str> = self.vars.iter().map(|v| &**v).collect();
        match Template::compile(tree, &vars) {
            Ok(template) => {
                self.check_leaves(tree, at, missing);
                Some(template)
            }
            Err((place, e)) => {
                self.expression_error(&format!("{at}{place}"), &e);
                None
            }
        }
    }

    /// Every text of the tree: variables that are not there, and `${ }` amid other text.
    fn check_leaves(&mut self, tree: &Value, at: &str, missing: &[&str]) {
        match tree {
            Value::String(text) => match jq::expression(text) {
                Some(source) => self.forbidden(source, at, missing),
                None if text.contains("${") => {
                    let message = "\"${ }\" must be the whole text";
                    let hint = "Build the text in jq: ${ \"Hello \\(.name)\" }.";
                    self.problem(at, "partial_expression", message, hint);
                }
                None => {}
            },
            Value::Array(items) => {
                for (i, item) in items.iter().enumerate() {
                    self.check_leaves(item, &format!("{at}/{i}"), missing);
                }
            }
            Value::Object(map) => {
                for (key, item) in map {
                    self.check_leaves(item, &format!("{at}/{}", escape(key)), missing);
                }
            }
            _ => {}
        }
    }

    /// Notes what an expression wants to see of the document.
    fn asks(&mut self, source: &str) {
        if source.contains("definition") {
            self.wants_document |= jq::source::mentions(source, "workflow");
            self.wants_tasks |= jq::source::mentions(source, "task");
        }
    }

    /// An expression cannot see a secret: what it makes of it would be stored.
    fn names_secret(&mut self, source: &str, at: &str) -> bool {
        let found = jq::source::mentions(source, "secrets");
        if found {
            let hint = "Write \"${ $secrets.name }\" as a whole header, or in an authentication.";
            self.problem(at, "secret_in_expression", "$secrets cannot be computed with", hint);
        }
        found
    }

    fn leaf_names_secret(&mut self, tree: &Value, at: &str) -> bool {
        match tree {
            Value::String(text) => match jq::expression(text) {
                Some(source) => {
                    self.asks(source);
                    self.names_secret(source, at)
                }
                None => false,
            },
            Value::Array(items) => {
                let names =
                    |(i, v): (usize, &Value)| self.leaf_names_secret(v, &format!("{at}/{i}"));
                items.iter().enumerate().map(names).fold(false, |any, one| any | one)
            }
            Value::Object(map) => {
                let mut any = false;
                for (key, item) in map {
                    any |= self.leaf_names_secret(item, &format!("{at}/{}", escape(key)));
                }
                any
            }
            _ => false,
        }
    }

    fn forbidden(&mut self, source: &str, at: &str, missing: &[&str]) {
        for name in missing.iter().filter(|n| jq::source::mentions(source, n)) {
            let message = format!("${name} is not known yet at this place");
            self.problem(at, "unknown_variable", message, "Use \".\", the data that arrives here.");
        }
    }

    fn expression_error(&mut self, at: &str, error: &jq::Error) {
        self.problem(at, "invalid_expression", error.to_string(), error.hint().unwrap_or_default());
    }
}
