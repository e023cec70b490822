//! What stands below the answer and isn't part of it: signatures behind a delimiter, device lines, disclaimers.
//!
//! Promises: a closing formula and a typed name stay; a signature without a delimiter stays too, for nobody can tell it
//! from what was written. The delimiter is RFC 3676 §4.3's, and the strokes that people draw in its place: below those a
//! card must tell who somebody is, for people part what they say by strokes, too.

use super::card;
use super::device::{broken_device, is_excuse};
use super::line::Line;
use super::notices::{disclaimer, is_legal};
use super::separators::is_ruler;
use super::steps;

/// A signature behind a drawn ruler is at most so many lines with text.
const CARD_LINES: usize = 12;

/// Behind the delimiter that mail programs write it may be longer.
const LONG_CARD_LINES: usize = 30;

/// Empty lines among them, a signature begins among the last so many lines.
const REACH: usize = 120;

/// What stands above and below a stroke is looked for in so many lines.
const NEAR: usize = 4;

/// What was found at the end of a part of the mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail {
    /// The first line of it.
    pub from: usize,
    /// Which rule found it.
    pub rule: &'static str,
    /// It is a signature, and not only a ruler or blank lines.
    pub is_signature: bool,
}

/// Finds what to cut at the end of `lines`, once; ask again for what is left.
///
/// `first` says that nothing of the answer stands above these lines: then a signature can't be all there is.
pub fn tail(lines: &[Line], first: bool) -> Option<Tail> {
    let last = lines.iter().rposition(|line| !line.is_blank() || is_starred(&line.text))?;
    let found = |from, rule, is_signature| Some(Tail { from, rule, is_signature });
    if let Some(line) = lines.get(last) {
        if is_ruler(&line.folded, 2) || is_starred(&line.text) || is_empty_quote(line) {
            return found(last, "text:ruler", false);
        }
        if line.is_device() {
            return found(last, "text:device", true);
        }
        if let Some(from) = broken_device(lines, last) {
            return found(from, "text:device", true);
        }
        // An excuse right below it belongs to the device.
        if is_excuse(line)
            && let Some(above) =
                last.checked_sub(1).filter(|above| lines.get(*above).is_some_and(Line::is_device))
        {
            return found(above, "text:device", true);
        }
    }
    if let Some(at) = delimiter(lines, first) {
        return found(at, "text:signature", true);
    }
    if let Some(at) = disclaimer(lines, last) {
        return found(at, "text:disclaimer", true);
    }
    None
}

fn is_empty_quote(line: &Line) -> bool {
    line.depth > 0 && line.folded.is_empty()
}

/// A ruler of stars, which folding takes for emphasis.
fn is_starred(text: &str) -> bool {
    steps::took(1);
    text.bytes().all(|c| matches!(c, b'*' | b' ' | b'\t' | b'.' | b'\\'))
        && text.bytes().filter(|c| *c == b'*').count() >= 3
}

/// The line that opens a signature, which is looked for among the last lines only.
fn delimiter(lines: &[Line], first: bool) -> Option<usize> {
    let cards = Cards::below(lines);
    let begin = if first { lines.iter().position(|line| !line.is_blank())? + 1 } else { 0 };
    let mut found = None;
    for (at, line) in lines.iter().enumerate().skip(begin.max(cards.from)) {
        if line.depth > 0 {
            continue;
        }
        let text = line.text.trim_matches(['\u{a0}', ' ', '\t', '\u{200b}']);
        let certain = text == "--"
            || text == "- -"
            || line.text == "-- "
            || text == "\u{2014}"
            || text == "\u{2013}\u{2013}"
            || text == "\u{2014}\u{2014}"
            || text == "__";
        // "--" without its space is a stroke of people's, too: it parts a list, or what goes on below.
        if certain && line.text != "-- " && goes_on(lines, at) {
            return None;
        }
        let is_delimiter = line.text == "-- " && (cards.is_card(at) || cards.is_long_card(at));
        if is_delimiter || certain && cards.is_card(at) && is_somebodys(lines, at) {
            return Some(at);
        }
        // A line of strokes right below a text underlines it; of several, only the last can open a signature.
        let underlines = at.checked_sub(1).and_then(|at| lines.get(at)).is_some_and(|line| !line.is_blank())
            && !text.starts_with('_');
        let drawn = (is_ruler(&line.folded, 3) && !text.contains('#')) || is_starred(text);
        if drawn {
            let alone = found.is_none() && !underlines && !goes_on(lines, at);
            found = (alone && cards.is_card(at) && is_somebodys(lines, at)).then_some(at);
            if !alone {
                return None;
            }
        }
    }
    found
}

/// Below which of the last lines a card stands: short lines that tell who somebody is, and no talk.
struct Cards {
    /// The first line that was looked at.
    from: usize,
    /// For each line from there on: a card below it, and one below the delimiter that mail programs write.
    below: Vec<(bool, bool)>,
}

impl Cards {
    /// Looks from the end upwards, each line once, until there is too much for any card.
    fn below(lines: &[Line]) -> Cards {
        let (mut written, mut asks, mut dated, mut sentences) = (0, false, false, 0);
        let mut below = Vec::new();
        for line in lines.iter().rev().take(REACH) {
            steps::took(1);
            below.push((
                written <= CARD_LINES && !asks && !dated && sentences < 2,
                written <= LONG_CARD_LINES && !asks,
            ));
            if line.is_blank() {
                continue;
            }
            written += 1;
            if written > LONG_CARD_LINES {
                break;
            }
            asks |= line.folded.ends_with('?') && !line.folded.contains('/');
            // Cards tell a day nowhere; forms do.
            dated |= line.field().is_some() && line.figures().is_stamp();
            // Sentences of a disclaimer, and below it, are no talk.
            sentences = if is_legal(line) { 0 } else { sentences + usize::from(is_sentence(line)) };
        }
        below.reverse();
        Cards { from: lines.len() - below.len(), below }
    }

    fn is_card(&self, at: usize) -> bool {
        at.checked_sub(self.from).and_then(|at| self.below.get(at)).is_some_and(|(card, _)| *card)
    }

    fn is_long_card(&self, at: usize) -> bool {
        at.checked_sub(self.from).and_then(|at| self.below.get(at)).is_some_and(|(_, card)| *card)
    }
}

/// Does what stands above the stroke at `at` announce what stands below, or go on there?
fn goes_on(lines: &[Line], at: usize) -> bool {
    let written = |line: &&Line| !line.is_blank();
    let above = lines.get(..at).unwrap_or_default().iter().rev().take(NEAR).find(written);
    let below = lines.get(at + 1..).unwrap_or_default().iter().take(NEAR).find(written);
    let words =
        |line: &Line| line.folded.split(' ').filter(|word| word.chars().all(char::is_alphabetic)).count();
    let is_rest = |line: &Line| {
        line.text.trim_start().starts_with(char::is_lowercase) && words(line) >= 3 && !line.is_device()
    };
    // "They are quiet.": behind the first word of a name or a title not all is in small letters.
    let is_said = |line: &Line| {
        let mut behind = line.text.split_whitespace().skip(1);
        line.folded.ends_with('.')
            && line.text.split_whitespace().count() >= 3
            && behind.all(|word| word.starts_with(char::is_lowercase))
    };
    // "We fill in the form:", "Name: ________"
    above.is_some_and(|line| line.folded.ends_with([':', '_']))
        || below.is_some_and(|line| is_rest(line) || is_said(line) && !line.is_device() && !is_legal(line))
}

/// Is anything said in what may be a signature? Below it nothing is parted from it then.
pub fn talks(card: &[Line]) -> bool {
    card.iter().any(|line| is_sentence(line) && !is_legal(line) && !line.is_device())
}

/// Several of these are talk.
fn is_sentence(line: &Line) -> bool {
    let words = || line.folded.split(' ').filter(|word| word.chars().all(char::is_alphabetic)).count();
    line.folded.ends_with(['.', ',', '!', ':']) && words() >= 6
}

/// Whether what stands below a stroke tells who somebody is. Two dashes are what a delimiter becomes that lost its space:
/// there it is enough that nothing is asked, or told in a form.
fn is_somebodys(lines: &[Line], stroke: usize) -> bool {
    let is_cut_delimiter = lines.get(stroke).is_some_and(|line| line.text.trim() == "--");
    if is_cut_delimiter { !card::is_talk(lines, stroke + 1) } else { card::tells_who(lines, stroke + 1) }
}

#[cfg(test)]
mod tests {
    use super::tail;
    use crate::inbox::answer::line::lines_of;

    fn cut(text: &str) -> Option<(usize, &'static str)> {
        tail(&lines_of(text), true).map(|tail| (tail.from, tail.rule))
    }

    #[test]
    fn signatures_go_and_sign_offs_stay() {
        assert_eq!(cut("Hi\n\nBye,\nAna\n-- \nAna Lopez\nSales"), Some((4, "text:signature")));
        assert_eq!(cut("Hi\n\nAna\n_______________\nAna Lopez\n+34 600"), Some((3, "text:signature")));
        assert_eq!(cut("Hi\n--\nArrival: 18:00\nFlight: IB 123"), None);
        assert_eq!(cut("Hi\n***\n\nDarf der Hund mit? Er ist klein."), None);
        assert_eq!(cut("Hi\n\nRegards,\nAna Lopez\nSales"), None);
        assert_eq!(cut("We need:\n- a cot\n--\nand one more thing:\na fan"), None);
        assert_eq!(cut("Fill in the form:\n________________\nName Ana"), None);
        assert_eq!(cut("Hi\n-- first point\n-- second point\nThanks"), None);
        assert_eq!(
            cut(
                "Prices\n------\nThe room costs ten a night.\nWe take cards, and cash of any kind.\nBreakfast is served from seven to ten."
            ),
            None
        );
        assert_eq!(
            cut("Yes.\n\nThis email is confidential and intended solely for the addressee."),
            Some((2, "text:disclaimer"))
        );
    }
}
