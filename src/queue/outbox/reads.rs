//! Every question about kept events, on a read-only connection.

use super::super::LaneName;
use super::super::reader::time;
use super::super::store::unsigned;
use super::rows::{DONE, FAILED, FORGOTTEN, WAITING};
use super::{DueEvent, DuePage, EndpointTotals, EventEntry, EventFilter, EventId, EventState};
use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};
use std::collections::HashSet;

/// What is due, and when the next one will be.
const DUE: &str = "SELECT id,kind,content_type,attempts FROM posting
  WHERE endpoint=?1 AND due IS NOT NULL AND due<=?2 ORDER BY due,id LIMIT ?3";
const NEXT: &str =
    "SELECT due FROM posting WHERE endpoint=?1 AND due IS NOT NULL AND due>?2 ORDER BY due LIMIT 1";

/// Octets of bodies that are read with a page, but for the last of them.
const PAGE: usize = 1 << 20;

pub(super) fn due(
    connection: &Connection,
    endpoint: &LaneName,
    now: Timestamp,
    limit: usize,
    claimed: &HashSet<EventId>,
) -> rusqlite::Result<DuePage> {
    let _snapshot = connection.unchecked_transaction()?;
    let sql = "SELECT number,disabled_at IS NOT NULL FROM endpoint WHERE name=?1";
    let mut found = connection.prepare_cached(sql)?;
    let found = found.query_row([endpoint.as_str()], |row| Ok((row.get(0)?, row.get(1)?)));
    let Some((number, disabled)): Option<(i64, bool)> = found.optional()? else {
        return Ok(DuePage::default());
    };
    if disabled {
        return Ok(DuePage { disabled, ..DuePage::default() });
    }
    let now = now.as_millisecond();
    let most = i64::try_from(limit + claimed.len()).unwrap_or(i64::MAX);
    let mut found = connection.prepare_cached(DUE)?;
    let found = found.query_map(params![number, now, most], |row| {
        let (id, kind, content_type) = (EventId::from_row(row.get(0)?), row.get(1)?, row.get(2)?);
        Ok(DueEvent { id, kind, content_type, attempts: row.get(3)?, body: None })
    })?;
    let (mut events, mut room) = (Vec::new(), PAGE);
    for event in found {
        let mut event = event?;
        if claimed.contains(&event.id) || events.len() >= limit {
            continue;
        }
        if room > 0 {
            event.body = body(connection, event.id)?;
            room = room.saturating_sub(event.body.as_ref().map_or(0, Bytes::len));
        }
        events.push(event);
    }
    let mut next = connection.prepare_cached(NEXT)?;
    let next = next.query_row(params![number, now], |row| row.get(0)).optional()?;
    Ok(DuePage { events, next_due: next.map(time), disabled })
}

pub(super) fn body(connection: &Connection, id: EventId) -> rusqlite::Result<Option<Bytes>> {
    let sql = "SELECT body FROM posting_body WHERE id=?1";
    let mut found = connection.prepare_cached(sql)?;
    let body: Option<Vec<u8>> = found.query_row([id.to_row()], |row| row.get(0)).optional()?;
    Ok(body.map(Bytes::from))
}

pub(super) fn list(
    connection: &Connection,
    filter: &EventFilter,
    limit: usize,
    after: Option<EventId>,
) -> rusqlite::Result<Vec<EventEntry>> {
    let mut sql =
        "SELECT p.id,e.name,p.seq,p.kind,p.conversation,p.state,p.created_at,p.attempts,p.due,p.tried_at,
      p.answer,p.content_type,p.size FROM posting p JOIN endpoint e ON e.number=p.endpoint WHERE p.id>?"
            .to_owned();
    let mut values = vec![Value::Integer(after.map_or(-1, EventId::to_row))];
    let marks = |count: usize| vec!["?"; count].join(",");
    if !filter.ids.is_empty() {
        sql += &format!(" AND p.id IN ({})", marks(filter.ids.len()));
        values.extend(filter.ids.iter().map(|id| Value::Integer(id.to_row())));
    }
    if let Some(endpoint) = &filter.endpoint {
        sql += " AND e.name=?";
        values.push(Value::Text(endpoint.clone()));
    }
    if let Some(kind) = &filter.kind {
        sql += " AND p.kind=?";
        values.push(Value::Text(kind.clone()));
    }
    if !filter.states.is_empty() {
        let states: Vec<i64> = filter.states.iter().flat_map(|state| state.to_rows()).copied().collect();
        sql += &format!(" AND p.state IN ({})", marks(states.len()));
        values.extend(states.into_iter().map(Value::Integer));
    }
    sql += " ORDER BY p.id LIMIT ?";
    values.push(Value::Integer(i64::try_from(limit).unwrap_or(i64::MAX)));
    let mut found = connection.prepare(&sql)?;
    found.query_map(params_from_iter(values), entry)?.collect()
}

fn entry(row: &Row<'_>) -> rusqlite::Result<EventEntry> {
    let (due, tried_at): (Option<i64>, Option<i64>) = (row.get(8)?, row.get(9)?);
    Ok(EventEntry {
        id: EventId::from_row(row.get(0)?),
        endpoint: row.get(1)?,
        seq: row.get(2)?,
        kind: row.get(3)?,
        conversation: row.get(4)?,
        state: EventState::from_row(row.get(5)?),
        created_at: time(row.get(6)?),
        attempts: row.get(7)?,
        next_attempt: due.map(time),
        tried_at: tried_at.map(time),
        answer: row.get(10)?,
        content_type: row.get(11)?,
        size_bytes: unsigned(row.get(12)?),
    })
}

/// Until when an endpoint asked to be spared.
pub(super) fn asked_until(
    connection: &Connection,
    endpoint: &LaneName,
) -> rusqlite::Result<Option<Timestamp>> {
    let sql = "SELECT asked_until FROM endpoint WHERE name=?1";
    let found = connection.query_row(sql, [endpoint.as_str()], |row| row.get::<_, Option<i64>>(0));
    Ok(found.optional()?.flatten().map(time))
}

pub(super) fn endpoints(connection: &Connection) -> rusqlite::Result<Vec<EndpointTotals>> {
    let mut found = connection.prepare(
        "SELECT name,seq,waiting,failed,answer,answered_at,disabled_at,
          (SELECT min(id) FROM posting WHERE endpoint=number AND state=0),
          (SELECT min(due) FROM posting WHERE endpoint=number AND due IS NOT NULL)
         FROM endpoint ORDER BY name",
    )?;
    let endpoints = found.query_map((), |row| {
        let name: String = row.get(0)?;
        let when = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(time));
        let oldest: Option<i64> = row.get(7)?;
        Ok(EndpointTotals {
            name: LaneName::new(&name),
            seq: row.get(1)?,
            waiting: unsigned(row.get(2)?),
            failed: unsigned(row.get(3)?),
            oldest: oldest.map(|id| EventId::from_row(id).0.time()),
            next_due: when(8)?,
            answer: row.get(4)?,
            answered_at: when(5)?,
            disabled_at: when(6)?,
        })
    })?;
    endpoints.collect()
}

impl EventState {
    fn from_row(row: i64) -> Self {
        match row {
            DONE | FORGOTTEN => Self::Done,
            FAILED => Self::Failed,
            _ => Self::Waiting,
        }
    }

    fn to_rows(self) -> &'static [i64] {
        match self {
            Self::Waiting => &[WAITING],
            Self::Done => &[DONE, FORGOTTEN],
            Self::Failed => &[FAILED],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_is_found_by_seeking() {
        let folder = tempfile::tempdir().unwrap();
        let connection = super::super::super::index::open(&folder.path().join("queue.db")).unwrap();
        for sql in [DUE, NEXT] {
            let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let count = plan.parameter_count();
            let plan: Vec<String> = plan
                .query_map(params_from_iter(vec![1; count]), |row| row.get(3))
                .unwrap()
                .collect::<rusqlite::Result<_>>()
                .unwrap();
            let plan = plan.join("\n");
            assert!(plan.contains("posting_due (endpoint=? AND due"), "{plan}");
            assert!(!plan.contains("SCAN") && !plan.contains("B-TREE"), "{plan}");
        }
    }
}
