//! How fast events are kept and posted: `cargo bench --bench events`, on the disk of the build folder.
//!
//! Fifty tasks keep events of 12 KiB, each waiting until its own is on disk; then one endpoint posts them all to a
//! receiver on loopback that answers at once. Rates, no verdicts.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a measurement may fail loudly")]

use bytes::Bytes;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use waystation::clock::Clock;
use waystation::config::schema::{Endpoint as Settings, LogAddresses};
use waystation::deliver::webhook::endpoint::Plan;
use waystation::deliver::webhook::{Endpoint, Target};
use waystation::events::Events;
use waystation::net::http::Url;
use waystation::net::signature::new_secret;
use waystation::net::tls;
use waystation::queue::{EventOctets, NewEvent, Queue, QueueSettings};

const EVENTS: usize = 20_000;
const KEEPERS: usize = 50;
const BODY: usize = 12 << 10;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(measure());
}

async fn measure() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let queue = Queue::open(
        QueueSettings {
            state_dir: folder.path().join("state"),
            memory: 64 << 20,
            max_size: 1 << 40,
            min_free: 0,
            journal_keep: Duration::from_hours(720),
        },
        Clock::system(),
    )
    .unwrap();
    let begun = Instant::now();
    let keepers: Vec<_> = (0..KEEPERS).map(|number| tokio::spawn(keep(queue.clone(), number))).collect();
    for keeper in keepers {
        keeper.await.unwrap();
    }
    rate("kept, each on disk before the next of its task", begun.elapsed());

    let (address, taken) = receiver().await;
    let endpoint = endpoint(&queue, folder.path(), &format!("http://{address}/"));
    let begun = Instant::now();
    let running = tokio::spawn(endpoint.run());
    while queue.endpoints().await.unwrap()[0].waiting > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    rate("posted, signed, and recorded on disk", begun.elapsed());
    assert_eq!(taken.load(Ordering::Relaxed), EVENTS);
    running.abort();
    queue.close().await;
}

fn rate(what: &str, elapsed: Duration) {
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = EVENTS as f64 / elapsed.as_secs_f64();
    println!("{rate:>8.0} events/s of {} KiB {what}", BODY >> 10);
}

async fn keep(queue: Queue, number: usize) {
    let filler = Bytes::from(format!(",\"x\":\"{}\"}}}}", "y".repeat(BODY)));
    for turn in 0..EVENTS / KEEPERS {
        let before = Bytes::from_static(b"{\"type\":\"message.received\",\"data\":{\"seq\":");
        let octets = EventOctets::AroundSeq { before, after: filler.clone(), name_at: None };
        let conversation = Some(format!("{number} {}", turn / 4));
        let event =
            NewEvent::new("hook".into(), "message.received", conversation, "application/json", octets);
        queue.announce_now(vec![event]).await;
    }
}

fn endpoint(queue: &Queue, folder: &Path, url: &str) -> Arc<Endpoint> {
    let secret = folder.join("secret");
    std::fs::write(&secret, new_secret().unwrap()).unwrap();
    let settings = Settings {
        name: "hook".into(),
        url: Url::parse(url).unwrap(),
        secret_file: Some(secret),
        allow_private: true,
    };
    let target = Arc::new(Target::new(settings, tls::web_client().map_err(Arc::new)));
    let plan = Plan { target, schedule: vec![Duration::from_secs(5)], tell: None };
    let events = Events::new(LogAddresses::Full);
    Endpoint::new(queue.clone(), plan, Clock::system(), events, &CancellationToken::new())
}

/// Answers each request at once; how many different ids it saw.
async fn receiver() -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let (taken, ids) = (Arc::new(AtomicUsize::new(0)), Arc::new(parking_lot::Mutex::new(HashSet::new())));
    let count = taken.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = socket.accept().await {
            let (count, ids) = (count.clone(), ids.clone());
            tokio::spawn(async move {
                let mut octets = Vec::with_capacity(BODY * 2);
                loop {
                    let head = octets.windows(4).position(|four| four == b"\r\n\r\n");
                    let whole = head.and_then(|head| {
                        let text = String::from_utf8_lossy(&octets[..head]).to_ascii_lowercase();
                        let field = |name: &str| {
                            text.lines().find_map(|line| line.strip_prefix(name)).map(|v| v.trim().to_owned())
                        };
                        let length: usize = field("content-length:")?.parse().ok()?;
                        (octets.len() >= head + 4 + length)
                            .then_some((head + 4 + length, field("webhook-id:")?))
                    });
                    if let Some((length, id)) = whole {
                        octets.drain(..length);
                        if ids.lock().insert(id) {
                            count.fetch_add(1, Ordering::Relaxed);
                        }
                        if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.is_err() {
                            return;
                        }
                    } else if !matches!(stream.read_buf(&mut octets).await, Ok(1..)) {
                        return;
                    }
                }
            });
        }
    });
    (address, taken)
}
