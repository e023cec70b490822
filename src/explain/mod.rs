//! What would become of a message: who may send it, which rules change it, which smarthosts it takes and how it leaves
//! there; for an inbox, whose it is and what its webhook would be told. Pure.
//!
//! Nothing is decided here. The same functions are asked as for a message that really comes
//! ([`access`](crate::intake::access), [`decision`], [`with_account`](crate::config::schema::Smarthost::with_account),
//! [`interpret`](crate::inbox::interpret)), and their answers are put into words. What only the daemon knows, its
//! limits and what waits, is added by the command. Nothing fails: a refusal is an explanation, too.

pub mod diff;
pub mod inbox;
mod admission;
mod text;
mod way;

pub use text::text;
pub use way::{Fallback, Live, Way};

use crate::admin::{LaneStatus, Outlook, Request};
use crate::config::schema::Config;
use crate::config::webhook_secret::WebhookSecret;
use crate::deliver::route::Router;
use crate::inbox::addresses::Inboxes;
use crate::inbox::channel::{self, Guard, Newest};
use crate::intake::decision::{self, Arrival, Refused, Rules};
use crate::message::attachments;
use crate::message::envelope::{Origin, Recipient};
use crate::queue::LaneName;
use crate::queue::entry::pairs;
use crate::queue::limits::Units;
use crate::smtp::address::Address;
use crate::smtp::command::Mail;
use crate::smtp::replies;
use crate::smtp::reply::Reply;
use inbox::Forwarded;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A message that might come.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    /// Its octets; lines end in CRLF.
    pub content: &'a [u8],
    /// What MAIL would say.
    pub mail: Mail,
    /// Whom RCPT would name.
    pub recipients: &'a [Address],
    /// The client.
    pub client: IpAddr,
    /// What it would say to EHLO.
    pub helo: &'a str,
    /// The login; none is no login.
    pub application: Option<&'a str>,
    /// The id that it would get.
    pub id: &'a str,
    /// When it would come.
    pub now: Timestamp,
    /// Keys of inboxes, by name; Mailgun's own fields need them.
    pub secrets: &'a BTreeMap<String, WebhookSecret>,
    /// Where the conversations in which a recipient wrote want answers by now, as far as the daemon was asked.
    pub newest: &'a BTreeMap<String, Vec<Newest>>,
}

/// What would become of it.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    /// The envelope sender; empty for the null sender.
    pub sender: String,
    /// The envelope recipients.
    pub recipients: Vec<String>,
    /// The client.
    pub client: IpAddr,
    /// The login.
    pub application: Option<String>,
    /// Octets as it comes.
    pub size_bytes: usize,
    /// The decoded Subject.
    pub subject: Option<String>,
    /// `X-Waystation-Tag`.
    pub tag: Option<String>,
    /// `X-Waystation-Meta-…`.
    #[serde(serialize_with = "pairs")]
    pub meta: Vec<(String, String)>,
    /// Why it may come in, and by which listener; none when it may not.
    pub admitted: Option<String>,
    /// Why it may not, wholly or for some recipients.
    pub refused: Option<Refusal>,
    /// `[[rewrite]]` tables that match, with their conditions.
    pub rewrites: Vec<String>,
    /// What they change.
    pub rewritten: Vec<String>,
    /// `X-Waystation-…` fields that mean nothing; they are removed.
    pub unknown: Vec<String>,
    /// How it leaves: one for each lane, class and fate.
    pub ways: Vec<Way>,
    /// What inboxes make of it.
    pub inboxes: Vec<Forwarded>,
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The reply, as the client sees it.
    pub reply: String,
    /// Which setting says so.
    pub why: String,
}

impl Refusal {
    fn new(reply: &Reply, why: impl Into<String>) -> Self {
        Self { reply: reply.to_string(), why: why.into() }
    }
}

/// Explains a message by a configuration.
#[must_use]
pub fn explain(config: &Config, question: &Question<'_>) -> Explanation {
    let mut explanation = Explanation {
        sender: question.mail.sender.as_ref().map(ToString::to_string).unwrap_or_default(),
        recipients: question.recipients.iter().map(ToString::to_string).collect(),
        client: question.client,
        application: question.application.map(str::to_owned),
        size_bytes: question.content.len(),
        subject: None,
        tag: None,
        meta: Vec::new(),
        admitted: None,
        refused: None,
        rewrites: Vec::new(),
        rewritten: Vec::new(),
        unknown: Vec::new(),
        ways: Vec::new(),
        inboxes: Vec::new(),
    };
    let inboxes = Inboxes::new(config.inboxes.values());
    let entry = match admission::admission(config, &inboxes, question) {
        Ok(entry) => entry,
        Err(refusal) => {
            explanation.refused = Some(refusal);
            return explanation;
        }
    };
    explanation.admitted = Some(entry.words.clone());
    if let Some(refusal) = limits(config, question) {
        explanation.refused = Some(refusal);
        return explanation;
    }
    decided(config, &inboxes, question, &entry, &mut explanation);
    if explanation.refused.is_none() {
        let taken = entry.taken.iter();
        let found = taken.filter_map(|address| inbox::forwarded(config, &inboxes, question, address));
        explanation.inboxes.extend(found);
        explanation.refused = entry.denied;
    }
    explanation
}

/// Adds what the daemon knows of each way, by what it answers to [`Request::Outlook`].
///
/// # Errors
/// What asking failed with.
pub fn ask_live<E>(
    explanation: &mut Explanation,
    lanes: &[LaneStatus],
    mut ask: impl FnMut(&Request) -> Result<Option<Outlook>, E>,
) -> Result<(), E> {
    for index in 0..explanation.ways.len() {
        let Some(way) = explanation.ways.get(index).filter(|way| way.action != "discard") else { continue };
        let (own, class, needs) = (way.smarthost.clone(), way.class, way.needs);
        // A hold adds nothing to its lane, and yet somebody may want to know how it would fare.
        let itself = Units::message(way.recipients.len() as u64);
        let before =
            explanation.ways.iter().fold(Units::default(), |sum, way| sum.plus(way.adds_to(&own, class)));
        let due = Some(way.due);
        let units = if way.action == "hold" { itself } else { before };
        let inquiry = |lane: &str, Units { messages, recipients }, accepting| Request::Outlook {
            lane: LaneName::new(lane),
            class,
            messages,
            recipients,
            accepting,
            due,
            needs,
        };
        let Some(way) = explanation.ways.get_mut(index) else { continue };
        for other in &mut way.fallbacks {
            let Some(answer) = ask(&inquiry(&other.smarthost, itself, Vec::new()))? else { continue };
            other.has_room = Some(answer.has_room);
            other.refuses = other.refuses.take().or(answer.refuses);
        }
        let Some(outlook) = ask(&inquiry(&own, units, way.accepting()))? else { continue };
        let lane = lanes.iter().find(|lane| lane.lane == own).cloned();
        way.live = lane.map(|lane| way::Live { lane, outlook });
    }
    Ok(())
}

/// `[intake]` may refuse it whatever it says.
fn limits(config: &Config, question: &Question<'_>) -> Option<Refusal> {
    let intake = &config.intake;
    if question.content.len() as u64 > intake.max_message_size {
        let why = format!("intake.max_message_size is {} octets", intake.max_message_size);
        return Some(Refusal::new(&replies::TOO_BIG.reply(), why));
    }
    if question.recipients.len() > intake.max_recipients {
        let why = format!("intake.max_recipients is {}", intake.max_recipients);
        return Some(Refusal::new(&replies::TOO_MANY_RECIPIENTS.reply(), why));
    }
    None
}

/// What becomes of the recipients that are taken.
fn decided(
    config: &Config,
    inboxes: &Inboxes,
    question: &Question<'_>,
    entry: &admission::Entry,
    explanation: &mut Explanation,
) {
    let recipient = |address: &Address| Recipient { address: address.clone(), notify: None, orcpt: None };
    let recipients: Vec<Recipient> = entry.taken.iter().map(recipient).collect();
    let origin = Origin {
        client: Some(question.client),
        helo: question.helo.into(),
        application: question.application.map(Into::into),
    };
    let router =
        Router::new(config.routes.clone(), config.applications.clone(), config.default_smarthost.clone());
    let arrival = Arrival {
        id: question.id,
        mail: &question.mail,
        recipients: &recipients,
        origin: &origin,
        protocol: entry.protocol,
        tls: None,
        may_relay: entry.may_relay,
        now: question.now,
    };
    let guard = Guard::of(config);
    let rules = Rules {
        hostname: &config.hostname,
        rewrites: &config.rewrites,
        router: &router,
        inboxes,
        guard: &guard,
    };
    let decision = match decision::decide(question.content, &arrival, &rules) {
        Ok(decision) => decision,
        Err(refused) => {
            let why = match &refused {
                Refused::HeaderTooBig => "the header section goes on beyond what is looked at".to_owned(),
                Refused::Header(refusal) => refusal.to_string(),
                Refused::Route { why, .. } => way::reason(config, *why, question.application),
            };
            explanation.refused = Some(Refusal::new(&refused.reply(), why));
            return;
        }
    };
    let notes = &decision.prepared.notes;
    explanation.subject.clone_from(&notes.subject);
    explanation.tag.clone_from(&notes.tag);
    explanation.meta.clone_from(&notes.meta);
    explanation.unknown.clone_from(&decision.prepared.unknown);
    explanation.rewritten = decision.ruled.as_ref().map(|ruled| ruled.changes.clone()).unwrap_or_default();
    let table = |number: &usize| {
        let rewrite = number.checked_sub(1).and_then(|index| config.rewrites.get(index));
        rewrite.map(|rewrite| format!("rewrite {number} ({})", way::conditions(&rewrite.matches)))
    };
    explanation.rewrites = decision.rewrites.iter().filter_map(table).collect();
    let newest = |recipient: &str| question.newest.get(recipient).cloned().unwrap_or_default();
    let attachments = attachments::of(question.content).unwrap_or_default();
    let refused = channel::refused(&decision.bound, newest, &attachments);
    if let Some(reply) = channel::reply(&refused) {
        let settings: Vec<String> = refused.iter().map(|(_, refusal)| refusal.setting()).collect();
        explanation.refused = Some(Refusal::new(&reply, settings.join(", ")));
        return;
    }
    explanation.ways = way::ways(config, question, &arrival, &router, decision);
}
