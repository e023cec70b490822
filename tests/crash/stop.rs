//! Asked to end: SIGTERM under load.

use super::client::{Client, Load, message, send};
use super::ledger::{Books, Ledger};
use super::stand_in::StandIn;
use super::station::{PATIENCE, Station, folder, scene};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Out within this time (product §9).
const OUT_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn asked_to_end_under_load_it_is_out_in_ten_seconds_and_nothing_is_lost_or_doubled() {
    let (_home, ledger, _smarthost, station) = scene();
    let load = Load::start(&ledger, 8);
    let mut slowest = Duration::ZERO;
    for cycle in 0..4 {
        let mut daemon = station.start();
        let mut idle = Client::connect(daemon.address).unwrap();
        // In DATA, with nothing said, half a header section, and half a body.
        let writing: Vec<_> = [0, 30, 1_000]
            .into_iter()
            .map(|said| {
                let mut client = Client::connect(daemon.address).unwrap();
                assert_eq!(client.begin().unwrap().code, 354);
                let (number, whole) = numbered(&ledger, 2_000);
                client.write(&whole.as_bytes()[..said]).unwrap();
                (client, number, whole[said..].to_owned())
            })
            .collect();
        load.go_to(Some(daemon.address));
        assert!(ledger.wait_until(PATIENCE, |books| books.of_this_life.0 >= 40 * (cycle + 1)));

        let asked = Instant::now();
        daemon.terminate();
        load.go_to(None);
        let told = idle.hear().unwrap();
        assert!(told.code == 421 && told.text.starts_with("4.3.2"), "{told:?}");
        for (mut client, number, rest) in writing {
            let ending = client.write(format!("{rest}.\r\n").as_bytes()).and_then(|()| client.hear());
            let reply = ending.expect("a client in DATA gets an answer");
            assert_eq!(reply.code, 250, "what has begun is still taken: {reply:?}");
            ledger.acknowledge(number, reply.id());
        }
        let status = daemon.ended(PATIENCE).unwrap_or_else(|| panic!("it goes on:\n{}", daemon.log()));
        slowest = slowest.max(asked.elapsed());
        assert!(status.success(), "{status}:\n{}", daemon.log());
        assert!(asked.elapsed() < OUT_WITHIN, "{:?}:\n{}", asked.elapsed(), daemon.log());
    }
    load.end();
    let daemon = station.start();
    assert!(!daemon.said("previous run was killed"), "{}", daemon.log());
    ledger.wait_until(PATIENCE, Books::all_arrived);
    station.wait_until_empty();
    let verdict = ledger.verdict(&station);
    eprintln!("crash: SIGTERM under load: {verdict}, out within {slowest:?}");
    verdict.assert_kept();
    assert_eq!(verdict.twice, 0, "{verdict}");
    daemon.stop();
}

fn numbered(ledger: &Ledger, octets: usize) -> (u64, String) {
    let number = ledger.next();
    (number, message(number, octets))
}

#[test]
fn asked_twice_it_ends_at_once_and_nothing_is_lost() {
    let (home, ledger) = (folder(), Arc::new(Ledger::default()));
    let (smarthost, taken, answers) = StandIn::silent_while_held(&ledger);
    let station = Station::new(home.path(), smarthost.address);
    // The smarthost never answers: without a second signal this takes the whole grace.
    let held = answers.lock();
    let mut daemon = station.start();
    for number in 1..=5 {
        let reply = send(daemon.address, &message(number, 500)).unwrap();
        ledger.acknowledge(number, reply.id());
    }
    taken.recv_timeout(PATIENCE).unwrap();
    daemon.terminate();
    daemon.wait_for("stopping");
    daemon.terminate();
    let asked = Instant::now();
    let status = daemon.ended(PATIENCE).unwrap();
    let took = asked.elapsed();
    drop(held);
    ledger.end_life(&smarthost);
    eprintln!("crash: second SIGTERM: {status} in {took:?}");
    assert!(status.success(), "{status}");
    // An end in order waits for the smarthost as long as it may, and says when it is over.
    assert!(!daemon.log().lines().any(|line| line.ends_with("stopped")), "{}", daemon.log());
    let daemon = station.start();
    assert!(ledger.wait_until(PATIENCE, Books::all_arrived));
    station.wait_until_empty();
    ledger.verdict(&station).assert_kept();
    daemon.stop();
}
