//! Whether there is room for more: the disk's free space and the size of the content kept, looked at once a second at most.

use super::QueueSettings;
use super::error::KeepError;
use parking_lot::Mutex;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long an answer stands.
const FRESH: Duration = Duration::from_secs(1);

/// The last answer.
#[derive(Debug, Default)]
pub(super) struct Room(Mutex<Option<(Instant, bool)>>);

impl Room {
    /// Refuses below `min_free` and above `max_size`.
    pub(super) fn check(&self, settings: &QueueSettings, content: u64) -> Result<(), KeepError> {
        let mut last = self.0.lock();
        let has_room = match *last {
            Some((at, has_room)) if at.elapsed() < FRESH => has_room,
            _ => {
                let has_room = has_room(settings, content);
                *last = Some((Instant::now(), has_room));
                has_room
            }
        };
        if has_room { Ok(()) } else { Err(KeepError::DiskFull) }
    }

    /// Forgets the answer: the settings changed.
    pub(super) fn forget(&self) {
        *self.0.lock() = None;
    }
}

fn has_room(settings: &QueueSettings, content: u64) -> bool {
    // A folder that can't be asked will say so when it is written to.
    content <= settings.max_size && free(&settings.state_dir).is_none_or(|free| free >= settings.min_free)
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
        assert_eq!(Room::default().check(&settings, 0), Ok(()));
        let little = QueueSettings { min_free: u64::MAX, ..settings.clone() };
        assert_eq!(Room::default().check(&little, 0), Err(KeepError::DiskFull));
        let small = QueueSettings { max_size: 999, ..settings };
        assert_eq!(Room::default().check(&small, 1_000), Err(KeepError::DiskFull));
    }

    #[test]
    fn it_recovers_alone() {
        let folder = tempfile::tempdir().unwrap();
        let settings = QueueSettings { max_size: 999, ..testing::settings(folder.path()) };
        let room = Room::default();
        assert_eq!(room.check(&settings, 1_000), Err(KeepError::DiskFull));
        room.forget();
        assert_eq!(room.check(&settings, 900), Ok(()));
    }
}
