//! Who may do what. Pure: a listener's settings, the peer's address and the login decide.

use crate::config::schema::{Application, AuthMode, Listener};
use crate::smtp::address::Address;
use crate::smtp::reply::{Enhanced, Reply};
use std::net::IpAddr;

/// What a client on one connection may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    trusted: bool,
    auth: AuthMode,
}

/// Why a client may not do what it asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// This listener takes mail only after a login.
    #[error("login needed")]
    LoginNeeded,
    /// The application may not use this sender.
    #[error("sender not allowed")]
    SenderNotAllowed,
    /// A stranger asked us to send mail on.
    #[error("relaying denied")]
    RelayingDenied,
}

impl Access {
    /// What a client at `peer` may do on `listener`.
    #[must_use]
    pub fn of(listener: &Listener, peer: IpAddr) -> Self {
        let _ = peer;
        Self { trusted: false, auth: listener.auth }
    }

    /// Whether the peer is in a trusted network of the listener.
    #[must_use]
    pub fn is_trusted(self) -> bool {
        self.trusted
    }

    /// Whether the client may have its `X-Waystation-…` fields obeyed and mail relayed.
    #[must_use]
    pub fn may_relay(self, login: Option<&Application>) -> bool {
        login.is_some() || self.trusted && self.auth != AuthMode::Required
    }

    /// May it send as `sender`? None is the null sender.
    ///
    /// # Errors
    ///
    /// When it may not.
    pub fn sender(self, login: Option<&Application>, sender: Option<&Address>) -> Result<(), Refusal> {
        let _ = (login, sender);
        Ok(())
    }

    /// May it send to `recipient`?
    ///
    /// # Errors
    ///
    /// When it may not.
    pub fn recipient(self, login: Option<&Application>, recipient: &Address) -> Result<(), Refusal> {
        let _ = recipient;
        if self.may_relay(login) { Ok(()) } else { Err(Refusal::RelayingDenied) }
    }
}

impl Refusal {
    /// What the client is told.
    #[must_use]
    pub fn reply(self) -> Reply {
        match self {
            Self::LoginNeeded => Reply::new(530, Some(Enhanced(5, 7, 0)), "log in first"),
            Self::SenderNotAllowed => Reply::new(550, Some(Enhanced(5, 7, 1)), "sender not allowed"),
            Self::RelayingDenied => Reply::new(550, Some(Enhanced(5, 7, 1)), "relaying denied"),
        }
    }
}
