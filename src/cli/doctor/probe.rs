//! Looking: the name, each port, each way to begin on it. Sends EHLO (HELO where that is unknown), STARTTLS and QUIT, and never a secret.
//!
//! Ports are tried at once; on each of them TLS from the start and plain text with STARTTLS at once, over a connection each.
//! Every step is bounded by the same limit.

use super::dns;
use super::finding::{
    Alien, Findings, Lookup, LookupTrouble, ModeFinding, Offers, Outcome, PortFinding, Reached, Tongue,
};
use crate::config::schema::{Smarthost, TlsMode};
use crate::net::observe::{self, Observer};
use crate::net::tls_trouble::{self, WeakKey};
use crate::smtp::capabilities::Capabilities;
use crate::smtp::reply::{Reply, ReplyParser};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Addresses of each family that are tried on each port.
const PER_FAMILY: usize = 2;
/// Octets of a peer that doesn't speak TLS which are kept to tell what it speaks.
const KEPT: usize = 512;

/// How to look.
pub(super) struct Plan {
    /// Host, trust anchors, pin and server name; port and mode are tried out.
    pub(super) smarthost: Smarthost,
    /// Our EHLO name.
    pub(super) hostname: String,
    pub(super) ports: Vec<u16>,
    /// Each step has this long.
    pub(super) limit: Duration,
}

/// Looks at everything.
pub(super) async fn look(plan: Arc<Plan>) -> Findings {
    let lookup = look_up(&plan).await;
    let addresses: Vec<IpAddr> =
        lookup.ipv4.iter().take(PER_FAMILY).chain(lookup.ipv6.iter().take(PER_FAMILY)).copied().collect();
    if addresses.is_empty() {
        return Findings { lookup, ports: Vec::new() };
    }
    let mut under_way = JoinSet::new();
    for port in plan.ports.clone() {
        let (plan, addresses) = (plan.clone(), addresses.clone());
        under_way.spawn(async move { port_finding(&plan, port, &addresses).await });
    }
    let mut ports = under_way.join_all().await;
    ports.sort_by_key(|finding| plan.ports.iter().position(|port| *port == finding.port));
    Findings { lookup, ports }
}

async fn look_up(plan: &Plan) -> Lookup {
    let host = &plan.smarthost.host;
    let name = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let found = match timeout(plan.limit, tokio::net::lookup_host((name, 0))).await {
        Err(_) => Err(LookupTrouble::TimedOut),
        Ok(Err(cause)) => Err(LookupTrouble::of(&cause)),
        Ok(Ok(found)) => Ok(found.map(|address| address.ip()).collect::<Vec<IpAddr>>()),
    };
    match found {
        Ok(mut all) if !all.is_empty() => {
            all.dedup();
            let (ipv4, ipv6) = all.into_iter().partition(IpAddr::is_ipv4);
            Lookup { ipv4, ipv6, ..Lookup::default() }
        }
        // The system's resolver has one word for both families and for many reasons: the name server has more.
        nothing => Lookup {
            trouble: Some(nothing.err().unwrap_or(LookupTrouble::NoAddress)),
            records: dns::ask(name, plan.limit).await,
            ..Lookup::default()
        },
    }
}

async fn port_finding(plan: &Plan, port: u16, addresses: &[IpAddr]) -> PortFinding {
    let mut under_way = JoinSet::new();
    for (number, address) in addresses.iter().enumerate() {
        let (address, limit) = (SocketAddr::new(*address, port), plan.limit);
        under_way.spawn(async move {
            let reached = match timeout(limit, TcpStream::connect(address)).await {
                Ok(Ok(_)) => Reached::Open,
                Ok(Err(cause)) => Reached::of(&cause),
                Err(_) => Reached::Filtered,
            };
            (number, address, reached)
        });
    }
    let mut tried = under_way.join_all().await;
    tried.sort_by_key(|(number, ..)| *number);
    let open = tried.iter().find(|(_, _, reached)| *reached == Reached::Open).map(|(_, address, _)| *address);
    let modes = match open {
        Some(address) => modes(plan, address).await,
        None => Vec::new(),
    };
    PortFinding {
        port,
        addresses: tried.into_iter().map(|(_, address, reached)| (address, reached)).collect(),
        modes,
    }
}

/// All three ways to begin.
async fn modes(plan: &Plan, address: SocketAddr) -> Vec<ModeFinding> {
    let mut inside = pin!(implicit(plan, address));
    let mut outside = pin!(plain(plan, address));
    let (implicit, mut rest) = tokio::select! {
        implicit = &mut inside => {
            // Where TLS from the start works, silence in plain is no news worth waiting for; neither is a web server's.
            let web = matches!(&implicit.outcome, Outcome::NotTls(alien) if alien.tongue == Tongue::Http);
            let rest = if implicit.tls.is_some() || web { Vec::new() } else { outside.await };
            (implicit, rest)
        }
        rest = &mut outside => (inside.await, rest),
    };
    let silent = rest.iter().all(|finding| finding.outcome == Outcome::Silent);
    let shook_hands = implicit.tls.is_some();
    match &implicit.outcome {
        _ if silent && shook_hands => {
            rest = [TlsMode::StartTls, TlsMode::None]
                .map(|mode| ModeFinding::new(mode, Outcome::TlsFirst))
                .into();
        }
        // A server that waits for a request first (HTTP) gave itself away when it was sent TLS.
        Outcome::NotTls(alien) if silent && alien.tongue != Tongue::Smtp => {
            rest = [TlsMode::StartTls, TlsMode::None]
                .map(|mode| ModeFinding::new(mode, Outcome::Alien(alien.clone())))
                .into();
        }
        _ => {}
    }
    std::iter::once(implicit).chain(rest).collect()
}

async fn implicit(plan: &Plan, address: SocketAddr) -> ModeFinding {
    let mut finding = ModeFinding::new(TlsMode::Implicit, Outcome::Works);
    let socket = match connect(plan, address).await {
        Ok(socket) => socket,
        Err(outcome) => return ModeFinding { outcome, ..finding },
    };
    match shake_hands(plan, socket, &mut finding).await {
        Err(outcome) => finding.outcome = outcome,
        Ok(stream) => {
            let mut dialogue = Dialogue::new(stream, plan.limit);
            finding.outcome = dialogue.open(plan, &mut finding).await;
            dialogue.quit().await;
        }
    }
    finding
}

/// STARTTLS and none, over one connection.
async fn plain(plan: &Plan, address: SocketAddr) -> Vec<ModeFinding> {
    let mut none = ModeFinding::new(TlsMode::None, Outcome::Works);
    let both = |none: ModeFinding| {
        let starttls = ModeFinding { mode: TlsMode::StartTls, ..none.clone() };
        vec![starttls, none]
    };
    let socket = match connect(plan, address).await {
        Ok(socket) => socket,
        Err(outcome) => return both(ModeFinding { outcome, ..none }),
    };
    let mut dialogue = Dialogue::new(socket, plan.limit);
    none.outcome = dialogue.open(plan, &mut none).await;
    if none.outcome != Outcome::Works {
        dialogue.quit().await;
        return both(none);
    }
    let mut starttls = ModeFinding::new(TlsMode::StartTls, Outcome::NotOffered);
    starttls.greeting.clone_from(&none.greeting);
    if !none.offers.as_ref().is_some_and(|offers| offers.capabilities.starttls) {
        dialogue.quit().await;
        return vec![starttls, none];
    }
    starttls.outcome = match dialogue.ask("STARTTLS").await {
        Err(outcome) => outcome,
        Ok(reply) if !reply.is_positive() => Outcome::StartTlsRefused(reply),
        // RFC 3207 §6: what stands in plain behind the reply isn't the server's.
        Ok(_) if !dialogue.buffer.is_empty() => Outcome::Injected(Alien::of(&dialogue.buffer)),
        Ok(_) => match shake_hands(plan, dialogue.stream, &mut starttls).await {
            Err(outcome) => outcome,
            Ok(stream) => {
                let mut dialogue = Dialogue::new(stream, plan.limit);
                let outcome = dialogue.hello(plan, &mut starttls).await;
                dialogue.quit().await;
                outcome
            }
        },
    };
    vec![starttls, none]
}

async fn connect(plan: &Plan, address: SocketAddr) -> Result<Recorder, Outcome> {
    match timeout(plan.limit, TcpStream::connect(address)).await {
        Ok(Ok(socket)) => Ok(Recorder { socket, first: Vec::new() }),
        Ok(Err(cause)) => Err(broken(&cause)),
        Err(_) => Err(Outcome::Silent),
    }
}

/// How a connection ended. TLS without its own end (`close_notify`) is the same to us as an end in plain text.
fn broken(cause: &io::Error) -> Outcome {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    match cause.kind() {
        _ if tls_trouble::wants_certificate(cause) => Outcome::WantsCertificate,
        ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof => Outcome::Closed,
        _ => Outcome::Broken(cause.to_string()),
    }
}

type Encrypted = tokio_rustls::client::TlsStream<Recorder>;

/// Shakes hands whatever the certificate is, and writes down what it is.
async fn shake_hands(plan: &Plan, socket: Recorder, finding: &mut ModeFinding) -> Result<Encrypted, Outcome> {
    let (config, name, observer): (Arc<ClientConfig>, ServerName<'static>, Arc<Observer>) =
        observe::observer(&plan.smarthost).map_err(|cause| Outcome::Broken(cause.to_string()))?;
    let mut socket = socket;
    socket.first.clear();
    let shaken = timeout(plan.limit, TlsConnector::from(config).connect(name, socket).into_fallible()).await;
    finding.certificate = observer.seen();
    match shaken {
        Err(_) => Err(Outcome::Silent),
        Ok(Err((cause, socket))) => Err(failed_handshake(&cause, &socket.first)),
        Ok(Ok(stream)) => {
            finding.tls = summary(stream.get_ref().1);
            Ok(stream)
        }
    }
}

fn failed_handshake(cause: &io::Error, first: &[u8]) -> Outcome {
    let tls = cause.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match (tls, first) {
        (None, []) => Outcome::Closed,
        (Some(rustls::Error::InvalidMessage(_)), [_, ..]) | (None, _)
            if !matches!(first, [0x14..=0x17, 3, ..]) =>
        {
            Outcome::NotTls(Alien::of(first))
        }
        _ if tls_trouble::wants_certificate(cause) => Outcome::WantsCertificate,
        (Some(cause @ rustls::Error::InvalidCertificate(_)), _) => {
            let weak = WeakKey::of(cause).map(ToString::to_string);
            Outcome::BadCertificate(weak.unwrap_or_else(|| cause.to_string()))
        }
        (Some(cause), _) => Outcome::TlsFailed(cause.to_string()),
        (None, _) if broken(cause) == Outcome::Closed => {
            Outcome::TlsFailed("the connection ended in the midst of it".into())
        }
        (None, _) => Outcome::TlsFailed(cause.to_string()),
    }
}

fn summary(session: &rustls::ClientConnection) -> Option<String> {
    let version = match session.protocol_version()? {
        rustls::ProtocolVersion::TLSv1_3 => "TLS1.3",
        rustls::ProtocolVersion::TLSv1_2 => "TLS1.2",
        _ => "TLS",
    };
    let suite = session.negotiated_cipher_suite()?.suite();
    Some(format!("{version}:{}", suite.as_str().unwrap_or("unknown")))
}

/// A socket that keeps the first octets that came.
struct Recorder {
    socket: TcpStream,
    first: Vec<u8>,
}

impl AsyncRead for Recorder {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.socket).poll_read(cx, buf);
        let fresh = buf.filled().get(before..).unwrap_or_default();
        let room = KEPT.saturating_sub(this.first.len());
        this.first.extend(fresh.iter().take(room));
        polled
    }
}

impl AsyncWrite for Recorder {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

/// Commands and replies, one at a time.
struct Dialogue<S> {
    stream: S,
    buffer: Vec<u8>,
    limit: Duration,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Dialogue<S> {
    fn new(stream: S, limit: Duration) -> Self {
        Self { stream, buffer: Vec::new(), limit }
    }

    /// Greeting and EHLO.
    async fn open(&mut self, plan: &Plan, finding: &mut ModeFinding) -> Outcome {
        let greeting = match self.reply().await {
            Ok(greeting) => greeting,
            Err(outcome) => return outcome,
        };
        finding.greeting = Some(greeting.clone());
        if greeting.code == 220 { self.hello(plan, finding).await } else { Outcome::Refused(greeting) }
    }

    async fn hello(&mut self, plan: &Plan, finding: &mut ModeFinding) -> Outcome {
        match self.ask(&format!("EHLO {}", plan.hostname)).await {
            Err(outcome) => outcome,
            // As delivery does (RFC 5321 §3.2): a server that doesn't know EHLO may know HELO.
            Ok(reply) if matches!(reply.code, 500 | 502) => {
                match self.ask(&format!("HELO {}", plan.hostname)).await {
                    Ok(answer) if answer.is_positive() => {
                        let ehlo_refused = Some(reply);
                        finding.offers = Some(Offers { ehlo_refused, ..Offers::default() });
                        Outcome::Works
                    }
                    Ok(answer) if answer.is_transient() => Outcome::EhloRefused(answer),
                    _ => Outcome::EhloRefused(reply),
                }
            }
            Ok(reply) if !reply.is_positive() => Outcome::EhloRefused(reply),
            Ok(reply) => {
                finding.offers = Some(Offers {
                    capabilities: Capabilities::from_reply(&reply),
                    lines: reply.lines.iter().skip(1).map(ToString::to_string).collect(),
                    ehlo_refused: None,
                });
                Outcome::Works
            }
        }
    }

    async fn ask(&mut self, command: &str) -> Result<Reply, Outcome> {
        let said = timeout(self.limit, async {
            self.stream.write_all(format!("{command}\r\n").as_bytes()).await?;
            self.stream.flush().await
        });
        match said.await {
            Ok(Ok(())) => self.reply().await,
            // It takes nothing any more: what were its last words?
            Ok(Err(cause)) => match self.reply().await {
                Err(Outcome::Closed) => Err(broken(&cause)),
                heard => heard,
            },
            Err(_) => Err(Outcome::Silent),
        }
    }

    /// The next reply; the limit holds for all of it, so that nobody can keep us with an octet now and then.
    async fn reply(&mut self) -> Result<Reply, Outcome> {
        let limit = self.limit;
        timeout(limit, self.whole_reply()).await.unwrap_or(Err(Outcome::Silent))
    }

    async fn whole_reply(&mut self) -> Result<Reply, Outcome> {
        let mut parser = ReplyParser::default();
        let mut first: Vec<u8> = Vec::new();
        loop {
            let fed = parser.feed(&self.buffer);
            let taken: Vec<u8> = self.buffer.drain(..fed.consumed).collect();
            first.extend(taken.iter().take(KEPT.saturating_sub(first.len())));
            match fed.reply {
                Some(Ok(reply)) => return Ok(reply),
                Some(Err(_)) => return Err(Outcome::Alien(Alien::of(&first))),
                None => {}
            }
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) if first.is_empty() => return Err(Outcome::Closed),
                Ok(0) => return Err(Outcome::Alien(Alien::of(&first))),
                Ok(_) => {}
                Err(cause) => return Err(broken(&cause)),
            }
        }
    }

    /// Good manners; nothing depends on the answer.
    async fn quit(&mut self) {
        let _ = timeout(Duration::from_secs(1), async {
            self.stream.write_all(b"QUIT\r\n").await?;
            self.stream.shutdown().await
        })
        .await;
    }
}
