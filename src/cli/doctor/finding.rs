//! What probing found: plain values, so that the diagnosis can be tested without a network.

use crate::config::schema::TlsMode;
use crate::net::observe::Seen;
use crate::smtp::capabilities::Capabilities;
use crate::smtp::reply::Reply;
use std::io;
use std::net::{IpAddr, SocketAddr};

/// Characters of a line that are shown.
const SHOWN: usize = 100;

/// Everything that was found out about a host without logging in.
#[derive(Debug, Clone, Default)]
pub(super) struct Findings {
    pub(super) lookup: Lookup,
    /// In the order they were asked for.
    pub(super) ports: Vec<PortFinding>,
}

/// What the resolver says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Lookup {
    /// From A records, the hosts file, or the argument itself.
    pub(super) ipv4: Vec<IpAddr>,
    /// The same from AAAA.
    pub(super) ipv6: Vec<IpAddr>,
    /// Why there are none.
    pub(super) trouble: Option<LookupTrouble>,
    /// What the name server itself says then; none when it wasn't asked.
    pub(super) records: Option<Records>,
}

/// What a name server says of a name's addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Records {
    pub(super) a: Answered,
    pub(super) aaaa: Answered,
}

/// What a name server says of one kind of address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answered {
    /// There is one, or more.
    Addresses(Vec<IpAddr>),
    /// NXDOMAIN.
    NoSuchName,
    /// The name exists, without a record of this kind.
    NoRecord,
    /// SERVFAIL.
    Failure,
    /// REFUSED.
    Refused,
    /// No answer in time.
    Silence,
    /// No name server can be reached, or anything else, in words.
    Other(String),
}

/// Why a name has no address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LookupTrouble {
    /// The name doesn't exist.
    NoSuchName,
    /// It exists, without an address.
    NoAddress,
    /// The resolver couldn't find out.
    ServerFailure,
    /// No answer in time.
    TimedOut,
    /// Anything else, in the system's words.
    Other(String),
}

/// One port.
#[derive(Debug, Clone)]
pub(super) struct PortFinding {
    pub(super) port: u16,
    /// How each address took the connection.
    pub(super) addresses: Vec<(SocketAddr, Reached)>,
    /// What came of each way to begin; empty when no address took it.
    pub(super) modes: Vec<ModeFinding>,
}

/// How a connection attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reached {
    Open,
    /// Somebody said no: nothing listens there.
    Refused,
    /// Nobody said anything: packets are dropped on the way.
    Filtered,
    /// There is no way there.
    Unreachable,
    /// This machine's own firewall or sandbox forbids it.
    Forbidden,
    Other(String),
}

/// One way to begin on one port.
#[derive(Debug, Clone)]
pub(super) struct ModeFinding {
    pub(super) mode: TlsMode,
    pub(super) outcome: Outcome,
    /// The server's first word, as far as it came.
    pub(super) greeting: Option<Reply>,
    /// What EHLO brought, inside TLS where there is TLS.
    pub(super) offers: Option<Offers>,
    /// Version and cipher suite.
    pub(super) tls: Option<String>,
    pub(super) certificate: Option<Seen>,
}

/// The answer to EHLO.
#[derive(Debug, Clone, Default)]
pub(super) struct Offers {
    pub(super) capabilities: Capabilities,
    /// Its lines behind the first.
    pub(super) lines: Vec<String>,
    /// What was said to EHLO, where HELO was answered in its place; nothing is offered then.
    pub(super) ehlo_refused: Option<Reply>,
}

/// What came of one way to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// EHLO was answered, or HELO after it.
    Works,
    /// Asked for TLS, it talked in plain: this.
    NotTls(Alien),
    /// In plain it says nothing, because it waits for TLS.
    TlsFirst,
    /// EHLO lists no STARTTLS.
    NotOffered,
    /// STARTTLS is listed and refused.
    StartTlsRefused(Reply),
    /// Plain text stands behind the answer to STARTTLS, where TLS begins (RFC 3207 §6).
    Injected(Alien),
    /// The handshake failed.
    TlsFailed(String),
    /// It failed at what the server proves with its certificate.
    BadCertificate(String),
    /// The server wants a certificate of ours.
    WantsCertificate,
    /// It isn't SMTP.
    Alien(Alien),
    /// It took the connection and said nothing.
    Silent,
    /// It closed without a word.
    Closed,
    /// Its greeting is a refusal.
    Refused(Reply),
    /// EHLO was refused.
    EhloRefused(Reply),
    /// It broke off, or what came makes no sense.
    Broken(String),
}

/// What something that isn't what we wanted speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Alien {
    pub(super) tongue: Tongue,
    /// The beginning of its first line.
    pub(super) text: String,
}

/// Protocols that are met where SMTP was looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tongue {
    Smtp,
    Http,
    Ssh,
    Imap,
    Pop3,
    Tls,
    /// No text.
    Binary,
    Unknown,
}

impl ModeFinding {
    pub(super) fn new(mode: TlsMode, outcome: Outcome) -> Self {
        Self { mode, outcome, greeting: None, offers: None, tls: None, certificate: None }
    }

    /// Whether EHLO was answered, or HELO after it.
    pub(super) fn works(&self) -> bool {
        self.outcome == Outcome::Works
    }

    /// Whether a delivery could begin this way.
    pub(super) fn is_sound(&self) -> bool {
        self.works() && self.certificate.as_ref().is_none_or(|seen| seen.flaws.is_empty())
    }

    /// Whether a mail server said that it takes nothing now.
    pub(super) fn is_later(&self) -> bool {
        matches!(
            &self.outcome,
            Outcome::Refused(reply) | Outcome::EhloRefused(reply) | Outcome::StartTlsRefused(reply)
                if reply.is_transient()
        )
    }

    /// Whether EHLO listed STARTTLS here.
    pub(super) fn offers_starttls(&self) -> bool {
        self.offers.as_ref().is_some_and(|offers| offers.capabilities.starttls)
    }

    /// Whether a login could be tried this way.
    pub(super) fn offers_auth(&self) -> bool {
        self.offers.as_ref().is_some_and(|offers| !offers.capabilities.auth.is_empty())
    }
}

impl PortFinding {
    pub(super) fn mode(&self, mode: TlsMode) -> Option<&ModeFinding> {
        self.modes.iter().find(|finding| finding.mode == mode)
    }

    pub(super) fn is_open(&self) -> bool {
        self.addresses.iter().any(|(_, reached)| *reached == Reached::Open)
    }

    /// How most of its addresses took the connection, the open ones first.
    pub(super) fn reached(&self) -> &Reached {
        let all = || self.addresses.iter().map(|(_, reached)| reached);
        let open = all().find(|reached| **reached == Reached::Open);
        // A refusal tells more than silence, and silence more than a missing route for one family.
        open.or_else(|| all().find(|reached| **reached == Reached::Refused))
            .or_else(|| all().find(|reached| **reached == Reached::Filtered))
            .or_else(|| all().next())
            .unwrap_or(&Reached::Unreachable)
    }
}

impl Alien {
    /// What the first octets give away.
    pub(super) fn of(octets: &[u8]) -> Self {
        let line = octets.split(|octet| *octet == b'\n').next().unwrap_or_default();
        let text = String::from_utf8_lossy(line).trim_end().to_owned();
        let tongue = match text.as_str() {
            _ if matches!(octets, [0x14..=0x17, 3, ..]) => Tongue::Tls,
            text if text.starts_with("HTTP/")
                || text.starts_with("<!DOCTYPE")
                || text.starts_with("<html") =>
            {
                Tongue::Http
            }
            text if text.starts_with("SSH-") => Tongue::Ssh,
            text if text.starts_with("* OK") || text.starts_with("* BYE") => Tongue::Imap,
            text if text.starts_with("+OK") || text.starts_with("-ERR") => Tongue::Pop3,
            text if is_reply(text) => Tongue::Smtp,
            text if text.contains(|c: char| c == char::REPLACEMENT_CHARACTER || c.is_control()) => {
                Tongue::Binary
            }
            _ => Tongue::Unknown,
        };
        let text = if matches!(tongue, Tongue::Tls | Tongue::Binary) { String::new() } else { cut(&text) };
        Self { tongue, text }
    }
}

/// So much of it that one sees what it is.
fn cut(text: &str) -> String {
    if text.chars().count() <= SHOWN {
        return text.to_owned();
    }
    text.chars().take(SHOWN).chain(std::iter::once('…')).collect()
}

fn is_reply(text: &str) -> bool {
    let digits = text.get(..3).unwrap_or_default();
    let behind = text.as_bytes().get(3).copied();
    digits.parse::<u16>().is_ok_and(|code| (200..600).contains(&code))
        && matches!(behind, None | Some(b' ' | b'-'))
}

impl Reached {
    /// What the system's error means.
    pub(super) fn of(cause: &io::Error) -> Self {
        match cause.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::TimedOut => Self::Filtered,
            io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::AddrNotAvailable => Self::Unreachable,
            io::ErrorKind::PermissionDenied => Self::Forbidden,
            _ => Self::Other(cause.to_string()),
        }
    }
}

impl LookupTrouble {
    /// What the system's resolver means. It has codes, but the standard library hands on its words alone; those of glibc and
    /// musl are never translated here, since nothing sets a locale.
    pub(super) fn of(cause: &io::Error) -> Self {
        let text = cause.to_string();
        let has = |part: &str| text.contains(part);
        if has("Name or service not known") || has("Name does not resolve") {
            Self::NoSuchName
        } else if has("No address associated") || has("Name has no usable address") {
            Self::NoAddress
        } else if has("Temporary failure")
            || has("Try again")
            || has("Non-recoverable failure")
            || has("Unrecoverable")
        {
            Self::ServerFailure
        } else {
            let text = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
            Self::Other(text.to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_octets_give_a_protocol_away() {
        for (octets, tongue) in [
            (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], Tongue::Http),
            (b"SSH-2.0-OpenSSH_9.2\r\n", Tongue::Ssh),
            (b"* OK [CAPABILITY IMAP4rev1] ready\r\n", Tongue::Imap),
            (b"+OK Dovecot ready.\r\n", Tongue::Pop3),
            (b"220 mx.test ESMTP\r\n", Tongue::Smtp),
            (b"554-no\r\n", Tongue::Smtp),
            (b"\x15\x03\x01\0\x02\x02\x46", Tongue::Tls),
            (b"2200 is a port\r\n", Tongue::Unknown),
            (b"\xff\xfd\x18", Tongue::Binary),
            (b"\0\xff\xfe\0\xff\xfe", Tongue::Binary),
            (b"", Tongue::Unknown),
        ] {
            assert_eq!(Alien::of(octets).tongue, tongue, "{octets:?}");
        }
    }

    #[test]
    fn a_long_line_is_cut_and_what_is_no_text_is_not_shown() {
        let alien = Alien::of(&[b'x'; 400]);
        assert_eq!(alien.text, format!("{}…", "x".repeat(SHOWN)));
        assert_eq!(Alien::of(&[0xff; 400]).text, "");
        assert_eq!(Alien::of(b"220 mx.test\r\n").text, "220 mx.test");
    }

    #[test]
    fn no_such_name_is_told_from_a_resolver_that_fails() {
        let prefix = "failed to lookup address information: ";
        for (text, trouble) in [
            ("Name or service not known", LookupTrouble::NoSuchName),
            ("Name does not resolve", LookupTrouble::NoSuchName),
            ("No address associated with hostname", LookupTrouble::NoAddress),
            ("Temporary failure in name resolution", LookupTrouble::ServerFailure),
            ("Try again", LookupTrouble::ServerFailure),
            ("Non-recoverable failure in name resolution", LookupTrouble::ServerFailure),
            ("System error", LookupTrouble::Other("System error".into())),
        ] {
            assert_eq!(LookupTrouble::of(&io::Error::other(format!("{prefix}{text}"))), trouble);
        }
    }
}
