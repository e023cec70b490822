//! `stop`, SIGTERM, and the exit codes of everything.

use crate::home::{Daemon, Home, NOWHERE, PROGRAM, clean, finish};
use crate::smtp::{LETTER, Smtp};
use rustix::process::Signal;
use std::os::unix::process::CommandExt;
use std::process::Command;

#[test]
fn stop_waits_for_the_end_and_both_exit_well() {
    let home = Home::new(NOWHERE);
    let mut daemon = home.start();
    let mut idle = Smtp::hello(daemon.address());
    assert_eq!(home.cli(["stop"]).good(), "stopped\n");
    assert!(home.cli(["status"]).failed(69).contains("start it with `waystation run`"));
    assert_eq!(daemon.wait(), 0);
    assert_eq!(idle.reply(), "421 4.3.2 shutting down, try again in a moment");
    let log = daemon.log();
    assert!(log.iter().any(|line| line.contains("stopping reason=\"waystation stop\"")), "{log:#?}");
    assert!(log.last().unwrap().ends_with("stopped"), "{log:#?}");
    let mut again = home.start();
    assert_eq!(again.stop(), 0);
    assert!(!again.log().iter().any(|line| line.contains("killed")), "the end before was a clean one");
}

#[test]
fn a_message_under_way_is_taken_before_the_end() {
    let home = Home::new(NOWHERE);
    let mut daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    for command in ["MAIL FROM:<shop@shop.test>", "RCPT TO:<ana@guest.test>"] {
        assert!(smtp.say(command).starts_with("250 "));
    }
    assert!(smtp.say("DATA").starts_with("354 "));
    smtp.send(b"Subject: half\r\n\r\nThe first half,\r\n");
    daemon.signal(Signal::TERM);
    daemon.next_with("stopping");
    let taken = smtp.say("and the second.\r\n.");
    assert!(taken.starts_with("250 2.0.0 "), "{taken}");
    assert!(smtp.reply().starts_with("421 4.3.2 "));
    assert_eq!(daemon.wait(), 0);
    let _daemon = home.start();
    assert_eq!(
        home.json(["queue", "--config", home.path("waystation.toml").to_str().unwrap(), "list", "--json"])
            .len(),
        1
    );
}

#[test]
fn a_daemon_whose_control_socket_is_gone_is_named() {
    let home = Home::new(NOWHERE);
    let mut daemon = home.start();
    std::fs::remove_file(home.path("state/admin.sock")).unwrap();
    let refused = home.cli(["status"]).failed(69);
    assert!(
        refused.contains(&format!("process {} has the queue", daemon.pid().as_raw_nonzero())),
        "{refused}"
    );
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait(), 0);
}

/// In a message, in a chunk, and in a line.
#[test]
fn a_client_in_the_midst_of_a_message_is_told_before_it_is_broken_off() {
    let home = Home::new(NOWHERE);
    let mut daemon = home.start();
    let begun = [
        ("DATA", "Subject: half\r\n\r\nThe first half,\r\n"),
        ("", "BDAT 1000\r\nSubject: half\r\n\r\n"),
        ("", "RCPT TO:<ben@gu"),
    ];
    let mut clients: Vec<Smtp> = begun
        .iter()
        .map(|(command, octets)| {
            let mut smtp = Smtp::hello(daemon.address());
            assert!(smtp.say("MAIL FROM:<shop@shop.test>").starts_with("250 "));
            assert!(smtp.say("RCPT TO:<ana@guest.test>").starts_with("250 "));
            if !command.is_empty() {
                assert!(smtp.say(command).starts_with("354 "));
            }
            smtp.send(octets.as_bytes());
            smtp
        })
        .collect();
    daemon.signal(Signal::TERM);
    for smtp in &mut clients {
        assert_eq!(smtp.reply(), "421 4.3.2 shutting down, try again in a moment");
    }
    drop(clients);
    assert_eq!(daemon.wait(), 0);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let home = Home::new(NOWHERE);
    let mut daemon = home.start();
    let mut smtp = Smtp::hello(daemon.address());
    smtp.say("MAIL FROM:<shop@shop.test>");
    smtp.say("RCPT TO:<ana@guest.test>");
    smtp.say("DATA");
    daemon.signal(Signal::TERM);
    daemon.next_with("stopping");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait(), 0);
    // The session goes on: an end in order waits for it as long as it may, and says when it is over.
    assert!(!daemon.log().iter().any(|line| line.ends_with("stopped")), "{:#?}", daemon.log());
}

#[test]
fn signals_that_mean_nothing_are_ignored() {
    let home = Home::new(NOWHERE);
    let mut daemon = home.start();
    for signal in [Signal::USR1, Signal::USR2, Signal::PIPE, Signal::CHILD, Signal::XFSZ] {
        daemon.signal(signal);
    }
    Smtp::hello(daemon.address()).post("shop@shop.test", &["ana@guest.test"], LETTER);
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn every_exit_code_has_its_meaning() {
    let home = Home::new(NOWHERE);
    let bare = |arguments: &[&str]| {
        let mut command = Command::new(PROGRAM);
        clean(&mut command);
        command.args(arguments);
        finish(command, "")
    };
    assert!(bare(&["--help"]).good().contains("Usage: waystation"));
    assert!(bare(&["--version"]).good().starts_with("waystation "));
    assert!(bare(&[]).failed(64).contains("Usage: waystation"));
    assert!(bare(&["relod"]).failed(64).contains("'reload'"), "the nearest command is named");
    assert!(bare(&["queue", "list", "--state"]).failed(64).contains("--state"));
    for command in [&["status"][..], &["queue"], &["journal"], &["reload"], &["stop"]] {
        let told = home.cli(command).failed(69);
        assert!(
            told.contains("no daemon answers at ") && told.contains("start it with `waystation run`"),
            "{told}"
        );
    }
    let mut daemon = home.start();
    let told = home.cli(["run"]).failed(75);
    let holder = format!("in use by process {}", daemon.pid().as_raw_nonzero());
    assert!(told.contains(&holder) && told.contains("stop that waystation first"), "{told}");
    if rustix::process::geteuid().is_root() {
        let mut command = home.command(["status"]);
        home.mode("", 0o755);
        home.mode("waystation.toml", 0o644);
        command.uid(65534).gid(65534);
        let told = finish(command, "").failed(77);
        assert!(
            told.contains("admin.sock: permission denied; run this as the daemon's user or root"),
            "{told}"
        );
    }
    assert_eq!(daemon.stop(), 0);
    home.extend("hots = 1\n");
    assert_eq!(home.cli(["run"]).code, 78);
}

#[test]
fn a_lost_index_is_told_of_and_rebuilt() {
    let home = Home::new(NOWHERE);
    let mut daemon = home.start();
    let id = Smtp::hello(daemon.address()).post("shop@shop.test", &["ana@guest.test"], LETTER);
    assert!(home.cli(["queue", "salvage"]).failed(75).contains("in use by process"));
    daemon.stop();
    for file in ["queue.db", "queue.db-wal", "queue.db-shm"] {
        // The last two may be gone with a clean end.
        let _ = std::fs::remove_file(home.path("state").join(file));
    }
    let told = home.cli(["run"]).failed(65);
    assert!(
        told.contains("queue.db is missing") && told.contains("`waystation queue salvage` rebuilds it"),
        "{told}"
    );
    let told = home.cli(["queue", "salvage"]).good();
    assert!(told.starts_with("1 message found in the content files: 0 queued again"), "{told}");
    assert!(
        told.contains("1 held because nothing tells what became of them") && told.contains("queue release"),
        "{told}"
    );
    let daemon = home.start();
    let listed = home.cli(["queue", "list", "--state", "held"]).good();
    assert!(listed.contains(&id) && listed.contains("nothing tells whether it was delivered"), "{listed}");
    drop(daemon);
    std::fs::remove_file(home.path("state/queue.db")).unwrap();
    let told = home.cli(["queue", "salvage", "--send-unknown"]).good();
    assert!(told.contains("1 queued again") && told.contains("a second time"), "{told}");
    let _daemon = home.start();
    assert!(home.cli(["queue", "list", "--state", "queued"]).good().contains(&id));
}

#[test]
fn a_killed_daemon_is_told_of_at_the_next_start_and_lost_nothing() {
    let home = Home::new(NOWHERE);
    let daemon = home.start();
    let id = Smtp::hello(daemon.address()).post("shop@shop.test", &["ana@guest.test"], LETTER);
    drop(daemon);
    let mut again: Daemon = home.start();
    again.logged("previous run was killed");
    assert!(home.cli(["queue"]).good().contains(&id));
}
