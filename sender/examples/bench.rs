//! Measures requests per second against a URL, or mails per second against a port on loopback.
//!
//! ```text
//! bench http <url> [requests] [body bytes]
//! bench smtp <port> [mails] [connections] [body bytes]
//! ```
//! Prints one line with the rate and the latencies; fails unless every request succeeded.

use std::error::Error;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use automate_core::net::Allow;
use automate_sender::{
    Config, HttpRequest, Kind, Mail, Outcome, Request, Sender, SmtpRequest, SmtpServer, Tls,
};
use uuid::Uuid;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let text = |place: usize| args.get(place).map(String::as_str);
    let number = |place: usize, default: usize| match text(place) {
        Some(text) => text.parse::<usize>(),
        None => Ok(default),
    };
    match (text(0), text(1)) {
        (Some("http"), Some(url)) => {
            let body = vec![b'x'; number(3, 1000)?];
            run("HTTP requests", number(2, 20_000)?, || http(url, &body))
        }
        (Some("smtp"), Some(port)) => {
            let (port, connections) = (port.parse()?, number(3, 4)?);
            let body = "x".repeat(72) + "\n";
            let body = body.repeat(number(4, 1000)?.div_ceil(body.len()));
            run("mails", number(2, 1000)?, || smtp(port, connections, &body))
        }
        _ => Err("usage: bench http <url> [requests] [body bytes] | \
                  bench smtp <port> [mails] [connections] [body bytes]"
            .into()),
    }
}

fn run(what: &str, count: usize, make: impl Fn() -> Kind) -> Result<(), Box<dyn Error>> {
    let allow = Arc::new(Allow::parse("127.0.0.0/8")?);
    let sender = Sender::start(Config::default())?;
    let deadline = Duration::from_secs(600);
    let mut outcomes: Vec<Outcome> = Vec::with_capacity(count);
    let start = Instant::now();
    let mut submitted = 0;
    while outcomes.len() < count {
        while submitted < count {
            let request =
                Request { id: Uuid::now_v7(), allow: allow.clone(), deadline, kind: make() };
            if sender.submit(request).is_err() {
                break;
            }
            submitted += 1;
        }
        wait(sender.wake_fd())?;
        outcomes.extend(sender.drain());
    }
    let seconds = start.elapsed().as_secs_f64();
    if let Some(failure) = outcomes.iter().find_map(|outcome| outcome.result.as_ref().err()) {
        return Err(failure.message.clone().into());
    }
    let mut latencies: Vec<Duration> = outcomes.iter().map(|outcome| outcome.latency).collect();
    latencies.sort_unstable();
    let at = |share: usize| latencies.get(count * share / 100).copied().unwrap_or_default();
    let rate = count as f64 / seconds;
    println!("{count} {what} in {seconds:.2} s: {rate:.0}/s, p50 {:?}, p99 {:?}", at(50), at(99));
    Ok(())
}

fn wait(fd: RawFd) -> std::io::Result<()> {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd that lives here.
    match unsafe { libc::poll(&raw mut poll, 1, -1) } {
        1 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

fn http(url: &str, body: &[u8]) -> Kind {
    Kind::Http(HttpRequest {
        method: "POST".to_owned(),
        url: url.to_owned(),
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: body.to_vec(),
        max_response_bytes: None,
    })
}

fn smtp(port: u16, max_connections: usize, body: &str) -> Kind {
    let server = SmtpServer {
        host: "127.0.0.1".to_owned(),
        port,
        tls: Tls::None,
        user: None,
        password: None,
        from: "bench@example.com".to_owned(),
        max_connections,
    };
    let message = Mail {
        from: "Bench <bench@example.com>".to_owned(),
        to: Vec::new(),
        subject: "Bench".to_owned(),
        text: body.to_owned(),
        html: None,
        attachments: Vec::new(),
        message_id: format!("{}@bench.example.com", Uuid::now_v7()),
        headers: Vec::new(),
    };
    Kind::Smtp(SmtpRequest { server, to: vec!["anna@example.com".to_owned()], message })
}
