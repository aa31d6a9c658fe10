//! Request headers: typed, without control characters, and none that would frame the message.

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use crate::outcome::Failure;

/// Set by the client itself; a second opinion would let a request hide another one in it, or
/// reach a virtual host that was never checked.
const OWN: [&str; 11] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Checks and converts. Errors name the header, never its value.
pub(crate) fn build(pairs: &[(String, String)]) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::with_capacity(pairs.len());
    for (name, value) in pairs {
        let shown = name.escape_debug().take(80).collect::<String>();
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
            Failure::permanent(format!("HTTP header name \"{shown}\" is not valid"))
        })?;
        if OWN.contains(&key.as_str()) {
            return Err(Failure::permanent(format!(
                "HTTP header \"{shown}\" is set by the sender and cannot be given"
            )));
        }
        let mut value = HeaderValue::from_str(value).map_err(|_| {
            Failure::permanent(format!(
                "value of HTTP header \"{shown}\" holds a control character"
            ))
        })?;
        value.set_sensitive(key == AUTHORIZATION);
        headers.try_append(key, value).map_err(|_| Failure::permanent("too many HTTP headers"))?;
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, value: &str) -> Result<HeaderMap, Failure> {
        build(&[(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn values_cannot_start_a_new_header() {
        for value in ["a\r\nX: b", "a\nb", "a\rb", "a\0b", "a\x7fb"] {
            let failure = one("X-Token", value).unwrap_err();
            assert_eq!(
                failure.message,
                "value of HTTP header \"X-Token\" holds a control character"
            );
        }
    }

    #[test]
    fn names_cannot_hold_anything_but_a_name() {
        for name in ["", "a b", "a:b", "a\r\nb", "ä"] {
            assert!(one(name, "v").unwrap_err().message.contains("is not valid"), "{name:?}");
        }
    }

    #[test]
    fn framing_headers_are_refused_in_any_case() {
        for name in OWN {
            assert!(one(&name.to_uppercase(), "v").is_err(), "{name}");
        }
    }

    #[test]
    fn the_same_name_may_come_twice() {
        let pair = |value: &str| ("x-a".to_owned(), value.to_owned());
        let headers = build(&[pair("1"), pair("2")]).unwrap();
        assert_eq!(headers.get_all("x-a").iter().count(), 2);
    }
}
