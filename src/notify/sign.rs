//! Signatures of webhooks, as Standard Webhooks 1.0 defines them (v1: HMAC-SHA256).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use uuid::Uuid;

/// A key that signs. It has no `Debug`: it is a secret.
#[derive(Clone)]
pub struct SigningKey(hmac::Key);

impl SigningKey {
    /// Reads `whsec_` and base64. The reason of a refusal holds nothing of the text.
    pub fn parse(text: &str) -> Result<SigningKey, &'static str> {
        let encoded =
            text.strip_prefix("whsec_").ok_or("a signing secret must begin with whsec_")?;
        let bytes =
            STANDARD.decode(encoded).map_err(|_| "a signing secret must be base64 after whsec_")?;
        match bytes.len() {
            24..=64 => Ok(SigningKey(hmac::Key::new(hmac::HMAC_SHA256, &bytes))),
            _ => Err("a signing secret must hold 24 to 64 bytes"),
        }
    }

    fn sign(&self, id: Uuid, timestamp: u64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(format!("{id}.{timestamp}.").as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign()))
    }
}

/// The headers that let a receiver check who sent a message; several keys while one is replaced.
pub fn headers(
    keys: &[SigningKey],
    id: Uuid,
    timestamp: u64,
    body: &[u8],
) -> Vec<(String, String)> {
    let mut headers = vec![
        ("webhook-id".to_owned(), id.to_string()),
        ("webhook-timestamp".to_owned(), timestamp.to_string()),
    ];
    if !keys.is_empty() {
        let signatures: Vec<String> =
            keys.iter().map(|key| key.sign(id, timestamp, body)).collect();
        headers.push(("webhook-signature".to_owned(), signatures.join(" ")));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_the_hmac_of_id_time_and_body() {
        let key = SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
            .unwrap_or_else(|e| panic!("{e}"));
        // Made with Python's hmac module.
        let signed = key.sign(Uuid::nil(), 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,Y5/uRWupLQOPxe4D5mBYrd9dRGhY+xtWrnxDwy59WDE=");
    }

    #[test]
    fn keys_of_another_form_are_refused() {
        for bad in ["", "whsec_", "whsec_!!", "whsec_AAAA", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
            assert!(SigningKey::parse(bad).is_err(), "{bad}");
        }
    }
}
