//! `call: sql`.

use super::{Walk, escape};
use crate::workflow::command::{Expect, ResultShape};
use crate::workflow::definition::{EffectRef, Kind, Sql};
use serde_json::{Map, Value, json};

/// Parameters a statement may have.
const MAX_PARAMS: usize = 1_000;

impl Walk<'_> {
    pub(super) fn sql(&mut self, with: &Map<String, Value>, task: &str, at: &str) -> Option<Kind> {
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
        let pointer = self.real(task);
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
