//! Lines that obey RFC 5322 §2.1.1: CRLF at the end of each and nowhere else, no more than 998 octets, no NUL.
//!
//! For what we write ourselves; what passes through is never touched. Nothing here fails.

/// RFC 5322 §2.1.1, without the CRLF.
const MAX_LINE: usize = 998;
/// Where our own lines are broken.
const WIDTH: usize = 76;

/// Text that grows line by line.
#[derive(Debug, Default)]
pub struct Text(Vec<u8>);

impl Text {
    /// One line as it is.
    pub fn line(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
        self.0.extend_from_slice(b"\r\n");
    }

    /// Broken between words, each line behind `indent`; a word that is too long for any line is cut.
    pub fn wrapped(&mut self, indent: &str, text: &str) {
        for line in wrap(text, WIDTH.saturating_sub(indent.len())) {
            self.line(&format!("{indent}{line}"));
        }
    }

    /// A field of message/delivery-status, folded (RFC 3464 §2.1.1).
    pub fn field(&mut self, name: &str, value: &str) {
        self.line(&wrap(&format!("{name}: {value}"), WIDTH).join("\r\n "));
    }

    /// The octets of all lines.
    #[must_use]
    pub fn into_octets(self) -> Vec<u8> {
        self.0
    }
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let mut rest = word;
        while !rest.is_empty() {
            // 900 octets leave room for indentation whatever it is.
            let (piece, after) = rest.split_at(rest.floor_char_boundary(900));
            match lines.last_mut() {
                Some(line) if line.is_empty() => line.push_str(piece),
                Some(line) if line.len() + 1 + piece.len() <= width && piece.len() == word.len() => {
                    line.push(' ');
                    line.push_str(piece);
                }
                _ => lines.push(piece.to_owned()),
            }
            rest = after;
        }
    }
    lines
}

/// Whether octets can go out as they are: lines of at most 998 octets in CRLF, no NUL.
#[must_use]
pub fn is_wire_safe(octets: &[u8]) -> bool {
    let is_good = |line: &[u8]| line.len() <= MAX_LINE && memchr::memchr2(b'\r', 0, line).is_none();
    let mut rest = octets;
    while let Some((line, after)) = memchr::memchr(b'\n', rest).and_then(|end| rest.split_at_checked(end)) {
        if !line.strip_suffix(b"\r").is_some_and(is_good) {
            return false;
        }
        rest = after.get(1..).unwrap_or_default();
    }
    is_good(rest)
}

/// A header section made fit to be quoted: cut to `limit` octets, CRLF line ends, over-long lines folded.
#[must_use]
pub fn tidy(header: &[u8], limit: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(header.len().min(limit) + 2);
    for line in header.split_inclusive(|octet| *octet == b'\n') {
        if out.len() + line.len() > limit {
            break;
        }
        let text: String = String::from_utf8_lossy(line.trim_ascii_end()).replace(['\r', '\0'], "?");
        if text.is_empty() {
            continue;
        }
        let mut rest = text.as_str();
        while rest.len() > MAX_LINE {
            let (piece, after) = rest.split_at(rest.floor_char_boundary(MAX_LINE - 98));
            out.extend_from_slice(piece.as_bytes());
            out.extend_from_slice(b"\r\n ");
            rest = after;
        }
        out.extend_from_slice(rest.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_may_go_out_as_it_is() {
        let long = [&[b'x'; 998][..], b"\r\n"].concat();
        let longer = [&[b'x'; 999][..], b"\r\n"].concat();
        for (octets, expected, reason) in [
            (&b""[..], true, "nothing"),
            (b"a\r\n\r\nb", true, "no last line end"),
            (b"a\nb\r\n", false, "bare LF"),
            (b"a\rb\r\n", false, "bare CR"),
            (b"a\r", false, "CR at the end"),
            (b"a\0\r\n", false, "NUL"),
            (&long, true, "998"),
            (&longer, false, "999"),
        ] {
            assert_eq!(is_wire_safe(octets), expected, "{reason}");
        }
    }

    #[test]
    fn a_field_is_folded_between_words() {
        let mut text = Text::default();
        text.field("Diagnostic-Code", &"word ".repeat(20));
        let folded = format!("Diagnostic-Code:{}\r\n{}\r\n", " word".repeat(12), " word".repeat(8));
        assert_eq!(String::from_utf8(text.into_octets()).unwrap(), folded);
    }

    proptest! {
        #[test]
        fn whatever_is_written_may_go_out(words in "[^\r\n\0]{0,3000}", header in prop::collection::vec(any::<u8>(), 0..3000)) {
            let mut text = Text::default();
            text.wrapped("        ", &words);
            text.field("X", &words);
            prop_assert!(is_wire_safe(&text.into_octets()));
            let tidied = tidy(&header, 2000);
            prop_assert!(is_wire_safe(&tidied) && memchr::memmem::find(&tidied, b"\r\n\r\n").is_none());
        }
    }
}
