//! The smarthost: takes everything, and lets the test look before it says so.

use super::client;
use super::ledger::Ledger;
use super::station::PATIENCE;
use parking_lot::{Condvar, Mutex};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

/// A message of which every octet has come, and nothing was said yet.
pub struct Taken {
    pub number: u64,
    /// The relay's queue id.
    pub id: String,
    /// Whether its content is what the client sent.
    pub whole: bool,
    /// How many recipients it came for.
    pub recipients: u64,
}

type Look = dyn Fn(Taken) + Send + Sync;

/// A smarthost on a port of its own, as long as the test runs.
pub struct StandIn {
    pub address: SocketAddr,
    gate: Arc<Gate>,
}

/// Shut, nobody is greeted.
struct Gate {
    inside: Mutex<Inside>,
    changed: Condvar,
}

struct Inside {
    open: bool,
    /// Connections that were greeted, and haven't ended.
    greeted: u32,
}

impl StandIn {
    /// `look` is called for each whole message, in the thread of its connection, before it is answered.
    pub fn start(look: impl Fn(Taken) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let inside = Mutex::new(Inside { open: true, greeted: 0 });
        let gate = Arc::new(Gate { inside, changed: Condvar::new() });
        let (look, at): (Arc<Look>, _) = (Arc::new(look), gate.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (look, gate) = (look.clone(), at.clone());
                std::thread::spawn(move || {
                    gate.enter();
                    // The relay was killed, or we broke off: both are meant.
                    let _ = serve(stream, &*look);
                    gate.leave();
                });
            }
        });
        Self { address, gate }
    }

    /// One that writes what arrives.
    pub fn for_ledger(ledger: &Arc<Ledger>) -> Self {
        let ledger = ledger.clone();
        Self::start(move |taken| ledger.arrive(&taken))
    }

    /// One that writes what arrives, says so by the channel, and answers nobody while the lock is held.
    pub fn silent_while_held(ledger: &Arc<Ledger>) -> (Self, Receiver<()>, Arc<Mutex<()>>) {
        let (taking, taken) = channel();
        let answers = Arc::new(Mutex::new(()));
        let (books, turn) = (ledger.clone(), answers.clone());
        let stand_in = Self::start(move |mail| {
            books.arrive(&mail);
            let _ = taking.send(());
            drop(turn.lock());
        });
        (stand_in, taken, answers)
    }

    /// Whether whoever connects from now on is greeted, or kept waiting.
    pub fn serve(&self, everybody: bool) {
        self.gate.inside.lock().open = everybody;
        self.gate.changed.notify_all();
    }

    /// Waits until every connection of a relay that is gone has been read to its end: what it had sent lies in our
    /// socket still, and belongs to that relay's life.
    pub fn read_to_the_end(&self) {
        let deadline = Instant::now() + PATIENCE;
        let mut inside = self.gate.inside.lock();
        while inside.greeted > 0 {
            let is_late = self.gate.changed.wait_until(&mut inside, deadline).timed_out();
            assert!(!is_late, "{} connections go on behind their relay's end", inside.greeted);
        }
    }

    pub fn shut(&self) {
        self.serve(false);
    }

    pub fn open(&self) {
        self.serve(true);
    }
}

impl Gate {
    fn enter(&self) {
        let mut inside = self.inside.lock();
        while !inside.open {
            self.changed.wait(&mut inside);
        }
        inside.greeted += 1;
    }

    fn leave(&self) {
        self.inside.lock().greeted -= 1;
        self.changed.notify_all();
    }
}

fn serve(stream: TcpStream, look: &Look) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let (mut content, mut recipients) = (Vec::new(), 0);
    say(&mut stream, "220 smarthost.test ESMTP\r\n")?;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split_ascii_whitespace();
        match words.next().unwrap_or_default().to_ascii_uppercase().as_str() {
            "EHLO" => {
                let extensions = "250-smarthost.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 CHUNKING\r\n";
                say(&mut stream, extensions)?;
            }
            "DATA" => {
                say(&mut stream, "354 go on\r\n")?;
                read_to_dot(&mut stream, &mut content)?;
                conclude(&mut stream, &mut content, &mut recipients, look)?;
            }
            "BDAT" => {
                let octets: u64 = words.next().unwrap().parse().unwrap();
                if (&mut stream).take(octets).read_to_end(&mut content)? as u64 != octets {
                    return Ok(());
                }
                if words.next().is_some() {
                    conclude(&mut stream, &mut content, &mut recipients, look)?;
                } else {
                    say(&mut stream, "250 go on\r\n")?;
                }
            }
            "RCPT" => {
                recipients += 1;
                say(&mut stream, "250 ok\r\n")?;
            }
            "RSET" => {
                recipients = 0;
                say(&mut stream, "250 ok\r\n")?;
            }
            "QUIT" => return say(&mut stream, "221 bye\r\n"),
            _ => say(&mut stream, "250 ok\r\n")?,
        }
    }
}

fn read_to_dot(stream: &mut BufReader<TcpStream>, content: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let mut line = Vec::new();
        if stream.read_until(b'\n', &mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.strip_prefix(b".") {
            Some(b"\r\n") => return Ok(()),
            Some(stuffed) => content.extend_from_slice(stuffed),
            None => content.extend_from_slice(&line),
        }
    }
}

fn conclude(
    stream: &mut BufReader<TcpStream>,
    content: &mut Vec<u8>,
    recipients: &mut u64,
    look: &Look,
) -> io::Result<()> {
    let (content, recipients) = (std::mem::take(content), std::mem::take(recipients));
    let (number, id, whole) = client::read(&content).unwrap_or((u64::MAX, String::new(), false));
    look(Taken { number, id, whole, recipients });
    say(stream, "250 2.0.0 taken\r\n")
}

fn say(stream: &mut BufReader<TcpStream>, text: &str) -> io::Result<()> {
    stream.get_mut().write_all(text.as_bytes())
}
