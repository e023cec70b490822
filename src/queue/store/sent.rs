//! What smarthosts took, in slots of time: what limits are counted from.

use super::super::ledger::Sent;
use super::super::limits::Units;
use super::super::{LaneName, QueueId};
use super::{Writes, signed};
use crate::message::envelope::Class;
use rusqlite::params;

impl Writes<'_> {
    /// Adds what a smarthost took; written with the counters.
    pub(in crate::queue) fn sent(&mut self, lane: &LaneName, slot: i64, class: Class, units: Units) {
        let (all, priority) = self.changes.sent.entry((lane.clone(), slot)).or_default();
        *all = all.plus(units);
        if class == Class::Priority {
            *priority = priority.plus(units);
        }
    }

    /// Writes what smarthosts took.
    pub(in crate::queue) fn write_sent(&mut self, wall: i64) -> rusqlite::Result<()> {
        let sent: Vec<((LaneName, i64), (Units, Units))> =
            self.changes.sent.iter().map(|(slot, units)| (slot.clone(), *units)).collect();
        for ((lane, at), (all, priority)) in sent {
            self.add_slot(&lane, Sent { at, wall, all, priority })?;
        }
        Ok(())
    }

    fn add_slot(&mut self, lane: &LaneName, slot: Sent) -> rusqlite::Result<()> {
        let number = self.lane_number(lane)?;
        let Sent { at, wall, all, priority } = slot;
        let [messages, recipients] = [all.messages, all.recipients].map(signed);
        let [first_messages, first_recipients] = [priority.messages, priority.recipients].map(signed);
        self.add_sent
            .execute(params![number, at, wall, messages, recipients, first_messages, first_recipients])
            .map(|_| ())
    }

    /// Makes slots of a lane coarser: those that are no more, and those that changed, as they are now.
    pub(in crate::queue) fn tidy_sent(
        &mut self,
        lane: &LaneName,
        gone: &[i64],
        changed: &[Sent],
    ) -> rusqlite::Result<()> {
        let number = self.lane_number(lane)?;
        let mut delete = self.connection.prepare("DELETE FROM sent WHERE lane=?1 AND at=?2")?;
        for at in gone.iter().chain(changed.iter().map(|slot| &slot.at)) {
            delete.execute([number, *at])?;
        }
        drop(delete);
        changed.iter().try_for_each(|slot| self.add_slot(lane, *slot))
    }

    /// Counts what was in flight when the daemon was killed as sent at `slot`: the smarthost may have taken it.
    pub(in crate::queue) fn charge(
        &mut self,
        in_flight: &[(QueueId, u32)],
        slot: i64,
        wall: i64,
    ) -> rusqlite::Result<()> {
        for (id, recipients) in in_flight {
            if let Some(row) = self.row(*id)? {
                self.sent(&row.lane, slot, row.class, Units::message(u64::from(*recipients)));
            }
        }
        self.write_sent(wall)
    }
}
