//! When the next message of a lane expires, so that it is told of at that time and not when its turn comes.
//!
//! Only a lower bound is kept, one number per lane: new mail lowers it, an operator's change forgets it, a search of
//! the index sets it. A bound that is too low costs one search.

use super::lane::{Lane, Window};
use super::reader;
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
