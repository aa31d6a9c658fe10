//! Recipients: `channel:address`.

use crate::error::shown;
use automate_core::template::check_header_value;

/// Splits a recipient into channel and address at its first colon; without one it is a channel
/// alone.
pub fn split(recipient: &str) -> (&str, &str) {
    recipient.split_once(':').unwrap_or((recipient, ""))
}

/// Refuses what is not one plain mail address: `name@example.com`.
pub fn check_mail(address: &str) -> Result<(), String> {
    let refuse = |why: &str| Err(format!("mail address {} {why}", shown(address)));
    if let Err(error) = check_header_value(address) {
        return refuse(&format!("holds a {}", error.message));
    }
    let Some((local, domain)) = address.rsplit_once('@') else {
        return refuse("has no \"@\"");
    };
    // Quoted local parts exist on paper only; no provider hands them out.
    let local_is_fine = !local.is_empty()
        && local.len() <= 64
        && !local.starts_with('.')
        && !local.ends_with('.')
        && !local.contains("..")
        && local.chars().all(|c| c.is_alphanumeric() || ".!#$%&'*+/=?^_`{|}~-".contains(c));
    if !local_is_fine {
        return refuse("is not valid before the \"@\"");
    }
    let label_is_fine = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || c == '-')
    };
    let literal =
        domain.starts_with('[') && domain.ends_with(']') && !domain.contains(char::is_whitespace);
    if domain.len() > 253 || !(literal || domain.split('.').all(label_is_fine)) {
        return refuse("is not valid behind the \"@\"");
    }
    Ok(())
}

/// Refuses what is neither an address nor `Name <address>`.
pub fn check_mailbox(text: &str) -> Result<(), String> {
    match text.trim_end().strip_suffix('>').and_then(|rest| rest.rsplit_once('<')) {
        Some((name, address)) => {
            check_header_value(name)
                .map_err(|e| format!("name of a sender holds a {}", e.message))?;
            check_mail(address)
        }
        None => check_mail(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_addresses_are_checked_strictly() {
        for good in ["a@b", "anna.m+x@example.com", "ü@bücher.example", "x@[127.0.0.1]"] {
            assert_eq!(check_mail(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "@",
            "a@",
            "@b",
            "a",
            "a b@c",
            "a@b c",
            "a@b\r\nBcc: x@y",
            "a..b@c",
            "a@-b",
            "a@b,c@d",
            "a@b>",
            "<a@b>",
            "a@b@",
            "a\u{2028}@b",
            "a@b\0",
        ] {
            assert!(check_mail(bad).is_err(), "{bad:?}");
        }
        assert_eq!(check_mailbox("Ops Team <ops@example.com>"), Ok(()));
        assert!(check_mailbox("Ops\n <ops@example.com>").is_err());
        assert!(check_mailbox("Ops <ops>").is_err());
    }

    #[test]
    fn a_recipient_is_split_at_its_first_colon() {
        assert_eq!(split("hook:a:b"), ("hook", "a:b"));
        assert_eq!(split("hook"), ("hook", ""));
    }
}
