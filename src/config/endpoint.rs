//! Settings of what is posted to: `[events]`, `[alert]`, and any other webhook.

use super::schema::Inbox;
use super::walk::Table;
use crate::net::http::Url;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The name of the endpoint that `[events]` makes.
pub const EVENTS: &str = "events";

/// One webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its name in `status` and in `events`.
    pub name: String,
    /// Where to post.
    pub url: Url,
    /// The one or two secrets that sign; none: nothing is signed.
    pub secret_file: Option<PathBuf>,
    /// Whether it may be at a private or loopback address.
    pub allow_private: bool,
}

impl Endpoint {
    /// The webhook of an inbox; none where its URL is wrong, which `check` tells.
    #[must_use]
    pub fn of_inbox(inbox: &Inbox) -> Option<Self> {
        Some(Self {
            name: inbox.name.clone(),
            url: Url::parse(&inbox.webhook).ok()?,
            secret_file: Some(inbox.secret_file.clone()),
            allow_private: inbox.allow_private,
        })
    }
}

/// `[events]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventSettings {
    /// Where outgoing mail's events go; none: they aren't kept.
    pub endpoint: Option<Endpoint>,
    /// Waits between attempts, for every webhook; behind the last one the event has failed.
    pub schedule: Vec<Duration>,
}

/// `[alert]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// Where to post.
    pub endpoint: Option<Endpoint>,
    /// Program and arguments; empty is none.
    pub command: Vec<String>,
    /// Age of the oldest waiting message that is alarming; none: never.
    pub oldest_message: Option<Duration>,
    /// Free octets on the disk that are alarming.
    pub min_free: u64,
}

/// The webhook of a table with `webhook`, `secret_file` and `allow_private`, if it has one.
pub(super) fn endpoint(name: &str, table: &Table, base: &Path) -> Option<Endpoint> {
    Some(Endpoint {
        name: name.to_owned(),
        url: Url::parse(&table.text("webhook")?).ok()?,
        secret_file: table.path_value("secret_file", base),
        allow_private: table.flag("allow_private"),
    })
}
