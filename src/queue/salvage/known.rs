//! What an old index still tells of a message, and how a new one is told the same.
//!
//! A damaged index is believed message by message: either the message's row, its recipients and its lane can all be read
//! and agree with one another, or nothing is known of the message as a whole. What the index lost with the end of its
//! log can't be noticed: then it tells an earlier state.

use super::super::entry::{Kind, State};
use super::super::record;
use super::super::store::{HELD, Writes};
use super::super::{LaneName, Part, QueueId};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

/// A message as the old index has it.
#[derive(Debug)]
pub(super) struct Known {
    lane: LaneName,
    class: u8,
    due: Option<i64>,
    flags: i64,
    done_at: Option<i64>,
    /// The lane that it is of, while a fallback has it.
    home: Option<LaneName>,
    recipients: Vec<Recipient>,
}

#[derive(Debug)]
struct Recipient {
    number: usize,
    state: State,
    attempts: i64,
    updated: i64,
    reply: Option<String>,
    next: Option<i64>,
}

/// Where a message belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// To be sent when it is due.
    Queued,
    /// To be kept until an admin releases it.
    Held,
    /// In the journal only.
    Done,
}

impl Known {
    /// What `old` knows of a message with these recipients; none when anything of it can't be read, is missing, or
    /// contradicts the rest.
    pub(super) fn read(old: &Connection, id: QueueId, recipients: &[usize]) -> Option<Self> {
        Self::row(old, id).ok().flatten().filter(|known| known.is_sound(recipients))
    }

    fn is_sound(&self, recipients: &[usize]) -> bool {
        let has = |number: &usize| self.recipients.iter().any(|recipient| recipient.number == *number);
        let is_open = self.recipients.iter().any(|recipient| recipient.state.is_open());
        recipients.iter().all(has)
            && self.recipients.len() == recipients.len()
            && !recipients.is_empty()
            && is_open == self.due.is_some()
            && record::class_from(self.class).is_some()
    }

    /// What `old` knows of a message whose record can't be read; none as above.
    pub(super) fn alone(old: &Connection, id: QueueId) -> Option<Self> {
        let known = Self::row(old, id).ok().flatten()?;
        let numbers: Vec<usize> = known.recipients.iter().map(|recipient| recipient.number).collect();
        known.is_sound(&numbers).then_some(known)
    }

    fn row(old: &Connection, id: QueueId) -> rusqlite::Result<Option<Self>> {
        let sql =
            "SELECT l.name,m.class,m.due,m.flags,m.done_at FROM message m JOIN lane l ON l.number=m.lane
                   WHERE m.id=?1";
        let found = old.prepare_cached(sql)?.query_row([id.to_row()], |row| {
            let lane: String = row.get(0)?;
            Ok(Self {
                lane: LaneName::new(&lane),
                class: row.get(1)?,
                due: row.get(2)?,
                flags: row.get(3)?,
                done_at: row.get(4)?,
                home: None,
                recipients: Vec::new(),
            })
        });
        let Some(mut known) = found.optional()? else { return Ok(None) };
        // An index of before the fourteenth version doesn't say.
        let sql = "SELECT l.name FROM message m JOIN lane l ON l.number=m.home WHERE m.id=?1";
        let home =
            old.prepare_cached(sql).and_then(|mut home| home.query_row([id.to_row()], |row| row.get(0)));
        known.home = home.ok().map(|home: String| LaneName::new(&home));
        let columns = |next: &str| {
            format!("SELECT n,state,attempts,updated,reply,{next} FROM recipient WHERE message=?1 ORDER BY n")
        };
        // Nor does one of before the fifteenth say who waits.
        let mut rows =
            old.prepare_cached(&columns("next")).or_else(|_| old.prepare_cached(&columns("NULL")))?;
        let mut rows = rows.query([id.to_row()])?;
        while let Some(row) = rows.next()? {
            let (number, state): (i64, i64) = (row.get(0)?, row.get(1)?);
            let (Ok(number), Some(state)) = (usize::try_from(number), State::from_row(state)) else {
                return Ok(None);
            };
            known.recipients.push(Recipient {
                number,
                state,
                attempts: row.get(2)?,
                updated: row.get(3)?,
                reply: row.get(4)?,
                next: row.get(5)?,
            });
        }
        Ok(Some(known))
    }

    /// Where it belongs.
    pub(super) fn place(&self) -> Place {
        match self.due {
            None => Place::Done,
            Some(HELD) => Place::Held,
            Some(_) => Place::Queued,
        }
    }

    /// Its lane.
    pub(super) fn lane(&self) -> &LaneName {
        &self.lane
    }

    /// A part as it was when the old index was written: an admin may have moved it to another lane.
    pub(super) fn part(&self, part: Part) -> Part {
        let class = record::class_from(self.class).unwrap_or(part.class);
        Part { lane: self.lane.clone(), class, held: false, discarded: false, ..part }
    }

    /// Gives a message that was just kept in the new index the state it had, and its life so far.
    pub(super) fn restore(
        &self,
        (old, new): (&Connection, &Connection),
        writes: &mut Writes<'_>,
        id: QueueId,
    ) -> rusqlite::Result<()> {
        let open = self.recipients.iter().filter(|recipient| recipient.state.is_open()).count();
        let open = i64::try_from(open).unwrap_or(i64::MAX);
        new.prepare("UPDATE message SET due=?2,open=?3,flags=?4,done_at=?5 WHERE id=?1")?
            .execute(params![id.to_row(), self.due, open, self.flags, self.done_at])?;
        if let Some(home) = &self.home {
            let home = writes.lane_number(home)?;
            new.prepare("UPDATE message SET home=?2 WHERE id=?1")?.execute(params![id.to_row(), home])?;
        }
        let sql =
            "UPDATE recipient SET state=?3,attempts=?4,updated=?5,reply=?6,next=?7 WHERE message=?1 AND n=?2";
        let mut update = new.prepare(sql)?;
        for Recipient { number, state, attempts, updated, reply, next } in &self.recipients {
            let number = i64::try_from(*number).unwrap_or(-1);
            update.execute(params![id.to_row(), number, state.to_row(), attempts, updated, reply, next])?;
        }
        // A life that can't be read to its end is told as far as it can.
        let _ = copy_events(old, writes, id);
        Ok(())
    }
}

fn copy_events(old: &Connection, writes: &mut Writes<'_>, id: QueueId) -> rusqlite::Result<()> {
    let mut rows = old.prepare("SELECT at,recipient,kind,detail FROM event WHERE message=?1")?;
    let mut rows = rows.query([id.to_row()])?;
    while let Some(row) = rows.next()? {
        let (recipient, kind): (i64, i64) = (row.get(1)?, row.get(2)?);
        let at = Timestamp::from_millisecond(row.get(0)?);
        let (Ok(at), Some(kind)) = (at, Kind::from_row(kind)) else { continue };
        let detail: String = row.get(3)?;
        writes.tell(id, at, u32::try_from(recipient).ok(), kind, &detail)?;
    }
    Ok(())
}

/// Counts what waits in each lane anew: restored messages were counted as fresh ones.
pub(super) fn recount(new: &Connection) -> rusqlite::Result<()> {
    let waiting = "FROM message WHERE lane=lane.number AND due IS NOT NULL";
    new.execute_batch(&format!(
        "UPDATE lane SET queued=(SELECT count(*) {waiting} AND due<>{HELD} AND flags&1=0),
                         deferred=(SELECT count(*) {waiting} AND due<>{HELD} AND flags&1=1),
                         held=(SELECT count(*) {waiting} AND due={HELD});
         DELETE FROM backlog;
         INSERT INTO backlog SELECT lane,class,count(*),sum(open) FROM message
           WHERE due IS NOT NULL AND due<{HELD} GROUP BY lane,class"
    ))
}
