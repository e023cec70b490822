//! Every statement about forwarding. Nothing here commits by itself.

use super::super::NewEvent;
use super::super::QueueId;
use super::super::outbox::rows::Rows;
use super::super::reader::time;
use super::{
    Arrivals, Change, Probe, Progress, REMEMBERED_MS, SLOT_MS, Silence, Verification, VerificationState,
};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::BTreeMap;

/// The tables; the entry of `MIGRATIONS` that makes them. `next_at` is NULL unless it is being confirmed.
pub(in crate::queue) const SCHEMA: &str = "
CREATE TABLE verification(
  id INTEGER PRIMARY KEY, inbox TEXT NOT NULL, provider TEXT NOT NULL, requested_by TEXT, mailbox TEXT,
  state INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, next_at INTEGER, answer TEXT,
  received_at INTEGER NOT NULL, code TEXT, links TEXT NOT NULL, fingerprint BLOB NOT NULL) STRICT;
CREATE UNIQUE INDEX verification_asked ON verification(inbox, fingerprint);
CREATE INDEX verification_next ON verification(next_at) WHERE next_at IS NOT NULL;
CREATE TABLE arrival(
  mailbox TEXT NOT NULL, slot INTEGER NOT NULL, first_at INTEGER NOT NULL, last_at INTEGER NOT NULL,
  PRIMARY KEY(mailbox, slot)) STRICT, WITHOUT ROWID;
CREATE TABLE silence(mailbox TEXT PRIMARY KEY, since INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE probe(
  token TEXT PRIMARY KEY, mailbox TEXT NOT NULL, message INTEGER NOT NULL, sent_at INTEGER NOT NULL,
  returned_at INTEGER, trace TEXT NOT NULL DEFAULT '[]') STRICT, WITHOUT ROWID;
";

/// When a mailbox's latest silence ended; NULL while it lasts.
pub(in crate::queue) const ENDED: &str = "ALTER TABLE silence ADD COLUMN ended_at INTEGER;";

/// The address that a question came to which is confirmed for its mailbox, or would be if that were there.
pub(in crate::queue) const CAME_TO: &str = "
ALTER TABLE verification ADD COLUMN came_to TEXT;
CREATE INDEX verification_waits ON verification(id) WHERE came_to IS NOT NULL;
";

/// What is wrong with where a probe came back.
pub(in crate::queue) const ASTRAY: &str = "ALTER TABLE probe ADD COLUMN astray TEXT;";

const COLUMNS: &str =
    "id,inbox,provider,requested_by,mailbox,state,attempts,next_at,answer,received_at,code,links,came_to";
/// A probe that didn't come back is forgotten after a week.
const PROBES_MS: i64 = 7 * 24 * 3_600_000;

/// Carries out one change; whether it was news.
pub(in crate::queue) fn change(
    connection: &Connection,
    outbox: &mut Rows<'_>,
    change: &Change,
    now: Timestamp,
) -> rusqlite::Result<bool> {
    match change {
        Change::Ask(question) => ask(connection, question),
        Change::Progress(progress) => went_on(connection, outbox, progress, now),
        Change::Accept { id, mailbox } => accept(connection, *id, mailbox, now),
        Change::Abandon { id, why } => abandon(connection, *id, why),
        Change::Opened(id) => {
            // Whoever was shown it answers it.
            let sql = "UPDATE verification SET state=?2,came_to=NULL WHERE id=?1 AND state IN (?2,?3)";
            let (opened, needed) =
                (number(VerificationState::Opened), number(VerificationState::ActionNeeded));
            Ok(connection.prepare(sql)?.execute(params![id.to_row(), opened, needed])? > 0)
        }
        Change::Arrived { mailbox, at, events } => {
            arrived(connection, mailbox, at.as_millisecond())?;
            heard(connection, outbox, (mailbox, *at, events), now)
        }
        Change::Silent { mailbox, since, events } => {
            let sql = "INSERT INTO silence(mailbox,since) VALUES(?1,?2) ON CONFLICT(mailbox)
                DO UPDATE SET since=excluded.since,ended_at=NULL WHERE ended_at IS NOT NULL";
            let is_news = connection.execute(sql, params![mailbox, since.as_millisecond()])? > 0;
            if is_news {
                outbox.keep(events, now)?;
            }
            Ok(is_news)
        }
        Change::Heard { mailbox, at, events } => heard(connection, outbox, (mailbox, *at, events), now),
        Change::ProbeSent(probe) => {
            let sql = "DELETE FROM probe WHERE sent_at<?1";
            connection.execute(sql, [now.as_millisecond().saturating_sub(PROBES_MS)])?;
            let sql = "INSERT OR IGNORE INTO probe(token,mailbox,message,sent_at) VALUES(?1,?2,?3,?4)";
            let (message, sent_at) = (probe.message.to_row(), probe.sent_at.as_millisecond());
            Ok(connection.execute(sql, params![probe.token, probe.mailbox, message, sent_at])? > 0)
        }
        Change::ProbeReturned { token, at, trace, astray } => {
            let trace = serde_json::to_string(trace).unwrap_or_default();
            let sql = "UPDATE probe SET trace=CASE WHEN returned_at IS NULL THEN ?3 ELSE trace END,
                       astray=CASE WHEN returned_at IS NULL THEN ?4 END,
                       returned_at=ifnull(returned_at,CASE WHEN ?4 IS NULL THEN ?2 END) WHERE token=?1";
            Ok(connection.execute(sql, params![token, at.as_millisecond(), trace, astray])? > 0)
        }
    }
}

fn ask(connection: &Connection, question: &Verification) -> rusqlite::Result<bool> {
    let id = question.id.to_row();
    if connection.prepare("SELECT 1 FROM verification WHERE id=?1")?.exists([id])? {
        // Interpreted again after a crash: whoever must be told may not have been.
        return Ok(true);
    }
    let sql = format!(
        "INSERT OR IGNORE INTO verification({COLUMNS},fingerprint) VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14)"
    );
    let added = connection.execute(
        &sql,
        params![
            id,
            question.inbox,
            question.provider,
            question.requested_by,
            question.mailbox,
            number(question.state),
            question.attempts,
            question.next_attempt.map(Timestamp::as_millisecond),
            question.answer,
            question.received_at.as_millisecond(),
            question.code,
            serde_json::to_string(&question.links).unwrap_or_default(),
            question.came_to,
            question.fingerprint(),
        ],
    )?;
    if question.state == VerificationState::Confirming {
        if added > 0 {
            replace(connection, id)?;
        } else if let (Some(mailbox), Some(next)) = (&question.mailbox, question.next_attempt) {
            // It is known from when its mailbox wasn't there.
            let sql = "SELECT id FROM verification WHERE inbox=?1 AND fingerprint=?2 AND mailbox IS NULL";
            let known: Option<i64> = connection
                .query_row(sql, params![question.inbox, question.fingerprint()], |row| row.get(0))
                .optional()?;
            if let Some(known) = known {
                accept(connection, QueueId::from_row(known), mailbox, next)?;
            }
        }
    }
    Ok(added > 0)
}

/// Of several questions of one account, only this one is still to be confirmed.
fn replace(connection: &Connection, id: i64) -> rusqlite::Result<()> {
    let sql = "UPDATE verification SET state=?1,next_at=NULL,code=NULL,links='[]',came_to=NULL WHERE state=?2 AND id<>?3
               AND (inbox,requested_by)=(SELECT inbox,requested_by FROM verification WHERE id=?3)";
    let (replaced, confirming) = (number(VerificationState::Replaced), number(VerificationState::Confirming));
    connection.execute(sql, params![replaced, confirming, id]).map(|_| ())
}

/// A question that a human would have had to answer, because its mailbox wasn't there, is to be confirmed.
fn accept(connection: &Connection, id: QueueId, mailbox: &str, now: Timestamp) -> rusqlite::Result<bool> {
    let sql = "UPDATE verification SET state=?2,mailbox=?3,next_at=?4,answer=NULL,attempts=0
               WHERE id=?1 AND state=?5 AND mailbox IS NULL";
    let (confirming, needed) =
        (number(VerificationState::Confirming), number(VerificationState::ActionNeeded));
    let accepted =
        connection.execute(sql, params![id.to_row(), confirming, mailbox, now.as_millisecond(), needed])? > 0;
    if accepted {
        replace(connection, id.to_row())?;
    }
    Ok(accepted)
}

/// A question whose mailbox isn't there any more waits for it, as one does whose mailbox never was.
fn abandon(connection: &Connection, id: QueueId, why: &str) -> rusqlite::Result<bool> {
    let sql = "UPDATE verification SET state=?2,mailbox=NULL,next_at=NULL,answer=?3 WHERE id=?1 AND state=?4";
    let (needed, confirming) =
        (number(VerificationState::ActionNeeded), number(VerificationState::Confirming));
    Ok(connection.execute(sql, params![id.to_row(), needed, why, confirming])? > 0)
}

fn went_on(
    connection: &Connection,
    outbox: &mut Rows<'_>,
    progress: &Progress,
    now: Timestamp,
) -> rusqlite::Result<bool> {
    // A link that was used is of no more use to anybody; what is over waits for no mailbox.
    let forgets = progress.state == VerificationState::Confirmed;
    let goes_on = progress.state == VerificationState::Confirming;
    let sql = "UPDATE verification SET state=?2,attempts=?3,next_at=?4,answer=?5,
               code=CASE WHEN ?6 THEN NULL ELSE code END, links=CASE WHEN ?6 THEN '[]' ELSE links END,
               came_to=CASE WHEN ?8 THEN came_to END
               WHERE id=?1 AND state=?7";
    let changed = connection.execute(
        sql,
        params![
            progress.id.to_row(),
            number(progress.state),
            progress.attempts,
            progress.next_attempt.map(Timestamp::as_millisecond),
            progress.answer,
            forgets,
            number(VerificationState::Confirming),
            goes_on,
        ],
    )?;
    if changed > 0 {
        outbox.keep(&progress.events, now)?;
    }
    Ok(changed > 0)
}

fn arrived(connection: &Connection, mailbox: &str, at: i64) -> rusqlite::Result<()> {
    let slot = at.div_euclid(SLOT_MS);
    let sql =
        "UPDATE arrival SET first_at=min(first_at,?3),last_at=max(last_at,?3) WHERE mailbox=?1 AND slot=?2";
    if connection.prepare(sql)?.execute(params![mailbox, slot, at])? == 0 {
        connection.execute("INSERT INTO arrival VALUES(?1,?2,?3,?3)", params![mailbox, slot, at])?;
        let oldest = at.saturating_sub(REMEMBERED_MS).div_euclid(SLOT_MS);
        connection.execute("DELETE FROM arrival WHERE mailbox=?1 AND slot<?2", params![mailbox, oldest])?;
    }
    Ok(())
}

/// Ends a mailbox's silence, and tells; whether there was one.
fn heard(
    connection: &Connection,
    outbox: &mut Rows<'_>,
    (mailbox, at, events): (&str, Timestamp, &[NewEvent]),
    now: Timestamp,
) -> rusqlite::Result<bool> {
    let sql = "UPDATE silence SET ended_at=max(?2,since) WHERE mailbox=?1 AND ended_at IS NULL";
    let was_silent = connection.prepare(sql)?.execute(params![mailbox, at.as_millisecond()])? > 0;
    if was_silent {
        outbox.keep(events, now)?;
    }
    Ok(was_silent)
}

/// Since when a mailbox is silent, if it is.
pub(super) fn silent_since(connection: &Connection, mailbox: &str) -> rusqlite::Result<Option<Timestamp>> {
    let sql = "SELECT since FROM silence WHERE mailbox=?1 AND ended_at IS NULL";
    connection.query_row(sql, [mailbox], |row| Ok(time(row.get(0)?))).optional()
}

pub(super) fn verifications(connection: &Connection, most: i64) -> rusqlite::Result<Vec<Verification>> {
    let sql =
        format!("SELECT * FROM (SELECT {COLUMNS} FROM verification ORDER BY id DESC LIMIT ?1) ORDER BY id");
    connection.prepare(&sql)?.query_map([most], question)?.collect()
}

pub(super) fn confirming(connection: &Connection) -> rusqlite::Result<Vec<Verification>> {
    let sql =
        format!("SELECT {COLUMNS} FROM verification WHERE next_at IS NOT NULL ORDER BY next_at,id LIMIT 100");
    connection.prepare(&sql)?.query_map((), question)?.collect()
}

pub(super) fn waiting(connection: &Connection) -> rusqlite::Result<Vec<Verification>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM verification WHERE came_to IS NOT NULL AND next_at IS NULL ORDER BY id LIMIT 1000"
    );
    connection.prepare(&sql)?.query_map((), question)?.collect()
}

fn question(row: &Row<'_>) -> rusqlite::Result<Verification> {
    let links: String = row.get(11)?;
    let next: Option<i64> = row.get(7)?;
    Ok(Verification {
        id: QueueId::from_row(row.get(0)?),
        inbox: row.get(1)?,
        provider: row.get(2)?,
        requested_by: row.get(3)?,
        mailbox: row.get(4)?,
        state: state(row.get(5)?),
        attempts: row.get(6)?,
        next_attempt: next.map(time),
        answer: row.get(8)?,
        received_at: time(row.get(9)?),
        code: row.get(10)?,
        links: serde_json::from_str(&links).unwrap_or_default(),
        came_to: row.get(12)?,
    })
}

pub(super) fn arrivals(connection: &Connection) -> rusqlite::Result<Vec<Arrivals>> {
    let mut found: BTreeMap<String, Arrivals> = BTreeMap::new();
    let mut rows =
        connection.prepare("SELECT mailbox,first_at,last_at FROM arrival ORDER BY mailbox,slot")?;
    let mut rows = rows.query(())?;
    while let Some(row) = rows.next()? {
        let mailbox: String = row.get(0)?;
        let one = found.entry(mailbox).or_default();
        one.times.push(time(row.get(1)?));
        one.last = one.last.max(Some(time(row.get(2)?)));
    }
    let mut rows = connection.prepare("SELECT mailbox,since,ended_at FROM silence")?;
    let mut rows = rows.query(())?;
    while let Some(row) = rows.next()? {
        let (mailbox, ended_at): (String, Option<i64>) = (row.get(0)?, row.get(2)?);
        let (since, one) = (time(row.get(1)?), found.entry(mailbox).or_default());
        match ended_at {
            Some(ended_at) => one.last_silence = Some(Silence { since, ended_at: time(ended_at) }),
            None => one.silent_since = Some(since),
        }
    }
    Ok(found.into_iter().map(|(mailbox, one)| Arrivals { mailbox, ..one }).collect())
}

pub(super) fn probe(connection: &Connection, token: &str) -> rusqlite::Result<Option<Probe>> {
    let sql = "SELECT token,mailbox,message,sent_at,returned_at,trace,astray FROM probe WHERE token=?1";
    connection
        .query_row(sql, [token], |row| {
            let (returned, trace): (Option<i64>, String) = (row.get(4)?, row.get(5)?);
            Ok(Probe {
                token: row.get(0)?,
                mailbox: row.get(1)?,
                message: QueueId::from_row(row.get(2)?),
                sent_at: time(row.get(3)?),
                returned_at: returned.map(time),
                trace: serde_json::from_str(&trace).unwrap_or_default(),
                astray: row.get(6)?,
            })
        })
        .optional()
}

fn number(state: VerificationState) -> i64 {
    match state {
        VerificationState::Confirming => 0,
        VerificationState::Confirmed => 1,
        VerificationState::ActionNeeded => 2,
        VerificationState::Opened => 3,
        VerificationState::Replaced => 4,
    }
}

fn state(number: i64) -> VerificationState {
    match number {
        0 => VerificationState::Confirming,
        1 => VerificationState::Confirmed,
        3 => VerificationState::Opened,
        4 => VerificationState::Replaced,
        _ => VerificationState::ActionNeeded,
    }
}
