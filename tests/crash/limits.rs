//! No window ever holds more than its limit, however often the daemon is killed.

use super::client::{message, send};
use super::setting;
use super::stand_in::StandIn;
use super::station::{PATIENCE, Station, folder};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::mpsc::channel;
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
