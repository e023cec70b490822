//! Leaps of the wall clock: mail grows old by time that passed, and not because somebody set the clock forward.
//!
//! Ids are given out in order, so that a leap concerns the messages with smaller ones: their times count as if they were
//! so much later. A clock that is set back takes leaps back first; beyond that mail only gets more time. Without the
//! machine's own clock in between, over a restart of the machine, nothing tells a leap from time that passed.

use super::QueueId;
use super::index::Remembered;
use crate::clock::Clock;
use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, params};
use std::fmt::Write as _;

pub(super) const SCHEMA: &str = "CREATE TABLE leap(before INTEGER NOT NULL, by INTEGER NOT NULL) STRICT;";

/// By how much the clock leapt since message `m` was accepted, in a statement about few messages.
pub(super) const LEAPT: &str = "ifnull((SELECT sum(by) FROM leap WHERE before>m.id),0)";

/// A clock that moves by less against the machine's own is just being corrected, in milliseconds.
const LEAST: i64 = 10_000;
/// A message that a client began to send has come by then, in milliseconds: its id is of when it began.
const ON_ITS_WAY: i64 = 24 * 3_600_000;
/// Of more the oldest are taken together.
const MOST: usize = 50;

/// The leaps that open mail may have lived through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Leaps {
    /// The id that the first message behind a leap may have, and the leap in milliseconds; in order.
    past: Vec<(QueueId, i64)>,
    /// By how much the wall clock was ahead of the time since boot when it was looked at last, in milliseconds.
    ahead: i64,
}

impl Leaps {
    /// Those that the index knows; what the clock did since its last commit comes up when it is looked at next.
    pub(super) fn load(index: &Connection, remembered: &Remembered, clock: &Clock) -> rusqlite::Result<Self> {
        let mut rows = index.prepare("SELECT before,by FROM leap ORDER BY before")?;
        let past = rows.query_map((), |row| Ok((QueueId::from_row(row.get(0)?), row.get(1)?)))?;
        let ahead = match remembered.steady {
            0 => clock.ahead(),
            _ if remembered.is_of_this_boot(clock) => remembered.at - remembered.since_boot,
            // Time went on while the machine was off, if the clock doesn't stand behind what it showed then.
            _ => clock.ahead().max(remembered.at - clock.since_boot()),
        };
        Ok(Self { past: past.collect::<rusqlite::Result<_>>()?, ahead })
    }

    /// What is known after a look at the clock, if anything of it changed, and by how much it was set forward or back, in
    /// milliseconds. `last` was given out before the last look: it may be ahead of a clock that had been set back.
    pub(super) fn looked(&self, clock: &Clock, last: QueueId) -> Option<(Self, i64)> {
        let ahead = clock.ahead();
        let by = ahead - self.ahead;
        if by.abs() < LEAST / 10 {
            return None;
        }
        let mut seen = Self { ahead, ..self.clone() };
        if by >= LEAST {
            let unset = Timestamp::from_millisecond(clock.now().as_millisecond() - by).unwrap_or_default();
            let before = QueueId::first_at(unset).max(QueueId::from_bits(last.to_bits().saturating_add(1)));
            seen.past.push((before, by));
            if let [(_, first), (_, second), ..] = seen.past.as_mut_slice()
                && self.past.len() >= MOST
            {
                *second += *first;
                seen.past.remove(0);
            }
        } else if by <= -LEAST {
            let mut left = -by;
            for (_, leap) in seen.past.iter_mut().rev() {
                let back = left.min(*leap);
                *leap -= back;
                left -= back;
            }
            seen.past.retain(|(_, leap)| *leap > 0);
        }
        Some((seen, if by.abs() >= LEAST { by } else { 0 }))
    }

    /// Whether there are any to be forgotten one day.
    pub(super) fn is_empty(&self) -> bool {
        self.past.is_empty()
    }

    /// Forgets what no message has lived through that is open, the oldest of them being `first`, or that may be on its way in.
    /// Whether that changed anything.
    pub(super) fn forget(&mut self, first: Option<QueueId>, now: Timestamp) -> bool {
        let before = self.past.len();
        self.past.retain(|(before, by)| {
            let was = before.time().as_millisecond().saturating_add(*by);
            first.is_some_and(|first| first < *before)
                || now.as_millisecond() < was.saturating_add(ON_ITS_WAY)
        });
        self.past.len() < before
    }

    /// Writes them to the index.
    pub(super) fn store(&self, index: &Connection) -> rusqlite::Result<()> {
        index.execute("DELETE FROM leap", ())?;
        self.past.iter().try_for_each(|(before, by)| {
            index.execute("INSERT INTO leap VALUES(?1,?2)", params![before.to_row(), by]).map(|_| ())
        })
    }

    /// How much the clock leapt since this message was accepted, up to now.
    pub(super) fn since(&self, id: QueueId, clock: &Clock) -> SignedDuration {
        let known = self.past.iter().filter(|(before, _)| id < *before).map(|(_, by)| by).sum::<i64>();
        SignedDuration::from_millis(known.saturating_add(self.unseen(clock)))
    }

    /// A leap that the writer hasn't looked at yet, in milliseconds.
    fn unseen(&self, clock: &Clock) -> i64 {
        Some(clock.ahead() - self.ahead).filter(|by| *by >= LEAST).unwrap_or(0)
    }

    /// A time by which messages are searched for, as it would be had the clock not leapt just now.
    pub(super) fn unset(&self, time: Timestamp, clock: &Clock) -> Timestamp {
        time.checked_sub(SignedDuration::from_millis(self.unseen(clock))).unwrap_or(time)
    }

    /// What is to be added to a message's time in a statement; nothing if the clock never leapt, so that indexes serve.
    pub(super) fn added(&self) -> String {
        let mut sql = String::new();
        for (before, by) in &self.past {
            // Writing to a string can't fail.
            let _ = write!(sql, "+CASE WHEN id<{} THEN {by} ELSE 0 END", before.to_row());
        }
        sql
    }
}

/// Says by how many milliseconds the clock was set.
pub(super) fn tell(by: i64) {
    let way = if by > 0 { "forward" } else { "back" };
    tracing::warn!(seconds = by.abs() / 1000, "clock was set {way}; no mail grows old by it");
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Hand, settings, submission};
    use super::super::{LaneName, Queue};
    use super::*;
    use crate::queue::Due;
    use std::path::Path;
    use std::time::Duration;

    const START: i64 = 1_795_000_100;
    const HOUR: i64 = 3_600;

    /// A wall clock that is set, and the machine's own.
    struct Clocks {
        wall: Hand,
        since_boot: Hand,
    }

    impl Clocks {
        fn new() -> Self {
            Self { wall: Hand::at(START), since_boot: Hand::at(1_000) }
        }

        fn pass(&self, seconds: i64) {
            self.wall.turn(seconds);
            self.since_boot.turn(seconds);
        }

        fn clock(&self, boot: &str) -> Clock {
            let (wall, since_boot) = (self.wall.clone(), self.since_boot.clone());
            Clock::from_fns(move || wall.now(), move || since_boot.now().as_millisecond(), boot)
        }

        /// Opens the queue.
        fn queue(&self, state_dir: &Path, boot: &str) -> Queue {
            Queue::open(settings(state_dir), self.clock(boot)).unwrap()
        }

        /// Keeps a message that expires an hour from now.
        async fn keep(&self, queue: &Queue) -> QueueId {
            let mut submission = submission("shop", &["b@y.test"]);
            submission.received_at = self.wall.now();
            submission.parts[0].due = self.wall.now();
            submission.parts[0].expires_at = self.wall.now().checked_add(Duration::from_hours(1)).ok();
            let mut draft = queue.draft();
            draft.write(b"x").await.unwrap();
            queue.keep(draft, submission).await.unwrap()[0].id()
        }

        /// Which messages have expired, and which wait for more than two hours.
        async fn old(&self, queue: &Queue) -> (Vec<QueueId>, Vec<QueueId>) {
            let (lane, now) = (LaneName::new("shop"), self.wall.now());
            let released = |found: Vec<Due>| -> Vec<QueueId> {
                let mut ids = Vec::new();
                for due in found {
                    ids.push(due.id);
                    queue.lane(&lane).release(due);
                }
                ids
            };
            let expired = released(queue.claim_expired(&lane, now, 10).await.unwrap());
            let cutoff = now.checked_sub(Duration::from_hours(2)).unwrap();
            (expired, released(queue.claim_aged(&lane, cutoff, false, 10).await.unwrap()))
        }
    }

    #[tokio::test]
    async fn no_mail_grows_old_by_a_clock_that_is_set_forward() {
        let state = tempfile::tempdir().unwrap();
        let clocks = Clocks::new();
        let mut queue = clocks.queue(state.path(), "one");
        let before = clocks.keep(&queue).await;
        clocks.pass(60);
        clocks.wall.turn(144 * HOUR);
        // Even before the writer has looked at the clock.
        assert_eq!(clocks.old(&queue).await, (vec![], vec![]));
        assert_eq!(queue.leapt_since(before), SignedDuration::from_hours(144));
        let behind = clocks.keep(&queue).await;
        assert_eq!(clocks.old(&queue).await, (vec![], vec![]));
        for again in [false, true] {
            if again {
                queue.close().await;
                queue = clocks.queue(state.path(), "one");
            }
            queue.flush().await;
            let leaps = [before, behind].map(|id| queue.leapt_since(id).as_hours());
            assert_eq!(leaps, [144, 0]);
        }
        clocks.pass(HOUR - 59);
        assert_eq!(clocks.old(&queue).await, (vec![before], vec![]));
        clocks.pass(60);
        assert_eq!(clocks.old(&queue).await, (vec![before, behind], vec![]));
        clocks.pass(HOUR - 30);
        assert_eq!(clocks.old(&queue).await.1, [before]);
        queue.close().await;
    }

    #[tokio::test]
    async fn a_clock_is_set_forward_while_the_daemon_is_down() {
        let state = tempfile::tempdir().unwrap();
        let clocks = Clocks::new();
        let queue = clocks.queue(state.path(), "one");
        let id = clocks.keep(&queue).await;
        queue.close().await;
        clocks.wall.turn(24 * HOUR);
        let queue = clocks.queue(state.path(), "one");
        assert_eq!(clocks.old(&queue).await, (vec![], vec![]));
        queue.close().await;
        // Of a machine that was off nobody knows better.
        clocks.wall.turn(24 * HOUR);
        let queue = clocks.queue(state.path(), "two");
        assert_eq!(clocks.old(&queue).await, (vec![id], vec![id]));
        queue.close().await;
    }

    #[tokio::test]
    async fn ids_that_ran_ahead_of_a_clock_that_was_set_back_make_no_difference() {
        let state = tempfile::tempdir().unwrap();
        let clocks = Clocks::new();
        let queue = clocks.queue(state.path(), "one");
        clocks.keep(&queue).await;
        clocks.wall.turn(-12 * HOUR);
        let id = clocks.keep(&queue).await;
        clocks.pass(5);
        queue.flush().await;
        clocks.wall.turn(6 * HOUR);
        queue.flush().await;
        assert_eq!(queue.leapt_since(id).as_hours(), 6);
        assert_eq!(clocks.old(&queue).await, (vec![], vec![]));
        queue.close().await;
    }

    #[test]
    fn a_clock_that_is_set_back_takes_its_leap_back() {
        let clocks = Clocks::new();
        let clock = clocks.clock("one");
        let id = QueueId::first_at(clocks.wall.now());
        let look = |leaps: Leaps| leaps.looked(&clock, id).map_or(leaps, |(seen, _)| seen);
        let mut leaps = Leaps { past: Vec::new(), ahead: clock.ahead() };
        for (by, leapt) in [(5, 0), (100, 100), (1_000, 1_100), (-300, 800), (-801, 0), (50, 50)] {
            clocks.pass(1);
            clocks.wall.turn(by);
            leaps = look(leaps);
            assert_eq!(leaps.since(id, &clock).as_secs(), leapt, "after {by}");
        }
        clocks.wall.turn(-50);
        leaps = look(leaps);
        assert_eq!(leaps.past, []);
        for _ in 0..2 * MOST {
            clocks.pass(1);
            clocks.wall.turn(20);
            leaps = look(leaps);
        }
        assert_eq!((leaps.past.len(), leaps.since(id, &clock).as_secs()), (MOST, 2 * 50 * 20));
        let now = clocks.wall.now();
        assert!(!leaps.forget(Some(id), now) && leaps.past.len() == MOST);
        assert!(!leaps.forget(None, now), "somebody may be sending since before");
        let later = now.checked_add(SignedDuration::from_hours(25)).unwrap();
        assert!(!leaps.forget(Some(id), later) && leaps.forget(None, later) && leaps.is_empty());
    }
}
