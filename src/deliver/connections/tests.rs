//! Lanes that stand still, without a smarthost and with the clock in hand.

use super::*;
use crate::config::schema::{Config, LogAddresses};
use crate::deliver::route::Router;
use crate::deliver::target::REMOVED;
use crate::deliver::verdict::Fault;
use crate::message::envelope::{Body, Class, Envelope, Origin, Recipient};
use crate::queue::limits::Limits;
use crate::queue::{Entry, Filter, Notes, Part, QueueSettings, State, Submission};
use crate::smtp::address::Address;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::AtomicI64;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

/// Days since the test began.
#[derive(Clone, Default)]
struct Days(Arc<AtomicI64>);

impl Days {
    fn clock(&self) -> Clock {
        let days = self.0.clone();
        Clock::from_fn(move || {
            Timestamp::from_second(1_795_000_000 + days.load(Ordering::Relaxed) * 86_400).unwrap()
        })
    }
}

fn config(folder: &Path) -> Config {
    let path = folder.join("waystation.toml");
    std::fs::write(
        &path,
        "[smarthost.left]\nhost = \"127.0.0.1\"\ntls = \"none\"\nenabled = false\n\
         [retry]\ngive_up_after = \"5d\"\nwarn_after = \"1d\"\n",
    )
    .unwrap();
    crate::config::load(&path, std::iter::empty()).unwrap().config
}

fn queue(folder: &Path, clock: Clock) -> Queue {
    let settings = QueueSettings {
        state_dir: folder.join("state"),
        memory: 1 << 20,
        max_size: 1 << 30,
        min_free: 0,
        journal_keep: Duration::from_hours(10_000),
    };
    Queue::open(settings, clock).unwrap()
}

fn submission(lane: &str, now: Timestamp) -> Submission {
    let address = |text: &str| Address::parse(text, false).unwrap();
    let recipient = Recipient { address: address("ana@guest.test"), notify: None, orcpt: None };
    Submission {
        envelope: Envelope {
            sender: Some(address("shop@shop.test")),
            recipients: vec![recipient],
            body: Body::SevenBit,
            smtputf8: false,
            ret: None,
            envid: None,
        },
        origin: Origin { client: None, helo: "".into(), application: None },
        received_at: now,
        notes: Notes::default(),
        parts: vec![Part {
            lane: lane.into(),
            class: Class::Normal,
            recipients: vec![0],
            due: now,
            expires_at: None,
            held: false,
            discarded: false,
        }],
    }
}

/// What the journal holds: lane, state, subject.
fn told(entries: &[Entry]) -> Vec<(String, State, String)> {
    let told = |entry: &Entry| {
        let subject = entry.subject.as_deref().unwrap_or("").split(':').next().unwrap_or_default();
        (entry.lane.to_string(), entry.recipients[0].state, subject.to_owned())
    };
    entries.iter().map(told).collect()
}

#[tokio::test]
async fn mail_of_a_removed_smarthost_is_told_of_and_given_up_as_configured() {
    let folder = tempfile::tempdir().unwrap();
    let days = Days::default();
    let config = config(folder.path());
    let queue = queue(folder.path(), days.clock());
    let mut draft = queue.draft();
    draft.write(b"Subject: hello\r\n\r\nhello\r\n").await.unwrap();
    let _ = queue.keep(draft, submission("gone", days.clock().now())).await.unwrap();
    let router = Router::new(vec![], config.applications.clone(), config.default_smarthost.clone());
    let like = &config.smarthosts["left"];
    let target = Target::removed("gone", like, "relay.test", config.retry.clone(), Arc::new(router));
    let (events, tracker, stop) =
        (Events::new(LogAddresses::Full), TaskTracker::new(), CancellationToken::new());
    let lane = Lane::new(queue.clone(), target, days.clock(), events, tracker, &stop);
    assert_eq!(
        (lane.status().state.as_str(), lane.status().reason),
        ("removed", Some(format!("451 {REMOVED}")))
    );

    lane.age().await;
    queue.flush().await;
    let open = ("gone".to_owned(), State::Queued, String::new());
    let after = async || told(&queue.query(Filter::default(), 10, None).await.unwrap());
    assert_eq!(after().await, std::slice::from_ref(&open), "young");

    days.0.store(2, Ordering::Relaxed);
    for _ in 0..2 {
        lane.age().await;
        queue.flush().await;
    }
    let delayed = ("left".to_owned(), State::Queued, "Not yet delivered".to_owned());
    assert_eq!(after().await, [open, delayed.clone()], "told once");

    days.0.store(6, Ordering::Relaxed);
    lane.age().await;
    queue.flush().await;
    let expired = ("gone".to_owned(), State::Expired, String::new());
    let undelivered = ("left".to_owned(), State::Queued, "Not delivered".to_owned());
    assert_eq!(after().await, [expired, delayed, undelivered]);
}

#[tokio::test]
async fn mail_that_waited_for_a_limit_is_not_given_up_for_a_short_stop() {
    for (per_day, days_of_halt, is_given_up) in [(None, 0, false), (None, 1, true), (Some(1), 1, false)] {
        let folder = tempfile::tempdir().unwrap();
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (stop, days) = (CancellationToken::new(), Days::default());
        let lane = lane_of(folder.path(), &socket, b"Subject: hello\r\n\r\nhello\r\n", &days, &stop).await;
        days.0.store(6, Ordering::Relaxed);
        lane.halt(Stop::Down, &down());
        days.0.fetch_add(days_of_halt, Ordering::Relaxed);
        if per_day.is_some() {
            let rules = Limits { per_day, ..lane.target().smarthost.limits.clone() }.rules();
            lane.entries().limit(rules);
            assert!(lane.queue().charge(lane.name()).await.unwrap());
            lane.queue().landed(lane.name().clone());
            lane.queue().flush().await;
        }
        lane.age().await;
        lane.queue().flush().await;
        let entries = lane.queue().query(Filter::default(), 1, None).await.unwrap();
        let state = entries[0].recipients[0].state;
        assert_eq!(state == State::Expired, is_given_up, "{per_day:?} {days_of_halt} {state:?}");
    }
}

/// Says this to MAIL, and ends the connection; nothing is only that.
async fn serve(socket: TcpListener, mail: &str) {
    loop {
        let (stream, _) = socket.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        stream.write_all(b"220 mx.test\r\n").await.unwrap();
        let mut line = String::new();
        while stream.read_line(&mut line).await.is_ok_and(|count| count > 0) {
            let reply = if line.starts_with("MAIL") { mail } else { "250 mx.test" };
            if reply.is_empty() || stream.write_all(format!("{reply}\r\n").as_bytes()).await.is_err() {
                break;
            }
            line.clear();
        }
    }
}

fn down() -> Cause {
    Cause {
        reply: Reply::new(421, None, "down"),
        from_peer: true,
        stage: Stage::Greeting,
        fault: Fault::Smarthost,
        advice: None,
        would_stop: false,
    }
}

/// A lane whose smarthost is at `socket`, and that has this message.
async fn lane_of(
    folder: &Path,
    socket: &TcpListener,
    message: &[u8],
    days: &Days,
    stop: &CancellationToken,
) -> Arc<Lane> {
    let mut config = config(folder);
    let mut smarthost = config.smarthosts.remove("left").unwrap();
    (smarthost.enabled, smarthost.port) = (true, socket.local_addr().unwrap().port());
    let clock = days.clock();
    let queue = queue(folder, clock.clone());
    let mut draft = queue.draft();
    draft.write(message).await.unwrap();
    let _ = queue.keep(draft, submission("left", clock.now())).await.unwrap();
    let router = Router::new(vec![], config.applications, config.default_smarthost);
    let target = Target::new(smarthost, "relay.test", config.retry, Arc::new(router));
    Lane::new(queue, target, clock, Events::new(LogAddresses::Full), TaskTracker::new(), stop)
}

#[tokio::test]
async fn an_address_that_ends_at_its_first_message_comes_behind_others() {
    for (mail, is_avoided) in [("421 4.3.2 not here", true), ("", true), ("550 5.7.1 not you", false)] {
        let folder = tempfile::tempdir().unwrap();
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let stop = CancellationToken::new();
        let lane =
            lane_of(folder.path(), &socket, b"Subject: hello\r\n\r\nhello\r\n", &Days::default(), &stop)
                .await;
        let _serving = tokio::spawn(serve(socket, mail));
        let _running = tokio::spawn(lane.clone().run());
        let answered = async {
            while !(lane.was_answered() && lane.status().connections == 0) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), answered).await.unwrap();
        stop.cancel();
        let expected = is_avoided.then_some(IpAddr::from(Ipv4Addr::LOCALHOST));
        assert_eq!(lane.avoided(), Vec::from_iter(expected), "{mail:?}");
    }
}

/// Refuses long lines, and takes all else.
async fn serve_short_lines(socket: TcpListener) {
    loop {
        let (stream, _) = socket.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        stream.write_all(b"220 mx.test\r\n").await.unwrap();
        let (mut line, mut is_content, mut longest) = (String::new(), false, 0);
        while stream.read_line(&mut line).await.is_ok_and(|count| count > 0) {
            longest = if is_content { longest.max(line.len()) } else { 0 };
            let reply = match (is_content, line.trim_end()) {
                (true, ".") if longest > 1_000 => "500 5.5.2 line too long\r\n",
                (false, "DATA") => "354 go on\r\n",
                (false, _) | (true, ".") => "250 mx.test\r\n",
                (true, _) => "",
            };
            is_content = line.trim_end() == "DATA" || is_content && reply.is_empty();
            if stream.write_all(reply.as_bytes()).await.is_err() {
                break;
            }
            line.clear();
        }
    }
}

#[tokio::test]
async fn a_probe_whose_message_goes_again_in_another_form_makes_room_for_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let stop = CancellationToken::new();
    let message = format!("Subject: hello\r\n\r\n{}\r\n", "x".repeat(3_000));
    let lane = lane_of(folder.path(), &socket, message.as_bytes(), &Days::default(), &stop).await;
    lane.halt(Stop::Down, &down());
    lane.retry_now();
    let _serving = tokio::spawn(serve_short_lines(socket));
    let _running = tokio::spawn(lane.clone().run());
    let delivered = async {
        while lane.queue().query(Filter::default(), 1, None).await.unwrap()[0].recipients[0].state
            != State::Delivered
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), delivered).await.unwrap();
    assert_eq!(lane.state(), LaneState::Flowing);
    stop.cancel();
}
