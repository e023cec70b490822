//! What a lane delivers to, as one generation of the configuration says: the smarthost, and all that an attempt needs beside it.

use super::frozen::Frozen;
use super::route::Router;
use super::sent::Senders;
use super::verdict::{Cause, Fault, Stage};
use crate::config::schema::{Retry, Smarthost, TlsMode};
use crate::net::tls::{self, TlsError};
use crate::queue::LaneName;
use crate::queue::limits::Limits;
use crate::smtp::reply::Reply;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What mail of a removed smarthost is held with.
pub const REMOVED: &str = "no smarthost of this name is configured";

/// What a lane delivers to, by one generation of the configuration.
#[derive(Debug)]
pub struct Target {
    /// The smarthost's settings.
    pub smarthost: Smarthost,
    /// Our EHLO name.
    pub hostname: Box<str>,
    /// When to try again.
    pub retry: Retry,
    /// Where our own notices go.
    pub router: Arc<Router>,
    /// The webhook that is told of outcomes; none: nobody is.
    pub announce_to: Option<LaneName>,
    /// What it was told of that and must be told the end of; none: nobody is told.
    pub frozen: Option<Arc<Frozen>>,
    /// The mailboxes that send through it.
    pub senders: Senders,
    /// All smarthosts that are configured, and whether each is enabled.
    pub smarthosts: Arc<BTreeMap<LaneName, bool>>,
    /// The smarthost left the configuration; what waits for it waits, and grows old.
    pub is_removed: bool,
    /// Cancelled when other settings are in force: what wasn't begun under these goes back.
    pub replaced: CancellationToken,
    tls: Option<Result<(Arc<ClientConfig>, ServerName<'static>), TlsError>>,
}

impl Target {
    /// Reads trust anchors; trouble with them stops the lane when it connects, not the daemon.
    #[must_use]
    pub fn new(smarthost: Smarthost, hostname: &str, retry: Retry, router: Arc<Router>) -> Self {
        let tls = (smarthost.tls != TlsMode::None).then(|| tls::connector(&smarthost));
        let (is_removed, announce_to, senders, smarthosts) =
            (false, None, Senders::default(), Arc::default());
        let (hostname, replaced) = (hostname.into(), CancellationToken::new());
        Self {
            smarthost,
            hostname,
            retry,
            router,
            announce_to,
            frozen: None,
            senders,
            smarthosts,
            is_removed,
            replaced,
            tls,
        }
    }

    /// Tells this webhook of outcomes.
    #[must_use]
    pub fn announcing_to(self, announce_to: Option<LaneName>) -> Self {
        Self { announce_to, ..self }
    }

    /// Remembers here that a webhook was told of a halt.
    #[must_use]
    pub fn keeping(self, frozen: Arc<Frozen>) -> Self {
        Self { frozen: Some(frozen), ..self }
    }

    /// Remembers what these mailboxes send.
    #[must_use]
    pub fn sending_for(self, senders: Senders) -> Self {
        Self { senders, ..self }
    }

    /// Gives back what it won't do of the mail of these smarthosts.
    #[must_use]
    pub fn beside(self, smarthosts: Arc<BTreeMap<LaneName, bool>>) -> Self {
        Self { smarthosts, ..self }
    }

    /// For a lane whose smarthost left the configuration: nothing is sent. `like` is any smarthost that is left; its
    /// limits aren't this one's.
    #[must_use]
    pub fn removed(name: &str, like: &Smarthost, hostname: &str, retry: Retry, router: Arc<Router>) -> Self {
        let (name, host) = (name.to_owned(), String::new());
        let (tls, replies) = (TlsMode::None, Vec::new());
        let (limits, fallback) = (Limits::default(), Vec::new());
        let like = like.clone();
        let smarthost =
            Smarthost { name, host, enabled: false, login: None, tls, replies, limits, fallback, ..like };
        Self { is_removed: true, ..Self::new(smarthost, hostname, retry, router) }
    }

    /// Why nothing goes, where the configuration alone says so.
    pub(super) fn standstill(&self) -> Option<Cause> {
        let (text, advice) = if self.is_removed {
            (REMOVED, "configure it again, move its mail with `waystation queue reroute --to`, or delete it")
        } else if self.smarthost.enabled {
            return None;
        } else {
            ("the smarthost is disabled in the configuration", "set enabled = true to let its mail go")
        };
        Some(Cause {
            reply: Reply::new(451, None, text),
            from_peer: false,
            stage: Stage::Resolve,
            fault: Fault::Relay,
            advice: Some(advice),
            would_stop: false,
        })
    }

    /// How its certificate is judged.
    ///
    /// # Errors
    /// What [`tls::connector`] found.
    pub fn tls(&self) -> Result<(Arc<ClientConfig>, ServerName<'static>), &dyn Display> {
        match &self.tls {
            Some(Ok((config, name))) => Ok((config.clone(), name.clone())),
            Some(Err(cause)) => Err(cause),
            None => Err(&"TLS is not configured for this smarthost"),
        }
    }
}
