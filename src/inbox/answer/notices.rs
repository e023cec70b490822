//! Text that gateways and legal departments add: disclaimers below an answer, warnings of external senders above.
//!
//! Promises: a paragraph goes only with proof, two phrases of such texts beside the name of the mail they speak of; what
//! a person wrote about such things stays.

use super::dates::{self, Address};
use super::line::Line;
use super::phrases::Phrases;
use super::separators::is_ruler;
use std::collections::HashSet;
use std::sync::LazyLock;

/// The phrases of disclaimers and footers in a language, folded; none is proof in what somebody writes by hand.
struct Row {
    /// Its code; the empty one is that of phrases which every language has.
    language: &'static str,
    /// No person writes those: one is proof.
    certain: &'static [&'static str],
    /// What is said to whoever shouldn't have got it, and formulas of law: they count where the mail itself is named.
    strong: &'static [&'static str],
    /// What is said of the mail: people say it of parcels and rooms, too, so that it counts only behind the mail's name.
    claims: &'static [&'static str],
}

impl Row {
    fn phrases(&self) -> impl Iterator<Item = &'static str> {
        [self.certain, self.strong, self.claims].into_iter().flatten().copied()
    }
}

#[rustfmt::skip]
const DISCLAIMERS: &[Row] = &[
    Row {
        language: "",
        certain: &[],
        strong: &[],
        claims: &["virus-free"],
    },
    Row {
        language: "en",
        certain: &[
            "you received this message because you are subscribed to the google", "to unsubscribe from this group and stop", "scanned for viruses and malware, and may have been automatically archived",
            "you are receiving this because you are subscribed", "reply to this email directly or view it on github",
            "reply to this email directly, view it on github",
        ],
        strong: &[
            "if you have received this email in error", "if you received this email in error",
            "if you receive this email in error", "if you have received this email by mistake",
            "if you have received this e-mail in error", "if you received this e-mail in error",
            "if you receive this e-mail in error", "if you have received this e-mail by mistake",
            "if you have received this mail in error", "if you received this mail in error",
            "if you receive this mail in error", "if you have received this mail by mistake",
            "if you have received this message in error", "if you received this message in error",
            "if you receive this message in error", "if you have received this message by mistake",
            "if you have received this communication in error", "if you received this communication in error",
            "if you receive this communication in error", "if you have received this communication by mistake",
            "if you have received this transmission in error", "if you received this transmission in error",
            "if you receive this transmission in error", "if you have received this transmission by mistake",
            "not the intended recipient", "if you are not the recipient", "hereby notified that any disclosure", "other than the intended recipient", "are not the addressee",
            "unless you are the addressee", "for the addressee", "use of the individual or entity",
            "accept liability", "accepts no liability", "confidentiality notice",
        ],
        claims: &[
            "is confidential", "are confidential", "may contain confidential", "contains confidential",
            "confidential and privileged", "legally privileged", "may be privileged", "intended solely for",
            "intended only for", "scanned for viruses", "checked for viruses",
        ],
    },
    Row {
        language: "de",
        certain: &[],
        strong: &[
            "nicht der vorgesehene adressat", "nicht der vorgesehene empfänger", "nicht der angesprochene adressat",
            "nicht der richtige adressat", "nicht der richtige empfänger", "nicht der beabsichtigte",
            "nicht der rechtmäßige empfänger", "vertrauliche und/oder rechtlich",
            "rechtlich geschützte informationen", "unbefugte weitergabe",
        ],
        claims: &[
            "irrtümlich erhalten", "irrtümlich zugesandt", "ausschließlich für den adressaten",
            "ausschließlich für den bezeichneten", "ausschließlich für den genannten", "nur für den adressaten",
            "enthält vertrauliche", "ist vertraulich", "auf viren geprüft", "virenfrei",
        ],
    },
    Row {
        language: "fr",
        certain: &[],
        strong: &[
            "si vous avez reçu ce message par erreur", "si vous avez reçu ce mail par erreur",
            "si vous avez reçu ce courriel par erreur", "si vous avez reçu cet e-mail par erreur",
            "si vous avez reçu cet email par erreur", "s'ils ne vous sont pas destinés",
            "s'il ne vous est pas destiné", "si vous n'êtes pas le destinataire", "si vous n'êtes pas destinataire",
        ],
        claims: &[
            "à l'attention exclusive", "à l'intention exclusive", "exclusivement à l'intention",
            "à l'usage exclusif", "informations confidentielles", "est confidentiel", "sont confidentiels",
            "a été vérifié par", "l'absence de virus", "sans virus",
        ],
    },
    Row {
        language: "es",
        certain: &[],
        strong: &[
            "si ha recibido este mensaje por error", "si ha recibido este correo por error",
            "si usted ha recibido este mensaje por error", "si usted ha recibido este correo por error",
            "si lo ha recibido por error", "si usted no es el destinatario", "si no es usted el destinatario",
            "si no es el destinatario", "sometida a secreto profesional", "aviso de confidencialidad",
            "le informamos que sus datos personales", "derechos de acceso, rectificación",
        ],
        claims: &[
            "exclusivamente a su destinatario", "exclusivamente al destinatario", "información confidencial",
            "libre de virus",
        ],
    },
    Row {
        language: "pt",
        certain: &[],
        strong: &[
            "se recebeu esta mensagem por engano", "se recebeu este e-mail por engano",
            "se você recebeu esta mensagem por engano", "se você recebeu este e-mail por engano",
            "tenha recebido esta mensagem por engano", "tenha recebido este e-mail por engano",
            "aviso de confidencialidade", "não for o destinatário", "não seja o destinatário",
        ],
        claims: &[
            "destinam-se exclusivamente", "destina-se exclusivamente", "uso exclusivo do destinatário",
            "restrito ao destinatário", "informações confidenciais", "informação confidencial",
            "caráter confidencial", "carácter confidencial", "livre de vírus",
        ],
    },
    Row {
        language: "it",
        certain: &[],
        strong: &[
            "se avete ricevuto questo messaggio per errore", "se avete ricevuto questa e-mail per errore",
            "se avete ricevuto questa email per errore", "se avete ricevuto questa mail per errore",
            "se avete ricevuto questa comunicazione per errore", "se ha ricevuto questo messaggio per errore",
            "se ha ricevuto questa e-mail per errore", "se ha ricevuto questa email per errore",
            "se ha ricevuto questa mail per errore", "se ha ricevuto questa comunicazione per errore",
            "abbiate ricevuto questo messaggio per errore", "abbiate ricevuto questa e-mail per errore",
            "abbiate ricevuto questa email per errore", "abbiate ricevuto questa mail per errore",
            "abbiate ricevuto questa comunicazione per errore", "diverso dal destinatario",
            "senza esserne il destinatario", "regolamento ue 2016/679", "regolamento (ue) 2016/679",
        ],
        claims: &[
            "informazioni riservate", "strettamente riservate", "sono riservate", "destinate esclusivamente",
            "destinati esclusivamente", "destinato esclusivamente", "esclusivamente al destinatario",
            "uso esclusivo del destinatario", "privo di virus",
        ],
    },
    Row {
        language: "nl",
        certain: &[],
        strong: &[
            "niet de beoogde ontvanger", "niet de bedoelde ontvanger", "niet de geadresseerde",
            "indien dit bericht niet voor u bestemd", "indien deze e-mail niet voor u bestemd",
        ],
        claims: &[
            "uitsluitend bestemd voor", "niet voor u bestemd", "niet voor u is bestemd", "ten onrechte ontvangen",
            "is vertrouwelijk", "vertrouwelijke informatie", "virusvrij",
        ],
    },
    Row {
        language: "sv",
        certain: &[],
        strong: &[
            "inte rätt mottagare", "inte är rätt mottagare", "inte är avsedd mottagare",
            "inte är den avsedda mottagaren", "om du har fått detta e-postmeddelande av misstag",
            "om du har fått detta meddelande av misstag",
        ],
        claims: &[
            "avsett endast för", "avsedd endast för", "endast avsett för", "endast avsedd för", "är konfidentiell",
            "konfidentiell information", "virusfri",
        ],
    },
    Row {
        language: "da",
        certain: &[],
        strong: &["ikke er den rette modtager", "ikke er rette modtager", "ikke er den tilsigtede modtager"],
        claims: &["fortrolige oplysninger", "ved en fejl"],
    },
    Row {
        language: "nb",
        certain: &[],
        strong: &[
            "ikke er rett mottaker", "ikke er riktig mottaker", "hvis du har mottatt e-posten ved en feil",
            "hvis du har mottatt denne e-posten ved en feil", "hvis du har mottatt denne meldingen ved en feil",
        ],
        claims: &["fortrolig informasjon"],
    },
    Row {
        language: "fi",
        certain: &[],
        strong: &["viestin oikea vastaanottaja", "tarkoitettu vastaanottaja"],
        claims: &["vain vastaanottajalle", "ainoastaan vastaanottajalle", "luottamuksellista tietoa"],
    },
    Row {
        language: "pl",
        certain: &[],
        strong: &[
            "otrzymali państwo tę wiadomość omyłkowo", "zamierzonym odbiorcą", "zamierzonym adresatem",
            "nie są państwo adresatem",
        ],
        claims: &[
            "wyłącznie dla adresata", "informacje poufne", "jest poufna", "są poufne", "prawnie chron",
            "wolny od wirusów",
        ],
    },
    Row {
        language: "cs",
        certain: &[],
        strong: &["zamýšleným příjemcem", "zamýšleným adresátem"],
        claims: &[
            "pouze pro adresáta", "výhradně jeho adresátovi", "výhradně adresátovi", "důvěrné informace",
            "jsou důvěrné", "chráněny zákonem",
        ],
    },
    Row {
        language: "sk",
        certain: &[],
        strong: &["zamýšľaným príjemcom"],
        claims: &["iba pre adresáta", "výlučne pre adresáta", "dôverné informácie"],
    },
    Row {
        language: "hu",
        certain: &[],
        strong: &["nem ön a címzett"],
        claims: &["kizárólag a címzett", "bizalmas információ", "tévedésből kapta"],
    },
    Row {
        language: "ro",
        certain: &[],
        strong: &["nu sunteți destinatarul"],
        claims: &["exclusiv destinatarului", "informații confidențiale"],
    },
    Row {
        language: "ru",
        certain: &[],
        strong: &[
            "если вы получили это сообщение по ошибке", "если вы получили данное сообщение по ошибке",
            "если вы получили это письмо по ошибке", "если вы получили данное письмо по ошибке",
            "не являетесь адресатом", "не являетесь получателем",
        ],
        claims: &[
            "только для адресата", "предназначен исключительно", "предназначена исключительно",
            "предназначено исключительно", "предназначены исключительно", "являются конфиденциальными",
            "конфиденциальную информацию", "проверено на вирусы", "без вирусов",
        ],
    },
    Row {
        language: "uk",
        certain: &[],
        strong: &["не є адресатом"],
        claims: &["призначене виключно для", "призначено виключно для", "конфіденційну інформацію"],
    },
    Row {
        language: "bg",
        certain: &[],
        strong: &["ако сте получили това съобщение по погрешка"],
        claims: &["предназначено само за", "поверителна информация"],
    },
    Row {
        language: "el",
        certain: &[],
        strong: &[],
        claims: &["αποκλειστικά για τον παραλήπτη", "εμπιστευτικές πληροφορίες", "εκ παραδρομής"],
    },
    Row {
        language: "tr",
        certain: &[],
        strong: &["bu mesajı yanlışlıkla aldıysanız", "bu e-postayı yanlışlıkla aldıysanız"],
        claims: &["yalnızca gönderildiği kişi", "sadece gönderildiği kişi", "gizli bilgi"],
    },
    Row {
        language: "ar",
        certain: &[],
        strong: &["المستلم المقصود"],
        claims: &["معلومات سرية"],
    },
    Row {
        language: "he",
        certain: &[],
        strong: &[],
        claims: &["לנמען בלבד", "מידע סודי"],
    },
    Row {
        language: "zh",
        certain: &[],
        strong: &["错收了本邮件", "误收本邮件", "誤收本郵件"],
        claims: &["保密信息", "机密信息", "機密資料"],
    },
    Row {
        language: "ja",
        certain: &[],
        strong: &["誤って受信された場合"],
        claims: &["機密情報"],
    },
    Row {
        language: "ko",
        certain: &[],
        strong: &["잘못 수신한 경우"],
        claims: &["지정된 수신인", "기밀 정보"],
    },
    Row {
        language: "vi",
        certain: &[],
        strong: &["không phải là người nhận"],
        claims: &["thông tin bảo mật"],
    },
    Row {
        language: "id",
        certain: &[],
        strong: &["bukan penerima yang dituju"],
        claims: &["informasi rahasia"],
    },
];

/// The mail itself, as disclaimers call it beside [`THIS`], folded.
#[rustfmt::skip]
const THIS_TOO: &[&str] = &[
    "this communication", "this transmission", "dieser e-mail", "dieser email", "dieser mail", "dieser nachricht",
    "présent message", "presente mensaje", "presente correo", "este correo", "desta mensagem", "presente mensagem",
    "questa comunicazione", "presente comunicazione", "presente messaggio", "presente e-mail", "det här meddelandet",
    "det här mejlet", "den här e-posten", "dette e-post", "tämän viestin", "tę wiadomość", "tej wiadomości",
    "niniejsza wiadomość", "tohoto e-mailu", "této zprávy", "tejto správy", "этого письма", "этом письме",
    "настоящее письмо", "настоящее сообщение", "това съобщение", "το μήνυμα αυτό", "αυτό το μήνυμα", "bu mesajı",
    "هذه الرسالة", "هذا البريد", "הודעה זו", "본 메일", "email này", "thư này", "pesan ini", "email ini",
];

/// How several people begin that got a mail, or aren't those whom it is for, folded: a firm speaks of itself as the sender.
#[rustfmt::skip]
const RECEIVERS: &[&str] = &[
    "we received", "we have received", "we got", "we are not", "we aren't", "wir haben", "haben wir", "wir sind", "sind wir",
    "uns irrtümlich", "nous avons", "avons-nous", "nous ne sommes", "hemos recibido", "no somos", "recebemos", "não somos",
    "abbiamo ricevuto", "non siamo", "wij hebben", "hebben wij", "we hebben", "wij zijn", "zijn wij", "vi har", "har vi",
    "vi är", "är vi", "vi er", "er vi", "olemme saaneet", "emme ole", "otrzymaliśmy", "dostaliśmy", "nie jesteśmy",
    "obdrželi jsme", "nejsme", "dostali sme", "nie sme", "megkaptuk", "am primit", "nu suntem", "мы получили", "мы не",
    "ми отримали", "ми не", "получихме", "λάβαμε", "aldık", "我们收到", "我們收到", "קיבלנו", "استلمنا",
];

/// To print, or a beginning of it, as it stands in front of the mail's name or behind it, folded.
#[rustfmt::skip]
const PRINT: &[&str] = &[
    "print", "printing", "ausdruck", "druck", "imprimer", "imprimir", "stampare", "printer", "afdruk", "skriver ut",
    "udskriver", "tulostat", "wydrukujesz", "vytisk", "vytlač",
];

/// What is to be spared by not printing, folded.
#[rustfmt::skip]
const NATURE: &[&str] = &[
    "environment", "umwelt", "environnement", "medio ambiente", "meio ambiente", "all'ambiente", "l'ambiente", "milieu",
    "miljö", "miljø", "ympäristö", "środowisk", "životní prostředí", "životné prostredie",
];

/// Such a plea has no more words.
const PLEA: usize = 24;

/// Behind the mail's name so many at most, where what is spared stands in front.
const REST: usize = 4;

/// Pleas that don't name the mail are whole lines, folded.
const PLEAS: &[&str] = &[
    "think before you print",
    "please think before you print",
    "please consider the environment before printing",
    "consider the environment before printing",
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

/// What stands above a disclaimer or begins it, folded.
#[rustfmt::skip]
const HEADINGS: &[&str] = &[
    "disclaimer", "confidentiality notice", "legal notice", "privacy notice", "haftungsausschluss", "rechtlicher hinweis",
    "vertraulichkeitshinweis", "aviso legal", "aviso de confidencialidad", "aviso de confidencialidade",
    "avis de confidentialité", "zastrzeżenie",
];

/// What people begin a line with, too: it is a heading only where it stands above a disclaimer.
#[rustfmt::skip]
const HEADINGS_ABOVE: &[&str] = &[
    "confidentiality", "notice", "hinweis", "aviso", "avis", "confidentialité", "avviso", "avvertenza",
];

/// Addresses that virus scanners put into their footers, folded.
const SCANNERS: &[&str] = &["www.avast.com", "www.avg.com"];

static ALL_DISCLAIMERS: LazyLock<Phrases> =
    LazyLock::new(|| Phrases::of(&DISCLAIMERS.iter().flat_map(Row::phrases).collect::<Vec<_>>()));
static ALL_CLAIMS: LazyLock<HashSet<&str>> =
    LazyLock::new(|| DISCLAIMERS.iter().flat_map(|row| row.claims).copied().collect());
static ALL_REGISTERED: LazyLock<Phrases> = LazyLock::new(|| Phrases::of(REGISTERED));
static ALL_NAMES: LazyLock<Phrases> = LazyLock::new(|| Phrases::of(&[THIS, THIS_TOO].concat()));
static ALL_RECEIVERS: LazyLock<Phrases> = LazyLock::new(|| Phrases::of(RECEIVERS));
static ALL_NATURE: LazyLock<Phrases> = LazyLock::new(|| Phrases::of(NATURE));
static ALL_OUTSIDE: LazyLock<Phrases> = LazyLock::new(|| Phrases::of(OUTSIDE));
static ALL_THIS: LazyLock<Phrases> = LazyLock::new(|| Phrases::of(THIS));
static ALL_CARES: LazyLock<Phrases> = LazyLock::new(|| Phrases::of(CARES));
static ALL_BANNERS: LazyLock<Phrases> = LazyLock::new(|| Phrases::of(BANNERS));

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
        let heading = paragraph.iter().all(|line| {
            let words = line.folded.trim_matches([':', '-', '_', ' ']);
            HEADINGS.contains(&words) || HEADINGS_ABOVE.contains(&words)
        });
        if !paragraph.is_empty() {
            if disclaims(paragraph) || (start == Some(end + 1) && heading) {
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
    paragraph.iter().any(|line| speaks_any(&line.folded) || is_asked(&line.folded))
        && !paragraph.iter().any(is_legal)
}

/// Does a company say who it is, and nobody anything of oneself?
fn is_registration(paragraph: &[Line], length: usize) -> bool {
    length <= MOST_REGISTERED
        && paragraph.iter().any(|line| ALL_REGISTERED.any_in(&line.folded))
        && !paragraph.iter().any(|line| speaks_any(&line.folded))
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
    paragraphs.all(disclaims)
}

/// A scanner's address and a phrase of such footers beside it: one alone may be an answer.
fn is_scanners(paragraph: &[Line]) -> bool {
    let text = joined(paragraph);
    SCANNERS.iter().any(|address| text.contains(address)) && ALL_DISCLAIMERS.any_in(&text)
}

/// Is it a line of a disclaimer, as far as one line tells? One phrase that people write as well doesn't.
pub fn is_legal(line: &Line) -> bool {
    let mut claims = HashSet::new();
    let tells = |(_, words)| {
        let is_claim = ALL_CLAIMS.contains(words);
        claims.extend(is_claim.then_some(words));
        !is_claim || claims.len() > 1
    };
    ALL_DISCLAIMERS.found(&line.folded).any(tells) || is_plea(&line.folded)
}

/// The words of a paragraph.
fn joined(paragraph: &[Line]) -> String {
    paragraph.iter().map(|line| line.folded.as_str()).collect::<Vec<_>>().join(" ")
}

/// Is it a disclaimer or a footer?
fn disclaims(paragraph: &[Line]) -> bool {
    let text = joined(paragraph);
    let found: HashSet<&str> = ALL_DISCLAIMERS.found(&text).map(|(_, words)| words).collect();
    let has = |words: &[&str]| words.iter().any(|words| found.contains(words));
    let is_said = |row: &&Row| has(row.certain) || has(row.strong) || has(row.claims);
    let beside: Vec<&str> = DISCLAIMERS.iter().filter(is_said).map(|row| row.language).collect();
    // A program says neither "I" nor "my".
    if speaks(&text, |language| beside.contains(&language) || beside.contains(&""))
        || ALL_RECEIVERS.any_in(&text)
        || text.contains("? ")
        || text.ends_with('?')
    {
        return false;
    }
    DISCLAIMERS.iter().any(|row| has(row.certain))
        || is_scanners(paragraph)
        || !text.contains('?') && (is_plea(&text) || is_told(&text))
}

/// Do two phrases tell a disclaimer, in a text that names the mail it speaks of, or begins with a heading?
fn is_told(text: &str) -> bool {
    let heading = text.split_once(':').map(|(heading, _)| heading.trim());
    let is_headed = heading.is_some_and(|heading| HEADINGS.contains(&heading));
    if !is_headed && !ALL_NAMES.any_in(text) {
        return false;
    }
    let (mut told, mut is_strong) = (HashSet::new(), false);
    for sentence in text.split(['.', '!', '。']) {
        let name = if is_headed { Some(0) } else { ALL_NAMES.found(sentence).next().map(|(at, _)| at) };
        let mut behind = 0;
        for (at, words) in ALL_DISCLAIMERS.found(sentence) {
            let is_claim = ALL_CLAIMS.contains(words);
            if at >= behind && (!is_claim || name.is_some_and(|name| name < at)) && told.insert(words) {
                is_strong |= !is_claim;
                behind = at + words.len();
            }
        }
    }
    // Several people may claim as much of what they send.
    told.len() > 1 && (is_strong || !is_asked(text))
}

/// Does it ask for nothing but not to print the mail?
fn is_plea(text: &str) -> bool {
    let is_print = |(at, name): (usize, &str)| {
        let (above, below) = (text.get(..at), text.get(at + name.len()..));
        let above = above.unwrap_or_default().trim_end();
        let below = below.unwrap_or_default().trim_start();
        let is_end = || below.split(' ').take(REST + 1).count() <= REST || ALL_NATURE.any_in(below);
        PRINT.iter().any(|print| above.ends_with(print) || below.starts_with(print)) && is_end()
    };
    PLEAS.contains(&text.trim_end_matches(['.', '!']))
        || text.split(' ').take(PLEA + 1).count() <= PLEA
            && ALL_NATURE.any_in(text)
            && ALL_NAMES.found(text).any(is_print)
}

/// Do several people speak of themselves? A firm does so, too, in its disclaimer.
fn is_asked(folded: &str) -> bool {
    folded.split(|c: char| !c.is_alphanumeric()).any(|word| OURS.contains(&word))
}

/// Does somebody speak of oneself, in words of any language or of one that `is_beside` them?
fn speaks(folded: &str, is_beside: impl Fn(&str) -> bool) -> bool {
    let mut words = folded.split(|c: char| !c.is_alphanumeric());
    let is_own = |word: &str| {
        let mut ambiguous = OWN_IN.iter().filter(|(_, words)| words.contains(&word));
        OWN.contains(&word) || ambiguous.any(|(language, _)| is_beside(language))
    };
    words.any(is_own)
}

/// Does somebody speak of oneself, in whatever language?
fn speaks_any(folded: &str) -> bool {
    speaks(folded, |_| true)
}

/// Words by which somebody speaks of oneself, folded.
const OWN: &[&str] = &[
    "ich", "mir", "mich", "mein", "meine", "meinem", "meinen", "meiner", "mon", "yo", "mis", "io", "mio",
    "mia", "ik", "mijn", "jag", "moja", "moje", "я", "мой", "моя", "мои", "меня", "мне", "benim", "minun",
];

/// Likewise, by language: others have them for "in", "and", "is", "we", and they count only beside a phrase of their own.
const OWN_IN: &[(&str, &[&str])] = &[
    ("en", &["i", "my"]),
    ("fr", &["je", "j", "ma", "mes"]),
    ("es", &["mi"]),
    ("pt", &["eu", "meu", "minha"]),
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
    "external sender", "this is an external email", "this is an external e-mail", "dies ist eine externe e-mail",
    "ceci est un courriel externe",     "don't often get email from", "caution: external",
    "[external]", "externer absender", "externen absender", "erhalten nicht oft eine e-mail",
    "erhalten nicht häufig", "expéditeur externe", "n'obtenez pas souvent", "ne recevez pas souvent",
    "remitente externo", "no suele recibir correo", "remetente externo", "mittente esterno",
    "non si ricevono spesso", "externe afzender", "u ontvangt niet vaak", "je ontvangt niet vaak",
    "nadawca zewnętrzny", "spoza organizacji", "nie często otrzymujesz", "extern avsändare", "får inte ofta",
    "ekstern afsender", "ekstern avsender", "ulkoinen lähettäjä", "externí odesílatel", "externý odosielateľ",
    "külső feladó", "expeditor extern", "внешний отправитель", "зовнішній відправник", "εξωτερικός αποστολέας",
    "harici gönderen", "kurum dışı", "مرسل خارجي", "שולח חיצוני", "外部邮件", "外部發件人", "外部メール", "社外から", "외부 메일",
    "외부에서 발송",
];

/// What people say, too: such words count beside [`THIS`], beside another such phrase, or where there is little else.
#[rustfmt::skip]
const OUTSIDE: &[&str] = &[
    "outside of the organization", "outside of your organization", "outside the organization",
    "outside our organization", "outside your organization",
    "external email", "external e-mail", "external message", "originated from outside", "originated outside",
    "came from outside", "sent from outside", "from an external", "do not click links", "do not click any links",
    "externe e-mail", "von außerhalb", "courriel externe", "email externe", "provient de l'extérieur",
    "correo externo", "e-mail externo", "email esterna", "proviene dall'esterno", "afkomstig van buiten",
    "wiadomość zewnętrzna", "внешняя почта",
];

/// The mail itself, as banners call it, folded.
#[rustfmt::skip]
const THIS: &[&str] = &[
    "this e-mail", "this email", "this message", "this mail", "diese e-mail", "diese email", "diese mail",
    "diese nachricht", "ce message", "ce courriel", "cet e-mail", "cet email", "ce mail", "este correo",
    "este mensaje", "este e-mail", "este email", "esta mensagem", "questa e-mail", "questa email", "questa mail",
    "questo messaggio", "deze e-mail", "deze email", "deze mail", "dit bericht", "dit e-mail", "ta wiadomość",
    "ten e-mail", "detta meddelande", "detta mail", "detta e-post", "denna e-post", "denne e-mail", "denne mail",
    "denne e-post", "denne melding", "tämä viesti", "tato zpráva", "tento e-mail", "táto správa", "ez az üzenet",
    "ez az e-mail", "acest mesaj", "acest e-mail", "это письмо", "это сообщение", "данное письмо",
    "данное сообщение", "цей лист", "це повідомлення", "bu e-posta", "bu ileti", "bu mesaj", "此邮件", "此郵件", "本邮件",
    "本郵件", "このメール", "本メール", "이 메일",
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
        line.folded.ends_with('?') || greets || words.into_iter().any(speaks_any)
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

/// Does a gateway say that a mail came from outside, and nobody anything of oneself?
fn warns(paragraph: &[Line]) -> bool {
    let text = paragraph.iter().map(|line| line.folded.as_str()).collect::<Vec<_>>().join(" ");
    let is_outside = || {
        let mut outside = ALL_OUTSIDE.found(&text);
        let Some((at, first)) = outside.next() else { return false };
        let has_second = outside.any(|(from, words)| words != first && from >= at + first.len());
        // "This message came from outside", and "External e-mail." alone.
        let tells = |sentence: &str| {
            let sentence = sentence.trim();
            let Some((at, words)) = ALL_OUTSIDE.found(sentence).next() else { return false };
            let mut this = ALL_THIS.found(sentence).map(|(this, _)| this);
            let is_little = sentence.split(' ').count() <= LITTLE;
            this.any(|this| this < at || words.starts_with(ORDER))
                || is_little && dates::address(sentence) == Address::None
        };
        has_second || text.split(['.', '!']).any(tells)
    };
    // "I" is a word of other languages in small letters only.
    let is_human = || {
        let mut words = paragraph.iter().flat_map(|line| line.text.split(|c: char| !c.is_alphanumeric()));
        words.any(|word| word == "I") || speaks(&text, |_| false)
    };
    (ALL_BANNERS.any_in(&text) || is_outside()) && !is_human()
}

/// What a banner that says more asks for, folded: to take care of links, attachments, the sender.
#[rustfmt::skip]
const CARES: &[&str] = &[
    "click", "link", "attachment", "caution", "careful", "organization", "organisation", "why this is important", "sender and",
    "klick", "anhäng", "anhang", "vorsicht", "erfahren sie", "warum dies", "lien", "pièce", "prudent", "prudence", "découvr",
    "pourquoi", "enlace", "adjunto", "precaución", "organización", "por qué", "anexo", "cuidado", "organização", "por que",
    "allegat", "attenzione:", "organizzazione", "perché", "bijlage", "koppeling", "voorzichtig", "organisatie", "waarom",
    "załącznik", "ostrożn", "organizacj", "dlaczego", "bilag", "länk", "lenke", "varfør", "hvorfor", "varför", "liite",
    "linkk", "příloh", "odkaz", "príloh", "ссылк", "вложени", "организац", "посиланн", "вкладен", "链接", "附件", "連結", "リンク",
    "添付", "링크", "첨부", "bağlantı", "رابط", "קישור",
];

/// A banner that says nothing more has so many words at most.
const SHORT: usize = 9;

/// How a banner's phrase begins that orders what to do with the mail, which it names behind it.
const ORDER: &str = "do not";

/// So many words, with what stands in front of a colon, are a sentence that says nothing more.
const LITTLE: usize = 4;

/// The line behind a gateway's warning that begins on line `start`, if it is one.
fn warning(lines: &[Line], start: usize) -> Option<usize> {
    let end = start + lines.get(start..)?.iter().position(Line::is_blank)?;
    let paragraph = lines.get(start..end)?;
    let length: usize = paragraph.iter().map(|line| line.folded.len()).sum();
    let greets = paragraph.first().is_some_and(|line| line.folded.ends_with(',') && line.folded.len() < 40);
    if length > 700 || greets || paragraph.iter().any(|line| line.folded.ends_with('?')) || !warns(paragraph)
    {
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
    let is_framed = first.folded.starts_with(['[', '!', '\u{26a0}']);
    let programs = is_framed
        || first.folded.contains("often get email")
        || first.folded.split(' ').take(2).any(|word| word.ends_with(':'));
    let local = !first.text.is_ascii() || length < 240;
    let is_warning = shouts
        || programs
        || (local && first.folded.starts_with("this ") && first.folded.contains("external"));
    let text = joined(paragraph);
    let is_short = || text.split(' ').count() <= SHORT && (shouts || is_framed || ALL_THIS.any_in(&text));
    (is_warning && (ALL_CARES.any_in(&text) || is_short())).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::{
        BANNERS, CARES, DISCLAIMERS, HEADINGS, HEADINGS_ABOVE, NATURE, OURS, OUTSIDE, OWN, OWN_IN, PLEAS,
        PRINT, RECEIVERS, REGISTERED, Row, SCANNERS, THIS, THIS_TOO, banner, disclaimer, is_footer, is_legal,
    };
    use crate::inbox::answer::line::{Line, fold, lines_of};

    #[test]
    fn words_are_folded_as_lines_are() {
        let disclaimers = DISCLAIMERS.iter().flat_map(Row::phrases);
        let own = OWN_IN.iter().flat_map(|(_, words)| *words).copied();
        let others = [
            CARES,
            RECEIVERS,
            BANNERS,
            OUTSIDE,
            THIS,
            THIS_TOO,
            PRINT,
            NATURE,
            PLEAS,
            OURS,
            OWN,
            HEADINGS,
            HEADINGS_ABOVE,
            REGISTERED,
            SCANNERS,
        ]
        .concat();
        for words in disclaimers.chain(own).chain(others) {
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
    fn disclaimers_go_in_whatever_language_and_what_people_say_stays() {
        let cut = |text: &str| {
            let lines = lines_of(&format!("At six.\n\n{text}"));
            disclaimer(&lines, lines.len() - 1).is_some()
        };
        for text in [
            "Questo messaggio e i suoi allegati contengono informazioni riservate e sono destinati esclusivamente al destinatario.",
            "Tato zpráva je určena pouze pro adresáta a může obsahovat důvěrné informace.",
            "Informationen i detta meddelande är konfidentiell information. Är du inte rätt mottagare, radera det.",
            "Ta wiadomość i załączniki są przeznaczone wyłącznie dla adresata. Treść tej wiadomości jest poufna.",
            "Pensez à l'environnement avant d'imprimer ce message.",
            "Please consider the environment before printing this e-mail.",
            "Think before you print!",
            "Denne e-post kan inneholde fortrolig informasjon. Hvis du ikke er rett mottaker, slett meldingen.",
            "הודעה זו מיועדת לנמען בלבד ועשויה להכיל מידע סודי.",
            "The information in this email is confidential. It is intended only for the addressee.",
            "Virenfrei. www.avg.com",
            "AVISO LEGAL: le informamos que sus datos personales figuran en nuestros ficheros. Puede ejercer sus derechos de acceso, rectificación y supresión.",
        ] {
            assert!(cut(text), "{text}");
        }
        for text in [
            "Je vous envoie ce message: il peut contenir des informations confidentielles, à l'usage exclusif du notaire.",
            "Please consider the environment before printing this boarding pass.",
            "The second page contains confidential information. It is intended only for you.",
            "Wir denken an die Umwelt und kommen mit dem Zug, bevor Sie diese Nachricht lesen, sind wir schon da.",
            "Bitte denkt an die Umwelt und druckt die Rechnung nicht aus, bevor Sie diese E-Mail weiterleiten.",
            "By the way, think before you print so many pages, the printer at the house is slow.",
            "The file is virus-free, our IT checked it.",
            "The parcel was intended only for Tom, says the message; the intended recipient was not at home.",
            "They received it in error, and this message of theirs says the intended recipient is Tom Guest.",
            "Please notify the sender immediately that the parcel came back. Our message was late.",
            "Die Nachbarin ist nicht der richtige Empfänger, sie hat das Paket irrtümlich erhalten, steht in der Nachricht.",
            "Si vous n'êtes pas le destinataire du colis, merci de le laisser chez la voisine, qui a aussi reçu le message du livreur hier soir; Tom passera le prendre demain vers dix-huit heures avec sa voiture bleue.",
            "Tom necesita sus datos personales y el aviso legal de la casa en el mensaje.",
            "本邮件及其附件为我公司的报价单，请贵公司查收。报价有效期为三十天，付款方式为电汇，交货期为收到定金后四十五天，如有任何问题请随时联系我们，谢谢合作。",
            "ההודעה היא לנמען בלבד והיא סודי מאוד.",
            "Wir haben diese Mail irrtümlich erhalten und sind nicht der richtige Adressat. Bitte löschen Sie uns.",
            "Wij hebben deze mail ten onrechte ontvangen en zijn niet de beoogde ontvanger.",
            "Please consider the environment before printing this message for everybody, one copy is enough, Tom says.",
            "To unsubscribe from this group Tom wrote twice. You received this message because you are subscribed yourself?",
        ] {
            assert!(!cut(text), "{text}");
        }
    }

    #[test]
    fn one_phrase_that_people_write_makes_no_line_legal() {
        let is = |text: &str| is_legal(&Line::plain(text));
        assert!(is("If you are not the intended recipient, delete this."));
        assert!(is("Pensez à l'environnement avant d'imprimer ce message."));
        assert!(!is("Cuidamos el medio ambiente."));
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
        for text in [
            "Achtung: Externe E-Mail. Bitte öffnen Sie keine Anhänge.",
            "[EXTERNAL EMAIL] DO NOT CLICK links unless you know the sender.",
            "Remarque : ce message provient de l'extérieur.",
        ] {
            assert_eq!(banner(&lines_of(&format!("{text}\n\nHi"))), Some(2), "{text}");
        }
        for text in [
            "Hello, the external sender told me so.",
            "Zur Info: Wir kommen von außerhalb der EU.",
            "Short note: dinner comes from an external cook, so this message is urgent.",
            "Info: mi correo externo es ana@guest.example",
            "Warning: do not click links in the mail of yesterday.",
            "WARNING: I came from outside, this message is late.",
            "URGENT: This mail is from Tom; the noise at the house came from outside.",
            "Note: this email was sent from outside the country, so the answer takes a while.",
            "Question: external sender warning shows at every mail of yours.",
        ] {
            assert_eq!(banner(&lines_of(&format!("{text}\n\nHi"))), None, "{text}");
        }
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
