//! Any octets to an inbox make an event that is JSON, and are nobody's unless something says whose.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::path::PathBuf;
use std::sync::LazyLock;
use waystation::config::schema::{EventFormat, Inbox, Include, Mailbox};
use waystation::config::webhook_secret::WebhookSecret;
use waystation::inbox::authentication::Authentication;
use waystation::inbox::conversation::ConversationId;
use waystation::inbox::{Envelope, Interpret, Known, interpret};
use waystation::smtp::address::Address;

static INBOX: LazyLock<(Inbox, Mailbox, WebhookSecret)> = LazyLock::new(|| {
    let address = |text: &str| Address::parse(text, false).expect("an address");
    let inbox = Inbox {
        name: "guests".to_owned(),
        address: address("inbox@users.example.com"),
        webhook: String::new(),
        secret_file: PathBuf::new(),
        allow_private: false,
        format: EventFormat::Native,
        include: Include { text: true, html: true, headers: true },
    };
    let mailbox = Mailbox {
        name: "sol".to_owned(),
        address: address("hola@casasol.example"),
        inbox: "guests".to_owned(),
        token: Some("sol".to_owned()),
        smarthost: None,
        reply_token: false,
    };
    let secret = WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a key");
    (inbox, mailbox, secret)
});

fuzz_target!(|message: &[u8]| {
    let (inbox, mailbox, secret) = &*INBOX;
    let time = "2026-11-22T15:40:12.114Z".parse().expect("a time");
    let told = interpret(&Interpret {
        id: "0b5x2hm9wv4t0",
        new_conversation: ConversationId::from_bits(1),
        message,
        envelope: Envelope { sender: None, recipient: "inbox@users.example.com", client: None },
        received_at: time,
        now: time,
        hostname: "relay.example.com",
        inbox,
        mailboxes: &[mailbox],
        assigned: None,
        channels: &[],
        authentication: &Authentication::default(),
        token_keys: &[],
        secret,
    }, &Known::NOTHING);
    if let Some(found) = &told.mailbox {
        let held = told.identification.evidence.iter().any(|each| each.value == "hola@casasol.example");
        assert!(found == "sol" && (held || told.verification.is_some()));
    }
    let event = told.event.expect("an event for each");
    let body = event.body.with_seq(7);
    let value: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(value["data"]["seq"], 7);
});
