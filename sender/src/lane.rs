//! How many requests to one destination run at once, so that a slow host holds up only itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::request::{Kind, SmtpServer};
use crate::smtp::ServerKey;

/// A destination.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum LaneKey {
    /// Scheme, host and port; empty for a URL that does not parse and fails on its own.
    Http(String),
    Smtp(ServerKey),
}

/// One semaphore per destination in use.
pub(crate) struct Lanes {
    lanes: Mutex<HashMap<LaneKey, Arc<Semaphore>>>,
    per_host: usize,
}

/// Forgotten lanes are swept out when this many are known.
const SWEEP: usize = 256;

impl Lanes {
    pub fn new(per_host: usize) -> Self {
        Self { lanes: Mutex::new(HashMap::new()), per_host }
    }

    /// Waits for the turn of a request of this kind.
    pub async fn enter(&self, kind: &Kind) -> Option<OwnedSemaphorePermit> {
        // The semaphores are never closed, so there is always a permit in the end.
        self.lane(kind).acquire_owned().await.ok()
    }

    fn lane(&self, kind: &Kind) -> Arc<Semaphore> {
        let (key, width) = match kind {
            Kind::Http(http) => (LaneKey::Http(origin(&http.url)), self.per_host),
            Kind::Smtp(smtp) => {
                (LaneKey::Smtp(ServerKey::of(&smtp.server)), connections(&smtp.server))
            }
        };
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if lanes.len() >= SWEEP {
            // A lane that only the map holds has neither a runner nor a waiter.
            lanes.retain(|_, lane| Arc::strong_count(lane) > 1);
        }
        lanes.entry(key).or_insert_with(|| Arc::new(Semaphore::new(width))).clone()
    }
}

fn connections(server: &SmtpServer) -> usize {
    match server.max_connections {
        0 => 4,
        n => n.min(64),
    }
}

fn origin(url: &str) -> String {
    reqwest::Url::parse(url).map(|url| url.origin().ascii_serialization()).unwrap_or_default()
}
