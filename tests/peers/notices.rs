//! Bounces through the whole program: who gets one, who doesn't, and what another mail reader makes of it.

use crate::support::client::{Client, letter};
use crate::support::folder;
use crate::support::foreign::{python_with, run, script};
use crate::support::relay::Relay;
use crate::support::smarthost::{EVERYTHING, Mail, Settings, Smarthost, WITHOUT_CHUNKING};
use serde_json::Value;
use tempfile::TempDir;

/// A smarthost that refuses recipients by their names.
fn picky(command: &str) -> Option<String> {
    let reply = match command.strip_prefix("RCPT TO:<")?.split_once('@')?.0 {
        "nobody" => "550 5.1.1 no such user here",
        "busy" => "450 4.2.1 mailbox busy, later",
        "full" => "552 5.2.2 mailbox full",
        _ => return None,
    };
    Some(reply.into())
}

fn station(extensions: &'static [&'static str]) -> (Relay, Smarthost, TempDir) {
    let folder = folder();
    let settings = Settings { extensions, reply: Box::new(picky), ..Settings::default() };
    let smarthost = Smarthost::start(settings);
    let config = format!(
        "hostname = \"relay.test\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [smarthost.out]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\n",
        smarthost.address.port()
    );
    (Relay::start(folder.path(), &config), smarthost, folder)
}

fn send(relay: &Relay, sender: &str, recipients: &[&str], subject: &str) {
    let mut client = Client::connect(relay.plain());
    client.begin(sender, "RET=HDRS ENVID=order-4711", recipients);
    assert!(client.data(&letter(subject)).starts_with("250"));
}

/// A bounce, read by Python's email package.
fn read(mail: &Mail) -> Option<Value> {
    let finished = run(&mut script(&python_with("email")?, "read_bounce.py"), &mail.content);
    finished.expect_success();
    Some(serde_json::from_slice(&finished.stdout).unwrap())
}

/// The states of the only message's recipients, from the journal.
fn fates(relay: &Relay, subject: &str) -> Vec<(String, String)> {
    let messages = relay.json(&["journal", "--json"]);
    let message = messages.as_array().unwrap().iter().find(|message| message["subject"] == subject).unwrap();
    let recipients = message["recipients"].as_array().unwrap().iter();
    recipients
        .map(|one| (one["address"].as_str().unwrap().into(), one["state"].as_str().unwrap().into()))
        .collect()
}

#[test]
fn a_refused_recipient_bounces_to_the_sender_by_the_same_lane() {
    let (relay, smarthost, _folder) = station(EVERYTHING);
    send(&relay, "shop@shop.test", &["nobody@guest.test"], "refused");
    let mail = smarthost.mails(1).remove(0);
    assert!(mail.sender.starts_with("<>"), "{}", mail.sender);
    assert!(mail.recipients[0].starts_with("<shop@shop.test>"), "{:?}", mail.recipients);
    let Some(bounce) = read(&mail) else { return };
    assert_eq!(bounce["defects"], Value::Array(vec![]));
    assert_eq!(bounce["type"], "multipart/report");
    assert_eq!(bounce["report_type"], "delivery-status");
    assert_eq!(bounce["to"], "shop@shop.test");
    assert_eq!(bounce["auto_submitted"], "auto-replied");
    assert_eq!(bounce["parts"][1], "message/delivery-status");
    assert_eq!(bounce["message"]["Reporting-MTA"], "dns; relay.test");
    assert_eq!(bounce["message"]["Original-Envelope-Id"], "order-4711");
    assert_eq!(bounce["recipients"].as_array().unwrap().len(), 1);
    let about = &bounce["recipients"][0];
    assert_eq!(about["Final-Recipient"], "rfc822; nobody@guest.test");
    assert_eq!(about["Action"], "failed");
    assert_eq!(about["Status"], "5.1.1");
    assert!(about["Diagnostic-Code"].as_str().unwrap().contains("no such user here"), "{about}");
    assert!(bounce["words"].as_str().unwrap().contains("nobody@guest.test"));
    let original = bounce["original"].as_str().unwrap();
    assert!(original.contains("Subject: refused") && !original.contains("Hello."), "RET=HDRS: {original}");
}

#[test]
fn recipients_meet_their_fates_one_by_one() {
    for extensions in [EVERYTHING, WITHOUT_CHUNKING] {
        let (relay, smarthost, _folder) = station(extensions);
        let recipients = ["ana@guest.test", "nobody@guest.test", "busy@guest.test", "full@guest.test"];
        send(&relay, "shop@shop.test", &recipients, "mixed");
        let mails = smarthost.mails(2);
        let mut letters = mails.iter().filter(|mail| mail.sender.starts_with("<shop@shop.test>"));
        assert!(letters.next().unwrap().recipients[0].starts_with("<ana@guest.test>"));
        assert!(letters.next().is_none(), "the letter left once");
        let bounce = mails.iter().find(|mail| mail.sender.starts_with("<>")).unwrap();
        if let Some(bounce) = read(bounce) {
            let told: Vec<&str> = bounce["recipients"]
                .as_array()
                .unwrap()
                .iter()
                .map(|about| about["Final-Recipient"].as_str().unwrap())
                .collect();
            assert_eq!(
                told,
                ["rfc822; nobody@guest.test", "rfc822; full@guest.test"],
                "one bounce about both"
            );
        }
        relay.logged(&["message delivered", "recipient=\"shop@shop.test\""]);
        assert_eq!(
            fates(&relay, "mixed"),
            [
                ("ana@guest.test".into(), "delivered".into()),
                ("nobody@guest.test".into(), "failed".into()),
                ("busy@guest.test".into(), "deferred".into()),
                ("full@guest.test".into(), "failed".into()),
            ]
        );
    }
}

#[test]
fn nobody_is_told_who_did_not_want_to_be() {
    let (relay, smarthost, _folder) = station(EVERYTHING);
    let rows = [
        ("shop@shop.test", "nobody@guest.test> NOTIFY=NEVER", "never"),
        ("shop@shop.test", "nobody@guest.test> NOTIFY=SUCCESS", "success-only"),
        ("", "nobody@guest.test", "null-sender"),
    ];
    for (sender, recipient, subject) in rows {
        send(&relay, sender, &[recipient], subject);
    }
    // A bounce that must come, behind those that mustn't.
    send(&relay, "last@shop.test", &["nobody@guest.test"], "last");
    let mail = smarthost.mails(1).remove(0);
    assert!(mail.recipients[0].starts_with("<last@shop.test>"), "{:?}", mail.recipients);
    for _ in 0..4 {
        relay.logged(&["message failed"]);
    }
    assert_eq!(relay.count_logged(&["message failed"]), 4);
    assert_eq!(relay.count_logged(&["sender notified"]), 1);
    assert_eq!(smarthost.count(), 1);
}

#[test]
fn a_bounce_that_is_refused_ends_there() {
    let (relay, smarthost, _folder) = station(EVERYTHING);
    send(&relay, "nobody@shop.test", &["nobody@guest.test"], "double");
    relay.logged(&["message failed", "nobody@shop.test"]);
    assert_eq!(relay.count_logged(&["sender notified"]), 1);
    assert_eq!(smarthost.count(), 0);
}

#[test]
fn wishes_go_on_where_they_are_understood_and_are_met_here_where_not() {
    // With DSN the smarthost is asked.
    let (relay, smarthost, _folder) = station(EVERYTHING);
    send(
        &relay,
        "shop@shop.test",
        &["ana@guest.test> NOTIFY=SUCCESS ORCPT=rfc822;a+2Bb@guest.test"],
        "passed-on",
    );
    let mail = smarthost.mails(1).remove(0);
    assert!(mail.sender.contains("RET=HDRS") && mail.sender.contains("ENVID=order-4711"), "{}", mail.sender);
    assert_eq!(mail.recipients, ["<ana@guest.test> NOTIFY=SUCCESS ORCPT=rfc822;a+2Bb@guest.test"]);
    // Without it we say that it was handed on (RFC 3461 §5.2.2).
    let without: &'static [&'static str] = &["PIPELINING", "8BITMIME"];
    let (relay, smarthost, _folder) = station(without);
    send(&relay, "shop@shop.test", &["ana@guest.test> NOTIFY=SUCCESS"], "relayed");
    let mails = smarthost.mails(2);
    assert_eq!(mails[0].recipients, ["<ana@guest.test>"]);
    let Some(notice) = read(&mails[1]) else { return };
    assert_eq!(notice["recipients"][0]["Action"], "relayed");
}
