//! SASL, server half: PLAIN and LOGIN as SMTP carries them (RFC 4954, RFC 4616).

use secrecy::SecretString;

/// A user name and password to be judged. Its `Debug` shows neither.
#[derive(Clone)]
pub struct Credentials {
    /// The authentication identity, exactly as sent.
    pub username: String,
    /// The password, wiped when dropped.
    pub password: SecretString,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(…)")
    }
}
