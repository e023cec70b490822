//! A stand-in smarthost: plain SMTP, one thread for each connection. It refuses what the recipient's name asks for
//! (`no@…` with 550, `later@…` with 451, a sender `no@…` with 553, a sender `foreign@…` at each recipient with 553), and hands over everything else.

use crate::home::LIMIT;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

#[derive(Debug, PartialEq, Eq)]
pub struct Taken {
    pub sender: String,
    pub recipients: Vec<String>,
    pub content: String,
}

pub struct Smarthost {
    pub address: SocketAddr,
    messages: Receiver<Taken>,
    most_at_once: Arc<AtomicUsize>,
}

impl Smarthost {
    pub fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), None)
    }

    /// One that says that it took a message only when it is let to, once for each message.
    pub fn slow() -> (Self, Sender<()>) {
        let (let_go, leave) = channel();
        (Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), Some(Arc::new(Mutex::new(leave)))), let_go)
    }

    fn on(socket: TcpListener, leave: Leave) -> Self {
        let address = socket.local_addr().unwrap();
        let (sender, messages) = channel();
        let most_at_once: Arc<AtomicUsize> = Arc::default();
        let most = most_at_once.clone();
        std::thread::spawn(move || {
            let taking: Arc<AtomicUsize> = Arc::default();
            for connection in socket.incoming().map_while(Result::ok) {
                let (sender, leave) = (sender.clone(), leave.clone());
                let (taking, most) = (taking.clone(), most.clone());
                let take = move |begins: bool| {
                    if !begins {
                        taking.fetch_sub(1, Ordering::Relaxed);
                        return;
                    }
                    most.fetch_max(taking.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                    if let Some(leave) = &leave {
                        // Without anybody to give it, it may.
                        let _ = leave.lock().unwrap().recv();
                    }
                };
                // A connection that breaks is the relay's to tell of.
                std::thread::spawn(move || drop(serve(&connection, &sender, &take)));
            }
        });
        Self { address, messages, most_at_once }
    }

    /// The most messages that it was taking at once.
    pub fn most_at_once(&self) -> usize {
        self.most_at_once.load(Ordering::Relaxed)
    }

    /// The configuration of a smarthost of this name that is this one.
    pub fn section(&self, name: &str) -> String {
        format!("[smarthost.{name}]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\n", self.address.port())
    }

    #[track_caller]
    pub fn next(&self) -> Taken {
        self.messages.recv_timeout(LIMIT).expect("nothing reached the smarthost")
    }

    /// What arrived and wasn't looked at yet.
    pub fn rest(&self) -> Vec<Taken> {
        self.messages.try_iter().collect()
    }
}

/// Where the leave to take a message comes from; none: it needs none.
type Leave = Option<Arc<Mutex<Receiver<()>>>>;

fn serve(connection: &TcpStream, messages: &Sender<Taken>, take: &dyn Fn(bool)) -> std::io::Result<()> {
    let mut lines = BufReader::new(connection).lines();
    let say = |reply: &str| (&mut &*connection).write_all(format!("{reply}\r\n").as_bytes());
    let (mut sender, mut recipients) = (String::new(), Vec::new());
    say("220 smarthost.test ESMTP")?;
    while let Some(line) = lines.next().transpose()? {
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "MAIL" if path(&line).starts_with("no@") => say("553 5.7.1 not an address of yours")?,
            "MAIL" => {
                (sender, recipients) = (path(&line), Vec::new());
                say("250 2.1.0 sender ok")?;
            }
            "RCPT" if path(&line).starts_with("no@") => say("550 5.1.1 no such mailbox")?,
            "RCPT" if path(&line).starts_with("later@") => say("451 4.2.0 come again")?,
            "RCPT" if sender.starts_with("foreign@") => {
                say(&format!("553 5.7.1 <{sender}>: Sender address rejected: not owned by user shop"))?;
            }
            "RCPT" => {
                recipients.push(path(&line));
                say("250 2.1.5 recipient ok")?;
            }
            "DATA" => {
                say("354 go on")?;
                let mut content = String::new();
                while let Some(line) = lines.next().transpose()?.filter(|line| line != ".") {
                    content.push_str(line.strip_prefix('.').unwrap_or(&line));
                    content.push('\n');
                }
                let recipients = std::mem::take(&mut recipients);
                // The test may be over.
                let _ = messages.send(Taken { sender: std::mem::take(&mut sender), recipients, content });
                take(true);
                take(false);
                say("250 2.0.0 taken")?;
            }
            "QUIT" => {
                say("221 2.0.0 goodbye")?;
                return Ok(());
            }
            _ => say("250 smarthost.test")?,
        }
    }
    Ok(())
}

fn path(line: &str) -> String {
    line.split(['<', '>']).nth(1).unwrap_or_default().to_owned()
}
