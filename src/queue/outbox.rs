//! Kept events: what a webhook is to be told, in the transaction of what it tells of, until the webhook took it.
//!
//! An event gets its number (`seq`, from 1, without gaps within its endpoint), its name and its bytes in that
//! transaction and keeps them, so that every attempt is byte for byte the same. Within one conversation only the
//! oldest open event is ever due: the next one becomes due in the transaction that closes it. So the index over due
//! events is all that posting needs to look at, however many wait.
//!
//! Bodies stand in the index, in a table of their own: a change of state then doesn't rewrite them. That writes each
//! twice (log and table); events of 10 to 15 KiB at a thousand a second are 30 MB/s of writing, which is less than
//! the mail they are about, and they need no segment counts and no second sync.
//!
//! What can fail: reading, as [`QueueError`]. What was handed over is committed or tried again, like outcomes.

pub(super) mod reads;
pub(super) mod rows;
#[cfg(test)]
mod tests;

use super::inbox::Command;
use super::{Core, LaneName, NotAnId, Queue, QueueError, QueueId, asking};
use bytes::Bytes;
use jiff::Timestamp;
use parking_lot::Mutex;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use tokio::sync::{Notify, oneshot};

/// A posted event's body can be replayed for so long; that of a failed one as long as the journal is kept.
pub(super) const REPLAYABLE_MS: i64 = 24 * 3_600_000;
/// Events that a replay changes in one transaction.
const REPLAY_SLICE: usize = 500;

/// An event's name, the `webhook-id` of every attempt: `evt_` and a [`QueueId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(QueueId);

impl EventId {
    pub(super) const UNNAMED: Self = Self(QueueId::from_bits(0));

    pub(super) fn to_row(self) -> i64 {
        self.0.to_row()
    }

    pub(super) fn from_row(row: i64) -> Self {
        Self(QueueId::from_row(row))
    }
}

impl From<QueueId> for EventId {
    fn from(id: QueueId) -> Self {
        Self(id)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("evt_{}", self.0))
    }
}

impl FromStr for EventId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        text.strip_prefix("evt_").unwrap_or(text).parse().map(Self)
    }
}

impl Serialize for EventId {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// An event's bytes, but for the number that only its transaction knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventOctets {
    /// The number stands between these, in decimal.
    AroundSeq {
        /// Up to the number.
        before: Bytes,
        /// Behind it.
        after: Bytes,
        /// Where in `before` the event's name belongs, in a form that has a place for it.
        name_at: Option<usize>,
    },
    /// The form has no place for the number.
    Whole(Bytes),
}

impl EventOctets {
    fn len(&self) -> usize {
        match self {
            Self::AroundSeq { before, after, .. } => before.len() + after.len() + 25,
            Self::Whole(octets) => octets.len(),
        }
    }

    /// The bytes with this name and number in them.
    fn numbered(&self, id: EventId, seq: i64) -> Cow<'_, [u8]> {
        match self {
            Self::Whole(octets) => Cow::Borrowed(octets),
            Self::AroundSeq { before, after, name_at } => {
                let (head, rest) = before.split_at_checked(name_at.unwrap_or_default()).unwrap_or_default();
                let (name, seq) = (name_at.map(|_| id.to_string()).unwrap_or_default(), seq.to_string());
                Cow::Owned([head, name.as_bytes(), rest, seq.as_bytes(), after].concat())
            }
        }
    }
}

/// An event to be kept, in the transaction of what it tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// Which webhook is told.
    pub endpoint: LaneName,
    /// `message.delivered` and the like.
    pub kind: Cow<'static, str>,
    /// Events of one conversation are posted one after the other.
    pub conversation: Option<String>,
    /// Content-Type of the body.
    pub content_type: Cow<'static, str>,
    /// The body.
    pub octets: EventOctets,
    /// Given when it is handed over, so that a commit that is tried again doesn't keep it twice.
    id: EventId,
}

impl NewEvent {
    /// An event of which the queue doesn't know yet.
    #[must_use]
    pub fn new(
        endpoint: LaneName,
        kind: impl Into<Cow<'static, str>>,
        conversation: Option<String>,
        content_type: impl Into<Cow<'static, str>>,
        octets: EventOctets,
    ) -> Self {
        let (kind, content_type) = (kind.into(), content_type.into());
        Self { endpoint, kind, conversation, content_type, octets, id: EventId::UNNAMED }
    }

    pub(super) fn len(&self) -> usize {
        self.octets.len()
    }
}

/// An event that may be posted now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueEvent {
    /// Its name.
    pub id: EventId,
    /// `message.delivered` and the like.
    pub kind: String,
    /// Content-Type of its body.
    pub content_type: String,
    /// Attempts made so far.
    pub attempts: u32,
    /// Its body, as long as the page had room for it.
    pub body: Option<Bytes>,
}

/// What is due at one endpoint.
#[derive(Debug, Default)]
pub struct DuePage {
    /// Oldest due time first; at most one of each conversation.
    pub events: Vec<DueEvent>,
    /// When the first one behind them becomes due, as far as it is known now.
    pub next_due: Option<Timestamp>,
    /// Whether the receiver said `410` and nobody has enabled the endpoint since; nothing is due then.
    pub disabled: bool,
}

/// What an attempt to post came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posted {
    /// Which event.
    pub id: EventId,
    /// When it was decided.
    pub at: Timestamp,
    /// What the receiver answered, or why nothing came, on one line.
    pub answer: String,
    /// What becomes of the event.
    pub fate: PostFate,
    /// Until when the receiver asked to be spared.
    pub asked: Option<Timestamp>,
}

/// What becomes of the pause that a receiver asked for, when its endpoint is enabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// An admin wants it tried now.
    Ends,
    /// Nobody said so.
    Holds,
}

/// What becomes of an event behind an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostFate {
    /// It was taken.
    Done,
    /// It is tried again then.
    Later(Timestamp),
    /// It isn't tried again, unless somebody replays it.
    Failed,
    /// The endpoint wants no more (`410`): it is disabled, its events wait.
    Gone,
}

/// Where an event stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventState {
    /// To be posted, or posted again.
    Waiting,
    /// Taken by the receiver.
    Done,
    /// Given up; can be replayed.
    Failed,
}

/// An event, as `events list` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventEntry {
    /// Its name, the `webhook-id`.
    pub id: EventId,
    /// Whom it is for.
    pub endpoint: String,
    /// Its number there.
    pub seq: i64,
    /// `message.delivered` and the like.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it belongs to.
    pub conversation: Option<String>,
    /// Where it stands.
    pub state: EventState,
    /// When it was kept.
    pub created_at: Timestamp,
    /// Attempts made.
    pub attempts: u32,
    /// When it is due; none while an earlier one of its conversation is open, and when it is closed.
    pub next_attempt: Option<Timestamp>,
    /// The latest attempt.
    pub tried_at: Option<Timestamp>,
    /// What it was answered.
    pub answer: Option<String>,
    /// Its body's Content-Type.
    pub content_type: String,
    /// Its body's length in octets.
    pub size_bytes: u64,
}

/// Which events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventFilter {
    /// Only these; empty is any.
    pub ids: Vec<EventId>,
    /// Only this endpoint's.
    pub endpoint: Option<String>,
    /// Only in these states; empty is any.
    pub states: Vec<EventState>,
    /// Only of this type.
    pub kind: Option<String>,
}

/// What a replay did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replayed {
    /// Events that are due again.
    pub count: u64,
    /// Events whose body isn't kept any more.
    pub forgotten: u64,
    /// Whose events are due again; nobody outside of the daemon asks.
    #[serde(skip)]
    pub endpoints: BTreeSet<String>,
}

/// An endpoint's numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointTotals {
    /// Its name.
    pub name: LaneName,
    /// The latest number given out.
    pub seq: i64,
    /// Events to be posted.
    pub waiting: u64,
    /// Events given up.
    pub failed: u64,
    /// When the oldest waiting one was kept.
    pub oldest: Option<Timestamp>,
    /// When the next one is due.
    pub next_due: Option<Timestamp>,
    /// The latest answer.
    pub answer: Option<String>,
    /// When it came.
    pub answered_at: Option<Timestamp>,
    /// When it said `410`, if it is disabled.
    pub disabled_at: Option<Timestamp>,
}

/// What the writer is asked to change here.
#[derive(Debug)]
pub(super) enum Change {
    /// Keep these, for themselves.
    Announce(Vec<NewEvent>, Option<oneshot::Sender<()>>),
    /// Record an attempt; answered when it is committed.
    Posted(Posted, oneshot::Sender<()>),
    /// Make these due again.
    Replay(Vec<EventId>, oneshot::Sender<Result<Replayed, QueueError>>),
    /// Let a disabled endpoint's events go again; answered whether it was disabled.
    Enable(LaneName, Pause, oneshot::Sender<Result<bool, QueueError>>),
}

impl Change {
    /// Whether somebody waits for the commit. Whoever recorded an attempt waits, too, but is in no hurry: other events
    /// go meanwhile, and a commit for each would cost more than the posts themselves.
    pub(super) fn is_awaited(&self) -> bool {
        !matches!(self, Self::Announce(_, None) | Self::Posted(..))
    }

    /// Octets that it brings.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Announce(events, _) => events.iter().map(NewEvent::len).sum(),
            Self::Posted(..) | Self::Replay(..) | Self::Enable(..) => 0,
        }
    }
}

/// What a committed [`Change`] is answered with.
#[derive(Debug, Clone, Default)]
pub(super) struct Changed {
    pub(super) replayed: Replayed,
    pub(super) was_disabled: bool,
}

/// Tells whoever waits that a change is committed.
pub(super) fn tell(change: Change, changed: Changed) {
    // Whoever asked may have gone.
    match change {
        Change::Announce(_, None) => {}
        Change::Announce(_, Some(answer)) | Change::Posted(_, answer) => drop(answer.send(())),
        Change::Replay(_, answer) => drop(answer.send(Ok(changed.replayed))),
        Change::Enable(_, _, answer) => drop(answer.send(Ok(changed.was_disabled))),
    }
}

/// What a change becomes when the disk says no: given back to be tried again, or refused.
pub(super) fn refuse(change: Change, cause: &str) -> Option<Change> {
    let refusal = || QueueError::Index(cause.to_owned());
    match change {
        Change::Announce(..) | Change::Posted(..) => return Some(change),
        Change::Replay(_, answer) => drop(answer.send(Err(refusal()))),
        Change::Enable(_, _, answer) => drop(answer.send(Err(refusal()))),
    }
    None
}

/// Wakes the tasks of endpoints whose rows changed.
#[derive(Debug, Default)]
pub(super) struct Bells(Mutex<HashMap<LaneName, Arc<Notify>>>);

impl Bells {
    fn bell(&self, endpoint: &LaneName) -> Arc<Notify> {
        Arc::clone(self.0.lock().entry(endpoint.clone()).or_default())
    }

    pub(super) fn ring(&self, endpoint: &LaneName) {
        self.bell(endpoint).notify_one();
    }
}

/// One endpoint's door: what is due, and what became of it.
///
/// One task per endpoint has one: it remembers itself what it is posting.
#[derive(Debug, Clone)]
pub struct Outbox {
    core: Arc<Core>,
    name: LaneName,
    bell: Arc<Notify>,
    /// Opened when it is first used, and again behind an error.
    reader: Arc<Mutex<Option<Connection>>>,
}

impl Outbox {
    /// What is due at `now` beside those that are `claimed`: at most `limit` events, with 1 MiB of their bodies.
    ///
    /// # Errors
    /// [`QueueError::Index`] when the index can't be read.
    pub async fn due(
        &self,
        now: Timestamp,
        limit: usize,
        claimed: &HashSet<EventId>,
    ) -> Result<DuePage, QueueError> {
        let (name, claimed) = (self.name.clone(), claimed.clone());
        self.read(move |connection| reads::due(connection, &name, now, limit, &claimed)).await
    }

    /// An event's body; none when it isn't kept any more.
    ///
    /// # Errors
    /// As [`Outbox::due`].
    pub async fn body(&self, id: EventId) -> Result<Option<Bytes>, QueueError> {
        self.read(move |connection| reads::body(connection, id)).await
    }

    /// Until when the receiver asked to be spared, as far as attempts that are on disk tell.
    ///
    /// # Errors
    /// As [`Outbox::due`].
    pub async fn asked_until(&self) -> Result<Option<Timestamp>, QueueError> {
        let name = self.name.clone();
        self.read(move |connection| reads::asked_until(connection, &name)).await
    }

    /// Records an attempt; returns when that is on disk.
    pub async fn posted(&self, posted: Posted) {
        let (answer, done) = oneshot::channel();
        self.core.inbox.push(Command::Outbox(Change::Posted(posted, answer)));
        let _ = done.await;
    }

    /// Waits until something of this endpoint changed since the last wait.
    pub async fn changed(&self) {
        self.bell.notified().await;
    }

    async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, QueueError> {
        let (reader, index) = (Arc::clone(&self.reader), self.core.index.clone());
        asking(move || {
            let mut reader = reader.lock();
            let connection = match reader.take() {
                Some(connection) => connection,
                None => super::index::open_read_only(&index)?,
            };
            let answer = question(&connection)?;
            *reader = Some(connection);
            Ok(answer)
        })
        .await
    }
}

impl Queue {
    /// An endpoint's door.
    #[must_use]
    pub fn outbox(&self, endpoint: &LaneName) -> Outbox {
        let core = Arc::clone(&self.core);
        let bell = core.bells.bell(endpoint);
        Outbox { core, name: endpoint.clone(), bell, reader: Arc::default() }
    }

    /// An id for something that is posted without being kept.
    #[must_use]
    pub fn event_id(&self) -> EventId {
        EventId(self.core.ids.next(self.core.clock.now()))
    }

    /// Keeps events that tell of no message, soon: handed over when it returns, on disk behind the next flush.
    pub fn announce(&self, mut events: Vec<NewEvent>) {
        self.name(&mut events);
        if !events.is_empty() {
            self.core.inbox.push(Command::Outbox(Change::Announce(events, None)));
        }
    }

    /// As [`Queue::announce`], and returns when they are on disk.
    pub async fn announce_now(&self, mut events: Vec<NewEvent>) {
        self.name(&mut events);
        let (answer, done) = oneshot::channel();
        self.core.inbox.push(Command::Outbox(Change::Announce(events, Some(answer))));
        let _ = done.await;
    }

    /// Gives events their names.
    pub(super) fn name(&self, events: &mut [NewEvent]) {
        for event in events {
            event.id = self.event_id();
        }
    }

    /// Events that match, oldest first, at most `limit`, behind `after`.
    ///
    /// # Errors
    /// [`QueueError::Index`] when the index can't be read.
    pub async fn events(
        &self,
        filter: EventFilter,
        limit: usize,
        after: Option<EventId>,
    ) -> Result<Vec<EventEntry>, QueueError> {
        self.read_events(move |connection| reads::list(connection, &filter, limit, after)).await
    }

    /// One event and its body; none when it isn't known. The body may be forgotten.
    ///
    /// # Errors
    /// As [`Queue::events`].
    pub async fn event(&self, id: EventId) -> Result<Option<(EventEntry, Option<Bytes>)>, QueueError> {
        self.read_events(move |connection| {
            let filter = EventFilter { ids: vec![id], ..EventFilter::default() };
            let found = reads::list(connection, &filter, 1, None)?.pop();
            found.map(|entry| Ok((entry, reads::body(connection, id)?))).transpose()
        })
        .await
    }

    /// The numbers of every endpoint that ever had an event.
    ///
    /// # Errors
    /// As [`Queue::events`].
    pub async fn endpoints(&self) -> Result<Vec<EndpointTotals>, QueueError> {
        self.read_events(reads::endpoints).await
    }

    /// Makes events due again, with the same name and the same bytes: those that failed, those that were posted
    /// within a day, and those that wait for their next attempt. A pause that their receivers asked for is over.
    ///
    /// # Errors
    /// As [`Queue::events`]; some may be due again then.
    pub async fn replay(&self, filter: EventFilter) -> Result<Replayed, QueueError> {
        let mut all = Replayed::default();
        let mut after = None;
        loop {
            let page = self.events(filter.clone(), REPLAY_SLICE, after).await?;
            let Some(last) = page.last() else { return Ok(all) };
            after = Some(last.id);
            let (answer, done) = oneshot::channel();
            let ids = page.iter().map(|event| event.id).collect();
            self.core.inbox.push(Command::Outbox(Change::Replay(ids, answer)));
            let replayed = done.await.map_err(|_| QueueError::Closed)??;
            all.count += replayed.count;
            all.forgotten += replayed.forgotten;
            all.endpoints.extend(replayed.endpoints);
        }
    }

    /// Lets a disabled endpoint's events go again; whether it was disabled.
    ///
    /// # Errors
    /// [`QueueError::Index`] when that can't be written.
    pub async fn enable(&self, endpoint: &LaneName, pause: Pause) -> Result<bool, QueueError> {
        let (answer, done) = oneshot::channel();
        self.core.inbox.push(Command::Outbox(Change::Enable(endpoint.clone(), pause, answer)));
        done.await.map_err(|_| QueueError::Closed)?
    }

    async fn read_events<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, QueueError> {
        let index = self.core.index.clone();
        asking(move || Ok(question(&super::index::open_read_only(&index)?)?)).await
    }
}
