//! Lines by which a device or a program advertises itself: "Sent from my iPhone", in any language.
//!
//! Promises: a line counts by two things together, a word for "sent" and a product or a device; a sentence that
//! happens to hold both goes on behind them and doesn't count.

use super::line::Line;
use super::phrases::Phrases;
use std::sync::LazyLock;

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
    "thunderbird", "tutanota", "tuta", "mymail", "polymail", "newton", "cloudmagic", "edison", "canary",
    "hey.com", "fastmail", "posteo", "mailbox.org", "rediff", "naver", "네이버", "qq", "foxmail", "163", "126",
    "网易", "htc", "lg ", "lumia", "touchpad", "macbook", "imac", "apple watch", "айфон", "айпад", "smartphone",
    "smartfon", "смартфон", "surface", "kindle", "chromebook", "onemail", "spike", "notion mail", "shortwave",
    "mailspring", "ios", "mobile mail", "roundcube", "horde", "sogo", "telefono cellulare",
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

static ALL_PRODUCTS: LazyLock<Phrases> = LazyLock::new(|| Phrases::of(PRODUCTS));
static ALL_DEVICES: LazyLock<Phrases> = LazyLock::new(|| Phrases::of(DEVICES));
static ALL_SENT: LazyLock<Phrases> = LazyLock::new(|| Phrases::of(SENT));

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
    // "Get BlueMail for Android"
    let advertised = line.starts_with("get ") && words <= 5 && names_product(line);
    if outlook || yahoo || advertised {
        return true;
    }
    let Some((at, _)) = ALL_SENT.found(line).next() else { return false };
    // Scripts that put the verb last have the device in front.
    let early = at <= 24 || words <= 9;
    let device = || words <= 9 && ALL_DEVICES.any_in(line);
    early && (names_product(line) || device() || is_named(line, shown)) && !goes_on(text) && !is_told(text)
}

/// A device line that can stand alone in the midst of a mail: short, and no sentence.
pub fn is_lone_device(line: &Line) -> bool {
    line.folded.split(' ').count() <= 8 && !line.folded.ends_with(['.', ',']) && line.is_device()
}

/// "Sent from my Wiko RIDGE 4G", "Sent from my TI-85": a name of no table.
fn is_named(line: &str, shown: &str) -> bool {
    let Some(rest) = line.strip_prefix("sent from my ") else { return false };
    let capital =
        shown.split_whitespace().skip(3).any(|word| word.chars().any(|c| c.is_uppercase() || c.is_numeric()));
    (capital && rest.split(' ').count() <= 6) || rest.contains("excuse") || rest.starts_with("cell")
}

/// Names a product. A short Latin name must be a word of its own: "orange" isn't in "oranges".
fn names_product(line: &str) -> bool {
    ALL_PRODUCTS.found(line).any(|(at, product)| {
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

/// "Sent from my wife's iPhone. Please call her": what somebody tells.
fn is_told(text: &str) -> bool {
    let owner = text.strip_prefix("sent from my ").and_then(|rest| rest.split(' ').next());
    owner.is_some_and(|owner| owner.ends_with("'s")) && text.contains(". ")
}

/// A device line that was broken in two.
pub fn broken_device(lines: &[Line], last: usize) -> Option<usize> {
    let above = last.checked_sub(1)?;
    let (first, second) = (lines.get(above)?, lines.get(last)?);
    let paragraph = above.checked_sub(1).and_then(|at| lines.get(at)).is_none_or(Line::is_blank);
    let whole = !first.is_blank() && paragraph && first.depth == second.depth;
    let joined = format!("{} {}", first.folded, second.folded);
    (whole && is_device(&joined, &joined)).then_some(above)
}

#[cfg(test)]
mod tests {
    use super::{DEVICES, PRODUCTS, SENT, is_device};
    use crate::inbox::answer::line::fold;

    #[test]
    fn words_are_folded_as_lines_are() {
        for words in [SENT, DEVICES, PRODUCTS].concat() {
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
}
