//! Content that stays behind its message's end, because the event left attachments out.
//!
//! A row here holds the message's place in its segment. It is written in the transaction that settles the message, so
//! that an event and what it left out can't come apart, and it goes with the message's row in the journal. Such a
//! message is always large, so that it has a segment of its own and keeps nothing else from going.
//!
//! Bounded: all of it together takes no more than [`SHARE`] of the spool, and gives way when there is no room for new
//! mail; the oldest goes first. `queue salvage` keeps none of it.

use super::store::unsigned;
use super::work::Location;
use super::{Damaged, Queue, QueueError, QueueId, asking, index};
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

/// The part of the spool's `max_size` that kept content may take: one of so many.
const SHARE: u64 = 4;

/// The table; the entry of `MIGRATIONS` that makes it.
pub(super) const SCHEMA: &str = "CREATE TABLE kept(message INTEGER PRIMARY KEY, segment INTEGER NOT NULL, bytes INTEGER NOT NULL) STRICT;";

/// Keeps a message's content; the segment that holds it, unless that was known.
pub(super) fn keep(connection: &Connection, id: QueueId) -> rusqlite::Result<Option<u64>> {
    let sql = "INSERT OR IGNORE INTO kept SELECT id,segment,size FROM message WHERE id=?1 RETURNING segment";
    segment(connection, sql, id)
}

/// Lets a message's content go; the segment that held it, if it was kept.
pub(super) fn forget(connection: &Connection, id: QueueId) -> rusqlite::Result<Option<u64>> {
    segment(connection, "DELETE FROM kept WHERE message=?1 RETURNING segment", id)
}

fn segment(connection: &Connection, sql: &str, id: QueueId) -> rusqlite::Result<Option<u64>> {
    let found: Option<i64> =
        connection.prepare(sql)?.query_row([id.to_row()], |row| row.get(0)).optional()?;
    Ok(found.map(unsigned))
}

/// The oldest messages whose content must go.
pub(super) fn too_many(
    connection: &Connection,
    max_size: u64,
    has_room: bool,
) -> rusqlite::Result<Vec<QueueId>> {
    let sum = "SELECT ifnull(sum(bytes),0) FROM kept";
    let total = unsigned(connection.prepare(sum)?.query_row((), |row| row.get(0))?);
    // Without room for new mail half of it goes, and a moment later half of the rest.
    let most = if has_room { max_size / SHARE } else { (max_size / SHARE).min(total / 2) };
    let mut excess = total.saturating_sub(most);
    let mut found = Vec::new();
    if excess == 0 {
        return Ok(found);
    }
    let mut rows = connection.prepare("SELECT message,bytes FROM kept ORDER BY message")?;
    let mut rows = rows.query(())?;
    while excess > 0
        && let Some(row) = rows.next()?
    {
        found.push(QueueId::from_row(row.get(0)?));
        excess = excess.saturating_sub(unsigned(row.get(1)?).max(1));
    }
    Ok(found)
}

/// What is left of a message's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Left {
    /// All of it.
    Whole(Bytes),
    /// The journal knows the message; its content is gone.
    Gone,
    /// The journal doesn't know it.
    Unknown,
}

impl Queue {
    /// The content of a message that waits, or whose attachments are kept.
    ///
    /// # Errors
    /// [`QueueError::Index`] when the index or the content can't be read.
    pub async fn left(&self, id: QueueId) -> Result<Left, QueueError> {
        let core = std::sync::Arc::clone(&self.core);
        asking(move || {
            let connection = index::open_read_only(&core.index)?;
            let sql =
                "SELECT segment,offset,size,due IS NOT NULL OR EXISTS(SELECT 1 FROM kept WHERE message=?1)
                       FROM message WHERE id=?1";
            let found = connection.query_row(sql, params![id.to_row()], |row| {
                let place: [i64; 3] = [row.get(0)?, row.get(1)?, row.get(2)?];
                let [segment, offset, length] = place.map(unsigned);
                Ok((Location { segment, offset, length }, row.get(3)?))
            });
            let location = match found.optional()? {
                None => return Ok(Left::Unknown),
                Some((_, false)) => return Ok(Left::Gone),
                Some((location, true)) => location,
            };
            match core.segments.read(id, location, 0, usize::MAX) {
                Ok(octets) => Ok(Left::Whole(octets)),
                // It went between the two looks.
                Err(cause) if Damaged::is_in(&cause) => Ok(Left::Gone),
                Err(cause) => Err(QueueError::Index(cause.to_string())),
            }
        })
        .await
    }
}
