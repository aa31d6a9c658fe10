//! A fresh connection: checked address, no delay, TLS, greeting, log-in.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use automate_core::net::{Allow, Endpoint};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::extension::ClientId;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::failure::{self, Broken, peer};
use super::pool::Idle;
use super::preamble;
use super::stream::Line;
use crate::outcome::Failure;
use crate::request::{SmtpServer, Tls};
use crate::resolve::resolve;

/// One address is given up after this long, for the next one.
const CONNECT: Duration = Duration::from_secs(10);

/// Connects and logs in.
pub(crate) async fn dial(
    server: &SmtpServer,
    endpoint: &Endpoint,
    allow: &Allow,
    tls: &Arc<ClientConfig>,
    hello: &ClientId,
) -> Result<Idle, Failure> {
    let addresses = resolve(&endpoint.host, endpoint.port, allow).await?;
    let (tcp, address) = connect(&addresses, server).await?;
    let line = match server.tls {
        Tls::None => Line::plain(tcp),
        Tls::Implicit => Line::secure(secure(tcp, endpoint, tls).await?),
        Tls::Required => {
            let tcp = preamble::starttls(tcp, server, hello).await?;
            Line::upgraded(secure(tcp, endpoint, tls).await?)
        }
    };
    let at = |step: &str| {
        let step = step.to_owned();
        move |error| failure::of(&Broken { error, step, content: false }, server).failure
    };
    let mut connection = AsyncSmtpConnection::connect_with_transport(Box::new(line), hello)
        .await
        .map_err(at("the greeting"))?;
    if let Some(user) = &server.user {
        let password = server.password.clone().unwrap_or_default();
        let credentials = Credentials::new(user.clone(), password);
        let mechanisms = [Mechanism::Plain, Mechanism::Login];
        connection.auth(&mechanisms, &credentials).await.map_err(at("AUTH"))?;
    }
    Ok(Idle::fresh(connection, address.ip()))
}

async fn connect(
    addresses: &[SocketAddr],
    server: &SmtpServer,
) -> Result<(TcpStream, SocketAddr), Failure> {
    let mut last = None;
    for address in addresses {
        match timeout(CONNECT, open(*address)).await {
            Ok(Ok(stream)) => return Ok((stream, *address)),
            Ok(Err(error)) => last = Some(error),
            Err(_) => last = Some(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")),
        }
    }
    let reason = last.map_or_else(|| "it has no address".to_owned(), |error| error.to_string());
    Err(Failure::transient(format!("could not connect to {}: {reason}", peer(server))))
}

async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    // The end of a message is a small packet of its own, which Nagle's algorithm would hold back
    // until the server's delayed acknowledgement: 40 ms for each mail.
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn secure(
    stream: TcpStream,
    endpoint: &Endpoint,
    tls: &Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, Failure> {
    let Endpoint { host, port, .. } = endpoint;
    let name = ServerName::try_from(host.clone()).map_err(|_| {
        Failure::permanent(format!("\"{host}\" is not a host name that TLS can check"))
    })?;
    TlsConnector::from(tls.clone()).connect(name, stream).await.map_err(|error| {
        let reason = error.get_ref().map_or_else(|| error.to_string(), ToString::to_string);
        Failure::transient(format!("TLS with {host}:{port} failed: {reason}"))
    })
}
