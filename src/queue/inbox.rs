//! What waits for the writer: a bounded queue of commands between async tasks and one thread.

use super::draft::Body;
use super::entry::{Adjust, Adjusted, Filter};
use super::error::KeepError;
use super::forwarding::Request;
use super::outbox::{Change, NewEvent};
use super::work::{Outcome, Receipt, Submission};
use super::{LaneName, QueueError, QueueId};
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, oneshot};

/// Commands that may wait without an answer (outcomes).
const SLOTS: usize = 4_096;
/// Commands in one batch.
const BATCH: usize = 1_000;
/// Octets of content in one batch.
const BATCH_OCTETS: usize = 8 << 20;
/// When nobody waits for what there is to do, how long the writer waits for a command to go along with.
const GRACE: Duration = Duration::from_millis(5);

/// A message to be kept.
#[derive(Debug)]
pub(super) struct Keep {
    pub(super) ids: Vec<QueueId>,
    pub(super) submission: Submission,
    pub(super) events: Vec<NewEvent>,
    pub(super) header: Bytes,
    pub(super) content_crc: u32,
    pub(super) body: Body,
    pub(super) answer: oneshot::Sender<Result<Vec<Receipt>, KeepError>>,
}

/// What the writer is asked to do.
#[derive(Debug)]
pub(super) enum Command {
    Keep(Box<Keep>),
    /// An outcome, and the ids of its notice's parts.
    Settle(Box<Outcome>, Vec<QueueId>),
    SetAside {
        id: QueueId,
        lane: LaneName,
        reason: String,
    },
    /// A claimed message goes on in another lane.
    Divert {
        id: QueueId,
        lane: LaneName,
        to: LaneName,
        why: String,
    },
    Adjust {
        ids: Vec<QueueId>,
        action: Adjust,
        /// By which they were found: it may mean only some of their recipients.
        filter: Arc<Filter>,
        answer: oneshot::Sender<Result<Adjusted, QueueError>>,
    },
    /// Something is about to be sent past the queue: whether there is room for it; then it counts.
    Charge {
        lane: LaneName,
        answer: oneshot::Sender<bool>,
    },
    /// What was sent so came to its end, whatever that is: it counts from now on.
    Landed(LaneName),
    /// A change of kept events alone.
    Outbox(Change),
    /// A change of what is remembered of forwarding.
    Forwarding(Box<Request>),
    /// Everything handed over before is to be committed.
    Flush(oneshot::Sender<()>),
    /// As flush, and then the end.
    Close(oneshot::Sender<()>),
}

impl Command {
    /// Whether somebody waits for its commit.
    pub(super) fn is_awaited(&self) -> bool {
        match self {
            Self::Settle(..) | Self::SetAside { .. } | Self::Divert { .. } => false,
            Self::Outbox(change) => change.is_awaited(),
            Self::Keep(_)
            | Self::Adjust { .. }
            | Self::Charge { .. }
            | Self::Landed(_)
            | Self::Forwarding(_)
            | Self::Flush(_)
            | Self::Close(_) => true,
        }
    }
}

/// What [`Inbox::take`] found.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) commands: Vec<Command>,
    /// The queue was dropped without being closed: to the disk, that is a crash.
    pub(super) abandoned: bool,
}

#[derive(Debug, Default)]
struct Waiting {
    commands: VecDeque<Command>,
    /// Commands that somebody waits for.
    awaited: usize,
    nudged: bool,
    /// A lane waits for work to be claimed.
    starts: bool,
    life: Life,
}

/// How far the queue is from its end.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Life {
    #[default]
    Open,
    /// Nothing more is taken; what waits is finished.
    Closed,
    /// What waits isn't finished either.
    Abandoned,
}

impl Waiting {
    fn is_abandoned(&self) -> bool {
        self.life == Life::Abandoned
    }

    fn has_work(&self) -> bool {
        !self.commands.is_empty() || self.nudged || self.starts || self.is_abandoned()
    }

    /// There is work, but nobody waits for it, and it isn't much yet.
    fn may_wait(&self) -> bool {
        self.has_work()
            && self.awaited == 0
            && !self.starts
            && !self.is_abandoned()
            && self.commands.len() < BATCH
    }
}

/// The bounded queue.
#[derive(Debug)]
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    pub(super) slots: Semaphore,
}

impl Default for Inbox {
    fn default() -> Self {
        Self { waiting: Mutex::default(), arrived: Condvar::new(), slots: Semaphore::new(SLOTS) }
    }
}

impl Inbox {
    /// Adds a command; dropped, with its answer, when the queue is closed.
    pub(super) fn push(&self, command: Command) {
        let mut waiting = self.waiting.lock();
        if waiting.life != Life::Open {
            return;
        }
        if matches!(command, Command::Close(_)) {
            waiting.life = Life::Closed;
        }
        let wakes = command.is_awaited() || waiting.commands.is_empty() || waiting.commands.len() == BATCH;
        waiting.awaited += usize::from(command.is_awaited());
        waiting.commands.push_back(command);
        drop(waiting);
        if wakes {
            self.arrived.notify_one();
        }
    }

    /// Asks for a commit soon, without a command.
    pub(super) fn nudge(&self) {
        self.waiting.lock().nudged = true;
        self.arrived.notify_one();
    }

    /// Asks for a commit at once: a lane waits for work.
    pub(super) fn want_starts(&self) {
        self.waiting.lock().starts = true;
        self.arrived.notify_one();
    }

    /// Ends the writer without finishing what waits.
    pub(super) fn abandon(&self) {
        self.waiting.lock().life = Life::Abandoned;
        self.arrived.notify_one();
    }

    /// Takes the next batch; waits for one, but no longer than `patience`.
    pub(super) fn take(&self, patience: Duration) -> Taken {
        let mut waiting = self.waiting.lock();
        let idle_until = Instant::now() + patience;
        while !waiting.has_work() && !self.arrived.wait_until(&mut waiting, idle_until).timed_out() {}
        // Nobody waits for outcomes and the ends of claims: they go along with the next message, if one comes soon.
        let grace_until = Instant::now() + GRACE;
        while waiting.may_wait() && !self.arrived.wait_until(&mut waiting, grace_until).timed_out() {}
        (waiting.nudged, waiting.starts) = (false, false);
        let mut octets = 0;
        let mut commands = Vec::with_capacity(waiting.commands.len().min(BATCH));
        while commands.len() < BATCH && octets < BATCH_OCTETS {
            let Some(command) = waiting.commands.pop_front() else { break };
            octets += match &command {
                Command::Keep(keep) => match &keep.body {
                    Body::Memory(held) => held.octets.len(),
                    Body::Spilled(_) => 0,
                },
                Command::Settle(outcome, _) => {
                    let events: usize = outcome.events.iter().map(NewEvent::len).sum();
                    outcome.notice.as_ref().map_or(0, |notice| notice.octets.len()) + events
                }
                Command::Outbox(change) => change.len(),
                _ => 0,
            };
            waiting.awaited = waiting.awaited.saturating_sub(usize::from(command.is_awaited()));
            commands.push(command);
        }
        Taken { commands, abandoned: waiting.is_abandoned() }
    }
}
