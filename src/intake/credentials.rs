//! Are these credentials good? Argon2id hashes, answered in the same time for everybody (RFC 9106, RFC 4954 §9).

use crate::config::schema::Application;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// The applications' password hashes, and what is remembered of logins.
#[derive(Debug)]
pub struct Credentials {}

/// What a login came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verified {
    /// Good.
    Good,
    /// Unknown user or wrong password: `535 5.7.8`.
    Bad,
    /// Too many failures from this address, or too many logins at once: `454 4.7.0`.
    Later,
}

impl Credentials {
    /// Reads the hashes.
    #[must_use]
    pub fn new(applications: &BTreeMap<String, Application>) -> Self {
        let _ = applications;
        Self {}
    }

    /// Takes new hashes; logins remembered under old ones are forgotten.
    pub fn replace(&self, applications: &BTreeMap<String, Application>) {
        let _ = applications;
    }

    /// Checks a login from `client` on the blocking pool, two at once.
    pub async fn verify(
        self: &Arc<Self>,
        client: IpAddr,
        user: &str,
        password: &str,
        now: Timestamp,
    ) -> Verified {
        let _ = (client, user, password, now);
        Verified::Bad
    }
}

/// A PHC string for `[application.NAME] password_hash`.
///
/// # Errors
///
/// When the system gives no randomness.
pub fn hash_password(password: &str) -> Result<String, HashError> {
    let _ = password;
    Err(HashError)
}

/// The system gave no randomness for a salt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no randomness for a salt")]
pub struct HashError;
