//! The queue against a model so simple that it can't be wrong: a map from id to what is open.
//!
//! Random lives of a queue, with crashes (handles dropped, outcomes on their way lost) and clean restarts:
//! no acknowledged message is lost, none comes back after its outcome was flushed, none is claimed twice at a time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

use jiff::Timestamp;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;
use waystation::clock::Clock;
use waystation::message::envelope::{Body, Class, Envelope, Origin, Recipient};
use waystation::queue::{
    Adjust, Disk, Due, Fate, Filter, LaneName, Notes, Outcome, Part, Queue, QueueId, QueueSettings, State,
    Submission, SystemDisk,
};
use waystation::smtp::address::Address;
use waystation::smtp::reply::Reply;

const START: i64 = 1_795_000_000;
const LANES: [&str; 2] = ["shop", "sol"];

/// One step of a queue's life.
#[derive(Debug, Clone)]
enum Step {
    Keep { lane: usize, class: u8, recipients: usize, large: bool, held: bool, disk_fails: bool },
    Claim { lane: usize, room: usize },
    Settle { which: usize, how: How },
    Adjust { which: usize, action: u8 },
    Flush,
    Wait { seconds: i64 },
    Crash,
    Restart,
}

#[derive(Debug, Clone, Copy)]
enum How {
    Deliver,
    DeliverFirst,
    Defer,
    Fail,
    Release,
}

fn step() -> impl Strategy<Value = Step> {
    let how = prop_oneof![
        Just(How::Deliver),
        Just(How::DeliverFirst),
        Just(How::Defer),
        Just(How::Fail),
        Just(How::Release)
    ];
    prop_oneof![
        8 => (0..2_usize, 0..3_u8, 1..4_usize, any::<bool>(), 0..8_u8, 0..10_u8).prop_map(
            |(lane, class, recipients, large, held, fails)| {
                Step::Keep { lane, class, recipients, large, held: held == 0, disk_fails: fails == 0 }
            }
        ),
        5 => (0..2_usize, 1..4_usize).prop_map(|(lane, room)| Step::Claim { lane, room }),
        6 => (any::<usize>(), how).prop_map(|(which, how)| Step::Settle { which, how }),
        2 => (any::<usize>(), 0..6_u8).prop_map(|(which, action)| Step::Adjust { which, action }),
        2 => Just(Step::Flush),
        2 => (1..200_i64).prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::Crash),
        1 => Just(Step::Restart),
    ]
}

/// A disk that refuses one sync when told to.
#[derive(Debug, Default)]
struct Fickle(AtomicBool);

impl Disk for Fickle {
    fn write_at(&self, file: &File, octets: &[u8], offset: u64) -> io::Result<usize> {
        SystemDisk.write_at(file, octets, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        if self.0.swap(false, Ordering::SeqCst) {
            Err(io::Error::from_raw_os_error(5))
        } else {
            SystemDisk.sync(file)
        }
    }
}

/// What the model knows of a message.
#[derive(Debug, Clone)]
struct Known {
    content: Vec<u8>,
    /// Recipients that are open for sure, and those whose outcome is on its way to the disk.
    open: BTreeSet<u32>,
    unsure: BTreeSet<u32>,
    held: bool,
    deleted: bool,
}

struct World {
    folder: tempfile::TempDir,
    seconds: Arc<AtomicI64>,
    disk: Arc<Fickle>,
    queue: Option<Queue>,
    model: BTreeMap<QueueId, Known>,
    claimed: Vec<Due>,
}

fn open(folder: &Path, seconds: &Arc<AtomicI64>, disk: &Arc<Fickle>) -> Queue {
    let settings = QueueSettings {
        state_dir: folder.to_owned(),
        memory: 64 << 10,
        max_size: 1 << 40,
        min_free: 0,
        journal_keep: Duration::from_hours(720),
    };
    let seconds = Arc::clone(seconds);
    let clock = Clock::from_fn(move || Timestamp::from_second(seconds.load(Ordering::SeqCst)).unwrap());
    Queue::open_on(settings, clock, Arc::clone(disk) as Arc<dyn Disk>).unwrap()
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let seconds = Arc::new(AtomicI64::new(START));
        let disk = Arc::new(Fickle::default());
        let queue = Some(open(folder.path(), &seconds, &disk));
        Self { folder, seconds, disk, queue, model: BTreeMap::new(), claimed: Vec::new() }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.seconds.load(Ordering::SeqCst)).unwrap()
    }

    fn queue(&self) -> Queue {
        self.queue.clone().unwrap()
    }

    async fn run(&mut self, step: Step) {
        match step {
            Step::Keep { lane, class, recipients, large, held, disk_fails } => {
                self.disk.0.store(disk_fails, Ordering::SeqCst);
                let number = u8::try_from(self.model.len() % 251).unwrap();
                let content = vec![number; if large { 300_000 } else { 100 }];
                let queue = self.queue();
                let mut draft = queue.draft();
                let written = draft.write(&content).await;
                let kept = match written {
                    Ok(()) => queue.keep(draft, self.submission(lane, class, recipients, held)).await,
                    Err(error) => Err(error),
                };
                self.disk.0.store(false, Ordering::SeqCst);
                let Ok(receipts) = kept else {
                    assert!(disk_fails);
                    return;
                };
                let open = (0..u32::try_from(recipients).unwrap()).collect();
                let known = Known { content, open, unsure: BTreeSet::new(), held, deleted: false };
                self.model.insert(receipts[0].id(), known);
            }
            Step::Claim { lane, room } => self.claim(lane, room).await,
            Step::Settle { which, how } => self.settle(which, how).await,
            Step::Adjust { which, action } => self.adjust(which, action).await,
            Step::Flush => self.flush().await,
            Step::Wait { seconds } => {
                self.seconds.fetch_add(seconds, Ordering::SeqCst);
            }
            Step::Crash => {
                self.queue = None;
                self.claimed.clear();
                self.queue = Some(open(self.folder.path(), &self.seconds, &self.disk));
                assert!(self.queue().was_unclean());
                self.learn().await;
            }
            Step::Restart => {
                self.flush().await;
                let lanes = LANES.map(|lane| self.queue().lane(&lane.into()));
                for due in std::mem::take(&mut self.claimed) {
                    lanes[LANES.iter().position(|lane| *lane == due.lane.as_str()).unwrap()].release(due);
                }
                self.queue.take().unwrap().close().await;
                self.queue = Some(open(self.folder.path(), &self.seconds, &self.disk));
                assert!(!self.queue().was_unclean());
            }
        }
    }

    fn submission(&self, lane: usize, class: u8, recipients: usize, held: bool) -> Submission {
        let recipient = |number: usize| Recipient {
            address: Address::parse(format!("r{number}@b.example"), false).unwrap(),
            notify: None,
            orcpt: None,
        };
        Submission {
            envelope: Envelope {
                sender: Some(Address::parse("from@a.example", false).unwrap()),
                recipients: (0..recipients).map(recipient).collect(),
                body: Body::SevenBit,
                smtputf8: false,
                ret: None,
                envid: None,
            },
            origin: Origin { client: None, helo: "client".into(), application: None },
            received_at: self.now(),
            notes: Notes::default(),
            parts: vec![Part {
                lane: LaneName::new(LANES[lane]),
                class: [Class::Priority, Class::Normal, Class::Bulk][usize::from(class)],
                recipients: (0..recipients).collect(),
                due: self.now(),
                held,
                discarded: false,
                expires_at: None,
            }],
        }
    }

    async fn claim(&mut self, lane: usize, room: usize) {
        let lane = self.queue().lane(&LANES[lane].into());
        let mut claimed = lane.claim(room, room);
        while claimed.len() < room && lane.next_due().is_some_and(|due| due <= self.now()) {
            claimed.extend(lane.claim(room - claimed.len(), room - claimed.len()));
            tokio::task::yield_now().await;
        }
        for due in claimed {
            assert!(self.claimed.iter().all(|other| other.id != due.id), "claimed twice: {}", due.id);
            let known = self.model.get(&due.id).expect("a message that was never acknowledged");
            assert!(!known.held && !known.deleted, "held or deleted, and yet claimed: {}", due.id);
            let open: BTreeSet<u32> = due.open.iter().map(|open| open.number).collect();
            assert!(open.is_superset(&known.open), "lost a recipient of {}", due.id);
            assert!(
                open.iter().all(|one| known.open.contains(one) || known.unsure.contains(one)),
                "{}",
                due.id
            );
            let content = self.queue().read(&due.content, 0, 1 << 20).await.unwrap();
            assert!(content == known.content, "content of {}", due.id);
            self.claimed.push(due);
        }
    }

    async fn settle(&mut self, which: usize, how: How) {
        if self.claimed.is_empty() {
            return;
        }
        let due = self.claimed.remove(which % self.claimed.len());
        let reply = Reply { code: 250, enhanced: None, lines: vec!["x".into()] };
        let numbers: Vec<u32> = due.open.iter().map(|open| open.number).collect();
        let later = Some(self.now() + jiff::SignedDuration::from_secs(60));
        let (fates, next_attempt): (Vec<(u32, Fate)>, _) = match how {
            How::Release => {
                self.queue().lane(&due.lane.clone()).release(due);
                return;
            }
            How::Deliver => {
                (numbers.iter().map(|&number| (number, Fate::Delivered(reply.clone()))).collect(), None)
            }
            How::Fail => {
                (numbers.iter().map(|&number| (number, Fate::Failed(reply.clone()))).collect(), None)
            }
            How::DeliverFirst => (vec![(numbers[0], Fate::Delivered(reply))], None),
            How::Defer => {
                (numbers.iter().map(|&number| (number, Fate::Deferred(reply.clone()))).collect(), later)
            }
        };
        let known = self.model.get_mut(&due.id).unwrap();
        for (number, fate) in &fates {
            if !matches!(fate, Fate::Deferred(_)) && known.open.remove(number) {
                known.unsure.insert(*number);
            }
        }
        let outcome = Outcome { fates, next_attempt, ..Outcome::of(due.id, due.lane, self.now()) };
        self.queue().settle(outcome).await;
    }

    async fn adjust(&mut self, which: usize, action: u8) {
        let nth = which % self.model.len().max(1);
        let Some((&id, known)) = self.model.iter_mut().nth(nth) else { return };
        let action = match action {
            0 => Adjust::Hold,
            1 => Adjust::Release,
            2 => Adjust::Retry,
            3 => Adjust::Delete,
            4 => Adjust::HoldByRoute,
            _ => Adjust::Reroute(LANES[which % 2].into()),
        };
        let filter = Filter { ids: vec![id], ..Filter::default() };
        let adjusted = self.queue.as_ref().unwrap().adjust(filter, action.clone()).await.unwrap();
        if adjusted.count == 1 {
            match action {
                Adjust::Hold | Adjust::HoldByRoute => known.held = true,
                Adjust::Release => known.held = false,
                Adjust::Delete => known.deleted = true,
                Adjust::Retry | Adjust::Reroute(_) | Adjust::Assign(_) => {}
            }
            // Everything handed over before a change was committed with or before it.
            self.sure();
        }
    }

    async fn flush(&mut self) {
        self.queue().flush().await;
        self.sure();
    }

    /// After a crash an outcome that was on its way may have been committed or not: both are right.
    async fn learn(&mut self) {
        for entry in self.queue().query(Filter::default(), 100_000, None).await.unwrap() {
            let Some(known) = self.model.get_mut(&entry.id) else { continue };
            for number in std::mem::take(&mut known.unsure) {
                if entry.recipients[usize::try_from(number).unwrap()].state.is_open() {
                    known.open.insert(number);
                }
            }
        }
    }

    fn sure(&mut self) {
        for known in self.model.values_mut() {
            known.unsure.clear();
        }
    }

    /// Releases all, then everything that must be there is claimable, and the index agrees with the model.
    async fn judge(&mut self) {
        self.run(Step::Restart).await;
        let filter = Filter { open: true, ..Filter::default() };
        let entries = self.queue().query(filter, 100_000, None).await.unwrap();
        let mut open = BTreeMap::new();
        for entry in entries {
            let numbers = entry.recipients.iter().zip(0_u32..);
            let numbers: BTreeSet<u32> =
                numbers.filter(|(one, _)| one.state.is_open()).map(|(_, number)| number).collect();
            let held = entry.recipients.iter().any(|one| one.state == State::Held);
            open.insert(entry.id, (numbers, held));
        }
        let wanted: BTreeMap<_, _> = self
            .model
            .iter()
            .filter(|(_, known)| !known.open.is_empty() && !known.deleted)
            .map(|(id, known)| (*id, (known.open.clone(), known.held)))
            .collect();
        assert_eq!(open, wanted);
        let totals = self.queue().totals();
        let counted: u64 = totals.iter().map(|lane| lane.queued + lane.deferred + lane.held).sum();
        assert_eq!(counted, wanted.len() as u64);
        self.seconds.fetch_add(1_000, Ordering::SeqCst);
        self.claim(0, 100_000).await;
        self.claim(1, 100_000).await;
        let claimed: BTreeSet<QueueId> = self.claimed.iter().map(|due| due.id).collect();
        let wanted: BTreeSet<QueueId> =
            wanted.iter().filter(|(_, (_, held))| !held).map(|(id, _)| *id).collect();
        assert_eq!(claimed, wanted);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(60), max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_queue_keeps_its_word_through_any_life(steps in proptest::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            for step in steps {
                world.run(step).await;
            }
            world.judge().await;
        });
    }
}
