//! Delivery status notifications: what we write to a sender (RFC 3461, RFC 3464, RFC 6533).
//!
//! Promises: three parts, in plain words, for programs, and the message or its header section; CRLF everywhere, no
//! line over 998 octets, and nothing that a smarthost or the message said adds a line of its own. Never about a
//! notification, never to somebody who said `NOTIFY=NEVER`. Nothing here fails.

use crate::message::convert::to_seven_bit;
use crate::message::decode;
use crate::message::envelope::{Body, Envelope, Notify, Recipient, Ret};
use crate::message::fields::HeaderSection;
use crate::message::lines::{Text, is_wire_safe, tidy};
use crate::message::trace;
use crate::smtp::address::Address;
use crate::smtp::reply::{Enhanced, Reply};
use jiff::Timestamp;

/// A message longer than this comes back as its header section only.
const MAX_RETURNED: usize = 50 * 1024;

/// What a notification tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Never delivered.
    Failed,
    /// Late, and still tried until this time.
    Delayed {
        /// When we give up.
        retry_until: Timestamp,
    },
    /// Handed to a smarthost that sends no notifications itself (RFC 3461 §5.2.2, `relayed`).
    Relayed,
}

/// Everything a notification is written from.
#[derive(Debug, Clone)]
pub struct Report<'a> {
    /// What happened.
    pub kind: Kind,
    /// Our own name.
    pub hostname: &'a str,
    /// The queue's name for the message reported on.
    pub original_id: &'a str,
    /// Its envelope; its sender is written to.
    pub envelope: &'a Envelope,
    /// When it was accepted.
    pub received_at: Timestamp,
    /// Now.
    pub now: Timestamp,
    /// The smarthost's name and host.
    pub smarthost: &'a str,
    /// The recipients told about.
    pub recipients: &'a [Told<'a>],
    /// The message, from its first octet; the first 64 KiB are enough.
    pub original: &'a [u8],
    /// Its whole length in octets.
    pub original_bytes: u64,
    /// Whether a server may have taken it in an attempt that ended without its answer.
    pub may_have_arrived: bool,
}

/// One recipient told about.
#[derive(Debug, Clone)]
pub struct Told<'a> {
    /// Who.
    pub recipient: &'a Recipient,
    /// The last reply, the smarthost's or ours.
    pub reply: &'a Reply,
    /// The host that gave the reply; none when it is ours.
    pub remote: Option<&'a str>,
    /// When it was last tried.
    pub last_attempt: Option<Timestamp>,
    /// What the sender can do about it.
    pub advice: Option<&'a str>,
}

/// A notification, ready to be queued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// Null sender, the original's sender as the only recipient.
    pub envelope: Envelope,
    /// The whole message.
    pub octets: Vec<u8>,
}

/// Whether a recipient's wishes ask for a notification of this kind (RFC 3461 §4.1).
#[must_use]
pub fn wants(notify: Option<Notify>, kind: Kind) -> bool {
    match (notify, kind) {
        (None, Kind::Failed | Kind::Delayed { .. }) => true,
        (None, Kind::Relayed) => false,
        (Some(notify), Kind::Failed) => notify.failure,
        (Some(notify), Kind::Delayed { .. }) => notify.delay,
        (Some(notify), Kind::Relayed) => notify.success,
    }
}

/// Writes a notification about those recipients that want one. None when nobody does, or the sender is null
/// (RFC 5321 §4.5.5): nothing is ever written about a notification.
#[must_use]
pub fn notify(report: &Report<'_>) -> Option<Notification> {
    let sender = report.envelope.sender.as_ref()?;
    let told: Vec<&Told<'_>> =
        report.recipients.iter().filter(|told| wants(told.recipient.notify, report.kind)).collect();
    if told.is_empty() {
        return None;
    }
    let utf8 = !sender.is_ascii() || told.iter().any(|told| !told.recipient.address.is_ascii());
    let header = HeaderSection::of(report.original);
    let extent = Extent::of(report, &header);
    let parts = [
        words(report, &told, &header, extent),
        status(report, &told, utf8),
        returned(report, &header, extent),
    ];
    let octets = assemble(report, sender, &told, &header, &parts);
    let body = if octets.is_ascii() { Body::SevenBit } else { Body::EightBitMime };
    let never = Notify { success: false, failure: false, delay: false };
    let recipient = Recipient { address: sender.clone(), notify: Some(never), orcpt: None };
    let smtputf8 = !sender.is_ascii();
    let envelope =
        Envelope { sender: None, recipients: vec![recipient], body, smtputf8, ret: None, envid: None };
    Some(Notification { envelope, octets })
}

/// One body part.
struct Part {
    content_type: &'static str,
    content: Vec<u8>,
}

fn assemble(
    report: &Report<'_>,
    sender: &Address,
    told: &[&Told<'_>],
    header: &HeaderSection<'_>,
    parts: &[Part],
) -> Vec<u8> {
    let host = trace::tame(report.hostname);
    let boundary = boundary(report, parts);
    let mut out = Vec::with_capacity(2048 + parts.iter().map(|part| part.content.len()).sum::<usize>());
    let mut line = |text: &str| {
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(b"\r\n");
    };
    line(&format!("From: \"Mail relay\" <MAILER-DAEMON@{host}>"));
    line(&format!("To: <{sender}>"));
    line(&format!("Subject: {}", subject(report.kind, told)));
    line(&format!("Date: {}", trace::date(report.now)));
    let id = format!("{}.{}", name(report.kind), report.original_id);
    line(&format!("Message-ID: {}", trace::message_id(&id, report.hostname, report.now)));
    if let Some(original) = original_message_id(header) {
        line(&format!("In-Reply-To: {original}"));
        line(&format!("References: {original}"));
    }
    // RFC 3834 §5: automatic mail says so, or two automatons talk for ever.
    line("Auto-Submitted: auto-replied");
    line("MIME-Version: 1.0");
    line("Content-Type: multipart/report; report-type=delivery-status;");
    line(&format!("\tboundary=\"{boundary}\""));
    line(transfer_encoding(parts.iter().all(|part| part.content.is_ascii())));
    line("");
    line("This is a delivery status notification in MIME format.");
    for part in parts {
        let mut line = |text: &str| {
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(b"\r\n");
        };
        line("");
        line(&format!("--{boundary}"));
        line(&format!("Content-Type: {}", part.content_type));
        line(transfer_encoding(part.content.is_ascii()));
        line("");
        out.extend_from_slice(&part.content);
    }
    out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    out
}

fn transfer_encoding(ascii: bool) -> &'static str {
    if ascii { "Content-Transfer-Encoding: 7bit" } else { "Content-Transfer-Encoding: 8bit" }
}

/// Tells the notices of one outcome apart: stores drop what bears a Message-ID that they have.
const fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Failed => "failure",
        Kind::Delayed { .. } => "delay",
        Kind::Relayed => "relayed",
    }
}

/// A boundary that stands in none of the parts (RFC 2046 §5.1).
fn boundary(report: &Report<'_>, parts: &[Part]) -> String {
    let (name, id) = (name(report.kind), trace::tame(report.original_id));
    let mut boundary = format!("=_{name}_{id}_{}", report.now.as_millisecond());
    boundary.truncate(60);
    while parts.iter().any(|part| memchr::memmem::find(&part.content, boundary.as_bytes()).is_some()) {
        boundary.insert(2, '_');
    }
    boundary
}

fn subject(kind: Kind, told: &[&Told<'_>]) -> String {
    let what = match kind {
        Kind::Failed => "Not delivered",
        Kind::Delayed { .. } => "Not yet delivered",
        Kind::Relayed => "Handed on",
    };
    let first = told.first().map(|told| &told.recipient.address).filter(|address| address.is_ascii());
    match (first, told.len()) {
        (Some(address), 1) => format!("{what}: {address}"),
        (Some(address), number) => format!("{what}: {address} and {} more", number - 1),
        (None, _) => what.to_owned(),
    }
}

/// The original's Message-ID, brackets and all, if it can be quoted as it stands.
fn original_message_id(header: &HeaderSection<'_>) -> Option<String> {
    let value = header.named("Message-ID").next()?.value().into_owned();
    let text = String::from_utf8(value).ok()?;
    let inner = text.strip_prefix('<')?.strip_suffix('>')?;
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '<' | '>');
    (!inner.is_empty() && inner.len() <= 900 && inner.chars().all(plain)).then_some(text)
}

/// The part for people.
fn words(report: &Report<'_>, told: &[&Told<'_>], header: &HeaderSection<'_>, extent: Extent) -> Part {
    let whom = if told.len() == 1 { "this recipient" } else { "these recipients" };
    let mut text = Text::default();
    match report.kind {
        Kind::Failed => {
            text.wrapped(
                "",
                &format!("Your message could not be delivered to {whom}. It is not tried any more."),
            );
            if report.may_have_arrived {
                text.wrapped(
                    "",
                    "It may have arrived all the same: an attempt ended without an answer when all of it had been sent.",
                );
                text.wrapped("", "If it matters that it comes once only, ask before you send it again.");
            }
        }
        Kind::Delayed { retry_until } => {
            let until = trace::date(retry_until);
            text.wrapped(
                "",
                &format!("Your message has not been delivered to {whom} yet. You need not send it again:"),
            );
            text.wrapped("", &format!("it is tried until {until}."));
        }
        Kind::Relayed => {
            text.wrapped("", &format!("Your message was handed on for {whom}, to a server that sends no"));
            text.wrapped(
                "",
                "confirmations: whether it arrives in the end you will only hear if it does not.",
            );
        }
    }
    for told in told {
        text.line("");
        text.line(&format!("<{}>", told.recipient.address));
        let says = match told.remote {
            Some(remote) => format!("{} answered:", decode::clean(remote, 255)),
            None => "What happened:".to_owned(),
        };
        text.wrapped("    ", &says);
        for line in reply_lines(told.reply, told.remote.is_some()) {
            text.wrapped("        ", &line);
        }
        if let Some(advice) = told.advice {
            text.wrapped("    ", &format!("What to do: {}", decode::clean(advice, 1000)));
        }
    }
    text.line("");
    if let Some(subject) = header.named("Subject").next() {
        text.wrapped("", &format!("Subject: {}", decode::text(&subject.value(), 200)));
    }
    text.wrapped("", &format!("Accepted: {}", trace::date(report.received_at)));
    let by = format!("{} (waystation), ID {}", trace::tame(report.hostname), trace::tame(report.original_id));
    text.wrapped("", &format!("By: {by}"));
    text.wrapped("", &format!("Through: {}", decode::clean(report.smarthost, 255)));
    if let Some(excuse) = extent.excuse() {
        text.wrapped("", &format!("Only the header section of your message comes back with this: {excuse}."));
    }
    Part { content_type: "text/plain; charset=utf-8", content: text.into_octets() }
}

/// A reply as on the wire but for what could steer a reader; ours without its codes.
fn reply_lines(reply: &Reply, with_codes: bool) -> Vec<String> {
    let codes = match reply.enhanced {
        _ if !with_codes => String::new(),
        Some(Enhanced(class, subject, detail)) => format!("{} {class}.{subject}.{detail} ", reply.code),
        None => format!("{} ", reply.code),
    };
    reply.lines.iter().take(20).map(|line| format!("{codes}{}", decode::clean(line, 1000))).collect()
}

/// The part for programs (RFC 3464 §2, RFC 6533 §4 when an address isn't US-ASCII).
fn status(report: &Report<'_>, told: &[&Told<'_>], utf8: bool) -> Part {
    let mut text = Text::default();
    text.field("Reporting-MTA", &format!("dns; {}", trace::tame(report.hostname)));
    if let Some(envid) = report.envelope.envid.as_deref().and_then(xtext) {
        text.field("Original-Envelope-Id", &envid);
    }
    text.field("Arrival-Date", &trace::date(report.received_at));
    for told in told {
        text.line("");
        if let Some(original) = told.recipient.orcpt.as_deref().and_then(original_recipient) {
            text.field("Original-Recipient", &original);
        }
        let address = &told.recipient.address;
        let kind = if address.is_ascii() { "rfc822" } else { "utf-8" };
        text.line(&format!("Final-Recipient: {kind}; {address}"));
        let action = match report.kind {
            Kind::Failed => "failed",
            Kind::Delayed { .. } => "delayed",
            Kind::Relayed => "relayed",
        };
        text.field("Action", action);
        text.field("Status", &status_code(report.kind, told.reply));
        if let Some(remote) = told.remote {
            text.field("Remote-MTA", &format!("dns; {}", trace::tame(remote)));
        }
        // RFC 3464 §2.3.6: "smtp" is for what an SMTP server said.
        let source = if told.remote.is_some() { "smtp" } else { "x-waystation" };
        let said = reply_lines(told.reply, true).join(" ");
        let said = if utf8 { said } else { said.replace(|c: char| !c.is_ascii(), "?") };
        text.field("Diagnostic-Code", &format!("{source}; {said}"));
        if let Some(last) = told.last_attempt {
            text.field("Last-Attempt-Date", &trace::date(last));
        }
        if let Kind::Delayed { retry_until } = report.kind {
            text.field("Will-Retry-Until", &trace::date(retry_until));
        }
    }
    let content_type = if utf8 { "message/global-delivery-status" } else { "message/delivery-status" };
    Part { content_type, content: text.into_octets() }
}

/// RFC 3463; where the peer gave none, its code's class.
fn status_code(kind: Kind, reply: &Reply) -> String {
    match (kind, reply.enhanced) {
        (Kind::Failed, Some(Enhanced(class @ (4 | 5), subject, detail)))
        | (Kind::Delayed { .. }, Some(Enhanced(class @ 4, subject, detail)))
        | (Kind::Relayed, Some(Enhanced(class @ 2, subject, detail))) => {
            format!("{class}.{subject}.{detail}")
        }
        (Kind::Failed, _) if reply.is_transient() => "4.0.0".to_owned(),
        (Kind::Failed, _) => "5.0.0".to_owned(),
        (Kind::Delayed { .. }, _) => "4.0.0".to_owned(),
        (Kind::Relayed, _) => "2.0.0".to_owned(),
    }
}

/// `ORCPT`, its xtext decoded (RFC 3461 §4.2). The `utf-8` kind stays in US-ASCII, the form that is safe everywhere.
fn original_recipient(orcpt: &str) -> Option<String> {
    let (kind, address) = orcpt.split_once(';')?;
    let plain = !kind.is_empty() && kind.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
    let address = if kind.eq_ignore_ascii_case("utf-8") {
        address.chars().filter(char::is_ascii_graphic).collect()
    } else {
        xtext(address)?
    };
    plain.then(|| format!("{kind};{address}"))
}

/// RFC 3461 §4: `+XX` is an octet. None if it isn't xtext, or hides what must not stand in a line.
fn xtext(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        let octet = if octet == b'+' {
            let digits = [rest.next()?, rest.next()?];
            u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
        } else {
            octet
        };
        if !(octet.is_ascii_graphic() || octet == b' ') {
            return None;
        }
        out.push(char::from(octet));
    }
    (!out.is_empty() && out.len() <= 500).then_some(out)
}

/// The message, or its header section: by RET for failures, never more than the header section for anything else
/// (RFC 3461 §4.3).
fn returned(report: &Report<'_>, header: &HeaderSection<'_>, extent: Extent) -> Part {
    let (content_type, content) = match (extent, is_global(header)) {
        (Extent::Whole, false) => ("message/rfc822", report.original.to_vec()),
        (Extent::Whole, true) => ("message/global", report.original.to_vec()),
        (_, false) => ("text/rfc822-headers", tidy(header.octets(), MAX_RETURNED)),
        (_, true) => ("message/global-headers", tidy(header.octets(), MAX_RETURNED)),
    };
    Part { content_type, content }
}

/// How much of the message comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    Whole,
    /// The header section is what is wanted.
    Header,
    /// Only the header section, because the message is longer than [`MAX_RETURNED`].
    TooLong,
    /// Only the header section, because the message can't stand in another one.
    Unfit,
}

impl Extent {
    fn of(report: &Report<'_>, header: &HeaderSection<'_>) -> Self {
        if report.kind != Kind::Failed || report.envelope.ret == Some(Ret::Headers) {
            return Self::Header;
        }
        let limit = u64::try_from(MAX_RETURNED).unwrap_or(u64::MAX);
        if report.original_bytes > limit {
            return Self::TooLong;
        }
        // A smarthost without 8BITMIME gets the notification converted, and message/rfc822 can't be encoded as a whole.
        let original = report.original;
        let travels = || original.is_ascii() || is_global(header) || to_seven_bit(original).is_ok();
        let is_whole = report.original_bytes == u64::try_from(original.len()).unwrap_or(u64::MAX);
        if is_whole && is_wire_safe(original) && travels() { Self::Whole } else { Self::Unfit }
    }

    /// What to tell somebody who would expect the whole message.
    fn excuse(self) -> Option<String> {
        match self {
            Self::Whole | Self::Header => None,
            Self::TooLong => Some(format!("it is longer than {} KiB", MAX_RETURNED / 1024)),
            Self::Unfit => Some("it can't be quoted as it is".to_owned()),
        }
    }
}

/// Whether its header section is in UTF-8 (RFC 6532).
fn is_global(header: &HeaderSection<'_>) -> bool {
    std::str::from_utf8(header.octets()).is_ok_and(|text| !text.is_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail_parser::{MessageParser, MimeHeaders};
    use proptest::prelude::*;

    const ORIGINAL: &str = "From: ana@x.test\r\nSubject: Hello\r\nMessage-ID: <1@x.test>\r\n\r\nBody\r\n";

    fn address(text: &str) -> Address {
        Address::parse(text, true).unwrap()
    }

    fn recipient(text: &str) -> Recipient {
        Recipient { address: address(text), notify: None, orcpt: None }
    }

    fn envelope(sender: Option<&str>) -> Envelope {
        Envelope {
            sender: sender.map(address),
            recipients: vec![],
            body: Body::SevenBit,
            smtputf8: false,
            ret: None,
            envid: None,
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn report<'a>(
        kind: Kind,
        envelope: &'a Envelope,
        told: &'a [Told<'a>],
        original: &'a [u8],
    ) -> Report<'a> {
        Report {
            kind,
            hostname: "relay.test",
            original_id: "0ABC",
            envelope,
            received_at: at("2026-11-22T15:40:12Z"),
            now: at("2026-11-22T15:45:00Z"),
            smarthost: "shop (smtp.example.com)",
            recipients: told,
            original,
            original_bytes: original.len() as u64,
            may_have_arrived: false,
        }
    }

    fn told<'a>(recipient: &'a Recipient, reply: &'a Reply) -> Told<'a> {
        Told {
            recipient,
            reply,
            remote: Some("smtp.example.com"),
            last_attempt: Some(at("2026-11-22T15:44:59Z")),
            advice: None,
        }
    }

    fn text(report: &Report<'_>) -> String {
        String::from_utf8(notify(report).unwrap().octets).unwrap()
    }

    #[test]
    fn what_may_have_arrived_is_not_told_to_be_missing_for_certain() {
        let (bob, reply, envelope) =
            (recipient("bob@y.test"), Reply::new(451, None, "no answer"), envelope(Some("ana@x.test")));
        let told = [told(&bob, &reply)];
        let sure = report(Kind::Failed, &envelope, &told, b"");
        let doubtful = Report { may_have_arrived: true, ..sure.clone() };
        let says = |report| text(report).contains("It may have arrived all the same: ");
        assert!(says(&doubtful) && !says(&sure));
        assert!(!says(&Report { kind: Kind::Delayed { retry_until: sure.now }, ..doubtful }));
    }

    #[test]
    fn a_failure_tells_people_and_programs_and_returns_the_message() {
        let mut bob = recipient("bob@y.test");
        bob.orcpt = Some("rfc822;Bob+2B1@y.test".into());
        let reply = Reply {
            code: 550,
            enhanced: Some(Enhanced(5, 1, 1)),
            lines: vec!["no such user".into(), "see https://y.test".into()],
        };
        let mut envelope = envelope(Some("ana@x.test"));
        envelope.envid = Some("QQ+2B7".into());
        let told = [Told { advice: Some("check the address"), ..told(&bob, &reply) }];
        let expected = "\
From: \"Mail relay\" <MAILER-DAEMON@relay.test>
To: <ana@x.test>
Subject: Not delivered: bob@y.test
Date: Sun, 22 Nov 2026 15:45:00 +0000
Message-ID: <1795362300000.failure.0ABC@relay.test>
In-Reply-To: <1@x.test>
References: <1@x.test>
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
\tboundary=\"=_failure_0ABC_1795362300000\"
Content-Transfer-Encoding: 7bit

This is a delivery status notification in MIME format.

--=_failure_0ABC_1795362300000
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 7bit

Your message could not be delivered to this recipient. It is not tried any
more.

<bob@y.test>
    smtp.example.com answered:
        550 5.1.1 no such user
        550 5.1.1 see https://y.test
    What to do: check the address

Subject: Hello
Accepted: Sun, 22 Nov 2026 15:40:12 +0000
By: relay.test (waystation), ID 0ABC
Through: shop (smtp.example.com)

--=_failure_0ABC_1795362300000
Content-Type: message/delivery-status
Content-Transfer-Encoding: 7bit

Reporting-MTA: dns; relay.test
Original-Envelope-Id: QQ+7
Arrival-Date: Sun, 22 Nov 2026 15:40:12 +0000

Original-Recipient: rfc822;Bob+1@y.test
Final-Recipient: rfc822; bob@y.test
Action: failed
Status: 5.1.1
Remote-MTA: dns; smtp.example.com
Diagnostic-Code: smtp; 550 5.1.1 no such user 550 5.1.1 see https://y.test
Last-Attempt-Date: Sun, 22 Nov 2026 15:44:59 +0000

--=_failure_0ABC_1795362300000
Content-Type: message/rfc822
Content-Transfer-Encoding: 7bit

From: ana@x.test
Subject: Hello
Message-ID: <1@x.test>

Body

--=_failure_0ABC_1795362300000--
"
        .replace('\n', "\r\n");
        let report = report(Kind::Failed, &envelope, &told, ORIGINAL.as_bytes());
        assert_eq!(text(&report), expected);
        let notice = notify(&report).unwrap();
        assert_eq!(notice.envelope.sender, None);
        assert_eq!(notice.envelope.recipients[0].address, address("ana@x.test"));
        assert_eq!((notice.envelope.body, notice.envelope.smtputf8), (Body::SevenBit, false));
    }

    #[test]
    fn a_delay_says_until_when_and_returns_no_body() {
        let (bob, eve) = (recipient("bob@y.test"), recipient("eve@y.test"));
        let reply = Reply::new(451, None, "smtp.example.com did not answer in time");
        let ours = |recipient| Told { remote: None, last_attempt: None, ..told(recipient, &reply) };
        let told = [ours(&bob), ours(&eve)];
        let mut envelope = envelope(Some("ana@x.test"));
        envelope.ret = Some(Ret::Full);
        let kind = Kind::Delayed { retry_until: at("2026-11-27T15:40:12Z") };
        let text = text(&report(kind, &envelope, &told, ORIGINAL.as_bytes()));
        for part in [
            "Subject: Not yet delivered: bob@y.test and 1 more\r\n",
            "it is tried until Fri, 27 Nov 2026 15:40:12 +0000.\r\n",
            "<eve@y.test>\r\n    What happened:\r\n        smtp.example.com did not answer in time\r\n",
            "\r\nFinal-Recipient: rfc822; eve@y.test\r\nAction: delayed\r\nStatus: 4.0.0\r\n\
             Diagnostic-Code: x-waystation; 451 smtp.example.com did not answer in time\r\n\
             Will-Retry-Until: Fri, 27 Nov 2026 15:40:12 +0000\r\n",
            "text/rfc822-headers\r\n",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!text.contains("Body"));
    }

    #[test]
    fn who_gets_one() {
        let notify_of = |success, failure, delay| Some(Notify { success, failure, delay });
        let delayed = Kind::Delayed { retry_until: Timestamp::UNIX_EPOCH };
        for (wish, expected) in [
            (None, [true, true, false]),
            (notify_of(false, false, false), [false, false, false]),
            (notify_of(true, false, false), [false, false, true]),
            (notify_of(false, true, false), [true, false, false]),
            (notify_of(false, false, true), [false, true, false]),
        ] {
            assert_eq!([Kind::Failed, delayed, Kind::Relayed].map(|kind| wants(wish, kind)), expected);
        }
        let reply = Reply::new(550, None, "no");
        let (mut never, plain) = (recipient("never@y.test"), recipient("plain@y.test"));
        never.notify = notify_of(false, false, false);
        let both = [told(&never, &reply), told(&plain, &reply)];
        let (sender, null) = (envelope(Some("ana@x.test")), envelope(None));
        assert_eq!(notify(&report(Kind::Failed, &null, &both, b"")), None, "L4: no notice about a notice");
        assert_eq!(notify(&report(Kind::Failed, &sender, &both[..1], b"")), None, "NOTIFY=NEVER");
        let text = text(&report(Kind::Failed, &sender, &both, b""));
        assert!(text.contains("plain@y.test") && !text.contains("never@y.test"));
    }

    #[test]
    fn addresses_outside_ascii_use_the_global_types() {
        let (sender, to) = (envelope(Some("żółw@x.test")), recipient("γ@y.test"));
        let reply = Reply::new(550, Some(Enhanced(5, 1, 1)), "nie ma żółwia");
        let told = [told(&to, &reply)];
        let original = "From: żółw@x.test\r\n\r\nBody\r\n".as_bytes();
        let report = report(Kind::Failed, &sender, &told, original);
        let notice = notify(&report).unwrap();
        assert_eq!((notice.envelope.body, notice.envelope.smtputf8), (Body::EightBitMime, true));
        let text = text(&report);
        for part in [
            "Content-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: 8bit\r\n",
            "Final-Recipient: utf-8; γ@y.test\r\n",
            "Content-Type: message/global\r\n",
            "Subject: Not delivered\r\n",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }

    #[test]
    fn every_notification_can_be_made_seven_bit() {
        let (sender, to) = (envelope(Some("ana@x.test")), recipient("γ@y.test"));
        let reply = Reply::new(550, Some(Enhanced(5, 1, 1)), "nie ma żółwia");
        let told = [told(&to, &reply)];
        for original in [
            "From: żółw@x.test\r\nTo: γ@y.test\r\n\r\nBody\r\n".as_bytes(),
            b"From: a@x.test\r\nX-Raw: \xff\xfe\r\n\r\nBody\r\n",
            b"Mime-Version: 1.0\r\nContent-Type: multipart/mixed\r\n\r\n\xff\r\n",
            "Subject: ż\r\nMime-Version: 1.0\r\nContent-Type: multipart/mixed\r\n\r\nż\r\n".as_bytes(),
        ] {
            let octets = notify(&report(Kind::Failed, &sender, &told, original)).unwrap().octets;
            let converted = to_seven_bit(&octets).unwrap_or_else(|error| panic!("{error}: {original:?}"));
            assert!(converted.is_ascii());
            let report = MessageParser::default().parse(&converted).unwrap();
            assert_eq!(report.attachments().count(), 2, "{}", String::from_utf8_lossy(&converted));
        }
    }

    #[test]
    fn what_comes_back_depends_on_ret_and_size() {
        let to = recipient("bob@y.test");
        let reply = Reply::new(550, None, "no");
        let told = [told(&to, &reply)];
        let big = [ORIGINAL, &"x\r\n".repeat(30_000)].concat();
        let long = [ORIGINAL, &"x".repeat(999), "\r\n"].concat();
        for (ret, original, part, reason) in [
            (None, ORIGINAL.as_bytes(), "message/rfc822\r\n", "failures return all of it"),
            (Some(Ret::Full), ORIGINAL.as_bytes(), "message/rfc822\r\n", "as asked"),
            (Some(Ret::Headers), ORIGINAL.as_bytes(), "text/rfc822-headers\r\n", "as asked"),
            (Some(Ret::Full), big.as_bytes(), "text/rfc822-headers\r\n", "L10: over 50 KB"),
            (Some(Ret::Full), long.as_bytes(), "text/rfc822-headers\r\n", "E6: over 998 octets"),
            (Some(Ret::Full), b"A: 1\r\n\r\nbare\nline\r\n", "text/rfc822-headers\r\n", "bare LF"),
        ] {
            let envelope = Envelope { ret, ..envelope(Some("ana@x.test")) };
            let text = text(&report(Kind::Failed, &envelope, &told, original));
            assert!(text.contains(part), "{reason}");
            let is_told = text.contains("Only the header section of your message comes back with this");
            assert_eq!(is_told, ret == Some(Ret::Full) && part.contains("headers"), "{reason}");
            assert!(text.len() < 55 * 1024, "{reason}");
        }
    }

    #[test]
    fn a_message_id_is_quoted_in_its_own_brackets_or_not_at_all() {
        for (value, expected) in [
            ("<1@x>", Some("<1@x>")),
            ("\r\n <1@x>", Some("<1@x>")),
            ("<<1@x>>", None),
            ("1@x", None),
            ("<1 @x>", None),
            ("<>", None),
            ("<1@x> <2@x>", None),
        ] {
            let content = format!("Message-ID: {value}\r\n\r\n");
            let header = HeaderSection::of(content.as_bytes());
            assert_eq!(original_message_id(&header).as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn xtext_hides_no_line_end() {
        for (text, expected) in [
            ("a+2Bb", Some("a+b")),
            ("a+0D+0AX:b", None),
            ("a+0", None),
            ("a+zz", None),
            ("a+C3+A9", None),
            ("", None),
        ] {
            assert_eq!(xtext(text).as_deref(), expected, "{text}");
        }
        assert_eq!(original_recipient("utf-8;\\x{17C}@y").as_deref(), Some("utf-8;\\x{17C}@y"));
        assert_eq!(original_recipient("rfc 822;a@b"), None);
    }

    #[test]
    fn notices_of_one_outcome_are_messages_of_their_own() {
        let to = Recipient {
            notify: Some(Notify { success: true, failure: true, delay: true }),
            ..recipient("bob@y.test")
        };
        let reply = Reply::new(550, None, "no");
        let (told, envelope) = ([told(&to, &reply)], envelope(Some("ana@x.test")));
        let kinds = [Kind::Failed, Kind::Delayed { retry_until: Timestamp::UNIX_EPOCH }, Kind::Relayed];
        let texts = kinds.map(|kind| text(&report(kind, &envelope, &told, b"")));
        for name in ["Message-ID: ", "\tboundary="] {
            let lines = texts.iter().flat_map(|text| text.lines().filter(|line| line.starts_with(name)));
            let lines: std::collections::HashSet<&str> = lines.collect();
            assert_eq!(lines.len(), kinds.len(), "{name}: {lines:?}");
        }
    }

    #[test]
    fn a_boundary_in_the_message_ends_no_part() {
        let to = recipient("bob@y.test");
        let reply = Reply::new(550, None, "no");
        let told = [told(&to, &reply)];
        let original = [ORIGINAL, "--=_failure_0ABC_1795362300000--\r\n"].concat();
        let envelope = envelope(Some("ana@x.test"));
        let text = text(&report(Kind::Failed, &envelope, &told, original.as_bytes()));
        assert!(text.ends_with("\r\n--=__failure_0ABC_1795362300000--\r\n"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn nothing_said_by_others_adds_a_line_or_a_field(
            said in prop::collection::vec("(.|\r\n|\0){0,1200}", 1..4),
            original in prop::collection::vec(any::<u8>(), 0..400),
            header in "([a-zA-Z:ż ]|\r\n|\n){0,200}",
            remote in ".{0,20}",
        ) {
            let to = recipient("bob@y.test");
            let lines = said.into_iter().map(Into::into).collect();
            let reply = Reply { code: 550, enhanced: None, lines };
            let told = [Told { remote: Some(&remote), advice: Some(&remote), ..told(&to, &reply) }];
            let envelope = envelope(Some("ana@x.test"));
            let original = [header.as_bytes(), b"\r\n\r\n", &original].concat();
            let octets = notify(&report(Kind::Failed, &envelope, &told, &original)).unwrap().octets;
            prop_assert!(is_wire_safe(&octets));
            let parsed = MessageParser::default().parse(&octets).unwrap();
            prop_assert_eq!(parsed.content_type().unwrap().attribute("report-type"), Some("delivery-status"));
            let root = parsed.part(0).unwrap();
            prop_assert_eq!(root.sub_parts().unwrap().len(), 3);
            let status = octets.windows(9).position(|window| window == b"Reporting").unwrap();
            let rest = &octets[status..];
            let end = rest.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
            let block = HeaderSection::of(&rest[end + 4..]);
            let names: Vec<_> = block.fields().map(|field| String::from_utf8_lossy(field.name())).collect();
            prop_assert_eq!(names, ["Final-Recipient", "Action", "Status", "Remote-MTA", "Diagnostic-Code",
                "Last-Attempt-Date"]);
        }
    }
}
