//! What waits, as far as rules look at it: for those who route it anew.

use super::reader::time;
use super::store::{HELD, unsigned};
use super::work::Location;
use super::{Content, LaneName, QueueId, index};
use crate::message::envelope::Recipient;
use crate::smtp::address::Address;
use jiff::Timestamp;
use std::net::IpAddr;
use std::path::Path;

/// A message that waits.
#[derive(Debug)]
pub struct Waiting {
    /// Its name.
    pub id: QueueId,
    /// The lane it waits in.
    pub lane: LaneName,
    /// The lane that it is of, while a fallback has it.
    pub home: Option<LaneName>,
    /// The envelope's sender.
    pub sender: Option<Address>,
    /// Recipients that are neither delivered nor failed.
    pub recipients: Vec<Recipient>,
    /// The login it came by.
    pub application: Option<String>,
    /// The client it came from.
    pub client: Option<IpAddr>,
    /// When it was accepted.
    pub received_at: Timestamp,
    /// Its content, on disk.
    pub content: Content,
}

/// The oldest message of each lane that waits, isn't held, and might have left before `border`.
pub(super) fn overdue(
    path: &Path,
    border: Timestamp,
    now: Timestamp,
) -> rusqlite::Result<Vec<(LaneName, QueueId)>> {
    let connection = index::open_read_only(path)?;
    let mut found = connection.prepare(
        "SELECT l.name,MIN(m.id) FROM message m INDEXED BY message_due JOIN lane l ON l.number=m.lane
         WHERE m.due IS NOT NULL AND m.due<?1 AND m.id<?2 AND ifnull(m.release_at,m.received_at)<?3
         GROUP BY m.lane ORDER BY l.name",
    )?;
    let values = [HELD, index::id_border(&connection, border, now)?, border.as_millisecond()];
    let rows = found.query_map(values, |row| {
        Ok((LaneName::new(&row.get::<_, String>(0)?), QueueId::from_row(row.get(1)?)))
    })?;
    rows.collect()
}

/// Messages that wait, held ones included, oldest first, behind `after`. One that can't be read is left out.
pub(super) fn waiting(path: &Path, after: Option<QueueId>, limit: usize) -> rusqlite::Result<Vec<Waiting>> {
    let connection = index::open_read_only(path)?;
    let snapshot = connection.unchecked_transaction()?;
    let mut messages = connection.prepare(
        "SELECT m.id,l.name,m.sender,m.application,m.client,m.received_at,m.segment,m.offset,m.size,
           (SELECT name FROM lane WHERE number=m.home)
         FROM message m JOIN lane l ON l.number=m.lane
         WHERE m.due IS NOT NULL AND m.id>?1 ORDER BY m.id LIMIT ?2",
    )?;
    let mut recipients =
        connection.prepare("SELECT address FROM recipient WHERE message=?1 AND state<=2 ORDER BY n")?;
    let after = after.map_or(i64::MIN, QueueId::to_row);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = messages.query([after, limit])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, name, client): (i64, String, Option<String>) = (row.get(0)?, row.get(1)?, row.get(4)?);
        let sender: Option<String> = row.get(2)?;
        let addresses = recipients.query_map([id], |row| row.get::<_, String>(0))?;
        let recipients = addresses
            .filter_map(|address| Address::parse(address.ok()?, true).ok())
            .map(|address| Recipient { address, notify: None, orcpt: None });
        let place = |column: usize| row.get(column).map(unsigned);
        let location = Location { segment: place(6)?, offset: place(7)?, length: place(8)? };
        found.push(Waiting {
            id: QueueId::from_row(id),
            lane: LaneName::new(&name),
            home: row.get::<_, Option<String>>(9)?.map(|home| LaneName::new(&home)),
            sender: sender.and_then(|sender| Address::parse(sender, true).ok()),
            recipients: recipients.collect(),
            application: row.get(3)?,
            client: client.and_then(|client| client.parse().ok()),
            received_at: time(row.get(5)?),
            content: Content::Stored(QueueId::from_row(id), location),
        });
    }
    drop(rows);
    snapshot.commit()?;
    Ok(found)
}
