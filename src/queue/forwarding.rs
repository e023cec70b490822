//! What is remembered of forwarding itself: providers' questions, when each mailbox's mail came, probes on their way.
//!
//! A question is kept under the id of the message that asked it, and the same link or code is one question for ever:
//! asking again (unless it may be confirmed only now), or interpreting a message again after a crash, changes nothing. Every change is one transaction, with
//! the events that tell of it, and says whether it was news; whoever repeats one after an error repeats no event.
//!
//! What can fail: all of it as [`QueueError`]; nothing was changed then. `queue salvage` copies these rows
//! from the old index, as far as they can be read.

mod rows;

pub(super) use rows::{ASTRAY, CAME_TO, ENDED, SCHEMA, change};

use super::inbox::Command;
use super::{NewEvent, Queue, QueueError, QueueId, asking};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use tokio::sync::oneshot;

/// How long arrivals are remembered: five weeks, so that a weekend away is seen several times.
pub const REMEMBERED_MS: i64 = 35 * 24 * 3_600_000;
/// Arrivals within this are one row.
const SLOT_MS: i64 = 600_000;
/// Questions shown at most, the newest.
const SHOWN: i64 = 1_000;

/// Where a question stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerificationState {
    /// It is being confirmed.
    Confirming,
    /// It was confirmed.
    Confirmed,
    /// A human must look.
    ActionNeeded,
    /// A human was shown its link or code.
    Opened,
    /// The same account asked anew before it was confirmed.
    Replaced,
}

/// A provider's question whether a mailbox may forward here.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// The message that asked.
    pub id: QueueId,
    /// The inbox it came to.
    pub inbox: String,
    /// `gmail`, `zoho`, …
    pub provider: String,
    /// The account that wants to forward.
    pub requested_by: Option<String>,
    /// Its mailbox, by name.
    pub mailbox: Option<String>,
    /// Where it stands.
    pub state: VerificationState,
    /// Times its page was asked for in vain.
    pub attempts: u32,
    /// When it is tried next.
    pub next_attempt: Option<Timestamp>,
    /// What came of the latest attempt, or why a human must look.
    pub answer: Option<String>,
    /// When the message was taken.
    pub received_at: Timestamp,
    /// To be typed in. Never logged; forgotten once it is confirmed. Left out of lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// To be opened. As the code.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<String>,
    /// The address it came to, while nothing but a configured mailbox is needed to confirm it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub came_to: Option<String>,
}

impl fmt::Debug for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, inbox, provider, requested_by, state, .. } = self;
        write!(f, "Verification({id} {provider} {requested_by:?} → {inbox}: {state:?})")
    }
}

impl Verification {
    /// Without what whoever has it could confirm with.
    #[must_use]
    pub fn without_secrets(self) -> Self {
        Self { code: None, links: Vec::new(), came_to: None, ..self }
    }

    /// By which the same question is known again.
    fn fingerprint(&self) -> Vec<u8> {
        let code = self.code.as_deref().unwrap_or_default();
        let who = self.requested_by.as_deref().unwrap_or_default();
        let said = if self.links.is_empty() { format!("{who}\n{code}") } else { self.links.join("\n") };
        // What names neither a link nor a code is a question of its own.
        let own = if self.links.is_empty() && code.is_empty() { self.id.to_string() } else { String::new() };
        let text = format!("{}\n{said}\n{own}", self.provider);
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()).as_ref().to_vec()
    }
}

/// How a question goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Which.
    pub id: QueueId,
    /// Where it stands now.
    pub state: VerificationState,
    /// Times its page was asked for in vain.
    pub attempts: u32,
    /// When it is tried next.
    pub next_attempt: Option<Timestamp>,
    /// What came of it.
    pub answer: String,
    /// Who is told, in the same transaction.
    pub events: Vec<NewEvent>,
}

/// When a mailbox's mail came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arrivals {
    /// The mailbox, by name.
    pub mailbox: String,
    /// Oldest first; those within ten minutes are one.
    pub times: Vec<Timestamp>,
    /// The latest message.
    pub last: Option<Timestamp>,
    /// Since when it is known to be silent.
    pub silent_since: Option<Timestamp>,
    /// When it was silent before, the last time.
    pub last_silence: Option<Silence>,
}

/// A silence that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// The last mail before it.
    pub since: Timestamp,
    /// The first one behind it.
    pub ended_at: Timestamp,
}

/// A mail that was sent to see whether forwarding works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Its secret.
    pub token: String,
    /// The mailbox it is for.
    pub mailbox: String,
    /// Our message that went out.
    pub message: QueueId,
    /// When it was handed over.
    pub sent_at: Timestamp,
    /// When it came back to the inbox.
    pub returned_at: Option<Timestamp>,
    /// Its Received fields when it came back, newest first.
    pub trace: Vec<String>,
    /// What is wrong with where it came back, as long as it didn't come back rightly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub astray: Option<String>,
}

/// What the writer is asked to change.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Ask(Box<Verification>),
    Progress(Progress),
    Accept { id: QueueId, mailbox: String },
    Abandon { id: QueueId, why: &'static str },
    Opened(QueueId),
    Arrived { mailbox: String, at: Timestamp, events: Vec<NewEvent> },
    Silent { mailbox: String, since: Timestamp, events: Vec<NewEvent> },
    Heard { mailbox: String, at: Timestamp, events: Vec<NewEvent> },
    ProbeSent(Box<Probe>),
    ProbeReturned { token: String, at: Timestamp, trace: Vec<String>, astray: Option<String> },
}

/// A change, and who waits for it.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) change: Change,
    pub(super) answer: oneshot::Sender<Result<bool, QueueError>>,
}

impl Queue {
    /// Keeps a question. False when the same one is known already by another message: nobody need be told again. An
    /// earlier one of the same account that is still being confirmed is [replaced](VerificationState::Replaced).
    ///
    /// # Errors
    /// [`QueueError::Index`] when it couldn't be kept.
    pub async fn ask(&self, question: Verification) -> Result<bool, QueueError> {
        self.remember(Change::Ask(Box::new(question))).await
    }

    /// Records how a question that is being confirmed goes on; false, and no events, when it isn't any more.
    ///
    /// # Errors
    /// As [`Queue::ask`].
    pub async fn verification_went_on(&self, mut progress: Progress) -> Result<bool, QueueError> {
        self.name(&mut progress.events);
        self.remember(Change::Progress(progress)).await
    }

    /// Has a question confirmed that waited for this mailbox, now; false when it doesn't wait any more.
    ///
    /// # Errors
    /// As [`Queue::ask`].
    pub async fn verification_accepted(&self, id: QueueId, mailbox: &str) -> Result<bool, QueueError> {
        self.remember(Change::Accept { id, mailbox: mailbox.to_owned() }).await
    }

    /// Has a question that was being confirmed wait for its mailbox, which isn't there any more; false when it isn't being
    /// confirmed.
    ///
    /// # Errors
    /// As [`Queue::ask`].
    pub async fn verification_abandoned(&self, id: QueueId, why: &'static str) -> Result<bool, QueueError> {
        self.remember(Change::Abandon { id, why }).await
    }

    /// Records that a human was shown a question; false when it waits for nobody.
    ///
    /// # Errors
    /// As [`Queue::ask`].
    pub async fn verification_opened(&self, id: QueueId) -> Result<bool, QueueError> {
        self.remember(Change::Opened(id)).await
    }

    /// The questions, oldest first, with their secrets.
    ///
    /// # Errors
    /// [`QueueError::Index`] when the index can't be read.
    pub async fn verifications(&self) -> Result<Vec<Verification>, QueueError> {
        self.recall(|connection| rows::verifications(connection, SHOWN)).await
    }

    /// The questions that are being confirmed, the next one first.
    ///
    /// # Errors
    /// As [`Queue::verifications`].
    pub async fn verifications_confirming(&self) -> Result<Vec<Verification>, QueueError> {
        self.recall(rows::confirming).await
    }

    /// The questions that wait for a mailbox, oldest first.
    ///
    /// # Errors
    /// As [`Queue::verifications`].
    pub async fn verifications_waiting(&self) -> Result<Vec<Verification>, QueueError> {
        self.recall(rows::waiting).await
    }

    /// Since when a mailbox is silent, if it is.
    ///
    /// # Errors
    /// As [`Queue::verifications`].
    pub async fn silent_since(&self, mailbox: &str) -> Result<Option<Timestamp>, QueueError> {
        let mailbox = mailbox.to_owned();
        self.recall(move |connection| rows::silent_since(connection, &mailbox)).await
    }

    /// Remembers that a mailbox's mail came; true when the mailbox was silent before, and then the events are kept.
    ///
    /// # Errors
    /// As [`Queue::ask`].
    pub async fn arrived(
        &self,
        mailbox: &str,
        at: Timestamp,
        mut events: Vec<NewEvent>,
    ) -> Result<bool, QueueError> {
        self.name(&mut events);
        self.remember(Change::Arrived { mailbox: mailbox.to_owned(), at, events }).await
    }

    /// When each mailbox's mail came.
    ///
    /// # Errors
    /// As [`Queue::verifications`].
    pub async fn arrivals(&self) -> Result<Vec<Arrivals>, QueueError> {
        self.recall(rows::arrivals).await
    }

    /// Records that a mailbox is silent, and tells; false, and no events, when that is known.
    ///
    /// # Errors
    /// As [`Queue::ask`].
    pub async fn fell_silent(
        &self,
        mailbox: &str,
        since: Timestamp,
        mut events: Vec<NewEvent>,
    ) -> Result<bool, QueueError> {
        self.name(&mut events);
        self.remember(Change::Silent { mailbox: mailbox.to_owned(), since, events }).await
    }

    /// Records that a mailbox isn't silent any more, and tells; false, and no events, when that is known.
    ///
    /// # Errors
    /// As [`Queue::ask`].
    pub async fn was_heard(
        &self,
        mailbox: &str,
        at: Timestamp,
        mut events: Vec<NewEvent>,
    ) -> Result<bool, QueueError> {
        self.name(&mut events);
        self.remember(Change::Heard { mailbox: mailbox.to_owned(), at, events }).await
    }

    /// Remembers a probe before it is sent.
    ///
    /// # Errors
    /// As [`Queue::ask`].
    pub async fn probe_sent(&self, probe: Probe) -> Result<bool, QueueError> {
        self.remember(Change::ProbeSent(Box::new(probe))).await
    }

    /// Records that a probe came back with these Received fields, newest first, and what is wrong with where it did. False
    /// when there is no such probe, so that the message is anybody's; true also when it came back before.
    ///
    /// # Errors
    /// As [`Queue::ask`].
    pub async fn probe_returned(
        &self,
        token: &str,
        at: Timestamp,
        trace: Vec<String>,
        astray: Option<String>,
    ) -> Result<bool, QueueError> {
        self.remember(Change::ProbeReturned { token: token.to_owned(), at, trace, astray }).await
    }

    /// A probe.
    ///
    /// # Errors
    /// As [`Queue::verifications`].
    pub async fn probe(&self, token: &str) -> Result<Option<Probe>, QueueError> {
        let token = token.to_owned();
        self.recall(move |connection| rows::probe(connection, &token)).await
    }

    async fn remember(&self, change: Change) -> Result<bool, QueueError> {
        let (answer, done) = oneshot::channel();
        self.core.inbox.push(Command::Forwarding(Box::new(Request { change, answer })));
        done.await.map_err(|_| QueueError::Closed)?
    }

    async fn recall<T: Send + 'static>(
        &self,
        question: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, QueueError> {
        let index = self.core.index.clone();
        asking(move || Ok(question(&super::index::open_read_only(&index)?)?)).await
    }
}
