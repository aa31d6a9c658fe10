//! How a request proves who sends it, with its data filled in. Secrets stay names.

use super::WorkflowError;
use super::call::{expand, invalid};
use super::command::{Authentication, Text};
use super::definition::{Auth, TextSource};
use super::scope::Scope;
use crate::jq::Template;
use serde_json::Value;

pub(super) fn render(
    auth: &Auth,
    scope: &Scope<'_>,
    input: &Value,
) -> Result<Authentication, WorkflowError> {
    let text = |source: &TextSource| text(source, scope, input);
    Ok(match auth {
        Auth::Basic { username, password } => {
            Authentication::Basic { username: text(username)?, password: text(password)? }
        }
        Auth::Bearer(token) => Authentication::Bearer { token: text(token)? },
        Auth::OAuth2(oauth2) => Authentication::OAuth2 {
            token_url: match oauth2.token_url.constant().and_then(Value::as_str) {
                Some(url) => expand(url, input)?,
                None => plain(&scope.render(&oauth2.token_url, input)?)?,
            },
            client_id: text(&oauth2.client_id)?,
            client_secret: text(&oauth2.client_secret)?,
            basic: oauth2.basic,
            json: oauth2.json,
            scopes: texts(&oauth2.scopes, scope, input)?,
            audiences: texts(&oauth2.audiences, scope, input)?,
        },
    })
}

fn text(source: &TextSource, scope: &Scope<'_>, input: &Value) -> Result<Text, WorkflowError> {
    match source {
        TextSource::Secret(secret) => Ok(Text::Secret(secret.clone())),
        TextSource::Template(template) => plain(&scope.render(template, input)?).map(Text::Plain),
    }
}

fn texts(
    template: &Template,
    scope: &Scope<'_>,
    input: &Value,
) -> Result<Vec<String>, WorkflowError> {
    match scope.render(template, input)? {
        Value::Array(items) => items.iter().map(plain).collect(),
        _ => Err(invalid("scopes and audiences must be arrays of texts")),
    }
}

fn plain(value: &Value) -> Result<String, WorkflowError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        _ => Err(invalid("what a request authenticates with must be text")),
    }
}
