//! What mail-parser 0.11.9 must not see, because it would cost without bound.
//!
//! It looks for each declared boundary to the end of the message: square in their number. It keeps a hundred octets and more for each
//! line of a header section, and several hundred for each part. It puts a parameter that comes
//! in pieces (RFC 2231 §3) together in square time of the pieces. And it makes a tree of messages
//! within messages, which it frees, and copies out of base64, by recursion: some thousand levels overflow the stack, which
//! no `catch_unwind` stops. A message within is an attachment to us, so the words that make the parser descend are changed
//! before it reads them, in place and reversibly, and changed back in all that comes out.

use std::borrow::Cow;

/// The MIME structure is followed up to this many times the word "boundary"; what lies behind is left out.
pub const MAX_BOUNDARIES: usize = 100;

/// A field with more pieces of parameters ends what is read: a name of an attachment has a handful.
pub const MAX_PIECES: usize = 200;

/// So many lines of a header section, of the message or a part, are read: a list of recipients has thousands.
pub const MAX_LINES: usize = 10_000;

/// And so many of all of them together.
const MAX_ALL_LINES: usize = 4 * MAX_LINES;

/// So many parts are read.
pub const MAX_PARTS: usize = 2_000;

/// The words that make the parser descend, and which letter of each is exchanged.
const WORDS: [(&[u8], usize); 3] = [(b"rfc822", 5), (b"global", 2), (b"digest", 2)];
/// What stands for a small letter or digit, and for a capital, once exchanged: nothing that mail may hold.
const SMALL: u8 = 1;
const CAPITAL: u8 = 2;

/// The message up to where its structure gets too rich.
pub(super) fn within_boundaries(octets: &[u8]) -> &[u8] {
    let mut seen = 0;
    for at in memchr::memchr2_iter(b'b', b'B', octets) {
        let is_word = octets.get(at..at + 8).is_some_and(|word| word.eq_ignore_ascii_case(b"boundary"));
        seen += usize::from(is_word);
        if seen > MAX_BOUNDARIES {
            return octets.get(..at).unwrap_or_default();
        }
    }
    octets
}

/// The message up to a field of a part with too many pieces of parameters.
pub(super) fn within_pieces(octets: &[u8]) -> &[u8] {
    let (mut field, mut pieces) = (0, 0);
    for (start, line, of) in lines_of_fields(octets) {
        if of != field {
            (field, pieces) = (of, 0);
        }
        let digit = |star: usize| line.get(star + 1).is_some_and(u8::is_ascii_digit);
        pieces += memchr::memchr_iter(b'*', line).filter(|star| digit(*star)).count();
        if pieces > MAX_PIECES {
            return octets.get(..start).unwrap_or_default();
        }
    }
    octets
}

/// The message without what is too much of it: lines of a header section, and parts.
pub(super) fn thinned(octets: &[u8]) -> Cow<'_, [u8]> {
    let boundaries = boundaries(octets);
    let is_delimiter = |line: &[u8]| {
        let behind = line.strip_prefix(b"--");
        behind.is_some_and(|behind| boundaries.iter().any(|boundary| behind.starts_with(boundary)))
    };
    let mut kept: Option<Vec<u8>> = None;
    let (mut start, mut lines, mut all_lines, mut parts) = (0, Some(0), 0, 0);
    while start < octets.len() {
        let rest = octets.get(start..).unwrap_or_default();
        let length = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
        let line = rest.get(..length).unwrap_or_default();
        if is_delimiter(line) {
            (lines, parts) = (Some(0), parts + 1);
        } else if line.iter().all(|octet| b"\r\n".contains(octet)) {
            // White space alone goes a line on, for the parser.
            lines = None;
        }
        lines = lines.map(|lines| lines + 1);
        all_lines += usize::from(lines.is_some());
        let before = || octets.get(..start).unwrap_or_default();
        if parts > MAX_PARTS {
            return kept.map_or(Cow::Borrowed(before()), Cow::Owned);
        }
        let is_delimiter = lines == Some(1) && parts > 0;
        if !is_delimiter && lines.is_some_and(|lines| lines > MAX_LINES || all_lines > MAX_ALL_LINES) {
            kept.get_or_insert_with(|| before().to_vec());
        } else if let Some(kept) = &mut kept {
            kept.extend_from_slice(line);
        }
        start += length;
    }
    kept.map_or(Cow::Borrowed(octets), Cow::Owned)
}

/// What stands behind each `boundary=`; nothing, which begins every line with two hyphens, where it comes in pieces.
fn boundaries(octets: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    for at in memchr::memchr2_iter(b'b', b'B', octets) {
        let Some(behind) = octets.get(at + 8..) else { break };
        if !octets.get(at..at + 8).is_some_and(|word| word.eq_ignore_ascii_case(b"boundary")) {
            continue;
        }
        let behind = behind.trim_ascii_start();
        let value = behind.strip_prefix(b"=").map(<[u8]>::trim_ascii_start);
        // A value that is written in a way of its own may be read in another one.
        let plain =
            |value: &'_ [u8]| !value.iter().any(|octet| b"\\(".contains(octet)) && !value.starts_with(b"=?");
        found.push(match value {
            Some([b'"', quoted @ ..]) => {
                Some(until(quoted, b"\"\r\n")).filter(|value| plain(value)).unwrap_or_default()
            }
            Some(value) => Some(until(value, b"; \t\r\n")).filter(|value| plain(value)).unwrap_or_default(),
            None if behind.starts_with(b"*") => b"",
            None => continue,
        });
    }
    found
}

fn until<'o>(octets: &'o [u8], ends: &[u8]) -> &'o [u8] {
    let end = octets.iter().take(200).position(|octet| ends.contains(octet));
    octets.get(..end.unwrap_or(0)).unwrap_or_default()
}

/// The lines of the fields Content-Type and Content-Disposition, wherever they stand: where each begins, and where its
/// field does.
fn lines_of_fields(octets: &[u8]) -> impl Iterator<Item = (usize, &[u8], usize)> {
    let (mut start, mut field) = (0, None);
    std::iter::from_fn(move || {
        while start < octets.len() {
            let rest = octets.get(start..).unwrap_or_default();
            let length = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
            let line = rest.get(..length).unwrap_or_default();
            let folded = matches!(line.first(), Some(b' ' | b'\t'));
            let text = line.trim_ascii_start();
            let is_named =
                |name: &[u8]| text.get(..name.len()).is_some_and(|it| it.eq_ignore_ascii_case(name));
            if is_named(b"content-type") || is_named(b"content-disposition") {
                field = Some(start);
            } else if !folded {
                field = None;
            }
            start += length;
            if let Some(field) = field {
                return Some((start - length, line, field));
            }
        }
        None
    })
}

/// The message with nothing in its Content-Type fields (or in Content-Disposition, where it does no harm) that makes the parser descend. Borrowed if there was nothing.
pub(super) fn disarmed(octets: &[u8]) -> Cow<'_, [u8]> {
    let mut changed = Cow::Borrowed(octets);
    for (start, line, _) in lines_of_fields(octets) {
        for (at, place) in words(line) {
            let place = start + at + place;
            if let Some(octet) = changed.to_mut().get_mut(place) {
                *octet = if octet.is_ascii_uppercase() { CAPITAL } else { SMALL };
            }
        }
    }
    changed
}

/// Where the words begin in a line, with the letter to exchange.
fn words(line: &[u8]) -> impl Iterator<Item = (usize, usize)> {
    WORDS.iter().flat_map(move |(word, place)| {
        let windows = line.windows(word.len()).enumerate();
        windows.filter(|(_, window)| window.eq_ignore_ascii_case(word)).map(move |(at, _)| (at, *place))
    })
}

/// What came out of a disarmed message, as it was.
pub(super) fn armed(mut octets: Vec<u8>) -> Vec<u8> {
    let marks: Vec<usize> = memchr::memchr2_iter(SMALL, CAPITAL, &octets).collect();
    for mark in marks {
        for (word, place) in WORDS {
            let Some(start) = mark.checked_sub(place) else { continue };
            let Some(found) = octets.get(start..start + word.len()) else { continue };
            let fits = found
                .iter()
                .zip(word)
                .enumerate()
                .all(|(at, (octet, letter))| at == place || octet.eq_ignore_ascii_case(letter));
            let letter = word.get(place).copied().unwrap_or_default();
            if fits && let Some(octet) = octets.get_mut(mark) {
                *octet = if *octet == CAPITAL { letter.to_ascii_uppercase() } else { letter };
                break;
            }
        }
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_content_type_fields_are_changed_and_all_come_back() {
        let mail = b"Subject: rfc822\r\nCONTENT-type: Message/RFC822;\r\n x=Global\r\n\r\nrfc822 digest\r\nContent-Type: multipart/digest\r\n";
        let changed = disarmed(mail);
        assert_eq!(changed.iter().zip(mail).filter(|(one, other)| one != other).count(), 3);
        assert_eq!(armed(changed.into_owned()), mail);
        assert!(matches!(disarmed(b"Content-Type: text/plain\r\n\r\nrfc822"), Cow::Borrowed(_)));
    }

    #[test]
    fn too_many_lines_and_parts_are_left_out() {
        let lines = |count: usize| "X: y\r\n".repeat(count);
        let head = "Content-Type: multipart/mixed; Boundary = \"b b\"\r\n\r\n";
        let part = "--b b\r\nX: y\r\n\r\nz\r\n";
        let pieces = "Content-Type: multipart/mixed; boundary*0=a; boundary*1=b\r\n\r\n";
        let many = MAX_LINES + 5;
        for (mail, read) in [
            (format!("{}\r\n{}", lines(MAX_LINES), lines(many)), None),
            (format!("{}\r\nHello", lines(many)), Some(format!("{}\r\nHello", lines(MAX_LINES)))),
            (format!("{head}--b b\r\n{}\r\nx", lines(MAX_LINES - 1)), None),
            (
                format!("{head}--b b\r\n{}\r\nx\r\n{part}", lines(many)),
                Some(format!("{head}--b b\r\n{}\r\nx\r\n{part}", lines(MAX_LINES - 1))),
            ),
            (format!("{head}\r\n--c\r\n{}\r\nx", lines(many)), None),
            (format!("{head}{}", part.repeat(MAX_PARTS)), None),
            (format!(" \r\n{}\r\nx", lines(many)), Some(format!(" \r\n{}\r\nx", lines(MAX_LINES - 1)))),
            (
                format!("{head}{}", format!("--b b\r\n{}\r\nx\r\n", lines(MAX_LINES - 1)).repeat(6)),
                Some(format!(
                    "{head}{}--b b\r\n{}\r\nx\r\n{}",
                    format!("--b b\r\n{}\r\nx\r\n", lines(MAX_LINES - 1)).repeat(3),
                    lines(MAX_LINES - 2),
                    "--b b\r\n\r\nx\r\n".repeat(2)
                )),
            ),
            (
                format!(
                    "Content-Type: multipart/mixed; boundary=\"a\\\"b\"\r\n\r\n{}",
                    "--a\"b\r\n\r\n".repeat(MAX_PARTS + 1)
                ),
                Some(format!(
                    "Content-Type: multipart/mixed; boundary=\"a\\\"b\"\r\n\r\n{}",
                    "--a\"b\r\n\r\n".repeat(MAX_PARTS)
                )),
            ),
            (
                format!("{head}{}", part.repeat(MAX_PARTS + 3)),
                Some(format!("{head}{}", part.repeat(MAX_PARTS))),
            ),
            (
                format!("{pieces}{}", "--ab\r\n\r\n".repeat(MAX_PARTS + 1)),
                Some(format!("{pieces}{}", "--ab\r\n\r\n".repeat(MAX_PARTS))),
            ),
        ] {
            let read = read.as_ref().unwrap_or(&mail);
            assert!(*thinned(mail.as_bytes()) == *read.as_bytes(), "{}", &mail[..60]);
        }
    }

    #[test]
    fn a_parameter_in_too_many_pieces_ends_what_is_read() {
        let named = |pieces: usize| {
            let pieces: String = (0..pieces).map(|number| format!(";\r\n name*{number}=a")).collect();
            format!("Subject: *1*2\r\nContent-Type: text/plain{pieces}\r\n\r\n*3")
        };
        let (some, many) = (named(MAX_PIECES), named(MAX_PIECES + 1));
        assert_eq!(within_pieces(some.as_bytes()), some.as_bytes());
        let read = within_pieces(many.as_bytes());
        assert!(read.len() < many.len() && many.as_bytes().starts_with(read) && read.ends_with(b"=a;\r\n"));
    }

    proptest! {
        #[test]
        fn what_is_disarmed_can_be_armed(text in "(Content-Type:|\r\n| |rfc822|RFC822|gLoBal|digest|diGest|message/|x){0,30}") {
            let changed = disarmed(text.as_bytes()).into_owned();
            prop_assert_eq!(armed(changed), text.as_bytes());
        }
    }
}
