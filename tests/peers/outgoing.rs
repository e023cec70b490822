//! Smarthosts behind us: Postfix, smtp-sink, and stand-ins that show what was said to them, and what wasn't.

use crate::support::client::{Client, letter, submit};
use crate::support::foreign::{peer, run};
use crate::support::ports::free_port;
use crate::support::postfix::Postfix;
use crate::support::relay::Relay;
use crate::support::smarthost::{
    Answers, EVERYTHING, Settings, Smarthost, Tls, WITHOUT_CHUNKING, certificate,
};
use crate::support::{folder, make_certificates, until, write_secret};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const TOP: &str = "hostname = \"relay.test\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n";

/// One smarthost on loopback, with more lines of settings.
fn smarthost(name: &str, port: u16, more: &str) -> String {
    format!("[smarthost.{name}]\nhost = \"localhost\"\nport = {port}\n{more}\n")
}

/// A route by the recipient's domain.
fn route(name: &str) -> String {
    format!("[[route]]\nrecipient = \"@{name}.test\"\nsmarthost = \"{name}\"\n")
}

/// Lines with a secret, or a message, in them.
fn said_in_confidence(transcript: &[String]) -> Vec<&String> {
    let secret =
        |line: &&String| ["AUTH", "MAIL", "RCPT", "DATA", "BDAT"].iter().any(|verb| line.starts_with(verb));
    transcript.iter().filter(secret).collect()
}

// ---- Postfix ----

/// Postfix with certs/make.sh's certificate and a password database, relaying to this port.
fn postfix_with_logins(folder: &Path, next: u16) -> Option<Postfix> {
    let saslpasswd = peer("saslpasswd2")?;
    let certs = make_certificates(folder);
    let database = folder.join("sasldb2");
    let mut command = Command::new(saslpasswd);
    command.args(["-p", "-c", "-f"]).arg(&database).args(["-u", "postfix.test", "shop"]);
    run(&mut command, b"secret 4711").expect_success();
    std::fs::set_permissions(&database, std::fs::Permissions::from_mode(0o644)).unwrap();
    // Debian's Postfix looks beside its main.cf, others where they are told.
    let sasl = folder.join("postfix/etc/sasl");
    std::fs::create_dir_all(&sasl).unwrap();
    std::fs::write(
        sasl.join("smtpd.conf"),
        format!(
            "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: {}\nmech_list: PLAIN LOGIN CRAM-MD5\n",
            database.display()
        ),
    )
    .unwrap();
    let certs = certs.display();
    let main_cf = format!(
        "relayhost = [127.0.0.1]:{next}\nmynetworks = 192.0.2.0/24\nsmtpd_tls_security_level = may\n\
         smtpd_tls_cert_file = {certs}/relay.pem\nsmtpd_tls_key_file = {certs}/relay.key\nsmtpd_tls_auth_only = yes\n\
         smtpd_tls_loglevel = 1\nsmtpd_sasl_auth_enable = yes\nsmtpd_sasl_local_domain = postfix.test\n\
         cyrus_sasl_config_path = {}\nsmtp_tls_security_level = none\n",
        sasl.display()
    );
    Postfix::start(folder, &main_cf)
}

#[test]
fn postfix_takes_our_mail_by_every_login_and_tls_mode() {
    let folder = folder();
    let next = Smarthost::plain();
    let Some(postfix) = postfix_with_logins(folder.path(), next.address.port()) else { return };
    write_secret(&folder.path().join("shop.password"), "secret 4711\n");
    let account =
        "username = \"shop@postfix.test\"\npassword_file = \"shop.password\"\nca_file = \"certs/ca.pem\"";
    let rows = [
        ("auto", postfix.port, "auth = \"auto\""),
        ("plain", postfix.port, "auth = \"plain\""),
        ("login", postfix.port, "auth = \"login\""),
        ("cram", postfix.port, "auth = \"cram-md5\""),
        ("wrapped", postfix.tls_port, "tls = \"implicit\"\ndefault = true"),
    ];
    let mut config = TOP.to_owned();
    for (name, port, more) in rows {
        config += &smarthost(name, port, &format!("{account}\n{more}"));
        config += &route(name);
    }
    let relay = Relay::start(folder.path(), &config);
    for (index, (name, ..)) in rows.into_iter().enumerate() {
        let content = letter(name);
        submit(relay.plain(), "shop@shop.test", &[&format!("ana@{name}.test")], &content);
        let mail = next.mails(index + 1).remove(index);
        assert!(mail.content.ends_with(&content), "{name}");
        assert!(mail.recipients[0].starts_with(&format!("<ana@{name}.test>")), "{:?}", mail.recipients);
    }
    // Its log is written by a process of its own.
    for mechanism in ["PLAIN", "LOGIN", "CRAM-MD5"] {
        let words = format!("sasl_method={mechanism}, sasl_username=shop@postfix.test");
        until(&words, || postfix.log().contains(&words).then_some(()));
    }
}

#[test]
fn postfix_takes_a_thousand_messages_over_kept_connections() {
    let Some(source) = peer("smtp-source") else { return };
    let folder = folder();
    let next = Smarthost::plain();
    let main_cf = format!("relayhost = [127.0.0.1]:{}\n", next.address.port());
    let Some(postfix) = Postfix::start(folder.path(), &main_cf) else { return };
    let config = TOP.to_owned() + &smarthost("out", postfix.port, "tls = \"none\"");
    let relay = Relay::start(folder.path(), &config);
    let mut command = Command::new(source);
    command.args(["-d", "-s", "10", "-m", "1000", "-f", "shop@shop.test", "-t", "ana@guest.test"]);
    run(command.arg(relay.plain().to_string()), b"").expect_success();
    assert_eq!(next.mails(1000).len(), 1000);
    let connections = postfix.log().matches("smtpd").count();
    let connects = postfix.log().lines().filter(|line| line.contains(": connect from")).count();
    assert!(connects < 100, "{connects} connections, {connections} lines");
}

// ---- smtp-sink ----

/// Killed when dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn smtp_sink_takes_our_mail_with_and_without_pipelining() {
    let (Some(sink), Some(source)) = (peer("smtp-sink"), peer("smtp-source")) else { return };
    for options in [&["-8"][..], &["-8", "-p"]] {
        let folder = folder();
        let dump = folder.path().join("dump");
        std::fs::create_dir(&dump).unwrap();
        std::fs::set_permissions(&dump, std::fs::Permissions::from_mode(0o777)).unwrap();
        let port = free_port();
        let mut command = Command::new(&sink);
        // Its names need a directory that its user may write to.
        command.args(["-u", "nobody", "-R"]).arg(&dump).args(["-d", "%M."]).args(options);
        let command =
            command.args([&format!("127.0.0.1:{port}"), "100"]).stdout(Stdio::null()).stderr(Stdio::null());
        let _sink = Killed(command.spawn().unwrap());
        until("smtp-sink listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        let config = TOP.to_owned() + &smarthost("out", port, "tls = \"none\"");
        let relay = Relay::start(folder.path(), &config);
        let mut command = Command::new(&source);
        command.args(["-s", "5", "-m", "100", "-f", "shop@shop.test", "-t", "ana@guest.test"]);
        run(command.arg(relay.plain().to_string()), b"").expect_success();
        until("100 messages in the sink", || {
            (std::fs::read_dir(&dump).unwrap().count() >= 100).then_some(())
        });
        let delivered = || (relay.count_logged(&["message delivered"]) == 100).then_some(());
        until("100 deliveries in the log", delivered);
    }
}

// ---- certificates ----

#[test]
fn a_smarthost_is_believed_by_anchor_or_pin() {
    let folder = folder();
    let (pem, pin, server) = certificate(&["localhost"]);
    std::fs::write(folder.path().join("ca.pem"), pem).unwrap();
    let starttls = Smarthost::start(Settings { tls: Tls::ByCommand(server.clone()), ..Settings::default() });
    let implicit = Smarthost::start(Settings { tls: Tls::Implicit(server), ..Settings::default() });
    let rows = [
        ("anchor", &starttls, "default = true\nca_file = \"ca.pem\"".to_owned()),
        ("wrapped", &implicit, "tls = \"implicit\"\nca_file = \"ca.pem\"".to_owned()),
        ("pinned", &starttls, format!("pin_sha256 = \"{pin}\"")),
        (
            "named",
            &implicit,
            format!("tls = \"implicit\"\nserver_name = \"other.test\"\npin_sha256 = \"{pin}\""),
        ),
        ("classic", &starttls, "post_quantum = false\nca_file = \"ca.pem\"".to_owned()),
    ];
    let mut config = TOP.to_owned();
    for (name, server, more) in &rows {
        config += &smarthost(name, server.address.port(), more);
        config += &route(name);
    }
    let relay = Relay::start(folder.path(), &config);
    for (name, server, _) in &rows {
        let before = server.count();
        submit(relay.plain(), "shop@shop.test", &[&format!("ana@{name}.test")], &letter(name));
        assert_eq!(server.mails(before + 1)[before].recipients, [format!("<ana@{name}.test>")]);
    }
}

#[test]
fn nothing_is_said_to_a_smarthost_with_the_wrong_certificate() {
    let folder = folder();
    let (_, _, server) = certificate(&["localhost"]);
    let (other_pem, other_pin, _) = certificate(&["localhost"]);
    let (misnamed_pem, _, misnamed) = certificate(&["other.test"]);
    std::fs::write(folder.path().join("other.pem"), other_pem).unwrap();
    std::fs::write(folder.path().join("misnamed.pem"), misnamed_pem).unwrap();
    let login = Some(("shop".to_owned(), "secret".to_owned()));
    let with = |tls: Tls| Smarthost::start(Settings { tls, login: login.clone(), ..Settings::default() });
    let starttls = with(Tls::ByCommand(server.clone()));
    let implicit = with(Tls::Implicit(server));
    let misnamed = with(Tls::ByCommand(misnamed));
    let rows = [
        ("stranger", &starttls, "default = true".to_owned()),
        ("otherca", &starttls, "ca_file = \"other.pem\"".to_owned()),
        ("otherpin", &starttls, format!("pin_sha256 = \"{other_pin}\"")),
        ("wrapped", &implicit, "tls = \"implicit\"\nca_file = \"other.pem\"".to_owned()),
        ("misnamed", &misnamed, "ca_file = \"misnamed.pem\"".to_owned()),
    ];
    let mut config = TOP.to_owned();
    for (name, server, more) in &rows {
        let account = "username = \"shop\"\npassword = \"secret\"";
        config += &smarthost(name, server.address.port(), &format!("{account}\n{more}"));
        config += &route(name);
    }
    let relay = Relay::start(folder.path(), &config);
    for (name, server, _) in &rows {
        submit(relay.plain(), "shop@shop.test", &[&format!("ana@{name}.test")], &letter(name));
        relay.logged(&["lane stopped", &format!("lane={name}")]);
        let lane = relay.lane(name);
        assert_eq!(lane["state"], "stopped", "{lane}");
        assert_eq!(
            lane["queued"].as_u64().unwrap() + lane["deferred"].as_u64().unwrap(),
            1,
            "mail is kept: {lane}"
        );
        assert!(!lane["reason"].as_str().unwrap().is_empty() && lane["advice"].is_string(), "{lane}");
        assert_eq!(said_in_confidence(&server.transcript()), [] as [&String; 0], "{name}");
        assert_eq!(server.count(), 0);
    }
}

#[test]
fn nothing_goes_in_plain_when_starttls_is_missing_or_refused() {
    let folder = folder();
    let login = Some(("shop".to_owned(), "secret".to_owned()));
    let refuses = |reply: &'static str| {
        let (_, _, server) = certificate(&["localhost"]);
        Smarthost::start(Settings {
            tls: Tls::ByCommand(server),
            login: login.clone(),
            reply: Box::new(move |line| (line == "STARTTLS").then(|| reply.to_owned())),
            ..Settings::default()
        })
    };
    let rows = [
        ("stripped", Smarthost::start(Settings { login: login.clone(), ..Settings::default() })),
        ("later", refuses("454 4.7.0 TLS not available due to temporary reason")),
        ("never", refuses("502 5.5.1 not implemented")),
        ("closed", refuses("close")),
        ("chatty", refuses("220 2.0.0 go ahead\r\n250 injected")),
    ];
    let mut config = TOP.to_owned();
    for (index, (name, server)) in rows.iter().enumerate() {
        let default = if index == 0 { "default = true\n" } else { "" };
        let more = format!("{default}username = \"shop\"\npassword = \"secret\"");
        config += &smarthost(name, server.address.port(), &more);
        config += &route(name);
    }
    let relay = Relay::start(folder.path(), &config);
    for (name, server) in &rows {
        submit(relay.plain(), "shop@shop.test", &[&format!("ana@{name}.test")], &letter(name));
        relay.logged(&["lane stopped", &format!("lane={name}")]);
        let lane = relay.lane(name);
        assert_eq!(
            lane["queued"].as_u64().unwrap() + lane["deferred"].as_u64().unwrap(),
            1,
            "mail is kept: {lane}"
        );
        assert_eq!(said_in_confidence(&server.transcript()), [] as [&String; 0], "{name}");
    }
}

// ---- logins ----

#[test]
fn a_wrong_password_freezes_the_lane_until_it_is_mended() {
    for by_reload in [false, true] {
        let folder = folder();
        let server = Smarthost::start(Settings {
            login: Some(("shop".into(), "right".into())),
            mechanisms: "PLAIN LOGIN CRAM-MD5",
            ..Settings::default()
        });
        let password = folder.path().join("shop.password");
        write_secret(&password, "wrong\n");
        let account = "tls = \"none\"\nusername = \"shop\"\npassword_file = \"shop.password\"";
        let config = TOP.to_owned() + &smarthost("out", server.address.port(), account);
        let relay = Relay::start(folder.path(), &config);
        for number in 0..5 {
            submit(relay.plain(), "shop@shop.test", &["ana@guest.test"], &letter(&format!("waits-{number}")));
        }
        relay.logged(&["lane frozen", "lane=out", "535"]);
        let lane = relay.lane("out");
        assert_eq!(lane["state"], "frozen", "{lane}");
        assert!(lane["reason"].as_str().unwrap().contains("authentication failed"), "{lane}");
        assert!(!lane["advice"].as_str().unwrap().is_empty(), "{lane}");
        assert!(lane["next_probe"].is_string(), "{lane}");
        assert_eq!(lane["queued"], 5, "no attempt is burnt: {lane}");
        let logins = server.transcript().iter().filter(|line| line.starts_with("AUTH")).count();
        assert_eq!(logins, 1, "{:?}", server.transcript());
        assert!(!server.transcript().iter().any(|line| line.starts_with("MAIL")));
        write_secret(&password, "right\n");
        if by_reload {
            relay.reload(&config);
        } else {
            relay.command(&["queue", "retry", "--all"]).expect_success();
        }
        assert_eq!(server.mails(5).len(), 5);
        relay.logged(&["lane resumed", "lane=out"]);
        assert_eq!(relay.lane("out")["state"], "flowing");
    }
}

/// In each lane one message is refused in a way that would stop the lane for all.
#[test]
fn what_one_message_is_told_keeps_the_others_for_a_moment_only() {
    let folder = folder();
    let rows: [(&str, &str, &'static str, &'static str); 4] = [
        (
            "relay",
            "deferred",
            "RCPT TO:<bob@relay.test>",
            "451 4.7.1 relay access denied for now, authentication required",
        ),
        ("quota", "deferred", "RCPT TO:<bob@quota.test>", "452 4.7.1 hourly limit exceeded"),
        ("busy", "deferred", "MAIL FROM:<poison@shop.test>", "421 4.7.0 sender throttled"),
        ("login", "deferred", "MAIL FROM:<poison@shop.test>", "530 5.7.1 sender must log in"),
    ];
    let servers = rows.map(|(_, _, line, reply)| {
        let reply = move |said: &str| said.starts_with(line).then(|| reply.to_owned());
        Smarthost::start(Settings { reply: Box::new(reply), ..Settings::default() })
    });
    let mut config = TOP.to_owned();
    for ((name, ..), server) in rows.iter().zip(&servers) {
        let default = format!("tls = \"none\"\ndefault = {}", *name == "relay");
        config += &smarthost(name, server.address.port(), &default);
        config += &route(name);
    }
    let relay = Relay::start(folder.path(), &config);
    for ((name, _, line, _), server) in rows.iter().zip(&servers) {
        submit(relay.plain(), "poison@shop.test", &[&format!("bob@{name}.test")], &letter("poison"));
        server.heard(line, 1);
        for number in 0..3 {
            submit(
                relay.plain(),
                "shop@shop.test",
                &[&format!("ana@{name}.test")],
                &letter(&format!("good-{number}")),
            );
        }
    }
    for ((name, state, ..), server) in rows.iter().zip(&servers) {
        assert_eq!(server.mails(3).len(), 3, "{name}");
        until(&format!("{name}: the poisoned one {state}"), || (relay.lane(name)[*state] == 1).then_some(()));
        let lane = relay.lane(name);
        assert_eq!(lane["state"], "flowing", "{name}: {lane}");
    }
}

/// The refused message is all there is; what comes later doesn't wait as long as it does.
#[test]
fn mail_that_comes_later_is_the_probe_of_a_lane_that_one_message_stopped() {
    let folder = folder();
    let reply =
        |said: &str| said.starts_with("MAIL FROM:<poison").then(|| "530 5.7.1 sender must log in".to_owned());
    let server = Smarthost::start(Settings { reply: Box::new(reply), ..Settings::default() });
    let config = TOP.to_owned() + &smarthost("out", server.address.port(), "tls = \"none\"");
    let relay = Relay::start(folder.path(), &config);
    submit(relay.plain(), "poison@shop.test", &["ana@guest.test"], &letter("poison"));
    // The second time it was its own probe, and the next one is minutes away.
    server.heard("MAIL FROM:<poison", 2);
    submit(relay.plain(), "shop@shop.test", &["ana@guest.test"], &letter("good"));
    assert!(server.mails(1)[0].sender.starts_with("<shop@shop.test>"));
    relay.logged(&["lane resumed", "lane=out"]);
}

/// A relay that takes mail for its own domains alone.
#[test]
fn a_recipient_outside_of_a_relays_domains_bounces_and_stops_nobody() {
    let folder = folder();
    let denied =
        |said: &str| said.contains("@outside.test").then(|| "554 5.7.1 Relay access denied".to_owned());
    let server = Smarthost::start(Settings { reply: Box::new(denied), ..Settings::default() });
    let relay = Relay::start(
        folder.path(),
        &(TOP.to_owned() + &smarthost("out", server.address.port(), "tls = \"none\"")),
    );
    submit(relay.plain(), "shop@shop.test", &["ana@inside.test", "bob@outside.test"], &letter("both"));
    // The message, and the bounce of it.
    let mails = server.mails(2);
    assert_eq!(mails[0].recipients, ["<ana@inside.test>"]);
    assert!(String::from_utf8_lossy(&mails[1].content).contains("Relay access denied"));
    assert_eq!(relay.count_logged(&["lane frozen"]) + relay.count_logged(&["lane stopped"]), 0);
}

/// A relay that knew our address, and doesn't any more.
#[test]
fn a_relay_that_begins_to_deny_everything_keeps_its_mail_waiting() {
    let folder = folder();
    let (denies, said_later) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (denying, later) = (denies.clone(), said_later.clone());
    let server = Smarthost::start(Settings {
        reply: Box::new(move |line| {
            // Whatever else it says of another one, it let nobody pass.
            if line.starts_with("MAIL FROM:<later@") {
                later.store(true, Ordering::SeqCst);
                return Some("451 4.3.0 later".to_owned());
            }
            let is_denied = line.starts_with("RCPT") && denying.load(Ordering::SeqCst);
            is_denied.then(|| "554 5.7.1 Relay access denied".to_owned())
        }),
        ..Settings::default()
    });
    let config = TOP.to_owned() + &smarthost("out", server.address.port(), "tls = \"none\"");
    let relay = Relay::start(folder.path(), &config);
    submit(relay.plain(), "shop@shop.test", &["ana@guest.test"], &letter("taken"));
    assert_eq!(server.mails(1).len(), 1);
    denies.store(true, Ordering::SeqCst);
    submit(relay.plain(), "shop@shop.test", &["bob@guest.test"], &letter("denied"));
    relay.logged(&["lane frozen", "lane=out"]);
    submit(relay.plain(), "later@shop.test", &["eve@guest.test"], &letter("later"));
    until("another one is tried", || said_later.load(Ordering::SeqCst).then_some(()));
    relay.logged(&["message deferred", "later"]);
    for number in 0..3 {
        submit(relay.plain(), "shop@shop.test", &["ana@guest.test"], &letter(&format!("denied-{number}")));
    }
    // Three others see the same, and then none is tried.
    server.heard("RCPT TO:<ana@guest.test>", 4);
    until("the last one has its answer", || (relay.lane("out")["connections"] == 0).then_some(()));
    assert_eq!(relay.count_logged(&["message failed"]), 0);
    let waits =
        |lane: &serde_json::Value| lane["queued"].as_u64().unwrap() + lane["deferred"].as_u64().unwrap();
    until("all wait", || (waits(&relay.lane("out")) == 5).then_some(()));
    denies.store(false, Ordering::SeqCst);
    relay.command(&["queue", "retry", "--all"]).expect_success();
    assert_eq!(server.mails(5).len(), 5);
}

/// Trying mail of one lane again costs no login at another whose login is refused.
#[test]
fn a_retry_probes_the_lanes_of_what_it_retries_alone() {
    let folder = folder();
    let server = || {
        let login = Some(("shop".to_owned(), "right".to_owned()));
        Smarthost::start(Settings { login, ..Settings::default() })
    };
    let servers = [("one", server()), ("two", server())];
    let password = folder.path().join("shop.password");
    write_secret(&password, "wrong\n");
    let mut config = TOP.to_owned();
    for (name, server) in &servers {
        let account = "tls = \"none\"\nusername = \"shop\"\npassword_file = \"shop.password\"";
        let account = format!("{account}\ndefault = {}", *name == "one");
        config += &smarthost(name, server.address.port(), &account);
        config += &route(name);
    }
    let relay = Relay::start(folder.path(), &config);
    for (name, _) in &servers {
        submit(relay.plain(), "shop@shop.test", &[&format!("ana@{name}.test")], &letter(name));
        relay.logged(&["lane frozen", &format!("lane={name}")]);
    }
    relay.command(&["queue", "retry", "--lane", "one", "--yes"]).expect_success();
    servers[0].1.heard("AUTH", 2);
    relay.command(&["queue", "retry", "--lane", "nobody", "--yes"]).expect_success();
    relay.command(&["queue", "retry", "--lane", "one", "--yes"]).expect_success();
    servers[0].1.heard("AUTH", 3);
    let logins = servers[1].1.transcript().iter().filter(|line| line.starts_with("AUTH")).count();
    assert_eq!(logins, 1);
}

#[test]
fn the_configured_mechanism_is_used_and_no_other() {
    let folder = folder();
    let server = |mechanisms| {
        let login = Some(("shop".to_owned(), "s3cret ü".to_owned()));
        Smarthost::start(Settings { login, mechanisms, ..Settings::default() })
    };
    let rows = [
        ("auto", "LOGIN PLAIN CRAM-MD5", "auto", Some("AUTH CRAM-MD5")),
        ("onlylogin", "GSSAPI LOGIN", "auto", Some("AUTH LOGIN")),
        ("plain", "LOGIN PLAIN CRAM-MD5", "plain", Some("AUTH PLAIN")),
        ("login", "LOGIN PLAIN CRAM-MD5", "login", Some("AUTH LOGIN")),
        ("cram", "LOGIN PLAIN CRAM-MD5", "cram-md5", Some("AUTH CRAM-MD5")),
        ("missing", "LOGIN PLAIN", "cram-md5", None),
        ("unknown", "GSSAPI SCRAM-SHA-256", "auto", None),
    ];
    let servers = rows.map(|(_, mechanisms, ..)| server(mechanisms));
    let mut config = TOP.to_owned();
    for ((name, _, auth, _), server) in rows.iter().zip(&servers) {
        let default = if *name == "auto" { "default = true\n" } else { "" };
        let account = format!(
            "{default}tls = \"none\"\nauth = \"{auth}\"\nusername = \"shop\"\npassword = \"s3cret ü\""
        );
        config += &smarthost(name, server.address.port(), &account);
        config += &route(name);
    }
    let relay = Relay::start(folder.path(), &config);
    for ((name, _, _, expected), server) in rows.iter().zip(&servers) {
        submit(relay.plain(), "shop@shop.test", &[&format!("ana@{name}.test")], &letter(name));
        let Some(expected) = expected else {
            relay.logged(&["lane ", &format!("lane={name}"), "cause="]);
            assert_eq!(said_in_confidence(&server.transcript()), [] as [&String; 0], "{name}");
            continue;
        };
        server.mails(1);
        let transcript = server.transcript();
        let logins: Vec<&String> = transcript.iter().filter(|line| line.starts_with("AUTH")).collect();
        assert!(logins.len() == 1 && logins[0].starts_with(expected), "{name}: {logins:?}");
    }
}

// ---- connections that end too early ----

#[test]
fn a_connection_lost_behind_the_final_dot_defers_with_a_mark() {
    for extensions in [EVERYTHING, WITHOUT_CHUNKING] {
        let folder = folder();
        let lost = AtomicBool::new(false);
        let server = Smarthost::start(Settings {
            extensions,
            reply: Box::new(move |line| {
                (line == "." && !lost.swap(true, Ordering::Relaxed)).then(|| "close".to_owned())
            }),
            ..Settings::default()
        });
        let config = TOP.to_owned() + &smarthost("out", server.address.port(), "tls = \"none\"");
        let relay = Relay::start(folder.path(), &config);
        submit(relay.plain(), "shop@shop.test", &["ana@guest.test"], &letter("twice"));
        relay.logged(&["no answer to the final dot"]);
        // Its line in the log comes before it is written, and only then it can be retried.
        until("deferred", || (relay.lane("out")["deferred"] == 1).then_some(()));
        assert_eq!(server.count(), 0);
        relay.command(&["queue", "retry", "--all"]).expect_success();
        assert_eq!(server.mails(1).len(), 1);
    }
}

#[test]
fn later_at_any_step_defers_and_nothing_is_lost() {
    for step in ["EHLO", "MAIL", "RCPT", "DATA", "."] {
        for reply in ["451 4.3.0 later", "421 4.3.2 closing", "close"] {
            let folder = folder();
            let mended = Arc::new(AtomicBool::new(false));
            let good = mended.clone();
            let server = Smarthost::start(Settings {
                extensions: WITHOUT_CHUNKING,
                reply: Box::new(move |line| {
                    (line.starts_with(step) && !good.load(Ordering::Relaxed)).then(|| reply.to_owned())
                }),
                ..Settings::default()
            });
            let config = TOP.to_owned() + &smarthost("out", server.address.port(), "tls = \"none\"");
            let relay = Relay::start(folder.path(), &config);
            submit(relay.plain(), "shop@shop.test", &["ana@guest.test"], &letter("later"));
            until("the lane stopped, or the message was deferred", || {
                let lane = relay.lane("out");
                (lane["state"] != "flowing" || lane["deferred"] == 1).then_some(())
            });
            mended.store(true, Ordering::Relaxed);
            relay.command(&["queue", "retry", "--all"]).expect_success();
            let mails = server.mails(1);
            assert_eq!(mails.len(), 1, "{step} {reply}");
            relay.logged(&["message delivered"]);
            assert_eq!(relay.count_logged(&["message failed"]), 0, "{step} {reply}");
        }
    }
}

#[test]
fn what_a_stop_cuts_short_counts_as_no_attempt() {
    let folder = folder();
    let (hangs, asked) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
    let (hanging, seen) = (hangs.clone(), asked.clone());
    let server = Smarthost::start(Settings {
        // By BDAT the content would be out with the rest, and without an answer in doubt.
        extensions: WITHOUT_CHUNKING,
        reply: Box::new(move |line| {
            let silent = line.starts_with("MAIL ") && hanging.load(Ordering::SeqCst);
            seen.fetch_or(silent, Ordering::SeqCst);
            silent.then(|| "silence".to_owned())
        }),
        ..Settings::default()
    });
    let config = TOP.to_owned() + &smarthost("out", server.address.port(), "tls = \"none\"");
    let relay = Relay::start(folder.path(), &config);
    submit(relay.plain(), "shop@shop.test", &["ana@guest.test"], &letter("cut-short"));
    until("it hangs", || asked.load(Ordering::SeqCst).then_some(()));
    relay.command(&["stop"]).expect_success();
    hangs.store(false, Ordering::SeqCst);
    let relay = Relay::start(folder.path(), &config);
    assert_eq!(server.mails(1).len(), 1);
    let journal = || relay.json(&["journal", "--state", "delivered", "--format", "json"]);
    let told = until("it is delivered", || journal().as_array().filter(|told| !told.is_empty()).cloned());
    assert_eq!(told[0]["recipients"][0]["attempts"], 1, "{told:?}");
}

// ---- what is sent without waiting ----

/// Sends so many messages to a smarthost that answers late; they are queued before it may be used.
fn sent_ahead(extensions: &'static [&'static str], answers: Answers, count: usize) -> Vec<String> {
    let folder = folder();
    let server = Smarthost::start(Settings { extensions, answers, ..Settings::default() });
    let more = |enabled: bool| {
        let out = smarthost(
            "out",
            server.address.port(),
            &format!("tls = \"none\"\nconnections = 1\nenabled = {enabled}"),
        );
        TOP.to_owned() + &out
    };
    let relay = Relay::start(folder.path(), &more(false));
    let mut client = Client::connect(relay.plain());
    for number in 0..count {
        client.begin("shop@shop.test", "", &["ana@guest.test", "bob@guest.test"]);
        assert!(client.data(&letter(&format!("ahead-{number}"))).starts_with("250"));
    }
    assert_eq!(server.count(), 0, "a disabled smarthost gets nothing");
    assert_eq!(relay.lane("out")["state"], "disabled");
    relay.reload(&more(true));
    let mails = server.mails(count);
    assert_eq!(mails.len(), count);
    until("all are delivered", || (relay.count_logged(&["message delivered"]) == 2 * count).then_some(()));
    server.transcript()
}

#[test]
fn with_chunking_several_messages_are_in_flight() {
    // The stand-in says nothing until the second message is whole: two are in flight, or nothing ever arrives.
    let transcript = sent_ahead(EVERYTHING, Answers::BehindMessages(2), 5);
    assert_eq!(transcript.iter().filter(|line| line.starts_with("EHLO")).count(), 1);
    assert_eq!(transcript.iter().filter(|line| line.starts_with("BDAT")).count(), 5);
}

#[test]
fn with_pipelining_a_message_costs_one_round_trip() {
    // Replies wait for the next DATA: MAIL, RCPT, DATA come together, behind the last message's dot.
    let transcript = sent_ahead(WITHOUT_CHUNKING, Answers::AtDataUntil(5), 5);
    assert_eq!(transcript.iter().filter(|line| line.starts_with("EHLO")).count(), 1);
    assert_eq!(transcript.iter().filter(|line| *line == "DATA").count(), 5);
}

#[test]
fn without_pipelining_every_command_waits() {
    let transcript = sent_ahead(&["8BITMIME"], Answers::AtOnce, 3);
    let verbs: Vec<&str> = transcript.iter().filter_map(|line| line.split([' ', ':']).next()).collect();
    assert_eq!(verbs[..5], ["EHLO", "MAIL", "RCPT", "RCPT", "DATA"]);
}
