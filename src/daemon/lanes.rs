//! The lanes of smarthosts: started, changed and left without one as the configuration says, and the mail that moves between them.

use super::{Generation, Shared, webhooks};
use crate::config::schema::Config;
use crate::deliver::connections::Lane;
use crate::deliver::fallback::Fallback;
use crate::deliver::reroute;
use crate::deliver::route::Router;
use crate::deliver::sent::Senders;
use crate::deliver::target::Target;
use crate::deliver::token_keys;
use crate::events::Events;
use crate::inbox::addresses;
use crate::inbox::token::TokenKey;
use crate::queue::LaneName;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedMutexGuard;
use tokio::time::timeout;

/// How often lanes that are stuck are looked at.
const FALLBACK: Duration = Duration::from_secs(1);
/// How long the answer to a reload waits for what becomes of queued mail.
const REROUTING: Duration = Duration::from_secs(2);

impl Shared {
    /// Lanes as the configuration wants them: new ones start, changed ones learn, removed ones hold their mail.
    pub(super) fn staff_lanes(self: &Arc<Self>) {
        let generation = self.current.load();
        let config = &generation.config;
        self.frozen.keep(|name| config.smarthosts.contains_key(name));
        let mut lanes = self.lanes.lock();
        let keys = token_keys(config, &self.events);
        let smarthosts = config.smarthosts.iter();
        let smarthosts: Arc<BTreeMap<LaneName, bool>> =
            Arc::new(smarthosts.map(|(name, one)| (LaneName::new(name), one.enabled)).collect());
        for (name, smarthost) in &config.smarthosts {
            let router = generation.policy.router.clone();
            let target = Target::new(smarthost.clone(), &config.hostname, config.retry.clone(), router)
                .announcing_to(webhooks::told(config))
                .keeping(self.frozen.clone())
                .sending_for(Senders::of(config, name, &keys))
                .beside(smarthosts.clone());
            if let Some(lane) = lanes.get(name) {
                lane.change(target);
                continue;
            }
            let (queue, clock, events) = (self.queue.clone(), self.clock.clone(), self.events.clone());
            let lane = Lane::new(queue, target, clock, events, self.tracker.clone(), &self.stop);
            self.tracker.spawn(lane.clone().run());
            lanes.insert(name.clone(), lane);
        }
        self.staff_removed(&generation, &mut lanes);
    }

    /// Lanes without a smarthost: those that just lost it, and those that the queue still knows from before.
    fn staff_removed(&self, generation: &Generation, lanes: &mut BTreeMap<String, Arc<Lane>>) {
        let config = &generation.config;
        let totals = self.queue.totals();
        let known = totals.iter().map(|totals| totals.lane.to_string());
        // What an inbox took is never bounced: its lane stands still, without a smarthost's clocks.
        let is_inbox = |name: &str| addresses::of_lane(&LaneName::new(name)).is_some();
        let mut removed: BTreeSet<String> = known.chain(lanes.keys().cloned()).collect();
        removed.retain(|name| !config.smarthosts.contains_key(name) && !is_inbox(name));
        let Some(like) = config.smarthosts.values().next() else { return };
        for name in removed {
            let router = generation.policy.router.clone();
            let target = Target::removed(&name, like, &config.hostname, config.retry.clone(), router)
                .announcing_to(webhooks::told(config));
            let waits = totals.iter().find(|totals| *totals.lane.as_str() == *name);
            let waits = waits.map_or(0, |totals| totals.queued + totals.deferred + totals.held);
            if waits > 0 && lanes.get(&name).is_none_or(|lane| !lane.is_removed()) {
                self.events.smarthost_removed(&name, waits);
            }
            if let Some(lane) = lanes.get(&name) {
                lane.change(target);
                continue;
            }
            let (queue, clock, events) = (self.queue.clone(), self.clock.clone(), self.events.clone());
            let lane = Lane::new(queue, target, clock, events, self.tracker.clone(), &self.stop);
            self.tracker.spawn(lane.clone().run());
            lanes.insert(name, lane);
        }
    }

    /// Lanes without a smarthost.
    pub(super) fn removed_lanes(&self) -> Vec<LaneName> {
        let lanes = self.lanes.lock();
        lanes.iter().filter(|(_, lane)| lane.is_removed()).map(|(name, _)| LaneName::new(name)).collect()
    }

    /// Mail that its smarthost can't take goes by another one, where the configuration names any.
    pub(super) fn find_other_ways(self: &Arc<Self>) {
        let shared = self.clone();
        self.tracker.spawn(async move {
            let mut fallback = Fallback::default();
            let mut rounds = tokio::time::interval(FALLBACK);
            loop {
                tokio::select! {
                    () = shared.stop.cancelled() => return,
                    _ = rounds.tick() => {}
                }
                let _moving = shared.moving.lock().await;
                let lanes = shared.lanes.lock().clone();
                fallback.relieve(&lanes, shared.clock.now()).await;
            }
        });
    }

    /// The right to move mail from lane to lane; none where that takes long, because older routes still do.
    pub(super) async fn moves(&self) -> Option<OwnedMutexGuard<()>> {
        timeout(REROUTING, self.moving.clone().lock_owned()).await.ok()
    }

    /// What waits follows new routes, beside everything else; in words what became of it, unless that takes long.
    pub(super) async fn reroute(
        self: &Arc<Self>,
        old: Arc<Router>,
        router: Arc<Router>,
        moving: Option<OwnedMutexGuard<()>>,
    ) -> Option<String> {
        let shared = self.clone();
        let rerouting = self.tracker.spawn(async move {
            let _moving = match moving {
                Some(moving) => moving,
                None => shared.moving.clone().lock_owned().await,
            };
            let smarthosts = shared.current.load().config.smarthosts.keys().cloned().collect();
            let rerouting = reroute::reroute(&shared.queue, &old, &router, &smarthosts, &shared.events);
            tokio::select! {
                rerouted = rerouting => match rerouted {
                    Ok(rerouted) => rerouted.told(),
                    Err(cause) => {
                        shared.events.not_rerouted(&cause);
                        Some(format!("queued mail could not be routed anew: {cause}"))
                    }
                },
                () = shared.stop.cancelled() => None,
            }
        });
        match timeout(REROUTING, rerouting).await {
            Ok(told) => told.ok().flatten(),
            Err(_) => Some("queued mail is being routed anew; the log tells what moved".to_owned()),
        }
    }
}

/// The keys of reply tokens, made at first need; none where no mailbox wants any.
pub(super) fn token_keys(config: &Config, events: &Events) -> Vec<TokenKey> {
    if !config.mailboxes.values().any(|mailbox| mailbox.reply_token) {
        return Vec::new();
    }
    token_keys::load(&config.state_dir).unwrap_or_else(|cause| {
        events.no_token_keys(&cause);
        Vec::new()
    })
}
