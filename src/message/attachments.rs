//! Names and sizes of a message's attachments, found while its octets pass by (RFC 2045, RFC 2046, RFC 2183, RFC 2231).
//!
//! Promises: the memory it takes is bounded by the fields of one part ([`MAX_FIELDS`]), a line ([`MAX_LINE`]),
//! [`MAX_DEPTH`] boundaries and [`MAX_ATTACHMENTS`] names, however long the message is; time grows with its length. Sizes are those of
//! the decoded content, to within a few octets. What can't be followed has no answer: nobody may be refused for it.

use super::decode::{self, Typed};
use super::fields::HeaderSection;

/// Octets of a part's fields.
pub const MAX_FIELDS: usize = 64 * 1024;
/// Octets of a line in a body that are looked at for a boundary.
pub const MAX_LINE: usize = 1000;
/// Containers within containers.
pub const MAX_DEPTH: usize = 20;
/// Attachments.
pub const MAX_ATTACHMENTS: usize = 1000;
/// Characters of a name.
const MAX_NAME: usize = 300;

/// File name, empty where there is none, and decoded octets.
pub type Attachment = (String, u64);

/// A message that passes by.
#[derive(Debug)]
pub struct Scan {
    state: State,
    /// Boundaries of the open containers, the outermost first.
    boundaries: Vec<Vec<u8>>,
    /// A line of which more may come.
    line: Vec<u8>,
    /// Whether the beginning of that line was handed on already, because it is long.
    is_begun: bool,
    found: Vec<Attachment>,
}

#[derive(Debug)]
enum State {
    /// The fields of a part, or of the message.
    Fields(Vec<u8>),
    /// A part's content.
    Leaf(Leaf),
    /// Between parts.
    Between,
    /// It can't be followed.
    Lost,
}

#[derive(Debug)]
struct Leaf {
    /// None for a text that is no attachment.
    name: Option<String>,
    encoding: Encoding,
    octets: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Identity,
    Base64,
    QuotedPrintable,
}

/// The attachments of a whole message; none when it can't be followed.
#[must_use]
pub fn of(content: &[u8]) -> Option<Vec<Attachment>> {
    let mut scan = Scan::default();
    scan.push(content);
    scan.finish()
}

impl Default for Scan {
    fn default() -> Self {
        Self {
            state: State::Fields(Vec::new()),
            boundaries: Vec::new(),
            line: Vec::new(),
            is_begun: false,
            found: Vec::new(),
        }
    }
}

impl Scan {
    /// The next octets.
    pub fn push(&mut self, octets: &[u8]) {
        for piece in octets.split_inclusive(|octet| *octet == b'\n') {
            if matches!(self.state, State::Lost) {
                return;
            }
            if piece.ends_with(b"\n") && self.line.is_empty() {
                self.take(piece);
                self.is_begun = false;
                continue;
            }
            self.line.extend_from_slice(piece);
            let is_whole = piece.ends_with(b"\n");
            if is_whole || self.line.len() > MAX_LINE {
                let line = std::mem::take(&mut self.line);
                self.take(&line);
                self.is_begun = !is_whole;
                self.line = line;
                self.line.clear();
            }
        }
    }

    /// All attachments; none when the message can't be followed.
    #[must_use]
    pub fn finish(mut self) -> Option<Vec<Attachment>> {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.take(&line);
        }
        if let State::Fields(fields) = &mut self.state {
            let fields = std::mem::take(fields);
            self.state = self.begin(&fields);
        }
        self.end_part();
        (!matches!(self.state, State::Lost)).then_some(self.found)
    }

    /// A line, or a piece of a long one.
    fn take(&mut self, line: &[u8]) {
        if !self.is_begun && line.starts_with(b"--") && self.boundary(line) {
            return;
        }
        match &mut self.state {
            State::Fields(fields) => {
                let is_end = !self.is_begun && matches!(line, b"\r\n" | b"\n");
                if !is_end {
                    fields.extend_from_slice(line);
                    if fields.len() > MAX_FIELDS && !self.boundaries.is_empty() {
                        self.state = State::Lost;
                    }
                    return;
                }
                let fields = std::mem::take(fields);
                self.state = self.begin(&fields);
            }
            State::Leaf(leaf) if leaf.name.is_some() => leaf.octets += leaf.encoding.decoded(line),
            State::Leaf(_) | State::Between | State::Lost => {}
        }
    }

    /// Whether the line is a boundary of an open container; the innermost that fits.
    fn boundary(&mut self, line: &[u8]) -> bool {
        let text = line.trim_ascii_end().get(2..).unwrap_or_default();
        let level = |text: &[u8]| self.boundaries.iter().rposition(|boundary| boundary == text);
        if let Some(level) = level(text) {
            self.end_part();
            self.boundaries.truncate(level + 1);
            self.state = State::Fields(Vec::new());
            return true;
        }
        let Some(level) = text.strip_suffix(b"--").and_then(level) else { return false };
        self.end_part();
        self.boundaries.truncate(level);
        self.state = State::Between;
        true
    }

    /// What follows these fields.
    fn begin(&mut self, fields: &[u8]) -> State {
        let header = HeaderSection::within(fields, usize::MAX);
        let value = |name: &str| header.named(name).next().map(super::fields::Field::value);
        let content_type = value("Content-Type").and_then(|value| decode::typed(&value)).unwrap_or_default();
        if content_type.kind.starts_with("multipart/") {
            let boundary = content_type.parameter("boundary").unwrap_or_default();
            if boundary.is_empty() || self.boundaries.len() >= MAX_DEPTH {
                return State::Lost;
            }
            self.boundaries.push(boundary.as_bytes().trim_ascii_end().to_vec());
            return State::Between;
        }
        let encoding = match value("Content-Transfer-Encoding") {
            Some(value) if value.trim_ascii().eq_ignore_ascii_case(b"base64") => Encoding::Base64,
            Some(value) if value.trim_ascii().eq_ignore_ascii_case(b"quoted-printable") => {
                Encoding::QuotedPrintable
            }
            _ => Encoding::Identity,
        };
        let disposition =
            value("Content-Disposition").and_then(|value| decode::typed(&value)).unwrap_or_default();
        State::Leaf(Leaf { name: name(&content_type, &disposition), encoding, octets: 0 })
    }

    fn end_part(&mut self) {
        let State::Leaf(Leaf { name: Some(name), octets, .. }) = &mut self.state else { return };
        self.found.push((std::mem::take(name), *octets));
        self.state = if self.found.len() > MAX_ATTACHMENTS { State::Lost } else { State::Between };
    }
}

/// The name of a part that is an attachment, empty where it says none.
fn name(content_type: &Typed, disposition: &Typed) -> Option<String> {
    let given = disposition.parameter("filename").or_else(|| content_type.parameter("name"));
    if let Some(given) = given {
        return Some(decode::text(given.as_bytes(), MAX_NAME));
    }
    let is_text = content_type.kind.is_empty() || content_type.kind.starts_with("text/");
    (!is_text || disposition.kind == "attachment").then(String::new)
}

impl Encoding {
    /// Octets that a line decodes to.
    fn decoded(self, line: &[u8]) -> u64 {
        let count = match self {
            Self::Identity => line.len(),
            Self::Base64 => {
                let counts = |octet: &&u8| octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/');
                line.iter().filter(counts).count() * 3 / 4
            }
            Self::QuotedPrintable => {
                let escapes = memchr::memchr_iter(b'=', line).count();
                let is_soft = line.trim_ascii_end().ends_with(b"=");
                line.len().saturating_sub(2 * escapes + usize::from(is_soft))
            }
        };
        count as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &str = "From: a@x.test\r\nMIME-Version: 1.0\r\n\
        Content-Type: multipart/mixed;\r\n boundary=\"out er\"\r\n\r\npreamble.zip\r\n\
        --out er\r\nContent-Type: multipart/alternative; boundary=in\r\n\r\n\
        --in\r\n\r\nHello, see Content-Disposition: attachment; filename=no.exe\r\n\
        --in\r\nContent-Type: text/html\r\n\r\n<p>Hello\r\n--inside\r\n--in--\r\n\
        --out er\r\nContent-Type: application/zip; name=\"=?utf-8?q?Fotos_a=C3=B1o.zip?=\"\r\n\
        Content-Transfer-Encoding: base64\r\n\r\nAAAAAAAA\r\nAAAA\r\n\
        --out er  \r\nContent-Type: text/plain\r\nContent-Disposition: attachment;\r\n filename*0*=utf-8''pl%C3%A1;\r\n filename*1=n.exe\r\n\
        Content-Transfer-Encoding: quoted-printable\r\n\r\n=41=42=\r\nC\r\n\
        --out er\r\nContent-Type: message/rfc822\r\n\r\nSubject: within\r\n\r\nHi\r\n--out er--\r\n\
        Content-Type: application/zip; name=epilogue.zip\r\n";

    fn expected() -> Vec<Attachment> {
        vec![("Fotos año.zip".to_owned(), 9), ("plán.exe".to_owned(), 5), (String::new(), 23)]
    }

    #[test]
    fn attachments_are_found_with_names_and_sizes() {
        assert_eq!(of(MESSAGE.as_bytes()).unwrap(), expected());
        assert_eq!(of(b"Subject: x\r\n\r\nHi\r\n").unwrap(), []);
        assert_eq!(of(b"").unwrap(), []);
        let alone =
            b"Content-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n";
        assert_eq!(of(alone).unwrap(), [("a.pdf".to_owned(), 3)]);
    }

    #[test]
    fn it_makes_no_difference_in_which_pieces_they_come() {
        for size in [1, 2, 3, 7, 64] {
            let mut scan = Scan::default();
            MESSAGE.as_bytes().chunks(size).for_each(|piece| scan.push(piece));
            assert_eq!(scan.finish().unwrap(), expected(), "{size}");
        }
    }

    #[test]
    fn long_lines_are_counted_and_hide_no_boundary_in_their_middle() {
        let line = "--b".repeat(50_000);
        let message = format!(
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: x/y\r\n\r\n{line}\r\n--b--\r\n"
        );
        let mut scan = Scan::default();
        for piece in message.as_bytes().chunks(4096) {
            scan.push(piece);
            assert!(scan.line.capacity() < 16_384);
        }
        assert_eq!(scan.finish().unwrap(), [(String::new(), 150_002)]);
    }

    #[test]
    fn what_cannot_be_followed_has_no_answer() {
        assert_eq!(of(b"Content-Type: multipart/mixed\r\n\r\n--x\r\n"), None, "no boundary");
        let deep: String = (0..=MAX_DEPTH)
            .map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n"))
            .collect();
        assert_eq!(of(deep.as_bytes()), None);
        let fields =
            format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nX: {}", "x".repeat(70_000));
        assert_eq!(of(fields.as_bytes()), None);
        let many = "--b\r\nContent-Type: x/y\r\n\r\n".repeat(MAX_ATTACHMENTS + 2);
        assert_eq!(of(format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{many}").as_bytes()), None);
    }
}
