//! One way out of here: which smarthost and why, how urgent, when, and the message as it would leave.

use super::Question;
use super::diff;
use crate::admin::{LaneStatus, Outlook};
use crate::config::schema::{Config, Match, Smarthost};
use crate::deliver::guests::{self, Mail, Needs};
use crate::deliver::outgoing::HEADER_LIMIT;
use crate::deliver::route::{ClassBy, Routed, Router, Why};
use crate::intake::decision::{self, Arrival, Decision};
use crate::message::convert;
use crate::message::envelope::{Class, Envelope};
use crate::message::fields::HeaderSection;
use crate::message::rewrite::from::{self, Message};
use crate::queue::entry::{as_text, as_text_if_any};
use crate::queue::limits::Units;
use crate::queue::{LaneName, Part};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

/// One way out.
#[derive(Debug, Clone, Serialize)]
pub struct Way {
    /// The smarthost.
    pub smarthost: String,
    /// Who is reached by it.
    pub recipients: Vec<String>,
    /// Which rules say so.
    pub reasons: Vec<String>,
    /// `send`, `hold` or `discard`.
    pub action: &'static str,
    /// How urgent it is.
    pub class: Class,
    /// Which rule says so.
    pub class_by: String,
    /// When it may leave.
    #[serde(serialize_with = "as_text")]
    pub due: Timestamp,
    /// When it is reported instead of delivered.
    #[serde(serialize_with = "as_text_if_any")]
    pub expires_at: Option<Timestamp>,
    /// After which time, in words.
    pub expires_after: Option<String>,
    /// Whether the smarthost is switched on.
    pub enabled: bool,
    /// The envelope sender as it goes out; empty for the null sender.
    pub sender: String,
    /// What is changed for this smarthost, in words.
    pub changes: Vec<String>,
    /// Header lines as they come in and as they go out.
    pub diff: String,
    /// Octets that go out.
    pub size_bytes: usize,
    /// What the smarthost's `max_size` allows, when that is less.
    pub too_big_for: Option<u64>,
    /// What becomes of its 8-bit octets where the smarthost doesn't offer 8BITMIME, in words; none if it has none.
    pub without_8bitmime: Option<String>,
    /// Smarthosts that may stand in, in order.
    pub fallbacks: Vec<Fallback>,
    /// What the daemon knows of the lane; none when it wasn't asked or doesn't run.
    pub live: Option<Live>,
    /// What it needs of a smarthost.
    #[serde(skip)]
    pub needs: Needs,
    /// The octets that go out.
    #[serde(skip)]
    pub content: Vec<u8>,
}

/// A smarthost that may stand in for another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fallback {
    /// Its name.
    pub smarthost: String,
    /// Why it takes no such message, if that is known.
    pub refuses: Option<String>,
    /// Whether it works and lets it go within a minute, if the daemon says.
    pub has_room: Option<bool>,
    /// The envelope sender as it goes out by this one; empty for the null sender.
    pub sender: String,
    /// What is changed for this one, in words.
    pub changes: Vec<String>,
    /// The octets that go out by it.
    #[serde(skip)]
    pub content: Vec<u8>,
}

/// What the daemon knows of a way.
#[derive(Debug, Clone, Serialize)]
pub struct Live {
    /// The lane: its state, what waits, its limits.
    pub lane: LaneStatus,
    /// When it would go, and by which fallback if not by its own smarthost.
    pub outlook: Outlook,
}

/// Every way that a decision takes.
pub(super) fn ways(
    config: &Config,
    question: &Question<'_>,
    arrival: &Arrival<'_>,
    router: &Router,
    decision: Decision,
) -> Vec<Way> {
    let stored = decision.pieces(question.content).concat();
    let envelope = decision::envelope(
        question.mail.clone(),
        arrival.recipients.to_vec(),
        !question.content.is_ascii(),
        decision.eight_bit_header,
    );
    let asked_by = if decision.prepared.class.is_some() { "X-Waystation-Class" } else { "MT-PRIORITY" };
    let Decision { routed, sorted, asked, due, .. } = decision;
    let dropped = decision::dropped(&sorted.discarded, &routed, due);
    let scene = Scene { config, question, arrival, router, stored, envelope, routed, asked, asked_by };
    let leaving = sorted.parts.iter().filter_map(|part| scene.leaving(part));
    leaving.chain(dropped.iter().filter_map(|part| scene.way(part, "discard"))).collect()
}

/// What all ways of a message have in common.
struct Scene<'a> {
    config: &'a Config,
    question: &'a Question<'a>,
    arrival: &'a Arrival<'a>,
    router: &'a Router,
    /// The message as it would be kept.
    stored: Vec<u8>,
    envelope: Envelope,
    routed: Vec<Routed>,
    /// The class that the message asks for, and by what.
    asked: Option<Class>,
    asked_by: &'static str,
}

impl Scene<'_> {
    fn leaving(&self, part: &Part) -> Option<Way> {
        let smarthost = self.config.smarthosts.get(part.lane.as_str())?;
        let mut way = self.way(part, if part.held { "hold" } else { "send" })?;
        let message = Message { sender: self.envelope.sender.as_ref(), smtputf8: self.envelope.smtputf8 };
        way.goes_out(self.config, smarthost, message, self.question.content, &self.stored);
        Some(way)
    }

    /// A way without what its smarthost makes of it.
    fn way(&self, part: &Part, action: &'static str) -> Option<Way> {
        let smarthost = self.config.smarthosts.get(part.lane.as_str())?;
        let routed: Vec<&Routed> =
            part.recipients.iter().filter_map(|index| self.routed.get(*index)).collect();
        let first = routed.first()?;
        let mut reasons: Vec<String> = Vec::new();
        for each in &routed {
            let words = reason(self.config, each.why, self.question.application);
            if !reasons.contains(&words) {
                reasons.push(words);
            }
        }
        let named = part.recipients.iter().filter_map(|index| self.arrival.recipients.get(*index));
        let after = |after| format!("{:#}", SignedDuration::try_from(after).unwrap_or(SignedDuration::MAX));
        Some(Way {
            smarthost: smarthost.name.clone(),
            recipients: named.map(|each| each.address.to_string()).collect(),
            reasons,
            action,
            class: part.class,
            class_by: self.class_by(first),
            due: part.due,
            expires_at: part.expires_at,
            expires_after: first.expires_after.map(after),
            enabled: smarthost.enabled,
            sender: self.envelope.sender.as_ref().map(ToString::to_string).unwrap_or_default(),
            changes: Vec::new(),
            diff: String::new(),
            size_bytes: self.stored.len(),
            too_big_for: None,
            without_8bitmime: None,
            fallbacks: Vec::new(),
            needs: Needs::default(),
            live: None,
            content: Vec::new(),
        })
    }

    fn class_by(&self, routed: &Routed) -> String {
        // Where a class comes from no field decides.
        let header = HeaderSection::of(b"");
        let facts = decision::facts(self.arrival, &header, self.asked);
        match (self.router.class_by(routed, &facts), routed.why) {
            (ClassBy::Route, Why::Route(number)) => format!("route {number}"),
            (ClassBy::Message, _) => self.asked_by.to_owned(),
            (ClassBy::Application, _) => {
                format!("application {}", self.question.application.unwrap_or_default())
            }
            (ClassBy::Route | ClassBy::Default, _) => "nothing says otherwise".to_owned(),
        }
    }
}

impl Way {
    /// The message as it leaves by this smarthost.
    fn goes_out(
        &mut self,
        config: &Config,
        smarthost: &Smarthost,
        message: Message<'_>,
        came: &[u8],
        stored: &[u8],
    ) {
        let header = HeaderSection::within(stored, HEADER_LIMIT);
        let own = Outgoing::by(smarthost, &header, message, stored);
        if let Some(sender) = own.sender {
            self.sender = sender;
        }
        self.changes = own.changes;
        self.content = own.content;
        self.size_bytes = self.content.len();
        self.too_big_for = smarthost.max_size.filter(|most| self.size_bytes as u64 > *most);
        self.without_8bitmime =
            (!self.content.is_ascii()).then(|| match convert::to_seven_bit(&self.content) {
                Ok(_) => "its 8-bit text is encoded before it leaves, in its header section too".to_owned(),
                Err(why) => format!("it fails: {why}"),
            });
        self.diff = diff::unified(&header_lines(came), &header_lines(&self.content));
        let sender = message.sender.map(ToString::to_string).unwrap_or_default();
        let others = smarthost.fallback.iter().filter_map(|name| config.smarthosts.get(name));
        let smtputf8 = !sender.is_ascii() || !self.recipients.iter().all(|one| one.is_ascii());
        self.needs = Needs { size_bytes: stored.len() as u64, smtputf8 };
        let (needs, is_notice) = (self.needs, false);
        let mail = Mail { id: None, header: &header, sender: message.sender, needs, is_notice };
        self.fallbacks = others
            .map(|other| {
                let there = Outgoing::by(other, &header, message, stored);
                Fallback {
                    smarthost: other.name.clone(),
                    refuses: guests::objection(other, &mail).map(str::to_owned),
                    has_room: None,
                    sender: there.sender.unwrap_or_else(|| sender.clone()),
                    changes: there.changes,
                    content: there.content,
                }
            })
            .collect();
    }

    /// The smarthosts that may stand in and are not known to refuse it, in order.
    pub(super) fn accepting(&self) -> Vec<LaneName> {
        let accepting = self.fallbacks.iter().filter(|other| other.refuses.is_none());
        accepting.map(|other| LaneName::new(&other.smarthost)).collect()
    }

    /// What it adds to its lane before a message of a class: itself, unless it waits or goes behind that one.
    pub(super) fn adds_to(&self, lane: &str, class: Class) -> Units {
        let goes_before = self.smarthost == lane && self.action == "send" && self.class <= class;
        if goes_before { Units::message(self.recipients.len() as u64) } else { Units::default() }
    }
}

/// A message as it leaves by a smarthost.
struct Outgoing {
    /// Another envelope sender than its own.
    sender: Option<String>,
    changes: Vec<String>,
    content: Vec<u8>,
}

impl Outgoing {
    fn by(smarthost: &Smarthost, header: &HeaderSection<'_>, message: Message<'_>, stored: &[u8]) -> Self {
        let rewriting = smarthost.with_account(|account| from::rewrite(header, message, account));
        let mut head = rewriting.edits.head(stored);
        head.octets.extend_from_slice(stored.get(head.replaces..).unwrap_or_default());
        let sender = rewriting.sender.map(|sender| sender.to_string());
        Self { sender, changes: rewriting.changes, content: head.octets }
    }
}

fn header_lines(content: &[u8]) -> Vec<String> {
    let header = HeaderSection::within(content, HEADER_LIMIT);
    let text = String::from_utf8_lossy(header.octets());
    text.lines().map(str::to_owned).collect()
}

/// Which rule decided, in words.
pub(super) fn reason(config: &Config, why: Why, application: Option<&str>) -> String {
    match why {
        Why::Route(number) => {
            let route = number.checked_sub(1).and_then(|index| config.routes.get(index));
            let words = route.map(|route| conditions(&route.matches)).unwrap_or_default();
            format!("route {number} ({words})")
        }
        Why::Application => format!("application {}", application.unwrap_or_default()),
        Why::Default => "default smarthost".to_owned(),
        Why::Inbox => "inbox".to_owned(),
    }
}

/// What a rule matches, as its table says it.
pub(super) fn conditions(matches: &Match) -> String {
    let Match { application, sender, from, recipient, client, header } = matches;
    let mut words = Vec::new();
    let mut say = |key: &str, value: Option<String>| {
        words.extend(value.map(|value| format!("{key} = \"{value}\"")));
    };
    let pattern =
        |pattern: &Option<_>| pattern.as_ref().map(crate::config::schema::AddressPattern::to_string);
    say("application", application.clone());
    say("sender", pattern(sender));
    say("from", pattern(from));
    say("recipient", pattern(recipient));
    say("client", client.as_ref().map(ToString::to_string));
    for (name, value) in header {
        say(&format!("header.{name}"), Some(value.clone()));
    }
    if words.is_empty() { "matches all".to_owned() } else { words.join(", ") }
}
