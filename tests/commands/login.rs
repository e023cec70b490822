//! `passwd`, and AUTH with what it made (attacks AU1 to AU22).

use crate::home::{Daemon, Home, NOWHERE, PROGRAM, clean, finish};
use crate::smtp::{LETTER, Smtp, base64};
use std::process::Command;
use std::sync::OnceLock;

fn passwd(input: &str) -> crate::home::Ended {
    let mut command = Command::new(PROGRAM);
    clean(&mut command);
    command.arg("passwd");
    finish(command, input)
}

/// The hash of `hunter2`, as the program made it.
pub fn hash() -> &'static str {
    static HASH: OnceLock<String> = OnceLock::new();
    HASH.get_or_init(|| passwd("hunter2\n").good().trim_end().to_owned())
}

/// A listener for logins without TLS on loopback; `shop` may use two kinds of senders, `desk` any.
fn home(auth: &str) -> (Home, Daemon) {
    let home = Home::new(&format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\nauth = \"{auth}\"\ntrust = []\n\
         [application.shop]\npassword_hash = \"{0}\"\nfrom = [\"shop@shop.test\", \"@mail.test\"]\n\
         [application.desk]\npassword_hash = \"{0}\"\n{NOWHERE}",
        hash()
    ));
    let daemon = home.start();
    (home, daemon)
}

#[test]
fn a_password_becomes_a_hash_that_lets_in_and_no_other_does() {
    assert!(hash().starts_with("$argon2id$v=19$"), "{}", hash());
    assert!(!hash().contains('\n'));
    assert_ne!(passwd("hunter2").good().trim_end(), hash(), "each has its own salt");
    assert!(passwd("\n").failed(65).contains("the password is empty; type one, or pipe it in"));
    assert!(passwd("hun\0ter\n").failed(65).contains("a NUL can't be part of a password"));
    let (home, daemon) = home("required");
    let mut smtp = Smtp::hello(daemon.address());
    assert_eq!(smtp.say("MAIL FROM:<shop@shop.test>"), "530 5.7.0 log in first");
    assert_eq!(smtp.login("shop", "hunter3"), "535 5.7.8 user name or password is wrong");
    assert_eq!(smtp.login("shop", "hunter2"), "235 2.7.0 logged in");
    let id = smtp.post("shop@shop.test", &["ana@guest.test"], LETTER);
    let life = home.json(["queue", "show", "--json", &id]);
    assert_eq!(crate::home::text(&life[0], "application"), "shop");
    let mut login = Smtp::hello(daemon.address());
    assert_eq!(login.say("AUTH LOGIN"), "334 VXNlcm5hbWU6");
    assert_eq!(login.say(&base64(b"shop")), "334 UGFzc3dvcmQ6");
    assert_eq!(login.say(&base64(b"hunter2")), "235 2.7.0 logged in");
}

#[test]
fn a_changed_password_counts_from_the_next_reload_on() {
    let (home, daemon) = home("required");
    let text = std::fs::read_to_string(home.path("waystation.toml")).unwrap();
    let fresh = passwd("hunter4\n").good();
    home.write("waystation.toml", &text.replace(hash(), fresh.trim_end()));
    assert!(Smtp::hello(daemon.address()).login("shop", "hunter2").starts_with("235 "), "not before");
    let told = home.cli(["reload"]).good();
    assert!(told.contains("application shop: password changed") && !told.contains("argon2"), "AU21: {told}");
    assert!(Smtp::hello(daemon.address()).login("shop", "hunter2").starts_with("535 "), "AU21");
    assert!(Smtp::hello(daemon.address()).login("shop", "hunter4").starts_with("235 "));
    let both = format!("[\"{}\", \"{}\"]", hash(), fresh.trim_end());
    home.write("waystation.toml", &text.replace(&format!("\"{}\"", hash()), &both));
    home.cli(["reload"]).good();
    for password in ["hunter2", "hunter4"] {
        assert!(
            Smtp::hello(daemon.address()).login("shop", password).starts_with("235 "),
            "two during a change"
        );
    }
}

#[test]
fn a_session_whose_login_left_the_configuration_sends_nothing_more() {
    for auth in ["optional", "required"] {
        let (home, daemon) = home(auth);
        let mut smtp = Smtp::hello(daemon.address());
        assert!(smtp.login("desk", "hunter2").starts_with("235 "));
        smtp.post("desk@desk.test", &["ana@guest.test"], LETTER);
        let text = std::fs::read_to_string(home.path("waystation.toml")).unwrap();
        home.write("waystation.toml", &text.replace("[application.desk]", "[application.other]"));
        home.cli(["reload"]).good();
        let told = smtp.submit("desk@desk.test", &["ana@guest.test"], LETTER);
        let expected = if auth == "required" { "530 5.7.0 " } else { "550 5.7.1 relaying denied" };
        assert!(told.starts_with(expected), "{auth}: {told}");
        assert!(smtp.say("RSET").starts_with("250 "));
        assert_eq!(smtp.login("other", "hunter2"), "235 2.7.0 logged in", "as whoever is configured now");
        smtp.post("desk@desk.test", &["ana@guest.test"], LETTER);
    }
}

#[test]
fn odd_logins_are_refused_by_the_book() {
    let (_home, daemon) = home("optional");
    let plain = |octets: &[u8]| format!("AUTH PLAIN {}", base64(octets));
    for (said, expected, reason) in [
        ("AUTH PLAIN !!!!".to_owned(), "501 5.5.2", "AU4: not base64"),
        ("AUTH PLAIN =".into(), "501 5.5.2", "AU6: an empty response is no PLAIN message"),
        (plain(b"shop"), "501 5.5.2", "AU8: no NUL"),
        (plain(b"\0shop"), "501 5.5.2", "AU8: one NUL"),
        (plain(b"\0shop\0hun\0ter2"), "501 5.5.2", "AU8: NUL in the password"),
        (plain(b"desk\0shop\0hunter2"), "535 5.7.8", "AU9: for somebody else"),
        ("AUTH DIGEST-MD5".into(), "504 5.5.4", "AU12"),
        (plain(b"\0SHOP\0hunter2"), "535 5.7.8", "a name has case"),
        ("AUTH".into(), "501 5.5.4", "no mechanism"),
    ] {
        let reply = Smtp::hello(daemon.address()).say(&said);
        assert!(reply.starts_with(expected), "{reason}: {reply}");
    }
    let mut smtp = Smtp::hello(daemon.address());
    assert_eq!(smtp.say("AUTH PLAIN"), "334 ");
    assert!(smtp.say("*").starts_with("501 "), "AU5");
    assert_eq!(smtp.say("AUTH PLAIN"), "334 ");
    assert!(smtp.say(&"A".repeat(1_000_000)).starts_with("500 5.5.6 "), "AU7: ended, and the session lives");
    assert!(smtp.say("MAIL FROM:<shop@shop.test>").starts_with("250 "));
    assert!(smtp.login("shop", "hunter2").starts_with("503 5.5.1 "), "AU11: inside a transaction");
    assert!(smtp.say("RSET").starts_with("250 "));
    assert!(smtp.login("shop", "hunter2").starts_with("235 "));
    assert!(smtp.login("shop", "hunter2").starts_with("503 5.5.1 "), "AU10: twice");
    let offered = smtp.say("EHLO again.test");
    assert!(!offered.contains("AUTH"), "{offered}");
    smtp.post("shop@shop.test", &["ana@guest.test"], LETTER);
    let mut pipelined = Smtp::hello(daemon.address());
    let flight =
        format!("{}\r\nMAIL FROM:<shop@shop.test>\r\nRCPT TO:<ana@guest.test>\r\n", plain(b"\0shop\0bad"));
    pipelined.send(flight.as_bytes());
    assert!(pipelined.reply().starts_with("535 5.7.8 "), "AU15");
    assert!(pipelined.reply().starts_with("250 "));
    assert!(pipelined.reply().starts_with("550 5.7.1 "), "AU15: no relaying behind a failed login");
}

#[test]
fn passwords_in_plain_are_not_asked_for_where_tls_is_due() {
    let home = Home::new(&format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\ntls = \"starttls\"\nauth = \"required\"\n\
         [tls]\ncertificate = \"relay.pem\"\nkey = \"relay.key\"\n[application.shop]\npassword_hash = \"{}\"\n{NOWHERE}",
        hash()
    ));
    home.certify();
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    assert_eq!(smtp.login("shop", "hunter2"), "538 5.7.11 say STARTTLS before AUTH", "AU1");
    assert_eq!(smtp.say("MAIL FROM:<shop@shop.test>"), "530 5.7.0 say STARTTLS first, then log in", "TL9");
    smtp.say("STARTTLS");
    let mut tls = smtp.into_tls(&home);
    tls.say("EHLO client.test");
    assert!(tls.login("shop", "hunter2").starts_with("235 "));
    assert!(Smtp::hello(daemon.address()).say("STARTTLS now").starts_with("501 5.5.4 "), "TL3");
}

#[test]
fn the_third_failure_ends_the_session_and_the_eleventh_slows_the_name_down() {
    let (_home, mut daemon) = home("required");
    let mut bad = 0;
    let slowed = 'slowed: loop {
        let mut smtp = Smtp::hello(daemon.address());
        for attempt in 1..=3 {
            let reply = smtp.login("shop", "wrong");
            if reply.starts_with("454 4.7.0 ") {
                break 'slowed reply;
            }
            bad += 1;
            match attempt {
                3 => assert!(reply.starts_with("421 4.7.0 three failed logins"), "AU13: {reply}"),
                _ => assert_eq!(reply, "535 5.7.8 user name or password is wrong"),
            }
        }
        assert_eq!(smtp.rest(), "");
        assert!(bad < 100, "AU14: never slowed down");
    };
    assert!(slowed.contains("try again later"), "{slowed}");
    assert!(bad >= 10, "{bad}");
    let told = daemon.logged("login postponed");
    assert!(
        told.contains("username=\"shop\"") && told.contains("failed too often from this address"),
        "{told}"
    );
    let mut good = Smtp::hello(daemon.address());
    assert!(good.login("desk", "hunter2").starts_with("235 "), "a neighbour's first login");
    good.post("any@where.test", &["ana@guest.test"], LETTER);
}

#[test]
fn an_unknown_user_takes_as_long_as_a_wrong_password() {
    let (_home, daemon) = home("required");
    // Ten failures are what an address has in hand. The work is looked at, which others' work on this machine doesn't change.
    let [known, unknown] = ["shop", "nobody-of-this-name"].map(|user| {
        let before = daemon.cpu_ticks();
        for _ in 0..5 {
            let mut smtp = Smtp::hello(daemon.address());
            assert_eq!(smtp.login(user, "wrong"), "535 5.7.8 user name or password is wrong", "AU2, AU3");
        }
        daemon.cpu_ticks() - before
    });
    println!("ticks: known {known}, unknown {unknown}");
    assert!(known < unknown * 3 && unknown < known * 3, "AU3: known {known}, unknown {unknown}");
}

#[test]
fn a_hostile_user_name_makes_one_escaped_log_line_and_no_password_is_logged() {
    let (_home, mut daemon) = home("required");
    let name = "evil\tna\u{1b}[2Jme\u{202e}\nINFO forged line\r\n";
    let reply = Smtp::hello(daemon.address()).login(name, "s3cr3t-pass");
    assert_eq!(reply, "535 5.7.8 user name or password is wrong", "AU17");
    let line = daemon.logged("login refused");
    assert!(line.contains("evil") && line.contains("u{202e}"), "{line}");
    assert!(Smtp::hello(daemon.address()).login("long", &"x".repeat(9000)).starts_with("535 "));
    let mut sends_it_as_name = Smtp::hello(daemon.address());
    assert!(sends_it_as_name.login("someone", "s3cr3t-pass").starts_with("535 "));
    daemon.logged("username=\"someone\"");
    daemon.stop();
    let log = daemon.log().join("\n");
    assert!(!log.contains("s3cr3t-pass"), "AU19: {log}");
    assert!(!log.lines().any(|line| line.starts_with("INFO forged")), "{log}");
    assert!(!log.contains('\u{1b}') && !log.contains('\u{202e}'), "{log}");
}

#[test]
fn an_application_uses_its_own_senders_only() {
    let (_home, daemon) = home("required");
    let mut smtp = Smtp::hello(daemon.address());
    assert!(smtp.login("shop", "hunter2").starts_with("235 "));
    for (sender, expected) in [
        ("shop@shop.test", "250 "),
        ("any@mail.test", "250 "),
        ("Shop@Shop.Test", "250 "),
        ("", "250 "),
        ("desk@shop.test", "550 5.7.1 "),
        ("any@sub.mail.test", "550 5.7.1 "),
        ("shop@shop.test.evil.test", "550 5.7.1 "),
    ] {
        let reply = smtp.say(&format!("MAIL FROM:<{sender}>"));
        assert!(reply.starts_with(expected), "AU22: {sender}: {reply}");
        smtp.say("RSET");
    }
}
