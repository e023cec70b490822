//! Content after DATA, receiving half: dots undone, line ends judged, the end found (RFC 5321 §4.1.1.4, §4.5.2).
//!
//! Promises:
//! - Only the five octets CRLF `.` CRLF on the wire end the content, tolerance or not; the beginning counts as
//!   standing behind a CRLF. No other line end, control or look-alike does (CVE-2023-51764 and its family).
//! - However the octets are cut into reads, the result is the same.
//! - What comes out holds no CR or LF outside CRLF: without tolerance such content comes to a [`ContentFault`] at its true
//!   end, with tolerance each is made CRLF. Normalising never makes an end of content, only a line with a lone dot,
//!   which the sending half stuffs.
//! - NUL and every other octet is carried as it came. RFC 5322 §2.2 forbids NUL; mail with it exists, and its
//!   signatures hold only if it isn't touched.

use memchr::memchr2;

/// Why content that was read to its end isn't taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ContentFault {
    /// It holds a CR or LF outside CRLF (RFC 5321 §2.3.8).
    #[error("content holds a bare CR or LF")]
    BareLineEnd,
    /// It is larger than the limit.
    #[error("content is larger than the limit")]
    TooBig,
    /// It went on to twice the limit without an end; the session can't go on.
    #[error("content went on beyond twice the limit")]
    Endless,
}

/// What one read brought.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// So many octets of the input are used up. All of them unless the content ended.
    pub consumed: usize,
    /// The content has ended, well or not.
    pub ended: Option<Result<(), ContentFault>>,
}

/// Takes content from the wire until CRLF `.` CRLF.
#[derive(Debug)]
pub struct DataReceiver {
    place: Place,
    content: Content,
}

/// Where on the wire we are. What isn't decided yet is not in the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Behind a CRLF, or at the very beginning.
    LineStart,
    /// Inside a line.
    Text,
    /// Behind a CR inside a line.
    Cr,
    /// Behind CRLF `.`.
    Dot,
    /// Behind CRLF `.` CR.
    DotCr,
}

impl DataReceiver {
    /// Ready for the first octet after our 354. `limit`: octets of content; `tolerate_bare`: make bare CR and LF CRLF.
    #[must_use]
    pub fn new(limit: u64, tolerate_bare: bool) -> Self {
        Self { place: Place::LineStart, content: Content::new(limit, tolerate_bare) }
    }

    /// Takes what belongs to the content and appends it, decoded, to `out`. After a fault nothing more is appended.
    pub fn receive(&mut self, input: &[u8], out: &mut Vec<u8>) -> Received {
        let input = self.content.within_patience(input);
        let mut rest = input;
        while let Some((&byte, behind)) = rest.split_first() {
            match (self.place, byte) {
                (Place::DotCr, b'\n') => {
                    let consumed = input.len() - behind.len();
                    return Received { consumed, ended: Some(self.content.outcome()) };
                }
                (Place::LineStart, b'.') => (self.place, rest) = (Place::Dot, behind),
                (Place::Dot, b'\r') => (self.place, rest) = (Place::DotCr, behind),
                (Place::Cr, b'\n') => {
                    self.content.emit(b"\r\n", out);
                    (self.place, rest) = (Place::LineStart, behind);
                }
                (Place::Cr | Place::DotCr, _) => {
                    // The CR was a bare one, and this octet begins the line behind it. The dot of DotCr is
                    // transparency's: something followed it.
                    self.content.emit_bare(out);
                    self.place = Place::Text;
                }
                (Place::LineStart | Place::Dot | Place::Text, _) => rest = self.text(rest, out),
            }
        }
        let ended = self.content.read(input.len()).err().map(Err);
        Received { consumed: input.len(), ended }
    }

    /// Whether a bare CR or LF was made CRLF.
    #[must_use]
    pub fn mended(&self) -> bool {
        self.content.mended
    }

    /// Copies from inside a line up to where something must be decided; returns what is left of the input.
    fn text<'a>(&mut self, input: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        let mut from = 0;
        loop {
            let found = input.get(from..).and_then(|rest| memchr2(b'\r', b'\n', rest)).map(|at| from + at);
            let Some(at) = found else {
                self.content.emit(input, out);
                self.place = Place::Text;
                return &[];
            };
            match input.get(at..).unwrap_or_default() {
                [b'\r', b'\n', next, ..] if *next != b'.' => from = at + 2,
                [b'\r', b'\n', rest @ ..] => {
                    self.content.emit(input.get(..at + 2).unwrap_or_default(), out);
                    self.place = Place::LineStart;
                    return rest;
                }
                [byte, rest @ ..] => {
                    self.content.emit(input.get(..at).unwrap_or_default(), out);
                    if *byte == b'\r' {
                        self.place = Place::Cr;
                    } else {
                        self.content.emit_bare(out);
                        self.place = Place::Text;
                    }
                    return rest;
                }
                [] => return &[],
            }
        }
    }
}

/// Content on its way to the output: counted, and dropped once it can't be taken any more.
#[derive(Debug)]
pub(super) struct Content {
    limit: u64,
    tolerate_bare: bool,
    /// Octets read from the wire, for the end of patience.
    octets_read: u64,
    /// Octets put out.
    pub(super) size: u64,
    pub(super) mended: bool,
    fault: Option<ContentFault>,
}

impl Content {
    pub(super) fn new(limit: u64, tolerate_bare: bool) -> Self {
        Self { limit, tolerate_bare, octets_read: 0, size: 0, mended: false, fault: None }
    }

    /// Appends a span without bare line ends.
    pub(super) fn emit(&mut self, span: &[u8], out: &mut Vec<u8>) {
        if self.fault.is_some() {
            return;
        }
        self.size = self.size.saturating_add(span.len() as u64);
        if self.size > self.limit {
            self.fault = Some(ContentFault::TooBig);
        } else {
            out.extend_from_slice(span);
        }
    }

    /// A bare CR or LF stood here.
    pub(super) fn emit_bare(&mut self, out: &mut Vec<u8>) {
        if self.tolerate_bare {
            self.mended = true;
            self.emit(b"\r\n", out);
        } else {
            self.fault.get_or_insert(ContentFault::BareLineEnd);
        }
    }

    /// A CR stood here and nobody knows yet what follows. With tolerance it becomes CRLF in any case and is written at
    /// once, so that nothing is left to write when the message ends with an empty chunk.
    pub(super) fn emit_cr(&mut self, out: &mut Vec<u8>) {
        if self.tolerate_bare {
            self.emit(b"\r\n", out);
        }
    }

    /// That CR was half of a CRLF.
    pub(super) fn crlf_after_all(&mut self, out: &mut Vec<u8>) {
        if !self.tolerate_bare {
            self.emit(b"\r\n", out);
        }
    }

    /// That CR was a bare one.
    pub(super) fn bare_after_all(&mut self) {
        if self.tolerate_bare {
            self.mended = true;
        } else {
            self.fault.get_or_insert(ContentFault::BareLineEnd);
        }
    }

    /// As much of a read as is still waited for: beyond twice the limit nobody does (RFC 5321 §7.8 lets us close).
    fn within_patience<'a>(&self, input: &'a [u8]) -> &'a [u8] {
        let left = self.patience().saturating_sub(self.octets_read);
        usize::try_from(left).ok().and_then(|left| input.get(..left)).unwrap_or(input)
    }

    /// Counts a read without an end in it.
    fn read(&mut self, octets: usize) -> Result<(), ContentFault> {
        self.octets_read = self.octets_read.saturating_add(octets as u64);
        if self.octets_read < self.patience() {
            return Ok(());
        }
        self.fault = Some(ContentFault::Endless);
        Err(ContentFault::Endless)
    }

    /// A kilobyte on top, for limits that are hardly one.
    fn patience(&self) -> u64 {
        self.limit.saturating_mul(2).saturating_add(1024)
    }

    pub(super) fn outcome(&self) -> Result<(), ContentFault> {
        self.fault.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests;
