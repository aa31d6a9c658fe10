//! The few lines in clear before STARTTLS.
//!
//! They are our own because what a server sends in clear behind its consent must not be taken for
//! something it said in TLS: such bytes end the connection here.

use lettre::transport::smtp::extension::ClientId;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::failure::{one_line, peer};
use crate::outcome::{Class, Failure};
use crate::request::SmtpServer;

/// Longest reply that is read.
const REPLY: u64 = 16 * 1024;

/// A reply: its code and its lines without it.
struct Reply {
    code: u16,
    lines: Vec<String>,
}

/// Greets, asks for TLS, and hands the stream back at the point where TLS begins.
pub(crate) async fn starttls(
    stream: TcpStream,
    server: &SmtpServer,
    hello: &ClientId,
) -> Result<TcpStream, Failure> {
    let mut stream = BufReader::new(stream);
    expect(&mut stream, None, 220, server).await?;
    let hello = format!("EHLO {hello}\r\n");
    let offered = expect(&mut stream, Some(&hello), 250, server).await?;
    // The first line is the server's name.
    let offers = offered.lines.iter().skip(1).any(|line| {
        line.split_ascii_whitespace()
            .next()
            .is_some_and(|word| word.eq_ignore_ascii_case("STARTTLS"))
    });
    if !offers {
        return Err(Failure::permanent(format!(
            "{} does not offer STARTTLS, and nothing is sent without TLS",
            peer(server)
        ))
        .hint("Use the server's port for implicit TLS, or mark the server as insecure."));
    }
    expect(&mut stream, Some("STARTTLS\r\n"), 220, server).await?;
    if !stream.buffer().is_empty() {
        return Err(Failure::transient(format!(
            "{} sent data in clear after it agreed to TLS",
            peer(server)
        )));
    }
    Ok(stream.into_inner())
}

async fn expect(
    stream: &mut BufReader<TcpStream>,
    command: Option<&str>,
    code: u16,
    server: &SmtpServer,
) -> Result<Reply, Failure> {
    let step = command
        .map_or("the connection", |line| line.split_ascii_whitespace().next().unwrap_or_default());
    if let Some(command) = command {
        stream.write_all(command.as_bytes()).await.map_err(|error| {
            Failure::transient(format!("connection to {} failed at {step}: {error}", peer(server)))
        })?;
    }
    let reply = read(stream).await.map_err(|reason| {
        Failure::transient(format!("connection to {} failed at {step}: {reason}", peer(server)))
    })?;
    if reply.code == code {
        return Ok(reply);
    }
    let class = if reply.code >= 500 { Class::Permanent } else { Class::Transient };
    let text = one_line(&reply.lines.join(" "), server);
    let message = format!("{} answered {} to {step}: {text}", peer(server), reply.code);
    Err(Failure::new(class, message).code(reply.code))
}

/// Reads `ddd-text` lines up to and including a `ddd text` one.
async fn read(stream: &mut (impl AsyncBufRead + Unpin)) -> Result<Reply, String> {
    let mut limited = stream.take(REPLY);
    let mut lines = Vec::new();
    loop {
        let mut line = Vec::new();
        let count =
            limited.read_until(b'\n', &mut line).await.map_err(|error| error.to_string())?;
        if count == 0 || line.last() != Some(&b'\n') {
            let long = limited.limit() == 0;
            return Err(if long { "the reply is too long" } else { "it was closed" }.to_owned());
        }
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end();
        let code = line.get(..3).and_then(|digits| digits.parse::<u16>().ok());
        let (Some(code @ 200..=599), Some(rest)) = (code, line.get(3..)) else {
            return Err("the reply is not SMTP".to_owned());
        };
        lines.push(rest.get(1..).unwrap_or_default().to_owned());
        if !rest.starts_with('-') {
            return Ok(Reply { code, lines });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(bytes: &[u8]) -> Result<Reply, String> {
        let mut bytes = bytes;
        futures_util::FutureExt::now_or_never(read(&mut bytes)).unwrap()
    }

    #[test]
    fn replies_may_have_many_lines() {
        let reply = reply(b"250-mx.example.com\r\n250-SIZE 1000\r\n250 STARTTLS\r\n").unwrap();
        assert_eq!(reply.code, 250);
        assert_eq!(reply.lines, ["mx.example.com", "SIZE 1000", "STARTTLS"]);
    }

    #[test]
    fn a_bare_code_is_a_reply() {
        assert_eq!(reply(b"220\r\n").unwrap().code, 220);
    }

    #[test]
    fn what_is_not_smtp_is_an_error_and_never_a_panic() {
        let long = [b"250-".as_slice(), &[b'a'; 20_000], b"\r\n"].concat();
        for bytes in [
            b"".as_slice(),
            b"220",
            b"\r\n",
            b"HTTP/1.1 400 Bad Request\r\n",
            b"999 no\r\n",
            "2ä0 x\r\n".as_bytes(),
            "220ä\r\n250-a".as_bytes(),
            b"250-a\r\n",
            &[0xff; 64],
            &long,
            &b"250-a\r\n".repeat(10_000),
        ] {
            // "220ä" is a complete reply; its text only lacks the separating blank.
            match reply(bytes) {
                Ok(reply) => assert_eq!(reply.code, 220),
                Err(reason) => assert!(!reason.is_empty()),
            }
        }
        assert_eq!(reply(&long).err().unwrap(), "the reply is too long");
        assert_eq!(reply(b"250-a\r\n").err().unwrap(), "it was closed");
    }
}
