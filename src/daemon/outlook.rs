//! When mail will leave, other ways included: what the queue, which knows limits, and deliveries, which know whether
//! lanes work, say together.

use super::Shared;
use super::control::queue_failure;
use crate::admin::{AdminError, Charged, LaneStatus, Outlook};
use crate::clock::Clock;
use crate::deliver::connections::Lane;
use crate::deliver::fallback::{self, Lanes};
use crate::deliver::guests::{Mail, Needs};
use crate::deliver::outgoing;
use crate::intake::listener::{Detour, Detours, Leaving, Way};
use crate::message::envelope::Class;
use crate::message::fields::HeaderSection;
use crate::queue::entry::in_milliseconds;
use crate::queue::forecast::Place;
use crate::queue::limits::{Mixed, Units};
use crate::queue::{Entry, Filter, LaneName, QueueId, State};
use crate::smtp::address::Address;
use jiff::Timestamp;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Messages of a lane and class that are looked at for when the next one leaves by another.
const FIRST: usize = 20;

/// What intake asks about the lanes.
pub(super) fn detours(lanes: Arc<Mutex<Lanes>>, clock: Clock) -> Detours {
    Arc::new(move |leaving| {
        let lanes = lanes.lock();
        let lane = lanes.get(leaving.part.lane.as_str())?.clone();
        let (due, now) = (leaving.part.due, clock.now());
        let ask = around(&lane, &lanes, leaving, &clock);
        // A reload may come before all of its content has.
        Some(Box::new(move |size_bytes| {
            if lane.is_removed() {
                return Some(Way::Removed);
            }
            if due <= now && !lane.target().smarthost.enabled {
                return Some(Way::SwitchedOff);
            }
            ask.and_then(|ask| ask(size_bytes))
        }))
    })
}

/// The ways around a lane that doesn't work or has no room.
fn around(lane: &Arc<Lane>, lanes: &Lanes, leaving: &Leaving<'_>, clock: &Clock) -> Option<Detour> {
    let Leaving { part, header, sender, smtputf8 } = *leaving;
    let (class, due, units) = (part.class, part.due, Units::message(part.recipients.len() as u64));
    let lane = lane.clone();
    // Its size is told when it is whole.
    let needs = Needs { size_bytes: 0, smtputf8 };
    let mail = Mail { id: None, header, sender, needs, is_notice: false };
    let accepting = fallback::accepting(&lane, lanes, &mail);
    let is_alone = accepting.is_empty();
    let large_enough = move |size_bytes: u64| {
        let needs = Needs { size_bytes, smtputf8 };
        let takes = |other: &Arc<Lane>| other.lack(needs).is_none();
        accepting.into_iter().filter(takes).collect::<Vec<_>>()
    };
    if due > clock.now() {
        return Some(Box::new(move |size_bytes| {
            let accepting = large_enough(size_bytes);
            let later = Later { class, due, more: Units::default(), units };
            let (by, at) = lane.queue().consistently(|| leaves_later(&lane, &accepting, &later))?;
            Some(Way::By(by, at))
        }));
    }
    if is_alone && fallback::next_probe(&lane).is_none() {
        return None;
    }
    let clock = clock.clone();
    let ask: Detour = Box::new(move |size_bytes| {
        let accepting = large_enough(size_bytes);
        lane.queue().consistently(|| {
            // Asked when it was kept: it is among those that wait.
            let ahead = lane.queue().waiting_up_to(lane.name(), class);
            leaves(&lane, &accepting, class, ahead, units, clock.now()).map(|(lane, at)| Way::By(lane, at))
        })
    });
    Some(ask)
}

/// By which lane and when a message leaves, if that isn't its own by the limits alone.
fn leaves(
    lane: &Lane,
    accepting: &[Arc<Lane>],
    class: Class,
    ahead: Mixed,
    mail: Units,
    now: Timestamp,
) -> Option<(LaneName, Timestamp)> {
    fallback::detour(lane, accepting, class, ahead, mail, now).or_else(|| {
        let probe = fallback::next_probe(lane)?;
        let allowed = lane.entries().forecast(class, ahead).unwrap_or(now);
        Some((lane.name().clone(), probe.max(allowed)))
    })
}

/// Mail that is due later.
struct Later {
    class: Class,
    due: Timestamp,
    /// It, where it isn't kept yet.
    more: Units,
    /// It.
    units: Units,
}

/// By which lane and when that leaves, if not by its own when it is due.
fn leaves_later(lane: &Lane, accepting: &[Arc<Lane>], mail: &Later) -> Option<(LaneName, Timestamp)> {
    let Later { class, due, more, units } = *mail;
    let own = lane.queue().forecast_later(lane.name(), class, due, more).unwrap_or(due);
    let own = fallback::next_probe(lane).map_or(own, |probe| probe.max(own));
    let detour = fallback::detour_later(lane, accepting, class, due, own, units);
    detour.or_else(|| (own > due).then(|| (lane.name().clone(), own)))
}

impl Shared {
    /// Counts a test letter that is about to leave through a smarthost.
    pub(super) async fn charge(&self, name: &LaneName) -> Result<Charged, AdminError> {
        let lane = self.lanes.lock().get(name.as_str()).filter(|lane| !lane.is_removed()).cloned();
        let Some(lane) = lane else { return Ok(Charged::Unknown) };
        if self.queue.charge(name).await.map_err(queue_failure)? {
            return Ok(Charged::Counted);
        }
        let next = lane.entries().standings().into_iter().filter_map(|(_, _, next)| next).max();
        Ok(Charged::Spent(next.map(|next| next.to_string())))
    }

    /// How mail would fare in a lane if it came now, by the same rules as the reply to it.
    pub(super) fn outlook(
        &self,
        lane: &LaneName,
        class: Class,
        more: Units,
        accepting: &[LaneName],
        due: Option<Timestamp>,
        needs: Needs,
    ) -> Option<Outlook> {
        let (live, accepting) = {
            let lanes = self.lanes.lock();
            let accepting = accepting.iter().filter_map(|name| lanes.get(name.as_str()).cloned());
            let accepting = accepting.filter(|other| other.lack(needs).is_none());
            (lanes.get(lane.as_str()).cloned()?, accepting.collect::<Vec<_>>())
        };
        let now = self.clock.now();
        self.queue.consistently(|| {
            let has_room = fallback::lets_go_soon(&live, class, more, now);
            let refuses = live.lack(needs).map(str::to_owned);
            if let Some(due) = due.filter(|due| *due > now) {
                let left = leaves_later(&live, &accepting, &Later { class, due, more, units: more });
                let leaves_by = left.as_ref().filter(|(by, _)| by != lane).map(|(by, _)| by.to_string());
                let expected =
                    left.filter(|(_, at)| *at > due).map(|(_, at)| in_milliseconds(at).to_string());
                return Some(Outlook { expected, leaves_by, stuck: None, has_room, refuses });
            }
            let waiting = self.queue.waiting_up_to(lane, class).plus(Mixed::of(class, more));
            let (by, at) = leaves(&live, &accepting, class, waiting, more, now).map_or_else(
                || (lane.clone(), live.entries().forecast(class, waiting)),
                |(by, at)| (by, Some(at).filter(|at| *at > now)),
            );
            Some(Outlook {
                expected: at.map(|at| in_milliseconds(at).to_string()),
                leaves_by: (by != *lane).then(|| by.to_string()),
                stuck: fallback::surplus(&live, class, waiting).map(|surplus| surplus.why),
                has_room,
                refuses,
            })
        })
    }

    /// Puts the time in place of a due time by which a message leaves whose lane can't take it when it is due.
    pub(super) async fn tell_detours(&self, entries: &mut [Entry]) {
        let names: BTreeSet<LaneName> = entries.iter().map(|entry| entry.lane.clone()).collect();
        for name in names {
            let Some(lane) = self.lanes.lock().get(name.as_str()).cloned() else { continue };
            if !lane.target().smarthost.enabled {
                // Nobody knows when it is switched on.
                let here = entries.iter_mut().filter(|entry| entry.lane == name);
                for recipient in here.flat_map(|entry| &mut entry.recipients) {
                    recipient.next_attempt = recipient.next_attempt.filter(|next| *next > self.clock.now());
                }
                continue;
            }
            self.tell_later(&lane, entries).await;
            if !fallback::is_overfull(&lane) {
                continue;
            }
            let here: Vec<&mut Entry> =
                entries.iter_mut().filter(|entry| entry.lane == name && waits(entry)).collect();
            let ids = here.iter().map(|entry| entry.id).collect();
            // Whoever asks gets what is known without it.
            let Ok(places) = self.queue.places(&name, ids).await else { continue };
            for entry in here {
                if places.get(&entry.id).is_some_and(|place| place.ahead.is_none()) {
                    // Not due yet, and told.
                } else if let Some(at) = self.leaves_by_any(&lane, entry, &places).await {
                    for recipient in entry.recipients.iter_mut().filter(|one| one.next_attempt.is_some()) {
                        recipient.next_attempt = Some(at);
                    }
                } else if let Some(probe) = fallback::next_probe(&lane) {
                    let next = entry.recipients.iter_mut().filter_map(|one| one.next_attempt.as_mut());
                    next.for_each(|next| *next = probe.max(*next).max(self.clock.now()));
                }
            }
        }
    }

    /// Puts the time at which they leave in place of the due times of a lane's messages that aren't due yet.
    async fn tell_later(&self, lane: &Lane, entries: &mut [Entry]) {
        let (now, name) = (self.clock.now(), lane.name());
        let here = entries.iter_mut().filter(|entry| entry.lane == *name && waits(entry));
        let later = here.filter_map(|entry| Some((next(entry)?, entry)));
        let later: Vec<(Timestamp, &mut Entry)> = later.filter(|(due, _)| *due > now).collect();
        if later.is_empty() {
            return;
        }
        let asked = later.iter().map(|(due, entry)| (entry.id, entry.class, *due)).collect();
        // Whoever asks gets what is known without it.
        let Ok(by_limits) = self.queue.forecasts_later(name, asked).await else { return };
        let probe = fallback::next_probe(lane);
        let own = |due: Timestamp, entry: &Entry| {
            let own = by_limits.get(&entry.id).map_or(due, |at| due.max(*at));
            probe.map_or(own, |probe| probe.max(own))
        };
        let has_others = !lane.target().smarthost.fallback.is_empty();
        let waiting = later.iter().filter(|(due, entry)| has_others && own(*due, entry) > *due);
        let ids: Vec<QueueId> = waiting.map(|(_, entry)| entry.id).collect();
        let places = if ids.is_empty() { Ok(HashMap::new()) } else { self.queue.places(name, ids).await };
        let places = places.unwrap_or_default();
        for (due, entry) in later {
            let own = own(due, entry);
            let mut at = own;
            if let Some(place) = places.get(&entry.id).filter(|place| place.ahead.is_none()) {
                let accepting = self.accepting(lane, entry, place).await.unwrap_or_default();
                at = self
                    .queue
                    .consistently(|| {
                        fallback::detour_later(lane, &accepting, entry.class, due, own, units(entry))
                    })
                    .map_or(own, |(_, at)| at);
            }
            for next in entry.recipients.iter_mut().filter_map(|one| one.next_attempt.as_mut()) {
                *next = at.max(*next);
            }
        }
    }

    /// The lanes that may stand in for a lane and are not known to refuse a message of it; none if it can't be read.
    async fn accepting(&self, lane: &Lane, entry: &Entry, place: &Place) -> Option<Vec<Arc<Lane>>> {
        let octets = outgoing::header_of(&self.queue, &place.content).await.ok()?;
        let sender = Address::parse(entry.sender.as_bytes(), true).ok();
        let open = entry.recipients.iter().filter(|one| one.next_attempt.is_some());
        let smtputf8 = !entry.sender.is_ascii() || !open.map(|one| &one.address).all(|one| one.is_ascii());
        let mail = Mail {
            id: Some(entry.id),
            header: &HeaderSection::of(&octets),
            sender: sender.as_ref(),
            needs: Needs { size_bytes: entry.size_bytes, smtputf8 },
            is_notice: place.is_notice,
        };
        Some(fallback::accepting(lane, &self.lanes.lock(), &mail))
    }

    /// When the next message of a lane goes, where nothing is due and the limits let none go when it is.
    pub(super) fn next_leaves(&self, name: &LaneName, due: Timestamp) -> Timestamp {
        let lanes = self.lanes.lock();
        let is_alone = |lane: &Arc<Lane>| lane.target().smarthost.fallback.is_empty();
        let is_alone = lanes.get(name.as_str()).is_some_and(is_alone);
        drop(lanes);
        if !is_alone || due <= self.clock.now() {
            return due;
        }
        self.queue.next_later(name).map_or(due, |at| at.max(due))
    }

    /// When a message leaves by whatever lane, if that isn't its own by the limits alone.
    async fn leaves_by_any(
        &self,
        lane: &Lane,
        entry: &Entry,
        places: &HashMap<QueueId, Place>,
    ) -> Option<Timestamp> {
        let place = places.get(&entry.id)?;
        let (now, ahead) = (self.clock.now(), place.ahead?);
        let mut accepting = Vec::new();
        if fallback::surplus(lane, entry.class, ahead).is_some() {
            accepting = self.accepting(lane, entry, place).await?;
        }
        leaves(lane, &accepting, entry.class, ahead, units(entry), now).map(|(_, at)| at)
    }

    /// When all that waits in a lane will have left by it, what is due later included; how fast a lane without limits
    /// is nobody knows, but that it isn't empty before the last message is due.
    pub(super) fn empty_by(
        &self,
        status: &LaneStatus,
        name: &LaneName,
        last_due: Option<Timestamp>,
    ) -> Option<String> {
        if status.state != "flowing" || status.queued + status.deferred == 0 {
            return None;
        }
        let now = self.clock.now();
        let last_due = last_due.filter(|due| *due > now);
        if status.limits.is_empty() {
            return last_due.map(|due| due.to_string());
        }
        let empty = self.queue.empties(name, last_due.unwrap_or(now));
        Some(empty.max(last_due).unwrap_or(now).to_string())
    }

    /// When the next message leaves of lanes that can't take their mail, as far as their first messages tell.
    pub(super) async fn detoured(&self) -> BTreeMap<String, Timestamp> {
        let lanes: Vec<Arc<Lane>> = self.lanes.lock().values().cloned().collect();
        let mut detoured = BTreeMap::new();
        for lane in lanes.iter().filter(|lane| fallback::is_stuck(lane, self.clock.now())) {
            let states = vec![State::Queued, State::Deferred];
            let filter = Filter { lane: Some(lane.name().clone()), states, open: true, ..Filter::default() };
            // What is urgent goes before older mail that isn't.
            let mut first = Vec::new();
            for class in Class::ALL {
                let filter = Filter { class: Some(class), ..filter.clone() };
                first.extend(self.queue.query(filter.clone(), FIRST, None).await.unwrap_or_default());
                // What isn't due yet goes by its time.
                let ids = self.queue.later(lane.name(), class, FIRST).await.unwrap_or_default();
                if !ids.is_empty() {
                    let filter = Filter { ids, ..filter };
                    first.extend(self.queue.query(filter, FIRST, None).await.unwrap_or_default());
                }
            }
            self.tell_detours(&mut first).await;
            let times = first.iter().flat_map(|entry| &entry.recipients).filter_map(|one| one.next_attempt);
            detoured.extend(times.min().map(|at| (lane.name().to_string(), at)));
        }
        detoured
    }
}

/// When the first of its recipients is tried.
fn next(entry: &Entry) -> Option<Timestamp> {
    entry.recipients.iter().filter_map(|one| one.next_attempt).min()
}

/// What of it waits.
fn units(entry: &Entry) -> Units {
    let open = entry.recipients.iter().filter(|one| one.next_attempt.is_some());
    Units::message(open.count() as u64)
}

fn waits(entry: &Entry) -> bool {
    entry.recipients.iter().any(|one| matches!(one.state, State::Queued | State::Deferred))
}
