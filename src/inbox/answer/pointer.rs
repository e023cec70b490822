//! Words above a history that say the answers stand in it, as people write with Outlook: "see my answers below", "in red".
//!
//! Promises: only few words count, a history is searched only below them, and what isn't told from the quotation isn't
//! guessed. Linear.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::LazyLock;

use super::colour::Colour;
use super::line::Line;
use super::phrases::Phrases;
use super::settle::first_written;

/// More words say something themselves, whoever greets and signs; a letter of a script without spaces is half a word.
const MOST_WORDS: usize = 50;

/// Where the answers are, folded.
#[rustfmt::skip]
const BELOW: &[&str] = &[
    "see below", "answers below", "answer below", "answered below", "replies below", "responses below", "comments below",
    "inline", "in-line", "in line below", "in the text below", "in red", "in blue", "in green", "in bold", "in colour",
    "in color", "my answers", "my replies", "my comments", "between the lines", "siehe unten", "s. unten", "s.u.", "s. u.",
    "antworten unten", "meine antworten", "in rot", "in blau", "in grün", "rot markiert", "farbig", "fett markiert",
    "voir ci-dessous", "réponses ci-dessous", "voir plus bas", "mes réponses", "dans le texte", "en rouge", "en bleu", "en vert",
    "ver abajo", "véase abajo", "respuestas abajo", "mis respuestas", "en rojo", "en azul", "en verde", "ver abaixo",
    "veja abaixo", "vide abaixo", "respostas abaixo", "minhas respostas", "em vermelho", "em azul", "em verde", "vedi sotto",
    "vedere sotto", "risposte sotto", "risposte di seguito", "mie risposte", "in rosso", "in blu", "zie onder", "zie hieronder",
    "antwoorden hieronder", "mijn antwoorden", "in het rood", "in rood", "in het blauw", "sien hieronder", "se nedan",
    "svar nedan", "mina svar", "i rött", "i blått", "se nedenfor", "svar nedenfor", "se herunder", "mine svar", "med rødt",
    "i rødt", "med blåt", "katso alla", "ks. alla", "vastaukseni", "vastaukset alla", "punaisella", "sinisellä",
    "sjá hér að neðan", "zobacz poniżej", "patrz poniżej", "odpowiedzi poniżej", "moje odpowiedzi", "na czerwono",
    "na niebiesko", "viz níže", "viz. níže", "odpovědi níže", "mé odpovědi", "moje odpovědi", "červeně", "modře", "pozri nižšie",
    "viď nižšie", "moje odpovede", "červenou", "modrou", "glej spodaj", "odgovori spodaj", "moji odgovori", "rdeče",
    "vidi dolje", "vidi ispod", "odgovori u nastavku", "crveno", "crvenom", "lásd lent", "lásd alább", "válaszaim", "pirossal",
    "kékkel", "vezi mai jos", "vedeți mai jos", "răspunsurile mele", "cu roșu", "см. ниже", "смотри ниже", "смотрите ниже",
    "мои ответы", "ответы ниже", "красным", "синим", "див. нижче", "дивіться нижче", "мої відповіді", "червоним", "виж по-долу",
    "вижте по-долу", "моите отговори", "в червено", "види доле", "моји одговори", "црвеном", "δείτε παρακάτω", "βλ. παρακάτω",
    "απαντήσεις μου", "με κόκκινο", "με μπλε", "aşağıya bakınız", "cevaplar aşağıda", "yanıtlar aşağıda", "cevaplarım",
    "kırmızı ile", "انظر أدناه", "الإجابات أدناه", "إجاباتي", "باللون الأحمر", "پاسخ های من", "به رنگ قرمز", "ראה למטה",
    "ראו למטה", "ראי למטה", "התשובות שלי", "באדום", "नीचे देखें", "मेरे जवाब", "लाल रंग", "ดูด้านล่าง", "สีแดง", "xem bên dưới",
    "câu trả lời của tôi", "màu đỏ", "lihat di bawah", "jawaban saya", "warna merah", "请见下", "见下文", "回答如下", "回复如下", "红色",
    "紅色", "红字", "我的回复", "下記に回答", "下記の通り回答", "以下に回答", "赤字", "아래에 답변", "아래 답변", "빨간색", "vt allpool", "minu vastused",
    "punasega", "skatīt zemāk", "manas atbildes", "žr. žemiau", "mano atsakymai", "raudonai", "shiko më poshtë",
    "vegeu a sota", "en vermell", "les meves respostes", "ikus behean",
];

static ALL_BELOW: LazyLock<Phrases> = LazyLock::new(|| Phrases::of(BELOW));

/// Do these lines, one's own above a history, say little more than that the answers stand in it?
pub fn points<'a>(above: impl Iterator<Item = &'a Line>) -> bool {
    let (mut words, mut points) = (0, false);
    for line in above.filter(|line| !line.is_blank()) {
        let dense =
            line.folded.chars().filter(|c| matches!(c, '\u{e00}'..='\u{e7f}' | '\u{2e80}'..='\u{d7ff}'));
        words += line.folded.split(' ').count() + dense.count() / 2;
        if words > MOST_WORDS {
            return false;
        }
        points |= has_pointer(&line.folded);
    }
    points
}

fn has_pointer(folded: &str) -> bool {
    // In scripts with capitals letters beside a phrase make it another word: "in reduced".
    let parts = |beside: Option<char>, edge: Option<char>| {
        !(beside.is_some_and(char::is_alphanumeric) && edge.is_some_and(char::is_lowercase))
    };
    ALL_BELOW.found(folded).any(|(at, phrase)| {
        let (front, rest) = folded.split_at_checked(at).unwrap_or_default();
        let behind = rest.get(phrase.len()..).and_then(|behind| behind.chars().next());
        parts(front.chars().next_back(), phrase.chars().next()) && parts(behind, phrase.chars().next_back())
    })
}

/// Where in a history answers stand.
#[derive(Debug, PartialEq, Eq)]
pub enum Answers {
    /// Between quotations, of which the first begins here.
    Between(usize),
    /// In lines of another colour than most.
    Coloured(Vec<Range<usize>>),
    /// Nothing tells them.
    Untold,
}

/// Finds the answers in the history from `from` on, in which what is quoted deeper than `base` is quoted.
pub fn answers(lines: &[Line], from: usize, base: u8) -> Answers {
    let below = lines.get(from..).unwrap_or_default();
    let first = below.iter().position(|line| line.depth > base && !line.is_blank());
    // Where the history itself is quoted, from its first words on.
    if let Some(first) =
        first.filter(|first| first_written(below.get(..*first).unwrap_or_default(), base).is_none())
        && first_written(below.get(first..).unwrap_or_default(), base).is_some()
    {
        return Answers::Between(from + first);
    }
    let mut coloured: HashMap<Option<Colour>, usize> = HashMap::new();
    for line in below.iter().filter(|line| !line.is_blank()) {
        *coloured.entry(line.colour).or_default() += line.folded.len();
    }
    let Some((main, _)) = coloured.into_iter().max_by_key(|(colour, length)| (*length, colour.is_none()))
    else {
        return Answers::Untold;
    };
    let is_answer =
        |line: &Line| line.colour != main && !line.is_blank() && line.depth <= base && !line.is_device();
    let mut found: Vec<Range<usize>> = Vec::new();
    for (at, _) in below.iter().enumerate().filter(|(_, line)| is_answer(line)) {
        let at = from + at;
        match found.last_mut().filter(|last| last.end == at) {
            Some(last) => last.end = at + 1,
            None => found.push(at..at + 1),
        }
    }
    if found.is_empty() { Answers::Untold } else { Answers::Coloured(found) }
}

#[cfg(test)]
mod tests {
    use super::{Answers, BELOW, answers, points};
    use crate::inbox::answer::html::parse;
    use crate::inbox::answer::line::{fold, lines_of};
    use crate::inbox::answer::render::lines;

    #[test]
    fn words_are_folded_as_lines_are() {
        for words in BELOW {
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
            assert!(points(lines_of(text).iter()), "{text}");
        }
        for text in ["Yes, in reduced form.", "We arrive at six.", "Two in redwood"] {
            assert!(!points(lines_of(text).iter()), "{text}");
        }
        assert!(!points(lines_of(&format!("See below. {}", "We come at six o'clock. ".repeat(12))).iter()));
    }

    #[test]
    fn answers_are_told_by_quotation_or_colour_or_not_at_all() {
        let found = |html: &str| answers(&lines(&parse(html)), 0, 0);
        assert_eq!(
            found("<blockquote>Cot?</blockquote><p>No.</p><blockquote>Car?</blockquote><p>Yes."),
            Answers::Between(0)
        );
        assert_eq!(
            found("<div>Do you need a cot?</div><div style='color:red'>No.</div><div>By car?</div>"),
            Answers::Coloured(std::iter::once(1..2).collect())
        );
        assert_eq!(found("<div>Do you need a cot?</div><div>No.</div>"), Answers::Untold);
        assert_eq!(found("<p>Hi</p><blockquote>Cot?</blockquote><p>Regards"), Answers::Untold);
        assert_eq!(found(""), Answers::Untold);
    }
}
