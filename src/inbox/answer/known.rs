//! Text that we sent ourselves, found again in what came back.
//!
//! Promises: finds it whatever the program, the language or the line breaks, by runs of words; linear in both texts.
//! Fewer than [`LEAST`] words in a row are chance ("Thank you for your message") and don't count, unless most of what
//! was sent is there. A line of ours that somebody pasted is theirs: what is known goes where it is plainly a quotation
//! only.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;

use super::clients::{Mark, Part};
use super::line::{Line, fold};
use super::{attribution, headers, separators, stand_ins, steps};

/// Words in a row that make a run.
const RUN: usize = 5;

/// So many words in a row must be found before a passage counts as known.
const LEAST: usize = 12;

/// So many known lines at the end of a mail are a quotation, though most of what was sent isn't there.
const LINES: usize = 3;

/// At most so many words of all that was sent are remembered.
const MOST: usize = 50_000;

/// The mark that known lines get.
pub const MARK: Mark = Mark { rule: "known:own_text", part: Part::Known };

/// Where text of ours was found.
#[derive(Debug, Default)]
pub struct Ours {
    /// The lines that have words of ours in order, those with an answer behind them too, if most of such a text stands in
    /// lines that no program marked as a quotation.
    pub unmarked: Vec<usize>,
    /// The lines between ours that somebody filled in, if most of such a text is quoted.
    pub filled: Vec<usize>,
}

/// Marks the lines that quote a text we sent, and tells of those that are quoted anyway.
pub fn mark(lines: &mut [Line], known: &[&str]) -> Ours {
    let sent = words_sent(known);
    let runs: HashSet<u64> =
        sent.iter().flat_map(|words| words.windows(RUN)).map(|run| run_of(run.iter().copied())).collect();
    if runs.is_empty() {
        return Ours::default();
    }
    mark_programs(lines, known);
    let mut words: Vec<(u64, usize)> = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        if !line.is_programs {
            words.extend(words_of(&line.folded).map(|word| (word, at)));
        }
    }
    let mut found = vec![false; words.len()];
    // Where each run begins for the last time.
    let mut last: HashMap<u64, usize> = HashMap::new();
    let mut begun: Vec<(usize, u64)> = Vec::new();
    let mut quoted: HashMap<u64, usize> = HashMap::new();
    steps::took(words.len());
    for (start, window) in words.windows(RUN).enumerate() {
        let run = run_of(window.iter().map(|(word, _)| *word));
        if runs.contains(&run) {
            found.iter_mut().skip(start).take(RUN).for_each(|word| *word = true);
            let first = window.first().and_then(|(_, at)| lines.get(*at));
            if first.is_some_and(|line| line.depth == 1) {
                quoted.insert(run, start);
            } else if first.is_some_and(is_unmarked) {
                last.insert(run, start);
                begun.push((start, run));
            }
        }
    }
    let is_quoted = sent.iter().any(|words| is_most(words, &quoted));
    let lines_of_words = || words.iter().map(|(_, at)| *at);
    let filled =
        if is_quoted { filled(lines, lines_of_words().zip(found.iter().copied())) } else { Vec::new() };
    let whole = sent.iter().any(|words| is_most(words, &last));
    if whole {
        // What was sent once is quoted once: of "Thank you for your message" the first may be the answer's.
        let mut again = vec![false; words.len()];
        for (start, run) in begun {
            if last.get(&run) != Some(&start) {
                again.iter_mut().skip(start).take(RUN).for_each(|word| *word = true);
            }
        }
        drop_short(&mut found, |run| again.get(run).is_some_and(|again| again.contains(&true)));
    } else {
        drop_short(&mut found, |_| true);
    }
    let mut ours: Vec<usize> =
        words.iter().zip(&found).filter(|(_, found)| **found).map(|((_, at), _)| *at).collect();
    mark_found(lines, &counts(lines.len(), lines_of_words().zip(found)));
    if !whole {
        release_pasted(lines);
        ours.clear();
    }
    ours.dedup();
    Ours { unmarked: ours, filled }
}

/// Marks the lines that a program wrote into a text of ours, and those of nothing but a link, which have no words.
fn mark_programs(lines: &mut [Line], known: &[&str]) {
    let sent: HashSet<String> = known
        .iter()
        .flat_map(|text| text.split_whitespace())
        .filter(|word| word.contains(SCHEME))
        .map(|word| fold(word).trim_matches(AROUND_LINK).to_owned())
        .collect();
    let mut are_programs = vec![false; lines.len()];
    // The link that the line above ends with, and whether it has nothing else.
    let (mut link, mut is_alone) = (String::new(), false);
    for (at, line) in lines.iter().enumerate() {
        let is_word = !line.is_blank() && !line.folded.trim_matches(AROUND_LINK).contains(' ');
        if is_word && !link.is_empty() {
            link.push_str(&line.folded);
            if sent.contains(link.trim_matches(AROUND_LINK)) {
                let from = if is_alone { at - 1 } else { at };
                are_programs.get_mut(from..=at).unwrap_or_default().fill(true);
            }
        }
        link.clear();
        is_alone = is_word;
        if let Some(word) = line.folded.rsplit(' ').next().filter(|word| word.contains(SCHEME)) {
            link.push_str(word);
        }
        let is_link = || is_word && sent.contains(line.folded.trim_matches(AROUND_LINK));
        if let Some(is_programs) = are_programs.get_mut(at) {
            *is_programs |= stand_ins::is_stand_in(&line.folded) || is_link();
        }
    }
    for (line, is_programs) in lines.iter_mut().zip(are_programs) {
        line.is_programs = is_programs;
    }
}

/// What stands within a link.
const SCHEME: &str = "://";

/// How links begin that a program writes out in brackets, without that.
const WRITTEN_OUT: &[&str] = &["mailto:", "tel:", "callto:", "sip:", "sms:"];

/// What stands around a link and is none of it.
const AROUND_LINK: [char; 9] = ['.', ',', ';', ')', '>', '(', '<', '-', ' '];

/// The quoted lines between the first of ours and the last that have other words, or others behind ours.
fn filled(lines: &[Line], words: impl Iterator<Item = (usize, bool)>) -> Vec<usize> {
    let counts = counts(lines.len(), words);
    let quoted = |at: &usize| lines.get(*at).is_some_and(|line| line.depth == 1);
    let has_ours = |at: &usize| quoted(at) && counts.get(*at).is_some_and(|count| count.known > 0);
    let (Some(first), Some(last)) = ((0..lines.len()).find(has_ours), (0..lines.len()).rev().find(has_ours))
    else {
        return Vec::new();
    };
    let is_filled = |at: usize| {
        let line = lines.get(at).zip(counts.get(at));
        line.is_some_and(|(line, count)| line.depth == 1 && count.all > 0 && !count.is_ours(line))
    };
    let mut filled = Vec::new();
    let mut at = first;
    while at <= last {
        if is_filled(at)
            && let Some(announced) = announced_in(lines, first, at)
        {
            // An older mail that ours quotes: its announcement is nobody's answer, nor is what isn't quoted deeper below it.
            filled.truncate(filled.partition_point(|line| *line < announced.start));
            at = announced.end;
            let below = lines.iter().skip(at).find(|line| !line.is_blank());
            if below.is_none_or(|line| line.depth <= 1) {
                break;
            }
            continue;
        }
        filled.extend(is_filled(at).then_some(at));
        at += 1;
    }
    filled
}

/// The lines that announce an older mail and of which `at` is the last of an attribution, or the first of anything else.
fn announced_in(lines: &[Line], first: usize, at: usize) -> Option<Range<usize>> {
    let block = || headers::starting_at(lines, at).map(|block| at..block.end);
    let separator = || separators::at(lines, at).map(|_| at..at + 1);
    let depth = |at: usize| lines.get(at).map(|line| line.depth);
    let below = depth(at + 1) > depth(at);
    let attribution = || attribution::ending_at(lines, first, at, below).map(|from| from..at + 1);
    block().or_else(separator).or_else(attribution)
}

/// How many words of a line are known, how many it has, and how many behind the last known one.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    known: usize,
    all: usize,
    added: usize,
}

impl Count {
    fn is_ours(self, line: &Line) -> bool {
        // What stands behind our words may be an answer to them; a link that a program wrote out is none.
        let answered = self.added > 0 && !line.folded.ends_with('>');
        self.known > 0 && !answered && self.known * 5 >= self.all * 4
    }
}

/// Counts the words of each line; `words` tells the line of each, and whether it is known.
fn counts(lines: usize, words: impl Iterator<Item = (usize, bool)>) -> Vec<Count> {
    let mut counts = vec![Count::default(); lines];
    for (at, found) in words {
        if let Some(count) = counts.get_mut(at) {
            count.known += usize::from(found);
            count.all += 1;
            count.added = if found { 0 } else { count.added + 1 };
        }
    }
    counts
}

fn is_unmarked(line: &Line) -> bool {
    line.depth == 0 && line.mark.is_none()
}

/// Is most of a text there? Of what a form asks, or a link that was written out, some words are other ones.
fn is_most(words: &[u64], found: &HashMap<u64, usize>) -> bool {
    let mut seen = vec![false; words.len()];
    for (start, run) in words.windows(RUN).enumerate() {
        if found.contains_key(&run_of(run.iter().copied())) {
            seen.iter_mut().skip(start).take(RUN).for_each(|word| *word = true);
        }
    }
    let seen = seen.iter().filter(|seen| **seen).count();
    seen >= LEAST && seen * 4 >= words.len() * 3
}

/// Marks the lines whose words were found.
fn mark_found(lines: &mut [Line], counts: &[Count]) {
    let is_known = |line: &Line, count: Count| count.is_ours(line) && is_unmarked(line);
    // Above one's own words only what is known whole counts: in a form that was filled in a word or two are new.
    let is_new = |(line, count): (&Line, &Count)| is_own(line) && !is_known(line, *count);
    let own = lines.iter().zip(counts).rposition(is_new).unwrap_or(0);
    for (at, (line, count)) in lines.iter_mut().zip(counts).enumerate() {
        if is_known(line, *count) && (at > own || count.known == count.all) {
            line.mark = Some(MARK);
        }
        line.is_ours = line.depth > 0 && count.known > 0 && count.known * 5 >= count.all * 4;
    }
}

/// Could it be a line of one's own?
fn is_own(line: &Line) -> bool {
    !line.is_blank() && is_unmarked(line) && !line.is_device() && !line.is_programs
}

/// Takes the mark from lines that stand there as nothing but lines: neither announced nor several at the end.
fn release_pasted(lines: &mut [Line]) {
    let is_known = |line: &Line| line.mark == Some(MARK);
    let end = lines.iter().rposition(is_own).map_or(0, |own| own + 1);
    let mut above = None;
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        if !is_known(line) {
            above = if line.is_blank() { above } else { Some(at) };
            at += 1;
            continue;
        }
        let block = lines.get(at..).unwrap_or_default();
        let length = block.iter().take_while(|line| is_known(line) || line.is_blank()).count();
        let count = block.iter().take(length).filter(|line| is_known(line)).count();
        let is_last = at >= end && count >= LINES;
        if !is_last && !above.is_some_and(|above| announces(lines, above)) {
            lines
                .iter_mut()
                .skip(at)
                .take(length)
                .filter(|line| is_known(line))
                .for_each(|line| line.mark = None);
        }
        above = Some(at + length - 1);
        at += length;
    }
}

/// Does something end on this line that announces a quotation?
fn announces(lines: &[Line], at: usize) -> bool {
    attribution::ending_at(lines, 0, at, true).is_some()
        || separators::at(lines, at).is_some()
        || lines.get(at).is_some_and(headers::is_field)
            && (at.saturating_sub(FIELDS)..at)
                .any(|start| headers::starting_at(lines, start).is_some_and(|block| block.end == at + 1))
}

/// A header block has so many lines at most above its last.
const FIELDS: usize = 8;

/// Takes back short stretches: all of those that `is_chance` says so of.
fn drop_short(found: &mut [bool], is_chance: impl Fn(Range<usize>) -> bool) {
    let mut start = 0;
    for run in found.chunk_by_mut(|one, next| one == next) {
        let end = start + run.len();
        if run.len() < LEAST && is_chance(start..end) {
            run.fill(false);
        }
        start = end;
    }
}

/// The words of each text, of all together as many as are remembered.
fn words_sent(known: &[&str]) -> Vec<Vec<u64>> {
    let mut room = MOST;
    let mut sent = Vec::new();
    for text in known {
        let words: Vec<u64> =
            text.lines().flat_map(|line| words_of(&fold(line)).collect::<Vec<_>>()).take(room).collect();
        room -= words.len();
        sent.push(words);
    }
    sent
}

/// The words of a folded line, without what programs write out or leave away: links, what stands in a picture's place, the
/// number of an item. Scripts without spaces give a "word" per sign.
fn words_of(folded: &str) -> impl Iterator<Item = u64> {
    let pieces = stand_ins::around(without_number(folded)).flat_map(|part| part.split(' ')).map(|piece| {
        if let Some(at) = piece.find(SCHEME) {
            return piece.get(..at).unwrap_or_default().trim_end_matches(|c: char| c.is_ascii_lowercase());
        }
        let link = piece.find('<').filter(|at| {
            let link = piece.get(at + 1..).unwrap_or_default();
            WRITTEN_OUT.iter().any(|scheme| link.starts_with(scheme))
        });
        piece.get(..link.unwrap_or(piece.len())).unwrap_or_default()
    });
    let words = pieces.flat_map(|piece| piece.split(|c: char| !c.is_alphanumeric()));
    words.filter(|word| !word.is_empty()).flat_map(|word| {
        let unspaced = word.chars().any(
            |c| matches!(u32::from(c), 0xe00..=0xe7f | 0x3040..=0x30ff | 0x4e00..=0x9fff | 0xac00..=0xd7af),
        );
        let signs = if unspaced { word.chars().map(|c| hash(&c)).collect() } else { vec![hash(&word)] };
        signs.into_iter()
    })
}

/// An item without its number: lists are bulleted in a text, and numbered in its HTML.
fn without_number(folded: &str) -> &str {
    let words = folded.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = folded.len() - words.len();
    let item = words.strip_prefix(['.', ')']).and_then(|words| words.strip_prefix(' '));
    item.filter(|_| (1..=2).contains(&digits)).unwrap_or(folded)
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
    fn what_ours_quotes_and_links_that_programs_write_out_are_not_filled_in() {
        const SENT: &str = "Dear guest, the key is in the box beside the door, and the code of it is four times seven.\n\
            Call us at +34 600 123 456 or write to hola@casasol.example before you leave.\nHow many are you?";
        const FIRST: &str =
            "> Dear guest, the key is in the box beside the door, and the code of it is four times seven.\n";
        const LAST: &str = "> Call us at +34 600 123 456 or write to hola@casasol.example before you leave.\n> How many are you?";
        let filled = |middle: &str| {
            let mut lines = lines_of(&format!("Fine.\n\n{FIRST}{middle}{LAST}"));
            let filled = mark(&mut lines, &[SENT]).filled;
            filled.iter().map(|at| lines[*at].text.trim().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(filled("> Five?\n"), ["> Five?"]);
        assert_eq!(
            filled("> On 22/11/2026 10:15, Ana Guest wrote:\n> > We arrive at six.\n> Five?\n"),
            ["> Five?"]
        );
        let block = "> From: Ana Guest <ana@guest.example>\n> Sent: Monday, November 23, 2026 10:15 AM\n> To: Casa Sol\n> Subject: Stay\n";
        assert_eq!(filled(&format!("{block}>\n> We arrive at six.\n")), [""; 0]);
        let mut lines = lines_of(&format!(
            "Fine.\n\n{FIRST}> Call us at +34 600 123 456\n> <tel:+34600123456> or write to hola@casasol.example\n> \
            <mailto:hola@casasol.example> before you leave.\n> How many are you?"
        ));
        assert!(mark(&mut lines, &[SENT]).filled.is_empty());
    }

    #[test]
    fn common_phrases_are_chance() {
        let mut lines = lines_of("Thank you for your message and have a nice day.");
        mark(&mut lines, &["Hello! Thank you for your message and see you."]);
        assert!(lines.iter().all(|line| line.mark.is_none()));
    }
}
