//! HTTP requests of runs: jobs of the courier.

use super::outside;
use super::run::Run;
use crate::error::Result;
use crate::queue::{Lane, NewJob};
use crate::spi::Own;
use automate_core::workflow::{Command, HttpOutput};
use serde_json::json;

/// Longest wait of a network step without a timeout of its own, in milliseconds.
const TIMEOUT_MS: u64 = 30_000;

/// Hands a request to the courier.
pub fn send(own: &Own, run: &Run, command: &Command) -> Result<()> {
    let Command::Http {
        step, attempt, method, url, headers, query, body, timeout_ms, output, ..
    } = command
    else {
        return Ok(());
    };
    let output = match output {
        HttpOutput::Content => "content",
        HttpOutput::Response => "response",
        HttpOutput::Raw => "raw",
    };
    let mut payload = json!({
        "run": run.id,
        "step": step,
        "attempt": attempt,
        "method": method,
        "url": url,
        "headers": headers,
        "query": query,
        "body": body,
        "timeout_ms": timeout_ms.unwrap_or(TIMEOUT_MS),
        "output": output,
        "idempotency_key": format!("{}:{step}", run.id),
    });
    if let Some(traceparent) = &run.traceparent {
        payload["trace"] = json!({ "traceparent": traceparent });
    }
    let (key, source) = (outside::key(run.id, step, *attempt), run.source());
    NewJob {
        dedupe_key: Some(&key),
        source: Some(&source),
        ..NewJob::new("http", run.owner, Lane::Network, &payload)
    }
    .put(own)?;
    Ok(())
}
