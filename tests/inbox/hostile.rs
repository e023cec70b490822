//! Odd and hostile mail: no panic, work that grows no faster than the message, and an event for each.

use crate::odd::Odd;
use crate::sample::{Sample, Station, json};
use proptest::prelude::*;
use waystation::inbox::mail::{MAX_ATTACHMENTS, Mail};
use waystation::inbox::{EndsHere, Interpretation, Known};

fn station() -> Station {
    Station::new("native", "text html headers")
}

fn interpret(station: &Station, message: &[u8]) -> Interpretation {
    let mut sample = Sample::of("");
    sample.message = message.to_vec();
    "inbox+sol@users.example.com".clone_into(&mut sample.recipient);
    station.interpret(&sample, &Known::NOTHING)
}

/// The event is there, and as JSON it isn't many times the message.
fn fine(name: &str, message: &[u8]) -> serde_json::Value {
    told_well(name, interpret(&station(), message))
}

fn told_well(name: &str, told: Interpretation) -> serde_json::Value {
    let event = json(&told);
    assert_eq!(event["type"], "message.received", "{name}");
    let size = told.event.unwrap().body.with_seq(1).len();
    assert!(size < 4 << 20, "{name}: {size}");
    event
}

fn encoded(octets: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(octets)
}

#[test]
fn messages_that_nest_without_end() {
    let mut nested = String::from("From: a@b.example\r\n");
    for depth in 0..20_000 {
        nested += &format!("Content-Type: multipart/mixed; boundary=b{depth}\r\n\r\n--b{depth}\r\n");
    }
    fine("multiparts", nested.as_bytes());
    let rfc822 = "From: a@b.example\r\nContent-Type: message/rfc822\r\n\r\n".repeat(20_000);
    fine("messages", rfc822.as_bytes());
    let hidden =
        rfc822.as_bytes().chunks(57).map(|line| format!("{}\r\n", encoded(line))).collect::<String>();
    for kind in [
        "Content-Type: message/rfc822\r\n",
        "Content-Type: Message\r\n /RFC822\r\n",
        "Content-Type: message/global\r\n",
    ] {
        let message = format!("From: a@b.example\r\n{kind}Content-Transfer-Encoding: base64\r\n\r\n{hidden}");
        let event = fine("messages within base64", message.as_bytes());
        assert_eq!(event["data"]["attachments"].as_array().unwrap().len(), 1, "{kind}");
    }
    let digest = format!(
        "From: a@b.example\r\nContent-Type: multipart/digest; boundary=x\r\n\r\n--x\r\nContent-Transfer-Encoding: base64\r\n\r\n{hidden}"
    );
    fine("a digest of messages within base64", digest.as_bytes());
    let mut heads = String::from("From: a@b.example\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n");
    for number in 0..50_000 {
        heads += &format!("--x\r\nContent-Type: multipart/mixed; boundary=missing{number}\r\n\r\n");
    }
    let event = fine("boundaries that never come", heads.as_bytes());
    assert_eq!(event["data"]["truncated"], true);
    let comments = format!("From: {}a@b.example\r\n\r\nHi", "(".repeat(60_000));
    fine("comments", comments.as_bytes());
    let groups = format!("From: a@b.example\r\nTo: {}\r\n\r\nHi", "g:".repeat(30_000));
    fine("groups", groups.as_bytes());
}

#[test]
fn parts_and_fields_without_end() {
    let mut parts = String::from("From: a@b.example\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n");
    for number in 0..20_000 {
        parts += &format!(
            "--x\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename=a.pdf\r\n\r\n{number}\r\n"
        );
    }
    let event = fine("attachments", parts.as_bytes());
    assert_eq!(event["data"]["attachments"].as_array().unwrap().len(), MAX_ATTACHMENTS);
    assert_eq!(event["data"]["truncated"], true);
    assert_eq!(event["data"]["attachments"][1]["filename"], "a-2.pdf");
    let huge = format!("From: a@b.example\r\nSubject: {}\r\n\r\nHi", "x ".repeat(1 << 20));
    let event = fine("a field of two MiB", huge.as_bytes());
    assert!(event["data"]["subject"].as_str().unwrap().len() <= 2000);
    let references = format!("From: a@b.example\r\nReferences:{}\r\n\r\nHi", "\r\n <a@b>".repeat(20_000));
    fine("references", references.as_bytes());
    let ids: String = (0..10_000).map(|number| format!("\r\n <{number}@b>")).collect();
    let event =
        fine("different references", format!("From: a@b.example\r\nReferences:{ids}\r\n\r\nHi").as_bytes());
    assert_eq!(event["data"]["references"].as_array().unwrap().len(), 100);
    let fields =
        format!("From: a@b.example\r\n{}\r\nHi", "Delivered-To: hola@casasol.example\r\n".repeat(7_000));
    fine("the same field again and again", fields.as_bytes());
    let words = format!("From: a@b.example\r\nSubject: {}\r\n\r\nHi", "=?utf-8?q?=41?= ".repeat(10_000));
    fine("encoded words", words.as_bytes());
}

#[test]
fn bodies_that_are_too_long_are_cut_and_say_so() {
    let long = format!("From: a@b.example\r\n\r\n{}", "ñandú ".repeat(100_000));
    let event = fine("text", long.as_bytes());
    assert!(event["data"]["text"].as_str().unwrap().len() <= 256 * 1024);
    assert_eq!(event["data"]["truncated"], true);
    let html = format!("From: a@b.example\r\nContent-Type: text/html\r\n\r\n{}", "<div>".repeat(200_000));
    fine("html", html.as_bytes());
    let entities =
        format!("From: a@b.example\r\nContent-Type: text/html\r\n\r\n{}", "&amp;&#x41;&bogus".repeat(20_000));
    fine("entities", entities.as_bytes());
}

#[test]
fn charsets_that_are_odd_or_lie() {
    for (head, body) in [
        ("text/plain; charset=utf-7", &b"+AOk-"[..]),
        ("text/plain; charset=utf-16", b"\xff\xfeh\x00i\x00"),
        ("text/plain; charset=iso-2022-jp", b"\x1b$B$3$s\x1b(B"),
        ("text/plain; charset=\"no such thing\"", b"\xff\xfe\xfd"),
        ("text/plain; charset=us-ascii", b"\xe9\xe8"),
        ("text/plain; charset=utf-8", b"\xc3\x28\xa0\xa1\x00\x01"),
        ("text/plain; charset=gb18030", b"\x81\x30\x81"),
        ("text/plain; charset*0*=%ff%fe", b"hi"),
        ("text/plain; charset=", b"hi"),
        ("multipart/mixed", b"--\r\n\r\n--"),
        ("multipart/mixed; boundary=", b"--\r\n\r\n----"),
        ("/; ;;=;", b"hi"),
    ] {
        let mut message = format!("From: a@b.example\r\nContent-Type: {head}\r\n\r\n").into_bytes();
        message.extend_from_slice(body);
        fine(head, &message);
    }
    for encoding in ["base64", "quoted-printable", "x-uuencode", "8bit 8bit"] {
        let message =
            format!("From: a@b.example\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n=A=\r\n!!!=\r\n====");
        fine(encoding, message.as_bytes());
    }
}

#[test]
fn what_is_hardly_a_message() {
    for message in [
        &b""[..],
        b"\r\n",
        b"\r\n\r\n",
        b"hello",
        b"\0\0\0",
        b"From",
        b"From:",
        b": x\r\n\r\ny",
        b"From a@b Sun\r\nFrom: a@b.example\r\n\r\nHi",
    ] {
        fine(&String::from_utf8_lossy(message), message);
    }
}

#[test]
fn names_of_files_lead_nowhere() {
    for (given, shown) in [
        ("../../etc/passwd", "passwd.bin"),
        ("C:\\\\Windows\\\\plan.pdf", "plan.pdf"),
        (".bashrc", "bashrc.bin"),
        ("", "attachment.bin"),
        ("a\u{202e}fdp.exe", "afdp.exe"),
        ("no extension", "no extension.bin"),
    ] {
        let message = format!(
            "From: a@b.example\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nHi\r\n--x\r\n\
             Content-Type: application/octet-stream\r\nContent-Disposition: attachment; filename=\"{given}\"\r\n\r\nx\r\n--x--\r\n"
        );
        let event = fine(given, message.as_bytes());
        assert_eq!(event["data"]["attachments"][0]["filename"], shown, "{given}");
    }
}

#[test]
fn ten_thousand_odd_mails_are_an_event_each() {
    let odd = Odd::new();
    let each = |first: usize| {
        let (station, mut circles) = (station(), 0);
        for number in (first..10_000).step_by(4) {
            let told = interpret(&station, &odd.mail(number));
            // What goes in a circle is held without an event.
            if told.ends_here == Some(EndsHere::Loop) {
                circles += 1;
            } else {
                told_well(&format!("number {number}"), told);
            }
        }
        assert!(circles < 125, "{circles} of 2,500 go in a circle");
    };
    std::thread::scope(|scope| (0..4).for_each(|first| drop(scope.spawn(move || each(first)))));
}

/// Pieces of mail, so that random messages get beyond their first line.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec![
            "From: Ana <ana@guest.example>\r\n", "To: hola@casasol.example\r\n", "\r\n", "\r\n", "--b\r\n", "--b--\r\n",
            "Content-Type: multipart/mixed; boundary=b\r\n", "Content-Type: multipart/alternative; boundary=b\r\n",
            "Content-Type: text/html; charset=utf-8\r\n", "Content-Type: message/rfc822\r\n",
            "Content-Type: multipart/report; report-type=delivery-status; boundary=\"b\"\r\n",
            "Content-Type: message/delivery-status\r\n", "Content-Transfer-Encoding: base64\r\n",
            "Content-Transfer-Encoding: quoted-printable\r\n", "Content-Disposition: attachment; filename*=utf-8''%f0%9f.pdf\r\n",
            "X-Forwarded-For: hola@casasol.example inbox@users.example.com\r\n", "Subject: =?utf-8?b?w6nDqQ?=\r\n",
            "Date: Sun, 31 Feb 2026 99:99:99 +9999\r\n", "Message-ID: <<a@b>>\r\n", "References: <a <b> c>\r\n",
            "<p>Hi <a href='https://x'>&nbsp;</p>\r\n", "aGVsbG8=\r\n", "=C3=A9=\r\n", "> quoted\r\n", " folded\r\n",
        ]).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ];
    prop::collection::vec(piece, 0..25).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_octets_are_some_mail_and_make_an_event(message in pieces()) {
        fine("random", &message);
        let mail = Mail::read(&message);
        prop_assert!(mail.attachments.len() <= MAX_ATTACHMENTS);
    }
}
