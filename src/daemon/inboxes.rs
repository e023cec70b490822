//! The inboxes of the running daemon: one reader each.

use crate::admin::LaneStatus;
use crate::clock::Clock;
use crate::config::schema::Config;
use crate::deliver::interpreter::{Interpreter, Reading};
use crate::events::Events;
use crate::inbox::addresses;
use crate::inbox::authentication::Authenticator;
use crate::queue::Queue;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Every inbox's reader.
pub(super) struct Inboxes {
    queue: Queue,
    clock: Clock,
    events: Events,
    tracker: TaskTracker,
    stop: CancellationToken,
    authenticator: Option<Authenticator>,
    readers: Mutex<BTreeMap<String, Arc<Interpreter>>>,
}

impl Inboxes {
    pub(super) fn new(
        queue: Queue,
        clock: Clock,
        events: Events,
        tracker: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        // Without a resolver, what needs DNS is told as such: mail flows all the same.
        let authenticator = Authenticator::system().or_else(|_| Authenticator::offline()).ok();
        Self { queue, clock, events, tracker, stop, authenticator, readers: Mutex::default() }
    }

    /// Readers as the configuration wants them: new ones start, changed ones learn, removed ones end.
    pub(super) fn staff(&self, config: &Config) {
        let mut readers = self.readers.lock();
        readers.retain(|name, reader| {
            let stays = config.inboxes.contains_key(name);
            if !stays {
                reader.retire();
            }
            stays
        });
        for (name, inbox) in &config.inboxes {
            let mailboxes = config.mailboxes.values();
            let reading = Reading::new(inbox, mailboxes, config.channels.values(), &config.hostname)
                .believing(super::token_keys(config, &self.events));
            if let Some(reader) = readers.get(name) {
                reader.change(reading);
                continue;
            }
            let (queue, clock, events) = (self.queue.clone(), self.clock.clone(), self.events.clone());
            let reader =
                Interpreter::new(queue, reading, self.authenticator.clone(), clock, events, &self.stop);
            self.tracker.spawn(reader.clone().run());
            readers.insert(name.clone(), reader);
        }
    }

    /// How they are, by lane. Counts of messages are the queue's to add.
    pub(super) fn status(&self) -> Vec<(String, LaneStatus)> {
        let readers = self.readers.lock();
        let status = |(name, reader): (&String, &Arc<Interpreter>)| {
            let lane = addresses::lane(name).to_string();
            (lane.clone(), LaneStatus::inbox(lane, reader.trouble()))
        };
        readers.iter().map(status).collect()
    }
}
