//! Text that gateways and legal departments add: disclaimers below an answer, warnings of external senders above.
//!
//! Promises: a paragraph goes only with proof, two phrases of such texts or one in a long paragraph; what a person
//! wrote about such things stays.

use super::line::Line;
use super::phrases::Phrases;
use super::separators::is_ruler;
use std::sync::LazyLock;

/// Sentences of disclaimers and footers, folded; none is written by hand in a short answer.
#[rustfmt::skip]
const DISCLAIMERS: &[&str] = &[
    "intended solely for", "intended only for", "intended recipient", "received this email in error",
    "received this e-mail in error", "received this message in error", "received it in error",
    "this e-mail is confidential", "this email is confidential", "may contain confidential",
    "contains confidential information", "confidentiality notice", "may be privileged", "legally privileged",
    "consider the environment before printing", "virus-free", "this email has been checked for viruses",
    "scanned for viruses", "has been scanned by", "this email was scanned", "enthält vertrauliche",
    "vertrauliche und/oder rechtlich", "nicht der richtige adressat", "nicht der beabsichtigte",
    "irrtümlich erhalten", "auf viren geprüft", "virenfrei", "peut contenir des informations confidentielles",
    "à l'attention exclusive", "exclusivement à l'intention", "si vous avez reçu ce message par erreur",
    "reçu ce courriel par erreur", "l'absence de virus", "a été vérifié par", "sans virus",
    "información confidencial", "exclusivamente a su destinatario", "ha recibido este mensaje por error",
    "libre de virus", "aviso legal", "aviso de confidencialidad", "informações confidenciais",
    "recebeu esta mensagem por engano", "aviso de confidencialidade", "livre de vírus",
    "informazioni riservate", "avete ricevuto questo messaggio per errore",
    "ricevuto questa e-mail per errore", "privo di virus", "uitsluitend bestemd voor",
    "ten onrechte ontvangen", "virusvrij", "wyłącznie dla adresata", "wiadomość zawiera informacje poufne",
    "otrzymali państwo tę wiadomość omyłkowo", "wolny od wirusów", "konfidentiell information",
    "avsett endast för", "virusfri", "fortrolig informasjon", "fortrolige oplysninger",
    "luottamuksellista tietoa", "důvěrné informace", "pouze pro adresáta", "dôverné informácie",
    "bizalmas információ", "informații confidențiale", "конфиденциальную информацию",
    "предназначено исключительно", "проверено на вирусы", "без вирусов", "конфіденційну інформацію",
    "поверителна информация", "εμπιστευτικές πληροφορίες", "gizli bilgi", "gizlilik", "معلومات سرية", "סודי",
    "机密信息", "保密信息", "機密資料", "本邮件及其附件", "本メールには機密", "기밀 정보", "thông tin bảo mật", "informasi rahasia",
    "informação confidencial", "destinam-se exclusivamente", "destina-se exclusivamente", "tej wiadomości jest poufna",
    "являются конфиденциальными", "предназначены исключительно",
    "you received this message because you are subscribed", "to unsubscribe from this group", "www.avast.com",
    "www.avg.com", "you are receiving this because", "reply to this email directly",
];

/// What the law makes companies say of themselves, below a disclaimer or alone, folded: no proof by itself.
#[rustfmt::skip]
const REGISTERED: &[&str] = &[
    "registered in england", "registered in scotland", "registered in ireland", "registered office", "registered number",
    "registration number", "company number", "company registration", "vat number", "vat registration", "amtsgericht",
    "handelsregister", "registergericht", "sitz der gesellschaft", "firmenbuch", "ust-id", "au capital de", "siège social",
    "numéro de tva", "registro mercantil", "domicilio social", "partita iva", "capitale sociale", "sede legale",
    "registro imprese", "kvk-nummer", "kamer van koophandel", "btw-nummer", "capital social", "sede social", "krajowy rejestr",
    "kapitał zakładowy", "obchodním rejstříku", "organisationsnummer", "cvr-nr", "y-tunnus",
];

/// What stands above a disclaimer, folded.
#[rustfmt::skip]
const HEADINGS: &[&str] = &[
    "disclaimer", "confidentiality notice", "confidentiality", "notice", "legal notice", "privacy notice",
    "haftungsausschluss", "rechtlicher hinweis", "hinweis", "aviso legal", "aviso", "avis de confidentialité",
    "avis", "confidentialité", "avviso", "avvertenza", "zastrzeżenie", "vertraulichkeitshinweis",
];

/// Phrases that people write as well: alone they prove nothing, however long the paragraph.
#[rustfmt::skip]
const WEAK: &[&str] = &[
    "has been scanned by", "a été vérifié par", "información confidencial", "peut contenir des informations confidentielles",
    "aviso legal", "informações confidenciais", "informazioni riservate", "konfidentiell information",
    "fortrolig informasjon", "fortrolige oplysninger", "luottamuksellista tietoa", "důvěrné informace",
    "dôverné informácie", "bizalmas információ", "informații confidențiale", "конфиденциальную информацию",
    "конфіденційну інформацію", "поверителна информация", "εμπιστευτικές πληροφορίες", "gizli bilgi", "gizlilik",
    "معلومات سرية", "סודי", "机密信息", "保密信息", "機密資料", "기밀 정보", "thông tin bảo mật", "informasi rahasia",
    "you are receiving this because", "reply to this email directly", "enthält vertrauliche",
    "contains confidential information", "auf viren geprüft", "sans virus", "libre de virus", "livre de vírus",
];

/// Phrases that no person writes: one is proof.
#[rustfmt::skip]
const CERTAIN: &[&str] = &[
    "virus-free", "www.avast.com", "www.avg.com", "you received this message because you are subscribed",
    "to unsubscribe from this group", "consider the environment before printing",
];

/// Addresses that virus scanners put into their footers, folded.
const SCANNERS: &[&str] = &["www.avast.com", "www.avg.com"];

static ALL_DISCLAIMERS: LazyLock<Phrases> = LazyLock::new(|| Phrases::of(DISCLAIMERS));
static ALL_REGISTERED: LazyLock<Phrases> = LazyLock::new(|| Phrases::of(REGISTERED));
static ALL_CERTAIN: LazyLock<Phrases> = LazyLock::new(|| Phrases::of(CERTAIN));
static ALL_BANNERS: LazyLock<Phrases> = LazyLock::new(|| Phrases::of(BANNERS));

/// So many octets of one paragraph with one such phrase are a disclaimer; shorter needs two.
const LONG: usize = 180;

/// Only so many lines at the end are searched.
const REACH: usize = 60;

/// The paragraph a disclaimer begins with, when nothing but such text follows it up to `last`.
pub fn disclaimer(lines: &[Line], last: usize) -> Option<usize> {
    let from = last.saturating_sub(REACH);
    let mut start = None;
    // From the end upwards: paragraphs of that kind, and short ones among them.
    let mut end = last + 1;
    while end > from {
        let begin =
            lines.get(from..end)?.iter().rposition(Line::is_blank).map_or(from, |blank| from + blank + 1);
        let paragraph = lines.get(begin..end)?;
        let length: usize = paragraph.iter().map(|line| line.folded.len()).sum();
        let heading =
            paragraph.iter().all(|line| HEADINGS.contains(&line.folded.trim_matches([':', '-', '_', ' '])));
        if !paragraph.is_empty() {
            if disclaims(paragraph, length) || (start == Some(end + 1) && heading) {
                start = Some(begin);
            } else if start.is_some()
                || (length > 90 || is_talk(paragraph)) && !is_registration(paragraph, length)
                || paragraph.iter().any(|line| line.folded.ends_with('?'))
            {
                break;
            }
        }
        end = begin.saturating_sub(1);
        if begin == from {
            break;
        }
    }
    // Below nothing but a greeting it is what somebody wrote.
    let greets = |line: &Line| line.folded.ends_with([',', '，', '、']) && line.folded.len() < GREETING;
    start.filter(|start| lines.iter().take(*start).any(|line| !line.is_blank() && !greets(line)))
}

/// A greeting is shorter, in octets.
const GREETING: usize = 40;

/// Does somebody speak, in a paragraph that isn't legal itself?
fn is_talk(paragraph: &[Line]) -> bool {
    paragraph.iter().any(|line| speaks(&line.folded) || is_asked(&line.folded))
        && !paragraph.iter().any(is_legal)
}

/// Does a company say who it is, and nobody anything of oneself?
fn is_registration(paragraph: &[Line], length: usize) -> bool {
    length <= MOST_REGISTERED
        && paragraph.iter().any(|line| ALL_REGISTERED.any_in(&line.folded))
        && !paragraph.iter().any(|line| speaks(&line.folded))
}

/// So many octets are enough for that.
const MOST_REGISTERED: usize = 500;

/// Is it nothing but a virus scanner's footer? Below a quotation such lines stand alone.
pub fn is_footer(lines: &[Line]) -> bool {
    let mut paragraphs =
        lines.split(Line::is_blank).filter(|paragraph| !paragraph.is_empty()).take(REACH).peekable();
    paragraphs.peek().is_some() && paragraphs.all(is_scanners)
}

/// Is it nothing but disclaimers?
pub fn is_disclaimer(lines: &[Line]) -> bool {
    let mut paragraphs = lines.split(Line::is_blank).filter(|paragraph| !paragraph.is_empty()).take(REACH);
    paragraphs.all(|paragraph| disclaims(paragraph, paragraph.iter().map(|line| line.folded.len()).sum()))
}

/// A scanner's address and a phrase of such footers beside it: one alone may be an answer.
fn is_scanners(paragraph: &[Line]) -> bool {
    let text = paragraph.iter().map(|line| line.folded.as_str()).collect::<Vec<_>>().join(" ");
    let is_address = |words: &str| SCANNERS.contains(&words);
    let found = || ALL_DISCLAIMERS.found(&text).map(|(_, words)| words);
    found().any(is_address) && found().any(|words| !is_address(words))
}

/// Is it a line of a disclaimer, as far as one line tells?
pub fn is_legal(line: &Line) -> bool {
    ALL_DISCLAIMERS.any_in(&line.folded)
}

fn disclaims(paragraph: &[Line], length: usize) -> bool {
    let text = paragraph.iter().map(|line| line.folded.as_str()).collect::<Vec<_>>().join(" ");
    let mut found = ALL_DISCLAIMERS.found(&text).map(|(_, words)| words);
    let first = found.next();
    let second = found.find(|words| Some(*words) != first);
    // A program says neither "I" nor "my".
    if speaks(&text) {
        return false;
    }
    ALL_CERTAIN.any_in(&text)
        || (!text.contains('?')
            && (second.is_some() || length >= LONG && first.is_some_and(|words| !WEAK.contains(&words))))
}

/// Do several people speak of themselves? A firm does so, too, in its disclaimer.
fn is_asked(folded: &str) -> bool {
    folded.split(|c: char| !c.is_alphanumeric()).any(|word| OURS.contains(&word))
}

/// Does somebody speak of oneself?
fn speaks(folded: &str) -> bool {
    folded.split(|c: char| !c.is_alphanumeric()).any(|word| OWN.contains(&word))
}

/// Words by which somebody speaks of oneself, folded.
const OWN: &[&str] = &[
    "i", "my", "ich", "mein", "meine", "je", "mon", "yo", "mio", "mia", "ik", "mijn", "jag", "moja", "moje",
    "я", "мой",
];

/// And by which several do.
#[rustfmt::skip]
const OURS: &[&str] = &[
    "we", "us", "our", "wir", "uns", "unser", "unsere", "unseren", "nous", "nos", "notre", "nosotros", "nuestro", "nuestra",
    "nuestros", "nuestras", "noi", "nostro", "nostra", "nostri", "nossa", "nosso", "wij", "ons", "onze", "vi", "vår", "våra",
    "my", "nasz", "nasza", "nasze", "мы", "нас", "наш", "biz", "bizim",
];

/// Words of banners that a gateway puts above a mail from outside, folded.
#[rustfmt::skip]
const BANNERS: &[&str] = &[
    "external sender", "external email", "external e-mail", "external message", "originated from outside",
    "originated outside", "came from outside", "sent from outside", "from an external",
    "outside of the organization", "outside of your organization", "outside the organization",
    "outside our organization", "outside your organization", "do not click links", "do not click any links",
    "don't often get email from", "caution: external", "[external]", "externe e-mail", "externer absender",
    "externen absender", "von außerhalb", "erhalten nicht oft eine e-mail", "erhalten nicht häufig",
    "expéditeur externe", "courriel externe", "email externe", "provient de l'extérieur",
    "n'obtenez pas souvent", "ne recevez pas souvent", "remitente externo", "correo externo",
    "no suele recibir correo", "remetente externo", "e-mail externo", "mittente esterno", "email esterna",
    "proviene dall'esterno", "non si ricevono spesso", "externe afzender", "afkomstig van buiten",
    "u ontvangt niet vaak", "je ontvangt niet vaak", "nadawca zewnętrzny", "wiadomość zewnętrzna",
    "spoza organizacji", "nie często otrzymujesz", "extern avsändare", "får inte ofta", "ekstern afsender",
    "ekstern avsender", "ulkoinen lähettäjä", "externí odesílatel", "externý odosielateľ", "külső feladó",
    "expeditor extern", "внешний отправитель", "внешняя почта", "зовнішній відправник",
    "εξωτερικός αποστολέας", "harici gönderen", "kurum dışı", "مرسل خارجي", "שולח חיצוני", "外部邮件", "外部發件人",
    "外部メール", "社外から", "외부 메일", "외부에서 발송",
];

/// Where Microsoft 365 explains its notice above the first mail of a sender, folded. It has that notice in the language
/// of whoever reads the mail.
pub const EXPLAINED: &str = "aka.ms/learnaboutsenderidentification";

/// Does a link lead there, or a gateway's that has it in its own?
pub fn explains(link: &str) -> bool {
    let page = EXPLAINED.rsplit('/').next().unwrap_or(EXPLAINED);
    link.to_ascii_lowercase().contains(page)
}

/// The notice takes no more lines.
const NOTICE_LINES: usize = 6;

/// The line behind Microsoft's notice that begins on line `start`, if it is one: up to its link.
fn notice(lines: &[Line], start: usize) -> Option<usize> {
    let paragraph =
        lines.iter().enumerate().skip(start).take(NOTICE_LINES).take_while(|(_, line)| !line.is_blank());
    let (end, line) =
        paragraph.clone().find(|(_, line)| line.is_explained || line.folded.contains(EXPLAINED))?;
    // Somebody who mentions the link asks, greets, or speaks of oneself.
    let is_human = |line: &Line| {
        let words = line.folded.split(' ').filter(|word| !word.contains('@'));
        let greets = line.folded.ends_with(',') && line.folded.len() < 40;
        line.folded.ends_with('?') || greets || words.into_iter().any(speaks)
    };
    let is_humans = paragraph.take_while(|(at, _)| *at <= end).any(|(_, line)| is_human(line));
    // In plain text it stands in brackets: what was joined to them is the answer.
    let goes_on = line.folded.split_once(']').is_some_and(|(_, rest)| !rest.trim().is_empty());
    let is_bracket = lines.get(end + 1).is_some_and(|line| line.folded == "]");
    (!is_humans && !goes_on).then_some(end + 1 + usize::from(is_bracket))
}

/// The line behind a banner at the top of the mail, if one stands there.
pub fn banner(lines: &[Line]) -> Option<usize> {
    let start = lines.iter().position(|line| !line.is_blank())?;
    let end = notice(lines, start).or_else(|| warning(lines, start))?;
    let blank = |line: &&Line| line.is_blank() || is_ruler(&line.folded, 3);
    Some(end + lines.get(end..)?.iter().take_while(blank).count())
}

/// The line behind a gateway's warning that begins on line `start`, if it is one.
fn warning(lines: &[Line], start: usize) -> Option<usize> {
    let end = start + lines.get(start..)?.iter().position(Line::is_blank)?;
    let paragraph = lines.get(start..end)?;
    let says = || paragraph.iter().any(|line| ALL_BANNERS.any_in(&line.folded));
    let length: usize = paragraph.iter().map(|line| line.folded.len()).sum();
    let greets = paragraph.first().is_some_and(|line| line.folded.ends_with(',') && line.folded.len() < 40);
    if length > 700 || greets || paragraph.iter().any(|line| line.folded.ends_with('?')) || !says() {
        return None;
    }
    // It must warn rather than tell: capitals, a bracket, a colon behind the first word, or the sentence of a program.
    let first = paragraph.first()?;
    let shouts = first
        .text
        .trim()
        .split([':', ' ', '!', '-', ']'])
        .find(|word| word.chars().any(char::is_alphabetic))
        .is_some_and(|word| {
            word.chars().filter(|c| c.is_alphabetic()).count() > 3 && !word.chars().any(char::is_lowercase)
        });
    let programs = first.folded.starts_with(['[', '!', '\u{26a0}'])
        || first.folded.contains("often get email")
        || first.folded.split(' ').take(2).any(|word| word.ends_with(':'));
    let local = !first.text.is_ascii() || length < 240;
    let is_warning = shouts
        || programs
        || (local && first.folded.starts_with("this ") && first.folded.contains("external"));
    is_warning.then_some(end)
}

#[cfg(test)]
mod tests {
    use super::{
        BANNERS, CERTAIN, DISCLAIMERS, HEADINGS, OURS, OWN, REGISTERED, SCANNERS, WEAK, banner, disclaimer,
        is_footer,
    };
    use crate::inbox::answer::line::{fold, lines_of};

    #[test]
    fn words_are_folded_as_lines_are() {
        for words in [DISCLAIMERS, BANNERS, CERTAIN, WEAK, OURS, OWN, HEADINGS, REGISTERED, SCANNERS].concat()
        {
            assert_eq!(fold(words), words);
        }
    }

    #[test]
    fn disclaimers_go_and_talk_about_secrets_stays() {
        let cut = |text: &str| {
            let lines = lines_of(text);
            disclaimer(&lines, lines.len() - 1)
        };
        assert_eq!(cut("Yes.\n\nThis email is confidential and intended solely for the addressee."), Some(2));
        assert_eq!(cut("Yes.\n\nDisclaimer\n\nVirus-free. www.avast.com"), Some(2));
        assert_eq!(cut("Yes.\n\nThe intended recipient of the parcel is my wife."), None);
        assert_eq!(cut("Virus-free. www.avast.com"), None);
    }

    #[test]
    fn scanners_footers_are_told_from_answers() {
        let is_footer = |text: &str| is_footer(&lines_of(text));
        assert!(is_footer("\nVirus-free.www.avast.com\n\n"));
        assert!(is_footer("Libre de virus. www.avg.com"));
        assert!(!is_footer("\n"));
        assert!(!is_footer("The room is virus-free."));
        assert!(!is_footer("www.avast.com"));
        assert!(!is_footer("Virus-free. www.avast.com\n\nAt six."));
    }

    #[test]
    fn banners_go_and_talk_about_banners_stays() {
        assert_eq!(
            banner(&lines_of("CAUTION: This email originated from outside the organization.\n\nHi")),
            Some(2)
        );
        assert_eq!(banner(&lines_of("Hello, the external sender told me so.\n\nHi")), None);
    }

    #[test]
    fn who_mentions_microsofts_link_speaks() {
        let link = "https://aka.ms/LearnAboutSenderIdentification";
        for (words, is_notice) in [
            (
                format!("You don't often get email from i.smith@x.test. Learn why this is important<{link}>"),
                true,
            ),
            (format!("Above your mail I see {link}. I did not pay yet."), false),
            (format!("Hello Maria,\nwhat does {link} mean?"), false),
            (format!("Hallo Maria,\n{link} steht oben."), false),
        ] {
            let lines = lines_of(&format!("{words}\n\nAna"));
            assert_eq!(banner(&lines).is_some(), is_notice, "{words}");
        }
    }
}
