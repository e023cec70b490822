//! Something else in place of what was written (K20): the others are delivered, the damaged are held with the
//! reason, nothing is waited for, and nothing outside the folder is read.

use super::client::{message, send};
use super::station::{PATIENCE, Station, scene};
use super::tools::run;
use std::fs::{OpenOptions, create_dir, read, remove_file, rename, write};
use std::os::unix::fs::FileExt;
use std::path::Path;

type Spoil = fn(&Path);

const SPOILS: [(&str, Spoil); 10] = [
    ("missing", |path| remove_file(path).unwrap()),
    ("empty", |path| write(path, b"").unwrap()),
    ("cut short", |path| resize(path, 5_000)),
    ("zeroed", |path| write(path, vec![0; read(path).unwrap().len()]).unwrap()),
    ("a bit flipped", |path| {
        let mut octets = read(path).unwrap();
        let middle = octets.len() / 2;
        octets[middle] ^= 4;
        write(path, octets).unwrap();
    }),
    ("garbage", |path| write(path, [0xa5; 400_000]).unwrap()),
    ("a sparse 4 GB", |path| {
        write(path, b"").unwrap();
        resize(path, 4 << 30);
    }),
    ("a folder", |path| {
        remove_file(path).unwrap();
        create_dir(path).unwrap();
    }),
    ("a link to a sound copy outside", |path| {
        let outside = path.ancestors().nth(3).unwrap().join("outside");
        rename(path, &outside).unwrap();
        std::os::unix::fs::symlink(outside, path).unwrap();
    }),
    ("a FIFO", |path| {
        remove_file(path).unwrap();
        run("mkfifo", &[path.to_str().unwrap()]).unwrap();
    }),
];

fn resize(path: &Path, octets: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(octets).unwrap();
}

/// The segment files, oldest first.
fn segments(station: &Station) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(station.state().join("content")).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn whatever_stands_in_place_of_a_message_is_held_and_the_others_are_delivered() {
    let (_home, ledger, smarthost, station) = scene();
    smarthost.shut();
    let daemon = station.start();
    let mut ids = Vec::new();
    // Large ones have a file each; the small ones before, between and behind share one.
    for (place, _) in SPOILS.iter().enumerate() {
        let number = u64::try_from(place).unwrap();
        assert!(send(daemon.address, &message(100 + number, 500)).unwrap().is_yes());
        ids.push(send(daemon.address, &message(number, 300_000)).unwrap().id().to_owned());
    }
    daemon.kill();
    let large: Vec<_> =
        segments(&station).into_iter().filter(|path| path.metadata().unwrap().len() > 200_000).collect();
    assert_eq!(large.len(), SPOILS.len(), "{large:?}");
    for (path, (_, spoil)) in large.iter().zip(SPOILS) {
        spoil(path);
    }
    let _ = std::fs::create_dir(station.state().join("content/lost+found"));

    smarthost.open();
    let daemon = station.start();
    let arrived = ledger.wait_until(PATIENCE, |books| books.arrived.len() >= SPOILS.len());
    assert!(arrived, "{}", daemon.log());
    let deadline = std::time::Instant::now() + PATIENCE;
    while station.queued(Some("held")).len() < SPOILS.len() {
        assert!(std::time::Instant::now() < deadline, "{:#?}\n{}", station.queued(None), daemon.log());
    }
    for (id, (name, _)) in ids.iter().zip(SPOILS) {
        let life = station.life(id);
        assert_eq!(life["recipients"][0]["state"], "held", "{name}: {life:#}");
        let told = life["happenings"].as_array().unwrap().iter().find(|one| one["kind"] == "held");
        let told = told.unwrap_or_else(|| panic!("{name}: no reason: {life:#}"))["detail"].as_str().unwrap();
        assert!(told.contains("damaged"), "{name}: {told}");
        eprintln!("crash: {name}: {told}");
    }
    // It is alive, and what was damaged stays what it is over a restart.
    assert!(send(daemon.address, &message(200, 500)).unwrap().is_yes());
    assert!(ledger.wait_until(PATIENCE, |books| books.arrived.contains_key(&200)));
    daemon.stop();
    let daemon = station.start();
    assert_eq!(station.queued(Some("held")).len(), SPOILS.len());
    assert_eq!(ledger.with(|books| books.arrived.len()), SPOILS.len() + 1);
    assert!(ledger.with(|books| books.spoilt.is_empty()), "damaged mail was delivered");
    daemon.stop();
}

#[test]
fn one_flipped_bit_holds_one_message_of_many_in_a_file() {
    let (_home, ledger, smarthost, station) = scene();
    smarthost.shut();
    let daemon = station.start();
    for number in 1..=9 {
        assert!(send(daemon.address, &message(number, 500)).unwrap().is_yes());
    }
    daemon.kill();
    let [shared] = &segments(&station)[..] else { panic!("more than one file") };
    let octets = read(shared).unwrap();
    let name = b"Subject: number 5";
    let at = octets.windows(name.len()).position(|window| window == name).unwrap();
    let file = OpenOptions::new().write(true).open(shared).unwrap();
    file.write_all_at(b"T", at as u64).unwrap();

    smarthost.open();
    let daemon = station.start();
    let others = |books: &super::ledger::Books| books.arrived.len() == 8 && !books.arrived.contains_key(&5);
    assert!(ledger.wait_until(PATIENCE, others), "{}", daemon.log());
    let deadline = std::time::Instant::now() + PATIENCE;
    while station.queued(None).len() != 1 || station.queued(Some("held")).len() != 1 {
        assert!(std::time::Instant::now() < deadline, "{:#?}", station.queued(None));
    }
    daemon.stop();
}
