//! What comes back of a request, a child or people, as the output or the error of its step.

use super::known::unreadable;
use automate_core::workflow::{Command, Event, HttpOutput, WorkflowError};
use serde_json::{Value, json};

/// The event that an answer of the courier is for the step of `command`:
/// `{"ok": {status, headers, body_text, truncated}}` or
/// `{"error": {status, title, detail, class, body_text}}`; or of others: `{"done": output}` or
/// `{"failed": error}`, as it is.
pub fn event(step: &str, answer: &Value, command: Option<&Command>) -> Event {
    let step = step.to_string();
    if let Some(output) = answer.get("done") {
        return Event::Done { step, output: output.clone() };
    }
    if let Some(error) = answer.get("failed") {
        let read = serde_json::from_value(error.clone());
        let error = read.unwrap_or_else(|e| unreadable(&e.to_string()));
        return Event::Failed { step, error };
    }
    let result = match (answer.get("ok"), command) {
        (Some(ok), Some(Command::Http { method, url, headers, output, .. })) => {
            let request = json!({ "method": method, "uri": url, "headers": headers });
            content(ok, request, *output)
        }
        (Some(_), _) => Err(communication(500, "the run does not wait for this answer")),
        (None, _) => Err(error(&answer["error"])),
    };
    match result {
        Ok(output) => Event::Done { step, output },
        Err(error) => Event::Failed { step, error },
    }
}

fn content(ok: &Value, request: Value, output: HttpOutput) -> Result<Value, WorkflowError> {
    let status = ok["status"].as_i64().unwrap_or(0);
    let body = ok["body_text"].as_str().unwrap_or_default();
    if !(200..300).contains(&status) {
        let start: String = body.chars().take(500).collect();
        return Err(communication(status, &format!("the peer answered {status}: {start}")));
    }
    if ok["truncated"] == json!(true) {
        let detail = format!("the answer is too large: only {} bytes were kept", body.len());
        return Err(communication(status, &detail));
    }
    if output == HttpOutput::Raw {
        return Ok(Value::from(base64(body.as_bytes())));
    }
    let content = if is_json(&ok["headers"]) && !body.trim().is_empty() {
        serde_json::from_str(body).map_err(|e| {
            communication(status, &format!("the answer says it is JSON but is not: {e}"))
        })?
    } else {
        Value::from(body)
    };
    Ok(match output {
        HttpOutput::Response => json!({
            "request": request,
            "statusCode": status,
            "headers": ok["headers"],
            "content": content,
        }),
        _ => content,
    })
}

fn is_json(headers: &Value) -> bool {
    let mut found = headers.as_object().into_iter().flatten();
    let media = found.find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let media = media.and_then(|(_, v)| v.as_str().or_else(|| v[0].as_str())).unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim().to_lowercase();
    media == "application/json" || media.ends_with("+json") || media == "text/json"
}

fn error(error: &Value) -> WorkflowError {
    let status = error["status"].as_i64();
    let text = |key: &str| error[key].as_str().unwrap_or_default();
    let mut detail = text("detail").to_string();
    let body: String = text("body_text").chars().take(500).collect();
    if !body.is_empty() {
        detail.push_str(": ");
        detail.push_str(&body);
    }
    let timed_out = text("class") == "timeout" && status.is_none();
    let kind = if timed_out { "timeout" } else { "communication" };
    let title = Some(text("title")).filter(|t| !t.is_empty()).unwrap_or("Request failed");
    let mut made = WorkflowError::standard(kind, title, detail);
    made.status = status.unwrap_or(made.status);
    made
}

fn communication(status: i64, detail: &str) -> WorkflowError {
    let mut error = WorkflowError::standard("communication", "Request failed", detail);
    error.status = status;
    error
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let part = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let word = part(0) << 16 | part(1) << 8 | part(2);
        for digit in 0..4 {
            let value = (word >> (18 - 6 * digit) & 63) as usize;
            text.push(if digit <= chunk.len() { char::from(DIGITS[value]) } else { '=' });
        }
    }
    text
}
