//! Logging in: the client's side of AUTH (RFC 4954).

use secrecy::SecretString;

/// A login and how it may be used.
#[derive(Clone)]
pub struct LoginPlan {
    /// The authentication identity.
    pub username: Box<str>,
    /// The password, or the bearer token for [`MechanismChoice::XOAuth2`] and [`MechanismChoice::OAuthBearer`].
    pub secret: SecretString,
    /// Which mechanism may be used.
    pub choice: MechanismChoice,
}

impl std::fmt::Debug for LoginPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoginPlan").field("choice", &self.choice).finish_non_exhaustive()
    }
}

/// `auth =` of a smarthost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MechanismChoice {
    /// By password, whichever both know: inside TLS PLAIN, LOGIN, CRAM-MD5 in that order; outside CRAM-MD5 first.
    #[default]
    Auto,
    /// PLAIN only (RFC 4616).
    Plain,
    /// LOGIN only.
    Login,
    /// CRAM-MD5 only (RFC 2195).
    CramMd5,
    /// XOAUTH2 only.
    XOAuth2,
    /// OAUTHBEARER only (RFC 7628).
    OAuthBearer,
}
