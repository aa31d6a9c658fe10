//! The http action of a rule, and what a task of type http sends: a request for the courier.

use serde_json::{Map, Value, json};

use crate::jq::{self, Template};
use crate::object::{Object, kind};
use crate::problem::Problem;
use crate::suggest;
use crate::workflow::METHODS;

/// Longest time for a request, in milliseconds.
const MAX_TIMEOUT_MS: u64 = 600_000;

/// A request as defined.
pub struct Request {
    method: String,
    url: Template,
    headers: Template,
    query: Template,
    body: Option<Template>,
    timeout_ms: Option<u64>,
}

/// Reads the object below `http`.
pub(super) fn parse(value: &Value, pointer: &str, problems: &mut Vec<Problem>) -> Option<Request> {
    let mut object = Object::open(value, pointer, problems)?;
    let before = object.problems().len();
    object.allow(&["method", "url", "headers", "query", "body", "timeout_ms"]);
    let method = method(&mut object);
    let url = url(&mut object);
    let headers = super::action::tree(&mut object, "headers");
    let query = super::action::tree(&mut object, "query");
    let place = object.pointer("body");
    let body = object.get("body").map(|body| super::action::compile(&mut object, &place, body));
    let timeout_ms = object.integer("timeout_ms", 1, MAX_TIMEOUT_MS);
    if object.problems().len() > before {
        return None;
    }
    Some(Request {
        method: method?,
        url: url?,
        headers: headers?,
        query: query?,
        body: body.flatten(),
        timeout_ms,
    })
}

fn method(object: &mut Object<'_, '_>) -> Option<String> {
    if object.get("method").is_none() {
        return Some("POST".into());
    }
    let method = object.string("method")?.to_ascii_uppercase();
    if !METHODS.contains(&method.as_str()) {
        let message = format!("unknown method \"{}\"", method.escape_debug());
        let problem = Problem::error(object.pointer("method"), "unknown_method", message);
        object.problems().push(problem.with_hint(suggest::hint(&method, &METHODS)));
        return None;
    }
    Some(method)
}

fn url(object: &mut Object<'_, '_>) -> Option<Template> {
    let url = object.required_string("url")?;
    let place = object.pointer("url");
    if jq::expression(url).is_none() && !is_url(url) {
        let message = "\"url\" must start with https:// or http://, or be an expression";
        object.problems().push(Problem::error(place, "invalid_url", message));
        return None;
    }
    super::action::compile(object, &place, &Value::from(url))
}

fn is_url(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}

impl Request {
    /// Reads a request that is no rule's, or says all that is wrong with it.
    pub fn read(value: &Value) -> Result<Request, Vec<Problem>> {
        let mut problems = Vec::new();
        parse(value, "", &mut problems).filter(|_| problems.is_empty()).ok_or(problems)
    }

    /// The address, if it is the same for every match.
    pub fn constant_url(&self) -> Option<&str> {
        self.url.constant().and_then(Value::as_str)
    }

    /// The request for one match, as the courier reads it.
    pub fn render(&self, context: &Value) -> Result<Value, jq::Error> {
        let value = |template: &Template| template.render(context, &[]);
        let map = |key: &str, template: &Template| match value(template)? {
            map @ Value::Object(_) => Ok(map),
            Value::Null => Ok(Value::Object(Map::new())),
            other => {
                let found = kind(&other);
                Err(jq::Error::Run(format!("\"{key}\" must be an object, not {found}")))
            }
        };
        let url = value(&self.url)?;
        if !url.as_str().is_some_and(is_url) {
            let message = "\"url\" must be a text that starts with https:// or http://";
            return Err(jq::Error::Run(message.into()));
        }
        let mut request = json!({
            "method": self.method,
            "url": url,
            "headers": map("headers", &self.headers)?,
            "query": map("query", &self.query)?,
        });
        let body = self.body.as_ref().map(value).transpose()?;
        for (key, part) in [("body", body), ("timeout_ms", self.timeout_ms.map(Value::from))] {
            if let (Some(part), Some(map)) = (part, request.as_object_mut()) {
                map.insert(key.into(), part);
            }
        }
        Ok(request)
    }
}
