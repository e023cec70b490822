//! What forwarded mail means: from octets and envelope to an event, purely.
//!
//! # The map
//!
//! ```text
//!  octets ─► mail            fields, texts, attachments
//!              ├─► mailbox        which mailbox forwarded it, and how sure that is
//!              ├─► verification   a provider asks whether it may forward: never a guest's message
//!              ├─► automatic      bounce, out-of-office, list, calendar
//!              ├─► conversation   which one it belongs to (token, channel)
//!              ├─► answer         the words a human wrote
//!              └─► event ─► format    the body that is posted
//! ```
//!
//! [`interpret`] does all of it, in two steps: [`understand`] what it says by itself, and [conclude](Understood::conclude)
//! what that means behind the messages before it. Promises: no clock, socket, file or log; any octets give an [`Interpretation`]; work is
//! bounded by what [`mail`] bounds. What needs the outside comes in as values: what DNS says of the hop that reached us
//! ([`authentication`]), and what the store knows ([`Known`]).

pub mod addresses;
pub mod mail;
pub mod authentication;
pub mod mailbox;
pub mod token;
pub mod channel;
pub mod conversation;
pub mod automatic;
pub mod about;
pub mod verification;
pub mod probe;
pub mod silence;
pub mod answer;
pub mod event;
pub mod format;
mod interpret;

pub use interpret::{Understood, interpret, understand, unread};

use crate::config::schema::{Channel, Inbox, Mailbox};
use crate::config::webhook_secret::WebhookSecret;
use about::{About, SentMail};
use authentication::Authentication;
use automatic::{Kind, Report};
use conversation::{Conversation, ConversationId};
use event::Event;
use jiff::Timestamp;
use std::net::IpAddr;
use token::TokenKey;

/// Everything an interpretation rests on.
#[derive(Clone, Copy)]
pub struct Interpret<'a> {
    /// Our id of the message.
    pub id: &'a str,
    /// The id that a conversation gets which begins with this message; never used before.
    pub new_conversation: ConversationId,
    /// The message from its first octet, without the fields we put on top.
    pub message: &'a [u8],
    /// How it reached us.
    pub envelope: Envelope<'a>,
    /// When we took it.
    pub received_at: Timestamp,
    /// When the event is made.
    pub now: Timestamp,
    /// Our own name.
    pub hostname: &'a str,
    /// The inbox whose address it came to.
    pub inbox: &'a Inbox,
    /// The mailboxes that forward to that inbox, and no others.
    pub mailboxes: &'a [&'a Mailbox],
    /// The mailbox an operator gave it to (`queue release --mailbox`); before every rung.
    pub assigned: Option<&'a str>,
    /// The operator's own channel rules.
    pub channels: &'a [&'a Channel],
    /// What SPF, DKIM, DMARC and ARC say of the hop that reached us.
    pub authentication: &'a Authentication,
    /// Keys of reply tokens, the newest first.
    pub token_keys: &'a [TokenKey],
    /// The key that signs events; Mailgun's own fields need it.
    pub secret: &'a WebhookSecret,
}

/// The envelope of the hop that reached us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The reverse-path without brackets; none is the null sender.
    pub sender: Option<&'a str>,
    /// The forward-path without brackets: an address of the inbox.
    pub recipient: &'a str,
    /// The client.
    pub client: Option<IpAddr>,
}

/// Look-ups in the store. Every one is within a mailbox, whose name is the first argument: a conversation never
/// crosses mailboxes. None of them may fail: what can't be looked up isn't known.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// The conversation in which the mailbox sent or got this Message-ID (with its brackets).
    pub by_message_id: &'a dyn Fn(&str, &str) -> Option<ConversationId>,
    /// The conversation of this channel key, as [`Index::channel_key`] told it.
    pub by_channel_key: &'a dyn Fn(&str, &str) -> Option<ConversationId>,
    /// Texts that the mailbox sent to this correspondent, the newest first; a few dozen are enough.
    pub sent_texts: &'a dyn Fn(&str, &str) -> Vec<SentText>,
    /// The conversation with this correspondent (second) about this base subject (third), and when it was last used.
    pub by_subject: &'a dyn Fn(&str, &str, &str) -> Option<LastUsed>,
    /// Whether the correspondent (third) took part in the conversation so far.
    pub takes_part: &'a dyn Fn(&str, ConversationId, &str) -> bool,
    /// The messages that the mailbox sent through us under this Message-ID (with its brackets), or under this id of ours;
    /// the newest first.
    pub sent: &'a dyn Fn(&str, &str) -> Vec<SentMail>,
    /// The messages that the mailbox sent through us in this conversation, the newest first; a few dozen are enough.
    pub sent_within: &'a dyn Fn(&str, ConversationId) -> Vec<SentMail>,
    /// The earlier message of the same [`DuplicateKey`], by our id.
    pub duplicate: &'a dyn Fn(&DuplicateKey) -> Option<String>,
}

impl Known<'_> {
    /// A store that knows nothing.
    pub const NOTHING: Known<'static> = Known {
        by_message_id: &|_, _| None,
        by_channel_key: &|_, _| None,
        sent_texts: &|_, _| Vec::new(),
        by_subject: &|_, _, _| None,
        takes_part: &|_, _, _| true,
        sent: &|_, _| Vec::new(),
        sent_within: &|_, _| Vec::new(),
        duplicate: &|_| None,
    };
}

/// A conversation and when it was last used.
pub type LastUsed = (ConversationId, Timestamp);

/// A text we sent for a mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentText {
    /// In which conversation.
    pub conversation: ConversationId,
    /// Its plain text.
    pub text: String,
}

/// Two messages with the same key are one message that came twice.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DuplicateKey {
    /// The mailbox; none for held mail.
    pub mailbox: String,
    /// With its brackets; when the message has none, a hash of From, Date and Subject, without brackets.
    pub message_id: String,
    /// SHA-256 of its decoded content, hex.
    pub body_hash: String,
}

/// What a message means.
#[derive(Debug, Clone)]
pub struct Interpretation {
    /// The event to post; none for a duplicate, for the mailbox's own mail, for a request to confirm forwarding, and for such a request's page.
    pub event: Option<Event>,
    /// The mailbox that forwarded it, by name; none holds the message.
    pub mailbox: Option<String>,
    /// How it was found out, for `explain`.
    pub identification: mailbox::Identification,
    /// The conversation; none while the message is held.
    pub conversation: Option<Conversation>,
    /// What the store should remember of it.
    pub index: Index,
    /// By which copies are known; none when the message has nothing that tells it from another.
    pub duplicate_key: Option<DuplicateKey>,
    /// Our id of the copy that came first.
    pub duplicate_of: Option<String>,
    /// Whether a machine wrote it.
    pub automatic: Option<Kind>,
    /// What a bounce or out-of-office says of mail that we sent.
    pub report: Option<Report>,
    /// Which mail of ours that is about.
    pub about: Option<About>,
    /// Why it makes no event though it is no copy and no provider's question.
    pub ends_here: Option<EndsHere>,
    /// A provider's question whether it may forward.
    pub verification: Option<verification::Candidate>,
    /// Whether the event left attachments out, so that they must be kept elsewhere.
    pub leaves_out: bool,
    /// Whether DNS kept back what could make another mailbox's of it, or nobody's, or another question.
    pub leans_on_dns: bool,
}

/// Why a message is nobody's news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndsHere {
    /// The mailbox sent it through us itself, and forwarded it back.
    OwnMail,
    /// It goes in a circle; it is held.
    Loop,
}

/// What a message is found by later.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index {
    /// Its own Message-ID, with brackets.
    pub message_id: Option<String>,
    /// The channel and its key, `booking:4123456789`.
    pub channel_key: Option<String>,
    /// Whom an answer goes to, lower case.
    pub correspondent: Option<String>,
    /// The subject without `Re:` and the like, lower case; none when it is too general to find anything by.
    pub subject: Option<String>,
}
