//! When the next message of a lane expires, so that it is told of at that time and not when its turn comes.
//!
//! Only a lower bound is kept, one number per lane: new mail lowers it, an operator's change forgets it, a search of
//! the index sets it. A bound that is too low costs one search.

use super::lane::Lane;
use super::reader;
use super::window::Window;
use super::work::Due;
use jiff::Timestamp;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// The clock is looked at anew at least so often, in case somebody set it.
const LONGEST_SLEEP: Duration = Duration::from_mins(1);

/// A lower bound of when something expires, in milliseconds.
#[derive(Debug)]
pub(super) struct Expiry {
    next_ms: AtomicI64,
    lowered: Notify,
}

impl Expiry {
    /// Nothing is known; or, with a lane that has nothing on disk, that nothing expires.
    pub(super) fn new(is_known: bool) -> Self {
        Self { next_ms: AtomicI64::new(if is_known { i64::MAX } else { i64::MIN }), lowered: Notify::new() }
    }

    /// A message expires at this time.
    pub(super) fn at(&self, time: Timestamp) {
        self.lower(time.as_millisecond());
    }

    /// A message was put back that may expire at any time.
    pub(super) fn forget(&self) {
        self.lower(i64::MIN);
    }

    fn lower(&self, ms: i64) {
        if self.next_ms.fetch_min(ms, Ordering::AcqRel) > ms {
            self.lowered.notify_waiters();
        }
    }

    /// Waits until something may have expired by `now`'s clock.
    async fn wait(&self, now: impl Fn() -> Timestamp) {
        loop {
            let lowered = self.lowered.notified();
            tokio::pin!(lowered);
            lowered.as_mut().enable();
            let left = self.next_ms.load(Ordering::Acquire).saturating_sub(now().as_millisecond());
            let Ok(left @ 1..) = u64::try_from(left) else { return };
            tokio::select! {
                () = lowered => {}
                () = tokio::time::sleep(Duration::from_millis(left).min(LONGEST_SLEEP)) => {}
            }
        }
    }
}

impl Lane {
    /// Waits until a message may have expired: then [`Queue::claim_expired`](super::Queue::claim_expired) finds it.
    /// Safe to drop at any time.
    pub async fn expiry(&self) {
        self.0.expiry.wait(|| self.0.now()).await;
    }
}

/// Claims what has expired, and sets the bound for what hasn't.
pub(super) fn claim(
    index: &Path,
    lane: &Arc<Window>,
    now: Timestamp,
    room: usize,
) -> rusqlite::Result<Vec<Due>> {
    // What comes in while the index is searched lowers it again.
    lane.expiry.next_ms.store(i64::MAX, Ordering::Release);
    let found = reader::claim_expired(index, lane, now, room);
    match &found {
        Ok((_, next)) => {
            lane.expiry.next_ms.fetch_min(next.map_or(i64::MAX, Timestamp::as_millisecond), Ordering::AcqRel)
        }
        Err(_) => lane.expiry.next_ms.fetch_min(now.as_millisecond().saturating_add(1000), Ordering::AcqRel),
    };
    found.map(|(claimed, _)| claimed)
}

#[cfg(test)]
mod tests {
    use crate::queue::testing::{Hand, settings, submission};
    use crate::queue::{Adjust, Filter, LaneName, Queue, Receipt, Submission, salvage};
    use jiff::Timestamp;
    use std::time::Duration;

    const START: i64 = 1_795_000_100;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(START + second).unwrap()
    }

    /// A message accepted at [`START`].
    fn message(due: i64, expires: Option<i64>, held: bool) -> Submission {
        let mut submission = submission("shop", &["a@b.example"]);
        submission.received_at = at(0);
        submission.parts[0].due = at(due);
        submission.parts[0].expires_at = expires.map(at);
        submission.parts[0].held = held;
        submission
    }

    async fn keep(queue: &Queue, submission: Submission) -> Receipt {
        let mut draft = queue.draft();
        draft.write(b"x").await.unwrap();
        queue.keep(draft, submission).await.unwrap().remove(0)
    }

    #[tokio::test]
    async fn what_expires_is_found_due_or_not_and_what_is_held_waits() {
        let folder = tempfile::tempdir().unwrap();
        let hand = Hand::at(START);
        let queue = Queue::open(settings(folder.path()), hand.clock()).unwrap();
        let shop = LaneName::new("shop");
        let soon = keep(&queue, message(0, Some(10), false)).await;
        let _ = keep(&queue, message(0, None, false)).await;
        let waiting = keep(&queue, message(600, Some(20), false)).await;
        let held = keep(&queue, message(0, Some(5), true)).await;
        let expired = |now| {
            let (queue, shop) = (queue.clone(), shop.clone());
            async move { queue.claim_expired(&shop, at(now), 9).await.unwrap() }
        };
        assert_eq!(expired(9).await.len(), 0);
        let found = expired(10).await;
        assert_eq!(found.iter().map(|due| due.id).collect::<Vec<_>>(), [soon.id()]);
        assert_eq!((found[0].expires_at, found[0].released_at), (Some(at(10)), at(0)));
        // Claimed once, it isn't found again; what isn't due is.
        let found = expired(30).await;
        assert_eq!(found.iter().map(|due| due.id).collect::<Vec<_>>(), [waiting.id()]);
        assert_eq!(found[0].released_at, at(600));
        let released = Filter { ids: vec![held.id()], ..Filter::default() };
        queue.adjust(released, Adjust::Release).await.unwrap();
        let found = expired(30).await;
        assert_eq!(found.iter().map(|due| due.id).collect::<Vec<_>>(), [held.id()]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_is_woken_when_something_expires() {
        let folder = tempfile::tempdir().unwrap();
        let hand = Hand::at(START);
        let queue = Queue::open(settings(folder.path()), hand.clock()).unwrap();
        let (shop, lane) = (LaneName::new("shop"), queue.lane(&"shop".into()));
        let waits = |lane: crate::queue::Lane| async move {
            tokio::time::timeout(Duration::from_hours(1), lane.expiry()).await.is_err()
        };
        assert!(waits(lane.clone()).await, "nothing expires");
        let _ = keep(&queue, message(0, Some(10), false)).await;
        assert!(waits(lane.clone()).await, "not by this clock");
        hand.turn(10);
        assert!(!waits(lane.clone()).await);
        assert_eq!(queue.claim_expired(&shop, hand.now(), 9).await.unwrap().len(), 1);
        assert!(waits(lane).await, "it is claimed, and nothing else expires");
    }

    #[tokio::test]
    async fn mail_that_moves_to_another_lane_keeps_its_times() {
        let folder = tempfile::tempdir().unwrap();
        let hand = Hand::at(START);
        let queue = Queue::open(settings(folder.path()), hand.clock()).unwrap();
        let kept = keep(&queue, message(600, Some(900), false)).await;
        let moved = queue.adjust(Filter::default(), Adjust::Reroute("other".into())).await.unwrap();
        assert_eq!(moved.count, 1);
        let life = queue.life(kept.id()).await.unwrap().unwrap();
        assert_eq!(life.entry.recipients[0].next_attempt, Some(at(600)));
        assert_eq!(queue.claim_expired(&"shop".into(), at(900), 9).await.unwrap().len(), 0);
        assert_eq!(queue.claim_expired(&"other".into(), at(900), 9).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn mail_that_waits_for_its_release_does_not_age() {
        let folder = tempfile::tempdir().unwrap();
        let hand = Hand::at(START);
        let queue = Queue::open(settings(folder.path()), hand.clock()).unwrap();
        let shop = LaneName::new("shop");
        let _ = keep(&queue, message(86_400, None, false)).await;
        let aged = |now| {
            let (queue, shop) = (queue.clone(), shop.clone());
            async move { queue.claim_aged(&shop, at(now), false, 9).await.unwrap().len() }
        };
        hand.turn(3_600);
        assert_eq!(aged(3_600).await, 0);
        assert_eq!(aged(86_400).await, 0);
        assert_eq!(aged(86_401).await, 1);
    }

    #[tokio::test]
    async fn release_and_expiry_survive_a_restart_and_the_loss_of_the_index() {
        let folder = tempfile::tempdir().unwrap();
        let hand = Hand::at(START);
        let queue = Queue::open(settings(folder.path()), hand.clock()).unwrap();
        let kept = keep(&queue, message(600, Some(900), false)).await;
        queue.close().await;
        for lost in [false, true] {
            if lost {
                for file in ["queue.db", "queue.db-wal", "queue.db-shm"] {
                    let _ = std::fs::remove_file(folder.path().join(file));
                }
                assert_eq!(
                    salvage(folder.path(), crate::queue::Unknown::Send, &[], &hand.clock()).unwrap().queued,
                    1
                );
            }
            let queue = Queue::open(settings(folder.path()), hand.clock()).unwrap();
            let life = queue.life(kept.id()).await.unwrap().unwrap();
            assert_eq!((life.release_at, life.expires_at), (Some(at(600)), Some(at(900))), "{lost}");
            assert_eq!(life.entry.recipients[0].next_attempt, Some(at(600)));
            queue.close().await;
        }
    }
}
