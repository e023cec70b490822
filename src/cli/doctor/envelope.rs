//! What became of MAIL and RCPT with the account's own address, and what that means. Pure.

use super::diagnosis::{Report, Subject};
use super::finding::ModeFinding;
use crate::config::schema::TlsMode;
use crate::deliver::providers::{self, Meaning};
use crate::deliver::trial::{Asked, Unanswered};
use crate::smtp::reply::Reply;

/// What became of MAIL and RCPT with the account's own address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Envelope {
    Asked(Asked),
    /// Not tried, because.
    NotAsked(&'static str),
}

/// What that means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate<'a> {
    NotTried(&'static str),
    /// Both were accepted.
    Accepted,
    /// The server wants a login, and none is configured.
    LoginWanted(&'a Reply),
    /// The server wants STARTTLS first.
    TlsWanted(&'a Reply),
    /// The account has sent its share.
    Quota(&'a Reply),
    /// Not now.
    Later(&'a Reply),
    /// The address is refused.
    Refused(&'a Reply),
    /// It isn't the address: the command itself is not taken, or a login is missed that we made.
    Command(&'a Reply),
    /// A reply that answers no such command.
    OutOfPlace(&'a Reply),
    /// No reply came.
    Unanswered(Unanswered),
}

impl Envelope {
    /// The replies, as far as they came.
    pub(super) fn replies(&self) -> &[Reply] {
        match self {
            Self::Asked(asked) => &asked.replies,
            Self::NotAsked(_) => &[],
        }
    }

    /// What it means. Only both replies are an acceptance: that MAIL was taken says nothing of an RCPT without answer.
    pub(super) fn fate(&self, subject: &Subject) -> Fate<'_> {
        let asked = match self {
            Self::NotAsked(why) => return Fate::NotTried(why),
            Self::Asked(asked) => asked,
        };
        match (asked.unanswered, asked.replies.as_slice()) {
            (Some(unanswered), _) => Fate::Unanswered(unanswered),
            (None, [mail, rcpt]) if mail.is_positive() && rcpt.is_positive() => Fate::Accepted,
            (None, [.., last]) if !last.is_positive() => refused(last, subject),
            (None, _) => Fate::Unanswered(Unanswered::Closed),
        }
    }

    /// The command that was the last one to be said.
    fn command(&self) -> &'static str {
        match self {
            Self::Asked(Asked { replies, unanswered: None }) if replies.len() > 1 => "RCPT",
            Self::Asked(Asked { replies, unanswered: Some(_) }) if !replies.is_empty() => "RCPT",
            _ => "MAIL",
        }
    }
}

/// What a reply that isn't positive means.
fn refused<'a>(reply: &'a Reply, subject: &Subject) -> Fate<'a> {
    let known = providers::meaning(&subject.host, reply, &subject.replies).map(|(meaning, _)| meaning);
    match known {
        _ if !reply.is_transient() && !reply.is_permanent() => Fate::OutOfPlace(reply),
        Some(Meaning::Encryption) => Fate::TlsWanted(reply),
        Some(Meaning::Quota) => Fate::Quota(reply),
        Some(Meaning::Busy | Meaning::Later | Meaning::LoginLater) => Fate::Later(reply),
        _ if reply.is_transient() => Fate::Later(reply),
        // RFC 4954 §6: a login is required.
        _ if reply.code == 530 && !subject.has_login => Fate::LoginWanted(reply),
        // RFC 5321 §4.2.2 and §4.2.4: unknown, not implemented, out of sequence.
        _ if matches!(reply.code, 500..=504 | 530) => Fate::Command(reply),
        _ => Fate::Refused(reply),
    }
}

/// Adds what it means, and what to do.
pub(super) fn words(report: &mut Report, subject: &Subject, finding: &ModeFinding, envelope: &Envelope) {
    let offered = finding.offers.as_ref().map(|offers| offers.capabilities.auth.join(" "));
    let offered = offered.filter(|offered| !offered.is_empty() && !subject.has_login);
    let command = envelope.command();
    let fate = envelope.fate(subject);
    match fate {
        Fate::NotTried(why) => {
            report.note(format!("MAIL and RCPT were not tried: {why}."));
            if let Some(offered) = offered.filter(|_| subject.configured.is_some()) {
                report.note(format!(
                    "The server offers a login (AUTH {offered}), and none is configured: most submission servers take mail only \
                     behind one. Write username and password_file if yours does."
                ));
            }
            return;
        }
        Fate::Accepted => {
            return report.good(
                "MAIL and RCPT with the account's own address were accepted (and taken back; nothing was sent).",
            );
        }
        Fate::LoginWanted(reply) => {
            return report.bad(format!(
                "The server wants a login, and none is configured: {reply}. Write username and password_file (the password alone \
                 in that file)."
            ));
        }
        Fate::TlsWanted(reply) if finding.mode == TlsMode::None => {
            return report.bad(format!(
                "The server takes mail inside TLS alone: {reply}. Write tls = \"starttls\", or \"implicit\" with the port for it."
            ));
        }
        Fate::TlsWanted(reply) => {
            return report.bad(format!(
                "At {command} the server says that encryption is missing, although this connection has it: {reply}. Something \
                 in front of the server may take TLS off, or its settings contradict each other; ask whoever runs it."
            ));
        }
        Fate::Quota(reply) => {
            report.bad(format!("The account has sent all it may for now: {reply}"));
        }
        Fate::Later(reply) => report.bad(format!(
            "{command} with the account's own address isn't taken at the moment: {reply}. Mail waits then and is tried again."
        )),
        Fate::Refused(reply) => {
            report.bad(format!("{command} with the account's own address was refused: {reply}"));
        }
        Fate::Command(reply) if reply.code == 530 => {
            return report.bad(format!(
                "At {command} the server says that a login is missing, although it took ours: {reply}. Ask whoever runs it."
            ));
        }
        Fate::Command(reply) => {
            report.bad(format!("The server doesn't take the command {command}, whatever the address: {reply}"));
        }
        Fate::OutOfPlace(reply) => {
            return report.bad(format!(
                "To {command} the server said what is no answer to it: {reply}. It, or something in between, is out of step; \
                 mail can't be sent like that."
            ));
        }
        Fate::Unanswered(Unanswered::Silence) => {
            return report.bad(format!(
                "To {command} with the account's own address no answer came in time: whether mail is taken isn't known. The \
                 server hangs there, or checks addresses slowly; try --timeout 60."
            ));
        }
        Fate::Unanswered(Unanswered::Closed) => {
            return report.bad(format!(
                "At {command} with the account's own address the connection ended without an answer: mail would not get \
                 through. The server breaks off there, or something in between does; ask whoever runs it."
            ));
        }
        Fate::Unanswered(Unanswered::Garbled) => {
            return report.bad(format!("To {command} something came that is no SMTP reply: mail can't be sent like that."));
        }
    }
    if let Fate::Quota(reply) | Fate::Later(reply) | Fate::Refused(reply) = fate
        && let Some((meaning, Some(advice))) = providers::meaning(&subject.host, reply, &subject.replies)
        // Of a login the note below speaks, where none is configured.
        && meaning != Meaning::NeedsLogin
    {
        report.advice(advice);
    }
    if let (Fate::Refused(_), Some(offered)) = (fate, offered) {
        report.note(format!(
            "No login is configured, and the server offers one (AUTH {offered}): it may want it. Write username and \
             password_file then."
        ));
    }
}
