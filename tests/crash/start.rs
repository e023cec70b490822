//! What the daemon refuses to start on, with a sentence that says what to do (K21, K22).

use super::client::{message, send};
use super::ledger::Books;
use super::station::{PATIENCE, Station, folder, scene};
use super::tools::{has, run};
use std::fs::{create_dir, set_permissions, write};
use std::os::unix::fs::PermissionsExt;

fn stranger() -> std::net::SocketAddr {
    std::net::SocketAddr::from(([127, 0, 0, 1], 9))
}

#[test]
fn a_folder_that_others_may_write_is_refused() {
    let home = folder();
    let station = Station::new(home.path(), stranger());
    create_dir(station.state()).unwrap();
    set_permissions(station.state(), PermissionsExt::from_mode(0o777)).unwrap();
    let (code, text) = station.refusal();
    assert_eq!(code, 77, "{text}");
    assert!(text.contains("may be written by others (mode 0777); run: chmod 700"), "{text}");
}

#[test]
fn a_content_folder_that_others_may_write_is_refused() {
    let home = folder();
    let station = Station::new(home.path(), stranger());
    station.start().stop();
    set_permissions(station.state().join("content"), PermissionsExt::from_mode(0o777)).unwrap();
    let (code, text) = station.refusal();
    assert_eq!(code, 77, "{text}");
    assert!(text.contains("content may be written by others"), "{text}");
}

#[test]
fn somebody_elses_folder_is_refused() {
    let home = folder();
    let station = Station::new(home.path(), stranger());
    create_dir(station.state()).unwrap();
    let given = std::os::unix::fs::chown(station.state(), Some(12_345), None);
    if !has("a folder of another user", given.map_err(|cause| cause.to_string())) {
        return;
    }
    let (code, text) = station.refusal();
    assert_eq!(code, 77, "{text}");
    assert!(text.contains("belongs to user 12345, waystation runs as user 0"), "{text}");
}

#[test]
fn something_else_in_place_of_the_folder_is_refused() {
    let home = folder();
    let station = Station::new(home.path(), stranger());
    write(station.state(), b"").unwrap();
    let (code, text) = station.refusal();
    assert_eq!(code, 78, "{text}");
    assert!(text.contains("is not a folder"), "{text}");
}

#[test]
fn a_pipe_in_place_of_a_file_is_refused_and_not_waited_for() {
    for name in ["lock", "queue.db"] {
        let home = folder();
        let station = Station::new(home.path(), stranger());
        station.start().stop();
        let path = station.state().join(name);
        let _ = std::fs::remove_file(&path);
        run("mkfifo", &[path.to_str().unwrap()]).unwrap();
        let (code, text) = station.refusal();
        assert_eq!(code, 78, "{name}: {text}");
        assert!(text.contains(&format!("{name} is not a regular file")), "{name}: {text}");
    }
}

#[test]
fn a_folder_that_cannot_be_made_is_refused_by_name() {
    let home = folder();
    let state = std::path::Path::new("/proc/waystation/state");
    let station = Station::with_state(home.path(), state, stranger(), "");
    let (code, text) = station.refusal();
    assert!(code == 78 || code == 77, "{code}: {text}");
    assert!(text.contains("/proc/waystation/state"), "{text}");
}

/// Starts, queues a message that can't leave yet, and ends.
fn with_one_message(station: &Station) {
    let daemon = station.start();
    assert!(send(daemon.address, &message(1, 500)).unwrap().is_yes());
    daemon.stop();
}

#[test]
fn a_missing_or_damaged_index_is_refused_while_there_is_content() {
    let home = folder();
    let station = Station::new(home.path(), stranger());
    with_one_message(&station);
    let index = station.state().join("queue.db");
    let whole = std::fs::read(&index).unwrap();
    for (name, octets) in [("empty", &b""[..]), ("garbage", &[0xa5; 4096]), ("half", &whole[..3000])] {
        write(&index, octets).unwrap();
        let (code, text) = station.refusal();
        assert_eq!(code, 65, "{name}: {text}");
        assert!(text.contains("queue.db") && text.contains("waystation queue salvage"), "{name}: {text}");
        assert_eq!(std::fs::read(&index).unwrap(), octets, "{name}: it was touched");
    }
    std::fs::remove_file(&index).unwrap();
    let (code, text) = station.refusal();
    assert_eq!(code, 65, "missing: {text}");
    assert!(text.contains("is missing, but there is content beside it"), "{text}");
    write(&index, whole).unwrap();
    let daemon = station.start();
    assert_eq!(station.queued(None).len(), 1);
    daemon.stop();
}

/// A content folder on a disk that isn't mounted must not end with all its mail held as damaged.
#[test]
fn a_missing_content_folder_is_refused_while_the_index_counts_on_it() {
    let (home, ledger, smarthost, station) = scene();
    smarthost.shut();
    with_one_message(&station);
    let (content, away) = (station.state().join("content"), home.path().join("away"));
    std::fs::rename(&content, &away).unwrap();
    let (code, text) = station.refusal();
    assert_eq!(code, 65, "{text}");
    assert!(text.contains("content is missing"), "{text}");
    assert!(!content.exists(), "it was made anew, and the next start would go on without the mail");
    std::fs::rename(&away, &content).unwrap();
    smarthost.open();
    let daemon = station.start();
    assert!(ledger.wait_until(PATIENCE, |books: &Books| books.arrived.contains_key(&1)));
    daemon.stop();
}

/// K22.
#[test]
fn a_second_daemon_on_the_same_folder_is_refused_and_told_by_whom() {
    let home = folder();
    let station = Station::new(home.path(), stranger());
    let first = station.start();
    let (code, text) = station.refusal();
    assert_eq!(code, 75, "{text}");
    assert!(text.contains(&format!("is in use by process {}", first.pid())), "{text}");
    // The first one didn't notice, and a third may start once it was killed.
    assert!(send(first.address, &message(1, 500)).unwrap().is_yes());
    first.kill();
    let third = station.start();
    assert_eq!(station.queued(None).len(), 1);
    third.stop();
}
