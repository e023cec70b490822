//! Events in the shapes of other services, read by django-anymail: what a Django site would see.

use crate::support::foreign::{python_with, run, script};
use std::path::Path;
use waystation::config::schema::{EventFormat, Inbox, Include, Mailbox};
use waystation::config::webhook_secret::WebhookSecret;
use waystation::inbox::authentication::Authentication;
use waystation::inbox::conversation::ConversationId;
use waystation::inbox::{Envelope, Interpret, Known, interpret};
use waystation::smtp::address::Address;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// The body of the rich sample's event in this shape, with its content type.
fn event(format: EventFormat) -> (Vec<u8>, String) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/inbox/formats/rich.eml");
    let text = std::fs::read_to_string(file).unwrap();
    event_of(text.split_once("---\n").unwrap().1, format)
}

fn event_of(message: &str, format: EventFormat) -> (Vec<u8>, String) {
    let message = message.replace('\n', "\r\n");
    let address = |text: &str| Address::parse(text, false).unwrap();
    let inbox = Inbox {
        name: "guests".to_owned(),
        address: address("inbox@users.example.com"),
        webhook: String::new(),
        secret_file: std::path::PathBuf::new(),
        allow_private: false,
        format,
        include: Include { text: true, html: true, headers: false },
    };
    let mailbox = Mailbox {
        name: "sol".to_owned(),
        address: address("hola@casasol.example"),
        inbox: "guests".to_owned(),
        token: Some("sol".to_owned()),
        smarthost: None,
        reply_token: false,
    };
    let now = "2026-11-22T15:40:12.114Z".parse().unwrap();
    let told = interpret(
        &Interpret {
            id: "0b5x2hm9wv4t0",
            new_conversation: ConversationId::from_bits(1),
            message: message.as_bytes(),
            envelope: Envelope {
                sender: Some("hola+caf_=inbox+sol=users.example.com@casasol.example"),
                recipient: "inbox+sol@users.example.com",
                client: None,
            },
            received_at: now,
            now,
            hostname: "relay.example.com",
            inbox: &inbox,
            mailboxes: &[&mailbox],
            assigned: None,
            channels: &[],
            authentication: &Authentication::default(),
            token_keys: &[],
            secret: &WebhookSecret::parse(SECRET).unwrap(),
        },
        &Known::NOTHING,
    );
    let body = told.event.unwrap().body;
    (body.with_seq(4181), body.content_type)
}

#[test]
fn anymail_reads_what_the_guest_wrote() {
    let Some(python) = python_with("anymail") else { return };
    for (kind, format) in [("postmark", EventFormat::Postmark), ("mailgun", EventFormat::Mailgun)] {
        let (body, content_type) = event(format);
        let finished = run(script(&python, "read_anymail.py").args([kind, &content_type, SECRET]), &body);
        finished.expect_success();
        let seen: serde_json::Value = serde_json::from_slice(&finished.stdout).unwrap();
        assert_eq!(seen["from"], serde_json::json!(["Ana Muñoz", "ana.123456@guest.booking.com"]), "{kind}");
        let to =
            serde_json::json!([["Casa Sol", "hola@casasol.example"], ["Ruiz, Pepe", "pepe@casasol.example"]]);
        assert_eq!(seen["to"], to, "{kind}");
        assert_eq!(seen["cc"], serde_json::json!(["oficina@casasol.example"]), "{kind}");
        assert_eq!(seen["subject"], "Re: Llegada 🏢", "{kind}");
        assert_eq!(seen["date"], "2026-11-22T16:40:01+01:00", "{kind}");
        assert_eq!(seen["message_id"], "<CAF2@mail.guest.example>", "{kind}");
        assert!(
            seen["text"].as_str().unwrap().starts_with("Llegamos a las 18:00. ¿Está bien?"),
            "{kind}: {seen}"
        );
        assert!(seen["html"].as_str().unwrap().contains("gmail_quote"), "{kind}: {seen}");
        assert!(seen["stripped"].as_str().unwrap().starts_with("Llegamos a las 18:00."), "{kind}: {seen}");
        assert_eq!(seen["envelope"][1], "inbox+sol@users.example.com", "{kind}");
        assert!(
            seen["envelope"][0]
                .as_str()
                .unwrap()
                .contains("hola+caf_=inbox+sol=users.example.com@casasol.example"),
            "{kind}: {seen}"
        );
        let plan = serde_json::json!([["plan de llegada.pdf", "application/pdf", "255044462d312e370a"]]);
        assert_eq!(seen["attachments"], plan, "{kind}");
        assert_eq!(
            seen["inlines"],
            serde_json::json!([["pic.png", "image/png", "89504e470d0a1a0a"]]),
            "{kind}"
        );
    }
    let (body, content_type) = event(EventFormat::Mailgun);
    let wrong =
        run(script(&python, "read_anymail.py").args(["mailgun", &content_type, "another key"]), &body);
    assert!(!wrong.status.success() && wrong.text().contains("incorrect signature"), "{}", wrong.text());
}

#[test]
fn anymail_reads_mail_that_is_built_oddly() {
    let Some(python) = python_with("anymail") else { return };
    let none = serde_json::json!([]);
    let one = |address: &str| serde_json::json!([["", address]]);
    let file = |name: &str, kind: &str, hex: &str| serde_json::json!([[name, kind, hex]]);
    let from = "From: Ana <ana@guest.example>\nSubject: Hi\nDate: Sun, 22 Nov 2026 16:40:01 +0100\n";
    let parts = "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nHello\n--b\n\
                 Content-Type: application/pdf; name=a.pdf\nContent-Disposition: attachment\n\n--b--\n";
    for (why, fields, to, attachments) in [
        ("an attachment without content", format!("To: a@x.test\n{parts}"), one("a@x.test"), file("a.pdf", "application/pdf", "")),
        ("no recipients told", "To: undisclosed-recipients:;\n\nHello\n".into(), none.clone(), none.clone()),
        ("a recipient that is no address", "To: nobody, <x@>, a@x.test\nSender: x@\n\nHello\n".into(), one("a@x.test"), none.clone()),
        ("an empty list", "To:\nCc: \nMessage-ID:\n\nHello\n".into(), none.clone(), none.clone()),
        (
            "fields twice",
            "To: a@x.test\nTo: b@x.test\nSubject: Ho\nMessage-ID: <1@x.test>\nMessage-ID: <2@x.test>\n\
             MIME-Version: 1.0\nMIME-Version: 1.0\nContent-Type: text/plain\nContent-Type: text/html\n\nHello\n"
                .into(),
            serde_json::json!([["", "a@x.test"], ["", "b@x.test"]]),
            none.clone(),
        ),
        (
            "a file as the whole",
            "To: a@x.test\nContent-Type: application/pdf; name=a.pdf\nContent-Transfer-Encoding: base64\n\
             Content-Disposition: attachment; filename=a.pdf\n\nJVBERg==\n"
                .into(),
            one("a@x.test"),
            file("a.pdf", "application/pdf", "25504446"),
        ),
        (
            "a message within that is no UTF-8, and a Message-ID that is none",
            "To: a@x.test\nMessage-ID: <>\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nHello\n--b\n\
             Content-Type: message/rfc822; name=a.eml\nContent-Transfer-Encoding: base64\n\nRnJvbTogeAoK5Ao=\n--b--\n"
                .into(),
            one("a@x.test"),
            file("a.eml", "application/octet-stream", "46726f6d3a20780a0ae40a"),
        ),
        (
            "an address in an encoded word",
            "To: =?utf-8?q?x=40evil.example?=, a@x.test\n\nHello\n".into(),
            one("a@x.test"),
            none.clone(),
        ),
    ] {
        for (kind, format) in [("postmark", EventFormat::Postmark), ("mailgun", EventFormat::Mailgun)] {
            let (body, content_type) = event_of(&format!("{from}{fields}"), format);
            let finished = run(script(&python, "read_anymail.py").args([kind, &content_type, SECRET]), &body);
            assert!(finished.status.success(), "{kind}, {why}: {}", finished.text());
            let seen: serde_json::Value = serde_json::from_slice(&finished.stdout).unwrap();
            assert_eq!(seen["from"], serde_json::json!(["Ana", "ana@guest.example"]), "{kind}, {why}");
            assert_eq!((&seen["to"], &seen["subject"]), (&to, &"Hi".into()), "{kind}, {why}");
            assert_eq!(seen["attachments"], attachments, "{kind}, {why}");
        }
    }
}
