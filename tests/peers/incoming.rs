//! Clients of our listeners: smtplib, swaks, openssl, lettre, smtp-source and Postfix.

use crate::support::client::{Client, letter};
use crate::support::foreign::{Finished, peer, python_with, run, script};
use crate::support::ports::free_port;
use crate::support::postfix::Postfix;
use crate::support::relay::{Relay, password_hash};
use crate::support::smarthost::{Mail, Smarthost};
use crate::support::{folder, make_certificates, until, write_secret};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, SmtpTransport, Tokio1Executor, Transport};
use serde_json::json;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

const PASSWORD: &str = "käse & \"brot\" 9";
/// The same login's other password, as during a change; smtplib can't say more than ASCII.
const ASCII_PASSWORD: &str = "bread & \"cheese\" 9";

/// A relay with a listener of each kind, in front of a smarthost that takes everything.
struct Station {
    relay: Relay,
    smarthost: Smarthost,
    ca: PathBuf,
    folder: TempDir,
}

impl Station {
    /// The plain listener trusts loopback, the TLS ones want a login.
    fn start() -> Self {
        let folder = folder();
        let certs = make_certificates(folder.path());
        let smarthost = Smarthost::plain();
        let config = format!(
            r#"
            hostname = "relay.test"
            [[listener]]
            address = "127.0.0.2:0"
            auth = "optional"
            [[listener]]
            address = "127.0.0.1:0"
            tls = "starttls"
            auth = "required"
            [[listener]]
            address = "[::1]:0"
            tls = "implicit"
            auth = "required"
            [tls]
            certificate = "certs/relay.pem"
            key = "certs/relay.key"
            [application.shop]
            password_hash = ["{}", "{}"]
            [smarthost.out]
            host = "127.0.0.1"
            port = {}
            tls = "none"
            "#,
            password_hash(PASSWORD),
            password_hash(ASCII_PASSWORD),
            smarthost.address.port()
        );
        let relay = Relay::start(folder.path(), &config);
        Self { relay, smarthost, ca: certs.join("ca.pem"), folder }
    }

    /// Waits for the only message; it must be this one, below what we add.
    fn arrived(&self, content: &[u8]) -> Mail {
        let mail = self.smarthost.mails(1).remove(0);
        assert!(
            mail.content.ends_with(content),
            "sent:\n{}\narrived:\n{}",
            String::from_utf8_lossy(content),
            String::from_utf8_lossy(&mail.content)
        );
        mail
    }
}

/// The `with` clause that the relay wrote.
fn protocol(mail: &Mail) -> String {
    let text = String::from_utf8_lossy(&mail.content);
    let words: Vec<&str> = text.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "with").unwrap();
    words[at + 1].to_owned()
}

// ---- Python's smtplib ----

fn smtplib(address: SocketAddr, more: &serde_json::Value, content: &[u8]) -> Option<Finished> {
    let python = python_with("smtplib")?;
    let mut job = json!({
        "host": address.ip().to_string(), "port": address.port(), "tls": "none", "sender": "shop@shop.test",
        "recipients": ["ana@guest.test"], "content": BASE64_STANDARD.encode(content),
    });
    for (key, value) in more.as_object().unwrap() {
        job[key] = value.clone();
    }
    Some(run(&mut script(&python, "smtplib_client.py"), job.to_string().as_bytes()))
}

#[test]
fn smtplib_submits_in_every_tls_mode_with_every_login() {
    let rows = [
        ("none", json!(null), true, "ESMTP", "plain text, no login"),
        (
            "none",
            json!(["PLAIN", "shop", ASCII_PASSWORD]),
            true,
            "ESMTPA",
            "a login in plain text on loopback",
        ),
        (
            "starttls",
            json!(["PLAIN", "shop", ASCII_PASSWORD]),
            true,
            "ESMTPSA",
            "PLAIN with initial response",
        ),
        ("starttls", json!(["PLAIN", "shop", ASCII_PASSWORD]), false, "ESMTPSA", "PLAIN, asked for"),
        (
            "starttls",
            json!(["LOGIN", "shop", ASCII_PASSWORD]),
            true,
            "ESMTPSA",
            "LOGIN with the user name at once",
        ),
        ("implicit", json!(["LOGIN", "shop", ASCII_PASSWORD]), false, "ESMTPSA", "LOGIN, asked for"),
        ("implicit", json!(["PLAIN", "shop", ASCII_PASSWORD]), true, "ESMTPSA", "SMTP_SSL"),
    ];
    let station = Station::start();
    for (index, (tls, login, initial, with, why)) in rows.into_iter().enumerate() {
        let more = json!({"tls": tls, "login": login, "initial": initial, "ca": station.ca});
        let content = letter(&format!("row-{index}"));
        let Some(finished) = smtplib(station.relay.address(tls), &more, &content) else { return };
        assert!(finished.status.success(), "{why}: {}", finished.text());
        let mail = station.smarthost.mails(index + 1).remove(index);
        assert!(mail.content.ends_with(&content), "{why}");
        assert_eq!(protocol(&mail), with, "{why}");
        assert!(mail.sender.starts_with("<shop@shop.test>"), "{why}: {}", mail.sender);
        assert_eq!(mail.recipients, ["<ana@guest.test>"], "{why}");
    }
}

#[test]
fn smtplib_is_refused_without_a_good_login() {
    let station = Station::start();
    let starttls = station.relay.address("starttls");
    let wrong = json!({"tls": "starttls", "ca": station.ca, "login": ["PLAIN", "shop", "wrong"]});
    let Some(finished) = smtplib(starttls, &wrong, &letter("wrong")) else { return };
    assert!(finished.text().contains("535, b'5.7.8"), "{}", finished.text());
    let none = json!({"tls": "starttls", "ca": station.ca});
    let finished = smtplib(starttls, &none, &letter("none")).unwrap();
    assert!(finished.text().contains("530, b'5.7.0"), "{}", finished.text());
    assert_eq!(station.smarthost.count(), 0);
}

#[test]
fn smtplib_sends_eight_bit_text_and_utf8_addresses() {
    let station = Station::start();
    let content = "From: shop@shop.test\r\nTo: ana@guest.test\r\nSubject: Grüße aus Łódź\r\nDate: Sun, 22 Nov 2026 \
                   12:00:00 +0000\r\nMessage-ID: <8@shop.test>\r\n\r\nŻółć, \u{1f4ee}\r\n";
    let more = json!({
        "sender": "büro@shop.test", "recipients": ["andré@gäst.test"], "options": ["SMTPUTF8", "BODY=8BITMIME"],
    });
    let Some(finished) = smtplib(station.relay.plain(), &more, content.as_bytes()) else { return };
    finished.expect_success();
    let mail = station.arrived(content.as_bytes());
    assert_eq!(mail.recipients, ["<andré@gäst.test>"]);
    assert!(mail.sender.starts_with("<büro@shop.test>"), "{}", mail.sender);
    assert!(mail.sender.contains("BODY=8BITMIME") && mail.sender.contains("SMTPUTF8"), "{}", mail.sender);
    assert_eq!(protocol(&mail), "UTF8SMTP");
}

// ---- swaks ----

#[test]
fn swaks_submits_in_every_tls_mode_with_every_login_and_pipelined() {
    let Some(swaks) = peer("swaks") else { return };
    let station = Station::start();
    let rows: [(&str, &[&str], &str); 7] = [
        ("none", &[], "ESMTP"),
        ("none", &["--pipeline"], "ESMTP"),
        ("none", &["--auth", "PLAIN"], "ESMTPA"),
        ("starttls", &["--tls", "--auth", "PLAIN"], "ESMTPSA"),
        ("starttls", &["--tls", "--auth", "LOGIN", "--pipeline"], "ESMTPSA"),
        ("implicit", &["--tls-on-connect", "--auth", "LOGIN"], "ESMTPSA"),
        ("implicit", &["--tls-on-connect", "--auth", "PLAIN"], "ESMTPSA"),
    ];
    for (index, (tls, options, with)) in rows.into_iter().enumerate() {
        let address = station.relay.address(tls);
        let mut command = Command::new(&swaks);
        command.args(["--server", &address.ip().to_string(), "--port", &address.port().to_string()]);
        command.args(["--from", "shop@shop.test", "--to", "ana@guest.test", "--ehlo", "swaks.test"]);
        command.args(["--timeout", "50"]).args(options);
        if options.contains(&"--auth") {
            command.args(["--auth-user", "shop", "--auth-password", PASSWORD]);
        }
        if tls != "none" {
            command.arg("--tls-verify").arg("--tls-ca-path").arg(&station.ca);
        }
        let finished = run(&mut command, b"");
        assert!(finished.status.success(), "{tls} {options:?}: {}", finished.text());
        let mail = station.smarthost.mails(index + 1).remove(index);
        assert_eq!(protocol(&mail), with, "{tls} {options:?}");
        assert!(String::from_utf8_lossy(&mail.content).contains("This is a test mailing"));
    }
}

// ---- openssl ----

fn s_client(address: SocketAddr, options: &[&str], ca: &PathBuf) -> Option<Finished> {
    let openssl = peer("openssl")?;
    let mut command = Command::new(openssl);
    command.args(["s_client", "-crlf", "-quiet", "-verify_return_error", "-verify_hostname", "localhost"]);
    command.arg("-CAfile").arg(ca).args(["-connect", &address.to_string()]).args(options);
    Some(run(&mut command, b"EHLO openssl.test\nQUIT\n"))
}

#[test]
fn openssl_verifies_our_certificate_in_both_tls_modes() {
    let station = Station::start();
    for (tls, options) in [("starttls", &["-starttls", "smtp"][..]), ("implicit", &[])] {
        for version in ["-tls1_2", "-tls1_3"] {
            let options = [options, &[version]].concat();
            let Some(finished) = s_client(station.relay.address(tls), &options, &station.ca) else { return };
            let text = finished.text();
            assert!(finished.status.success(), "{options:?}: {text}");
            assert!(
                text.contains("verify return:1") && text.contains("AUTH PLAIN LOGIN"),
                "{options:?}: {text}"
            );
            assert!(text.contains("221 2.0.0"), "{options:?}: {text}");
        }
    }
}

#[test]
fn openssl_may_not_speak_tls_1_1() {
    let station = Station::start();
    // Its own security level would keep it from trying.
    let old = ["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"];
    for (tls, options) in [("starttls", &["-starttls", "smtp"][..]), ("implicit", &[])] {
        let options = [options, &old].concat();
        let Some(finished) = s_client(station.relay.address(tls), &options, &station.ca) else { return };
        assert!(!finished.status.success(), "{}", finished.text());
        assert!(finished.text().contains("SSL alert number"), "{tls}: {}", finished.text());
        station.relay.logged(&["TLS handshake failed"]);
    }
}

/// CVE-2011-0411: commands slipped in behind STARTTLS must not be obeyed inside TLS.
#[test]
fn what_comes_in_plain_behind_starttls_is_not_obeyed_inside_tls() {
    let station = Station::start();
    for slipped_in in
        ["NOOP", "RSET", "EHLO evil.test", "MAIL FROM:<evil@shop.test>", "AUTH PLAIN AGEAYg==", "QUIT"]
    {
        let mut client = Client::connect(station.relay.address("starttls"));
        client.send(format!("STARTTLS\r\n{slipped_in}\r\n").as_bytes());
        assert!(client.reply().starts_with("220 "), "{slipped_in}");
        let mut tls = client.encrypt(&station.ca, "localhost");
        tls.write_all(b"HELO client.test\r\nQUIT\r\n").unwrap();
        let mut said = String::new();
        tls.read_to_string(&mut said).unwrap();
        let codes: Vec<&str> = said.lines().map(|line| &line[..4]).collect();
        assert_eq!(codes, ["250 ", "221 "], "{slipped_in}: {said}");
        assert!(said.starts_with("250 relay.test") || said.contains("client.test"), "{slipped_in}: {said}");
    }
}

// ---- lettre ----

fn lettre_message(subject: &str) -> Message {
    let builder =
        Message::builder().from("shop@shop.test".parse().unwrap()).to("ana@guest.test".parse().unwrap());
    builder.subject(subject).body(format!("{subject}\r\n.\r\n..\r\nend\r\n")).unwrap()
}

fn lettre_tls(station: &Station) -> TlsParameters {
    let ca = std::fs::read(&station.ca).unwrap();
    let builder = TlsParameters::builder("localhost".into());
    builder.add_root_certificate(Certificate::from_pem(&ca).unwrap()).build_rustls().unwrap()
}

#[test]
fn lettre_submits_by_both_tls_modes_and_both_logins() {
    let station = Station::start();
    let rows =
        [("starttls", Mechanism::Plain), ("starttls", Mechanism::Login), ("implicit", Mechanism::Plain)];
    for (index, (tls, mechanism)) in rows.into_iter().enumerate() {
        let address = station.relay.address(tls);
        let parameters = lettre_tls(&station);
        let tls = if tls == "starttls" { Tls::Required(parameters) } else { Tls::Wrapper(parameters) };
        let client = SmtpTransport::builder_dangerous(address.ip().to_string())
            .port(address.port())
            .tls(tls)
            .authentication(vec![mechanism])
            .credentials(Credentials::new("shop".into(), PASSWORD.into()))
            .build();
        let message = lettre_message("sync");
        let reply = client.send(&message).unwrap();
        assert!(reply.first_line().unwrap().contains("queued for out, due"), "{reply:?}");
        let mail = station.smarthost.mails(index + 1).remove(index);
        // lettre ends every message with a line end of its own.
        let sent = [message.formatted().as_slice(), b"\r\n"].concat();
        assert!(mail.content.ends_with(&sent), "{}\n{}", sent.escape_ascii(), mail.content.escape_ascii());
        assert_eq!(protocol(&mail), "ESMTPSA");
    }
}

#[tokio::test]
async fn lettre_submits_many_messages_at_once_from_one_pool() {
    let station = Station::start();
    let address = station.relay.address("starttls");
    let client = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(address.ip().to_string())
        .port(address.port())
        .tls(Tls::Required(lettre_tls(&station)))
        .credentials(Credentials::new("shop".into(), PASSWORD.into()))
        .build();
    let mut sending = tokio::task::JoinSet::new();
    for number in 0..20 {
        let client = client.clone();
        sending.spawn(async move { client.send(lettre_message(&format!("async {number}"))).await.unwrap() });
    }
    assert_eq!(sending.join_all().await.len(), 20);
    assert_eq!(station.smarthost.mails(20).len(), 20);
}

// ---- Postfix's smtp-source ----

#[test]
fn smtp_source_sends_over_many_sessions() {
    let Some(source) = peer("smtp-source") else { return };
    let station = Station::start();
    for options in [&["-s", "20", "-m", "300"][..], &["-d", "-s", "10", "-m", "300", "-l", "20000"]] {
        let before = station.smarthost.count();
        let mut command = Command::new(&source);
        command.args(options).args(["-f", "shop@shop.test", "-t", "ana@guest.test"]);
        let finished = run(command.arg(station.relay.plain().to_string()), b"");
        finished.expect_success();
        assert_eq!(station.smarthost.mails(before + 300).len(), before + 300);
    }
}

// ---- Postfix, relaying through us ----

#[test]
fn postfix_relays_through_us_with_verified_tls_and_a_login() {
    let (Some(_), Some(source)) = (peer("postfix"), peer("smtp-source")) else { return };
    for tls in ["starttls", "implicit"] {
        let station = Station::start();
        let address = station.relay.address(tls);
        let wrapper =
            if tls == "implicit" { "smtp_tls_wrappermode = yes\ninet_protocols = all\n" } else { "" };
        let passwords = station.folder.path().join("passwords");
        write_secret(&passwords, &format!("[{}]:{} shop:{PASSWORD}\n", address.ip(), address.port()));
        let main_cf = format!(
            "relayhost = [{}]:{}\nsmtp_tls_verify_cert_match = localhost\nsmtp_tls_security_level = verify\nsmtp_tls_CAfile = {}\n\
             smtp_tls_loglevel = 1\nsmtp_sasl_auth_enable = yes\nsmtp_sasl_password_maps = texthash:{}\n\
             smtp_sasl_security_options = noanonymous\n{wrapper}",
            address.ip(),
            address.port(),
            station.ca.display(),
            passwords.display(),
        );
        let postfix = Postfix::start(station.folder.path(), &main_cf).unwrap();
        let mut command = Command::new(&source);
        command.args(["-s", "5", "-m", "20", "-f", "shop@shop.test", "-t", "ana@guest.test"]);
        run(command.arg(format!("127.0.0.1:{}", postfix.port)), b"").expect_success();
        let mails = station.smarthost.mails(20);
        assert_eq!(protocol(&mails[0]), "ESMTPSA");
        // Its log is written by a process of its own.
        for words in ["Verified TLS connection established to", "queued for out, due"] {
            until(words, || postfix.log().contains(words).then_some(()));
        }
    }
}

#[test]
fn a_port_that_is_taken_is_told_at_start() {
    let folder = folder();
    let port = free_port();
    let _taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let config = format!(
        "[[listener]]\naddress = \"127.0.0.1:{port}\"\n[smarthost.out]\nhost = \"127.0.0.1\"\ntls = \"none\"\n"
    );
    let file = folder.path().join("waystation.toml");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_waystation"));
    let finished = run(command.arg("run").arg("--config").arg(&file), b"");
    assert_eq!(finished.status.code(), Some(69), "{}", finished.text());
    assert!(finished.text().contains("another program listens there"), "{}", finished.text());
}
