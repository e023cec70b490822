//! A lane: the door to its due work, and what all lanes share. What stands behind the door is its [`Window`].
//!
//! Work is handed out in two steps. A connection says how much it wants ([`Lane::claim`]); the writer, with its next
//! commit, claims that much of what the lane's limits allow ([`Window::start`]), so that what is in flight, and what
//! it uses up of a limit, is on disk before the first octet leaves ([`Window::started`]).

use super::inbox::Inbox;
use super::leaps::Leaps;
use super::ledger::{Moment, Standing};
use super::limits::{Mixed, Rule, Units};
use super::window::{Window, index};
use super::work::{Due, Location};
use super::{Content, LaneName, QueueId};
use crate::clock::Clock;
use crate::message::envelope::Class;
use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;

/// Messages in a window, by class: priority always has room of its own.
const CAPACITY: [usize; 3] = [500, 1_000, 500];
/// Beyond so many lanes, windows shrink, so that all of them together stay bounded.
const FULL_WINDOWS: usize = 16;
/// Orders a class: due time in milliseconds, then age.
pub(super) type Key = (i64, QueueId);
/// Before everything.
pub(super) const FIRST: Key = (i64::MIN, QueueId::from_bits(0));

/// Where somebody is who reads what is due in a lane behind what is in memory ([`Queue::due_behind`](super::Queue::due_behind)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark(pub(super) Key);

impl Mark {
    /// The message there.
    #[must_use]
    pub fn id(self) -> QueueId {
        self.0.1
    }
}

/// What all lanes share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) clock: Clock,
    /// Octets of content that windows may keep in memory, and do.
    pub(super) content_limit: AtomicU64,
    pub(super) content: AtomicU64,
    pub(super) lanes: AtomicUsize,
    /// Set when claims ended since the writer looked.
    pub(super) claims_changed: AtomicBool,
    /// Set when a lane wants work and the writer wasn't told yet.
    starts_wanted: AtomicBool,
    /// What is added to the time since boot.
    steady_base: i64,
    /// Leaps of the wall clock that open mail has lived through.
    pub(super) leaps: ArcSwap<Leaps>,
    /// The latest moment that was told.
    latest: AtomicI64,
    inbox: Arc<Inbox>,
    pub(super) refills: Sender<Refill>,
}

/// A request to the reader.
#[derive(Debug)]
pub(super) enum Refill {
    /// Read this class of this lane, due up to `until`, which is now.
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

    /// Forgets what is in memory, so that what was given back and what came since are claimed in their order again.
    pub fn read_anew(&self) {
        self.0.read_anew();
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

    /// From now on this message is claimed when no other is due, whatever their classes are; false if it was so before.
    #[must_use]
    pub fn spare(&self, id: QueueId) -> bool {
        self.0.state.lock().spared.insert(id)
    }

    /// How many messages are spared.
    #[must_use]
    pub fn spared(&self) -> usize {
        self.0.state.lock().spared.len()
    }

    /// Whether something else than what is spared is due and may go by the limits.
    #[must_use]
    pub fn has_unspared(&self) -> bool {
        self.0.has_unspared()
    }

    /// All are claimed in their order again; gives those that were not.
    #[must_use]
    pub fn spare_none(&self) -> Vec<QueueId> {
        self.0.state.lock().spared.drain().collect()
    }

    /// Waits until something may be claimable: new mail, or the next due time. Safe to drop at any time.
    pub async fn wait(&self) {
        self.0.wait().await;
    }

    /// Claims up to `room` messages of these classes that are due and can't go by this lane, whatever its limits are,
    /// for somebody who moves them: no attempt is made. Not those that may have arrived already, and only those that
    /// are `wanted`. Those in memory: for more see [`Queue::due_behind`](super::Queue::due_behind).
    #[must_use]
    pub fn claim_stuck(&self, classes: &[Class], room: usize, wanted: impl Fn(&Due) -> bool) -> Vec<Due> {
        self.0.claim_stuck(classes, room, wanted)
    }

    /// When mail of class priority that is due will go, if the limits keep it waiting; none if they don't, or nothing
    /// of it is due.
    #[must_use]
    pub fn priority_waits_until(&self) -> Option<Timestamp> {
        if self.is_due(Class::Priority) { self.wait_of(Class::Priority) } else { None }
    }

    /// Whether mail of a class is due and not on its way.
    #[must_use]
    pub fn is_due(&self, class: Class) -> bool {
        !self.0.state.lock().class(class).ready.is_empty()
    }

    /// Of what is due and in memory, the last that would go.
    #[must_use]
    pub fn last_due(&self) -> Option<QueueId> {
        let mut state = self.0.state.lock();
        let last = |class: &Class| state.class(*class).ready.last_key_value().map(|((_, id), _)| *id);
        Class::ALL.iter().rev().find_map(last)
    }

    /// Whether mail of a class is due, what is on its way included.
    #[must_use]
    pub fn has(&self, class: Class) -> bool {
        self.is_due(class) || self.0.state.lock().claims.values().any(|claim| claim.class == class)
    }

    /// When the limits let the next message of a class go; none when they let it go now.
    #[must_use]
    pub fn wait_of(&self, class: Class) -> Option<Timestamp> {
        self.0.forecast(class, Mixed::of(class, Units::message(1)), self.0.shared.moment())
    }

    /// When the limits will have let so much mail up to a class go, what is in flight included; none when they let it go at
    /// once.
    #[must_use]
    pub fn forecast(&self, class: Class, waiting: Mixed) -> Option<Timestamp> {
        self.0.forecast(class, waiting, self.0.shared.moment())
    }

    /// What of so much mail up to a class, what is in flight included, the limits will keep waiting for longer than
    /// `patience` at a stretch, and when they begin to if that isn't now; none when they never do that.
    #[must_use]
    pub fn surplus(
        &self,
        class: Class,
        waiting: Mixed,
        patience: SignedDuration,
    ) -> Option<(Mixed, Option<Timestamp>)> {
        self.0.surplus(class, waiting, patience)
    }

    /// Whether the limits ever let so much mail of a class go within `patience`, as they do where nothing was sent before.
    #[must_use]
    pub fn lets_go_whole(&self, class: Class, units: Units, patience: SignedDuration) -> bool {
        self.0.lets_go_whole(class, units, patience)
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
        leaps: Leaps,
        content_limit: u64,
        inbox: Arc<Inbox>,
        refills: Sender<Refill>,
    ) -> Self {
        Self {
            clock,
            steady_base,
            leaps: ArcSwap::from_pointee(leaps),
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
    pub(super) fn capacity(&self, class: Class) -> usize {
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

#[cfg(test)]
mod tests;
