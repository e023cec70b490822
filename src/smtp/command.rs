//! Commands: one line of bytes in, a [`Command`] or the exact complaint out (RFC 5321 §4.1).
//!
//! The grammar is strict; each leniency has a name in [`Tolerate`], is off unless the listener names it, and is
//! told when used. Nothing is decoded, unquoted or repaired. Every [`CommandError`] maps to one reply in
//! [`replies`](super::replies).

use super::address::Address;

/// What the body may hold (RFC 6152).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Body {
    /// `BODY=7BIT`, or nothing said.
    #[default]
    SevenBit,
    /// `BODY=8BITMIME`.
    EightBitMime,
}

/// How much of the message comes back in a bounce (RFC 3461 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ret {
    /// All of it.
    Full,
    /// The header section only.
    Headers,
}

/// When to write to the sender about a recipient (RFC 3461 §4.1). All false is `NOTIFY=NEVER`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notify {
    /// On delivery.
    pub success: bool,
    /// On failure.
    pub failure: bool,
    /// When it is late.
    pub delay: bool,
}

/// What `MAIL` says (RFC 5321 §4.1.1.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// The reverse-path; none is the null sender `<>`.
    pub sender: Option<Address>,
    /// `SIZE=`, as declared (RFC 1870 §4).
    pub size: Option<u64>,
    /// `BODY=`, as declared (RFC 6152).
    pub body: Body,
    /// Whether `SMTPUTF8` was given (RFC 6531 §3.4).
    pub smtputf8: bool,
    /// `RET=` (RFC 3461 §4.3).
    pub ret: Option<Ret>,
    /// `ENVID=`, checked and still in xtext (RFC 3461 §4.4).
    pub envid: Option<Box<str>>,
}

/// What `RCPT` says (RFC 5321 §4.1.1.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rcpt {
    /// The forward-path.
    pub address: Address,
    /// `NOTIFY=`; none is the default of RFC 3461 §4.1, failure and delay.
    pub notify: Option<Notify>,
    /// `ORCPT=`, checked and still as `addr-type;xtext` (RFC 3461 §4.2).
    pub orcpt: Option<Box<str>>,
}

/// Named leniences of a listener. All off is the standard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tolerate {
    /// A command may end in a bare LF, and bare CR or LF in content are made CRLF.
    pub bare_lf: bool,
    /// `MAIL FROM: <…>`.
    pub space_after_colon: bool,
    /// `MAIL FROM:a@b.example`.
    pub missing_brackets: bool,
}

/// How often a client needed each leniency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Leniences {
    /// Commands that ended in a bare LF, and messages that held a bare CR or LF.
    pub bare_lf: u32,
    /// Paths with a space in front.
    pub space_after_colon: u32,
    /// Paths without angle brackets.
    pub missing_brackets: u32,
}
