//! A small SMTP server whose answers are scripted.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// How the server departs from taking everything.
#[derive(Clone, Default)]
pub struct Script {
    /// Answers by command word (`GREETING` and `CONTENT` included); an empty one closes the
    /// connection, `hang` stays silent.
    pub answers: HashMap<&'static str, String>,
    /// Words of the EHLO answer.
    pub offers: Vec<&'static str>,
    /// Closes without a word after so many mails on a connection.
    pub mails_per_connection: Option<usize>,
    /// TLS from the first byte.
    pub implicit: Option<Arc<ServerConfig>>,
    /// TLS after STARTTLS.
    pub starttls: Option<Arc<ServerConfig>>,
}

impl Script {
    pub fn answer(word: &'static str, answer: &str) -> Self {
        Self { answers: HashMap::from([(word, answer.to_owned())]), ..Self::default() }
    }
}

#[derive(Default)]
struct Seen {
    lines: Mutex<Vec<String>>,
    mails: Mutex<Vec<String>>,
    connections: AtomicUsize,
    open: AtomicUsize,
    most_open: AtomicUsize,
}

pub struct Server {
    address: SocketAddr,
    seen: Arc<Seen>,
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    pub fn start(script: Script) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let log = seen.clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                log.connections.fetch_add(1, Ordering::SeqCst);
                let open = log.open.fetch_add(1, Ordering::SeqCst) + 1;
                log.most_open.fetch_max(open, Ordering::SeqCst);
                let (script, log) = (script.clone(), log.clone());
                tokio::spawn(async move {
                    serve(stream, &script, &log).await;
                    log.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, seen, _runtime: runtime }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// All command lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.seen.lines.lock().unwrap().clone()
    }

    pub fn count(&self, word: &str) -> usize {
        self.lines().iter().filter(|line| line.starts_with(word)).count()
    }

    /// All contents so far.
    pub fn mails(&self) -> Vec<String> {
        self.seen.mails.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    pub fn most_open(&self) -> usize {
        self.seen.most_open.load(Ordering::SeqCst)
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

async fn serve(stream: TcpStream, script: &Script, seen: &Seen) {
    let mut stream: Box<dyn Stream> = match &script.implicit {
        None => Box::new(stream),
        Some(config) => match TlsAcceptor::from(config.clone()).accept(stream).await {
            Ok(stream) => Box::new(stream),
            Err(_) => return,
        },
    };
    if !say(&mut stream, script, "GREETING", "220 test ESMTP").await {
        return;
    }
    let mut stream = BufReader::new(stream);
    let mut mails = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
        let line = line.trim_end().to_owned();
        seen.lines.lock().unwrap().push(line.clone());
        let word = line.split([' ', ':']).next().unwrap().to_ascii_uppercase();
        let usual = match word.as_str() {
            "EHLO" => ehlo(script),
            "MAIL" | "RCPT" | "RSET" | "NOOP" => "250 ok".to_owned(),
            "AUTH" => "235 welcome".to_owned(),
            "DATA" => "354 go on".to_owned(),
            "STARTTLS" => "220 go on".to_owned(),
            "QUIT" => "221 bye".to_owned(),
            _ => "500 what".to_owned(),
        };
        let refused = script.answers.contains_key(word.as_str());
        if !say(&mut stream, script, &word, &usual).await || word == "QUIT" {
            return;
        }
        if refused {
            continue;
        }
        if word == "STARTTLS" {
            let config = script.starttls.clone().unwrap();
            let accepted = TlsAcceptor::from(config).accept(stream.into_inner()).await;
            let Ok(secure) = accepted else { return };
            stream = BufReader::new(Box::new(secure));
        } else if word == "DATA" {
            let Some(mail) = content(&mut stream).await else { return };
            let accepted = !script.answers.contains_key("CONTENT");
            if !say(&mut stream, script, "CONTENT", "250 queued as 42").await {
                return;
            }
            if accepted {
                seen.mails.lock().unwrap().push(mail);
                mails += 1;
            }
            if script.mails_per_connection == Some(mails) {
                return;
            }
        }
    }
}

fn ehlo(script: &Script) -> String {
    let mut words = vec!["test"];
    words.extend(&script.offers);
    let last = words.len() - 1;
    let line = |(place, word): (usize, &&str)| {
        format!("250{}{word}", if place == last { ' ' } else { '-' })
    };
    words.iter().enumerate().map(line).collect::<Vec<_>>().join("\r\n")
}

/// Answers by the script; false when the connection ends here.
async fn say<S: AsyncWrite + Unpin>(
    stream: &mut S,
    script: &Script,
    word: &str,
    usual: &str,
) -> bool {
    let answer = script.answers.get(word).map_or(usual, String::as_str);
    if answer == "hang" {
        std::future::pending::<()>().await;
    }
    !answer.is_empty() && stream.write_all(format!("{answer}\r\n").as_bytes()).await.is_ok()
}

async fn content<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> Option<String> {
    let mut mail = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if line == ".\r\n" {
            return Some(mail);
        }
        mail.push_str(&line);
    }
}
