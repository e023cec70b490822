//! What an outcome means. Decided here and nowhere else.

use crate::smtp::reply::Reply;

/// How far a transaction had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Looking up the smarthost's name, its password, its trust anchors.
    Resolve,
    /// Connecting.
    Connect,
    /// The TLS handshake.
    Tls,
    /// Waiting for `220`.
    Greeting,
    /// EHLO.
    Ehlo,
    /// STARTTLS.
    StartTls,
    /// AUTH.
    Auth,
    /// MAIL FROM.
    Mail,
    /// RCPT TO.
    Rcpt,
    /// DATA and its 354.
    Data,
    /// Content, up to the answer to the final dot or the last BDAT.
    Dot,
}

/// What happened at a stage.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// The smarthost answered.
    Reply(&'a Reply),
    /// What it answered is no reply.
    Malformed(&'a str),
    /// The connection broke; the text says how.
    Lost(&'a str),
    /// Nothing came in time.
    TimedOut,
    /// The name has no address, or none could be looked up.
    NoAddress(&'a str),
    /// TLS failed; the text says how.
    Tls(Tls<'a>),
    /// The smarthost lacks what the settings demand.
    Lacks(Lack),
    /// Something of ours failed: password file, disk.
    Local(&'a str),
}

/// How TLS failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls<'a> {
    /// The certificate is not for us to believe; why.
    Certificate(&'a str),
    /// The peer doesn't speak TLS here.
    NotTls,
    /// Anything else.
    Handshake(&'a str),
}

/// What a smarthost doesn't offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// STARTTLS, which the settings demand.
    StartTls,
    /// AUTH, or no mechanism that we know or may use.
    Auth,
    /// Room for a message of this size (SIZE).
    Size,
    /// SMTPUTF8, for an address that needs it.
    SmtpUtf8,
    /// 8BITMIME, for content that can't be converted.
    EightBit,
}

/// The smarthost as far as a verdict needs it.
#[derive(Debug, Clone, Copy)]
pub struct Upstream<'a> {
    /// The configured host.
    pub host: &'a str,
    /// Whether a message or its content went out on the wire in this transaction already.
    pub content_sent: bool,
}

/// What an attempt means for one recipient. Decided by [`judge`] and nowhere else.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The smarthost took it.
    Delivered(Reply),
    /// Later; counts as an attempt of this recipient.
    Deferred(Cause),
    /// Nothing can go to this smarthost now: the lane stops, no attempt is counted.
    LaneStopped(Stop, Cause),
    /// Never.
    Failed(Cause),
    /// Content went out and no answer came: later, and it may then be a duplicate.
    Uncertain(Cause),
}

/// Why a lane stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stop {
    /// It can't be reached or doesn't answer.
    Down,
    /// It answers "not now".
    Busy,
    /// Certificate or TLS: an admin must act.
    Tls,
    /// The login was refused: an admin must act. The lane is frozen.
    Login,
    /// Logins are refused for the moment.
    LoginLater,
    /// Its quota is used up.
    Quota,
    /// It refuses everything of this account: an admin must act.
    Policy,
    /// Something of ours is wrong: an admin must act.
    Local,
}

/// Why, in a form that a bounce, a log line and a retry can use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The smarthost's reply, or ours in its place.
    pub reply: Reply,
    /// Whether the reply is the smarthost's own.
    pub from_peer: bool,
    /// How far it had come.
    pub stage: Stage,
    /// Who is to blame.
    pub fault: Fault,
    /// What to do about it.
    pub advice: Option<&'static str>,
}

/// Who is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The application: a message or sender that nobody would take.
    Client,
    /// This relay or its settings.
    Relay,
    /// The smarthost.
    Smarthost,
    /// The recipient's address or mailbox.
    Recipient,
    /// The network in between.
    Network,
    /// A rule of the smarthost: quota, content, sender.
    Policy,
}

/// What `event` at `stage` means.
pub fn judge(stage: Stage, event: Event<'_>, upstream: &Upstream<'_>) -> Verdict {
    let _ = (event, upstream);
    let reply = Reply::new(451, None, "to be written");
    Verdict::Deferred(Cause { reply, from_peer: false, stage, fault: Fault::Relay, advice: None })
}
