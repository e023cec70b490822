//! What a system may be short of: inodes, descriptors, the size of a file, room at the start, time (K15, K17, K18, K25),
//! and a queue that comes back from a backup (K26).

use super::client::{Client, Reply, message, send};
use super::ledger::{Books, Ledger};
use super::stand_in::StandIn;
use super::station::{Daemon, OwnDisk, PATIENCE, Station, folder, scene};
use super::tools::{Mount, has, run};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Acknowledged ones are remembered.
fn post(daemon: &Daemon, ledger: &Ledger, octets: usize) -> Reply {
    let number = ledger.next();
    let reply = send(daemon.address, &message(number, octets)).unwrap();
    if reply.is_yes() {
        ledger.acknowledge(number, reply.id());
    }
    reply
}

/// Posts until one is taken.
fn post_until_taken(daemon: &Daemon, ledger: &Ledger, octets: usize) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let reply = post(daemon, ledger, octets);
        if reply.is_yes() {
            return;
        }
        assert!(Instant::now() < deadline, "{reply:?}\n{}", daemon.log());
    }
}

/// Everything acknowledged arrives, once.
fn settle(station: &Station, daemon: Daemon, ledger: &Ledger, smarthost: &StandIn) {
    smarthost.open();
    assert!(ledger.wait_until(PATIENCE, Books::all_arrived), "{}", daemon.log());
    station.wait_until_empty();
    let verdict = ledger.verdict(station);
    verdict.assert_kept();
    assert_eq!(verdict.twice, 0, "{verdict}");
    daemon.stop();
}

fn limited(words: &[&str]) -> Vec<String> {
    ["prlimit"].iter().chain(words).map(|word| (*word).to_owned()).collect()
}

/// K15: a large message needs a file of its own.
#[test]
fn without_inodes_large_messages_are_452_until_there_are_some() {
    let home = folder();
    let disk = Mount::ext4(home.path());
    if !has("a disk without inodes", disk.as_ref().map(|_| ()).map_err(Clone::clone)) {
        return;
    }
    let disk = disk.unwrap();
    let ledger = Arc::new(Ledger::default());
    let smarthost = StandIn::for_ledger(&ledger);
    smarthost.shut();
    let station = Station::with_state(home.path(), &disk.path.join("state"), smarthost.address, "");
    let daemon = station.start();
    assert!(post(&daemon, &ledger, 500).is_yes());
    let crowd = disk.path.join("crowd");
    std::fs::create_dir(&crowd).unwrap();
    let mut count = 0;
    while std::fs::write(crowd.join(format!("{count}")), b"").is_ok() {
        count += 1;
    }
    let refused = post(&daemon, &ledger, 1_000_000);
    assert!(refused.code == 452 && refused.text.starts_with("4.3.1"), "{refused:?}");
    assert!(post(&daemon, &ledger, 500).is_yes(), "a small one goes where others are");
    std::fs::remove_dir_all(&crowd).unwrap();
    post_until_taken(&daemon, &ledger, 1_000_000);
    settle(&station, daemon, &ledger, &smarthost);
}

/// K17: SIGXFSZ doesn't end it, and the client hears what it is.
#[test]
fn a_limit_on_the_size_of_files_is_452_for_what_is_larger() {
    if !has("a limit on file sizes", run("prlimit", &["--version"])) {
        return;
    }
    let (_home, ledger, smarthost, station) = scene();
    let daemon = station.start_under(&limited(&["--fsize=8000000"]), &[]);
    let refused = post(&daemon, &ledger, 9_000_000);
    assert!(refused.code == 452 && refused.text.starts_with("4.3.1"), "{refused:?}");
    for _ in 0..3 {
        assert!(post(&daemon, &ledger, 5_000_000).is_yes(), "{}", daemon.log());
    }
    settle(&station, daemon, &ledger, &smarthost);
}

/// K18: no descriptors for clients and connections; it recovers when some go.
#[test]
fn with_forty_descriptors_new_clients_wait_and_are_served_later() {
    if !has("a limit on descriptors", run("prlimit", &["--version"])) {
        return;
    }
    let (_home, ledger, smarthost, station) = scene();
    let daemon = station.start_under(&limited(&["--nofile=40:40"]), &[]);
    // The kernel connects them all; how many get a greeting is the daemon's matter.
    let crowd: Vec<_> = (0..60).filter_map(|_| std::net::TcpStream::connect(daemon.address).ok()).collect();
    assert_eq!(crowd.len(), 60);
    daemon.wait_for("accepting paused");
    drop(crowd);
    let mut client = Client::connect(daemon.address).unwrap();
    assert!(client.say("NOOP\r\n").unwrap().is_yes());
    post_until_taken(&daemon, &ledger, 500);
    settle(&station, daemon, &ledger, &smarthost);
}

/// K25, without the ten minutes: what was sent meanwhile is there when it goes on.
#[test]
fn a_daemon_that_was_stopped_for_a_while_goes_on() {
    let (_home, ledger, smarthost, station) = scene();
    let daemon = station.start();
    let mut client = Client::connect(daemon.address).unwrap();
    daemon.pause();
    let number = ledger.next();
    let envelope = "MAIL FROM:<shop@example.com>\r\nRCPT TO:<ana@example.net>\r\nDATA\r\n";
    client.write(envelope.as_bytes()).unwrap();
    assert!(client.has_heard_nothing());
    daemon.resume();
    let codes = [(); 3].map(|()| client.hear().unwrap().code);
    assert_eq!(codes, [250, 250, 354]);
    client.write(message(number, 500).as_bytes()).unwrap();
    let reply = client.say(".\r\n").unwrap();
    assert!(reply.is_yes(), "{reply:?}");
    ledger.acknowledge(number, reply.id());
    settle(&station, daemon, &ledger, &smarthost);
}

/// A start writes little, but it writes.
#[test]
fn a_start_on_a_full_disk_says_what_to_do_and_loses_nothing() {
    let Some(own) = OwnDisk::new("a full disk at the start", "8m", "") else { return };
    let OwnDisk { station, smarthost, ledger, disk, .. } = &own;
    let daemon = station.start();
    assert!(post(&daemon, ledger, 500).is_yes());
    daemon.stop();
    let ballast = disk.path.join("ballast");
    let mut octets = 8 << 20;
    while octets > 0 {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&ballast).unwrap();
        if std::io::Write::write_all(&mut file, &vec![1; octets]).is_err() {
            octets /= 2;
        }
    }
    let (code, text) = station.refusal();
    assert!(matches!(code, 74 | 75), "{code}: {text}");
    assert!(text.contains("full") && text.contains("room"), "{text}");
    std::fs::remove_file(&ballast).unwrap();
    settle(station, station.start(), ledger, smarthost);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    let mode = std::fs::metadata(from).unwrap().permissions();
    std::fs::set_permissions(to, mode).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => copy(&entry.path(), &to),
            kind if kind.is_file() => drop(std::fs::copy(entry.path(), to).unwrap()),
            // The control socket.
            _ => {}
        }
    }
}

/// K26: what has left since is sent again, nothing else happens.
#[test]
fn a_queue_from_a_backup_sends_again_what_has_left_since() {
    let (home, ledger, smarthost, station) = scene();
    smarthost.shut();
    let daemon = station.start();
    for octets in [500, 300_000, 500] {
        assert!(post(&daemon, &ledger, octets).is_yes());
    }
    daemon.stop();
    let backup = home.path().join("backup");
    copy(station.state(), &backup);
    smarthost.open();
    let daemon = station.start();
    assert!(post(&daemon, &ledger, 500).is_yes());
    assert!(ledger.wait_until(PATIENCE, Books::all_arrived), "{}", daemon.log());
    station.wait_until_empty();
    daemon.stop();
    std::fs::remove_dir_all(station.state()).unwrap();
    copy(&backup, station.state());
    let daemon = station.start();
    station.wait_until_empty();
    let copies = ledger.with(|books| books.arrived.values().filter(|copies| copies.len() > 1).count());
    assert_eq!(copies, 3, "{}", daemon.log());
    daemon.stop();
}
