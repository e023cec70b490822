//! What an outcome means. Decided here and nowhere else.
//!
//! The rules: a `4yz` defers, a `5yz` for a recipient or message fails it, and whatever isn't about this message
//! stops the lane instead, so that no attempts are burnt while a smarthost is down, refuses the login or has no
//! quota left. A provider's known `5yz` for quota or login counts as what it means, not as what it says. What can't
//! be understood is temporary. Content that went out without an answer may be a duplicate when it goes out again.
//! Nothing here fails; the reply in a [`Cause`] has no control characters, whoever wrote it.

use crate::deliver::providers::{self, Meaning, ProviderReply};
use crate::message::decode::clean;
use crate::smtp::reply::{Enhanced, Reply};
use crate::smtp::sasl_client::TokenRefusal;

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
    /// It refuses the access token.
    TokenRefused(&'a TokenRefusal),
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
    /// It is another one than `pin_sha256` names; which.
    NotPinned(&'a str),
    /// A key in its certificates is too short; which.
    WeakKey(&'a str),
    /// It wants a certificate of ours.
    WantsCertificate,
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
    /// SMTPUTF8, for an address or header field that needs it.
    SmtpUtf8,
    /// 8BITMIME, for content that can't be converted.
    EightBit,
    /// A way to write this envelope: an address or parameter would break out of its command.
    Envelope,
}

/// The smarthost as far as a verdict needs it.
#[derive(Debug, Clone, Copy)]
pub struct Upstream<'a> {
    /// The configured host.
    pub host: &'a str,
    /// Whether we are logged in.
    pub authenticated: bool,
    /// Whether the final dot or the last BDAT of this message went out already.
    pub content_sent: bool,
    /// Whether others go on without the one that is judged: other recipients of this transaction, or other messages
    /// after it stopped the lane. What would stop the lane is about it alone then: one that is poisoned must not keep a lane
    /// stopped.
    pub alone: bool,
    /// What the configuration says about this smarthost's replies.
    pub replies: &'a [ProviderReply],
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

impl Verdict {
    /// Whether the smarthost itself said this of one message or recipient, and would say it to no other: it does its work.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        match self {
            Self::Delivered(_) => true,
            Self::Deferred(cause) | Self::Failed(cause) => cause.from_peer && !cause.would_stop,
            Self::LaneStopped(..) | Self::Uncertain(_) => false,
        }
    }

    /// Whether it shows that the smarthost let this one pass where it stopped another.
    #[must_use]
    pub fn is_beyond(&self, stage: Stage) -> bool {
        match self {
            Self::Delivered(_) => true,
            Self::Deferred(cause) | Self::Failed(cause) => self.is_answer() && cause.stage > stage,
            Self::LaneStopped(..) | Self::Uncertain(_) => false,
        }
    }
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
    /// Whether the lane would stop for it, if it weren't about this message or recipient alone.
    pub would_stop: bool,
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
    let ours = |enhanced, text: String, fault, advice| Cause {
        reply: Reply::new(451, Some(enhanced), clean(&text, MAX_TEXT)),
        from_peer: false,
        stage,
        fault,
        advice,
        would_stop: false,
    };
    let host = upstream.host;
    match event {
        Event::Reply(reply) => Judged { stage, reply, upstream }.verdict(),
        Event::Malformed(text) => {
            let text = format!("{host} sent something that is no SMTP reply: {text}");
            unanswered(stage, ours(Enhanced(4, 5, 0), text, Fault::Smarthost, None), upstream)
        }
        Event::Lost(how) => {
            let text = format!("connection to {host} lost {}: {how}", stage.during());
            unanswered(stage, ours(Enhanced(4, 4, 2), text, Fault::Network, None), upstream)
        }
        Event::TimedOut => {
            let text = format!("{host} did not answer in time {}", stage.during());
            // A server that awaits a TLS handshake is as silent as we are.
            let advice = (stage == Stage::Greeting).then_some(
                "a port that starts with TLS says nothing: if this is 465, set tls = \"implicit\"",
            );
            unanswered(stage, ours(Enhanced(4, 4, 2), text, Fault::Network, advice), upstream)
        }
        Event::NoAddress(why) => {
            let text = format!("no address found for {host}: {why}");
            Verdict::LaneStopped(Stop::Down, ours(Enhanced(4, 4, 3), text, Fault::Network, None))
        }
        Event::Tls(tls) => {
            let (text, advice) = tls.words();
            let text = format!("TLS with {host} failed: {text}");
            Verdict::LaneStopped(Stop::Tls, ours(Enhanced(4, 7, 5), text, Fault::Relay, Some(advice)))
        }
        Event::TokenRefused(refusal) => token_refused(stage, refusal, upstream),
        Event::Lacks(lack) => lacking(stage, lack, host),
        Event::Local(text) if stage < Stage::Mail => {
            Verdict::LaneStopped(Stop::Local, ours(Enhanced(4, 3, 5), text.to_owned(), Fault::Relay, None))
        }
        Event::Local(text) => Verdict::Deferred(ours(Enhanced(4, 3, 0), text.to_owned(), Fault::Relay, None)),
    }
}

/// Characters of a text that isn't ours that a reply keeps.
const MAX_TEXT: usize = 500;

/// No answer, or none that can be understood. Before MAIL that is the lane's trouble; from there on this message's,
/// because there are messages on which a next hop breaks every time.
fn unanswered(stage: Stage, cause: Cause, upstream: &Upstream<'_>) -> Verdict {
    match stage {
        _ if upstream.content_sent => Verdict::Uncertain(cause),
        Stage::Resolve
        | Stage::Connect
        | Stage::Tls
        | Stage::Greeting
        | Stage::Ehlo
        | Stage::StartTls
        | Stage::Auth => Verdict::LaneStopped(Stop::Down, cause),
        Stage::Mail | Stage::Rcpt | Stage::Data | Stage::Dot => Verdict::Deferred(cause),
    }
}

/// The lane freezes as for a wrong password, but words and advice are for tokens: most of what providers say to a
/// refused login is about passwords.
fn token_refused(stage: Stage, refusal: &TokenRefusal, upstream: &Upstream<'_>) -> Verdict {
    let reply = refusal.reply.as_ref();
    let known = reply.and_then(|reply| providers::meaning(upstream.host, reply, upstream.replies));
    let own = reply.and_then(|reply| providers::own_meaning(reply, upstream.replies)).and_then(stop_of);
    let stop = match known {
        Some((Meaning::Quota, _)) => Stop::Quota,
        _ => own.unwrap_or(Stop::Login),
    };
    let mut told = Vec::new();
    told.extend(refusal.status.as_ref().map(|status| format!("status {status}")));
    told.extend(refusal.scope.as_ref().map(|scope| format!("scope {scope}")));
    told.extend(reply.map(|reply| reply.lines.join(" ")).filter(|said| !said.is_empty()));
    let text = match told.as_slice() {
        [] => "the access token was refused".to_owned(),
        told => format!("the access token was refused: {}", told.join(", ")),
    };
    let (code, enhanced) = reply.map_or((535, None), |reply| (reply.code, reply.enhanced));
    let cause = Cause {
        reply: Reply::new(code, enhanced.or(Some(Enhanced(5, 7, 8))), clean(&text, MAX_TEXT)),
        from_peer: true,
        stage,
        fault: Fault::Relay,
        advice: Some(providers::token_advice(refusal)),
        would_stop: false,
    };
    Verdict::LaneStopped(stop, cause)
}

fn lacking(stage: Stage, lack: Lack, host: &str) -> Verdict {
    let cause = |code, enhanced, text: &str, fault, advice| Cause {
        reply: Reply::new(code, Some(enhanced), format!("{host} {text}")),
        from_peer: false,
        stage,
        fault,
        advice,
        would_stop: false,
    };
    match lack {
        Lack::StartTls => Verdict::LaneStopped(
            Stop::Tls,
            cause(
                451,
                Enhanced(4, 7, 4),
                "offers no STARTTLS",
                Fault::Smarthost,
                Some(
                    "nothing is sent in plain; port 465 needs tls = \"implicit\", port 587 tls = \"starttls\"",
                ),
            ),
        ),
        Lack::Auth => Verdict::LaneStopped(
            Stop::Login,
            cause(
                451,
                Enhanced(4, 7, 4),
                "offers no way to log in that may be used",
                Fault::Smarthost,
                Some("many offer AUTH only inside TLS: check port and tls; or set auth to what it offers"),
            ),
        ),
        Lack::Size => {
            let text = "takes no message of this size";
            Verdict::Failed(cause(552, Enhanced(5, 3, 4), text, Fault::Client, Some("send it smaller")))
        }
        Lack::SmtpUtf8 => Verdict::Failed(cause(
            550,
            Enhanced(5, 6, 7),
            "takes nothing outside US-ASCII in addresses or header fields (it offers no SMTPUTF8)",
            Fault::Smarthost,
            None,
        )),
        Lack::EightBit => Verdict::Failed(cause(
            554,
            Enhanced(5, 6, 3),
            "takes no 8-bit content, and this can't be converted: a header field has raw 8-bit octets outside of text, or in names \
             and no UTF-8, or a multipart has no boundary",
            Fault::Smarthost,
            None,
        )),
        Lack::Envelope => Verdict::Failed(cause(
            550,
            Enhanced(5, 5, 4),
            "can't be told of this envelope: an address or parameter would break out of its command",
            Fault::Client,
            None,
        )),
    }
}

/// A smarthost's own reply, being judged.
struct Judged<'a> {
    stage: Stage,
    reply: &'a Reply,
    upstream: &'a Upstream<'a>,
}

/// How a meaning stops the lane, if it does.
fn stop_of(meaning: Meaning) -> Option<Stop> {
    match meaning {
        Meaning::Quota => Some(Stop::Quota),
        Meaning::Login | Meaning::AppPassword | Meaning::LoginDisabled | Meaning::NeedsLogin => {
            Some(Stop::Login)
        }
        Meaning::LoginLater => Some(Stop::LoginLater),
        Meaning::Encryption => Some(Stop::Tls),
        Meaning::Busy => Some(Stop::Busy),
        Meaning::Policy | Meaning::Pending => Some(Stop::Policy),
        Meaning::Later | Meaning::RecipientLimit | Meaning::Sender | Meaning::Content => None,
    }
}

impl Judged<'_> {
    fn verdict(&self) -> Verdict {
        let reply = self.reply;
        let known = providers::meaning(self.upstream.host, reply, self.upstream.replies);
        let cause = self.cause(known.and_then(|(_, advice)| advice));
        // Before mail a table of words isn't asked for more than advice, but an admin's word is.
        let told = providers::own_meaning(reply, self.upstream.replies).filter(|_| self.stage < Stage::Mail);
        if let Some(stop) = told.and_then(stop_of) {
            return Verdict::LaneStopped(stop, cause);
        }
        match self.stage {
            Stage::Dot if reply.is_positive() => Verdict::Delivered(cause.reply),
            // A reply out of place: there is no telling what the peer made of what it was sent.
            _ if !reply.is_transient() && !reply.is_permanent() => {
                unanswered(self.stage, cause, self.upstream)
            }
            Stage::Resolve
            | Stage::Connect
            | Stage::Tls
            | Stage::Greeting
            | Stage::Ehlo
            | Stage::StartTls => {
                let stop = match self.stage {
                    _ if reply.is_transient() => Stop::Busy,
                    Stage::StartTls => Stop::Tls,
                    _ => Stop::Policy,
                };
                Verdict::LaneStopped(stop, cause)
            }
            Stage::Auth => self.login(known.map(|(meaning, _)| meaning), cause),
            Stage::Mail | Stage::Rcpt | Stage::Data | Stage::Dot => match known {
                Some((meaning, _)) => self.meant(meaning, cause),
                None => self.said(cause),
            },
        }
    }

    /// RFC 4954 §4 and §6: `4yz` is a matter of time, `5yz` one for an admin.
    fn login(&self, known: Option<Meaning>, cause: Cause) -> Verdict {
        match known {
            Some(Meaning::Quota) => Verdict::LaneStopped(Stop::Quota, cause),
            _ if self.reply.is_transient() => {
                let advice = "the smarthost judges no logins now: too many of them, or trouble of its own; it is tried \
                              again by itself, and fewer connections may help";
                Verdict::LaneStopped(Stop::LoginLater, with_advice(cause, advice))
            }
            // RFC 4954 §6: encryption required for the requested mechanism.
            _ if self.reply.code == 538 => {
                let advice =
                    "the smarthost takes this login inside TLS alone: set tls = \"starttls\" or \"implicit\"";
                Verdict::LaneStopped(Stop::Login, with_advice(cause, advice))
            }
            _ => Verdict::LaneStopped(Stop::Login, with_advice(cause, "check username and password")),
        }
    }

    fn meant(&self, meaning: Meaning, cause: Cause) -> Verdict {
        match (meaning, stop_of(meaning)) {
            // A relay that takes some recipients without a login and not others ("554 Relay access denied") wants none.
            (Meaning::NeedsLogin, _) if self.upstream.authenticated || self.upstream.alone => {
                self.said(Cause { advice: None, would_stop: self.upstream.alone, ..cause })
            }
            (_, Some(stop)) => self.stopped(stop, cause),
            (Meaning::Later, _) => Verdict::Deferred(cause),
            (Meaning::RecipientLimit, _) if self.stage == Stage::Rcpt => Verdict::Deferred(cause),
            _ => self.said(cause),
        }
    }

    /// What the code alone says.
    fn said(&self, cause: Cause) -> Verdict {
        match self.reply.code {
            // RFC 5321 §3.8: it closes the connection. With the content behind us it was at least about this message.
            421 if self.stage != Stage::Dot => self.stopped(Stop::Busy, cause),
            400..500 => Verdict::Deferred(cause),
            _ if self.is_about_the_dialogue() => Verdict::Deferred(cause),
            _ => Verdict::Failed(cause),
        }
    }

    /// Whether the two of us are out of step (`503`), or a command as common as MAIL isn't known (`500`, `502`): that says
    /// nothing of a message or a recipient (RFC 5321 §4.2.4, §4.3.2).
    fn is_about_the_dialogue(&self) -> bool {
        let is_protocol = self.reply.enhanced.is_none_or(|Enhanced(_, subject, _)| subject == 5);
        let is_before_content = matches!(self.stage, Stage::Mail | Stage::Rcpt | Stage::Data);
        is_protocol
            && (self.reply.code == 503 && (is_before_content || self.stage == Stage::Dot)
                || matches!(self.reply.code, 500 | 502) && is_before_content)
    }

    fn stopped(&self, stop: Stop, cause: Cause) -> Verdict {
        if self.upstream.alone {
            Verdict::Deferred(Cause { would_stop: true, ..cause })
        } else {
            Verdict::LaneStopped(stop, cause)
        }
    }

    fn cause(&self, advice: Option<&'static str>) -> Cause {
        let lines = self.reply.lines.iter().map(|line| clean(line, MAX_TEXT).into()).collect();
        let reply = Reply { lines, ..*self.reply };
        let (stage, fault) = (self.stage, self.fault());
        Cause { reply, from_peer: true, stage, fault, advice, would_stop: false }
    }

    /// RFC 3463 §3 names the subject; without it the stage tells.
    fn fault(&self) -> Fault {
        match (self.reply.enhanced.map(|Enhanced(_, subject, _)| subject), self.stage) {
            (Some(1 | 2), _) => Fault::Recipient,
            (Some(3), _) => Fault::Smarthost,
            (Some(4), _) => Fault::Network,
            (Some(5), _) | (_, Stage::Auth) => Fault::Relay,
            (Some(6), _) => Fault::Client,
            (Some(7), _) => Fault::Policy,
            (_, Stage::Rcpt) => Fault::Recipient,
            (_, Stage::Mail | Stage::Data | Stage::Dot) if self.reply.is_permanent() => Fault::Client,
            _ => Fault::Smarthost,
        }
    }
}

fn with_advice(cause: Cause, advice: &'static str) -> Cause {
    Cause { advice: cause.advice.or(Some(advice)), ..cause }
}

impl Stage {
    /// The stage in a sentence.
    fn during(self) -> &'static str {
        match self {
            Self::Resolve => "while looking it up",
            Self::Connect => "while connecting",
            Self::Tls => "in the TLS handshake",
            Self::Greeting => "before its greeting",
            Self::Ehlo => "after EHLO",
            Self::StartTls => "after STARTTLS",
            Self::Auth => "while logging in",
            Self::Mail => "after MAIL",
            Self::Rcpt => "after RCPT",
            Self::Data => "after DATA",
            Self::Dot => "while sending the message",
        }
    }
}

impl<'a> Tls<'a> {
    fn words(self) -> (&'a str, &'static str) {
        match self {
            // As rustls says it of a date.
            Self::Certificate(why) if why.contains("certificate expired") => (
                why,
                "the smarthost must renew it: tell the provider, and see that this machine's clock is right; until then only \
                 pin_sha256, in place of ca_file, takes it as it is",
            ),
            // As webpki says it.
            Self::Certificate(why) if why.contains("CaUsedAsEndEntity") => (
                "its certificate is self-signed, and one of an authority (CA:TRUE)",
                "no ca_file helps there: set pin_sha256 as `waystation doctor` says, or give the \
                 smarthost one that an authority signed",
            ),
            Self::Certificate(why) => (
                why,
                "check host, or set server_name to the certificate's name; for a private authority set ca_file, or \
                 pin_sha256 for this one certificate",
            ),
            Self::NotPinned(why) => (
                why,
                "perhaps it was renewed: ask the provider, by another way than this connection, and put the new one \
                 into pin_sha256",
            ),
            Self::WeakKey(why) => (
                why,
                "no setting helps: the smarthost must get a certificate with a longer key; tell whoever runs it",
            ),
            Self::WantsCertificate => (
                "it wants a client certificate",
                "waystation has none to show: ask the provider for a port or an account that goes without one, by \
                 username and password",
            ),
            Self::NotTls => (
                "it does not speak TLS on this port",
                "port 465 needs tls = \"implicit\", ports 587 and 25 tls = \"starttls\"",
            ),
            Self::Handshake(why) => {
                (why, "TLS 1.2 or 1.3 is needed; if it broke on size, try post_quantum = false")
            }
        }
    }
}

impl Cause {
    /// Whether the smarthost only wants fewer recipients at once: the others can go in another transaction without
    /// waiting (RFC 5321 §4.5.3.1.10).
    #[must_use]
    pub fn is_recipient_limit(&self) -> bool {
        self.stage == Stage::Rcpt && matches!(self.reply.code, 452 | 550 | 552) && {
            let known = providers::meaning("", &self.reply, &[]);
            matches!(known, Some((Meaning::RecipientLimit, _)))
        }
    }

    /// Whether the reply says that there are too many connections, by its code (4.7.0) or in words.
    #[must_use]
    pub fn is_about_connections(&self) -> bool {
        let words = ["too many", "connections", "concurren", "simultaneous", "sessions", "at once"];
        let text = self.reply.lines.join(" ").to_ascii_lowercase();
        self.reply.enhanced == Some(Enhanced(4, 7, 0)) || words.iter().any(|word| text.contains(word))
    }

    /// Whether the smarthost closes the connection behind this reply (RFC 5321 §3.8).
    #[must_use]
    pub fn closes(&self) -> bool {
        self.from_peer && self.reply.code == 421
    }
}

#[cfg(test)]
pub(in crate::deliver) mod tests {
    use super::*;

    pub fn upstream(host: &str) -> Upstream<'_> {
        Upstream { host, authenticated: false, content_sent: false, alone: false, replies: &[] }
    }

    /// `550 5.4.5 text`, as on the wire.
    pub fn reply(line: &str) -> Reply {
        let (code, text) = line.split_once(' ').unwrap();
        let numbers: Vec<u16> = text
            .split(' ')
            .next()
            .filter(|word| word.split('.').count() == 3)
            .map(|word| word.split('.').filter_map(|number| number.parse().ok()).collect())
            .unwrap_or_default();
        match numbers[..] {
            [class, subject, detail] => {
                let enhanced = Enhanced(u8::try_from(class).unwrap(), subject, detail);
                let text = text.split_once(' ').unwrap().1.to_owned();
                Reply::new(code.parse().unwrap(), Some(enhanced), text)
            }
            _ => Reply::new(code.parse().unwrap(), None, text.to_owned()),
        }
    }

    pub fn word(verdict: &Verdict) -> String {
        match verdict {
            Verdict::Delivered(_) => "delivered".into(),
            Verdict::Deferred(_) => "deferred".into(),
            Verdict::Failed(_) => "failed".into(),
            Verdict::Uncertain(_) => "uncertain".into(),
            Verdict::LaneStopped(stop, _) => format!("{stop:?}"),
        }
    }

    fn cause(verdict: Verdict) -> Cause {
        match verdict {
            Verdict::Deferred(cause)
            | Verdict::Failed(cause)
            | Verdict::Uncertain(cause)
            | Verdict::LaneStopped(_, cause) => cause,
            Verdict::Delivered(reply) => panic!("delivered: {reply:?}"),
        }
    }

    const STAGES: [Stage; 11] = [
        Stage::Resolve,
        Stage::Connect,
        Stage::Tls,
        Stage::Greeting,
        Stage::Ehlo,
        Stage::StartTls,
        Stage::Auth,
        Stage::Mail,
        Stage::Rcpt,
        Stage::Data,
        Stage::Dot,
    ];

    #[test]
    fn a_reply_is_about_connections_when_it_says_so() {
        for (line, is) in [
            ("421 4.7.0 try later", true),
            ("421 4.3.2 Too many open connections", true),
            ("421 Maximum number of concurrent sessions reached", true),
            ("421 4.3.2 bye", false),
            ("421 4.3.2 service shutting down", false),
            ("421 4.3.0 temporary failure", false),
        ] {
            let told = judge(Stage::Greeting, Event::Reply(&reply(line)), &upstream("mx"));
            assert_eq!(cause(told).is_about_connections(), is, "{line}");
        }
    }

    #[test]
    fn whoever_refuses_logins_for_now_is_explained() {
        for (host, advice) in
            [("smtp.example.com", "is tried again by itself"), ("smtp.gmail.com", "lets logins in again")]
        {
            let refused = reply("454 4.7.0 Too many login attempts, please try again later");
            let verdict = judge(Stage::Auth, Event::Reply(&refused), &upstream(host));
            let Verdict::LaneStopped(Stop::LoginLater, cause) = verdict else { panic!("{verdict:?}") };
            assert!(cause.advice.is_some_and(|told| told.contains(advice)), "{host}: {cause:?}");
        }
    }

    #[test]
    fn the_code_alone_at_every_stage() {
        // Greeting, EHLO, STARTTLS, AUTH, MAIL, RCPT, DATA, dot.
        for (line, expected) in [
            ("250 ok", "Down Down Down Down deferred deferred deferred delivered"),
            ("354 go on", "Down Down Down Down deferred deferred deferred deferred"),
            ("421 4.3.2 closing", "Busy Busy Busy LoginLater Busy Busy Busy deferred"),
            ("450 4.2.1 later", "Busy Busy Busy LoginLater deferred deferred deferred deferred"),
            ("451 4.3.0 later", "Busy Busy Busy LoginLater deferred deferred deferred deferred"),
            ("454 4.7.0 later", "Busy Busy Busy LoginLater deferred deferred deferred deferred"),
            ("530 5.7.0 no", "Policy Policy Tls Login Login Login Login Login"),
            ("535 5.7.8 no", "Policy Policy Tls Login failed failed failed failed"),
            ("550 5.1.1 no", "Policy Policy Tls Login failed failed failed failed"),
            ("554 5.6.0 no", "Policy Policy Tls Login failed failed failed failed"),
            ("199 what", "Down Down Down Down deferred deferred deferred deferred"),
            ("666 what", "Down Down Down Down deferred deferred deferred deferred"),
        ] {
            let judged: Vec<String> = STAGES[3..]
                .iter()
                .map(|stage| word(&judge(*stage, Event::Reply(&reply(line)), &upstream("mx.test"))))
                .collect();
            assert_eq!(judged.join(" "), expected, "{line}");
        }
    }

    #[test]
    fn an_admins_word_counts_before_mail_as_well() {
        let own = |text: &str, means| ProviderReply { host: None, code: None, text: text.into(), means };
        let replies = [
            own("bad auth", Meaning::LoginLater),
            own("expired", Meaning::Login),
            own("sorry", Meaning::Quota),
            own("grey", Meaning::Later),
        ];
        let upstream = Upstream { replies: &replies, ..upstream("smtp.mail.yahoo.com") };
        for (stage, line, expected) in [
            (Stage::Auth, "535 5.7.0 (#AUTH005) Too many bad auth attempts.", "LoginLater"),
            (Stage::Auth, "454 4.7.0 password expired", "Login"),
            (Stage::Greeting, "554 sorry", "Quota"),
            (Stage::Ehlo, "450 sorry", "Quota"),
            (Stage::Greeting, "450 greylisted", "Busy"),
            (Stage::Auth, "535 greylisted", "Login"),
        ] {
            assert_eq!(
                word(&judge(stage, Event::Reply(&reply(line)), &upstream)),
                expected,
                "{stage:?} {line}"
            );
        }
    }

    #[test]
    fn silence_stops_the_lane_before_mail_and_the_message_from_there_on() {
        for event in [Event::Lost("reset"), Event::TimedOut, Event::Malformed("HTTP/1.1")] {
            for stage in STAGES {
                let expected = if stage < Stage::Mail { "Down" } else { "deferred" };
                assert_eq!(word(&judge(stage, event, &upstream("mx.test"))), expected, "{stage:?} {event:?}");
            }
            let sent = Upstream { content_sent: true, ..upstream("mx.test") };
            assert_eq!(word(&judge(Stage::Dot, event, &sent)), "uncertain");
        }
        let answered = Upstream { content_sent: true, ..upstream("mx.test") };
        let line = reply("451 4.3.0 later");
        assert_eq!(word(&judge(Stage::Dot, Event::Reply(&line), &answered)), "deferred", "it did answer");
    }

    #[test]
    fn a_dialogue_out_of_step_says_nothing_of_a_message() {
        for (stage, line, expected) in [
            (Stage::Mail, "503 5.5.1 nested MAIL command", "deferred"),
            (Stage::Mail, "500 5.5.2 unrecognized command", "deferred"),
            (Stage::Rcpt, "503 need MAIL command", "deferred"),
            (Stage::Data, "502 not implemented", "deferred"),
            (Stage::Dot, "503 5.5.1 bad sequence", "deferred"),
            (Stage::Dot, "500 5.5.2 what is that", "failed"),
            (Stage::Rcpt, "501 5.1.3 bad address", "failed"),
            (Stage::Rcpt, "500 5.1.1 unknown user", "failed"),
        ] {
            let verdict = judge(stage, Event::Reply(&reply(line)), &upstream("mx.test"));
            assert_eq!(word(&verdict), expected, "{stage:?} {line}");
        }
    }

    #[test]
    fn what_others_are_not_told_is_about_the_message_alone() {
        let alone = Upstream { alone: true, ..upstream("smtp.gmail.com") };
        let quota = "550 5.4.5 Daily user sending limit exceeded";
        for (stage, line, expected) in [
            (Stage::Greeting, "421 4.7.0 go away", "Busy"),
            (Stage::Mail, "421 4.7.0 go away", "deferred"),
            (Stage::Rcpt, "421 4.7.0 go away", "deferred"),
            (Stage::Rcpt, quota, "deferred"),
            (Stage::Mail, "530 5.7.0 authentication required", "deferred"),
            (Stage::Rcpt, "554 5.7.1 relay access denied", "failed"),
        ] {
            assert_eq!(word(&judge(stage, Event::Reply(&reply(line)), &alone)), expected, "{stage:?} {line}");
        }
    }

    #[test]
    fn only_what_is_said_of_one_message_shows_that_others_go() {
        let alone = Upstream { alone: true, ..upstream("mx.test") };
        let denied = "554 5.7.1 relay access denied";
        for (stage, line, upstream, is_answer, is_beyond_mail) in [
            (Stage::Dot, "250 2.0.0 taken", upstream("mx.test"), true, true),
            (Stage::Rcpt, "550 5.1.1 no such user", upstream("mx.test"), true, true),
            (Stage::Mail, "451 4.3.0 later", upstream("mx.test"), true, false),
            (Stage::Rcpt, denied, upstream("mx.test"), false, false),
            (Stage::Rcpt, denied, alone, false, false),
            (Stage::Rcpt, "421 4.7.0 go away", alone, false, false),
        ] {
            let verdict = judge(stage, Event::Reply(&reply(line)), &upstream);
            assert_eq!(verdict.is_answer(), is_answer, "{line}");
            assert_eq!(verdict.is_beyond(Stage::Mail), is_beyond_mail, "{line}");
        }
        for event in [Event::Lost("reset"), Event::TimedOut, Event::Lacks(Lack::Size)] {
            assert!(!judge(Stage::Rcpt, event, &upstream("mx.test")).is_answer(), "{event:?}");
        }
    }

    #[test]
    fn logged_in_a_wish_for_a_login_is_another_hosts() {
        let line = reply("550 5.7.1 host mx.y.test said: authentication required");
        let logged_in = Upstream { authenticated: true, ..upstream("mx.test") };
        assert_eq!(word(&judge(Stage::Rcpt, Event::Reply(&line), &logged_in)), "failed");
        assert_eq!(word(&judge(Stage::Rcpt, Event::Reply(&line), &upstream("mx.test"))), "Login");
    }

    #[test]
    fn what_we_can_tell_ourselves() {
        for (stage, event, expected, code) in [
            (Stage::Resolve, Event::NoAddress("NXDOMAIN"), "Down", (451, Enhanced(4, 4, 3))),
            (Stage::Tls, Event::Tls(Tls::Certificate("expired")), "Tls", (451, Enhanced(4, 7, 5))),
            (Stage::Tls, Event::Tls(Tls::NotTls), "Tls", (451, Enhanced(4, 7, 5))),
            (Stage::Tls, Event::Tls(Tls::Handshake("alert")), "Tls", (451, Enhanced(4, 7, 5))),
            (Stage::Ehlo, Event::Lacks(Lack::StartTls), "Tls", (451, Enhanced(4, 7, 4))),
            (Stage::Ehlo, Event::Lacks(Lack::Auth), "Login", (451, Enhanced(4, 7, 4))),
            (Stage::Mail, Event::Lacks(Lack::Size), "failed", (552, Enhanced(5, 3, 4))),
            (Stage::Mail, Event::Lacks(Lack::SmtpUtf8), "failed", (550, Enhanced(5, 6, 7))),
            (Stage::Mail, Event::Lacks(Lack::EightBit), "failed", (554, Enhanced(5, 6, 3))),
            (Stage::Auth, Event::Local("password file: no such file"), "Local", (451, Enhanced(4, 3, 5))),
            (Stage::Data, Event::Local("content: read error"), "deferred", (451, Enhanced(4, 3, 0))),
        ] {
            let verdict = judge(stage, event, &upstream("mx.test"));
            assert_eq!(word(&verdict), expected, "{event:?}");
            let cause = cause(verdict);
            assert_eq!((cause.reply.code, cause.reply.enhanced), (code.0, Some(code.1)), "{event:?}");
            assert!(!cause.from_peer);
        }
    }

    #[test]
    fn the_subject_of_the_code_names_who_is_to_blame() {
        for (stage, line, fault) in [
            (Stage::Rcpt, "550 5.1.1 no such user", Fault::Recipient),
            (Stage::Rcpt, "550 no such user", Fault::Recipient),
            (Stage::Dot, "552 5.3.4 too big", Fault::Smarthost),
            (Stage::Dot, "550 5.7.1 spam", Fault::Policy),
            (Stage::Dot, "554 bad content", Fault::Client),
            (Stage::Dot, "451 oops", Fault::Smarthost),
            (Stage::Auth, "535 no", Fault::Relay),
        ] {
            assert_eq!(
                cause(judge(stage, Event::Reply(&reply(line)), &upstream("x"))).fault,
                fault,
                "{line}"
            );
        }
    }

    #[test]
    fn an_expired_certificate_is_the_providers_to_renew() {
        let at =
            |seconds| rustls::pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        let expired = rustls::CertificateError::ExpiredContext { time: at(2_000), not_after: at(1_000) };
        let text = rustls::Error::InvalidCertificate(expired).to_string();
        let advice = |text: &str| {
            cause(judge(Stage::Tls, Event::Tls(Tls::Certificate(text)), &upstream("x.test"))).advice.unwrap()
        };
        assert!(advice(&text).contains("must renew it"), "{text}");
        assert!(advice("unknown issuer").contains("set ca_file"));
    }

    #[test]
    fn a_limit_on_recipients_asks_for_another_transaction() {
        let limit = |line: &str| {
            cause(judge(Stage::Rcpt, Event::Reply(&reply(line)), &upstream("x.test"))).is_recipient_limit()
        };
        assert!(limit("452 4.5.3 too many recipients"));
        assert!(limit("552 Too many recipients"));
        assert!(limit("550 5.5.3 Too many recipients in this transaction"));
        assert!(!limit("550 5.1.1 nobody of this name"));
        assert!(!limit("452 4.3.1 disk full"));
        assert!(!limit("452 4.2.2 mailbox full"));
        assert!(!limit("452 4.5.3 daily sending quota exceeded"));
    }

    #[test]
    fn what_a_peer_says_cannot_steer_a_terminal() {
        let hostile = Reply::new(550, None, "no\u{1b}[2J\r\nX: \u{202e}y");
        let cause = cause(judge(Stage::Rcpt, Event::Reply(&hostile), &upstream("x")));
        assert_eq!(cause.reply.lines, ["no[2JX: y"]);
        let judged = judge(Stage::Mail, Event::Malformed("\0\n250 ok"), &upstream("x"));
        assert!(judged != Verdict::Delivered(Reply::new(250, None, "ok")));
    }
}
