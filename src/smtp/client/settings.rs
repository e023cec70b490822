//! How a connection to a smarthost is to be used: values from the configuration, none of them decided here.

use crate::smtp::sasl_client::LoginPlan;

/// How to talk to this smarthost.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// The EHLO argument: our host name or an address literal. Octets that can't stand there are left out.
    pub hostname: Box<str>,
    /// What TLS the connection has or must get.
    pub tls: TlsUse,
    /// The login, without which no mail is sent; none sends without one.
    pub login: Option<LoginPlan>,
    /// Whether PLAIN, LOGIN and tokens may be sent without TLS: the peer is loopback.
    pub plain_password_ok: bool,
    /// Whether PIPELINING is used where offered.
    pub pipelining: bool,
    /// Whether BDAT is used where offered.
    pub chunking: bool,
    /// How much may be unanswered at once with CHUNKING and PIPELINING.
    pub window: Window,
    /// Recipients per transaction unless LIMITS RCPTMAX says less; 100 is what every server takes (RFC 5321 §4.5.3.1.8).
    pub recipients_per_message: usize,
}

/// Bounds of what is sent ahead of its replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Messages unanswered at once.
    pub messages: usize,
    /// Octets of content unanswered at once. A message bigger than this waits for its RCPT replies first.
    pub octets: u64,
}

impl Default for Window {
    fn default() -> Self {
        Self { messages: 10, octets: 1024 * 1024 }
    }
}

/// What TLS a connection has or must get. There is no "if offered": less than asked for is a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlsUse {
    /// Plain text, as configured.
    None,
    /// STARTTLS before anything of worth is said (RFC 3207).
    StartTls,
    /// The stream is TLS already (RFC 8314 §3.3).
    Active,
}
