//! The byte stream below a mail connection.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// In clear or in TLS.
enum Inner {
    Plain(TcpStream),
    Secure(Box<TlsStream<TcpStream>>),
}

/// What lettre talks over.
///
/// lettre begins with the server's greeting. After STARTTLS the server has given it already (in
/// clear), so `greeting` stands in for it; it is empty otherwise.
pub(crate) struct Line {
    inner: Inner,
    greeting: &'static [u8],
}

impl Line {
    pub fn plain(stream: TcpStream) -> Self {
        Self { inner: Inner::Plain(stream), greeting: b"" }
    }

    pub fn secure(stream: TlsStream<TcpStream>) -> Self {
        Self { inner: Inner::Secure(Box::new(stream)), greeting: b"" }
    }

    pub fn upgraded(stream: TlsStream<TcpStream>) -> Self {
        Self { inner: Inner::Secure(Box::new(stream)), greeting: b"220 in TLS\r\n" }
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").finish_non_exhaustive()
    }
}

impl AsyncTokioStream for Line {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        match &self.inner {
            Inner::Plain(stream) => stream.peer_addr(),
            Inner::Secure(stream) => stream.get_ref().0.peer_addr(),
        }
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.greeting.is_empty() {
            let (now, later) = self.greeting.split_at(self.greeting.len().min(buffer.remaining()));
            buffer.put_slice(now);
            self.greeting = later;
            return Poll::Ready(Ok(()));
        }
        match &mut self.inner {
            Inner::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Inner::Secure(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.inner {
            Inner::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Inner::Secure(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Plain(stream) => Pin::new(stream).poll_flush(context),
            Inner::Secure(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Inner::Secure(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
