//! The same through the real binary: what a smarthost sees, and what the journal says.

use crate::support::client::{Client, submit};
use crate::support::relay::Relay;
use crate::support::smarthost::{EVERYTHING, Mail, Settings, Smarthost, WITHOUT_CHUNKING};
use crate::support::{folder, until};
use serde_json::Value;
use tempfile::TempDir;

/// A smarthost that takes 7 bits only, one command at a time.
const SEVEN_BIT: &[&str] = &["SIZE 50000000"];
const LIMITED: &str = "address = \"shop@shop.test\"\nallowed_from = [\"@shop.test\"]\n";
const HEADER: &str =
    "Date: Sun, 22 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@x.test>\r\nSubject:  two  spaces\r\n";

struct Station {
    relay: Relay,
    smarthost: Smarthost,
    _folder: TempDir,
}

fn config(smarthost: &Smarthost, account: &str, rest: &str) -> String {
    format!(
        "hostname = \"relay.test\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [smarthost.shop]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\n{account}\n{rest}",
        smarthost.address.port()
    )
}

impl Station {
    fn new(settings: Settings, account: &str, rest: &str) -> Self {
        let (folder, smarthost) = (folder(), Smarthost::start(settings));
        let relay = Relay::start(folder.path(), &config(&smarthost, account, rest));
        Self { relay, smarthost, _folder: folder }
    }

    fn send(&self, sender: &str, content: &[u8]) {
        submit(self.relay.plain(), sender, &["ana@guest.test"], content);
    }

    /// The message that arrives as number `count`.
    fn mail(&self, count: usize) -> Mail {
        self.smarthost.mails(count).remove(count - 1)
    }

    /// The happenings of this kind in the life of the newest message to this recipient, once it is done.
    fn told(&self, recipient: &str, kind: &str) -> Vec<String> {
        let id = until("the message is done", || {
            let journal = self.relay.json(&["journal", "--json"]);
            let messages = journal.as_array().unwrap();
            let found = messages.iter().rev().find(|one| one["recipients"][0]["address"] == recipient)?;
            let state = found["recipients"][0]["state"].as_str().unwrap();
            (state != "queued").then(|| found["id"].as_str().unwrap().to_owned())
        });
        let life = self.relay.json(&["queue", "show", "--json", &id]);
        let happenings = life[0]["happenings"].as_array().unwrap().clone();
        let of_kind = happenings.iter().filter(|happening| happening["kind"] == kind);
        of_kind.map(|happening| happening["detail"].as_str().unwrap().to_owned()).collect()
    }
}

/// Fields of a message by name, and its body.
fn parts(content: &[u8]) -> (Vec<(String, String)>, Vec<u8>) {
    let end = memchr::memmem::find(content, b"\r\n\r\n").unwrap();
    let head =
        String::from_utf8(content[..end].to_vec()).unwrap().replace("\r\n ", " ").replace("\r\n\t", " ");
    let field = |line: &str| {
        let (name, value) = line.split_once(':').unwrap();
        (name.to_owned(), value.trim().to_owned())
    };
    (head.split("\r\n").map(field).collect(), content[end + 4..].to_vec())
}

fn values(content: &[u8], name: &str) -> Vec<String> {
    let fields = parts(content).0;
    fields.into_iter().filter(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
}

/// `SIZE=` of a MAIL command.
fn announced(mail: &Mail) -> usize {
    let words = mail.sender.split(' ').find_map(|word| word.strip_prefix("SIZE="));
    words.unwrap().parse().unwrap()
}

#[test]
fn a_message_from_somebody_else_leaves_as_the_mailbox() {
    for extensions in [EVERYTHING, WITHOUT_CHUNKING] {
        let station = Station::new(Settings { extensions, ..Settings::default() }, LIMITED, "");
        let content = format!(
            "{HEADER}From: \"Lopez, Ana\"\r\n <ana@x.test>\r\nSender: robot@x.test\r\nTo: t@guest.test\r\n\r\n.Hello\r\n"
        );
        station.send("bounce@x.test", content.as_bytes());
        let mail = station.mail(1);
        let below = content.replace(
            "From: \"Lopez, Ana\"\r\n <ana@x.test>\r\nSender: robot@x.test\r\n",
            "From: \"Lopez, Ana\" <shop@shop.test>\r\nReply-To: \"Lopez, Ana\" <ana@x.test>\r\n",
        );
        assert!(mail.content.ends_with(below.as_bytes()), "{}", mail.content.escape_ascii());
        assert_eq!(announced(&mail), mail.content.len(), "{}", mail.sender);
        let told = station.told("ana@guest.test", "rewritten");
        assert_eq!(
            told,
            ["From: ana@x.test → shop@shop.test (not allowed by smarthost shop); \
              Reply-To: ana@x.test added; Sender: robot@x.test removed, From is the mailbox; \
              envelope sender: bounce@x.test → shop@shop.test (as From)"]
        );
        let journal = station.relay.json(&["journal", "--json"]);
        assert_eq!(journal[0]["sender"], "bounce@x.test", "the journal keeps who it was");
        let id = journal[0]["id"].as_str().unwrap();
        assert!(mail.sender.starts_with("<shop@shop.test> "), "{}", mail.sender);
        assert!(mail.sender.ends_with(&format!(" ENVID={id}")), "{}", mail.sender);
    }
}

#[test]
fn what_is_allowed_leaves_byte_for_byte() {
    let station = Station::new(Settings::default(), LIMITED, "");
    let content = format!("{HEADER}FROM :  Sales\t<sales@SHOP.test>\r\n\t(us)\r\n\r\nHello\r\n");
    station.send("app@shop.test", content.as_bytes());
    let mail = station.mail(1);
    assert!(mail.content.ends_with(content.as_bytes()), "{}", mail.content.escape_ascii());
    assert!(mail.sender.starts_with("<app@shop.test> ") && !mail.sender.contains("ENVID"), "{}", mail.sender);
    assert_eq!(announced(&mail), mail.content.len());
    assert_eq!(station.told("ana@guest.test", "rewritten"), [""; 0]);
}

#[test]
fn a_client_keeps_its_own_envid_and_a_smarthost_without_dsn_gets_none() {
    let station = Station::new(Settings::default(), LIMITED, "");
    let mut client = Client::connect(station.relay.plain());
    client.begin("ana@x.test", "ENVID=order-7", &["ana@guest.test"]);
    client.data(format!("{HEADER}From: ana@x.test\r\n\r\nx\r\n").as_bytes());
    let sender = station.mail(1).sender;
    assert!(sender.starts_with("<shop@shop.test> ") && sender.ends_with(" ENVID=order-7"), "{sender}");

    let settings = Settings { extensions: SEVEN_BIT, ..Settings::default() };
    let station = Station::new(settings, LIMITED, "");
    station.send("ana@x.test", format!("{HEADER}From: ana@x.test\r\n\r\nx\r\n").as_bytes());
    let sender = station.mail(1).sender;
    assert!(sender.starts_with("<shop@shop.test> SIZE=") && !sender.contains("ENVID"), "{sender}");
}

#[test]
fn a_seven_bit_smarthost_gets_seven_bits_from_the_mailbox() {
    let settings = Settings { extensions: SEVEN_BIT, ..Settings::default() };
    let station = Station::new(settings, &format!("{LIMITED}from = \"force\"\n"), "");
    let mut client = Client::connect(station.relay.plain());
    client.begin("ana@x.test", "BODY=8BITMIME", &["ana@guest.test"]);
    let content = format!(
        "{HEADER}MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\
         From: Zoë <zoe@x.test>\r\n\r\nZażółć gęślą jaźń\r\n"
    );
    assert!(client.data(content.as_bytes()).starts_with("250"));
    let mail = station.mail(1);
    assert!(mail.content.is_ascii(), "{}", mail.content.escape_ascii());
    assert_eq!(values(&mail.content, "From"), ["=?utf-8?q?Zo=C3=AB?= <shop@shop.test>"]);
    assert_eq!(values(&mail.content, "Reply-To"), ["=?utf-8?q?Zo=C3=AB?= <zoe@x.test>"]);
    assert_eq!(values(&mail.content, "Content-Transfer-Encoding"), ["quoted-printable"]);
    assert_eq!(parts(&mail.content).1, b"Za=C5=BC=C3=B3=C5=82=C4=87 g=C4=99=C5=9Bl=C4=85 ja=C5=BA=C5=84\r\n");
    assert_eq!(announced(&mail), mail.content.len());
}

/// More than what is read whole, and more than what stays in memory.
#[test]
fn a_large_message_is_rewritten_at_its_head_alone() {
    let body: Vec<u8> =
        (0..40_000_u32).flat_map(|line| format!("{line:08x}{line:054x}\r\n").into_bytes()).collect();
    let eight_bit = [&body[..], "ż\r\n".as_bytes()].concat();
    // A header section that is longer than the first look at it.
    let long: String = (0..1_000).map(|number| format!("X-Long: {number:060}\r\n")).collect();
    for (extensions, body) in [(EVERYTHING, &body), (WITHOUT_CHUNKING, &body), (SEVEN_BIT, &eight_bit)] {
        let station = Station::new(Settings { extensions, ..Settings::default() }, LIMITED, "");
        let mut count = 0;
        for above in ["", &long] {
            for (from, arrives) in [
                ("From: ana@x.test\r\n", "From: shop@shop.test\r\nReply-To: ana@x.test\r\n"),
                ("From: sales@shop.test\r\n", "From: sales@shop.test\r\n"),
            ] {
                let content = [HEADER.as_bytes(), above.as_bytes(), from.as_bytes(), b"\r\n", body].concat();
                station.send("app@shop.test", &content);
                count += 1;
                let mail = station.mail(count);
                assert_eq!(announced(&mail), mail.content.len());
                let head = [HEADER, above, arrives].concat();
                let at = memchr::memmem::find(&mail.content, head.as_bytes());
                assert!(at.is_some(), "{}", mail.content[..4000].escape_ascii());
                if extensions == SEVEN_BIT {
                    assert!(mail.content.is_ascii() && mail.content.ends_with(b"=C5=BC\r\n"));
                } else {
                    assert!(mail.content.ends_with(&[head.as_bytes(), b"\r\n", body].concat()));
                }
            }
        }
    }
}

#[test]
fn our_own_bounce_goes_to_who_sent_it() {
    let refuse = |line: &str| line.contains("nobody@").then(|| "550 5.1.1 no such mailbox".to_owned());
    let station = Station::new(Settings { reply: Box::new(refuse), ..Settings::default() }, LIMITED, "");
    let content = format!("{HEADER}From: Ana <ana@x.test>\r\n\r\nHello\r\n");
    submit(station.relay.plain(), "ana@x.test", &["nobody@guest.test"], content.as_bytes());
    let bounce = station.mail(1);
    assert!(bounce.sender.starts_with("<>"), "the null sender stays null: {}", bounce.sender);
    assert!(bounce.recipients[0].starts_with("<ana@x.test>"), "{:?}", bounce.recipients);
    let from = values(&bounce.content, "From");
    assert!(from.len() == 1 && from[0].ends_with("<shop@shop.test>"), "{from:?}");
    let text = String::from_utf8_lossy(&bounce.content).into_owned();
    assert!(text.contains("From: Ana <ana@x.test>\r\n"), "it quotes the message as it came: {text}");
    assert!(station.smarthost.transcript().iter().any(|line| line.starts_with("MAIL FROM:<shop@shop.test>")));
}

#[test]
fn what_waits_is_rewritten_by_the_settings_it_leaves_under() {
    let station = Station::new(Settings::default(), "enabled = false\nfrom = \"keep\"\n", "");
    let content = format!("{HEADER}From: Ana <ana@x.test>\r\n\r\nHello\r\n");
    station.send("ana@x.test", content.as_bytes());
    let account = "address = \"shop@shop.test\"\ndisplay_name = \"Sklep Żółw\"\nfrom = \"force\"\n";
    station.relay.reload(&config(&station.smarthost, account, ""));
    let mail = station.mail(1);
    assert_eq!(values(&mail.content, "From"), ["=?utf-8?b?U2tsZXAgxbvDs8WCdw==?= <shop@shop.test>"]);
    assert_eq!(values(&mail.content, "Reply-To"), ["Ana <ana@x.test>"]);
    assert!(mail.sender.starts_with("<shop@shop.test> "), "{}", mail.sender);
}

#[test]
fn an_internationalised_domain_of_the_account_goes_where_there_is_no_smtputf8() {
    let account = "address = \"shop@żółw.test\"\nallowed_from = [\"@żółw.test\"]\n";
    let station = Station::new(Settings { extensions: SEVEN_BIT, ..Settings::default() }, account, "");
    station.send("ana@x.test", format!("{HEADER}From: Ana <ana@x.test>\r\n\r\nx\r\n").as_bytes());
    let mail = station.mail(1);
    assert_eq!(values(&mail.content, "From"), ["Ana <shop@xn--w-uga1v8h.test>"]);
    assert!(mail.sender.starts_with("<shop@xn--w-uga1v8h.test>"), "{}", mail.sender);
}

#[test]
fn what_was_changed_is_told_once_however_often_it_is_tried() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let tried = AtomicUsize::new(0);
    let busy = move |line: &str| {
        let busy = line == "." && tried.fetch_add(1, Ordering::Relaxed) < 2;
        busy.then(|| "451 4.3.0 busy".to_owned())
    };
    let station = Station::new(
        Settings { reply: Box::new(busy), ..Settings::default() },
        LIMITED,
        "[retry]\nschedule = [\"1s\"]\n",
    );
    station.send("ana@x.test", format!("{HEADER}From: ana@x.test\r\n\r\nx\r\n").as_bytes());
    station.mail(1);
    let delivered = until("delivered", || {
        let journal = station.relay.json(&["journal", "--json"]);
        (journal[0]["recipients"][0]["state"] == "delivered").then(|| journal[0].clone())
    });
    assert_eq!(delivered["recipients"][0]["attempts"], Value::from(3));
    assert_eq!(station.told("ana@guest.test", "rewritten").len(), 1);
}

#[test]
fn rules_edit_the_header_as_mail_comes_in() {
    let rules = "\
        [[rewrite]]\nheader = { X-Internal = \"*\" }\nremove = [\"x-internal\", \"X-None\"]\nadd = { X-Relay = \"waystation\", Subject = \"none\" }\n\
        [[rewrite]]\nsender = \"@shop.test\"\nreplace = { X-Mailer = \"shop\", X-Absent = \"x\" }\nadd = { X-Relay = \"Zażółć\" }\n\
        [[rewrite]]\nheader = { X-Relay = \"*\" }\nremove = [\"Subject\"]\n\
        [[rewrite]]\nrecipient = \"@elsewhere.test\"\nremove = [\"Subject\"]\n\
        [[route]]\nheader = { X-Internal = \"*\" }\nclass = \"bulk\"\n";
    let station = Station::new(Settings::default(), "", rules);
    let content = format!(
        "X-Internal: a\r\n{HEADER}x-MAILER:  one\r\n\tfolded\r\nFrom: a@shop.test\r\nX-INTERNAL: b\r\nX-Mailer: two\r\n\
         DKIM-Signature: v=1; d=shop.test; h=from:x-mailer; b=x\r\n\r\nX-Internal: body\r\n"
    );
    station.send("app@shop.test", content.as_bytes());
    let mail = station.mail(1);
    let below = format!(
        "{HEADER}X-Mailer: shop\r\nFrom: a@shop.test\r\nDKIM-Signature: v=1; d=shop.test; h=from:x-mailer; b=x\r\n\
         X-Relay: waystation\r\nX-Relay: =?utf-8?b?WmHFvMOzxYLEhw==?=\r\n\r\nX-Internal: body\r\n"
    );
    assert!(mail.content.ends_with(below.as_bytes()), "{}", mail.content.escape_ascii());
    assert_eq!(announced(&mail), mail.content.len());
    assert_eq!(
        station.told("ana@guest.test", "rewritten"),
        [
            "x-internal: 2 fields removed; X-Relay: \"waystation\" added; X-Mailer: \"one folded\" → \"shop\"; \
          X-Relay: \"Zażółć\" added; the DKIM signature of shop.test no longer holds, covering X-Mailer"
        ]
    );
    let journal = station.relay.json(&["journal", "--json"]);
    assert_eq!(journal[0]["class"], "bulk", "routes judge the header as it came");
    // Nothing matches: nothing changes.
    let content = format!("{HEADER}From: a@shop.test\r\n\r\nx\r\n");
    station.send("app@x.test", content.as_bytes());
    assert!(station.mail(2).content.ends_with(content.as_bytes()));
}
