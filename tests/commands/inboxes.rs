//! Forwarded mail: taken from anybody, read, and posted.

use crate::home::{Home, LIMIT, NOWHERE, text};
use crate::odd::Odd;
use crate::receiver::{self, OTHER_SECRET, Receiver, SECRET};
use crate::smarthost::Smarthost;
use crate::smtp::{LETTER, Smtp};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
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
fn a_probe_that_cannot_leave_says_what_it_waits_for() {
    let receiver = Receiver::taking();
    let home = home(&receiver);
    home.extend("smarthost = \"shop\"\n");
    let _daemon = home.start();
    let told = home.cli(["inbox", "test", "mar", "--timeout", "1h"]).failed(69);
    assert!(told.contains("the letter waits in the queue: smarthost.shop is disabled"), "{told}");
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
        ("\"inbox+mar\"@users.test", "250 "),
        ("\"inbox mar\"@users.test", "550 5.1.1 "),
    ] {
        assert!(smtp.say(&format!("RCPT TO:<{recipient}>")).starts_with(reply), "{recipient}");
    }
}

#[test]
fn an_inbox_takes_mail_without_a_login_where_all_else_needs_one() {
    let receiver = Receiver::taking();
    let (url, hash) = (receiver.url(), crate::login::hash());
    let home = Home::new(&format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\nauth = \"required\"\ntrust = []\n\
         [application.desk]\npassword_hash = \"{hash}\"\n{NOWHERE}\
         [inbox.guests]\naddress = \"inbox@users.test\"\nwebhook = \"{url}\"\nsecret_file = \"guests.secret\"\n\
         allow_private = true\n[mailbox.sol]\naddress = \"hola@casasol.test\"\ninbox = \"guests\"\ntoken = \"sol\"\n"
    ));
    home.write("guests.secret", &format!("{SECRET}\n"));
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    assert!(smtp.say("MAIL FROM:<ana@guest.test>").starts_with("250 "));
    assert!(smtp.say("RCPT TO:<ana@elsewhere.test>").starts_with("530 5.7.0 "));
    assert!(smtp.say("RCPT TO:<inboxes@users.test>").starts_with("550 5.1.1 "));
    assert!(smtp.say("RSET").starts_with("250 "));
    let reply = smtp.submit("ana@guest.test", &["inbox+sol@users.test"], ANSWER);
    assert!(reply.starts_with("250 2.0.0 "), "{reply}");
    assert_eq!(text(&receiver.requests(1).remove(0).json(), "type"), "message.received");
}

#[test]
fn strangers_fill_a_quarter_of_the_spool_and_mail_that_names_a_mailbox_goes_on() {
    let receiver = Receiver::taking();
    let home = home(&receiver);
    let file = std::fs::read_to_string(home.path("waystation.toml")).unwrap();
    let small = "[spool]\nmax_size = \"2 MiB\"\nmin_free = \"0 B\"\n[intake]\nmax_message_size = \"1 MiB\"\n";
    home.write("waystation.toml", &format!("{file}{small}"));
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    let large = format!("{LETTER}{}", "0123456789\r\n".repeat(50_000));
    smtp.post("someone@far.test", &["inbox@users.test"], &large);
    assert_eq!(text(&receiver.requests(1).remove(0).json(), "type"), "message.held");
    assert!(smtp.say("MAIL FROM:<someone@far.test>").starts_with("250 "));
    for (recipient, reply) in [
        ("inbox@users.test", "452 4.3.1 "),
        ("inbox+nobody@users.test", "452 4.3.1 "),
        ("inbox+sol@users.test", "250 "),
        ("ana@elsewhere.test", "550 5.7.1 "),
    ] {
        assert!(smtp.say(&format!("RCPT TO:<{recipient}>")).starts_with(reply), "{recipient}");
    }
    assert!(smtp.say("RSET").starts_with("250 "));
    let told = home.cli(["status"]).good();
    assert!(told.contains("inbox:guests: what waits or is held of inboxes takes a quarter"), "{told}");
    let id = text(&home.json(["queue", "list", "--state", "held", "--json"])[0], "id");
    home.cli(["queue", "delete", "--yes", &id]).good();
    smtp.post("someone@far.test", &["inbox@users.test"], LETTER);
    assert!(!home.cli(["status"]).good().contains("takes a quarter"));
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
    let file = std::fs::read_to_string(home.path("waystation.toml")).unwrap();
    let another = file.clone()
        + "[inbox.staff]\naddress = \"staff@users.test\"\nwebhook = \"https://x.test/\"\nsecret_file = \"guests.secret\"\n\
           [mailbox.zet]\naddress = \"zet@casasol.test\"\ninbox = \"staff\"\n";
    home.write("waystation.toml", &another);
    home.cli(["reload"]).good();
    let told = home.cli(["queue", "release", "--mailbox", "zet", &id]).failed(64);
    assert!(told.contains("it is a mailbox of inbox staff"), "{told}");
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
    let journal = home.journal_when(&["delivered", "held"]);
    assert_eq!(journal.len(), taken);
    let count = |said: &str| {
        let said = |message: &&Value| text(&message["recipients"][0], "reply").contains(said);
        journal.iter().filter(said).count()
    };
    let (copies, loops) = (count("a copy of"), count("goes in a circle"));
    assert!(copies + loops < taken / 20, "{copies} copies, {loops} loops");
    let seen = receiver.requests(taken - copies - loops);
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

/// A mail with this as its only attachment.
fn with_attachment(message_id: &str, content: &[u8]) -> String {
    let lines: Vec<String> = content.chunks(57).map(|line| STANDARD.encode(line)).collect();
    format!(
        "From: ana@guest.test\r\nTo: hola@casasol.test\r\nSubject: passport\r\nMessage-ID: <{message_id}>\r\n\
         MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\
         Content-Type: text/plain\r\n\r\nHere is the scan.\r\n--b\r\nContent-Type: application/pdf\r\n\
         Content-Disposition: attachment; filename=scan.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n{}\r\n--b--\r\n",
        lines.join("\r\n")
    )
}

/// Octets that look like no others.
fn noise(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|at| u8::try_from((at * 31 + at / 253) % 251).unwrap() ^ seed).collect()
}

fn sha256(octets: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, octets);
    digest.as_ref().iter().map(|octet| format!("{octet:02x}")).collect()
}

#[test]
fn an_attachment_that_the_event_left_out_can_be_fetched_also_after_a_kill() {
    let receiver = Receiver::taking();
    let home = home(&receiver);
    let daemon = home.start();
    let content = noise(1_600_000, 0);
    let mut smtp = Smtp::hello(daemon.address());
    smtp.post("ana@guest.test", &["inbox+sol@users.test"], &with_attachment("scan@guest.test", &content));
    let event = receiver.requests(1).remove(0).json();
    let attachment = &event["data"]["attachments"][0];
    assert!(attachment["content"].is_null(), "{attachment}");
    assert_eq!(text(attachment, "sha256"), sha256(&content));
    let id = text(attachment, "id");
    let fetched = home.path("scan.pdf");
    let fetch = |id: &str| home.cli(["inbox", "attachment", id, "--output", fetched.to_str().unwrap()]);
    home.journal_when(&["delivered"]);
    fetch(&id).good();
    assert_eq!(sha256(&std::fs::read(&fetched).unwrap()), text(attachment, "sha256"));
    drop(daemon);
    std::fs::remove_file(&fetched).unwrap();
    let daemon = home.start();
    fetch(&id).good();
    assert_eq!(std::fs::read(&fetched).unwrap(), content);
    let printed = home.command(["inbox", "attachment", &id]).output().unwrap();
    assert!(printed.status.success() && printed.stdout == content);
    for unknown in [format!("{id}0"), "1m82s94mf0000-1".to_owned(), "nonsense".to_owned()] {
        let told = fetch(&unknown).failed(65);
        assert!(told.contains("no attachment of this id"), "{told}");
    }
    // What an event holds whole isn't kept, and says so.
    let mut smtp = Smtp::hello(daemon.address());
    let small =
        smtp.post("ana@guest.test", &["inbox+sol@users.test"], &with_attachment("small@guest.test", b"abc"));
    receiver.requests(2);
    home.journal_when(&["delivered"]);
    let told = fetch(&format!("{small}-1")).failed(69);
    assert!(told.contains("content is gone"), "{told}");
}

#[test]
fn kept_attachments_take_a_quarter_of_the_spool_and_the_oldest_go_first() {
    let receiver = Receiver::taking();
    let home = home(&receiver);
    home.extend(
        "[intake]\nmax_message_size = \"5 MiB\"\n[spool]\nmax_size = \"20 MiB\"\nmin_free = \"1 MiB\"\n",
    );
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    let mut ids = Vec::new();
    for number in 0..3_u8 {
        let mail = with_attachment(&format!("scan{number}@guest.test"), &noise(2_000_000, number));
        ids.push(smtp.post("ana@guest.test", &["inbox+sol@users.test"], &mail) + "-1");
    }
    receiver.requests(3);
    home.journal_when(&["delivered"]);
    // Three of 2.7 MB are more than 5 MiB.
    let deadline = Instant::now() + LIMIT;
    while home.cli(["inbox", "attachment", &ids[0], "--output", "/dev/null"]).code != 69 {
        assert!(Instant::now() < deadline, "the oldest never went");
        // The queue tidies itself when it has something to do.
        smtp.post("ana@guest.test", &["inbox+sol@users.test"], LETTER);
    }
    home.cli(["inbox", "attachment", &ids[2], "--output", "/dev/null"]).good();
}

#[test]
fn receivers_of_other_shapes_are_told_what_was_left_out() {
    let receiver = Receiver::taking();
    let home = home(&receiver);
    let text_of = std::fs::read_to_string(home.path("waystation.toml")).unwrap();
    home.write(
        "waystation.toml",
        &text_of.replace("allow_private = true", "allow_private = true\nformat = \"postmark\""),
    );
    let daemon = home.start();
    let content = noise(1_600_000, 1);
    let mut smtp = Smtp::hello(daemon.address());
    let id =
        smtp.post("ana@guest.test", &["inbox+sol@users.test"], &with_attachment("scan@guest.test", &content));
    let body = receiver.requests(1).remove(0).json();
    assert_eq!(body["Attachments"].as_array().unwrap().len(), 0);
    let headers = body["Headers"].as_array().unwrap();
    let value = |name: &str| text(headers.iter().find(|each| each["Name"] == name).unwrap(), "Value");
    assert_eq!(value("X-Waystation-Attachments-Left-Out"), "1");
    let told: serde_json::Value = serde_json::from_str(&value("X-Waystation-Attachment-Left-Out")).unwrap();
    assert_eq!(
        told,
        serde_json::json!({"id": format!("{id}-1"), "filename": "scan.pdf",
        "content_type": "application/pdf", "size_bytes": content.len(), "sha256": sha256(&content)})
    );
}

#[test]
fn two_guests_mails_without_a_message_id_are_two_messages() {
    let receiver = Receiver::taking();
    let home = home(&receiver);
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    for from in ["ana@guest.test", "eva@guest.test"] {
        let mail = format!(
            "From: {from}\r\nTo: hola@casasol.test\r\nDate: Sun, 22 Nov 2026 16:40:01 +0100\r\nSubject: Re: Llegada\r\n\r\nGracias\r\n"
        );
        smtp.post(from, &["inbox+sol@users.test"], &mail);
        // The same again is a copy.
        smtp.post(from, &["inbox+sol@users.test"], &mail);
    }
    let mut authors: Vec<String> =
        receiver.requests(2).iter().map(|each| text(&each.json()["data"]["from"], "address")).collect();
    authors.sort();
    assert_eq!(authors, ["ana@guest.test", "eva@guest.test"]);
}

/// A home whose mailbox sends through this smarthost, and whose outcomes this receiver is told.
fn home_that_sends(receiver: &Receiver, smarthost: &Smarthost, outcomes: &Receiver) -> Home {
    let (url, told) = (receiver.url(), outcomes.url());
    let section = smarthost.section("shop");
    let home = Home::new(&format!(
        "{LISTENERS}{section}[events]\nwebhook = \"{told}\"\nsecret_file = \"guests.secret\"\nallow_private = true\n\
         [inbox.guests]\naddress = \"inbox@users.test\"\nwebhook = \"{url}\"\nsecret_file = \"guests.secret\"\n\
         allow_private = true\n[mailbox.sol]\naddress = \"hola@casasol.test\"\ninbox = \"guests\"\ntoken = \"sol\"\n\
         smarthost = \"shop\"\n"
    ));
    home.write("guests.secret", &format!("{SECRET}\n"));
    home
}

const OURS: &str = "From: hola@casasol.test\r\nTo: ana@guest.test\r\nSubject: Your stay\r\nMessage-ID: <own1@casasol.test>\r\n\
    Date: Sun, 22 Nov 2026 16:40:01 +0100\r\nX-Waystation-Tag: stay\r\n\r\nWe expect you at six.\r\n";

/// A delivery report about [`OURS`].
fn bounce(number: u8, whom: &str) -> String {
    format!(
        "From: Mail Delivery System <MAILER-DAEMON@mx.guest.test>\r\nTo: hola@casasol.test\r\nSubject: Undelivered\r\n\
         Message-ID: <dsn{number}@mx.guest.test>\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n\
         Content-Type: text/plain\r\n\r\nNot delivered.\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n\
         Reporting-MTA: dns; mx.guest.test\r\n\r\nFinal-Recipient: rfc822; {whom}\r\nAction: failed\r\nStatus: 5.1.1\r\n\
         Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n\r\n--b\r\nContent-Type: text/rfc822-headers\r\n\r\n\
         From: hola@casasol.test\r\nMessage-ID: <own1@casasol.test>\r\n\r\n--b--\r\n"
    )
}

#[test]
fn a_bounce_that_comes_back_forwarded_is_told_of_the_mail_it_is_about() {
    let (smarthost, receiver, outcomes) = (Smarthost::start(), Receiver::taking(), Receiver::taking());
    let home = home_that_sends(&receiver, &smarthost, &outcomes);
    let mut daemon = home.start();
    let mut trusted = Smtp::hello(daemon.listener(1));
    let sent = trusted.post("hola@casasol.test", &["ana@guest.test"], OURS);
    assert_eq!(outcomes.requests(1).remove(0).kind(), "message.delivered");
    let mut smtp = Smtp::hello(daemon.address());
    // An answer of the guest says which conversation that mail is in.
    let answer = "From: ana@guest.test\r\nTo: hola@casasol.test\r\nMessage-ID: <q1@guest.test>\r\n\
        In-Reply-To: <own1@casasol.test>\r\n\r\nYes.\r\n";
    smtp.post("ana@guest.test", &["inbox+sol@users.test"], answer);
    let answer = receiver.requests(1).remove(0).json();
    assert!(answer["data"].get("about").is_none());
    // Forged for somebody whom the message wasn't sent to: no news of that mail.
    smtp.post("", &["inbox+sol@users.test"], &bounce(1, "eva@guest.test"));
    let forged = receiver.requests(2).remove(1).json();
    assert_eq!(text(&forged["data"]["automatic"], "kind"), "bounce");
    assert!(forged["data"].get("about").is_none());
    assert_ne!(forged["data"]["conversation"]["id"], answer["data"]["conversation"]["id"]);
    daemon.logged("bounce ignored");
    for number in 2..4 {
        smtp.post("", &["inbox+sol@users.test"], &bounce(number, "ana@guest.test"));
    }
    let told = receiver.requests(4);
    let data = &told[2].json()["data"];
    assert_eq!(text(&data["automatic"], "kind"), "bounce");
    assert_eq!(data["conversation"]["id"], answer["data"]["conversation"]["id"]);
    assert_eq!(text(&data["conversation"], "matched_by"), "references");
    let about = serde_json::json!({"message_id": "<own1@casasol.test>", "id": sent,
        "recipient": "ana@guest.test", "status": "5.1.1"});
    assert_eq!(data["about"], about);
    let bounced = outcomes.requests(2).remove(1).json();
    assert_eq!(text(&bounced, "type"), "message.bounced");
    let data = &bounced["data"];
    assert_eq!((text(data, "id"), text(data, "recipient")), (sent.clone(), "ana@guest.test".into()));
    assert_eq!(
        (text(data, "tag"), text(data, "reply")),
        ("stay".into(), "5.1.1 550 5.1.1 no such user".into())
    );
    let story = home.cli(["journal", "show", &sent]).good();
    assert!(story.contains("bounced later"), "{story}");
    // The second bounce about the same recipient is no second event: the next one is another message's.
    let other = OURS.replace("own1@", "own2@");
    trusted.post("hola@casasol.test", &["ana@guest.test"], &other);
    assert_eq!(outcomes.requests(3).remove(2).kind(), "message.delivered");
}

#[test]
fn what_a_machine_answers_at_the_signed_address_is_about_the_mail_that_asked_for_it() {
    let (smarthost, receiver, outcomes) = (Smarthost::start(), Receiver::taking(), Receiver::taking());
    let home = home_that_sends(&receiver, &smarthost, &outcomes);
    home.extend("reply_token = true\n");
    let daemon = home.start();
    let mut trusted = Smtp::hello(daemon.listener(1));
    let sent = trusted.post("hola@casasol.test", &["ana@guest.test"], OURS);
    outcomes.requests(1);
    let content = smarthost.next().content;
    let asked = content.lines().find_map(|line| line.strip_prefix("Reply-To: ")).unwrap().trim();
    // The smarthost gave the mail another Message-ID, which nobody told us.
    let away = "From: ana@guest.test\r\nTo: hola@casasol.test\r\nSubject: Automatic reply: Your stay\r\n\
        Message-ID: <away@guest.test>\r\nIn-Reply-To: <changed@shop.test>\r\n\
        X-Auto-Response-Suppress: All\r\n\r\nI am away until Monday.\r\n";
    let mut smtp = Smtp::hello(daemon.address());
    smtp.post("", &[asked], away);
    let data = receiver.requests(1).remove(0).json()["data"].clone();
    assert_eq!(text(&data["automatic"], "kind"), "auto_reply");
    assert_eq!(text(&data["conversation"], "matched_by"), "token");
    let about = serde_json::json!({"message_id": "<own1@casasol.test>", "id": sent,
        "recipient": "ana@guest.test", "status": null});
    assert_eq!(data["about"], about);
    let changed = |whom: &str| bounce(1, whom).replace("<own1@casasol.test>", "<changed@shop.test>");
    smtp.post("", &[asked], &changed("eva@guest.test").replace("dsn1@", "dsn2@"));
    assert!(receiver.requests(2).remove(1).json()["data"].get("about").is_none(), "nobody's we wrote to");
    smtp.post("", &[asked], &changed("ana@guest.test"));
    let bounced = outcomes.requests(2).remove(1).json();
    assert_eq!((text(&bounced, "type"), text(&bounced["data"], "id")), ("message.bounced".into(), sent));
}

#[test]
fn an_answer_at_the_signed_address_finds_its_mailbox_under_another_name() {
    let (smarthost, receiver, outcomes) = (Smarthost::start(), Receiver::taking(), Receiver::taking());
    let home = home_that_sends(&receiver, &smarthost, &outcomes);
    home.extend("reply_token = true\n");
    let daemon = home.start();
    Smtp::hello(daemon.listener(1)).post("hola@casasol.test", &["ana@guest.test"], OURS);
    let content = smarthost.next().content;
    let asked = content.lines().find_map(|line| line.strip_prefix("Reply-To: ")).unwrap().trim();
    let answer = |number: u8| {
        format!(
            "From: ana@guest.test\r\nTo: {asked}\r\nMessage-ID: <a{number}@guest.test>\r\n\r\nYes, {number}.\r\n"
        )
    };
    let mut smtp = Smtp::hello(daemon.address());
    smtp.post("ana@guest.test", &[asked], &answer(1));
    let before = receiver.requests(1).remove(0).json()["data"].clone();
    let file = home.path("waystation.toml");
    let config = std::fs::read_to_string(&file).unwrap();
    // Somebody else gets the name.
    let other = "[mailbox.sol]\naddress = \"hola@casamar.test\"\ninbox = \"guests\"\ntoken = \"mar\"\n";
    std::fs::write(&file, config.replace("[mailbox.sol]", "[mailbox.playa]") + other).unwrap();
    home.cli(["reload"]).good();
    smtp.post("ana@guest.test", &[asked], &answer(2));
    let after = receiver.requests(2).remove(1).json()["data"].clone();
    assert_eq!(
        (text(&before["mailbox"], "name"), text(&after["mailbox"], "name")),
        ("sol".into(), "playa".into())
    );
    assert_eq!(text(&after["mailbox"], "address"), "hola@casasol.test");
    assert_eq!(text(&after["mailbox"], "identified_by"), "reply_token");
    assert_eq!(before["conversation"]["id"], after["conversation"]["id"]);
}

#[test]
fn a_bounce_finds_its_recipients_transaction_among_several_of_one_message_id() {
    let (smarthost, receiver, outcomes) = (Smarthost::start(), Receiver::taking(), Receiver::taking());
    let home = home_that_sends(&receiver, &smarthost, &outcomes);
    let daemon = home.start();
    let mut trusted = Smtp::hello(daemon.listener(1));
    let whom = ["ana@guest.test", "bob@guest.test", "eva@guest.test"];
    let sent = whom.map(|whom| trusted.post("hola@casasol.test", &[whom], OURS));
    outcomes.requests(3);
    let mut smtp = Smtp::hello(daemon.address());
    for (asked, (whom, id)) in whom.iter().zip(&sent).rev().enumerate() {
        let asked = asked + 1;
        smtp.post("", &["inbox+sol@users.test"], &bounce(u8::try_from(asked).unwrap(), whom));
        let about = &receiver.requests(asked).remove(asked - 1).json()["data"]["about"];
        assert_eq!((text(about, "id"), text(about, "recipient")), (id.clone(), (*whom).to_owned()));
        let bounced = outcomes.requests(3 + asked).remove(2 + asked).json();
        let data = &bounced["data"];
        assert_eq!(text(&bounced, "type"), "message.bounced");
        assert_eq!((text(data, "id"), text(data, "recipient")), (id.clone(), (*whom).to_owned()));
    }
}

#[test]
fn the_mailboxs_own_mail_that_comes_back_is_nobodys_message() {
    let (smarthost, receiver, outcomes) = (Smarthost::start(), Receiver::taking(), Receiver::taking());
    let home = home_that_sends(&receiver, &smarthost, &outcomes);
    let daemon = home.start();
    let mut trusted = Smtp::hello(daemon.listener(1));
    trusted.post("hola@casasol.test", &["ana@guest.test"], OURS);
    outcomes.requests(1);
    let mut smtp = Smtp::hello(daemon.address());
    let back = smtp.post(
        "hola@casasol.test",
        &["inbox+sol@users.test"],
        &smarthost.next().content.replace('\n', "\r\n"),
    );
    // Somebody else's mail with that Message-ID is somebody else's.
    let other = OURS.replace("From: hola@casasol.test", "From: eva@guest.test");
    smtp.post("eva@guest.test", &["inbox+sol@users.test"], &other);
    let event = receiver.requests(1).remove(0).json();
    assert_eq!(text(&event["data"]["from"], "address"), "eva@guest.test");
    let journal = home.journal_when(&["delivered"]);
    let own = journal.iter().find(|message| message["id"] == back).unwrap();
    assert!(text(&own["recipients"][0], "reply").contains("our own mail came back"), "{own}");
}

#[test]
fn status_prints_where_each_mailbox_is_to_forward_to() {
    let receiver = Receiver::taking();
    let home = home(&receiver);
    let _daemon = home.start();
    let told = home.cli(["status"]).good();
    for address in ["inbox+sol@users.test", "inbox+mar@users.test"] {
        assert!(told.contains(address), "{told}");
    }
    let lanes = home.json(["status", "--json"]);
    let inbox = lanes.iter().find(|lane| lane["lane"] == "inbox:guests").unwrap();
    let sol = serde_json::json!({"mailbox": "sol", "address": "hola@casasol.test", "forward_to": "inbox+sol@users.test"});
    assert!(inbox["mailboxes"].as_array().unwrap().contains(&sol), "{inbox}");
}

#[test]
fn no_two_cloud_events_have_the_same_source_and_id() {
    let receiver = Receiver::taking();
    let home = home(&receiver);
    let before = std::fs::read_to_string(home.path("waystation.toml")).unwrap();
    let after = before.replace("allow_private = true", "allow_private = true\nformat = \"cloudevents\"");
    home.write("waystation.toml", &after);
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    let id = smtp.post("someone@far.test", &["inbox@users.test"], LETTER);
    receiver.requests(1);
    let deadline = Instant::now() + LIMIT;
    while home.json(["queue", "list", "--state", "held", "--json"]).is_empty() {
        assert!(Instant::now() < deadline);
    }
    home.cli(["queue", "release", "--mailbox", "sol", &id]).good();
    let requests = receiver.requests(2);
    for request in &requests {
        assert_eq!(text(&request.json(), "id"), request.id());
        request.verify(SECRET);
    }
    assert_ne!(requests[0].json()["id"], requests[1].json()["id"]);
    assert_eq!(requests[0].json()["data"]["id"], requests[1].json()["data"]["id"]);
}

#[test]
fn a_large_header_section_is_taken_at_an_inbox_and_refused_elsewhere() {
    let receiver = Receiver::taking();
    let home = home(&receiver);
    let daemon = home.start();
    let large =
        format!("From: ana@guest.test\r\nSubject: Large\r\n{}\r\nHello\r\n", "X-A: b\r\n".repeat(40_000));
    let mut trusted = Smtp::hello(daemon.listener(1));
    let refused = trusted.submit("ana@guest.test", &["eva@far.test"], &large);
    assert!(refused.starts_with("552 5.3.4 "), "{refused}");
    let mut smtp = Smtp::hello(daemon.address());
    smtp.post("ana@guest.test", &["inbox+sol@users.test"], &large);
    let event = receiver.requests(1).remove(0).json();
    assert_eq!(
        (text(&event, "type"), text(&event["data"], "subject")),
        ("message.received".into(), "Large".into())
    );
    assert_eq!(text(&event["data"]["reply"], "text"), "Hello");
}

#[test]
fn mail_that_goes_in_a_circle_is_taken_and_held_at_an_inbox_and_refused_elsewhere() {
    let receiver = Receiver::taking();
    let home = home(&receiver);
    let daemon = home.start();
    let hops = "Received: from a.test by b.test; Sun, 22 Nov 2026 16:40:01 +0100\r\n".repeat(51);
    let looping = format!("{hops}{LETTER}");
    let mut trusted = Smtp::hello(daemon.listener(1));
    let refused = trusted.submit("ana@guest.test", &["eva@far.test"], &looping);
    assert!(refused.starts_with("554 5.4.6 "), "{refused}");
    let mut smtp = Smtp::hello(daemon.address());
    let id = smtp.post("ana@guest.test", &["inbox+sol@users.test"], &looping);
    let deadline = Instant::now() + LIMIT;
    let held = loop {
        if let Some(held) = home.json(["queue", "list", "--state", "held", "--json"]).pop() {
            break held;
        }
        assert!(Instant::now() < deadline);
    };
    assert!(text(&held["recipients"][0], "reply").contains("goes in a circle"), "{held}");
    // An operator's word stands above it; it is the first event.
    home.cli(["queue", "release", "--mailbox", "sol", &id]).good();
    let event = receiver.requests(1).remove(0).json();
    assert_eq!((text(&event, "type"), text(&event["data"], "id")), ("message.received".into(), id));
}

#[test]
fn a_reload_tells_that_a_secret_file_changed() {
    let receiver = Receiver::taking();
    let home = home(&receiver);
    let _daemon = home.start();
    assert_eq!(home.cli(["reload"]).good(), "reloaded; nothing changed\n");
    home.write("guests.secret", &format!("{OTHER_SECRET}\n{SECRET}\n"));
    let told = home.cli(["reload"]).good();
    assert_eq!(told, "reloaded: inbox.guests.secret_file: another secret stands in it\n");
}

#[test]
fn mail_with_bare_line_ends_is_taken_for_an_inbox_and_for_nobody_else() {
    let receiver = Receiver::taking();
    let home = home(&receiver);
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.listener(1));
    for (recipients, expected) in [
        (&["inbox+sol@users.test"][..], "250 2.0.0 "),
        (&["inbox+sol@users.test", "ana@guest.test"], "550 5.6.11 "),
        (&["ana@guest.test"], "550 5.6.11 "),
    ] {
        assert!(smtp.say("MAIL FROM:<ana@guest.test>").starts_with("250 "));
        for recipient in recipients {
            assert!(smtp.say(&format!("RCPT TO:<{recipient}>")).starts_with("250 "));
        }
        assert!(smtp.say("DATA").starts_with("354 "));
        smtp.send(b"From: \"a..b\"@guest.test\nSubject: bare\nMessage-ID: <bare@guest.test>\n\nYes.\n.\nNo.\r\n.\r\n");
        let reply = smtp.reply();
        assert!(reply.starts_with(expected), "{recipients:?}: {reply}");
    }
    let event = receiver.requests(1).remove(0).json();
    assert_eq!(text(&event["data"]["from"], "address"), "\"a..b\"@guest.test");
    assert!(text(&event["data"]["reply"], "text").contains("Yes."), "{event:#}");
}
