//! Which way to begin, out of those that were found: what goes into the configuration. Pure.

use super::diagnosis::Subject;
use super::finding::{Findings, ModeFinding, PortFinding};
use crate::config::schema::{Mechanism, TlsMode};
use crate::net::certificate::Facts;
use crate::net::observe::{Flaw, Seen};
use std::cmp::Reverse;

/// What to write into the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) port: u16,
    pub(super) tls: TlsMode,
    pub(super) server_name: Option<String>,
    pub(super) pin: Option<String>,
    /// How to log in, where that isn't offered as it is configured.
    pub(super) auth: Option<Mechanism>,
}

/// The best way to begin. One that takes logins, where one is configured, goes before any that takes none, whatever its
/// certificate needs: a setting mends a certificate, and nothing a missing login. Among these a certificate that is trusted
/// goes before settings for it, what is configured before everything else, and then by [`ways`]. None when nothing works.
pub(super) fn choose(findings: &Findings, subject: &Subject) -> Option<Choice> {
    let rank = |(port, finding): &(&PortFinding, &ModeFinding)| {
        let is_configured = is_configured(subject, port, finding);
        let encrypted = finding.mode != TlsMode::None;
        // Plain text has no certificate to be flawed, which makes it no better than a flawed one.
        let is_sound = finding.is_sound() && (encrypted || is_configured);
        Reverse((takes_logins(subject, finding), is_sound, is_configured, encrypted))
    };
    let usable = ways(findings).filter(|(port, finding)| is_usable(findings, subject, port, finding));
    let (port, finding) = usable.min_by_key(rank)?;
    let seen = finding.certificate.as_ref().filter(|seen| !seen.flaws.is_empty());
    let (server_name, pin) = seen.map(|seen| mended(seen, &subject.host)).unwrap_or_default();
    let auth = subject.mechanism.and_then(|mechanism| offered_instead(mechanism, finding));
    Some(Choice { port: port.port, tls: finding.mode, server_name, pin, auth })
}

/// Whether a delivery could begin this way, with settings for its certificate perhaps. Plain text is for passwords on this
/// machine alone, and no way around a STARTTLS that is offered and fails: who makes it fail may be who wants to read along.
/// What the configuration says itself stays, if it leads anywhere.
pub(super) fn is_usable(
    findings: &Findings,
    subject: &Subject,
    port: &PortFinding,
    finding: &ModeFinding,
) -> bool {
    if !finding.works() || finding.mode != TlsMode::None {
        return finding.works();
    }
    let starttls_works = || port.mode(TlsMode::StartTls).is_some_and(ModeFinding::works);
    let is_meant =
        is_configured(subject, port, finding) && (takes_logins(subject, finding) || starttls_works());
    let may_be_plain = subject.loopback || !subject.has_login;
    let offered = || findings.ports.iter().flat_map(|port| &port.modes).any(ModeFinding::offers_starttls);
    may_be_plain && (is_meant || !offered())
}

fn is_configured(subject: &Subject, port: &PortFinding, finding: &ModeFinding) -> bool {
    let configured = subject.configured.as_ref().map(|(_, port, tls)| (*port, *tls));
    configured == Some((port.port, finding.mode))
}

fn takes_logins(subject: &Subject, finding: &ModeFinding) -> bool {
    !subject.has_login || finding.offers_auth()
}

/// What to write as `auth` where the server doesn't offer what is configured; none where it does, or offers nothing that
/// we know.
fn offered_instead(configured: Mechanism, finding: &ModeFinding) -> Option<Mechanism> {
    use Mechanism::{Auto, CramMd5, Login, OAuthBearer, Plain, XOAuth2};
    let offers = |mechanism: Mechanism| {
        let offered = &finding.offers.as_ref()?.capabilities;
        let names: &[Mechanism] = if mechanism == Auto { &[Plain, Login, CramMd5] } else { &[mechanism] };
        names.iter().any(|name| offered.offers_auth(&name.word().to_ascii_uppercase())).then_some(mechanism)
    };
    if offers(configured).is_some() {
        return None;
    }
    // Whoever has a token needs the other form of it, whoever has a password another way to say it.
    let order =
        if configured.takes_token() { [XOAuth2, OAuthBearer, Auto] } else { [Auto, XOAuth2, OAuthBearer] };
    order.into_iter().find_map(offers)
}

/// Every way, best first: TLS from the start, STARTTLS, none (RFC 8314 §3); among these the ports as they were asked for.
pub(super) fn ways(findings: &Findings) -> impl Iterator<Item = (&PortFinding, &ModeFinding)> {
    [TlsMode::Implicit, TlsMode::StartTls, TlsMode::None].into_iter().flat_map(|mode| {
        findings.ports.iter().filter_map(move |port| port.mode(mode).map(|finding| (port, finding)))
    })
}

/// `server_name` if that alone mends it, else the pin.
fn mended(seen: &Seen, host: &str) -> (Option<String>, Option<String>) {
    let is_host = |facts: &Facts| facts.names.iter().any(|name| name.eq_ignore_ascii_case(host));
    match seen.flaws.as_slice() {
        [Flaw::WrongName { instead: Some(_) }] if seen.facts.as_ref().is_some_and(is_host) => {
            (Some(host.to_owned()), None)
        }
        [Flaw::WrongName { instead: Some(name) }] => (Some(name.clone()), None),
        _ => (None, Some(seen.sha256.clone())),
    }
}

/// The finding that a choice came from.
pub(super) fn way<'a>(findings: &'a Findings, choice: &Choice) -> Option<&'a ModeFinding> {
    findings.ports.iter().find(|port| port.port == choice.port)?.mode(choice.tls)
}
