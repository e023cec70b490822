//! Which way to begin, out of those that were found: what goes into the configuration. Pure.

use super::diagnosis::Subject;
use super::finding::{Findings, ModeFinding, Outcome, PortFinding};
use crate::config::schema::TlsMode;
use crate::net::observe::{Flaw, Seen};

/// What to write into the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) port: u16,
    pub(super) tls: TlsMode,
    pub(super) server_name: Option<String>,
    pub(super) pin: Option<String>,
}

/// The best way to begin: the configured one if it is sound, else by [`ways`]; one whose certificate needs
/// settings only when nothing else works. None when nothing works.
pub(super) fn choose(findings: &Findings, subject: &Subject) -> Option<Choice> {
    let may_be_plain = subject.loopback || !subject.has_login;
    let usable = |finding: &ModeFinding| {
        finding.outcome == Outcome::Works && (finding.mode != TlsMode::None || may_be_plain)
    };
    let all = || ways(findings).filter(|(_, finding)| usable(finding));
    let configured = subject.configured.as_ref().map(|(_, port, tls)| (*port, *tls));
    let is_configured =
        |port: &PortFinding, finding: &ModeFinding| configured == Some((port.port, finding.mode));
    let sound = all().find(|(port, finding)| is_configured(port, finding) && finding.is_sound());
    let encrypted = |finding: &ModeFinding| finding.mode != TlsMode::None;
    let takes_logins = |finding: &ModeFinding| !subject.has_login || finding.offers_auth();
    let (port, finding) = sound
        .or_else(|| {
            all().find(|(_, finding)| encrypted(finding) && finding.is_sound() && takes_logins(finding))
        })
        .or_else(|| all().find(|(_, finding)| encrypted(finding) && finding.is_sound()))
        .or_else(|| all().find(|(port, finding)| is_configured(port, finding)))
        .or_else(|| all().find(|(_, finding)| encrypted(finding)))
        .or_else(|| all().next())?;
    let seen = finding.certificate.as_ref().filter(|seen| !seen.flaws.is_empty());
    let (server_name, pin) = seen.map(mended).unwrap_or_default();
    Some(Choice { port: port.port, tls: finding.mode, server_name, pin })
}

/// Every way, best first: TLS from the start, STARTTLS, none (RFC 8314 §3); among these the ports as they were asked for.
pub(super) fn ways(findings: &Findings) -> impl Iterator<Item = (&PortFinding, &ModeFinding)> {
    [TlsMode::Implicit, TlsMode::StartTls, TlsMode::None].into_iter().flat_map(|mode| {
        findings.ports.iter().filter_map(move |port| port.mode(mode).map(|finding| (port, finding)))
    })
}

/// `server_name` if that alone mends it, else the pin.
fn mended(seen: &Seen) -> (Option<String>, Option<String>) {
    match seen.flaws.as_slice() {
        [Flaw::WrongName { instead: Some(name) }] => (Some(name.clone()), None),
        _ => (None, Some(seen.sha256.clone())),
    }
}

/// The finding that a choice came from.
pub(super) fn way<'a>(findings: &'a Findings, choice: &Choice) -> Option<&'a ModeFinding> {
    findings.ports.iter().find(|port| port.port == choice.port)?.mode(choice.tls)
}
