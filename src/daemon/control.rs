//! The control socket: what is asked there, and the daemon's answers. How the lines look is [`crate::admin`]'s.

use super::{Listening, Shared, forwarding};
use crate::admin::{self, AdminError, Charged, Configuration, LaneStatus, MailboxAddress, Request, Status};
use crate::cli::{OUR_BUG, TRY_LATER, USAGE};
use crate::deliver::target::REMOVED;
use crate::deliver::webhook::EndpointStatus;
use crate::inbox::addresses;
use crate::intake::local;
use crate::queue::limits::Units;
use crate::queue::{Adjust, Filter, KeepError, LaneName, QueueError};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Value;
use std::collections::btree_map::Entry as Place;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;

impl Shared {
    /// Answers the control socket until everything is over. Not tracked: it must outlive what it reports on.
    pub(super) fn obey_at(self: Arc<Self>, socket: UnixListener) {
        tokio::spawn(async move {
            loop {
                let connection = tokio::select! {
                    () = self.over.cancelled() => return,
                    accepted = socket.accept() => accepted,
                };
                let Ok((connection, _)) = connection else {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                };
                let shared = self.clone();
                tokio::spawn(async move {
                    let letters = Mutex::default();
                    let submitter = tokio::select! {
                        submitter = admin::serve(connection, |request| shared.obey(request, &letters)) => submitter,
                        () = shared.over.cancelled() => None,
                    };
                    // Whoever sends a test letter keeps the connection until its end.
                    letters.into_inner().into_iter().for_each(|lane| shared.queue.landed(lane));
                    if let Some(socket) = submitter {
                        let (intakes, policy) =
                            (shared.intakes.clone(), shared.current.load().policy.clone());
                        shared.tracker.spawn(local::serve(socket, intakes, policy));
                    }
                });
            }
        });
    }

    /// `letters` are the lanes of test letters that this connection has in flight.
    async fn obey(
        self: &Arc<Self>,
        request: Request,
        letters: &Mutex<Vec<LaneName>>,
    ) -> Result<Value, AdminError> {
        match request {
            Request::Status => {
                let endpoints = self.webhooks.status().await.map_err(queue_failure)?;
                let last_due = self.queue.last_due().await.map_err(queue_failure)?;
                answer(&self.status(endpoints, &self.detoured().await, &last_due))
            }
            Request::Events(request) => self.webhooks.obey(request, &self.current.load_full().config).await,
            Request::Inbox(request) => {
                forwarding::obey(&self.queue, &self.clock, &self.current.load_full().config, request).await
            }
            Request::Query { filter, limit, after } => {
                let filter = Filter { removed: self.removed_lanes(), ..filter };
                let mut entries =
                    self.queue.query(filter.clone(), limit, after).await.map_err(queue_failure)?;
                let stranded = entries.iter_mut().filter(|entry| filter.removed.contains(&entry.lane));
                stranded.for_each(|entry| entry.hold(REMOVED));
                self.tell_detours(&mut entries).await;
                answer(&entries)
            }
            Request::Adjust { filter, action } => {
                let mut filter = Filter { removed: self.removed_lanes(), ..filter };
                self.may_adjust(&action)?;
                let stranger = self.keep_to_inbox(&mut filter, &action);
                let retries = matches!(action, Adjust::Retry | Adjust::Release | Adjust::Assign(_));
                // A lane that is named is tried by the next mail that comes, where it has none.
                let named = filter.lane.clone().filter(|_| action == Adjust::Retry);
                let adjusted = self.queue.adjust(filter, action).await.map_err(queue_failure)?;
                if let Some(text) = stranger.filter(|_| adjusted.count == 0 && adjusted.in_flight == 0) {
                    return Err(AdminError { code: USAGE, text });
                }
                if retries {
                    let lanes = self.lanes.lock();
                    adjusted
                        .lanes
                        .keys()
                        .chain(&named)
                        .filter_map(|name| lanes.get(name.as_str()))
                        .for_each(|lane| lane.retry_now());
                }
                answer(&adjusted)
            }
            Request::Applications => {
                answer(&self.current.load().config.applications.keys().collect::<Vec<_>>())
            }
            Request::MaxSize { lane } => {
                let config = &self.current.load().config;
                answer(&config.smarthosts.get(lane.as_str()).and_then(|smarthost| smarthost.max_size))
            }
            Request::Life { id } => {
                let mut life = self.queue.life(id).await.map_err(queue_failure)?;
                if let Some(life) = &mut life
                    && self.removed_lanes().contains(&life.entry.lane)
                {
                    life.entry.hold(REMOVED);
                }
                if let Some(life) = &mut life {
                    self.tell_detours(std::slice::from_mut(&mut life.entry)).await;
                }
                answer(&life)
            }
            Request::Outlook { lane, class, messages, recipients, accepting, due, needs } => {
                let more = Units { messages, recipients };
                answer(&self.outlook(&lane, class, more, &accepting, due, needs))
            }
            Request::Charge { lane } => {
                let charged = self.charge(&lane).await?;
                if charged == Charged::Counted {
                    letters.lock().push(lane);
                }
                answer(&charged)
            }
            // Its connection is handed over before anybody is asked.
            Request::Submit => answer(&()),
            Request::Reload => answer(&self.reload().await?),
            Request::Stop => {
                self.asked_to_stop.cancel();
                answer(&())
            }
        }
    }

    /// Mail moved to a smarthost that doesn't exist would wait for ever.
    fn may_adjust(&self, action: &Adjust) -> Result<(), AdminError> {
        let config = &self.current.load().config;
        let (option, wanted, kind, known): (_, _, _, Vec<&str>) = match action {
            Adjust::Assign(mailbox) => (
                "--mailbox",
                mailbox.as_str(),
                "mailbox",
                config.mailboxes.keys().map(String::as_str).collect(),
            ),
            Adjust::Reroute(to) => {
                ("--to", to.as_str(), "smarthost", config.smarthosts.keys().map(String::as_str).collect())
            }
            _ => return Ok(()),
        };
        if known.contains(&wanted) {
            return Ok(());
        }
        let text = format!("waystation: {option} {wanted}: no such {kind}; there are: {}", known.join(", "));
        Err(AdminError { code: USAGE, text })
    }

    /// Mail can only be given to a mailbox of the inbox that it came to; what to say when there is none such.
    fn keep_to_inbox(&self, filter: &mut Filter, action: &Adjust) -> Option<String> {
        let Adjust::Assign(name) = action else { return None };
        let inbox = self.current.load().config.mailboxes.get(name)?.inbox.clone();
        filter.lane.get_or_insert_with(|| addresses::lane(&inbox));
        Some(format!(
            "waystation: --mailbox {name}: it is a mailbox of inbox {inbox}, and no message that is meant is held there"
        ))
    }

    /// Each address that is really listened on, which port 0 doesn't tell.
    fn listening_at(&self) -> Vec<String> {
        let named = |(key, listening): (&String, &Listening)| {
            let sockets: Vec<String> = listening.sockets.iter().map(ToString::to_string).collect();
            if key.starts_with("fd:") {
                format!("{key} ({})", sockets.join(", "))
            } else {
                sockets.join(", ")
            }
        };
        self.listening.lock().iter().map(named).collect()
    }

    /// Why no mail is taken, as far as anybody knows before it comes.
    fn intake_refused(&self) -> Option<String> {
        let found = || format!("{}, as the latest message found", KeepError::DiskFull);
        self.queue.lack().or_else(|| self.queue.found_full().then(found))
    }

    /// `detoured`: when mail will leave that waits in a lane that can't take it.
    fn status(
        &self,
        endpoints: Vec<EndpointStatus>,
        detoured: &BTreeMap<String, Timestamp>,
        last_due: &HashMap<LaneName, Timestamp>,
    ) -> Status {
        let generation = self.current.load();
        let mut lanes: BTreeMap<String, LaneStatus> =
            self.lanes.lock().iter().map(|(name, lane)| (name.clone(), lane.status())).collect();
        lanes.extend(self.inboxes.status());
        for totals in self.queue.totals() {
            let name = totals.lane.to_string();
            let lane = match lanes.entry(name.clone()) {
                Place::Occupied(lane) => lane.into_mut(),
                Place::Vacant(lane) if addresses::of_lane(&totals.lane).is_some() => {
                    lane.insert(LaneStatus::removed_inbox(name))
                }
                Place::Vacant(_) => continue,
            };
            lane.queued = totals.queued;
            lane.deferred = totals.deferred;
            lane.held = totals.held;
            let by_limits = totals.next_due.map(|due| self.next_leaves(&totals.lane, due));
            let next_due = detoured.get(totals.lane.as_str()).copied().or(by_limits);
            // When a lane is switched on nobody knows.
            let next_due = next_due.filter(|due| lane.state != "disabled" || *due > self.clock.now());
            lane.next_due = next_due.map(|due| due.to_string());
            lane.empty_by = self.empty_by(lane, &totals.lane, last_due.get(&totals.lane).copied());
            if lane.state == "removed" {
                lane.held += std::mem::take(&mut lane.queued) + std::mem::take(&mut lane.deferred);
                lane.next_due = None;
            }
        }
        for mailbox in generation.config.mailboxes.values() {
            let lane = lanes.get_mut(addresses::lane(&mailbox.inbox).as_str());
            if let Some(lane) = lane.filter(|lane| lane.state != "removed") {
                lane.mailboxes.push(MailboxAddress {
                    mailbox: mailbox.name.clone(),
                    address: mailbox.address.as_str().to_owned(),
                    forward_to: forwarding::forward_to(mailbox, &generation.config),
                });
            }
        }
        // A removed smarthost is only worth a line while mail waits for it.
        let waits = |lane: &LaneStatus| lane.queued + lane.deferred + lane.held > 0;
        Status {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").into(),
            started_at: self.started_at.to_string(),
            configuration: Configuration {
                file: generation.config.path.clone(),
                generation: generation.number,
                fingerprint: generation.fingerprint.clone(),
                loaded_at: generation.loaded_at.to_string(),
                refused: self.refused.lock().clone(),
            },
            listeners: self.listening_at(),
            unanswered: self.passed.lock().unclaimed(&generation.config.listeners),
            sessions: self.intakes.open_sessions(),
            spool_bytes: self.queue.spool_bytes(),
            intake_refused: self.intake_refused(),
            disk_refusal: self.queue.refusal().map(|(since, cause)| format!("{cause} (since {since})")),
            lanes: lanes.into_values().filter(|lane| lane.state != "removed" || waits(lane)).collect(),
            endpoints,
        }
    }
}

/// An answer as it goes over the socket.
pub(super) fn answer<T: Serialize>(value: &T) -> Result<Value, AdminError> {
    serde_json::to_value(value).map_err(|cause| AdminError { code: OUR_BUG, text: cause.to_string() })
}

/// What whoever asked is told when the queue can't answer.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn queue_failure(cause: QueueError) -> AdminError {
    AdminError { code: TRY_LATER, text: format!("waystation: {cause}") }
}
