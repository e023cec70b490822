//! A stand-in for Google, asked over TLS: of all that looks like its question only the true one is confirmed, once.

use crate::verification::{CANCEL, LANGUAGES, LINK, interpret, question};
use jiff::Timestamp;
use rcgen::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use waystation::clock::Clock;
use waystation::config::schema::{EventFormat, LogAddresses};
use waystation::deliver::confirm::{Confirmer, Told, Web};
use waystation::events::Events;
use waystation::net::http::Names;
use waystation::queue::{
    EventFilter, LaneName, Queue, QueueId, QueueSettings, Verification, VerificationState,
};

const FORM: &str =
    "<html><p>Please confirm</p><form action=\"\" method=\"post\"><input type=submit value=OK></form>";
const DONE: &str = "<html><p>Confirmation Success!</p>";

/// What was asked: method, host and path.
type Asked = Vec<(String, String, String)>;

/// Google's two hosts. A question can be answered once; a path with `gone` in it is too old, one with `away` leads away.
struct Google {
    port: u16,
    tls: Arc<ClientConfig>,
    asked: Arc<Mutex<Asked>>,
    /// The next requests are answered so.
    failures: Arc<AtomicI64>,
}

impl Google {
    fn start() -> Self {
        let names = ["mail-settings.google.com", "mail.google.com"].map(str::to_owned);
        let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(names).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let key = rustls::pki_types::PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let server = builder.unwrap().with_no_client_auth();
        let server = Arc::new(server.with_single_cert(vec![cert.der().clone()], key).unwrap());
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let tls = Arc::new(builder.unwrap().with_root_certificates(roots).with_no_client_auth());
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let (asked, failures) = (Arc::<Mutex<Asked>>::default(), Arc::<AtomicI64>::default());
        let (seen, failing) = (asked.clone(), failures.clone());
        // Ends with the test's process.
        std::thread::spawn(move || {
            for connection in socket.incoming().map_while(Result::ok) {
                let session = ServerConnection::new(server.clone()).unwrap();
                // A client that goes is the test's to tell of.
                drop(answer(StreamOwned::new(session, connection), &seen, &failing));
            }
        });
        Self { port, tls, asked, failures }
    }

    fn web(&self) -> Web {
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let names = Names::from_fn(move |_| Box::pin(async move { Ok(vec![here]) }));
        Web::leading_to(names, self.tls.clone(), self.port)
    }

    fn count(&self, method: &str, part: &str) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|(how, _, path)| how == method && path.contains(part)).count()
    }
}

fn answer<S: Read + Write>(mut stream: S, seen: &Mutex<Asked>, failing: &AtomicI64) -> std::io::Result<()> {
    let (mut line, mut host, mut length) = (String::new(), String::new(), 0);
    let mut reader = BufReader::new(&mut stream);
    reader.read_line(&mut line)?;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let (name, value) = header.trim().split_once(": ").unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "" => break,
            "host" => value.split(':').next().unwrap().clone_into(&mut host),
            "content-length" => length = value.parse().unwrap(),
            "cookie" => panic!("no cookies"),
            _ => {}
        }
    }
    std::io::copy(&mut reader.take(length), &mut std::io::sink())?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let was_answered = seen.lock().unwrap().iter().any(|(how, _, old)| how == "POST" && *old == path);
    seen.lock().unwrap().push((method.clone(), host.clone(), path.clone()));
    let fails = failing.fetch_sub(1, Ordering::SeqCst) > 0;
    let (head, page) = match (method.as_str(), host.as_str()) {
        _ if fails => ("503 x".to_owned(), "busy"),
        _ if path.contains("away") => ("302 x\r\nLocation: https://accounts.google.com/x".to_owned(), ""),
        ("GET", "mail-settings.google.com") => {
            (format!("302 x\r\nLocation: https://mail.google.com{path}"), "")
        }
        ("GET", "mail.google.com") if was_answered || path.contains("gone") => {
            ("200 x".to_owned(), "<p>Expired")
        }
        ("GET", "mail.google.com") => ("200 x".to_owned(), FORM),
        ("POST", "mail.google.com") => ("200 x".to_owned(), DONE),
        _ => ("404 x".to_owned(), ""),
    };
    write!(stream, "HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}", page.len())?;
    stream.flush()
}

/// A confirmer over a queue, at a time that only the test moves.
struct Desk {
    queue: Queue,
    confirmer: Arc<Confirmer>,
    second: Arc<AtomicI64>,
    /// The mailbox that the unknown account is by now.
    added: Arc<Mutex<Option<&'static str>>>,
    /// `sol` isn't configured.
    removed: Arc<AtomicBool>,
}

impl Desk {
    fn open(folder: &Path, web: Web, second: i64) -> Self {
        let second = Arc::new(AtomicI64::new(second));
        let hand = second.clone();
        let clock = Clock::from_fn(move || Timestamp::from_second(hand.load(Ordering::SeqCst)).unwrap());
        let settings = QueueSettings {
            state_dir: folder.to_owned(),
            memory: 1 << 20,
            max_size: 1 << 40,
            min_free: 0,
            journal_keep: Duration::from_hours(720),
        };
        let queue = Queue::open(settings, clock.clone()).unwrap();
        let removed: Arc<AtomicBool> = Arc::default();
        let is_removed = removed.clone();
        let told = move |question: &Verification| {
            let endpoint = LaneName::new(&question.inbox);
            let hostname = "relay.example.com".to_owned();
            let is_there = !is_removed.load(Ordering::SeqCst);
            (is_there && question.mailbox.as_deref() == Some("sol")).then_some(Told {
                endpoint,
                format: EventFormat::Native,
                hostname,
            })
        };
        let events = Events::new(LogAddresses::Full);
        let added: Arc<Mutex<Option<&'static str>>> = Arc::default();
        let whose = {
            let added = added.clone();
            move |_: &Verification| added.lock().unwrap().map(str::to_owned)
        };
        let confirmer = Confirmer::new(queue.clone(), clock, events, web, Box::new(told), Box::new(whose));
        Self { queue, confirmer, second, added, removed }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.second.load(Ordering::SeqCst)).unwrap()
    }

    /// The message `number` asks this; whether it was news.
    async fn ask(&self, number: i64, subject: &str, body: &str) -> bool {
        let sample = question(
            "forwarding-noreply@google.com",
            "inbox@users.example.com",
            subject,
            body,
            Some("google.com"),
        );
        let candidate = interpret(&sample).verification.unwrap();
        self.confirmer.ask(QueueId::from_row(number), "guests", &candidate, self.now()).await.unwrap()
    }

    async fn states(&self) -> Vec<VerificationState> {
        self.queue.verifications().await.unwrap().iter().map(|one| one.state).collect()
    }

    /// Each kept event's type and body.
    async fn told(&self) -> Vec<(String, serde_json::Value)> {
        self.queue.flush().await;
        let events = self.queue.events(EventFilter::default(), 1_000, None).await.unwrap();
        let mut told = Vec::new();
        for event in events {
            let (_, body) = self.queue.event(event.id).await.unwrap().unwrap();
            told.push((event.kind, serde_json::from_slice(&body.unwrap()).unwrap()));
        }
        told
    }
}

const START: i64 = 1_795_000_000;
const QUESTION: (&str, &str) = (LANGUAGES[0].1, LANGUAGES[0].2);

fn body(text: &str, token: &str) -> String {
    format!("{text}\n\n{LINK}{token}\n\n{CANCEL}\n\nhttps://support.google.com/mail/answer/184973\n")
}

#[tokio::test]
async fn the_true_question_is_confirmed_once_in_every_language() {
    let (folder, google) = (tempfile::tempdir().unwrap(), Google::start());
    let desk = Desk::open(folder.path(), google.web(), START);
    for (number, (language, subject, text)) in (1..).zip(LANGUAGES) {
        let body = body(text, &format!("x{number}"));
        assert!(desk.ask(number * 10, subject, &body).await, "{language}");
        assert!(desk.ask(number * 10, subject, &body).await, "{language}: interpreted again after a crash");
        assert!(!desk.ask(number * 10 + 1, subject, &body).await, "{language}: the same mail again");
        desk.confirmer.round().await;
        assert!(!desk.ask(number * 10 + 2, subject, &body).await, "{language}: and once more, afterwards");
        desk.confirmer.round().await;
    }
    assert_eq!(desk.states().await, [VerificationState::Confirmed; LANGUAGES.len()]);
    let asked = google.asked.lock().unwrap().clone();
    let mut each: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for (method, host, path) in asked {
        each.entry(path).or_default().push((method, host));
    }
    let way = [("GET", "mail-settings.google.com"), ("GET", "mail.google.com"), ("POST", "mail.google.com")];
    let way = way.map(|(method, host)| (method.to_owned(), host.to_owned()));
    assert_eq!(each.len(), LANGUAGES.len());
    assert!(each.iter().all(|(path, asked)| path.starts_with("/mail/vf-") && *asked == way), "{each:?}");
    let told = desk.told().await;
    assert_eq!(told.len(), LANGUAGES.len());
    let ids: BTreeSet<&str> = told.iter().filter_map(|(_, event)| event["data"]["id"].as_str()).collect();
    assert_eq!(ids.len(), LANGUAGES.len());
    for (kind, event) in &told {
        assert_eq!(kind, "verification.confirmed");
        assert_eq!(event["data"]["mailbox"], "sol");
        assert_eq!(event["data"]["requested_by"], "hola@casasol.example");
        assert_eq!((&event["data"]["links"], &event["data"]["code"]), (&serde_json::json!([]), &().into()));
    }
    let kept = desk.queue.verifications().await.unwrap();
    assert!(kept.iter().all(|one| one.links.is_empty() && one.code.is_none()), "what was used is forgotten");
}

#[tokio::test]
async fn look_alikes_are_never_asked_for() {
    let (folder, google) = (tempfile::tempdir().unwrap(), Google::start());
    let desk = Desk::open(folder.path(), google.web(), START);
    let us = "inbox@users.example.com";
    let google_says = "forwarding-noreply@google.com";
    let text = format!("{}\n{LINK}\n", QUESTION.1);
    let elsewhere = text.replace("mail-settings.google.com", "mail-settings.google.com.evil.example");
    let stranger = text.replace("hola@casasol.example", "evil@gmail.com");
    for (number, (from, to, signer, text)) in (1..).zip([
        (google_says, us, None, &text),
        (google_says, us, Some("google.com.evil.example"), &text),
        (google_says, us, Some("gmail.com"), &text),
        (google_says, "victim@elsewhere.example", Some("google.com"), &text),
        ("forwarding-noreply@g00gle.com", us, Some("g00gle.com"), &text),
        ("forwarding-noreply@google.com.evil.example", us, Some("google.com"), &text),
        (google_says, us, Some("google.com"), &elsewhere),
        (google_says, us, Some("google.com"), &stranger),
        (google_says, us, Some("google.com"), &CANCEL.to_owned()),
    ]) {
        let found = interpret(&question(from, to, "Gmail Forwarding Confirmation", text, signer));
        let Some(candidate) = found.verification else { continue };
        desk.confirmer.ask(QueueId::from_row(number), "guests", &candidate, desk.now()).await.unwrap();
        desk.confirmer.round().await;
    }
    let states = desk.states().await;
    assert!(states.len() >= 5, "{states:?}");
    assert!(states.iter().all(|state| *state == VerificationState::ActionNeeded), "{states:?}");
    assert_eq!(*google.asked.lock().unwrap(), []);
}

#[tokio::test]
async fn an_expired_page_and_one_that_leads_away_are_for_a_human() {
    let (folder, google) = (tempfile::tempdir().unwrap(), Google::start());
    let desk = Desk::open(folder.path(), google.web(), START);
    for (number, token, reason) in [(1, "gone", "expired"), (2, "away", "leads_away")] {
        assert!(desk.ask(number, QUESTION.0, &body(QUESTION.1, token)).await);
        desk.confirmer.round().await;
        let (kind, event) = desk.told().await.pop().unwrap();
        assert_eq!((kind.as_str(), &event["data"]["reason"]), ("verification.action_needed", &reason.into()));
        assert_eq!(event["data"]["code"], "99427480");
        assert_eq!(event["data"]["links"], serde_json::json!([format!("{LINK}{token}")]));
    }
    assert_eq!(google.count("POST", ""), 0);
    assert!(desk.queue.verification_opened(QueueId::from_row(1)).await.unwrap());
    assert_eq!(desk.states().await, [VerificationState::Opened, VerificationState::ActionNeeded]);
    let shown: Vec<Verification> = desk.queue.verifications().await.unwrap();
    assert!(!format!("{shown:?}").contains("vf-"), "the link shows nowhere by accident");
}

#[tokio::test]
async fn a_restart_goes_on_where_it_was() {
    let (folder, google) = (tempfile::tempdir().unwrap(), Google::start());
    google.failures.store(2, Ordering::SeqCst);
    let desk = Desk::open(folder.path(), google.web(), START);
    assert!(desk.ask(1, QUESTION.0, &body(QUESTION.1, "slow")).await);
    desk.confirmer.round().await;
    desk.confirmer.round().await;
    assert_eq!(google.count("GET", "slow"), 1, "not before its time");
    desk.second.fetch_add(5, Ordering::SeqCst);
    desk.confirmer.round().await;
    let waiting = desk.queue.verifications_confirming().await.unwrap();
    assert_eq!(waiting[0].attempts, 2);
    assert_eq!(waiting[0].next_attempt, Timestamp::from_second(START + 35).ok(), "5 s, then 30 s");
    let Desk { queue, confirmer, .. } = desk;
    drop(confirmer);
    queue.close().await;
    let desk = Desk::open(folder.path(), google.web(), START + 35);
    desk.confirmer.round().await;
    assert_eq!(desk.states().await, [VerificationState::Confirmed]);
    assert_eq!((google.count("POST", "slow"), desk.told().await.len()), (1, 1));
}

#[tokio::test]
async fn an_account_that_asks_anew_is_confirmed_by_its_newest_link() {
    let (folder, google) = (tempfile::tempdir().unwrap(), Google::start());
    let desk = Desk::open(folder.path(), google.web(), START);
    assert!(desk.ask(1, QUESTION.0, &body(QUESTION.1, "old")).await);
    assert!(desk.ask(2, QUESTION.0, &body(QUESTION.1, "new")).await);
    desk.confirmer.round().await;
    assert_eq!(desk.states().await, [VerificationState::Replaced, VerificationState::Confirmed]);
    assert_eq!((google.count("GET", "old"), google.count("POST", "new")), (0, 1));
}

#[tokio::test]
async fn a_question_for_an_account_that_is_added_later_is_confirmed() {
    let (folder, google) = (tempfile::tempdir().unwrap(), Google::start());
    let desk = Desk::open(folder.path(), google.web(), START);
    let (subject, text) = QUESTION;
    let unknown = |text: &str| text.replace("hola@casasol.example", "new@casasol.example");
    let asks = |token: &str| unknown(&body(text, token));
    assert!(desk.ask(10, &unknown(subject), &asks("x1")).await);
    assert!(desk.ask(20, &unknown(subject), &asks("x2")).await);
    desk.confirmer.round().await;
    assert_eq!(desk.states().await, [VerificationState::ActionNeeded; 2]);
    assert_eq!(google.count("GET", "vf-"), 0);
    *desk.added.lock().unwrap() = Some("sol");
    desk.confirmer.round().await;
    // The newest of them; the other one needs nothing any more.
    assert_eq!(desk.states().await, [VerificationState::Replaced, VerificationState::Confirmed]);
    assert_eq!(google.count("POST", "x2"), 1);
    assert_eq!(google.count("GET", "x1"), 0);
    assert_eq!(desk.told().await.last().unwrap().0, "verification.confirmed");
}

#[tokio::test]
async fn a_question_whose_mailbox_is_removed_says_so_and_is_confirmed_when_it_comes_back() {
    let (folder, google) = (tempfile::tempdir().unwrap(), Google::start());
    google.failures.store(1, Ordering::SeqCst);
    let desk = Desk::open(folder.path(), google.web(), START);
    assert!(desk.ask(1, QUESTION.0, &body(QUESTION.1, "back")).await);
    desk.confirmer.round().await;
    assert_eq!(desk.states().await, [VerificationState::Confirming], "the page couldn't be reached");
    desk.removed.store(true, Ordering::SeqCst);
    desk.confirmer.round().await;
    let shown = desk.queue.verifications().await.unwrap();
    assert_eq!((shown[0].state, &shown[0].mailbox), (VerificationState::ActionNeeded, &None), "at once");
    assert!(shown[0].answer.as_deref().unwrap().contains("isn't configured any more"), "{shown:?}");
    desk.second.fetch_add(3_600, Ordering::SeqCst);
    desk.confirmer.round().await;
    assert_eq!(google.count("GET", "back"), 1, "not for a mailbox that isn't there");
    // Also over a restart, and by another name.
    let Desk { queue, confirmer, .. } = desk;
    drop(confirmer);
    queue.close().await;
    let desk = Desk::open(folder.path(), google.web(), START + 7_200);
    *desk.added.lock().unwrap() = Some("sol");
    desk.confirmer.round().await;
    assert_eq!(desk.states().await, [VerificationState::Confirmed]);
    assert_eq!(google.count("POST", "back"), 1);
    assert_eq!(desk.told().await.len(), 1);
    assert!(desk.queue.verifications_waiting().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_question_that_a_human_was_shown_or_another_address_got_waits_for_no_mailbox() {
    let (folder, google) = (tempfile::tempdir().unwrap(), Google::start());
    let desk = Desk::open(folder.path(), google.web(), START);
    let (subject, text) = QUESTION;
    let unknown = |text: &str| text.replace("hola@casasol.example", "new@casasol.example");
    assert!(desk.ask(10, &unknown(subject), &unknown(&body(text, "x1"))).await);
    let waiting = desk.queue.verifications_waiting().await.unwrap();
    assert_eq!(waiting[0].came_to.as_deref(), Some("inbox@users.example.com"));
    assert!(desk.queue.verification_opened(waiting[0].id).await.unwrap());
    *desk.added.lock().unwrap() = Some("sol");
    desk.confirmer.round().await;
    assert_eq!(desk.states().await, [VerificationState::Opened]);
    assert_eq!(google.count("GET", "vf-"), 0);
}
