//! Every line an operator sees, one function each: a constant past-tense phrase and fields.
//!
//! *error*: the operator must act. *warn*: we coped. *info*: one line per fate. What peers said is escaped and
//! cut before it gets here or by `{:?}` here, so that one event is one line whatever a peer sends.

use crate::config::schema::{LogAddresses, LogFormat, TlsMode};
use crate::log::Writer;
use crate::queue::{EventId, LaneName, QueueId, VerificationState};
use crate::smtp::address::Address;
use crate::smtp::command::Leniences;
use crate::smtp::reply::Reply;
use arc_swap::ArcSwap;
use aws_lc_rs::{digest, hmac, rand};
use std::fmt::Display;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use tracing::{debug, error, info, warn};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Peer text longer than this is cut.
const PEER_TEXT: usize = 300;

/// Writes lines; cheap to clone.
#[derive(Clone)]
pub struct Events(Arc<ArcSwap<Shown>>);

/// How addresses are shown.
enum Shown {
    Full,
    Domain,
    Hash(Box<hmac::Key>),
}

impl Shown {
    fn show(&self, address: &str) -> String {
        match self {
            Shown::Full => escaped(address),
            Shown::Domain => format!("…@{}", address.rsplit('@').next().unwrap_or_default()),
            Shown::Hash(key) => hex(hmac::sign(key, address.as_bytes()).as_ref(), 8),
        }
    }

    fn of(addresses: LogAddresses) -> Self {
        match addresses {
            LogAddresses::Full => Shown::Full,
            LogAddresses::Domain => Shown::Domain,
            LogAddresses::Hash => {
                let mut key = [0; 32];
                // Without randomness the hashes are still one-way, only comparable between runs.
                let _ = rand::fill(&mut key);
                Shown::Hash(Box::new(hmac::Key::new(hmac::HMAC_SHA256, &key)))
            }
        }
    }
}

/// Starts logging to standard error or journald. Called once, by the binary; what it returns is to be kept until the
/// end, and writes the last lines when it is dropped.
///
/// `RUST_LOG` overrides the level, for a developer's eyes.
///
/// # Errors
/// When the system has no thread for the log.
pub fn start_logging(format: LogFormat, level: tracing::Level) -> io::Result<Writer> {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(format!("waystation={level}")));
    let registry = tracing_subscriber::registry().with(filter);
    let (lines, writer) = Writer::start(io::stderr())?;
    let text = || {
        let lines = lines.clone();
        tracing_subscriber::fmt::layer()
            .with_writer(move || lines.clone())
            .with_target(false)
            .with_ansi(false)
    };
    // A second start in one process (tests) keeps the first subscriber.
    let _ = match (format, tracing_journald::layer()) {
        (LogFormat::Journald, Ok(journald)) => registry.with(journald).try_init(),
        (LogFormat::Json, _) => registry.with(text().json().flatten_event(true)).try_init(),
        (LogFormat::Text | LogFormat::Journald, _) => registry.with(text()).try_init(),
    };
    Ok(writer)
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Events")
    }
}

impl Events {
    /// Lines that show addresses as the configuration asks.
    #[must_use]
    pub fn new(addresses: LogAddresses) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(Shown::of(addresses))))
    }

    /// From now on lines show addresses in another way, those of every clone.
    pub fn show_addresses(&self, addresses: LogAddresses) {
        self.0.store(Arc::new(Shown::of(addresses)));
    }

    /// An address as this log shows it.
    #[must_use]
    pub fn address(&self, address: Option<&Address>) -> String {
        let Some(address) = address else { return "<>".into() };
        self.0.load().show(address.as_str())
    }

    /// A peer's words, or our own to one, cut, with the addresses in them as this log shows them.
    fn words(&self, text: &str) -> String {
        let shown = self.0.load();
        if matches!(**shown, Shown::Full) || !text.contains('@') {
            return cut(text);
        }
        let is_part = |c: char| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.@".contains(c);
        let mut told = String::new();
        for piece in text.split_inclusive(|c| !is_part(c)) {
            let word = piece.trim_end_matches(|c| !is_part(c));
            // A sentence's full stop isn't the address's.
            let address = word.trim_matches('.');
            match address.split_once('@') {
                Some((local, domain)) if !local.is_empty() && !domain.is_empty() => {
                    told += &piece.replacen(address, &shown.show(address), 1);
                }
                _ => told += piece,
            }
        }
        cut(&told)
    }

    fn reply(&self, reply: &Reply) -> String {
        self.words(&reply.to_string())
    }

    // ---- the daemon ----

    /// The daemon is up.
    pub fn started(&self, version: &str, config: &Path, state_dir: &Path) {
        info!(version, config = %config.display(), state_dir = %state_dir.display(), "waystation started");
    }

    /// A socket takes connections.
    pub fn listening(&self, address: &dyn Display, tls: TlsMode) {
        info!(%address, tls = %tls.as_str(), "listener opened");
    }

    /// The previous run didn't end by itself.
    pub fn unclean_start(&self) {
        warn!("previous run was killed: messages that were in flight then may arrive twice");
    }

    /// Something in the configuration is allowed, but probably not meant.
    pub fn config_warning(&self, complaint: &dyn Display) {
        warn!(complaint = %in_one_line(complaint), "configuration doubtful");
    }

    /// systemd passed a socket that no listener names.
    pub fn unanswered(&self, socket: &str, advice: &str) {
        warn!(socket, advice, "nobody answers at a socket that systemd passed");
    }

    /// A new configuration is in force.
    pub fn reloaded(&self, generation: u64, changes: &[String]) {
        if changes.is_empty() {
            info!(generation, "configuration reloaded, nothing changed");
        }
        for change in changes {
            info!(generation, change, "configuration reloaded");
        }
    }

    /// A message to an inbox was read.
    pub fn interpreted(&self, id: QueueId, lane: &LaneName, told: &str) {
        info!(queue_id = %id, lane = %lane, told, "forwarded message read");
    }

    /// A bounce names a message that we sent, and nobody that we sent it to.
    pub fn bounce_disbelieved(&self, id: QueueId, about: QueueId) {
        warn!(queue_id = %id, about = %about, "bounce ignored: it names nobody whom that message was sent to");
    }

    /// A message to an inbox can't be read by our own mistake.
    pub fn not_interpreted(&self, id: QueueId) {
        error!(queue_id = %id, "forwarded message could not be interpreted and is held; please report it");
    }

    /// An inbox's mail can't be read now.
    pub fn inbox_waits(&self, lane: &LaneName, cause: &str) {
        error!(lane = %lane, cause, "forwarded mail waits");
    }

    /// Forwarded mail is nobody's without DNS, and waits for it.
    pub fn inbox_waits_for_dns(&self, id: QueueId, lane: &LaneName, next: &dyn Display) {
        warn!(%id, lane = %lane, next_attempt = %next, "forwarded mail waits for DNS");
    }

    /// What waited was routed anew by changed routes.
    pub fn rerouted(&self, messages: u64, parting: u64, on_their_way: u64) {
        info!(messages, parting, on_their_way, "queued mail follows the new routes");
    }

    /// What waits couldn't be routed anew; it stays where it is.
    pub fn not_rerouted(&self, cause: &dyn Display) {
        error!(%cause, "queued mail could not be routed anew; `waystation queue reroute` moves it");
    }

    /// The new configuration is wrong; the old one stays.
    pub fn reload_refused(&self, complaints: &dyn Display) {
        error!(complaints = %in_one_line(complaints), "configuration refused, the last good one stays");
    }

    /// Stopping began.
    pub fn stopping(&self, reason: &str) {
        info!(reason, "stopping");
    }

    /// Stopping ended.
    pub fn stopped(&self) {
        info!("stopped");
    }

    /// New connections wait because the process has no descriptors left.
    pub fn accept_paused(&self, cause: &std::io::Error) {
        error!(%cause, "accepting paused: raise LimitNOFILE or lower intake.max_connections");
    }

    // ---- sessions ----

    /// A client connected.
    pub fn connected(&self, session: u64, client: SocketAddr, listener: &dyn Display) {
        debug!(session, %client, %listener, "client connected");
    }

    /// A connection was refused before a session began.
    pub fn connection_refused(&self, client: IpAddr, why: &str) {
        warn!(%client, why, "connection refused");
    }

    /// A session ended.
    pub fn session_ended(&self, session: u64, why: &str, messages: u32) {
        debug!(session, why, messages, "session ended");
    }

    /// A client spoke the other TLS mode.
    pub fn wrong_tls_mode(&self, session: u64, client: IpAddr, advice: &str) {
        warn!(session, %client, advice, "client used the wrong TLS mode");
    }

    /// A TLS handshake with a client failed.
    pub fn handshake_failed(&self, session: u64, client: IpAddr, cause: &dyn Display) {
        warn!(session, %client, %cause, "TLS handshake failed");
    }

    /// A login was refused.
    pub fn login_failed(&self, session: u64, client: IpAddr, username: &str) {
        warn!(session, %client, username = escaped(username), "login refused");
    }

    /// A login wasn't looked at; the client was told to come again.
    pub fn login_postponed(&self, session: u64, client: IpAddr, username: &str, why: &str) {
        warn!(session, %client, username = escaped(username), why, "login postponed");
    }

    /// A command was refused.
    pub fn refused(&self, session: u64, client: IpAddr, reply: &Reply) {
        info!(session, %client, reply = %self.reply(reply), "request refused");
    }

    /// A tolerance that the listener names was used.
    pub fn tolerated(&self, session: u64, client: IpAddr, leniences: Leniences) {
        let Leniences { bare_lf, space_after_colon, missing_brackets } = leniences;
        info!(session, %client, bare_lf, space_after_colon, missing_brackets, "irregular input tolerated");
    }

    // ---- messages ----

    /// A message is on disk; its `250` follows.
    pub fn accepted(
        &self,
        session: u64,
        id: QueueId,
        lane: &LaneName,
        sender: Option<&Address>,
        size_bytes: u64,
    ) {
        info!(session, %id, %lane, sender = self.address(sender), size_bytes, "message accepted");
    }

    /// A client asked for something by a header field that we don't know.
    pub fn control_unknown(&self, session: u64, id: QueueId, field: &str) {
        warn!(session, %id, field = escaped(field), "unknown field removed: X-Waystation-Class, -Tag, -Send-At and -Meta-NAME are known");
    }

    /// A route dropped a message after its `250`.
    pub fn discarded(&self, session: u64, id: QueueId) {
        info!(session, %id, "message discarded by a route");
    }

    /// The queue could not take a message.
    pub fn not_kept(&self, session: u64, cause: &dyn Display) {
        error!(session, %cause, "message not kept");
    }

    /// `intake.memory` had no room for a message's header section for too long.
    pub fn too_busy(&self, session: u64) {
        warn!(session, "message refused: more content in flight than intake.memory");
    }

    /// A smarthost took a message for a recipient.
    pub fn delivered(&self, id: QueueId, lane: &LaneName, recipient: &Address, attempts: u32, reply: &Reply) {
        let recipient = self.address(Some(recipient));
        info!(%id, %lane, recipient, attempts, reply = %self.reply(reply), "message delivered");
    }

    /// A recipient will be tried again.
    pub fn deferred(
        &self,
        id: QueueId,
        lane: &LaneName,
        recipient: &Address,
        next: &dyn Display,
        reply: &Reply,
    ) {
        let recipient = self.address(Some(recipient));
        warn!(%id, %lane, recipient, next_attempt = %next, reply = %self.reply(reply), "message deferred");
    }

    /// A recipient will never be reached.
    pub fn failed(&self, id: QueueId, lane: &LaneName, recipient: &Address, reply: &Reply) {
        let recipient = self.address(Some(recipient));
        warn!(%id, %lane, recipient, reply = %self.reply(reply), "message failed");
    }

    /// A recipient's time ran out.
    pub fn expired(&self, id: QueueId, lane: &LaneName, recipient: &Address, reply: &Reply) {
        let recipient = self.address(Some(recipient));
        warn!(%id, %lane, recipient, reply = %self.reply(reply), "message expired");
    }

    /// A message whose smarthost can't take it goes by another one.
    pub fn moved(&self, id: QueueId, from: &LaneName, to: &LaneName, why: &str) {
        info!(%id, %from, %to, why = self.words(why), "message moved to a fallback");
    }

    /// A fallback doesn't take a message, and what is left of that goes back to its own smarthost.
    pub fn given_back(&self, id: QueueId, from: &LaneName, to: &LaneName, why: &str) {
        warn!(%id, %from, %to, why = self.words(why), "message given back by a fallback");
    }

    /// The connection broke behind the final dot.
    pub fn maybe_duplicate(&self, id: QueueId, lane: &LaneName) {
        warn!(%id, %lane, "no answer to the final dot: the next attempt may be a second copy");
    }

    /// A bounce or delay notice was written.
    pub fn notified(&self, id: QueueId, kind: &str) {
        info!(%id, kind, "sender notified");
    }

    /// A notice could not be queued.
    pub fn notice_lost(&self, id: QueueId, cause: &dyn Display) {
        error!(%id, %cause, "sender could not be notified");
    }

    /// The conversation of a mailbox's message could not be looked up: it goes out as the beginning of a new one.
    pub fn conversation_unknown(&self, id: QueueId, cause: &dyn Display) {
        warn!(%id, %cause, "conversation not looked up");
    }

    /// Reply tokens can't be made or believed.
    pub fn no_token_keys(&self, cause: &dyn Display) {
        error!(%cause, "keys of reply tokens not read; answers are asked for at mailboxes themselves");
    }

    /// Old mail of a lane could not be looked for; tried again in a minute.
    pub fn not_searched(&self, lane: &LaneName, cause: &dyn Display) {
        warn!(%lane, %cause, "queue not searched for mail of this lane");
    }

    /// A failure that nobody is told about, because the message has no sender or the sender didn't want it.
    pub fn not_notified(&self, id: QueueId, why: &str) {
        info!(%id, why, "sender not notified");
    }

    /// Content on disk can't be read, or isn't what was written; then the message is held.
    pub fn content_unreadable(&self, id: QueueId, cause: &dyn Display) {
        error!(%id, %cause, "content unreadable: see `waystation queue show`");
    }

    // ---- lanes ----

    /// A lane can't deliver; its mail waits.
    pub fn lane_stopped(&self, lane: &LaneName, cause: &str, advice: &str, next_probe: &dyn Display) {
        warn!(%lane, cause = self.words(cause), advice, next_probe = %next_probe, "lane stopped");
    }

    /// A smarthost refused the login; its mail waits for the operator.
    pub fn lane_frozen(&self, lane: &LaneName, cause: &str, advice: &str, next_probe: &dyn Display) {
        error!(%lane, cause = self.words(cause), advice, next_probe = %next_probe, "lane frozen");
    }

    /// Mail waits for a smarthost that isn't configured any more.
    pub fn smarthost_removed(&self, lane: &str, messages: u64) {
        error!(
            lane,
            messages,
            "smarthost removed, its mail is held: configure it again, move its mail with `waystation queue reroute --to`, or delete it"
        );
    }

    /// The smarthost takes less than it was given; heeded while the daemon runs.
    pub fn limit_learned(&self, lane: &LaneName, what: &str, most: usize) {
        info!(%lane, what, most, "limit of the smarthost learnt");
    }

    /// The smarthost lists CHUNKING and doesn't know BDAT; it gets DATA while the daemon runs.
    pub fn chunks_refused(&self, lane: &LaneName, reply: &Reply) {
        warn!(%lane, reply = %self.reply(reply), "smarthost lists CHUNKING and refuses BDAT; DATA is used");
    }

    /// The smarthost takes no lines of more than 998 octets; they are encoded while the daemon runs.
    pub fn long_lines_refused(&self, lane: &LaneName, reply: &Reply) {
        warn!(%lane, reply = %self.reply(reply), "smarthost refuses long lines; messages that have some are encoded for it");
    }

    /// A lane delivers again.
    pub fn lane_resumed(&self, lane: &LaneName) {
        info!(%lane, "lane resumed");
    }

    // ---- webhooks ----

    /// A webhook took an event.
    pub fn event_posted(&self, id: &EventId, endpoint: &LaneName, kind: &str, attempts: u32, answer: &str) {
        info!(%id, %endpoint, kind, attempts, answer = cut(answer), "event posted");
    }

    /// A webhook didn't take an event; it is tried again.
    pub fn event_deferred(
        &self,
        id: &EventId,
        endpoint: &LaneName,
        kind: &str,
        next: &dyn Display,
        answer: &str,
    ) {
        warn!(%id, %endpoint, kind, next_attempt = %next, answer = cut(answer), "event deferred");
    }

    /// A webhook never took an event.
    pub fn event_failed(&self, id: &EventId, endpoint: &LaneName, kind: &str, answer: &str) {
        error!(%id, %endpoint, kind, answer = cut(answer), "event given up: see `waystation events replay`");
    }

    /// A webhook says that it wants no more; its events wait.
    pub fn endpoint_disabled(&self, endpoint: &LaneName, answer: &str) {
        error!(%endpoint, answer = cut(answer), "endpoint disabled: see `waystation events enable`");
    }

    /// A webhook can't be reached; its events wait.
    pub fn endpoint_unreachable(&self, endpoint: &LaneName, cause: &str) {
        warn!(%endpoint, cause = cut(cause), "endpoint unreachable");
    }

    /// A webhook answers again.
    pub fn endpoint_reached(&self, endpoint: &LaneName) {
        info!(%endpoint, "endpoint reached again");
    }

    /// Kept events can't be read just now; tried again in a second.
    pub fn outbox_unreadable(&self, endpoint: &LaneName, cause: &dyn Display) {
        error!(%endpoint, %cause, "events unreadable");
    }

    /// A provider's question went on: confirmed, to be tried again, or for a human.
    pub fn verification(
        &self,
        verification: QueueId,
        inbox: &str,
        account: &str,
        state: VerificationState,
        answer: &str,
    ) {
        let account = escaped(account);
        let answer = cut(answer);
        match state {
            VerificationState::Confirmed => info!(%verification, inbox, account, "forwarding confirmed"),
            VerificationState::Confirming => {
                warn!(%verification, inbox, account, answer, "forwarding not confirmed yet");
            }
            VerificationState::ActionNeeded | VerificationState::Opened | VerificationState::Replaced => {
                error!(%verification, inbox, account, answer, "forwarding not confirmed");
            }
        }
    }

    /// A mailbox whose mail came regularly is silent.
    pub fn mailbox_silent(&self, mailbox: &str, last: jiff::Timestamp) {
        warn!(mailbox, %last, "mailbox fell silent");
    }

    /// Its mail comes again.
    pub fn mailbox_heard(&self, mailbox: &str) {
        info!(mailbox, "mailbox heard again");
    }

    /// What came of a provider's question couldn't be kept; it is tried again.
    pub fn verification_not_kept(&self, verification: QueueId, cause: &dyn Display) {
        error!(%verification, %cause, "verification not kept");
    }

    /// Something an admin should know of began.
    pub fn alert_began(&self, condition: &str, subject: &str, detail: &str) {
        error!(condition, subject, detail = cut(detail), "alert raised");
    }

    /// It is over.
    pub fn alert_ended(&self, condition: &str, subject: &str) {
        info!(condition, subject, "alert ended");
    }

    /// Nobody could be told of an alert.
    pub fn alert_untold(&self, way: &str, cause: &dyn Display) {
        error!(way, cause = cut(&cause.to_string()), "alert not delivered");
    }

    /// What was told can't be read or written: a restart may tell it again, or miss its end.
    pub fn alerts_not_kept(&self, cause: &dyn Display) {
        warn!(%cause, "alerts not kept: see alerts.json in state_dir");
    }

    /// Which smarthosts are told to be frozen can't be read or written: a restart may tell it again, or miss the end.
    pub fn frozen_not_kept(&self, cause: &dyn Display) {
        warn!(%cause, "frozen smarthosts not kept: see frozen.json in state_dir");
    }

    /// A connection to a smarthost is ready.
    pub fn smarthost_connected(&self, lane: &LaneName, peer: SocketAddr, tls: Option<&str>) {
        debug!(%lane, %peer, tls, "smarthost connected");
    }

    /// An access token was refused; it is fetched once more before that counts.
    pub fn token_fetched_again(&self, lane: &LaneName) {
        info!(%lane, "access token refused, fetched once more");
    }
}

/// Complaints without the lines of the file that they show below themselves: a record of the log is one line.
fn in_one_line(complaints: &dyn Display) -> String {
    let text = complaints.to_string();
    let told: Vec<&str> = text.lines().filter(|line| !line.starts_with(' ')).collect();
    told.join("; ")
}

fn cut(text: &str) -> String {
    let mut shown: String = text.chars().take(PEER_TEXT).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// Control characters and direction overrides as `\u{…}`, so that a name can't forge a line or hide its end.
fn escaped(text: &str) -> String {
    cut(text).chars().flat_map(char::escape_debug).collect()
}

/// A short, stable name for a configuration's text, shown beside its generation.
#[must_use]
pub fn fingerprint(text: &[u8]) -> String {
    digest::digest(&digest::SHA256, text)
        .as_ref()
        .iter()
        .take(6)
        .map(|octet| format!("{octet:02x}"))
        .collect()
}

/// The first `count` octets in hexadecimal.
fn hex(octets: &[u8], count: usize) -> String {
    let shown = octets.get(..count.min(octets.len())).unwrap_or_default();
    shown.iter().fold(String::new(), |text, octet| text + &format!("{octet:02x}"))
}
