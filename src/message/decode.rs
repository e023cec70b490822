//! What field values mean: the one file that knows mail-parser (RFC 2047, RFC 5322 §3.4).
//!
//! Promises: text that comes out has no control, line-separating or direction-changing characters and a bounded
//! length. A parser that panics on odd input costs the meaning of that field, never the message.

use crate::smtp::address::Address;
use mail_parser::HeaderValue;
use mail_parser::parsers::MessageStream;
use std::borrow::Cow;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// An unfolded field value as text of at most `limit` characters, encoded words decoded.
#[must_use]
pub fn text(value: &[u8], limit: usize) -> String {
    // Most values have no encoded word; decoding is left to the parser only where there may be one.
    if memchr::memmem::find(value, b"=?").is_none() {
        return clean(&String::from_utf8_lossy(value), limit);
    }
    let decoded = parse(value, |stream| match stream.parse_unstructured() {
        HeaderValue::Text(text) => Some(text.into_owned()),
        HeaderValue::TextList(list) => Some(list.join(" ")),
        _ => None,
    });
    match decoded {
        Some(decoded) => clean(&decoded, limit),
        None => clean(&String::from_utf8_lossy(value), limit),
    }
}

/// As [`text`], and whether the limit cut something.
#[must_use]
pub fn text_cut(value: &[u8], limit: usize) -> (String, bool) {
    let mut text = text(value, limit.saturating_add(1));
    let end = text.char_indices().nth(limit).map(|(at, _)| at);
    text.truncate(end.unwrap_or(text.len()));
    (text, end.is_some())
}

/// The addresses in an unfolded address list, without names and groups. What isn't an address is left out.
#[must_use]
pub fn addresses(value: &[u8]) -> Vec<Address> {
    let found = listed(&bracketed(value), usize::MAX).into_iter().filter_map(|each| each.address);
    found.filter_map(|text| Address::parse(&text, true).ok()).collect()
}

/// What stands for an address in an unfolded address list, without names and groups, as it stands there: `root` is
/// one, too.
#[must_use]
pub fn mailboxes(value: &[u8]) -> Vec<String> {
    listed(value, usize::MAX).into_iter().filter_map(|each| each.address.or(each.name)).collect()
}

/// One of an address list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed {
    /// Its name, decoded.
    pub name: Option<String>,
    /// What stands for its address, as it stands there.
    pub address: Option<String>,
}

/// The first so many of an unfolded address list, groups dissolved. Encoded words are names and never addresses, nor parts
/// of them (RFC 2047 §5): the parser, which would decode them first, sees a mark in the place of each.
#[must_use]
pub fn listed(value: &[u8], most: usize) -> Vec<Listed> {
    let (marked, words) = without_words(value);
    let restored = |text: &str| restored(text, &words);
    let found = parse(&marked, |stream| match stream.parse_address() {
        HeaderValue::Address(list) => {
            let each = |each: &mail_parser::Addr<'_>| Listed {
                name: each.name().map(|name| self::text(restored(name).as_bytes(), usize::MAX)),
                address: each.address().map(restored),
            };
            Some(list.iter().take(most).map(each).collect())
        }
        _ => None,
    });
    found.unwrap_or_default()
}

/// Stands on both sides of an encoded word's number. Of a value that holds it itself it is taken out.
const MARK: char = '\u{e8ff}';

fn restored(text: &str, words: &[String]) -> String {
    let mut whole = String::with_capacity(text.len());
    for (place, piece) in text.split(MARK).enumerate() {
        let word = piece.parse().ok().and_then(|number: usize| words.get(number));
        whole.push_str(word.filter(|_| place % 2 == 1).map_or(piece, String::as_str));
    }
    whole
}

/// A value with a mark for each encoded word (RFC 2047 §2), and the words.
fn without_words(value: &[u8]) -> (Cow<'_, [u8]>, Vec<String>) {
    const BEGIN: &[u8] = b"=?";
    if memchr::memmem::find(value, BEGIN).is_none() {
        return (Cow::Borrowed(value), Vec::new());
    }
    let value = String::from_utf8_lossy(value).replace(MARK, "");
    let (mut marked, mut words, mut rest) = (String::with_capacity(value.len()), Vec::new(), value.as_str());
    while let Some((front, word)) = rest.split_once("=?") {
        // What begins as one and is none is no address either.
        let end = word_end(word).unwrap_or(0);
        let (inner, behind) = word.split_at_checked(end).unwrap_or((word, ""));
        marked.push_str(front);
        let _ = write!(marked, "{MARK}{}{MARK}", words.len());
        words.push(format!("=?{inner}"));
        rest = behind;
    }
    marked.push_str(rest);
    (Cow::Owned(marked.into_bytes()), words)
}

/// Where an encoded word ends whose text goes on as `word` behind its `=?`.
fn word_end(word: &str) -> Option<usize> {
    let (charset, rest) = word.split_once('?')?;
    let (encoding, text) = rest.split_once('?')?;
    let is_one = charset.len() <= 60 && !charset.contains(char::is_whitespace);
    let end = text.find("?=").filter(|_| is_one && encoding.len() == 1)?;
    Some(charset.len() + encoding.len() + 2 + end + 2)
}

/// A value with parameters: Content-Type (RFC 2045 §5.1), Content-Disposition (RFC 2183).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Typed {
    /// `text/plain`, `attachment`; lower case.
    pub kind: String,
    parameters: Vec<(String, String)>,
}

impl Typed {
    /// A parameter, decoded (RFC 2231).
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let mut all = self.parameters.iter();
        all.find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// An unfolded value with parameters.
#[must_use]
pub fn typed(value: &[u8]) -> Option<Typed> {
    parse(value, |stream| match stream.parse_content_type() {
        HeaderValue::ContentType(found) => {
            let subtype = found.c_subtype.as_ref().map(|subtype| format!("/{subtype}")).unwrap_or_default();
            let parameters = found.attributes.iter().flatten();
            Some(Typed {
                kind: format!("{}{subtype}", found.c_type).to_ascii_lowercase(),
                parameters: parameters.map(|each| (each.name.to_string(), each.value.to_string())).collect(),
            })
        }
        _ => None,
    })
}

/// Text without characters that steer a terminal, a log or a reader's eye, cut to `limit` characters.
#[must_use]
pub fn clean(text: &str, limit: usize) -> String {
    text.chars().filter(|c| is_plain(*c)).take(limit).collect()
}

fn is_plain(c: char) -> bool {
    let steers =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    !c.is_control() && !steers
}

/// Addresses with a quoted local part in brackets, where they stand without: `"a..b"@x.example` isn't a name in front of
/// an address.
#[must_use]
pub fn bracketed(value: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memmem::find(value, b"\"@").is_none() {
        return Cow::Borrowed(value);
    }
    let (mut out, mut rest) = (Vec::with_capacity(value.len() + 8), value);
    while let Some(open) = memchr::memchr(b'"', rest) {
        let (front, quoted) = rest.split_at_checked(open).unwrap_or((rest, &[]));
        out.extend_from_slice(front);
        let end = quoted_end(quoted);
        let (quoted, behind) = quoted.split_at_checked(end).unwrap_or((quoted, &[]));
        let is_domain = |octet: &u8| {
            octet.is_ascii_alphanumeric() || *octet >= 0x80 || matches!(octet, b'.' | b'-' | b'_')
        };
        let domain = behind
            .strip_prefix(b"@")
            .map(|domain| domain.iter().take_while(|octet| is_domain(octet)).count());
        rest = match domain.filter(|count| *count > 0 && !out.trim_ascii_end().ends_with(b"<")) {
            None => {
                out.extend_from_slice(quoted);
                behind
            }
            Some(count) => {
                let (domain, behind) = behind.split_at_checked(count + 1).unwrap_or((behind, &[]));
                for part in [b"<", quoted, domain, b">"] {
                    out.extend_from_slice(part);
                }
                behind
            }
        };
    }
    out.extend_from_slice(rest);
    Cow::Owned(out)
}

/// Behind the quoted string that `text` begins with; its length if it doesn't end.
fn quoted_end(text: &[u8]) -> usize {
    let mut octets = text.iter().enumerate().skip(1);
    while let Some((at, octet)) = octets.next() {
        match octet {
            b'\\' => drop(octets.next()),
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn parse<T>(value: &[u8], read: impl FnOnce(&mut MessageStream<'_>) -> Option<T>) -> Option<T> {
    let mut octets = Vec::with_capacity(value.len() + 3);
    octets.push(b' ');
    octets.extend_from_slice(value);
    octets.extend_from_slice(b"\r\n");
    catch_unwind(AssertUnwindSafe(|| read(&mut MessageStream::new(&octets)))).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn encoded_words_are_decoded_and_nothing_steers() {
        for (value, expected) in [
            (&b"plain"[..], "plain"),
            (b"=?utf-8?q?Za=C5=BC=C3=B3=C5=82=C4=87?= gesla", "Zażółć gesla"),
            (b"=?utf-8?b?SGVs?= =?utf-8?b?bG8=?=", "Hello"),
            (b"=?utf-8?q?a=0D=0AX=3A_b=1B?=", "aX: b"),
            ("a\u{202e}b\u{7}c".as_bytes(), "abc"),
            (b"8-bit \xff", "8-bit \u{fffd}"),
            (b"=?broken", "=?broken"),
            (b"", ""),
        ] {
            assert_eq!(text(value, 200), expected);
        }
        assert_eq!(text("ż".repeat(300).as_bytes(), 200).chars().count(), 200);
    }

    #[test]
    fn addresses_come_without_names() {
        let all = |value: &[u8]| addresses(value).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(all(b"Ana <ana@x.test>, bob@y.test"), ["ana@x.test", "bob@y.test"]);
        assert_eq!(all(b"\"evil@x.test\" <ana@y.test>"), ["ana@y.test"], "HM3: the name is an address");
        assert_eq!(all(b"Team: ana@x.test, bob@x.test;"), ["ana@x.test", "bob@x.test"]);
        assert_eq!(all(b"undisclosed"), [""; 0]);
        assert_eq!(all(b"\"a..b\"@x.test, Bob <bob@y.test>"), ["\"a..b\"@x.test", "bob@y.test"]);
        assert_eq!(all(b"\"A \\\" b\" <\"c d\"@x.test>"), ["\"c d\"@x.test"]);
    }

    #[test]
    fn what_stands_in_an_encoded_word_is_no_address() {
        for (value, name, address) in [
            (
                "=?utf-8?q?x=40evil.example?=@bank.example",
                None,
                Some("=?utf-8?q?x=40evil.example?=@bank.example"),
            ),
            (
                "=?utf-8?q?boss=40bank.example?=@evil.example",
                None,
                Some("=?utf-8?q?boss=40bank.example?=@evil.example"),
            ),
            ("a@=?utf-8?q?bank.example?=", None, Some("a@=?utf-8?q?bank.example?=")),
            ("<=?utf-8?b?Ym9zc0BiYW5rLmV4YW1wbGU=?=>", None, Some("=?utf-8?b?Ym9zc0BiYW5rLmV4YW1wbGU=?=")),
            ("=?utf-8?q?boss=40bank.example?=", Some("boss@bank.example"), None),
            (
                "=?utf-8?q?boss=40bank.example_=3Cboss=40bank.example=3E?= <x@evil.example>",
                Some("boss@bank.example <boss@bank.example>"),
                Some("x@evil.example"),
            ),
            (
                "=?utf-8?q?Mu=C3=B1oz=2C?= =?utf-8?q?_Ana?= <ana@x.test>",
                Some("Muñoz, Ana"),
                Some("ana@x.test"),
            ),
            ("\"=?utf-8?q?Ana?=\" <ana@x.test>", Some("Ana"), Some("ana@x.test")),
            ("=?utf-8?q?open <ana@x.test>", Some("=?utf-8?q?open"), Some("ana@x.test")),
            ("\u{e8ff}0\u{e8ff} =?utf-8?q?x?= <ana@x.test>", Some("0 x"), Some("ana@x.test")),
        ] {
            let expected = Listed { name: name.map(str::to_owned), address: address.map(str::to_owned) };
            assert_eq!(listed(value.as_bytes(), 9), [expected], "{value}");
        }
        assert_eq!(addresses(b"=?utf-8?q?x=40evil.example?=, a@b.test").len(), 1);
    }

    #[test]
    fn local_names_are_mailboxes_too() {
        for (value, expected) in [
            (&b"root"[..], &["root"][..]),
            (b"root, Ana <ana@x.test>,cron", &["root", "ana@x.test", "cron"]),
            (b"Team: ana@x.test, bob;", &["ana@x.test", "bob"]),
            (b"undisclosed-recipients:;", &[]),
            (b"<root>", &["root"]),
            (b"", &[]),
        ] {
            assert_eq!(mailboxes(value), expected, "{}", String::from_utf8_lossy(value));
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_some_text(value in prop::collection::vec(any::<u8>(), 0..80)) {
            let text = text(&value, 20);
            prop_assert!(text.chars().count() <= 20 && text.chars().all(is_plain));
            let _ = addresses(&value);
        }
    }
}
