//! `authentication` of an endpoint: basic, bearer, and OAuth2 with client credentials.

use super::Walk;
use crate::jq::Template;
use crate::suggest;
use crate::workflow::command::SecretRef;
use crate::workflow::definition::{Auth, OAuth2, TextSource};
use serde_json::{Map, Value, json};

const SCHEMES: [&str; 3] = ["basic", "bearer", "oauth2"];
const OAUTH2_KEYS: [&str; 7] =
    ["authority", "endpoints", "grant", "client", "request", "scopes", "audiences"];
/// What only other grants have, or nobody checks here.
const OAUTH2_REFUSED: [&str; 5] = ["issuers", "username", "password", "subject", "actor"];

impl Walk<'_> {
    pub(super) fn authentication(&mut self, value: &Value, at: &str) -> Option<Auth> {
        let map = self.object(value, at)?;
        if let Some(name) = map.get("use") {
            self.keys(map, at, &["use"], &[]);
            let name = self.constant_text(name, &format!("{at}/use"))?;
            let (shared, place) = self.shared("authentications", &name, &format!("{at}/use"))?;
            let policy = self.object(shared, &place)?;
            return self.policy(policy, &place);
        }
        self.policy(map, at)
    }

    fn policy(&mut self, map: &Map<String, Value>, at: &str) -> Option<Auth> {
        for (scheme, hint) in [
            ("digest", "Use basic over https, or a bearer token."),
            ("oidc", "Use oauth2 with the address of the token endpoint."),
        ] {
            if map.contains_key(scheme) {
                self.unsupported(&format!("{at}/{scheme}"), &format!("\"{scheme}\""), hint);
                return None;
            }
        }
        self.keys(map, at, &SCHEMES, &["digest", "oidc"]);
        let Some((scheme, value)) = SCHEMES.iter().find_map(|s| map.get_key_value(*s)) else {
            let hint = suggest::hint("", &SCHEMES);
            self.problem(at, "missing_key", "an authentication needs a scheme", hint);
            return None;
        };
        let at = format!("{at}/{scheme}");
        let map = self.object(value, &at)?;
        let whole = match map.get("use") {
            Some(name) => {
                self.keys(map, &at, &["use"], &[]);
                let name = self.constant_text(name, &format!("{at}/use"))?;
                Some(self.secret(&name, Vec::new(), &format!("{at}/use"))?)
            }
            None => None,
        };
        match scheme.as_str() {
            "basic" => {
                let username = self.credential(map, whole.as_ref(), &at, "username");
                let password = self.credential(map, whole.as_ref(), &at, "password");
                self.keys(map, &at, &["use", "username", "password"], &[]);
                Some(Auth::Basic { username: username?, password: password? })
            }
            "bearer" => {
                self.keys(map, &at, &["use", "token"], &[]);
                self.credential(map, whole.as_ref(), &at, "token").map(Auth::Bearer)
            }
            _ if whole.is_some() => {
                let hint = "Write authority, grant and client out, with secrets in client.";
                self.unsupported(&format!("{at}/use"), "a secret as a whole oauth2 policy", hint);
                None
            }
            _ => self.oauth2(map, &at),
        }
    }

    fn oauth2(&mut self, map: &Map<String, Value>, at: &str) -> Option<Auth> {
        for key in OAUTH2_REFUSED.iter().filter(|k| map.contains_key(**k)) {
            let hint = "Client credentials need authority, grant and client.";
            self.unsupported(&format!("{at}/{key}"), &format!("\"oauth2.{key}\""), hint);
        }
        self.keys(map, at, &OAUTH2_KEYS, &OAUTH2_REFUSED);
        if map.get("grant").and_then(Value::as_str) != Some("client_credentials") {
            let what = "another grant than client_credentials";
            self.unsupported(&format!("{at}/grant"), what, "Write \"client_credentials\".");
        }
        let token_url = self.token_url(map, at);
        let place = format!("{at}/client");
        let client = self.object(map.get("client").unwrap_or(&Value::Null), &place)?;
        self.keys(client, &place, &["id", "secret", "authentication"], &["assertion"]);
        if client.contains_key("assertion") {
            let hint = "Give the client a secret.";
            self.unsupported(&format!("{place}/assertion"), "\"client.assertion\"", hint);
        }
        let ways = [("client_secret_post", false), ("client_secret_basic", true)];
        let basic = self.choice(client, &place, "authentication", false, &ways);
        let client_id = self.credential(client, None, &place, "id");
        let client_secret = self.credential(client, None, &place, "secret");
        let place = format!("{at}/request");
        let empty = json!({});
        let request = self.object(map.get("request").unwrap_or(&empty), &place)?;
        self.keys(request, &place, &["encoding"], &[]);
        let encodings = [("application/x-www-form-urlencoded", false), ("application/json", true)];
        let json = self.choice(request, &place, "encoding", false, &encodings);
        let none = json!([]);
        let mut list = |key: &str| {
            let value = map.get(key).unwrap_or(&none);
            self.template(value, &format!("{at}/{key}"), &["output"])
        };
        let (scopes, audiences) = (list("scopes"), list("audiences"));
        Some(Auth::OAuth2(Box::new(OAuth2 {
            token_url: token_url?,
            client_id: client_id?,
            client_secret: client_secret?,
            basic: basic?,
            json: json?,
            scopes: scopes?,
            audiences: audiences?,
        })))
    }

    /// The address of the token endpoint: authority and path.
    fn token_url(&mut self, map: &Map<String, Value>, at: &str) -> Option<Template> {
        let place = format!("{at}/authority");
        let authority = self.constant_text(map.get("authority").unwrap_or(&Value::Null), &place)?;
        if !authority.starts_with("https://") && !authority.starts_with("http://") {
            let message = "an authority must start with https:// or http://";
            self.problem(&place, "invalid_endpoint", message, "Write the whole address.");
        }
        let place = format!("{at}/endpoints");
        let empty = json!({});
        let endpoints = self.object(map.get("endpoints").unwrap_or(&empty), &place)?;
        self.keys(endpoints, &place, &["token", "revocation", "introspection"], &[]);
        let path = match endpoints.get("token") {
            Some(path) => self.constant_text(path, &format!("{place}/token"))?,
            None => "/oauth2/token".to_owned(),
        };
        let url = match path.contains("://") {
            true => path,
            false => {
                format!("{}/{}", authority.trim_end_matches('/'), path.trim_start_matches('/'))
            }
        };
        self.template(&Value::from(url), at, &["output"])
    }

    /// A text of a policy; `whole` is the secret that has all of them.
    fn credential(
        &mut self,
        map: &Map<String, Value>,
        whole: Option<&SecretRef>,
        at: &str,
        key: &str,
    ) -> Option<TextSource> {
        if let Some(secret) = whole {
            let path = vec![key.to_owned()];
            return Some(TextSource::Secret(SecretRef { path, ..secret.clone() }));
        }
        let place = format!("{at}/{key}");
        let Some(value) = map.get(key) else {
            let message = format!("\"{key}\" is missing");
            let hint = "Write it, or \"${ $secrets.name }\".";
            self.problem(at, "missing_key", message, hint);
            return None;
        };
        if let Some(secret) = self.secret_of(value, &place) {
            return secret.map(TextSource::Secret);
        }
        self.template(value, &place, &["output"]).map(TextSource::Template)
    }
}
