//! The only wiring: opens the queue, binds, spawns, reloads, and stops in order.
//!
//! Start: lock and open the queue, read certificates, bind every socket, then spawn; nothing is half open when one
//! of these fails. Stop: no new connections, sessions and deliveries finish what they hold (those that can't are
//! abandoned to the queue, which still has them), then the queue closes.

mod control;
mod forwarding;
mod inboxes;
mod lanes;
mod offline;
mod outlook;
mod reload;
mod sockets;
mod webhooks;

pub use offline::serve_one;

use crate::admin::{self, AdminError};
use crate::cli::{CONFIGURATION, NOT_ALLOWED, UNAVAILABLE};
use crate::clock::Clock;
use crate::config::Loaded;
use crate::config::schema::{Config, Listener};
use crate::deliver::fallback::Lanes;
use crate::deliver::frozen::Frozen;
use crate::events::{Events, fingerprint};
use crate::intake::credentials::Credentials;
use crate::intake::listener::{self, Intakes, Policy};
use crate::net::tls::{self, ConnectorError, TlsError};
use crate::queue::{Entry, Filter, Queue, QueueError, QueueSettings};
use arc_swap::ArcSwap;
use jiff::Timestamp;
use parking_lot::Mutex;
use sockets::{Passed, bind, key};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use webhooks::{Occasion, Webhooks};

/// Sessions and deliveries have this long to finish when stopping.
const GRACE: Duration = Duration::from_secs(7);
/// Clients whose message hasn't come by then are told so within this time; with the queue's own closing, stopping stays
/// below 10 s.
const LAST_CALL: Duration = Duration::from_secs(1);

/// Why the daemon doesn't run; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The queue can't be opened.
    #[error("waystation: {0}")]
    Queue(#[from] QueueError),
    /// Certificate or key can't be used.
    #[error("waystation: [tls] {0}")]
    Tls(#[from] TlsError),
    /// A smarthost's certificate couldn't be judged.
    #[error("waystation: {0}")]
    Connector(#[from] ConnectorError),
    /// A socket can't be had.
    #[error("waystation: listener {address}: {cause}; {advice}")]
    Bind {
        /// Which.
        address: String,
        /// What the system said.
        cause: io::Error,
        /// What to do.
        advice: &'static str,
    },
    /// The control socket can't be had.
    #[error("waystation: {path}: {cause}; the control socket can't be made there")]
    Admin {
        /// Where.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
}

impl StartError {
    /// The sysexits code for it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Bind { cause, .. } | Self::Admin { cause, .. }
                if cause.kind() == io::ErrorKind::PermissionDenied =>
            {
                NOT_ALLOWED
            }
            Self::Bind { .. } | Self::Admin { .. } => UNAVAILABLE,
            Self::Queue(cause) => cause.exit_code(),
            Self::Tls(_) | Self::Connector(_) => CONFIGURATION,
        }
    }
}

/// A running daemon.
pub struct Daemon {
    shared: Arc<Shared>,
}

/// One configuration in force.
struct Generation {
    config: Config,
    policy: Arc<Policy>,
    listeners: BTreeMap<String, Arc<Listener>>,
    number: u64,
    fingerprint: String,
    /// The certificate's own, to tell when only the file's content changed.
    certificate: Option<String>,
    /// What stands in the secret files of webhooks, by the webhook's section.
    secrets: BTreeMap<String, String>,
    loaded_at: Timestamp,
}

struct Shared {
    current: ArcSwap<Generation>,
    queue: Queue,
    clock: Clock,
    events: Events,
    intakes: Arc<Intakes>,
    credentials: Arc<Credentials>,
    lanes: Arc<Mutex<Lanes>>,
    frozen: Arc<Frozen>,
    webhooks: Webhooks,
    inboxes: inboxes::Inboxes,
    listening: Mutex<BTreeMap<String, Listening>>,
    /// Sockets from systemd that no listener has taken yet.
    passed: Mutex<Passed>,
    /// Why the latest reload was refused.
    refused: Mutex<Option<String>>,
    /// One reload at a time.
    reloading: tokio::sync::Mutex<()>,
    /// Held by whoever moves mail from lane to lane: a round of fallbacks, or new routes.
    moving: Arc<tokio::sync::Mutex<()>>,
    started_at: Timestamp,
    /// Everything that must end before the queue may close.
    tracker: TaskTracker,
    /// Cancelled when sessions and deliveries must end.
    stop: CancellationToken,
    /// Cancelled when somebody asks for the end by the control socket.
    asked_to_stop: CancellationToken,
    /// Cancelled when everything is over, so that whoever asked learns it.
    over: CancellationToken,
}

/// A bound address.
struct Listening {
    sockets: Vec<SocketAddr>,
    stop: CancellationToken,
    /// Each ends, and gives its socket up, when it is stopped.
    serving: Vec<JoinHandle<()>>,
}

impl Daemon {
    /// Starts everything.
    ///
    /// # Errors
    /// When a part can't start; then none has.
    pub async fn start(loaded: Loaded, clock: Clock) -> Result<Self, StartError> {
        let Loaded { config, warnings, .. } = loaded;
        let events = Events::new(config.log.addresses);
        for warning in &warnings {
            events.config_warning(warning);
        }
        let settings = queue_settings(&config);
        let opening = clock.clone();
        let queue = spawn_blocking(move || Queue::open(settings, opening))
            .await
            .map_err(|cause| QueueError::Index(cause.to_string()))??;
        let credentials = Arc::new(Credentials::new(&config.applications));
        let equipped = Equipment::of(&config, &credentials);
        let Equipment { policy, bound, passed, admin } = match equipped {
            Ok(equipment) => equipment,
            Err(cause) => {
                // Nothing was begun, so the end is a clean one.
                queue.close().await;
                return Err(cause);
            }
        };
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let now = clock.now();
        events.started(env!("CARGO_PKG_VERSION"), &config.path, &config.state_dir);
        if queue.was_unclean() {
            events.unclean_start();
        }
        let webhooks = Webhooks::new(
            &config.state_dir,
            queue.clone(),
            clock.clone(),
            events.clone(),
            tracker.clone(),
            stop.clone(),
        );
        let inboxes = inboxes::Inboxes::new(
            queue.clone(),
            clock.clone(),
            events.clone(),
            tracker.clone(),
            stop.clone(),
        );
        let lanes = Arc::new(Mutex::new(Lanes::new()));
        let frozen = Frozen::load(&config.state_dir, events.clone());
        let shared = Arc::new(Shared {
            intakes: Intakes::new(
                queue.clone(),
                clock.clone(),
                events.clone(),
                stop.clone(),
                tracker.clone(),
                outlook::detours(lanes.clone(), clock.clone()),
            ),
            current: ArcSwap::from_pointee(Generation::new(config, policy, 1, now)),
            queue,
            clock,
            events,
            credentials,
            lanes,
            frozen,
            webhooks,
            inboxes,
            listening: Mutex::new(BTreeMap::new()),
            passed: Mutex::new(passed),
            refused: Mutex::new(None),
            reloading: tokio::sync::Mutex::new(()),
            moving: Arc::default(),
            started_at: now,
            tracker,
            stop,
            asked_to_stop: CancellationToken::new(),
            over: CancellationToken::new(),
        });
        shared.staff_lanes();
        shared.webhooks.staff(&shared.current.load().config, Occasion::Start);
        shared.inboxes.staff(&shared.current.load().config);
        for (key, sockets) in bound {
            shared.listen(key, sockets);
        }
        shared.tell_unanswered();
        shared.tracker.spawn(webhooks::watch(shared.clone()));
        shared.tracker.spawn(forwarding::watch(shared.clone()));
        shared.find_other_ways();
        shared.clone().obey_at(admin);
        Ok(Self { shared })
    }

    /// The addresses it listens on, in the order of the configuration's addresses.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.shared.listening.lock().values().flat_map(|listening| listening.sockets.clone()).collect()
    }

    /// Waits until somebody asks for the end by the control socket.
    pub async fn asked_to_stop(&self) {
        self.shared.asked_to_stop.cancelled().await;
    }

    /// Reads the configuration again; what changed, in words.
    ///
    /// # Errors
    /// When the new one is wrong; the old one stays.
    pub async fn reload(&self) -> Result<Vec<String>, AdminError> {
        self.shared.reload().await
    }

    /// Waits until everything that was decided is on disk.
    pub async fn settled(&self) {
        self.shared.queue.flush().await;
    }

    /// Messages in the queue and the journal, oldest first, at most a page of them.
    ///
    /// # Errors
    /// The queue's.
    pub async fn query(&self, filter: Filter) -> Result<Vec<Entry>, QueueError> {
        self.shared.queue.query(filter, 1000, None).await
    }

    /// Ends everything, in order.
    pub async fn stop(self, reason: &str) {
        let shared = self.shared;
        shared.events.stopping(reason);
        for listening in shared.listening.lock().values() {
            listening.stop.cancel();
        }
        shared.stop.cancel();
        shared.tracker.close();
        if timeout(GRACE, shared.tracker.wait()).await.is_err() {
            shared.intakes.last_call.cancel();
            // Whatever isn't finished by then is abandoned; the queue still has it.
            let _ = timeout(LAST_CALL, shared.tracker.wait()).await;
        }
        shared.queue.clone().close().await;
        shared.events.stopped();
        shared.over.cancel();
    }
}

/// What can't be had when a start fails.
struct Equipment {
    policy: Policy,
    bound: Vec<(String, Vec<TcpListener>)>,
    passed: Passed,
    admin: UnixListener,
}

impl Equipment {
    fn of(config: &Config, credentials: &Arc<Credentials>) -> Result<Self, StartError> {
        let policy = Policy::of(config, credentials)?;
        tls::check_connectors(config.smarthosts.values())?;
        let mut bound = Vec::new();
        let mut passed = Passed::from_environment();
        for listener in &config.listeners {
            bound.push((key(&listener.address), bind(&listener.address, &mut passed)?));
        }
        let admin = admin::bind(&config.state_dir)
            .map_err(|cause| StartError::Admin { path: admin::socket(&config.state_dir), cause })?;
        Ok(Self { policy, bound, passed, admin })
    }
}

impl Generation {
    fn new(config: Config, policy: Policy, number: u64, loaded_at: Timestamp) -> Self {
        let listeners = config
            .listeners
            .iter()
            .map(|listener| (key(&listener.address), Arc::new(listener.clone())))
            .collect();
        let fingerprint = fingerprint(&std::fs::read(&config.path).unwrap_or_default());
        let (certificate, secrets) = (certificate(&config), secrets(&config));
        Self {
            config,
            policy: Arc::new(policy),
            listeners,
            number,
            fingerprint,
            certificate,
            secrets,
            loaded_at,
        }
    }
}

fn certificate(config: &Config) -> Option<String> {
    let files = config.tls.as_ref()?;
    Some(fingerprint(&std::fs::read(&files.certificate).unwrap_or_default()))
}

/// What stands in the secret files of webhooks, to tell when only a file's content changed.
fn secrets(config: &Config) -> BTreeMap<String, String> {
    let inboxes = config.inboxes.iter().map(|(name, inbox)| (format!("inbox.{name}"), &inbox.secret_file));
    let events = config.events.endpoint.iter();
    let events = events.filter_map(|endpoint| Some(("events".to_owned(), endpoint.secret_file.as_ref()?)));
    let read = |file: &PathBuf| fingerprint(&std::fs::read(file).unwrap_or_default());
    inboxes.chain(events).map(|(section, file)| (section, read(file))).collect()
}

fn queue_settings(config: &Config) -> QueueSettings {
    QueueSettings {
        state_dir: config.state_dir.clone(),
        memory: config.intake.memory,
        max_size: config.spool.max_size,
        min_free: config.spool.min_free,
        journal_keep: config.journal_keep,
    }
}

impl Shared {
    /// Serves sockets that are bound already.
    fn listen(self: &Arc<Self>, key: String, sockets: Vec<TcpListener>) {
        let stop = CancellationToken::new();
        let addresses = sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect();
        let mut serving = Vec::new();
        for socket in sockets {
            let current = {
                let (shared, key) = (self.clone(), key.clone());
                move || {
                    let generation = shared.current.load();
                    let listener = generation.listeners.get(&key).cloned();
                    listener.map(|listener| (generation.policy.clone(), listener))
                }
            };
            if let (Some((_, listener)), Ok(address)) = (current(), socket.local_addr()) {
                self.events.listening(&address, listener.tls);
            }
            let served = listener::serve(socket, self.intakes.clone(), current, stop.clone());
            serving.push(self.tracker.spawn(served));
        }
        self.listening.lock().insert(key, Listening { sockets: addresses, stop, serving });
    }
}
