//! What stands below the answer and isn't part of it: signatures behind a delimiter, device lines, disclaimers; and
//! above it: banners that warn of external senders.
//!
//! Promises: a closing formula and a typed name stay; a signature without a delimiter stays too, for nobody can tell it
//! from what was written. The delimiter is RFC 3676 §4.3's, and the rulers that people draw in its place.

use super::line::Line;
use super::separators::is_ruler;

/// A signature behind a drawn ruler is at most so many lines with text.
const CARD_LINES: usize = 12;

/// What was found at the end of a part of the mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail {
    /// The first line of it.
    pub from: usize,
    /// Which rule found it.
    pub rule: &'static str,
    /// It is a signature, and not only a ruler or blank lines.
    pub is_signature: bool,
}

/// Finds what to cut at the end of `lines`, once; ask again for what is left.
///
/// `first` says that nothing of the answer stands above these lines: then a signature can't be all there is.
pub fn tail(lines: &[Line], first: bool) -> Option<Tail> {
    let last = lines.iter().rposition(|line| !line.is_blank() || is_starred(&line.text))?;
    let found = |from, rule, is_signature| Some(Tail { from, rule, is_signature });
    if let Some(line) = lines.get(last) {
        if is_ruler(&line.folded, 2) || is_starred(&line.text) || is_empty_quote(line) {
            return found(last, "text:ruler", false);
        }
        if is_device(&line.folded, &line.text) {
            return found(last, "text:device", true);
        }
        if let Some(from) = broken_device(lines, last) {
            return found(from, "text:device", true);
        }
    }
    if let Some(at) = delimiter(lines, first) {
        return found(at, "text:signature", true);
    }
    if let Some(at) = disclaimer(lines, last) {
        return found(at, "text:disclaimer", true);
    }
    None
}

fn is_empty_quote(line: &Line) -> bool {
    line.depth > 0 && line.folded.is_empty()
}

/// A ruler of stars, which folding takes for emphasis.
fn is_starred(text: &str) -> bool {
    let stars = text.chars().filter(|c| *c == '*').count();
    stars >= 3 && text.chars().all(|c| matches!(c, '*' | ' ' | '\t' | '.' | '\\'))
}

/// The line that opens a signature.
fn delimiter(lines: &[Line], first: bool) -> Option<usize> {
    let above = |at: usize| lines.iter().take(at).any(|line| !line.is_blank());
    let mut found = None;
    for (at, line) in lines.iter().enumerate() {
        if line.depth > 0 || (first && !above(at)) {
            continue;
        }
        let text = line.text.trim_matches(['\u{a0}', ' ', '\t', '\u{200b}']);
        let certain = text == "--"
            || text == "- -"
            || line.text == "-- "
            || text == "\u{2014}"
            || text == "\u{2013}\u{2013}"
            || text == "\u{2014}\u{2014}"
            || text == "__";
        if certain && is_card(lines.get(at + 1..).unwrap_or_default(), 30) {
            return Some(at);
        }
        // A line of strokes right below a text underlines it; of several, only the last can open a signature.
        let underlines = at.checked_sub(1).and_then(|at| lines.get(at)).is_some_and(|line| !line.is_blank())
            && !text.starts_with('_');
        let drawn = (is_ruler(&line.folded, 3) && !text.contains('#')) || is_starred(text);
        if drawn {
            let alone = found.is_none() && !underlines;
            found = (alone && is_card(lines.get(at + 1..).unwrap_or_default(), CARD_LINES)).then_some(at);
            if !alone {
                return None;
            }
        }
    }
    found
}

/// Short lines that tell who somebody is, and no talk.
fn is_card(lines: &[Line], most: usize) -> bool {
    let written = lines.iter().filter(|line| !line.is_blank());
    let mut count = 0;
    for line in written {
        count += 1;
        let asks = line.folded.ends_with('?') && !line.folded.contains('/');
        if count > most
            || asks
            || is_ruler(&line.folded, 3) && count > 1 && most <= CARD_LINES && talks(lines)
        {
            return false;
        }
    }
    most > CARD_LINES || !talks(lines)
}

/// Several lines of sentences: that is no card.
fn talks(lines: &[Line]) -> bool {
    let sentences = lines.iter().filter(|line| {
        let words = line.folded.split(' ').filter(|word| word.chars().all(char::is_alphabetic)).count();
        words >= 6 && line.folded.ends_with(['.', ',', '!', ':'])
    });
    sentences.count() >= 2
}

/// Programs and devices that name themselves, folded.
#[rustfmt::skip]
const PRODUCTS: &[&str] = &[
    "iphone", "iphonu", "iphonom", "iphona", "ipad", "ipod", "android", "galaxy", "samsung", "huawei",
    "xiaomi", "redmi", "oneplus", "google pixel", "pixel 6", "pixel 7", "pixel 8", "pixel 9", "motorola",
    "nokia", "sony", "xperia", "honor", "oppo", "vivo", "realme", "blackberry", "windows phone",
    "windows mail", "mail for windows", "mail für windows", "windows 10", "windows 8",
    "courrier pour windows", "correo para windows", "posta per windows", "mail voor windows",
    "poczta dla windows", "почты для windows", "outlook", "yahoo", "proton", "gmail", "gmx", "web.de",
    "freenet", "t-online", "mail app", "bluemail", "blue mail", "blue-mail", "spark", "mailbird", "airmail",
    "mailbox", "superhuman", "k-9", "k9", "fairemail", "aqua mail", "aquamail", "nine", "typeapp",
    "em client", "the bat", "mail.ru", "yandex", "яндекс", "почты", "zoho", "aol", "libero", "tiscali",
    "orange", "sfr", "free mobile", "laposte", "seznam", "wp.pl", "onet", "o2", "interia", "ziggo", "kpn",
    "thunderbird", "tutanota", "tuta", "myMail", "mymail", "polymail", "newton", "cloudmagic", "edison",
    "canary", "hey.com", "fastmail", "posteo", "mailbox.org", "rediff", "naver", "네이버", "qq", "foxmail",
    "163", "126", "网易", "htc", "lg ", "lumia", "touchpad", "macbook", "imac", "apple watch", "айфон", "айпад",
    "smartphone", "smartfon", "смартфон", "surface", "kindle", "chromebook", "onemail", "spike",
    "notion mail", "shortwave", "mailspring", "ios", "mobile mail", "roundcube", "horde", "sogo",
    "telefono cellulare",
];

/// Words for any device, which count only in a short line, folded.
#[rustfmt::skip]
const DEVICES: &[&str] = &[
    "mobile", "phone", "handy", "mobilgerät", "mobiltelefon", "telefon", "téléphone", "portable", "mobil",
    "móvil", "movil", "celular", "telemóvel", "cellulare", "dispositivo", "telefoon", "mobiel", "mobilen",
    "mobiltelefoni", "puhelim", "telefonu", "komórk", "telefonem", "telefónu", "mobilného", "mobilu",
    "telefonom", "mobitela", "telefona", "телефон", "мобильн", "мобільн", "мобилен", "устройства", "κινητό",
    "cep telefon", "cihaz", "هاتف", "جوال", "موبایل", "گوشی", "הנייד", "טלפון", "फ़ोन", "मोबाइल", "มือถือ",
    "โทรศัพท์", "điện thoại", "ponsel", "telepon", "手机", "手機", "スマートフォン", "携帯", "휴대폰", "스마트폰", "모바일",
    "tablet", "device", "gerät", "appareil", "handheld", "wireless",
];

/// Words for "sent", as device lines write them, folded.
#[rustfmt::skip]
const SENT: &[&str] = &[
    "sent from", "sent via", "sent with", "sent using", "sent by", "sent on", "sent through", "send from",
    "from my", "get outlook", "get the ", "download outlook", "gesendet", "gesandt", "geschickt",
    "verschickt", "verfasst", "holen sie sich", "outlook für", "envoyé", "envoye", "expédié", "télécharge",
    "obtenir", "obtenez", "inviato", "spedito", "scarica outlook", "ottieni outlook", "enviado",
    "mandado desde", "obtener outlook", "obtén", "obtenga", "descarga outlook", "obter o outlook",
    "obter outlook", "baixar o outlook", "verzonden", "verstuurd", "gestuurd", "outlook voor", "skickat",
    "hämta outlook", "skaffa outlook", "sendt fra", "sendt via", "sendt med", "send fra", "hent outlook",
    "få outlook", "lähetetty", "hanki outlook", "hämta", "sent úr", "wysłan", "pobierz outlook",
    "uzyskaj outlook", "odesláno", "odeslano", "získat outlook", "stáhnout outlook", "odoslané",
    "získajte outlook", "poslano", "poslato", "preuzmi", "nabavite outlook", "küldve", "elküldve", "küldtem",
    "az outlook", "beszerzése", "trimis", "obțineți outlook", "descărcați outlook", "отправлен", "послано с",
    "скачать outlook", "скачайте outlook", "получить outlook", "надіслано", "відправлено", "отримати outlook",
    "завантажити outlook", "изпратен", "вземете outlook", "послато", "στάλθηκε", "εστάλη", "απεστάλη",
    "αποκτήστε το outlook", "λήψη του outlook", "gönderildi", "gönderdim", "outlook'u edinin", "yükleyin",
    "göndərilib", "أرسل", "أُرسل", "مرسل من", "تم الإرسال", "الحصول على outlook", "فرستاده شده", "ارسال شده",
    "ارسال از", "נשלח", "קבל את outlook", "השג את outlook", "भेजा", "से भेजा", "outlook प्राप्त करें",
    "ส่งจาก", "รับ outlook", "gửi từ", "tải outlook", "tải xuống outlook", "dikirim", "dapatkan outlook",
    "dihantar", "发自", "發自", "来自", "發送自", "发送自", "傳送自", "傳送", "获取 outlook", "下载 outlook", "取得 outlook", "から送信",
    "を入手", "에서 보냄", "에서 보낸", "에서 발송", "에서 전송", "다운로드", "saadetud", "nosūtīts", "išsiųsta", "dërguar nga",
    "enviat des", "bidalia", "ipinadala mula", "anfonwyd", "seolta ó", "gestuur vanaf", "imetumwa",
    "адпраўлена", "kildet", "von meinem", "depuis mon", "desde mi", "da mio", "dal mio", "do meu",
    "vanaf mijn", "från min", "z mojego", "с моего", "з мого",
];

/// Is it a line by which a device or a program advertises itself?
///
/// `shown` is the line as it stands, in which names have capitals.
pub fn is_device(folded: &str, shown: &str) -> bool {
    let line = folded.trim_matches(['-', ' ', '_', '[', '|', '~', '<', '"', '(', ')']);
    let text = line.split(['<', ']']).next().unwrap_or_default();
    let words = text.split(' ').filter(|word| !word.is_empty() && !word.contains("://")).count();
    if line.len() > 260 || text.len() > 160 || words == 0 || words > 14 || line.ends_with('?') {
        return false;
    }
    // "Yahoo Mail: Search, Organize, Conquer", and "Outlook for iOS" in whatever language.
    let outlook = line.contains("outlook")
        && (line.contains("ios") || line.contains("android") || line.contains("aka.ms"))
        && words <= 9;
    let yahoo = line.starts_with("yahoo mail") && words <= 9;
    if outlook || yahoo {
        return true;
    }
    let Some(at) = SENT.iter().filter_map(|sent| line.find(*sent)).min() else { return false };
    // Scripts that put the verb last have the device in front.
    let early = at <= 24 || words <= 9;
    let product = PRODUCTS.iter().any(|product| names(line, product));
    let device = words <= 9 && DEVICES.iter().any(|device| line.contains(device));
    early && (product || device || is_named(line, shown)) && !goes_on(text)
}

/// A device line that can stand alone in the midst of a mail: short, and no sentence.
pub fn is_lone_device(line: &Line) -> bool {
    line.folded.split(' ').count() <= 8
        && !line.folded.ends_with(['.', ','])
        && is_device(&line.folded, &line.text)
}

/// "Sent from my Wiko RIDGE 4G", "Sent from my TI-85": a name of no table.
fn is_named(line: &str, shown: &str) -> bool {
    let Some(rest) = line.strip_prefix("sent from my ") else { return false };
    let capital =
        shown.split_whitespace().skip(3).any(|word| word.chars().any(|c| c.is_uppercase() || c.is_numeric()));
    (capital && rest.split(' ').count() <= 6) || rest.contains("excuse") || rest.starts_with("cell")
}

/// A short Latin name must be a word of its own: "orange" isn't in "oranges".
fn names(line: &str, product: &str) -> bool {
    line.match_indices(product).any(|(at, _)| {
        let apart = |side: Option<char>| side.is_none_or(|c| !c.is_ascii_alphabetic());
        let before = line.get(..at).and_then(|front| front.chars().next_back());
        let after = line.get(at + product.len()..).and_then(|rest| rest.chars().next());
        product.len() > 6 || (apart(before) && (apart(after) || product.len() > 4))
    })
}

/// "Sent from my desk, which is easier": a sentence goes on behind a comma.
fn goes_on(text: &str) -> bool {
    let Some((_, rest)) = text.split_once(", ") else { return false };
    rest.split(' ').count() > 5
}

/// A device line that was broken in two.
fn broken_device(lines: &[Line], last: usize) -> Option<usize> {
    let above = last.checked_sub(1)?;
    let (first, second) = (lines.get(above)?, lines.get(last)?);
    let paragraph = above.checked_sub(1).and_then(|at| lines.get(at)).is_none_or(Line::is_blank);
    let whole = !first.is_blank() && paragraph && first.depth == second.depth;
    let joined = format!("{} {}", first.folded, second.folded);
    (whole && is_device(&joined, &joined)).then_some(above)
}

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
    "you received this message because you are subscribed", "to unsubscribe from this group", "www.avast.com",
    "www.avg.com",
];

/// What stands above a disclaimer, folded.
#[rustfmt::skip]
const HEADINGS: &[&str] = &[
    "disclaimer", "confidentiality notice", "confidentiality", "notice", "legal notice", "privacy notice",
    "haftungsausschluss", "rechtlicher hinweis", "hinweis", "aviso legal", "aviso", "avis de confidentialité",
    "avis", "confidentialité", "avviso", "avvertenza", "zastrzeżenie", "vertraulichkeitshinweis",
];

/// The paragraph a disclaimer begins with, when nothing but such text follows it.
fn disclaimer(lines: &[Line], last: usize) -> Option<usize> {
    let says = |line: &Line| DISCLAIMERS.iter().any(|words| line.folded.contains(words));
    let at = lines.iter().position(says)?;
    let start = lines.get(..at)?.iter().rposition(Line::is_blank).map_or(0, |blank| blank + 1);
    let heading = |line: &&Line| HEADINGS.contains(&line.folded.trim_matches([':', '-', '_', ' ']));
    let heads = lines
        .get(..start)?
        .iter()
        .enumerate()
        .rev()
        .find(|(_, line)| !line.is_blank())
        .filter(|(_, line)| heading(line));
    let start = heads.map_or(start, |(at, _)| at);
    let above = lines.get(..start)?.iter().any(|line| !line.is_blank());
    // What follows the paragraph must be of the same kind, or short: an address, a slogan.
    let paragraphs = lines.get(start..=last)?.split(Line::is_blank).filter(|paragraph| !paragraph.is_empty());
    let fits = |paragraph: &[Line]| {
        let length: usize = paragraph.iter().map(|line| line.folded.len()).sum();
        paragraph.iter().any(says)
            || (length < 90 && !paragraph.iter().any(|line| line.folded.ends_with('?')))
            || length > 240
    };
    (above && paragraphs.into_iter().all(fits)).then_some(start)
}

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

/// The line behind a banner at the top of the mail, if one stands there.
pub fn banner(lines: &[Line]) -> Option<usize> {
    let start = lines.iter().position(|line| !line.is_blank())?;
    let mut end = start + lines.get(start..)?.iter().position(Line::is_blank)?;
    let paragraph = lines.get(start..end)?;
    let says = |paragraph: &[Line]| {
        paragraph.iter().any(|line| BANNERS.iter().any(|words| line.folded.contains(words)))
    };
    let length: usize = paragraph.iter().map(|line| line.folded.len()).sum();
    let greets = paragraph.first().is_some_and(|line| line.folded.ends_with(',') && line.folded.len() < 40);
    if !says(paragraph) || length > 700 || greets || paragraph.iter().any(|line| line.folded.ends_with('?')) {
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
    if !(shouts
        || programs
        || (local && first.folded.starts_with("this ") && first.folded.contains("external")))
    {
        return None;
    }
    while lines.get(end).is_some_and(|line| line.is_blank() || is_ruler(&line.folded, 3)) {
        end += 1;
    }
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::{BANNERS, DISCLAIMERS, SENT, banner, is_device, tail};
    use crate::inbox::answer::line::{fold, lines_of};

    fn cut(text: &str) -> Option<(usize, &'static str)> {
        tail(&lines_of(text), true).map(|tail| (tail.from, tail.rule))
    }

    #[test]
    fn words_are_folded_as_lines_are() {
        for words in [SENT, DISCLAIMERS, BANNERS].concat() {
            assert_eq!(fold(words).trim(), words.trim());
        }
    }

    #[test]
    fn device_lines_of_many_languages_are_told() {
        for line in [
            "sent from my iphone",
            "von meinem mobilgerät gesendet",
            "envoyé de mon iphone",
            "inviato da iphone",
            "enviado desde mi iphone",
            "az iphone-omról küldve",
            "trimis de pe iphone‑ul meu",
            "iphoneから送信",
            "나의 iphone에서 보냄",
            "发自我的 iphone",
            "iphone'umdan gönderildi",
            "get outlook for ios<https://outlook.com/mobile>",
            "diese nachricht wurde von meinem android-mobiltelefon mit k-9 mail gesendet.",
            "sent from my verizon wireless blackberry",
            "gesendet mit der mobilen mail app",
            "verzonden vanuit outlook voor ios",
            "נשלח מה-iphone שלי",
            "ส่งจาก iphone ของฉัน",
            "отправлено из яндекс.почты для мобильных",
            "yahoo mail: search, organize, conquer",
        ] {
            assert!(is_device(line, line), "{line}");
        }
        for line in [
            "sent from my desk, is much easier then my mobile phone.",
            "sent from a magnificent torch of pixels",
            "i sent the oranges",
            "the parcel was sent from spain yesterday, it should arrive by friday at your place",
            "did you get outlook for ios?",
        ] {
            assert!(!is_device(line, line), "{line}");
        }
    }

    #[test]
    fn signatures_go_and_sign_offs_stay() {
        assert_eq!(cut("Hi\n\nBye,\nAna\n-- \nAna Lopez\nSales"), Some((4, "text:signature")));
        assert_eq!(cut("Hi\n\nAna\n_______________\nAna Lopez\n+34 600"), Some((3, "text:signature")));
        assert_eq!(cut("Hi\n\nRegards,\nAna Lopez\nSales"), None);
        assert_eq!(cut("Hi\n-- first point\n-- second point\nThanks"), None);
        assert_eq!(
            cut(
                "Prices\n------\nThe room costs ten a night.\nWe take cards, and cash of any kind.\nBreakfast is served from seven to ten."
            ),
            None
        );
        assert_eq!(
            cut("Yes.\n\nThis email is confidential and intended solely for the addressee."),
            Some((2, "text:disclaimer"))
        );
    }

    #[test]
    fn banners_go_and_talk_about_banners_stays() {
        assert_eq!(
            banner(&lines_of("CAUTION: This email originated from outside the organization.\n\nHi")),
            Some(2)
        );
        assert_eq!(banner(&lines_of("Hello, the external sender told me so.\n\nHi")), None);
    }
}
