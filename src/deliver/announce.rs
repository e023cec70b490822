//! What webhooks are told of outgoing mail, of smarthosts and of endpoints: `{"type", "timestamp", "data"}`. Pure.
//!
//! `data.id` comes first and `data.seq` behind it, as in every event; the number itself is put in by the queue.

use crate::deliver::outcome::Conclusion;
use crate::message::envelope::Class;
use crate::queue::{Due, EventOctets, Fate, LaneName, NewEvent};
use crate::smtp::reply::Reply;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

const JSON: &str = "application/json";

/// An outcome for one recipient.
#[derive(Serialize)]
struct Message<'a> {
    direction: &'static str,
    smarthost: &'a str,
    class: &'static str,
    sender: Option<&'a str>,
    recipient: &'a str,
    subject: Option<&'a str>,
    tag: Option<&'a str>,
    meta: Map<String, Value>,
    received_at: String,
    size_bytes: u64,
    attempts: u32,
    reply: String,
    next_attempt: Option<String>,
    maybe_duplicate: bool,
}

/// A smarthost that froze or flows again.
#[derive(Serialize)]
struct Smarthost<'a> {
    reason: Option<&'a str>,
    advice: Option<&'a str>,
    next_probe: Option<String>,
    since: Option<String>,
}

/// An endpoint that said it wants no more.
#[derive(Serialize)]
struct Disabled<'a> {
    answer: &'a str,
}

/// One event for each recipient that an attempt decided about. Those of one message are posted in their order.
#[must_use]
pub fn outcome(endpoint: &LaneName, due: &Due, conclusion: &Conclusion, now: Timestamp) -> Vec<NewEvent> {
    let event = |(index, fate): &(usize, Fate)| {
        let recipient = due.envelope.recipients.get(*index)?;
        let before = due.open.get(*index)?.attempts;
        let (kind, reply, tried) = match fate {
            Fate::Delivered(reply) => ("message.delivered", reply, 1),
            Fate::Deferred(reply) => ("message.deferred", reply, 1),
            Fate::Failed(reply) => ("message.bounced", reply, 1),
            Fate::Expired(reply) => ("message.expired", reply, 0),
            Fate::Discarded(_) => return None,
        };
        let next = conclusion.next_attempt.filter(|_| matches!(fate, Fate::Deferred(_)));
        let notes = &due.notes;
        let meta = notes.meta.iter().map(|(name, value)| (name.clone(), value.as_str().into()));
        let data = Message {
            direction: "outbound",
            smarthost: due.lane.as_str(),
            class: class(due.class),
            sender: due.envelope.sender.as_ref().map(crate::smtp::address::Address::as_str),
            recipient: recipient.address.as_str(),
            subject: notes.subject.as_deref(),
            tag: notes.tag.as_deref(),
            meta: meta.collect(),
            received_at: shown(due.received_at),
            size_bytes: due.size_bytes,
            attempts: before + tried,
            reply: one_line(reply),
            next_attempt: next.map(shown),
            maybe_duplicate: conclusion.maybe_duplicate || due.maybe_duplicate,
        };
        let id = due.id.to_string();
        Some(event(endpoint, kind, &id, Some(id.clone()), now, &data))
    };
    conclusion.fates.iter().filter_map(event).collect()
}

/// `smarthost.frozen`.
#[must_use]
pub fn frozen(
    endpoint: &LaneName,
    lane: &LaneName,
    reason: &str,
    advice: Option<&str>,
    next_probe: Timestamp,
    now: Timestamp,
) -> NewEvent {
    let data = Smarthost {
        reason: Some(reason),
        advice,
        next_probe: Some(shown(next_probe)),
        since: Some(shown(now)),
    };
    event(endpoint, "smarthost.frozen", lane.as_str(), Some(format!("smarthost {lane}")), now, &data)
}

/// `smarthost.resumed`, behind a `smarthost.frozen`.
#[must_use]
pub fn resumed(endpoint: &LaneName, lane: &LaneName, since: Timestamp, now: Timestamp) -> NewEvent {
    let data = Smarthost { reason: None, advice: None, next_probe: None, since: Some(shown(since)) };
    event(endpoint, "smarthost.resumed", lane.as_str(), Some(format!("smarthost {lane}")), now, &data)
}

/// `endpoint.disabled`, told to another endpoint.
#[must_use]
pub fn endpoint_disabled(to: &LaneName, which: &LaneName, answer: &str, now: Timestamp) -> NewEvent {
    event(
        to,
        "endpoint.disabled",
        which.as_str(),
        Some(format!("endpoint {which}")),
        now,
        &Disabled { answer },
    )
}

/// The body of `endpoint.test`: not kept, so without a number.
#[must_use]
pub fn test(endpoint: &str, now: Timestamp) -> Vec<u8> {
    let head = head("endpoint.test", endpoint, now);
    format!("{head}null}}}}").into_bytes()
}

fn event(
    endpoint: &LaneName,
    kind: &'static str,
    id: &str,
    conversation: Option<String>,
    now: Timestamp,
    data: &impl Serialize,
) -> NewEvent {
    // Structs of texts and numbers always serialise.
    let data = serde_json::to_string(data).unwrap_or_else(|_| "{}".to_owned());
    let rest = data.strip_prefix('{').unwrap_or_default();
    let before = head(kind, id, now).into();
    let after = format!("{}{rest}}}", if rest == "}" { "" } else { "," }).into();
    NewEvent::new(endpoint.clone(), kind, conversation, JSON, EventOctets::AroundSeq { before, after })
}

/// Up to where the number stands.
fn head(kind: &str, id: &str, now: Timestamp) -> String {
    let (kind, id) = (Value::from(kind), Value::from(id));
    format!("{{\"type\":{kind},\"timestamp\":\"{}\",\"data\":{{\"id\":{id},\"seq\":", shown(now))
}

/// To the millisecond.
fn shown(time: Timestamp) -> String {
    format!("{time:.3}")
}

fn one_line(reply: &Reply) -> String {
    reply.to_string().replace(['\r', '\n'], " ")
}

fn class(class: Class) -> &'static str {
    match class {
        Class::Priority => "priority",
        Class::Normal => "normal",
        Class::Bulk => "bulk",
    }
}
