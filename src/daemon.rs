//! The only wiring: opens the queue, binds, spawns, reloads, and stops in order.
//!
//! Start: lock and open the queue, read certificates, bind every socket, then spawn; nothing is half open when one
//! of these fails. Stop: no new connections, sessions and deliveries finish what they hold (those that can't are
//! abandoned to the queue, which still has them), then the queue closes.

mod forwarding;
mod inboxes;
mod offline;
mod outlook;
mod sockets;
mod webhooks;

pub use offline::serve_one;

use crate::admin::{self, AdminError, Configuration, LaneStatus, MailboxAddress, Request, Status};
use crate::cli::{CONFIGURATION, NOT_ALLOWED, TRY_LATER, UNAVAILABLE, USAGE};
use crate::clock::Clock;
use crate::config::schema::{Config, Listener};
use crate::config::{self, Loaded};
use crate::deliver::connections::{Lane, REMOVED, Target};
use crate::deliver::fallback::{Fallback, Lanes};
use crate::deliver::reroute;
use crate::deliver::route::Router;
use crate::deliver::sent::Senders;
use crate::deliver::token_keys;
use crate::deliver::webhook::EndpointStatus;
use crate::events::{Events, fingerprint};
use crate::inbox::addresses::{self, Inboxes};
use crate::inbox::channel::Guard;
use crate::inbox::token::TokenKey;
use crate::intake::credentials::Credentials;
use crate::intake::listener::{self, Intakes, Policy};
use crate::intake::local;
use crate::net::tls::{self, ConnectorError, TlsError};
use crate::queue::{Adjust, Entry, Filter, LaneName, Queue, QueueError, QueueSettings};
use arc_swap::ArcSwap;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Value;
use sockets::{Passed, bind, key};
use std::collections::btree_map::Entry as Place;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use webhooks::{Occasion, Webhooks};

/// Sessions and deliveries have this long to finish when stopping; with the queue's own closing it stays below 10 s.
const GRACE: Duration = Duration::from_secs(8);

/// How often lanes that are stuck are looked at.
const FALLBACK: Duration = Duration::from_secs(1);

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
    webhooks: Webhooks,
    inboxes: inboxes::Inboxes,
    listening: Mutex<BTreeMap<String, Listening>>,
    /// Sockets from systemd that no listener has taken yet.
    passed: Mutex<Passed>,
    /// Why the latest reload was refused.
    refused: Mutex<Option<String>>,
    /// One reload at a time.
    reloading: tokio::sync::Mutex<()>,
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
        let webhooks =
            Webhooks::new(queue.clone(), clock.clone(), events.clone(), tracker.clone(), stop.clone());
        let inboxes = inboxes::Inboxes::new(
            queue.clone(),
            clock.clone(),
            events.clone(),
            tracker.clone(),
            stop.clone(),
        );
        let lanes = Arc::new(Mutex::new(Lanes::new()));
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
            webhooks,
            inboxes,
            listening: Mutex::new(BTreeMap::new()),
            passed: Mutex::new(passed),
            refused: Mutex::new(None),
            reloading: tokio::sync::Mutex::new(()),
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
        // Whatever isn't finished by then is abandoned; the queue still has it.
        let _ = timeout(GRACE, shared.tracker.wait()).await;
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
        let policy = policy(config, credentials)?;
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

/// The keys of reply tokens, made at first need; none where no mailbox wants any.
fn token_keys(config: &Config, events: &Events) -> Vec<TokenKey> {
    if !config.mailboxes.values().any(|mailbox| mailbox.reply_token) {
        return Vec::new();
    }
    token_keys::load(&config.state_dir).unwrap_or_else(|cause| {
        events.no_token_keys(&cause);
        Vec::new()
    })
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

fn policy(config: &Config, credentials: &Arc<Credentials>) -> Result<Policy, TlsError> {
    let router =
        Router::new(config.routes.clone(), config.applications.clone(), config.default_smarthost.clone());
    Ok(Policy {
        hostname: config.hostname.as_str().into(),
        min_rate: config.intake.min_rate,
        intake: config.intake.clone(),
        applications: config.applications.clone(),
        credentials: credentials.clone(),
        router: Arc::new(router),
        rewrites: config.rewrites.clone(),
        inboxes: Inboxes::new(config.inboxes.values()),
        guard: Guard::of(config),
        tls: config.tls.as_ref().map(tls::acceptor).transpose()?,
    })
}

impl Shared {
    /// Serves sockets that are bound already.
    fn listen(self: &Arc<Self>, key: String, sockets: Vec<TcpListener>) {
        let stop = CancellationToken::new();
        let addresses = sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect();
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
            self.tracker.spawn(listener::serve(socket, self.intakes.clone(), current, stop.clone()));
        }
        self.listening.lock().insert(key, Listening { sockets: addresses, stop });
    }

    /// Lanes as the configuration wants them: new ones start, changed ones learn, removed ones hold their mail.
    fn staff_lanes(self: &Arc<Self>) {
        let generation = self.current.load();
        let config = &generation.config;
        let mut lanes = self.lanes.lock();
        let keys = token_keys(config, &self.events);
        for (name, smarthost) in &config.smarthosts {
            let router = generation.policy.router.clone();
            let target = Target::new(smarthost.clone(), &config.hostname, config.retry.clone(), router)
                .announcing_to(webhooks::told(config))
                .sending_for(Senders::of(config, name, &keys));
            if let Some(lane) = lanes.get(name) {
                lane.change(target);
                continue;
            }
            let (queue, clock, events) = (self.queue.clone(), self.clock.clone(), self.events.clone());
            let lane = Lane::new(queue, target, clock, events, self.tracker.clone(), &self.stop);
            self.tracker.spawn(lane.clone().run());
            lanes.insert(name.clone(), lane);
        }
        self.staff_removed(&generation, &mut lanes);
    }

    /// Lanes without a smarthost: those that just lost it, and those that the queue still knows from before.
    fn staff_removed(&self, generation: &Generation, lanes: &mut BTreeMap<String, Arc<Lane>>) {
        let config = &generation.config;
        let totals = self.queue.totals();
        let known = totals.iter().map(|totals| totals.lane.to_string());
        // What an inbox took is never bounced: its lane stands still, without a smarthost's clocks.
        let is_inbox = |name: &str| addresses::of_lane(&LaneName::new(name)).is_some();
        let mut removed: BTreeSet<String> = known.chain(lanes.keys().cloned()).collect();
        removed.retain(|name| !config.smarthosts.contains_key(name) && !is_inbox(name));
        let Some(like) = config.smarthosts.values().next() else { return };
        for name in removed {
            let router = generation.policy.router.clone();
            let target = Target::removed(&name, like, &config.hostname, config.retry.clone(), router)
                .announcing_to(webhooks::told(config));
            let waits = totals.iter().find(|totals| *totals.lane.as_str() == *name);
            let waits = waits.map_or(0, |totals| totals.queued + totals.deferred + totals.held);
            if waits > 0 && lanes.get(&name).is_none_or(|lane| !lane.is_removed()) {
                self.events.smarthost_removed(&name, waits);
            }
            if let Some(lane) = lanes.get(&name) {
                lane.change(target);
                continue;
            }
            let (queue, clock, events) = (self.queue.clone(), self.clock.clone(), self.events.clone());
            let lane = Lane::new(queue, target, clock, events, self.tracker.clone(), &self.stop);
            self.tracker.spawn(lane.clone().run());
            lanes.insert(name, lane);
        }
    }

    /// Lanes without a smarthost.
    fn removed_lanes(&self) -> Vec<LaneName> {
        let lanes = self.lanes.lock();
        lanes.iter().filter(|(_, lane)| lane.is_removed()).map(|(name, _)| LaneName::new(name)).collect()
    }

    async fn reload(self: &Arc<Self>) -> Result<Vec<String>, AdminError> {
        let _one = self.reloading.lock().await;
        let outcome = self.try_reload().await;
        match &outcome {
            Ok(changes) => {
                *self.refused.lock() = None;
                self.events.reloaded(self.current.load().number, changes);
            }
            Err(refusal) => {
                *self.refused.lock() = Some(refusal.text.clone());
                self.events.reload_refused(&refusal.text);
            }
        }
        outcome
    }

    async fn try_reload(self: &Arc<Self>) -> Result<Vec<String>, AdminError> {
        let refuse = |text: String| AdminError { code: CONFIGURATION, text };
        let old = self.current.load_full();
        let path = old.config.path.clone();
        let loaded = spawn_blocking(move || config::load(&path, config::environment()))
            .await
            .map_err(|cause| refuse(cause.to_string()))?
            .map_err(|complaints| refuse(complaints.render("not reloaded")))?;
        let Loaded { config, warnings, .. } = loaded;
        if config.state_dir != old.config.state_dir {
            return Err(refuse(
                "waystation: state_dir can't change while the daemon runs; restart it".into(),
            ));
        }
        let policy = policy(&config, &self.credentials)
            .map_err(|cause| refuse(format!("waystation: [tls] {cause}")))?;
        tls::check_connectors(config.smarthosts.values())
            .map_err(|cause| refuse(format!("waystation: {cause}")))?;
        let mut bound = Vec::new();
        for listener in &config.listeners {
            let key = key(&listener.address);
            if !old.listeners.contains_key(&key) {
                bound.push((
                    key,
                    bind(&listener.address, &mut self.passed.lock())
                        .map_err(|cause| refuse(cause.to_string()))?,
                ));
            }
        }
        // From here on nothing can fail.
        for warning in &warnings {
            self.events.config_warning(warning);
        }
        let mut changes = config::changes(&old.config, &config);
        let certificate = certificate(&config);
        if certificate != old.certificate {
            changes.push("tls: another certificate".into());
        }
        for (section, secret) in secrets(&config) {
            if old.secrets.get(&section).is_some_and(|before| *before != secret) {
                changes.push(format!("{section}.secret_file: another secret stands in it"));
            }
        }
        let (before, after) = (&old.config.log, &config.log);
        if (before.format, before.level) != (after.format, after.level) {
            changes.push("log: format and level count from the next start on".into());
        }
        if before.addresses != after.addresses {
            self.events.show_addresses(after.addresses);
        }
        self.credentials.replace(&config.applications);
        self.queue.change(queue_settings(&config));
        let generation = Generation::new(config, policy, old.number + 1, self.clock.now());
        self.listening.lock().retain(|key, listening| {
            let stays = generation.listeners.contains_key(key);
            if !stays {
                listening.stop.cancel();
            }
            stays
        });
        self.current.store(Arc::new(generation));
        for (key, sockets) in bound {
            self.listen(key, sockets);
        }
        self.staff_lanes();
        self.webhooks.staff(&self.current.load().config, Occasion::Reload);
        self.inboxes.staff(&self.current.load().config);
        let router = self.current.load().policy.router.clone();
        if !router.routes_as(&old.policy.router) {
            self.reroute(old.policy.router.clone(), router);
        }
        Ok(changes)
    }

    /// Mail that its smarthost can't take goes by another one, where the configuration names any.
    fn find_other_ways(self: &Arc<Self>) {
        let shared = self.clone();
        self.tracker.spawn(async move {
            let mut fallback = Fallback::default();
            let mut rounds = tokio::time::interval(FALLBACK);
            loop {
                tokio::select! {
                    () = shared.stop.cancelled() => return,
                    _ = rounds.tick() => {}
                }
                let lanes = shared.lanes.lock().clone();
                fallback.relieve(&lanes, shared.clock.now()).await;
            }
        });
    }

    /// What waits follows new routes, beside everything else.
    fn reroute(self: &Arc<Self>, old: Arc<Router>, router: Arc<Router>) {
        let shared = self.clone();
        self.tracker.spawn(async move {
            let smarthosts = shared.current.load().config.smarthosts.keys().cloned().collect();
            let rerouting = reroute::reroute(&shared.queue, &old, &router, &smarthosts, &shared.events);
            tokio::select! {
                moved = rerouting => if let Err(cause) = moved { shared.events.not_rerouted(&cause) },
                () = shared.stop.cancelled() => {}
            }
        });
    }

    // ---- the control socket ----

    /// Answers the control socket until everything is over. Not tracked: it must outlive what it reports on.
    fn obey_at(self: Arc<Self>, socket: UnixListener) {
        tokio::spawn(async move {
            loop {
                let connection = tokio::select! {
                    () = self.over.cancelled() => return,
                    accepted = socket.accept() => accepted,
                };
                let Ok((connection, _)) = connection else {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                };
                let shared = self.clone();
                tokio::spawn(async move {
                    let submitter = tokio::select! {
                        submitter = admin::serve(connection, |request| shared.obey(request)) => submitter,
                        () = shared.over.cancelled() => None,
                    };
                    if let Some(socket) = submitter {
                        let (intakes, policy) =
                            (shared.intakes.clone(), shared.current.load().policy.clone());
                        shared.tracker.spawn(local::serve(socket, intakes, policy));
                    }
                });
            }
        });
    }

    async fn obey(self: &Arc<Self>, request: Request) -> Result<Value, AdminError> {
        match request {
            Request::Status => {
                let endpoints = self.webhooks.status().await.map_err(queue_failure)?;
                answer(&self.status(endpoints, &self.detoured().await))
            }
            Request::Events(request) => self.webhooks.obey(request).await,
            Request::Inbox(request) => {
                forwarding::obey(&self.queue, &self.clock, &self.current.load_full().config, request).await
            }
            Request::Query { filter, limit, after } => {
                let filter = Filter { removed: self.removed_lanes(), ..filter };
                let mut entries =
                    self.queue.query(filter.clone(), limit, after).await.map_err(queue_failure)?;
                let stranded = entries.iter_mut().filter(|entry| filter.removed.contains(&entry.lane));
                stranded.for_each(|entry| entry.hold(REMOVED));
                self.tell_detours(&mut entries).await;
                answer(&entries)
            }
            Request::Adjust { filter, action } => {
                let filter = Filter { removed: self.removed_lanes(), ..filter };
                self.may_adjust(&action)?;
                let retries = matches!(action, Adjust::Retry | Adjust::Release | Adjust::Assign(_));
                let adjusted = self.queue.adjust(filter, action).await.map_err(queue_failure)?;
                if retries {
                    for lane in self.lanes.lock().values() {
                        lane.retry_now();
                    }
                }
                answer(&adjusted)
            }
            Request::Life { id } => {
                let mut life = self.queue.life(id).await.map_err(queue_failure)?;
                if let Some(life) = &mut life
                    && self.removed_lanes().contains(&life.entry.lane)
                {
                    life.entry.hold(REMOVED);
                }
                if let Some(life) = &mut life {
                    self.tell_detours(std::slice::from_mut(&mut life.entry)).await;
                }
                answer(&life)
            }
            Request::Outlook { lane, class, recipients } => answer(&self.outlook(&lane, class, recipients)),
            Request::Charge { lane } => answer(&self.charge(&lane).await?),
            // Its connection is handed over before anybody is asked.
            Request::Submit => answer(&()),
            Request::Reload => answer(&self.reload().await?),
            Request::Stop => {
                self.asked_to_stop.cancel();
                answer(&())
            }
        }
    }

    /// Mail moved to a smarthost that doesn't exist would wait for ever.
    fn may_adjust(&self, action: &Adjust) -> Result<(), AdminError> {
        let generation = self.current.load();
        if let Adjust::Assign(mailbox) = action {
            let mailboxes = &generation.config.mailboxes;
            if mailboxes.contains_key(mailbox) {
                return Ok(());
            }
            let known: Vec<&str> = mailboxes.keys().map(String::as_str).collect();
            let text =
                format!("waystation: --mailbox {mailbox}: no such mailbox; there are: {}", known.join(", "));
            return Err(AdminError { code: USAGE, text });
        }
        let Adjust::Reroute(to) = action else { return Ok(()) };
        let smarthosts = &generation.config.smarthosts;
        if smarthosts.contains_key(to.as_str()) {
            return Ok(());
        }
        let known: Vec<&str> = smarthosts.keys().map(String::as_str).collect();
        let text = format!("waystation: --to {to}: no such smarthost; there are: {}", known.join(", "));
        Err(AdminError { code: USAGE, text })
    }

    /// Each address that is really listened on, which port 0 doesn't tell.
    fn listening_at(&self) -> Vec<String> {
        let named = |(key, listening): (&String, &Listening)| {
            let sockets: Vec<String> = listening.sockets.iter().map(ToString::to_string).collect();
            if key.starts_with("fd:") {
                format!("{key} ({})", sockets.join(", "))
            } else {
                sockets.join(", ")
            }
        };
        self.listening.lock().iter().map(named).collect()
    }

    /// `detoured`: when mail will leave that waits in a lane that can't take it.
    fn status(&self, endpoints: Vec<EndpointStatus>, detoured: &BTreeMap<String, Timestamp>) -> Status {
        let generation = self.current.load();
        let mut lanes: BTreeMap<String, LaneStatus> =
            self.lanes.lock().iter().map(|(name, lane)| (name.clone(), lane.status())).collect();
        lanes.extend(self.inboxes.status());
        for totals in self.queue.totals() {
            let name = totals.lane.to_string();
            let lane = match lanes.entry(name.clone()) {
                Place::Occupied(lane) => lane.into_mut(),
                Place::Vacant(lane) if addresses::of_lane(&totals.lane).is_some() => {
                    lane.insert(LaneStatus::removed_inbox(name))
                }
                Place::Vacant(_) => continue,
            };
            lane.queued = totals.queued;
            lane.deferred = totals.deferred;
            lane.held = totals.held;
            let next_due = detoured.get(totals.lane.as_str()).copied().or(totals.next_due);
            // When a lane is switched on nobody knows.
            let next_due = next_due.filter(|due| lane.state != "disabled" || *due > self.clock.now());
            lane.next_due = next_due.map(|due| due.to_string());
            lane.empty_by = self.empty_by(lane, &totals.lane);
            if lane.state == "removed" {
                lane.held += std::mem::take(&mut lane.queued) + std::mem::take(&mut lane.deferred);
                lane.next_due = None;
            }
        }
        for mailbox in generation.config.mailboxes.values() {
            let lane = lanes.get_mut(addresses::lane(&mailbox.inbox).as_str());
            if let Some(lane) = lane.filter(|lane| lane.state != "removed") {
                lane.mailboxes.push(MailboxAddress {
                    mailbox: mailbox.name.clone(),
                    address: mailbox.address.as_str().to_owned(),
                    forward_to: forwarding::forward_to(mailbox, &generation.config),
                });
            }
        }
        // A removed smarthost is only worth a line while mail waits for it.
        let waits = |lane: &LaneStatus| lane.queued + lane.deferred + lane.held > 0;
        Status {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").into(),
            started_at: self.started_at.to_string(),
            configuration: Configuration {
                file: generation.config.path.clone(),
                generation: generation.number,
                fingerprint: generation.fingerprint.clone(),
                loaded_at: generation.loaded_at.to_string(),
                refused: self.refused.lock().clone(),
            },
            listeners: self.listening_at(),
            sessions: self.intakes.open_sessions(),
            spool_bytes: self.queue.spool_bytes(),
            intake_refused: self.queue.room(0).err().map(|cause| cause.to_string()),
            disk_refusal: self.queue.refusal().map(|(since, cause)| format!("{cause} (since {since})")),
            lanes: lanes.into_values().filter(|lane| lane.state != "removed" || waits(lane)).collect(),
            endpoints,
        }
    }
}

fn answer<T: Serialize>(value: &T) -> Result<Value, AdminError> {
    serde_json::to_value(value)
        .map_err(|cause| AdminError { code: crate::cli::OUR_BUG, text: cause.to_string() })
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn queue_failure(cause: QueueError) -> AdminError {
    AdminError { code: TRY_LATER, text: format!("waystation: {cause}") }
}
