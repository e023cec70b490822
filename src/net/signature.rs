//! Standard Webhooks signatures: HMAC-SHA256 of `id.timestamp.body`, under one key or, during a change, two. Pure but
//! for reading the file that holds the keys.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD};
use jiff::Timestamp;
use std::path::Path;

/// What every secret begins with.
const PREFIX: &str = "whsec_";
/// Octets of a key: fewer can be guessed, more than the hash's block add nothing.
const KEY: std::ops::RangeInclusive<usize> = 24..=64;
/// Octets of a new key.
const NEW_KEY: usize = 32;
/// A file of secrets isn't longer.
const LONGEST: u64 = 4096;
/// Copied keys may have lost their padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// One key, or the new and the old one during a change. Its `Debug` shows none.
#[derive(Debug, Clone)]
pub struct Secrets(Vec<hmac::Key>);

impl Secrets {
    /// Reads the lines of a secret file: `whsec_` and base64 each, one or two of them.
    ///
    /// # Errors
    /// What is wrong with it and what to do, without the secret.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let keys = lines
            .enumerate()
            .map(|(number, line)| key(line).map_err(|why| format!("line {} {why}", number + 1)));
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        match keys.len() {
            0 => Err(format!(
                "is empty; write a line into it: {PREFIX} and 32 random octets in base64 (`waystation events secret`)"
            )),
            1 | 2 => Ok(Self(keys)),
            _ => Err("has more than two lines; the new secret and the old one are enough".to_owned()),
        }
    }

    /// As [`Secrets::parse`], from a file.
    ///
    /// # Errors
    /// As there, or that the file can't be read.
    pub fn read(path: &Path) -> Result<Self, String> {
        use std::io::Read as _;
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(|cause| format!("can't be read: {cause}"))?;
        file.take(LONGEST).read_to_string(&mut text).map_err(|cause| format!("can't be read: {cause}"))?;
        Self::parse(&text)
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

fn key(line: &str) -> Result<hmac::Key, String> {
    let text = line.strip_prefix(PREFIX).ok_or_else(|| format!("doesn't begin with {PREFIX}"))?;
    let octets = LENIENT.decode(text).map_err(|_| format!("is not base64 behind {PREFIX}"))?;
    if !KEY.contains(&octets.len()) {
        return Err(format!(
            "holds a key of {} octets; it takes {} to {}",
            octets.len(),
            KEY.start(),
            KEY.end()
        ));
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &octets))
}

/// A new secret, as its file holds it.
///
/// # Errors
/// When the system has no randomness.
pub fn new_secret() -> Result<String, aws_lc_rs::error::Unspecified> {
    let mut key = [0; NEW_KEY];
    aws_lc_rs::rand::fill(&mut key)?;
    Ok(format!("{PREFIX}{}", STANDARD.encode(key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const OTHER: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDAAECAwQFBgc=";

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
            let signature = Secrets::parse(&format!("{ONE}\n{OTHER}\n")).unwrap().sign("evt_1", at, body);
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
        let signature = Secrets::parse(ONE).unwrap().sign("msg_p5jXN8AQM9LWM0D4loKWxJek", at, body);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn what_is_no_secret_is_refused_and_not_shown() {
        for (text, word) in [
            ("", "empty"),
            ("\n\n", "empty"),
            ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "line 1 doesn't begin"),
            ("whsec_not base64 hunter2!", "line 1 is not base64"),
            ("whsec_aHVudGVyMg==", "7 octets"),
            (&format!("{ONE}\nhunter2"), "line 2"),
            (&format!("{ONE}\n{ONE}\n{ONE}"), "more than two"),
        ] {
            let told = Secrets::parse(text).unwrap_err();
            assert!(told.contains(word) && !told.contains("hunter2"), "{told}");
        }
        assert!(!format!("{:?}", Secrets::parse(ONE).unwrap()).contains("MfKQ"));
        assert!(Secrets::parse(&new_secret().unwrap()).is_ok());
        assert_ne!(new_secret().unwrap(), new_secret().unwrap());
    }
}
