//! A new configuration while everything runs: read and checked as a whole first; from the moment on when nothing can fail any more it is taken, and
//! what changed is told in words.

use super::sockets::{bind, key};
use super::webhooks::Occasion;
use super::{Generation, Shared, certificate, queue_settings, secrets};
use crate::admin::{self, AdminError};
use crate::cli::CONFIGURATION;
use crate::config::schema::{Config, ListenAddress};
use crate::config::{self, Loaded};
use crate::deliver::providers;
use crate::intake::listener::Policy;
use crate::net::tls;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::spawn_blocking;

impl Shared {
    pub(super) async fn reload(self: &Arc<Self>) -> Result<Vec<String>, AdminError> {
        let _one = self.reloading.lock().await;
        let outcome = self.try_reload().await;
        match &outcome {
            Ok(changes) => {
                *self.refused.lock() = None;
                self.events.reloaded(self.current.load().number, changes);
            }
            Err(refusal) => {
                *self.refused.lock() = Some(refusal.text.clone());
                self.events.reload_refused(&refusal.text);
            }
        }
        outcome
    }

    async fn try_reload(self: &Arc<Self>) -> Result<Vec<String>, AdminError> {
        let refuse = |text: String| AdminError { code: CONFIGURATION, text };
        let old = self.current.load_full();
        let path = old.config.path.clone();
        let load = move || config::load_knowing(&path, config::environment(), providers::assume_one);
        let loaded = spawn_blocking(load)
            .await
            .map_err(|cause| refuse(cause.to_string()))?
            .map_err(|complaints| refuse(complaints.render("not reloaded")))?;
        let Loaded { mut config, warnings, .. } = loaded;
        providers::assume(config.smarthosts.values_mut());
        if config.state_dir != old.config.state_dir {
            return Err(refuse(
                "waystation: state_dir can't change while the daemon runs; restart it".into(),
            ));
        }
        let policy = Policy::of(&config, &self.credentials)
            .map_err(|cause| refuse(format!("waystation: [tls] {cause}")))?;
        tls::check_connectors(config.smarthosts.values())
            .map_err(|cause| refuse(format!("waystation: {cause}")))?;
        let bound = self.bind_new(&old, &config).await.map_err(refuse)?;
        // From here on nothing can fail.
        for warning in &warnings {
            self.events.config_warning(warning);
        }
        let mut changes = config::changes(&old.config, &config);
        let certificate = certificate(&config);
        if certificate != old.certificate {
            changes.push("tls: another certificate".into());
        }
        for (section, secret) in secrets(&config) {
            if old.secrets.get(&section).is_some_and(|before| *before != secret) {
                changes.push(format!("{section}.secret_file: another secret stands in it"));
            }
        }
        let (before, after) = (&old.config.log, &config.log);
        if (before.format, before.level) != (after.format, after.level) {
            changes.push("log: format and level count from the next start on".into());
        }
        if before.addresses != after.addresses {
            self.events.show_addresses(after.addresses);
        }
        self.credentials.replace(&config.applications);
        self.queue.change(queue_settings(&config));
        let generation = Generation::new(config, policy, old.number + 1, self.clock.now());
        self.listening.lock().retain(|key, listening| {
            let stays = generation.listeners.contains_key(key);
            if !stays {
                listening.stop.cancel();
            }
            stays
        });
        // Before listeners greet by it, so that no session goes back to the one before.
        self.intakes.renew(generation.policy.clone());
        self.current.store(Arc::new(generation));
        for (key, sockets) in bound {
            self.listen(key, sockets);
        }
        self.tell_unanswered();
        let (old_router, router) = (old.policy.router.clone(), self.current.load().policy.router.clone());
        let routes_changed = !router.routes_as(&old_router);
        // New routes have the first word of what lies in a lane that is removed now.
        let moving = if routes_changed { self.moves().await } else { None };
        self.staff_lanes();
        self.webhooks.staff(&self.current.load().config, Occasion::Reload);
        self.inboxes.staff(&self.current.load().config);
        if routes_changed {
            changes.extend(self.reroute(old_router, router, moving).await);
        }
        Ok(changes)
    }

    /// Binds the addresses that are new, or none. What leaves and is in their way (`127.0.0.1:25` in that of
    /// `0.0.0.0:25`) is closed before, and opened again if that was in vain; its sessions go on.
    async fn bind_new(self: &Arc<Self>, old: &Generation, config: &Config) -> Result<Bound, String> {
        let stays = |address: &ListenAddress| config.listeners.iter().any(|one| one.address == *address);
        let is_new = |address: &ListenAddress| !old.listeners.contains_key(&key(address));
        let new: Vec<_> =
            config.listeners.iter().map(|one| &one.address).filter(|address| is_new(address)).collect();
        let leaving = old.config.listeners.iter().map(|one| &one.address).filter(|address| !stays(address));
        let in_the_way: Vec<_> =
            leaving.filter(|address| new.iter().any(|one| one.overlaps(address))).collect();
        for address in &in_the_way {
            self.close(&key(address)).await;
        }
        let bind = |address: &&ListenAddress| {
            let sockets = bind(address, &mut self.passed.lock()).map_err(|cause| cause.to_string())?;
            Ok((key(address), sockets))
        };
        let bound: Result<Bound, String> = new.iter().map(bind).collect();
        let Err(mut refusal) = bound else { return bound };
        for address in &in_the_way {
            match bind(address) {
                Ok((key, sockets)) => self.listen(key, sockets),
                Err(cause) => refusal += &format!("; and the one before is closed: {cause}"),
            }
        }
        Err(refusal)
    }

    /// Says at which sockets of systemd's nobody answers.
    pub(super) fn tell_unanswered(&self) {
        let current = self.current.load();
        for name in self.passed.lock().unclaimed(&current.config.listeners) {
            self.events.unanswered(&name, &admin::unanswered(&name));
        }
    }

    /// Gives a listener's sockets up.
    async fn close(&self, key: &str) {
        let Some(listening) = self.listening.lock().remove(key) else { return };
        listening.stop.cancel();
        for serving in listening.serving {
            // It ends without a panic; if it didn't, its socket is closed all the same.
            let _ = serving.await;
        }
    }
}

/// Listeners by their name, with their sockets.
type Bound = Vec<(String, Vec<TcpListener>)>;
