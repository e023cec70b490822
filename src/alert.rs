//! Alerts: what an admin must know of, told by another way than the mail it may be about.
//!
//! Each condition is told once when it begins and once when it ends ([`conditions`], pure). What is told goes to a
//! webhook and to a program ([`Way`]); it isn't kept: a daemon that is killed tells of what is still so when it is up
//! again. What can't be told is tried again a few times, then logged.
//!
//! A condition is either looked for every few seconds (by whoever calls [`Alerts::observe`]) or reported by the part
//! that knows ([`Alerts::report`]).

pub mod conditions;
mod way;

pub use conditions::{Condition, Kind};

use crate::clock::Clock;
use crate::config::schema::Alert as Settings;
use crate::deliver::webhook::Target;
use crate::events::Events;
use arc_swap::ArcSwap;
use conditions::{Change, Conditions};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use way::Message;

/// Who is told, by one generation of the configuration.
#[derive(Debug, Default)]
pub struct Way {
    /// A webhook.
    pub target: Option<Arc<Target>>,
    /// A program and its arguments; empty is none.
    pub command: Vec<String>,
}

/// What is alarming now, and who is told of changes.
#[derive(Debug)]
pub struct Alerts {
    conditions: Mutex<Conditions>,
    way: ArcSwap<Way>,
    hostname: ArcSwap<String>,
    clock: Clock,
    events: Events,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Alerts {
    /// Nothing is alarming, nobody is told.
    #[must_use]
    pub fn new(clock: Clock, events: Events, tracker: TaskTracker, stop: CancellationToken) -> Self {
        Self {
            conditions: Mutex::default(),
            way: ArcSwap::default(),
            hostname: ArcSwap::default(),
            clock,
            events,
            tracker,
            stop,
        }
    }

    /// From now on these are told, in the name of this machine.
    pub fn change(&self, way: Way, hostname: &str) {
        self.way.store(Arc::new(way));
        self.hostname.store(Arc::new(hostname.to_owned()));
    }

    /// Everything of these kinds that is so now; what isn't named any more has ended.
    pub fn observe(&self, kinds: &[Kind], present: Vec<Condition>) {
        let changes = self.conditions.lock().observe(kinds, present, self.clock.now());
        self.tell(changes);
    }

    /// One thing is so, or isn't any more (`detail` is none then).
    pub fn report(&self, kind: Kind, subject: &str, detail: Option<String>) {
        let change = self.conditions.lock().report(kind, subject, detail, self.clock.now());
        self.tell(change.into_iter().collect());
    }

    /// What is alarming now.
    #[must_use]
    pub fn present(&self) -> Vec<Condition> {
        self.conditions.lock().present()
    }

    fn tell(&self, changes: Vec<Change>) {
        for change in changes {
            match &change.ended_at {
                None => self.events.alert_began(
                    change.condition.kind.name(),
                    &change.condition.subject,
                    &change.condition.detail,
                ),
                Some(_) => {
                    self.events.alert_ended(change.condition.kind.name(), &change.condition.subject);
                }
            }
            let message = Message::new(&change, &self.hostname.load(), self.clock.now());
            let way = self.way.load_full();
            if let Some(target) = way.target.clone() {
                let post = way::post(target, message.clone(), self.clock.clone(), self.events.clone());
                self.spawn(post);
            }
            if !way.command.is_empty() {
                self.spawn(way::run(way.command.clone(), message, self.events.clone()));
            }
        }
    }

    fn spawn(&self, telling: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            tokio::select! {
                () = telling => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

/// The ways that the configuration names.
#[must_use]
pub fn way(settings: &Settings, target: Option<Target>) -> Way {
    Way { target: target.map(Arc::new), command: settings.command.clone() }
}
