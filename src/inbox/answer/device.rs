//! Lines by which a device or a program advertises itself: "Sent from my iPhone", in any language.
//!
//! Promises: a line counts by three things together: a word for "sent", a product or a device, and nothing besides
//! but the small words of such lines and names. A sentence that happens to hold the first two ("I sent you the photos
//! from my phone") says more and doesn't count.

use super::line::{Line, fold};
use super::phrases::Phrases;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::LazyLock;

/// Programs and devices that name themselves, folded.
#[rustfmt::skip]
const PRODUCTS: &[&str] = &[
    "iphone", "iphonu", "iphonom", "iphona", "ipad", "ipod", "android", "galaxy", "samsung", "huawei",
    "xiaomi", "redmi", "oneplus", "google pixel", "pixel 6", "pixel 7", "pixel 8", "pixel 9", "motorola",
    "nokia", "sony", "xperia", "honor", "oppo", "vivo", "realme", "blackberry", "windows phone",
    "windows", "outlook", "yahoo", "proton", "gmail", "gmx", "web.de",
    "freenet", "t-online", "mail app", "bluemail", "blue mail", "blue-mail", "spark", "mailbird", "airmail",
    "mailbox", "superhuman", "k-9", "k9", "fairemail", "aqua mail", "aquamail", "nine", "typeapp",
    "em client", "the bat", "mail.ru", "yandex", "яндекс", "почты", "zoho", "aol", "libero", "tiscali",
    "orange", "sfr", "free mobile", "laposte", "seznam", "wp.pl", "onet", "o2", "interia", "ziggo", "kpn",
    "thunderbird", "tutanota", "tuta", "mymail", "polymail", "newton", "cloudmagic", "edison", "canary",
    "hey.com", "fastmail", "posteo", "mailbox.org", "rediff", "naver", "네이버", "qq", "foxmail", "163", "126",
    "网易", "网易邮箱大师", "workspace one boxer", "wp poczta", "htc", "lg ", "lumia", "touchpad", "macbook", "imac", "apple watch", "айфон", "айпад", "smartphone",
    "smartfon", "смартфон", "surface", "kindle", "chromebook", "onemail", "spike", "notion mail", "shortwave",
    "mailspring", "ios", "mobile mail", "roundcube", "horde", "sogo", "telefono cellulare",
    // Operators
    "telekom mail", "tim mail", "xfinity", "comcast", "virgilio", "alice mail", "vodafone", "verizon", "t-mobile",
    "at&t", "bell mail", "bigpond", "telstra", "swisscom", "bluewin", "telenet", "proximus", "bbox", "movistar",
    "ionos", "1&1", "bt mail", "virgin media", "sky mail", "cox mail",
    // In Arabic, Hebrew and Ethiopic letters
    "آيفون", "ايفون", "آيباد", "آیفون", "سامسونج", "جالكسي", "هواوي", "אייפון", "אייפד", "גלקסי", "סמסונג", "ጂሜይል", "አይፎን",
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
    "from my", "get outlook", "download outlook", "gesendet", "gesandt", "geschickt",
    "verschickt", "verfasst", "holen sie sich", "outlook für", "envoyé", "envoye", "expédié", "télécharge",
    "obtenir", "obtenez", "inviato", "inviata", "spedito", "spedita", "scarica outlook", "ottieni outlook", "enviado",
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
    "göndərilib", "أرسل", "مرسل من", "مرسلة من", "تم الإرسال", "تم إرسال", "الحصول على outlook", "فرستاده شده", "ارسال شده",
    "ارسال از", "נשלח", "קבל את outlook", "השג את outlook", "भेजा", "से भेजा", "outlook प्राप्त करें",
    "ส่งจาก", "รับ outlook", "gửi từ", "tải outlook", "tải xuống outlook", "dikirim", "dapatkan outlook",
    "dihantar", "发自", "發自", "来自", "发送", "發送", "傳送", "获取 outlook", "下载 outlook", "取得 outlook", "から送信",
    "を入手", "에서 보냄", "에서 보낸", "에서 발송", "에서 전송", "다운로드", "saadetud", "nosūtīts", "išsiųsta", "dërguar nga",
    "enviat des", "bidalia", "ipinadala mula", "anfonwyd", "seolta ó", "gestuur vanaf", "imetumwa",
    "адпраўлена", "የተላከ", "kildet", "provenance", "скачат", "downloaden", "von meinem", "depuis mon", "desde mi", "da mio", "dal mio", "do meu",
    "vanaf mijn", "från min", "skickades", "에서 보냈", "z mojego", "с моего", "з мого",
];

/// Words for "get", by which a program recommends itself, folded.
#[rustfmt::skip]
const GET: &[&str] = &[
    "get ", "download", "holen sie sich", "herunterladen", "beziehen", "télécharge", "obtenir", "obtenez", "obtener",
    "obtén", "obtenga", "descarga", "consigue", "obter ", "baixar", "baixe", "ottieni", "scarica", "hämta",
    "skaffa", "hent", "få ", "skaff ", "hanki", "hankige", "pobierz", "uzyskaj", "získa", "získej", "stáhn",
    "stiahn", "nabavite", "preuzmi", "pridobite", "last ned", "herunter", "prenesite", "letöltése", "beszerzése", "obțineți",
    "descărcați", "скача", "получить", "загрузит", "отримати", "завантажити", "вземете", "изтеглете",
    "преузмите", "набавите", "αποκτήστε", "λήψη", "κατεβάστε", "edinin", "yükleyin", "indirin", "الحصول على",
    "تنزيل", "دریافت", "קבל את", "השג את", "הורד את", "प्राप्त", "รับ ", "ดาวน์โหลด", "tải ", "dapatkan",
    "获取", "獲取", "下载", "下載", "取得", "を入手", "다운로드", "받기", "iegūt", "gaukite", "obteniu", "baixa ",
    "sækja", "lortu", "merrni",
];

/// The small words of such lines, folded: "from", "my", "this message was", "with", "for", "the mail app".
#[rustfmt::skip]
const WORDS: &[&str] = &[
    // Latin letters
    "sent", "from", "my", "the", "a", "an", "mail", "e-mail", "email",
    "via", "with", "using", "on", "by", "of", "for", "through", "in", "new", "all", "all-new",
    "app", "mobile", "secure", "free", "and", "client", "version", "web", "network", "lte", "4g", "5g", "cell",
    "cellphone", "cellular", "tiny", "small", "webmail", "get", "account",
    "von", "vom", "meinem", "meiner", "einem", "einer", "dem", "der", "aus", "mit", "über", "für", "per",
    "unterwegs", "mobilen", "mobiler", "sicheren", "e-mail-dienst", "sich", "sie",
    "de", "mon", "ma", "depuis", "à", "partir", "d'un", "d'une", "un", "une", "avec", "l'application",
    "application", "l'appli", "appli", "pour", "courriel", "courrier", "du", "des",
    "l'app",
    "desde", "mi", "una", "con", "para", "correo", "la", "aplicación",
    "vía", "por", "medio", "dispositivo",
    "do", "da", "meu", "minha", "um", "uma", "no", "na", "pelo", "pela", "o", "com",
    "aplicativo", "aplicação", "correio", "através",
    "dal", "dalla", "mio", "mia", "tramite", "posta",
    "di",
    "vanaf", "van", "met", "vanuit", "mijn", "een", "uit", "voor", "door",
    "från", "min", "mitt", "mina", "med", "för", "ett", "en", "e-post", "epost",
    "fra", "til", "deg", "dig", "e-posten",
    "minun", "laitteesta", "laitteestani", "puhelimesta", "sähköposti", "sähköpostista", "sähköpostisovelluksesta",
    "úr", "mínum", "mínu", "fyrir", "minni",
    "z", "ze", "mojego", "mojej", "aplikacji", "programu", "program", "przez", "za", "pomocą", "dla", "systemu",
    "poczta", "poczty", "pocztą", "urządzenia", "mobilnego", "mobilnej", "tabletu", "smartfona",
    "mého", "mojí", "mobilního", "pro", "aplikace", "aplikácie", "pomocí", "pomocou", "pošta", "pošty",
    "zařízení", "zariadenia", "môjho", "pre",
    "iz", "moj", "mog", "mojega", "mojim", "moje", "naprave", "uređaja", "s", "sa", "preko", "putem",
    "aplikacije",
    "az", "én", "saját", "készülékemről", "mobilomról", "telefonomról", "mobiltelefonomról",
    "pe", "din", "cu", "prin", "pentru", "mea", "al", "aplicația",
    "için", "ile", "üzerinden", "benim", "e-posta", "uygulamasından", "telefonumdan",
    "cihazımdan",
    "từ", "của", "tôi", "cho", "bằng", "đã", "dari", "saya", "untuk", "menggunakan", "daripada", "dengan",
    "minu", "mana", "manas", "operētājsistēmai", "iš", "mano", "skirtą", "nga", "im", "ime",
    "del", "meva", "l'android", "nire", "aking", "mula", "fy", "mo", "kwa", "yangu",
    "kutoka", "mənim",
    "auf", "sur", "su", "op", "zo", "aplikację", "uygulamasını", "dành", "messagerie", "sécurisée", "teléfono", "laden",
    "akıllı", "smartphonu", "lite", "pro", "max", "plus", "mini", "ultra", "note", "edge", "powered",
    // Cyrillic and Greek
    "с", "со", "зі", "смартфона", "из", "через", "для", "от", "по", "моего", "моей", "мобильного", "мобильной",
    "приложения", "приложение", "устройства", "при", "помощи", "помощью", "почта",
    "почты", "з", "із", "мого", "моєї", "за", "допомогою", "мобільного", "пристрою", "програми",
    "пошти", "майго", "моя", "моето", "моят", "преко", "са", "мог", "уређаја", "и",
    "από", "το", "τον", "την", "τη", "του", "της", "μου", "για", "μέσω", "με", "μια", "συσκευή", "κινητό",
    // Arabic, Hebrew, Devanagari
    "من", "ل", "ال", "جهاز", "جهازي", "هاتفي", "على", "عبر", "الذكي", "المحمول", "النقال", "الجوال", "الخاص", "بي", "جوالي", "بريد", "باستخدام", "تطبيق", "بواسطة", "هوشمند", "گوشی", "ከ", "ከኔ", "ከእኔ", "የእኔ", "መሣሪያ", "በ", "ለ",
    "מכשיר", "ממכשיר", "הנייד", "נייד", "מהנייד", "אפליקציית", "יישום", "דואר",
    "از", "برای", "با", "شده", "مسیر", "طریق", "של", "שלי", "מ", "מה", "עבור", "באמצעות", "עם",
    "את", "मेरे", "मेरी", "से", "के", "लिए", "गया", "द्वारा", "करें", "का", "में",
    // Korean
    "나의", "내", "삼성", "휴대전화에서", "용", "버전", "메일", "앱에서",
];

/// "This message was", folded.
#[rustfmt::skip]
const THIS_WAS: &[&str] = &[
    "this message was ", "this message has been ", "this email was ", "this email has been ", "this e-mail was ",
    "this mail was ", "this email is ", "message ", "diese nachricht wurde ", "diese e-mail wurde ",
    "diese email wurde ", "diese mail wurde ", "ce message a été ", "ce mail a été ", "ce courriel a été ",
    "cet e-mail a été ", "cet email a été ", "message ", "este mensaje ha sido ", "este mensaje fue ",
    "este correo ha sido ", "este correo fue ", "mensaje ", "correo ", "esta mensagem foi ", "este e-mail foi ",
    "este email foi ", "mensagem ", "questo messaggio è stato ", "questa mail è stata ", "questa e-mail è stata ",
    "questa email è stata ", "messaggio ", "dit bericht is ", "dit bericht werd ", "deze e-mail is ",
    "deze mail is ", "detta meddelande är ", "det här meddelandet har ", "denne meldingen ble ",
    "denne meldingen er ", "denne besked er ", "denne meddelelse er ", "denne mail er ", "tämä viesti on ",
    "wiadomość została ", "ta wiadomość została ", "wiadomość ", "tato zpráva byla ", "táto správa bola ",
    "ova poruka je ", "to sporočilo je bilo ", "sporočilo je bilo ", "ezt a levelet ", "ez az üzenet ",
    "acest mesaj a fost ", "acest e-mail a fost ", "bu ileti ", "bu e-posta ", "bu mesaj ", "это письмо было ",
    "это письмо ", "это сообщение было ", "это сообщение ", "письмо ", "сообщение ", "цей лист було ",
    "цей лист ", "це повідомлення ", "това съобщение е ", "това писмо е ", "αυτό το μήνυμα ", "το μήνυμα ",
    "تم إرسال هذه الرسالة ", "هذه الرسالة ", "این پیام ", "הודעה זו ",
];

/// What may stand between the words of scripts without spaces, folded.
#[rustfmt::skip]
const PARTICLES: &[&str] = &[
    "我的", "我", "的", "从", "從", "自", "由", "来自", "來自", "使用", "用", "通过", "透過", "版本", "版", "此", "邮件", "郵件", "信",
    "移动", "行動", "设备", "裝置", "智能", "智慧型", "华为", "小米", "邮箱", "信箱", "适用于", "適用於", "をから", "私の", "この", "メール",
    "から", "送信", "しました", "されました", "しています", "しています", "した", "された", "は", "を", "で", "の", "に", "より", "入手", "ください",
    "版の", "ของฉัน", "ฉัน", "ของ", "จาก", "ส่ง", "อีเมล", "ข้อความ", "นี้", "สำหรับ", "ถูก", "ด้วย", "ผ่าน", "บน",
];

/// Where somebody tells whom or where something was sent to, folded.
#[rustfmt::skip]
const TOWARDS: &[&str] = &[
    "gesendet an", "geschickt an", "gesandt an", "gesendet ans", "enviado a mi", "enviado al", "enviado a la", "enviado ao",
    "enviado à", "enviado para o meu", "envoyé à mon", "envoyé à ma", "envoyé au", "envoyé sur", "inviato a ", "inviato al ",
    "inviato sul", "verstuurd naar", "verzonden naar", "skickat till", "sendt til", "wysłano na", "wysłane na",
    "odesláno na", "отправлено на", "отправлен на", "надіслано на", "trimis la", "trimis pe telefon",
];

/// What begins what may follow: "please excuse", folded.
#[rustfmt::skip]
const EXCUSES: &[&str] = &[
    "excus", "forgive", "sorry", "apolog", "pardon", "entschuldig", "disculp", "perdon", "scus", "desculp", "przeprasz",
    "ursäkta", "undskyld", "beklager",
];

/// And what is excused, folded.
#[rustfmt::skip]
const SLIPS: &[&str] = &[
    "brevity", "brief", "typo", "misspelling", "spelling errors", "spelling mistakes", "autocorrect", "tippfehler", "kürze", "rechtschreib", "faute", "brièveté", "erreur",
    "brevedad", "errores", "errori", "brevità", "typefout", "tikfout", "erros", "błędy", "literówk", "stavfel", "skrivfel", "slåfejl", "skrivefeil",
];

static ALL_PRODUCTS: LazyLock<Phrases> = LazyLock::new(|| Phrases::of(PRODUCTS));
static ALL_DEVICES: LazyLock<Phrases> = LazyLock::new(|| Phrases::of(DEVICES));
static ALL_SENT: LazyLock<Phrases> = LazyLock::new(|| Phrases::of(SENT));
static ALL_GET: LazyLock<Phrases> = LazyLock::new(|| Phrases::of(GET));
static ALL_PARTICLES: LazyLock<Phrases> = LazyLock::new(|| Phrases::of(PARTICLES));
static ALL_THIS_WAS: LazyLock<Phrases> = LazyLock::new(|| Phrases::of(THIS_WAS));
static ALL_TOWARDS: LazyLock<Phrases> = LazyLock::new(|| Phrases::of(TOWARDS));
static ALL_EXCUSES: LazyLock<Phrases> = LazyLock::new(|| Phrases::of(EXCUSES));
static ALL_SLIPS: LazyLock<Phrases> = LazyLock::new(|| Phrases::of(SLIPS));
static ALL_WORDS: LazyLock<HashSet<&str>> = LazyLock::new(|| WORDS.iter().copied().collect());

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
    // "Yahoo Mail: Search, Organize, Conquer".
    if line.starts_with("yahoo mail: ") && words <= 9 || line.contains("aka.ms/") && line.contains("outlook")
    {
        return true;
    }
    // "Get BlueMail for Android", and "Outlook for iOS" in whatever language.
    let is_for =
        || ["android", "ios", "iphone", "ipad", "windows", "app"].iter().any(|system| line.contains(system));
    let offers = || products(line).next().is_some() && is_for() && !line.contains(" from ");
    if words <= 7 && ALL_GET.any_in(line) && offers() && says_no_more(text, shown) {
        return true;
    }
    let Some((at, _)) = ALL_SENT.found(line).next() else { return false };
    // Scripts that put the verb last have the device in front.
    let early = at <= 24 || words <= 9;
    let device = || words <= 9 && ALL_DEVICES.any_in(line);
    early
        && !ALL_TOWARDS.any_in(line)
        && (products(line).next().is_some() || device() || is_named(line, shown))
        && says_no_more(without_excuse(text), shown)
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

/// The products that it names. A short Latin name must be a word of its own: "orange" isn't in "oranges".
fn products(line: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    let names = ALL_PRODUCTS.found(line).filter(|(at, product)| {
        let apart = |side: Option<char>| side.is_none_or(|c| !c.is_ascii_alphabetic());
        let before = line.get(..*at).and_then(|front| front.chars().next_back());
        let after = line.get(at + product.len()..).and_then(|rest| rest.chars().next());
        product.len() > 6 || (apart(before) && (apart(after) || product.len() > 4))
    });
    names.map(|(at, product)| at..at + product.len())
}

/// The line without what follows "Sent from my iPhone": "Please excuse typos".
fn without_excuse(text: &str) -> &str {
    let ends = [". ", ", ", "! ", "; ", " - ", " – ", " ("];
    let head = ends.iter().filter_map(|end| text.split_once(end)).min_by_key(|(head, _)| head.len());
    match head {
        Some((head, tail)) if ALL_EXCUSES.any_in(tail) || ALL_SLIPS.any_in(tail) => head,
        _ => text,
    }
}

/// Whether all its words are those of device lines, or belong to a name beside a product's: written with a capital or a
/// number of a model, and not the first. In a line of capitals they tell nothing.
fn says_no_more(text: &str, shown: &str) -> bool {
    let opening = ALL_THIS_WAS.beginning(text).max_by_key(|opening| opening.len()).unwrap_or_default();
    let text = text.get(opening.len()..).unwrap_or_default();
    let phrases = [&ALL_SENT, &ALL_DEVICES, &ALL_GET].into_iter().flat_map(|table| table.found(text));
    let known: Vec<Range<usize>> =
        phrases.map(|(at, phrase)| at..at + phrase.len()).chain(products(text)).collect();
    let names: Vec<String> = shown
        .split_whitespace()
        .filter(|word| word.chars().find(|c| c.is_alphanumeric()).is_some_and(char::is_uppercase))
        .map(fold)
        .collect();
    let beside_product = products(text).next().is_some() || is_named(text, shown);
    let has_case = shown.contains(char::is_lowercase);
    let mut from = 0;
    text.split(' ').enumerate().all(|(number, word)| {
        let place = from..from + word.len();
        from = place.end + 1;
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        let overlaps = |part: &Range<usize>| part.start < place.end && place.start < part.end;
        if is_unspaced(bare) {
            return is_made_of(text, &place, &known);
        }
        bare.is_empty()
            || word.contains("://")
            || known.iter().any(overlaps)
            || ALL_WORDS.contains(bare)
            || number > 0
                && beside_product
                && (is_model(bare) || has_case && names.iter().any(|name| name == word))
    })
}

/// "10", "S23", "17.2", "A12", and no telephone number, day or code.
fn is_model(word: &str) -> bool {
    let digits = word.chars().filter(char::is_ascii_digit).count();
    (1..=3).contains(&digits) && word.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '+'))
}

/// Whether it is of a script that sets no spaces between words.
fn is_unspaced(word: &str) -> bool {
    word.contains(
        |c| matches!(c, '\u{0e00}'..='\u{0e7f}' | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}'),
    )
}

/// Whether the known parts of a place, and the particles, leave no letter of it but Latin ones.
fn is_made_of(text: &str, place: &Range<usize>, known: &[Range<usize>]) -> bool {
    let particles = ALL_PARTICLES.found(text).map(|(at, particle)| at..at + particle.len());
    let parts: Vec<Range<usize>> = particles.chain(known.iter().cloned()).collect();
    let word = text.get(place.clone()).unwrap_or_default();
    word.char_indices().all(|(at, c)| {
        c.is_ascii() || !c.is_alphanumeric() || parts.iter().any(|part| part.contains(&(place.start + at)))
    })
}

/// What people have below their device line: "Please excuse any typos". Whoever goes on says something.
pub fn is_excuse(line: &Line) -> bool {
    let mut parts = line.folded.split(['.', ',', ':', ';', '!']).filter(|part| !part.trim().is_empty());
    line.folded.split(' ').count() <= EXCUSE
        && ALL_EXCUSES.any_in(&line.folded)
        && ALL_SLIPS.any_in(&line.folded)
        && parts.all(|part| ALL_EXCUSES.any_in(part) || ALL_SLIPS.any_in(part))
        && !line.folded.contains(|c: char| c == '?' || c.is_ascii_digit())
}

/// Such a line has so many words at most.
const EXCUSE: usize = 12;

/// A device line that was broken in two.
pub fn broken_device(lines: &[Line], last: usize) -> Option<usize> {
    let above = last.checked_sub(1)?;
    let (first, second) = (lines.get(above)?, lines.get(last)?);
    let paragraph = above.checked_sub(1).and_then(|at| lines.get(at)).is_none_or(Line::is_blank);
    let whole = !first.is_blank() && paragraph && first.depth == second.depth;
    let folded = format!("{} {}", first.folded, second.folded);
    let shown = || format!("{} {}", first.text, second.text);
    (whole && is_device(&folded, &shown())).then_some(above)
}

#[cfg(test)]
mod tests {
    use super::{
        DEVICES, EXCUSES, GET, PARTICLES, PRODUCTS, SENT, SLIPS, THIS_WAS, TOWARDS, WORDS, is_device,
        is_excuse,
    };
    use crate::inbox::answer::line::{Line, fold};

    #[test]
    fn words_are_folded_as_lines_are() {
        for words in
            [SENT, DEVICES, PRODUCTS, GET, WORDS, THIS_WAS, PARTICLES, TOWARDS, EXCUSES, SLIPS].concat()
        {
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
            "Sent from my Verizon Wireless BlackBerry",
            "Outlook für iOS beziehen",
            "发自 网易邮箱大师",
            "Gesendet mit Tuta, dem sicheren E-Mail-Dienst",
            "Wysłane z aplikacji mobilnej WP Poczta",
            "Sent from Workspace ONE Boxer",
            "gesendet mit der mobilen mail app",
            "verzonden vanuit outlook voor ios",
            "נשלח מה-iphone שלי",
            "ส่งจาก iphone ของฉัน",
            "отправлено из яндекс.почты для мобильных",
            "yahoo mail: search, organize, conquer",
            "Sent from my Verizon, Samsung Galaxy smartphone",
            "Sent from Samsung Galaxy S23 Ultra on Vodafone",
            "Sent from my phone. Please excuse typos and brevity.",
            "Sent from Mail for Windows 10",
            "Sent from the all new AOL app for iOS",
            "This email was sent from my phone",
            "Gesendet von Mail für Windows",
            "Gesendet aus der Telekom Mail App",
            "Von meinem Samsung Mobile gesendet",
            "Provenance : Courrier pour Windows 10",
            "Envoyé à partir de mon appareil mobile",
            "Enviado desde Correo para Windows",
            "Enviado do Correio para o Windows",
            "Inviato da Posta per Windows",
            "Verzonden met Mail voor Windows",
            "Wysłane z aplikacji Poczta dla systemu Windows",
            "Wysłano z telefonu Galaxy",
            "Odesláno z aplikace Seznam Email",
            "Отправлено из мобильной Яндекс.Почты: http://m.ya.ru/ymail",
            "Отправлено с моего Samsung Galaxy",
            "从我的 iPad 发送",
            "我的iPhone から送信",
            "Cep telefonumdan gönderildi",
            "Gaukite Outlook skirtą Android",
            "Outlook for Android を入手",
            "Von Yahoo Mail auf Android gesendet",
            "Envoyé à partir de Yahoo Mail sur Android",
            "Inviato da Yahoo Mail su Android",
            "Verzonden via Yahoo Mail op Android",
            "Pobierz aplikację Outlook dla systemu iOS",
            "Android için Outlook uygulamasını edinin",
            "Last ned Outlook for iOS",
            "Laden Sie Outlook für iOS herunter",
            "Gửi từ Outlook dành cho Android",
            "Envoyé avec la messagerie sécurisée Proton Mail.",
            "Enviado desde mi HUAWEI P30 lite",
            "Надіслано зі смартфона Samsung Galaxy.",
            "Odoslané zo zariadenia Galaxy",
            "Sent via the Samsung Galaxy A12, powered by Cricket Wireless",
            "SENT FROM MY IPHONE",
            "\u{2063}Get BlueMail for Android \u{200b}",
            "Gesendet mit der Telekom Mail App",
            "Inviato da TIM Mail",
            "Inviata da Virgilio Mail",
            "Sent from Xfinity Connect App",
            "Sent from Xfinity Connect Mobile App",
            "\u{200f}נשלח מה-iPhone שלי\u{200f}",
            "\u{202b}נשלח מהאייפון שלי\u{202c}",
            "\u{202b}נשלח מטלפון Samsung Galaxy שלי.\u{202c}",
            "\u{202b}مُرسل من هاتفي Huawei\u{202c}",
            "\u{2068}أُرسلت من هاتف Samsung Galaxy الذكي\u{2069}",
            "\u{200f}تم الإرسال من Yahoo Mail على Android\u{200f}",
            "\u{61c}أُرسلت من الآيفون",
        ] {
            assert!(is_device(&fold(line), line), "{line}");
        }
    }

    #[test]
    fn excuses_for_a_device_are_told_from_others() {
        let is = |text: &str| is_excuse(&Line::plain(text));
        assert!(is("Please excuse any typos.") && is("Bitte entschuldigen Sie Tippfehler und die Kürze."));
        assert!(!is("Sorry, we come at eight.") && !is("The brief stay was nice."));
        assert!(!is("Sorry for the typos, the train shakes. We come with the dog."));
        assert!(!is("Please forgive the spelling of my name, it is Anna."));
        assert!(
            !is("Excuse my brief answer, more tomorrow.") && !is("Sorry for the spelling error in the name")
        );
    }

    #[test]
    fn a_sentence_with_a_word_for_sent_and_a_device_is_none() {
        for line in [
            "sent from my desk, is much easier then my mobile phone.",
            "sent from a magnificent torch of pixels",
            "i sent the oranges",
            "the parcel was sent from spain yesterday, it should arrive by friday at your place",
            "did you get outlook for ios?",
            "Sent from my wife's iPhone. Please call her",
            "I sent you the photos from my phone",
            "The door code was sent via mobile.",
            "Please use the code sent by phone.",
            "Sent by Orange to my old address.",
            "The parcel was sent with DHL, device broken",
            "Call me, sent from my phone number +34 600",
            "I get the SMS from my mobile operator.",
            "My Outlook on Android loses your mails.",
            "Get me an iPhone charger.",
            "Get a Samsung TV please",
            "Yahoo Mail does not show the attachment.",
            "Get Outlook for Android, they said",
            "Ich habe die Fotos vom Handy geschickt.",
            "Die Rechnung wurde an mein Handy gesendet.",
            "Fotos mit dem Handy geschickt",
            "Der Code kam von meinem Gerät.",
            "Das Paket ist an Samsung gesendet.",
            "Wir haben Outlook auf Android",
            "Le he enviado la foto por móvil.",
            "El pago fue enviado por mi móvil.",
            "Uso Outlook y no veo los precios.",
            "Mi Outlook no muestra los horarios.",
            "El plano lo veo desde mi móvil.",
            "Je vous ai envoyé le code par téléphone.",
            "Le code a été envoyé sur mon portable.",
            "La clé vient depuis mon portable.",
            "Ho inviato la foto dal cellulare.",
            "Il codice è stato inviato sul telefono Samsung.",
            "Il tablet è stato inviato ieri.",
            "O código foi enviado para o telemóvel.",
            "A foto vem do meu celular.",
            "De code is verstuurd naar mijn telefoon.",
            "Koden är skickat till min mobil.",
            "Kod został wysłany na telefon :)",
            "Kód byl odeslán na telefon.",
            "A kódot elküldtem telefonon.",
            "Codul a fost trimis pe telefon.",
            "Код отправлен на ваш телефон.",
            "Код надіслано на телефон.",
            "Ο κωδικός στάλθηκε στο κινητό.",
            "Kod telefona gönderildi.",
            "照片从手机发送不了",
            "写真はスマートフォンから送信しました。",
            "FROM MY IPHONE I CAN NOT OPEN THE LINK PLEASE SEND IT AGAIN",
            "MY OUTLOOK DID NOT GET THE INVOICE",
            "MY PASSPORT PHOTO WAS SENT FROM MY PHONE",
            "THE DEPOSIT WAS SENT BY MOBILE BANKING",
            "ALL GUESTS GET THE CODE ON MY PHONE",
            "DER SCHLÜSSEL IST WEG, PER HANDY GESENDET",
            "LA FACTURA NO LLEGA A OUTLOOK, ENVIADO AYER",
            "Der Code: 4123 per Handy gesendet",
            "Der Schlüssel Nummer 12 vom Handy geschickt",
            "Desde mi móvil 600 123 456",
            "Von meinem Handy +49 170 1234567",
            "Depuis mon portable 06 12 34 56 78",
            "Dal mio cellulare 333 1234567",
            "С моего телефона +7 900 123-45-67",
            "Mit Foto vom Schaden per Handy gesendet",
            "Sent with Yahoo on 12.05.2026",
            "Enviado a mi móvil",
            "Envoyé à mon portable",
            "Gesendet an Samsung",
            "Enviado por DHL 123456 móvil",
            "Get the mail from Yahoo",
            "사진은 휴대폰에서 보냄",
            "Sent by TIM",
            "La TIM mi ha inviato il codice per mail.",
            "Meine Telekom Mail wurde nicht gesendet.",
            "أرسلت الصور من هاتفي أمس مع العنوان",
            "הקוד נשלח לטלפון שלי אתמול בערב",
        ] {
            assert!(!is_device(&fold(line), line), "{line}");
        }
    }
}
