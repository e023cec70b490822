//! Who may relay: nobody but trusted networks and logins, whatever an address looks like (attacks OR1 to OR12), and
//! whose word about a client is taken (PROXY).

use crate::home::{Home, NOWHERE, STRANGERS, TRUSTED, states_of, text};
use crate::smarthost::Smarthost;
use crate::smtp::{LETTER, Smtp};

/// Ways to ask a relay to send mail on. None may be taken from a stranger; `501`, `550` and `553` are what may be said.
const FORMS: [&str; 46] = [
    // OR1, OR8: percent, bang, source route, quotes, dots, own literals.
    "victim@far.test",
    "victim%far.test@relay.test",
    "victim%far.test",
    "\"victim@far.test\"@relay.test",
    "\"victim%far.test\"@relay.test",
    "\"victim@far.test\"",
    "\"victim%far.test\"",
    "@relay.test:victim@far.test",
    "@relay.test,@other.test:victim@far.test",
    "far.test!victim",
    "far.test!victim@relay.test",
    "far.test!victim@[127.0.0.1]",
    "victim@far.test@relay.test",
    "victim@far.test@",
    "victim@[127.0.0.1]",
    "victim%far.test@[127.0.0.1]",
    "\"victim@far.test\"@[127.0.0.1]",
    "victim@[IPv6:::1]",
    "victim@localhost",
    "victim@relay.test",
    "victim@.relay.test",
    "victim@relay.test.",
    "victim@far.test.relay.test",
    "victim@",
    "@far.test",
    "victim",
    // OR4: pipes, paths, includes, options, shell.
    "|/bin/sh@relay.test",
    "/etc/passwd@relay.test",
    ":include:/etc/passwd@relay.test",
    "-oQ/tmp@relay.test",
    "$(touch+x)@relay.test",
    "`id`@relay.test",
    "x;id@relay.test",
    // OR5: encoded words, UTF-7.
    "=?utf-8?q?victim=40far.test=3e=00?=@relay.test",
    "=?iso-8859-1?b?dmljdGltQGZhci50ZXN0?=@relay.test",
    "&AHY-ictim@relay.test",
    // OR6: look-alikes.
    "v\u{131}ctim@far.test",
    "victim\u{ff20}far.test@relay.test",
    "vic\u{200b}tim@far.test",
    "\u{202e}victim@far.test",
    // OR7: punycode that decodes to ASCII.
    "victim@xn--far-.test",
    // OR2: syntax.
    "vic tim@far.test",
    "victim@far..test",
    "vic..tim@far.test",
    "(comment)victim@far.test",
    "victim@far.test>\u{0}<x",
];

#[test]
fn a_stranger_gets_nothing_relayed_in_any_form() {
    for listener in [STRANGERS.to_owned(), format!("{TRUSTED}trust = []\n")] {
        let home = Home::new(&format!(
            "{listener}[intake]\nmax_errors = 100000\n[application.shop]\npassword_hash = \"{}\"\n{NOWHERE}",
            crate::login::hash()
        ));
        let daemon = home.start();
        // OR12: a sender of ours is nobody's proof.
        for sender in ["stranger@far.test", "postmaster@relay.test", ""] {
            let mut smtp = Smtp::hello(daemon.address());
            assert!(smtp.say(&format!("MAIL FROM:<{sender}>")).starts_with("250 "));
            for form in FORMS {
                let reply = smtp.say(&format!("RCPT TO:<{form}>"));
                let code = reply.get(..3).unwrap_or_default();
                assert!(["500", "501", "550", "553", "555"].contains(&code), "<{form}>: {reply}");
                if code == "550" {
                    assert!(reply.starts_with("550 5.7.1 relaying denied"), "<{form}>: {reply}");
                }
            }
            assert!(smtp.say("RCPT TO:victim@far.test").starts_with("501 "), "no brackets");
            assert!(smtp.say("RCPT TO: <victim@far.test>").starts_with("501 "), "a space");
            assert!(smtp.say("DATA").starts_with("554 5.5.1 no valid recipients"));
        }
        let mut smtp = Smtp::hello(daemon.address());
        assert!(smtp.say("XCLIENT ADDR=127.0.0.1").starts_with("500 "), "OR10");
        assert!(
            smtp.say("VRFY root").starts_with("252 ") && smtp.say("EXPN staff").starts_with("502 "),
            "OR14"
        );
        assert_eq!(home.cli(["journal", "--json"]).good(), "[]\n");
    }
}

#[test]
fn a_sender_with_a_route_or_a_pipe_in_it_is_text_or_refused() {
    let home = Home::new(&format!("{TRUSTED}[intake]\nmax_errors = 100000\n{NOWHERE}"));
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    for form in FORMS {
        let reply = smtp.say(&format!("MAIL FROM:<{form}>"));
        assert!(["250", "500", "501", "553", "555"].contains(&&reply[..3]), "<{form}>: {reply}");
        smtp.say("NOOP");
        smtp = if reply.starts_with("250") { Smtp::hello(daemon.address()) } else { smtp };
    }
}

#[test]
fn a_proxy_header_is_believed_from_listed_networks_only() {
    let listed = "[[listener]]\naddress = \"127.0.0.1:0\"\nproxy_protocol = [\"127.0.0.0/8\"]\n";
    let home = Home::new(&format!(
        "{listed}[[listener]]\naddress = \"127.0.0.2:0\"\ntrust = []\nauth = \"optional\"\n\
        [application.shop]\npassword_hash = \"{}\"\n{NOWHERE}",
        crate::login::hash()
    ));
    let mut daemon = home.start();
    let v2 = |source: [u8; 4]| {
        let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
        header.extend([&source[..], &[127, 0, 0, 1], &[0x30, 0x39], &[0, 25]].concat());
        header
    };
    let with = |address, header: &[u8]| {
        let mut smtp = Smtp::connect(address);
        smtp.send(header);
        smtp
    };
    // A client behind the proxy that isn't trusted, and one that is.
    for header in [b"PROXY TCP4 192.0.2.7 127.0.0.1 12345 25\r\n".to_vec(), v2([192, 0, 2, 7])] {
        let mut smtp = with(daemon.address(), &header);
        assert!(smtp.reply().starts_with("220 "));
        smtp.say("EHLO client.test");
        assert!(smtp.submit("a@b.test", &["victim@far.test"], LETTER).starts_with("550 5.7.1 "));
    }
    for header in [b"PROXY TCP4 127.0.0.9 127.0.0.1 12345 25\r\n".to_vec(), v2([127, 0, 0, 9])] {
        let mut smtp = with(daemon.address(), &header);
        assert!(smtp.reply().starts_with("220 "));
        smtp.say("EHLO client.test");
        let id = smtp.post("a@b.test", &["ana@guest.test"], LETTER);
        assert_eq!(text(&home.json(["queue", "show", "--json", &id])[0], "client"), "127.0.0.9");
    }
    // A listed host that sends none is closed, and told of in the log.
    assert_eq!(with(daemon.address(), b"EHLO client.test\r\n").rest(), "");
    let logged = daemon.logged("this client must send a PROXY header");
    assert!(logged.contains("connection refused"), "{logged}");
    // OR9: from a host that isn't listed it is no SMTP, and gives no trust.
    let mut smtp = Smtp::connect(daemon.listener(1));
    assert!(smtp.reply().starts_with("220 "));
    let reply = smtp.say("PROXY TCP4 127.0.0.1 127.0.0.1 12345 25");
    assert!(reply.starts_with("500 5.5.1 ") || reply.starts_with("554 "), "{reply}");
    let mut smtp = Smtp::hello(daemon.listener(1));
    assert!(smtp.submit("a@b.test", &["victim@far.test"], LETTER).starts_with("550 5.7.1 "));
}

#[test]
fn a_mapped_address_is_the_ipv4_address_it_holds() {
    let home =
        Home::new(&format!("[[listener]]\naddress = \"[::]:0\"\ntrust = [\"127.0.0.0/8\"]\n{NOWHERE}"));
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        eprintln!("skipped: no IPv6 on this machine");
        return;
    }
    let daemon = home.start();
    let port = daemon.address().port();
    let mut four = Smtp::hello(([127, 0, 0, 1], port).into());
    four.post("a@b.test", &["ana@guest.test"], LETTER);
    let mut six = Smtp::hello((std::net::Ipv6Addr::LOCALHOST, port).into());
    assert!(
        six.submit("a@b.test", &["ana@guest.test"], LETTER).starts_with("550 5.7.1 "),
        "OR11: ::1 isn't listed"
    );
}

#[test]
fn a_bounce_that_fails_is_told_to_nobody_but_the_log() {
    let smarthost = Smarthost::start();
    let home = Home::new(&smarthost.section("shop"));
    let mut daemon = home.start();
    Smtp::hello(daemon.address()).post("", &["no@guest.test"], LETTER);
    assert!(daemon.logged("sender not notified").contains("it has a null sender"));
    assert_eq!(states_of(&home.journal_when(&["failed"])), ["failed"]);
    assert_eq!(smarthost.rest(), []);
}

#[test]
fn what_a_client_was_forgiven_is_counted_in_the_log() {
    let home = Home::new(&format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\ntolerate = [\"bare-lf\", \"space-after-colon\", \"missing-brackets\"]\n{NOWHERE}"
    ));
    let mut daemon = home.start();
    let mut strict = Smtp::hello(daemon.address());
    strict.post("shop@shop.test", &["ana@guest.test"], LETTER);
    assert!(strict.say("QUIT").starts_with("221 "));
    let mut lax = Smtp::hello(daemon.address());
    assert!(lax.say("MAIL FROM: <shop@shop.test>").starts_with("250 "));
    lax.send(b"RCPT TO:ana@guest.test\nRSET\nQUIT\n");
    lax.rest();
    let logged = daemon.logged("irregular input tolerated");
    for part in ["client=127.0.0.1", "bare_lf=3", "space_after_colon=1", "missing_brackets=1"] {
        assert!(logged.contains(part), "{part} is missing in {logged}");
    }
    daemon.stop();
    let lines = daemon.log().iter().filter(|line| line.contains("irregular input tolerated")).count();
    assert_eq!(lines, 1, "who needs nothing isn't told of");
}
