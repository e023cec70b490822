//! Listeners: sockets that take connections, count them, learn who is behind them, and start sessions.

use super::access::{self, Access};
use super::credentials::Credentials;
use super::proxy::{self, Peer, ProxyError};
use super::session::{Client, HANDSHAKE_LIMIT, Session};
use super::steering;
use crate::clock::Clock;
use crate::config::schema::{Application, AuthMode, Config, Intake, Listener, Rewrite, TlsMode};
use crate::deliver::route::Router;
use crate::events::Events;
use crate::inbox::addresses::Inboxes;
use crate::inbox::channel::Guard;
use crate::message::fields::HeaderSection;
use crate::net::stream::Stream;
use crate::net::tls::{self, TlsError};
use crate::queue::{LaneName, Part, Queue};
use crate::smtp::address::Address;
use crate::smtp::replies;
use crate::smtp::reply::Reply;
use crate::smtp::server::{AuthPolicy, Server, ServerSettings};
use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// After running out of descriptors, accepting rests this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// A PROXY header must be there within this time.
const PROXY_LIMIT: Duration = Duration::from_secs(10);
/// No PROXY header is longer (2.2 of the specification allows 16 + 65,535; what we believe is far shorter).
const MAX_PROXY: usize = 4096;

/// What sessions are judged by, of one generation of the configuration. A transaction keeps the one it began with.
pub struct Policy {
    /// Our name.
    pub hostname: Box<str>,
    /// Limits.
    pub intake: Intake,
    /// `intake.min_rate`, in octets a second.
    pub min_rate: u64,
    /// Logins.
    pub applications: BTreeMap<String, Application>,
    /// Their passwords, and what is remembered of logins; lives on over reloads.
    pub credentials: Arc<Credentials>,
    /// Where mail goes.
    pub router: Arc<Router>,
    /// Edits of the header section, in order.
    pub rewrites: Vec<Rewrite>,
    /// Addresses that take forwarded mail from anybody.
    pub inboxes: Inboxes,
    /// What mail for booking channels is judged by.
    pub guard: Guard,
    /// Certificate and key, if there are any.
    pub tls: Option<TlsAcceptor>,
}

impl Policy {
    /// What the configuration says. Blocks: certificate and key are read.
    ///
    /// # Errors
    /// When certificate or key can't be used.
    pub fn of(config: &Config, credentials: &Arc<Credentials>) -> Result<Self, TlsError> {
        let router =
            Router::new(config.routes.clone(), config.applications.clone(), config.default_smarthost.clone());
        Ok(Self {
            hostname: config.hostname.as_str().into(),
            min_rate: config.intake.min_rate,
            intake: config.intake.clone(),
            applications: config.applications.clone(),
            credentials: credentials.clone(),
            router: Arc::new(router),
            rewrites: config.rewrites.clone(),
            inboxes: Inboxes::new(config.inboxes.values()).with_tokens(config.mailboxes.values()),
            guard: Guard::of(config),
            tls: config.tls.as_ref().map(tls::acceptor).transpose()?,
        })
    }
}

/// What becomes of a message that its own lane can't take now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// It leaves by this lane, then.
    By(LaneName, Timestamp),
    /// It waits until an admin switches its lane on.
    SwitchedOff,
    /// Its lane left the configuration while it came in.
    Removed,
}

/// Mail that goes into a lane.
#[derive(Debug, Clone, Copy)]
pub struct Leaving<'a> {
    /// Where, when and to whom.
    pub part: &'a Part,
    /// Its header section.
    pub header: &'a HeaderSection<'a>,
    /// The envelope's sender.
    pub sender: Option<&'a Address>,
    /// Whether an address of its envelope is outside US-ASCII.
    pub smtputf8: bool,
}

/// What becomes of a message of so many octets that its own lane can't take when it is due; none when its lane takes it.
pub type Detour = Box<dyn FnOnce(u64) -> Option<Way> + Send + Sync>;
/// The question to ask when it is kept, if it is worth asking.
pub type Detours = Arc<dyn Fn(&Leaving<'_>) -> Option<Detour> + Send + Sync>;

/// What all listeners share.
pub struct Intakes {
    /// Where mail is kept.
    pub queue: Queue,
    /// The time.
    pub clock: Clock,
    /// The log.
    pub events: Events,
    /// Cancelled when sessions must end.
    pub stop: CancellationToken,
    /// Cancelled when they are about to be broken off, whatever they are in the midst of.
    pub last_call: CancellationToken,
    /// Every session.
    pub tracker: TaskTracker,
    /// What those who deliver know of other ways; intake doesn't.
    pub detours: Detours,
    /// What a reload put in force.
    renewed: ArcSwapOption<Policy>,
    sessions: AtomicU64,
    open: AtomicUsize,
    clients: Mutex<HashMap<IpAddr, usize>>,
}

impl Intakes {
    /// Nothing is open yet.
    #[must_use]
    pub fn new(
        queue: Queue,
        clock: Clock,
        events: Events,
        stop: CancellationToken,
        tracker: TaskTracker,
        detours: Detours,
    ) -> Arc<Self> {
        Arc::new(Self {
            queue,
            clock,
            events,
            stop,
            last_call: CancellationToken::new(),
            tracker,
            detours,
            renewed: ArcSwapOption::empty(),
            sessions: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            clients: Mutex::new(HashMap::new()),
        })
    }

    /// Another policy is in force: sessions judge by it from their next transaction on.
    pub fn renew(&self, policy: Arc<Policy>) {
        self.renewed.store(Some(policy));
    }

    /// What a reload put in force, if there was one.
    pub(super) fn renewed(&self) -> Option<Arc<Policy>> {
        self.renewed.load_full()
    }

    /// A number for a session that begins.
    pub(super) fn next_session(&self) -> u64 {
        self.sessions.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Sessions open now.
    #[must_use]
    pub fn open_sessions(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

/// Takes connections on one socket until `stop`. `current` gives the policy and the listener's settings in force.
pub async fn serve(
    socket: TcpListener,
    intakes: Arc<Intakes>,
    current: impl Fn() -> Option<(Arc<Policy>, Arc<Listener>)>,
    stop: CancellationToken,
) {
    let mut paused = false;
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((connection, peer)) => {
                paused = false;
                let Some((policy, listener)) = current() else { return };
                let intakes = intakes.clone();
                intakes
                    .tracker
                    .clone()
                    .spawn(async move { welcome(connection, peer, intakes, policy, listener).await });
            }
            Err(cause) if is_passing(&cause) => {}
            Err(cause) => {
                // Out of descriptors or memory: what is open goes on and frees some.
                if !std::mem::replace(&mut paused, true) {
                    intakes.events.accept_paused(&cause);
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Errors of one connection, not of the listener.
fn is_passing(cause: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(cause.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

/// A connection's share of the limits, given back when it ends.
struct Seat {
    intakes: Arc<Intakes>,
    client: Option<IpAddr>,
}

impl Seat {
    /// Takes a place among all connections, or says why there is none.
    fn among_all(intakes: &Arc<Intakes>, limit: usize) -> Result<Self, &'static str> {
        let before = intakes.open.fetch_add(1, Ordering::Relaxed);
        let seat = Self { intakes: intakes.clone(), client: None };
        if before >= limit { Err("too many connections (intake.max_connections)") } else { Ok(seat) }
    }

    /// Takes a place among the connections of this client.
    fn among_clients(&mut self, client: IpAddr, limit: usize) -> Result<(), &'static str> {
        let mut clients = self.intakes.clients.lock();
        let count = clients.entry(client).or_insert(0);
        if *count >= limit {
            return Err("too many connections from this client (intake.max_connections_per_client)");
        }
        *count += 1;
        self.client = Some(client);
        Ok(())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.intakes.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(client) = self.client {
            let mut clients = self.intakes.clients.lock();
            if let Some(count) = clients.get_mut(&client) {
                *count -= 1;
                if *count == 0 {
                    clients.remove(&client);
                }
            }
        }
    }
}

/// From a bare connection to a session: limits, PROXY header, implicit TLS.
async fn welcome(
    connection: TcpStream,
    peer: SocketAddr,
    intakes: Arc<Intakes>,
    policy: Arc<Policy>,
    listener: Arc<Listener>,
) {
    let session = intakes.next_session();
    let Ok(mut stream) = Stream::new(connection) else { return };
    let refuse = |why: &str, peer: SocketAddr| intakes.events.connection_refused(peer.ip(), why);
    let mut seat = match Seat::among_all(&intakes, policy.intake.max_connections) {
        Ok(seat) => seat,
        Err(why) => {
            refuse(why, peer);
            return turn_away(stream, listener.tls).await;
        }
    };
    let mut peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    if access::believes_proxy(&listener, peer.ip()) {
        match timeout(PROXY_LIMIT, proxied(&mut stream)).await {
            Ok(Ok(Peer::Connection)) => {}
            Ok(Ok(Peer::Client { client, .. })) => {
                peer = SocketAddr::new(client.ip().to_canonical(), client.port());
            }
            Ok(Err(cause)) => return refuse(&format!("this client must send a PROXY header: {cause}"), peer),
            Err(_) => return refuse("this client must send a PROXY header; none came in 10 s", peer),
        }
    }
    let access = Access::of(&listener, peer.ip());
    if !access.is_trusted()
        && let Err(why) = seat.among_clients(peer.ip(), policy.intake.max_connections_per_client)
    {
        refuse(why, peer);
        return turn_away(stream, listener.tls).await;
    }
    intakes.events.connected(session, peer, &stream.local());
    let secured = listener.tls == TlsMode::Implicit;
    if secured {
        match implicit_tls(&mut stream, session, peer, &intakes, &policy).await {
            Handshake::Done => {}
            Handshake::Failed => return,
            Handshake::SpokePlain => return goodbye(stream, Some(&replies::TLS_EXPECTED.reply())).await,
        }
    }
    let server = Server::new(Arc::new(settings(&policy, &listener, access, intakes.clock.now())), secured);
    let early = !secured && !access.is_trusted() && (stream.spoke_first() || !stream.buffered().is_empty());
    let client = Client {
        session,
        peer,
        tls: stream.tls_summary(),
        greeted: policy.clone(),
        policy,
        access,
        intakes: intakes.clone(),
        queue: intakes.queue.clone(),
        clock: intakes.clock.clone(),
        events: intakes.events.clone(),
        stop: intakes.stop.clone(),
        detours: intakes.detours.clone(),
        login: None,
    };
    Session::new(client, stream, server).run(early).await;
    drop(seat);
}

/// Closes a connection too many. Whoever waits for a handshake would take plain text for a broken one, and a handshake is dear when
/// there are too many.
async fn turn_away(stream: Stream, tls: TlsMode) {
    let reply = (tls != TlsMode::Implicit).then(|| replies::TOO_MANY_CONNECTIONS.reply());
    goodbye(stream, reply.as_ref()).await;
}

/// Says one reply, if there is one to say, and closes.
async fn goodbye(mut stream: Stream, reply: Option<&Reply>) {
    if let Some(reply) = reply {
        reply.write_to(stream.output());
    }
    // Nobody is owed more than the attempt.
    let _ = timeout(Duration::from_secs(2), stream.flush()).await;
    // Closing with unread input would reset the connection and take the reply with it.
    while stream.spoke_first() && matches!(stream.fill(false).await, Ok(1..=MAX_PROXY)) {
        let count = stream.buffered().len();
        stream.consume(count);
    }
    let _ = timeout(Duration::from_secs(2), stream.close()).await;
}

/// How a handshake before the greeting ended.
enum Handshake {
    Done,
    Failed,
    /// The client spoke, or awaits, plain text.
    SpokePlain,
}

async fn proxied(stream: &mut Stream) -> Result<Peer, String> {
    loop {
        match proxy::parse(stream.buffered()) {
            Ok(Some(header)) => {
                stream.consume(header.length);
                return Ok(header.peer);
            }
            Ok(None) if stream.buffered().len() > MAX_PROXY => return Err("it is too long".into()),
            Ok(None) => {}
            Err(cause @ (ProxyError::Absent | ProxyError::Malformed(_))) => return Err(cause.to_string()),
        }
        if stream.fill(false).await.map_err(|cause| cause.to_string())? == 0 {
            return Err("the connection was closed".into());
        }
    }
}

/// Shakes hands before the greeting.
async fn implicit_tls(
    stream: &mut Stream,
    session: u64,
    peer: SocketAddr,
    intakes: &Arc<Intakes>,
    policy: &Arc<Policy>,
) -> Handshake {
    /// The first octet of a TLS record that holds a handshake (RFC 8446 §5.1).
    const HANDSHAKE: u8 = 0x16;
    let events = &intakes.events;
    let Some(acceptor) = &policy.tls else { return Handshake::Failed };
    match timeout(HANDSHAKE_LIMIT, stream.first_octet()).await {
        Ok(Ok(Some(HANDSHAKE))) => {}
        Ok(Ok(None) | Err(_)) => return Handshake::Failed,
        Ok(Ok(Some(_))) | Err(_) => {
            let advice = "this listener speaks TLS from the first octet; set the client to implicit TLS (SSL/TLS), or \
                          use a STARTTLS listener";
            events.wrong_tls_mode(session, peer.ip(), advice);
            return Handshake::SpokePlain;
        }
    }
    match timeout(HANDSHAKE_LIMIT, stream.accept_tls_at_once(acceptor)).await {
        Ok(Ok(())) => Handshake::Done,
        Ok(Err(cause)) => {
            events.handshake_failed(session, peer.ip(), &cause);
            Handshake::Failed
        }
        Err(_) => {
            events.handshake_failed(session, peer.ip(), &"no answer in 10 s");
            Handshake::Failed
        }
    }
}

fn settings(policy: &Policy, listener: &Listener, access: Access, now: Timestamp) -> ServerSettings {
    ServerSettings {
        hostname: policy.hostname.clone(),
        max_message_size: policy.intake.max_message_size,
        max_recipients: policy.intake.max_recipients,
        max_errors: policy.intake.max_errors,
        tolerate: listener.tolerate,
        starttls: listener.tls == TlsMode::StartTls && policy.tls.is_some(),
        auth: match listener.auth {
            AuthMode::None => AuthPolicy::NotOffered,
            AuthMode::Optional => AuthPolicy::Offered,
            // Whoever writes to an inbox needs no login: the recipient tells who does.
            AuthMode::Required if !policy.inboxes.is_empty() => AuthPolicy::Offered,
            AuthMode::Required => AuthPolicy::Required,
        },
        auth_needs_tls: listener.tls == TlsMode::StartTls && !listener.auth_without_tls,
        steering: Some(steering::steering(access.may_relay(None), now)),
        ..ServerSettings::default()
    }
}
