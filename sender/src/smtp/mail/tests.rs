use super::*;
use crate::request::Tls;

fn server() -> SmtpServer {
    SmtpServer {
        host: "mail.example.com".to_owned(),
        port: 587,
        tls: Tls::Required,
        user: None,
        password: None,
        from: "bot@example.com".to_owned(),
        max_connections: 0,
    }
}

fn mail() -> Mail {
    Mail {
        from: "Reports <bot@example.com>".to_owned(),
        to: Vec::new(),
        subject: "Grüße".to_owned(),
        text: "hello".to_owned(),
        html: None,
        attachments: Vec::new(),
        message_id: "0199@pg.example.com".to_owned(),
        headers: Vec::new(),
    }
}

fn text(mail: Mail) -> String {
    let ready = build(mail, &["Anna <anna@example.com>".to_owned()], &server()).unwrap();
    String::from_utf8(ready.bytes).unwrap()
}

fn refusal(mail: Mail) -> String {
    let failure = build(mail, &["anna@example.com".to_owned()], &server()).err().unwrap();
    assert_eq!(failure.class, crate::Class::Permanent);
    failure.message
}

#[test]
fn a_plain_mail_has_its_headers() {
    let text = text(mail());
    for line in [
        "From: Reports <bot@example.com>\r\n",
        "To: Anna <anna@example.com>\r\n",
        "Message-ID: <0199@pg.example.com>\r\n",
        "Subject: =?utf-8?b?R3LDvMOfZQ==?=\r\n",
        "MIME-Version: 1.0\r\n",
        "\r\n\r\nhello",
    ] {
        assert!(text.contains(line), "{line:?} is missing in {text}");
    }
}

#[test]
fn parts_nest_as_readers_expect() {
    let html = Some("<p>hello</p>".to_owned());
    let only = text(Mail { html: html.clone(), ..mail() });
    assert!(only.contains("multipart/alternative") && !only.contains("multipart/mixed"));
    let file = || Attachment {
        name: "umsätze.csv".to_owned(),
        mime: "text/csv".to_owned(),
        bytes: b"a;b".to_vec(),
    };
    let plain = text(Mail { attachments: vec![file()], ..mail() });
    assert!(plain.contains("multipart/mixed") && !plain.contains("multipart/alternative"));
    let all = text(Mail { html, attachments: vec![file(), file()], ..mail() });
    let place = |needle: &str| all.find(needle).unwrap_or_else(|| panic!("{needle} in {all}"));
    assert!(place("multipart/mixed") < place("multipart/alternative"));
    assert!(place("text/html") < place("text/csv"));
    assert_eq!(all.matches("Content-Disposition: attachment").count(), 2);
}

#[test]
fn nothing_can_start_a_new_header() {
    for end in ["\r\n", "\n", "\r", "\0", "\u{85}", "\u{2028}", "\u{2029}"] {
        let evil = format!("x{end}Bcc: victim@example.org");
        let attachment = |name: &str, mime: &str| {
            vec![Attachment { name: name.to_owned(), mime: mime.to_owned(), bytes: vec![] }]
        };
        let header = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        for bad in [
            Mail { subject: evil.clone(), ..mail() },
            Mail { from: evil.clone(), ..mail() },
            Mail { from: format!("\"{evil}\" <bot@example.com>"), ..mail() },
            Mail { to: vec![evil.clone()], ..mail() },
            Mail { message_id: evil.clone(), ..mail() },
            Mail { headers: header("X-A", &evil), ..mail() },
            Mail { headers: header(&evil, "v"), ..mail() },
            Mail { attachments: attachment(&evil, "text/csv"), ..mail() },
            Mail { attachments: attachment("a", &format!("text/csv; x={evil}")), ..mail() },
        ] {
            refusal(bad);
        }
    }
}

#[test]
fn headers_with_a_field_of_their_own_are_refused() {
    for name in ["Bcc", "CONTENT-TYPE", "from", "Message-Id"] {
        let headers = vec![(name.to_owned(), "v".to_owned())];
        assert!(refusal(Mail { headers, ..mail() }).contains("is set by the sender"), "{name}");
    }
    let headers = vec![("List-Unsubscribe".to_owned(), "<https://example.com/u>".to_owned())];
    let text = text(Mail { headers, ..mail() });
    assert!(text.contains("List-Unsubscribe: <https://example.com/u>\r\n"));
}

#[test]
fn bad_addresses_are_named() {
    let bad = |to: &str| build(mail(), &[to.to_owned()], &server()).err().unwrap().message;
    for to in ["anna", "anna@", "@example.com", "a b@example.com", "<>", ""] {
        assert!(bad(to).starts_with("recipient address"), "{to}: {}", bad(to));
    }
    let none = build(mail(), &[], &server()).err().unwrap();
    assert_eq!(none.message, "mail has no recipient");
}
