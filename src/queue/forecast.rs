//! When messages will go, where the limits of their lane don't let them go when they are due: by what stands before them in
//! the lane.

use super::agenda::SLOT;
use super::entry::{Entry, State};
use super::limits::{Mixed, Units};
use super::record;
use super::store::{HELD, MAYBE_DUPLICATE, unsigned};
use super::work::Location;
use super::{Content, Core, LaneName, QueueError, QueueId, index};
use crate::message::envelope::Class;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// So many messages of a lane are counted one by one; those behind are told the same time as the last of them.
const COUNTED: i64 = 100_000;

/// Puts the expected time in place of a due time that the limits won't keep.
pub(super) fn tell(core: &Core, entries: &mut [Entry]) -> Result<(), QueueError> {
    let now = core.shared.moment();
    let is_due = |entry: &Entry| {
        let waits = |state: State| matches!(state, State::Queued | State::Deferred);
        let due = |time: jiff::Timestamp| time.as_millisecond() <= now.wall;
        entry.recipients.iter().any(|one| waits(one.state) && one.next_attempt.is_some_and(due))
    };
    let lanes: BTreeSet<LaneName> =
        entries.iter().filter(|entry| is_due(entry)).map(|entry| entry.lane.clone()).collect();
    for lane in lanes {
        let window = core.window(&lane);
        if !window.is_limited() {
            continue;
        }
        let (places, last) = places(&index::open_read_only(&core.index)?, &lane, now.wall)?;
        for entry in entries.iter_mut().filter(|entry| entry.lane == lane && is_due(entry)) {
            let before = places.get(&entry.id).copied().unwrap_or(last);
            let Some(expected) = window.forecast(entry.class, before, now) else { continue };
            for recipient in entry.recipients.iter_mut().filter(|one| one.next_attempt.is_some()) {
                recipient.next_attempt = recipient.next_attempt.max(Some(expected));
            }
        }
    }
    Ok(())
}

/// When a message goes that is due later, if its lane's limits don't let it go then: behind what waits and what is due by
/// then. What is due within ten seconds of it counts as before it.
pub(super) fn later(core: &Core, lane: &LaneName, class: Class, due: i64, more: Units) -> Option<Timestamp> {
    joins(core, lane, class, due, Shares::All(more)).pop()?
}

/// The same for messages of a lane that are in the index; those left out that go when they are due.
pub(super) fn all_later(
    core: &Core,
    lane: &LaneName,
    messages: &[(QueueId, Class, Timestamp)],
) -> rusqlite::Result<HashMap<QueueId, Timestamp>> {
    let mut told = HashMap::new();
    if !core.window(lane).is_limited() {
        return Ok(told);
    }
    let mut groups: BTreeMap<(u8, i64), Vec<(QueueId, i64)>> = BTreeMap::new();
    for (id, class, due) in messages {
        let due = due.as_millisecond();
        groups.entry((record::class_bits(*class), due.div_euclid(SLOT))).or_default().push((*id, due));
    }
    let connection = index::open_read_only(&core.index)?;
    let mut rows = connection.prepare(
        "SELECT id,open FROM message WHERE lane=(SELECT number FROM lane WHERE name=?1) AND class=?2
         AND due IS NOT NULL AND due>=?3 AND due<?4 ORDER BY due,id LIMIT ?5",
    )?;
    for ((number, slot), group) in groups {
        let class = record::class_from(number).unwrap_or_default();
        let (mut sums, mut sum) = (HashMap::new(), Units::default());
        let values = rusqlite::params![lane.as_str(), number, slot * SLOT, (slot + 1) * SLOT, COUNTED];
        let mut rows = rows.query(values)?;
        while let Some(row) = rows.next()? {
            sum = sum.plus(Units::message(u64::from(row.get::<_, u32>(1)?)));
            sums.insert(QueueId::from_row(row.get(0)?), sum);
        }
        // One that isn't there is due already, and was told another time.
        let group: Vec<(QueueId, i64, Units)> =
            group.into_iter().filter_map(|(id, due)| Some((id, due, *sums.get(&id)?))).collect();
        let Some(due) = group.iter().map(|(_, due, _)| *due).max() else { continue };
        let shares = group.iter().map(|(_, _, share)| *share).collect();
        let times = joins(core, lane, class, due, Shares::Of(sum, shares));
        told.extend(group.iter().zip(times).filter_map(|((id, ..), at)| Some((*id, at?))));
    }
    Ok(told)
}

/// When the next message goes of a lane where nothing is due, if not when it is due: when the limits let one of its class go.
pub(super) fn next_later(core: &Core, lane: &LaneName) -> Option<Timestamp> {
    let now = core.shared.moment();
    let window = core.window(lane);
    window.next_due().filter(|due| due.as_millisecond() > now.wall)?;
    let mut state = window.state.lock();
    if !state.quota.is_limited() || state.quota.is_shut() {
        return None;
    }
    let firsts = state.classes.iter().enumerate().filter_map(|(index, class)| Some((class.disk?, index)));
    let class = record::class_from(u8::try_from(firsts.min()?.1).ok()?)?;
    let wait = state.quota.wait(class, Mixed::of(class, Units::message(1)), Units::default(), now);
    drop(state);
    rounded_up(now.wall, wait)
}

/// Whose time is asked for of what is due in one slot.
enum Shares {
    /// That of all which is known of up to a class, and so much more.
    All(Units),
    /// That of each share of a class's own, with the sum of it.
    Of(Units, Vec<Units>),
}

/// For shares of what is due in the slot of `due`, when they have gone, if that isn't then.
fn joins(core: &Core, lane: &LaneName, class: Class, due: i64, shares: Shares) -> Vec<Option<Timestamp>> {
    let now = core.shared.moment();
    let window = core.window(lane);
    if !window.is_limited() {
        return Vec::new();
    }
    let mut waiting = core.waiting_up_to(lane, class);
    let before = core.agendas.lock().get_mut(lane).map(|agenda| agenda.before(class, now.wall, due));
    let (mut later, mut within) = before.unwrap_or_default();
    let shares = match shares {
        // What is due so soon counts as due: it is taken out from there.
        Shares::Of(whole, shares) if due.div_euclid(SLOT) <= now.wall.div_euclid(SLOT) => {
            waiting = waiting.minus(Mixed::of(class, whole));
            within = whole;
            shares
        }
        // What is due with it and goes first, because of its class, isn't among its sum.
        Shares::Of(whole, shares) => {
            let first = within.minus(whole);
            shares.into_iter().map(|share| first.plus(share)).collect()
        }
        Shares::All(more) => {
            within = within.plus(more);
            vec![within]
        }
    };
    later.push((due, within));
    for (at, _) in &mut later {
        *at += now.at - now.wall;
    }
    let state = window.state.lock();
    if state.quota.is_shut() {
        return Vec::new();
    }
    let ahead = waiting.minus(state.quota.flying_up_to(class));
    let waits = state.quota.joins(class, ahead, &later, &shares, now);
    drop(state);
    let own = due - now.wall;
    let told = |wait| if wait > own { rounded_up(now.wall, wait) } else { None };
    waits.into_iter().map(told).collect()
}

/// A wait as a time by the wall clock: two clocks are a millisecond apart now and then.
fn rounded_up(wall: i64, wait: i64) -> Option<Timestamp> {
    Timestamp::from_millisecond(wall.saturating_add(wait).saturating_add(9).div_euclid(10) * 10).ok()
}

/// Where a message stands in its lane.
#[derive(Debug, Clone)]
pub struct Place {
    /// What goes before it, itself included; none when it isn't due yet.
    pub ahead: Option<Mixed>,
    /// Its content, on disk.
    pub content: Content,
    /// Whether it is a notice of our own: it has no sender, and came from nobody.
    pub is_notice: bool,
}

/// The places of some messages; those left out that are held, or may have arrived already.
pub(super) fn places_of(
    core: &Core,
    lane: &LaneName,
    ids: &[QueueId],
) -> rusqlite::Result<HashMap<QueueId, Place>> {
    let now = core.shared.moment().wall;
    let connection = index::open_read_only(&core.index)?;
    let (places, last) = places(&connection, lane, now)?;
    let mut row = connection.prepare(
        "SELECT segment,offset,size,sender IS NULL AND client IS NULL AND application IS NULL AND helo='',due<=?2
         FROM message WHERE id=?1 AND due IS NOT NULL AND due<?4 AND flags&?3=0",
    )?;
    let mut found = HashMap::new();
    for id in ids {
        let location = row.query_row([id.to_row(), now, MAYBE_DUPLICATE, HELD], |row| {
            let number = |column: usize| row.get(column).map(unsigned);
            let location = Location { segment: number(0)?, offset: number(1)?, length: number(2)? };
            Ok((location, row.get(3)?, row.get::<_, bool>(4)?))
        });
        if let Some((location, is_notice, is_due)) = location.optional()? {
            let ahead = is_due.then(|| places.get(id).copied().unwrap_or(last));
            found.insert(*id, Place { ahead, content: Content::Stored(*id, location), is_notice });
        }
    }
    Ok(found)
}

/// For each message that is due: what goes before it, itself included; and the same of the last one counted.
fn places(
    connection: &Connection,
    lane: &LaneName,
    now: i64,
) -> rusqlite::Result<(HashMap<QueueId, Mixed>, Mixed)> {
    let mut rows = connection.prepare(
        "SELECT id,open,class FROM message WHERE lane=(SELECT number FROM lane WHERE name=?1)
         AND due IS NOT NULL AND due<=?2 ORDER BY class,due,id LIMIT ?3",
    )?;
    let mut rows = rows.query(rusqlite::params![lane.as_str(), now, COUNTED])?;
    let (mut places, mut sum) = (HashMap::new(), Mixed::default());
    while let Some(row) = rows.next()? {
        let (id, open, class): (i64, u32, u8) = (row.get(0)?, row.get(1)?, row.get(2)?);
        sum = sum
            .plus(Mixed::of(record::class_from(class).unwrap_or_default(), Units::message(u64::from(open))));
        places.insert(QueueId::from_row(id), sum);
    }
    Ok((places, sum))
}
