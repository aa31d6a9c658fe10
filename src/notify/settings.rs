//! What a channel is configured to do: read from its JSON, with every problem named.

use automate_core::net::Allow;
use automate_core::object::{Object, below, wrong_kind};
use automate_core::problem::Problem;
use automate_core::suggest;
use automate_core::template::check_header_value;
use automate_sender::Tls;
use serde_json::Value;

use super::address;
use super::sign::SigningKey;

/// The kinds there are.
pub const KINDS: [&str; 3] = ["smtp", "webhook", "log"];

/// A channel's settings, by kind.
#[derive(Clone, Debug)]
pub enum Settings {
    Smtp(Smtp),
    Webhook(Webhook),
    /// Delivered at once, without network; with `server_log` also a line in the server's log.
    Log {
        server_log: bool,
    },
}

/// A mail server.
#[derive(Clone, Debug)]
pub struct Smtp {
    pub host: String,
    pub port: u16,
    pub tls: Tls,
    pub user: Option<String>,
    /// `Name <address>` or an address.
    pub from: String,
    pub connections: usize,
}

/// A URL that is told.
#[derive(Clone, Debug)]
pub struct Webhook {
    pub url: String,
    pub headers: Vec<(String, String)>,
}

/// Reads a configuration; `allow` is what may be reached, or None where that is not the question.
pub fn read(
    kind: &str,
    config: &Value,
    allow: Option<&Allow>,
    problems: &mut Vec<Problem>,
) -> Option<Settings> {
    match kind {
        "smtp" => read_smtp(config, allow, problems).map(Settings::Smtp),
        "webhook" => read_webhook(config, allow, problems).map(Settings::Webhook),
        "log" => {
            let mut object = Object::open(config, "", problems)?;
            object.allow(&["server_log"]);
            Some(Settings::Log { server_log: object.boolean("server_log").unwrap_or(false) })
        }
        other => {
            problems.push(
                Problem::error("", "unknown_kind", format!("unknown kind of channel \"{other}\""))
                    .with_hint(suggest::hint(other, &KINDS)),
            );
            None
        }
    }
}

fn read_smtp(config: &Value, allow: Option<&Allow>, problems: &mut Vec<Problem>) -> Option<Smtp> {
    let mut object = Object::open(config, "", problems)?;
    object.allow(&["host", "port", "tls", "user", "from", "connections"]);
    let host = object.required_string("host").map(str::to_owned);
    let from = object.required_string("from").map(str::to_owned);
    let user = object.string("user").map(str::to_owned);
    let tls_name = object.string("tls").unwrap_or("starttls").to_owned();
    let given_port = object.integer("port", 1, 65535);
    let connections = object.integer("connections", 1, 64).unwrap_or(4);
    let tls = match tls_name.as_str() {
        "starttls" => Tls::Required,
        "implicit" => Tls::Implicit,
        "none" => Tls::None,
        other => {
            problems.push(
                Problem::error("/tls", "unknown_value", format!("unknown way of TLS \"{other}\""))
                    .with_hint(suggest::hint(other, &["starttls", "implicit", "none"])),
            );
            return None;
        }
    };
    let usual = match tls {
        Tls::Required => 587,
        Tls::Implicit => 465,
        Tls::None => 25,
    };
    let port = u16::try_from(given_port.unwrap_or(usual)).unwrap_or(25);
    let (host, from) = (host?, from?);
    if let Some(allow) = allow
        && let Err(error) = allow.check_host(&host, port)
    {
        problems.push(refused("/host", error));
    }
    if let Err(reason) = address::check_mailbox(&from) {
        problems.push(
            Problem::error("/from", "bad_address", reason)
                .with_hint("Write it as \"Name <name@example.com>\" or \"name@example.com\"."),
        );
    }
    Some(Smtp {
        host,
        port,
        tls,
        user,
        from,
        connections: usize::try_from(connections).unwrap_or(4),
    })
}

fn read_webhook(
    config: &Value,
    allow: Option<&Allow>,
    problems: &mut Vec<Problem>,
) -> Option<Webhook> {
    let mut object = Object::open(config, "", problems)?;
    object.allow(&["url", "headers"]);
    let url = object.required_string("url").map(str::to_owned);
    let headers = object.get("headers");
    let headers = headers.map_or(Some(Vec::new()), |h| read_headers(h, "/headers", problems));
    let url = url?;
    if let Some(allow) = allow
        && let Err(error) = allow.check_url(&url)
    {
        problems.push(refused("/url", error));
    }
    Some(Webhook { url, headers: headers? })
}

fn refused(pointer: &str, error: automate_core::net::NetError) -> Problem {
    let problem = Problem::error(pointer, "not_allowed", error.message);
    match error.hint {
        Some(hint) => problem.with_hint(hint),
        None => problem,
    }
}

/// Headers that every webhook gets from us.
const OURS: [&str; 5] =
    ["content-type", "idempotency-key", "webhook-id", "webhook-signature", "webhook-timestamp"];

/// Headers as an object of strings. Values are never shown.
fn read_headers(
    value: &Value,
    pointer: &str,
    problems: &mut Vec<Problem>,
) -> Option<Vec<(String, String)>> {
    let Value::Object(map) = value else {
        wrong_kind(problems, pointer, "an object", value);
        return None;
    };
    let mut headers = Vec::with_capacity(map.len().min(100));
    for (name, value) in map {
        let at = below(pointer, name);
        let token = !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
        let Value::String(text) = value else {
            wrong_kind(problems, &at, "a string", value);
            continue;
        };
        if !token {
            problems.push(Problem::error(&at, "bad_header", "it is not a name of an HTTP header"));
        } else if OURS.contains(&name.to_ascii_lowercase().as_str()) {
            let message = format!("header \"{name}\" is set by pg_automate");
            problems.push(Problem::error(&at, "bad_header", message));
        } else if let Err(error) = check_header_value(text) {
            let message = format!("value of a header holds a {}", error.message);
            problems.push(Problem::error(&at, "bad_header", message));
        } else {
            headers.push((name.clone(), text.clone()));
        }
    }
    Some(headers)
}

/// A channel's secrets.
#[derive(Default)]
pub struct Secrets {
    pub password: Option<String>,
    pub signing: Vec<SigningKey>,
    pub headers: Vec<(String, String)>,
}

/// Reads secrets. No problem ever holds a value.
pub fn read_secrets(kind: &str, value: &Value, problems: &mut Vec<Problem>) -> Secrets {
    let known: &[&str] = match kind {
        "smtp" => &["password"],
        "webhook" => &["signing", "headers"],
        _ => &[],
    };
    let mut secrets = Secrets::default();
    let Some(mut object) = Object::open(value, "", problems) else { return secrets };
    if known.is_empty() {
        if let Some((name, _)) = object.entries().next() {
            let message = format!("a channel of kind {kind} has no secret \"{name}\"");
            problems
                .push(Problem::error("", "unknown_key", message).with_hint("Leave secrets out."));
        }
        return secrets;
    }
    object.allow(known);
    secrets.password = object.string("password").map(str::to_owned);
    let signing = object.strings("signing").unwrap_or_default();
    let headers = object.get("headers");
    for text in signing {
        match SigningKey::parse(&text) {
            Ok(key) => secrets.signing.push(key),
            Err(reason) => problems
                .push(Problem::error("/signing", "bad_secret", reason).with_hint(
                "It is \"whsec_\" and 24 to 64 random bytes in base64, such as: SELECT 'whsec_' || \
                 encode(sha256(gen_random_uuid()::text::bytea), 'base64').",
            )),
        }
    }
    if let Some(headers) = headers {
        secrets.headers = read_headers(headers, "/headers", problems).unwrap_or_default();
    }
    secrets
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn problems_of(kind: &str, config: Value) -> Vec<(String, &'static str)> {
        let allow = Allow::parse("*, 127.0.0.1").unwrap();
        let mut problems = Vec::new();
        read(kind, &config, Some(&allow), &mut problems);
        problems.into_iter().map(|p| (p.pointer, p.code)).collect()
    }

    #[test]
    fn every_problem_of_a_configuration_is_named() {
        assert_eq!(
            problems_of("smtp", json!({"hots": "x", "from": "nobody", "host": "10.0.0.1"})),
            [
                ("/hots".to_owned(), "unknown_key"),
                ("/host".to_owned(), "not_allowed"),
                ("/from".to_owned(), "bad_address"),
            ]
        );
        assert_eq!(problems_of("smpt", json!({})), [(String::new(), "unknown_kind")]);
        assert_eq!(
            problems_of(
                "webhook",
                json!({"url": "http://127.0.0.1/x", "headers": {"X": "a\r\nB: c"}})
            ),
            [("/headers/X".to_owned(), "bad_header")]
        );
        assert!(problems_of("log", json!({})).is_empty());
    }

    #[test]
    fn problems_of_secrets_hold_no_values() {
        let mut problems = Vec::new();
        let given = json!({"signing": "canary-1", "headers": {"X": "canary-2\n"}, "canary": 1});
        read_secrets("webhook", &given, &mut problems);
        assert_eq!(problems.len(), 3);
        assert!(problems.iter().all(|p| !p.message.contains("canary-")));
    }
}
