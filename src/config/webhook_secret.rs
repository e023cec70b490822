//! Keys that sign events: `whsec_` and base64, one a line (Standard Webhooks).
//!
//! The only place that reads them. The first line signs and the others sign along, so that a receiver can change its key in its own
//! time. A key that lost its padding when it was copied, blanks around it and empty lines are put up with. Nothing here shows a
//! key, neither in `Debug` nor in an error.

pub use super::secret::SecretError;

use super::secret::read_lines;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use std::path::Path;

/// What a key begins with.
pub const MARK: &str = "whsec_";
/// Octets a key may have: fewer can be guessed, more than the hash's block add nothing.
const OCTETS: std::ops::RangeInclusive<usize> = 24..=64;
/// Keys in one file.
const MOST: usize = 2;

/// Copied keys may have lost their padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// One key.
#[derive(Debug, Clone)]
pub struct WebhookSecret {
    text: SecretString,
    key: SecretSlice<u8>,
}

/// Why a line is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAKey {
    /// It begins with something else.
    #[error("doesn't begin with whsec_; `waystation events secret` makes one")]
    Mark,
    /// What follows isn't base64.
    #[error("isn't base64 behind whsec_; `waystation events secret` makes one")]
    Base64,
    /// Too short to be safe or too long for receivers.
    #[error("has a key of less than 24 or more than 64 octets; `waystation events secret` makes one")]
    Length,
}

impl WebhookSecret {
    /// Reads one key.
    ///
    /// # Errors
    /// When it isn't `whsec_` and 24 to 64 octets in base64.
    pub fn parse(text: &str) -> Result<Self, NotAKey> {
        let encoded = text.strip_prefix(MARK).ok_or(NotAKey::Mark)?;
        let key = LENIENT.decode(encoded).map_err(|_| NotAKey::Base64)?;
        if !OCTETS.contains(&key.len()) {
            return Err(NotAKey::Length);
        }
        Ok(Self { text: text.to_owned().into(), key: key.into() })
    }

    /// The key's octets, for the signature alone.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        self.key.expose_secret()
    }

    /// The key as it stands in the file: what a receiver of Mailgun's shape has as its signing key.
    #[must_use]
    pub fn text(&self) -> &str {
        self.text.expose_secret()
    }
}

/// The keys in a file: one line, or two during a change; the first one is the newer.
///
/// # Errors
/// When the file can't be read, has no key or more than two, or a line is none.
pub fn read(path: &Path) -> Result<Vec<WebhookSecret>, SecretError> {
    let unfit = |place: String, reason: String| SecretError::Unfit { place, reason };
    let at = |index: usize| format!("{} line {}", path.display(), index + 1);
    let mut keys = Vec::new();
    for (index, line) in read_lines(path)?.iter().enumerate() {
        let line = line.expose_secret().trim();
        if line.is_empty() {
            continue;
        }
        if keys.len() == MOST {
            let reason = "is a third key; one is enough, and two during a change".to_owned();
            return Err(unfit(at(index), reason));
        }
        keys.push(WebhookSecret::parse(line).map_err(|error| unfit(at(index), error.to_string()))?);
    }
    if keys.is_empty() {
        let reason = "is empty; write a key into it: `waystation events secret` makes one".to_owned();
        return Err(unfit(path.display().to_string(), reason));
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD;

    #[test]
    fn a_key_has_a_mark_and_the_right_length() {
        let of = |octets: usize| format!("whsec_{}", STANDARD.encode(vec![7_u8; octets]));
        assert_eq!(WebhookSecret::parse(&of(32)).unwrap().key(), [7; 32]);
        for (text, why) in [
            (of(23), NotAKey::Length),
            (of(65), NotAKey::Length),
            ("whsec_".to_owned(), NotAKey::Length),
            ("whsec_!".to_owned(), NotAKey::Base64),
            (STANDARD.encode([7_u8; 32]), NotAKey::Mark),
        ] {
            assert_eq!(WebhookSecret::parse(&text).unwrap_err(), why, "{text}");
        }
        assert!(!format!("{:?}", WebhookSecret::parse(&of(24)).unwrap()).contains("BwcH"));
    }

    #[test]
    fn a_file_holds_one_key_or_two() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("guests.secret");
        let key = |octet: u8| format!("whsec_{}", STANDARD.encode([octet; 24]));
        let told = |content: &str| {
            std::fs::write(&path, content).unwrap();
            read(&path).map(|keys| keys.len()).map_err(|error| error.to_string())
        };
        assert_eq!(told(&format!("{}\n", key(1))), Ok(1));
        assert_eq!(told(&format!("{}\r\n{}\n", key(1), key(2))), Ok(2));
        assert!(told("").unwrap_err().contains("is empty"));
        assert!(told("\n \n").unwrap_err().contains("is empty"));
        assert_eq!(told(&format!("\n {} \n\n{}\n", key(1), key(2).trim_end_matches('='))), Ok(2));
        for (content, why) in [
            (format!("{}\nhunter2\n", key(1)), "line 2 doesn't begin with whsec_"),
            ("whsec_not base64 hunter2!".to_owned(), "line 1 isn't base64"),
            ([key(1), key(2), key(3)].join("\n"), "line 3 is a third key"),
        ] {
            let told = told(&content).unwrap_err();
            assert!(told.contains(why) && !told.contains("hunter2"), "{told}");
        }
    }
}
