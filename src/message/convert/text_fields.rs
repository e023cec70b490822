//! Raw octets above 127 in header fields, as encoded words (RFC 2047 §5): UTF-8 in text for people, and in display
//! names; in text also what isn't UTF-8, as `unknown-8bit` (RFC 1428 §3). In parameters of MIME fields, as names of files
//! are, as extended values (RFC 2231 §4).
//!
//! Fields in US-ASCII stay octet for octet. None where anything else holds octets above 127.

use crate::message::rewrite::list::{AddressList, Entry};
use crate::message::rewrite::phrase;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::memchr;

/// Octets in an encoded word of an unknown charset: 75 characters with what stands around them (RFC 2047 §2).
const UNKNOWN_ROOM: usize = 40;
/// Octets in the first one, which has a field's name before it.
const FIRST_ROOM: usize = 27;

/// Unstructured fields (RFC 5322 §3.6.5, RFC 2045 §8); those that begin with `X-` are, too.
const TEXT: [&str; 5] = ["Subject", "Comments", "Content-Description", "Organization", "Thread-Topic"];
/// Fields of mailboxes.
const ADDRESSES: [&str; 12] = [
    "From",
    "Sender",
    "Reply-To",
    "To",
    "Cc",
    "Bcc",
    "Resent-From",
    "Resent-Sender",
    "Resent-Reply-To",
    "Resent-To",
    "Resent-Cc",
    "Resent-Bcc",
];

/// Fields of phrases with commas between them (RFC 5322 §3.6.5).
const PHRASES: [&str; 1] = ["Keywords"];
/// MIME fields with parameters (RFC 2045 §5.1, RFC 2183 §2).
const PARAMETERS: [&str; 2] = ["Content-Type", "Content-Disposition"];
/// Octets in a piece of a parameter's value: three characters each, and its name and number in the same line.
const VALUE_ROOM: usize = 16;

/// Whether a field of this name holds addresses.
pub(super) fn is_of_addresses(name: &[u8]) -> bool {
    ADDRESSES.iter().any(|known| name.trim_ascii_end().eq_ignore_ascii_case(known.as_bytes()))
}

/// The same header section in US-ASCII.
pub(super) fn encoded(header: &[u8]) -> Option<Vec<u8>> {
    let fields = super::Fields::of(header);
    let mut out = Vec::with_capacity(header.len() + header.len() / 2);
    for range in fields.ranges {
        let field = header.get(range)?;
        if field.is_ascii() {
            out.extend_from_slice(field);
        } else {
            out.extend_from_slice(&encoded_field(field)?);
        }
    }
    Some(out)
}

fn encoded_field(field: &[u8]) -> Option<Vec<u8>> {
    let (name, value) = field.split_at_checked(memchr(b':', field)?)?;
    let name = std::str::from_utf8(name).ok().filter(|name| name.is_ascii())?.trim_end();
    let value = value.get(1..)?;
    let is_one_of = |names: &[&str]| names.iter().any(|known| known.eq_ignore_ascii_case(name));
    let is_extension = name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("x-"));
    let value = match std::str::from_utf8(value) {
        _ if is_one_of(&PARAMETERS) => parameters(value)?,
        Ok(value) if is_one_of(&PHRASES) => value.split(',').map(text).collect::<Vec<_>>().join(", "),
        Ok(value) if is_extension || is_one_of(&TEXT) => text(&value.replace(['\r', '\n'], "")),
        Ok(value) if is_one_of(&ADDRESSES) => addresses(value)?,
        Err(_) if is_extension || is_one_of(&TEXT) => unknown(value),
        _ => return None,
    };
    Some(phrase::field(name, &value))
}

/// Text in a charset that nobody named.
fn unknown(value: &[u8]) -> String {
    let octets: Vec<u8> =
        value.trim_ascii().iter().copied().filter(|octet| !b"\r\n".contains(octet)).collect();
    let (first, rest) = octets.split_at_checked(FIRST_ROOM).unwrap_or((&octets, &[]));
    let pieces = std::iter::once(first).chain(rest.chunks(UNKNOWN_ROOM));
    let words = pieces.map(|piece| format!("=?unknown-8bit?b?{}?=", STANDARD.encode(piece)));
    words.collect::<Vec<_>>().join(" ")
}

/// From the first word that isn't US-ASCII to the last; what stands around them stays readable.
fn text(value: &str) -> String {
    let value = value.trim();
    let raw: Vec<usize> = value.char_indices().filter(|(_, c)| !c.is_ascii()).map(|(at, _)| at).collect();
    let (Some(&first), Some(&last)) = (raw.first(), raw.last()) else { return value.to_owned() };
    let start = value.get(..first).and_then(|before| before.rfind(' ')).map_or(0, |at| at + 1);
    let end = value.get(last..).and_then(|behind| behind.find(' ')).map_or(value.len(), |at| last + at);
    let part = |range: std::ops::Range<usize>| value.get(range).unwrap_or_default();
    let middle: String = part(start..end).chars().filter(|c| !c.is_control()).collect();
    format!("{}{}{}", part(0..start), phrase::encoded_words(&middle), part(end..value.len()))
}

/// A value with parameters, those that aren't US-ASCII extended; none where something else isn't.
fn parameters(value: &[u8]) -> Option<String> {
    let (mut quoted, mut escaped) = (false, false);
    let segments = value.split(|octet| {
        let ends = *octet == b';' && !quoted;
        quoted ^= *octet == b'"' && !escaped;
        escaped = *octet == b'\\' && quoted && !escaped;
        ends
    });
    let written = |segment: &[u8]| match std::str::from_utf8(segment).ok().filter(|text| text.is_ascii()) {
        Some(text) => Some(text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")),
        None => extended(segment.trim_ascii()),
    };
    Some(segments.map(written).collect::<Option<Vec<String>>>()?.join("; "))
}

/// `name="ü"` as `name*=utf-8''%C3%BC`, in several pieces where it is long (RFC 2231 §4.1).
fn extended(parameter: &[u8]) -> Option<String> {
    let (name, value) = parameter.split_at_checked(memchr(b'=', parameter)?)?;
    let name = std::str::from_utf8(name).ok()?.trim_end();
    let is_token = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || !name.chars().all(is_token) || name.eq_ignore_ascii_case("boundary") {
        return None;
    }
    let value = unquoted(value.get(1..)?.trim_ascii())?;
    let charset = if std::str::from_utf8(&value).is_ok() { "utf-8" } else { "unknown-8bit" };
    let percent = |octet: &u8| match octet {
        b'-' | b'.' | b'_' => char::from(*octet).to_string(),
        _ if octet.is_ascii_alphanumeric() => char::from(*octet).to_string(),
        _ => format!("%{octet:02X}"),
    };
    let mut pieces: Vec<String> =
        value.chunks(VALUE_ROOM).map(|piece| piece.iter().map(percent).collect()).collect();
    let first = pieces.first_mut()?;
    *first = format!("{charset}''{first}");
    if let [only] = &pieces[..] {
        return Some(format!("{name}*={only}"));
    }
    let numbered = pieces.iter().enumerate().map(|(number, piece)| format!("{name}*{number}*={piece}"));
    Some(numbered.collect::<Vec<_>>().join("; "))
}

/// A quoted string's octets (RFC 5322 §3.2.4), or the value as it is; none where quotes don't end.
fn unquoted(value: &[u8]) -> Option<Vec<u8>> {
    let Some(quoted) = value.strip_prefix(b"\"") else { return Some(value.to_vec()) };
    let inside = quoted.strip_suffix(b"\"")?;
    let mut octets = Vec::with_capacity(inside.len());
    let mut rest = inside.iter();
    while let Some(&octet) = rest.next() {
        match octet {
            b'\\' => octets.push(*rest.next()?),
            b'\r' | b'\n' => {}
            _ => octets.push(octet),
        }
    }
    Some(octets)
}

/// Names encoded; none where an address isn't US-ASCII, or what stands there is neither a list of mailboxes nor one group.
fn addresses(value: &str) -> Option<String> {
    let list = AddressList::of(value.as_bytes());
    let is_one_group = value.matches(':').count() == 1 && value.trim_end().ends_with(';');
    let is_known = if list.group.is_some() { is_one_group } else { !list.entries.is_empty() };
    if !is_known {
        return None;
    }
    let written = |Entry { name, address }: &Entry| {
        let address = address.as_ref().filter(|address| address.is_ascii())?;
        Some(match name {
            Some(name) => format!("{} <{}>", name.written(), address.as_str()),
            None => address.as_str().to_owned(),
        })
    };
    let mailboxes = list.entries.iter().map(written).collect::<Option<Vec<String>>>()?.join(", ");
    Some(match list.group {
        Some(name) => format!("{}: {mailboxes};", name.written()),
        None => mailboxes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_for_people_is_encoded_and_everything_else_stays() {
        for (header, expected) in [
            ("Subject: Zażółć\r\n", Some("Subject: =?utf-8?b?WmHFvMOzxYLEhw==?=\r\n")),
            (
                "To: a@x.test\r\nsubject : one żó ł two\r\n",
                Some("To: a@x.test\r\nsubject: one =?utf-8?b?xbzDsyDFgg==?= two\r\n"),
            ),
            ("Subject: a\r\n ż\r\n", Some("Subject: a =?utf-8?b?xbw=?=\r\n")),
            ("X-Note: ü\r\n", Some("X-Note: =?utf-8?b?w7w=?=\r\n")),
            (
                "From: Zoë <a@x.test>, b@x.test\r\n",
                Some("From: =?utf-8?q?Zo=C3=AB?= <a@x.test>, b@x.test\r\n"),
            ),
            ("From: zoë@x.test\r\n", None),
            ("To: Größe: a@x.test;\r\n", Some("To: =?utf-8?b?R3LDtsOfZQ==?=: a@x.test;\r\n")),
            ("To: Größe:;\r\n", Some("To: =?utf-8?b?R3LDtsOfZQ==?=: ;\r\n")),
            ("To: Größe: a@x.test;, b@x.test\r\n", None),
            (
                "Content-Type: text/plain; charset=utf-8;\r\n name=\"ü \\\"a\\\"; b.txt\"; x=y\r\n",
                Some(
                    "Content-Type: text/plain; charset=utf-8;\r\n name*=utf-8''%C3%BC%20%22a%22%3B%20b.txt; x=y\r\n",
                ),
            ),
            (
                "Content-Disposition: inline; filename=ü\r\n",
                Some("Content-Disposition: inline; filename*=utf-8''%C3%BC\r\n"),
            ),
            ("Content-Type: multipart/mixed; boundary=\"ü\"\r\n", None),
            ("Content-Type: text/plain; name=\"ü\r\n", None),
            ("Content-Type: text/plain (ü)\r\n", None),
            ("Keywords: a, Grüße aus, b\r\n", Some("Keywords: a, =?utf-8?b?R3LDvMOfZQ==?= aus, b\r\n")),
            ("Message-ID: <ü@x.test>\r\n", None),
            ("Übung: x\r\n", None),
        ] {
            let told = encoded(header.as_bytes());
            assert_eq!(told.as_deref().map(String::from_utf8_lossy).as_deref(), expected, "{header}");
        }
        let unknown = encoded(b"Subject: Gr\xfc\xdfe\r\n aus\r\n").unwrap();
        assert_eq!(String::from_utf8_lossy(&unknown), "Subject: =?unknown-8bit?b?R3L832UgYXVz?=\r\n");
        assert_eq!(encoded(b"From: Gr\xfc\xdfe <a@x.test>\r\n"), None);
        let latin = encoded(b"Content-Disposition: attachment; filename=\"\xfc.txt\"\r\n").unwrap();
        assert_eq!(
            String::from_utf8_lossy(&latin),
            "Content-Disposition: attachment; filename*=unknown-8bit''%FC.txt\r\n"
        );
        let long = format!("Content-Disposition: attachment; filename=\"{}.txt\"\r\n", "ż".repeat(90));
        let folded = String::from_utf8(encoded(long.as_bytes()).unwrap()).unwrap();
        assert!(folded.lines().all(|line| line.len() <= 78), "{folded}");
        assert_eq!(folded.matches("%C5%BC").count(), 90);
        for name in ["Subject", "Content-Description", "X-A-Name-Of-Many-Words"] {
            for value in ["ż".repeat(90).into_bytes(), b"\xff".repeat(180)] {
                let folded = encoded(&[name.as_bytes(), b": ", &value, b"\r\n"].concat()).unwrap();
                let folded = String::from_utf8(folded).unwrap();
                assert!(folded.lines().all(|line| line.len() <= 76), "RFC 2047 §2: {folded}");
            }
        }
    }
}
