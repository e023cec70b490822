//! Whether lines below a stroke are somebody's card: a name, how to reach them, where they work.
//!
//! Promises: what could as well be said, asked or told in a form ("Arrival: 18:00") is no card; a bounded number of lines
//! is looked at.

use super::dates::{Address, figures};
use super::line::{Line, fold};
use super::notices::is_legal;
use super::steps;

/// So many lines of a card are looked at.
const REACH: usize = 40;

/// Labels of what cards hold, folded.
#[rustfmt::skip]
const CONTACT: &[&str] = &[
    "t", "m", "p", "f", "e", "w", "d", "o", "a", "tel", "tel.", "tlf", "tlf.", "phone", "ph", "ph.", "telephone", "mobile",
    "mob", "mob.", "cell", "cell phone", "office", "direct", "direct line", "fax", "email", "e-mail", "mail", "web",
    "website", "homepage", "url", "skype", "whatsapp", "telegram", "viber", "signal", "linkedin", "instagram", "facebook",
    "address", "telefon", "handy", "mobil", "mobiltelefon", "durchwahl", "büro", "anschrift", "adresse", "internet", "tél",
    "tél.", "téléphone", "portable", "bureau", "courriel", "site", "teléfono", "móvil", "correo", "dirección", "telefone",
    "telemóvel", "celular", "endereço", "telefono", "cellulare", "cell.", "indirizzo", "sito", "telefoon", "mobiel", "adres",
    "komórka", "kom.", "strona", "puhelin", "puh", "puh.", "gsm", "osoite", "telefonszám", "cím", "mobilní", "adresa",
    "naslov", "telefonas", "tālr", "tālr.", "тел", "тел.", "телефон", "моб", "моб.", "мобильный", "факс", "почта", "эл. почта",
    "адрес", "адреса", "сайт", "τηλ", "τηλ.", "τηλέφωνο", "κινητό", "διεύθυνση", "telefon no", "cep", "faks", "هاتف", "جوال",
    "موبايل", "تلفن", "موبایل", "البريد", "טלפון", "נייד", "טל", "דוא\"ל", "फ़ोन", "फोन", "मोबाइल", "โทร", "โทรศัพท์", "มือถือ", "อีเมล",
    "điện thoại", "di động", "địa chỉ", "telp", "hp", "alamat", "电话", "手机", "传真", "邮箱", "地址", "網址", "电邮", "微信", "電話",
    "手機", "携帯", "住所", "メール", "전화", "휴대폰", "이메일", "주소", "telèfon", "mòbil", "sími",
];

/// What companies' names end with, folded.
#[rustfmt::skip]
const COMPANY: &[&str] = &[
    "gmbh", "ag", "kg", "ohg", "e.v.", "ltd", "ltd.", "limited", "llc", "inc", "inc.", "corp", "corp.", "plc", "llp", "s.l.",
    "s.l", "s.a.", "sarl", "sas", "srl", "s.r.l.", "s.p.a.", "spa", "bv", "b.v.", "nv", "n.v.", "oy", "ab", "a/s", "aps",
    "sp. z o.o.", "z o.o.", "s.r.o.", "kft", "kft.", "d.o.o.", "lda", "lda.", "ltda", "pty", "ооо", "оао",
];

/// Words for yes and no, and thanks, which no one is called, folded.
#[rustfmt::skip]
const SAID: &[&str] = &[
    "yes", "no", "ok", "okay", "thanks", "please", "sorry", "ja", "nein", "danke", "bitte", "oui", "non", "merci", "sí", "si",
    "gracias", "sim", "não", "obrigado", "obrigada", "sì", "grazie", "nee", "bedankt", "tak", "nie", "nej", "nei", "joo",
    "kyllä", "ei", "kiitos", "ano", "ne", "áno", "da", "igen", "nem", "nu", "да", "нет", "так", "ні", "не", "ναι", "όχι",
    "evet", "hayır", "نعم", "لا", "כן", "לא", "有", "没有", "是", "不是", "好", "好的", "はい", "いいえ", "네", "아니요", "vâng", "không",
];

/// Do the lines from `from` on tell who somebody is, rather than say, ask or tell something?
///
/// An address, a number, a firm tells it; else a name, where nothing stands beside it that a form says.
pub fn tells_who(lines: &[Line], from: usize) -> bool {
    let card = card(lines, from);
    if is_said_or_asked(&card) {
        return false;
    }
    let is_alone = card.len() == 1;
    card.iter().any(|line| reaches(line) || line.is_device() || is_legal(line))
        || card.iter().any(|line| is_name(&line.text, is_alone)) && !card.iter().any(|line| is_data(line))
}

/// Do the lines from `from` on ask something, or tell it in a form?
pub fn is_talk(lines: &[Line], from: usize) -> bool {
    is_said_or_asked(&card(lines, from))
}

fn card(lines: &[Line], from: usize) -> Vec<&Line> {
    let card = lines.get(from..).unwrap_or_default().iter().take(REACH);
    let card: Vec<&Line> = card.filter(|line| !line.is_blank()).collect();
    steps::took(card.iter().map(|line| line.folded.len()).sum());
    card
}

fn is_said_or_asked(card: &[&Line]) -> bool {
    // "Secured with Tuta Mail:" and a link below it is no form.
    let is_heading = |line: &Line| line.folded.ends_with(':') && card.iter().any(|line| reaches(line));
    card.iter().any(|line| asks(&line.folded))
        || card.first().is_some_and(|line| is_data(line) && !is_heading(line))
}

/// Is something asked on the line? In an address a question mark asks nothing.
fn asks(folded: &str) -> bool {
    folded.split(' ').any(|word| {
        word.trim_end_matches(['"', '\'', ')', '!']).ends_with(['?', '？', '؟']) && !word.contains(['/', '@'])
    })
}

/// How to reach somebody, or where they work.
fn reaches(line: &Line) -> bool {
    let folded = line.folded.as_str();
    let labelled = || split(folded).is_some_and(|(label, value)| is_contact(label) && has_number(value));
    let is_firm = || folded.split([' ', ',']).any(|word| COMPANY.contains(&word));
    line.address() != Address::None
        || folded.contains("www.")
        || folded.contains("://")
        || is_phone(line)
        || labelled()
        || is_firm() && !is_said(folded)
}

/// Ends as a sentence does.
fn is_said(folded: &str) -> bool {
    folded.split(' ').count() > 6 && folded.ends_with(['.', '!', ','])
}

fn has_number(value: &str) -> bool {
    value.bytes().filter(u8::is_ascii_digit).count() >= 3
}

/// A row of seven figures or more, as numbers are grouped, and no day.
fn is_phone(line: &Line) -> bool {
    let is_part = |c: char| c.is_ascii_digit() || matches!(c, ' ' | '+' | '-' | '(' | ')' | '.' | '/');
    let digits = |row: &str| row.bytes().filter(u8::is_ascii_digit).count();
    line.folded.split(|c: char| !is_part(c)).any(|row| digits(row) >= 7 && !figures(row).is_date())
}

/// "Arrival: 18:00": a label that no card has, with nothing behind it that one would have.
fn is_data(line: &Line) -> bool {
    split(&line.folded).is_some_and(|(label, _)| !is_contact(label) && !reaches(line))
}

/// A label, and what stands behind it.
fn split(folded: &str) -> Option<(&str, &str)> {
    let (label, value) = folded.split_once(':')?;
    let label = label.trim_matches([' ', '-', '*', '\u{2022}', '|']);
    let fits = label.contains(char::is_alphabetic)
        && !label.contains(|c: char| c.is_ascii_digit())
        && label.split(' ').count() <= 4;
    fits.then_some((label, value.trim()))
}

fn is_contact(label: &str) -> bool {
    CONTACT.contains(&label)
}

/// A name, a title, a place: few words, with capitals where the script has them. One word alone may be in small letters.
fn is_name(text: &str, is_alone: bool) -> bool {
    let text = text.trim().trim_matches(['*', '_']);
    let words: Vec<&str> =
        text.split_whitespace().filter(|word| word.contains(char::is_alphabetic)).collect();
    let letters = text.chars().filter(|c| c.is_alphabetic()).count();
    let is_short = (1..=6).contains(&words.len()) && letters > 1 && letters <= 60;
    let is_jr = || words.len() > 1 && words.last().is_some_and(|word| word.chars().count() <= 4);
    if !is_short
        || text.contains(|c: char| c.is_ascii_digit())
        || text.ends_with(['?', '!', ':', ';', '。'])
        || text.ends_with('.') && !is_jr()
        || words.len() == 1 && SAID.contains(&fold(text).trim_matches(['.', ',', ' ']))
    {
        return false;
    }
    let first = |word: &&str| word.chars().find(|c| c.is_alphabetic());
    let has_case = |c: char| c.is_uppercase() || c.is_lowercase();
    if !words.iter().filter_map(first).any(has_case) {
        // Chinese names are of two letters to four; what has spaces, of two or three words.
        return if words.len() == 1 { letters <= 4 } else { words.len() <= 3 };
    }
    // "de la", "und", "at" stand in small letters among the others.
    let is_capital =
        |word: &&str| first(word).is_some_and(char::is_uppercase) || word.starts_with(['@', '/']);
    let fits = |word: &&str| is_capital(word) || word.chars().count() <= 3;
    words.iter().all(fits) && words.iter().any(is_capital) || is_alone && words.len() == 1 && letters <= 12
}

#[cfg(test)]
mod tests {
    use super::{COMPANY, CONTACT, SAID, tells_who};
    use crate::inbox::answer::line::{fold, lines_of};

    #[test]
    fn words_are_folded_as_lines_are() {
        for words in [CONTACT, COMPANY, SAID].concat() {
            assert_eq!(fold(words), words);
        }
    }

    #[test]
    fn cards_are_told_from_what_is_said() {
        let card = |text: &str| tells_who(&lines_of(text), 0);
        for text in [
            "Ana Lopez\nSales",
            "Dr. Thomas F\nGermany",
            "rick",
            "Łukasz Jan Niemier",
            "王小明",
            "Viele Grüße\n\nBob",
            "John Doe\nCEO at Pandaland\n\n@pandaland",
            "ana@guest.example\n+202 5632 56532",
            "Haus am See\nInhaber: Max Muster\nTel.: 030 123456",
            "Casa Sol S.L.",
            "Tel. 030 / 123 456 7",
            "list-info\nhttps://list.example/a?b",
        ] {
            assert!(card(text), "{text}");
        }
        for text in [
            "",
            "Arrival: 18:00\nFlight: IB 123",
            "Cot: no",
            "Guests:\nAna Ruiz",
            "Ana Ruiz\nArrival: 18:00",
            "Tuesday: cleaning please",
            "Zweite Frage: Dürfen wir unseren Hund mitbringen? Er ist klein.",
            "Darf der Hund mit? Er ist klein.\nAna Ruiz\n+34 600 123 456",
            "My dog is called Rex",
            "No",
            "没有",
            "Ein Kinderbett, bitte.",
        ] {
            assert!(!card(text), "{text}");
        }
    }
}
