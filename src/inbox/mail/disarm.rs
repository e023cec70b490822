//! What mail-parser 0.11.9 must not see, because it would cost without bound.
//!
//! It looks for each declared boundary to the end of the message: square in their number. And it makes a tree of messages
//! within messages, which it frees, and copies out of base64, by recursion: some thousand levels overflow the stack, which
//! no `catch_unwind` stops. A message within is an attachment to us, so the words that make the parser descend are changed
//! before it reads them, in place and reversibly, and changed back in all that comes out.

use std::borrow::Cow;

/// The MIME structure is followed up to this many times the word "boundary"; what lies behind is left out.
pub const MAX_BOUNDARIES: usize = 100;

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

/// The message with nothing in its Content-Type fields that makes the parser descend. Borrowed if there was nothing.
pub(super) fn disarmed(octets: &[u8]) -> Cow<'_, [u8]> {
    let mut changed = Cow::Borrowed(octets);
    let mut start = 0;
    let mut in_field = false;
    while start < octets.len() {
        let rest = octets.get(start..).unwrap_or_default();
        let length = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
        let line = rest.get(..length).unwrap_or_default();
        let folded = matches!(line.first(), Some(b' ' | b'\t'));
        let text = line.trim_ascii_start();
        let named = text.get(..12).is_some_and(|name| name.eq_ignore_ascii_case(b"content-type"));
        in_field = named || folded && in_field;
        if in_field {
            for (at, place) in words(line) {
                let place = start + at + place;
                if let Some(octet) = changed.to_mut().get_mut(place) {
                    *octet = if octet.is_ascii_uppercase() { CAPITAL } else { SMALL };
                }
            }
        }
        start += length;
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

    proptest! {
        #[test]
        fn what_is_disarmed_can_be_armed(text in "(Content-Type:|\r\n| |rfc822|RFC822|gLoBal|digest|diGest|message/|x){0,30}") {
            let changed = disarmed(text.as_bytes()).into_owned();
            prop_assert_eq!(armed(changed), text.as_bytes());
        }
    }
}
