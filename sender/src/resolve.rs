//! Names to addresses, the addresses that may not be reached left out.
//!
//! The check is on the very addresses that are connected to, so a name that changes its address
//! between check and connection gains nothing.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use automate_core::net::{Allow, NetError};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::outcome::Failure;

/// Why there is no address to connect to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResolveError {
    /// There are addresses, and none is allowed; the text is that of the first check.
    #[error("{}", .0.message)]
    Refused(NetError),
    #[error("could not resolve \"{host}\": {reason}")]
    Unknown { host: String, reason: String },
}

impl From<ResolveError> for Failure {
    fn from(error: ResolveError) -> Self {
        match error {
            ResolveError::Refused(refusal) => refusal.into(),
            ResolveError::Unknown { .. } => Failure::transient(error.to_string()),
        }
    }
}

/// The addresses of `host` that `allow` lets through; never empty.
pub(crate) async fn resolve(
    host: &str,
    port: u16,
    allow: &Allow,
) -> Result<Vec<SocketAddr>, ResolveError> {
    let found = lookup(host, port).await?;
    let mut first = None;
    let mut kept = Vec::with_capacity(found.len());
    for address in found {
        match allow.check_addr(host, address.ip()) {
            Ok(()) => kept.push(address),
            Err(error) => first = first.or(Some(error)),
        }
    }
    match (kept.is_empty(), first) {
        (false, _) => Ok(kept),
        (true, Some(refusal)) => Err(ResolveError::Refused(refusal)),
        (true, None) => {
            let reason = "it has no address".to_owned();
            Err(ResolveError::Unknown { host: host.to_owned(), reason })
        }
    }
}

async fn lookup(host: &str, port: u16) -> Result<Vec<SocketAddr>, ResolveError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    match tokio::net::lookup_host((host, port)).await {
        Ok(found) => Ok(found.collect()),
        Err(error) => {
            Err(ResolveError::Unknown { host: host.to_owned(), reason: error.to_string() })
        }
    }
}

/// The HTTP client's view of [`resolve`].
pub(crate) struct Checked(pub Arc<Allow>);

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let allow = self.0.clone();
        Box::pin(async move {
            // Port 0: the client puts in the URL's.
            let found = resolve(name.as_str(), 0, &allow).await?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
