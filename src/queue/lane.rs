//! A lane: the window of its due messages that stands in memory, and the claims on them.
//!
//! Per class, a window holds the messages due earliest; `disk` is a lower bound of everything that isn't in it. So
//! "is there an older backlog on disk?" and "when is the next one due?" are the same question. The reader refills a
//! window when it is half empty; what is in the window or claimed already is passed over, and what the writer
//! changed while the reader was reading is remembered in `touched`, so that a stale row never comes back to life.
//!
//! Claiming writes nothing. A claim lives in memory and ends with the process: the message is then due again.

use super::inbox::Inbox;
use super::work::{Due, Location};
use super::{Content, LaneName, QueueId};
use crate::clock::Clock;
use crate::message::envelope::Class;
use jiff::Timestamp;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
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
    /// Set when claims changed since the writer looked.
    pub(super) claims_changed: AtomicBool,
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
struct Claim {
    at: i64,
    class: Class,
}

#[derive(Debug, Default)]
struct ClassWindow {
    ready: BTreeMap<Key, Ready>,
    recipients: usize,
    /// A lower bound of what is due but not here.
    disk: Option<Key>,
    reading: Option<Reading>,
}

/// What happened while the reader reads.
#[derive(Debug, Default)]
struct Reading {
    touched: HashSet<QueueId>,
    added: Option<Key>,
}

#[derive(Debug, Default)]
struct State {
    classes: [ClassWindow; 3],
    claims: HashMap<QueueId, Claim>,
}

/// A lane's window.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) name: LaneName,
    shared: Arc<Shared>,
    state: Mutex<State>,
    changed: Notify,
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

    /// Takes up to `room` messages that are due: priority first, then normal, then bulk; within a class the longest
    /// due first. Each is claimed until it is settled, released or set aside. Never waits; when it returns fewer
    /// than `room`, [`Lane::wait`] tells when to ask again.
    #[must_use]
    pub fn claim(&self, now: Timestamp, room: usize) -> Vec<Due> {
        self.0.claim(now, room)
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

    /// When the next message is due, claimed ones left out; none when nothing waits.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.0.next_due()
    }

    /// How many messages could be claimed at once. There may be more on disk.
    #[must_use]
    pub fn waiting_hint(&self) -> usize {
        self.0.state.lock().classes.iter().map(|class| class.ready.len()).sum()
    }
}

impl Shared {
    pub(super) fn new(clock: Clock, content_limit: u64, inbox: Arc<Inbox>, refills: Sender<Refill>) -> Self {
        Self {
            clock,
            content_limit: AtomicU64::new(content_limit),
            content: AtomicU64::new(0),
            lanes: AtomicUsize::new(0),
            claims_changed: AtomicBool::new(false),
            inbox,
            refills,
        }
    }

    /// A window's size for a class, given how many lanes there are.
    fn capacity(&self, class: Class) -> usize {
        let full = CAPACITY.get(index(class)).copied().unwrap_or(0);
        let lanes = self.lanes.load(Ordering::Relaxed).max(FULL_WINDOWS);
        (full * FULL_WINDOWS / lanes).max(32)
    }

    fn gave_up(&self, ready: &Ready) {
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
        Arc::new(Self { name, shared, state: Mutex::new(state), changed: Notify::new() })
    }

    fn claim(self: &Arc<Self>, now: Timestamp, room: usize) -> Vec<Due> {
        let mut claimed = Vec::new();
        let mut state = self.state.lock();
        let State { classes, claims } = &mut *state;
        for class in classes.iter_mut() {
            while claimed.len() < room {
                let Some((_, ready)) = class.ready.pop_first() else { break };
                class.recipients = class.recipients.saturating_sub(ready.due.open.len());
                self.shared.gave_up(&ready);
                let claim = Claim { at: ready.at, class: ready.due.class };
                claims.insert(ready.due.id, claim);
                claimed.push(ready.due);
            }
        }
        self.refill(&mut state, now.as_millisecond());
        drop(state);
        if !claimed.is_empty() && !self.shared.claims_changed.swap(true, Ordering::Relaxed) {
            self.shared.inbox.nudge();
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
        if let Some(ready) = window.ready.remove(&(seen.at, id)) {
            window.recipients = window.recipients.saturating_sub(ready.due.open.len());
            self.shared.gave_up(&ready);
        }
        state.claims.insert(id, Claim { at: seen.at, class });
        self.shared.claims_changed.store(true, Ordering::Relaxed);
        true
    }

    /// Gives a claim back: the message is read from disk when its turn comes.
    pub(super) fn release(self: &Arc<Self>, id: QueueId) {
        let mut state = self.state.lock();
        if let Some(claim) = state.claims.remove(&id) {
            // An operator may have changed the row meanwhile: it is read anew, and the bound is only ever too low.
            state.class(claim.class).on_disk((claim.at, id));
            self.shared.claims_changed.store(true, Ordering::Relaxed);
        }
        drop(state);
        self.changed.notify_waiters();
    }

    async fn wait(self: &Arc<Self>) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let now = self.shared.clock.now();
            let next = {
                let mut state = self.state.lock();
                if state.classes.iter().any(|class| !class.ready.is_empty()) {
                    return;
                }
                self.refill(&mut state, now.as_millisecond());
                state
                    .classes
                    .iter()
                    .filter(|class| class.reading.is_none())
                    .filter_map(|class| class.disk)
                    .min()
            };
            let sleep = next.map_or(LONGEST_SLEEP, |(due, _)| {
                let wait = due.saturating_sub(now.as_millisecond()).max(1);
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
        let (due, _) = state.classes.iter().filter_map(first).min()?;
        let now = || self.shared.clock.now();
        Some(if due == i64::MIN { now() } else { Timestamp::from_millisecond(due).unwrap_or_else(|_| now()) })
    }

    /// Asks the reader for more where a window is less than half full and the disk has something due.
    fn refill(self: &Arc<Self>, state: &mut State, now: i64) {
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
        let State { classes, claims } = &mut *state;
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
        let mut state = self.state.lock();
        let now = self.shared.clock.now().as_millisecond();
        let capacity = self.shared.capacity(ready.due.class);
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
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// A claimed message was settled: it is due at `due`, or done, or held.
    pub(super) fn settled(&self, id: QueueId, class: Class, due: Option<i64>) {
        let mut state = self.state.lock();
        state.claims.remove(&id);
        let window = state.class(class);
        window.touch(id);
        if let Some(due) = due.filter(|&due| due != super::store::HELD) {
            window.on_disk((due, id));
        }
        drop(state);
        self.shared.claims_changed.store(true, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    /// An operator took a message out of this lane, or changed when it is due; whether it is being delivered.
    pub(super) fn taken_away(&self, id: QueueId, class: Class, due_before: Option<i64>) -> bool {
        let mut state = self.state.lock();
        let claimed = state.claims.contains_key(&id);
        let window = state.class(class);
        window.touch(id);
        if let Some(ready) = due_before.and_then(|due| window.ready.remove(&(due, id))) {
            window.recipients = window.recipients.saturating_sub(ready.due.open.len());
            self.shared.gave_up(&ready);
        }
        claimed
    }

    /// An operator put a message into this lane.
    pub(super) fn put_back(&self, id: QueueId, class: Class, due: i64) {
        self.state.lock().class(class).on_disk((due, id));
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

    /// Adds the ids of what is claimed.
    pub(super) fn claimed(&self, ids: &mut Vec<QueueId>) {
        ids.extend(self.state.lock().claims.keys());
    }

    /// How many are claimed.
    pub(super) fn claim_count(&self) -> usize {
        self.state.lock().claims.len()
    }

    /// Whether this message is claimed.
    pub(super) fn is_claimed(&self, id: QueueId) -> bool {
        self.state.lock().claims.contains_key(&id)
    }

    /// Wakes whoever waits, when the queue is closed.
    pub(super) fn wake(&self) {
        self.changed.notify_waiters();
    }
}

impl State {
    fn class(&mut self, class: Class) -> &mut ClassWindow {
        let [priority, normal, bulk] = &mut self.classes;
        match class {
            Class::Priority => priority,
            Class::Normal => normal,
            Class::Bulk => bulk,
        }
    }
}

impl ClassWindow {
    fn has_room(&self, capacity: usize) -> bool {
        self.ready.len() < capacity && self.recipients < capacity * RECIPIENTS
    }

    /// Something not in the window waits on disk from `key` on.
    fn on_disk(&mut self, key: Key) {
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

fn index(class: Class) -> usize {
    usize::from(super::record::class_bits(class))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, Hand};
    use super::super::work::{Held, Open};
    use super::*;
    use std::sync::mpsc::{Receiver, channel};

    fn window(backlog: bool) -> (Lane, Receiver<Refill>, Hand) {
        let (send, receive) = channel();
        let hand = Hand::at(1_000);
        let shared = Arc::new(Shared::new(hand.clock(), 1_000, Arc::default(), send));
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
            warned: false,
            maybe_duplicate: false,
            notes: Arc::default(),
            size_bytes: 5,
            content: Content::Stored(location),
        };
        Ready { due, at, location }
    }

    fn ids(claimed: &[Due]) -> Vec<u64> {
        claimed.iter().map(|due| due.id.to_bits()).collect()
    }

    #[test]
    fn claims_go_by_class_then_due_and_never_twice() {
        let (lane, _refills, hand) = window(false);
        for (id, class, at) in
            [(1, Class::Bulk, 1), (2, Class::Normal, 9), (3, Class::Normal, 8), (4, Class::Priority, 100)]
        {
            lane.0.fresh(ready(id, class, at));
        }
        assert_eq!(ids(&lane.claim(hand.now(), 2)), [4, 3]);
        assert_eq!(ids(&lane.claim(hand.now(), 9)), [2, 1]);
        assert_eq!(ids(&lane.claim(hand.now(), 9)), [0_u64; 0]);
    }

    #[test]
    fn what_is_due_later_stays_on_disk_and_says_when() {
        let (lane, refills, hand) = window(false);
        lane.0.fresh(ready(1, Class::Normal, 1_000_500));
        assert_eq!(lane.claim(hand.now(), 9).len(), 0);
        assert_eq!(lane.next_due(), Timestamp::from_millisecond(1_000_500).ok());
        assert!(refills.try_recv().is_err());
        hand.turn(1);
        assert_eq!(lane.claim(hand.now(), 9).len(), 0);
        assert!(matches!(refills.try_recv(), Ok(Refill::Window { from: (1_000_500, _), .. })));
    }

    #[test]
    fn new_mail_waits_behind_an_older_backlog_of_its_class_only() {
        let (lane, refills, hand) = window(true);
        assert_eq!(lane.claim(hand.now(), 9).len(), 0);
        assert_eq!(refills.try_iter().count(), 3);
        lane.0.fresh(ready(1, Class::Normal, 1_000));
        assert_eq!(lane.claim(hand.now(), 9).len(), 0);
        lane.0.refilled(Class::Normal, vec![ready(7, Class::Normal, 10)], None);
        assert_eq!(ids(&lane.claim(hand.now(), 9)), [7]);
        // The reader's answer came from before the fresh one: that one is still known to be on disk.
        let again: Vec<Refill> = refills.try_iter().collect();
        assert!(
            matches!(&again[..], [Refill::Window { class: Class::Normal, from: (1_000, _), .. }]),
            "{again:?}"
        );
    }

    #[test]
    fn a_stale_row_does_not_come_back_to_life() {
        let (lane, _refills, hand) = window(false);
        lane.0.fresh(ready(1, Class::Normal, 10));
        let claimed = lane.claim(hand.now(), 1);
        lane.0.put_back(QueueId::from_bits(2), Class::Normal, 20);
        assert_eq!(lane.claim(hand.now(), 9).len(), 0);
        // The reader read both rows before the first was settled.
        lane.0.settled(claimed[0].id, Class::Normal, None);
        lane.0.refilled(Class::Normal, vec![ready(1, Class::Normal, 10), ready(2, Class::Normal, 20)], None);
        assert_eq!(ids(&lane.claim(hand.now(), 9)), [2]);
        assert_eq!(lane.next_due(), None);
    }

    #[test]
    fn a_full_window_leaves_the_rest_on_disk() {
        let (lane, refills, hand) = window(false);
        for id in 1..=1_500 {
            lane.0.fresh(ready(id, Class::Normal, 10));
        }
        assert_eq!(lane.waiting_hint(), CAPACITY[1]);
        assert_eq!(lane.claim(hand.now(), 100).len(), 100);
        assert!(refills.try_recv().is_err());
        assert_eq!(lane.claim(hand.now(), 500).len(), 500);
        let Ok(Refill::Window { from, limit, .. }) = refills.try_recv() else { panic!("no refill") };
        assert_eq!((from, limit), ((10, QueueId::from_bits(1_001)), 600));
    }

    #[test]
    fn a_window_keeps_no_more_content_in_memory_than_its_share() {
        let (lane, _refills, hand) = window(false);
        for id in 1..=3 {
            let mut ready = ready(id, Class::Normal, 10);
            ready.due.content = Content::Memory(Arc::new(Held::unshared(vec![0; 400].into())));
            lane.0.fresh(ready);
        }
        let in_memory =
            |due: Vec<Due>| due.iter().filter(|due| matches!(due.content, Content::Memory(_))).count();
        assert_eq!(in_memory(lane.claim(hand.now(), 9)), 2);
        assert_eq!(lane.0.shared.content.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_released_claim_is_read_again() {
        let (lane, refills, hand) = window(false);
        lane.0.fresh(ready(1, Class::Normal, 10));
        let mut claimed = lane.claim(hand.now(), 1);
        lane.release(claimed.remove(0));
        assert_eq!(lane.next_due(), Timestamp::from_millisecond(10).ok());
        assert_eq!(lane.claim(hand.now(), 1).len(), 0);
        assert!(matches!(refills.try_recv(), Ok(Refill::Window { from: (10, _), .. })));
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
