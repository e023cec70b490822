//! Quotation marks with initials, as The Bat writes them: `CS> When do you come?`.
//!
//! `SQL> select 1` is a prompt, `a> b` a sum, and people paste chats. Initials quote where a line above them says who
//! wrote, or where lines below one another have the same and read like talk; then all lines with them do. Promises:
//! linear; what isn't proven stays a line like any other.

use std::collections::HashSet;
use std::sync::LazyLock;

use super::attribution::{self, MAX_LINES};
use super::dates::figures;
use super::line::{Line, fold, unquoted};
use super::phrases::Phrases;
use super::steps;

/// Initials are so many letters at most; whole names are [`super::unmarked`]'s.
const MOST_LETTERS: usize = 3;

/// So many lines above initials, the line that announces them is looked for.
const NEAR: usize = 3;

/// Such a line is at most so long, in octets.
const MAX_LENGTH: usize = 200;

/// What stands before `>` in prompts and notes of people's, and is nobody's initials.
const PROMPTS: &[&str] = &["CC", "CLI", "CMD", "DB", "FYI", "NB", "PS", "RE", "SQL"];

/// "You wrote", as The Bat has it, folded.
#[rustfmt::skip]
const YOU_WROTE: &[&str] = &[
    "you wrote", "вы писали", "ви писали", "schrieben sie", "sie schrieben", "vous écriviez", "vous avez écrit",
    "hai scritto", "lei ha scritto", "usted escribió", "escribiste", "você escreveu", "można przeczytać",
    "jste napsal", "schreef u", "u schreef",
];

static ALL_YOU_WROTE: LazyLock<Phrases> = LazyLock::new(|| Phrases::of(YOU_WROTE));

/// A line that begins with letters and marks right behind them.
struct Marked<'a> {
    name: &'a str,
    depth: u8,
    content: &'a str,
}

impl<'a> Marked<'a> {
    fn of(text: &'a str) -> Option<Marked<'a>> {
        steps::took(1);
        let text = text.trim_start();
        let (end, _) = text.char_indices().take(MOST_LETTERS + 1).find(|(_, c)| !c.is_alphabetic())?;
        let (name, marks) = text.split_at_checked(end).filter(|(_, marks)| marks.starts_with('>'))?;
        let (depth, content) = unquoted(marks);
        let apart = content.is_empty() || content.starts_with(char::is_whitespace);
        (!name.is_empty() && apart).then_some(Marked { name, depth, content })
    }
}

/// Does a line begin with initials and a mark?
pub fn begin(line: &Line) -> bool {
    Marked::of(&line.text).is_some()
}

/// Makes quoted lines of those that initials quote. Nothing may have been found out about them so far.
pub fn mark(lines: &mut [Line]) {
    let unquoted = lines.iter().enumerate().filter(|(_, line)| line.depth == 0);
    let found: Vec<(usize, Marked<'_>)> =
        unquoted.filter_map(|(at, line)| Some((at, Marked::of(&line.text)?))).collect();
    let mut names = found.iter().filter(|(_, marked)| marked.depth == 1).map(|(_, marked)| marked.name);
    let first = names.next();
    // Of several who speak in turn, none is quoted.
    let alone = names.all(|name| Some(name) == first);
    let mut proven = HashSet::new();
    for run in found.chunk_by(|(at, one), (next, other)| at + 1 == *next && one.name == other.name) {
        let Some((at, marked)) = run.first() else { continue };
        let is_proven = || is_announced(lines, *at) || alone && is_talk(run);
        if !proven.contains(marked.name) && is_proven() {
            proven.insert(marked.name);
        }
    }
    // What was quoted there before has the initials of others and more marks.
    let is_quoted = |marked: &Marked<'_>| proven.contains(marked.name) || marked.depth > 1;
    let quoted: Vec<(usize, u8, String)> = found
        .iter()
        .filter(|(_, marked)| !proven.is_empty() && is_quoted(marked))
        .map(|(at, marked)| (*at, marked.depth, fold(marked.content)))
        .collect();
    for (at, depth, folded) in quoted {
        if let Some(line) = lines.get_mut(at) {
            line.quote(depth, folded);
        }
    }
}

/// Does an attribution stand above the line at `at`?
fn is_announced(lines: &[Line], at: usize) -> bool {
    let written = |above: &usize| lines.get(*above).is_some_and(|line| !line.is_blank());
    let above = (at.saturating_sub(NEAR)..at).rev().find(written);
    above.is_some_and(|above| {
        announcement(lines, 0, above).is_some()
            || attribution::ending_at(lines, above.saturating_sub(MAX_LINES), above, false).is_some()
    })
}

/// "Tuesday, May 12, 2026, 9:41:00 AM, you wrote:", on the line at `at`, or on that above it as well: where it begins.
/// It names nobody, so that initials must follow it.
pub fn announcement(lines: &[Line], own: usize, at: usize) -> Option<usize> {
    let last = lines.get(at).filter(|line| line.folded.ends_with(':') && line.folded.len() <= MAX_LENGTH)?;
    let says = |text: &str| ALL_YOU_WROTE.any_in(text) && figures(text).is_moment();
    if says(&last.folded) {
        return Some(at);
    }
    let above = at.checked_sub(1).filter(|above| *above >= own)?;
    let line = lines.get(above).filter(|line| !line.is_blank() && line.folded.len() <= MAX_LENGTH)?;
    says(&format!("{} {}", line.folded, last.folded)).then_some(above)
}

/// Do several lines with the same initials read like what people write, and not like what they type at a prompt?
fn is_talk(run: &[(usize, Marked<'_>)]) -> bool {
    let Some((_, first)) = run.first().filter(|(_, first)| first.depth == 1 && run.len() > 1) else {
        return false;
    };
    let is_initials = (2..=3).contains(&first.name.chars().count())
        && first.name.chars().all(char::is_uppercase)
        && !PROMPTS.contains(&first.name);
    let mut said = run.iter().map(|(_, marked)| marked.content.trim()).filter(|said| !said.is_empty());
    let begins = |said: &str| {
        let mut letters = said.chars();
        letters.next().is_some_and(|first| first.is_alphabetic() && !first.is_lowercase())
            && !letters.next().is_some_and(char::is_uppercase)
    };
    let ends = |said: &str| said.ends_with(['.', '?', '!', ',', ':', '…', '。', '？', '！']);
    is_initials && said.next().is_some_and(|first| begins(first) && (ends(first) || said.any(ends)))
}

#[cfg(test)]
mod tests {
    use super::{YOU_WROTE, mark};
    use crate::inbox::answer::line::{fold, lines_of};

    fn depths(text: &str) -> Vec<u8> {
        let mut lines = lines_of(text);
        mark(&mut lines);
        lines.iter().map(|line| line.depth).collect()
    }

    #[test]
    fn words_are_folded_as_lines_are() {
        for words in YOU_WROTE {
            assert_eq!(fold(words), *words);
        }
    }

    #[test]
    fn initials_quote_below_an_attribution_and_further_down() {
        let all = [
            ("Tuesday, May 12, 2026, 9:41:00 AM, you wrote:\n\nCS> When?\n\nAt six.\n\nCS> Pets?", 6),
            ("Вы писали 12 мая 2026 г., 9:41:00:\n\nКС> Когда?\n\nВ 6.\n\nКС> И?", 6),
            ("Am Dienstag, 12. Mai 2026 um 09:41:00\nschrieben Sie:\nCS> Wann?\n\nUm 6.\n\nCS> Und?", 6),
        ];
        for (text, last) in all {
            let depths = depths(text);
            assert_eq!((depths[2], depths[4], depths[last]), (1, 0, 1), "{text}");
        }
        let nested = "On Tuesday, May 12, 2026, 9:41:00 AM, you wrote:\n\nCS> Six?\nAL>> When?\nCS>> So.";
        assert_eq!(depths(nested), [0, 0, 1, 2, 2]);
    }

    #[test]
    fn several_lines_of_talk_with_the_same_initials_are_quoted() {
        assert_eq!(depths("At six.\n\nCS> When do you come?\nCS> Tell us.\n\nCS> Bye"), [0, 0, 1, 1, 0, 1]);
    }

    #[test]
    fn prompts_sums_chats_and_notes_are_not() {
        for text in [
            "SQL> select id from stays;\nSQL> exit",
            "AB> ls -l\nAB> pwd.",
            "AB> When do you come?",
            "x> y.\nx> z.",
            "PS> Bring the keys.\nPS> And towels.",
            "AB> When do we come?\nKL> At six.\nAB> I bring the dog.\nAB> And a cot.",
            "On 12 May 2026 at 09:41 I saw this:\n\nDB> Cannot open the file.",
            "HTML>text\nHTML>text.",
        ] {
            assert!(depths(text).iter().all(|depth| *depth == 0), "{text}");
        }
    }
}
