//! Commands: one line of bytes in, a [`Command`] or the exact complaint out (RFC 5321 §4.1).
//!
//! The grammar is strict; each leniency has a name in [`Tolerate`], is off unless the listener names it, and is
//! told when used. Nothing is decoded, unquoted or repaired. Every [`CommandError`] maps to one reply in
//! [`replies`](super::replies).

mod parameters;

use super::address::{Address, AddressError, Path, path_end};
use super::chunk::Chunk;
use jiff::Timestamp;
use parameters::{
    Parameters, body, declared_size, envid, first, hold_for, hold_until, is_xtext, notify_value, once,
    orcpt_value, priority, ret,
};

/// One command with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command<'a> {
    /// `EHLO` with whatever the client calls itself (RFC 5321 §4.1.1.1).
    Ehlo(&'a str),
    /// `HELO`, the same without extensions.
    Helo(&'a str),
    /// `MAIL FROM:` (§4.1.1.2).
    Mail(Mail),
    /// `RCPT TO:` (§4.1.1.3).
    Rcpt(Rcpt),
    /// `DATA` (§4.1.1.4).
    Data,
    /// `BDAT` (RFC 3030 §2).
    Bdat(Chunk),
    /// `AUTH`; the initial response is still in base64 (RFC 4954 §4).
    Auth {
        /// The mechanism's name, as sent.
        mechanism: &'a str,
        /// `=` is the empty response, none is no response.
        initial: Option<&'a str>,
    },
    /// `STARTTLS` (RFC 3207).
    StartTls,
    /// `RSET` (RFC 5321 §4.1.1.5).
    Rset,
    /// `NOOP` with any argument (§4.1.1.9).
    Noop,
    /// `VRFY`, whose argument nobody reads (§3.5.3).
    Vrfy,
    /// `EXPN`, likewise.
    Expn,
    /// `HELP`, likewise.
    Help,
    /// `QUIT` (§4.1.1.10).
    Quit,
}

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

/// When a message may leave (RFC 4865).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// `HOLDFOR=`: so many seconds after it was taken.
    After(u32),
    /// `HOLDUNTIL=`: not before this time.
    At(Timestamp),
}

impl Release {
    /// The time of it, for a message taken `now`.
    #[must_use]
    pub fn time(self, now: Timestamp) -> Timestamp {
        match self {
            Self::After(seconds) => {
                now.checked_add(jiff::SignedDuration::from_secs(seconds.into())).unwrap_or(Timestamp::MAX)
            }
            Self::At(time) => time,
        }
    }
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
    /// `HOLDFOR=` or `HOLDUNTIL=` (RFC 4865).
    pub release: Option<Release>,
    /// `MT-PRIORITY=`, -9 to 9 (RFC 6710 §3).
    pub priority: Option<i8>,
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

/// What a command's meaning hangs on besides its line.
#[derive(Debug, Clone, Copy, Default)]
pub struct Context {
    /// The listener's leniences.
    pub tolerate: Tolerate,
    /// Whether the client said EHLO: parameters are extensions.
    pub esmtp: bool,
    /// Whether the transaction has SMTPUTF8, so that recipients may (RFC 6531 §3.4).
    pub smtputf8: bool,
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

/// Why a line is no command that we carry out. The client's doing, always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Nothing but white space.
    #[error("empty line")]
    Empty,
    /// NUL, CR, another control octet, or text that is neither ASCII nor UTF-8 where none may be.
    #[error("control octet in a command")]
    Control,
    /// No verb of ours.
    #[error("unknown verb")]
    Unknown,
    /// A verb that RFC 5321 appendix F retired, or that we chose not to have.
    #[error("verb not implemented")]
    NotImplemented,
    /// A web request or an SSH banner.
    #[error("another protocol")]
    OtherProtocol,
    /// An argument is missing.
    #[error("argument missing")]
    NoArgument,
    /// An argument where none is allowed.
    #[error("argument not allowed")]
    Argument,
    /// The EHLO name is too long or not UTF-8.
    #[error("not a name")]
    HelloName,
    /// `MAIL` without `FROM:`, `RCPT` without `TO:`.
    #[error("FROM: or TO: missing")]
    Keyword,
    /// A space after the colon, which this listener doesn't tolerate.
    #[error("space after the colon")]
    SpaceAfterColon,
    /// A path without brackets, which this listener doesn't tolerate.
    #[error("brackets missing")]
    MissingBrackets,
    /// A path that never closes.
    #[error("path without its closing bracket")]
    UnclosedPath,
    /// Something stuck to the path.
    #[error("text behind the path")]
    BehindPath,
    /// The reverse-path is no address.
    #[error("sender: {0}")]
    Sender(AddressError),
    /// The forward-path is no address.
    #[error("recipient: {0}")]
    Recipient(AddressError),
    /// `RCPT TO:<>`.
    #[error("empty recipient")]
    NoRecipient,
    /// `RCPT TO:<Postmaster>`: we are no final destination (RFC 5321 §4.5.1).
    #[error("Postmaster without a domain")]
    BarePostmaster,
    /// A parameter that we didn't offer.
    #[error("unknown parameter")]
    UnknownParameter,
    /// `HOLDFOR` beside `HOLDUNTIL` (RFC 4865).
    #[error("HOLDFOR beside HOLDUNTIL")]
    TwoReleases,
    /// A parameter given twice.
    #[error("parameter given twice")]
    Twice,
    /// A parameter whose value breaks its grammar; which one.
    #[error("bad value of {0}")]
    Value(&'static str),
    /// `BDAT` without a size that is a number, or with another word than `LAST`.
    #[error("bad chunk")]
    Chunk,
}

/// Octets of an EHLO name: as long as a domain may be.
const MAX_HELLO_NAME: usize = 255;

impl<'a> Command<'a> {
    /// Reads one line, without its line end. Leniences that it needed are counted in `used`.
    ///
    /// # Errors
    /// The first thing wrong with it, from left to right.
    pub fn parse(line: &'a [u8], context: Context, used: &mut Leniences) -> Result<Self, CommandError> {
        let line = trim_end(line);
        if line.is_empty() {
            return Err(CommandError::Empty);
        }
        if line.iter().any(u8::is_ascii_control) {
            return Err(CommandError::Control);
        }
        let end = memchr::memchr(b' ', line).unwrap_or(line.len());
        let (verb, rest) = line.split_at_checked(end).ok_or(CommandError::Empty)?;
        let rest = rest.get(1..);
        let mut upper = [0_u8; 8];
        let Some(upper) = upper.get_mut(..verb.len()) else { return Err(stranger(verb)) };
        upper.copy_from_slice(verb);
        upper.make_ascii_uppercase();
        match &*upper {
            b"MAIL" => mail(rest.unwrap_or_default(), context, used).map(Self::Mail),
            b"RCPT" => rcpt(rest.unwrap_or_default(), context, used).map(Self::Rcpt),
            b"DATA" => alone(rest, Self::Data),
            b"BDAT" => Chunk::parse(rest.unwrap_or_default()).map(Self::Bdat).ok_or(CommandError::Chunk),
            b"EHLO" => hello_name(rest).map(Self::Ehlo),
            b"HELO" => hello_name(rest).map(Self::Helo),
            b"AUTH" => auth(rest.unwrap_or_default()),
            b"STARTTLS" => alone(rest, Self::StartTls),
            b"RSET" => alone(rest, Self::Rset),
            b"QUIT" => alone(rest, Self::Quit),
            b"NOOP" => Ok(Self::Noop),
            b"VRFY" => argument(rest).map(|_| Self::Vrfy),
            b"EXPN" => argument(rest).map(|_| Self::Expn),
            b"HELP" => Ok(Self::Help),
            _ => Err(stranger(upper)),
        }
    }
}

/// What a verb that isn't ours is.
fn stranger(verb: &[u8]) -> CommandError {
    match verb {
        b"SEND" | b"SOML" | b"SAML" | b"TURN" | b"ETRN" | b"ATRN" | b"BURL" => CommandError::NotImplemented,
        b"GET" | b"POST" | b"HEAD" | b"PUT" | b"OPTIONS" | b"CONNECT" | b"DELETE" | b"PATCH" | b"TRACE"
        | b"PRI" | b"PROPFIND" => CommandError::OtherProtocol,
        _ if verb.starts_with(b"SSH-") => CommandError::OtherProtocol,
        _ => CommandError::Unknown,
    }
}

/// Trailing white space is tolerated (RFC 5321 §4.1.1).
fn trim_end(mut line: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t'] = line {
        line = rest;
    }
    line
}

fn alone<'a>(rest: Option<&[u8]>, command: Command<'a>) -> Result<Command<'a>, CommandError> {
    if rest.is_none() { Ok(command) } else { Err(CommandError::Argument) }
}

fn argument(rest: Option<&[u8]>) -> Result<&[u8], CommandError> {
    rest.filter(|rest| !rest.is_empty()).ok_or(CommandError::NoArgument)
}

/// Deviation: any text without control characters is taken, since printers and scripts call themselves anything;
/// it is shown escaped wherever it is shown, and decides nothing.
fn hello_name(rest: Option<&[u8]>) -> Result<&str, CommandError> {
    let name = argument(rest)?.trim_ascii_start();
    let text = std::str::from_utf8(name).map_err(|_| CommandError::HelloName)?;
    if text.len() > MAX_HELLO_NAME || text.chars().any(char::is_control) {
        return Err(CommandError::HelloName);
    }
    Ok(text)
}

fn auth(rest: &[u8]) -> Result<Command<'_>, CommandError> {
    let text = std::str::from_utf8(rest).map_err(|_| CommandError::Value("AUTH"))?;
    let mut words = text.split(' ').filter(|word| !word.is_empty());
    let mechanism = words.next().ok_or(CommandError::NoArgument)?;
    let initial = words.next();
    if words.next().is_some() {
        Err(CommandError::Argument)
    } else {
        Ok(Command::Auth { mechanism, initial })
    }
}

impl Mail {
    /// `MAIL FROM:<>` and nothing else.
    #[must_use]
    pub fn from_null() -> Self {
        Self {
            sender: None,
            size: None,
            body: Body::SevenBit,
            smtputf8: false,
            ret: None,
            envid: None,
            release: None,
            priority: None,
        }
    }
}

fn mail(rest: &[u8], context: Context, used: &mut Leniences) -> Result<Mail, CommandError> {
    let (path, parameters) = path_and_parameters(rest, b"FROM:", context.tolerate, used)?;
    let mut mail = Mail::from_null();
    let (mut saw_body, mut saw_auth) = (false, false);
    let (mut hold, mut until) = (None, None);
    for parameter in Parameters(parameters) {
        let (keyword, value) = parameter?;
        if !context.esmtp {
            return Err(CommandError::UnknownParameter);
        }
        match keyword.as_upper() {
            b"SIZE" => once(&mut mail.size, declared_size(value)?)?,
            b"BODY" => {
                first(&mut saw_body)?;
                mail.body = body(value)?;
            }
            b"SMTPUTF8" if value.is_some() => return Err(CommandError::Value("SMTPUTF8")),
            b"SMTPUTF8" => first(&mut mail.smtputf8)?,
            b"RET" => once(&mut mail.ret, ret(value)?)?,
            b"ENVID" => once(&mut mail.envid, envid(value)?)?,
            b"HOLDFOR" => once(&mut hold, hold_for(value)?)?,
            b"HOLDUNTIL" => once(&mut until, hold_until(value)?)?,
            b"MT-PRIORITY" => once(&mut mail.priority, priority(value)?)?,
            // Read and forgotten: we trust no claim of who logged in elsewhere (RFC 4954 §5).
            b"AUTH" => {
                first(&mut saw_auth)?;
                value.filter(|value| is_xtext(value)).ok_or(CommandError::Value("AUTH"))?;
            }
            _ => return Err(CommandError::UnknownParameter),
        }
    }
    mail.release = match (hold, until) {
        (Some(_), Some(_)) => return Err(CommandError::TwoReleases),
        (hold, until) => hold.map(Release::After).or(until.map(Release::At)),
    };
    mail.sender = match Address::parse_path(path, mail.smtputf8) {
        Ok(Path::Null) => None,
        Ok(Path::Mailbox(address)) => Some(address),
        Ok(Path::Postmaster) => return Err(CommandError::Sender(AddressError::Incomplete)),
        Err(why) => return Err(CommandError::Sender(why)),
    };
    Ok(mail)
}

fn rcpt(rest: &[u8], context: Context, used: &mut Leniences) -> Result<Rcpt, CommandError> {
    let (path, parameters) = path_and_parameters(rest, b"TO:", context.tolerate, used)?;
    let (mut notify, mut orcpt) = (None, None);
    for parameter in Parameters(parameters) {
        let (keyword, value) = parameter?;
        if !context.esmtp {
            return Err(CommandError::UnknownParameter);
        }
        match keyword.as_upper() {
            b"NOTIFY" => once(&mut notify, notify_value(value)?)?,
            b"ORCPT" => once(&mut orcpt, orcpt_value(value, context.smtputf8)?)?,
            _ => return Err(CommandError::UnknownParameter),
        }
    }
    match Address::parse_path(path, context.smtputf8) {
        Ok(Path::Mailbox(address)) => Ok(Rcpt { address, notify, orcpt }),
        Ok(Path::Null) => Err(CommandError::NoRecipient),
        Ok(Path::Postmaster) => Err(CommandError::BarePostmaster),
        Err(why) => Err(CommandError::Recipient(why)),
    }
}

/// Cuts `FROM:<path> parameters` into the inside of the path and the parameters.
fn path_and_parameters<'a>(
    rest: &'a [u8],
    keyword: &[u8],
    tolerate: Tolerate,
    used: &mut Leniences,
) -> Result<(&'a [u8], &'a [u8]), CommandError> {
    let (start, mut rest) = rest.split_at_checked(keyword.len()).ok_or(CommandError::Keyword)?;
    if !start.eq_ignore_ascii_case(keyword) {
        return Err(CommandError::Keyword);
    }
    if rest.first() == Some(&b' ') {
        if !tolerate.space_after_colon {
            return Err(CommandError::SpaceAfterColon);
        }
        used.space_after_colon = used.space_after_colon.saturating_add(1);
        rest = rest.trim_ascii_start();
    }
    let (path, behind) = if let Some(inside) = rest.strip_prefix(b"<") {
        let end = path_end(inside).ok_or(CommandError::UnclosedPath)?;
        let (path, behind) = inside.split_at_checked(end).ok_or(CommandError::UnclosedPath)?;
        (path, behind.get(1..).unwrap_or_default())
    } else if rest.is_empty() {
        return Err(CommandError::NoArgument);
    } else if tolerate.missing_brackets {
        used.missing_brackets = used.missing_brackets.saturating_add(1);
        rest.split_at_checked(memchr::memchr(b' ', rest).unwrap_or(rest.len())).unwrap_or_default()
    } else {
        return Err(CommandError::MissingBrackets);
    };
    if behind.first().is_some_and(|&byte| byte != b' ') {
        return Err(CommandError::BehindPath);
    }
    Ok((path, behind))
}

#[cfg(test)]
mod tests;
