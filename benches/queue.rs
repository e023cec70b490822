//! Messages per second that the queue makes durable, beside a synced file per message in the same run.
//!
//! `cargo bench --bench queue`. `WAYSTATION_BENCH_PRELOAD=1000000` queues so many first, and measures the start.
//! `WAYSTATION_BENCH_SECONDS` is the length of each measurement (default 4); `TMPDIR` chooses the disk.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "a benchmark")]
#![allow(
    clippy::cast_precision_loss,
    clippy::unchecked_time_subtraction,
    reason = "rates are rounded anyway"
)]

use jiff::Timestamp;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use waystation::clock::Clock;
use waystation::message::envelope::{Body, Class, Envelope, Origin, Recipient};
use waystation::queue::{Fate, Lane, LaneName, Notes, Outcome, Part, Queue, QueueSettings, Submission};
use waystation::smtp::address::Address;
use waystation::smtp::reply::Reply;

const SUBMITTERS: usize = 50;
const CONTENT: usize = 4 << 10;

fn settings(state_dir: &Path) -> QueueSettings {
    QueueSettings {
        state_dir: state_dir.to_owned(),
        memory: 64 << 20,
        max_size: 1 << 40,
        min_free: 0,
        journal_keep: Duration::from_hours(720),
    }
}

fn submission(lane: &LaneName) -> Submission {
    let now = Timestamp::now();
    let address = |text: &str| Address::parse(text, false).unwrap();
    Submission {
        envelope: Envelope {
            sender: Some(address("shop@shop.example.com")),
            recipients: vec![Recipient {
                address: address("customer.name@mail.example.net"),
                notify: None,
                orcpt: None,
            }],
            body: Body::EightBitMime,
            smtputf8: false,
            ret: None,
            envid: None,
        },
        origin: Origin {
            client: Some("127.0.0.1".parse().unwrap()),
            helo: "client.example.com".into(),
            application: Some("shop".into()),
        },
        received_at: now,
        notes: Notes { subject: Some("Your order 4711 is on its way".into()), tag: None, ..Notes::default() },
        parts: vec![Part {
            lane: lane.clone(),
            class: Class::Normal,
            recipients: vec![0],
            due: now,
            held: false,
            discarded: false,
            expires_at: None,
        }],
    }
}

async fn keep(queue: &Queue, lane: &LaneName, content: &[u8]) {
    let mut draft = queue.draft();
    draft.write(content).await.unwrap();
    let _ = queue.keep(draft, submission(lane)).await.unwrap();
}

/// Runs 50 submitters for a while; messages per second.
async fn submit(queue: &Queue, lane: &LaneName, span: Duration, processes: usize) -> f64 {
    let kept = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..processes {
        let (queue, lane, kept) = (queue.clone(), lane.clone(), Arc::clone(&kept));
        tasks.spawn(async move {
            let content = vec![b'x'; CONTENT];
            while start.elapsed() < span {
                keep(&queue, &lane, &content).await;
                kept.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    while tasks.join_next().await.is_some() {}
    kept.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64()
}

/// Claims, reads and settles all that comes.
async fn deliver(queue: Queue, lane: Lane, delivered: Arc<AtomicU64>) {
    let ok = Reply { code: 250, enhanced: None, lines: vec!["2.0.0 Ok: queued as 4711".into()] };
    loop {
        lane.wait().await;
        for due in lane.claim(100, 200) {
            let octets = queue.read(&due.content, 0, 1 << 20).await.unwrap();
            assert_eq!(octets.len(), CONTENT);
            queue
                .settle(Outcome {
                    fates: due.open.iter().map(|open| (open.number, Fate::Delivered(ok.clone()))).collect(),
                    ..Outcome::of(due.id, due.lane, Timestamp::now())
                })
                .await;
            delivered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A synced file per message, renamed into place, folder synced: what a queue without group commit does.
fn file_per_message(folder: &Path, span: Duration) -> f64 {
    let kept = AtomicU64::new(0);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..SUBMITTERS {
            let (kept, content) = (&kept, vec![b'x'; CONTENT]);
            scope.spawn(move || {
                for number in 0.. {
                    if start.elapsed() >= span {
                        break;
                    }
                    let name = folder.join(format!("{thread}-{number}.tmp"));
                    let mut file = File::create(&name).unwrap();
                    file.write_all(&content).unwrap();
                    file.sync_all().unwrap();
                    std::fs::rename(&name, name.with_extension("eml")).unwrap();
                    File::open(folder).unwrap().sync_all().unwrap();
                    kept.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    kept.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64()
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 =
        after.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let span = Duration::from_secs(number("WAYSTATION_BENCH_SECONDS").unwrap_or(4));
    let lane = LaneName::new("shop");

    let folder = tempfile::tempdir().unwrap();
    let files = file_per_message(folder.path(), span);
    println!("a synced file per message      {files:>9.0} msg/s");
    drop(folder);

    let folder = tempfile::tempdir().unwrap();
    let queue = Queue::open(settings(folder.path()), Clock::system()).unwrap();
    let before = cpu();
    let empty = submit(&queue, &lane, span, SUBMITTERS).await;
    let each = (cpu() - before).as_secs_f64() * 1e6 / (empty * span.as_secs_f64());
    println!(
        "keep                           {empty:>9.0} msg/s  {:.1} x  {each:.0} us CPU each",
        empty / files
    );
    queue.close().await;
    drop(folder);

    let folder = tempfile::tempdir().unwrap();
    let queue = Queue::open(settings(folder.path()), Clock::system()).unwrap();
    let delivered = Arc::new(AtomicU64::new(0));
    let consumer = tokio::spawn(deliver(queue.clone(), queue.lane(&lane), Arc::clone(&delivered)));
    let before = cpu();
    let through = submit(&queue, &lane, span, SUBMITTERS).await;
    let each = (cpu() - before).as_secs_f64() * 1e6 / (through * span.as_secs_f64());
    let out = delivered.load(Ordering::Relaxed) as f64 / span.as_secs_f64();
    println!(
        "keep, claim, settle            {through:>9.0} msg/s  {out:.0} msg/s settled  {each:.0} us CPU each"
    );
    consumer.abort();
    queue.close().await;
    drop(folder);

    if let Some(preload) = number("WAYSTATION_BENCH_PRELOAD") {
        with_backlog(preload, span, &lane, empty).await;
    }
}

async fn with_backlog(preload: u64, span: Duration, lane: &LaneName, empty: f64) {
    let folder = tempfile::tempdir().unwrap();
    let queue = Queue::open(settings(folder.path()), Clock::system()).unwrap();
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..500 {
        let (queue, lane) = (queue.clone(), lane.clone());
        tasks.spawn(async move {
            for _ in 0..preload / 500 {
                keep(&queue, &lane, b"Subject: x\r\n\r\nx\r\n").await;
            }
        });
    }
    while tasks.join_next().await.is_some() {}
    println!("preloaded {preload} in {:.1?}", start.elapsed());
    queue.close().await;
    let start = Instant::now();
    let queue = Queue::open(settings(folder.path()), Clock::system()).unwrap();
    println!("opened in {:.1?}, {} MiB resident", start.elapsed(), resident_mib());
    queue.lane(lane).wait().await;
    println!("first message claimable after {:.1?}, {} MiB resident", start.elapsed(), resident_mib());
    let full = submit(&queue, lane, span, SUBMITTERS).await;
    println!(
        "keep with the backlog          {full:>9.0} msg/s  {:.2} of empty, {} MiB resident",
        full / empty,
        resident_mib()
    );
    let delivered = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let consumer = {
        let (queue, lane, delivered) = (queue.clone(), queue.lane(lane), Arc::clone(&delivered));
        tokio::spawn(async move {
            let ok = Reply { code: 250, enhanced: None, lines: vec!["ok".into()] };
            loop {
                lane.wait().await;
                for due in lane.claim(100, 200) {
                    let fates =
                        due.open.iter().map(|open| (open.number, Fate::Delivered(ok.clone()))).collect();
                    let (id, lane, at) = (due.id, due.lane, Timestamp::now());
                    let outcome = Outcome { fates, ..Outcome::of(id, lane, at) };
                    queue.settle(outcome).await;
                    delivered.fetch_add(1, Ordering::Relaxed);
                }
            }
        })
    };
    tokio::time::sleep(span).await;
    let rate = delivered.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64();
    println!("claim, settle from the backlog {rate:>9.0} msg/s, {} MiB resident", resident_mib());
    consumer.abort();
    queue.close().await;
}
