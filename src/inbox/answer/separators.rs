//! Lines that part the answer from what is below: "-----Original Message-----", "Begin forwarded message:", "reply
//! above this line".
//!
//! Promises: words between dashes count by shape when a header block follows, by the table otherwise; linear.

use super::armour;
use super::clients::Part;
use super::dates::{Address, address, figures};
use super::headers::{self, Field};
use super::labels::{Label, label};
use super::line::Line;
use super::phrases::Phrases;
use std::sync::LazyLock;

/// What a separating line announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Separator {
    /// The message that is answered.
    Original,
    /// Likewise, in words that are a person's heading, too, where the mail is no answer: "Last message".
    Answered,
    /// A message that is passed on.
    Forwarded,
    /// "Reply above this line".
    ReplyAbove,
}

/// Words between dashes that announce the original, folded.
#[rustfmt::skip]
const ORIGINAL: &[&str] = &[
    "original message", "original appointment", "original email", "original mail", "message original",
    "message d'origine", "message initial", "courriel original", "ursprüngliche nachricht",
    "original-nachricht", "originalnachricht", "ursprüngliche mail", "ursprungliche nachricht",
    "originalmail", "mensaje original", "mensagem original", "messaggio originale", "messaggio origin",
    "oorspronkelijk bericht", "oorspronkelijke bericht", "origineel bericht", "ursprungligt meddelande",
    "originalmeddelande", "oprindelig meddelelse", "oprindelig besked", "opprinnelig melding",
    "opprinnelig e-post", "alkuperäinen viesti", "upprunaleg skilaboð", "wiadomość oryginalna",
    "oryginalna wiadomość", "oryginalna wiadomosc", "wiadomosc oryginalna", "původní zpráva",
    "původní e-mail", "pôvodná správa", "izvirno sporočilo", "izvorna poruka", "originalna poruka",
    "originalna porука", "eredeti üzenet", "mesaj original", "mesajul original", "исходное сообщение",
    "оригинальное сообщение", "пересланное сообщение", "початкове повідомлення", "вихідне повідомлення",
    "оригінальне повідомлення", "оригинално съобщение", "оригинално писмо", "оригинална порука",
    "αρχικό μήνυμα", "özgün ileti", "orijinal mesaj", "orjinal mesaj", "الرسالة الأصلية", "پیام اصلی",
    "ההודעה המקורית", "הודעה מקורית", "הודעה המקורית", "मूल संदेश", "ข้อความต้นฉบับ", "ข้อความดั้งเดิม",
    "thư gốc", "tin nhắn gốc", "pesan asli", "mesej asal", "原始邮件", "原始郵件", "原邮件", "邮件原件", "元のメッセージ", "元のメール",
    "オリジナルメッセージ", "원본 메시지", "원본 메일", "원본메일", "algne kiri", "algne teade", "sākotnējais ziņojums",
    "oriģinālais ziņojums", "pradinis pranešimas", "originalus laiškas", "pradinis laiškas", "mesazhi origjinal",
    "missatge original", "jatorrizko mezua", "mensaxe orixinal", "orihinal na mensahe",
    "oorspronklike boodskap", "reply message", "replied message", "받은 메일 내용", "quoted message", "quoted text", "previous message",
    "vorherige nachricht", "回复的原邮件", "回复的邮件信息", "исходное письмо", "tin nhắn ban đầu", "neges wreiddiol",
    "წერილი", "ዋናው መልዕክት", "ኦሪጅናል መልዕክት",
];

/// What Daum's programs write in brackets between their dashes, folded; others don't.
const IN_BRACKETS: &str = "받은 메일 내용";

/// Words that announce a forwarded message, folded.
#[rustfmt::skip]
const FORWARDED: &[&str] = &[
    "forwarded message", "forwarded by", "begin forwarded message", "forwarded mail", "forwarded email",
    "weitergeleitete nachricht", "anfang der weitergeleiteten nachricht", "weitergeleitet von",
    "message transféré", "début du message transféré", "début du message réexpédié", "transféré par",
    "courriel transféré", "mensaje reenviado", "inicio del mensaje reenviado", "reenviado por",
    "mensagem encaminhada", "mensagem reencaminhada", "início da mensagem encaminhada",
    "início da mensagem reencaminhada", "messaggio inoltrato", "inizio messaggio inoltrato",
    "messaggio reindirizzato", "doorgestuurd bericht", "begin doorgestuurd bericht",
    "vidarebefordrat meddelande", "vidarebefordrat brev", "början på vidarebefordrat meddelande",
    "videresendt meddelelse", "videresendt besked", "start på videresendt besked", "videresendt melding",
    "videresendt e-post", "edelleenlähetetty viesti", "välitetty viesti", "välitetty viesti alkaa",
    "lähetetty edelleen", "przekazana wiadomość", "wiadomość przekazana dalej",
    "treść przekazanej wiadomości", "początek przekazywanej wiadomości", "přeposlaná zpráva",
    "preposlaná správa", "začátek přeposílané zprávy", "posredovano sporočilo", "proslijeđena poruka",
    "prosleđena poruka", "továbbított üzenet", "továbbított levél", "mesaj redirecționat",
    "mesaj redirectionat", "mesaj transmis", "пересылаемое сообщение", "пересланное письмо",
    "начало пересылаемого сообщения", "начало переадресованного сообщения", "переслане повідомлення",
    "пересилане повідомлення", "препратено съобщение", "прослеђена порука", "προωθημένο μήνυμα", "προωθημένο",
    "yönlendirilen ileti", "iletilen mesaj", "iletilmiş mesaj", "الرسالة المحولة", "رسالة معاد توجيهها",
    "رسالة معاد إرسالها", "پیام فوروارد شده", "הודעה שהועברה", "अग्रेषित संदेश", "ข้อความที่ส่งต่อ",
    "thư được chuyển tiếp", "thư đã chuyển tiếp", "tin nhắn được chuyển tiếp", "pesan terusan",
    "pesan diteruskan", "mesej dimajukan", "转发的邮件", "开始转发的邮件", "開始轉寄郵件", "開始轉寄的郵件", "转发邮件", "转发邮件信息",
    "转发的邮件信息", "轉寄的郵件", "轉寄郵件", "轉寄訊息", "转寄", "転送メッセージ", "転送されたメッセージ", "転送", "전달된 메시지", "전달된 메일",
    "edastatud kiri", "pārsūtīts ziņojums", "persiųstas laiškas", "missatge reenviat", "birzalitako mezua",
    "mensaxe reenviada", "ipinasa na mensahe", "የተላለፈ መልዕክት",
];

/// "Message" and "mail", which announce a message between many dashes, alone or beside a word of [`ANSWERED`] or a
/// sender, folded.
#[rustfmt::skip]
const MESSAGE: &[&str] = &[
    "message", "nachricht", "mensaje", "mensagem", "messaggio", "bericht", "meddelande", "meddelelse",
    "melding", "besked", "viesti", "skilaboð", "wiadomość", "zpráva", "správa", "sporočilo", "poruka",
    "porука", "üzenet", "mesaj", "сообщение", "письмо", "повідомлення", "съобщение", "порука", "μήνυμα",
    "ileti", "رسالة", "الرسالة", "پیام", "הודעה", "संदेश", "বার্তা", "ข้อความ", "tin nhắn", "thư", "pesan",
    "mesej", "邮件", "郵件", "信件", "メッセージ", "メール", "메시지", "메일", "kiri", "ziņojums", "laiškas", "pranešimas",
    "mesazhi", "missatge", "mezua", "mensaxe", "mensahe", "boodskap", "neges", "teachtaireacht", "ujumbe", "መልዕክት",
];

/// What stands beside "message" where a program announces the one that is answered, folded: reply, previous, quoted.
#[rustfmt::skip]
const ANSWERED: &[&str] = &[
    "reply", "answer", "answered", "quoted", "previous", "earlier", "last", "old", "initial", "original",
    "antwort", "zitierte", "letzte", "vorige", "frühere", "alte", "réponse", "précédent", "de réponse",
    "respuesta", "anterior", "de respuesta", "resposta", "de resposta", "risposta", "di risposta", "precedente",
    "antwoord", "vorig", "vorige", "svar", "föregående", "tidigare", "forrige", "tidligere", "vastaus",
    "edellinen", "odpowiedź", "poprzednia", "odpověď", "předchozí", "odpoveď", "predchádzajúca", "odgovor",
    "prejšnje", "prethodna", "válasz", "előző", "răspuns", "ответ", "предыдущее", "відповідь", "попереднє",
    "отговор", "предишно", "одговор", "претходна", "απάντηση", "προηγούμενο", "yanıt", "cevap", "önceki",
    "رد", "السابقة", "پاسخ", "قبلی", "תשובה", "הקודמת", "पिछला", "ก่อนหน้า", "ตอบกลับ", "trả lời", "trước",
    "balasan", "sebelumnya", "回复", "回覆", "答复", "之前的", "返信", "前の", "답장", "이전", "vastus", "eelmine",
    "atbilde", "iepriekšējais", "atsakymas", "ankstesnis",
];

/// "Reply above this line" in the languages that help desks and channels write it in, folded.
#[rustfmt::skip]
const REPLY_ABOVE: &[&str] = &[
    "reply above this line", "type your reply above this line", "please type your reply above",
    "write your reply above", "reply above this", "above this line to reply", "respond above this line",
    "write above this line", "do not write below this line", "do not type below this line",
    "please reply above this line", "reply above the dotted line", "enter your reply above",
    "bitte über dieser zeile antworten", "antworten sie über dieser zeile", "oberhalb dieser zeile",
    "über dieser zeile", "au-dessus de cette ligne", "répondez au-dessus", "por encima de esta línea",
    "escriba su respuesta encima", "escribe tu respuesta por encima", "sobre esta línea", "acima desta linha",
    "sopra questa riga", "al di sopra di questa riga", "boven deze regel", "boven deze lijn",
    "powyżej tej linii", "nad tą linią", "ovanför den här raden", "ovanför den här linjen", "ovanför denna linje", "over denne linje",
    "over denne linjen", "tämän rivin yläpuolelle", "nad tuto čáru", "nad tento řádek", "nad tento riadok",
    "e fölé a sor fölé", "ezen sor fölé", "deasupra acestei linii", "выше этой линии", "выше этой строки",
    "над этой чертой", "вище цього рядка", "над този ред", "πάνω από αυτή τη γραμμή", "bu satırın üzerine",
    "bu satırın üstüne", "فوق هذا السطر", "מעל שורה זו", "इस पंक्ति के ऊपर", "เหนือบรรทัดนี้",
    "phía trên dòng này", "di atas baris ini", "在此行上方", "在此线以上", "请在此行以上", "請在此行上方", "この行より上に", "この線より上に",
    "이 줄 위에", "iznad ove crte", "iznad ovog retka", "iznad ove linije", "nad to vrstico", "virš šios eilutės",
    "virs šīs līnijas", "sellest reast ülevalpool",
];

/// What such lines ask to do there, folded: reply, write, type, or the beginning of it.
#[rustfmt::skip]
const WRITE: &[&str] = &[
    "reply", "respond", "write", "type", "enter", "antwort", "schreiben sie", "répond", "réponse", "écrivez", "respuesta",
    "responda", "responde", "escriba", "escribe", "respost", "responder", "escreva", "rispond", "rispost", "scriv",
    "antwoord", "schrijf", "svar", "skriv", "vastau", "vastaa", "kirjoita", "odpow", "napisz", "odpov", "odgovor", "napiš",
    "válasz", "írja", "răspun", "scrieți", "ответ", "напишите", "пишите", "відпов", "отговор", "απαντ", "γράψ", "yanıt",
    "cevap", "yazın", "الرد", "ردك", "اكتب", "השב", "כתוב", "תשובה", "उत्तर", "जवाब", "ตอบ", "พิมพ์", "trả lời", "balas",
    "tulis", "回复", "回覆", "答复", "返信", "入力", "記入", "답장", "회신", "입력", "atsaky", "atbild", "vastus", "kirjuta",
];

static ALL_WRITE: LazyLock<Phrases> = LazyLock::new(|| Phrases::of(WRITE));
static ALL_ORIGINAL: LazyLock<Phrases> = LazyLock::new(|| Phrases::of(ORIGINAL));
static ALL_FORWARDED: LazyLock<Phrases> = LazyLock::new(|| Phrases::of(FORWARDED));
static ALL_ANSWERED: LazyLock<Phrases> = LazyLock::new(|| Phrases::of(ANSWERED));
static ALL_MESSAGE: LazyLock<Phrases> = LazyLock::new(|| Phrases::of(MESSAGE));
static ALL_REPLY_ABOVE: LazyLock<Phrases> = LazyLock::new(|| Phrases::of(REPLY_ABOVE));

/// What the line at `at` separates, if it does.
pub fn at(lines: &[Line], at: usize) -> Option<Separator> {
    let folded = lines.get(at)?.folded.as_str();
    if folded.len() > 200 || folded.is_empty() || armour::is_border(folded) {
        return None;
    }
    if is_apart(lines, at) && ALL_REPLY_ABOVE.any_in(folded) && !reads_like_request(folded) && orders(folded)
    {
        return Some(Separator::ReplyAbove);
    }
    let inner =
        folded.trim_matches(|c: char| matches!(c, '-' | '_' | '=' | '#' | ' ' | '~' | '+' | '>' | '<'));
    let in_brackets = inner.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).map(str::trim);
    let inner = in_brackets.filter(|words| *words == IN_BRACKETS).unwrap_or(inner);
    let words = inner.trim_end_matches([':', ' ', '.']);
    let dashes = folded.chars().take_while(|c| matches!(c, '-' | '_' | '=' | '#' | '~')).count();
    let closing = folded.chars().rev().take_while(|c| matches!(c, '-' | '_' | '=' | '#' | '~')).count();
    if folded.starts_with("original message processed by") {
        return Some(Separator::Original);
    }
    // The stroke that Outlook draws above its fields, in a language of no table.
    if folded.len() >= 20
        && folded.bytes().all(|byte| byte == b'_')
        && fields_follow(lines, at + 1, folded.len())
    {
        return Some(Separator::Original);
    }
    if dashes >= 2 {
        // What follows on the line may be the header block itself: "--- Original message ---Von: …".
        let (head, rest) = inner.split_once(['-', '_', '=']).unwrap_or((inner, ""));
        let head = head.trim();
        if ALL_ORIGINAL.has(words) || head.len() > 8 && ALL_ORIGINAL.has(head) && is_programs(rest) {
            return Some(Separator::Original);
        }
        if ALL_FORWARDED.beginning(words).next().is_some() {
            return Some(Separator::Forwarded);
        }
        // "----- Antwort Nachricht -----"
        let heads = dashes >= 4 && closing >= 4 && words.split(' ').count() <= 4;
        if heads && !stands_in_form(lines, at) {
            let announced = announces_message(words);
            if announced.is_some() && quotation_follows(lines, at + 1)
                || ALL_MESSAGE.any_in(words) && block_follows(lines, at + 1)
            {
                return Some(Separator::Original);
            }
            if announced == Some(Announced::Answered) {
                return Some(Separator::Answered);
            }
        }
        let shaped =
            closing >= 2 && words.chars().filter(|c| c.is_alphabetic()).count() >= 3 && words.len() < 80;
        if shaped && mail_follows(lines, at + 1) {
            return Some(Separator::Original);
        }
    }
    // Without dashes only the whole line counts, and only above a header block.
    let announced = (ALL_FORWARDED.has(words), ALL_ORIGINAL.has(words));
    match announced {
        (true, _) if folded.ends_with(':') || block_follows(lines, at + 1) => Some(Separator::Forwarded),
        (_, true) if block_follows(lines, at + 1) => Some(Separator::Original),
        _ => None,
    }
}

/// How words between dashes announce a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Announced {
    /// "Message", or whose it is: "Nachricht von Ana". A person writes so, too, above what somebody told.
    Told,
    /// It is said to be answered: "Reply Message". That may be a person's heading, too, above what is only said.
    Answered,
}

/// "Message", with nothing beside it but what says that it is answered, or whose it is. "Important message" is a person's
/// heading.
fn announces_message(words: &str) -> Option<Announced> {
    let announced = ALL_MESSAGE.found(words).filter_map(|(at, message)| {
        let front = words.get(..at).unwrap_or_default().trim();
        let behind = words.get(at + message.len()..).unwrap_or_default();
        let names_sender = || {
            let named = behind.strip_prefix(' ').and_then(|rest| rest.split_once(' '));
            named.is_some_and(|(from, _)| label(from) == Some(Label::From))
        };
        match (front, behind.trim()) {
            ("", "") => Some(Announced::Told),
            ("", beside) | (beside, "") if ALL_ANSWERED.has(beside) => Some(Announced::Answered),
            ("", _) if names_sender() => Some(Announced::Told),
            _ => None,
        }
    });
    announced.max()
}

/// Is this, behind words between dashes on their line, a program's: strokes, a field of a header block, a date, an
/// address? A person's sentence goes on there: "-----Original Message----- was in my spam."
fn is_programs(rest: &str) -> bool {
    let rest = rest.trim_matches(['-', '_', '=', ' ']);
    !rest.contains(char::is_alphabetic)
        || Field::of(rest).is_some_and(Field::is_labelled)
        || figures(rest).is_stamp()
        || address(rest) != Address::None
}

/// Groupwise's attribution, between arrows: `>>> "Casa Sol" <a@b.c> 12/05/2026 9:41 AM >>>`, which may be broken over
/// lines. Gives the line behind it.
pub fn between_arrows(lines: &[Line], at: usize) -> Option<usize> {
    let first = lines.get(at).filter(|line| line.text.trim_start().starts_with(">>> "))?;
    let mut joined = String::new();
    for (next, line) in lines.iter().enumerate().skip(at).take(ARROWED_LINES) {
        if line.is_blank() || next > at && line.depth >= first.depth || joined.len() > ARROWED {
            return None;
        }
        joined.push_str(&line.folded);
        if let Some(inside) = joined.strip_suffix(" >>>") {
            let named = figures(inside).is_date() || address(inside) != Address::None;
            return named.then_some(next + 1);
        }
        joined.push(' ');
    }
    None
}

/// Such an attribution is broken over so many lines at most, and so long, in octets.
const ARROWED_LINES: usize = 3;
const ARROWED: usize = 300;

/// Set off by strokes, or by empty lines: what a program puts between.
fn is_apart(lines: &[Line], at: usize) -> bool {
    let line_at = |at: Option<usize>| at.and_then(|at| lines.get(at));
    let blank = |at: Option<usize>| line_at(at).is_none_or(Line::is_blank);
    let is_stroke = |at: Option<usize>| line_at(at).is_some_and(|line| is_ruler(&line.folded, 3));
    let stroke = lines.get(at).is_some_and(|line| !line.folded.starts_with(char::is_alphanumeric));
    let (above, below) = (at.checked_sub(1), Some(at + 1));
    stroke || blank(above) && blank(below) || is_stroke(above) && is_stroke(below)
}

/// Between strokes, or with a word that asks to write: "the details above this line are wrong" is a sentence.
fn orders(folded: &str) -> bool {
    !folded.starts_with(char::is_alphanumeric) || ALL_WRITE.any_in(folded)
}

/// Is it a person who asks where to write?
fn reads_like_request(folded: &str) -> bool {
    folded.ends_with('?') || folded.starts_with("i ") || folded.contains(" i ")
}

/// Does a line with a label stand above? "Email: …", "---- Message ----" is a contact form's.
fn stands_in_form(lines: &[Line], at: usize) -> bool {
    let above = lines.get(at.saturating_sub(3)..at).unwrap_or_default();
    above.iter().rev().find(|line| !line.is_blank()).is_some_and(headers::is_field)
}

/// Does what is quoted follow: by its mark, or as text that we sent?
fn quotation_follows(lines: &[Line], from: usize) -> bool {
    let near = lines.get(from..lines.len().min(from + 3)).unwrap_or_default();
    near.iter().find(|line| !line.is_blank()).is_some_and(|line| {
        line.depth > 0 || line.mark.is_some_and(|mark| mark.quotes() || mark.part == Part::Known)
    })
}

/// Does a header block follow within a line or two?
fn block_follows(lines: &[Line], from: usize) -> bool {
    let next =
        (from..lines.len().min(from + 3)).find(|at| lines.get(*at).is_some_and(|line| !line.is_blank()));
    next.is_some_and(|at| headers::starting_at(lines, at).is_some() || headers::are_fields(lines, at))
}

/// Does a header block follow within a line or two that is no form of a person's?
fn mail_follows(lines: &[Line], from: usize) -> bool {
    let next =
        (from..lines.len().min(from + 3)).find(|at| lines.get(*at).is_some_and(|line| !line.is_blank()));
    next.is_some_and(|at| headers::standing_alone(lines, at, at).is_some())
}

/// Do a program's fields follow below a stroke of that length? Outlook's is of 32, which people don't count.
fn fields_follow(lines: &[Line], from: usize, strokes: usize) -> bool {
    let next =
        (from..lines.len().min(from + 2)).find(|at| lines.get(*at).is_some_and(|line| !line.is_blank()));
    next.is_some_and(|at| {
        headers::standing_alone(lines, at, at).is_some() || strokes == 32 && headers::are_fields(lines, at)
    })
}

/// A line of nothing but strokes, at least `least` of them.
pub fn is_ruler(folded: &str, least: usize) -> bool {
    let is_stroke = |octet: u8| matches!(octet, b'-' | b'_' | b'=' | b'~' | b'.' | b'#' | b'+');
    folded.bytes().all(|octet| is_stroke(octet) || octet == b' ')
        && folded.bytes().filter(|octet| is_stroke(*octet)).count() >= least
}

#[cfg(test)]
mod tests {
    use super::{ANSWERED, FORWARDED, MESSAGE, ORIGINAL, REPLY_ABOVE, Separator, WRITE, at, between_arrows};
    use crate::inbox::answer::line::{fold, lines_of};

    #[test]
    fn words_are_folded_as_lines_are() {
        for words in [ORIGINAL, FORWARDED, REPLY_ABOVE, MESSAGE, ANSWERED, WRITE].concat() {
            assert_eq!(fold(words), words);
        }
    }

    #[test]
    fn separators_are_told_by_word_or_by_shape() {
        let kind = |text| at(&lines_of(text), 0);
        assert_eq!(kind("-----Original Message-----"), Some(Separator::Original));
        assert_eq!(kind("*-------- Original Message --------*"), Some(Separator::Original));
        assert_eq!(kind("------------------ 原始邮件 ------------------"), Some(Separator::Original));
        assert_eq!(
            kind("-----Ujumbe Asili-----\nFrom: a@b.c\nSent: 1.2.2026 10:30\nSubject: x"),
            Some(Separator::Original)
        );
        assert_eq!(kind("----- Antwort Nachricht -----"), Some(Separator::Answered));
        assert_eq!(kind("----- Nachricht von Ana -----\n\n> Wann?"), Some(Separator::Original));
        assert_eq!(kind("----- Message -----\n> Wann?"), Some(Separator::Original));
        assert_eq!(
            kind("-----Original Message-----From: a@b.c Sent: 1.2.2026 10:30 To: d"),
            Some(Separator::Original)
        );
        assert_eq!(kind("----- 回复邮件 -----"), Some(Separator::Answered));
        assert_eq!(kind("----- Wichtige Nachricht -----"), None);
        assert_eq!(kind("----- Important message! -----"), None);
        assert_eq!(kind("----- Mensaje para todos -----"), None);
        assert_eq!(kind("---------[ 받은 메일 내용 ]----------"), Some(Separator::Original));
        assert_eq!(kind("---[ Original message ]---"), None);
        assert_eq!(at(&lines_of("-----\nReply above this line\n-----"), 1), Some(Separator::ReplyAbove));
        assert_eq!(kind("Begin forwarded message:"), Some(Separator::Forwarded));
        assert_eq!(kind("##- Please type your reply above this line -##"), Some(Separator::ReplyAbove));
    }

    #[test]
    fn attributions_between_arrows_are_told_from_prompts_and_quotations() {
        let behind = |text| between_arrows(&lines_of(text), 0);
        assert_eq!(behind(">>> \"Casa Sol\" <a@b.c> 12/05/2026 9:41 AM >>>\nWhen?"), Some(1));
        assert_eq!(behind(">>> Casa Sol 12.05.26 9.41 Uhr >>>\nWhen?"), Some(1));
        assert_eq!(behind(">>> Casa Sol in Sevilla <a@b.c> 12/05/2026 9:41\nAM >>>\nWhen?"), Some(2));
        assert_eq!(behind(">>> print(\"a\") >>>\na"), None);
        assert_eq!(behind(">>> date(2026, 5, 12)\n>>> today() >>>"), None);
        assert_eq!(behind(">>> On 12 May 2026 we came\n>>> at six."), None);
        assert_eq!(behind("> > > a@b.c >>>"), None);
    }

    #[test]
    fn headings_of_ones_own_are_none() {
        let kind = |text| at(&lines_of(text), 0);
        assert_eq!(kind("----- Kitchen -----\nThe oven is broken"), None);
        assert_eq!(kind("Original message\nwas fine"), None);
        assert_eq!(kind("-- first point"), None);
        assert_eq!(kind("----- Nachricht von Bob -----\nIch komme am Montag."), None);
        assert_eq!(kind("----- Message -----\nWe come on Monday."), None);
        assert_eq!(kind("-----Original Message----- was in my spam."), None);
        for border in ["BEGIN PGP MESSAGE", "BEGIN PGP SIGNED MESSAGE", "END PGP MESSAGE"] {
            let lines = lines_of(&format!("-----{border}-----\nFrom: a@b.c\nDate: 1.2.2026 10:30\nTo: d"));
            assert_eq!(at(&lines, 0), None, "{border}");
        }
    }
}
