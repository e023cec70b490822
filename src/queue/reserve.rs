//! Room on the disk that is taken beforehand, so that mail can leave when others have filled it: a claim must be
//! recorded before a message goes, and its outcome behind it.
//!
//! Blocks behind the ends of the index and of its log, which neither sees. A log that was written back begins anew
//! in the blocks it has. Where a file system can't do that, or has no room, there is no reserve.

use rustix::fs::{FallocateFlags, OFlags, fallocate};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Octets that the log always has: some hundred outcomes, and then it begins anew.
const LOG: u64 = 2 << 20;
/// Octets by which the index can grow.
const INDEX: u64 = 1 << 20;

/// Fewer aren't asked for.
const LEAST: u64 = 8 << 10;

/// The reserve of one index.
#[derive(Debug)]
pub(super) struct Reserve {
    /// Open as long as the index is: closing it would end SQLite's locks on it (POSIX has them go with any descriptor).
    index: File,
    log: PathBuf,
}

impl Reserve {
    /// None when the index can't be opened, which others will tell.
    pub(super) fn of(index: &Path) -> Option<Self> {
        let mut log = index.as_os_str().to_owned();
        log.push("-wal");
        Some(Self { index: open(index).ok()?, log: log.into() })
    }

    /// Takes what is missing of it. Each time the log was written back some is: SQLite cuts the index to its length then.
    pub(super) fn fill(&self) {
        let end = self.index.metadata().map_or(0, |index| index.len());
        set_aside(&self.index, end, INDEX);
        if let Ok(log) = open(&self.log) {
            set_aside(&log, 0, LOG);
        }
    }
}

/// So many octets from there on, or as many as there are.
fn set_aside(file: &File, start: u64, mut octets: u64) {
    while fallocate(file, FallocateFlags::KEEP_SIZE, start, octets) == Err(Errno::NOSPC) && octets > LEAST {
        octets /= 2;
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or(0);
    OpenOptions::new().write(true).custom_flags(flags).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn it_takes_blocks_and_changes_no_length() {
        let folder = tempfile::tempdir().unwrap();
        let index = folder.path().join("queue.db");
        std::fs::write(&index, b"index").unwrap();
        std::fs::write(folder.path().join("queue.db-wal"), b"log").unwrap();
        let reserve = Reserve::of(&index).unwrap();
        reserve.fill();
        reserve.fill();
        for (name, length, octets) in [("queue.db", 5, INDEX), ("queue.db-wal", 3, LOG)] {
            let found = std::fs::metadata(folder.path().join(name)).unwrap();
            assert_eq!(found.len(), length);
            // Not every file system can.
            if rustix::fs::statfs(folder.path())
                .is_ok_and(|system| matches!(system.f_type, 0xEF53 | 0x0102_1994))
            {
                assert!(found.blocks() * 512 >= octets, "{name}: {}", found.blocks());
            }
        }
    }
}
