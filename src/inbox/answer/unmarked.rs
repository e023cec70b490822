//! Attributions that nothing quoted follows: some programs set what they quote below one as it stands, and people write
//! "on 5 May at 9:14 your colleague wrote:" as well.
//!
//! A program names a sender in full and sets the line apart. The less of that is there, the more must speak for it
//! else: what could be a person's sentence is one. Promises: a bounded number of lines is looked at.

use super::attribution::{MAX_LINES, has_verb, is_dated_name, verbs_in};
use super::dates::{Address, address, figures};
use super::line::{Line, fold};
use super::separators::is_ruler;
use super::steps;

/// So many lines above are looked at.
const REACH: usize = 8;

/// So many lines below are looked at, whether they are set in.
const SET_IN: usize = 64;

/// A name is looked for beside so many words for "wrote", and has so many words.
const MOST_VERBS: usize = 8;
const MOST_WORDS: usize = 12;

/// Words with a capital that are no name, folded: of the hour, and by which people speak of themselves and to others.
const NO_NAMES: &[&str] =
    &["uhr", "hrs", "ihr", "ihre", "sie", "er", "wir", "du", "lei", "вы", "ваш", "ваша", "i", "we"];

/// How surely the lines `start..=end`, an attribution by their shape, are a program's; `None` if a person may have
/// written them.
///
/// `own` is where the part of the mail begins that they stand in; `written` says that one's own words stand above it.
pub fn confidence(lines: &[Line], own: usize, start: usize, end: usize, written: bool) -> Option<f32> {
    let these = lines.get(start..=end).filter(|these| these.len() <= 2 * MAX_LINES)?;
    let shown = joined(these, |line| &line.text);
    let folded = joined(these, |line| &line.folded);
    steps::took(shown.len() + folded.len());
    let below = lines.get(end + 1..).unwrap_or_default();
    let (named, date, verb) = (Named::of(&folded, &shown), figures(&folded), has_verb(&folded));
    if named == Named::InFull && verb && date.is_moment() || is_name_below(below) {
        return Some(0.9);
    }
    if verb && date.is_moment() && are_set_in(these, below) {
        return Some(0.85);
    }
    let above = Above::of(lines, own, start, written);
    let blank_below = below.first().is_none_or(Line::is_blank);
    if above == Above::Announces || !is_apart(lines, own, start) || !blank_below && !is_quoted_name(&folded) {
        return None;
    }
    let one = these.len() == 1;
    if one && is_dated_name(&folded) {
        return Some(0.85);
    }
    let is_told = match named {
        Named::InFull => {
            verb && above >= Above::Says || date.is_moment() && one && !is_listed(lines, own, start)
        }
        Named::ByAddress => verb && !goes_on(&shown) && (date.is_moment() || above == Above::Ends),
        Named::ByName => verb && !goes_on(&shown) && above >= Above::Says && date.is_moment(),
        Named::No => false,
    };
    is_told.then_some(if named == Named::InFull { 0.85 } else { 0.75 })
}

/// Do these lines name somebody, beside the word for "wrote" or in full?
pub fn is_named(lines: &[Line]) -> bool {
    let (shown, folded) = (joined(lines, |line| &line.text), joined(lines, |line| &line.folded));
    steps::took(shown.len() + folded.len());
    Named::of(&folded, &shown) != Named::No
}

fn joined(lines: &[Line], read: impl Fn(&Line) -> &String) -> String {
    lines.iter().map(|line| read(line).trim()).collect::<Vec<_>>().join(" ")
}

/// Is all that follows set in, as HTML's quotations are when they become text, and the attribution not?
fn are_set_in(these: &[Line], below: &[Line]) -> bool {
    let is_set_in = |line: &Line| line.text.starts_with("  ") || line.text.starts_with('\t');
    let mut lines = below.iter().take(SET_IN).filter(|line| !line.is_blank()).peekable();
    lines.peek().is_some() && !these.iter().any(is_set_in) && lines.all(is_set_in)
}

/// "Richard> When do you come?", as Emacs marks what it quotes.
fn is_name_below(below: &[Line]) -> bool {
    let next = below.iter().take(3).find(|line| !line.is_blank());
    next.and_then(|line| line.text.trim_start().split_once('>')).is_some_and(|(name, _)| {
        (1..=12).contains(&name.len()) && name.bytes().all(|octet| octet.is_ascii_alphabetic())
    })
}

/// Is it one of several, as in a plan: "Mon 11 May 2026, 09:00, Tom <tom@example.com>:"?
fn is_listed(lines: &[Line], own: usize, start: usize) -> bool {
    let near = lines.get(own.max(start.saturating_sub(REACH))..start).unwrap_or_default();
    near.iter().any(|line| {
        line.folded.ends_with(':') && line.address() == Address::Marked && line.figures().is_date()
    })
}

/// "12.05.2026, 09:41, "Casa Sol" <hola@casasol.example>:" of Yandex's.
fn is_quoted_name(folded: &str) -> bool {
    folded.starts_with(|c: char| c.is_ascii_digit()) && folded.contains(", \"") && folded.contains("\" <")
}

/// How an attribution names who wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    /// By an address in angle brackets or as a link, or by a name and an address: people don't write both.
    InFull,
    /// By an address right beside the verb.
    ByAddress,
    /// By a name there.
    ByName,
    /// Not so that it would tell: "your colleague wrote".
    No,
}

impl Named {
    fn of(folded: &str, shown: &str) -> Named {
        let angled =
            folded.find('<').is_some_and(|at| folded.get(at..).is_some_and(|rest| rest.contains('@')));
        if address(folded) == Address::Marked && (angled || folded.contains("mailto:")) {
            return Named::InFull;
        }
        let words: Vec<(&str, String)> = shown
            .split_whitespace()
            .map(|word| (word, fold(word)))
            .filter(|(_, word)| !word.is_empty())
            .collect();
        let text = words.iter().map(|(_, word)| word.as_str()).collect::<Vec<_>>().join(" ");
        let mut found = Named::No;
        for (at, verb) in verbs_in(&text).take(MOST_VERBS) {
            let first = text.get(..at).unwrap_or_default().matches(' ').count();
            let behind = first + verb.matches(' ').count() + 1;
            let before = words.get(..first).unwrap_or_default().iter().rev();
            let behind = words.get(behind..).unwrap_or_default().iter();
            for side in [beside(before, false), beside(behind, true)] {
                match side {
                    Named::InFull => return Named::InFull,
                    Named::No => {}
                    _ => found = side,
                }
            }
        }
        found
    }
}

/// What these words name, which are read away from the verb: `forward` says in which direction.
fn beside<'a>(words: impl Iterator<Item = &'a (&'a str, String)>, forward: bool) -> Named {
    let (mut names, mut addressed, mut bracketed) = (0, false, false);
    for (word, folded) in words.take(MOST_WORDS) {
        let bare = folded.trim_matches(|c: char| !c.is_alphanumeric());
        let ends = word.ends_with([',', '،', ':']);
        if address(folded) != Address::None {
            // In brackets an address is nothing without its name: "you (ana@example.com) wrote" is a person's.
            bracketed |= word.starts_with('(');
            addressed |= !bracketed;
            if forward && ends {
                break;
            }
            continue;
        }
        if ends && !forward || bare.starts_with(|c: char| c.is_ascii_digit()) || NO_NAMES.contains(&bare) {
            break;
        }
        let first = word.chars().find(|c| c.is_alphabetic());
        let is_nick = bare.contains(['_', '.']);
        if !is_nick && !first.is_some_and(char::is_uppercase) {
            // An article, or what else of a letter or two, parts a name from the date: "ο Casa Sol".
            names = if bare.chars().count() <= 2 || first.is_none() || addressed || bracketed {
                names
            } else {
                0
            };
            break;
        }
        let is_zone = bare.len() <= 4 && word.chars().filter(|c| c.is_alphabetic()).all(char::is_uppercase);
        names += usize::from(!is_zone);
        if forward && ends {
            break;
        }
    }
    match (addressed || bracketed && names > 0, names > 0) {
        (true, true) => Named::InFull,
        (true, false) => Named::ByAddress,
        (false, true) => Named::ByName,
        (false, false) => Named::No,
    }
}

/// Begins in lower case, and so within a sentence? "ti 12. toukok." is a weekday's.
fn goes_on(shown: &str) -> bool {
    let mut words = shown.split_whitespace();
    let lower = |word: &str| word.chars().next().is_some_and(char::is_lowercase);
    let Some(first) = words.next().filter(|word| lower(word) && !word.contains('@')) else { return false };
    let weekday = first.chars().count() <= 5
        && words.next().is_some_and(|word| word.starts_with(|c: char| c.is_ascii_digit()))
        && !super::attribution::is_opener(&fold(first));
    !weekday
}

/// What stands above: how surely one's own words end there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Above {
    /// Nothing, a greeting, or words that announce what follows.
    Announces,
    /// A line that may be a greeting.
    Unsure,
    /// Words.
    Says,
    /// A device line, which stands at the end.
    Ends,
}

impl Above {
    fn of(lines: &[Line], own: usize, start: usize, written: bool) -> Above {
        let near = lines.get(own.max(start.saturating_sub(REACH))..start).unwrap_or_default();
        let written = written || own + REACH < start;
        let mut said = near.iter().rev().filter(|line| !line.is_blank());
        let Some(last) = said.next() else { return if written { Above::Says } else { Above::Announces } };
        let alone = !written && said.next().is_none();
        if last.is_device() {
            Above::Ends
        } else if last.folded.ends_with(':') || alone && last.folded.ends_with([',', '،', '、']) {
            Above::Announces
        } else if alone && !last.folded.ends_with(['.', '?', '。', ')']) && last.folded.len() <= 60 {
            Above::Unsure
        } else {
            Above::Says
        }
    }
}

/// Does an empty line or a stroke part it from what stands above?
fn is_apart(lines: &[Line], own: usize, start: usize) -> bool {
    let above = lines.get(own..start).and_then(<[Line]>::last);
    above
        .is_none_or(|line| line.is_blank() || line.is_device() || is_ruler(&line.folded, 2) || line.depth > 0)
}

#[cfg(test)]
mod tests {
    use super::confidence;
    use crate::inbox::answer::line::lines_of;

    fn found(text: &str) -> Option<f32> {
        let lines = lines_of(text);
        let at = lines.iter().position(|line| line.folded.ends_with(':')).unwrap();
        confidence(&lines, 0, at, at, false)
    }

    #[test]
    fn the_less_a_sender_is_named_the_more_must_speak_for_a_program() {
        let all = [
            ("Yes\nOn Tue, 12 May 2026 at 09:41, Ana <ana@example.com> wrote:\nWhen?", Some(0.9)),
            ("Yes\nPå 12 maj 2026 på 02:23:18, Ana Lopez (ana@example.com) skrev:\nWhen?", Some(0.9)),
            ("Yes\n\nвт, 12 мая 2026 г. в 09:41, Ana <ana@example.com>:\n\nWhen?", Some(0.85)),
            ("Yes.\n\nNo dia 12/05/2026, às 00:19, ana@example.com escreveu:\n\nWhen?", Some(0.75)),
            ("Yes.\n\nAm 12.05.26 um 09:41 schrieb Ana Lopez:\n\nWhen?", Some(0.75)),
            ("Yes.\n\nAm 12.05.26 um 09:41 schrieb Ana Lopez:\nWhen?", None),
            ("Yes.\nAm 12.05.26 um 09:41 schrieb Ana Lopez:\n\nWhen?", None),
            ("Hello,\n\nAm 12.05.26 um 09:41 schrieb Ana Lopez:\n\nWhen?", None),
            ("Yes.\nana schrieb am Di. 12. Mai 2026 um 09:41:\n\n    When?\n\n    Ana", Some(0.85)),
            ("Yes.\nana schrieb am Di. 12. Mai 2026 um 09:41:\n\n    When?\n\nAt ten.", None),
        ];
        for (mail, expected) in all {
            assert_eq!(found(mail), expected, "{mail}");
        }
    }

    #[test]
    fn what_a_person_says_somebody_wrote_is_no_attribution() {
        for line in [
            "On 12 May 2026 at 09:41 your colleague wrote:",
            "On 12 May 2026 at 09:41 you (ana@example.com) wrote:",
            "on 12 May 2026 at 09:41 Ana wrote:",
            "Am 12. Mai 2026 um 09:41 Uhr schrieb Ihre Kollegin:",
            "Am 12. Mai 2026 um 09:41 Uhr schrieb uns Frau Keller:",
            "Le 12 mai 2026 à 09:41 la voisine nous a écrit :",
            "On 12 May 2026 at 09:41 I wrote:",
        ] {
            assert_eq!(found(&format!("We have a question.\n\n{line}\n\nthe key is there.")), None, "{line}");
        }
    }
}
