//! A stand-in smarthost: threads over std's sockets, sharing no code with ours, so that what it sees is what any server sees.
//!
//! It keeps a transcript of every line it read, the messages it took, and their octets as they were on the wire.

use super::LIMIT;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use rcgen::{CertifiedKey, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

/// What it offers, unless a test says otherwise.
pub const EVERYTHING: &[&str] =
    &["PIPELINING", "SIZE 50000000", "8BITMIME", "SMTPUTF8", "CHUNKING", "DSN", "ENHANCEDSTATUSCODES"];
/// The same without CHUNKING, so that content comes by DATA.
pub const WITHOUT_CHUNKING: &[&str] =
    &["PIPELINING", "SIZE 50000000", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES"];

/// What it says of an access token that it doesn't want, before it refuses it (RFC 7628 §3.2.2).
pub const TOKEN_ERROR: &str = r#"{"status":"401","schemes":"bearer","scope":"https://mail.example/"}"#;

/// How it behaves.
pub struct Settings {
    /// EHLO keywords; STARTTLS and AUTH are added as the other settings need them.
    pub extensions: &'static [&'static str],
    /// Its certificate, and how TLS starts.
    pub tls: Tls,
    /// User name and password that it wants.
    pub login: Option<(String, String)>,
    /// Mechanisms that it offers then.
    pub mechanisms: &'static str,
    /// Asked for each command line, with "." for each message, and with "refused" behind the answer to [`TOKEN_ERROR`]: a
    /// reply other than the usual one. `close` as the reply closes the connection without a word, `silence` says nothing more.
    pub reply: Box<Script>,
    /// When replies are sent.
    pub answers: Answers,
    /// Octets of a line that it takes; beyond, it refuses as Debian's Exim does.
    pub line_length: usize,
}

/// A reply to a command line, other than the usual one.
type Script = dyn Fn(&str) -> Option<String> + Send + Sync;

/// How TLS starts.
pub enum Tls {
    Never,
    ByCommand(Arc<ServerConfig>),
    Implicit(Arc<ServerConfig>),
}

/// When replies are sent; later than at once shows what a client sends without waiting.
#[derive(Clone, Copy)]
pub enum Answers {
    AtOnce,
    /// Nothing is said after EHLO before so many messages are there whole.
    BehindMessages(usize),
    /// Replies wait for the next DATA, up to this message.
    AtDataUntil(usize),
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            extensions: EVERYTHING,
            tls: Tls::Never,
            login: None,
            mechanisms: "PLAIN LOGIN",
            reply: Box::new(|_| None),
            answers: Answers::AtOnce,
            line_length: usize::MAX,
        }
    }
}

/// A message that it took.
#[derive(Debug, Clone)]
pub struct Mail {
    /// The MAIL line behind `MAIL FROM:`.
    pub sender: String,
    /// The RCPT lines behind `RCPT TO:`, those that were accepted.
    pub recipients: Vec<String>,
    /// Dots undone.
    pub content: Vec<u8>,
    /// As on the wire: for DATA dots and the final line included.
    pub wire: Vec<u8>,
}

/// A running stand-in.
pub struct Smarthost {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    settings: Settings,
    seen: Mutex<Seen>,
    more: Condvar,
}

#[derive(Default)]
struct Seen {
    lines: Vec<String>,
    mails: Vec<Mail>,
}

impl Smarthost {
    pub fn start(settings: Settings) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let shared = Arc::new(Shared { settings, seen: Mutex::default(), more: Condvar::new() });
        let serving = shared.clone();
        // The threads end with the test's process.
        std::thread::spawn(move || {
            for connection in socket.incoming().map_while(Result::ok) {
                let shared = serving.clone();
                std::thread::spawn(move || Session::begin(connection, &shared));
            }
        });
        Self { address, shared }
    }

    /// A stand-in that takes everything.
    pub fn plain() -> Self {
        Self::start(Settings::default())
    }

    /// Waits for so many messages, all of them since the start.
    pub fn mails(&self, count: usize) -> Vec<Mail> {
        self.wait(&format!("{count} messages"), |seen| {
            (seen.mails.len() >= count).then(|| seen.mails.clone())
        })
    }

    /// How many messages are there now.
    pub fn count(&self) -> usize {
        self.shared.seen.lock().unwrap().mails.len()
    }

    /// Every line read so far, content aside.
    pub fn transcript(&self) -> Vec<String> {
        self.shared.seen.lock().unwrap().lines.clone()
    }

    /// Waits until so many lines begin with this.
    pub fn heard(&self, beginning: &str, times: usize) {
        self.wait(&format!("{beginning} {times} times"), |seen| {
            (seen.lines.iter().filter(|line| line.starts_with(beginning)).count() >= times).then_some(())
        });
    }

    fn wait<T>(&self, what: &str, look: impl Fn(&Seen) -> Option<T>) -> T {
        let deadline = Instant::now() + LIMIT;
        let mut seen = self.shared.seen.lock().unwrap();
        loop {
            if let Some(found) = look(&seen) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let (lines, mails) = (seen.lines.join("\n"), seen.mails.len());
                drop(seen);
                panic!("the smarthost has not seen {what} in {LIMIT:?}, but {mails} messages and:\n{lines}");
            }
            seen = self.shared.more.wait_timeout(seen, left).unwrap().0;
        }
    }
}

/// A certificate for these names, signed by itself: its PEM, its SHA-256, and what a server needs.
pub fn certificate(names: &[&str]) -> (String, String, Arc<ServerConfig>) {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(names).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(KeyPair::serialize_der(&signing_key)));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, cert.der());
    let pin = digest.as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
    (cert.pem(), pin, Arc::new(config))
}

enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
    /// Between the two.
    Gone,
}

impl Wire {
    fn encrypted(stream: TcpStream, config: &Arc<ServerConfig>) -> Self {
        let connection = ServerConnection::new(config.clone()).unwrap();
        Self::Tls(Box::new(StreamOwned::new(connection, stream)))
    }
}

/// One connection. An error of the connection ends it.
struct Session<'a> {
    wire: Wire,
    input: Vec<u8>,
    held: Vec<u8>,
    shared: &'a Shared,
    logged_in: bool,
    sender: String,
    recipients: Vec<String>,
    chunks: Vec<u8>,
    /// Messages over this connection.
    messages: usize,
    /// Its own.
    port: u16,
}

impl<'a> Session<'a> {
    fn begin(stream: TcpStream, shared: &'a Shared) {
        // Without it replies that follow one another wait for the relay's delayed ACK.
        let _ = stream.set_nodelay(true);
        let _ = stream.set_read_timeout(Some(LIMIT));
        let port = stream.local_addr().map_or(0, |address| address.port());
        let wire = match &shared.settings.tls {
            Tls::Implicit(config) => Wire::encrypted(stream, config),
            Tls::Never | Tls::ByCommand(_) => Wire::Plain(stream),
        };
        let mut session = Session {
            wire,
            input: Vec::new(),
            held: Vec::new(),
            shared,
            logged_in: false,
            sender: String::new(),
            recipients: Vec::new(),
            chunks: Vec::new(),
            messages: 0,
            port,
        };
        // The client has gone; what it did is in the transcript.
        let _ = session.converse();
    }

    /// Takes what comes, for as long as the client stays.
    fn stay_silent(&mut self) -> io::Result<()> {
        loop {
            self.fill()?;
        }
    }

    fn converse(&mut self) -> io::Result<()> {
        self.say("220 smarthost.test ESMTP")?;
        self.flush()?;
        loop {
            let line = self.line()?;
            if let Some(reply) = (self.shared.settings.reply)(&line) {
                match &*reply {
                    "close" => return Ok(()),
                    "silence" => return self.stay_silent(),
                    _ => {}
                }
                // A refused chunk is on its way all the same.
                if let Some(size) = line.strip_prefix("BDAT ") {
                    self.take(number(size))?;
                }
                if line.starts_with("MAIL ") && !reply.starts_with('2') {
                    self.sender.clear();
                    self.recipients.clear();
                }
                if line.starts_with("RCPT TO:") && reply.starts_with('2') {
                    self.recipients.push(line.split_at(8).1.to_owned());
                }
                self.say(&reply)?;
                if reply.starts_with("421") {
                    return self.close();
                }
                continue;
            }
            let (verb, rest) = line.split_once([' ', ':']).unwrap_or((&line, ""));
            match verb.to_ascii_uppercase().as_str() {
                "EHLO" => self.ehlo()?,
                "STARTTLS" => self.start_tls()?,
                "AUTH" => self.auth(rest)?,
                "MAIL" if self.shared.settings.login.is_some() && !self.logged_in => {
                    self.say("530 5.7.0 log in first")?;
                }
                "MAIL" => {
                    line.split_once(':').unwrap_or_default().1.clone_into(&mut self.sender);
                    self.recipients.clear();
                    self.say("250 2.1.0 ok")?;
                }
                "RCPT" if self.sender.is_empty() => self.say("503 5.5.1 MAIL first")?,
                "RCPT" => {
                    self.recipients.push(line.split_once(':').unwrap_or_default().1.to_owned());
                    self.say("250 2.1.5 ok")?;
                }
                "DATA" if self.recipients.is_empty() => self.say("554 5.5.1 no valid recipients")?,
                "DATA" => self.data()?,
                "BDAT" => self.chunk(rest)?,
                "QUIT" => {
                    self.say("221 2.0.0 bye")?;
                    return self.flush();
                }
                "RSET" | "NOOP" | "HELO" => self.say("250 2.0.0 ok")?,
                _ => self.say("500 5.5.1 what?")?,
            }
        }
    }

    fn ehlo(&mut self) -> io::Result<()> {
        let settings = &self.shared.settings;
        let mut lines = vec!["smarthost.test".to_owned()];
        lines.extend(settings.extensions.iter().map(ToString::to_string));
        if matches!((&settings.tls, &self.wire), (Tls::ByCommand(_), Wire::Plain(_))) {
            lines.push("STARTTLS".into());
        }
        if settings.login.is_some() {
            lines.push(format!("AUTH {}", settings.mechanisms));
        }
        let last = lines.pop().unwrap_or_default();
        for line in lines {
            self.held.extend_from_slice(format!("250-{line}\r\n").as_bytes());
        }
        self.say(&format!("250 {last}"))?;
        self.flush()
    }

    fn start_tls(&mut self) -> io::Result<()> {
        let Tls::ByCommand(config) = &self.shared.settings.tls else { return self.say("502 5.5.1 no") };
        self.say("220 2.0.0 go ahead")?;
        self.flush()?;
        self.input.clear();
        self.wire = match std::mem::replace(&mut self.wire, Wire::Gone) {
            Wire::Plain(stream) => Wire::encrypted(stream, config),
            other => other,
        };
        Ok(())
    }

    fn auth(&mut self, words: &str) -> io::Result<()> {
        let (mechanism, initial) = words.split_once(' ').unwrap_or((words, ""));
        let (user, password) = self.shared.settings.login.clone().unwrap_or_default();
        let good = match mechanism {
            "PLAIN" => {
                let response = if initial.is_empty() { self.challenge(b"")? } else { decode(initial) };
                response == format!("\0{user}\0{password}").into_bytes()
            }
            "LOGIN" => {
                let name = if initial.is_empty() { self.challenge(b"Username:")? } else { decode(initial) };
                let word = self.challenge(b"Password:")?;
                (name, word) == (user.into_bytes(), password.into_bytes())
            }
            "CRAM-MD5" => {
                let challenge = b"<1896.697170952@smarthost.test>";
                let response = self.challenge(challenge)?;
                let mut mac = Hmac::<md5::Md5>::new_from_slice(password.as_bytes()).unwrap();
                mac.update(challenge);
                let digest: String =
                    mac.finalize().into_bytes().iter().map(|octet| format!("{octet:02x}")).collect();
                response == format!("{user} {digest}").into_bytes()
            }
            "XOAUTH2" | "OAUTHBEARER" => {
                let response = if initial.is_empty() { self.challenge(b"")? } else { decode(initial) };
                let head = match mechanism {
                    "XOAUTH2" => format!("user={user}\x01"),
                    _ => format!("n,a={user},\x01host=localhost\x01port={}\x01", self.port),
                };
                let good = response == format!("{head}auth=Bearer {password}\x01\x01").into_bytes();
                if !good {
                    self.challenge(TOKEN_ERROR.as_bytes())?;
                    match (self.shared.settings.reply)("refused").as_deref() {
                        Some("close") => return Err(io::ErrorKind::ConnectionAborted.into()),
                        Some("silence") => return self.stay_silent(),
                        Some(reply) => return self.say(reply),
                        None => {}
                    }
                }
                good
            }
            _ => return self.say("504 5.5.4 unknown mechanism"),
        };
        self.logged_in = good;
        self.say(if good { "235 2.7.0 welcome" } else { "535 5.7.8 authentication failed" })?;
        self.flush()
    }

    fn challenge(&mut self, text: &[u8]) -> io::Result<Vec<u8>> {
        self.say(&format!("334 {}", BASE64_STANDARD.encode(text)))?;
        self.flush()?;
        Ok(decode(&self.line()?))
    }

    fn data(&mut self) -> io::Result<()> {
        self.say("354 go ahead")?;
        self.flush()?;
        // As if a CRLF stood before the content: an empty message's end is found, too.
        let mut wire = b"\r\n".to_vec();
        loop {
            wire.append(&mut self.input);
            if let Some(end) = memchr::memmem::find(&wire, b"\r\n.\r\n") {
                self.input = wire.split_off(end + 5);
                break;
            }
            self.fill()?;
        }
        let wire = wire.split_off(2);
        let body = &wire[..wire.len() - 3];
        let mut content = Vec::with_capacity(body.len());
        let mut at_start = true;
        for &octet in body {
            if !(at_start && octet == b'.') {
                content.push(octet);
            }
            at_start = octet == b'\n';
        }
        self.taken(content, wire)
    }

    fn chunk(&mut self, words: &str) -> io::Result<()> {
        let octets = self.take(number(words))?;
        self.chunks.extend_from_slice(&octets);
        if !words.to_ascii_uppercase().ends_with("LAST") {
            return self.say("250 2.0.0 ok");
        }
        let content = std::mem::take(&mut self.chunks);
        if self.recipients.is_empty() {
            return self.say("554 5.5.1 no valid recipients");
        }
        self.taken(content.clone(), content)
    }

    /// A whole message is there.
    fn taken(&mut self, content: Vec<u8>, wire: Vec<u8>) -> io::Result<()> {
        let (most, length) = (self.shared.settings.line_length, longest_line(&content));
        let reply = (self.shared.settings.reply)(".").unwrap_or_else(|| {
            if length > most {
                format!("550 maximum allowed line length is {most} octets, got {length}")
            } else {
                "250 2.0.0 taken".into()
            }
        });
        self.messages += 1;
        if reply == "close" {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        if reply.starts_with('2') {
            let mail = Mail {
                sender: std::mem::take(&mut self.sender),
                recipients: std::mem::take(&mut self.recipients),
                content,
                wire,
            };
            self.shared.seen.lock().unwrap().mails.push(mail);
            self.shared.more.notify_all();
        }
        self.say(&reply)?;
        if reply.starts_with("421") { self.close() } else { Ok(()) }
    }

    /// Says and takes nothing more, as whoever said `421` (RFC 5321 §3.8). What is on its way is read: a connection that is
    /// closed before it might take the reply along.
    fn close(&mut self) -> io::Result<()> {
        self.flush()?;
        if let Wire::Plain(stream) = &self.wire {
            stream.shutdown(std::net::Shutdown::Write)?;
        }
        loop {
            self.fill()?;
            self.input.clear();
        }
    }

    fn say(&mut self, reply: &str) -> io::Result<()> {
        self.held.extend_from_slice(reply.as_bytes());
        self.held.extend_from_slice(b"\r\n");
        let at_once = match self.shared.settings.answers {
            Answers::AtOnce => true,
            Answers::BehindMessages(count) | Answers::AtDataUntil(count) => self.messages >= count,
        };
        if at_once { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        let held = std::mem::take(&mut self.held);
        match &mut self.wire {
            Wire::Plain(stream) => stream.write_all(&held),
            Wire::Tls(stream) => stream.write_all(&held).and_then(|()| stream.flush()),
            Wire::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut block = vec![0; 64 * 1024];
        let count = match &mut self.wire {
            Wire::Plain(stream) => stream.read(&mut block)?,
            Wire::Tls(stream) => stream.read(&mut block)?,
            Wire::Gone => 0,
        };
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.input.extend_from_slice(&block[..count]);
        Ok(())
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = memchr::memmem::find(&self.input, b"\r\n") {
                let rest = self.input.split_off(end + 2);
                let mut line = std::mem::replace(&mut self.input, rest);
                line.truncate(end);
                let line = String::from_utf8_lossy(&line).into_owned();
                self.shared.seen.lock().unwrap().lines.push(line.clone());
                self.shared.more.notify_all();
                return Ok(line);
            }
            self.fill()?;
        }
    }

    fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.input.len() < count {
            self.fill()?;
        }
        let rest = self.input.split_off(count);
        Ok(std::mem::replace(&mut self.input, rest))
    }
}

fn decode(text: &str) -> Vec<u8> {
    BASE64_STANDARD.decode(text).unwrap_or_default()
}

fn number(words: &str) -> usize {
    words.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

fn longest_line(content: &[u8]) -> usize {
    content.split(|octet| *octet == b'\n').map(|line| line.trim_ascii_end().len()).max().unwrap_or(0)
}
