//! Plays the scripts in `tests/dialogues/` to a listener: its sessions over loopback, the queue behind it, and its policies as a
//! configuration makes them. Only the clock stands still.
//!
//! | line | meaning |
//! |---|---|
//! | `# settings: auth=required …` | keys: `auth` `tls` `auth_without_tls` `tolerate` as a listener has them, `size` `recipients` `errors` of `[intake]`, `trusted=no` for a stranger, `from` what the login may use, `exhausted` a user name that failed too often, `inbox=no` for none |
//! | `C: text` | the client sends text and CRLF |
//! | `C+ text` | the same, in one packet with the next client line |
//! | `C! text` | the client sends text without a line end |
//! | `C*N: text` | N times in one packet |
//! | `S: text` | the server says exactly this line; a `*` at the end stands for any rest, `250-*` for a whole reply, `ID1` for the first kept message's id |
//! | `S*N: text` | N times |
//! | `M: text` | the next line of the latest kept message, below the fields that we put on top of mail to send on; one without a header section has an empty line first (`M. ` for a last line without CRLF) |
//! | `E: from, to, to …` | the kept message's envelope; `<>` is the null sender |
//! | `-- tls --` `-- closed --` `-- early --` | shake hands; the server has closed; the client speaks before the greeting |
//!
//! Escapes: `\r \n \t \0 \\ \xNN`, and `\{N:text}` repeats. Two spaces and `#` begin a comment.
//!
//! There is one smarthost, `shop`, and one inbox, `inbox@users.test`, for strangers, too. The login is `shop` with `pass`.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failing script must stop the test"
)]

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::fmt::Write as _;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use waystation::clock::Clock;
use waystation::config;
use waystation::events::Events;
use waystation::intake::credentials::{Credentials, hash_password};
use waystation::intake::listener::{self, Detours, Intakes, Policy};
use waystation::queue::{Due, LaneName, Queue, QueueSettings};

/// Nothing that is awaited takes this long on a machine that works.
const PATIENCE: Duration = Duration::from_mins(1);
/// Now, always.
const NOW: &str = "2026-11-23T14:32:00Z";
/// The client's address.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// So many failed logins with one name, and the next one isn't looked at.
const EXHAUSTING: usize = 10;

#[test]
fn every_dialogue_goes_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues");
    let mut scripts: Vec<_> =
        fs::read_dir(folder).expect("tests/dialogues").map(|entry| entry.unwrap().path()).collect();
    scripts.retain(|path| path.extension().is_some_and(|ending| ending == "smtp"));
    scripts.sort();
    assert!(scripts.len() > 30, "scripts are missing");
    let scene = Scene::new();
    let complaints: Vec<String> = scripts
        .iter()
        .filter_map(|path| {
            let text = fs::read_to_string(path).expect("a script");
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // Whole packets and single octets must give the same.
            [usize::MAX, 1].into_iter().find_map(|piece| {
                play(&scene, &text, piece)
                    .err()
                    .map(|complaint| format!("{name}:{complaint} (pieces of {piece})"))
            })
        })
        .collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// Plays one script; the client's packets arrive in pieces of at most `piece` octets.
fn play(scene: &Scene, text: &str, piece: usize) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let station = Station::open(scene, text, folder.path());
    let early = text.lines().any(|line| line == "-- early --");
    let mut talk = Talk::begin(scene, &station, early);
    let mut packet = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let number = number + 1;
        let line = line.split_once("  #").map_or(line, |(line, _)| line).trim_end_matches(' ');
        let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (kind, times) = match kind.trim_end_matches(':').split_once('*') {
            Some((kind, times)) => (format!("{kind}:"), times.parse::<usize>().expect("a number")),
            None => (kind.to_owned(), 1),
        };
        let step = match kind.as_str() {
            "" | "#" => Ok(()),
            "C:" | "C+" | "C!" => {
                for _ in 0..times {
                    packet.extend(unescape(rest));
                    if kind != "C!" {
                        packet.extend(b"\r\n");
                    }
                }
                if kind != "C+" {
                    talk.send(&std::mem::take(&mut packet), piece);
                }
                Ok(())
            }
            "S:" => (0..times).try_for_each(|_| talk.expect_line(rest)),
            "M:" | "M." => {
                let mut wanted = unescape(rest);
                if kind == "M:" {
                    wanted.extend(b"\r\n");
                }
                talk.expect_content(&wanted)
            }
            "E:" => talk.expect_envelope(rest),
            "--" => talk.event(line),
            _ if line.starts_with('#') => Ok(()),
            _ => Err(format!("no such line: {line}")),
        };
        step.map_err(|complaint| format!("{number}: {complaint}"))?;
    }
    let end = talk.nothing_left().map_err(|complaint| format!("end: {complaint}"));
    scene.runtime.block_on(station.close());
    end
}

fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let escape = rest[at + 1..].chars().next().expect("an escape");
        rest = &rest[at + 2..];
        match escape {
            'r' => out.push(b'\r'),
            'n' => out.push(b'\n'),
            't' => out.push(b'\t'),
            '0' => out.push(0),
            'x' => {
                out.push(u8::from_str_radix(&rest[..2], 16).expect("two hex digits"));
                rest = &rest[2..];
            }
            '{' => {
                let (inside, behind) = rest.split_once('}').expect("a closing brace");
                let (times, what) = inside.split_once(':').expect("N:text");
                out.extend(unescape(what).repeat(times.parse().expect("a number")));
                rest = behind;
            }
            other => out.extend(other.to_string().as_bytes()),
        }
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

/// What all scripts share.
struct Scene {
    runtime: Runtime,
    /// PEM.
    certificate: String,
    key: String,
    /// Believes the certificate.
    tls: Arc<ClientConfig>,
    password_hash: String,
}

impl Scene {
    fn new() -> Self {
        let names = ["localhost".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(made.cert.der().to_vec())).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap(),
            certificate: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
            tls: Arc::new(tls),
            password_hash: hash_password("pass").unwrap(),
        }
    }

    /// The configuration that a script's settings ask for.
    fn configuration(&self, script: &str, folder: &Path) -> (config::schema::Config, Option<String>) {
        let (mut listener, mut intake, mut login, mut exhausted) = Default::default();
        let words = script
            .lines()
            .filter_map(|line| line.strip_prefix("# settings:"))
            .flat_map(str::split_whitespace);
        let (mut tls, mut has_inbox) = (false, true);
        for (key, value) in words.map(|word| word.split_once('=').expect("key=value")) {
            let line: &mut String = match key {
                "auth" | "tls" | "auth_without_tls" | "tolerate" | "trusted" => &mut listener,
                "size" | "recipients" | "errors" => &mut intake,
                _ => &mut login,
            };
            match key {
                "auth" => writeln!(line, "auth = \"{value}\""),
                "tls" => {
                    tls = true;
                    writeln!(line, "tls = \"{value}\"")
                }
                "auth_without_tls" => writeln!(line, "auth_without_tls = {}", value == "yes"),
                "tolerate" => writeln!(line, "tolerate = {:?}", value.split(',').collect::<Vec<_>>()),
                "trusted" if value == "no" => writeln!(line, "trust = []"),
                "size" => writeln!(line, "max_message_size = \"{value} B\""),
                "recipients" => writeln!(line, "max_recipients = {value}"),
                "errors" => writeln!(line, "max_errors = {value}"),
                "from" => writeln!(line, "from = [\"{value}\"]"),
                "inbox" => {
                    has_inbox = value != "no";
                    Ok(())
                }
                "exhausted" => {
                    exhausted = Some(value.to_owned());
                    Ok(())
                }
                _ => panic!("no such setting: {key}={value}"),
            }
            .unwrap();
        }
        let mut text = format!(
            "hostname = \"waystation.test\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n{listener}[intake]\n{intake}\
             [application.shop]\npassword_hash = \"{}\"\n{login}[smarthost.shop]\nhost = \"smtp.shop.test\"\n",
            self.password_hash
        );
        if has_inbox {
            text += "[inbox.guests]\naddress = \"inbox@users.test\"\nwebhook = \"https://app.shop.test/\"\nsecret_file = \"secret\"\n";
        }
        if tls {
            text += "[tls]\ncertificate = \"relay.pem\"\nkey = \"relay.key\"\n";
            fs::write(folder.join("relay.pem"), &self.certificate).unwrap();
            fs::write(folder.join("relay.key"), &self.key).unwrap();
        }
        let loaded = config::parse(&folder.join("waystation.toml"), &text, std::iter::empty());
        (loaded.unwrap_or_else(|complaints| panic!("{complaints}")).config, exhausted)
    }
}

/// A listener that isn't served yet, and the queue behind it.
struct Station {
    queue: Queue,
    intakes: Arc<Intakes>,
    policy: Arc<Policy>,
    listener: Arc<config::schema::Listener>,
    stop: CancellationToken,
}

impl Station {
    fn open(scene: &Scene, script: &str, folder: &Path) -> Self {
        let (config, exhausted) = scene.configuration(script, folder);
        let clock = Clock::from_fn(|| NOW.parse().unwrap());
        let settings = QueueSettings {
            state_dir: folder.join("state"),
            memory: config.intake.memory,
            max_size: config.spool.max_size,
            min_free: 0,
            journal_keep: config.journal_keep,
        };
        let queue = Queue::open(settings, clock.clone()).unwrap();
        let credentials = Arc::new(Credentials::new(&config.applications));
        for attempt in 0..exhausted.as_ref().map_or(0, |_| EXHAUSTING) {
            let (name, wrong) = (exhausted.as_deref().unwrap_or_default(), format!("guess {attempt}"));
            let _ = scene.runtime.block_on(credentials.verify(CLIENT, name, &wrong, clock.now()));
        }
        let (stop, events) = (CancellationToken::new(), Events::new(config.log.addresses));
        let tracker = TaskTracker::new();
        let nowhere_else: Detours = Arc::new(|_| None);
        Self {
            intakes: Intakes::new(queue.clone(), clock, events, stop.clone(), tracker, nowhere_else),
            policy: Arc::new(Policy::of(&config, &credentials).unwrap()),
            listener: Arc::new(config.listeners[0].clone()),
            queue,
            stop,
        }
    }

    async fn close(self) {
        self.stop.cancel();
        self.intakes.tracker.close();
        self.intakes.tracker.wait().await;
        self.queue.close().await;
    }
}

/// The client's side of a script, and what became of its messages.
struct Talk<'s> {
    scene: &'s Scene,
    station: &'s Station,
    wire: Wire,
    unread: Vec<u8>,
    /// What each positive reply to content named: id and lane.
    kept: Vec<(String, LaneName)>,
    /// The latest of them, once it was looked at.
    latest: Option<Latest>,
}

enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    /// A handshake took the socket and failed.
    Gone,
}

struct Latest {
    due: Due,
    /// Below what we put on top.
    content: Vec<u8>,
    /// How much of it `M:` lines have compared.
    compared: usize,
}

impl<'s> Talk<'s> {
    /// Connects; only then the listener is served, so that who speaks early has spoken.
    fn begin(scene: &'s Scene, station: &'s Station, early: bool) -> Self {
        let socket = scene.runtime.block_on(TcpListener::bind((CLIENT, 0))).unwrap();
        let address: SocketAddr = socket.local_addr().unwrap();
        let wire = TcpStream::connect(address).unwrap();
        wire.set_nodelay(true).unwrap();
        wire.set_read_timeout(Some(PATIENCE)).unwrap();
        wire.set_write_timeout(Some(PATIENCE)).unwrap();
        let (unread, kept) = (Vec::new(), Vec::new());
        let mut talk = Self { scene, station, wire: Wire::Plain(wire), unread, kept, latest: None };
        if early {
            talk.write(b"EHLO client.test\r\n");
        }
        let Station { intakes, policy, listener, stop, .. } = station;
        let current = {
            let (policy, listener) = (policy.clone(), listener.clone());
            move || Some((policy.clone(), listener.clone()))
        };
        scene.runtime.spawn(listener::serve(socket, intakes.clone(), current, stop.clone()));
        talk
    }

    fn send(&mut self, packet: &[u8], piece: usize) {
        // A line of a megabyte is one either way. And what comes in another packet than STARTTLS may be read as a
        // handshake; only with it, it is something to forget.
        let whole = packet.len() > 100_000 || packet.windows(10).any(|octets| octets == b"STARTTLS\r\n");
        for piece in packet.chunks(if whole { usize::MAX } else { piece }) {
            self.write(piece);
        }
    }

    /// Whoever has closed hears nothing more; what it said then, the script tells.
    fn write(&mut self, octets: &[u8]) {
        let _ = match &mut self.wire {
            Wire::Plain(socket) => socket.write_all(octets),
            Wire::Tls(stream) => stream.write_all(octets).and_then(|()| stream.flush()),
            Wire::Gone => Ok(()),
        };
    }

    /// The next line the server says; none when it has closed.
    fn line(&mut self) -> Result<Option<String>, String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..end + 2).collect();
                let line = String::from_utf8(line[..end].to_vec()).expect("replies are UTF-8");
                return Ok(Some(self.named(&line)));
            }
            if self.fill()? == 0 {
                return Ok(None);
            }
        }
    }

    /// Notes the message that a reply names, and calls it `ID1`, `ID2` …
    fn named(&mut self, line: &str) -> String {
        let Some((id, rest)) =
            line.strip_prefix("250 2.0.0 ").and_then(|words| words.split_once(" queued for "))
        else {
            return line.to_owned();
        };
        let (into, _) = rest.split_once(',').expect("a due time");
        self.kept.push((id.to_owned(), LaneName::new(into)));
        self.latest = None;
        line.replace(id, &format!("ID{}", self.kept.len()))
    }

    fn fill(&mut self) -> Result<usize, String> {
        let mut room = [0; 8192];
        let read = match &mut self.wire {
            Wire::Plain(socket) => socket.read(&mut room),
            Wire::Tls(stream) => stream.read(&mut room),
            Wire::Gone => Ok(0),
        };
        match read {
            Ok(count) => {
                self.unread.extend_from_slice(&room[..count]);
                Ok(count)
            }
            Err(cause) if matches!(cause.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof) => {
                Ok(0)
            }
            Err(cause) => Err(format!("the server is silent: {cause}")),
        }
    }

    fn expect_line(&mut self, wanted: &str) -> Result<(), String> {
        let told = |cause| format!("{cause}, not S: {wanted}");
        let mut next = || self.line().map_err(told)?.ok_or_else(|| told("closed".to_owned()));
        let mut said = next()?;
        if let Some(code) = wanted.strip_suffix("-*") {
            while said.starts_with(&format!("{code}-")) {
                said = next()?;
            }
            let last = said.starts_with(&format!("{code} "));
            return if last { Ok(()) } else { Err(format!("S: {said}, not {wanted}")) };
        }
        let fits = wanted.strip_suffix('*').map_or(said == wanted, |start| said.starts_with(start));
        if fits { Ok(()) } else { Err(format!("S: {said}, not {wanted}")) }
    }

    /// The latest kept message, out of the queue.
    fn latest(&mut self) -> Result<&mut Latest, String> {
        if self.latest.is_none() {
            let (id, lane) = self.kept.last().ok_or("no message was kept")?;
            let queue = &self.station.queue;
            let found = self.scene.runtime.block_on(async {
                let due = claim(queue, lane, id).await;
                let content = queue.read(&due.content, 0, usize::MAX).await.unwrap();
                Latest { due, content: below_ours(lane, &content).to_vec(), compared: 0 }
            });
            self.latest = Some(found);
        }
        self.latest.as_mut().ok_or_else(|| "no message was kept".to_owned())
    }

    fn expect_content(&mut self, wanted: &[u8]) -> Result<(), String> {
        let latest = self.latest()?;
        let rest = &latest.content[latest.compared..];
        latest.compared += wanted.len();
        if rest.starts_with(wanted) {
            Ok(())
        } else {
            Err(format!("content goes on with {}", rest.escape_ascii()))
        }
    }

    fn expect_envelope(&mut self, wanted: &str) -> Result<(), String> {
        let envelope = &self.latest()?.due.envelope;
        let sender = envelope.sender.as_ref().map_or("<>".to_owned(), ToString::to_string);
        let recipients = envelope.recipients.iter().map(|recipient| recipient.address.to_string());
        let found: Vec<_> = std::iter::once(sender).chain(recipients).collect();
        if found.join(", ") == wanted { Ok(()) } else { Err(format!("envelope is {}", found.join(", "))) }
    }

    fn event(&mut self, line: &str) -> Result<(), String> {
        match line {
            "-- early --" => Ok(()),
            "-- tls --" => self.shake_hands(),
            "-- closed --" => match self.line()? {
                None => self.nothing_unread(),
                Some(line) => Err(format!("not expected: S: {line}")),
            },
            _ => Err(format!("no such event: {line}")),
        }
    }

    fn shake_hands(&mut self) -> Result<(), String> {
        self.nothing_unread()?;
        let Wire::Plain(mut socket) = std::mem::replace(&mut self.wire, Wire::Gone) else {
            return Err("TLS inside TLS".to_owned());
        };
        let name = ServerName::try_from("localhost").expect("a name");
        let mut session = ClientConnection::new(self.scene.tls.clone(), name).expect("a session");
        while session.is_handshaking() {
            session.complete_io(&mut socket).map_err(|cause| format!("handshake: {cause}"))?;
        }
        self.wire = Wire::Tls(Box::new(StreamOwned::new(session, socket)));
        Ok(())
    }

    fn nothing_unread(&self) -> Result<(), String> {
        if self.unread.is_empty() {
            Ok(())
        } else {
            Err(format!("not expected: S: {}", self.unread.escape_ascii()))
        }
    }

    /// Ends the client's half: what the server says then, or said before, no line of the script expected.
    fn nothing_left(&mut self) -> Result<(), String> {
        let _ = match &mut self.wire {
            Wire::Plain(socket) => socket.shutdown(Shutdown::Write),
            Wire::Tls(stream) => {
                stream.conn.send_close_notify();
                stream.flush().and_then(|()| stream.sock.shutdown(Shutdown::Write))
            }
            Wire::Gone => Ok(()),
        };
        while self.fill()? > 0 {}
        self.nothing_unread()?;
        match &self.latest {
            Some(Latest { content, compared, .. }) if *compared > 0 && *compared != content.len() => {
                Err(format!("content goes on with {}", content[*compared..].escape_ascii()))
            }
            _ => Ok(()),
        }
    }
}

/// Claims messages of a lane until this one comes.
async fn claim(queue: &Queue, lane: &LaneName, id: &str) -> Due {
    let lane = queue.lane(lane);
    let search = async {
        loop {
            if let Some(due) = lane.claim(100, 100).into_iter().find(|due| due.id.to_string() == id) {
                return due;
            }
            lane.wait().await;
        }
    };
    tokio::time::timeout(PATIENCE, search).await.expect("the message is claimed")
}

/// The message without the fields that are ours: Received, and Date and Message-ID where we had to add them. Mail to an
/// inbox is kept as it came.
fn below_ours<'c>(lane: &LaneName, content: &'c [u8]) -> &'c [u8] {
    let mut rest = content;
    if lane.as_str().starts_with("inbox:") {
        return rest;
    }
    assert!(rest.starts_with(b"Received: "), "no Received field on top: {}", content.escape_ascii());
    while let Some(end) = memchr::memmem::find(rest, b"\r\n") {
        rest = &rest[end + 2..];
        let ours = [&b"\t"[..], b"Date: Mon, 23 Nov 2026 14:32:00 +0000\r\n", b"Message-ID: <1795444320000."];
        if !ours.iter().any(|start| rest.starts_with(start)) {
            break;
        }
    }
    rest
}
