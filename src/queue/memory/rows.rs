//! Every statement that changes what is remembered. Nothing here commits by itself; each can be carried out again.

use super::super::QueueId;
use super::{CORRESPONDENTS, IDS, Memory, News, Place, TEXT_CORRESPONDENTS, TEXTS};
use crate::inbox::DuplicateKey;
use crate::inbox::conversation::ConversationId;
use jiff::Timestamp;
use rusqlite::{Connection, Statement, params};

/// The tables; the entry of `MIGRATIONS` that makes them.
///
/// `memory_message.sent` was our message of that Message-ID before there was [`SENT`]; nothing writes it any more. A copy
/// of held mail has an empty mailbox.
pub(in crate::queue) const SCHEMA: &str = "
CREATE TABLE memory_conversation(
  id INTEGER PRIMARY KEY, mailbox TEXT NOT NULL, used INTEGER NOT NULL, answer_to TEXT) STRICT;
CREATE INDEX memory_conversation_used ON memory_conversation(used);
CREATE TABLE memory_message(
  mailbox TEXT NOT NULL, message_id TEXT NOT NULL, conversation INTEGER NOT NULL, sent INTEGER, at INTEGER NOT NULL,
  PRIMARY KEY(mailbox, message_id)) STRICT, WITHOUT ROWID;
CREATE INDEX memory_message_of ON memory_message(conversation, at);
CREATE TABLE memory_key(
  mailbox TEXT NOT NULL, key TEXT NOT NULL, conversation INTEGER NOT NULL,
  PRIMARY KEY(mailbox, key)) STRICT, WITHOUT ROWID;
CREATE INDEX memory_key_of ON memory_key(conversation);
CREATE TABLE memory_subject(
  mailbox TEXT NOT NULL, correspondent TEXT NOT NULL, subject TEXT NOT NULL, conversation INTEGER NOT NULL,
  used INTEGER NOT NULL, PRIMARY KEY(mailbox, correspondent, subject)) STRICT, WITHOUT ROWID;
CREATE INDEX memory_subject_of ON memory_subject(conversation);
CREATE TABLE memory_party(
  conversation INTEGER NOT NULL, address TEXT NOT NULL, PRIMARY KEY(conversation, address)) STRICT, WITHOUT ROWID;
CREATE TABLE memory_text(
  mailbox TEXT NOT NULL, correspondent TEXT NOT NULL, message INTEGER NOT NULL, conversation INTEGER NOT NULL,
  text TEXT NOT NULL, PRIMARY KEY(mailbox, correspondent, message)) STRICT, WITHOUT ROWID;
CREATE INDEX memory_text_of ON memory_text(conversation);
CREATE TABLE memory_copy(
  mailbox TEXT NOT NULL, message_id TEXT NOT NULL, body_hash TEXT NOT NULL, message INTEGER NOT NULL,
  at INTEGER NOT NULL, UNIQUE(mailbox, message_id, body_hash)) STRICT;
CREATE INDEX memory_copy_at ON memory_copy(at);
";

/// Whether a party wrote itself, rather than was written to: only then it is known for an address of the conversation.
pub(in crate::queue) const WROTE: &str = "
ALTER TABLE memory_party ADD COLUMN wrote INTEGER NOT NULL DEFAULT 0;
CREATE INDEX memory_party_wrote ON memory_party(address) WHERE wrote;
";

/// Every message of ours under a Message-ID: an application may send one letter in a transaction for each recipient. `n`
/// is 0 for the Message-ID it left with, more for what the smarthost's replies revealed. A row is of use as long as the
/// journal knows the message.
pub(in crate::queue) const SENT: &str = "
CREATE TABLE memory_sent(
  mailbox TEXT NOT NULL, message_id TEXT NOT NULL, message INTEGER NOT NULL, n INTEGER NOT NULL, at INTEGER NOT NULL,
  PRIMARY KEY(mailbox, message_id, message)) STRICT, WITHOUT ROWID;
CREATE INDEX memory_sent_of ON memory_sent(message, n);
CREATE INDEX memory_sent_at ON memory_sent(at);
INSERT INTO memory_sent SELECT mailbox,message_id,sent,0,at FROM memory_message WHERE sent IS NOT NULL;
";

/// Takes over what an index from before [`SENT`] knew, after its rows were copied.
pub(in crate::queue) const SENT_BEFORE: &str = "
INSERT OR IGNORE INTO memory_sent SELECT mailbox,message_id,sent,0,at FROM memory_message WHERE sent IS NOT NULL";

/// A conversation's number as a row holds it.
pub(in crate::queue) fn bits(conversation: ConversationId) -> i64 {
    conversation.to_bits().cast_signed()
}

/// Prepared once, used by the writer alone.
pub(in crate::queue) struct Rows<'c> {
    connection: &'c Connection,
    touch: Statement<'c>,
    message: Statement<'c>,
    sent: Statement<'c>,
    fewer_messages: Statement<'c>,
    key: Statement<'c>,
    subject: Statement<'c>,
    party: Statement<'c>,
    text: Statement<'c>,
    fewer_texts: Statement<'c>,
    copy: Statement<'c>,
    tell: Statement<'c>,
}

impl<'c> Rows<'c> {
    pub(in crate::queue) fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            connection,
            touch: connection.prepare(
                "INSERT INTO memory_conversation VALUES(?1,?2,?3,?4)
                 ON CONFLICT(id) DO UPDATE SET used=max(used,?3),answer_to=ifnull(?4,answer_to)",
            )?,
            message: connection.prepare(
                "INSERT OR IGNORE INTO memory_message(mailbox,message_id,conversation,at) VALUES(?1,?2,?3,?4)",
            )?,
            sent: connection.prepare("INSERT OR IGNORE INTO memory_sent VALUES(?1,?2,?3,?4,?5)")?,
            fewer_messages: connection.prepare(
                "DELETE FROM memory_message WHERE (mailbox,message_id) IN (SELECT mailbox,message_id
                 FROM memory_message WHERE conversation=?1 ORDER BY at DESC LIMIT -1 OFFSET ?2)",
            )?,
            key: connection.prepare("INSERT OR REPLACE INTO memory_key VALUES(?1,?2,?3)")?,
            subject: connection.prepare("INSERT OR REPLACE INTO memory_subject VALUES(?1,?2,?3,?4,?5)")?,
            party: connection.prepare(
                "INSERT INTO memory_party(conversation,address,wrote) VALUES(?1,?2,?3)
                 ON CONFLICT(conversation,address) DO UPDATE SET wrote=1 WHERE excluded.wrote",
            )?,
            text: connection.prepare("INSERT OR IGNORE INTO memory_text VALUES(?1,?2,?3,?4,?5)")?,
            fewer_texts: connection.prepare(
                "DELETE FROM memory_text WHERE mailbox=?1 AND correspondent=?2 AND message IN (SELECT message
                 FROM memory_text WHERE mailbox=?1 AND correspondent=?2 ORDER BY message DESC LIMIT -1 OFFSET ?3)",
            )?,
            copy: connection.prepare(
                "INSERT OR IGNORE INTO memory_copy(mailbox,message_id,body_hash,message,at) VALUES(?1,?2,?3,?4,?5)",
            )?,
            tell: connection.prepare(
                "INSERT OR IGNORE INTO event SELECT ?1,?2,?5,?3,?4 WHERE EXISTS(SELECT 1 FROM message WHERE id=?1)",
            )?,
        })
    }

    /// Remembers what the message `id` left.
    pub(in crate::queue) fn keep(
        &mut self,
        id: QueueId,
        at: Timestamp,
        memory: &Memory,
    ) -> rusqlite::Result<()> {
        let at = at.as_millisecond();
        if let Some(DuplicateKey { mailbox, message_id, body_hash }) = &memory.duplicate {
            self.copy.execute(params![mailbox, message_id, body_hash, id.to_row(), at])?;
        }
        if let Some(place) = &memory.place {
            self.place(id, at, place)?;
        }
        for News { about, recipient, kind, detail, .. } in &memory.news {
            let recipient = recipient.map_or(-1, i64::from);
            self.tell.execute(params![about.to_row(), at, kind.to_row(), detail, recipient])?;
        }
        Ok(())
    }

    fn place(&mut self, id: QueueId, at: i64, place: &Place) -> rusqlite::Result<()> {
        let (mailbox, conversation) = (&place.mailbox, bits(place.conversation));
        self.touch.execute(params![conversation, mailbox, at, place.answer_to])?;
        for (n, message_id) in (0_i64..).zip(&place.message_ids) {
            self.message.execute(params![mailbox, message_id, conversation, at])?;
            if place.is_ours {
                self.sent.execute(params![mailbox, message_id, id.to_row(), n, at])?;
            }
        }
        self.fewer_messages.execute(params![conversation, limit(IDS)])?;
        if let Some(key) = &place.channel_key {
            self.key.execute(params![mailbox, key, conversation])?;
        }
        for who in place.correspondents.iter().take(CORRESPONDENTS) {
            self.party.execute(params![conversation, who, !place.is_ours])?;
            if let Some(subject) = &place.subject {
                self.subject.execute(params![mailbox, who, subject, conversation, at])?;
            }
        }
        let Some(text) = &place.text else { return Ok(()) };
        for who in place.correspondents.iter().take(TEXT_CORRESPONDENTS) {
            self.text.execute(params![mailbox, who, id.to_row(), conversation, text])?;
            self.fewer_texts.execute(params![mailbox, who, limit(TEXTS)])?;
        }
        Ok(())
    }

    /// Forgets up to `most` conversations last used before `before` ms, and as many copies and messages that were sent.
    pub(in crate::queue) fn prune(&mut self, before: i64, most: i64) -> rusqlite::Result<()> {
        let mut old = self.connection.prepare("SELECT id FROM memory_conversation WHERE used<?1 LIMIT ?2")?;
        let ids: Vec<i64> =
            old.query_map([before, most], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        for sql in [
            "DELETE FROM memory_message WHERE conversation=?1",
            "DELETE FROM memory_key WHERE conversation=?1",
            "DELETE FROM memory_subject WHERE conversation=?1",
            "DELETE FROM memory_party WHERE conversation=?1",
            "DELETE FROM memory_text WHERE conversation=?1",
            "DELETE FROM memory_conversation WHERE id=?1",
        ] {
            let mut delete = self.connection.prepare(sql)?;
            for id in &ids {
                delete.execute([id])?;
            }
        }
        for sql in [
            "DELETE FROM memory_copy WHERE rowid IN (SELECT rowid FROM memory_copy WHERE at<?1 LIMIT ?2)",
            "DELETE FROM memory_sent WHERE (mailbox,message_id,message) IN
             (SELECT mailbox,message_id,message FROM memory_sent WHERE at<?1 LIMIT ?2)",
        ] {
            self.connection.prepare(sql)?.execute([before, most])?;
        }
        Ok(())
    }
}

fn limit(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
