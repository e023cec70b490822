//! Header blocks that programs put above a quotation: "From: … Sent: … To: … Subject: …", in any language.
//!
//! Promises: linear; a form that a person filled in ("From: 12 June", "To: 15 June", "Guests: 2") is none. A block
//! must say who wrote and when or about what; where its labels aren't known, an address and an hour must stand in it.

use super::super::conversation::is_prefix;
use super::clients::Mark;
use super::dates::{Address, Figures, address, figures};
use super::labels::{Label, label, says_sent};
use super::line::Line;
use super::separators::is_ruler;

/// A block is at most so many lines, addresses that run over the line included.
const MAX_LINES: usize = 40;

/// What stands above and below a block is looked for in so many lines.
const NEAR: usize = 4;

/// So many places in a block are looked at, whether another one begins there.
const MOST_BEGUN: usize = 3;

/// A header block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// The line behind its last.
    pub end: usize,
    /// Its labels are of the tables, not only of the right shape.
    pub known: bool,
    by: By,
}

/// Who wrote a block, as far as its form tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// Only a program writes so.
    Program,
    /// Somebody may have typed a mail's fields, or it is a device that knows no addresses.
    Hand,
    /// A person's form has such labels, too.
    Anybody,
}

/// What a line says as one of a header block.
#[expect(clippy::struct_excessive_bools, reason = "facts that occur in any combination")]
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// The kind of its label, if any program writes it.
    label: Option<Label>,
    /// "Re:", which is a label of programs and stands in front of subjects, too.
    is_re: bool,
    /// Something stands behind the label.
    is_filled: bool,
    address: Address,
    /// It is a sender or a recipient: an address, or a name with one, and nothing more.
    is_addressed: bool,
    /// The label says "sent".
    is_sent: bool,
    /// It is the subject of an answer, or of what was passed on: "Re: …".
    is_answer: bool,
    /// It ends with a zone: "-0600".
    is_zoned: bool,
    figures: Figures,
}

impl Field {
    /// Reads a folded line; `None` if it hasn't the shape.
    pub fn of(folded: &str) -> Option<Field> {
        let (word, value) = split(folded)?;
        Some(Field {
            label: label(word),
            is_re: word == "re",
            is_filled: !value.is_empty(),
            address: address(value),
            is_addressed: is_addressed(value),
            is_sent: says_sent(word),
            is_answer: value.split_once(':').is_some_and(|(word, _)| is_prefix(word.trim())),
            is_zoned: is_zoned(value),
            figures: figures(value),
        })
    }

    /// Its label is one that programs write.
    pub fn is_labelled(self) -> bool {
        self.label.is_some()
    }
}

/// Is it a line with a label and something behind it?
pub fn is_field(line: &Line) -> bool {
    line.field().is_some_and(|field| field.is_filled)
}

/// What the lines of a block have said so far.
#[expect(clippy::struct_excessive_bools, reason = "facts that occur in any combination")]
#[derive(Default)]
struct Seen {
    /// A bit for each kind of label.
    kinds: u8,
    /// The first three labels.
    first: [Option<Label>; 3],
    /// Lines with a label of the tables, and with another.
    known: usize,
    unknown: usize,
    address: bool,
    marked_first: bool,
    stamp: bool,
    moment: bool,
    /// The line of the sender has an address and nothing behind it.
    sender: bool,
    /// As many lines have one.
    addressed: usize,
    /// The line of the date has one, and perhaps an hour.
    dated: bool,
    /// And its label says "sent".
    sent: bool,
    /// And it has an hour.
    sent_at: bool,
    /// The subject is an answer's.
    answer: bool,
    /// And it has a zone, as in the header section of a mail.
    zoned: bool,
}

impl Seen {
    fn has(&self, kind: Label) -> bool {
        self.kinds & bit(kind) != 0
    }

    fn is_begun(&self) -> bool {
        self.known + self.unknown > 0
    }

    fn is_block(&self) -> bool {
        let from = self.has(Label::From);
        let told =
            [Label::Date, Label::Subject, Label::To].into_iter().filter(|kind| self.has(*kind)).count();
        // Who and about what, with when or an address beside it.
        let strong = from
            && self.has(Label::Subject)
            && (self.has(Label::Date) || self.has(Label::To) || self.address);
        // An itinerary has these three too, but neither in Outlook's order nor with day and hour on one line.
        let ordered = self.first == [Label::From, Label::Date, Label::To].map(Some) && self.moment;
        let dated = from && self.has(Label::Date) && self.stamp && (self.address || ordered);
        let addressed = from && self.has(Label::To) && self.address && (self.has(Label::Cc) || told > 1);
        let without_sender =
            self.has(Label::Subject) && self.has(Label::Date) && self.has(Label::To) && self.stamp;
        let returned = self.has(Label::Date) && self.stamp && self.has(Label::To) && self.address;
        strong || dated || addressed || without_sender || returned
    }

    /// Only a program writes so. A transfer, a payment, or a contact form says from, to, date and subject, too; but
    /// neither names it a sender with nothing but an address, nor does it say "sent" and when, in the order of a mail.
    fn is_programs(&self) -> bool {
        let (to, subject) = (self.has(Label::To), self.has(Label::Subject));
        let in_order = self.has(Label::From)
            && to
            && subject
            && !self.first.contains(&Some(Label::Subject))
            && (self.sent || self.has(Label::Other) && self.moment);
        let sender =
            self.sender && (self.sent || self.dated && (to || subject) || to && subject && self.stamp);
        let brief = self.zoned && (self.sender || to && self.addressed > 0);
        let shaped = !self.is_block() && self.addressed > 1;
        sender || brief || in_order || shaped
    }

    /// In the order of a mail, and sent at an hour or about an answer: a transfer says neither.
    fn is_typed(&self) -> bool {
        let begun = matches!(self.first, [Some(Label::From), Some(Label::Date), Some(_)]);
        let whole = self.has(Label::To) || self.has(Label::Subject);
        begun && whole && (self.sent_at || self.dated && self.answer)
    }

    /// Right by shape alone: `x: Ana <ana@…>`, `y: 12.5.2026 10:30`, and more.
    fn is_shaped(&self) -> bool {
        self.known + self.unknown >= 3 && self.marked_first && self.moment
    }
}

/// Finds the header block that starts at line `start`, when nothing announces it but what it says.
///
/// `own` is where the part of the mail begins that it stands in.
pub fn standing_alone(lines: &[Line], own: usize, start: usize) -> Option<Block> {
    let block = starting_at(lines, start).filter(|block| block.by != By::Anybody)?;
    // "Please write this on the invoice:" announces what one wrote oneself.
    let announces =
        |line: &Line| line.folded.ends_with(':') && line.field().and_then(|field| field.label).is_none();
    let above = lines.get(own..start)?;
    if above.last().is_some_and(announces) {
        return None;
    }
    // What a program doesn't vouch for must be set apart, announced by nothing, and have a mail's text below.
    let last = above.iter().rev().take(NEAR).find(|line| !line.is_blank());
    let is_apart = above.last().is_none_or(|line| line.is_blank() || is_ruler(&line.folded, 2));
    let has_text = || lines.get(block.end..)?.iter().take(NEAR).find(|line| !line.is_blank());
    let is_mail = || is_apart && !last.is_some_and(announces) && has_text().is_some();
    (block.by == By::Program || is_mail()).then_some(block)
}

/// Finds the header block that starts at line `start`.
///
/// What somebody filled in may stand right above one ("Name: Ana", "Phone: …"): that is none of its fields.
pub fn starting_at(lines: &[Line], start: usize) -> Option<Block> {
    let block = read(lines, start)?;
    let is_somebodys = begun_inside(lines, start, block.end)
        .filter_map(|at| read(lines, at))
        .any(|inner| inner.by != By::Anybody);
    (!is_somebodys).then_some(block)
}

/// Where among the fields `start..end` a program's block may begin, so that those above are somebody's: at the sender, or at
/// when it was sent, below a date, a label that no program writes, or an empty line that the other fields lack; and at a
/// kind of field that stood above already.
fn begun_inside(lines: &[Line], start: usize, end: usize) -> impl Iterator<Item = usize> {
    let (mut kinds, mut is_foreign) = (0, false);
    let fields = (start..end).filter_map(|at| Some((at, lines.get(at)?.field()?)));
    let begins = move |(at, field): (usize, Field)| {
        let kind = field.label.map_or(0, bit);
        let opens = field.label == Some(Label::From) || field.is_sent;
        let is_blank = |at: usize| lines.get(at).is_none_or(Line::is_blank);
        let is_parted = is_blank(at.wrapping_sub(1)) && !is_blank(at + 1);
        let is_told = is_foreign || is_parted || kinds & bit(Label::Date) != 0;
        let found = at > start && (kinds & kind != 0 || is_told && opens);
        kinds |= kind;
        is_foreign |= field.label.is_none();
        found.then_some(at)
    };
    fields.filter_map(begins).take(MOST_BEGUN)
}

/// Reads the fields from line `start` on as one block.
fn read(lines: &[Line], start: usize) -> Option<Block> {
    let first = lines.get(start)?;
    if first.is_header() {
        let is_programs = first.address() == Address::Marked
            || first.address() == Address::Bare && first.figures().is_moment();
        return Some(Block {
            end: start + 1,
            known: true,
            by: if is_programs { By::Program } else { By::Anybody },
        });
    }
    let opening = first.field()?;
    // "Re:" opens no block; nor does "o" or "at" unless another line is surer.
    if opening.label == Some(Label::Other) || opening.is_re {
        return None;
    }
    // "Please see below:", and an empty line: what one wrote oneself.
    if opening.label.is_none() && (!opening.is_filled || lines.get(start + 1).is_none_or(Line::is_blank)) {
        return None;
    }
    let mut seen = Seen::default();
    let mut end = start;
    let mut at = start;
    let mut blanks = 0;
    while at < lines.len().min(start + MAX_LINES) {
        let line = lines.get(at)?;
        if line.depth != first.depth {
            break;
        }
        if at > start && line.mark.is_some_and(Mark::begins_history) {
            return None;
        }
        if line.is_blank() {
            blanks += 1;
            // One blank line may stand between fields that were paragraphs.
            if blanks > 1 || (seen.is_block() && !next_is_known(lines, at)) {
                break;
            }
        } else if let Some(field) = line.field() {
            if !note(&mut seen, field) {
                break;
            }
            blanks = 0;
            end = at + 1;
        } else if blanks == 0 && runs_on(line, lines.get(at.wrapping_sub(1))) {
            end = at + 1;
        } else {
            break;
        }
        at += 1;
    }
    let known = seen.is_block() && seen.unknown <= seen.known;
    let by = match (seen.is_programs(), seen.is_typed()) {
        (true, _) if !goes_on(lines, end) => By::Program,
        (_, true) => By::Hand,
        _ => By::Anybody,
    };
    (known || (seen.is_shaped() && seen.unknown > 0)).then_some(Block { end, known, by })
}

/// Do a form's fields go on behind the block: "Message: …"?
fn goes_on(lines: &[Line], end: usize) -> bool {
    let next =
        lines.get(end..lines.len().min(end + 2)).unwrap_or_default().iter().find(|line| !line.is_blank());
    next.and_then(Line::field).is_some_and(|field| field.label.is_none() && field.is_filled)
}

/// Takes a field into account; false when it can't belong to a block.
fn note(seen: &mut Seen, field: Field) -> bool {
    let is_first = !seen.is_begun();
    match field.label {
        Some(kind) => {
            // "Date: / From: / Date:": a second block begins.
            if seen.has(kind) && !matches!(kind, Label::Other | Label::To | Label::Cc | Label::Date) {
                return false;
            }
            seen.kinds |= bit(kind);
            if let Some(place) = seen.first.get_mut(seen.known) {
                *place = Some(kind);
            }
            seen.known += 1;
        }
        // After a whole block a line with a colon is what was written: "Note: …".
        None if seen.is_block() || seen.has(Label::Subject) => return false,
        None => seen.unknown += 1,
    }
    seen.marked_first |= is_first && field.address == Address::Marked;
    seen.address |= field.address != Address::None;
    seen.stamp |= field.figures.is_stamp() && field.label != Some(Label::Subject);
    seen.moment |= field.figures.is_moment();
    seen.sender |= field.label == Some(Label::From) && field.is_addressed;
    seen.addressed += usize::from(field.is_addressed);
    let dated = field.label == Some(Label::Date) && field.figures.is_stamp();
    seen.dated |= dated;
    seen.sent |= dated && field.is_sent;
    seen.sent_at |= dated && field.is_sent && field.figures.is_moment();
    seen.answer |= field.label == Some(Label::Subject) && field.is_answer;
    seen.zoned |= dated && field.is_zoned;
    true
}

fn bit(kind: Label) -> u8 {
    1 << kind as u8
}

/// Do fields stand here that a program wrote: several labels, and an hour or an address it marked?
///
/// That is too little for a block of its own; it is enough below a line that only programs draw.
pub fn are_fields(lines: &[Line], start: usize) -> bool {
    let near = lines.get(start..lines.len().min(start + 6)).unwrap_or_default();
    let mut written = near.iter().filter(|line| !line.is_blank()).take(4).map(Line::field).peekable();
    if !written.peek().is_some_and(Option::is_some) {
        return false;
    }
    let (mut filled, mut proof) = (0, false);
    for field in written.flatten() {
        filled += usize::from(field.is_filled);
        proof |= field.figures.is_moment() || field.address == Address::Marked;
    }
    proof && filled >= 3
}

/// Splits a folded header line into label and value.
fn split(folded: &str) -> Option<(&str, &str)> {
    let line = folded.trim_start_matches(['|', '>', '-', '_', '#', ' ', '\u{2022}', '·']);
    let at = line.find(':').filter(|at| *at <= 48)?;
    let word = line.get(..at)?.trim_matches([' ', '_', '"', '[', ']']);
    let value = line.get(at + 1..)?.trim();
    let letters = word.chars().filter(|c| c.is_alphabetic()).count();
    let fits = letters > 0
        && word.split(' ').count() <= 4
        && word.chars().count() <= 28
        && !word.contains(['@', '<', '.', '?', '!']);
    // "https://…" is no field.
    (fits && !value.starts_with("//")).then_some((word, value))
}

/// An address, perhaps with a name in front, and nothing behind it?
fn is_addressed(value: &str) -> bool {
    let value = value.trim_end_matches([' ', ';', ',']);
    match address(value) {
        Address::None => false,
        Address::Marked => value.ends_with(['>', ']', ')']),
        Address::Bare => !value.contains([' ', ',']) || value.ends_with('"'),
    }
}

/// Ends with a zone, as RFC 5322 §3.3 writes dates?
fn is_zoned(value: &str) -> bool {
    let zone = value.rsplit(' ').next().and_then(|zone| zone.strip_prefix(['-', '+']));
    zone.is_some_and(|zone| zone.len() == 4 && zone.bytes().all(|octet| octet.is_ascii_digit()))
}

/// Does a field known from the tables follow the blank line at `blank`?
fn next_is_known(lines: &[Line], blank: usize) -> bool {
    let next = lines.get(blank + 1).and_then(Line::field);
    next.is_some_and(|field| !field.is_re && field.label.is_some())
}

/// A list of addresses or a subject that goes on over the line.
fn runs_on(line: &Line, above: Option<&Line>) -> bool {
    let folded = &line.folded;
    let open = above.is_some_and(|line| line.folded.ends_with([',', ';', '<']) || line.folded.len() > 65);
    let listed = || folded.contains('@') || folded.ends_with([';', '>']) || line.figures().is_moment();
    folded.len() <= 200 && (open || listed())
}

/// A whole block in one line: "-- From: Ana Date: 07.08.24 18:46 To: Subject: …".
pub fn in_one_line(line: &Line) -> bool {
    let folded = &line.folded;
    if folded.bytes().filter(|byte| *byte == b':').count() < 3 {
        return false;
    }
    let mut kinds = Vec::new();
    for (at, _) in folded.match_indices(':').take(16) {
        let front = folded.get(..at).unwrap_or_default().trim_end();
        for words in 1..=3 {
            let from = front.rmatch_indices(' ').nth(words - 1).map_or(0, |(space, _)| space + 1);
            let word = front.get(from..).unwrap_or_default();
            let word = word
                .trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, '-' | '>' | '"' | '.' | ':'));
            if let Some(kind) = label(word.trim()) {
                if !kinds.contains(&kind) && kind != Label::Other {
                    kinds.push(kind);
                }
                break;
            }
        }
    }
    let who = kinds.contains(&Label::From) && (kinds.contains(&Label::Subject) || kinds.contains(&Label::To));
    let proof =
        line.figures().is_stamp() || (line.address() != Address::None && kinds.contains(&Label::Subject));
    let opened = line.field().and_then(|field| field.label) == Some(Label::From);
    let brief = opened
        && kinds.contains(&Label::Date)
        && line.figures().is_moment()
        && line.address() != Address::None;
    (kinds.len() >= 3 && who && proof) || brief
}

#[cfg(test)]
mod tests {
    use super::starting_at;
    use crate::inbox::answer::line::lines_of;

    fn end(text: &str) -> Option<usize> {
        starting_at(&lines_of(text), 0).map(|block| block.end)
    }

    #[test]
    fn blocks_of_many_programs_are_told() {
        assert_eq!(
            end("From: F, Thomas\nSent: Saturday, July 9, 2016 2:03 PM\nTo: B\nSubject: x\n\nHi"),
            Some(4)
        );
        assert_eq!(end("*From:* Ana <a@b.c>\n*Date:* 3.4.2026\n\nHi"), Some(2));
        assert_eq!(end("发件人: A <a@b.cn>\n发送时间: 2017年8月2日 15:37\n收件人: S\n主题: x"), Some(4));
        assert_eq!(
            end(
                "De : a <a@b.fr>\n À : b <b@c.fr>\n Envoyé le : Mercredi 30 novembre 2016 10h30\n Objet : Re: x\n\nbonjour"
            ),
            Some(4)
        );
        assert_eq!(end("Von: K\nBetreff: x\nDatum: 21.06.2024, 10:47 Uhr\nAn:\nDeine Bestellung"), Some(4));
        assert_eq!(
            end(
                "**Gesendet:** Mittwoch, 3. Juni 2026 um 09:43\n\n**Von:**\"E\" <s@e.com>\n\n**An:**\"M\" <m@e.com>\n\n**Betreff:** Ihre\n\nGuten Tag"
            ),
            Some(7)
        );
        assert_eq!(end("Kwa: Ana <ana@example.com>\nSaa: 12.05.2026 10:30\nMada: x\n\nhi"), Some(3));
    }

    #[test]
    fn what_somebody_filled_in_above_a_block_is_none_of_it() {
        let block = "From: Ana <a@b.example>\nSent: 12 May 2026 10:30\nTo: Bob\nSubject: x\n\nWhen?";
        for above in [
            "Name: Bob\nPhone: 600\n\n",
            "Time: 18:00\n\n",
            "Cot: yes\n\nDog: no\n",
            "To: Malaga\n\n",
            "To: Casa Sol\nRe: key\n\n",
            "Cc: my husband t@x.example, please\n\n",
        ] {
            assert_eq!(end(&format!("{above}{block}")), None, "{above}");
        }
    }

    #[test]
    fn forms_and_lists_are_none() {
        assert_eq!(end("From: 12 June\nTo: 15 June\nGuests: 2\nName: Ana"), None);
        assert_eq!(end("Name: Ana\nEmail: ana@example.com\nDate: 12.05.2026 10:30\nMessage: hello"), None);
        assert_eq!(end("From: Airport\nTo: Hotel\nTime: 10:30\nPrice: 40"), None);
        assert_eq!(end("https://example.com/x\nSubject: y"), None);
    }

    #[test]
    fn nothing_but_a_mails_block_stands_alone() {
        let alone = |text: &str| {
            let lines = lines_of(text);
            let at = lines.iter().position(|line| line.field().is_some_and(|field| field.is_filled)).unwrap();
            super::standing_alone(&lines, 0, at).is_some()
        };
        assert!(alone("Yes\n\nFrom: Ana <ana@example.com>\nDate: 12.5.2026 10:30\nSubject: x"));
        assert!(alone("Yes\n\nFrom: Ana\nSent: 12 May 2026 10:30\nTo: Bob\nSubject: x"));
        assert!(alone("Yes\n\nFrom: Ana\nSent: 12 May 2026 10:30\nTo: Bob\n\nWhen?"));
        assert!(alone("Yes\n\nFrom: Ana\nDate: 12 May 2026\nTo: Bob\nSubject: RE: x\n\nWhen?"));
        assert!(!alone("Parcel\n\nFrom: Ana\nSent: 12 May 2026\nTo: Bob\n\nIt is blue."));
        assert!(!alone("The parcel:\n\nFrom: Ana\nSent: 12 May 2026 10:30\nTo: Bob\n\nIt is blue."));
        assert!(!alone("The parcel\nFrom: Ana\nSent: 12 May 2026 10:30\nTo: Bob\n\nIt is blue."));
        assert!(!alone("The parcel\n\nFrom: Ana\nSent: 12 May 2026 10:30\nTo: Bob"));
        assert!(alone("Yes\n\nFrom: ana@example.com\nDate: Wed, 16 May 2012 00:15:02 -0600"));
        assert!(!alone("Transfer\n\nFrom: Airport\nDate: 12 May 2026 10:30\nTo: Casa Sol\nSubject: x"));
        assert!(!alone("Form\n\nFrom: Ana <ana@example.com>\nSubject: x\n\nMessage: hello"));
        assert!(!alone("Parcel\n\nFrom: Ana <ana@example.com>, Elm Street\nTo: Casa\nDate: 12 May 2026"));
        assert!(!alone("Form\n\nFrom: us\nTo: you\nSubject: x\nSent: on 12 May 2026 at 10:30"));
        assert!(!alone("For the invoice:\nFrom: Ana <ana@example.com>\nDate: 12.5.2026\nTo: Bob"));
    }
}
