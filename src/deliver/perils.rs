//! Messages whose reading may have ended the daemon: by a stack that overflowed, memory that ran out, an abort in a
//! library. The file `state_dir/reading` names what is being read, so that the next start knows what was when the daemon
//! died, and how often before. Deaths in trials, which each start begins with, count only until one is survived: where
//! something else ends the daemon soon after each start, they show nothing.
//!
//! It is for deaths of the process, not of the machine: nothing is synced, and one write tells of all that begins together.
//! What can fail: the disk; then a death isn't counted.

use crate::queue::{LaneName, QueueId};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// After so many deaths a message is held.
pub const MOST: u32 = 3;
/// Messages that are remembered which no reader has come to yet: most of them ended just before the daemon did.
const MAX_SUSPECTS: usize = 1000;
const REMEMBERED: SignedDuration = SignedDuration::from_hours(7 * 24);

const NAME: &str = "reading";

/// Which messages were being read when the daemon died. Cheap to clone.
#[derive(Clone)]
pub struct Perils(Arc<Inner>);

struct Inner {
    kept: Mutex<Kept>,
    /// Held by whoever reads a suspect: one at a time, so that the next death tells which it was.
    alone: tokio::sync::Mutex<()>,
}

struct Kept {
    path: PathBuf,
    /// Made when it is first needed.
    file: Option<File>,
    deaths: BTreeMap<QueueId, Deaths>,
    under_way: BTreeMap<LaneName, BTreeSet<QueueId>>,
    /// That of them which is read for nothing.
    tried: Option<QueueId>,
    /// What the file holds, and how much of it there is.
    written: String,
    length: usize,
}

/// How often the daemon died with a message.
#[derive(Debug, Clone, Copy, Default)]
struct Deaths {
    all: u32,
    /// In trials since the last one that was survived.
    tried: u32,
}

impl Perils {
    /// With what the last daemon left.
    #[must_use]
    pub fn open(state_dir: &Path, now: Timestamp) -> Self {
        let path = state_dir.join(NAME);
        let octets = std::fs::read(&path).unwrap_or_default();
        let written = String::from_utf8_lossy(&octets).into_owned();
        let deaths = written.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            let id: QueueId = words.next()?.parse().ok()?;
            let all = words.next()?.parse().ok()?;
            let tried = words.next().and_then(|tried| tried.parse().ok()).unwrap_or(0);
            Some((id, Deaths { all, tried })).filter(|_| now.duration_since(id.time()) < REMEMBERED)
        });
        let deaths = deaths.take(MAX_SUSPECTS).collect();
        let under_way = BTreeMap::new();
        let kept = Kept { path, file: None, deaths, under_way, tried: None, written, length: octets.len() };
        Self(Arc::new(Inner { kept: Mutex::new(kept), alone: tokio::sync::Mutex::default() }))
    }

    /// How often the daemon died while it read this.
    #[must_use]
    pub fn deaths(&self, id: QueueId) -> u32 {
        self.0.kept.lock().deaths.get(&id).map_or(0, |deaths| deaths.all)
    }

    /// Waits until no other suspect is read.
    pub async fn alone(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.0.alone.lock().await
    }

    /// This reader reads these now, and no others.
    pub fn reads(&self, lane: &LaneName, ids: &BTreeSet<QueueId>) {
        let mut kept = self.0.kept.lock();
        if kept.under_way.get(lane).map_or(ids.is_empty(), |known| known == ids) {
            return;
        }
        kept.under_way.insert(lane.clone(), ids.clone());
        kept.write();
    }

    /// This reader reads one for nothing, and nothing else: see [`Perils::alone`].
    pub fn tries(&self, lane: &LaneName, id: QueueId) {
        let mut kept = self.0.kept.lock();
        kept.tried = Some(id);
        kept.under_way.insert(lane.clone(), BTreeSet::from([id]));
        kept.write();
    }

    /// That didn't end the daemon.
    pub fn survived(&self, lane: &LaneName, id: QueueId) {
        let mut kept = self.0.kept.lock();
        kept.tried = None;
        kept.under_way.remove(lane);
        if let Some(deaths) = kept.deaths.get_mut(&id) {
            deaths.all = deaths.all.saturating_sub(deaths.tried);
            deaths.tried = 0;
        }
        kept.write();
    }

    /// This one was read to its end, or is held.
    pub fn forget(&self, id: QueueId) {
        let mut kept = self.0.kept.lock();
        if kept.deaths.remove(&id).is_some() {
            kept.write();
        }
    }
}

impl Kept {
    /// In one write, which no death of the process parts: what was longer before is covered with spaces.
    fn write(&mut self) {
        let mut told = self.deaths.clone();
        for id in self.under_way.values().flatten() {
            told.entry(*id).or_default().all += 1;
        }
        if let Some(deaths) = self.tried.and_then(|id| told.get_mut(&id)) {
            deaths.tried += 1;
        }
        let mut text = String::new();
        for (id, Deaths { all, tried }) in told {
            let _ =
                if tried > 0 { writeln!(text, "{id} {all} {tried}") } else { writeln!(text, "{id} {all}") };
        }
        self.length = self.length.max(text.len());
        let padded = format!("{text:length$}", length = self.length);
        if padded == self.written {
            return;
        }
        if self.file.is_none() {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false).mode(0o600);
            self.file = options.open(&self.path).ok();
        }
        if self.file.as_ref().is_some_and(|file| file.write_all_at(padded.as_bytes(), 0).is_ok()) {
            self.written = padded;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(folder: &Path) -> Perils {
        Perils::open(folder, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn each_death_is_counted_for_what_was_read_then() {
        let folder = tempfile::tempdir().unwrap();
        let (lane, other) = (LaneName::new("inbox:a"), LaneName::new("inbox:b"));
        let id = QueueId::from_row;
        let of = |ids: &[i64]| ids.iter().map(|row| id(*row)).collect::<BTreeSet<_>>();
        let deaths = |perils: &Perils| (1..=4).map(|row| perils.deaths(id(row))).collect::<Vec<_>>();
        let first = open(folder.path());
        first.reads(&lane, &of(&[1, 2, 3]));
        first.reads(&other, &of(&[4]));
        first.reads(&lane, &of(&[2, 3]));
        assert_eq!(deaths(&first), [0, 0, 0, 0]);
        let second = open(folder.path());
        assert_eq!(deaths(&second), [0, 1, 1, 1]);
        // One is read alone and passes, and the next one ends it.
        second.reads(&lane, &of(&[2]));
        second.forget(id(2));
        second.reads(&lane, &of(&[3]));
        let third = open(folder.path());
        assert_eq!(deaths(&third), [0, 0, 2, 1], "what waited for its turn isn't to blame");
        third.reads(&lane, &of(&[3]));
        third.reads(&lane, &of(&[]));
        assert_eq!(deaths(&open(folder.path())), [0, 0, 2, 1], "an end in order is no death");
        third.forget(id(3));
        third.forget(id(4));
        assert_eq!(std::fs::read_to_string(folder.path().join(NAME)).unwrap().trim(), "");
    }

    #[test]
    fn deaths_in_trials_count_until_one_is_survived() {
        let folder = tempfile::tempdir().unwrap();
        let (lane, id) = (LaneName::new("inbox:a"), QueueId::from_row(1));
        let first = open(folder.path());
        first.reads(&lane, &BTreeSet::from([id]));
        // Each start ends in a trial of it, or in what comes behind.
        for (is_survived, deaths) in [(false, 2), (true, 1), (false, 2), (true, 1), (false, 2), (false, 3)] {
            let perils = open(folder.path());
            perils.tries(&lane, id);
            if is_survived {
                perils.survived(&lane, id);
            }
            assert_eq!(open(folder.path()).deaths(id), deaths);
        }
        // What is read in earnest behind a trial that was survived counts for good.
        let perils = open(folder.path());
        perils.survived(&lane, id);
        for deaths in [2, 3] {
            let perils = open(folder.path());
            perils.tries(&lane, id);
            perils.survived(&lane, id);
            perils.reads(&lane, &BTreeSet::from([id]));
            assert_eq!(open(folder.path()).deaths(id), deaths);
        }
    }

    #[test]
    fn what_stands_in_the_file_by_mistake_counts_nothing() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(NAME), b"x y\n\n 3\n0b5x2hm9wv4t0 many\n0b5x2hm9wv4t1\n\xff")
            .unwrap();
        let perils = open(folder.path());
        perils.reads(&LaneName::new("inbox:a"), &BTreeSet::from([QueueId::from_row(1)]));
        assert_eq!(open(folder.path()).deaths(QueueId::from_row(1)), 1);
        let later = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(8 * 24);
        assert_eq!(Perils::open(folder.path(), later).deaths(QueueId::from_row(1)), 0, "long ago");
        let nowhere = open(&folder.path().join("nowhere"));
        nowhere.reads(&LaneName::new("inbox:a"), &BTreeSet::from([QueueId::from_row(1)]));
        assert_eq!(nowhere.deaths(QueueId::from_row(1)), 0);
    }
}
