//! The letter that tries a mailbox's forwarding: sent through its smarthost to itself, it must come back to the inbox. Pure.
//!
//! It is known again by a secret token, in a field of its own and in the Subject, which every forwarder keeps.

use super::automatic::{Kind, Report};
use super::mailbox::Identification;
use crate::message::fields::HeaderSection;
use jiff::Timestamp;

/// The field that holds the token.
const FIELD: &str = "X-Waystation-Probe";
/// The Subject up to the token.
const SUBJECT: &str = "waystation probe ";
/// Letters in a token: 128 bits in hexadecimal.
const TOKEN: usize = 32;
/// Received fields that are kept of a probe, and the length of each.
const HOPS: usize = 30;
const HOP: usize = 300;

/// A token of these octets.
#[must_use]
pub fn token(random: [u8; 16]) -> String {
    random.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// The letter.
#[must_use]
pub fn letter(token: &str, address: &str, inbox: &str, hostname: &str, now: Timestamp) -> Vec<u8> {
    let date = now.strftime("%a, %d %b %Y %H:%M:%S +0000");
    format!(
        "Date: {date}\r\nFrom: <{address}>\r\nTo: <{address}>\r\nSubject: {SUBJECT}{token}\r\n\
         Message-ID: <probe.{token}@{hostname}>\r\n{FIELD}: {token}\r\nAuto-Submitted: auto-generated\r\n\
         MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n\
         waystation looks whether mail to {address} is forwarded to {inbox}.\r\nThis letter may be deleted.\r\n"
    )
    .into_bytes()
}

/// The token of a message that may be a probe.
#[must_use]
pub fn token_in(header: &HeaderSection<'_>) -> Option<String> {
    let value = |name: &str| {
        let field = header.fields().find(|field| field.name().eq_ignore_ascii_case(name.as_bytes()))?;
        Some(unfolded(field.octets()))
    };
    let own = value(FIELD).map(|value| value.trim().to_owned());
    let subject = value("Subject").and_then(|subject| Some(subject.split_once(SUBJECT)?.1.trim().to_owned()));
    let is_token = |text: &String| text.len() == TOKEN && text.bytes().all(|octet| octet.is_ascii_hexdigit());
    own.filter(is_token).or(subject.filter(is_token))
}

/// The Received fields, newest first, each on one line.
#[must_use]
pub fn trace(header: &HeaderSection<'_>) -> Vec<String> {
    let received = header.fields().filter(|field| field.name().eq_ignore_ascii_case(b"Received"));
    received.take(HOPS).map(|field| unfolded(field.octets()).chars().take(HOP).collect()).collect()
}

/// What a message with a probe's token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Came {
    /// The probe, with what is wrong with where it came, if anything is.
    Back(Option<String>),
    /// A notice that it couldn't be delivered.
    Bounced(String),
    /// What else a machine says of it. The probe itself may still come.
    Answer,
}

/// What it is that came to `to` for a probe of `mailbox`: what answers a letter, and reports on it, quotes its Subject.
#[must_use]
pub fn came(to: &str, mailbox: &str, found: &Identification, answer: Option<(Kind, &Report)>) -> Came {
    let report = match answer {
        None => return Came::Back(astray(to, mailbox, found)),
        Some((Kind::Bounce, report)) => report,
        Some(_) => return Came::Answer,
    };
    let said = report.recipients.first().map(|each| {
        let words = [each.status.as_deref(), each.diagnostic.as_deref()];
        words.into_iter().flatten().collect::<Vec<_>>().join(" ")
    });
    let said = said.filter(|said| !said.is_empty()).map_or(String::new(), |said| format!(": {said}"));
    Came::Bounced(format!("a bounce of it came to {to}{said}"))
}

/// What is wrong with where a probe for `mailbox` came back, if anything is: whose mail it would have been.
fn astray(to: &str, mailbox: &str, found: &Identification) -> Option<String> {
    let taken_for = match found.mailbox.as_deref() {
        None => "nobody's".to_owned(),
        Some(other) if other != mailbox => format!("mailbox {other}'s"),
        // The address settles it, whatever hands it went through.
        Some(_) if found.identified_by == Some("inbox_token") || !found.is_contradicted => return None,
        Some(_) => format!("mailbox {mailbox}'s only by its To field: who forwarded it is somebody else"),
    };
    Some(format!(
        "it came back at the wrong place: it came to {to}, where mail is taken for {taken_for}; forward to the address \
         that `waystation inbox list` shows"
    ))
}

/// A field's value on one line.
fn unfolded(octets: &[u8]) -> String {
    let text = String::from_utf8_lossy(octets);
    let value = text.split_once(':').map_or("", |(_, value)| value);
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::automatic;
    use super::super::mail::Mail;
    use super::*;

    #[test]
    fn what_answers_a_probe_is_not_the_probe() {
        let token = token([0xab; 16]);
        let now = Timestamp::from_second(1_795_000_000).unwrap();
        let letter = letter(&token, "hola@casasol.example", "inbox@users.example.com", "relay.example", now);
        let report = |action: &str, status: &str| {
            format!(
                "From: MAILER-DAEMON@casasol.example\r\nSubject: Re: waystation probe {token}\r\nMIME-Version: 1.0\r\n\
                 Content-Type: multipart/report; report-type=delivery-status; boundary=B\r\n\r\n--B\r\n\
                 Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; x\r\n\r\n\
                 Final-Recipient: rfc822; hola@casasol.example\r\nAction: {action}\r\nStatus: {status}\r\n\r\n--B--\r\n"
            )
        };
        let away =
            format!("Subject: Away: waystation probe {token}\r\nAuto-Submitted: auto-replied\r\n\r\nx\r\n");
        let found = Identification {
            mailbox: Some("sol".to_owned()),
            address: None,
            identified_by: Some("inbox_token"),
            confidence: 1.0,
            evidence: Vec::new(),
            is_contradicted: false,
            conversation: None,
        };
        let bounced = Came::Bounced("a bounce of it came to inbox+sol@users.example.com: 5.1.1".to_owned());
        for (message, expected) in [
            (letter, Came::Back(None)),
            (report("failed", "5.1.1").into_bytes(), bounced),
            (report("delayed", "4.4.1").into_bytes(), Came::Answer),
            (away.into_bytes(), Came::Answer),
        ] {
            let mail = Mail::read(&message);
            assert!(token_in(&mail.header).is_some());
            let kind = automatic::kind(&mail, None, false);
            let report = automatic::report(&mail, kind);
            let came = came("inbox+sol@users.example.com", "sol", &found, kind.zip(report.as_ref()));
            assert_eq!(came, expected, "{}", mail.subject);
        }
    }

    #[test]
    fn a_probe_is_astray_where_its_mailbox_is_not_what_it_is_taken_for() {
        let found = |mailbox: Option<&str>, by, is_contradicted| Identification {
            mailbox: mailbox.map(str::to_owned),
            address: None,
            identified_by: Some(by),
            confidence: 1.0,
            evidence: Vec::new(),
            is_contradicted,
            conversation: None,
        };
        let told = |found| astray("inbox+x@users.example.com", "sol", &found).unwrap_or_default();
        assert_eq!(told(found(Some("sol"), "recipient_header", false)), "");
        assert_eq!(told(found(Some("sol"), "inbox_token", true)), "");
        for (wrong, words) in [
            (found(Some("luna"), "inbox_token", false), "is taken for mailbox luna's"),
            (found(None, "", false), "is taken for nobody's"),
            (found(Some("sol"), "recipient_header", true), "only by its To field"),
        ] {
            let told = told(wrong);
            assert!(told.contains("it came to inbox+x@users.example.com") && told.contains(words), "{told}");
        }
    }

    #[test]
    fn a_probe_is_known_again_by_its_field_or_its_subject() {
        let token = token([0xab; 16]);
        let now = Timestamp::from_second(1_795_000_000).unwrap();
        let letter = letter(&token, "hola@casasol.example", "inbox@users.example.com", "relay.example", now);
        assert_eq!(token_in(&HeaderSection::of(&letter)), Some(token.clone()));
        let text = String::from_utf8(letter).unwrap();
        let forwarded = text.replace("X-Waystation-Probe", "X-Other").replace("Subject: ", "Subject: Fwd: ");
        let forwarded = format!("Received: from a\r\n by b; now\r\nReceived: from c by d\r\n{forwarded}");
        let header = HeaderSection::of(forwarded.as_bytes());
        assert_eq!(token_in(&header), Some(token.clone()));
        assert_eq!(trace(&header), ["from a by b; now", "from c by d"]);
        for other in ["Subject: waystation probe x\r\n\r\n", "Subject: hello\r\n\r\nwaystation probe"] {
            assert_eq!(token_in(&HeaderSection::of(other.as_bytes())), None);
        }
    }
}
