//! Gmail's question answered through the whole program, against a stand-in for Google: only the true one, once.

use crate::relay;
use crate::signer::{Signer, Tools, place};
use crate::support::client::submit;
use crate::support::dns::{Record, Say};
use crate::support::gmail::{CANCEL, LANGUAGES, LINK};
use crate::support::receiver::{Receiver, Request};
use crate::support::relay::Relay;
use crate::support::until;
use crate::support::world::World;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

/// Where everybody's web server is in this world; it looks public.
const WEB: &str = "11.22.33.44";
/// An address within.
const INSIDE: &str = "10.1.2.3";
const INBOX: &str = "inbox@users.example.com";
const GOOGLE: &str = "forwarding-noreply@google.com";
const FORM: &str =
    "<html><p>Please confirm</p><form action=\"\" method=\"post\"><input type=submit value=OK></form>";
const DONE: &str = "<html><p>Confirmation Success!</p>";

/// Method, host and path.
type Asked = (String, String, String);

/// Google's hosts, and everybody else's. A question can be answered once; words in its path steer what it says.
struct Web(Arc<Mutex<Vec<Asked>>>);

impl Web {
    fn start(tls: Arc<ServerConfig>) -> Self {
        let socket = TcpListener::bind((WEB, 443)).unwrap();
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let seen = asked.clone();
        std::thread::spawn(move || {
            for connection in socket.incoming().map_while(Result::ok) {
                let session = ServerConnection::new(tls.clone()).unwrap();
                // A client that goes is the test's to tell of.
                drop(answer(StreamOwned::new(session, connection), &seen));
            }
        });
        Self(asked)
    }

    fn asked(&self) -> Vec<Asked> {
        self.0.lock().unwrap().clone()
    }
}

fn answer<S: Read + Write>(mut stream: S, seen: &Mutex<Vec<Asked>>) -> std::io::Result<()> {
    let (mut line, mut host, mut length) = (String::new(), String::new(), 0);
    let mut reader = BufReader::new(&mut stream);
    reader.read_line(&mut line)?;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let (name, value) = header.trim().split_once(": ").unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "" => break,
            "host" => value.clone_into(&mut host),
            "content-length" => length = value.parse().unwrap(),
            "cookie" => panic!("no cookies"),
            _ => {}
        }
    }
    std::io::copy(&mut reader.take(length), &mut std::io::sink())?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let before = seen.lock().unwrap().clone();
    let times = |wanted: &str| before.iter().filter(|(how, _, old)| how == wanted && *old == path).count();
    seen.lock().unwrap().push((method.clone(), host.clone(), path.clone()));
    let leads = |to: &str| (format!("302 x\r\nLocation: {to}"), "");
    let (head, page) = match (method.as_str(), host.as_str()) {
        _ if path.contains("busy") && before.iter().all(|(_, _, old)| *old != path) => {
            ("503 x".to_owned(), "busy")
        }
        _ if path.contains("away") => leads("https://accounts.google.com/ServiceLogin"),
        _ if path.contains("alike") => leads(&format!("https://mail.google.com.evil.example{path}")),
        _ if path.contains("plain") => leads(&format!("http://mail.google.com{path}")),
        ("GET", "mail-settings.google.com") => leads(&format!("https://mail.google.com{path}")),
        ("GET", "mail.google.com") if times("POST") > 0 || path.contains("gone") => {
            ("200 x".to_owned(), "<p>Expired")
        }
        ("POST", "mail.google.com") if !path.contains("again") => ("200 x".to_owned(), DONE),
        ("GET" | "POST", "mail.google.com") => ("200 x".to_owned(), FORM),
        _ => ("404 x".to_owned(), ""),
    };
    write!(stream, "HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}", page.len())?;
    stream.flush()
}

/// Everything that plays.
struct Stage {
    world: World,
    web: Web,
    signer: Signer,
    receiver: Receiver,
    relay: Relay,
}

impl Stage {
    fn enter(test: &str) -> Option<Self> {
        let tools = Tools::find()?;
        let world = World::enter(test, &[WEB, INSIDE])?;
        let hosts = [
            "mail-settings.google.com",
            "mail.google.com",
            "accounts.google.com",
            "mail.google.com.evil.example",
        ];
        for host in hosts {
            world.dns.set(host, &[Record::A(WEB.parse().unwrap())]);
        }
        let signer = tools.signer(&world.folder);
        for domain in ["google.com", "g00gle.com", "gmail.com"] {
            world.dns.txt(&place(domain), &signer.record);
        }
        let web = Web::start(world.certified(&hosts));
        let receiver = Receiver::taking();
        let relay = relay(&world, &receiver);
        Some(Self { world, web, signer, receiver, relay })
    }

    fn send(&self, message: &[u8]) {
        submit(self.relay.plain(), "3abc@mail-settings.bounces.google.com", &[INBOX], message);
    }

    /// Google's own question.
    fn ask(&self, subject: &str, text: &str) {
        self.send(&self.signer.signed(&question(GOOGLE, INBOX, subject, text), "google.com"));
    }

    /// The next event behind `seen` of them.
    fn event(&self, seen: usize) -> Request {
        let request = self.receiver.requests(seen + 1).remove(seen);
        request.verify(crate::SECRET);
        request
    }
}

fn question(from: &str, to: &str, subject: &str, text: &str) -> String {
    let lines: Vec<String> = STANDARD
        .encode(text)
        .as_bytes()
        .chunks(76)
        .map(|line| String::from_utf8(line.to_vec()).unwrap())
        .collect();
    format!(
        "From: Gmail Team <{from}>\r\nTo: {to}\r\nSubject: =?UTF-8?B?{}?=\r\nMessage-ID: <q@google.com>\r\n\
         MIME-Version: 1.0\r\nContent-Type: text/plain; charset=UTF-8\r\nContent-Transfer-Encoding: base64\r\n\r\n{}\r\n",
        STANDARD.encode(subject),
        lines.join("\r\n")
    )
}

fn text(words: &str, token: &str) -> String {
    format!("{words}\n\n{LINK}{token}\n\n{CANCEL}{token}\n\nhttps://support.google.com/mail/answer/184973\n")
}

#[test]
fn the_true_question_is_confirmed_once_in_every_language() {
    let name = "google::the_true_question_is_confirmed_once_in_every_language";
    let Some(stage) = Stage::enter(name) else { return };
    for (number, (language, subject, words)) in LANGUAGES.into_iter().enumerate() {
        let message = question(GOOGLE, INBOX, subject, &text(words, &format!("x{number}")));
        let signed = stage.signer.signed(&message, "google.com");
        stage.send(&signed);
        stage.send(&signed);
        let event = stage.event(number).json();
        assert_eq!(event["type"], "verification.confirmed", "{language}: {event}");
        assert_eq!(event["data"]["mailbox"], "sol", "{language}");
        assert_eq!(event["data"]["requested_by"], "hola@casasol.example", "{language}");
        assert_eq!(event["data"]["seq"], number + 1, "{language}");
        stage.send(&signed);
    }
    // A guest's mail behind them all: no event was left out before it, and it is the only one that is more.
    let guest = "From: ana@guest.example\r\nTo: hola@casasol.example\r\nSubject: Hi\r\n\r\nHi\r\n";
    submit(stage.relay.plain(), "ana@guest.example", &["inbox+sol@users.example.com"], guest.as_bytes());
    assert_eq!(stage.event(LANGUAGES.len()).kind(), "message.received");
    let mut each: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for (method, host, path) in stage.web.asked() {
        each.entry(path).or_default().push((method, host));
    }
    let way = [("GET", "mail-settings.google.com"), ("GET", "mail.google.com"), ("POST", "mail.google.com")];
    let way = way.map(|(method, host)| (method.to_owned(), host.to_owned()));
    assert_eq!(each.len(), LANGUAGES.len(), "{each:?}");
    assert!(each.iter().all(|(path, asked)| path.starts_with("/mail/vf-") && *asked == way), "{each:?}");
}

#[test]
fn look_alikes_are_never_asked_for() {
    let Some(stage) = Stage::enter("google::look_alikes_are_never_asked_for") else { return };
    let (subject, words) = (LANGUAGES[1].1, LANGUAGES[1].2);
    let body = text(words, "bad");
    let elsewhere =
        body.replace("https://mail-settings.google.com/", "https://mail.google.com.evil.example/");
    let stranger = body.replace("hola@casasol.example", "evil@gmail.com");
    let cancel = format!("{words}\n{CANCEL}bad\n");
    for (from, to, signer, body) in [
        (GOOGLE, INBOX, "g00gle.com", &body),
        (GOOGLE, INBOX, "gmail.com", &body),
        (GOOGLE, "victim@elsewhere.example", "google.com", &body),
        ("forwarding-noreply@g00gle.com", INBOX, "g00gle.com", &body),
        ("forwarding-noreply@google.com.evil.example", INBOX, "google.com", &body),
        (GOOGLE, INBOX, "google.com", &elsewhere),
        (GOOGLE, INBOX, "google.com", &stranger),
        (GOOGLE, INBOX, "google.com", &cancel),
    ] {
        stage.send(&stage.signer.signed(&question(from, to, subject, body), signer));
    }
    stage.send(question(GOOGLE, INBOX, subject, &body).as_bytes());
    let signed = stage.signer.signed(&question(GOOGLE, INBOX, subject, &body), "google.com");
    let changed = String::from_utf8(signed).unwrap().replacen("Subject: ", "Subject: Re: ", 1);
    stage.send(changed.as_bytes());
    // Questions are read in their order: when the true one is answered, all of these were looked at.
    stage.ask(subject, &text(words, "true"));
    stage.receiver.wait("a confirmation", |seen| {
        seen.iter().any(|request| request.kind() == "verification.confirmed").then_some(())
    });
    let asked = stage.web.asked();
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert!(
        asked.iter().all(|(_, _, path)| path.starts_with("/mail/vf-") && path.ends_with("true")),
        "{asked:?}"
    );
    let events = stage.receiver.seen();
    let confirmed = events.iter().filter(|request| request.kind() == "verification.confirmed").count();
    assert_eq!(confirmed, 1);
    let unknown =
        events.iter().filter(|request| request.json()["data"]["reason"] == "unknown_account").count();
    assert_eq!(unknown, 1, "an account that is no mailbox is told of");
}

#[test]
fn what_the_pages_say_decides() {
    let Some(stage) = Stage::enter("google::what_the_pages_say_decides") else { return };
    let (subject, words) = (LANGUAGES[0].1, LANGUAGES[0].2);
    let plays = [
        ("gone", "verification.action_needed", Some("expired")),
        ("away", "verification.action_needed", Some("leads_away")),
        ("alike", "verification.action_needed", Some("leads_away")),
        ("plain", "verification.action_needed", Some("leads_away")),
        // The form comes back each time: what a GET alone, or a POST that isn't taken, comes to.
        ("again", "verification.action_needed", Some("page_changed")),
        ("busy", "verification.confirmed", None),
    ];
    for (number, (token, kind, reason)) in plays.into_iter().enumerate() {
        stage.ask(subject, &text(words, token));
        let event = stage.event(number).json();
        assert_eq!(
            (event["type"].as_str(), event["data"]["reason"].as_str()),
            (Some(kind), reason),
            "{token}: {event}"
        );
    }
    let asked = stage.web.asked();
    let count = |method: &str, token: &str| {
        asked.iter().filter(|(how, _, path)| how == method && path.ends_with(token)).count()
    };
    let posts: Vec<usize> = plays.iter().map(|(token, ..)| count("POST", token)).collect();
    assert_eq!(posts, [0, 0, 0, 0, 2, 1], "{asked:?}");
    assert_eq!(count("GET", "busy"), 3, "once in vain, then the page and where it leads");
    let google = ["mail-settings.google.com", "mail.google.com"];
    assert!(asked.iter().all(|(_, host, _)| google.contains(&host.as_str())), "{asked:?}");
    assert!(asked.iter().all(|(_, _, path)| path.starts_with("/mail/vf-")), "never the link that cancels");
}

#[test]
fn a_question_that_comes_while_dns_is_away_waits_for_it() {
    let name = "google::a_question_that_comes_while_dns_is_away_waits_for_it";
    let Some(stage) = Stage::enter(name) else { return };
    stage.world.dns.trouble(Some(Say::Failure));
    stage.ask(LANGUAGES[1].1, &text(LANGUAGES[1].2, "late"));
    stage.relay.logged(&["forwarded mail waits for DNS"]);
    assert_eq!(stage.web.asked(), []);
    stage.world.dns.trouble(None);
    assert_eq!(stage.event(0).kind(), "verification.confirmed");
}

#[test]
fn a_name_server_that_lies_about_google_leads_nowhere_inside() {
    let name = "google::a_name_server_that_lies_about_google_leads_nowhere_inside";
    let Some(stage) = Stage::enter(name) else { return };
    let inside = TcpListener::bind((INSIDE, 443)).unwrap();
    inside.set_nonblocking(true).unwrap();
    stage.world.dns.set("mail-settings.google.com", &[Record::A(INSIDE.parse().unwrap())]);
    stage.ask(LANGUAGES[1].1, &text(LANGUAGES[1].2, "lie"));
    until("an attempt", || {
        let questions = stage.relay.json(&["inbox", "verifications", "--json"]);
        questions[0]["answer"]
            .as_str()
            .filter(|answer| answer.contains("leads to 10.1.2.3, which isn't a public address"))
            .map(drop)
    });
    assert!(inside.accept().is_err(), "nobody came");
    stage.world.dns.set("mail-settings.google.com", &[Record::A(WEB.parse().unwrap())]);
    assert_eq!(stage.event(0).kind(), "verification.confirmed");
    assert!(inside.accept().is_err(), "nobody came");
}
