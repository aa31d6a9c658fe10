//! A small HTTP server that does what its script says to every request.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::common::STUCK;

#[derive(Clone)]
pub enum Reply {
    /// These bytes.
    Raw(Vec<u8>),
    /// Nothing, for ever.
    Hang,
    /// The head, then one byte of the body, then nothing.
    Drip,
    /// The request is read, then the connection is reset.
    Reset,
    /// So many bytes; how many could be written is told by [`Server::written`].
    Huge(usize),
}

impl Reply {
    pub fn ok(body: &str) -> Self {
        Self::status("200 OK", body)
    }

    pub fn status(status: &str, body: &str) -> Self {
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\nX-Test: yes\r\nContent-Length: {length}\r\n\r\n");
        Self::Raw((head + body).into_bytes())
    }
}

pub struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
    written: mpsc::Receiver<usize>,
    /// Dropped with the server: ends its thread.
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    pub fn start(reply: Reply) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let (tell, written) = mpsc::channel();
        let (log, count) = (seen.clone(), connections.clone());
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, reply.clone(), log.clone(), tell.clone()));
            }
        });
        Self { address, seen, connections, written, _runtime: runtime }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// All requests so far, head and body.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// How much of a huge answer could be written before the client closed.
    pub fn written(&self) -> usize {
        self.written.recv_timeout(STUCK).unwrap()
    }
}

async fn serve(
    mut stream: TcpStream,
    reply: Reply,
    log: Arc<Mutex<Vec<String>>>,
    tell: mpsc::Sender<usize>,
) {
    let mut pending = Vec::new();
    while let Some(request) = read(&mut stream, &mut pending).await {
        log.lock().unwrap().push(request);
        match &reply {
            Reply::Raw(bytes) => {
                if stream.write_all(bytes).await.is_err() {
                    return;
                }
            }
            Reply::Hang => std::future::pending().await,
            Reply::Drip => {
                let head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx";
                let _ = stream.write_all(head).await;
                std::future::pending().await
            }
            Reply::Reset => {
                stream.set_zero_linger().unwrap();
                return;
            }
            Reply::Huge(size) => {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
                let _ = stream.write_all(head.as_bytes()).await;
                let block = vec![b'x'; 64 * 1024];
                let mut sum = 0;
                while sum < *size && stream.write_all(&block).await.is_ok() {
                    sum += block.len();
                }
                tell.send(sum).unwrap();
                return;
            }
        }
    }
}

/// One request, by its Content-Length.
async fn read(stream: &mut TcpStream, pending: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(length) = whole(pending) {
            let request = pending.drain(..length).collect();
            return Some(String::from_utf8(request).unwrap());
        }
        if stream.read_buf(pending).await.ok()? == 0 {
            return None;
        }
    }
}

fn whole(bytes: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(bytes).unwrap();
    let head = text.find("\r\n\r\n")? + 4;
    let lower = text[..head].to_ascii_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length = length.map_or(0, |value| value.trim().parse().unwrap());
    (bytes.len() >= head + length).then_some(head + length)
}
