//! Content in chunks (BDAT, RFC 3030): the argument, the counting, and the same judgement of line ends as in DATA.
//!
//! A chunk's octets are content as they are: no dot is decoded, no octet ends anything, and a chunk boundary is no line
//! end. A CR at the end of one chunk and an LF at the beginning of the next are one CRLF.

use super::data::{Content, Received};
use memchr::memchr2;

/// The argument of BDAT (RFC 3030 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Octets that follow the command's CRLF.
    pub size: u64,
    /// Whether the message ends with them.
    pub last: bool,
}

impl Chunk {
    /// Reads `size [LAST]`. None: not a number of at most 64 bits, or another word.
    #[must_use]
    pub fn parse(argument: &[u8]) -> Option<Self> {
        let mut words = argument.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
        let size = words.next().filter(|word| is_digits(word))?;
        let last = match words.next() {
            None => false,
            Some(word) if word.eq_ignore_ascii_case(b"LAST") => true,
            Some(_) => return None,
        };
        let size = std::str::from_utf8(size).ok()?.parse().ok()?;
        words.next().is_none().then_some(Self { size, last })
    }
}

/// Digits and nothing else, not even a sign.
pub(super) fn is_digits(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

/// Takes the chunks of one message.
#[derive(Debug)]
pub struct ChunkReceiver {
    /// Octets of the present chunk that are still to come.
    left: u64,
    chunk: Chunk,
    /// A CR was the latest octet, and what it is hangs on the next one.
    after_cr: bool,
    content: Content,
}

impl ChunkReceiver {
    /// Ready for a message's first chunk. The arguments are [`DataReceiver::new`](super::data::DataReceiver::new)'s.
    #[must_use]
    pub fn new(limit: u64, tolerate_bare: bool) -> Self {
        let content = Content::new(limit, tolerate_bare);
        Self { left: 0, chunk: Chunk { size: 0, last: false }, after_cr: false, content }
    }

    /// Octets of content so far, the present chunk included: to be compared with the limit before it is read.
    #[must_use]
    pub fn size_with(&self, chunk: Chunk) -> u64 {
        self.content.size.saturating_add(u64::from(self.after_cr)).saturating_add(chunk.size)
    }

    /// Begins a chunk.
    pub fn begin(&mut self, chunk: Chunk) {
        (self.left, self.chunk) = (chunk.size, chunk);
    }

    /// Takes octets of the chunk and appends them to `out`. It ends with the chunk: `Ok` when all is well so far, and a fault
    /// only with the last chunk.
    pub fn receive(&mut self, input: &[u8], out: &mut Vec<u8>) -> Received {
        let consumed = usize::try_from(self.left).map_or(input.len(), |left| left.min(input.len()));
        let mut rest = input.get(..consumed).unwrap_or_default();
        self.left -= consumed as u64;
        while !rest.is_empty() {
            rest = self.take(rest, out);
        }
        if self.left > 0 {
            return Received { consumed, ended: None };
        }
        if !self.chunk.last {
            return Received { consumed, ended: Some(Ok(())) };
        }
        if std::mem::take(&mut self.after_cr) {
            self.content.bare_after_all();
        }
        Received { consumed, ended: Some(self.content.outcome()) }
    }

    /// Whether a bare CR or LF was made CRLF.
    #[must_use]
    pub fn mended(&self) -> bool {
        self.content.mended
    }

    /// Whether the present chunk is the last one.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.chunk.last
    }

    /// Octets of the present chunk, as announced.
    #[must_use]
    pub fn chunk_size(&self) -> u64 {
        self.chunk.size
    }

    /// One step: decides a CR that is waiting, or copies up to the next one that must wait.
    fn take<'a>(&mut self, input: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        if std::mem::take(&mut self.after_cr) {
            if let Some(rest) = input.strip_prefix(b"\n") {
                self.content.crlf_after_all(out);
                return rest;
            }
            self.content.bare_after_all();
        }
        let mut from = 0;
        while let Some(at) =
            input.get(from..).and_then(|rest| memchr2(b'\r', b'\n', rest)).map(|at| from + at)
        {
            match input.get(at..).unwrap_or_default() {
                [b'\r', b'\n', ..] => from = at + 2,
                [byte, rest @ ..] => {
                    self.content.emit(input.get(..at).unwrap_or_default(), out);
                    match byte {
                        b'\r' => {
                            self.after_cr = true;
                            self.content.emit_cr(out);
                        }
                        _ => self.content.emit_bare(out),
                    }
                    return rest;
                }
                [] => break,
            }
        }
        self.content.emit(input, out);
        &[]
    }
}

#[cfg(test)]
mod tests;
