//! What goes into the machine and what comes out: a [`Job`] in, exactly one [`JobReport`] out.
//!
//! Nothing here decides whether a failure is for now or for good; that is `deliver/verdict.rs`.

use crate::smtp::address::Address;
pub use crate::smtp::command::{Notify, Ret};
use crate::smtp::reply::{Reply, ReplyError};
use crate::smtp::sasl_client::TokenRefusal;

/// One message to be sent in one mail transaction (RFC 5321 §3.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The shell's own name for it; comes back in [`super::Action::Content`] and in the report.
    pub token: u64,
    /// The reverse-path; none is `<>`.
    pub sender: Option<Address>,
    /// The forward-paths. Never empty.
    pub recipients: Vec<JobRecipient>,
    /// Octets of the content as it is handed over, before any dot is stuffed (RFC 1870 §5).
    pub size: u64,
    /// Whether the content holds octets above 127 (RFC 6152).
    pub eight_bit: bool,
    /// Whether address or header need SMTPUTF8 (RFC 6531 §3.4).
    pub smtputf8: bool,
    /// `RET=`, passed on where DSN is offered (RFC 3461 §4.3).
    pub ret: Option<Ret>,
    /// `ENVID=`, in xtext, passed on where DSN is offered (RFC 3461 §4.4).
    pub envid: Option<Box<str>>,
}

impl Job {
    /// Whether sender and recipients are in US-ASCII.
    #[must_use]
    pub fn has_ascii_addresses(&self) -> bool {
        self.addresses().all(Address::is_ascii)
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.sender.iter().chain(self.recipients.iter().map(|recipient| &recipient.address))
    }
}

/// One forward-path with its delivery status wishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRecipient {
    /// The forward-path.
    pub address: Address,
    /// `NOTIFY=`; none says nothing (RFC 3461 §4.1).
    pub notify: Option<Notify>,
    /// `ORCPT=`, as `addr-type;xtext` (RFC 3461 §4.2).
    pub orcpt: Option<Box<str>>,
}

/// How far a connection or a transaction came: whose reply it was, or what was being done when it broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Name look-up, TCP, implicit TLS: before this machine begins. The shell's own reports use it.
    Connect,
    /// The 220 (RFC 5321 §3.1).
    Greeting,
    /// EHLO or HELO.
    Ehlo,
    /// STARTTLS, and the handshake behind it (RFC 3207).
    StartTls,
    /// AUTH (RFC 4954).
    Auth,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA, up to the 354.
    Data,
    /// While content was being sent.
    Content,
    /// After the final dot or the last chunk.
    Dot,
    /// No transaction was open.
    Idle,
}

/// Why something didn't succeed, and at which stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setback {
    /// Where.
    pub stage: Stage,
    /// What.
    pub cause: Cause,
}

/// What stood in the way: the server's word, or the lack of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The server said so, word for word. May be any 4yz or 5yz, 421 included.
    Reply(Reply),
    /// No usable reply to this; see [`Fault`].
    Fault(Fault),
}

/// As the journal shows it: `550 5.1.1 no such user`, `connection lost: timed out`.
impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Reply(reply) => reply.fmt(f),
            Self::Fault(fault) => fault.fmt(f),
        }
    }
}

/// What else can go wrong, sorted by whom to blame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The connection ended (the shell said so by [`super::Client::lost`]).
    #[error("connection lost: {0}")]
    Lost(Loss),
    /// What came isn't an SMTP reply.
    #[error("malformed reply: {0}")]
    Malformed(ReplyError),
    /// A well-formed reply that can't be one to what was sent (an unsolicited 250, 354 to MAIL).
    #[error("reply out of place: {0}")]
    OutOfPlace(Reply),
    /// Octets in plain text behind the 220 to STARTTLS (RFC 3207 §6, CVE-2011-0411).
    #[error("plain text behind the reply to STARTTLS")]
    PlainTextAfterStartTls,
    /// TLS is required and not offered; nothing more was sent.
    #[error("STARTTLS not offered")]
    StartTlsNotOffered,
    /// A login is configured and AUTH isn't offered.
    #[error("AUTH not offered")]
    AuthNotOffered,
    /// AUTH is offered, but by no mechanism that is configured.
    #[error("no common AUTH mechanism; offered: {0}")]
    NoCommonMechanism(String),
    /// A password would have to go over the network in plain.
    #[error("password not sent without TLS")]
    PasswordWithoutTls,
    /// The access token is no good, by the error in front of the reply, the reply, or both (RFC 7628 §3.2.2).
    #[error("{0}")]
    TokenRefused(Box<TokenRefusal>),
    /// Left for another transaction: there are more recipients than one takes here (RFC 9422, RFC 5321 §4.5.3.1.8), or
    /// the server broke this one off at another recipient.
    #[error("left for another transaction")]
    Untried,
    /// The shell couldn't read the content, or it wasn't as long as the job said.
    #[error("content can't be read")]
    ContentUnreadable,
    /// The server lists CHUNKING and doesn't know BDAT: by that it can have taken nothing, and what followed it was read
    /// as commands.
    #[error("the server lists CHUNKING and refuses BDAT: {0}")]
    ChunksRefused(Reply),
    /// A lone CR or LF in content that goes out by BDAT, where its length is already promised.
    #[error("content holds a bare CR or LF")]
    BareLineEnd,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Loss {
    /// The server closed it.
    Closed,
    /// Reset, or another error of the socket or of TLS.
    Broken,
    /// Nothing came within the phase's time.
    TimedOut,
    /// The TLS handshake failed (certificate, protocol, alert).
    Handshake,
    /// The server wants a certificate of ours, as TLS 1.3 tells only behind the handshake.
    NoCertificate,
    /// We are shutting down.
    Stopped,
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed by the server",
            Self::Broken => "broken",
            Self::TimedOut => "timed out",
            Self::Handshake => "TLS handshake failed",
            Self::NoCertificate => "it wants a client certificate",
            Self::Stopped => "stopped by us",
        })
    }
}

/// What became of a job. Each job that [`super::Client::submit`] took gets exactly one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobReport {
    /// [`Job::token`].
    pub token: u64,
    /// One per recipient, in the order of [`Job::recipients`]. `Ok` is the positive reply to the content.
    pub outcomes: Vec<Result<Reply, Setback>>,
    /// Every octet of the message, its end included, was written, and no reply came: it may have been
    /// delivered, and sending it again may make a duplicate (RFC 1047).
    pub uncertain: bool,
}

/// Why a job can't be sent over this connection. Found before a byte is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// Not ready for one: handshake not over, window full, or the connection is ending.
    #[error("no job can be taken now")]
    NotNow,
    /// Bigger than the server's SIZE: 5.3.4 (RFC 1870 §6.1).
    #[error("5.3.4 message of {size} octets exceeds the smarthost's limit of {limit}")]
    TooBig {
        /// The job's.
        size: u64,
        /// The server's.
        limit: u64,
    },
    /// 8-bit content and no 8BITMIME: convert by `message::convert`, submit again (RFC 6152 §3).
    #[error("5.6.3 the smarthost takes no 8-bit content")]
    NeedsSevenBit,
    /// SMTPUTF8 is needed and not offered: 5.6.7 (RFC 6531 §3.5).
    #[error("5.6.7 the smarthost doesn't offer SMTPUTF8")]
    NeedsSmtpUtf8,
    /// An address or parameter that would break out of its place in the command, or no recipient at all.
    #[error("5.5.4 envelope can't be written as a command")]
    UnsafeEnvelope,
}

/// A refused job, handed back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The job, unchanged.
    pub job: Job,
    /// Why.
    pub refusal: Refusal,
}
