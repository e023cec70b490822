//! Bounces through the whole program: who gets one, who doesn't, and what another mail reader makes of it.

use crate::support::client::{Client, letter};
use crate::support::foreign::{python_with, run, script};
use crate::support::relay::Relay;
use crate::support::smarthost::{EVERYTHING, Mail, Settings, Smarthost, WITHOUT_CHUNKING};
use crate::support::{folder, until};
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
    station_with(extensions, picky)
}

fn station_with(
    extensions: &'static [&'static str],
    reply: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
) -> (Relay, Smarthost, TempDir) {
    let folder = folder();
    let settings = Settings { extensions, reply: Box::new(reply), ..Settings::default() };
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

/// Waits until the journal tells this of the only message's recipients: outcomes are written behind their lines in the log.
fn meet(relay: &Relay, subject: &str, expected: &[(&str, &str)], why: &str) {
    let told = || fates(relay, subject);
    let is_so = |told: &[(String, String)]| {
        told.iter().map(|(address, state)| (address.as_str(), state.as_str())).eq(expected.iter().copied())
    };
    until(&format!("{why}: {expected:?}"), || is_so(&told()).then_some(()));
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
        let expected = [
            ("ana@guest.test", "delivered"),
            ("nobody@guest.test", "failed"),
            ("busy@guest.test", "deferred"),
            ("full@guest.test", "failed"),
        ];
        meet(&relay, "mixed", &expected, "mixed");
    }
}

#[test]
fn a_recipient_at_which_the_smarthost_breaks_off_takes_no_other_along() {
    let one_by_one: &'static [&'static str] = &["8BITMIME"];
    for extensions in [EVERYTHING, WITHOUT_CHUNKING, one_by_one] {
        for answer in ["421 4.3.2 not now", "close", "what?"] {
            let (relay, smarthost, _folder) = station_with(extensions, move |command| {
                command.starts_with("RCPT TO:<poison").then(|| answer.to_owned())
            });
            send(
                &relay,
                "shop@shop.test",
                &["ana@guest.test", "poison@guest.test", "ben@guest.test"],
                "torn",
            );
            if answer == "what?" && extensions == EVERYTHING {
                // The content was out already, and is taken: nobody knows, and content is not sent ahead any more.
                smarthost.mails(1);
                relay.logged_times(&["message deferred"], 3);
                let all = ["ana@guest.test", "poison@guest.test", "ben@guest.test"];
                meet(&relay, "torn", &all.map(|one| (one, "deferred")), answer);
                relay.command(&["queue", "retry", "--all"]).expect_success();
                assert_eq!(smarthost.mails(2).len(), 2);
                assert_eq!(relay.json(&["queue", "list", "--json"]).as_array().unwrap().len(), 1);
            }
            let mail = smarthost.mails(1).remove(0);
            let recipients: Vec<_> =
                mail.recipients.iter().map(|one| one.split('>').next().unwrap()).collect();
            assert_eq!(recipients, ["<ana@guest.test", "<ben@guest.test"], "{extensions:?} {answer}");
            relay.logged(&["message delivered", "ben@guest.test"]);
            let expected = [
                ("ana@guest.test", "delivered"),
                ("poison@guest.test", "deferred"),
                ("ben@guest.test", "delivered"),
            ];
            meet(&relay, "torn", &expected, &format!("{extensions:?} {answer}"));
            assert_eq!(relay.count_logged(&["lane stopped"]), 0, "{extensions:?} {answer}");
        }
    }
}

#[test]
fn only_what_needs_it_is_held_up_by_a_smarthost_without_smtputf8() {
    for (extensions, raw) in [(&["PIPELINING"][..], "5.6.3"), (&["PIPELINING", "8BITMIME"], "5.1.1")] {
        let (relay, smarthost, _folder) = station(extensions);
        let mut client = Client::connect(relay.plain());
        // The header section is in UTF-8, an address in it too.
        client.begin("shop@shop.test", "SMTPUTF8", &["bąd@guest.test"]);
        let content = String::from_utf8(letter("both")).unwrap().replace("ana@", "bąd@");
        assert!(client.data(content.as_bytes()).starts_with("250"));
        let Some(bounce) = read(&smarthost.mails(1)[0]) else { return };
        assert_eq!(bounce["recipients"][0]["Final-Recipient"], "utf-8; bąd@guest.test");
        assert!(bounce["words"].as_str().unwrap().contains("offers no SMTPUTF8"), "{bounce}");
        assert!(bounce["original"].as_str().unwrap().contains("To: bąd@guest.test"), "{bounce}");
        // One address of several is.
        client.begin("shop@shop.test", "SMTPUTF8", &["ana@guest.test", "bąd@guest.test"]);
        let content =
            String::from_utf8(letter("turtle")).unwrap().replace("Subject: turtle", "Subject: żółw");
        assert!(client.data(content.as_bytes()).starts_with("250"));
        let mails = smarthost.mails(3);
        let sent = mails.iter().find(|mail| mail.recipients[0].starts_with("<ana@guest.test>")).unwrap();
        let sent = String::from_utf8(sent.content.clone()).unwrap();
        assert!(sent.is_ascii() && sent.contains("Subject: =?utf-8?"), "{sent}");
        // Octets that are no UTF-8, in a name.
        client.begin("shop@shop.test", "", &["nobody@guest.test"]);
        let content = [b"From: \xff\xfe <shop@shop.test>\r\n".as_slice(), &letter("raw")[22..]].concat();
        assert!(client.data(&content).starts_with("250"));
        let mails = smarthost.mails(4);
        let Some(bounce) = read(&mails[3]) else { return };
        assert_eq!(bounce["parts"][2], "text/rfc822-headers");
        assert_eq!(bounce["recipients"][0]["Status"], raw);
        // The sender's address; a bounce couldn't reach it either.
        client.begin("żółw@shop.test", "SMTPUTF8", &["ana@guest.test"]);
        assert!(client.data(&letter("sender")).starts_with("250"));
        relay.logged(&["message failed", "recipient=\"ana@guest.test\"", "SMTPUTF8"]);
    }
}

#[test]
fn an_original_recipient_in_utf8_goes_on_in_ascii() {
    let (relay, smarthost, _folder) = station(&["PIPELINING", "DSN"]);
    let mut client = Client::connect(relay.plain());
    client.begin("shop@shop.test", "SMTPUTF8", &["ana@guest.test> ORCPT=utf-8;ża@guest.test"]);
    assert!(client.data(&letter("alias")).starts_with("250"));
    let mail = smarthost.mails(1).remove(0);
    assert_eq!(mail.recipients, ["<ana@guest.test> ORCPT=utf-8;\\x{17C}a@guest.test"]);
    client.begin("shop@shop.test", "SMTPUTF8", &["nobody@guest.test> ORCPT=utf-8;ża@guest.test"]);
    assert!(client.data(&letter("gone")).starts_with("250"));
    let Some(bounce) = read(&smarthost.mails(2)[1]) else { return };
    assert_eq!(bounce["recipients"][0]["Original-Recipient"], "utf-8;\\x{17C}a@guest.test");
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
    relay.logged_times(&["message failed"], 4);
    relay.logged_times(&["sender notified"], 1);
    assert_eq!(smarthost.count(), 1);
}

#[test]
fn a_bounce_that_is_refused_ends_there() {
    let (relay, smarthost, _folder) = station(EVERYTHING);
    send(&relay, "nobody@shop.test", &["nobody@guest.test"], "double");
    relay.logged(&["message failed", "nobody@shop.test"]);
    relay.logged_times(&["sender notified"], 1);
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
