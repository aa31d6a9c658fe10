//! From a delivery to what goes out: a mail, or the call of a webhook.

use crate::error::{Error, Failure};
use crate::event::trace;
use crate::notify::settings::{self, Secrets, Settings, Smtp, Webhook};
use crate::notify::sign;
use crate::notify::{channel, secret};
use crate::noun::CHANNEL;
use automate_sender::{Attachment, HttpRequest, Kind, Mail, SmtpRequest, SmtpServer};
use serde_json::{Value, json};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use uuid::Uuid;

/// Longest time for a webhook.
const HOOK_DEADLINE: Duration = Duration::from_secs(30);
/// Longest time for a mail; servers let their clients wait for long.
const MAIL_DEADLINE: Duration = Duration::from_secs(300);
/// Shorter secrets are not looked for in answers: they would hide half of the text.
const SHORTEST_HIDDEN: usize = 4;

/// A rendered message.
pub struct Notification {
    pub template: String,
    pub subject: String,
    pub body: String,
    pub html: Option<String>,
    pub data: Value,
    pub at: String,
    pub attachments: Vec<Attachment>,
}

/// A channel with its secrets, for as long as a batch is prepared; or why it cannot be used.
pub struct Channel {
    name: String,
    usable: Result<(Settings, Secrets), Failure>,
    /// Texts that must not appear in what is recorded.
    pub hidden: Rc<Vec<String>>,
}

impl Channel {
    /// A channel that was dropped.
    pub fn gone(name: &str) -> Channel {
        let failure = Error::missing(format!("channel \"{name}\" was dropped"))
            .with_hint("Make a channel with automate.create_channel and notify again.")
            .into();
        Channel { name: name.to_owned(), usable: Err(failure), hidden: Rc::default() }
    }

    /// Puts a channel together from its row.
    pub fn read(
        id: Uuid,
        name: String,
        kind: &str,
        config: &Value,
        active: bool,
        has_secrets: bool,
        sealed: Option<Vec<u8>>,
    ) -> Channel {
        let mut hidden = Vec::new();
        let usable = if active {
            open(id, &name, kind, config, has_secrets, sealed, &mut hidden).map_err(Failure::from)
        } else {
            Err(channel::disabled(&name).into())
        };
        Channel { name, usable, hidden: Rc::new(hidden) }
    }
}

fn open(
    id: Uuid,
    name: &str,
    kind: &str,
    config: &Value,
    has_secrets: bool,
    sealed: Option<Vec<u8>>,
    hidden: &mut Vec<String>,
) -> Result<(Settings, Secrets), Error> {
    let what = format!("channel \"{name}\"");
    let mut problems = Vec::new();
    let settings = settings::read(kind, config, None, &mut problems);
    let secrets = match sealed {
        Some(sealed) => {
            let plain = secret::open(&channel::KEEPER, id, &sealed)?;
            let value: Value = serde_json::from_str(&plain).unwrap_or(Value::Null);
            collect_texts(&value, hidden);
            settings::read_secrets(kind, &value, &mut problems)
        }
        None if has_secrets => {
            return Err(Error::missing(format!("secrets of {what} are not in this database"))
                .with_hint(
                    "A dump holds no secrets: give them again with automate.alter_channel().",
                ));
        }
        None => Secrets::default(),
    };
    match settings {
        Some(settings) if problems.is_empty() => Ok((settings, secrets)),
        _ => Err(Error::problems(&what, &problems, CHANNEL.help)),
    }
}

fn collect_texts(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) if text.len() >= SHORTEST_HIDDEN => texts.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| collect_texts(item, texts)),
        Value::Object(map) => map.values().for_each(|item| collect_texts(item, texts)),
        _ => {}
    }
}

/// A message on its way to one recipient.
pub struct Delivery {
    pub id: Uuid,
    pub recipient: String,
    /// The trace that it belongs to.
    pub traceparent: Option<String>,
    /// The owner of the delivery may still use the channel.
    pub allowed: bool,
    pub notification: Rc<Notification>,
    pub channel: Rc<Channel>,
}

impl Delivery {
    /// The request, and how long it may take.
    pub fn build(self) -> Result<(Duration, Kind), Failure> {
        let (settings, secrets) = self.channel.usable.as_ref().map_err(Failure::clone)?;
        if !self.allowed {
            let message =
                format!("channel \"{}\" may no longer be used by the owner", self.channel.name);
            return Err(Error::forbidden(message)
                .with_hint("GRANT the role of the channel's owner to the owner of the delivery.")
                .into());
        }
        match settings {
            Settings::Smtp(smtp) => Ok((MAIL_DEADLINE, Kind::Smtp(self.mail(smtp, secrets)))),
            Settings::Webhook(hook) => Ok((HOOK_DEADLINE, Kind::Http(self.hook(hook, secrets)))),
            Settings::Log { .. } => {
                Err(Failure::internal("a channel of kind log has nothing to send"))
            }
        }
    }

    fn mail(&self, smtp: &Smtp, secrets: &Secrets) -> SmtpRequest {
        let n = &self.notification;
        let attachments = n.attachments.iter().map(|a| Attachment {
            name: a.name.clone(),
            mime: a.mime.clone(),
            bytes: a.bytes.clone(),
        });
        SmtpRequest {
            server: SmtpServer {
                host: smtp.host.clone(),
                port: smtp.port,
                tls: smtp.tls,
                user: smtp.user.clone(),
                password: secrets.password.clone(),
                from: smtp.from.clone(),
                max_connections: smtp.connections,
            },
            to: vec![self.recipient.clone()],
            message: Mail {
                from: smtp.from.clone(),
                to: Vec::new(),
                subject: n.subject.clone(),
                text: n.body.clone(),
                html: n.html.clone(),
                attachments: attachments.collect(),
                message_id: format!("<{}@pg-automate>", self.id),
                headers: vec![("Auto-Submitted".to_owned(), "auto-generated".to_owned())],
            },
        }
    }

    fn hook(&self, hook: &Webhook, secrets: &Secrets) -> HttpRequest {
        let n = &self.notification;
        let mut body = json!({
            "id": self.id,
            "type": n.template,
            "timestamp": n.at,
            "subject": n.subject,
            "body": n.body,
            "data": n.data,
        });
        if !self.recipient.is_empty() {
            body["recipient"] = Value::from(self.recipient.as_str());
        }
        let body = body.to_string().into_bytes();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let mut headers = vec![
            ("content-type".to_owned(), "application/json".to_owned()),
            ("idempotency-key".to_owned(), self.id.to_string()),
        ];
        headers.extend(sign::headers(&secrets.signing, self.id, now, &body));
        headers.extend(hook.headers.iter().chain(&secrets.headers).cloned());
        // What the channel says itself goes first.
        if let Some(traceparent) = &self.traceparent
            && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(trace::HEADER))
        {
            headers.push((trace::HEADER.to_owned(), traceparent.clone()));
        }
        HttpRequest {
            method: "POST".to_owned(),
            url: hook.url.clone(),
            headers,
            body,
            // Only an excerpt is kept.
            max_response_bytes: Some(4096),
        }
    }
}
