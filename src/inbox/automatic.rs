//! Mail that a machine wrote: bounces, out-of-office, lists, calendar (RFC 3834, RFC 3464, RFC 2919, RFC 6047).
//!
//! Marked, never dropped. By fields and structure; words are looked at only where the structure is missing. A bounce or
//! an answering machine also tells of which mail of ours it speaks ([`Report`]).

use super::conversation::is_nobody;
use super::mail::{Mail, ReportPart, bare_id};
use crate::message::decode::clean;
use crate::message::fields::HeaderSection;
use crate::queue::QueueId;

/// Recipients of one report.
const MAX_RECIPIENTS: usize = 100;

/// What kind of machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A notice that mail wasn't delivered.
    Bounce,
    /// Somebody is away, or a receipt.
    AutoReply,
    /// A list or newsletter.
    Bulk,
    /// An invitation or an answer to one.
    Calendar,
    /// Anything else that nobody typed: that mail arrived or is late, too, and complaints about it (RFC 5965).
    Notification,
}

/// What automatic mail says of mail that we sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Message-IDs it may be about, with brackets, the surest first; one without brackets is an id of ours, which we gave
    /// the envelope.
    pub message_ids: Vec<String>,
    /// What it says of each recipient; empty for an answering machine.
    pub recipients: Vec<Reported>,
}

/// One recipient of a delivery report (RFC 3464 §2.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reported {
    /// Whom it is about: the last address it had on its way.
    pub address: String,
    /// The address it was first sent to, where that is another.
    pub original: Option<String>,
    /// `failed`, `delayed`, `delivered`, `relayed`, `expanded`; lower case.
    pub action: String,
    /// `5.1.1`
    pub status: Option<String>,
    /// What the last server said.
    pub diagnostic: Option<String>,
}

/// The kind, if a machine wrote it. `is_relayed`: it comes from the address under which a
/// channel relays one guest's words, whatever fields it adds.
#[must_use]
pub fn kind(mail: &Mail<'_>, sender: Option<&str>, is_relayed: bool) -> Option<Kind> {
    let from = mail.from.as_ref().map(|party| party.address.as_str()).unwrap_or_default();
    let field = |name: &str| mail.field(name).map(|value| value.trim().to_lowercase());
    if is_bounce(mail, sender, from) {
        return Some(if is_harmless(mail) { Kind::Notification } else { Kind::Bounce });
    }
    let has_report = |media: &str| mail.reports.iter().any(|part| part.content_type.starts_with(media));
    if mail.content_type.starts_with("multipart/report feedback-report")
        || has_report("message/feedback-report")
    {
        return Some(Kind::Notification);
    }
    if mail.content_type.starts_with("text/calendar") || has_report("text/calendar") {
        return Some(Kind::Calendar);
    }
    let submitted = field("Auto-Submitted").unwrap_or_default();
    let precedence = field("Precedence").unwrap_or_default();
    let machine_answer = submitted.starts_with("auto-replied")
        || ["X-Autoreply", "X-Autorespond", "X-Auto-Reply"]
            .iter()
            .any(|name| field(name).is_some_and(|value| says_yes(&value)))
        || ["auto_reply", "auto-reply"].contains(&precedence.as_str())
        || has_report("message/disposition-notification")
        || is_exchange_answer(mail, sender, &submitted);
    if machine_answer {
        return Some(Kind::AutoReply);
    }
    if is_relayed {
        return None;
    }
    let list = ["List-Id", "List-Unsubscribe", "List-Post"].iter().any(|name| mail.field(name).is_some());
    if list || ["bulk", "list", "junk"].contains(&precedence.as_str()) {
        return Some(Kind::Bulk);
    }
    let generated = submitted.starts_with("auto-generated") || submitted.starts_with("auto-notified");
    (generated || is_nobody(from)).then_some(Kind::Notification)
}

/// Whether such a field says that a machine answered: some programs write it into every mail, to say that none did.
fn says_yes(value: &str) -> bool {
    !["", "no", "none", "false", "0"].contains(&value)
}

/// Exchange's out-of-office says `auto-generated`; that it answers something tells it from a notification. Where a
/// gateway takes that field away, or an old server never wrote it, other marks must agree: much of what people write by
/// Exchange asks for no automatic answers, and their rules send their mail on, too.
fn is_exchange_answer(mail: &Mail<'_>, sender: Option<&str>, submitted: &str) -> bool {
    let by_agent = mail
        .field("X-MS-Exchange-Generated-Message-Source")
        .is_some_and(|source| source.to_lowercase().contains("mailbox rules agent"));
    let suppresses = mail
        .field("X-Auto-Response-Suppress")
        .is_some_and(|value| says_yes(value.trim().to_lowercase().as_str()));
    let answers = !mail.in_reply_to.is_empty() && suppresses;
    if !submitted.is_empty() {
        return submitted.starts_with("auto-generated") && (by_agent || answers);
    }
    if mail.content_type.starts_with("multipart/report") {
        return false;
    }
    let is_sent_on = mail.field("X-MS-Exchange-Inbox-Rules-Loop").is_some();
    let is_null = sender.is_none();
    is_headed(&mail.subject) && (suppresses || by_agent || is_null)
        || is_null && by_agent && answers && !is_sent_on
}

/// Whether a subject begins as an out-of-office of Exchange's does, perhaps behind a gateway's `[EXTERNAL]`.
fn is_headed(subject: &str) -> bool {
    let Some((front, _)) = subject.split_once([':', '：']) else { return false };
    let front = front.rsplit(']').next().unwrap_or(front).trim().to_lowercase();
    OUT_OF_OFFICE.contains(&front.as_str())
}

/// What Exchange and Outlook put before the subject of an out-of-office, in the language of the mailbox; up to the colon,
/// lower case.
const OUT_OF_OFFICE: &[&str] = &[
    "automatic reply",
    "out of office",
    "out of office autoreply",
    "automatische antwort",
    "abwesend",
    "abwesenheitsnotiz",
    "réponse automatique",
    "absence du bureau",
    "respuesta automática",
    "fuera de oficina",
    "fuera de la oficina",
    "resposta automática",
    "resposta automàtica",
    "risposta automatica",
    "fuori sede",
    "automatisch antwoord",
    "afwezigheidsbericht",
    "automatisk svar",
    "automatiskt svar",
    "autosvar",
    "automaattinen vastaus",
    "automatyczna odpowiedź",
    "odpowiedź automatyczna",
    "automatická odpověď",
    "automatická odpoveď",
    "automatikus válasz",
    "răspuns automat",
    "автоматический ответ",
    "автоматична відповідь",
    "автоматичен отговор",
    "automatski odgovor",
    "samodejni odgovor",
    "automaatvastus",
    "automātiskā atbilde",
    "automatinis atsakymas",
    "αυτόματη απάντηση",
    "otomatik yanıt",
    "תשובה אוטומטית",
    "מענה אוטומטי",
    "رد تلقائي",
    "自動応答",
    "自动答复",
    "自動回覆",
    "자동 회신",
    "trả lời tự động",
];

fn is_bounce(mail: &Mail<'_>, sender: Option<&str>, from: &str) -> bool {
    let status = mail.reports.iter().any(is_status);
    let report = mail.content_type.starts_with("multipart/report")
        && (mail.content_type.ends_with("delivery-status") || status);
    let local = from.split('@').next().unwrap_or_default().to_lowercase();
    let daemon = ["mailer-daemon", "postmaster", "mail-daemon"].contains(&local.as_str());
    // Forwarded, it has the forwarder's envelope; what it gives back tells it then.
    let gives_back = || status || !copied(mail.text.as_deref().unwrap_or_default()).is_empty();
    report || mail.field("X-Failed-Recipients").is_some() || (daemon && (sender.is_none() || gives_back()))
}

/// Does a delivery report speak of no failure: mail arrived, or is late?
fn is_harmless(mail: &Mail<'_>) -> bool {
    let mut report = Report::default();
    for part in mail.reports.iter().filter(|part| is_status(part)) {
        recipients(part.content.as_slice(), &mut report);
    }
    let harmless = ["delivered", "relayed", "expanded", "delayed"];
    !report.recipients.is_empty()
        && report.recipients.iter().all(|one| harmless.contains(&one.action.as_str()))
}

fn is_status(part: &ReportPart) -> bool {
    part.content_type.starts_with("message/delivery-status")
        || part.content_type.starts_with("message/global-delivery-status")
}

/// What a delivery report or an answering machine says of mail of ours; none for all other mail.
#[must_use]
pub fn report(mail: &Mail<'_>, kind: Option<Kind>) -> Option<Report> {
    let tells = match kind? {
        Kind::Bounce | Kind::AutoReply => true,
        Kind::Notification => mail.reports.iter().any(is_status),
        Kind::Bulk | Kind::Calendar => false,
    };
    if !tells {
        return None;
    }
    let mut report = Report::default();
    for part in &mail.reports {
        let content = part.content.as_slice();
        let base = part.content_type.split(' ').next().unwrap_or_default();
        match base {
            "message/delivery-status" | "message/global-delivery-status" => {
                recipients(content, &mut report);
                report.message_ids.splice(..0, envelope(content).into_iter().chain(original_id(content)));
            }
            "message/rfc822" | "message/global" | "message/global-headers" | "text/rfc822-headers" => {
                let original = Mail::read(content);
                report.message_ids.extend(original.message_id);
            }
            "message/disposition-notification" => {
                let fields = HeaderSection::of(content);
                let ids = fields
                    .named("Original-Message-ID")
                    .filter_map(|field| message_id(&value(&field.value())));
                report.message_ids.extend(ids);
            }
            _ => {}
        }
    }
    if kind == Some(Kind::Bounce) && report.recipients.is_empty() {
        failed(mail, &mut report);
    }
    if kind == Some(Kind::Bounce) && report.message_ids.is_empty() {
        report.message_ids = copied(mail.text.as_deref().unwrap_or_default());
    }
    let named = mail.in_reply_to.iter().chain(mail.references.iter().rev());
    for id in named.take(20) {
        if !report.message_ids.contains(id) {
            report.message_ids.push(id.clone());
        }
    }
    Some(report)
}

/// The id under which we sent it, if the report gives it back (RFC 3464 §2.2.1).
fn envelope(content: &[u8]) -> Option<String> {
    let message = HeaderSection::of(content);
    let id = value(&message.named("Original-Envelope-Id").next()?.value());
    id.parse::<QueueId>().is_ok().then_some(id)
}

/// The mail's own id, where a report of Google's says it.
fn original_id(content: &[u8]) -> Option<String> {
    let message = HeaderSection::of(content);
    message_id(&value(&message.named("X-Original-Message-ID").next()?.value()))
}

/// With brackets, whether or not it had them.
fn message_id(value: &str) -> Option<String> {
    let has_brackets = value.starts_with('<') && value.ends_with('>');
    if has_brackets { Some(value.to_owned()) } else { bare_id(value).map(|id| format!("<{id}>")) }
}

/// Message-IDs in a bounce of words alone that has a copy of the mail below (qmail, old Exim).
fn copied(text: &str) -> Vec<String> {
    let name = "message-id:";
    let ids = text.lines().filter_map(|line| {
        let line = line.trim_start_matches(['>', ' ', '\t']);
        let value = line
            .get(name.len()..)
            .filter(|_| line.get(..name.len()).is_some_and(|front| front.eq_ignore_ascii_case(name)))?;
        let id = value.trim();
        (id.starts_with('<') && id.ends_with('>') && id.len() <= 500).then(|| id.to_owned())
    });
    ids.take(20).collect()
}

/// Recipients that stand in a field where there is no report (Exim, Gmail).
fn failed(mail: &Mail<'_>, report: &mut Report) {
    let value = mail.field("X-Failed-Recipients").unwrap_or_default();
    let addresses = value.split([',', ' ', ';']).filter(|word| word.contains('@')).take(MAX_RECIPIENTS);
    report.recipients.extend(addresses.map(|address| Reported {
        address: address.to_owned(),
        original: None,
        action: "failed".to_owned(),
        status: None,
        diagnostic: None,
    }));
}

/// The groups of fields behind the first one, each about one recipient.
fn recipients(content: &[u8], report: &mut Report) {
    let mut rest = content;
    while !rest.is_empty() && report.recipients.len() < MAX_RECIPIENTS {
        let group = HeaderSection::of(rest);
        let one = |name: &str| group.named(name).next().map(|field| value(&field.value()));
        let original = one("Original-Recipient").map(|address| bare(behind_type(&address)).to_owned());
        let last = one("Final-Recipient").map(|address| bare(behind_type(&address)).to_owned());
        let address = last.or_else(|| original.clone());
        if let (Some(address), Some(action)) = (address, one("Action")) {
            report.recipients.push(Reported {
                original: original.filter(|original| *original != address),
                address,
                action: bare(&action).to_lowercase(),
                status: one("Status").map(|status| bare(&status).to_owned()),
                diagnostic: one("Diagnostic-Code").map(|code| behind_type(&code).to_owned()),
            });
        }
        let taken = group.octets().len();
        let skipped = rest.get(taken..).unwrap_or_default();
        let blank = skipped.iter().take_while(|octet| matches!(octet, b'\r' | b'\n')).count();
        if taken + blank == 0 {
            break;
        }
        rest = skipped.get(blank..).unwrap_or_default();
    }
}

fn value(octets: &[u8]) -> String {
    clean(&String::from_utf8_lossy(octets), 500).trim().to_owned()
}

/// `rfc822; ana@example.com` → `ana@example.com`
fn behind_type(value: &str) -> &str {
    value.split_once(';').map_or(value, |(_, rest)| rest).trim()
}

/// `<ana@example.com> (Ana)` → `ana@example.com`: without the comment that these fields may have (RFC 3464 §2.1.1), and the
/// brackets that they may not.
fn bare(value: &str) -> &str {
    let value = value.trim();
    match value.strip_prefix('<').and_then(|rest| rest.split_once('>')) {
        Some((inner, _)) => inner,
        None => value.split_once([' ', '\t', '(']).map_or(value, |(front, _)| front),
    }
}
