//! Killed with SIGKILL: under load, between any two octets of a session, and behind the smarthost's 250.

use super::client::{Client, Load, message, send};
use super::ledger::Ledger;
use super::setting;
use super::stand_in::StandIn;
use super::station::{PATIENCE, Station, folder, scene};
use std::sync::Arc;

const CLIENTS: u32 = 8;

/// Marsaglia's xorshift: moments that are different in every run, and the same for the same seed.
pub struct Dice(u64);

impl Dice {
    pub fn new() -> Self {
        let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let seed = std::env::var("WAYSTATION_CRASH_SEED")
            .map_or(clock.subsec_nanos() | 1, |seed| seed.parse().unwrap());
        eprintln!("crash: WAYSTATION_CRASH_SEED={seed}");
        Self(u64::from(seed))
    }

    pub fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from((self.0 >> 16) % u64::from(limit)).unwrap()
    }
}

/// K1. The moments come from counting: so many acknowledged, or so many delivered, in this life; or at once.
#[test]
fn no_acknowledged_message_is_lost_however_often_the_daemon_is_killed() {
    let (home, ledger, mut dice) = (folder(), Arc::new(Ledger::default()), Dice::new());
    let smarthost = StandIn::for_ledger(&ledger);
    let station = Station::new(home.path(), smarthost.address);
    let load = Load::start(&ledger, CLIENTS);
    for cycle in 0..setting("WAYSTATION_CRASH_CYCLES", 25) {
        // In some lives nothing leaves, so that a backlog goes through the next ones.
        smarthost.serve(cycle % 5 != 3);
        let daemon = station.start();
        load.go_to(Some(daemon.address));
        let (acknowledged, arrived) = match dice.below(10) {
            0 => (0, 0),
            1..=6 => (1 + dice.below(150), 0),
            _ if cycle % 5 == 3 => (1, 0),
            _ => (0, 1 + dice.below(150)),
        };
        let reached = ledger.wait_until(PATIENCE, |books| {
            books.of_this_life.0 >= acknowledged && books.of_this_life.1 >= arrived
        });
        assert!(reached, "cycle {cycle}: mail stopped flowing:\n{}", daemon.log());
        load.go_to(None);
        daemon.kill();
        ledger.end_life(&smarthost);
    }
    load.end();
    smarthost.open();
    let daemon = station.start();
    ledger.wait_until(PATIENCE, super::ledger::Books::all_arrived);
    if ledger.with(super::ledger::Books::all_arrived) {
        station.wait_until_empty();
    }
    let verdict = ledger.verdict(&station);
    eprintln!("crash: {verdict} (state folder: {})", home.path().display());
    verdict.assert_kept();
    assert!(verdict.acknowledged > 25, "hardly anything was tried: {verdict}");
    daemon.stop();
}

/// K2.
#[test]
fn a_message_without_its_final_dot_is_not_queued() {
    let (_home, ledger, _smarthost, station) = scene();
    for octets in [200, 1_000_000] {
        let daemon = station.start();
        let mut client = Client::connect(daemon.address).unwrap();
        assert_eq!(client.begin().unwrap().code, 354);
        let whole = message(1, octets);
        client.write(&whole.as_bytes()[..whole.len() / 2]).unwrap();
        // Another session's message goes through meanwhile, so that there is something to commit.
        assert!(send(daemon.address, &message(2, 200)).unwrap().is_yes());
        daemon.kill();
    }
    let daemon = station.start();
    station.wait_until_empty();
    assert_eq!(ledger.with(|books| books.arrived.keys().copied().collect::<Vec<_>>()), [2]);
    daemon.stop();
    // What a large message had written already is gone, too.
    let left: Vec<_> = std::fs::read_dir(station.state().join("content")).unwrap().flatten().collect();
    assert!(left.len() <= 1, "{left:?}");
}

/// K5, at the smarthost's side: everything has arrived, some of it was told to the relay, nothing of that was
/// recorded. At most two copies, and the journal says which.
#[test]
fn what_was_delivered_but_not_recorded_arrives_at_most_twice_and_the_journal_says_so() {
    const MESSAGES: u64 = 12;
    let (home, ledger) = (folder(), Arc::new(Ledger::default()));
    let (smarthost, taken, answers) = StandIn::silent_while_held(&ledger);
    let station = Station::new(home.path(), smarthost.address);
    let held = answers.lock();
    let daemon = station.start();
    for number in 1..=MESSAGES {
        let reply = send(daemon.address, &message(number, 500)).unwrap();
        assert!(reply.is_yes(), "{reply:?}");
        ledger.acknowledge(number, reply.id());
    }
    taken.recv_timeout(PATIENCE).unwrap();
    daemon.kill();
    drop(held);
    ledger.end_life(&smarthost);

    let daemon = station.start();
    assert!(daemon.said("previous run was killed"), "{}", daemon.log());
    assert!(ledger.wait_until(PATIENCE, super::ledger::Books::all_arrived));
    station.wait_until_empty();
    let verdict = ledger.verdict(&station);
    eprintln!("crash: behind the final dot: {verdict}");
    verdict.assert_kept();
    assert!(verdict.twice >= 1 && verdict.arrived == 12, "{verdict}");
    // The first to arrive was surely claimed.
    let life = station.life(&ledger.with(|books| books.acknowledged[&1].id.clone()));
    let told = life["happenings"].as_array().unwrap().iter().find(|one| one["kind"] == "maybe_duplicate");
    assert!(
        told.is_some_and(|told| told["detail"].as_str().is_some_and(|text| !text.is_empty())),
        "{life:#}"
    );
    daemon.stop();
}

/// K5 from the other side: the daemon dies in the moment in which the smarthost says 250.
#[test]
fn a_kill_together_with_the_smarthosts_250_makes_at_most_two_copies() {
    let (_home, ledger, smarthost, station) = scene();
    for number in 1..=6 {
        let daemon = station.start();
        station.wait_until_empty();
        let reply = send(daemon.address, &message(number, 500)).unwrap();
        ledger.acknowledge(number, reply.id());
        assert!(ledger.wait_until(PATIENCE, |books| books.arrived.contains_key(&number)));
        daemon.kill();
        ledger.end_life(&smarthost);
    }
    let daemon = station.start();
    station.wait_until_empty();
    let verdict = ledger.verdict(&station);
    eprintln!("crash: together with the 250: {verdict}");
    verdict.assert_kept();
    assert!(verdict.twice <= 6, "{verdict}");
    daemon.stop();
}
