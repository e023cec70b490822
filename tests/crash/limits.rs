//! No window ever holds more than its limit, however often the daemon is killed.

use super::client::{message, send, send_to};
use super::setting;
use super::stand_in::StandIn;
use super::station::{Daemon, PATIENCE, Station, folder};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const BATCH: usize = 4;
const INTERVAL: Duration = Duration::from_secs(1);

/// A batch of four each second, and the daemon is killed as soon as the smarthost has the first, the third, the sixth
/// of a life …: what it forgot, it would send again at once.
#[test]
fn a_limit_is_never_exceeded_however_often_the_daemon_is_killed() {
    let kills = setting("WAYSTATION_CRASH_LIMIT_KILLS", 6);
    let messages = u64::from(kills) * 4;
    let home = folder();
    let arrivals: Arc<Mutex<Vec<(Instant, u64)>>> = Arc::default();
    let (taking, taken) = channel();
    let books = arrivals.clone();
    let smarthost = StandIn::start(move |mail| {
        books.lock().push((Instant::now(), mail.number));
        let _ = taking.send(());
    });
    let station = Station::new(home.path(), smarthost.address);
    let limits = [
        ("WAYSTATION__SMARTHOST__OUT__INTERVAL", "1s"),
        ("WAYSTATION__SMARTHOST__OUT__BATCH", "4"),
        ("WAYSTATION__SMARTHOST__OUT__PER_DAY", "1000"),
    ];
    let mut daemon = station.start_under(&[], &limits);
    for number in 1..=messages {
        let reply = send(daemon.address, &message(number, 500)).unwrap();
        assert!(reply.is_yes(), "{reply:?}");
    }
    for kill in 0..kills {
        for _ in 0..=(kill % 3) * 2 {
            taken.recv_timeout(PATIENCE).unwrap();
        }
        daemon.kill();
        daemon = station.start_under(&[], &limits);
    }
    station.wait_until_empty();
    daemon.stop();

    let mut arrivals = arrivals.lock().clone();
    arrivals.sort_unstable();
    let fullest = arrivals
        .windows(BATCH + 1)
        .map(|window| window[BATCH].0.duration_since(window[0].0))
        .min()
        .expect("more than one batch");
    eprintln!(
        "crash: limits: kills={kills} messages={messages} arrivals={} shortest span of {} arrivals: {fullest:?}",
        arrivals.len(),
        BATCH + 1
    );
    assert!(fullest >= INTERVAL, "{fullest:?}: {arrivals:#?}");
    let mut numbers: Vec<u64> = arrivals.iter().map(|(_, number)| *number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, (1..=messages).collect::<Vec<_>>());
}

/// What a smarthost took: when, which message, for how many recipients; and word of each.
struct Books {
    arrivals: Arc<Mutex<Vec<(Instant, u64, u64)>>>,
    taken: Receiver<()>,
}

impl Books {
    fn open() -> (Self, StandIn) {
        let arrivals: Arc<Mutex<Vec<(Instant, u64, u64)>>> = Arc::default();
        let (taking, taken) = channel();
        let books = arrivals.clone();
        let smarthost = StandIn::start(move |mail| {
            books.lock().push((Instant::now(), mail.number, mail.recipients));
            let _ = taking.send(());
        });
        (Self { arrivals, taken }, smarthost)
    }

    fn wait_for(&self, messages: u32) {
        for _ in 0..messages {
            self.taken.recv_timeout(PATIENCE).unwrap();
        }
    }

    /// In the order in which they came.
    fn all(&self) -> Vec<(Instant, u64, u64)> {
        let mut all = self.arrivals.lock().clone();
        all.sort_unstable();
        all
    }

    fn recipients(&self) -> u64 {
        self.arrivals.lock().iter().map(|(_, _, recipients)| recipients).sum()
    }
}

/// The shortest time in which one message more arrived than a window holds.
fn fullest(arrivals: &[(Instant, u64, u64)], most: usize) -> Duration {
    let spans = arrivals.windows(most + 1).map(|window| window[most].0.duration_since(window[0].0));
    spans.min().unwrap_or(Duration::MAX)
}

/// Kills the daemon after this many arrivals each time, and starts it again.
fn kill_after(station: &Station, mut daemon: Daemon, books: &Books, arrivals: &[u32]) -> Daemon {
    for count in arrivals {
        books.wait_for(*count);
        daemon.kill();
        daemon = station.start();
    }
    daemon
}

/// Asks until all that a limit allows is used up.
fn wait_until_used(station: &Station, limit: &str, most: u64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = station.ask(&["status", "--json"]);
        let limits = status[0]["limits"].as_array().unwrap();
        let used = limits.iter().find(|one| one["limit"] == limit).unwrap()["used"].as_u64().unwrap();
        assert!(used <= most, "{used} of {most} are counted: {status:#}");
        if used == most && status[0]["connections"] == 0 {
            return;
        }
        assert!(Instant::now() < deadline, "{status:#}");
    }
}

/// Messages to three recipients, two messages a second and twenty recipients an hour, whatever is killed in between.
#[test]
fn a_limit_of_recipients_is_never_exceeded_and_neither_is_the_batch_beside_it() {
    let home = folder();
    let (books, smarthost) = Books::open();
    let limits = "interval = \"1s\"\nbatch = 2\nper_hour = 20\ncount = \"recipients\"\n";
    let station = Station::limited(home.path(), smarthost.address, limits);
    let daemon = station.start();
    for number in 1..=12 {
        let reply = send_to(daemon.address, 3, &message(number, 500)).unwrap();
        assert!(reply.is_yes(), "{reply:?}");
    }
    let daemon = kill_after(&station, daemon, &books, &[1, 1, 2]);
    wait_until_used(&station, "per_hour", 20);
    daemon.kill();
    let daemon = station.start();
    wait_until_used(&station, "per_hour", 20);
    daemon.stop();
    let (all, recipients) = (books.all(), books.recipients());
    eprintln!("crash: limits: {} messages, {recipients} recipients, {:?}", all.len(), fullest(&all, 2));
    assert!(recipients <= 20, "{all:#?}");
    assert!(fullest(&all, 2) >= Duration::from_secs(1), "{all:#?}");
}

/// Twelve recipients a minute, and no minute is over while the test runs.
#[test]
fn a_minute_is_not_begun_anew_by_a_kill() {
    let home = folder();
    let (books, smarthost) = Books::open();
    let station = Station::limited(home.path(), smarthost.address, "per_minute = 12\n");
    let (daemon, began) = (station.start(), Instant::now());
    for number in 1..=10 {
        let reply = send_to(daemon.address, 3, &message(number, 500)).unwrap();
        assert!(reply.is_yes(), "{reply:?}");
    }
    let mut daemon = kill_after(&station, daemon, &books, &[1]);
    for _ in 0..4 {
        // Slow enough a machine begins another minute: then nothing is known.
        if began.elapsed() < Duration::from_secs(30) {
            wait_until_used(&station, "per_minute", 12);
        }
        daemon.kill();
        daemon = station.start();
    }
    daemon.stop();
    let all = books.all();
    let until = all[0].0 + Duration::from_mins(1);
    let first: u64 = all.iter().filter(|(at, ..)| *at < until).map(|(_, _, recipients)| recipients).sum();
    eprintln!("crash: limits: {first} of 12 recipients in the first minute, by {} messages", all.len());
    assert!(first <= 12, "{all:#?}");
}

/// Six messages a second become two by a reload, and the daemon is killed before and after it.
#[test]
fn a_limit_that_a_reload_lowers_holds_from_then_on_over_a_kill() {
    let home = folder();
    let (books, smarthost) = Books::open();
    let station = Station::limited(home.path(), smarthost.address, "interval = \"1s\"\nbatch = 6\n");
    let daemon = station.start();
    for number in 1..=24 {
        let reply = send(daemon.address, &message(number, 500)).unwrap();
        assert!(reply.is_yes(), "{reply:?}");
    }
    let daemon = kill_after(&station, daemon, &books, &[3, 3]);
    station.reload_with("batch = 6", "batch = 2");
    let lowered = Instant::now();
    let daemon = kill_after(&station, daemon, &books, &[1, 2]);
    station.wait_until_empty();
    daemon.stop();
    let all = books.all();
    let behind: Vec<_> = all.iter().copied().filter(|(at, ..)| *at >= lowered).collect();
    // What had been begun under the old limit may arrive behind the reload.
    let behind = &behind[behind.len().min(6)..];
    eprintln!("crash: limits: {:?}, and {:?} behind a reload", fullest(&all, 6), fullest(behind, 2));
    assert!(fullest(&all, 6) >= Duration::from_secs(1), "{all:#?}");
    assert!(fullest(behind, 2) >= Duration::from_secs(1), "{all:#?}");
    let mut numbers: Vec<u64> = all.iter().map(|(_, number, _)| *number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, (1..=24).collect::<Vec<_>>());
}
