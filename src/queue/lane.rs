//! A lane: the window of its due messages that stands in memory, and the claims on them.
//!
//! Per class, a window holds the messages due earliest; `disk` is a lower bound of everything that isn't in it. So
//! "is there an older backlog on disk?" and "when is the next one due?" are the same question. The reader refills a
//! window when it is half empty; what is in the window or claimed already is passed over, and what the writer
//! changed while the reader was reading is remembered in `touched`, so that a stale row never comes back to life.
//!
//! Work is handed out in two steps. A connection says how much it wants ([`Lane::claim`]); the writer, with its next
//! commit, claims that much of what the lane's limits allow ([`Window::start`]), so that what is in flight, and what
//! it uses up of a limit, is on disk before the first octet leaves ([`Window::started`]).

use super::expiry::Expiry;
use super::inbox::Inbox;
use super::ledger::{Moment, Standing};
use super::limits::{Rule, Units};
use super::quota::Quota;
use super::work::{Due, Location};
use super::{Content, LaneName, QueueId};
use crate::clock::Clock;
use crate::message::envelope::Class;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;
use tokio::sync::Notify;

/// Messages in a window, by class: priority always has room of its own.
const CAPACITY: [usize; 3] = [500, 1_000, 500];
/// Beyond so many lanes, windows shrink, so that all of them together stay bounded.
const FULL_WINDOWS: usize = 16;
/// Recipients in a window, as a multiple of its messages.
const RECIPIENTS: usize = 8;
/// The clock is looked at anew at least so often, in case somebody set it.
const LONGEST_SLEEP: Duration = Duration::from_mins(1);

/// Orders a class: due time in milliseconds, then age.
pub(super) type Key = (i64, QueueId);
/// Before everything.
pub(super) const FIRST: Key = (i64::MIN, QueueId::from_bits(0));

/// What all lanes share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) clock: Clock,
    /// Octets of content that windows may keep in memory, and do.
    pub(super) content_limit: AtomicU64,
    content: AtomicU64,
    lanes: AtomicUsize,
    /// Set when claims ended since the writer looked.
    pub(super) claims_changed: AtomicBool,
    /// Set when a lane wants work and the writer wasn't told yet.
    starts_wanted: AtomicBool,
    /// What is added to the time since boot.
    steady_base: i64,
    /// The latest moment that was told.
    latest: AtomicI64,
    inbox: Arc<Inbox>,
    refills: Sender<Refill>,
}

/// A request to the reader.
#[derive(Debug)]
pub(super) enum Refill {
    /// Read this class of this lane, due up to `until`.
    Window { lane: Arc<Window>, class: Class, from: Key, until: i64, limit: usize },
    /// The queue is closed.
    Stop,
}

/// A message in a window.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) due: Due,
    pub(super) at: i64,
    pub(super) location: Location,
}

/// A claim.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) at: i64,
    pub(super) class: Class,
    /// What it uses up of the limits while it lasts; nothing for a claim without an attempt.
    pub(super) units: Units,
    /// The rules it was made under: see [`State::generation`].
    pub(super) generation: u64,
}

#[derive(Debug, Default)]
pub(super) struct ClassWindow {
    pub(super) ready: BTreeMap<Key, Ready>,
    recipients: usize,
    /// A lower bound of what is due but not here.
    pub(super) disk: Option<Key>,
    reading: Option<Reading>,
}

/// What happened while the reader reads.
#[derive(Debug, Default)]
struct Reading {
    touched: HashSet<QueueId>,
    added: Option<Key>,
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

/// One lane's door to due work. Cloning gives another handle.
#[derive(Clone, Debug)]
pub struct Lane(pub(super) Arc<Window>);

impl Lane {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &LaneName {
        &self.0.name
    }

    /// Takes up to `room` messages that are claimed: priority first, then normal, then bulk; within a class the longest
    /// due first. Each is the caller's until it is settled, released or set aside. Has `ahead` of them claimed for
    /// the next calls, from now on until another call or [`Lane::stand_down`] says otherwise. Never waits; when it
    /// returns fewer than `room`, [`Lane::wait`] tells when to ask again.
    ///
    /// A message whose recipients are more than a limit allows is handed out in parts.
    #[must_use]
    pub fn claim(&self, room: usize, ahead: usize) -> Vec<Due> {
        self.0.claim(room, ahead)
    }

    /// Nobody wants work: what was claimed ahead goes back.
    pub fn stand_down(&self) {
        self.0.stand_down();
    }

    /// The limits in force from now on; none by default. What was claimed ahead under other ones goes back.
    pub fn limit(&self, rules: Vec<Rule>) {
        self.0.rule(rules, false);
    }

    /// Nothing starts from now on, until [`Lane::limit`]; `rules` are those that [`Lane::standings`] tells of.
    pub fn shut(&self, rules: Vec<Rule>) {
        self.0.rule(rules, true);
    }

    /// How each limit stands, and when the next message of class normal may go if that isn't now.
    #[must_use]
    pub fn standings(&self) -> Vec<(Rule, Standing, Option<Timestamp>)> {
        self.0.standings()
    }

    /// Gives a claim back without an attempt having been made. Nothing is written.
    #[expect(clippy::needless_pass_by_value, reason = "who gives back has it no longer")]
    pub fn release(&self, due: Due) {
        self.0.release(due.id);
    }

    /// Waits until something may be claimable: new mail, or the next due time. Safe to drop at any time.
    pub async fn wait(&self) {
        self.0.wait().await;
    }

    /// Claims up to `room` messages of these classes that are due and can't go by this lane, whatever its limits are,
    /// for somebody who moves them: no attempt is made. Not those that may have arrived already, and only those that
    /// are `wanted`.
    #[must_use]
    pub fn claim_stuck(&self, classes: &[Class], room: usize, wanted: impl Fn(QueueId) -> bool) -> Vec<Due> {
        self.0.claim_stuck(classes, room, wanted)
    }

    /// When mail of class priority that is due will go, if the limits keep it waiting; none if they don't, or nothing
    /// of it is due.
    #[must_use]
    pub fn priority_waits_until(&self) -> Option<Timestamp> {
        if self.priority_is_due() { self.wait_of(Class::Priority) } else { None }
    }

    /// Whether mail of class priority is due and not on its way.
    #[must_use]
    pub fn priority_is_due(&self) -> bool {
        !self.0.state.lock().class(Class::Priority).ready.is_empty()
    }

    /// When the limits let the next message of a class go; none when they let it go now.
    #[must_use]
    pub fn wait_of(&self, class: Class) -> Option<Timestamp> {
        self.0.forecast(class, Units::message(1), self.0.shared.moment())
    }

    /// When the limits will have let so much mail of a class go, what is in flight included; none when they let it
    /// go at once.
    #[must_use]
    pub fn forecast(&self, class: Class, waiting: Units) -> Option<Timestamp> {
        self.0.forecast(class, waiting, self.0.shared.moment())
    }

    /// What of so much mail of a class, what is in flight included, the limits will keep waiting for longer than
    /// `patience` at a stretch; none when they never do that.
    #[must_use]
    pub fn surplus(&self, class: Class, waiting: Units, patience: SignedDuration) -> Option<Units> {
        self.0.surplus(class, waiting, patience)
    }

    /// Whether the reader is filling the window just now.
    #[cfg(test)]
    pub(super) fn is_reading(&self) -> bool {
        self.0.state.lock().classes.iter().any(|class| class.reading.is_some())
    }

    /// When the next message is due, claimed ones left out; none when nothing waits.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.0.next_due()
    }

    /// How many messages could be claimed at once: as many as are due, in memory and within the limits. There may be
    /// more on disk.
    #[must_use]
    pub fn waiting_hint(&self) -> usize {
        self.0.waiting_hint()
    }
}

impl Shared {
    pub(super) fn new(
        clock: Clock,
        steady_base: i64,
        content_limit: u64,
        inbox: Arc<Inbox>,
        refills: Sender<Refill>,
    ) -> Self {
        Self {
            clock,
            steady_base,
            latest: AtomicI64::new(i64::MIN),
            starts_wanted: AtomicBool::new(false),
            content_limit: AtomicU64::new(content_limit),
            content: AtomicU64::new(0),
            lanes: AtomicUsize::new(0),
            claims_changed: AtomicBool::new(false),
            inbox,
            refills,
        }
    }

    /// Now, by the wall clock and by the one that nobody sets.
    pub(super) fn moment(&self) -> Moment {
        let at = self.clock.since_boot().saturating_add(self.steady_base);
        let at = self.latest.fetch_max(at, Ordering::Relaxed).max(at);
        Moment { at, wall: self.clock.now().as_millisecond() }
    }

    /// Tells the writer that a lane wants work.
    pub(super) fn want_starts(&self) {
        if !self.starts_wanted.swap(true, Ordering::Relaxed) {
            self.inbox.want_starts();
        }
    }

    /// The writer looks at what lanes want.
    pub(super) fn starts_seen(&self) {
        self.starts_wanted.store(false, Ordering::Relaxed);
    }

    /// Claims ended; the index hears of it with the next commit.
    pub(super) fn claims_ended(&self) {
        if !self.claims_changed.swap(true, Ordering::Relaxed) {
            self.inbox.nudge();
        }
    }

    /// A window's size for a class, given how many lanes there are.
    fn capacity(&self, class: Class) -> usize {
        let full = CAPACITY.get(index(class)).copied().unwrap_or(0);
        let lanes = self.lanes.load(Ordering::Relaxed).max(FULL_WINDOWS);
        (full * FULL_WINDOWS / lanes).max(32)
    }

    pub(super) fn gave_up(&self, ready: &Ready) {
        if let Content::Memory(held) = &ready.due.content {
            self.content.fetch_sub(held.octets.len() as u64, Ordering::Relaxed);
        }
    }
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

    fn claim(self: &Arc<Self>, room: usize, ahead: usize) -> Vec<Due> {
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

    fn claim_stuck(
        self: &Arc<Self>,
        classes: &[Class],
        room: usize,
        wanted: impl Fn(QueueId) -> bool,
    ) -> Vec<Due> {
        let mut claimed = Vec::new();
        let mut state = self.state.lock();
        self.refill(&mut state, self.shared.clock.now().as_millisecond());
        for &class in classes {
            let window = state.class(class);
            let keys: Vec<Key> = window
                .ready
                .iter()
                .filter(|((_, id), ready)| !ready.due.maybe_duplicate && wanted(*id))
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

    /// Gives a claim back: the message is read from disk when its turn comes.
    pub(super) fn release(self: &Arc<Self>, id: QueueId) {
        let mut state = self.state.lock();
        state.give_back(id);
        drop(state);
        self.shared.claims_ended();
        self.changed.notify_waiters();
    }

    async fn wait(self: &Arc<Self>) {
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
            ready.into_iter().chain(class.disk).min()
        };
        let claimed = state.starting.iter().chain(state.started.iter().flatten());
        let claimed = claimed.map(|due| state.claims.get(&due.id).map_or(i64::MIN, |claim| claim.at)).min();
        let due = state.classes.iter().filter_map(first).map(|(due, _)| due).chain(claimed).min()?;
        let now = || self.shared.clock.now();
        Some(if due == i64::MIN { now() } else { Timestamp::from_millisecond(due).unwrap_or_else(|_| now()) })
    }

    /// Asks the reader for more where a window is less than half full and the disk has something due.
    pub(super) fn refill(self: &Arc<Self>, state: &mut State, now: i64) {
        for (class, window) in
            [Class::Priority, Class::Normal, Class::Bulk].into_iter().zip(&mut state.classes)
        {
            let capacity = self.shared.capacity(class);
            let Some(from) = window.disk else { continue };
            let has_room = window.ready.len() < capacity / 2 && window.recipients < capacity * RECIPIENTS / 2;
            if from.0 > now || window.reading.is_some() || !has_room {
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
    pub(super) fn refilled(&self, class: Class, rows: Vec<Ready>, rest: Option<Key>) {
        let mut state = self.state.lock();
        let capacity = self.shared.capacity(class);
        let State { classes, claims, .. } = &mut *state;
        let Some(window) = classes.get_mut(index(class)) else { return };
        let Some(reading) = window.reading.take() else { return };
        window.disk = rest.into_iter().chain(reading.added).min();
        for ready in rows {
            let key = (ready.at, ready.due.id);
            if reading.touched.contains(&key.1)
                || claims.contains_key(&key.1)
                || window.ready.contains_key(&key)
            {
                continue;
            }
            if window.has_room(capacity) {
                window.recipients += ready.due.open.len();
                window.ready.insert(key, ready);
            } else {
                window.on_disk(key);
            }
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
                    ready.due.content = Content::Stored(ready.location);
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
        let window = state.class(class);
        window.touch(id);
        if let Some(ready) = due_before.and_then(|due| window.take((due, id))) {
            self.shared.gave_up(&ready);
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
            class.on_disk(FIRST);
        }
        drop(state);
        self.changed.notify_waiters();
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
    /// Takes the message out that is due first.
    pub(super) fn take_first(&mut self) -> Option<Ready> {
        let (key, _) = self.ready.first_key_value()?;
        self.take(*key)
    }

    /// Takes a message out.
    fn take(&mut self, key: Key) -> Option<Ready> {
        let ready = self.ready.remove(&key)?;
        self.recipients = self.recipients.saturating_sub(ready.due.open.len());
        Some(ready)
    }

    fn has_room(&self, capacity: usize) -> bool {
        self.ready.len() < capacity && self.recipients < capacity * RECIPIENTS
    }

    /// Something not in the window waits on disk from `key` on.
    pub(super) fn on_disk(&mut self, key: Key) {
        self.disk = Some(self.disk.map_or(key, |disk| disk.min(key)));
        if let Some(reading) = &mut self.reading {
            reading.added = Some(reading.added.map_or(key, |added| added.min(key)));
        }
    }

    fn touch(&mut self, id: QueueId) {
        if let Some(reading) = &mut self.reading {
            reading.touched.insert(id);
        }
    }
}

pub(super) fn index(class: Class) -> usize {
    usize::from(super::record::class_bits(class))
}

#[cfg(test)]
mod tests {
    use super::super::limits::Limits;
    use super::super::testing::{self, Hand};
    use super::super::work::{Held, Open};
    use super::*;
    use std::sync::mpsc::{Receiver, channel};

    fn window(backlog: bool) -> (Lane, Receiver<Refill>, Hand) {
        let (send, receive) = channel();
        let hand = Hand::at(1_000);
        let shared = Arc::new(Shared::new(hand.clock(), 0, 1_000, Arc::default(), send));
        (Lane(Window::new("shop".into(), shared, backlog)), receive, hand)
    }

    fn ready(id: u64, class: Class, at: i64) -> Ready {
        let location = Location { segment: 1, offset: 72, length: 5 };
        let due = Due {
            id: QueueId::from_bits(id),
            lane: "shop".into(),
            class,
            envelope: Arc::new(testing::submission("shop", &["a@b.example"]).envelope),
            open: vec![Open { number: 0, attempts: 0 }],
            received_at: Timestamp::UNIX_EPOCH,
            released_at: Timestamp::UNIX_EPOCH,
            expires_at: None,
            warned: false,
            maybe_duplicate: false,
            origin: Arc::new(testing::submission("shop", &["a@b.example"]).origin),
            notes: Arc::default(),
            size_bytes: 5,
            content: Content::Stored(location),
        };
        Ready { due, at, location }
    }

    /// Claims as the writer does, with its commit in between.
    fn claim(lane: &Lane, room: usize) -> Vec<Due> {
        let _ = lane.claim(0, room);
        lane.0.start(lane.0.shared.moment());
        lane.0.started();
        lane.claim(room, 0)
    }

    fn ids(claimed: &[Due]) -> Vec<u64> {
        claimed.iter().map(|due| due.id.to_bits()).collect()
    }

    #[test]
    fn claims_go_by_class_then_due_and_never_twice() {
        let (lane, _refills, _hand) = window(false);
        for (id, class, at) in
            [(1, Class::Bulk, 1), (2, Class::Normal, 9), (3, Class::Normal, 8), (4, Class::Priority, 100)]
        {
            lane.0.fresh(ready(id, class, at));
        }
        assert_eq!(ids(&claim(&lane, 2)), [4, 3]);
        assert_eq!(ids(&claim(&lane, 9)), [2, 1]);
        assert_eq!(ids(&claim(&lane, 9)), [0_u64; 0]);
    }

    #[test]
    fn what_is_due_later_stays_on_disk_and_says_when() {
        let (lane, refills, hand) = window(false);
        lane.0.fresh(ready(1, Class::Normal, 1_000_500));
        assert_eq!(claim(&lane, 9).len(), 0);
        assert_eq!(lane.next_due(), Timestamp::from_millisecond(1_000_500).ok());
        assert!(refills.try_recv().is_err());
        hand.turn(1);
        assert_eq!(claim(&lane, 9).len(), 0);
        assert!(matches!(refills.try_recv(), Ok(Refill::Window { from: (1_000_500, _), .. })));
    }

    #[test]
    fn new_mail_waits_behind_an_older_backlog_of_its_class_only() {
        let (lane, refills, _hand) = window(true);
        assert_eq!(claim(&lane, 9).len(), 0);
        assert_eq!(refills.try_iter().count(), 3);
        lane.0.fresh(ready(1, Class::Normal, 1_000));
        assert_eq!(claim(&lane, 9).len(), 0);
        lane.0.refilled(Class::Normal, vec![ready(7, Class::Normal, 10)], None);
        assert_eq!(ids(&claim(&lane, 9)), [7]);
        // The reader's answer came from before the fresh one: that one is still known to be on disk.
        let again: Vec<Refill> = refills.try_iter().collect();
        assert!(
            matches!(&again[..], [Refill::Window { class: Class::Normal, from: (1_000, _), .. }]),
            "{again:?}"
        );
    }

    #[test]
    fn a_stale_row_does_not_come_back_to_life() {
        let (lane, _refills, _hand) = window(false);
        lane.0.fresh(ready(1, Class::Normal, 10));
        let claimed = claim(&lane, 1);
        lane.0.put_back(QueueId::from_bits(2), Class::Normal, 20);
        assert_eq!(claim(&lane, 9).len(), 0);
        // The reader read both rows before the first was settled.
        let now = lane.0.shared.moment();
        lane.0.settled(claimed[0].id, Class::Normal, None, Units::default(), now);
        lane.0.refilled(Class::Normal, vec![ready(1, Class::Normal, 10), ready(2, Class::Normal, 20)], None);
        assert_eq!(ids(&claim(&lane, 9)), [2]);
        assert_eq!(lane.next_due(), None);
    }

    #[test]
    fn a_full_window_leaves_the_rest_on_disk() {
        let (lane, refills, _hand) = window(false);
        for id in 1..=1_500 {
            lane.0.fresh(ready(id, Class::Normal, 10));
        }
        assert_eq!(lane.waiting_hint(), CAPACITY[1]);
        assert_eq!(claim(&lane, 100).len(), 100);
        assert!(refills.try_recv().is_err());
        assert_eq!(claim(&lane, 500).len(), 500);
        let Ok(Refill::Window { from, limit, .. }) = refills.try_recv() else { panic!("no refill") };
        assert_eq!((from, limit), ((10, QueueId::from_bits(1_001)), 600));
    }

    #[test]
    fn a_window_keeps_no_more_content_in_memory_than_its_share() {
        let (lane, _refills, _hand) = window(false);
        for id in 1..=3 {
            let mut ready = ready(id, Class::Normal, 10);
            ready.due.content = Content::Memory(Arc::new(Held::unshared(vec![0; 400].into())));
            lane.0.fresh(ready);
        }
        let in_memory =
            |due: Vec<Due>| due.iter().filter(|due| matches!(due.content, Content::Memory(_))).count();
        assert_eq!(in_memory(claim(&lane, 9)), 2);
        assert_eq!(lane.0.shared.content.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_released_claim_is_read_again() {
        let (lane, refills, _hand) = window(false);
        lane.0.fresh(ready(1, Class::Normal, 10));
        let mut claimed = claim(&lane, 1);
        lane.release(claimed.remove(0));
        assert_eq!(lane.next_due(), Timestamp::from_millisecond(10).ok());
        assert_eq!(claim(&lane, 1).len(), 0);
        assert!(matches!(refills.try_recv(), Ok(Refill::Window { from: (10, _), .. })));
    }

    /// Rules of so many recipients a minute.
    fn a_minute(most: u64) -> Vec<Rule> {
        Limits { per_minute: Some(most), ..Limits::default() }.rules()
    }

    /// A commit by the writer.
    fn commit(lane: &Lane) {
        lane.0.start(lane.0.shared.moment());
        lane.0.started();
    }

    #[test]
    fn a_change_of_rules_takes_back_what_is_claimed_and_not_handed_out() {
        let (lane, _refills, _hand) = window(false);
        let all = || (1..=6).map(|id| ready(id, Class::Normal, 10));
        all().for_each(|ready| lane.0.fresh(ready));
        let _ = lane.claim(0, 8);
        lane.0.start(lane.0.shared.moment());
        let mut part = testing::submission("shop", &["a@b.example"]).parts.remove(0);
        part.due = Timestamp::UNIX_EPOCH;
        part.class = Class::Bulk;
        assert!(lane.0.start_fresh(QueueId::from_bits(7), &part, lane.0.shared.moment()));
        lane.limit(a_minute(2));
        // The commit of what was claimed under the old rules ends behind the change.
        lane.0.fresh(ready(7, Class::Bulk, 0));
        lane.0.started();
        assert_eq!((ids(&lane.claim(9, 8)), lane.0.claim_count()), (vec![], 0));
        lane.0.refilled(Class::Normal, all().collect(), None);
        commit(&lane);
        assert_eq!(ids(&lane.claim(1, 8)), [1]);
        lane.limit(a_minute(1));
        assert_eq!((ids(&lane.claim(9, 8)), lane.0.claim_count()), (vec![], 1));
        lane.0.refilled(Class::Normal, all().collect(), None);
        commit(&lane);
        assert_eq!(ids(&lane.claim(9, 8)), [0_u64; 0], "the one that is on its way is all that may go");
    }

    #[test]
    fn nothing_starts_in_a_lane_that_is_shut() {
        let (lane, _refills, _hand) = window(false);
        let _ = lane.claim(0, 8);
        lane.shut(Vec::new());
        lane.0.fresh(ready(1, Class::Priority, 10));
        assert_eq!((claim(&lane, 9).len(), lane.waiting_hint()), (0, 0));
        lane.limit(Vec::new());
        assert_eq!(ids(&claim(&lane, 9)), [1]);
    }

    #[test]
    fn what_is_claimed_ahead_makes_room_for_a_higher_class_and_what_is_in_flight_does_not() {
        let (lane, _refills, _hand) = window(false);
        lane.limit(a_minute(3));
        (1..=5).for_each(|id| lane.0.fresh(ready(id, Class::Bulk, 10)));
        let _ = lane.claim(0, 8);
        commit(&lane);
        assert_eq!(ids(&lane.claim(1, 8)), [1]);
        let forecast = || lane.forecast(Class::Priority, Units::message(1));
        assert_eq!(forecast(), None);
        lane.0.fresh(ready(9, Class::Priority, 10));
        commit(&lane);
        assert_eq!(ids(&lane.claim(9, 8)), [9, 2]);
        // All three of the minute are on their way, one of them of class priority.
        assert_eq!(lane.forecast(Class::Priority, Units::message(1)), None, "the one that flies");
        let next = Units { messages: 2, recipients: 2 };
        let soonest = lane.0.now() + SignedDuration::from_secs(60);
        assert!(lane.forecast(Class::Priority, next) >= Some(soonest));
        lane.0.fresh(ready(10, Class::Priority, 10));
        commit(&lane);
        assert_eq!(ids(&lane.claim(9, 8)), [0_u64; 0]);
    }

    #[tokio::test]
    async fn who_waits_is_woken_by_new_mail() {
        let (lane, _refills, _hand) = window(false);
        let waiting = tokio::spawn({
            let lane = lane.clone();
            async move { lane.wait().await }
        });
        tokio::task::yield_now().await;
        lane.0.fresh(ready(1, Class::Normal, 10));
        waiting.await.unwrap();
    }
}
