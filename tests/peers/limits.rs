//! Limits that a smarthost shows only by refusing: they are learnt, and heeded while the daemon runs.

use crate::support::client::{letter, submit};
use crate::support::relay::Relay;
use crate::support::smarthost::{EVERYTHING, Settings, Smarthost, WITHOUT_CHUNKING};
use crate::support::{LIMIT, folder};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

fn config(server: &Smarthost) -> String {
    format!(
        "hostname = \"relay.test\"\nstate_dir = \"state\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [smarthost.out]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\n",
        server.address.port()
    )
}

#[test]
fn a_connection_refused_beside_others_stops_nothing_and_is_not_asked_for_again() {
    // The first connection answers nothing to its message before a second one was refused.
    let greeted = Arc::new((Mutex::new(0_usize), Condvar::new()));
    let seen = greeted.clone();
    let server = Smarthost::start(Settings {
        reply: Box::new(move |line| {
            let (count, changed) = &*seen;
            let mut count = count.lock().unwrap();
            if line.starts_with("EHLO") {
                *count += 1;
                changed.notify_all();
                return (*count > 1).then(|| "421 4.7.0 too many connections".to_owned());
            }
            if line == "." {
                drop(changed.wait_timeout_while(count, LIMIT, |count| *count < 2).unwrap());
            }
            None
        }),
        ..Settings::default()
    });
    let folder = folder();
    let relay = Relay::start(folder.path(), &config(&server));
    for number in 0..20 {
        submit(relay.plain(), "shop@shop.test", &["ana@guest.test"], &letter(&format!("{number}")));
    }
    assert_eq!(server.mails(20).len(), 20);
    let told = relay.logged(&["limit of the smarthost learnt"]);
    assert!(told.contains("connections at once") && told.contains("most=1"), "{told}");
    let lane = relay.lane("out");
    assert_eq!((&lane["state"], &lane["learned_connections"]), (&"flowing".into(), &1.into()), "{lane}");
    assert_eq!(*greeted.0.lock().unwrap(), 2, "no third one was tried");
    assert_eq!(relay.count_logged(&["lane stopped"]), 0);
}

#[test]
fn a_smarthost_that_lists_chunking_and_does_not_know_bdat_gets_data() {
    for reply in ["500 5.5.2 what?", "502 5.5.1 not implemented", "503 5.5.1 not now"] {
        let server = Smarthost::start(Settings {
            reply: Box::new(move |line| line.starts_with("BDAT").then(|| reply.to_owned())),
            ..Settings::default()
        });
        let folder = folder();
        let relay = Relay::start(folder.path(), &(config(&server) + "connections = 1\n"));
        for number in 0..3 {
            submit(relay.plain(), "shop@shop.test", &["ana@guest.test"], &letter(&format!("{number}")));
            assert_eq!(server.mails(number + 1).len(), number + 1, "{reply}");
        }
        relay.logged_times(&["refuses BDAT"], 1);
        assert_eq!(relay.count_logged(&["message failed"]), 0);
    }
}

/// As shops and cron write their mail, and Debian's Exim refuses it: getsentry/sentry#7454.
#[test]
fn lines_too_long_for_a_smarthost_are_encoded_for_it_and_for_no_other() {
    let send_long = |relay: &Relay, most: usize| {
        let html = format!("<p>{}</p>", "größe ".repeat(most));
        let mut long = letter("long");
        let mime = "MIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n";
        long.splice(0..0, mime.bytes());
        long.extend_from_slice(html.as_bytes());
        long.extend_from_slice(b"\r\n");
        submit(relay.plain(), "shop@shop.test", &["ana@guest.test"], &long);
        long
    };
    for extensions in [EVERYTHING, WITHOUT_CHUNKING] {
        let server = Smarthost::start(Settings { extensions, line_length: 998, ..Settings::default() });
        let folder = folder();
        let relay = Relay::start(folder.path(), &(config(&server) + "connections = 1\n"));
        // More than is kept near, and a line that goes over several pieces of it.
        for (number, most) in [300, 60_000].into_iter().enumerate() {
            let long = send_long(&relay, most);
            let mails = server.mails(2 * number + 1);
            let content = String::from_utf8(mails[2 * number].content.clone()).unwrap();
            assert!(content.lines().all(|line| line.len() <= 998));
            let (header, body) = content.split_once("\r\n\r\n").unwrap();
            assert!(header.contains("Content-Transfer-Encoding: quoted-printable\r\n"), "{header}");
            let body = body.replace("=\r\n", "").replace("=C3=B6", "ö").replace("=C3=9F", "ß");
            assert_eq!(
                body.trim_end(),
                String::from_utf8(long).unwrap().split_once("\r\n\r\n").unwrap().1.trim_end()
            );
            submit(relay.plain(), "shop@shop.test", &["ana@guest.test"], &letter(&format!("short{number}")));
            let short = &server.mails(2 * number + 2)[2 * number + 1].content;
            assert!(short.ends_with(b"\r\n\r\nHello.\r\n"), "what has no long line stays as it is");
        }
        relay.logged_times(&["refuses long lines"], 1);
        assert_eq!(relay.count_logged(&["message failed"]), 0);
        // A field can't be encoded: then the smarthost has said what there is to say, once more and not again and again.
        let mut long = letter("field");
        long.splice(0..0, format!("X-List: {}\r\n", "x".repeat(1500)).bytes());
        submit(relay.plain(), "shop@shop.test", &["ana@guest.test"], &long);
        let failed = relay.logged(&["message failed"]);
        assert!(failed.contains("maximum allowed line length is 998 octets"), "{failed}");
    }
    let server = Smarthost::start(Settings::default());
    let folder = folder();
    let relay = Relay::start(folder.path(), &config(&server));
    let long = send_long(&relay, 300);
    assert!(server.mails(1)[0].content.ends_with(&long), "where long lines are taken they stay");
}

#[test]
fn a_limit_of_recipients_is_met_once() {
    let refused = Arc::new(AtomicUsize::new(0));
    let (count, taken) = (refused.clone(), AtomicUsize::new(0));
    let server = Smarthost::start(Settings {
        reply: Box::new(move |line| {
            if line.starts_with("MAIL") {
                taken.store(0, Ordering::Relaxed);
            }
            if line.starts_with("RCPT") && taken.fetch_add(1, Ordering::Relaxed) >= 3 {
                count.fetch_add(1, Ordering::Relaxed);
                return Some("452 4.5.3 too many recipients".to_owned());
            }
            None
        }),
        ..Settings::default()
    });
    let folder = folder();
    let one = config(&server) + "connections = 1\n";
    let relay = Relay::start(folder.path(), &one);
    let recipients: Vec<String> = (0..10).map(|number| format!("guest{number}@guest.test")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    submit(relay.plain(), "shop@shop.test", &recipients, &letter("first"));
    assert_eq!(server.mails(4).iter().map(|mail| mail.recipients.len()).sum::<usize>(), 10);
    assert_eq!(refused.load(Ordering::Relaxed), 7, "in the first transaction alone");
    assert_eq!(relay.lane("out")["learned_recipients"], 3);
    submit(relay.plain(), "shop@shop.test", &recipients, &letter("second"));
    let mails = server.mails(8);
    assert_eq!(mails.iter().map(|mail| mail.recipients.len()).sum::<usize>(), 20);
    assert_eq!(refused.load(Ordering::Relaxed), 7, "and never again");
}

#[test]
fn who_is_refused_for_now_does_not_hold_up_those_that_a_limit_left_for_later() {
    let server = Smarthost::start(Settings {
        reply: Box::new(|line| line.starts_with("RCPT TO:<grey").then(|| "451 4.7.1 greylisted".to_owned())),
        ..Settings::default()
    });
    let folder = folder();
    let relay = Relay::start(folder.path(), &(config(&server) + "connections = 1\nper_day = 3\n"));
    let recipients = ["grey", "a", "b", "c", "d"].map(|name| format!("{name}@guest.test"));
    let recipients = recipients.each_ref().map(String::as_str);
    submit(relay.plain(), "shop@shop.test", &recipients, &letter("first"));
    // Who was refused counts as nobody: the third of the day is one that was left.
    let sent: Vec<usize> = server.mails(2).iter().map(|mail| mail.recipients.len()).collect();
    assert_eq!(sent, [2, 1]);
}
