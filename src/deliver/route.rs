//! Which lane a recipient's copy leaves by, and in which class. Pure.

use crate::config::schema::{Action, Application, Route};
use crate::message::envelope::{Class, Recipient};
use crate::message::fields::HeaderSection;
use crate::queue::{LaneName, Part};
use crate::smtp::address::Address;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The rules, as the file gives them.
#[derive(Debug, Clone)]
pub struct Router {
    routes: Vec<Route>,
    applications: BTreeMap<String, Application>,
    default_smarthost: String,
}

/// What is known of a message when it is routed.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// The login.
    pub application: Option<&'a str>,
    /// The envelope sender.
    pub sender: Option<&'a Address>,
    /// The envelope recipients.
    pub recipients: &'a [Recipient],
    /// The client's address.
    pub client: Option<IpAddr>,
    /// The header section as it came in; read only by rules that ask for it.
    pub header: &'a HeaderSection<'a>,
    /// `X-Waystation-Class`.
    pub class: Option<Class>,
}

/// Where one recipient's copy goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routed {
    /// The lane.
    pub lane: LaneName,
    /// The class.
    pub class: Class,
    /// What to do.
    pub action: Action,
    /// Which rule said so.
    pub why: Why,
}

/// Which rule decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// `[[route]]` of this number, counted from 1.
    Route(usize),
    /// The application's own settings.
    Application,
    /// None: the default smarthost.
    Default,
}

impl Router {
    /// A router by these rules.
    #[must_use]
    pub fn new(
        routes: Vec<Route>,
        applications: BTreeMap<String, Application>,
        default_smarthost: String,
    ) -> Self {
        Self { routes, applications, default_smarthost }
    }

    /// Routes each recipient; the answer has one entry per recipient, in their order.
    #[must_use]
    pub fn route(&self, facts: &Facts<'_>) -> Vec<Routed> {
        let _ = (facts, &self.routes, &self.applications, &self.default_smarthost);
        Vec::new()
    }
}

/// Recipients sorted into the parts that are queued, and those that aren't.
#[derive(Debug, Clone, Default)]
pub struct Sorted {
    /// One for each lane, class and hold, in order of first appearance.
    pub parts: Vec<Part>,
    /// Recipients accepted and dropped.
    pub discarded: Vec<usize>,
    /// Recipients refused.
    pub rejected: Vec<usize>,
}

/// Sorts routed recipients into parts.
#[must_use]
pub fn sort(routed: &[Routed], due: Timestamp) -> Sorted {
    let _ = (routed, due);
    Sorted::default()
}
