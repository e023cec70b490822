//! Forwarded mail: taken from anybody, read, and posted.

use crate::home::{Home, LIMIT, NOWHERE, text};
use crate::odd::Odd;
use crate::receiver::{self, Receiver, SECRET};
use crate::smtp::{LETTER, Smtp};
use serde_json::Value;
use std::time::Instant;

/// A guest's answer as Gmail writes and forwards it.
const ANSWER: &str = "From: Ana <ana@guest.test>\r\nTo: hola@casasol.test\r\nSubject: Re: Llegada\r\n\
    Date: Sun, 22 Nov 2026 16:40:01 +0100\r\nMessage-ID: <answer-1@guest.test>\r\nIn-Reply-To: <ours-1@casasol.test>\r\n\
    MIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n\r\n\
    <div dir=\"ltr\">Llegamos a las 18:00.</div><br><div class=\"gmail_quote\"><div dir=\"ltr\" class=\"gmail_attr\">\
    El dom, 22 nov 2026 a las 12:00, Casa Sol (&lt;<a href=\"mailto:hola@casasol.test\">hola@casasol.test</a>&gt;) escribi\u{f3}:<br></div>\
    <blockquote class=\"gmail_quote\" style=\"margin:0 0 0 .8ex\">\u{bf}A qu\u{e9} hora llegan?</blockquote></div>\r\n";

/// A listener that trusts nobody, and one that trusts this machine.
const LISTENERS: &str = "[[listener]]\naddress = \"127.0.0.1:0\"\ntrust = []\n\
    [[listener]]\naddress = \"127.0.0.2:0\"\ntrust = [\"127.0.0.0/8\"]\n";

fn home(receiver: &Receiver) -> Home {
    let url = receiver.url();
    let home = Home::new(&format!(
        "{LISTENERS}{NOWHERE}[inbox.guests]\naddress = \"inbox@users.test\"\nwebhook = \"{url}\"\n\
         secret_file = \"guests.secret\"\nallow_private = true\n\
         [mailbox.sol]\naddress = \"hola@casasol.test\"\ninbox = \"guests\"\ntoken = \"sol\"\n\
         [mailbox.mar]\naddress = \"hola@casamar.test\"\ninbox = \"guests\"\ntoken = \"mar\"\n"
    ));
    home.write("guests.secret", &format!("{SECRET}\n"));
    home
}

#[test]
fn a_strangers_mail_to_an_inbox_becomes_a_signed_event_with_the_answer_alone() {
    let receiver = Receiver::taking();
    let home = home(&receiver);
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    let reply = smtp.submit("ana@guest.test", &["inbox+sol@users.test"], ANSWER);
    assert!(reply.starts_with("250 2.0.0 ") && reply.contains("queued for inbox:guests"), "{reply}");
    let request = receiver.requests(1).remove(0);
    request.verify(SECRET);
    let event = request.json();
    assert_eq!(text(&event, "type"), "message.received");
    let data = &event["data"];
    assert_eq!((data["seq"].as_u64(), text(data, "inbox")), (Some(1), "guests".into()));
    assert_eq!(text(&data["mailbox"], "name"), "sol");
    assert_eq!(text(&data["mailbox"], "identified_by"), "inbox_token");
    assert_eq!(text(&data["reply"], "text"), "Llegamos a las 18:00.");
    assert_eq!(text(&data["reply"], "cut_by"), "html:gmail_quote");
    assert_eq!(text(&data["from"], "address"), "ana@guest.test");
    assert_eq!(text(data, "message_id"), "<answer-1@guest.test>");
    assert_eq!(text(&data["envelope"], "recipient"), "inbox+sol@users.test");
}

#[test]
fn other_addresses_of_the_domain_are_unknown_and_relaying_stays_denied() {
    let receiver = Receiver::taking();
    let home = home(&receiver);
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    assert!(smtp.say("MAIL FROM:<ana@guest.test>").starts_with("250 "));
    for (recipient, reply) in [
        ("inboxes@users.test", "550 5.1.1 "),
        ("ana@elsewhere.test", "550 5.7.1 "),
        ("INBOX+mar@Users.Test", "250 "),
    ] {
        assert!(smtp.say(&format!("RCPT TO:<{recipient}>")).starts_with(reply), "{recipient}");
    }
}

#[test]
fn nobodys_mail_is_held_with_an_event_and_an_operator_can_say_whose_it_is() {
    let receiver = Receiver::taking();
    let home = home(&receiver);
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    smtp.post("someone@far.test", &["inbox@users.test"], LETTER);
    let held = receiver.requests(1).remove(0).json();
    assert_eq!(text(&held, "type"), "message.held");
    assert!(held["data"]["mailbox"].is_null());
    let deadline = Instant::now() + LIMIT;
    let id = loop {
        let queued = home.json(["queue", "list", "--state", "held", "--json"]);
        if let Some(message) = queued.first() {
            break text(message, "id");
        }
        assert!(Instant::now() < deadline);
    };
    let told = home.cli(["queue", "release", "--mailbox", "nobody", &id]).failed(64);
    assert!(told.contains("no such mailbox") && told.contains("mar, sol"), "{told}");
    home.cli(["queue", "release", "--mailbox", "sol", &id]).good();
    let released = receiver.requests(2).remove(1).json();
    assert_eq!(text(&released, "type"), "message.received");
    assert_eq!(text(&released["data"]["mailbox"], "name"), "sol");
    assert_eq!(text(&released["data"]["mailbox"], "identified_by"), "operator");
    assert_eq!(released["data"]["seq"].as_u64(), Some(2));
}

#[test]
fn one_message_for_two_inbox_addresses_and_a_guest_goes_to_each() {
    let receiver = Receiver::taking();
    let home = home(&receiver);
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.listener(1));
    let reply = smtp.submit(
        "ana@guest.test",
        &["inbox+sol@users.test", "eva@far.test", "inbox+mar@users.test"],
        ANSWER,
    );
    assert!(reply.starts_with("250-"), "{reply}");
    let requests = receiver.requests(2);
    let mut mailboxes: Vec<String> =
        requests.iter().map(|request| text(&request.json()["data"]["mailbox"], "name")).collect();
    mailboxes.sort();
    assert_eq!(mailboxes, ["mar", "sol"]);
    let queued = home.json(["queue", "list", "--json"]);
    assert_eq!(queued.iter().map(|message| text(message, "lane")).collect::<Vec<_>>(), ["shop"]);
}

#[test]
fn the_mail_of_a_removed_inbox_is_held_and_never_sent_or_bounced() {
    let receiver = Receiver::taking();
    let home = home(&receiver);
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    smtp.post("someone@far.test", &["inbox@users.test"], LETTER);
    receiver.requests(1);
    home.configure(&format!("{LISTENERS}{NOWHERE}"));
    home.cli(["reload"]).good();
    let lanes = home.json(["status", "--json"]);
    let lane = lanes.iter().find(|lane| lane["lane"] == "inbox:guests").unwrap();
    assert_eq!((text(lane, "state"), lane["held"].as_u64()), ("removed".into(), Some(1)));
    assert!(text(lane, "reason").contains("no inbox of this name"));
    let told = home.cli(["queue", "reroute", "--to", "shop", "--lane", "inbox:guests", "--yes"]).good();
    assert!(told.starts_with("0 messages"), "{told}");
}

const AIRBNB: &str = "From: Ana <express@airbnb.com>\r\nReply-To: ADDRESS\r\nTo: hola@casasol.test\r\n\
    Subject: RE: Reservation HMABCD1234\r\nMessage-ID: <ADDRESS>\r\n\r\nHola\r\n";

/// A message with one attachment.
fn with_file(from: &str, to: &str, name: &str, kib: usize) -> String {
    let content = format!("{}\r\n", "QUJD".repeat(19)).repeat(kib * 1024 / 57 + 1);
    format!(
        "From: Casa Sol <{from}>\r\nTo: {to}\r\nSubject: Plan\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nHere it is.\r\n--b\r\n\
         Content-Type: application/octet-stream; name=\"{name}\"\r\nContent-Transfer-Encoding: base64\r\n\r\n{content}--b--\r\n"
    )
}

#[test]
fn what_a_booking_channel_would_drop_is_refused_at_submission_and_explained_the_same() {
    let receiver = Receiver::taking();
    let url = receiver.url();
    let home = Home::new(&format!(
        "{LISTENERS}[smarthost.sol]\nhost = \"127.0.0.1\"\nport = 1\ntls = \"none\"\nauth = \"none\"\ndefault = true\n\
         [smarthost.other]\nhost = \"127.0.0.1\"\nport = 1\ntls = \"none\"\nauth = \"none\"\n\
         [[route]]\nsender = \"team@casasol.test\"\nrecipient = \"other@guest.booking.com\"\nsmarthost = \"other\"\n\
         [channel.villas]\ndomains = [\"guest.villas.test\"]\nmax_attachments = \"100 KiB\"\nblocked_extensions = [\"pages\"]\n\
         [inbox.guests]\naddress = \"inbox@users.test\"\nwebhook = \"{url}\"\nsecret_file = \"guests.secret\"\nallow_private = true\n\
         [mailbox.sol]\naddress = \"hola@casasol.test\"\ninbox = \"guests\"\ntoken = \"sol\"\nsmarthost = \"sol\"\n"
    ));
    home.write("guests.secret", &format!("{SECRET}\n"));
    let daemon = home.start();
    for (count, address) in [(1, "a1@reply.airbnb.com"), (2, "b2@reply.airbnb.com")] {
        let mut stranger = Smtp::hello(daemon.address());
        stranger.post("express@airbnb.com", &["inbox+sol@users.test"], &AIRBNB.replace("ADDRESS", address));
        assert_eq!(receiver.requests(count)[count - 1].json()["data"]["reply_address"], address);
    }
    let (mailbox, team) = ("hola@casasol.test", "team@casasol.test");
    let guest = "ana.1@guest.booking.com";
    for (from, to, name, kib, expected) in [
        (mailbox, guest, "plan.pdf", 500, "250 2.0.0 "),
        (team, guest, "plan.pdf", 1, "550 5.7.1 channel_from: <ana.1@guest.booking.com>: booking drops"),
        (team, "other@guest.booking.com", "plan.zip", 1, "250 2.0.0 "),
        (team, "guest@far.test", "plan.zip", 1, "250 2.0.0 "),
        (
            mailbox,
            guest,
            "Plan.ZIP",
            1,
            "554 5.6.1 channel_attachment_type: <ana.1@guest.booking.com>: booking refuses",
        ),
        (mailbox, "b@guest.villas.test", "plan.zip", 90, "250 2.0.0 "),
        (mailbox, "b@guest.villas.test", "plan.zip", 400, "552 5.3.4 channel_attachment_size: "),
        (mailbox, "a1@reply.airbnb.com", "plan.pdf", 1, "550 5.1.6 channel_old_address: "),
        (mailbox, "b2@reply.airbnb.com", "plan.pdf", 1, "250 2.0.0 "),
        (mailbox, "never-seen@reply.airbnb.com", "plan.pdf", 1, "250 2.0.0 "),
    ] {
        let letter = with_file(from, to, name, kib);
        home.write("letter.eml", &letter);
        let file = home.path("letter.eml");
        let told = home.cli([
            "explain",
            file.to_str().unwrap(),
            "--from",
            from,
            "--to",
            to,
            "--client",
            "127.0.0.1",
        ]);
        let told = told.good();
        let mut smtp = Smtp::hello(daemon.listener(1));
        let reply = smtp.submit(from, &[to], &letter);
        assert!(reply.starts_with(expected), "{to} {name}: {reply}");
        if expected.starts_with("250") {
            assert!(!told.contains("would be refused"), "{to} {name}: {told}");
        } else {
            assert!(
                told.contains(&format!("would be refused {}", reply.trim_end())),
                "{to} {name}: {reply}\n{told}"
            );
        }
    }
    assert!(home.json(["queue", "list", "--json", "--recipient", "a1@reply.airbnb.com"]).is_empty());
}

/// As SMTP can carry it, with a Message-ID that no other has.
fn carried(mail: &[u8], number: usize) -> Vec<u8> {
    let mut content = format!("Message-ID: <odd-{number}@far.test>\r\n").into_bytes();
    for line in mail
        .split(|octet| matches!(octet, b'\r' | b'\n'))
        .filter(|line| !line.is_empty() || number.is_multiple_of(2))
    {
        if line.starts_with(b".") {
            content.push(b'.');
        }
        content.extend_from_slice(line);
        content.extend_from_slice(b"\r\n");
    }
    content
}

#[test]
fn odd_and_hostile_mail_is_an_event_each_and_costs_no_memory() {
    const MAILS: usize = 600;
    let receiver = Receiver::taking();
    let home = home(&receiver);
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    let odd = Odd::new();
    let mut taken = 0;
    for number in 0..MAILS {
        assert!(smtp.say("MAIL FROM:<ana@guest.test> BODY=8BITMIME").starts_with("250 "));
        assert!(smtp.say("RCPT TO:<inbox+sol@users.test>").starts_with("250 "));
        assert!(smtp.say("DATA").starts_with("354 "));
        smtp.send(&carried(&odd.mail(number), number));
        let reply = smtp.say(".");
        taken += usize::from(reply.starts_with("250 2.0.0 "));
        let is_bounded =
            ["250 2.0.0 ", "552 5.3.4 ", "554 5.4.6 "].iter().any(|start| reply.starts_with(start));
        assert!(is_bounded, "number {number}: {reply}");
    }
    assert!(taken > MAILS * 95 / 100, "{taken} of {MAILS}");
    let journal = home.journal_when(&["delivered"]);
    assert_eq!(journal.len(), taken);
    let is_copy = |message: &&Value| text(&message["recipients"][0], "reply").contains("a copy of");
    let copies = journal.iter().filter(is_copy).count();
    assert!(copies < taken / 20, "{copies} copies");
    let seen = receiver.requests(taken - copies);
    let mut seqs: Vec<u64> =
        seen.iter().map(|request| request.json()["data"]["seq"].as_u64().unwrap()).collect();
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
    assert!(seen.iter().all(|request| request.kind() == "message.received"));
    assert!(daemon.peak_memory_kib() < 300 << 10, "{} KiB", daemon.peak_memory_kib());
}

#[test]
fn the_end_of_a_silence_is_told_and_shown() {
    let receiver = Receiver::taking();
    let home = home(&receiver);
    let mut daemon = home.start();
    assert_eq!(daemon.stop(), 0);
    // As the watch leaves it when a mailbox that was regular fell silent.
    let since = 1_790_000_000_i64;
    let index = rusqlite::Connection::open(home.path("state/queue.db")).unwrap();
    index.execute("INSERT INTO silence(mailbox,since) VALUES('sol',?1)", [since * 1000]).unwrap();
    drop(index);
    let daemon = home.start();
    let list = |home: &Home| {
        home.json(["inbox", "list", "--json"]).into_iter().find(|one| one["mailbox"] == "sol").unwrap()
    };
    assert_eq!(list(&home)["silent_since"], "2026-09-21T14:13:20Z");
    assert!(home.cli(["inbox", "list"]).good().contains("since 2026-09-21"));
    let mut smtp = Smtp::hello(daemon.address());
    smtp.post("ana@guest.test", &["inbox+sol@users.test"], ANSWER);
    let events = receiver.requests(2);
    let told = events.iter().find(|request| request.kind() == "mailbox.silent").unwrap().json();
    let data = &told["data"];
    assert_eq!((text(data, "mailbox"), text(data, "state")), ("sol".into(), "ended".into()));
    assert_eq!(text(data, "last_received_at"), "2026-09-21T14:13:20.000Z");
    assert_eq!(text(data, "id"), format!("sol-{since}-ended"));
    assert!(!data["ended_at"].is_null());
    let shown = list(&home);
    assert!(shown["silent_since"].is_null());
    assert_eq!(shown["last_silence"]["since"], "2026-09-21T14:13:20Z");
    assert!(home.cli(["inbox", "list"]).good().contains("was, 2026-09-21"));
    smtp.post("ana@guest.test", &["inbox+sol@users.test"], &ANSWER.replace("answer-1", "answer-2"));
    let kinds: Vec<String> = receiver.requests(3).iter().map(receiver::Request::kind).collect();
    assert_eq!(kinds.iter().filter(|kind| *kind == "mailbox.silent").count(), 1, "told once");
}
