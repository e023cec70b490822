//! When messages that are due will go, where the limits of their lane don't let them go at once: by what stands before
//! them in the lane.

use super::entry::{Entry, State};
use super::limits::{Mixed, Units};
use super::record;
use super::store::{MAYBE_DUPLICATE, unsigned};
use super::work::Location;
use super::{Content, Core, LaneName, QueueError, QueueId, index};
use rusqlite::{Connection, OptionalExtension};
use std::collections::{BTreeSet, HashMap};

/// So many messages of a lane are counted one by one; those behind are told the same time as the last of them.
const COUNTED: i64 = 100_000;

/// Puts the expected time in place of a due time that the limits won't keep.
pub(super) fn tell(core: &Core, entries: &mut [Entry]) -> Result<(), QueueError> {
    let now = core.shared.moment();
    let is_due = |entry: &Entry| {
        let waits = |state: State| matches!(state, State::Queued | State::Deferred);
        let due = |time: jiff::Timestamp| time.as_millisecond() <= now.wall;
        entry.recipients.iter().any(|one| waits(one.state) && one.next_attempt.is_some_and(due))
    };
    let lanes: BTreeSet<LaneName> =
        entries.iter().filter(|entry| is_due(entry)).map(|entry| entry.lane.clone()).collect();
    for lane in lanes {
        let window = core.window(&lane);
        if !window.is_limited() {
            continue;
        }
        let (places, last) = places(&index::open_read_only(&core.index)?, &lane, now.wall)?;
        for entry in entries.iter_mut().filter(|entry| entry.lane == lane && is_due(entry)) {
            let before = places.get(&entry.id).copied().unwrap_or(last);
            let Some(expected) = window.forecast(entry.class, before, now) else { continue };
            for recipient in entry.recipients.iter_mut().filter(|one| one.next_attempt.is_some()) {
                recipient.next_attempt = recipient.next_attempt.max(Some(expected));
            }
        }
    }
    Ok(())
}

/// Where a message that is due stands in its lane.
#[derive(Debug, Clone)]
pub struct Place {
    /// What goes before it, itself included.
    pub ahead: Mixed,
    /// Its content, on disk.
    pub content: Content,
    /// Whether it is a notice of our own: it has no sender, and came from nobody.
    pub is_notice: bool,
}

/// The places of some messages; those left out that aren't due, or may have arrived already.
pub(super) fn places_of(
    core: &Core,
    lane: &LaneName,
    ids: &[QueueId],
) -> rusqlite::Result<HashMap<QueueId, Place>> {
    let now = core.shared.moment().wall;
    let connection = index::open_read_only(&core.index)?;
    let (places, last) = places(&connection, lane, now)?;
    let mut row = connection.prepare(
        "SELECT segment,offset,size,sender IS NULL AND client IS NULL AND application IS NULL AND helo=''
         FROM message WHERE id=?1 AND due IS NOT NULL AND due<=?2 AND flags&?3=0",
    )?;
    let mut found = HashMap::new();
    for id in ids {
        let location = row.query_row([id.to_row(), now, MAYBE_DUPLICATE], |row| {
            let number = |column: usize| row.get(column).map(unsigned);
            let location = Location { segment: number(0)?, offset: number(1)?, length: number(2)? };
            Ok((location, row.get(3)?))
        });
        if let Some((location, is_notice)) = location.optional()? {
            let ahead = places.get(id).copied().unwrap_or(last);
            found.insert(*id, Place { ahead, content: Content::Stored(location), is_notice });
        }
    }
    Ok(found)
}

/// For each message that is due: what goes before it, itself included; and the same of the last one counted.
fn places(
    connection: &Connection,
    lane: &LaneName,
    now: i64,
) -> rusqlite::Result<(HashMap<QueueId, Mixed>, Mixed)> {
    let mut rows = connection.prepare(
        "SELECT id,open,class FROM message WHERE lane=(SELECT number FROM lane WHERE name=?1)
         AND due IS NOT NULL AND due<=?2 ORDER BY class,due,id LIMIT ?3",
    )?;
    let mut rows = rows.query(rusqlite::params![lane.as_str(), now, COUNTED])?;
    let (mut places, mut sum) = (HashMap::new(), Mixed::default());
    while let Some(row) = rows.next()? {
        let (id, open, class): (i64, u32, u8) = (row.get(0)?, row.get(1)?, row.get(2)?);
        sum = sum
            .plus(Mixed::of(record::class_from(class).unwrap_or_default(), Units::message(u64::from(open))));
        places.insert(QueueId::from_row(id), sum);
    }
    Ok((places, sum))
}
