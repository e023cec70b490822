//! What waits, counted per lane while messages come, move and go; written with the transaction that changed it.

use super::super::LaneName;
use super::super::limits::Units;
use super::super::window::index;
use super::{DEFERRED, HELD, Writes, unsigned};
use crate::inbox::addresses;
use crate::message::envelope::Class;
use jiff::Timestamp;
use rusqlite::params;

/// What is counted per lane, in messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::queue) struct Counts {
    pub(in crate::queue) queued: i64,
    pub(in crate::queue) deferred: i64,
    pub(in crate::queue) held: i64,
    /// Octets of all these, of an inbox's lane; of others it isn't counted.
    pub(in crate::queue) inbox_bytes: i64,
    /// Messages and recipients that aren't held, by class.
    pub(in crate::queue) waiting: [[i64; 2]; 3],
}

/// A message as far as it is counted.
#[derive(Clone, Copy)]
pub(super) struct Counted {
    pub(super) class: Class,
    pub(super) due: Option<i64>,
    pub(super) flags: i64,
    pub(super) open: i64,
    pub(super) size: i64,
}

impl Counts {
    fn add(&mut self, message: Counted, by: i64) {
        if message.due.is_some() {
            self.inbox_bytes += by * message.size;
        }
        match message.due {
            None => return,
            Some(HELD) => return self.held += by,
            Some(_) if message.flags & DEFERRED != 0 => self.deferred += by,
            Some(_) => self.queued += by,
        }
        if let Some([messages, recipients]) = self.waiting.get_mut(index(message.class)) {
            *messages += by;
            *recipients += by * message.open;
        }
    }

    pub(in crate::queue) fn merge(&mut self, other: Self) {
        self.queued += other.queued;
        self.deferred += other.deferred;
        self.held += other.held;
        self.inbox_bytes += other.inbox_bytes;
        for ([messages, recipients], [more_messages, more_recipients]) in
            self.waiting.iter_mut().zip(other.waiting)
        {
            *messages += more_messages;
            *recipients += more_recipients;
        }
    }

    /// What waits in this class and those before it.
    pub(in crate::queue) fn waiting_up_to(&self, class: Class) -> Units {
        let classes = self.waiting.iter().take(index(class) + 1);
        classes.fold(Units::default(), |units, [messages, recipients]| {
            units.plus(Units { messages: unsigned(*messages), recipients: unsigned(*recipients) })
        })
    }
}

impl Writes<'_> {
    /// Writes the lanes' counters; the last thing before a commit.
    pub(in crate::queue) fn write_counts(&mut self) -> rusqlite::Result<()> {
        let counts: Vec<(LaneName, Counts)> =
            self.changes.counts.iter().map(|(lane, counts)| (lane.clone(), *counts)).collect();
        for (lane, counts) in counts {
            if counts != Counts::default() {
                let number = self.lane_number(&lane)?;
                self.update_counts.execute(params![number, counts.queued, counts.deferred, counts.held])?;
                for (class, [messages, recipients]) in (0_i64..).zip(counts.waiting) {
                    if (messages, recipients) != (0, 0) {
                        self.update_backlog.execute(params![number, class, messages, recipients])?;
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn count(&mut self, lane: &LaneName, mut message: Counted, now: Timestamp, by: i64) {
        if addresses::of_lane(lane).is_none() {
            message.size = 0;
        }
        if let Some(due) = message.due.filter(|due| *due != HELD && *due > now.as_millisecond()) {
            self.changes.later.push((lane.clone(), message.class, due, [by, by * message.open]));
        }
        if let Some(counts) = self.changes.counts.get_mut(lane) {
            counts.add(message, by);
        } else {
            let mut counts = Counts::default();
            counts.add(message, by);
            self.changes.counts.insert(lane.clone(), counts);
        }
    }
}
