//! What an inbox would make of a message: whose it is and why, what is cut, and the event that would be posted.
//!
//! Nobody asks DNS and nothing is looked up in the store here: authentication says "none" and every conversation is
//! new, as if the message came first and from nowhere.

use super::{Question, diff};
use crate::config::schema::{Config, EventFormat, Inbox, Mailbox};
use crate::inbox::authentication::Authentication;
use crate::inbox::automatic::Kind;
use crate::inbox::conversation::ConversationId;
use crate::inbox::mailbox::Evidence;
use crate::inbox::verification::Decision;
use crate::inbox::{Envelope, Interpret, Interpretation, Known, interpret};
use crate::smtp::address::Address;
use serde::Serialize;
use serde_json::Value;

/// What one inbox makes of it.
#[derive(Debug, Clone, Serialize)]
pub struct Forwarded {
    /// The inbox.
    pub inbox: String,
    /// Its address, as RCPT would name it.
    pub recipient: String,
    /// The mailbox; none holds the message.
    pub mailbox: Option<String>,
    /// The address by which that mailbox is known beyond doubt, if it has a token.
    pub token_address: Option<String>,
    /// The rung that decided.
    pub identified_by: Option<&'static str>,
    /// 0 to 1.
    pub confidence: f32,
    /// What each rung says.
    pub evidence: Vec<Evidence>,
    /// Whether rungs name different mailboxes.
    pub is_contradicted: bool,
    /// Whether a machine wrote it.
    pub automatic: Option<Kind>,
    /// A provider's question, in words; it is no message then.
    pub verification: Option<String>,
    /// What cut the answer.
    pub cut_by: Option<String>,
    /// How sure that is, 0 to 1.
    pub cut_confidence: Option<f64>,
    /// The text and what is left of it.
    pub cut: String,
    /// Where the event is posted.
    pub webhook: String,
    /// Its type; none when none is posted.
    pub event: Option<&'static str>,
    /// Its body, `seq` zero: JSON as such, anything else as text.
    pub body: Value,
}

/// The inbox that takes mail to an address: its own, or that with `+TOKEN`.
#[must_use]
pub fn of<'c>(config: &'c Config, address: &Address) -> Option<&'c Inbox> {
    config.inboxes.values().find(|inbox| {
        let own = inbox.address.local();
        let local = address.local();
        let same = local.get(..own.len()).is_some_and(|start| start.eq_ignore_ascii_case(own));
        let rest = local.get(own.len()..).unwrap_or_default();
        same && (rest.is_empty() || rest.starts_with('+'))
            && address.domain().eq_ignore_ascii_case(inbox.address.domain())
    })
}

/// What the inbox at this address makes of the message; none when there is no such inbox, or its key is missing.
pub(super) fn forwarded(config: &Config, question: &Question<'_>, address: &Address) -> Option<Forwarded> {
    let inbox = of(config, address)?;
    let interpretation = interpretation(config, question, address, inbox)?;
    // The native event with the text shows what was cut, whatever the format is.
    let mut plain = inbox.clone();
    plain.format = EventFormat::Native;
    plain.include.text = true;
    let native = self::interpretation(config, question, address, &plain)?;
    let native = native.event.map(|event| body(&event.body.with_seq(0))).unwrap_or_default();
    let reply = native.pointer("/data/reply").cloned().unwrap_or_default();
    let lines = |value: Option<&Value>| -> Vec<String> {
        value.and_then(Value::as_str).unwrap_or_default().lines().map(str::to_owned).collect()
    };
    let Interpretation { event, mailbox, identification, automatic, verification, .. } = interpretation;
    let known = mailbox.as_ref().and_then(|name| config.mailboxes.get(name));
    Some(Forwarded {
        inbox: inbox.name.clone(),
        recipient: address.to_string(),
        token_address: known.and_then(|mailbox| token_address(inbox, mailbox)),
        mailbox,
        identified_by: identification.identified_by,
        confidence: identification.confidence,
        evidence: identification.evidence,
        is_contradicted: identification.is_contradicted,
        automatic,
        verification: verification.map(|candidate| match candidate.decision {
            Decision::Confirm(_) => {
                format!("{} asks whether it may forward; would be confirmed", candidate.provider)
            }
            Decision::Ask(reason) => {
                format!("{} asks whether it may forward; a human must look: {reason}", candidate.provider)
            }
        }),
        cut_by: reply.get("cut_by").and_then(Value::as_str).map(str::to_owned),
        cut_confidence: reply.get("confidence").and_then(Value::as_f64),
        cut: diff::unified(&lines(native.pointer("/data/text")), &lines(reply.get("text"))),
        webhook: inbox.webhook.clone(),
        event: event.as_ref().map(|event| event.kind.as_str()),
        body: event.map(|event| body(&event.body.with_seq(0))).unwrap_or_default(),
    })
}

fn interpretation(
    config: &Config,
    question: &Question<'_>,
    address: &Address,
    inbox: &Inbox,
) -> Option<Interpretation> {
    let mailboxes: Vec<&Mailbox> =
        config.mailboxes.values().filter(|mailbox| mailbox.inbox == inbox.name).collect();
    let channels: Vec<_> = config.channels.values().collect();
    Some(interpret(&Interpret {
        id: question.id,
        new_conversation: ConversationId::from_bits(0),
        message: question.content,
        envelope: Envelope {
            sender: question.mail.sender.as_ref().map(Address::as_str),
            recipient: address.as_str(),
            client: Some(question.client),
        },
        received_at: question.now,
        now: question.now,
        hostname: &config.hostname,
        inbox,
        mailboxes: &mailboxes,
        assigned: None,
        channels: &channels,
        authentication: &Authentication::default(),
        token_keys: &[],
        secret: question.secrets.get(&inbox.name)?,
        known: &Known::NOTHING,
    }))
}

fn token_address(inbox: &Inbox, mailbox: &Mailbox) -> Option<String> {
    let token = mailbox.token.as_ref()?;
    Some(format!("{}+{token}@{}", inbox.address.local(), inbox.address.domain()))
}

fn body(octets: &[u8]) -> Value {
    serde_json::from_slice(octets)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(octets).into_owned()))
}
