//! Too much of something: connections, recipients, commands, octets (attacks F4, F7 to F11).

use crate::home::{Daemon, Home, NOWHERE, STRANGERS, TRUSTED, states_of};
use crate::smarthost::Smarthost;
use crate::smtp::{LETTER, Smtp, trusting};
use std::fmt::Write as _;
use std::io::Write;

/// Commands sent in one write.
const COUNT: usize = 100_000;

#[test]
fn a_stranger_has_so_many_connections_and_trusted_clients_have_no_such_limit() {
    let home = Home::new(&format!(
        "{STRANGERS}[[listener]]\naddress = \"127.0.0.2:0\"\n[intake]\nmax_connections_per_client = 3\n\
         [application.shop]\npassword_hash = \"{}\"\n{NOWHERE}",
        crate::login::hash()
    ));
    let mut daemon = home.start();
    let mut held: Vec<Smtp> = (0..3).map(|_| Smtp::hello(daemon.address())).collect();
    let mut fourth = Smtp::connect(daemon.address());
    assert_eq!(fourth.reply(), "421 4.7.0 too many connections, try again later", "F4");
    assert_eq!(fourth.rest(), "");
    daemon.logged("too many connections from this client (intake.max_connections_per_client)");
    let trusted: Vec<Smtp> = (0..10).map(|_| Smtp::hello(daemon.listener(1))).collect();
    assert_eq!(trusted.len(), 10);
    assert!(held[0].say("QUIT").starts_with("221 "));
    assert_eq!(held[0].rest(), "");
    // The seat is given back when the session is over, which is a moment behind the close.
    while !Smtp::connect(daemon.address()).reply().starts_with("220 ") {}
}

#[test]
fn all_connections_together_have_a_limit() {
    let home = Home::new(&format!("{TRUSTED}[intake]\nmax_connections = 2\n{NOWHERE}"));
    let mut daemon = home.start();
    let _held = [Smtp::hello(daemon.address()), Smtp::hello(daemon.address())];
    assert!(Smtp::connect(daemon.address()).reply().starts_with("421 4.7.0 too many connections"));
    daemon.logged("too many connections (intake.max_connections)");
}

#[test]
fn where_tls_comes_first_a_connection_too_many_is_closed_without_plain_text() {
    let home = Home::new(&format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\ntls = \"implicit\"\n[tls]\ncertificate = \"relay.pem\"\nkey = \"relay.key\"\n\
         [intake]\nmax_connections = 1\n{NOWHERE}"
    ));
    home.certify();
    let mut daemon = home.start();
    let (mut held, _) = Smtp::connect(daemon.address()).shake(&trusting(&home));
    held.reply();
    assert_eq!(Smtp::connect(daemon.address()).rest(), "");
    daemon.logged("too many connections (intake.max_connections)");
}

#[test]
fn a_line_that_is_too_long_is_answered_once_and_the_next_command_is_heard() {
    let home = Home::new(NOWHERE);
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    for octets in [2_047, 12_286, 12_287, 12_288, 12_289, 12_300, 16_384, 20_000, 1_000_000] {
        let long = smtp.say(&format!("NOOP {}", "x".repeat(octets - 5)));
        assert_eq!(long, "500 5.5.2 command line too long", "{octets}");
        assert!(smtp.say("RSET").starts_with("250 2.0.0 "), "{octets}");
        // A message resets the count of errors.
        smtp.post("shop@shop.test", &["ana@guest.test"], LETTER);
    }
    let login = smtp.say(&format!("AUTH PLAIN {}", "A".repeat(13_000)));
    assert_eq!(login, "500 5.5.6 login line too long", "AU7");
    assert!(smtp.say("RSET").starts_with("250 2.0.0 "));
}

#[test]
fn a_message_in_chunks_may_end_in_an_empty_one() {
    let smarthost = Smarthost::start();
    let home = Home::new(&smarthost.section("shop"));
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    for chunk in [LETTER, ""] {
        smtp.say("MAIL FROM:<shop@shop.test>");
        smtp.say("RCPT TO:<ana@guest.test>");
        if !chunk.is_empty() {
            smtp.send(format!("BDAT {}\r\n{chunk}", chunk.len()).as_bytes());
            assert!(smtp.reply().starts_with("250 2.0.0 "));
        }
        let reply = smtp.say("BDAT 0 LAST");
        assert!(reply.starts_with("250 2.0.0 ") && reply.contains(" queued for shop"), "{reply}");
    }
    let (whole, empty) = (smarthost.next(), smarthost.next());
    assert!(whole.content.trim_end().ends_with("\nHello!"), "{}", whole.content);
    assert!(empty.content.contains("\nMessage-ID: <"), "{}", empty.content);
}

#[test]
fn of_1500_recipients_the_first_thousand_get_it() {
    let smarthost = Smarthost::start();
    let home = Home::new(&smarthost.section("shop"));
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    let mut flight = String::from("MAIL FROM:<shop@shop.test>\r\n");
    for number in 0..1500 {
        write!(flight, "RCPT TO:<guest{number}@guest.test>\r\n").unwrap();
    }
    smtp.send(flight.as_bytes());
    assert!(smtp.reply().starts_with("250 "));
    for number in 0..1500 {
        let expected = if number < 1000 { "250 2.1.5 " } else { "452 4.5.3 too many recipients" };
        let reply = smtp.reply();
        assert!(reply.starts_with(expected), "F7: {number}: {reply}");
    }
    smtp.say("DATA");
    assert!(smtp.say(&format!("{LETTER}.")).starts_with("250 2.0.0 "));
    let mut reached = Vec::new();
    while reached.len() < 1000 {
        reached.extend(smarthost.next().recipients);
    }
    let mut expected: Vec<String> = (0..1000).map(|number| format!("guest{number}@guest.test")).collect();
    reached.sort();
    expected.sort();
    assert_eq!(reached, expected);
    assert_eq!(states_of(&home.journal_when(&["delivered"])).len(), 1000);
}

#[test]
fn idle_and_bad_commands_have_an_end() {
    let home = Home::new(&format!("{TRUSTED}{NOWHERE}"));
    let daemon = home.start();
    for (command, most) in [("NOOP", 101), ("RSET", 101), ("VRFY x", 101), ("EHLO x", 103), ("BOGUS", 11)] {
        let mut smtp = Smtp::hello(daemon.address());
        let mut count = 0;
        let last = loop {
            let reply = smtp.say(command);
            count += 1;
            if reply.starts_with("421 ") || count > 300 {
                break reply;
            }
        };
        assert!(last.starts_with("421 4.7.0 "), "F8: {command}: {last}");
        assert!(count <= most, "{command}: {count}");
        assert_eq!(smtp.rest(), "");
    }
}

#[test]
fn a_hundred_thousand_pipelined_commands_cost_no_memory() {
    let home = Home::new(&format!("{TRUSTED}[intake]\nmax_recipients = 1\n{NOWHERE}"));
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    smtp.say("MAIL FROM:<shop@shop.test>");
    let before = daemon.peak_memory_kib();
    let mut socket = smtp.socket();
    // Together 24 MiB, far more than what an allocator may keep for itself.
    let command = format!("RCPT TO:<guest@{}guest.test>\r\n", "guesthouse.".repeat(20));
    let writer = std::thread::spawn(move || {
        // One write; it blocks while the replies aren't read.
        socket.write_all(command.repeat(COUNT).as_bytes())
    });
    assert!(smtp.reply().starts_with("250 "));
    for number in 1..COUNT {
        let reply = smtp.reply();
        assert!(reply.starts_with("452 4.5.3 "), "F9: {number}: {reply}");
    }
    writer.join().unwrap().unwrap();
    let grown = daemon.peak_memory_kib() - before;
    assert!(grown < 16 * 1024, "F9: {grown} KiB more");
}

#[test]
fn a_megabyte_without_a_line_end_closes() {
    let home = Home::new(&format!("{TRUSTED}{NOWHERE}"));
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    let before = daemon.peak_memory_kib();
    let mut socket = smtp.socket();
    // What the relay doesn't read any more it may reset.
    let writer = std::thread::spawn(move || drop(socket.write_all(&vec![b'x'; 64 << 20])));
    let said = smtp.rest();
    assert!(said.starts_with("500 5.5.2 line too long, closing"), "F10: {said}");
    writer.join().unwrap();
    let grown = daemon.peak_memory_kib() - before;
    assert!(grown < 16 * 1024, "F10: {grown} KiB more");
}

#[test]
fn endless_content_is_refused_and_then_cut_off() {
    let home = Home::new(&format!("{TRUSTED}[intake]\nmax_message_size = \"1 MiB\"\n{NOWHERE}"));
    let daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    assert!(
        smtp.say("MAIL FROM:<shop@shop.test> SIZE=1048577").starts_with("552 5.3.4 "),
        "told before it is sent"
    );
    smtp.say("MAIL FROM:<shop@shop.test>");
    smtp.say("RCPT TO:<ana@guest.test>");
    smtp.say("DATA");
    let line = format!("{}\r\n", "x".repeat(76));
    smtp.send(line.repeat((3 << 19) / line.len()).as_bytes());
    assert!(
        smtp.say(".").starts_with("552 5.3.4 message is larger"),
        "F11: one and a half times is read to its end"
    );
    smtp.say("MAIL FROM:<shop@shop.test>");
    smtp.say("RCPT TO:<ana@guest.test>");
    smtp.say("DATA");
    let mut socket = smtp.socket();
    let endless = std::thread::spawn(move || while socket.write_all(line.as_bytes()).is_ok() {});
    let said = smtp.rest();
    assert!(said.starts_with("552 5.3.4 message is far larger"), "F11: {said}");
    endless.join().unwrap();
    assert_eq!(home.cli(["journal", "--json"]).good(), "[]\n");
}

#[test]
fn large_header_sections_that_never_end_leave_room_to_others() {
    let home = Home::new(&format!("{TRUSTED}[intake]\nmemory = \"2 MiB\"\n{NOWHERE}"));
    let daemon = home.start();
    let field = format!("X-Big: {}\r\n", "x".repeat(900));
    // Room for five of them in the shares, and for one apart.
    let begin = || {
        let mut smtp = Smtp::hello(daemon.address());
        smtp.say("MAIL FROM:<shop@shop.test>");
        smtp.say("RCPT TO:<ana@guest.test>");
        assert!(smtp.say("DATA").starts_with("354 "));
        smtp.send(field.repeat(20).as_bytes());
        smtp
    };
    let mut slow: Vec<Smtp> = (0..10).map(|_| begin()).collect();
    // Without room that only small ones take it would be told 452 after 20 s.
    Smtp::hello(daemon.address()).post("shop@shop.test", &["ana@guest.test"], LETTER);
    let said = slow.swap_remove(0).rest();
    assert!(said.starts_with("421 4.4.2 that took too long"), "{said}");
}

#[test]
fn many_big_header_sections_at_once_stay_within_the_memory_for_content() {
    const CLIENTS: usize = 400;
    let home = Home::new(&format!("{TRUSTED}[intake]\nmemory = \"4 MiB\"\n{NOWHERE}"));
    // The allocator keeps pages for each thread: on a machine of many cores those are more than what is looked for.
    let mut command = home.command(["run"]);
    command.env("TOKIO_WORKER_THREADS", "2");
    let daemon = Daemon::of(command, 1);
    let mut clients: Vec<Smtp> = (0..CLIENTS)
        .map(|_| {
            let mut smtp = Smtp::hello(daemon.address());
            smtp.say("MAIL FROM:<shop@shop.test>");
            smtp.say("RCPT TO:<ana@guest.test>");
            assert!(smtp.say("DATA").starts_with("354 "));
            smtp
        })
        .collect();
    let before = daemon.peak_memory_kib();
    // Together 94 MiB; what the relay doesn't read yet stays with the senders.
    let field = format!("X-Big: {}\r\n", "x".repeat(900));
    let header = field.repeat(240 * 1024 / field.len());
    let content = format!("{header}Subject: big\r\n\r\nHello!\r\n.\r\n");
    std::thread::scope(|scope| {
        for smtp in &mut clients {
            scope.spawn(|| {
                smtp.send(content.as_bytes());
                let reply = smtp.reply();
                assert!(
                    reply.starts_with("250 2.0.0 ") || reply.starts_with("452 4.3.1 too busy"),
                    "{reply}"
                );
            });
        }
    });
    let grown = daemon.peak_memory_kib() - before;
    // Pages of the allocator and eight KiB for each connection come to 40 MiB, all header sections to 110 and more.
    assert!(grown < 75 * 1024, "{grown} KiB more for 4 MiB of content and {CLIENTS} connections");
    let taken = states_of(&home.json(["queue", "list", "--json"])).len();
    assert!(taken > 0, "those that found room were taken");
}
