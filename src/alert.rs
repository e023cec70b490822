//! Alerts: what an admin must know of, told by another way than the mail it may be about.
//!
//! Each condition is told once when it begins and once when it ends ([`conditions`], pure). What is told goes to a
//! webhook and to a program ([`Way`]), by each of them in order: an end waits until its beginning was told or given up.
//! What can't be told is tried again a few times, then logged. What was told is kept (`kept`), so that a restart tells nothing twice and no end is missed; what a restart interrupts is told anew.
//!
//! A condition is either looked for every few seconds (by whoever calls [`Alerts::observe`]) or reported by the part
//! that knows ([`Alerts::report`]).

pub mod conditions;
mod kept;
mod way;

pub use conditions::{Condition, Kind};

use crate::clock::Clock;
use crate::config::schema::Alert as Settings;
use crate::deliver::webhook::Target;
use crate::events::Events;
use arc_swap::ArcSwap;
use conditions::{Change, Conditions, Key};
use kept::Kept;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use tokio::task::spawn_blocking;
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

/// A change that is told, and what the next one of its condition waits for.
#[derive(Debug, Clone, Default)]
struct Turn {
    /// Cancelled when the next one waits.
    pressing: CancellationToken,
    /// Cancelled when the webhook took it, or won't.
    posted: CancellationToken,
    /// The same of the program.
    ran: CancellationToken,
}

/// What is alarming now, and who is told of changes.
#[derive(Debug)]
pub struct Alerts {
    conditions: Arc<Mutex<Conditions>>,
    kept: Arc<Mutex<Kept>>,
    way: Arc<ArcSwap<Way>>,
    /// The latest change of each condition.
    latest: Mutex<HashMap<Key, Turn>>,
    hostname: ArcSwap<String>,
    clock: Clock,
    events: Events,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Alerts {
    /// What was told before a restart is so, until it is looked for again; nobody is told yet.
    #[must_use]
    pub fn new(
        state_dir: &Path,
        clock: Clock,
        events: Events,
        tracker: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let (kept, trouble) = Kept::load(state_dir);
        if let Some(cause) = trouble {
            events.alerts_not_kept(&cause);
        }
        Self {
            conditions: Arc::new(Mutex::new(Conditions::of(kept.told().clone()))),
            kept: Arc::new(Mutex::new(kept)),
            way: Arc::default(),
            latest: Mutex::default(),
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
            let key = (change.condition.kind, change.condition.subject.clone());
            let telling = self.telling(key, message);
            let (kept, conditions, events) =
                (self.kept.clone(), self.conditions.clone(), self.events.clone());
            self.spawn(async move {
                telling.await;
                // The disk may take its time.
                let keeping = spawn_blocking(move || {
                    let mut kept = kept.lock();
                    let holds = conditions.lock().holds(&change);
                    kept.change(&change, holds)
                });
                if let Ok(Err(cause)) = keeping.await {
                    events.alerts_not_kept(&cause);
                }
            });
        }
    }

    /// By all the ways there are, until each took it or is given up; by each behind the change before it.
    fn telling(&self, key: Key, message: Message) -> impl Future<Output = ()> + Send + 'static {
        let turn = Turn::default();
        let before = self.latest.lock().insert(key, turn.clone());
        if let Some(before) = &before {
            before.pressing.cancel();
        }
        let (way, clock, events) = (self.way.clone(), self.clock.clone(), self.events.clone());
        async move {
            let posted = async {
                let _done = turn.posted.drop_guard_ref();
                if let Some(before) = &before {
                    before.posted.cancelled().await;
                }
                way::post(&way, &message, &turn.pressing, &clock, &events).await;
            };
            let ran = async {
                let _done = turn.ran.drop_guard_ref();
                if let Some(before) = &before {
                    before.ran.cancelled().await;
                }
                let command = way.load().command.clone();
                if !command.is_empty() {
                    way::run(command, message.clone(), events.clone()).await;
                }
            };
            tokio::join!(posted, ran);
        }
    }

    fn spawn(&self, telling: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = telling => {}
            }
        });
    }
}

/// The ways that the configuration names.
#[must_use]
pub fn way(settings: &Settings, target: Option<Target>) -> Way {
    Way { target: target.map(Arc::new), command: settings.command.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::schema::LogAddresses;
    use jiff::Timestamp;

    fn alerts(state_dir: &Path) -> Alerts {
        let events = Events::new(LogAddresses::Full);
        Alerts::new(state_dir, Clock::system(), events, TaskTracker::new(), CancellationToken::new())
    }

    async fn settled(alerts: &Alerts) {
        alerts.tracker.close();
        alerts.tracker.wait().await;
    }

    #[tokio::test]
    async fn what_was_told_outlives_a_restart_and_so_does_what_could_not_be_told() {
        let folder = tempfile::tempdir().unwrap();
        let shop = Condition { kind: Kind::SmarthostFrozen, subject: "shop".into(), detail: "535".into() };
        let kinds = [Kind::SmarthostFrozen];
        let before = alerts(folder.path());
        before.observe(&kinds, vec![shop.clone()]);
        settled(&before).await;
        let began = before.kept.lock().told().clone();

        let again = alerts(folder.path());
        assert_eq!(again.present(), vec![shop.clone()]);
        // What still holds isn't news.
        let changes = again.conditions.lock().observe(&kinds, vec![shop.clone()], Timestamp::now());
        assert_eq!(changes, []);
        // Its end is told to nobody before the daemon stops: the next one has it to tell.
        again.stop.cancel();
        again.observe(&kinds, Vec::new());
        settled(&again).await;

        let third = alerts(folder.path());
        assert_eq!(*third.kept.lock().told(), began);
        third.observe(&kinds, Vec::new());
        settled(&third).await;
        assert_eq!(alerts(folder.path()).present(), []);
    }

    #[tokio::test]
    async fn a_file_that_is_no_list_of_alerts_is_as_none() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("alerts.json"), "[{\"condition\":").unwrap();
        let alerts = alerts(folder.path());
        assert_eq!(alerts.present(), []);
        let disk = Condition { kind: Kind::DiskLow, subject: "/s".into(), detail: "1 MiB".into() };
        alerts.observe(&[Kind::DiskLow], vec![disk.clone()]);
        settled(&alerts).await;
        assert_eq!(self::alerts(folder.path()).present(), [disk]);
    }
}
