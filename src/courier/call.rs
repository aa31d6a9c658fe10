//! A job of kind http: a request of a workflow's step, and the answer that the step gets.
//!
//! Payload: `{"method", "url", "headers", "query", "body", "timeout_ms", "idempotency_key", "run",
//! "step", "trace"}`.
//! A body that is text goes out as it is, any other JSON as JSON.

use crate::error::{Error, Failure};
use crate::event::trace;
use automate_core::net::{Allow, NetError};
use automate_sender::{Class, HttpRequest, Kind, Response};
use pgrx::prelude::*;
use serde_json::{Map, Value, json};
use std::time::Duration;
use uuid::Uuid;

/// Longest time for a request that does not say.
const DEADLINE: Duration = Duration::from_secs(60);
/// Bytes of an answer that a step gets.
const MAX_ANSWER: usize = 256 * 1024;

/// The run and the step that wait for an answer, and which attempt at it.
#[derive(Clone)]
pub struct Asker {
    pub run: Uuid,
    pub step: String,
    pub attempt: Option<u64>,
}

/// A request, read from a payload.
pub struct Call {
    pub run: Option<Asker>,
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    query: Vec<(String, String)>,
    body: Vec<u8>,
    deadline: Duration,
}

impl Call {
    /// Reads a payload; one that is malformed fails this job alone.
    pub fn read(payload: &Value) -> Result<Call, Failure> {
        let bad = |what: &str| -> Failure {
            Error::invalid(format!("payload of an http job is not valid: {what}"))
                .with_hint(
                    "It needs a url that is text; headers and query are objects of plain values.",
                )
                .into()
        };
        let url = payload["url"].as_str().ok_or_else(|| bad("url is not text"))?.to_owned();
        let method = payload["method"].as_str().unwrap_or("GET").to_ascii_uppercase();
        let mut headers = texts(&payload["headers"]).ok_or_else(|| bad("headers"))?;
        let query = texts(&payload["query"]).ok_or_else(|| bad("query"))?;
        let has = |headers: &[(String, String)], wanted: &str| {
            headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted))
        };
        let body = match &payload["body"] {
            Value::Null => Vec::new(),
            Value::String(text) => text.clone().into_bytes(),
            other => {
                if !has(&headers, "content-type") {
                    headers.push(("content-type".to_owned(), "application/json".to_owned()));
                }
                other.to_string().into_bytes()
            }
        };
        if let Some(key) = payload["idempotency_key"].as_str()
            && !has(&headers, "idempotency-key")
        {
            headers.push(("idempotency-key".to_owned(), key.to_owned()));
        }
        if let Some(traceparent) = trace::of(payload)
            && !has(&headers, trace::HEADER)
        {
            headers.push((trace::HEADER.to_owned(), traceparent.to_owned()));
        }
        let deadline = payload["timeout_ms"].as_u64().map_or(DEADLINE, Duration::from_millis);
        Ok(Call { run: Call::run_of(payload), method, url, headers, query, body, deadline })
    }

    /// Who waits for the answer.
    pub fn run_of(payload: &Value) -> Option<Asker> {
        let run = payload["run"].as_str()?.parse().ok()?;
        let step = payload["step"].as_str().unwrap_or_default().to_owned();
        Some(Asker { run, step, attempt: payload["attempt"].as_u64() })
    }

    /// The request, and how long it may take.
    pub fn build(self, allow: &Allow) -> Result<(Duration, Kind), Failure> {
        let mut target = allow.check_url(&self.url).map_err(refused)?.url;
        if !self.query.is_empty() {
            target.query_pairs_mut().extend_pairs(&self.query);
        }
        let request = HttpRequest {
            method: self.method,
            url: target.to_string(),
            headers: self.headers,
            body: self.body,
            max_response_bytes: Some(MAX_ANSWER),
        };
        Ok((self.deadline, Kind::Http(request)))
    }
}

/// A host that may not be reached, as an error.
fn refused(e: NetError) -> Failure {
    Failure {
        code: PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        message: e.message,
        detail: None,
        hint: e.hint,
    }
}

/// An object of plain values as texts; None if it is something else.
fn texts(value: &Value) -> Option<Vec<(String, String)>> {
    let map = match value {
        Value::Null => return Some(Vec::new()),
        Value::Object(map) => map,
        _ => return None,
    };
    map.iter()
        .map(|(name, value)| match value {
            Value::String(text) => Some((name.clone(), text.clone())),
            Value::Number(_) | Value::Bool(_) => Some((name.clone(), value.to_string())),
            _ => None,
        })
        .collect()
}

/// What a step gets of an answer that means success.
pub fn answer_ok(response: &Response) -> Value {
    json!({ "ok": {
        "status": response.status,
        "headers": headers(&response.headers),
        "body_text": text(&response.body),
        "truncated": response.truncated,
    }})
}

/// What a step gets of a failure.
pub fn answer_failed(failure: &automate_sender::Failure) -> Value {
    let class = match (failure.class, failure.code) {
        (_, None) if failure.message.starts_with("deadline of ") => "timeout",
        (Class::Permanent, _) => "permanent",
        (Class::Transient, _) => "transient",
        (Class::Refused, _) => "refused",
    };
    json!({ "error": {
        "status": failure.code,
        "title": "Request failed",
        "detail": failure.message,
        "class": class,
        "headers": headers(&failure.headers),
        "body_text": text(&failure.body),
    }})
}

/// What a step gets when nothing could be sent.
pub fn answer_unsent(failure: &Failure) -> Value {
    let detail = match &failure.hint {
        Some(hint) => format!("{}; {hint}", failure.message),
        None => failure.message.clone(),
    };
    json!({ "error": {
        "status": null, "title": "Request failed", "detail": detail, "class": "refused", "body_text": "",
    }})
}

fn headers(pairs: &[(String, String)]) -> Value {
    let map: Map<String, Value> = pairs
        .iter()
        .map(|(name, value)| (name.clone(), Value::from(value.replace('\0', "\u{fffd}"))))
        .collect();
    Value::Object(map)
}

/// Bytes as text that PostgreSQL can store: it knows no NUL.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_that_is_malformed_is_an_error() {
        for bad in [json!(null), json!({"url": 1}), json!({"url": "x", "headers": [1]})] {
            assert!(Call::read(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_call_has_its_query_key_and_type() {
        let call = Call::read(&json!({
            "url": "https://example.com/a?b=1", "method": "post", "query": {"c": "d e"}, "body": {"x": 1},
            "idempotency_key": "k",
        }));
        let allow = Allow::parse("*").unwrap_or_default();
        match call.and_then(|call| call.build(&allow)) {
            Ok((_, Kind::Http(request))) => {
                assert_eq!(request.url, "https://example.com/a?b=1&c=d+e");
                assert_eq!(
                    (request.method.as_str(), request.body.as_slice()),
                    ("POST", &b"{\"x\":1}"[..])
                );
                assert_eq!(request.headers.len(), 2);
            }
            _ => panic!("no request"),
        }
    }
}
