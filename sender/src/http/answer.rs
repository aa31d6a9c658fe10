//! From an HTTP answer to a response or a failure.

use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Response as Answer, StatusCode};

use super::failure;
use crate::outcome::{Class, Failure, Response};

/// Headers beyond this many bytes are dropped.
const HEADER_BYTES: usize = 32 * 1024;

/// Longer wishes are cut: a week.
const LONGEST_WAIT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Reads up to `cap` bytes of the body and judges the status.
pub(crate) async fn read(answer: Answer, cap: usize, peer: &str) -> Result<Response, Failure> {
    let status = answer.status();
    let retry_after = retry_after(answer.headers(), SystemTime::now());
    let (headers, cut) = keep(answer.headers());
    let (body, more, broken) = body(answer, cap).await;
    let truncated = cut || more;
    if status.is_success() {
        return match broken {
            None => Ok(Response { status: status.as_u16(), headers, body, truncated }),
            Some(error) => Err(Failure {
                headers,
                body,
                truncated: true,
                ..failure::of(&error, peer).code(status.as_u16()).sent(true)
            }),
        };
    }
    // The status alone says what to do; a body that broke off only shortens the excerpt.
    let truncated = truncated || broken.is_some();
    let class = class(status);
    let retry_after = retry_after.filter(|_| class == Class::Transient);
    let failure = Failure::new(class, message(status, peer)).code(status.as_u16()).sent(true);
    Err(Failure { retry_after, headers, body, truncated, ..failure })
}

/// The body up to `cap`, whether there was more, and the error that ended it early. Dropping the
/// answer with more to come closes its connection, so nothing further is read.
async fn body(mut answer: Answer, cap: usize) -> (Vec<u8>, bool, Option<reqwest::Error>) {
    let mut body = Vec::new();
    loop {
        match answer.chunk().await {
            Ok(Some(chunk)) => {
                let room = cap - body.len();
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if chunk.len() > room {
                    return (body, true, None);
                }
            }
            Ok(None) => return (body, false, None),
            Err(error) => return (body, false, Some(error)),
        }
    }
}

fn keep(map: &HeaderMap) -> (Vec<(String, String)>, bool) {
    let mut room = HEADER_BYTES;
    let mut headers = Vec::with_capacity(map.len());
    for (name, value) in map {
        let value = String::from_utf8_lossy(value.as_bytes());
        let size = name.as_str().len() + value.len();
        if size > room {
            return (headers, true);
        }
        room -= size;
        headers.push((name.as_str().to_owned(), value.into_owned()));
    }
    (headers, false)
}

fn class(status: StatusCode) -> Class {
    match status.as_u16() {
        408 | 425 | 429 => Class::Transient,
        code if code >= 500 => Class::Transient,
        _ => Class::Permanent,
    }
}

fn message(status: StatusCode, peer: &str) -> String {
    if status.is_redirection() {
        return format!("{peer} answered {status}; redirects are not followed");
    }
    format!("{peer} answered {status}")
}

/// Seconds or an HTTP date; a date in the past means now.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a u64 holds is a very long time.
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default()
    };
    Some(wait.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(value: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, value.parse().unwrap());
        // Sun, 06 Nov 1994 08:49:00 GMT
        retry_after(&headers, SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_740))
    }

    #[test]
    fn retry_after_takes_seconds_and_dates() {
        assert_eq!(wait("120"), Some(Duration::from_secs(120)));
        assert_eq!(wait("0"), Some(Duration::ZERO));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(37)));
        assert_eq!(wait("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
    }

    #[test]
    fn retry_after_is_bounded_and_forgiving() {
        assert_eq!(wait("99999999999999999999999999"), Some(LONGEST_WAIT));
        assert_eq!(wait("Fri, 31 Dec 9999 23:59:59 GMT"), Some(LONGEST_WAIT));
        for text in ["", "-1", "soon", "1.5", "１２"] {
            let mut headers = HeaderMap::new();
            let value = reqwest::header::HeaderValue::from_bytes(text.as_bytes()).unwrap();
            headers.insert(RETRY_AFTER, value);
            assert_eq!(retry_after(&headers, SystemTime::now()), None, "{text:?}");
        }
    }

    #[test]
    fn every_status_has_a_class() {
        let class = |code: u16| class(StatusCode::from_u16(code).unwrap());
        for code in [300, 301, 302, 304, 307, 308, 400, 401, 403, 404, 409, 410, 422, 451] {
            assert_eq!(class(code), Class::Permanent, "{code}");
        }
        for code in [408, 425, 429, 500, 501, 502, 503, 504, 520, 599] {
            assert_eq!(class(code), Class::Transient, "{code}");
        }
    }
}
