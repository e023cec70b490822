//! Which conversation a message belongs to: found by what is surest, and the reason is recorded.
//!
//! The order: a reply token, Message-IDs within the mailbox, the channel's own key, our own words in the quotation, the
//! subject. A conversation never crosses mailboxes, because every look-up is within one. Pure: what the store knows comes
//! in as [`Known`].

use super::{Known, SentText};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;

/// A conversation that lay still longer than this isn't found by its subject.
const SUBJECT_DAYS: i64 = 30;
/// Lines of ours that must stand in a message before it counts as an answer to them.
const QUOTED_LINES: usize = 3;
/// A line shorter than this is like too many others.
const DISTINCTIVE: usize = 24;
/// Texts of ours that are looked for, and lines of each.
const TEXTS: usize = 50;
const LINES: usize = 400;
/// Octets of a message in which our own words are looked for.
const SEARCHED: usize = 256 * 1024;

/// A conversation's name; shown as 13 letters and digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConversationId(u64);

impl ConversationId {
    /// From a number; the caller sees that it is unique.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The number.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ConversationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let alphabet = b"0123456789abcdefghjkmnpqrstvwxyz";
        let letter = |place: u32| {
            let five = usize::try_from((self.0 >> (place * 5)) & 31).unwrap_or_default();
            alphabet.get(five).map_or('0', |letter| char::from(*letter))
        };
        f.pad(&(0..13).rev().map(letter).collect::<String>())
    }
}

impl serde::Serialize for ConversationId {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// How a conversation was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MatchedBy {
    /// A signed token in the address it came to.
    Token,
    /// In-Reply-To or References.
    References,
    /// What the channel puts on all mail of one conversation.
    ChannelKey,
    /// Our own words in the quotation.
    QuotedText,
    /// Same correspondent, same subject, not long ago.
    Subject,
    /// It begins here.
    New,
}

/// The conversation of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conversation {
    /// Its name.
    pub id: ConversationId,
    /// Whether it begins with this message.
    pub is_new: bool,
    /// How it was found.
    pub matched_by: MatchedBy,
    /// Whether it was found by something that can be guessed or copied, and the writer had no part in it so far.
    pub participant_new: bool,
}

/// What is asked about a message.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The mailbox it belongs to.
    pub mailbox: &'a str,
    /// The conversation of a reply token that holds.
    pub token: Option<ConversationId>,
    /// In-Reply-To, with brackets.
    pub in_reply_to: &'a [String],
    /// References, oldest first, with brackets.
    pub references: &'a [String],
    /// The channel and its key.
    pub channel_key: Option<&'a str>,
    /// Whom an answer goes to, lower case.
    pub correspondent: Option<&'a str>,
    /// The base subject; none when too general.
    pub subject: Option<&'a str>,
    /// The whole text.
    pub text: Option<&'a str>,
    /// Whether a machine wrote it: then a subject says nothing.
    pub is_automatic: bool,
    /// When it was received.
    pub now: Timestamp,
    /// The name of a conversation that begins here.
    pub fresh: ConversationId,
}

/// Finds the conversation, or begins one.
#[must_use]
pub fn find(question: &Question<'_>, known: &Known<'_>) -> Conversation {
    if let Some(id) = question.token {
        return Conversation { id, is_new: false, matched_by: MatchedBy::Token, participant_new: false };
    }
    let found = by_reference(question, known)
        .map(|id| (id, MatchedBy::References))
        .or_else(|| {
            let key = question.channel_key?;
            (known.by_channel_key)(question.mailbox, key).map(|id| (id, MatchedBy::ChannelKey))
        })
        .or_else(|| by_quotation(question, known).map(|id| (id, MatchedBy::QuotedText)))
        .or_else(|| by_subject(question, known).map(|id| (id, MatchedBy::Subject)));
    match found {
        Some((id, matched_by)) => {
            let takes_part = |who| (known.takes_part)(question.mailbox, id, who);
            let participant_new = !question.correspondent.is_some_and(takes_part);
            Conversation { id, is_new: false, matched_by, participant_new }
        }
        None => Conversation {
            id: question.fresh,
            is_new: true,
            matched_by: MatchedBy::New,
            participant_new: false,
        },
    }
}

/// In-Reply-To first, then References from the newest.
fn by_reference(question: &Question<'_>, known: &Known<'_>) -> Option<ConversationId> {
    let ids = question.in_reply_to.iter().chain(question.references.iter().rev());
    ids.take(100).find_map(|id| (known.by_message_id)(question.mailbox, id))
}

/// The text of ours that the message holds enough of; of several the one it holds most of.
fn by_quotation(question: &Question<'_>, known: &Known<'_>) -> Option<ConversationId> {
    let text = question.text.filter(|text| !text.is_empty())?;
    let sent: Vec<SentText> = (known.sent_texts)(question.mailbox, question.correspondent?);
    if sent.is_empty() {
        return None;
    }
    let text = text.get(..text.floor_char_boundary(SEARCHED)).unwrap_or(text);
    let whole: String = text.lines().map(unquoted).collect::<Vec<_>>().join(" ");
    let whole = folded(&whole);
    let lines_of = |sent: &SentText| {
        let lines = sent.text.lines().take(LINES).map(|line| folded(unquoted(line)));
        lines.filter(|line| line.chars().count() >= DISTINCTIVE).collect::<BTreeSet<String>>()
    };
    let texts: Vec<_> = sent.iter().take(TEXTS).map(|sent| (lines_of(sent), sent)).collect();
    let quoted = standing_in(&whole, texts.iter().flat_map(|(lines, _)| lines));
    let score = |lines: &BTreeSet<String>| lines.iter().filter(|line| quoted.contains(line.as_str())).count();
    let best = texts.iter().map(|(lines, sent)| (score(lines), *sent));
    // Of equal ones the newest: they come first, and `max_by_key` takes the last.
    let (lines, sent) = best.rev().max_by_key(|(lines, _)| *lines)?;
    (lines >= QUOTED_LINES).then_some(sent.conversation)
}

/// Those of `lines` that stand in `whole`, which is read once: a line is looked for only where its first octets stand.
fn standing_in<'l>(whole: &str, lines: impl Iterator<Item = &'l String>) -> HashSet<&'l str> {
    let mut sought: HashMap<&[u8], Vec<&str>> = HashMap::new();
    // Most places are told from their first eight octets to begin no line.
    let mut begun = vec![false; 1 << 12];
    let place = |start: &[u8; 8]| {
        usize::try_from(u64::from_le_bytes(*start).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52).unwrap_or(0)
    };
    for line in lines {
        let Some(start) = line.as_bytes().get(..DISTINCTIVE) else { continue };
        sought.entry(start).or_default().push(line);
        if let Some(begun) = start.first_chunk().and_then(|start| begun.get_mut(place(start))) {
            *begun = true;
        }
    }
    let mut found = HashSet::new();
    for (at, start) in whole.as_bytes().windows(DISTINCTIVE).enumerate() {
        let may = start.first_chunk().and_then(|start| begun.get(place(start))).is_some_and(|begun| *begun);
        let Some(same) = may.then(|| sought.get_mut(start)).flatten() else { continue };
        let rest = whole.as_bytes().get(at..).unwrap_or_default();
        same.retain(|line| !(rest.starts_with(line.as_bytes()) && found.insert(*line)));
    }
    found
}

fn by_subject(question: &Question<'_>, known: &Known<'_>) -> Option<ConversationId> {
    let (correspondent, subject) = (question.correspondent?, question.subject?);
    if question.is_automatic || is_nobody(correspondent) {
        return None;
    }
    let (id, used) = (known.by_subject)(question.mailbox, correspondent, subject)?;
    (question.now.duration_since(used) <= SignedDuration::from_hours(24 * SUBJECT_DAYS)).then_some(id)
}

/// A line without quotation marks in front.
fn unquoted(line: &str) -> &str {
    line.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, '>' | '|')).trim_end()
}

/// Lower case, one space between words; of "İ" without the dot that lower case sets apart.
fn folded(text: &str) -> String {
    text.split_whitespace()
        .map(|word| word.to_lowercase().replace('\u{307}', ""))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Whether nobody reads what is sent to this address.
#[must_use]
pub fn is_nobody(address: &str) -> bool {
    let local = address.split('@').next().unwrap_or_default().to_ascii_lowercase();
    let plain: String = local.chars().filter(char::is_ascii_alphanumeric).collect();
    ["noreply", "donotreply", "dontreply", "nepasrepondre", "noresponder", "nichtantworten"]
        .iter()
        .any(|word| plain.contains(word))
        || ["mailerdaemon", "postmaster", "bounce", "bounces", "automated"].contains(&plain.as_str())
}

/// Whether it is what mailers put before the subject of an answer or a forwarded message, in lower case: `re`, `aw [2]`.
#[must_use]
pub fn is_prefix(word: &str) -> bool {
    let word = word.trim().trim_end_matches(|c: char| c.is_ascii_digit() || "[]()^".contains(c)).trim();
    PREFIXES.contains(&word)
}

/// Whether a subject is that of an answer or a forwarded message.
#[must_use]
pub fn has_prefix(subject: &str) -> bool {
    let folded = folded(subject);
    without_tags(&folded).split_once([':', '：']).is_some_and(|(word, _)| is_prefix(word))
}

/// A subject without what gateways put in front: `[external] re: …`, `***spam*** re: …`, `ext: re: …`.
fn without_tags(folded: &str) -> &str {
    let mut rest = folded;
    for _ in 0..TAGS {
        let behind = [("[", "]"), ("***", "***")].into_iter().find_map(|(open, close)| {
            let (tag, behind) = rest.strip_prefix(open)?.split_once(close)?;
            (tag.len() <= TAG).then_some(behind)
        });
        let behind = behind.or_else(|| rest.strip_prefix("ext:").or_else(|| rest.strip_prefix("external:")));
        let Some(behind) = behind else { break };
        rest = behind.trim_start();
    }
    rest
}

/// So many tags are looked behind, of so many octets.
const TAGS: usize = 4;
const TAG: usize = 40;

/// What mailers in many languages put before the subject of an answer or a forwarded message.
const PREFIXES: &[&str] = &[
    "re",
    "fw",
    "fwd",
    "aw",
    "wg",
    "sv",
    "vs",
    "vb",
    "vl",
    "odp",
    "pd",
    "tr",
    "rv",
    "res",
    "enc",
    "ynt",
    "ilt",
    "antw",
    "doorst",
    "r",
    "i",
    "rif",
    "ref",
    "ant",
    "atb",
    "bls",
    "trs",
    "továbbítás",
    "válasz",
    "vá",
    "y",
    "fv",
    "hl",
    "sub",
    "回复",
    "答复",
    "回覆",
    "转发",
    "轉寄",
    "返信",
    "転送",
    "antwort",
    "antwoord",
    "betr",
    "ré",
    "ats",
    "svar",
    "trả lời",
    "balas",
    "ตอบ",
    "ตอบกลับ",
    "השב",
    "отв",
    "ответ",
    "на",
    "пересл",
    "回信",
    "전달",
    "회신",
    "שוב",
    "הועבר",
    "رد",
    "إعادة توجيه",
    "odg",
    "posr",
    "ha",
    "пер",
    "转寄",
    "chuyển tiếp",
    "ส่งต่อ",
    "pārs",
    "cvp",
    "απ",
    "πρθ",
    "σχετ",
];

/// Subjects that any two strangers may write.
const GENERAL: &[&str] = &[
    "hello",
    "hi",
    "hey",
    "hola",
    "hallo",
    "ciao",
    "bonjour",
    "question",
    "info",
    "information",
    "booking",
    "reservation",
    "reserva",
    "buchung",
    "anfrage",
    "message",
    "mail",
    "test",
    "thanks",
    "thank you",
    "gracias",
    "danke",
    "merci",
    "no subject",
    "(no subject)",
    "new message",
    "inquiry",
    "enquiry",
    "help",
    "urgent",
];

/// The subject without `Re:` and the like, lower case; none when it is empty or too general to find anything by.
#[must_use]
pub fn base_subject(subject: &str) -> Option<String> {
    let folded = folded(subject);
    let mut rest = folded.as_str();
    while let Some((word, behind)) = rest.split_once([':', '：']) {
        if !is_prefix(word) {
            break;
        }
        rest = behind.trim();
    }
    let letters = rest.chars().filter(|c| c.is_alphanumeric()).count();
    let wide = rest.chars().any(|c| u32::from(c) >= 0x2e80);
    (letters >= if wide { 2 } else { 4 } && !GENERAL.contains(&rest)).then(|| rest.to_owned())
}

#[cfg(test)]
mod tests {
    use super::has_prefix;

    #[test]
    fn subjects_of_answers_are_told_behind_what_gateways_put_in_front() {
        for subject in [
            "Re: Stay",
            "İLT: Stay",
            "[EXTERNAL] RE: Stay",
            "[EXTERN] AW: Stay",
            "EXT: RE: Stay",
            "***SPAM*** Re: Stay",
            "Odg: Stay",
            "CVP: Stay",
            "转寄：Stay",
        ] {
            assert!(has_prefix(subject), "{subject}");
        }
        for subject in ["Stay", "[EXTERNAL] Stay", "External: dinner", "Arrival: Re: six", "[re: stay"] {
            assert!(!has_prefix(subject), "{subject}");
        }
    }
}
