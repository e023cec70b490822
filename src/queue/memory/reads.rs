//! The look-ups: first in what was handed over and isn't committed yet, the newest first, then in the index.

use super::super::{Kind, QueueId};
use super::{Memory, News, Place, SENT_WITHIN, TEXTS, TRANSACTIONS, Trouble};
use crate::inbox::about::SentMail;
use crate::inbox::channel::Newest;
use crate::inbox::conversation::ConversationId;
use crate::inbox::{DuplicateKey, LastUsed, SentText};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Params, Row, params};
use std::sync::Arc;

/// What a mailbox (1) sent in a conversation (2).
const WITHIN: &str = "SELECT s.message,s.message_id FROM memory_message m
    JOIN memory_sent s ON s.mailbox=m.mailbox AND s.message_id=m.message_id
    WHERE m.conversation=?2 AND m.mailbox=?1 AND s.n=0 ORDER BY s.message DESC LIMIT ?3";

/// The rows, and what is on its way to them.
pub(super) struct Reads<'r> {
    connection: &'r Connection,
    own: QueueId,
    recent: &'r [(QueueId, Timestamp, Arc<Memory>)],
    trouble: Trouble,
}

impl<'r> Reads<'r> {
    pub(super) fn new(
        connection: &'r Connection,
        own: QueueId,
        recent: &'r [(QueueId, Timestamp, Arc<Memory>)],
    ) -> Self {
        Self { connection, own, recent, trouble: Trouble::default() }
    }

    /// The first error that a look-up met.
    pub(super) fn trouble(self) -> rusqlite::Result<()> {
        self.trouble.into_inner().map_or(Ok(()), Err)
    }

    /// The conversation in which this Message-ID stands.
    pub(super) fn by_message_id(&self, mailbox: &str, id: &str) -> Option<ConversationId> {
        let recent = self.places(mailbox).find(|(_, _, place)| is_known_as(place, id));
        if let Some((_, _, place)) = recent {
            return Some(place.conversation);
        }
        let sql = "SELECT conversation FROM memory_message WHERE mailbox=?1 AND message_id=?2";
        self.one(sql, [mailbox, id], conversation)
    }

    /// What the mailbox sent under this Message-ID, or under this id of ours; the newest first.
    pub(super) fn sent(&self, mailbox: &str, id: &str) -> Vec<SentMail> {
        if let Ok(message) = id.parse() {
            let message_id = self.message_id_of(mailbox, message);
            return message_id.and_then(|own| self.sent_as(message, &own)).into_iter().collect();
        }
        let is_it = |(_, _, place): &(QueueId, Timestamp, &Place)| place.is_ours && is_known_as(place, id);
        let mut messages: Vec<QueueId> = self.places(mailbox).filter(is_it).map(|(id, _, _)| id).collect();
        let sql = "SELECT message FROM memory_sent WHERE mailbox=?1 AND message_id=?2
            ORDER BY message DESC LIMIT ?3";
        let limit = i64::try_from(TRANSACTIONS).unwrap_or(i64::MAX);
        let kept = self.connection.prepare_cached(sql).and_then(|mut rows| {
            let one = |row: &Row<'_>| row.get(0).map(QueueId::from_row);
            rows.query_map(params![mailbox, id, limit], one)?.collect::<rusqlite::Result<Vec<_>>>()
        });
        messages.extend(self.noted(kept).unwrap_or_default());
        messages.sort_unstable();
        messages.dedup();
        messages.into_iter().rev().filter_map(|message| self.sent_as(message, id)).collect()
    }

    /// What the mailbox sent in this conversation, under the Message-ID it left with; the newest first.
    pub(super) fn sent_within(&self, mailbox: &str, within: ConversationId) -> Vec<SentMail> {
        let ours = self.places(mailbox).filter(|(_, _, place)| place.is_ours && place.conversation == within);
        let mut messages: Vec<(QueueId, String)> =
            ours.filter_map(|(id, _, place)| Some((id, place.message_ids.first()?.clone()))).collect();
        let limit = i64::try_from(SENT_WITHIN).unwrap_or(i64::MAX);
        let kept = self.connection.prepare_cached(WITHIN).and_then(|mut rows| {
            let one = |row: &Row<'_>| Ok((QueueId::from_row(row.get(0)?), row.get(1)?));
            let found = rows.query_map(params![mailbox, super::rows::bits(within), limit], one)?;
            found.collect::<rusqlite::Result<Vec<_>>>()
        });
        messages.extend(self.noted(kept).unwrap_or_default());
        messages.sort_unstable_by(|one, other| other.cmp(one));
        messages.dedup();
        messages.truncate(SENT_WITHIN);
        messages.into_iter().filter_map(|(id, message_id)| self.sent_as(id, &message_id)).collect()
    }

    fn sent_as(&self, message: QueueId, message_id: &str) -> Option<SentMail> {
        let sql = "SELECT n,address FROM recipient WHERE message=?1 ORDER BY n";
        let found = self.connection.prepare_cached(sql).and_then(|mut rows| {
            let one = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
            rows.query_map([message.to_row()], one)?.collect::<rusqlite::Result<Vec<_>>>()
        });
        // The journal may have forgotten it before the conversation.
        let recipients = self.noted(found).filter(|recipients| !recipients.is_empty())?;
        Some(SentMail { id: message, message_id: message_id.to_owned(), recipients })
    }

    /// The Message-ID of a message of ours, if the mailbox sent it.
    fn message_id_of(&self, mailbox: &str, message: QueueId) -> Option<String> {
        let is_it = |(id, _, place): &(QueueId, Timestamp, &Place)| *id == message && place.is_ours;
        if let Some((_, _, place)) = self.places(mailbox).find(is_it) {
            return place.message_ids.first().cloned();
        }
        let sql = "SELECT message_id FROM memory_sent WHERE mailbox=?1 AND message=?2 ORDER BY n LIMIT 1";
        self.one(sql, params![mailbox, message.to_row()], |row| row.get(0))
    }

    /// Whether a bounce about this recipient would be news: we said nothing of the kind ourselves, and none came before.
    pub(super) fn may_bounce(&self, message: QueueId, recipient: u32) -> bool {
        let is_it = |news: &News| {
            (news.about, news.recipient, news.kind) == (message, Some(recipient), Kind::BouncedLater)
        };
        let recent = self.recent.iter().any(|(_, _, memory)| memory.news.iter().any(is_it));
        let sql = "SELECT 1 FROM event WHERE message=?1 AND recipient=?2 AND kind=?3";
        let told =
            self.one(sql, params![message.to_row(), recipient, Kind::BouncedLater.to_row()], |_| Ok(()));
        // Delivered, or on its way to the index as such.
        let sql = "SELECT 1 FROM recipient WHERE message=?1 AND n=?2 AND state<=3";
        let is_out = self.one(sql, params![message.to_row(), recipient], |_| Ok(()));
        !recent && told.is_none() && is_out.is_some()
    }

    pub(super) fn by_channel_key(&self, mailbox: &str, key: &str) -> Option<ConversationId> {
        let recent = self.places(mailbox).find(|(_, _, place)| place.channel_key.as_deref() == Some(key));
        if let Some((_, _, place)) = recent {
            return Some(place.conversation);
        }
        let sql = "SELECT conversation FROM memory_key WHERE mailbox=?1 AND key=?2";
        self.one(sql, [mailbox, key], conversation)
    }

    pub(super) fn sent_texts(&self, mailbox: &str, who: &str) -> Vec<SentText> {
        let recent = self.places(mailbox).filter(|(_, _, place)| {
            place.correspondents.iter().take(super::TEXT_CORRESPONDENTS).any(|each| each == who)
        });
        let mut texts: Vec<SentText> = recent
            .filter_map(|(_, _, place)| {
                Some(SentText { conversation: place.conversation, text: place.text.clone()? })
            })
            .collect();
        let sql = "SELECT conversation,text FROM memory_text WHERE mailbox=?1 AND correspondent=?2
            ORDER BY message DESC LIMIT ?3";
        let limit = i64::try_from(TEXTS).unwrap_or(i64::MAX);
        let found = self.connection.prepare_cached(sql).and_then(|mut rows| {
            let text = |row: &Row<'_>| Ok(SentText { conversation: conversation(row)?, text: row.get(1)? });
            rows.query_map(params![mailbox, who, limit], text)?.collect::<rusqlite::Result<Vec<_>>>()
        });
        // One that was committed just now may be there twice.
        for text in self.noted(found).unwrap_or_default() {
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        texts.truncate(TEXTS);
        texts
    }

    pub(super) fn by_subject(&self, mailbox: &str, who: &str, subject: &str) -> Option<LastUsed> {
        let recent = self.places(mailbox).find(|(_, _, place)| {
            place.subject.as_deref() == Some(subject) && place.correspondents.iter().any(|each| each == who)
        });
        if let Some((_, at, place)) = recent {
            return Some((place.conversation, at));
        }
        let sql = "SELECT conversation,used FROM memory_subject WHERE mailbox=?1 AND correspondent=?2 AND subject=?3";
        let (found, used) =
            self.one(sql, [mailbox, who, subject], |row| Ok((conversation(row)?, row.get(1)?)))?;
        Some((found, Timestamp::from_millisecond(used).ok()?))
    }

    pub(super) fn takes_part(&self, within: ConversationId, who: &str) -> bool {
        let mut all = self.recent.iter().filter_map(|(_, _, memory)| memory.place.as_ref());
        let recent = all
            .any(|place| place.conversation == within && place.correspondents.iter().any(|each| each == who));
        let sql = "SELECT 1 FROM memory_party WHERE conversation=?1 AND address=?2";
        recent || self.one(sql, params![super::rows::bits(within), who], |_| Ok(())).is_some()
    }

    pub(super) fn answer_to(&self, within: ConversationId) -> Option<String> {
        let mut all = self.recent.iter().filter_map(|(_, _, memory)| memory.place.as_ref());
        let recent = all.find_map(|place| place.answer_to.clone().filter(|_| place.conversation == within));
        let sql = "SELECT answer_to FROM memory_conversation WHERE id=?1 AND answer_to IS NOT NULL";
        recent.or_else(|| self.one(sql, [super::rows::bits(within)], |row| row.get(0)))
    }

    /// For each conversation in which this address wrote: whose it is, and where it wants answers by now.
    pub(super) fn newest(&self, address: &str) -> Vec<Newest> {
        let all = self.recent.iter().filter_map(|(_, _, memory)| memory.place.as_ref());
        let wrote =
            |place: &&Place| !place.is_ours && place.correspondents.iter().any(|each| each == address);
        let mut found: Vec<(String, ConversationId)> =
            all.filter(wrote).map(|place| (place.mailbox.clone(), place.conversation)).collect();
        let sql =
            "SELECT c.id,c.mailbox FROM memory_party p JOIN memory_conversation c ON c.id=p.conversation
            WHERE p.address=?1 AND p.wrote ORDER BY c.used DESC LIMIT 20";
        let kept = self.connection.prepare_cached(sql).and_then(|mut rows| {
            let one = |row: &Row<'_>| Ok((row.get(1)?, conversation(row)?));
            rows.query_map([address], one)?.collect::<rusqlite::Result<Vec<_>>>()
        });
        found.extend(self.noted(kept).unwrap_or_default());
        let newest = |(mailbox, within)| Some(Newest { mailbox, address: self.answer_to(within)? });
        found.into_iter().filter_map(newest).collect()
    }

    /// The message's own earlier reading is no copy.
    pub(super) fn duplicate(&self, key: &DuplicateKey) -> Option<String> {
        // Of several the first: they stand newest first.
        let mut recent = self.recent.iter().rev().filter(|(id, _, _)| *id != self.own);
        let sql = "SELECT message FROM memory_copy WHERE mailbox=?1 AND message_id=?2 AND body_hash=?3";
        let kept = self.one(sql, [&key.mailbox, &key.message_id, &key.body_hash], |row| row.get(0));
        let kept = kept.map(QueueId::from_row).filter(|id| *id != self.own);
        let found = kept.or_else(|| {
            recent.find(|(_, _, memory)| memory.duplicate.as_ref() == Some(key)).map(|(id, _, _)| *id)
        });
        found.map(|id| id.to_string())
    }

    fn places<'a>(&'a self, mailbox: &'a str) -> impl Iterator<Item = (QueueId, Timestamp, &'a Place)> {
        self.recent.iter().filter_map(move |(id, at, memory)| {
            Some((*id, *at, memory.place.as_ref().filter(|place| place.mailbox == mailbox)?))
        })
    }

    fn one<T>(
        &self,
        sql: &str,
        parameters: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Option<T> {
        let found = self.connection.prepare_cached(sql).and_then(|mut row| row.query_row(parameters, read));
        self.noted(found.optional()).flatten()
    }

    /// The answer; an error is kept for the end.
    fn noted<T>(&self, found: rusqlite::Result<T>) -> Option<T> {
        match found {
            Ok(found) => Some(found),
            Err(error) => {
                self.trouble.borrow_mut().get_or_insert(error);
                None
            }
        }
    }
}

fn is_known_as(place: &Place, id: &str) -> bool {
    place.message_ids.iter().any(|own| own == id)
}

fn conversation(row: &Row<'_>) -> rusqlite::Result<ConversationId> {
    let bits: i64 = row.get(0)?;
    Ok(ConversationId::from_bits(bits.cast_unsigned()))
}
