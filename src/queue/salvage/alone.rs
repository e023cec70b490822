//! What the old index alone tells of mail: messages of which no sound record was found.
//!
//! What is done stays in the journal, whose content has mostly gone with its segment. What is open is queued or held as it was if its
//! content can be read all the same and the end of the index's log isn't lost, else held with the reason, so that whoever waits for it learns of it. A message of which the old
//! index tells a part only can't be put back.

use super::super::QueueId;
use super::super::content::{Segments, SystemDisk};
use super::super::entry::Kind;
use super::super::store::{Writes, unsigned};
use super::super::work::Location;
use super::known::{Known, Place};
use super::rows::Table;
use super::{BATCH, MAY_COME_TWICE, NOT_SURE, PUT_BACK, Salvaged, Unknown};
use jiff::Timestamp;
use rusqlite::{Connection, params};
use std::path::Path;
use std::sync::Arc;

/// What can't be read whole, in words.
const LOST: &str = "the journal, and mail whose content is damaged";

/// The tables that hold a message.
struct Rows<'c> {
    new: &'c Connection,
    messages: Table<'c>,
    recipients: Table<'c>,
    events: Table<'c>,
}

/// Takes over what the new index hasn't got yet. `finish` ends a transaction and begins the next.
pub(super) fn take_over(
    (old, new): (&Connection, &Connection),
    content: &Path,
    writes: &mut Writes<'_>,
    salvaged: &mut Salvaged,
    (unknown, now): (Unknown, Timestamp),
    mut finish: impl FnMut(&mut Writes<'_>) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let table = |name| Table::of_both(old, new, name);
    let (Some(messages), Some(recipients), Some(events)) =
        (table("message")?, table("recipient")?, table("event")?)
    else {
        return Ok(());
    };
    let rows = Rows { new, messages, recipients, events };
    let segments = Segments::new(content.to_owned(), Arc::new(SystemDisk), u64::MAX);
    let (mut since_commit, mut whole) = (0, true);
    let was_cut = rows.messages.each_key(|id| {
        let id = QueueId::from_row(id);
        if rows.has(id)? {
            return Ok(());
        }
        let Some(known) = Known::alone(old, id) else {
            whole = false;
            return Ok(());
        };
        if !rows.copy(writes, id, &known)? {
            whole = false;
        }
        match known.place() {
            Place::Done => salvaged.journal += 1,
            place => put_back(&rows, &segments, writes, salvaged, (id, place), (unknown, now))?,
        }
        since_commit += 1;
        if since_commit >= BATCH {
            since_commit = 0;
            finish(writes)?;
        }
        Ok(())
    })?;
    if was_cut || !whole {
        salvaged.kept.damaged.push(LOST);
    }
    Ok(())
}

/// Lets an open message wait again, or holds it if its content is lost.
fn put_back(
    rows: &Rows<'_>,
    segments: &Segments,
    writes: &mut Writes<'_>,
    salvaged: &mut Salvaged,
    (id, place): (QueueId, Place),
    (unknown, now): (Unknown, Timestamp),
) -> rusqlite::Result<()> {
    let location = rows.location(id)?;
    *writes.changes.segments.entry(location.segment).or_default() += 1;
    // The whole is checked, though nothing is read.
    if let Err(cause) = segments.read(id, location, 0, 0) {
        return salvaged.hold_damaged(writes, id, &cause.to_string(), now);
    }
    match place {
        Place::Held => salvaged.held += 1,
        Place::Queued if salvaged.is_unsure(unknown) => {
            writes.set_aside(id, NOT_SURE, now)?;
            salvaged.unknown += 1;
        }
        Place::Queued | Place::Done => salvaged.queued += 1,
    }
    writes.tell(id, now, None, Kind::Salvaged, PUT_BACK)?;
    writes.mark_duplicates([id], MAY_COME_TWICE, now)
}

impl Rows<'_> {
    fn has(&self, id: QueueId) -> rusqlite::Result<bool> {
        self.new.prepare_cached("SELECT 1 FROM message WHERE id=?1")?.exists([id.to_row()])
    }

    /// Copies a message and its life; whether all of that could be read.
    fn copy(&self, writes: &mut Writes<'_>, id: QueueId, known: &Known) -> rusqlite::Result<bool> {
        let row = id.to_row();
        let message = self.messages.copy_where("id", row)?;
        let recipients = self.recipients.copy_where("message", row)?;
        // Lanes have other numbers in the new index.
        let lane = writes.lane_number(known.lane())?;
        self.new.prepare_cached("UPDATE message SET lane=?2 WHERE id=?1")?.execute(params![row, lane])?;
        Ok(self.events.copy_where("message", row)? && message && recipients)
    }

    fn location(&self, id: QueueId) -> rusqlite::Result<Location> {
        let sql = "SELECT segment,offset,size FROM message WHERE id=?1";
        self.new.prepare_cached(sql)?.query_row([id.to_row()], |row| {
            let place: [i64; 3] = [row.get(0)?, row.get(1)?, row.get(2)?];
            let [segment, offset, length] = place.map(unsigned);
            Ok(Location { segment, offset, length })
        })
    }
}
