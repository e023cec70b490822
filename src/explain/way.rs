//! One way out of here: which smarthost and why, how urgent, when, and the message as it would leave.

use super::Question;
use super::diff;
use crate::admin::{LaneStatus, Outlook};
use crate::config::schema::{Config, Match, Smarthost};
use crate::deliver::fallback;
use crate::deliver::outgoing::{self, HEADER_LIMIT};
use crate::deliver::route::{ClassBy, Routed, Router, Why};
use crate::intake::decision::{self, Arrival, Decision};
use crate::message::envelope::Class;
use crate::message::fields::HeaderSection;
use crate::message::rewrite::from::{self, Message};
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
    pub due: Timestamp,
    /// When it is reported instead of delivered.
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
    /// Smarthosts that may stand in, in order.
    pub fallbacks: Vec<Fallback>,
    /// What the daemon knows of the lane; none when it wasn't asked or doesn't run.
    pub live: Option<Live>,
    /// The octets that go out.
    #[serde(skip)]
    pub content: Vec<u8>,
}

/// A smarthost that may stand in for another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fallback {
    /// Its name.
    pub smarthost: String,
    /// Whether it takes the message's From as it is.
    pub accepts_from: bool,
    /// Whether it works and has room now, if the daemon says.
    pub has_room: Option<bool>,
}

/// What the daemon knows of a way.
#[derive(Debug, Clone, Serialize)]
pub struct Live {
    /// The lane: its state, what waits, its limits.
    pub lane: LaneStatus,
    /// When the limits would let it go, and whether it would look for another way.
    pub outlook: Outlook,
    /// The fallback that it would take now.
    pub fallback: Option<String>,
}

/// Every way that a decision takes.
pub(super) fn ways(
    config: &Config,
    question: &Question<'_>,
    arrival: &Arrival<'_>,
    router: &Router,
    decision: Decision,
) -> Vec<Way> {
    let stored: Vec<u8> =
        decision.prepared.pieces(decision.edited(question.content)).collect::<Vec<_>>().concat();
    let envelope = decision::envelope(
        question.mail.clone(),
        arrival.recipients.to_vec(),
        !question.content.is_ascii(),
        decision.eight_bit_header,
    );
    let header = HeaderSection::within(question.content, HEADER_LIMIT);
    let facts = decision::facts(arrival, &header, decision.asked);
    let Decision { routed, sorted, due, .. } = decision;
    let discarded = decision::dropped(&sorted.discarded, &routed, due);
    let parts = sorted.parts.into_iter().map(|part| (part, false));
    let parts = parts.chain(discarded.into_iter().map(|part| (part, true)));
    parts
        .filter_map(|(part, is_dropped)| {
            let smarthost = config.smarthosts.get(part.lane.as_str())?;
            let mine: Vec<&Routed> = part.recipients.iter().filter_map(|index| routed.get(*index)).collect();
            let mut reasons: Vec<String> = Vec::new();
            for each in &mine {
                let words = reason(config, each.why, question.application);
                if !reasons.contains(&words) {
                    reasons.push(words);
                }
            }
            let first = mine.first()?;
            let addresses = part.recipients.iter().filter_map(|index| arrival.recipients.get(*index));
            let mut way = Way {
                smarthost: smarthost.name.clone(),
                recipients: addresses.map(|each| each.address.to_string()).collect(),
                reasons,
                action: if is_dropped {
                    "discard"
                } else if part.held {
                    "hold"
                } else {
                    "send"
                },
                class: part.class,
                class_by: match router.class_by(first, &facts) {
                    ClassBy::Route => reason(config, first.why, None),
                    ClassBy::Message if question.mail.priority.is_some() => {
                        "X-Waystation-Class or MT-PRIORITY".to_owned()
                    }
                    ClassBy::Message => "X-Waystation-Class".to_owned(),
                    ClassBy::Application => {
                        format!("application {}", question.application.unwrap_or_default())
                    }
                    ClassBy::Default => "nothing says otherwise".to_owned(),
                },
                due: part.due,
                expires_at: part.expires_at,
                expires_after: first.expires_after.map(|after| {
                    let after = SignedDuration::try_from(after).unwrap_or(SignedDuration::MAX);
                    format!("{after:#}")
                }),
                enabled: smarthost.enabled,
                sender: envelope.sender.as_ref().map(ToString::to_string).unwrap_or_default(),
                changes: Vec::new(),
                diff: String::new(),
                size_bytes: stored.len(),
                too_big_for: None,
                fallbacks: Vec::new(),
                live: None,
                content: Vec::new(),
            };
            if !is_dropped {
                let message = Message { sender: envelope.sender.as_ref(), smtputf8: envelope.smtputf8 };
                way.goes_out(config, smarthost, message, question.content, &stored);
            }
            Some(way)
        })
        .collect()
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
        let rewriting = outgoing::with_account(smarthost, |account| from::rewrite(&header, message, account));
        if let Some(sender) = &rewriting.sender {
            self.sender = sender.to_string();
        }
        self.changes = rewriting.changes;
        let mut head = rewriting.edits.head(stored);
        head.octets.extend_from_slice(stored.get(head.replaces..).unwrap_or_default());
        self.content = head.octets;
        self.size_bytes = self.content.len();
        self.too_big_for = smarthost.max_size.filter(|most| self.size_bytes as u64 > *most);
        self.diff = diff::unified(&header_lines(came), &header_lines(&self.content));
        let others = smarthost.fallback.iter().filter_map(|name| config.smarthosts.get(name));
        self.fallbacks = others
            .map(|other| Fallback {
                smarthost: other.name.clone(),
                accepts_from: fallback::accepts(other, &header),
                has_room: None,
            })
            .collect();
    }

    /// Adds what the daemon knows. `has_room`: whether each fallback has, in their order.
    pub fn is_live(&mut self, lane: LaneStatus, outlook: Outlook, has_room: &[bool]) {
        for (other, room) in self.fallbacks.iter_mut().zip(has_room) {
            other.has_room = Some(*room);
        }
        let open = |other: &&Fallback| other.accepts_from && other.has_room == Some(true);
        let stuck = outlook.stuck.is_some();
        let fallback =
            self.fallbacks.iter().find(open).filter(|_| stuck).map(|other| other.smarthost.clone());
        self.live = Some(Live { lane, outlook, fallback });
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
