//! The index file, `state_dir/queue.db`: its schema, how it is opened, and what its errors mean.
//!
//! `message.due` is NULL when a message is done, [`HELD`](super::store::HELD) when it waits for an operator, else the
//! wall-clock time in milliseconds; so the one partial index over it serves claiming, listing and counting of all
//! open messages. Finished rows stay as the journal until they are pruned. Times are milliseconds since 1970.

use super::agenda::Agenda;
use super::ledger::Sent;
use super::limits::Units;
use super::store::{Counts, HELD, unsigned};
use super::{LaneName, QueueError, QueueId};
use crate::clock::Clock;
use crate::inbox::addresses;
use crate::message::envelope::Class;
use jiff::{SignedDuration, Timestamp};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, params};
use rustix::fs::OFlags;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Messages of a class that aren't due and are known by their time at a start.
const AGENDA: i64 = 100_000;
/// Ids further ahead of the clock than this were given out before it was set back.
const AHEAD: SignedDuration = SignedDuration::from_secs(10);
/// `PRAGMA application_id`: "WAYS".
const APPLICATION_ID: u32 = 0x5741_5953;

const SCHEMA: &str = "
CREATE TABLE lane(
  number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,
  queued INTEGER NOT NULL DEFAULT 0, deferred INTEGER NOT NULL DEFAULT 0, held INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE message(
  id INTEGER PRIMARY KEY, lane INTEGER NOT NULL, class INTEGER NOT NULL, due INTEGER,
  open INTEGER NOT NULL, flags INTEGER NOT NULL, received_at INTEGER NOT NULL, done_at INTEGER,
  segment INTEGER NOT NULL, offset INTEGER NOT NULL, size INTEGER NOT NULL, wishes INTEGER NOT NULL,
  sender TEXT, envid TEXT, client TEXT, helo TEXT NOT NULL, application TEXT,
  subject TEXT, tag TEXT, meta TEXT) STRICT;
CREATE INDEX message_due ON message(lane, class, due) WHERE due IS NOT NULL;
CREATE TABLE recipient(
  message INTEGER NOT NULL, n INTEGER NOT NULL, state INTEGER NOT NULL, attempts INTEGER NOT NULL,
  updated INTEGER NOT NULL, address TEXT NOT NULL, notify INTEGER, orcpt TEXT, reply TEXT,
  PRIMARY KEY(message, n)) STRICT, WITHOUT ROWID;
CREATE TABLE event(
  message INTEGER NOT NULL, at INTEGER NOT NULL, recipient INTEGER NOT NULL, kind INTEGER NOT NULL,
  detail TEXT NOT NULL, PRIMARY KEY(message, at, recipient, kind)) STRICT, WITHOUT ROWID;
CREATE TABLE segment(number INTEGER PRIMARY KEY, live INTEGER NOT NULL, bytes INTEGER NOT NULL) STRICT;
CREATE TABLE state(
  one INTEGER PRIMARY KEY CHECK(one = 1), clean INTEGER NOT NULL, at INTEGER NOT NULL, last_id INTEGER NOT NULL,
  last_segment INTEGER NOT NULL, in_flight BLOB NOT NULL) STRICT;
INSERT INTO state VALUES(1, 1, 0, 0, 0, x'');
";

/// What brings an index of version 1, 2, … to the next one. A release's entries never change again.
const MIGRATIONS: &[&str] = &[
    // To 2: what was sent, for limits; open messages and recipients by class, for forecasts; a clock that nobody
    // sets; and how many recipients each message in flight has.
    "
CREATE TABLE sent(
  lane INTEGER NOT NULL, at INTEGER NOT NULL, wall INTEGER NOT NULL,
  messages INTEGER NOT NULL, recipients INTEGER NOT NULL,
  priority_messages INTEGER NOT NULL, priority_recipients INTEGER NOT NULL,
  PRIMARY KEY(lane, at)) STRICT, WITHOUT ROWID;
CREATE TABLE backlog(
  lane INTEGER NOT NULL, class INTEGER NOT NULL, messages INTEGER NOT NULL, recipients INTEGER NOT NULL,
  PRIMARY KEY(lane, class)) STRICT, WITHOUT ROWID;
INSERT INTO backlog SELECT lane, class, count(*), sum(open) FROM message
  WHERE due IS NOT NULL AND due < 9223372036854775807 GROUP BY lane, class;
ALTER TABLE state ADD COLUMN in_flight_recipients BLOB NOT NULL DEFAULT x'';
ALTER TABLE state ADD COLUMN steady INTEGER NOT NULL DEFAULT 0;
ALTER TABLE state ADD COLUMN boot TEXT NOT NULL DEFAULT '';
ALTER TABLE state ADD COLUMN since_boot INTEGER NOT NULL DEFAULT 0;
",
    // To 3: the later time that a client asked for, and the time from which a message is reported instead of tried.
    "
ALTER TABLE message ADD COLUMN release_at INTEGER;
ALTER TABLE message ADD COLUMN expires_at INTEGER;
CREATE INDEX message_expires ON message(lane, expires_at) WHERE expires_at IS NOT NULL AND due IS NOT NULL;
",
    // To 4: kept events.
    super::outbox::rows::SCHEMA,
    // To 5: what is remembered of forwarding.
    super::forwarding::SCHEMA,
    // To 6: what is known for reading forwarded mail.
    super::memory::rows::SCHEMA,
    // To 7: by which addresses others wrote in a conversation.
    super::memory::rows::WROTE,
    // To 8: silences that are over.
    super::forwarding::ENDED,
    // To 9: content that is kept for attachments that events left out.
    super::kept::SCHEMA,
    // To 10: every message that was sent under a Message-ID.
    super::memory::rows::SENT,
    // To 11: until when webhooks asked to be spared.
    super::outbox::rows::ASKED,
    // To 12: questions that wait for a mailbox.
    super::forwarding::CAME_TO,
    // To 13: probes that came back at the wrong place.
    super::forwarding::ASTRAY,
    // To 14: whose message a fallback has.
    "ALTER TABLE message ADD COLUMN home INTEGER;",
    // To 15: when a deferred recipient is tried again, where its message goes on with others before.
    "ALTER TABLE recipient ADD COLUMN next INTEGER;",
    // To 16: what lanes have of others is found when it goes back.
    "CREATE INDEX message_home ON message(lane) WHERE home IS NOT NULL AND due IS NOT NULL;",
    // To 17: leaps of the wall clock that open mail has lived through.
    super::leaps::SCHEMA,
    // To 18: in the order in which it goes.
    "DROP INDEX message_home;
     CREATE INDEX message_home ON message(lane, home, class) WHERE home IS NOT NULL AND due IS NOT NULL;",
];

/// `PRAGMA user_version` of an index that all migrations were made to.
#[expect(clippy::cast_possible_truncation, reason = "there are a few")]
const SCHEMA_VERSION: u32 = 1 + MIGRATIONS.len() as u32;

/// Opens the index for writing, creating it if there is none.
///
/// A file that isn't ours, or is of a newer version, is refused by its first 100 octets, before `SQLite` sees it.
pub(super) fn open(path: &Path) -> Result<Connection, QueueError> {
    let is_new = check_head(path)?;
    let damaged = |error: rusqlite::Error| damage(path, error);
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW,
    )
    .map_err(damaged)?;
    let prepare = || -> rusqlite::Result<()> {
        settle_in(&connection)?;
        // Whoever was killed while creating it left a head, which SQLite takes back when it first looks.
        let is_new = is_new || is_blank(&connection)?;
        if is_new {
            connection.execute_batch(&format!(
                "BEGIN; {SCHEMA} PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version=1; COMMIT;"
            ))?;
        }
        migrate(&connection)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "cache_size", -8192)?;
        connection.pragma_update(None, "wal_autocheckpoint", 4000)?;
        connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
        connection.query_row("SELECT clean FROM state", (), |_| Ok(()))
    };
    prepare().map_err(damaged)?;
    Ok(connection)
}

/// Brings the index to [`SCHEMA_VERSION`], one transaction for each version.
fn migrate(connection: &Connection) -> rusqlite::Result<()> {
    let found: u32 = connection.query_row("PRAGMA user_version", (), |row| row.get(0))?;
    for (migration, version) in MIGRATIONS.iter().zip(2..).filter(|(_, version)| *version > found) {
        connection
            .execute_batch(&format!("BEGIN IMMEDIATE; {migration} PRAGMA user_version={version}; COMMIT;"))?;
    }
    Ok(())
}

fn is_blank(connection: &Connection) -> rusqlite::Result<bool> {
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_master", (), |row| row.get(0))?;
    let application: i64 = connection.query_row("PRAGMA application_id", (), |row| row.get(0))?;
    Ok(tables == 0 && application == 0)
}

/// Opens the index for reading only.
pub(super) fn open_read_only(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW,
    )?;
    settle_in(&connection)?;
    connection.pragma_update(None, "cache_size", -2048)?;
    Ok(connection)
}

/// What every connection has.
fn settle_in(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    // A statement stays as it was prepared, whatever is bound to it: without this, each one with a bound LIMIT is
    // prepared anew each time it runs.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "temp_store", "MEMORY")
}

/// Whether the index has to be created; an error when what stands there isn't ours to write.
fn check_head(path: &Path) -> Result<bool, QueueError> {
    let io = QueueError::io(path);
    // A FIFO in its place isn't waited for, and no link is followed.
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or(0);
    let mut file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
            return file.sync_all().map(|()| true).map_err(QueueError::io(path));
        }
        Err(_) if path.is_symlink() => {
            return Err(QueueError::Kind { path: path.to_owned(), wanted: "regular file" });
        }
        Err(error) => return Err(io(error)),
    };
    if !file.metadata().is_ok_and(|data| data.is_file()) {
        return Err(QueueError::Kind { path: path.to_owned(), wanted: "regular file" });
    }
    let head = first_octets(&mut file).map_err(io)?;
    if head.is_empty() {
        return Ok(true);
    }
    let number = |at: usize| {
        let octets = head.get(at..at + 4).and_then(|octets| octets.try_into().ok());
        octets.map_or(0, u32::from_be_bytes)
    };
    let (version, application) = (number(60), number(68));
    if !head.starts_with(b"SQLite format 3\0") || application != APPLICATION_ID {
        return Err(QueueError::Damaged {
            path: path.to_owned(),
            cause: "not an index of waystation".into(),
        });
    }
    if version > SCHEMA_VERSION {
        return Err(QueueError::Newer { path: path.to_owned(), found: version, known: SCHEMA_VERSION });
    }
    Ok(false)
}

fn first_octets(file: &mut File) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    file.take(100).read_to_end(&mut head)?;
    Ok(head)
}

/// What an error at opening means.
pub(super) fn damage(path: &Path, error: rusqlite::Error) -> QueueError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown) => {
            QueueError::Damaged { path: path.to_owned(), cause: error.to_string() }
        }
        _ => error.into(),
    }
}

/// Whether the disk, not the statement, is to blame for an error.
pub(super) fn is_disk_error(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::OutOfMemory
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
        )
    )
}

/// The one row of `state`: what the last commit knew.
#[derive(Debug)]
pub(super) struct Remembered {
    pub(super) clean: bool,
    pub(super) at: i64,
    pub(super) last_id: QueueId,
    pub(super) last_segment: u64,
    /// Ids, and how many recipients of each.
    pub(super) in_flight: Vec<(QueueId, u32)>,
    /// The moment of the commit, by the clock that nobody sets; 0 in an index that has none yet.
    pub(super) steady: i64,
    /// The start of the machine that `since_boot` counts from.
    pub(super) boot: String,
    pub(super) since_boot: i64,
}

impl Remembered {
    /// Whether the time since boot goes on from what it was then.
    pub(super) fn is_of_this_boot(&self, clock: &Clock) -> bool {
        !self.boot.is_empty() && self.boot == clock.boot()
    }
}

/// Reads the `state` row, with ids no smaller than those in the tables.
pub(super) fn remembered(connection: &Connection) -> rusqlite::Result<Remembered> {
    let largest: Option<i64> = connection.query_row("SELECT max(id) FROM message", (), |row| row.get(0))?;
    let segment: Option<i64> =
        connection.query_row("SELECT max(number) FROM segment", (), |row| row.get(0))?;
    let sql = "SELECT clean,at,last_id,last_segment,in_flight,in_flight_recipients,steady,boot,since_boot FROM state";
    connection.query_row(sql, (), |row| {
        let (ids, recipients): (Vec<u8>, Vec<u8>) = (row.get(4)?, row.get(5)?);
        let ids = ids.as_chunks::<8>().0.iter().map(|bits| QueueId::from_bits(u64::from_le_bytes(*bits)));
        // An index of the first version has no numbers of recipients.
        let recipients = recipients.as_chunks::<4>().0.iter().map(|octets| u32::from_le_bytes(*octets));
        let recipients = recipients.chain(std::iter::repeat(1));
        let last_id: i64 = row.get(2)?;
        let last_segment: i64 = row.get(3)?;
        Ok(Remembered {
            clean: row.get(0)?,
            at: row.get(1)?,
            last_id: QueueId::from_row(last_id.max(largest.unwrap_or(0))),
            last_segment: unsigned(last_segment.max(segment.unwrap_or(0))),
            in_flight: ids.zip(recipients).collect(),
            steady: row.get(6)?,
            boot: row.get(7)?,
            since_boot: row.get(8)?,
        })
    })
}

/// The id below which all is that was accepted before a time. Any is, where ids ran ahead of a clock that was set back.
pub(super) fn id_border(connection: &Connection, time: Timestamp, now: Timestamp) -> rusqlite::Result<i64> {
    let last: i64 = connection.query_row("SELECT last_id FROM state", (), |row| row.get(0))?;
    let ran_ahead = QueueId::from_row(last).time() > now.saturating_add(AHEAD).unwrap_or(Timestamp::MAX);
    Ok(if ran_ahead { i64::MAX } else { QueueId::first_at(time).to_row() })
}

/// Live messages and octets, by segment.
pub(super) fn segment_rows(connection: &Connection) -> rusqlite::Result<HashMap<u64, (i64, u64)>> {
    let mut rows = connection.prepare("SELECT number,live,bytes FROM segment")?;
    let rows = rows.query_map((), |row| {
        let (number, bytes): (i64, i64) = (row.get(0)?, row.get(2)?);
        Ok((unsigned(number), (row.get(1)?, unsigned(bytes))))
    })?;
    rows.collect()
}

/// What waits, by lane.
pub(super) fn totals(connection: &Connection) -> rusqlite::Result<HashMap<LaneName, Counts>> {
    let mut rows = connection.prepare("SELECT name,queued,deferred,held FROM lane")?;
    let rows = rows.query_map((), |row| {
        let (name, queued): (String, i64) = (row.get(0)?, row.get(1)?);
        let (deferred, held) = (row.get(2)?, row.get(3)?);
        Ok((LaneName::new(&name), Counts { queued, deferred, held, ..Counts::default() }))
    })?;
    let mut totals: HashMap<LaneName, Counts> = rows.collect::<rusqlite::Result<_>>()?;
    let mut rows = connection.prepare(
        "SELECT l.name,b.class,b.messages,b.recipients FROM backlog b JOIN lane l ON l.number=b.lane",
    )?;
    let mut rows = rows.query(())?;
    while let Some(row) = rows.next()? {
        let (name, class): (String, u8) = (row.get(0)?, row.get(1)?);
        let counts = totals.entry(LaneName::new(&name)).or_default();
        if let Some(waiting) = counts.waiting.get_mut(usize::from(class)) {
            *waiting = [row.get(2)?, row.get(3)?];
        }
    }
    let mut bytes = connection.prepare(
        "SELECT ifnull(sum(size),0) FROM message
         WHERE lane=(SELECT number FROM lane WHERE name=?1) AND due IS NOT NULL",
    )?;
    for (lane, counts) in totals.iter_mut().filter(|(lane, _)| addresses::of_lane(lane).is_some()) {
        counts.inbox_bytes = bytes.query_row([lane.as_str()], |row| row.get(0))?;
    }
    Ok(totals)
}

/// What isn't due yet, by lane: the next [`AGENDA`] of each class.
pub(super) fn agendas(connection: &Connection, now: i64) -> rusqlite::Result<HashMap<LaneName, Agenda>> {
    let mut lanes = connection.prepare("SELECT number,name FROM lane")?;
    let lanes = lanes.query_map((), |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
    let mut later = connection.prepare(
        "SELECT due,open FROM message WHERE lane=?1 AND class=?2 AND due>?3 AND due<?4 ORDER BY due LIMIT ?5",
    )?;
    let mut agendas: HashMap<LaneName, Agenda> = HashMap::new();
    for lane in lanes {
        let (number, name) = lane?;
        let agenda = agendas.entry(LaneName::new(&name)).or_default();
        for class in Class::ALL {
            let values = params![number, super::record::class_bits(class), now, HELD, AGENDA];
            let mut rows = later.query(values)?;
            while let Some(row) = rows.next()? {
                agenda.note(class, row.get(0)?, [1, row.get(1)?]);
            }
        }
    }
    Ok(agendas)
}

/// When the last message of each lane is due that isn't held.
pub(super) fn last_due(connection: &Connection) -> rusqlite::Result<HashMap<LaneName, Timestamp>> {
    let mut lanes = connection.prepare(
        "SELECT l.name,max((SELECT max(due) FROM message WHERE lane=l.number AND class=c.column1 AND due<?1))
         FROM lane l, (VALUES(0),(1),(2)) c GROUP BY l.number",
    )?;
    let mut rows = lanes.query([HELD])?;
    let mut last = HashMap::new();
    while let Some(row) = rows.next()? {
        let due: Option<i64> = row.get(1)?;
        if let Some(due) = due.and_then(|due| Timestamp::from_millisecond(due).ok()) {
            last.insert(LaneName::new(&row.get::<_, String>(0)?), due);
        }
    }
    Ok(last)
}

/// What was sent, by lane, oldest first.
pub(super) fn sent(connection: &Connection) -> rusqlite::Result<HashMap<LaneName, Vec<Sent>>> {
    let mut rows = connection.prepare(
        "SELECT l.name,s.at,s.wall,s.messages,s.recipients,s.priority_messages,s.priority_recipients
         FROM sent s JOIN lane l ON l.number=s.lane ORDER BY s.lane,s.at",
    )?;
    let mut rows = rows.query(())?;
    let mut sent: HashMap<LaneName, Vec<Sent>> = HashMap::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        let units = |first: usize| -> rusqlite::Result<Units> {
            Ok(Units { messages: unsigned(row.get(first)?), recipients: unsigned(row.get(first + 1)?) })
        };
        let slot = Sent { at: row.get(1)?, wall: row.get(2)?, all: units(3)?, priority: units(5)? };
        sent.entry(LaneName::new(&name)).or_default().push(slot);
    }
    Ok(sent)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tables and columns, in an order of their own.
    fn shape(connection: &Connection) -> Vec<String> {
        let mut tables = connection
            .prepare(
                "SELECT m.name||'.'||c.name FROM sqlite_master m, pragma_table_info(m.name) c ORDER BY 1",
            )
            .unwrap();
        tables.query_map((), |row| row.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap()
    }

    #[test]
    fn an_index_of_the_first_version_is_brought_up_to_date() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("old.db"), folder.path().join("new.db"));
        let connection = Connection::open(&old).unwrap();
        connection.execute_batch(SCHEMA).unwrap();
        connection
            .execute_batch(&format!(
                "PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version=1; INSERT INTO lane(name) VALUES('shop');
                 INSERT INTO message(id,lane,class,due,open,flags,received_at,segment,offset,size,wishes,helo)
                 VALUES(1,1,1,5,3,0,5,1,0,0,0,''),(2,1,1,NULL,0,0,5,1,0,0,0,'')"
            ))
            .unwrap();
        drop(connection);
        let connection = open(&old).unwrap();
        assert_eq!(shape(&connection), shape(&open(&new).unwrap()));
        let backlog = connection.query_row("SELECT lane,class,messages,recipients FROM backlog", (), |row| {
            Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get::<_, i64>(3)?])
        });
        assert_eq!(backlog.unwrap(), [1, 1, 1, 3]);
    }

    #[test]
    fn what_was_sent_is_still_known_after_the_ninth_version() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("old.db");
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch(SCHEMA).unwrap();
        for migration in &MIGRATIONS[..8] {
            connection.execute_batch(migration).unwrap();
        }
        connection
            .execute_batch(&format!(
                "PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version=9;
                 INSERT INTO memory_message VALUES('sol','<1@sol>',7,5,100),('sol','<2@x>',7,NULL,200);"
            ))
            .unwrap();
        drop(connection);
        let connection = open(&path).unwrap();
        let mut rows = connection.prepare("SELECT mailbox,message_id,message,n,at FROM memory_sent").unwrap();
        let rows = rows.query_map((), |row| {
            Ok((row.get(0)?, row.get(1)?, [row.get(2)?, row.get(3)?, row.get::<_, i64>(4)?]))
        });
        let rows: Vec<(String, String, [i64; 3])> = rows.unwrap().map(Result::unwrap).collect();
        assert_eq!(rows, [("sol".to_owned(), "<1@sol>".to_owned(), [5, 0, 100])]);
    }
}
