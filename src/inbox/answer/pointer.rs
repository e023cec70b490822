//! Words above a history that say the answers stand in it, as people write with Outlook: "see my answers below", "in red".
//!
//! Promises: only few words count, and a history is searched only below them. A colour that they name tells the answers;
//! any other sign does only where it stands behind all that is asked. What isn't told isn't guessed. Linear.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::LazyLock;

use super::colour::{self, Colour, Hue};
use super::headers::is_field;
use super::line::Line;
use super::phrases::Phrases;
use super::separators::is_ruler;
use super::settle::first_written;

/// More words say something themselves, whoever greets and signs; a letter of a script without spaces is half a word.
const MOST_WORDS: usize = 50;

/// Where the answers are, folded. So one asks for other things, too, and leads to them.
#[rustfmt::skip]
const BELOW: &[&str] = &[
    "see below", "inline", "in-line", "in line below", "in the text below", "in bold", "in colour", "in color",
    "between the lines", "siehe unten", "s. unten", "s.u.", "s. u.", "farbig", "fett markiert", "voir ci-dessous",
    "voir plus bas", "dans le texte", "ver abajo", "véase abajo", "ver abaixo", "veja abaixo", "vide abaixo",
    "vedi sotto", "vedere sotto", "zie onder", "zie hieronder", "sien hieronder", "se nedan", "se nedenfor",
    "se herunder", "katso alla", "ks. alla", "sjá hér að neðan", "zobacz poniżej", "patrz poniżej", "viz níže",
    "viz. níže", "pozri nižšie", "viď nižšie", "glej spodaj", "vidi dolje", "vidi ispod", "lásd lent", "lásd alább",
    "vezi mai jos", "vedeți mai jos", "см. ниже", "смотри ниже", "смотрите ниже", "див. нижче", "дивіться нижче",
    "виж по-долу", "вижте по-долу", "види доле", "δείτε παρακάτω", "βλ. παρακάτω", "aşağıya bakınız", "انظر أدناه",
    "ראה למטה", "ראו למטה", "ראי למטה", "नीचे देखें", "ดูด้านล่าง", "xem bên dưới", "lihat di bawah", "请见下", "见下文",
    "vt allpool", "skatīt zemāk", "žr. žemiau", "shiko më poshtë", "vegeu a sota", "ikus behean",
];

/// Where, and that it is answers, folded: who asks about those has given them.
#[rustfmt::skip]
const ANSWERS_BELOW: &[&str] = &[
    "answers below", "answer below", "answered below", "replies below", "responses below", "comments below",
    "answers inline", "answered inline", "replies inline", "comments inline", "antworten unten",
    "réponses ci-dessous", "respuestas abajo", "respostas abaixo", "risposte sotto", "risposte di seguito",
    "antwoorden hieronder", "svar nedan", "svar nedenfor", "vastaukset alla", "odpowiedzi poniżej", "odpovědi níže",
    "odgovori spodaj", "odgovori u nastavku", "ответы ниже", "cevaplar aşağıda", "yanıtlar aşağıda", "الإجابات أدناه",
    "回答如下", "回复如下", "下記に回答", "下記の通り回答", "以下に回答", "아래에 답변", "아래 답변",
];

/// That they are one's own, folded: one asks whether they came, too.
#[rustfmt::skip]
const MINE: &[&str] = &[
    "my answers", "my replies", "my comments", "meine antworten", "mes réponses", "mis respuestas",
    "minhas respostas", "mie risposte", "mijn antwoorden", "mina svar", "mine svar", "vastaukseni", "moje odpowiedzi",
    "mé odpovědi", "moje odpovědi", "moje odpovede", "moji odgovori", "válaszaim", "răspunsurile mele", "мои ответы",
    "мої відповіді", "моите отговори", "моји одговори", "απαντήσεις μου", "cevaplarım", "إجاباتي", "پاسخ های من",
    "התשובות שלי", "मेरे जवाब", "câu trả lời của tôi", "jawaban saya", "我的回复", "minu vastused", "manas atbildes",
    "mano atsakymai", "les meves respostes",
];

/// In which colour they are: red, folded.
#[rustfmt::skip]
const RED: &[&str] = &[
    "in red", "in rot", "rot markiert", "en rouge", "en rojo", "em vermelho", "in rosso", "in het rood", "in rood",
    "i rött", "med rødt", "i rødt", "punaisella", "na czerwono", "červeně", "červenou", "rdeče", "crveno",
    "crvenom", "pirossal", "cu roșu", "красным", "червоним", "в червено", "црвеном", "με κόκκινο", "kırmızı ile",
    "باللون الأحمر", "به رنگ قرمز", "באדום", "लाल रंग", "สีแดง", "màu đỏ", "warna merah", "红色", "紅色", "红字", "赤字",
    "빨간색", "punasega", "raudonai", "en vermell",
];

/// Blue.
#[rustfmt::skip]
const BLUE: &[&str] = &[
    "in blue", "in blau", "en bleu", "en azul", "em azul", "in blu", "in het blauw", "i blått", "med blåt",
    "sinisellä", "na niebiesko", "modře", "modrou", "kékkel", "синим", "με μπλε",
];

/// Green.
#[rustfmt::skip]
const GREEN: &[&str] = &[
    "in green", "in grün", "en vert", "en verde", "em verde",
];

static ALL_BELOW: LazyLock<Phrases> =
    LazyLock::new(|| Phrases::of(&[BELOW, ANSWERS_BELOW, MINE, RED, BLUE, GREEN].concat()));

/// What people name the author of an answer's line, folded, beside their own name.
const AUTHORS: &[&str] = &[
    "a",
    "r",
    "answer",
    "ans",
    "reply",
    "antwort",
    "réponse",
    "respuesta",
    "resposta",
    "risposta",
    "antwoord",
    "svar",
    "vastaus",
    "odpowiedź",
    "odpověď",
    "odpoveď",
    "ответ",
    "відповідь",
    "отговор",
    "απάντηση",
    "cevap",
    "yanıt",
    "答",
    "回答",
    "回复",
    "답변",
];

/// The longest name in front of a line that is looked at.
const NAME: usize = 24;

/// Words above a history that say that the answers stand in it.
#[derive(Debug)]
pub struct Pointer<'a> {
    /// The colours they name.
    hues: Vec<Hue>,
    /// They name colours and nothing else: a room may be blue, too.
    only_hues: bool,
    /// All of them: whoever signs may write the same name in front of each answer.
    words: HashSet<&'a str>,
}

/// Where these lines, one's own above a history, point to, if they say little more than that the answers stand in it.
pub fn points<'a>(above: impl Iterator<Item = &'a Line>) -> Option<Pointer<'a>> {
    let mut pointer = Pointer { hues: Vec::new(), only_hues: true, words: HashSet::new() };
    let (mut words, mut points) = (0, false);
    let above: Vec<&Line> = above.filter(|line| !line.is_blank()).take(MOST_WORDS + 1).collect();
    for (at, line) in above.iter().enumerate() {
        let dense =
            line.folded.chars().filter(|c| matches!(c, '\u{e00}'..='\u{e7f}' | '\u{2e80}'..='\u{d7ff}'));
        words += line.folded.split(' ').count() + dense.count() / 2;
        if words > MOST_WORDS {
            return None;
        }
        pointer.words.extend(line.folded.split(|c: char| !c.is_alphanumeric()));
        let below = above.get(at + 1..).unwrap_or_default();
        let next = below.first().filter(|next| line.folded.ends_with(':') && !is_contact(next));
        // What leads to one's own list points there.
        if leads_to_list(below) || next.is_some_and(|next| is_field(next)) {
            continue;
        }
        let leads_to_data = || next.is_some_and(|next| next.folded.contains(|c: char| c.is_ascii_digit()));
        for (behind, phrase) in pointers(&line.folded) {
            // What asks points nowhere, unless it asks about answers; nor does what leads to something else.
            let (is_answers, is_mine) = (ANSWERS_BELOW.contains(&phrase), MINE.contains(&phrase));
            if !is_answers && is_asked(behind) || !is_answers && !is_mine && leads_to_data() {
                continue;
            }
            let hue = [(RED, Hue::Red), (BLUE, Hue::Blue), (GREEN, Hue::Green)]
                .into_iter()
                .find_map(|(phrases, hue)| phrases.contains(&phrase).then_some(hue));
            points = true;
            pointer.only_hues &= hue.is_some();
            pointer.hues.extend(hue);
        }
    }
    points.then_some(pointer)
}

/// Is the first of these lines an item of a list, and another one, too? Somebody may sign with a stroke.
fn leads_to_list(below: &[&Line]) -> bool {
    let is_item = |line: &&&Line| {
        let text = line.text.trim_start();
        let words = text.trim_start_matches(|c: char| c.is_ascii_digit());
        let is_numbered =
            words.len() < text.len() && [". ", ") ", "\u{3001}"].iter().any(|sign| words.starts_with(sign));
        let is_bulleted =
            text.starts_with(['-', '\u{2013}', '\u{2022}', '*', '\u{b7}']) && !is_ruler(&line.folded, 2);
        is_numbered || is_bulleted && line.folded.contains(char::is_alphanumeric)
    };
    below.first().is_some_and(|first| is_item(&first)) && below.iter().filter(is_item).nth(1).is_some()
}

/// Is it a line of somebody's card, with a telephone number?
fn is_contact(line: &Line) -> bool {
    let digits = line.folded.bytes().filter(u8::is_ascii_digit).count();
    digits >= TELEPHONE && !line.figures().is_date()
}

/// A telephone number has so many digits at least.
const TELEPHONE: usize = 7;

/// Does the sentence that goes on like that ask?
fn is_asked(rest: &str) -> bool {
    let mut signs = rest.char_indices().take(SENTENCE);
    let end = signs.find_map(|(at, sign)| {
        let behind = rest.get(at + sign.len_utf8()..).unwrap_or_default();
        let is_end = match sign {
            '?' | '\u{ff1f}' | '\u{61f}' | '\u{37e}' | '!' | '\u{3002}' => true,
            '.' | ':' => behind.is_empty() || behind.starts_with(' '),
            '-' | '\u{2013}' => behind.starts_with(' '),
            _ => false,
        };
        is_end.then_some(sign)
    });
    end.is_some_and(|end| matches!(end, '?' | '\u{ff1f}' | '\u{61f}' | '\u{37e}'))
}

/// The longest rest of a sentence that is looked at, in characters.
const SENTENCE: usize = 400;

/// The phrases that point, and what stands behind each.
fn pointers(folded: &str) -> impl Iterator<Item = (&str, &'static str)> {
    // In scripts with capitals letters beside a phrase make it another word: "in reduced".
    let parts = |beside: Option<char>, edge: Option<char>| {
        !(beside.is_some_and(char::is_alphanumeric) && edge.is_some_and(char::is_lowercase))
    };
    ALL_BELOW.found(folded).filter_map(move |(at, phrase)| {
        let (front, rest) = folded.split_at_checked(at)?;
        let behind = rest.get(phrase.len()..)?;
        let is_apart = parts(front.chars().next_back(), phrase.chars().next())
            && parts(behind.chars().next(), phrase.chars().next_back());
        is_apart.then_some((behind, phrase))
    })
}

/// Where in a history answers stand.
#[derive(Debug, PartialEq, Eq)]
pub enum Answers {
    /// Between quotations, of which the first begins here.
    Between(usize),
    /// In these lines, which their colour or what stands in front of them tells.
    Told(Vec<Range<usize>>),
    /// Nothing tells them.
    Untold,
    /// Nowhere: it only asks.
    Nowhere,
}

/// Finds the answers that `pointer` points to in a history, in which what is quoted deeper than `base` is quoted: in the
/// whole of it where quotations hold it, else in the lines of its first mail.
pub fn answers(lines: &[Line], mail: Range<usize>, base: u8, pointer: &Pointer<'_>) -> Answers {
    let from = mail.start;
    let below = lines.get(from..).unwrap_or_default();
    let first = below.iter().position(|line| line.depth > base && !line.is_blank());
    // Where the history itself is quoted, from its first words on.
    if let Some(first) =
        first.filter(|first| first_written(below.get(..*first).unwrap_or_default(), base).is_none())
        && first_written(below.get(first..).unwrap_or_default(), base).is_some()
    {
        return Answers::Between(from + first);
    }
    let history = History { lines: lines.get(mail).unwrap_or_default(), base };
    history.told(pointer).map_or_else(
        || if history.may_answer(pointer) { Answers::Untold } else { Answers::Nowhere },
        |told| Answers::Told(told.into_iter().map(|run| run.start + from..run.end + from).collect()),
    )
}

/// The answers in lines that a program quotes, which `pointer` points to: those that somebody put into the quotation
/// itself, and of which it is sure.
pub fn answers_inside(lines: &[Line], quotation: Range<usize>, pointer: &Pointer<'_>) -> Vec<Range<usize>> {
    let from = quotation.start;
    // What is quoted deeper is no answer, nor does it answer.
    let history = History { lines: lines.get(quotation).unwrap_or_default(), base: u8::MAX };
    let told = history.told(pointer).unwrap_or_default();
    told.into_iter().map(|run| run.start + from..run.end + from).collect()
}

/// A mail that is quoted without marks, and whose lines somebody may have answered.
struct History<'a> {
    lines: &'a [Line],
    base: u8,
}

impl History<'_> {
    /// The answers, if it is sure which lines they are.
    fn told(&self, pointer: &Pointer<'_>) -> Option<Vec<Range<usize>>> {
        let in_named_colour = self.those(|line| {
            line.has_colour(|colour| colour::hue(colour).is_some_and(|hue| pointer.hues.contains(&hue)))
        });
        if in_named_colour.contains(&true) {
            return Some(runs(&in_named_colour));
        }
        let named = self.continued(self.those(|line| is_named(line, self.base, pointer)));
        if self.is_answered_by(&named) && !self.is_any_unclear(&named) {
            return Some(runs(&named));
        }
        let coloured = self.in_other_colours()?;
        self.is_answered_by(&coloured).then(|| runs(&coloured))
    }

    /// May an answer stand in it at all? Not in what only asks, and not in a colour where there is none.
    fn may_answer(&self, pointer: &Pointer<'_>) -> bool {
        let mut written = self.lines.iter().filter(|line| !line.is_blank());
        let is_html = self.lines.iter().any(|line| !line.nodes.is_empty());
        if pointer.only_hues && is_html && !self.lines.iter().any(|line| line.has_colour(|_| true)) {
            return false;
        }
        written.any(|line| !asks(line))
    }

    fn those(&self, is_one: impl Fn(&Line) -> bool) -> Vec<bool> {
        self.lines.iter().map(|line| !line.is_blank() && !line.is_device() && is_one(line)).collect()
    }

    /// With the lines that a long one of plain text went on in: those right below, up to what asks.
    fn continued(&self, mut those: Vec<bool>) -> Vec<bool> {
        let mut goes_on = false;
        for (line, is_one) in self.lines.iter().zip(&mut those) {
            goes_on = *is_one || goes_on && !line.is_blank() && line.nodes.is_empty() && !asks(line);
            *is_one = goes_on;
        }
        those
    }

    /// Does one of `those` lines follow wherever the mail asks, or the next question, or nothing?
    fn is_answered_by(&self, those: &[bool]) -> bool {
        let mut written = self.lines.iter().zip(those).filter(|(line, _)| !line.is_blank()).peekable();
        let (mut has_asked, mut answered) = (false, 0);
        while let Some((line, is_answer)) = written.next() {
            answered += usize::from(*is_answer);
            let is_question = asks(line) && !is_answer;
            has_asked |= is_question;
            if is_question && written.peek().is_some_and(|(next, is_answer)| !**is_answer && !asks(next)) {
                return false;
            }
        }
        // What asks without a question mark is told by its answers only.
        answered >= if has_asked { 1 } else { 2 }
    }

    /// Does a line that neither asks nor is one of `those` stand between one of them and the next question? It may go on with what
    /// is answered. Right above one of them it asks in its own way.
    fn is_any_unclear(&self, those: &[bool]) -> bool {
        let (mut is_behind, mut is_any) = (false, false);
        for (line, is_answer) in self.lines.iter().zip(those).filter(|(line, _)| !line.is_blank()) {
            if *is_answer {
                (is_behind, is_any) = (true, false);
            } else if asks(line) {
                if is_any {
                    return true;
                }
                is_behind = false;
            } else {
                is_any |= is_behind;
            }
        }
        false
    }

    /// The lines with words in another colour than the mail's own, which is that of its first words and of most.
    fn in_other_colours(&self) -> Option<Vec<bool>> {
        let mut lengths: HashMap<Option<Colour>, usize> = HashMap::new();
        let runs = || self.lines.iter().filter(|line| line.depth <= self.base).flat_map(|line| &line.colours);
        for (colour, length) in runs() {
            *lengths.entry(*colour).or_default() += length;
        }
        let (first, _) = runs().next()?;
        let is_main = lengths.get(first) == lengths.values().max();
        is_main.then(|| {
            self.those(|line| {
                line.depth <= self.base && line.colours.iter().any(|(colour, _)| colour != first)
            })
        })
    }
}

/// Does it end with a question?
fn asks(line: &Line) -> bool {
    line.folded.trim_end_matches(['"', ')', ' ']).ends_with(['?', '\u{ff1f}', '\u{61f}', '\u{37e}'])
}

/// Stands in front of it, or of what is behind a question on it, what people put there: an arrow, a quotation mark, a
/// name?
fn is_named(line: &Line, base: u8, pointer: &Pointer<'_>) -> bool {
    let behind = line.folded.split(['?', '\u{ff1f}', '\u{61f}', '\u{37e}']).skip(1);
    // An old quotation asks rather than answers.
    (line.depth > base && !asks(line))
        || std::iter::once(line.folded.as_str())
            .chain(behind)
            .any(|words| begins_named(words.trim_start(), pointer))
}

fn begins_named(words: &str, pointer: &Pointer<'_>) -> bool {
    let shaft = words.trim_start_matches(['-', '=', '>']);
    let arrow = words.get(..words.len() - shaft.len()).unwrap_or_default();
    if arrow.len() > 1 && arrow.ends_with('>')
        || words.starts_with(['\u{2192}', '\u{21d2}', '\u{27a1}', '\u{2794}', '\u{27a4}'])
    {
        return true;
    }
    let is_name = |name: &str| {
        !name.is_empty()
            && name.len() <= NAME
            && name.chars().all(|c| c.is_alphabetic() || matches!(c, ' ' | '.' | '-'))
    };
    if let Some((name, said)) = words.strip_prefix('[').and_then(|words| words.split_once(']')) {
        return is_name(name) && !said.trim_start_matches(':').trim().is_empty();
    }
    words.split_once(':').is_some_and(|(name, said)| {
        is_name(name)
            && !said.is_empty()
            && (AUTHORS.contains(&name)
                || name.split([' ', '-', '.']).all(|word| pointer.words.contains(word)))
    })
}

/// Where `those` are, one beside the other in one run.
fn runs(those: &[bool]) -> Vec<Range<usize>> {
    let mut start = 0;
    let mut runs = Vec::new();
    for run in those.chunk_by(|one, next| one == next) {
        let end = start + run.len();
        if run.first() == Some(&true) {
            runs.push(start..end);
        }
        start = end;
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::{ANSWERS_BELOW, AUTHORS, Answers, BELOW, BLUE, GREEN, MINE, RED, answers, points};
    use crate::inbox::answer::html::parse;
    use crate::inbox::answer::line::{Line, fold, lines_of};
    use crate::inbox::answer::render;

    #[test]
    fn words_are_folded_as_lines_are() {
        for words in [BELOW, ANSWERS_BELOW, MINE, RED, BLUE, GREEN, AUTHORS].concat() {
            assert_eq!(fold(words), *words);
        }
    }

    #[test]
    fn pointers_are_told_from_what_says_something_itself() {
        for text in [
            "See below.",
            "Hi Sol,\n\nsee my answers in red below.\n\nRegards\nAna",
            "Hallo, meine Antworten in Rot:",
            "Voir mes réponses ci-dessous",
            "Ответы см. ниже",
            "我的回复如下",
        ] {
            assert!(points(lines_of(text).iter()).is_some(), "{text}");
        }
        for text in [
            "My answers:\n1. At six\n2. Four",
            "Answers below.\n\n- at six\n- four",
            "Please see below our flight:\n\nBA 2714, on Friday",
            "My answers are below:\nCot: yes",
            "The photo is inline, can you see the lamp?",
            "Did you get my answers of Monday?",
        ] {
            assert!(points(lines_of(text).iter()).is_none(), "{text}");
        }
        for text in [
            "See my answers below:\n\n--\nAna\n+34 600",
            "Please see my answers below:\n\n- Ana",
            "My answers below:\n\n* Ana *",
            "See my comments below:\nAna 24/11",
            "Answers inline, ok?",
            "Please see below my answers. Could you confirm?",
            "Are my answers below ok for you?",
            "See below - ok?\nAna",
            "Find my answers below:\n\nTel: 600 123 456",
            "See inline.\n\n1. Marta: thanks",
        ] {
            assert!(points(lines_of(text).iter()).is_some(), "{text}");
        }
        for text in ["Yes, in reduced form.", "We arrive at six.", "Two in redwood"] {
            assert!(points(lines_of(text).iter()).is_none(), "{text}");
        }
        let long = format!("See below. {}", "We come at six o'clock. ".repeat(12));
        assert!(points(lines_of(&long).iter()).is_none());
    }

    /// What stands in a history below these words.
    fn found(words: &str, history: &[Line]) -> Answers {
        let above = lines_of(words);
        let pointer = points(above.iter()).unwrap();
        answers(history, 0..history.len(), 0, &pointer)
    }

    #[test]
    fn answers_in_html_are_told_by_quotation_or_colour_or_not_at_all() {
        const ORANGE: &str = "<p style='color:#C55A11'>Maria, Casa Sol, Calle Mayor 3";
        let lines = |html: &str| render::lines(&parse(html));
        let told =
            |runs: &[(usize, usize)]| Answers::Told(runs.iter().map(|(from, to)| *from..*to).collect());
        for (words, html, expected) in [
            (
                "See below",
                "<blockquote>Cot?</blockquote><p>No.</p><blockquote>Car?</blockquote><p>Yes.",
                Answers::Between(0),
            ),
            (
                "See below",
                "<div>Do you need a cot?</div><div style='color:red'>No.</div><div>By car?</div>",
                told(&[(1, 2)]),
            ),
            (
                "See below",
                "<div>Cot? <i style='color:red'>No, we have got one</i></div><div>By car?</div>",
                Answers::Untold,
            ),
            (
                "In red",
                "<div>Cot? <i style='color:#c00'>No, we have got one</i></div><div>By car?</div>",
                told(&[(0, 1)]),
            ),
            (
                "In rot",
                &format!("<div>Cot?</div><div style='color:#C00000'>No</div>{ORANGE}"),
                told(&[(1, 2)]),
            ),
            ("See below", &format!("<div>Do you need a cot?</div><div>No.</div>{ORANGE}"), Answers::Untold),
            (
                "In blue",
                "<div>Cot?</div><div style='color:red'>No, we have one.</div><div>By car?</div><div>Yes.</div>",
                Answers::Untold,
            ),
            ("The room in blue", "<div>Which one?</div><div>Regards", Answers::Nowhere),
            ("See below", "<div>Do you need a cot?</div><div>No.</div>", Answers::Untold),
            ("See below", "<p>Hi</p><blockquote>Cot?</blockquote><p>Regards", Answers::Untold),
            ("See below", "<p>Cot?</p><p>Car?", Answers::Nowhere),
            ("See below", "", Answers::Nowhere),
        ] {
            assert_eq!(found(words, &lines(html)), expected, "{words}: {html}");
        }
    }

    #[test]
    fn answers_in_plain_text_are_told_by_what_stands_in_front_if_all_questions_have_one() {
        let told =
            |runs: &[(usize, usize)]| Answers::Told(runs.iter().map(|(from, to)| *from..*to).collect());
        for (text, expected) in [
            ("Cot?\n[Ana] No,\nwe have one.\nCar?\n[Ana] Yes.", told(&[(1, 3), (4, 5)])),
            ("Cot?\n--> No.\n\nCar?\n=> Yes.\n\nSol", told(&[(1, 2), (4, 5)])),
            ("Cot? -> No.\nCar? -> Yes.", told(&[(0, 2)])),
            ("Cot?\n>> No.\nCar?\n>> Yes.", told(&[(1, 2), (3, 4)])),
            ("Cot?\nAna: No.\nCar?\nANA: Yes.", told(&[(1, 2), (3, 4)])),
            ("Cot?\nAntwort: Nein.", told(&[(1, 2)])),
            ("Write the time.\n-> Six\n\nAnd how many.\n-> Four", told(&[(1, 2), (4, 5)])),
            ("Cot?\n[Ana] No.\nCar?\nYes.", Answers::Untold),
            ("Cot?\n[Ana] No.\n\nWe bring a dog.\nCar?\n[Ana] Yes.", Answers::Untold),
            ("Yes.\n> Is there a cot?\nCar?\n> Can we park?\nYes.", Answers::Untold),
            ("Cot?\nSol: No.\nCar?\nSol: Yes.", Answers::Untold),
            ("Station -> bus\nHow do you come?\nBy bus.", Answers::Untold),
        ] {
            assert_eq!(found("See my answers below, Ana", &lines_of(text)), expected, "{text}");
        }
    }
}
