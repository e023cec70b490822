//! Display names (RFC 5322 §3.2.5 phrase), read leniently and written strictly; encoded words (RFC 2047); folding.
//!
//! Promises: what is written is US-ASCII, can't end its field or its name, and says what the original said. Atoms and
//! encoded words stay as they came, but for those that no line may hold; anything else is quoted, and what isn't US-ASCII
//! becomes encoded words of at most 75 octets, none of which parts a character. Nothing here fails.

use crate::message::decode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::borrow::Cow;

/// Where a field is folded (RFC 5322 §2.1.1).
const WIDTH: usize = 78;
/// Octets in a line that holds an encoded word (RFC 2047 §2).
const ENCODED_WIDTH: usize = 76;
/// A word of more octets can't stand in a line; it is written as encoded words, which can be folded.
const MAX_WORD: usize = 900;
/// Octets in an encoded word (RFC 2047 §2).
const MAX_ENCODED: usize = 75;
/// Octets in the first of several: the name of a field that takes them stands in its line.
const FIRST_ENCODED: usize = 60;
/// Octets of a name that are kept; nobody is called by more.
const MAX_NAME: usize = 2000;
const B_START: &str = "=?utf-8?b?";
const Q_START: &str = "=?utf-8?q?";

/// A display name of at least one word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phrase(Vec<Word>);

/// A word of a phrase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// An atom, or an encoded word: may stand as it is.
    Atom(String),
    /// Any other text, without its quotes.
    Text(String),
}

impl Word {
    /// A word without quotes.
    #[must_use]
    pub fn of_atom(octets: &[u8]) -> Self {
        let text = std::str::from_utf8(octets).ok();
        let again = || text.filter(|text| is_encoded_word(text)).and_then(encoded_again);
        match text.filter(|text| is_atom(text)).map(str::to_owned).or_else(again) {
            Some(atom) => Self::Atom(atom),
            None => Self::Text(decode(octets)),
        }
    }

    /// A quoted string with its quotes; the closing one may be missing.
    #[must_use]
    pub fn of_quoted(octets: &[u8]) -> Self {
        Self::Text(decode(&unescaped(octets, b'"')))
    }

    /// The words of a comment with its parentheses; the closing one may be missing. Encoded words count in it (RFC 2047 §5).
    #[must_use]
    pub fn of_comment(octets: &[u8]) -> Vec<Self> {
        let mut words: Vec<Self> = Vec::new();
        for piece in decode(&unescaped(octets, b')')).split(' ') {
            let word = if is_encoded_word(piece) {
                Self::of_atom(piece.as_bytes())
            } else {
                Self::Text(piece.to_owned())
            };
            match (words.last_mut(), word) {
                (Some(Self::Text(last)), Self::Text(more)) => *last = format!("{last} {more}"),
                (_, word) => words.push(word),
            }
        }
        words.retain(|word| !word.text().trim().is_empty());
        words
    }

    /// Makes one word of this and what touches it.
    pub fn join(&mut self, other: &Self) {
        let mut text = match self {
            Self::Atom(text) | Self::Text(text) => std::mem::take(text),
        };
        text.push_str(other.text());
        *self = Self::Text(text);
    }

    fn text(&self) -> &str {
        match self {
            Self::Atom(text) | Self::Text(text) => text,
        }
    }

    fn is_encoded(&self) -> bool {
        matches!(self, Self::Atom(text) if is_encoded_word(text))
    }
}

impl Phrase {
    /// Of words, cut to 2000 octets; none of nothing but white space.
    #[must_use]
    pub fn new(mut words: Vec<Word>) -> Option<Self> {
        let mut room = MAX_NAME;
        words.retain_mut(|word| {
            if let Word::Text(text) = word {
                text.truncate(text.floor_char_boundary(room));
            }
            let fits = word.text().len() <= room && room > 0;
            room = room.saturating_sub(word.text().len() + 1);
            fits
        });
        words.iter().any(|word| !word.text().trim().is_empty()).then_some(Self(words))
    }

    /// Of plain text, as an admin writes it; none of white space alone.
    #[must_use]
    pub fn of_text(text: &str) -> Option<Self> {
        let atoms = text.split(' ').all(|word| is_atom(word) && !is_encoded_word(word));
        let word = |word: &str| if atoms { Word::Atom(word.to_owned()) } else { Word::Text(word.to_owned()) };
        if atoms { Self::new(text.split(' ').map(word).collect()) } else { Self::new(vec![word(text)]) }
    }

    /// Its words, encoded ones not decoded.
    #[must_use]
    pub fn text(&self) -> String {
        self.0.iter().map(Word::text).collect::<Vec<_>>().join(" ").trim().to_owned()
    }

    /// As it may stand in front of `<`.
    #[must_use]
    pub fn written(&self) -> String {
        let plain = |word: &Word| matches!(word, Word::Atom(_));
        if !self.0.iter().any(Word::is_encoded) {
            return if self.0.iter().all(plain) { self.text() } else { written_text(&self.text()) };
        }
        // White space between two encoded words isn't shown (RFC 2047 §6.2), so it goes into the new one.
        let mut written: Vec<String> = Vec::new();
        let mut behind_encoded = false;
        for (index, word) in self.0.iter().enumerate() {
            match word {
                Word::Atom(atom) => written.push(in_lines(atom).into_owned()),
                Word::Text(text) if text.is_ascii() => written.push(written_text(text)),
                Word::Text(text) => {
                    let before = if behind_encoded { " " } else { "" };
                    let after = if self.0.get(index + 1).is_some_and(Word::is_encoded) { " " } else { "" };
                    written.push(encoded_words(&format!("{before}{text}{after}")));
                }
            }
            behind_encoded = word.is_encoded() || !word.text().is_ascii();
        }
        written.join(" ")
    }
}

/// An encoded word of more octets than one may have (RFC 2047 §2), as several; where it can't be read, as it is.
fn in_lines(atom: &str) -> Cow<'_, str> {
    if atom.len() <= MAX_ENCODED || !is_encoded_word(atom) {
        return Cow::Borrowed(atom);
    }
    encoded_again(atom).map_or(Cow::Borrowed(atom), Cow::Owned)
}

/// What an encoded word says, encoded as a phrase may have it; none where it can't be read.
fn encoded_again(word: &str) -> Option<String> {
    let text = decode::text(word.as_bytes(), MAX_NAME);
    let is_read = !text.contains('\u{fffd}') && !text.contains("=?");
    is_read.then(|| encoded_words(&text))
}

/// Text as a quoted string, or as encoded words.
fn written_text(text: &str) -> String {
    if text.is_ascii() && text.len() <= MAX_WORD {
        let mut quoted = String::from("\"");
        for c in text.chars() {
            if matches!(c, '"' | '\\') {
                quoted.push('\\');
            }
            quoted.push(c);
        }
        quoted.push('"');
        return quoted;
    }
    encoded_words(text)
}

/// Text as encoded words with a space between them, in the shorter of the two encodings. The first is short enough to
/// stand behind a field's name.
#[must_use]
pub fn encoded_words(text: &str) -> String {
    let quoted: usize =
        text.bytes().map(|octet| if is_q_plain(octet) || octet == b' ' { 1 } else { 3 }).sum();
    let use_b = quoted > text.len() / 3 * 4 + 4;
    let room_in = |length: usize| {
        let room = length - Q_START.len() - 2;
        if use_b { room / 4 * 3 } else { room }
    };
    let mut room = room_in(FIRST_ENCODED);
    let mut words = Vec::new();
    let mut piece = String::new();
    let mut used = 0;
    for c in text.chars() {
        let mut octets = [0; 4];
        let octets = c.encode_utf8(&mut octets).as_bytes();
        let cost = if use_b || octets.iter().all(|octet| is_q_plain(*octet) || *octet == b' ') {
            octets.len()
        } else {
            3 * octets.len()
        };
        if used + cost > room {
            words.push(encoded_word(&std::mem::take(&mut piece), use_b));
            (used, room) = (0, room_in(MAX_ENCODED));
        }
        piece.push(c);
        used += cost;
    }
    words.push(encoded_word(&piece, use_b));
    words.join(" ")
}

fn encoded_word(text: &str, use_b: bool) -> String {
    if use_b {
        return format!("{B_START}{}?=", STANDARD.encode(text));
    }
    let mut word = String::from(Q_START);
    for octet in text.bytes() {
        match octet {
            b' ' => word.push('_'),
            _ if is_q_plain(octet) => word.push(char::from(octet)),
            _ => word.push_str(&format!("={octet:02X}")),
        }
    }
    word + "?="
}

/// What may stand as it is in an encoded word of a phrase (RFC 2047 §5 rule 3).
fn is_q_plain(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"!*+-/".contains(&octet)
}

/// RFC 5322 §3.2.3, and short enough for a line.
fn is_atom(text: &str) -> bool {
    let atext = |octet: u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&octet);
    (1..=MAX_WORD).contains(&text.len()) && text.bytes().all(atext)
}

fn is_encoded_word(text: &str) -> bool {
    text.len() > 6 && text.starts_with("=?") && text.ends_with("?=")
}

/// Octets that ought to be US-ASCII: UTF-8 if they are, else one character each. Controls are left out, and line
/// ends and tabs are spaces.
fn decode(octets: &[u8]) -> String {
    let clean = |text: &str| -> String {
        let spaced = text.replace("\r\n", "").replace(['\t', '\n', '\r'], " ");
        spaced.chars().filter(|c| !c.is_control()).collect()
    };
    match std::str::from_utf8(octets) {
        Ok(text) => clean(text),
        Err(_) => clean(&octets.iter().copied().map(char::from).collect::<String>()),
    }
}

/// What stands between quotes or parentheses, backslashes obeyed.
fn unescaped(octets: &[u8], end: u8) -> Vec<u8> {
    let mut text = Vec::with_capacity(octets.len());
    let mut escaped = false;
    let inside = octets.get(1..).unwrap_or_default();
    for (index, &octet) in inside.iter().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' => {
                escaped = true;
                continue;
            }
            _ if octet == end && index + 1 == inside.len() => break,
            _ => {}
        }
        text.push(octet);
    }
    text
}

/// A whole field, folded at white space so that lines have 78 octets where that can be, and 76 with an encoded word.
/// `value` is US-ASCII or UTF-8 without line ends.
#[must_use]
pub fn field(name: &str, value: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + value.len() + value.len() / 16 + 4);
    out.extend_from_slice(name.as_bytes());
    out.push(b':');
    let (mut length, mut width) = (out.len(), WIDTH);
    for (index, piece) in unbreakable(value).enumerate() {
        // The space in front of it.
        let own = piece.len() + 1;
        let own_width = if holds_encoded_word(piece) { ENCODED_WIDTH } else { WIDTH };
        // Not behind the name, which some take for an empty field, unless an encoded word finds no other room.
        let may_fold = index > 0 || own_width == ENCODED_WIDTH && own <= ENCODED_WIDTH;
        if length + own > width.min(own_width) && may_fold {
            out.extend_from_slice(b"\r\n");
            (length, width) = (0, WIDTH);
        }
        out.push(b' ');
        out.extend_from_slice(piece.as_bytes());
        length += own;
        width = width.min(own_width);
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// What can't be folded, without the one space in front of it. Not parted are a backslash and what it quotes, nor a run of
/// spaces, some of which would stand at a line's end.
fn unbreakable(value: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        let text = rest.take()?;
        let octets = text.as_bytes();
        let is_fold = |at: &usize| {
            let before = at.checked_sub(1).and_then(|before| octets.get(before));
            let next = octets.get(at + 1);
            before.is_some_and(|before| !matches!(before, b' ' | b'\\'))
                && next.is_some_and(|next| *next != b' ')
        };
        let Some(at) = memchr::memchr_iter(b' ', octets).find(is_fold) else { return Some(text) };
        rest = text.get(at + 1..);
        text.get(..at)
    })
}

fn holds_encoded_word(piece: &str) -> bool {
    piece.find("=?").is_some_and(|start| piece.get(start + 2..).is_some_and(|rest| rest.contains("?=")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::decode;
    use proptest::prelude::*;

    fn written(words: &[Word]) -> String {
        Phrase::new(words.to_vec()).unwrap().written()
    }

    fn atom(text: &str) -> Word {
        Word::of_atom(text.as_bytes())
    }

    #[test]
    fn names_say_what_they_said() {
        let quoted = |text: &str| Word::of_quoted(text.as_bytes());
        let comment = |text: &str| Word::of_comment(text.as_bytes());
        for (words, expected, reason) in [
            (vec![atom("Ana"), atom("Lopez")], "Ana Lopez", "atoms"),
            (vec![quoted("\"Lopez, Ana\"")], "\"Lopez, Ana\"", "quoted"),
            (vec![atom("John"), atom("Q."), atom("Public")], "\"John Q. Public\"", "a dot is no atom"),
            (vec![quoted("\"say \\\"hi\\\" \\\\\"")], "\"say \\\"hi\\\" \\\\\"", "escapes"),
            (vec![quoted("\"open")], "\"open\"", "no closing quote"),
            (vec![quoted("\"x\\\"")], "\"x\\\"\"", "an escaped closing quote"),
            (vec![atom("=?utf-8?q?Zo=C3=AB?=")], "=?utf-8?q?Zo=C3=AB?=", "an encoded word stays"),
            (
                vec![atom("=?utf-8?Q?Shop.com?=")],
                "=?utf-8?q?Shop=2Ecom?=",
                "what no encoded word of a phrase has",
            ),
            (vec![atom("=?utf-8?Q?=C3,?=")], "\"=?utf-8?Q?=C3,?=\"", "one that can't be read"),
            (comment("(Ana (the \\) boss))"), "\"Ana (the ) boss)\"", "a comment"),
            (comment("(=?utf-8?q?Zo=C3=AB?=)"), "=?utf-8?q?Zo=C3=AB?=", "an encoded word in a comment"),
            (
                comment("( =?utf-8?q?Zo=C3=AB?= L.\r\n Lee)"),
                "=?utf-8?q?Zo=C3=AB?= \"L. Lee\"",
                "among others",
            ),
            (
                comment("(=?utf-8?q?Shop,_Inc.?=)"),
                "=?utf-8?q?Shop=2C_Inc=2E?=",
                "RFC 2047 §5 allows more in comments",
            ),
            (vec![quoted("\"=?utf-8?q?Zo=C3=AB?=\"")], "\"=?utf-8?q?Zo=C3=AB?=\"", "also where it is none"),
            (vec![atom("Zoë")], "=?utf-8?q?Zo=C3=AB?=", "raw UTF-8"),
            (vec![Word::of_atom(b"Zo\xeb")], "=?utf-8?q?Zo=C3=AB?=", "raw Latin-1"),
            (
                vec![atom("=?utf-8?q?a?="), atom("ż"), atom("=?utf-8?q?b?=")],
                "=?utf-8?q?a?= =?utf-8?q?_=C5=BC_?= =?utf-8?q?b?=",
                "spaces between encoded words",
            ),
            (vec![atom("=?utf-8?q?a?="), quoted("\"b, c\"")], "=?utf-8?q?a?= \"b, c\"", "encoded and quoted"),
            (vec![quoted("\"tab\tnul\0bell\x07\"")], "\"tab nulbell\"", "controls"),
        ] {
            assert_eq!(written(&words), expected, "{reason}");
        }
        assert_eq!(Phrase::new(vec![quoted("\"  \"")]), None);
        for (text, expected) in [
            ("Shop", "Shop"),
            ("My Shop", "My Shop"),
            ("Shop, Inc.", "\"Shop, Inc.\""),
            ("Sklep Małgosia", "=?utf-8?q?Sklep_Ma=C5=82gosia?="),
            ("=?utf-8?q?x?=", "\"=?utf-8?q?x?=\""),
            ("店舗", "=?utf-8?b?5bqX6IiX?="),
        ] {
            assert_eq!(Phrase::of_text(text).unwrap().written(), expected);
        }
        assert_eq!(Phrase::of_text(" "), None);
    }

    #[test]
    fn fields_are_folded_at_spaces_only() {
        let name = format!("\"{}\"", "word ".repeat(20).trim());
        let folded = String::from_utf8(field("From", &format!("{name} <a@x.test>"))).unwrap();
        assert_eq!(
            folded,
            format!(
                "From: \"{}\r\n {}\" <a@x.test>\r\n",
                "word ".repeat(14).trim_end(),
                "word ".repeat(6).trim_end()
            )
        );
        assert_eq!(field("From", "a@x.test"), b"From: a@x.test\r\n");
        let long = "x".repeat(100);
        assert_eq!(field("A", &long), format!("A: {long}\r\n").into_bytes(), "nowhere to fold");
        let escaped = format!("\"{}\\ y\"", "x".repeat(90));
        assert_eq!(field("A", &escaped), format!("A: {escaped}\r\n").into_bytes(), "not behind a backslash");
    }

    #[test]
    fn lines_with_an_encoded_word_have_at_most_76_octets() {
        let word = |length: usize| format!("=?x?q?{}?=", "a".repeat(length - 8));
        let folded = |name: &str, value: String| String::from_utf8(field(name, &value)).unwrap();
        for (first, rest, reason) in [
            (70, " <a@x.test>", "From: and a word of 70 fill a line"),
            (71, "", "one that came and has no room there goes below"),
            (75, " <a@x.test>", "the longest"),
        ] {
            let lines = folded("From", word(first) + rest);
            assert_eq!(lines.replace("\r\n ", " "), format!("From: {}{rest}\r\n", word(first)), "{reason}");
            assert!(lines.lines().all(|line| line.len() <= 76), "{reason}: {lines}");
        }
        assert_eq!(
            folded("A", format!("{} bb", word(71))),
            format!("A: {}\r\n bb\r\n", word(71)),
            "77 with it"
        );
        assert_eq!(
            folded("A", format!("{} {}", "b".repeat(70), word(9))),
            format!("A: {}\r\n {}\r\n", "b".repeat(70), word(9))
        );
        // As some programs send them: more octets than one may have.
        let long = format!("=?utf-8?b?{}?=", STANDARD.encode("Zażółć gęślą jaźń ".repeat(6).trim_end()));
        let name = Phrase::new(vec![atom(&long), atom("Ltd")]).unwrap().written();
        assert!(name.split(' ').all(|word| word.len() <= MAX_ENCODED), "{name}");
        assert_eq!(
            decode::text(name.as_bytes(), 1000),
            format!("{} Ltd", "Zażółć gęślą jaźń ".repeat(6).trim_end())
        );
        let unknown = format!("=?x-nobody?b?{}?=", STANDARD.encode([0xff; 90]));
        assert_eq!(Phrase::new(vec![atom(&unknown)]).unwrap().written(), unknown, "unreadable");
    }

    proptest! {
        #[test]
        fn encoded_words_decode_to_what_they_encode(text in "[a-zA-Z ?=_żółćß漢字🙂,.\"]{1,300}") {
            let encoded = encoded_words(&text);
            for word in encoded.split(' ') {
                prop_assert!(word.len() <= MAX_ENCODED && word.is_ascii(), "{word}");
                prop_assert!(is_encoded_word(word));
            }
            let decoded = decode::text(encoded.as_bytes(), 1000);
            prop_assert_eq!(decoded.trim(), text.trim());
        }

        #[test]
        fn no_line_with_an_encoded_word_is_too_long(
            name in prop::sample::select(vec!["From", "Reply-To", "Resent-Sender", "Content-Description"]),
            words in prop::collection::vec("[a-z,]{1,12}|[żółć漢 .]{1,90}", 1..6)
        ) {
            let written = words.iter().map(|word| match Phrase::of_text(word) {
                Some(phrase) => format!("{} <a@x.test>", phrase.written()),
                None => "b@y.test".to_owned(),
            });
            let value = written.collect::<Vec<_>>().join(", ");
            let folded = String::from_utf8(field(name, &value)).unwrap();
            prop_assert_eq!(folded.replace("\r\n ", " "), format!("{name}: {value}\r\n"));
            for line in folded.split_terminator("\r\n") {
                prop_assert!(line.len() <= if line.contains("=?") { 76 } else { 78 }, "{}", line);
            }
        }

        #[test]
        fn a_field_unfolds_to_what_it_was(value in "[a-z\"<>@\\\\ ]{1,400}") {
            let folded = String::from_utf8(field("From", &value)).unwrap();
            prop_assert_eq!(folded.replace("\r\n ", " "), format!("From: {value}\r\n"));
            for line in folded.split_terminator("\r\n").skip(1) {
                prop_assert!(line.starts_with(' ') && !line.trim().is_empty());
            }
        }

        #[test]
        fn any_name_is_written_in_ascii_and_reads_as_one_name(octets in prop::collection::vec(any::<u8>(), 1..80)) {
            for words in [vec![Word::of_atom(&octets)], vec![Word::of_quoted(&octets)], Word::of_comment(&octets)] {
                let Some(phrase) = Phrase::new([vec![atom("=?utf-8?q?a?=")], words].concat()) else { continue };
                let written = phrase.written();
                prop_assert!(written.is_ascii() && !written.bytes().any(|octet| octet.is_ascii_control()));
                let list = super::super::list::AddressList::of(format!("{written} <a@x.test>").as_bytes());
                let found: Vec<String> = list.addresses().map(ToString::to_string).collect();
                prop_assert_eq!((list.entries.len(), found), (1, vec!["a@x.test".to_owned()]));
            }
        }
    }
}
