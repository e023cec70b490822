//! `queue salvage`: rebuilds a lost or damaged index from the content files alone, offline.
//!
//! Every record tells everything about itself as it was accepted, and nothing of what came later. So the old index is
//! asked first, however damaged: what it still knows of a message stands, held as held, done as done (`known`). What
//! nothing is known of may be open, held, deleted or long delivered, and is held for an admin to decide, unless told
//! otherwise ([`Unknown`]). Kept events and what is remembered of forwarded mail stand in the old index alone, and are copied
//! from it row by row (`kept`); so is the journal of messages whose content is gone (`alone`).
//! Damage in a content file is passed by looking for the file's next record mark; an open message that it hit is held with the
//! reason, if its record's header or the old index still tells whose it is. Nothing is lost by a salvage: the old
//! index is moved aside, and a segment with damage in it gets a second name, `NNNNNNNN.damaged`, that the queue never
//! deletes.

mod alone;
mod kept;
mod known;
mod log;
mod rows;
#[cfg(test)]
mod tests;

use super::content::{self, open_plain};
use super::entry::Kind;
use super::folder::Folder;
use super::index::{self, Remembered};
use super::open::{count_in_flight, segment_files};
use super::record::{self, HEAD, Nonce, PREFIX, Prefix};
use super::store::Writes;
use super::work::{Fate, Location, Submission};
use super::{Damaged, LaneName, Outcome, Part, QueueError, QueueId};
use crate::clock::Clock;
use crate::inbox::addresses;
use crate::smtp::reply::{Enhanced, Reply};
use jiff::Timestamp;
pub use kept::Kept;
use known::{Known, Place};
use rusqlite::Connection;
use rustix::io::Errno;
use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Octets looked through at a time for the next record.
const CHUNK: usize = 1 << 20;
/// Messages put into the new index in one transaction.
const BATCH: u64 = 1_000;

/// What a message that nothing is known of is held with.
const NOT_KNOWN: &str =
    "salvaged: nothing tells whether it was delivered, held or deleted before; release it to send it";

/// What a message is held with that waited when the damaged end of the index's log began.
const NOT_SURE: &str = "salvaged: it waited, and the end of the index's log is lost; nothing tells whether it was delivered, held or deleted since; release it to send it";

/// What a message is held with that a route held when it was accepted, where only its record is left.
const HELD_BY_ROUTE: &str =
    "salvaged: held by a route when it was accepted; nothing tells whether it was released or deleted since";

/// What the journal tells of a message that waits again.
const PUT_BACK: &str = "put back from its content file; it may have been delivered before";

/// What it tells of the next try.
const MAY_COME_TWICE: &str =
    "an index that is salvaged may be older than the last delivery; the next try may be a second copy";

/// Messages whose content is lost and that are named one by one.
const NAMED: usize = 100;

/// What becomes of messages of which only their acceptance is known, and of those that waited before an end of the index's
/// log that is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// They are held: an admin decides.
    Hold,
    /// They are sent, though they may have been delivered, held or deleted before.
    Send,
}

/// What a salvage came to, in messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Salvaged {
    /// Queued again: the old index knew them as open, or [`Unknown::Send`] was asked for.
    pub queued: u64,
    /// Held as they were before.
    pub held: u64,
    /// Held because nothing is known of them, or not what became of them last.
    pub unknown: u64,
    /// Done, as the old index knew.
    pub done: u64,
    /// Done, and known to the old index alone: no record of them is left.
    pub journal: u64,
    /// Held because their content is damaged or gone.
    pub spoilt: u64,
    /// The first of these.
    pub named: Vec<Spoilt>,
    /// Whether the end of the old index's log is spoilt or gone: it tells an earlier state than the last.
    pub log_damaged: bool,
    /// What stood in the old index alone.
    pub kept: Kept,
    /// Whether there was an old index that could be opened.
    pub had_index: bool,
    /// Stretches of the content files that hold no sound record. The end of a file after a crash may be one.
    pub damaged: u64,
    /// Content files with damage in them that have a second name now, `*.damaged`.
    pub kept_files: u64,
    /// Content files with damage in them that couldn't be given one, and why.
    pub unkept: Vec<(PathBuf, String)>,
    /// Content files that can't be read, or not to their end, and why; they are left as they are.
    pub unread: Vec<(PathBuf, String)>,
    /// Where the old index went, if there was one.
    pub old_index: Option<PathBuf>,
}

/// A message that is open and whose content can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spoilt {
    /// Its name.
    pub id: QueueId,
    /// Its sender; none is the null sender.
    pub sender: Option<String>,
    /// To whom it wasn't delivered.
    pub recipients: Vec<String>,
}

/// A stretch of a segment file.
#[derive(Debug)]
pub enum Found {
    /// A record.
    Record {
        /// Where its content starts.
        offset: u64,
        /// Octets of its content.
        length: u64,
        /// Its parts' ids.
        ids: Vec<QueueId>,
        /// What was kept.
        submission: Box<Submission>,
        /// Whether its content is what was written.
        is_sound: bool,
    },
    /// Octets that are no record.
    Damage {
        /// Where they start.
        offset: u64,
    },
}

/// Rebuilds the index of `state_dir`. `endpoints` are the webhooks of the configuration: their events are numbered above all that may
/// have been given out, should no index tell.
///
/// # Errors
/// As [`super::Queue::open`]: the folder must not be in use.
pub fn salvage(
    state_dir: &Path,
    unknown: Unknown,
    endpoints: &[LaneName],
    clock: &Clock,
) -> Result<Salvaged, QueueError> {
    let folder = lock(state_dir)?;
    let now = clock.now();
    // Built under another name and moved in place when it is whole: until then, a kill changes nothing.
    let unfinished = folder.index().with_extension("salvage");
    remove_index(&unfinished)?;
    // Before anybody opens the index, who could write its log back.
    let log = with_suffix(&folder.index(), "-wal");
    let has_log = log.metadata().is_ok_and(|log| log.len() > 0);
    let log_is_damaged = log::is_damaged(&log).unwrap_or(true);
    let old = old_index(&folder.index());
    let before = old.as_ref().and_then(|old| index::remembered(old).ok());
    // While the daemon runs there always is a log; after a clean end there needn't be one.
    let log_is_lost = !has_log && before.as_ref().is_some_and(|before| !before.clean);
    let mut salvaged = Salvaged {
        had_index: old.is_some(),
        log_damaged: old.is_some() && (log_is_damaged || log_is_lost),
        ..Salvaged::default()
    };
    restore_lost(&folder.content(), before.as_ref().map_or(0, |before| before.last_segment))?;
    let connection = index::open(&unfinished)?;
    let mut writes = Writes::prepare(&connection)?;
    writes.begin()?;
    salvaged.kept = kept::take_over(old.as_ref(), &connection, endpoints, salvaged.log_damaged, now)?;
    let last_id = before.as_ref().map_or(0, |before| before.last_id.to_row());
    let mut last_id = last_id.max(kept::last_id(&connection)?);
    writes.commit()?;
    writes.begin()?;
    let mut segments: HashMap<u64, i64> = HashMap::new();
    let (mut last_segment, mut since_commit) = (before.as_ref().map_or(0, |before| before.last_segment), 0);
    for number in segment_files(&folder.content())? {
        last_segment = number.max(last_segment);
        let path = folder.content().join(content::file_name(number));
        let damaged_before = salvaged.damaged;
        let Some(file) = salvaged.opened(&path, number)? else { continue };
        let length = file.metadata().map_or(0, |data| data.len());
        let bad = BadPages::default();
        let read = |octets: &mut [u8], at: u64| bad.passed(file.read_at(octets, at), octets, at);
        let mut failed = None;
        let scanned = scan(length, read, |found| match found {
            Found::Damage { .. } => salvaged.damaged += 1,
            Found::Record { offset, length, ids, submission, is_sound } => {
                salvaged.damaged += u64::from(!is_sound);
                last_id = ids.iter().map(|id| id.to_row()).max().unwrap_or(0).max(last_id);
                let location = Location { segment: number, offset, length };
                since_commit += ids.len() as u64;
                let damaged = Damaged { segment: number, offset, what: "its checksum is wrong" };
                let damaged = (!is_sound).then(|| damaged.to_string());
                let bench = Bench { old: old.as_ref(), new: &connection, unknown, damaged, now };
                if let Err(error) = bench.put_back(&mut writes, &mut salvaged, location, ids, *submission) {
                    failed = Some(error);
                }
            }
        });
        if let Some(error) = failed {
            return Err(error.into());
        }
        let scanned = scanned.and(bad.met());
        if salvaged.damaged > damaged_before || scanned.is_err() {
            salvaged.keep_damaged(path, scanned);
        }
        if since_commit >= BATCH {
            since_commit = 0;
            finish(&mut writes, &mut segments, &file_lengths(&folder.content()))?;
            writes.begin()?;
        }
    }
    if let Some(old) = &old {
        let content = folder.content();
        let next = |writes: &mut Writes<'_>| {
            finish(writes, &mut segments, &file_lengths(&content))?;
            writes.begin()
        };
        alone::take_over((old, &connection), &content, &mut writes, &mut salvaged, (unknown, now), next)?;
    }
    keep_sent(&mut writes, old.as_ref())?;
    if let Some(before) = before.as_ref().filter(|before| !before.clean) {
        count_in_flight(&mut writes, before, clock)?;
    }
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
    known::recount(&connection)?;
    drop((writes, old));
    // The last connection writes everything back into the one file that is moved.
    connection.close().map_err(|(_, error)| error)?;
    salvaged.old_index = set_aside(&folder.index(), now)?;
    std::fs::rename(&unfinished, folder.index()).map_err(QueueError::io(&unfinished))?;
    std::fs::File::open(state_dir).and_then(|folder| folder.sync_all()).map_err(QueueError::io(state_dir))?;
    Ok(salvaged)
}

fn why(cause: &io::Error) -> String {
    let damaged = cause.get_ref().and_then(|cause| cause.downcast_ref::<Damaged>());
    damaged.map_or_else(|| cause.to_string(), |damaged| damaged.what.to_owned())
}

/// The folder of a queue that is there, and that nobody else has.
fn lock(state_dir: &Path) -> Result<Folder, QueueError> {
    let no_queue = || QueueError::NoQueue { path: state_dir.to_owned() };
    if !state_dir.try_exists().map_err(QueueError::io(state_dir))? {
        // The lock would make it.
        return Err(no_queue());
    }
    let folder = Folder::lock(state_dir)?;
    // Root may read what the daemon couldn't afterwards.
    if let Some(stray) = folder.stray() {
        return Err(stray);
    }
    if !folder.has_content() {
        let has_index = folder.index().exists();
        return Err(if has_index {
            QueueError::ContentMissing { path: folder.content() }
        } else {
            no_queue()
        });
    }
    Ok(folder)
}

/// Moves the old index and its log aside.
/// The index itself goes first: without it no start is possible, whatever became of its log.
fn set_aside(index: &Path, now: Timestamp) -> Result<Option<PathBuf>, QueueError> {
    let existed = index.exists();
    let suffixes = ["", "-wal", "-shm"];
    let mut damaged = with_suffix(index, &format!(".damaged-{}", now.as_second()));
    let mut number = 1;
    // Two within a second: the first was the real one.
    while suffixes.iter().any(|suffix| with_suffix(&damaged, suffix).symlink_metadata().is_ok()) {
        number += 1;
        damaged = with_suffix(index, &format!(".damaged-{}-{number}", now.as_second()));
    }
    let name = |suffix: &str| with_suffix(&damaged, suffix);
    for suffix in suffixes {
        let from = with_suffix(index, suffix);
        match std::fs::rename(&from, name(suffix)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(QueueError::Io { path: from, cause: error }),
        }
    }
    Ok(existed.then(|| name("")))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// What an interrupted salvage left.
fn remove_index(index: &Path) -> Result<(), QueueError> {
    for suffix in ["", "-wal", "-shm"] {
        let path = with_suffix(index, suffix);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(QueueError::Io { path, cause: error });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Content that a start set aside, because the index didn't know it, counts again; under numbers above the last that
/// the old index gave out, so that a start with it would set it aside once more.
fn restore_lost(folder: &Path, last: u64) -> Result<(), QueueError> {
    let io = |error| QueueError::Io { path: folder.to_owned(), cause: error };
    // Listed first: what is renamed meanwhile may come up again.
    let entries: Vec<PathBuf> =
        std::fs::read_dir(folder).map_err(io)?.flatten().map(|entry| entry.path()).collect();
    for path in entries {
        if path.extension().is_some_and(|name| name == "lost") {
            content::rename_free(&path, "seg", last).map_err(io)?;
        }
    }
    Ok(())
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
) -> rusqlite::Result<()> {
    for (number, by) in std::mem::take(&mut writes.changes.segments) {
        let live = segments.entry(number).or_default();
        *live += by;
        writes.segment(number, Some((*live, lengths.get(&number).copied().unwrap_or(0))))?;
    }
    writes.write_counts()?;
    writes.commit()
}

/// Takes over what was sent, as far as the old index can tell, so that no limit is forgotten.
fn keep_sent(writes: &mut Writes<'_>, old: Option<&Connection>) -> rusqlite::Result<()> {
    let sent = old.and_then(|old| index::sent(old).ok()).unwrap_or_default();
    sent.iter().try_for_each(|(lane, slots)| writes.tidy_sent(lane, &[], slots))
}

/// The old index, if it can be opened and has our tables.
fn old_index(path: &Path) -> Option<Connection> {
    let old = index::open_read_only(path).ok()?;
    // Opening reads nothing yet.
    old.pragma_update(None, "cell_size_check", true).ok()?;
    let ours = old.prepare("SELECT m.due,r.state,l.name FROM message m, recipient r, lane l").is_ok();
    ours.then_some(old)
}

/// What a message is put back with.
struct Bench<'c> {
    old: Option<&'c Connection>,
    new: &'c Connection,
    unknown: Unknown,
    /// What is wrong with its content.
    damaged: Option<String>,
    now: Timestamp,
}

impl Salvaged {
    /// A content file; none, and that is told, where it can't be read whoever owns it.
    fn opened(&mut self, path: &Path, number: u64) -> Result<Option<std::fs::File>, QueueError> {
        match open_plain(path, number) {
            Ok(file) => Ok(Some(file)),
            // Whose it is can be put right; what is in it would be lost for want of that.
            Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => {
                Err(QueueError::Io { path: path.to_owned(), cause })
            }
            Err(cause) => {
                self.unread.push((path.to_owned(), why(&cause)));
                Ok(None)
            }
        }
    }

    /// The queue deletes a segment when nothing in it is live; what couldn't be read stays for a closer look.
    fn keep_damaged(&mut self, path: PathBuf, scanned: io::Result<()>) {
        match content::link_free(&path, "damaged") {
            Ok(()) => self.kept_files += 1,
            Err(cause) => self.unkept.push((path.clone(), cause.to_string())),
        }
        if let Err(cause) = scanned {
            self.unread.push((path, why(&cause)));
        }
    }

    /// Whether what waited, as the old index tells, may be over or held by now.
    fn is_unsure(&self, unknown: Unknown) -> bool {
        self.log_damaged && unknown == Unknown::Hold
    }

    /// Holds a message whose content can't be read, and notes whose it is.
    fn hold_damaged(
        &mut self,
        writes: &mut Writes<'_>,
        id: QueueId,
        reason: &str,
        now: Timestamp,
    ) -> rusqlite::Result<()> {
        writes.set_aside(id, reason, now)?;
        self.spoilt += 1;
        if self.named.len() < NAMED {
            self.named.push(Spoilt::read(writes.connection(), id)?);
        }
        Ok(())
    }
}

impl Spoilt {
    fn read(index: &Connection, id: QueueId) -> rusqlite::Result<Self> {
        let sql = "SELECT sender FROM message WHERE id=?1";
        let sender = index.query_row(sql, [id.to_row()], |row| row.get(0))?;
        let mut open =
            index.prepare("SELECT address FROM recipient WHERE message=?1 AND state<=2 ORDER BY n")?;
        let recipients = open.query_map([id.to_row()], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        Ok(Self { id, sender, recipients })
    }
}

impl Bench<'_> {
    /// Puts one record's parts into the new index, and counts them.
    fn put_back(
        &self,
        writes: &mut Writes<'_>,
        salvaged: &mut Salvaged,
        location: Location,
        ids: Vec<QueueId>,
        mut submission: Submission,
    ) -> rusqlite::Result<()> {
        for (id, part) in ids.into_iter().zip(std::mem::take(&mut submission.parts)) {
            if writes.place_of(id)?.is_some() {
                continue;
            }
            let known = self.old.and_then(|old| Some((old, Known::read(old, id, &part.recipients)?)));
            let (place, was_held) = (known.as_ref().map(|(_, known)| known.place()), part.held);
            let was_read =
                known.is_none() && addresses::of_lane(&part.lane).is_some() && kept::was_read(self.new, id)?;
            let was_dropped = known.is_none() && part.discarded;
            let read = was_read.then(|| self.read(id, &part));
            submission.parts = vec![match &known {
                Some((_, known)) => known.part(part),
                None => part,
            }];
            writes.keep(&[id], &submission, location)?;
            if let Some((old, known)) = known {
                known.restore((old, self.new), writes, id)?;
            }
            if let Some(read) = &read {
                writes.settle(read)?;
            }
            if read.is_some() || was_dropped {
                salvaged.done += 1;
                continue;
            }
            match (place, &self.damaged) {
                (Some(Place::Done), _) => {
                    // In the journal only: it keeps no segment from going.
                    *writes.changes.segments.entry(location.segment).or_default() -= 1;
                    salvaged.done += 1;
                    continue;
                }
                (_, Some(reason)) => {
                    salvaged.hold_damaged(writes, id, reason, self.now)?;
                    continue;
                }
                (Some(Place::Held), None) => salvaged.held += 1,
                // Held by a rule when it was accepted: that much the record tells.
                (None, None) if was_held => {
                    writes.set_aside(id, HELD_BY_ROUTE, self.now)?;
                    salvaged.held += 1;
                }
                (None, None) if self.unknown == Unknown::Hold => {
                    writes.set_aside(id, NOT_KNOWN, self.now)?;
                    salvaged.unknown += 1;
                }
                (Some(Place::Queued), None) if salvaged.is_unsure(self.unknown) => {
                    writes.set_aside(id, NOT_SURE, self.now)?;
                    salvaged.unknown += 1;
                }
                (Some(Place::Queued) | None, None) => salvaged.queued += 1,
            }
            writes.tell(id, self.now, None, Kind::Salvaged, PUT_BACK)?;
            writes.mark_duplicates([id], MAY_COME_TWICE, self.now)?;
        }
        Ok(())
    }

    /// That an inbox's message was read before: its event must not be made once more.
    fn read(&self, id: QueueId, part: &Part) -> Outcome {
        let reply = Reply::new(250, Some(Enhanced(2, 0, 0)), "read before it was salvaged");
        let number = |number: &usize| u32::try_from(*number).unwrap_or(u32::MAX);
        let fates = part.recipients.iter().map(number).map(|number| (number, Fate::Delivered(reply.clone())));
        Outcome { fates: fates.collect(), ..Outcome::of(id, part.lane.clone(), self.now) }
    }
}

/// What the disk doesn't give back of a file: read as zeros, so that what stands before and behind it is found.
#[derive(Debug, Default)]
struct BadPages {
    met: Cell<usize>,
}

impl BadPages {
    /// Octets that are given up at once.
    const PAGE: u64 = 4096;
    /// Beyond so many the file is given up: a disk may take seconds for each.
    const MOST: usize = 1000;

    /// What `pread(2)` of these octets came to, or in its place the rest of a page that can't be read.
    fn passed(&self, got: io::Result<usize>, octets: &mut [u8], at: u64) -> io::Result<usize> {
        let is_bad = |cause: &io::Error| Errno::from_io_error(cause) == Some(Errno::IO);
        if !got.as_ref().is_err_and(is_bad) || self.met.get() >= Self::MOST {
            return got;
        }
        self.met.set(self.met.get() + 1);
        let rest = usize::try_from(Self::PAGE - at % Self::PAGE).unwrap_or(1).min(octets.len());
        octets.iter_mut().take(rest).for_each(|octet| *octet = 0);
        Ok(rest)
    }

    /// # Errors
    /// Where there was any, what the system says of it.
    fn met(&self) -> io::Result<()> {
        if self.met.get() > 0 { Err(Errno::IO.into()) } else { Ok(()) }
    }
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
    let Some(nonce) = nonce(read, length)? else {
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

/// The file's nonce; from a record when the head is spoilt.
///
/// Content is whatever its sender wants, a record in it, too: one counts where the next one of the same nonce stands right
/// behind it, or the end of the file.
fn nonce(read: Read<'_>, length: u64) -> io::Result<Option<Nonce>> {
    let head = exactly(read, 0, HEAD)?.unwrap_or_default();
    if let Some(nonce) = record::head_nonce(&head) {
        return Ok(Some(nonce));
    }
    look_through(read, 0, length, PREFIX - 1, |start, octets| {
        for from in record::marks(octets) {
            let Some(first) = octets.get(from..from + PREFIX).and_then(Prefix::decode) else { continue };
            let end = first.record_length().and_then(|whole| (start + from as u64).checked_add(whole));
            let end = end.filter(|end| *end <= length);
            if end == Some(length)
                || end.is_some_and(|end| matches!(prefix(read, end, first.nonce), Ok(Some(_))))
            {
                return Some(first.nonce);
            }
        }
        None
    })
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
    if crc32c::crc32c(&header) != prefix.header_crc {
        return Ok(None);
    }
    Ok(record::decode_header(&header).map(|(ids, submission)| Found::Record {
        offset,
        length: prefix.content_length,
        ids,
        submission: Box::new(submission),
        is_sound: crc == prefix.content_crc,
    }))
}

/// Where the next record may begin.
fn next_mark(read: Read<'_>, at: u64, length: u64, nonce: Nonce) -> io::Result<Option<u64>> {
    let mark = record::mark(nonce);
    look_through(read, at, length, mark.len() - 1, |start, octets| {
        memchr::memmem::find(octets, &mark).map(|found| start + found as u64)
    })
}

/// Reads on from `at` to the end until something is found. Each piece begins with the last `overlap` octets of the one
/// before; how long it is says nothing, in front of a page that can't be read it may be a few octets.
fn look_through<T>(
    read: Read<'_>,
    mut at: u64,
    length: u64,
    overlap: usize,
    look: impl Fn(u64, &[u8]) -> Option<T>,
) -> io::Result<Option<T>> {
    let mut buffer = vec![0; CHUNK];
    let mut kept = 0;
    while at < length {
        let got = read(buffer.get_mut(kept..).unwrap_or_default(), at)?;
        let filled = kept + got;
        let found = look(at - kept as u64, buffer.get(..filled).unwrap_or_default());
        if found.is_some() || got == 0 {
            return Ok(found);
        }
        at += got as u64;
        kept = filled.min(overlap);
        buffer.copy_within(filled - kept..filled, 0);
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
        Found::Record { is_sound: true, .. } => counts.0 += 1,
        Found::Record { .. } | Found::Damage { .. } => counts.1 += 1,
    });
    debug_assert!(told.is_ok());
    counts
}
