//! What the machine asks of its shell, and what it is told beforehand.

use crate::smtp::command::{Mail, Rcpt, Tolerate};
use crate::smtp::reply::Reply;
use crate::smtp::sasl::Credentials;
use jiff::Timestamp;

/// What a session may and may not, decided by the listener's configuration.
///
/// Nothing here says that a client is trusted: the machine knows no exemption, so none can be forgotten. What a
/// trusted client may do is the shell's answer to [`Step::Sender`] and [`Step::Recipient`].
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Our name in the greeting and the EHLO answer.
    pub hostname: Box<str>,
    /// `SIZE` (RFC 1870), in octets of content after the dots are undone.
    pub max_message_size: u64,
    /// `LIMITS RCPTMAX` (RFC 9422); the next recipient gets `452 4.5.3`.
    pub max_recipients: usize,
    /// So many refused commands are answered; the next one gets `421 4.7.0` and the session closes.
    pub max_errors: u32,
    /// The same for commands that do nothing: NOOP, RSET, VRFY, EXPN, HELP, repeated EHLO, empty chunks.
    pub max_junk: u32,
    /// Named leniences.
    pub tolerate: Tolerate,
    /// Whether STARTTLS is offered while the channel is plain.
    pub starttls: bool,
    /// Whether one may or must log in.
    pub auth: AuthPolicy,
    /// AUTH is offered and allowed only inside TLS.
    pub auth_needs_tls: bool,
    /// FUTURERELEASE and MT-PRIORITY; none has neither.
    pub steering: Option<Steering>,
}

/// How clients may steer when and in which order their mail leaves: FUTURERELEASE (RFC 4865) and MT-PRIORITY
/// (RFC 6710). A login always may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steering {
    /// Whether one may without a login.
    pub without_login: bool,
    /// The longest `HOLDFOR=`, in seconds.
    pub longest: u32,
    /// The latest `HOLDUNTIL=`.
    pub latest: Timestamp,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            hostname: "localhost".into(),
            max_message_size: 25 * 1024 * 1024,
            max_recipients: 1000,
            max_errors: 10,
            max_junk: 100,
            tolerate: Tolerate::default(),
            starttls: false,
            auth: AuthPolicy::NotOffered,
            auth_needs_tls: true,
            steering: None,
        }
    }
}

/// Whether one may or must log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthPolicy {
    /// There is no AUTH.
    NotOffered,
    /// AUTH is there for those who want it.
    Offered,
    /// MAIL needs a login, whoever the client is.
    Required,
}

/// What the shell must do next. Exactly one per input.
///
/// Replies may be gathered while more input is already buffered and are due when the shell would wait
/// (RFC 2920 §3.2), except those of [`Step::StartTls`] and [`Step::Close`], which end the buffer.
#[must_use]
#[derive(Debug)]
pub enum Step {
    /// Say this, then read the next line into [`Server::line`](super::Server::line). Also every prompt of a login (334),
    /// and the answer to a chunk that isn't the last: what was written of the message so far stays.
    Say(Reply),
    /// Say nothing, then read the next line: a refused chunk, answered before, has been eaten.
    Proceed,
    /// May this sender send? Answer with [`Server::allow_sender`](super::Server::allow_sender) or
    /// [`Server::refuse`](super::Server::refuse).
    Sender(Mail),
    /// May this recipient be written to? Answer with [`Server::allow_recipient`](super::Server::allow_recipient) or
    /// [`Server::refuse`](super::Server::refuse).
    Recipient(Rcpt),
    /// Say this if there is something, then give every octet read from now on, those already buffered first, to
    /// [`Server::receive`](super::Server::receive) until it returns a step.
    ReadContent(Option<Reply>),
    /// The message is complete: keep what [`Server::receive`](super::Server::receive) wrote, then tell
    /// [`Server::kept`](super::Server::kept) the reply. If a transaction ends in any other way (RSET, EHLO, a refusal), the next
    /// [`Step::Sender`] says so, and what was written until then is to be dropped.
    Keep(Box<Transaction>),
    /// Say this (220) and flush, throw away every byte already read and not yet given to the machine, then shake hands
    /// and call [`Server::tls_established`](super::Server::tls_established) (RFC 3207 §4.2, CVE-2011-0411).
    StartTls(Reply),
    /// Are these credentials good? Answer with [`Server::verified`](super::Server::verified).
    Verify(Credentials),
    /// Say this, flush and close.
    Close(Reply, Closing),
}

/// A message's envelope as the client gave it and the shell allowed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// What MAIL said.
    pub mail: Mail,
    /// What each allowed RCPT said, in order. Never empty in [`Step::Keep`].
    pub recipients: Vec<Rcpt>,
    /// Whether a recipient was refused: DATA then has nobody to go to, which is not a wrong sequence.
    pub(super) refused_any: bool,
    /// How many of the recipients take content whose line ends must be mended.
    pub(super) lenient: usize,
}

impl Transaction {
    /// Whether bare CR and LF in its content are made CRLF whatever the listener tolerates, because nobody but those who
    /// take it so gets it.
    pub(super) fn mends(&self) -> bool {
        self.lenient == self.recipients.len()
    }
}

/// What the shell found out about [`Credentials`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// They are good.
    Good,
    /// Wrong password or unknown user; the client can't tell which.
    Bad,
    /// Nobody could say; the client should try later (454 4.7.0).
    Unknown,
}

/// How a line ended on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineEnd {
    /// CRLF.
    CrLf,
    /// LF without a CR before it.
    BareLf,
}

/// What [`Server::receive`](super::Server::receive) did.
#[must_use]
#[derive(Debug)]
pub struct Progress {
    /// So many octets of the input are used up; the others come after the content.
    pub consumed: usize,
    /// The content has ended; without it, all input is used up and more is wanted.
    pub step: Option<Step>,
}

/// Why a session closes, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// The client said QUIT.
    Quit,
    /// The shell's reply was a 421.
    Asked,
    /// More refused commands than `max_errors`.
    TooManyErrors,
    /// More idle commands than `max_junk`.
    TooMuchJunk,
    /// Three failed logins.
    TooManyLogins,
    /// A command ended in a bare LF, which this listener doesn't tolerate.
    BareLineFeed,
    /// A line without an end.
    EndlessLine,
    /// Content went on beyond twice the size limit.
    EndlessContent,
    /// HTTP or SSH came in.
    OtherProtocol,
    /// A TLS handshake came in on a plain listener.
    TlsOnPlain,
    /// The client spoke before the greeting.
    EarlyTalker,
    /// The shell gave an input that wasn't due: our bug.
    OutOfStep,
}

impl Closing {
    /// What to write in the log.
    #[must_use]
    pub fn note(self) -> &'static str {
        match self {
            Self::Quit => "client said QUIT",
            Self::Asked => "session was closed by us",
            Self::TooManyErrors => "too many refused commands",
            Self::TooMuchJunk => "too many commands that do nothing",
            Self::TooManyLogins => "three failed logins",
            Self::BareLineFeed => {
                "a command ended in a bare LF; set tolerate = [\"bare-lf\"] on this listener if the client can't be mended"
            }
            Self::EndlessLine => "a line went on without an end",
            Self::EndlessContent => "content went on beyond twice the size limit",
            Self::OtherProtocol => "client doesn't speak SMTP (a web or SSH client)",
            Self::TlsOnPlain => {
                "this listener speaks plain SMTP/STARTTLS; client started TLS at once; use the implicit TLS port or set STARTTLS"
            }
            Self::EarlyTalker => "client spoke before the greeting",
            Self::OutOfStep => "the session gave its machine an input that was not due (a bug)",
        }
    }
}
