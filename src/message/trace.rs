//! What a submission server adds and takes away (RFC 6409 §8): Received on top, Date and Message-ID where they are
//! missing, Return-Path and Bcc out; and what the client asked of us in `X-Waystation-…` fields.

use crate::message::envelope::{Class, Origin};
use crate::message::fields::HeaderSection;
use crate::message::notes::Notes;
use crate::smtp::address::Address;
use crate::smtp::reply::{Enhanced, Reply};
use jiff::Timestamp;
use std::ops::Range;

/// More Received fields than these are a loop (RFC 5321 §6.3).
pub const MAX_RECEIVED: usize = 50;

/// What is known of a message beside its octets.
#[derive(Debug, Clone)]
pub struct TraceContext<'a> {
    /// Our own name.
    pub hostname: &'a str,
    /// The queue's name for the message.
    pub id: &'a str,
    /// Where it came from.
    pub origin: &'a Origin,
    /// How it came.
    pub protocol: Protocol,
    /// Version and cipher of the TLS session, if there was one.
    pub tls: Option<&'a str>,
    /// When the final dot was read.
    pub received_at: Timestamp,
    /// The recipient, when there is exactly one; with several the field would tell each about the others.
    pub recipient: Option<&'a Address>,
    /// Whether its `X-Waystation-…` fields count.
    pub controls: Controls,
}

/// Whether the client may steer us by header fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controls {
    /// It is trusted or logged in: they are read and removed.
    Read,
    /// It is a stranger: they mean nothing and stay.
    Ignore,
}

/// The `with` clause of a Received field (RFC 3848, RFC 6531 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protocol {
    /// EHLO, not HELO.
    pub extended: bool,
    /// Inside TLS.
    pub tls: bool,
    /// Logged in.
    pub authenticated: bool,
    /// `SMTPUTF8` was given.
    pub utf8: bool,
}

/// What is to be done with a message's header section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// Goes on top: whole fields, and the empty line where the message has none and needs one.
    pub prefix: Vec<u8>,
    /// Goes away: byte ranges of the message, in order, apart from one another.
    pub cut: Vec<Range<usize>>,
    /// What the journal keeps.
    pub notes: Notes,
    /// `X-Waystation-Class`.
    pub class: Option<Class>,
}

/// Why a message is refused for its header section.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It went through too many hands, or through ours too often.
    #[error("mail loop")]
    Loop,
    /// A control field says what we can't do.
    #[error("{field}: {reason}")]
    Control {
        /// The field's name.
        field: &'static str,
        /// What to do instead.
        reason: &'static str,
    },
}

impl Refusal {
    /// What the client is told.
    #[must_use]
    pub fn reply(&self) -> Reply {
        match self {
            Self::Loop => Reply::new(554, Some(Enhanced(5, 4, 6)), "mail loop: too many Received fields"),
            Self::Control { field, reason } => {
                Reply::new(554, Some(Enhanced(5, 6, 0)), format!("{field}: {reason}"))
            }
        }
    }
}

/// Decides what is added to a message and taken from it.
///
/// # Errors
///
/// When it loops, or a control field can't be obeyed.
pub fn prepare(header: &HeaderSection<'_>, context: &TraceContext<'_>) -> Result<Prepared, Refusal> {
    let _ = (header, context);
    Err(Refusal::Loop)
}

impl Prepared {
    /// The pieces the message is now made of, in order; `content` is the whole of it. No octet is copied.
    pub fn pieces<'a>(&'a self, content: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let _ = content;
        std::iter::once(self.prefix.as_slice())
    }

    /// How long the message is now, if it was `length` octets.
    #[must_use]
    pub fn length(&self, length: usize) -> usize {
        let cut: usize = self.cut.iter().map(Range::len).sum();
        self.prefix.len() + length.saturating_sub(cut)
    }
}
