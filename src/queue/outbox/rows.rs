//! Every statement that changes kept events. Nothing here commits by itself.

use super::super::LaneName;
use super::{Change, Changed, EventId, NewEvent, Pause, PostFate, Posted, Replayed};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Statement, params};
use std::collections::{HashMap, HashSet};

/// `posting.state`: to be posted.
pub(in crate::queue) const WAITING: i64 = 0;
/// Taken by the receiver.
pub(in crate::queue) const DONE: i64 = 1;
/// Given up.
pub(in crate::queue) const FAILED: i64 = 2;
/// Taken, and its body is forgotten.
pub(in crate::queue) const FORGOTTEN: i64 = 3;

/// The tables; the entry of `MIGRATIONS` that makes them.
///
/// `due` is NULL while an earlier event of the conversation is open, and when the event is closed.
pub(in crate::queue) const SCHEMA: &str = "
CREATE TABLE endpoint(
  number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, seq INTEGER NOT NULL DEFAULT 0,
  waiting INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0,
  answer TEXT, answered_at INTEGER, disabled_at INTEGER) STRICT;
CREATE TABLE posting(
  id INTEGER PRIMARY KEY, endpoint INTEGER NOT NULL, seq INTEGER NOT NULL, state INTEGER NOT NULL DEFAULT 0,
  due INTEGER, attempts INTEGER NOT NULL DEFAULT 0, kind TEXT NOT NULL, conversation TEXT,
  content_type TEXT NOT NULL, size INTEGER NOT NULL, created_at INTEGER NOT NULL, tried_at INTEGER,
  closed_at INTEGER, answer TEXT) STRICT;
CREATE INDEX posting_due ON posting(endpoint, due) WHERE due IS NOT NULL;
CREATE INDEX posting_open ON posting(endpoint, conversation, id) WHERE state = 0;
CREATE INDEX posting_closed ON posting(state, closed_at) WHERE state > 0;
CREATE TABLE posting_body(id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
";

/// Until when an endpoint asked to be spared (`Retry-After`); NULL when it never did, or an admin ended it.
pub(in crate::queue) const ASKED: &str = "ALTER TABLE endpoint ADD COLUMN asked_until INTEGER;";

/// Prepared once, used by the writer alone.
pub(in crate::queue) struct Rows<'c> {
    connection: &'c Connection,
    numbers: HashMap<LaneName, i64>,
    /// Endpoints of which something changed in this transaction.
    changed: HashSet<LaneName>,
    insert: Statement<'c>,
    insert_body: Statement<'c>,
    next_seq: Statement<'c>,
    is_known: Statement<'c>,
    has_open: Statement<'c>,
    has_older: Statement<'c>,
    has_due: Statement<'c>,
    put_off: Statement<'c>,
    select: Statement<'c>,
    update: Statement<'c>,
    promote: Statement<'c>,
    count: Statement<'c>,
}

/// A posting as far as changes need it.
struct Row {
    endpoint: i64,
    name: String,
    conversation: Option<String>,
    state: i64,
}

impl<'c> Rows<'c> {
    pub(in crate::queue) fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            connection,
            numbers: HashMap::new(),
            changed: HashSet::new(),
            insert: connection.prepare(
                "INSERT INTO posting(id,endpoint,seq,due,kind,conversation,content_type,size,created_at)
                 VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9)",
            )?,
            insert_body: connection.prepare("INSERT INTO posting_body VALUES(?1,?2)")?,
            next_seq: connection
                .prepare("UPDATE endpoint SET seq=seq+1,waiting=waiting+1 WHERE number=?1 RETURNING seq")?,
            is_known: connection.prepare("SELECT 1 FROM posting WHERE id=?1")?,
            has_open: connection.prepare(
                "SELECT 1 FROM posting WHERE endpoint=?1 AND conversation=?2 AND state=0 AND id<>?3 LIMIT 1",
            )?,
            has_older: connection.prepare(
                "SELECT 1 FROM posting WHERE endpoint=?1 AND conversation=?2 AND state=0 AND id<?3 LIMIT 1",
            )?,
            has_due: connection.prepare(
                "SELECT 1 FROM posting WHERE endpoint=?1 AND conversation=?2 AND state=0 AND due<=?3 LIMIT 1",
            )?,
            put_off: connection.prepare(
                "UPDATE posting SET due=NULL WHERE endpoint=?1 AND conversation=?2 AND state=0 AND due>?3",
            )?,
            select: connection.prepare(
                "SELECT p.endpoint,e.name,p.conversation,p.state
                 FROM posting p JOIN endpoint e ON e.number=p.endpoint WHERE p.id=?1",
            )?,
            update: connection.prepare(
                "UPDATE posting SET state=?2,due=?3,closed_at=?4,attempts=attempts+1,tried_at=?5,answer=?6 WHERE id=?1",
            )?,
            promote: connection.prepare(
                "UPDATE posting SET due=?3 WHERE due IS NULL AND id=(SELECT id FROM posting
                 WHERE endpoint=?1 AND conversation=?2 AND state=0 ORDER BY id LIMIT 1)",
            )?,
            count: connection.prepare(
                "UPDATE endpoint SET waiting=waiting+?2,failed=failed+?3,answer=ifnull(?4,answer),
                 answered_at=ifnull(?5,answered_at) WHERE number=?1",
            )?,
        })
    }

    /// Forgets what a transaction that was taken back had made.
    pub(in crate::queue) fn roll_back(&mut self) {
        self.numbers.clear();
        self.changed.clear();
    }

    /// Endpoints that changed since this was asked last.
    pub(in crate::queue) fn changed(&mut self) -> HashSet<LaneName> {
        std::mem::take(&mut self.changed)
    }

    /// Keeps events. One that is known already was committed by a try whose success went unseen.
    pub(in crate::queue) fn keep(&mut self, events: &[NewEvent], now: Timestamp) -> rusqlite::Result<()> {
        let at = now.as_millisecond();
        for event in events {
            if self.is_known.exists([event.id.to_row()])? {
                continue;
            }
            let endpoint = self.number(&event.endpoint)?;
            let seq: i64 = self.next_seq.query_row([endpoint], |row| row.get(0))?;
            let body = event.octets.numbered(event.id, seq);
            let due = self.due_at(endpoint, event.conversation.as_deref(), event.id, at)?;
            self.insert.execute(params![
                event.id.to_row(),
                endpoint,
                seq,
                due,
                event.kind,
                event.conversation,
                event.content_type,
                i64::try_from(body.len()).unwrap_or(i64::MAX),
                at
            ])?;
            self.insert_body.execute(params![event.id.to_row(), body])?;
            self.changed.insert(event.endpoint.clone());
        }
        Ok(())
    }

    /// Now, unless another event of the conversation is open.
    fn due_at(
        &mut self,
        endpoint: i64,
        conversation: Option<&str>,
        id: EventId,
        now: i64,
    ) -> rusqlite::Result<Option<i64>> {
        let Some(conversation) = conversation else { return Ok(Some(now)) };
        let waits = self.has_open.exists(params![endpoint, conversation, id.to_row()])?;
        Ok((!waits).then_some(now))
    }

    /// Carries out one change.
    pub(in crate::queue) fn change(&mut self, change: &Change, now: Timestamp) -> rusqlite::Result<Changed> {
        let mut changed = Changed::default();
        match change {
            Change::Announce(events, _) => self.keep(events, now)?,
            Change::Posted(posted, _) => self.posted(posted)?,
            Change::Replay(ids, _) => {
                for &id in ids {
                    self.replay(id, now, &mut changed.replayed)?;
                }
                for endpoint in &changed.replayed.endpoints {
                    self.end_pause(endpoint)?;
                }
            }
            Change::Enable(endpoint, pause, _) => {
                let sql = "UPDATE endpoint SET disabled_at=NULL WHERE name=?1 AND disabled_at IS NOT NULL";
                changed.was_disabled = self.connection.execute(sql, [endpoint.as_str()])? > 0;
                if *pause == Pause::Ends {
                    self.end_pause(endpoint.as_str())?;
                }
                self.changed.insert(endpoint.clone());
            }
        }
        Ok(changed)
    }

    fn posted(&mut self, posted: &Posted) -> rusqlite::Result<()> {
        let Some(row) = self.row(posted.id)? else { return Ok(()) };
        if row.state != WAITING {
            return Ok(());
        }
        let at = posted.at.as_millisecond();
        let (state, due, closed, failed) = match posted.fate {
            PostFate::Done => (DONE, None, Some(at), 0),
            PostFate::Failed => (FAILED, None, Some(at), 1),
            PostFate::Later(due) => (WAITING, Some(due.as_millisecond()), None, 0),
            PostFate::Gone => (WAITING, Some(at), None, 0),
        };
        self.update.execute(params![posted.id.to_row(), state, due, closed, at, posted.answer])?;
        let opened = if closed.is_some() { -1 } else { 0 };
        self.count.execute(params![row.endpoint, opened, failed, posted.answer, at])?;
        if let Some(until) = posted.asked {
            let sql = "UPDATE endpoint SET asked_until=max(ifnull(asked_until,0),?2) WHERE number=?1";
            self.connection.execute(sql, params![row.endpoint, until.as_millisecond()])?;
        }
        if posted.fate == PostFate::Gone {
            let sql = "UPDATE endpoint SET disabled_at=?2 WHERE number=?1";
            self.connection.execute(sql, params![row.endpoint, at])?;
        }
        if let Some(conversation) = row.conversation {
            if closed.is_some() {
                self.promote.execute(params![row.endpoint, conversation, at])?;
            } else if self.has_older.exists(params![row.endpoint, conversation, posted.id.to_row()])? {
                // That one was replayed while this one was on its way.
                self.lead(row.endpoint, &conversation, at)?;
            }
        }
        self.changed.insert(LaneName::new(&row.name));
        Ok(())
    }

    fn end_pause(&self, endpoint: &str) -> rusqlite::Result<()> {
        let sql = "UPDATE endpoint SET asked_until=NULL WHERE name=?1 AND asked_until IS NOT NULL";
        self.connection.execute(sql, [endpoint]).map(|_| ())
    }

    fn replay(&mut self, id: EventId, now: Timestamp, told: &mut Replayed) -> rusqlite::Result<()> {
        let Some(row) = self.row(id)? else { return Ok(()) };
        let at = now.as_millisecond();
        if row.state == FORGOTTEN {
            told.forgotten += 1;
            return Ok(());
        }
        if row.state != WAITING {
            let failed = if row.state == FAILED { -1 } else { 0 };
            let none: Option<i64> = None;
            self.count.execute(params![row.endpoint, 1, failed, none, none])?;
        }
        let sql = "UPDATE posting SET state=0,due=CASE WHEN conversation IS NULL THEN ?2 ELSE due END,
                   closed_at=NULL,attempts=0 WHERE id=?1";
        self.connection.execute(sql, params![id.to_row(), at])?;
        if let Some(conversation) = &row.conversation {
            self.lead(row.endpoint, conversation, at)?;
        }
        self.changed.insert(LaneName::new(&row.name));
        told.count += 1;
        told.endpoints.insert(row.name);
        Ok(())
    }

    /// The oldest open event of a conversation goes now, and the others behind it, however far the next attempt of one
    /// of them is; unless one is due already, which may be on its way.
    fn lead(&mut self, endpoint: i64, conversation: &str, now: i64) -> rusqlite::Result<()> {
        if !self.has_due.exists(params![endpoint, conversation, now])? {
            self.put_off.execute(params![endpoint, conversation, now])?;
            self.promote.execute(params![endpoint, conversation, now])?;
        }
        Ok(())
    }

    /// Waits follow a clock that was set back by `by` ms to `now`; see `Writes::fall_back`.
    pub(in crate::queue) fn fall_back(&mut self, now: i64, by: i64) -> rusqlite::Result<()> {
        let sql = "UPDATE posting SET due=max(?1,due-?2) WHERE due>?1 AND due IS NOT NULL";
        self.connection.execute(sql, params![now, by])?;
        let sql = "UPDATE endpoint SET asked_until=max(?1,asked_until-?2) WHERE asked_until>?1";
        self.connection.execute(sql, params![now, by]).map(|_| ())
    }

    /// Forgets up to `limit` bodies of events posted before `posted`, and as many events closed before `closed`.
    pub(in crate::queue) fn prune(&mut self, posted: i64, closed: i64, limit: i64) -> rusqlite::Result<()> {
        let old = "SELECT id FROM posting WHERE state=?1 AND closed_at<?2 LIMIT ?3";
        let mut found = self.connection.prepare(old)?;
        let mut ids = |state: i64, before: i64| -> rusqlite::Result<Vec<i64>> {
            found.query_map(params![state, before, limit], |row| row.get(0))?.collect()
        };
        let forget = ids(DONE, posted.max(closed))?;
        let mut remove = ids(FORGOTTEN, closed)?;
        let failed = ids(FAILED, closed)?;
        let mut body = self.connection.prepare("DELETE FROM posting_body WHERE id=?1")?;
        let mut mark = self.connection.prepare("UPDATE posting SET state=?2 WHERE id=?1")?;
        for id in forget {
            body.execute([id])?;
            mark.execute(params![id, FORGOTTEN])?;
        }
        let mut given_up = self.connection.prepare(
            "UPDATE endpoint SET failed=failed-1 WHERE number=(SELECT endpoint FROM posting WHERE id=?1)",
        )?;
        for &id in &failed {
            given_up.execute([id])?;
            body.execute([id])?;
        }
        remove.extend(failed);
        let mut row = self.connection.prepare("DELETE FROM posting WHERE id=?1")?;
        for id in remove {
            row.execute([id])?;
        }
        Ok(())
    }

    fn row(&mut self, id: EventId) -> rusqlite::Result<Option<Row>> {
        self.select
            .query_row([id.to_row()], |row| {
                let (endpoint, name, conversation) = (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok(Row { endpoint, name, conversation, state: row.get(3)? })
            })
            .optional()
    }

    fn number(&mut self, endpoint: &LaneName) -> rusqlite::Result<i64> {
        if let Some(&number) = self.numbers.get(endpoint) {
            return Ok(number);
        }
        self.connection.execute("INSERT OR IGNORE INTO endpoint(name) VALUES(?1)", [endpoint.as_str()])?;
        let sql = "SELECT number FROM endpoint WHERE name=?1";
        let number = self.connection.query_row(sql, [endpoint.as_str()], |row| row.get(0))?;
        self.numbers.insert(endpoint.clone(), number);
        Ok(number)
    }
}
