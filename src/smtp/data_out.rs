//! Sending message data: dots stuffed, line ends made whole (RFC 5321 §4.5.2, §2.3.8).
//!
//! Promised by [`DotStuffer`]: what it writes has no CR and no LF but as CRLF, no line that is a lone dot but the
//! last, and is otherwise the content octet for octet. Our queue holds no bare CR or LF; should one get here all
//! the same it is made CRLF, because that is what every receiver means by it and what can't smuggle (CVE-2023-51764).
//! A body that ends in CRLF gets `.` CRLF and no empty line in front of it.
//!
//! BDAT has its length promised before its octets, so there nothing can be mended: [`LineEnds`] only tells.

use memchr::memchr2;

/// Encodes content for DATA, piece by piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DotStuffer {
    last: Last,
}

/// What the content so far ended in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Last {
    /// Nothing yet, or a line end: a dot that comes now must be doubled.
    #[default]
    LineEnd,
    /// A CR, not yet written.
    Cr,
    /// Anything else.
    Text,
}

impl DotStuffer {
    /// Appends this piece of content, encoded. Copies the longest spans it can.
    pub fn encode(&mut self, content: &[u8], out: &mut Vec<u8>) {
        let Some(first) = content.first() else { return };
        out.reserve(content.len() + 8);
        // `kept` begins the span not yet copied; `seen` is how far it was looked at.
        let (mut kept, mut seen) = (0, 0);
        if self.last == Last::Cr {
            out.extend_from_slice(b"\r\n");
            kept = usize::from(*first == b'\n');
            seen = kept;
            self.last = Last::LineEnd;
        }
        if self.last == Last::LineEnd && content.get(seen) == Some(&b'.') {
            out.push(b'.');
        }
        while let Some(at) = next_line_end(content, seen) {
            let span = content.get(kept..at).unwrap_or_default();
            match (content.get(at), content.get(at + 1)) {
                (Some(b'\r'), Some(b'\n')) => {
                    seen = at + 2;
                    if content.get(seen) != Some(&b'.') {
                        continue;
                    }
                    out.extend_from_slice(span);
                    out.extend_from_slice(b"\r\n.");
                    kept = seen;
                    continue;
                }
                (Some(b'\r'), None) => {
                    out.extend_from_slice(span);
                    self.last = Last::Cr;
                    return;
                }
                _ => {}
            }
            out.extend_from_slice(span);
            out.extend_from_slice(b"\r\n");
            seen = at + 1;
            kept = seen;
            if content.get(seen) == Some(&b'.') {
                out.push(b'.');
            }
        }
        out.extend_from_slice(content.get(kept..).unwrap_or_default());
        if seen < content.len() {
            self.last = Last::Text;
        } else {
            self.last = Last::LineEnd;
        }
    }

    /// Appends the end: CRLF if the last line has none, dot, CRLF. Ready for the next message.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        match std::mem::take(&mut self.last) {
            Last::LineEnd => out.extend_from_slice(b".\r\n"),
            Last::Cr | Last::Text => out.extend_from_slice(b"\r\n.\r\n"),
        }
    }
}

/// Tells whether content has a CR or LF outside CRLF, piece by piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LineEnds {
    ends_in_cr: bool,
}

impl LineEnds {
    /// Whether this piece is clean, given the pieces before.
    #[must_use]
    pub fn are_whole(&mut self, content: &[u8]) -> bool {
        let Some(first) = content.first() else { return true };
        let mut seen = 0;
        if self.ends_in_cr {
            if *first != b'\n' {
                return false;
            }
            seen = 1;
            self.ends_in_cr = false;
        }
        while let Some(at) = next_line_end(content, seen) {
            match (content.get(at), content.get(at + 1)) {
                (Some(b'\r'), Some(b'\n')) => seen = at + 2,
                (Some(b'\r'), None) => {
                    self.ends_in_cr = true;
                    return true;
                }
                _ => return false,
            }
        }
        true
    }

    /// Whether the whole content ended cleanly.
    #[must_use]
    pub fn end_whole(self) -> bool {
        !self.ends_in_cr
    }
}

fn next_line_end(content: &[u8], from: usize) -> Option<usize> {
    memchr2(b'\r', b'\n', content.get(from..)?).map(|at| from + at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(pieces: &[&[u8]]) -> Vec<u8> {
        let (mut stuffer, mut out) = (DotStuffer::default(), Vec::new());
        for piece in pieces {
            stuffer.encode(piece, &mut out);
        }
        stuffer.finish(&mut out);
        out
    }

    #[test]
    fn content_is_stuffed_and_ended() {
        let rows: &[(&[u8], &[u8], &str)] = &[
            (b"", b".\r\n", "empty: the lone dot of RFC 2920 §3.1"),
            (b"a\r\n", b"a\r\n.\r\n", "no empty line is added; lettre adds one"),
            (b"a", b"a\r\n.\r\n", "the last line gets its end"),
            (b".", b"..\r\n.\r\n", "a dot first, alone"),
            (b".\r\n", b"..\r\n.\r\n", "a line that is a lone dot"),
            (b"a\r\n.\r\nb\r\n", b"a\r\n..\r\nb\r\n.\r\n", "the same in the middle"),
            (b"a\r\n..b\r\n", b"a\r\n...b\r\n.\r\n", "two dots become three"),
            (b"a.b\r\n", b"a.b\r\n.\r\n", "a dot elsewhere is left alone"),
            (b"\r\n\r\n.x", b"\r\n\r\n..x\r\n.\r\n", "empty lines in front"),
            (b"a\n.\nb", b"a\r\n..\r\nb\r\n.\r\n", "bare LF can't smuggle; lettre lets it"),
            (b"a\r.\rb", b"a\r\n..\r\nb\r\n.\r\n", "bare CR neither"),
            (b"a\r\r\n.\r\n", b"a\r\n\r\n..\r\n.\r\n", "CR CR LF"),
            (b"a\n\r.\r\n", b"a\r\n\r\n..\r\n.\r\n", "LF CR"),
            (b"a\r", b"a\r\n.\r\n", "CR at the very end"),
            (b"a\0\xff\x85b\r\n", b"a\0\xff\x85b\r\n.\r\n", "other octets are text"),
        ];
        for (content, expected, reason) in rows {
            assert_eq!(encoded(&[content]), *expected, "{reason}");
        }
    }

    #[test]
    fn bare_line_ends_are_found() {
        let rows: &[(&[u8], bool, &str)] = &[
            (b"", true, "empty"),
            (b"a\r\nb\r\n", true, "whole"),
            (b"a\nb", false, "bare LF"),
            (b"a\rb", false, "bare CR"),
            (b"a\r\r\n", false, "CR CR LF"),
            (b"a\r", false, "CR at the end"),
        ];
        for (content, expected, reason) in rows {
            for cut in 0..=content.len() {
                let mut ends = LineEnds::default();
                let (head, tail) = content.split_at(cut);
                let whole = ends.are_whole(head) && ends.are_whole(tail) && ends.end_whole();
                assert_eq!(whole, *expected, "{reason}, cut at {cut}");
            }
        }
    }

    /// RFC 5321 §4.5.2, the receiver's side, written the slow and certain way.
    fn decoded(wire: &[u8]) -> Option<Vec<u8>> {
        let mut content = Vec::new();
        let mut rest = wire;
        while let Some(at) = rest.windows(2).position(|pair| pair == b"\r\n") {
            let (line, behind) = rest.split_at(at);
            rest = &behind[2..];
            if line.iter().any(|octet| matches!(octet, b'\r' | b'\n')) {
                return None;
            }
            if line == b"." {
                return rest.is_empty().then_some(content);
            }
            content.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
            content.extend_from_slice(b"\r\n");
        }
        None
    }

    fn tricky() -> impl Strategy<Value = Vec<u8>> {
        let octet = prop_oneof![Just(b'.'), Just(b'\r'), Just(b'\n'), Just(b'a')];
        proptest::collection::vec(octet, 0..40)
    }

    proptest! {
        #[test]
        fn any_content_decodes_to_itself_with_whole_line_ends(content in tricky(), cut in 0usize..40, cut2 in 0usize..40) {
            let (low, high) = (cut.min(cut2).min(content.len()), cut.max(cut2).min(content.len()));
            let wire = encoded(&[&content[..low], &content[low..high], &content[high..]]);
            prop_assert_eq!(&wire, &encoded(&[&content]), "pieces make no difference");
            let mut whole = Vec::new();
            let mut octets = content.iter().peekable();
            while let Some(octet) = octets.next() {
                match octet {
                    b'\r' => { octets.next_if_eq(&&b'\n'); whole.extend_from_slice(b"\r\n"); }
                    b'\n' => whole.extend_from_slice(b"\r\n"),
                    other => whole.push(*other),
                }
            }
            if !whole.is_empty() && !whole.ends_with(b"\r\n") {
                whole.extend_from_slice(b"\r\n");
            }
            prop_assert_eq!(decoded(&wire), Some(whole));
        }
    }
}
