//! What an inbox would make of a message: whose it is and why, what is cut, and the event that would be posted.
//!
//! Nobody asks DNS and nothing is looked up in the store here: authentication says "none" and every conversation is
//! new, as if the message came first and from nowhere.

use super::{Question, diff};
use crate::config::schema::{Config, EventFormat, Inbox, Mailbox};
use crate::inbox::addresses::{self, Inboxes};
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

/// What the inbox at this address makes of the message; none when there is no such inbox, or its key is missing.
pub(super) fn forwarded(
    config: &Config,
    inboxes: &Inboxes,
    question: &Question<'_>,
    address: &Address,
) -> Option<Forwarded> {
    let inbox = config.inboxes.get(addresses::of_lane(inboxes.find(address)?)?)?;
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
    Some(interpret(
        &Interpret {
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
        },
        &Known::NOTHING,
    ))
}

fn token_address(inbox: &Inbox, mailbox: &Mailbox) -> Option<String> {
    let token = mailbox.token.as_ref()?;
    Some(format!("{}+{token}@{}", inbox.address.local(), inbox.address.domain()))
}

fn body(octets: &[u8]) -> Value {
    serde_json::from_slice(octets)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(octets).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::schema::Include;
    use crate::config::webhook_secret::WebhookSecret;
    use crate::explain::{Explanation, explain, text};
    use crate::smtp::command::Mail;
    use jiff::Timestamp;
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};

    const ANSWER: &str = "From: Ana <ana@guest.example>\r\nTo: hola@casasol.example\r\nSubject: Re: Llegada\r\n\
        Message-ID: <1@guest.example>\r\n\r\nLlegamos a las 18:00.\r\n\r\n\
        On Sun, 22 Nov 2026 at 12:00, Sol <hola@casasol.example> wrote:\r\n> When do you arrive?\r\n";

    fn config(format: EventFormat) -> Config {
        let text = "[[listener]]\naddress = \"0.0.0.0:25\"\ntrust = [\"10.0.0.0/8\"]\n\
                    [smarthost.shop]\nhost = \"smtp.example.com\"\n";
        let mut config = crate::config::parse(Path::new("/etc/waystation.toml"), text, std::iter::empty())
            .unwrap_or_else(|complaints| panic!("{complaints}"))
            .config;
        let address = |text: &str| Address::parse(text, false).unwrap();
        config.inboxes.insert(
            "guests".into(),
            Inbox {
                name: "guests".into(),
                address: address("inbox@users.example.com"),
                webhook: "https://app.example.com/hooks/mail".into(),
                secret_file: PathBuf::new(),
                allow_private: false,
                format,
                include: Include { text: false, html: false, headers: false },
            },
        );
        config.mailboxes.insert(
            "sol".into(),
            Mailbox {
                name: "sol".into(),
                address: address("hola@casasol.example"),
                inbox: "guests".into(),
                token: Some("sol".into()),
                smarthost: None,
                reply_token: false,
            },
        );
        config
    }

    fn explained(format: EventFormat, recipients: &[&str]) -> Explanation {
        let recipients: Vec<Address> =
            recipients.iter().map(|text| Address::parse(text, false).unwrap()).collect();
        let key = WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        explain(
            &config(format),
            &Question {
                content: ANSWER.as_bytes(),
                mail: Mail { sender: Address::parse("ana@guest.example", false).ok(), ..Mail::from_null() },
                recipients: &recipients,
                client: "192.0.2.1".parse().unwrap(),
                helo: "client.test",
                application: None,
                id: "0000000000000",
                now: "2026-11-22T15:40:12Z".parse().unwrap(),
                secrets: &BTreeMap::from([("guests".to_owned(), key)]),
                newest: &BTreeMap::new(),
            },
        )
    }

    #[test]
    fn a_stranger_may_write_to_an_inbox_and_to_nobody_else() {
        let both = explained(EventFormat::Native, &["INBOX+sol@Users.example.com", "bob@far.test"]);
        assert!(both.refused.as_ref().unwrap().reply.starts_with("550 5.7.1 relaying denied"), "{both:?}");
        assert!(both.ways.is_empty());
        let found = &both.inboxes[0];
        assert_eq!((found.mailbox.as_deref(), found.identified_by), (Some("sol"), Some("inbox_token")));
        assert_eq!(found.token_address.as_deref(), Some("inbox+sol@users.example.com"));
        assert_eq!(found.body["data"]["reply"]["text"], "Llegamos a las 18:00.");
        let nobody = explained(EventFormat::Native, &["inboxes@users.example.com"]);
        assert!(nobody.refused.as_ref().unwrap().reply.starts_with("550 5.1.1 "), "{nobody:?}");
    }

    #[test]
    fn what_is_cut_is_shown_whatever_the_format_is() {
        for format in [EventFormat::Native, EventFormat::Postmark, EventFormat::Mailgun, EventFormat::Raw] {
            let explanation = explained(format, &["inbox+sol@users.example.com"]);
            let found = &explanation.inboxes[0];
            assert!(found.cut.contains("-> When do you arrive?\n"), "{format:?}: {found:?}");
            assert!(!found.cut.contains("-Llegamos"), "{format:?}: {found:?}");
            assert_eq!(found.event, Some("message.received"), "{format:?}");
            assert!(found.body.to_string().contains("Llegamos"), "{format:?}: {found:?}");
        }
    }

    #[test]
    fn the_words_tell_mailbox_evidence_cut_and_event() {
        let explanation = explained(EventFormat::Native, &["inbox@users.example.com"]);
        let told = text(&explanation, Timestamp::UNIX_EPOCH);
        for line in [
            "from ana@guest.example to inbox@users.example.com, 225 octets",
            "may come in: listener 0.0.0.0:25, client 192.0.2.1 is a stranger, who may write to inboxes",
            "inbox guests: inbox@users.example.com",
            "  evidence: recipient_header hola@casasol.example",
            "    -> When do you arrive?",
            "posted to https://app.example.com/hooks/mail",
        ] {
            assert!(told.contains(line), "no {line:?} in\n{told}");
        }
    }
}
