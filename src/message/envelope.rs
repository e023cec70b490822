//! The envelope: what SMTP says about a message, apart from the message (RFC 5321 §2.3.1, RFC 3461).

use crate::smtp::address::Address;
pub use crate::smtp::command::{Body, Notify, Ret};
use std::net::IpAddr;

/// Who a message is from and to, and how it asks to be treated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The reverse-path; none is the null sender `<>` of bounces (RFC 5321 §4.5.5).
    pub sender: Option<Address>,
    /// Accepted recipients, in the order they were given. Never empty.
    pub recipients: Vec<Recipient>,
    /// `BODY=`, as declared (RFC 6152).
    pub body: Body,
    /// Whether `SMTPUTF8` was given (RFC 6531 §3.4).
    pub smtputf8: bool,
    /// `RET=`: how much of the message a bounce returns (RFC 3461 §4.3).
    pub ret: Option<Ret>,
    /// `ENVID=`, still in xtext (RFC 3461 §4.4).
    pub envid: Option<Box<str>>,
}

/// One forward-path with its delivery status notification wishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The forward-path.
    pub address: Address,
    /// `NOTIFY=`; none is the default of RFC 3461 §4.1, failure and delay.
    pub notify: Option<Notify>,
    /// `ORCPT=`, still as `addr-type;xtext` (RFC 3461 §4.2).
    pub orcpt: Option<Box<str>>,
}

/// Where a message came from, kept for the Received field, the journal and routing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The client's address, as the connection or a believed PROXY header tells; none for our own notices.
    pub client: Option<IpAddr>,
    /// The EHLO or HELO argument.
    pub helo: Box<str>,
    /// The application that logged in.
    pub application: Option<Box<str>>,
}

/// How urgent a message is within its lane.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Password resets and the like: before everything else.
    Priority,
    /// What isn't one of the others.
    #[default]
    Normal,
    /// Newsletters: when nothing else waits.
    Bulk,
}

impl Class {
    /// Every class, the most urgent first.
    pub const ALL: [Self; 3] = [Self::Priority, Self::Normal, Self::Bulk];
}
