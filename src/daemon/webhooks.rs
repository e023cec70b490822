//! The webhooks of the running daemon: their tasks, what is asked about them, and the watch that raises alerts.

use super::Shared;
use super::control::{answer, queue_failure};
use crate::admin::events::{Shown, Tested};
use crate::admin::{AdminError, EventsRequest, LaneStatus};
use crate::alert::{self, Alerts, Condition, Kind};
use crate::cli::{TRY_LATER, USAGE};
use crate::clock::Clock;
use crate::config::schema::{Alert, Config, Endpoint as Settings, EventFormat};
use crate::deliver::announce;
use crate::deliver::connections::Lane;
use crate::deliver::fallback;
use crate::deliver::lane_state::LaneState;
use crate::deliver::webhook::endpoint::{Plan, shown};
use crate::deliver::webhook::{Endpoint, EndpointStatus, Letter, Target};
use crate::events::Events;
use crate::message::envelope::Class;
use crate::net::tls;
use crate::queue::outbox::Pause;
use crate::queue::{EventId, LaneName, Queue, QueueError, QueueId};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How often alarming things are looked for.
const WATCH: Duration = Duration::from_secs(10);
/// What [`watch`] always sees; what the queue tells of is looked for beside it.
const WATCHED: [Kind; 3] = [Kind::SmarthostFrozen, Kind::QuotaExhausted, Kind::DiskLow];
/// Mail of class priority may wait so long for a limit; what a minute's limit delays alarms nobody.
const QUOTA_PATIENCE: SignedDuration = SignedDuration::from_mins(1);

/// Why webhooks are staffed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Occasion {
    Start,
    /// Disabled endpoints are enabled: whoever reloads wants them tried.
    Reload,
}

/// Every webhook's task, and the alerts.
pub(super) struct Webhooks {
    queue: Queue,
    clock: Clock,
    events: Events,
    tracker: TaskTracker,
    stop: CancellationToken,
    endpoints: Mutex<BTreeMap<String, Arc<Endpoint>>>,
    /// Those that left the configuration.
    retired: Mutex<BTreeMap<String, Arc<Endpoint>>>,
    /// What is alarming; other parts report to it.
    pub(super) alerts: Arc<Alerts>,
}

/// Who is told of outgoing mail.
pub(super) fn told(config: &Config) -> Option<LaneName> {
    config.events.endpoint.as_ref().map(|endpoint| LaneName::new(&endpoint.name))
}

/// Every webhook that has kept events.
fn configured(config: &Config) -> Vec<Settings> {
    let inboxes = config.inboxes.values().filter_map(Settings::of_inbox);
    config.events.endpoint.iter().cloned().chain(inboxes).collect()
}

impl Webhooks {
    pub(super) fn new(
        state_dir: &Path,
        queue: Queue,
        clock: Clock,
        events: Events,
        tracker: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let alerts = Alerts::new(state_dir, clock.clone(), events.clone(), tracker.clone(), stop.clone());
        let alerts = Arc::new(alerts);
        let (endpoints, retired) = (Mutex::default(), Mutex::default());
        Self { queue, clock, events, tracker, stop, endpoints, retired, alerts }
    }

    /// Endpoints as the configuration wants them: new ones start, changed ones learn, removed ones stand still.
    pub(super) fn staff(&self, config: &Config, occasion: Occasion) {
        let wanted = configured(config);
        let tls = tls::web_client().map_err(Arc::new);
        let Alert { endpoint, .. } = &config.alert;
        let target = endpoint.clone().map(|settings| Target::new(settings, tls.clone()));
        self.alerts.change(alert::way(&config.alert, target), &config.hostname);
        let mut endpoints = self.endpoints.lock();
        endpoints.retain(|name, endpoint| {
            let stays = wanted.iter().any(|settings| settings.name == *name);
            if !stays {
                endpoint.retire();
                self.retired.lock().insert(name.clone(), endpoint.clone());
            }
            stays
        });
        for settings in wanted {
            let name = settings.name.clone();
            let plan = Plan {
                target: Arc::new(Target::new(settings, tls.clone())),
                schedule: config.events.schedule.clone(),
                tell: told(config),
            };
            if let Some(endpoint) = endpoints.get(&name) {
                endpoint.change(plan);
            } else {
                let (queue, clock, events) = (self.queue.clone(), self.clock.clone(), self.events.clone());
                let endpoint = Endpoint::new(queue, plan, clock, events, &self.stop);
                let (next, before) = (endpoint.clone(), self.retired.lock().remove(&name));
                self.tracker.spawn(async move {
                    // Or what that one has on its way would be posted beside it.
                    if let Some(before) = before {
                        before.ended().await;
                    }
                    next.run().await;
                });
                endpoints.insert(name.clone(), endpoint);
            }
            if occasion == Occasion::Reload {
                let queue = self.queue.clone();
                // Not awaited: a disk that doesn't answer mustn't hold up the reload.
                self.tracker
                    .spawn(async move { drop(queue.enable(&LaneName::new(&name), Pause::Holds).await) });
            }
        }
    }

    /// Every endpoint that is configured or has events.
    pub(super) async fn status(&self) -> Result<Vec<EndpointStatus>, QueueError> {
        let totals = self.queue.endpoints().await?;
        let mut all: BTreeMap<String, EndpointStatus> =
            self.endpoints.lock().iter().map(|(name, endpoint)| (name.clone(), endpoint.status())).collect();
        for totals in totals {
            let name = totals.name.to_string();
            let status = all.entry(name.clone()).or_insert_with(|| EndpointStatus::removed(name));
            status.waiting = totals.waiting;
            status.failed = totals.failed;
            status.seq = totals.seq;
            status.oldest = totals.oldest;
            status.next_due = totals.next_due;
            status.answer = totals.answer;
            status.answered_at = totals.answered_at;
            if let Some(since) = totals.disabled_at.filter(|_| status.state != "removed") {
                status.state = "disabled".into();
                status.reason = Some(format!("it answered 410 at {since}"));
                let advice =
                    format!("`waystation events enable {}` when it takes events again", status.endpoint);
                status.advice = Some(advice);
            }
        }
        // A removed one is only worth a line while events wait for it.
        let shown = |status: &EndpointStatus| status.state != "removed" || status.waiting + status.failed > 0;
        Ok(all.into_values().filter(shown).collect())
    }

    /// Does what the command line asks.
    pub(super) async fn obey(&self, request: EventsRequest, config: &Config) -> Result<Value, AdminError> {
        match request {
            EventsRequest::List { filter, limit, after } => {
                answer(&self.queue.events(filter, limit, after).await.map_err(queue_failure)?)
            }
            EventsRequest::Show { id } => answer(&self.show(id).await?),
            EventsRequest::Replay { filter } => {
                let replayed = self.queue.replay(filter).await.map_err(queue_failure)?;
                let endpoints = self.endpoints.lock();
                replayed
                    .endpoints
                    .iter()
                    .filter_map(|name| endpoints.get(name))
                    .for_each(|one| one.retry_now());
                drop(endpoints);
                answer(&replayed)
            }
            EventsRequest::Enable { endpoint } => {
                let found = self.endpoint(&endpoint)?;
                let was_disabled =
                    self.queue.enable(&LaneName::new(&endpoint), Pause::Ends).await.map_err(queue_failure)?;
                found.retry_now();
                answer(&was_disabled)
            }
            EventsRequest::Test { endpoint } => answer(&self.test(&endpoint, config).await?),
            EventsRequest::Endpoints => answer(&self.status().await.map_err(queue_failure)?),
        }
    }

    fn endpoint(&self, name: &str) -> Result<Arc<Endpoint>, AdminError> {
        let endpoints = self.endpoints.lock();
        endpoints.get(name).cloned().ok_or_else(|| {
            let known: Vec<&str> = endpoints.keys().map(String::as_str).collect();
            let known = match known.as_slice() {
                [] => "there are none; write webhook into [events]".to_owned(),
                known => format!("there are: {}", known.join(", ")),
            };
            AdminError { code: USAGE, text: format!("waystation: no webhook is called {name}; {known}") }
        })
    }

    async fn show(&self, id: EventId) -> Result<Option<Shown>, AdminError> {
        let Some((event, body)) = self.queue.event(id).await.map_err(queue_failure)? else { return Ok(None) };
        let text = body.as_ref().and_then(|body| std::str::from_utf8(body).ok()).map(str::to_owned);
        let body_base64 = body.filter(|_| text.is_none()).map(|body| BASE64_STANDARD.encode(body));
        Ok(Some(Shown { event, body: text, body_base64 }))
    }

    async fn test(&self, name: &str, config: &Config) -> Result<Tested, AdminError> {
        let target = self.endpoint(name)?.target();
        if let Some(trouble) = target.trouble() {
            return Err(AdminError { code: TRY_LATER, text: format!("waystation: {trouble}") });
        }
        let (id, now, begun) = (self.queue.event_id(), self.clock.now(), Instant::now());
        let inbox = config.inboxes.get(name);
        let takes_clouds = inbox.is_some_and(|inbox| inbox.format == EventFormat::CloudEvents);
        let source = takes_clouds.then(|| format!("//{}", config.hostname));
        let (body, content_type) = announce::test(id, name, source.as_deref(), now);
        let letter =
            Letter { id: id.to_string(), content_type: content_type.into(), attempt: 1, body: body.into() };
        let outcome = target.post(&letter, now).await;
        Ok(Tested {
            url: target.settings.url.to_string(),
            id,
            status: outcome.as_ref().ok().map(|answer| answer.status),
            answer: shown(&outcome),
            elapsed_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        })
    }
}

/// Looks for alarming things until the daemon stops. Costs nothing while nobody is told.
pub(super) async fn watch(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(WATCH);
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let generation = shared.current.load_full();
        let config = &generation.config;
        if config.alert.endpoint.is_none() && config.alert.command.is_empty() {
            continue;
        }
        let now = shared.clock.now();
        let lanes: Vec<LaneStatus> = shared.lanes.lock().values().map(|lane| lane.status()).collect();
        let mut present: Vec<Condition> = lanes.iter().filter_map(frozen).collect();
        present.extend(shared.lanes.lock().values().filter_map(|lane| exhausted(lane, now)));
        present.extend(undecided(&shared));
        present.extend(low_disk(&config.state_dir, config.alert.min_free));
        // What can't be asked now isn't over.
        let mut kinds = WATCHED.to_vec();
        let overdue = match config.alert.oldest_message.and_then(|age| before(now, age)) {
            Some(border) => shared.queue.overdue(border).await,
            None => Ok(Vec::new()),
        };
        if let Ok(overdue) = overdue {
            kinds.push(Kind::OldestMessage);
            present.extend(overdue.iter().map(oldest));
        }
        if let Ok(endpoints) = shared.queue.endpoints().await {
            kinds.push(Kind::EndpointDisabled);
            present.extend(endpoints.into_iter().filter_map(|totals| {
                let since = totals.disabled_at?;
                Some(Condition {
                    kind: Kind::EndpointDisabled,
                    subject: totals.name.to_string(),
                    detail: format!("it answered 410 at {since}; {} events wait", totals.waiting),
                })
            }));
        }
        shared.webhooks.alerts.observe(&kinds, present);
    }
}

/// What was so and only a smarthost can tell, which wasn't asked since a restart, or didn't come as far as the login.
fn undecided(shared: &Shared) -> Vec<Condition> {
    let lanes = shared.lanes.lock();
    let mut told = shared.webhooks.alerts.present();
    told.retain(|condition| {
        let Some(lane) = lanes.get(&condition.subject).filter(|lane| lane.is_enabled()) else { return false };
        match condition.kind {
            Kind::SmarthostFrozen => !lane.was_answered() || lane.state() != LaneState::Flowing,
            Kind::QuotaExhausted => !lane.was_answered() && lane.entries().has(Class::Priority),
            Kind::OldestMessage | Kind::DiskLow | Kind::EndpointDisabled => false,
        }
    });
    told
}

/// A limit keeps mail of class priority waiting: one of ours, or what the provider itself says of its own.
fn exhausted(lane: &Lane, now: Timestamp) -> Option<Condition> {
    let is_long = |until: &Timestamp| until.duration_since(now) > QUOTA_PATIENCE;
    let by_limits = || {
        let until = lane.entries().priority_waits_until().filter(is_long)?;
        Some(format!("priority mail waits for a limit until {until}; `waystation status` shows the limits"))
    };
    let by_provider = || {
        // The only one may be on its way, as a probe.
        let reply = fallback::quota_refusal(lane).filter(|_| lane.entries().has(Class::Priority))?;
        Some(format!("priority mail waits: the smarthost says that its own limit is used up: {reply}"))
    };
    let detail = by_provider().or_else(by_limits)?;
    Some(Condition { kind: Kind::QuotaExhausted, subject: lane.name().to_string(), detail })
}

fn frozen(lane: &LaneStatus) -> Option<Condition> {
    let reason = lane.reason.as_deref().unwrap_or_default();
    let advice = lane.advice.as_ref().map(|advice| format!("; {advice}")).unwrap_or_default();
    (lane.state == "frozen").then(|| Condition {
        kind: Kind::SmarthostFrozen,
        subject: lane.lane.clone(),
        detail: format!("{reason}{advice}"),
    })
}

fn low_disk(folder: &Path, least: u64) -> Option<Condition> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    (free < least).then(|| Condition {
        kind: Kind::DiskLow,
        subject: folder.display().to_string(),
        detail: format!("{} MiB are free, less than {} MiB", free >> 20, least >> 20),
    })
}

fn before(now: Timestamp, age: Duration) -> Option<Timestamp> {
    now.checked_sub(SignedDuration::try_from(age).ok()?).ok()
}

fn oldest((lane, id): &(LaneName, QueueId)) -> Condition {
    Condition {
        kind: Kind::OldestMessage,
        subject: lane.to_string(),
        detail: format!("message {id} waits since {}; `waystation status` says why", id.time()),
    }
}
