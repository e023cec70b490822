//! The writer: one thread that commits for everybody.
//!
//! Each turn it takes all that waits, appends all content with one write and one sync, then commits all rows in one
//! transaction; only then are clients answered and lanes told. What goes wrong:
//!
//! | failure | keeps | outcomes |
//! |---|---|---|
//! | content can't be written or synced | refused; the segment is never written again | go on, those with a notice wait |
//! | the transaction fails by the disk | refused | wait and are tried again, claims too; the index is opened anew unless the disk is only full |
//! | one statement fails by what it was given | each command on its own; the bad one refused | dropped, with an error in the log |
//!
//! A refused message's content may lie on disk: bytes that no committed row points to are garbage.

use super::append::{Appender, brings_content};
use super::draft::Body;
use super::entry::{Adjust, Adjusted};
use super::error::{KeepError, QueueError};
use super::id::{LaneName, QueueId};
use super::inbox::{Command, Keep};
use super::index::{self, Remembered};
use super::lane::Ready;
use super::leaps::{self, Leaps};
use super::ledger::Moment;
use super::limits::{Mixed, Units};
use super::patience::{Patience, RETRY};
use super::reserve::Reserve;
use super::store::{self, HELD, Moved, Writes};
use super::work::{Due, Location, Open, Part, Receipt, Submission};
use super::{Content, Core, outbox};
use crate::message::envelope::Class;
use rusqlite::{Connection, ffi};
use std::collections::HashMap;
use std::mem::take;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How long the writer sleeps when there is nothing to do.
const IDLE: Duration = Duration::from_secs(10);
/// An empty active segment of this size is given up before it is full.
const ROOM_WORTH_HAVING: u64 = 16 << 20;
/// How often old journal rows are looked for.
const TIDY: Duration = Duration::from_secs(1);
/// How often the slots of what was sent are made coarser.
const COARSEN: Duration = Duration::from_mins(1);
/// Journal rows deleted in one transaction.
const PRUNE: usize = 200;
/// How long the writer listens for work between two prunings when there is more to prune.
const PRUNE_REST: Duration = Duration::from_millis(20);
/// A clock that falls back by less is just being corrected.
const CLOCK_FELL_MS: i64 = 2_000;
/// Ids that an adjustment tells.
pub(super) const TOLD_IDS: usize = 10_000;

/// The writer's state between turns.
pub(super) struct Writer {
    core: Arc<Core>,
    appender: Appender,
    /// Live messages and octets, by segment.
    segments: HashMap<u64, (i64, u64)>,
    /// Segments that are no longer active and may hold nothing live.
    retired: Vec<u64>,
    /// Outcomes that the disk refused.
    parked: Vec<Command>,
    patience: Patience,
    reserve: Option<Reserve>,
    /// Taken out of their windows by this turn's rerouting; put back if it isn't committed.
    rerouting: Vec<(QueueId, Class, i64, LaneName)>,
    flushes: Vec<oneshot::Sender<()>>,
    clock_ms: i64,
    /// The last id that was given out when the clock was looked at.
    last_id: QueueId,
    /// The moment of this turn.
    now: Moment,
    tidied: Instant,
    coarsened: Instant,
    closing: Option<oneshot::Sender<()>>,
}

/// A command with the place of its content, if it brought any.
struct Item {
    command: Command,
    location: Option<Location>,
}

/// What a transaction did.
struct Filled {
    /// For each item.
    effects: Vec<Effect>,
    /// The segments' new counts.
    segments: Vec<(u64, Option<(i64, u64)>)>,
}

/// What one commit kept and nobody was told of yet: by lane and class, because those are behind one another.
#[derive(Default)]
struct Together(HashMap<(LaneName, Class), Units>);

impl Together {
    fn of(items: &[(Item, Effect)], now: Moment) -> Self {
        let mut together = Self::default();
        for (item, _) in items {
            let Command::Keep(keep) = &item.command else { continue };
            for part in keep.submission.parts.iter().filter(|part| is_due(part, now)) {
                let sum = together.0.entry((part.lane.clone(), part.class)).or_default();
                *sum = sum.plus(units(part));
            }
        }
        together
    }

    /// Takes out a part that is due; what of its lane and class is behind it.
    fn pass(&mut self, part: &Part) -> Units {
        let Some(behind) = self.0.get_mut(&(part.lane.clone(), part.class)) else { return Units::default() };
        *behind = behind.minus(units(part));
        *behind
    }
}

fn is_due(part: &Part, now: Moment) -> bool {
    !part.held && part.due.as_millisecond() <= now.wall
}

fn units(part: &Part) -> Units {
    Units::message(part.recipients.len() as u64)
}

/// What a command did within the transaction, to be told after the commit.
enum Effect {
    Kept,
    Settled(Option<Moved>),
    SetAside(Option<Moved>),
    Diverted(Option<Moved>),
    Adjusted(Vec<Moved>),
    Charged(bool),
    Outbox(outbox::Changed),
    Forwarding(bool),
}

enum Turn {
    Go,
    Reopen,
    End,
}

impl Writer {
    pub(super) fn new(core: Arc<Core>, segments: HashMap<u64, (i64, u64)>) -> Self {
        let clock_ms = core.clock.now().as_millisecond();
        let retired = segments.keys().copied().collect();
        Self {
            appender: Appender::new(Arc::clone(&core.segments)),
            now: core.shared.moment(),
            reserve: Reserve::of(&core.index),
            last_id: core.ids.last(),
            core,
            segments,
            retired,
            parked: Vec::new(),
            patience: Patience::default(),
            rerouting: Vec::new(),
            flushes: Vec::new(),
            clock_ms,
            tidied: Instant::now(),
            coarsened: Instant::now(),
            closing: None,
        }
    }

    /// Runs until the queue is closed or abandoned.
    pub(super) fn run(mut self, connection: Connection) {
        let mut connection = Some(connection);
        loop {
            let opened = match connection.take() {
                Some(connection) => Ok(connection),
                None => self.reopen(),
            };
            let end = match opened {
                Ok(connection) => match self.serve(&connection) {
                    Ok(end) => end,
                    Err(error) => self.index_failed(&error.to_string()),
                },
                Err(error) => self.index_failed(&error.to_string()),
            };
            if end {
                return;
            }
        }
    }

    /// Opens the index anew. What a failed commit left is unknown, so that all counts are taken from the rows.
    fn reopen(&mut self) -> Result<Connection, QueueError> {
        if self.core.is_index_gone() {
            // It would be made anew, and empty.
            return Err(index_gone(&self.core.index).into());
        }
        let connection = index::open(&self.core.index)?;
        self.segments = index::segment_rows(&connection)?;
        *self.core.totals.lock() = index::totals(&connection)?;
        *self.core.agendas.lock() = index::agendas(&connection, self.core.clock.now().as_millisecond())?;
        let mut sent = index::sent(&connection)?;
        for lane in self.core.lanes.lock().values() {
            lane.state.lock().quota.load(sent.remove(&lane.name).unwrap_or_default());
            lane.read_anew();
        }
        Ok(connection)
    }

    /// The index can't even be opened: refuses what is new, keeps outcomes, and rests. Whether that is the end.
    fn index_failed(&mut self, cause: &str) -> bool {
        self.refused(cause);
        let taken = self.core.inbox.take(RETRY);
        let mut end = taken.abandoned;
        for command in taken.commands {
            end |= matches!(command, Command::Close(_));
            self.refuse(Item { command, location: None }, &KeepError::Io { cause: cause.to_owned() });
        }
        std::thread::sleep(RETRY);
        end
    }

    /// Turns with one connection; true at the end, false to open another.
    fn serve(&mut self, connection: &Connection) -> rusqlite::Result<bool> {
        let mut writes = Writes::prepare(connection)?;
        self.reserve.iter().for_each(Reserve::fill);
        loop {
            let patience = match self.patience.rest(Instant::now()) {
                Some(rest) => rest,
                None if self.parked.is_empty() => self.until_tidy(),
                None => RETRY,
            };
            let taken = self.core.inbox.take(patience);
            if taken.abandoned {
                return Ok(true);
            }
            match self.turn(&mut writes, taken.commands) {
                Turn::Go => {}
                Turn::Reopen => return Ok(false),
                Turn::End => {
                    let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()));
                    return Ok(true);
                }
            }
        }
    }

    fn turn(&mut self, writes: &mut Writes<'_>, commands: Vec<Command>) -> Turn {
        let mut batch = take(&mut self.parked);
        let settles = commands.iter().filter(|command| matches!(command, Command::Settle(..))).count();
        self.core.inbox.slots.add_permits(settles);
        for command in commands {
            match command {
                Command::Flush(answer) => self.flushes.push(answer),
                Command::Close(answer) => self.closing = Some(answer),
                other => batch.push(other),
            }
        }
        let turn = match self.check_clock(writes) {
            _ if self.core.is_index_gone() => {
                let error = index_gone(&self.core.index);
                self.refused(&error.to_string());
                self.park(batch, &error);
                Turn::Go
            }
            Ok(()) => self.commit(writes, batch),
            Err(error) => {
                self.refused(&error.to_string());
                self.park(batch, &error);
                if writes.is_log_in_doubt() { Turn::Go } else { Turn::Reopen }
            }
        };
        if matches!(turn, Turn::Reopen) {
            return turn;
        }
        if self.parked.is_empty() {
            for answer in self.flushes.drain(..) {
                let _ = answer.send(());
            }
            if let Some(answer) = self.closing.take() {
                for lane in self.core.lanes.lock().values() {
                    lane.stand_down();
                }
                self.now = self.core.shared.moment();
                let closed = self.transaction(writes, &[], true);
                match closed {
                    Ok(filled) => self.conclude(writes, Vec::new(), filled),
                    Err(error) => tracing::warn!(%error, "queue could not be marked as closed"),
                }
                let _ = answer.send(());
                return Turn::End;
            }
        }
        if let Err(error) = self.tidy(writes) {
            self.core.prunable.store(false, Ordering::Relaxed);
            if self.patience.refused(Instant::now()) {
                tracing::warn!(%error, "journal could not be tidied");
            }
        }
        turn
    }

    /// The disk refuses what is to be recorded. It is asked again and again, and the log isn't filled with that.
    fn refused(&mut self, cause: &str) {
        self.core.refusal.lock().get_or_insert_with(|| (self.core.clock.now(), cause.to_owned()));
        if self.patience.refused(Instant::now()) {
            tracing::error!(cause, "queue can't be written; trying again");
        }
    }

    /// Content, then rows, then answers.
    fn commit(&mut self, writes: &mut Writes<'_>, batch: Vec<Command>) -> Turn {
        let rests = self.patience.rest(Instant::now()).is_some();
        if rests && !batch.iter().any(Command::is_awaited) {
            self.parked = batch;
            return Turn::Go;
        }
        let claims_changed = self.core.shared.claims_changed.swap(false, Ordering::Relaxed);
        self.retire_if_empty();
        self.now = self.core.shared.moment();
        let starting = if rests { Vec::new() } else { self.start() };
        if batch.is_empty() && !claims_changed && starting.is_empty() && self.retired.is_empty() {
            return Turn::Go;
        }
        let items = self.place(batch);
        let fresh = self.start_fresh(&items);
        let turn = match self.transaction(writes, &items, false) {
            Ok(filled) => {
                self.conclude(writes, items, filled);
                Turn::Go
            }
            Err(error) => {
                for lane in starting.iter().chain(fresh.keys()) {
                    self.core.window(lane).not_started(fresh.get(lane).map_or(&[], Vec::as_slice));
                }
                if !index::is_disk_error(&error) {
                    return self.one_by_one(writes, items);
                }
                self.refused(&error.to_string());
                let cause = commit_cause(&error);
                for item in items {
                    self.refuse(item, &cause);
                }
                if cause == KeepError::DiskFull {
                    // The next try finds room in a log that was written back.
                    writes.write_log_back();
                    self.reserve.iter().for_each(Reserve::fill);
                    return Turn::Go;
                }
                return if writes.is_log_in_doubt() { Turn::Go } else { Turn::Reopen };
            }
        };
        for lane in starting.iter().chain(fresh.keys()) {
            self.core.window(lane).started();
        }
        turn
    }

    /// Claims what lanes want, to be committed with this turn: the lanes that have any.
    fn start(&self) -> Vec<LaneName> {
        self.core.shared.starts_seen();
        let lanes: Vec<_> = self.core.lanes.lock().values().cloned().collect();
        lanes.into_iter().filter(|lane| lane.start(self.now)).map(|lane| lane.name.clone()).collect()
    }

    /// Claims messages that are being kept, where a lane wants them at once.
    fn start_fresh(&self, items: &[Item]) -> HashMap<LaneName, Vec<QueueId>> {
        let mut fresh: HashMap<LaneName, Vec<QueueId>> = HashMap::new();
        for item in items {
            let Command::Keep(keep) = &item.command else { continue };
            for (&id, part) in keep.ids.iter().zip(&keep.submission.parts) {
                if self.core.window(&part.lane).start_fresh(id, part, self.now) {
                    fresh.entry(part.lane.clone()).or_default().push(id);
                }
            }
        }
        fresh
    }

    /// A statement failed by what it was given: finds out whose it was.
    fn one_by_one(&mut self, writes: &mut Writes<'_>, items: Vec<Item>) -> Turn {
        for item in items {
            match self.transaction(writes, std::slice::from_ref(&item), false) {
                Ok(filled) => self.conclude(writes, vec![item], filled),
                Err(error) if index::is_disk_error(&error) => {
                    self.refuse(item, &commit_cause(&error));
                }
                Err(error) => {
                    tracing::error!(%error, "queue refused a change that makes no sense to it");
                    match item.command {
                        Command::Keep(_) | Command::Adjust { .. } => self.refuse(item, &commit_cause(&error)),
                        _ => {}
                    }
                }
            }
        }
        Turn::Go
    }

    /// Writes and syncs all content of a batch; what had content that couldn't be written is refused or parked here.
    fn place(&mut self, batch: Vec<Command>) -> Vec<Item> {
        let written = self.appender.append_all(&batch);
        self.retire();
        let mut items = Vec::with_capacity(batch.len());
        match written {
            Ok(locations) => {
                let placed = batch.into_iter().zip(locations);
                items.extend(placed.map(|(command, location)| Item { command, location }));
            }
            Err(error) => {
                tracing::error!(%error, "queue content could not be written");
                let error = KeepError::from(error);
                for command in batch {
                    let location = match &command {
                        Command::Keep(keep) => match &keep.body {
                            Body::Memory(_) => None,
                            Body::Spilled(spill) => Some(spill.location()),
                        },
                        _ => None,
                    };
                    let item = Item { command, location };
                    if brings_content(&item.command) { self.refuse(item, &error) } else { items.push(item) }
                }
            }
        }
        items
    }

    /// A large active segment in which nothing lives any more gives its room back: in a small spool it may be what
    /// stands in the way of new mail.
    fn retire_if_empty(&mut self) {
        let enough = ROOM_WORTH_HAVING.min(self.core.settings.load().max_size / 8);
        let is_empty = |number: &u64| self.segments.get(number).is_some_and(|(live, _)| *live <= 0);
        if self.appender.active().is_some_and(|(number, end)| end >= enough && is_empty(&number)) {
            self.appender.retire_active();
            self.retire();
        }
    }

    /// The active segment is written no more.
    fn retire(&mut self) {
        for number in self.appender.retired() {
            if self.segments.contains_key(&number) {
                self.retired.push(number);
            } else {
                self.core.segments.remove(number);
            }
        }
    }

    /// All rows of a batch. On success everything is committed, and to be concluded; on failure nothing is.
    fn transaction(
        &mut self,
        writes: &mut Writes<'_>,
        items: &[Item],
        closing: bool,
    ) -> rusqlite::Result<Filled> {
        writes.begin()?;
        let done = self.fill(writes, items, closing).and_then(|filled| writes.commit().map(|()| filled));
        match done {
            Ok(filled) => {
                self.patience.took();
                *self.core.refusal.lock() = None;
                self.rerouting.clear();
                Ok(filled)
            }
            Err(error) => {
                for (id, class, due, lane) in self.rerouting.drain(..) {
                    self.core.window(&lane).put_back(id, class, due);
                }
                writes.roll_back();
                Err(error)
            }
        }
    }

    /// Behind a commit: counters and lanes follow, and whoever waits is answered.
    fn conclude(&mut self, writes: &mut Writes<'_>, items: Vec<Item>, filled: Filled) {
        let Filled { effects, segments } = filled;
        // What ended is no longer in flight when the others are told when they go.
        let ends = |(item, _): &(Item, Effect)| matches!(item.command, Command::Settle(..));
        let (ended, others): (Vec<_>, Vec<_>) = items.into_iter().zip(effects).partition(ends);
        let core = Arc::clone(&self.core);
        let ending = core.ending.write();
        self.follow(writes, segments);
        for (item, effect) in ended {
            self.tell(item, effect);
        }
        drop(ending);
        let mut together = Together::of(&others, self.now);
        for (item, effect) in others {
            match item.command {
                Command::Keep(keep) => self.tell_kept(*keep, item.location, &mut together),
                _ => self.tell(item, effect),
            }
        }
    }

    fn fill(&mut self, writes: &mut Writes<'_>, items: &[Item], closing: bool) -> rusqlite::Result<Filled> {
        let now = self.core.clock.now();
        let mut effects = Vec::with_capacity(items.len());
        let mut charged: Vec<&LaneName> = Vec::new();
        for item in items {
            effects.push(match &item.command {
                Command::Keep(keep) => {
                    let location = item.location.ok_or(rusqlite::Error::InvalidQuery)?;
                    writes.keep(&keep.ids, &keep.submission, location)?;
                    writes.outbox.keep(&keep.events, now)?;
                    Effect::Kept
                }
                Command::Settle(outcome, ids) => {
                    if let Some(notice) = &outcome.notice {
                        let location = item.location.ok_or(rusqlite::Error::InvalidQuery)?;
                        writes.keep(ids, &notice.submission, location)?;
                    }
                    let took = outcome.took();
                    if took.messages > 0 {
                        let (slot, class) = self.core.window(&outcome.lane).slot(outcome.id, self.now);
                        writes.sent(&outcome.lane, slot, class.unwrap_or_default(), took);
                    }
                    Effect::Settled(writes.settle(outcome)?)
                }
                Command::SetAside { id, reason, .. } => Effect::SetAside(writes.set_aside(*id, reason, now)?),
                Command::Divert { id, to, why, .. } => Effect::Diverted(writes.divert(*id, to, why, now)?),
                Command::Adjust { ids, action, filter, .. } => {
                    let mut moved = Vec::new();
                    for &id in ids {
                        let spares = matches!(action, Adjust::Reroute(_) | Adjust::HoldByRoute);
                        if spares && !self.may_reroute(writes, id)? {
                            continue;
                        }
                        let one = writes.adjust(id, action, filter, now)?;
                        if one.is_none()
                            && let Some((id, class, due, lane)) = self.rerouting.pop_if(|last| last.0 == id)
                        {
                            self.core.window(&lane).put_back(id, class, due);
                        }
                        moved.extend(one);
                    }
                    Effect::Adjusted(moved)
                }
                Command::Charge { lane, .. } => {
                    let window = self.core.window(lane);
                    // One for each lane and commit: those committed before count by then.
                    let has_room = !charged.contains(&lane) && window.has_room_beside(self.now);
                    if has_room {
                        charged.push(lane);
                        let (slot, _) = window.slot(QueueId::from_bits(0), self.now);
                        writes.sent(lane, slot, Class::Normal, Units::message(1));
                    }
                    Effect::Charged(has_room)
                }
                Command::Landed(lane) => {
                    // Its beginning stays written down beside it: after a restart it counts twice rather than never.
                    let (slot, _) = self.core.window(lane).slot(QueueId::from_bits(0), self.now);
                    writes.sent(lane, slot, Class::Normal, Units::message(1));
                    Effect::Charged(true)
                }
                Command::Outbox(change) => Effect::Outbox(writes.outbox.change(change, now)?),
                Command::Forwarding(request) => Effect::Forwarding(writes.forwarding(&request.change, now)?),
                Command::Flush(_) | Command::Close(_) => Effect::SetAside(None),
            });
        }
        let segments = self.segment_counts(writes, items);
        for (number, count) in &segments {
            writes.segment(*number, *count)?;
        }
        writes.write_counts()?;
        writes.write_sent(self.now.wall)?;
        let mut in_flight = Vec::new();
        for lane in self.core.lanes.lock().values() {
            lane.claimed(&mut in_flight);
        }
        writes.remember(&Remembered {
            clean: closing && in_flight.is_empty(),
            at: now.as_millisecond(),
            steady: self.now.at,
            boot: self.core.clock.boot().to_owned(),
            since_boot: self.core.clock.since_boot(),
            last_id: self.core.ids.last(),
            last_segment: self.core.segments.last_number(),
            in_flight,
        })?;
        Ok(Filled { effects, segments })
    }

    /// Takes a message out of its window before it moves to another lane's, so that no two lanes deliver it. Not when
    /// it is being delivered.
    fn may_reroute(&mut self, writes: &mut Writes<'_>, id: QueueId) -> rusqlite::Result<bool> {
        let Some((lane, class, due)) = writes.place_of(id)? else { return Ok(false) };
        let window = self.core.window(&lane);
        if window.is_claimed(id) || window.taken_away(id, class, Some(due)) {
            return Ok(false);
        }
        if due != HELD {
            self.rerouting.push((id, class, due, lane));
        }
        Ok(true)
    }

    /// New counts of the segments that this transaction touches; none for one that is done with.
    fn segment_counts(&self, writes: &Writes<'_>, items: &[Item]) -> Vec<(u64, Option<(i64, u64)>)> {
        let active = self.appender.active();
        let spilled = |number: u64| {
            items.iter().find_map(|item| match &item.command {
                Command::Keep(keep) => match &keep.body {
                    Body::Spilled(spill) if spill.location().segment == number => Some(spill.file_length()),
                    _ => None,
                },
                _ => None,
            })
        };
        let touched = writes.changes.segments.iter().map(|(number, by)| (*number, *by));
        let retired = self.retired.iter().filter(|number| !writes.changes.segments.contains_key(number));
        touched
            .chain(retired.map(|number| (*number, 0)))
            .filter_map(|(number, by)| {
                let known = self.segments.get(&number).copied();
                let (live, bytes) = known.unwrap_or((0, 0));
                let live = live + by;
                match active {
                    Some((active, end)) if active == number => Some((number, Some((live, end)))),
                    _ if live <= 0 => Some((number, None)),
                    _ if by == 0 => None,
                    _ if known.is_some() => Some((number, Some((live, bytes)))),
                    _ => Some((number, Some((live, spilled(number).unwrap_or(0))))),
                }
            })
            .collect()
    }

    /// Counters in memory follow a committed transaction.
    fn follow(&mut self, writes: &mut Writes<'_>, segments: Vec<(u64, Option<(i64, u64)>)>) {
        self.retired.clear();
        for (number, count) in segments {
            if let Some(count) = count {
                self.segments.insert(number, count);
            } else {
                self.segments.remove(&number);
                self.core.segments.remove(number);
            }
        }
        let octets = self.segments.values().map(|(_, bytes)| bytes).sum();
        self.core.content_bytes.store(octets, Ordering::Relaxed);
        let changes = take(&mut writes.changes);
        let mut totals = self.core.totals.lock();
        for (lane, counts) in changes.counts {
            totals.entry(lane).or_default().merge(counts);
        }
        drop(totals);
        let mut agendas = self.core.agendas.lock();
        for (lane, class, due, change) in changes.later {
            agendas.entry(lane).or_default().note(class, due, change);
        }
        drop(agendas);
        // Behind the counters: who is told of an event and asks finds what it tells.
        for endpoint in writes.outbox.changed() {
            self.core.bells.ring(&endpoint);
        }
    }

    /// Answers and lanes, behind a commit.
    fn tell(&mut self, item: Item, effect: Effect) {
        match (item.command, effect) {
            (Command::Settle(outcome, ids), Effect::Settled(moved)) => {
                let took = outcome.took();
                if let (Some(notice), Some(location), Some(first)) =
                    (outcome.notice, item.location, ids.first())
                {
                    self.enter(&ids, &notice.submission, location, &Content::Stored(*first, location));
                }
                let stays = moved.as_ref().is_none_or(|moved| moved.lane == moved.from);
                let (class, due) =
                    moved.as_ref().map_or_else(Default::default, |moved| (moved.class, moved.due));
                let here = due.filter(|_| stays);
                self.core.window(&outcome.lane).settled(outcome.id, class, here, took, self.now);
                if let Some((moved, due)) = moved.zip(due).filter(|_| !stays) {
                    self.core.window(&moved.lane).put_back(outcome.id, class, due);
                }
            }
            (Command::SetAside { id, lane, .. }, Effect::SetAside(moved)) => {
                let class = moved.map(|moved| moved.class).unwrap_or_default();
                self.core.window(&lane).settled(id, class, None, Units::default(), self.now);
            }
            (Command::Outbox(change), Effect::Outbox(changed)) => outbox::tell(change, changed),
            (Command::Forwarding(request), Effect::Forwarding(is_news)) => {
                // Whoever asked may have gone.
                drop(request.answer.send(Ok(is_news)));
            }
            (Command::Divert { id, lane, .. }, Effect::Diverted(moved)) => {
                let class = moved.as_ref().map(|moved| moved.class).unwrap_or_default();
                self.core.window(&lane).settled(id, class, None, Units::default(), self.now);
                if let Some((moved, due)) = moved.and_then(|moved| moved.due.map(|due| (moved, due)))
                    && due != HELD
                {
                    self.core.window(&moved.lane).put_back(id, class, due);
                }
            }
            (Command::Charge { lane, answer }, Effect::Charged(has_room)) => {
                if has_room {
                    self.core.window(&lane).took_off_beside();
                }
                let _ = answer.send(has_room);
            }
            (Command::Landed(lane), _) => self.core.window(&lane).landed_beside(self.now),
            (Command::Adjust { answer, .. }, Effect::Adjusted(moved)) => {
                let _ = answer.send(Ok(self.tell_adjusted(moved)));
            }
            _ => {}
        }
    }

    fn tell_kept(&self, keep: Keep, location: Option<Location>, together: &mut Together) {
        let Keep { ids, submission, body, answer, .. } = keep;
        // All parts stand in one record, so that any of their ids finds it.
        let (Some(location), Some(first)) = (location, ids.first()) else { return };
        let content = match body {
            Body::Memory(held) => Content::Memory(Arc::new(held)),
            Body::Spilled(mut spill) => {
                spill.keep();
                Content::Stored(*first, location)
            }
        };
        self.enter(&ids, &submission, location, &content);
        let receipts = ids.iter().zip(&submission.parts);
        let receipts = receipts.map(|(id, part)| {
            let goes = if is_due(part, self.now) { self.forecast(part, together.pass(part)) } else { None };
            Receipt::new(*id, part.lane.clone(), goes.unwrap_or(part.due))
        });
        let _ = answer.send(Ok(receipts.collect()));
    }

    /// When a message that was just kept and is due will go, if its lane's limits don't let it go now. `behind`: what was kept
    /// with it and goes after it.
    fn forecast(&self, part: &Part, behind: Units) -> Option<jiff::Timestamp> {
        let window = self.core.window(&part.lane);
        if !window.is_limited() {
            return None;
        }
        let waiting = self.core.waiting_up_to(&part.lane, part.class).minus(Mixed::of(part.class, behind));
        window.forecast(part.class, waiting, self.now)
    }

    /// New messages enter their lanes.
    fn enter(&self, ids: &[QueueId], submission: &Submission, location: Location, content: &Content) {
        let notes = Arc::new(submission.notes.clone());
        let origin = Arc::new(submission.origin.clone());
        for (id, part) in ids.iter().zip(&submission.parts) {
            let at = store::first_due(part);
            if at == HELD {
                continue;
            }
            let all = part.recipients.len() == submission.envelope.recipients.len();
            let mut envelope = submission.envelope.clone();
            if !all {
                let recipients = &submission.envelope.recipients;
                envelope.recipients =
                    part.recipients.iter().filter_map(|&n| recipients.get(n).cloned()).collect();
            }
            let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
            let open =
                |&at: &usize| Open { number: number(at), attempts: 0, tried_at: None, waits_until: None };
            let due = Due {
                id: *id,
                lane: part.lane.clone(),
                home: None,
                class: part.class,
                envelope: Arc::new(envelope),
                open: part.recipients.iter().map(open).collect(),
                left: Vec::new(),
                received_at: submission.received_at,
                released_at: store::released_at(submission, part).unwrap_or(submission.received_at),
                expires_at: part.expires_at,
                warned: false,
                maybe_duplicate: false,
                origin: Arc::clone(&origin),
                notes: Arc::clone(&notes),
                size_bytes: location.length,
                content: content.clone(),
            };
            self.core.window(&part.lane).fresh(Ready { due, at, location });
        }
    }

    fn tell_adjusted(&self, moved: Vec<Moved>) -> Adjusted {
        let mut adjusted = Adjusted::default();
        for moved in moved {
            adjusted.count += 1;
            adjusted.others += moved.others;
            adjusted.expired += u64::from(moved.expired);
            *adjusted.lanes.entry(moved.lane.clone()).or_default() += u64::from(!moved.expired);
            if adjusted.ids.len() < TOLD_IDS {
                adjusted.ids.push(moved.id);
            }
            let from = self.core.window(&moved.from);
            adjusted.in_flight += u64::from(from.taken_away(moved.id, moved.class, moved.due_before));
            if let Some(due) = moved.due.filter(|&due| due != HELD) {
                self.core.window(&moved.lane).put_back(moved.id, moved.class, due);
            }
        }
        adjusted
    }

    /// What a command becomes when the disk says no.
    fn refuse(&mut self, item: Item, error: &KeepError) {
        match item.command {
            Command::Keep(keep) => {
                let keep = *keep;
                if let Body::Spilled(mut spill) = keep.body
                    && item.location.is_some()
                {
                    // Its row may have been committed all the same, for all we know: garbage until the next start.
                    spill.keep();
                }
                let _ = keep.answer.send(Err(error.clone()));
            }
            Command::Adjust { answer, .. } => {
                let _ = answer.send(Err(QueueError::Index(error.to_string())));
            }
            Command::Outbox(change) => {
                self.parked.extend(outbox::refuse(change, &error.to_string()).map(Command::Outbox));
            }
            Command::Forwarding(request) => {
                drop(request.answer.send(Err(QueueError::Index(error.to_string()))));
            }
            Command::Flush(answer) => self.flushes.push(answer),
            // Whoever asked learns it by the answer that never comes.
            Command::Charge { .. } | Command::Close(_) => {}
            command @ (Command::Settle(..)
            | Command::SetAside { .. }
            | Command::Divert { .. }
            | Command::Landed(_)) => {
                self.parked.push(command);
            }
        }
    }

    fn park(&mut self, batch: Vec<Command>, error: &rusqlite::Error) {
        let cause = commit_cause(error);
        for command in batch {
            self.refuse(Item { command, location: None }, &cause);
        }
    }

    /// No mail grows old by a clock that was set forward: see [`Leaps`](super::leaps::Leaps).
    fn look_at_clock(&mut self, writes: &mut Writes<'_>) -> rusqlite::Result<()> {
        let last = std::mem::replace(&mut self.last_id, self.core.ids.last());
        let known = self.core.shared.leaps.load();
        let Some((leaps, by)) = known.looked(&self.core.clock, last) else { return Ok(()) };
        if by == 0 {
            self.core.shared.leaps.store(Arc::new(leaps));
            return Ok(());
        }
        self.keep_leaps(writes, leaps)?;
        leaps::tell(by);
        Ok(())
    }

    fn keep_leaps(&self, writes: &mut Writes<'_>, leaps: Leaps) -> rusqlite::Result<()> {
        writes.begin()?;
        if let Err(error) = leaps.store(writes.connection()).and_then(|()| writes.commit()) {
            writes.roll_back();
            return Err(error);
        }
        self.core.shared.leaps.store(Arc::new(leaps));
        Ok(())
    }

    /// A clock that was set back takes the waits back with it: see [`Writes::fall_back`].
    fn check_clock(&mut self, writes: &mut Writes<'_>) -> rusqlite::Result<()> {
        self.look_at_clock(writes)?;
        let now = self.core.clock.now().as_millisecond();
        let fell = self.clock_ms - now;
        if fell > CLOCK_FELL_MS {
            writes.begin()?;
            let moved = writes.fall_back(now, fell).and_then(|moved| writes.commit().map(|()| moved));
            match moved {
                Ok(moved) => tracing::warn!(fell_ms = fell, moved, "clock was set back; waits follow"),
                Err(error) => {
                    writes.roll_back();
                    return Err(error);
                }
            }
            *self.core.agendas.lock() = index::agendas(writes.connection(), now)?;
            for lane in self.core.lanes.lock().values() {
                lane.read_anew();
            }
        }
        self.clock_ms = now;
        Ok(())
    }

    fn until_tidy(&self) -> Duration {
        if self.core.prunable.load(Ordering::Relaxed) { PRUNE_REST } else { IDLE }
    }

    /// Prunes a little of the journal, at most once in [`TIDY`] unless there is more.
    fn tidy(&mut self, writes: &mut Writes<'_>) -> rusqlite::Result<()> {
        let more = self.core.prunable.load(Ordering::Relaxed);
        if self.tidied.elapsed() < TIDY && !more {
            return Ok(());
        }
        self.tidied = Instant::now();
        self.reserve.iter().for_each(Reserve::fill);
        let settings = self.core.settings.load_full();
        let has_room = self.core.room.check(&settings, &self.core.content_bytes, 0).is_ok();
        let keep_ms = i64::try_from(settings.journal_keep.as_millis()).unwrap_or(i64::MAX);
        let now_ms = self.core.clock.now().as_millisecond();
        let before = now_ms.saturating_sub(keep_ms);
        writes.begin()?;
        let pruned = writes.prune(before, PRUNE).and_then(|pruned| {
            writes.outbox.prune(now_ms.saturating_sub(outbox::REPLAYABLE_MS), before, 1_000)?;
            writes.memory.prune(before, 1_000)?;
            writes.squeeze_kept(settings.max_size, has_room)?;
            let segments = self.segment_counts(writes, &[]);
            for (number, count) in &segments {
                writes.segment(*number, *count)?;
            }
            writes.commit().map(|()| (pruned, segments))
        });
        match pruned {
            Ok((pruned, segments)) => {
                self.follow(writes, segments);
                self.core.prunable.store(pruned == PRUNE, Ordering::Relaxed);
            }
            Err(error) => {
                writes.roll_back();
                return Err(error);
            }
        }
        if self.coarsened.elapsed() >= COARSEN {
            self.coarsened = Instant::now();
            self.coarsen(writes)?;
            self.forget_leaps(writes)?;
            if let Err(error) = writes.shrink_long_log() {
                tracing::error!(%error, "queue.db-wal grows: it can't be written back into queue.db; see the disk");
            }
        }
        Ok(())
    }

    /// Each leap that is known makes searches for what is old slower.
    fn forget_leaps(&self, writes: &mut Writes<'_>) -> rusqlite::Result<()> {
        let mut leaps = Leaps::clone(&self.core.shared.leaps.load());
        if leaps.is_empty() || !leaps.forget(writes.first_open()?, self.core.clock.now()) {
            return Ok(());
        }
        self.keep_leaps(writes, leaps)
    }

    /// Old slots of what was sent become coarser.
    fn coarsen(&mut self, writes: &mut Writes<'_>) -> rusqlite::Result<()> {
        let now = self.core.shared.moment();
        let lanes: Vec<_> = self.core.lanes.lock().values().cloned().collect();
        for lane in lanes {
            let (name, gone, changed) = lane.tidy_ledger(now);
            if gone.is_empty() && changed.is_empty() {
                continue;
            }
            writes.begin()?;
            if let Err(error) = writes.tidy_sent(&name, &gone, &changed).and_then(|()| writes.commit()) {
                // The rows stay as fine as they were; the next start reads them so.
                writes.roll_back();
                return Err(error);
            }
        }
        Ok(())
    }
}

/// What is committed to a file that somebody removed is gone with the process.
fn index_gone(index: &Path) -> rusqlite::Error {
    let words = format!(
        "{} was removed or replaced while the daemon runs; stop it, then run `waystation queue salvage`",
        index.display()
    );
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_IOERR), Some(words))
}

fn commit_cause(error: &rusqlite::Error) -> KeepError {
    if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) {
        return KeepError::DiskFull;
    }
    KeepError::Io { cause: error.to_string() }
}
