//! A report as people read it, and as programs do.

use super::diagnosis::{Sentence, Weight};
use super::envelope::{Envelope, Fate};
use super::finding::{Answered, Findings, LookupTrouble, ModeFinding, Outcome, PortFinding, Reached};
use super::login::{Login, LoginTrouble};
use super::words::show_finding;
use crate::cli::table::{aligned, printable};
use crate::deliver::providers::Introduction;
use crate::deliver::trial::Unanswered;
use crate::net::observe::{Flaw, Seen};
use crate::smtp::capabilities::SizeLimit;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// All there is to show.
pub(super) struct Report<'a> {
    pub(super) host: &'a str,
    pub(super) provider: Option<&'a Introduction>,
    pub(super) findings: &'a Findings,
    pub(super) login: &'a Login,
    pub(super) envelope: &'a Envelope,
    /// What became of MAIL and RCPT.
    pub(super) fate: Fate<'a>,
    pub(super) sentences: &'a [Sentence],
    /// The lines to paste, if anything works.
    pub(super) lines: Option<&'a str>,
}

impl Report<'_> {
    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = format!("{}\n", printable(self.host));
        let addresses: Vec<String> = self
            .findings
            .lookup
            .ipv4
            .iter()
            .chain(&self.findings.lookup.ipv6)
            .map(ToString::to_string)
            .collect();
        if !addresses.is_empty() {
            let _ = writeln!(text, "  addresses: {}", addresses.join(", "));
        }
        if let Some(provider) = self.provider {
            text += &about(provider);
        }
        if !self.findings.ports.is_empty() {
            text.push('\n');
            text += &ports(&self.findings.ports);
        }
        text += "\nDiagnosis\n";
        for sentence in self.sentences {
            let mark = match sentence.weight {
                Weight::Good => '+',
                Weight::Note => '·',
                Weight::Bad => '!',
            };
            text += &wrapped(mark, &printable(&sentence.text));
        }
        if let Some(lines) = self.lines {
            let _ = write!(text, "\nWhat to write\n\n{lines}");
        }
        text
    }

    /// For programs: one object.
    pub(super) fn json(&self) -> Value {
        let lookup = &self.findings.lookup;
        json!({
            "host": self.host,
            "provider": self.provider.map(|provider| &provider.name),
            "servers": self.provider.map(|provider| &provider.servers),
            "lookup": {
                "ipv4": lookup.ipv4,
                "ipv6": lookup.ipv6,
                "trouble": lookup.trouble.as_ref().map(|trouble| match trouble {
                    LookupTrouble::NoSuchName => "no_such_name".into(),
                    LookupTrouble::NoAddress => "no_address".into(),
                    LookupTrouble::ServerFailure => "server_failure".into(),
                    LookupTrouble::TimedOut => "timed_out".into(),
                    LookupTrouble::Other(text) => text.clone(),
                }),
                "a": lookup.records.as_ref().map(|records| answered(&records.a)),
                "aaaa": lookup.records.as_ref().map(|records| answered(&records.aaaa)),
            },
            "ports": self.findings.ports.iter().map(port).collect::<Vec<_>>(),
            "login": login(self.login),
            "envelope": self.envelope.replies().iter().map(ToString::to_string).collect::<Vec<_>>(),
            "envelope_result": fate(self.fate),
            "diagnosis": self.sentences.iter().map(|sentence| json!({
                "weight": match sentence.weight {
                    Weight::Good => "good",
                    Weight::Note => "note",
                    Weight::Bad => "bad",
                },
                "text": sentence.text,
            })).collect::<Vec<_>>(),
            "configuration": self.lines,
        })
    }
}

/// What a name server said of one kind of address.
fn answered(answered: &Answered) -> Value {
    match answered {
        Answered::Addresses(found) => json!(found),
        Answered::NoSuchName => "no_such_name".into(),
        Answered::NoRecord => "no_record".into(),
        Answered::Failure => "server_failure".into(),
        Answered::Refused => "refused".into(),
        Answered::Silence => "timed_out".into(),
        Answered::Other(text) => text.clone().into(),
    }
}

fn about(provider: &Introduction) -> String {
    let Introduction { name, servers, limits, by } = provider;
    let known = if limits.is_empty() { String::new() } else { format!(", known to allow: {limits}") };
    let mut about = format!("  {}{} ({by})\n", printable(name), printable(&known));
    if !servers.is_empty() {
        let _ = writeln!(about, "  its servers: {}", printable(&servers.join(", ")));
    }
    about
}

fn ports(ports: &[PortFinding]) -> String {
    let mut rows = Vec::new();
    for port in ports {
        if port.modes.is_empty() {
            rows.push(vec![port.port.to_string(), String::new(), reached(port.reached())]);
        }
        for finding in &port.modes {
            rows.push(vec![
                port.port.to_string(),
                finding.mode.as_str().to_owned(),
                printable(&outcome(finding)),
            ]);
        }
        for (address, how) in &port.addresses {
            if *how != Reached::Open && port.is_open() {
                rows.push(vec![
                    port.port.to_string(),
                    String::new(),
                    format!("{}: {}", address.ip(), reached(how)),
                ]);
            }
        }
    }
    let table = aligned(&["PORT", "TLS", "RESULT"], &rows);
    table.lines().fold(String::new(), |text, line| text + "  " + line + "\n")
}

fn reached(reached: &Reached) -> String {
    match reached {
        Reached::Open => "open".into(),
        Reached::Refused => "refused: nothing listens there".into(),
        Reached::Filtered => "filtered: no answer".into(),
        Reached::Unreachable => "unreachable: no way there".into(),
        Reached::Forbidden => "forbidden by this machine's firewall".into(),
        Reached::Other(text) => text.clone(),
    }
}

fn outcome(finding: &ModeFinding) -> String {
    let mut text = show_finding(finding);
    if finding.outcome != Outcome::Works {
        return text;
    }
    let mut add = |part: String| {
        let _ = write!(text, "; {part}");
    };
    if let Some(tls) = &finding.tls {
        add(tls.clone());
    }
    if let Some(seen) = &finding.certificate {
        add(certificate(seen));
    }
    if let Some(offers) = &finding.offers {
        let offered = &offers.capabilities;
        add(if offered.auth.is_empty() {
            "no AUTH".into()
        } else {
            format!("AUTH {}", offered.auth.join(" "))
        });
        if let SizeLimit::Octets(octets) = offered.size {
            add(format!("SIZE {octets}"));
        }
        let known = [
            (offered.pipelining, "PIPELINING"),
            (offered.chunking, "CHUNKING"),
            (offered.eight_bit_mime, "8BITMIME"),
            (offered.smtputf8, "SMTPUTF8"),
            (offered.dsn, "DSN"),
        ];
        let list: Vec<&str> = known.iter().filter(|(has, _)| *has).map(|(_, name)| *name).collect();
        if !list.is_empty() {
            add(list.join(" "));
        }
        if let Some(most) = offered.recipients_max {
            add(format!("RCPTMAX={most}"));
        }
        if let Some(most) = offered.mails_max {
            add(format!("MAILMAX={most}"));
        }
    }
    text
}

fn certificate(seen: &Seen) -> String {
    let flaws: Vec<&str> = seen.flaws.iter().map(flaw).collect();
    let trust = if flaws.is_empty() { "trusted".to_owned() } else { flaws.join(", ").replace('_', " ") };
    match &seen.facts {
        Some(facts) => {
            let until = facts.not_after.to_string();
            let day = until.split('T').next().unwrap_or_default();
            format!(
                "certificate of {} by {} until {day}: {trust}",
                named(&facts.subject),
                named(&facts.issuer)
            )
        }
        None => format!("unreadable certificate: {trust}"),
    }
}

fn named(name: &str) -> &str {
    if name.is_empty() { "(no name)" } else { name }
}

fn flaw(flaw: &Flaw) -> &'static str {
    match flaw {
        Flaw::Expired => "expired",
        Flaw::NotYetValid => "not_yet_valid",
        Flaw::WrongName { .. } => "wrong_name",
        Flaw::SelfSigned => "self_signed",
        Flaw::UnknownIssuer => "unknown_issuer",
        Flaw::NotPinned => "not_pinned",
        Flaw::Other(_) => "refused",
    }
}

fn port(port: &PortFinding) -> Value {
    let word_of = |how: &Reached| match how {
        Reached::Open => "open".to_owned(),
        Reached::Refused => "refused".into(),
        Reached::Filtered => "filtered".into(),
        Reached::Unreachable => "unreachable".into(),
        Reached::Forbidden => "forbidden".into(),
        Reached::Other(text) => text.clone(),
    };
    json!({
        "port": port.port,
        "addresses": port.addresses.iter().map(|(address, how)| json!({"address": address.ip(), "reached": word_of(how)}))
            .collect::<Vec<_>>(),
        "modes": port.modes.iter().map(mode).collect::<Vec<_>>(),
    })
}

fn mode(finding: &ModeFinding) -> Value {
    json!({
        "tls": finding.mode.as_str(),
        "works": finding.outcome == Outcome::Works,
        "result": show_finding(finding),
        "greeting": finding.greeting.as_ref().map(ToString::to_string),
        "ehlo": finding.offers.as_ref().map(|offers| &offers.lines),
        "session": finding.tls,
        "certificate": finding.certificate.as_ref().map(|seen| json!({
            "names": seen.facts.as_ref().map(|facts| &facts.names),
            "subject": seen.facts.as_ref().map(|facts| &facts.subject),
            "issuer": seen.facts.as_ref().map(|facts| &facts.issuer),
            "not_before": seen.facts.as_ref().map(|facts| facts.not_before.to_string()),
            "not_after": seen.facts.as_ref().map(|facts| facts.not_after.to_string()),
            "sha256": seen.sha256,
            "flaws": seen.flaws.iter().map(flaw).collect::<Vec<_>>(),
        })),
    })
}

fn login(login: &Login) -> Value {
    match login {
        Login::Good => json!({"result": "good"}),
        Login::NotTried(why) => json!({"result": "not_tried", "reason": why}),
        Login::Failed { trouble, said, advice } => {
            let result = match trouble {
                LoginTrouble::WrongPassword => "wrong_password",
                LoginTrouble::TokenRefused => "token_refused",
                LoginTrouble::AppPassword => "app_password_wanted",
                LoginTrouble::Disabled => "disabled",
                LoginTrouble::NotOffered => "not_offered",
                LoginTrouble::NoMechanism => "no_mechanism",
                LoginTrouble::EncryptionNeeded => "encryption_needed",
                LoginTrouble::AccountDisabled => "account_disabled",
                LoginTrouble::NotTaken => "not_taken",
                LoginTrouble::Refused => "refused",
                LoginTrouble::Later => "later",
                LoginTrouble::Interrupted => "interrupted",
            };
            json!({"result": result, "reply": said, "advice": advice})
        }
    }
}

fn fate(fate: Fate<'_>) -> &'static str {
    match fate {
        Fate::NotTried(_) => "not_tried",
        Fate::Accepted => "accepted",
        Fate::LoginWanted(_) => "login_wanted",
        Fate::TlsWanted(_) => "tls_wanted",
        Fate::Quota(_) => "quota",
        Fate::Later(_) => "later",
        Fate::Refused(_) => "refused",
        Fate::Command(_) => "not_taken",
        Fate::OutOfPlace(_) => "out_of_place",
        Fate::Unanswered(Unanswered::Silence) => "silence",
        Fate::Unanswered(Unanswered::Closed) => "closed",
        Fate::Unanswered(Unanswered::Garbled) => "garbled",
    }
}

/// A mark and lines of at most about 100 characters, indented below it.
fn wrapped(mark: char, text: &str) -> String {
    let mut lines = String::new();
    let mut line = format!("  {mark} ");
    let mut width = 0;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let length = word.chars().count();
        if width > 0 && width + length > 96 {
            lines += line.trim_end();
            lines += "\n";
            line = "    ".into();
            width = 0;
        }
        line += word;
        line.push(' ');
        width += length + 1;
    }
    lines + line.trim_end() + "\n"
}

#[cfg(test)]
mod tests {
    use super::wrapped;

    #[test]
    fn long_sentences_are_broken_between_words() {
        let text = wrapped('!', &"word ".repeat(30));
        assert!(text.lines().count() == 2 && text.lines().all(|line| line.len() <= 101), "{text}");
        assert!(
            text.starts_with("  ! word ")
                && text.lines().nth(1).is_some_and(|line| line.starts_with("    word"))
        );
    }
}
