//! The memory for content in flight (`intake.memory`), given out in shares of [`SHARE`] octets.
//!
//! Content that finds no share goes to disk instead. A header section can't before it is judged, so its client waits
//! for shares, which is how intake slows down. Three rules keep that from standing still: content and large header
//! sections take none of the last quarter; room for one large header section is apart, so that small ones which turn
//! out to be large can't all stand half grown and wait for one another; and a large one must end soon, however slowly
//! its client may send.

use crate::message::fields::HEADER_LIMIT;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};

/// Octets that one share stands for.
pub(super) const SHARE: usize = 4 << 10;
/// Hardly a header section is larger. One that is takes the shares for the largest at once.
const SMALL_HEADER: usize = 16 << 10;
/// The shares of the largest header section.
const LARGE: usize = HEADER_LIMIT / SHARE;
/// How long content waits for its shares: outflow is given the chance to free some, and inflow is braked.
const PATIENCE: Duration = Duration::from_millis(50);
/// How long a header section waits for its shares; a client waits for minutes (RFC 5321 §4.5.3.2.6).
const HEADER_PATIENCE: Duration = Duration::from_secs(20);
/// How long a large header section may take, once it has its room: others wait for that.
const LARGE_STAY: Duration = Duration::from_secs(20);
/// How often those look that must not queue for what they want, or who wants less would wait behind them.
const LOOK: Duration = Duration::from_millis(10);

/// The whole budget.
#[derive(Debug)]
pub(super) struct Budget {
    /// How many there are, but for the room apart.
    total: AtomicUsize,
    shares: Arc<Semaphore>,
    /// For one large header section at a time.
    large: Arc<Semaphore>,
}

/// Shares that somebody has. Dropped, they are given back.
#[derive(Debug, Default)]
pub struct Shares {
    own: Option<OwnedSemaphorePermit>,
    /// The room apart, which is as much as a header section can need.
    large: Option<OwnedSemaphorePermit>,
    /// When it got room for a large header section.
    large_since: Option<Instant>,
}

impl Budget {
    /// `memory` in octets.
    pub(super) fn new(memory: u64) -> Self {
        let total = shares(memory);
        let (shares, large) = (Arc::new(Semaphore::new(total)), Arc::new(Semaphore::new(1)));
        Self { total: total.into(), shares, large }
    }

    /// Follows a new setting. What is in use comes back first when it is less.
    pub(super) fn resize(&self, memory: u64) {
        let new = shares(memory);
        let old = self.total.swap(new, Ordering::Relaxed);
        if new >= old {
            return self.shares.add_permits(new - old);
        }
        let fewer = self.shares.forget_permits(old - new);
        let rest = u32::try_from(old - new - fewer).unwrap_or(u32::MAX);
        if rest > 0
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let shares = Arc::clone(&self.shares);
            runtime.spawn(async move {
                if let Ok(permit) = shares.acquire_many_owned(rest).await {
                    permit.forget();
                }
            });
        }
    }

    /// How many are free.
    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.shares.available_permits()
    }

    /// Takes so many shares more for content; false when there were none for 50 ms.
    pub(super) async fn add_for_content(&self, shares: &mut Shares, more: usize) -> bool {
        let taken = timeout(PATIENCE, look_for(&self.shares, more, self.left_to_small())).await;
        taken.is_ok_and(|taken| shares.add(taken))
    }

    /// How many only small header sections take.
    fn left_to_small(&self) -> usize {
        self.total.load(Ordering::Relaxed) / 4
    }

    /// Takes as many shares more as a header section of so many octets needs; false when there were none for 20 s.
    pub(super) async fn cover(&self, shares: &mut Shares, octets: usize) -> bool {
        let missing = octets.div_ceil(SHARE).saturating_sub(shares.count());
        if missing == 0 || shares.large.is_some() {
            return true;
        }
        if octets <= SMALL_HEADER {
            let missing = u32::try_from(missing).unwrap_or(u32::MAX);
            let taken = timeout(HEADER_PATIENCE, Arc::clone(&self.shares).acquire_many_owned(missing)).await;
            return taken.is_ok_and(|taken| shares.add(taken.ok()));
        }
        let missing = missing.max(LARGE.saturating_sub(shares.count()));
        let waiting = async {
            tokio::select! {
                biased;
                taken = look_for(&self.shares, missing, self.left_to_small()) => shares.add(taken),
                room = Arc::clone(&self.large).acquire_owned() => {
                    shares.large = room.ok();
                    shares.large.is_some()
                }
            }
        };
        let covered = timeout(HEADER_PATIENCE, waiting).await.unwrap_or(false);
        shares.large_since = covered.then(Instant::now);
        covered
    }
}

impl Shares {
    /// How many it has, the room apart aside.
    pub(super) fn count(&self) -> usize {
        self.own.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    /// When a header section must have ended that took room for a large one.
    #[must_use]
    pub fn must_end_by(&self) -> Option<Instant> {
        self.large_since.map(|since| since + LARGE_STAY)
    }

    /// Gives back all but so many; all, when it has fewer.
    pub(super) fn keep(&mut self, count: usize) {
        self.own = self.own.take().and_then(|mut own| own.split(count));
    }

    fn add(&mut self, taken: Option<OwnedSemaphorePermit>) -> bool {
        let Some(taken) = taken else { return false };
        match &mut self.own {
            Some(own) => own.merge(taken),
            none => *none = Some(taken),
        }
        true
    }
}

/// So many shares as soon as they and so many others are free at once.
async fn look_for(shares: &Arc<Semaphore>, count: usize, others: usize) -> Option<OwnedSemaphorePermit> {
    let both = u32::try_from(count + others).ok()?;
    loop {
        // The others are taken along and given back at once: they must be there, but aren't ours.
        if let Ok(mut taken) = Arc::clone(shares).try_acquire_many_owned(both) {
            return taken.split(count);
        }
        sleep(LOOK).await;
    }
}

/// The shares of so many octets, but for the room apart.
fn shares(memory: u64) -> usize {
    let all = usize::try_from(memory).unwrap_or(usize::MAX) / SHARE;
    all.saturating_sub(LARGE).min(Semaphore::MAX_PERMITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Octets of so many shares and the room for a large header section.
    fn memory(shares: usize) -> u64 {
        ((shares + LARGE) * SHARE) as u64
    }

    fn budget(shares: usize) -> Budget {
        Budget::new(memory(shares))
    }

    #[tokio::test(start_paused = true)]
    async fn a_header_section_takes_shares_while_it_arrives_and_waits_for_them() {
        let budget = budget(3);
        let (mut one, mut other) = (Shares::default(), Shares::default());
        assert!(budget.cover(&mut one, SHARE).await && budget.cover(&mut one, SHARE + 1).await);
        assert_eq!(budget.free(), 1);
        assert!(budget.cover(&mut one, 2 * SHARE).await, "has enough");
        assert!(!budget.cover(&mut other, 2 * SHARE).await, "no room for 20 s");
        assert_eq!(budget.free(), 1, "a wait in vain keeps nothing");
        let (covered, ()) = tokio::join!(budget.cover(&mut other, 3 * SHARE), async { drop(one) });
        assert!(covered, "goes on as soon as others are done");
        drop(other);
        assert_eq!(budget.free(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_header_section_has_all_it_may_need_or_waits_and_holds_nobody_up() {
        let budget = budget(88);
        let (mut first, mut second, mut third) = (Shares::default(), Shares::default(), Shares::default());
        assert!(budget.cover(&mut first, 20 << 10).await && budget.cover(&mut first, 256 << 10).await);
        assert_eq!(budget.free(), 24);
        assert!(budget.cover(&mut second, 17 << 10).await, "in the room apart");
        assert!(budget.cover(&mut second, 256 << 10).await);
        assert!(budget.cover(&mut third, 8 << 10).await);
        let mut small = Shares::default();
        let (grown, ()) = tokio::join!(budget.cover(&mut third, 17 << 10), async {
            sleep(Duration::from_secs(1)).await;
            assert!(budget.cover(&mut small, 16 << 10).await, "not behind the large one");
            drop((small, first));
        });
        assert!(grown);
        assert_eq!(budget.free(), 24);
    }

    #[tokio::test(start_paused = true)]
    async fn large_header_sections_leave_room_to_small_ones_and_must_end_soon() {
        let budget = budget(2 * LARGE + LARGE / 2);
        let (mut first, mut second, mut third) = (Shares::default(), Shares::default(), Shares::default());
        assert!(budget.cover(&mut first, SMALL_HEADER).await);
        assert_eq!(first.must_end_by(), None, "a small one holds nobody up");
        assert!(budget.cover(&mut first, SMALL_HEADER + 1).await);
        let by = first.must_end_by().expect("a large one");
        assert_eq!(by, Instant::now() + LARGE_STAY);
        assert!(
            budget.cover(&mut second, SMALL_HEADER + 1).await,
            "in the room apart: less than a quarter is left"
        );
        sleep(Duration::from_secs(1)).await;
        assert!(budget.cover(&mut first, HEADER_LIMIT).await);
        assert_eq!(first.must_end_by(), Some(by), "more octets are no more time");
        assert!(!budget.cover(&mut third, SMALL_HEADER + 1).await);
        assert_eq!(third.must_end_by(), None);
        assert!(budget.cover(&mut third, SMALL_HEADER).await);
    }

    #[tokio::test(start_paused = true)]
    async fn small_header_sections_that_grow_go_on_one_after_the_other() {
        let budget = budget(192);
        let mut many: Vec<Shares> = Vec::new();
        loop {
            let mut small = Shares::default();
            if !budget.cover(&mut small, SMALL_HEADER).await {
                break;
            }
            many.push(small);
        }
        assert_eq!(many.len(), 48, "the whole budget");
        let mut late = Shares::default();
        let growing = async {
            for grown in &mut many {
                assert!(budget.cover(grown, 256 << 10).await);
                *grown = Shares::default();
            }
        };
        assert!(tokio::join!(budget.cover(&mut late, SMALL_HEADER), growing).0);
    }

    #[tokio::test(start_paused = true)]
    async fn content_leaves_a_quarter_to_header_sections() {
        let budget = budget(8);
        let mut content = Shares::default();
        assert!(budget.add_for_content(&mut content, 6).await);
        assert!(!budget.add_for_content(&mut content, 1).await, "would leave less than 2");
        assert!(budget.cover(&mut Shares::default(), 2 * SHARE).await);
        content.keep(4);
        assert!(budget.add_for_content(&mut content, 2).await);
        assert_eq!((content.count(), budget.free()), (6, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_smaller_budget_takes_back_what_is_in_use() {
        let budget = budget(8);
        let mut used = Shares::default();
        assert!(budget.cover(&mut used, 4 * SHARE).await);
        budget.resize(memory(2));
        tokio::task::yield_now().await;
        drop(used);
        assert!(!budget.cover(&mut Shares::default(), 3 * SHARE).await);
        assert!(budget.cover(&mut Shares::default(), 2 * SHARE).await);
        budget.resize(memory(5));
        assert!(budget.cover(&mut Shares::default(), 4 * SHARE).await);
    }
}
