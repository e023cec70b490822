//! A lane and its connections: how many there are, whether they may go on, and what becomes of their reports.
//!
//! One task per smarthost ([`Lane::run`]) opens connections as work piles up; each connection claims for itself
//! ([`super::relay`]). Whether the lane flows is one [`LaneState`] under a short lock.

use super::announce;
use super::lane_state::{Change, LaneState, Permit};
use super::learned::Learned;
use super::notices::Budget;
use super::outcome::{self, Conclusion};
use super::providers;
use super::relay::{self, Errand};
use super::route::Router;
use super::sent::{Senders, Sent};
use super::verdict::{self, Cause, Event, Fault, Stage, Stop, Upstream, Verdict};
use crate::admin::{LaneStatus, LimitStatus};
use crate::clock::Clock;
use crate::config::schema::{Retry, Smarthost, TlsMode};
use crate::events::Events;
use crate::net::tls::{self, TlsError};
use crate::queue::ledger::Standing;
use crate::queue::limits::{Limits, Rule};
use crate::queue::{self, Damaged, Due, Fate, LaneName, Memory, Notice, Outcome, Queue};
use crate::smtp::reply::Reply;
use arc_swap::ArcSwap;
use jiff::Timestamp;
use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
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
/// How often a lane that stands still is searched for mail whose time has run out.
const AGEING: Duration = Duration::from_mins(1);
/// How many of those are dealt with at once.
const AGED_BATCH: usize = 100;

/// What mail of a removed smarthost is held with.
pub const REMOVED: &str = "no smarthost of this name is configured";

/// What a lane delivers to, by one generation of the configuration.
#[derive(Debug)]
pub struct Target {
    /// The smarthost's settings.
    pub smarthost: Smarthost,
    /// Our EHLO name.
    pub hostname: Box<str>,
    /// When to try again.
    pub retry: Retry,
    /// Where our own notices go.
    pub router: Arc<Router>,
    /// The webhook that is told of outcomes; none: nobody is.
    pub announce_to: Option<LaneName>,
    /// The mailboxes that send through it.
    pub senders: Senders,
    /// The smarthost left the configuration; what waits for it waits, and grows old.
    pub is_removed: bool,
    tls: Option<Result<(Arc<ClientConfig>, ServerName<'static>), TlsError>>,
}

impl Target {
    /// Reads trust anchors; trouble with them stops the lane when it connects, not the daemon.
    #[must_use]
    pub fn new(smarthost: Smarthost, hostname: &str, retry: Retry, router: Arc<Router>) -> Self {
        let tls = (smarthost.tls != TlsMode::None).then(|| tls::connector(&smarthost));
        let (is_removed, announce_to, senders) = (false, None, Senders::default());
        Self { smarthost, hostname: hostname.into(), retry, router, is_removed, announce_to, senders, tls }
    }

    /// Tells this webhook of outcomes.
    #[must_use]
    pub fn announcing_to(self, announce_to: Option<LaneName>) -> Self {
        Self { announce_to, ..self }
    }

    /// Remembers what these mailboxes send.
    #[must_use]
    pub fn sending_for(self, senders: Senders) -> Self {
        Self { senders, ..self }
    }

    /// For a lane whose smarthost left the configuration: nothing is sent. `like` is any smarthost that is left; its
    /// limits aren't this one's.
    #[must_use]
    pub fn removed(name: &str, like: &Smarthost, hostname: &str, retry: Retry, router: Arc<Router>) -> Self {
        let (name, host) = (name.to_owned(), String::new());
        let (tls, replies) = (TlsMode::None, Vec::new());
        let (limits, fallback) = (Limits::default(), Vec::new());
        let like = like.clone();
        let smarthost =
            Smarthost { name, host, enabled: false, login: None, tls, replies, limits, fallback, ..like };
        Self { is_removed: true, ..Self::new(smarthost, hostname, retry, router) }
    }

    /// Why nothing goes, where the configuration alone says so.
    fn standstill(&self) -> Option<Cause> {
        let (text, advice) = if self.is_removed {
            (REMOVED, "configure it again, or delete its mail")
        } else if self.smarthost.enabled {
            return None;
        } else {
            ("the smarthost is disabled in the configuration", "set enabled = true to let its mail go")
        };
        Some(Cause {
            reply: Reply::new(451, None, text),
            from_peer: false,
            stage: Stage::Resolve,
            fault: Fault::Relay,
            advice: Some(advice),
        })
    }

    /// How its certificate is judged.
    ///
    /// # Errors
    /// What [`tls::connector`] found.
    pub fn tls(&self) -> Result<(Arc<ClientConfig>, ServerName<'static>), &dyn Display> {
        match &self.tls {
            Some(Ok((config, name))) => Ok((config.clone(), name.clone())),
            Some(Err(cause)) => Err(cause),
            None => Err(&"TLS is not configured for this smarthost"),
        }
    }
}

/// The queue of one smarthost, at work.
pub struct Lane {
    pub(super) name: LaneName,
    pub(super) queue: Queue,
    pub(super) entries: queue::Lane,
    target: ArcSwap<Target>,
    state: Mutex<LaneState>,
    pub(super) clock: Clock,
    pub(super) events: Events,
    tracker: TaskTracker,
    /// The daemon's.
    stop: CancellationToken,
    /// Messages that a connection takes before the smarthost ends it, as far as we met that.
    endurance: AtomicU32,
    learned: Mutex<Learned>,
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
            clock,
            events,
            tracker,
            stop: stop.clone(),
            endurance: AtomicU32::new(u32::MAX),
            learned: Mutex::default(),
            budget: Mutex::default(),
            active: AtomicUsize::new(0),
            connecting: AtomicUsize::new(0),
            resting: AtomicUsize::new(0),
            changed: Notify::new(),
        })
    }

    /// New settings: a stopped lane is probed at once, connections made under the old ones finish what they carry and
    /// count until they end. A smarthost that left the configuration and comes back has the same lane, so that
    /// nothing is forgotten of what it does meanwhile.
    pub fn change(&self, target: Target) {
        let target = Arc::new(target);
        self.target.store(target.clone());
        limit(&self.entries, &target.smarthost);
        self.endurance.store(u32::MAX, Ordering::Relaxed);
        *self.learned.lock() = Learned::default();
        let mut state = self.state.lock();
        if target.is_removed {
            // What stood in the way is nobody's concern any more.
            *state = LaneState::default();
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
            LaneState::Stopped(halt) => ("stopped", Some((halt.cause.clone(), Some(halt.next_probe)))),
            LaneState::Frozen(halt) => ("frozen", Some((halt.cause.clone(), Some(halt.next_probe)))),
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
            mailboxes: Vec::new(),
            known_limits: providers::limits_of(&self.target.load().smarthost.host),
            limits,
        }
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
                () = self.entries.expiry() => self.expire_due().await,
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
        match self.state.lock().ask(now) {
            Permit::All => self.connect(Errand::Deliver),
            Permit::Probe => self.connect(Errand::Probe),
            Permit::Wait(until) => {
                let wait = until.map_or(AGEING, |until| {
                    Duration::try_from(until.duration_since(now)).unwrap_or_default()
                });
                return Wake::In(wait.clamp(Duration::from_millis(10), AGEING));
            }
        }
        Wake::In(PATIENCE)
    }

    fn connect(self: &Arc<Self>, errand: Errand) {
        let lane = self.clone();
        self.connecting.fetch_add(1, Ordering::Relaxed);
        self.active.fetch_add(1, Ordering::Relaxed);
        self.tracker.spawn(async move {
            relay::serve(lane.clone(), errand).await;
            if lane.active.fetch_sub(1, Ordering::Relaxed) == 1 {
                lane.entries.stand_down();
            }
            lane.connecting.store(0, Ordering::Relaxed);
            lane.changed.notify_one();
        });
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
        // The first claim of a connection says that it is at work; a second one may be opened then.
        self.connecting.store(0, Ordering::Relaxed);
        let ahead = AHEAD * self.active.load(Ordering::Relaxed);
        let due = self.entries.claim(1, ahead.min(MOST_AHEAD)).pop();
        if self.entries.waiting_hint() > PILE * self.active.load(Ordering::Relaxed) {
            self.changed.notify_one();
        }
        due
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
        let (change, was_frozen) = {
            let mut state = self.state.lock();
            let was_frozen = matches!(*state, LaneState::Frozen(_));
            (state.succeeded(), was_frozen)
        };
        if let Change::Resumed { since } = change {
            self.events.lane_resumed(&self.name);
            if let Some(endpoint) = self.target.load().announce_to.as_ref().filter(|_| was_frozen) {
                let now = self.clock.now();
                self.queue.announce(vec![announce::resumed(endpoint, &self.name, since, now)]);
            }
            self.changed.notify_one();
        }
    }

    /// A probe found nothing to send.
    pub fn idle_probe_over(&self, errand: Errand) {
        if errand == Errand::Probe {
            self.state.lock().probe_abandoned();
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

    /// Whether BDAT may be used, as far as the smarthost was seen to know it.
    #[must_use]
    pub fn takes_chunks(&self) -> bool {
        self.learned.lock().takes_chunks()
    }

    /// The smarthost lists CHUNKING and doesn't know BDAT: from now on it gets DATA.
    pub fn refused_chunks(&self, reply: &Reply) {
        let mut learned = self.learned.lock();
        if learned.takes_chunks() {
            learned.refused_chunks();
            self.events.chunks_refused(&self.name, reply);
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

    fn halt(&self, stop: Stop, cause: &Cause) {
        let now = self.clock.now();
        let (change, next_probe) = {
            let mut state = self.state.lock();
            let change = state.stop(stop, cause.clone(), now);
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
                if let Some(endpoint) = &self.target.load().announce_to {
                    let event =
                        announce::frozen(endpoint, &self.name, &reason, cause.advice, next_probe, now);
                    self.queue.announce(vec![event]);
                }
            }
            Change::None | Change::Resumed { .. } => {}
        }
    }

    // ---- what becomes of a message ----

    /// Records what an attempt came to: one verdict per open recipient, none for those not tried; what was changed
    /// of the message for it, in words; and what to remember of it when a mailbox sends it.
    pub async fn conclude(
        &self,
        due: Due,
        verdicts: Vec<Option<Verdict>>,
        target: &Target,
        smarthost_sends_dsn: bool,
        rewritten: Vec<String>,
        sent: Option<Sent>,
    ) {
        let now = self.clock.now();
        let mut conclusion = outcome::conclude(&due, verdicts, now, &target.retry, !smarthost_sends_dsn);
        match conclusion.stop.take() {
            Some((stop, cause)) => self.halt(stop, &cause),
            None if conclusion.fates.is_empty() => {}
            None => self.succeeded(),
        }
        let fates = conclusion.fates.iter().map(|(_, fate)| fate);
        let remembered = sent.and_then(|sent| sent.settled(&target.smarthost.host, fates));
        self.settle(due, conclusion, now, target, rewritten, remembered.map(Arc::new)).await;
    }

    pub(super) async fn settle(
        &self,
        due: Due,
        conclusion: Conclusion,
        now: Timestamp,
        target: &Target,
        rewritten: Vec<String>,
        remembered: Option<Arc<Memory>>,
    ) {
        if conclusion.fates.is_empty() && conclusion.told.is_empty() && !conclusion.warned {
            return self.entries.release(due);
        }
        self.tell_fates(&due, &conclusion);
        let told = target.announce_to.as_ref();
        let events = told.map(|endpoint| announce::outcome(endpoint, &due, &conclusion, now));
        let mut notices = self.notices(&due, &conclusion, now, target).await.into_iter();
        let number = |index: usize| due.open.get(index).map(|open| open.number);
        let outcome = Outcome {
            id: due.id,
            lane: due.lane.clone(),
            at: now,
            fates: conclusion
                .fates
                .into_iter()
                .filter_map(|(index, fate)| Some((number(index)?, fate)))
                .collect(),
            next_attempt: conclusion.next_attempt,
            maybe_duplicate: conclusion.maybe_duplicate,
            warned: conclusion.warned,
            hold: None,
            notice: notices.next(),
            events: events.unwrap_or_default(),
            rewritten,
            remembered,
        };
        self.queue.settle(outcome).await;
        // News of several kinds at once is rare: the first kind goes along with the outcome, the others by themselves.
        for Notice { submission, octets } in notices {
            let mut draft = self.queue.draft();
            let kept = match draft.write(&octets).await {
                Ok(()) => self.queue.keep(draft, submission).await.map(drop),
                Err(cause) => Err(cause),
            };
            if let Err(cause) = kept {
                self.events.notice_lost(due.id, &cause);
            }
        }
    }

    fn tell_fates(&self, due: &Due, conclusion: &Conclusion) {
        for (index, fate) in &conclusion.fates {
            let (Some(recipient), Some(open)) = (due.envelope.recipients.get(*index), due.open.get(*index))
            else {
                continue;
            };
            let (id, lane, address) = (due.id, &self.name, &recipient.address);
            match fate {
                Fate::Delivered(reply) => self.events.delivered(id, lane, address, open.attempts + 1, reply),
                Fate::Deferred(reply) => {
                    let next =
                        conclusion.next_attempt.map_or_else(|| "at once".into(), |next| next.to_string());
                    self.events.deferred(id, lane, address, &next, reply);
                }
                Fate::Failed(reply) => self.events.failed(id, lane, address, reply),
                Fate::Expired(reply) => self.events.expired(id, lane, address, reply),
                // No attempt comes to this; intake does it.
                Fate::Discarded(_) => {}
            }
        }
        if conclusion.maybe_duplicate {
            self.events.maybe_duplicate(due.id, &self.name);
        }
    }

    /// The content can't be read. If it isn't what was written, an admin must look; else the disk may recover.
    pub async fn unreadable(&self, due: Due, cause: &io::Error) {
        self.events.content_unreadable(due.id, cause);
        if Damaged::is_in(cause) {
            return self.queue.set_aside(due, &cause.to_string()).await;
        }
        let target = self.target();
        let verdict = verdict::judge(
            Stage::Resolve,
            Event::Local(&cause.to_string()),
            &Upstream {
                host: &target.smarthost.host,
                authenticated: false,
                content_sent: false,
                probe: false,
                replies: &target.smarthost.replies,
            },
        );
        self.entries.release(due);
        self.stopped(verdict);
    }

    /// Deals with mail that has become old in a lane that stands still.
    async fn age(&self) {
        let halted = match &*self.state.lock() {
            LaneState::Flowing => None,
            LaneState::Stopped(halt) | LaneState::Frozen(halt) => Some(halt.cause.clone()),
        };
        let target = self.target.load_full();
        let Some(cause) = target.standstill().or(halted) else { return };
        let now = self.clock.now();
        let before =
            |age: Duration| now.checked_sub(jiff::SignedDuration::try_from(age).unwrap_or_default()).ok();
        // A smarthost that an admin switched off keeps its mail for as long as that takes; one that was removed is
        // gone, and the sender must hear of it.
        let may_expire = target.smarthost.enabled || target.is_removed;
        let give_up = before(target.retry.give_up_after).filter(|_| may_expire);
        let searches = [
            give_up.map(|before| (before, false)),
            target.retry.warn_after.and_then(before).map(|before| (before, true)),
        ];
        for (received_before, only_unwarned) in searches.into_iter().flatten() {
            loop {
                let aged =
                    self.queue.claim_aged(&self.name, received_before, only_unwarned, AGED_BATCH).await;
                let aged = match aged {
                    Ok(aged) => aged,
                    Err(cause) => return self.events.not_searched(&self.name, &cause),
                };
                let (found, mut moved) = (aged.len(), false);
                for due in aged {
                    let conclusion = outcome::age(&due, &cause, now, &target.retry, may_expire);
                    moved |= !conclusion.fates.is_empty() || conclusion.warned;
                    self.settle(due, conclusion, now, &target, Vec::new(), None).await;
                }
                // The settled ones must be gone from the search before it is repeated.
                self.queue.flush().await;
                if found < AGED_BATCH || !moved || self.is_stopping() {
                    break;
                }
            }
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
