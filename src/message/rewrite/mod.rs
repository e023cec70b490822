//! Rewriting: what of a message's header section is changed for the smarthost it leaves by, or by a rule.
//!
//! [`from`] makes From, Sender, Reply-To and the envelope sender such that a smarthost accepts them; [`rules`] carries
//! out `[[rewrite]]`. Promises: what isn't named stays byte for byte and in order; what is written is folded US-ASCII
//! but for addresses that need SMTPUTF8; each change is told in words for the journal. Nothing here fails.
//! (RFC 5322 §3.6.2, RFC 6409 §8.1.)

pub mod list;
pub mod phrase;
pub mod from;
pub mod answers;
pub mod rules;
mod signature;

use super::fields::{HeaderSection, Separator};
use std::ops::Range;

/// Cuts and insertions in the header section of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edits {
    /// Ranges of the message, apart from one another, and what stands there instead.
    splices: Vec<(Range<usize>, Vec<u8>)>,
    /// Which of them adds fields at the end of the header section.
    appended: Option<usize>,
}

/// The beginning of a message as edited; behind it the message goes on as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The new beginning.
    pub octets: Vec<u8>,
    /// How many octets of the message it stands for.
    pub replaces: usize,
}

impl Edits {
    /// Whether nothing is changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.splices.is_empty()
    }

    /// Takes out a range.
    fn cut(&mut self, range: Range<usize>) {
        self.splices.push((range, Vec::new()));
    }

    /// Puts a whole field where a range stood; an empty range inserts.
    fn put(&mut self, range: Range<usize>, field: Vec<u8>) {
        self.splices.push((range, field));
    }

    /// Adds a whole field at the end of the header section.
    fn append(&mut self, header: &HeaderSection<'_>, field: &[u8]) {
        let end = header.octets().len();
        // Where no line separates header section and body, one does behind the last field that is added.
        let separator: &[u8] = if header.separator() == Separator::Missing { b"\r\n" } else { b"" };
        if let Some((_, octets)) = self.appended.and_then(|number| self.splices.get_mut(number)) {
            octets.truncate(octets.len().saturating_sub(separator.len()));
            octets.extend_from_slice(field);
            return octets.extend_from_slice(separator);
        }
        let is_open = end > 0 && !header.octets().ends_with(b"\n");
        let octets = [if is_open { b"\r\n" } else { &b""[..] }, field, separator].concat();
        self.appended = Some(self.splices.len());
        self.splices.push((end..end, octets));
    }

    /// The edited beginning of `content`, as short as it can be: up to the last change.
    #[must_use]
    pub fn head(mut self, content: &[u8]) -> Head {
        // Stable, so that what is added at one place comes in the order it was added.
        self.splices.sort_by_key(|(range, _)| (range.start, range.end));
        let added: usize = self.splices.iter().map(|(_, field)| field.len()).sum();
        let replaces = self.splices.iter().map(|(range, _)| range.end).max().unwrap_or(0);
        let mut octets = Vec::with_capacity(replaces + added);
        let mut at = 0;
        for (range, field) in &self.splices {
            octets.extend_from_slice(content.get(at..range.start).unwrap_or_default());
            octets.extend_from_slice(field);
            at = range.end;
        }
        Head { octets, replaces }
    }
}

/// Addresses in words: the first three, and how many more.
fn listed<T: AsRef<str>>(words: impl ExactSizeIterator<Item = T>) -> String {
    const SHOWN: usize = 3;
    let more = words.len().saturating_sub(SHOWN);
    let mut text = words.take(SHOWN).map(|word| word.as_ref().to_owned()).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_ends_with_the_last_change() {
        let content = b"A: 1\r\nB: 2\r\nC: 3\r\n\r\nbody";
        let mut edits = Edits::default();
        edits.put(12..12, b"D: 4\r\n".to_vec());
        edits.cut(0..6);
        edits.put(12..12, b"E: 5\r\n".to_vec());
        edits.put(6..12, b"F: 6\r\n".to_vec());
        let head = edits.head(content);
        assert_eq!(head, Head { octets: b"F: 6\r\nD: 4\r\nE: 5\r\n".to_vec(), replaces: 12 });
        let nothing = Edits::default().head(content);
        assert_eq!(nothing, Head { octets: vec![], replaces: 0 });
    }

    #[test]
    fn fields_that_are_added_to_a_message_without_a_header_section_stand_together_above_it() {
        let added = |content: &str| {
            let mut edits = Edits::default();
            for field in [b"A: 1\r\n", b"B: 2\r\n"] {
                edits.append(&HeaderSection::of(content.as_bytes()), field);
            }
            let head = edits.head(content.as_bytes());
            String::from_utf8([&head.octets, &content.as_bytes()[head.replaces..]].concat()).unwrap()
        };
        assert_eq!(added("Too hot\r\n"), "A: 1\r\nB: 2\r\n\r\nToo hot\r\n");
        assert_eq!(added("C: 3\r\n\r\nbody"), "C: 3\r\nA: 1\r\nB: 2\r\n\r\nbody");
        assert_eq!(added("C: 3"), "C: 3\r\nA: 1\r\nB: 2\r\n");
    }

    #[test]
    fn a_long_list_is_told_by_its_first_three() {
        assert_eq!(listed(["a", "b", "c"].iter()), "a, b, c");
        assert_eq!(listed(["a", "b", "c", "d", "e"].iter()), "a, b, c and 2 more");
    }
}
