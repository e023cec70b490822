//! The window of a lane: those of its due messages that stand in memory, and the claims on them.
//!
//! Per class, a window holds the messages due earliest; `disk` is a lower bound of everything that isn't in it. So
//! "is there an older backlog on disk?" and "when is the next one due?" are the same question. What comes back and
//! belongs between those in the window is known one by one (`back`) and read by itself; nothing behind it is claimed
//! until that is done. The reader refills a window when it is half empty; what is in the window or claimed already is
//! passed over, and what the writer changed while the reader was reading is remembered in `touched`, so that a stale
//! row never comes back to life.

use super::expiry::Expiry;
use super::lane::{Claim, FIRST, Key, Ready, Refill, Shared};
use super::ledger::Moment;
use super::limits::Units;
use super::quota::Quota;
use super::work::Due;
use super::{Content, LaneName, QueueId};
use crate::message::envelope::Class;
use jiff::Timestamp;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::Notify;

/// Recipients in a window, as a multiple of its messages.
const RECIPIENTS: usize = 8;
/// So many that came back are known one by one. Beyond that they go with what is read from disk in its time.
const BACK: usize = 256;
/// The clock is looked at anew at least so often, in case somebody set it.
const LONGEST_SLEEP: Duration = Duration::from_mins(1);

#[derive(Debug, Default)]
pub(super) struct ClassWindow {
    pub(super) ready: BTreeMap<Key, Ready>,
    recipients: usize,
    /// A lower bound of what is due but not here, what is in `back` left out.
    pub(super) disk: Option<Key>,
    /// On disk, and due before something that is here.
    pub(super) back: BTreeSet<Key>,
    pub(super) reading: Option<Reading>,
}

/// What happened while the reader reads.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// The one of `back` that is read; none for a refill.
    back: Option<Key>,
    touched: HashSet<QueueId>,
    /// What was put on disk, as far as it is known one by one, and a lower bound of the rest.
    added: BTreeSet<Key>,
    behind: Option<Key>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) classes: [ClassWindow; 3],
    pub(super) claims: HashMap<QueueId, Claim>,
    /// How many messages may be claimed ahead of who asks for them.
    pub(super) wanted: usize,
    /// Claimed, and not committed yet.
    pub(super) starting: Vec<Due>,
    /// Claimed, committed, and not handed out yet: by class.
    pub(super) started: [VecDeque<Due>; 3],
    pub(super) quota: Quota,
    /// Claimed when nothing else is due.
    pub(super) spared: HashSet<QueueId>,
    /// How often the rules changed.
    pub(super) generation: u64,
}

/// A lane's window.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) name: LaneName,
    pub(super) shared: Arc<Shared>,
    pub(super) state: Mutex<State>,
    pub(super) changed: Notify,
    pub(super) expiry: Expiry,
}

impl Window {
    /// A lane's window; `backlog` when there may be messages of it on disk.
    pub(super) fn new(name: LaneName, shared: Arc<Shared>, backlog: bool) -> Arc<Self> {
        shared.lanes.fetch_add(1, Ordering::Relaxed);
        let mut state = State::default();
        if backlog {
            for class in &mut state.classes {
                class.disk = Some(FIRST);
            }
        }
        let expiry = Expiry::new(!backlog);
        Arc::new(Self { name, shared, state: Mutex::new(state), changed: Notify::new(), expiry })
    }

    pub(super) fn claim(self: &Arc<Self>, room: usize, ahead: usize) -> Vec<Due> {
        let mut claimed = Vec::new();
        let mut state = self.state.lock();
        for class in &mut state.started {
            let some = class.len().min(room - claimed.len());
            claimed.extend(class.drain(..some));
        }
        state.wanted = ahead;
        self.refill(&mut state, self.shared.clock.now().as_millisecond());
        // With half of it still at hand the next commit will do, whatever it is for.
        let hungry =
            2 * state.hunger() >= ahead.max(1) && state.classes.iter().any(|class| !class.ready.is_empty());
        drop(state);
        if hungry {
            self.shared.want_starts();
        }
        claimed
    }

    /// Claims this one message, wherever it is; false when it is claimed already.
    pub(super) fn claim_one(&self, seen: &Ready) -> bool {
        let (id, class) = (seen.due.id, seen.due.class);
        let mut state = self.state.lock();
        if state.claims.contains_key(&id) {
            return false;
        }
        let window = state.class(class);
        if let Some(ready) = window.take((seen.at, id)) {
            self.shared.gave_up(&ready);
        }
        let generation = state.generation;
        state.claims.insert(id, Claim { at: seen.at, class, units: Units::default(), generation });
        true
    }

    pub(super) fn claim_stuck(
        self: &Arc<Self>,
        classes: &[Class],
        room: usize,
        wanted: impl Fn(&Due) -> bool,
    ) -> Vec<Due> {
        let mut claimed = Vec::new();
        let mut state = self.state.lock();
        self.refill(&mut state, self.shared.clock.now().as_millisecond());
        for &class in classes {
            let window = state.class(class);
            let keys: Vec<Key> = window
                .ready
                .iter()
                .filter(|(_, ready)| !ready.due.maybe_duplicate && wanted(&ready.due))
                .map(|(key, _)| *key)
                .take(room - claimed.len())
                .collect();
            for key in keys {
                let Some(ready) = state.class(class).take(key) else { continue };
                self.shared.gave_up(&ready);
                let generation = state.generation;
                let claim = Claim { at: ready.at, class, units: Units::default(), generation };
                state.claims.insert(ready.due.id, claim);
                claimed.push(ready.due);
            }
        }
        claimed
    }

    /// The last one here of a class that has more on disk, due, which isn't read as long as this much is here.
    pub(super) fn end(&self, class: Class) -> Option<Key> {
        let now = self.shared.clock.now().as_millisecond();
        let mut state = self.state.lock();
        let window = state.class(class);
        let is_left = window.disk.is_some_and(|(due, _)| due <= now);
        let stays_there = is_left && !window.is_half_empty(self.shared.capacity(class));
        window.ready.last_key_value().filter(|_| stays_there).map(|(key, _)| *key)
    }

    /// Gives a claim back: the message is read from disk when its turn comes.
    pub(super) fn release(self: &Arc<Self>, id: QueueId) {
        let mut state = self.state.lock();
        state.give_back(id);
        drop(state);
        self.shared.claims_ended();
        self.changed.notify_waiters();
    }

    pub(super) async fn wait(self: &Arc<Self>) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let now = self.shared.clock.now();
            let wait = {
                let mut state = self.state.lock();
                if state.started.iter().any(|class| !class.is_empty()) {
                    return;
                }
                let allowed = state.wait_for_limits(self.shared.moment());
                match (allowed, state.wanted) {
                    (Some(0), 0) => return,
                    (Some(0), _) => self.shared.want_starts(),
                    _ => {}
                }
                self.refill(&mut state, now.as_millisecond());
                let reading = state.classes.iter().filter(|class| class.reading.is_none());
                let due = reading.filter_map(|class| class.disk).min();
                let due = due.map(|(due, _)| due.saturating_sub(now.as_millisecond()).max(1));
                due.into_iter().chain(allowed.filter(|wait| *wait > 0)).min()
            };
            let sleep = wait.map_or(LONGEST_SLEEP, |wait| {
                Duration::from_millis(u64::try_from(wait).unwrap_or(1)).min(LONGEST_SLEEP)
            });
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    pub(super) fn next_due(&self) -> Option<Timestamp> {
        let state = self.state.lock();
        let first = |class: &ClassWindow| {
            let ready = class.ready.first_key_value().map(|(key, _)| *key);
            ready.into_iter().chain(class.disk).chain(class.back.first().copied()).min()
        };
        let claimed = state.starting.iter().chain(state.started.iter().flatten());
        let claimed = claimed.map(|due| state.claims.get(&due.id).map_or(i64::MIN, |claim| claim.at)).min();
        let due = state.classes.iter().filter_map(first).map(|(due, _)| due).chain(claimed).min()?;
        let now = || self.shared.clock.now();
        Some(if due == i64::MIN { now() } else { Timestamp::from_millisecond(due).unwrap_or_else(|_| now()) })
    }

    /// Asks the reader for what came back, and for more where a window is less than half full and the disk has something
    /// due.
    pub(super) fn refill(self: &Arc<Self>, state: &mut State, now: i64) {
        for (class, window) in Class::ALL.into_iter().zip(&mut state.classes) {
            if let (None, Some(&from)) = (&window.reading, window.back.first()) {
                window.reading = Some(Reading { back: Some(from), ..Reading::default() });
                let (lane, until) = (Arc::clone(self), now.max(from.0));
                let _ = self.shared.refills.send(Refill::Window { lane, class, from, until, limit: 1 });
                continue;
            }
            let capacity = self.shared.capacity(class);
            let Some(from) = window.disk else { continue };
            if from.0 > now || window.reading.is_some() || !window.is_half_empty(capacity) {
                continue;
            }
            window.reading = Some(Reading::default());
            let limit = capacity - window.ready.len();
            let request = Refill::Window { lane: Arc::clone(self), class, from, until: now, limit };
            // A reader that is gone means that the queue is being closed.
            let _ = self.shared.refills.send(request);
        }
    }

    /// The reader's answer: rows in order, and a lower bound of everything behind them.
    pub(super) fn refilled(self: &Arc<Self>, class: Class, rows: Vec<Ready>, rest: Option<Key>) {
        let mut state = self.state.lock();
        let capacity = self.shared.capacity(class);
        let State { classes, claims, .. } = &mut *state;
        let Some(window) = classes.get_mut(index(class)) else { return };
        let Some(reading) = window.reading.take() else { return };
        match reading.back {
            // What became of it meanwhile is on disk: it is read again.
            Some(back) if reading.touched.contains(&back.1) => {}
            Some(back) => _ = window.back.remove(&back),
            None => window.disk = rest.into_iter().chain(reading.behind).min(),
        }
        let rows =
            rows.into_iter().filter(|ready| reading.back.is_none_or(|back| back == (ready.at, ready.due.id)));
        for ready in rows {
            let key = (ready.at, ready.due.id);
            if reading.touched.contains(&key.1)
                || claims.contains_key(&key.1)
                || window.ready.contains_key(&key)
            {
                continue;
            }
            if window.has_room(capacity) || reading.back.is_some() {
                window.recipients += ready.due.open.len();
                window.ready.insert(key, ready);
            } else {
                window.on_disk(key);
            }
        }
        if reading.back.is_none() {
            for key in reading.added {
                window.on_disk(key);
            }
        }
        if !window.back.is_empty() {
            // Of a lane that stands still nobody else asks for the next one.
            self.refill(&mut state, self.shared.clock.now().as_millisecond());
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// The reader couldn't: `from` still stands, and whoever waits asks again.
    pub(super) fn refill_failed(&self, class: Class) {
        if let Some(window) = self.state.lock().classes.get_mut(index(class)) {
            window.reading = None;
        }
        self.changed.notify_waiters();
    }

    /// A message was committed just now. It goes to the window with its content if it is due, there is room and
    /// nothing older waits on disk; else its row is enough.
    pub(super) fn fresh(&self, mut ready: Ready) {
        if let Some(time) = ready.due.expires_at {
            self.expiry.at(time);
        }
        let mut state = self.state.lock();
        if state.claims.contains_key(&ready.due.id) {
            // It was claimed with the commit that kept it.
            return state.starting.push(ready.due);
        }
        let now = self.shared.clock.now().as_millisecond();
        let capacity = self.shared.capacity(ready.due.class);
        let hungry = state.hunger() > 0;
        let window = state.class(ready.due.class);
        let key = (ready.at, ready.due.id);
        if key.0 > now || window.disk.is_some_and(|disk| disk < key) || !window.has_room(capacity) {
            window.on_disk(key);
        } else if !window.ready.contains_key(&key) {
            if let Content::Memory(held) = &ready.due.content {
                let octets = held.octets.len() as u64;
                let limit = self.shared.content_limit.load(Ordering::Relaxed);
                if self.shared.content.fetch_add(octets, Ordering::Relaxed) + octets > limit {
                    self.shared.content.fetch_sub(octets, Ordering::Relaxed);
                    ready.due.content = Content::Stored(ready.due.id, ready.location);
                }
            }
            window.recipients += ready.due.open.len();
            window.ready.insert(key, ready);
            if hungry {
                self.shared.want_starts();
            }
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// A claimed message was settled: it is due at `due`, or done, or held. What the smarthost `took` counts from now
    /// on as sent.
    pub(super) fn settled(&self, id: QueueId, class: Class, due: Option<i64>, took: Units, now: Moment) {
        let mut state = self.state.lock();
        let claimed = state.end_claim(id).map_or(class, |claim| claim.class);
        state.quota.record(now, took, claimed);
        let window = state.class(class);
        window.touch(id);
        if let Some(due) = due.filter(|&due| due != super::store::HELD) {
            window.on_disk((due, id));
        }
        drop(state);
        self.shared.claims_ended();
        self.changed.notify_waiters();
    }

    /// An operator took a message out of this lane, or changed when it is due; whether it is being delivered.
    pub(super) fn taken_away(&self, id: QueueId, class: Class, due_before: Option<i64>) -> bool {
        let mut state = self.state.lock();
        if state.take_started(id) {
            state.end_claim(id);
            self.shared.claims_ended();
        }
        let claimed = state.claims.contains_key(&id);
        state.spared.remove(&id);
        let window = state.class(class);
        window.touch(id);
        if let Some(key) = due_before.map(|due| (due, id)) {
            window.back.remove(&key);
            if let Some(ready) = window.take(key) {
                self.shared.gave_up(&ready);
            }
        }
        claimed
    }

    /// An operator put a message into this lane.
    pub(super) fn put_back(&self, id: QueueId, class: Class, due: i64) {
        self.state.lock().class(class).on_disk((due, id));
        self.expiry.forget();
        self.changed.notify_waiters();
    }

    /// All due times changed: forgets the window and reads anew.
    pub(super) fn read_anew(&self) {
        let mut state = self.state.lock();
        for class in &mut state.classes {
            for ready in std::mem::take(&mut class.ready).into_values() {
                self.shared.gave_up(&ready);
            }
            class.recipients = 0;
            class.back.clear();
            class.on_disk(FIRST);
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// A time by which messages are searched for, and what is to be added to theirs; see [`Leaps`](super::leaps::Leaps).
    pub(super) fn leapt(&self, time: Timestamp) -> (Timestamp, String) {
        let leaps = self.shared.leaps.load();
        (leaps.unset(time, &self.shared.clock), leaps.added())
    }

    /// The time by the queue's clock.
    pub(super) fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// Adds what is in flight: ids, and how many recipients of each.
    pub(super) fn claimed(&self, in_flight: &mut Vec<(QueueId, u32)>) {
        let state = self.state.lock();
        let attempts = state.claims.iter().filter(|(_, claim)| claim.units.messages > 0);
        in_flight.extend(
            attempts.map(|(id, claim)| (*id, u32::try_from(claim.units.recipients).unwrap_or(u32::MAX))),
        );
    }

    /// How many are claimed.
    pub(super) fn claim_count(&self) -> usize {
        self.state.lock().claims.len()
    }

    /// Whether this message is claimed and handed out.
    pub(super) fn is_claimed(&self, id: QueueId) -> bool {
        let state = self.state.lock();
        state.claims.contains_key(&id) && !state.started.iter().flatten().any(|due| due.id == id)
    }

    /// Wakes whoever waits, when the queue is closed.
    pub(super) fn wake(&self) {
        self.changed.notify_waiters();
    }
}

impl State {
    /// The message of a class that is due first, and how many recipients it has; none that is spared, if so wished.
    /// None, too, while one that came back belongs before it.
    pub(super) fn first(&self, class: Class, spares: bool) -> Option<(Key, usize)> {
        let back = self.classes.get(index(class))?.back.first();
        self.head(class, spares).filter(|(key, _)| back.is_none_or(|back| key <= back))
    }

    /// Whether something of a class is due, as far as is known, that belongs before all that is here of it.
    pub(super) fn is_unread(&self, class: Class, now: Moment) -> bool {
        let Some(window) = self.classes.get(index(class)) else { return false };
        let first = window.back.first().copied().into_iter().chain(window.disk).min();
        let here = window.ready.first_key_value().map(|(key, _)| *key);
        first.is_some_and(|first| first.0 <= now.wall && here.is_none_or(|here| first < here))
    }

    fn head(&self, class: Class, spares: bool) -> Option<(Key, usize)> {
        let mut ready = self.classes.get(index(class))?.ready.iter();
        let (key, first) = ready.find(|((_, id), _)| !spares || !self.spared.contains(id))?;
        Some((*key, first.due.open.len()))
    }

    /// How many recipients the next message of a class has that isn't spared; at least so many while it is on disk.
    pub(super) fn unspared(&self, class: Class) -> Option<usize> {
        let back = &self.classes.get(index(class))?.back;
        let comes_back = back.iter().any(|(_, id)| !self.spared.contains(id));
        self.head(class, true).map(|(_, open)| open).or(comes_back.then_some(1))
    }

    pub(super) fn class(&mut self, class: Class) -> &mut ClassWindow {
        let [priority, normal, bulk] = &mut self.classes;
        match class {
            Class::Priority => priority,
            Class::Normal => normal,
            Class::Bulk => bulk,
        }
    }
}

impl ClassWindow {
    /// Takes a message out.
    pub(super) fn take(&mut self, key: Key) -> Option<Ready> {
        let ready = self.ready.remove(&key)?;
        self.recipients = self.recipients.saturating_sub(ready.due.open.len());
        Some(ready)
    }

    fn is_half_empty(&self, capacity: usize) -> bool {
        self.ready.len() < capacity / 2 && self.recipients < capacity * RECIPIENTS / 2
    }

    fn has_room(&self, capacity: usize) -> bool {
        self.ready.len() < capacity && self.recipients < capacity * RECIPIENTS
    }

    /// Something not in the window waits on disk from `key` on.
    pub(super) fn on_disk(&mut self, key: Key) {
        let is_between = self.ready.last_key_value().is_some_and(|(last, _)| key < *last);
        if is_between && self.back.len() < BACK {
            self.back.insert(key);
            return;
        }
        self.disk = Some(earlier(self.disk, key));
        match &mut self.reading {
            Some(reading) if reading.added.len() < BACK => _ = reading.added.insert(key),
            Some(reading) => reading.behind = Some(earlier(reading.behind, key)),
            None => {}
        }
    }

    fn touch(&mut self, id: QueueId) {
        if let Some(reading) = &mut self.reading {
            reading.touched.insert(id);
        }
    }
}

fn earlier(bound: Option<Key>, key: Key) -> Key {
    bound.map_or(key, |bound| bound.min(key))
}

pub(super) fn index(class: Class) -> usize {
    usize::from(super::record::class_bits(class))
}
