//! What stands below the answer and isn't part of it: signatures behind a delimiter, device lines, disclaimers.
//!
//! Promises: a closing formula and a typed name stay; a signature without a delimiter stays too, for nobody can tell it
//! from what was written. The delimiter is RFC 3676 §4.3's, and the rulers that people draw in its place.

use super::device::{broken_device, is_device};
use super::line::Line;
use super::notices::disclaimer;
use super::separators::is_ruler;

/// A signature behind a drawn ruler is at most so many lines with text.
const CARD_LINES: usize = 12;

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
        if is_device(&line.folded, &line.text) {
            return found(last, "text:device", true);
        }
        if let Some(from) = broken_device(lines, last) {
            return found(from, "text:device", true);
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
    let stars = text.chars().filter(|c| *c == '*').count();
    stars >= 3 && text.chars().all(|c| matches!(c, '*' | ' ' | '\t' | '.' | '\\'))
}

/// The line that opens a signature.
fn delimiter(lines: &[Line], first: bool) -> Option<usize> {
    let above = |at: usize| lines.iter().take(at).any(|line| !line.is_blank());
    let mut found = None;
    for (at, line) in lines.iter().enumerate() {
        if line.depth > 0 || (first && !above(at)) {
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
        let most = if line.text == "-- " { 30 } else { CARD_LINES };
        if certain && is_card(lines.get(at + 1..).unwrap_or_default(), most) {
            return Some(at);
        }
        // A line of strokes right below a text underlines it; of several, only the last can open a signature.
        let underlines = at.checked_sub(1).and_then(|at| lines.get(at)).is_some_and(|line| !line.is_blank())
            && !text.starts_with('_');
        let drawn = (is_ruler(&line.folded, 3) && !text.contains('#')) || is_starred(text);
        if drawn {
            let alone = found.is_none() && !underlines;
            found = (alone && is_card(lines.get(at + 1..).unwrap_or_default(), CARD_LINES)).then_some(at);
            if !alone {
                return None;
            }
        }
    }
    found
}

/// Short lines that tell who somebody is, and no talk.
fn is_card(lines: &[Line], most: usize) -> bool {
    let written = lines.iter().filter(|line| !line.is_blank());
    let mut count = 0;
    for line in written {
        count += 1;
        let asks = line.folded.ends_with('?') && !line.folded.contains('/');
        if count > most
            || asks
            || is_ruler(&line.folded, 3) && count > 1 && most <= CARD_LINES && talks(lines)
        {
            return false;
        }
    }
    most > CARD_LINES || !talks(lines)
}

/// Several lines of sentences: that is no card.
fn talks(lines: &[Line]) -> bool {
    let own = lines.iter().take_while(|line| !super::notices::is_legal(line));
    let sentences = own.filter(|line| {
        let words = line.folded.split(' ').filter(|word| word.chars().all(char::is_alphabetic)).count();
        words >= 6 && line.folded.ends_with(['.', ',', '!', ':'])
    });
    sentences.count() >= 2
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
        assert_eq!(cut("Hi\n\nRegards,\nAna Lopez\nSales"), None);
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
