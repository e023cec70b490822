//! Events: what is posted to a webhook, byte for byte. Names and their order are the contract's and never change.
//!
//! An event is made once and posted unchanged as often as it takes. Its place in the inbox's row, `seq`, is allotted later,
//! in the transaction that keeps it; [`EventBody`] leaves exactly that gap.

use super::about::About;
use super::authentication::Authentication;
use super::automatic::Kind;
use super::conversation::{Conversation, ConversationId, MatchedBy};
use super::mail::Party;
use super::mailbox::Evidence;
use super::verification::Candidate;
use crate::config::schema::EventFormat;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, serde::Deserialize)]
pub enum EventType {
    /// A forwarded message, its mailbox known.
    #[serde(rename = "message.received")]
    MessageReceived,
    /// A message to an inbox that is nobody's as far as can be seen.
    #[serde(rename = "message.held")]
    MessageHeld,
    /// The smarthost took a message of ours.
    #[serde(rename = "message.delivered")]
    MessageDelivered,
    /// It will be tried again.
    #[serde(rename = "message.deferred")]
    MessageDeferred,
    /// It came back.
    #[serde(rename = "message.bounced")]
    MessageBounced,
    /// It was given up.
    #[serde(rename = "message.expired")]
    MessageExpired,
    /// A provider's question was answered.
    #[serde(rename = "verification.confirmed")]
    VerificationConfirmed,
    /// A provider's question waits for a human.
    #[serde(rename = "verification.action_needed")]
    VerificationActionNeeded,
    /// Forwarding that was regular stopped.
    #[serde(rename = "mailbox.silent")]
    MailboxSilent,
    /// A smarthost refuses our login.
    #[serde(rename = "smarthost.frozen")]
    SmarthostFrozen,
    /// It takes mail again.
    #[serde(rename = "smarthost.resumed")]
    SmarthostResumed,
    /// A webhook said it is gone, or failed for days.
    #[serde(rename = "endpoint.disabled")]
    EndpointDisabled,
    /// Somebody tries the webhook.
    #[serde(rename = "endpoint.test")]
    EndpointTest,
}

impl EventType {
    /// As `type` says it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MessageReceived => "message.received",
            Self::MessageHeld => "message.held",
            Self::MessageDelivered => "message.delivered",
            Self::MessageDeferred => "message.deferred",
            Self::MessageBounced => "message.bounced",
            Self::MessageExpired => "message.expired",
            Self::VerificationConfirmed => "verification.confirmed",
            Self::VerificationActionNeeded => "verification.action_needed",
            Self::MailboxSilent => "mailbox.silent",
            Self::SmarthostFrozen => "smarthost.frozen",
            Self::SmarthostResumed => "smarthost.resumed",
            Self::EndpointDisabled => "endpoint.disabled",
            Self::EndpointTest => "endpoint.test",
        }
    }
}

/// An event, ready but for its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventType,
    /// What is posted.
    pub body: EventBody,
}

/// The body of a post with gaps: what is sent is `before`, the number in decimal digits, and `after`; in a form that names
/// the event itself its name stands within `before`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventBody {
    /// Up to where the number stands.
    pub before: Vec<u8>,
    /// From behind it.
    pub after: Vec<u8>,
    /// Where in `before` the event's own name belongs.
    pub name_at: Option<usize>,
    /// For the `Content-Type` field.
    pub content_type: String,
}

impl EventBody {
    /// The bytes that are posted under this number, with a stand-in for the event's name.
    #[must_use]
    pub fn with_seq(&self, seq: u64) -> Vec<u8> {
        let digits = seq.to_string();
        let mut whole = Vec::with_capacity(self.before.len() + digits.len() + self.after.len());
        let (head, rest) = self.before.split_at_checked(self.name_at.unwrap_or_default()).unwrap_or_default();
        whole.extend_from_slice(head);
        if self.name_at.is_some() {
            whole.extend_from_slice(b"evt_0000000000000");
        }
        whole.extend_from_slice(rest);
        whole.extend_from_slice(digits.as_bytes());
        whole.extend_from_slice(&self.after);
        whole
    }

    /// Parts bytes in which the number zero stands behind the first `mark`.
    pub(super) fn parted(bytes: &[u8], mark: &[u8], content_type: &str) -> Self {
        let end = memchr::memmem::find(bytes, mark).map_or(bytes.len(), |at| at + mark.len());
        let (before, behind) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
        Self {
            before: before.to_vec(),
            after: behind.strip_prefix(b"0").unwrap_or(behind).to_vec(),
            name_at: None,
            content_type: content_type.to_owned(),
        }
    }
}

/// `data` of `message.received` and `message.held`.
#[derive(Debug, Clone, Serialize)]
pub struct MessageData<'a> {
    /// Our id.
    pub id: &'a str,
    /// Always zero here: see [`EventBody`].
    pub seq: u64,
    /// The inbox's name.
    pub inbox: &'a str,
    /// Always `inbound`.
    pub direction: &'static str,
    /// Whose it is; none when held.
    pub mailbox: Option<MailboxData<'a>>,
    /// None when held.
    pub conversation: Option<ConversationData>,
    /// The author.
    pub from: Option<&'a Party>,
    /// Where the author wants answers, if elsewhere.
    pub reply_to: Option<&'a Party>,
    /// Main recipients.
    pub to: &'a [Party],
    /// The others.
    pub cc: &'a [Party],
    /// Where an answer must go.
    pub reply_address: Option<&'a str>,
    /// Decoded.
    pub subject: &'a str,
    /// RFC 3339 with the author's offset.
    pub date: Option<&'a str>,
    /// RFC 3339, UTC.
    pub received_at: String,
    /// The words that were written.
    pub reply: ReplyData<'a>,
    /// The whole text.
    pub text: Option<&'a str>,
    /// The whole HTML.
    pub html: Option<&'a str>,
    /// Whether something was too long or too much.
    pub truncated: bool,
    /// With brackets.
    pub message_id: Option<&'a str>,
    /// With brackets.
    pub in_reply_to: &'a [String],
    /// With brackets, oldest first.
    pub references: &'a [String],
    /// Name and value of every field, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<Vec<(String, String)>>,
    /// Everything that isn't the text.
    pub attachments: Vec<AttachmentData<'a>>,
    /// SPF, DKIM, DMARC, ARC of the hop that reached us.
    pub authentication: &'a Authentication,
    /// Whether a machine wrote it.
    pub automatic: AutomaticData,
    /// The message of ours that a bounce or an answering machine speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<AboutData<'a>>,
    /// How it reached us.
    pub envelope: EnvelopeData<'a>,
    /// Our id of the copy that came first; always none in what is posted by itself.
    pub duplicate_of: Option<&'a str>,
}

/// `mailbox` of a message.
#[derive(Debug, Clone, Serialize)]
pub struct MailboxData<'a> {
    /// Its name in the configuration.
    pub name: &'a str,
    /// Its address.
    pub address: &'a str,
    /// The rung that decided.
    pub identified_by: &'a str,
    /// 0 to 1.
    pub confidence: f32,
    /// What every rung says.
    pub evidence: &'a [Evidence],
}

/// `conversation` of a message.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ConversationData {
    /// Its name.
    pub id: ConversationId,
    /// Whether it begins here.
    pub is_new: bool,
    /// How it was found.
    pub matched_by: MatchedBy,
}

impl From<Conversation> for ConversationData {
    fn from(found: Conversation) -> Self {
        Self { id: found.id, is_new: found.is_new, matched_by: found.matched_by }
    }
}

/// `reply` of a message.
#[derive(Debug, Clone, Serialize)]
pub struct ReplyData<'a> {
    /// The words.
    pub text: &'a str,
    /// The same as HTML.
    pub html: Option<&'a str>,
    /// The rule that cut.
    pub cut_by: Option<&'a str>,
    /// 0 to 1.
    pub confidence: f32,
    /// What was taken off as a signature.
    pub signature: Option<&'a str>,
}

/// One of `attachments`.
#[derive(Debug, Clone, Serialize)]
pub struct AttachmentData<'a> {
    /// Ours; by it the content can be fetched.
    pub id: String,
    /// With an extension, never the same twice.
    pub filename: &'a str,
    /// Media type.
    pub content_type: &'a str,
    /// Decoded.
    pub size_bytes: usize,
    /// Hex.
    pub sha256: &'a str,
    /// Without brackets.
    pub content_id: Option<&'a str>,
    /// `attachment` or `inline`.
    pub disposition: &'static str,
    /// Base64; none when all attachments together are too much.
    pub content: Option<String>,
}

/// `automatic` of a message.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct AutomaticData {
    /// Whether a machine wrote it.
    pub is_automatic: bool,
    /// Which kind of machine.
    pub kind: Option<Kind>,
}

/// `about` of a message: what we sent, and what is said of it.
#[derive(Debug, Clone, Serialize)]
pub struct AboutData<'a> {
    /// Its Message-ID, with brackets.
    pub message_id: &'a str,
    /// Our id of it.
    pub id: String,
    /// The recipient that is meant; of several the one that fared worst.
    pub recipient: Option<&'a str>,
    /// `5.1.1`
    pub status: Option<&'a str>,
}

impl<'a> From<&'a About> for AboutData<'a> {
    fn from(about: &'a About) -> Self {
        let first = about.affected.first();
        Self {
            message_id: &about.message_id,
            id: about.id.to_string(),
            recipient: first.map(|first| first.address.as_str()),
            status: first.and_then(|first| first.status.as_deref()),
        }
    }
}

/// `envelope` of a message.
#[derive(Debug, Clone, Serialize)]
pub struct EnvelopeData<'a> {
    /// Empty for the null sender.
    pub sender: &'a str,
    /// The inbox's address, with its token.
    pub recipient: &'a str,
    /// The client's address.
    pub client: Option<String>,
}

/// Who an event that isn't a message's is about, and when.
#[derive(Debug, Clone, Copy)]
pub struct Notice<'a> {
    /// Unique among the events of its kind.
    pub id: &'a str,
    /// Our own name.
    pub hostname: &'a str,
    /// When it happened.
    pub now: Timestamp,
    /// How the webhook wants it; what isn't a forwarded message is JSON in every format.
    pub format: EventFormat,
}

/// `data` of the events about mail that we send.
#[derive(Debug, Clone, Serialize)]
pub struct DeliveryData<'a> {
    /// The smarthost.
    pub smarthost: &'a str,
    /// The mailbox it was sent for.
    pub mailbox: Option<&'a str>,
    /// Its conversation.
    pub conversation: Option<ConversationId>,
    /// Its Message-ID, with brackets.
    pub message_id: Option<&'a str>,
    /// The reverse-path.
    pub sender: &'a str,
    /// Whom it is about.
    pub recipient: &'a str,
    /// How often it was tried.
    pub attempts: u32,
    /// The smarthost's reply, or what a later bounce said.
    pub reply: Option<&'a str>,
    /// RFC 3339, UTC; when it is tried again.
    pub next_attempt: Option<String>,
    /// `X-Waystation-Tag`.
    pub tag: Option<&'a str>,
    /// `X-Waystation-Meta-NAME`.
    pub meta: &'a BTreeMap<String, String>,
}

/// `data` of the events about a provider's question.
#[derive(Debug, Clone, Serialize)]
pub struct VerificationData<'a> {
    /// The inbox.
    pub inbox: &'a str,
    /// `gmail`, `zoho`, …
    pub provider: &'a str,
    /// The mailbox, if the account is one.
    pub mailbox: Option<&'a str>,
    /// The account that wants to forward.
    pub requested_by: Option<&'a str>,
    /// To be typed in.
    pub code: Option<&'a str>,
    /// To be opened; none once it is confirmed.
    pub links: &'a [String],
    /// Why a human must; a word for programs.
    pub reason: Option<String>,
    /// The same for people.
    pub advice: Option<String>,
}

impl<'a> VerificationData<'a> {
    /// That a human must look at this question. `why`: a word and a sentence.
    #[must_use]
    pub fn action_needed(
        inbox: &'a str,
        candidate: &'a Candidate,
        why: &(impl Serialize + ToString),
    ) -> Self {
        let word = serde_json::to_value(why).ok().and_then(|word| word.as_str().map(str::to_owned));
        Self {
            reason: word,
            advice: Some(why.to_string()),
            links: &candidate.links,
            ..Self::of(inbox, candidate)
        }
    }

    /// That it was confirmed.
    #[must_use]
    pub fn confirmed(inbox: &'a str, candidate: &'a Candidate) -> Self {
        Self { code: None, ..Self::of(inbox, candidate) }
    }

    fn of(inbox: &'a str, candidate: &'a Candidate) -> Self {
        Self {
            inbox,
            provider: candidate.provider,
            mailbox: candidate.mailbox.as_deref(),
            requested_by: candidate.requested_by.as_deref(),
            code: candidate.code.as_deref(),
            links: &[],
            reason: None,
            advice: None,
        }
    }
}

/// `data` of `mailbox.silent`.
#[derive(Debug, Clone, Serialize)]
pub struct SilenceData<'a> {
    /// The inbox.
    pub inbox: &'a str,
    /// The mailbox.
    pub mailbox: &'a str,
    /// Its address.
    pub address: &'a str,
    /// Whether the silence began or ended.
    pub state: SilenceState,
    /// The last message before it: RFC 3339, UTC.
    pub last_received_at: String,
    /// Between two messages, when it was regular; none where that isn't known any more.
    pub usual_interval_seconds: Option<u64>,
    /// The first message behind it; none while it lasts.
    pub ended_at: Option<String>,
}

/// How a silence is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SilenceState {
    /// The mailbox fell silent.
    Began,
    /// Its mail comes again.
    Ended,
}

/// `data` of the events about a smarthost.
#[derive(Debug, Clone, Serialize)]
pub struct SmarthostData<'a> {
    /// Its name.
    pub smarthost: &'a str,
    /// Why.
    pub cause: &'a str,
}

/// `data` of the events about a webhook itself.
#[derive(Debug, Clone, Serialize)]
pub struct EndpointData<'a> {
    /// The inbox; none for `[events]`.
    pub inbox: Option<&'a str>,
    /// Why.
    pub cause: &'a str,
}

/// Any event but a forwarded message's.
///
/// # Errors
/// When `data` has no JSON form, which none of this file's types can have.
pub fn notice(
    kind: EventType,
    data: &impl Serialize,
    about: &Notice<'_>,
) -> Result<Event, serde_json::Error> {
    #[derive(Serialize)]
    struct Numbered<'a, T> {
        id: &'a str,
        seq: u64,
        #[serde(flatten)]
        rest: &'a T,
    }
    let data = Numbered { id: about.id, seq: 0, rest: data };
    let body = if about.format == EventFormat::CloudEvents {
        let source = format!("//{}", about.hostname);
        super::format::cloud_event(kind, &source, about.now, &data)?
    } else {
        let bytes = super::format::native(kind, about.now, &data)?;
        EventBody::parted(&bytes, super::format::SEQ, super::format::JSON)
    };
    Ok(Event { kind, body })
}

/// RFC 3339 in UTC with milliseconds.
#[must_use]
pub fn shown(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}
