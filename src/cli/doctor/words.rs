//! What one port, or one way to begin on it, came to, in words. Pure.

use super::diagnosis::Subject;
use super::finding::{Alien, ModeFinding, Outcome, PortFinding, Tongue};
use crate::config::schema::TlsMode;

/// What one open port is, where no way to begin works.
pub(super) fn port_words(port: &PortFinding, subject: &Subject) -> String {
    let number = port.port;
    let outcome = |mode| port.mode(mode).map(|finding| &finding.outcome);
    let plain = port.mode(TlsMode::None);
    let inside = outcome(TlsMode::Implicit);
    match inside {
        Some(Outcome::WantsCertificate) => {
            return format!("Port {number} speaks TLS, but {WANTS_CERTIFICATE}");
        }
        Some(Outcome::BadCertificate(why)) => {
            return format!(
                "Port {number} speaks TLS, but no handshake comes about: {why}. {BAD_CERTIFICATE}"
            );
        }
        _ => {}
    }
    match plain.map(|finding| (&finding.outcome, finding)) {
        Some((Outcome::Works, finding)) if finding.offers_starttls() => {
            let words = port.mode(TlsMode::StartTls).map_or_else(|| "can't be used.".into(), starttls_words);
            format!(
                "Port {number} offers STARTTLS, which {words} Plain text is no way around it: tls = \"none\" would send \
                 everything readable where encryption is meant to be."
            )
        }
        Some((Outcome::Works, finding)) => {
            let plain = if subject.has_login && !subject.loopback {
                " A password would travel in plain text, so waystation doesn't use it."
            } else {
                ""
            };
            format!("Port {number} speaks SMTP in plain text only: {}{plain}", stripped_words(finding))
        }
        Some((Outcome::Refused(reply) | Outcome::EhloRefused(reply), _)) if reply.is_transient() => format!(
            "Port {number} is a mail server that takes nothing at the moment: {reply}. It may be overloaded, or have too many \
             connections from this address already; try again later."
        ),
        Some((Outcome::Refused(reply), _)) => format!(
            "Port {number} is a mail server that turns us away before we say anything: {reply}. It doesn't like this machine's \
             address (a dynamic one, or one on a blocklist), or isn't there for it; ask whoever runs it."
        ),
        Some((Outcome::Silent, ModeFinding { greeting: Some(_), .. })) => format!(
            "Port {number} greets us and says nothing to our EHLO. The server may be overloaded or hang, or something in between \
             (a proxy, a virus scanner) may hold the answer; try --timeout 60."
        ),
        Some((Outcome::Closed, ModeFinding { greeting: Some(_), .. })) => format!(
            "Port {number} greets us and hangs up at our EHLO. It may not like this machine's address or the name in hostname, \
             or a firewall on the way may end the conversation."
        ),
        Some((Outcome::EhloRefused(reply), _)) if matches!(reply.code, 500 | 502) => {
            format!("Port {number} knows neither EHLO nor HELO: {reply}. It takes no mail from us.")
        }
        Some((Outcome::EhloRefused(reply), _)) => {
            format!(
                "Port {number} refuses our EHLO: {reply}. Check hostname: it wants the name this machine has to others."
            )
        }
        Some((Outcome::Alien(alien), _)) => format!("Port {number} {}", alien_words(alien)),
        Some((Outcome::TlsFirst, _)) => match inside {
            Some(Outcome::Refused(reply) | Outcome::EhloRefused(reply)) if reply.is_transient() => format!(
                "Port {number} is a mail server that takes nothing at the moment: {reply}. Try again later."
            ),
            Some(Outcome::Refused(reply)) => format!("Port {number} turns us away: {reply}."),
            Some(Outcome::Silent | Outcome::Closed)
                if port.mode(TlsMode::Implicit).is_some_and(|finding| finding.greeting.is_some()) =>
            {
                format!(
                    "Port {number} speaks TLS and greets us inside it, but doesn't answer our EHLO. The server may be \
                     overloaded, or not like this machine; try again, with --timeout 60."
                )
            }
            Some(Outcome::Alien(alien)) => {
                format!("Port {number} speaks TLS, and inside it {}", alien_words(alien))
            }
            _ => format!("Port {number} speaks TLS, but inside it there is no SMTP server: it says nothing."),
        },
        Some((Outcome::Silent, _)) => match inside {
            Some(Outcome::TlsFailed(text)) => {
                format!(
                    "Port {number} speaks TLS, but no handshake comes about: {text}. TLS 1.2 or 1.3 is needed."
                )
            }
            _ => format!(
                "Port {number} takes the connection and says nothing, neither in plain text nor in TLS. Something in between \
                 (a proxy, a virus scanner) may hold it, or the server makes strangers wait; try --timeout 60."
            ),
        },
        Some((Outcome::Closed, _)) => format!(
            "Port {number} takes the connection and closes it at once. That is what a firewall, a limit on connections, or a \
             service that knows only some addresses does."
        ),
        Some((outcome, _)) => format!("Port {number} fails: {}.", show(outcome)),
        None => format!("Port {number} can't be used."),
    }
}

/// Why STARTTLS came to nothing where it is offered, as the end of a sentence.
fn starttls_words(finding: &ModeFinding) -> String {
    let inside = finding.tls.is_some();
    match &finding.outcome {
        Outcome::StartTlsRefused(reply) if reply.is_transient() => {
            format!("isn't to be had at the moment: {reply}. Mail waits until it is; try again later.")
        }
        Outcome::StartTlsRefused(reply) => format!(
            "is refused when it is asked for: {reply}. The server's TLS is switched off or broken; ask whoever runs it, or \
             use a port with TLS from the start."
        ),
        Outcome::Injected(alien) => format!(
            "can't be trusted here: behind the server's answer, where the handshake must begin, stands plain text{}. That is \
             how somebody on the way would slip words into the conversation (STARTTLS injection); no sound server does it. \
             Nothing is sent. Try from another network, and ask whoever runs the server.",
            quoted(alien)
        ),
        Outcome::NotTls(alien) => format!(
            "leads to no TLS: in place of a handshake comes plain text{}. Something on the way may break into the \
             conversation, or the server's TLS is broken; try from another network, and ask whoever runs the server.",
            quoted(alien)
        ),
        Outcome::WantsCertificate => format!("works, but {WANTS_CERTIFICATE}"),
        Outcome::BadCertificate(why) => format!("fails in the handshake: {why}. {BAD_CERTIFICATE}"),
        Outcome::TlsFailed(text) => format!("fails in the handshake: {text}. TLS 1.2 or 1.3 is needed."),
        Outcome::EhloRefused(reply) if reply.is_transient() => {
            format!("works, but inside TLS the server takes nothing at the moment: {reply}. Try again later.")
        }
        Outcome::EhloRefused(reply) => format!(
            "works, but inside TLS our EHLO is refused: {reply}. Check hostname: it may want the name this machine has to \
             others; else ask whoever runs the server."
        ),
        Outcome::Silent if inside => {
            "works, but inside TLS our EHLO gets no answer. The server may hang or be overloaded; try --timeout 60.".into()
        }
        Outcome::Closed if inside => {
            "works, but inside TLS the connection ends at our EHLO. The server may not like this machine; ask whoever runs it."
                .into()
        }
        Outcome::Silent => "comes to nothing: no handshake answers in time. Try --timeout 60.".into(),
        Outcome::Closed => {
            "comes to nothing: the connection ends before there is a handshake. The server's TLS may be broken, or a firewall \
             forbids encryption; ask whoever runs them."
                .into()
        }
        Outcome::Alien(alien) => format!("fails: {}", alien_words(alien)),
        outcome => format!("fails: {}.", show(outcome)),
    }
}

const WANTS_CERTIFICATE: &str = "the server wants a certificate of ours (a client certificate), and waystation has none to show. \
                                 Ask whoever runs it for a port or an account that goes without, by username and password.";

const BAD_CERTIFICATE: &str = "No setting helps: the server needs another certificate; tell whoever runs it.";

fn quoted(alien: &Alien) -> String {
    if alien.text.is_empty() { String::new() } else { format!(" (\"{}\")", alien.text) }
}

fn alien_words(alien: &Alien) -> String {
    let is = match alien.tongue {
        Tongue::Http => "is a web server (HTTP), no mail server",
        Tongue::Ssh => "is an SSH server, no mail server",
        Tongue::Imap => "is an IMAP server, for reading mail; sending takes another port",
        Tongue::Pop3 => "is a POP3 server, for fetching mail; sending takes another port",
        Tongue::Tls => "speaks TLS from the start",
        Tongue::Smtp => "begins like a mail server, but what it says breaks off or is too long for a reply",
        Tongue::Binary => "sends octets that are no text, so it isn't SMTP",
        Tongue::Unknown => "speaks something that isn't SMTP",
    };
    if alien.text.is_empty() { format!("{is}.") } else { format!("{is}: \"{}\".", alien.text) }
}

/// What came of one way, in a few words, for tables.
pub(super) fn show_finding(finding: &ModeFinding) -> String {
    let inside = finding.mode == TlsMode::StartTls && finding.tls.is_some();
    match (&finding.outcome, &finding.greeting) {
        (Outcome::Works, _)
            if finding.offers.as_ref().is_some_and(|offers| offers.ehlo_refused.is_some()) =>
        {
            "works, by HELO alone".into()
        }
        (Outcome::Silent, _) if inside => "says nothing inside TLS".into(),
        (Outcome::Closed, _) if inside => "hangs up inside TLS".into(),
        (Outcome::NotTls(alien), _) if finding.mode == TlsMode::StartTls => {
            format!("plain text in place of a handshake{}", quoted(alien))
        }
        (Outcome::Silent, Some(_)) => "greets, then says nothing".into(),
        (Outcome::Closed, Some(_)) => "greets, then hangs up".into(),
        (Outcome::Refused(reply), _) if reply.is_transient() => format!("greets with \"not now\": {reply}"),
        (outcome, _) => show(outcome),
    }
}

/// An outcome in a few words.
fn show(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Works => "works".into(),
        Outcome::NotTls(alien) if alien.tongue == Tongue::Smtp => {
            format!("no TLS: it speaks in plain text (\"{}\")", alien.text)
        }
        Outcome::NotTls(alien) => format!("no TLS: it {}", alien_words(alien)),
        Outcome::TlsFirst => "says nothing in plain text: it wants TLS from the start".into(),
        Outcome::NotOffered => "STARTTLS is not offered".into(),
        Outcome::StartTlsRefused(reply) => format!("STARTTLS refused: {reply}"),
        Outcome::Injected(alien) => format!("plain text behind the reply to STARTTLS{}", quoted(alien)),
        Outcome::TlsFailed(text) | Outcome::BadCertificate(text) => format!("TLS handshake failed: {text}"),
        Outcome::WantsCertificate => "it wants a client certificate".into(),
        Outcome::Alien(alien) => alien_words(alien),
        Outcome::Silent => "says nothing".into(),
        Outcome::Closed => "closes at once".into(),
        Outcome::Refused(reply) => format!("greets with a refusal: {reply}"),
        Outcome::EhloRefused(reply) => format!("EHLO refused: {reply}"),
        Outcome::Broken(text) => text.clone(),
    }
}

/// Why a public server may offer nothing but plain text.
pub(super) fn stripped_words(finding: &ModeFinding) -> String {
    let lines = finding.offers.as_ref().map(|offers| offers.lines.as_slice()).unwrap_or_default();
    let masked = lines.iter().any(|line| line.len() >= 4 && line.chars().all(|c| c == 'X' || c == '*'));
    if masked {
        "STARTTLS is not offered, and EHLO's answer has words made of X or *: a firewall on the way takes encryption out of \
         the conversation (\"SMTP inspection\", \"fixup\"). Switch that off there, or use a port with TLS from the start."
            .into()
    } else {
        "STARTTLS is not offered: either this server has no encryption, or something on the way takes it out. Nothing is sent in \
         plain unless tls = \"none\" says so."
            .into()
    }
}
