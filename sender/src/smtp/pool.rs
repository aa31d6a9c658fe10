//! Open connections between two mails.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{Noop, Rset};
use tokio::time::{timeout, timeout_at};

use crate::request::{SmtpServer, Tls};

/// Connections unused for this long are closed.
const KEEP: Duration = Duration::from_secs(30);

/// After this long without use a connection is asked whether it still lives: a router may have
/// forgotten it without a word, and then the next command would hang.
const TRUST: Duration = Duration::from_secs(5);

/// How long that question, or a good-bye, may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// All connections kept at once, over all servers.
const MOST: usize = 64;

/// Who a connection is logged in to, and as whom.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct ServerKey {
    host: String,
    port: u16,
    tls: Tls,
    user: Option<String>,
    password: Option<String>,
}

impl ServerKey {
    pub fn of(server: &SmtpServer) -> Self {
        Self {
            host: server.host.to_ascii_lowercase(),
            port: server.port,
            tls: server.tls,
            user: server.user.clone(),
            password: server.password.clone(),
        }
    }
}

/// An open connection and what is known of it.
pub(crate) struct Idle {
    pub connection: AsyncSmtpConnection,
    /// Checked again before each use, as the rules may have changed.
    pub address: IpAddr,
    /// Sent over it so far.
    pub mails: u32,
    /// A failed mail must be undone first.
    pub dirty: bool,
    since: Instant,
}

impl Idle {
    pub fn fresh(connection: AsyncSmtpConnection, address: IpAddr) -> Self {
        Self { connection, address, mails: 0, dirty: false, since: Instant::now() }
    }

    /// Makes it ready for the next mail; false when it is dead.
    pub async fn refresh(&mut self) -> bool {
        let asked = if self.dirty {
            timeout(PATIENCE, self.connection.command(Rset)).await
        } else if self.since.elapsed() > TRUST {
            timeout(PATIENCE, self.connection.command(Noop)).await
        } else {
            return true;
        };
        self.dirty = false;
        matches!(asked, Ok(Ok(_)))
    }
}

#[derive(Default)]
struct Kept {
    servers: HashMap<ServerKey, Vec<Idle>>,
    count: usize,
    /// A task that closes what is old runs, while there is something to close.
    janitor: bool,
}

/// The connections that wait for a mail.
pub(crate) struct Pool {
    kept: Mutex<Kept>,
}

impl Pool {
    pub fn new() -> Self {
        Self { kept: Mutex::new(Kept::default()) }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection used last, which is the likeliest to live.
    pub fn take(&self, key: &ServerKey) -> Option<Idle> {
        let mut kept = self.lock();
        let idle = kept.servers.get_mut(key)?.pop();
        kept.count -= usize::from(idle.is_some());
        idle
    }

    /// Keeps a connection, unless there are too many.
    pub fn park(self: &Arc<Self>, key: ServerKey, mut idle: Idle) {
        idle.since = Instant::now();
        let mut kept = self.lock();
        if kept.count >= MOST {
            drop(kept);
            return quit(idle);
        }
        kept.count += 1;
        kept.servers.entry(key).or_default().push(idle);
        if !std::mem::replace(&mut kept.janitor, true) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }

    /// Takes out what was not used for `age`; true when nothing is left.
    fn expire(&self, age: Duration) -> (Vec<Idle>, bool) {
        let mut kept = self.lock();
        let mut old = Vec::new();
        kept.servers.retain(|_, idle| {
            old.extend(idle.extract_if(.., |idle| idle.since.elapsed() >= age));
            !idle.is_empty()
        });
        kept.count -= old.len();
        kept.janitor = kept.count > 0;
        (old, kept.count == 0)
    }

    /// Says good-bye on all connections, for as long as `end` allows.
    pub async fn close(&self, end: tokio::time::Instant) {
        let (old, _) = self.expire(Duration::ZERO);
        let farewells = old.into_iter().map(|mut idle| async move {
            // Whatever it answers, the connection ends here.
            let _ = timeout(PATIENCE, idle.connection.quit()).await;
        });
        let _ = timeout_at(end, futures_util::future::join_all(farewells)).await;
    }
}

/// Says good-bye in the background.
pub(crate) fn quit(mut idle: Idle) {
    tokio::spawn(async move {
        // Whatever it answers, the connection ends here.
        let _ = timeout(PATIENCE, idle.connection.quit()).await;
    });
}

/// Ends with the last connection, so that an idle process has no timer.
async fn sweep(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(KEEP / 2).await;
        let Some(pool) = pool.upgrade() else { return };
        let (old, empty) = pool.expire(KEEP);
        old.into_iter().for_each(quit);
        if empty {
            return;
        }
    }
}
