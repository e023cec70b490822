//! What a submission server adds and takes away (RFC 6409 §8): Received on top, Date and Message-ID where they are
//! missing, Return-Path and Bcc out; and what the client asked of us in `X-Waystation-…` fields.
//!
//! Promises: every other octet leaves as it came, so that signatures hold; nothing that a peer said (EHLO argument,
//! address) can add a line or a field. Octets above the first field that aren't one would be taken for a folded
//! line of our last field, or end the header section at the next hop; they become the value of an
//! `X-Leading-Line` field, whole. Fails when mail loops, or a control field asks for what we can't do.

use crate::message::decode;
use crate::message::envelope::{Class, Origin};
use crate::message::fields::{Field, HeaderSection, Separator, without};
use crate::message::notes::{MAX_SUBJECT, Notes};
use crate::message::send_at;
use crate::smtp::address::Address;
use crate::smtp::reply::{Enhanced, Reply};
use jiff::Timestamp;
use std::net::IpAddr;
use std::ops::Range;

/// More Received fields than these are a loop (RFC 5321 §6.3).
pub const MAX_RECEIVED: usize = 50;
/// As often as this we may have been among the last [`RECENT`] hops. Once is no loop: mail that we sent to a mailbox
/// comes back when the mailbox forwards to one of our inboxes.
const MAX_RECENT_OWN: usize = 1;
/// As often as this in all.
const MAX_OWN: usize = 2;
const RECENT: usize = 3;
/// Follows our name in a Received field, so that another host of that name isn't taken for us.
const MARK: &str = "(waystation)";
/// Characters of a tag and a meta value that are kept.
const MAX_TAG: usize = 200;
const MAX_META: usize = 1000;
const MAX_META_NAME: usize = 64;
const MAX_METAS: usize = 50;
/// Unknown control fields that are told of.
const MAX_UNKNOWN: usize = 5;

/// What is known of a message beside its octets.
#[derive(Debug, Clone)]
pub struct TraceContext<'a> {
    /// Our own name.
    pub hostname: &'a str,
    /// The queue's name for the message.
    pub id: &'a str,
    /// Where it came from.
    pub origin: &'a Origin,
    /// How it came.
    pub protocol: Protocol,
    /// Version and cipher of the TLS session, if there was one.
    pub tls: Option<&'a str>,
    /// When the final dot was read.
    pub received_at: Timestamp,
    /// The recipient, when there is exactly one; with several the field would tell each about the others.
    pub recipient: Option<&'a Address>,
    /// Whether its `X-Waystation-…` fields count.
    pub controls: Controls,
}

/// Whether the client may steer us by header fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controls {
    /// It is trusted or logged in: they are read and removed.
    Read,
    /// It is a stranger: they mean nothing and stay.
    Ignore,
}

/// The `with` clause of a Received field (RFC 3848, RFC 6531 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "facts of a session that occur in any combination")]
pub struct Protocol {
    /// EHLO, not HELO.
    pub extended: bool,
    /// Inside TLS.
    pub tls: bool,
    /// Logged in.
    pub authenticated: bool,
    /// `SMTPUTF8` was given.
    pub utf8: bool,
}

/// What is to be done with a message's header section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// Goes on top: whole fields, and the empty line where the message has none and needs one.
    pub prefix: Vec<u8>,
    /// Goes away: byte ranges of the message, in order, apart from one another.
    pub cut: Vec<Range<usize>>,
    /// What the journal keeps.
    pub notes: Notes,
    /// `X-Waystation-Class`.
    pub class: Option<Class>,
    /// `X-Waystation-…` fields that mean nothing to us, by name, the first few: most likely slips.
    pub unknown: Vec<String>,
    /// `X-Waystation-Send-At`, the latest of them.
    pub send_at: Option<Timestamp>,
}

/// Why a message is refused for its header section.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It went through too many hands, or through ours too often.
    #[error("mail loop")]
    Loop,
    /// A field that must go (Bcc, Return-Path) is longer than what is looked at.
    #[error("header section too large")]
    TooLarge,
    /// A control field says what we can't do.
    #[error("{field}: {reason}")]
    Control {
        /// The field's name.
        field: &'static str,
        /// What to do instead.
        reason: &'static str,
    },
}

impl Refusal {
    /// What the client is told.
    #[must_use]
    pub fn reply(&self) -> Reply {
        match self {
            Self::Loop => Reply::new(554, Some(Enhanced(5, 4, 6)), "mail loop: too many hops"),
            Self::TooLarge => Reply::new(552, Some(Enhanced(5, 3, 4)), "header section too large"),
            Self::Control { field, reason } => {
                Reply::new(554, Some(Enhanced(5, 6, 0)), format!("{field}: {reason}"))
            }
        }
    }
}

/// Whether a message goes in a circle, as far as its Received fields tell.
#[must_use]
pub fn loops(header: &HeaderSection<'_>, hostname: &str) -> bool {
    let mut found = Found::default();
    let hops = header.fields().filter(|field| Meaning::of(field.name()) == Meaning::Received);
    hops.for_each(|field| found.hop(field, hostname));
    found.loops()
}

/// Decides what is added to a message and taken from it.
///
/// # Errors
///
/// When it loops, or a control field can't be obeyed.
pub fn prepare(header: &HeaderSection<'_>, context: &TraceContext<'_>) -> Result<Prepared, Refusal> {
    let mut found = Found::default();
    for field in header.fields() {
        found.take(field, context)?;
    }
    if found.loops() {
        return Err(Refusal::Loop);
    }
    if let Some(name) = header.unfinished() {
        match Meaning::of(name) {
            Meaning::Goes => return Err(Refusal::TooLarge),
            Meaning::Control if context.controls == Controls::Read => return Err(Refusal::TooLarge),
            Meaning::Date => found.has_date = true,
            Meaning::MessageId => found.has_message_id = true,
            Meaning::Control | Meaning::Received | Meaning::Subject | Meaning::Other => {}
        }
    }
    let prefix = prefix(header, context, &found);
    let Found { cut, notes, class, unknown, send_at, .. } = found;
    Ok(Prepared { prefix, cut, notes, class, unknown, send_at })
}

impl Prepared {
    /// The pieces the message is now made of, in order; `content` is the whole of it. No octet is copied.
    pub fn pieces<'a>(&'a self, content: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        std::iter::once(self.prefix.as_slice()).chain(without(content, &self.cut))
    }

    /// How long the message is now, if it was `length` octets.
    #[must_use]
    pub fn length(&self, length: usize) -> usize {
        let cut: usize = self.cut.iter().map(Range::len).sum();
        self.prefix.len() + length.saturating_sub(cut)
    }
}

impl Protocol {
    /// The keyword (RFC 3848, RFC 6531 §4.3).
    #[must_use]
    pub fn keyword(self) -> &'static str {
        match (self.utf8, self.tls, self.authenticated) {
            (true, false, false) => "UTF8SMTP",
            (true, false, true) => "UTF8SMTPA",
            (true, true, false) => "UTF8SMTPS",
            (true, true, true) => "UTF8SMTPSA",
            (false, false, false) if !self.extended => "SMTP",
            (false, false, false) => "ESMTP",
            (false, false, true) => "ESMTPA",
            (false, true, false) => "ESMTPS",
            (false, true, true) => "ESMTPSA",
        }
    }
}

/// A point in time as RFC 5322 §3.3 writes it.
#[must_use]
pub fn date(at: Timestamp) -> String {
    at.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

/// A Message-ID that nobody else makes (RFC 5322 §3.6.4), in its brackets.
#[must_use]
pub fn message_id(id: &str, hostname: &str, at: Timestamp) -> String {
    format!("<{}.{}@{}>", at.as_millisecond(), tame(id), tame(hostname))
}

/// What a field means to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Received,
    Date,
    MessageId,
    Subject,
    /// Return-Path is the last hop's to write (RFC 5321 §4.4); Bcc is nobody's to see (RFC 5322 §3.6.3).
    Goes,
    /// `X-Waystation-…`.
    Control,
    Other,
}

const CONTROL: &str = "X-Waystation-";

impl Meaning {
    fn of(name: &[u8]) -> Self {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        match name.len() {
            3 if is("Bcc") => Self::Goes,
            4 if is("Date") => Self::Date,
            7 if is("Subject") => Self::Subject,
            8 if is("Received") => Self::Received,
            10 if is("Message-ID") => Self::MessageId,
            10 if is("Resent-Bcc") => Self::Goes,
            11 if is("Return-Path") => Self::Goes,
            13.. if control(name).is_some() => Self::Control,
            _ => Self::Other,
        }
    }
}

/// What follows `X-Waystation-` in a field name.
fn control(name: &[u8]) -> Option<&[u8]> {
    strip(name, CONTROL)
}

fn strip<'a>(name: &'a [u8], prefix: &str) -> Option<&'a [u8]> {
    let (start, rest) = name.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix.as_bytes()).then_some(rest)
}

/// What one pass over the header section finds.
#[derive(Debug, Default)]
struct Found {
    received: usize,
    own: usize,
    recent_own: usize,
    has_date: bool,
    has_message_id: bool,
    cut: Vec<Range<usize>>,
    notes: Notes,
    class: Option<Class>,
    unknown: Vec<String>,
    send_at: Option<Timestamp>,
}

impl Found {
    fn take(&mut self, field: &Field<'_>, context: &TraceContext<'_>) -> Result<(), Refusal> {
        match Meaning::of(field.name()) {
            Meaning::Received => self.hop(field, context.hostname),
            Meaning::Date => self.has_date = true,
            Meaning::MessageId => self.has_message_id = true,
            Meaning::Subject if self.notes.subject.is_none() => {
                self.notes.subject = Some(decode::text(&field.value(), MAX_SUBJECT));
            }
            Meaning::Goes => self.cut.push(field.range()),
            Meaning::Control if context.controls == Controls::Read => {
                self.obey(field, context.received_at)?;
            }
            Meaning::Subject | Meaning::Control | Meaning::Other => {}
        }
        Ok(())
    }

    fn hop(&mut self, field: &Field<'_>, hostname: &str) {
        self.received += 1;
        if is_own_hop(field, hostname) {
            self.own += 1;
            self.recent_own += usize::from(self.received <= RECENT);
        }
    }

    fn loops(&self) -> bool {
        self.received > MAX_RECEIVED || self.own > MAX_OWN || self.recent_own > MAX_RECENT_OWN
    }

    /// Reads and removes a control field. One that we don't know is told of: what it asks for doesn't happen.
    fn obey(&mut self, field: &Field<'_>, now: Timestamp) -> Result<(), Refusal> {
        let name = control(field.name()).unwrap_or_default();
        let value = field.value();
        if let Some(meta) = strip(name, "Meta-").filter(|meta| !meta.is_empty()) {
            if self.notes.meta.len() >= MAX_METAS {
                return Err(Refusal::Control { field: "X-Waystation-Meta", reason: "more than 50 of them" });
            }
            let meta = decode::clean(&String::from_utf8_lossy(meta), MAX_META_NAME);
            self.notes.meta.push((meta, decode::text(&value, MAX_META)));
        } else if name.eq_ignore_ascii_case(b"Tag") {
            self.notes.tag.get_or_insert_with(|| decode::text(&value, MAX_TAG));
        } else if name.eq_ignore_ascii_case(b"Class") {
            let class = class(&value).ok_or(Refusal::Control {
                field: "X-Waystation-Class",
                reason: "say priority, normal or bulk",
            })?;
            self.class.get_or_insert(class);
        } else if name.eq_ignore_ascii_case(b"Send-At") {
            self.send_at = self.send_at.max(Some(send_at(&value, now)?));
        } else if self.unknown.len() < MAX_UNKNOWN {
            self.unknown.push(decode::clean(&String::from_utf8_lossy(field.name()), MAX_META_NAME));
        }
        self.cut.push(field.range());
        Ok(())
    }
}

/// Silence about a value that can't be obeyed would send now what was meant for later.
fn send_at(value: &[u8], now: Timestamp) -> Result<Timestamp, Refusal> {
    let refusal = |reason| Refusal::Control { field: "X-Waystation-Send-At", reason };
    let time = send_at::parse(value).ok_or(refusal(
        "not a date with its offset; write 2026-12-24T18:00:00+01:00 or Thu, 24 Dec 2026 18:00:00 +0100",
    ))?;
    if time.duration_since(now) > send_at::LONGEST {
        return Err(refusal("more than 30 days ahead; mail is held here for 30 days at most"));
    }
    Ok(time)
}

fn class(value: &[u8]) -> Option<Class> {
    let is = |name: &str| value.eq_ignore_ascii_case(name.as_bytes());
    match () {
        () if is("priority") => Some(Class::Priority),
        () if is("normal") => Some(Class::Normal),
        () if is("bulk") => Some(Class::Bulk),
        () => None,
    }
}

/// Whether we wrote this Received field: `by HOSTNAME (waystation)`, however it was folded since.
fn is_own_hop(field: &Field<'_>, hostname: &str) -> bool {
    let value = field.raw_value();
    if memchr::memmem::find(value, MARK.as_bytes()).is_none() {
        return false;
    }
    let words: Vec<&[u8]> = value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect();
    let hostname = tame(hostname);
    words.windows(3).any(|three| match three {
        [by, host, mark] => {
            by.eq_ignore_ascii_case(b"by")
                && host.eq_ignore_ascii_case(hostname.as_bytes())
                && *mark == MARK.as_bytes()
        }
        _ => false,
    })
}

fn prefix(header: &HeaderSection<'_>, context: &TraceContext<'_>, found: &Found) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    let date = date(context.received_at);
    received(&mut out, context, &date);
    if !found.has_date {
        push(&mut out, &["Date: ", &date, "\r\n"]);
    }
    if !found.has_message_id {
        let made = message_id(context.id, context.hostname, context.received_at);
        push(&mut out, &["Message-ID: ", &made, "\r\n"]);
    }
    if header.separator() == Separator::Missing {
        push(&mut out, &["\r\n"]);
    } else if !header.leading_gap().is_empty() {
        push(&mut out, &["X-Leading-Line:"]);
    }
    out
}

/// RFC 5321 §4.4. With the client's own words last checked here: [`tame`] leaves nothing that could end a word.
fn received(out: &mut Vec<u8>, context: &TraceContext<'_>, date: &str) {
    push(out, &["Received: "]);
    if let Some(client) = context.origin.client {
        let literal = match client.to_canonical() {
            IpAddr::V4(address) => format!("[{address}]"),
            IpAddr::V6(address) => format!("[IPv6:{address}]"),
        };
        push(out, &["from ", &tame(&context.origin.helo), " (", &literal, ")\r\n\t"]);
    }
    let with = context.protocol.keyword();
    push(out, &["by ", &tame(context.hostname), " ", MARK, " with ", with, " id ", &tame(context.id)]);
    if let Some(tls) = context.tls {
        let words: Vec<String> = tls.split_ascii_whitespace().map(tame).collect();
        push(out, &["\r\n\t(", &words.join(" "), ")"]);
    }
    if let Some(recipient) = context.recipient.filter(|each| each.is_ascii() || context.protocol.utf8) {
        push(out, &["\r\n\tfor <", recipient.as_str(), ">"]);
    }
    push(out, &[";\r\n\t", date, "\r\n"]);
}

fn push(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

/// A word that is safe in any field: domain, address literal, id. Other characters become `?`.
pub(super) fn tame(word: &str) -> String {
    if word.is_empty() {
        return "unknown".to_owned();
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    word.chars().take(255).map(|c| if plain(c) { c } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn origin() -> Origin {
        Origin {
            client: Some("192.0.2.1".parse().unwrap()),
            helo: "shop.test".into(),
            application: Some("shop".into()),
        }
    }

    fn context(origin: &Origin) -> TraceContext<'_> {
        TraceContext {
            hostname: "relay.test",
            id: "0ABC",
            origin,
            protocol: Protocol { extended: true, tls: true, authenticated: true, utf8: false },
            tls: Some("TLSv1.3 TLS13_AES_256_GCM_SHA384"),
            received_at: "2026-11-22T15:40:12Z".parse().unwrap(),
            recipient: None,
            controls: Controls::Read,
        }
    }

    fn after(content: &[u8]) -> String {
        let origin = origin();
        let prepared = prepare(&HeaderSection::of(content), &context(&origin)).unwrap();
        let whole = prepared.pieces(content).collect::<Vec<_>>().concat();
        assert_eq!(prepared.length(content.len()), whole.len());
        String::from_utf8(whole).unwrap()
    }

    const RECEIVED: &str = "Received: from shop.test ([192.0.2.1])\r\n\
        \tby relay.test (waystation) with ESMTPSA id 0ABC\r\n\
        \t(TLSv1.3 TLS13_AES_256_GCM_SHA384);\r\n\
        \tSun, 22 Nov 2026 15:40:12 +0000\r\n";
    const DATE: &str = "Date: Sun, 22 Nov 2026 15:40:12 +0000\r\n";
    const MESSAGE_ID: &str = "Message-ID: <1795362012000.0ABC@relay.test>\r\n";

    #[test]
    fn what_is_missing_is_added_and_what_must_go_is_gone() {
        let content = "Return-Path: <x@y.test>\r\nFrom: a@x.test\r\nBCC: b@x.test,\r\n c@x.test\r\n\
            Subject:  two  spaces \r\nresent-bcc: d@x.test\r\nX: y\r\n\r\nBcc: body\r\n";
        let rest = "From: a@x.test\r\nSubject:  two  spaces \r\nX: y\r\n\r\nBcc: body\r\n";
        assert_eq!(after(content.as_bytes()), [RECEIVED, DATE, MESSAGE_ID, rest].concat());
    }

    #[test]
    fn what_is_there_stays() {
        let content =
            "date: today\r\nMESSAGE-ID:\r\n <1@x>\r\nDKIM-Signature: v=1;\r\n\tb=a\r\n\r\n\r\n.\r\n";
        assert_eq!(after(content.as_bytes()), [RECEIVED, content].concat());
    }

    #[test]
    fn messages_without_a_proper_header_section_get_one() {
        let added = [RECEIVED, DATE, MESSAGE_ID].concat();
        for (content, between, reason) in [
            ("", "\r\n", "D02: empty"),
            ("hello\r\nworld\r\n", "\r\n", "D16: body only"),
            ("hello\r\n\r\nA: 1\r\n", "\r\n", "D16: body with an empty line"),
            ("\r\nbody", "", "empty header section"),
            ("A: 1\r\n", "", "header section only"),
            (" \r\nA: 1\r\n\r\n", "X-Leading-Line:", "D17: a folded line of nothing"),
            ("From a@x.test Mon\r\nA: 1\r\n\r\n", "X-Leading-Line:", "mbox line"),
            ("A: 1\r\njunk\r\nB: 2\r\n\r\n", "", "D07: a line without a colon"),
        ] {
            assert_eq!(after(content.as_bytes()), [&added, between, content].concat(), "{reason}");
        }
    }

    #[test]
    fn the_only_recipient_is_named_and_utf8_only_where_it_was_announced() {
        let origin =
            Origin { client: Some("2001:db8::1".parse().unwrap()), helo: "".into(), application: None };
        let ascii = Address::parse("bob@x.test", true).unwrap();
        let utf8 = Address::parse("żółw@x.test", true).unwrap();
        let mut context = context(&origin);
        context.tls = None;
        context.protocol = Protocol { extended: false, tls: false, authenticated: false, utf8: false };
        for (recipient, announced, expected) in [
            (&ascii, false, "with SMTP id 0ABC\r\n\tfor <bob@x.test>;"),
            (&utf8, false, "with SMTP id 0ABC;"),
            (&utf8, true, "with UTF8SMTP id 0ABC\r\n\tfor <żółw@x.test>;"),
        ] {
            context.recipient = Some(recipient);
            context.protocol.utf8 = announced;
            let prepared = prepare(&HeaderSection::of(b"A: 1\r\n\r\n"), &context).unwrap();
            let prefix = String::from_utf8(prepared.prefix).unwrap();
            let expected = format!(
                "Received: from unknown ([IPv6:2001:db8::1])\r\n\tby relay.test (waystation) {expected}"
            );
            assert!(prefix.starts_with(&expected), "{prefix}");
        }
    }

    #[test]
    fn control_fields_are_read_and_removed_for_those_we_know() {
        let message = b"x-waystation-class: Bulk\r\nX-Waystation-Tag: spring\r\n sale\r\nDate: x\r\n\
            X-Waystation-Meta-Order: =?utf-8?q?=C5=BB?= 7\r\nX-Waystation-Meta-a: 1\r\nX-Waystation-Else: x\r\n\
            X-Waystation-Send-At: 2026-11-24T18:00:00+01:00\r\nX-WAYSTATION-SEND-AT: Mon, 23 Nov 2026 18:00 +0100\r\n\
            Message-ID: <1@x>\r\nSubject: =?utf-8?q?=C5=BB?=\r\nSubject: second\r\n\r\n";
        let origin = origin();
        let mut context = context(&origin);
        let prepared = prepare(&HeaderSection::of(message), &context).unwrap();
        let notes = Notes {
            subject: Some("Ż".into()),
            tag: Some("spring sale".into()),
            meta: vec![("Order".into(), "Ż 7".into()), ("a".into(), "1".into())],
            ..Notes::default()
        };
        assert_eq!((&prepared.notes, prepared.class), (&notes, Some(Class::Bulk)));
        let rest = prepared.pieces(message).skip(1).collect::<Vec<_>>().concat();
        assert_eq!(prepared.unknown, ["X-Waystation-Else"]);
        let kept = "Date: x\r\nMessage-ID: <1@x>\r\nSubject: =?utf-8?q?=C5=BB?=\r\n\
            Subject: second\r\n\r\n";
        assert_eq!(prepared.send_at, "2026-11-24T17:00:00Z".parse().ok(), "the latest");
        assert_eq!(String::from_utf8(rest).unwrap(), kept);

        context.controls = Controls::Ignore;
        let prepared = prepare(&HeaderSection::of(message), &context).unwrap();
        assert_eq!((prepared.class, prepared.notes.tag, prepared.cut), (None, None, vec![]));
    }

    #[test]
    fn a_control_that_cannot_be_obeyed_is_refused_by_name() {
        let origin = origin();
        for (content, said) in [
            (&b"X-Waystation-Send-At: 2026-12-24 18:00\r\n\r\n"[..], "X-Waystation-Send-At: not a date"),
            (
                b"X-Waystation-Send-At: 2026-12-24T18:00:00Z\r\n\r\n",
                "X-Waystation-Send-At: more than 30 days",
            ),
            (b"X-Waystation-Class: urgent\r\n\r\n", "X-Waystation-Class"),
        ] {
            let refusal = prepare(&HeaderSection::of(content), &context(&origin)).unwrap_err();
            let reply = refusal.reply();
            assert_eq!((reply.code, reply.enhanced), (554, Some(Enhanced(5, 6, 0))));
            assert!(reply.lines[0].starts_with(said), "{reply:?}");
        }
    }

    #[test]
    fn a_bcc_that_the_limit_cuts_through_never_leaks() {
        let content = [b"A: 1\r\nBcc: ".to_vec(), b"a@x.test,\r\n ".repeat(30_000)].concat();
        let origin = origin();
        assert_eq!(prepare(&HeaderSection::of(&content), &context(&origin)), Err(Refusal::TooLarge));
        let content = [b"A: 1\r\nTo: ".to_vec(), b"a@x.test,\r\n ".repeat(30_000)].concat();
        assert!(prepare(&HeaderSection::of(&content), &context(&origin)).is_ok());
    }

    #[test]
    fn loops_end() {
        let foreign = "Received: from a by b; today\r\n";
        let namesake = "Received: from a by relay.test with ESMTP; today\r\n";
        let own = "Received: from a\r\n by  RELAY.test\r\n\t(waystation) with ESMTP id 1; today\r\n";
        for (hops, loops, reason) in [
            (vec![(foreign, 50)], false, "L1: 50"),
            (vec![(foreign, 51)], true, "L1: 51"),
            (vec![(own, 1), (foreign, 3)], false, "our own mail, forwarded to an inbox at once"),
            (vec![(namesake, 9)], false, "another host of our name"),
            (vec![(own, 2)], true, "UP18: the smarthost is waystation itself"),
            (vec![(own, 1), (foreign, 1), (own, 1)], true, "two of the last three"),
            (vec![(foreign, 3), (own, 1), (foreign, 3), (own, 1)], false, "forwarded twice"),
            (vec![(own, 1), (foreign, 5), (own, 1), (foreign, 5), (own, 1)], true, "L3: three times ours"),
        ] {
            let content: String = hops.iter().map(|(hop, times)| hop.repeat(*times)).collect();
            let origin = origin();
            let result = prepare(&HeaderSection::of(content.as_bytes()), &context(&origin));
            assert_eq!(result == Err(Refusal::Loop), loops, "{reason}");
        }
        assert_eq!(Refusal::Loop.reply().code, 554);
    }

    #[test]
    fn our_own_hop_is_known_again() {
        let once = after(b"A: 1\r\n\r\n");
        let twice = after(once.as_bytes());
        let origin = origin();
        assert_eq!(prepare(&HeaderSection::of(twice.as_bytes()), &context(&origin)), Err(Refusal::Loop));
    }

    #[test]
    fn every_keyword_of_the_with_clause() {
        let keyword =
            |extended, tls, authenticated, utf8| Protocol { extended, tls, authenticated, utf8 }.keyword();
        assert_eq!(keyword(false, false, false, false), "SMTP");
        assert_eq!(keyword(true, false, false, false), "ESMTP");
        assert_eq!(keyword(true, true, false, false), "ESMTPS");
        assert_eq!(keyword(true, false, true, false), "ESMTPA");
        assert_eq!(keyword(true, true, true, false), "ESMTPSA");
        assert_eq!(keyword(true, false, false, true), "UTF8SMTP");
        assert_eq!(keyword(true, true, true, true), "UTF8SMTPSA");
    }

    proptest! {
        #[test]
        fn hostile_words_add_no_line(helo in ".{0,300}", tls in "[ -~\r\n\0]{0,60}", id in "[ -~\r\n]{0,20}") {
            let origin = Origin { helo: helo.into(), ..origin() };
            let mut context = context(&origin);
            context.tls = Some(&tls);
            context.id = &id;
            let prepared = prepare(&HeaderSection::of(b"Date: x\r\n\r\n"), &context).unwrap();
            let prefix = String::from_utf8(prepared.prefix).unwrap();
            let header = HeaderSection::of(prefix.as_bytes());
            prop_assert_eq!(header.fields().count(), 2);
            prop_assert_eq!(prefix.lines().count(), 5);
            prop_assert!(prefix.split("\r\n").all(|line| line.len() <= 998 && !line.contains(['\r', '\n'])));
        }

        #[test]
        fn all_but_the_named_fields_leave_as_they_came(
            lines in prop::collection::vec(
                prop_oneof![
                    Just("Bcc: a@x\r\n"), Just("bCC:\r\n a\r\n\tb\r\n"), Just("Return-Path: <>\r\n"),
                    Just("To: x\r\n y\r\n"), Just("junk\r\n"), Just("From x\r\n"), Just(" \r\n"), Just("X:\r\n"),
                ], 0..12),
            body in "([a-zB:]|\r\n){0,40}",
        ) {
            let content = [&lines.concat(), "\r\n", &body].concat();
            let whole = after(content.as_bytes());
            prop_assert!(!whole.replace("\r\n", "").contains(['\r', '\n']));
            // Without a field it is all body, and a folded line behind a cut field goes with it.
            if !HeaderSection::of(content.as_bytes()).fields().any(|field| field.is_named("X")) {
                return Ok(());
            }
            let kept = |text: &str| HeaderSection::of(text.as_bytes()).fields()
                .filter(|field| !["Bcc", "Return-Path", "Received", "Date", "Message-ID", "X-Leading-Line"]
                    .iter().any(|name| field.is_named(name)))
                .map(|field| field.octets().to_vec()).collect::<Vec<_>>();
            prop_assert_eq!(kept(&whole), kept(&content));
            prop_assert!(whole.ends_with(&["\r\n", &body].concat()));
        }
    }
}
