//! A stand-in smarthost for the demo: takes every message and hands it over. Speaks through our own server machine,
//! keeps nothing.

use crate::net::stream::{Line, Stream};
use crate::smtp::reply::{Enhanced, Reply};
use crate::smtp::server::{LineEnd, MAX_AUTH_LINE, Server, ServerSettings, Step};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// Messages that wait to be looked at.
const WAITING: usize = 100;

/// A message that arrived.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) sender: String,
    pub(super) recipients: Vec<String>,
    pub(super) content: Vec<u8>,
}

/// A server on a free loopback port.
pub(super) struct StandIn {
    address: SocketAddr,
    messages: mpsc::Receiver<Taken>,
}

impl StandIn {
    pub(super) async fn start(hostname: &str) -> io::Result<Self> {
        let socket = TcpListener::bind("127.0.0.1:0").await?;
        let address = socket.local_addr()?;
        let (sender, messages) = mpsc::channel(WAITING);
        let settings = Arc::new(ServerSettings { hostname: hostname.into(), ..ServerSettings::default() });
        tokio::spawn(async move {
            while let Ok((connection, _)) = socket.accept().await {
                if let Ok(stream) = Stream::new(connection) {
                    tokio::spawn(serve(stream, settings.clone(), sender.clone()));
                }
            }
        });
        Ok(Self { address, messages })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next message; none when the stand-in has ended.
    pub(super) async fn next(&mut self) -> Option<Taken> {
        self.messages.recv().await
    }
}

/// One session. An error of the connection ends it; the relay on the other end copes.
async fn serve(
    mut stream: Stream,
    settings: Arc<ServerSettings>,
    messages: mpsc::Sender<Taken>,
) -> io::Result<()> {
    let mut server = Server::new(settings, false);
    let mut content = Vec::new();
    let mut step = server.greeting();
    loop {
        step = match step {
            Step::Say(reply) => {
                reply.write_to(stream.output());
                next(&mut stream, &mut server).await?
            }
            Step::Proceed => next(&mut stream, &mut server).await?,
            Step::Sender(mail) => server.allow_sender(mail),
            Step::Recipient(rcpt) => server.allow_recipient(rcpt),
            Step::ReadContent(reply) => {
                if let Some(reply) = reply {
                    reply.write_to(stream.output());
                }
                receive(&mut stream, &mut server, &mut content).await?
            }
            Step::Keep(transaction) => {
                let taken = Taken {
                    sender: transaction.mail.sender.as_ref().map(ToString::to_string).unwrap_or_default(),
                    recipients: transaction.recipients.iter().map(|rcpt| rcpt.address.to_string()).collect(),
                    content: std::mem::take(&mut content),
                };
                // The demo has ended if nobody looks any more.
                let _ = messages.send(taken).await;
                server.kept(Reply::new(250, Some(Enhanced(2, 0, 0)), "taken"))
            }
            Step::StartTls(_) | Step::Verify(_) => return Ok(()),
            Step::Close(reply, _) => {
                reply.write_to(stream.output());
                stream.flush().await?;
                stream.close().await;
                return Ok(());
            }
        };
    }
}

async fn next(stream: &mut Stream, server: &mut Server) -> io::Result<Step> {
    if !stream.has_line() {
        stream.flush().await?;
    }
    match stream.line(MAX_AUTH_LINE).await? {
        Line::Whole { octets, crlf } => {
            Ok(server.line(&octets, if crlf { LineEnd::CrLf } else { LineEnd::BareLf }))
        }
        Line::TooLong => Ok(server.endless_line()),
        Line::Closed => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

async fn receive(stream: &mut Stream, server: &mut Server, content: &mut Vec<u8>) -> io::Result<Step> {
    loop {
        if stream.buffered().is_empty() {
            stream.flush().await?;
            if stream.fill(true).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let progress = server.receive(stream.buffered(), content);
        stream.consume(progress.consumed);
        if let Some(step) = progress.step {
            return Ok(step);
        }
    }
}
