//! What waits in a lane for a later time, by class: it doesn't stand in front of what is due. Pure; time is an argument.
//!
//! Kept in memory beside the counts of all that waits, so that the reply to each message can say when it will go. Times
//! are rounded down to ten seconds: what is due soon counts as due a little early.

use super::limits::Units;
use super::store::unsigned;
use super::window::index;
use crate::message::envelope::Class;
use std::collections::BTreeMap;

/// The length of a slot, in milliseconds.
pub(super) const SLOT: i64 = 10_000;

/// Messages and recipients, gained or lost.
pub(super) type Change = [i64; 2];

/// What isn't due yet in one lane.
#[derive(Debug)]
pub(super) struct Agenda {
    /// By slot and class.
    slots: BTreeMap<(i64, usize), Change>,
    /// All of it, by class.
    sums: [Change; 3],
    /// The latest slot that began: what is in it is due.
    begun: i64,
}

impl Default for Agenda {
    fn default() -> Self {
        Self { slots: BTreeMap::new(), sums: Default::default(), begun: i64::MIN }
    }
}

impl Agenda {
    /// So much more, or less, is due at a time in milliseconds.
    pub(super) fn note(&mut self, class: Class, due: i64, change: Change) {
        let (slot, class) = (due.div_euclid(SLOT), index(class));
        if slot <= self.begun {
            return;
        }
        let noted = self.slots.entry((slot, class)).or_default();
        add(noted, change);
        if *noted == [0, 0] {
            self.slots.remove(&(slot, class));
        }
        if let Some(sum) = self.sums.get_mut(class) {
            add(sum, change);
        }
    }

    /// What of a class and those before it isn't due at `now`, in milliseconds. Time doesn't run backwards here.
    pub(super) fn later_up_to(&mut self, class: Class, now: i64) -> Units {
        self.begun = self.begun.max(now.div_euclid(SLOT));
        while let Some(first) = self.slots.first_entry().filter(|first| first.key().0 <= self.begun) {
            let ((_, class), [messages, recipients]) = first.remove_entry();
            if let Some(sum) = self.sums.get_mut(class) {
                add(sum, [-messages, -recipients]);
            }
        }
        let sums = self.sums.iter().take(index(class) + 1);
        sums.fold(Units::default(), |units, [messages, recipients]| {
            units.plus(Units { messages: unsigned(*messages), recipients: unsigned(*recipients) })
        })
    }

    /// What of a class and those before it isn't due at `now`, but before a slot's end, that of `due`: by when, earliest
    /// first and none sooner than it is; and how much is due in the slot itself.
    pub(super) fn before(&mut self, class: Class, now: i64, due: i64) -> (Vec<(i64, Units)>, Units) {
        self.later_up_to(class, now);
        let own = due.div_euclid(SLOT);
        let (mut before, mut within) = (Vec::new(), Units::default());
        let counts = |((_, of), _): &(&(i64, usize), &Change)| *of <= index(class);
        for ((slot, _), [messages, recipients]) in self.slots.range(..(own + 1, 0)).filter(counts) {
            let units = Units { messages: unsigned(*messages), recipients: unsigned(*recipients) };
            if *slot == own {
                within = within.plus(units);
            } else {
                before.push(((slot + 1) * SLOT - 1, units));
            }
        }
        (before, within)
    }

    /// What isn't due at `now`: by when, earliest first, in milliseconds and none sooner than it is, and how much.
    pub(super) fn times(&mut self, now: i64) -> Vec<(i64, Units)> {
        self.later_up_to(Class::Bulk, now);
        let time = |((slot, _), [messages, recipients]): (&(i64, usize), &Change)| {
            let units = Units { messages: unsigned(*messages), recipients: unsigned(*recipients) };
            ((slot + 1) * SLOT - 1, units)
        };
        self.slots.iter().map(time).collect()
    }
}

fn add(sum: &mut Change, [messages, recipients]: Change) {
    sum[0] += messages;
    sum[1] += recipients;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_later_is_later_until_then_by_class() {
        let mut agenda = Agenda::default();
        agenda.note(Class::Normal, 60_000, [1, 4]);
        agenda.note(Class::Priority, 3_600_000, [2, 2]);
        agenda.note(Class::Bulk, 60_000, [5, 5]);
        let units = |messages, recipients| Units { messages, recipients };
        assert_eq!(agenda.later_up_to(Class::Priority, 1_000), units(2, 2));
        assert_eq!(agenda.later_up_to(Class::Normal, 1_000), units(3, 6));
        assert_eq!(agenda.later_up_to(Class::Bulk, 1_000), units(8, 11));
        agenda.note(Class::Bulk, 60_000, [-1, -1]);
        assert_eq!(agenda.later_up_to(Class::Bulk, 59_999), units(7, 10));
        assert_eq!(
            agenda.times(59_999),
            [(69_999, units(1, 4)), (69_999, units(4, 4)), (3_609_999, units(2, 2))],
            "rounded up, so that nothing is told too early"
        );
        assert_eq!(
            agenda.before(Class::Normal, 59_999, 3_601_000),
            (vec![(69_999, units(1, 4))], units(2, 2))
        );
        assert_eq!(agenda.before(Class::Priority, 59_999, 61_000), (vec![], units(0, 0)));
        assert_eq!(agenda.later_up_to(Class::Bulk, 60_000), units(2, 2), "that of 60 s is due");
        // It was sent: what became due isn't taken away a second time.
        agenda.note(Class::Normal, 60_000, [-1, -4]);
        agenda.note(Class::Priority, 3_600_000, [-2, -2]);
        assert_eq!(agenda.later_up_to(Class::Bulk, 61_000), Units::default());
        assert!(agenda.slots.is_empty());
    }
}
