//! The disk says no, or nothing for a long while (K12, K13, K14).

use super::client::{Client, Reply, message, send};
use super::ledger::{Books, Ledger};
use super::stand_in::StandIn;
use super::station::{Daemon, OwnDisk, PATIENCE, Station, folder};
use super::tools::{has, strace, strace_works};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// A station whose daemon has this injected into calls about one file of its state folder.
struct Faulty {
    home: tempfile::TempDir,
    ledger: Arc<Ledger>,
    smarthost: StandIn,
    station: Station,
    wrapper: Vec<String>,
}

impl Faulty {
    fn new(injection: &str, file: &str) -> Self {
        let (home, ledger) = (folder(), Arc::new(Ledger::default()));
        let smarthost = StandIn::for_ledger(&ledger);
        let real: PathBuf = home.path().canonicalize().unwrap();
        let station = Station::new(&real, smarthost.address);
        let wrapper = strace(&[injection], &[&station.state().join(file)], &real.join("strace"));
        Self { home, ledger, smarthost, station, wrapper }
    }

    fn start(&self) -> Daemon {
        self.station.start_under(&self.wrapper, &[])
    }

    /// Waits until such a call has begun.
    fn wait_for_call(&self, name: &str) {
        let (log, deadline) = (self.home.path().join("strace"), Instant::now() + PATIENCE);
        while !std::fs::read_to_string(&log).is_ok_and(|calls| calls.contains(&format!("{name}("))) {
            assert!(Instant::now() < deadline, "{name} was never called");
            std::thread::yield_now();
        }
    }

    fn send(&self, daemon: &Daemon, number: u64, octets: usize) -> Reply {
        let reply = send(daemon.address, &message(number, octets)).unwrap();
        if reply.is_yes() {
            self.ledger.acknowledge(number, reply.id());
        }
        reply
    }

    /// Kills it, and runs it on a disk that works: these have arrived then, and nothing else.
    fn only_these_arrive(&self, daemon: Daemon, numbers: &[u64]) {
        daemon.kill();
        self.ledger.end_life(&self.smarthost);
        self.smarthost.open();
        let daemon = self.station.start();
        assert!(self.ledger.wait_until(PATIENCE, Books::all_arrived), "{}", daemon.log());
        self.station.wait_until_empty();
        self.ledger.verdict(&self.station).assert_kept();
        assert_eq!(self.ledger.with(|books| books.arrived.keys().copied().collect::<Vec<_>>()), numbers);
        daemon.stop();
    }
}

fn is(reply: &Reply, code: u16, enhanced: &str) -> bool {
    reply.code == code && reply.text.starts_with(enhanced)
}

#[test]
fn a_failed_sync_of_content_refuses_the_message_and_its_file_is_never_trusted_again() {
    if !has("EIO at a sync", strace_works()) {
        return;
    }
    // The second sync of the file: what was synced before is good, and stays.
    let faulty = Faulty::new("fdatasync:error=EIO:when=2", "content/00000001.seg");
    faulty.smarthost.shut();
    let daemon = faulty.start();
    assert!(faulty.send(&daemon, 1, 500).is_yes());
    let refused = faulty.send(&daemon, 2, 500);
    assert!(is(&refused, 451, "4.3.0"), "{refused:?}");
    daemon.wait_for("queue content could not be written");
    let spoilt = std::fs::read(faulty.station.state().join("content/00000001.seg")).unwrap();
    assert!(faulty.send(&daemon, 3, 500).is_yes());
    assert!(faulty.send(&daemon, 4, 500).is_yes());
    assert_eq!(spoilt, std::fs::read(faulty.station.state().join("content/00000001.seg")).unwrap());
    faulty.only_these_arrive(daemon, &[1, 3, 4]);
}

#[test]
fn a_bad_sector_defers_the_mail_in_its_file_and_holds_up_no_other() {
    if !has("EIO at a read", strace_works()) {
        return;
    }
    let faulty = Faulty::new("pread64:error=EIO", "content/00000001.seg");
    faulty.smarthost.shut();
    let mut ids = Vec::new();
    // Each run begins a file of its own.
    for number in [1, 2] {
        let daemon = faulty.station.start();
        ids.push(faulty.send(&daemon, number, 500).id().to_owned());
        daemon.stop();
    }
    faulty.smarthost.open();
    let daemon = faulty.start();
    assert!(faulty.send(&daemon, 3, 500).is_yes());
    let others = |books: &Books| [2, 3].iter().all(|number| books.arrived.contains_key(number));
    assert!(faulty.ledger.wait_until(PATIENCE, others), "{}", daemon.log());
    let deadline = Instant::now() + PATIENCE;
    loop {
        let life = faulty.station.life(&ids[0]);
        let recipient = &life["recipients"][0];
        let reply = recipient["reply"].as_str().unwrap_or_default();
        if recipient["state"] == "deferred"
            && reply.contains("00000001.seg can't be read: Input/output error")
        {
            break;
        }
        assert!(Instant::now() < deadline, "{life:#}\n{}", daemon.log());
    }
    assert_eq!(faulty.ledger.with(|books| books.arrived.len()), 2);
    faulty.only_these_arrive(daemon, &[1, 2, 3]);
}

#[test]
fn a_failed_sync_of_a_large_message_refuses_only_it() {
    if !has("EIO at a sync", strace_works()) {
        return;
    }
    let faulty = Faulty::new("fdatasync:error=EIO:when=1", "content/00000001.seg");
    let daemon = faulty.start();
    let refused = faulty.send(&daemon, 1, 1_000_000);
    assert!(is(&refused, 451, "4.3.0"), "{refused:?}");
    assert!(!faulty.station.state().join("content/00000001.seg").exists());
    assert!(faulty.send(&daemon, 2, 1_000_000).is_yes());
    faulty.only_these_arrive(daemon, &[2]);
}

/// What was refused because the index's log couldn't be synced never arrives, however long that lasted; all that was taken
/// afterwards does.
#[test]
fn what_a_failed_sync_of_the_index_refused_stays_refused() {
    if !has("EIO at a sync", strace_works()) {
        return;
    }
    let mut all_refused = 0;
    for point in [4, 6] {
        // Every try to leave the log is a sync, too.
        let faulty =
            Faulty::new(&format!("fdatasync:error=EIO:when={point}..{}", point + 11), "queue.db-wal");
        let daemon = faulty.start();
        let begun = Instant::now();
        let mut refused = 0;
        let mut taken = Vec::new();
        // Until some are taken behind the trouble.
        for number in 1.. {
            let reply = faulty.send(&daemon, number, 500);
            assert!(reply.is_yes() || is(&reply, 451, "4.3.0"), "{point}: {reply:?}");
            if reply.is_yes() {
                taken.push((number, refused > 0));
            } else {
                refused += 1;
            }
            if taken.iter().filter(|(_, is_behind)| *is_behind).count() >= 3 {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "{point}: {}", daemon.log());
        }
        assert!(faulty.ledger.wait_until(PATIENCE, Books::all_arrived), "{}", daemon.log());
        let taken: Vec<u64> = taken.into_iter().map(|(number, _)| number).collect();
        faulty.only_these_arrive(daemon, &taken);
        all_refused += refused;
    }
    assert!(all_refused > 1, "no point met a message");
    // Nor where the daemon is killed while it lasts.
    let faulty = Faulty::new("fdatasync:error=EIO:when=5+", "queue.db-wal");
    let daemon = faulty.start();
    let taken: Vec<u64> =
        (1..1_000).take_while(|number| faulty.send(&daemon, *number, 500).is_yes()).collect();
    faulty.only_these_arrive(daemon, &taken);
}

/// The sync of the index's log, at each point of a short life.
#[test]
fn a_failed_sync_of_the_index_is_never_answered_with_250() {
    if !has("EIO at a sync", strace_works()) {
        return;
    }
    let (mut unstarted, mut refused) = (0, 0);
    for point in 1..=10 {
        let faulty = Faulty::new(&format!("fdatasync:error=EIO:when={point}"), "queue.db-wal");
        let mut daemon = faulty.station.spawn(&faulty.wrapper, &[]);
        let Some(address) = daemon.listening() else {
            unstarted += 1;
            let status = daemon.ended(PATIENCE).unwrap();
            assert!(matches!(status.code(), Some(74 | 75)), "{status}: {}", daemon.log());
            daemon.wait_for("waystation: ");
            faulty.only_these_arrive(daemon, &[]);
            continue;
        };
        daemon.address = address;
        for number in 1..=5 {
            let reply = faulty.send(&daemon, number, 500);
            assert!(reply.is_yes() || is(&reply, 451, "4.3.0"), "{point}: {reply:?}");
            refused += u32::from(!reply.is_yes());
        }
        // The fault comes once, perhaps as late as the fifth; then it recovers by itself, if not before the next one comes.
        let begun = Instant::now();
        let recovered = (6..).map(|number| faulty.send(&daemon, number, 500).is_yes());
        let waited = recovered.take_while(|is_taken| !is_taken).all(|_| begun.elapsed() < PATIENCE);
        assert!(waited, "{point}: {}", daemon.log());
        assert!(faulty.ledger.with(|books| books.acknowledged.len()) >= 5, "{point}: {}", daemon.log());
        assert!(faulty.ledger.wait_until(PATIENCE, Books::all_arrived), "{point}: {}", daemon.log());
        daemon.kill();
        faulty.ledger.end_life(&faulty.smarthost);
        let daemon = faulty.station.start();
        faulty.station.wait_until_empty();
        let verdict = faulty.ledger.verdict(&faulty.station);
        assert!(verdict.lost.is_empty() && verdict.spoilt.is_empty(), "{point}: {verdict}");
        daemon.stop();
    }
    eprintln!(
        "crash: EIO at a sync of the index: {unstarted} not started, {refused} refused with 451, none lost"
    );
    assert!(refused > 0, "no point met a message");
}

/// K13.
#[test]
fn while_a_sync_takes_seconds_other_sessions_are_answered() {
    if !has("a slow sync", strace_works()) {
        return;
    }
    // Longer than anything here may take; the test ends it.
    let faulty = Faulty::new("fdatasync:delay_enter=600000000:when=1", "content/00000001.seg");
    let daemon = faulty.start();
    let mut waits = Client::connect(daemon.address).unwrap();
    assert_eq!(waits.begin().unwrap().code, 354);
    waits.write(format!("{}.\r\n", message(1, 500)).as_bytes()).unwrap();
    faulty.wait_for_call("fdatasync");
    let mut other = Client::connect(daemon.address).unwrap();
    assert_eq!(other.say("NOOP\r\n").unwrap().code, 250);
    assert_eq!(other.begin().unwrap().code, 354);
    assert!(waits.has_heard_nothing(), "the sync wasn't slow: nothing was tried");
    daemon.untrace();
    faulty.ledger.acknowledge(1, waits.hear().unwrap().id());
    other.write(message(2, 500).as_bytes()).unwrap();
    let reply = other.say(".\r\n").unwrap();
    faulty.ledger.acknowledge(2, reply.id());
    faulty.only_these_arrive(daemon, &[1, 2]);
}

#[test]
fn no_room_for_content_is_452_and_leaves_nothing_behind() {
    if !has("ENOSPC at a write", strace_works()) {
        return;
    }
    let faulty = Faulty::new("pwrite64:error=ENOSPC:when=2", "content/00000001.seg");
    let daemon = faulty.start();
    let refused = faulty.send(&daemon, 1, 500);
    assert!(is(&refused, 452, "4.3.1"), "{refused:?}");
    assert!(!faulty.station.state().join("content/00000001.seg").exists());
    assert!(faulty.send(&daemon, 2, 500).is_yes());
    faulty.only_these_arrive(daemon, &[2]);
}

/// Sends messages of these sizes in turn; the numbers that were refused, until so many were.
fn fill(daemon: &Daemon, ledger: &Ledger, sizes: &[usize], refusals: usize) -> BTreeSet<u64> {
    let (mut refused, mut sizes) = (BTreeSet::new(), sizes.iter().cycle());
    while refused.len() < refusals {
        let number = ledger.next();
        let octets = *sizes.next().unwrap();
        let reply = send(daemon.address, &message(number, octets)).unwrap();
        if reply.is_yes() {
            ledger.acknowledge(number, reply.id());
        } else {
            assert!(is(&reply, 452, "4.3.1"), "{reply:?}");
            refused.insert(number);
        }
        assert!(number < 2_000, "the disk is never full");
    }
    refused
}

/// K14, to the last octet: writes fall short, then fail; then there is room again.
#[test]
fn a_full_disk_is_452_and_when_there_is_room_again_mail_flows_and_nothing_refused_arrives() {
    let Some(own) = OwnDisk::new("a full disk", "6m", "[spool]\nmin_free = \"1 B\"") else { return };
    let OwnDisk { station, smarthost, ledger, disk, .. } = &own;
    let ballast = disk.path.join("ballast");
    std::fs::write(&ballast, vec![1; 2 << 20]).unwrap();
    let daemon = station.start();
    let refused = fill(&daemon, ledger, &[20_000, 20_000, 300_000, 20_000], 20);
    let kept = ledger.with(|books| books.acknowledged.len());
    assert_eq!(station.queued(None).len(), kept, "something refused is queued");
    std::fs::remove_file(&ballast).unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let number = ledger.next();
        let reply = send(daemon.address, &message(number, 500)).unwrap();
        if reply.is_yes() {
            ledger.acknowledge(number, reply.id());
            break;
        }
        assert!(Instant::now() < deadline, "{reply:?}: {}", daemon.log());
    }
    smarthost.open();
    assert!(ledger.wait_until(PATIENCE, Books::all_arrived), "{}", daemon.log());
    station.wait_until_empty();
    let verdict = ledger.verdict(station);
    eprintln!("crash: full disk: {verdict} refused with 452: {}", refused.len());
    verdict.assert_kept();
    assert_eq!(
        (verdict.twice, verdict.arrived),
        (0, verdict.acknowledged),
        "something refused arrived: {verdict}"
    );
    assert!(kept > 3, "{verdict}");
    daemon.stop();
}

/// Others fill the disk to the last octet: what was taken leaves all the same, out of the blocks that were set aside.
#[test]
fn on_a_disk_that_others_filled_mail_leaves_and_the_log_stays_short() {
    let Some(own) = OwnDisk::new("a disk that others fill", "40m", "[spool]\nmin_free = \"2 MiB\"") else {
        return;
    };
    let OwnDisk { station, smarthost, ledger, disk, .. } = &own;
    let daemon = station.start();
    for _ in 0..300 {
        let number = ledger.next();
        let reply = send(daemon.address, &message(number, 5_000)).unwrap();
        ledger.acknowledge(number, reply.id());
    }
    let mut filler = std::fs::File::create(disk.path.join("filler")).unwrap();
    while filler.write_all(&[b'x'; 4096]).is_ok() {}
    fill(&daemon, ledger, &[500], 1);
    smarthost.open();
    assert!(ledger.wait_until(PATIENCE, Books::all_arrived), "{}", daemon.log());
    station.wait_until_empty();
    let verdict = ledger.verdict(station);
    verdict.assert_kept();
    assert_eq!(verdict.twice, 0, "{verdict}");
    let complaints = daemon.log().matches("queue can't be written").count();
    assert!(complaints < 20, "{complaints} complaints:\n{}", daemon.log());
    daemon.stop();
}

/// The queue itself fills the disk, without a `min_free`: the log of its index begins anew in the blocks it has.
#[test]
fn a_disk_that_the_queue_filled_empties_itself() {
    let Some(own) = OwnDisk::new("a disk that the queue fills", "8m", "[spool]\nmin_free = \"1 B\"") else {
        return;
    };
    let OwnDisk { station, smarthost, ledger, .. } = &own;
    let daemon = station.start();
    fill(&daemon, ledger, &[25_000], 20);
    smarthost.open();
    assert!(ledger.wait_until(PATIENCE, Books::all_arrived), "{}", daemon.log());
    station.wait_until_empty();
    ledger.verdict(station).assert_kept();
    daemon.stop();
}

/// The reserve (`spool.min_free`) is what lets deliveries be recorded, and so free the disk. (Only files that are no
/// longer written to are freed, so these messages are large enough to have one each.)
#[test]
fn below_the_reserve_mail_is_refused_and_deliveries_free_the_disk_alone() {
    let Some(own) = OwnDisk::new("a disk that fills up", "60m", "[spool]\nmin_free = \"30 MiB\"") else {
        return;
    };
    let OwnDisk { station, smarthost, ledger, .. } = &own;
    let daemon = station.start();
    fill(&daemon, ledger, &[300_000], 3);
    let mut client = Client::connect(daemon.address).unwrap();
    let told = client.say("MAIL FROM:<shop@example.com>\r\n").unwrap();
    assert!(is(&told, 452, "4.3.1"), "not told before DATA: {told:?}");
    assert!(!daemon.said("could not be written"), "the reserve was used up:\n{}", daemon.log());
    smarthost.open();
    station.wait_until_empty();
    let deadline = Instant::now() + PATIENCE;
    while !client.say("MAIL FROM:<shop@example.com>\r\n").unwrap().is_yes() {
        client = Client::connect(daemon.address).unwrap();
        let lanes = station.ask(&["status", "--json"]);
        assert!(Instant::now() < deadline, "{lanes:#}\n{}", daemon.log());
    }
    let verdict = ledger.verdict(station);
    eprintln!("crash: below the reserve: {verdict}");
    verdict.assert_kept();
    daemon.stop();
}
