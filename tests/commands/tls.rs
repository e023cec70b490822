//! TLS on the listening side: what comes in the wrong mode, too early, or never (attacks TL1 to TL20).

use crate::home::{Daemon, Home, LIMIT, NOWHERE};
use crate::login::hash;
use crate::smtp::{LETTER, Smtp, trusting};
use rustls::HandshakeKind;
use std::time::Instant;

/// STARTTLS with optional logins, implicit TLS, and plain; all of them trust loopback.
fn modes() -> (Home, Daemon) {
    let home = Home::new(&format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\ntls = \"starttls\"\nauth = \"optional\"\n\
         [[listener]]\naddress = \"127.0.0.2:0\"\ntls = \"implicit\"\n\
         [[listener]]\naddress = \"127.0.0.3:0\"\n\
         [[listener]]\naddress = \"127.0.0.4:0\"\ntrust = []\nauth = \"optional\"\n\
         [tls]\ncertificate = \"relay.pem\"\nkey = \"relay.key\"\n\
         [application.shop]\npassword_hash = \"{}\"\n{NOWHERE}",
        hash()
    ));
    home.certify();
    let daemon = home.start();
    (home, daemon)
}

#[test]
fn inside_tls_the_session_starts_over() {
    let (home, daemon) = modes();
    let mut plain = Smtp::connect(daemon.address());
    plain.reply();
    let offered = plain.say("EHLO client.test");
    assert!(offered.contains("STARTTLS") && !offered.contains("AUTH"), "AUTH only inside TLS: {offered}");
    assert!(plain.say("MAIL FROM:<shop@shop.test>").starts_with("250 "));
    assert!(plain.say("STARTTLS").starts_with("220 2.0.0 "));
    let mut tls = plain.into_tls(&home);
    assert_eq!(tls.say("RCPT TO:<ana@guest.test>"), "503 5.5.1 say EHLO first", "TL6");
    let offered = tls.say("EHLO client.test");
    assert!(!offered.contains("STARTTLS") && offered.contains("AUTH PLAIN LOGIN"), "TL8: {offered}");
    assert!(tls.say("STARTTLS").starts_with("503 5.5.1 "), "TL4");
    let id = tls.post("shop@shop.test", &["ana@guest.test"], LETTER);
    assert!(home.cli(["queue"]).good().contains(&id));
}

#[test]
fn what_is_said_behind_starttls_is_never_answered_inside_tls() {
    let (home, daemon) = modes();
    for injected in [
        "EHLO evil.test",
        "RSET",
        "NOOP",
        "HELP",
        "VRFY x",
        "QUIT",
        "MAIL FROM:<evil@evil.test>",
        "AUTH PLAIN AHNob3AAaHVudGVyMg==",
    ] {
        let mut plain = Smtp::hello(daemon.address());
        plain.send(format!("STARTTLS\r\n{injected}\r\n").as_bytes());
        assert_eq!(plain.reply(), "220 2.0.0 ready for TLS");
        let mut tls = plain.into_tls(&home);
        // The first reply inside TLS must be the one to the first command inside TLS.
        assert_eq!(tls.say("RCPT TO:<x@y.test>"), "503 5.5.1 say EHLO first", "{injected}");
        assert!(tls.say("EHLO client.test").starts_with("250-relay.test"), "{injected}");
        assert_eq!(tls.say("QUIT"), "221 2.0.0 goodbye", "{injected}");
    }
}

#[test]
fn a_handshake_right_behind_a_proxy_header_goes_on() {
    let home = Home::new(&format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\ntls = \"implicit\"\nproxy_protocol = [\"127.0.0.0/8\"]\ntrust = [\"10.0.0.0/8\"]\n\
         [tls]\ncertificate = \"relay.pem\"\nkey = \"relay.key\"\n{NOWHERE}"
    ));
    home.certify();
    let daemon = home.start();
    let v1 = b"PROXY TCP4 10.1.2.3 127.0.0.1 12345 465\r\n".as_slice();
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x0a\x01\x02\x03\x7f\0\0\x01\x30\x39\x01\xd1";
    for header in [v1, v2] {
        let (mut tls, _) = Smtp::connect(daemon.address()).shake_behind(&trusting(&home), header);
        assert!(tls.reply().starts_with("220 relay.test"));
        tls.say("EHLO client.test");
        tls.post("shop@shop.test", &["ana@guest.test"], LETTER);
    }
}

#[test]
fn plain_text_on_an_implicit_port_is_answered_in_plain_text() {
    let (_home, mut daemon) = modes();
    let mut smtp = Smtp::connect(daemon.listener(1));
    let reply = smtp.say("EHLO client.test");
    assert_eq!(reply, "554 5.7.0 this port starts with TLS; set the client to implicit TLS (SMTPS)", "TL10");
    assert_eq!(smtp.rest(), "");
    let logged = daemon.logged("client used the wrong TLS mode");
    assert!(
        logged.contains("client=127.0.0.1") && logged.contains("set the client to implicit TLS"),
        "{logged}"
    );
}

#[test]
fn a_tls_hello_on_a_plain_port_is_answered_in_plain_text() {
    let (_home, mut daemon) = modes();
    let hello = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03, 0x00];
    let without = "there is no TLS on this port; switch it off in the client, or use another port";
    let by_command = "this port doesn't start with TLS; use STARTTLS here, or the port for implicit TLS";
    for (listener, words) in [(0, by_command), (2, without), (3, without)] {
        let mut smtp = Smtp::connect(daemon.listener(listener));
        smtp.send(&hello);
        let said = smtp.rest();
        assert!(said.ends_with(&format!("554 5.7.0 {words}\r\n")), "TL11, listener {listener}: {said}");
        let logged = daemon.next_with("client used the wrong TLS mode");
        assert!(logged.contains("WARN") && logged.contains("advice="), "{logged}");
    }
}

#[test]
fn strangers_wait_for_the_greeting() {
    let (_home, daemon) = modes();
    let mut smtp = Smtp::connect(daemon.listener(3));
    smtp.send(b"EHLO evil.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<victim@far.test>\r\nQUIT\r\n");
    let said = smtp.rest();
    // Whether it was seen before the greeting is a race that either may win; nothing is relayed in any case.
    let refused = said.starts_with("220 ") && said.contains("\r\n550 5.7.1 relaying denied");
    assert!(said == "554 5.5.0 wait for the greeting before speaking\r\n" || refused, "TL20: {said}");
}

#[test]
fn a_stalled_handshake_frees_its_seat() {
    let home = Home::new(&format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\ntls = \"implicit\"\ntrust = []\nauth = \"required\"\n\
         [tls]\ncertificate = \"relay.pem\"\nkey = \"relay.key\"\n[intake]\nmax_connections_per_client = 1\n\
         [application.shop]\npassword_hash = \"{}\"\n{NOWHERE}",
        hash()
    ));
    home.certify();
    let mut daemon = home.start();
    let mut stalled = Smtp::connect(daemon.address());
    // The beginning of a handshake that never goes on.
    stalled.send(&[0x16, 0x03, 0x01, 0x02, 0x00]);
    let begun = Instant::now();
    assert_eq!(stalled.rest(), "", "TL12: closed without a word");
    assert!(begun.elapsed() < LIMIT / 2, "took {:?}", begun.elapsed());
    daemon.logged("no answer in 10 s");
    // The seat is given back when the connection is over, which is a moment behind the close; until then others are told so
    // in plain text.
    let deadline = Instant::now() + LIMIT;
    let mut next = loop {
        match Smtp::connect(daemon.address()).try_tls(&home) {
            Ok(next) => break next,
            Err(cause) => assert!(Instant::now() < deadline, "the seat is taken still: {cause}"),
        }
    };
    assert_eq!(next.reply(), "220 relay.test ESMTP");
}

#[test]
fn a_session_ticket_carries_nothing_to_another_listener() {
    let (home, daemon) = modes();
    let client = trusting(&home);
    let secured = |plain: bool| {
        let smtp = if plain {
            let mut smtp = Smtp::hello(daemon.address());
            smtp.say("STARTTLS");
            smtp
        } else {
            Smtp::connect(daemon.listener(1))
        };
        smtp.shake(&client)
    };
    let (mut first, _) = secured(true);
    first.say("EHLO client.test");
    assert!(first.login("shop", "hunter2").starts_with("235 "));
    first.say("QUIT");
    let (mut second, kind) = secured(false);
    assert_ne!(kind, HandshakeKind::Resumed, "TL15");
    assert_eq!(second.reply(), "220 relay.test ESMTP");
    let (mut third, _) = secured(true);
    third.say("EHLO client.test");
    assert!(third.login("shop", "hunter2").starts_with("235 "), "nobody is logged in by a ticket");
}
