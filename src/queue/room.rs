//! Whether there is room for more: the disk's free space, looked at once a second at most, and the size of the content
//! that is kept. What was let in since, and what is on its way to the writer, counts until it shows there.

use super::QueueSettings;
use super::error::KeepError;
use parking_lot::Mutex;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a look at the disk stands.
const FRESH: Duration = Duration::from_secs(1);

/// The last look, and what came behind it.
#[derive(Debug, Default)]
pub(super) struct Room(Mutex<Look>);

#[derive(Debug, Default)]
struct Look {
    at: Option<Instant>,
    free: Option<u64>,
    /// Octets let in that the look may not have seen.
    since: u64,
    /// Octets let in that aren't in the size of the content yet.
    under_way: u64,
}

/// Content that was let in and isn't counted as kept yet; dropped when it is, or never will be.
#[derive(Debug)]
pub(super) struct UnderWay<'r> {
    room: &'r Room,
    octets: u64,
}

impl Room {
    /// Refuses what would take the content above `max_size`, and everything while the disk has less free than `min_free`:
    /// that is a reserve, of which the message that reaches it may take some.
    pub(super) fn check(
        &self,
        settings: &QueueSettings,
        content: &AtomicU64,
        more: u64,
    ) -> Result<(), KeepError> {
        self.0.lock().check(settings, content, more)
    }

    /// The same for a message that is there whole, and counts it from now on.
    pub(super) fn let_in(
        &self,
        settings: &QueueSettings,
        content: &AtomicU64,
        octets: u64,
    ) -> Result<UnderWay<'_>, KeepError> {
        let mut look = self.0.lock();
        look.check(settings, content, octets)?;
        look.since = look.since.saturating_add(octets);
        look.under_way = look.under_way.saturating_add(octets);
        Ok(UnderWay { room: self, octets })
    }

    /// What there is too little of, with figures; none while there is room.
    pub(super) fn lack(&self, settings: &QueueSettings, content: &AtomicU64) -> Option<String> {
        let mut look = self.0.lock();
        look.check(settings, content, 0).err()?;
        let folder = settings.state_dir.display();
        let free = look.free.filter(|free| *free < settings.min_free.saturating_add(look.since));
        Some(match free {
            Some(free) => format!(
                "{} MiB are free on the disk of {folder}, less than spool.min_free, {} MiB",
                free >> 20,
                settings.min_free >> 20
            ),
            None => format!("the content of {folder} fills spool.max_size, {} MiB", settings.max_size >> 20),
        })
    }

    /// Forgets the look: the settings changed.
    pub(super) fn forget(&self) {
        self.0.lock().at = None;
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut look = self.room.0.lock();
        look.under_way = look.under_way.saturating_sub(self.octets);
    }
}

impl Look {
    /// `content` is read under the lock: what is no longer under way is in it then.
    fn check(&mut self, settings: &QueueSettings, content: &AtomicU64, more: u64) -> Result<(), KeepError> {
        if self.at.is_none_or(|at| at.elapsed() >= FRESH) {
            self.at = Some(Instant::now());
            self.free = free(&settings.state_dir);
            self.since = self.under_way;
        }
        let content = content.load(Ordering::Relaxed).saturating_add(self.under_way);
        // A folder that can't be asked will say so when it is written to.
        let free = self.free.map(|free| free.saturating_sub(self.since));
        if content.saturating_add(more) <= settings.max_size
            && free.is_none_or(|free| free >= settings.min_free)
        {
            return Ok(());
        }
        Err(KeepError::DiskFull)
    }
}

fn free(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn there_is_no_room_below_the_free_space_wanted_or_above_the_spools_size() {
        let folder = tempfile::tempdir().unwrap();
        let settings = testing::settings(folder.path());
        let none = AtomicU64::new(0);
        assert_eq!(Room::default().check(&settings, &none, 0), Ok(()));
        let little = QueueSettings { min_free: u64::MAX, ..settings.clone() };
        assert_eq!(Room::default().check(&little, &none, 0), Err(KeepError::DiskFull));
        let words = |settings, content| Room::default().lack(settings, &AtomicU64::new(content));
        assert!(words(&little, 0).unwrap().contains("less than spool.min_free, 17592186044415 MiB"));
        assert_eq!(words(&settings, 0), None);
        let small = QueueSettings { max_size: 999, ..settings.clone() };
        assert_eq!(Room::default().check(&small, &AtomicU64::new(1_000), 0), Err(KeepError::DiskFull));
        assert!(words(&small, 1_000).unwrap().contains("fills spool.max_size, 0 MiB"));
        assert_eq!(Room::default().check(&small, &AtomicU64::new(900), 99), Ok(()));
        assert_eq!(Room::default().check(&small, &AtomicU64::new(900), 100), Err(KeepError::DiskFull));
    }

    #[test]
    fn it_recovers_alone() {
        let folder = tempfile::tempdir().unwrap();
        let settings = QueueSettings { max_size: 999, ..testing::settings(folder.path()) };
        let room = Room::default();
        assert_eq!(room.check(&settings, &AtomicU64::new(1_000), 0), Err(KeepError::DiskFull));
        assert_eq!(room.check(&settings, &AtomicU64::new(900), 0), Ok(()));
    }

    #[test]
    fn what_is_under_way_counts_until_it_is_kept_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let settings = QueueSettings { max_size: 100, ..testing::settings(folder.path()) };
        let (room, content) = (Room::default(), AtomicU64::new(0));
        let first = room.let_in(&settings, &content, 60).unwrap();
        assert!(room.let_in(&settings, &content, 60).is_err());
        let second = room.let_in(&settings, &content, 40).unwrap();
        assert_eq!(room.check(&settings, &content, 1), Err(KeepError::DiskFull));
        content.store(60, Ordering::Relaxed);
        drop((first, second));
        assert_eq!(room.check(&settings, &content, 40), Ok(()));
        assert!(room.let_in(&settings, &content, 41).is_err());
    }

    #[test]
    fn what_was_let_in_since_the_last_look_at_the_disk_counts_as_gone() {
        let folder = tempfile::tempdir().unwrap();
        let free = free(folder.path()).unwrap();
        // Whatever else writes to this disk meanwhile, half of it doesn't come or go.
        let settings = testing::settings(folder.path());
        let settings = QueueSettings { min_free: free / 2, max_size: u64::MAX, ..settings };
        let (room, content) = (Room::default(), AtomicU64::new(0));
        drop(room.let_in(&settings, &content, free).unwrap());
        room.0.lock().at = Some(Instant::now() + Duration::from_hours(1));
        assert_eq!(room.check(&settings, &content, 0), Err(KeepError::DiskFull));
        room.forget();
        assert_eq!(room.check(&settings, &content, 0), Ok(()));
    }
}
