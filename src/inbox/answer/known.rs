//! Text that we sent ourselves, found again in what came back.
//!
//! Promises: finds it whatever the program, the language or the line breaks, by runs of words; linear in both texts.
//! Fewer than [`LEAST`] words in a row are chance ("Thank you for your message") and don't count.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::clients::{Mark, Part};
use super::line::{Line, fold};
use super::steps;

/// Words in a row that make a run.
const RUN: usize = 5;

/// So many words in a row must be found before a passage counts as known.
const LEAST: usize = 12;

/// At most so many words of all that was sent are remembered.
const MOST: usize = 50_000;

/// The mark that known lines get.
const MARK: Mark = Mark { rule: "known:own_text", part: Part::Known };

/// Marks the lines that stand in a text we sent.
pub fn mark(lines: &mut [Line], known: &[&str]) {
    let runs = runs_of(known);
    if runs.is_empty() {
        return;
    }
    let mut words: Vec<(u64, usize)> = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        words.extend(words_of(&line.folded).map(|word| (word, at)));
    }
    let mut found = vec![false; words.len()];
    steps::took(words.len());
    for start in 0..words.len().saturating_sub(RUN - 1) {
        let run = words.get(start..start + RUN).unwrap_or_default().iter().map(|(word, _)| *word);
        if runs.contains(&run_of(run)) {
            found.iter_mut().skip(start).take(RUN).for_each(|word| *word = true);
        }
    }
    drop_short(&mut found);
    // How many words of a line are known, how many it has, and how many behind the last known one.
    let mut counts = vec![(0usize, 0usize, 0usize); lines.len()];
    for ((_, at), found) in words.iter().zip(found) {
        if let Some((known, all, added)) = counts.get_mut(*at) {
            *known += usize::from(found);
            *all += 1;
            *added = if found { 0 } else { *added + 1 };
        }
    }
    let is_known = |line: &Line, (known, all, added): (usize, usize, usize)| {
        // What stands behind our words may be an answer to them; a link that a program wrote out is none.
        let answered = added > 0 && !line.folded.ends_with('>');
        known > 0 && !answered && known * 5 >= all * 4 && line.depth == 0 && line.mark.is_none()
    };
    // Above one's own words only what is known whole counts: in a form that was filled in a word or two are new.
    let is_own = |(line, count): (&Line, &(usize, usize, usize))| {
        let others = line.is_blank() || line.depth > 0 || line.mark.is_some() || line.is_device();
        !others && !is_known(line, *count)
    };
    let own = lines.iter().zip(&counts).rposition(is_own).unwrap_or(0);
    for (at, (line, count)) in lines.iter_mut().zip(counts).enumerate() {
        if is_known(line, count) && (at > own || count.0 == count.1) {
            line.mark = Some(MARK);
        }
    }
}

/// Takes back what was found by chance.
fn drop_short(found: &mut [bool]) {
    for run in found.chunk_by_mut(|one, next| one == next) {
        if run.len() < LEAST {
            run.fill(false);
        }
    }
}

fn runs_of(known: &[&str]) -> HashSet<u64> {
    let mut runs = HashSet::new();
    let mut room = MOST;
    for text in known {
        let words: Vec<u64> =
            text.lines().flat_map(|line| words_of(&fold(line)).collect::<Vec<_>>()).take(room).collect();
        room -= words.len();
        runs.extend(words.windows(RUN).map(|run| run_of(run.iter().copied())));
    }
    runs
}

/// The words of a folded line. Scripts without spaces give a "word" per sign.
fn words_of(folded: &str) -> impl Iterator<Item = u64> {
    folded.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).flat_map(|word| {
        let unspaced = word.chars().any(
            |c| matches!(u32::from(c), 0xe00..=0xe7f | 0x3040..=0x30ff | 0x4e00..=0x9fff | 0xac00..=0xd7af),
        );
        let signs = if unspaced { word.chars().map(|c| hash(&c)).collect() } else { vec![hash(&word)] };
        signs.into_iter()
    })
}

fn run_of(words: impl Iterator<Item = u64>) -> u64 {
    words.fold(0u64, |run, word| run.rotate_left(11).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ word)
}

fn hash(word: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    word.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::mark;
    use crate::inbox::answer::line::lines_of;

    #[test]
    fn sent_text_is_found_in_other_line_breaks() {
        let sent = "Dear guest, the key is in the box beside the door,\nand the code of the box is four times seven. See you soon!";
        let mut lines = lines_of(
            "We are here.\n\nIliandikwa na mwenyeji\nDear guest, the key\nis in the box beside the door, and\nthe code of the box is four times seven.",
        );
        mark(&mut lines, &[sent]);
        assert_eq!(
            lines.iter().map(|line| line.mark.is_some()).collect::<Vec<_>>(),
            [false, false, false, true, true, true]
        );
    }

    #[test]
    fn common_phrases_are_chance() {
        let mut lines = lines_of("Thank you for your message and have a nice day.");
        mark(&mut lines, &["Hello! Thank you for your message and see you."]);
        assert!(lines.iter().all(|line| line.mark.is_none()));
    }
}
