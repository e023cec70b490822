//! A lane and its connections: how many there are, whether they may go on, and what becomes of their reports.
//!
//! What it delivers to is its [`Target`].
//!
//! One task per smarthost ([`Lane::run`]) opens connections as work piles up; each connection claims for itself
//! ([`super::relay`]). Whether the lane flows is one [`LaneState`] under a short lock.

use super::announce;
use super::guests::{Guests, Offers};
use super::lane_state::{Change, Halt, LaneState, Permit, Suspects};
use super::learned::Learned;
use super::notices::Budget;
use super::providers;
use super::relay::{self, Errand};
use super::target::Target;
use super::verdict::{Cause, Stage, Stop, Verdict};
use crate::admin::{LaneStatus, LimitStatus};
use crate::clock::Clock;
use crate::config::schema::Smarthost;
use crate::events::Events;
use crate::message::envelope::Class;
use crate::queue::ledger::Standing;
use crate::queue::limits::Rule;
use crate::queue::{self, Due, LaneName, Queue, QueueId};
use crate::smtp::reply::Reply;
use arc_swap::ArcSwap;
use jiff::Timestamp;
use parking_lot::Mutex;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Waiting messages per connection that are worth one more connection at once.
const PILE: usize = 8;
/// While anything waits and every connection is busy, one more is opened this often: a slow smarthost needs them.
const PATIENCE: Duration = Duration::from_millis(100);
/// Messages per connection, and in all, that are claimed before a connection asks for them, so that it doesn't wait
/// for the disk.
const AHEAD: usize = 8;
const MOST_AHEAD: usize = 128;
/// Messages of one connection that are sent ahead of their replies.
const MOST_UNANSWERED: usize = 10;
/// How often a lane that stands still is searched for mail whose time has run out.
const AGEING: Duration = Duration::from_mins(1);
/// The queue of one smarthost, at work.
pub struct Lane {
    pub(super) name: LaneName,
    pub(super) queue: Queue,
    pub(super) entries: queue::Lane,
    pub(super) target: ArcSwap<Target>,
    pub(super) state: Mutex<LaneState>,
    /// The smarthost did its work or kept mail from leaving, since the daemon started.
    answered: AtomicBool,
    pub(super) clock: Clock,
    pub(super) events: Events,
    tracker: TaskTracker,
    /// The daemon's.
    stop: CancellationToken,
    /// Messages that a connection takes before the smarthost ends it, as far as we met that.
    endurance: AtomicU32,
    /// Microseconds that the smarthost is at work on a message, as far as they were seen; 0: not yet.
    pace: AtomicU64,
    learned: Mutex<Learned>,
    pub(super) guests: Mutex<Guests>,
    pub(super) suspects: Mutex<Suspects>,
    /// How often a message was told what stops the lane.
    told: AtomicU64,
    /// How often it was asked whether one may go.
    probes: AtomicU64,
    /// Since when it stands, in milliseconds since boot.
    pub(super) stands_since: Mutex<Option<i64>>,
    pub(super) budget: Mutex<Budget>,
    active: AtomicUsize,
    connecting: AtomicUsize,
    resting: AtomicUsize,
    /// Something changed that may call for a connection.
    changed: Notify,
}

/// Counts a connection in one of its phases.
pub struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(counter: &'a AtomicUsize) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(counter)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection, until it has ended in whatever way.
struct Open {
    lane: Arc<Lane>,
    /// As a probe, its number.
    probe: Option<u64>,
}

impl Drop for Open {
    fn drop(&mut self) {
        let Self { lane, probe } = self;
        if let Some(number) = *probe {
            lane.state.lock().probe_over(number);
        }
        if lane.active.fetch_sub(1, Ordering::Relaxed) == 1 {
            lane.entries.stand_down();
        }
        lane.changed.notify_one();
    }
}

/// A connection that isn't at work yet: until it is, or has come to nothing, no other is opened.
pub struct Connecting(Arc<Lane>);

impl Connecting {
    fn of(lane: &Arc<Lane>) -> Self {
        lane.connecting.fetch_add(1, Ordering::Relaxed);
        Self(lane.clone())
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        self.0.connecting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Lane {
    /// A lane that does nothing until it is [run](Self::run).
    #[must_use]
    pub fn new(
        queue: Queue,
        target: Target,
        clock: Clock,
        events: Events,
        tracker: TaskTracker,
        stop: &CancellationToken,
    ) -> Arc<Self> {
        let name = LaneName::new(&target.smarthost.name);
        let entries = queue.lane(&name);
        limit(&entries, &target.smarthost);
        Arc::new(Self {
            entries,
            name,
            queue,
            target: ArcSwap::from_pointee(target),
            state: Mutex::new(LaneState::default()),
            answered: AtomicBool::new(false),
            clock,
            events,
            tracker,
            stop: stop.clone(),
            endurance: AtomicU32::new(u32::MAX),
            pace: AtomicU64::new(0),
            learned: Mutex::default(),
            guests: Mutex::default(),
            suspects: Mutex::default(),
            told: AtomicU64::new(0),
            probes: AtomicU64::new(0),
            stands_since: Mutex::default(),
            budget: Mutex::default(),
            active: AtomicUsize::new(0),
            connecting: AtomicUsize::new(0),
            resting: AtomicUsize::new(0),
            changed: Notify::new(),
        })
    }

    /// New settings: a stopped lane is probed at once, connections made under the old ones finish what they began and
    /// count until they end. A smarthost that left the configuration and comes back has the same lane, so that
    /// nothing is forgotten of what it does meanwhile.
    pub fn change(&self, target: Target) {
        let target = Arc::new(target);
        let before = self.target.swap(target.clone());
        limit(&self.entries, &target.smarthost);
        before.replaced.cancel();
        self.endurance.store(u32::MAX, Ordering::Relaxed);
        self.pace.store(0, Ordering::Relaxed);
        *self.learned.lock() = Learned::default();
        self.guests.lock().try_all_again();
        *self.suspects.lock() = Suspects::default();
        let _ = self.entries.spare_none();
        let mut state = self.state.lock();
        if target.is_removed {
            // What stood in the way is nobody's concern any more.
            *state = LaneState::default();
            *self.stands_since.lock() = None;
        }
        state.retry_now(self.clock.now());
        drop(state);
        self.changed.notify_one();
    }

    /// An admin wants it tried now.
    pub fn retry_now(&self) {
        self.state.lock().retry_now(self.clock.now());
        self.changed.notify_one();
    }

    /// Whether its smarthost isn't configured any more.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.target.load().is_removed
    }

    /// How it is, for `status`. Counts of messages are the queue's to add.
    #[must_use]
    pub fn status(&self) -> LaneStatus {
        let target = self.target.load();
        let standstill = target.standstill().map(|cause| (cause, None));
        let (state, halt) = match &*self.state.lock() {
            _ if target.is_removed => ("removed", standstill),
            _ if standstill.is_some() => ("disabled", standstill),
            LaneState::Flowing => ("flowing", None),
            LaneState::Stopped(halt) => ("stopped", Some((halt.cause.clone(), Some(self.next_try(halt))))),
            LaneState::Frozen(halt) => ("frozen", Some((halt.cause.clone(), Some(self.next_try(halt))))),
        };
        let cause = halt.as_ref().map(|(cause, _)| cause);
        let configured = target.smarthost.connections;
        let (most, recipients) = {
            let learned = self.learned.lock();
            (learned.connections(configured, self.clock.now()), learned.recipients())
        };
        let limits: Vec<LimitStatus> = self.entries.standings().into_iter().map(limit_status).collect();
        LaneStatus {
            lane: self.name.to_string(),
            state: state.into(),
            reason: cause.map(|cause| cause.reply.to_string()),
            advice: cause.and_then(|cause| cause.advice).map(str::to_owned),
            next_probe: halt.as_ref().and_then(|(_, next)| *next).map(|next| next.to_string()),
            connections: self.active.load(Ordering::Relaxed),
            learned_connections: (most < configured).then_some(most),
            learned_recipients: recipients,
            queued: 0,
            deferred: 0,
            held: 0,
            next_due: None,
            quota_left: limits.iter().map(|limit| limit.left).min(),
            empty_by: None,
            fallback: target.smarthost.fallback.clone(),
            mailboxes: Vec::new(),
            known_limits: providers::limits_of(&target.smarthost),
            defaults: providers::defaults_in_words(&target.smarthost),
            limits,
        }
    }

    /// When a halt ends for a message, as far as the limits let one of those that are due go by then, or else the next that
    /// comes.
    fn next_try(&self, halt: &Halt) -> Timestamp {
        let waits = |is_due: bool| {
            let classes = Class::ALL.into_iter().filter(move |class| !is_due || self.entries.is_due(*class));
            // None comes before any time: it may go now.
            classes.map(|class| self.entries.wait_of(class)).min()
        };
        let allowed = waits(true).or_else(|| waits(false)).flatten();
        allowed.map_or(halt.next_probe, |allowed| allowed.max(halt.next_probe))
    }

    /// Opens connections as needed until the daemon stops.
    pub async fn run(self: Arc<Self>) {
        let mut ageing = tokio::time::interval(AGEING);
        loop {
            let wake = self.staff();
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.changed.notified() => {}
                () = self.entries.wait(), if wake == Wake::OnWork => {}
                () = tokio::time::sleep(wake.after()) => {}
                () = self.entries.expiry(), if !self.is_removed() => self.expire_due().await,
                _ = ageing.tick() => {
                    self.age().await;
                    self.expire_due().await;
                }
            }
        }
    }

    /// Opens one connection more if that helps; when to look again.
    fn staff(self: &Arc<Self>) -> Wake {
        let target = self.target.load();
        if !target.smarthost.enabled {
            return Wake::OnChange;
        }
        let waiting = self.entries.waiting_hint();
        let now = self.clock.now();
        let active = self.active.load(Ordering::Relaxed);
        if waiting == 0 {
            // With connections open, they are the ones to be woken by new work, not this task.
            return if active == 0 { Wake::OnWork } else { Wake::In(PATIENCE) };
        }
        let most = self.learned.lock().connections(target.smarthost.connections, now);
        if active >= most || self.connecting.load(Ordering::Relaxed) > 0 {
            return Wake::In(PATIENCE);
        }
        if self.resting.load(Ordering::Relaxed) > 0 {
            return Wake::In(PATIENCE);
        }
        // The lock isn't held while what it says is carried out.
        let number = self.probes.fetch_add(1, Ordering::Relaxed);
        let permit = self.state.lock().ask(now, number);
        match permit {
            Permit::All => self.connect(None),
            Permit::Probe => self.connect(Some(number)),
            Permit::Wait(Some(_)) if self.hangs_on_few(now) => {
                // The first other message tells more than one of these again.
                if self.entries.has_unspared() {
                    self.suspects.lock().look(now);
                    self.state.lock().look_now(now);
                }
                return Wake::In(PATIENCE);
            }
            Permit::Wait(until) => {
                let wait = until.map_or(AGEING, |until| {
                    Duration::try_from(until.duration_since(now)).unwrap_or_default()
                });
                return Wake::In(wait.clamp(Duration::from_millis(10), AGEING));
            }
        }
        Wake::In(PATIENCE)
    }

    /// Whether a few messages stopped the lane by what they were told, and others may tell more.
    fn hangs_on_few(&self, now: Timestamp) -> bool {
        self.state.lock().is_told() && self.suspects.lock().may_look(self.entries.spared(), now)
    }

    /// A connection for everything that is due, or as the probe of this number.
    fn connect(self: &Arc<Self>, probe: Option<u64>) {
        self.active.fetch_add(1, Ordering::Relaxed);
        let (connecting, open) = (Connecting::of(self), Open { lane: self.clone(), probe });
        let errand = if probe.is_some() { Errand::Probe } else { Errand::Deliver };
        self.tracker.spawn(async move { relay::serve(open.lane.clone(), errand, connecting).await });
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &LaneName {
        &self.name
    }

    /// Whether it flows, now.
    #[must_use]
    pub fn state(&self) -> LaneState {
        self.state.lock().clone()
    }

    /// Whether it may send at all, by its configuration.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.target.load().smarthost.enabled
    }

    /// Whether the smarthost said what it thinks of us, or couldn't be asked, since the daemon started.
    #[must_use]
    pub fn was_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// Its messages.
    #[must_use]
    pub fn entries(&self) -> &queue::Lane {
        &self.entries
    }

    // ---- what a connection asks ----

    /// The settings in force.
    #[must_use]
    pub fn target(&self) -> Arc<Target> {
        self.target.load_full()
    }

    /// The queue, for reading content.
    #[must_use]
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Whether connections must end.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Cancelled when connections must end.
    #[must_use]
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// A connection is up (not yet logged in).
    pub fn connected(&self, peer: SocketAddr, tls: Option<&str>) {
        self.events.smarthost_connected(&self.name, peer, tls);
    }

    /// The access token was refused, and the one that is fetched now is tried before that counts.
    pub fn token_fetched_again(&self) {
        self.events.token_fetched_again(&self.name);
    }

    /// Whether a connection made for this target may claim more.
    #[must_use]
    pub fn flows_for(&self, target: &Arc<Target>, errand: Errand) -> bool {
        let current = self.target.load();
        let flows = errand == Errand::Probe || matches!(*self.state.lock(), LaneState::Flowing);
        flows && current.smarthost.enabled && Arc::ptr_eq(&current, target) && !self.is_stopping()
    }

    /// The next message that is due.
    #[must_use]
    pub fn claim(&self) -> Option<Due> {
        let ahead = AHEAD * self.active.load(Ordering::Relaxed);
        let due = self.entries.claim(1, ahead.min(MOST_AHEAD)).pop();
        if self.entries.waiting_hint() > PILE * self.active.load(Ordering::Relaxed) {
            self.changed.notify_one();
        }
        due
    }

    /// How often a message was told what stops the lane, so far: one that was taken before the last time shows nothing of
    /// what came behind it.
    #[must_use]
    pub fn told(&self) -> u64 {
        self.told.load(Ordering::Relaxed)
    }

    /// This message was told what stops the lane.
    pub(super) fn suspect(&self, id: QueueId, stage: Stage, now: Timestamp) {
        self.told.fetch_add(1, Ordering::Relaxed);
        let is_new = self.entries.spare(id);
        self.suspects.lock().add(stage, is_new, now);
    }

    /// Gives a claim back; nothing was tried.
    pub fn unclaim(&self, due: Due) {
        self.entries.release(due);
    }

    /// How many messages a connection is given: as configured, or fewer where the smarthost was seen to end it.
    #[must_use]
    pub fn endurance(&self, target: &Target) -> u32 {
        self.endurance.load(Ordering::Relaxed).min(target.smarthost.messages_per_connection).max(1)
    }

    /// The smarthost ended a connection after so many messages, with more on their way.
    pub fn ended_after(&self, messages: u32) {
        self.endurance.store(messages.max(1), Ordering::Relaxed);
    }

    /// A connection lasted as long as it was given; the next one is tried a little longer.
    pub fn endured(&self, target: &Target) {
        let endurance = self.endurance.load(Ordering::Relaxed);
        if endurance < target.smarthost.messages_per_connection {
            self.endurance.store(endurance.saturating_add(1), Ordering::Relaxed);
        }
    }

    /// The smarthost was at work on a message for so long.
    pub fn took(&self, time: std::time::Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1);
        let before = self.pace.load(Ordering::Relaxed);
        let pace = if before == 0 { micros } else { before.saturating_mul(3).saturating_add(micros) / 4 };
        self.pace.store(pace.max(1), Ordering::Relaxed);
    }

    /// Messages that go over one connection ahead of their replies: as many as the smarthost takes in a second, so that mail of class
    /// priority never stands behind more than that; two as long as nobody knows.
    #[must_use]
    pub fn window(&self) -> usize {
        match self.pace.load(Ordering::Relaxed) {
            0 => 2,
            pace => usize::try_from(1_000_000 / pace).unwrap_or(MOST_UNANSWERED).clamp(1, MOST_UNANSWERED),
        }
    }

    /// Waits until something may be due.
    pub async fn work(&self) {
        self.entries.wait().await;
    }

    /// Counts a connection as having nothing to do, until the guard is dropped.
    #[must_use]
    pub fn resting(&self) -> Counted<'_> {
        Counted::new(&self.resting)
    }

    /// The smarthost does its work.
    pub fn succeeded(&self) {
        let change = {
            let mut state = self.state.lock();
            self.answered.store(true, Ordering::Relaxed);
            *self.stands_since.lock() = None;
            state.succeeded()
        };
        if change == Change::Resumed {
            self.events.lane_resumed(&self.name);
            self.changed.notify_one();
        }
        let target = self.target.load();
        // Whoever was told or not: the next one is another.
        let since = target.frozen.as_ref().and_then(|frozen| frozen.ended(&self.name));
        if let (Some(endpoint), Some(since)) = (&target.announce_to, since) {
            let now = self.clock.now();
            self.queue.announce(vec![announce::resumed(endpoint, &self.name, since, now)]);
        }
    }

    /// Recipients of one transaction, as far as the smarthost was seen to limit them.
    #[must_use]
    pub fn recipients_at_most(&self) -> Option<usize> {
        self.learned.lock().recipients()
    }

    /// The smarthost took so many recipients of a transaction and wants the others in another one.
    pub fn took_recipients(&self, taken: usize) {
        let mut learned = self.learned.lock();
        if learned.recipients() != Some(taken) {
            learned.took(taken);
            self.events.limit_learned(&self.name, "recipients of one message", taken);
        }
    }

    /// A connection to this address of the smarthost came to no message: others of it come first for a while.
    pub(super) fn failed_at(&self, address: IpAddr) {
        self.learned.lock().failed_at(address, self.clock.now());
    }

    /// A connection to this address is ready for mail.
    pub(super) fn worked_at(&self, address: IpAddr) {
        self.learned.lock().worked_at(address);
    }

    /// The smarthost's addresses that others of it come before.
    pub(super) fn avoided(&self) -> Vec<IpAddr> {
        self.learned.lock().avoided(self.clock.now())
    }

    /// The smarthost said what it takes.
    pub(super) fn offered(&self, offers: Offers) {
        self.learned.lock().offered(offers);
    }

    /// What the smarthost said last that it takes.
    pub(super) fn offers(&self) -> Option<Offers> {
        self.learned.lock().offers()
    }

    /// Whether BDAT may be used, as far as the smarthost was seen to know it.
    #[must_use]
    pub fn takes_chunks(&self) -> bool {
        self.learned.lock().takes_chunks()
    }

    /// The smarthost breaks off at a recipient when the content is out already, which leaves doubt about all the others: from
    /// now on content waits for its answers, by DATA.
    pub fn waits_for_recipients(&self) {
        self.learned.lock().refused_chunks();
    }

    /// The smarthost lists CHUNKING and doesn't know BDAT: from now on it gets DATA.
    pub fn refused_chunks(&self, reply: &Reply) {
        let mut learned = self.learned.lock();
        if learned.takes_chunks() {
            learned.refused_chunks();
            self.events.chunks_refused(&self.name, reply);
        }
    }

    /// Whether lines may be as long as they are, as far as was seen.
    #[must_use]
    pub fn takes_long_lines(&self) -> bool {
        self.learned.lock().takes_long_lines()
    }

    /// The smarthost refused a message for the length of its lines: from now on long ones are encoded.
    pub fn refused_long_lines(&self, reply: &Reply) {
        if self.learned.lock().refused_long_lines() {
            self.events.long_lines_refused(&self.name, reply);
        }
    }

    /// Whether a connection was refused because there are others: then those go on, and no more are opened.
    fn is_one_too_many(&self, verdict: &Verdict) -> bool {
        let Verdict::LaneStopped(Stop::Busy, cause) = verdict else { return false };
        let others = self.active.load(Ordering::Relaxed).saturating_sub(1);
        let flows = matches!(*self.state.lock(), LaneState::Flowing);
        if !cause.closes() || others == 0 || !flows {
            return false;
        }
        if !self.learned.lock().refused_beside(others, cause.is_about_connections(), self.clock.now()) {
            return false;
        }
        self.events.limit_learned(&self.name, "connections at once", others);
        true
    }

    /// A connection came to nothing.
    pub fn stopped(&self, verdict: Verdict) {
        if self.is_one_too_many(&verdict) {
            return;
        }
        let (stop, cause) = match verdict {
            Verdict::LaneStopped(stop, cause) => (stop, cause),
            // Whatever else it was, it was no delivery: the lane waits a little.
            Verdict::Deferred(cause) | Verdict::Failed(cause) | Verdict::Uncertain(cause) => {
                (Stop::Down, cause)
            }
            Verdict::Delivered(_) => return,
        };
        self.halt(stop, &cause);
    }

    pub(super) fn halt(&self, stop: Stop, cause: &Cause) {
        let now = self.clock.now();
        let (change, next_probe) = {
            let mut state = self.state.lock();
            let change = state.stop(stop, cause.clone(), now);
            self.stands_since.lock().get_or_insert_with(|| self.clock.since_boot());
            self.answered.store(true, Ordering::Relaxed);
            let next_probe = match &*state {
                LaneState::Flowing => now,
                LaneState::Stopped(halt) | LaneState::Frozen(halt) => halt.next_probe,
            };
            (change, next_probe)
        };
        let reason = cause.reply.to_string();
        match change {
            Change::Stopped => {
                self.events.lane_stopped(&self.name, &reason, cause.advice.unwrap_or(""), &next_probe);
            }
            Change::Frozen => {
                self.events.lane_frozen(&self.name, &reason, cause.advice.unwrap_or(""), &next_probe);
                let target = self.target.load();
                if let (Some(endpoint), Some(frozen)) = (&target.announce_to, &target.frozen)
                    && frozen.began(&self.name, now)
                {
                    let event =
                        announce::frozen(endpoint, &self.name, &reason, cause.advice, next_probe, now);
                    self.queue.announce(vec![event]);
                }
            }
            Change::None | Change::Resumed => {}
        }
    }
}

/// What a smarthost may be sent from now on.
fn limit(entries: &queue::Lane, smarthost: &Smarthost) {
    let rules = smarthost.limits.rules();
    if smarthost.enabled { entries.limit(rules) } else { entries.shut(rules) }
}

fn limit_status((rule, standing, next): (Rule, Standing, Option<Timestamp>)) -> LimitStatus {
    LimitStatus {
        limit: rule.name.into(),
        default_of: rule.known_of,
        most: rule.most,
        used: standing.used,
        left: standing.left,
        left_for_priority: standing.left_for_priority,
        next: next.map(|next| next.to_string()),
    }
}

/// When the lane's task looks again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wake {
    /// When new mail comes in or something changes.
    OnWork,
    /// When something changes.
    OnChange,
    /// Then, at the latest.
    In(Duration),
}

impl Wake {
    fn after(self) -> Duration {
        match self {
            Self::OnWork | Self::OnChange => AGEING,
            Self::In(wait) => wait,
        }
    }
}

#[cfg(test)]
mod tests;
