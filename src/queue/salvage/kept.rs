//! What the old index holds beside mail: kept events, conversations, providers' questions, arrivals.
//!
//! No content file knows any of it, so it is copied row by row, as far as it can be read. Kept events keep name, number and octets, so
//! that what wasn't posted yet is posted as it would have been. Numbers of events never go back: where those that were given out can't
//! be known, they go on from a number that can't have been reached.

use super::super::{LaneName, QueueId};
use super::rows::Table;
use jiff::Timestamp;
use rusqlite::{Connection, params};

/// What is made anew from the content files, taken over otherwise, or let go.
const REBUILT: [&str; 9] =
    ["lane", "message", "recipient", "event", "segment", "state", "sent", "backlog", "kept"];

/// What could be kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// Events that are posted yet.
    pub waiting: u64,
    /// Those of them whose body is gone: they are given up.
    pub bodiless: u64,
    /// Events that were posted or given up before.
    pub closed: u64,
    /// Conversations of mailboxes.
    pub conversations: u64,
    /// Providers' questions whether a mailbox may forward.
    pub verifications: u64,
    /// Mailboxes of which it is known when their mail came.
    pub mailboxes: u64,
    /// What can't be read whole, in words.
    pub damaged: Vec<&'static str>,
    /// The number from which events are counted now, where the numbers that were given out aren't known.
    pub seq_from: Option<i64>,
}

/// Copies what can be copied into a new index. `in_doubt`: the old one may tell an earlier state than the last.
pub(super) fn take_over(
    old: Option<&Connection>,
    new: &Connection,
    endpoints: &[LaneName],
    in_doubt: bool,
    now: Timestamp,
) -> rusqlite::Result<Kept> {
    let (mut kept, mut counters_are_known) = (Kept::default(), old.is_some() && !in_doubt);
    for table in old.map(|_| tables(new)).transpose()?.unwrap_or_default() {
        let Some(table_of_both) = old.map(|old| Table::of_both(old, new, &table)).transpose()?.flatten()
        else {
            // An index of an earlier release.
            continue;
        };
        let beside = match table.as_str() {
            "posting" => Some("posting_body"),
            "posting_body" => Some("posting"),
            _ => None,
        };
        if table_of_both.copy(beside)? {
            counters_are_known &= table != "endpoint";
            let what = in_words(&table);
            if !kept.damaged.contains(&what) {
                kept.damaged.push(what);
            }
        }
    }
    mend_events(new, now)?;
    new.execute_batch(super::super::memory::rows::SENT_BEFORE)?;
    if !counters_are_known {
        kept.seq_from = raise_numbers(new, endpoints, now)?;
    }
    let count = |sql: &str| new.query_row(sql, (), |row| row.get::<_, i64>(0)).map(i64::unsigned_abs);
    kept.waiting = count("SELECT count(*) FROM posting WHERE state=0")?;
    kept.bodiless =
        count("SELECT count(*) FROM posting WHERE state=0 AND id NOT IN (SELECT id FROM posting_body)")?;
    kept.closed = count("SELECT count(*) FROM posting WHERE state>0")?;
    kept.conversations = count("SELECT count(*) FROM memory_conversation")?;
    kept.verifications = count("SELECT count(*) FROM verification")?;
    kept.mailboxes = count("SELECT count(DISTINCT mailbox) FROM arrival")?;
    Ok(kept)
}

/// Tables of the new index that are copied.
fn tables(new: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut rows =
        new.prepare("SELECT name FROM sqlite_master WHERE type='table' AND name NOT LIKE 'sqlite_%'")?;
    let names: Vec<String> = rows.query_map((), |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok(names.into_iter().filter(|name| !REBUILT.contains(&name.as_str())).collect())
}

fn in_words(table: &str) -> &'static str {
    match table {
        "endpoint" => "numbers of events",
        "posting" | "posting_body" => "kept events",
        "verification" => "questions of providers",
        "arrival" | "silence" | "probe" => "arrivals of forwarded mail",
        _ => "conversations and what mailboxes sent",
    }
}

/// Events that belong to nobody go, numbers and counts fit the events there are, and nothing waits for an event that is gone. Changes
/// nothing in what was whole.
fn mend_events(new: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    new.execute_batch(
        "DELETE FROM posting WHERE endpoint NOT IN (SELECT number FROM endpoint);
         DELETE FROM posting_body WHERE id NOT IN (SELECT id FROM posting);
         DELETE FROM posting_body WHERE length(body)<>(SELECT size FROM posting WHERE posting.id=posting_body.id);
         UPDATE endpoint SET
           seq=max(seq,ifnull((SELECT max(seq) FROM posting WHERE endpoint=number),0)),
           waiting=(SELECT count(*) FROM posting WHERE endpoint=number AND state=0),
           failed=(SELECT count(*) FROM posting WHERE endpoint=number AND state=2)",
    )?;
    // As in `Rows::posted`: the oldest open event of a conversation is the one that is due.
    let sql = "UPDATE posting SET due=?1 WHERE state=0 AND due IS NULL AND NOT EXISTS
               (SELECT 1 FROM posting AS before WHERE before.endpoint=posting.endpoint
                AND before.conversation=posting.conversation AND before.state=0 AND before.id<posting.id)";
    new.execute(sql, [now.as_millisecond()]).map(|_| ())
}

/// Milliseconds since 1970 are more than any count of events, and still a whole number in JSON.
fn raise_numbers(new: &Connection, endpoints: &[LaneName], now: Timestamp) -> rusqlite::Result<Option<i64>> {
    for endpoint in endpoints {
        new.execute("INSERT OR IGNORE INTO endpoint(name) VALUES(?1)", [endpoint.as_str()])?;
    }
    let floor = now.as_millisecond();
    new.execute("UPDATE endpoint SET seq=max(seq,?1)", [floor])?;
    let any: bool = new.query_row("SELECT EXISTS(SELECT 1 FROM endpoint)", (), |row| row.get(0))?;
    Ok(any.then(|| floor.saturating_add(1)))
}

/// The largest id that anything copied bears: the next one must be greater.
pub(super) fn last_id(new: &Connection) -> rusqlite::Result<i64> {
    let sql =
        "SELECT max(ifnull((SELECT max(id) FROM posting),0),ifnull((SELECT max(id) FROM verification),0),
               ifnull((SELECT max(message) FROM memory_copy),0),ifnull((SELECT max(message) FROM probe),0))";
    new.query_row(sql, (), |row| row.get(0))
}

/// Whether this message of an inbox was read, and whose it is found: that and its event were one transaction.
pub(super) fn was_read(new: &Connection, id: QueueId) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM memory_copy WHERE message=?1 AND mailbox<>''";
    new.prepare(sql)?.exists(params![id.to_row()])
}
