//! Mail: built by lettre, sent over connections of our own.
//!
//! The connections are ours because lettre's pool neither bounds how many it opens, nor sets
//! TCP_NODELAY (without which a mail takes 40 ms), nor lets the address be checked.

mod deliver;
mod dial;
mod failure;
mod mail;
mod pool;
mod preamble;
mod stream;

use std::sync::Arc;

use automate_core::net::{Allow, Endpoint};
use lettre::transport::smtp::extension::ClientId;
use rustls::ClientConfig;
use tokio::time::Instant;

use crate::outcome::{Failure, Response};
use crate::progress::{Progress, Step};
use crate::request::{SmtpRequest, SmtpServer};
use crate::tls::Trust;
use mail::Ready;
pub(crate) use pool::ServerKey;
use pool::{Idle, Pool};

/// A connection takes this many mails at most: many servers close it soon after.
const MAILS_PER_CONNECTION: u32 = 100;

/// Sends mails.
pub(crate) struct Smtp {
    tls: Arc<ClientConfig>,
    hello: ClientId,
    pool: Arc<Pool>,
}

impl Smtp {
    pub fn new(trust: &Trust) -> Self {
        Self { tls: trust.smtp(), hello: ClientId::default(), pool: Arc::new(Pool::new()) }
    }

    /// The lane that the caller holds is what bounds the connections to one server.
    pub async fn send(
        &self,
        request: SmtpRequest,
        allow: &Allow,
        progress: &Progress,
    ) -> Result<Response, Failure> {
        let SmtpRequest { server, to, message } = request;
        let endpoint = allow.check_host(&server.host, server.port)?;
        let mail = mail::build(message, &to, &server)?;
        let key = ServerKey::of(&server);
        if let Some(idle) = self.reuse(&key, &endpoint, allow).await {
            match self.deliver(idle, &key, &mail, &server, progress).await {
                Ok(response) => return Ok(response),
                // It died between two mails, as idle connections do: that is not this mail's
                // fault, and the server has not seen it.
                Err(trouble) if trouble.dead && !progress.sent() => {}
                Err(trouble) => return Err(trouble.failure),
            }
        }
        let fresh = dial::dial(&server, &endpoint, allow, &self.tls, &self.hello).await?;
        self.deliver(fresh, &key, &mail, &server, progress).await.map_err(|bad| bad.failure)
    }

    /// A kept connection that still is allowed and, as far as can be told, alive.
    async fn reuse(&self, key: &ServerKey, endpoint: &Endpoint, allow: &Allow) -> Option<Idle> {
        while let Some(mut idle) = self.pool.take(key) {
            let allowed = allow.check_addr(&endpoint.host, idle.address).is_ok();
            if allowed && idle.refresh().await {
                return Some(idle);
            }
        }
        None
    }

    async fn deliver(
        &self,
        mut idle: Idle,
        key: &ServerKey,
        mail: &Ready,
        server: &SmtpServer,
        progress: &Progress,
    ) -> Result<Response, failure::Trouble> {
        let result = deliver::deliver(&mut idle.connection, mail, progress).await;
        let result = result.map_err(|broken| {
            progress.at(if broken.content { Step::Sending } else { Step::Connecting });
            failure::of(&broken, server)
        });
        idle.mails += 1;
        let alive = match &result {
            Ok(_) => true,
            Err(trouble) => {
                // What the failed mail began must be undone before the next one.
                idle.dirty = true;
                !trouble.dead
            }
        };
        if alive && idle.mails < MAILS_PER_CONNECTION {
            self.pool.park(key.clone(), idle);
        } else if alive {
            pool::quit(idle);
        }
        result
    }

    /// Says good-bye on all kept connections.
    pub async fn close(&self, end: Instant) {
        self.pool.close(end).await;
    }
}
