//! From findings to words: what is wrong, what to do, and which settings work. Pure; each case is a row of a test.

use super::choice::{Choice, is_usable, way};
use super::envelope::{self, Envelope};
use super::finding::{
    Answered, Findings, LookupTrouble, ModeFinding, Offers, Outcome, PortFinding, Reached, Records, Tongue,
};
use super::login::{self, Login};
use super::words::{port_words, stripped_words};
use crate::config::schema::{Mechanism, ProviderReply, TlsMode};
use crate::deliver::providers::Introduction;
use crate::net::observe::{Flaw, Seen};
use std::fmt::Display;

/// What is being looked at.
#[derive(Debug, Clone, Default)]
pub(super) struct Subject {
    pub(super) host: String,
    /// Its smarthost's name, port and mode, if it is one of the configuration's.
    pub(super) configured: Option<(String, u16, TlsMode)>,
    /// Whether it is switched off in the configuration.
    pub(super) disabled: bool,
    /// The name that is configured for its certificate.
    pub(super) server_name: Option<String>,
    /// Whether a login goes with it.
    pub(super) has_login: bool,
    /// How that is configured to be done.
    pub(super) mechanism: Option<Mechanism>,
    /// What login its provider wants, if that is known.
    pub(super) wanted_login: Option<String>,
    /// What the configuration says about its replies.
    pub(super) replies: Vec<ProviderReply>,
    /// Whether it is on this machine, where a password may travel in plain text.
    pub(super) loopback: bool,
}

/// One sentence of the diagnosis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sentence {
    pub(super) weight: Weight,
    pub(super) text: String,
}

/// How much a sentence matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weight {
    Good,
    Note,
    Bad,
}

/// Everything worth saying, what matters most first.
pub(super) fn diagnose(
    findings: &Findings,
    subject: &Subject,
    choice: Option<&Choice>,
    login: &Login,
    envelope: &Envelope,
) -> Vec<Sentence> {
    let mut report = Report::default();
    if let Some((name, ..)) = subject.configured.as_ref().filter(|_| subject.disabled) {
        report.note(format!(
            "smarthost.{name} is switched off: enabled = false holds its mail, whatever else is right."
        ));
    }
    if let Some(trouble) = &findings.lookup.trouble {
        match &findings.lookup.records {
            Some(records) => report.bad(by_records(&subject.host, trouble, records)),
            None => report.bad(lookup(&subject.host, trouble)),
        }
        return report.sentences;
    }
    if !findings.ports.iter().any(PortFinding::is_open) {
        report.bad(unreachable(findings));
        return report.sentences;
    }
    let way = choice.and_then(|choice| way(findings, choice));
    let told = subject.configured.as_ref().and_then(|(name, port, mode)| {
        configured(&mut report, findings, subject, (name, *port, *mode), choice)
    });
    match (choice, way) {
        (Some(choice), Some(finding)) => {
            works(&mut report, subject, choice, finding);
            login::words(&mut report, findings, subject, choice, login);
            envelope::words(&mut report, subject, finding, envelope);
        }
        _ => {
            for port in findings.ports.iter().filter(|port| port.is_open() && told != Some(port.port)) {
                report.bad(port_words(port, subject));
            }
        }
    }
    dead_addresses(&mut report, findings);
    let closed: Vec<&PortFinding> = findings.ports.iter().filter(|port| !port.is_open()).collect();
    let filtered = closed.iter().filter(|port| *port.reached() == Reached::Filtered);
    let filtered: Vec<String> = filtered.map(|port| port.port.to_string()).collect();
    if !filtered.is_empty() {
        report.note(format!(
            "{} {} filtered: something on the way drops the packets. Many hosters do that to 25, some to 465 and 587; \
             that is no trouble while another port works.",
            ports(&filtered),
            if filtered.len() == 1 { "is" } else { "are" },
        ));
    }
    report.sentences
}

/// Where to try instead, at a provider whose servers are known.
pub(super) fn elsewhere(provider: &Introduction) -> Option<Sentence> {
    let (first, rest) = provider.servers.split_first()?;
    let or = if rest.is_empty() { String::new() } else { format!(", or {}", rest.join(", or ")) };
    let text = format!(
        "{} takes mail at {first}{or}: try `waystation doctor` with the name of that host.",
        provider.name
    );
    Some(Sentence { weight: Weight::Note, text })
}

/// Addresses that don't answer where others of the same host do: often IPv6 without a way there.
fn dead_addresses(report: &mut Report, findings: &Findings) {
    let mut dead: Vec<String> = Vec::new();
    for port in findings.ports.iter().filter(|port| port.is_open()) {
        for (address, reached) in &port.addresses {
            let address = address.ip().to_string();
            if *reached != Reached::Open && !dead.contains(&address) {
                dead.push(address);
            }
        }
    }
    if !dead.is_empty() {
        report.note(format!(
            "{} can't be reached where another address of the host can. waystation tries them side by side, so mail isn't \
             held up; programs that try them in turn hang there.",
            dead.join(", ")
        ));
    }
}

/// Sentences as they come.
#[derive(Default)]
pub(super) struct Report {
    sentences: Vec<Sentence>,
}

impl Report {
    fn say(&mut self, weight: Weight, text: impl Into<String>) {
        self.sentences.push(Sentence { weight, text: text.into() });
    }

    pub(super) fn good(&mut self, text: impl Into<String>) {
        self.say(Weight::Good, text);
    }

    pub(super) fn note(&mut self, text: impl Into<String>) {
        self.say(Weight::Note, text);
    }

    /// Advice that is written to stand behind a reply.
    pub(super) fn advice(&mut self, text: &str) {
        self.note(format!("{}.", capital(text.trim_end_matches('.'))));
    }

    pub(super) fn bad(&mut self, text: impl Into<String>) {
        self.say(Weight::Bad, text);
    }
}

/// What the name server says, and what to do about it.
fn by_records(host: &str, trouble: &LookupTrouble, records: &Records) -> String {
    let Records { a, aaaa } = records;
    match (a, aaaa) {
        (Answered::NoSuchName, Answered::NoSuchName) => lookup(host, &LookupTrouble::NoSuchName),
        (Answered::NoRecord, Answered::NoRecord) => lookup(host, &LookupTrouble::NoAddress),
        (Answered::Silence, Answered::Silence) => lookup(host, &LookupTrouble::TimedOut),
        (Answered::Addresses(found), _) | (_, Answered::Addresses(found)) => {
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            format!(
                "{host} could not be looked up, although the name server knows it ({}). {} Try once more; if it stays so, look \
                 at the line \"hosts\" of /etc/nsswitch.conf and at the resolver that runs on this machine.",
                found.join(", "),
                lookup(host, trouble)
            )
        }
        (a, aaaa) if a == aaaa => {
            format!("{host} could not be looked up: {} {}", in_words(a), advice(a))
        }
        (a, aaaa) => {
            let mut advices = vec![advice(a), advice(aaaa)];
            advices.retain(|advice| !advice.is_empty());
            advices.dedup();
            format!(
                "{host} could not be looked up. IPv4 (A): {} IPv6 (AAAA): {} {}",
                in_words(a),
                in_words(aaaa),
                advices.join(" ")
            )
        }
    }
}

fn in_words(answered: &Answered) -> String {
    match answered {
        Answered::Addresses(found) => format!("there are {} addresses.", found.len()),
        Answered::NoSuchName => "there is no such name (NXDOMAIN).".into(),
        Answered::NoRecord => "the name exists, without such an address.".into(),
        Answered::Failure => "the name server could not find out (SERVFAIL).".into(),
        Answered::Refused => "the name server refuses to answer (REFUSED).".into(),
        Answered::Silence => "no name server answered in time.".into(),
        Answered::Other(text) => format!("{text}."),
    }
}

fn advice(answered: &Answered) -> &'static str {
    match answered {
        Answered::Addresses(_) | Answered::NoSuchName | Answered::NoRecord => "",
        Answered::Failure => {
            "The name may be right: the servers of its domain may be down, or its DNSSEC be broken. Try again later, or with \
             another name server in /etc/resolv.conf."
        }
        Answered::Refused => {
            "It doesn't serve this machine: put a name server that does into /etc/resolv.conf."
        }
        Answered::Silence => "Check /etc/resolv.conf and whether a firewall drops port 53.",
        Answered::Other(_) => "Check /etc/resolv.conf and the network.",
    }
}

fn lookup(host: &str, trouble: &LookupTrouble) -> String {
    match trouble {
        LookupTrouble::NoSuchName => format!(
            "{host} does not exist: the DNS knows no such name. Check how it is written; providers name their server under \
             \"mail programs\", \"SMTP\" or \"outgoing mail\"."
        ),
        LookupTrouble::NoAddress => format!(
            "{host} exists but has no address (neither A nor AAAA): it is no server. Perhaps smtp.{host} or mail.{host} is meant."
        ),
        LookupTrouble::ServerFailure => format!(
            "{host} could not be looked up: this machine's name server does not answer or fails. The name may be right; check \
             /etc/resolv.conf and the network."
        ),
        LookupTrouble::TimedOut => format!(
            "{host} could not be looked up in time: no name server answers. Check /etc/resolv.conf and whether a firewall drops \
             port 53."
        ),
        LookupTrouble::Other(text) => format!("{host} could not be looked up: {text}."),
    }
}

fn unreachable(findings: &Findings) -> String {
    let numbers = |wanted: fn(&Reached) -> bool| -> Vec<String> {
        findings
            .ports
            .iter()
            .filter(|port| wanted(port.reached()))
            .map(|port| port.port.to_string())
            .collect()
    };
    let refused = numbers(|reached| *reached == Reached::Refused);
    let filtered = numbers(|reached| *reached == Reached::Filtered);
    let all = findings.ports.len();
    if refused.len() == all {
        return format!(
            "Nothing listens on {}: the machine answers and refuses. It is probably not the mail server; check the host name \
             at the provider.",
            ports(&refused)
        );
    }
    if filtered.len() == all {
        return format!(
            "No answer on {}: a firewall drops the packets, here or at the other end. Hosters often block outgoing mail ports \
             until asked; ask yours, or ask the provider for another port.",
            ports(&filtered)
        );
    }
    if numbers(|reached| *reached == Reached::Forbidden).len() == all {
        return "This machine's own firewall forbids these connections.".into();
    }
    if numbers(|reached| *reached == Reached::Unreachable).len() == all {
        return "There is no way to this address from here: check this machine's network (for an IPv6 address: its IPv6).".into();
    }
    let mut parts = Vec::new();
    for (list, words) in
        [(refused, "refused, so nothing listens there"), (filtered, "filtered: no answer at all")]
    {
        if !list.is_empty() {
            parts.push(format!("{} {words}", ports(&list)));
        }
    }
    format!(
        "No port can be reached ({}). Check the host name; if it is right, ask whoever runs the firewall.",
        parts.join("; ")
    )
}

/// What is configured, against what was found; the port, if all there is to say about it was said.
fn configured(
    report: &mut Report,
    findings: &Findings,
    subject: &Subject,
    (name, number, mode): (&str, u16, TlsMode),
    choice: Option<&Choice>,
) -> Option<u16> {
    let place = format!("smarthost.{name} says port {number} with tls = \"{}\"", mode.as_str());
    let port = findings.ports.iter().find(|port| port.port == number)?;
    let Some(finding) = port.mode(mode) else {
        let why = match port.reached() {
            Reached::Refused => "nothing listens there",
            Reached::Filtered => "a firewall drops the packets: no answer at all",
            _ => "it can't be reached",
        };
        report.bad(format!("{place}, but {why}."));
        return None;
    };
    let same = choice.is_some_and(|choice| (choice.port, choice.tls) == (number, mode));
    if same {
        return None;
    }
    let other = port.modes.iter().find(|other| is_usable(findings, subject, port, other));
    match (&finding.outcome, other) {
        (Outcome::Works, _) if mode == TlsMode::None && !subject.loopback => report.bad(format!(
            "{place}: that works, but the password would travel in plain text, which waystation refuses."
        )),
        (Outcome::Works, _) if subject.has_login && !finding.offers_auth() => {
            report.bad(format!("{place}: that works, but no login (AUTH) is offered there."));
        }
        (Outcome::Works, _) => {}
        (_, Some(other)) => report.bad(format!(
            "{place}: the right port, the wrong mode. Port {number} wants tls = \"{}\".",
            other.mode.as_str()
        )),
        (outcome, _) => {
            let speaks_otherwise = match outcome {
                Outcome::Alien(alien) => alien.tongue != Tongue::Smtp,
                outcome => matches!(outcome, Outcome::NotTls(_) | Outcome::TlsFirst),
            };
            let is_mail = port.modes.iter().any(|other| other.greeting.is_some());
            let wrong = match outcome {
                _ if speaks_otherwise && !is_mail => ": the wrong port.",
                Outcome::NotTls(_) => ", but it doesn't begin with TLS.",
                _ => ".",
            };
            report.bad(format!("{place}{wrong} {}", port_words(port, subject)));
            return Some(number);
        }
    }
    None
}

fn works(report: &mut Report, subject: &Subject, choice: &Choice, finding: &ModeFinding) {
    let how = match finding.tls.as_deref() {
        Some(tls) => format!(" ({tls})"),
        None => " (plain text)".into(),
    };
    let flawed = finding.certificate.as_ref().filter(|seen| !seen.flaws.is_empty());
    let text = format!("Port {} with tls = \"{}\" works{how}", choice.port, choice.tls.as_str());
    match flawed {
        None => report.good(format!("{text}.")),
        Some(seen) => {
            report.bad(format!("{text}, but its certificate is not trusted."));
            certificate(report, subject, seen, choice);
        }
    }
    if let Some(Offers { ehlo_refused: Some(reply), .. }) = &finding.offers {
        report.note(format!(
            "The server knows HELO alone, not EHLO ({reply}): mail goes, without anything that EHLO offers: encryption by \
             STARTTLS, a login, 8-bit content."
        ));
        return;
    }
    let wanted = subject.configured.as_ref().is_some_and(|(_, _, tls)| *tls != TlsMode::None);
    if finding.mode == TlsMode::None && finding.offers_starttls() {
        if !subject.loopback {
            report.note("STARTTLS is offered there, and tls = \"none\" leaves it unused: mail can be read on the way.");
        }
    } else if finding.mode == TlsMode::None && (wanted || !subject.loopback) {
        report.note(stripped_words(finding));
    }
}

const LACKS_CHAIN: &str = " If it is a public authority, whoever runs the server must add its intermediate certificate, \
                           which the server doesn't send.";

fn certificate(report: &mut Report, subject: &Subject, seen: &Seen, choice: &Choice) {
    let asked = match &subject.server_name {
        Some(name) => format!("{name} (server_name)"),
        None => subject.host.clone(),
    };
    let fits_host = choice.server_name.as_deref() == Some(subject.host.as_str());
    let names = seen.facts.as_ref().map(|facts| facts.names.join(", ")).unwrap_or_default();
    let issuer = seen.facts.as_ref().map(|facts| facts.issuer.as_str()).filter(|issuer| !issuer.is_empty());
    for flaw in &seen.flaws {
        report.bad(match (flaw, &seen.facts) {
            (Flaw::Expired, Some(facts)) => format!(
                "It expired at {}. Whoever runs the server must renew it; if this machine's clock is right, nothing else mends that.",
                facts.not_after
            ),
            (Flaw::NotYetValid, Some(facts)) => {
                format!("It is not valid before {}: check this machine's clock.", facts.not_before)
            }
            (Flaw::Expired | Flaw::NotYetValid, None) => "Its dates are wrong.".into(),
            (Flaw::WrongName { instead: Some(_) }, _) if fits_host => {
                format!("It is not for {asked}, but for {names}. That holds the host itself: leave server_name out.")
            }
            (Flaw::WrongName { instead: Some(name) }, _) => format!(
                "It is not for {asked}, but for {names}. Use one of these as host, or set server_name = \"{name}\" if that is the \
                 provider's server."
            ),
            (Flaw::WrongName { instead: None }, _) if names.is_empty() => {
                format!("It holds no name at all, and not {asked}.")
            }
            (Flaw::WrongName { instead: None }, _) => format!("It is not for {asked}, but for {names}."),
            (Flaw::SelfSigned, _) => "It is self-signed: nobody but itself vouches for it.".into(),
            (Flaw::UnknownIssuer, _) => format!(
                "Its issuer ({}) is not trusted here. If it is your own or the provider's authority, put that authority's \
                 certificate into a PEM file and set ca_file to it.{}",
                issuer.unwrap_or("without a name"),
                if seen.stands_alone { LACKS_CHAIN } else { "" }
            ),
            (Flaw::NotPinned, _) => format!(
                "It is not the one in pin_sha256: this one's is {}. Perhaps it was renewed; ask the provider before you change \
                 the pin.",
                seen.sha256
            ),
            (Flaw::Other(text), _) => format!("It is refused: {text}."),
        });
    }
    if choice.pin.is_some() && !seen.flaws.contains(&Flaw::NotPinned) {
        report.note(
            "pin_sha256 below trusts exactly this certificate and no other. Compare it with the provider's first, by another way \
             than this connection: whoever sits in between could have shown it.",
        );
    }
}

fn ports(numbers: &[impl Display]) -> String {
    let list = numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    format!("{} {list}", if numbers.len() == 1 { "port" } else { "ports" })
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
