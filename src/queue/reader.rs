//! The reader thread: fills lane windows from the index, on a read-only connection of its own.

use super::index;
use super::lane::{Key, Mark, Ready, Refill};
use super::record;
use super::store::{HELD, MAYBE_DUPLICATE, WARNED, unsigned};
use super::window::Window;
use super::work::{Due, Location, Open};
use super::{Content, LaneName, Notes, QueueId};
use crate::message::envelope::{Body, Class, Envelope, Origin, Recipient};
use crate::smtp::address::Address;
use jiff::Timestamp;
use rusqlite::{Connection, Row, Statement, params};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

/// How long the reader rests when the index can't be read.
const REST: Duration = Duration::from_millis(200);

/// Serves refills until told to stop. `set_aside` hears of rows that can't be read.
pub(super) fn run(path: &Path, refills: &Receiver<Refill>, set_aside: impl Fn(QueueId, &LaneName, &str)) {
    while let Ok(refill) = refills.recv() {
        let Refill::Window { lane, class, .. } = &refill else { return };
        let (lane, class) = (Arc::clone(lane), *class);
        let Ok(connection) = index::open_read_only(path) else {
            std::thread::sleep(REST);
            lane.refill_failed(class);
            continue;
        };
        match serve(&connection, refill, refills, &set_aside) {
            Ok(()) => return,
            Err(error) => {
                tracing::warn!(%error, "queue index could not be read; trying again");
                std::thread::sleep(REST);
                lane.refill_failed(class);
            }
        }
    }
}

/// Serves `first` and what follows; returns when told to stop, or with an error after which the connection is
/// opened anew. Refills that failed were told so, but for the first.
fn serve(
    connection: &Connection,
    first: Refill,
    refills: &Receiver<Refill>,
    set_aside: &impl Fn(QueueId, &LaneName, &str),
) -> rusqlite::Result<()> {
    let mut reads = Reads::prepare(connection)?;
    let mut next = Some(first);
    let mut is_first = true;
    while let Some(Refill::Window { lane, class, from, until, limit }) = next {
        match reads.window(&lane.name, class, from, until, limit) {
            Ok((rows, spoilt, rest)) => {
                for (id, reason) in spoilt {
                    set_aside(id, &lane.name, reason);
                }
                lane.refilled(class, rows, rest);
            }
            Err(error) if is_first => return Err(error),
            Err(_) => lane.refill_failed(class),
        }
        is_first = false;
        next = refills.recv().ok();
    }
    Ok(())
}

/// Claims messages of `lane` that wait since before `cutoff`, whether or not they are due or in its window.
pub(super) fn claim_aged(
    path: &Path,
    lane: &Arc<Window>,
    cutoff: Timestamp,
    unwarned: bool,
    limit: usize,
) -> rusqlite::Result<Vec<Due>> {
    let connection = index::open_read_only(path)?;
    let mut reads = Reads::prepare(&connection)?;
    let ids = reads.aged(lane, cutoff, unwarned, limit)?;
    Ok(reads.claim(lane, ids))
}

/// Claims messages of `lane` whose time was over by `now`, likewise; and when the next one's will be.
pub(super) fn claim_expired(
    path: &Path,
    lane: &Arc<Window>,
    now: Timestamp,
    limit: usize,
) -> rusqlite::Result<(Vec<Due>, Option<Timestamp>)> {
    let connection = index::open_read_only(path)?;
    let mut reads = Reads::prepare(&connection)?;
    let (ids, next) = reads.expired(lane, now, limit)?;
    Ok((reads.claim(lane, ids), next))
}

/// Claims messages of `lane` that are of `home`, likewise. Not those that may have arrived already.
pub(super) fn claim_guests(
    path: &Path,
    lane: &Arc<Window>,
    home: &LaneName,
    due_by: Option<Timestamp>,
    limit: usize,
) -> rusqlite::Result<Vec<Due>> {
    let connection = index::open_read_only(path)?;
    let mut reads = Reads::prepare(&connection)?;
    let ids = reads.guests(&lane.name, home, due_by, limit)?;
    Ok(reads.claim(lane, ids))
}

/// Messages of a class that are due in `lane`, behind those in memory and behind `mark`. Not those that may have arrived
/// already.
pub(super) fn due_behind(
    path: &Path,
    lane: &Arc<Window>,
    class: Class,
    mark: Option<Mark>,
    limit: usize,
) -> rusqlite::Result<Vec<Mark>> {
    let Some(end) = lane.end(class) else { return Ok(Vec::new()) };
    let from = mark.map_or(end, |mark| mark.0.max(end));
    let connection = index::open_read_only(path)?;
    let mut found = connection.prepare(DUE_BEHIND)?;
    let (class, limit) = (record::class_bits(class), i64::try_from(limit).unwrap_or(i64::MAX));
    let until = lane.now().as_millisecond().min(HELD - 1);
    let values = params![lane.name.as_str(), class, from.0, from.1.to_row(), until, MAYBE_DUPLICATE, limit];
    let marks = found.query_map(values, |row| Ok(Mark((row.get(0)?, QueueId::from_row(row.get(1)?)))))?;
    marks.collect()
}

const DUE_BEHIND: &str =
    "SELECT due,id FROM message WHERE lane=(SELECT number FROM lane WHERE name=?1) AND class=?2
    AND due IS NOT NULL AND (due,id)>(?3,?4) AND due<=?5 AND flags&?6=0 ORDER BY due,id LIMIT ?7";

/// Claims these messages of `lane`, as far as they wait and haven't perhaps arrived meanwhile.
pub(super) fn claim_these(path: &Path, lane: &Arc<Window>, ids: Vec<QueueId>) -> rusqlite::Result<Vec<Due>> {
    let connection = index::open_read_only(path)?;
    let claimed = Reads::prepare(&connection)?.claim(lane, ids);
    let (claimed, others): (Vec<Due>, Vec<Due>) = claimed.into_iter().partition(|due| !due.maybe_duplicate);
    for due in others {
        lane.release(due.id);
    }
    Ok(claimed)
}

/// Whether there is any of those.
pub(super) fn has_guests(path: &Path, lane: &LaneName, homes: &[LaneName]) -> rusqlite::Result<bool> {
    let connection = index::open_read_only(path)?;
    let reads = Reads::prepare(&connection)?;
    for home in homes {
        if !reads.guests(lane, home, None, 1)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The statements behind a refill, prepared once.
struct Reads<'c> {
    connection: &'c Connection,
    messages: Statement<'c>,
    recipients: Recipients<'c>,
    after: Statement<'c>,
}

/// The statement behind a message's recipients.
struct Recipients<'c>(Statement<'c>);

type Spoilt = Vec<(QueueId, &'static str)>;

impl<'c> Reads<'c> {
    fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            connection,
            messages: connection.prepare(
                "SELECT id,due,flags,received_at,segment,offset,size,wishes,sender,envid,release_at,expires_at,
                   subject,tag,meta,client,helo,application,(SELECT name FROM lane WHERE number=home) FROM message
                 WHERE lane=(SELECT number FROM lane WHERE name=?1) AND class=?2 AND due IS NOT NULL
                   AND (due,id)>=(?3,?4) AND due<=?5 ORDER BY due,id LIMIT ?6",
            )?,
            recipients: Recipients(connection.prepare(
                "SELECT n,attempts,address,notify,orcpt,updated,next FROM recipient
                 WHERE message=?1 AND state<=1 ORDER BY n",
            )?),
            after: connection.prepare(
                "SELECT due,id FROM message WHERE lane=(SELECT number FROM lane WHERE name=?1) AND class=?2
                   AND due IS NOT NULL AND (due,id)>(?3,?4) AND due<?5 ORDER BY due,id LIMIT 1",
            )?,
        })
    }

    /// Messages of a lane that wait since before `cutoff`, oldest due first; with `unwarned`, only those whose sender
    /// has had no delay notice.
    fn aged(
        &self,
        lane: &Window,
        cutoff: Timestamp,
        unwarned: bool,
        limit: usize,
    ) -> rusqlite::Result<Vec<QueueId>> {
        let flags = if unwarned { WARNED } else { 0 };
        let (cutoff, leapt) = lane.leapt(cutoff);
        let mut found = self.connection.prepare(&format!(
            "SELECT id FROM message WHERE lane=(SELECT number FROM lane WHERE name=?1) AND due IS NOT NULL AND due<?2
               AND id<?3 AND flags&?4=0 AND ifnull(release_at,received_at){leapt}<?6 ORDER BY class,due LIMIT ?5",
        ))?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let (id, ms) = (index::id_border(self.connection, cutoff, lane.now())?, cutoff.as_millisecond());
        let ids =
            found.query_map(params![lane.name.as_str(), HELD, id, flags, limit, ms], |row| row.get(0))?;
        ids.map(|id| Ok(QueueId::from_row(id?))).collect()
    }

    /// Messages of a lane whose time was over by `now`, and when the next one's will be. Held ones wait for an operator.
    fn expired(
        &self,
        lane: &Window,
        now: Timestamp,
        limit: usize,
    ) -> rusqlite::Result<(Vec<QueueId>, Option<Timestamp>)> {
        let (now, leapt) = lane.leapt(now);
        let of_lane =
            "FROM message INDEXED BY message_expires WHERE lane=(SELECT number FROM lane WHERE name=?1)
                       AND expires_at IS NOT NULL AND due IS NOT NULL AND due<?2";
        let values = params![lane.name.as_str(), HELD, now.as_millisecond()];
        // No leap makes a time earlier.
        let come = format!("{of_lane} AND expires_at<=?3 AND expires_at{leapt}");
        let sql = format!("SELECT id {come}<=?3 ORDER BY expires_at LIMIT {limit}");
        let mut found = self.connection.prepare(&sql)?;
        let ids = found.query_map(values, |row| row.get(0).map(QueueId::from_row))?;
        let ids = ids.collect::<rusqlite::Result<_>>()?;
        let of = |sql: &str| self.connection.query_row(sql, values, |row| row.get::<_, Option<i64>>(0));
        let later = of(&format!("SELECT min(expires_at) {of_lane} AND expires_at>?3"))?;
        let leapt = of(&format!("SELECT min(expires_at{leapt}) {come}>?3"))?;
        Ok((ids, later.into_iter().chain(leapt).min().map(time)))
    }

    /// Messages of a lane that are of `home` and may not have arrived, urgent ones first. Held ones wait for an operator.
    fn guests(
        &self,
        lane: &LaneName,
        home: &LaneName,
        due_by: Option<Timestamp>,
        limit: usize,
    ) -> rusqlite::Result<Vec<QueueId>> {
        let last = due_by.map_or(i64::MAX, Timestamp::as_millisecond).min(HELD - 1);
        let mut found = self.connection.prepare_cached(
            "SELECT id FROM message INDEXED BY message_home WHERE lane=(SELECT number FROM lane WHERE name=?1)
               AND home=(SELECT number FROM lane WHERE name=?2) AND home IS NOT NULL AND due IS NOT NULL
               AND due<=?3 AND flags&?4=0 ORDER BY class,id LIMIT ?5",
        )?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let values = params![lane.as_str(), home.as_str(), last, MAYBE_DUPLICATE, limit];
        let ids = found.query_map(values, |row| row.get(0).map(QueueId::from_row))?;
        ids.collect()
    }

    /// Claims these. Claimed first and read then: once claimed, nobody else changes a row behind our back.
    fn claim(&mut self, lane: &Arc<Window>, ids: Vec<QueueId>) -> Vec<Due> {
        let mut claimed = Vec::new();
        for id in ids {
            // An error here must not lose what was claimed before it.
            let Ok(Some(seen)) = self.one(&lane.name, id) else { continue };
            if !lane.claim_one(&seen) {
                continue;
            }
            match self.one(&lane.name, id) {
                Ok(Some(current)) => claimed.push(current.due),
                Ok(None) | Err(_) => lane.release(id),
            }
        }
        claimed
    }

    /// One message that waits; none when it doesn't, or can't be read.
    fn one(&mut self, lane: &LaneName, id: QueueId) -> rusqlite::Result<Option<Ready>> {
        let mut found = self.connection.prepare(
            "SELECT id,due,flags,received_at,segment,offset,size,wishes,sender,envid,release_at,expires_at,
               subject,tag,meta,client,helo,application,(SELECT name FROM lane WHERE number=home),class FROM message
             WHERE id=?1 AND due IS NOT NULL AND due<?2 AND lane=(SELECT number FROM lane WHERE name=?3)",
        )?;
        let mut rows = found.query(params![id.to_row(), HELD, lane.as_str()])?;
        match rows.next()? {
            Some(row) => match record::class_from(row.get(19)?) {
                Some(class) => ready(row, &mut self.recipients, lane, class),
                None => Ok(None),
            },
            None => Ok(None),
        }
    }

    /// Rows from `from` on that are due by `until`, those that can't be read, and the key of the first one behind.
    fn window(
        &mut self,
        lane: &LaneName,
        class: Class,
        from: Key,
        until: i64,
        limit: usize,
    ) -> rusqlite::Result<(Vec<Ready>, Spoilt, Option<Key>)> {
        // One snapshot for all: what is written meanwhile is told to the window by the writer.
        let snapshot = self.connection.unchecked_transaction()?;
        let class_row = record::class_bits(class);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let until = until.min(HELD - 1);
        let (mut rows, mut spoilt, mut last) = (Vec::new(), Vec::new(), (from.0, from.1.to_row() - 1));
        let mut found =
            self.messages.query(params![lane.as_str(), class_row, from.0, from.1.to_row(), until, limit])?;
        while let Some(row) = found.next()? {
            last = (row.get(1)?, row.get(0)?);
            let id = QueueId::from_row(last.1);
            match ready(row, &mut self.recipients, lane, class) {
                Ok(Some(ready)) => rows.push(ready),
                Ok(None) => spoilt.push((id, "an address in the index can't be read")),
                Err(error) if index::is_disk_error(&error) => return Err(error),
                Err(_) => spoilt.push((id, "a row in the index can't be read")),
            }
        }
        let mut after = self.after.query(params![lane.as_str(), class_row, last.0, last.1, HELD])?;
        let rest = match after.next()? {
            Some(row) => Some((row.get(0)?, QueueId::from_row(row.get(1)?))),
            None => None,
        };
        drop((found, after));
        snapshot.commit()?;
        Ok((rows, spoilt, rest))
    }
}

impl Recipients<'_> {
    /// A message's open recipients; none when they aren't what we wrote.
    fn open(&mut self, id: i64) -> rusqlite::Result<Option<(Vec<Recipient>, Vec<Open>)>> {
        let (mut recipients, mut open) = (Vec::new(), Vec::new());
        let mut found = self.0.query([id])?;
        while let Some(row) = found.next()? {
            let address: String = row.get(2)?;
            let Ok(address) = Address::parse(address, true) else { return Ok(None) };
            let (notify, orcpt): (Option<u8>, Option<String>) = (row.get(3)?, row.get(4)?);
            let (attempts, updated, next): (u32, i64, Option<i64>) = (row.get(1)?, row.get(5)?, row.get(6)?);
            recipients.push(Recipient {
                address,
                notify: notify.map(record::notify_from),
                orcpt: orcpt.map(Into::into),
            });
            let tried_at = (attempts > 0).then(|| time(updated));
            open.push(Open { number: row.get(0)?, attempts, tried_at, waits_until: next.map(time) });
        }
        Ok(Some((recipients, open)).filter(|(_, open)| !open.is_empty()))
    }
}

/// A row with its open recipients; none when it isn't what we wrote.
fn ready(
    row: &Row<'_>,
    recipients: &mut Recipients<'_>,
    lane: &LaneName,
    class: Class,
) -> rusqlite::Result<Option<Ready>> {
    let (id, at, flags): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let (segment, offset, length): (i64, i64, i64) = (row.get(4)?, row.get(5)?, row.get(6)?);
    let location =
        Location { segment: unsigned(segment), offset: unsigned(offset), length: unsigned(length) };
    let sender: Option<String> = row.get(8)?;
    let sender = match sender.map(|sender| Address::parse(sender, true)) {
        None => None,
        Some(Ok(sender)) => Some(sender),
        Some(Err(_)) => return Ok(None),
    };
    let envid: Option<String> = row.get(9)?;
    let mut envelope = Envelope {
        sender,
        recipients: Vec::new(),
        body: Body::SevenBit,
        smtputf8: false,
        ret: None,
        envid: envid.map(Into::into),
    };
    record::set_wishes(&mut envelope, row.get(7)?);
    let (release_at, expires_at): (Option<i64>, Option<i64>) = (row.get(10)?, row.get(11)?);
    let home: Option<String> = row.get(18)?;
    let Some((recipients, open)) = recipients.open(id)? else { return Ok(None) };
    envelope.recipients = recipients;
    let due = Due {
        id: QueueId::from_row(id),
        lane: lane.clone(),
        home: home.map(|home| LaneName::new(&home)),
        class,
        envelope: Arc::new(envelope),
        open,
        left: Vec::new(),
        received_at: time(row.get(3)?),
        released_at: time(release_at.unwrap_or(row.get(3)?)),
        expires_at: expires_at.map(time),
        warned: flags & WARNED != 0,
        maybe_duplicate: flags & MAYBE_DUPLICATE != 0,
        origin: Arc::new(origin(row)?),
        notes: Arc::new(notes(row)?),
        size_bytes: location.length,
        content: Content::Stored(QueueId::from_row(id), location),
    };
    Ok(Some(Ready { due, at, location }))
}

fn origin(row: &Row<'_>) -> rusqlite::Result<Origin> {
    let (client, helo): (Option<String>, String) = (row.get(15)?, row.get(16)?);
    let application: Option<String> = row.get(17)?;
    Ok(Origin {
        client: client.and_then(|client| client.parse().ok()),
        helo: helo.into(),
        application: application.map(Into::into),
    })
}

/// What its events echo. Metadata that can't be read is as good as none.
fn notes(row: &Row<'_>) -> rusqlite::Result<Notes> {
    let meta: Option<String> = row.get(14)?;
    let meta = meta.and_then(|meta| serde_json::from_str(&meta).ok()).unwrap_or_default();
    Ok(Notes { subject: row.get(12)?, tag: row.get(13)?, meta, ..Notes::default() })
}

/// A row's milliseconds; those of a damaged row become 1970.
pub(super) fn time(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refill_seeks_and_never_scans() {
        let folder = tempfile::tempdir().unwrap();
        let connection = index::open(&folder.path().join("queue.db")).unwrap();
        let reads = Reads::prepare(&connection).unwrap();
        let behind = connection.prepare(DUE_BEHIND).unwrap();
        for statement in [reads.messages, reads.after, behind] {
            let sql = format!("EXPLAIN QUERY PLAN {}", statement.expanded_sql().unwrap());
            let mut plan = connection.prepare(&sql).unwrap();
            let plan: Vec<String> =
                plan.query_map((), |row| row.get(3)).unwrap().collect::<rusqlite::Result<_>>().unwrap();
            let plan = plan.join("\n");
            assert!(plan.contains("message_due (lane=? AND class=? AND due"), "{plan}");
            assert!(!plan.contains("SCAN") && !plan.contains("B-TREE"), "{plan}");
        }
    }
}
