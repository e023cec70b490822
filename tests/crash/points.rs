//! Killed at the Nth sync, write, unlink or send (K3, K4): every point between two states of the disk.
//!
//! One worker thread, so that the points are the same in every run. The short form takes some points of each call;
//! `WAYSTATION_CRASH_POINTS=all` takes them all.

use super::client::{Client, message, send};
use super::ledger::{Books, Ledger};
use super::stand_in::StandIn;
use super::station::{PATIENCE, Station, folder};
use super::tools::{has, strace, strace_works};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// What changes files, and what tells the world.
const CALLS: [&str; 9] =
    ["fsync", "fdatasync", "pwrite64", "write", "ftruncate", "unlink", "rename", "mkdir", "sendto"];
/// Points of one call in the short form.
const SOME: u32 = 4;
const ONE_WORKER: [(&str, &str); 1] = [("TOKIO_WORKER_THREADS", "1")];

/// A daemon's life from an empty folder on: three messages in, three out, and the end. Whoever kills it meanwhile is
/// welcome. Whether it was killed.
fn life(station: &Station, ledger: &Ledger, smarthost: &StandIn, wrapper: &[String]) -> bool {
    let mut daemon = station.spawn(wrapper, &ONE_WORKER);
    if let Some(address) = daemon.listening() {
        for octets in [500, 300_000, 700] {
            let number = ledger.next();
            let Ok(reply) = send(address, &message(number, octets)) else { break };
            assert!(reply.is_yes(), "{reply:?}");
            ledger.acknowledge(number, reply.id());
        }
        while !ledger.wait_until(Duration::from_millis(50), Books::all_arrived) && !daemon.has_ended() {}
        if !daemon.has_ended() {
            daemon.terminate();
        }
    }
    let status = daemon.ended(PATIENCE).unwrap_or_else(|| panic!("it goes on:\n{}", daemon.log()));
    ledger.end_life(smarthost);
    !status.success()
}

/// How often each call is made, by the thread that makes most of them.
fn count(log: &Path) -> BTreeMap<&'static str, u32> {
    let mut threads: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    let text = std::fs::read_to_string(log).unwrap();
    for line in text.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start().split('(').next().unwrap();
        *threads.entry((thread, call)).or_default() += 1;
    }
    let most =
        |call: &str| threads.iter().filter(|((_, made), _)| *made == call).map(|(_, count)| *count).max();
    CALLS.into_iter().filter_map(|call| Some((call, most(call)?))).collect()
}

fn points(of: u32) -> Vec<u32> {
    if of <= SOME || std::env::var("WAYSTATION_CRASH_POINTS").is_ok_and(|which| which == "all") {
        return (1..=of).collect();
    }
    (0..SOME).map(|step| 1 + step * (of - 1) / (SOME - 1)).collect()
}

#[test]
fn killed_at_any_call_that_changes_the_disk_it_loses_nothing() {
    if !has("kills at the Nth call", strace_works()) {
        return;
    }
    let home = folder();
    let log = home.path().join("strace");
    let ledger = Arc::new(Ledger::default());
    let smarthost = StandIn::for_ledger(&ledger);
    let station = Station::new(home.path(), smarthost.address);
    assert!(!life(&station, &ledger, &smarthost, &strace(&CALLS, &[], &log)), "nobody killed it");
    let counts = count(&log);
    for call in ["fsync", "fdatasync", "pwrite64", "unlink", "sendto"] {
        assert!(counts.contains_key(call), "never called: {call}: {counts:?}");
    }
    let (mut tried, mut killed, mut acknowledged, mut twice) = (0, 0, 0, 0);
    for (call, made) in counts {
        for point in points(made) {
            let at = format!("{call}:signal=KILL:when={point}");
            let home = folder();
            let ledger = Arc::new(Ledger::default());
            let smarthost = StandIn::for_ledger(&ledger);
            let station = Station::new(home.path(), smarthost.address);
            tried += 1;
            killed += u32::from(life(&station, &ledger, &smarthost, &strace(&[&at], &[], &log)));
            let daemon = station.spawn(&[], &[]);
            let address = daemon.listening().unwrap_or_else(|| panic!("{at}: no start:\n{}", daemon.log()));
            assert!(ledger.wait_until(PATIENCE, Books::all_arrived), "{at}: {}", daemon.log());
            station.wait_until_empty();
            // It takes new mail, too.
            let number = ledger.next();
            ledger.acknowledge(number, send(address, &message(number, 500)).unwrap().id());
            assert!(ledger.wait_until(PATIENCE, Books::all_arrived), "{at}: {}", daemon.log());
            daemon.stop();
            let station_again = station.start();
            let verdict = ledger.verdict(&station);
            assert_eq!(station.queued(None).len(), 0, "{at}");
            station_again.stop();
            assert!(verdict.lost.is_empty() && verdict.spoilt.is_empty(), "{at}: {verdict}");
            verdict.assert_kept();
            acknowledged += verdict.acknowledged;
            twice += verdict.twice;
        }
    }
    eprintln!(
        "crash: kills at the Nth call: points={tried} killed={killed} acknowledged={acknowledged} lost=0 twice={twice} (all in flight at a kill)"
    );
    assert!(killed * 4 >= tried * 3, "only {killed} of {tried} points were reached");
}

/// K3. The client saw 354 and never a 250; it can't know, and sends again.
#[test]
fn killed_between_the_final_dot_and_the_250_the_client_comes_again_and_at_most_two_copies_arrive() {
    if !has("kills between dot and 250", strace_works()) {
        return;
    }
    let mut queued_unanswered = 0;
    // Greeting, EHLO, MAIL to DATA, the dot; at times a reply goes out in two pieces.
    for point in 3..=6 {
        let home = folder();
        let log = home.path().join("strace");
        let ledger = Arc::new(Ledger::default());
        let smarthost = StandIn::for_ledger(&ledger);
        smarthost.shut();
        let station = Station::new(home.path(), smarthost.address);
        let at = format!("sendto:signal=KILL:when={point}");
        let daemon = station.start_under(&strace(&[&at], &[], &log), &ONE_WORKER);
        let mut begun = false;
        let answer = Client::connect(daemon.address).and_then(|mut client| {
            begun = client.begin()?.code == 354;
            client.write(message(1, 500).as_bytes())?;
            client.say(".\r\n")
        });
        daemon.kill();
        ledger.end_life(&smarthost);
        let daemon = station.start();
        let queued = station.queued(None).len();
        assert!(queued <= 1 && (queued == 1 || answer.is_err()), "{at}: {answer:?}, and {queued} queued");
        if begun && answer.is_err() {
            queued_unanswered += queued;
        }
        if answer.is_err() {
            assert!(send(daemon.address, &message(1, 500)).unwrap().is_yes());
        }
        smarthost.open();
        station.wait_until_empty();
        let copies = ledger.with(|books| books.arrived[&1].len());
        assert!(copies == 1 + usize::from(answer.is_err() && queued == 1), "{at}: {copies} copies");
        daemon.stop();
    }
    eprintln!(
        "crash: between dot and 250: {queued_unanswered} queued without an answer, at most 2 copies of each"
    );
    assert!(queued_unanswered > 0, "no point lay between the sync and the 250");
}
