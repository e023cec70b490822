//! Every statement that changes the index. Nothing here commits by itself: the writer begins and ends transactions.

mod counts;
mod sent;

pub(super) use counts::Counts;

use super::entry::{Filter, Kind, State};
use super::forwarding;
use super::index::Remembered;
use super::kept;
use super::leaps::LEAPT;
use super::limits::Units;
use super::outbox::rows::Rows;
use super::record;
use super::work::{Fate, Location, Submission};
use super::{Adjust, LaneName, Outcome, Part, QueueId, agenda};
use crate::inbox::addresses;
use crate::message::envelope::Class;
use crate::smtp::reply::{Enhanced, Reply};
use counts::Counted;
use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Statement, ffi, params};
use std::collections::HashMap;
use std::fmt::Write as _;

/// `message.due` of a message that waits for an operator.
pub(super) const HELD: i64 = i64::MAX;
/// `message.flags`: an attempt was made and ended in "later".
pub(super) const DEFERRED: i64 = 1;
/// `message.flags`: the delay notice went out.
pub(super) const WARNED: i64 = 2;
/// `message.flags`: the next try may be a second copy.
pub(super) const MAYBE_DUPLICATE: i64 = 4;

/// Octets before the first frame of `SQLite`'s log, and before each frame's page (sqlite.org/fileformat2.html, 4.1).
const LOG_HEAD: u64 = 32;
const FRAME_HEAD: u64 = 24;

/// Octets that a log has only where it isn't written back: commits begin that at a quarter of it.
const LONG_LOG: u64 = 64 << 20;

/// The name under which a message's metadata holds the mailbox that an operator gave it to.
pub const MAILBOX: &str = "mailbox";

/// A change of one message, for its lane's window to follow after the commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Moved {
    pub(super) id: QueueId,
    pub(super) class: Class,
    pub(super) lane: LaneName,
    /// Where it was before, when an operator moved it.
    pub(super) from: LaneName,
    pub(super) due_before: Option<i64>,
    pub(super) due: Option<i64>,
    /// Its open recipients that the operator's filter doesn't mean.
    pub(super) others: u64,
    /// Whether it was released behind the time at which it expires.
    pub(super) expired: bool,
}

/// What a transaction changed beside rows; taken over by the writer when it was committed.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) counts: HashMap<LaneName, Counts>,
    /// What is due later, by lane, class and time; gained and lost.
    pub(super) later: Vec<(LaneName, Class, i64, agenda::Change)>,
    /// Live messages gained and lost, by segment.
    pub(super) segments: HashMap<u64, i64>,
    /// What smarthosts took, by lane and slot: all classes, and class priority alone.
    sent: HashMap<(LaneName, i64), (Units, Units)>,
}

/// A message row as far as changes need it.
#[derive(Debug, Clone)]
struct Row {
    lane: LaneName,
    class: Class,
    due: Option<i64>,
    open: i64,
    flags: i64,
    segment: u64,
    size: i64,
}

/// Every statement that changes the index, prepared once.
pub(super) struct Writes<'c> {
    connection: &'c Connection,
    lanes: HashMap<LaneName, i64>,
    lane_names: HashMap<i64, LaneName>,
    pub(super) changes: Changes,
    pub(super) outbox: Rows<'c>,
    pub(super) memory: super::memory::rows::Rows<'c>,
    insert_message: Statement<'c>,
    insert_recipient: Statement<'c>,
    insert_event: Statement<'c>,
    select_message: Statement<'c>,
    update_message: Statement<'c>,
    finish_recipient: Statement<'c>,
    undelete_recipient: Statement<'c>,
    defer_recipient: Statement<'c>,
    update_segment: Statement<'c>,
    delete_segment: Statement<'c>,
    update_counts: Statement<'c>,
    update_backlog: Statement<'c>,
    add_sent: Statement<'c>,
    update_state: Statement<'c>,
    /// Whether the log may hold, behind its end, what a commit wrote that failed.
    log_in_doubt: bool,
}

impl<'c> Writes<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            connection,
            lanes: HashMap::new(),
            lane_names: HashMap::new(),
            changes: Changes::default(),
            outbox: Rows::prepare(connection)?,
            memory: super::memory::rows::Rows::prepare(connection)?,
            insert_message: connection.prepare(
                "INSERT INTO message(id,lane,class,due,open,flags,received_at,segment,offset,size,wishes,sender,envid,
                   client,helo,application,subject,tag,meta,release_at,expires_at)
                 VALUES(?1,?2,?3,?4,?5,0,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20)",
            )?,
            insert_recipient: connection.prepare("INSERT INTO recipient VALUES(?1,?2,?3,0,?4,?5,?6,?7,NULL,NULL)")?,
            insert_event: connection.prepare("INSERT OR IGNORE INTO event VALUES(?1,?2,?3,?4,?5)")?,
            select_message: connection.prepare("SELECT lane,class,due,open,flags,segment,size FROM message WHERE id=?1")?,
            update_message: connection
                .prepare("UPDATE message SET due=?2,open=?3,flags=?4,done_at=?5,lane=?6,home=CASE lane WHEN ?6 THEN home END WHERE id=?1")?,
            finish_recipient: connection.prepare(
                "UPDATE recipient SET state=?3,attempts=attempts+?4,reply=?5,updated=?6 WHERE message=?1 AND n=?2 AND state<=2",
            )?,
            undelete_recipient: connection.prepare(
                "UPDATE recipient SET state=3,attempts=attempts+1,reply=?3,updated=?4 WHERE message=?1 AND n=?2 AND state=7",
            )?,
            defer_recipient: connection.prepare(
                "UPDATE recipient SET state=max(state,1),attempts=attempts+1,reply=?3,updated=?4,next=?5
                 WHERE message=?1 AND n=?2 AND state<=2",
            )?,
            update_segment: connection.prepare(
                "INSERT INTO segment VALUES(?1,?2,?3) ON CONFLICT(number) DO UPDATE SET live=?2,bytes=?3",
            )?,
            delete_segment: connection.prepare("DELETE FROM segment WHERE number=?1")?,
            update_counts: connection.prepare(
                "UPDATE lane SET queued=queued+?2,deferred=deferred+?3,held=held+?4 WHERE number=?1",
            )?,
            update_backlog: connection.prepare(
                "INSERT INTO backlog VALUES(?1,?2,?3,?4)
                 ON CONFLICT(lane,class) DO UPDATE SET messages=messages+?3,recipients=recipients+?4",
            )?,
            add_sent: connection.prepare(
                "INSERT INTO sent VALUES(?1,?2,?3,?4,?5,?6,?7) ON CONFLICT(lane,at) DO UPDATE SET wall=max(wall,?3),
                 messages=messages+?4,recipients=recipients+?5,
                 priority_messages=priority_messages+?6,priority_recipients=priority_recipients+?7",
            )?,
            update_state: connection.prepare(
                "UPDATE state SET clean=?1,at=?2,last_id=?3,last_segment=?4,in_flight=?5,in_flight_recipients=?6,
                 steady=?7,boot=?8,since_boot=?9",
            )?,
            log_in_doubt: false,
        })
    }

    /// The index itself, for reading.
    pub(super) fn connection(&self) -> &Connection {
        self.connection
    }

    /// # Errors
    /// The disk's; while a log in doubt can't be left, too.
    pub(super) fn begin(&mut self) -> rusqlite::Result<()> {
        self.changes = Changes::default();
        if self.log_in_doubt {
            // The cut that a failed commit should have made may have failed, too.
            self.cut_log()?;
            self.leave_log()?;
        }
        self.connection.execute_batch("BEGIN IMMEDIATE")
    }

    pub(super) fn commit(&mut self) -> rusqlite::Result<()> {
        let committed = self.connection.execute_batch("COMMIT");
        let is_io = |error: &rusqlite::Error| error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure);
        self.log_in_doubt |= committed.as_ref().is_err_and(is_io);
        committed
    }

    /// Whether the last commit failed so that this connection alone knows how far the log is good.
    ///
    /// What it wrote stands whole behind the log's end, or in part: whoever opens the index anew may take it for a
    /// commit, and what is committed behind it on disk may hang on octets that never came there, as a sync that failed
    /// isn't made good by one that succeeds.
    pub(super) fn is_log_in_doubt(&self) -> bool {
        self.log_in_doubt
    }

    /// Takes off the log what stands behind its end, so that nobody who opens the index anew finds it.
    fn cut_log(&self) -> rusqlite::Result<()> {
        let number = |pragma, column| self.connection.query_row(pragma, (), |row| row.get::<_, i64>(column));
        let (frames, page) = (number("PRAGMA wal_checkpoint(NOOP)", 1)?, number("PRAGMA page_size", 0)?);
        let end = match u64::try_from(frames) {
            Ok(0) => 0,
            Ok(frames) => LOG_HEAD + frames * (unsigned(page) + FRAME_HEAD),
            // There is no log.
            Err(_) => return Ok(()),
        };
        self.shorten_log(end)
    }

    /// Leaves no more of the log than this, on disk, too: a cut that isn't there comes undone with the power.
    fn shorten_log(&self, end: u64) -> rusqlite::Result<()> {
        // SQLite holds no lock on this file that closing it here could end.
        let shortened = std::fs::OpenOptions::new().write(true).open(self.log_path()).and_then(|log| {
            if log.metadata()?.len() > end {
                log.set_len(end)?;
            }
            log.sync_data()
        });
        shortened.map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
    }

    /// Writes what is good of a log back into the index, and begins a new one.
    fn leave_log(&mut self) -> rusqlite::Result<()> {
        let is_busy: bool =
            self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get(0))?;
        if is_busy {
            return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_BUSY), None));
        }
        self.shorten_log(0)?;
        self.log_in_doubt = false;
        Ok(())
    }

    /// Takes everything since [`Writes::begin`] back. An error here means that `SQLite` did it already.
    pub(super) fn roll_back(&mut self) {
        let _ = self.connection.execute_batch("ROLLBACK");
        if self.log_in_doubt {
            // For as long as it can't be left; where this fails, too, that remains to be tried.
            let _ = self.cut_log();
        }
        self.changes = Changes::default();
        self.lanes.clear();
        self.lane_names.clear();
        self.outbox.roll_back();
    }

    /// Writes the log back into the index as far as nobody reads it, so that it begins anew in the room it has.
    pub(super) fn write_log_back(&self) {
        // Where that fails there is no room for it; the next try tells.
        let _ = self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |_| Ok(()));
    }

    /// Writes a log back that has grown far beyond where commits do it themselves, and don't tell when they can't.
    pub(super) fn shrink_long_log(&self) -> rusqlite::Result<()> {
        if std::fs::metadata(self.log_path()).is_ok_and(|log| log.len() > LONG_LOG) {
            self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |_| Ok(()))?;
        }
        Ok(())
    }

    fn log_path(&self) -> String {
        format!("{}-wal", self.connection.path().unwrap_or_default())
    }

    /// Carries out a change of what is remembered of forwarding; whether it was news.
    pub(super) fn forwarding(
        &mut self,
        change: &forwarding::Change,
        now: Timestamp,
    ) -> rusqlite::Result<bool> {
        forwarding::change(self.connection, &mut self.outbox, change, now)
    }

    /// Adds a message: one row per part.
    pub(super) fn keep(
        &mut self,
        ids: &[QueueId],
        submission: &Submission,
        location: Location,
    ) -> rusqlite::Result<()> {
        let client = submission.origin.client.map(|client| client.to_string());
        let meta = match submission.notes.meta.as_slice() {
            [] => None,
            pairs => serde_json::to_string(pairs).ok(),
        };
        for (id, part) in ids.iter().zip(&submission.parts) {
            let lane = self.lane_number(&part.lane)?;
            let due = first_due(part);
            self.insert_message.execute(params![
                id.to_row(),
                lane,
                record::class_bits(part.class),
                due,
                count(part.recipients.len()),
                submission.received_at.as_millisecond(),
                signed(location.segment),
                signed(location.offset),
                signed(location.length),
                record::wishes(&submission.envelope),
                submission.envelope.sender.as_ref().map(crate::smtp::address::Address::as_str),
                submission.envelope.envid.as_deref(),
                client.as_deref(),
                &*submission.origin.helo,
                submission.origin.application.as_deref(),
                submission.notes.subject.as_deref(),
                submission.notes.tag.as_deref(),
                meta.as_deref(),
                released_at(submission, part).map(Timestamp::as_millisecond),
                part.expires_at.map(Timestamp::as_millisecond),
            ])?;
            let state = if part.held { State::Held } else { State::Queued };
            for &number in &part.recipients {
                let Some(recipient) = submission.envelope.recipients.get(number) else { continue };
                self.insert_recipient.execute(params![
                    id.to_row(),
                    count(number),
                    state.to_row(),
                    submission.received_at.as_millisecond(),
                    recipient.address.as_str(),
                    recipient.notify.map(record::notify_bits),
                    recipient.orcpt.as_deref(),
                ])?;
            }
            if part.held && !part.discarded {
                self.tell(*id, submission.received_at, None, Kind::Held, "by a rule")?;
            }
            self.tell_rewritten(*id, submission.received_at, &submission.notes.rewritten)?;
            *self.changes.segments.entry(location.segment).or_default() += 1;
            let open = count(part.recipients.len());
            let counted =
                Counted { class: part.class, due: Some(due), flags: 0, open, size: signed(location.length) };
            self.count(&part.lane, counted, submission.received_at, 1);
            if part.discarded {
                self.settle(&discarded(*id, part, submission.received_at))?;
            }
        }
        Ok(())
    }

    /// Records what an attempt came to. None when there is no such message, or nothing of it was open.
    ///
    /// An operator may have held or deleted it meanwhile: what was delivered is told as delivered nonetheless,
    /// everything else leaves the operator's word standing.
    pub(super) fn settle(&mut self, outcome: &Outcome) -> rusqlite::Result<Option<Moved>> {
        self.outbox.keep(&outcome.events, outcome.at)?;
        if let Some(memory) = &outcome.remembered {
            self.memory.keep(outcome.id, outcome.at, memory)?;
        }
        let Some(row) = self.row(outcome.id)? else { return Ok(None) };
        let (mut open, mut flags) = (row.open, row.flags);
        for (number, fate) in &outcome.fates {
            open -= self.fate(outcome, *number, fate)?;
            if matches!(fate, Fate::Deferred(_)) {
                flags |= DEFERRED;
            }
        }
        self.tell_rewritten(outcome.id, outcome.at, &outcome.rewritten)?;
        if outcome.warned {
            flags |= WARNED;
        }
        if outcome.maybe_duplicate {
            flags |= MAYBE_DUPLICATE;
            self.tell(
                outcome.id,
                outcome.at,
                None,
                Kind::MaybeDuplicate,
                "no reply came after the message was sent",
            )?;
        }
        if outcome.notice.is_some() {
            let what = if outcome.warned { "delay notice to the sender" } else { "notice to the sender" };
            self.tell(outcome.id, outcome.at, None, Kind::Noticed, what)?;
        }
        if let Some(reason) = outcome.hold.as_deref().filter(|_| row.due.is_some() && open > 0) {
            self.hold_recipients(outcome.id, reason, outcome.at)?;
        }
        let due = match row.due {
            None => return Ok(None),
            Some(_) if open <= 0 => None,
            Some(HELD) => Some(HELD),
            Some(_) if outcome.hold.is_some() => Some(HELD),
            Some(due) => Some(outcome.next_attempt.map_or(due, Timestamp::as_millisecond)),
        };
        if due.is_none() && outcome.remembered.as_ref().is_some_and(|memory| memory.keeps_content) {
            self.hold_segment(kept::keep(self.connection, outcome.id)?, 1);
        }
        let lane = match &outcome.moves {
            Some((to, why)) if due.is_some_and(|due| due != HELD) => {
                self.lend(outcome.id, to, why, outcome.at)?;
                to.clone()
            }
            _ => row.lane.clone(),
        };
        self.move_to(outcome.id, row, lane, due, open, flags, outcome.at).map(Some)
    }

    fn hold_segment(&mut self, segment: Option<u64>, by: i64) {
        if let Some(segment) = segment {
            *self.changes.segments.entry(segment).or_default() += by;
        }
    }

    /// Lets the oldest kept content go when all of it takes too much.
    pub(super) fn squeeze_kept(&mut self, max_size: u64, has_room: bool) -> rusqlite::Result<()> {
        for id in kept::too_many(self.connection, max_size, has_room)? {
            self.hold_segment(kept::forget(self.connection, id)?, -1);
        }
        Ok(())
    }

    /// One recipient's fate; how many recipients it closed.
    fn fate(&mut self, outcome: &Outcome, number: u32, fate: &Fate) -> rusqlite::Result<i64> {
        let (id, at) = (outcome.id.to_row(), outcome.at.as_millisecond());
        let (state, reply, tried) = match fate {
            Fate::Deferred(reply) => {
                let reply = reply_text(reply);
                let next = outcome.deferred_until.map(Timestamp::as_millisecond);
                self.defer_recipient.execute(params![id, number, reply, at, next])?;
                self.tell(outcome.id, outcome.at, Some(number), Kind::Deferred, &reply)?;
                return Ok(0);
            }
            Fate::Delivered(reply) => (State::Delivered, reply, 1),
            Fate::Failed(reply) => (State::Failed, reply, 1),
            Fate::Expired(reply) => (State::Expired, reply, 0),
            Fate::Discarded(reply) => (State::Discarded, reply, 0),
        };
        let reply = reply_text(reply);
        let closed = self.finish_recipient.execute(params![id, number, state.to_row(), tried, reply, at])?;
        if closed == 0 && state == State::Delivered {
            self.undelete_recipient.execute(params![id, number, reply, at])?;
        }
        Ok(i64::try_from(closed).unwrap_or(0))
    }

    /// Carries out an operator's wish on one message that was found by a filter. None when it doesn't apply to it, or
    /// none of its open recipients is meant.
    pub(super) fn adjust(
        &mut self,
        id: QueueId,
        action: &Adjust,
        filter: &Filter,
        now: Timestamp,
    ) -> rusqlite::Result<Option<Moved>> {
        let Some(row) = self.row(id)? else { return Ok(None) };
        let Some(was) = row.due else { return Ok(None) };
        let mut others = 0;
        if filter.picks_recipients() {
            let meant = self.meant(id, &row.lane, filter)?;
            others = unsigned(row.open - count(meant.len()));
            if meant.is_empty() {
                return Ok(None);
            }
            if *action == Adjust::Delete && others > 0 {
                let moved = self.delete_some(id, row, &meant, now)?;
                return Ok(Some(Moved { others, ..moved }));
            }
        }
        let named = !filter.ids.is_empty();
        let (lane, open, flags) = (row.lane.clone(), row.open, row.flags);
        let soon = now.as_millisecond();
        let stays_here = matches!(action, Adjust::Reroute(to) if *to == lane);
        if stays_here && !self.forget_home(id)? {
            return Ok(None);
        }
        let (kind, lane, due, open, recipients) = match action {
            Adjust::HoldByRoute if flags & DEFERRED != 0 || self.was_released(id)? => return Ok(None),
            Adjust::Hold | Adjust::HoldByRoute if was != HELD => {
                (Kind::Held, lane, Some(HELD), open, Some("state=2"))
            }
            Adjust::Release | Adjust::Assign(_) if was == HELD => {
                let due = self.asked_for(id)?.map_or(soon, |asked| asked.max(soon));
                (Kind::Released, lane, Some(due), open, Some("state=min(attempts,1),next=NULL"))
            }
            // A time that a client asked for isn't overruled by a filter that may mean more than its author thinks.
            Adjust::Retry if !named && flags & DEFERRED == 0 && self.asked_for(id)? > Some(soon) => {
                return Ok(None);
            }
            // What is due already keeps its place.
            Adjust::Retry if was != HELD => (Kind::Retried, lane, Some(soon.min(was)), open, None),
            Adjust::Delete => (Kind::Deleted, lane, None, 0, Some("state=7")),
            // What an inbox took is read, never sent.
            Adjust::Reroute(to) if addresses::of_lane(&lane).is_none() => {
                // What was never tried may wait for a time that its client asked for.
                let waits = was == HELD || flags & DEFERRED == 0;
                (Kind::Rerouted, to.clone(), Some(if waits { was } else { soon }), open, None)
            }
            _ => return Ok(None),
        };
        if kind == Kind::Retried || kind == Kind::Rerouted {
            self.end_waits(id)?;
        }
        if let Some(change) = recipients {
            let sql = format!("UPDATE recipient SET {change},updated=?2 WHERE message=?1 AND state<=2");
            self.connection.execute(&sql, params![id.to_row(), soon])?;
        }
        let detail = match action {
            Adjust::Reroute(_) if stays_here => format!("{lane} had it for another smarthost, and keeps it"),
            Adjust::Reroute(_) => format!("from {} to {lane}", row.lane),
            Adjust::Assign(mailbox) => {
                let meta = serde_json::json!([[MAILBOX, mailbox]]).to_string();
                self.connection
                    .execute("UPDATE message SET meta=?2 WHERE id=?1", params![id.to_row(), meta])?;
                format!("by an operator, for mailbox {mailbox}")
            }
            Adjust::HoldByRoute => "by a rule, after a reload".into(),
            _ => "by an operator".into(),
        };
        self.tell(id, now, None, kind, &detail)?;
        let is_over = || -> rusqlite::Result<bool> {
            let sql = format!("SELECT expires_at+{LEAPT} FROM message m WHERE id=?1");
            let expires_at: Option<i64> =
                self.connection.prepare_cached(&sql)?.query_row([id.to_row()], |row| row.get(0))?;
            Ok(expires_at.is_some_and(|expires_at| expires_at <= soon))
        };
        let expired = kind == Kind::Released && !filter.removed.contains(&lane) && is_over()?;
        let moved = self.move_to(id, row, lane, due, open, flags, now)?;
        Ok(Some(Moved { others, expired, ..moved }))
    }

    /// The numbers of a message's open recipients that a filter means.
    fn meant(&self, id: QueueId, lane: &LaneName, filter: &Filter) -> rusqlite::Result<Vec<u32>> {
        let sql = "SELECT n,address,state FROM recipient WHERE message=?1 AND state<=2";
        let mut open = self.connection.prepare(sql)?;
        let mut open = open.query([id.to_row()])?;
        let mut meant = Vec::new();
        while let Some(row) = open.next()? {
            let (address, state): (String, i64) = (row.get(1)?, row.get(2)?);
            if filter.means(lane, &address, State::from_row(state).unwrap_or(State::Held)) {
                meant.push(row.get(0)?);
            }
        }
        Ok(meant)
    }

    /// Drops some of a message's recipients; the others go on as they were.
    fn delete_some(
        &mut self,
        id: QueueId,
        row: Row,
        some: &[u32],
        now: Timestamp,
    ) -> rusqlite::Result<Moved> {
        let sql = "UPDATE recipient SET state=7,updated=?3 WHERE message=?1 AND n=?2 AND state<=2";
        for &number in some {
            self.connection.execute(sql, params![id.to_row(), number, now.as_millisecond()])?;
            self.tell(id, now, Some(number), Kind::Deleted, "by an operator")?;
        }
        // Those that are left may wait longer than those that went.
        let sql = "SELECT min(ifnull(next,0)) FROM recipient WHERE message=?1 AND state<=2";
        let wait: Option<i64> = self.connection.query_row(sql, [id.to_row()], |row| row.get(0))?;
        let due = row.due.map(|due| due.max(wait.unwrap_or(0)));
        let (lane, open, flags) = (row.lane.clone(), row.open - count(some.len()), row.flags);
        self.move_to(id, row, lane, due, open, flags, now)
    }

    /// Deferred recipients of a message wait no longer.
    fn end_waits(&self, id: QueueId) -> rusqlite::Result<usize> {
        let sql = "UPDATE recipient SET next=NULL WHERE message=?1 AND state=1";
        self.connection.execute(sql, [id.to_row()])
    }

    /// A message that a lane has for another one becomes its own; false where it is that.
    fn forget_home(&self, id: QueueId) -> rusqlite::Result<bool> {
        let sql = "UPDATE message SET home=NULL WHERE id=?1 AND home IS NOT NULL";
        Ok(self.connection.execute(sql, [id.to_row()])? > 0)
    }

    /// The later time that a message's client asked for.
    fn asked_for(&self, id: QueueId) -> rusqlite::Result<Option<i64>> {
        let sql = "SELECT release_at FROM message WHERE id=?1";
        Ok(self.connection.query_row(sql, [id.to_row()], |row| row.get(0)).optional()?.flatten())
    }

    /// Moves an open message to a fallback's lane, or on from there, or back to its own; one that an operator took meanwhile
    /// stays where it is.
    pub(super) fn divert(
        &mut self,
        id: QueueId,
        to: &LaneName,
        why: &str,
        now: Timestamp,
    ) -> rusqlite::Result<Option<Moved>> {
        let Some(row) = self.row(id)? else { return Ok(None) };
        let Some(due) = row.due else { return Ok(None) };
        if due != HELD {
            self.lend(id, to, why, now)?;
        }
        let lane = if due == HELD { row.lane.clone() } else { to.clone() };
        let (open, flags) = (row.open, row.flags);
        self.move_to(id, row, lane, Some(due), open, flags, now).map(Some)
    }

    /// A message goes by the lane of a fallback, and keeps in mind whose it is, or it comes home.
    fn lend(&mut self, id: QueueId, to: &LaneName, why: &str, now: Timestamp) -> rusqlite::Result<()> {
        let to = self.lane_number(to)?;
        let sql = "UPDATE message SET home=nullif(ifnull(home,lane),?2),lane=?2 WHERE id=?1";
        self.connection.prepare_cached(sql)?.execute(params![id.to_row(), to])?;
        self.tell(id, now, None, Kind::Rerouted, why)
    }

    /// Where an open message waits.
    pub(super) fn place_of(&mut self, id: QueueId) -> rusqlite::Result<Option<(LaneName, Class, i64)>> {
        Ok(self.row(id)?.and_then(|row| row.due.map(|due| (row.lane, row.class, due))))
    }

    /// Holds a message for a reason that isn't an operator's: its content or envelope can't be read.
    pub(super) fn set_aside(
        &mut self,
        id: QueueId,
        reason: &str,
        now: Timestamp,
    ) -> rusqlite::Result<Option<Moved>> {
        let Some(row) = self.row(id)? else { return Ok(None) };
        if row.due.is_none() {
            return Ok(None);
        }
        self.hold_recipients(id, reason, now)?;
        let (lane, open, flags) = (row.lane.clone(), row.open, row.flags);
        self.move_to(id, row, lane, Some(HELD), open, flags, now).map(Some)
    }

    fn hold_recipients(&mut self, id: QueueId, reason: &str, now: Timestamp) -> rusqlite::Result<()> {
        self.connection.execute(
            "UPDATE recipient SET state=2,reply=?2,updated=?3 WHERE message=?1 AND state<=2",
            params![id.to_row(), reason, now.as_millisecond()],
        )?;
        self.tell(id, now, None, Kind::Held, reason)
    }

    #[expect(clippy::too_many_arguments, reason = "the columns that change, side by side")]
    fn move_to(
        &mut self,
        id: QueueId,
        row: Row,
        lane: LaneName,
        due: Option<i64>,
        open: i64,
        flags: i64,
        now: Timestamp,
    ) -> rusqlite::Result<Moved> {
        let done_at = if due.is_none() { Some(now.as_millisecond()) } else { None };
        let number = self.lane_number(&lane)?;
        self.update_message.execute(params![id.to_row(), due, open, flags, done_at, number])?;
        if due.is_none() {
            *self.changes.segments.entry(row.segment).or_default() -= 1;
        }
        let Row { class, size, .. } = row;
        let before = Counted { class, due: row.due, flags: row.flags, open: row.open, size };
        self.count(&row.lane, before, now, -1);
        self.count(&lane, Counted { class, due, flags, open, size }, now, 1);
        Ok(Moved {
            id,
            class: row.class,
            lane,
            from: row.lane,
            due_before: row.due,
            due,
            others: 0,
            expired: false,
        })
    }

    /// Marks messages that may have been delivered, and says why.
    pub(super) fn mark_duplicates(
        &mut self,
        ids: impl IntoIterator<Item = QueueId>,
        why: &str,
        now: Timestamp,
    ) -> rusqlite::Result<()> {
        for id in ids {
            let sql = "UPDATE message SET flags=flags|?2 WHERE id=?1 AND due IS NOT NULL";
            if self.connection.execute(sql, params![id.to_row(), MAYBE_DUPLICATE])? > 0 {
                self.tell(id, now, None, Kind::MaybeDuplicate, why)?;
            }
        }
        Ok(())
    }

    /// The clock fell back by `by` ms to `now`: waits are kept, so due times fall back with it. What was due stays
    /// due; a time that a client asked for (no attempt made yet) is left alone.
    pub(super) fn fall_back(&mut self, now: i64, by: i64) -> rusqlite::Result<usize> {
        self.outbox.fall_back(now, by)?;
        self.connection.execute(
            "UPDATE recipient SET next=max(?1,next-?2) WHERE next>?1 AND message IN
             (SELECT id FROM message INDEXED BY message_due WHERE due IS NOT NULL AND flags&?3)",
            params![now, by, DEFERRED],
        )?;
        self.connection.execute(
            "UPDATE message SET due=max(?1,due-?2) WHERE due>?1 AND due<?3 AND due IS NOT NULL
             AND (flags&?4 OR due<=?1+?2)",
            params![now, by, HELD, DEFERRED],
        )
    }

    /// The oldest message that isn't done.
    pub(super) fn first_open(&self) -> rusqlite::Result<Option<QueueId>> {
        let sql = "SELECT min(id) FROM message INDEXED BY message_due WHERE due IS NOT NULL";
        let first: Option<i64> = self.connection.query_row(sql, (), |row| row.get(0))?;
        Ok(first.map(QueueId::from_row))
    }

    /// Sets a segment's count, or forgets the segment.
    pub(super) fn segment(
        &mut self,
        number: u64,
        live_and_bytes: Option<(i64, u64)>,
    ) -> rusqlite::Result<()> {
        match live_and_bytes {
            Some((live, bytes)) => {
                self.update_segment.execute(params![signed(number), live, signed(bytes)])?
            }
            None => self.delete_segment.execute(params![signed(number)])?,
        };
        Ok(())
    }

    /// Writes the `state` row.
    pub(super) fn remember(&mut self, state: &Remembered) -> rusqlite::Result<()> {
        let ids: Vec<u8> = state.in_flight.iter().flat_map(|(id, _)| id.to_bits().to_le_bytes()).collect();
        let recipients: Vec<u8> =
            state.in_flight.iter().flat_map(|(_, number)| number.to_le_bytes()).collect();
        let (last_id, last_segment) = (state.last_id.to_row(), signed(state.last_segment));
        let Remembered { clean, at, steady, boot, since_boot, .. } = state;
        self.update_state
            .execute(params![clean, at, last_id, last_segment, ids, recipients, steady, boot, since_boot])
            .map(|_| ())
    }

    /// Deletes up to `limit` journal rows of messages received and done before `before` ms; how many there were.
    pub(super) fn prune(&mut self, before: i64, limit: usize) -> rusqlite::Result<usize> {
        let border = Timestamp::from_millisecond(before).map_or(0, |time| QueueId::first_at(time).to_row());
        let mut old = self.connection.prepare(
            "SELECT id FROM message WHERE id<?1 AND due IS NULL AND done_at<?2 ORDER BY id LIMIT ?3",
        )?;
        let ids: Vec<i64> = old
            .query_map(params![border, before, count(limit)], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        for sql in [
            "DELETE FROM message WHERE id=?1",
            "DELETE FROM recipient WHERE message=?1",
            "DELETE FROM event WHERE message=?1",
        ] {
            let mut delete = self.connection.prepare(sql)?;
            for id in &ids {
                delete.execute([id])?;
            }
        }
        for id in &ids {
            self.hold_segment(kept::forget(self.connection, QueueId::from_row(*id))?, -1);
        }
        Ok(ids.len())
    }

    /// Adds a happening to a message's life.
    pub(super) fn tell(
        &mut self,
        id: QueueId,
        at: Timestamp,
        recipient: Option<u32>,
        kind: Kind,
        detail: &str,
    ) -> rusqlite::Result<()> {
        let recipient = recipient.map_or(-1, i64::from);
        self.insert_event
            .execute(params![id.to_row(), at.as_millisecond(), recipient, kind.to_row(), detail])
            .map(|_| ())
    }

    /// Tells what was changed of a message, unless that was told already.
    fn tell_rewritten(&mut self, id: QueueId, at: Timestamp, changes: &[String]) -> rusqlite::Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let detail = changes.join("; ");
        let sql = "SELECT EXISTS(SELECT 1 FROM event WHERE message=?1 AND kind=?2 AND detail=?3)";
        let parameters = params![id.to_row(), Kind::Rewritten.to_row(), detail];
        if self.connection.query_row(sql, parameters, |row| row.get(0))? {
            return Ok(());
        }
        self.tell(id, at, None, Kind::Rewritten, &detail)
    }

    /// Whether an operator released it, which no rule takes back.
    fn was_released(&self, id: QueueId) -> rusqlite::Result<bool> {
        let sql = "SELECT EXISTS(SELECT 1 FROM event WHERE message=?1 AND kind=?2)";
        self.connection
            .prepare_cached(sql)?
            .query_row(params![id.to_row(), Kind::Released.to_row()], |row| row.get(0))
    }

    fn row(&mut self, id: QueueId) -> rusqlite::Result<Option<Row>> {
        let found = self
            .select_message
            .query_row([id.to_row()], |row| {
                let lane: i64 = row.get(0)?;
                let class: u8 = row.get(1)?;
                let class = record::class_from(class).unwrap_or_default();
                let segment: i64 = row.get(5)?;
                Ok((lane, class, row.get(2)?, row.get(3)?, row.get(4)?, unsigned(segment), row.get(6)?))
            })
            .optional()?;
        let Some((lane, class, due, open, flags, segment, size)) = found else { return Ok(None) };
        Ok(Some(Row { lane: self.lane_name(lane)?, class, due, open, flags, segment, size }))
    }

    pub(super) fn lane_number(&mut self, lane: &LaneName) -> rusqlite::Result<i64> {
        if let Some(&number) = self.lanes.get(lane) {
            return Ok(number);
        }
        self.connection.execute("INSERT OR IGNORE INTO lane(name) VALUES(?1)", [lane.as_str()])?;
        let sql = "SELECT number FROM lane WHERE name=?1";
        let number = self.connection.query_row(sql, [lane.as_str()], |row| row.get(0))?;
        self.lanes.insert(lane.clone(), number);
        Ok(number)
    }

    fn lane_name(&mut self, number: i64) -> rusqlite::Result<LaneName> {
        if let Some(name) = self.lane_names.get(&number) {
            return Ok(name.clone());
        }
        let sql = "SELECT name FROM lane WHERE number=?1";
        let name: String = self.connection.query_row(sql, [number], |row| row.get(0))?;
        let name = LaneName::new(&name);
        self.lane_names.insert(number, name.clone());
        Ok(name)
    }
}

/// A part's first `due`.
pub(super) fn first_due(part: &Part) -> i64 {
    if part.held { HELD } else { part.due.as_millisecond() }
}

/// The time that the client asked for; none when it was at once.
pub(super) fn released_at(submission: &Submission, part: &Part) -> Option<Timestamp> {
    Some(part.due).filter(|due| *due > submission.received_at)
}

/// The end of what a route drops.
fn discarded(id: QueueId, part: &Part, at: Timestamp) -> Outcome {
    let reply = Reply::new(250, Some(Enhanced(2, 0, 0)), "discarded by a route");
    let numbers = part.recipients.iter().filter_map(|number| u32::try_from(*number).ok());
    let fates = numbers.map(|number| (number, Fate::Discarded(reply.clone()))).collect();
    Outcome { fates, ..Outcome::of(id, part.lane.clone(), at) }
}

/// A reply as the journal shows it: code and enhanced code, then the lines as they came.
fn reply_text(reply: &Reply) -> String {
    let mut text = reply.code.to_string();
    if let Some(crate::smtp::reply::Enhanced(class, subject, detail)) = reply.enhanced {
        let _ = write!(text, " {class}.{subject}.{detail}");
    }
    for (number, line) in reply.lines.iter().enumerate() {
        text.push(if number == 0 { ' ' } else { '\n' });
        text.push_str(line);
    }
    text.trim_end().to_owned()
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Numbers of ours stay far below 2^63.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The reverse; a negative number in a damaged row becomes 0.
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
