//! A stand-in for the service behind a webhook: threads over std's sockets, sharing no code with ours.
//!
//! It keeps every request that it read whole, with what it did about it.

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Longer than anything takes, even on a machine with other work.
const LIMIT: Duration = Duration::from_mins(2);
/// One key, as its file holds it.
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// Another.
pub const OTHER_SECRET: &str = "whsec_dGhpcyBpcyBhbm90aGVyIHNlY3JldCBrZXkh";

/// What it does about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A status, more header lines, and content.
    Say(u16, &'static str, Vec<u8>),
    /// A status with content that never ends.
    Flood(u16),
    /// Nothing, until the client goes.
    Hang,
    /// The connection is closed without a word.
    Close,
    /// The connection is reset.
    Reset,
    /// A status, and then a reset in place of the content that was promised.
    SayAndReset(u16),
}

impl Answer {
    pub fn status(status: u16) -> Self {
        Self::Say(status, "", Vec::new())
    }

    /// Whether the sender must take it for done.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Say(200..=299, ..) | Self::Flood(200..=299) | Self::SayAndReset(200..=299))
    }
}

/// A request, and what was done about it.
#[derive(Debug, Clone)]
pub struct Request {
    /// `POST /hooks HTTP/1.1`
    pub line: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
    pub answer: Answer,
}

impl Request {
    pub fn id(&self) -> &str {
        &self.headers["webhook-id"]
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn kind(&self) -> String {
        self.json()["type"].as_str().unwrap().to_owned()
    }

    pub fn seq(&self) -> i64 {
        self.json()["data"]["seq"].as_i64().unwrap()
    }

    /// Fails unless the reference implementation finds a good signature under this secret.
    #[track_caller]
    pub fn verify(&self, secret: &str) {
        let webhook = standardwebhooks::Webhook::new(secret).unwrap();
        let timestamp = self.headers["webhook-timestamp"].parse().unwrap();
        let expected = webhook.sign(self.id(), timestamp, &self.body).unwrap();
        let given = &self.headers["webhook-signature"];
        assert!(given.split(' ').any(|one| one == expected), "{given} isn't {expected}");
    }
}

type Script = dyn Fn(usize, &BTreeMap<String, String>, &[u8]) -> Answer + Send + Sync;

/// A running stand-in.
pub struct Receiver {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    script: Mutex<Box<Script>>,
    seen: Mutex<Vec<Request>>,
    more: Condvar,
    tls: Option<Arc<ServerConfig>>,
}

impl Receiver {
    /// Asks `script` what to do about each request, by its number from 0, its headers and its body.
    pub fn start(
        script: impl Fn(usize, &BTreeMap<String, String>, &[u8]) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::with(None, Box::new(script))
    }

    /// Takes everything.
    pub fn taking() -> Self {
        Self::start(|_, _, _| Answer::status(200))
    }

    /// Takes everything, over TLS.
    pub fn encrypted(tls: Arc<ServerConfig>) -> Self {
        Self::with(Some(tls), Box::new(|_, _, _| Answer::status(204)))
    }

    fn with(tls: Option<Arc<ServerConfig>>, script: Box<Script>) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script: Mutex::new(script),
            seen: Mutex::default(),
            more: Condvar::new(),
            tls,
        });
        let serving = shared.clone();
        // The threads end with the test's process.
        std::thread::spawn(move || {
            for connection in socket.incoming().map_while(Result::ok) {
                let shared = serving.clone();
                // A connection that breaks is the sender's to tell of.
                std::thread::spawn(move || drop(shared.serve(&connection)));
            }
        });
        Self { address, shared }
    }

    /// From now on does this.
    pub fn change(
        &self,
        script: impl Fn(usize, &BTreeMap<String, String>, &[u8]) -> Answer + Send + Sync + 'static,
    ) {
        *self.shared.script.lock().unwrap() = Box::new(script);
    }

    pub fn url(&self) -> String {
        let scheme = if self.shared.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://localhost:{}/hooks/mail", self.address.port())
    }

    /// Everything so far.
    pub fn seen(&self) -> Vec<Request> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// Waits until this says what it was looking for.
    #[track_caller]
    pub fn wait<T>(&self, what: &str, look: impl Fn(&[Request]) -> Option<T>) -> T {
        let deadline = Instant::now() + LIMIT;
        let mut seen = self.shared.seen.lock().unwrap();
        loop {
            if let Some(found) = look(&seen) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "never {what}; {} requests: {:?}", seen.len(), seen.last());
            seen = self.shared.more.wait_timeout(seen, left).unwrap().0;
        }
    }

    /// Waits for so many requests.
    #[track_caller]
    pub fn requests(&self, count: usize) -> Vec<Request> {
        self.wait(&format!("{count} requests"), |seen| (seen.len() >= count).then(|| seen.to_vec()))
    }
}

impl Shared {
    fn serve(&self, connection: &TcpStream) -> io::Result<()> {
        match &self.tls {
            None => self.talk(connection, BufReader::new(connection), connection),
            Some(tls) => {
                let session = ServerConnection::new(tls.clone()).map_err(io::Error::other)?;
                let mut stream = StreamOwned::new(session, connection.try_clone()?);
                let request = read(&mut BufReader::new(&mut stream))?;
                self.answer(request, connection, &mut stream)
            }
        }
    }

    fn talk(&self, socket: &TcpStream, mut reader: impl BufRead, mut writer: impl Write) -> io::Result<()> {
        loop {
            let request = read(&mut reader)?;
            self.answer(request, socket, &mut writer)?;
        }
    }

    fn answer(&self, mut request: Request, socket: &TcpStream, writer: &mut dyn Write) -> io::Result<()> {
        let answer = {
            let mut seen = self.seen.lock().unwrap();
            let script = self.script.lock().unwrap();
            request.answer = script(seen.len(), &request.headers, &request.body);
            seen.push(request.clone());
            self.more.notify_all();
            request.answer
        };
        let over = Err(io::ErrorKind::ConnectionAborted.into());
        match answer {
            Answer::Say(status, headers, content) => {
                let head =
                    format!("HTTP/1.1 {status} x\r\n{headers}Content-Length: {}\r\n\r\n", content.len());
                let content = if status == 204 { Vec::new() } else { content };
                let head = if status == 204 { format!("HTTP/1.1 204 x\r\n{headers}\r\n") } else { head };
                writer.write_all(&[head.as_bytes(), &content].concat())?;
                writer.flush()
            }
            Answer::Flood(status) => {
                writer.write_all(format!("HTTP/1.1 {status} x\r\n\r\n").as_bytes())?;
                loop {
                    writer.write_all(&[b'x'; 8_192])?;
                }
            }
            Answer::Hang => {
                // Ends when the client goes.
                let _ = (&*socket).read(&mut [0]);
                over
            }
            Answer::Close => over,
            Answer::Reset => reset(socket).and(over),
            Answer::SayAndReset(status) => {
                writer.write_all(format!("HTTP/1.1 {status} x\r\nContent-Length: 99\r\n\r\nx").as_bytes())?;
                over
            }
        }
    }
}

/// Closes so that the peer gets a reset instead of an end.
fn reset(socket: &TcpStream) -> io::Result<()> {
    rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO)).map_err(Into::into)
}

fn read(reader: &mut impl BufRead) -> io::Result<Request> {
    let mut next = || {
        let mut line = String::new();
        match reader.read_line(&mut line)? {
            0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            _ => Ok(line.trim_end().to_owned()),
        }
    };
    let line = next()?;
    let mut headers = BTreeMap::new();
    loop {
        let header = next()?;
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(':').unwrap_or_default();
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Request { line, headers, body, answer: Answer::Close })
}
