//! A forwarded message as its parts mean: decoded fields, texts, attachments (RFC 5322, RFC 2045 to 2047, RFC 2231).
//!
//! This file and those below it are the only ones of this room that know mail-parser. Promises: any octets give a [`Mail`]; what a parser can't read is
//! missing in it, never an error; a parser that panics costs the parts, never the message. Work and memory are bounded
//! by [`MAX_BOUNDARIES`], [`MAX_PIECES`], [`MAX_ATTACHMENTS`], [`MAX_TEXT`], [`MAX_ADDRESSES`] and the header's own limit.

mod charset;
mod disarm;
mod flowed;
mod parts;

pub use disarm::{MAX_BOUNDARIES, MAX_PIECES};

use crate::message::decode::{self, bracketed, clean};
use crate::message::fields::{HeaderSection, Separator};
use aws_lc_rs::digest::{Context, SHA256};
use mail_parser::parsers::MessageStream;
use mail_parser::{HeaderValue, MessageParser};
use parts::{Parts, named_apart};
use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Octets of one body, text or HTML, that an event holds.
pub const MAX_TEXT: usize = 256 * 1024;
/// Attachments that are looked at.
pub const MAX_ATTACHMENTS: usize = 200;
/// Addresses of one field.
pub const MAX_ADDRESSES: usize = 100;
/// What a list of them is read for, with what is no address.
const MAX_LISTED: usize = 10 * MAX_ADDRESSES;
/// Message-IDs of one field.
pub const MAX_IDS: usize = 100;
/// Fields of one name that are read for addresses.
const MAX_REPEATED: usize = 20;
/// Octets of one field that are read.
const MAX_FIELD: usize = 64 * 1024;
/// Characters of a subject or a name.
const MAX_WORDS: usize = 1000;

/// Who, as a field names them.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Party {
    /// The display name, decoded; none when there is none.
    pub name: Option<String>,
    /// The address, its domain in lower case.
    pub address: String,
}

/// A part that isn't the message's own text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Always with an extension, and never the same twice.
    pub filename: String,
    /// Media type, lower case, without parameters.
    pub content_type: String,
    /// SHA-256 of the decoded content, hex.
    pub sha256: String,
    /// Without angle brackets.
    pub content_id: Option<String>,
    /// Whether it is shown within the text.
    pub inline: bool,
    /// Decoded.
    pub content: Vec<u8>,
}

/// The machine-readable part of a report (RFC 3464, RFC 5965).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportPart {
    /// Media type, lower case.
    pub content_type: String,
    /// Its first 64 KiB, decoded.
    pub content: Vec<u8>,
}

/// A message, understood.
#[derive(Debug, Clone)]
pub struct Mail<'a> {
    /// Its fields as they stand.
    pub header: HeaderSection<'a>,
    /// The first author (RFC 5322 §3.6.2).
    pub from: Option<Party>,
    /// Where answers are wanted.
    pub reply_to: Vec<Party>,
    /// Main recipients.
    pub to: Vec<Party>,
    /// The others.
    pub cc: Vec<Party>,
    /// Decoded; empty when there is none.
    pub subject: String,
    /// RFC 3339, with the author's offset.
    pub date: Option<String>,
    /// With angle brackets.
    pub message_id: Option<String>,
    /// With angle brackets.
    pub in_reply_to: Vec<String>,
    /// With angle brackets, oldest first.
    pub references: Vec<String>,
    /// The plain text, or the HTML's words when there is only that.
    pub text: Option<String>,
    /// Whether `text` was made out of the HTML.
    pub text_is_derived: bool,
    /// The HTML.
    pub html: Option<String>,
    /// Whether a body was cut at [`MAX_TEXT`], parts were left out, the header section goes on where it isn't read, or a field
    /// has more than is read: To, Cc, Subject, In-Reply-To, References.
    pub truncated: bool,
    /// Everything else.
    pub attachments: Vec<Attachment>,
    /// Delivery reports and the header they return.
    pub reports: Vec<ReportPart>,
    /// The media type of the whole, lower case, with `report-type` or `method` behind a space where given.
    pub content_type: String,
    /// SHA-256 of the decoded texts and attachments: the same for every copy, however it was re-encoded on its way.
    pub body_hash: [u8; 32],
    /// How fields in raw octets are read.
    raw_fields: Option<charset::Reader>,
}

impl<'a> Mail<'a> {
    /// Understands a message as far as it goes.
    #[must_use]
    pub fn read(octets: &'a [u8]) -> Self {
        let header = HeaderSection::of(octets);
        let (in_reply_to, references) = (ids(&header, "In-Reply-To"), ids(&header, "References"));
        let raw_fields = charset::of_raw_fields(header.octets(), octets);
        let mut mail = Self {
            from: None,
            reply_to: Vec::new(),
            to: Vec::new(),
            cc: Vec::new(),
            subject: String::new(),
            date: date(&header),
            message_id: ids(&header, "Message-ID").found.into_iter().next(),
            in_reply_to: in_reply_to.found,
            references: references.found,
            text: None,
            text_is_derived: false,
            html: None,
            truncated: in_reply_to.cut || references.cut,
            attachments: Vec::new(),
            reports: Vec::new(),
            content_type: "text/plain".to_owned(),
            body_hash: [0; 32],
            raw_fields,
            header,
        };
        let subject = mail.first("Subject", MAX_WORDS).unwrap_or_default();
        mail.from = mail.parties("From").into_iter().next();
        mail.reply_to = mail.parties("Reply-To");
        let (to, cc) = (mail.all_parties("To"), mail.all_parties("Cc"));
        mail.truncated |= subject.1 || to.cut || cc.cut;
        (mail.subject, mail.to, mail.cc) = (subject.0, to.found, cc.found);
        let structure = disarm::thinned(disarm::within_pieces(disarm::within_boundaries(octets)));
        mail.truncated |= structure.len() < octets.len() || mail.header.separator() == Separator::Limit;
        let structure = disarm::disarmed(&structure);
        let parts = catch_unwind(AssertUnwindSafe(|| {
            MessageParser::new().with_mime_headers().default_header_ignore().parse(&*structure).map(
                |message| {
                    let is_disarmed = matches!(structure, Cow::Owned(_));
                    let mut parts = Parts { is_disarmed, ..Parts::default() };
                    parts.collect(&message);
                    parts
                },
            )
        }));
        mail.take(parts.ok().flatten().unwrap_or_else(|| Parts::unread(octets, &mail.header)));
        mail
    }

    /// The addresses of every field of this name, names decoded, groups dissolved.
    #[must_use]
    pub fn parties(&self, name: &str) -> Vec<Party> {
        self.all_parties(name).found
    }

    /// The same of one field's value.
    #[must_use]
    pub fn parties_in(&self, value: &[u8]) -> Vec<Party> {
        parties(&self.readable(value.get(..value.len().min(MAX_FIELD)).unwrap_or(value)))
    }

    fn all_parties(&self, name: &str) -> Listed<Party> {
        let mut listed = Listed { found: Vec::new(), cut: self.header.count(name) > MAX_REPEATED };
        for field in self.header.named(name).take(MAX_REPEATED) {
            let value = field.value();
            listed.cut |= value.len() > MAX_FIELD;
            listed.found.extend(parties(&self.readable(&value)));
            if listed.found.len() > MAX_ADDRESSES {
                listed.found.truncate(MAX_ADDRESSES);
                listed.cut = true;
                break;
            }
        }
        listed
    }

    /// The value of the first field of this name, decoded and cleaned; none when there is no such field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<String> {
        Some(self.first(name, MAX_WORDS)?.0)
    }

    /// So many characters of the first field of this name, and whether there are more.
    fn first(&self, name: &str, most: usize) -> Option<(String, bool)> {
        let value = self.header.named(name).next()?.value();
        let read = self.readable(value.get(..value.len().min(MAX_FIELD)).unwrap_or_default());
        let (text, cut) = decode::text_cut(&read, most);
        Some((text, cut || value.len() > MAX_FIELD))
    }

    /// A field's value in UTF-8.
    pub(super) fn readable<'v>(&self, value: &'v [u8]) -> Cow<'v, [u8]> {
        match self.raw_fields {
            Some(read) if std::str::from_utf8(value).is_err() => Cow::Owned(read(value).into_bytes()),
            _ => Cow::Borrowed(value),
        }
    }

    fn take(&mut self, parts: Parts) {
        let mut hash = Context::new(&SHA256);
        for text in [&parts.text, &parts.html] {
            hash.update(&single_spaced(text.as_deref().unwrap_or_default()));
            hash.update(&[0]);
        }
        for attachment in &parts.attachments {
            hash.update(attachment.sha256.as_bytes());
        }
        self.body_hash = hash.finish().as_ref().try_into().unwrap_or_default();
        self.truncated |= parts.left_out;
        self.text_is_derived = parts.text.is_none() && parts.html.is_some();
        self.html = parts.html.map(|html| self.cut(html));
        self.text = match self.html.as_deref().filter(|_| self.text_is_derived) {
            Some(html) => Some(words_of_html(html)),
            None => parts.text,
        };
        self.text = self.text.take().map(|text| self.cut(text));
        self.attachments = named_apart(parts.attachments);
        self.reports = parts.reports;
        if !parts.content_type.is_empty() {
            self.content_type = parts.content_type;
        }
    }

    fn cut(&mut self, mut text: String) -> String {
        if text.len() > MAX_TEXT {
            self.truncated = true;
            text.truncate(text.floor_char_boundary(MAX_TEXT));
        }
        text
    }
}

/// The words of a text with one space between them.
fn single_spaced(text: &str) -> Vec<u8> {
    fn join<'t>(words: impl Iterator<Item = &'t str>, room: usize) -> Vec<u8> {
        let mut spaced = Vec::with_capacity(room);
        for word in words {
            spaced.extend_from_slice(word.as_bytes());
            spaced.push(b' ');
        }
        spaced.pop();
        spaced
    }
    if text.is_ascii() {
        join(text.split_ascii_whitespace(), text.len() + 1)
    } else {
        join(text.split_whitespace(), text.len() + 1)
    }
}

/// The words of an HTML text, one line for a block.
#[must_use]
pub fn words_of_html(html: &str) -> String {
    catch_unwind(AssertUnwindSafe(|| mail_parser::decoders::html::html_to_text(html))).unwrap_or_default()
}

fn parties(value: &[u8]) -> Vec<Party> {
    let value = value.get(..value.len().min(MAX_FIELD)).unwrap_or_default();
    let listed = decode::listed(&without_routes(&bracketed(value)), MAX_LISTED);
    let party = |each: decode::Listed| {
        let address = clean(each.address?.trim(), 320);
        let name = each.name.map(|name| clean(&name, MAX_WORDS).trim().to_owned());
        address
            .contains('@')
            .then(|| Party { name: name.filter(|name| !name.is_empty()), address: lower_domain(&address) })
    };
    listed.into_iter().filter_map(party).take(MAX_ADDRESSES + 1).collect()
}

/// A field without the routes that mail went by once: `<@a.example,@b.example:ana@c.example>` (RFC 5322 §4.4).
fn without_routes(value: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memmem::find(value, b"<@").is_none() {
        return Cow::Borrowed(value);
    }
    let (mut kept, mut rest) = (Vec::with_capacity(value.len()), value);
    while let Some(at) = memchr::memmem::find(rest, b"<@") {
        let (front, route) = rest.split_at_checked(at + 1).unwrap_or((rest, &[]));
        kept.extend_from_slice(front);
        let end = memchr::memchr2(b':', b'>', route).filter(|end| route.get(*end) == Some(&b':'));
        rest = end.and_then(|end| route.get(end + 1..)).unwrap_or(route);
    }
    kept.extend_from_slice(rest);
    Cow::Owned(kept)
}

/// An address with its domain in lower case.
#[must_use]
pub fn lower_domain(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((local, domain)) => format!("{local}@{}", domain.to_lowercase()),
        None => address.to_owned(),
    }
}

/// What stands in fields of one name.
struct Listed<T> {
    found: Vec<T>,
    /// Whether there is more than is read.
    cut: bool,
}

/// The Message-IDs in fields of this name, with angle brackets, as far as they are read.
#[must_use]
pub fn message_ids(header: &HeaderSection<'_>, name: &str) -> Vec<String> {
    ids(header, name).found
}

/// Message-IDs are found by their brackets: what mailers write between them follows no grammar. Some forget the brackets.
fn ids(header: &HeaderSection<'_>, name: &str) -> Listed<String> {
    let (mut found, mut cut) = (Vec::new(), false);
    for field in header.named(name).take(5) {
        let value = field.value();
        cut |= value.len() > MAX_FIELD;
        let text = String::from_utf8_lossy(value.get(..value.len().min(MAX_FIELD)).unwrap_or_default());
        let within = text.split('<').skip(1).filter_map(|piece| Some(piece.split_once('>')?.0));
        for id in within.chain(bare_id(&text)) {
            let id: String = id.chars().filter(|c| !c.is_whitespace()).collect();
            let id = format!("<{}>", clean(&id, 500));
            if id.len() <= 2 || found.contains(&id) {
                continue;
            }
            if found.len() >= MAX_IDS {
                return Listed { found, cut: true };
            }
            found.push(id);
        }
    }
    Listed { found, cut }
}

/// A Message-ID that has no brackets: the only word of its field, with something on both sides of its `@`.
pub(super) fn bare_id(value: &str) -> Option<&str> {
    let word = value.trim();
    let has_sides = word.split_once('@').is_some_and(|(left, right)| !left.is_empty() && !right.is_empty());
    let strange = |c: char| c.is_whitespace() || matches!(c, '<' | '>' | ',' | ';' | '"' | '(' | ')');
    (has_sides && !word.contains(strange)).then_some(word)
}

fn date(header: &HeaderSection<'_>) -> Option<String> {
    let field = header.named("Date").next()?;
    let value = read(&with_century(&field.value()), |stream| match stream.parse_date() {
        HeaderValue::DateTime(date) if date.is_valid() => Some(date.to_rfc3339()),
        _ => None,
    })?;
    // The parser's own text of odd offsets may be none; ours must be one that any receiver reads.
    value.parse::<jiff::Timestamp>().is_ok().then_some(value)
}

/// A date with its year in full: of two digits below 50 it is in this century, all else counts from 1900 (RFC 5322 §4.3).
fn with_century(value: &[u8]) -> Cow<'_, [u8]> {
    let full = || {
        let text = std::str::from_utf8(value.get(..value.len().min(200))?).ok()?;
        let words: Vec<&str> = text.split_whitespace().collect();
        let at =
            words.iter().position(|word| word.len() == 3 && word.bytes().all(|c| c.is_ascii_alphabetic()))?;
        let day = at.checked_sub(1).and_then(|at| words.get(at))?;
        let year = words.get(at + 1).filter(|year| (2..=3).contains(&year.len()))?;
        let number: u32 = day.parse::<u8>().ok().and_then(|_| year.parse().ok())?;
        let number = if year.len() == 2 && number < 50 { 2000 + number } else { 1900 + number };
        let behind = words.get(at + 2..).unwrap_or_default().join(" ");
        let front = words.get(..=at).unwrap_or_default().join(" ");
        Some(format!("{front} {number} {behind}").into_bytes())
    };
    full().map_or(Cow::Borrowed(value), Cow::Owned)
}

fn read<T>(value: &[u8], with: impl FnOnce(&mut MessageStream<'_>) -> Option<T>) -> Option<T> {
    let value = value.get(..value.len().min(MAX_FIELD)).unwrap_or_default();
    let mut octets = Vec::with_capacity(value.len() + 3);
    octets.push(b' ');
    octets.extend_from_slice(value);
    octets.extend_from_slice(b"\r\n");
    catch_unwind(AssertUnwindSafe(|| with(&mut MessageStream::new(&octets)))).ok().flatten()
}
