//! What webhooks are told of outgoing mail, of smarthosts and of endpoints: `{"type", "timestamp", "data"}`. Pure.
//!
//! `data.id` comes first and `data.seq` behind it, as in every event; the number itself is put in by the queue.

use crate::deliver::outcome::Conclusion;
use crate::inbox::format::{CLOUD_EVENT, cloud_octets};
use crate::message::envelope::Class;
use crate::queue::{Due, EventId, EventOctets, Fate, LaneName, Life, NewEvent};
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
    let told = |(index, fate): &(usize, Fate)| {
        let recipient = due.envelope.recipients.get(*index)?;
        let before = due.open.get(*index)?.attempts;
        let (kind, reply, tried) = match fate {
            Fate::Delivered(reply) => ("message.delivered", reply, 1),
            Fate::Deferred(reply) => ("message.deferred", reply, 1),
            Fate::Failed(reply) => ("message.bounced", reply, 1),
            Fate::Expired(reply) => ("message.expired", reply, 0),
            Fate::Discarded(_) => return None,
        };
        let next = conclusion.deferred_until.filter(|_| matches!(fate, Fate::Deferred(_)));
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
    conclusion.fates.iter().filter_map(told).collect()
}

/// `message.bounced` for a recipient whose mail the smarthost had taken: a bounce came back later, and `said` is what it
/// says.
#[must_use]
pub fn bounced_later(
    endpoint: &LaneName,
    life: &Life,
    number: u32,
    said: &str,
    now: Timestamp,
) -> Option<NewEvent> {
    let entry = &life.entry;
    let of = life.standings.iter().zip(&entry.recipients);
    let (_, recipient) = of.into_iter().find(|(standing, _)| standing.recipient == number)?;
    let data = Message {
        direction: "outbound",
        smarthost: entry.lane.as_str(),
        class: class(entry.class),
        sender: Some(entry.sender.as_str()).filter(|sender| !sender.is_empty()),
        recipient: &recipient.address,
        subject: entry.subject.as_deref(),
        tag: entry.tag.as_deref(),
        meta: entry.meta.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect(),
        received_at: shown(entry.received_at),
        size_bytes: entry.size_bytes,
        attempts: recipient.attempts,
        reply: said.replace(['\r', '\n'], " "),
        next_attempt: None,
        maybe_duplicate: false,
    };
    let id = entry.id.to_string();
    Some(event(endpoint, "message.bounced", &id, Some(id.clone()), now, &data))
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

/// The body of `endpoint.test` and its media type: not kept, so without a number. `cloud_source` is the source of a `CloudEvents`
/// event, for a webhook that takes these.
#[must_use]
pub fn test(
    id: EventId,
    endpoint: &str,
    cloud_source: Option<&str>,
    now: Timestamp,
) -> (Vec<u8>, &'static str) {
    let Some(source) = cloud_source else {
        let head = head("endpoint.test", endpoint, now);
        return (format!("{head}null}}}}").into_bytes(), JSON);
    };
    let data = serde_json::json!({ "id": endpoint, "seq": null });
    // Texts always serialise.
    let body = cloud_octets(&id.to_string(), "endpoint.test", source, now, &data).unwrap_or_default();
    (body, CLOUD_EVENT)
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
    NewEvent::new(
        endpoint.clone(),
        kind,
        conversation,
        JSON,
        EventOctets::AroundSeq { before, after, name_at: None },
    )
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::envelope::{Body, Envelope, Origin, Recipient};
    use crate::message::notes::Notes;
    use crate::queue::{Content, Location, Open, QueueId};
    use crate::smtp::address::Address;
    use crate::smtp::reply::Enhanced;
    use std::sync::Arc;

    fn now() -> Timestamp {
        Timestamp::from_millisecond(1_795_000_000_123).unwrap()
    }

    fn due(recipients: &[&str], notes: Notes) -> Due {
        let recipient = |address: &&str| Recipient {
            address: Address::parse(address, true).unwrap(),
            notify: None,
            orcpt: None,
        };
        let open = |number| Open {
            number: u32::try_from(number).unwrap(),
            attempts: 1,
            tried_at: None,
            waits_until: None,
        };
        Due {
            id: QueueId::from_row(1 << 60),
            lane: "shop".into(),
            home: None,
            class: Class::Bulk,
            envelope: Arc::new(Envelope {
                sender: None,
                recipients: recipients.iter().map(recipient).collect(),
                body: Body::SevenBit,
                smtputf8: false,
                ret: None,
                envid: None,
            }),
            open: (0..recipients.len()).map(open).collect(),
            left: Vec::new(),
            received_at: Timestamp::UNIX_EPOCH,
            released_at: Timestamp::UNIX_EPOCH,
            expires_at: None,
            warned: false,
            maybe_duplicate: false,
            origin: Arc::new(Origin { client: None, helo: "".into(), application: None }),
            notes: Arc::new(notes),
            size_bytes: 7,
            content: Content::Stored(
                "0000000000001".parse().unwrap(),
                Location { segment: 1, offset: 0, length: 7 },
            ),
        }
    }

    /// The body under number 12.
    fn body(event: &NewEvent) -> String {
        match &event.octets {
            EventOctets::AroundSeq { before, after, .. } => {
                format!("{}12{}", std::str::from_utf8(before).unwrap(), std::str::from_utf8(after).unwrap())
            }
            EventOctets::Whole(_) => panic!("our events are numbered"),
        }
    }

    fn reply(code: u16, text: &'static str) -> Reply {
        Reply::new(code, Some(Enhanced(u8::try_from(code / 100).unwrap(), 1, 1)), text)
    }

    #[test]
    fn each_recipient_has_its_event_and_every_field_its_place() {
        let notes = Notes {
            subject: Some("a \"b\" \u{202e}".into()),
            tag: None,
            meta: vec![("Order".into(), "4711".into()), ("\"},{".into(), "\n\0".into())],
            ..Notes::default()
        };
        let conclusion = Conclusion {
            fates: vec![
                (0, Fate::Delivered(reply(250, "ok"))),
                (2, Fate::Deferred(reply(451, "later"))),
                (3, Fate::Expired(reply(554, "too late"))),
            ],
            deferred_until: Some(now()),
            ..Conclusion::default()
        };
        let due = due(&["a@x.test", "b@x.test", "c@x.test", "d@x.test"], notes);
        let told = outcome(&"events".into(), &due, &conclusion, now());
        assert_eq!(
            told.iter().map(|event| (&*event.kind, event.conversation.clone())).collect::<Vec<_>>(),
            ["message.delivered", "message.deferred", "message.expired"]
                .map(|kind| (kind, Some(due.id.to_string())))
        );
        assert_eq!(
            body(&told[0]),
            format!(
                "{{\"type\":\"message.delivered\",\"timestamp\":\"{:.3}\",\"data\":{{\"id\":\"{}\",\"seq\":12,\
                 \"direction\":\"outbound\",\"smarthost\":\"shop\",\"class\":\"bulk\",\"sender\":null,\
                 \"recipient\":\"a@x.test\",\"subject\":\"a \\\"b\\\" \u{202e}\",\"tag\":null,\
                 \"meta\":{{\"\\\"}},{{\":\"\\n\\u0000\",\"Order\":\"4711\"}},\
                 \"received_at\":\"1970-01-01T00:00:00.000Z\",\"size_bytes\":7,\"attempts\":2,\
                 \"reply\":\"250 2.1.1 ok\",\"next_attempt\":null,\"maybe_duplicate\":false}}}}",
                now(),
                due.id
            )
        );
        let data = |event: &NewEvent| serde_json::from_str::<Value>(&body(event)).unwrap()["data"].clone();
        assert_eq!(
            (data(&told[1])["attempts"].clone(), data(&told[2])["attempts"].clone()),
            (2.into(), 1.into())
        );
        assert!(data(&told[1])["next_attempt"].is_string() && data(&told[2])["next_attempt"].is_null());
    }

    #[test]
    fn every_other_event_is_json_with_id_and_number_first() {
        let (to, which) = ("events".into(), "gu\"ests".into());
        let all = [
            frozen(&to, &which, "535", Some("mend it"), now(), now()),
            resumed(&to, &which, now(), now()),
            endpoint_disabled(&to, &which, "410 gone", now()),
        ];
        for event in &all {
            let event: Value = serde_json::from_str(&body(event)).unwrap();
            assert_eq!((&event["data"]["id"], &event["data"]["seq"]), (&"gu\"ests".into(), &12.into()));
        }
        let told: Value = serde_json::from_slice(
            &test(EventId::from("0000000000007".parse::<QueueId>().unwrap()), "guests", None, now()).0,
        )
        .unwrap();
        assert_eq!((&told["type"], &told["data"]["seq"]), (&"endpoint.test".into(), &Value::Null));
        let (body, media) = test(
            EventId::from("0000000000007".parse::<QueueId>().unwrap()),
            "guests",
            Some("//relay.test"),
            now(),
        );
        let told: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&told["specversion"], &told["type"]), (&"1.0".into(), &"endpoint.test".into()));
        assert_eq!((&told["data"]["id"], media), (&"guests".into(), "application/cloudevents+json"));
    }
}
