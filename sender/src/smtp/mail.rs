//! From a [`Mail`] to bytes and an envelope, through lettre's typed headers.

use lettre::Message;
use lettre::address::{Address, Envelope};
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Attachment as Part, Mailbox, MessageBuilder, MultiPart, SinglePart};

use crate::outcome::Failure;
use crate::request::{Attachment, Mail, SmtpServer};

/// A mail that can be sent as it is.
pub(crate) struct Ready {
    pub envelope: Envelope,
    pub bytes: Vec<u8>,
}

/// Headers that have a field of their own, or that say how the message is put together.
const OWN: [&str; 10] = [
    "bcc",
    "content-disposition",
    "content-transfer-encoding",
    "content-type",
    "date",
    "from",
    "message-id",
    "mime-version",
    "subject",
    "to",
];

/// Builds the message. Everything that is wrong with it is permanent.
pub(crate) fn build(mail: Mail, to: &[String], server: &SmtpServer) -> Result<Ready, Failure> {
    let envelope = envelope(to, server)?;
    let header_from = if mail.from.is_empty() { &server.from } else { &mail.from };
    let header_to = if mail.to.is_empty() { to } else { &mail.to };
    let mut builder = Message::builder()
        .envelope(envelope.clone())
        .from(mailbox(header_from, "sender")?)
        .message_id(Some(message_id(&mail.message_id)?))
        .subject(clean(mail.subject, "Subject")?);
    for recipient in header_to {
        builder = builder.to(mailbox(recipient, "recipient")?);
    }
    for (name, value) in mail.headers {
        builder = builder.raw_header(header(name, value)?);
    }
    let message = body(builder, mail.text, mail.html, mail.attachments)?;
    Ok(Ready { envelope, bytes: message.formatted() })
}

fn envelope(to: &[String], server: &SmtpServer) -> Result<Envelope, Failure> {
    let to = to
        .iter()
        .map(|text| mailbox(text, "recipient").map(|mailbox| mailbox.email))
        .collect::<Result<Vec<Address>, _>>()?;
    let from = mailbox(&server.from, "sender")?.email;
    Envelope::new(Some(from), to).map_err(|_| Failure::permanent("mail has no recipient"))
}

fn body(
    builder: MessageBuilder,
    text: String,
    html: Option<String>,
    attachments: Vec<Attachment>,
) -> Result<Message, Failure> {
    let files = attachments.into_iter().map(file).collect::<Result<Vec<_>, _>>()?;
    let message = match (html, files.is_empty()) {
        (None, true) => builder.singlepart(SinglePart::plain(text)),
        (Some(html), true) => builder.multipart(MultiPart::alternative_plain_html(text, html)),
        (html, false) => {
            let mixed = match html {
                None => MultiPart::mixed().singlepart(SinglePart::plain(text)),
                Some(html) => {
                    MultiPart::mixed().multipart(MultiPart::alternative_plain_html(text, html))
                }
            };
            builder.multipart(files.into_iter().fold(mixed, MultiPart::singlepart))
        }
    };
    message.map_err(|error| Failure::permanent(format!("mail is not valid: {error}")))
}

fn file(attachment: Attachment) -> Result<SinglePart, Failure> {
    let name = clean(attachment.name, "attachment name")?;
    let mime = clean(attachment.mime, "attachment type")?;
    let kind = ContentType::parse(&mime).map_err(|_| {
        Failure::permanent(format!("media type \"{mime}\" of attachment \"{name}\" is not valid"))
    })?;
    Ok(Part::new(name).body(attachment.bytes, kind))
}

fn mailbox(text: &str, role: &str) -> Result<Mailbox, Failure> {
    // The address itself may be shown: it is what the reader of the error must mend.
    let text = clean(text.to_owned(), role)?;
    text.parse::<Mailbox>().map_err(|error| {
        Failure::permanent(format!("{role} address \"{text}\" is not valid: {error}"))
    })
}

/// With angle brackets, in ASCII, without blanks.
fn message_id(text: &str) -> Result<String, Failure> {
    let bare = text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).unwrap_or(text);
    let valid = !bare.is_empty()
        && bare.len() <= 250
        && bare.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'<' && byte != b'>');
    if !valid {
        return Err(Failure::permanent("Message-ID of the mail is not valid"));
    }
    Ok(format!("<{bare}>"))
}

fn header(name: String, value: String) -> Result<HeaderValue, Failure> {
    let shown = name.escape_debug().take(80).collect::<String>();
    // lettre also takes control characters in a name, so the letters are checked here.
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    let key = HeaderName::new_from_ascii(name.clone()).ok().filter(|_| plain && !name.is_empty());
    let Some(key) = key else {
        return Err(Failure::permanent(format!("mail header name \"{shown}\" is not valid")));
    };
    if OWN.contains(&name.to_ascii_lowercase().as_str()) {
        return Err(Failure::permanent(format!(
            "mail header \"{shown}\" is set by the sender and cannot be given"
        )));
    }
    Ok(HeaderValue::new(key, clean(value, &shown)?))
}

/// Refuses what could end a header line, in any reader's opinion.
fn clean(text: String, what: &str) -> Result<String, Failure> {
    let ends = |c: char| c.is_control() || c == '\u{2028}' || c == '\u{2029}';
    if text.contains(ends) {
        return Err(Failure::permanent(format!("{what} of the mail holds a control character")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
