//! What passes through the queue's door: submissions in, due work out, outcomes back.

use super::budget::Shares;
use super::limits::Units;
use super::{LaneName, Memory, NewEvent, QueueId};
use crate::message::envelope::{Class, Envelope, Origin};
pub use crate::message::notes::Notes;
use crate::smtp::reply::Reply;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;

/// What intake hands over to be kept, beside the content.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Sender, recipients and wishes.
    pub envelope: Envelope,
    /// Where it came from.
    pub origin: Origin,
    /// When the final dot was read.
    pub received_at: Timestamp,
    /// What the journal shows of it.
    pub notes: Notes,
    /// Recipients by lane and class; every recipient index in exactly one part. Each part becomes a queue entry
    /// of its own that shares the content. Never empty.
    pub parts: Vec<Part>,
}

/// Recipients that leave by one lane.
#[derive(Debug, Clone)]
pub struct Part {
    /// The lane.
    pub lane: LaneName,
    /// The class within the lane.
    pub class: Class,
    /// Indexes into the envelope's recipients.
    pub recipients: Vec<usize>,
    /// Not before this time; later than the acceptance when the client asked for that.
    pub due: Timestamp,
    /// Whether an admin must release it first.
    pub held: bool,
    /// Whether a route drops it: held, it ends when it is kept, and is in the journal only.
    pub discarded: bool,
    /// From this time on it is reported instead of tried.
    pub expires_at: Option<Timestamp>,
}

/// Proof that a message is on disk and survives a power cut.
///
/// Only [`Queue::keep`](super::Queue::keep) makes one, and only a receipt makes the reply by which we take
/// responsibility (RFC 5321 §4.2.5). "250 before sync" can't be written.
#[must_use]
#[derive(Debug)]
pub struct Receipt {
    id: QueueId,
    lane: LaneName,
    due: Timestamp,
}

impl Receipt {
    /// Only the writer calls this, behind a finished commit.
    pub(super) fn new(id: QueueId, lane: LaneName, due: Timestamp) -> Self {
        Self { id, lane, due }
    }

    /// The entry's name.
    #[must_use]
    pub fn id(&self) -> QueueId {
        self.id
    }

    /// The lane it leaves by.
    #[must_use]
    pub fn lane(&self) -> &LaneName {
        &self.lane
    }

    /// When it is tried first.
    #[must_use]
    pub fn due(&self) -> Timestamp {
        self.due
    }
}

/// A message that is due, claimed by one delivery until it is settled.
#[derive(Debug, Clone)]
pub struct Due {
    /// Its name.
    pub id: QueueId,
    /// The lane it was claimed from.
    pub lane: LaneName,
    /// The lane that it is of, while it goes by a fallback of that one.
    pub home: Option<LaneName>,
    /// Its class.
    pub class: Class,
    /// The envelope, with the recipients that are still open only.
    pub envelope: Arc<Envelope>,
    /// For each of those recipients: its number in the stored message, and the attempts made so far.
    pub open: Vec<Open>,
    /// Recipients that are still open, too, and that a limit leaves for later: the envelope hasn't them.
    pub left: Vec<Open>,
    /// When it was accepted.
    pub received_at: Timestamp,
    /// When its time began to run: when it was accepted, or the later time that its client asked for.
    pub released_at: Timestamp,
    /// From this time on it is reported instead of tried.
    pub expires_at: Option<Timestamp>,
    /// Whether the delay notice went out already.
    pub warned: bool,
    /// Whether an earlier attempt ended without an answer to the final dot, or the daemon was killed during one.
    pub maybe_duplicate: bool,
    /// Where it came from.
    pub origin: Arc<Origin>,
    /// What its events echo.
    pub notes: Arc<Notes>,
    /// Content length in octets.
    pub size_bytes: u64,
    /// The content, in memory or on disk.
    pub content: Content,
}

impl Due {
    /// Has its time run from later on: by so much the clock was set forward since it was accepted.
    pub fn follow(&mut self, leapt: SignedDuration) {
        for time in [&mut self.released_at].into_iter().chain(&mut self.expires_at) {
            *time = time.checked_add(leapt).unwrap_or(Timestamp::MAX);
        }
    }
}

/// One recipient that is neither delivered nor failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    /// Its number in the stored message.
    pub number: u32,
    /// Attempts made so far.
    pub attempts: u32,
    /// When the last of them ended.
    pub tried_at: Option<Timestamp>,
    /// When it is tried again, if it waits for a time of its own.
    pub waits_until: Option<Timestamp>,
}

/// Where a message's octets are.
#[derive(Debug, Clone)]
pub enum Content {
    /// Still in memory since it was accepted; counted against the memory budget until dropped.
    Memory(Arc<Held>),
    /// In a segment file, in the record of this message; read with [`Queue::read`](super::Queue::read).
    Stored(QueueId, Location),
}

/// Octets that hold a share of the memory budget.
#[derive(Debug)]
pub struct Held {
    /// The whole message.
    pub octets: Bytes,
    _shares: Shares,
}

impl Held {
    /// Octets that hold no share: a notice of our own, or a test's.
    #[must_use]
    pub fn unshared(octets: Bytes) -> Self {
        Self { octets, _shares: Shares::default() }
    }

    pub(super) fn new(octets: Bytes, shares: Shares) -> Self {
        Self { octets, _shares: shares }
    }
}

/// A message's octets within a segment file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// The segment's number.
    pub segment: u64,
    /// Where the content starts in the file.
    pub offset: u64,
    /// Its length.
    pub length: u64,
}

/// What an attempt came to, for one claimed message. Settling gives the claim back.
#[derive(Debug)]
pub struct Outcome {
    /// Which message.
    pub id: QueueId,
    /// In which lane.
    pub lane: LaneName,
    /// When it was decided.
    pub at: Timestamp,
    /// Each recipient's fate; those not named stay as they were.
    pub fates: Vec<(u32, Fate)>,
    /// When the open recipients are tried again; none keeps the present due time (no attempt was made).
    pub next_attempt: Option<Timestamp>,
    /// When those that it deferred are, which may be later than others of the same message.
    pub deferred_until: Option<Timestamp>,
    /// Whether content went out and no answer came (RFC 5321 §4.5.3.2.6): the next try may be a second copy.
    pub maybe_duplicate: bool,
    /// Bounce or delay notice, committed in the same transaction.
    pub notice: Option<Notice>,
    /// Whether the notice is the delay notice, so that it goes out once.
    pub warned: bool,
    /// The lane that what is left of it goes on by, and why.
    pub moves: Option<(LaneName, String)>,
    /// Why what is left of it waits for an operator from now on.
    pub hold: Option<String>,
    /// What webhooks are told of it, kept in the same transaction.
    pub events: Vec<NewEvent>,
    /// What was changed of the message for this smarthost, in words; the journal tells it once.
    pub rewritten: Vec<String>,
    /// What is remembered of it for reading forwarded mail, in the same transaction.
    pub remembered: Option<Arc<Memory>>,
}

impl Outcome {
    /// One that decides nothing, to be filled in.
    #[must_use]
    pub fn of(id: QueueId, lane: LaneName, at: Timestamp) -> Self {
        Self {
            id,
            lane,
            at,
            fates: Vec::new(),
            next_attempt: None,
            deferred_until: None,
            maybe_duplicate: false,
            notice: None,
            warned: false,
            moves: None,
            hold: None,
            events: Vec::new(),
            rewritten: Vec::new(),
            remembered: None,
        }
    }

    /// What the smarthost took of it, or may have taken: that counts against its limits.
    #[must_use]
    pub fn took(&self) -> Units {
        let taken = self.fates.iter().filter(|(_, fate)| match fate {
            Fate::Delivered(_) => true,
            Fate::Deferred(_) | Fate::Expired(_) => self.maybe_duplicate,
            Fate::Failed(_) | Fate::Discarded(_) => false,
        });
        match taken.count() as u64 {
            0 => Units::default(),
            recipients => Units::message(recipients),
        }
    }
}

/// A message of our own, kept together with the outcome that caused it.
#[derive(Debug, Clone)]
pub struct Notice {
    /// Its envelope and lane.
    pub submission: Submission,
    /// Its content.
    pub octets: Bytes,
}

/// What became of one recipient in one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// The smarthost took it.
    Delivered(Reply),
    /// Tried and to be tried again; counts an attempt.
    Deferred(Reply),
    /// Never.
    Failed(Reply),
    /// Its time ran out.
    Expired(Reply),
    /// A rule or an operator dropped it.
    Discarded(Reply),
}
