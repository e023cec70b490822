//! The shapes an event may have on the wire: ours, and those that receivers for other services understand.
//!
//! Every shape is posted with the Standard Webhooks fields; what another service signs in its own way is filled from the
//! same secret. Promises: the same event gives the same bytes; only the number is open ([`EventBody`]).

mod mailgun;
mod postmark;
mod raw;

use super::event::{Event, EventBody, EventType, MessageData, shown};
use super::mail::{Attachment, Mail, Party};
use crate::config::schema::EventFormat;
use crate::config::webhook_secret::WebhookSecret;
use crate::message::decode;
use crate::smtp::address::Address;
use jiff::Timestamp;
use memchr::memmem;
use serde::Serialize;

pub(super) const JSON: &str = "application/json";
pub(crate) const CLOUD_EVENT: &str = "application/cloudevents+json";
/// Behind this the number stands: the first of its kind, because quotation marks in values are escaped.
pub(super) const SEQ: &[u8] = b"\"seq\":";

/// What a forwarded message's event is made of.
pub(super) struct Source<'a> {
    pub(super) kind: EventType,
    pub(super) now: Timestamp,
    pub(super) hostname: &'a str,
    pub(super) octets: &'a [u8],
    pub(super) mail: &'a Mail<'a>,
    pub(super) data: &'a MessageData<'a>,
    /// What stands behind the `+` of the address it came to.
    pub(super) detail: &'a str,
    pub(super) secret: &'a WebhookSecret,
}

/// The event of a forwarded message in the shape its inbox wants.
///
/// # Errors
/// When it has no JSON form, which it always has.
pub(super) fn message(format: EventFormat, source: &Source<'_>) -> Result<Event, serde_json::Error> {
    let body = match format {
        EventFormat::Native => EventBody::parted(&native(source.kind, source.now, source.data)?, SEQ, JSON),
        EventFormat::CloudEvents => {
            let from = format!("//{}/inbox/{}", source.hostname, encoded(source.data.inbox));
            cloud_event(source.kind, &from, source.now, source.data)?
        }
        EventFormat::Postmark => postmark::body(source)?,
        EventFormat::Mailgun => mailgun::body(source)?,
        EventFormat::Raw => raw::body(source),
    };
    Ok(Event { kind: source.kind, body })
}

pub(super) fn native(
    kind: EventType,
    now: Timestamp,
    data: &impl Serialize,
) -> Result<Vec<u8>, serde_json::Error> {
    #[derive(Serialize)]
    struct Whole<'a, T> {
        r#type: EventType,
        timestamp: String,
        data: &'a T,
    }
    serde_json::to_vec(&Whole { r#type: kind, timestamp: shown(now), data })
}

/// `CloudEvents` 1.0, structured mode. Source and id together must be unique for each event (§3.1), and a message may have
/// several: the id is the event's own name, which the queue gives it.
pub(super) fn cloud_event(
    kind: EventType,
    source: &str,
    now: Timestamp,
    data: &impl Serialize,
) -> Result<EventBody, serde_json::Error> {
    let bytes = cloud_octets("", kind.as_str(), source, now, data)?;
    let body = EventBody::parted(&bytes, SEQ, CLOUD_EVENT);
    let mark = b"\"id\":\"";
    let name_at = memchr::memmem::find(&body.before, mark).map(|at| at + mark.len());
    Ok(EventBody { name_at, ..body })
}

/// Whether a field bears a name that only we give: in a message it is somebody else's.
pub(super) fn is_ours(name: &[u8]) -> bool {
    name.get(..OURS.len()).is_some_and(|start| start.eq_ignore_ascii_case(OURS))
}

const OURS: &[u8] = b"X-Waystation-";

/// A whole one.
pub(crate) fn cloud_octets(
    id: &str,
    kind: &str,
    source: &str,
    now: Timestamp,
    data: &impl Serialize,
) -> Result<Vec<u8>, serde_json::Error> {
    #[derive(Serialize)]
    struct Whole<'a, T> {
        specversion: &'static str,
        id: &'a str,
        source: &'a str,
        r#type: &'a str,
        time: String,
        datacontenttype: &'static str,
        data: &'a T,
    }
    let (specversion, datacontenttype, time) = ("1.0", JSON, shown(now));
    serde_json::to_vec(&Whole { specversion, id, source, r#type: kind, time, datacontenttype, data })
}

/// What our own fields say in the shapes that have no place for it.
fn own_fields(source: &Source<'_>) -> Vec<(&'static str, String)> {
    let data = source.data;
    let mut fields = vec![
        ("X-Waystation-Type", source.kind.as_str().to_owned()),
        ("X-Waystation-Id", data.id.to_owned()),
        ("X-Waystation-Inbox", data.inbox.to_owned()),
    ];
    if let Some(mailbox) = &data.mailbox {
        fields.push(("X-Waystation-Mailbox", mailbox.name.to_owned()));
        fields.push(("X-Waystation-Mailbox-Address", mailbox.address.to_owned()));
        fields.push(("X-Waystation-Identified-By", mailbox.identified_by.to_owned()));
        fields.push(("X-Waystation-Confidence", format!("{}", mailbox.confidence)));
    }
    if let Some(conversation) = &data.conversation {
        fields.push(("X-Waystation-Conversation", conversation.id.to_string()));
    }
    if let Some(address) = data.reply_address {
        fields.push(("X-Waystation-Reply-Address", address.to_owned()));
    }
    fields
}

/// The attachments that are left out, in shapes that have no place for one without its content: how many, and what a
/// receiver needs to fetch each.
fn left_out_fields(source: &Source<'_>) -> Vec<(&'static str, String)> {
    #[derive(Serialize)]
    struct LeftOut<'a> {
        id: &'a str,
        filename: &'a str,
        content_type: &'a str,
        size_bytes: usize,
        sha256: &'a str,
    }
    let left_out: Vec<_> = source.data.attachments.iter().filter(|each| each.content.is_none()).collect();
    if left_out.is_empty() {
        return Vec::new();
    }
    let shown = left_out.iter().filter_map(|each| {
        let what = LeftOut {
            id: &each.id,
            filename: each.filename,
            content_type: each.content_type,
            size_bytes: each.size_bytes,
            sha256: each.sha256,
        };
        Some(("X-Waystation-Attachment-Left-Out", serde_json::to_string(&what).ok()?))
    });
    let count = ("X-Waystation-Attachments-Left-Out", left_out.len().to_string());
    std::iter::once(count).chain(shown).collect()
}

/// Header fields in one event, and characters of one of them.
const MAX_FIELDS: usize = 500;
const MAX_VALUE: usize = 8000;

/// Fields of addresses: a decoded name that isn't in quotes could pass for one.
const ADDRESSES: [&[u8]; 11] = [
    b"From",
    b"Sender",
    b"Reply-To",
    b"To",
    b"Cc",
    b"Resent-From",
    b"Resent-Sender",
    b"Resent-To",
    b"Resent-Cc",
    b"Bcc",
    b"Resent-Bcc",
];

/// Fields that a message has once (RFC 5322 §3.6, RFC 2045 §3).
const UNIQUE: [&[u8]; 12] = [
    b"From",
    b"Sender",
    b"Reply-To",
    b"To",
    b"Cc",
    b"Bcc",
    b"Subject",
    b"Date",
    b"Orig-Date",
    b"Message-ID",
    b"MIME-Version",
    b"Content-Type",
];

/// What these say of the body's form holds no more where texts and attachments stand apart.
const OF_THE_BODY: [&[u8]; 3] = [b"Content-Disposition", b"Content-Transfer-Encoding", b"Content-ID"];

/// The fields for receivers that build a message of them again, by a library that throws the whole event away for an
/// address that is none or a second field where there is to be one: addresses alone in lists of addresses, even if none is
/// left, and each of those fields once.
fn sound_fields(mail: &Mail<'_>) -> Vec<(String, String)> {
    let mut seen: Vec<&[u8]> = Vec::new();
    let mut is_first = |name: &str| {
        let Some(known) = UNIQUE.iter().find(|known| known.eq_ignore_ascii_case(name.as_bytes())) else {
            return true;
        };
        let is_first = !seen.contains(known);
        seen.push(known);
        is_first
    };
    let is =
        |names: &[&[u8]], name: &str| names.iter().any(|known| known.eq_ignore_ascii_case(name.as_bytes()));
    let is_id = |name: &str| name.eq_ignore_ascii_case("Message-ID");
    let kept = all_fields(mail).0.into_iter().filter(|(name, value)| {
        !is(&OF_THE_BODY, name) && is_first(name) && (!is_id(name) || is_readable_id(value))
    });
    let sound = kept.map(|(name, value)| {
        if !is(&ADDRESSES, &name) {
            return (name, value);
        }
        let parties =
            if is(&UNIQUE, &name) { mail.parties(&name) } else { mail.parties_in(value.as_bytes()) };
        let mut shown = String::new();
        for party in parties.iter().filter(|party| is_mailable(party)).map(shown_party) {
            if shown.len() + party.len() < MAX_VALUE {
                shown.push_str(if shown.is_empty() { "" } else { ", " });
                shown.push_str(&party);
            }
        }
        (name, shown)
    });
    sound.collect()
}

/// Whether Python's library for mail reads it to its end.
fn is_readable_id(id: &str) -> bool {
    let is_begun = |inner: &str| {
        inner.starts_with(|c: char| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.\"".contains(c))
    };
    let is_closed = id.split_once('[').is_none_or(|(_, literal)| literal.contains(']'));
    is_closed && id.trim_start().strip_prefix('<').is_none_or(is_begun)
}

/// An attachment's type for receivers that take messages within for text, and know no attachment of several parts.
fn sound_type(attachment: &Attachment) -> &str {
    let content_type = attachment.content_type.as_str();
    let is_unsound = content_type.starts_with("multipart/")
        || content_type.starts_with("message/") && std::str::from_utf8(&attachment.content).is_err();
    if is_unsound { "application/octet-stream" } else { content_type }
}

/// Whether receivers take it for an address (RFC 5321 §4.1.2), who throw the whole event away for one that is none.
fn is_mailable(party: &Party) -> bool {
    let is_dotted = |part: &str| part.starts_with(['"', '[']) || part.split('.').all(|atom| !atom.is_empty());
    Address::parse(&party.address, true).is_ok() && party.address.rsplit('@').all(is_dotted)
}

/// The fields of the message, decoded, but those that bear a name of ours; and whether something of them is left out.
pub(super) fn all_fields(mail: &Mail<'_>) -> (Vec<(String, String)>, bool) {
    let mut theirs = mail.header.fields().filter(|field| !is_ours(field.name()));
    let mut cut = false;
    let decoded = theirs.by_ref().take(MAX_FIELDS).map(|field| {
        let name = String::from_utf8_lossy(field.name()).into_owned();
        let value = field.value();
        let value = mail.readable(&value);
        let is_list = ADDRESSES.iter().any(|known| known.eq_ignore_ascii_case(field.name()));
        let parties = if is_list && memmem::find(&value, b"=?").is_some() {
            mail.parties_in(&value)
        } else {
            Vec::new()
        };
        // What was decoded once isn't decoded again.
        let (value, is_cut) = match shown_parties(&parties) {
            shown if shown.is_empty() => decode::text_cut(&value, MAX_VALUE),
            shown => match shown.char_indices().nth(MAX_VALUE) {
                Some((end, _)) => (shown.get(..end).unwrap_or_default().to_owned(), true),
                None => (shown, false),
            },
        };
        cut |= is_cut;
        (name, value)
    });
    let decoded = decoded.collect();
    (decoded, cut || theirs.next().is_some())
}

/// `"Ana Ruiz" <ana@example.com>`
fn shown_party(party: &Party) -> String {
    match &party.name {
        Some(name) => format!("\"{}\" <{}>", name.replace(['"', '\\'], "'"), party.address),
        None => party.address.clone(),
    }
}

fn shown_parties(parties: &[Party]) -> String {
    parties.iter().map(shown_party).collect::<Vec<_>>().join(", ")
}

/// RFC 3986: everything but the unreserved characters in percent form.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|octet| match octet {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(octet).to_string()
            }
            _ => format!("%{octet:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_in_raw_octets_are_read_by_the_charset_of_the_mail() {
        let mail = b"From: Jos\xe9 <a@b.example>\r\nSubject: Ma\xf1ana\r\nX-Own: caf\xe9\r\n\r\nHi\r\n";
        let mail = Mail::read(mail);
        let values = |fields: Vec<(String, String)>| {
            fields.into_iter().map(|(_, value)| value).collect::<Vec<_>>().join("|")
        };
        assert_eq!(values(all_fields(&mail).0), "Jos\u{e9} <a@b.example>|Ma\u{f1}ana|caf\u{e9}");
        assert_eq!(values(sound_fields(&mail)), "\"Jos\u{e9}\" <a@b.example>|Ma\u{f1}ana|caf\u{e9}");
        let unreadable = Mail::read(b"From: ???\r\nSubject: x\r\n\r\nHi\r\n");
        assert_eq!(values(sound_fields(&unreadable)), "|x", "an address alone, even if none is left");
    }

    #[test]
    fn a_name_in_encoded_words_passes_for_no_address() {
        let mail = b"From: =?utf-8?Q?boss=40bank.example?= <evil@x.example>\r\nCc: a@x.example,\r\n =?utf-8?Q?Mu=C3=B1oz=2C_Ana?= <b@x.example>\r\nSubject: =?utf-8?Q?=C3=BC?=\r\n\r\n";
        let (fields, cut) = all_fields(&Mail::read(mail));
        let shown: Vec<&str> = fields.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(
            shown,
            [
                "\"boss@bank.example\" <evil@x.example>",
                "a@x.example, \"Mu\u{f1}oz, Ana\" <b@x.example>",
                "\u{fc}"
            ]
        );
        assert!(!cut);
        let twice = b"From: =?utf-8?Q?=3D=3Futf-8=3FQ=3F=3D22=5F=3D3Cboss=3D40x=3D3E=3F=3D?= <evil@x.example>\r\n\r\n";
        let shown = all_fields(&Mail::read(twice)).0.remove(0).1;
        assert_eq!(shown, "\"=?utf-8?Q?=22_=3Cboss=40x=3E?=\" <evil@x.example>");
    }
}
