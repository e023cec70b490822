//! A mail as lines: what is shown, how deep it is quoted, and a folded form that rules read.
//!
//! Promises: the text of a line is what the human sees, untouched; the folded form is only for matching. It is lower
//! case, of plain spaces and ASCII digits, without marks that no one sees (direction, zero width, emphasis). Nothing
//! here fails. Quotation depth follows RFC 3676 §4.5, with the spaces that real programs put between the marks.

use super::MOST_LINES;
use super::clients::Mark;
use super::colour::Colour;
use super::dates::{self, Address, Figures};
use super::device;
use super::headers::{self, Field};
use super::steps;
use std::cell::OnceCell;

/// Lines longer than this are folded only up to here: no attribution or header line is longer.
const FOLD_LIMIT: usize = 600;

/// Deeper quotation is all the same.
const DEEPEST: u8 = 64;

/// One line of a mail.
#[derive(Debug, Clone, Default)]
pub struct Line {
    /// As it is shown, quotation marks and all.
    pub text: String,
    /// What rules read: without quotation marks, in lower case, plain spaces, ASCII digits.
    pub folded: String,
    /// How deep it is quoted: `>` marks in plain text, quoting elements in HTML.
    pub depth: u8,
    /// What a mail program's own markup says about this line.
    pub mark: Option<Mark>,
    /// The text nodes it was made of, for HTML.
    pub nodes: Vec<usize>,
    /// The colours of its words in HTML, run by run, with the octets of each; black is none.
    pub colours: Vec<(Option<Colour>, usize)>,
    /// It links to what explains a notice, in HTML ([`super::notices::explains`]).
    pub is_explained: bool,
    /// It is quoted, and most of its words were sent by ourselves.
    pub is_ours: bool,
    /// A program wrote it into a text of ours: in a picture's place, or the rest of a link that it broke.
    pub is_programs: bool,
    /// What was found out about it.
    seen: Seen,
}

/// What was found out about a line. Rules look at a line again and again, from the lines around it: each thing is found
/// out once, or hostile mail would make it dear.
#[derive(Debug, Clone, Default)]
struct Seen {
    figures: OnceCell<Figures>,
    address: OnceCell<Address>,
    field: OnceCell<Option<Field>>,
    is_header: OnceCell<bool>,
    is_device: OnceCell<bool>,
}

impl Line {
    /// A line of plain text.
    pub fn plain(text: &str) -> Line {
        let (depth, content) = unquoted(text);
        Line { text: text.to_owned(), folded: fold(content), depth, ..Line::default() }
    }

    /// A line that was rendered from HTML.
    pub fn rendered(text: String, depth: u8, mark: Option<Mark>, nodes: Vec<usize>) -> Line {
        let (marks, content) = unquoted(&text);
        let folded = fold(content);
        let depth = depth.saturating_add(marks).min(DEEPEST);
        Line { text, folded, depth, mark, nodes, ..Line::default() }
    }

    /// Reads it as quoted so deep; `folded` is what is quoted.
    pub fn quote(&mut self, depth: u8, folded: String) {
        (self.depth, self.folded, self.seen) = (depth, folded, Seen::default());
    }

    /// Shows `text` in place of what it showed.
    pub fn reword(&mut self, text: String) {
        (self.folded, self.text, self.seen) = (fold(&text), text, Seen::default());
    }

    /// Nothing can be read on it.
    pub fn is_blank(&self) -> bool {
        steps::took(1);
        self.folded.is_empty()
    }

    /// Have any of its words a colour that is one of those?
    pub fn has_colour(&self, is_one: impl Fn(Colour) -> bool) -> bool {
        self.colours.iter().any(|(colour, _)| colour.is_some_and(&is_one))
    }

    /// Its figures that speak for a date.
    pub fn figures(&self) -> Figures {
        *self.seen.figures.get_or_init(|| dates::figures(&self.folded))
    }

    /// The address on it.
    pub fn address(&self) -> Address {
        *self.seen.address.get_or_init(|| dates::address(&self.folded))
    }

    /// What it says as a line of a header block, if it has the shape of one.
    pub fn field(&self) -> Option<Field> {
        steps::took(1);
        *self.seen.field.get_or_init(|| Field::of(&self.folded))
    }

    /// A whole header block stands on it.
    pub fn is_header(&self) -> bool {
        *self.seen.is_header.get_or_init(|| headers::in_one_line(self))
    }

    /// A device or a program advertises itself on it.
    pub fn is_device(&self) -> bool {
        *self.seen.is_device.get_or_init(|| device::is_device(&self.folded, &self.text))
    }
}

/// Splits plain text into lines, with CRLF, LF or CR as their end.
pub fn lines_of(text: &str) -> Vec<Line> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = Vec::new();
    for line in text.split('\n') {
        if lines.len() >= MOST_LINES {
            break;
        }
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.contains('\r') {
            lines.extend(line.split('\r').take(MOST_LINES).map(Line::plain));
        } else {
            match glued(line) {
                Some((front, attribution)) => lines.extend([Line::plain(front), Line::plain(attribution)]),
                None => lines.push(Line::plain(line)),
            }
        }
    }
    join_links(&mut lines);
    lines
}

/// The text with LF as the end of each line.
pub fn ended_alike(text: &str) -> String {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    text.replace("\r\n", "\n").replace('\r', "\n")
}

/// Conversions from HTML lose the line break in front of an attribution: "reply--- On Wed, … wrote:".
fn glued(line: &str) -> Option<(&str, &str)> {
    let end = line.trim_end();
    if !end.ends_with(':') || end.len() > 400 {
        return None;
    }
    let octets = line.as_bytes();
    steps::took(octets.len());
    let opens = |at: &usize| {
        let rest = octets.get(*at..).unwrap_or_default();
        OPENERS.iter().any(|(before, words)| {
            rest.split_first().is_some_and(|(first, rest)| before.contains(first) && rest.starts_with(words))
        })
    };
    let (front, attribution) = line.split_at_checked((0..octets.len()).rev().find(opens)? + 1)?;
    let own = front.trim_end_matches(['-', ' ', '\t']);
    let said = own.trim_matches(['>', ' ', '-', '*', '_']);
    let parted = said.chars().count() > 3
        && !own.trim_start().starts_with('>')
        && dates::figures(&fold(attribution)).is_stamp()
        && !dates::figures(&fold(front)).is_date();
    parted.then_some((own, attribution))
}

/// What opens an attribution in the midst of a line, and what may stand before it. Only forms with a capital: "on" is a
/// word like another.
const OPENERS: &[(&[u8], &[u8])] = &[
    (b" -.", b"On "),
    (b" ", b"Le "),
    (b" ", b"Am "),
    (b" ", b"Il giorno "),
    (b" ", b"El "),
    (b" ", b"Em "),
    (b" ", b"Op "),
    (b" ", b"Den "),
    (b" ", b"W dniu "),
    (b" ", b"Dne "),
];

/// Outlook on phones breaks "<mailto:…> wrote:" so that a line begins with ">", which is no quotation then.
fn join_links(lines: &mut [Line]) {
    for at in 2..lines.len() {
        // Nothing was found out about these lines so far, so that they may still be changed.
        let opens = lines.get(at - 2).is_some_and(|line| line.folded == "<")
            && lines.get(at - 1).is_some_and(|line| line.folded.starts_with("mailto:"));
        if let Some(line) = lines.get_mut(at).filter(|line| opens && line.depth == 1) {
            line.depth = 0;
            line.folded.insert_str(0, "> ");
        }
    }
}

/// Counts the quotation marks in front of a line and gives what follows them.
///
/// A mark is `>` or its HTML form; `>>>` of a program's prompt counts too, which [`super::weave`] weighs.
pub fn unquoted(text: &str) -> (u8, &str) {
    let mut depth = 0u8;
    let mut rest = text;
    loop {
        let trimmed = rest.trim_start_matches([
            ' ', '\t', '\u{a0}', '\u{200b}', '\u{200e}', '\u{200f}', '\u{202a}', '\u{202b}',
        ]);
        if let Some(after) = trimmed.strip_prefix('>') {
            depth = depth.saturating_add(1).min(DEEPEST);
            rest = after;
        } else {
            return (depth, if depth == 0 { text } else { rest });
        }
    }
}

/// Lower case, one plain space between words, ASCII digits and punctuation, nothing that can't be seen.
pub fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len().min(FOLD_LIMIT) + 8);
    let mut space = false;
    steps::took(text.len().min(FOLD_LIMIT));
    for character in text.chars() {
        if folded.len() >= FOLD_LIMIT {
            break;
        }
        match character {
            // What most mail is made of goes first.
            '!'..=')' | '+'..='~' => {}
            // Emphasis of plain text made from HTML (*From:* somebody), and what nobody sees.
            '*'
            | '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}'
            | '\u{feff}'
            | '\u{ad}'
            // Vowel signs of Arabic, and the stroke that lengthens a word: some write them, some don't.
            | '\u{640}'
            | '\u{64b}'..='\u{652}' => continue,
            _ if character.is_whitespace() || character.is_control() => {
                space = true;
                continue;
            }
            _ => {}
        }
        if space && !folded.is_empty() {
            folded.push(' ');
        }
        space = false;
        push_folded(&mut folded, character);
    }
    folded
}

fn push_folded(folded: &mut String, character: char) {
    if character.is_ascii() {
        folded.push(character.to_ascii_lowercase());
        return;
    }
    match character {
        '\u{ff1a}' | '\u{fe55}' | '\u{2236}' | '\u{1361}' | '\u{1365}' | '\u{1366}' => folded.push(':'),
        '\u{1363}' => folded.push(','),
        '\u{ff1c}' | '\u{3008}' => folded.push('<'),
        '\u{ff1e}' | '\u{3009}' => folded.push('>'),
        '\u{2018}' | '\u{2019}' | '\u{2bc}' | '\u{b4}' => folded.push('\''),
        '\u{201c}' | '\u{201d}' | '\u{201e}' | '\u{ab}' | '\u{bb}' => folded.push('"'),
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{2500}' | '\u{2501}' | '\u{ff0d}' => folded.push('-'),
        _ => match digit(character) {
            Some(digit) => folded.push(digit),
            // "İ" folds to "i" and a dot above it, which no table spells.
            None => folded.extend(character.to_lowercase().filter(|lower| *lower != '\u{307}')),
        },
    }
}

/// The ASCII digit of a decimal digit in the scripts that mail programs write dates in.
fn digit(character: char) -> Option<char> {
    let zeros = [0x660, 0x6f0, 0x966, 0x9e6, 0xe50, 0xff10];
    let code = u32::from(character);
    zeros
        .iter()
        .find(|zero| (**zero..**zero + 10).contains(&code))
        .and_then(|zero| char::from_digit(code - zero, 10))
}

#[cfg(test)]
mod tests {
    use super::{Line, fold, lines_of};

    #[test]
    fn depth_counts_marks_with_and_without_spaces() {
        let depths = |text| lines_of(text).iter().map(|line| line.depth).collect::<Vec<_>>();
        assert_eq!(depths("a\n> b\n>> c\r\n> > > d\r>e\n a > b"), [0, 1, 2, 3, 1, 0]);
    }

    #[test]
    fn folding_keeps_what_is_read_and_drops_what_is_not() {
        assert_eq!(fold("  *From:*\u{a0}\u{200e}Ana  "), "from: ana");
        assert_eq!(fold("في ١٣ يونيو ٢٠٢٤"), "في 13 يونيو 2024");
        assert_eq!(fold("发件人：A＜a@b＞"), "发件人:a<a@b>");
        assert_eq!(fold("İLETİ"), "ileti");
        assert_eq!(fold("\u{202b}أُرسلت من هاتفي\u{202c}"), "أرسلت من هاتفي");
        assert_eq!(fold("ቀን፦ 12"), "ቀን: 12");
    }

    #[test]
    fn a_quoted_line_keeps_its_text_whole() {
        let line = Line::plain("> > Hi *you*");
        assert_eq!((line.text.as_str(), line.folded.as_str(), line.depth), ("> > Hi *you*", "hi you", 2));
    }
}
