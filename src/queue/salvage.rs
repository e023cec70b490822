//! `queue salvage`: rebuilds a lost or damaged index from the content files alone, offline.
//!
//! Every record tells everything about itself. Damage is passed by looking for the file's next record mark. What is
//! found is queued again with all its recipients, unless the old index can still be read and knows that they are
//! done: some may get a second copy, and each message's journal says so. Nothing is lost by it: the old index is moved
//! aside, and a segment with damage in it gets a second name, `NNNNNNNN.damaged`, that the queue never deletes.

use super::content::{self, open_plain};
use super::entry::{Kind, State};
use super::folder::Folder;
use super::index::{self, Remembered};
use super::open::segment_files;
use super::record::{self, HEAD, Nonce, PREFIX, Prefix};
use super::store::Writes;
use super::work::{Location, Submission};
use super::{QueueError, QueueId};
use crate::clock::Clock;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};
use std::collections::HashMap;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Octets looked through at a time for the next record.
const CHUNK: usize = 1 << 20;
/// Messages put into the new index in one transaction.
const BATCH: u64 = 1_000;

/// What a salvage came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Salvaged {
    /// Messages that are queued again.
    pub queued: u64,
    /// Messages that the old index knew to be done.
    pub done: u64,
    /// Stretches of the content files that hold no sound record. The end of a file after a crash may be one.
    pub damaged: u64,
    /// Where the old index went, if there was one.
    pub old_index: Option<PathBuf>,
}

/// A stretch of a segment file.
#[derive(Debug)]
pub enum Found {
    /// A sound record.
    Record {
        /// Where its content starts.
        offset: u64,
        /// Octets of its content.
        length: u64,
        /// Its parts' ids.
        ids: Vec<QueueId>,
        /// What was kept.
        submission: Box<Submission>,
    },
    /// Octets that are no sound record.
    Damage {
        /// Where they start.
        offset: u64,
    },
}

/// Rebuilds the index of `state_dir`.
///
/// # Errors
/// As [`super::Queue::open`]: the folder must not be in use.
pub fn salvage(state_dir: &Path, clock: &Clock) -> Result<Salvaged, QueueError> {
    let folder = Folder::lock(state_dir)?;
    if !folder.has_content() {
        return Err(QueueError::ContentMissing { path: folder.content() });
    }
    let now = clock.now();
    let mut salvaged = Salvaged::default();
    // Built under another name and moved in place when it is whole: until then, a kill changes nothing.
    let unfinished = folder.index().with_extension("salvage");
    remove_index(&unfinished)?;
    let old = folder.index().exists().then(|| index::open_read_only(&folder.index()).ok()).flatten();
    restore_lost(&folder.content());
    let connection = index::open(&unfinished)?;
    let mut writes = Writes::prepare(&connection)?;
    writes.begin()?;
    let mut segments: HashMap<u64, i64> = HashMap::new();
    let (mut last_id, mut last_segment, mut since_commit) = (0, 0, 0);
    for number in segment_files(&folder.content())? {
        last_segment = number;
        let path = folder.content().join(content::file_name(number));
        let damaged_before = salvaged.damaged;
        let Ok(file) = open_plain(&path, number) else {
            salvaged.damaged += 1;
            continue;
        };
        let length = file.metadata().map_or(0, |data| data.len());
        let read = |octets: &mut [u8], at: u64| file.read_at(octets, at);
        let mut failed = None;
        scan(length, read, |found| match found {
            Found::Damage { .. } => salvaged.damaged += 1,
            Found::Record { offset, length, ids, submission } => {
                last_id = ids.iter().map(|id| id.to_row()).max().unwrap_or(0).max(last_id);
                let location = Location { segment: number, offset, length };
                match requeue(&mut writes, old.as_ref(), location, ids, *submission, now) {
                    Ok((queued, done)) => {
                        salvaged.queued += queued;
                        salvaged.done += done;
                        since_commit += queued;
                    }
                    Err(error) => failed = Some(error),
                }
            }
        })
        .map_err(QueueError::io(&path))?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        if salvaged.damaged > damaged_before {
            // The queue deletes a segment when nothing in it is live; what couldn't be read stays for a closer look.
            let _ = std::fs::hard_link(&path, path.with_extension("damaged"));
        }
        if since_commit >= BATCH {
            since_commit = 0;
            finish(&mut writes, &mut segments, &file_lengths(&folder.content()))?;
            writes.begin()?;
        }
    }
    let before = old.as_ref().and_then(|old| index::remembered(old).ok());
    keep_sent(&mut writes, old.as_ref())?;
    writes.remember(&Remembered {
        clean: true,
        at: before.as_ref().map_or(now.as_millisecond(), |before| before.at),
        last_id: QueueId::from_row(last_id),
        last_segment,
        in_flight: Vec::new(),
        steady: before.as_ref().map_or(0, |before| before.steady),
        since_boot: before.as_ref().map_or(0, |before| before.since_boot),
        boot: before.map(|before| before.boot).unwrap_or_default(),
    })?;
    finish(&mut writes, &mut segments, &file_lengths(&folder.content()))?;
    drop((writes, old));
    // The last connection writes everything back into the one file that is moved.
    connection.close().map_err(|(_, error)| error)?;
    salvaged.old_index = set_aside(&folder.index(), now)?;
    std::fs::rename(&unfinished, folder.index()).map_err(QueueError::io(&unfinished))?;
    std::fs::File::open(state_dir).and_then(|folder| folder.sync_all()).map_err(QueueError::io(state_dir))?;
    Ok(salvaged)
}

/// Moves the old index and its log aside.
/// The index itself goes first: without it no start is possible, whatever became of its log.
fn set_aside(index: &Path, now: Timestamp) -> Result<Option<PathBuf>, QueueError> {
    let existed = index.exists();
    let name =
        |suffix: &str| PathBuf::from(format!("{}.damaged-{}{suffix}", index.display(), now.as_second()));
    for suffix in ["", "-wal", "-shm"] {
        let from = PathBuf::from(format!("{}{suffix}", index.display()));
        match std::fs::rename(&from, name(suffix)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(QueueError::Io { path: from, cause: error }),
        }
    }
    Ok(existed.then(|| name("")))
}

/// What an interrupted salvage left.
fn remove_index(index: &Path) -> Result<(), QueueError> {
    for suffix in ["", "-wal", "-shm"] {
        let path = PathBuf::from(format!("{}{suffix}", index.display()));
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(QueueError::Io { path, cause: error });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Content that a start set aside, because the index didn't know it, counts again.
fn restore_lost(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|name| name == "lost") {
            let _ = std::fs::rename(&path, path.with_extension("seg"));
        }
    }
}

fn file_lengths(folder: &Path) -> HashMap<u64, u64> {
    let Ok(entries) = std::fs::read_dir(folder) else { return HashMap::new() };
    let length = |entry: std::fs::DirEntry| {
        Some((content::file_number(entry.file_name().to_str()?)?, entry.metadata().ok()?.len()))
    };
    entries.flatten().filter_map(length).collect()
}

fn finish(
    writes: &mut Writes<'_>,
    segments: &mut HashMap<u64, i64>,
    lengths: &HashMap<u64, u64>,
) -> Result<(), QueueError> {
    for (number, by) in std::mem::take(&mut writes.changes.segments) {
        let live = segments.entry(number).or_default();
        *live += by;
        writes.segment(number, Some((*live, lengths.get(&number).copied().unwrap_or(0))))?;
    }
    writes.write_counts()?;
    Ok(writes.commit()?)
}

/// Puts one record's parts into the new index; how many were queued, and how many were done.
fn requeue(
    writes: &mut Writes<'_>,
    old: Option<&Connection>,
    location: Location,
    ids: Vec<QueueId>,
    mut submission: Submission,
    now: Timestamp,
) -> rusqlite::Result<(u64, u64)> {
    let mut done = 0;
    let mut kept = (Vec::new(), Vec::new());
    for (id, mut part) in ids.into_iter().zip(std::mem::take(&mut submission.parts)) {
        part.recipients.retain(|&number| !old.is_some_and(|old| is_done(old, id, number)));
        if part.recipients.is_empty() {
            done += 1;
        } else if writes.place_of(id)?.is_none() {
            kept.0.push(id);
            kept.1.push(part);
        }
    }
    let (ids, parts) = kept;
    submission.parts = parts;
    writes.keep(&ids, &submission, location)?;
    for &id in &ids {
        writes.tell(
            id,
            now,
            None,
            Kind::Salvaged,
            "queued again from its content file; it may have been delivered before",
        )?;
    }
    let recipients: Vec<(QueueId, u32)> = ids.iter().map(|id| (*id, 0)).collect();
    writes.mark_duplicates(&recipients, now)?;
    Ok((ids.len() as u64, done))
}

/// Takes over what was sent, as far as the old index can tell, so that no limit is forgotten.
fn keep_sent(writes: &mut Writes<'_>, old: Option<&Connection>) -> rusqlite::Result<()> {
    let sent = old.and_then(|old| index::sent(old).ok()).unwrap_or_default();
    sent.iter().try_for_each(|(lane, slots)| writes.tidy_sent(lane, &[], slots))
}

/// Whether the old index says that nothing is left to do for a recipient. One that can't answer says no.
fn is_done(old: &Connection, id: QueueId, number: usize) -> bool {
    let sql = "SELECT state FROM recipient WHERE message=?1 AND n=?2";
    let number = i64::try_from(number).unwrap_or(-1);
    let state = old.query_row(sql, [id.to_row(), number], |row| row.get(0)).optional();
    state.ok().flatten().and_then(State::from_row).is_some_and(|state| !state.is_open())
}

/// Walks over a segment file of `length` octets, read by `read` (as `pread(2)`), and tells all it finds. Never
/// reads or keeps more than a record's header and a piece of its content at a time.
///
/// # Errors
/// `read`'s.
pub fn scan(
    length: u64,
    read: impl Fn(&mut [u8], u64) -> io::Result<usize>,
    mut tell: impl FnMut(Found),
) -> io::Result<()> {
    let read = &read;
    let Some(nonce) = nonce(read)? else {
        tell(Found::Damage { offset: 0 });
        return Ok(());
    };
    let mut at = HEAD as u64;
    while at < length {
        if let Some(prefix) = prefix(read, at, nonce)?
            && let Some(end) = prefix.record_length().and_then(|whole| at.checked_add(whole))
            && end <= length
        {
            tell(match sound_record(read, at, prefix)? {
                Some(record) => record,
                None => Found::Damage { offset: at },
            });
            at = end;
            continue;
        }
        tell(Found::Damage { offset: at });
        match next_mark(read, at + 1, length, nonce)? {
            Some(next) => at = next,
            None => return Ok(()),
        }
    }
    Ok(())
}

type Read<'a> = &'a dyn Fn(&mut [u8], u64) -> io::Result<usize>;

/// The file's nonce; from its first record when the head is spoilt.
fn nonce(read: Read<'_>) -> io::Result<Option<Nonce>> {
    let head = exactly(read, 0, HEAD + PREFIX)?.or(exactly(read, 0, HEAD)?).unwrap_or_default();
    let first = || head.get(HEAD..).and_then(Prefix::decode).map(|prefix| prefix.nonce);
    Ok(record::head_nonce(&head).or_else(first))
}

fn prefix(read: Read<'_>, at: u64, nonce: Nonce) -> io::Result<Option<Prefix>> {
    let octets = exactly(read, at, PREFIX)?;
    Ok(octets.as_deref().and_then(Prefix::decode).filter(|prefix| prefix.nonce == nonce))
}

fn sound_record(read: Read<'_>, at: u64, prefix: Prefix) -> io::Result<Option<Found>> {
    let offset = at + PREFIX as u64;
    let (mut crc, mut done) = (0, 0);
    while done < prefix.content_length {
        let piece = usize::try_from(prefix.content_length - done).unwrap_or(usize::MAX).min(CHUNK);
        let Some(octets) = exactly(read, offset + done, piece)? else { return Ok(None) };
        crc = crc32c::crc32c_append(crc, &octets);
        done += piece as u64;
    }
    let header_length = usize::try_from(prefix.header_length).unwrap_or(usize::MAX);
    let Some(header) = exactly(read, offset + prefix.content_length, header_length)? else { return Ok(None) };
    if crc != prefix.content_crc || crc32c::crc32c(&header) != prefix.header_crc {
        return Ok(None);
    }
    Ok(record::decode_header(&header).map(|(ids, submission)| Found::Record {
        offset,
        length: prefix.content_length,
        ids,
        submission: Box::new(submission),
    }))
}

/// Where the next record may begin.
fn next_mark(read: Read<'_>, mut at: u64, length: u64, nonce: Nonce) -> io::Result<Option<u64>> {
    let mark = record::mark(nonce);
    let mut buffer = vec![0; CHUNK];
    while at < length {
        let got = read(&mut buffer, at)?;
        let octets = buffer.get(..got).unwrap_or_default();
        if let Some(found) = memchr::memmem::find(octets, &mark) {
            return Ok(Some(at + found as u64));
        }
        if got <= mark.len() {
            return Ok(None);
        }
        // A mark may lie across the border.
        at += (got - mark.len() + 1) as u64;
    }
    Ok(None)
}

/// So many octets; none when the file ends before.
fn exactly(read: Read<'_>, at: u64, length: usize) -> io::Result<Option<Vec<u8>>> {
    let mut octets = vec![0; length];
    let mut done = 0;
    while let Some(rest) = octets.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match read(rest, at.saturating_add(done as u64)) {
            Ok(0) => return Ok(None),
            Ok(got) => done += got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Some(octets))
}

/// [`scan`] over a file in memory, for fuzzing: how many records and stretches of damage.
#[must_use]
pub fn scan_octets(octets: &[u8]) -> (u64, u64) {
    let read = |into: &mut [u8], at: u64| {
        let rest = usize::try_from(at).ok().and_then(|at| octets.get(at..)).unwrap_or_default();
        let length = rest.len().min(into.len());
        if let (Some(into), Some(from)) = (into.get_mut(..length), rest.get(..length)) {
            into.copy_from_slice(from);
        }
        Ok(length)
    };
    let mut counts = (0, 0);
    let told = scan(octets.len() as u64, read, |found| match found {
        Found::Record { .. } => counts.0 += 1,
        Found::Damage { .. } => counts.1 += 1,
    });
    debug_assert!(told.is_ok());
    counts
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Hand, settings, submission};
    use super::super::{Fate, Filter, Outcome, Queue};
    use super::*;
    use crate::smtp::reply::Reply;

    async fn three_messages(state: &Path, hand: &Hand) -> Vec<QueueId> {
        let queue = Queue::open(settings(state), hand.clock()).unwrap();
        let mut ids = Vec::new();
        for content in ["one", "two", "three"] {
            let mut draft = queue.draft();
            draft.write(content.as_bytes()).await.unwrap();
            ids.push(queue.keep(draft, submission("shop", &["a@b.example"])).await.unwrap()[0].id());
        }
        let lane = queue.lane(&"shop".into());
        let due = loop {
            if let Some(due) = lane.claim(1, 1).pop() {
                break due;
            }
            lane.wait().await;
        };
        lane.stand_down();
        let ok = Reply { code: 250, enhanced: None, lines: vec!["ok".into()] };
        queue
            .settle(Outcome {
                id: due.id,
                lane: due.lane,
                at: hand.now(),
                fates: vec![(0, Fate::Delivered(ok))],
                next_attempt: None,
                maybe_duplicate: false,
                notice: None,
                warned: false,
            })
            .await;
        queue.close().await;
        ids
    }

    async fn open_ids(state: &Path, hand: &Hand) -> Vec<QueueId> {
        let queue = Queue::open(settings(state), hand.clock()).unwrap();
        let filter = Filter { open: true, ..Filter::default() };
        let ids = queue.query(filter, 100, None).await.unwrap().iter().map(|entry| entry.id).collect();
        queue.close().await;
        ids
    }

    #[tokio::test]
    async fn with_a_readable_index_only_what_was_open_is_queued_again() {
        let state = tempfile::tempdir().unwrap();
        let hand = Hand::at(1_795_000_100);
        let ids = three_messages(state.path(), &hand).await;
        let salvaged = salvage(state.path(), &hand.clock()).unwrap();
        assert_eq!((salvaged.queued, salvaged.done, salvaged.damaged), (2, 1, 0));
        assert_eq!(open_ids(state.path(), &hand).await, ids[1..]);
    }

    #[tokio::test]
    async fn without_an_index_everything_is_queued_again_and_says_so() {
        let state = tempfile::tempdir().unwrap();
        let hand = Hand::at(1_795_000_100);
        let ids = three_messages(state.path(), &hand).await;
        std::fs::write(state.path().join("queue.db"), b"garbage").unwrap();
        let salvaged = salvage(state.path(), &hand.clock()).unwrap();
        assert_eq!((salvaged.queued, salvaged.done, salvaged.damaged), (3, 0, 0));
        assert!(salvaged.old_index.unwrap().exists());
        assert_eq!(open_ids(state.path(), &hand).await, ids);
        let queue = Queue::open(settings(state.path()), hand.clock()).unwrap();
        let kinds: Vec<Kind> =
            queue.life(ids[0]).await.unwrap().unwrap().happenings.iter().map(|one| one.kind).collect();
        assert!(kinds.contains(&Kind::Salvaged), "{kinds:?}");
        assert!(queue.draft().id() > ids[2]);
    }

    #[tokio::test]
    async fn a_damaged_record_costs_that_message_only() {
        let state = tempfile::tempdir().unwrap();
        let hand = Hand::at(1_795_000_100);
        let ids = three_messages(state.path(), &hand).await;
        let segment = state.path().join("content/00000001.seg");
        let sound = std::fs::read(&segment).unwrap();
        let second = memchr::memmem::find(&sound, b"two").unwrap();
        for spoilt_at in [second, second - PREFIX, second - PREFIX + 20] {
            let mut spoilt = sound.clone();
            spoilt[spoilt_at] ^= 0xff;
            std::fs::write(&segment, spoilt).unwrap();
            std::fs::remove_file(state.path().join("queue.db")).unwrap();
            let salvaged = salvage(state.path(), &hand.clock()).unwrap();
            assert_eq!((salvaged.queued, salvaged.damaged), (2, 1));
            assert_eq!(open_ids(state.path(), &hand).await, [ids[0], ids[2]]);
        }
    }

    #[tokio::test]
    async fn a_message_that_carries_a_record_inside_is_one_message() {
        let state = tempfile::tempdir().unwrap();
        let hand = Hand::at(1_795_000_100);
        three_messages(state.path(), &hand).await;
        let records = std::fs::read(state.path().join("content/00000001.seg")).unwrap();
        let other = tempfile::tempdir().unwrap();
        let queue = Queue::open(settings(other.path()), hand.clock()).unwrap();
        let mut draft = queue.draft();
        draft.write(&records).await.unwrap();
        let _ = queue.keep(draft, submission("shop", &["a@b.example"])).await.unwrap();
        queue.close().await;
        let mut segment = std::fs::read(other.path().join("content/00000001.seg")).unwrap();
        assert_eq!(scan_octets(&segment), (1, 0));
        // Even when the outer record is spoilt, the inner ones don't come to life.
        segment[HEAD + 20] ^= 1;
        assert_eq!(scan_octets(&segment), (0, 1));
    }

    proptest::proptest! {
        #[test]
        fn a_spoilt_segment_is_walked_over_and_only_sound_records_are_told(
            spoils in proptest::collection::vec((proptest::prelude::any::<proptest::sample::Index>(), proptest::prelude::any::<u8>()), 0..8),
            cut in proptest::prelude::any::<proptest::sample::Index>(),
            whole in proptest::prelude::any::<bool>(),
        ) {
            let mut octets = include_bytes!("../../fuzz/seeds/segment/three-records").to_vec();
            for (place, octet) in spoils {
                let place = place.index(octets.len());
                octets[place] = octet;
            }
            if !whole {
                octets.truncate(cut.index(octets.len()));
            }
            let (records, damaged) = scan_octets(&octets);
            proptest::prop_assert!(records <= 3);
            proptest::prop_assert!(records == 3 || damaged > 0 || octets.len() <= HEAD || !whole);
        }
    }
}
