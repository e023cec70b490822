//! A claimed message as it goes out through one smarthost: rewritten for it, converted if it must be, and read piece by
//! piece.
//!
//! What is stored stays as it was accepted, because the next attempt may take another smarthost. A rewritten message is
//! a new beginning in memory, and behind it the stored octets: the body is never copied. Where nothing can be to do the
//! header section isn't even looked at. Fails when content can't be read back.

use super::connections::Lane;
use super::sent::Sent;
use super::target::Target;
use crate::config::schema::Smarthost;
use crate::message::convert;
use crate::message::fields::{HeaderScan, HeaderSection};
use crate::message::rewrite::from::{self, Message, Rewriting};
use crate::message::rewrite::{Head, answers};
use crate::queue::{Content, Due, Queue};
use crate::smtp::address::Address;
use bytes::Bytes;
use std::io;

/// Octets that are looked through at once.
const PIECE: usize = 64 * 1024;
/// Content up to this size is read whole.
const WHOLE_READ: u64 = 256 * 1024;
/// A header section was 256 KiB at most when it was taken; rules and trace may have added to it.
pub const HEADER_LIMIT: usize = 512 * 1024;
/// Most header sections are shorter.
const FIRST_READ: usize = 16 * 1024;

/// A message on its way out.
#[derive(Debug)]
pub(super) struct Outgoing {
    head: Bytes,
    /// How many of the source's octets the head stands for.
    skip: u64,
    source: Source,
    length: u64,
    sender: Option<Address>,
    /// Whether the header section as rewritten holds octets above 127; none when it wasn't.
    eight_bit_header: Option<bool>,
    /// Whether the mailbox that it was rewritten to needs SMTPUTF8.
    eight_bit_mailbox: bool,
    changes: Vec<String>,
    /// What to remember of it when a mailbox sends it.
    sent: Option<Sent>,
}

/// Where its octets are.
#[derive(Debug)]
enum Source {
    Near(Bytes),
    Far(Content),
}

/// Brings a message near and rewrites it for this smarthost, which takes UTF-8 in its header section or doesn't.
///
/// # Errors
/// When its content can't be read.
pub(super) async fn prepare(
    lane: &Lane,
    due: &Due,
    target: &Target,
    may_be_utf8: bool,
) -> io::Result<Outgoing> {
    let (queue, smarthost) = (lane.queue(), &target.smarthost);
    let may_be_sent = !target.senders.is_empty();
    let source = match &due.content {
        Content::Memory(held) => Source::Near(held.octets.clone()),
        Content::Stored(_, location) if location.length <= WHOLE_READ => {
            Source::Near(queue.read(&due.content, 0, usize::MAX).await?)
        }
        Content::Stored(..) => Source::Far(due.content.clone()),
    };
    let mut outgoing = Outgoing::of(source, due.size_bytes);
    if smarthost.address.is_some() || may_be_sent {
        let beginning = match &outgoing.source {
            _ if !may_be_sent && !reads_header(smarthost) => Bytes::new(),
            Source::Near(octets) => octets.clone(),
            Source::Far(content) => header_of(queue, content).await?,
        };
        if let Source::Far(_) = outgoing.source {
            // Content is checked as a whole when its first piece is read; once is enough.
            (outgoing.skip, outgoing.head) = (beginning.len() as u64, beginning.clone());
        }
        outgoing.rewrite(&beginning, due, smarthost, may_be_utf8);
        if may_be_sent {
            let octets = outgoing.beginning(&beginning);
            outgoing.introduce(octets, lane, due, target).await;
        }
    }
    Ok(outgoing)
}

/// As much of stored content as its header section needs.
///
/// # Errors
/// When the content can't be read.
pub async fn header_of(queue: &Queue, content: &Content) -> io::Result<Bytes> {
    let first = queue.read(content, 0, FIRST_READ).await?;
    if HeaderScan::new(HEADER_LIMIT).is_complete(&first) {
        return Ok(first);
    }
    queue.read(content, 0, HEADER_LIMIT).await
}

#[expect(
    clippy::redundant_closure_for_method_calls,
    reason = "the method alone isn't for accounts of any lifetime"
)]
fn reads_header(smarthost: &Smarthost) -> bool {
    smarthost.with_account(|account| account.reads_header())
}

impl Outgoing {
    fn of(source: Source, length: u64) -> Self {
        Self {
            head: Bytes::new(),
            skip: 0,
            source,
            length,
            sender: None,
            eight_bit_header: None,
            eight_bit_mailbox: false,
            changes: Vec::new(),
            sent: None,
        }
    }

    fn rewrite(&mut self, beginning: &[u8], due: &Due, smarthost: &Smarthost, may_be_utf8: bool) {
        let header = HeaderSection::within(beginning, HEADER_LIMIT);
        let smtputf8 = due.envelope.smtputf8 && may_be_utf8;
        let message = Message { sender: due.envelope.sender.as_ref(), smtputf8 };
        let Rewriting { edits, sender, changes } =
            smarthost.with_account(|account| from::rewrite(&header, message, account));
        (self.sender, self.changes) = (sender, changes);
        self.eight_bit_mailbox = (self.sender.is_some() || !edits.is_empty())
            && smarthost.address.as_ref().is_some_and(|address| !address.is_ascii());
        if edits.is_empty() {
            return;
        }
        let Head { mut octets, replaces } = edits.head(beginning);
        let rest = header.octets().get(replaces..).unwrap_or_default();
        self.eight_bit_header = Some(!octets.is_ascii() || !rest.is_ascii());
        self.length = self.length.saturating_sub(replaces as u64) + octets.len() as u64;
        self.skip = replaces as u64;
        if let Source::Far(_) = self.source {
            // What was read already needn't be read again.
            octets.extend_from_slice(beginning.get(replaces..).unwrap_or_default());
            self.skip = beginning.len() as u64;
        }
        self.head = Bytes::from(octets);
    }

    /// The first octets as they go out, with the whole header section; `stored` are those that are stored.
    fn beginning(&self, stored: &Bytes) -> Bytes {
        if self.head.is_empty() && self.skip == 0 {
            return stored.slice(..stored.len().min(HEADER_LIMIT));
        }
        let rest = slice(stored, self.skip, HEADER_LIMIT.saturating_sub(self.head.len()));
        Bytes::from([&self.head, rest.as_ref()].concat())
    }

    /// Finds out whether a mailbox sends it; then it is told where answers are wanted, if the mailbox says so.
    async fn introduce(&mut self, octets: Bytes, lane: &Lane, due: &Due, target: &Target) {
        let (senders, queue, asked, seen) =
            (target.senders.clone(), lane.queue().clone(), due.clone(), octets.clone());
        let reading =
            tokio::task::spawn_blocking(move || senders.read(&seen, &asked, &mut queue.knowledge(asked.id)));
        let (sent, trouble) = reading.await.unwrap_or_default();
        if let Some(cause) = trouble {
            lane.events.conversation_unknown(due.id, &cause);
        }
        if let Some(address) = sent.as_ref().and_then(|sent| sent.reply_to.as_deref()) {
            let header = HeaderSection::within(&octets, HEADER_LIMIT);
            if let Some((edits, changes)) = answers::ask_at(&header, address) {
                self.put(edits.head(&octets));
                self.changes.extend(changes);
            }
        }
        self.sent = sent;
    }

    /// Puts an edited beginning in the place of what goes out now.
    fn put(&mut self, Head { mut octets, replaces }: Head) {
        self.length = self.length.saturating_sub(replaces as u64) + octets.len() as u64;
        octets.extend_from_slice(self.head.get(replaces..).unwrap_or_default());
        self.skip += replaces.saturating_sub(self.head.len()) as u64;
        self.head = Bytes::from(octets);
    }

    /// Octets that go out.
    pub(super) fn len(&self) -> u64 {
        self.length
    }

    /// The envelope sender to use instead of the message's own.
    pub(super) fn sender(&self) -> Option<&Address> {
        self.sender.as_ref()
    }

    /// Whether the header section needs SMTPUTF8, which it did or didn't when it was taken (RFC 6531 §3.4). Envelope
    /// addresses are the client's to look at.
    pub(super) fn needs_smtputf8(&self, accepted: bool) -> bool {
        self.eight_bit_mailbox || accepted && self.eight_bit_header.unwrap_or(true)
    }

    /// What was changed, in words, and what to remember when it is delivered.
    pub(super) fn into_changes(self) -> (Vec<String>, Option<Sent>) {
        (self.changes, self.sent)
    }

    /// Up to `length` octets from `offset` on; at least one, if there is any.
    ///
    /// # Errors
    /// When content can't be read.
    pub(super) async fn read(&self, queue: &Queue, offset: u64, length: usize) -> io::Result<Bytes> {
        let head = self.head.len() as u64;
        if offset < head {
            return Ok(slice(&self.head, offset, length));
        }
        let offset = offset - head + self.skip;
        match &self.source {
            Source::Near(octets) => Ok(slice(octets, offset, length)),
            Source::Far(content) => queue.read(content, offset, length).await,
        }
    }

    /// Whether a line is longer than 998 octets (RFC 5322 §2.1.1).
    pub(super) async fn has_long_line(&self, queue: &Queue) -> bool {
        let mut offset = 0;
        // What can't be read now is told when it is sent.
        while let Ok(piece) = self.read(queue, offset, PIECE).await {
            if convert::has_long_line(&piece) {
                return true;
            }
            let end = offset + piece.len() as u64;
            if piece.is_empty() || end >= self.length {
                return false;
            }
            // A line that goes on in the next piece is looked at there, whole.
            offset = memchr::memrchr(b'\n', &piece).map_or(end, |at| offset + at as u64 + 1);
        }
        false
    }

    /// Makes it 7-bit, with lines of at most 998 octets; false when that can't be.
    pub(super) async fn convert_to_seven_bit(&mut self, queue: &Queue) -> bool {
        let stored = match &self.source {
            Source::Near(octets) => octets.clone(),
            Source::Far(content) => match queue.read(content, 0, usize::MAX).await {
                Ok(octets) => octets,
                Err(_) => return false,
            },
        };
        let (head, skip) = (self.head.clone(), self.skip);
        // A large message takes a while to convert; other connections must not wait for it.
        let converted = tokio::task::spawn_blocking(move || {
            if head.is_empty() && skip == 0 {
                return convert::to_seven_bit(&stored);
            }
            convert::to_seven_bit(&[&head, slice(&stored, skip, usize::MAX).as_ref()].concat())
        });
        let Ok(Ok(converted)) = converted.await else { return false };
        self.length = converted.len() as u64;
        self.head = Bytes::new();
        self.skip = 0;
        self.source = Source::Near(Bytes::from(converted));
        true
    }
}

fn slice(octets: &Bytes, offset: u64, length: usize) -> Bytes {
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(octets.len());
    octets.slice(start..start.saturating_add(length).min(octets.len()))
}
