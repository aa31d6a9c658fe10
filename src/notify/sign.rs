//! Signatures of webhooks, as Standard Webhooks 1.0 defines them: those that go out (v1: HMAC-SHA256),
//! and those that come in (also v1a: Ed25519).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::{hmac, signature};
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

    fn sign(&self, id: &str, timestamp: &str, body: &[u8]) -> String {
        let tag = hmac::sign(&self.0, &signed(id, timestamp, body));
        format!("v1,{}", STANDARD.encode(tag))
    }
}

/// What is signed.
fn signed(id: &str, timestamp: &str, body: &[u8]) -> Vec<u8> {
    [format!("{id}.{timestamp}.").as_bytes(), body].concat()
}

/// A key by which a signature is checked: the secret that both sides have, or a public key.
pub enum CheckingKey {
    Shared(SigningKey),
    Public(Vec<u8>),
}

impl CheckingKey {
    /// Reads `whsec_` and base64, or `whpk_` and base64. The reason of a refusal holds nothing of
    /// the text.
    pub fn parse(text: &str) -> Result<CheckingKey, &'static str> {
        let Some(encoded) = text.strip_prefix("whpk_") else {
            return match text.starts_with("whsec_") {
                true => SigningKey::parse(text).map(CheckingKey::Shared),
                false => Err("a key must begin with whsec_ (a secret) or whpk_ (a public key)"),
            };
        };
        let bytes =
            STANDARD.decode(encoded).map_err(|_| "a public key must be base64 after whpk_")?;
        match bytes.len() {
            32 => Ok(CheckingKey::Public(bytes)),
            _ => Err("a public key must hold the 32 bytes of an Ed25519 key"),
        }
    }

    /// Whether a signature, `v1,` or `v1a,` and base64, is by this key; in constant time for a secret.
    fn accepts(&self, signature: &str, signed: &[u8]) -> bool {
        let Some((version, encoded)) = signature.split_once(',') else { return false };
        let Ok(bytes) = STANDARD.decode(encoded) else { return false };
        match (self, version) {
            (CheckingKey::Shared(SigningKey(key)), "v1") => {
                hmac::verify(key, signed, &bytes).is_ok()
            }
            (CheckingKey::Public(key), "v1a") => {
                signature::UnparsedPublicKey::new(&signature::ED25519, key)
                    .verify(signed, &bytes)
                    .is_ok()
            }
            _ => false,
        }
    }
}

/// Whether one of the signatures, which spaces separate, is by one of the keys.
pub fn is_signed(
    keys: &[CheckingKey],
    id: &str,
    timestamp: &str,
    body: &[u8],
    signatures: &str,
) -> bool {
    /// More would only be tried to keep us busy.
    const MOST: usize = 16;
    let signed = signed(id, timestamp, body);
    signatures
        .split_ascii_whitespace()
        .take(MOST)
        .any(|signature| keys.iter().any(|key| key.accepts(signature, &signed)))
}

/// The headers that let a receiver check who sent a message; several keys while one is replaced.
pub fn headers(
    keys: &[SigningKey],
    id: Uuid,
    timestamp: u64,
    body: &[u8],
) -> Vec<(String, String)> {
    let (id, timestamp) = (id.to_string(), timestamp.to_string());
    let mut headers = Vec::with_capacity(3);
    if !keys.is_empty() {
        let signatures: Vec<String> =
            keys.iter().map(|key| key.sign(&id, &timestamp, body)).collect();
        headers.push(("webhook-signature".to_owned(), signatures.join(" ")));
    }
    headers.push(("webhook-id".to_owned(), id));
    headers.push(("webhook-timestamp".to_owned(), timestamp));
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const TIME: &str = "1614265330";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    /// From the tests of the standard's own libraries.
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    #[test]
    fn a_signature_is_the_hmac_of_id_time_and_body() {
        let key = SigningKey::parse(SECRET).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(key.sign(ID, TIME, BODY), SIGNATURE);
    }

    #[test]
    fn a_signature_is_accepted_for_what_was_signed_alone() {
        let keys = [CheckingKey::parse(SECRET).unwrap_or_else(|e| panic!("{e}"))];
        assert!(is_signed(&keys, ID, TIME, BODY, SIGNATURE));
        assert!(is_signed(&keys, ID, TIME, BODY, &format!("v1,AAAA v2,x {SIGNATURE}")));
        assert!(!is_signed(&keys, "msg_other", TIME, BODY, SIGNATURE));
        assert!(!is_signed(&keys, ID, "1614265331", BODY, SIGNATURE));
        assert!(!is_signed(&keys, ID, TIME, b"{}", SIGNATURE));
        assert!(!is_signed(&keys, ID, TIME, BODY, &SIGNATURE.replace("v1,", "v1a,")));
        for none in ["", "v1,", "v1", SIGNATURE.trim_start_matches("v1,")] {
            assert!(!is_signed(&keys, ID, TIME, BODY, none), "{none}");
        }
    }

    #[test]
    fn a_public_key_checks_what_its_other_half_signed() {
        use ring::signature::{Ed25519KeyPair, KeyPair};
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap_or_else(|e| panic!("{e}"));
        let text = format!("whpk_{}", STANDARD.encode(pair.public_key()));
        let keys = [CheckingKey::parse(&text).unwrap_or_else(|e| panic!("{e}"))];
        let made = STANDARD.encode(pair.sign(&signed(ID, TIME, BODY)));
        assert!(is_signed(&keys, ID, TIME, BODY, &format!("v1a,{made}")));
        assert!(!is_signed(&keys, ID, TIME, b"{}", &format!("v1a,{made}")));
        assert!(!is_signed(&keys, ID, TIME, BODY, &format!("v1,{made}")));
    }

    #[test]
    fn keys_of_another_form_are_refused() {
        for bad in ["", "whsec_", "whsec_!!", "whsec_AAAA", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
            assert!(SigningKey::parse(bad).is_err(), "{bad}");
            assert!(CheckingKey::parse(bad).is_err(), "{bad}");
        }
        assert!(CheckingKey::parse("whpk_AAAA").is_err());
    }
}
