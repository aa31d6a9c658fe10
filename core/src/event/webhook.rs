//! What comes in by a webhook, as Standard Webhooks 1.0 defines it: its headers, its age, and the name
//! of the event that it becomes.

use crate::object::{Object, kind};
use crate::problem::Problem;
use crate::schedule::parse_duration;
use serde_json::{Map, Value};

/// Longest `webhook-id`, in bytes.
const MAX_ID: usize = 256;
/// How far from now a message may have been sent, unless its source says otherwise.
const TOLERANCE_S: i64 = 300;
const MAX_TOLERANCE_S: i64 = 86_400;

const ID: &str = "webhook-id";
const TIMESTAMP: &str = "webhook-timestamp";
const SIGNATURE: &str = "webhook-signature";

/// The headers of a message.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    pub id: String,
    /// As it was signed.
    pub timestamp: String,
    /// The same, in seconds of Unix.
    pub sent_at: i64,
    pub signatures: String,
}

impl Message {
    /// Reads the headers that matter, whatever the case of their names. A value is a text, or an
    /// array with one text, as some gateways give them.
    pub fn read(headers: &Value) -> Result<Message, String> {
        let Value::Object(map) = headers else {
            return Err(format!("headers must be an object, not {}", kind(headers)));
        };
        let id = header(map, ID)?;
        if id.is_empty() || id.len() > MAX_ID {
            return Err(format!("header {ID} must have 1 to {MAX_ID} bytes"));
        }
        let timestamp = header(map, TIMESTAMP)?;
        let digits = !timestamp.is_empty() && timestamp.bytes().all(|b| b.is_ascii_digit());
        let sent_at = timestamp.parse().ok().filter(|_| digits);
        let sent_at = sent_at.ok_or(format!("header {TIMESTAMP} must be seconds since 1970"))?;
        Ok(Message { id, timestamp, sent_at, signatures: header(map, SIGNATURE)? })
    }
}

fn header(map: &Map<String, Value>, wanted: &str) -> Result<String, String> {
    let mut named = map.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
    let (Some((_, value)), None) = (named.next(), named.next()) else {
        return Err(format!("header {wanted} must be there, and once"));
    };
    let value = match value {
        Value::Array(items) if items.len() == 1 => &items[0],
        other => other,
    };
    match value {
        Value::String(text) => Ok(text.trim().to_owned()),
        Value::Number(number) => Ok(number.to_string()),
        other => Err(format!("header {wanted} must be a text, not {}", kind(other))),
    }
}

/// What may be said of a source.
#[derive(Debug, PartialEq, Eq)]
pub struct Options {
    /// How old a message may be, or how far ahead of our clock, in seconds.
    pub tolerance_s: i64,
    /// The key of a body that names its event.
    pub event_from: Option<String>,
}

/// Reads options; what is wrong with them goes to `problems`.
pub fn read_options(value: &Value, event: &str, problems: &mut Vec<Problem>) -> Options {
    let mut options = Options { tolerance_s: TOLERANCE_S, event_from: None };
    let mut found = Vec::new();
    if let Some(mut object) = Object::open(value, "", problems) {
        object.allow(&["tolerance", "event_from"]);
        options.event_from = object.string("event_from").map(str::to_owned);
        if let Some(text) = object.string("tolerance") {
            match parse_duration(text).map(|d| d.num_seconds()) {
                Ok(seconds) if (1..=MAX_TOLERANCE_S).contains(&seconds) => {
                    options.tolerance_s = seconds;
                }
                Ok(_) => found.push(
                    Problem::error("/tolerance", "out_of_range", "tolerance must be 1 s to 1 day")
                        .with_hint(
                            "5 minutes is usual: it bounds how late a copy can be sent again.",
                        ),
                ),
                Err(e) => found.push(Problem::error("/tolerance", "bad_duration", e.to_string())),
            }
        }
    }
    let stars = event.matches('*').count();
    match (&options.event_from, stars) {
        (Some(_), 1) | (None, 0) => {}
        (Some(key), _) => found.push(
            Problem::error("/event_from", "no_place", "the event must have one * for the name")
                .with_hint(format!("Write event => 'shop.*' to put the text of {key} there.")),
        ),
        (None, _) => found.push(
            Problem::error("/event_from", "missing", "an event with * needs event_from")
                .with_hint("Name the key of the body that says which event it is, such as {\"event_from\": \"type\"}."),
        ),
    }
    problems.extend(found);
    options
}

/// The name of the event that a body becomes.
pub fn event_name(event: &str, event_from: Option<&str>, body: &Value) -> Result<String, String> {
    let Some(key) = event_from else { return Ok(event.to_owned()) };
    match body.get(key).and_then(Value::as_str) {
        Some(name) if !name.is_empty() => Ok(event.replacen('*', name, 1)),
        _ => Err(format!("the body has no text at \"{key}\", which names the event")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn headers_are_read_whatever_their_case() {
        let headers = json!({
            "Webhook-Id": "m", "WEBHOOK-TIMESTAMP": ["1614265330"], "webhook-signature": "v1,x v1,y",
            "content-type": "application/json",
        });
        let message = Message::read(&headers);
        assert_eq!(
            message,
            Ok(Message {
                id: "m".into(),
                timestamp: "1614265330".into(),
                sent_at: 1_614_265_330,
                signatures: "v1,x v1,y".into(),
            })
        );
    }

    #[test]
    fn headers_that_are_missing_or_malformed_are_named() {
        let good = json!({"webhook-id": "m", "webhook-timestamp": 1, "webhook-signature": "v1,x"});
        assert!(Message::read(&good).is_ok());
        let with = |key: &str, value: Value| {
            let mut headers = good.clone();
            headers[key] = value;
            Message::read(&headers).map(|_| ()).map_err(|e| e.contains(&key.to_ascii_lowercase()))
        };
        for (key, value) in [
            ("webhook-id", json!("")),
            ("webhook-id", json!("x".repeat(300))),
            ("webhook-id", json!(null)),
            ("Webhook-Id", json!("twice")),
            ("webhook-timestamp", json!("-1")),
            ("webhook-timestamp", json!("1e3")),
            ("webhook-timestamp", json!("99999999999999999999999")),
            ("webhook-signature", json!(["a", "b"])),
        ] {
            assert_eq!(with(key, value.clone()), Err(true), "{key}: {value}");
        }
        for bad in [json!([]), json!({}), json!({"webhook-id": "m"})] {
            assert!(Message::read(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn options_are_checked_with_the_event() {
        let read = |value: Value, event: &str| {
            let mut problems = Vec::new();
            let options = read_options(&value, event, &mut problems);
            (options, problems.into_iter().map(|p| p.pointer).collect::<Vec<_>>())
        };
        let (options, problems) =
            read(json!({"tolerance": "10 min", "event_from": "type"}), "shop.*");
        assert!(problems.is_empty());
        assert_eq!(options, Options { tolerance_s: 600, event_from: Some("type".into()) });
        assert_eq!(read(json!({}), "paid").0.tolerance_s, 300);
        assert_eq!(read(json!({}), "shop.*").1, ["/event_from"]);
        assert_eq!(read(json!({"event_from": "type"}), "paid").1, ["/event_from"]);
        assert_eq!(read(json!({"tolerance": "2 days"}), "paid").1, ["/tolerance"]);
        assert_eq!(read(json!({"tolerence": "2 min"}), "paid").1, ["/tolerence"]);
        assert_eq!(read(json!([]), "paid").1, [""]);
    }

    #[test]
    fn a_body_can_name_its_event() {
        assert_eq!(event_name("paid", None, &json!(1)), Ok("paid".into()));
        assert_eq!(
            event_name("shop.*", Some("type"), &json!({"type": "paid"})),
            Ok("shop.paid".into())
        );
        assert!(event_name("shop.*", Some("type"), &json!({"type": 1})).is_err());
        assert!(event_name("shop.*", Some("type"), &json!([])).is_err());
    }
}
