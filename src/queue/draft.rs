//! A message on its way in: in memory while it is small and the budget has room, else in a file of its own.

use super::QueueId;
use super::budget::{Budget, SHARE, Shares};
use super::content::{Segments, Spill};
use super::error::KeepError;
use super::work::Held;
use bytes::{Bytes, BytesMut};
use std::sync::Arc;

/// Octets above which a message goes to a file of its own.
const IN_MEMORY: usize = 256 << 10;
/// Octets of a spilled message that are gathered before they are written, if it has shares for them.
const GATHER: usize = 64 << 10;

/// A message on its way in: its id is given, its content grows. Dropped before it was kept, it leaves nothing.
#[derive(Debug)]
pub struct Draft {
    id: QueueId,
    length: u64,
    segments: Arc<Segments>,
    budget: Arc<Budget>,
    gathered: BytesMut,
    /// Those that `gathered` has of the budget.
    shares: Shares,
    spill: Option<Spill>,
}

/// A draft's content, complete.
#[derive(Debug)]
pub(super) enum Body {
    Memory(Held),
    Spilled(Spill),
}

impl Draft {
    pub(super) fn new(id: QueueId, segments: Arc<Segments>, budget: Arc<Budget>) -> Self {
        let (gathered, shares) = (BytesMut::new(), Shares::default());
        Self { id, length: 0, segments, budget, gathered, shares, spill: None }
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
        let written = self.add(octets).await;
        if written.is_err() {
            self.segments.met(&written);
        }
        written
    }

    async fn add(&mut self, octets: &[u8]) -> Result<(), KeepError> {
        self.length += octets.len() as u64;
        if self.spill.is_none() && !self.has_room_for(octets.len()).await {
            let segments = Arc::clone(&self.segments);
            self.spill = Some(blocking(move || Ok(Spill::begin(&segments)?)).await?);
            self.write_out().await?;
            // What it keeps of its shares is what it may go on gathering: nothing, when the budget has no room.
            self.shares.keep(GATHER / SHARE);
        }
        self.gathered.extend_from_slice(octets);
        let may_gather = if self.shares.count() > 0 { GATHER } else { 0 };
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
        let have = self.shares.count();
        let want = needed.div_ceil(SHARE).max(1);
        if want <= have {
            return true;
        }
        // Twice as much as before each time, so that a message takes few turns at the budget.
        let want = want.max(have * 2).min(IN_MEMORY / SHARE);
        self.budget.add_for_content(&mut self.shares, want - have).await
    }

    /// Takes as many shares more as it needs for `octets` octets that wait outside of the draft, the header section
    /// while it arrives. When the budget has no room, waits for some, and does so without reading on: that is how
    /// intake slows down. False when there was none for 20 s.
    pub async fn cover(&self, shares: &mut Shares, octets: usize) -> bool {
        self.budget.cover(shares, octets).await
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
            return Ok(Body::Memory(Held::new(octets, self.shares)));
        };
        let header = header.clone();
        blocking(move || {
            spill.seal(&header)?;
            Ok(Body::Spilled(spill))
        })
        .await
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

    /// A draft in a budget of so many octets.
    fn draft(folder: &std::path::Path, memory: u64) -> (Draft, Arc<Budget>) {
        let segments = Arc::new(Segments::new(folder.to_owned(), Arc::new(SystemDisk), 1));
        let budget = Arc::new(Budget::new(memory));
        (Draft::new(QueueId::from_bits(1), segments, Arc::clone(&budget)), budget)
    }

    #[tokio::test]
    async fn a_small_message_stays_in_memory_and_holds_its_shares() {
        let folder = tempfile::tempdir().unwrap();
        let (mut draft, budget) = draft(folder.path(), 1 << 20);
        let all = budget.free();
        for _ in 0..5 {
            draft.write(&[b'x'; 1_000]).await.unwrap();
        }
        assert_eq!((draft.len(), all - budget.free()), (5_000, 2));
        let Body::Memory(held) = draft.finish(&Bytes::new()).await.unwrap() else { panic!("spilled") };
        assert_eq!((held.octets.len(), all - budget.free()), (5_000, 2));
        drop(held);
        assert_eq!(budget.free(), all);
    }

    #[tokio::test]
    async fn a_large_message_goes_to_disk_and_gives_most_of_its_shares_back() {
        let folder = tempfile::tempdir().unwrap();
        let (mut draft, budget) = draft(folder.path(), 4 << 20);
        let all = budget.free();
        for _ in 0..1_000 {
            draft.write(&[b'x'; 1_000]).await.unwrap();
        }
        assert_eq!(budget.free(), all - GATHER / SHARE);
        let Body::Spilled(spill) = draft.finish(&Bytes::new()).await.unwrap() else { panic!("in memory") };
        assert_eq!(budget.free(), all);
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
