//! The control socket between the daemon and the command line: `state_dir/admin.sock`, mode 0600.
//!
//! One JSON object a line in each direction, answered in order. Whoever can open the socket may do everything,
//! so its permissions, and its peer's user (`SO_PEERCRED`), are the whole access control.

pub mod events;
pub mod inboxes;
mod elsewhere;

pub use elsewhere::state_dir_of;
pub use events::EventsRequest;
pub use inboxes::InboxRequest;

use crate::deliver::guests::Needs;
use crate::deliver::webhook::EndpointStatus;
use crate::message::envelope::Class;
use crate::queue::{self, Adjust, Filter, LaneName, QueueId};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

/// The socket's name.
const SOCKET: &str = "admin.sock";
/// A request longer than this is no request.
const MAX_REQUEST: u64 = 64 * 1024;
/// How long the command line waits for an answer: longer than the daemon takes to stop.
const ANSWER_LIMIT: Duration = Duration::from_mins(1);

/// What the command line may ask.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// How it is; answered by [`Status`].
    Status,
    /// One page of messages, answered by a list of [`crate::queue::Entry`], oldest first.
    Query {
        /// Which.
        filter: Filter,
        /// At most so many.
        limit: usize,
        /// Only those behind this one.
        after: Option<QueueId>,
    },
    /// Changes messages; answered by [`crate::queue::Adjusted`].
    Adjust {
        /// Which.
        filter: Filter,
        /// How.
        action: Adjust,
    },
    /// Which applications are configured; answered by a list of their names.
    Applications,
    /// The largest message that a smarthost is given; answered by its `max_size` in octets, or null.
    MaxSize {
        /// The smarthost.
        lane: LaneName,
    },
    /// A message's whole life; answered by [`crate::queue::Life`], or null.
    Life {
        /// Which.
        id: QueueId,
    },
    /// How mail would fare in a lane if it came now; answered by [`Outlook`], or null when there is no such lane.
    Outlook {
        /// The smarthost.
        lane: LaneName,
        /// Its class.
        class: Class,
        /// How many messages.
        messages: u64,
        /// To how many recipients in all.
        recipients: u64,
        /// Smarthosts that may stand in and accept it by their settings, in order.
        accepting: Vec<LaneName>,
        /// When it may leave, if it asks for a time.
        #[serde(default)]
        due: Option<Timestamp>,
        /// What it needs of a smarthost that stands in.
        #[serde(default)]
        needs: Needs,
    },
    /// A test letter is about to leave through a smarthost; answered by [`Charged`]. It is in flight until the connection
    /// closes.
    Charge {
        /// The smarthost.
        lane: LaneName,
    },
    /// Answered by null; what follows on this connection is SMTP, from a client on this machine that is trusted.
    Submit,
    /// Something about kept events.
    Events(EventsRequest),
    /// Something about inboxes and mailboxes.
    Inbox(InboxRequest),
    /// Reads the configuration again; answered by a list of sentences.
    Reload,
    /// Ends the daemon; answered when stopping has begun, the connection closes when it is over.
    Stop,
}

/// The daemon, as `status` shows it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Status {
    /// Process id.
    pub pid: u32,
    /// Program version.
    pub version: String,
    /// Start, RFC 3339.
    pub started_at: String,
    /// The configuration in force.
    pub configuration: Configuration,
    /// Where it listens.
    pub listeners: Vec<String>,
    /// Sockets that systemd passed and no listener names: nobody answers there.
    #[serde(default)]
    pub unanswered: Vec<String>,
    /// Sessions open now.
    pub sessions: usize,
    /// Octets of queued content.
    pub spool_bytes: u64,
    /// Why intake refuses mail now, if it does.
    pub intake_refused: Option<String>,
    /// Why nothing can be recorded now, and so nothing leaves, if that is so.
    #[serde(default)]
    pub disk_refusal: Option<String>,
    /// Every lane that exists, by name.
    pub lanes: Vec<LaneStatus>,
    /// Every webhook's queue, by name.
    pub endpoints: Vec<EndpointStatus>,
}

/// What to do about a socket that systemd passed and no listener names.
#[must_use]
pub fn unanswered(name: &str) -> String {
    format!(
        "no listener names it, and clients wait there in vain; add a [[listener]] with address = \"fd:{name}\", or take it out of \
         the socket unit"
    )
}

/// Which configuration is in force.
#[derive(Debug, Serialize, Deserialize)]
pub struct Configuration {
    /// The file.
    pub file: PathBuf,
    /// Counts from 1, one more for each reload that was taken.
    pub generation: u64,
    /// First digits of the file's SHA-256.
    pub fingerprint: String,
    /// When it was taken, RFC 3339.
    pub loaded_at: String,
    /// Why the latest reload was refused, if it was.
    pub refused: Option<String>,
}

/// One lane, as `status` shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LaneStatus {
    /// The smarthost's name.
    pub lane: String,
    /// `flowing`, `stopped`, `frozen`, `disabled` or `removed`.
    pub state: String,
    /// Why it doesn't flow.
    pub reason: Option<String>,
    /// What to do about it.
    pub advice: Option<String>,
    /// When it is tried next, RFC 3339.
    pub next_probe: Option<String>,
    /// Open connections.
    pub connections: usize,
    /// Connections at once that the smarthost was seen to allow, if fewer than configured.
    pub learned_connections: Option<usize>,
    /// Recipients of one transaction that the smarthost was seen to allow.
    pub learned_recipients: Option<usize>,
    /// Recipients never tried.
    pub queued: u64,
    /// Recipients to be tried again.
    pub deferred: u64,
    /// Recipients that wait for an admin.
    pub held: u64,
    /// When the next one goes, RFC 3339.
    pub next_due: Option<String>,
    /// What normal and bulk mail may still send now, by the limit that leaves the least; none without limits.
    #[serde(default)]
    pub quota_left: Option<u64>,
    /// When all that waits now and isn't held will have left by the limits, what is due later included, RFC 3339; none
    /// while it doesn't flow, or without limits when all of it is due.
    #[serde(default)]
    pub empty_by: Option<String>,
    /// What the provider is known to allow, in words; none if it isn't known.
    #[serde(default)]
    pub known_limits: Option<String>,
    /// Limits that are in force because they are known of the provider, in words; none if there are none.
    #[serde(default)]
    pub defaults: Option<String>,
    /// How each limit stands.
    #[serde(default)]
    pub limits: Vec<LimitStatus>,
    /// Smarthosts that may take its mail over; no time here counts that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallback: Vec<String>,
    /// Of an inbox: its mailboxes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mailboxes: Vec<MailboxAddress>,
}

/// A mailbox of an inbox, as `status` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailboxAddress {
    /// Its name.
    pub mailbox: String,
    /// Its own address.
    pub address: String,
    /// Where it is to forward to: `inbox+TOKEN@…`.
    pub forward_to: String,
}

impl LaneStatus {
    /// The lane of an inbox that left the configuration.
    pub(crate) fn removed_inbox(lane: String) -> Self {
        let reason = Some("no inbox of this name is configured".to_owned());
        let advice = Some("configure it again, or delete its mail".to_owned());
        Self { state: "removed".into(), reason, advice, ..Self::inbox(lane, None) }
    }

    /// The lane of an inbox, and why its mail can't be read.
    pub(crate) fn inbox(lane: String, trouble: Option<String>) -> Self {
        Self {
            lane,
            state: if trouble.is_some() { "stopped" } else { "flowing" }.into(),
            advice: trouble.as_ref().map(|_| "mend the secret file, then `waystation reload`".into()),
            reason: trouble,
            next_probe: None,
            connections: 0,
            learned_connections: None,
            learned_recipients: None,
            queued: 0,
            deferred: 0,
            held: 0,
            next_due: None,
            limits: Vec::new(),
            fallback: Vec::new(),
            quota_left: None,
            empty_by: None,
            known_limits: None,
            defaults: None,
            mailboxes: Vec::new(),
        }
    }
}

/// One limit of a lane, as `status` shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LimitStatus {
    /// The setting: `per_day`, `batch` and so on.
    pub limit: String,
    /// The provider that is known for it, where it is a default and nobody wrote it.
    #[serde(default)]
    pub default_of: Option<String>,
    /// Most in its window.
    pub most: u64,
    /// What of it is used: sent within the window, or on its way.
    pub used: u64,
    /// What the classes normal and bulk may still send now.
    pub left: u64,
    /// What class priority may still send now.
    pub left_for_priority: u64,
    /// When the next message of class normal may go, RFC 3339; none when one may go now.
    pub next: Option<String>,
}

/// Whether a letter may leave past the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Charged {
    /// It counts against the limits.
    Counted,
    /// The limits let nothing go before this time, RFC 3339; none: ask again.
    Spent(Option<String>),
    /// The daemon knows no smarthost of this name.
    Unknown,
}

/// How mail would fare in a lane if it came now: what the reply to it would say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outlook {
    /// When the last of it is tried, RFC 3339: if none, at once or when it may leave.
    pub expected: Option<String>,
    /// By which of the smarthosts that may stand in, if it leaves by one.
    pub leaves_by: Option<String>,
    /// Why it looks for another way, if it does.
    pub stuck: Option<String>,
    /// Whether mail of another lane could go by this one, within a minute.
    pub has_room: bool,
    /// What of it the smarthost is known not to take.
    #[serde(default)]
    pub refuses: Option<String>,
}

/// Why a request failed: a sysexits code and a sentence.
#[derive(Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{text}")]
pub struct AdminError {
    /// For the exit.
    pub code: u8,
    /// For the user.
    pub text: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Ok(Value),
    Error(AdminError),
}

/// Where the socket is.
#[must_use]
pub fn socket(state_dir: &Path) -> PathBuf {
    state_dir.join(SOCKET)
}

// ---- the daemon's side ----

/// Binds the socket, in place of one that a killed daemon left. The caller holds the lock on `state_dir`, so
/// nobody else can be listening there.
///
/// # Errors
/// When the socket can't be made.
pub fn bind(state_dir: &Path) -> io::Result<UnixListener> {
    let path = socket(state_dir);
    match std::fs::remove_file(&path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
        _ => {}
    }
    // The folder is 0700, so nobody gets at the socket between these two lines.
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers one connection until it closes, or until it is to be an SMTP session and is handed back. `obey` does what
/// is asked.
pub async fn serve<F>(
    socket: tokio::net::UnixStream,
    obey: impl Fn(Request) -> F,
) -> Option<tokio::net::UnixStream>
where
    F: Future<Output = Result<Value, AdminError>>,
{
    let ours = rustix::process::geteuid().as_raw();
    if !socket.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == ours) {
        return None;
    }
    let (read, mut write) = socket.into_split();
    let mut read = tokio::io::BufReader::new(read);
    loop {
        let mut line = String::new();
        match (&mut read).take(MAX_REQUEST).read_line(&mut line).await {
            Ok(count) if count > 0 => {}
            _ => return None,
        }
        let answer = match serde_json::from_str(&line) {
            Ok(Request::Submit) => {
                write.write_all(b"{\"ok\":null}\n").await.ok()?;
                return read.into_inner().reunite(write).ok();
            }
            Ok(request) => match obey(request).await {
                Ok(value) => Answer::Ok(value),
                Err(error) => Answer::Error(error),
            },
            Err(cause) => Answer::Error(AdminError {
                code: crate::cli::OUR_BUG,
                text: format!("the daemon didn't understand the request ({cause}); are both of one version?"),
            }),
        };
        let Ok(mut text) = serde_json::to_vec(&answer) else { return None };
        text.push(b'\n');
        if write.write_all(&text).await.is_err() {
            return None;
        }
    }
}

// ---- the command line's side ----

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    /// How long an answer may take.
    limit: Duration,
}

impl Client {
    /// Connects to the daemon that owns `state_dir`.
    ///
    /// # Errors
    /// When there is none, or this user may not talk to it.
    pub fn connect(state_dir: &Path) -> Result<Self, AdminError> {
        let path = socket(state_dir);
        let stream = UnixStream::connect(&path).map_err(|cause| match cause.kind() {
            io::ErrorKind::PermissionDenied => AdminError {
                code: crate::cli::NOT_ALLOWED,
                text: format!(
                    "waystation: {}: permission denied; run this as the daemon's user or root",
                    path.display()
                ),
            },
            _ => AdminError { code: crate::cli::UNAVAILABLE, text: no_listener(state_dir, &path, &cause) },
        })?;
        stream.set_read_timeout(Some(ANSWER_LIMIT)).map_err(|cause| lost(&cause, ANSWER_LIMIT))?;
        Ok(Self { stream: BufReader::new(stream), limit: ANSWER_LIMIT })
    }

    /// The user who began to listen there.
    #[must_use]
    pub fn user(&self) -> Option<u32> {
        let peer = rustix::net::sockopt::socket_peercred(self.stream.get_ref()).ok()?;
        Some(peer.uid.as_raw())
    }

    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// The daemon's refusal, or a lost connection.
    pub fn ask<T: DeserializeOwned>(&mut self, request: &Request) -> Result<T, AdminError> {
        let odd = |cause: serde_json::Error| AdminError {
            code: crate::cli::OUR_BUG,
            text: format!(
                "waystation: the daemon's answer makes no sense ({cause}); are both of one version?"
            ),
        };
        let mut text = serde_json::to_vec(request).map_err(odd)?;
        text.push(b'\n');
        let lost = |cause: io::Error| lost(&cause, self.limit);
        self.stream.get_mut().write_all(&text).map_err(lost)?;
        let mut line = String::new();
        if self.stream.read_line(&mut line).map_err(lost)? == 0 {
            return Err(lost(io::Error::from(io::ErrorKind::UnexpectedEof)));
        }
        match serde_json::from_str(&line).map_err(odd)? {
            Answer::Ok(value) => serde_json::from_value(value).map_err(odd),
            Answer::Error(error) => Err(error),
        }
    }

    /// Makes the connection an SMTP session, if the answer comes within `limit`: what comes next on it is the daemon's
    /// greeting, some of which may be buffered already.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn submit(mut self, limit: Duration) -> Result<BufReader<UnixStream>, AdminError> {
        self.limit = limit;
        self.stream.get_ref().set_read_timeout(Some(limit)).map_err(|cause| lost(&cause, limit))?;
        let (): () = self.ask(&Request::Submit)?;
        Ok(self.stream)
    }

    /// Waits until the daemon has gone.
    pub fn wait_until_closed(mut self) {
        // Closed or timed out: either way there is nothing more to wait for.
        let _ = self.stream.read_line(&mut String::new());
    }
}

/// Nobody listens there; who has the queue all the same is told.
fn no_listener(state_dir: &Path, path: &Path, cause: &io::Error) -> String {
    let path = path.display();
    match queue::holder(state_dir) {
        Some(pid) => format!(
            "waystation: process {pid} has the queue, and doesn't answer at {path} ({cause}): it starts or ends just now; or \
             somebody deleted that socket, and a restart of the daemon makes it again"
        ),
        None => format!(
            "waystation: no daemon answers at {path} ({cause}); start it with `waystation run`, or name its configuration \
             with --config"
        ),
    }
}

fn lost(cause: &io::Error, limit: Duration) -> AdminError {
    let text = match cause.kind() {
        // A read that timed out (SO_RCVTIMEO).
        io::ErrorKind::WouldBlock => format!(
            "waystation: the daemon has the question and didn't answer within {} s: it may be stopped, or wait for a disk; try \
             again, and see its log",
            limit.as_secs()
        ),
        _ => format!("waystation: lost the daemon in mid-sentence: {cause}"),
    };
    AdminError { code: crate::cli::TRY_LATER, text }
}
