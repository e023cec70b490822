//! The header section as raw fields (RFC 5322 §2.2): where each one begins and ends, and not one byte changed.
//!
//! Promises: [`HeaderSection`] borrows the octets it was found in, every field is an exact byte range with its
//! folding and line ends, and what isn't a field (a line without a colon, a folded first line, the `From ` line of
//! an mbox file) is a gap that stays where it is. Edits are cuts and insertions of byte ranges; nothing is ever
//! written anew. Nothing here fails: whatever the octets, there is a header section, if only an empty one.

use memchr::memchr;
use std::borrow::Cow;
use std::ops::Range;

/// How far the end of the header section is looked for. What lies behind it counts as body.
pub const HEADER_LIMIT: usize = 256 * 1024;

/// Finds the end of the header section in a buffer that grows, looking at every octet once.
#[derive(Debug, Clone)]
pub struct HeaderScan {
    limit: usize,
    /// Start of the line that isn't finished yet.
    line: usize,
    /// How far that line was looked at.
    seen: usize,
}

impl HeaderScan {
    /// A scan that gives up looking after `limit` octets.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, line: 0, seen: 0 }
    }

    /// Looks at what came since the last call; `content` is all of the message so far. True when the header
    /// section is complete, or the limit is reached: then [`HeaderSection::of`] tells what it is.
    pub fn is_complete(&mut self, content: &[u8]) -> bool {
        let content = content.get(..self.limit).unwrap_or(content);
        while let Some(found) = memchr(b'\n', content.get(self.seen..).unwrap_or_default()) {
            let end = self.seen + found + 1;
            if content.get(self.line..end).is_some_and(is_empty_line) {
                return true;
            }
            self.line = end;
            self.seen = end;
        }
        self.seen = content.len();
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
    /// The limit was reached; what follows the last whole field was not looked at.
    Limit,
}

/// The header section of a message.
#[derive(Debug, Clone)]
pub struct HeaderSection<'a> {
    octets: &'a [u8],
    fields: Vec<Field<'a>>,
    separator: Separator,
    /// The name of the field that the limit cut through.
    unfinished: Option<&'a [u8]>,
}

/// One field: name, colon, value, folding, line end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field<'a> {
    name: &'a [u8],
    /// The whole field.
    octets: &'a [u8],
    /// Where it starts in the message.
    start: usize,
    /// Where the value starts in the field.
    value: usize,
}

impl<'a> HeaderSection<'a> {
    /// The header section at the start of `content`: a whole message, or as much of it as
    /// [`HeaderScan::is_complete`] asked for, with the same limit of [`HEADER_LIMIT`].
    #[must_use]
    pub fn of(content: &'a [u8]) -> Self {
        Self::within(content, HEADER_LIMIT)
    }

    /// The same, looking at no more than `limit` octets.
    #[must_use]
    pub fn within(content: &'a [u8], limit: usize) -> Self {
        let cut = content.len() >= limit;
        let seen = if cut { content.get(..limit).unwrap_or_default() } else { content };
        let mut walk = Walk { fields: Vec::with_capacity(24), in_field: false };
        let mut line = 0;
        while let Some(rest) = seen.get(line..).filter(|rest| !rest.is_empty()) {
            let (text, whole) = match memchr(b'\n', rest) {
                Some(found) => (rest.get(..=found).unwrap_or(rest), true),
                None => (rest, false),
            };
            if whole && is_empty_line(text) {
                return Self::ending(content, line, walk.fields, Separator::EmptyLine);
            }
            if cut && !whole {
                break;
            }
            walk.line(seen, line, text);
            line += text.len();
        }
        if !cut {
            return Self::ending(content, seen.len(), walk.fields, Separator::EndOfMessage);
        }
        // Whether the last field ends at the limit or is folded beyond it can't be told: it isn't touched.
        let rest = seen.get(line..).unwrap_or_default();
        let unfinished = match name_of(rest) {
            Some((name, _)) => Some(name),
            None => walk.fields.pop().map(|field| field.name),
        };
        let Some(end) = walk.fields.last().map(|field| field.range().end).or(unfinished.map(|_| 0)) else {
            return Self::ending(content, 0, walk.fields, Separator::Missing);
        };
        let octets = content.get(..end).unwrap_or_default();
        Self { octets, fields: walk.fields, separator: Separator::Limit, unfinished }
    }

    fn ending(content: &'a [u8], end: usize, fields: Vec<Field<'a>>, separator: Separator) -> Self {
        // Text without a single field before the first empty line is a body that came without a header section.
        if fields.is_empty() && !(separator == Separator::EmptyLine && end == 0) {
            return Self { octets: &[], fields, separator: Separator::Missing, unfinished: None };
        }
        let octets = content.get(..end).unwrap_or_default();
        Self { octets, fields, separator, unfinished: None }
    }

    /// The fields, from the top.
    #[must_use]
    pub fn fields(&self) -> impl DoubleEndedIterator<Item = &Field<'a>> {
        self.fields.iter()
    }

    /// The fields of this name, without case, from the top.
    #[must_use]
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

    /// The name of the field that the limit cut through; it isn't among the fields.
    #[must_use]
    pub fn unfinished(&self) -> Option<&'a [u8]> {
        self.unfinished
    }

    /// What stands above the first field and isn't one: junk, a folded line, the `From ` line of an mbox file.
    #[must_use]
    pub fn leading_gap(&self) -> &'a [u8] {
        let end = self.fields.first().map_or(0, |field| field.start);
        self.octets.get(..end).unwrap_or_default()
    }
}

impl<'a> Field<'a> {
    /// Whether it has this name, without case.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// The name as written, without white space before the colon.
    #[must_use]
    pub fn name(&self) -> &'a [u8] {
        self.name
    }

    /// What stands behind the colon, folding and last line end included.
    #[must_use]
    pub fn raw_value(&self) -> &'a [u8] {
        self.octets.get(self.value..).unwrap_or_default()
    }

    /// The value unfolded (RFC 5322 §2.2.3) and trimmed.
    #[must_use]
    pub fn value(&self) -> Cow<'a, [u8]> {
        let raw = self.raw_value().trim_ascii();
        if memchr(b'\n', raw).is_none() {
            return Cow::Borrowed(raw);
        }
        Cow::Owned(raw.iter().copied().filter(|octet| !matches!(octet, b'\r' | b'\n')).collect())
    }

    /// The whole field, name and line end included.
    #[must_use]
    pub fn octets(&self) -> &'a [u8] {
        self.octets
    }

    /// Where the whole field stands in the message, line end included.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.start..self.start + self.octets.len()
    }
}

/// Collects fields line by line.
struct Walk<'a> {
    fields: Vec<Field<'a>>,
    /// Whether a folded line belongs to the last field, and not to a gap behind it.
    in_field: bool,
}

impl<'a> Walk<'a> {
    fn line(&mut self, content: &'a [u8], at: usize, line: &'a [u8]) {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            if let Some(field) = self.fields.last_mut().filter(|_| self.in_field) {
                field.octets = content.get(field.start..at + line.len()).unwrap_or_default();
            }
            return;
        }
        let named = name_of(line);
        self.in_field = named.is_some();
        if let Some((name, value)) = named {
            self.fields.push(Field { name, octets: line, start: at, value });
        }
    }
}

/// The field name a line begins with, and where its value starts. RFC 5322 §3.6.8: printable US-ASCII but the
/// colon; white space before the colon is the obsolete form of §4.5, which DKIM and parsers accept.
fn name_of(line: &[u8]) -> Option<(&[u8], usize)> {
    let colon = line.iter().position(|octet| !(b'!'..=b'~').contains(octet) || *octet == b':')?;
    let spaces = line.get(colon..)?.iter().take_while(|octet| matches!(octet, b' ' | b'\t')).count();
    let is_field = colon > 0 && line.get(colon + spaces) == Some(&b':');
    is_field.then(|| (line.get(..colon).unwrap_or_default(), colon + spaces + 1))
}

fn is_empty_line(line: &[u8]) -> bool {
    matches!(line, b"\r\n" | b"\n")
}

/// `content` without the `cut` ranges, which are in order and apart, as slices of it.
pub fn without<'a>(content: &'a [u8], cut: &'a [Range<usize>]) -> impl Iterator<Item = &'a [u8]> {
    let starts = std::iter::once(0).chain(cut.iter().map(|range| range.end));
    let ends = cut.iter().map(|range| range.start).chain(std::iter::once(content.len()));
    starts.zip(ends).filter_map(|(start, end)| content.get(start..end)).filter(|piece| !piece.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(content: &[u8]) -> Vec<String> {
        HeaderSection::of(content)
            .fields()
            .map(|field| String::from_utf8_lossy(field.name()).into_owned())
            .collect()
    }

    #[test]
    fn every_field_is_its_exact_bytes() {
        let content = b"A: 1\r\nB:2\r\n\tfolded\r\n more\r\nC : 3\r\n\r\nD: body\r\n";
        let header = HeaderSection::of(content);
        let octets: Vec<&[u8]> = header.fields().map(Field::octets).collect();
        assert_eq!(octets, [&b"A: 1\r\n"[..], b"B:2\r\n\tfolded\r\n more\r\n", b"C : 3\r\n"]);
        assert_eq!(header.separator(), Separator::EmptyLine);
        assert_eq!(header.octets(), &content[..content.len() - 11]);
        let values: Vec<_> = header.fields().map(|field| field.value().into_owned()).collect();
        assert_eq!(values, [&b"1"[..], b"2\tfolded more", b"3"]);
    }

    #[test]
    fn what_is_not_a_field_is_a_gap() {
        for (content, fields, gap, reason) in [
            (&b" \r\nA: 1\r\n\r\n"[..], &["A"][..], &b" \r\n"[..], "D17: folded first line"),
            (b"From a@b Mon Jan 1 00:00\r\nA: 1\r\n\r\n", &["A"], b"From a@b Mon Jan 1 00:00\r\n", "mbox"),
            (b"A: 1\r\njunk\r\n folded junk\r\nB: 2\r\n\r\n", &["A", "B"], b"", "D07: no colon"),
            (b"A: 1\r\n: nameless\r\nB: 2\r\n\r\n", &["A", "B"], b"", "no name"),
            (b"A: 1\r\n\xc3\xa9: 2\r\n\r\n", &["A"], b"", "8-bit name"),
        ] {
            let header = HeaderSection::of(content);
            assert_eq!(names(content), fields, "{reason}");
            assert_eq!(header.leading_gap(), gap, "{reason}");
        }
    }

    #[test]
    fn a_folded_line_behind_a_gap_is_not_part_of_the_field_before_it() {
        let header = HeaderSection::of(b"A: 1\r\njunk\r\n x\r\n\r\n");
        assert_eq!(header.fields().map(Field::octets).collect::<Vec<_>>(), [b"A: 1\r\n"]);
    }

    #[test]
    fn the_header_section_ends_where_it_must() {
        for (content, separator, reason) in [
            (&b""[..], Separator::Missing, "D02: empty message"),
            (b"\r\nbody", Separator::EmptyLine, "empty header section"),
            (b"hello\r\nbye\r\n", Separator::Missing, "D16: no header section"),
            (b"hello\r\n\r\nbye\r\n", Separator::Missing, "D16: an empty line within a body"),
            (b"A: 1\r\n", Separator::EndOfMessage, "no body"),
            (b"A: 1", Separator::EndOfMessage, "no line end"),
        ] {
            assert_eq!(HeaderSection::of(content).separator(), separator, "{reason}");
        }
    }

    #[test]
    fn behind_the_limit_nothing_is_looked_at() {
        let content = b"A: 1\r\nB: 2\r\n folded\r\nC: 3\r\n\r\nbody";
        for limit in 2..content.len() {
            let header = HeaderSection::within(content, limit);
            if limit >= 29 {
                assert_eq!(header.separator(), Separator::EmptyLine, "{limit}");
                continue;
            }
            assert_eq!(header.separator(), Separator::Limit, "{limit}");
            for field in header.fields() {
                assert!([&b"A: 1\r\n"[..], b"B: 2\r\n folded\r\n"].contains(&field.octets()), "{limit}");
            }
        }
        assert_eq!(HeaderSection::within(b"one long line of text", 5).separator(), Separator::Missing);
        assert_eq!(HeaderSection::within(content, 16).unfinished(), Some(&b"B"[..]));
        assert_eq!(HeaderSection::within(content, 12).unfinished(), Some(&b"B"[..]), "may be folded");
        assert_eq!(HeaderSection::within(content, 25).unfinished(), Some(&b"C"[..]));
    }

    #[test]
    fn a_scan_needs_no_more_than_the_empty_line() {
        let content = b"A: 1\r\nB: 2\r\n\r\nbody";
        let mut scan = HeaderScan::default();
        let complete: Vec<bool> = (0..content.len()).map(|end| scan.is_complete(&content[..end])).collect();
        assert_eq!(complete.iter().position(|complete| *complete), Some(14));
        assert!(HeaderScan::new(5).is_complete(content));
    }

    #[test]
    fn a_field_folded_ten_thousand_times_is_one_field() {
        let mut content = b"A: 1\r\n".to_vec();
        content.extend(b" x\r\n".repeat(10_000));
        content.extend(b"B: 2\r\n\r\n");
        assert_eq!(names(&content), ["A", "B"]);
    }

    proptest! {
        #[test]
        fn fields_and_gaps_are_the_header_section(content in "([A-Ca-c:\r\n \t]|\r\n){0,60}") {
            let content = content.as_bytes();
            let header = HeaderSection::of(content);
            let mut last = 0;
            for field in header.fields() {
                prop_assert!(field.range().start >= last);
                prop_assert_eq!(&content[field.range()], field.octets());
                last = field.range().end;
            }
            prop_assert!(last <= header.octets().len());
            let cuts: Vec<_> = header.fields().map(Field::range).collect();
            let rest: usize = without(content, &cuts).map(<[u8]>::len).sum();
            prop_assert_eq!(rest + cuts.iter().map(Range::len).sum::<usize>(), content.len());
        }

        #[test]
        fn a_scan_and_a_section_agree(content in "([A-B:x]|\r\n){0,40}", step in 1_usize..7) {
            let content = content.as_bytes();
            let mut scan = HeaderScan::default();
            let mut end = 0;
            let complete = loop {
                if scan.is_complete(&content[..end]) { break true; }
                if end == content.len() { break false; }
                end = content.len().min(end + step);
            };
            let seen = HeaderSection::of(&content[..end]);
            let all = HeaderSection::of(content);
            prop_assert_eq!(seen.octets(), all.octets());
            prop_assert!(complete || all.separator() != Separator::EmptyLine);
        }
    }
}
