//! A client that says what it is told, and a load of them.

use super::ledger::Ledger;
use parking_lot::{Condvar, Mutex};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// A reply, with its lines joined.
#[derive(Debug, Clone)]
pub struct Reply {
    pub code: u16,
    pub text: String,
}

impl Reply {
    /// Whether the responsibility went over.
    pub fn is_yes(&self) -> bool {
        self.code == 250
    }

    /// The queue id in `250 2.0.0 ID queued for …`.
    pub fn id(&self) -> &str {
        self.text.split(' ').nth(1).unwrap()
    }
}

/// One connection.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects and says EHLO.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_mins(1)))?;
        stream.set_nodelay(true)?;
        let mut client = Self { stream: BufReader::new(stream) };
        client.hear()?;
        client.say("EHLO client.test\r\n")?;
        Ok(client)
    }

    pub fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(octets)
    }

    /// The next reply.
    pub fn hear(&mut self) -> io::Result<Reply> {
        let mut text = String::new();
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end();
            let code = line.get(..3).and_then(|code| code.parse().ok());
            let code = code.ok_or_else(|| io::Error::other(format!("not a reply: {line}")))?;
            text.push_str(line.get(4..).unwrap_or_default());
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(Reply { code, text });
            }
            text.push('\n');
        }
    }

    /// Whether no octet waits to be read.
    pub fn has_heard_nothing(&self) -> bool {
        let stream = self.stream.get_ref();
        stream.set_nonblocking(true).unwrap();
        let peeked = stream.peek(&mut [0]);
        stream.set_nonblocking(false).unwrap();
        self.stream.buffer().is_empty()
            && peeked.is_err_and(|cause| cause.kind() == io::ErrorKind::WouldBlock)
    }

    pub fn say(&mut self, command: &str) -> io::Result<Reply> {
        self.write(command.as_bytes())?;
        self.hear()
    }

    /// Envelope and DATA in one flight, up to the 354; else the first reply that wasn't a yes.
    pub fn begin(&mut self) -> io::Result<Reply> {
        self.write(b"MAIL FROM:<shop@example.com>\r\nRCPT TO:<ana@example.org>\r\nDATA\r\n")?;
        let replies = [self.hear()?, self.hear()?, self.hear()?];
        let [_, _, data] = &replies;
        Ok(replies.iter().find(|reply| reply.code >= 400).unwrap_or(data).clone())
    }

    /// A whole message; the reply to its final dot, or the first refusal.
    pub fn send(&mut self, message: &str) -> io::Result<Reply> {
        let begun = self.begin()?;
        if begun.code != 354 {
            // What was pipelined behind a refusal is forgotten.
            self.say("RSET\r\n")?;
            return Ok(begun);
        }
        self.write(message.as_bytes())?;
        self.say(".\r\n")
    }
}

/// Sends one message over a connection of its own.
pub fn send(address: SocketAddr, message: &str) -> io::Result<Reply> {
    Client::connect(address)?.send(message)
}

/// Sends one message to so many recipients.
pub fn send_to(address: SocketAddr, recipients: u64, message: &str) -> io::Result<Reply> {
    let mut client = Client::connect(address)?;
    client.say("MAIL FROM:<shop@example.com>\r\n")?;
    for recipient in 0..recipients {
        client.say(&format!("RCPT TO:<ana{recipient}@example.org>\r\n"))?;
    }
    client.say("DATA\r\n")?;
    client.write(message.as_bytes())?;
    client.say(".\r\n")
}

/// Message `number`, of about so many octets, whose content can be checked by [`read`].
pub fn message(number: u64, octets: usize) -> String {
    let line = format!("{number:020} waits at the way station for fresh horses, and the coach goes on.\r\n");
    let body = line.repeat(octets.div_ceil(line.len()).max(1));
    format!(
        "From: <shop@example.com>\r\nTo: <ana@example.org>\r\nSubject: number {number}\r\n\
         Message-ID: <{number}@ledger.test>\r\nX-Sum: {}\r\n\r\n{body}",
        sum(body.as_bytes())
    )
}

/// What a message of ours says: its number, the queue id in its Received field, and whether it is whole.
pub fn read(content: &[u8]) -> Option<(u64, String, bool)> {
    let text = std::str::from_utf8(content).ok()?;
    let (header, body) = text.split_once("\r\n\r\n")?;
    let field = |name: &str| header.lines().find_map(|line| line.strip_prefix(name));
    let number = field("Message-ID: <")?.split('@').next()?.parse().ok()?;
    let (_, behind) = header.split_once(" id ")?;
    let id = behind.chars().take_while(char::is_ascii_alphanumeric).collect();
    Some((number, id, field("X-Sum: ")? == sum(body.as_bytes())))
}

fn sum(body: &[u8]) -> String {
    format!("{}-{:08x}", body.len(), crc32c::crc32c(body))
}

/// Where the daemon of the moment listens; none while there is none.
#[derive(Default)]
struct Door {
    address: Mutex<(u32, Option<SocketAddr>, bool)>,
    changed: Condvar,
}

/// Clients that send as fast as they can, over all lives of a daemon, and write what was acknowledged.
pub struct Load {
    door: Arc<Door>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    pub fn start(ledger: &Arc<Ledger>, clients: u32) -> Self {
        let door = Arc::new(Door::default());
        let threads = (0..clients)
            .map(|_| {
                let (ledger, door) = (ledger.clone(), door.clone());
                std::thread::spawn(move || submit(&ledger, &door))
            })
            .collect();
        Self { door, threads }
    }

    /// A daemon listens at this address from now on; or none does.
    pub fn go_to(&self, address: Option<SocketAddr>) {
        let mut door = self.door.address.lock();
        *door = (door.0 + 1, address, false);
        self.door.changed.notify_all();
    }

    /// Waits until every client has its last answer.
    pub fn end(self) {
        self.door.address.lock().2 = true;
        self.door.changed.notify_all();
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

fn submit(ledger: &Ledger, door: &Door) {
    let mut visited = 0;
    loop {
        let address = {
            let mut at = door.address.lock();
            while !at.2 && (at.1.is_none() || at.0 == visited) {
                door.changed.wait(&mut at);
            }
            if at.2 {
                return;
            }
            visited = at.0;
            at.1.unwrap()
        };
        // Until the connection breaks, that is: until the daemon was killed.
        let Ok(mut client) = Client::connect(address) else { continue };
        while !door.address.lock().2 {
            let number = ledger.next();
            // Most are small; some are large enough to get a file of their own.
            let octets =
                if number % 50 == 49 { 300_000 } else { 200 + 997 * usize::try_from(number % 7).unwrap() };
            let Ok(reply) = client.send(&message(number, octets)) else { break };
            if reply.is_yes() {
                ledger.acknowledge(number, reply.id());
            } else {
                ledger.refuse(&reply);
            }
        }
    }
}
