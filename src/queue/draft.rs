//! A message on its way in: in memory while it is small and the budget has room, else in a file of its own.
//!
//! Content takes no share of the budget's last quarter: that is for header sections ([`Draft::cover`]), which can't go
//! to a file before they are judged.

use super::QueueId;
use super::content::{Segments, Spill};
use super::error::KeepError;
use super::work::Held;
use bytes::{Bytes, BytesMut};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Octets above which a message goes to a file of its own.
const IN_MEMORY: usize = 256 << 10;
/// Octets that one share of the memory budget stands for.
pub(super) const SHARE: usize = 4 << 10;
/// How long a full budget slows a client down before its message goes to disk instead: outflow is given the chance
/// to free some, and inflow is braked.
const PATIENCE: Duration = Duration::from_millis(50);
/// How long a header section waits for its shares; a client waits for minutes (RFC 5321 §4.5.3.2.6).
const HEADER_PATIENCE: Duration = Duration::from_secs(20);
/// Hardly a header section is larger. One that is takes the shares for the largest at once: were they taken piece by
/// piece, many could stand half grown and wait for one another.
const SMALL_HEADER: usize = 16 << 10;
/// How often one looks whether so many shares are free. It doesn't queue for them, or small ones would wait behind it.
const LOOK: Duration = Duration::from_millis(100);
/// Octets of a spilled message that are gathered before they are written, if it has shares for them.
const GATHER: usize = 64 << 10;

/// A message on its way in: its id is given, its content grows. Dropped before it was kept, it leaves nothing.
#[derive(Debug)]
pub struct Draft {
    id: QueueId,
    length: u64,
    segments: Arc<Segments>,
    budget: Arc<Semaphore>,
    /// Shares of the budget that content leaves to header sections.
    reserve: usize,
    gathered: BytesMut,
    /// The shares that `gathered` has of the budget.
    share: Option<OwnedSemaphorePermit>,
    spill: Option<Spill>,
}

/// Shares of the memory budget for octets that stand outside of the draft. Dropped, they are given back.
#[derive(Debug, Default)]
pub struct Shares(Option<OwnedSemaphorePermit>);

/// A draft's content, complete.
#[derive(Debug)]
pub(super) enum Body {
    Memory(Held),
    Spilled(Spill),
}

impl Draft {
    /// `shares`: how many the whole budget has.
    pub(super) fn new(id: QueueId, segments: Arc<Segments>, budget: Arc<Semaphore>, shares: usize) -> Self {
        let (reserve, gathered) = (shares / 4, BytesMut::new());
        Self { id, length: 0, segments, budget, reserve, gathered, share: None, spill: None }
    }

    /// The id that the message will have.
    #[must_use]
    pub fn id(&self) -> QueueId {
        self.id
    }

    /// Octets written so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether nothing was written yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Adds octets.
    ///
    /// # Errors
    /// [`KeepError::DiskFull`] or [`KeepError::Io`] when a large message can't be written; the draft is then
    /// worthless.
    pub async fn write(&mut self, octets: &[u8]) -> Result<(), KeepError> {
        self.length += octets.len() as u64;
        if self.spill.is_none() && !self.has_room_for(octets.len()).await {
            let segments = Arc::clone(&self.segments);
            self.spill = Some(blocking(move || Ok(Spill::begin(&segments)?)).await?);
            self.write_out().await?;
            // What it keeps of its shares is what it may go on gathering: nothing, when the budget has no room.
            self.share = self.share.take().and_then(|mut share| share.split(GATHER / SHARE));
        }
        self.gathered.extend_from_slice(octets);
        let may_gather = if self.share.is_some() { GATHER } else { 0 };
        if self.spill.is_some() && self.gathered.len() >= may_gather {
            self.write_out().await?;
        }
        Ok(())
    }

    /// Whether so many octets more may stand in memory; takes the shares for them.
    async fn has_room_for(&mut self, more: usize) -> bool {
        let needed = self.gathered.len() + more;
        if needed > IN_MEMORY {
            return false;
        }
        let have = self.share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let want = needed.div_ceil(SHARE).max(1);
        if want <= have {
            return true;
        }
        // Twice as much as before each time, so that a message takes few turns at the budget.
        let want = want.max(have * 2).min(IN_MEMORY / SHARE);
        // The reserve is taken along and given back at once: it must be there, but isn't ours.
        let taken = take(&self.budget, want - have + self.reserve, PATIENCE).await;
        let Some(ours) = taken.and_then(|mut taken| taken.split(want - have)) else { return false };
        merge(&mut self.share, ours);
        true
    }

    /// Takes as many shares more as it needs for `octets` octets that wait outside of the draft, the header section
    /// while it arrives. When the budget has no room, waits for some, and does so without reading on: that is how
    /// intake slows down. False when there was none for 20 s.
    pub async fn cover(&self, shares: &mut Shares, octets: usize) -> bool {
        let have = shares.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = octets.div_ceil(SHARE).saturating_sub(have);
        if missing == 0 {
            return true;
        }
        let taken = if octets <= SMALL_HEADER {
            take(&self.budget, missing, HEADER_PATIENCE).await
        } else {
            let missing = missing.max((IN_MEMORY / SHARE).saturating_sub(have));
            look_for(&self.budget, missing, HEADER_PATIENCE).await
        };
        let Some(taken) = taken else { return false };
        merge(&mut shares.0, taken);
        true
    }

    /// Moves what is gathered to the file.
    async fn write_out(&mut self) -> Result<(), KeepError> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let Some(mut spill) = self.spill.take() else { return Ok(()) };
        let octets = std::mem::take(&mut self.gathered);
        let (spill, mut octets) = blocking(move || {
            spill.write(&octets)?;
            Ok((spill, octets))
        })
        .await?;
        if octets.capacity() <= 2 * GATHER {
            octets.clear();
            self.gathered = octets;
        }
        self.spill = Some(spill);
        Ok(())
    }

    /// The whole content. One that was spilled is sealed with `header` and synced: only its row is missing.
    pub(super) async fn finish(mut self, header: &Bytes) -> Result<Body, KeepError> {
        self.write_out().await?;
        let Some(mut spill) = self.spill.take() else {
            let octets = std::mem::take(&mut self.gathered).freeze();
            return Ok(Body::Memory(Held::new(octets, self.share.take())));
        };
        let header = header.clone();
        blocking(move || {
            spill.seal(&header)?;
            Ok(Body::Spilled(spill))
        })
        .await
    }
}

/// So many shares of a budget, if they come free in time.
async fn take(budget: &Arc<Semaphore>, count: usize, patience: Duration) -> Option<OwnedSemaphorePermit> {
    let count = u32::try_from(count).ok()?;
    if let Ok(taken) = Arc::clone(budget).try_acquire_many_owned(count) {
        return Some(taken);
    }
    let waiting = Arc::clone(budget).acquire_many_owned(count);
    tokio::time::timeout(patience, waiting).await.ok().and_then(Result::ok)
}

/// The same without a place in the queue for them.
async fn look_for(budget: &Arc<Semaphore>, count: usize, patience: Duration) -> Option<OwnedSemaphorePermit> {
    let count = u32::try_from(count).ok()?;
    let looks = patience.as_millis() / LOOK.as_millis();
    for _ in 0..looks {
        if let Ok(taken) = Arc::clone(budget).try_acquire_many_owned(count) {
            return Some(taken);
        }
        tokio::time::sleep(LOOK).await;
    }
    None
}

fn merge(shares: &mut Option<OwnedSemaphorePermit>, more: OwnedSemaphorePermit) {
    match shares {
        Some(shares) => shares.merge(more),
        none => *none = Some(more),
    }
}

/// Runs file work off the async threads.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, KeepError> + Send + 'static,
) -> Result<T, KeepError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(KeepError::Closed),
    }
}

#[cfg(test)]
mod tests {
    use super::super::content::SystemDisk;
    use super::*;

    fn draft(folder: &std::path::Path, shares: usize) -> (Draft, Arc<Semaphore>) {
        let segments = Arc::new(Segments::new(folder.to_owned(), Arc::new(SystemDisk), 1));
        let budget = Arc::new(Semaphore::new(shares));
        (Draft::new(QueueId::from_bits(1), segments, Arc::clone(&budget), 0), budget)
    }

    #[tokio::test(start_paused = true)]
    async fn a_header_section_takes_shares_while_it_arrives_and_waits_for_them() {
        let folder = tempfile::tempdir().unwrap();
        let (draft, budget) = draft(folder.path(), 3);
        let (mut one, mut other) = (Shares::default(), Shares::default());
        assert!(draft.cover(&mut one, SHARE).await && draft.cover(&mut one, SHARE + 1).await);
        assert_eq!(budget.available_permits(), 1);
        assert!(draft.cover(&mut one, 2 * SHARE).await, "has enough");
        assert!(!draft.cover(&mut other, 2 * SHARE).await, "no room for 20 s");
        assert_eq!(budget.available_permits(), 1, "a wait in vain keeps nothing");
        let (covered, ()) = tokio::join!(draft.cover(&mut other, 3 * SHARE), async { drop(one) });
        assert!(covered, "goes on as soon as others are done");
        drop(other);
        assert_eq!(budget.available_permits(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_header_section_has_all_it_may_need_or_waits_and_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let (draft, budget) = draft(folder.path(), 70);
        let (mut large, mut second, mut small) = (Shares::default(), Shares::default(), Shares::default());
        assert!(draft.cover(&mut large, 20 << 10).await && draft.cover(&mut large, 256 << 10).await);
        assert_eq!(budget.available_permits(), 6);
        assert!(draft.cover(&mut second, 8 << 10).await);
        let growing = draft.cover(&mut second, 17 << 10);
        let (grown, ()) = tokio::join!(growing, async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(draft.cover(&mut small, 16 << 10).await, "not behind the large one");
            drop(small);
            drop(large);
        });
        assert!(grown);
        assert_eq!(budget.available_permits(), 6);
    }

    #[tokio::test(start_paused = true)]
    async fn content_leaves_a_quarter_of_the_budget_to_header_sections() {
        let folder = tempfile::tempdir().unwrap();
        let (segments, budget) = {
            let (draft, budget) = draft(folder.path(), 8);
            (draft.segments, budget)
        };
        let mut content = Draft::new(QueueId::from_bits(1), segments, Arc::clone(&budget), 8);
        content.write(&vec![b'x'; 5 * SHARE]).await.unwrap();
        assert_eq!((content.spill.is_some(), budget.available_permits()), (false, 3));
        content.write(&vec![b'x'; 2 * SHARE]).await.unwrap();
        assert!(content.spill.is_some(), "7 of 8 shares would leave less than 2");
        assert!(content.cover(&mut Shares::default(), 3 * SHARE).await);
    }

    #[tokio::test]
    async fn a_small_message_stays_in_memory_and_holds_its_shares() {
        let folder = tempfile::tempdir().unwrap();
        let (mut draft, budget) = draft(folder.path(), 100);
        for _ in 0..5 {
            draft.write(&[b'x'; 1_000]).await.unwrap();
        }
        assert_eq!((draft.len(), budget.available_permits()), (5_000, 98));
        let Body::Memory(held) = draft.finish(&Bytes::new()).await.unwrap() else { panic!("spilled") };
        assert_eq!((held.octets.len(), budget.available_permits()), (5_000, 98));
        drop(held);
        assert_eq!(budget.available_permits(), 100);
    }

    #[tokio::test]
    async fn a_large_message_goes_to_disk_and_gives_most_of_its_shares_back() {
        let folder = tempfile::tempdir().unwrap();
        let (mut draft, budget) = draft(folder.path(), 1_000);
        for _ in 0..1_000 {
            draft.write(&[b'x'; 1_000]).await.unwrap();
        }
        assert_eq!(budget.available_permits(), 1_000 - GATHER / SHARE);
        let Body::Spilled(spill) = draft.finish(&Bytes::new()).await.unwrap() else { panic!("in memory") };
        assert_eq!(budget.available_permits(), 1_000);
        assert_eq!(spill.location().length, 1_000_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_budget_slows_down_and_then_spills() {
        let folder = tempfile::tempdir().unwrap();
        let (mut draft, _budget) = draft(folder.path(), 0);
        draft.write(b"hello").await.unwrap();
        assert!(draft.spill.is_some());
        drop(draft);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
