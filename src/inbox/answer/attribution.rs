//! Attribution lines: "On … somebody wrote:", by their structure first and by words second.
//!
//! An attribution is a date a program wrote, or an address it wrote, or both, that ends with a colon or with the word
//! for "wrote"; it may be broken over several lines. Words are there for programs that write neither address nor colon.
//! What is no attribution by itself can be one because of the quotation it stands above.
//!
//! Promises: linear (each line looks back over at most [`MAX_LINES`]); a line of prose with a colon is none.

use super::dates::{Address, address, figures};
use super::line::Line;
use super::phrases::Phrases;
use super::steps;
use super::unmarked;
use std::cell::LazyCell;
use std::sync::LazyLock;

/// Mail programs break an attribution into so many lines at most.
pub const MAX_LINES: usize = 6;

/// An attribution is at most so long, in octets.
const MAX_LENGTH: usize = 480;

/// A line of so many characters was broken for its length.
const FULL: usize = 55;

/// Words by which mail programs say "wrote", folded. Each stands alone or at the end of a word.
#[rustfmt::skip]
const VERBS: &[&str] = &[
    "wrote", "writes", "schrieb", "geschrieben", "a écrit", "a ecrit", "ha scritto", "scrive", "ha scrito",
    "escribió", "escribio", "escribiste", "ha escrito", "escreveu", "napisał", "napisał(a)", "napisała",
    "napisał/a", "napisał(-a)", "napisana przez", "wiadomość napisana przez", "pisze", "schreef",
    "geschreven", "heeft geschreven", "het volgende geschreven", "skrev", "skrev følgende", "skreiv",
    "kirjoitti", "skrifaði", "ritaði", "napsal", "napsal(a)", "napsala", "napísal", "napísal(a)", "napísala",
    "je napisao", "je napisala", "je napisao/la", "je napisal", "je pisao", "napisao", "napisala", "napisal",
    "napisal(a)", "napisali",
    "је написао", "је написала", "је написао/ла", "írta", "ezt írta", "a következőt írta", "a scris",
    "a scris următoarele", "написал", "написал(а)", "написала", "пишет", "писал", "писал(а)", "написав",
    "написав(ла)", "написав(-ла)", "пише", "пишет(вы)", "написа", "напиша", "έγραψε", "έγραψε(ν)", "έγραψαν",
    "yazdı", "şunu yazdı", "şöyle yazdı", "tarihinde yazdı", "yazmış", "yazıb", "كتب", "كتبت", "نوشت",
    "نوشته است", "כתב", "כתבה", "כתב/ה", "ने लिखा", "লিখেছেন", "เขียนว่า", "เขียน", "đã viết", "viết",
    "menulis", "tulis", "menulis:", "写道", "寫道", "写到", "写了", "書きました", "のメッセージ", "さんは書きました", "さんが書きました", "のメール",
    "님이 작성", "작성", "님이 씀", "님의 말", "에 작성함", "kirjutas", "rakstīja", "parašė", "rašė", "shkroi", "va escriure",
    "escrigué", "idatzi zuen", "escribiu", "ha escrit", "scríobh", "ysgrifennodd", "het geskryf", "geskryf",
    "sumulat", "isinulat ni", "aliandika", "ameandika", "напісаў", "жазды", "დაწერა", "գրել է", "ጽፏል", "ጽፈዋል", "ጽፋለች", "ጻፈ", "ጻፉ", "ጻፈች", "ጽፎ ነበር",
    "wrote ----",
    "--- wrote",
];

static VERBS_ANYWHERE: LazyLock<Phrases> = LazyLock::new(|| Phrases::of(VERBS));

/// The verbs by their last octet.
static VERBS_AT_END: LazyLock<Vec<Vec<&str>>> = LazyLock::new(|| {
    let mut ends = vec![Vec::new(); 256];
    for verb in VERBS {
        let last = verb.bytes().next_back().map(usize::from);
        if let Some(ends) = last.and_then(|last| ends.get_mut(last)) {
            ends.push(*verb);
        }
    }
    ends
});

/// Words that open an attribution, folded.
#[rustfmt::skip]
const OPENERS: &[&str] = &[
    "on", "am", "le", "il", "il giorno", "el", "em", "no dia", "op", "den", "d.", "dnia", "w dniu",
    "wiadomość napisana", "dne", "dňa", "dana", "u", "v", "pe", "în data de", "la", "în", "в", "у", "на",
    "στις", "την", "vào", "pada", "tanggal", "em data", "a", "al", "à", "at", "in", "de", "nuo", "2", "lúc",
    "เมื่อ", "ใน", "在", "于", "於", "في", "در", "בתאריך", "ב-", "by", "date:", "kl", "tor", "klo", "ti", "ma",
    "ke", "to", "su", "nel", "datum", "begin forwarded", "quoting", "zitat von", "quoting from", "citando",
    "citát", "cytat", "cytowanie", "quoted from", "el dia", "op di", "dia", "em qua", "trong", "ter",
    "በ", "እ.ኤ.አ", "vrijdag", "ons", "fre", "lör", "sön", "mån", "tis", "tors", "man", "tir", "lør", "søn",
];

/// Finds an attribution that ends at line `end`; gives the line it starts at.
///
/// `own` is where the part of the mail begins that it may reach back to; `quoted_below` says that a quotation
/// follows, which lets weaker forms pass.
pub fn ending_at(lines: &[Line], own: usize, end: usize, quoted_below: bool) -> Option<usize> {
    let last = lines.get(end)?;
    if !could_end(&last.folded, quoted_below) {
        return None;
    }
    let depth = last.depth;
    let mut joined = String::new();
    let mut start = end;
    for count in 0..MAX_LINES {
        let line = lines.get(start).filter(|line| line.depth == depth)?;
        let gap = if joined.is_empty() { "" } else { " " };
        if line.folded.len() + gap.len() + joined.len() > MAX_LENGTH {
            return None;
        }
        joined.insert_str(0, gap);
        joined.insert_str(0, &line.folded);
        let signed = || quoted_below && count == 0 && is_signed(last);
        let who = Who { lines, start, end };
        if !line.is_blank() && (is_whole(&joined, count > 0, quoted_below, who) || signed()) {
            return Some(reached_back(lines, own, start, end));
        }
        let above = start.checked_sub(1).filter(|above| *above >= own)?;
        if lines.get(above).is_some_and(|line| is_ended(&line.folded)) {
            return None;
        }
        // A blank line ends the attribution, unless what is there is so bare that it can't be all.
        let blank = lines.get(above).is_none_or(Line::is_blank);
        if blank
            && !(joined.len() < 60
                && address(&joined) == Address::Marked
                && figures(&joined).is_date() != quoted_below)
        {
            return None;
        }
        start = above;
    }
    None
}

/// Ends so that no attribution goes on over the line. Of a row of such lines each looks back at itself only.
fn is_ended(folded: &str) -> bool {
    folded.ends_with(['!', '?', ':']) && !folded.ends_with("mailto:")
}

/// Could this line be the last of an attribution?
fn could_end(folded: &str, quoted_below: bool) -> bool {
    if folded.is_empty() {
        return false;
    }
    let bare = stripped(folded);
    folded.len() <= MAX_LENGTH
        && (bare.ends_with(':')
            || ends_with_verb(bare)
            || quoted_below
            || written_inside(folded).is_some()
            || is_dated_name(folded))
}

/// The line without what programs put behind its end.
fn stripped(folded: &str) -> &str {
    folded.trim_end_matches(['-', ' ', '>', '|', '='])
}

/// The lines of what may be an attribution, read for whom they name.
#[derive(Clone, Copy)]
struct Who<'a> {
    lines: &'a [Line],
    start: usize,
    end: usize,
}

impl Who<'_> {
    /// A name stands beside the word for "wrote".
    fn is_named(self) -> bool {
        unmarked::is_named(self.lines.get(self.start..=self.end).unwrap_or_default())
    }

    /// A name is among the last words: "on 5 May 2026 at 18:00:" says only when.
    fn is_last(self) -> bool {
        let last = self.lines.get(self.end).map(|line| line.text.trim_end()).unwrap_or_default();
        last.split_whitespace().rev().take(3).any(begins_as_name)
    }
}

/// Begins with a capital, or with a letter of a script that has none?
fn begins_as_name(word: &str) -> bool {
    word.trim_start_matches(|c: char| !c.is_alphanumeric())
        .chars()
        .next()
        .is_some_and(|first| first.is_alphabetic() && !first.is_lowercase())
}

/// "Ana Perez wrote:", with nothing before the name: programs that write no date write so.
fn is_signed(line: &Line) -> bool {
    let dashed = || line.folded.starts_with("--") && line.folded.ends_with("--");
    let bare = line.folded.trim_matches(['-', ' ']);
    let Some(front) = before_verb(bare).map(str::trim).filter(|_| bare.ends_with(':') || dashed()) else {
        return false;
    };
    let count = front.split(' ').filter(|word| !word.is_empty()).count();
    let shown = line.text.trim_start_matches(['>', ' ', '*', '"', '-']);
    let words: Vec<&str> = shown.split_whitespace().take(count).collect();
    (1..=6).contains(&count)
        && !front.ends_with(',')
        && [words.first(), words.last()].into_iter().flatten().all(|word| begins_as_name(word))
        && words.iter().all(|word| begins_as_name(word) || word.chars().count() <= 3)
}

/// A whole attribution, in one line or joined?
///
/// A program says who and when. Where a quotation stands below, less of both is enough, but never one alone: "do it as
/// my husband wrote." is a person's sentence.
fn is_whole(joined: &str, broken: bool, quoted_below: bool, who: Who<'_>) -> bool {
    let bare = stripped(joined);
    let colon = bare.ends_with(':');
    let ends_with_verb = ends_with_verb(bare);
    let closed = colon || ends_with_verb;
    let is_dated_name = LazyCell::new(|| !broken && is_dated_name(joined));
    // Every form has one of these; most lines have none.
    if !closed && !quoted_below && !*is_dated_name && written_inside(joined).is_none() {
        return false;
    }
    let date = figures(joined);
    let address = address(joined);
    if !date.is_date() && address == Address::None && !quoted_below {
        return false;
    }
    let verb = LazyCell::new(|| ends_with_verb || (joined.len() < 300 && has_verb(joined)));
    let opened = LazyCell::new(|| starts_with_opener(joined));
    let prose = LazyCell::new(|| reads_like_prose(joined));
    // "<", the address on the next line: it began above.
    if joined.matches('>').count() > joined.matches('<').count() && !joined.starts_with('>') {
        return false;
    }
    // "Please do it as she wrote.": a person ends a sentence so, no program does.
    let at_end = colon || ends_with_verb && !joined.ends_with(['.', '…']);
    let dated_first = is_dated_first(joined);
    let in_front = *opened || starts_with_figure(joined) || dated_first;
    // A sentence that goes on over the line isn't one: "… on 5 May. We also wrote to them:"
    if closed && date.is_stamp() && !*prose {
        let named = address == Address::Marked || (address == Address::Bare && (*verb || *opened));
        // Without an hour the date must stand in front: "In your mail of 12 May 2026 you wrote:" is a person's.
        let written = at_end
            && (date.time || dated_first)
            && *verb
            && (*opened || starts_with_figure(joined) || date.is_moment());
        let told = quoted_below && at_end && {
            let by_verb = || *verb && (colon && (date.is_moment() || ends_with_verb) || who.is_named());
            let by_name = || colon && date.is_moment() && (address != Address::None || who.is_last());
            let by_address =
                || date.is_moment() && bare.rsplit(' ').next().is_some_and(|last| last.contains('@'));
            in_front && (by_verb() || by_name()) || colon && (by_address() || *verb && who.is_named())
        };
        if named || written || told {
            return true;
        }
    }
    // "Somebody <a@b.c> wrote:" has no date.
    if colon && address != Address::None && joined.len() < 200 && *verb && !*prose {
        return true;
    }
    if quoted_below && !broken && joined.len() < 160 && (colon || !*prose) {
        // "Quoting Ana <a@b.c>:"
        let behind = joined.rsplit('>').next().unwrap_or_default();
        let brief = joined.split(' ').count() <= 10 && behind.split_whitespace().count() <= 2;
        if colon && address == Address::Marked && brief {
            return true;
        }
        let dated = date.is_stamp()
            && (*opened || starts_with_figure(joined))
            && (address == Address::Marked || colon && who.is_last());
        // "Am 12.05.26 um 09:41 schrieb Casa Sol", and what names in full who wrote and when.
        let unclosed = *verb
            && date.is_moment()
            && (address == Address::Marked
                || in_front && who.is_last() && !joined.ends_with('.') && who.is_named());
        // A full stop ends a sentence: "On 5 May 2026 at 18:00 Ana <ana@example.com> arrives."
        let says_when = (dated || unclosed) && !joined.ends_with(['.', '!']);
        return says_when || (at_end && date.is_date() && *verb && who.is_named());
    }
    *is_dated_name || written_inside(joined).is_some()
}

/// "On … <a@b.c> wrote: What they wrote": the quotation goes on in the same line. Gives where it starts.
fn written_inside(folded: &str) -> Option<usize> {
    let could = folded.contains(':') && folded.contains('@') && figures(folded).is_moment();
    if !could || !starts_with_opener(folded) && !starts_with_figure(folded) {
        return None;
    }
    let verbs = VERBS_ANYWHERE.found(folded).take_while(|(at, _)| *at < 240).filter(|(at, verb)| {
        folded.get(at + verb.len()..).is_some_and(|rest| rest.trim_start().starts_with(':'))
    });
    let whole = |at: &usize| {
        folded.get(..*at).is_some_and(|front| figures(front).is_moment() && address(front) != Address::None)
    };
    verbs.map(|(at, _)| at).find(whole)
}

/// "2016-03-03 17:21 GMT+01:00 Some One": an old form of Gmail's, without verb or colon.
pub fn is_dated_name(folded: &str) -> bool {
    let starts = folded.as_bytes().iter().take(4).all(u8::is_ascii_digit) && folded.len() < 140;
    starts && figures(folded).is_moment() && (folded.contains(" gmt+") || folded.contains(" gmt-"))
        || (starts && folded.contains('/') && folded.ends_with('>') && address(folded) == Address::Marked)
}

/// Does a person's sentence end inside, or is a question asked?
fn reads_like_prose(joined: &str) -> bool {
    steps::took(joined.len());
    let words = |text: &str| {
        text.split(' ')
            .filter(|word| word.chars().all(char::is_alphabetic) && word.chars().count() > 3)
            .count()
    };
    if joined.contains("? ") || joined.contains("! ") || joined.contains('。') {
        return true;
    }
    joined.split(". ").any(|sentence| !sentence.contains('@') && words(sentence) > 9)
}

/// Does a figure stand among the first words?
fn is_dated_first(joined: &str) -> bool {
    joined.split(' ').take(4).any(|word| word.starts_with(|c: char| c.is_ascii_digit()))
}

fn starts_with_figure(folded: &str) -> bool {
    folded.trim_start_matches(['"', '\'', '[', '(', '-', ' ', '<']).starts_with(|c: char| c.is_ascii_digit())
}

fn starts_with_opener(folded: &str) -> bool {
    let folded = folded.trim_start_matches(['-', ' ', '"', '[', '(']);
    OPENERS.iter().any(|opener| {
        folded
            .strip_prefix(opener)
            .is_some_and(|rest| rest.starts_with([' ', ',', ':', '.']) || !opener.is_ascii())
    })
}

/// A line that by its place announces a quotation a program marked: a date in front, and a colon.
pub fn introduces(line: &Line) -> bool {
    let folded = &line.folded;
    let in_front = || starts_with_opener(folded) || starts_with_figure(folded) || is_dated_first(folded);
    let last = || line.text.split_whitespace().rev().take(3).any(begins_as_name);
    folded.ends_with(':') && line.figures().is_date() && in_front() && last() && !reads_like_prose(folded)
}

/// Is this folded word one that opens an attribution?
pub fn is_opener(word: &str) -> bool {
    OPENERS.contains(&word)
}

fn ends_with_verb(bare: &str) -> bool {
    before_verb(bare).is_some()
}

/// What stands before the word for "wrote" that a text ends with.
fn before_verb(bare: &str) -> Option<&str> {
    let bare = bare.trim_end_matches([':', ' ', '.', '…']);
    let last = bare.bytes().next_back().map(usize::from);
    let verbs = last.and_then(|last| VERBS_AT_END.get(last)).map(Vec::as_slice).unwrap_or_default();
    verbs.iter().find_map(|verb| {
        bare.strip_suffix(verb).filter(|front| {
            front.is_empty()
                || !verb.is_ascii() && !front.ends_with(char::is_alphabetic)
                || front.ends_with([' ', '>', '"', ')', ']', ',', '\u{a0}'])
                || is_unspaced(verb)
        })
    })
}

/// Scripts that set no space before the verb.
fn is_unspaced(verb: &str) -> bool {
    verb.chars().next().is_some_and(|first| matches!(u32::from(first), 0xe00..=0xe7f | 0x3040..=0x30ff | 0x4e00..=0x9fff | 0xac00..=0xd7af))
}

/// Does a word for "wrote" stand in a folded text?
pub fn has_verb(joined: &str) -> bool {
    verbs_in(joined).next().is_some()
}

/// The words for "wrote" in a folded text, and where they stand.
pub fn verbs_in(joined: &str) -> impl Iterator<Item = (usize, &'static str)> {
    VERBS_ANYWHERE.found(joined).filter(|(at, verb)| {
        let (at, verb) = (*at, *verb);
        let before = joined.get(..at).and_then(|front| front.chars().next_back());
        let after = joined.get(at + verb.len()..).and_then(|rest| rest.chars().next());
        let apart = |side: Option<char>| side.is_none_or(|c| !c.is_alphabetic());
        is_unspaced(verb) || (apart(before) && apart(after))
    })
}

/// What was found may be the end of an attribution that began above: "On Mon, Jun 3," or "Ana <a@b.c>".
fn reached_back(lines: &[Line], own: usize, found: usize, end: usize) -> usize {
    let mut start = found;
    let Some(depth) = lines.get(found).map(|line| line.depth) else { return found };
    for _ in 0..MAX_LINES {
        let Some(above) = start.checked_sub(1).filter(|above| *above >= own) else { break };
        let Some(line) = lines.get(above).filter(|line| line.depth == depth) else { break };
        let whole = lines
            .get(start..=end)
            .unwrap_or_default()
            .iter()
            .map(|line| line.folded.as_str())
            .collect::<Vec<_>>()
            .join(" ");
        if line.is_blank() {
            // Outlook on phones sets the address apart: "On … somebody", an empty line, "<".
            let dated =
                |line: &Line| begins(line) && figures(&line.folded).is_moment() && line.depth == depth;
            let apart = above.checked_sub(1).filter(|at| *at >= own && whole.starts_with('<'));
            return apart.filter(|at| lines.get(*at).is_some_and(dated)).unwrap_or(start);
        }
        if continues(&line.folded, &whole) {
            start = above;
            continue;
        }
        return name_above(lines, own, start, &whole).unwrap_or(start);
    }
    start
}

/// A name so long that whole lines are of it, between "On Tue, May 5, 2026 at 9:14 AM Casa Sol Holiday Homes at the" and
/// "<hola@example.com> wrote:", which is `found`. Where the attribution begins.
fn name_above(lines: &[Line], own: usize, found_at: usize, found: &str) -> Option<usize> {
    if figures(found).is_date() || address(found) != Address::Marked {
        return None;
    }
    let is_full = |line: &Line| line.text.chars().count() >= FULL;
    let depth = lines.get(found_at)?.depth;
    let is_part = |line: &Line| {
        line.depth == depth
            && !line.is_blank()
            && line.folded.len() <= 160
            && !line.folded.ends_with('.')
            && !is_ended(&line.folded)
            && !reads_like_prose(&line.folded)
    };
    let above = lines.get(own.max(found_at.saturating_sub(MAX_LINES / 2))..found_at)?;
    for (count, line) in above.iter().rev().enumerate().take_while(|(_, line)| is_part(line)) {
        if figures(&line.folded).is_moment() {
            let is_begin = count > 0 && is_full(line) && (begins(line) || is_dated_first(&line.folded));
            return is_begin.then_some(found_at - count - 1);
        }
        // Above a name that is whole a person's sentence may stand.
        if count == 0 && !found.starts_with('<') && !is_full(line) {
            return None;
        }
    }
    None
}

fn begins(line: &Line) -> bool {
    starts_with_opener(&line.folded) || starts_with_figure(&line.folded)
}

/// Is the line above the first part of the attribution that `found` is the end of?
fn continues(above: &str, found: &str) -> bool {
    let (date, named) = (figures(found).is_date(), address(found) != Address::None);
    // "On 16 December 2011 at 12:47, somebody wrote:" above "<somebody@example.com> wrote:"
    if found.starts_with('<') && ends_with_verb(stripped(above)) && figures(above).is_moment() {
        return true;
    }
    if above.len() > 160 || is_ended(above) || reads_like_prose(above) {
        return false;
    }
    // It has one moment: what has a date of its own stands above it.
    let is_told = has_verb(found) || address(found) == Address::Marked && found.ends_with(':');
    if figures(above).is_date() && figures(found).is_moment() && is_told {
        return false;
    }
    let (above_date, above_named) = (figures(above).is_stamp(), address(above) == Address::Marked);
    let brief = above.split(' ').count() <= 14 && !above.ends_with('.');
    let opens = starts_with_opener(above) || starts_with_figure(above);
    let completes = (!named && above_named)
        || (!date && above_date && brief)
        || (above_named && above_date && above.ends_with(['<', ',', '>']));
    // "On Mon, Jun 3," above "2026 at 9:41 somebody wrote:".
    // However long the name: "On Tue, May 5, 2026 at 9:14 AM Casa Sol, Holiday Apartments and Villas by" above
    // "the Sea <hola@example.com> wrote:".
    let named_long = !date
        && address(found) == Address::Marked
        && figures(above).is_moment()
        && !above.ends_with('.')
        && (opens || is_dated_first(above));
    let begun =
        opens && brief && above.len() <= 120 && figures(above).day && !(starts_with_opener(found) && date);
    let named_only = opens && above.len() < 24 && !date && brief && above.ends_with(',');
    completes || named_long || begun || named_only
}

#[cfg(test)]
mod tests {
    use super::ending_at;
    use crate::inbox::answer::line::lines_of;

    fn found(text: &str, quoted_below: bool) -> Option<usize> {
        let lines = lines_of(text);
        ending_at(&lines, 0, lines.len() - 1, quoted_below)
    }

    #[test]
    fn attributions_of_many_languages_are_told_without_a_quotation_below() {
        for line in [
            "On Mon, Apr 2, 2012 at 6:26 PM, Megan One <xxx@gmail.com> wrote:",
            "Le mar. 30 avr. 2024, 11:53, Klarstein Service  a écrit :",
            "blumfeldt  schrieb am Do. 20. Juni 2024 um 14:49:",
            "No dia 04/12/2024, às 00:19, service@bestsecret.com escreveu:",
            "El El vie, 3 de marzo de 2023 a la(s) 9:21 a.m., Call Centre <example@cccs.com> escribió:",
            "Dnia 17 stycznia 2023 18:27 test.pl test@test.pl napisał(a):",
            "29 грудня 2017 р. о 19:09 <support@domain.com> написав:",
            "Thu, 26 Jun 2014 14:00:51 +0400 от Alexander L <abc@example.com>:",
            "在 2016年12月12日，下午8:45，Erlend <meta@discoursemail.com> 写道：",
            "2024年1月2日(火) 15:45 山田太郎 <taro@example.jp>:",
            "2024년 1월 2일 (화) 오후 3:45, 홍길동 <hong@example.kr>님이 작성:",
            "בתאריך יום ג׳, 2 בינו׳ 2024 ב-15:45 מאת \u{202a}Dana\u{202c}\u{200f} <\u{202a}dana@example.com\u{202c}\u{200f}>:",
            "2 Oca 2024 Sal, 15:45 tarihinde Ayşe <ayse@example.com> şunu yazdı:",
            "---- On Tue, 22 Dec 2015 14:17:36 +0530 Sam<info@discourse.org> wrote ----",
            "Some One <info@discourse.org> wrote:",
        ] {
            assert_eq!(found(line, false), Some(0), "{line}");
        }
    }

    #[test]
    fn a_broken_attribution_is_taken_whole() {
        assert_eq!(
            found("Hello\nOn Mon, Jun 3,\n2024 at 12:53 AM Cody Hart <o@example.com> wrote:", false),
            Some(1)
        );
        assert_eq!(
            found("Hi\n\nOn Tue, Sep 25, 2012 at 8:59 AM, Chris\n<n@github.com>wrote:", true),
            Some(2)
        );
        assert_eq!(
            found("Le lun. 24 janv. 2023 à 18:14, Some person inc <\nsomebody@some.com> a écrit :", false),
            Some(0)
        );
    }

    #[test]
    fn prose_is_no_attribution() {
        for line in [
            "On Thursday, I get proper rendering.",
            "In 2024 08:19 escreveu some more text",
            "Something wrote:",
            "Please send the papers to bob@example.com by 12/05/2024 10:00:",
            "We arrive on 12 May 2026 at 18:00, here is what we need:",
            "My sister wrote:",
        ] {
            assert_eq!(found(line, false), None, "{line}");
        }
    }
}
