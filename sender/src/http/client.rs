//! One client, with its connections, for each set of allowed addresses.
//!
//! A client's resolver belongs to it for life, and a kept connection was checked by the rules that
//! held when it was made. So a request with other rules gets another client.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use automate_core::net::Allow;
use reqwest::{Client, redirect};
use rustls::ClientConfig;

use crate::outcome::Failure;
use crate::resolve::Checked;
use crate::sender::Config;

/// Rules change with a setting, so two or three are in use at once at most.
const KEPT: usize = 4;

/// A host that does not answer is given up before most deadlines, so that it counts as not sent.
const CONNECT: Duration = Duration::from_secs(10);

/// Kept connections are closed after this long without use.
const IDLE: Duration = Duration::from_secs(30);

/// The clients in use, the most recent first.
pub(crate) struct Clients {
    tls: ClientConfig,
    per_host: usize,
    user_agent: String,
    kept: Mutex<Vec<(Arc<Allow>, Client)>>,
}

impl Clients {
    pub fn new(tls: ClientConfig, config: &Config) -> Self {
        Self {
            tls,
            per_host: config.per_host,
            user_agent: config.user_agent.clone(),
            kept: Mutex::new(Vec::new()),
        }
    }

    /// The client of these rules; rules are the same when they are the same value in memory.
    pub fn get(&self, allow: &Arc<Allow>) -> Result<Client, Failure> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = kept.iter().position(|(rules, _)| Arc::ptr_eq(rules, allow)) {
            if place > 0 {
                kept[..=place].rotate_right(1);
            }
            return Ok(kept[0].1.clone());
        }
        let client = self.build(allow)?;
        kept.truncate(KEPT - 1);
        kept.insert(0, (allow.clone(), client.clone()));
        Ok(client)
    }

    fn build(&self, allow: &Arc<Allow>) -> Result<Client, Failure> {
        Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            .dns_resolver(Checked(allow.clone()))
            .redirect(redirect::Policy::none())
            // At-least-once is the queue's business: here a request is sent once.
            .retry(reqwest::retry::never())
            .no_proxy()
            .referer(false)
            .user_agent(&self.user_agent)
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .pool_max_idle_per_host(self.per_host)
            .pool_idle_timeout(IDLE)
            // What a peer may make us hold for one answer before it is read.
            .http2_initial_stream_window_size(128 * 1024)
            .http2_initial_connection_window_size(1024 * 1024)
            .http2_max_header_list_size(64 * 1024)
            .build()
            .map_err(|error| {
                Failure::permanent(format!("could not set up HTTP: {}", error.without_url()))
            })
    }
}
