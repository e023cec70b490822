//! Starting: the folder is locked, the index opened and judged, garbage removed, what an unclean end left is marked.
//!
//! There is no recovery: bytes behind the last committed row are garbage by definition, so a new segment is begun.

use super::budget::Budget;
use super::content::{self, Disk, Segments, open_plain};
use super::folder::Folder;
use super::id::Ids;
use super::inbox::{Command, Inbox};
use super::index::{self, Remembered};
use super::lane;
use super::leaps::{self, Leaps};
use super::ledger::{Ledger, Moment};
use super::record::{HEAD, Prefix, head_nonce};
use super::store::Writes;
use super::window::Window;
use super::writer::Writer;
use super::{Core, Damaged, LaneName, QueueError, QueueSettings, reader};
use crate::clock::Clock;
use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};
use rusqlite::Connection;
use std::collections::HashMap;
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

/// A queue that runs: what [`super::Queue`] holds.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) core: Arc<Core>,
    pub(super) folder: Folder,
    pub(super) threads: Vec<JoinHandle<()>>,
    pub(super) refills: std::sync::mpsc::Sender<lane::Refill>,
}

/// Opens or creates everything and starts the two threads.
pub(super) fn open(
    settings: QueueSettings,
    clock: Clock,
    disk: Arc<dyn Disk>,
) -> Result<Running, QueueError> {
    let folder = Folder::lock(&settings.state_dir)?;
    let path = folder.index();
    let files = if folder.has_content() { segment_files(&folder.content())? } else { Vec::new() };
    if !files.is_empty() && std::fs::metadata(&path).map_or(0, |file| file.len()) == 0 {
        return Err(QueueError::IndexMissing { path });
    }
    let connection = index::open(&path).map_err(|error| folder.or_stray(error))?;
    let damaged = |error| index::damage(&path, error);
    let index_file = std::fs::metadata(&path).map_err(QueueError::io(&path))?;
    let index_file = (index_file.dev(), index_file.ino());
    let remembered = index::remembered(&connection).map_err(damaged)?;
    let segments = index::segment_rows(&connection).map_err(damaged)?;
    if !folder.has_content() && segments.values().any(|(live, _)| *live > 0) {
        return Err(QueueError::ContentMissing { path: folder.content() });
    }
    folder.make_content()?;
    clear_out(&folder.content(), &files, &segments, remembered.last_segment, &settings, &clock);
    // What was set aside keeps its number to itself: content of another time would be taken for it.
    let highest = content::highest_number(&folder.content()).map_err(QueueError::io(&folder.content()))?;
    let next_segment = highest.max(remembered.last_segment) + 1;
    let steady_base = steady(&remembered, &clock) - clock.since_boot();
    let leaps = mark_start(&connection, &remembered, steady_base, &clock).map_err(damaged)?;
    let totals = index::totals(&connection).map_err(damaged)?;
    let agendas = index::agendas(&connection, clock.now().as_millisecond()).map_err(damaged)?;

    let (refills, requests) = channel();
    let inbox: Arc<Inbox> = Arc::default();
    let content_limit = settings.memory / 4;
    let shared = lane::Shared::new(
        clock.clone(),
        steady_base,
        leaps,
        content_limit,
        Arc::clone(&inbox),
        refills.clone(),
    );
    let shared = Arc::new(shared);
    let mut sent = index::sent(&connection).map_err(damaged)?;
    let lanes = totals
        .iter()
        .map(|(name, counts)| {
            let backlog = counts.queued + counts.deferred > 0;
            let window = Window::new(name.clone(), Arc::clone(&shared), backlog);
            window.state.lock().quota.load(sent.remove(name).unwrap_or_default());
            (name.clone(), window)
        })
        .collect();
    let core = Arc::new(Core {
        budget: Arc::new(Budget::new(settings.memory)),
        settings: ArcSwap::from_pointee(settings),
        clock,
        ids: Ids::after(remembered.last_id),
        segments: Arc::new(Segments::new(folder.content(), disk, next_segment)),
        inbox,
        shared,
        lanes: Mutex::new(lanes),
        totals: Mutex::new(totals),
        ending: RwLock::default(),
        agendas: Mutex::new(agendas),
        bells: super::outbox::Bells::default(),
        recent: super::memory::Recent::default(),
        content_bytes: AtomicU64::new(segments.values().map(|(_, bytes)| bytes).sum()),
        prunable: AtomicBool::new(true),
        room: super::room::Room::default(),
        refusal: Mutex::default(),
        index_file,
        index: path,
        unclean: !remembered.clean,
    });
    let writer = Writer::new(Arc::clone(&core), segments);
    let io = QueueError::io(&core.index);
    let named = |name: &str| std::thread::Builder::new().name(name.to_owned());
    let writer = named("queue-writer").spawn(move || writer.run(connection)).map_err(io)?;
    let reading = Arc::clone(&core);
    let set_aside = move |id, lane: &LaneName, reason: &str| {
        reading.inbox.push(Command::SetAside { id, lane: lane.clone(), reason: reason.to_owned() });
    };
    let path = core.index.clone();
    let reader = named("queue-reader")
        .spawn(move || reader::run(&path, &requests, set_aside))
        .map_err(QueueError::io(&core.index))?;
    Ok(Running { core, folder, threads: vec![writer, reader], refills })
}

/// Marks the start in the index: what may have been on its way when the daemon was killed, a clock that was set
/// meanwhile, and that the next end is unclean unless said otherwise.
fn mark_start(
    connection: &Connection,
    remembered: &Remembered,
    steady_base: i64,
    clock: &Clock,
) -> rusqlite::Result<Leaps> {
    let now = clock.now();
    let since_boot = clock.since_boot();
    let mut leaps = Leaps::load(connection, remembered, clock)?;
    let moment = Moment { at: since_boot.saturating_add(steady_base), wall: now.as_millisecond() };
    let mut writes = Writes::prepare(connection)?;
    writes.begin()?;
    if !remembered.clean {
        count_in_flight(&mut writes, remembered, clock)?;
    }
    let fell = remembered.at - now.as_millisecond();
    if fell > 2_000 {
        writes.fall_back(now.as_millisecond(), fell)?;
    }
    if let Some((seen, by)) = leaps.looked(clock, remembered.last_id) {
        leaps = seen;
        if by != 0 {
            leaps::tell(by);
        }
    }
    if !leaps.is_empty() {
        leaps.forget(writes.first_open()?, now);
    }
    leaps.store(connection)?;
    let (last_id, last_segment) = (remembered.last_id, remembered.last_segment);
    let at = now.as_millisecond();
    writes.remember(&Remembered {
        clean: false,
        at,
        last_id,
        last_segment,
        in_flight: Vec::new(),
        steady: moment.at,
        boot: clock.boot().to_owned(),
        since_boot,
    })?;
    writes.commit()?;
    Ok(leaps)
}

/// Marks what was on its way when the daemon was killed, and counts it as sent: the smarthost may have taken it.
pub(super) fn count_in_flight(
    writes: &mut Writes<'_>,
    remembered: &Remembered,
    clock: &Clock,
) -> rusqlite::Result<()> {
    let now = clock.now();
    let moment = Moment { at: steady(remembered, clock), wall: now.as_millisecond() };
    let killed = "the daemon was killed while this message may have been on its way; the next try may be a second copy";
    writes.mark_duplicates(remembered.in_flight.iter().map(|(id, _)| *id), killed, now)?;
    writes.charge(&remembered.in_flight, Ledger::default().slot(moment), moment.wall)
}

/// Now, by the clock that nobody sets: it went on with the machine's, or with the wall clock if the machine was
/// started anew; never back.
fn steady(remembered: &Remembered, clock: &Clock) -> i64 {
    let (wall, since_boot) = (clock.now().as_millisecond(), clock.since_boot());
    if remembered.steady == 0 {
        return wall;
    }
    let same = remembered.is_of_this_boot(clock);
    let went = if same { since_boot - remembered.since_boot } else { wall - remembered.at };
    remembered.steady.saturating_add(went.max(0))
}

/// The numbers of the segment files there are, in order.
pub(super) fn segment_files(folder: &Path) -> Result<Vec<u64>, QueueError> {
    let entries = std::fs::read_dir(folder).map_err(QueueError::io(folder))?;
    let mut numbers: Vec<u64> =
        entries.flatten().filter_map(|entry| content::file_number(entry.file_name().to_str()?)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Removes segment files that no row points to.
///
/// One that is newer than anything the index knows, and begins with a sound record or can't be read, is only renamed to `.lost`: if
/// the index came from a backup, or lost its last transactions to a damaged log, `queue salvage` finds it there.
/// It goes when the journal would have forgotten it, too.
fn clear_out(
    folder: &Path,
    files: &[u64],
    known: &HashMap<u64, (i64, u64)>,
    last: u64,
    settings: &QueueSettings,
    clock: &Clock,
) {
    for &number in files.iter().filter(|number| !known.contains_key(number)) {
        let path = folder.join(content::file_name(number));
        if !path.symlink_metadata().is_ok_and(|found| found.is_file()) {
            // Not ours: somebody put it there.
            continue;
        }
        if number > last && may_hold_a_record(&path, number) {
            tracing::warn!(segment = number, "content that the index doesn't know was set aside");
            let _ = content::rename_free(&path, "lost", last);
        } else {
            let _ = std::fs::remove_file(&path);
        }
    }
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let now = std::time::SystemTime::from(clock.now());
    for entry in entries.flatten().filter(|entry| entry.path().extension().is_some_and(|name| name == "lost"))
    {
        let written = entry.metadata().and_then(|data| data.modified());
        let age = written.ok().and_then(|written| now.duration_since(written).ok());
        if age.is_some_and(|age| age > settings.journal_keep) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Whether a file begins with a sound record, for all that can be read of it.
fn may_hold_a_record(path: &Path, number: u64) -> bool {
    let file = match open_plain(path, number) {
        Ok(file) => file,
        Err(error) => return !Damaged::is_in(&error),
    };
    let mut octets = [0; HEAD + super::record::PREFIX];
    if let Err(error) = file.read_exact_at(&mut octets, 0) {
        return error.kind() != ErrorKind::UnexpectedEof;
    }
    let (head, prefix) = octets.split_at(HEAD);
    let prefix = Prefix::decode(prefix).filter(|prefix| head_nonce(head) == Some(prefix.nonce));
    let end =
        prefix.and_then(|prefix| prefix.record_length()).map(|length| length.saturating_add(HEAD as u64));
    end.is_some_and(|end| file.metadata().is_ok_and(|data| data.len() >= end))
}
