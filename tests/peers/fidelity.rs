//! What arrives is what was sent, octet by octet, below the fields that we add; signatures hold; and nothing that
//! leaves has a line end that isn't CRLF.

use crate::support::client::{Client, letter};
use crate::support::folder;
use crate::support::foreign::{peer, python_with, run, script};
use crate::support::relay::Relay;
use crate::support::smarthost::{EVERYTHING, Settings, Smarthost, WITHOUT_CHUNKING};
use std::process::Command;
use tempfile::TempDir;

/// A relay with one plain listener, and a smarthost with these extensions.
fn station(extensions: &'static [&'static str], listener: &str) -> (Relay, Smarthost, TempDir) {
    let folder = folder();
    let smarthost = Smarthost::start(Settings { extensions, ..Settings::default() });
    let config = format!(
        "hostname = \"relay.test\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n{listener}\n\
         [smarthost.out]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\n",
        smarthost.address.port()
    );
    (Relay::start(folder.path(), &config), smarthost, folder)
}

/// A message shape, what we put above it, and why it is here.
type Row = (Vec<u8>, &'static [&'static str], &'static str);

const FULL: &str =
    "Date: Sun, 22 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@shop.test>\r\nFrom: shop@shop.test\r\n";

fn shapes() -> Vec<Row> {
    let full = |rest: &[u8]| [FULL.as_bytes(), rest].concat();
    let attachment: Vec<u8> = (0..5 * 1024 * 1024 / 64)
        .flat_map(|line: u32| {
            format!("{line:08x}{:054x}\r\n", u128::from(line) * 0x9e37_79b9_7f4a_7c15).into_bytes()
        })
        .collect();
    let long = "x".repeat(998);
    vec![
        (letter("plain"), &["Received"], "an ordinary message"),
        (full(b"\r\n.\r\n..\r\n...\r\n.x\r\n. \r\n.\r\n"), &["Received"], "lines that begin with dots"),
        (full(b"\r\n.one\r\n"), &["Received"], "a dot first in the body"),
        (
            full(format!("\r\n{long}\r\n.{}\r\n", "y".repeat(997)).as_bytes()),
            &["Received"],
            "998 octets in a line",
        ),
        (full("\r\nZażółć gęślą jaźń\r\n".as_bytes()), &["Received"], "UTF-8 in the body"),
        (full(b"\r\n\xff\xfe\x80\x81 latin \xe4\xf6\xfc\r\n"), &["Received"], "octets that are no UTF-8"),
        (full("Subject: Grüße aus Łódź\r\n\r\nx\r\n".as_bytes()), &["Received"], "UTF-8 in a field"),
        (
            full(b"Subject: one\r\n two\r\n\tthree\r\n  \r\n four\r\n\r\nx\r\n"),
            &["Received"],
            "folded, one fold blank",
        ),
        (
            full(b"X-Empty:\r\nX-Space : y\r\nx-CASE:Z \r\nX-Twice: 1\r\nX-Twice: 2\r\n\r\nx\r\n"),
            &["Received"],
            "odd fields",
        ),
        (
            full(b"this is no field\r\nSubject: behind it\r\n\r\nx\r\n"),
            &["Received"],
            "a line without a colon",
        ),
        (full(b"Received: from a by b; c\r\nReceived: x\r\n\r\nx\r\n"), &["Received"], "other hops"),
        (
            b"From: shop@shop.test\r\n\r\nx\r\n".to_vec(),
            &["Received", "Message-ID", "Date"],
            "fields missing",
        ),
        (b"\r\nonly a body\r\n".to_vec(), &["Received", "Message-ID", "Date"], "an empty header section"),
        (full(b"\r\n"), &["Received"], "an empty body"),
        (FULL.as_bytes().to_vec(), &["Received"], "fields and nothing behind"),
        (
            full(b"\r\nx  \r\n \r\n\t\r\n\r\n\r\n"),
            &["Received"],
            "white space at line ends, empty lines last",
        ),
        (full(b"\r\nno\0 and \0\0\r\n"), &["Received"], "NUL"),
        (
            full(b"\r\nescape \x1b[2J bell \x07 backspace \x08 delete \x7f\r\n"),
            &["Received"],
            "control characters",
        ),
        (
            full(b"\r\nQUIT\r\nRSET\r\nSTARTTLS\r\nBDAT 10 LAST\r\nMAIL FROM:<>\r\n"),
            &["Received"],
            "commands in the body",
        ),
        (full(b"\r\nFrom me to you\r\n>From you\r\n"), &["Received"], "From at the beginning of a line"),
        (full(&[b"\r\n".as_slice(), &attachment].concat()), &["Received"], "5 MiB"),
    ]
}

/// The names of the fields in a block that holds nothing else.
fn field_names(block: &[u8]) -> Vec<String> {
    let text = String::from_utf8(block.to_vec()).unwrap();
    let fields = text.split_terminator("\r\n").filter(|line| !line.starts_with([' ', '\t']));
    fields.map(|line| line.split_once(':').unwrap_or((line, "")).0.to_owned()).collect()
}

fn every_shape_arrives_unchanged(extensions: &'static [&'static str], by_chunks: bool) {
    let (relay, smarthost, _folder) = station(extensions, "");
    let mut client = Client::connect(relay.plain());
    for (index, (content, added, why)) in shapes().into_iter().enumerate() {
        client.begin("shop@shop.test", "BODY=8BITMIME", &["ana@guest.test"]);
        let reply = if by_chunks { client.bdat(&content, 100_000) } else { client.data(&content) };
        assert!(reply.starts_with("250 2.0.0 "), "{why}: {reply}");
        let mail = smarthost.mails(index + 1).remove(index);
        let above = mail.content.strip_suffix(content.as_slice());
        let above = above.unwrap_or_else(|| {
            let shown = &mail.content[..mail.content.len().min(3000)];
            panic!("{why}: changed on the way:\n{}", shown.escape_ascii())
        });
        let mut names = field_names(above);
        names[1..].sort();
        let mut expected = added.to_vec();
        expected[1..].sort_unstable();
        assert_eq!(names, expected, "{why}");
        let (verb, other) =
            if extensions.contains(&"CHUNKING") { ("BDAT", "DATA") } else { ("DATA", "BDAT") };
        assert!(smarthost.transcript().iter().any(|line| line.starts_with(verb)), "{why}");
        assert!(!smarthost.transcript().iter().any(|line| line.starts_with(other)), "{why}");
    }
}

#[test]
fn every_shape_arrives_unchanged_by_data_and_data() {
    every_shape_arrives_unchanged(WITHOUT_CHUNKING, false);
}

#[test]
fn every_shape_arrives_unchanged_by_data_and_bdat() {
    every_shape_arrives_unchanged(EVERYTHING, false);
}

#[test]
fn every_shape_arrives_unchanged_by_bdat_and_data() {
    every_shape_arrives_unchanged(WITHOUT_CHUNKING, true);
}

#[test]
fn every_shape_arrives_unchanged_by_bdat_and_bdat() {
    every_shape_arrives_unchanged(EVERYTHING, true);
}

#[test]
fn content_without_a_last_line_end_gets_one() {
    for extensions in [EVERYTHING, WITHOUT_CHUNKING] {
        let (relay, smarthost, _folder) = station(extensions, "");
        let mut client = Client::connect(relay.plain());
        client.begin("shop@shop.test", "", &["ana@guest.test"]);
        let content = [FULL.as_bytes(), b"\r\nno end"].concat();
        assert!(client.bdat(&content, 7).starts_with("250 2.0.0 "));
        let arrived = smarthost.mails(1).remove(0).content;
        // By BDAT it can leave as it came; DATA can't carry it (RFC 5321 §4.1.1.4).
        let whole = arrived.strip_suffix(b"\r\n").unwrap_or(&arrived);
        assert!(whole.ends_with(&content), "{}", arrived.escape_ascii());
    }
}

#[test]
fn dkim_signatures_hold() {
    let (Some(python), Some(openssl)) = (python_with("dkim"), peer("openssl")) else { return };
    let keys = folder();
    let key = keys.path().join("dkim.key");
    run(Command::new(&openssl).args(["genrsa", "-out"]).arg(&key).arg("2048"), b"").expect_success();
    let mut public = Command::new(&openssl);
    let public = run(public.args(["rsa", "-pubout", "-outform", "PEM", "-in"]).arg(&key), b"");
    let public: String =
        String::from_utf8(public.stdout).unwrap().lines().filter(|line| !line.starts_with('-')).collect();
    let bodies: [&[u8]; 3] = [
        b"Hello.\r\n",
        b".\r\n..dots\r\ntrailing  \r\n\t\r\n\r\n\r\n",
        "Zażółć gęślą jaźń, 8 bits\r\n\r\n\r\n".as_bytes(),
    ];
    for extensions in [EVERYTHING, WITHOUT_CHUNKING] {
        let (relay, smarthost, _folder) = station(extensions, "");
        let mut sent = 0;
        for canonicalization in ["relaxed/relaxed", "simple/simple"] {
            for body in bodies {
                let fields = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
                              Content-Transfer-Encoding: 8bit\r\nTo: ana@guest.test\r\nX-Folded: one\r\n \t two  \r\n\
                              Subject:  two  spaces\r\n\r\n";
                let message = [FULL.as_bytes(), fields.as_bytes(), body].concat();
                let signed = run(script(&python, "dkim_sign.py").arg(&key).arg(canonicalization), &message);
                signed.expect_success();
                let mut client = Client::connect(relay.plain());
                client.begin("shop@shop.test", "BODY=8BITMIME", &["ana@guest.test"]);
                assert!(client.data(&signed.stdout).starts_with("250"));
                sent += 1;
                let arrived = smarthost.mails(sent).remove(sent - 1).content;
                let verified = run(script(&python, "dkim_verify.py").arg(&public), &arrived);
                assert!(verified.status.success(), "{canonicalization}: {}", arrived.escape_ascii());
                if sent == 1 {
                    let forged = String::from_utf8(arrived).unwrap().replace("Hello", "Hallo");
                    let verified = run(script(&python, "dkim_verify.py").arg(&public), forged.as_bytes());
                    assert_eq!(verified.status.code(), Some(1), "the check can fail: {}", verified.text());
                }
            }
        }
    }
}

/// Wrong ends of content (attacks.md B2): every line end before and behind the dot but the legal pair, and special
/// ones.
fn wrong_ends() -> Vec<Vec<u8>> {
    let ends: [&[u8]; 17] = [
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\r\n",
        b"\n\r",
        b"\r\0\n",
        b"\n\n",
        b"\r\r",
        b"\0\r\n",
        b"\r\n\0",
        b"\x0b",
        b"\x0c",
        b"\x85",
        b"\xc2\x85",
        b"\xe2\x80\xa8",
        b" \r\n",
        b"\t\n",
    ];
    let mut forms: Vec<Vec<u8>> = Vec::new();
    for before in ends {
        for behind in ends {
            forms.push([before, b".", behind].concat());
        }
    }
    for special in [
        &b"\r\n\r\n"[..],
        b"\n\n",
        b"\r\n..\r\n",
        b"\n..\n",
        b"\r\n...\r\n",
        "\r\n\u{ff0e}\r\n".as_bytes(),
        "\r\n\u{3002}\r\n".as_bytes(),
        b"\r\n\xc0\xae\r\n",
        b"\r\n=2E\r\n",
        b"\r\n\x1a\r\n",
        b"\r\n\x04\r\n",
        b"\r\n.\r",
        b"\r\n.\n",
        b"\r\n. \r\n",
        b"\r\n .\r\n",
        b"\r\n.\x1a\r\n",
    ] {
        forms.push(special.to_vec());
    }
    forms.retain(|form| memchr::memmem::find(form, b"\r\n.\r\n").is_none());
    forms
}

/// No CR or LF outside CRLF, no line with a lone dot but the last.
fn assert_clean(wire: &[u8], form: &[u8]) {
    let form = form.escape_ascii();
    assert!(!is_irregular(wire), "{form}: a bare CR or LF left: {}", wire.escape_ascii());
    assert_eq!(memchr::memmem::find_iter(wire, b"\r\n.\r\n").count(), 1, "{form}: {}", wire.escape_ascii());
}

/// Whether an octet string has a CR or LF outside CRLF.
fn is_irregular(octets: &[u8]) -> bool {
    String::from_utf8_lossy(octets).replace("\r\n", "").contains(['\r', '\n'])
}

#[test]
fn no_wrong_line_end_gets_in_or_out() {
    for (listener, tolerant) in [("", false), ("tolerate = [\"bare-lf\"]", true)] {
        let (relay, smarthost, _folder) = station(WITHOUT_CHUNKING, listener);
        let mut client = Client::connect(relay.plain());
        let mut taken = 0;
        for (form, by_chunks) in
            wrong_ends().into_iter().flat_map(|form| [(form.clone(), false), (form, true)])
        {
            client.begin("shop@shop.test", "", &["ana@guest.test"]);
            let smuggled = b"MAIL FROM:<evil@shop.test>\r\nRCPT TO:<evil@guest.test>\r\nDATA\r\nevil\r\n";
            let content = [FULL.as_bytes(), b"\r\nbefore", &form, smuggled].concat();
            let reply = if by_chunks {
                client.bdat(&content, usize::MAX)
            } else {
                client.expect("DATA", "354");
                client.send(&[&content, b".\r\n".as_slice()].concat());
                client.reply()
            };
            if is_irregular(&form) && !tolerant {
                assert!(reply.starts_with("550 5.6.11"), "{}: {reply}", form.escape_ascii());
                // A refusal is an error; the limit of those is another test's.
                client = Client::connect(relay.plain());
                continue;
            }
            assert!(reply.starts_with("250 2.0.0 "), "{}: {reply}", form.escape_ascii());
            // One reply and no more: nothing in there was taken for a command.
            client.expect("NOOP", "250");
            taken += 1;
            let mail = smarthost.mails(taken).remove(taken - 1);
            assert_clean(&mail.wire, &form);
            assert_eq!(mail.recipients, ["<ana@guest.test>"]);
        }
        assert!(taken > if tolerant { 580 } else { 100 }, "{taken}");
        assert_eq!(smarthost.count(), taken);
    }
}
