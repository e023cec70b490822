//! Reading the queue and the journal for the operator: filters become SQL, rows become entries.
//!
//! Read-only and on connections of its own, so that a long question never holds the writer up.

use super::entry::{Entry, Filter, Happening, Kind, Life, RecipientEntry, Standing, State};
use super::index;
use super::leaps::LEAPT;
use super::reader::time;
use super::record;
use super::store::{DEFERRED, HELD, MAYBE_DUPLICATE, unsigned};
use super::{LaneName, QueueError, QueueId, pattern};
use crate::message::envelope::Class;
use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};
use std::path::Path;

const COLUMNS: &str = "m.id,m.received_at,l.name,m.class,m.sender,m.size,m.subject,m.tag,m.meta,m.due";

/// Entries that match, oldest first, behind `after`.
pub(super) fn query(
    path: &Path,
    filter: &Filter,
    limit: usize,
    after: Option<QueueId>,
) -> Result<Vec<Entry>, QueueError> {
    let connection = open(path)?;
    let snapshot = connection.unchecked_transaction()?;
    let (sql, values) = select(COLUMNS, filter, limit, after);
    let mut messages = connection.prepare(&sql)?;
    let mut rows = messages.query(params_from_iter(values))?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        entries.push(entry(&connection, row)?);
    }
    drop(rows);
    snapshot.commit()?;
    Ok(entries)
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let connection = index::open_read_only(path)?;
    pattern::teach(&connection)?;
    Ok(connection)
}

/// Messages of a lane and class that are due behind `now`, the next ones first.
pub(super) fn next_later(
    path: &Path,
    lane: &LaneName,
    class: Class,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<QueueId>, QueueError> {
    let connection = open(path)?;
    let mut later = connection.prepare(
        "SELECT id FROM message WHERE lane=(SELECT number FROM lane WHERE name=?1) AND class=?2
           AND due IS NOT NULL AND due>?3 AND due<?4 ORDER BY due LIMIT ?5",
    )?;
    let (class, limit) = (record::class_bits(class), i64::try_from(limit).unwrap_or(i64::MAX));
    let values = params![lane.as_str(), class, now.as_millisecond(), HELD, limit];
    let rows = later.query_map(values, |row| row.get(0).map(QueueId::from_row))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The ids that match.
pub(super) fn ids(path: &Path, filter: &Filter) -> Result<Vec<QueueId>, QueueError> {
    let connection = open(path)?;
    let (sql, values) = select("m.id", filter, usize::MAX, None);
    let mut messages = connection.prepare(&sql)?;
    let rows = messages.query_map(params_from_iter(values), |row| row.get(0).map(QueueId::from_row))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// A message's whole life.
pub(super) fn life(path: &Path, id: QueueId) -> Result<Option<Life>, QueueError> {
    let connection = index::open_read_only(path)?;
    let filter = Filter { ids: vec![id], ..Filter::default() };
    let (sql, values) = select(
        &format!("{COLUMNS},m.client,m.helo,m.application,m.done_at,m.release_at,m.expires_at"),
        &filter,
        1,
        None,
    );
    let life = connection
        .prepare(&sql)?
        .query_row(params_from_iter(values), |row| {
            let done_at: Option<i64> = row.get(13)?;
            Ok(Life {
                entry: entry(&connection, row)?,
                client: row.get(10)?,
                helo: row.get(11)?,
                application: row.get(12)?,
                done_at: done_at.map(time),
                release_at: row.get::<_, Option<i64>>(14)?.map(time),
                expires_at: row.get::<_, Option<i64>>(15)?.map(time),
                standings: standings(&connection, id)?,
                happenings: happenings(&connection, id)?,
            })
        })
        .optional()?;
    Ok(life)
}

fn standings(connection: &Connection, id: QueueId) -> rusqlite::Result<Vec<Standing>> {
    let mut found =
        connection.prepare("SELECT n,address,state,updated FROM recipient WHERE message=?1 ORDER BY n")?;
    let standings = found.query_map([id.to_row()], |row| {
        Ok(Standing {
            recipient: row.get(0)?,
            address: row.get(1)?,
            state: State::from_row(row.get(2)?).unwrap_or(State::Held),
            since: time(row.get(3)?),
        })
    })?;
    standings.collect()
}

fn happenings(connection: &Connection, id: QueueId) -> rusqlite::Result<Vec<Happening>> {
    let mut events = connection
        .prepare("SELECT at,recipient,kind,detail FROM event WHERE message=?1 ORDER BY at,recipient,kind")?;
    let mut rows = events.query([id.to_row()])?;
    let mut happenings = Vec::new();
    while let Some(row) = rows.next()? {
        let (recipient, kind): (i64, i64) = (row.get(1)?, row.get(2)?);
        let Some(kind) = Kind::from_row(kind) else { continue };
        happenings.push(Happening {
            at: time(row.get(0)?),
            recipient: u32::try_from(recipient).ok(),
            kind,
            detail: row.get(3)?,
        });
    }
    Ok(happenings)
}

fn entry(connection: &Connection, row: &Row<'_>) -> rusqlite::Result<Entry> {
    let id: i64 = row.get(0)?;
    let lane: String = row.get(2)?;
    let size: i64 = row.get(5)?;
    let meta: Option<String> = row.get(8)?;
    let due: Option<i64> = row.get(9)?;
    let due = due.filter(|&due| due != HELD).map(time);
    let mut found = connection
        .prepare("SELECT address,state,attempts,reply,next FROM recipient WHERE message=?1 ORDER BY n")?;
    let mut rows = found.query([id])?;
    let mut recipients = Vec::new();
    while let Some(row) = rows.next()? {
        let state = State::from_row(row.get(1)?).unwrap_or(State::Held);
        let waits = matches!(state, State::Queued | State::Deferred);
        let own: Option<i64> = row.get(4)?;
        recipients.push(RecipientEntry {
            address: row.get(0)?,
            state,
            attempts: row.get(2)?,
            next_attempt: due.filter(|_| waits).map(|due| own.map_or(due, |own| due.max(time(own)))),
            reply: row.get(3)?,
        });
    }
    Ok(Entry {
        id: QueueId::from_row(id),
        received_at: time(row.get(1)?),
        lane: LaneName::new(&lane),
        class: record::class_from(row.get(3)?).unwrap_or_default(),
        sender: row.get::<_, Option<String>>(4)?.unwrap_or_default(),
        size_bytes: unsigned(size),
        subject: row.get(6)?,
        tag: row.get(7)?,
        meta: meta.and_then(|meta| serde_json::from_str(&meta).ok()).unwrap_or_default(),
        recipients,
    })
}

/// The statement for a filter, with its values.
fn select(columns: &str, filter: &Filter, limit: usize, after: Option<QueueId>) -> (String, Vec<Value>) {
    let mut conditions = Conditions::default();
    if filter.open {
        conditions.add("m.due IS NOT NULL", []);
    }
    if !filter.ids.is_empty() {
        // Numbers of our own, so that there is no limit on how many.
        let ids: Vec<String> = filter.ids.iter().map(|id| id.to_row().to_string()).collect();
        conditions.add(&format!("m.id IN ({})", ids.join(",")), []);
    }
    if let Some(lane) = &filter.lane {
        conditions.add("m.lane=(SELECT number FROM lane WHERE name=?)", [text(lane.as_str())]);
    }
    if let Some(class) = filter.class {
        conditions.add("m.class=?", [Value::Integer(record::class_bits(class).into())]);
    }
    if let Some(sender) = &filter.sender {
        if sender == "<>" {
            conditions.add("m.sender IS NULL", []);
        } else {
            conditions.add("matches(?,m.sender)", [text(sender)]);
        }
    }
    if let Some(since) = filter.since {
        conditions.add("m.received_at>=?", [Value::Integer(since.as_millisecond())]);
    }
    if let Some(before) = filter.before {
        conditions.add("m.received_at<?", [Value::Integer(before.as_millisecond())]);
    }
    if let Some(by) = filter.wanted_by {
        let values = [Value::Integer(by.as_millisecond()), Value::Integer(DEFERRED)];
        conditions.add("(m.release_at IS NULL OR m.release_at<=? OR m.flags&?)", values);
    }
    if let Some(most) = filter.up_to {
        conditions.add("m.size<=?", [Value::Integer(i64::try_from(most).unwrap_or(i64::MAX))]);
    }
    let removed = vec!["?"; filter.removed.len()].join(",");
    if let Some(over) = filter.over {
        // Where there is no smarthost nothing expires.
        let names = filter.removed.iter().map(|lane| text(lane.as_str()));
        let values = std::iter::once(Value::Integer(over.as_millisecond())).chain(names);
        conditions.add(&format!("m.expires_at+{LEAPT}<=? AND l.name NOT IN ({removed})"), values);
    }
    if let Some(home) = &filter.home {
        let values = [text(home.as_str()), Value::Integer(MAYBE_DUPLICATE)];
        conditions.add("m.home=(SELECT number FROM lane WHERE name=?) AND m.flags&?=0", values);
    }
    if let Some(application) = &filter.application {
        conditions.add("m.application=?", [text(application)]);
    }
    if let Some(tag) = &filter.tag {
        conditions.add("m.tag=?", [text(tag)]);
    }
    let mut recipient = Conditions::default();
    if !filter.states.is_empty() {
        let states: Vec<String> = filter.states.iter().map(|state| state.to_row().to_string()).collect();
        // Queued and deferred are held where there is no smarthost.
        let state = format!("CASE WHEN r.state<2 AND l.name IN ({removed}) THEN 2 ELSE r.state END");
        let names = filter.removed.iter().map(|lane| text(lane.as_str()));
        recipient.add(&format!("{state} IN ({})", states.join(",")), names);
    }
    if let Some(address) = &filter.recipient {
        recipient.add("matches(?,r.address)", [text(address)]);
    }
    if !recipient.sql.is_empty() {
        let sql = format!("EXISTS(SELECT 1 FROM recipient r WHERE r.message=m.id AND {})", recipient.sql);
        conditions.add(&sql, recipient.values);
    }
    if let Some(wanted) = &filter.text {
        let sql = "(has_text(?,m.sender) OR has_text(?,m.subject) OR has_text(?,m.tag) OR m.id=? OR EXISTS(
            SELECT 1 FROM recipient r WHERE r.message=m.id AND (has_text(?,r.address) OR has_text(?,r.reply))))";
        let id = wanted.parse::<QueueId>().map_or(Value::Null, |id| Value::Integer(id.to_row()));
        let wanted = text(wanted);
        let values = [wanted.clone(), wanted.clone(), wanted.clone(), id, wanted.clone(), wanted];
        conditions.add(sql, values);
    }
    if let Some(after) = after {
        conditions.add("m.id>?", [Value::Integer(after.to_row())]);
    }
    // Open messages are few beside a long journal; ids are fewer still.
    let index = if filter.open && filter.ids.is_empty() { "INDEXED BY message_due" } else { "" };
    let condition = if conditions.sql.is_empty() { "1" } else { &conditions.sql };
    let sql = format!(
        "SELECT {columns} FROM message m {index} JOIN lane l ON l.number=m.lane WHERE {condition} ORDER BY m.id LIMIT ?"
    );
    let mut values = conditions.values;
    values.push(Value::Integer(i64::try_from(limit).unwrap_or(i64::MAX)));
    (sql, values)
}

#[derive(Default)]
struct Conditions {
    sql: String,
    values: Vec<Value>,
}

impl Conditions {
    fn add(&mut self, sql: &str, values: impl IntoIterator<Item = Value>) {
        if !self.sql.is_empty() {
            self.sql.push_str(" AND ");
        }
        self.sql.push_str(sql);
        self.values.extend(values);
    }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_journal_answers_every_kind_of_question() {
        let folder = tempfile::tempdir().unwrap();
        let index = folder.path().join("queue.db");
        let _writer = index::open(&index).unwrap();
        let everything = Filter {
            ids: vec![QueueId::from_row(7)],
            lane: Some("shop".into()),
            class: Some(Class::Bulk),
            states: vec![State::Queued, State::Held],
            sender: Some("@a.example".into()),
            recipient: Some("*@b.example".into()),
            since: Some(time(1)),
            before: Some(time(2)),
            wanted_by: Some(time(3)),
            up_to: Some(4),
            application: Some("shop".into()),
            tag: Some("t".into()),
            over: Some(time(3)),
            home: Some("shop".into()),
            text: Some("100%".into()),
            open: true,
            removed: vec!["gone".into(), "lost".into()],
        };
        let null_sender = Filter { open: true, sender: Some("<>".into()), ..Filter::default() };
        for filter in [everything, null_sender, Filter::default()] {
            assert_eq!(query(&index, &filter, 10, Some(QueueId::from_row(1))).unwrap(), []);
            assert_eq!(ids(&index, &filter).unwrap(), []);
        }
        assert_eq!(life(&index, QueueId::from_row(7)).unwrap(), None);
    }
}
