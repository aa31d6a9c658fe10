//! HTTP: checked before, checked while connecting, cut off at the cap.

mod answer;
mod client;
mod failure;
mod headers;

use std::sync::Arc;

use automate_core::net::{Allow, Target};
use reqwest::Method;

use crate::outcome::{Failure, Response};
use crate::progress::{Progress, Step};
use crate::request::HttpRequest;
use crate::sender::Config;
use crate::tls::Trust;
use client::Clients;

/// Sends HTTP requests.
pub(crate) struct Http {
    clients: Clients,
    cap: usize,
}

impl Http {
    pub fn new(trust: &Trust, config: &Config) -> Self {
        Self { clients: Clients::new(trust.http(), config), cap: config.max_response_bytes }
    }

    pub async fn send(
        &self,
        request: HttpRequest,
        allow: &Arc<Allow>,
        progress: &Progress,
    ) -> Result<Response, Failure> {
        // Also the only check of a URL whose host is an address: such a host is never resolved.
        let Target { host, port, url, .. } = allow.check_url(&request.url)?;
        let method = method(&request.method)?;
        let headers = headers::build(&request.headers)?;
        // Errors name host and port alone, for the rest of a URL often is a secret.
        let peer = format!("{host}:{port}");
        let client = self.clients.get(allow)?;
        let call = client.request(method, url).headers(headers).body(request.body);
        progress.at(Step::Sending);
        let answer = call.send().await.map_err(|error| failure::of(&error, &peer))?;
        progress.at(Step::Reading);
        answer::read(answer, request.max_response_bytes.unwrap_or(self.cap), &peer).await
    }
}

fn method(name: &str) -> Result<Method, Failure> {
    match Method::from_bytes(name.as_bytes()) {
        Ok(method) if method != Method::CONNECT && method != Method::TRACE => Ok(method),
        _ => Err(Failure::permanent(format!(
            "HTTP method \"{}\" cannot be used",
            name.escape_debug().take(40).collect::<String>()
        ))),
    }
}
