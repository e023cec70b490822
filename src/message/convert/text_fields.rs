//! Raw UTF-8 in header fields, as encoded words (RFC 2047 §5): in text for people, and in display names.
//!
//! Fields in US-ASCII stay octet for octet. None where anything else holds octets above 127, or these aren't UTF-8.

use crate::message::rewrite::list::{AddressList, Entry};
use crate::message::rewrite::phrase;
use memchr::memchr;

/// Unstructured fields (RFC 5322 §3.6.5, RFC 2045 §8); those that begin with `X-` are, too.
const TEXT: [&str; 5] = ["Subject", "Comments", "Content-Description", "Organization", "Thread-Topic"];
/// Fields of mailboxes.
const ADDRESSES: [&str; 9] =
    ["From", "Sender", "Reply-To", "To", "Cc", "Resent-From", "Resent-Sender", "Resent-To", "Resent-Cc"];

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
    let field = std::str::from_utf8(field).ok()?;
    let (name, value) = field.split_at_checked(memchr(b':', field.as_bytes())?)?;
    let (name, value) = (name.trim_end(), value.get(1..)?);
    let is_one_of = |names: &[&str]| names.iter().any(|known| known.eq_ignore_ascii_case(name));
    if !name.is_ascii() {
        return None;
    }
    let is_extension = name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("x-"));
    let value = if is_extension || is_one_of(&TEXT) {
        text(&value.replace(['\r', '\n'], ""))
    } else if is_one_of(&ADDRESSES) {
        addresses(value)?
    } else {
        return None;
    };
    Some(phrase::field(name, &value))
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

/// Names encoded; none where an address isn't US-ASCII, or what stands there is no list of mailboxes.
fn addresses(value: &str) -> Option<String> {
    let list = AddressList::of(value.as_bytes());
    if list.group.is_some() || list.entries.is_empty() {
        return None;
    }
    let written = |Entry { name, address }: &Entry| {
        let address = address.as_ref().filter(|address| address.is_ascii())?;
        Some(match name {
            Some(name) => format!("{} <{}>", name.written(), address.as_str()),
            None => address.as_str().to_owned(),
        })
    };
    Some(list.entries.iter().map(written).collect::<Option<Vec<String>>>()?.join(", "))
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
            ("To: Größe: a@x.test;\r\n", None),
            ("Content-Type: text/plain; name=\"ü\"\r\n", None),
            ("Message-ID: <ü@x.test>\r\n", None),
            ("Übung: x\r\n", None),
        ] {
            let told = encoded(header.as_bytes());
            assert_eq!(told.as_deref().map(String::from_utf8_lossy).as_deref(), expected, "{header}");
        }
        assert_eq!(encoded(b"Subject: \xff\r\n"), None);
    }
}
