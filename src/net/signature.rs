//! Standard Webhooks signatures: HMAC-SHA256 of `id.timestamp.body`, under one key or, during a change, two. Pure but
//! for reading the file that holds the keys, which is [`webhook_secret`]'s.

use crate::config::webhook_secret::{self, MARK, SecretError, WebhookSecret};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use std::path::Path;

/// Octets of a new key.
const NEW_KEY: usize = 32;

/// One key, or the new and the old one during a change. Its `Debug` shows none.
#[derive(Debug, Clone)]
pub struct Secrets(Vec<hmac::Key>);

impl Secrets {
    /// Signs with each of these.
    #[must_use]
    pub fn of(keys: &[WebhookSecret]) -> Self {
        Self(keys.iter().map(|key| hmac::Key::new(hmac::HMAC_SHA256, key.key())).collect())
    }

    /// As [`Secrets::of`], from a file.
    ///
    /// # Errors
    /// What is wrong with it and what to do, without the secret.
    pub fn read(path: &Path) -> Result<Self, SecretError> {
        webhook_secret::read(path).map(|keys| Self::of(&keys))
    }

    /// The value of `webhook-signature`: one signature for each key.
    #[must_use]
    pub fn sign(&self, id: &str, timestamp: Timestamp, body: &[u8]) -> String {
        let one = |key: &hmac::Key| {
            let mut signing = hmac::Context::with_key(key);
            signing.update(format!("{id}.{}.", timestamp.as_second()).as_bytes());
            signing.update(body);
            format!("v1,{}", STANDARD.encode(signing.sign()))
        };
        self.0.iter().map(one).collect::<Vec<_>>().join(" ")
    }
}

/// A new secret, as its file holds it.
///
/// # Errors
/// When the system has no randomness.
pub fn new_secret() -> Result<String, aws_lc_rs::error::Unspecified> {
    let mut key = [0; NEW_KEY];
    aws_lc_rs::rand::fill(&mut key)?;
    Ok(format!("{MARK}{}", STANDARD.encode(key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const OTHER: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDAAECAwQFBgc=";

    fn secrets(lines: &[&str]) -> Secrets {
        Secrets::of(&lines.iter().map(|line| WebhookSecret::parse(line).unwrap()).collect::<Vec<_>>())
    }

    /// What the reference implementation says to it.
    fn verified(secret: &str, id: &str, at: Timestamp, signature: &str, body: &[u8]) -> bool {
        let secret = secret.trim_end_matches('=').to_owned()
            + &"=".repeat(secret.len() - secret.trim_end_matches('=').len());
        let webhook = standardwebhooks::Webhook::new(&secret).unwrap();
        let expected = webhook.sign(id, at.as_second(), body).unwrap();
        signature.split(' ').any(|one| one == expected)
    }

    #[test]
    fn the_reference_implementation_agrees_under_each_key() {
        let at = Timestamp::from_second(1_795_000_000).unwrap();
        for body in [&b"{\"type\":\"x\"}"[..], b"", b"\0\r\n.", "ż.ó".as_bytes()] {
            let signature = secrets(&[ONE, OTHER]).sign("evt_1", at, body);
            assert_eq!(signature.split(' ').count(), 2);
            for secret in [ONE, OTHER] {
                assert!(verified(secret, "evt_1", at, &signature, body), "{signature}");
                assert!(!verified(secret, "evt_2", at, &signature, body));
                assert!(!verified(
                    secret,
                    "evt_1",
                    at + jiff::SignedDuration::from_secs(1),
                    &signature,
                    body
                ));
                assert!(!verified(secret, "evt_1", at, &signature, &[body, b"x"].concat()));
            }
        }
    }

    #[test]
    fn the_documented_example_comes_out() {
        // From the Standard Webhooks specification's test vector.
        let at = Timestamp::from_second(1_614_265_330).unwrap();
        let body = br#"{"test": 2432232314}"#;
        let signature = secrets(&[ONE]).sign("msg_p5jXN8AQM9LWM0D4loKWxJek", at, body);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_new_secret_is_a_key_and_none_is_shown() {
        assert!(!format!("{:?}", secrets(&[ONE])).contains("MfKQ"));
        assert!(WebhookSecret::parse(&new_secret().unwrap()).is_ok());
        assert_ne!(new_secret().unwrap(), new_secret().unwrap());
    }
}
