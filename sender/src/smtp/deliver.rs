//! One mail over an open connection.

use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{Extension, MailBodyParameter, MailParameter};

use super::failure::Broken;
use super::mail::Ready;
use crate::outcome::Response;
use crate::progress::{Progress, Step};

/// MAIL, RCPT, DATA, content. A recipient that is refused refuses the mail for all.
pub(crate) async fn deliver(
    connection: &mut AsyncSmtpConnection,
    mail: &Ready,
    progress: &Progress,
) -> Result<Response, Broken> {
    let from = mail.envelope.from().cloned();
    let at = |step: &str| {
        let step = step.to_owned();
        move |error| Broken { error, step, content: false }
    };
    let options = options(connection, mail);
    connection.command(Mail::new(from, options)).await.map_err(at("MAIL FROM"))?;
    for to in mail.envelope.to() {
        let command = Rcpt::new(to.clone(), Vec::new());
        let step = format!("RCPT TO <{to}>");
        connection.command(command).await.map_err(at(&step))?;
    }
    connection.command(Data).await.map_err(at("DATA"))?;
    progress.at(Step::Sending);
    let reply = connection.message(&mail.bytes).await.map_err(|error| {
        // An answer that refuses the mail is certain; without one the server may have it.
        let content = error.status().is_none();
        Broken { error, step: "the message".to_owned(), content }
    })?;
    let text = reply.message().collect::<Vec<_>>().join("\n");
    Ok(Response {
        status: u16::from(reply.code()),
        headers: Vec::new(),
        body: text.into_bytes(),
        truncated: false,
    })
}

/// A server that lacks an extension that the mail needs answers the plain command with an error of
/// its own, which says it better than we could.
fn options(connection: &AsyncSmtpConnection, mail: &Ready) -> Vec<MailParameter> {
    let offers = |extension| connection.server_info().supports_feature(extension);
    let foreign = std::iter::once(mail.envelope.from())
        .flatten()
        .chain(mail.envelope.to())
        .any(|address| !AsRef::<str>::as_ref(address).is_ascii());
    let mut options = Vec::new();
    if foreign && offers(Extension::SmtpUtfEight) {
        options.push(MailParameter::SmtpUtfEight);
    }
    if !mail.bytes.is_ascii() && offers(Extension::EightBitMime) {
        options.push(MailParameter::Body(MailBodyParameter::EightBitMime));
    }
    options
}
