//! What the store knows for reading forwarded mail: conversations, copies, and what a mailbox itself sent.
//!
//! A [`Memory`] goes along with an [`Outcome`](super::Outcome) and is written in its transaction: that a message was
//! read, and what it is found by later, can't come apart. [`Queue::knowledge`] answers the questions of
//! [`crate::inbox::Known`].
//!
//! Promises:
//! - What was handed to [`Queue::settle`] is known from that moment on, committed or not: whoever reads the messages
//!   of an inbox one after the other, and settles each before it asks for the next, sees every copy of a message.
//! - Everything is within a mailbox: no question crosses them.
//! - A conversation lives as long as the journal is kept, counted from its last use; then all of it goes. Copies are
//!   known as long as the journal is kept, and so is every message that was sent under a Message-ID.
//! - Bounded: [`IDS`] Message-IDs of a conversation, [`TEXTS`] sent texts of [`TEXT_OCTETS`] for each correspondent.
//!
//! What can fail: reading the index ([`Knowledge::ask`]); then nothing was found out, and the message must wait.
//! `queue salvage` copies what can be read of it from the old index; what it can't, begins anew.

mod reads;
pub(super) mod rows;
#[cfg(test)]
mod tests;

use super::{Queue, QueueError, QueueId};
use crate::inbox::about::{About, Affected};
use crate::inbox::channel::Newest;
use crate::inbox::conversation::ConversationId;
use crate::inbox::{DuplicateKey, Interpretation, Known};
use jiff::Timestamp;
use parking_lot::Mutex;
use reads::Reads;
use rusqlite::Connection;
use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

/// Message-IDs that are known of one conversation, the newest.
pub(super) const IDS: usize = 500;
/// Messages that are looked at of those sent under one Message-ID, the newest.
pub(super) const TRANSACTIONS: usize = 10_000;
/// Messages that are looked at of those sent in one conversation, the newest.
pub(super) const SENT_WITHIN: usize = 50;
/// Texts that are known of what a mailbox sent to one correspondent, the newest.
pub(super) const TEXTS: usize = 24;
/// Octets of such a text.
pub const TEXT_OCTETS: usize = 4 * 1024;
/// Correspondents of one message whose text is kept; a message to more is a circular, not a conversation.
pub const TEXT_CORRESPONDENTS: usize = 5;
/// Correspondents of one message that are known at all.
pub const CORRESPONDENTS: usize = 50;
/// Connections that wait for the next question.
const IDLE_READERS: usize = 4;

/// What is remembered of one message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    /// To which conversation of which mailbox it belongs; none for held mail and for a provider's questions.
    pub place: Option<Place>,
    /// By what copies of it are known; none for what we sent.
    pub duplicate: Option<DuplicateKey>,
    /// What it says of messages that we sent.
    pub news: Vec<News>,
    /// Whether its content must outlive it, because the event left attachments out.
    pub keeps_content: bool,
}

/// A message's place in a conversation, and what it is found by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The mailbox's name.
    pub mailbox: String,
    /// The conversation.
    pub conversation: ConversationId,
    /// Whether the mailbox sent it, rather than got it.
    pub is_ours: bool,
    /// Its Message-ID with brackets, and by which others it may be known.
    pub message_ids: Vec<String>,
    /// The channel and its key.
    pub channel_key: Option<String>,
    /// Who takes part in the conversation beside the mailbox, lower case.
    pub correspondents: Vec<String>,
    /// The base subject; none when too general.
    pub subject: Option<String>,
    /// Where the next answer goes, as the newest message from there wants it.
    pub answer_to: Option<String>,
    /// The plain text, when the mailbox sent it.
    pub text: Option<String>,
}

/// What came back about a message that we sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// That message.
    pub about: QueueId,
    /// Which of its recipients, by number; none when that isn't known.
    pub recipient: Option<u32>,
    /// What kind of news.
    pub kind: super::Kind,
    /// In words.
    pub detail: String,
    /// What was said of a recipient that had been delivered, if this is the first bounce about it: webhooks are told.
    pub bounced: Option<String>,
}

impl Memory {
    /// What is remembered of a message that was read. A copy of an earlier one leaves
    /// nothing, nor does what ends here; `news` is what
    /// [`Knowledge::news`] made of its report.
    #[must_use]
    pub fn received(read: &Interpretation, news: Vec<News>) -> Self {
        if read.duplicate_of.is_some() || read.ends_here.is_some() {
            return Self::default();
        }
        let place = read.mailbox.clone().zip(read.conversation).map(|(mailbox, conversation)| Place {
            mailbox,
            conversation: conversation.id,
            is_ours: false,
            message_ids: read.index.message_id.iter().cloned().collect(),
            channel_key: read.index.channel_key.clone(),
            correspondents: read.index.correspondent.iter().cloned().collect(),
            // What a machine writes begins no conversation that its subject could find.
            subject: read.index.subject.clone().filter(|_| read.automatic.is_none()),
            answer_to: read.index.correspondent.clone().filter(|_| read.automatic.is_none()),
            text: None,
        });
        Self { place, duplicate: read.duplicate_key.clone(), news, keeps_content: read.leaves_out }
    }

    /// Whether there is nothing to remember.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What was handed over and may not be committed yet. An entry dies with the outcome that holds it.
#[derive(Debug, Default)]
pub(super) struct Recent {
    handed_over: Mutex<Vec<(QueueId, Timestamp, Weak<Memory>)>>,
    idle: Mutex<Vec<Connection>>,
}

impl Recent {
    /// From now on it is known.
    pub(super) fn push(&self, id: QueueId, at: Timestamp, memory: &Arc<Memory>) {
        let mut all = self.handed_over.lock();
        // Now and then only, so that this costs nothing each time.
        if all.len() == all.capacity() {
            all.retain(|(_, _, memory)| memory.strong_count() > 0);
        }
        all.push((id, at, Arc::downgrade(memory)));
    }

    /// Newest first.
    fn all(&self) -> Vec<(QueueId, Timestamp, Arc<Memory>)> {
        let alive =
            |(id, at, memory): &(QueueId, Timestamp, Weak<Memory>)| Some((*id, *at, memory.upgrade()?));
        self.handed_over.lock().iter().rev().filter_map(alive).collect()
    }
}

/// What is known at one moment, for one message.
#[derive(Debug)]
pub struct Knowledge {
    queue: Queue,
    own: QueueId,
    index: PathBuf,
    recent: Vec<(QueueId, Timestamp, Arc<Memory>)>,
    connection: Option<Connection>,
}

impl Queue {
    /// What is known beside the message `own` itself: all that was settled before this call. Its questions read the
    /// index: ask them where waiting is allowed.
    #[must_use]
    pub fn knowledge(&self, own: QueueId) -> Knowledge {
        // Before any row is read: what is committed in between is then seen twice, never not at all.
        let recent = self.core.recent.all();
        let connection = self.core.recent.idle.lock().pop();
        Knowledge { own, index: self.core.index.clone(), recent, connection, queue: self.clone() }
    }
}

impl Knowledge {
    /// Answers the questions of reading a message.
    ///
    /// # Errors
    /// [`QueueError::Index`] when the index couldn't be read at some question; what `asked` made of it is worth
    /// nothing then, because a copy or a conversation may have gone unseen.
    pub fn ask<T>(&mut self, asked: impl FnOnce(&Known<'_>) -> T) -> Result<T, QueueError> {
        self.read(|reads| {
            asked(&Known {
                by_message_id: &|mailbox, id| reads.by_message_id(mailbox, id),
                by_channel_key: &|mailbox, key| reads.by_channel_key(mailbox, key),
                sent_texts: &|mailbox, who| reads.sent_texts(mailbox, who),
                by_subject: &|mailbox, who, subject| reads.by_subject(mailbox, who, subject),
                takes_part: &|_, conversation, who| reads.takes_part(conversation, who),
                sent: &|mailbox, id| reads.sent(mailbox, id),
                sent_within: &|mailbox, conversation| reads.sent_within(mailbox, conversation),
                duplicate: &|key| reads.duplicate(key),
            })
        })
    }

    /// What a read message's report says of mail that its mailbox sent; empty when it is about none we know.
    ///
    /// # Errors
    /// As [`Knowledge::ask`].
    pub fn news(&mut self, read: &Interpretation) -> Result<Vec<News>, QueueError> {
        let Some(about) = read.about.as_ref().filter(|about| about.is_believed) else {
            return Ok(Vec::new());
        };
        self.read(|reads| {
            let mut news = told(about, read);
            for (one, places) in &mut news {
                // Sent to it more than once: the one that wasn't told of yet.
                let is_new =
                    |place: &&(QueueId, u32)| one.bounced.is_some() && reads.may_bounce(place.0, place.1);
                match places.iter().find(is_new) {
                    Some((about, number)) => (one.about, one.recipient) = (*about, Some(*number)),
                    None => one.bounced = None,
                }
            }
            news.into_iter().map(|(one, _)| one).collect()
        })
    }

    /// Where the newest message of the conversation wants answers.
    ///
    /// # Errors
    /// As [`Knowledge::ask`].
    pub fn answer_to(&mut self, conversation: ConversationId) -> Result<Option<String>, QueueError> {
        self.read(|reads| reads.answer_to(conversation))
    }

    /// For each conversation in which this address wrote: whose it is, and where it wants answers by now.
    ///
    /// # Errors
    /// As [`Knowledge::ask`].
    pub fn newest(&mut self, address: &str) -> Result<Vec<Newest>, QueueError> {
        self.read(|reads| reads.newest(&address.to_lowercase()))
    }

    fn read<T>(&mut self, asked: impl FnOnce(&Reads<'_>) -> T) -> Result<T, QueueError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => super::index::open_read_only(&self.index)?,
        };
        // One snapshot for all: each question by itself would look for it anew.
        let snapshot = connection.unchecked_transaction()?;
        let reads = Reads::new(&connection, self.own, &self.recent);
        let answer = asked(&reads);
        reads.trouble()?;
        snapshot.commit()?;
        self.connection = Some(connection);
        Ok(answer)
    }
}

impl Drop for Knowledge {
    fn drop(&mut self) {
        let mut idle = self.queue.core.recent.idle.lock();
        if idle.len() < IDLE_READERS {
            idle.extend(self.connection.take());
        }
    }
}

/// One piece of news for each recipient that a report speaks of; one in all for an answering machine, and for a report
/// that names nobody.
///
/// Each with the places it may be about.
fn told<'a>(about: &'a About, read: &Interpretation) -> Vec<(News, &'a [(QueueId, u32)])> {
    use crate::inbox::automatic::Kind;
    let news = |kind, detail| News { about: about.id, recipient: None, kind, detail, bounced: None };
    if read.automatic == Some(Kind::AutoReply) {
        let who = read.index.correspondent.as_deref().unwrap_or("somebody");
        return vec![(news(super::Kind::AutoReplied, format!("{who} answered by a machine")), &[])];
    }
    if about.affected.is_empty() {
        let from = read.index.correspondent.as_deref().unwrap_or("a mail server");
        let detail = format!("{from} sent a bounce that names no recipient");
        return vec![(news(super::Kind::BouncedLater, detail), &[])];
    }
    let of = |each: &'a Affected| {
        let action = each.action.as_deref()?;
        let kind = match action {
            "failed" => super::Kind::BouncedLater,
            "delayed" => super::Kind::DelayedLater,
            _ => return None,
        };
        let mut detail = format!("{} {action}", each.address);
        let words: Vec<&str> =
            [&each.status, &each.diagnostic].into_iter().flatten().map(String::as_str).collect();
        for word in &words {
            detail.extend([": ", word]);
        }
        let said = if words.is_empty() { "a bounce came back".to_owned() } else { words.join(" ") };
        let bounced = Some(said).filter(|_| kind == super::Kind::BouncedLater);
        let (about, number) = each.places.first()?;
        let one = News { about: *about, recipient: Some(*number), bounced, ..news(kind, detail) };
        Some((one, each.places.as_slice()))
    };
    about.affected.iter().filter_map(of).collect()
}

/// The first trouble that look-ups met.
type Trouble = RefCell<Option<rusqlite::Error>>;
