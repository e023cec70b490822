//! One endpoint at work: a task that claims what is due, posts it and records what came of it.
//!
//! A window of due events is all it holds, with 1 MiB of their bodies; others are read when they are posted. What is on
//! its way, or posted and not yet recorded, is a set in this task alone: a crash forgets it, and it is due again.

use super::gate::Gate;
use super::receiver::{Letter, Target};
use super::schedule::{self, Health};
use crate::clock::Clock;
use crate::deliver::announce;
use crate::events::Events;
use crate::net::http::{Answer, PostError};
use crate::queue::outbox::{DueEvent, EventId, Outbox, PostFate, Posted};
use crate::queue::{LaneName, Queue};
use arc_swap::ArcSwap;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Due events held in memory.
const WINDOW: usize = 64;
/// Events posted but not yet recorded, beyond which no more are begun: the disk is slow.
const UNRECORDED: usize = 256;
/// The longest sleep; also how soon a clock that was set is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// How long to rest when the index can't be read.
const REST: Duration = Duration::from_secs(1);
/// When stopping, posts under way have this long to end; the daemon as a whole has eight seconds.
const LAST_POSTS: Duration = Duration::from_secs(5);
/// An answer is recorded up to so many characters.
const ANSWER: usize = 300;

/// A generation of the settings.
#[derive(Debug)]
pub struct Plan {
    /// Where to post.
    pub target: Arc<Target>,
    /// When to try again.
    pub schedule: Vec<Duration>,
    /// Who is told when this endpoint is disabled.
    pub tell: Option<LaneName>,
}

/// The queue of one webhook, at work.
#[derive(Debug)]
pub struct Endpoint {
    name: LaneName,
    queue: Queue,
    outbox: Outbox,
    plan: ArcSwap<Plan>,
    gate: Mutex<Gate>,
    under_way: AtomicUsize,
    /// The receiver said `410`; until that is recorded the window is no good.
    gone: AtomicBool,
    /// Something changed that may let an event go.
    changed: Notify,
    clock: Clock,
    events: Events,
    stop: CancellationToken,
    /// Cancelled when nothing is on its way any more.
    ended: CancellationToken,
}

/// An endpoint, as `status` and `events endpoints` show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointStatus {
    /// Its name.
    pub endpoint: String,
    /// `flowing`, `unreachable`, `disabled`, `stopped` or `removed`.
    pub state: String,
    /// Why it doesn't flow.
    pub reason: Option<String>,
    /// What to do about it.
    pub advice: Option<String>,
    /// Where it is.
    pub url: Option<String>,
    /// Events to be posted.
    pub waiting: u64,
    /// Events given up, to be replayed.
    pub failed: u64,
    /// Posts on their way.
    pub posting: usize,
    /// When the oldest waiting event was kept.
    pub oldest: Option<Timestamp>,
    /// When the next one goes.
    pub next_due: Option<Timestamp>,
    /// The latest number given out.
    pub seq: i64,
    /// The latest answer.
    pub answer: Option<String>,
    /// When it came.
    pub answered_at: Option<Timestamp>,
}

impl Endpoint {
    /// An endpoint that does nothing until it is [run](Self::run).
    #[must_use]
    pub fn new(
        queue: Queue,
        plan: Plan,
        clock: Clock,
        events: Events,
        stop: &CancellationToken,
    ) -> Arc<Self> {
        let name = LaneName::new(&plan.target.settings.name);
        Arc::new(Self {
            outbox: queue.outbox(&name),
            name,
            queue,
            plan: ArcSwap::from_pointee(plan),
            gate: Mutex::default(),
            under_way: AtomicUsize::new(0),
            gone: AtomicBool::new(false),
            changed: Notify::new(),
            clock,
            events,
            stop: stop.child_token(),
            ended: CancellationToken::new(),
        })
    }

    /// New settings; it is tried at once.
    pub fn change(&self, plan: Plan) {
        self.plan.store(Arc::new(plan));
        self.gate.lock().open_now();
        self.changed.notify_one();
    }

    /// An admin wants it tried now.
    pub fn retry_now(&self) {
        self.gate.lock().open_by_force();
        self.changed.notify_one();
    }

    /// It is gone from the configuration; its events stay.
    pub fn retire(&self) {
        self.stop.cancel();
    }

    /// Waits until a retired one has nothing on its way.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// The settings in force.
    #[must_use]
    pub fn target(&self) -> Arc<Target> {
        self.plan.load().target.clone()
    }

    /// How it is; the numbers are the queue's to add.
    #[must_use]
    pub fn status(&self) -> EndpointStatus {
        let plan = self.plan.load();
        let (down_since, asked_until) = {
            let gate = self.gate.lock();
            (gate.down_since(), gate.asked_until(self.clock.now()))
        };
        let (state, reason, advice) = if let Some(trouble) = plan.target.trouble() {
            let advice = "put it right, then `waystation reload`";
            ("stopped", Some(trouble.to_owned()), Some(advice.to_owned()))
        } else if let Some(since) = down_since {
            ("unreachable", Some(format!("can't be reached since {since}")), None)
        } else if let Some(until) = asked_until {
            let reason = format!("it asked for a pause until {until} (Retry-After)");
            let advice = format!("`waystation events enable {}` tries it now", self.name);
            ("pausing", Some(reason), Some(advice))
        } else {
            ("flowing", None, None)
        };
        EndpointStatus {
            state: state.into(),
            reason,
            advice,
            url: Some(plan.target.settings.url.to_string()),
            posting: self.under_way.load(Ordering::Relaxed),
            ..EndpointStatus::removed(self.name.to_string())
        }
    }

    /// Posts until it is stopped or retired.
    pub async fn run(self: Arc<Self>) {
        let _ended = self.ended.clone().drop_guard();
        match self.outbox.asked_until().await {
            Ok(asked) => self.gate.lock().resume(asked, self.clock.now()),
            Err(cause) => self.events.outbox_unreadable(&self.name, &cause),
        }
        let mut desk = Desk::default();
        while !self.stop.is_cancelled() {
            let now = self.clock.now();
            let sleep = self.turn(&mut desk, now).await;
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = self.changed.notified() => {}
                () = self.outbox.changed() => desk.stale = true,
                Some(ended) = desk.posts.join_next() => desk.ended(ended.ok()),
                () = tokio::time::sleep(sleep) => desk.stale = true,
            }
            while let Some(ended) = desk.posts.try_join_next() {
                desk.ended(ended.ok());
            }
        }
        // Whatever isn't recorded by then is posted again at the next start.
        let _ =
            tokio::time::timeout(LAST_POSTS, async { while desk.posts.join_next().await.is_some() {} }).await;
    }

    /// Begins what may go; how long there is nothing to do but wait for a change.
    async fn turn(self: &Arc<Self>, desk: &mut Desk, now: Timestamp) -> Duration {
        let plan = self.plan.load_full();
        if plan.target.trouble().is_some() {
            return LONGEST_SLEEP;
        }
        if self.gone.load(Ordering::Relaxed) {
            desk.window.clear();
            desk.stale = true;
            return LONGEST_SLEEP;
        }
        if desk.stale && desk.window.len() < WINDOW / 4 {
            match self.outbox.due(now, WINDOW, &desk.claimed).await {
                Ok(page) => {
                    desk.stale = page.events.len() >= WINDOW;
                    desk.next_due = page.next_due;
                    desk.window = page.events.into();
                }
                Err(cause) => {
                    self.events.outbox_unreadable(&self.name, &cause);
                    return REST;
                }
            }
        }
        while self.gate.lock().room(now, self.under_way.load(Ordering::Relaxed)) > 0
            && desk.claimed.len() < UNRECORDED
        {
            let Some(event) = desk.window.pop_front() else { break };
            desk.claimed.insert(event.id);
            self.under_way.fetch_add(1, Ordering::Relaxed);
            desk.posts.spawn(self.clone().deliver(event, plan.clone()));
        }
        let opens = self.gate.lock().opens().filter(|time| *time > now && !desk.window.is_empty());
        if desk.window.is_empty() && desk.stale {
            return Duration::ZERO;
        }
        let next = [opens, desk.next_due].into_iter().flatten().min();
        next.map_or(LONGEST_SLEEP, |next| {
            // A millisecond more: the clock that counts the sleep isn't the one that reads the time.
            let wait = Duration::try_from(next.duration_since(now)).unwrap_or_default();
            (wait + Duration::from_millis(1)).min(LONGEST_SLEEP)
        })
    }

    /// Posts one event and records what came of it.
    async fn deliver(self: Arc<Self>, mut event: DueEvent, plan: Arc<Plan>) -> EventId {
        let id = event.id;
        let body = match event.body.take() {
            Some(body) => Ok(Some(body)),
            None => self.outbox.body(id).await,
        };
        let outcome = match body {
            Ok(Some(body)) => {
                let DueEvent { content_type, attempts, .. } = event.clone();
                let letter = Letter { id: id.to_string(), content_type, attempt: attempts + 1, body };
                Some(plan.target.post(&letter, self.clock.now()).await)
            }
            Ok(None) => None,
            Err(cause) => {
                self.events.outbox_unreadable(&self.name, &cause);
                tokio::time::sleep(REST).await;
                self.free_slot();
                return id;
            }
        };
        let now = self.clock.now();
        let (answer, fate, asked) = match outcome {
            Some(outcome) => {
                let (fate, health) =
                    schedule::judge(&outcome, event.attempts + 1, &plan.schedule, now, chance());
                let answer = shown(&outcome);
                self.note_health(health, &answer, now);
                let asked = if let Health::Strained(until) = health { until } else { None };
                (answer, fate, asked)
            }
            None => ("its body isn't kept any more".to_owned(), PostFate::Failed, None),
        };
        self.tell(&event, fate, &answer, &plan, now);
        self.gone.fetch_or(fate == PostFate::Gone, Ordering::Relaxed);
        self.free_slot();
        self.outbox.posted(Posted { id, at: now, answer, fate, asked }).await;
        if fate == PostFate::Gone {
            self.gone.store(false, Ordering::Relaxed);
            self.changed.notify_one();
        }
        id
    }

    fn free_slot(&self) {
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        self.changed.notify_one();
    }

    fn note_health(&self, health: Health, answer: &str, now: Timestamp) {
        let changed = self.gate.lock().ended(health, now);
        match (changed, health) {
            (true, Health::Unreachable) => self.events.endpoint_unreachable(&self.name, answer),
            (true, _) => self.events.endpoint_reached(&self.name),
            (false, _) => {}
        }
    }

    fn tell(&self, event: &DueEvent, fate: PostFate, answer: &str, plan: &Plan, now: Timestamp) {
        let DueEvent { id, kind, attempts, .. } = event;
        match fate {
            PostFate::Done => self.events.event_posted(id, &self.name, kind, attempts + 1, answer),
            PostFate::Later(next) => self.events.event_deferred(id, &self.name, kind, &next, answer),
            PostFate::Failed => self.events.event_failed(id, &self.name, kind, answer),
            PostFate::Gone => {
                self.events.endpoint_disabled(&self.name, answer);
                if let Some(other) = plan.tell.as_ref().filter(|other| **other != self.name) {
                    self.queue.announce(vec![announce::endpoint_disabled(other, &self.name, answer, now)]);
                }
            }
        }
    }
}

impl EndpointStatus {
    /// An endpoint that left the configuration.
    #[must_use]
    pub fn removed(endpoint: String) -> Self {
        Self {
            endpoint,
            state: "removed".into(),
            reason: Some("no webhook of this name is configured".into()),
            advice: Some("configure it again; its events wait".into()),
            url: None,
            waiting: 0,
            failed: 0,
            posting: 0,
            oldest: None,
            next_due: None,
            seq: 0,
            answer: None,
            answered_at: None,
        }
    }
}

/// What one endpoint's task has before it.
#[derive(Debug)]
struct Desk {
    /// Due, and not begun.
    window: VecDeque<DueEvent>,
    /// Begun, and not yet recorded.
    claimed: HashSet<EventId>,
    posts: JoinSet<EventId>,
    /// The index may know of more than the window.
    stale: bool,
    next_due: Option<Timestamp>,
}

impl Default for Desk {
    fn default() -> Self {
        Self {
            window: VecDeque::new(),
            claimed: HashSet::new(),
            posts: JoinSet::new(),
            stale: true,
            next_due: None,
        }
    }
}

impl Desk {
    fn ended(&mut self, id: Option<EventId>) {
        self.stale = true;
        match id {
            Some(id) => drop(self.claimed.remove(&id)),
            // A post that panicked: ours to mend. Without its name, all that ended are looked at again.
            None if self.posts.is_empty() => self.claimed.clear(),
            None => {}
        }
    }
}

/// What the receiver said, on one line.
#[must_use]
pub fn shown(outcome: &Result<Answer, PostError>) -> String {
    let text = match outcome {
        Ok(answer) if answer.excerpt.is_empty() => answer.status.to_string(),
        Ok(answer) => format!("{} {}", answer.status, answer.excerpt),
        Err(cause) => cause.to_string(),
    };
    text.chars().take(ANSWER).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn chance() -> u16 {
    let mut octets = [0; 2];
    // Without randomness all waits are the shortest.
    let _ = aws_lc_rs::rand::fill(&mut octets);
    u16::from_le_bytes(octets)
}
