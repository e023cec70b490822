//! How mail is kept: five verbs, `keep`, `claim`, `settle`, `adjust`, `query`.
//!
//! `state_dir/queue.db` (SQLite) is the one index of truth; content stands in append-only segment files under
//! `state_dir/content/`. One writer thread commits for everybody: content synced first, then all rows in one
//! transaction, then the answers. A reader thread fills the lanes' windows; questions of the operator open
//! connections of their own.
//!
//! What it promises:
//! - [`Queue::keep`] returns when message and envelope survive a power cut, or with an error and nothing kept.
//! - What is handed out as due is on disk as claimed: after a crash whatever wasn't settled is due again, what was
//!   claimed is marked [`Due::maybe_duplicate`], and its journal says why. Messages are claimed a little ahead of
//!   their attempt, so that some of those marked never left.
//! - No lane sends more than its [`limits`] allow in any window, over restarts, crashes and clocks that are set. What
//!   is claimed counts, and what a smarthost may have taken counts from the record of its outcome on ([`ledger`]).
//! - A settled outcome is durable when [`Queue::flush`] was answered; [`Queue::settle`] itself doesn't wait for it.
//! - Damaged content is never handed out as mail ([`Damaged::is_in`]); [`Queue::set_aside`] holds its message. One file
//!   that can't be read is told from a queue that can't ([`Unreadable::is_in`]).
//! - Due times are wall-clock. When the clock is set back, waits between attempts are kept: due times of deferred
//!   messages fall back with it, what was due stays due, and a time that a client asked for stays as it was. When it is
//!   set forward, no mail grows old by it ([`Queue::leapt_since`]).
//!
//! Errors are sorted by whom to blame in [`error`].

pub mod id;
pub mod work;
pub mod entry;
pub mod error;
pub mod schedule;
pub mod waiting;
pub mod limits;
mod drain;
pub mod ledger;
mod budget;
mod draft;
pub mod record;
mod content;
mod inbox;
mod append;
mod writer;
mod index;
mod store;
mod lane;
mod leaps;
mod window;
mod expiry;
mod starts;
mod agenda;
mod quota;
mod reader;
mod journal;
mod pattern;
pub mod outbox;
pub mod forwarding;
pub mod memory;
pub mod forecast;
pub mod kept;
mod room;
mod patience;
mod reserve;
mod folder;
mod open;
pub mod salvage;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use budget::Shares;
pub use content::{Disk, SystemDisk};
pub use draft::Draft;
pub use entry::{
    Adjust, Adjusted, Entry, Filter, Happening, Kind, Life, RecipientEntry, Standing, State, Totals,
};
pub use error::{Damaged, KeepError, QueueError, Unreadable};
pub use folder::holder;
pub use forwarding::{Arrivals, Probe, Progress, Silence, Verification, VerificationState};
pub use id::{LaneName, NotAnId, QueueId};
pub use lane::{Lane, Mark};
pub use memory::{Knowledge, Memory, News, Place};
pub use outbox::{EventEntry, EventFilter, EventId, EventOctets, EventState, NewEvent, Outbox};
pub use salvage::{Kept, Salvaged, Spoilt, Unknown, salvage};
pub use store::MAILBOX;
pub use work::{Content, Due, Fate, Held, Location, Notes, Notice, Open, Outcome, Part, Receipt, Submission};

use crate::clock::Clock;
use crate::message::envelope::Class;
use arc_swap::ArcSwap;
use bytes::Bytes;
use draft::Body;
use inbox::{Command, Inbox, Keep};
use jiff::{SignedDuration, Timestamp};
use limits::{Mixed, Units};
use open::Running;
use parking_lot::{Mutex, RwLock};
use std::collections::HashMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use store::Counts;
use tokio::sync::oneshot;
use window::Window;

/// Messages that an adjustment changes in one transaction, so that mail flows in between.
const ADJUST_SLICE: usize = 1_000;
/// What waits or is held of inboxes may take one of so many parts of `max_size` by what names no mailbox.
const INBOX_SHARE: u64 = 4;
/// How long [`Queue::close`] waits for a disk that doesn't answer.
const LAST_WAIT: Duration = Duration::from_secs(8);

/// What the queue needs to know of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSettings {
    /// Queue, journal and content.
    pub state_dir: PathBuf,
    /// Octets of content in flight that may stand in memory.
    pub memory: u64,
    /// Octets that the spool may take on disk.
    pub max_size: u64,
    /// Free octets on the disk below which nothing is accepted.
    pub min_free: u64,
    /// How long finished messages stay in the journal.
    pub journal_keep: Duration,
}

/// What handles and threads share.
#[derive(Debug)]
struct Core {
    settings: ArcSwap<QueueSettings>,
    clock: Clock,
    ids: id::Ids,
    segments: Arc<content::Segments>,
    inbox: Arc<Inbox>,
    shared: Arc<lane::Shared>,
    lanes: Mutex<HashMap<LaneName, Arc<Window>>>,
    totals: Mutex<HashMap<LaneName, Counts>>,
    /// Held while what ended leaves the counts and the lanes: in between it is in neither.
    ending: RwLock<()>,
    /// Of these, what isn't due yet.
    agendas: Mutex<HashMap<LaneName, agenda::Agenda>>,
    bells: outbox::Bells,
    recent: memory::Recent,
    content_bytes: AtomicU64,
    prunable: AtomicBool,
    room: room::Room,
    /// Since when the disk refuses what is to be recorded, and its words.
    refusal: Mutex<Option<(Timestamp, String)>>,
    budget: Arc<budget::Budget>,
    index: PathBuf,
    /// The index's device and inode.
    index_file: (u64, u64),
    unclean: bool,
}

impl Core {
    /// Whether the index isn't the file any more that was opened.
    fn is_index_gone(&self) -> bool {
        std::fs::metadata(&self.index).map_or(true, |found| (found.dev(), found.ino()) != self.index_file)
    }

    /// A lane's window; a new lane has nothing on disk, because those that have were made at the start.
    fn window(&self, name: &LaneName) -> Arc<Window> {
        let mut lanes = self.lanes.lock();
        if let Some(window) = lanes.get(name) {
            return Arc::clone(window);
        }
        let window = Window::new(name.clone(), Arc::clone(&self.shared), false);
        lanes.insert(name.clone(), Arc::clone(&window));
        window
    }

    /// What is due in a lane in a class and those before it, what is being delivered included.
    fn waiting_up_to(&self, lane: &LaneName, class: Class) -> Mixed {
        let counts = self.totals.lock().get(lane).copied().unwrap_or_default();
        let now = self.clock.now().as_millisecond();
        let mut agendas = self.agendas.lock();
        let mut agenda = agendas.get_mut(lane);
        let mut up_to = |class: Class| {
            let later = agenda.as_mut().map(|agenda| agenda.later_up_to(class, now));
            counts.waiting_up_to(class).minus(later.unwrap_or_default())
        };
        Mixed { all: up_to(class), priority: up_to(Class::Priority) }
    }
}

/// The queue. Cloning gives another handle.
///
/// The last handle dropped without [`Queue::close`] is, to the disk, a crash: what was kept is kept, outcomes that
/// weren't committed yet are lost.
#[derive(Clone, Debug)]
pub struct Queue {
    core: Arc<Core>,
    running: Arc<Mutex<Option<Guard>>>,
}

/// Ends the threads when the last handle goes.
#[derive(Debug)]
struct Guard(Option<Running>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(running) = self.0.take() {
            running.core.inbox.abandon();
            end(running);
        }
    }
}

/// Waits for both threads, then gives the lock back.
fn end(running: Running) {
    let _ = running.refills.send(lane::Refill::Stop);
    for thread in running.threads {
        let _ = thread.join();
    }
    for lane in running.core.lanes.lock().values() {
        lane.wake();
    }
    drop(running.folder);
}

impl Queue {
    /// Opens the queue in `settings.state_dir`, creating what is missing.
    ///
    /// # Errors
    /// One for each thing an operator can put right: see [`QueueError`]. Nothing was changed then.
    pub fn open(settings: QueueSettings, clock: Clock) -> Result<Self, QueueError> {
        Self::open_on(settings, clock, Arc::new(SystemDisk))
    }

    /// As [`Queue::open`], with content files written through `disk`: a test's may fail.
    ///
    /// # Errors
    /// As [`Queue::open`].
    pub fn open_on(settings: QueueSettings, clock: Clock, disk: Arc<dyn Disk>) -> Result<Self, QueueError> {
        let running = open::open(settings, clock, disk)?;
        let core = Arc::clone(&running.core);
        Ok(Self { core, running: Arc::new(Mutex::new(Some(Guard(Some(running))))) })
    }

    /// Whether the last daemon on this folder didn't close it: killed, or a power cut.
    #[must_use]
    pub fn was_unclean(&self) -> bool {
        self.core.unclean
    }

    /// Follows new settings; `state_dir` can't change while open.
    pub fn change(&self, mut settings: QueueSettings) {
        let core = &self.core;
        core.budget.resize(settings.memory);
        core.shared.content_limit.store(settings.memory / 4, Ordering::Relaxed);
        settings.state_dir.clone_from(&core.settings.load().state_dir);
        core.settings.store(Arc::new(settings));
        core.prunable.store(true, Ordering::Relaxed);
        core.room.forget();
    }

    /// Whether there is room for a message of so many octets, 0 where that isn't known; cheap enough for every `MAIL`.
    ///
    /// # Errors
    /// [`KeepError::DiskFull`] below `min_free` or above `max_size`.
    pub fn room(&self, octets: u64) -> Result<(), KeepError> {
        let core = &self.core;
        core.room.check(&core.settings.load(), &core.content_bytes, octets)
    }

    /// Why [`Queue::room`] has none for any message, with figures; none while it has.
    #[must_use]
    pub fn lack(&self) -> Option<String> {
        let core = &self.core;
        core.room.lack(&core.settings.load(), &core.content_bytes)
    }

    /// Whether inboxes may take more of what names no mailbox: anybody can send it, and held it stays until an admin
    /// looks. What waits or is held of them takes no more than a quarter of `max_size` by that.
    #[must_use]
    pub fn has_room_for_strangers(&self) -> bool {
        let bytes: i64 = self.core.totals.lock().values().map(|counts| counts.inbox_bytes.max(0)).sum();
        u64::try_from(bytes).unwrap_or(0) < self.core.settings.load().max_size / INBOX_SHARE
    }

    /// Since when the disk refuses what is to be recorded, and its words; none while it takes it. Until then no message
    /// leaves that hasn't left.
    #[must_use]
    pub fn refusal(&self) -> Option<(Timestamp, String)> {
        self.core.refusal.lock().clone()
    }

    /// Whether the latest message found no room when it was written, though [`Queue::room`] may see some.
    #[must_use]
    pub fn found_full(&self) -> bool {
        self.core.segments.is_full()
    }

    /// Begins a message and gives it its id.
    #[must_use]
    pub fn draft(&self) -> Draft {
        let core = &self.core;
        let id = core.ids.next(core.clock.now());
        Draft::new(id, Arc::clone(&core.segments), Arc::clone(&core.budget))
    }

    /// Keeps a message: one receipt for each part, in their order. The first part has the draft's id.
    ///
    /// # Errors
    /// The message isn't kept; what it would have been told as is in [`KeepError`].
    pub async fn keep(&self, draft: Draft, submission: Submission) -> Result<Vec<Receipt>, KeepError> {
        self.keep_with(draft, submission, Vec::new()).await
    }

    /// As [`Queue::keep`], and keeps these events in the same transaction.
    ///
    /// # Errors
    /// As [`Queue::keep`]; then the events aren't kept either.
    pub async fn keep_with(
        &self,
        draft: Draft,
        submission: Submission,
        events: Vec<NewEvent>,
    ) -> Result<Vec<Receipt>, KeepError> {
        if !record::is_sound(&submission) {
            return Err(KeepError::Malformed);
        }
        let core = &self.core;
        // Others may have come since this one was let begin.
        let _under_way = core.room.let_in(&core.settings.load(), &core.content_bytes, draft.len())?;
        let ids = self.ids_for(draft.id(), &submission);
        let header: Bytes = record::encode_header(&ids, &submission).into();
        let kept = self.hand_over(draft, ids, header, submission, events).await;
        core.segments.met(&kept);
        kept
    }

    /// Gives a whole message to the writer and waits for its answer.
    async fn hand_over(
        &self,
        draft: Draft,
        ids: Vec<QueueId>,
        header: Bytes,
        submission: Submission,
        mut events: Vec<NewEvent>,
    ) -> Result<Vec<Receipt>, KeepError> {
        let body = draft.finish(&header).await?;
        let content_crc = match &body {
            Body::Memory(held) => crc32c::crc32c(&held.octets),
            Body::Spilled(_) => 0,
        };
        self.name(&mut events);
        let (answer, receipts) = oneshot::channel();
        let keep = Keep { ids, submission, events, header, content_crc, body, answer };
        self.core.inbox.push(Command::Keep(Box::new(keep)));
        receipts.await.unwrap_or(Err(KeepError::Closed))
    }

    /// An id for each part; the first is given.
    fn ids_for(&self, first: QueueId, submission: &Submission) -> Vec<QueueId> {
        let now = self.core.clock.now();
        let more = submission.parts.iter().skip(1).map(|_| self.core.ids.next(now));
        std::iter::once(first).chain(more).collect()
    }

    /// A lane's door; the lane is made if there is none of this name.
    #[must_use]
    pub fn lane(&self, name: &LaneName) -> Lane {
        Lane(self.core.window(name))
    }

    /// Claims up to `room` messages of a lane whose time began to run before `cutoff`, due or not, so that what has become
    /// too old in a lane that stands still can be told of; with `unwarned`, only those whose sender has had no delay
    /// notice. Searches the lane's index: not for every minute of a day.
    ///
    /// # Errors
    /// As [`Queue::query`].
    pub async fn claim_aged(
        &self,
        lane: &LaneName,
        cutoff: Timestamp,
        unwarned: bool,
        room: usize,
    ) -> Result<Vec<Due>, QueueError> {
        let (index, window) = (self.core.index.clone(), self.core.window(lane));
        asking(move || reader::claim_aged(&index, &window, cutoff, unwarned, room).map_err(QueueError::from))
            .await
    }

    /// How much the wall clock was set forward since this message was accepted: by so much it looks older than it is.
    #[must_use]
    pub fn leapt_since(&self, id: QueueId) -> SignedDuration {
        self.core.shared.leaps.load().since(id, &self.core.clock)
    }

    /// Claims up to `room` messages of a lane that expired by `now`, due or not; all that is held waits for its
    /// operator. Afterwards [`Lane::expiry`] waits for the next one.
    ///
    /// # Errors
    /// As [`Queue::query`].
    pub async fn claim_expired(
        &self,
        lane: &LaneName,
        now: Timestamp,
        room: usize,
    ) -> Result<Vec<Due>, QueueError> {
        let (index, window) = (self.core.index.clone(), self.core.window(lane));
        asking(move || expiry::claim(&index, &window, now, room).map_err(QueueError::from)).await
    }

    /// Claims up to `room` messages of a lane that it has for the lane `home`, due by `due_by` or else due or not, for somebody who
    /// moves them back. Not those that may have arrived already, nor held ones.
    ///
    /// # Errors
    /// As [`Queue::query`].
    pub async fn claim_guests(
        &self,
        lane: &LaneName,
        home: &LaneName,
        due_by: Option<Timestamp>,
        room: usize,
    ) -> Result<Vec<Due>, QueueError> {
        let (index, window, home) = (self.core.index.clone(), self.core.window(lane), home.clone());
        let claim = move || reader::claim_guests(&index, &window, &home, due_by, room);
        asking(move || claim().map_err(QueueError::from)).await
    }

    /// Messages of a class that are due in a lane and don't come to memory, because it is full of others that stay: up to
    /// `limit` behind `mark`, in their order. Not those that may have arrived already.
    ///
    /// # Errors
    /// As [`Queue::query`].
    pub async fn due_behind(
        &self,
        lane: &LaneName,
        class: Class,
        mark: Option<Mark>,
        limit: usize,
    ) -> Result<Vec<Mark>, QueueError> {
        let (index, window) = (self.core.index.clone(), self.core.window(lane));
        asking(move || reader::due_behind(&index, &window, class, mark, limit).map_err(QueueError::from))
            .await
    }

    /// Claims these messages of a lane, as far as they wait, as [`Lane::claim_stuck`] does.
    ///
    /// # Errors
    /// As [`Queue::query`].
    pub async fn claim_these(&self, lane: &LaneName, ids: Vec<QueueId>) -> Result<Vec<Due>, QueueError> {
        let (index, window) = (self.core.index.clone(), self.core.window(lane));
        asking(move || reader::claim_these(&index, &window, ids).map_err(QueueError::from)).await
    }

    /// Whether [`Queue::claim_guests`] would find any of one of these homes, due or not.
    ///
    /// # Errors
    /// As [`Queue::query`].
    pub async fn has_guests(&self, lane: &LaneName, homes: Vec<LaneName>) -> Result<bool, QueueError> {
        let (index, lane) = (self.core.index.clone(), lane.clone());
        asking(move || reader::has_guests(&index, &lane, &homes).map_err(QueueError::from)).await
    }

    /// Octets of content on disk.
    #[must_use]
    pub fn spool_bytes(&self) -> u64 {
        self.core.content_bytes.load(Ordering::Relaxed)
    }

    /// Hands an outcome to the writer and gives the claim back when it is committed. Returns when it is handed over,
    /// which takes a while only when thousands wait. An outcome that the disk refuses is tried again until it is
    /// committed or the process ends.
    pub async fn settle(&self, mut outcome: Outcome) {
        self.name(&mut outcome.events);
        if let Some(memory) = &outcome.remembered {
            self.core.recent.push(outcome.id, outcome.at, memory);
        }
        let ids = match &outcome.notice {
            Some(notice) => self.ids_for(self.core.ids.next(self.core.clock.now()), &notice.submission),
            None => Vec::new(),
        };
        let Ok(slot) = self.core.inbox.slots.acquire().await else { return };
        slot.forget();
        self.core.inbox.push(Command::Settle(Box::new(outcome), ids));
    }

    /// Holds a claimed message for a reason that trying again won't cure, such as damaged content, and gives the
    /// claim back. `queue list --state held` and the journal show the reason.
    #[expect(clippy::unused_async, reason = "may wait for the writer one day, as settle does")]
    pub async fn set_aside(&self, due: Due, reason: &str) {
        self.core.inbox.push(Command::SetAside { id: due.id, lane: due.lane, reason: reason.to_owned() });
    }

    /// Moves a claimed message to another lane and gives the claim back; the journal says why.
    #[expect(clippy::unused_async, reason = "may wait for the writer one day, as settle does")]
    pub async fn divert(&self, due: Due, to: LaneName, why: String) {
        self.core.inbox.push(Command::Divert { id: due.id, lane: due.lane, to, why });
    }

    /// Counts a message to one recipient that is sent past the queue against a lane's limits, as one in flight until it
    /// has [`landed`](Self::landed); false, and nothing counts, when they have no room for it.
    ///
    /// # Errors
    /// When it couldn't be written down.
    pub async fn charge(&self, lane: &LaneName) -> Result<bool, QueueError> {
        let (answer, charged) = oneshot::channel();
        self.core.inbox.push(Command::Charge { lane: lane.clone(), answer });
        charged.await.map_err(|_| QueueError::Closed)
    }

    /// What was [`charge`](Self::charge)d came to its end: it counts as sent from now on.
    pub fn landed(&self, lane: LaneName) {
        self.core.inbox.push(Command::Landed(lane));
    }

    /// Returns when everything handed over so far is committed.
    pub async fn flush(&self) {
        let (answer, flushed) = oneshot::channel();
        self.core.inbox.push(Command::Flush(answer));
        let _ = flushed.await;
    }

    /// A piece of content from `offset` on, of `length` octets or up to the end.
    ///
    /// # Errors
    /// The disk's; [`Unreadable`] inside one that concerns this content's file alone; and [`Damaged`] inside an error of
    /// kind `InvalidData` when what stands there isn't what was
    /// written, or is another message's. Content read whole is checked by its checksum; larger content is checked as
    /// a whole when its first piece is read.
    pub async fn read(&self, content: &Content, offset: u64, length: usize) -> io::Result<Bytes> {
        match content {
            Content::Memory(held) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(held.octets.len());
                let end = start.saturating_add(length).min(held.octets.len());
                Ok(held.octets.slice(start..end))
            }
            Content::Stored(id, location) => {
                let (segments, id, location) = (Arc::clone(&self.core.segments), *id, *location);
                tokio::task::spawn_blocking(move || segments.read(id, location, offset, length))
                    .await
                    .unwrap_or_else(|stopped| Err(io::Error::other(stopped)))
            }
        }
    }

    /// The fields of a stored message that aren't kept as they came ([`Notes::came`]).
    ///
    /// # Errors
    /// When they can't be read.
    pub async fn came(&self, content: &Content) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let Content::Stored(id, location) = *content else { return Ok(Vec::new()) };
        let segments = Arc::clone(&self.core.segments);
        let reading = tokio::task::spawn_blocking(move || {
            let header = segments.read_header(id, location)?;
            let (_, submission) = record::decode_header(&header).ok_or(io::ErrorKind::InvalidData)?;
            Ok(submission.notes.came)
        });
        reading.await.unwrap_or_else(|stopped| Err(io::Error::other(stopped)))
    }

    /// Messages that match, oldest first, at most `limit`, behind `after`.
    ///
    /// # Errors
    /// [`QueueError::Index`] when the index can't be read.
    pub async fn query(
        &self,
        filter: Filter,
        limit: usize,
        after: Option<QueueId>,
    ) -> Result<Vec<Entry>, QueueError> {
        let core = Arc::clone(&self.core);
        asking(move || {
            let mut entries = journal::query(&core.index, &filter, limit, after)?;
            forecast::tell(&core, &mut entries)?;
            Ok(entries)
        })
        .await
    }

    /// Messages that wait, held ones included, oldest first, at most `limit`, behind `after`.
    ///
    /// # Errors
    /// As [`Queue::query`].
    pub async fn waiting(
        &self,
        after: Option<QueueId>,
        limit: usize,
    ) -> Result<Vec<waiting::Waiting>, QueueError> {
        let index = self.core.index.clone();
        asking(move || Ok(waiting::waiting(&index, after, limit)?)).await
    }

    /// The oldest message of each lane that waits, isn't held, and was accepted, and asked to leave, before `border`.
    ///
    /// # Errors
    /// As [`Queue::query`].
    pub async fn overdue(&self, border: Timestamp) -> Result<Vec<(LaneName, QueueId)>, QueueError> {
        let (index, now) = (self.core.index.clone(), self.core.clock.now());
        asking(move || Ok(waiting::overdue(&index, border, now)?)).await
    }

    /// A message's whole life; none when the journal doesn't know it.
    ///
    /// # Errors
    /// As [`Queue::query`].
    pub async fn life(&self, id: QueueId) -> Result<Option<Life>, QueueError> {
        let core = Arc::clone(&self.core);
        asking(move || {
            let mut life = journal::life(&core.index, id)?;
            if let Some(life) = &mut life {
                forecast::tell(&core, std::slice::from_mut(&mut life.entry))?;
            }
            Ok(life)
        })
        .await
    }

    /// Changes all messages that match and have an open recipient that the filter means, a thousand in one transaction. Those being delivered just
    /// then are changed, too, but a delivery under way isn't stopped: its outcome stands beside the change. What waits
    /// for a time that its client asked for is retried only where the filter names it.
    ///
    /// # Errors
    /// [`QueueError::Index`]; some slices may have been changed then.
    pub async fn adjust(&self, filter: Filter, action: Adjust) -> Result<Adjusted, QueueError> {
        let index = self.core.index.clone();
        let filter = Arc::new(Filter { open: true, ..filter });
        let asked = Arc::clone(&filter);
        let ids = asking(move || journal::ids(&index, &asked)).await?;
        let mut adjusted = Adjusted::default();
        for slice in ids.chunks(ADJUST_SLICE) {
            let (answer, done) = oneshot::channel();
            let (ids, action, filter) = (slice.to_vec(), action.clone(), Arc::clone(&filter));
            self.core.inbox.push(Command::Adjust { ids, action, filter, answer });
            let done = done.await.map_err(|_| QueueError::Closed)??;
            adjusted.count += done.count;
            adjusted.in_flight += done.in_flight;
            adjusted.others += done.others;
            adjusted.expired += done.expired;
            for (lane, count) in done.lanes {
                *adjusted.lanes.entry(lane).or_default() += count;
            }
            let room = writer::TOLD_IDS.saturating_sub(adjusted.ids.len());
            adjusted.ids.extend(done.ids.into_iter().take(room));
        }
        Ok(adjusted)
    }

    /// Looks at counts and lanes as one commit left them. Not to be called by what looks already.
    pub fn consistently<T>(&self, look: impl FnOnce() -> T) -> T {
        let _ending = self.core.ending.read();
        look()
    }

    /// What is due in a lane in a class and those before it, what is being delivered included.
    #[must_use]
    pub fn waiting_up_to(&self, lane: &LaneName, class: Class) -> Mixed {
        self.core.waiting_up_to(lane, class)
    }

    /// When the last message is due of each lane that has any, those being held left out.
    ///
    /// # Errors
    /// As [`Queue::query`].
    pub async fn last_due(&self) -> Result<HashMap<LaneName, Timestamp>, QueueError> {
        let index = self.core.index.clone();
        asking(move || Ok(index::last_due(&index::open_read_only(&index)?)?)).await
    }

    /// When everything in a lane will have gone by its limits if the last of it is due then, what is in flight and what
    /// is due later included; none when that is now. What is due later counts ten seconds late at most, but for the last.
    #[must_use]
    pub fn empties(&self, lane: &LaneName, last_due: Timestamp) -> Option<Timestamp> {
        let (core, last_due) = (&self.core, last_due.as_millisecond());
        let _ending = core.ending.read();
        let now = core.shared.moment();
        let mut later =
            core.agendas.lock().get_mut(lane).map(|agenda| agenda.times(now.wall)).unwrap_or_default();
        for (at, _) in &mut later {
            *at = (*at).min(last_due);
        }
        let counts = core.totals.lock().get(lane).copied().unwrap_or_default();
        // What is kept for priority mail is nobody else's: where nothing else waits, it counts.
        let others = counts.waiting_up_to(Class::Bulk).minus(counts.waiting_up_to(Class::Priority));
        let class = if others == Units::default() { Class::Priority } else { Class::Bulk };
        core.window(lane).empties(class, core.waiting_up_to(lane, class), later, now)
    }

    /// Where these messages stand in their lane; those left out that are held, or may have arrived already.
    ///
    /// # Errors
    /// As [`Queue::query`].
    pub async fn places(
        &self,
        lane: &LaneName,
        ids: Vec<QueueId>,
    ) -> Result<HashMap<QueueId, forecast::Place>, QueueError> {
        let (core, lane) = (Arc::clone(&self.core), lane.clone());
        asking(move || Ok(forecast::places_of(&core, &lane, &ids)?)).await
    }

    /// When a message goes that is due later, if its lane's limits don't let it go then; late rather than early. `more`: it,
    /// where it isn't kept yet.
    #[must_use]
    pub fn forecast_later(
        &self,
        lane: &LaneName,
        class: Class,
        due: Timestamp,
        more: Units,
    ) -> Option<Timestamp> {
        forecast::later(&self.core, lane, class, due.as_millisecond(), more)
    }

    /// The same for messages of a lane that wait, each with its class and when it is due.
    ///
    /// # Errors
    /// As [`Queue::query`].
    pub async fn forecasts_later(
        &self,
        lane: &LaneName,
        messages: Vec<(QueueId, Class, Timestamp)>,
    ) -> Result<HashMap<QueueId, Timestamp>, QueueError> {
        let (core, lane) = (Arc::clone(&self.core), lane.clone());
        asking(move || Ok(forecast::all_later(&core, &lane, &messages)?)).await
    }

    /// Messages of a lane and class that aren't due yet, the next ones first, and no more than `limit`.
    ///
    /// # Errors
    /// As [`Queue::query`].
    pub async fn later(
        &self,
        lane: &LaneName,
        class: Class,
        limit: usize,
    ) -> Result<Vec<QueueId>, QueueError> {
        let (core, lane) = (Arc::clone(&self.core), lane.clone());
        asking(move || journal::next_later(&core.index, &lane, class, core.clock.now(), limit)).await
    }

    /// When the limits let the next message of a lane go where nothing is due yet; none when it goes as soon as it is due.
    #[must_use]
    pub fn next_later(&self, lane: &LaneName) -> Option<Timestamp> {
        forecast::next_later(&self.core, lane)
    }

    /// What waits in each lane, by name.
    #[must_use]
    pub fn totals(&self) -> Vec<Totals> {
        let counts = self.core.totals.lock().clone();
        let lanes = self.core.lanes.lock().clone();
        let not_negative = |count: i64| u64::try_from(count).unwrap_or(0);
        let mut totals: Vec<Totals> = lanes
            .into_iter()
            .map(|(lane, window)| {
                let counts = counts.get(&lane).copied().unwrap_or_default();
                // The window of a lane at rest may not have heard yet that the last of what waits on disk is held or gone.
                let next_due = window.next_chance().filter(|_| counts.queued + counts.deferred > 0);
                Totals {
                    lane,
                    queued: not_negative(counts.queued),
                    deferred: not_negative(counts.deferred),
                    held: not_negative(counts.held),
                    in_flight: window.claim_count() as u64,
                    next_due,
                }
            })
            .collect();
        totals.sort_by(|one, other| one.lane.cmp(&other.lane));
        totals
    }

    /// Commits what waits, marks the end as clean (unless something is still claimed) and gives the folder back.
    /// A disk that doesn't answer within eight seconds is left alone.
    pub async fn close(self) {
        let (answer, closed) = oneshot::channel();
        self.core.inbox.push(Command::Close(answer));
        let in_time = tokio::time::timeout(LAST_WAIT, closed).await.is_ok();
        let guard = self.running.lock().take();
        let Some(running) = guard.and_then(|mut guard| guard.0.take()) else { return };
        if in_time {
            let _ = tokio::task::spawn_blocking(move || end(running)).await;
        } else {
            running.core.inbox.abandon();
            std::thread::spawn(move || end(running));
        }
    }
}

/// Runs a question to the index off the async threads.
async fn asking<T: Send + 'static>(
    question: impl FnOnce() -> Result<T, QueueError> + Send + 'static,
) -> Result<T, QueueError> {
    tokio::task::spawn_blocking(question).await.unwrap_or(Err(QueueError::Closed))
}
